"""Forward geometry of a synthetic Sentinel-1 image: ground range, and facets scattered into radar cells.

Written apart from geocode.py and flatten.py on purpose: this module is their oracle. It goes the other way, from
explicit ECEF facets on the ground to the radar grid, with exact zero Doppler for every facet.
Positions are ECEF in m (WGS84), times in s relative to the moment when the scene centre is at zero Doppler.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.science.synth_kernels import scatter
from utils.science.synth_orbit import (
    F64,
    KeplerOrbit,
    ecef_to_geodetic,
    ellipsoid_normal,
    geodetic_to_ecef,
    ground_point,
    zero_doppler,
)

SURFACE_DEGREE = 5
SRGR_DEGREE = 8


@dataclass(frozen=True)
class RadarGrid:
    """Timing and ground-range geometry of one image. Line and sample 0-based, integer = pixel centre.

    first_line_s   time of line 0; dt_s azimuth time interval; range0_m slant range of sample 0
    srgr_times_s   (k,) times of the polynomials; srgr (k, 9) ground = sum c (R - range0)^n; grsr (k, 9) R = sum c g^n
    """

    first_line_s: float
    dt_s: float
    range0_m: float
    spacing_m: float
    lines: int
    samples: int
    height_m: float
    srgr_times_s: F64
    srgr: F64
    grsr: F64

    def slant_range(self, time_s: Any, sample: Any) -> F64:
        """Slant range in m at time and (fractional) sample, polynomials linear in time."""
        ground = np.asarray(sample, dtype=np.float64) * self.spacing_m
        return self._blend(self.grsr, time_s, ground)

    def sample(self, time_s: Any, range_m: Any) -> F64:
        """Fractional sample at time and slant range, polynomials linear in time."""
        return self._blend(self.srgr, time_s, np.asarray(range_m) - self.range0_m) / self.spacing_m

    def crop_lines(self, first: int, lines: int) -> RadarGrid:
        """The same image cut to `lines` lines from line `first`."""
        return replace(self, first_line_s=self.first_line_s + first * self.dt_s, lines=lines)

    def _blend(self, table: F64, time_s: Any, x: F64) -> F64:
        place = (np.asarray(time_s, dtype=np.float64) - self.srgr_times_s[0]) / (
            self.srgr_times_s[1] - self.srgr_times_s[0]
        )
        k = np.clip(place.astype(np.int64), 0, len(table) - 2)
        w = place - k
        power = x[..., None] ** np.arange(table.shape[1])
        return np.asarray((1 - w) * (table[k] * power).sum(-1) + w * (table[k + 1] * power).sum(-1))


def radar_grid(
    orbit: KeplerOrbit, outline_xyz: F64, height_m: float, dt_s: float = 1.499192e-3, spacing_m: float = 10.0
) -> RadarGrid:
    """The smallest image that holds all points of the outline.

    outline_xyz  (n, 3) points that must lie inside, at their lowest and highest heights
    height_m     height of the ground-range reference surface
    """
    t, r = zero_doppler(orbit, outline_xyz)
    first = math.floor((t.min() - 2 * dt_s) * 1e3) / 1e3
    lines = math.ceil((t.max() - first) / dt_s) + 3
    range0, range1 = r.min() - 30.0, r.max() + 60.0
    times = np.arange(math.floor(first) - 1.0, first + lines * dt_s + 2.0)
    slant = np.linspace(range0, range1, 97)
    points = ground_point(orbit, times[:, None], slant[None, :], height_m, outline_xyz.mean(0))
    steps = np.linalg.norm(np.diff(points, axis=1), axis=-1)
    ground = np.concatenate([np.zeros((len(times), 1)), np.cumsum(steps, axis=1)], axis=1)
    fit = np.polynomial.Polynomial.fit
    srgr = np.array([fit(slant - range0, g, SRGR_DEGREE).convert().coef for g in ground])
    grsr = np.array([fit(g, slant, SRGR_DEGREE).convert().coef for g in ground])
    samples = math.ceil(ground.min(0)[-1] / spacing_m) - 2
    return RadarGrid(first, dt_s, float(range0), spacing_m, lines, samples, height_m, times, srgr, grsr)


def cell_area(orbit: KeplerOrbit, grid: RadarGrid, start: F64) -> NDArray[np.float32]:
    """(lines, samples) float32 reference area of a radar cell in the slant plane, m2: ground speed x dt x slant spacing.

    The ground speed is |X_t x X_R| sin(theta), finite differences of solved ground points on a 5 x 7 net, fitted by
    a quadratic; see Small 2011 for beta nought as power per slant-plane area.
    """
    t = np.linspace(grid.first_line_s, grid.first_line_s + (grid.lines - 1) * grid.dt_s, 5)[:, None]
    sample = np.linspace(0, grid.samples - 1, 7)[None, :]
    t, sample = np.broadcast_arrays(t, sample)
    r = grid.slant_range(t, sample)
    d_t, d_r = 0.01, 20.0
    solve = [
        ground_point(orbit, t + a, r + b, grid.height_m, start)
        for a, b in ((d_t, 0), (-d_t, 0), (0, d_r), (0, -d_r), (0, 0))
    ]
    x_t, x_r = (solve[0] - solve[1]) / (2 * d_t), (solve[2] - solve[3]) / (2 * d_r)
    sight = orbit.state(t)[0] - solve[4]
    lon, lat, _ = ecef_to_geodetic(solve[4])
    cos = (sight * ellipsoid_normal(lon, lat)).sum(-1) / np.linalg.norm(sight, axis=-1)
    speed = np.linalg.norm(np.cross(x_t, x_r), axis=-1) * np.sqrt(1 - cos**2)
    u, v = np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 1, 7), indexing="ij")
    basis = np.stack([np.ones_like(u), u, v, u * v, u * u, v * v], -1).reshape(-1, 6)
    c = np.linalg.lstsq(basis, speed.ravel(), rcond=None)[0]
    line = np.linspace(0, 1, grid.lines)[:, None]
    column = np.linspace(0, 1, grid.samples)[None, :]
    speed_full = c[0] + c[1] * line + c[2] * column + c[3] * line * column + c[4] * line**2 + c[5] * column**2
    every = np.arange(grid.samples)
    times = grid.first_line_s + np.arange(0, grid.lines, 16) * grid.dt_s
    width = [
        grid.slant_range(np.full(grid.samples, s), every + 0.5)
        - grid.slant_range(np.full(grid.samples, s), every - 0.5)
        for s in times
    ]
    nearest = np.minimum((np.arange(grid.lines) + 8) // 16, len(times) - 1)
    return np.asarray(speed_full * grid.dt_s * np.array(width)[nearest], dtype=np.float32)


@dataclass(frozen=True)
class Surface:
    """ECEF of the ellipsoid under a map grid: position = P(u, v) + height N(u, v), polynomials of degree 5.

    u, v = (x - x_mid) / half, (y - y_mid) / half; coefficients (6, 6, 6): component, power of v, power of u.
    """

    x_mid: float
    y_mid: float
    half: float
    coefficients: F64


def fit_surface(x_m: F64, y_m: F64, lon_deg: F64, lat_deg: F64) -> Surface:
    """Fit the surface polynomials to map nodes with known longitude and latitude (all of one shape).

    raises  ValueError when the fit leaves more than 1 mm (area too large or nodes too few)
    """
    x_mid, y_mid = float((x_m.min() + x_m.max()) / 2), float((y_m.min() + y_m.max()) / 2)
    half = float(max(np.ptp(x_m), np.ptp(y_m)) / 2)
    powers = np.arange(SURFACE_DEGREE + 1)
    basis = (((y_m.ravel() - y_mid) / half)[:, None, None] ** powers[:, None]) * ((x_m.ravel() - x_mid) / half)[
        :, None, None
    ] ** powers
    values = np.concatenate([geodetic_to_ecef(lon_deg, lat_deg, 0.0), ellipsoid_normal(lon_deg, lat_deg)], -1).reshape(
        -1, 6
    )
    flat = basis.reshape(len(values), -1)
    solution = np.linalg.lstsq(flat, values, rcond=None)[0]
    worst = np.abs(flat @ solution - values)[:, :3].max()
    if worst > 1e-3:
        raise ValueError(f"map to ECEF polynomial leaves {worst:.4f} m; the area is too large")
    return Surface(
        x_mid, y_mid, half, np.ascontiguousarray(solution.T.reshape(6, SURFACE_DEGREE + 1, SURFACE_DEGREE + 1))
    )


def beta_nought(
    height_m: NDArray[np.float32],
    gamma0: NDArray[np.float32],
    origin_xy: tuple[float, float],
    step_m: float,
    surface: Surface,
    orbit: KeplerOrbit,
    grid: RadarGrid,
) -> NDArray[np.float32]:
    """Expected beta nought image of a terrain with known gamma nought.

    height_m   (rows, cols) ellipsoidal height at the pixel centres of a north-up grid
    gamma0     (channels, rows, cols) linear power, constant inside a pixel
    origin_xy  outer corner of the upper-left pixel, m; step_m pixel size
    returns    (channels, lines, samples) float32 power per slant-plane area; 0 where no ground was simulated

    Every pixel is cut into 2 x 2 facets of two triangles; their ECEF areas projected perpendicular to the look
    (Small 2011, IEEE TGRS 49(8)) are shared bilinearly among the four nearest radar cells.
    """
    start_s = math.floor(grid.first_line_s) - 8.0
    times = start_s + np.arange(math.ceil(grid.lines * grid.dt_s) + 18.0)
    table = np.concatenate(orbit.state(times), axis=-1)
    out = np.zeros((len(gamma0), grid.lines, grid.samples), dtype=np.float32)
    timing = np.array([grid.first_line_s, grid.dt_s, grid.range0_m, grid.spacing_m])
    mid = np.array([surface.x_mid, surface.y_mid, surface.half])
    scatter(
        height_m,
        gamma0,
        step_m,
        origin_xy[0],
        origin_xy[1],
        surface.coefficients,
        mid,
        table,
        start_s,
        timing,
        float(grid.srgr_times_s[0]),
        grid.srgr,
        out,
    )
    start = surface.coefficients[:3, 0, 0]
    out /= cell_area(orbit, grid, np.ascontiguousarray(start))
    return out
