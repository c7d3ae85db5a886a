"""From the figures of all methods to one table: rows for CSV, lines for people, the winner by name. Plain data only."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any

from utils.science import strata

Table = dict[str, Any]
SCHEMA = "s2cr.scores/1"
RULES = ("vh_logratio", "all_burned", "none_burned")
CSV_COLUMNS = ("method", "kind", "truth", "part", "figure", "value", "low", "high")


def build(methods: Mapping[str, Mapping[str, Any]], runs: Sequence[str], facts: Mapping[str, Any]) -> Table:
    """The table as JSON data.

    methods  method -> its figures, in the order of the rows; {"skipped": reason} where it could not be judged
    """
    rasters = dict(methods.get("rasters", {})).get("rasters")
    rows = {}
    for name, figures in methods.items():
        if name != "rasters":
            kind = "run" if name in runs else "rule" if name in RULES else "baseline"
            rows[name] = {"kind": kind, **figures}
    table: Table = {"schema": SCHEMA, "facts": dict(facts), "methods": rows, "order": list(rows), "rasters": rasters}
    table["best"] = best(table)
    return table


def figure(table: Table, method: str, truth: str, stratum: str, name: str) -> float | None:
    """One image figure; None where it is not defined. The text "inf" becomes infinite."""
    value = table["methods"][method].get(truth, {}).get("strata", {}).get(stratum, {}).get(name)
    return float(value) if value is not None else None


def burned_figure(table: Table, method: str, truth: str, index: str, name: str) -> float | None:
    """One figure of a burned map; None where it is not defined."""
    value = table["methods"][method].get(truth, {}).get("burned", {}).get(index, {}).get(name)
    return float(value) if value is not None else None


def best(table: Table) -> dict[str, dict[str, str]]:
    """truth -> question -> the method with the largest figure, whoever that is."""
    found: dict[str, dict[str, str]] = {}
    for truth in truths(table):
        questions = {
            f"psnr_{s}": {m: figure(table, m, truth, s, "psnr") for m in table["order"]}
            for s in ("all", "changed", "unchanged")
        }
        questions["skill_changed"] = {m: figure(table, m, truth, "changed", "skill") for m in table["order"]}
        for index in indices(table):
            for name in ("f1", "kappa"):
                values = {m: burned_figure(table, m, truth, index, name) for m in table["order"]}
                questions[f"{name}_d{index.lower()}"] = values
        found[truth] = {}
        for question, values in questions.items():
            known = {method: value for method, value in values.items() if value is not None}
            if known:
                found[truth][question] = max(known, key=lambda method: known[method])
    return found


def truths(table: Table) -> tuple[str, ...]:
    """observed, and hidden where a hidden truth was given."""
    return ("observed", "hidden") if table["facts"].get("hidden_truth") else ("observed",)


def indices(table: Table) -> tuple[str, ...]:
    """Indices with burned maps, NDVI before NBR."""
    names = {i for row in table["methods"].values() for t in truths(table) for i in row.get(t, {}).get("burned", {})}
    return tuple(sorted(names, key=("NDVI", "NBR").index))


class Pieces(list[str]):
    """What csv.writer writes to: text in memory."""

    def write(self, text: str) -> None:
        self.append(text)


def csv_text(table: Table) -> str:
    """Long table: method, kind, truth, part (stratum or burned map), figure, value, low and high of 95 %.

    Strata by lag, source, land class and terrain are in strata_table.csv_text.
    """
    pieces = Pieces()
    writer = csv.writer(pieces, lineterminator="\n")
    writer.writerow([*CSV_COLUMNS, *(["note"] if table["facts"]["synthetic"] else [])])
    note = ["synthetic"] if table["facts"]["synthetic"] else []
    for method in table["order"]:
        row = table["methods"][method]
        for truth in truths(table):
            parts = {k: v for k, v in row.get(truth, {}).get("strata", {}).items() if not strata.kind_of(k)}
            parts |= {f"burned_d{i.lower()}": v for i, v in row.get(truth, {}).get("burned", {}).items()}
            for part, figures in parts.items():
                for name, value in figures.items():
                    if isinstance(value, int | float | str):
                        low, high = figures.get("interval", {}).get(name) or (None, None)
                        writer.writerow([method, row["kind"], truth, part, name, value, low, high, *note])
    return "".join(pieces)


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def span(
    table: Table, method: str, truth: str, part: str, name: str, digits: int, *, burned: bool = False,
    interval: bool = True,
) -> str:  # fmt: skip
    """A figure as text, with its 95 % interval where there is one; `-` where it is undefined."""
    group = table["methods"][method].get(truth, {}).get("burned" if burned else "strata", {}).get(part, {})
    value, limits = group.get(name), group.get("interval", {}).get(name)
    if value is None:
        return "-"
    text = f"{float(value):.{digits}f}"
    if interval and limits and None not in limits:
        text += f" [{float(limits[0]):.{digits}f}, {float(limits[1]):.{digits}f}]"
    return text


def image_rows(table: Table, truth: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the image scores, as text; copy_t0 first."""
    shown = [s for s in ("all", "changed", "unchanged", "burned", "under_cloud") if _has(table, truth, s)]
    skills = [s for s in ("changed", "changed_05", "burned", "under_cloud") if _has(table, truth, s)]
    plain = (("mae", "MAE", 4), ("rmse", "RMSE", 4), ("sam_deg", "SAM deg", 2), ("ssim", "SSIM", 3))
    head = ["method", *(f"skill {_words(s)} [95 %]" for s in skills), "skill unchanged"]
    head += [*(f"PSNR {_words(s)}" for s in shown), *(title for _, title, _ in plain)]
    rows = []
    for method in table["order"]:
        if figure(table, method, truth, "all", "mae") is None:
            continue
        row = [method, *(span(table, method, truth, stratum, "skill", 2) for stratum in skills)]
        row.append(_text(figure(table, method, truth, "unchanged", "skill"), 2))
        row += [_text(figure(table, method, truth, stratum, "psnr"), 2) for stratum in shown]
        row += [_text(figure(table, method, truth, "all", name), digits) for name, _, digits in plain]
        rows.append(row)
    return head, rows


