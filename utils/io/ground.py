"""Heights under an area, grown until no terrain outside can matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.io.dem import HeightField
from utils.science.geocode import MapNodes
from utils.science.grid import Grid, Window
from utils.science.s1_chain import margin_px


@dataclass(frozen=True)
class Ground:
    """Heights by windows of a grid; satisfies utils.science.s1_chain.Terrain.

    grid     the area's grid grown by the same margin on every side; inner: the area within it
    range_m  lowest and highest ellipsoidal height
    """

    field: HeightField
    grid: Grid
    inner: Window
    range_m: tuple[float, float]

    def heights(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Heights of a window of the grid and where they are filled in."""
        found = self.field.read(self.grid.window(window))
        return found.height_m, found.missing


def ground_under(field: HeightField, grid: Grid, nodes: MapNodes) -> Ground:
    """The area's grid, grown by what its own relief needs.

    nodes   rough geometry of the area
    raises  the errors of HeightField
    """
    margin, needed = 0, margin_px(nodes, 0.0)
    low_m = high_m = 0.0
    while margin < needed:
        margin = needed
        grown = grid.window(Window(-margin, -margin, grid.rows + 2 * margin, grid.cols + 2 * margin))
        low_m, high_m = field.survey(grown)
        needed = margin_px(nodes, high_m - low_m)
    return Ground(field, grown, Window(margin, margin, grid.rows, grid.cols), (low_m, high_m))
