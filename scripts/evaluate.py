"""Score every run beside its rivals on test samples that no training saw.

Reads   dataset/test (and train, to fit the rivals), pred/<run>/*.tif, preprocessed/, the hidden t1 (evaluate.truth_dir)
Writes  reports/scores/<method>.json   one a run, baseline and rule; reports/scores/rasters.json: copy_t0 of whole images
        reports/evaluate.json, evaluate.csv   all of them together; the same table goes to stderr
Items   one a method, then rasters. Scored are clear pixels of t1 inside the valid window of each sample
Other sets and --conventions are a look: they print and write nothing. Fails  65 leak, 73 train without --allow-train

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

RULES = ("vh_logratio", "all_burned")


def _is_look(extra: dict[str, Any]) -> bool:
    return bool(extra["set_name"] != "test" or extra["conventions"])


@stage(
    "evaluate",
    options=[
        click.option(
            "--set", "set_name", type=click.Choice(["test", "val", "train"]), default="test", help="Set to score."
        ),
        click.option("--allow-train", is_flag=True, help="Score training samples: that tells memory, not skill."),
        click.option("--conventions", default=None, metavar="NAME", help="Print scores as another paper defines them."),
    ],
    always=_is_look,
)
def run(ctx: Context) -> Report:
    from scripts import _leaks
    from scripts._evaluation import Data
    from utils.science import score_table
    from utils.workflow.files import atomic_bytes, atomic_json

    _leaks.refuse(ctx.layout.dataset, ctx.layout.norm, [ctx.layout.run(one.name) for one in ctx.conf.train.runs])
    data = Data(ctx, ctx.extra["set_name"], ctx.extra["allow_train"])
    runs = [run.name for run in ctx.conf.train.runs]
    methods = [*dict.fromkeys(["copy_t0", *ctx.conf.evaluate.baselines]), *RULES, *runs]
    if _is_look(ctx.extra):
        return _look(ctx, data, methods, runs)
    for item in ctx.todo([*methods, "rasters"], unit="method"):
        with item:
            result = _judge(data, item.id, runs)
            if "skipped" in result:
                item.skip(result["skipped"])
            atomic_json(item.output(ctx.layout.reports / "scores" / f"{item.id}.json"), result)
    if ctx.partial:
        return ctx.report()
    found = {name: _stored(ctx, name) for name in [*methods, "rasters"]}
    table = score_table.build(found, runs, data.facts())
    atomic_json(ctx.output(ctx.layout.reports / "evaluate.json"), table)
    atomic_bytes(ctx.output(ctx.layout.reports / "evaluate.csv"), score_table.csv_text(table).encode())
    for line in score_table.lines(table):
        ctx.log.info("%s", line)
    return ctx.report(score_table.headline(table), score_table.verdict(table))


def _judge(data: Any, name: str, runs: list[str]) -> dict[str, Any]:
    """Figures of one method, or {"skipped": reason}."""
    if name == "rasters":
        return dict(data.rasters())
    if name in RULES:
        try:
            return dict(data.rule(name))
        except ValueError as error:
            return {"skipped": str(error)}
    return dict(data.judged(data.predicted(name) if name in runs else data.baseline(name)))


def _stored(ctx: Context, name: str) -> dict[str, Any]:
    path = ctx.layout.reports / "scores" / f"{name}.json"
    if ctx.status_of(name) != "done":
        return {"skipped": ctx.status_of(name) or "not run"}
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _look(ctx: Context, data: Any, methods: list[str], runs: list[str]) -> Report:
    """Print without writing: another set, or another convention."""
    from utils.science import evaluation, metrics_conventions, score_table
    from utils.workflow.errors import ConfigError

    ctx.options = dataclasses.replace(ctx.options, dry_run=True)  # this call must not touch the finished result
    name = ctx.extra["conventions"]
    if name is None:
        found = {method: _judge(data, method, runs) for method in methods}
        for line in score_table.lines(score_table.build(found, runs, data.facts())):
            ctx.log.info("%s", line)
        return ctx.report()
    if name not in metrics_conventions.CONVENTIONS:
        known = ", ".join(metrics_conventions.CONVENTIONS)
        raise ConfigError(f"No convention {name!r}.", f"Choose one of {known}.")
    ctx.log.info("convention %s; %s", name, metrics_conventions.NOT_COMPARABLE)
    for method in ["copy_t0", *runs]:
        predict = data.predicted(method) if method in runs else data.baseline(method)
        figures = evaluation.plain(data.conventions(name, predict))
        ctx.log.info("%s: %s", method, ", ".join(f"{key} {value}" for key, value in figures.items()))
    return ctx.report()
