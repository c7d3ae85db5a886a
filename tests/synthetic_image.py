"""A made-up Sentinel-1 image geometry for tests and benches: circular orbit over a rotating Earth, exact in itself.

Independent of the chain under test: ground points come from the forward direction (time, slant range, look angle
to the point where the beam meets the ellipsoid), the chain solves the inverse one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.science.grid import Grid

FloatArray = NDArray[np.float64]
EPOCH = np.datetime64("2020-01-04T19:08:00.000000", "ns")
_ORBIT_RADIUS_M = 7_071_000.0
_GM = 3.986004418e14
_EARTH_RATE = 7.2921159e-5
_INCLINATION = np.radians(98.18)
_A_M, _B_M = 6378137.0, 6356752.314245179
_NEAR_RANGE_M = 800_000.0


@dataclass(frozen=True)
class SyntheticImage:
    """Satisfies utils.science.geocode.ImageTiming; ground_point is the exact forward model."""

    argument_deg: float = 215.0  # position along the orbit: latitude; > 180 is the southern half
    node_deg: float = 0.0
    lines: int = 16_000
    samples: int = 25_000
    line_interval_s: float = 1.49e-3
    range_spacing_m: float = 10.0
    azimuth_spacing_m: float = 10.0

    @property
    def first_line_time(self) -> np.datetime64:
        return EPOCH

    @property
    def _state_s(self) -> FloatArray:
        return np.arange(-60.0, 90.0, 10.0)

    def state(self, time_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Exact earth-fixed position and velocity, time_s.shape + (3,)."""
        rate = np.sqrt(_GM / _ORBIT_RADIUS_M**3)
        u = np.radians(self.argument_deg) + rate * (time_s - 12.0)
        turn = np.radians(self.node_deg) - _EARTH_RATE * (time_s - 12.0)
        ci, si = np.cos(_INCLINATION), np.sin(_INCLINATION)
        x, y, z = np.cos(u), np.sin(u) * ci, np.sin(u) * si
        vx, vy, vz = -np.sin(u) * rate, np.cos(u) * ci * rate, np.cos(u) * si * rate
        c, s = np.cos(turn), np.sin(turn)
        position = np.stack([c * x - s * y, s * x + c * y, z], -1)
        inertial = np.stack([c * vx - s * vy, s * vx + c * vy, vz], -1)
        spin = -_EARTH_RATE * np.stack([-position[..., 1], position[..., 0], np.zeros_like(x)], -1)
        return _ORBIT_RADIUS_M * position, _ORBIT_RADIUS_M * (inertial + spin)

    @property
    def orbit_times(self) -> NDArray[np.datetime64]:
        return np.asarray(EPOCH + (self._state_s * 1e9).astype("timedelta64[ns]"))

    @property
    def orbit_position_m(self) -> FloatArray:
        return self.state(self._state_s)[0]

    @property
    def orbit_velocity_m_s(self) -> FloatArray:
        return self.state(self._state_s)[1]

    def ground_point(self, time_s: FloatArray, range_m: FloatArray) -> FloatArray:
        """Where the zero-Doppler beam at this time and range meets the ellipsoid on the right side, (..., 3) m."""
        position, velocity = self.state(time_s)
        along = velocity / np.linalg.norm(velocity, axis=-1, keepdims=True)
        down = -(position - (position * along).sum(-1, keepdims=True) * along)
        down /= np.linalg.norm(down, axis=-1, keepdims=True)
        right = np.cross(down, along)
        low, high = np.full(np.shape(range_m), 0.1), np.full(np.shape(range_m), 1.2)
        for _ in range(60):
            angle = (low + high) / 2
            point = position + range_m[..., None] * (np.cos(angle)[..., None] * down + np.sin(angle)[..., None] * right)
            outside = (point[..., 0] ** 2 + point[..., 1] ** 2) / _A_M**2 + (point[..., 2] / _B_M) ** 2 > 1
            low, high = np.where(outside, low, angle), np.where(outside, angle, high)
        return np.asarray(point)

    @property
    def srgr_times(self) -> NDArray[np.datetime64]:
        return np.asarray(EPOCH + (np.arange(-2.0, 28.0, 5.0) * 1e9).astype("timedelta64[ns]"))

    @property
    def srgr_origin_m(self) -> FloatArray:
        return np.full(len(self.srgr_times), _NEAR_RANGE_M)

    @property
    def srgr_coefficients(self) -> FloatArray:
        """Ground range = arc length on the ellipsoid across the track."""
        slant = np.linspace(_NEAR_RANGE_M, _NEAR_RANGE_M + 175_000.0, 4001)
        rows = []
        for seconds in (self.srgr_times - EPOCH).astype(np.int64) * 1e-9:
            points = self.ground_point(np.full(slant.shape, seconds), slant)
            arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
            fit = np.polynomial.Polynomial.fit(slant - _NEAR_RANGE_M, arc, 8).convert().coef
            rows.append(fit)
        return np.array(rows)


def utm_of(ecef_m: FloatArray) -> tuple[int, float, float]:
    """EPSG code, easting and northing of a ground point, by GDAL's PROJ: independent of the project's series."""
    from osgeo import osr

    osr.UseExceptions()
    geocentric, geodetic, utm = (osr.SpatialReference() for _ in range(3))
    geocentric.ImportFromEPSG(4978)
    geodetic.ImportFromEPSG(4979)
    geodetic.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    lon, lat, _ = osr.CoordinateTransformation(geocentric, geodetic).TransformPoint(*map(float, ecef_m))
    code = (32600 if lat >= 0 else 32700) + int((lon + 180) // 6) + 1
    utm.ImportFromEPSG(code)
    flat = osr.SpatialReference()
    flat.ImportFromEPSG(4326)
    flat.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    x, y, _ = osr.CoordinateTransformation(flat, utm).TransformPoint(lon, lat)
    return code, x, y


def grid_at(image: SyntheticImage, time_s: float, range_m: float, rows: int, cols: int, pixel_m: float = 10.0) -> Grid:
    """A UTM grid centred where the beam meets the ground."""
    code, x, y = utm_of(image.ground_point(np.array(time_s), np.array(range_m)))
    x0 = round((x - cols * pixel_m / 2) / 20) * 20.0
    y0 = round((y + rows * pixel_m / 2) / 20) * 20.0
    return Grid(code, x0, y0, pixel_m, -pixel_m, rows, cols)
