"""Compiled loops of the speckle filters.

Every output pixel is computed from its own window alone, in one order of summation: results do not depend on the
number of threads, nor on where an image is cut as long as the window is whole. A row is worked on in pieces of
columns with the loop over columns innermost, so that the sums of neighbouring pixels fill vector registers; running
sums would be as fast, but then a pixel would depend on where its row began.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

COMPILE: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_POINT_NEIGHBOURS = 5
PIECE = 512  # columns at a time: the sums stay in the first-level cache


@njit(**COMPILE)
def shifted(start: int, size: int, shift: int, cols: int) -> tuple[int, int]:
    """Part [first, last) of a piece of columns whose pixels have a neighbour `shift` columns away in the image."""
    return max(0, -(start + shift)), min(size, cols - start - shift)


@njit(**COMPILE)
def _window_size(rows: int, cols: int, r: int, c: int, radius: int) -> int:
    height = min(r + radius + 1, rows) - max(r - radius, 0)
    return height * (min(c + radius + 1, cols) - max(c - radius, 0))


@njit(**COMPILE)
def _add_moments(source: Any, centre: Any, count: Any, total: Any, square: Any) -> None:
    for k in range(source.size):
        value = source[k] - centre[k]  # differences to the centre keep the variance exact in the sums
        if not np.isnan(value):
            count[k] += 1
            total[k] += value
            square[k] += value * value


@njit(**COMPILE)
def _moments(power: Any, r: int, start: int, radius: int, count: Any, total: Any, square: Any) -> None:
    """Number of valid pixels, sum and sum of squares of their differences to the centre, windows cut at the image."""
    rows, cols = power.shape
    size = count.size
    count[:], total[:], square[:] = 0, 0.0, 0.0
    centre = power[r, start : start + size]
    for i in range(max(r - radius, 0), min(r + radius + 1, rows)):
        for j in range(-radius, radius + 1):
            first, last = shifted(start, size, j, cols)
            if first < last:
                source = power[i, start + j + first : start + j + last]
                _add_moments(source, centre[first:last], count[first:last], total[first:last], square[first:last])


@njit(**COMPILE)
def _add_valid(source: Any, count: Any) -> None:
    for k in range(source.size):
        count[k] += not np.isnan(source[k])


@njit(**COMPILE)
def _add(source: Any, total: Any) -> None:
    for k in range(source.size):
        total[k] += source[k]


@njit(**COMPILE)
def _valid(power: Any, r: int, start: int, radius: int, count: Any) -> None:
    """Number of valid pixels of each window."""
    rows, cols = power.shape
    size = count.size
    count[:] = 0
    left, right = max(start - radius, 0), min(start + size + radius, cols)
    column = np.zeros(right - left, np.int32)
    for i in range(max(r - radius, 0), min(r + radius + 1, rows)):
        _add_valid(power[i, left:right], column)
    for j in range(-radius, radius + 1):
        first, last = shifted(start, size, j, cols)
        if first < last:
            _add(column[start + j + first - left : start + j + last - left], count[first:last])


@njit(**COMPILE)
def _lee_value(value: float, count: int, total: float, square: float, cu2: float) -> float:
    """m + w (I - m), w = clip((1 - Cu^2 / Ci^2) / (1 + Cu^2), 0, 1); sums of differences to I, count > 0."""
    shift = total / count
    variance = max(square / count - shift * shift, 0.0)
    mean = shift + value
    if variance <= 0:
        return mean
    weight = (1 - cu2 * mean * mean / variance) / (1 + cu2)
    return mean + min(max(weight, 0.0), 1.0) * (value - mean)


@njit(parallel=True, **COMPILE)
def lee(power: Any, radius: int, cu2: float, out: Any) -> None:
    """Lee filter of (rows, cols) float32 power into out."""
    rows, cols = power.shape
    for r in prange(rows):
        for start in range(0, cols, PIECE):
            size = min(PIECE, cols - start)
            count, total, square = np.empty(size, np.int32), np.empty(size), np.empty(size)
            _moments(power, r, start, radius, count, total, square)
            for k in range(size):
                c = start + k
                out[r, c] = np.nan
                if not np.isnan(power[r, c]) and 2 * count[k] >= _window_size(rows, cols, r, c, radius):
                    out[r, c] = _lee_value(power[r, c], count[k], total[k], square[k], cu2)


@njit(parallel=True, **COMPILE)
def point_targets(power: Any, bright: float, targets: Any) -> None:
    """Mark the bright pixels of every 3 x 3 window with at least 5 pixels above `bright`."""
    rows, cols = power.shape
    for r in prange(rows):
        for c in range(cols):
            targets[r, c] = 0
            if not power[r, c] > bright:
                continue
            for wr in range(max(r - 1, 0), min(r + 2, rows)):
                for wc in range(max(c - 1, 0), min(c + 2, cols)):
                    count = 0
                    for i in range(max(wr - 1, 0), min(wr + 2, rows)):
                        for j in range(max(wc - 1, 0), min(wc + 2, cols)):
                            if power[i, j] > bright:
                                count += 1
                    if count >= _POINT_NEIGHBOURS:
                        targets[r, c] = 1


@njit(**COMPILE)
def _add_within(source: Any, least: Any, most: Any, prior: Any, count: Any, total: Any, square: Any) -> None:
    for k in range(source.size):
        if least[k] <= source[k] and source[k] <= most[k]:
            value = source[k] - prior[k]
            count[k] += 1
            total[k] += value
            square[k] += value * value


@njit(**COMPILE)
def _within(
    power: Any, r: int, start: int, radius: int, least: Any, most: Any, prior: Any, count: Any, total: Any, square: Any
) -> None:
    """Number and sums, as differences to `prior`, of the window's pixels in [least, most]."""
    rows, cols = power.shape
    size = count.size
    count[:], total[:], square[:] = 0, 0.0, 0.0
    for i in range(max(r - radius, 0), min(r + radius + 1, rows)):
        for j in range(-radius, radius + 1):
            a, b = shifted(start, size, j, cols)
            if a < b:
                source = power[i, start + j + a : start + j + b]
                _add_within(source, least[a:b], most[a:b], prior[a:b], count[a:b], total[a:b], square[a:b])


