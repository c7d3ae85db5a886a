"""Every knob of the training has the effect that its name promises, and no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import backend

backend.start()

from models import inputs  # noqa: E402
from models.augmentation import shifted  # noqa: E402
from models.building import build_trainer  # noqa: E402
from models.config import ModelConf, TrainConf  # noqa: E402
from models.inputs import Batch, augment  # noqa: E402
from models.run import load_model  # noqa: E402
from models.training import Training  # noqa: E402
from tests.unit.tiny_training import TINY_GAN, gan_conf, resunet_conf, task  # noqa: E402

RESUNET = ModelConf(model="resunet", widths=(8,), encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1)
PLAIN: dict[str, Any] = {"schedule": {}, "augment": {}, "ema": None, "crop_px": None}


def _batches(one: Any, start: int = 6) -> inputs.Batches:
    return inputs.Batches(one.train_ids, one.load, one.train, one.units, start, multiple=2)


def _rows(batch: Batch, *places: int) -> Batch:
    chosen = list(places)
    return Batch(batch.x[chosen], batch.y[chosen], batch.weight[chosen], batch.changed[chosen])


def test_two_micro_batches_give_the_update_of_one_batch_of_both(tmp_path: Path) -> None:
    """Keras averages the gradients of the micro-batches: with equal weights that is the gradient of both together."""
    conf = resunet_conf(**PLAIN, change_weight=0.0)
    one = task(tmp_path, RESUNET, conf)
    both = _batches(one).batch(0)
    both = replace(both, weight=np.ones_like(both.weight))
    whole = build_trainer(one, 10)
    whole.step(both, 0, 1)
    parts = build_trainer(replace(one, train=resunet_conf(**PLAIN, change_weight=0.0, gradient_acc_step=2)), 10)
    head = parts.generator.get_layer("head").kernel
    before = np.asarray(head.value).copy()
    parts.step(_rows(both, 0), 0, 1)
    assert np.array_equal(np.asarray(head.value), before)  # half a batch moves nothing
    parts.step(_rows(both, 1), 1, 1)
    pairs = list(zip(whole.generator.weights, parts.generator.weights, strict=True))
    apart = max(float(np.abs(a.numpy() - b.numpy()).max()) for a, b in pairs)
    moved = float(np.abs(np.asarray(head.value) - before).max())
    print(f"accumulated against whole: {apart / moved:.2g} of the step (limit 1e-3)")
    assert moved > 1e-4
    assert apart <= 1e-3 * moved


def test_the_moving_average_is_what_is_exported(tmp_path: Path) -> None:
    """After every step mean = m * mean + (1 - m) * weight with m = min(ema, (1 + n) / (10 + n)), by hand in float64."""
    one = task(tmp_path, RESUNET, resunet_conf(ema=0.5))
    trainer, batches = build_trainer(one, 10), _batches(one)
    variable = trainer.generator.get_layer("stem").kernel
    mean = variable.numpy().astype(float)
    for step in range(3):
        trainer.step(batches.batch(step), step, 1)
        done = step + 1  # the optimiser counts before the average is taken
        m = min(0.5, (1 + done) / (10 + done))
        mean = m * mean + (1 - m) * variable.numpy()
    raw = variable.numpy()
    with trainer.exported_weights():
        exported = variable.numpy()
    assert np.abs(exported - mean).max() < 1e-6
    assert np.abs(exported - raw).max() > 1e-4
    assert np.array_equal(variable.numpy(), raw)
    figures = Training(one).fit()
    saved = load_model(tmp_path / "model.keras").get_layer("stem").kernel.numpy()
    assert figures["step"] > 0
    assert not np.array_equal(saved, raw)


def test_bfloat16_scores_as_float32(tmp_path: Path) -> None:
    found: dict[bool, float] = {}
    for mixed in (False, True):
        conf = resunet_conf(epoch=1, steps_per_epoch=80, metric_step=80, batch_size=4, mixed_precision=mixed)
        training = Training(task(tmp_path / str(mixed), RESUNET, conf))
        found[mixed] = training.fit()["psnr"]
        generator = training.trainer.generator
        assert generator.get_layer("stem").compute_dtype == ("bfloat16" if mixed else "float32")
        for name in ("head", "y"):  # last convolution and output
            assert generator.get_layer(name).compute_dtype == "float32"
        assert all(v.dtype == "float32" for v in generator.trainable_variables)
        terms = training.trainer.step(training.batches.batch(0), 0, 1)
        assert {value.dtype.name for value in terms.values()} == {"float32"}
    copied = training.at.history[-1]["val"]["psnr_copy_t0"]
    apart = abs(found[True] - found[False])
    print(f"bfloat16 against float32: {apart:.3f} dB (limit 0.1); float32 {found[False]:.2f}, copy_t0 {copied:.2f} dB")
    assert found[False] > copied + 1
    assert apart <= 0.1


def test_the_published_gan_in_bfloat16_keeps_output_and_losses_in_float32(tmp_path: Path) -> None:
    one = task(tmp_path, ModelConf(**TINY_GAN), gan_conf(mixed_precision=True))
    trainer = build_trainer(one, 10)
    assert trainer.generator.layers[1].compute_dtype == "bfloat16"
    for network, names in ((trainer.generator, ("last_conv", "y")), (trainer.discriminator, ("conv2", "decision"))):
        assert {network.get_layer(name).compute_dtype for name in names} == {"float32"}
    assert trainer.discriminator.get_layer("conv1").compute_dtype == "bfloat16"
    terms = trainer.step(_batches(one, 4).batch(0), 0, 1)
    assert all(np.isfinite(float(value)) for value in terms.values())
    import keras

    assert keras.config.dtype_policy().name == "float32"  # other networks of the process are left alone


@pytest.mark.parametrize("term", ["ssim", "sam", "index"])
def test_each_weight_of_the_loss_moves_the_network(tmp_path: Path, term: str) -> None:
    """The objective is the weighted sum, and the gradient differs from that of the Charbonnier term alone."""
    weights = {"charbonnier": 1.0, term: 0.5}
    norms = []
    for chosen in ({"charbonnier": 1.0}, weights):
        one = task(tmp_path, RESUNET, resunet_conf(**PLAIN, loss_weights=chosen))
        trainer = build_trainer(one, 10)
        batch = _batches(one).batch(0)
        trainer.step(batch, 0, 1)  # step 0 copies S2(t0): give the head something to say
        terms = trainer.step(batch, 1, 1)
        norms.append(float(terms["gradient_norm"]))
    assert set(weights) <= set(terms)
    total = float(terms["charbonnier"]) + 0.5 * float(terms[term])
    assert float(terms["loss"]) == pytest.approx(total, rel=1e-5)
    assert float(terms[term]) > 0
    assert norms[0] != pytest.approx(norms[1], rel=1e-3)


@pytest.mark.parametrize("factor", [0.0, 2.0, 5.0])
def test_changed_pixels_weigh_one_plus_the_factor(tmp_path: Path, factor: float) -> None:
    """Step 0 predicts S2(t0), so the Charbonnier term is known without the network."""
    one = task(tmp_path, RESUNET, resunet_conf(**PLAIN, change_weight=factor))
    batch = _batches(one).batch(0)
    terms = build_trainer(one, 10).step(batch, 0, 1)
    error = np.sqrt((batch.x[..., 6:10].astype(float) - batch.y) ** 2 + 1e-6).mean(-1)
    weight = batch.weight * (1 + factor * batch.changed)
    assert 0.05 < batch.changed.mean() < 0.95
    assert float(terms["charbonnier"]) == pytest.approx((error * weight).sum() / weight.sum(), rel=1e-4)


def test_noise_follows_its_schedule() -> None:
    conf = TrainConf.model_validate({"sigma_init": 0.5, "sigma_decay": 0.5, "sigma_step": 10})
    assert [conf.sigma(epoch) for epoch in (1, 10, 11, 20, 21)] == [0.5, 0.5, 0.25, 0.25, 0.125]


@pytest.mark.parametrize("key", ["add_discri_white_noise", "add_discri_noise"])
def test_noise_fades_with_the_epochs(tmp_path: Path, key: str) -> None:
    """The discriminator's loss on real images moves away from the quiet one by as much as sigma says."""
    losses = []
    options = {"add_relu_after_noise": False} if key == "add_discri_white_noise" else {}
    for on, epoch in ((False, 1), (True, 1), (True, 2), (True, 40)):
        model = ModelConf(**TINY_GAN, do_rate=0.0, **({key: True, **options} if on else {}))
        conf = gan_conf(sigma_init=0.8, sigma_decay=0.25, sigma_step=1, gradient_acc_step=1)
        one = task(tmp_path, model, conf)
        terms = build_trainer(one, 10).step(_batches(one, 4).batch(0), 0, epoch)
        losses.append(float(terms["d_real"]))
    quiet, loud, faint, gone = losses
    assert abs(loud - quiet) > abs(faint - quiet) > 1e-6
    assert gone == pytest.approx(quiet, abs=1e-6)


