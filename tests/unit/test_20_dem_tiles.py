"""GLO-30 tiles: names by hand, the two meanings of a missing tile, grids of real tiles, one mosaic."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal
from shapely.geometry import box, mapping
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from tests.fakes.buckets import Buckets, plane_m, serving, tile_body
from utils.io import dem_tiles, transfer
from utils.io.dem import read_heights
from utils.io.dem_tiles import check_tile, columns, mosaic, tile_grid, tile_name, tile_names, wanted, write_ocean_tile
from utils.io.local_copy import Received
from utils.io.web import Web
from utils.science.catalogue import Request
from utils.science.geodesy import utm_to_geodetic
from utils.science.grid import Grid
from utils.workflow.errors import ConfigError, InputError, NetworkError, VerificationError

DATA = pytest.mark.skipif(
    "S2CR_DATA" not in os.environ, reason="S2CR_DATA is not set: the folder of real sample products"
)
SECOND = 1 / 3600


def short(names: list[str]) -> list[str]:
    """Copernicus_DSM_COG_10_S36_00_E149_00_DEM -> S36E149."""
    assert all(name.startswith("Copernicus_DSM_COG_10_") and name.endswith("_00_DEM") for name in names)
    return [name[22:25] + name[29:33] for name in names]


def square(lon: float, lat: float, half: float = 0.01) -> BaseGeometry:
    return box(lon - half, lat - half, lon + half, lat + half)


def grid_of(path: Path) -> tuple[int, int, tuple[float, ...]]:
    dataset = gdal.OpenEx(str(path))
    return dataset.RasterXSize, dataset.RasterYSize, dataset.GetGeoTransform()


@pytest.fixture
def server() -> Iterator[Buckets]:
    with serving(Buckets()) as buckets:
        yield buckets


def urls(buckets: Buckets) -> dict[str, str]:
    return {"dem_30_url": buckets.endpoints["dem_30"], "dem_90_url": buckets.endpoints["dem_90"]}


def web() -> Web:
    return Web(tries=2, sleep=lambda _: None)


def fetch(request: Request, target: Path) -> Received:
    return transfer.fetch(request, target, web=web())


def hold(buckets: Buckets, *corners: tuple[int, int]) -> None:
    for lat, lon in corners:
        buckets.dem_30[tile_name(lat, lon)] = partial(tile_body, lat, lon, columns(lat))


def test_names_of_the_specification() -> None:
    assert tile_name(-36, 149) == "Copernicus_DSM_COG_10_S36_00_E149_00_DEM"
    assert tile_name(0, 6) == "Copernicus_DSM_COG_10_N00_00_E006_00_DEM"
    assert tile_name(-1, -1, 30) == "Copernicus_DSM_COG_30_S01_00_W001_00_DEM"
    assert tile_name(10, 180) == tile_name(10, -180) == "Copernicus_DSM_COG_10_N10_00_W180_00_DEM"
    for corner in ((-36, 149), (0, 6), (-1, -1), (10, -180), (83, 0)):
        assert dem_tiles.tile_corner(tile_name(*corner)) == corner
    with pytest.raises(InputError, match="not the name of a Copernicus height tile"):
        dem_tiles.tile_corner("dem")


@pytest.mark.parametrize(
    ("area", "expected"),
    [
        (square(6.5, 0.5), ["N00E006"]),
        (square(149.5, -35.5), ["S36E149"]),
        (square(-0.5, -0.5), ["S01W001"]),
        (square(0.0, 0.0), ["N00E000", "N00W001", "S01E000", "S01W001"]),  # equator and meridian
        (square(179.95, 0.5), ["N00E179", "N00W180"]),  # the margin crosses the antimeridian
        (square(-179.95, -17.5), ["S18E179", "S18W180"]),
        (unary_union([box(179.9, 0.4, 180, 0.6), box(-180, 0.4, -179.9, 0.6)]), ["N00E179", "N00W180"]),
        (square(149.8, -35.5), ["S36E149", "S36E150"]),  # 0.19 degrees are 17 km
        (square(149.7, -35.5), ["S36E149"]),  # 0.29 degrees are 26 km
        (square(15.3, 70.5), ["N70E014", "N70E015"]),  # 0.29 degrees are 11 km at 70.5 degrees north
        (square(15.5, 80.5), ["N80E014", "N80E015", "N80E016"]),
        (square(5.99, 45.5, 0.001), ["N45E005", "N45E006"]),  # the border of two UTM zones
        (box(14.5, 49.5, 15.5, 50.5), ["N49E014", "N49E015", "N50E014", "N50E015"]),
    ],
    ids=["north", "south", "west", "four", "antimeridian", "antimeridian-south", "both-sides", "near", "far", "polar", "polar3", "zones", "large"],
)  # fmt: skip
def test_tiles_that_touch_the_area_and_20_km(area: BaseGeometry, expected: list[str]) -> None:
    assert short(tile_names(area)) == expected
    assert tile_names(mapping(area)) == tile_names(area)


def test_margin_is_20_km_on_the_ground() -> None:
    """At 35.5 degrees south one degree of longitude is 90.7 km: 20 km are 0.2205 degrees."""
    edge = 150 - 0.5 * SECOND  # the tile's own east edge
    assert short(tile_names(box(149.5, -35.51, edge - 0.2215, -35.49))) == ["S36E149"]
    assert short(tile_names(box(149.5, -35.51, edge - 0.2195, -35.49))) == ["S36E149", "S36E150"]


def moved(lat: float, lon: float, distance_m: float, azimuths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latitude and longitude after a way on a sphere of 6371 km (0.6 % from the ellipsoid)."""
    a, b = np.deg2rad(lat), distance_m / 6_371_000
    north = np.arcsin(np.sin(a) * np.cos(b) + np.cos(a) * np.sin(b) * np.cos(azimuths))
    east = np.arctan2(np.sin(azimuths) * np.sin(b) * np.cos(a), np.cos(b) - np.sin(a) * np.sin(north))
    return np.rad2deg(north), (lon + np.rad2deg(east) + 180) % 360 - 180


