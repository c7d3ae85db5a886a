"""Each way in which a training ends badly: exit code, cause, remedy, and nothing lost."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import backend

backend.start()

from models.callbacks import StopFlag, not_finite  # noqa: E402
from models.checkpoint import Checkpoints  # noqa: E402
from models.config import ModelConf  # noqa: E402
from models.run import RunFolder  # noqa: E402
from models.session import DataSet, make_task  # noqa: E402
from models.training import Training  # noqa: E402
from tests.unit.tiny_sets import MODEL, write_train, write_work  # noqa: E402
from tests.unit.tiny_training import resunet_conf, task  # noqa: E402
from utils.io import samples  # noqa: E402
from utils.workflow.config import ROOT  # noqa: E402
from utils.workflow.errors import ConfigError, DiskError, Error, InputError, Interrupted, NothingFoundError  # noqa: E402

RESUNET = ModelConf(model="resunet", widths=(8,), encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1)
NAMES = ("model.keras", "history.jsonl", "model_card.json", "model_card.md")


def _digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in NAMES}


# -- numbers that explode ------------------------------------------------------------------------------------------


def test_a_loss_that_explodes_keeps_the_last_good_checkpoint_and_goes_on_once_mended(tmp_path: Path) -> None:
    conf = resunet_conf(checkpoint_steps=1, metric_step=100)
    Training(task(tmp_path / "whole", RESUNET, conf)).fit()
    one = task(tmp_path / "cut", RESUNET, conf)
    good = one.load
    training = Training(one)
    bad = training.batches.batch

    def batch(step: int) -> Any:  # the batch itself explodes from step 6 on
        found = bad(step)
        return replace(found, y=np.full_like(found.y, np.inf)) if step >= 5 else found

    training.batches.batch = batch  # type: ignore[method-assign]
    with pytest.raises(
        ConfigError, match=r"not finite any more at step 6 \(loss inf.*checkpoint of step 5 is kept"
    ) as caught:
        training.fit()
    assert caught.value.exit_code == 65
    assert "Lower lr" in caught.value.remedy
    store = Checkpoints(one.run.checkpoints, one.fingerprint, 3)
    assert store.steps() == [3, 4, 5]
    arrays, _ = store.load(5)
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert not one.run.card.exists()
    Training(replace(task(tmp_path / "cut", RESUNET, conf), load=good)).fit()
    assert _digests(tmp_path / "cut") == _digests(tmp_path / "whole")


def test_gradients_that_explode_end_the_training_before_their_checkpoint(tmp_path: Path) -> None:
    """The loss of step 1 is finite, its gradient is not: the weights of step 1 must never be saved."""
    one = task(tmp_path, RESUNET, resunet_conf(checkpoint_steps=1))
    training = Training(one)
    step = training.trainer.step

    def explode(*words: Any) -> Any:
        return {**step(*words), "gradient_norm": float("nan")}

    training.trainer.step = explode
    with pytest.raises(ConfigError, match=r"step 1 \(gradient_norm nan\).*No checkpoint"):
        training.fit()
    assert training.checkpoints.steps() == []


def test_the_sentence_names_what_is_not_finite() -> None:
    error = not_finite("a", 7, {"loss": 1.0, "l1": float("nan")}, [3, 6])
    assert "at step 7 (l1 nan). The checkpoint of step 6 is kept." in error.message


# -- inputs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    write_work(folder, tensorboard="false")
    return folder


def _make(work: Path, model: str | None = None, sets: Path | None = None, **keys: Any) -> Any:
    """The task of a work folder whose train.yaml has further keys."""
    (work / "m.yaml").write_text(model or MODEL)
    write_train(work / "t.yaml", work, **keys)
    data = []
    for name in ("train", "val"):
        folder = (sets or work / "dataset") / name
        data.append(DataSet(samples.load_index(folder), lambda i, folder=folder: samples.read_sample(folder, i)))  # type: ignore[misc]
    run = RunFolder(work / "runs" / "made")
    log = logging.getLogger("test")
    return make_task("made", run, (work / "m.yaml", work / "t.yaml"), (data[0], data[1]), work / "norm", log, "k")


def check_fails(kind: type[Error], code: int, cause: str, remedy: str, **options: Any) -> None:
    with pytest.raises(kind, match=cause) as caught:
        _make(**options)
    assert caught.value.exit_code == code
    assert remedy in caught.value.remedy


def test_a_missing_or_damaged_scaler(work: Path) -> None:
    path = work / "norm" / "scaler_fixed.json"
    text = path.read_text()
    path.unlink()
    try:
        check_fails(InputError, 66, "no such scaler", "./s2cr normalise", work=work)
        path.write_text("{}")
        check_fails(InputError, 66, "scaler_fixed.json", "normalise CONF --force", work=work)
        data = json.loads(text)
        path.write_text(text.replace('"B08"', '"B8A"'))
        check_fails(ConfigError, 65, "B8A", "./s2cr normalise", work=work)
        assert data["mode"] == "fixed"
    finally:
        path.write_text(text)


def test_other_numbers_of_bands_than_the_dataset(work: Path) -> None:
    for written, cause in (
        ("[24, 24, 12]", "input_shape says 12, the dataset has 11"),
        ("[32, null, null]", "input_shape says 32"),
    ):
        model = MODEL.replace("input_shape: [null, null, null]", f"input_shape: {written}")
        check_fails(ConfigError, 65, cause, "null in input_shape", work=work, model=model)
    table = "{VV: [0, 2], VH: [1, 3], 'R,G,B': [4, 5, 6]}"
    check_fails(ConfigError, 65, "dict_band_x says", "Leave dict_band_x out", work=work, dict_band_x=table)


def test_an_empty_dataset(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "dataset", tmp_path / "dataset")
    index = tmp_path / "dataset/train/index.json"
    data = json.loads(index.read_text())
    for sample in data["samples"]:
        sample["trainable"] = False
    index.write_text(json.dumps(data))
    check_fails(
        NothingFoundError,
        72,
        "4 samples, none with a usable label",
        "build_dataset",
        work=work,
        sets=tmp_path / "dataset",
    )
    index.write_text(json.dumps({**data, "samples": []}))
    check_fails(NothingFoundError, 72, "0 samples", "build_dataset", work=work, sets=tmp_path / "dataset")
    index.unlink()
    check_fails(InputError, 66, "index.json: no such file", "build_dataset", work=work, sets=tmp_path / "dataset")


def test_a_sample_that_is_gone_ends_the_training_and_keeps_its_checkpoints(work: Path) -> None:
    """Steps before the one that needs it are trained and saved: the error of a prefetched batch waits for its turn."""
    one = _make(work, checkpoint_steps=1, tensorboard="false", batch_size=1)
    training = Training(replace(one, run=RunFolder(work / "runs" / "gone")))
    victim = training.batches.choose(2)[0]  # an epoch of four steps sees each of the four samples once
    path = samples.sample_path(work / "dataset/train", "s2_t0", victim)
    path.rename(path.with_suffix(".away"))
    try:
        with pytest.raises(InputError, match=victim):
            training.fit()
    finally:
        path.with_suffix(".away").rename(path)
    assert training.checkpoints.steps() == [1, 2]


# -- checkpoints ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_other_widths_or_bands_is_refused_and_kept(tmp_path: Path) -> None:
    Training(task(tmp_path, RESUNET, resunet_conf(epoch=1, steps_per_epoch=2))).fit()
    before = sorted(tmp_path.rglob("arrays.npz"))
    wide = ModelConf(model="resunet", widths=(12,), encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1)
    deep = ModelConf(model="resunet", widths=(8,), encoder_blocks=(2,), decoder_blocks=(1,), middle_blocks=1)
    for model, cause in ((wide, r"holds .*\(3, 3, 11, 8\), the model \(3, 3, 11, 12\)"), (deep, "other variables")):
        with pytest.raises(ConfigError, match=cause) as caught:
            Training(task(tmp_path, model, resunet_conf(load_model=1))).fit()
        assert (caught.value.exit_code, caught.value.remedy) == (65, "Write load_model: null to start anew.")
    three = replace(task(tmp_path, RESUNET, resunet_conf(load_model=1)), bands=("B04", "B03", "B02"))
    with pytest.raises(ConfigError, match=r"\(3, 3, 11, 8\), the model \(3, 3, 10, 8\)"):
        Training(three).fit()
    assert sorted(tmp_path.rglob("arrays.npz")) == before


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    conf = resunet_conf(epoch=1, steps_per_epoch=4, checkpoint_steps=1)
    training = Training(task(tmp_path, RESUNET, conf))
    training.fit()
    newest = training.checkpoints.path(training.checkpoints.steps()[-1])
    whole = (newest / "arrays.npz").read_bytes()
    (newest / "arrays.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="step-00000004: a damaged checkpoint") as caught:
        Training(task(tmp_path, RESUNET, conf)).resume()
    assert f"rm -r {newest}" in caught.value.remedy
    shutil.rmtree(newest)  # the remedy
    again = Training(task(tmp_path, RESUNET, conf))
    again.resume()
    assert again.at.step == 3


# -- signals -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_signal_during_validation_is_heeded_at_once_and_the_scores_are_made_up_for(tmp_path: Path) -> None:
    conf = resunet_conf()
    Training(task(tmp_path / "whole", RESUNET, conf)).fit()
    training = Training(task(tmp_path / "cut", RESUNET, conf))
    predict, calls = training.trainer.predict, []

    def signalled(x: Any) -> Any:
        calls.append(training.at.step)
        os.kill(os.getpid(), signal.SIGUSR1)
        return predict(x)

    training.trainer.predict = signalled
    with pytest.raises(Interrupted, match="SIGUSR1 at step 5 of 12; saved") as caught:
        training.fit()
    assert caught.value.exit_code == 75
    assert calls == [5]  # the second of two tiles was not scored any more
    assert training.at.history == []
    Training(task(tmp_path / "cut", RESUNET, conf)).fit()
    assert _digests(tmp_path / "cut") == _digests(tmp_path / "whole")


def test_handlers_come_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopFlag() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert stop.name == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before


def _worker(folder: Path, *stop: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.device_worker", "fit", "resunet", "2", "one", str(folder), *map(str, stop)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_killed_signalled_and_resumed_processes_end_with_the_bytes_of_an_undisturbed_one(tmp_path: Path) -> None:
    assert _worker(tmp_path / "whole").returncode == 0
    assert _worker(tmp_path / "cut", 7, "SIGKILL").returncode == -signal.SIGKILL
    assert not (tmp_path / "cut" / "model_card.json").exists()
    for step, name in ((9, "SIGUSR1"), (10, "SIGTERM")):
        done = _worker(tmp_path / "cut", step, name)
        assert done.returncode == 75, done.stderr
        assert f"{name} at step {step} of 12; saved" in done.stderr
    assert _worker(tmp_path / "cut").returncode == 0
    assert _digests(tmp_path / "cut") == _digests(tmp_path / "whole")


# -- disk ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_full_disk_during_a_checkpoint_keeps_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real limit on the size of files, as a quota gives it; the first checkpoint fits."""
    import resource

    conf = resunet_conf(checkpoint_steps=3, metric_step=100)
    Training(task(tmp_path / "whole", RESUNET, conf)).fit()

    def fill(done: int) -> None:
        if done == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    one = task(tmp_path / "cut", RESUNET, conf, fill)
    try:
        with pytest.raises(DiskError, match="No space left") as caught:
            Training(one).fit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.exit_code == 69
    assert "Free disk space" in caught.value.remedy
    store = Checkpoints(one.run.checkpoints, one.fingerprint, 3)
    assert store.steps() == [3]
    assert not list(one.run.checkpoints.rglob(".s2cr-tmp.*"))
    Training(task(tmp_path / "cut", RESUNET, conf)).fit()
    assert _digests(tmp_path / "cut") == _digests(tmp_path / "whole")


