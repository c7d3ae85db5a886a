"""Hand stages to the batch system (Slurm, PBS Professional): arrays, --finalise jobs, dependencies.

Reads   CONF, its section hpc and the file of hpc.profile (or --hpc): queue, walltime, memory, GPU lines, parts
Writes  <work>/jobs/<number>/*.sh, one small file a job, with its logs and submission.json
Fails   2 unknown stage, 65 configuration, 66 a stage that is needed is missing, 70 refused by the batch system, 77 none here

STAGE is a name that make knows; stages that are up to date are left out. A stage with parts becomes an array and a
--finalise job after it; a stage starts when those that it needs have succeeded. Nothing is left in the queue when a job
is refused. --gan-train and --gan-predict are what gan_train.sh and gan_predict.sh call.
Example  ./s2cr submit confs/demo.yaml tile build_dataset --dry-run --scheduler slurm
Example  ./s2cr submit confs/nsw_south_coast.yaml all --hpc confs/hpc/slurm.yaml
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts._stage import guarded

if TYPE_CHECKING:
    from utils.workflow.scheduler import Job
    from utils.workflow.schema import Conf, Hpc

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PATH = click.Path(path_type=Path)
_TEXT, _, _EXAMPLES = (__doc__ or "").partition("\nExample")
_EPILOG = "\b\nExample:\n" + "\n".join(
    f"  {line.removeprefix('Example').strip()}" for line in _EXAMPLES.strip().splitlines()
)


@click.command("submit", help=_TEXT.replace("\n\n", "\n\n\b\n", 1), epilog=_EPILOG)
@click.argument("conf", type=_PATH, required=False)
@click.argument("stages", nargs=-1, metavar="STAGE...")
@click.option("--dry-run", is_flag=True, help="Show job files and command lines; write and submit nothing.")
@click.option("--hpc", "profile", type=_FILE, help="Use this file in place of hpc.profile.")
@click.option("--scheduler", type=click.Choice(["slurm", "pbs"]), help="Use this one in place of hpc.scheduler.")
@click.option("--check", is_flag=True, help="Only say which batch system is here; exit 77 when none is.")
@click.option("--gan-train", nargs=2, type=_FILE, metavar="MODEL TRAIN", help="One training, without CONF.")
@click.option(
    "--gan-predict", nargs=3, type=_PATH, metavar="RUN DATASET OUT", help="Predict, then mosaic, without CONF."
)
def run(conf: Path | None, stages: tuple[str, ...], dry_run: bool, profile: Path | None, scheduler: str | None,
        check: bool, gan_train: tuple[Path, Path] | None, gan_predict: tuple[Path, Path, Path] | None) -> None:  # fmt: skip
    from scripts import _batch
    from utils.workflow import config
    from utils.workflow.errors import UsageError

    with guarded("submit") as log:
        if profile is not None:
            os.environ["S2CR_HPC"] = str(profile.absolute())
        if check:
            click.echo(_batch.choose(config.load_hpc(), scheduler, dry_run=False))
            return
        files: tuple[Path, ...] = ()
        if gan_train:
            hpc = config.load_hpc()
            jobs, folder = _gan_train(hpc, *gan_train), config.ROOT / "work" / "jobs"
        elif gan_predict:
            hpc = config.load_hpc()
            jobs, folder = _gan_predict(hpc, *gan_predict), config.ROOT / "work" / "jobs"
        elif conf is not None and stages:
            loaded = config.load(conf)
            hpc, folder, files = loaded.hpc, config.layout_of(loaded).jobs, (conf,)
            jobs = _chain(loaded, conf, stages, log)
        else:
            raise UsageError("A configuration and at least one stage are needed.", "make submit STAGES=... CONF=...")
        if jobs:
            _hand_over(jobs, hpc, folder, files, scheduler, dry_run, log)


def _hand_over(jobs: Sequence[Job], hpc: Hpc, folder: Path, files: Sequence[Path], wanted: str | None, dry_run: bool,
               log: logging.Logger) -> None:  # fmt: skip
    from scripts import _batch
    from utils.workflow import config

    profile = os.environ.get("S2CR_HPC") or hpc.profile
    if profile:
        files = [*files, config.ROOT / Path(profile).expanduser()]
    kind, variables = _batch.choose(hpc, wanted, dry_run), _batch.environment(*files)
    for job in jobs:
        if job.title == "train" and not any("gpu" in option or "gres" in option for option in job.needs.options):
            log.warning(
                "%s: no GPU is asked for; name a file such as confs/hpc/slurm.yaml in hpc.profile or HPC=", job.name
            )
            break
    if dry_run:
        click.echo(_batch.preview(jobs, kind, hpc, folder / "NUMBER", variables))
        return
    own = _batch.new_folder(folder)
    _batch.submit(jobs, kind, hpc, own, variables, click.echo)
    log.info("%d job(s) submitted; files and logs: %s", len(jobs), own)


def _chain(conf: Conf, conf_path: Path, wanted: Sequence[str], log: logging.Logger) -> list[Job]:
    """The jobs of what is not up to date; a stage that is needed and neither there nor submitted is an error now."""
    from utils.workflow import scheduler

    chosen = scheduler.stage_names(wanted, conf)
    due = _due(conf, conf_path, chosen)
    for name in chosen:
        if name not in due:
            log.info("%s: up to date, left out", name)
    if not due:
        log.info("nothing to submit")
    return scheduler.chain_jobs(conf, conf_path.absolute(), due)


def _due(conf: Conf, conf_path: Path, chosen: Sequence[str]) -> list[str]:
    from utils.workflow import config, freshness
    from utils.workflow.errors import InputError

    layout = config.layout_of(conf)
    states = {state.stage: state for name in chosen for state in freshness.plan(conf, layout, name)}
    missing = [name for name, state in states.items() if not state.fresh and name not in chosen]
    if missing:
        names = " ".join(name for name in states if name in missing or name in chosen)
        raise InputError(
            f"{', '.join(missing)} must come first and is not up to date ({states[missing[0]].reason}).",
            f'Submit it too: make submit STAGES="{names}" CONF={conf_path}, or run it here before.',
        )
    for name in chosen:
        state = states[name]
        if state.key is None and not state.reason.startswith("after "):
            raise InputError(state.reason, state.remedy.replace("CONF=...", f"CONF={conf_path}"))
    return [name for name in chosen if not states[name].fresh]


def _gan_train(hpc: Any, model: Path, train: Path) -> list[Job]:
    from models.session import load_confs
    from utils.workflow import scheduler

    load_confs(model, train)  # what is wrong in them is said now, not after hours in the queue
    words = ("train", "--model", str(model.absolute()), "--train", str(train.absolute()))
    return scheduler.stage_jobs("01-train", "train", words, hpc)[0]


def _gan_predict(hpc: Any, run_dir: Path, dataset: Path, out: Path) -> list[Job]:
    from utils.workflow import scheduler
    from utils.workflow.errors import InputError

    if not (dataset / "index.json").is_file():
        raise InputError(f"{dataset}: no index.json, so no dataset.", "Name a set folder such as dataset/test.")
    tiles, images = str(out.absolute()), str((out / "mosaic").absolute())
    words = ("predict", "--run-dir", str(run_dir.absolute()), "--dataset", str(dataset.absolute()), "--out", tiles)
    single = hpc.model_copy(update={"predict": hpc.predict.model_copy(update={"parts": 1})})  # no ledger, no parts
    first, ends = scheduler.stage_jobs("01-predict", "predict", words, single)
    words = ("mosaic", "--pred", tiles, "--dataset", str(dataset.absolute()), "--out", images)
    return [*first, *scheduler.stage_jobs("02-mosaic", "mosaic", words, hpc, ends)[0]]
