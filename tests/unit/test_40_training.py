"""Training: exact resume, equal bytes, the effect of every knob, scores in reflectance, prediction from a run alone."""

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

from models import inputs, validation  # noqa: E402
from models.checkpoint import Checkpoints  # noqa: E402
from models.config import ModelConf, TrainConf  # noqa: E402
from models.gan import GanTrainer, draw_targets  # noqa: E402
from models.predictor import Predictor  # noqa: E402
from models.run import RunFolder, load_card, load_model  # noqa: E402
from models.trainer import learning_rate  # noqa: E402
from models.training import Training, build_trainer, fingerprint  # noqa: E402
from tests.unit.tiny_training import BANDS, MEDIAN, SAR, TINY_GAN, gan_conf, resunet_conf, sample, task  # noqa: E402
from utils.science.scaler import Scaler  # noqa: E402
from utils.workflow.errors import ConfigError, InputError, Interrupted  # noqa: E402
from utils.workflow.files import atomic_json  # noqa: E402

# one level: quick to trace
RESUNET = ModelConf(model="resunet", widths=(8,), encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1)
GAN = ModelConf(**TINY_GAN)


class Killed(Exception):
    pass


def _killer(step: int) -> Any:
    def after(done: int) -> None:
        if done == step:
            raise Killed

    return after


def _digests(folder: Path) -> dict[str, str]:
    names = ("model.keras", "history.jsonl", "model_card.json")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.mark.parametrize(("model", "conf"), [(RESUNET, resunet_conf()), (GAN, gan_conf())], ids=["resunet", "gan"])
def test_killed_at_step_7_and_resumed_gives_equal_bytes(tmp_path: Path, model: ModelConf, conf: TrainConf) -> None:
    Training(task(tmp_path / "whole", model, conf)).fit()
    with pytest.raises(Killed):
        Training(task(tmp_path / "cut", model, conf, _killer(7))).fit()
    assert not (tmp_path / "cut" / "model.keras").exists()
    Training(task(tmp_path / "cut", model, conf)).fit()
    assert _digests(tmp_path / "cut") == _digests(tmp_path / "whole")
    history = [json.loads(line) for line in (tmp_path / "whole" / "history.jsonl").read_text().splitlines()]
    assert [record["step"] for record in history] == [
        *range(conf.metric_step, history[-1]["step"], conf.metric_step),
        history[-1]["step"],
    ]


