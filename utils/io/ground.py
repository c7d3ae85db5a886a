"""Heights under an area, grown until no terrain outside can matter; each height is made once while there are few."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.io.dem import HeightField
from utils.science.geocode import MapNodes
from utils.science.grid import Grid, Window
from utils.science.s1_chain import margin_px

Float32Array = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

KEEP_PX = 20_000_000  # heights of an area up to this size stay in memory: 100 MB
_BLOCK_PX = 1_000_000


@dataclass(frozen=True)
class Kept:
    """Heights of a whole grid, as HeightField gives them."""

    height_m: Float32Array
    missing: BoolArray


@dataclass(frozen=True)
class Ground:
    """Heights by windows of a grid; satisfies utils.science.s1_chain.Terrain.

    grid     the area's grid grown by the same margin on every side; inner: the area within it
    range_m  lowest and highest ellipsoidal height
    kept     the heights of the grid, or None: they are made from the raster again each time
    """

    field: HeightField
    grid: Grid
    inner: Window
    range_m: tuple[float, float]
    kept: Kept | None = None

    def heights(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """Heights of a window of the grid and where they are filled in; not to be written to."""
        if self.kept is not None:
            return np.ascontiguousarray(self.kept.height_m[window.slices]), self.kept.missing[window.slices]
        found = self.field.read(self.grid.window(window))
        return found.height_m, found.missing


class Survey:
    """What has been seen of the heights of an area that grows.

    low_m, high_m  range of the ellipsoidal heights
    kept           the heights themselves, None where there are more than keep_px
    """

    def __init__(self, field: HeightField, keep_px: int = KEEP_PX) -> None:
        self._field, self._keep_px = field, keep_px
        self._grid: Grid | None = None
        self._filled = False
        self.low_m, self.high_m = math.inf, -math.inf
        self.kept: Kept | None = None

    def grow(self, grid: Grid) -> None:
        """Look at the part of a grid that was not seen before, by blocks; the grid holds all former ones.

        raises  all errors of HeightField.read, for the grid as a whole
        """
        seen = None if self._grid is None else Window(*grid.offset_of(self._grid), *self._grid.shape)
        kept = None
        if grid.rows * grid.cols <= self._keep_px:
            kept = Kept(np.empty(grid.shape, np.float32), np.zeros(grid.shape, bool))
        if kept and seen and self.kept:
            kept.height_m[seen.slices] = self.kept.height_m
            if self._filled:
                kept.missing[seen.slices] = self.kept.missing
        holes = []
        for window in _blocks(grid, seen):
            part = grid.window(window)
            height, unknown = self._field.look(part)
            if unknown.any():
                holes.append((unknown, part))
            self.low_m, self.high_m = min(self.low_m, float(np.min(height))), max(self.high_m, float(np.max(height)))
            if kept:
                kept.height_m[window.slices] = height
                if holes:
                    kept.missing[window.slices] = unknown
        if holes:
            self._field.refuse(holes, grid)
            self._filled = True
        self._grid, self.kept = grid, kept


def _blocks(grid: Grid, seen: Window | None) -> Iterator[Window]:
    """A grid without a rectangle in it, by windows of bounded size."""
    hole = seen or Window(0, 0, 0, grid.cols)
    bottom, right = hole.row + hole.rows, hole.col + hole.cols
    for part in (
        Window(0, 0, hole.row, grid.cols),
        Window(hole.row, 0, hole.rows, hole.col),
        Window(hole.row, right, hole.rows, grid.cols - right),
        Window(bottom, 0, grid.rows - bottom, grid.cols),
    ):
        step = max(_BLOCK_PX // max(part.cols, 1), 1)
        for row in range(0, part.rows if part.cols else 0, step):
            yield Window(part.row + row, part.col, min(step, part.rows - row), part.cols)


def ground_under(field: HeightField, grid: Grid, nodes: MapNodes) -> Ground:
    """The area's grid, grown by what its own relief needs.

    nodes   rough geometry of the area
    raises  the errors of HeightField
    """
    margin, needed = 0, margin_px(nodes, 0.0)
    survey, grown = Survey(field), grid
    while margin < needed:
        margin = needed
        grown = grid.window(Window(-margin, -margin, grid.rows + 2 * margin, grid.cols + 2 * margin))
        survey.grow(grown)
        needed = margin_px(nodes, survey.high_m - survey.low_m)
    inner = Window(margin, margin, grid.rows, grid.cols)
    return Ground(field, grown, inner, (survey.low_m, survey.high_m), survey.kept)
