"""Train the configured models, or resume where a training was interrupted.

Reads   dataset/train, dataset/val, norm/scaler_<mode>.json   samples in physical units; the scaler of each model's mode
Writes  runs/<name>/{model.yaml,train.yaml,scaler.json,model.keras,model_card.json,history.jsonl}
        runs/<name>/checkpoints, runs/<name>/tb   scratch: resuming and TensorBoard
        boosted trees: model.npz in place of model.keras and scaler.json
Items   one per run of train.runs              Fails  65 keys that contradict the dataset, 66 no dataset, 75 interrupted
Without CONF: --model and --train name the two files, and train_directory and val_directory of the second the data.
Example  ./s2cr train confs/demo.yaml
Example  ./s2cr train --model GAN_confs/model.yaml --train my_train.yaml
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts._options import optional_conf
from scripts._stage import Context, Report, stage

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
            chosen, folder = wanted[item.id], RunFolder(ctx.layout.run(item.id))
            sets = (ctx.layout.dataset_set("train"), ctx.layout.dataset_set("val"))
            yamls = (ctx.resolve(chosen.model), ctx.resolve(chosen.train))
            item.data.update(
                _train(item.id, folder, yamls, sets, ctx.layout.norm, ctx.log, _data_key(ctx), ctx.options.force)
            )
            for path in folder.outputs():
                item.output(path)
    for name in wanted:
        scores[name] = ctx.data_of(name)
    shown = ", ".join(
        f"{name} change skill {data['skill_changed']:.2f}" for name, data in scores.items() if "skill_changed" in data
    )
    return ctx.report(metrics=scores, summary=f"validation: {shown}" if shown else "")


def _data_key(ctx: Context) -> str:
    """Changes with the data only: a further run in the configuration must not invalidate checkpoints of this one."""
    return "".join(str(ctx.manifest(name)["outputs_digest"]) for name in ("split", "normalise"))


def _train(
    name: str,
    folder: RunFolder,
    yamls: tuple[Path, Path],
    sets: tuple[Path, Path],
    norm: Path,
    log: logging.Logger,
    data_key: str,
    fresh: bool = False,
) -> dict[str, float]:
    from models import registry
    from models.session import DataSet, load_confs
    from utils.io import samples

    confs = load_confs(*yamls)
    if registry.spec_of(confs[0]).trees:
        return _train_trees(name, folder, yamls, sets, log)
    from models import backend

    backend.start()
    from models.session import make_task
    from models.training import Training

    train, val = (DataSet(samples.load_index(path), partial(samples.read_sample, path)) for path in sets)
    return Training(make_task(name, folder, yamls, (train, val), norm, log, data_key), fresh).fit()


def _train_trees(
    name: str, folder: RunFolder, yamls: tuple[Path, Path], sets: tuple[Path, Path], log: logging.Logger
) -> dict[str, float]:
    """Boosted trees: no network, no scaler, one thread (their short loops wait for one another on shared processors)."""
    from threadpoolctl import threadpool_limits

    from models import trees
    from models.session import DataSet, load_confs
    from utils.io import samples

    train, val = (DataSet(samples.load_index(path), partial(samples.read_sample, path)) for path in sets)
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
    _train(model.model_name, RunFolder(folder), yamls, (sets[0], sets[1]), work / "norm", log, data_key)
    click.echo(folder)


run = optional_conf(run, "train", _direct_form)
