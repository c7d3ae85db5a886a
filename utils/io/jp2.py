"""Images of Sentinel-2 products, read forwards by rows: every row of JPEG 2000 tiles is decoded once.

GDAL decodes the tiles of one window on several threads; what is decoded is kept here, in rows, and not in GDAL's cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal

from utils.io import raster
from utils.science.grid import Grid
from utils.workflow.errors import BrokenEnvironmentError, InputError

DRIVERS = ("JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID", "JP2Lura")
_AGAIN = "Download it again: make download CONF=..."
_TYPES = {gdal.GDT_Byte: np.uint8, gdal.GDT_UInt16: np.uint16}


@contextmanager
def bounded_cache(mebibytes: int) -> Iterator[None]:
    """Keep GDAL's block cache below a size while the block runs; its default is 5 % of the machine's memory."""
    before = gdal.GetCacheMax()
    gdal.SetCacheMax(min(before, mebibytes << 20))
    try:
        yield
    finally:
        gdal.SetCacheMax(before)


def _open(path: str, where: str) -> gdal.Dataset:
    """raises  InputError when it is no image; BrokenEnvironmentError when GDAL cannot read JPEG 2000 at all"""
    try:
        return gdal.OpenEx(path, gdal.OF_RASTER | gdal.OF_READONLY)
    except RuntimeError as error:
        if path.endswith(".jp2") and not any(gdal.GetDriverByName(name) for name in DRIVERS):
            raise BrokenEnvironmentError(
                f"{where}: this GDAL ({gdal.__version__}) has no driver for JPEG 2000 (JP2OpenJPEG).",
                "Install a GDAL with OpenJPEG (Debian: libgdal-dev and gdal-bin; conda: libgdal-jp2openjpeg), then make env.",
            ) from error
        raise InputError(f"{where}: not a readable image ({_short(error)}).", _AGAIN) from error


def _short(error: Exception) -> str:
    """GDAL's words without the paths of this machine."""
    return re.sub(r"[^\s'\"]*/(vsi)?[^\s'\"]*", "...", str(error)).strip().rstrip(".")


class Rows:
    """Rows of the first band of an image. Forwards only; use as a context manager, by one thread.

    path     for GDAL;  where: names the image in messages
    threads  decode so many tiles at once
    """

    def __init__(self, path: str, where: str, threads: int = 1) -> None:
        self._where, self._threads = where, str(max(1, threads))
        self._dataset = _open(path, where)
        self.grid: Grid = raster._grid(self._dataset, where)
        band = self._dataset.GetRasterBand(1)
        if band.DataType not in _TYPES:
            raise InputError(f"{where}: holds {gdal.GetDataTypeName(band.DataType)}, expected whole numbers.", _AGAIN)
        self._dtype = _TYPES[band.DataType]
        self._step: int = band.GetBlockSize()[1]
        self._columns: tuple[int, int] | None = None
        self._kept: list[tuple[int, NDArray[Any]]] = []  # first row, pixels; consecutive
        self._next = 0
        self.decoded_rows = 0

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self._dataset = None
        self._kept = []

    def take(self, first: int, last: int, left: int, right: int) -> NDArray[Any]:
        """Rows first..last - 1 of columns left..right - 1, all inside the image.

        `first` must not fall behind that of the call before, and the columns must be the same in all calls
        returns  (last - first, right - left) uint8 or uint16
        raises   InputError when the image cannot be decoded
        """
        if self._columns is None:
            self._columns, self._next = (left, right), first // self._step * self._step
        if self._columns != (left, right) or (self._kept and first < self._kept[0][0]):
            raise ValueError(f"rows {first}..{last} of columns {left}..{right} do not follow those before")
        self._kept = [(row, pixels) for row, pixels in self._kept if row + len(pixels) > first]
        self._next = max(self._next, first // self._step * self._step)
        while self._next < last:
            self._decode(max(first, self._next))
        out = np.empty((last - first, right - left), self._dtype)
        for row, pixels in self._kept:
            top, bottom = max(row, first), min(row + len(pixels), last)
            if bottom > top:
                out[top - first : bottom - first] = pixels[top - row : bottom - row]
        return out

    def _decode(self, first: int) -> None:
        """Keep the rest of the row of tiles that `first` lies in."""
        assert self._columns is not None
        left, right = self._columns
        last = min((first // self._step + 1) * self._step, self.grid.rows)
        before = gdal.GetThreadLocalConfigOption("GDAL_NUM_THREADS")
        gdal.SetThreadLocalConfigOption("GDAL_NUM_THREADS", self._threads)
        try:
            pixels = self._dataset.GetRasterBand(1).ReadAsArray(left, first, right - left, last - first)
        except RuntimeError as error:
            raise self._broken(first, last, error) from error
        finally:
            gdal.SetThreadLocalConfigOption("GDAL_NUM_THREADS", before)
        if pixels is None:
            raise self._broken(first, last, RuntimeError())
        self._kept.append((first, pixels))
        self._next = last
        self.decoded_rows += last - first

    def _broken(self, first: int, last: int, error: Exception) -> InputError:
        return InputError(
            f"{self._where}: rows {first} to {last} cannot be decoded ({_short(error) or 'cut or damaged'}).", _AGAIN
        )
