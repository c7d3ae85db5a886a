"""What lies beside a target while it is fetched: NAME.part, NAME.part.json, NAME.lock and one NAME.bad."""

from __future__ import annotations

import json
import os
import secrets
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utils.science.catalogue import Request
from utils.workflow.errors import LockedError
from utils.workflow.files import TEMPORARY_MARK, atomic_json, fsync_folder, json_bytes


def without_query(url: str) -> str:
    """An address without query and fragment: what may be stored."""
    return url.partition("#")[0].partition("?")[0]


@dataclass(frozen=True)
class State:
    """Which entity the bytes of a .part belong to.

    size   bytes of the whole, None = unknown;  etag, last_modified: as the server sent them, may be empty
    """

    url_without_query: str
    etag: str = ""
    last_modified: str = ""
    size: int | None = None
    md5: str = ""
    blake3: str = ""

    def validator(self) -> str:
        """Value for If-Range: the strong ETag, else the modification time when there is no ETag; empty = no resume."""
        if self.etag:
            return "" if self.etag.startswith("W/") else self.etag
        return self.last_modified


class Part:
    """The unfinished file of one target."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.state_path = target.with_name(target.name + ".part.json")
        self.bad = target.with_name(target.name + ".bad")

    def length(self) -> int:
        """Bytes received so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def state(self, request: Request) -> State | None:
        """The stored state; None when there is none, or when it belongs to another entity than the request's."""
        try:
            data: Any = json.loads(self.state_path.read_bytes())
            state = State(**data)
        except (OSError, ValueError, TypeError):
            return None
        asked = (without_query(request.url), request.md5, request.blake3)
        same = (state.url_without_query, state.md5, state.blake3) == asked
        return state if same and request.size in (None, state.size) else None

    def write_state(self, state: State) -> None:
        atomic_json(self.state_path, asdict(state))

    def drop(self) -> None:
        """Forget everything received."""
        for path in (self.path, self.state_path):
            with suppress(FileNotFoundError):
                path.unlink()

    def spoil(self) -> None:
        """Keep what failed verification as the one .bad, for a look at it; start anew."""
        with suppress(FileNotFoundError):
            os.replace(self.path, self.bad)  # noqa: PTH105
        self.drop()

    def sync(self) -> None:
        """Bring the received bytes to the disk."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def finish(self) -> None:
        """Give the verified and synced bytes their name, read-only and durable; then remove all traces."""
        self.path.chmod(0o444)
        self.sync()
        os.replace(self.path, self.target)  # noqa: PTH105
        fsync_folder(self.target.parent)
        self.clean()

    def clean(self) -> None:
        """Remove what is left beside a finished target."""
        self.drop()
        with suppress(FileNotFoundError):
            self.bad.unlink()


def _process_start(pid: int) -> str:
    """Start time of a process in clock ticks since boot: tells a reused pid from the old process; empty = gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


class TargetLock:
    """Keeps two processes from one target; no flock, network file systems do not have it everywhere.

    raises  LockedError when a live process of this host, or any process of another host, holds it
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".lock")

    def __enter__(self) -> TargetLock:
        pid = os.getpid()
        job = os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID") or ""
        me = {"host": socket.gethostname(), "pid": pid, "start": _process_start(pid), "job": job}
        draft = self.path.with_name(f"{self.path.name}{TEMPORARY_MARK}{pid}.{secrets.token_hex(4)}")
        draft.write_bytes(json_bytes(me))
        try:
            for _ in range(3):
                try:
                    os.link(draft, self.path)  # fails when the name is there, and the lock is never seen empty
                    return self
                except FileExistsError:
                    self._evict()
            raise LockedError(f"{self.path}: several runs are starting at once.", "Wait a moment and try again.")
        finally:
            draft.unlink()

    def _evict(self) -> None:
        try:
            holder: Any = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return
        except ValueError:
            holder = {}
        here = holder.get("host") == socket.gethostname()
        if not here or _process_start(int(holder.get("pid", 0))) == holder.get("start"):
            who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
            raise LockedError(f"{self.path.name} is held by {who}.", f"Wait; if it is gone for sure: rm {self.path}")
        grave = self.path.with_name(f"{self.path.name}{TEMPORARY_MARK}{os.getpid()}.{secrets.token_hex(4)}")
        with suppress(FileNotFoundError):
            self.path.rename(grave)
            grave.unlink()

    def __exit__(self, *_: object) -> None:
        with suppress(FileNotFoundError):
            self.path.unlink()
