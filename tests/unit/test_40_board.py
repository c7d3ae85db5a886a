"""TensorBoard and the progress line, read back: tags, steps, values against the history and against the weights."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import backend

backend.start()

import tensorflow as tf  # noqa: E402
from tensorflow.core.util import event_pb2  # noqa: E402

from models import board, callbacks  # noqa: E402
from models.config import ModelConf  # noqa: E402
from models.run import load_card, load_model  # noqa: E402
from models.training import Training  # noqa: E402
from tests.unit.tiny_training import BANDS, TINY_GAN, gan_conf, task  # noqa: E402

Events = dict[str, dict[int, Any]]


def _read(folder: Path) -> Events:
    """tag -> step -> tensor of every summary in the event files."""
    found: Events = {}
    for path in sorted(folder.glob("events*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = event_pb2.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Events, Training]:
    """A GAN of 2 x 10 steps of 2 tiles, with TensorBoard."""
    folder = tmp_path_factory.mktemp("board")
    conf = gan_conf(
        steps_per_epoch=10, metric_step=10, tensorboard=True, gradient_acc_step=1, sigma_init=0.4, sigma_decay=0.5,
        sigma_step=1, schedule={"decay": "cosine"}, ema=0.5,
    )  # fmt: skip
    training = Training(task(folder, ModelConf(**TINY_GAN), conf))
    training.fit()
    return folder, _read(folder / "tb"), training


def test_scalars_hold_the_terms_with_their_weights(trained: tuple[Path, Events, Training]) -> None:
    _, events, training = trained
    for name in ("loss", "adversarial", "l1", "d_real", "d_fake"):
        assert sorted(events[f"loss/{name}"]) == [20, 40]  # tiles seen
    weights = {name: events[f"weight/{name}"][20] for name in ("adversarial", "l1", "d_real", "d_fake")}
    assert weights == {"adversarial": 1.0, "l1": 100.0, "d_real": 0.5, "d_fake": 0.5}
    total = events["loss/adversarial"][40] + 100.0 * events["loss/l1"][40]
    assert events["loss/loss"][40] == pytest.approx(total, rel=1e-5)
    first, second = (record["train"] for record in training.at.history)
    for name in ("loss", "l1", "d_real"):  # the same ten steps were averaged
        assert events[f"loss/{name}"][20] == pytest.approx(first[name], rel=1e-5)
        assert events[f"loss/{name}"][40] == pytest.approx(second[name], rel=1e-5)
    assert 0 <= events["train/d_accuracy"][20] <= 1
    assert events["train/gradient_norm"][20] > 0
    assert events["train/gradient_norm_discriminator"][20] > 0
    assert events["train/tiles_per_second"][40] > 0
    assert [float(events["train/sigma"][n]) for n in (20, 40)] == pytest.approx([0.4, 0.2])
    # the rate of the 10th step, and of the last one of the cosine
    rates = [float(events["train/rate_generator"][n]) for n in (20, 40)]
    assert rates == pytest.approx([1e-3 * 0.5 * (1 + np.cos(np.pi * n / 20)) for n in (9, 19)], rel=1e-4)


def test_validation_scalars_are_those_of_the_history(trained: tuple[Path, Events, Training]) -> None:
    _, events, training = trained
    wanted = {"mae", "psnr", "psnr_changed", "psnr_unchanged", "sam_deg", "ssim", "skill_changed", "kappa_dndvi"}
    for record in training.at.history:
        assert wanted <= set(record["val"])
        for name, value in record["val"].items():
            assert events[f"val/{name}"][record["tiles"]] == pytest.approx(value, rel=1e-5), name
    assert "val/psnr_copy_t0" in events


def test_pictures_are_of_fixed_tiles_with_a_fixed_stretch(trained: tuple[Path, Events, Training]) -> None:
    _, events, training = trained
    names = ("t0", "prediction", "truth", "error", "dndvi_prediction", "dndvi_truth")
    assert {tag for tag in events if tag.startswith("tile")} == {
        f"tile{n:02d}/{name}" for n in (0, 1) for name in names
    }

    def image(name: str, step: int) -> Any:
        return tf.io.decode_png(events[f"tile00/{name}"][step][2]).numpy()

    tile = training.task.load("100")
    truth = training.task.units.reflectance(tile.y)[..., :3]
    shown = np.round(np.clip(truth / 0.3, 0, 1) * 255)
    assert np.abs(image("truth", 40).astype(float) - shown).max() <= 1
    assert np.array_equal(image("truth", 20), image("truth", 40))
    assert not np.array_equal(image("prediction", 20), image("prediction", 40))


def test_histograms_of_weights_gradients_and_output(trained: tuple[Path, Events, Training]) -> None:
    _, events, training = trained
    for network in ("generator", "discriminator"):
        variables = training.trainer.networks[network].trainable_variables
        for variable in variables:
            for kind in ("weights", "gradients"):
                counts = events[f"{kind}/{network}/{variable.path}"][40][:, 2]  # left, right, count
                assert counts.sum() == int(np.prod(variable.shape)), (kind, variable.path)
    for band in BANDS:
        assert events[f"output/{band}"][40][:, 2].sum() == 24 * 24
    largest = max(np.abs(events[t][40][:, :2]).max() for t in events if t.startswith("gradients/generator"))
    assert largest > 0


def test_the_board_changes_nothing_and_never_ends_a_training(
    trained: tuple[Path, Events, Training], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, _, training = trained
    quiet = Training(task(tmp_path, training.task.model, training.task.train.model_copy(update={"tensorboard": False})))
    quiet.fit()
    assert not (tmp_path / "tb").exists()
    card, other = load_card(quiet.task.run), load_card(training.task.run)
    assert card["validation"] == other["validation"]
    pairs = zip(load_model(tmp_path / "model.keras").weights, load_model(folder / "model.keras").weights, strict=True)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in pairs)
    (tmp_path / "file").write_text("no folder")
    one = board.Board(tmp_path / "file" / "tb", logging.getLogger("test"))
    for value in (1.0, 2.0):
        one.scalars({"a": value}, 1)
    one.close()
    assert sum("TensorBoard is off" in record.message for record in caplog.records) == 1


def test_colours_of_severity_classes() -> None:
    difference = np.array([[0.0, 0.09, 0.139, 0.30, 0.44, np.nan]])
    shown = board.class_picture(difference)[0]
    wanted = [board.CLASS_COLOURS[i] for i in (0, 1, 1, 3, 5)]
    assert np.allclose(shown[:5], wanted)
    assert not shown[5].any()
    assert np.allclose(board.picture(np.array([[[0.15, 0.3, 0.9, 0.1]]])), [[[0.5, 1.0, 1.0]]])


def test_the_progress_line_tells_speed_and_the_time_left(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    caplog.set_level(logging.INFO)
    progress = callbacks.Progress(1000, 200, logging.getLogger("test"), "demo", tiles_a_step=4)
    now[0] += 10
    progress.update(210, 1, 0.5)  # too early for a batch log
    assert not caplog.records
    now[0] += 40
    progress.update(300, 2, 0.25)  # 100 steps in 50 s, 700 are left
    assert caplog.records[-1].message == "demo: step 300/1000, epoch 2, loss 0.2500, 8 tiles/s, 5:50 left"
    now[0] += 7.5 * 3600
    progress.update(301, 2, 0.25)
    assert re.search(r"\d+:\d\d:\d\d left", caplog.records[-1].message)
