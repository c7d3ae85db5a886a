"""Where the time and the memory of an item go: for the ledger and the manifest, never for a result (decision 0013)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_STATUS = Path("/proc/self/status")


class Steps:
    """Wall-clock seconds by the name of a step; a step within a step counts for itself only. Of one thread."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by step, in the order in which they began."""
        return {name: round(value, 3) for name, value in self._seconds.items()}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count what happens inside for step `name`; the same name adds up."""
        self._credit()
        self._open.append(name)
        self._seconds.setdefault(name, 0.0)
        try:
            yield
        finally:
            self._credit()
            self._open.pop()

    def each(self, name: str, parts: Iterable[T]) -> Iterator[T]:
        """The parts, and the time that making them takes counts for step `name`."""
        iterator = iter(parts)
        while True:
            with self(name):
                try:
                    part = next(iterator)
                except StopIteration:
                    return
            yield part

    def move(self, seconds: float, source: str, target: str) -> None:
        """Count some seconds of step `source` for step `target`."""
        moved = min(seconds, self._seconds.get(source, 0.0))
        if source in self._seconds:
            self._seconds[source] -= moved
        self._seconds[target] = self._seconds.get(target, 0.0) + moved

    def _credit(self) -> None:
        now = time.monotonic()
        if self._open:
            self._seconds[self._open[-1]] += now - self._since
        self._since = now


def peak_mib(status: Path = _STATUS) -> float:
    """Most memory that this process has held so far, all items before included, in MiB; 0 where nothing tells."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return 0.0
    for line in lines:
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0
