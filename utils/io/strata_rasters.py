"""Land class and terrain of a tile: any class raster and any heights, resampled to the tile's grid, as strata."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal, osr

from utils.io import raster
from utils.science import strata
from utils.science.grid import Grid, Window
from utils.workflow.errors import InputError

Mask = NDArray[np.bool_]
Masks = dict[str, Mask]
_METRES_PER_DEGREE = 111_320.0
_CLASS_TYPES = ("uint8", "uint16")
_NO_CLASS = 65535
_UNKNOWN_M = -1e30  # outside the heights while GDAL resamples


def strata_rasters(
    class_raster: Path | None, class_names: Mapping[int, str], heights: Path | None
) -> Callable[[Grid], Masks]:
    """Reader of the strata `class:`, `slope:` and `aspect:` of a grid.

    class_raster  uint8 or uint16 codes in band 1, any system, sampled at the nearest pixel; None = no classes
    class_names   code -> name; a code without one is called by its number
    heights       m, any system, bilinear; None = no terrain. Slopes need neighbours: one pixel around the grid is read
    returns       grid -> stratum -> (rows, cols) mask; a pixel outside a raster is in none of its strata
    raises        InputError when a raster is unreadable, has no coordinate system, or holds no class codes
    """
    classes = _Source(class_raster, "nearest") if class_raster else None
    if classes is not None and classes.dtype not in _CLASS_TYPES:
        raise InputError(
            f"{class_raster}: {classes.dtype} holds no class codes; they are {' or '.join(_CLASS_TYPES)}.",
            "Convert it: gdal_translate -ot Byte (or UInt16).",
        )
    terrain = _Source(heights, "bilinear") if heights else None

    def read(grid: Grid) -> Masks:
        found: Masks = {}
        if classes is not None:
            found |= strata.class_strata(classes.on_grid(grid, _NO_CLASS), class_names, _NO_CLASS)
        if terrain is not None:
            wide = grid.window(Window(-1, -1, grid.rows + 2, grid.cols + 2))
            height = terrain.on_grid(wide, _UNKNOWN_M).astype(np.float64)
            height[height <= _UNKNOWN_M / 2] = np.nan
            found |= strata.terrain_strata(height, *pixel_size_m(grid))
        return found

    return read


def pixel_size_m(grid: Grid) -> tuple[float, float]:
    """Width and height of a pixel on the ground in the middle of a grid, m."""
    if not grid.is_geographic:
        return grid.dx, -grid.dy
    latitude = math.radians(grid.y0 + 0.5 * grid.rows * grid.dy)
    return grid.dx * _METRES_PER_DEGREE * math.cos(latitude), -grid.dy * _METRES_PER_DEGREE


class _Source:
    """Band 1 of a raster, resampled to grids; opened once."""

    def __init__(self, path: Path, how: str) -> None:
        facts = raster.info(path)
        if not facts.grid.epsg and not raster_system(path):
            raise InputError(f"{path}: no coordinate system.", "Assign one with gdal_edit.py -a_srs.")
        self.path, self.how, self.dtype, self.nodata = path, how, facts.dtype, facts.nodata
        self._dataset = gdal.Translate("", str(path), format="VRT", bandList=[1])

    def on_grid(self, grid: Grid, fill: float) -> NDArray[Any]:
        """(rows, cols); `fill` where the raster has no value. uint16 codes for nearest, else float32."""
        if not grid.epsg:
            raise InputError(
                f"The dataset has no coordinate system, so {self.path} cannot be laid over it.",
                "Leave evaluate.class_raster and evaluate.dem_raster out, or import rasters with a system.",
            )
        reference = osr.SpatialReference()
        reference.ImportFromEPSG(grid.epsg)
        west, south, east, north = grid.bounds
        kind = gdal.GDT_UInt16 if self.how == "nearest" else gdal.GDT_Float32
        try:
            warped = gdal.Warp(
                "", self._dataset, format="MEM", dstSRS=reference.ExportToWkt(), width=grid.cols, height=grid.rows,
                outputBounds=(west, south, east, north), resampleAlg=self.how, srcNodata=self.nodata, dstNodata=fill,
                outputType=kind, errorThreshold=0.0,
            )  # fmt: skip
        except RuntimeError as error:
            raise InputError(
                f"{self.path}: cannot be laid over the dataset ({error}).", "Check its coordinate system with gdalinfo."
            ) from error
        return np.asarray(warped.ReadAsArray())


def raster_system(path: Path) -> bool:
    """True when the raster has a coordinate system, also one without a code."""
    return bool(gdal.Open(str(path)).GetProjection())
