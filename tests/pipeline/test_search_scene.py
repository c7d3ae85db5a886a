"""Search, download and Sentinel-2 preprocessing on a generated scene, as the user runs them.

The scene is made without sensor noise and misregistration, so that reflectance must equal the hidden truth within the
quantisation of the digital numbers, half of 1e-4.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from utils.io import raster

ROOT = Path(__file__).parents[2]
HALF_DN = 0.5e-4 + 1e-6
CONF = """\
extends: {root}/confs/default.yaml
work: {work}
report: {{synthetic: true}}
scene: {{enabled: true, size_px: 192, fires: 1, relief_m: 100.0, misregistration_px: 0.0, confusers: [rain], speckle: false}}
area: {{geojson: "{{scene}}/area.geojson", epsg: {epsg}}}
dates:
  t0: {{start: {t0_start}, end: 2019-11-15}}
  t1: {{start: 2020-01-28, end: 2020-02-12}}
search: {{archive: "{{scene}}/archive", max_cloud_aoi: {max_cloud}}}
download: {{link: {link}}}
preprocess: {{dem: {{path: "{{scene}}/dem.tif"}}}}
dataset: {{extra_bands: [B12]}}
hpc: {{allow_login: true}}
"""


@dataclass
class Scene:
    """A work directory with its generated products."""

    work: Path

    def conf(self, name: str = "conf", **changes: Any) -> Path:
        values = {
            "root": ROOT,
            "work": self.work,
            "epsg": 32755,
            "t0_start": "2019-11-01",
            "max_cloud": 1.0,
            "link": "copy",
        }
        path = self.work.parent / f"{name}.yaml"
        path.write_text(CONF.format(**(values | changes)).replace(f"{ROOT}/confs/", ""))
        (self.work.parent / "default.yaml").write_bytes((ROOT / "confs" / "default.yaml").read_bytes())
        return path

    def run(
        self, stage: str, *arguments: object, conf: Path | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        command = [ROOT / "s2cr", stage, conf or self.conf(), *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr
        return result

    def expected(self) -> dict[str, str]:
        return dict(json.loads((self.work / "scene" / "scene.json").read_text())["expected"])

    def digests(self, folder: str) -> dict[str, str]:
        files = sorted(p for p in (self.work / folder).rglob("*") if p.is_file() and p.name != "local_index.json")
        return {p.relative_to(self.work).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    made = Scene(tmp_path_factory.mktemp("search") / "work")
    for stage in ("make_scene", "find_images", "download", "preprocess_s2"):
        made.run(stage)
    return made


def pairs(scene: Scene) -> dict[str, Any]:
    return dict(json.loads((scene.work / "search" / "pairs.json").read_text()))


def test_the_intended_products_are_found_and_every_decoy_is_refused(scene: Scene) -> None:
    found, wanted = pairs(scene), scene.expected()
    (pair,) = found["pairs"]
    assert (pair["id"], pair["date1"]["id"], pair["date2"]["id"]) == ("p001", "20191106", "20200204")
    for date, number in (("date1", 0), ("date2", 1)):
        assert pair[date]["s1"]["products"] == [wanted[f"s1_t{number}"]]
        assert pair[date]["s2"]["products"] == [wanted[f"s2_t{number}"]]
        assert pair[date]["s1"]["coverage"] >= 0.999 and pair[date]["s2"]["valid_aoi"] == 1.0
    assert pair["date1"]["s2"]["cloud_aoi"] == 0.0 and pair["date2"]["s2"]["cloud_aoi"] > 5
    assert pair["warnings"] == ["W_BASELINE: one date has baseline 04.00 or later, the other an older one"]
    assert str(scene.work) not in json.dumps(found)  # no machine path
    lines = [json.loads(text) for text in (scene.work / "search" / "rejected.jsonl").read_text().splitlines()]
    assert sorted(line["code"] for line in lines) == ["R_CLOUD", "R_COVERAGE", "R_POL", "R_TRACK"]


def test_raw_equals_the_archive(scene: Scene) -> None:
    lock = json.loads((scene.work / "raw" / "downloads.lock.json").read_text())["files"]
    assert len(lock) == 5 and {record["mission"] for record in lock.values()} == {"S1", "S2", "DEM"}
    for name, record in lock.items():
        path = scene.work / "raw" / record["file"]
        source = scene.work / "scene" / ("dem.tif" if record["mission"] == "DEM" else f"archive/{name}.zip")
        assert path.read_bytes() == source.read_bytes() and path.stat().st_mode & 0o777 == 0o444
        assert hashlib.sha256(path.read_bytes()).hexdigest() == record["sha256"]


def read(scene: Scene, number: int, name: str) -> np.ndarray:
    folder = scene.work / "preprocessed" / "sentinel2" / scene.expected()[f"s2_t{number}"]
    return raster.read(folder / f"{name}.tif")[0]


def test_10_m_bands_equal_the_truth_within_quantisation(scene: Scene) -> None:
    truth = scene.work / "scene" / "truth"
    inner = (slice(1, -1), slice(1, -1))  # the simulator shades the outermost pixels of the truth from one-sided slopes
    for band in ("B02", "B03", "B04", "B08"):
        clear = raster.read(truth / "S2_t0_clear.tif", [band])[0]
        assert np.abs(read(scene, 0, band) - clear)[inner].max() <= HALF_DN
        # t1 has the offset of baseline 05.00 and clouds: compare where no class says cloud or shadow, 60 m away
        ground = (read(scene, 1, "cloud") == 0)[inner]
        difference = np.abs(read(scene, 1, band) - raster.read(truth / "S2_t1_clear.tif", [band])[0])[inner][ground]
        assert ground.mean() > 0.2 and np.percentile(difference, 90) <= HALF_DN


def test_20_m_band_is_bilinear(scene: Scene) -> None:
    clear = raster.read(scene.work / "scene" / "truth" / "S2_t0_clear.tif", ["B12"])[0].astype(np.float64)
    coarse = clear.reshape(96, 2, 96, 2).mean(axis=(1, 3))
    row, col = (np.mgrid[0:192, 0:192] + 0.5) / 2 - 0.5
    inner = (slice(4, -4), slice(4, -4))  # at the edge the product has pixels outside the area
    expected = ndimage.map_coordinates(coarse, [row, col], order=1, mode="nearest")
    assert np.abs(read(scene, 0, "B12") - expected)[inner].max() <= HALF_DN


def test_classes_nest_and_clouds_are_grown(scene: Scene) -> None:
    scl, codes = read(scene, 1, "scl"), read(scene, 1, "cloud")
    assert np.array_equal(scl, np.repeat(np.repeat(scl[::2, ::2], 2, axis=0), 2, axis=1))
    cloudy = np.isin(scl, (8, 9, 10))
    assert (codes[cloudy] == 1).all() and (codes == 1).sum() > cloudy.sum()
    far_m = ndimage.distance_transform_edt(~cloudy, sampling=10)
    inner = (slice(6, -6), slice(6, -6))  # clouds outside the area grow into it
    assert np.array_equal((codes == 1)[inner], (far_m <= 60)[inner])
    info = raster.info(scene.work / "preprocessed" / "sentinel2" / scene.expected()["s2_t1"] / "B04.tif")
    assert (info.tags["OFFSET_DN"], info.tags["OFFSET_SOURCE"], info.tags["PROCESSING_BASELINE"]) == (
        "-1000",
        "xml",
        "05.00",
    )
    assert (info.grid.x0, info.grid.y0, info.grid.shape) == (700000.0, 6100000.0, (192, 192))


def test_second_run_does_nothing_and_forced_run_gives_the_same_bytes(scene: Scene) -> None:
    before = {folder: scene.digests(folder) for folder in ("search", "raw", "preprocessed")}
    times = {p: p.stat().st_mtime_ns for p in scene.work.joinpath("raw").rglob("*.zip")}
    for stage in ("find_images", "download", "preprocess_s2"):
        assert "up to date" in scene.run(stage).stderr
    assert all(p.stat().st_mtime_ns == time for p, time in times.items())
    for stage in ("find_images", "download", "preprocess_s2"):
        scene.run(stage, "--force")
    assert {folder: scene.digests(folder) for folder in before} == before
    scene.run("download", "--verify-only")


def test_nothing_found_names_the_nearest_miss(scene: Scene, tmp_path: Path) -> None:
    archive = tmp_path / "work" / "scene"
    archive.parent.mkdir()
    archive.symlink_to(scene.work / "scene")
    other = Scene(tmp_path / "work")
    (tmp_path / "work" / "manifests").mkdir()
    (tmp_path / "work" / "manifests" / "make_scene.json").write_bytes(
        (scene.work / "manifests" / "make_scene.json").read_bytes()
    )
    conf = other.conf(t0_start="2019-11-01", max_cloud=1.0)
    conf.write_text(conf.read_text().replace("end: 2019-11-15", "end: 2019-11-05"))  # only the cloudy decoy is left
    result = other.run("find_images", conf=conf, code=72)
    assert (
        "nearest miss for t0" in result.stderr
        and "R_CLOUD" in result.stderr
        and "Raise search.max_cloud_aoi to" in result.stderr
    )
    assert not (other.work / "search" / "pairs.json").exists() and (other.work / "search" / "rejected.jsonl").exists()


def test_area_command(scene: Scene) -> None:
    assert scene.run("area").stdout.startswith("POLYGON ((149.")
    facts = json.loads((scene.work / "search" / "area" / "grid.json").read_text())
    assert facts["grid"] == {
        "epsg": 32755,
        "x0": 700000.0,
        "y0": 6100000.0,
        "dx": 10.0,
        "dy": -10.0,
        "rows": 192,
        "cols": 192,
    }
    wrong = scene.run("area", conf=scene.conf("wrong", epsg=32633), code=65)
    assert "Its own zone is 32755" in wrong.stderr


def test_broken_product_ends_with_its_code_and_leaves_nothing(scene: Scene, tmp_path: Path) -> None:
    """A truncated zip in raw/: 66 with the documented sentence, no half-written folder."""
    name = scene.expected()["s2_t1"]
    path = scene.work / "raw" / "date2" / f"{name}.zip"
    whole, folder = path.read_bytes(), scene.work / "preprocessed" / "sentinel2" / name
    kept = scene.digests("preprocessed")
    path.chmod(0o644)
    try:
        path.write_bytes(whole[:-200].ljust(len(whole), b"\0"))
        failed = scene.run("preprocess_s2", "--force", code=71)
        assert (
            f"{name}.zip: not a readable zip (central directory missing). Download it again: make download"
            in failed.stderr
        )
        assert "files of raw/ differ" in scene.run("download", "--verify-only", code=78).stderr
    finally:
        path.write_bytes(whole)
        path.chmod(0o444)
    scene.run("preprocess_s2")
    assert scene.digests("preprocessed") == kept and folder.is_dir()
