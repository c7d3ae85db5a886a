"""Range-Doppler geocoding of Sentinel-1 ground-range images: map point and height to image line and pixel.

Lines and pixels are 0-based, a whole number is a pixel's centre. The exact solution (zero_doppler) runs on a
coarse lattice of nodes only; MapNodes interpolates in between, to 1e-4 lines and 0.01 m of slant range.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from utils.science import geocode_kernels as kernels
from utils.science.geodesy import ellipsoid_normal, geodetic_to_ecef, utm_to_geodetic
from utils.science.grid import Grid, Window
from utils.science.orbit import FloatArray, Orbit, TimeArray, fit_orbit

SrgrTime = Literal["linear", "nearest"]

_NEWTON_STEPS = 10
_NEWTON_TOLERANCE_S = 1e-9
NODE_STEP_PX = 32
_RELIEF_FOR_MORE_HEIGHTS_M = 2000.0
_DERIVATIVE_STEP_M = 50.0

# Channels of a node, in order.
CHANNELS = ("time_s", "range_m", "c0", "c1", "c2", "ground_speed_m_s", "cos_incidence", "towards_x", "towards_y")


class ImageTiming(Protocol):
    """What geocoding needs of an image annotation (see utils.io.safe_s1.Annotation)."""

    @property
    def first_line_time(self) -> np.datetime64: ...
    @property
    def line_interval_s(self) -> float: ...
    @property
    def range_spacing_m(self) -> float: ...
    @property
    def azimuth_spacing_m(self) -> float: ...
    @property
    def lines(self) -> int: ...
    @property
    def samples(self) -> int: ...
    @property
    def orbit_times(self) -> TimeArray: ...
    @property
    def orbit_position_m(self) -> FloatArray: ...
    @property
    def orbit_velocity_m_s(self) -> FloatArray: ...
    @property
    def srgr_times(self) -> TimeArray: ...
    @property
    def srgr_origin_m(self) -> FloatArray: ...
    @property
    def srgr_coefficients(self) -> FloatArray: ...


@dataclass(frozen=True)
class SlantToGround:
    """Polynomials ground range = sum_k c_k (slant range - origin)^k, one per time.

    time_s        (n,) s after the first line, increasing
    origin_m      (n,) slant range where the polynomial is expanded
    coefficients  (n, k) lowest power first
    mode          linear between the two neighbours in time (as SNAP does), or nearest; never extrapolated
    """

    time_s: FloatArray
    origin_m: FloatArray
    coefficients: FloatArray
    mode: SrgrTime = "linear"

    def ground_range(self, time_s: ArrayLike, range_m: ArrayLike) -> FloatArray:
        """Ground range in m for image time (s) and slant range (m); shapes broadcast."""
        time, slant = np.broadcast_arrays(np.asarray(time_s, float), np.asarray(range_m, float))
        last = len(self.time_s) - 1
        low = np.clip(np.searchsorted(self.time_s, time, side="right") - 1, 0, max(last - 1, 0))
        high = np.minimum(low + 1, last)
        gap = np.where(high > low, self.time_s[high] - self.time_s[low], 1.0)
        weight = np.clip((time - self.time_s[low]) / gap, 0, 1)
        if self.mode == "nearest":
            weight = np.where(weight > 0.5, 1.0, 0.0)
        return (1 - weight) * self._polynomial(low, slant) + weight * self._polynomial(high, slant)

    def _polynomial(self, index: NDArray[np.int64], slant_m: FloatArray) -> FloatArray:
        offset = slant_m - self.origin_m[index]
        total = np.zeros_like(offset)
        for k in range(self.coefficients.shape[1] - 1, -1, -1):
            total = total * offset + self.coefficients[index, k]
        return total


@dataclass(frozen=True)
class ImageGeometry:
    """Everything that ties image coordinates to the ground.

    azimuth_spacing_m is the nominal figure of the annotation; the true one on the ground differs by 1 to 2 %.
    """

    orbit: Orbit
    srgr: SlantToGround
    line_interval_s: float
    range_spacing_m: float
    azimuth_spacing_m: float
    lines: int
    samples: int


def image_geometry(timing: ImageTiming, srgr_time: SrgrTime = "linear") -> ImageGeometry:
    """Geometry of one image from its annotation.

    raises  OrbitError when the state vectors are inconsistent
    """
    epoch = timing.first_line_time
    elapsed = (timing.srgr_times - epoch).astype("timedelta64[ns]").astype(np.int64)
    seconds = np.asarray(elapsed * 1e-9, dtype=np.float64)
    return ImageGeometry(
        fit_orbit(timing.orbit_times, timing.orbit_position_m, timing.orbit_velocity_m_s, epoch),
        SlantToGround(seconds, timing.srgr_origin_m, timing.srgr_coefficients, srgr_time),
        timing.line_interval_s,
        timing.range_spacing_m,
        timing.azimuth_spacing_m,
        timing.lines,
        timing.samples,
    )


def zero_doppler(orbit: Orbit, ecef_m: FloatArray, start_s: float) -> tuple[FloatArray, FloatArray]:
    """Time of closest approach and slant range of ground points, by Newton's method on (X - S) . V = 0.

    ecef_m   S + (3,) m
    start_s  first guess, s after the orbit's epoch
    returns  time s, slant range m, both of shape S; NaN where the time is not covered by the orbit or where the
             point lies left of the track (Sentinel-1 looks right; both sides have the same time and range)
    """
    low, high = orbit.limits_s
    time = np.full(ecef_m.shape[:-1], float(start_s))
    step = np.full_like(time, np.inf)
    for _ in range(_NEWTON_STEPS):
        position, velocity, acceleration = orbit.evaluate(time)
        line_of_sight = ecef_m - position
        slope = (line_of_sight * acceleration).sum(-1) - (velocity**2).sum(-1)
        moved = np.clip(time - (line_of_sight * velocity).sum(-1) / slope, low, high)
        step, time = np.abs(moved - time), moved
        if float(np.max(step, initial=0.0)) < _NEWTON_TOLERANCE_S:
            break
    position, velocity, _ = orbit.evaluate(time)
    line_of_sight = ecef_m - position
    right = (line_of_sight * np.cross(velocity, position)).sum(-1) > 0
    covered = (step < 1e-6) & (time > low) & (time < high) & right
    slant = np.linalg.norm(line_of_sight, axis=-1)
    return np.where(covered, time, np.nan), np.where(covered, slant, np.nan)


@dataclass(frozen=True)
class MapNodes:
    """Exact geometry on a lattice of map points and heights.

    values     (node rows, node columns, heights, 9) float64, channels as in CHANNELS:
               c0, c1, c2: area of a map cell seen along the look direction is c0 + c1 dh/dx + c2 dh/dy, m2
               ground_speed_m_s: azimuth speed of the beam on the ground, from the map's own derivatives
               cos_incidence: cosine of the angle between look direction and ellipsoid normal
               towards_x, towards_y: unit vector on the map towards the sensor
    heights_m  (heights,) ellipsoidal heights, increasing
    step_px    pixels of `grid` between nodes; node (i, j) is the centre of pixel (i step, j step)
    """

    values: FloatArray
    heights_m: FloatArray
    step_px: int
    grid: Grid

    @cached_property
    def polynomials(self) -> FloatArray:
        """Channels as polynomials of the height through the lattice's own: (node rows, node columns, powers, 9).

        Lowest power first, of u = (height - middle) / half of the range; see `height_scale`.
        """
        middle, half = self.height_scale
        powers = np.vander((self.heights_m - middle) / half, increasing=True)
        return np.ascontiguousarray(np.einsum("pk,ijkc->ijpc", np.linalg.inv(powers), self.values))

    @property
    def height_scale(self) -> tuple[float, float]:
        """Middle of the lattice's heights and half of their range, m."""
        low, high = float(self.heights_m[0]), float(self.heights_m[-1])
        return (low + high) / 2, (high - low) / 2


