"""path_csv: ranges of a table scale Sentinel-2, travel with the run and are undone on prediction."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models import backend

backend.start()

from models import minmax  # noqa: E402
from models.predictor import Predictor  # noqa: E402
from models.run import RunFolder  # noqa: E402
from models.session import DataSet, make_task  # noqa: E402
from models.training import Training  # noqa: E402
from tests.unit.tiny_training import BANDS, MEDIAN, SAR, sample, standard_scaler  # noqa: E402
from utils.workflow.errors import ConfigError, InputError  # noqa: E402
from utils.workflow.files import atomic_json  # noqa: E402

TABLE = """year,tile,band,images,min,max
2018,55HGA,B04,9,0.001,0.9
2019,55HGA,B04,9,0.010,0.500
2019,55HGB,B04,9,0.020,0.410
2020,55HGA,B04,9,0.012,0.610
2019,55HGA,B03,9,0.0,0.4
2020,55HGA,B03,9,0.0,0.4
2019,55HGA,B02,9,0.0,0.2
2020,55HGA,B02,9,,
2020,55HGB,B02,9,0.1,0.4
2019,55HGA,B08,9,0.0,0.8
2020,55HGA,B08,9,0.0,0.6
2019,55HGA,NDVI,9,-0.2,0.9
"""
MODEL = """model_name: small
param_before_resnet: [[8, 3]]
dim_resnet: 8
nb_resnet_blocs: 1
param_after_resnet: [[8, 3]]
input_shape: [null, null, null]
dim_gt_image: [null, null, null]
dict_discri_archi: {1: [1, 2, 4, 8], 2: [1, 1, 4, 1]}
"""
TRAIN = "epoch: 1\nsteps_per_epoch: 2\nbatch_size: 2\nmetric_step: 2\ntensorboard: false\ngradient_acc_step: 1\n"


def _table(folder: Path, text: str = TABLE) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "s2_minmax.csv").write_text(text)
    return folder


def test_one_range_over_the_tiles_and_the_years_of_the_pairs(tmp_path: Path) -> None:
    rows = minmax.read_table(_table(tmp_path / "minmax"))
    assert rows == minmax.read_table(tmp_path / "minmax" / "s2_minmax.csv")
    found = minmax.ranges(rows, BANDS, (2020, 2019, 2020))
    assert found == {"B04": (0.01, 0.61), "B03": (0.0, 0.4), "B02": (0.0, 0.4), "B08": (0.0, 0.8)}  # not 2018
    assert minmax.ranges(rows, ("B04",), (2018,)) == {"B04": (0.001, 0.9)}


def test_z_is_minus_one_to_one_and_comes_back() -> None:
    ranges = {"B04": (0.01, 0.61), "B03": (0.0, 0.4), "B02": (0.0, 0.4), "B08": (0.0, 0.8)}
    base = standard_scaler()
    scaler = minmax.with_ranges(base, ranges)
    v = np.float32([[[0.01, 0.4, 0.1, 0.6], [0.31, 0.0, 0.5, 0.8]]])
    assert np.allclose(scaler.apply_label(v), [[[-1, 1, -0.5, 0.5], [0, -1, 1.5, 1]]], atol=1e-6)
    assert np.abs(scaler.invert_label(scaler.apply_label(v)) - v).max() < 1e-6
    x, _ = scaler.network_input(v[..., :2] + 0.01, v[..., :2] + 0.01, v)
    before, _ = base.network_input(v[..., :2] + 0.01, v[..., :2] + 0.01, v)
    assert np.allclose(x[..., 4:], scaler.apply_label(v))
    assert np.array_equal(x[..., :4], before[..., :4])  # radar keeps its z-score


@pytest.mark.parametrize(
    ("text", "years", "kind", "words"),
    [
        (TABLE, (2019, 2021), ConfigError, r"no range of B04 in 2021"),
        (TABLE.replace("B08", "B8A"), (2019,), ConfigError, r"no range of B08 in 2019"),
        (TABLE.replace("2019,55HGA,B03,9,0.0,0.4", "2019,55HGA,B03,9,0.4,0.4"), (2019,), ConfigError, "0.4 to 0.4"),
        (TABLE.replace("0.010", "small"), (2019,), InputError, r"s2_minmax.csv:3: could not convert"),
        (TABLE.replace("tile", "granule"), (2019,), InputError, "no column tile"),
    ],
)
def test_tables_that_do_not_fit(tmp_path: Path, text: str, years: Any, kind: Any, words: str) -> None:
    with pytest.raises(kind, match=words):
        minmax.ranges(minmax.read_table(_table(tmp_path, text)), BANDS, years)


def test_a_missing_table_says_which_command_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read") as caught:
        minmax.read_table(tmp_path / "none.csv")
    assert "s2_minmax" in caught.value.remedy


def _sets() -> tuple[DataSet, DataSet]:
    pair = SimpleNamespace(
        t0="2019-11-01", t1="2020-02-04", days=(), ds1_median_db=MEDIAN, site="x",
        date2="20200204", mixed_orbit=False,
    )  # fmt: skip
    sets = []
    for numbers in (range(6), range(6, 8)):
        samples = [
            SimpleNamespace(id=str(i), pair="p", block="b", trainable=True, changed_fraction=0.3) for i in numbers
        ]
        index = SimpleNamespace(
            bands_sar=SAR, bands_optical=BANDS, size_px=24, pairs={"p": pair}, samples=samples, n_dates=2
        )
        sets.append(DataSet(index, lambda i: sample(int(i))))  # type: ignore[arg-type]
    return sets[0], sets[1]


def _task(folder: Path, model: str, train: str) -> Any:
    (folder / "model.yaml").write_text(model)
    (folder / "train.yaml").write_text(train)
    atomic_json(folder / "norm" / "scaler_standard.json", standard_scaler().to_json())
    atomic_json(folder / "norm" / "scaler_fixed.json", {**standard_scaler().to_json(), "mode": "fixed"})
    run = RunFolder(folder / "run")
    yamls = (folder / "model.yaml", folder / "train.yaml")
    return make_task("small", run, yamls, _sets(), folder / "norm", logging.getLogger("test"), "")


def test_ranges_travel_with_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _table(tmp_path / "minmax")
    one = _task(tmp_path, MODEL, f"{TRAIN}path_csv: {tmp_path / 'minmax'}\ns2_scale: 1/7\n")
    assert "s2_scale has no effect with path_csv" in caplog.text
    assert np.allclose(one.units.scale, [0.3, 0.2, 0.2, 0.4])
    assert np.allclose(one.units.offset, [0.31, 0.2, 0.2, 0.4])
    tile, raw = one.load("6"), sample(6)
    expected = 2 * (raw.s2_t1[..., 0] - 0.01) / 0.6 - 1
    assert np.allclose(tile.y[..., 0], np.clip(expected, -1, 1), atol=1e-6)
    Training(one).fit()
    groups = {g["name"]: g for g in json.loads((tmp_path / "run" / "scaler.json").read_text())["groups"]}
    assert (groups["B04"]["mean"], groups["B04"]["std"]) == (pytest.approx(0.31), pytest.approx(0.3))
    (tmp_path / "minmax" / "s2_minmax.csv").unlink()  # a prediction needs the run alone
    predictor = Predictor(tmp_path / "run", 1)
    image = predictor.predict([(raw, MEDIAN)])[0]
    z = np.asarray(predictor._infer(predictor.scaler.network_input(raw.s1_t0, raw.s1_t1, raw.s2_t0, MEDIAN)[0][None]))
    assert np.allclose(image[..., 3], (z[0, ..., 3] + 1) / 2 * 0.8, atol=1e-6)
    other = _task(tmp_path, MODEL, TRAIN)
    assert other.fingerprint != one.fingerprint


def test_mode_fixed_has_constants_of_its_own(tmp_path: Path) -> None:
    _table(tmp_path / "minmax")
    with pytest.raises(ConfigError, match="path_csv works with scaler standard, this model has fixed"):
        _task(tmp_path, "model: resunet\n", f"{TRAIN}path_csv: {tmp_path / 'minmax'}\n")
    assert not (tmp_path / "run").exists()
