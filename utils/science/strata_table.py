"""Second table of evaluate: every stratum with its pixels and blocks, copy_t0 beside every method; and sigma judged."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any

from utils.science import strata
from utils.science.score_table import Pieces, Table, aligned, figure, span, truths

CSV_COLUMNS = (
    "truth", "stratum", "kind", "method", "pixels", "blocks", "figure", "value", "low", "high", "copy_t0",
)  # fmt: skip
CSV_FIGURES = ("skill", "psnr", "mae", "rmse", "sam_deg", "bias", "ergas", "ssim")
COVERED, WITHIN = {"68": 0.683, "95": 0.95}, 0.05  # wanted shares, and how far they may miss
SIGMA_KINDS = ("", "source")
PAIR_WORDS = {"changed_05": "changed > 0.05", "unchanged_05": "unchanged <= 0.05", "under_cloud": "under cloud"}


def strata_of(table: Table, truth: str) -> list[str]:
    """Strata with a pixel, in order."""
    names: dict[str, None] = {}
    for row in table["methods"].values():
        for name, figures in row.get(truth, {}).get("strata", {}).items():
            if figures.get("pixels"):
                names[name] = None
    return strata.order_of(names)


def words(stratum: str, facts: Mapping[str, Any]) -> str:
    """A stratum for people."""
    if stratum in ("changed", "unchanged"):
        sign = ">" if stratum == "changed" else "<="
        return f"{stratum} {sign} {facts['changed_threshold']:g} or dNDVI"
    return PAIR_WORDS.get(stratum, stratum.replace(":", " ", 1))


def rows(table: Table, truth: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows, one a stratum: n, error of copy_t0, change skill of every method but copy_t0, intervals for runs."""
    methods = [m for m in table["order"] if m != "copy_t0" and figure(table, m, truth, "all", "mae") is not None]
    head = ["stratum", "pixels", "blocks", "copy_t0 PSNR", "copy_t0 MAE", *(f"skill {name}" for name in methods)]
    out = []
    for name in strata_of(table, truth):
        values = [figure(table, "copy_t0", truth, name, key) for key in ("pixels", "blocks", "psnr", "mae")]
        shown = ["-" if v is None else f"{v:.{digits}f}" for v, digits in zip(values, (0, 0, 2, 4), strict=True)]
        skills = []
        for method in methods:
            with_interval = table["methods"][method]["kind"] == "run"
            skills.append(span(table, method, truth, name, "skill", 2, interval=with_interval))
        out.append([words(name, table["facts"]), *shown, *skills])
    return head, out


def sigma_rows(table: Table, truth: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the judged sigmas: coverage and what is wanted, AUSE beside that of one sigma for all pixels.

    By the true pair and by source; the other strata are in csv_text
    """
    head = ["run", "stratum", "values", "within 1 sigma [95 %]", "within the interval of 95 % [95 %]", "AUSE", "AUSE constant",
            "rms error", "rms sigma", "verdict"]  # fmt: skip
    out = []
    for method in table["order"]:
        found = table["methods"][method].get(truth, {}).get("sigma", {})
        for name in [name for name in strata.order_of(found) if strata.kind_of(name) in SIGMA_KINDS]:
            own = found[name]
            cells = [_share(own, level) for level in COVERED]
            numbers = [f"{float(own[key]):.{digits}f}" for key, digits in
                       (("ause", 4), ("ause_constant", 4), ("rmse", 4), ("sigma", 4))]  # fmt: skip
            out.append([
                method, words(name, table["facts"]), f"{own['values']:.0f}", *cells, *numbers, sigma_verdict(own),
            ])  # fmt: skip
    return head, out


def _share(own: Mapping[str, Any], level: str) -> str:
    low, high = own["interval"][level]
    text = f"{100 * own['coverage'][level]:.1f} %"
    return text if low is None else f"{text} [{100 * low:.1f}, {100 * high:.1f}]"


def sigma_verdict(own: Mapping[str, Any]) -> str:
    """What is wrong with a sigma, in words: a share that misses by more than 5 points, or a worse order than none."""
    said = []
    if any(own["coverage"][level] < wanted - WITHIN for level, wanted in COVERED.items()):
        said.append("too small")
    if any(own["coverage"][level] > wanted + WITHIN for level, wanted in COVERED.items()):
        said.append("too large")
    if own["ause"] is not None and own["ause"] >= own["ause_constant"]:
        said.append("sorts no better than one sigma for all")
    return ", ".join(said) or "ok"


def notes(table: Table) -> list[str]:
    """What has to be said about single methods."""
    found = [f"{name}: {row['note']}" for name, row in table["methods"].items() if row.get("note")]
    for truth in truths(table):
        for name in table["order"]:
            missing = table["methods"][name].get(truth, {}).get("missing_pixels")
            if missing:
                found.append(
                    f"{name}: {missing} pixels of the {truth} t1 have no prediction; they are in no score of {name}"
                )
    return found


def lines(table: Table) -> list[str]:
    """Both tables for a terminal."""
    mark = " -- synthetic data" if table["facts"]["synthetic"] else ""
    out = []
    for truth in truths(table):
        out.append(f"Change skill by stratum against the {truth} t1 (1 - squared error / that of copy_t0){mark}")
        out += aligned(*rows(table, truth))
        head, judged = sigma_rows(table, truth)
        if judged:
            out.append(
                f"Predicted sigma against the {truth} t1: 68.3 and 95.0 % are wanted within one sigma and the interval of 95 %, "
                f"{100 * WITHIN:.0f} points either way{mark}"
            )
            out += aligned(head, judged)
    return out + notes(table)


def csv_text(table: Table) -> str:
    """Long table of all strata: one line a truth, stratum, method and figure, copy_t0's value of it beside."""
    note = ["synthetic"] if table["facts"]["synthetic"] else []
    pieces = Pieces()
    writer = csv.writer(pieces, lineterminator="\n")
    writer.writerow([*CSV_COLUMNS, *(["note"] if note else [])])
    for truth in truths(table):
        for stratum in strata_of(table, truth):
            for method in table["order"]:
                judged = table["methods"][method].get(truth, {})
                found = judged.get("strata", {}).get(stratum)
                if found:
                    _write(writer, table, (truth, stratum, method), found, note)
                    _write_sigma(writer, (truth, stratum, method), found, judged.get("sigma", {}).get(stratum), note)
    return "".join(pieces)


def _write(writer: Any, table: Table, at: tuple[str, str, str], found: Mapping[str, Any], note: Sequence[str]) -> None:
    truth, stratum, method = at
    copied = table["methods"].get("copy_t0", {}).get(truth, {}).get("strata", {}).get(stratum, {})
    head = [truth, stratum, strata.kind_of(stratum) or "pair", method, found["pixels"], found["blocks"]]
    for name in CSV_FIGURES:
        if found.get(name) is not None:
            low, high = found.get("interval", {}).get(name) or (None, None)
            writer.writerow([*head, name, found[name], low, high, copied.get(name), *note])


def _write_sigma(
    writer: Any, at: tuple[str, str, str], found: Mapping[str, Any], own: Mapping[str, Any] | None, note: Sequence[str]
) -> None:
    """Lines of a judged sigma; copying has none."""
    if not own:
        return
    truth, stratum, method = at
    head = [truth, stratum, strata.kind_of(stratum) or "pair", method, found["pixels"], found["blocks"]]
    for level in COVERED:
        low, high = own["interval"][level]
        writer.writerow([*head, f"coverage_{level}", own["coverage"][level], low, high, None, *note])
    for name in ("ause", "ause_constant", "sigma"):
        writer.writerow([*head, name, own[name], None, None, None, *note])
