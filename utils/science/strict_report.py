"""From the sums of all folds to one table: figures with intervals, goals beside what was reached, text for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.science import metrics, strict_methods, strict_scores
from utils.science.strict_scores import Sums

Matrix = NDArray[np.float64]
Report = dict[str, Any]

SCHEMA = "s2cr.strict_report/1"
WORDS = {
    "copy_t0": "S2(t0) as it is",
    "linear_gain": "a gain and an offset of each band, clear dates only",
    "ridge_ctx": "ridge regression on context features, clear dates only",
    "histgbm_ctx": "boosted trees, context features, clear dates only",
    "no_s1": "trees on S2(t0) alone, no calendar, no radar",
    "season_only": "trees on S2(t0) and calendar, no radar",
    "histgbm_res": "trees on guided radar, S2(t0), scene, calendar",
    "res_no_calendar": "the same without calendar",
    "res_s1_frozen": "histgbm_res shown S1(t1) := S1(t0)",
    "res_no_calendar_s1_frozen": "the one without calendar shown S1(t1) := S1(t0)",
    "net_s1_frozen": "net_res shown S1(t1) := S1(t0)",
    "net_res": "small network on the features of histgbm_res",
    "trees_net": "mean of histgbm_res and net_res where its features are known, else histgbm_res",
    "trees_net_s1_frozen": "the same shown S1(t1) := S1(t0)",
    "histgbm_res_shrink": "histgbm_res times a constant fitted out of fold",
    "histgbm_bag": "mean of eight fits",
    "histgbm_bag_gated": "the same through a gate fitted out of fold",
    "ensemble": "mean of gated bag, season_only and histgbm_res",
    "ensemble_net": "mean of gated bag, season_only and trees_net",
}
FROM_FILES = "predictions from files (--predictions), of one run"
FROZEN = {**strict_methods.FROZEN, "trees_net_s1_frozen": "trees_net"}
CANDIDATES = ("trees_net", "histgbm_res", "net_res", "histgbm_bag_gated", "ensemble", "ensemble_net")


@dataclass(frozen=True)
class Goal:
    """What a place should reach; None = no goal."""

    gain_db: float
    changed: float
    changed_low: float | None = None
    unchanged: float | None = None
    above_season: bool = False
    radar: float = 0.05


GOALS = {
    "belgium": Goal(2.5, 0.50, changed_low=0.40, unchanged=-4.0),
    "0060c0a5": Goal(1.5, 0.40, above_season=True),
}


def build(
    place: str,
    sums: Mapping[str, Mapping[int, Sums]],
    facts: Mapping[str, Any],
    bands: int,
    draws: int,
    seed: int,
) -> Report:
    """Report of a place.

    sums   method -> seed -> sums over all folds; seeds are pooled: the figures are of the mean squared error
    facts  goes into the report as it is
    """
    pooled = {name: strict_scores.merged(list(by_seed.values())) for name, by_seed in sums.items()}
    copy = pooled["copy_t0"]
    methods = {}
    for name, own in pooled.items():
        found: dict[str, Any] = {"strata": strict_scores.figures(own, bands, draws, seed), "seeds": sorted(sums[name])}
        found["gain_db"] = difference(own, copy, "all", "psnr", bands, draws, seed)
        by_seed = [
            strict_scores.figures(one, bands, 0, seed)["changed"]["skill"]["value"] for one in sums[name].values()
        ]
        found["skill_changed_by_seed"] = by_seed
        methods[name] = found
    radar = {
        frozen: difference(pooled[own], pooled[frozen], "changed", "skill", bands, draws, seed)
        for frozen, own in FROZEN.items()
        if {frozen, own} <= set(pooled)
    }
    above = {
        name: difference(pooled[name], pooled["season_only"], "changed", "skill", bands, draws, seed)
        for name in CANDIDATES
        if {name, "season_only"} <= set(pooled)
    }
    report = {"schema": SCHEMA, "place": place, "methods": methods, "radar": radar, "above_season": above}
    return {**report, **facts, "goals": goals_of(place, report)}


def difference(
    first: Sums, second: Sums, stratum: str, figure: str, bands: int, draws: int, seed: int
) -> dict[str, float]:
    """Figure of the first minus that of the second with a 95 % interval; dates and blocks are drawn for both at once.

    raises  ValueError when the two were judged on different cells
    """
    if set(first[stratum]) != set(second[stratum]):
        raise ValueError("two methods were judged on different dates or blocks")
    cubes = [strict_scores.cube(sums[stratum]) for sums in (first, second)]
    value = [float(metrics.figures_of(table.sum(axis=(0, 1)), bands)[figure]) for table in cubes]
    drawn = [metrics.figures_of(strict_scores.drawn_totals(table, draws, seed), bands)[figure] for table in cubes]
    gap = drawn[0] - drawn[1]
    gap = gap[np.isfinite(gap)]
    low, high = np.percentile(gap, [2.5, 97.5]) if gap.size else (np.nan, np.nan)
    return {"value": value[0] - value[1], "low": float(low), "high": float(high)}


def goals_of(place: str, report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every goal of a place for every candidate: what, goal, reached, ok."""
    goal = GOALS.get(place)
    if goal is None:
        return []
    out = []

    def add(method: str, what: str, wanted: float, found: float, strictly: bool = False) -> None:
        ok = found > wanted if strictly else found >= wanted
        out.append({"method": method, "what": what, "goal": wanted, "reached": found, "ok": bool(ok)})

    for name in CANDIDATES:
        if name not in report["methods"]:
            continue
        own = report["methods"][name]
        changed, unchanged = own["strata"]["changed"]["skill"], own["strata"]["unchanged"]["skill"]
        add(name, "overall, dB above copy_t0", goal.gain_db, own["gain_db"]["value"])
        add(name, "skill on changed pixels", goal.changed, changed["value"])
        if goal.changed_low is not None:
            add(name, "its lower bound", goal.changed_low, changed["low"])
        if goal.unchanged is not None:
            add(name, "skill on unchanged pixels", goal.unchanged, unchanged["value"])
        if goal.above_season and name in report["above_season"]:
            add(name, "skill above season_only", 0.0, report["above_season"][name]["value"], strictly=True)
    for frozen, cost in report["radar"].items():
        add(frozen, "skill lost with S1(t1) := S1(t0)", goal.radar, cost["value"])
    return out


