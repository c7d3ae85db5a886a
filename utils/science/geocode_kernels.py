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
def relative_heights(height_m: Any, middle_m: float, half_m: float, out: Any) -> None:
    """Heights as the polynomials of the lattice take them, float64."""
    scale = 1 / half_m
    for i in range(out.shape[0]):
        out[i] = (height_m[i] - middle_m) * scale


@njit(**_COMPILE)
def channel_along(row_values: Any, j: int, channel: int, fractions: Any, u: Any, out: Any) -> None:
    """One channel at columns j + fractions[i] and relative heights u[i], out (n,) float64.

    row_values  polynomials of a map row, (node columns, powers, channels)
    """
    top = row_values.shape[1] - 1
    value, change = row_values[j, top, channel], row_values[j + 1, top, channel] - row_values[j, top, channel]
    for i in range(out.shape[0]):
        out[i] = value + fractions[i] * change
    for k in range(top - 1, -1, -1):
        value, change = row_values[j, k, channel], row_values[j + 1, k, channel] - row_values[j, k, channel]
        for i in range(out.shape[0]):
            out[i] = out[i] * u[i] + (value + fractions[i] * change)


@njit(**_COMPILE)
def span(j: int, nodes: int, step: int, first: int, last: int) -> tuple[int, int]:
    """Columns of first .. last - 1 between node j and the next: the first, and the one after the last.

    nodes  columns of the lattice; the last interval holds all that follows
    """
    return max(j * step, first), min((j + 1) * step if j < nodes - 2 else last, last)


@njit(**_COMPILE)
def all_fractions(step: int) -> Any:
    """Position of the columns of an interval between its nodes; the last interval may have one column more."""
    return np.arange(step + 1) / step


@njit(**_COMPILE)
def _horner(coefficients: Any, origin: float, slant: Any, value: Any, slope: Any) -> None:
    """A polynomial at slant ranges, value (n,), and its derivative, slope (n,) or empty: not wanted."""
    top = coefficients.shape[0] - 1
    value[:] = coefficients[top]
    slope[:] = 0.0
    for k in range(top - 1, -1, -1):
        add = coefficients[k]
        for i in range(slope.shape[0]):
            slope[i] = slope[i] * (slant[i] - origin) + value[i]
        for i in range(value.shape[0]):
            value[i] = value[i] * (slant[i] - origin) + add


@njit(**_COMPILE)
def _mix(gap_s: tuple[float, float], nearest: bool, time: Any, value: Any, other: Any) -> None:
    """value = what lies between `value`, valid at the first time of a gap, and `other`, valid at its end; clamped."""
    scale = 1 / (gap_s[1] - gap_s[0]) if gap_s[1] > gap_s[0] else 0.0
    for i in range(value.shape[0]):
        weight = (time[i] - gap_s[0]) * scale
        weight = 1.0 if weight > 1.0 else weight
        weight = 0.0 if weight < 0.0 else weight
        if nearest:
            weight = 1.0 if weight > 0.5 else 0.0
        value[i] = (1 - weight) * value[i] + weight * other[i]


@njit(**_COMPILE)
def _run(times: Any, time: Any, begin: int) -> tuple[int, int]:
    """Polynomial at or before time[begin], and the end of the run of points that share it with its successor."""
    last = max(times.shape[0] - 2, 0)
    low = min(max(np.searchsorted(times, time[begin], side="right") - 1, 0), last)
    earliest = times[low] if low > 0 else -np.inf
    latest = times[low + 1] if low < last else np.inf
    rest, beyond = time[begin:], 0
    for i in range(rest.shape[0]):  # nearly always none, and a loop without a branch is quick
        beyond += int(rest[i] < earliest) + int(rest[i] >= latest)
    if beyond == 0:
        return low, time.shape[0]
    end = begin + 1
    while end < time.shape[0] and not time[end] < earliest and not time[end] >= latest:
        end += 1
    return low, end


@njit(**_COMPILE)
def _ground(
    times: Any, origins: Any, coefficients: Any, nearest: bool, time: Any, slant: Any, value: Any, slope: Any, work: Any
) -> None:
    """Ground range of neighbouring points, value (n,), and its derivative by slant range, slope (n,) or empty.

    See SlantToGround.ground_range. work: (2, n or more) float64, overwritten
    """
    begin = 0
    while begin < time.shape[0]:
        low, end = _run(times, time, begin)
        high = min(low + 1, times.shape[0] - 1)
        steep = min(end, slope.shape[0])
        d, v, s = slant[begin:end], value[begin:end], slope[begin:steep]
        other, other_slope = work[0, : v.shape[0]], work[1, : s.shape[0]]
        _horner(coefficients[low], origins[low], d, v, s)
        _horner(coefficients[high], origins[high], d, other, other_slope)
        _mix((times[low], times[high]), nearest, time[begin:end], v, other)
        _mix((times[low], times[high]), nearest, time[begin:steep], s, other_slope)
        begin = end


