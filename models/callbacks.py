"""What happens beside the training: signals, progress, TensorBoard."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np

from models.inputs import F32

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
    """One line on a terminal, or a log line every 20 seconds in a batch log, with the time that is left."""

    def __init__(self, total: int, first: int, log: logging.Logger, what: str, every_s: float = 20.0) -> None:
        self.total, self.first, self.log, self.what, self.every_s = total, first, log, what, every_s
        self.started = self.shown = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def update(self, done: int, epoch: int, loss: float) -> None:
        """Show the state after `done` steps."""
        now = time.monotonic()
        if now - self.shown < (0.2 if self.terminal else self.every_s) and done != self.total:
            return
        self.shown = now
        left_s = (now - self.started) / max(1, done - self.first) * (self.total - done)
        text = f"{self.what}: step {done}/{self.total}, epoch {epoch}, loss {loss:.4f}, {_clock(left_s)} left"
        if self.terminal:
            sys.stderr.write(f"\r\x1b[K{text}" + ("\n" if done == self.total else ""))
            sys.stderr.flush()
        else:
            self.log.info(text)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Board:
    """TensorBoard scalars and images; the step is the number of tiles seen. Does nothing when switched off."""

    def __init__(self, folder: Path | None) -> None:
        self._writer: Any = None
        if folder is not None:
            import tensorflow as tf

            self._writer = tf.summary.create_file_writer(str(folder))

    def scalars(self, values: Mapping[str, float], tiles: int) -> None:
        """Write named numbers."""
        if self._writer is None:
            return
        import tensorflow as tf

        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=tiles)

    def images(self, rows: Sequence[Sequence[F32]], tiles: int, stretch: float = 0.3) -> None:
        """Write one strip for each tile: images (H, W, 3+) of reflectance side by side, stretched 0..stretch."""
        if self._writer is None or not rows:
            return
        import tensorflow as tf

        strips = [np.concatenate([np.clip(image[..., :3] / stretch, 0, 1) for image in row], axis=1) for row in rows]
        with self._writer.as_default():
            for number, strip in enumerate(strips):
                tf.summary.image(f"validation/{number:02d}_t0_prediction_truth_error", strip[None], step=tiles)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