def _cell(figure: Mapping[str, float], digits: int) -> str:
    return f"{figure['value']:.{digits}f} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"


def table_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """Head and one row a method."""
    head = [
        "method",
        "PSNR, dB",
        "above copy_t0, dB",
        "S changed",
        "seeds",
        "S unchanged",
        "S change > 0.05",
        "SAM, deg",
    ]
    rows = [head]
    for name, own in report["methods"].items():
        strata = own["strata"]
        values = own["skill_changed_by_seed"]
        seeds = f"{min(values):.2f} to {max(values):.2f} ({len(values)})" if len(values) > 1 else str(len(values))
        rows.append(
            [
                name, _cell(strata["all"]["psnr"], 2), _cell(own["gain_db"], 2), _cell(strata["changed"]["skill"], 2),
                seeds, _cell(strata["unchanged"]["skill"], 1), _cell(strata["changed_05"]["skill"], 2),
                f"{strata['all']['sam_deg']['value']:.1f}",
            ]
        )  # fmt: skip
    return rows


def text_lines(report: Mapping[str, Any]) -> list[str]:
    """Table and goals for a terminal."""
    rows = table_rows(report)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return lines + [goal_line(goal) for goal in report["goals"]]


def goal_line(goal: Mapping[str, Any]) -> str:
    """One goal in words."""
    return f"{goal['method']}: {goal['what']} {goal['reached']:.2f} (goal {goal['goal']:g}) {'ok' if goal['ok'] else 'short'}"


PLACE_WORDS = {
    "histgbm_res": "absolute features",
    "relative": "features that identify no place, times a factor of at most 0.5",
    "relative_half": "the same times half of that factor: what a run does away from its training, with DOMAIN=outside",
    "by_range": "histgbm_res where scene means of S2(t0) lie in the range of the training, else relative: what the rule of scene means alone would do",
}


