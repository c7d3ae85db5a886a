"""Large GeoTIFFs written row by row, whole or not at all."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal

from utils.io.raster import GDAL_TYPES, creation_options, describe, need_space
from utils.science.grid import Grid
from utils.workflow.errors import DiskError
from utils.workflow.files import temporary_path

Array = NDArray[Any]
_FULL = ("no space left", "quota exceeded", "file too large", "write error", "error writing")


class Writer:
    """Write a large GeoTIFF window by window; the final name appears only when all went well.

    Use through `writer(...)`, a context manager. Full-width rows are gathered until a row of GeoTIFF blocks is
    complete, so that the file's bytes depend on the order of the rows (up or down), not on how many come at once.
    """

    def __init__(self, dataset: gdal.Dataset) -> None:
        self._dataset = dataset
        self._block_rows = dataset.GetRasterBand(1).GetBlockSize()[1]
        self._pending: dict[int, tuple[Array, NDArray[np.bool_]]] = {}  # by row of blocks: pixels, which rows are there

    def write(self, array: Array, row: int, col: int) -> None:
        """array (bands, rows, cols) at upper-left (row, col)."""
        if col == 0 and array.shape[2] == self._dataset.RasterXSize:
            self._gather(array, row)
        else:
            self._put(array, row, col)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add metadata that are known only when all pixels are."""
        found = {**self._dataset.GetMetadata(), **{name: str(text) for name, text in tags.items()}}
        self._dataset.SetMetadata({name: found[name] for name in sorted(found)})

    def close(self) -> None:
        """Write what is gathered and let go of the file, whoever still holds this writer: GDAL completes a file only
        when nobody refers to it, and that must be before the file gets its name."""
        for strip, (pixels, there) in sorted(self._pending.items()):
            first = int(np.argmax(there))
            last = len(there) - int(np.argmax(there[::-1]))
            self._put(pixels[:, first:last], strip * self._block_rows + first, 0)
        self._pending.clear()
        self._dataset.FlushCache()
        gdal.ErrorReset()
        self._dataset = None
        if gdal.GetLastErrorType() >= gdal.CE_Failure:  # closing writes the last bytes, and raises nothing
            raise RuntimeError(gdal.GetLastErrorMsg())

    def abandon(self) -> None:
        """Let go of the file after an error, so that its space is free although somebody still holds this writer."""
        self._pending.clear()
        self._dataset = None

    def _gather(self, array: Array, row: int) -> None:
        size, total = self._block_rows, self._dataset.RasterYSize
        for strip in range(row // size, (row + array.shape[1] - 1) // size + 1):
            top, bottom = strip * size, min((strip + 1) * size, total)
            first, last = max(row, top), min(row + array.shape[1], bottom)
            part = array[:, first - row : last - row]
            if last - first == bottom - top:
                self._put(part, top, 0)
                continue
            if strip not in self._pending:
                empty = np.empty((len(array), bottom - top, array.shape[2]), array.dtype)
                self._pending[strip] = (empty, np.zeros(bottom - top, bool))
            pixels, there = self._pending[strip]
            pixels[:, first - top : last - top] = part
            there[first - top : last - top] = True
            if there.all():
                del self._pending[strip]
                self._put(pixels, top, 0)

    def _put(self, array: Array, row: int, col: int) -> None:
        for number, plane in enumerate(array, start=1):
            self._dataset.GetRasterBand(number).WriteArray(np.ascontiguousarray(plane), col, row)


@contextmanager
def writer(
    path: Path,
    grid: Grid,
    bands: int,
    dtype: str,
    *,
    band_names: Sequence[str] = (),
    nodata: float | None = None,
    tags: Mapping[str, str] | None = None,
    threads: int = 0,
    scale: float | None = None,
    offset: float | None = None,
    quick: bool = False,
) -> Iterator[Writer]:
    """Open a tiled GeoTIFF for windowed writing; renamed to `path` when the block ends without error.

    threads  that compress blocks: 0 = all that this process may use; the bytes are the same for any number
    scale    stored with offset: value = stored * scale + offset
    quick    compressed for speed, by Zstandard where GDAL has it: for what another stage reads and few others do
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    need_space(path, grid.rows * grid.cols * bands * np.dtype(dtype).itemsize)
    count = threads or len(os.sched_getaffinity(0))
    with temporary_path(path) as temporary, _disk_errors(path):
        options = [
            *(_quick_options() if quick and max(grid.rows, grid.cols) > 512 else []),
            *creation_options(np.dtype(dtype), grid.rows, grid.cols, cog=False),
            "SPARSE_OK=FALSE",
            f"NUM_THREADS={count}",
        ]
        dataset = gdal.GetDriverByName("GTiff").Create(
            str(temporary), grid.cols, grid.rows, bands, GDAL_TYPES[dtype], options
        )
        describe(dataset, grid, band_names, nodata, tags or {}, scale, offset)
        out = Writer(dataset)
        del dataset
        try:
            yield out
            out.close()
        finally:
            out.abandon()


def _quick_options() -> list[str]:
    """Low blocks, so that few rows wait, of one band each: those of all bands would have to stay in the cache until the
    last band is written, or be compressed several times. GDAL takes the first option of a name."""
    known = gdal.GetDriverByName("GTiff").GetMetadataItem("DMD_CREATIONOPTIONLIST") or ""
    return [
        *(["COMPRESS=ZSTD", "ZSTD_LEVEL=1"] if ">ZSTD<" in known else ["ZLEVEL=1"]),
        "BLOCKYSIZE=128",
        "INTERLEAVE=BAND",
    ]


def cog_from(source: Path, target: Path, resampling: str = "AVERAGE") -> None:
    """Cloud Optimized GeoTIFF of a raster, in memory that does not grow with it; whole or not at all.

    raises  DiskError when the disk is full
    """
    facts = gdal.Open(str(source))
    kind = np.dtype({number: name for name, number in GDAL_TYPES.items()}[facts.GetRasterBand(1).DataType])
    need_space(target, facts.RasterXSize * facts.RasterYSize * facts.RasterCount * kind.itemsize)
    options = [
        *creation_options(kind, facts.RasterYSize, facts.RasterXSize, cog=True),
        f"OVERVIEW_RESAMPLING={resampling}",
        f"NUM_THREADS={len(os.sched_getaffinity(0))}",
    ]
    with temporary_path(target) as temporary, _disk_errors(target):
        done = gdal.GetDriverByName("COG").CreateCopy(str(temporary), facts, options=options)
        done.FlushCache()
        del done


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """GDAL says in words what the system says by number: a full disk must end like any other full disk."""
    try:
        yield
    except RuntimeError as error:
        # frames of the traceback hold GDAL's dataset, and with it the disk space of a file that is already deleted
        traceback.clear_frames(error.__traceback__)
        if not any(text in str(error).lower() for text in _FULL):
            raise
        raise DiskError(
            f"No space left while writing {path}.", "Free disk space, then run the same command again: it resumes."
        ) from error
