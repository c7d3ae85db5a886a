"""Prediction of a scene of any size by overlapping windows, in rows, with memory that does not grow with its height.

Windows lie on a lattice fixed to the scene, so that neither the part of the scene that is asked for nor the number of
windows that a network takes at once changes a pixel. Beyond the edges the scene is mirrored by half a window, so that
edge pixels lie inside windows too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.science.blend import window_weights

F32 = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
ReadRows = Callable[[int, int], tuple[F32, BoolArray]]
Infer = Callable[[F32], F32]


@dataclass(frozen=True)
class WindowPlan:
    """The lattice of windows over a scene.

    rows, cols   size of the scene, pixels
    window_px    side of the windows; stride_px: distance of their corners, at most the side
    min_valid    windows with a smaller share of valid pixels are left out
    raises       ValueError for a stride beyond the window or a scene smaller than half a window
    """

    rows: int
    cols: int
    window_px: int = 256
    stride_px: int = 128
    min_valid: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.stride_px <= self.window_px or self.window_px % 2:
            raise ValueError(
                f"stride {self.stride_px} px does not fit a window of {self.window_px} px (an even number)"
            )
        if min(self.rows, self.cols) <= self.window_px // 2:
            raise ValueError(
                f"a scene of {self.rows} x {self.cols} px cannot be mirrored by half a window of {self.window_px} px"
            )

    @property
    def margin_px(self) -> int:
        """How far the scene is mirrored beyond its edges."""
        return self.window_px // 2

    def starts(self, size: int) -> list[int]:
        """First pixel of every window along an axis of `size` pixels: from -half on, until the end is behind."""
        count = -(-(size + self.margin_px - self.window_px + self.stride_px) // self.stride_px) + 1
        found = [-self.margin_px + i * self.stride_px for i in range(max(count, 1) + 1)]
        return [start for start in found if start < size and start + self.window_px > 0]


def mirrored(indices: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Indices beyond 0 .. size - 1 mirrored at the edge pixels, which are not repeated; further ones are clamped."""
    folded = np.where(indices < 0, -indices, np.where(indices >= size, 2 * size - 2 - indices, indices))
    return np.asarray(np.clip(folded, 0, size - 1), dtype=np.intp)


class _Rows:
    """The mirrored input rows of one row of windows; moving down, rows that are still needed are kept."""

    def __init__(self, plan: WindowPlan, read: ReadRows, left: int, right: int) -> None:
        self._plan, self._read = plan, read
        self._columns = mirrored(np.arange(left, right), plan.cols)
        self._top: int | None = None
        self.x = np.empty((0, 0, 0), np.float32)
        self.valid = np.empty((0, 0), bool)

    def move(self, top: int) -> None:
        """Hold rows top .. top + window_px - 1."""
        size = self._plan.window_px
        kept = 0 if self._top is None else max(size - (top - self._top), 0)
        fresh_x, fresh_valid = self._load(top + kept, top + size)
        if kept:
            fresh_x = np.concatenate([self.x[-kept:], fresh_x])
            fresh_valid = np.concatenate([self.valid[-kept:], fresh_valid])
        self.x, self.valid, self._top = fresh_x, fresh_valid, top

    def _load(self, first: int, last: int) -> tuple[F32, BoolArray]:
        wanted = mirrored(np.arange(first, last), self._plan.rows)
        low, high = int(wanted.min()), int(wanted.max()) + 1
        x, valid = self._read(low, high)
        picked = np.ix_(wanted - low, self._columns)
        return x[picked], valid[picked]


def predict_rows(
    plan: WindowPlan,
    read: ReadRows,
    infer: Infer,
    bands: int,
    batch: int = 8,
    first: int = 0,
    last: int | None = None,
) -> Iterator[tuple[int, F32]]:
    """Blended prediction of rows first .. last - 1 of a scene, from top to bottom.

    read    rows a .. b - 1 of the scene: x (b - a, cols, C) float32 network units, finite, and valid (b - a, cols);
            what it gives for a row must not depend on a and b
    infer   (batch, window, window, C) float32 -> (batch, window, window, bands) float32; always full batches
    yields  row of the scene and (rows, cols, bands) float32; NaN where the input is not valid or no window was made

    Every pixel is the mean of the windows over it, weighted by sin^2 (blend.window_weights). The windows of a row are
    taken from left to right in full batches, the rows from top to bottom: sums are the same for any part.
    """
    last = plan.rows if last is None else last
    columns, size = plan.starts(plan.cols), plan.window_px
    left, right = columns[0], columns[-1] + size
    weights = window_weights(size, size).astype(np.float32)
    rows = _Rows(plan, read, left, right)
    total = np.zeros((size, right - left, bands), np.float32)
    weight = np.zeros((size, right - left), np.float32)
    tops = [top for top in plan.starts(plan.rows) if top < last and top + size > first]
    for number, top in enumerate(tops):
        rows.move(top)
        offsets = [c - left for c in columns if rows.valid[:, c - left : c - left + size].mean() >= plan.min_valid]
        _add_windows(offsets, rows.x, infer, batch, weights, total, weight)
        done = size if number == len(tops) - 1 else plan.stride_px
        begin, end = max(top, first), min(top + done, last)
        if end > begin:
            inside = np.s_[begin - top : end - top, -left : plan.cols - left]
            yield begin, _mean(total[inside], weight[inside], rows.valid[inside])
        for sums in (total, weight):
            sums[: size - plan.stride_px] = sums[plan.stride_px :].copy()
            sums[size - plan.stride_px :] = 0.0


def _add_windows(offsets: list[int], x: F32, infer: Infer, batch: int, weights: F32, total: F32, weight: F32) -> None:
    size = len(weights)
    for begin in range(0, len(offsets), batch):
        chosen = offsets[begin : begin + batch]
        full = chosen + chosen[-1:] * (batch - len(chosen))
        found = infer(np.stack([x[:, offset : offset + size] for offset in full]))
        for offset, image in zip(chosen, found, strict=False):
            total[:, offset : offset + size] += image * weights[..., None]
            weight[:, offset : offset + size] += weights


def _mean(total: F32, weight: F32, valid: BoolArray) -> F32:
    covered = (weight > 0) & valid
    mean = total / np.where(covered, weight, np.float32(1.0))[..., None]
    return np.where(covered[..., None], mean, np.float32(np.nan)).astype(np.float32)


def part_rows(plan: WindowPlan, part: int, parts: int) -> tuple[int, int]:
    """First row and the one behind the last of part `part` (from 1) of `parts`, cut at multiples of the stride.

    raises  ValueError for a part that is not there
    """
    if not 1 <= part <= parts:
        raise ValueError(f"part {part} of {parts}")
    stripes = -(-plan.rows // plan.stride_px)
    edges = [round(i * stripes / parts) * plan.stride_px for i in (part - 1, part)]
    return min(edges[0], plan.rows), min(edges[1], plan.rows)
