"""gan_train.sh as two tasks of a Slurm step on this machine: the variables are Slurm's, the processes are real."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from tests.unit.tiny_sets import write_work
from utils.workflow.config import ROOT


def _task(index: int, work: Path, job: int) -> subprocess.Popen[str]:
    slurm = {
        "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_PROCID": str(index),
        "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": "0",
    }  # fmt: skip
    return subprocess.Popen(
        [ROOT / "gan_train.sh", work / "model.yaml", work / "train.yaml"],
        env={**os.environ, **slurm}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _both(work: Path) -> list[tuple[int, str, str]]:
    job = random.randrange(1, 100_000)
    tasks = [_task(index, work, job) for index in (0, 1)]
    found = [task.communicate(timeout=240) for task in tasks]
    return [(task.returncode, out, err) for task, (out, err) in zip(tasks, found, strict=True)]


@pytest.mark.slow
def test_two_tasks_of_a_step_train_one_network(tmp_path: Path) -> None:
    write_work(tmp_path, multi_gpu="true", batch_size=1)
    chief, other = _both(tmp_path)
    assert (chief[0], other[0]) == (0, 0), (chief, other)
    assert chief[1].strip() == str(tmp_path / "runs" / "small")
    assert other[1] == ""
    assert "trains on 2 devices of 2 workers" in chief[2]
    assert "Traceback" not in chief[2] + other[2]
    assert len(list((tmp_path / "runs/small/tb").glob("events*"))) == 1  # the chief's
    card = json.loads((tmp_path / "runs/small/model_card.json").read_text())
    assert card["training"]["devices"] == "2 devices of 2 workers"
    assert (card["steps"], card["training"]["global_batch"]) == (4, 2)
    before = (tmp_path / "runs/small/model.keras").stat().st_mtime_ns
    assert [code for code, *_ in _both(tmp_path)] == [0, 0]  # up to date, and nobody waits for the other
    assert (tmp_path / "runs/small/model.keras").stat().st_mtime_ns == before


@pytest.mark.slow
def test_two_tasks_without_multi_gpu_are_refused(tmp_path: Path) -> None:
    write_work(tmp_path, tensorboard="false")
    for code, _, err in _both(tmp_path):
        assert code == 65
        assert "2 processes were started, but multi_gpu is false" in err
    assert not (tmp_path / "runs").exists()
