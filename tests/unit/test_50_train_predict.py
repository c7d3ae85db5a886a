"""gan_train.sh and gan_predict.sh on a small data set on disk: the direct forms of the stages train and predict."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.unit.tiny_sets import GRID, MODEL, SIZE, write_work
from tests.unit.tiny_training import BANDS, sample
from utils.io import raster
from utils.science.grid import Window
from utils.workflow.config import ROOT


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    write_work(folder)
    return folder


def _call(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(w) for w in words],
        capture_output=True,
        text=True,
        env={**os.environ, "S2CR_SUBMIT": "no", **environment},
        check=False,
    )


@pytest.fixture(scope="module")
def trained(work: Path) -> Path:
    done = _call(ROOT / "gan_train.sh", work / "model.yaml", work / "train.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(work / "runs" / "small")
    assert "Traceback" not in done.stderr
    assert "oneDNN" not in done.stderr  # TensorFlow's own log stays away
    return work / "runs" / "small"


def test_gan_train_fills_the_run_folder(trained: Path, work: Path) -> None:
    names = (
        "model.yaml",
        "train.yaml",
        "scaler.json",
        "model.keras",
        "model_card.json",
        "model_card.md",
        "history.jsonl",
    )
    for name in names:
        assert (trained / name).is_file(), name
    assert (trained / "model.yaml").read_bytes() == (work / "model.yaml").read_bytes()
    card = json.loads((trained / "model_card.json").read_text())
    assert (card["bands"], card["scaler_mode"], card["steps"], card["train_samples"]) == (list(BANDS), "fixed", 4, 4)
    data = {
        "sites": 1,
        "pairs": 1,
        "mixed_orbit": False,
        "split": {},
        "t0": ["2020-01-01"] * 2,
        "t1": ["2020-03-01"] * 2,
    }
    assert card["data"] == data
    low, high = card["validation_intervals"]["psnr"]  # two blocks
    assert low <= card["validation"]["psnr"] <= high
    assert "2 validation samples" in (trained / "model_card.md").read_text()


def test_a_second_run_does_nothing(trained: Path, work: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.name not in ("model.yaml", "train.yaml", "scaler.json")}  # fmt: skip
    done = _call(ROOT / "gan_train.sh", work / "model.yaml", work / "train.yaml")
    assert (done.returncode, done.stdout.strip()) == (0, str(trained))
    assert "small: up to date" in done.stderr
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path.name for path in before if path != trained and before[path] != after[path]} == set()


def test_gan_predict_writes_reflectance_beside_its_input(trained: Path, work: Path, tmp_path: Path) -> None:
    done = _call(ROOT / "gan_predict.sh", trained, work / "dataset/val", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "out" / "p001_r0000_c0004.tif"
    info, image = raster.info(path), raster.read(path)
    assert info.grid == GRID.window(Window(0, 4 * SIZE, SIZE, SIZE))
    assert tuple(info.band_names) == BANDS
    assert (info.tags["UNITS"], info.tags["RUN"], info.tags["SOURCE_PRODUCTS"]) == (
        "reflectance",
        "small",
        "20200101,20200301",
    )
    joined = raster.info(tmp_path / "out/mosaic/p001/prediction.tif")
    assert joined.grid == GRID and joined.tags["PAIR"] == "p001" and joined.tags["RUN"] == "small"
    dn = raster.read(tmp_path / "out/mosaic/p001/prediction.tif")
    np.testing.assert_array_equal(dn[:, :, 4 * SIZE : 5 * SIZE], np.round(image.astype(np.float64) / 1e-4))
    assert (dn[:, :, : 4 * SIZE] == -32768).all(), "no tile was predicted there"
    assert (tmp_path / "out/mosaic/p001/prediction.png").is_file()
    before = sample(4, SIZE).s2_t0.transpose(2, 0, 1)
    assert image.dtype == np.float32
    assert np.abs(image - before).mean() < 0.2  # a few steps away from S2(t0), in reflectance


@pytest.mark.slow
def test_a_run_with_an_uncertainty_head_writes_sigma_beside(trained: Path, work: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.yaml"
    model.write_text(MODEL.replace("model_name: small", "model_name: told\nuncertainty: true"))
    done = _call(ROOT / "gan_train.sh", model, work / "train.yaml")
    assert done.returncode == 0, done.stderr
    run = work / "runs" / "told"
    assert (run / "model.keras").read_bytes() == (trained / "model.keras").read_bytes()
    done = _call(ROOT / "gan_predict.sh", run, work / "dataset/val", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "out" / "sigma" / "p001_r0000_c0004.tif"
    info, sigma = raster.info(path), raster.read(path)
    assert tuple(info.band_names) == tuple(f"sigma_{band}" for band in BANDS)
    assert (info.grid, info.tags["UNITS"]) == (GRID.window(Window(0, 4 * SIZE, SIZE, SIZE)), "reflectance")
    assert 0.001 < sigma.min() <= sigma.max() < 0.5
    widths = json.loads((run / "model_card.json").read_text())["uncertainty"]["width_95"]
    assert info.tags["SIGMA_95"] == ", ".join(f"{band} {widths[band]:.3f}" for band in BANDS)
    assert "SIGMA_95" not in raster.info(tmp_path / "out" / path.name).tags
    assert "the interval of 95 % reaches B04 " in (run / "model_card.md").read_text()
    assert sorted(p.name for p in (tmp_path / "out").glob("*.tif")) == ["p001_r0000_c0004.tif", "p001_r0000_c0005.tif"]


def _child_heeds(pid: int, number: int) -> bool:
    """True when a child of the process has a handler for the signal."""
    try:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            status = Path(f"/proc/{child}/status").read_text()
            caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
            if "Name:\tpython" in status and caught >> (number - 1) & 1:
                return True
    except (OSError, StopIteration):
        pass
    return False


def test_a_signal_for_the_script_reaches_the_program(trained: Path, work: Path, tmp_path: Path) -> None:
    """A batch system signals the shell; what must end in order is the program that it started."""
    words = [ROOT / "gan_predict.sh", trained, work / "dataset/val", tmp_path / "out"]
    running = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, "SLURM_JOB_ID": "1"})
    end = time.monotonic() + 60
    while not _child_heeds(running.pid, signal.SIGUSR1):
        assert time.monotonic() < end
        time.sleep(0.02)
    running.send_signal(signal.SIGUSR1)
    assert running.wait(60) == 75
    assert running.stderr is not None and "Stopped by SIGUSR1" in running.stderr.read()
    assert not (tmp_path / "out").exists()


def test_mosaic_without_a_configuration_says_what_is_missing(work: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = _call(ROOT / "s2cr", "mosaic", "--pred", tmp_path / "empty", "--dataset", work / "dataset/val")
    assert done.returncode == 66 and "no tile of a sample of" in done.stderr
    assert _call(ROOT / "s2cr", "mosaic", "--pred", tmp_path).returncode == 65


def test_published_arguments_and_a_spool_copy(trained: Path, work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "GAN_v0" / "training_1"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("checkpoints", "tb"))
    spooled = tmp_path / "slurm_script"
    shutil.copy(ROOT / "gan_predict.sh", spooled)
    lost = _call(spooled, folder, work / "dataset/val", S2CR_ROOT="", SLURM_SUBMIT_DIR="", PBS_O_WORKDIR="")
    assert lost.returncode == 77
    assert "Set S2CR_ROOT" in lost.stderr
    words = (folder.parent, 1, "model_300", work / "dataset/val", "first", tmp_path / "out")
    done = _call(spooled, *words, S2CR_ROOT="", SLURM_SUBMIT_DIR=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert "weights 'model_300' are ignored" in done.stderr
    assert sorted(p.name for p in (tmp_path / "out" / "first").glob("*.tif")) == [
        "p001_r0000_c0004.tif",
        "p001_r0000_c0005.tif",
    ]


def test_published_folders_of_runs(work: Path, tmp_path: Path) -> None:
    """training_dir, model_name and training_number make the folder; lim_train_tile is the number of tiles."""
    train = tmp_path / "train.yaml"
    more = f"training_dir: {tmp_path / 'runs'}\ntraining_number: 3\nlim_train_tile: 2\n"
    train.write_text((work / "train.yaml").read_text().replace("steps_per_epoch: 4", "steps_per_epoch: 1") + more)
    done = _call(ROOT / "gan_train.sh", work / "model.yaml", train)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "small" / "training_3"
    assert done.stdout.strip() == str(folder)
    assert json.loads((folder / "model_card.json").read_text())["train_samples"] == 2


def test_wrong_calls_end_with_their_code_and_no_traceback(work: Path, tmp_path: Path) -> None:
    assert _call(ROOT / "gan_train.sh", "one.yaml").returncode == 2
    assert _call(ROOT / "gan_predict.sh", "run").returncode == 2
    wrong = tmp_path / "model.yaml"
    wrong.write_text(MODEL.replace("[24, 24, 4]", "[24, 24, 5]"))
    done = _call(ROOT / "gan_train.sh", wrong, work / "train.yaml")
    assert done.returncode == 65
    assert "dim_gt_image says 5, the dataset has 4 optical bands" in done.stderr
    assert "Traceback" not in done.stderr
    done = _call(ROOT / "gan_train.sh", ROOT / "GAN_confs/model.yaml", ROOT / "GAN_confs/train.yaml")
    assert done.returncode == 65
    assert "train_directory and val_directory are empty" in done.stderr
