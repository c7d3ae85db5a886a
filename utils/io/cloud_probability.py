"""Cloud from s2cloudless (gradient-boosted trees of Sentinel Hub) on an L1C product, at a coarse resolution."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io.s2_pixels import Strips, strip_rows
from utils.io.safe import SafeProduct
from utils.io.safe_l1c import RESOLUTION_M, L1cMetadata
from utils.science.grid import Grid, Window
from utils.science.reflectance import CLEAR, CLOUD, NONE, block_means, to_reflectance
from utils.workflow.errors import BrokenEnvironmentError

BANDS = ("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12")  # the order that the trees expect
_ROWS = 64  # coarse rows at once
_NEVER = -1  # no digital number: saturated pixels count as bright, and bright is what clouds are


@dataclass(frozen=True)
class Detector:
    """Settings of the detector.

    resolution_m  20 or 60;  threshold: cloud above this probability, 0..1
    average_px    radius of the disk that averages the probability, pixels of resolution_m; 0 = none
    dilate_px     radius of the disk by which cloud grows then; 0 = none
    threads       of the trees, without influence on the result
    """

    resolution_m: int = 60
    threshold: float = 0.4
    average_px: int = 4
    dilate_px: int = 2
    threads: int = 1

    @property
    def margin_px(self) -> int:
        """Context that a pixel depends on."""
        return self.average_px + self.dilate_px + 1


def coarse_grid(meta: L1cMetadata, grid: Grid, resolution_m: int, margin_px: int) -> Grid:
    """The part of the tile's grid of resolution_m under a target grid, with a margin, cut at the tile."""
    tile = meta.grids[resolution_m]
    west, south, east, north = grid.bounds
    top = max(math.floor((north - tile.y0) / tile.dy) - margin_px, 0)
    left = max(math.floor((west - tile.x0) / tile.dx) - margin_px, 0)
    bottom = min(math.ceil((south - tile.y0) / tile.dy) + margin_px, tile.rows)
    right = min(math.ceil((east - tile.x0) / tile.dx) + margin_px, tile.cols)
    return tile.window(Window(top, left, bottom - top, right - left))


def coarse_toa(product: SafeProduct, meta: L1cMetadata, grid: Grid, go_on: Callable[[], None] = lambda: None) -> Any:
    """Top-of-atmosphere reflectance of the ten bands in strips.

    grid     of 20 or 60 m, inside the tile
    yields   first row, (rows, cols, 10) float32: means of the valid pixels of finer bands, coarser pixels repeated;
             NaN where there is none
    """
    step = round(grid.dx)
    with ExitStack() as stack:
        strips = {}
        for band in BANDS:
            native = RESOLUTION_M[band]
            own = meta.image(band).grid
            factor = step / native
            part = Grid(
                grid.epsg, grid.x0, grid.y0, native, -native, round(grid.rows * factor), round(grid.cols * factor)
            )
            if factor < 1:  # 60 m under 20 m: the pixels that touch the area
                part = _touching(own, grid)
            strips[band] = (stack.enter_context(Strips(product, meta.image(band), part)), part)
        for first, last in strip_rows(grid.rows, _ROWS):
            go_on()
            planes = [_plane(strips[band], meta, band, grid, first, last) for band in BANDS]
            yield first, np.stack(planes, axis=-1)


def _touching(own: Grid, grid: Grid) -> Grid:
    west, south, east, north = grid.bounds
    top, left = math.floor((north - own.y0) / own.dy), math.floor((west - own.x0) / own.dx)
    bottom, right = math.ceil((south - own.y0) / own.dy), math.ceil((east - own.x0) / own.dx)
    return own.window(Window(top, left, bottom - top, right - left))


def _plane(
    source: tuple[Strips, Grid], meta: L1cMetadata, band: str, grid: Grid, first: int, last: int
) -> NDArray[np.float32]:
    strips, part = source
    native, step = RESOLUTION_M[band], round(grid.dx)

    def toa(top: int, bottom: int) -> NDArray[np.float32]:
        dn = strips.take(top, bottom)
        return to_reflectance(dn, meta.offset_dn(band), meta.quantification, meta.nodata_dn, _NEVER).values

    if native <= step:
        factor = step // native
        return block_means(toa(first * factor, last * factor), factor)
    y, x = grid.pixel_centres_y()[first:last], grid.pixel_centres_x()
    rows = np.floor((y - part.y0) / part.dy).astype(np.int64)
    cols = np.floor((x - part.x0) / part.dx).astype(np.int64)
    top = int(rows[0])
    return np.asarray(toa(top, int(rows[-1]) + 1)[np.ix_(rows - top, cols)])


def detector_of(settings: Detector) -> Any:
    """The detector of package s2cloudless.

    raises  BrokenEnvironmentError when the package is missing
    """
    try:
        from s2cloudless.cloud_detector import S2PixelCloudDetector
    except ImportError as error:
        raise BrokenEnvironmentError(f"s2cloudless cannot be imported ({error}).", "Run: make env") from error
    detector = S2PixelCloudDetector(
        threshold=settings.threshold, average_over=max(settings.average_px, 1), dilation_size=settings.dilate_px or None
    )
    if settings.average_px == 0:
        # without averaging the package hands int8 to OpenCV's dilation, which refuses it: average over one pixel
        detector.conv_filter = np.ones((1, 1))
    return detector


def probability(detector: Any, toa: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
    """Cloud probability (rows, cols), 0..1, NaN where a band is NaN; toa: (rows, cols, 10) reflectance."""
    valid = np.isfinite(toa).all(axis=-1)
    out = np.full(valid.shape, np.nan, np.float32)
    if valid.any():
        pixels = toa[valid][None, None]  # (1, 1, n, 10): the trees look at single pixels
        out[valid] = detector.get_cloud_probability_maps(pixels, num_threads=threads)[0, 0]
    return out


def mask(detector: Any, chances: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Codes 0 clear, 1 cloud, 255 none of a probability map, averaged, cut and grown by the detector."""
    valid = np.isfinite(chances)
    cloud = detector.get_mask_from_prob(np.where(valid, chances, np.float32(0))[None])[0] > 0
    return np.where(valid, np.where(cloud, CLOUD, CLEAR), NONE).astype(np.uint8)


def detect(
    product: SafeProduct, meta: L1cMetadata, grid: Grid, settings: Detector, go_on: Callable[[], None] = lambda: None
) -> tuple[NDArray[np.uint8], Grid]:
    """Cloud codes on the tile's coarse grid under a target grid.

    returns  (rows, cols) uint8: 0 clear, 1 cloud, 255 none; and their grid
    raises   InputError for a broken image; BrokenEnvironmentError without the package
    """
    detector = detector_of(settings)
    coarse = coarse_grid(meta, grid, settings.resolution_m, settings.margin_px)
    chances = np.empty(coarse.shape, np.float32)
    for first, toa in coarse_toa(product, meta, coarse, go_on):
        chances[first : first + len(toa)] = probability(detector, toa, settings.threads)
    return mask(detector, chances), coarse
