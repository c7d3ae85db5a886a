"""Which jobs a list of stages becomes, and their files and command lines for Slurm and PBS Professional.

Pure functions: nothing is written or started here. A stage with parts becomes an array (or single jobs) and a job
--finalise that waits until all of them have ended, well or not; the next stage waits until that job has succeeded. So a
failed tile neither breaks the chain nor hides.
"""

from __future__ import annotations

import difflib
import math
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from utils.workflow.errors import ConfigError, ExternalError, UsageError
from utils.workflow.schema import Conf
from utils.workflow.schema_hpc import Hpc, Resources
from utils.workflow.stages import STAGES, chain, upstream_of

Kind = Literal["slurm", "pbs"]
INDEX = {"slurm": "SLURM_ARRAY_TASK_ID", "pbs": "PBS_ARRAY_INDEX"}
GROUPS = {"preprocess": ("preprocess_s1", "preprocess_s2"), "search": ("find_images",), "import": ("import_data",)}
CHAINS = {"dataset": "split", "all": "report"}
_FROM_MAKE = "S2CR_GOALS S2CR_ALLOW MAKEFLAGS MAKELEVEL MAKEOVERRIDES MFLAGS"
_PBS_NAME = 15  # longest job name of older servers


@dataclass(frozen=True)
class Job:
    """One job, or one array of jobs.

    name       unique within a submission: 02-tile, 02-tile.finalise, 05-train.2; names its file and its log
    title      what listings of the queue show
    words      what stands behind ./s2cr
    elements   size of the array; its number joins the words as --part i/N. None = a single job
    after_ok   names of jobs that must have succeeded
    after_any  names of jobs that must have ended
    """

    name: str
    title: str
    words: tuple[str, ...]
    needs: Resources
    elements: int | None = None
    after_ok: tuple[str, ...] = ()
    after_any: tuple[str, ...] = ()


def stage_names(wanted: Sequence[str], conf: Conf) -> list[str]:
    """Names as make knows them (also published ones, preprocess, dataset, all) to enabled stages, in table order.

    raises  UsageError for a name that is no stage
    """
    published = {old: name for name, facts in STAGES.items() for old in facts.published}
    found: set[str] = set()
    for name in wanted:
        if name in CHAINS:
            found.update(chain(CHAINS[name], conf))
        elif name in GROUPS:
            found.update(GROUPS[name])
        elif name in STAGES or name in published:
            found.add(published.get(name, name))
        else:
            near = difflib.get_close_matches(name, [*STAGES, *published, *GROUPS, *CHAINS], n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"No stage {name!r}.{hint}", f"Stages are {', '.join(STAGES)}.")
    return [name for name in STAGES if name in found and STAGES[name].enabled(conf)]


def resources_of(hpc: Hpc, stage: str) -> Resources:
    """What a job of a stage asks for: hpc.<stage>, and hpc.job where that says nothing."""
    network = stage in STAGES and STAGES[stage].weight == "network"
    own: Resources = hpc.network if network else getattr(hpc, stage, hpc.job)
    return Resources(
        queue=(hpc.transfer_queue if network else None) or own.queue or hpc.job.queue,
        walltime=own.walltime or hpc.job.walltime,
        memory_gib=own.memory_gib or hpc.job.memory_gib,
        cpus=own.cpus or hpc.job.cpus,
        options=hpc.job.options if own is hpc.job else hpc.job.options + own.options,
    )


def direct_upstream(stage: str, chosen: Collection[str], conf: Conf) -> list[str]:
    """Stages of `chosen` that `stage` waits for, without those that another of them waits for already."""

    def above(name: str) -> set[str]:
        found: set[str] = set()
        for up in upstream_of(name, conf):
            found |= {up, *above(up)}
        return found & set(chosen)

    near = above(stage)
    return [name for name in STAGES if name in near and not any(name in above(other) for other in near)]


