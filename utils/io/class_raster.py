"""Class codes: a raster of any coordinate system on the grid of a pair, and class maps with colours as COG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal, osr

from utils.io import raster
from utils.science.grid import Grid
from utils.workflow.errors import InputError

NODATA = 255
Codes = NDArray[np.uint8]


def on_grid(path: Path, grid: Grid) -> Codes:
    """Band 1 of a class raster on `grid`, nearest pixel; nothing is averaged.

    returns  (rows, cols) uint8; 255 outside the raster and where it has no data
    raises   InputError when it is unreadable, has no coordinate system, does not overlap the grid, or holds codes that
             are no whole numbers 0..254
    """
    source = raster._open(path)
    if not source.GetProjection():
        raise InputError(
            f"{path}: the class raster has no coordinate system.", "Give it one: gdal_edit.py -a_srs EPSG:CODE FILE."
        )
    if grid.epsg == 0:
        raise InputError(
            f"{path}: the pair has no coordinate system, so classes cannot be brought onto its grid.",
            "Import georeferenced rasters, or leave landclass.class_raster empty.",
        )
    values, known = _warped(source, path, grid)
    if not known.any():
        raise InputError(
            f"{path}: the class raster has no class on the pair ({_box(grid)} in EPSG:{grid.epsg}): it does not overlap, or "
            "holds no data there.",
            "Give a raster of the area, check its coordinate system (gdalinfo), or leave landclass.class_raster empty.",
        )
    inside = values[known]
    if not np.isfinite(inside).all() or (inside != np.round(inside)).any() or inside.min() < 0 or inside.max() > 254:
        raise InputError(
            f"{path}: class codes must be whole numbers 0 to 254, found {float(np.nanmin(inside)):g} to "
            f"{float(np.nanmax(inside)):g}.",
            "Reclassify the raster (gdal_calc.py), or name another one.",
        )
    return np.where(known, np.nan_to_num(values), NODATA).astype(np.uint8)


def _warped(source: Any, path: Path, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values and where there are any; a second layer of ones tells no data from a code that looks like it."""
    west, south, east, north = grid.bounds
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(grid.epsg)
    nodata = source.GetRasterBand(1).GetNoDataValue()
    try:
        made = gdal.Warp(
            "", source, format="MEM", outputBounds=(west, south, east, north), width=grid.cols, height=grid.rows,
            dstSRS=reference.ExportToWkt(), resampleAlg="near", dstAlpha=True, outputType=gdal.GDT_Float64,
            srcNodata=nodata, errorThreshold=0.0,
        )  # fmt: skip
    except RuntimeError as error:
        raise InputError(
            f"{path}: cannot be reprojected to EPSG:{grid.epsg} ({error}).",
            "Correct its coordinate system: gdalinfo FILE, gdal_edit.py -a_srs EPSG:CODE FILE.",
        ) from error
    return made.GetRasterBand(1).ReadAsArray(), made.GetRasterBand(made.RasterCount).ReadAsArray() > 0


def _box(grid: Grid) -> str:
    west, south, east, north = grid.bounds
    return f"x {west:g} to {east:g}, y {south:g} to {north:g}"


def write(
    path: Path,
    codes: Codes,
    grid: Grid,
    name: str,
    classes: Mapping[int, str],
    colours: Sequence[tuple[int, int, int]],
    tags: Mapping[str, str],
) -> None:
    """One class map as Cloud Optimized GeoTIFF: uint8, nodata 255, colour table, names in the tags CLASS_<code>.

    Overviews take every n-th pixel: a mean of codes is no class.
    """
    named = {f"CLASS_{code:03d}": words for code, words in classes.items()}
    raster.write(
        path, codes, grid, band_names=(name,), nodata=NODATA, tags={**tags, **named}, cog=True, resampling="NEAREST",
        colours=colours,
    )  # fmt: skip


def palette(count: int) -> list[tuple[int, int, int]]:
    """`count` colours for classes without colours of their own: hues a golden angle apart, two brightnesses."""
    import colorsys

    found = []
    for number in range(count):
        red, green, blue = colorsys.hsv_to_rgb(
            (0.33 + number * 0.61803398875) % 1, 0.55, 0.9 if number % 2 == 0 else 0.6
        )
        found.append((round(255 * red), round(255 * green), round(255 * blue)))
    return found
