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
    if method == "nearest":
        _nearest(image, first_line, first_pixel, line, pixel, np.float32(np.nan), out)
    else:
        _sample(image, first_line, first_pixel, line, pixel, out)
    return out


def flags_to_map(
    flags: NDArray[np.uint8], first_line: int, first_pixel: int, line: FloatArray, pixel: FloatArray, outside: int
) -> NDArray[np.uint8]:
    """Nearest flag of the image at each map pixel, uint8; `outside` where there is none."""
    out = np.empty(line.shape, np.uint8)
    _nearest(flags, first_line, first_pixel, line, pixel, np.uint8(outside), out)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _known_only(image: Any, i: int, j: int, fy: float, fx: float) -> Any:
    """Value between pixels (i, j) and (i + 1, j + 1) where some of the four are NaN or outside; the same operations in
    the same order as for four known ones."""
    rows, cols = image.shape
    total, weights = 0.0, 0.0
    for di in range(2):
        for dj in range(2):
            if 0 <= i + di < rows and 0 <= j + dj < cols and not np.isnan(image[i + di, j + dj]):
                weight = (fy if di else 1 - fy) * (fx if dj else 1 - fx)
                total += weight * image[i + di, j + dj]
                weights += weight
    return total / weights if weights >= _MIN_WEIGHT else np.nan


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
def _sample(image: Any, first_line: int, first_pixel: int, line: Any, pixel: Any, out: Any) -> None:
    rows, cols = image.shape
    for r in prange(line.shape[0]):
        for c in range(line.shape[1]):
            y, x = line[r, c] - first_line, pixel[r, c] - first_pixel
            if 0 <= y < rows - 1 and 0 <= x < cols - 1:
                i, j = int(y), int(x)
                fy, fx = y - i, x - j
                gy, gx = 1 - fy, 1 - fx
                w, e, s, t = gy * gx, gy * fx, fy * gx, fy * fx
                value = w * image[i, j] + e * image[i, j + 1] + s * image[i + 1, j] + t * image[i + 1, j + 1]
                out[r, c] = value / (w + e + s + t)
                if not np.isnan(out[r, c]):
                    continue
            out[r, c] = np.nan
            if -1 < y < rows and -1 < x < cols:  # also refuses NaN
                i, j = int(np.floor(y)), int(np.floor(x))
                out[r, c] = _known_only(image, i, j, y - i, x - j)


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
def _nearest(image: Any, first_line: int, first_pixel: int, line: Any, pixel: Any, outside: Any, out: Any) -> None:
    rows, cols = image.shape
    for r in prange(line.shape[0]):
        for c in range(line.shape[1]):
            out[r, c] = outside
            y, x = line[r, c] - first_line + 0.5, pixel[r, c] - first_pixel + 0.5
            if 0 <= y < rows and 0 <= x < cols:
                out[r, c] = image[int(y), int(x)]