def test_a_full_disk_while_the_network_is_saved(tmp_path: Path) -> None:
    import resource

    one = task(tmp_path, RESUNET, resunet_conf(epoch=1, steps_per_epoch=2))
    training = Training(one)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    save = training.checkpoints.save

    def then_fill(*words: Any) -> None:
        save(*words)
        if words[0] == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))

    training.checkpoints.save = then_fill  # type: ignore[method-assign]
    try:
        with pytest.raises((DiskError, OSError)) as caught:
            training.fit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    from utils.workflow.errors import from_os_error

    error = caught.value if isinstance(caught.value, Error) else from_os_error(caught.value)
    assert error.exit_code == 69
    assert not (tmp_path / "model.keras").exists()
    assert not (tmp_path / "model_card.json").exists()
    again = Training(task(tmp_path, RESUNET, resunet_conf(epoch=1, steps_per_epoch=2)))
    again.fit()
    assert again.at.step == 2
    assert RunFolder(tmp_path).finished(one.fingerprint) is None  # the yaml files and the scaler are not there
    for path in RunFolder(tmp_path).outputs():
        path.touch()
    assert RunFolder(tmp_path).finished(one.fingerprint) is not None
    assert RunFolder(tmp_path).finished("another") is None


# -- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_tells_an_exploding_loss_with_its_code_and_no_traceback(work: Path) -> None:
    write_train(work / "wild.yaml", work, lr="1.0e+30", checkpoint_steps=1, tensorboard="false")
    (work / "wild_model.yaml").write_text(MODEL.replace("model_name: small", "model_name: wild"))
    done = subprocess.run(
        [ROOT / "gan_train.sh", work / "wild_model.yaml", work / "wild.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 65, done.stderr
    assert "the loss is not finite any more at step" in done.stderr
    assert "Lower lr or fact_g_lr" in done.stderr
    assert "Traceback" not in done.stderr
