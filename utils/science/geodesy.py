"""WGS84: geodetic, earth-centred and UTM coordinates, in closed formulas and series without any library.

The radar chain only needs UTM, and must give the same numbers on every machine, whatever PROJ is installed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

WGS84_A_M = 6378137.0
WGS84_F = 1.0 / 298.257223563
WGS84_E2 = WGS84_F * (2.0 - WGS84_F)
_WGS84_B_M = WGS84_A_M * (1.0 - WGS84_F)
_UTM_SCALE = 0.9996
_FALSE_EASTING_M = 500_000.0
_FALSE_NORTHING_SOUTH_M = 10_000_000.0

# Series in the third flattening n, to n^6: L. Krueger 1912; C. Karney 2011, J. Geodesy 85, eq. 35 and 36.
_N = WGS84_F / (2.0 - WGS84_F)
_RECTIFYING_RADIUS_M = WGS84_A_M / (1 + _N) * (1 + _N**2 / 4 + _N**4 / 64 + _N**6 / 256)
_ALPHA = (
    _N / 2 - 2 * _N**2 / 3 + 5 * _N**3 / 16 + 41 * _N**4 / 180 - 127 * _N**5 / 288 + 7891 * _N**6 / 37800,
    13 * _N**2 / 48 - 3 * _N**3 / 5 + 557 * _N**4 / 1440 + 281 * _N**5 / 630 - 1983433 * _N**6 / 1935360,
    61 * _N**3 / 240 - 103 * _N**4 / 140 + 15061 * _N**5 / 26880 + 167603 * _N**6 / 181440,
    49561 * _N**4 / 161280 - 179 * _N**5 / 168 + 6601661 * _N**6 / 7257600,
    34729 * _N**5 / 80640 - 3418889 * _N**6 / 1995840,
    212378941 * _N**6 / 319334400,
)
_BETA = (
    _N / 2 - 2 * _N**2 / 3 + 37 * _N**3 / 96 - _N**4 / 360 - 81 * _N**5 / 512 + 96199 * _N**6 / 604800,
    _N**2 / 48 + _N**3 / 15 - 437 * _N**4 / 1440 + 46 * _N**5 / 105 - 1118711 * _N**6 / 3870720,
    17 * _N**3 / 480 - 37 * _N**4 / 840 - 209 * _N**5 / 4480 + 5569 * _N**6 / 90720,
    4397 * _N**4 / 161280 - 11 * _N**5 / 504 - 830251 * _N**6 / 7257600,
    4583 * _N**5 / 161280 - 108847 * _N**6 / 3991680,
    20648693 * _N**6 / 638668800,
)


def geodetic_to_ecef(lon_deg: ArrayLike, lat_deg: ArrayLike, height_m: ArrayLike) -> FloatArray:
    """Earth-centred coordinates of geodetic ones.

    lon_deg, lat_deg  degrees; height_m ellipsoidal height; any shapes that broadcast to S
    returns           S + (3,) float64, m
    """
    lon, lat, height = np.broadcast_arrays(
        np.radians(np.asarray(lon_deg, float)), np.radians(np.asarray(lat_deg, float)), np.asarray(height_m, float)
    )
    sin, cos = np.sin(lat), np.cos(lat)
    normal_m = WGS84_A_M / np.sqrt(1 - WGS84_E2 * sin**2)
    return np.stack(
        [
            (normal_m + height) * cos * np.cos(lon),
            (normal_m + height) * cos * np.sin(lon),
            (normal_m * (1 - WGS84_E2) + height) * sin,
        ],
        axis=-1,
    )


def ecef_to_geodetic(ecef_m: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Geodetic coordinates of earth-centred ones, by Bowring's formula repeated twice (1e-9 m below 100 km).

    ecef_m   S + (3,) m
    returns  longitude and latitude in degrees and ellipsoidal height in m, each of shape S
    source   Bowring 1976, Survey Review 23
    """
    x, y, z = np.moveaxis(np.asarray(ecef_m, float), -1, 0)
    p = np.hypot(x, y)
    second_e2 = WGS84_E2 / (1 - WGS84_E2)
    reduced = np.arctan2(z * WGS84_A_M, p * _WGS84_B_M)
    lat = reduced
    for _ in range(3):
        lat = np.arctan2(
            z + second_e2 * _WGS84_B_M * np.sin(reduced) ** 3, p - WGS84_E2 * WGS84_A_M * np.cos(reduced) ** 3
        )
        reduced = np.arctan2((1 - WGS84_F) * np.sin(lat), np.cos(lat))
    # distance along the normal; stays exact at the poles, unlike p / cos(lat) - N
    height = p * np.cos(lat) + z * np.sin(lat) - WGS84_A_M * np.sqrt(1 - WGS84_E2 * np.sin(lat) ** 2)
    return np.degrees(np.arctan2(y, x)), np.degrees(lat), height


