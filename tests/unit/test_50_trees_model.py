"""Boosted trees through the commands of the networks: train, predict, tags, damage, and where they do not belong."""

from __future__ import annotations

import dataclasses
import json
import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from models.config import ModelConf, TrainConf
from models.run import RunFolder
from models.session import DataSet
from models.tree_scenes import Ground
from models.trees import TreeModel, TreePredictor, train
from tests.unit.test_50_train_predict import _call
from tests.unit.tiny_sets import GRID, write_set
from utils.io import raster, samples
from utils.workflow.config import ROOT
from utils.workflow.errors import InputError, NothingFoundError
from utils.workflow.files import atomic_json

YAMLS = (ROOT / "GAN_confs/model_histgbm_res.yaml", ROOT / "GAN_confs/train_histgbm_res.yaml")
SMALL = ModelConf(model="histgbm_res", trees={"min_leaf": 20, "iterations": 20, "pixels": 2000})
WITH_NET = ModelConf(model="trees_net", trees={"min_leaf": 20, "iterations": 20, "pixels": 2000}, net={"batch": 128})
BOTH = pytest.mark.parametrize("model", [SMALL, WITH_NET], ids=["trees", "trees_net"])


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(limits=1, user_api="openmp"):
        yield


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trees")
    write_set(folder, "train", range(6))
    write_set(folder, "val", range(6, 8))
    write_set(folder, "all", range(8, 12))
    return folder


def data(folder: Path, name: str) -> DataSet:
    return DataSet(samples.load_index(folder / name), partial(samples.read_sample, folder / name))


def fitted(sets: Path, run: Path, seed: int = 1, model: ModelConf = SMALL) -> dict:
    both = (data(sets, "train"), data(sets, "val"))
    return train("t", RunFolder(run), YAMLS, (model, TrainConf(seed=seed)), both, logging.getLogger("test"))


@BOTH
def test_learns_the_burn_and_equal_trainings_give_equal_bytes(sets: Path, tmp_path: Path, model: ModelConf) -> None:
    figures = fitted(sets, tmp_path / "a", model=model)
    print(f"skill on changed pixels of the validation tiles {figures['skill_changed']:.2f} (limit 0.7)")
    assert figures["skill_changed"] > 0.7 and figures["mae"] < figures["mae_copy_t0"]
    fitted(sets, tmp_path / "b", model=model)
    fitted(sets, tmp_path / "c", seed=2, model=model)
    files = [path.name for path in RunFolder(tmp_path / "a").outputs()]
    assert files == ["model.yaml", "train.yaml", "model.npz", "model_card.json", "model_card.md", "history.jsonl"]
    same, other = ([(tmp_path / run / name).read_bytes() for name in files] for run in ("b", "c"))
    assert same == [(tmp_path / "a" / name).read_bytes() for name in files]
    assert other[2] != same[2]


@BOTH
def test_predictor_predicts_what_was_trained(sets: Path, tmp_path: Path, model: ModelConf) -> None:
    fitted(sets, tmp_path, model=model)
    index = samples.load_index(sets / "all")
    read = partial(samples.read_sample, sets / "all")
    predictor = TreePredictor(tmp_path, index, read)
    predictor.check_bands(index.bands_sar, index.bands_optical)
    got = [read(name) for name in index.ids]
    images = predictor.predict([(sample, {}) for sample in got])
    alone = predictor.predict([(got[2], {})])[0]
    assert np.array_equal(images[2], alone) and images[0].dtype == np.float32
    sums = [[((image - one.s2_t1) ** 2).sum(), ((one.s2_t0 - one.s2_t1) ** 2).sum()] for one, image in zip(got, images)]
    own, copy = np.sum(sums, axis=0)
    assert own < 0.8 * copy
    assert predictor.tags("p001") == {"DOMAIN": "inside"}
    hole = got[0].s1_t1.copy()
    hole[3, 4] = np.nan
    holed = predictor.predict([(samples.Sample(**{**vars(got[0]), "s1_t1": hole}), {})])[0]
    assert np.isnan(holed[3, 4]).all() and np.isfinite(holed).sum() == holed.size - 4


@BOTH
def test_another_landscape_is_told_and_the_change_is_cut_to_a_quarter(
    sets: Path, tmp_path: Path, model: ModelConf
) -> None:
    fitted(sets, tmp_path, model=model)
    model = TreeModel.load(tmp_path)
    index = samples.load_index(sets / "all")
    read = partial(samples.read_sample, sets / "all")

    def bright(name: str) -> samples.Sample:
        sample = read(name)
        return samples.Sample(**{**vars(sample), "s2_t0": sample.s2_t0 + np.float32(0.5)})

    predictor = TreePredictor(tmp_path, index, bright)
    assert predictor.tags("p001") == {"DOMAIN": "outside"}
    sample = bright(index.ids[0])
    image = predictor.predict([(sample, {})])[0]
    view = predictor.scenes.view(sample.id, sample)
    from utils.science.res_features import columns, names_of, planes_of
    from utils.science.trees import predict_bands

    change = predict_bands(model.relative, columns(planes_of(view), names_of("relative", model.bands)))
    expected = np.maximum(sample.s2_t0.astype(np.float64) + 0.25 * change.reshape(sample.s2_t0.shape), 0)
    assert np.allclose(image, expected, atol=1e-6)
    assert np.abs(change).max() > 0.01


