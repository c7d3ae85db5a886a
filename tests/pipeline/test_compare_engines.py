"""./s2cr compare_engines on rasters of real runs of the native engine: equal, other settings, displaced."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import synthetic_l2a
from tests.s1_stage import convert
from utils.io import engine_folders, raster
from utils.io.download_lock import write_lock
from utils.io.synth_products import SceneProducts
from utils.science.grid import Window
from utils.workflow.errors import InputError
from utils.workflow.layout import Layout
from utils.workflow.schema import Dem, Scene, Speckle

ROOT = Path(__file__).parents[2]
SIZE_PX = 300


@dataclass(frozen=True)
class Runs:
    """Work directory of the native run, its product, and folders of other runs by name."""

    work: Path
    product: str
    others: dict[str, Path]

    @property
    def conf(self) -> Path:
        path = self.work / "conf.yaml"
        text = (ROOT / "confs" / "demo.yaml").read_text(encoding="utf-8").replace("extends: default.yaml\n", "")
        path.write_text(re.sub(r"^work: .*$", f"work: {self.work}", text, flags=re.MULTILINE), encoding="utf-8")
        return path


def _call(runs: Runs, *words: str, code: int = 0) -> tuple[list[str], str]:
    command = [str(ROOT / "s2cr"), "compare_engines", str(runs.conf), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout.splitlines(), done.stderr


def _report(runs: Runs) -> dict[str, Any]:
    folder = runs.work / "reports" / "engines"
    assert {path.name for path in folder.iterdir()} == {f"{runs.product}.json", f"{runs.product}.png"}
    return dict(json.loads((folder / f"{runs.product}.json").read_text()))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """One generated product through the native engine: as it is, with the nominal spacing, and on ground 50 m too high."""
    work = tmp_path_factory.mktemp("engines")
    scene = SceneProducts(Scene(size_px=SIZE_PX, decoys=False))
    scene.write_ground(work / "scene", {})
    archive = scene.write_s1("s1_t0", work / "scene" / "archive")
    info = raster.info(work / "scene" / "dem.tif")
    high = raster.read(work / "scene" / "dem.tif") + np.float32(50)
    raster.write(work / "scene" / "high.tif", high, info.grid, tags={"VERTICAL": "ellipsoid"})
    plain = {"speckle": Speckle(filter="none"), "quicklook": False}
    settings: dict[str, dict[str, Any]] = {
        "same": {},
        "nominal": {"azimuth_spacing": "nominal"},
        "high": {"dem": Dem(path="{scene}/high.tif")},
    }
    folder, others = Layout(work).preprocessed("sentinel1", archive.stem), {}
    for name, more in settings.items():
        convert(work, archive, scene.grid, **{**plain, **more})
        others[name] = Path(shutil.move(folder, work / f"run_{name}")) / ""
    shutil.copytree(others["same"], folder)
    (work / "raw").mkdir()
    shutil.copy(archive, work / "raw" / archive.name)
    write_lock(work / "raw", {archive.stem: {"file": archive.name, "mission": "S1", "size": 0, "sha256": ""}})
    return Runs(work, archive.stem, others)


def test_without_files_of_snap(runs: Runs) -> None:
    _, text = _call(runs, code=70)
    assert "preprocessed_snap: nothing from SNAP to compare with." in text
    assert (
        f"compare_engines {runs.conf} --product {runs.product} --snap {runs.work}_snap/preprocessed/sentinel1/" in text
    )
    assert not (runs.work / "reports").exists()
    _, text = _call(
        runs, "--product", runs.product, "--native", str(runs.work / "none"), "--snap", str(runs.work), code=66
    )
    assert "nothing from the native engine" in text


def test_equal_folders(runs: Runs) -> None:
    target = runs.work / "preprocessed_snap" / "sentinel1" / runs.product
    shutil.copytree(runs.others["same"], target)
    try:
        lines, text = _call(runs)
    finally:
        shutil.rmtree(target.parents[1])
    assert lines[0] == runs.product and "W_NOISE" not in text
    report = _report(runs)
    assert report["ok"] and report["noise"]["gamma0_vv"]["source"] == "noise table of the product"
    assert -32 < report["noise"]["gamma0_vh"]["gamma0_db"] < -20
    for name, found in report["rasters"].items():
        print(f"{name}: {found}")
        assert (found["median"], found["sigma"], found["shift_x_px"], found["shift_y_px"]) == (0.0, 0.0, 0.0, 0.0)
        assert found["share"] > (0.9 if name == "gamma0_vv" else 0.3)


def test_another_azimuth_spacing(runs: Runs) -> None:
    """The nominal spacing makes the area larger by 0.118 dB on this orbit, everywhere: a known gain."""
    lines, _ = _call(runs, "--product", runs.product, "--snap", str(runs.others["nominal"]))
    print("\n".join(lines))
    report = _report(runs)
    for found in report["rasters"].values():
        assert found["median"] == pytest.approx(-0.118, abs=0.003)
        assert found["sigma"] < 0.005
        assert np.hypot(found["shift_x_px"], found["shift_y_px"]) < 0.02
        assert found["ok"]
    assert report["ok"] and lines[1].endswith(": ok")
    picture = (runs.work / "reports" / "engines" / f"{runs.product}.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 20_000


def test_displaced_ground_is_seen(runs: Runs) -> None:
    """50 m of height at 37 degrees move the image by 50 / tan(37) = 66 m across the track."""
    lines, _ = _call(runs, "--product", runs.product, "--snap", str(runs.others["high"]), "--noise-db", "-40")
    print("\n".join(lines))
    found = _report(runs)["rasters"]["gamma0_vv"]
    assert np.hypot(found["shift_x_px"], found["shift_y_px"]) == pytest.approx(6.6, abs=0.3)
    assert not found["ok"] and lines[1].endswith(": short")


def test_grids_that_do_not_align(runs: Runs, tmp_path: Path) -> None:
    info = raster.info(runs.others["same"] / "gamma0_vv.tif")
    moved = type(info.grid)(**{**info.grid.to_dict(), "x0": info.grid.x0 + 4.0})
    raster.write(tmp_path / "gamma0_vv.tif", raster.read(runs.others["same"] / "gamma0_vv.tif"), moved)
    with pytest.raises(InputError, match="does not align"):
        engine_folders.compare(runs.others["same"], tmp_path, "gamma0_vv", 0.001)
    with pytest.raises(InputError, match="no raster in common"):
        engine_folders.rasters_of(runs.others["same"], tmp_path / "none", "sentinel1")


def test_a_part_of_the_grid_is_compared_where_both_are(runs: Runs, tmp_path: Path) -> None:
    path = runs.others["same"] / "gamma0_vv.tif"
    window = Window(0, 100, SIZE_PX, 200)
    part = np.ascontiguousarray(raster.read(path, window=window)[0])
    raster.write(tmp_path / "gamma0_vv.tif", part * np.float32(10**0.02), raster.info(path).grid.window(window))
    found = engine_folders.compare(runs.others["same"], tmp_path, "gamma0_vv", 1e-4)
    print(found.line())
    assert found.statistics.median == pytest.approx(0.2, abs=1e-4)
    assert 0.6 < found.share < 0.67
    assert not found.good


def test_reflectance(tmp_path: Path) -> None:
    """Sentinel-2 folders: difference of reflectance."""
    grid = synthetic_l2a.GRID
    values = synthetic_l2a.reflectances()["B04"]
    for name, shift in (("one", 0.0), ("other", 5e-5), ("far", 4e-4)):
        raster.write(tmp_path / name / "B04.tif", values + np.float32(shift), grid)
    assert engine_folders.rasters_of(tmp_path / "one", tmp_path / "other", "sentinel2") == ["B04"]
    near = engine_folders.compare(tmp_path / "one", tmp_path / "other", "B04", None)
    far = engine_folders.compare(tmp_path / "one", tmp_path / "far", "B04", None)
    print(near.line(), far.line(), sep="\n")
    assert near.statistics.median == pytest.approx(5e-5, abs=1e-7) and near.good and near.unit == "reflectance"
    assert far.statistics.median == pytest.approx(4e-4, abs=1e-7) and not far.good
