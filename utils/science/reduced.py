"""Rasters of any size made small enough to look at, read in stripes: memory grows with the width, not with the height."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.science.grid import Grid, Window

Array = NDArray[Any]
Reader = Callable[[Grid], Array]
STRIPE_ROWS = 512


@dataclass(frozen=True)
class Reduced:
    """A grid seen at a whole factor: the smallest that leaves the larger side at most max_px.

    grid  what the readers are asked for, in stripes of whole rows
    """

    grid: Grid
    max_px: int

    @property
    def factor(self) -> int:
        """Pixels of the grid across one pixel of the picture."""
        return -(-max(self.grid.shape) // self.max_px)

    @property
    def small(self) -> Grid:
        """The grid of the picture; its last row and column may reach outside where the size is no multiple."""
        g, n = self.grid, self.factor
        return Grid(g.epsg, g.x0, g.y0, g.dx * n, g.dy * n, -(-g.rows // n), -(-g.cols // n))

    def _stripes(self) -> Iterator[tuple[int, Grid]]:
        step = max(self.factor, STRIPE_ROWS // self.factor * self.factor)
        for row in range(0, self.grid.rows, step):
            yield row, self.grid.window(Window(row, 0, min(step, self.grid.rows - row), self.grid.cols))

    def mean(self, read: Reader) -> NDArray[np.float32]:
        """Mean of the valid pixels of each block, (planes, rows, cols) float32; NaN where a block has none.

        read  a stripe's grid -> (planes, rows, cols), NaN = no data
        """
        parts = [np.stack([self._blocks(plane) for plane in np.asarray(read(grid))]) for _, grid in self._stripes()]
        return np.concatenate(parts, axis=1)

    def _blocks(self, plane: Array) -> NDArray[np.float32]:
        """(rows, cols) of a stripe -> means of its blocks."""
        n = self.factor
        if n == 1:
            return plane.astype(np.float32)
        valid = np.isfinite(plane)
        rows, cols = (np.arange(0, size, n) for size in plane.shape)
        # whole rows first: they lie together in memory
        total = np.add.reduceat(np.where(valid, plane, 0), rows, axis=0, dtype=np.float64)
        total = np.add.reduceat(total, cols, axis=1)
        count = np.add.reduceat(np.add.reduceat(valid, rows, axis=0, dtype=np.int32), cols, axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)

    def nearest(self, read: Reader) -> Array:
        """The middle pixel of each block, (planes, rows, cols) of the type read: classes are never averaged."""
        n, parts = self.factor, []
        columns = np.minimum(np.arange(self.small.cols) * n + n // 2, self.grid.cols - 1)
        for _, grid in self._stripes():
            values = np.asarray(read(grid))
            rows = np.minimum(np.arange(-(-grid.rows // n)) * n + n // 2, grid.rows - 1)
            parts.append(values[:, rows[:, None], columns[None, :]])
        return np.concatenate(parts, axis=1)


def busiest(plane: NDArray[np.floating], factor: int, size_px: int, shape: tuple[int, int]) -> Window:
    """The square of the full grid that holds most of a plane seen at a factor.

    plane    (rows, cols) what is looked for, NaN counts nothing
    size_px  side of the square at full resolution, cut to the grid
    shape    rows, columns of the full grid
    """
    rows, cols = min(size_px, shape[0]), min(size_px, shape[1])
    tall, wide = max(1, min(rows // factor, plane.shape[0])), max(1, min(cols // factor, plane.shape[1]))
    sums = np.pad(np.nan_to_num(np.asarray(plane, np.float64)), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    boxes = sums[tall:, wide:] - sums[:-tall, wide:] - sums[tall:, :-wide] + sums[:-tall, :-wide]
    row, col = np.unravel_index(int(boxes.argmax()), boxes.shape)
    return Window(min(int(row) * factor, shape[0] - rows), min(int(col) * factor, shape[1] - cols), rows, cols)
