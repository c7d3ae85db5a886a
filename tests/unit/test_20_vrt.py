"""Virtual rasters, opened with GDAL itself: values, and what a move of the work directory leaves of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

from utils.io import raster, vrt
from utils.science.grid import Grid
from utils.workflow.errors import InputError

gdal.UseExceptions()
WEST = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 20, 30)
EAST = Grid(32755, 700200.0, 6100050.0, 10.0, -10.0, 20, 30)  # 20 columns right, 5 rows up


def make(work: Path, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Two products with two bands each; the first lacks a corner that the second has."""
    rng = np.random.default_rng(seed)
    images: dict[str, list[np.ndarray]] = {}
    for name in ("B04", "B08"):
        images[name] = [rng.random((20, 30), dtype=np.float32) for _ in range(2)]
        images[name][0][:4, 25:] = np.nan
        for image, grid, product in zip(images[name], (WEST, EAST), ("A", "B"), strict=True):
            raster.write(work / "preprocessed/sentinel2" / product / f"{name}.tif", image, grid, nodata=np.nan)
    for name in images:
        files = [work / "preprocessed/sentinel2" / product / f"{name}.tif" for product in ("A", "B")]
        vrt.write_band(work / "tiles/d0/vrt" / f"{name}.vrt", files, name)
    vrt.write_stack(work / "tiles/d0/vrt/sentinel2.vrt", [work / "tiles/d0/vrt" / f"{name}.vrt" for name in images])
    return images


def expected(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    out = np.full((25, 50), np.nan, np.float32)
    out[:20, 20:] = second
    place = out[5:, :30]
    np.copyto(place, first, where=np.isfinite(first))  # the first product with data wins
    return out


def test_bands_and_stack_hold_the_mosaic(tmp_path: Path) -> None:
    images = make(tmp_path)
    for name, (first, second) in images.items():
        dataset = gdal.Open(str(tmp_path / f"tiles/d0/vrt/{name}.vrt"))
        np.testing.assert_array_equal(dataset.ReadAsArray(), expected(first, second))
        assert dataset.GetGeoTransform() == (700000.0, 10.0, 0.0, 6100050.0, 0.0, -10.0)
        assert np.isnan(dataset.GetRasterBand(1).GetNoDataValue())
    stack = raster.info(tmp_path / "tiles/d0/vrt/sentinel2.vrt")
    assert stack.band_names == ("B04", "B08") and stack.grid == Grid(32755, 700000.0, 6100050.0, 10.0, -10.0, 25, 50)
    planes = raster.read(tmp_path / "tiles/d0/vrt/sentinel2.vrt")
    np.testing.assert_array_equal(planes, [expected(*images[name]) for name in ("B04", "B08")])


def test_a_moved_work_directory_still_opens(tmp_path: Path) -> None:
    images = make(tmp_path / "old")
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "old", tmp_path / "elsewhere/new")
    planes = gdal.Open(str(tmp_path / "elsewhere/new/tiles/d0/vrt/sentinel2.vrt")).ReadAsArray()
    np.testing.assert_array_equal(planes[1], expected(*images["B08"]))
    for path in (tmp_path / "elsewhere/new/tiles").rglob("*.vrt"):
        assert str(tmp_path) not in path.read_text()


def test_it_is_what_gdalbuildvrt_builds(tmp_path: Path) -> None:
    make(tmp_path)
    files = [
        str(tmp_path / f"preprocessed/sentinel2/{product}/B04.tif") for product in ("B", "A")
    ]  # the last wins there
    theirs = gdal.BuildVRT(str(tmp_path / "theirs.vrt"), files)
    theirs.FlushCache()
    own = gdal.Open(str(tmp_path / "tiles/d0/vrt/B04.vrt"))
    np.testing.assert_array_equal(own.ReadAsArray(), theirs.ReadAsArray())
    assert own.GetGeoTransform() == theirs.GetGeoTransform()
    assert own.GetSpatialRef().IsSame(theirs.GetSpatialRef())


def test_degrees_keep_their_axis_order(tmp_path: Path) -> None:
    grid = Grid(4326, 73.0, 30.5, 1e-4, -1e-4, 8, 9)
    raster.write(tmp_path / "a.tif", np.arange(72, dtype=np.uint8).reshape(8, 9), grid)
    vrt.write_band(tmp_path / "v/a.vrt", [tmp_path / "a.tif"], "a & b")
    assert raster.info(tmp_path / "v/a.vrt").grid == grid and raster.info(tmp_path / "v/a.vrt").band_names == ("a & b",)
    np.testing.assert_array_equal(raster.read(tmp_path / "v/a.vrt"), raster.read(tmp_path / "a.tif"))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    image = np.ones((20, 30), np.float32)
    raster.write(tmp_path / "a.tif", image, WEST, nodata=np.nan)
    for name, other, kind, nodata, text in (
        ("half", Grid(32755, 700005.0, 6100000.0, 10.0, -10.0, 20, 30), np.float32, np.nan, "whole pixels"),
        ("zone", Grid(32754, 700000.0, 6100000.0, 10.0, -10.0, 20, 30), np.float32, np.nan, "coordinate systems"),
        ("type", EAST, np.uint8, 255, "uint8, nodata 255"),
        ("none", EAST, np.float32, None, "nodata None"),
    ):
        raster.write(tmp_path / f"{name}.tif", image.astype(kind), other, nodata=nodata)
        with pytest.raises(InputError, match=text):
            vrt.write_band(tmp_path / "out.vrt", [tmp_path / "a.tif", tmp_path / f"{name}.tif"], "B04")
    raster.write(tmp_path / "b.tif", image, EAST, nodata=np.nan)
    with pytest.raises(InputError, match="not on the grid"):
        vrt.write_stack(tmp_path / "out.vrt", [tmp_path / "a.tif", tmp_path / "b.tif"])
    with pytest.raises(InputError, match="no raster"):
        vrt.write_band(tmp_path / "out.vrt", [], "B04")
    assert not (tmp_path / "out.vrt").exists()
