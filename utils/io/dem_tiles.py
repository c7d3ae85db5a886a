"""Copernicus GLO-30 height tiles over an area: names, what is missing and why, one mosaic for preprocess_s1.

Heights refer to EGM2008; nothing is converted here. Source of names and grids: Copernicus DEM product handbook.
"""

from __future__ import annotations

import hashlib
import math
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osgeo import gdal, osr
from shapely import segmentize
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry
from shapely.ops import transform

from utils.io.footprint import to_utm
from utils.io.local_copy import Received
from utils.io.staged import Fetch, fetch_checked
from utils.io.web import Web
from utils.science.catalogue import Request
from utils.workflow.errors import DiskError, InputError
from utils.workflow.files import sha256_file, temporary_path

gdal.UseExceptions()
osr.UseExceptions()
MARGIN_M = 20_000.0
VERTICAL = "EGM2008"
ROWS = 3600  # one second of latitude everywhere
# tiles nearer to the poles have fewer columns: from this latitude on (degrees of the edge nearer to the equator)
_COLUMNS = ((85, 360), (80, 720), (70, 1200), (60, 1800), (50, 2400), (0, 3600))
_NAME = re.compile(r"Copernicus_DSM_COG_(?:10|30)_([NS])(\d\d)_00_([EW])(\d{3})_00_DEM")
_STEP_M = 1000.0
_OWN = "Set preprocess.dem.path to a height raster of your own."


@dataclass(frozen=True)
class TileGrid:
    """Outer edges and pixel sizes of a tile, degrees. Pixel centres lie on the whole degrees of the west and north
    edges: the tile is half a pixel off."""

    west: float
    north: float
    dx: float
    dy: float
    rows: int
    cols: int

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """GDAL's geotransform."""
        return (self.west, self.dx, 0.0, self.north, 0.0, -self.dy)


def tile_name(lat: int, lon: int, resolution: int = 10) -> str:
    """Name of the tile with this south-west corner, degrees; resolution in tenths of a second: 10 GLO-30, 30 GLO-90."""
    lon = (lon + 180) % 360 - 180
    north, east = "N" if lat >= 0 else "S", "E" if lon >= 0 else "W"
    return f"Copernicus_DSM_COG_{resolution}_{north}{abs(lat):02d}_00_{east}{abs(lon):03d}_00_DEM"


