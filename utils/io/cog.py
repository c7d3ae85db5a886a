"""Cloud Optimized GeoTIFFs of any height: rows go to a temporary GeoTIFF, GDAL's COG driver makes the file of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal

from utils.io import raster, row_writer
from utils.io.row_writer import Writer
from utils.science.grid import Grid
from utils.workflow.errors import DiskError
from utils.workflow.files import TEMPORARY_MARK, temporary_path

_FULL = ("no space left", "quota exceeded", "file too large", "write error", "error writing")


@contextmanager
def rows_to_cog(
    path: Path,
    grid: Grid,
    bands: int,
    dtype: str,
    *,
    band_names: Sequence[str],
    nodata: float,
    tags: Mapping[str, str],
    scale: float | None = None,
    resampling: str = "AVERAGE",
) -> Iterator[Writer]:
    """Open a Cloud Optimized GeoTIFF for full-width rows from top to bottom; `path` appears whole when the block ends.

    scale       value = stored * scale + 0, where given
    resampling  of the overviews: AVERAGE for quantities, NEAREST for classes
    The bytes do not depend on how many rows come at once. A killed run leaves names with TEMPORARY_MARK only.
    raises      DiskError when the disk is full
    """
    rows = path.with_name(f"{path.stem}{TEMPORARY_MARK}{os.getpid()}.rows.tif")
    try:
        with row_writer.writer(rows, grid, bands, dtype, band_names=band_names, nodata=nodata, tags=tags) as out:
            yield out
        _convert(rows, path, np.dtype(dtype), grid, scale, resampling)
    finally:
        rows.unlink(missing_ok=True)


def _convert(source: Path, path: Path, dtype: np.dtype[Any], grid: Grid, scale: float | None, resampling: str) -> None:
    options = [
        *raster.creation_options(dtype, grid.rows, grid.cols, cog=True),
        f"OVERVIEW_RESAMPLING={resampling}",
        f"NUM_THREADS={len(os.sched_getaffinity(0))}",
    ]
    with temporary_path(path) as temporary:
        raster.need_space(path, source.stat().st_size)
        try:
            # a virtual raster in memory carries scale and offset, which the rows on disk do not have
            rows = gdal.Open(str(source))
            virtual = gdal.GetDriverByName("VRT").CreateCopy("", rows)
            if scale is not None:
                for number in range(1, virtual.RasterCount + 1):
                    virtual.GetRasterBand(number).SetScale(scale)
                    virtual.GetRasterBand(number).SetOffset(0.0)
            made = gdal.GetDriverByName("COG").CreateCopy(str(temporary), virtual, options=options)
            made.FlushCache()
            del made, virtual, rows
        except RuntimeError as error:
            if any(text in str(error).lower() for text in _FULL):
                raise DiskError(
                    f"No space left while writing {path}.",
                    "Free disk space, then run the same command again: it resumes.",
                ) from error
            raise


def read_reduced(path: Path, bands: Sequence[str], max_px: int) -> NDArray[np.float32]:
    """(bands, rows, cols) float32 physical values, reduced by a whole factor to at most max_px, from the overviews.

    NaN where a block holds no data; blocks are averaged over their pixels with data
    """
    facts = raster.info(path)
    factor = max(1, -(-max(facts.grid.shape) // max_px))
    rows, cols = max(1, facts.grid.rows // factor), max(1, facts.grid.cols // factor)
    dataset = gdal.Open(str(path))
    planes = [
        dataset.GetRasterBand(facts.band_names.index(name) + 1).ReadAsArray(
            0, 0, min(cols * factor, facts.grid.cols), min(rows * factor, facts.grid.rows), cols, rows,
            resample_alg=gdal.GRIORA_Average,
        )
        for name in bands
    ]  # fmt: skip
    stored = np.stack(planes)
    values = (stored * facts.scale + facts.offset).astype(np.float32)
    if facts.nodata is not None and np.isfinite(facts.nodata):
        values[stored == facts.nodata] = np.nan
    return values
