"""Orbit, ellipsoid and zero Doppler of a synthetic Sentinel-1 image.

Written apart from orbit.py, geodesy.py and geocode.py on purpose: these functions are their oracle.
Positions are ECEF in m (WGS84), times in s relative to the moment when the scene centre is at zero Doppler.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

F64 = NDArray[np.float64]
C_M_S = 299792458.0
A_M, B_M = 6378137.0, 6356752.314245
E2 = 1.0 - (B_M / A_M) ** 2
MU_M3_S2 = 3.986004418e14
EARTH_RATE_RAD_S = 7.2921150e-5
# Sentinel-1: mean altitude 693 km, sun-synchronous, 175 orbits in 12 days, frozen eccentricity
SEMI_MAJOR_M, ECCENTRICITY, INCLINATION_DEG, PERIGEE_DEG = 7071000.0, 0.0010, 98.18, 90.0


def geodetic_to_ecef(lon_deg: Any, lat_deg: Any, height_m: Any) -> F64:
    """(..., 3) ECEF position of geodetic WGS84 coordinates; arguments broadcast."""
    lon, lat = np.radians(lon_deg), np.radians(lat_deg)
    prime = A_M / np.sqrt(1 - E2 * np.sin(lat) ** 2)
    horizontal = (prime + height_m) * np.cos(lat)
    z = (prime * (1 - E2) + height_m) * np.sin(lat)
    return np.stack(np.broadcast_arrays(horizontal * np.cos(lon), horizontal * np.sin(lon), z), axis=-1)


def ecef_to_geodetic(xyz: F64) -> tuple[F64, F64, F64]:
    """Longitude and latitude in degrees and height in m of (..., 3) ECEF positions, by fixed-point iteration to 1e-9 m."""
    x, y, z = np.moveaxis(np.asarray(xyz, dtype=np.float64), -1, 0)
    p = np.hypot(x, y)
    lat = np.arctan2(z, p * (1 - E2))
    for _ in range(8):
        prime = A_M / np.sqrt(1 - E2 * np.sin(lat) ** 2)
        lat = np.arctan2(z + E2 * prime * np.sin(lat), p)
    prime = A_M / np.sqrt(1 - E2 * np.sin(lat) ** 2)
    height = p * np.cos(lat) + z * np.sin(lat) - prime * (1 - E2 * np.sin(lat) ** 2)
    return np.degrees(np.arctan2(y, x)), np.degrees(lat), height


def ellipsoid_normal(lon_deg: Any, lat_deg: Any) -> F64:
    """(..., 3) outward unit normal of the ellipsoid."""
    lon, lat = np.radians(lon_deg), np.radians(lat_deg)
    return np.stack(np.broadcast_arrays(np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)), axis=-1)


@dataclass(frozen=True)
class KeplerOrbit:
    """Two-body orbit seen from the rotating Earth; t = 0 when the Earth-fixed node longitude is `node_rad`."""

    node_rad: float
    latitude_argument_rad: float

    def state(self, time_s: Any) -> tuple[F64, F64]:
        """(..., 3) position in m and velocity in m/s, both Earth fixed, at times in s."""
        t = np.asarray(time_s, dtype=np.float64)
        perigee, e = math.radians(PERIGEE_DEG), ECCENTRICITY
        true0 = self.latitude_argument_rad - perigee
        eccentric0 = 2 * math.atan2(math.sqrt(1 - e) * math.sin(true0 / 2), math.sqrt(1 + e) * math.cos(true0 / 2))
        mean = eccentric0 - e * math.sin(eccentric0) + math.sqrt(MU_M3_S2 / SEMI_MAJOR_M**3) * t
        eccentric = mean + e * np.sin(mean)
        for _ in range(6):
            eccentric = eccentric - (eccentric - e * np.sin(eccentric) - mean) / (1 - e * np.cos(eccentric))
        true = 2 * np.arctan2(math.sqrt(1 + e) * np.sin(eccentric / 2), math.sqrt(1 - e) * np.cos(eccentric / 2))
        radius = SEMI_MAJOR_M * (1 - e * np.cos(eccentric))
        u = true + perigee
        h = math.sqrt(MU_M3_S2 * SEMI_MAJOR_M * (1 - e * e))
        radial, across = MU_M3_S2 / h * e * np.sin(true), h / radius
        tilt, node = math.radians(INCLINATION_DEG), self.node_rad - EARTH_RATE_RAD_S * t
        cos_node, sin_node, cos_u, sin_u = np.cos(node), np.sin(node), np.cos(u), np.sin(u)
        out = np.stack(
            [
                cos_node * cos_u - sin_node * sin_u * math.cos(tilt),
                sin_node * cos_u + cos_node * sin_u * math.cos(tilt),
                sin_u * math.sin(tilt),
            ],
            -1,
        )
        along = np.stack(
            [
                -cos_node * sin_u - sin_node * cos_u * math.cos(tilt),
                -sin_node * sin_u + cos_node * cos_u * math.cos(tilt),
                cos_u * math.sin(tilt),
            ],
            -1,
        )
        position = radius[..., None] * out
        spin = EARTH_RATE_RAD_S * np.stack([position[..., 1], -position[..., 0], np.zeros_like(radius)], -1)
        return position, radial[..., None] * out + across[..., None] * along + spin

    def seconds_since_node(self) -> float:
        """Time since the last ascending node at t = 0, s, of the mean motion."""
        return self.latitude_argument_rad % (2 * math.pi) / math.sqrt(MU_M3_S2 / SEMI_MAJOR_M**3)


def orbit_over(lon_deg: float, lat_deg: float, height_m: float, incidence_deg: float, descending: bool) -> KeplerOrbit:
    """The orbit that sees a point at zero Doppler at t = 0, right looking, at an ellipsoidal incidence angle.

    raises  ValueError when no such orbit exists (points near the poles)
    """
    target, normal = geodetic_to_ecef(lon_deg, lat_deg, height_m), ellipsoid_normal(lon_deg, lat_deg)
    limit = math.sin(math.radians(lat_deg)) / math.sin(math.radians(INCLINATION_DEG))
    if abs(limit) > 0.98:
        raise ValueError(f"latitude {lat_deg:.2f} is too close to the turning point of the orbit")
    u = math.pi - math.asin(limit) if descending else math.asin(limit)
    tilt = math.radians(INCLINATION_DEG)
    offset = math.radians(8.0 * incidence_deg / 37.0 / 1.5) / math.cos(math.radians(lat_deg))
    node = (
        math.radians(lon_deg)
        + (offset if descending else -offset)
        - math.atan2(math.sin(u) * math.cos(tilt), math.cos(u))
    )

    def misfit(unknown: F64) -> F64:
        position, velocity = KeplerOrbit(unknown[1], unknown[0]).state(0.0)
        sight = position - target
        cos = sight @ normal / np.linalg.norm(sight)
        return np.array([sight @ velocity / 1e9, math.degrees(math.acos(cos)) - incidence_deg])

    best = least_squares(misfit, np.array([u, node]), xtol=1e-15, ftol=1e-15, gtol=1e-15).x
    orbit = KeplerOrbit(float(best[1]), float(best[0]))
    position, velocity = orbit.state(0.0)
    right = np.cross(velocity, position)
    if np.abs(misfit(best)).max() > 1e-6 or right @ (target - position) <= 0:
        raise ValueError(f"no right-looking orbit sees {lon_deg:.3f}, {lat_deg:.3f} at {incidence_deg} degrees")
    return orbit


def zero_doppler(orbit: KeplerOrbit, xyz: F64) -> tuple[F64, F64]:
    """Zero-Doppler time in s and slant range in m of (..., 3) points, by Newton with a numerical derivative."""
    t = np.zeros(xyz.shape[:-1])

    def f(time: F64) -> F64:
        position, velocity = orbit.state(time)
        return np.asarray(((xyz - position) * velocity).sum(-1))

    for _ in range(5):
        t = t - f(t) * 0.02 / (f(t + 0.01) - f(t - 0.01))
    return t, np.linalg.norm(xyz - orbit.state(t)[0], axis=-1)


def ground_point(orbit: KeplerOrbit, time_s: Any, range_m: Any, height_m: float, start: F64) -> F64:
    """(..., 3) point at a geodetic height that is seen at zero Doppler at time and slant range, near `start`.

    Newton on range, Doppler and height; the constant-height surface is met to 1e-6 m by correcting the axes.
    """
    t, r = np.broadcast_arrays(np.asarray(time_s, dtype=np.float64), np.asarray(range_m, dtype=np.float64))
    position, velocity = orbit.state(t)
    x = np.broadcast_to(start, position.shape).copy()
    axis_height = np.full(t.shape, height_m)
    for outer in range(3):
        for _ in range(8):
            sight = x - position
            scale = 1 / np.stack([A_M + axis_height, A_M + axis_height, B_M + axis_height], -1) ** 2
            misfit = np.stack([(sight**2).sum(-1) - r**2, (sight * velocity).sum(-1), (x**2 * scale).sum(-1) - 1], -1)
            x = x - np.linalg.solve(np.stack([2 * sight, velocity, 2 * x * scale], -2), misfit[..., None])[..., 0]
        if outer < 2:
            axis_height = axis_height + height_m - ecef_to_geodetic(x)[2]
    return x
