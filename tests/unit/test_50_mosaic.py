"""Stage mosaic on a made-up work directory, through the real command: files, bad input, SIGKILL, the form without CONF."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pystac
import pytest
from click.testing import CliRunner
from osgeo_utils.samples.validate_cloud_optimized_geotiff import validate
from pystac.validation import validate_dict

from scripts.__main__ import main
from tests.unit import tiny_judged
from utils.io import mosaics, raster
from utils.io.row_sources import SceneRows
from utils.io.samples import load_index
from utils.science.grid import Grid, make_tiles
from utils.workflow.config import ROOT
from utils.workflow.files import TEMPORARY_MARK, atomic_json

SIGMA = tuple(f"sigma_{band}" for band in tiny_judged.BANDS)


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def add_sigma(conf: Path, value: float = 0.02) -> None:
    """Standard deviations for run `good`, as predict writes them for a run with an uncertainty head."""
    for tile in make_tiles(*tiny_judged.GRID.shape, 32):
        path = conf.parent / "work/pred/good/sigma" / f"p001_{tile.id}.tif"
        planes = np.full((5, 32, 32), value, np.float32)
        raster.write(path, planes, tiny_judged.GRID.window(tile.window), band_names=SIGMA, nodata=np.nan)
    tiny_judged.manifests(conf)


def settings(conf: Path, text: str) -> None:
    conf.write_text(conf.read_text() + text)
    tiny_judged.manifests(conf)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    conf = tiny_judged.build(tmp_path)
    add_sigma(conf)
    return conf


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_all_products_of_a_run_with_and_without_sigma(made: Path, caplog: pytest.LogCaptureFixture) -> None:
    code, text = call("mosaic", str(made))
    assert code == 0, text
    folder = made.parent / "work/mosaic/good/p001"
    images = {"prediction", "composite", "source", "sigma", "prediction_sigma", "abstain"}
    styles = (images | {"prediction_nir", "composite_nir"}) - {"x"}
    expected = {f"{n}.tif" for n in images} | {f"{n}.qml" for n in styles}
    assert {p.name for p in folder.iterdir()} == expected | {"prediction.png", "composite.png", "item.json"}
    other = {p.name for p in (made.parent / "work/mosaic/bad/p001").iterdir()}
    assert other == {n for n in expected if "sigma" not in n} | {"prediction.png", "composite.png", "item.json"}
    assert "bad/p001: the run tells no sigma" in caplog.text and "good/p001: the run tells no sigma" not in caplog.text
    for path in folder.glob("*.tif"):
        warnings, errors, _ = validate(str(path), full_check=True)
        assert not warnings and not errors
        tags = raster.info(path).tags
        assert {"SOURCE_PRODUCTS", "STAGE", "KEY", "CODE", "UNITS", "MODEL", "PAIR"} <= set(tags)
        assert tags["MODEL"] == "good" and tags["STAGE"] == "mosaic" and re.fullmatch(r"[0-9a-f]{64}", tags["KEY"])
    assert "S2_d1" in raster.info(folder / "composite.tif").tags["SOURCE_PRODUCTS"]
    assert "S2_d1" not in raster.info(folder / "prediction.tif").tags["SOURCE_PRODUCTS"]
    sigma = mosaics.read_reflectance(folder / "sigma.tif", SIGMA)
    assert sigma[0, 5, 80] == pytest.approx(0.02) and sigma[0, 60, 5] == pytest.approx(0.003)
    manifest = json.loads((made.parent / "work/manifests/mosaic.json").read_text())
    facts = manifest["items"]["good/p001"]["data"]
    assert facts["simulated"] == pytest.approx(12 * 36 / (64 * 96), abs=1e-6) and facts["abstain"] == 0
    assert facts["sigma"].startswith("of the run") and manifest["items"]["bad/p001"]["data"]["sigma"].startswith("none")


def test_the_item_is_valid_and_leads_to_its_sources(made: Path) -> None:
    assert call("mosaic", str(made))[0] == 0
    path = made.parent / "work/mosaic/good/p001/item.json"
    data = json.loads(path.read_text())
    assert validate_dict(data, extensions=[])
    item = pystac.Item.from_file(str(path))
    assert item.id == "good_p001" and item.datetime is not None and item.datetime.date().isoformat() == "2020-02-04"
    assert set(item.assets) == {
        "prediction", "composite", "source", "sigma", "prediction_sigma", "abstain", "prediction_picture", "composite_picture",
    }  # fmt: skip
    titles = {link.title for link in item.links if link.rel == "derived_from"}
    assert titles == {"S1_d0", "S1_d1", "S2_d0", "S2_d1"}
    for link in data["links"]:
        assert (path.parent / link["href"]).resolve().is_file()
    for asset in data["assets"].values():
        file = path.parent / asset["href"]
        assert asset["file:checksum"] == "1220" + hashlib.sha256(file.read_bytes()).hexdigest()
    assert item.properties["s2cr:synthetic"] is True


def test_files_are_equal_for_other_stripes_and_another_type_keeps_the_values(tmp_path: Path) -> None:
    trees = []
    for name, text in (("a", ""), ("b", "mosaic: {row_block: 16}\n"), ("c", "mosaic: {dtype: float32}\n")):
        (tmp_path / name).mkdir()
        conf = tiny_judged.build(tmp_path / name)
        settings(conf, text)
        add_sigma(conf)
        assert call("mosaic", str(conf))[0] == 0
        assert call("mosaic_truth", str(conf))[0] == 0
        trees.append(tree(conf.parent / "work/mosaic"))
    images = [{n: d for n, d in one.items() if n.endswith((".tif", ".png", ".qml"))} for one in trees]
    assert images[0] == images[1] and len(images[0]) > 20
    for name in ("good/p001/composite.tif", "truth/p001/truth.tif"):
        stored, floats = (tmp_path / n / "work/mosaic" / name for n in ("a", "c"))
        assert raster.info(floats).dtype == "float32" and np.isnan(raster.info(floats).nodata)
        first, second = (mosaics.read_reflectance(path, tiny_judged.BANDS) for path in (stored, floats))
        assert np.array_equal(np.isnan(first), np.isnan(second)) and np.nanmax(np.abs(first - second)) <= 0.0000501


def test_second_run_does_nothing_and_a_new_feather_makes_it_again(made: Path) -> None:
    assert call("mosaic", str(made))[0] == 0
    first, manifest = tree(made.parent / "work/mosaic"), made.parent / "work/manifests/mosaic.json"
    written = manifest.stat().st_mtime_ns
    assert call("mosaic", str(made))[0] == 0 and manifest.stat().st_mtime_ns == written
    settings(made, "mosaic: {row_block: 16}\n")
    assert call("mosaic", str(made))[0] == 0 and manifest.stat().st_mtime_ns == written
    made.write_text(made.read_text().replace("row_block: 16", "feather_px: 0"))
    assert call("mosaic", str(made))[0] == 0
    source = raster.read(made.parent / "work/mosaic/good/p001/source.tif")[0]
    assert set(np.unique(source)) == {0, 1} and tree(made.parent / "work/mosaic") != first


# -- bad input -------------------------------------------------------------------------------------------------


def other_grid(path: Path, **change: float) -> None:
    facts = raster.info(path)
    fields = {n: getattr(facts.grid, n) for n in ("epsg", "x0", "y0", "dx", "dy", "rows", "cols")}
    raster.write(path, raster.read(path), Grid(**{**fields, **change}), band_names=facts.band_names, nodata=np.nan)


def refused(conf: Path, *words: str) -> None:
    """Exit 66 with cause and remedy, no image of the run left behind."""
    code, text = call("mosaic", str(conf), "--fail-fast")
    assert code == 66, text
    for word in words:
        assert word in text, text
    assert not list((conf.parent / "work/mosaic").rglob("*.tif"))


def test_a_missing_prediction(made: Path) -> None:
    (made.parent / "work/pred/good/p001_r0001_c0001.tif").unlink()
    refused(made, "predict", "not up to date")


def test_sigma_of_another_grid(made: Path) -> None:
    other_grid(made.parent / "work/pred/good/sigma/p001_r0000_c0000.tif", x0=700010.0)
    tiny_judged.manifests(made)
    refused(made, "sigma", "column 1 of its place", "predict")


def test_sigma_of_some_tiles_only(made: Path) -> None:
    (made.parent / "work/pred/good/sigma/p001_r0000_c0001.tif").unlink()
    tiny_judged.manifests(made)
    refused(made, "p001_r0000_c0001 has a prediction and no standard deviation", "--force")


def test_prediction_in_another_system(made: Path) -> None:
    other_grid(made.parent / "work/pred/good/p001_r0000_c0000.tif", epsg=32754)
    tiny_judged.manifests(made)
    refused(made, "EPSG 32754; the pair is in EPSG 32755", "predict")


def test_observation_in_another_system(made: Path) -> None:
    other_grid(made.parent / "work/preprocessed/sentinel2/S2_d1/B04.tif", epsg=32754)
    tiny_judged.manifests(made)
    refused(made, "B04.tif", "EPSG 32754 and 32755")


def test_prediction_of_other_bands(made: Path) -> None:
    path = made.parent / "work/pred/good/p001_r0000_c0000.tif"
    raster.write(path, raster.read(path), raster.info(path).grid, band_names=tiny_judged.BANDS[::-1], nodata=np.nan)
    tiny_judged.manifests(made)
    refused(made, "B12, B08, B02, B03, B04", "expected float B04, B03, B02, B08, B12")


def test_a_prediction_without_any_data(made: Path) -> None:
    for path in (made.parent / "work/pred/good").glob("*.tif"):
        facts = raster.info(path)
        empty = np.full((5, 32, 32), np.nan, np.float32)
        raster.write(path, empty, facts.grid, band_names=facts.band_names, nodata=np.nan)
    tiny_judged.manifests(made)
    refused(made, "no pixel with data", "Sentinel-1")


def test_one_bad_run_does_not_stop_the_other(made: Path) -> None:
    other_grid(made.parent / "work/pred/good/p001_r0000_c0000.tif", epsg=32754)
    tiny_judged.manifests(made)
    code, text = call("mosaic", str(made))
    assert code == 71 and "1 of 2 items failed" in text
    assert (made.parent / "work/mosaic/bad/p001/composite.tif").is_file()
    assert not list((made.parent / "work/mosaic/good").rglob("*.tif"))


# -- rows of a scene, the form without CONF, kills ---------------------------------------------------------------


def test_rows_of_a_scene_are_taken_where_predict_streamed_them(made: Path) -> None:
    from scripts._mosaic import source_of
    from utils.workflow import config

    conf = config.load(made)
    layout = config.layout_of(conf)
    folder = layout.work / "stripes/good/p001"
    whole = np.full((10, *tiny_judged.GRID.shape), 0.2, np.float32)
    raster.write(folder / "rows_00000_00064.tif", whole, tiny_judged.GRID, band_names=(*tiny_judged.BANDS, *SIGMA))
    atomic_json(folder / "index.json", {
        "schema": "s2cr.scene/1", "run": "good", "pair": "p001", "bands": list(tiny_judged.BANDS), "sigma": True,
        "rows": 64, "cols": 96, "files": [{"file": "rows_00000_00064.tif", "first": 0, "last": 64}],
    })  # fmt: skip
    ctx = SimpleNamespace(conf=SimpleNamespace(predict=SimpleNamespace(method="scene")), layout=layout, conf_path=made)
    index = load_index(layout.dataset_set("all"))
    source = source_of(ctx, index, "good", "p001", {"stripes/good/p001/index.json"})  # type: ignore[arg-type]
    assert isinstance(source, SceneRows) and source.has_sigma and source.rows(3, 4).shape == (5, 4, 96)
    assert source_of(ctx, index, "good", "p002", {"stripes/good/p001/index.json"}) is None  # type: ignore[arg-type]


def test_the_form_without_conf(made: Path, tmp_path: Path) -> None:
    work = made.parent / "work"
    code, text = call(
        "mosaic",
        "--pred",
        str(work / "pred/good"),
        "--dataset",
        str(work / "dataset/all"),
        "--out",
        str(tmp_path / "o"),
    )
    assert code == 0, text
    names = {path.name for path in (tmp_path / "o/p001").iterdir()}
    assert names == {
        "prediction.tif", "prediction.png", "prediction.qml", "prediction_nir.qml", "prediction_sigma.tif",
        "prediction_sigma.qml", "sigma.tif", "sigma.qml",
    }  # fmt: skip
    assert call("mosaic", str(made))[0] == 0
    first, second = (
        mosaics.read_reflectance(path, tiny_judged.BANDS)
        for path in (tmp_path / "o/p001/prediction.tif", work / "mosaic/good/p001/prediction.tif")
    )
    assert np.array_equal(first, second, equal_nan=True)
    tags = raster.info(tmp_path / "o/p001/prediction.tif").tags
    assert tags["STAGE"] == "mosaic" and tags["UNITS"] == "reflectance" and tags["PAIR"] == "p001"
    code, text = call("mosaic", "--pred", str(work / "pred"), "--dataset", str(work / "dataset/all"))
    assert code == 66 and "no tile of a sample" in text
    code, text = call("mosaic", "--pred", str(work / "pred"))
    assert code == 65 and "both needed" in text


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_half_and_the_end_is_the_same(tmp_path: Path) -> None:
    whole = tiny_judged.build(tmp_path)
    add_sigma(whole)
    assert call("mosaic", str(whole))[0] == 0
    folder, kills = whole.parent / "work/mosaic", 0
    wanted = tree(folder)
    for path in (folder, whole.parent / "work/items/mosaic.jsonl", whole.parent / "work/manifests/mosaic.json"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def there() -> set[str]:
        return {path.name for path in folder.rglob("*") if path.is_file()}

    moments = (
        lambda: any(TEMPORARY_MARK in name for name in there()),
        lambda: any(name.endswith(".tif") and TEMPORARY_MARK not in name for name in there()),
        lambda: "item.json" in there(),
    )
    for moment in moments:
        process = subprocess.Popen(
            [str(ROOT / "s2cr"), "mosaic", str(whole)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        while process.poll() is None and not moment():
            time.sleep(0.0005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
        final = {n: d for n, d in tree(folder).items() if TEMPORARY_MARK not in n}
        assert final.items() <= wanted.items()
    print(f"{kills} kills of 3")
    assert kills >= 2
    assert call("mosaic", str(whole))[0] == 0
    assert tree(folder) == wanted and not any(TEMPORARY_MARK in name for name in there())
