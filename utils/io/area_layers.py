"""Layers of an area for other programs: footprints of the chosen products and what they share with the area.

Geometry is kept in metres of the area's UTM zone, where edges are straight lines, and written in degrees too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shapely.geometry import MultiPolygon, Polygon, box, mapping
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from utils.io.footprint import SLICE_SEAM_M, geometry_wkt, to_lonlat, to_utm
from utils.io.maps import Outline
from utils.science.grid import Grid
from utils.science.product import NameError_, Product, parse_name
from utils.workflow.files import atomic_json, atomic_text

_COLOURS = {"s2_date1": "#1d4ed8", "s2_date2": "#0891b2", "s1_date1": "#b45309", "s1_date2": "#7c3aed"}
DATES = {"date1": "t0", "date2": "t1"}


@dataclass(frozen=True)
class Feature:
    """One outline, in degrees (longitude, latitude) and in metres, with its properties."""

    lonlat: BaseGeometry
    metres: BaseGeometry
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class Layer:
    """Features that belong into one file; name is the file name without ending."""

    name: str
    features: tuple[Feature, ...]

    @property
    def lonlat(self) -> BaseGeometry:
        return unary_union([feature.lonlat for feature in self.features])

    @property
    def area_km2(self) -> float:
        return float(unary_union([feature.metres for feature in self.features]).area) / 1e6


def ring_of(product: Mapping[str, Any]) -> Polygon:
    """Footprint of a product record as a polygon in degrees; empty when the record has none."""
    ring = [(float(lon), float(lat)) for lon, lat in product.get("footprint") or ()]
    return Polygon(ring) if len(ring) >= 3 else Polygon()


def joined(products: Sequence[Mapping[str, Any]], epsg: int) -> BaseGeometry:
    """Union of footprints in metres; seams between slices of one pass are closed, outer edges stay where they are."""
    shapes = [to_utm(ring, epsg) for ring in map(ring_of, products) if not ring.is_empty]
    shapes = [shape if shape.is_valid else shape.buffer(0) for shape in shapes]
    if len(shapes) < 2:
        return shapes[0] if shapes else Polygon()
    grown = unary_union([shape.buffer(SLICE_SEAM_M, join_style="mitre") for shape in shapes])
    return grown.buffer(-SLICE_SEAM_M, join_style="mitre")


def layers_of(document: Mapping[str, Any], area: BaseGeometry, epsg: int, rank: int = 1) -> list[Layer]:
    """Layers of one pair: s2_date1, s2_date2, s1_date1, s1_date2, and their intersection with the area.

    document  content of search/pairs.json
    area      in degrees
    raises    LookupError when there is no pair of this rank
    """
    pair = next((p for p in document["pairs"] if p["rank"] == rank), None)
    if pair is None:
        raise LookupError(f"no pair of rank {rank}; there are {len(document['pairs'])}")
    layers: list[Layer] = []
    outer: dict[str, BaseGeometry] = {}
    own = to_utm(area, epsg)
    for date in DATES:
        shared = own
        for sensor in ("s2", "s1"):
            part = pair[date].get(sensor) or {}
            products = [document["products"][name] for name in part.get("products") or ()]
            features = tuple(_footprint(p, sensor, date, pair["id"], epsg) for p in products if not ring_of(p).is_empty)
            if features:
                layers.append(Layer(f"{sensor}_{date}", features))
                shared = shared.intersection(joined(products, epsg))
        outer[date] = shared
    if layers:
        outer["both"] = outer["date1"].intersection(outer["date2"])
        layers.append(Layer("intersection", tuple(_shared(polygons(g), d, own, epsg) for d, g in outer.items())))
    return layers


def polygons(geometry: BaseGeometry) -> BaseGeometry:
    """The parts of a geometry that have an area; an intersection may also hold points and lines."""
    parts = getattr(geometry, "geoms", [geometry])
    return unary_union([part for part in parts if isinstance(part, Polygon | MultiPolygon)])


def _footprint(product: Mapping[str, Any], sensor: str, date: str, pair: str, epsg: int) -> Feature:
    ring = ring_of(product)
    words = {"id": product["name"], "kind": sensor, "date": date, "pair": pair, "start": product["start"]}
    return Feature(ring, to_utm(ring, epsg), words)


def _shared(metres: BaseGeometry, date: str, own: BaseGeometry, epsg: int) -> Feature:
    words = {
        "id": f"intersection_{date}",
        "kind": "intersection",
        "date": date,
        "area_km2": round(metres.area / 1e6, 6),
        "share_of_area": round(metres.area / own.area, 6),
    }
    return Feature(metres if metres.is_empty else to_lonlat(metres, epsg), metres, words)


def collection(features: Sequence[Feature], epsg: int | None = None) -> dict[str, Any]:
    """GeoJSON FeatureCollection, in degrees or, with epsg, in metres.

    In metres it carries the crs member of the 2008 draft, which GIS programs read.
    """
    out: dict[str, Any] = {"type": "FeatureCollection", "features": []}
    for feature in features:
        geometry = mapping(feature.metres if epsg else feature.lonlat)
        out["features"].append(
            {
                "type": "Feature",
                "properties": dict(feature.properties),
                "geometry": json.loads(json.dumps(geometry)),
            }
        )
    if epsg:
        out["crs"] = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{epsg}"}}
    return out


def write(folder: Path, layer: Layer, epsg: int) -> list[Path]:
    """Write NAME.geojson (degrees), NAME_utm.geojson (metres), NAME.wkt (degrees; one line a feature); returns them."""
    paths = [folder / f"{layer.name}{end}" for end in (".geojson", "_utm.geojson", ".wkt")]
    atomic_json(paths[0], collection(layer.features))
    atomic_json(paths[1], collection(layer.features, epsg))
    atomic_text(paths[2], "".join(f"{geometry_wkt(feature.lonlat)}\n" for feature in layer.features))
    return paths


def remove_other(folder: Path, keep: Sequence[Path]) -> None:
    """Delete layers of an earlier pair, so that no file tells of a product that is no longer chosen."""
    for sensor in ("s1", "s2"):
        for date in DATES:
            for path in folder.glob(f"{sensor}_{date}*"):
                if path not in keep:
                    path.unlink()
    for path in folder.glob("intersection*"):
        if path not in keep:
            path.unlink()


def distance_km(area: BaseGeometry, product: Product | Mapping[str, Any], epsg: int) -> float:
    """Kilometres from the edge of an area to the nearest edge of a footprint; 0 when they meet."""
    record = product.to_json() if isinstance(product, Product) else product
    return float(to_utm(area, epsg).distance(joined([record], epsg))) / 1000


def outlines(layers: Sequence[Layer], area: BaseGeometry, grid: Grid) -> list[Outline]:
    """What the map shows, in drawing order: footprints, what they share with the area, area, target grid."""
    out = [
        Outline(_legend(layer), layer.lonlat, _COLOURS[layer.name], 0.05, layer.name.endswith("date2"), close=False)
        for layer in layers
        if layer.name in _COLOURS
    ]
    for layer in (item for item in layers if item.name == "intersection"):
        both = layer.features[-1]
        words = f"Shared by area, tiles and passes: {100 * both.properties['share_of_area']:.1f} % of the area"
        out.append(Outline(words, both.lonlat, "#15803d", 0.35, width=0.8))
    border = to_lonlat(box(*grid.bounds).segmentize(max(grid.dx * grid.cols / 20, 100.0)), grid.epsg)
    words = f"Target grid, {grid.rows} x {grid.cols} px of {grid.dx:g} m, EPSG:{grid.epsg}"
    out.append(Outline("Area of interest", area, "#b91c1c", 0.0 if layers else 0.12, width=2.0))
    out.append(Outline(words, border, "#1c1f23", dashed=True, width=0.8))  # last: it often lies on the area's edge
    return out


def _legend(layer: Layer) -> str:
    sensor, _, date = layer.name.partition("_")
    names = ", ".join(_short(str(feature.properties["id"])) for feature in layer.features)
    return f"{'Sentinel-2' if sensor == 's2' else 'Sentinel-1'} {DATES[date]}: {names}"


def _short(name: str) -> str:
    """Platform, day and tile or track of a product name; other names as they are."""
    try:
        product = parse_name(name)
    except NameError_:
        return name
    where = f"T{product.tile}" if product.tile else f"track {product.relative_orbit}"
    return f"{product.platform} {product.start:%Y-%m-%d} {where}"
