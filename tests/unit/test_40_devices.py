"""Several devices and several workers take the step of one, stop together, resume together; only the chief writes.

Every TensorFlow here is a process of its own: devices and workers must be chosen before its first operation.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import devices
from models.cluster import Cluster
from tests.slurm_cluster import free_ports
from utils.workflow.config import ROOT
from utils.workflow.errors import ConfigError

TOLERANCE = 2e-5  # of the largest weight or optimiser number of its group, float32 sums in another order


def _start(*words: object, **environment: str) -> subprocess.Popen[str]:
    names = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_") and k != "TF_CONFIG"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.device_worker", *map(str, words)],
        cwd=ROOT, env={**names, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _end(*processes: subprocess.Popen[str]) -> list[tuple[int, str, str]]:
    found = []
    for process in processes:
        out, err = process.communicate(timeout=240)
        found.append((process.returncode, out, err))
    return found


def _two_workers() -> list[dict[str, str]]:
    """TF_CONFIG of two workers on loopback."""
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(2))
    return [{"TF_CONFIG": Cluster(addresses, index).tf_config()} for index in (0, 1)]


def _assert_equal(one: Path, several: Path) -> None:
    """Every term of every step and every variable agree to float tolerance; prints the largest distance."""
    a, b = np.load(one), np.load(several)
    assert (int(a["replicas"]), int(b["replicas"])) == (1, 2)
    assert set(a.files) == set(b.files)
    terms = [name for name in a.files if name.startswith("term")]
    worst = max(abs(float(a[n]) - float(b[n])) / max(abs(float(a[n])), 1e-3) for n in terms)
    print(f"terms of two replicas against one: {worst:.2g} of their value (limit {TOLERANCE})")
    assert worst <= TOLERANCE
    groups = {name.split(".")[0] for name in a.files} - {n.split(".")[0] for n in terms} - {"replicas"}
    assert {"generator", "average", "optimiser_generator"} <= groups
    for group in sorted(groups):
        names = [n for n in a.files if n.startswith(f"{group}.") and a[n].size]
        scale = max(np.abs(a[n].astype(float)).max() for n in names)
        apart = max(np.abs(a[n].astype(float) - b[n].astype(float)).max() for n in names)
        print(f"{group}: {apart / scale:.2g} of its largest number (limit {TOLERANCE})")
        assert apart <= TOLERANCE * scale, group


@pytest.mark.parametrize(
    "kind", ["gan", *(pytest.param(n, marks=pytest.mark.slow) for n in ("resunet", "resunet_gan"))]
)
def test_two_replicas_of_one_tile_take_the_step_of_one_with_two(tmp_path: Path, kind: str) -> None:
    """Weighted means over tiles with different shares of clear pixels, clipping, accumulation, batch normalisation."""
    done = _end(
        _start("steps", kind, 2, "one", tmp_path / "one.npz"),
        _start("steps", kind, 1, "multi", tmp_path / "two.npz", S2CR_LOGICAL_CPUS="2"),
    )
    assert [code for code, *_ in done] == [0, 0], done
    _assert_equal(tmp_path / "one.npz", tmp_path / "two.npz")


@pytest.mark.slow
def test_two_workers_of_one_tile_take_the_step_of_one_with_two(tmp_path: Path) -> None:
    first, second = _two_workers()
    done = _end(
        _start("steps", "gan", 2, "one", tmp_path / "one.npz"),
        _start("steps", "gan", 1, "multi", tmp_path / "two.npz", **first),
        _start("steps", "gan", 1, "multi", tmp_path / "none.npz", **second),
    )
    assert [code for code, *_ in done] == [0, 0, 0], done
    assert not (tmp_path / "none.npz").exists()
    _assert_equal(tmp_path / "one.npz", tmp_path / "two.npz")


def _digests(folder: Path) -> dict[str, str]:
    names = ("model.keras", "history.jsonl", "model_card.json", "model_card.md")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.mark.slow
def test_two_workers_stop_and_resume_together_and_only_the_chief_writes(tmp_path: Path) -> None:
    """The signal reaches the second worker only; the second run ends with the bytes of an undisturbed one."""
    whole, cut, other = tmp_path / "whole", tmp_path / "cut", tmp_path / "other"
    first, second = _two_workers()
    done = _end(
        _start("fit", "resunet", 1, "multi", whole, **first), _start("fit", "resunet", 1, "multi", other, **second)
    )
    assert [code for code, *_ in done] == [0, 0], done
    assert list(other.iterdir()) == []  # what the second worker wrote
    assert float(done[0][1]) > 0
    first, second = _two_workers()
    done = _end(
        _start("fit", "resunet", 1, "multi", cut, **first), _start("fit", "resunet", 1, "multi", cut, 4, **second)
    )
    assert [code for code, *_ in done] == [75, 75], done
    assert "a signal to another worker at step 4 of 12; saved" in done[0][2]
    assert "SIGTERM at step 4 of 12; saved" in done[1][2]
    first, second = _two_workers()
    done = _end(_start("fit", "resunet", 1, "multi", cut, **first), _start("fit", "resunet", 1, "multi", cut, **second))
    assert [code for code, *_ in done] == [0, 0], done
    assert _digests(cut) == _digests(whole)
    card = json.loads((whole / "model_card.json").read_text())
    assert card["training"]["devices"] == "2 devices of 2 workers"


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_others_with_75_and_keeps_the_checkpoints(tmp_path: Path) -> None:
    first, second = _two_workers()
    chief, other = _end(
        _start("fit", "resunet", 1, "multi", tmp_path, **first),
        _start("fit", "resunet", 1, "multi", tmp_path, 5, "SIGKILL", **second),
    )
    assert other[0] == -9
    assert chief[0] == 75, chief
    assert "another worker is gone" in chief[2]
    assert "Traceback" not in chief[2]
    assert [path.name for path in tmp_path.glob("checkpoints/*/step-*")][-1:] == ["step-00000003"]


def test_several_processes_need_multi_gpu() -> None:
    config: dict[str, Any] = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    with pytest.raises(ConfigError, match="2 processes were started, but multi_gpu is false") as caught:
        devices.start(False, {"TF_CONFIG": json.dumps(config)})
    assert "multi_gpu: true" in caught.value.remedy
    assert caught.value.exit_code == 65


def test_one_device_stays_one() -> None:
    assert devices.start(True, {}) is devices.ONE  # no GPU, one logical CPU
    assert devices.ONE.total(3.5) == 3.5
    assert devices.ONE.words() == "one device"
