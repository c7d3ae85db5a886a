"""Whole scenes through boosted trees: blocks with a halo against everything at once, and the real command."""

from __future__ import annotations

import datetime as dt
import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from models.config import ModelConf, TrainConf
from models.run import RunFolder
from models.session import DataSet
from models.tree_scenes import Place, ground_of
from models.trees import TreePredictor, train
from tests.unit.test_50_train_predict import _call
from tests.unit.tiny_sets import GRID, write_set
from tests.unit.tiny_training import BANDS, SAR, sample
from utils.io import raster, samples
from utils.science.grid import Grid
from utils.science.res_features import facts_of
from utils.science.scene_windows import predict_blocks
from utils.workflow.config import ROOT

YAMLS = (ROOT / "GAN_confs/model_histgbm_res.yaml", ROOT / "GAN_confs/train_histgbm_res.yaml")
SMALL = ModelConf(model="histgbm_res", trees={"min_leaf": 20, "iterations": 20, "pixels": 2000})
SIDE = 150


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trees")
    write_set(folder, "train", range(6))
    write_set(folder, "val", range(6, 8))
    sets = [DataSet(samples.load_index(folder / n), partial(samples.read_sample, folder / n)) for n in ("train", "val")]
    with threadpool_limits(limits=1, user_api="openmp"):
        confs = (SMALL, TrainConf(seed=1))
        train("t", RunFolder(folder / "run"), YAMLS, confs, (sets[0], sets[1]), logging.getLogger("test"))
    return folder / "run"


def test_blocks_and_the_command_equal_everything_at_once(run: Path, tmp_path: Path) -> None:
    one, raw = TreePredictor(run), sample(3, SIDE)
    grid = Grid(GRID.epsg, GRID.x0, GRID.y0, 10.0, -10.0, SIDE, SIDE)
    everywhere, images = np.ones((SIDE, SIDE), bool), (raw.s1_t0, raw.s1_t1, raw.s2_t0)
    facts = facts_of(*images, one.bands, everywhere)
    place = Place(facts, ground_of("", grid), dt.date(2020, 1, 1), dt.date(2020, 3, 1))
    whole = one.predict_part(*images, everywhere, place)

    def make(where: tuple[slice, slice], own: tuple[slice, slice]) -> np.ndarray:
        return one.predict_part(*(image[where] for image in images), everywhere[where], place)[own]

    parts = list(predict_blocks((SIDE, SIDE), make, 64, one.halo_px))
    assert [row for row, _ in parts] == [0, 64, 128]
    later = list(predict_blocks((SIDE, SIDE), make, 64, one.halo_px, 70, 140))
    found = np.concatenate([image for _, image in parts])
    assert np.array_equal(np.concatenate([image for _, image in later]), found[70:140])
    share = float((np.abs(found - whole) > 1e-6).mean())
    print(f"{share:.2g} of the values differ (limit 0.001): running sums round otherwise where a threshold is near")
    assert share <= 0.001 and np.abs(found - raw.s2_t0).max() > 0.01

    words: list[object] = []
    for option, image, names in zip(("--s1-t0", "--s1-t1", "--s2-t0"), images, (SAR, SAR, BANDS), strict=True):
        path = tmp_path / f"{option[2:]}.tif"
        raster.write(path, np.ascontiguousarray(np.moveaxis(image, -1, 0)), grid, band_names=names)
        words += [option, path]
    words += ["--day-t0", "2020-01-01", "--day-t1", "2020-03-01", "--float32", "--out", tmp_path / "o.tif"]
    done = _call("./s2cr", "predict", "--run-dir", run, "--scene", *words)
    assert done.returncode == 0, done.stderr
    assert raster.info(tmp_path / "o.tif").tags["DOMAIN"] == "inside"
    differs = np.abs(np.moveaxis(raster.read(tmp_path / "o.tif"), 0, -1) - whole) > 1e-6
    assert differs.mean() <= 0.001