def stage_jobs(
    name: str, stage: str, words: Sequence[str], hpc: Hpc, after_ok: Sequence[str] = ()
) -> tuple[list[Job], tuple[str, ...]]:
    """The jobs of one stage.

    words     the verb and what follows it
    returns   jobs in order of submission, and the names that the next stage waits for
    """
    needs, after = resources_of(hpc, stage), tuple(after_ok)
    parts, segments = getattr(getattr(hpc, stage, None), "parts", 1), hpc.train.segments if stage == "train" else 1
    if segments > 1:
        names = [f"{name}.{number}" for number in range(1, segments + 1)]
        before = [(), *((other,) for other in names)]
        return [
            Job(own, stage, tuple(words), needs, after_ok=after, after_any=previous)
            for own, previous in zip(names, before, strict=False)
        ], (names[-1],)
    if parts == 1:
        return [Job(name, stage, tuple(words), needs, after_ok=after)], (name,)
    if parts <= hpc.max_array:
        shared = [Job(name, stage, tuple(words), needs, parts, after)]
    else:
        shared = [
            Job(f"{name}.{i}", stage, (*words, "--part", f"{i}/{parts}"), needs, None, after)
            for i in range(1, parts + 1)
        ]
    last = Job(
        f"{name}.finalise", f"{stage}-final", (*words, "--finalise"), resources_of(hpc, "job"), None, after,
        tuple(job.name for job in shared),
    )  # fmt: skip
    return [*shared, last], (last.name,)


def chain_jobs(conf: Conf, conf_path: Path, stages: Sequence[str]) -> list[Job]:
    """All jobs of the stages, which are in table order; every job stands behind those that it waits for."""
    jobs: list[Job] = []
    ends: dict[str, tuple[str, ...]] = {}
    for number, stage in enumerate(stages, start=1):
        after = [end for up in direct_upstream(stage, stages, conf) for end in ends[up]]
        made, ends[stage] = stage_jobs(f"{number:02d}-{stage}", stage, (stage, str(conf_path)), conf.hpc, after)
        jobs += made
    return jobs