def test_margin_against_ways_on_a_sphere() -> None:
    """200 places: all tiles within 19.8 km are found, none beyond 20.2 km."""
    rng, azimuths = np.random.default_rng(7), np.linspace(0, 2 * np.pi, 720)

    def around(lat: float, lon: float, farthest_m: float) -> set[str]:
        found = set()
        for distance_m in (0.0, farthest_m):  # the rim meets every tile that the disc meets, but for the first
            lats, lons = moved(lat, lon, distance_m, azimuths)
            rows = np.floor(lats - 0.5 * SECOND).astype(int)
            half = np.array([0.5 / columns(int(row)) for row in rows])
            found |= {tile_name(int(row), int(col)) for row, col in zip(rows, np.floor(lons + half), strict=True)}
        return found

    several = 0
    for _ in range(200):
        lat, lon = (
            rng.uniform(-75, 75),
            rng.choice([rng.uniform(-180, 180), 180 - rng.uniform(0, 0.2), rng.uniform(-0.2, 0.2)]),
        )
        names = set(tile_names(square(lon, lat, 1e-6) if lon < 179.9999 else square(179.9999, lat, 1e-6)))
        assert around(lat, lon, 19_800) <= names <= around(lat, lon, 20_200), (lat, lon)
        several += len(names) > 1
    assert several > 100


def test_a_tile_is_half_a_pixel_off_the_whole_degree() -> None:
    just_west, just_east = box(6.5, 0.5, 7 - 0.6 * SECOND, 0.6), box(6.5, 0.5, 7 - 0.4 * SECOND, 0.6)
    assert short(tile_names(just_west, 0.0)) == ["N00E006"]
    assert short(tile_names(just_east, 0.0)) == ["N00E006", "N00E007"]
    low, high = box(6.5, 0.4 * SECOND, 6.6, 0.5), box(6.5, 0.6 * SECOND, 6.6, 0.5)
    assert short(tile_names(low, 0.0)) == ["N00E006", "S01E006"]
    assert short(tile_names(high, 0.0)) == ["N00E006"]


def test_columns_shrink_towards_the_poles() -> None:
    found = {lat: columns(lat) for lat in (0, 49, 50, 59, 60, 69, 70, 79, 80, 84, 85, 89)}
    assert list(found.values()) == [3600, 3600, 2400, 2400, 1800, 1800, 1200, 1200, 720, 720, 360, 360]
    assert all(columns(-lat - 1) == cols for lat, cols in found.items())  # the mirrored tile


