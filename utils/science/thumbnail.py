"""A small mean image of a raster that passes by in blocks of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Thumbnail:
    """Mean of the valid pixels of squares of whole pixels; the result does not depend on how rows are grouped.

    rows, cols  size of the raster
    max_px      largest side of the result
    """

    def __init__(self, rows: int, cols: int, max_px: int = 600) -> None:
        self.factor = max(1, -(-max(rows, cols) // max_px))
        self._size = -(-rows // self.factor), -(-cols // self.factor)
        self._sums = np.zeros((rows, self._size[1]), np.float32)
        self._counts = np.zeros((rows, self._size[1]), np.uint16)

    def add(self, values: NDArray[np.float32], row: int) -> None:
        """Rows from `row` on, (n, cols) float32, NaN = no value."""
        starts = np.arange(0, values.shape[1], self.factor)
        valid = np.isfinite(values)
        here = slice(row, row + len(values))
        self._sums[here] = np.add.reduceat(np.where(valid, values, np.float32(0)), starts, axis=1)
        self._counts[here] = np.add.reduceat(valid, starts, axis=1, dtype=np.uint16)

    def mean(self) -> NDArray[np.float32]:
        """(rows / factor, cols / factor) float32, rounded up; NaN where no pixel is valid."""
        starts = np.arange(0, len(self._sums), self.factor)
        total = np.add.reduceat(self._sums, starts, axis=0, dtype=np.float64)
        count = np.add.reduceat(self._counts, starts, axis=0, dtype=np.int64)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
