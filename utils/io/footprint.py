"""Areas and product footprints: GeoJSON, map projection, coverage in the UTM zone of the area.

Edges are straight lines in the UTM zone. For an area of 15 km they differ by 3 m from straight lines in degrees;
for the 250 km edges of a radar image the straight line in degrees is the worse guess, by up to 900 m.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from osgeo import osr
from shapely import STRtree, contains_xy, prepare
from shapely.geometry import LineString, MultiPolygon, Polygon, box, shape
from shapely.geometry.base import BaseGeometry
from shapely.ops import transform, unary_union
from shapely.validation import explain_validity

from utils.science.grid import Grid, make_tiles
from utils.science.product import Product
from utils.workflow.errors import BrokenEnvironmentError, ConfigError, InputError

osr.UseExceptions()
SNAP_M = 20.0  # corners of Sentinel-2 tiles are multiples of 20 m, not of 60 m
_SNAP_TOLERANCE_M = 0.01  # seven decimals of a degree
_LONLAT = ("urn:ogc:def:crs:ogc:1.3:crs84", "urn:ogc:def:crs:epsg::4326", "epsg:4326")
SLICE_SEAM_M = 50.0  # published footprints of consecutive slices leave gaps of 8.6 to 10.2 m
_FAR_DEG = 20.0  # a footprint this far from the zone's meridian cannot touch the area


class AreaConf(Protocol):
    """The keys of section `area` that are needed here."""

    @property
    def geojson(self) -> str | None: ...
    @property
    def epsg(self) -> int | None: ...
    @property
    def pixel_m(self) -> float: ...


def aoi_geometry(geojson_path: Path) -> BaseGeometry:
    """Read and merge all polygons of a GeoJSON file.

    returns  Polygon or MultiPolygon, (longitude, latitude) in degrees, EPSG:4326; heights are dropped
    raises   InputError naming the feature and the vertex: not JSON, another coordinate system, no polygon, open
             ring, latitude and longitude swapped, self-intersection, antimeridian crossed
    """
    path = Path(geojson_path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.", "Set area.geojson to a GeoJSON file in EPSG:4326.") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}).", "Export the area again as GeoJSON.") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: not a GeoJSON object.", "Export the area again as GeoJSON.")
    try:
        _check_crs(data, path)
        merged = unary_union([_checked_geometry(item, index, path) for index, item in enumerate(_geometries(data))])
    except (AttributeError, TypeError, KeyError) as error:  # a list where an object is due, a number where a ring is
        raise InputError(f"{path}: malformed GeoJSON ({error}).", "Export the area again as GeoJSON.") from error
    if merged.is_empty or not isinstance(merged, Polygon | MultiPolygon):
        raise InputError(f"{path}: no Polygon or MultiPolygon in it.", "Draw the area as a polygon.")
    return merged


def _check_crs(data: dict[str, Any], path: Path) -> None:
    name = str(((data.get("crs") or {}).get("properties") or {}).get("name", ""))
    if name and name.lower() not in _LONLAT:
        raise InputError(
            f"{path}: its coordinate system is {name}.", "Export the area in EPSG:4326 (longitude, latitude)."
        )


def _geometries(data: dict[str, Any]) -> list[dict[str, Any]]:
    kind = data.get("type")
    if kind == "FeatureCollection":
        return [g for feature in data.get("features") or [] for g in _geometries(feature)]
    if kind == "Feature":
        return _geometries(data.get("geometry") or {})
    if kind == "GeometryCollection":
        return [g for part in data.get("geometries") or [] for g in _geometries(part)]
    return [data] if kind in ("Polygon", "MultiPolygon") else []


def _checked_geometry(item: dict[str, Any], index: int, path: Path) -> BaseGeometry:
    polygons = item.get("coordinates") or []
    polygons = [polygons] if item["type"] == "Polygon" else polygons
    for polygon in polygons:
        for ring in polygon:
            _check_ring(ring, f"{path}: polygon {index + 1}")
    try:
        geometry = transform(lambda x, y, *_: (x, y), shape(item))
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(f"{path}: polygon {index + 1} is malformed ({error}).", "Export the area again.") from error
    if not geometry.is_valid:
        edges = next((said for polygon in polygons for ring in polygon if (said := crossing_edges(ring))), "")
        raise InputError(
            f"{path}: polygon {index + 1} is not valid: {explain_validity(geometry)} (longitude latitude){edges}.",
            "Redraw the ring so that it does not cross or touch itself.",
        )
    return geometry


def crossing_edges(ring: Sequence[Sequence[float]]) -> str:
    """Words for the first two edges of a closed ring that meet without being neighbours; empty when none do.

    ring  positions as in GeoJSON, the first repeated at the end; vertices are counted from 1
    """
    edges = [LineString([a[:2], b[:2]]) for a, b in itertools.pairwise(ring)]
    count = len(edges)
    first, second = STRtree(edges).query(edges, predicate="intersects")
    met = sorted((int(i), int(j)) for i, j in zip(first, second, strict=True) if i + 1 < j and (j - i) % count > 1)
    for i, j in met:
        if (j + 1) % count != i:  # the last edge ends where the first begins
            ends = f"vertex {i + 1} to {i + 2} and the edge from vertex {j + 1} to {(j + 1) % count + 1}"
            return f"; the edge from {ends} meet"
    return ""


def _check_ring(ring: Any, where: str) -> None:
    """A ring of at least four positions, closed, longitude first, within one hemisphere side of the antimeridian."""
    for number, vertex in enumerate(ring, start=1):
        if len(vertex) < 2 or not all(isinstance(v, int | float) and math.isfinite(v) for v in vertex[:2]):
            raise InputError(f"{where}, vertex {number}: {vertex} is no position.", "Export the area again.")
        lon, lat = vertex[0], vertex[1]
        if abs(lat) > 90 and abs(lon) <= 90:
            raise InputError(
                f"{where}, vertex {number}: latitude {lat} is outside -90..90; latitude and longitude look swapped.",
                "GeoJSON positions are [longitude, latitude]: swap them.",
            )
        if abs(lat) > 90 or abs(lon) > 180:
            raise InputError(
                f"{where}, vertex {number}: ({lon}, {lat}) is not in degrees.", "Export the area in EPSG:4326."
            )
    if len(ring) < 4 or list(ring[0][:2]) != list(ring[-1][:2]):
        raise InputError(
            f"{where}: a ring with {len(ring)} positions is not closed.", "Repeat its first position at the end."
        )
    longitudes = [vertex[0] for vertex in ring]
    if max(longitudes) - min(longitudes) > 180:
        raise InputError(
            f"{where} crosses the antimeridian.", "Split the area at 180 degrees and run one configuration a side."
        )


def utm_of(geometry: BaseGeometry) -> int:
    """EPSG code of the UTM zone of an area in degrees.

    raises  ConfigError when it spans two zones
    """
    west, south, east, north = geometry.bounds
    first, last = (min(int((lon + 180) // 6) + 1, 60) for lon in (west, east - 1e-9))
    base = 32600 if south + north >= 0 else 32700
    if first != last:
        raise ConfigError(
            f"area crosses two UTM zones ({first}, {last}).", f"Set area.epsg to one of {base + first}, {base + last}."
        )
    return base + first


def _check_zone(geometry: BaseGeometry, epsg: int) -> None:
    zone = epsg % 100
    if epsg // 100 not in (326, 327) or not 1 <= zone <= 60:
        raise ConfigError(
            f"area.epsg is {epsg}, which is no UTM zone.", "Use 32601 to 32660 (north) or 32701 to 32760 (south)."
        )
    centre, meridian = geometry.centroid, zone * 6 - 183
    off = abs((centre.x - meridian + 180) % 360 - 180)
    if off > 9:
        swapped = abs(centre.y - meridian) <= 9
        hint = (
            f"Its latitude and longitude look swapped from its first vertex on, {_first_vertex(geometry)}."
            if swapped
            else f"Its own zone is {utm_of(centre.buffer(1e-6))}."
        )
        raise ConfigError(
            f"the area lies {off:.1f} degrees from the meridian of area.epsg {epsg}. {hint}",
            "Correct area.epsg or the GeoJSON file.",
        )


def _first_vertex(geometry: BaseGeometry) -> str:
    polygon = geometry.geoms[0] if isinstance(geometry, MultiPolygon) else geometry
    x, y = polygon.exterior.coords[0][:2] if isinstance(polygon, Polygon) else geometry.bounds[:2]
    return f"[{x:g}, {y:g}]"


def to_utm(geometry: BaseGeometry, epsg: int) -> BaseGeometry:
    """Project a geometry from degrees (longitude, latitude) to metres in a UTM zone; vertices only, no densifying."""
    return _projected(geometry, 4326, epsg)


def to_lonlat(geometry: BaseGeometry, epsg: int) -> BaseGeometry:
    """Project a geometry from metres in a UTM zone to degrees (longitude, latitude); vertices only, no densifying."""
    return _projected(geometry, epsg, 4326)


def _projected(geometry: BaseGeometry, from_epsg: int, to_epsg: int) -> BaseGeometry:
    source, target = osr.SpatialReference(), osr.SpatialReference()
    source.ImportFromEPSG(from_epsg)
    target.ImportFromEPSG(to_epsg)
    # GDAL 3 would otherwise take latitude first
    source.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    target.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    projection = osr.CoordinateTransformation(source, target)

    def project(x: Iterable[float], y: Iterable[float]) -> tuple[list[float], list[float]]:
        points = projection.TransformPoints(list(zip(x, y, strict=True)))
        return [p[0] for p in points], [p[1] for p in points]

    return transform(project, geometry)


def _snap(value_m: float, step_m: float, upwards: bool) -> float:
    """Next multiple of step_m; a value within 1 cm of a multiple is that multiple, so that grids do not grow."""
    nearest = round(value_m / step_m) * step_m
    if abs(value_m - nearest) <= _SNAP_TOLERANCE_M:
        return nearest
    return (math.ceil if upwards else math.floor)(value_m / step_m) * step_m


def grid_of(geometry: BaseGeometry, epsg: int | None, pixel_m: float = 10.0) -> Grid:
    """Target grid of an area in degrees: its bounding box in the UTM zone, snapped outwards to multiples of 20 m.

    raises  ConfigError for two zones, a wrong zone, or a pixel that does not divide or multiply 20 m
    """
    code = utm_of(geometry) if epsg is None else epsg
    _check_zone(geometry, code)
    step = max(SNAP_M, pixel_m)
    if step % pixel_m:
        raise ConfigError(f"area.pixel_m {pixel_m} does not divide {step:g} m.", "Use 10 or 20.")
    left, bottom, right, top = to_utm(geometry, code).bounds
    x0, x1 = _snap(left, step, upwards=False), _snap(right, step, upwards=True)
    y1, y0 = _snap(bottom, step, upwards=False), _snap(top, step, upwards=True)
    return Grid(code, x0, y0, pixel_m, -pixel_m, round((y0 - y1) / pixel_m), round((x1 - x0) / pixel_m))


def area_path(area: AreaConf, base_dir: Path, work: Path, scene_dir: Path | None = None) -> Path:
    """Path of area.geojson: absolute, relative to base_dir, or inside the generated scene ("{scene}/...")."""
    if not area.geojson:
        raise ConfigError("area.geojson is not set.", "Set it to a GeoJSON polygon in EPSG:4326.")
    if area.geojson.startswith("{scene}"):
        return (scene_dir or work / "scene") / area.geojson.removeprefix("{scene}").lstrip("/")
    return Path(base_dir) / area.geojson


def aoi_grid(area: AreaConf, base_dir: Path, work: Path, scene_dir: Path | None = None) -> Grid:
    """The grid on which every raster of this configuration lies.

    base_dir   what a relative area.geojson starts from; scene_dir: the generated scene, default work/scene
    """
    return grid_of(aoi_geometry(area_path(area, base_dir, work, scene_dir)), area.epsg, area.pixel_m)


def geojson_to_wkt(geojson_path: Path) -> str:
    """The merged area as WKT, longitude latitude, seven decimals (1 cm)."""
    return geometry_wkt(aoi_geometry(geojson_path))


def geometry_wkt(geometry: BaseGeometry) -> str:
    """WKT with at most seven decimals, trailing zeros trimmed."""
    from shapely import to_wkt

    return str(to_wkt(geometry, rounding_precision=7, trim=True))


class Coverage:
    """Share of an area that products cover together, measured in the area's UTM zone.

    Callable: coverage(products) -> 0..1. Projected footprints are kept, so that asking often is cheap.
    margin_m  the area is grown by this first; seam_m: each footprint is grown by this before the union
    """

    def __init__(self, area: BaseGeometry, epsg: int, margin_m: float = 0.0, seam_m: float = 0.0) -> None:
        self.epsg = epsg
        self.area = to_utm(area, epsg).buffer(margin_m, join_style="mitre") if margin_m else to_utm(area, epsg)
        self._seam_m = seam_m
        self._known: dict[tuple[tuple[float, float], ...], BaseGeometry] = {}

    def footprint(self, product: Product) -> BaseGeometry:
        """Footprint in metres, grown by seam_m; empty when it is far from the zone or unknown."""
        ring = product.footprint
        if ring not in self._known:
            self._known[ring] = self._project(ring)
        return self._known[ring]

    def _project(self, ring: Sequence[tuple[float, float]]) -> BaseGeometry:
        meridian = (self.epsg % 100) * 6 - 183
        if len(ring) < 3 or any(abs((lon - meridian + 180) % 360 - 180) > _FAR_DEG for lon, _ in ring):
            return Polygon()
        polygon = to_utm(Polygon(ring), self.epsg)
        return (polygon if polygon.is_valid else polygon.buffer(0)).buffer(self._seam_m, join_style="mitre")

    def __call__(self, products: Sequence[Product]) -> float:
        union = unary_union([self.footprint(product) for product in products])
        return float(union.intersection(self.area).area / self.area.area)

    def missing_side(self, products: Sequence[Product]) -> str:
        """Compass word for the part of the area that the products leave out; empty when nothing is missing."""
        rest = self.area.difference(unary_union([self.footprint(product) for product in products]))
        if rest.is_empty or rest.area < 1.0:
            return ""
        dx, dy = rest.centroid.x - self.area.centroid.x, rest.centroid.y - self.area.centroid.y
        if abs(dx) > abs(dy):
            return "east" if dx > 0 else "west"
        return "north" if dy > 0 else "south"


def overlap_share(first: Product, second: Product) -> float:
    """Shared area of two footprints over the smaller of the two, 0..1; computed in degrees, a ratio needs no metres."""
    a, b = Polygon(first.footprint), Polygon(second.footprint)
    smaller = min(a.area, b.area)
    return float(a.intersection(b).area / smaller) if smaller > 0 else 0.0


def inside_mask(area: BaseGeometry, grid: Grid) -> NDArray[np.bool_]:
    """(rows, cols) bool, True where the centre of a pixel of a UTM grid lies inside an area given in degrees."""
    geometry = to_utm(area, grid.epsg)
    prepare(geometry)
    x, y = np.meshgrid(grid.pixel_centres_x(), grid.pixel_centres_y())
    return np.asarray(contains_xy(geometry, x, y), dtype=np.bool_)


def tile_outlines(grid: Grid, size_px: int, overlap_px: int = 0) -> dict[str, Polygon]:
    """Outlines of the tiles of a grid in map units, by tile id; through buzzard where it is installed."""
    tiles = make_tiles(grid.rows, grid.cols, size_px, overlap_px)
    try:
        from utils.io.buzzard_compat import tile_footprints

        outlines = [Polygon(fp.poly) for row in tile_footprints(grid, size_px, overlap_px) for fp in row]
    except BrokenEnvironmentError:
        outlines = [box(*grid.window(tile.window).bounds) for tile in tiles]
    return {tile.id: outline for tile, outline in zip(tiles, outlines, strict=True)}
