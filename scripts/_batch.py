"""What is known of the batch system here, and how jobs are handed to it."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from utils.workflow import config, scheduler, yaml_rules
from utils.workflow.errors import BrokenEnvironmentError, ExternalError, RefusedError
from utils.workflow.files import atomic_json, atomic_text
from utils.workflow.lock import job_id
from utils.workflow.scheduler import Job, Kind
from utils.workflow.schema import Conf, Hpc

_TIMEOUT_S = 120.0
_PASSED_ON = {"S2CR_DATA", "S2CR_ENV", "S2CR_HPC", "S2CR_PYTHON"}
_PATHS = {"S2CR_DATA", "S2CR_ENV", "S2CR_HPC", "S2CR_PYTHON"}  # relative ones would start at another folder in the job
_NO_WAY = (socket.gaierror, TimeoutError)
_GEE = "https://earthengine.googleapis.com"


@cache
def _configured(sbatch: str) -> bool:
    """False where Slurm's programs are installed but belong to no cluster: scontrol beside sbatch says so at once."""
    scontrol = Path(sbatch).with_name("scontrol")
    if not scontrol.exists():
        return True
    try:
        answer = subprocess.run([scontrol, "show", "config"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return True
    return answer.returncode == 0 or "configuration source" not in answer.stderr


def present() -> Kind | None:
    """The batch system that is here: slurm where sbatch belongs to a cluster, pbs where there is qsub."""
    sbatch = shutil.which("sbatch")
    if sbatch and _configured(sbatch):
        return "slurm"
    return "pbs" if shutil.which("qsub") else None


def on_login_node(hpc: Hpc) -> bool:
    """True outside jobs where there is a batch system, or on a host that hpc.login_hosts names."""
    if job_id():
        return False
    return any(fnmatch.fnmatch(socket.gethostname(), pattern) for pattern in hpc.login_hosts) or present() is not None


def choose(hpc: Hpc, wanted: str | None, dry_run: bool) -> Kind:
    """The batch system to use.

    wanted  slurm or pbs, given on the command line; None = hpc.scheduler
    raises  BrokenEnvironmentError when it is not here (a dry run needs none that is named)
    """
    name = wanted or hpc.scheduler
    found = present()
    if name == "auto":
        if found is None:
            raise BrokenEnvironmentError(
                "There is no batch system here: neither sbatch of a cluster nor qsub.",
                "Run the stages without it: make STAGE CONF=...; --dry-run --scheduler slurm shows job files.",
            )
        name = found
    program = "sbatch" if name == "slurm" else "qsub"
    if not dry_run and shutil.which(program) is None:
        raise BrokenEnvironmentError(f"{program} is not here.", "Submit on a login node of the cluster.")
    kind: Kind = "slurm" if name == "slurm" else "pbs"
    if kind == "pbs" and not dry_run:
        _check_pbs()
    return kind


def _check_pbs() -> None:
    said = _call(["qsub", "--version"], check=False)
    if "pbs_version" not in said.stdout + said.stderr:
        raise BrokenEnvironmentError(
            f"This qsub is not that of PBS Professional or OpenPBS: {(said.stdout + said.stderr).strip()[:80]!r}.",
            "Torque and Grid Engine are not supported: write the job by hand, its last line ./s2cr STAGE CONF.",
        )


def environment(*files: Path) -> dict[str, str]:
    """Variables that a job needs: the project's own, and those that the configuration names as ${NAME}."""
    names = set(_PASSED_ON)
    for file in files:
        names |= yaml_rules.variables(file.read_text(encoding="utf-8"))
    found = {name: os.environ[name] for name in names if os.environ.get(name)}
    return {
        name: str(Path(value).expanduser().absolute()) if name in _PATHS else value for name, value in found.items()
    }


def new_folder(jobs: Path) -> Path:
    """<work>/jobs/0001, 0002 ...: the first that is free; made here, so that two submissions never share one."""
    jobs.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in jobs.iterdir() if re.fullmatch(r"\d{4,}", path.name)), default=0)
    while True:
        number += 1
        try:
            (jobs / f"{number:04d}").mkdir()
        except FileExistsError:
            continue
        return jobs / f"{number:04d}"


def preview(jobs: Sequence[Job], kind: Kind, hpc: Hpc, folder: Path, variables: Mapping[str, str]) -> str:
    """Files and command lines as they would be, ids in angle brackets."""
    ids = {job.name: f"<{job.name}>" for job in jobs}
    lines: list[str] = []
    for job in jobs:
        file = folder / f"{job.name}.sh"
        words = scheduler.command_line(job, kind, file, ids, hold=_held(job, jobs, kind))
        lines += [
            f"# {file}",
            scheduler.job_text(job, kind, hpc, folder, config.ROOT, variables),
            f"$ {' '.join(words)}",
            "",
        ]
    held = [ids[job.name] for job in jobs if _held(job, jobs, kind)]
    return "\n".join(lines + ([f"$ {' '.join(scheduler.release_line(held))}"] if held else []))


