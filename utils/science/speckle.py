"""Speckle filters on linear power in radar geometry; NaN is left out of every window and never filled.

A window with fewer than half of its pixels valid gives NaN. Negative power takes part like any other value.
Every output pixel depends on the input alone: results are the same for any number of threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammainc, gammaincinv

from utils.science import speckle_kernels as kernels
from utils.science.speckle_refined import refined_lee

Float32Array = NDArray[np.float32]
FilterName = Literal["none", "lee", "refined_lee", "lee_sigma"]

_POINT_PERCENTILE = 98.0
_REFINED_WINDOW = 7
_HOMOGENEOUS_SHARE = 0.1
_LEAST_WINDOWS = 10


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
    power: Float32Array,
    name: FilterName,
    window: int = 7,
    looks: float = 4.4,
    sigma: float = 0.9,
    bright: float | None = None,
) -> Float32Array:
    """Apply one filter.

    A part of an image with radius_px more rows or columns at its cuts gives the pixels of the whole, bit for bit; for
    lee_sigma the parts must then share one `bright`.

    power   (rows, cols) float32 linear power, NaN = no measurement
    window  odd side in pixels; refined_lee always uses 7
    looks   equivalent number of looks; 4.4 for Sentinel-1 IW GRDH
    sigma   share of the speckle law that lee_sigma keeps
    bright  power above which lee_sigma looks for point targets; None = bright_limit(power)
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
        kernels.lee(power, window // 2, 1.0 / looks, out)
    elif name == "refined_lee":
        refined_lee(power, 1.0 / looks, out)
    elif name == "lee_sigma":
        limits = sigma_range(looks, sigma)
        targets = np.empty(power.shape, np.uint8)
        kernels.point_targets(power, bright_limit(power) if bright is None else bright, targets)
        kernels.lee_sigma(power, window // 2, 1.0 / looks, limits.low, limits.high, limits.variation**2, targets, out)
    else:
        raise ValueError(f"unknown speckle filter {name!r}")
    return out


def bright_limit(sample: Float32Array) -> float:
    """Power above which lee_sigma takes a group of pixels for a point target: the 98th percentile.

    sample   any shape, float32 linear power, NaN left out; the image, or pixels spread over all of it
    returns  linear power; infinity (no targets) when nothing is valid
    """
    valid = sample[np.isfinite(sample)]
    return float(np.percentile(valid, _POINT_PERCENTILE)) if valid.size else math.inf


def estimate_looks(power: Float32Array, window: int = 32) -> float:
    """Equivalent number of looks: median of mean^2 / variance over the 10 % most homogeneous windows.

    Windows lie side by side; those with a pixel missing, a mean <= 0 or no variance are left out. Taking the most
    homogeneous ones overrates pure speckle: by 9 % at 4.4 looks and 32 pixels, by 15 % where neighbours are correlated as
    in GRD products, and less where the ground varies.

    power    (rows, cols) float32 linear power, NaN = no measurement, unfiltered
    window   side in pixels
    raises   ValueError when fewer than 10 windows are usable
    """
    rows, cols = power.shape[0] // window, power.shape[1] // window
    blocks = power[: rows * window, : cols * window].reshape(rows, window, cols, window)
    mean, variance = blocks.mean((1, 3), dtype=np.float64), blocks.var((1, 3), dtype=np.float64)
    usable = (mean > 0) & (variance > 0)  # NaN compares as false
    looks = np.sort(mean[usable] ** 2 / variance[usable])[::-1]
    if looks.size < _LEAST_WINDOWS:
        raise ValueError(f"{looks.size} windows of {window} x {window} px are complete; {_LEAST_WINDOWS} are needed")
    return float(np.median(looks[: math.ceil(_HOMOGENEOUS_SHARE * looks.size)]))


def radius_px(name: FilterName, window: int) -> int:
    """How many pixels around an output pixel the filter looks at (lee_sigma: its point targets need two)."""
    return {"none": 0, "lee": window // 2, "refined_lee": _REFINED_WINDOW // 2, "lee_sigma": max(window // 2, 2)}[name]