@njit(parallel=True, **_COMPILE)
def locate(
    values: Any, heights: Any, step: int, first_row: int, first_col: int, height_m: Any, line_interval_s: float,
    srgr_times: Any, srgr_origins: Any, srgr_coefficients: Any, nearest: bool, range_spacing_m: float,
    line: Any, pixel: Any, slant_step: Any,
) -> None:  # fmt: skip
    """Fill line, pixel (float64) and slant_step (float32, or an array of no columns: not wanted), all (rows, cols).

    values, heights  polynomials of the lattice, and middle and half of their range of heights
    height_m         full rows of the grid; the results begin at its column first_col
    """
    rows, cols = line.shape
    fractions, per_second, per_metre = all_fractions(step), 1 / line_interval_s, 1 / range_spacing_m
    for r in prange(rows):
        row_values = node_row(values, step, first_row + r, 0, 2)
        u, slope, work = np.empty(step + 1), np.empty(step + 1), np.empty((3, step + 1))
        for j in range(values.shape[1] - 1):
            begin, end = span(j, values.shape[1], step, first_col, first_col + cols)
            if end <= begin:
                continue
            f = fractions[begin - j * step : end - j * step]
            h, slant = u[: f.shape[0]], work[2, : f.shape[0]]
            time, ground = line[r, begin - first_col : end - first_col], pixel[r, begin - first_col : end - first_col]
            width = slant_step[r, begin - first_col : end - first_col]
            relative_heights(height_m[r, begin:end], heights[0], heights[1], h)
            channel_along(row_values, j, 0, f, h, time)
            channel_along(row_values, j, 1, f, h, slant)
            _ground(
                srgr_times, srgr_origins, srgr_coefficients, nearest, time, slant, ground, slope[: width.shape[0]], work
            )
            for i in range(time.shape[0]):
                time[i] *= per_second
                ground[i] *= per_metre
            for i in range(width.shape[0]):
                width[i] = range_spacing_m / slope[i]


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


@njit(**_COMPILE)
def slopes(height_m: Any, r: int, dx: float, dy: float, by_x: Any, by_y: Any) -> None:
    """Horn's slopes of a whole row, by_x and by_y (cols,) float64."""
    rows, cols = height_m.shape
    up, row, down = height_m[max(r - 1, 0)], height_m[r], height_m[min(r + 1, rows - 1)]
    for_x, for_y = 1 / (8 * dx), 1 / (4 * (min(r + 1, rows - 1) - max(r - 1, 0)) * dy)
    for i in range(cols - 2):
        c = i + 1
        east, west = up[c + 1] + 2 * row[c + 1] + down[c + 1], up[c - 1] + 2 * row[c - 1] + down[c - 1]
        north, south = up[c - 1] + 2 * up[c] + up[c + 1], down[c - 1] + 2 * down[c] + down[c + 1]
        by_x[c], by_y[c] = (east - west) * for_x, (south - north) * for_y
    for c in (0, cols - 1):
        by_x[c], by_y[c] = horn(height_m, r, c, dx, dy)


@njit(parallel=True, **_COMPILE)
def facets(
    values: Any, heights: Any, step: int, first_row: int, above: int, height_m: Any, dx: float, dy: float, slant_step: Any,
    line_interval_s: float, nominal_spacing_m: float, ratio: Any, cos_local: Any, area_m2: Any,
) -> None:  # fmt: skip
    """Area of every map cell seen along the look direction.

    values, heights  polynomials of the lattice, and middle and half of their range of heights
    height_m   rows from first_row - above on: the result's rows, and a row more on either side where the grid has one
    nominal_spacing_m  > 0: reference azimuth spacing instead of the true ground one
    ratio      (rows, cols) float32 area over the reference area of one image pixel
    cos_local  (rows, cols) float32 cosine of the local incidence angle, or an array of no columns: not wanted
    area_m2    (rows, cols) float64 area itself, or an array of no columns: not wanted
    """
    rows, cols = ratio.shape
    fractions = all_fractions(step)
    for r in prange(rows):
        row_values = node_row(values, step, first_row + r, 2, 7)
        by_x, by_y, u, work = np.empty(cols), np.empty(cols), np.empty(step + 1), np.empty((5, step + 1))
        slopes(height_m, r + above, dx, dy, by_x, by_y)
        for j in range(values.shape[1] - 1):
            begin, end = span(j, values.shape[1], step, 0, cols)
            f = fractions[: end - begin]
            h, channels = u[: f.shape[0]], work[:, : f.shape[0]]
            relative_heights(height_m[r + above, begin:end], heights[0], heights[1], h)
            for channel in range(5):
                if (
                    channel < 3
                    or (channel == 3 and nominal_spacing_m <= 0)
                    or (channel == 4 and cos_local.shape[1] > 0)
                ):
                    channel_along(row_values, j, channel, f, h, channels[channel])
            hx, hy = by_x[begin:end], by_y[begin:end]
            if nominal_spacing_m > 0:
                channels[3] = nominal_spacing_m / line_interval_s
            _seen(
                channels, hx, hy, line_interval_s, slant_step[r, begin:end], ratio[r, begin:end], area_m2[r, begin:end]
            )
            _local_cosine(channels, hx, hy, dx * abs(dy), cos_local[r, begin:end])


