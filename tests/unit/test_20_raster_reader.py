"""Pixels that are read once come past GDAL's cache, and are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

from utils.io import raster
from utils.science.grid import Window

PIXELS = np.random.default_rng(4).integers(0, 60_000, (300, 500)).astype(np.uint16)
WINDOWS = [Window(0, 0, 300, 500), Window(10, 123, 57, 200), Window(299, 499, 1, 1)]


def _tif(path: Path, *options: str) -> Path:
    """One line per strip and no georeference, as measurement files of Sentinel-1 GRD are."""
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 500, 300, 1, gdal.GDT_UInt16, ["BLOCKYSIZE=1", *options])
    dataset.GetRasterBand(1).WriteArray(PIXELS)
    dataset.FlushCache()
    return path


@pytest.mark.parametrize("options", [[], ["COMPRESS=DEFLATE"]], ids=["plain", "deflated"])
@pytest.mark.parametrize("read_once", [False, True])
def test_the_same_pixels_either_way(tmp_path: Path, options: list[str], read_once: bool) -> None:
    with raster.Reader(_tif(tmp_path / "a.tif", *options), read_once=read_once) as reader:
        for window in WINDOWS:
            assert reader.read(window)[0].tobytes() == np.ascontiguousarray(PIXELS[window.slices]).tobytes()


def test_nothing_stays_in_the_cache(tmp_path: Path) -> None:
    path, held = _tif(tmp_path / "a.tif"), []
    for read_once in (False, True):
        before = gdal.GetCacheUsed()
        with raster.Reader(path, read_once=read_once) as reader:
            reader.read(WINDOWS[1])
            held.append(gdal.GetCacheUsed() - before)
    assert held[0] >= 57 * 500 * 2  # whole lines
    assert held[1] == 0
    assert gdal.GetThreadLocalConfigOption("GTIFF_DIRECT_IO") is None
