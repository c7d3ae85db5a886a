"""Every published key that has an effect has it: one check a key, against a count or a value by hand.

Keys not here: names and folders (test_50_train_predict), tables of channels and refusals (test_40_config), label
smoothing, lambda, accumulation and generator-only epochs (test_40_training).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import backend

backend.start()

import keras  # noqa: E402

from models import inputs  # noqa: E402
from models.config import ModelConf, TrainConf  # noqa: E402
from models.discriminator import build_discriminator  # noqa: E402
from models.gan import GanTrainer  # noqa: E402
from models.generator import build_generator  # noqa: E402
from models.session import scaler_with_factors  # noqa: E402
from models.training import Training, build_trainer  # noqa: E402
from tests.unit.tiny_training import TINY_GAN, gan_conf, sample, standard_scaler, task  # noqa: E402

Pairs = tuple[tuple[int, int], ...]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _expected_count(before: Pairs, after: Pairs, blocks: int, kernel: int, dim: int, last: tuple[int, int]) -> int:
    """Parameters by hand: a convolution has k k in out + out, its batch norm 4 out."""
    total, width = 0, 8
    for filters, size in before:
        total, width = total + size * size * width * filters + 5 * filters, filters
    total += blocks * 2 * (kernel * kernel * dim * dim + 5 * dim)
    for filters, size in after:
        total, width = total + size * size * width * filters + 5 * filters, filters
    return total + last[1] ** 2 * width * last[0] + last[0]


BASE: dict[str, Any] = {
    "param_before_resnet": ((4, 7), (6, 3)), "param_after_resnet": ((5, 3),), "nb_resnet_blocs": 2, "k_resnet": 3,
    "dim_resnet": 6, "last_layer": (4, 3),
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"param_before_resnet": ((4, 5), (6, 3))},
        {"param_before_resnet": ((4, 7), (7, 3)), "dim_resnet": 7},
        {"param_after_resnet": ((5, 3), (3, 5))},
        {"nb_resnet_blocs": 3},
        {"k_resnet": 5},
        {"last_layer": (4, 5)},
    ],
)
def test_generator_keys_by_count(change: dict[str, Any]) -> None:
    keys = {**BASE, **change}
    expected = _expected_count(
        keys["param_before_resnet"], keys["param_after_resnet"], keys["nb_resnet_blocs"], keys["k_resnet"],
        keys["dim_resnet"], keys["last_layer"],
    )  # fmt: skip
    assert build_generator(ModelConf(**keys), 8, 4).count_params() == expected


def test_the_published_count_by_the_same_hand() -> None:
    assert _expected_count(((64, 7), (128, 3), (256, 3)), ((128, 3), (64, 3)), 9, 3, 256, (4, 3)) == 11_407_748


@pytest.mark.parametrize(("name", "low", "high"), [("tanh", -1.0, 1.0), ("sigmoid", 0.0, 1.0), ("linear", None, None)])
def test_last_activation_bounds_the_output(name: str, low: float | None, high: float | None) -> None:
    network = build_generator(ModelConf(**BASE, last_activation=name), 8, 4)
    x = np.random.default_rng(0).normal(0, 300, (1, 12, 12, 8)).astype("float32")
    y = np.asarray(network(x))
    if low is None or high is None:
        assert np.abs(y).max() > 1.5
    else:
        assert (y.min(), y.max()) == (pytest.approx(low, abs=0.2), pytest.approx(high, abs=0.2))
        assert low <= y.min() <= y.max() <= high


@pytest.mark.parametrize("momentum", [0.99, 0.5])
def test_bn_momentum_moves_the_means_of_both_networks(momentum: float) -> None:
    conf = ModelConf(**BASE, bn_momentum=momentum, dict_discri_archi={1: (1, 2, 4, 4), 2: (1, 1, 4, 1)})
    x = np.random.default_rng(1).normal(1, 1, (2, 12, 12, 8)).astype("float32")
    generator, critic = build_generator(conf, 8, 4), build_discriminator(conf, 8, 12, published_exact=True)
    for network, conv, norm in ((generator, "before1_conv", "before1_bn"), (critic, "conv2", "bn2")):
        before = keras.Model(network.input, network.get_layer(conv).output)(x)
        network(x, training=True)
        expected = (1 - momentum) * np.asarray(before).mean((0, 1, 2))
        assert np.allclose(network.get_layer(norm).moving_mean, expected, atol=1e-5)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_do_rate_is_the_share_that_is_dropped(rate: float) -> None:
    layer = build_generator(ModelConf(**BASE, do_rate=rate), 8, 4).get_layer("block1_dropout")
    kept = np.asarray(layer(np.ones((1, 100, 100, 6), "float32"), training=True))
    assert (kept == 0).mean() == pytest.approx(rate, abs=0.01)
    assert np.asarray(layer(np.ones((1, 4, 4, 6), "float32"))).min() == 1.0


def test_padding_of_the_discriminator_changes_the_edge_only() -> None:
    found = {}
    for name in ("CONSTANT", "REFLECT", "SYMMETRIC"):
        keras.utils.set_random_seed(2)
        conf = ModelConf(discri_opt_padding=name, dict_discri_archi={1: (1, 1, 3, 2), 2: (0, 1, 1, 1)})
        x = np.random.default_rng(3).normal(size=(1, 9, 9, 5)).astype("float32")
        found[name] = np.asarray(build_discriminator(conf, 5, 9)(x))[0, ..., 0]
    first, *others = found.values()
    for other in others:
        assert np.allclose(first[1:-1, 1:-1], other[1:-1, 1:-1], atol=1e-6)
    assert len({image[0].tobytes() for image in found.values()}) == 3


def test_layer_key_names_the_four_numbers() -> None:
    plain = ModelConf(dict_discri_archi={1: (1, 2, 4, 8), 2: (2, 1, 3, 1)})
    turned = ModelConf(
        layer_key=("nfilter", "kernel", "padding", "stride"), dict_discri_archi={1: (8, 4, 1, 2), 2: (1, 3, 2, 1)}
    )
    a, b = (build_discriminator(conf, 12, 32) for conf in (plain, turned))
    assert plain.discriminator_layers() == turned.discriminator_layers()
    assert a.count_params() == b.count_params() == 16 * 12 * 8 + 8 + 9 * 8 + 1
    assert a.output_shape == b.output_shape == (None, 18, 18, 1)  # (32 + 2 - 4) / 2 + 1 = 16; 16 + 4 - 3 + 1 = 18


@pytest.mark.parametrize(
    ("activation", "alpha", "expected"), [("lrelu", 0.2, -0.2), ("lrelu", 0.05, -0.05), ("relu", 0.2, 0.0)]
)
def test_activation_of_the_discriminator(activation: str, alpha: float, expected: float) -> None:
    conf = ModelConf(d_activation=activation, lrelu_alpha=alpha, dict_discri_archi={1: (1, 2, 4, 8), 2: (1, 1, 4, 1)})
    layer = build_discriminator(conf, 12, 16).get_layer("act1")
    assert np.asarray(layer(np.float32([[-1.0, 2.0]]))).tolist() == [[pytest.approx(expected), 2.0]]


def test_d_last_activ_makes_probabilities_in_the_published_form() -> None:
    x = 300 * np.random.default_rng(4).normal(size=(1, 16, 16, 12)).astype("float32")
    layers = {1: (1, 2, 4, 8), 2: (1, 1, 4, 1)}
    for name, bounded in (("sigmoid", True), ("none", False)):
        conf = ModelConf(d_last_activ=name, dict_discri_archi=layers)
        y = np.asarray(build_discriminator(conf, 12, 16, published_exact=True)(x))
        assert bool(y.min() >= 0 and y.max() <= 1) is bounded


def _step(conf: TrainConf, epoch: int = 1, **model: Any) -> tuple[dict[str, float], GanTrainer]:
    one = task(Path("unused"), ModelConf(**{**TINY_GAN, **model}), conf)
    trainer = build_trainer(one, 10)
    trainer._update = trainer._one_update  # eager: one step is over before a graph is traced
    batch = inputs.Batches(one.train_ids, one.load, conf, one.units, 4).batch(0)
    return {name: float(value) for name, value in trainer.step(batch, 0, epoch).items()}, trainer


def test_noise_keys_and_their_schedule() -> None:
    conf = gan_conf(sigma_init=0.5, sigma_decay=0.5, sigma_step=10)
    plain, _ = _step(conf)
    white, _ = _step(conf, add_discri_white_noise=True, add_relu_after_noise=False)
    squashed, _ = _step(conf, add_discri_white_noise=True, add_relu_after_noise=True)
    both, _ = _step(conf, add_discri_noise=True)
    later, _ = _step(conf, 11, add_discri_white_noise=True, add_relu_after_noise=False)
    halved, _ = _step(gan_conf(sigma_init=0.25), add_discri_white_noise=True, add_relu_after_noise=False)
    silent, _ = _step(gan_conf(sigma_init=0.0), add_discri_white_noise=True, add_relu_after_noise=False)
    assert len({found["d_real"] for found in (plain, white, squashed, both, later)}) == 5
    assert both["d_fake"] != plain["d_fake"] == white["d_fake"]  # the white noise is on real images only
    assert later["d_real"] == pytest.approx(halved["d_real"], rel=1e-6)  # epoch 11 has half the noise
    assert silent["d_real"] == pytest.approx(plain["d_real"], rel=1e-6)


def test_the_published_noise_layer_has_no_effect_in_the_published_form() -> None:
    conf = gan_conf(published_exact=True)
    assert _step(conf, add_discri_noise=True)[0] == pytest.approx(_step(conf)[0], rel=1e-6)


def test_published_exact_shows_fakes_of_an_inference_pass() -> None:
    """Dropout changes the image that G learns from, not the one that D learns from; by default it is one image."""
    for exact, same in ((True, True), (False, False)):
        some, none = (_step(gan_conf(published_exact=exact), do_rate=rate)[0] for rate in (0.5, 0.0))
        # not to the last digit: the training pass before it has moved the means of the batch norms a little
        assert (some["d_fake"] == pytest.approx(none["d_fake"], rel=1e-4)) is same
        assert some["l1"] != pytest.approx(none["l1"], rel=1e-6)


def test_rates_and_first_moment() -> None:
    _, trainer = _step(gan_conf(lr=2e-4, fact_g_lr=3.0, beta1=0.7))
    rates = {name: float(pair[0].learning_rate) for name, pair in trainer.optimisers.items()}
    assert rates == {"generator": pytest.approx(6e-4), "discriminator": pytest.approx(2e-4)}
    assert [pair[0].beta_1 for pair in trainer.optimisers.values()] == [0.7, 0.7]


def test_limits_epochs_and_batch_size(tmp_path: Path) -> None:
    conf = gan_conf(epoch=3, batch_size=2, steps_per_epoch=None, lim_train_tile=5, lim_val_tile=1)
    training = Training(task(tmp_path, ModelConf(**TINY_GAN), conf))
    assert len(training.batches.ids) == 5
    assert training.val_ids == ["100"]
    assert training.total == 3 * 3  # five tiles in batches of two: three a epoch
    assert training.batches.batch(0).x.shape[0] == 2


def test_saving_steps(tmp_path: Path) -> None:
    conf = gan_conf(epoch=5, steps_per_epoch=1, metric_step=2, weights_saving_step=2, checkpoint_steps=None, keep=9)
    Training(task(tmp_path, ModelConf(**TINY_GAN), conf)).fit()
    steps = {int(path.name[5:]) for path in tmp_path.glob("checkpoints/*/step-*")}
    assert {2, 4, 5} <= steps
    history = (tmp_path / "history.jsonl").read_text()
    assert [f'"step": {step},' in history for step in (1, 2, 3, 4, 5)] == [False, True, False, True, True]


def test_the_published_form_exports_its_last_weights_and_ours_the_best(tmp_path: Path) -> None:
    """A rate of 0.5 ruins the weights after the first step."""
    for exact in (True, False):
        conf = gan_conf(published_exact=exact, epoch=3, steps_per_epoch=1, metric_step=1, lr=0.5, gradient_acc_step=1)
        figures = Training(task(tmp_path / str(exact), ModelConf(**TINY_GAN), conf)).fit()
        lines = (tmp_path / str(exact) / "history.jsonl").read_text().splitlines()
        scores = {record["step"]: record["val"]["skill_changed"] for record in map(json.loads, lines)}
        best = max(scores, key=lambda step: scores[step])
        print(f"published_exact {exact}: skill by step {scores}")
        assert best != 3
        assert figures["step"] == (3 if exact else best)


def test_scales_of_train_yaml_stretch_the_inputs() -> None:
    base, raw = standard_scaler(), sample(1)
    wider = scaler_with_factors(base, TrainConf(s1_scale=0.4, s2_scale=2 / 7))
    median = {"VV": 0.0, "VH": 0.0}
    x, y = (s.network_input(raw.s1_t0, raw.s1_t1, raw.s2_t0, median)[0] for s in (base, wider))
    assert np.allclose(y, 2 * x, atol=1e-5)
    assert np.allclose(wider.apply_label(raw.s2_t1), 2 * base.apply_label(raw.s2_t1), atol=1e-5)
    only = scaler_with_factors(base, TrainConf(s1_scale=0.4))
    z = only.network_input(raw.s1_t0, raw.s1_t1, raw.s2_t0, median)[0]
    assert np.allclose(z[..., :4], 2 * x[..., :4], atol=1e-5)
    assert np.array_equal(z[..., 4:], x[..., 4:])
