"""One run at a time of a stage or part: a lock file that names its holder."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from utils.workflow.errors import LockedError
from utils.workflow.files import json_bytes


def _process_start(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot: tells a reused pid from the old process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rsplit(")", 1)[1].split()[19]


def job_id() -> str:
    """Id of the batch job this process runs in, or empty."""
    return os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID") or ""


def _me() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "start": _process_start(pid), "job": job_id()}


def _is_dead(holder: dict[str, Any]) -> bool:
    """True when the holder ran on this host and is gone, or in a job that the batch system says has ended."""
    if holder.get("host") != socket.gethostname():
        return _job_has_ended(str(holder.get("job") or ""))
    pid = int(holder.get("pid", 0))
    start = _process_start(pid)
    if start is not None:
        return start != holder.get("start")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _job_has_ended(job: str) -> bool:
    """A job that was killed on another node left its lock behind; only a clear answer of the batch system counts."""
    if not job:
        return False
    if job == job_id():  # this job, started again by the batch system after a node failed
        return int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0
    slurm = job.isdigit()
    words = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"] if slurm else ["qstat", job]
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    if slurm:
        return not said.stdout.strip() if said.returncode == 0 else "Invalid job id" in said.stderr
    return said.returncode != 0 and any(text in said.stderr for text in ("has finished", "Unknown Job Id"))


class Lock:
    """Context manager. The file appears with its content (hard link of a finished temporary file), never empty.

    raises  LockedError (exit 74) when a live process, or a process of another host, holds it
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Lock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        draft.write_bytes(json_bytes(_me()))
        try:
            for _ in range(3):
                try:
                    os.link(draft, self.path)
                    return self
                except FileExistsError:
                    self._evict()
            raise LockedError(f"{self.path}: several runs are starting at once.", "Wait a moment and try again.")
        finally:
            draft.unlink()

    def _evict(self) -> None:
        """Remove the lock of a dead process of this host; else refuse."""
        try:
            holder = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return
        except ValueError:
            holder = {}
        if not _is_dead(holder):
            who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
            if holder.get("job"):
                who += f", job {holder['job']}"
            raise LockedError(
                f"{self.path.stem} is locked by {who}.", f"Wait for it; if it is gone for sure: rm {self.path}"
            )
        grave = self.path.with_name(f"{self.path.name}.dead.{secrets.token_hex(4)}")
        with suppress(FileNotFoundError):
            self.path.rename(grave)
            grave.unlink()

    def __exit__(self, *_: object) -> None:
        with suppress(FileNotFoundError):
            self.path.unlink()
