"""Figures of the real sample sets, read from the reports that `make results` has just written.

Copying t0 has a known error on each set: a difference means that reading, pairing, masks or scorer changed. The scores
of the trained model stand beside it without a limit: they are what they are.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from utils.science import score_table

ROOT = Path(__file__).parents[1]
# set, pixels, site, figure -> known value, tolerance: half a unit of the last digit, but for the set with a stated one
KNOWN: tuple[tuple[str, str, str | None, str, float, float], ...] = (
    ("belgium", "all", None, "mae", 0.0452, 0.0001),
    ("finland", "clear", "0060c0a5", "mae", 0.0266, 0.00005),
    ("finland", "clear", "0060c0a5", "psnr", 26.28, 0.005),
    ("finland", "clear", "0060c0a5", "sam_deg", 6.63, 0.005),
    ("finland", "clear", "000aa810", "mae", 0.0165, 0.00005),
    ("two_dates", "all", None, "mae", 0.0383, 0.00005),
    ("two_dates", "all", None, "psnr", 25.65, 0.005),
    ("two_dates", "all", None, "sam_deg", 11.45, 0.005),
)
UNITS = {"mae": "reflectance", "psnr": "dB", "sam_deg": "degrees"}


def _work(name: str) -> Path:
    from utils.workflow import config

    return config.layout_of(config.load(ROOT / f"confs/real_{name}.yaml")).work


def copy_figure(work: Path, pixels: str, site: str | None, figure: str) -> float:
    """Mean MAE, mean SAM or PSNR of the mean squared error of copying t0 over the pairs of a site (None = all)."""
    table = json.loads((work / "reports/evaluate.json").read_text(encoding="utf-8"))
    pairs = json.loads((work / "search/pairs.json").read_text(encoding="utf-8"))["pairs"]
    wanted = {pair["id"] for pair in pairs if site in (None, pair["site"])}
    found = [value for name, value in table["rasters"][pixels]["pairs"].items() if name in wanted]
    if figure == "psnr":
        return -10 * math.log10(sum(value["rmse"] ** 2 for value in found) / len(found))
    return float(sum(value[figure] for value in found) / len(found))


def _copies() -> list[dict[str, Any]]:
    out = []
    for name, pixels, site, figure, known, tolerance in KNOWN:
        value, label = copy_figure(_work(name), pixels, site, figure), "_".join(filter(None, (name, site, figure)))
        out += [
            {"name": f"{label}_copy_t0", "value": value, "unit": UNITS[figure], "limit": None, "better": "lower"},
            {"name": f"{label}_off_known", "value": abs(value - known), "unit": UNITS[figure], "limit": tolerance,
             "better": "lower"},
        ]  # fmt: skip
    return out


def _methods(name: str) -> list[dict[str, Any]]:
    """Overall PSNR and change skill of every method of a set."""
    table = json.loads((_work(name) / "reports/evaluate.json").read_text(encoding="utf-8"))
    truth = score_table.truths(table)[-1]
    out = []
    for method in table["order"]:
        for stratum, figure, unit in (("all", "psnr", "dB"), ("changed", "skill", "-")):
            value = score_table.figure(table, method, truth, stratum, figure)
            if value is not None:
                label = f"{name}_{method}_{figure}_{stratum}"
                out.append({"name": label, "value": value, "unit": unit, "limit": None, "better": "higher"})
    return out


def _strict(name: str) -> list[dict[str, Any]]:
    """Goals of the strict split beside what every candidate reached."""
    work = _work(name)
    path = work.parent / f"strict_{name}" / "reports/strict.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    return [
        {"name": f"strict_{name}_{goal['method']}_{'_'.join(goal['what'].replace(',', '').split())}",
         "value": goal["reached"], "unit": "dB" if "dB" in goal["what"] else "-", "limit": goal["goal"], "better": "higher"}
        for goal in report["goals"]
    ]  # fmt: skip


def _fires() -> list[dict[str, Any]]:
    """How far F1 of the maps of the real fires is from the known figures; nothing where S2CR_DATA has no fires."""
    from utils.io import fires
    from utils.science import fire_scores

    folder = Path(os.environ.get("S2CR_DATA", "")) / "fires"
    rows = []
    for name in fire_scores.REFERENCE if folder.is_dir() else ():
        fire = fires.read(folder, name)
        change = fire_scores.differences(fire.before, fire.after)
        rows += fire_scores.rows(name, change, fire.perimeter, fire.grid.pixel_area_m2())
    return [
        {"name": f"fires_{row['fire']}_{row['map'].split()[0]}_f1_off_known", "value": row["off"], "unit": "-",
         "limit": fire_scores.TOLERANCE, "better": "lower"}
        for row in rows if row["off"] is not None
    ]  # fmt: skip


def figures() -> list[dict[str, Any]]:
    """All figures; FileNotFoundError when `make results` has not run."""
    methods = [figure for name in ("belgium", "finland", "two_dates") for figure in _methods(name)]
    return _copies() + methods + _fires() + [figure for name in ("belgium", "finland") for figure in _strict(name)]