def _held(job: Job, jobs: Sequence[Job], kind: Kind) -> bool:
    """PBS refuses to wait for a job that has ended: the first ones are held until all are registered."""
    return kind == "pbs" and len(jobs) > 1 and not (job.after_ok or job.after_any)


def submit(
    jobs: Sequence[Job], kind: Kind, hpc: Hpc, folder: Path, variables: Mapping[str, str], say: Callable[[str], None]
) -> dict[str, str]:
    """Write the job files, register the jobs, release the held ones.

    say      told each job as it is registered
    returns  name -> id
    raises   ExternalError when the batch system refuses one; those registered before are taken back
    """
    ids: dict[str, str] = {}
    for job in jobs:
        text = scheduler.job_text(job, kind, hpc, folder, config.ROOT, variables)
        atomic_text(folder / f"{job.name}.sh", text)
    try:
        for job in jobs:
            words = scheduler.command_line(job, kind, folder / f"{job.name}.sh", ids, hold=_held(job, jobs, kind))
            ids[job.name] = scheduler.job_id_of(kind, _call(words).stdout)
            say(_line(job, ids))
        held = [ids[job.name] for job in jobs if _held(job, jobs, kind)]
        if held:
            _call(scheduler.release_line(held))
    except BaseException:
        if ids:
            _call(scheduler.cancel_line(kind, list(ids.values())), check=False)
        raise
    record = [{**asdict(job), "needs": job.needs.model_dump(mode="json"), "id": ids[job.name]} for job in jobs]
    atomic_json(folder / "submission.json", {"schema": "s2cr.submission/1", "scheduler": kind, "jobs": record})
    return ids


def _line(job: Job, ids: Mapping[str, str]) -> str:
    array = f"  {job.elements} elements" if job.elements else ""
    waits = [
        f"  {word} {', '.join(ids[name] for name in names[:4])}{', ...' if len(names) > 4 else ''}"
        for word, names in (("after success of", job.after_ok), ("after the end of", job.after_any))
        if names
    ]
    return f"{ids[job.name]:<12} {job.name}{array}{''.join(waits)}"


def _call(words: Sequence[str], check: bool = True) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(list(words), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise ExternalError(f"{words[0]} is not here.", "Submit on a login node of the cluster.") from error
    except subprocess.TimeoutExpired as error:
        raise ExternalError(
            f"{words[0]} gave no answer in {_TIMEOUT_S:.0f} s.",
            "See whether the batch system is up, then submit again.",
        ) from error
    if check and done.returncode != 0:
        raise ExternalError(
            f"{' '.join(words)} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}",
            "Nothing is left in the queue. Correct section hpc (./s2cr conf explain hpc) and submit again.",
        )
    return done


def service_of(conf: Conf, stage: str) -> str | None:
    """Address that a network stage talks to first; None when its provider is local."""
    search = conf.search
    name = search.provider if stage == "find_images" else search.download_from or search.provider
    ends = search.endpoints
    by_name = {
        "sara": ends.sara,
        "stac": ends.stac,
        "gee": ends.gee or _GEE,
        "cdse": ends.cdse_catalogue if stage == "find_images" else ends.cdse_download,
    }
    return by_name.get(name)


def refuse_without_network(stage: str, conf: Conf, conf_path: Path) -> None:
    """End a network stage at once in a job that reaches no network, before hours of retries.

    raises  RefusedError (73)
    """
    service = service_of(conf, stage) if job_id() else None
    if service is None:
        return
    queue = conf.hpc.transfer_queue
    here = {os.environ.get(name, "") for name in ("SLURM_JOB_PARTITION", "PBS_QUEUE", "PBS_O_QUEUE")} - {""}
    if queue and here and not here & {queue, f"{queue}-exec"}:  # PBS routes a queue to one that executes
        why = f"it runs in {', '.join(sorted(here))}, and only {queue} reaches it (hpc.transfer_queue)"
    elif not _reachable(service):
        why = f"{urlsplit(service).hostname} cannot be reached from {socket.gethostname()}"
    else:
        return
    way = f"Submit it: make submit STAGES={stage} CONF={conf_path}, with hpc.transfer_queue set; or run it on the login node."
    raise RefusedError(f"{stage} needs the network, which job {job_id()} does not have: {why}.", way)


def _reachable(address: str, timeout_s: float = 15.0) -> bool:
    """Can a connection be made, through the proxy where one is set? A refused connection is a network too."""
    from urllib.request import getproxies

    target = urlsplit(address)
    proxy = getproxies().get(target.scheme)
    if proxy:
        target = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    port = target.port or (443 if target.scheme == "https" else 80)
    try:
        socket.create_connection((target.hostname or "", port), timeout=timeout_s).close()
    except _NO_WAY:
        return False
    except OSError as error:
        return isinstance(error, ConnectionError)
    return True
