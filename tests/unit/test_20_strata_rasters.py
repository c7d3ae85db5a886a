"""Class rasters and heights of any system on the grid of a tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

from utils.io import raster
from utils.io.strata_rasters import pixel_size_m, strata_rasters
from utils.science.grid import Grid, Window
from utils.workflow.errors import InputError

GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 64, 96)
TILE = GRID.window(Window(32, 64, 32, 32))


def classes(folder: Path, dtype: type = np.uint8) -> tuple[Path, np.ndarray]:
    codes = np.random.default_rng(0).integers(1, 5, GRID.shape).astype(dtype)
    path = folder / "classes.tif"
    raster.write(path, np.stack([codes, codes * 0]), GRID, nodata=4)
    return path, codes


def test_codes_on_the_same_grid_are_those_of_the_file(tmp_path: Path) -> None:
    path, codes = classes(tmp_path)
    found = strata_rasters(path, {1: "water", 2: "forest"}, None)(TILE)
    assert set(found) == {"class:water", "class:forest", "class:class 3"}  # 4 is nodata
    for code, name in ((1, "water"), (2, "forest"), (3, "class 3")):
        np.testing.assert_array_equal(found[f"class:{name}"], codes[32:64, 64:96] == code)


def test_pixels_outside_the_class_raster_have_no_class(tmp_path: Path) -> None:
    path, codes = classes(tmp_path, np.uint16)
    found = strata_rasters(path, {}, None)(GRID.window(Window(40, 80, 32, 32)))
    inside = np.zeros((32, 32), bool)
    inside[:24, :16] = codes[40:, 80:] != 4
    np.testing.assert_array_equal(np.any(list(found.values()), axis=0), inside)
    assert strata_rasters(path, {}, None)(GRID.window(Window(500, 500, 8, 8))) == {}


def test_another_system_and_pixel_size(tmp_path: Path) -> None:
    """Codes in geographic coordinates: the nearest cell of every pixel centre, positions by PROJ one by one."""
    from osgeo import osr

    utm, degrees = osr.SpatialReference(), osr.SpatialReference()
    utm.ImportFromEPSG(32755)
    degrees.ImportFromEPSG(4326)
    to_degrees = osr.CoordinateTransformation(utm, degrees)  # latitude, longitude
    lat, lon, _ = to_degrees.TransformPoint(TILE.x0 + 160, TILE.y0 - 160)
    cells = Grid(4326, lon - 0.004, lat + 0.004, 0.0003, -0.0003, 27, 27)
    codes = np.arange(27 * 27, dtype=np.uint16).reshape(27, 27)
    raster.write(tmp_path / "cells.tif", codes, cells)
    found = strata_rasters(tmp_path / "cells.tif", {}, None)(TILE)
    own = np.zeros(TILE.shape, int)
    for name, mask in found.items():
        own[mask] = int(name.removeprefix("class:class "))
    expected = np.zeros(TILE.shape, int)
    for row, y in enumerate(TILE.pixel_centres_y()):
        for col, x in enumerate(TILE.pixel_centres_x()):
            lat, lon, _ = to_degrees.TransformPoint(x, y)
            expected[row, col] = codes[int((cells.y0 - lat) / 0.0003), int((lon - cells.x0) / 0.0003)]
    assert (own == expected).mean() > 0.995  # a centre within rounding of an edge may fall on either side


def test_a_plane_has_one_slope_up_to_the_edge_of_the_tile(tmp_path: Path) -> None:
    wide = Grid(32755, 699500.0, 6100500.0, 10.0, -10.0, 200, 200)
    height = (100 + np.mgrid[:200, :200][1] * 10 * np.tan(np.radians(20))).astype(np.float32)
    raster.write(tmp_path / "height.tif", height, wide, nodata=-9999)
    found = strata_rasters(None, {}, tmp_path / "height.tif")(TILE)
    assert found["slope:10-25 deg"].all() and found["aspect:W"].all()
    height[80:90, 110:120] = -9999
    raster.write(tmp_path / "height.tif", height, wide, nodata=-9999)
    masks = strata_rasters(None, {}, tmp_path / "height.tif")(GRID)
    known = np.any([mask for name, mask in masks.items() if name.startswith("slope")], axis=0)
    assert not known[30:40, 60:70].any() and known[:28].all()
    print(f"{(~known).sum()} pixels without a slope around a hole of 100")


def test_pixel_size() -> None:
    assert pixel_size_m(GRID) == (10.0, 10.0)
    width, height = pixel_size_m(Grid(4326, 10.0, 60.05, 0.001, -0.001, 100, 100))
    assert height == pytest.approx(111.32) and width == pytest.approx(111.32 / 2, rel=1e-6)


def test_what_is_refused(tmp_path: Path) -> None:
    path, _ = classes(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        strata_rasters(tmp_path / "none.tif", {}, None)
    raster.write(tmp_path / "float.tif", np.ones(GRID.shape, np.float32), GRID)
    with pytest.raises(InputError, match="float32 holds no class codes") as caught:
        strata_rasters(tmp_path / "float.tif", {}, None)
    assert "gdal_translate" in caught.value.remedy
    raster.write(tmp_path / "nowhere.tif", np.ones(GRID.shape, np.uint8), Grid(0, 0, 0, 1, -1, 64, 96))
    with pytest.raises(InputError, match="no coordinate system"):
        strata_rasters(tmp_path / "nowhere.tif", {}, None)
    with pytest.raises(InputError, match="dataset has no coordinate system"):
        strata_rasters(path, {}, None)(Grid(0, 0, 0, 1, -1, 64, 96))
    assert gdal.GetLastErrorType() in (0, 1)