def test_a_shift_moves_both_optical_images_and_no_other(tmp_path: Path) -> None:
    one = task(tmp_path, RESUNET, resunet_conf())
    tile = one.load("000")
    weight = tile.weight.copy()
    weight[10, 12] = 0
    tile = replace(tile, weight=weight, changed=tile.changed * weight)
    moved = augment(tile, resunet_conf(augment={"shift_px": 0.5}), one.units, 6, np.random.default_rng(4))
    rng = np.random.default_rng(4)
    rng.uniform(-1, 1, 2), rng.uniform(-1, 1), rng.random(), rng.integers(4), rng.integers(2)  # the other draws
    down, right = rng.uniform(-1, 1, 2) * 0.5
    assert max(abs(down), abs(right)) > 0.05
    assert np.array_equal(moved.x[..., :6], tile.x[..., :6])
    assert np.array_equal(moved.x[..., 10:], tile.x[..., 10:])
    from scipy.ndimage import shift as oracle

    for mine, before in ((moved.x[..., 6:10], tile.x[..., 6:10]), (moved.y, tile.y)):
        wanted = oracle(before.astype(float), (down, right, 0), order=1, mode="nearest")
        assert np.abs(mine - wanted).max() < 1e-5
    bad = np.argwhere(moved.weight == 0)
    rows, cols = {10, 10 + int(np.sign(down))}, {12, 12 + int(np.sign(right))}
    assert {tuple(map(int, place)) for place in bad} == {(r, c) for r in rows for c in cols}
    assert not moved.changed[moved.weight == 0].any()
    assert set(np.unique(moved.changed)) <= {0.0, 1.0}