@njit(**_COMPILE)
def _seen(channels: Any, hx: Any, hy: Any, line_interval_s: float, slant_step: Any, ratio: Any, area_m2: Any) -> None:
    c0, c1, c2, speed = channels[0], channels[1], channels[2], channels[3]
    for i in range(ratio.shape[0]):
        seen = c0[i] + c1[i] * hx[i] + c2[i] * hy[i]
        seen = 0.0 if seen < 0.0 else seen
        ratio[i] = seen / (speed[i] * line_interval_s * slant_step[i])
    for i in range(area_m2.shape[0]):
        area_m2[i] = max(c0[i] + c1[i] * hx[i] + c2[i] * hy[i], 0.0)


@njit(**_COMPILE)
def _local_cosine(channels: Any, hx: Any, hy: Any, cell_m2: float, out: Any) -> None:
    for i in range(out.shape[0]):
        seen = channels[0, i] + channels[1, i] * hx[i] + channels[2, i] * hy[i]
        flat = channels[0, i] / (cell_m2 * channels[4, i])
        out[i] = seen / (cell_m2 * math.sqrt(flat) * math.sqrt(flat + hx[i] * hx[i] + hy[i] * hy[i]))


@njit(parallel=True, **_COMPILE)
def scatter(line: Any, pixel: Any, ratio: Any, boxes: Any, cell: int, buffers: Any) -> None:
    """Spread ratio / cell^2 bilinearly over radar cells, each box of map pixels into a buffer of its own.

    boxes    (n, 6) int: first map row, row after the last, first column, column after the last, cell row and cell
             column of the buffer's corner
    buffers  (n, rows, cols) float64, zero at entry
    """
    rows, cols = buffers.shape[1], buffers.shape[2]
    scale, part, shift = 1 / cell, 1 / (cell * cell), 0.5 * (cell - 1)
    for s in prange(boxes.shape[0]):
        top, left, buffer = boxes[s, 4], boxes[s, 5], buffers[s]
        for r in range(boxes[s, 0], boxes[s, 1]):
            for c in range(boxes[s, 2], boxes[s, 3]):
                if math.isnan(line[r, c]) or not ratio[r, c] > 0:
                    continue
                # the centre of cell k is line cell * k + shift; whole cells are taken off after the fraction, so that
                # it does not depend on where the buffer begins
                y, x = (line[r, c] - shift) * scale, (pixel[r, c] - shift) * scale
                whole_y, whole_x = math.floor(y), math.floor(x)
                fy, fx = y - whole_y, x - whole_x
                i, j = int(whole_y) - top, int(whole_x) - left
                upper, lower = (1 - fy) * (ratio[r, c] * part), fy * (ratio[r, c] * part)
                if 0 <= i < rows - 1 and 0 <= j < cols - 1:
                    buffer[i, j] += upper * (1 - fx)
                    buffer[i, j + 1] += upper * fx
                    buffer[i + 1, j] += lower * (1 - fx)
                    buffer[i + 1, j + 1] += lower * fx
                    continue
                for di in range(2):
                    for dj in range(2):
                        if 0 <= i + di < rows and 0 <= j + dj < cols:
                            buffer[i + di, j + dj] += (lower if di else upper) * (fx if dj else 1 - fx)


@njit(parallel=True, **_COMPILE)
def channel(values: Any, heights: Any, step: int, first_row: int, height_m: Any, number: int, out: Any) -> None:
    """One channel of the lattice at every map pixel of rows from first_row on, out (rows, cols) float32."""
    rows, cols = height_m.shape
    fractions = all_fractions(step)
    for r in prange(rows):
        row_values = node_row(values, step, first_row + r, number, number + 1)
        u, found = np.empty(step + 1), np.empty(step + 1)
        for j in range(values.shape[1] - 1):
            begin, end = span(j, values.shape[1], step, 0, cols)
            h, value = u[: end - begin], found[: end - begin]
            relative_heights(height_m[r, begin:end], heights[0], heights[1], h)
            channel_along(row_values, j, 0, fractions[: end - begin], h, value)
            out[r, begin:end] = value


@njit(parallel=True, **_COMPILE)
def extents(line: Any, pixel: Any, boxes: Any, out: Any) -> None:
    """Smallest and largest line and pixel in boxes of map pixels, out (n, 4) float64: NaN where there are none.

    boxes  (n, 4) int: first row, row after the last, first column, column after the last
    """
    for s in prange(boxes.shape[0]):
        for k in range(2):
            values = line if k == 0 else pixel
            low, high = np.inf, -np.inf
            for r in range(boxes[s, 0], boxes[s, 1]):
                for c in range(boxes[s, 2], boxes[s, 3]):
                    low, high = min(low, values[r, c]), max(high, values[r, c])
            out[s, 2 * k], out[s, 2 * k + 1] = (low, high) if low <= high else (np.nan, np.nan)
