"""Skill on changed pixels of every method with its interval, one panel a place. matplotlib without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.workflow.files import atomic_bytes

_INK, _MUTED, _GOAL = "#1f2a44", "#8a94a6", "#b3541e"
_LOWEST = -1.0  # intervals go on below, the axis does not


def skill_png(reports: Sequence[Mapping[str, Any]], goals: Mapping[str, float]) -> bytes:
    """PNG of all methods but copy_t0; goals: place -> skill asked for, drawn as a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    most = max(len(report["methods"]) for report in reports)
    figure = Figure(figsize=(4.6 * len(reports) + 1.4, 0.34 * most + 1.3), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(reports), sharex=True, squeeze=False)[0]
    for panel, report in zip(panels, reports, strict=True):
        _panel(panel, report, goals.get(report["place"]))
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _panel(panel: Any, report: Mapping[str, Any], goal: float | None) -> None:
    names = [name for name in report["methods"] if name != "copy_t0"]
    for place, name in enumerate(reversed(names)):
        skill = report["methods"][name]["strata"]["changed"]["skill"]
        colour = _MUTED if "frozen" in name else _INK
        panel.plot([max(skill["low"], _LOWEST), skill["high"]], [place, place], color=colour, linewidth=1.6)
        panel.plot([skill["value"]], [place], "o", color=colour, markersize=5)
    panel.set_yticks(range(len(names)), reversed(names), fontsize=8)
    panel.axvline(0.0, color=_MUTED, linewidth=0.8)
    if goal is not None:
        panel.axvline(goal, color=_GOAL, linewidth=1.0, linestyle=(0, (5, 3)), label=f"goal {goal:g}")
        panel.legend(loc="lower left", fontsize=7, frameon=False)
    panel.set_xlabel("S on changed pixels (0 = copy_t0), 95 %", fontsize=8)
    panel.tick_params(axis="x", labelsize=8)
    panel.set_title(report["title"], fontsize=9)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def write(path: Path, reports: Sequence[Mapping[str, Any]], goals: Mapping[str, float]) -> None:
    """Write the PNG whole or not at all."""
    atomic_bytes(path, skill_png(reports, goals))
