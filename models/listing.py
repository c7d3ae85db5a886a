"""The runs of a work folder side by side: plain data and lines of a table. Reads cards only, no network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.card import judged_figures
from models.run import CARD_SCHEMA, RunFolder
from utils.science.score_table import aligned
from utils.workflow.errors import InputError

SHOWN = ("skill_changed", "psnr", "psnr_changed", "psnr_unchanged", "mae", "sam_deg")


def load_test(reports: Path) -> dict[str, dict[str, list[Any]]] | None:
    """Test figures of every method that ./s2cr evaluate judged: method -> figure -> [value, low, high]; None without.

    raises  InputError when reports/evaluate.json is damaged
    """
    path = reports / "evaluate.json"
    try:
        return judged_figures(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not understood ({error!r}).", "Run: ./s2cr evaluate CONF --force.") from error


def collect(runs: Path, reports: Path, stale: bool = False) -> list[dict[str, Any]]:
    """One record a run folder, best change skill first: of the test set where it was judged, else of validation.

    A record has name, state (finished, stopped at step N, empty), model, parameters, steps, exported_step, validation
    and test (figure -> [value, low, high]), and stale: its test figures may be those of an earlier training.
    """
    test = load_test(reports) or {}
    rows = [_record(RunFolder(path), test, stale) for path in sorted(runs.glob("*")) if path.is_dir()]
    return sorted(rows, key=lambda row: (-_skill(row), row["name"]))


def _skill(row: Mapping[str, Any]) -> float:
    for figures in (row["test"], row["validation"]):
        if figures.get("skill_changed"):
            return float(figures["skill_changed"][0])
    return float("-inf")


def _record(run: RunFolder, test: Mapping[str, Any], stale: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": run.path.name, "state": "empty", "model": None, "parameters": None, "steps": None, "exported_step": None,
        "validation": {}, "test": dict(test.get(run.path.name, {})), "stale": False,
    }  # fmt: skip
    try:
        card = json.loads(run.card.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        card = {}
    if card.get("schema") == CARD_SCHEMA:
        spans = card.get("validation_intervals", {})
        found = {k: [v, *spans.get(k, (None, None))] for k, v in card.get("validation", {}).items() if k in SHOWN}
        row |= {key: card.get(key) for key in ("model", "parameters", "steps", "exported_step")}
        return row | {"state": "finished", "validation": found, "stale": bool(row["test"]) and stale}
    steps = [int(m.group(1)) for p in run.checkpoints.glob("*/step-*") if (m := re.fullmatch(r"step-(\d{8})", p.name))]
    if steps:
        row["state"] = f"stopped at step {max(steps)}"
    return row | {"validation": _last_scores(run.history)}


def _last_scores(history: Path) -> dict[str, list[Any]]:
    """Validation figures of the last line of history.jsonl."""
    try:
        last = json.loads(history.read_text(encoding="utf-8").splitlines()[-1])
        return {key: [value, None, None] for key, value in last["val"].items() if key in SHOWN}
    except (OSError, ValueError, IndexError, KeyError):
        return {}


def lines(rows: Sequence[Mapping[str, Any]], test: Mapping[str, Any] | None) -> list[str]:
    """The table for a terminal; copy_t0 and the other rivals of the test set below the runs."""
    head = ["run", "model", "parameters", "steps", "state", "val skill [95 %]", "val PSNR"]
    head += ["test skill [95 %]", "test PSNR", "PSNR changed", "PSNR unchanged", "MAE", "SAM deg"]
    out = []
    for row in rows:
        parameters = f"{row['parameters']:,}" if isinstance(row["parameters"], int) else "-"
        steps = "-" if row["steps"] is None else f"{row['exported_step']}/{row['steps']}"
        state = row["state"] + (", test figures not current" if row["stale"] else "")
        cells = [row["name"], row["model"] or "-", parameters, steps, state]
        cells += [_cell(row["validation"], "skill_changed", 2, True), _cell(row["validation"], "psnr", 2)]
        out.append([*cells, *_test_cells(row["test"])])
    names = {row["name"] for row in rows}
    for method, figures in (test or {}).items():
        if method not in names:
            out.append([method, "rival", "-", "-", "-", "-", "-", *_test_cells(figures)])
    return aligned(head, out)


def _test_cells(figures: Mapping[str, Any]) -> list[str]:
    digits = {"mae": 4}
    return [_cell(figures, name, digits.get(name, 2), name == "skill_changed") for name in SHOWN]


def _cell(figures: Mapping[str, Any], name: str, digits: int, spanned: bool = False) -> str:
    value, low, high = figures.get(name) or (None, None, None)
    if value is None:
        return "-"
    text = f"{float(value):.{digits}f}"
    return (
        f"{text} [{float(low):.{digits}f}, {float(high):.{digits}f}]"
        if spanned and low is not None and high is not None
        else text
    )
