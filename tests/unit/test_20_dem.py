"""Heights on a grid: interpolation by hand, vertical datum rules, holes, real DEM where available."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal, osr
from scipy.ndimage import map_coordinates

from utils.io import raster
from utils.io.dem import HeightField, read_heights
from utils.io.ground import Survey
from utils.science.geodesy import geodetic_to_utm, utm_to_geodetic
from utils.science.grid import Grid, Window
from utils.workflow.errors import ConfigError, InputError

GRID = Grid(32633, 300_000.0, 4_650_000.0, 10.0, -10.0, 60, 80)


def _utm_dem(
    path: Path, plane: tuple[float, float, float] = (100.0, 0.02, -0.03), tag: str | None = "ellipsoid"
) -> Path:
    """A tilted plane at 30 m around the grid: bilinear interpolation of it is exact."""
    grid = Grid(32633, GRID.x0 - 900, GRID.y0 + 900, 30.0, -30.0, 90, 100)
    x, y = np.meshgrid(grid.pixel_centres_x() - GRID.x0, grid.pixel_centres_y() - GRID.y0)
    values = (plane[0] + plane[1] * x + plane[2] * y).astype(np.float32)
    raster.write(path, values, grid, nodata=-32768.0, tags={"VERTICAL": tag} if tag else {})
    return path


def _degree_raster(
    path: Path,
    west: float,
    north: float,
    step: float,
    shape: tuple[int, int],
    formula: object,
    vertical: int | None = None,
) -> Path:
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), shape[1], shape[0], 1, gdal.GDT_Float32)
    dataset.SetGeoTransform((west, step, 0, north, 0, -step))
    reference = osr.SpatialReference()
    if vertical:
        reference.SetFromUserInput(f"EPSG:4326+{vertical}")
    else:
        reference.ImportFromEPSG(4326)
    dataset.SetProjection(reference.ExportToWkt())
    lon = west + (np.arange(shape[1]) + 0.5) * step
    lat = north - (np.arange(shape[0]) + 0.5) * step
    dataset.GetRasterBand(1).WriteArray(np.asarray(formula(lon[None], lat[:, None]), dtype=np.float32))  # type: ignore[operator]
    dataset.FlushCache()
    return path


def test_plane_is_interpolated_exactly(tmp_path: Path) -> None:
    heights = read_heights(_utm_dem(tmp_path / "dem.tif"), GRID)
    x, y = np.meshgrid(GRID.pixel_centres_x() - GRID.x0, GRID.pixel_centres_y() - GRID.y0)
    assert heights.height_m.dtype == np.float32
    assert np.abs(heights.height_m - (100 + 0.02 * x - 0.03 * y)).max() < 1e-3
    assert (heights.vertical, heights.geoid, heights.missing.any()) == ("ellipsoid", "none", False)


def test_geographic_dem_with_its_own_geoid(tmp_path: Path) -> None:
    """h = H + N, both linear in longitude and latitude: no half-pixel shift, no silent zero."""
    dem = _degree_raster(
        tmp_path / "dem.tif",
        12.0,
        43.0,
        0.001,
        (1500, 1500),
        lambda lon, lat: 50 + 100 * (lon - 12.5) + 40 * (lat - 42) + 0 * lat,
        5773,
    )
    geoid = _degree_raster(
        tmp_path / "geoid.tif",
        10.0,
        45.0,
        0.25,
        (30, 30),
        lambda lon, lat: 48.6 + 0.5 * (lon - 12.5) - 0.3 * (lat - 42),
    )
    heights = read_heights(dem, GRID, geoid_grid=geoid)
    lon, lat = utm_to_geodetic(GRID.pixel_centres_x()[None], GRID.pixel_centres_y()[:, None], GRID.epsg)
    expected = 50 + 100 * (lon - 12.5) + 40 * (lat - 42) + 48.6 + 0.5 * (lon - 12.5) - 0.3 * (lat - 42)
    assert heights.vertical == "EGM96"
    assert heights.geoid == "geoid.tif"
    assert np.abs(heights.height_m - expected).max() < 5e-3


def test_a_height_does_not_depend_on_the_window_it_is_read_with(tmp_path: Path) -> None:
    dem = _degree_raster(
        tmp_path / "dem.tif", 12.0, 42.5, 1 / 3600, (3600, 3600),
        lambda lon, lat: 300 + 200 * np.sin(lon * 900) * np.cos(lat * 700),
    )  # fmt: skip
    field = HeightField(dem, "ellipsoid")
    whole = field.read(GRID).height_m
    for window in (Window(0, 0, 7, 80), Window(13, 5, 40, 31), Window(59, 79, 1, 1)):
        part = field.read(GRID.window(window)).height_m
        assert part.tobytes() == np.ascontiguousarray(whole[window.slices]).tobytes()
    survey = Survey(field)
    survey.grow(GRID)
    assert (survey.low_m, survey.high_m) == (whole.min(), whole.max())


def test_heights_against_exact_positions(tmp_path: Path) -> None:
    """The lattice between exact positions against exact positions for every pixel, by the project's own series."""
    step = 1 / 3600
    dem = _degree_raster(
        tmp_path / "dem.tif", 12.3, 42.3, step, (1600, 1600),
        lambda lon, lat: 300 + 200 * np.sin(lon * 900) * np.cos(lat * 700),
    )  # fmt: skip
    grid = Grid(32633, 292_000.0, 4_672_000.0, 10.0, -10.0, 700, 700)
    stored = raster.read(dem)[0].astype(np.float64)
    lon, lat = utm_to_geodetic(grid.pixel_centres_x()[None], grid.pixel_centres_y()[:, None], grid.epsg)
    col, row = (lon - 12.3) / step - 0.5, (42.3 - lat) / step - 0.5
    expected = map_coordinates(stored, [row, col], order=1)
    error = float(np.abs(HeightField(dem, "ellipsoid").read(grid).height_m - expected).max())
    print(f"largest height error of the lattice {error:.4f} m (limit 0.02)")
    assert error < 0.02


