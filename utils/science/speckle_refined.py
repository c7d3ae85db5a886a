"""Compiled loops of the refined Lee filter; see speckle_kernels for how they are built."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from utils.science.speckle_kernels import COMPILE, PIECE, shifted

_HALF = 3  # half side of the window


@njit(**COMPILE)
def in_half(direction: int, side: int, i: int, j: int) -> bool:
    """Whether offset (i, j) belongs to one half of the 7 x 7 window, edge line included: 28 of 49 pixels."""
    if direction == 0:  # vertical edge
        along = j
    elif direction == 1:  # horizontal edge
        along = i
    elif direction == 2:  # edge from upper left to lower right
        along = j - i
    else:  # edge from lower left to upper right
        along = i + j
    return along * side >= 0


@njit(**COMPILE)
def _half_bits() -> Any:
    """The eight half windows, index 2 direction + (side > 0), as bits 7 (i + 3) + j + 3."""
    bits = np.zeros(8, np.uint64)
    for direction in range(4):
        for side in (-1, 1):
            for i in range(-_HALF, _HALF + 1):
                for j in range(-_HALF, _HALF + 1):
                    if in_half(direction, side, i, j):
                        place = np.uint64(7 * (i + _HALF) + j + _HALF)
                        bits[2 * direction + (side > 0)] |= np.uint64(1) << place
    return bits


@njit(**COMPILE)
def _add_known(source: Any, count: Any, total: Any) -> None:
    for k in range(source.size):
        value = source[k]
        if not np.isnan(value):
            count[k] += 1
            total[k] += value


@njit(**COMPILE)
def _sub_means(power: Any, r: int, start: int, means: Any) -> None:
    """Means of the 3 x 3 pixels around (r, start + k), a place that may lie outside; NaN where none is valid."""
    rows, cols = power.shape
    count = np.zeros(means.size, np.int32)
    means[:] = 0.0
    for i in range(max(r - 1, 0), min(r + 2, rows)):
        for j in range(-1, 2):
            first, last = shifted(start, means.size, j, cols)
            if first < last:
                _add_known(power[i, start + j + first : start + j + last], count[first:last], means[first:last])
    for k in range(means.size):
        means[k] = means[k] / count[k] if count[k] > 0 else np.nan


@njit(**COMPILE)
def _or(value: float, other: float) -> float:
    return other if np.isnan(value) else value


@njit(**COMPILE)
def _edges(up: Any, mid: Any, low: Any, codes: Any) -> None:
    """Half window of the side that the centre belongs to, at the strongest edge among 3 x 3 sub-means.

    Means without valid pixels are NaN: they make no edge, and their side is never the nearer one. Choices instead of
    branches: which edge is the strongest cannot be predicted, and a wrong guess costs more than all the sums.
    """
    for k in range(codes.size):
        m = mid[k + 2]
        a, b, c = _or(up[k], m), _or(up[k + 2], m), _or(up[k + 4], m)
        d, f = _or(mid[k], m), _or(mid[k + 4], m)
        g, h, i = _or(low[k], m), _or(low[k + 2], m), _or(low[k + 4], m)
        first, second = abs((c + f + i) - (a + d + g)), abs((g + h + i) - (a + b + c))
        third, fourth = abs(b + c + f - d - g - h), abs(f + i + h - b - a - d)
        code = 2 if second > first else 0
        one, other = (up[k + 2], low[k + 2]) if second > first else (mid[k], mid[k + 4])
        best = second if second > first else first
        code = 4 if third > best else code
        one, other = (low[k], up[k + 4]) if third > best else (one, other)
        best = third if third > best else best
        code = 6 if fourth > best else code
        one, other = (up[k], low[k + 4]) if fourth > best else (one, other)
        codes[k] = code + (not abs(one - m) <= abs(other - m) and not np.isnan(other))


@njit(**COMPILE)
def _half_size(rows: int, cols: int, r: int, c: int, code: int) -> int:
    """Number of pixels of a half window that lie within the image."""
    if _HALF <= r < rows - _HALF and _HALF <= c < cols - _HALF:
        return 28
    size = 0
    for i in range(max(r - _HALF, 0), min(r + _HALF + 1, rows)):
        for j in range(max(c - _HALF, 0), min(c + _HALF + 1, cols)):
            if in_half(code // 2, 2 * (code % 2) - 1, i - r, j - c):
                size += 1
    return size


@njit(**COMPILE)
def _add_half(source: Any, centre: Any, halves: Any, place: Any, count: Any, total: Any, square: Any) -> None:
    for k in range(source.size):
        value = source[k] - centre[k]
        if (halves[k] >> place) & np.uint64(1) != 0 and not np.isnan(value):
            count[k] += np.uint64(1)
            total[k] += value
            square[k] += value * value


@njit(**COMPILE)
def _half_moments(power: Any, r: int, start: int, halves: Any, count: Any, total: Any, square: Any) -> None:
    """Sums as of speckle_kernels over half windows."""
    rows, cols = power.shape
    length = halves.size
    count[:], total[:], square[:] = np.uint64(0), 0.0, 0.0
    centre = power[r, start : start + length]
    for i in range(max(r - _HALF, 0), min(r + _HALF + 1, rows)):
        for j in range(-_HALF, _HALF + 1):
            first, last = shifted(start, length, j, cols)
            if first < last:
                _add_half(
                    power[i, start + j + first : start + j + last], centre[first:last], halves[first:last],
                    np.uint64(7 * (i - r + _HALF) + j + _HALF), count[first:last], total[first:last], square[first:last],
                )  # fmt: skip


@njit(**COMPILE)
def _refined_value(value: float, count: int, total: float, square: float, cu2: float) -> float:
    """m + b (I - m), b = max(0, vx / v), vx = (v - m^2 Cu^2) / (1 + Cu^2)."""
    shift = total / count
    variance = max(square / count - shift * shift, 0.0)
    mean = shift + value
    signal = (variance - mean * mean * cu2) / (1 + cu2)
    weight = max(signal / variance, 0.0) if variance > 0 else 0.0
    return mean + weight * (value - mean)


@njit(parallel=True, **COMPILE)
def refined_lee(power: Any, cu2: float, out: Any) -> None:
    """Refined Lee filter of (rows, cols) float32 power into out."""
    rows, cols = power.shape
    bits = _half_bits()
    for r in prange(rows):
        for start in range(0, cols, PIECE):
            n = min(PIECE, cols - start)
            means = np.empty((3, n + 4))
            for i in range(3):
                _sub_means(power, r + 2 * (i - 1), start - 2, means[i])
            codes, halves = np.empty(n, np.int8), np.empty(n, np.uint64)
            _edges(means[0], means[1], means[2], codes)
            for k in range(n):
                halves[k] = bits[codes[k]]
            count, total, square = np.empty(n, np.uint64), np.empty(n), np.empty(n)
            _half_moments(power, r, start, halves, count, total, square)
            for k in range(n):
                c = start + k
                out[r, c] = np.nan
                if np.isnan(power[r, c]):
                    continue
                enough = 2 * count[k] >= _half_size(rows, cols, r, c, codes[k])
                if not enough:  # rare: the other side
                    o, code = slice(k, k + 1), codes[k] ^ 1
                    halves[k] = bits[code]
                    _half_moments(power, r, c, halves[o], count[o], total[o], square[o])
                    enough = 2 * count[k] >= _half_size(rows, cols, r, c, code)
                if enough:
                    out[r, c] = _refined_value(power[r, c], count[k], total[k], square[k], cu2)
