"""Item ledger: one JSON line per item, appended after the item's files are in place."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from utils.workflow.errors import InputError
from utils.workflow.files import atomic_bytes


@dataclass(frozen=True)
class Entry:
    """What became of one item.

    status   done, skipped or failed
    outputs  path relative to the work directory -> [size in bytes, sha256]
    data     JSON values that later stages or the manifest use
    seconds, steps, peak_mib  wall clock, the same by step, most memory of the process so far; nothing hashes them
    """

    item: str
    status: str
    key: str
    outputs: Mapping[str, list[Any]] = field(default_factory=dict)
    reason: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    exit_code: int = 0
    seconds: float = 0.0
    steps: Mapping[str, float] = field(default_factory=dict)
    peak_mib: float = 0.0


def read(path: Path) -> dict[str, Entry]:
    """Entries by item, the last line of an item counts. A torn last line is ignored; a missing file is empty.

    raises  InputError when a line before the last is not JSON
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    entries: dict[str, Entry] = {}
    lines = raw.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError) as error:
            if number == len(lines):  # no newline behind it: the process died while writing
                break
            raise InputError(
                f"{path}:{number}: not a ledger line.", f"Delete {path}; the stage then starts anew."
            ) from error
        entries[entry.item] = entry
    return entries


class Ledger:
    """Append-only writer. Opening cuts a torn last line; every append is synced before it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: IO[bytes] | None = None

    def __enter__(self) -> Ledger:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            raw = self.path.read_bytes()
            whole = raw[: raw.rfind(b"\n") + 1]
            if whole != raw:
                atomic_bytes(self.path, whole)
        self._stream = self.path.open("ab")
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def append(self, entry: Entry) -> None:
        """Write one line in one call and sync it."""
        if self._stream is None:
            raise RuntimeError("ledger is not open")
        line = json.dumps(asdict(entry), sort_keys=True, allow_nan=False).encode() + b"\n"
        self._stream.write(line)
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def restart(self) -> None:
        """Forget all lines: the key has changed. Outputs of the old lines stay listed in <name>.old for removal."""
        old = self.path.with_suffix(".old")
        if self._stream is not None:
            self._stream.close()
        if self.path.exists() and self.path.stat().st_size:
            kept = old.read_bytes() if old.exists() else b""
            atomic_bytes(old, kept + self.path.read_bytes())
        atomic_bytes(self.path, b"")
        self._stream = self.path.open("ab")
