"""Prediction of a scene of any size by overlapping windows, in rows, with memory that does not grow with its height.

Windows lie on a lattice fixed to the scene, so that neither the part of the scene that is asked for nor the number of
windows that a network takes at once changes a pixel. Beyond the edges the scene is mirrored by half a window, so that
edge pixels lie inside windows too.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.science.blend import window_weights
from utils.science.scene_kernels import add_window, weighted_mean

F32 = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
ReadRows = Callable[[int, int], tuple[F32, BoolArray]]
Infer = Callable[[F32], F32]
PIECE_ROWS = 32


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
        self._inner = slice(-left, -left + min(plan.cols, right))  # columns that are not mirrored: copied as they lie
        self._top: int | None = None
        self.x = np.empty((0, 0, 0), np.float32)
        self.valid = np.empty((0, 0), bool)

    def move(self, top: int) -> None:
        """Hold rows top .. top + window_px - 1."""
        size = self._plan.window_px
        kept = 0 if self._top is None else max(size - (top - self._top), 0)
        if kept:  # one buffer for all rows: two would be the largest arrays of a scene
            self.x[:kept], self.valid[:kept] = self.x[-kept:], self.valid[-kept:]
        self._load(top, kept)
        self._top = top

    def _load(self, top: int, kept: int) -> None:
        size = self._plan.window_px
        wanted = mirrored(np.arange(top + kept, top + size), self._plan.rows)
        low, high = int(wanted.min()), int(wanted.max()) + 1
        begins = [low, *range((low // PIECE_ROWS + 1) * PIECE_ROWS, high, PIECE_ROWS), high]
        for first, last in itertools.pairwise(begins):  # small ones: none lives longer than it takes to copy it
            x, valid = self._read(first, last)
            if not self.x.size:
                self.x = np.empty((size, len(self._columns), x.shape[-1]), np.float32)
                self.valid = np.empty(self.x.shape[:2], bool)
            here = np.flatnonzero((wanted >= first) & (wanted < last))  # mirrored rows lie twice in the window
            for target, values in ((self.x, x), (self.valid, valid)):
                for row in here:
                    self._copy(target[kept + row], values[wanted[row] - first])

    def _copy(self, target: Any, values: Any) -> None:
        inner = self._inner
        target[inner] = values[: inner.stop - inner.start]
        target[: inner.start] = values[self._columns[: inner.start]]
        target[inner.stop :] = values[self._columns[inner.stop :]]


def predict_rows(
    plan: WindowPlan,
    read: ReadRows,
    infer: Infer,
    bands: int,
    batch: int = 8,
    first: int = 0,
    last: int | None = None,
    scale: Sequence[float] | F32 | None = None,
    offset: Sequence[float] | F32 | None = None,
    workers: int = 1,
) -> Iterator[tuple[int, F32]]:
    """Blended prediction of rows first .. last - 1 of a scene, from top to bottom.

    read    rows a .. b - 1 of the scene: x (b - a, cols, C) float32 network units, finite, and valid (b - a, cols);
            what it gives for a row must not depend on a and b
    infer   (batch, window, window, C) float32 -> (batch, window, window, bands) float32; always full batches
    scale, offset  (bands,) the mean becomes mean * scale + offset; None = stays as it is
    workers  threads that call infer at the same time; the sums, and so the pixels, are the same for any number
    yields  row of the scene and (rows, cols, bands) float32; NaN where the input is not valid or no window was made

    Every pixel is the mean of the windows over it, weighted by sin^2 (blend.window_weights). The windows of a row are
    taken from left to right in full batches, the rows from top to bottom: sums are the same for any part.
    """
    last = plan.rows if last is None else last
    sums = _Sums(plan, bands, scale, offset)
    with ThreadPoolExecutor(workers, "windows") as pool:
        coming: deque[tuple[_Job | _RowEnd, Future[F32] | None]] = deque()
        for job in _jobs(plan, read, batch, first, last):
            coming.append((job, pool.submit(infer, job.x) if isinstance(job, _Job) else None))
            # one call waits, so that no thread does; the end of a row waits for nothing
            while coming and (coming[0][1] is None or sum(made is not None for _, made in coming) > workers + 1):
                yield from sums.take(*coming.popleft())
        while coming:
            yield from sums.take(*coming.popleft())


@dataclass(frozen=True)
class _Job:
    """Windows of one row that the network takes together. x (batch, window, window, C); columns of the mirrored rows."""

    x: F32
    columns: list[int]


@dataclass(frozen=True)
class _RowEnd:
    """All windows of a row are told: rows begin .. end - 1 of the scene are complete, of which `valid` (rows, cols)."""

    top: int
    begin: int
    end: int
    valid: BoolArray


def _jobs(plan: WindowPlan, read: ReadRows, batch: int, first: int, last: int) -> Iterator[_Job | _RowEnd]:
    """Windows from left to right and from top to bottom; they are copies, so the next rows may be read while the network
    is still busy with those."""
    columns, size = plan.starts(plan.cols), plan.window_px
    left = columns[0]
    rows = _Rows(plan, read, left, columns[-1] + size)
    least = max(plan.min_valid * size * size, 1)
    tops = [top for top in plan.starts(plan.rows) if top < last and top + size > first]
    for top in tops:
        rows.move(top)
        per_column = rows.valid.sum(axis=0)
        chosen = [c - left for c in columns if per_column[c - left : c - left + size].sum() >= least]
        for place in range(0, len(chosen), batch):
            group = chosen[place : place + batch]
            full = group + group[-1:] * (batch - len(group))
            yield _Job(np.stack([rows.x[:, c : c + size] for c in full]), group)
        done = size if top == tops[-1] else plan.stride_px
        begin, end = max(top, first), min(top + done, last)
        inside = np.s_[begin - top : max(end, begin) - top, -left : plan.cols - left]
        yield _RowEnd(top, begin, end, rows.valid[inside].copy())


class _Sums:
    """Weighted sums of the windows over the rows of one row of windows."""

    def __init__(
        self, plan: WindowPlan, bands: int, scale: Sequence[float] | F32 | None, offset: Sequence[float] | F32 | None
    ) -> None:
        columns, size = plan.starts(plan.cols), plan.window_px
        self._plan, self._left = plan, columns[0]
        self._weights = window_weights(size, size).astype(np.float32)
        self._factor = np.ones(bands, np.float32) if scale is None else np.asarray(scale, np.float32)
        self._shift = np.zeros(bands, np.float32) if offset is None else np.asarray(offset, np.float32)
        width = columns[-1] + size - columns[0]
        self._total = np.zeros((size, width, bands), np.float32)
        self._weight = np.zeros((size, width), np.float32)

    def take(self, job: _Job | _RowEnd, made: Future[F32] | None) -> Iterator[tuple[int, F32]]:
        """Add what the network said of a job; at the end of a row give the rows that are complete, and move down."""
        if isinstance(job, _Job):
            assert made is not None
            for column, image in zip(job.columns, made.result(), strict=False):
                add_window(self._total, self._weight, image, self._weights, column)
            return
        if job.end > job.begin:
            inside = np.s_[job.begin - job.top : job.end - job.top, -self._left : self._plan.cols - self._left]
            yield (
                job.begin,
                weighted_mean(self._total[inside], self._weight[inside], job.valid, self._factor, self._shift),
            )
        kept = self._plan.window_px - self._plan.stride_px
        for sums in (self._total, self._weight):
            sums[:kept] = sums[self._plan.stride_px :]
            sums[kept:] = 0.0


def part_rows(plan: WindowPlan, part: int, parts: int) -> tuple[int, int]:
    """First row and the one behind the last of part `part` (from 1) of `parts`, cut at multiples of the stride.

    raises  ValueError for a part that is not there
    """
    if not 1 <= part <= parts:
        raise ValueError(f"part {part} of {parts}")
    stripes = -(-plan.rows // plan.stride_px)
    edges = [round(i * stripes / parts) * plan.stride_px for i in (part - 1, part)]
    return min(edges[0], plan.rows), min(edges[1], plan.rows)


def fitting_window(rows: int, cols: int, window_px: int, multiple: int) -> int:
    """The largest window up to window_px, even and a multiple of `multiple`, that a scene can be mirrored for.

    raises  ValueError for a scene that is too small for two multiples
    """
    step = multiple * (1 + multiple % 2)
    fits = min(window_px, 2 * (min(rows, cols) - 1)) // step * step
    if fits < 2 * multiple:
        raise ValueError(
            f"a scene of {rows} x {cols} px is smaller than the smallest window, {max(2 * multiple, 2)} px"
        )
    return fits


def predict_blocks(
    shape: tuple[int, int],
    make: Callable[[tuple[slice, slice], tuple[slice, slice]], F32],
    block_px: int = 512,
    halo_px: int = 32,
    first: int = 0,
    last: int | None = None,
) -> Iterator[tuple[int, F32]]:
    """Prediction of rows first .. last - 1 by blocks side by side, for models that look at neighbours but at no window.

    make    rows and columns of the scene with a halo, and the block's rows and columns inside these -> (h, w, bands)
    yields  as predict_rows. Blocks lie on a lattice fixed to the scene: parts change no pixel
    """
    rows, cols = shape
    last = rows if last is None else last
    for top in range(first // block_px * block_px, last, block_px):
        bottom = min(top + block_px, rows)
        around = slice(max(top - halo_px, 0), min(bottom + halo_px, rows))
        images = []
        for left in range(0, cols, block_px):
            right = min(left + block_px, cols)
            beside = slice(max(left - halo_px, 0), min(right + halo_px, cols))
            own = (slice(top - around.start, bottom - around.start), slice(left - beside.start, right - beside.start))
            images.append(make((around, beside), own))
        begin, end = max(top, first), min(bottom, last)
        yield begin, np.concatenate(images, axis=1)[begin - top : end - top]


class RowFlow:
    """Rows of one scene taken in stripes: a stripe that begins where the last one ended goes on from there, so that
    windows over both are computed once; any other begins anew. The pixels are the same."""

    def __init__(self, begin: Callable[[int], Iterator[tuple[int, F32]]]) -> None:
        self._begin, self._next = begin, -1
        self._rows: Iterator[tuple[int, F32]] = iter(())
        self._left: F32 | None = None

    def take(self, first: int, last: int) -> Iterator[tuple[int, F32]]:
        """Rows first .. last - 1 as (row, (rows, cols, bands)), from top to bottom."""
        if first != self._next:
            self._rows, self._left = self._begin(first), None
        row, self._next = first, -1
        while row < last:
            image = next(self._rows)[1] if self._left is None else self._left
            part, self._left = image[: last - row], image[last - row :] if len(image) > last - row else None
            yield row, part
            row += len(part)
            del image, part  # while the next rows are made
        self._next = last
