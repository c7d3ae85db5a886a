"""Scores, strata and uncertainty of report.html, from evaluate.json and the model cards."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from scripts._context import Context
from scripts._page_provenance import card_of
from scripts._page_tables import Table, against, best_cells, count, leading, span, synthetic
from utils.io import html, html_chart
from utils.science import score_table

FLOOR = -1.5  # skills below it become an arrow in the chart
FIRST = ("all", "changed", "unchanged", "changed_05", "unchanged_05", "burned", "unburned", "under_cloud")
SECTORS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW", "flat")
WORDS = {"changed_05": "changed over 0.05", "unchanged_05": "changed up to 0.05"}


def scores(ctx: Context, table: Table) -> list[str]:
    """Charts and tables of all methods, copy_t0 first."""
    facts, mark = table["facts"], synthetic(ctx)
    body = [
        html.paragraph(
            f"{facts['samples']} {facts['set']} samples of {count(facts['pairs'], 'pair')} in {count(facts['blocks'], 'block')}; rivals fitted on "
            f"{facts['train_samples']} training samples. Changed means a mean change over {facts['changed_threshold']} or "
            "|dNDVI| over 0.09 of the true pair. Skill is 1 minus squared error over that of copy_t0. Bold is best of its column.",
            "soft",
        ),
        _charts(table, mark),
    ]
    for truth in reversed(score_table.truths(table)):
        head, rows = score_table.image_rows(table, truth)
        title = f"Image, against {against(truth)}{mark}"
        body += [f"<h3>{title}</h3>", html.table(head, rows, best=best_cells(rows, head), label=title)]
    notes = [f"{name}: {row['note']}." for name, row in table["methods"].items() if row.get("note")]
    body += [html.paragraph(text, "soft") for text in notes]
    left = [f"{name}: {row['skipped']}" for name, row in table["methods"].items() if "skipped" in row]
    if left:
        body.append(html.paragraph("Not judged: " + "; ".join(left), "soft"))
    return body + _rasters(table, mark)


def _charts(table: Table, mark: str) -> str:
    """Skill on changed and unchanged pixels, and F1 of the burned map, with their intervals."""
    truth = score_table.truths(table)[-1]
    drawn = [
        html_chart.intervals(
            f"Skill on {words} pixels{mark}", _marks(table, truth, "strata", part, "skill"), floor=FLOOR
        )
        for part, words in (("changed", "changed"), ("unchanged", "unchanged"))
    ]
    for index in score_table.indices(table)[-1:]:
        drawn.append(
            html_chart.intervals(f"F1 of the burned map, d{index}{mark}", _marks(table, truth, "burned", index, "f1"))
        )
    text = (
        f"Dots are values against {against(truth)}, lines their 95 % intervals; runs of this project in the warm colour, rivals in "
        "the blue one. The dashed line is copying t0 for skill, and nothing found for F1."
    )
    return html.paragraph(text, "soft") + f"<div class=charts>{''.join(drawn)}</div>"


def _marks(table: Table, truth: str, group: str, part: str, name: str) -> list[html_chart.Mark]:
    marks = []
    for method in table["order"]:
        row = table["methods"][method]
        figures = row.get(truth, {}).get(group, {}).get(part, {})
        if figures.get(name) is None or not math.isfinite(float(figures[name])):
            continue
        low, high = (None if v is None else float(v) for v in figures.get("interval", {}).get(name) or (None, None))
        marks.append(html_chart.Mark(method, float(figures[name]), low, high, row["kind"] == "run"))
    return marks


def _rasters(table: Table, mark: str) -> list[str]:
    rows = []
    for key, summary in (table["rasters"] or {}).items():
        if summary["count"]:
            label = "all pixels" if key == "all" else "clear at both dates"
            figures = [f"{float(summary[name]):.4f}" for name in ("mean_mae", "pooled_mae")]
            sam = "-" if summary["mean_sam_deg"] is None else f"{summary['mean_sam_deg']:.2f}"
            psnr = f"{float(summary['psnr_mean_mse']):.2f}"
            rows.append([label, " ".join(summary["bands"]), f"{summary['count']:.0f}", *figures, psnr, sam])
    if not rows:
        return []
    title = f"Copying t0 over whole images{mark}"
    head = ["pixels", "bands", "pairs", "mean MAE", "pooled MAE", "PSNR of mean MSE", "mean SAM deg"]
    return [f"<h3>{title}</h3>", html.table(head, rows, label=title)]


def stratum_words(name: str) -> str:
    """Name of a stratum for people."""
    return WORDS.get(name, name.replace("_", " ").replace(":", ": "))


def ordered(names: set[str]) -> list[str]:
    """Strata of the true pair in a fixed order, then those of a kind (lag, source, class, slope ...) by their figures."""

    def place(name: str) -> tuple[int, str, list[tuple[int, str]]]:
        first = FIRST.index(name) if name in FIRST else len(FIRST)
        kind, _, label = name.partition(":")
        if label in SECTORS:
            return first, kind, [(SECTORS.index(label), "")]
        return first, kind, [(int(digits or 0), word) for digits, word in re.findall(r"(\d+)|(\D+)", label)]

    return sorted(names, key=place)


STRATA = (("skill", "Skill", 2), ("mae", "Mean absolute error", 4))


def strata(ctx: Context, table: Table) -> list[str]:
    """Every stratum that evaluate found, a row each, with the skill and the error of every method.

    Those of a kind (lag, source, land class, slope, aspect) and the errors are folded
    """
    body = []
    for truth in reversed(score_table.truths(table)):
        methods = [m for m in table["order"] if table["methods"][m].get(truth, {}).get("strata")]
        names = ordered({s for m in methods for s in table["methods"][m][truth]["strata"]})
        for figure, words, digits in STRATA:
            for is_kind, kinds in ((False, "stratum"), (True, "kind of ground, lag and source")):
                chosen = [name for name in names if (":" in name) == is_kind]
                rows = _strata_rows(table, truth, methods, chosen, figure, digits)
                if not rows:
                    continue
                title = f"{words} [95 %] by {kinds}, against {against(truth)}{synthetic(ctx)}"
                best = _best_of_rows(rows, 3, largest=figure == "skill")
                shown = html.table(["stratum", "pixels", "blocks", *methods], rows, best=best, label=title)
                is_open = figure == "skill" and not is_kind
                body += [f"<h3>{title}</h3>", shown] if is_open else [html.details(title, shown)]
    said = "Strata are of the true pair, so that no method chooses its own. Bold is best of its row."
    return [html.paragraph(said, "soft"), *body] if body else []


def _strata_rows(
    table: Table, truth: str, methods: Sequence[str], names: Sequence[str], figure: str, digits: int
) -> list[list[str]]:
    """Name, pixels, blocks and a figure of each method with its interval; strata without a pixel are left out."""
    rows = []
    for name in names:
        found = [table["methods"][m][truth]["strata"].get(name, {}) for m in methods]
        pixels, blocks = (max((float(f.get(key) or 0) for f in found), default=0.0) for key in ("pixels", "blocks"))
        if pixels:
            rows.append(
                [stratum_words(name), f"{pixels:.0f}", f"{blocks:.0f}", *(span(f, figure, digits) for f in found)]
            )
    return rows


def _best_of_rows(rows: Sequence[Sequence[str]], start: int, largest: bool) -> list[tuple[int, int]]:
    cells = []
    for i, row in enumerate(rows):
        found = {j: v if largest else -v for j in range(start, len(row)) if (v := leading(row[j])) is not None}
        if len(set(found.values())) > 1:
            cells += [(i, j) for j, value in found.items() if value == max(found.values())]
    return cells


def uncertainty(ctx: Context, table: Table) -> list[str]:
    """Coverage of the expected errors and how well they sort: on test ground by evaluate, on validation ground by the cards."""
    rows = []
    for run in ctx.conf.train.runs:
        for truth in reversed(score_table.truths(table)):
            judged = table["methods"].get(run.name, {}).get(truth, {}).get("sigma", {})
            rows += [[run.name, f"test, {truth} t1", *_coverage(name, judged[name])] for name in ordered(set(judged))]
        found = card_of(ctx, run.name).get("uncertainty", {}).get("strata", {})
        rows += [[run.name, "validation", *_coverage(name, figures)] for name, figures in found.items()]
    if not rows:
        return []
    head = ["run", "ground", "stratum", "within 68 % [95 %]", "within 95 % [95 %]", "AUSE", "AUSE of one sigma"]
    text = (
        "A right sigma holds 68 and 95 % of the errors. AUSE is the area between sorting by sigma and sorting by the error "
        "itself: 0 is perfect, and it must be below that of one sigma for all. In strata that the truth makes (changed, burned) "
        "errors gather that nobody could foresee."
    )
    title = f"Coverage of the expected errors{synthetic(ctx)}"
    return [html.paragraph(text, "soft"), html.table(head, rows, label=title)]


def _coverage(name: str, figures: Mapping[str, Any]) -> list[str]:
    """Stratum, shares within 68 and 95 %, and both AUSE, as text."""
    shares = [span({**figures["coverage"], "interval": figures.get("interval")}, level, 3) for level in ("68", "95")]
    return [
        stratum_words(name),
        *shares,
        *("-" if v is None else f"{v:.3f}" for v in (figures["ause"], figures["ause_constant"])),
    ]