def ellipsoid_normal(lon_deg: ArrayLike, lat_deg: ArrayLike) -> FloatArray:
    """Unit outward normal of the ellipsoid, S + (3,) float64: the derivative of the position by height."""
    lon, lat = np.broadcast_arrays(np.radians(np.asarray(lon_deg, float)), np.radians(np.asarray(lat_deg, float)))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def utm_zone(epsg: int) -> tuple[int, bool]:
    """(zone 1..60, southern hemisphere) of a WGS84 UTM code 326zz or 327zz.

    raises  ValueError for any other code
    """
    base, zone = divmod(epsg, 100)
    if base not in (326, 327) or not 1 <= zone <= 60:
        raise ValueError(f"EPSG:{epsg} is not a WGS84 UTM zone (32601..32660, 32701..32760)")
    return zone, base == 327


def _central_meridian_deg(zone: int) -> float:
    return 6.0 * zone - 183.0


def geodetic_to_utm(lon_deg: ArrayLike, lat_deg: ArrayLike, epsg: int) -> tuple[FloatArray, FloatArray]:
    """Easting and northing, m, of geodetic coordinates in degrees; nanometres within 10 degrees of the meridian.

    raises  ValueError if epsg is no WGS84 UTM zone
    source  Krueger series, Karney 2011
    """
    zone, south = utm_zone(epsg)
    lon, lat = np.broadcast_arrays(np.asarray(lon_deg, float), np.asarray(lat_deg, float))
    lam, tau = np.radians(lon - _central_meridian_deg(zone)), np.tan(np.radians(lat))
    conformal = _conformal_tangent(tau)
    xi0 = np.arctan2(conformal, np.cos(lam))
    eta0 = np.arcsinh(np.sin(lam) / np.hypot(conformal, np.cos(lam)))
    xi, eta = xi0.copy(), eta0.copy()
    for k, factor in enumerate(_ALPHA, start=1):
        xi += factor * np.sin(2 * k * xi0) * np.cosh(2 * k * eta0)
        eta += factor * np.cos(2 * k * xi0) * np.sinh(2 * k * eta0)
    scale = _UTM_SCALE * _RECTIFYING_RADIUS_M
    return _FALSE_EASTING_M + scale * eta, (_FALSE_NORTHING_SOUTH_M if south else 0.0) + scale * xi


def utm_to_geodetic(x_m: ArrayLike, y_m: ArrayLike, epsg: int) -> tuple[FloatArray, FloatArray]:
    """Longitude and latitude in degrees of UTM coordinates in m; inverse of geodetic_to_utm.

    raises  ValueError if epsg is no WGS84 UTM zone
    """
    zone, south = utm_zone(epsg)
    x, y = np.broadcast_arrays(np.asarray(x_m, float), np.asarray(y_m, float))
    scale = _UTM_SCALE * _RECTIFYING_RADIUS_M
    eta = (x - _FALSE_EASTING_M) / scale
    xi = (y - (_FALSE_NORTHING_SOUTH_M if south else 0.0)) / scale
    xi0, eta0 = xi.copy(), eta.copy()
    for k, factor in enumerate(_BETA, start=1):
        xi0 -= factor * np.sin(2 * k * xi) * np.cosh(2 * k * eta)
        eta0 -= factor * np.cos(2 * k * xi) * np.sinh(2 * k * eta)
    conformal = np.sin(xi0) / np.hypot(np.sinh(eta0), np.cos(xi0))
    tau = conformal / (1 - WGS84_E2)
    for _ in range(4):  # Newton, Karney 2011 eq. 19 to 21: two steps reach rounding
        trial = _conformal_tangent(tau)
        tau = tau + (conformal - trial) / np.hypot(1, trial) * (1 + (1 - WGS84_E2) * tau**2) / (
            (1 - WGS84_E2) * np.hypot(1, tau)
        )
    lon = np.degrees(np.arctan2(np.sinh(eta0), np.cos(xi0))) + _central_meridian_deg(zone)
    lon = np.where(lon < -180, lon + 360, np.where(lon >= 180, lon - 360, lon))
    return lon, np.degrees(np.arctan(tau))


def _conformal_tangent(tau: FloatArray) -> FloatArray:
    """Tangent of the conformal latitude from the tangent of the geodetic one (Karney 2011, eq. 7 and 9)."""
    e = math.sqrt(WGS84_E2)
    sigma = np.sinh(e * np.arctanh(e * tau / np.hypot(1, tau)))
    return np.asarray(tau * np.hypot(1, sigma) - sigma * np.hypot(1, tau))
