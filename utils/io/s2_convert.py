"""One band or the scene classes of a Sentinel-2 product on the grid of the area, strip by strip in bounded memory.

What is written does not depend on the number of threads, the height of the strips or where the area starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from utils.io import safe_s2
from utils.io.s2_pixels import Strips, strip_rows
from utils.io.safe import SafeProduct
from utils.io.safe_s2 import S2Metadata
from utils.science import reflectance
from utils.science.cloud import CLOUD_CLASSES, CloudClasses
from utils.science.grid import Grid, Window

# Reflectance of a band on the grid of some rows, (rows, cols) float32, not below 0, NaN = none.
Rows = Callable[[str, Grid], NDArray[np.float32]]

STRIP_ROWS = 512  # rows of a GeoTIFF block: each block is complete, and compressed once, when it is written
COUNTED = ("nodata", "saturated", "clipped")


class Sink(Protocol):
    """Takes strips in order: array (1, rows, cols) at (row, col)."""

    def write(self, array: NDArray[Any], row: int, col: int) -> None: ...


@dataclass(frozen=True)
class How:
    """How to run; without influence on the result.

    threads   JPEG 2000 tiles decoded at once
    rows      height of a strip, even
    thin      every thin-th pixel is kept for pictures
    go_on     asked before each strip; raises to stop
    """

    threads: int = 1
    rows: int = STRIP_ROWS
    thin: int = 1
    go_on: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Converted:
    """counts: pixels of the image's own size (codes: of the grid) by kind; thin: every n-th pixel of the result."""

    counts: dict[str, int]
    thin: NDArray[Any]


