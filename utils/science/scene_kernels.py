"""What every pixel of a scene goes through outside the network, each in one pass: the network must wait for nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

F32 = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


@njit(cache=True, nogil=True)  # type: ignore[misc]
def network_input(power: Any, optical: Any, sar: Any, light: Any, median: Any, change: Any, x: Any, valid: Any) -> None:
    """Fill x and valid as scaler.Scaler.network_input does, for radar that is filled already.

    power    (dates, 2, rows, cols) float32, linear, NaN = nodata; optical (dates - 1, n, rows, cols) float32
    sar      (4, 2) float64: slope, offset, lower and upper clip of the dB of each polarisation (infinite = no clip)
    light    (4, n) float64: the same of reflectance
    median   (2,) float32 of S1(t1) - S1(t0), dB; change: 0 = no such channel, else what it is cut at and divided by
    x        (rows, cols, C) float32 to fill; valid (rows, cols) bool
    """
    dates, pols, rows, cols = power.shape
    images, bands = optical.shape[:2]
    cut = np.float32(change)
    decibels = np.empty((dates, pols), np.float32)
    for i in range(rows):
        for j in range(cols):
            good, c = True, 0
            for d in range(dates):
                for p in range(pols):
                    value = power[d, p, i, j]
                    db = np.float32(10.0) * np.log10(value) if value > 0 else np.float32(np.nan)
                    decibels[d, p] = db
                    clipped = min(max(db, np.float32(sar[2, p])), np.float32(sar[3, p]))
                    if np.isfinite(db):
                        x[i, j, c] = np.float32(clipped * sar[0, p] + sar[1, p])
                    else:
                        x[i, j, c], good = np.float32(0.0), False
                    c += 1
            if change > 0:
                for p in range(pols):
                    step = decibels[dates - 1, p] - decibels[dates - 2, p] - median[p]
                    x[i, j, c] = min(max(step, -cut), cut) / cut if np.isfinite(step) else np.float32(0.0)
                    c += 1
            for d in range(images):
                for b in range(bands):
                    value = optical[d, b, i, j]
                    if np.isfinite(value):
                        clipped = min(max(value, np.float32(light[2, b])), np.float32(light[3, b]))
                        x[i, j, c] = np.float32(clipped * light[0, b] + light[1, b])
                    else:
                        x[i, j, c], good = np.float32(0.0), False
                    c += 1
            valid[i, j] = good
            if change > 0:
                x[i, j, c] = np.float32(1.0) if good else np.float32(0.0)


@njit(cache=True, nogil=True)  # type: ignore[misc]
def add_window(total: Any, weight: Any, image: Any, weights: Any, left: int) -> None:
    """total (h, cols, bands) += image * weights and weight (h, cols) += weights, in columns left .. of a window."""
    height, width, bands = image.shape
    for i in range(height):
        for j in range(width):
            w = weights[i, j]
            weight[i, left + j] += w
            for b in range(bands):
                total[i, left + j, b] += image[i, j, b] * w


@njit(cache=True, nogil=True)  # type: ignore[misc]
def weighted_mean(total: Any, weight: Any, valid: Any, scale: Any, offset: Any) -> Any:
    """(rows, cols, bands) float32: total / weight * scale + offset; NaN where no window lies or the input is not valid."""
    rows, cols, bands = total.shape
    out = np.empty((rows, cols, bands), np.float32)
    for i in range(rows):
        for j in range(cols):
            if valid[i, j] and weight[i, j] > 0:
                for b in range(bands):
                    out[i, j, b] = total[i, j, b] / weight[i, j] * scale[b] + offset[b]
            else:
                out[i, j, :] = np.float32(np.nan)
    return out
