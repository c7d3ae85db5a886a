"""The parts of report.html: verdict, maps, scores, areas, split, provenance, limits."""

from __future__ import annotations

import json
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

from scripts._context import Context
from scripts._dates import load_dates
from scripts._layers import PairViews, View
from utils.io import html, pictures
from utils.science import score_table, severity
from utils.workflow import config, freshness
from utils.workflow.errors import InputError
from utils.workflow.stages import chain

LIMITS = (
    "A simulated image is an estimate, not an observation: what neither radar nor the earlier image shows is not in it.",
    "Scores hold for the places and dates of the test set. Skill elsewhere needs events in several regions.",
    "Unchanged pixels are selected by a small error of copying t0, so no method can be expected to beat the copy there.",
    "SSIM at range 1 hardly moves on reflectance; read it only beside copy_t0. F1 grows with the share of burned pixels; "
    "read it beside all_burned, IoU and kappa.",
    "Test ground is apart from training ground; its dates may occur in training unless split.holdout_dates names them, "
    "and scores at unseen dates are lower.",
    "Slope, bias and error of index differences leave out pixels whose two reflectances add up to less than 0.05 (open water), "
    "where an index is noise; burned maps and their scores do not.",
    "Burned is a threshold on an index difference: where nothing burned it counts harvest, drought and season.",
    "Severity classes come from index differences. They are not field measurements.",
    "Intervals are 95 % from a bootstrap over blocks of the ground at one date; few blocks make them wide or undefined. "
    "They do not hold the spread over training seeds.",
)


def parts(ctx: Context) -> list[str]:
    """HTML of the page body, in order."""
    table = _json(ctx, "reports/evaluate.json")
    return [
        *_verdict(ctx, table),
        *_maps(ctx),
        *_scores(ctx, table),
        *_areas(ctx),
        *_split(ctx),
        *_provenance(ctx),
        html.section("Limits", "<ul>" + "".join(f"<li>{text}</li>" for text in _limits(ctx)) + "</ul>"),
    ]


def _json(ctx: Context, name: str) -> dict[str, Any]:
    path = ctx.layout.work / name
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}.", "Run the stage that writes it again.") from error


def _note(ctx: Context) -> str:
    return "synthetic" if ctx.conf.report.synthetic else ""


def _verdict(ctx: Context, table: dict[str, Any]) -> list[str]:
    """Who is best, said first, whoever it is."""
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
    return [html.paragraph(purpose, "soft"), html.paragraph(start + lead, "lead")]


def _layer(ctx: Context, view: View) -> html.Layer:
    small = pictures.shrink(view.picture, ctx.conf.report.max_px, nearest=view.is_class)
    data = pictures.png_bytes(small) if view.is_class else pictures.jpeg_bytes(small)
    ramp = (pictures.RAMPS[view.ramp[0]], view.ramp[1], view.ramp[2]) if view.ramp else None
    mime = "image/png" if view.is_class else "image/jpeg"
    return html.Layer(view.name, view.group, data, mime, view.caption, view.legend, ramp, view.short)


def _maps(ctx: Context) -> list[str]:
    made = [name for name, item in ctx.results("mosaic_truth").items() if item["status"] == "done"]
    total = ctx.manifest("mosaic")["metrics"]["pairs_in_dataset"]
    body = [html.paragraph("Choose a layer; choose a second one to swipe over it.", "soft")]
    if len(made) < total:
        body.append(
            html.paragraph(
                f"{len(made)} of {total} pairs are shown (report.max_pairs); the scores cover all pairs.", "soft"
            )
        )
    for number, pair_id in enumerate(made):
        views = PairViews(ctx, pair_id)
        shown = views.all()
        keys = [view.key for view in shown]
        simulated = next((i for i, key in enumerate(keys) if key.startswith("sim:")), 0)
        over = next((keys.index(key) for key in ("hidden", "observed") if key in keys), -1)
        layers = [_layer(ctx, view) for view in shown]
        heading = f"<h3>{pair_id}: {views.pair.t0} to {views.pair.t1}, {views.pair.site}</h3>"
        frame = html.viewer(f"v{number}", layers, views.pair.grid.shape, _note(ctx), simulated, over)
        body.append(heading + frame)
    return [html.section("Maps", *body)]


def _best_cells(rows: list[list[str]], head: list[str]) -> list[tuple[int, int]]:
    """The best cell of each column, by its leading number; smaller is better for errors."""
    cells = []
    for column, title in enumerate(head[1:], start=1):
        if "bias" in title or "slope" in title:
            continue
        values = {i: float(row[column].split()[0]) for i, row in enumerate(rows) if row[column] != "-"}
        if values:
            smaller = title in ("MAE", "RMSE", "SAM deg")
            target = min(values.values()) if smaller else max(values.values())
            cells += [(i, column) for i, value in values.items() if value == target]
    return cells


