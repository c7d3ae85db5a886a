"""The map as PNG and the layers of an area: known places have their colours, known shapes their areas."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image
from shapely.geometry import Polygon, box, shape

from utils.io import area_layers, maps
from utils.io.area_layers import Feature, Layer
from utils.io.footprint import crossing_edges, grid_of, to_lonlat, to_utm
from utils.io.maps import Outline

EPSG = 32755


def square(x0: float, y0: float, side: float) -> Polygon:
    """A square in metres, given in degrees."""
    return to_lonlat(box(x0, y0, x0 + side, y0 + side), EPSG)


def ring(polygon: Any) -> list[list[float]]:
    return [list(p) for p in polygon.exterior.coords[:-1]]


def record(name: str, polygon: Any) -> dict[str, Any]:
    return {"name": name, "start": "2019-11-06T00:00:00Z", "footprint": ring(polygon)}


def document(shapes: dict[str, list[Any]]) -> dict[str, Any]:
    """A pairs document; shapes: s2_date1 and so on -> footprints."""
    products, parts = {}, {}
    for key, polygons in shapes.items():
        names = [f"{key}_{i}" for i in range(len(polygons))]
        products |= {name: record(name, polygon) for name, polygon in zip(names, polygons, strict=True)}
        parts[key] = {"products": names}
    pair = {
        "id": "p001",
        "rank": 1,
        **{d: {s: parts.get(f"{s}_{d}") for s in ("s1", "s2")} for d in ("date1", "date2")},
    }
    return {"pairs": [pair], "products": products}


def test_degrees_there_and_back() -> None:
    metres = box(700000, 6090000, 710000, 6100000)
    assert to_utm(to_lonlat(metres, EPSG), EPSG).symmetric_difference(metres).area < 1  # of 1e8 m2


def test_intersection_of_area_tiles_and_passes() -> None:
    area = square(700000, 6090000, 10000)
    whole = square(690000, 6080000, 40000)
    half = square(705000, 6085000, 20000)  # the east half
    low = square(695000, 6075000, 20000)  # the south half
    layers = area_layers.layers_of(
        document({"s2_date1": [whole], "s1_date1": [half], "s2_date2": [low], "s1_date2": [whole]}), area, EPSG
    )
    assert [layer.name for layer in layers] == ["s2_date1", "s1_date1", "s2_date2", "s1_date2", "intersection"]
    one, two, both = layers[-1].features
    assert one.metres.symmetric_difference(box(705000, 6090000, 710000, 6100000)).area < 1
    assert two.metres.symmetric_difference(box(700000, 6090000, 710000, 6095000)).area < 1
    assert both.metres.symmetric_difference(box(705000, 6090000, 710000, 6095000)).area < 1
    assert [f.properties["share_of_area"] for f in layers[-1].features] == [0.5, 0.5, 0.25]
    assert both.properties["area_km2"] == pytest.approx(25, abs=1e-5)
    assert layers[0].area_km2 == pytest.approx(1600, abs=1e-3)


def test_a_seam_between_slices_is_closed_and_outer_edges_stay() -> None:
    north, south = square(700000, 6095010, 10000), square(700000, 6085000, 10000)  # 10 m apart
    joined = area_layers.joined([record("a", north), record("b", south)], EPSG)
    assert joined.symmetric_difference(box(700000, 6085000, 710000, 6105010)).area < 100
    assert area_layers.joined([record("a", north)], EPSG).area == pytest.approx(1e8, abs=10)


def test_an_area_that_only_touches_shares_nothing() -> None:
    area, beside = square(700000, 6090000, 10000), square(710000, 6090000, 10000)
    layers = area_layers.layers_of(document({"s2_date1": [beside], "s1_date1": [beside]}), area, EPSG)
    assert layers[-1].features[0].properties["share_of_area"] == pytest.approx(0, abs=1e-6)
    away = record("x", square(713000, 6090000, 1000))
    assert area_layers.distance_km(area, away, EPSG) == pytest.approx(3.0, abs=1e-3)
    assert area_layers.distance_km(area, record("x", beside), EPSG) == pytest.approx(0, abs=1e-3)


def test_missing_footprints_and_ranks() -> None:
    empty = document({"s2_date1": [], "s1_date1": []})
    assert area_layers.layers_of(empty, square(700000, 6090000, 10000), EPSG) == []
    with pytest.raises(LookupError, match="no pair of rank 2; there are 1"):
        area_layers.layers_of(empty, square(700000, 6090000, 10000), EPSG, rank=2)


def test_files_of_a_layer(tmp_path: Path) -> None:
    metres = box(700000, 6090000, 710000, 6100000)
    layer = Layer("s2_date1", (Feature(to_lonlat(metres, EPSG), metres, {"id": "<x>"}),))
    paths = area_layers.write(tmp_path, layer, EPSG)
    assert [p.name for p in paths] == ["s2_date1.geojson", "s2_date1_utm.geojson", "s2_date1.wkt"]
    degrees, utm = (json.loads(p.read_text()) for p in paths[:2])
    assert "crs" not in degrees and utm["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32755"
    assert shape(utm["features"][0]["geometry"]).equals(metres) and utm["features"][0]["properties"] == {"id": "<x>"}
    parsed = shapely.from_wkt(paths[2].read_text())
    assert parsed.hausdorff_distance(shape(degrees["features"][0]["geometry"])) <= 1e-7
    stale = tmp_path / "s1_date2.wkt"
    for name in ("s1_date2.wkt", "area.wkt"):
        (tmp_path / name).write_text("x")
    area_layers.remove_other(tmp_path, paths)
    assert not stale.exists() and (tmp_path / "area.wkt").exists() and all(p.exists() for p in paths)


def test_crossing_edges_are_named_by_vertex() -> None:
    bow = [[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]
    assert crossing_edges(bow) == "; the edge from vertex 1 to 2 and the edge from vertex 3 to 4 meet"
    last = [[0, 0], [2, 0], [2, 2], [1, 2], [1, -1], [0, 0]]
    assert crossing_edges(last) == "; the edge from vertex 1 to 2 and the edge from vertex 4 to 5 meet"
    assert crossing_edges([[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]) == ""


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (148.9, 151.2, 4, [149, 150, 151]),
        (-35.31, -35.02, 5, [-35.3, -35.2, -35.1]),
        (0.0, 0.04, 4, [0, 0.01, 0.02, 0.03, 0.04]),
        (3.0, 3.0, 4, [3.0]),
    ],
)
def test_round_steps(low: float, high: float, most: int, expected: list[float]) -> None:
    assert maps.steps(low, high, most) == pytest.approx(expected)


def test_words_of_degrees() -> None:
    assert [maps.degrees(v, "EW") for v in (149.2, -70.25, 0.0, 180.0, 180.5)] == [
        "149.2°E",
        "70.25°W",
        "0°",
        "180°",
        "179.5°W",
    ]
    assert [maps.degrees(v, "NS") for v in (60.0, -35.123456)] == ["60°N", "35.123456°S"]


def test_scale_bar_is_a_round_length_that_fits() -> None:
    # one degree of longitude at 60 north is 55.6 km; 0.3 of it is 16.7 km
    assert maps.bar_km((24.0, 59.5, 25.0, 60.5)) == 10.0
    assert maps.bar_km((24.0, -0.5, 25.0, 0.5)) == 20.0
    assert maps.bar_km((24.0, -0.5, 24.01, 0.5)) == pytest.approx(0.2)


def test_fitted_bounds_keep_the_middle_and_the_shape() -> None:
    west, south, east, north = maps.fitted((10, 59, 12, 61), 1.0)
    assert ((west + east) / 2, (south + north) / 2) == pytest.approx((11, 60))
    assert (north - south) / ((east - west) * 0.5) == pytest.approx(1.0)
    assert west <= 10 and east >= 12 and south <= 59 and north >= 61


def picture(outlines: list[Outline], title: str = "t") -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(maps.png(outlines, title, width_px=900))).convert("RGB")).astype(int)


def near(image: np.ndarray, rgb: tuple[int, int, int], tolerance: int = 12) -> np.ndarray:
    return np.asarray(np.abs(image - np.asarray(rgb)).max(axis=2) <= tolerance)


def test_the_area_lies_where_it_should_in_the_picture() -> None:
    image = picture([Outline("area", box(149.0, -35.2, 149.4, -35.0), "#ff0000", fill=1.0)])
    assert image.shape == (810, 900, 3)
    red = near(image, (255, 0, 0))
    red[720:] = False  # the legend
    rows, cols = np.nonzero(red)
    # 0.4 degrees at 35.1 south are 1.636 times as wide as 0.2 degrees are high; drawn in the middle of the frame
    assert (cols.max() - cols.min()) / (rows.max() - rows.min()) == pytest.approx(
        2 * np.cos(np.radians(35.1)), rel=0.02
    )
    assert (cols.max() + cols.min()) / 2 == pytest.approx(900 * (0.055 + 0.985) / 2, abs=2)
    assert red[rows.min() + 5 : rows.max() - 5, cols.min() + 5 : cols.max() - 5].all()


def test_a_far_larger_outline_gets_a_second_view_and_equal_input_equal_bytes() -> None:
    small = Outline("area", box(149.0, -35.1, 149.1, -35.0), "#00aa00", fill=1.0)
    large = Outline("swath", box(147.0, -36.0, 151.0, -34.0), "#0000ff", close=False)
    image = picture([large, small])
    assert image.shape == (594, 900, 3)
    green = near(image[:480], (0, 170, 0))
    left, right = green[:, :450].sum(), green[:, 450:].sum()
    assert left > 20 and right > 100 * left
    assert maps.png([large, small], "t") == maps.png([large, small], "t") != maps.png([large, small], "u")


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        maps.png([Outline("none", Polygon(), "#000000")], "t")


def test_outlines_of_the_map_tell_products_and_share() -> None:
    area = square(700000, 6090000, 10000)
    name = "S2B_MSIL2A_20191106T000239_N0213_R030_T55HGB_20191106T014722"
    made = document({"s2_date1": [square(695000, 6090000, 10000)]})
    made["products"] = {name: {**made["products"]["s2_date1_0"], "name": name}}
    made["pairs"][0]["date1"]["s2"]["products"] = [name]
    words = [o.words for o in area_layers.outlines(area_layers.layers_of(made, area, EPSG), area, grid_of(area, EPSG))]
    assert words == [
        "Sentinel-2 t0: S2B 2019-11-06 T55HGB",
        "Shared by area, tiles and passes: 50.0 % of the area",
        "Area of interest",
        "Target grid, 1000 x 1000 px of 10 m, EPSG:32755",
    ]
