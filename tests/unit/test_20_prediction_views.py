"""Best and worst tiles, errors by stratum and swiped maps of the notebooks, on a made-up work directory."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pytest

from tests.unit import tiny_judged
from utils.io import pictures, prediction_views, raster
from utils.io.samples import DatasetIndex, load_index
from utils.science import evaluation
from utils.workflow.errors import InputError

EDGES = (0.09, 0.14, 0.22, 0.34, 0.44), (-0.25, -0.10, 0.10, 0.27, 0.44, 0.66)
SETTINGS = evaluation.Settings(tiny_judged.BANDS, 0.02, *EDGES, 0.09, 0.10)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny_judged.build(tmp_path_factory.mktemp("views"))
    return tmp_path_factory.getbasetemp() / "views0/work"


@pytest.fixture(scope="module")
def index(work: Path) -> DatasetIndex:
    return load_index(work / "dataset/test")


def test_scores_of_tiles_by_hand(work: Path, index: DatasetIndex) -> None:
    tiles = prediction_views.judged(index, work / "pred/good")
    before, after, _ = tiny_judged._ground(1)
    for tile in tiles:
        info = index.sample(tile.id)
        rows, cols = info.valid.slices
        clear = np.ones(tiny_judged.GRID.shape, bool)
        clear[:12, 60:] = False
        mask = clear[rows, cols]
        made = raster.read(work / f"pred/good/{tile.id}.tif")
        errors = np.abs(made - after[:, rows, cols]).mean(axis=0)[mask]
        copied = np.abs(before - after)[:, rows, cols].mean(axis=0)[mask]
        assert tile.pixels == mask.sum() and tile.mae == pytest.approx(errors.mean(), rel=1e-5)
        assert tile.mae_copy_t0 == pytest.approx(copied.mean(), rel=1e-5)
    assert [tile.skill for tile in tiles] == sorted(tile.skill for tile in tiles), "worst first"
    pooled = prediction_views.pooled(tiles)
    weights = [tile.pixels for tile in tiles]
    assert pooled["mae"] == pytest.approx(np.average([tile.mae for tile in tiles], weights=weights))
    assert all(tile.skill == 0 for tile in prediction_views.judged(index, work / "pred/bad")), "the copy has no skill"


def test_pictures_of_a_tile(work: Path, index: DatasetIndex) -> None:
    info = next(sample for sample in index.samples if sample.window.row == 0)
    row = dict(prediction_views.tile_row(index, work / "pred/good", info.id))
    assert list(row) == ["S2 t0", "S1 change", "t1 simulated", "t1 observed", "error", "error of copying t0"]
    assert all(picture.shape == (32, 32, 3) for picture in row.values())
    # cloud is not scored, and shown in the grey of no data
    assert (row["error"][:12] == pictures.NODATA_RGB).all() and (row["error"][14:] != pictures.NODATA_RGB).any()
    spread = np.full((5, 32, 32), 0.05, np.float32)
    raster.write(work / f"pred/good/sigma/{info.id}.tif", spread, tiny_judged.GRID.window(info.window), nodata=np.nan)
    row = dict(prediction_views.tile_row(index, work / "pred/good", info.id))
    assert (row["sigma"] == pictures.ramp(np.full((1, 1), 0.05), 0, 0.1, "spread")[0, 0]).all()


def test_errors_by_stratum_hold_every_pixel_once(work: Path, index: DatasetIndex) -> None:
    strata = prediction_views.errors_by_stratum(index, work / "pred/bad", SETTINGS)
    sizes = {name: own.size for name, (own, _) in strata.items()}
    assert (
        sizes["all"]
        == 64 * 32 - 12 * 32
        == sizes["changed"] + sizes["unchanged"]
        == sizes["burned"] + sizes["unburned"]
    )
    burnt = 35 * 20 - 7 * 20  # rows 5 to 40, of which 12 are under cloud
    assert sizes["burned"] == burnt
    own, copied = strata["burned"]
    np.testing.assert_array_equal(own, copied)
    expected = np.abs(tiny_judged.BURNT - tiny_judged.HEALTHY).mean()
    assert own.mean() == pytest.approx(expected, rel=0.1)
    better, worse = prediction_views.errors_by_stratum(index, work / "pred/good", SETTINGS)["burned"]
    assert better.mean() < 0.1 * worse.mean()


def page_of(frame: str) -> str:
    """The page inside a frame."""
    found = re.search(r'srcdoc="([^"]*)"', frame)
    assert found
    return html.unescape(found.group(1))


def test_frames_hold_a_page_of_their_own(work: Path, index: DatasetIndex) -> None:
    frame = prediction_views.swipe_tile(index, work / "pred/good", index.samples[0], "synthetic")
    assert frame.startswith("<div><iframe") and frame.count("<") == 4, "nothing of the page leaks into the notebook"
    page = page_of(frame)
    assert page.startswith("<!doctype html>") and page.count("data:image/webp") >= 6 and ">synthetic</span>" in page
    names = re.findall(r"<option value=\d selected>([^<]+)", page)
    assert names == ["t1 observed"] and "data-width='320.000'" in page
    assert not re.search(r"https?://|url\(", page)


def test_whole_images_are_swiped(work: Path, index: DatasetIndex) -> None:
    truth = work.parent / "truth/S2_t1_clear.tif"
    page = page_of(prediction_views.swipe_images({"one": truth, "two": truth}, index.bands_optical, "", max_px=40))
    assert "aspect-ratio:32/22" in page and "data-width='960.000'" in page
    assert re.findall(r"alt='([^']+)'", page) == ["one", "two"] and "<option value=1 selected>two" in page


def test_a_missing_prediction_is_named(work: Path, index: DatasetIndex) -> None:
    with pytest.raises(InputError, match=r"nobody/p001_.*no such prediction"):
        prediction_views.judged(index, work / "pred/nobody")
