"""Cycle GAN: images by value, the memory of the discriminators, cloudy tiles, exact resume."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models import backend

backend.start()

from models import cyclegan, inputs  # noqa: E402
from models.config import ModelConf, TrainConf  # noqa: E402
from models.cycle_trainer import CycleTrainer, ImageBuffer  # noqa: E402
from models.training import Training, build_trainer  # noqa: E402
from tests.unit.tiny_training import TINY_GAN, gan_conf, task  # noqa: E402

MODEL = ModelConf(model="cyclegan", **TINY_GAN)
START = 4


def _conf(**more: Any) -> TrainConf:
    values = {**gan_conf().model_dump(by_alias=True), "crop_px": 16, "gradient_acc_step": 1, "image_buffer": 3, **more}
    return TrainConf.model_validate(values)


def _batch(conf: TrainConf) -> inputs.Batch:
    one = task(Path("unused"), MODEL, conf)
    return inputs.Batches(one.train_ids, one.load, conf, one.units, START).batch(0)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _step(conf: TrainConf, batch: inputs.Batch, epoch: int = 1) -> tuple[dict[str, float], CycleTrainer]:
    trainer = build_trainer(task(Path("unused"), MODEL, conf), 10)
    trainer._update = trainer._one_update  # eager: one step is over before a graph is traced
    return {name: float(value) for name, value in trainer.step(batch, 0, epoch).items()}, trainer


def test_counts_of_the_second_generator() -> None:
    network = cyclegan.build_inverse(ModelConf(), 8, 4)
    assert network.input_shape[-1] == 10
    assert network.output_shape[-1] == 2
    # by hand: the published 11,407,748 with 2 more channels into 64 filters of 7 x 7 and 2 fewer out of 64 of 3 x 3
    assert network.count_params() == 11_407_748 + 2 * 49 * 64 - 2 * (9 * 64 + 1) == 11_412_866
    assert np.abs(np.asarray(network(np.full((1, 8, 8, 10), 50.0, "float32")))).max() > 1.0  # an open end, no tanh


def _listed(values: Any) -> list[float]:
    return [float(v) for v in np.asarray(values).ravel()]


def test_channels_are_exchanged_where_they_belong() -> None:
    x = np.arange(8, dtype=np.float32).reshape(1, 1, 1, 8)  # VV VH t0, VV VH t1, four bands
    sar, optical = np.float32([[[[20, 21]]]]), np.float32([[[[30, 31, 32, 33]]]])
    at = cyclegan.Places(2, 4, 4)
    assert (_listed(at.s1_t0(x)), _listed(at.s1_t1(x)), _listed(at.s2_t0(x))) == ([0, 1], [2, 3], [4, 5, 6, 7])
    assert _listed(at.with_s1_t1(x, sar)) == [0, 1, 20, 21, 4, 5, 6, 7]
    assert _listed(at.inverse_input(x, optical)) == [30, 31, 32, 33, 0, 1, 4, 5, 6, 7]
    assert _listed(at.filled(optical, x, np.zeros((1, 1, 1), "float32"))) == [4, 5, 6, 7]
    assert _listed(at.filled(optical, x, np.ones((1, 1, 1), "float32"))) == [30, 31, 32, 33]
    # three dates: six SAR channels, an older and the newest optical band
    three, older = np.arange(8, dtype=np.float32).reshape(1, 1, 1, 8), cyclegan.Places(4, 7, 1)
    assert (_listed(older.s1_t0(three)), _listed(older.s1_t1(three)), _listed(older.s2_t0(three))) == (
        [2, 3],
        [4, 5],
        [7],
    )
    assert _listed(older.inverse_input(three, optical[..., :1])) == [30, 0, 1, 2, 3, 6, 7]


def test_a_decision_counts_by_its_clear_share() -> None:
    weight = np.ones((1, 16, 16), np.float32)
    weight[:, :, :8] = 0
    share = np.asarray(cyclegan.map_weight(weight, np.zeros((1, 4, 4, 1), np.float32)))
    assert share.shape == (1, 4, 4)
    assert np.allclose(share[0, :, 0], 0)
    assert np.allclose(share[0, :, 1], 0)  # less than half clear
    assert (share[0, :, 2] >= 0.5).all()
    assert np.allclose(share[0, :, 3], 1)


def test_the_memory_follows_its_rule() -> None:
    """Against a plain list: fill first, then swap one of the old images with probability 1/2."""
    buffer, rng = ImageBuffer(3, (2, 2, 1)), np.random.default_rng(5)
    kept: list[float] = []
    swaps = 0
    for number in range(12):
        draws = rng.random((2, 2)).astype("float32")
        values = [10.0 * number, 10.0 * number + 1]
        fresh = np.stack([np.full((2, 2, 1), v, np.float32) for v in values])
        expected = []
        for value, (coin, place) in zip(values, draws, strict=True):
            if len(kept) < 3:
                kept.append(value)
                expected.append(value)
            elif coin < 0.5:
                expected.append(kept[int(place * 3)])
                kept[int(place * 3)] = value
                swaps += 1
            else:
                expected.append(value)
        assert np.asarray(buffer.exchange(fresh, draws))[:, 0, 0, 0].tolist() == expected
    assert np.asarray(buffer.images)[:, 1, 1, 0].tolist() == kept
    assert 0 < swaps < 21
    one = np.ones((1, 2, 2, 1), np.float32)
    assert ImageBuffer(0, (2, 2, 1)).exchange(one, np.zeros((1, 2), np.float32)) is one


def test_the_loss_is_the_sum_of_its_terms_and_every_weight_counts() -> None:
    conf = _conf(lambda_cyc=7.0, lambda_id=3.0, **{"lambda": 11.0})
    found, _ = _step(conf, _batch(conf))
    cycles = found["cycle_s1"] + found["cycle_s2"]
    total = found["adversarial"] + found["adversarial_inverse"] + 11 * found["l1"] + 7 * cycles + 3 * found["identity"]
    assert found["loss"] == pytest.approx(total, rel=1e-5)
    assert min(found[name] for name in ("cycle_s1", "cycle_s2", "l1", "identity")) > 0.05
    off, _ = _step(_conf(lambda_id=0), _batch(conf))
    assert off["identity"] == 0
    assert off["l1"] == pytest.approx(found["l1"], rel=1e-5)


def test_a_cloudy_label_teaches_the_cycle_but_never_the_image() -> None:
    conf = _conf()
    clear = _batch(conf)
    cloudy = replace(clear, weight=np.zeros_like(clear.weight))
    found, trainer = _step(conf, cloudy)
    assert (found["l1"], found["cycle_s2"]) == (0, 0)
    assert found["cycle_s1"] > 0.05
    assert found["adversarial"] > 0.05
    fresh = build_trainer(task(Path("unused"), MODEL, conf), 10)
    pairs = zip(fresh.generator.trainable_variables, trainer.generator.trainable_variables, strict=True)
    assert all(not np.array_equal(a, b) for a, b in pairs if "kernel" in a.name)
    whitened, _ = _step(conf, replace(cloudy, y=np.ones_like(clear.y)))  # what the cloud looks like changes nothing
    assert whitened == pytest.approx(found, rel=1e-6)
    assert _step(conf, replace(clear, y=np.ones_like(clear.y)))[0]["l1"] > 0.05  # under a clear sky it would


def test_generator_only_epochs_leave_both_discriminators_alone() -> None:
    conf = _conf(train_g_multiple_time=(2,))
    for epoch, moved in ((1, True), (2, False)):
        fresh = build_trainer(task(Path("unused"), MODEL, conf), 10)
        _, trainer = _step(conf, _batch(conf), epoch)
        for kind in ("s1", "s2"):
            before, after = (t.critics[kind].trainable_variables for t in (fresh, trainer))
            same = [np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
            assert (not all(same)) is moved


class Killed(Exception):
    pass


@pytest.mark.slow
def test_killed_and_resumed_with_its_memory_gives_equal_bytes(tmp_path: Path) -> None:
    def kill(done: int) -> None:
        if done == 7:
            raise Killed

    conf = _conf()
    Training(task(tmp_path / "whole", MODEL, conf)).fit()
    with pytest.raises(Killed):
        Training(task(tmp_path / "cut", MODEL, conf, kill)).fit()
    cut = Training(task(tmp_path / "cut", MODEL, conf))
    cut.resume()
    assert cut.at.step == 6
    assert int(cut.trainer.buffers["s2"].count) == 3
    assert np.asarray(cut.trainer.buffers["s2"].images).any()
    cut.fit()
    for name in ("model.keras", "history.jsonl", "model_card.json"):
        digests = {hashlib.sha256((tmp_path / which / name).read_bytes()).hexdigest() for which in ("whole", "cut")}
        assert len(digests) == 1, name
    arrays = [np.load(path / "arrays.npz") for path in sorted((tmp_path / "whole").glob("checkpoints/*/step-*"))]
    assert {"buffer_s2.0000", "buffer_s1.0001"} <= set(arrays[-1].files)


@pytest.mark.parametrize(
    ("keys", "words"),
    [({"scaler": "fixed"}, "scaler standard only"), ({"add_discri_noise": True}, "belongs to published_gan")],
)
def test_what_a_cycle_gan_cannot_do_is_refused(keys: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ModelConf(model="cyclegan", **keys)
