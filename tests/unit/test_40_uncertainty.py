"""Uncertainty head: the mean stays the same to the bit, sigma is calibrated, interrupted training resumes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import backend

backend.start()

from models import head, registry, uncertainty  # noqa: E402
from models.config import ModelConf, TrainConf  # noqa: E402
from models.predictor import Predictor  # noqa: E402
from models.run import RunFolder, load_card  # noqa: E402
from models.training import Training  # noqa: E402
from tests.unit.tiny_training import (  # noqa: E402
    BANDS,
    MEDIAN,
    SAR,
    TINY_GAN,
    gan_conf,
    resunet_conf,
    sample,
    standard_scaler,
    task,
)  # fmt: skip
from utils.science import uncertainty as judgement  # noqa: E402
from utils.science.scaler import Scaler  # noqa: E402
from utils.workflow.errors import ConfigError, Interrupted  # noqa: E402
from utils.workflow.files import atomic_json  # noqa: E402

ONE_LEVEL: dict[str, Any] = {"widths": (8,), "encoder_blocks": (1,), "decoder_blocks": (1,), "middle_blocks": 1}
RESUNET = ModelConf(model="resunet", **ONE_LEVEL)
HEAD = {"steps": 5, "filters": 8}
OTHERS = {
    "resunet_gan": (ModelConf(model="resunet_gan", dict_discri_archi={1: (1, 2, 4, 4), 2: (1, 1, 4, 1)}, **ONE_LEVEL), resunet_conf),
    "published_gan": (ModelConf(**TINY_GAN), gan_conf),
    "dsen2cr": (ModelConf(model="dsen2cr", nb_resnet_blocs=1, dim_resnet=4, param_before_resnet=()), resunet_conf),
}  # fmt: skip


def _with_head(model: ModelConf) -> ModelConf:
    return model.model_copy(update={"uncertainty": True})


def _scaler(folder: Path, model: ModelConf) -> None:
    scaler = Scaler.fixed(SAR, BANDS) if registry.scaler_mode(model) == "fixed" else standard_scaler()
    atomic_json(folder / "scaler.json", scaler.to_json())


def _fit(folder: Path, model: ModelConf, conf: TrainConf, val: range = range(100, 102)) -> Path:
    one = replace(task(folder, model, conf), val_ids=[str(i) for i in val])
    Training(one).fit()
    _scaler(folder, model)
    return folder


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    conf = resunet_conf(epoch=4, steps_per_epoch=40, metric_step=40, head={"steps": 150}, checkpoint_steps=None)
    return _fit(tmp_path_factory.mktemp("calibrated"), _with_head(RESUNET), conf, range(100, 110))


def test_the_head_is_a_network_of_its_own() -> None:
    network = registry.build(ModelConf(model="resunet"), 4)
    features = uncertainty.feature_network(network)
    assert features.output_shape == [(None, None, None, 32), (None, None, None, 4)]
    built = uncertainty.build_head(32, 4, 32, np.array([-1.0, -2.0, -3.0, 4.0]))
    # by hand: norm 2 x 32, twice 9 x 32 x 32 + 32, then 32 x 4 + 4
    assert built.count_params() == 64 + 2 * (9 * 32 * 32 + 32) + 132 == 18_692
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 32)).astype("float32")
    says = np.asarray(built(x))
    assert np.allclose(says, 10 * np.tanh(np.array([-0.1, -0.2, -0.3, 0.4])), atol=1e-5)  # before its training
    with pytest.raises(ValueError, match="no features"):
        uncertainty.feature_network(built)


def check_same_mean(folder: Path, model: ModelConf, conf: TrainConf) -> None:
    plain, told = _fit(folder / "plain", model, conf), _fit(folder / "told", _with_head(model), conf)
    assert _digest(plain / "model.keras") == _digest(told / "model.keras")
    assert _digest(plain / "history.jsonl") == _digest(told / "history.jsonl")
    raw = [(sample(i), MEDIAN) for i in range(3)]
    without, with_head = Predictor(plain, 2), Predictor(told, 2)
    sigma = with_head.predict_sigma(raw)
    for a, b in zip(without.predict(raw), with_head.predict(raw), strict=True):
        assert np.array_equal(a, b, equal_nan=True)
    assert min(float(s.min()) for s in sigma) > 0
    assert not without.has_sigma
    with pytest.raises(ConfigError, match="has no uncertainty head"):
        without.predict_sigma(raw)
    temperature = load_card(RunFolder(told))["uncertainty"]["temperature"]
    assert sorted(temperature) == sorted(BANDS)
    assert min(temperature.values()) > 0


@pytest.mark.slow
def test_the_mean_is_the_same_to_the_bit(tmp_path: Path) -> None:
    check_same_mean(tmp_path, RESUNET, resunet_conf(head=HEAD))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OTHERS))
def test_the_mean_is_the_same_to_the_bit_in_every_model(tmp_path: Path, name: str) -> None:
    model, conf = OTHERS[name]
    check_same_mean(tmp_path, model, conf(head=HEAD))


@pytest.mark.slow
def test_sixteen_bits_change_nothing_of_that(tmp_path: Path) -> None:
    import keras

    try:
        check_same_mean(tmp_path, RESUNET, resunet_conf(head=HEAD, mixed_precision=True))
    finally:
        keras.config.set_dtype_policy("float32")


def test_sigma_is_calibrated_on_other_samples(calibrated: Path) -> None:
    raw = [(sample(i), MEDIAN) for i in range(200, 220)]
    predictor = Predictor(calibrated, 4)
    error = np.stack(predictor.predict(raw)) - np.stack([one.s2_t1 for one, _ in raw])
    sigma = np.stack(predictor.predict_sigma(raw))
    ratios = (np.abs(error) / sigma).ravel()
    shares = judgement.coverage(ratios)
    squared, spread = np.square(error).mean(-1).ravel(), np.sqrt(np.square(sigma).mean(-1)).ravel()
    found, constant = judgement.ause(squared, spread), judgement.ause(squared, np.ones_like(spread))
    print(
        f"coverage 68: {shares['68']:.3f}, 95: {shares['95']:.3f} (limit 5 points); AUSE {found:.3f} ({constant:.3f})"
    )
    assert shares["68"] == pytest.approx(0.6827, abs=0.05)
    assert shares["95"] == pytest.approx(0.95, abs=0.05)
    assert found is not None and constant is not None and found < 0.5 * constant


def test_the_card_tells_coverage_and_ause(calibrated: Path) -> None:
    facts = load_card(RunFolder(calibrated))["uncertainty"]
    assert sorted(facts["strata"]) == ["all", "burned", "changed", "predicted_change"]
    every, changed = facts["strata"]["all"], facts["strata"]["changed"]
    assert every["pixels"] == 10 * 24 * 24 > changed["pixels"] > 0
    assert every["coverage"]["68"] == pytest.approx(0.6827, abs=0.05)
    assert every["ause"] < every["ause_constant"]
    assert facts["cross_fitted"] is True
    assert (facts["steps"], facts["file"]) == (150, "uncertainty.keras")
    text = (calibrated / "model_card.md").read_text()
    assert f"| all | 5760 | {every['coverage']['68']:.3f} |" in text
    assert calibrated / "uncertainty.keras" in RunFolder(calibrated).outputs()


def test_sigma_is_missing_where_an_input_is(calibrated: Path) -> None:
    raw = sample(7)
    holes = raw.s1_t1.copy()
    holes[:3, :4] = np.nan
    sigma = Predictor(calibrated, 2).predict_sigma([(replace(raw, s1_t1=holes), MEDIAN)])[0]
    assert np.isnan(sigma).all(-1).sum() == 12
    assert np.nanmin(sigma) > 0
    assert 0.002 < np.nanmedian(sigma) < 0.1  # reflectance, not network units


def test_one_predictor_takes_samples_of_several_sizes(calibrated: Path) -> None:
    predictor = Predictor(calibrated, 1)
    for size in (24, 32, 28):
        raw = [(sample(1, size), MEDIAN)]
        assert predictor.predict(raw)[0].shape == predictor.predict_sigma(raw)[0].shape == (size, size, 4)


@pytest.mark.slow
def test_interrupted_head_resumes_to_equal_bytes(tmp_path: Path) -> None:
    model, conf = _with_head(RESUNET), resunet_conf(head={"steps": 10, "filters": 8})

    def stop(done: int) -> None:
        if done == 12 + 4:  # twelve steps of the mean
            os.kill(os.getpid(), signal.SIGTERM)

    whole = _fit(tmp_path / "whole", model, conf)
    with pytest.raises(Interrupted, match="uncertainty: SIGTERM at step 4 of 10") as caught:
        Training(task(tmp_path / "cut", model, conf, stop)).fit()
    assert caught.value.exit_code == 75
    assert not (tmp_path / "cut" / "model_card.json").exists()
    seen: list[int] = []
    one = replace(task(tmp_path / "cut", model, conf, seen.append), val_ids=["100", "101"])
    Training(one).fit()
    assert seen == list(range(12 + 5, 12 + 11))  # the mean is not trained again
    for name in ("model.keras", "uncertainty.keras", "model_card.json"):
        assert _digest(whole / name) == _digest(tmp_path / "cut" / name), name
    # the same run without a head leaves none behind
    Training(task(tmp_path / "cut", RESUNET, conf)).fit()
    assert not (tmp_path / "cut" / "uncertainty.keras").exists()
    assert "uncertainty" not in json.loads((tmp_path / "cut" / "model_card.json").read_text())


def test_burned_is_a_fall_of_nbr_or_else_of_ndvi() -> None:
    bands = ("B04", "B08", "B12")
    t0 = np.array([[[0.1, 0.3, 0.1], [0.1, 0.3, 0.1]]])  # NBR .5, NDVI .5
    t1 = np.array([[[0.1, 0.3, 0.13], [0.15, 0.3, 0.1]]])  # NBR .395, .5; NDVI .5, .333
    assert head.burned_mask(t0, t1, bands).tolist() == [[True, False]]
    assert head.burned_mask(t0[..., :2], t1[..., :2], bands[:2]).tolist() == [[False, True]]
    assert head.burned_mask(t0[..., :1], t1[..., :1], bands[:1]).tolist() == [[False, False]]


def test_pixels_are_judged_with_the_temperature_of_the_other_half() -> None:
    """Errors of tile 1 are twice as wide as those of tile 0: crossed, coverage fails both ways."""
    rng = np.random.default_rng(6)
    tile = np.repeat([0, 1], 4000)
    error = rng.normal(0, 1, (8000, 1)) * (1 + tile[:, None])
    pixels = {"error": error, "sigma": np.ones((8000, 1)), "changed": tile == 1, "burned": tile > 5, "tile": tile}
    pixels["predicted_change"] = tile == 0
    facts = head.judge(pixels, ("B04",))
    assert facts["strata"]["changed"]["coverage"]["68"] == pytest.approx(0.383, abs=0.02)  # within half a sigma
    assert 1.0 < facts["temperature"]["B04"] < 2.0
    assert facts["strata"]["changed"]["coverage"]["95"] == pytest.approx(0.673, abs=0.02)  # within 0.98 sigma
    assert facts["strata"]["predicted_change"]["coverage"]["95"] == pytest.approx(0.9999, abs=0.001)  # within 3.92
    # of both together 95 % lie within the width that is exported
    inside = np.abs(error) <= facts["temperature"]["B04"] * facts["width_95"]["B04"]
    assert inside.mean() == pytest.approx(0.95, abs=0.001) and facts["width_95"]["B04"] > 1.96
    none = {"temperature": {"B04": 1.0}, "width_95": {"B04": pytest.approx(1.96, abs=1e-4)}}
    assert head.judge({}, ("B04",)) == {**none, "strata": {}, "cross_fitted": False}