def convert_band(product: SafeProduct, meta: S2Metadata, band: str, grid: Grid, out: Sink, how: How) -> Converted:
    """Surface reflectance of one band; bands of 20 m are interpolated to 10 m, those of 10 m never resampled.

    grid    10 m, corners multiples of 20 m
    raises  InputError for a broken image, or offsets that lack this band
    """
    offset_dn, fine = meta.offset_dn(band), meta.resolution_m(band) == 10
    own = grid if fine else safe_s2.coarse_grid(grid, margin_px=1)
    counts, thin = dict.fromkeys(COUNTED, 0), []
    with Strips(product, safe_s2.image(meta, band), own, how.threads) as strips:
        for first, last in strip_rows(grid.rows, how.rows):
            how.go_on()
            dn = strips.take(first, last) if fine else strips.take(first // 2, last // 2 + 2)
            rho = _reflectance(dn, offset_dn, meta)
            counted = rho if fine else _reflectance(dn[1:-1, 1:-1], offset_dn, meta)
            values = rho.values if fine else reflectance.bilinear_2x(rho.values)
            out.write(values[None], first, 0)
            for name in COUNTED:
                counts[name] += getattr(counted, name)
            thin.append(_thin(values, first, how.thin))
    return Converted(counts, np.concatenate(thin))


def copy_band(read: Rows, band: str, grid: Grid, out: Sink, how: How) -> Converted:
    """Reflectance of one band that another program made."""
    nodata, thin = 0, []
    for first, last in strip_rows(grid.rows, how.rows):
        how.go_on()
        values = read(band, grid.window(Window(first, 0, last - first, grid.cols)))
        out.write(values[None], first, 0)
        nodata += int(np.isnan(values).sum())
        thin.append(_thin(values, first, how.thin))
    return Converted({"nodata": nodata}, np.concatenate(thin))


def _reflectance(dn: NDArray[np.uint16], offset_dn: int, meta: S2Metadata) -> reflectance.Reflectance:
    return reflectance.to_reflectance(dn, offset_dn, meta.quantification, meta.nodata_dn, meta.saturated_dn)


def _thin(values: NDArray[Any], first: int, step: int) -> NDArray[Any]:
    """Rows and columns whose number on the whole grid is a multiple of `step`."""
    return values[-first % step :: step, ::step].copy()


@dataclass(frozen=True)
class CloudLayer:
    """Cloud of a detector other than the scene classification.

    values  (rows, cols) uint8 on `grid`, any pixel size: codes 0 clear, 1 cloud, 2 shadow, 3 snow, 255 none
    only_cloud  the detector knows cloud alone: shadow and snow come from the scene classification
    reach_m  how far a pixel's code depends on its surroundings
    tags    what cloud.tif says of it
    """

    values: NDArray[np.uint8]
    grid: Grid
    only_cloud: bool
    reach_m: float
    tags: Mapping[str, str]


@dataclass(frozen=True)
class MaskRules:
    """classes: meaning of the scene classes; dilate_m: by how much their cloud and shadow grow."""

    classes: CloudClasses = CLOUD_CLASSES
    dilate_m: float = 60.0


def convert_classes(
    product: SafeProduct, meta: S2Metadata, grid: Grid, outs: tuple[Sink, Sink], rules: MaskRules, how: How,
    layer: CloudLayer | None = None,
) -> Converted:  # fmt: skip
    """Scene classes (nearest) to the first sink, cloud codes to the second; clouds outside the area grow into it.

    returns  counts of the cloud codes, thinned codes
    """
    margin = math.ceil(rules.dilate_m / 20)  # in 20 m pixels
    counts, thin = np.zeros(256, np.int64), []
    with Strips(product, safe_s2.image(meta, "SCL"), safe_s2.coarse_grid(grid, margin), how.threads) as strips:
        for first, last in strip_rows(grid.rows, how.rows):
            how.go_on()
            coarse = strips.take(first // 2, last // 2 + 2 * margin).astype(np.uint8, copy=False)
            scl = reflectance.nearest_2x(coarse)
            inner = (slice(2 * margin, 2 * margin + last - first), slice(2 * margin, 2 * margin + grid.cols))
            codes = _codes(scl, inner, grid, (first, last), rules, layer)
            outs[0].write(scl[inner][None], first, 0)
            outs[1].write(codes[None], first, 0)
            counts += np.bincount(codes.ravel(), minlength=256)
            thin.append(_thin(codes, first, how.thin))
    names = {"clear": 0, "cloud": 1, "shadow": 2, "snow": 3, "defective": 4, "none": 255}
    return Converted({name: int(counts[code]) for name, code in names.items()}, np.concatenate(thin))


def _codes(
    scl: NDArray[np.uint8], inner: tuple[slice, slice], grid: Grid, rows: tuple[int, int], rules: MaskRules,
    layer: CloudLayer | None,
) -> NDArray[np.uint8]:  # fmt: skip
    if layer is None:
        return reflectance.cloud_codes(scl, rules.dilate_m, grid.dx, rules.classes)[inner]
    seen = reflectance.nearest_on(layer.values, layer.grid, grid, reflectance.NONE, *rows)
    if not layer.only_cloud:
        return reflectance.with_gaps(seen, scl[inner], rules.classes)
    cloud = np.zeros(scl.shape, bool)
    cloud[inner] = seen == reflectance.CLOUD
    codes = reflectance.cloud_codes(scl, rules.dilate_m, grid.dx, rules.classes, cloud)[inner]
    codes[(seen == reflectance.NONE) & (codes != reflectance.DEFECTIVE)] = reflectance.NONE
    return codes


def core(meta: S2Metadata, rules: MaskRules, layer: CloudLayer | None) -> Grid:
    """The tile without the margin in which its pixels depend on what lies beyond it; at least one 20 m pixel."""
    tile = meta.grids[10]
    reach_m = max(rules.dilate_m, layer.reach_m if layer else 0.0, 20.0)
    margin = min(math.ceil(reach_m / tile.dx), (min(tile.shape) - 1) // 2)
    return tile.window(Window(margin, margin, tile.rows - 2 * margin, tile.cols - 2 * margin))
