"""Scores, strata, burned area and uncertainty of report.html, from evaluate.json and the manifest of burned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scripts._context import Context
from scripts._page_provenance import card_of
from utils.io import html, html_chart
from utils.science import score_table, severity

Table = dict[str, Any]
FLOOR = -1.5  # skills below it become an arrow in the chart
SMALLER = ("MAE", "RMSE", "SAM deg")
INDICES = (("NDVI", "dNDVI"), ("NBR", "dNBR"))


def _mark(ctx: Context) -> str:
    return " (synthetic)" if ctx.conf.report.synthetic else ""


def _against(truth: str) -> str:
    return "the hidden clear t1, pixels under cloud too" if truth == "hidden" else "clear pixels of the observed t1"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def leading(cell: str) -> float | None:
    """The number that a cell starts with; None for a dash."""
    return None if cell in ("-", "") else float(cell.split(maxsplit=1)[0])


def best_cells(rows: Sequence[Sequence[str]], head: Sequence[str]) -> list[tuple[int, int]]:
    """The best cell of each column: smallest error, bias next to 0, slope next to 1, else the largest."""
    cells = []
    for column, title in enumerate(head[1:], start=1):
        found = {i: value for i, row in enumerate(rows) if (value := leading(row[column])) is not None}
        if title in SMALLER:
            found = {i: -value for i, value in found.items()}
        elif "bias" in title or "slope" in title:
            found = {i: -abs(value - ("slope" in title)) for i, value in found.items()}
        if found:
            target = max(found.values())
            cells += [(i, column) for i, value in found.items() if value == target]
    return cells


def scores(ctx: Context, table: Table) -> list[str]:
    """Charts and tables of all methods, copy_t0 first."""
    facts, mark = table["facts"], _mark(ctx)
    body = [
        html.paragraph(
            f"{facts['samples']} {facts['set']} samples of {_count(facts['pairs'], 'pair')} in {_count(facts['blocks'], 'block')}; rivals fitted on "
            f"{facts['train_samples']} training samples. Changed means a mean change over {facts['changed_threshold']} or "
            "|dNDVI| over 0.09 of the true pair. Skill is 1 minus squared error over that of copy_t0. Bold is best of its column.",
            "soft",
        ),
        _charts(table, mark),
    ]
    for truth in reversed(score_table.truths(table)):
        head, rows = score_table.image_rows(table, truth)
        title = f"Image, against {_against(truth)}{mark}"
        body += [f"<h3>{title}</h3>", html.table(head, rows, best=best_cells(rows, head), label=title)]
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
        f"Dots are values against {_against(truth)}, lines their 95 % intervals; runs of this project in the warm colour, rivals in "
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


def strata(ctx: Context, table: Table) -> list[str]:
    """Every stratum that evaluate found, a row each, with the skill and the error of every method."""
    body = []
    for truth in reversed(score_table.truths(table)):
        methods = [m for m in table["order"] if table["methods"][m].get(truth, {}).get("strata")]
        names = list(dict.fromkeys(s for m in methods for s in table["methods"][m][truth]["strata"]))
        rows = {"skill": [], "mae": []}  # type: dict[str, list[list[str]]]
        for name in names:
            found = [table["methods"][m][truth]["strata"].get(name, {}) for m in methods]
            pixels = max((float(f.get("pixels") or 0) for f in found), default=0.0)
            blocks = max((float(f.get("blocks") or 0) for f in found), default=0.0)
            if pixels:
                start = [name.replace("_", " "), f"{pixels:.0f}", f"{blocks:.0f}"]
                rows["skill"].append([*start, *(_span(f, "skill", 2) for f in found)])
                rows["mae"].append([*start, *(_span(f, "mae", 4) for f in found)])
        if not rows["skill"]:
            continue
        head, mark = ["stratum", "pixels", "blocks", *methods], _mark(ctx)
        title = f"Skill [95 %] by stratum, against {_against(truth)}{mark}"
        best = {key: _best_of_rows(found, 3, largest=key == "skill") for key, found in rows.items()}
        body += [f"<h3>{title}</h3>", html.table(head, rows["skill"], best=best["skill"], label=title)]
        title = f"Mean absolute error [95 %] by stratum, against {_against(truth)}{mark}"
        body.append(html.details(title, html.table(head, rows["mae"], best=best["mae"], label=title)))
    words = "Strata are of the true pair, so that no method chooses its own. Bold is best of its row."
    return [html.paragraph(words, "soft"), *body] if body else []


def _best_of_rows(rows: Sequence[Sequence[str]], start: int, largest: bool) -> list[tuple[int, int]]:
    cells = []
    for i, row in enumerate(rows):
        found = {j: v if largest else -v for j in range(start, len(row)) if (v := leading(row[j])) is not None}
        cells += [(i, j) for j, value in found.items() if value == max(found.values())]
    return cells


def _span(figures: Mapping[str, Any], name: str, digits: int) -> str:
    """value [low, high] of a figure and its interval; a dash where it is undefined."""
    value, interval = figures.get(name), (figures.get("interval") or {}).get(name)
    if value is None:
        return "-"
    text = f"{float(value):.{digits}f}"
    if isinstance(interval, list | tuple) and len(interval) == 2 and None not in interval:
        text += f" [{float(interval[0]):.{digits}f}, {float(interval[1]):.{digits}f}]"
    return text


def burned(ctx: Context, table: Table) -> list[str]:
    """Hectares of the shown pairs; then how well the burned map and the severity classes of the test samples agree."""
    body, mark = _areas(ctx), _mark(ctx)
    for truth in reversed(score_table.truths(table)) if score_table.indices(table) else ():
        head, rows = score_table.burned_rows(table, truth)
        title = f"Burned or not, against the map of {_against(truth)}{mark}"
        body += [f"<h3>{title}</h3>", html.table(head, rows, best=best_cells(rows, head), label=title)]
        for index, label in INDICES:
            head, rows = _severity_rows(table, truth, index)
            if rows:
                title = f"Severity classes from {label}, against {_against(truth)}{mark}"
                body.append(html.details(title, html.table(head, rows, best=best_cells(rows, head), label=title)))
    return body


def _severity_rows(table: Table, truth: str, index: str) -> tuple[list[str], list[list[str]]]:
    """Agreement of the classes: overall, weighted kappa, off by one, and recall of each class."""
    found = {
        method: figures
        for method in table["order"]
        if (figures := table["methods"][method].get(truth, {}).get("burned", {}).get(index, {}).get("severity"))
    }
    classes = list(next(iter(found.values()))["recall"]) if found else []
    head = ["method", "overall", "weighted kappa", "off by one", *(f"recall {c.replace('_', ' ')}" for c in classes)]
    rows = []
    for method, figures in found.items():
        values = [figures.get(n) for n in ("oa", "kappa_quadratic", "off_by_one")] + [
            figures["recall"].get(c) for c in classes
        ]
        rows.append([method, *("-" if v is None else f"{float(v):.2f}" for v in values)])
    return head, rows


def _areas(ctx: Context) -> list[str]:
    """Hectares per map and class."""
    mark, body = _mark(ctx), []
    done = {name: item["data"] for name, item in ctx.results("burned").items() if item["status"] == "done"}
    order = ["hidden", "truth", *(run.name for run in ctx.conf.train.runs)]
    items = {
        name: done[name] for name in sorted(done, key=lambda n: (n.split("/")[-1], _place(order, n.split("/")[0])))
    }
    for index, title in (("dndvi", "dNDVI"), ("dnbr", "dNBR")):
        found = {name: data[index] for name, data in items.items() if index in data}
        if not found:
            continue
        names = severity.SEVERITY_NAMES if index == "dndvi" else severity.DNBR_NAMES
        classes = next(iter(found.values()))["class_ha"]
        words = (
            [f"{name.replace('_', ' ')} ha" for name in names]
            if len(names) == len(classes)
            else [f"class {i} ha" for i in range(len(classes))]
        )
        rows = [
            [_map_words(name), _span(data, "burned_ha", 1), *(f"{value:.1f}" for value in data["class_ha"])]
            for name, data in found.items()
        ]
        text = f"Hectares from {title}{mark}"
        body += [f"<h3>{text}</h3>", html.table(["map", "burned ha", *words], rows, label=text)]
        body += _area_intervals(found, title, mark)
    return body


ESTIMATES = ("clustered", "stratified", "bootstrap")


def _area_intervals(found: Mapping[str, Mapping[str, Any]], title: str, mark: str) -> list[str]:
    """Burned hectares of each map by every estimator that stage burned could use; empty where there is none."""
    rows, said = [], []
    for name, data in found.items():
        judged, expected = data.get("reference", {}), data.get("expected", {})
        made = [judged.get("burned", {}).get(one) for one in ESTIMATES] + [expected.get("burned")]
        cells = [_hectares(one[1]) if isinstance(one, list) else "-" for one in made]
        true = judged.get("true_ha")
        if set(cells) != {"-"}:
            rows.append([_map_words(name), f"{data['burned_ha']:.1f}", *cells, "-" if true is None else f"{true:.1f}"])
        why = [judged.get("missing"), *(one for one in made if isinstance(one, str)), expected.get("errors")]
        said += [f"{_map_words(name)}: {text}" for text in why if text]
    if not rows:
        return []
    head = [
        "map",
        "counted ha",
        "blocks ha [95 %]",
        "stratified ha [95 %]",
        "bootstrap ha [95 %]",
        "from sigma ha [95 %]",
        "true ha",
    ]
    text = f"Burned hectares from {title} with 95 % intervals{mark}"
    words = (
        "Counted: pixels of the map. Blocks, stratified, bootstrap: corrected by the true map on test ground. From sigma: expected, from "
        "the probabilities of all pixels, without any truth."
    )
    notes = [html.details("Notes on the intervals", html.bullets(said))] if said else []
    return [f"<h3>{text}</h3>", html.paragraph(words, "soft"), html.table(head, rows, label=text), *notes]


def _hectares(one: Mapping[str, Any]) -> str:
    """12.3 [10.1, 14.6] of an area with bounds."""
    if one["low_ha"] is None or one["high_ha"] is None:
        return f"{one['ha']:.1f}"
    return f"{one['ha']:.1f} [{one['low_ha']:.1f}, {one['high_ha']:.1f}]"


def _place(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _map_words(name: str) -> str:
    """hidden/p001 -> p001, hidden truth."""
    run, _, pair = name.rpartition("/")
    return f"{pair}, " + {"hidden": "hidden truth", "truth": "observed t1 where clear"}.get(run, run)


def uncertainty(ctx: Context, table: Table) -> list[str]:
    """Coverage of the expected errors and how well they sort, from the cards of runs that predict a sigma."""
    rows = []
    for run in ctx.conf.train.runs:
        for name, found in card_of(ctx, run.name).get("uncertainty", {}).get("strata", {}).items():
            figures = [found["coverage"].get("68"), found["coverage"].get("95"), found["ause"], found["ause_constant"]]
            rows.append([run.name, name, str(found["pixels"]), *("-" if v is None else f"{v:.3f}" for v in figures)])
    if not rows:
        return []
    head = ["run", "validation pixels", "number", "within 68 %", "within 95 %", "AUSE", "AUSE of one sigma"]
    text = (
        "A right sigma holds 68 and 95 % of the errors. AUSE is the area between sorting by sigma and sorting by the error "
        "itself: 0 is perfect, and it must be below that of one sigma for all."
    )
    return [html.paragraph(text, "soft"), html.table(head, rows, label="Coverage of the expected errors")]
