"""Radiometric terrain flattening: how much ground, seen along the look direction, falls into each image pixel.

gamma0 = beta0 / ratio, where ratio = A_gamma / A_beta is the area of the terrain facets of an image cell projected
perpendicular to the look direction, over the cell's own area in the slant plane.
Source: D. Small 2011, IEEE TGRS 49(8), 3081-3093; facet areas by derivatives of the map projection.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from utils.science import geocode_kernels as kernels
from utils.science.geocode import ImageGeometry, ImagePosition, MapNodes
from utils.science.grid import Window
from utils.science.orbit import FloatArray

AzimuthSpacing = Literal["ground", "nominal"]
Float32Array = NDArray[np.float32]

CELL_PX = 3  # image pixels per radar cell: 30 m, several map cells wide, so that the cell grid leaves no ripple
MIN_RATIO = 0.05  # below this a pixel sees almost no ground: noise over nothing, no measurement
STRIP_ROWS, _STRIP_COLS = 64, 1024  # fixed: the order of additions must not depend on threads or blocks
_BOXES_AT_ONCE = 32


@dataclass(frozen=True)
class Facets:
    """Per map cell, see `facets`."""

    ratio: Float32Array
    cos_incidence: Float32Array | None
    area_m2: FloatArray | None


def facets(
    nodes: MapNodes,
    geometry: ImageGeometry,
    height_m: Float32Array,
    position: ImagePosition,
    *,
    azimuth_spacing: AzimuthSpacing = "ground",
    incidence: bool = False,
    areas: bool = False,
    first_row: int = 0,
    above: int = 0,
) -> Facets:
    """Area of each map cell seen by the radar.

    height_m         (rows, cols) float32 ellipsoidal height, m, of the grid of `nodes` or of some of its rows: those
                     of `position`, `above` rows before them and, where the grid goes on, one after them
    position         of the rows wanted; the first is row first_row of the grid
    azimuth_spacing  ground: true azimuth size of an image pixel on the ground. nominal: the annotated figure, as
                     SNAP and sarsen use it; 0.05 to 0.07 dB higher ratio
    returns          ratio: area over the slant-plane area of one image pixel, float32, 0 where the facet faces
                     away; cos_incidence: cosine of the local incidence angle (on request); area_m2 (on request)
    """
    shape, none = position.line.shape, (len(position.line), 0)
    ratio = np.empty(shape, np.float32)
    cos_local = np.empty(shape if incidence else none, np.float32)
    area = np.empty(shape if areas else none)
    kernels.facets(
        nodes.polynomials, nodes.height_scale, nodes.step_px, first_row, above, height_m, nodes.grid.dx, nodes.grid.dy,
        position.slant_step_m, geometry.line_interval_s,
        geometry.azimuth_spacing_m if azimuth_spacing == "nominal" else 0.0, ratio, cos_local, area,
    )  # fmt: skip
    return Facets(ratio, cos_local if incidence else None, area if areas else None)


@dataclass(frozen=True)
class RadarArea:
    """Area ratio on radar cells; cell (0, 0) covers image lines CELL_PX * top and following.

    ratio  (cell rows, cell cols) float64; 0 where no ground was seen
    """

    ratio: FloatArray
    top: int
    left: int

    def on_image(self, window: Window) -> Float32Array:
        """Ratio at the pixels of an image window, bilinear between cell centres, (rows, cols) float32.

        Pixels outside the cells get NaN.
        """
        out = np.empty((window.rows, window.cols), np.float32)
        _interpolate(self.ratio, self.top, self.left, CELL_PX, window.row, window.col, out)
        return out


class AreaSum:
    """Sum of the facets in the radar cells of an image window, map rows by map rows from north to south.

    window  image lines and pixels; the map must reach beyond the window's ground by the terrain's displacement (see
            s1_chain.margin_px), else the cells near its edge are too dark
    Deterministic: boxes of STRIP_ROWS rows are summed alone and added in their order, so that neither the number of
    threads nor the rows given at once change a bit. Rows must come in order and begin at multiples of STRIP_ROWS.
    """

    def __init__(self, window: Window) -> None:
        self._top, self._left = window.row // CELL_PX - 1, window.col // CELL_PX - 1
        bottom, right = (window.row + window.rows) // CELL_PX + 2, (window.col + window.cols) // CELL_PX + 2
        self._limits = (self._top, self._left, bottom, right)
        self._total = np.zeros((bottom - self._top, right - self._left))

    def add(self, position: ImagePosition, ratio: Float32Array) -> None:
        """Add map rows; position and ratio (rows, cols)."""
        boxes = list(_boxes(position, self._limits))
        for first in range(0, len(boxes), _BOXES_AT_ONCE):
            self._add_boxes(position, ratio, boxes[first : first + _BOXES_AT_ONCE])

    def _add_boxes(self, position: ImagePosition, ratio: Float32Array, boxes: list[_Box]) -> None:
        rows, cols = max(b[6] - b[4] for b in boxes), max(b[7] - b[5] for b in boxes)
        buffers = np.zeros((len(boxes), rows, cols))
        corners = np.array([b[:6] for b in boxes], dtype=np.int64)
        kernels.scatter(position.line, position.pixel, ratio, corners, CELL_PX, buffers)
        for part, (*_, top, left, bottom, right) in zip(buffers, boxes, strict=True):
            target = self._total[top - self._top : bottom - self._top, left - self._left : right - self._left]
            target += part[: bottom - top, : right - left]

    def result(self) -> RadarArea:
        """The sum of all rows so far."""
        return RadarArea(self._total, self._top, self._left)


def radar_area(position: ImagePosition, ratio: Float32Array, window: Window) -> RadarArea:
    """Area ratio on the radar cells of an image window, from all rows of the map at once; see AreaSum."""
    total = AreaSum(window)
    total.add(position, ratio)
    return total.result()


# first and last map row, first and last column, then top, left, bottom, right in cells
_Box = tuple[int, int, int, int, int, int, int, int]


def _boxes(position: ImagePosition, limits: tuple[int, int, int, int]) -> Iterator[_Box]:
    """Boxes of map pixels with the radar cells that each can reach, cut to the limits."""
    rows, cols = position.line.shape
    starts = itertools.product(range(0, rows, STRIP_ROWS), range(0, cols, _STRIP_COLS))
    corners = [(r, min(r + STRIP_ROWS, rows), c, min(c + _STRIP_COLS, cols)) for r, c in starts]
    reach = np.empty((len(corners), 4))
    kernels.extents(position.line, position.pixel, np.array(corners, dtype=np.int64), reach)
    for corner, found in zip(corners, reach, strict=True):
        if np.isnan(found).any():
            continue
        cells = np.floor(found / CELL_PX).astype(int)
        top, left = max(int(cells[0]) - 1, limits[0]), max(int(cells[2]) - 1, limits[1])
        bottom, right = min(int(cells[1]) + 2, limits[2]), min(int(cells[3]) + 2, limits[3])
        if bottom > top and right > left:
            yield (*corner, top, left, bottom, right)


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
def _interpolate(
    ratio: FloatArray, top: int, left: int, cell: int, first_line: int, first_pixel: int, out: Float32Array
) -> None:
    rows, cols = ratio.shape
    for r in prange(out.shape[0]):
        y = (first_line + r - 0.5 * (cell - 1)) / cell - top
        i = int(np.floor(y))
        fy = y - i
        for c in range(out.shape[1]):
            x = (first_pixel + c - 0.5 * (cell - 1)) / cell - left
            j = int(np.floor(x))
            fx = x - j
            if i < 0 or j < 0 or i + 1 >= rows or j + 1 >= cols:
                out[r, c] = np.nan
                continue
            upper = (1 - fx) * ratio[i, j] + fx * ratio[i, j + 1]
            lower = (1 - fx) * ratio[i + 1, j] + fx * ratio[i + 1, j + 1]
            out[r, c] = (1 - fy) * upper + fy * lower


def to_gamma0(beta0_power: Float32Array, ratio: Float32Array) -> Float32Array:
    """gamma0 = beta0 / ratio, float32 linear power; NaN where the ratio is NaN or below 0.05.

    Negative power (noise removed from a dark surface) stays negative.
    """
    safe = np.where(ratio >= MIN_RATIO, ratio, np.float32(np.nan))
    return np.asarray(beta0_power / safe, dtype=np.float32)