def test_a_signal_saves_and_exits_75(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 4:
            os.kill(os.getpid(), signal.SIGUSR1)

    with pytest.raises(Interrupted) as caught:
        Training(task(tmp_path, RESUNET, resunet_conf(), stop)).fit()
    assert caught.value.exit_code == 75
    assert "step" in caught.value.message
    newest = sorted(tmp_path.glob("checkpoints/*/step-*"))[-1].name
    assert newest in ("step-00000004", "step-00000005")  # the batch that was running is finished and saved


def test_training_beats_its_start_and_exports_the_best(tmp_path: Path) -> None:
    conf = resunet_conf(epoch=2, steps_per_epoch=30, metric_step=15, lr=5e-3)
    figures = Training(task(tmp_path, RESUNET, conf)).fit()
    history = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert history[-1]["train"]["loss"] < history[0]["train"]["loss"]
    best = max(history, key=lambda record: record["val"]["skill_changed"])
    assert figures["skill_changed"] == best["val"]["skill_changed"]
    assert figures["skill_changed"] > 0.2
    card = load_card(RunFolder(tmp_path))
    assert card["exported_step"] == best["step"]
    assert (card["channels_in"], card["optical_start"], card["size_multiple"]) == (11, 6, 2)


def test_other_settings_do_not_take_the_checkpoints(tmp_path: Path) -> None:
    first = Training(task(tmp_path, RESUNET, resunet_conf(epoch=1, steps_per_epoch=2)))
    first.fit()
    second = Training(task(tmp_path, RESUNET, resunet_conf(epoch=1, steps_per_epoch=2, lr=1e-3)))
    second.resume()
    assert second.at.step == 0
    assert first.checkpoints.folder != second.checkpoints.folder
    more = Training(
        task(tmp_path, RESUNET, resunet_conf(epoch=2, steps_per_epoch=2, load_model=1))
    )  # the published way: continue at epoch 2
    more.resume()
    assert more.at.step == 2
    with pytest.raises(ConfigError, match=r"no checkpoint of epoch 9.*there are: 1"):
        Training(task(tmp_path, RESUNET, resunet_conf(load_model=9))).resume()


def test_only_the_newest_and_the_best_checkpoint_stay(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, "abc", keep=2)
    for step in (1, 2, 3, 4, 5):
        store.save(
            step,
            {"w": np.arange(step)},
            {"progress": {"step": step}, "batch_of_epoch": 0, "epochs_done": step},
            best_step=2,
        )
    assert store.steps() == [2, 4, 5]
    arrays, state = store.load(4)
    assert arrays["w"].tolist() == [0, 1, 2, 3]
    assert state["progress"] == {"step": 4}


def _gan_step(conf: TrainConf, model: ModelConf = GAN, epoch: int = 1) -> tuple[dict[str, float], GanTrainer]:
    one = task(Path("unused"), model, conf)
    trainer = build_trainer(one, 10)
    batches = inputs.Batches(one.train_ids, one.load, conf, one.units, 4)
    losses = trainer.step(batches.batch(0), 0, epoch)
    return {name: float(value) for name, value in losses.items()}, trainer


def test_label_smoothing_and_noise_have_an_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain, _ = _gan_step(gan_conf())
    fake, _ = _gan_step(gan_conf(fake_label_smoothing=(0.1, 0.3)))
    real, _ = _gan_step(gan_conf(real_label_smoothing=(0.7, 0.9)))
    assert fake["d_fake"] != plain["d_fake"]
    assert fake["d_real"] == plain["d_real"]
    assert real["d_real"] != plain["d_real"]
    assert real["d_fake"] == plain["d_fake"]
    noisy, _ = _gan_step(gan_conf(), ModelConf(**TINY_GAN, add_discri_white_noise=True))
    assert noisy["d_real"] != plain["d_real"]
    assert noisy["d_fake"] == plain["d_fake"]
    low, high = draw_targets(gan_conf(real_label_smoothing=(0.7, 0.9), fake_label_smoothing=(0.1, 0.3)), 3)[::-1]
    assert 0.1 <= low <= 0.3 < 0.7 <= high <= 0.9
    assert draw_targets(gan_conf(), 3) == (1.0, 0.0)


def test_loss_is_adversarial_plus_lambda_times_l1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    losses, _ = _gan_step(TrainConf.model_validate({**gan_conf().model_dump(by_alias=True), "lambda": 7.0}))
    assert losses["loss"] == pytest.approx(losses["adversarial"] + 7.0 * losses["l1"], rel=1e-5)


def test_generator_only_epochs_leave_the_discriminator_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for epoch, moved in ((1, True), (2, False)):
        conf = gan_conf(train_g_multiple_time=(2,), gradient_acc_step=1)
        fresh = build_trainer(task(Path("unused"), GAN, conf), 10)
        before = [np.asarray(v.value) for v in fresh.discriminator.trainable_variables]
        _, trainer = _gan_step(conf, epoch=epoch)
        after = [np.asarray(v.value) for v in trainer.discriminator.trainable_variables]
        assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)) is moved


def test_gradient_accumulation_updates_every_second_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    conf = resunet_conf(gradient_acc_step=2)
    one = task(Path("unused"), RESUNET, conf)
    trainer = build_trainer(one, 10)
    batches = inputs.Batches(one.train_ids, one.load, conf, one.units, 6, multiple=4)
    head = trainer.generator.get_layer("head").bias
    trainer.step(batches.batch(0), 0, 1)
    assert not np.asarray(head.value).any()
    trainer.step(batches.batch(1), 1, 1)
    assert np.asarray(head.value).any()


def test_published_exact_has_the_old_discriminator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    losses, trainer = _gan_step(gan_conf(published_exact=True))
    assert [layer.name for layer in trainer.discriminator.layers][-3:] == ["bn2", "act2", "decision"]
    assert 0 < losses["d_real"] < 5


def test_learning_rate_warms_up_and_decays() -> None:
    conf = TrainConf.model_validate({"schedule": {"warmup_steps": 4, "decay": "cosine"}})
    rates = [learning_rate(1.0, conf, step, 12) for step in (0, 3, 4, 8, 12)]
    assert rates == pytest.approx([0.25, 1.0, 1.0, 0.5, 0.0])
    assert learning_rate(2.0, TrainConf(), 999, 1000) == 2.0


