"""Compiled loops of the forward radar geometry: facets of the terrain into the cells of a radar image.

Used by synth_geometry.py, which gives the meaning and the source; apart from geocode_kernels.py on purpose.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@njit(cache=True, nogil=True)
def _hermite(table: F64, place: float, step: float, out: F64) -> None:  # pragma: no cover - compiled
    """Position and velocity at `place` (in steps) by cubic Hermite interpolation of (n, 6) states; error < 1e-7 m at 1 s."""
    k = min(max(int(place), 0), table.shape[0] - 2)
    s = place - k
    h00, h10 = (1 + 2 * s) * (1 - s) ** 2, s * (1 - s) ** 2 * step
    h01, h11 = s * s * (3 - 2 * s), s * s * (s - 1) * step
    d00, d10, d11 = 6 * s * (s - 1) / step, (1 - s) * (1 - 3 * s), s * (3 * s - 2)
    for i in range(3):
        out[i] = h00 * table[k, i] + h10 * table[k, i + 3] + h01 * table[k + 1, i] + h11 * table[k + 1, i + 3]
        out[i + 3] = d00 * (table[k, i] - table[k + 1, i]) + d10 * table[k, i + 3] + d11 * table[k + 1, i + 3]


@njit(cache=True, nogil=True)
def _vertex_row(
    height: Any, j: int, step: float, x0: float, y0: float, surface: Any, mid: Any, out: F64
) -> None:  # pragma: no cover
    """ECEF of the 2*cols+1 vertices of half-pixel row j; heights bilinear between pixel centres, clamped at the edge."""
    rows, cols = height.shape
    r = j * 0.5 - 0.5
    r0 = min(max(math.floor(r), 0), rows - 1)
    r1 = min(max(math.ceil(r), 0), rows - 1)
    v = (y0 - j * step * 0.5 - mid[1]) / mid[2]
    n = surface.shape[1]
    line = np.zeros((6, n))
    for q in range(6):
        for a in range(n):
            power = 1.0
            for b in range(n):
                line[q, a] += surface[q, b, a] * power
                power *= v
    for i in range(2 * cols + 1):
        c = i * 0.5 - 0.5
        c0 = min(max(math.floor(c), 0), cols - 1)
        c1 = min(max(math.ceil(c), 0), cols - 1)
        h = 0.25 * (height[r0, c0] + height[r0, c1] + height[r1, c0] + height[r1, c1])
        u = (x0 + i * step * 0.5 - mid[0]) / mid[2]
        for q in range(3):
            p, m = 0.0, 0.0
            for a in range(n - 1, -1, -1):
                p = p * u + line[q, a]
                m = m * u + line[q + 3, a]
            out[i, q] = p + h * m


@njit(cache=True, nogil=True)
def _zero_doppler_time(
    x: F64, t: float, turns: int, table: F64, table0: float, state: F64
) -> float:  # pragma: no cover
    """Newton's steps to zero Doppler of the point x from the time t; leaves the satellite's state there in `state`."""
    for _ in range(turns):
        _hermite(table, t - table0, 1.0, state)
        f = 0.0
        speed2 = 0.0
        for q in range(3):
            f += (x[q] - state[q]) * state[q + 3]
            speed2 += state[q + 3] ** 2
        # the slope of f is (X-S).A - V^2; (X-S).A is 1 % of V^2: ranges x centripetal acceleration
        slope = -speed2
        radius2 = state[0] ** 2 + state[1] ** 2 + state[2] ** 2
        for q in range(3):
            slope += -(x[q] - state[q]) * state[q] * speed2 / radius2
        t -= f / slope
    _hermite(table, t - table0, 1.0, state)
    return t


@njit(cache=True, nogil=True)
def _ground_range(place: float, dr: float, srgr: F64) -> float:  # pragma: no cover - compiled
    """Ground range in m at `place` (seconds after the first polynomial) and slant range difference dr."""
    k = min(max(int(place), 0), srgr.shape[0] - 2)
    w = place - k
    g0, g1 = 0.0, 0.0
    for a in range(srgr.shape[1] - 1, -1, -1):
        g0 = g0 * dr + srgr[k, a]
        g1 = g1 * dr + srgr[k + 1, a]
    return float((1 - w) * g0 + w * g1)


@njit(cache=True, nogil=True)
def _facet_area(d1: F64, d2: F64, d3: F64, l0: float, l1: float, l2: float) -> float:  # pragma: no cover - compiled
    """Area of the triangles (d2, d3) and (d3, d1) projected perpendicular to the look l; parts turned away count 0."""
    one = (
        (d2[1] * d3[2] - d2[2] * d3[1]) * l0
        + (d2[2] * d3[0] - d2[0] * d3[2]) * l1
        + (d2[0] * d3[1] - d2[1] * d3[0]) * l2
    )
    two = (
        (d3[1] * d1[2] - d3[2] * d1[1]) * l0
        + (d3[2] * d1[0] - d3[0] * d1[2]) * l1
        + (d3[0] * d1[1] - d3[1] * d1[0]) * l2
    )
    return float(0.5 * (max(one, 0.0) + max(two, 0.0)))


@njit(cache=True, nogil=True)
def _share(line: float, sample: float, area: float, power: Any, j: int, i: int, out: Any) -> None:  # pragma: no cover
    """Add area * power[:, j, i] to the four cells around (line, sample), bilinearly."""
    a0, b0 = math.floor(line), math.floor(sample)
    fa, fb = line - a0, sample - b0
    for a in range(2):
        if not 0 <= a0 + a < out.shape[1]:
            continue
        for b in range(2):
            if not 0 <= b0 + b < out.shape[2]:
                continue
            weight = area * (fa if a else 1 - fa) * (fb if b else 1 - fb)
            for q in range(power.shape[0]):
                out[q, a0 + a, b0 + b] += weight * power[q, j, i]


@njit(cache=True, nogil=True)
def scatter(
    height: Any,
    power: Any,
    step: float,
    x0: float,
    y0: float,
    surface: Any,
    mid: Any,
    table: F64,
    table0: float,
    timing: F64,
    srgr0: float,
    srgr: F64,
    out: Any,
) -> None:  # pragma: no cover - compiled
    """All facets of the terrain into the cells of `out`; timing = first line s, dt s, first slant range m, spacing m."""
    rows, cols = height.shape
    first, dt, range0, spacing = timing[0], timing[1], timing[2], timing[3]
    lines, samples = out.shape[1], out.shape[2]
    top, low = np.empty((2 * cols + 1, 3)), np.empty((2 * cols + 1, 3))
    state, x, d1, d2, d3 = np.empty(6), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    _vertex_row(height, 0, step, x0, y0, surface, mid, top)
    for j in range(2 * rows):
        _vertex_row(height, j + 1, step, x0, y0, surface, mid, low)
        t = first + 0.5 * lines * dt
        for i in range(2 * cols):
            for q in range(3):
                x[q] = 0.25 * (top[i, q] + top[i + 1, q] + low[i, q] + low[i + 1, q])
                d1[q], d2[q], d3[q] = top[i + 1, q] - top[i, q], low[i, q] - top[i, q], low[i + 1, q] - top[i, q]
            # neighbours share their time almost: two steps suffice after the first facet of a row
            t = _zero_doppler_time(x, t, 4 if i == 0 else 2, table, table0, state)
            line = (t - first) / dt
            r = math.sqrt((state[0] - x[0]) ** 2 + (state[1] - x[1]) ** 2 + (state[2] - x[2]) ** 2)
            sample = _ground_range(t - srgr0, r - range0, srgr) / spacing
            if line <= -1.0 or line >= lines or sample <= -1.0 or sample >= samples:
                continue
            look = ((state[0] - x[0]) / r, (state[1] - x[1]) / r, (state[2] - x[2]) / r)
            area = _facet_area(d1, d2, d3, look[0], look[1], look[2])
            if area > 0.0:
                _share(line, sample, area, power, j // 2, i // 2, out)
        top, low = low, top
