"""Multi-temporal speckle filter on co-registered linear power of one track and polarisation.

Every date lends the others its speckle, divided by its own local mean; the level of a date is its local mean alone, so
that a change stays in its date. A date lends nothing where its local mean does not stand clear of its own scatter:
without thermal noise, dark water has means around 0, and power over such a mean would drown the speckle of all others.
No pixel gets lost and none is made: NaN is where it was.
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
_MIN_MEAN_SE = 3.0  # a local mean below three standard errors of its own may as well be 0
# In an average of N dates one more helps while its variance is below (2 + 1 / N) times theirs: 3 at N = 1. The
# variance within 49 pixels scatters by a quarter itself, so that 3 would now and then leave ordinary speckle out.
_MAX_VARIANCE = 4.0
_SMOOTH_VARIANCE = (
    0.1  # ten looks; steadier dates count as such, or a date without any speckle would shut out all others
)


def multitemporal_filter(stack: Float32Array, window: int) -> Float32Array:
    """out_k = m_k / N * sum_i I_i / m_i with the local means m.

    Means are of the valid pixels of a window; N counts the dates that take part at a pixel: those with a value there, a
    mean of at least half of the window that is larger than 3 of its standard errors, sd / sqrt(n), and a relative
    variance (sd / m)^2 up to 4 times the mean one of the steadier dates that take part. A date that does not take part
    keeps its value.

    stack   (dates, rows, cols) float32 linear power, NaN = no measurement, speckle not filtered before
    window  odd side in pixels
    returns (dates, rows, cols) float32, NaN where the input is NaN
    raises  ValueError for an even window
    source  Quegan and Yu 2001, IEEE TGRS 39(11), for dates without correlation; who takes part: variance of an average
    """
    if window % 2 == 0:
        raise ValueError(f"window must be odd, not {window}")
    stack = np.ascontiguousarray(stack, np.float32)
    out, variance = np.empty_like(stack), np.empty_like(stack)
    for power, mean, scatter in zip(stack, out, variance, strict=True):
        _local_moments(power, window // 2, mean, scatter)
    _combine(stack, variance, out)
    return out


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
def _add_column(source: Any, count: Any, total: Any, square: Any) -> None:
    for k in range(source.size):
        if not np.isnan(source[k]):
            value = np.float64(source[k])
            count[k] += 1
            total[k] += value
            square[k] += value * value


@njit(**_COMPILE)
def _add(source: Any, total: Any) -> None:
    for k in range(source.size):
        total[k] += source[k]


@njit(**_COMPILE)
def _relative_variance(n: int, total: float, square: float) -> float:
    """(sd / mean)^2 of n values; NaN where their mean does not stand clear of its own scatter."""
    mean = total / n
    variance = max((square - total * mean) / (n - 1), 0.0) if n > 1 else 0.0
    return variance / mean**2 if mean > 0 and mean > _MIN_MEAN_SE * np.sqrt(variance / n) else np.nan


@njit(parallel=True, **_COMPILE)
def _local_moments(power: Any, radius: int, mean: Any, variance: Any) -> None:
    """Mean and relative variance of the valid pixels of each window, cut at the image.

    Both are NaN where the pixel is NaN or half of its window is missing, the variance also where the mean is not clear.
    """
    rows, cols = power.shape
    for r in prange(rows):
        top, bottom = max(r - radius, 0), min(r + radius + 1, rows)
        for start in range(0, cols, _PIECE):
            n = min(_PIECE, cols - start)
            left, right = max(start - radius, 0), min(start + n + radius, cols)
            count, total, square = np.zeros(right - left, np.int32), np.zeros(right - left), np.zeros(right - left)
            for i in range(top, bottom):
                _add_column(power[i, left:right], count, total, square)
            counts, totals, squares = np.zeros(n, np.int32), np.zeros(n), np.zeros(n)
            for j in range(-radius, radius + 1):
                a, b = max(0, -(start + j)), min(n, cols - start - j)
                if a < b:
                    source = slice(start + j + a - left, start + j + b - left)
                    _add(count[source], counts[a:b])
                    _add(total[source], totals[a:b])
                    _add(square[source], squares[a:b])
            for k in range(n):
                c = start + k
                size = (bottom - top) * (min(c + radius + 1, cols) - max(c - radius, 0))
                mean[r, c] = variance[r, c] = np.nan
                if not np.isnan(power[r, c]) and 2 * counts[k] >= size:
                    mean[r, c] = totals[k] / counts[k]
                    variance[r, c] = _relative_variance(counts[k], totals[k], squares[k])


@njit(**_COMPILE)
def _variance_limit(variance: Any, r: int, c: int) -> float:
    """Largest relative variance that takes part at a pixel: dates join from the steadiest on while they help."""
    joined, steadiest = -1, np.inf
    for k in range(variance.shape[0]):
        steadiest = np.fmin(steadiest, variance[k, r, c])  # NaN where a date cannot take part
    limit = _MAX_VARIANCE * max(steadiest, _SMOOTH_VARIANCE)
    while True:
        count, total = 0, 0.0
        for k in range(variance.shape[0]):
            if variance[k, r, c] <= limit:
                count += 1
                total += variance[k, r, c]
        if count <= joined or count == 0:
            return limit
        joined, limit = count, _MAX_VARIANCE * max(total / count, _SMOOTH_VARIANCE)


@njit(parallel=True, **_COMPILE)
def _combine(stack: Any, variance: Any, mean: Any) -> None:
    """Turn the means of all dates into their results, in place."""
    dates, rows, cols = stack.shape
    for r in prange(rows):
        for c in range(cols):
            limit = _variance_limit(variance, r, c)
            count, total = 0, 0.0
            for k in range(dates):
                if variance[k, r, c] <= limit:
                    count += 1
                    total += stack[k, r, c] / mean[k, r, c]
            for k in range(dates):
                mean[k, r, c] = mean[k, r, c] * total / count if variance[k, r, c] <= limit else stack[k, r, c]
