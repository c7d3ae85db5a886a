"""A real Slurm of one node on loopback, started in a folder and stopped without leaving anything behind."""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel", "squeue")
_PR_SET_CHILD_SUBREAPER = 36
CPUS = 4  # of the made-up node; jobs of a test may share fewer real ones
_CONF = """\
ClusterName=s2cr
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ctld}
SlurmdPort={slurmd}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
MinJobAge=7200
DefMemPerCPU=500
KillWait=20
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=20000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=data Nodes={host} MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why no Slurm can be started here; empty when it can."""
    if os.geteuid() != 0:
        return "starting Slurm needs root"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    return f"not installed: {', '.join(absent)} (apt-get install slurm-wlm munge)" if absent else ""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass
class Cluster:
    """The running cluster and what is asked of it."""

    folder: Path
    ports: tuple[int, int]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """For programs that shall see this Slurm: outside a job, and nothing of the calling environment's own."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "PBS_", "S2CR_GOALS"))}
        return {**kept, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def call(self, *words: object, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(word) for word in words],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**self.environment, **more},
        )
        if check and done.returncode:
            raise AssertionError(f"{words} ended with {done.returncode}: {done.stderr}\n{self.log()}")
        return done

    def log(self) -> str:
        """The end of the controller's log, for messages."""
        path = self.folder / "slurmctld.log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def jobs(self, job_id: str) -> list[dict[str, str]]:
        """Facts of a job, or of every element of an array, as scontrol shows them."""
        shown = self.call("scontrol", "--oneliner", "show", "job", job_id).stdout
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in shown.splitlines() if line.strip()]

    def wait(self, *ids: str, timeout_s: float = 240.0) -> dict[str, tuple[str, int]]:
        """Wait until the jobs have ended.

        returns  id (1234, or 1234_5 for an element) -> state and exit code
        """
        end = time.monotonic() + timeout_s
        while True:
            facts = [one for job_id in ids for one in self.jobs(job_id)]
            if all(one["JobState"] not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING") for one in facts):
                break
            if time.monotonic() > end:
                raise AssertionError(
                    f"still in the queue after {timeout_s:.0f} s: {[(f['JobId'], f['JobState'], f['Reason']) for f in facts]}"
                )
            time.sleep(0.5)
        out = {}
        for one in facts:
            name = f"{one['ArrayJobId']}_{one['ArrayTaskId']}" if "ArrayTaskId" in one else one["JobId"]
            out[name] = (one["JobState"], int(one["ExitCode"].split(":")[0]))
        return out

    def wait_for_state(self, job_id: str, state: str, timeout_s: float = 120.0) -> None:
        """Wait until a job is in a state, RUNNING for example."""
        end = time.monotonic() + timeout_s
        while self.jobs(job_id)[0]["JobState"] != state:
            if time.monotonic() > end:
                raise AssertionError(f"job {job_id} is {self.jobs(job_id)[0]['JobState']}, not {state}\n{self.log()}")
            time.sleep(0.3)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Start munged, slurmctld and slurmd in the foreground as children, with their files in `folder`; stop them."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    ctld, slurmd = free_ports(2)
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(_CONF.format(host=host, ctld=ctld, slurmd=slurmd, folder=folder, cpus=CPUS))
    _become_reaper(True)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    made = Cluster(folder, (ctld, slurmd))
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
    try:
        for words in (
            ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge],
            ["slurmctld", "-D", "-i", "-f", str(folder / "slurm.conf")],
            ["slurmd", "-D", "-N", host, "-f", str(folder / "slurm.conf")],
        ):
            log = (folder / f"{words[0]}.out").open("wb")
            program = shutil.which(words[0], path=path)
            assert program, words[0]
            made.processes.append(
                subprocess.Popen(
                    [program, *words[1:]],
                    stdout=log,
                    stderr=log,
                    env={**made.environment, "PATH": path},
                    start_new_session=True,
                )
            )
            log.close()
            if words[0] == "munged":
                _until((folder / "munge.socket").exists, "munged gave no socket", folder)
        _until(
            lambda: "idle" in made.call("sinfo", "-h", "-o", "%t", check=False).stdout, "the node is not idle", folder
        )
        yield made
    finally:
        _stop(made)
        _become_reaper(False)


def _until(ready: object, what: str, folder: Path, timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not ready():  # type: ignore[operator]
        if time.monotonic() > end:
            logs = "\n".join(path.read_text(errors="replace")[-1500:] for path in sorted(folder.glob("*.out")))
            raise AssertionError(f"{what} after {timeout_s:.0f} s\n{logs}")
        time.sleep(0.2)


def _stop(made: Cluster) -> None:
    """Cancel the jobs, end the daemons in reverse order, and what they started."""
    if made.processes[1:]:
        made.call("scancel", "--user=root", check=False)
        end = time.monotonic() + 40
        while made.call("squeue", "-h", check=False).stdout.strip() and time.monotonic() < end:
            time.sleep(0.3)
    for process in reversed(made.processes):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for step in processes_of(made.folder):
        with suppress(ProcessLookupError):
            os.kill(step, signal.SIGKILL)
    _reap("slurmstepd")


def _become_reaper(on: bool) -> None:
    """Orphans of children become children of this process, so that it can wait for them; a container's init may not."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def _reap(name: str) -> None:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            head, _, rest = path.read_text().rpartition(")")
            if head.endswith(f"({name}") and int(rest.split()[1]) == os.getpid():
                os.waitpid(int(path.parent.name), 0)


def processes_of(folder: Path) -> list[int]:
    """Processes that belong to this cluster: slurmstepd and jobs carry its SLURM_CONF."""
    mark, found = f"SLURM_CONF={folder}/slurm.conf".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in path.read_bytes().split(b"\0") and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found