def job_text(
    job: Job, kind: Kind, hpc: Hpc, folder: Path, checkout: Path, environment: Mapping[str, str] | None = None
) -> str:
    """The file of a job.

    folder       where files and logs of the submission are
    environment  variables that the stages read; PBS passes none by itself
    """
    head = _slurm(job, hpc, folder) if kind == "slurm" else _pbs(job, folder)
    mark, program = ("#SBATCH", "sbatch") if kind == "slurm" else ("#PBS", "qsub")
    lines = ["#!/bin/bash", *(f"{mark} {line}" for line in (*head, *job.needs.options))]
    lines += [f"# Made by ./s2cr submit; {program} takes it again.", "set -euo pipefail"]
    lines += [f"cd {shlex.quote(str(checkout))}", f"unset {_FROM_MAKE}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted((environment or {}).items())]
    if hpc.modules:
        scripts = " ".join(f"/etc/profile.d/{name}.sh" for name in ("modules", "lmod", "z00_lmod"))
        lines += [
            "set +u  # module scripts read variables that are not set",
            f'type module >/dev/null 2>&1 || for file in {scripts}; do [ -r "$file" ] && . "$file" && break; done || true',
            f"module load {shlex.join(hpc.modules)}",
            "set -u",
        ]
    lines += hpc.setup
    lines += _warning(job.needs.walltime, hpc.signal_s) if kind == "pbs" else []
    part = f' --part "${{{INDEX[kind]}}}/{job.elements}"' if job.elements else ""
    return "\n".join([*lines, f"exec ./s2cr {shlex.join(job.words)}{part}"]) + "\n"


def _warning(walltime: str | None, signal_s: int) -> list[str]:
    """PBS: what --signal does for Slurm. The shell keeps its number when it becomes the stage; the watcher ends with it."""
    hours, minutes, seconds = (int(part) for part in (walltime or "0:00:00").split(":"))
    left = 3600 * hours + 60 * minutes + seconds - signal_s
    if left <= 0:
        return []
    wait = f"for ((left = {left}; left > 0; left -= 5)); do sleep $((left < 5 ? left : 5)); kill -0 $$ || exit; done"
    return [f"({wait}; kill -USR1 $$) >/dev/null 2>&1 &"]


def _slurm(job: Job, hpc: Hpc, folder: Path) -> list[str]:
    needs, log = job.needs, str(folder / job.name).replace("%", "%%")
    lines = [f"--job-name=s2cr-{job.title}", f'--output="{log}.{"%A_%a" if job.elements else "%j"}.log"']
    lines += ["--nodes=1", "--ntasks=1"]
    lines += [f"--partition={needs.queue}"] if needs.queue else []
    lines += [f"--time={needs.walltime}"] if needs.walltime else []
    lines += [f"--mem={math.ceil(needs.memory_gib * 1024)}M"] if needs.memory_gib else []
    lines += [f"--cpus-per-task={needs.cpus}"] if needs.cpus else []
    # B: the signal goes to the process that the shell has become by exec
    return [*lines, f"--signal=B:USR1@{hpc.signal_s}", *([f"--array=1-{job.elements}"] if job.elements else [])]


def _pbs(job: Job, folder: Path) -> list[str]:
    if re.search(r"[\s,:]", str(folder)):
        raise ConfigError(
            f"PBS takes no log folder with a space, comma or colon: {folder}.", "Choose another work directory."
        )
    needs = job.needs
    # an array's elements write NAME.oID.INDEX into the folder; one file for all would be overwritten
    lines = ["-S /bin/bash", f"-N {job.title[:_PBS_NAME]}", "-j oe"]
    lines += [f"-o {folder}/" if job.elements else f"-o {folder / job.name}.log"]
    lines += [f"-q {needs.queue}"] if needs.queue else []
    lines += [f"-l walltime={needs.walltime}"] if needs.walltime else []
    lines += [f"-l mem={math.ceil(needs.memory_gib * 1024)}mb"] if needs.memory_gib else []
    lines += [f"-l ncpus={needs.cpus}"] if needs.cpus else []
    return [*lines, *([f"-J 1-{job.elements}"] if job.elements else [])]


def command_line(job: Job, kind: Kind, file: Path, ids: Mapping[str, str], hold: bool = False) -> list[str]:
    """The call that registers a job.

    ids   name -> id of the jobs registered before
    hold  PBS: register it held, so that nothing it is waited for by can miss its end
    """
    waits = [
        ":".join([kind_of_wait, *(ids[name] for name in names)])
        for kind_of_wait, names in (("afterok", job.after_ok), ("afterany", job.after_any))
        if names
    ]
    after = ",".join(waits)
    if kind == "slurm":
        return ["sbatch", "--parsable", *([f"--dependency={after}", "--kill-on-invalid-dep=yes"] if after else []), str(file)]  # fmt: skip
    return ["qsub", *(["-h"] if hold else []), *(["-W", f"depend={after}"] if after else []), str(file)]


def release_line(ids: Sequence[str]) -> list[str]:
    """PBS: the call that lets held jobs go."""
    return ["qrls", *ids]


def cancel_line(kind: Kind, ids: Sequence[str]) -> list[str]:
    """The call that takes jobs out of the queue."""
    return ["scancel" if kind == "slurm" else "qdel", *ids]


def job_id_of(kind: Kind, output: str) -> str:
    """Id in the answer of sbatch --parsable (`123` or `123;cluster`) or qsub (`123.server`, `123[].server`).

    raises  ExternalError for anything else
    """
    text = output.strip().splitlines()[-1].strip() if output.strip() else ""
    text = text.split(";")[0] if kind == "slurm" else text
    pattern = r"\d+" if kind == "slurm" else r"\d+(\[\])?(\.[A-Za-z0-9_.-]+)?"
    if not re.fullmatch(pattern, text):
        raise ExternalError(f"The batch system gave no job id but {output.strip()!r}.", "Look at its own messages.")
    return text
