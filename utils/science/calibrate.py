"""From digital numbers to beta0: calibration tables, thermal noise of all processor generations, border noise.

Tables are vectors: one per image line, each with its own pixel positions. Between them values are bilinear, beyond
them they are clamped, never extrapolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from utils.science.grid import Window

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Ipf = tuple[int, int]
NoiseState = Literal["yes", "no_data", "already", "off"]

FIRST_IPF_WITH_AZIMUTH_NOISE: Ipf = (2, 90)
# Up to IPF 2.50 the noise tables have another, unverified scale (SNAP multiplies them by k DN0^2 in one operator and
# not in another): the noise of such products is left in and the product says so.
LAST_IPF_WITHOUT_USABLE_NOISE: Ipf = (2, 50)


class VectorTable(Protocol):
    """Values at (line, pixel) nodes (see utils.io.safe_s1.Vectors).

    lines   (n,) int, increasing; may reach beyond the image
    pixels  n arrays of increasing pixel numbers, of lengths that may differ
    values  n float arrays of the same lengths
    """

    @property
    def lines(self) -> IntArray: ...
    @property
    def pixels(self) -> Sequence[IntArray]: ...
    @property
    def values(self) -> Sequence[FloatArray]: ...


class AzimuthBlock(Protocol):
    """Noise factor along azimuth, valid inside one block of the image (inclusive bounds)."""

    @property
    def first_line(self) -> int: ...
    @property
    def last_line(self) -> int: ...
    @property
    def first_pixel(self) -> int: ...
    @property
    def last_pixel(self) -> int: ...
    @property
    def lines(self) -> IntArray: ...
    @property
    def values(self) -> FloatArray: ...


class NoiseTables(Protocol):
    """Thermal noise of one polarisation, DN^2: range table times the factor of the azimuth block, if there is one."""

    @property
    def range_vectors(self) -> VectorTable: ...
    @property
    def azimuth_blocks(self) -> Sequence[AzimuthBlock]: ...


def table_on_image(table: VectorTable, window: Window) -> FloatArray:
    """Values at the pixels of an image window, (rows, cols) float64; NaN where a node needed is NaN."""
    return _interpolate(table.lines, table.pixels, table.values, window)


def _interpolate(
    nodes: IntArray, pixels: Sequence[IntArray], values: Sequence[FloatArray], window: Window
) -> FloatArray:
    lines = np.arange(window.row, window.row + window.rows, dtype=float)
    columns = np.arange(window.col, window.col + window.cols, dtype=float)
    low, weight = _bracket(nodes.astype(float), lines)
    needed = range(int(low.min()), min(int(low.max()) + 2, len(nodes)))
    # each vector has its own pixel positions: first along the pixels of each, then between the vectors
    table = np.stack([np.interp(columns, pixels[i], values[i]) for i in needed])
    below, above = low - needed[0], np.minimum(low - needed[0] + 1, len(table) - 1)
    # np.where: a NaN node with weight 0 must not spoil its neighbour's line
    first = np.where(weight[:, None] < 1, (1 - weight[:, None]) * table[below], 0.0)
    second = np.where(weight[:, None] > 0, weight[:, None] * table[above], 0.0)
    return np.asarray(first + second)


def _bracket(nodes: FloatArray, at: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """Index of the node below each position and the weight of the next one; clamped at both ends."""
    low = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, max(len(nodes) - 2, 0))
    if len(nodes) == 1:
        return low, np.zeros_like(at)
    weight = (at - nodes[low]) / (nodes[low + 1] - nodes[low])
    return low, np.clip(weight, 0.0, 1.0)


def has_noise(tables: NoiseTables) -> bool:
    """False when every value is zero or missing, as in products of early 2015."""
    return any(bool(np.any(np.nan_to_num(v) > 0)) for v in tables.range_vectors.values)


def noise_on_image(tables: NoiseTables, window: Window) -> FloatArray:
    """Noise power in DN^2, (rows, cols) float64; NaN where the table has none (a zero means missing)."""
    vectors = tables.range_vectors
    known = [np.where(v > 0, v, np.nan) for v in vectors.values]
    eta = _interpolate(vectors.lines, vectors.pixels, known, window)
    for block in tables.azimuth_blocks:
        rows = _overlap(block.first_line, block.last_line, window.row, window.rows)
        cols = _overlap(block.first_pixel, block.last_pixel, window.col, window.cols)
        lines = np.arange(window.row, window.row + window.rows, dtype=float)[rows]
        eta[rows, cols] *= np.interp(lines, block.lines, block.values)[:, None]
    return eta


def _overlap(first: int, last: int, start: int, count: int) -> slice:
    """Part of start .. start + count that lies in first .. last, relative to start."""
    low, high = max(first - start, 0), min(last + 1 - start, count)
    return slice(low, max(high, low))


def noise_state(ipf: Ipf, tables: NoiseTables | None, already_removed: bool, wanted: bool) -> NoiseState:
    """What will be done about thermal noise: yes, no_data, already (by the processor) or off."""
    if already_removed:
        return "already"
    if not wanted:
        return "off"
    if tables is None or ipf <= LAST_IPF_WITHOUT_USABLE_NOISE or not has_noise(tables):
        return "no_data"
    return "yes"


def needs_border_mask(ipf: Ipf) -> bool:
    """Products before IPF 2.90 carry noise in their borders; later ones hold DN 0 there."""
    return ipf < FIRST_IPF_WITH_AZIMUTH_NOISE