def make_nodes(
    geometry: ImageGeometry, grid: Grid, lowest_m: float, highest_m: float, step_px: int = NODE_STEP_PX
) -> MapNodes:
    """Solve the geometry exactly on every step_px-th pixel of a UTM grid, at 3 heights (5 when relief > 2000 m).

    lowest_m, highest_m  range of ellipsoidal heights on the grid
    raises               ValueError when the grid is not UTM
    """
    count = 5 if highest_m - lowest_m > _RELIEF_FOR_MORE_HEIGHTS_M else 3
    heights = np.linspace(lowest_m - 1.0, highest_m + 1.0, count)
    rows, cols = (int(np.ceil((n - 1) / step_px)) + 1 for n in (grid.rows, grid.cols))
    x = np.asarray(grid.x0 + (np.arange(max(cols, 2)) * step_px + 0.5) * grid.dx, dtype=np.float64)[None, :, None]
    y = np.asarray(grid.y0 + (np.arange(max(rows, 2)) * step_px + 0.5) * grid.dy, dtype=np.float64)[:, None, None]
    return MapNodes(_solve(geometry, grid, x, y, heights), heights, step_px, grid)


def _solve(geometry: ImageGeometry, grid: Grid, x: FloatArray, y: FloatArray, heights: FloatArray) -> FloatArray:
    def ecef(dx: float, dy: float) -> FloatArray:
        lon, lat = utm_to_geodetic(x + dx, y + dy, grid.epsg)
        return geodetic_to_ecef(lon, lat, heights)

    d = _DERIVATIVE_STEP_M
    point = ecef(0, 0)
    by_x, by_y = (ecef(d, 0) - ecef(-d, 0)) / (2 * d), (ecef(0, d) - ecef(0, -d)) / (2 * d)
    by_h = np.broadcast_to(ellipsoid_normal(*utm_to_geodetic(x, y, grid.epsg)), point.shape)
    time, slant = zero_doppler(geometry.orbit, point, geometry.lines * geometry.line_interval_s / 2)
    low, high = geometry.orbit.limits_s
    position, velocity, acceleration = geometry.orbit.evaluate(np.where(np.isnan(time), (low + high) / 2, time))
    sight = point - position

    def dot(a: FloatArray, b: FloatArray) -> FloatArray:
        return np.asarray((a * b).sum(-1))

    # The time of closest approach moves by V.dX / (|V|^2 - (X - S).A) when the ground point moves by dX.
    per_time = dot(velocity, velocity) - dot(sight, acceleration)
    time_x, time_y = dot(velocity, by_x) / per_time, dot(velocity, by_y) / per_time
    range_x, range_y = dot(sight, by_x) / slant, dot(sight, by_y) / slant
    look = -sight / slant[..., None]  # ground to satellite
    cell_m2 = abs(grid.dx * grid.dy)
    normal = np.cross(by_x, by_y)
    area = np.linalg.norm(normal, axis=-1)
    cos_incidence = dot(look, normal) / area
    speed = area * np.sqrt(1 - cos_incidence**2) / np.abs(time_x * range_y - time_y * range_x)
    horizontal = np.hypot(range_x, range_y)
    channels = [
        time,
        slant,
        cell_m2 * dot(look, normal),
        cell_m2 * dot(look, np.cross(by_h, by_y)),
        cell_m2 * dot(look, np.cross(by_x, by_h)),
        speed,
        cos_incidence,
        -range_x / horizontal,
        -range_y / horizontal,
    ]
    return np.stack([np.where(np.isnan(time), np.nan, c) for c in channels], axis=-1)


