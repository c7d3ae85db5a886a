"""The parts of report.html, in order: verdict and warnings, maps, scores, areas, split, provenance, limits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import Any

from scripts import _page_burned, _page_limits, _page_provenance, _page_scores
from scripts._context import Context
from scripts._layers import PairViews, View
from scripts._layers_maps import all_views, main_views
from utils.io import html, html_viewer, pictures
from utils.science import score_table
from utils.science.grid import Grid, Window
from utils.science.reduced import busiest
from utils.workflow.errors import InputError

QUALITIES = (80, 65, 50, 35)  # of photographs, tried in turn until the page is small enough
TEXT_BYTES = 700_000  # what a page holds besides its pictures


def parts(ctx: Context) -> list[str]:
    """HTML of the page body, in order."""
    table = _json(ctx, "reports/evaluate.json")
    warnings = _page_limits.warnings(ctx, table)
    sections = [
        ("Maps", _maps(ctx)),
        ("Scores", _page_scores.scores(ctx, table)),
        ("Strata", _page_scores.strata(ctx, table)),
        ("Burned area and severity", _page_burned.burned(ctx, table)),
        ("Uncertainty", _page_scores.uncertainty(ctx, table)),
        ("Limits", _page_limits.limits(ctx, warnings)),
        ("Split", _page_provenance.split(_json(ctx, "dataset/split.json"))),
        ("Provenance", _page_provenance.provenance(ctx)),
    ]
    shown = [(title, body) for title, body in sections if body]
    return [
        *_verdict(ctx, table, warnings),
        html.contents([title for title, _ in shown]),
        *(html.section(title, *body) for title, body in shown),
    ]


def _json(ctx: Context, name: str) -> dict[str, Any]:
    path = ctx.layout.work / name
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}.", "Run the stage that writes it again.") from error


def _verdict(ctx: Context, table: dict[str, Any], warnings: list[str]) -> list[str]:
    """Who is best, said first, whoever it is; then what speaks against trusting it."""
    truth = score_table.truths(table)[-1]
    best = table["best"].get(truth, {})
    words = "the hidden clear image" if truth == "hidden" else "the clear pixels of the observed image"
    said = []
    if "skill_changed" in best:
        value = score_table.figure(table, best["skill_changed"], truth, "changed", "skill")
        said.append(f"On changed pixels {best['skill_changed']} is best (skill {value:.2f}; copying t0 is 0).")
    if "psnr_all" in best:
        values = [score_table.figure(table, name, truth, "all", "psnr") for name in (best["psnr_all"], "copy_t0")]
        if values[0] is not None and values[1] is not None:
            said.append(f"Over all pixels {best['psnr_all']} is best ({values[0]:.2f} dB; copy_t0 {values[1]:.2f} dB).")
    for question, label in (("f1_dnbr", "dNBR"), ("f1_dndvi", "dNDVI")):
        if question in best:
            score = score_table.burned_figure(table, best[question], truth, label.removeprefix("d"), "f1")
            said.append(f"The burned area of {label} is mapped best by {best[question]} (F1 {score:.2f}).")
            break
    lead = f"Measured on test samples that no training saw, against {words}. " + " ".join(said)
    start = "Data, images and maps on this page are generated, not observed. " if ctx.conf.report.synthetic else ""
    purpose = "The cloud-free Sentinel-2 image of t1, simulated from Sentinel-1 of both dates and Sentinel-2 of t0."
    warned = [html.paragraph(text, "warn") for text in warnings]
    return [html.paragraph(purpose, "soft"), html.paragraph(start + lead, "lead"), *warned]


@dataclass(frozen=True)
class _Viewer:
    """One viewer before its pictures are compressed."""

    heading: str
    words: str
    views: list[View]
    grid: Grid
    start: tuple[int, int]


def _layer(view: View, quality: int) -> html_viewer.Layer:
    data = pictures.webp_bytes(view.picture, 100 if view.is_class else quality)
    ramp = (pictures.RAMPS[view.ramp[0]], view.ramp[1], view.ramp[2]) if view.ramp else None
    return html_viewer.Layer(view.name, view.group, data, "image/webp", view.caption, view.legend, ramp, view.short)


def _compressed(ctx: Context, viewers: list[_Viewer]) -> list[list[html_viewer.Layer]]:
    """The layers of all viewers at the best quality that keeps the page below report.max_mb."""
    limit = ctx.conf.report.max_mb * 1e6 - TEXT_BYTES
    layers: list[list[html_viewer.Layer]] = []
    for quality in QUALITIES:
        layers = [[_layer(view, quality) for view in viewer.views] for viewer in viewers]
        size = sum(-(-len(layer.data) // 3) * 4 for some in layers for layer in some)
        if size <= limit:
            return layers
    ctx.warn(
        f"report.html is larger than report.max_mb ({ctx.conf.report.max_mb:g} MB): its pictures alone take {size / 1e6:.1f} MB. "
        "Lower report.max_px, report.detail_px or report.max_pairs."
    )
    return layers


def _maps(ctx: Context) -> list[str]:
    made = [name for name, item in ctx.results("mosaic_truth").items() if item["status"] == "done"]
    total = ctx.manifest("mosaic")["metrics"]["pairs_in_dataset"]
    note = "synthetic" if ctx.conf.report.synthetic else ""
    viewers = [viewer for pair_id in made for viewer in _viewers(ctx, pair_id)]
    body = [
        html.paragraph(
            "Choose a layer; choose a second one to swipe over it. Zoom with the buttons, a double click, two fingers, or Ctrl and "
            f"the wheel; drag to move. With the keyboard, on the picture: {html_viewer.KEYS.lower()}",
            "soft",
        )
    ]
    if len(made) < total:
        text = f"{len(made)} of {total} pairs are shown (report.max_pairs); the scores cover all pairs."
        body.append(html.paragraph(text, "soft"))
    for number, (viewer, layers) in enumerate(zip(viewers, _compressed(ctx, viewers), strict=True)):
        rows, cols = viewer.views[0].picture.shape[:2]
        frame = html_viewer.Frame(rows, cols, viewer.grid)
        shown = html_viewer.viewer(f"v{number}", layers, frame, note, *viewer.start, label=viewer.heading)
        body += [f"<h3>{escape(viewer.heading)}</h3>", html.paragraph(viewer.words, "soft"), shown]
    return body


def _viewers(ctx: Context, pair_id: str) -> list[_Viewer]:
    """The whole pair; and, where that is reduced, a close look at the place where most has changed."""
    whole = PairViews(ctx, pair_id, ctx.conf.report.max_px)
    pair, factor = whole.pair, whole.see.factor
    heading = f"{pair_id}: {pair.t0} to {pair.t1}, {pair.site}"
    found = [_viewer(whole, heading, all_views(whole))]
    side = ctx.conf.report.detail_px
    if factor > 1 and side:
        window: Window = busiest(whole.change, factor, side, pair.grid.shape)
        close = PairViews(ctx, pair_id, side, window)
        title = f"{pair_id}, close look where most has changed"
        found.append(_viewer(close, title, main_views(close)))
    return found


def _viewer(views: PairViews, heading: str, shown: list[View]) -> _Viewer:
    grid, factor = views.see.grid, views.see.factor
    unit = "degrees" if grid.is_geographic else "m"
    system = f"EPSG:{grid.epsg}" if grid.epsg else "no coordinate system"
    words = f"{grid.cols} x {grid.rows} pixels of {grid.dx:g} {unit}, {system}, north is up. "
    words += (
        f"Each pixel of a picture is the mean of {factor} x {factor}, of classes the middle one."
        if factor > 1
        else "Full resolution."
    )
    keys = [view.key for view in shown]
    simulated = next((i for i, key in enumerate(keys) if key.startswith("sim:")), 0)
    over = next((keys.index(key) for key in ("hidden", "observed") if key in keys), -1)
    return _Viewer(heading, words, shown, views.see.small, (simulated, over))