def test_land_ocean_and_have(server: Buckets) -> None:
    hold(server, (0, 0), (-1, 0))
    found = wanted(square(0.0, 0.0), web(), **urls(server))
    by_name = {r.name[22:25] + r.name[29:33]: r for r in found}
    land, sea = by_name["S01E000"], by_name["N00W001"]
    assert land.url == f"{server.base}/glo30/{land.name[:-4]}/{land.name}" and land.kind == "tif"
    assert land.size == len(tile_body(-1, 0, 3600)) and land.facts["warnings"] == []
    assert (sea.url, sea.size, sea.facts["ocean"]) == ("", None, True)
    assert sea.facts["warnings"] == [f"W_DEM_OCEAN: {sea.name[:-4]} is open water; its heights are 0 m"]
    assert len(server.asked("/glo30", "HEAD")) == 4 and len(server.asked("/glo90", "HEAD")) == 2
    assert (
        server.asked("/glo90")[0][0] == "/glo90/" + "/".join(["Copernicus_DSM_COG_30_N00_00_W001_00_DEM"] * 2) + ".tif"
    )
    assert server.asked("/", "GET") == []
    have = [r.name.removesuffix(".tif") for r in found if r is not sea]
    server.log.clear()
    assert [r.name for r in wanted(square(0.0, 0.0), web(), have=have, **urls(server))] == [sea.name]
    assert len(server.log) == 2


def test_a_tile_of_unknown_size_is_land(server: Buckets, tmp_path: Path) -> None:
    hold(server, (72, 20))
    server.silent = True
    (request,) = wanted(square(20.5, 72.5), web(), **urls(server), have=[tile_name(72, 19), tile_name(72, 21)])
    assert request.size is None and "ocean" not in request.facts
    dem_tiles.bring(request, tmp_path / request.name, fetch)
    assert (tmp_path / request.name).read_bytes() == tile_body(72, 20, 1200)


def test_land_that_is_not_released_stops(server: Buckets) -> None:
    hold(server, (39, 44))
    server.dem_90 = {tile_name(40, 44, 30), tile_name(39, 45, 30)}
    with pytest.raises(InputError, match="land that is not released in GLO-30") as caught:
        wanted(square(45.0, 40.0), web(), **urls(server))
    assert tile_name(40, 44) in caught.value.message and tile_name(39, 45) in caught.value.message
    assert tile_name(40, 45) not in caught.value.message  # open water is no reason to stop
    assert "preprocess.dem.path" in caught.value.remedy


def test_a_bucket_that_is_away_is_no_ocean(server: Buckets) -> None:
    server.failing = {"/glo90": 503}
    with pytest.raises(NetworkError, match="HTTP 503"):
        wanted(square(6.5, 0.5), web(), **urls(server))


@DATA
def test_grid_equals_that_of_a_real_tile(tmp_path: Path) -> None:
    """The real tile says 5.99986111 .. 6.99986111 E, 0.00013889 .. 1.00013889 N; ours has the same grid and type."""
    real = Path(os.environ["S2CR_DATA"]) / "dem" / "Copernicus_DSM_COG_10_N00_00_E006_00_DEM.tif"
    ours = tmp_path / real.name
    write_ocean_tile(real.stem, ours)
    for a, b in zip(grid_of(ours)[2], grid_of(real)[2], strict=True):
        assert a == pytest.approx(b, abs=1e-12)
    assert grid_of(ours)[:2] == grid_of(real)[:2] == (3600, 3600)
    one, two = gdal.OpenEx(str(ours)), gdal.OpenEx(str(real))
    assert one.GetMetadataItem("AREA_OR_POINT") == two.GetMetadataItem("AREA_OR_POINT") == "Point"
    assert one.GetSpatialRef().IsSame(two.GetSpatialRef())
    assert one.GetRasterBand(1).DataType == two.GetRasterBand(1).DataType
    assert check_tile(real, real.stem) == ("size", "grid", "pixels")
    with pytest.raises(InputError, match="its grid is not that of its name"):
        check_tile(real, tile_name(0, 7))