@dataclass(frozen=True)
class ImagePosition:
    """Image coordinates of every map pixel.

    line, pixel   (rows, cols) float64, 0-based; NaN where the height is NaN or the orbit does not see the point
    slant_step_m  (rows, cols) float32 slant-range width of one image pixel there; no columns when it was not wanted
    """

    line: FloatArray
    pixel: FloatArray
    slant_step_m: NDArray[np.float32]


def locate(
    nodes: MapNodes,
    geometry: ImageGeometry,
    height_m: NDArray[np.float32],
    first_row: int = 0,
    *,
    cols: tuple[int, int] | None = None,
    slant_step: bool = True,
) -> ImagePosition:
    """Image position of the map pixels of some rows of the nodes' grid.

    height_m    (rows, grid cols) float32 ellipsoidal height, m; NaN = unknown
    first_row   row of the grid that height_m starts with
    cols        first column wanted and the one after the last; None = all
    slant_step  whether the width of an image pixel is wanted too
    raises      ValueError when height_m does not fit the grid
    """
    if height_m.shape[1] != nodes.grid.cols or first_row + height_m.shape[0] > nodes.grid.rows:
        raise ValueError(f"heights {height_m.shape} from row {first_row} do not fit {nodes.grid.shape}")
    begin, end = cols or (0, nodes.grid.cols)
    shape = height_m.shape[0], end - begin
    line, pixel = np.empty(shape), np.empty(shape)
    step = np.empty(shape if slant_step else (shape[0], 0), np.float32)
    srgr = geometry.srgr
    kernels.locate(
        nodes.polynomials, nodes.height_scale, nodes.step_px, first_row, begin, height_m, geometry.line_interval_s,
        srgr.time_s, srgr.origin_m, srgr.coefficients, srgr.mode == "nearest", geometry.range_spacing_m,
        line, pixel, step,
    )  # fmt: skip
    return ImagePosition(line, pixel, step)


def ellipsoid_cos_incidence(nodes: MapNodes, height_m: NDArray[np.float32], first_row: int = 0) -> NDArray[np.float32]:
    """Cosine of the incidence angle on the ellipsoid at the pixels of some rows of the nodes' grid, float32.

    height_m  (rows, cols) float32 ellipsoidal height of rows from first_row on, m
    """
    out = np.empty(height_m.shape, np.float32)
    number = CHANNELS.index("cos_incidence")
    kernels.channel(nodes.polynomials, nodes.height_scale, nodes.step_px, first_row, height_m, number, out)
    return out


@dataclass(frozen=True)
class ImageBounds:
    """Range of image lines and pixels, not cut at the image."""

    first_line: float
    last_line: float
    first_pixel: float
    last_pixel: float


def image_bounds(nodes: MapNodes, geometry: ImageGeometry, window: Window) -> ImageBounds | None:
    """Image coordinates that no pixel of a map window can leave, whatever its height within the nodes' range.

    Positions are interpolated between the nodes, so the nodes around the window bound them.
    returns  None when the orbit sees none of the nodes
    """
    step = nodes.step_px
    rows = slice(max(window.row // step, 0), (window.row + window.rows - 1) // step + 2)
    cols = slice(max(window.col // step, 0), (window.col + window.cols - 1) // step + 2)
    part = nodes.values[rows, cols]
    time, slant = part[..., 0].ravel(), part[..., 1].ravel()
    known = ~np.isnan(time)
    if not known.any():
        return None
    line = time[known] / geometry.line_interval_s
    pixel = geometry.srgr.ground_range(time[known], slant[known]) / geometry.range_spacing_m
    # one pixel for the curvature between nodes and for polynomials that change in time between them
    return ImageBounds(float(line.min()) - 1, float(line.max()) + 1, float(pixel.min()) - 1, float(pixel.max()) + 1)
