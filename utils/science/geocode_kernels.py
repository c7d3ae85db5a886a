"""Compiled loops of geocode.py and flatten.py. Every output pixel is computed alone: thread count changes nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

_COMPILE: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(**_COMPILE)
def node_row(values: Any, step: int, row: int, first: int, last: int) -> Any:
    """Channels first..last-1 of the lattice, interpolated to one map row: (node columns, heights, last - first)."""
    at = row / step
    i = min(int(at), values.shape[0] - 2)
    f = at - i
    columns, heights = values.shape[1], values.shape[2]
    out = np.empty((columns, heights, last - first))
    for j in range(columns):
        for k in range(heights):
            for c in range(first, last):
                out[j, k, c - first] = (1 - f) * values[i, j, k, c] + f * values[i + 1, j, k, c]
    return out


@njit(**_COMPILE)
def height_weights(height: float, heights: Any, weights: Any) -> None:
    """Lagrange weights of `height` among the lattice heights."""
    count = heights.shape[0]
    for i in range(count):
        w = 1.0
        for j in range(count):
            if j != i:
                w *= (height - heights[j]) / (heights[i] - heights[j])
        weights[i] = w


@njit(**_COMPILE)
def node_value(row_values: Any, j: int, f: float, weights: Any, channel: int) -> float:
    """One channel at column j + f, with height weights."""
    total = 0.0
    for k in range(weights.shape[0]):
        total += weights[k] * ((1 - f) * row_values[j, k, channel] + f * row_values[j + 1, k, channel])
    return total


@njit(**_COMPILE)
def _polynomial(coefficients: Any, x: float) -> tuple[float, float]:
    """Value and derivative."""
    value, slope = 0.0, 0.0
    for k in range(coefficients.shape[0] - 1, -1, -1):
        slope = slope * x + value
        value = value * x + coefficients[k]
    return value, slope


@njit(**_COMPILE)
def _ground(
    times: Any, origins: Any, coefficients: Any, nearest: bool, time: float, slant: float
) -> tuple[float, float]:
    """Ground range and its derivative by slant range; see SlantToGround.ground_range."""
    count = times.shape[0]
    low = min(max(np.searchsorted(times, time, side="right") - 1, 0), max(count - 2, 0))
    high = min(low + 1, count - 1)
    weight = 0.0
    if high > low:
        weight = min(max((time - times[low]) / (times[high] - times[low]), 0.0), 1.0)
    if nearest:
        weight = 1.0 if weight > 0.5 else 0.0
    value, slope = _polynomial(coefficients[low], slant - origins[low])
    if weight > 0:
        value_high, slope_high = _polynomial(coefficients[high], slant - origins[high])
        value = (1 - weight) * value + weight * value_high
        slope = (1 - weight) * slope + weight * slope_high
    return value, slope


@njit(parallel=True, **_COMPILE)
def locate(
    values: Any, heights: Any, step: int, first_row: int, height_m: Any, line_interval_s: float,
    srgr_times: Any, srgr_origins: Any, srgr_coefficients: Any, nearest: bool, range_spacing_m: float,
    line: Any, pixel: Any, slant_step: Any,
) -> None:  # fmt: skip
    """Fill line, pixel (float64) and slant_step (float32), all (rows, cols)."""
    rows, cols = height_m.shape
    for r in prange(rows):
        row_values = node_row(values, step, first_row + r, 0, 2)
        weights = np.empty(heights.shape[0])
        for c in range(cols):
            at = c / step
            j = min(int(at), values.shape[1] - 2)
            height_weights(height_m[r, c], heights, weights)
            time = node_value(row_values, j, at - j, weights, 0)
            slant = node_value(row_values, j, at - j, weights, 1)
            if math.isnan(time):
                line[r, c], pixel[r, c], slant_step[r, c] = np.nan, np.nan, np.nan
                continue
            ground, slope = _ground(srgr_times, srgr_origins, srgr_coefficients, nearest, time, slant)
            line[r, c] = time / line_interval_s
            pixel[r, c] = ground / range_spacing_m
            slant_step[r, c] = range_spacing_m / slope


@njit(**_COMPILE)
def horn(height_m: Any, r: int, c: int, dx: float, dy: float) -> tuple[float, float]:
    """Slopes dh/dx and dh/dy (y to the north) by Horn's 3 x 3 differences; edges repeat the last row and column."""
    rows, cols = height_m.shape
    up, down = max(r - 1, 0), min(r + 1, rows - 1)
    left, right = max(c - 1, 0), min(c + 1, cols - 1)
    east = height_m[up, right] + 2 * height_m[r, right] + height_m[down, right]
    west = height_m[up, left] + 2 * height_m[r, left] + height_m[down, left]
    north = height_m[up, left] + 2 * height_m[up, c] + height_m[up, right]
    south = height_m[down, left] + 2 * height_m[down, c] + height_m[down, right]
    return (east - west) / (4 * (right - left) * dx), (south - north) / (4 * (down - up) * dy)