@njit(parallel=True, **COMPILE)
def lee_sigma(
    power: Any, radius: int, cu2: float, low: float, high: float, cu2_in: float, targets: Any, out: Any
) -> None:
    """Lee sigma filter of (rows, cols) float32 power into out; targets (rows, cols) are kept as they are."""
    rows, cols = power.shape
    for r in prange(rows):
        for start in range(0, cols, PIECE):
            n = min(PIECE, cols - start)
            valid, count = np.empty(n, np.int32), np.empty(n, np.int32)
            total, square, prior, least, most = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n)
            _valid(power, r, start, radius, valid)
            _moments(power, r, start, 1, count, total, square)
            for k in range(n):
                prior[k] = _lee_value(power[r, start + k], count[k], total[k], square[k], cu2)
                least[k], most[k] = min(low * prior[k], high * prior[k]), max(low * prior[k], high * prior[k])
            _within(power, r, start, radius, least, most, prior, count, total, square)
            for k in range(n):
                c = start + k
                value = power[r, c]
                if np.isnan(value) or 2 * valid[k] < _window_size(rows, cols, r, c, radius):
                    out[r, c] = np.nan
                elif targets[r, c]:
                    out[r, c] = value
                else:
                    out[r, c] = _sigma_value(value, prior[k], count[k], total[k], square[k], cu2_in)


@njit(**COMPILE)
def _sigma_value(value: float, prior: float, count: int, total: float, square: float, cu2_in: float) -> float:
    """As _refined_value within the sigma range, sums of differences to the prior mean; the prior where it is empty."""
    if count == 0:
        return prior
    shift = total / count
    mean, variance = shift + prior, max(square / count - shift * shift, 0.0)
    signal = (variance - mean * mean * cu2_in) / (1 + cu2_in)
    weight = min(max(signal / variance, 0.0), 1.0) if variance > 0 else 0.0
    return mean + weight * (value - mean)
