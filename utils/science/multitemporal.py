"""Multi-temporal speckle filter on co-registered linear power of one track and polarisation.

Every date lends the others its speckle, divided by its own local mean; the level of a date is its local mean alone, so
that a change stays in its date. No pixel gets lost and none is made: NaN is where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

_COMPILE: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_PIECE = 512


def multitemporal_filter(stack: Float32Array, window: int) -> Float32Array:
    """out_k = m_k / N * sum_i I_i / m_i with the local means m.

    Means are of the valid pixels of a window; N counts the dates that take part at a pixel: those with a value there
    and a mean > 0 of at least half of the window. A date that does not take part keeps its value.

    stack   (dates, rows, cols) float32 linear power, NaN = no measurement, speckle not filtered before
    window  odd side in pixels
    returns (dates, rows, cols) float32, NaN where the input is NaN
    raises  ValueError for an even window
    source  Quegan and Yu 2001, IEEE TGRS 39(11), for dates without correlation
    """
    if window % 2 == 0:
        raise ValueError(f"window must be odd, not {window}")
    stack = np.ascontiguousarray(stack, np.float32)
    out, total = np.empty_like(stack), np.zeros(stack.shape[1:])
    count = np.zeros(stack.shape[1:], np.int32)
    for power, mean in zip(stack, out, strict=True):
        _local_mean(power, window // 2, mean)
        _add_ratio(power, mean, total, count)
    for power, mean in zip(stack, out, strict=True):
        _apply(power, mean, total, count)
    return out


def expected_looks(looks: float, dates: int, window: int) -> float:
    """Equivalent number of looks after the filter on homogeneous ground: N L / (1 + (N - 1) / window^2).

    First order in the speckle: each ratio has the variance 1/L (1 - 1/n) of a pixel over the mean of n, the level 1/(n L).
    """
    return dates * looks / (1 + (dates - 1) / window**2)


def radius_px(window: int) -> int:
    """How many pixels around an output pixel the filter looks at."""
    return window // 2


@dataclass(frozen=True)
class RowBlock:
    """Rows to read next, and rows that can be put out then; halves open."""

    first: int
    stop: int
    out_first: int
    out_stop: int


def row_blocks(rows: int, step: int, radius: int) -> Iterator[RowBlock]:
    """Read all rows once, `step` at a time; output follows by `radius` rows, so that its windows are whole.

    raises  ValueError when step is not larger than the radius
    """
    if step <= radius:
        raise ValueError(f"blocks of {step} rows do not hold a radius of {radius}")
    done = 0
    for first in range(0, rows, step):
        stop = min(first + step, rows)
        ready = rows if stop == rows else stop - radius
        yield RowBlock(first, stop, done, ready)
        done = ready


@njit(**_COMPILE)
def _add_column(source: Any, count: Any, total: Any) -> None:
    for k in range(source.size):
        if not np.isnan(source[k]):
            count[k] += 1
            total[k] += source[k]


@njit(**_COMPILE)
def _add(source: Any, total: Any) -> None:
    for k in range(source.size):
        total[k] += source[k]


@njit(parallel=True, **_COMPILE)
def _local_mean(power: Any, radius: int, out: Any) -> None:
    """Mean of the valid pixels of each window, cut at the image; NaN where the pixel is NaN or half of it is missing."""
    rows, cols = power.shape
    for r in prange(rows):
        top, bottom = max(r - radius, 0), min(r + radius + 1, rows)
        for start in range(0, cols, _PIECE):
            n = min(_PIECE, cols - start)
            left, right = max(start - radius, 0), min(start + n + radius, cols)
            count, total = np.zeros(right - left, np.int32), np.zeros(right - left)
            for i in range(top, bottom):
                _add_column(power[i, left:right], count, total)
            counts, totals = np.zeros(n, np.int32), np.zeros(n)
            for j in range(-radius, radius + 1):
                a, b = max(0, -(start + j)), min(n, cols - start - j)
                if a < b:
                    source = slice(start + j + a - left, start + j + b - left)
                    _add(count[source], counts[a:b])
                    _add(total[source], totals[a:b])
            for k in range(n):
                c = start + k
                size = (bottom - top) * (min(c + radius + 1, cols) - max(c - radius, 0))
                out[r, c] = np.nan
                if not np.isnan(power[r, c]) and 2 * counts[k] >= size:
                    out[r, c] = totals[k] / counts[k]


@njit(parallel=True, **_COMPILE)
def _add_ratio(power: Any, mean: Any, total: Any, count: Any) -> None:
    for r in prange(power.shape[0]):
        for c in range(power.shape[1]):
            if mean[r, c] > 0:  # not for NaN
                total[r, c] += power[r, c] / mean[r, c]
                count[r, c] += 1


@njit(parallel=True, **_COMPILE)
def _apply(power: Any, mean: Any, total: Any, count: Any) -> None:
    """Turn the means of a date into its result, in place."""
    for r in prange(power.shape[0]):
        for c in range(power.shape[1]):
            if mean[r, c] > 0:
                mean[r, c] = mean[r, c] * total[r, c] / count[r, c]
            else:
                mean[r, c] = power[r, c]
