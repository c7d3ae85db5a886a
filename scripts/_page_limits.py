"""What speaks against trusting the page: warnings of this work folder, and limits that always hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts._context import Context
from utils.io import html, raster
from utils.io.samples import load_index
from utils.science import score_table
from utils.workflow import freshness
from utils.workflow.stages import chain

FEW_BLOCKS = 6
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


def warnings(ctx: Context, table: dict[str, Any]) -> list[str]:
    """Sentences about this work folder, the gravest first."""
    found = [_outside(run, pairs) for run, pairs in _domains(ctx) if pairs]
    index = load_index(ctx.layout.dataset_set("all"))
    mixed = sorted(name for name, pair in index.pairs.items() if pair.mixed_orbit)
    if mixed:
        found.append(
            f"The Sentinel-1 dates of {_some(mixed)} come from different tracks: their difference shows the view, not the ground."
        )
    blocks = table["facts"]["blocks"]
    if blocks < FEW_BLOCKS:
        found.append(f"Only {blocks} block{'s' * (blocks != 1)} of test ground: the intervals are rough.")
    return found + _losses(ctx, table)


def _losses(ctx: Context, table: dict[str, Any]) -> list[str]:
    """Runs that do not beat copying t0 where it changed: said, not hidden in a table."""
    truth = score_table.truths(table)[-1]
    found = []
    for run in ctx.conf.train.runs:
        if run.name not in table["methods"]:
            continue
        skill = score_table.figure(table, run.name, truth, "changed", "skill")
        if skill is not None and skill <= 0:
            found.append(
                f"{run.name} is no better than copying t0 on changed pixels (skill {skill:.2f}): do not use its maps."
            )
    return found


def _domains(ctx: Context) -> Iterator[tuple[str, list[str]]]:
    """Run -> pairs whose predictions carry DOMAIN=outside, read from a tile, the mosaic or rows of each pair."""
    index = load_index(ctx.layout.dataset_set("all"))
    first = {sample.pair: sample.id for sample in reversed(index.samples)}
    for run in ctx.conf.train.runs:
        outside = []
        for pair, sample in sorted(first.items()):
            rows = sorted((ctx.layout.scene(run.name, pair)).glob("rows_*.tif"))[:1]
            mosaic, tile = (
                ctx.layout.mosaic(run.name, pair) / "prediction.tif",
                ctx.layout.pred(run.name) / f"{sample}.tif",
            )
            tags = [raster.info(path).tags.get("DOMAIN") for path in (mosaic, tile, *rows) if path.is_file()]
            if "outside" in tags:
                outside.append(pair)
        yield run.name, outside


def _outside(run: str, pairs: list[str]) -> str:
    return (
        f"DOMAIN=outside for {run} at {_some(pairs)}: these scenes are far from those of its training or do not look like them. "
        "It then falls back to features that identify no place and cuts the change; its image may be worse than S2(t0) itself."
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def limits(ctx: Context, warned: list[str]) -> list[str]:
    """Body of the section: warnings of this folder, of its stages, of the models, then what always holds."""
    staged = []
    for name in chain("report", ctx.conf)[:-1]:
        manifest = freshness.read_manifest(ctx.layout, name)
        staged += [f"{name}: {text}" for text in (manifest or {}).get("warnings", ())]
    body = []
    if warned or staged:
        body += ["<h3>In this work folder</h3>", html.bullets([*warned, *staged])]
    extra = ["The scene is generated: it proves that the chain works, and says nothing about real places."]
    always = [*extra, *LIMITS] if ctx.conf.report.synthetic else LIMITS
    return [*body, "<h3>Always</h3>" if body else "", html.bullets(always)]
