"""evaluate on a made-up work directory: strata, rivals with reasons, sigma, conventions, and predictions that are no use."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.unit import tiny_judged
from tests.unit.test_50_judge import call
from utils.io import raster
from utils.science.grid import Grid, make_tiles

GRID, BANDS = tiny_judged.GRID, tiny_judged.BANDS
EXTRA = """\
evaluate:
  truth_dir: {folder}/truth
  bootstrap: 50
  baseline_pixels: 2000
  baselines: [copy_t0, linear_gain, season_only]
  class_raster: {folder}/classes.tif
  class_names: {{1: wood, 2: field}}
  dem_raster: {folder}/height.tif
"""


def build(folder: Path) -> Path:
    """The tiny work directory with classes, heights and the sigma of `good`: true size, and 0.2 of it in the burn."""
    conf = tiny_judged.build(folder)
    lines = [line for line in conf.read_text().splitlines() if not line.startswith("evaluate:")]
    conf.write_text("\n".join(lines) + "\n" + EXTRA.format(folder=folder))
    codes = np.full(GRID.shape, 2, np.uint16)
    codes[:, 80:], codes[60:] = 1, 9
    raster.write(folder / "classes.tif", codes, GRID)
    wide = Grid(GRID.epsg, GRID.x0 - 500, GRID.y0 + 500, 10.0, -10.0, 200, 200)
    height = np.maximum(0, np.mgrid[:200, :200][1] - 130) * 10 * np.tan(np.radians(30))  # level, then rising eastwards
    raster.write(folder / "height.tif", height.astype(np.float32), wide)
    _, _, burnt = tiny_judged._ground(1)
    sigma = np.broadcast_to(np.where(burnt, 0.0008, 0.004), (len(BANDS), *GRID.shape)).astype(np.float32)
    names = [f"sigma_{band}" for band in BANDS]
    for tile in make_tiles(*GRID.shape, 32):
        path = folder / f"work/pred/good/sigma/p001_{tile.id}.tif"
        rows, cols = tile.window.slices
        raster.write(path, sigma[:, rows, cols], GRID.window(tile.window), band_names=names, nodata=np.nan)
    tiny_judged.manifests(conf)
    return conf


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    conf = build(tmp_path_factory.mktemp("strata"))
    code, text = call("evaluate", str(conf))
    assert code == 0, text
    code, text = call("scores", str(conf), "--strata")
    assert code == 0, text
    return conf, text


def table(conf: Path) -> dict:
    return json.loads((conf.parent / "work/reports/evaluate.json").read_text())


def test_every_stratum_with_its_pixels(judged: tuple[Path, str]) -> None:
    found = {k: v["pixels"] for k, v in table(judged[0])["methods"]["good"]["hidden"]["strata"].items()}
    _, _, burnt = tiny_judged._ground(1)
    test = np.zeros(GRID.shape, bool)
    test[:, 64:] = True
    assert found["all"] == test.sum() and found["burned"] == (burnt & test).sum() == found["changed_05"]
    assert found["unchanged_05"] == found["unburned"] == (test & ~burnt).sum()
    assert found["lag:16-31 d"] == test.sum()  # 4 January to 4 February
    assert (
        found["source:under_cloud"] == 12 * 32 and found["source:feather"] == 5 * 32
    )  # no corner of cloud in the test half
    assert found["source:clear"] == (64 - 17) * 32
    assert found["class:wood"] == 60 * 16 and found["class:field"] == 60 * 16 and found["class:class 9"] == 4 * 32
    # column 80 of the heights' own grid lies at column 30 of ours: slopes begin beside column 80 of ours
    assert found["slope:25-35 deg"] == 15 * 64 and found["aspect:W"] == 16 * 64 and found["aspect:flat"] == 16 * 64
    observed = table(judged[0])["methods"]["good"]["observed"]["strata"]
    assert observed["source:feather"]["pixels"] == 5 * 32 and observed["source:under_cloud"]["pixels"] == 0


def test_every_rival_is_in_the_table_or_says_why_not(judged: tuple[Path, str]) -> None:
    rows = table(judged[0])["methods"]
    for name in ("ridge_ctx", "histgbm_ctx", "no_s1", "s1_frozen"):
        assert rows[name]["skipped"] == "left out by evaluate.baselines", name
        assert f"{name}: not judged, left out by evaluate.baselines" in judged[1]
    none = rows["none_burned"]["hidden"]["burned"]["NBR"]
    assert none["f1"] == 0 and none["omission"] == 1 and none["area_bias"] == -1
    assert rows["all_burned"]["hidden"]["burned"]["NBR"]["omission"] == 0 and "fitted" in rows["vh_logratio"]
    assert "one pair of dates trains" in rows["season_only"]["note"] and "season_only: one pair of dates" in judged[1]
    assert "note" not in rows["linear_gain"]


def test_sigma_is_judged_and_said_to_be_too_small_where_it_is(judged: tuple[Path, str]) -> None:
    rows = table(judged[0])["methods"]
    own = rows["good"]["hidden"]["sigma"]
    assert own["unburned"]["coverage"]["68"] == pytest.approx(0.683, abs=0.02)
    assert own["burned"]["coverage"]["68"] == pytest.approx(0.159, abs=0.03)  # within 0.2 sigma
    assert own["source:under_cloud"]["values"] == 12 * 32 * len(BANDS)
    assert "sigma" not in rows["bad"]["hidden"]
    line = next(line for line in judged[1].splitlines() if line.startswith("good  burned"))
    assert "too small" in line


@pytest.mark.parametrize(("tag", "share"), [("B02 0.4, B03 0.4, B04 0.4, B08 0.4, B12 0.4", 0.311), (None, 0.95)])
def test_the_interval_of_95_is_that_of_the_rasters(tmp_path: Path, tag: str | None, share: float) -> None:
    conf = build(tmp_path)
    first = tmp_path / "work/pred/good/sigma/p001_r0000_c0002.tif"
    _tagged(first, tag)
    tiny_judged.manifests(conf)
    code, text = call("evaluate", str(conf))
    assert code == 0, text
    own = table(conf)["methods"]["good"]["hidden"]["sigma"]["unburned"]
    assert own["coverage"]["95"] == pytest.approx(share, abs=0.02)


def test_a_malformed_width_is_refused(tmp_path: Path) -> None:
    conf = build(tmp_path)
    _tagged(tmp_path / "work/pred/good/sigma/p001_r0000_c0002.tif", "B04 wide")
    text = refused(conf)
    assert "SIGMA_95" in text and "p001_r0000_c0002.tif" in text and "predict" in text


def _tagged(path: Path, tag: str | None) -> None:
    if tag is not None:
        facts = raster.info(path)
        raster.write(
            path, raster.read(path), facts.grid, band_names=facts.band_names, nodata=np.nan, tags={"SIGMA_95": tag}
        )


def test_csv_of_strata_stands_beside_the_usual_one(judged: tuple[Path, str]) -> None:
    reports = judged[0].parent / "work/reports"
    assert ":" not in "".join(line.split(",")[3] for line in (reports / "evaluate.csv").read_text().splitlines())
    rows = list(csv.DictReader((reports / "strata.csv").read_text().splitlines()))
    chosen = [r for r in rows if (r["truth"], r["stratum"], r["method"]) == ("hidden", "class:wood", "good")]
    skill = next(r for r in chosen if r["figure"] == "skill")
    assert skill["kind"] == "class" and float(skill["low"]) <= float(skill["value"]) <= float(skill["high"])
    assert float(skill["copy_t0"]) == 0 and float(skill["blocks"]) >= 2 and skill["note"] == "synthetic"
    mae = next(r for r in chosen if r["figure"] == "mae")
    assert float(mae["copy_t0"]) == table(judged[0])["methods"]["copy_t0"]["hidden"]["strata"]["class:wood"]["mae"]
    share = [r for r in rows if (r["truth"], r["stratum"], r["figure"]) == ("hidden", "class:wood", "coverage_68")]
    own = table(judged[0])["methods"]["good"]["hidden"]["sigma"]["class:wood"]
    assert [r["method"] for r in share] == ["good"] and float(share[0]["value"]) == own["coverage"]["68"]
    strata = list(dict.fromkeys(r["stratum"] for r in rows if r["truth"] == "hidden"))
    assert strata[:3] == ["all", "changed", "unchanged"] and strata[-1].startswith("aspect:")


def test_scores_prints_the_strata_on_demand(judged: tuple[Path, str]) -> None:
    code, text = call("scores", str(judged[0]))
    assert code == 0 and "skill changed > 0.05" in text and "slope 25-35" not in text
    assert "slope 25-35 deg" in judged[1] and "Predicted sigma" in judged[1]


def test_every_convention_prints_its_table_and_writes_nothing(
    judged: tuple[Path, str], caplog: pytest.LogCaptureFixture
) -> None:
    conf, _ = judged
    before = (conf.parent / "work/reports/evaluate.json").read_bytes()
    said = {}
    for name in ("project", "uncrtaints", "sen12mscr_ts", "dsen2cr", "utilise", "allclear", "published"):
        caplog.clear()
        code, _ = call("evaluate", str(conf), "--conventions", name)
        said[name] = "\n".join(record.getMessage() for record in caplog.records)
        assert code == 0 and f"Convention {name} against the hidden t1" in said[name], said[name]
    assert "not comparable -- synthetic" in said["published"] and "same convention only" in said["utilise"]
    assert "mae_wood" in said["allclear"] and "mae_occluded" in said["utilise"]
    # of the observed images one of two test tiles is free of cloud; under the hidden truth both are whole
    parts = said["uncrtaints"].split("Convention uncrtaints against the ")
    counts = [next(line.split()[1] for line in part.splitlines() if line.startswith("good")) for part in parts[1:]]
    assert counts == ["1", "2"]
    copied = next(line for line in parts[2].splitlines() if line.startswith("copy_t0")).split()
    _, after, _ = tiny_judged._ground(1)
    first, _, _ = tiny_judged._ground(1)
    assert float(copied[2]) == pytest.approx(np.abs(after - first)[:, :, 64:].mean(), abs=6e-5)
    assert (conf.parent / "work/reports/evaluate.json").read_bytes() == before


# -- predictions that are no use ------------------------------------------------------------------------------


def spoiled(folder: Path, run: str = "good") -> tuple[Path, Path, np.ndarray, Grid]:
    conf = tiny_judged.build(folder)
    path = folder / f"work/pred/{run}/p001_r0000_c0002.tif"
    return conf, path, raster.read(path), raster.info(path).grid


def refused(conf: Path) -> str:
    tiny_judged.manifests(conf)
    code, text = call("evaluate", str(conf))
    assert code == 66, text
    assert not (conf.parent / "work/reports/evaluate.json").exists()
    return text


def test_missing_predictions(tmp_path: Path) -> None:
    conf, path, _, _ = spoiled(tmp_path)
    path.unlink()
    said = refused(conf)
    assert "no prediction of 1 of 2 test samples" in said and "predict.set" in said and path.name in said


def test_no_prediction_at_all(tmp_path: Path) -> None:
    conf, path, _, _ = spoiled(tmp_path)
    shutil.rmtree(path.parent)
    assert "no prediction of 2 of 2 test samples" in refused(conf)


def test_other_bands(tmp_path: Path) -> None:
    conf, path, image, grid = spoiled(tmp_path)
    raster.write(path, image[:4], grid, band_names=BANDS[:4], nodata=np.nan)
    said = refused(conf)
    assert "bands B04, B03, B02, B08; the dataset has B04, B03, B02, B08, B12" in said and "./s2cr predict" in said


def test_bands_in_another_order_are_read_by_name(tmp_path: Path) -> None:
    conf, path, image, grid = spoiled(tmp_path)
    raster.write(path, image[::-1], grid, band_names=BANDS[::-1], nodata=np.nan)
    tiny_judged.manifests(conf)
    code, text = call("evaluate", str(conf))
    assert code == 0, text
    assert table(conf)["methods"]["good"]["hidden"]["strata"]["changed"]["skill"] > 0.99


@pytest.mark.parametrize("change", ["moved", "system", "shape"])
def test_another_grid(tmp_path: Path, change: str) -> None:
    conf, path, image, grid = spoiled(tmp_path)
    if change == "shape":
        image, grid = image[:, :31], Grid(grid.epsg, grid.x0, grid.y0, 10.0, -10.0, 31, 32)
    else:
        shift, epsg = (10.0, grid.epsg) if change == "moved" else (0.0, 32756)
        grid = Grid(epsg, grid.x0 + shift, grid.y0, 10.0, -10.0, 32, 32)
    raster.write(path, image, grid, band_names=BANDS, nodata=np.nan)
    said = refused(conf)
    assert "on another grid" in said and "32755, 32 x 32 px of 10 at 700640" in said


def test_all_nodata(tmp_path: Path) -> None:
    conf, path, image, _ = spoiled(tmp_path)
    for other in path.parent.glob("*_c0002.tif"):
        grid = raster.info(other).grid
        raster.write(other, np.full_like(image, np.nan), grid, band_names=BANDS, nodata=np.nan)
    assert "Every prediction of run good is nodata" in refused(conf)


def test_a_set_without_a_clear_pixel(tmp_path: Path) -> None:
    conf = tiny_judged.build(tmp_path)
    conf.write_text(conf.read_text().replace(f"truth_dir: {tmp_path}/truth, ", ""))
    for path in (tmp_path / "work/dataset/test/mask").glob("*.tif"):
        mask, facts = raster.read(path), raster.info(path)
        mask[1] = 1
        raster.write(path, mask, facts.grid, band_names=facts.band_names)
    said = refused(conf)
    assert "No test sample has a pixel that is clear at t1" in said
