"""From radar geometry to the map: bilinear on power, or nearest. Decibels and cubic kernels are refused by design:
cubic weights overshoot and make negative power out of positive."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from utils.science.orbit import FloatArray

Float32Array = NDArray[np.float32]
Resampling = Literal["bilinear", "nearest"]
_MIN_WEIGHT = 0.5


def to_map(
    image: Float32Array, first_line: int, first_pixel: int, line: FloatArray, pixel: FloatArray, method: Resampling
) -> Float32Array:
    """Sample a window of the image at fractional positions.

    image                    (image rows, image cols) float32 linear power, NaN = no measurement
    first_line, first_pixel  image coordinates of image[0, 0]
    line, pixel              (rows, cols) float64 positions; NaN or outside the window gives NaN
    method                   bilinear: NaN neighbours are left out and the other weights renormalised if they sum to
                             at least 0.5, else NaN; weights lie in 0..1, so positive input stays positive.
                             nearest: the closest pixel as it is
    """
    out = np.empty(line.shape, np.float32)
    _sample(image, first_line, first_pixel, line, pixel, method == "nearest", out)
    return out


def flags_to_map(
    flags: NDArray[np.uint8], first_line: int, first_pixel: int, line: FloatArray, pixel: FloatArray, outside: int
) -> NDArray[np.uint8]:
    """Nearest flag of the image at each map pixel, uint8; `outside` where there is none."""
    out = np.empty(line.shape, np.uint8)
    _sample_flags(flags, first_line, first_pixel, line, pixel, outside, out)
    return out


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
def _sample(image: Any, first_line: int, first_pixel: int, line: Any, pixel: Any, nearest: bool, out: Any) -> None:
    rows, cols = image.shape
    for r in prange(line.shape[0]):
        for c in range(line.shape[1]):
            out[r, c] = np.nan
            y, x = line[r, c] - first_line, pixel[r, c] - first_pixel
            if not (-1 < y < rows and -1 < x < cols):  # also refuses NaN
                continue
            if nearest:
                i, j = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
                if 0 <= i < rows and 0 <= j < cols:
                    out[r, c] = image[i, j]
                continue
            i, j = int(np.floor(y)), int(np.floor(x))
            fy, fx = y - i, x - j
            total, weights = 0.0, 0.0
            for di in range(2):
                for dj in range(2):
                    if 0 <= i + di < rows and 0 <= j + dj < cols:
                        value = image[i + di, j + dj]
                        weight = (fy if di else 1 - fy) * (fx if dj else 1 - fx)
                        if not np.isnan(value):
                            total += weight * value
                            weights += weight
            if weights >= _MIN_WEIGHT:
                out[r, c] = total / weights


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
def _sample_flags(flags: Any, first_line: int, first_pixel: int, line: Any, pixel: Any, outside: int, out: Any) -> None:
    rows, cols = flags.shape
    for r in prange(line.shape[0]):
        for c in range(line.shape[1]):
            out[r, c] = outside
            y, x = line[r, c] - first_line + 0.5, pixel[r, c] - first_pixel + 0.5
            if 0 <= y < rows and 0 <= x < cols:
                out[r, c] = flags[int(y), int(x)]