def test_scores_by_hand() -> None:
    """Two pixels of one band: the changed one moved by 0.1 and is predicted 0.05 off, the other is exact."""
    units = inputs.Units(np.float32([0.25]), np.float32([0.15]), np.zeros(2, np.float32))
    x = np.zeros((1, 2, 3), np.float32)
    y = np.array([[[0.4], [0.0]]], np.float32)  # 0.4 network units = 0.1 reflectance
    tile = inputs.Tile(x, y, np.ones((1, 2), np.float32), np.float32([[1, 0]]))
    scores = validation.score(lambda batch: np.array([[[[0.2], [0.0]]]], np.float32), [tile], units, 1)
    assert scores["mae"] == pytest.approx(0.025)
    assert scores["mae_copy_t0"] == pytest.approx(0.05)
    assert scores["psnr"] == pytest.approx(10 * np.log10(2 / 0.05**2), abs=1e-4)
    assert scores["psnr_changed_copy_t0"] == pytest.approx(20.0, abs=1e-4)
    assert scores["skill_changed"] == pytest.approx(0.75, abs=1e-6)
    assert "psnr_unchanged" not in scores  # an exact copy has no finite PSNR


def test_odd_sizes_are_reflected_up_to_a_multiple() -> None:
    x = np.arange(15, dtype=np.float32).reshape(1, 3, 5, 1)
    padded = validation.pad_to_multiple(x, 4)
    assert padded.shape == (1, 4, 8, 1)
    assert padded[0, 3, :5, 0].tolist() == x[0, 1, :, 0].tolist()
    assert validation.pad_to_multiple(x, 1) is x


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    one = task(folder, RESUNET, resunet_conf())
    atomic_json(folder / "scaler.json", Scaler.fixed(SAR, BANDS).to_json())
    Training(one).fit()
    return folder


def test_prediction_does_not_depend_on_the_batch(finished: Path) -> None:
    raw = [(sample(i, 23), MEDIAN) for i in range(5)]  # 23 is no multiple of 2
    alone, together = Predictor(finished, 1).predict(raw), Predictor(finished, 4).predict(raw)
    for one, two in zip(alone, together, strict=True):
        assert one.shape == (23, 23, 4)
        assert one.dtype == np.float32
        assert np.abs(one - two).max() <= 1e-6
    assert np.array_equal(Predictor(finished, 4).predict(raw)[4], together[4])  # again: the same bits


def test_prediction_is_nan_where_an_input_is_missing_and_near_the_truth_elsewhere(finished: Path) -> None:
    raw = sample(7)
    holes = raw.s1_t1.copy()
    holes[:3, :4] = np.nan
    image = Predictor(finished, 2).predict([(replace(raw, s1_t1=holes), MEDIAN)])[0]
    missing = np.isnan(image).all(-1)
    assert missing[:3, :4].all()
    assert missing.sum() == 12
    assert np.nanmean(np.abs(image - raw.s2_t1)) < 0.1  # reflectance, not network units


def test_a_run_refuses_other_bands_and_damaged_files(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="B08, the dataset has VV, VH, B04, B12"):
        Predictor(finished, 1).check_bands(SAR, ("B04", "B12"))
    with pytest.raises(InputError, match="not finished"):
        Predictor(tmp_path, 1)
    (tmp_path / "model.keras").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match="not a readable model"):
        load_model(tmp_path / "model.keras")


def test_a_loss_that_explodes_ends_the_training_with_a_sentence(tmp_path: Path) -> None:
    one = task(tmp_path, RESUNET, resunet_conf(metric_step=2))
    broken = replace(one, load=lambda i: replace(one.load(i), y=np.full((24, 24, 4), np.inf, np.float32)))
    with pytest.raises(ConfigError, match=r"not finite any more at step 1 .*No checkpoint") as caught:
        Training(broken).fit()
    assert "Lower lr" in caught.value.remedy


def test_without_validation_samples_the_last_weights_are_exported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    figures = Training(replace(task(tmp_path, RESUNET, resunet_conf()), val_ids=[])).fit()
    assert figures == {"step": 12}
    assert "validation set is empty" in caplog.text


def test_one_thread_an_operation_is_another_training_but_its_absence_is_none() -> None:
    model, plain = ModelConf(), TrainConf()
    assert fingerprint(model, TrainConf(one_thread_per_operation=True), {}) != fingerprint(model, plain, {})
    assert "one_thread_per_operation" not in _fingerprinted(plain)
    assert "one_thread_per_operation" in _fingerprinted(TrainConf(one_thread_per_operation=True))


def _fingerprinted(conf: TrainConf) -> str:
    """The text that a fingerprint is made of."""
    seen: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.training.hashlib.sha256", lambda data: seen.append(data) or hashlib.new("sha256", data))
        fingerprint(ModelConf(), conf, {})
    return seen[0].decode()
