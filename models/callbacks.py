"""What happens beside the training: signals and progress."""

from __future__ import annotations

import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any

from utils.workflow.errors import ConfigError

_SIGNALS = ("SIGTERM", "SIGUSR1", "SIGINT")


class StopFlag:
    """Turns SIGTERM, SIGUSR1 and Ctrl-C into a flag that the training reads after each batch."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopFlag:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python refuses handlers
            for name in _SIGNALS:
                number = getattr(signal, name)
                self._previous[number] = signal.signal(number, self._set)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _set(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.name = signal.Signals(number).name


class Progress:
    """One line on a terminal, or a log line every 20 seconds in a batch log, with speed and the time that is left."""

    def __init__(
        self, total: int, first: int, log: logging.Logger, what: str, tiles_a_step: int = 1, every_s: float = 20.0
    ) -> None:
        self.total, self.first, self.log, self.what, self.every_s = total, first, log, what, every_s
        self.tiles_a_step = tiles_a_step
        self.started = self.shown = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def update(self, done: int, epoch: int, loss: float) -> None:
        """Show the state after `done` steps."""
        now = time.monotonic()
        if now - self.shown < (0.2 if self.terminal else self.every_s) and done != self.total:
            return
        self.shown = now
        step_s = (now - self.started) / max(1, done - self.first)
        rate = self.tiles_a_step / max(step_s, 1e-9)
        text = f"{self.what}: step {done}/{self.total}, epoch {epoch}, loss {loss:.4f}, {rate:.3g} tiles/s, "
        text += f"{_clock(step_s * (self.total - done))} left"
        if self.terminal:
            sys.stderr.write(f"\r\x1b[K{text}" + ("\n" if done == self.total else ""))
            sys.stderr.flush()
        else:
            self.log.info(text)

    def end(self) -> None:
        """Leave the line of a terminal, so that what follows starts on its own."""
        if self.terminal and self.shown != self.started:
            sys.stderr.write("\n")
            sys.stderr.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def not_finite(name: str, step: int, values: Mapping[str, float], kept_steps: Sequence[int]) -> ConfigError:
    """The error of a training whose numbers exploded.

    values      terms of the step; those that are not finite are named
    kept_steps  checkpoints that are there, all from before the step
    """
    bad = ", ".join(f"{term} {value}" for term, value in values.items() if not math.isfinite(value))
    kept = f"The checkpoint of step {kept_steps[-1]} is kept." if kept_steps else "No checkpoint was due before it."
    return ConfigError(
        f"{name}: the loss is not finite any more at step {step} ({bad}). {kept}",
        "Lower lr or fact_g_lr in train.yaml, or set schedule.clip_norm; with load_model: N it goes on from the end of epoch N.",
    )
