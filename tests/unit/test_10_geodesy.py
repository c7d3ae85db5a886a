"""Coordinates against PROJ (through GDAL), which is not used by the code under test."""

import numpy as np
import pytest
from osgeo import osr

from utils.science import geodesy

osr.UseExceptions()


def _proj(source: int, target: int, points: np.ndarray) -> np.ndarray:
    systems = []
    for code in (source, target):
        system = osr.SpatialReference()
        system.ImportFromEPSG(code)
        system.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
        systems.append(system)
    return np.array(osr.CoordinateTransformation(*systems).TransformPoints(points))


@pytest.mark.parametrize(
    ("epsg", "y0"), [(32755, 6_100_000.0), (32633, 4_650_000.0), (32631, 9_200_000.0), (32701, 1_200_000.0)]
)
def test_utm_agrees_with_proj_to_a_nanometre_scale(epsg: int, y0: float) -> None:
    x, y = np.meshgrid(np.linspace(166_000, 834_000, 7), y0 + np.linspace(0, 100_000, 5))
    lon, lat = geodesy.utm_to_geodetic(x, y, epsg)
    theirs = _proj(epsg, 4326, np.column_stack([x.ravel(), y.ravel()]))
    assert np.abs(lon.ravel() - theirs[:, 0]).max() < 1e-11  # 1e-11 degrees = 1 micrometre
    assert np.abs(lat.ravel() - theirs[:, 1]).max() < 1e-11
    back_x, back_y = geodesy.geodetic_to_utm(lon, lat, epsg)
    assert np.abs(back_x - x).max() < 1e-7
    assert np.abs(back_y - y).max() < 1e-7


def test_ecef_agrees_with_proj_and_inverts() -> None:
    lon, lat = np.array([12.5, 149.1, -70.2, 0.0]), np.array([42.0, -35.3, 78.9, 0.0])
    height = np.array([0.0, 856.0, -30.0, 8848.0])
    ours = geodesy.geodetic_to_ecef(lon, lat, height)
    theirs = _proj(4979, 4978, np.column_stack([lon, lat, height]))
    assert np.abs(ours - theirs).max() < 1e-6
    back = geodesy.ecef_to_geodetic(ours)
    assert np.abs(back[0] - lon).max() < 1e-12
    assert np.abs(back[1] - lat).max() < 1e-12
    assert np.abs(back[2] - height).max() < 1e-7


def test_pole_and_satellite_height() -> None:
    point = geodesy.geodetic_to_ecef(17.0, 90.0, 100.0)
    assert point[2] == pytest.approx(6356752.314245 + 100.0, abs=1e-5)
    _, lat, height = geodesy.ecef_to_geodetic(geodesy.geodetic_to_ecef(17.0, -63.0, 693_000.0))
    assert (float(lat), float(height)) == pytest.approx((-63.0, 693_000.0), abs=1e-6)


def test_normal_is_the_derivative_by_height() -> None:
    step = geodesy.geodetic_to_ecef(10.0, 50.0, 1.0) - geodesy.geodetic_to_ecef(10.0, 50.0, 0.0)
    assert np.abs(step - geodesy.ellipsoid_normal(10.0, 50.0)).max() < 1e-9


@pytest.mark.parametrize("epsg", [4326, 32600, 32661, 32761, 3857])
def test_only_utm_is_accepted(epsg: int) -> None:
    with pytest.raises(ValueError, match="not a WGS84 UTM zone"):
        geodesy.utm_to_geodetic(500_000.0, 0.0, epsg)
