"""resunet_gan: phase 2 starts from the best of phase 1, and is exported only where it costs little."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import backend

backend.start()

from models import registry  # noqa: E402
from models.config import ModelConf, TrainConf  # noqa: E402
from models.discriminator import build_patch_critic, receptive_field  # noqa: E402
from models.inputs import Batches  # noqa: E402
from models.layers import SpectralConv2D  # noqa: E402
from models.run import RunFolder, load_card  # noqa: E402
from models.training import Training, build_trainer  # noqa: E402
from tests.unit.tiny_training import resunet_conf, task  # noqa: E402

ONE_LEVEL: dict[str, Any] = {"widths": (8,), "encoder_blocks": (1,), "decoder_blocks": (1,), "middle_blocks": 1}
MODEL = ModelConf(model="resunet_gan", dict_discri_archi={1: (1, 2, 4, 8), 2: (1, 1, 4, 1)}, **ONE_LEVEL)
PATCH_70 = {1: (1, 2, 4, 64), 2: (1, 2, 4, 128), 3: (1, 2, 4, 256), 4: (1, 1, 4, 512), 5: (1, 1, 4, 1)}


def _conf(**more: Any) -> TrainConf:
    return resunet_conf(**{"phase2": {"share": 0.5, "feature_matching": 2.0}, **more})


def test_the_critic_sees_patches_of_70_px() -> None:
    conf = ModelConf(model="resunet_gan", dict_discri_archi=PATCH_70)
    critic = build_patch_critic(conf, 14, 256)
    assert receptive_field(conf) == 70
    assert [shape[1:] for shape in critic.output_shape] == [
        (30, 30, 1), (128, 128, 64), (64, 64, 128), (32, 32, 256), (31, 31, 512),
    ]  # fmt: skip
    layers = [(14, 64), (64, 128), (128, 256), (256, 512), (512, 1)]
    by_hand = sum(16 * a * b + b for a, b in layers)
    assert sum(int(np.prod(v.shape)) for v in critic.trainable_weights) == by_hand
    assert critic.count_params() == by_hand + 64 + 128 + 256 + 512 + 1  # one singular vector a layer


def test_spectral_norm_against_the_singular_values() -> None:
    import keras

    keras.utils.set_random_seed(4)
    layer = SpectralConv2D(6, 3, strides=2)
    x = np.random.default_rng(2).normal(size=(1, 7, 7, 5)).astype("float32")
    for _ in range(60):  # the power iteration converges over calls in training
        layer(x, training=True)
    kernel = np.asarray(layer.kernel.value).reshape(-1, 6)
    largest = np.linalg.svd(kernel, compute_uv=False)[0]
    plain = np.einsum("abc,abcd->d", x[0, 2:5, 4:7], np.asarray(layer.kernel.value)) / largest
    assert np.asarray(layer(x))[0, 1, 2] == pytest.approx(plain, rel=1e-4)
    state = np.asarray(layer.vector.value)
    layer(x)
    assert np.array_equal(state, np.asarray(layer.vector.value))  # inference moves nothing


def test_step_0_copies_t0_as_resunet_does() -> None:
    network = registry.build(MODEL, 4)
    assert network.count_params() == registry.build(ModelConf(model="resunet", **ONE_LEVEL), 4).count_params()
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 11)).astype("float32")
    assert np.array_equal(np.asarray(network(x)), x[..., 6:10])


def test_phase_1_is_the_training_of_resunet(tmp_path: Path) -> None:
    """Six of twelve steps: the same weights as resunet trained for six steps; then others move."""
    phased = build_trainer(task(tmp_path / "a", MODEL, _conf()), 12)
    plain = build_trainer(task(tmp_path / "b", ModelConf(model="resunet", **ONE_LEVEL), _conf(epoch=1)), 6)
    one = task(tmp_path / "c", MODEL, _conf())
    batches = Batches(one.train_ids, one.load, one.train, one.units, 6, multiple=2)
    for trainer in (phased, plain):
        trainer._update = trainer._one_update  # eager: quicker than tracing
    phased._update2 = phased._second_update
    for step in range(6):
        for trainer in (phased, plain):
            trainer.step(batches.batch(step), step, 1)
    for a, b in zip(phased.generator.variables, plain.generator.variables, strict=True):
        assert np.array_equal(a, b)
    critic = [np.asarray(v.value) for v in phased.discriminator.trainable_variables]
    found = phased.step(batches.batch(6), 6, 2)
    norms = {"gradient_norm_generator2", "gradient_norm_discriminator"}
    assert set(found) == {"loss", "charbonnier", "adversarial", "matching", "d", *norms}
    residual = float(found["charbonnier"])
    extra = 0.01 * (float(found["adversarial"]) + 2.0 * float(found["matching"]))
    assert float(found["loss"]) == pytest.approx(residual + extra, rel=1e-5)
    rates = {name: float(pair[0].learning_rate) for name, pair in phased.optimisers.items()}
    assert (rates["generator2"], rates["discriminator"]) == pytest.approx((1e-4, 4e-4))
    assert any(not np.array_equal(a, b) for a, b in zip(critic, phased.discriminator.trainable_variables, strict=True))
    # phase 2 began from the exported weights of phase 1, here the moving average
    averages = [np.asarray(a) for a in plain.average]
    assert all(np.array_equal(a, b) for a, b in zip(averages, phased.first, strict=True))
    moved = max(
        float(np.abs(np.asarray(v.value) - a).max())
        for v, a in zip(phased.generator.trainable_variables, averages, strict=True)
    )
    assert 0 < moved < 2e-4 * 1.01  # one step of Adam at 1e-4


class Killed(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [6, 8])
def test_killed_in_either_phase_and_resumed_gives_equal_bytes(
    tmp_path: Path, killed_at: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def kill(done: int) -> None:
        if done == killed_at:
            raise Killed

    whole = tmp_path_factory.getbasetemp() / "whole_phases"
    if not (whole / "model_card.json").exists():
        Training(task(whole, MODEL, _conf())).fit()
    with pytest.raises(Killed):
        Training(task(tmp_path, MODEL, _conf(), kill)).fit()
    Training(task(tmp_path, MODEL, _conf())).fit()
    for name in ("model.keras", "history.jsonl", "model_card.json", "model_card.md"):
        assert (
            hashlib.sha256((tmp_path / name).read_bytes()).digest()
            == hashlib.sha256((whole / name).read_bytes()).digest()
        ), name
    steps = [json.loads(line)["step"] for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert steps == [5, 6, 10, 12]  # metric_step 5, and the end of phase 1


@pytest.mark.parametrize(("limit_db", "phase"), [(0.2, "phase 1"), (99.0, "phase 2")])
def test_a_costly_phase_2_is_thrown_away(tmp_path: Path, limit_db: float, phase: str) -> None:
    """A rate of 0.02 and a heavy adversarial term ruin the image; only a limit of 99 dB accepts that."""
    second = {"share": 0.5, "lr_g": 0.02, "adversarial": 10.0, "max_loss_db": limit_db, "loss": "least_squares"}
    training = Training(task(tmp_path, MODEL, _conf(phase2=second)))
    figures = training.fit()
    card = load_card(RunFolder(tmp_path))
    facts = card["phase2"]
    assert f"Exported are the weights of {phase}." in (tmp_path / "model_card.md").read_text()
    loss_db = facts["psnr_changed_phase1"] - facts["psnr_changed_phase2"]
    print(f"phase 2 cost {loss_db:.2f} dB (limit {limit_db})")
    assert 0.2 < loss_db < 99
    assert facts["exported"] == phase
    kept = "psnr_changed_phase1" if phase == "phase 1" else "psnr_changed_phase2"
    assert figures["psnr_changed"] == facts[kept] == card["validation"]["psnr_changed"]
    history = {r["step"]: r["val"] for r in map(json.loads, (tmp_path / "history.jsonl").read_text().splitlines())}
    assert history[card["exported_step"]]["psnr_changed"] == pytest.approx(facts[kept], abs=1e-5)
    assert figures["step"] == card["exported_step"] == (12 if phase == "phase 2" else facts["phase1_step"])


def test_without_a_share_it_is_resunet(tmp_path: Path) -> None:
    model, conf = ModelConf(model="resunet", **ONE_LEVEL), _conf(epoch=1, phase2={"share": 0.0})
    plain = Training(task(tmp_path / "a", model, conf)).fit()
    assert Training(task(tmp_path / "b", MODEL, conf)).fit() == plain
    assert "phase2" not in load_card(RunFolder(tmp_path / "b"))
