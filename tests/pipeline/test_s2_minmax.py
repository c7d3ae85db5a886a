"""./s2cr s2_minmax against a server on loopback: the ranges are those of the images, per tile and year."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import ee_server, ee_world
from tests.fakes.ee_eval import World
from utils.io import gee_graph
from utils.science import indices

ROOT = Path(__file__).parents[2]
A, B = "20190104T000241_20190104T001612_T55HGA", "20190809T000239_20190809T001430_T55HGA"
C, D = "20190104T000241_20190104T001559_T55HGB", "20200204T000241_20200204T001559_T55HGB"


def configuration(folder: Path, url: str) -> Path:
    (folder / "area.geojson").write_text(json.dumps(ee_world.GEOMETRY))
    path = folder / "conf.yaml"
    path.write_text(
        f"work: {folder / 'work'}\n"
        f"area:\n  geojson: {folder / 'area.geojson'}\n"
        "dates:\n  t0: {start: 2019-01-01, end: 2019-03-01}\n  t1: {start: 2019-03-01, end: 2020-01-01}\n"
        f"search:\n  gee_project: p\n  endpoints:\n    gee: {url}\n"
    )
    return path


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("S2CR_G")}
    return subprocess.run(
        [ROOT / "s2cr", "s2_minmax", *map(str, arguments)], capture_output=True, text=True, env=env, check=False
    )


def expected(world: World, names: tuple[str, ...], images: tuple[str, ...], clear_only: bool) -> dict[str, list[float]]:
    """Band or index -> smallest and largest value of the valid (and clear) pixels of the area."""
    values: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for index in images:
        dn = ee_world.planes(world, gee_graph.S2["L2A"], index)
        cs = ee_world.planes(world, gee_graph.CLOUD_SCORE_PLUS, index)["cs"]
        use = world.inside & np.isfinite(dn["B11"]) & ((cs >= 0.6) if clear_only else True)
        bands = {f"B0{n[1]}" if len(n) == 2 else n: v / 1e4 for n, v in dn.items() if n != "SCL"}
        for name in names:
            values[name].append((indices.compute(name, bands) if name in indices.INDICES else bands[name])[use])
    return {
        name: [float(np.nanmin(np.concatenate(v))), float(np.nanmax(np.concatenate(v)))] for name, v in values.items()
    }


@pytest.fixture
def world() -> World:
    images = {A: 1, B: 2, C: 3, D: 4}
    return ee_world.make_world(images, tuple(images), ())


@pytest.mark.parametrize("clear_only", [True, False])
def test_ranges_of_two_years(world: World, tmp_path: Path, clear_only: bool) -> None:
    with ee_server.serving(world.answer) as server:
        path = configuration(tmp_path, server.url)
        flags = [] if clear_only else ["--all-pixels"]
        result = call(path, "--years", 2019, 2020, "--bands", "B02,B08,B12", *flags)
        assert result.returncode == 0, result.stderr
        assert len(server.expressions) == 2  # one request a year
    table = Path(result.stdout.strip())
    assert table == tmp_path / "work/search/minmax/s2_minmax.csv"
    rows = list(csv.DictReader(table.open()))
    found = {(r["year"], r["tile"], r["band"]): (int(r["images"]), float(r["min"]), float(r["max"])) for r in rows}
    names = ("B02", "B08", "B12", "NDVI", "EVI")
    wanted = {}
    for year, tile, images in (("2019", "55HGA", (A, B)), ("2019", "55HGB", (C,)), ("2020", "55HGB", (D,))):
        for name, ends in expected(world, names, images, clear_only).items():
            wanted[year, tile, name] = (len(images), *(pytest.approx(v, abs=1e-9) for v in ends))
    assert found == wanted
    facts = json.loads(table.with_suffix(".json").read_text())
    assert facts["schema"] == "s2cr.s2_minmax/1" and facts["years"] == [2019, 2020] and len(facts["rows"]) == 15
    assert (facts["clear"] is None) != clear_only and facts["collection"] == "COPERNICUS/S2_SR_HARMONIZED"
    assert facts["scale_m"] == 20.0 and len(facts["area"]["sha256"]) == 64 and facts["code"]
    assert [p.name for p in sorted(table.parent.iterdir())] == ["s2_minmax.csv", "s2_minmax.json"]


def test_years_come_from_the_dates_and_a_dry_run_asks_nothing(world: World, tmp_path: Path) -> None:
    with ee_server.serving(world.answer) as server:
        path = configuration(tmp_path, server.url)
        result = call(path, "--dry-run")
        assert result.returncode == 0 and not server.requests
    assert (
        "would ask 1 time(s), 2019 to 2019: B02, B03, B04, B08, NDVI, EVI of COPERNICUS/S2_SR_HARMONIZED"
        in result.stderr
    )
    assert not (tmp_path / "work").exists()


def test_a_tile_without_a_clear_pixel_has_an_empty_range(world: World, tmp_path: Path) -> None:
    for image in world.collections[gee_graph.CLOUD_SCORE_PLUS]:
        if image.properties["system:index"] == C:
            image.at(20)["cs"].data[:] = 0.1
    with ee_server.serving(world.answer) as server:
        result = call(configuration(tmp_path, server.url), "--bands", "B02", "--indices", "")
    assert result.returncode == 0, result.stderr
    lines = (tmp_path / "work/search/minmax/s2_minmax.csv").read_text().splitlines()
    assert lines[0] == "year,tile,band,images,min,max" and lines[2] == "2019,55HGB,B02,1,,"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--years", "2021", "2021"], 72, "No Sentinel-2 image over the area from 2021 to 2021"),
        (["--years", "2020", "2019"], 65, "--years 2020 2019"),
        (["--bands", "", "--indices", ""], 65, "Neither a band nor an index"),
        (["--bands", "B10"], 2, "B10: there are"),
    ],
)
def test_what_fails(world: World, tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    with ee_server.serving(world.answer) as server:
        result = call(configuration(tmp_path, server.url), *arguments)
    assert result.returncode == code and text in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "work/search/minmax").exists()


def test_no_project(tmp_path: Path) -> None:
    path = configuration(tmp_path, "http://127.0.0.1:9")
    path.write_text(path.read_text().replace("  gee_project: p\n", ""))
    result = call(path)
    assert result.returncode == 65 and "search.gee_project is not set" in result.stderr