@pytest.mark.parametrize(("corner", "cols"), [((-36, 149), 3600), ((64, -20), 1800), ((-72, 170), 1200)])
def test_ocean_tile(tmp_path: Path, corner: tuple[int, int], cols: int) -> None:
    name = tile_name(*corner)
    path = tmp_path / f"{name}.tif"
    received = write_ocean_tile(name, path)
    lat, lon = corner
    width, height, transform = grid_of(path)
    assert (width, height) == (cols, 3600)
    assert transform == pytest.approx((lon - 0.5 / cols, 1 / cols, 0, lat + 1 + 0.5 / 3600, 0, -SECOND), abs=1e-12)
    assert (gdal.OpenEx(str(path)).ReadAsArray() == 0).all()
    assert received.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() and received.size == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o444 and received.size < 300_000
    again = write_ocean_tile(name, tmp_path / "again.tif")
    assert again == received  # the same bytes


def test_bring(server: Buckets, tmp_path: Path) -> None:
    hold(server, (63, -20))
    requests = wanted(square(-19.5, 64.0), web(), **urls(server))
    assert short([r.name.removesuffix(".tif") for r in requests]) == ["N63W020", "N64W020"]
    for request in requests:
        received = dem_tiles.bring(request, tmp_path / request.name, fetch)
        assert received.verified[-2:] == ("grid", "pixels")
    assert (tmp_path / requests[0].name).read_bytes() == tile_body(63, -20, 1800)
    assert not gdal.OpenEx(str(tmp_path / requests[1].name)).ReadAsArray().any()
    assert len(server.asked("/glo30", "GET")) == 1


@pytest.mark.parametrize("cut", [40_000, 100])
def test_a_cut_or_wrong_tile_is_refused(server: Buckets, tmp_path: Path, cut: int) -> None:
    body, name = tile_body(63, -20, 1800), tile_name(63, -20)
    path = tmp_path / f"{name}.tif"
    path.write_bytes(body[:-cut])
    with pytest.raises(InputError, match="not a readable GeoTIFF"):
        check_tile(path, name)
    path.write_bytes(b"<Error/>")
    with pytest.raises(InputError, match="not a readable GeoTIFF"):
        check_tile(path, name)
    server.dem_30[tile_name(63, -19)] = lambda: body  # the neighbour's bytes under this name
    (request,) = wanted(square(-18.5, 63.5), web(), **urls(server))
    with pytest.raises(VerificationError, match="its grid is not that of its name"):
        dem_tiles.bring(request, tmp_path / request.name, fetch)
    assert not (tmp_path / request.name).exists()


def written(folder: Path, *corners: tuple[int, int]) -> list[Path]:
    paths = []
    for lat, lon in corners:
        paths.append(folder / f"{tile_name(lat, lon)}.tif")
        paths[-1].write_bytes(tile_body(lat, lon, columns(lat)))
    return paths


def test_mosaic_keeps_every_pixel_and_says_its_datum(tmp_path: Path) -> None:
    tiles = written(tmp_path, (-72, 149), (-72, 150), (-71, 149))
    received = mosaic(tiles, tmp_path / "dem.tif")
    dataset = gdal.OpenEx(str(tmp_path / "dem.tif"))
    assert dataset.GetMetadataItem("VERTICAL") == "EGM2008"
    assert (dataset.RasterXSize, dataset.RasterYSize) == (2400, 7200)
    wide = 1 / 1200
    assert dataset.GetGeoTransform() == pytest.approx(
        (149 - wide / 2, wide, 0, -70 + SECOND / 2, 0, -SECOND), abs=1e-12
    )
    lons, lats = 149 + np.arange(2400) * wide, -70 - np.arange(7200) * SECOND
    difference = np.abs(dataset.ReadAsArray() - plane_m(lons[None], lats[:, None]))
    assert np.nanmax(difference) < 1e-3
    assert np.isnan(difference[:3600, 1200:]).all() and np.isnan(difference).sum() == 3600 * 1200  # no tile there
    assert received.sha256 == hashlib.sha256((tmp_path / "dem.tif").read_bytes()).hexdigest()
    assert mosaic(tiles[::-1], tmp_path / "again.tif") == received


