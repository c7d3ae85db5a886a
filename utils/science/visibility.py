"""Layover and radar shadow on the map, by marching along the ground direction to the sensor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from scipy import ndimage

from utils.science import geocode_kernels as kernels
from utils.science.geocode import MapNodes

# NO_VALUE: a sample is there, but the ground is hidden from the radar (area ratio below 0.05), or too few samples
# around it for the filter or the interpolation.
LAYOVER, SHADOW, NO_SAMPLE, DEM_MISSING, BORDER, NO_VALUE = 1, 2, 4, 8, 16, 32


def layover_shadow(
    nodes: MapNodes, height_m: NDArray[np.float32], first_row: int = 0, above: int = 0, rows: int | None = None
) -> NDArray[np.uint8]:
    """Bits 1 (layover) and 2 (shadow) of map cells, (rows, cols) uint8.

    height_m   float32 ellipsoidal heights of the grid of `nodes`, or of some of its rows: `above` rows, the `rows`
               wanted (None = all that follow) and more below; terrain outside is not seen, so the array must reach
               beyond the wanted rows by relief * max(tan, 1 / tan) of the incidence angle, where the grid goes on
    first_row  row of the grid that the result begins with
    Shadow at P: for some s > 0, h(P + s u) - h(P) > s / tan(incidence), u towards the sensor.
    Layover: h(P - s u) - h(P) >= s tan(incidence), or h(P) - h(P + s u) >= s tan(incidence).
    """
    bits = np.zeros((height_m.shape[0] - above if rows is None else rows, height_m.shape[1]), np.uint8)
    cosine = nodes.values[..., 6]
    if np.all(np.isnan(cosine)):
        return bits
    tangent = np.sqrt(1 / cosine**2 - 1)
    gentlest = min(float(np.nanmin(tangent)), 1 / float(np.nanmax(tangent)))
    candidates = _near_steep(height_m, nodes.grid.dx, gentlest)[above : above + len(bits)]
    if candidates.any():
        middle = nodes.values[:, :, nodes.values.shape[2] // 2 : nodes.values.shape[2] // 2 + 1, :]
        low, high = float(np.nanmin(height_m)), float(np.nanmax(height_m))
        _march(
            np.ascontiguousarray(middle), nodes.step_px, height_m, first_row, above, nodes.grid.dx, low, high,
            np.ascontiguousarray(candidates), bits,
        )  # fmt: skip
    return bits


def _near_steep(height_m: NDArray[np.float32], cell_m: float, slope: float) -> NDArray[np.bool_]:
    """Cells that a slope steep enough for layover or shadow could affect; on gentle terrain none.

    A difference h(P + s u) - h(P) above s * slope needs at least one cell on the way that is steeper than that.
    """
    steep = np.empty(height_m.shape, np.uint8)
    _mark_steep(height_m, np.float32((0.99 * slope * cell_m) ** 2), steep)
    if not steep.any():
        return np.zeros(height_m.shape, bool)
    relief = float(np.nanmax(height_m) - np.nanmin(height_m))
    reach = 2 * int(np.ceil(relief / slope / cell_m)) + 3
    near = ndimage.maximum_filter1d(steep, reach, axis=0)
    return np.asarray(ndimage.maximum_filter1d(near, reach, axis=1) > 0)


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
def _mark_steep(height_m: Any, least: Any, out: Any) -> None:
    """1 where the larger differences of a bilinear cell's edges, in either direction, have a square sum of `least`."""
    rows, cols = height_m.shape
    for r in prange(rows):
        upper, lower, marks = height_m[r], height_m[min(r + 1, rows - 1)], out[r]
        for c in range(cols - 1):
            left, right = abs(lower[c] - upper[c]), abs(lower[c + 1] - upper[c + 1])
            top, bottom = abs(upper[c + 1] - upper[c]), abs(lower[c + 1] - lower[c])
            y, x = left if left > right else right, top if top > bottom else bottom
            marks[c] = 1 if y * y + x * x >= least else 0
        last = abs(lower[cols - 1] - upper[cols - 1])
        marks[cols - 1] = 1 if last * last >= least else 0


@njit(cache=True, nogil=True, error_model="numpy")
def _height_at(height_m: Any, top: int, y: float, x: float) -> Any:
    """Bilinear height at grid row y and column x; the array begins at grid row `top`. NaN outside."""
    rows, cols = height_m.shape
    if y < top or x < 0 or y > top + rows - 1 or x > cols - 1:
        return np.nan
    i, j = min(int(y) - top, rows - 2), min(int(x), cols - 2)
    fy, fx = y - (i + top), x - j
    upper = (1 - fx) * height_m[i, j] + fx * height_m[i, j + 1]
    return (1 - fy) * upper + fy * ((1 - fx) * height_m[i + 1, j] + fx * height_m[i + 1, j + 1])


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
def _march(
    values: Any, step: int, height_m: Any, first_row: int, above: int, cell_m: float, low: float, high: float,
    todo: Any, bits: Any,
) -> None:  # fmt: skip
    rows, cols = bits.shape
    top = first_row - above
    for i in prange(rows):
        r = first_row + i  # positions are taken on the grid, so that rounding does not depend on where the array begins
        row_values = kernels.node_row(values, step, r, 6, 9)
        for c in range(cols):
            height = height_m[i + above, c]
            if not todo[i, c] or np.isnan(height):
                continue
            at = c / step
            j = min(int(at), row_values.shape[0] - 2)
            f = at - j
            cosine = (1 - f) * row_values[j, 0, 0] + f * row_values[j + 1, 0, 0]
            if np.isnan(cosine):
                continue
            tangent = np.sqrt(1 / (cosine * cosine) - 1)
            ux = (1 - f) * row_values[j, 0, 1] + f * row_values[j + 1, 0, 1]
            uy = -((1 - f) * row_values[j, 0, 2] + f * row_values[j + 1, 0, 2])  # rows go south
            k = 1
            while k * cell_m / tangent <= high - height:
                if _height_at(height_m, top, r + k * uy, c + k * ux) - height > k * cell_m / tangent:
                    bits[i, c] |= SHADOW
                    break
                k += 1
            k, found = 1, False
            while not found and k * cell_m * tangent <= high - height:
                found = _height_at(height_m, top, r - k * uy, c - k * ux) - height >= k * cell_m * tangent
                k += 1
            k = 1
            while not found and k * cell_m * tangent <= height - low:
                found = height - _height_at(height_m, top, r + k * uy, c + k * ux) >= k * cell_m * tangent
                k += 1
            if found:
                bits[i, c] |= LAYOVER
