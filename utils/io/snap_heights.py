"""A height raster in the form that SNAP understands: unknown heights as a number, never as NaN."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from osgeo import gdal

from utils.workflow.errors import InputError
from utils.workflow.files import temporary_path

NO_HEIGHT = -32768.0
_ROWS = 1024

gdal.UseExceptions()


def has_nan(path: Path) -> bool:
    """True when band 1 holds a NaN, whatever the file says about nodata. A file is read once for each state of it.

    raises  InputError when it is unreadable
    """
    state = path.stat()
    return _has_nan(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _has_nan(path: Path, size: int, mtime_ns: int) -> bool:
    try:
        dataset = gdal.OpenEx(str(path), gdal.OF_RASTER)
        band = dataset.GetRasterBand(1)
        if band.DataType not in (gdal.GDT_Float32, gdal.GDT_Float64):
            return False
        cols, rows = dataset.RasterXSize, dataset.RasterYSize
        return any(
            bool(np.isnan(band.ReadAsArray(0, row, cols, min(_ROWS, rows - row))).any())
            for row in range(0, rows, _ROWS)
        )
    except RuntimeError as error:
        raise InputError(f"{path}: not a readable height raster ({error}).", "Correct preprocess.dem.path.") from error


def with_number(path: Path, folder: Path, nodata: float) -> Path:
    """The raster itself, or, when it holds NaN, a copy in `folder` with a number instead, under the same name.

    The copy is made once for each state of the raster (place, size, time).
    nodata  the number: the raster's own nodata value, or NO_HEIGHT
    raises  InputError when it is unreadable
    """
    if not has_nan(path):
        return path
    state = path.stat()
    digest = hashlib.sha256(f"{path.resolve()} {state.st_size} {state.st_mtime_ns} {nodata}".encode()).hexdigest()[:12]
    copy = folder / digest / path.name
    if not copy.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        with temporary_path(copy) as temporary:
            _write(path, temporary, nodata)
    return copy


def _write(path: Path, target: Path, nodata: float) -> None:
    """Band 1 by rows, everything else as it is."""
    source = gdal.OpenEx(str(path), gdal.OF_RASTER)
    band, cols, rows = source.GetRasterBand(1), source.RasterXSize, source.RasterYSize
    options = ["COMPRESS=DEFLATE", "PREDICTOR=3", "TILED=YES", "BIGTIFF=IF_SAFER"]
    out = gdal.GetDriverByName("GTiff").Create(str(target), cols, rows, 1, gdal.GDT_Float32, options)
    out.SetGeoTransform(source.GetGeoTransform())
    out.SetSpatialRef(source.GetSpatialRef())
    out.SetMetadata(source.GetMetadata())
    out.GetRasterBand(1).SetNoDataValue(nodata)
    for row in range(0, rows, _ROWS):
        values = band.ReadAsArray(0, row, cols, min(_ROWS, rows - row))
        out.GetRasterBand(1).WriteArray(np.where(np.isnan(values), nodata, values).astype(np.float32), 0, row)
    out.FlushCache()