def test_mosaic_of_two_latitude_bands(tmp_path: Path) -> None:
    """1200 columns north of 70 degrees, 1800 south of it: the plane must not show the seam."""
    mosaic(written(tmp_path, (69, 14), (70, 14)), tmp_path / "dem.tif")
    dataset = gdal.OpenEx(str(tmp_path / "dem.tif"))
    assert (dataset.RasterXSize, dataset.RasterYSize) == (1800, 7200)
    lons, lats = 14 + np.arange(1800) / 1800, 71 - np.arange(7200) * SECOND
    difference = np.abs(dataset.ReadAsArray() - plane_m(lons[None], lats[:, None]))
    assert difference[3600:].max() < 1e-4  # the finest band is untouched
    assert difference[:3600, :-1].max() < 1e-3
    assert difference.max() < 10 * (1 / 1200 - 1 / 1800) + 1e-4  # the last column lies outside the last coarse centre


def test_mosaic_across_the_antimeridian_is_read_on_both_sides(tmp_path: Path) -> None:
    """Longitudes go on above 180; heights on UTM grids of zone 60 and zone 1 agree with a plane in them."""
    folder = tmp_path / "tiles"
    folder.mkdir()
    east, west = folder / f"{tile_name(65, 179)}.tif", folder / f"{tile_name(65, -180)}.tif"
    east.write_bytes(tile_body(65, 179, 1800))
    west.write_bytes(tile_body(65, -180, 1800))
    mosaic([west, east], tmp_path / "dem.tif")
    dataset = gdal.OpenEx(str(tmp_path / "dem.tif"))
    assert dataset.RasterXSize == 3600 and dataset.GetGeoTransform()[0] == pytest.approx(179 - 0.5 / 1800, abs=1e-12)
    values = dataset.ReadAsArray()
    assert values[10, 1799] - values[10, 1800] == pytest.approx(3600 - 10 / 1800, abs=1e-2)  # the plane jumps there
    geoid = tmp_path / "geoid.tif"
    flat = gdal.GetDriverByName("GTiff").Create(str(geoid), 720, 360, 1, gdal.GDT_Float32)
    flat.SetGeoTransform((-180, 0.5, 0, 90, 0, -0.5))
    flat.SetProjection("EPSG:4326")
    flat.GetRasterBand(1).Fill(10.0)
    del flat
    for epsg, x0 in ((32660, 630_000.0), (32601, 365_000.0)):
        grid = Grid(epsg, x0, 7_265_000.0, 30.0, -30.0, 40, 60)
        lon, lat = utm_to_geodetic(grid.pixel_centres_x()[None], grid.pixel_centres_y()[:, None], epsg)
        assert lat.min() > 65 and lat.max() < 66 and abs(abs(lon).min()) > 179.0
        heights = read_heights(tmp_path / "dem.tif", grid, geoid_grid=geoid)
        assert heights.vertical == "EGM2008" and not heights.missing.any()
        assert np.abs(heights.height_m - plane_m(lon, lat) - 10).max() < 2e-2
    with pytest.raises(ConfigError, match=r"heights are above EGM2008, but preprocess\.dem\.geoid_grid is not set"):
        read_heights(tmp_path / "dem.tif", grid)


def test_mosaic_refuses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no height tile"):
        mosaic([], tmp_path / "dem.tif")
    broken = tmp_path / f"{tile_name(0, 6)}.tif"
    broken.write_bytes(b"II*\0")
    with pytest.raises(InputError, match="cannot be put together"):
        mosaic([broken], tmp_path / "dem.tif")
    assert not (tmp_path / "dem.tif").exists()


def test_grid_of_a_name() -> None:
    grid = tile_grid(tile_name(-36, 149))
    assert (grid.west, grid.north) == (149 - SECOND / 2, -35 + SECOND / 2) and math.isclose(grid.dx, SECOND)
    assert tile_grid(tile_name(64, -20)).cols == 1800


def test_head_says_size_absence_and_follows_redirects_without_a_body() -> None:
    class Moved(Buckets):
        def answer(self, path: str, query: dict[str, str]) -> tuple[int, str, bytes]:
            return (
                (302, f"text/plain\r\nLocation: {self.base}/glo30/x/x.tif", b"")
                if path == "/old"
                else super().answer(path, query)
            )

    with serving(Moved(dem_30={"x": lambda: b"12345"})) as server:
        client = web()
        assert client.head(f"{server.base}/glo30/x/x.tif") == 5
        assert client.head(f"{server.base}/glo30/y/y.tif") is None
        assert client.head(f"{server.base}/old") == 5
    assert [method for method, _, _ in server.log] == ["HEAD"] * 4
