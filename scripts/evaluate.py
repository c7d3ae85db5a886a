"""Score every run beside its rivals on test samples that no training saw.

Reads   dataset/test (and train, to fit the rivals), pred/<run>/*.tif and sigma/*.tif, preprocessed/, the hidden t1
        (evaluate.truth_dir); evaluate.class_raster and heights for strata by land class, slope and aspect
Writes  reports/scores/<method>.json   one a run, baseline and rule; reports/scores/rasters.json: copy_t0 of whole images
        reports/evaluate.json, evaluate.csv   all of them together; the same table goes to stderr
        reports/strata.csv   every stratum: changed at 0.02 and 0.05, lag, source, land class, slope, aspect
Items   one a method, then rasters. Scored are clear pixels of t1 inside the valid window of each sample
Other sets and --conventions are a look: they print and write nothing. Fails  65 leak, 66 predictions missing, of other
bands, on another grid or all nodata, 73 train without --allow-train

Example  ./s2cr evaluate confs/demo.yaml
Example  ./s2cr evaluate confs/demo.yaml --conventions uncrtaints
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401
import dataclasses
import json
from typing import Any

import click

from scripts._stage import Context, Report, stage

LEFT_OUT = "left out by evaluate.baselines"


def _is_look(extra: dict[str, Any]) -> bool:
    return bool(extra["set_name"] != "test" or extra["conventions"])


@stage(
    "evaluate",
    options=[
        click.option(
            "--set", "set_name", type=click.Choice(["test", "val", "train"]), default="test", help="Set to score."
        ),
        click.option("--allow-train", is_flag=True, help="Score training samples: that tells memory, not skill."),
        click.option(
            "--conventions",
            default=None,
            metavar="NAME",
            help="Print scores as another paper defines them: project, uncrtaints, sen12mscr_ts, dsen2cr, utilise, allclear, published.",
        ),
    ],
    always=_is_look,
)
def run(ctx: Context) -> Report:
    from scripts import _leaks
    from scripts._evaluation import Data
    from utils.science import score_table, strata_table
    from utils.workflow.files import atomic_bytes, atomic_json

    _check_convention(ctx.extra["conventions"])
    _leaks.refuse(ctx.layout.dataset, ctx.layout.norm, [ctx.layout.run(one.name) for one in ctx.conf.train.runs])
    data = Data(ctx, ctx.extra["set_name"], ctx.extra["allow_train"])
    runs = [run.name for run in ctx.conf.train.runs]
    methods = _methods(ctx, runs)
    data.check(runs)
    if _is_look(ctx.extra):
        return _look(ctx, data, methods, runs)
    for item in ctx.todo([*methods, "rasters"], unit="method"):
        with item:
            result = _judge(ctx, data, item.id, runs)
            if "skipped" in result:
                item.skip(result["skipped"])
            atomic_json(item.output(ctx.layout.reports / "scores" / f"{item.id}.json"), result)
    if ctx.partial:
        return ctx.report()
    found = {name: _stored(ctx, name) for name in [*methods, "rasters"]}
    table = score_table.build(found, runs, data.facts())
    atomic_json(ctx.output(ctx.layout.reports / "evaluate.json"), table)
    atomic_bytes(ctx.output(ctx.layout.reports / "evaluate.csv"), score_table.csv_text(table).encode())
    atomic_bytes(ctx.output(ctx.layout.reports / "strata.csv"), strata_table.csv_text(table).encode())
    for line in [*score_table.lines(table), *strata_table.lines(table)]:
        ctx.log.info("%s", line)
    return ctx.report(score_table.headline(table), score_table.verdict(table))


def _methods(ctx: Context, runs: list[str]) -> list[str]:
    """Rows of the table: every rival of every table, those of the configuration, rules, runs."""
    from utils.science import baselines, score_table

    rivals = [*baselines.IN_EVERY_TABLE, *ctx.conf.evaluate.baselines]
    return [*dict.fromkeys(rivals), *score_table.RULES, *runs]


def _judge(ctx: Context, data: Any, name: str, runs: list[str]) -> dict[str, Any]:
    """Figures of one method, or {"skipped": reason}."""
    from scripts._whole_rasters import copy_of_whole_images
    from utils.science.score_table import RULES

    if name == "rasters":
        return copy_of_whole_images(ctx)
    if name in RULES:
        try:
            return dict(data.rule(name))
        except ValueError as error:
            return {"skipped": str(error)}
    if name in runs:
        figures, sigma = data.judged(data.predicted(name)), data.judged_sigma(name)
        return {key: value | sigma.get(key, {}) for key, value in figures.items()}
    if name != "copy_t0" and name not in ctx.conf.evaluate.baselines:
        return {"skipped": LEFT_OUT}
    return dict(data.judged(data.baseline(name)) | data.note(name))


def _stored(ctx: Context, name: str) -> dict[str, Any]:
    path = ctx.layout.reports / "scores" / f"{name}.json"
    if ctx.status_of(name) != "done":
        return {"skipped": ctx.reason_of(name) or ctx.status_of(name) or "not run"}
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _check_convention(name: str | None) -> None:
    from utils.science import metrics_conventions
    from utils.workflow.errors import ConfigError

    if name is not None and name not in metrics_conventions.CONVENTIONS:
        known = ", ".join(metrics_conventions.CONVENTIONS)
        raise ConfigError(f"No convention {name!r}.", f"Choose one of {known}.")


def _look(ctx: Context, data: Any, methods: list[str], runs: list[str]) -> Report:
    """Print without writing: another set, or another convention."""
    from utils.science import score_table, strata_table

    ctx.options = dataclasses.replace(ctx.options, dry_run=True)  # this call must not touch the finished result
    if ctx.extra["conventions"]:
        _print_convention(ctx, data, ctx.extra["conventions"], runs)
        return ctx.report()
    found = {method: _judge(ctx, data, method, runs) for method in methods}
    table = score_table.build(found, runs, data.facts())
    for line in [*score_table.lines(table), *strata_table.lines(table)]:
        ctx.log.info("%s", line)
    return ctx.report()


def _print_convention(ctx: Context, data: Any, name: str, runs: list[str]) -> None:
    """A table of the figures of one convention for copying t0 and every run."""
    from utils.science import metrics_conventions, score_table

    mark = " -- synthetic data" if ctx.conf.report.synthetic else ""
    for truth in data.truths:
        rows: list[list[str]] = []
        keys: list[str] = []
        for method in ["copy_t0", *runs]:
            predict = data.predicted(method) if method in runs else data.baseline(method)
            count, figures = data.conventions(name, truth, predict)
            keys = keys or list(figures)
            rows.append([method, str(count), *("-" if figures[k] != figures[k] else f"{figures[k]:.4f}" for k in keys)])
        ctx.log.info("Convention %s against the %s t1: %s%s", name, truth, metrics_conventions.remark(name), mark)
        for line in score_table.aligned(["method", "samples", *keys], [r for r in rows if len(r) > 2]):
            ctx.log.info("%s", line)
        if not keys:
            ctx.log.info("%s scores whole images only, and no %s t1 of this set is free of cloud", name, truth)