def tile_corner(name: str) -> tuple[int, int]:
    """South-west corner (latitude, longitude) in degrees of a tile name."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(f"{name}: not the name of a Copernicus height tile.", _OWN)
    lat, lon = int(match[2]), int(match[4])
    return (lat if match[1] == "N" else -lat), (lon if match[3] == "E" else -lon)


def columns(lat: int) -> int:
    """Columns of a GLO-30 tile with this southern edge, degrees."""
    nearest = lat if lat >= 0 else -lat - 1
    return next(cols for edge, cols in _COLUMNS if nearest >= edge)


def tile_grid(name: str, cols: int | None = None) -> TileGrid:
    """Grid of a GLO-30 tile; cols: as found in a file, default as expected at its latitude."""
    lat, lon = tile_corner(name)
    cols = cols or columns(lat)
    dx, dy = 1.0 / cols, 1.0 / ROWS
    return TileGrid(lon - dx / 2, lat + 1 + dy / 2, dx, dy, ROWS, cols)


def tile_names(geometry: BaseGeometry | Mapping[str, Any], margin_m: float = MARGIN_M) -> list[str]:
    """Names of the GLO-30 tiles that touch an area grown by a margin, sorted.

    geometry  Polygon or MultiPolygon, (longitude, latitude) in degrees; grown in the UTM zone of each polygon
    """
    area = geometry if isinstance(geometry, BaseGeometry) else shape(geometry)
    names: set[str] = set()
    for polygon in getattr(area, "geoms", [area]):
        names |= _touching(_grown(polygon, margin_m))
    return sorted(names)


def _grown(polygon: BaseGeometry, margin_m: float) -> BaseGeometry:
    """The polygon grown in its UTM zone, in degrees again; longitudes are continuous across the antimeridian."""
    zone = min(int((polygon.centroid.x + 180) // 6) + 1, 60)
    in_metres = segmentize(to_utm(polygon, 32600 + zone).buffer(margin_m, quad_segs=64), _STEP_M)
    source, target = osr.SpatialReference(), osr.SpatialReference()
    source.ImportFromEPSG(32600 + zone)
    target.ImportFromEPSG(4326)
    target.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    back, meridian = osr.CoordinateTransformation(source, target), zone * 6 - 183

    def degrees(x: Any, y: Any) -> tuple[list[float], list[float]]:
        points = back.TransformPoints(list(zip(x, y, strict=True)))
        return [meridian + (p[0] - meridian + 180) % 360 - 180 for p in points], [p[1] for p in points]

    return transform(degrees, in_metres)


def _touching(area: BaseGeometry) -> set[str]:
    west, south, east, north = area.bounds
    found = set()
    for lat in range(max(math.floor(south) - 1, -90), min(math.floor(north) + 1, 90)):
        half_x, half_y = 0.5 / columns(lat), 0.5 / ROWS
        for lon in range(math.floor(west), math.floor(east) + 2):
            if area.intersects(box(lon - half_x, lat + half_y, lon + 1 - half_x, lat + 1 + half_y)):
                found.add(tile_name(lat, lon))
    return found


def tile_url(name: str, base_url: str) -> str:
    """Address of a tile in its bucket."""
    return f"{base_url.rstrip('/')}/{name}/{name}.tif"


def wanted(
    geometry: BaseGeometry | Mapping[str, Any],
    web: Web,
    *,
    dem_30_url: str,
    dem_90_url: str,
    have: Collection[str] = (),
) -> list[Request]:
    """Requests of the GLO-30 tiles that touch the area and its margin of 20 km; `bring` serves them.

    have     tile names that need not be asked for
    returns  a tile over open water, which neither GLO-30 nor GLO-90 has, is a request without address, with
             facts["ocean"] and W_DEM_OCEAN in facts["warnings"]
    raises   InputError naming all tiles of land that GLO-30 does not release (GLO-90 has them)
    """
    requests, withheld = [], []
    for name in tile_names(geometry):
        if name in have:
            continue
        facts: dict[str, Any] = {"mission": "DEM_TILE", "provider": "dem", "warnings": []}
        url = tile_url(name, dem_30_url)
        size = web.head(url)
        if size is None:
            url = ""
            if web.head(tile_url(tile_name(*tile_corner(name), 30), dem_90_url)) is not None:
                withheld.append(name)
            facts |= {"ocean": True, "warnings": [f"W_DEM_OCEAN: {name} is open water; its heights are 0 m"]}
        requests.append(Request(f"{name}.tif", url, "tif", size=size or None, facts=facts))
    if withheld:
        raise InputError(
            f"{', '.join(withheld)}: land that is not released in GLO-30 (GLO-90 has it).",
            f"{_OWN} GLO-90 is one, with a third of the resolution.",
        )
    return requests


def bring(request: Request, target: Path, fetch: Fetch) -> Received:
    """Fetch one tile and check it, or write the tile of zeros over open water.

    raises  VerificationError when three transfers were no tile of that name; what `fetch` raises
    """
    name = request.name.removesuffix(".tif")
    if request.facts.get("ocean"):
        return write_ocean_tile(name, target)
    return fetch_checked(request, target, fetch, lambda path: check_tile(path, name))


def check_tile(path: Path, name: str) -> tuple[str, ...]:
    """Read a whole tile: a raster with one band of floats, georeferenced as its name says, no block missing.

    returns  names of the checks
    raises   InputError
    """
    try:
        dataset = gdal.OpenEx(str(path), gdal.OF_RASTER, allowed_drivers=["GTiff"])
        band = dataset.GetRasterBand(1)
        band.Checksum()
    except RuntimeError as error:
        raise InputError(f"{name}: not a readable GeoTIFF ({error}).", "Fetch it again.") from error
    expected = tile_grid(name, dataset.RasterXSize)
    difference = max(abs(a - b) for a, b in zip(dataset.GetGeoTransform(), expected.transform, strict=True))
    # 1e-9 of a degree is 0.1 mm; pixel sizes are stored with 12 decimals
    if dataset.RasterYSize != ROWS or dataset.RasterXSize not in {cols for _, cols in _COLUMNS} or difference > 1e-9:
        raise InputError(f"{name}: its grid is not that of its name.", "Fetch it again.")
    return ("size", "grid", "pixels")


def write_ocean_tile(name: str, target: Path) -> Received:
    """A tile of zeros, sea level, on the grid of a real GLO-30 tile of that latitude."""
    grid = tile_grid(name)
    with temporary_path(target) as temporary:
        dataset = gdal.GetDriverByName("GTiff").Create(
            str(temporary), grid.cols, grid.rows, 1, gdal.GDT_Float32,
            ["COMPRESS=DEFLATE", "PREDICTOR=3", "TILED=YES", "BLOCKXSIZE=1024", "BLOCKYSIZE=1024"],
        )  # fmt: skip
        dataset.SetMetadataItem("AREA_OR_POINT", "Point")
        dataset.SetGeoTransform(grid.transform)
        dataset.SetSpatialRef(_degrees())
        dataset.GetRasterBand(1).Fill(0.0)
        dataset.FlushCache()
        del dataset
        checks = check_tile(temporary, name)
        temporary.chmod(0o444)
    return received(target, checks)


def received(path: Path, checks: tuple[str, ...]) -> Received:
    """Size and digests of a file made here."""
    with path.open("rb") as stream:
        md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return Received(path.stat().st_size, md5, sha256_file(path), checks)


def _degrees() -> osr.SpatialReference:
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(4326)
    reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    return reference


def mosaic(tiles: Sequence[Path], target: Path) -> Received:
    """One GeoTIFF of tiles, at the finest column spacing among them, tag VERTICAL=EGM2008, NaN where no tile is.

    Tiles of one latitude band are put together pixel by pixel; a coarser band is interpolated along its rows. Tiles on
    both sides of the antimeridian lie side by side, with longitudes above 180.
    raises  InputError when there is no tile, or one is unreadable
    """
    if not tiles:
        raise InputError("no height tile to put together.", "Run: ./s2cr fetch_dem CONF")
    corners = {path: tile_corner(path.stem) for path in tiles}
    lons = [lon for _, lon in corners.values()]
    crosses = max(lons) - min(lons) > 180
    places = {path: (lat, lon + 360 * (crosses and lon < 0)) for path, (lat, lon) in corners.items()}
    memory = f"/vsimem/s2cr-{secrets.token_hex(6)}/"
    gdal.Mkdir(memory, 0o700)
    try:
        bands = _bands(places, memory)
        with temporary_path(target) as temporary:
            _write_mosaic(bands, places, temporary)
            written = gdal.OpenEx(str(temporary))
            written.GetRasterBand(1).Checksum()  # a full disk may show only here
            temporary.chmod(0o444)
    except RuntimeError as error:
        if "No space left" in str(error):
            raise DiskError(f"No space left while writing {target}.", "Free disk space, then run again.") from error
        raise InputError(f"the height tiles cannot be put together ({error}).", "Fetch them again.") from error
    finally:
        gdal.RmdirRecursive(memory)
    return received(target, ("pixels",))


def _bands(places: Mapping[Path, tuple[int, int]], memory: str) -> dict[int, gdal.Dataset]:
    """Columns of a tile -> virtual mosaic of all tiles with so many columns."""
    groups: dict[int, list[str]] = {}
    for path, (_, lon) in places.items():
        cols = gdal.OpenEx(str(path), gdal.OF_RASTER).RasterXSize
        grid = tile_grid(path.stem, cols)
        west = lon - grid.dx / 2
        moved = f"{memory}{path.stem}.vrt"
        # exact edges: the stored pixel size has 12 decimals, and 3600 of them must not drift
        edges = [west, grid.north, west + 1, grid.north - 1]
        gdal.Translate(moved, str(path.resolve()), format="VRT", outputBounds=edges)
        groups.setdefault(cols, []).append(moved)
    return {
        cols: gdal.BuildVRT(f"{memory}{cols}.vrt", names, VRTNodata=math.nan) for cols, names in sorted(groups.items())
    }


def _write_mosaic(bands: Mapping[int, gdal.Dataset], places: Mapping[Path, tuple[int, int]], target: Path) -> None:
    lats, lons = [lat for lat, _ in places.values()], [lon for _, lon in places.values()]
    finest = max(bands)
    west, north = min(lons) - 0.5 / finest, max(lats) + 1 + 0.5 / ROWS
    width, height = max(lons) + 1 - min(lons), max(lats) + 1 - min(lats)
    dataset = gdal.GetDriverByName("GTiff").Create(
        str(target), width * finest, height * ROWS, 1, gdal.GDT_Float32,
        ["COMPRESS=DEFLATE", "PREDICTOR=3", "TILED=YES", "BLOCKXSIZE=512", "BLOCKYSIZE=512", "BIGTIFF=IF_SAFER"],
    )  # fmt: skip
    dataset.SetGeoTransform((west, 1.0 / finest, 0.0, north, 0.0, -1.0 / ROWS))
    dataset.SetSpatialRef(_degrees())
    dataset.SetMetadata({"VERTICAL": VERTICAL, "UNITS": "m", "TILES": ",".join(sorted(path.stem for path in places))})
    dataset.GetRasterBand(1).SetNoDataValue(math.nan)
    reference = _degrees().ExportToWkt()
    for cols, source in bands.items():
        # without SRS the warp is plain arithmetic on degrees: nothing is wrapped at 180
        gdal.Warp(
            dataset, source, srcSRS=reference, dstSRS=reference, errorThreshold=0.0, overviewLevel="NONE",
            resampleAlg="near" if cols == finest else "bilinear", warpOptions=["SOURCE_EXTRA=2"],
        )  # fmt: skip
    dataset.FlushCache()