def _words(stratum: str) -> str:
    return "changed > 0.05" if stratum == "changed_05" else stratum.replace("_", " ")


def _has(table: Table, truth: str, stratum: str) -> bool:
    return any((figure(table, method, truth, stratum, "pixels") or 0) > 0 for method in table["order"])


def burned_rows(table: Table, truth: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the burned-area scores, as text."""
    head = ["method"]
    for index in indices(table):
        head += [f"d{index} F1 [95 %]", f"d{index} IoU", f"d{index} kappa", f"d{index} area bias", f"d{index} slope"]
    rows = []
    for method in table["order"]:
        row = [method]
        for index in indices(table):
            row.append(span(table, method, truth, index, "f1", 2, burned=True))
            row += [_text(burned_figure(table, method, truth, index, n), 2) for n in ("iou", "kappa", "area_bias")]
            slope = table["methods"][method].get(truth, {}).get("burned", {}).get(index, {}).get("difference", {})
            row.append(_text(slope.get("slope"), 2))
        if set(row[1:]) != {"-"}:
            rows.append(row)
    return head, rows


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table with columns of equal width."""
    widths = [max(len(line[i]) for line in (head, *rows)) for i in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (head, *rows)
    ]


def lines(table: Table) -> list[str]:
    """The table for a terminal, with what was scored and who won."""
    facts = table["facts"]
    mark = " -- synthetic data" if facts["synthetic"] else ""
    out = []
    for truth in truths(table):
        against = "clear pixels of the observed t1" if truth == "observed" else "the hidden clear t1, under cloud too"
        out.append(f"Scores against {against}: {facts['samples']} {facts['set']} samples, {facts['pairs']} pairs{mark}")
        out += aligned(*image_rows(table, truth))
        if indices(table):
            out.append(f"Burned area against the map of {against}{mark}")
            out += aligned(*burned_rows(table, truth))
    for name, row in table["methods"].items():
        if "skipped" in row:
            out.append(f"{name}: not judged, {row['skipped']}")
    for key, summary in (table["rasters"] or {}).items():
        if summary["count"]:
            pixels = "all pixels" if key == "all" else "pixels clear at both dates"
            out.append(
                f"copy_t0 over whole images, {' '.join(summary['bands'])}, {pixels}, {summary['count']:.0f} pairs: mean MAE {summary['mean_mae']:.4f}, "
                f"pooled MAE {summary['pooled_mae']:.4f}, PSNR of the mean MSE {float(summary['psnr_mean_mse']):.2f} dB, "
                f"SAM {_text(summary['mean_sam_deg'], 2)} deg{mark}"
            )
    return out


def verdict(table: Table) -> str:
    """One sentence: who is best where it changed, and overall."""
    truth = truths(table)[-1]
    winners = table["best"].get(truth, {})
    parts = []
    for question, stratum, name, words in (
        ("skill_changed", "changed", "skill", "changed pixels: {} (change skill {:.2f}, copy_t0 0)"),
        ("psnr_all", "all", "psnr", "all pixels: {} ({:.2f} dB)"),
    ):
        value = figure(table, winners[question], truth, stratum, name) if question in winners else None
        if value is not None:
            parts.append("best on " + words.format(winners[question], value))
    return "; ".join(parts) + (" (synthetic)" if table["facts"]["synthetic"] else "")


def headline(table: Table) -> dict[str, Any]:
    """The few figures that go into the manifest."""
    rows = {}
    for method in table["order"]:
        rows[method] = {
            f"{truth}_{stratum}_{name}": figure(table, method, truth, stratum, name)
            for truth in truths(table)
            for stratum, name in (("all", "psnr"), ("changed", "psnr"), ("changed", "skill"), ("unchanged", "psnr"))
            if figure(table, method, truth, stratum, name) not in (None, float("inf"))
        }
    rasters = {key: {n: v for n, v in value.items() if n != "pairs"} for key, value in (table["rasters"] or {}).items()}
    return {"methods": rows, "rasters": rasters, "best": table["best"]}
