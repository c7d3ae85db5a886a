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

from tests.unit.tiny_training import BANDS, SAR, sample, standard_scaler
from utils.io import raster, samples
from utils.science.grid import Grid, Window
from utils.science.scaler import Scaler
from utils.workflow.config import ROOT
from utils.workflow.files import atomic_json

SIZE = 24
GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, SIZE, SIZE * 6)
MODEL = """model: resunet
model_name: small
input_shape: [null, null, null]
dim_gt_image: [24, 24, 4]
widths: [8]
encoder_blocks: [1]
middle_blocks: 1
decoder_blocks: [1]
"""


def write_set(root: Path, name: str, numbers: range) -> None:
    infos = []
    for number in numbers:
        sample_id, window = f"p001_r0000_c{number:04d}", Window(0, number * SIZE, SIZE, SIZE)
        raw, grid = sample(number, SIZE), GRID.window(window)
        mask = np.stack([raw.cloud_t0, raw.cloud_t1, raw.cloud_t0, raw.window.astype(np.uint8)])
        planes = {part: getattr(raw, part).transpose(2, 0, 1) for part in ("s1_t0", "s1_t1", "s2_t0", "s2_t1")}
        for part, array in {**planes, "mask": mask}.items():
            raster.write(samples.sample_path(root / name, part, sample_id), np.ascontiguousarray(array), grid)
        infos.append({
            "id": sample_id, "pair": "p001", "tile": f"r0000_c{number:04d}", "window": window.to_list(), "valid": window.to_list(), "block": "b0",
            "trainable": True, "reason": None, "clear_t0": 1.0, "clear_t1": 1.0, "changed_fraction": 0.3, "sar_filled": 0.0,
        })  # fmt: skip
    pair = {
        "site": "x", "date1": "20200101", "date2": "20200301", "t0": "2020-01-01", "t1": "2020-03-01", "grid": GRID.to_dict(),
        "ds1_median_db": {"VV": 0.0, "VH": 0.0}, "mixed_orbit": False,
    }  # fmt: skip
    index = {
        "schema": "s2cr.dataset/1",
        "set": name,
        "bands": {"sar": list(SAR), "optical": list(BANDS)},
        "size_px": SIZE,
    }
    atomic_json(root / name / "index.json", {**index, "pairs": {"p001": pair}, "samples": infos})


def write_tiny_work(folder: Path) -> None:
    """Data sets train and val of six samples, scalers, model.yaml and train.yaml."""
    write_set(folder / "dataset", "train", range(4))
    write_set(folder / "dataset", "val", range(4, 6))
    atomic_json(folder / "norm" / "scaler_fixed.json", Scaler.fixed(SAR, BANDS).to_json())
    atomic_json(folder / "norm" / "scaler_standard.json", standard_scaler().to_json())
    (folder / "model.yaml").write_text(MODEL)
    keys = {
        "train_directory": str(folder / "dataset/train"), "val_directory": str(folder / "dataset/val"), "epoch": 1, "steps_per_epoch": 4,
        "batch_size": 2, "gradient_acc_step": 1, "lr": 0.003, "metric_step": 2, "checkpoint_steps": 2,
    }  # fmt: skip
    (folder / "train.yaml").write_text("".join(f"{key}: {value}\n" for key, value in keys.items()))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    write_tiny_work(folder)
    return folder


def _call(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(w) for w in words], capture_output=True, text=True, env={**os.environ, **environment}, check=False
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
    for name in ("model.yaml", "train.yaml", "scaler.json", "model.keras", "model_card.json", "history.jsonl"):
        assert (trained / name).is_file(), name
    assert (trained / "model.yaml").read_bytes() == (work / "model.yaml").read_bytes()
    card = json.loads((trained / "model_card.json").read_text())
    assert (card["bands"], card["scaler_mode"], card["steps"], card["train_samples"]) == (list(BANDS), "fixed", 4, 4)


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
