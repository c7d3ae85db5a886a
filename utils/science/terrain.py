"""Bilinear sampling of a height raster of any coordinate system on a map grid, by blocks.

Source coordinates are exact on a lattice fixed to the map (multiples of LATTICE_PX pixels) and bilinear in between, so
that a height does not depend on the block it is read with. In UTM against longitude and latitude the curvature of
320 m leaves less than 0.01 m on the ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from utils.science.grid import Grid

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

LATTICE_PX = 32
_MIN_WEIGHT = 0.5


@dataclass(frozen=True)
class Lattice:
    """Lattice of map points around a grid.

    x, y      (columns,), (rows,) float64 map coordinates of the points, m, x increasing, y decreasing
    at_col    (grid cols,) position of each pixel centre between the points of x, in points
    at_row    (grid rows,) the same along y
    """

    x: FloatArray
    y: FloatArray
    at_col: FloatArray
    at_row: FloatArray


def lattice(grid: Grid) -> Lattice:
    """Points at multiples of LATTICE_PX pixels that surround the pixel centres of `grid`."""
    x, at_col = _axis(grid.pixel_centres_x(), LATTICE_PX * grid.dx)
    y, at_row = _axis(grid.pixel_centres_y(), LATTICE_PX * grid.dy)
    return Lattice(x, y, at_col, at_row)


def _axis(centres: FloatArray, step: float) -> tuple[FloatArray, FloatArray]:
    at = centres / step  # step is negative along y: both axes count upwards in array order
    first, last = int(np.floor(at[0])), int(np.floor(at[-1])) + 1
    return np.asarray(np.arange(first, last + 1) * step, dtype=np.float64), at - first


def sample(
    source: Float32Array, top: int, left: int, at_source: tuple[FloatArray, FloatArray], points: Lattice
) -> Float32Array:
    """Bilinear values at the pixel centres of a grid.

    source     (rows, cols) float32 part of the source raster that begins at row `top` and column `left`; NaN = unknown
    at_source  row and column in the source of the lattice points, (lattice rows, lattice columns) float64; a whole
               number is a pixel's centre
    returns    (grid rows, grid cols) float32; unknown neighbours are left out and the other weights renormalised if
               they sum to at least 0.5, else NaN
    """
    out = np.empty((len(points.at_row), len(points.at_col)), np.float32)
    _sample(source, top, left, at_source[0], at_source[1], points.at_row, points.at_col, out)
    return out


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
def _sample(source: Any, top: int, left: int, node_row: Any, node_col: Any, at_row: Any, at_col: Any, out: Any) -> None:
    rows, cols = source.shape
    for r in prange(out.shape[0]):
        i = min(int(at_row[r]), node_row.shape[0] - 2)
        fi = at_row[r] - i
        for c in range(out.shape[1]):
            j = min(int(at_col[c]), node_row.shape[1] - 2)
            fj = at_col[c] - j
            upper = (1 - fj) * node_row[i, j] + fj * node_row[i, j + 1]
            y = (1 - fi) * upper + fi * ((1 - fj) * node_row[i + 1, j] + fj * node_row[i + 1, j + 1])
            upper = (1 - fj) * node_col[i, j] + fj * node_col[i, j + 1]
            x = (1 - fi) * upper + fi * ((1 - fj) * node_col[i + 1, j] + fj * node_col[i + 1, j + 1])
            out[r, c] = np.nan
            if not (np.isfinite(x) and np.isfinite(y)):
                continue
            whole_y, whole_x = np.floor(y), np.floor(x)
            fy, fx = y - whole_y, x - whole_x
            p, q = int(whole_y) - top, int(whole_x) - left
            total, weights = 0.0, 0.0
            for dp in range(2):
                for dq in range(2):
                    if 0 <= p + dp < rows and 0 <= q + dq < cols:
                        value = source[p + dp, q + dq]
                        weight = (fy if dp else 1 - fy) * (fx if dq else 1 - fx)
                        if not np.isnan(value):
                            total += weight * value
                            weights += weight
            if weights >= _MIN_WEIGHT:
                out[r, c] = total / weights