def place_rows(cases: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Head and one row a method of every case of a place left out."""
    rows = [
        [
            "training",
            "test",
            "method",
            "PSNR, dB",
            "above copy_t0, dB",
            "S changed",
            "S unchanged",
            "scene means in range",
        ]
    ]
    for case in cases:
        for name in ("copy_t0", *(known for known in PLACE_WORDS if known in case["methods"])):
            own = case["methods"][name]
            strata = own["strata"]
            rows.append(
                [
                    " + ".join(case["train"]), case["test"], name, f"{strata['all']['psnr']['value']:.2f}",
                    _cell(own["gain_db"], 2), _cell(strata["changed"]["skill"], 2), _cell(strata["unchanged"]["skill"], 1),
                    f"{case['pairs_inside']} of {case['pairs']}",
                ]
            )  # fmt: skip
    return rows


def places_markdown(cases: Sequence[Mapping[str, Any]]) -> str:
    """The section on places that no training saw."""
    rows, factors = place_rows(cases), ", ".join(f"{case['shrink']:.2f}" for case in cases)
    out = [
        "### Places left out", "",
        "A place that no training saw. Goal: never below copy_t0 overall; S on changed pixels at least 0.15 in another",
        "landscape. With one training place the factor of `relative` is 0.5; with more, leaving each out may lower it:",
        f"{factors} here.", "",
        "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0]),
        *("| " + " | ".join(row) + " |" for row in rows[1:]), "",
        *(f"- `{name}`: {words}" for name, words in PLACE_WORDS.items()),
    ]  # fmt: skip
    return "\n".join(out) + "\n"


def markdown(reports: Sequence[Mapping[str, Any]], picture: str, link: Callable[[Mapping[str, Any]], str]) -> str:
    """The section of the results page: a table and the goals of each place.

    picture  file name of the plot; link gives the provenance line of a report
    """
    out = [
        "One half of a place trains and the other tests, then the reverse, with an empty strip between; no training date",
        "lies within the guard of a tested t1. S = 1 - squared error / squared error of copy_t0. Brackets: 95 % of a",
        "bootstrap that draws t1 dates and blocks of the ground. Nothing was chosen on what tests: gate and shrink factor",
        "come from predictions of dates within the training.",
        "",
        f"![Skill on changed pixels, with intervals]({picture})",
    ]
    for report in reports:
        rows = table_rows(report)
        out += ["", f"### {report['title']}", "", link(report), ""]
        out += ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
        out += ["| " + " | ".join(row) + " |" for row in rows[1:]]
        if report["goals"]:
            out += ["", "| method | goal | asked | reached | |", "|---|---|---|---|---|"]
            out += [
                f"| {g['method']} | {g['what']} | {g['goal']:g} | {g['reached']:.2f} | {'ok' if g['ok'] else 'short'} |"
                for g in report["goals"]
            ]
    return "\n".join([*out, "", *_legend(reports)]) + "\n"


def _legend(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each method of the tables is."""
    networks, files = (
        [report.get("facts", {}).get(key, {}) for report in reports] for key in ("networks", "from_files")
    )
    out = []
    for name in dict.fromkeys(name for report in reports for name in report["methods"]):
        made = [found[name] for found in networks if name in found]
        told = next((found[name] for found in files if found.get(name)), "")
        words = (
            f"{FROM_FILES}{told and ': '}{told}"
            if any(name in found for found in files)
            else WORDS.get(name, FROM_FILES)
        )
        out.append(f"- `{name}`: {network_words(made) if made else words}")
    return out


def network_words(made: Sequence[Mapping[str, int]]) -> str:
    """How a network was trained, of one or several places."""

    def told(key: str) -> str:
        return " and ".join(dict.fromkeys(f"{one[key]:,}" for one in made))

    return (
        f"network of {told('parameters')} parameters, {told('steps')} steps of {told('batch')} crops of {told('side_px')} px"
        " on each fold, the last weights; nothing was chosen"
    )