def test_ground_is_near_by_distance_or_by_name() -> None:
    here = Ground("a", 32631, 500000.0, 5600000.0)
    assert here.near(Ground("b", 32631, 560000.0, 5680000.0))  # exactly 100 km
    assert not here.near(Ground("a", 32631, 560000.0, 5680001.0))
    assert not here.near(Ground("a", 32632, 500000.0, 5600000.0))
    chip = Ground("0060c0a5", 0, 0.0, 0.0)
    assert chip.near(Ground("0060c0a5", 0, 9e9, 0.0)) and not chip.near(Ground("000aa810", 0, 0.0, 0.0))


def test_far_ground_is_outside_whatever_it_looks_like(sets: Path, tmp_path: Path) -> None:
    fitted(sets, tmp_path)
    index = samples.load_index(sets / "all")
    far = dataclasses.replace(index.pairs["p001"].grid, x0=index.pairs["p001"].grid.x0 + 200_000)
    moved = dataclasses.replace(index, pairs={"p001": dataclasses.replace(index.pairs["p001"], grid=far)})
    read = partial(samples.read_sample, sets / "all")
    assert TreePredictor(tmp_path, index, read).tags("p001") == {"DOMAIN": "inside"}
    assert TreePredictor(tmp_path, moved, read).tags("p001") == {"DOMAIN": "outside"}


def test_shrink_of_many_dates_comes_from_dates_not_seen(tmp_path: Path) -> None:
    """The change of every t1 is drawn anew for each date: what was learned of one says nothing of another."""
    from models.trees import _held_out, _shrink, recipe_of
    from utils.science.strict_rows import Rows, all_names

    rng = np.random.default_rng(0)
    days = [f"2020-{month:02d}-01" for month in range(1, 9)]
    names = all_names(("B08",), ("res",))

    class Dates:
        def dates(self, name: str) -> tuple[str, str]:
            return "2019-06-01", days[int(name)]

    def made(signal: bool) -> Rows:
        x = rng.normal(size=(8000, len(names))).astype(np.float32)
        number = np.repeat(np.arange(8), 1000)
        x[:, names.index("day_t1_sin")] = number
        y = (x[:, :1] if signal else rng.normal(size=8)[number][:, None]) * 0.1
        rank = np.tile(np.arange(1000), 8)
        return Rows(names, ("B08",), x, y, number, rank, tuple((str(i), days[i]) for i in range(8)))

    recipe = recipe_of(SMALL)
    both = [made(signal) for signal in (True, False)]
    real, season = (_shrink(rows, _held_out(rows, Dates()), (recipe, None), 24000, 1) for rows in both)
    assert real > 0.9 and season < 0.5


def test_without_a_usable_sample_it_says_so(sets: Path, tmp_path: Path) -> None:
    index = json.loads((sets / "train/index.json").read_text())
    for sample in index["samples"]:
        sample["trainable"] = False
    atomic_json(tmp_path / "none" / "index.json", index)
    both = (data(tmp_path, "none"), data(sets, "val"))
    with pytest.raises(NothingFoundError, match="holds no sample"):
        train("t", RunFolder(tmp_path / "run"), YAMLS, (SMALL, TrainConf()), both, logging.getLogger("test"))


def test_damaged_run_is_refused(sets: Path, tmp_path: Path) -> None:
    fitted(sets, tmp_path)
    whole = (tmp_path / "model.npz").read_bytes()
    (tmp_path / "model.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable model"):
        TreeModel.load(tmp_path)


def test_commands_train_and_predict(sets: Path, tmp_path: Path) -> None:
    text = f"train_directory: {sets}/train\nval_directory: {sets}/val\ntraining_dir: {tmp_path}/runs\nseed: 1\n"
    (tmp_path / "train.yaml").write_text(text)
    done = _call("./s2cr", "train", "--model", YAMLS[0], "--train", tmp_path / "train.yaml")
    assert done.returncode == 0, done.stderr
    run = Path(done.stdout.strip().splitlines()[-1])
    assert (run / "model.npz").is_file() and not (run / "model.keras").exists()
    done = _call("./s2cr", "predict", "--run-dir", run, "--dataset", sets / "all", "--out", tmp_path / "pred")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "pred/p001_r0000_c0008.tif"
    facts = raster.info(path)
    assert facts.tags["MODEL"] == "histgbm_res" and facts.tags["DOMAIN"] == "inside"
    assert facts.grid.epsg == GRID.epsg and np.isfinite(raster.read(path)).all()


def test_models_lists_it() -> None:
    done = _call("./s2cr", "models")
    assert done.returncode == 0 and "histgbm_res" in done.stdout