@njit(parallel=True, **_COMPILE)
def facets(
    values: Any, heights: Any, step: int, first_row: int, above: int, height_m: Any, dx: float, dy: float, slant_step: Any,
    line_interval_s: float, nominal_spacing_m: float, ratio: Any, cos_local: Any, area_m2: Any,
) -> None:  # fmt: skip
    """Area of every map cell seen along the look direction.

    height_m   rows from first_row - above on: the result's rows, and a row more on either side where the grid has one
    nominal_spacing_m  > 0: reference azimuth spacing instead of the true ground one
    ratio      (rows, cols) float32 area over the reference area of one image pixel
    cos_local  (rows, cols) float32 cosine of the local incidence angle, or an array of no rows: not wanted
    area_m2    (rows, cols) float64 area itself, or an array of no rows: not wanted
    """
    rows, cols = ratio.shape
    for r in prange(rows):
        row_values = node_row(values, step, first_row + r, 2, 7)
        weights = np.empty(heights.shape[0])
        for c in range(cols):
            at = c / step
            j = min(int(at), values.shape[1] - 2)
            f = at - j
            height_weights(height_m[r + above, c], heights, weights)
            hx, hy = horn(height_m, r + above, c, dx, dy)
            c0 = node_value(row_values, j, f, weights, 0)
            c1 = node_value(row_values, j, f, weights, 1)
            c2 = node_value(row_values, j, f, weights, 2)
            seen = c0 + c1 * hx + c2 * hy
            spacing = nominal_spacing_m
            if spacing <= 0:
                spacing = node_value(row_values, j, f, weights, 3) * line_interval_s
            ratio[r, c] = max(seen, 0.0) / (spacing * slant_step[r, c])
            if area_m2.shape[0] > 0:
                area_m2[r, c] = max(seen, 0.0)
            if cos_local.shape[0] > 0:
                cell = dx * abs(dy)
                flat = c0 / (cell * node_value(row_values, j, f, weights, 4))
                surface = cell * math.sqrt(flat) * math.sqrt(flat + hx * hx + hy * hy)
                cos_local[r, c] = seen / surface


@njit(parallel=True, **_COMPILE)
def scatter(line: Any, pixel: Any, ratio: Any, boxes: Any, cell: int, buffers: Any) -> None:
    """Spread ratio / cell^2 bilinearly over radar cells, each box of map pixels into a buffer of its own.

    boxes    (n, 6) int: first map row, row after the last, first column, column after the last, cell row and cell
             column of the buffer's corner
    buffers  (n, rows, cols) float64, zero at entry
    """
    rows, cols = buffers.shape[1], buffers.shape[2]
    for s in prange(boxes.shape[0]):
        top, left = boxes[s, 4], boxes[s, 5]
        for r in range(boxes[s, 0], boxes[s, 1]):
            for c in range(boxes[s, 2], boxes[s, 3]):
                if math.isnan(line[r, c]) or not ratio[r, c] > 0:
                    continue
                # the centre of cell k is line cell * k + (cell - 1) / 2; whole cells are taken off after the fraction,
                # so that it does not depend on where the buffer begins
                y = (line[r, c] - 0.5 * (cell - 1)) / cell
                x = (pixel[r, c] - 0.5 * (cell - 1)) / cell
                whole_y, whole_x = math.floor(y), math.floor(x)
                fy, fx = y - whole_y, x - whole_x
                i, j = int(whole_y) - top, int(whole_x) - left
                share = ratio[r, c] / (cell * cell)
                for di in range(2):
                    for dj in range(2):
                        if 0 <= i + di < rows and 0 <= j + dj < cols:
                            weight = (fy if di else 1 - fy) * (fx if dj else 1 - fx)
                            buffers[s, i + di, j + dj] += weight * share


@njit(parallel=True, **_COMPILE)
def channel(values: Any, heights: Any, step: int, first_row: int, height_m: Any, number: int, out: Any) -> None:
    """One channel of the lattice at every map pixel of rows from first_row on, out (rows, cols) float32."""
    rows, cols = height_m.shape
    for r in prange(rows):
        row_values = node_row(values, step, first_row + r, number, number + 1)
        weights = np.empty(heights.shape[0])
        for c in range(cols):
            at = c / step
            j = min(int(at), values.shape[1] - 2)
            height_weights(height_m[r, c], heights, weights)
            out[r, c] = node_value(row_values, j, at - j, weights, 0)


@njit(**_COMPILE)
def extent(values: Any) -> tuple[float, float]:
    """Smallest and largest value of a part of an array; NaN for both when all are NaN."""
    low, high = np.nan, np.nan
    for r in range(values.shape[0]):
        for c in range(values.shape[1]):
            value = values[r, c]
            if not value >= low:
                low = value if not math.isnan(value) else low
            if not value <= high:
                high = value if not math.isnan(value) else high
    return low, high
