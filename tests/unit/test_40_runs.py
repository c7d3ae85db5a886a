"""./s2cr runs and the model card: order, figures with intervals, rivals beside, unfinished runs, Markdown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models import card as cards
from models import listing
from utils.workflow.config import ROOT
from utils.workflow.errors import InputError
from utils.workflow.files import atomic_json

CARD: dict[str, Any] = {
    "schema": "s2cr.model/1", "name": "good", "model": "resunet", "parameters": 23612, "channels_in": 11, "bands": ["B04", "B08"],
    "bands_sar": ["VV", "VH"], "size_px": 64, "scaler_mode": "fixed", "train_samples": 40, "val_samples": 8, "steps": 900,
    "exported_step": 700, "fingerprint": "abc", "versions": {"keras": "3", "tensorflow": "2"},
    "validation": {"skill_changed": 0.31, "psnr": 27.5, "psnr_copy_t0": 25.25, "mae": 0.03, "mae_copy_t0": 0.04},
    "validation_intervals": {"skill_changed": [0.2, 0.4], "psnr": [27.0, 28.0]},
    "data": {
        "sites": 2, "pairs": 6, "t0": ["2020-01-01", "2020-02-01"], "t1": ["2020-03-01", "2020-04-01"], "synthetic": True,
        "split": {"method": "blocks", "buffer_m": 640.0, "seed": 2, "note": "", "counts": {"train": 40, "val": 8, "test": 9}},
    },
    "training": {
        "global_batch": 4, "devices": "one device", "seed": 1, "precision": "float32", "ema": 0.99,
        "loss": {"charbonnier": 1.0, "ssim": 0.0, "sam": 0.05},
    },
}  # fmt: skip


def _figures(skill: float, psnr: float) -> dict[str, Any]:
    every = {"psnr": psnr, "mae": 0.02, "sam_deg": 5.0, "interval": {"psnr": [psnr - 1, psnr + 1]}}
    changed = {"psnr": psnr - 2, "skill": skill, "interval": {"skill": [skill - 0.1, skill + 0.1]}}
    return {"observed": {"strata": {"all": every, "changed": changed, "unchanged": {"psnr": "inf"}}, "burned": {}}}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """good: judged. fresh: better. cut: stopped at step 40. none: an empty folder."""
    table = {
        "facts": {"hidden_truth": False}, "order": ["copy_t0", "good", "fresh"],
        "methods": {"copy_t0": _figures(0.0, 24.0), "good": _figures(0.25, 27.0), "fresh": _figures(0.4, 28.0)},
    }  # fmt: skip
    atomic_json(tmp_path / "reports/evaluate.json", table)
    for name in ("good", "fresh"):
        atomic_json(tmp_path / f"runs/{name}/model_card.json", {**CARD, "name": name})
    for step in (20, 40):
        (tmp_path / f"runs/cut/checkpoints/abc/step-{step:08d}").mkdir(parents=True)
    record = {"step": 20, "epoch": 1, "tiles": 80, "train": {}, "val": {"skill_changed": 0.9, "psnr": 30.0}}
    (tmp_path / "runs/cut/history.jsonl").write_text(json.dumps(record) + "\n")
    (tmp_path / "runs/none").mkdir()
    return tmp_path


def test_best_change_skill_comes_first_and_test_counts_before_validation(work: Path) -> None:
    rows = listing.collect(work / "runs", work / "reports")
    assert [row["name"] for row in rows] == ["cut", "fresh", "good", "none"]  # 0.9 of validation, 0.4, 0.25
    cut, _, good, none = rows
    assert (cut["state"], none["state"], good["state"]) == ("stopped at step 40", "empty", "finished")
    assert not any(row["stale"] for row in rows)
    again = listing.collect(work / "runs", work / "reports", stale=True)
    assert [row["stale"] for row in again] == [False, True, True, False]  # where there are test figures
    assert "test figures not current" in listing.lines(again, {})[2]
    assert good["test"]["skill_changed"] == [0.25, 0.15, 0.35]
    assert good["validation"]["skill_changed"] == [0.31, 0.2, 0.4]
    assert none["validation"] == {}


def test_the_table_names_figures_with_intervals_and_the_rivals(work: Path) -> None:
    rows, test = listing.collect(work / "runs", work / "reports"), listing.load_test(work / "reports")
    lines = listing.lines(rows, test)
    good = next(line for line in lines if line.startswith("good"))
    for part in ("resunet", "23,612", "700/900", "finished", "0.31 [0.20, 0.40]", "0.25 [0.15, 0.35]", "27.00", "inf"):
        assert part in good, part
    assert lines[-1].startswith("copy_t0")
    assert "0.00 [-0.10, 0.10]  24.00" in lines[-1]


def test_before_evaluate_there_are_no_test_figures(work: Path) -> None:
    (work / "reports/evaluate.json").unlink()
    assert listing.load_test(work / "reports") is None
    rows = listing.collect(work / "runs", work / "reports")
    assert all(row["test"] == {} for row in rows)
    (work / "reports/evaluate.json").write_text("{}")
    with pytest.raises(InputError, match="not understood"):
        listing.load_test(work / "reports")


def test_the_card_reads_as_a_page(work: Path) -> None:
    card = {**CARD, "limits": cards.limits(CARD["data"], 8)}
    text = cards.text(card)
    for part in (
        "# good: resunet", "40 training and 8 validation samples from 2 place(s), 6 pair(s)", "**synthetic data**",
        "method blocks, buffer 640 m, seed 2; train 40, val 8, test 9", "exported: step 700", "moving average 0.99, loss charbonnier 1, sam 0.05",
        "| PSNR (dB) | 27.50 [27.00, 28.00] | 25.25 |", "| change skill, changed pixels | 0.31 [0.20, 0.40] | 0.00 |",
        "Not judged yet", "say nothing about real ground", "Only 8 validation samples", "keras 3, tensorflow 2",
    ):  # fmt: skip
        assert part in text, part
    judged = cards.text(card, listing.load_test(work / "reports"))
    assert "| **good** | 0.25 [0.15, 0.35] | 27.00 |" in judged
    assert "| copy_t0 | 0.00 [-0.10, 0.10] | 24.00 |" in judged
    assert "Not judged yet" not in judged


def test_a_card_without_the_new_entries_still_reads() -> None:
    old = {k: v for k, v in CARD.items() if k not in ("data", "training", "versions", "validation_intervals")}
    assert "| PSNR (dB) | 27.50 | 25.25 |" in cards.text(old)


def test_what_is_doubtful_is_said() -> None:
    said = " ".join(cards.limits({**cards.UNKNOWN_DATA, "mixed_orbit": True}, 100))
    assert "split is not known" in said
    assert "mix orbit directions" in said
    assert "synthetic" not in said
    assert "Only" not in said


def _call(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts", "runs", *map(str, words)], capture_output=True, text=True, cwd=ROOT, check=False
    )  # fmt: skip


def test_the_command(work: Path) -> None:
    conf = work / "conf.yaml"
    conf.write_text(f"work: {work}\nsource: import\n")
    done = _call(conf, "--json")
    assert done.returncode == 0, done.stderr
    assert [row["name"] for row in json.loads(done.stdout)] == ["cut", "fresh", "good", "none"]
    assert _call(conf).stdout.splitlines()[1].startswith("cut")
    assert "| **good** | 0.25" in _call(conf, "--card", "good").stdout
    done = _call(conf, "--card", "cut")
    assert done.returncode == 66
    assert "the run is not finished" in done.stderr
