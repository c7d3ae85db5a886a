"""Speckle filters on linear power in radar geometry; NaN is left out of every window and never filled.

A window with fewer than half of its pixels valid gives NaN. Negative power takes part like any other value.
Every output pixel depends on the input alone: results are the same for any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammainc, gammaincinv

Float32Array = NDArray[np.float32]
FilterName = Literal["none", "lee", "refined_lee", "lee_sigma"]

_COMPILE: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_POINT_PERCENTILE = 98.0
_POINT_NEIGHBOURS = 5
_REFINED_WINDOW = 7


@dataclass(frozen=True)
class SigmaRange:
    """Interval [low, high] around the mean that holds the share `sigma` of L-look speckle with its mean kept.

    variation  coefficient of variation of the speckle inside the interval
    """

    low: float
    high: float
    variation: float


def sigma_range(looks: float, sigma: float) -> SigmaRange:
    """Solve the truncated gamma law of mean 1 and L looks: share sigma, mean 1.

    source  Lee, Wen, Ainsworth, Chen, Chen 2009, IEEE TGRS 47(1): table I is this for L = 1 .. 4
    """

    def upper(low: float) -> float:
        return float(gammaincinv(looks, min(gammainc(looks, looks * low) + sigma, 1.0)) / looks)

    def mean_error(low: float) -> float:
        high = upper(low)
        top = 1.0 if np.isinf(high) else float(gammainc(looks + 1, looks * high))
        return (top - float(gammainc(looks + 1, looks * low))) / sigma - 1.0

    highest = float(gammaincinv(looks, (1 - sigma) * (1 - 1e-12)) / looks)
    low = float(brentq(mean_error, 0.0, highest, xtol=1e-14))
    high = upper(low)
    square = (looks + 1) / looks * float(gammainc(looks + 2, looks * high) - gammainc(looks + 2, looks * low)) / sigma
    return SigmaRange(low, high, float(np.sqrt(square - 1.0)))


def speckle_filter(
    power: Float32Array, name: FilterName, window: int = 7, looks: float = 4.4, sigma: float = 0.9
) -> Float32Array:
    """Apply one filter.

    power   (rows, cols) float32 linear power, NaN = no measurement
    window  odd side in pixels; refined_lee always uses 7
    looks   equivalent number of looks; 4.4 for Sentinel-1 IW GRDH
    sigma   share of the speckle law that lee_sigma keeps
    returns (rows, cols) float32; NaN where the input is NaN or fewer than half of the window is valid
    raises  ValueError for an even window or an unknown name
    """
    if window % 2 == 0:
        raise ValueError(f"speckle window must be odd, not {window}")
    power = np.ascontiguousarray(power, np.float32)
    if name == "none":
        return power
    out = np.empty_like(power)
    if name == "lee":
        _lee(power, window // 2, 1.0 / looks, out)
    elif name == "refined_lee":
        _refined_lee(power, 1.0 / looks, out)
    elif name == "lee_sigma":
        limits = sigma_range(looks, sigma)
        valid = power[np.isfinite(power)]
        bright = float(np.percentile(valid, _POINT_PERCENTILE)) if valid.size else np.inf
        targets = np.zeros(power.shape, np.uint8)
        _point_targets(power, bright, targets)
        _lee_sigma(power, window // 2, 1.0 / looks, limits.low, limits.high, limits.variation**2, targets, out)
    else:
        raise ValueError(f"unknown speckle filter {name!r}")
    return out


def radius_px(name: FilterName, window: int) -> int:
    """How many pixels around an output pixel the filter looks at (lee_sigma: its point targets add one)."""
    return {"none": 0, "lee": window // 2, "refined_lee": _REFINED_WINDOW // 2, "lee_sigma": window // 2 + 1}[name]


@njit(**_COMPILE)
def _moments(power: Any, r: int, c: int, radius: int) -> tuple[int, float, float]:
    """Number, mean and variance of the valid pixels of a window, cut at the image edge."""
    rows, cols = power.shape
    count, total, square = 0, 0.0, 0.0
    centre = power[r, c]  # differences to the centre keep the variance exact in the sums
    for i in range(max(r - radius, 0), min(r + radius + 1, rows)):
        for j in range(max(c - radius, 0), min(c + radius + 1, cols)):
            value = power[i, j] - centre
            if not np.isnan(value):
                count += 1
                total += value
                square += value * value
    if count == 0:
        return 0, 0.0, 0.0
    mean = total / count
    return count, mean + centre, max(square / count - mean * mean, 0.0)


@njit(**_COMPILE)
def _window_size(shape: Any, r: int, c: int, radius: int) -> Any:
    height = min(r + radius + 1, shape[0]) - max(r - radius, 0)
    return height * (min(c + radius + 1, shape[1]) - max(c - radius, 0))


@njit(**_COMPILE)
def _lee_value(value: float, mean: float, variance: float, cu2: float) -> float:
    """m + w (I - m), w = clip((1 - Cu^2 / Ci^2) / (1 + Cu^2), 0, 1)."""
    if variance <= 0:
        return mean
    weight = (1 - cu2 * mean * mean / variance) / (1 + cu2)
    return mean + min(max(weight, 0.0), 1.0) * (value - mean)


@njit(parallel=True, **_COMPILE)
def _lee(power: Any, radius: int, cu2: float, out: Any) -> None:
    for r in prange(power.shape[0]):
        for c in range(power.shape[1]):
            out[r, c] = np.nan
            if np.isnan(power[r, c]):
                continue
            count, mean, variance = _moments(power, r, c, radius)
            if 2 * count >= _window_size(power.shape, r, c, radius):
                out[r, c] = _lee_value(power[r, c], mean, variance, cu2)


@njit(**_COMPILE)
def _sub_mean(power: Any, r: int, c: int) -> float:
    """Mean of the 3 x 3 pixels around a place that may be invalid or outside the image; NaN when all are."""
    rows, cols = power.shape
    count, total = 0, 0.0
    for i in range(max(r - 1, 0), min(r + 2, rows)):
        for j in range(max(c - 1, 0), min(c + 2, cols)):
            if not np.isnan(power[i, j]):
                count += 1
                total += power[i, j]
    return total / count if count > 0 else np.nan


@njit(**_COMPILE)
def _in_half(direction: int, side: int, i: int, j: int) -> bool:
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


@njit(**_COMPILE)
def _half_moments(power: Any, r: int, c: int, direction: int, side: int) -> tuple[bool, float, float]:
    """Whether at least half of a half window is valid, its mean and variance."""
    rows, cols = power.shape
    count, size, total, square = 0, 0, 0.0, 0.0
    for i in range(-3, 4):
        for j in range(-3, 4):
            if 0 <= r + i < rows and 0 <= c + j < cols and _in_half(direction, side, i, j):
                size += 1
                value = power[r + i, c + j] - power[r, c]
                if not np.isnan(value):
                    count += 1
                    total += value
                    square += value * value
    shift = total / max(count, 1)
    return 2 * count >= size, shift + power[r, c], max(square / max(count, 1) - shift * shift, 0.0)


@njit(**_COMPILE)
def _edge(means: Any) -> tuple[int, int]:
    """Direction of the strongest edge among 3 x 3 sub-means, and the side that the centre belongs to.

    Means without valid pixels are NaN: they make no edge, and their side is never the nearer one.
    """
    centre = means[1, 1]
    known = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            known[i, j] = centre if np.isnan(means[i, j]) else means[i, j]
    gradients = (
        abs(known[:, 2].sum() - known[:, 0].sum()),
        abs(known[2, :].sum() - known[0, :].sum()),
        abs(known[0, 1] + known[0, 2] + known[1, 2] - known[1, 0] - known[2, 0] - known[2, 1]),
        abs(known[1, 2] + known[2, 2] + known[2, 1] - known[0, 1] - known[0, 0] - known[1, 0]),
    )
    direction = 0
    for d in range(1, 4):
        if gradients[d] > gradients[direction]:
            direction = d
    one = abs((means[1, 0], means[0, 1], means[2, 0], means[0, 0])[direction] - centre)
    other = abs((means[1, 2], means[2, 1], means[0, 2], means[2, 2])[direction] - centre)
    return direction, -1 if one <= other or np.isnan(other) else 1


@njit(parallel=True, **_COMPILE)
def _refined_lee(power: Any, cu2: float, out: Any) -> None:
    rows, cols = power.shape
    for r in prange(rows):
        means = np.empty((3, 3))
        for c in range(cols):
            out[r, c] = np.nan
            if np.isnan(power[r, c]):
                continue
            for i in range(3):
                for j in range(3):
                    means[i, j] = _sub_mean(power, r + 2 * (i - 1), c + 2 * (j - 1))
            direction, side = _edge(means)
            enough, mean, variance = _half_moments(power, r, c, direction, side)
            if not enough:
                enough, mean, variance = _half_moments(power, r, c, direction, -side)
            if not enough:
                continue
            signal = (variance - mean * mean * cu2) / (1 + cu2)
            weight = max(signal / variance, 0.0) if variance > 0 else 0.0
            out[r, c] = mean + weight * (power[r, c] - mean)


@njit(parallel=True, **_COMPILE)
def _point_targets(power: Any, bright: float, targets: Any) -> None:
    """Mark the bright pixels of every 3 x 3 window with at least 5 pixels above `bright`."""
    rows, cols = power.shape
    for r in prange(rows):
        for c in range(cols):
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


@njit(parallel=True, **_COMPILE)
def _lee_sigma(
    power: Any, radius: int, cu2: float, low: float, high: float, cu2_in: float, targets: Any, out: Any
) -> None:
    rows, cols = power.shape
    for r in prange(rows):
        for c in range(cols):
            value = power[r, c]
            out[r, c] = np.nan
            if np.isnan(value):
                continue
            count, mean, variance = _moments(power, r, c, radius)
            if 2 * count < _window_size(power.shape, r, c, radius):
                continue
            if targets[r, c]:
                out[r, c] = value
                continue
            _, mean, variance = _moments(power, r, c, 1)
            prior = _lee_value(value, mean, variance, cu2)
            least, most = min(low * prior, high * prior), max(low * prior, high * prior)
            count, total, square = 0, 0.0, 0.0
            for i in range(max(r - radius, 0), min(r + radius + 1, rows)):
                for j in range(max(c - radius, 0), min(c + radius + 1, cols)):
                    if least <= power[i, j] <= most:
                        count += 1
                        total += power[i, j] - prior
                        square += (power[i, j] - prior) ** 2
            if count == 0:
                out[r, c] = prior
                continue
            shift = total / count
            mean, variance = shift + prior, max(square / count - shift * shift, 0.0)
            signal = (variance - mean * mean * cu2_in) / (1 + cu2_in)
            weight = min(max(signal / variance, 0.0), 1.0) if variance > 0 else 0.0
            out[r, c] = mean + weight * (value - mean)
