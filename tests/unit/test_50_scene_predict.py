"""Stage predict with method scene, and `./s2cr predict --scene` without a configuration, as a user calls them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench._scene import BANDS, make_run
from tests.unit import tiny_scene
from tests.unit.tiny_scene import DATES, TILE, predicted
from utils.io import raster, samples, scene_files
from utils.io.mosaics import read_reflectance
from utils.io.scene_reader import WorkScene, rows_of
from utils.science.blend import stitch
from utils.science.grid import Grid, Window
from utils.workflow.config import ROOT

SIZE = 300


def call(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(w) for w in (ROOT / "s2cr", *words)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration of a work directory before predict; tests copy it."""
    return tiny_scene.build(tmp_path_factory.mktemp("made"), SIZE)


def copied(made: Path, folder: Path) -> Path:
    """The same elsewhere."""
    shutil.copytree(made.parent, folder, dirs_exist_ok=True)
    conf = folder / made.name
    conf.write_text(conf.read_text().replace(str(made.parent), str(folder)))
    tiny_scene.manifests(conf)
    return conf


def in_scene_mode(conf: Path) -> Path:
    conf.write_text(conf.read_text().replace("predict: {", "predict: {method: scene, "))
    return conf


def scene_of(conf: Path) -> np.ndarray:
    scene = scene_files.load_index(conf.parent / "work/stripes/tiny/p001")
    return scene.read(Window(0, 0, scene.rows, scene.cols))


def files_of(conf: Path) -> list[Path]:
    return sorted((conf.parent / "work/stripes/tiny/p001").glob("rows_*.tif"))


