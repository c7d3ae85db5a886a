"""Calibrated power of image lines in one pass: beta0 without thermal noise, over the flattening's area ratio.

(DN^2 - noise) / betaNought^2 / ratio without arrays in between; the absolute calibration constant is inside betaNought.
Power below the noise stays negative: clipping would bias means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from utils.science.calibrate import AzimuthBlock, NoiseTables, VectorTable
from utils.science.flatten import MIN_RATIO
from utils.science.grid import Window

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
_COMPILE: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


class LinePower:
    """Tables of one polarisation, brought to the columns of an image window once.

    window        the part of the image whose lines will be asked for, full width
    noise_tables  None: subtract nothing
    """

    def __init__(self, beta_table: VectorTable, noise_tables: NoiseTables | None, window: Window) -> None:
        self._window = window
        self._beta_lines, self._beta = _rows(beta_table.lines, beta_table.pixels, beta_table.values, window)
        self._noise_lines, self._noise = np.zeros(1), np.zeros((0, window.cols))
        blocks: Sequence[AzimuthBlock] = ()
        if noise_tables is not None:
            vectors = noise_tables.range_vectors
            known = [np.where(v > 0, v, np.nan) for v in vectors.values]  # a zero means missing
            self._noise_lines, self._noise = _rows(vectors.lines, vectors.pixels, known, window)
            blocks = noise_tables.azimuth_blocks
        self._bounds = np.array(
            [[b.first_line, b.last_line, b.first_pixel, b.last_pixel] for b in blocks], dtype=np.int64
        ).reshape(-1, 4)
        self._blocks = blocks
        self.noise_missing_px = 0
        self.pixels_px = 0

    @property
    def noise_missing_fraction(self) -> float:
        """Share of the pixels so far for which the noise tables have no value; their noise stays in."""
        return self.noise_missing_px / self.pixels_px if self.pixels_px else 0.0

    def lines(
        self, dn: NDArray[np.uint16], first_line: int, ratio: Float32Array | None, *, count: bool = True
    ) -> Float32Array:
        """gamma0 (beta0 when ratio is None) of lines from image line first_line on, (lines, cols) float32.

        dn       (lines, cols) digital numbers, all columns of the window; 0 = no sample
        ratio    (lines, cols) area ratio of the flattening
        count    whether these lines enter noise_missing_fraction
        returns  linear power; NaN where DN is 0, where the ratio is NaN or below MIN_RATIO; negative below the noise
        """
        out = np.empty(dn.shape, np.float32)
        missing = np.zeros(len(dn), np.int64)
        at = np.arange(first_line, first_line + len(dn))
        factors = np.empty((len(self._blocks), len(dn)))
        for i, block in enumerate(self._blocks):
            factors[i] = np.interp(at, block.lines, block.values)
        none = np.empty((0, dn.shape[1]), np.float32)
        _power(
            dn, first_line, self._window.col, self._beta_lines, self._beta, self._noise_lines, self._noise,
            self._bounds, factors, none if ratio is None else ratio, MIN_RATIO, out, missing,
        )  # fmt: skip
        if count:
            self.noise_missing_px += int(missing.sum())
            self.pixels_px += dn.size
        return out


def _rows(
    lines: NDArray[np.int64], pixels: Sequence[NDArray[np.int64]], values: Sequence[FloatArray], window: Window
) -> tuple[FloatArray, FloatArray]:
    """The vectors around a window at all of its columns: their lines (n,), their values (n, cols); clamped."""
    columns = np.arange(window.col, window.col + window.cols, dtype=float)
    low = int(np.clip(np.searchsorted(lines, window.row, side="right") - 1, 0, len(lines) - 1))
    high = int(np.clip(np.searchsorted(lines, window.row + window.rows, side="right"), low, len(lines) - 1))
    needed = range(low, high + 1)
    return (
        np.array([lines[i] for i in needed], dtype=float),
        np.stack([np.interp(columns, pixels[i], values[i]) for i in needed]),
    )


@njit(**_COMPILE)
def _bracket(nodes: Any, line: float) -> tuple[int, float]:
    """Node at or before a line and the weight of the next one, clamped at both ends."""
    last = nodes.shape[0] - 1
    i = min(max(np.searchsorted(nodes, line, side="right") - 1, 0), max(last - 1, 0))
    if last == 0:
        return 0, 0.0
    return i, min(max((line - nodes[i]) / (nodes[i + 1] - nodes[i]), 0.0), 1.0)


@njit(**_COMPILE)
def _between(table: Any, i: int, weight: float, c: int) -> Any:
    """Value between two vectors; a missing one of weight 0 does not spoil the other."""
    if weight == 0.0:
        return table[i, c]
    if weight == 1.0:
        return table[i + 1, c]
    return (1 - weight) * table[i, c] + weight * table[i + 1, c]


@njit(parallel=True, **_COMPILE)
def _power(
    dn: Any, first_line: int, first_col: int, beta_lines: Any, beta: Any, noise_lines: Any, noise: Any, bounds: Any,
    factors: Any, ratio: Any, min_ratio: float, out: Any, missing: Any,
) -> None:  # fmt: skip
    rows, cols = dn.shape
    for r in prange(rows):
        line = first_line + r
        i, w = _bracket(beta_lines, float(line))
        k, v = _bracket(noise_lines, float(line))
        factor = np.ones(cols if noise.shape[0] > 0 else 0)
        for b in range(bounds.shape[0]):
            if bounds[b, 0] <= line <= bounds[b, 1]:
                for c in range(max(bounds[b, 2] - first_col, 0), min(bounds[b, 3] + 1 - first_col, cols)):
                    factor[c] *= factors[b, r]
        for c in range(cols):
            eta = 0.0
            if noise.shape[0] > 0:
                eta = _between(noise, k, v, c) * factor[c]
                if np.isnan(eta):
                    missing[r] += 1
                    eta = 0.0
            if dn[r, c] == 0:
                out[r, c] = np.nan
                continue
            scale = _between(beta, i, w, c)
            value = np.float32((float(dn[r, c]) * float(dn[r, c]) - eta) / (scale * scale))
            if ratio.shape[0] > 0:
                value = value / ratio[r, c] if ratio[r, c] >= min_ratio else np.float32(np.nan)
            out[r, c] = value
