"""`./s2cr area` as a process on a generated scene: layers against shapely, the map, the page, bad areas."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from osgeo import osr
from PIL import Image
from shapely.geometry import Polygon, shape
from shapely.ops import transform, unary_union

from tests.pipeline.test_search_scene import Scene

osr.UseExceptions()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A searched scene whose area is larger than the Sentinel-2 tile in the west, so that the intersection is smaller."""
    made = Scene(tmp_path_factory.mktemp("area") / "work")
    made.run("make_scene")
    west, south, east, north = area_of(made).bounds
    ring = [[west - 0.03, south], [east, south], [east, north], [west - 0.03, north], [west - 0.03, south]]
    write(made.work.parent / "wide.geojson", ring)
    made.run("find_images", conf=conf(made, "wide", ring, coverage=0.4))
    return made


def area_of(scene: Scene) -> Any:
    data = json.loads((scene.work / "scene" / "area.geojson").read_text())
    return unary_union([shape(f["geometry"]) for f in data["features"]])


def write(path: Path, ring: list[list[float]]) -> Path:
    path.write_text(json.dumps({"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}))
    return path


def conf(scene: Scene, name: str, ring: list[list[float]], coverage: float = 0.999, epsg: int = 32755) -> Path:
    """A configuration with its own area."""
    path = scene.conf(name, epsg=epsg)
    area = write(scene.work.parent / f"{name}.geojson", ring)
    text = path.read_text().replace("{scene}/area.geojson", str(area))
    path.write_text(text.replace("max_cloud_aoi", f"coverage: {coverage}, max_cloud_aoi"))
    return path


def projected(geometry: Any, epsg: int = 32755) -> Any:
    """Degrees to metres, written here again."""
    source, target = osr.SpatialReference(), osr.SpatialReference()
    source.ImportFromEPSG(4326)
    target.ImportFromEPSG(epsg)
    change = osr.CoordinateTransformation(source, target)
    return (
        transform(lambda x, y: change.TransformPoint(float(y), float(x))[:2], geometry)
        if not geometry.is_empty
        else geometry
    )


def point_by_point(geometry: Polygon) -> Polygon:
    return Polygon([projected(shapely.Point(p)).coords[0] for p in geometry.exterior.coords])


def shapes(path: Path) -> dict[str, Any]:
    return {f["properties"].get("date", ""): shape(f["geometry"]) for f in json.loads(path.read_text())["features"]}


def test_layers_equal_what_shapely_says(scene: Scene) -> None:
    folder = scene.work / "search" / "area"
    result = scene.run("area", conf=scene.work.parent / "wide.yaml")
    document = json.loads((scene.work / "search" / "pairs.json").read_text())
    (pair,) = document["pairs"]
    area = point_by_point(shape(json.loads((scene.work.parent / "wide.geojson").read_text())["geometry"]))
    shared = {}
    for date in ("date1", "date2"):
        for sensor in ("s2", "s1"):
            (name,) = pair[date][sensor]["products"]
            footprint = Polygon(document["products"][name]["footprint"])
            in_utm = point_by_point(footprint)
            assert shapes(folder / f"{sensor}_{date}.geojson")[date].equals(footprint)
            assert shapes(folder / f"{sensor}_{date}_utm.geojson")[date].symmetric_difference(in_utm).area < 1
            assert shapely.from_wkt((folder / f"{sensor}_{date}.wkt").read_text()).hausdorff_distance(footprint) < 1e-6
            shared[date] = shared.get(date, area).intersection(in_utm)
    shared["both"] = shared["date1"].intersection(shared["date2"])
    found = shapes(folder / "intersection_utm.geojson")
    assert set(found) == set(shared)
    for date, expected in shared.items():
        assert 0.4 < expected.area / area.area < 0.9  # the area is wider than the tile
        assert found[date].symmetric_difference(expected).area < 1
        degrees = shapes(folder / "intersection.geojson")[date]
        assert point_by_point(degrees).symmetric_difference(expected).area < 10  # nine decimals or fewer
    lines = (folder / "intersection.wkt").read_text().splitlines()
    assert [shapely.from_wkt(line).geom_type for line in lines] == ["Polygon"] * 3
    share = 100 * shared["both"].area / area.area
    assert f"{share:.2f} % at both" in result.stderr


def test_map_and_page(scene: Scene) -> None:
    folder = scene.work / "search" / "area"
    scene.run("area", conf=scene.work.parent / "wide.yaml")
    image = np.asarray(Image.open(folder / "area.png").convert("RGB")).astype(int)
    assert image.shape[1] == 1500 and image.std() > 20

    def count(rgb: tuple[int, int, int]) -> int:
        return int((np.abs(image - np.asarray(rgb)).max(axis=2) < 30).sum())

    assert count((185, 28, 28)) > 1000 and count((29, 78, 216)) > 200 and count((124, 58, 237)) > 200  # area, S2, S1
    page = (folder / "area.html").read_text()
    archive = list((scene.work / "scene" / "archive").glob("*.zip"))
    assert len(re.findall(r"data-id='", page)) == len(archive) == 8  # one product each: chosen, refused or left over
    for name in scene.expected().values():
        assert page.count(f"data-id='{name}'") <= 1
    assert "synthetic" in page and "Best pair: 20191106 and 20200204" in page and str(scene.work) not in page
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    scene.run("area", conf=scene.work.parent / "wide.yaml")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_stale_pairs_are_told(scene: Scene) -> None:
    west, south, east, north = area_of(scene).bounds
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    result = scene.run("area", conf=conf(scene, "other", ring))
    assert (
        "search/pairs.json is not of this configuration" in result.stderr and "run find_images again" in result.stderr
    )
    assert "is not of this configuration" in (scene.work / "search" / "area" / "area.html").read_text()


def test_rank_and_thumbnails(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = scene.work.parent / "wide.yaml"
    monkeypatch.setenv("HOME", str(tmp_path))  # nobody is logged in
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    assert "no pair of rank 2; there are 1" in scene.run("area", "--rank", 2, conf=wide, code=2).stderr
    project = scene.work.parent / "project.yaml"
    project.write_text(wide.read_text().replace("max_cloud_aoi", "gee_project: none, max_cloud_aoi"))
    refused = scene.run("area", "--thumbnails", conf=project, code=76)
    assert "Earth Engine" in refused.stderr and "earthengine authenticate" in refused.stderr


def test_without_a_search(scene: Scene, tmp_path: Path) -> None:
    path = scene.conf("alone")
    path.write_text(
        path.read_text()
        .replace(f"work: {scene.work}", f"work: {tmp_path}/w")
        .replace("{scene}", str(scene.work / "scene"))
    )
    scene.run("area", conf=path)
    folder = tmp_path / "w" / "search" / "area"
    names = {"area.geojson", "area_utm.geojson", "area.wkt", "grid.json", "tiles.geojson", "area.png", "area.html"}
    assert {p.name for p in folder.iterdir()} == names
    assert "Area, not searched yet" in (folder / "area.html").read_text()
    image = np.asarray(Image.open(folder / "area.png").convert("RGB")).astype(int)
    assert (np.abs(image - np.asarray((185, 28, 28))).max(axis=2) < 30).sum() > 1000
    assert shapely.from_wkt((folder / "area.wkt").read_text()).hausdorff_distance(area_of(scene)) < 1e-6


X, Y = 149.2, -35.2
BOW = [[X, Y], [X + 0.1, Y + 0.1], [X + 0.1, Y], [X, Y + 0.1], [X, Y]]
SWAPPED = [[Y, X], [Y, X + 0.1], [Y + 0.1, X + 0.1], [Y, X]]
HELSINKI = [[60.1, 24.6], [60.2, 24.6], [60.2, 24.7], [60.1, 24.6]]  # in range both ways: the zone tells


@pytest.mark.parametrize(
    ("name", "ring", "epsg", "code", "cause", "remedy"),
    [
        ("bow", BOW, 32755, 66, "the edge from vertex 1 to 2 and the edge from vertex 3 to 4 meet", "Redraw the ring"),
        ("swapped", SWAPPED, 32755, 66, "vertex 1: latitude 149.2 is outside -90..90; latitude and longitude look swapped", "swap them"),
        ("hidden", HELSINKI, 32635, 65, "latitude and longitude look swapped from its first vertex on, [60.1, 24.6]", "Correct area.epsg or"),
        ("open", BOW[:3], 32755, 66, "a ring with 3 positions is not closed", "Repeat its first position"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stage", ["area", "find_images"])
def test_bad_areas(
    scene: Scene, stage: str, name: str, ring: Any, epsg: int, code: int, cause: str, remedy: str
) -> None:
    result = scene.run(stage, conf=conf(scene, name, ring, epsg=epsg), code=code)
    lines = result.stderr.splitlines()
    assert len(lines) == 2 and cause in lines[0] and remedy in lines[1]
    assert result.stdout == ""


def test_an_area_outside_the_swath(scene: Scene) -> None:
    away = conf(scene, "away", [[X - 1, Y], [X - 0.9, Y], [X - 0.9, Y + 0.1], [X - 1, Y]])
    refused = scene.run("area", conf=away, code=72).stderr.splitlines()
    assert re.search(r"The area lies outside S2B_MSIL2A_20191106\w+, (79|80|81) km from its edge\.", refused[-2])
    assert "Correct area.geojson" in refused[-1]
    searched = scene.run("find_images", conf=away, code=72).stderr
    assert (
        "no candidate for t0 over the area" in searched
        and "outside the area" in searched
        and "Check area.geojson" in searched
    )
