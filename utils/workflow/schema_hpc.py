"""Configuration of login nodes and batch jobs: what a job of each stage asks for, and what the site is like."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from utils.workflow.schema_base import Section, Strings, as_tuple, key

Directives = Annotated[tuple[Annotated[str, Field(pattern=r"^-\S[^\r\n]*$")], ...], BeforeValidator(as_tuple)]
_QUEUE = r"^[A-Za-z0-9_.,@-]+$"
_WALLTIME = r"^\d{1,4}:[0-5]\d:[0-5]\d$"


class Resources(Section):
    """What a job asks for."""

    queue: str | None = key(
        None, "Queue or partition; empty = hpc.job.queue, then the scheduler's default.", pattern=_QUEUE
    )
    walltime: str | None = key(None, "Walltime; empty = hpc.job.walltime.", "h:mm:ss", pattern=_WALLTIME)
    memory_gib: float | None = key(None, "Memory; empty = hpc.job.memory_gib.", "GiB", gt=0)
    cpus: int | None = key(None, "Processors; empty = hpc.job.cpus.", "processors", ge=1)
    options: Directives = key(
        (), "Further directives as the scheduler writes them, after those of hpc.job.options; GPU lines go here."
    )


class PartedJob(Resources):
    """A stage that can be divided."""

    parts: int = key(1, "Jobs that share the items of the stage.", "jobs", ge=1)


class TrainJob(Resources):
    """Training."""

    segments: int = key(
        1, "Walltimes in a row: each job goes on where the one before was stopped.", "jobs", ge=1, le=100
    )


class Hpc(Section):
    """Login nodes and batch jobs."""

    profile: str | None = key(
        None,
        "File with a section hpc that lies below this one, such as confs/hpc/slurm.yaml; the variable S2CR_HPC replaces it.",
        "path",
    )
    allow_login: bool = key(False, "Run heavy stages on a login node.")
    login_hosts: Strings = key((), "Host name patterns of login nodes.")
    scheduler: Literal["auto", "slurm", "pbs"] = key(
        "auto", "Batch system; auto takes the one that is there. pbs is PBS Professional or OpenPBS."
    )
    transfer_queue: str | None = key(
        None, "Queue whose jobs reach the network; where it is set, those of other queues do not.", pattern=_QUEUE
    )
    max_array: int = key(
        1000, "Most elements of an array job; 1, or more parts than this, gives single jobs.", "jobs", ge=1
    )
    signal_s: int = key(
        120,
        "SIGUSR1 comes this long before the walltime, and the stage saves and exits with 75.",
        "s",
        ge=10,
        le=3600,
    )
    modules: Strings = key((), "Environment modules that a job loads.")
    setup: Strings = key((), "Shell lines that a job runs before the stage.")
    job: Resources = key(Resources(), "Every job, unless its stage says otherwise.")
    network: Resources = key(
        Resources(), "Stages that need the network; their queue is hpc.transfer_queue where it is set."
    )
    preprocess_s1: PartedJob = key(PartedJob(), "Jobs of preprocess_s1.")
    preprocess_s2: PartedJob = key(PartedJob(), "Jobs of preprocess_s2.")
    multitemporal: PartedJob = key(PartedJob(), "Jobs of multitemporal.")
    tile: PartedJob = key(PartedJob(), "Jobs of tile.")
    build_dataset: PartedJob = key(PartedJob(), "Jobs of build_dataset.")
    train: TrainJob = key(TrainJob(), "Jobs of train.")
    predict: PartedJob = key(PartedJob(), "Jobs of predict.")
