"""Burned area of report.html: hectares with intervals, agreement of the burned map and of the severity classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scripts._context import Context
from scripts._page_tables import Table, against, best_cells, span, synthetic
from utils.io import html
from utils.science import score_table, severity

INDICES = (("NDVI", "dNDVI"), ("NBR", "dNBR"))
ESTIMATES = ("clustered", "stratified", "bootstrap")


def burned(ctx: Context, table: Table) -> list[str]:
    """Hectares of the shown pairs; then how well the burned map and the severity classes of the test samples agree."""
    body, mark = _areas(ctx), synthetic(ctx)
    for truth in reversed(score_table.truths(table)) if score_table.indices(table) else ():
        head, rows = score_table.burned_rows(table, truth)
        title = f"Burned or not, against the map of {against(truth)}{mark}"
        body += [f"<h3>{title}</h3>", html.table(head, rows, best=best_cells(rows, head), label=title)]
        for index, label in INDICES:
            head, rows = _severity_rows(table, truth, index)
            if rows:
                title = f"Severity classes from {label}, against {against(truth)}{mark}"
                body.append(html.details(title, html.table(head, rows, best=best_cells(rows, head), label=title)))
    return body


def _severity_rows(table: Table, truth: str, index: str) -> tuple[list[str], list[list[str]]]:
    """Agreement of the classes: overall, weighted kappa, off by one, and recall of each class."""
    found = {
        method: figures
        for method in table["order"]
        if (figures := table["methods"][method].get(truth, {}).get("burned", {}).get(index, {}).get("severity"))
    }
    known = list(next(iter(found.values()))["recall"]) if found else []
    order = severity.SEVERITY_NAMES if index == "NDVI" else severity.DNBR_NAMES
    classes = [name for name in order if name in known] or known
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
    mark, body = synthetic(ctx), []
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
            [_map_words(name), span(data, "burned_ha", 1), *(f"{value:.1f}" for value in data["class_ha"])]
            for name, data in found.items()
        ]
        text = f"Hectares from {title}{mark}"
        body += [f"<h3>{text}</h3>", html.table(["map", "burned ha", *words], rows, label=text)]
        body += _area_intervals(found, title, mark)
    return body


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
        if "map_ha" in expected:
            said.append(
                f"{_map_words(name)}: from sigma, on the ground of {expected['of']} that has one; {expected['map_ha']:.1f} ha are counted there"
            )
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
