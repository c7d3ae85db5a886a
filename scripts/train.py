"""Train the configured models, or resume where a training was interrupted.

Reads   dataset/train, dataset/val, norm/scaler_<mode>.json   samples in physical units; the scaler of each model's mode
Writes  runs/<name>/{model.yaml,train.yaml,scaler.json,model.keras,model_card.json,model_card.md,history.jsonl}
        runs/<name>/checkpoints, runs/<name>/tb   scratch: resuming and TensorBoard
        boosted trees: model.npz in place of model.keras and scaler.json
Items   one per run of train.runs
Fails   65 keys that contradict the dataset, a leak or a loss that explodes, 66 no dataset or scaler, 72 no training sample,
        75 interrupted by SIGTERM, SIGUSR1 or Ctrl-C: the batch is finished and saved, the same command resumes
Without CONF: --model and --train name the two files, and train_directory and val_directory of the second the data.
With multi_gpu: true in train.yaml all visible GPUs train together, and all workers of TF_CONFIG or of a Slurm step.
Example  ./s2cr train confs/demo.yaml
Example  ./s2cr train --model GAN_confs/model.yaml --train my_train.yaml
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts._context import Options
from scripts._options import optional_conf
from scripts._stage import Context, Report, guarded, stage

if TYPE_CHECKING:
    from models.run import RunFolder

_PATH = click.Path(exists=True, dir_okay=False, path_type=Path)
_OPTIONS = (
    click.option("--model", "model_yaml", type=_PATH, help="Model YAML, instead of CONF."),
    click.option("--train", "train_yaml", type=_PATH, help="Training YAML, instead of CONF."),
)


@stage("train", options=_OPTIONS)
def run(ctx: Context) -> Report:
    from models.run import RunFolder

    scores: dict[str, Any] = {}
    wanted = {chosen.name: chosen for chosen in ctx.conf.train.runs}
    for item in ctx.todo(wanted, unit="run"):
        with item:
            item.data.update(_train_run(ctx, wanted[item.id]))
            for path in RunFolder(ctx.layout.run(item.id)).outputs():
                item.output(path)
    for name in wanted:
        scores[name] = ctx.data_of(name)
    shown = ", ".join(
        f"{name} change skill {data['skill_changed']:.2f}" for name, data in scores.items() if "skill_changed" in data
    )
    return ctx.report(metrics=scores, summary=f"validation: {shown}" if shown else "")


def _train_run(ctx: Context, chosen: Any) -> dict[str, float]:
    from models.run import RunFolder

    folder = RunFolder(ctx.layout.run(chosen.name))
    sets = (ctx.layout.dataset_set("train"), ctx.layout.dataset_set("val"))
    yamls = (ctx.resolve(chosen.model), ctx.resolve(chosen.train))
    key, fresh = _data_key(ctx), ctx.options.force
    return _train(chosen.name, folder, yamls, sets, ctx.layout.norm, ctx.log, key, fresh, _facts(ctx))


def _data_key(ctx: Context) -> str:
    """Changes with the data only: a further run in the configuration must not invalidate checkpoints of this one."""
    return "".join(str(ctx.manifest(name)["outputs_digest"]) for name in ("split", "normalise"))


def _facts(ctx: Context) -> dict[str, Any]:
    """What the model card says of the data beside its index."""
    return {"synthetic": ctx.conf.report.synthetic, **_split_facts(ctx.layout.dataset)}


def _split_facts(dataset: Path) -> dict[str, Any]:
    import json

    try:
        split = json.loads((dataset / "split.json").read_text(encoding="utf-8"))
        counts = {name: len(ids) for name, ids in split["sets"].items()} | {"dropped": len(split["dropped"])}
        return {"split": {"counts": counts, **{key: split[key] for key in ("method", "buffer_m", "seed", "note")}}}
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def _train(
    name: str,
    folder: RunFolder,
    yamls: tuple[Path, Path],
    sets: tuple[Path, Path],
    norm: Path,
    log: logging.Logger,
    data_key: str,
    fresh: bool = False,
    facts: dict[str, Any] | None = None,
) -> dict[str, float]:
    from models import devices, registry
    from models.session import DataSet, load_confs, make_task
    from scripts import _leaks
    from utils.io import samples

    if sets[0].parent == sets[1].parent:
        _leaks.refuse(sets[0].parent, norm)
    confs = load_confs(*yamls)
    if registry.spec_of(confs[0]).trees:
        return _train_trees(name, folder, yamls, sets, log)

    train, val = (DataSet(samples.load_index(path), samples.reader(path)) for path in sets)
    found = devices.start(confs[1].multi_gpu, one_thread_per_operation=confs[1].one_thread_per_operation)
    if found.replicas > 1:
        log.info("%s: trains on %s", name, found.words())
    task = make_task(name, folder, yamls, (train, val), norm, log, data_key, found, facts)
    card = None if fresh else folder.finished(task.fingerprint)
    if card is not None:
        log.info("%s: up to date", name)
        return {"step": card["exported_step"], **card["validation"]}
    from models.training import Training

    return Training(task, fresh).fit()


def _other_worker() -> bool:
    """True in the processes of several workers that are not the chief: they compute and write nothing."""
    import os

    from models.cluster import find

    cluster = find(os.environ)
    return cluster is not None and not cluster.chief


def _as_worker(conf_path: Path, options: Options, log: logging.Logger) -> None:
    """Train what the chief trains, in its order, without lock, ledger and manifest, which are the chief's."""
    from utils.workflow import config, freshness
    from utils.workflow.errors import Error, Interrupted
    from utils.workflow.ledger import read

    ctx = Context("train", config.load(conf_path), conf_path, options, log)
    entries: dict[str, Any] = {} if options.force else dict(read(ctx.layout.ledger("train")))
    for chosen in ctx.conf.train.runs:
        entry = entries.get(chosen.name)
        kept = dict(entry.outputs) if entry and entry.key == ctx.key and entry.status == "done" else None
        if kept is not None and freshness.outputs_intact(ctx.layout, kept) is None:
            continue
        try:
            _train_run(ctx, chosen)
        except Interrupted:
            raise
        except Error as error:  # the chief meets the same one, records it and goes on
            log.error("%s: %s", chosen.name, error)


