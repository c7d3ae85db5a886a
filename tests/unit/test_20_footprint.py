"""Areas, grids and coverage."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from osgeo import osr
from shapely.geometry import box

from utils.io.footprint import (
    Coverage,
    aoi_geometry,
    aoi_grid,
    geojson_to_wkt,
    grid_of,
    overlap_share,
    to_utm,
    utm_of,
)
from utils.science.grid import Grid
from utils.science.product import Product, parse_time
from utils.workflow.errors import ConfigError, InputError

SQUARE = [[149.1, -35.4], [149.2, -35.4], [149.2, -35.3], [149.1, -35.3], [149.1, -35.4]]


def write(path: Path, rings: Any, **extra: Any) -> Path:
    path.write_text(json.dumps({"type": "Feature", "geometry": {"type": "Polygon", "coordinates": rings}, **extra}))
    return path


def lonlat(x: float, y: float, epsg: int = 32755) -> tuple[float, float]:
    source, target = osr.SpatialReference(), osr.SpatialReference()
    source.ImportFromEPSG(epsg)
    target.ImportFromEPSG(4326)
    target.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    lon, lat, _ = osr.CoordinateTransformation(source, target).TransformPoint(x, y)
    return lon, lat


def product(ring: list[tuple[float, float]]) -> Product:
    time = parse_time("20200101T000000")
    return Product("p", "S1", "S1A", "GRDH", "IW", time, time, footprint=tuple(ring))


def utm_product(x0: float, y0: float, x1: float, y1: float) -> Product:
    return product([lonlat(x, y) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))])


def test_wkt_and_merge(tmp_path: Path) -> None:
    assert geojson_to_wkt(write(tmp_path / "a.geojson", [SQUARE])) == (
        "POLYGON ((149.1 -35.4, 149.2 -35.4, 149.2 -35.3, 149.1 -35.3, 149.1 -35.4))"
    )
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [SQUARE]}},
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[x + 0.05, y] for x, y in SQUARE]]}},
    ]
    path = tmp_path / "two.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert aoi_geometry(path).bounds == pytest.approx((149.1, -35.4, 149.25, -35.3))


@pytest.mark.parametrize(
    ("ring", "message"),
    [
        (SQUARE[:-1], "is not closed"),
        (
            [[y, x] for x, y in SQUARE],
            r"vertex 1: latitude 149\.1 is outside -90\.\.90; latitude and longitude look swapped",
        ),
        ([SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3], SQUARE[0]], r"Self-intersection\[149\.15 -35\.35\]"),
        ([[x * 1000, y * 1000] for x, y in SQUARE], "is not in degrees"),
        ([[179.9, 0], [-179.9, 0], [-179.9, 1], [179.9, 1], [179.9, 0]], "antimeridian"),
        ([[149.1, None], *SQUARE], r"vertex 1: \[149\.1, None\] is no position"),
    ],
)
def test_bad_rings_name_the_place(tmp_path: Path, ring: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        aoi_geometry(write(tmp_path / "a.geojson", [ring]))


def test_other_bad_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        aoi_geometry(tmp_path / "none.geojson")
    (tmp_path / "x.geojson").write_text("{")
    with pytest.raises(InputError, match="not readable as JSON"):
        aoi_geometry(tmp_path / "x.geojson")
    (tmp_path / "y.geojson").write_text('{"type":"Point","coordinates":[1,2]}')
    with pytest.raises(InputError, match="no Polygon"):
        aoi_geometry(tmp_path / "y.geojson")
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32755"}}
    with pytest.raises(InputError, match="EPSG::32755"):
        aoi_geometry(write(tmp_path / "z.geojson", [SQUARE], crs=crs))


def test_zone_of_area() -> None:
    assert utm_of(box(149.1, -35.4, 149.2, -35.3)) == 32755
    assert utm_of(box(12.1, 41.0, 12.9, 42.0)) == 32633
    assert utm_of(box(143.0, -30.0, 144.0, -29.0)) == 32754  # the east edge lies on the border of zone 55
    with pytest.raises(ConfigError, match=r"two UTM zones \(54, 55\)\. Set area\.epsg to one of 32754, 32755"):
        utm_of(box(143.5, -36, 144.5, -35))


def test_wrong_zone_and_swapped_axes() -> None:
    with pytest.raises(ConfigError, match="Its own zone is 32755"):
        grid_of(box(149.1, -35.4, 149.2, -35.3), 32633)
    with pytest.raises(ConfigError, match="look swapped"):
        grid_of(box(41.8, 12.4, 41.9, 12.5), 32633)  # Rome with latitude first
    with pytest.raises(ConfigError, match="no UTM zone"):
        grid_of(box(149.1, -35.4, 149.2, -35.3), 4326)


@pytest.mark.parametrize(("decimals", "rows"), [(None, 150), (8, 150), (7, 150)])
def test_grid_does_not_grow_when_the_box_is_a_multiple(tmp_path: Path, decimals: int | None, rows: int) -> None:
    corners = [(700000, 6100000), (701200, 6100000), (701200, 6098500), (700000, 6098500), (700000, 6100000)]
    ring = [list(lonlat(x, y)) for x, y in corners]
    ring = ring if decimals is None else [[round(v, decimals) for v in p] for p in ring]
    (tmp_path / "scene").mkdir()
    write(tmp_path / "scene" / "a.geojson", [ring])
    area = SimpleNamespace(geojson="{scene}/a.geojson", epsg=32755, pixel_m=10.0)
    grid = aoi_grid(area, tmp_path, tmp_path)
    assert grid == Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, rows, 120)


def test_grid_snaps_outwards_to_20_m() -> None:
    area = box(149.1, -35.4, 149.2, -35.3)
    grid = grid_of(area, None)
    left, bottom, right, top = to_utm(area, 32755).bounds
    assert grid.x0 % 20 == 0 and grid.y0 % 20 == 0 and grid.rows % 2 == 0 and grid.cols % 2 == 0
    xmin, ymin, xmax, ymax = grid.bounds
    assert 0 <= left - xmin < 20 and 0 <= xmax - right < 20 and 0 <= bottom - ymin < 20 and 0 <= ymax - top < 20


def test_utm_values() -> None:
    # on the meridian of zone 55 x is 500000 and y follows from the arc of the meridian, scale 0.9996
    a, e2, steps = 6378137.0, 6.69437999014e-3, 20000
    latitudes = np.radians(35) * (np.arange(steps) + 0.5) / steps
    arc_m = np.sum(a * (1 - e2) / (1 - e2 * np.sin(latitudes) ** 2) ** 1.5) * np.radians(35) / steps
    point = to_utm(box(147, -35, 147.0000001, -34.9999999), 32755).bounds
    assert point[0] == pytest.approx(500000, abs=0.02)
    assert point[1] == pytest.approx(10_000_000 - 0.9996 * arc_m, abs=0.02)


def test_coverage_of_two_slices_with_a_seam() -> None:
    area = box(*lonlat(700000, 6090000), *lonlat(710000, 6100000))
    inner = to_utm(area, 32755).bounds
    north = utm_product(inner[0] - 9e3, 6095000.0, inner[2] + 9e3, 6120000.0)
    south = utm_product(inner[0] - 9e3, 6070000.0, inner[2] + 9e3, 6094990.0)  # 10 m gap as published footprints have
    plain, grown = Coverage(area, 32755), Coverage(area, 32755, seam_m=50.0)
    assert grown([north, south]) == pytest.approx(1.0, abs=1e-9)
    assert plain([north, south]) == pytest.approx(1 - 10 * 10000 / plain.area.area, rel=2e-4)
    assert plain([north]) == pytest.approx(0.5, abs=0.01)
    assert plain.missing_side([north]) == "south" and plain.missing_side([south]) == "north"
    assert grown.missing_side([north, south]) == ""
    assert plain([]) == 0.0
    assert plain([product([(12.0, 41.0), (13.0, 41.0), (13.0, 42.0)])]) == 0.0  # the other side of the Earth


def test_margin_counts() -> None:
    area = box(*lonlat(700000, 6090000), *lonlat(710000, 6100000))
    left, bottom, right, top = to_utm(area, 32755).bounds
    exact = utm_product(left, bottom, right, top)
    assert Coverage(area, 32755)([exact]) == pytest.approx(1.0, abs=2e-3)
    grown = Coverage(area, 32755, margin_m=1000.0)
    assert grown([exact]) == pytest.approx((right - left) * (top - bottom) / grown.area.area, rel=2e-3)
    assert 0.68 < grown([exact]) < 0.74  # (10 / 12) squared and a little more: the box leans


def test_overlap_share() -> None:
    a, b = product([(0, 0), (2, 0), (2, 1), (0, 1)]), product([(1, 0), (2, 0), (2, 1), (1, 1)])
    assert overlap_share(a, b) == 1.0
    c = product([(1.5, 0), (2.5, 0), (2.5, 1), (1.5, 1)])
    assert overlap_share(a, c) == pytest.approx(0.5)
