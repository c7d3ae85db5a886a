"""Reading a training while it runs: its history, and the validation pictures that it wrote for TensorBoard."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
COLUMNS = ("t0", "prediction", "truth", "error")


def history(path: Path) -> list[dict[str, Any]]:
    """Records of history.jsonl so far; a line that is still being written is left out, a missing file is empty."""
    records: list[dict[str, Any]] = []
    if not path.is_file():
        return records
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def series(records: Sequence[dict[str, Any]], part: str, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one figure, such as val, psnr_changed; records without it are left out."""
    found = [(int(record["step"]), float(record[part][name])) for record in records if name in record.get(part, {})]
    return [step for step, _ in found], [value for _, value in found]


class Pictures:
    """The newest validation pictures in a TensorBoard folder; ask again while the training writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events: Any = None

    def strips(self, tiles: int) -> tuple[int, list[Picture]]:
        """Pictures of the first validation tiles, each t0, prediction, truth and error side by side.

        returns  tiles seen by the training when they were written (0: none yet), and pictures (H, 4 W, 3)
        """
        newest = self._newest()
        names = sorted({tag.split("/")[0] for tag in newest if tag.startswith("tile")})[:tiles]
        rows = [[newest[f"{name}/{column}"] for column in COLUMNS if f"{name}/{column}" in newest] for name in names]
        rows = rows or [[newest[tag]] for tag in sorted(newest) if tag.startswith("validation/")][:tiles]
        return max((step for row in rows for step, _ in row), default=0), [
            np.concatenate([_decode(png) for _, png in row], axis=1) for row in rows if row
        ]

    def _newest(self) -> dict[str, tuple[int, bytes]]:
        if not self._folder.is_dir():
            return {}
        if self._events is None:
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

            self._events = EventAccumulator(str(self._folder), size_guidance={"tensors": 1})
        self._events.Reload()
        found: dict[str, tuple[int, bytes]] = {}
        for tag in self._events.Tags()["tensors"]:
            event = self._events.Tensors(tag)[-1]
            values = event.tensor_proto.string_val  # width, height, then one PNG an image
            if len(values) > 2 and values[2].startswith(b"\x89PNG"):
                found[tag] = (int(event.step), bytes(values[2]))
        return found


def _decode(png: bytes) -> Picture:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.uint8)