def _train_trees(
    name: str, folder: RunFolder, yamls: tuple[Path, Path], sets: tuple[Path, Path], log: logging.Logger
) -> dict[str, float]:
    """Boosted trees: no network, no scaler, one thread (their short loops wait for one another on shared processors)."""
    from threadpoolctl import threadpool_limits

    from models import trees
    from models.session import DataSet, load_confs
    from utils.io import samples

    train, val = (DataSet(samples.load_index(path), samples.reader(path)) for path in sets)
    with threadpool_limits(limits=1, user_api="openmp"):
        return trees.train(name, folder, yamls, load_confs(*yamls), (train, val), log)


def _direct_form(values: dict[str, Any], log: logging.Logger) -> None:
    from models.run import RunFolder
    from models.session import load_confs
    from utils.workflow.config import ROOT
    from utils.workflow.errors import ConfigError
    from utils.workflow.files import sha256_file

    yamls = (values["model_yaml"], values["train_yaml"])
    if None in yamls:
        raise ConfigError(
            "Without CONF, --model and --train are both needed.",
            "./s2cr train --model GAN_confs/model.yaml --train GAN_confs/train.yaml",
        )
    model, conf = load_confs(*yamls)
    if conf.train_directory is None or conf.val_directory is None:
        raise ConfigError(
            f"{yamls[1]}: train_directory and val_directory are empty.",
            "Name the folders dataset/train and dataset/val in it, or give a CONF.",
        )
    sets = tuple((ROOT / Path(text).expanduser()).resolve() for text in (conf.train_directory, conf.val_directory))
    work = sets[0].parent.parent
    folder = work / "runs" / model.model_name
    if conf.training_dir is not None:
        folder = ROOT / Path(conf.training_dir).expanduser() / model.model_name / f"training_{conf.training_number}"
    data_key = "".join(sha256_file(path / "index.json") if (path / "index.json").is_file() else "" for path in sets)
    facts = _split_facts(sets[0].parent)
    fresh = bool(values["force"])
    _train(model.model_name, RunFolder(folder), yamls, (sets[0], sets[1]), work / "norm", log, data_key, fresh, facts)
    if not _other_worker():
        click.echo(folder)


run = optional_conf(run, "train", _direct_form)
_alone = run.callback


def _dispatch(conf: Path | None = None, **values: Any) -> Any:
    if conf is None or not _other_worker():
        return _alone(conf=conf, **values) if _alone else None
    options = Options(**{name: values[name] for name in Options.__dataclass_fields__})
    with guarded("train", options.verbose, options.quiet) as log:
        _as_worker(conf, options, log)


run.callback = _dispatch