@pytest.fixture(scope="module")
def whole(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene predicted in one call."""
    conf = in_scene_mode(copied(made, tmp_path_factory.mktemp("whole")))
    done = call("predict", conf)
    assert done.returncode == 0, done.stderr
    return conf


def test_the_stage_writes_rows_an_index_and_tiles(whole: Path) -> None:
    work = whole.parent / "work"
    assert [path.name for path in files_of(whole)] == [
        "rows_00000_00096.tif", "rows_00096_00192.tif", "rows_00192_00288.tif", "rows_00288_00300.tif",
    ]  # fmt: skip
    index = json.loads((work / "stripes/tiny/p001/index.json").read_text())
    files = [{"file": p.name, "first": int(p.stem[5:10]), "last": int(p.stem[11:])} for p in files_of(whole)]
    assert index == {
        "schema": "s2cr.scene/1", "run": "tiny", "pair": "p001", "bands": list(BANDS), "sigma": False, "rows": SIZE, "cols": SIZE,
        "files": files,
    }  # fmt: skip
    facts = raster.info(files_of(whole)[1])
    assert facts.grid == Grid(32755, 700000.0, 6100000.0 - 960.0, 10.0, -10.0, 96, SIZE)
    assert facts.band_names == BANDS and facts.dtype == "float32" and np.isnan(facts.nodata or 0)
    assert facts.tags["PAIR"] == "p001" and facts.tags["WINDOW_PX"] == "64" and facts.tags["RUN"] == "tiny"
    assert facts.tags["SOURCE_PRODUCTS"] == "S1_0,S1_1,S2_0" and facts.tags["UNITS"] == "reflectance"
    in_memory = predicted(work / "runs/tiny", work / "preprocessed")
    assert np.array_equal(np.moveaxis(in_memory, -1, 0), scene_of(whole))
    for sample in samples.load_index(work / "dataset/all").samples[::17]:
        tile = raster.read(work / "pred/tiny" / f"{sample.id}.tif")
        assert np.array_equal(tile, scene_of(whole)[:, *sample.window.slices])
    again = call("predict", whole)
    assert again.returncode == 0 and "up to date" in again.stderr


def test_three_parts_equal_one(whole: Path, made: Path, tmp_path: Path) -> None:
    conf = in_scene_mode(copied(made, tmp_path))
    for part in ("3/3", "1/3", "2/3"):
        assert call("predict", conf, "--part", part).returncode == 0
    done = call("predict", conf, "--finalise")
    assert done.returncode == 0, done.stderr
    assert np.array_equal(scene_of(conf), scene_of(whole))
    assert [p.read_bytes() for p in files_of(conf)] == [p.read_bytes() for p in files_of(whole)]


def test_scene_and_joined_tiles_are_equal_where_their_windows_are(whole: Path, made: Path, tmp_path: Path) -> None:
    """Tiles overlap by half and so lie on the windows' lattice; only along the edges windows reach beyond the scene."""
    conf = copied(made, tmp_path)
    done = call("predict", conf)
    assert done.returncode == 0, done.stderr
    work = tmp_path / "work"
    assert not (work / "stripes/tiny").exists()
    index = samples.load_index(work / "dataset/all")
    paths = [work / "pred/tiny" / f"{sample.id}.tif" for sample in index.samples]
    tiles = stitch([s.window for s in index.samples], (SIZE, SIZE), 4, lambda i: raster.read(paths[i]))
    inner = np.s_[:, TILE : SIZE - TILE - 32, TILE : SIZE - TILE - 32]  # the last tiles are shifted inwards
    difference = np.abs(tiles - scene_of(whole))[inner].max()
    print(f"tiles and scene differ by {difference:.2g} (limit 1e-6)")
    assert difference <= 1e-6
    assert np.abs(tiles - scene_of(whole)).max() > 1e-3  # edges differ: the comparison sees differences


def test_a_killed_scene_goes_on_where_it_was(whole: Path, made: Path, tmp_path: Path) -> None:
    conf = in_scene_mode(copied(made, tmp_path))
    child = subprocess.Popen([ROOT / "s2cr", "predict", conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not files_of(conf) and time.monotonic() < deadline:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    killed = files_of(conf)
    assert 1 <= len(killed) < 4, [p.name for p in killed]
    ledger = (tmp_path / "work/items/predict.jsonl").read_text().splitlines()
    recorded = {json.loads(line)["item"] for line in ledger if line.endswith("}")}
    stamps = {p: p.stat().st_mtime_ns for p in killed if f"tiny/p001/{p.stem[5:10]}" in recorded}
    done = call("predict", conf)
    assert done.returncode == 0, done.stderr
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    assert [p.read_bytes() for p in files_of(conf)] == [p.read_bytes() for p in files_of(whole)]
    assert not [p for p in (tmp_path / "work/scene").rglob("*") if p.name.startswith(".")]


def test_the_command_line_chooses_the_scene(made: Path, tmp_path: Path) -> None:
    conf = copied(made, tmp_path)
    done = call("predict", conf, "--scene", "--dry-run")
    assert done.returncode == 0 and "would do 4 stripes" in done.stderr and "predict.method = scene" in done.stderr


@pytest.fixture(scope="module")
def named(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Rasters of a user: one file of each date and sensor, optical in another order of bands."""
    folder, root = tmp_path_factory.mktemp("named"), made.parent / "work/preprocessed"
    with WorkScene(root, DATES, BANDS) as scene:
        rows, grid = rows_of(scene, 0, SIZE), scene.grid
    for date in (0, 1):
        raster.write(folder / f"s1_t{date}.tif", rows.s1[date], grid, band_names=("VV", "VH"), nodata=np.nan)
    other = [3, 0, 2, 1]
    raster.write(folder / "s2_t0.tif", rows.s2[0][other], grid, band_names=[BANDS[i] for i in other])
    words = {"--s1-t0": folder / "s1_t0.tif", "--s1-t1": folder / "s1_t1.tif", "--s2-t0": folder / "s2_t0.tif"}
    return {"words": words, "grid": grid, "rows": rows, "run": made.parent / "work/runs/tiny"}


def direct(named: dict[str, Any], out: Path, *more: object, **changed: Path) -> subprocess.CompletedProcess[str]:
    words = {**named["words"], **{f"--{name.replace('_', '-')}": path for name, path in changed.items()}}
    flat = [word for pair in words.items() for word in pair]
    return call("predict", "--run-dir", named["run"], "--scene", *flat, "--out", out, *more)


def test_named_rasters_become_one_georeferenced_file(named: dict[str, Any], whole: Path, tmp_path: Path) -> None:
    from osgeo_utils.samples.validate_cloud_optimized_geotiff import validate

    out = tmp_path / "t1.tif"
    done = direct(named, out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out) and [p.name for p in tmp_path.iterdir()] == ["t1.tif"]
    facts = raster.info(out)
    assert facts.grid == named["grid"] and facts.band_names == BANDS and (facts.scale, facts.nodata) == (1e-4, -32768)
    assert facts.tags["MODEL"] == "resunet" and facts.tags["SOURCE_PRODUCTS"] == "s1_t0.tif,s1_t1.tif,s2_t0.tif"
    assert validate(str(out), full_check=True)[1] == []
    difference = np.abs(read_reflectance(out, BANDS) - scene_of(whole)).max()
    print(f"against the stage: {difference:.2g} reflectance (limit 5e-5, half a step of storage)")
    assert difference < 5.1e-5
    held = direct(named, out)
    assert held.returncode == 65 and "--force" in held.stderr


def test_named_bands_are_found_by_description_name_or_order(tmp_path: Path) -> None:
    from utils.io.scene_reader import FileScene, rows_of

    grid, rng = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 5, 7), np.random.default_rng(0)
    power = rng.uniform(0.01, 0.2, (2, 5, 7)).astype(np.float32)
    numbers = rng.integers(100, 4000, (2, 5, 7)).astype(np.int16)
    numbers[0, 2, 3] = -1
    raster.write(tmp_path / "sigma_vv.tif", power[0], grid)
    raster.write(tmp_path / "x-VH.tif", power[1], grid)
    raster.write(tmp_path / "both.tif", power, grid)  # no names: in the order asked for
    raster.write(tmp_path / "s2.tif", numbers, grid, band_names=("B08", "B04"), nodata=-1, scale=1e-4, offset=-0.1)
    names = [tmp_path / "x-VH.tif", tmp_path / "sigma_vv.tif"]
    with FileScene(names, [tmp_path / "both.tif"], [tmp_path / "s2.tif"], ("B04", "B08")) as scene:
        rows = rows_of(scene, 1, 4)
    assert np.array_equal(rows.s1, np.stack([power[:, 1:4]] * 2))
    expected = numbers[[1, 0], 1:4] * 1e-4 - 0.1
    expected[1, 1, 3] = np.nan
    assert rows.s2[0] == pytest.approx(expected, abs=1e-7, nan_ok=True)


def _shifted(path: Path, grid: Grid, image: np.ndarray, **changed: Any) -> Path:
    from dataclasses import replace

    raster.write(path, image, replace(grid, **changed), band_names=("VV", "VH"), nodata=np.nan)
    return path


def test_rasters_that_do_not_fit_are_refused_by_name(named: dict[str, Any], tmp_path: Path) -> None:
    rows, grid = named["rows"], named["grid"]
    power, optical = rows.s1[1], rows.s2[0]
    zone = _shifted(tmp_path / "zone.tif", grid, power, epsg=32754)
    moved = _shifted(tmp_path / "moved.tif", grid, power, x0=grid.x0 + 5.0)
    small = tmp_path / "small.tif"
    raster.write(small, power[:, :200], grid.window(Window(0, 0, 200, SIZE)), band_names=("VV", "VH"))
    decibels = _shifted(tmp_path / "db.tif", grid, (10 * np.log10(power)).astype(np.float32))
    empty = _shifted(tmp_path / "empty.tif", grid, np.full_like(power, np.nan))
    numbers, short = tmp_path / "dn.tif", tmp_path / "short.tif"
    raster.write(numbers, (optical * 10000).astype(np.uint16), grid, band_names=BANDS)
    raster.write(short, optical[:3], grid, band_names=BANDS[:3])
    apart = rows.s1[1].copy()
    apart[:, :, 150:] = np.nan
    half0 = _shifted(tmp_path / "half0.tif", grid, apart)
    apart = rows.s1[1].copy()
    apart[:, :, :150] = np.nan
    half1 = _shifted(tmp_path / "half1.tif", grid, apart)
    (tmp_path / "text.tif").write_text("no raster")
    before = sorted(tmp_path.iterdir())
    cases: list[tuple[dict[str, Path], str, str]] = [
        ({"s1_t1": zone}, "EPSG 32754", "gdalwarp -t_srs EPSG:32755"),
        ({"s1_t1": moved}, "origin 700005", "gdalwarp"),
        ({"s1_t1": small}, "200 x 300 px", "-ts 300 300"),
        ({"s1_t1": decibels}, "decibels", "10 ** (dB / 10)"),
        ({"s1_t1": empty}, "--s1-t1: no pixel has data", "same ground"),
        ({"s1_t0": half0, "s1_t1": half1}, "share no pixel", "same ground"),
        ({"s2_t0": numbers}, "digital numbers", "gdal_edit.py -scale 0.0001"),
        ({"s2_t0": short}, "no band B08", "B04, B03, B02, B08"),
        ({"s2_t0": tmp_path / "text.tif"}, "not a readable raster", "text.tif"),
        ({"s2_t0": tmp_path / "none.tif"}, "no such file", "none.tif"),
    ]
    for changed, cause, remedy in cases:
        done = direct(named, tmp_path / "out.tif", **changed)
        assert done.returncode == 66, (cause, done.returncode, done.stderr)
        assert cause in done.stderr and remedy in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_runs_that_do_not_fit_are_refused(named: dict[str, Any], tmp_path: Path) -> None:
    for missing, code, cause in (("scaler.json", 66, "no such scaler"), ("model.keras", 66, "no such model")):
        run = tmp_path / missing
        shutil.copytree(named["run"], run)
        (run / missing).unlink()
        done = direct({**named, "run": run}, tmp_path / "out.tif")
        assert done.returncode == code and cause in done.stderr and "./s2cr" in done.stderr, done.stderr
    for words in (["--scene"], ["--scene", "--s1-t0", "a.tif"]):
        done = call("predict", *words, "--run-dir", named["run"])
        assert done.returncode == 65 and "--s2-t0" in done.stderr
    assert not (tmp_path / "out.tif").exists()


def test_a_scene_of_other_bands_or_without_data_ends_with_its_code(made: Path, tmp_path: Path) -> None:
    conf = in_scene_mode(copied(made, tmp_path))
    shutil.rmtree(tmp_path / "work/runs/tiny")
    make_run(tmp_path / "work/runs/tiny", TILE, (*BANDS, "B12"))
    tiny_scene.manifests(conf)
    done = call("predict", conf)
    assert done.returncode == 65, done.stderr
    assert "trained on VV, VH, B04, B03, B02, B08, B12" in done.stderr and "Traceback" not in done.stderr
    assert not files_of(conf)


def test_a_scene_without_any_valid_pixel_says_so(made: Path, tmp_path: Path) -> None:
    conf = in_scene_mode(copied(made, tmp_path))
    path = tmp_path / "work/preprocessed/sentinel2/S2_0/B03.tif"
    facts = raster.info(path)
    raster.write(path, np.full(facts.grid.shape, np.nan, np.float32), facts.grid)
    tiny_scene.manifests(conf)
    done = call("predict", conf)
    assert done.returncode == 66 and "no pixel has data in all inputs" in done.stderr, done.stderr
    assert "predict.pairs" in done.stderr
    assert np.isnan(raster.read(files_of(conf)[0])).all()


@pytest.mark.slow
def test_a_raster_off_the_grid_fails_its_scene_and_nothing_is_lost(made: Path, tmp_path: Path) -> None:
    conf = in_scene_mode(copied(made, tmp_path))
    path = tmp_path / "work/preprocessed/sentinel1/S1_1/gamma0_vh.tif"
    facts, image = raster.info(path), raster.read(path)
    raster.write(path, image, Grid(32754, 700000.0, 6100000.0, 10.0, -10.0, SIZE, SIZE))
    tiny_scene.manifests(conf)
    done = call("predict", conf)
    assert done.returncode == 66 and "is not on the grid of" in done.stderr, done.stderr
    raster.write(path, image, facts.grid)
    tiny_scene.manifests(conf)
    assert call("predict", conf).returncode == 0
