"""One Sentinel-1 product from digital numbers to gamma0 on the map, in bounded memory; files are the caller's business.

Order: calibrate and remove noise, flatten, filter speckle, all in radar geometry; then resample to the map.
`plan` solves the geometry and adds up the terrain's facets in radar cells (first pass over the map); s1_run goes over
the map again, in the order of the image lines. Both polarisations share the geometry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from utils.science import flatten, speckle
from utils.science.border import ReadDn
from utils.science.calibrate import NoiseTables, VectorTable
from utils.science.flatten import AreaSum, AzimuthSpacing, RadarArea
from utils.science.geocode import NODE_STEP_PX, ImageGeometry, MapNodes, image_bounds, locate, make_nodes
from utils.science.grid import Grid, Window
from utils.science.resample import Resampling
from utils.science.speckle import FilterName

Float32Array = NDArray[np.float32]
BitArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]

# Radar cells (3 px), their interpolation, the speckle window and the resampling reach this far beyond the area.
_EXTRA_MARGIN_PX = 20
_SUM_ROWS = 4 * flatten.STRIP_ROWS


@dataclass(frozen=True)
class Options:
    """What to do; see preprocess in the configuration. looks: None = estimated from the image."""

    flatten: bool = True
    azimuth_spacing: AzimuthSpacing = "ground"
    resampling: Resampling = "bilinear"
    speckle: FilterName = "lee_sigma"
    speckle_window: int = 7
    speckle_sigma: float = 0.9
    looks: float | None = 4.4
    incidence: bool = False


class Terrain(Protocol):
    """Ellipsoidal heights of a grid, by windows; a height must not depend on the window it is asked with."""

    def heights(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """Heights (rows, cols) float32, complete, and where they were filled in."""
        ...


@dataclass(frozen=True)
class Plan:
    """Geometry of one product over one area.

    grid          the area's grid grown by the margin; inner: the area within it
    image_window  part of the image to read; None when the product misses the area
    area          radar cells of the flattening; None when it is switched off
    """

    geometry: ImageGeometry
    grid: Grid
    inner: Window
    terrain: Terrain
    nodes: MapNodes
    image_window: Window | None
    area: RadarArea | None
    options: Options


@dataclass(frozen=True)
class Channel:
    """Pixels and tables of one polarisation.

    read          digital numbers of an image window, (rows, cols) uint16; called with increasing lines
    noise_tables  None: subtract nothing
    """

    read: ReadDn
    beta_table: VectorTable
    noise_tables: NoiseTables | None


def rough_nodes(geometry: ImageGeometry, grid: Grid) -> MapNodes:
    """A lattice that is good enough for coverage_share and margin_px: at least 32 nodes a side or every 32 pixels."""
    return make_nodes(geometry, grid, 0.0, 500.0, max(NODE_STEP_PX, min(grid.shape) // NODE_STEP_PX))


def coverage_share(nodes: MapNodes, geometry: ImageGeometry) -> float:
    """Share of the lattice nodes (at middle height) that fall into the image, 0..1."""
    middle = nodes.values[:, :, nodes.values.shape[2] // 2]
    line = middle[..., 0] / geometry.line_interval_s
    pixel = geometry.srgr.ground_range(np.nan_to_num(middle[..., 0]), middle[..., 1]) / geometry.range_spacing_m
    inside = (line >= 0) & (line <= geometry.lines - 1) & (pixel >= 0) & (pixel <= geometry.samples - 1)
    return float(np.mean(inside))


def margin_px(nodes: MapNodes, relief_m: float) -> int:
    """Map pixels around the area whose terrain can shift into it, shadow it or be needed by a filter.

    relief_m * max(tan, 1 / tan) of the incidence angle, and a fixed rest.
    raises  ValueError when the product does not see the area at all
    """
    cosine = nodes.values[..., 6]
    if np.all(np.isnan(cosine)):
        raise ValueError("the product does not see the area")
    tangents = [math.sqrt(1 / c**2 - 1) for c in (float(np.nanmin(cosine)), float(np.nanmax(cosine)))]
    reach_m = max(relief_m, 0.0) * max(*tangents, 1 / min(tangents))
    return math.ceil(reach_m / nodes.grid.dx) + _EXTRA_MARGIN_PX


def plan(
    geometry: ImageGeometry,
    grid: Grid,
    inner: Window,
    terrain: Terrain,
    height_range_m: tuple[float, float],
    options: Options,
) -> Plan:
    """Solve the geometry of an area and add up its facets.

    grid            the area's grid grown by margin_px on every side; inner: the area within it
    terrain         heights of `grid`
    height_range_m  lowest and highest of them
    """
    nodes = make_nodes(geometry, grid, *height_range_m)
    window = _image_window(nodes, geometry, inner, speckle.radius_px(options.speckle, options.speckle_window) + 2)
    made = Plan(geometry, grid, inner, terrain, nodes, window, None, options)
    if window is None or not options.flatten:
        return made
    return Plan(geometry, grid, inner, terrain, nodes, window, _sum_facets(made, window), options)


def _image_window(nodes: MapNodes, geometry: ImageGeometry, inner: Window, margin: int) -> Window | None:
    """Image pixels that the map pixels of the area may need, with a margin, cut at the image."""
    bounds = image_bounds(nodes, geometry, inner)
    if bounds is None:
        return None
    top = max(math.floor(bounds.first_line) - margin, 0)
    left = max(math.floor(bounds.first_pixel) - margin, 0)
    bottom = min(math.floor(bounds.last_line) + margin + 2, geometry.lines)
    right = min(math.floor(bounds.last_pixel) + margin + 2, geometry.samples)
    return Window(top, left, bottom - top, right - left) if bottom > top and right > left else None


def heights_of(plan_: Plan, first: int, last: int, above: int, below: int) -> tuple[Float32Array, BoolArray, int]:
    """Heights of rows first .. last - 1 of the grown grid, with rows above and below as far as the grid goes.

    returns  heights, where they are filled in, and the number of rows above
    """
    top, bottom = max(first - above, 0), min(last + below, plan_.grid.rows)
    height, missing = plan_.terrain.heights(Window(top, 0, bottom - top, plan_.grid.cols))
    return height, missing, first - top


def _sum_facets(plan_: Plan, window: Window) -> RadarArea:
    total = AreaSum(window)
    for first in range(0, plan_.grid.rows, _SUM_ROWS):
        last = min(first + _SUM_ROWS, plan_.grid.rows)
        height, _, above = heights_of(plan_, first, last, 1, 1)
        rows = height[above : above + last - first]
        position = locate(plan_.nodes, plan_.geometry, rows, first)
        seen = flatten.facets(
            plan_.nodes, plan_.geometry, height, position, azimuth_spacing=plan_.options.azimuth_spacing,
            first_row=first, above=above,
        )  # fmt: skip
        total.add(position, seen.ratio)
    return total.result()
