"""How far the downloads are: bars on a terminal, a line every 30 seconds in a batch log."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

_EVERY_S = 30.0


class Progress:
    """Bytes of several files at once; told by worker threads, shown by the main thread.

    sizes  expected bytes by name, None = unknown
    """

    def __init__(self, sizes: Mapping[str, int | None], log: logging.Logger, quiet: bool) -> None:
        self._sizes, self._log = dict(sizes), log
        self._there: dict[str, int] = {}
        self._begin = self._last = time.monotonic()
        self._lock = threading.Lock()
        self._bars: dict[str, Any] = {}
        self._terminal = sys.stderr.isatty() and not quiet and "NO_PROGRESS" not in os.environ
        self._total = self._bar("all files", self._known()) if self._terminal else None

    def of(self, name: str) -> Callable[[int, int | None], None]:
        """The function that a transfer tells its progress to."""

        def tell(there: int, size: int | None) -> None:
            with self._lock:
                before, self._there[name] = self._there.get(name, 0), there
                self._sizes[name] = size
                if self._total is not None:
                    self._show(name, there - before, size)

        return tell

    def done(self, name: str) -> None:
        """Take away the bar of a file."""
        with self._lock:
            bar = self._bars.pop(name, None)
            if bar is not None:
                bar.close()

    def tick(self) -> None:
        """Called now and then by the main thread: a line in the batch log when one is due."""
        now = time.monotonic()
        if self._total is None and now - self._last >= _EVERY_S:
            self._last = now
            self._log.info(self.line(now))

    def line(self, now: float) -> str:
        """`12.0 of 80.0 MiB in 3 files, 4.0 MiB/s, about 17 s left`."""
        with self._lock:
            there, known = sum(self._there.values()), self._known()
        rate = there / max(now - self._begin, 1e-3)
        left = f", about {(known - there) / rate:.0f} s left" if rate > 0 and known > there else ""
        unknown = sum(size is None for size in self._sizes.values())
        more = f" and {unknown} of unknown size" if unknown else ""
        return (
            f"{there / 2**20:.1f} of {known / 2**20:.1f} MiB in {len(self._sizes)} files{more}, "
            f"{rate / 2**20:.1f} MiB/s{left}"
        )

    def close(self) -> None:
        """Remove all bars."""
        for bar in (*self._bars.values(), *([self._total] if self._total is not None else [])):
            bar.close()

    def _known(self) -> int:
        return sum(size or 0 for size in self._sizes.values())

    def _bar(self, name: str, total: int | None) -> Any:
        from tqdm import tqdm

        return tqdm(desc=name[:40], total=total or None, unit="B", unit_scale=True, unit_divisor=1024, leave=False)

    def _show(self, name: str, more: int, size: int | None) -> None:
        if name not in self._bars:
            self._bars[name] = self._bar(name, size)
        self._bars[name].update(more)
        self._total.update(more)  # type: ignore[union-attr]
