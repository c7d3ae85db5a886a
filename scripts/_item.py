"""One unit of a stage's work, its progress, and the judgement of failures."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from scripts._steps import Steps, peak_mib
from utils.workflow.errors import DiskError, Error, Interrupted, PartialError, from_os_error
from utils.workflow.ledger import Entry

if TYPE_CHECKING:
    from scripts._context import Context


T = TypeVar("T")


class Skip(Exception):
    """Raised by Item.skip: the item is recorded as skipped."""


class Item:
    """One unit of work; a context manager that records what became of it.

    Project errors inside are recorded and suppressed (the stage goes on); a full disk, a signal and bugs go through.
    """

    def __init__(self, ctx: Context, item_id: str) -> None:
        self.id = item_id
        self.data: dict[str, Any] = {}
        self.steps = Steps()
        self._ctx = ctx
        self._outputs: list[Path] = []
        self._begin = time.monotonic()

    def output(self, path: Path) -> Path:
        """Register `path` as a result of this item; it is hashed when the item ends. Returns the path."""
        self._outputs.append(Path(path))
        return Path(path)

    def skip(self, reason: str) -> None:
        """End the item without result; `reason` goes to the ledger and is counted."""
        raise Skip(reason)

    def __enter__(self) -> Item:
        self._begin = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if isinstance(error, OSError) and not isinstance(error, Error):
            error = from_os_error(error)
        if isinstance(error, DiskError | Interrupted):
            raise error
        if error is None:
            self._record("done")
            return True
        if isinstance(error, Skip):
            self._outputs.clear()
            self._record("skipped", str(error))
            return True
        if isinstance(error, Error):
            self._outputs.clear()
            self._record("failed", str(error), error.exit_code)
            self._ctx.log.error("%s: %s", self.id, error)
            if self._ctx.options.fail_fast:
                raise error
            return True
        return False

    def _record(self, status: str, reason: str = "", exit_code: int = 0) -> None:
        outputs = self._ctx.describe(self._outputs)
        seconds = round(time.monotonic() - self._begin, 3)
        self._ctx.record(
            Entry(
                self.id,
                status,
                self._ctx.key,
                outputs,
                reason,
                self.data,
                exit_code,
                seconds,
                self.steps.seconds,
                peak_mib(),
            )
        )


def raise_failures(failed: list[Entry], total: int) -> None:
    first = failed[0]
    codes = {entry.exit_code for entry in failed}
    error = PartialError(
        f"{len(failed)} of {total} items failed; the first: {first.item}: {first.reason}",
        "Mend the cause and run the same command again: finished items are kept.",
    )
    if len(failed) == total and len(codes) == 1:
        error.exit_code = codes.pop()
    raise error


def progress(names: list[str], stage: str, unit: str, log: logging.Logger, quiet: bool) -> Iterator[str]:
    """A bar on a terminal; in a batch log a line every 30 seconds."""
    if sys.stderr.isatty() and not quiet and "NO_PROGRESS" not in os.environ:
        from tqdm import tqdm

        yield from tqdm(names, desc=stage, unit=unit, leave=False)
        return
    begin = last = time.monotonic()
    for count, name in enumerate(names):
        now = time.monotonic()
        if now - last > 30:
            left = (now - begin) / count * (len(names) - count) if count else 0
            log.info("%d of %d %ss, about %.0f s left", count, len(names), unit, left)
            last = now
        yield name


def progress_of(ctx: Context, parts: Iterable[T], total: int, name: str) -> Iterator[T]:
    """A bar over the parts of one item on a terminal; in a batch log a line every 30 seconds."""
    if sys.stderr.isatty() and not ctx.options.quiet and "NO_PROGRESS" not in os.environ:
        from tqdm import tqdm

        yield from tqdm(parts, desc=name[:40], total=total, leave=False)
        return
    begin = last = time.monotonic()
    for count, part in enumerate(parts):
        now = time.monotonic()
        if now - last > 30:
            left = (now - begin) / count * (total - count) if count else 0
            ctx.log.info("%s: %d of %d blocks, about %.0f s left", name, count, total, left)
            last = now
        yield part