def test_a_shift_of_whole_pixels_is_a_roll() -> None:
    image = np.arange(30, dtype=np.float32).reshape(5, 6)
    assert np.array_equal(shifted(image, (1.0, -1.0))[1:, :-1], np.roll(image, (1, -1), (0, 1))[1:, :-1])
    assert np.array_equal(shifted(image, (0.0, 0.0)), image)


def test_half_of_a_global_batch_comes_from_changed_tiles_and_workers_divide_it() -> None:
    ids = [f"{i:03d}" for i in range(10)]
    share: dict[str, float | None] = {i: 0.5 if i in ("002", "007") else 0.01 for i in ids}
    conf = resunet_conf(augment={"changed_half": True}, batch_size=2)

    def batches(shares: tuple[int, int, int]) -> inputs.Batches:
        return inputs.Batches(ids, lambda name: None, conf, None, 6, share, 1, shares)  # type: ignore[arg-type,return-value]

    whole = inputs.Batches(ids, None, resunet_conf(augment={"changed_half": True}, batch_size=4), None, 6, share)  # type: ignore[arg-type]
    first, second = batches((2, 0, 1)), batches((2, 1, 1))
    assert (first.places, second.places) == (range(2), range(2, 4))
    for step in range(4):
        assert first.choose(step) == second.choose(step) == whole.choose(step)
        assert set(first.choose(step)[:2]) <= {"002", "007"}


@pytest.mark.parametrize("limit", [1e-3, 0.7, 1e6])
def test_gradients_are_clipped_as_keras_clips_them(limit: float) -> None:
    """Bit for bit, above and below the limit; a gradient that is not finite gives NaN, one that is not there stays so."""
    import tensorflow as tf
    from keras.src.optimizers.base_optimizer import clip_by_global_norm

    from models.trainer import global_norm

    rng = np.random.default_rng(3)
    gradients = [tf.constant(rng.normal(0, 0.1, shape), tf.float32) for shape in ((3, 3, 4, 8), (8,), (8, 2))]
    norm = global_norm([*gradients, None])
    assert float(norm) == pytest.approx(np.sqrt(sum(np.sum(g.numpy().astype(float) ** 2) for g in gradients)), rel=1e-6)
    *ours, nothing = tf.clip_by_global_norm([*gradients, None], limit, use_norm=norm)[0]
    for mine, theirs in zip(ours, clip_by_global_norm(gradients, limit), strict=True):
        assert np.array_equal(mine.numpy(), np.asarray(theirs))
    assert nothing is None
    assert float(global_norm(ours)) == pytest.approx(min(limit, float(norm)), rel=1e-5)
    broken = [*gradients, tf.constant([np.inf])]
    assert all(
        np.isnan(g.numpy()).all() for g in tf.clip_by_global_norm(broken, limit, use_norm=global_norm(broken))[0]
    )


def test_a_step_clips_once_whoever_does_it(tmp_path: Path) -> None:
    """The step with its own clipping against the optimiser's: equal weights, and a limit that binds moves them less."""
    from models.trainer import make_optimiser

    schedule = {"optimiser": "adam", "clip_norm": 1e-4}
    one = task(tmp_path, RESUNET, resunet_conf(**{**PLAIN, "schedule": schedule}))
    batch = _batches(one).batch(0)
    ours, theirs = build_trainer(one, 10), build_trainer(one, 10)
    rate = theirs.optimisers["generator"][1]
    theirs.optimisers["generator"] = (
        make_optimiser(one.train, "adam", rate, theirs.generator.trainable_variables),
        rate,
    )
    assert ours.optimisers["generator"][0].global_clipnorm is None
    assert theirs.optimisers["generator"][0].global_clipnorm == 1e-4
    for step in range(3):
        norms = [float(trainer.step(batch, step, 1)["gradient_norm"]) for trainer in (ours, theirs)]
        assert norms[0] == norms[1] > 1e-4
    for a, b in zip(ours.generator.weights, theirs.generator.weights, strict=True):
        assert np.array_equal(a.numpy(), b.numpy())