def _scores(ctx: Context, table: dict[str, Any]) -> list[str]:
    facts, mark = table["facts"], " (synthetic)" if ctx.conf.report.synthetic else ""
    body = [
        html.paragraph(
            f"{facts['samples']} {facts['set']} samples of {facts['pairs']} pairs in {facts['blocks']} blocks; rivals fitted on "
            f"{facts['train_samples']} training samples. Changed means a mean change over {facts['changed_threshold']} or "
            "|dNDVI| over 0.09 of the true pair. Skill is 1 minus squared error over that of copy_t0. Bold is best of its column.",
            "soft",
        )
    ]
    for truth in reversed(score_table.truths(table)):
        words = (
            "the hidden clear t1, pixels under cloud too" if truth == "hidden" else "clear pixels of the observed t1"
        )
        head, rows = score_table.image_rows(table, truth)
        body += [f"<h3>Image, against {words}{mark}</h3>", html.table(head, rows, best=_best_cells(rows, head))]
        if score_table.indices(table):
            head, rows = score_table.burned_rows(table, truth)
            body += [
                f"<h3>Burned area, against the map of {words}{mark}</h3>",
                html.table(head, rows, best=_best_cells(rows, head)),
            ]
    left = [f"{name}: {row['skipped']}" for name, row in table["methods"].items() if "skipped" in row]
    if left:
        body.append(html.paragraph("Not judged: " + "; ".join(left), "soft"))
    rows = []
    for key, summary in (table["rasters"] or {}).items():
        if summary["count"]:
            label = "all pixels" if key == "all" else "clear at both dates"
            figures = [f"{float(summary[name]):.4f}" for name in ("mean_mae", "pooled_mae")]
            rows.append(
                [
                    label,
                    " ".join(summary["bands"]),
                    f"{summary['count']:.0f}",
                    *figures,
                    f"{float(summary['psnr_mean_mse']):.2f}",
                    f"{summary['mean_sam_deg']:.2f}",
                ]
            )
    if rows:
        body.append(f"<h3>Copying t0 over whole images{mark}</h3>")
        body.append(
            html.table(["pixels", "bands", "pairs", "mean MAE", "pooled MAE", "PSNR of mean MSE", "mean SAM deg"], rows)
        )
    return [html.section("Scores", *body)]


def _areas(ctx: Context) -> list[str]:
    """Hectares per map and class."""
    mark, body = " (synthetic)" if ctx.conf.report.synthetic else "", []
    items = {name: item["data"] for name, item in ctx.results("burned").items() if item["status"] == "done"}
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
            [name, f"{data['burned_ha']:.1f}", *(f"{value:.1f}" for value in data["class_ha"])]
            for name, data in found.items()
        ]
        body += [f"<h3>From {title}{mark}</h3>", html.table(["map", "burned ha", *words], rows)]
    return [html.section("Burned area and severity in hectares", *body)] if body else []


def _split(ctx: Context) -> list[str]:
    split = _json(ctx, "dataset/split.json")
    sets = split["sets"]
    rows = [[name, str(len(ids)), str(len({i.split("_r")[0] for i in ids}))] for name, ids in sets.items()]
    dropped = Counter(str(entry["reason"]) for entry in split.get("dropped", ()))
    text = f"Method {split['method']}, seed {split['seed']}, guard {split['buffer_m']:g} m. {split.get('note') or ''}"
    lost = "; ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())) or "none"
    body = [
        html.paragraph(text),
        html.table(["set", "samples", "pairs"], rows),
        html.paragraph(f"Dropped: {lost}.", "soft"),
    ]
    return [html.section("Split", *body)]


def _provenance(ctx: Context) -> list[str]:
    """Products, stages with keys and digests, code, configuration. No times: equal input gives an equal page."""
    dates = load_dates(ctx.conf, ctx.layout)
    products = [
        [d.id, sensor, name]
        for d in dates.values()
        for sensor, names in (("Sentinel-1", d.s1), ("Sentinel-2", d.s2))
        for name in names
    ]
    stages, inputs, versions = [], [], {}
    for name in chain("report", ctx.conf)[:-1]:
        manifest = freshness.read_manifest(ctx.layout, name)
        if manifest is None:
            continue
        versions = manifest["versions"]
        warned = "; ".join(manifest["warnings"])
        stages.append(
            [
                name,
                manifest["key"][:12],
                manifest["outputs_digest"][:12],
                str(len(manifest["outputs"])),
                manifest["code"],
                warned,
            ]
        )
        inputs += [[name, _short(ctx, path), _digest(value)] for path, value in manifest["external"].items()]
        if name == "download":
            inputs += [
                [name, path, _digest(value)] for path, value in manifest["outputs"].items() if path.startswith("raw/")
            ]
    # the work directory is left out: the same chain elsewhere gives the same page
    settings = json.dumps(
        ctx.conf.model_dump(mode="json", exclude={"work": True, "search": {"endpoints"}}), indent=1, sort_keys=True
    )
    used = ", ".join(f"{name} {version}" for name, version in versions.items())
    body = [
        html.paragraph(
            "Contains modified Copernicus Sentinel data."
            if not ctx.conf.report.synthetic
            else "All inputs were generated; none is Copernicus data."
        ),
        html.details(
            f"Products ({len(products)})", html.table(["date", "sensor", "product"], products[:400], words=True)
        ),
        html.details(
            f"Input files with SHA-256 ({len(inputs)})",
            html.table(["stage", "file", "SHA-256"], inputs[:400], words=True),
        ),
        "<h3>Stages</h3>",
        html.table(["stage", "key", "digest of outputs", "files", "code", "warnings"], stages, words=True),
        html.paragraph(f"Software: {used}.", "soft"),
        html.details("Configuration", f"<pre>{escape(settings)}</pre>"),
    ]
    return [html.section("Provenance", *body)]


def _digest(value: list[Any]) -> str:
    """First half of a SHA-256, or the size where only that was recorded."""
    return str(value[-1])[:32] if isinstance(value[-1], str) else f"{value[0]} bytes"


def _short(ctx: Context, text: str) -> str:
    """A path relative to the work directory or the repository; elsewhere its last three parts."""
    path = Path(text)
    for root in (ctx.layout.work, config.ROOT):
        if path.is_absolute() and path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return "/".join(path.parts[-3:])


def _limits(ctx: Context) -> list[str]:
    extra = ["The scene is generated: it proves that the chain works, and says nothing about real places."]
    return [escape(text) for text in ([*extra, *LIMITS] if ctx.conf.report.synthetic else LIMITS)]