def test_fine_rasters_are_averaged_first(tmp_path: Path) -> None:
    """A 2.5 m raster of alternating heights: 10 m pixels see the mean, not one of the two."""
    grid = Grid(32633, GRID.x0 - 100, GRID.y0 + 100, 2.5, -2.5, 400, 480)
    values = np.where(np.indices(grid.shape).sum(axis=0) % 2, 80.0, 120.0).astype(np.float32)
    raster.write(tmp_path / "fine.tif", values, grid, tags={"VERTICAL": "ellipsoid"})
    found = read_heights(tmp_path / "fine.tif", GRID).height_m
    assert np.abs(found - 100).max() < 1e-3


def test_date_line(tmp_path: Path) -> None:
    """A raster that counts 179.5 .. 180.5 under a grid whose longitudes jump from 180 to -180."""
    dem = _degree_raster(
        tmp_path / "dem.tif", 179.5, -16.0, 0.001, (1000, 1000), lambda lon, lat: 100 * (lon - 179.5) + 0 * lat
    )
    x, y = geodetic_to_utm(np.array([179.98]), np.array([-16.5]), 32760)
    grid = Grid(32760, float(np.round(x[0] / 20) * 20), float(np.round(y[0] / 20) * 20), 10.0, -10.0, 50, 700)
    found = HeightField(dem, "ellipsoid").read(grid).height_m
    lon, _ = utm_to_geodetic(grid.pixel_centres_x(), np.full(700, grid.y0 - 250), grid.epsg)
    assert (lon < 0).any() and (lon > 0).any()
    assert np.abs(found[25] - 100 * (lon % 360 - 179.5)).max() < 1e-2


@pytest.mark.parametrize("central_lon", [179.99, -179.99, 0.01, -0.01, 100.0])
@pytest.mark.parametrize(("west", "columns"), [(-180.125, 1440), (-180.0, 1440), (0.0, 1440), (-180.125, 1441)])
def test_geoid_around_the_earth_has_no_edge(tmp_path: Path, west: float, columns: int, central_lon: float) -> None:
    """Undulations that differ by longitude only, without a jump; expected from the formula at each longitude."""

    def undulation(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        return 30 + 20 * np.sin(np.radians(lon)) + 5 * np.cos(np.radians(3 * lon)) + 0 * lat

    geoid = _degree_raster(tmp_path / "geoid.tif", west, -10.0, 0.25, (60, columns), undulation)
    zone = 1 + int((central_lon + 180) // 6)
    x, y = geodetic_to_utm(np.array([central_lon]), np.array([-16.5]), 32700 + zone)
    grid = Grid(
        32700 + zone, float(np.round(x[0] / 20) * 20) - 3500, float(np.round(y[0] / 20) * 20), 10.0, -10.0, 40, 700
    )
    raster.write(
        tmp_path / "dem.tif", np.full(grid.shape, 100, np.float32), grid, nodata=-32768.0, tags={"VERTICAL": "EGM96"}
    )
    field = HeightField(tmp_path / "dem.tif", geoid_grid=geoid)
    found = field.read(grid).height_m
    lon, lat = utm_to_geodetic(grid.pixel_centres_x()[None], grid.pixel_centres_y()[:, None], grid.epsg)
    if abs(central_lon) != 100:
        assert (np.diff(np.sign(lon), axis=1) != 0).any()  # it does cross 0 or 180
    error = float(np.abs(found - 100 - undulation(lon, lat)).max())
    print(f"raster from {west}, {columns} columns, area around {central_lon}: error {error:.1e} m (limit 1e-3)")
    assert error < 1e-3
    for window in (Window(0, 0, 40, 90), Window(0, 610, 40, 90), Window(7, 300, 20, 100)):
        part = HeightField(tmp_path / "dem.tif", geoid_grid=geoid).read(grid.window(window)).height_m
        assert part.tobytes() == np.ascontiguousarray(found[window.slices]).tobytes()


def test_scale_and_offset_of_heights_and_geoid(tmp_path: Path) -> None:
    """Whole centimetres above -400 m, and a geoid in half metres."""
    area = Grid(32633, GRID.x0 - 300, GRID.y0 + 300, 10.0, -10.0, 120, 140)
    stored = np.full(area.shape, 35_000, np.int32)
    stored[70:, 100:] = -32768
    raster.write(tmp_path / "cm.tif", stored, area, nodata=-32768.0, tags={"VERTICAL": "EGM96"})
    geoid = _degree_raster(tmp_path / "geoid.tif", 10.0, 45.0, 0.25, (30, 30), lambda lon, lat: 90 + 0 * lon + 0 * lat)
    for name, scale, offset in (("cm.tif", 0.01, -400.0), ("geoid.tif", 0.5, 0.0)):
        dataset = gdal.OpenEx(str(tmp_path / name), gdal.OF_UPDATE)
        dataset.GetRasterBand(1).SetScale(scale)
        dataset.GetRasterBand(1).SetOffset(offset)
        dataset.FlushCache()
        del dataset
    found = HeightField(tmp_path / "cm.tif", geoid_grid=geoid, missing="sea").read(GRID)
    assert 0 < found.missing.sum() < found.missing.size
    assert found.height_m[~found.missing] == pytest.approx(35_000 * 0.01 - 400 + 45, abs=1e-4)
    assert found.height_m[found.missing] == pytest.approx(45, abs=1e-4)


def test_datum_unknown_contradicting_or_without_geoid(tmp_path: Path) -> None:
    plain = _utm_dem(tmp_path / "plain.tif", tag=None)
    with pytest.raises(ConfigError, match=r"plain\.tif: the file does not say") as caught:
        read_heights(plain, GRID)
    assert "preprocess.dem.vertical" in caught.value.remedy
    assert read_heights(plain, GRID, "ellipsoid").vertical == "ellipsoid"
    for vertical in ("EGM96", "EGM2008"):
        with pytest.raises(ConfigError, match="geoid_grid is not set"):
            read_heights(plain, GRID, vertical)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"the file says ellipsoid, .* says EGM96"):
        read_heights(_utm_dem(tmp_path / "tagged.tif"), GRID, "EGM96")
    with pytest.raises(ConfigError, match="no such geoid grid"):
        read_heights(plain, GRID, "EGM96", tmp_path / "absent.tif")


def test_geoid_that_does_not_cover(tmp_path: Path) -> None:
    geoid = _degree_raster(tmp_path / "geoid.tif", 30.0, 45.0, 0.25, (30, 30), lambda lon, lat: 20 + 0 * lon + 0 * lat)
    with pytest.raises(InputError, match=r"geoid\.tif: no undulation for 100\.0 %"):
        read_heights(_utm_dem(tmp_path / "dem.tif", tag="EGM96"), GRID, geoid_grid=geoid)


def test_hole_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = _utm_dem(tmp_path / "dem.tif")
    dataset = gdal.OpenEx(str(path), gdal.OF_UPDATE)
    values = dataset.ReadAsArray()
    values[40:44, 40:44] = -32768
    dataset.GetRasterBand(1).WriteArray(values)
    dataset.FlushCache()
    del dataset
    with pytest.raises(InputError, match=r"no heights for .* longitude 12\.5.* latitude 41\.9.*tiles N41E012"):
        read_heights(path, GRID)
    geoid = _degree_raster(tmp_path / "geoid.tif", 10.0, 45.0, 0.25, (30, 30), lambda lon, lat: 45 + 0 * lon + 0 * lat)
    filled = read_heights(path, GRID, geoid_grid=geoid, missing="sea")
    assert 50 < filled.missing.sum() < 300
    assert np.abs(filled.height_m[filled.missing] - 45).max() < 1e-4  # sea level is the geoid, not 0
    assert np.abs(filled.height_m[0, 0] - (100 + 0.02 * 5 + 0.03 * 5)) < 1e-2  # the rest is ellipsoidal already
    with pytest.raises(ConfigError, match="sea level there needs a geoid"):
        read_heights(path, GRID, missing="sea")


def test_unreadable(tmp_path: Path) -> None:
    (tmp_path / "bad.tif").write_bytes(b"no raster")
    for name in ("bad.tif", "absent.tif"):
        with pytest.raises(InputError, match="not a readable height raster"):
            read_heights(tmp_path / name, GRID, "ellipsoid")


@pytest.mark.realdata
@pytest.mark.skipif("S2CR_DATA" not in os.environ, reason="S2CR_DATA is not set: the folder of real sample products")
def test_real_dem_says_its_datum(tmp_path: Path) -> None:
    rome = Path(os.environ["S2CR_DATA"]) / "dem" / "Rome-30m-DEM.tif"
    grid = Grid(32633, 292_000.0, 4_652_000.0, 10.0, -10.0, 200, 200)
    with pytest.raises(ConfigError, match="heights are above EGM96"):
        read_heights(rome, grid)
    geoid = _degree_raster(
        tmp_path / "geoid.tif", 10.0, 45.0, 0.25, (30, 30), lambda lon, lat: 48.613 + 0 * lon + 0 * lat
    )
    heights = read_heights(rome, grid, geoid_grid=geoid)
    stored = raster.read(rome)[0].astype(float)
    lon, lat = utm_to_geodetic(grid.pixel_centres_x()[100], grid.pixel_centres_y()[100], grid.epsg)
    row, col = (42.050138888888888 - lat) * 3600 - 0.5, (lon - 12.449861111111110) * 3600 - 0.5
    i, j = int(row), int(col)
    fy, fx = row - i, col - j
    by_hand = (1 - fy) * ((1 - fx) * stored[i, j] + fx * stored[i, j + 1]) + fy * (
        (1 - fx) * stored[i + 1, j] + fx * stored[i + 1, j + 1]
    )
    assert heights.height_m[100, 100] == pytest.approx(float(by_hand) + 48.613, abs=0.01)
    glo30 = Path(os.environ["S2CR_DATA"]) / "dem" / "Copernicus_DSM_COG_10_N00_00_E006_00_DEM.tif"
    with pytest.raises(ConfigError, match="does not say what its heights refer to"):
        read_heights(glo30, Grid(32632, 200_000.0, 30_000.0, 10.0, -10.0, 10, 10))
