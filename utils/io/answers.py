"""What online catalogues answer, made uniform: outlines, checksums, sizes, windows of time. No request is made here."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from shapely import wkt
from shapely.errors import ShapelyError
from shapely.geometry import MultiPolygon, Polygon, mapping, shape
from shapely.ops import unary_union

from utils.science.product import NameError_, Product, parse_name, parse_time
from utils.workflow.errors import InputError

MOST_PAGES = 200  # of one question; more means that the server repeats itself or that the question is too wide
_MOST_VERTICES = 60
Ring = tuple[tuple[float, float], ...]


def ring_of(geometry: Mapping[str, Any] | None) -> Ring:
    """Outline of a footprint: (longitude, latitude) in degrees, not closed; empty when there is none.

    geometry  GeoJSON Polygon or MultiPolygon. Across the antimeridian longitudes go on beyond 180, so that the outline
              stays in one piece. Of parts that do not touch the largest counts: a coverage is never overstated.
    """
    try:
        polygons = [Polygon(part[0]) for part in _parts(geometry)]
        rings = [tuple((float(p[0]), float(p[1])) for p in polygon.exterior.coords[:-1]) for polygon in polygons]
    except (ShapelyError, ValueError, TypeError, IndexError, KeyError):
        return ()
    if not all(math.isfinite(x) and abs(x) <= 360 and abs(y) <= 90 for ring in rings for x, y in ring):
        return ()
    longitudes = [x for ring in rings for x, _ in ring]
    if longitudes and max(longitudes) - min(longitudes) > 180:
        rings = [tuple((x + 360 if x < 0 else x, y) for x, y in ring) for ring in rings]
    if len(rings) < 2:
        return rings[0] if rings else ()
    merged = unary_union([Polygon(ring).buffer(0) for ring in rings])
    largest = max(merged.geoms, key=lambda part: part.area) if isinstance(merged, MultiPolygon) else merged
    return tuple((float(x), float(y)) for x, y in largest.exterior.coords[:-1])


def _parts(geometry: Mapping[str, Any] | None) -> list[Any]:
    kind = geometry.get("type") if isinstance(geometry, Mapping) else None
    if geometry is None or kind not in ("Polygon", "MultiPolygon"):
        return []
    return [geometry["coordinates"]] if kind == "Polygon" else list(geometry["coordinates"])


def ring_of_text(text: str | None) -> Ring:
    """Outline from "geography'SRID=4326;POLYGON ((...))'"; empty when it is none."""
    try:
        return ring_of(mapping(wkt.loads(str(text or "").rpartition(";")[2].strip("' "))))
    except ShapelyError:
        return ()


def area_wkt(geometry: Mapping[str, Any], hull: bool = False) -> str:
    """The area of a question as POLYGON((lon lat, ...)) with six decimals (0.1 m), exterior only.

    Servers refuse long addresses: an area of several parts or of many vertices is asked as its convex hull, and a hull
    of many vertices as its box. What lies beside the area is refused by the matching.
    hull  always the convex hull
    """
    area = shape(geometry)
    if hull or not isinstance(area, Polygon) or len(area.exterior.coords) > _MOST_VERTICES:
        area = area.convex_hull
    if len(area.exterior.coords) > _MOST_VERTICES:
        area = area.envelope
    points = ",".join(f"{round(x, 6):.10g} {round(y, 6):.10g}" for x, y, *_ in area.exterior.coords)
    return f"POLYGON(({points}))"


def named(text: Any) -> Product | None:
    """Product record of a name in an answer; None for files that are no products of these missions."""
    try:
        return parse_name(str(text or ""))
    except NameError_:
        return None


def with_times(product: Product, start: Any, stop: Any) -> Product:
    """Recorded times of a Sentinel-1 product, texts with any number of decimals; a malformed one leaves the name's.

    Sentinel-2 keeps the datatake start of its name, by which dates match: recorded times may be those of the tile.
    """
    if product.mission != "S1":
        return product
    try:
        return replace(product, start=parse_time(str(start)), stop=parse_time(str(stop)))
    except ValueError:
        return product


def compact(time: Any) -> str:
    """A time as 20200815T023440, for comparisons as text; empty when it is none."""
    try:
        return f"{parse_time(str(time)):%Y%m%dT%H%M%S}"
    except ValueError:
        return ""


def digest(text: Any, length: int) -> str:
    """A checksum in lower case from bare hexadecimal, "md5=hex" or "md5:hex"; empty when it is none of `length` digits."""
    found = re.fullmatch(rf"(?:[a-z0-9-]+[=:])?([0-9a-f]{{{length}}})", str(text or "").strip().lower())
    return found.group(1) if found else ""


def whole(value: Any) -> int | None:
    """A whole number that may be written as text; None for anything else."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def percent(value: Any) -> float | None:
    """0..100, or None when it is not told."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number and 0 <= value <= 100 else None


def months(start: dt.datetime, end: dt.datetime) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    """Half-open pieces of a window, none longer than its calendar month."""
    while start < end:
        following = (start.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + dt.timedelta(days=32)).replace(
            day=1
        )
        yield start, min(following, end)
        start = following


def same_host(link: str, base_url: str) -> str:
    """A paging link, if it stays at the service that was asked.

    raises  InputError for a link to elsewhere
    """
    if urlsplit(link)[:2] != urlsplit(base_url)[:2]:
        raise InputError(
            f"{urlsplit(base_url).hostname}: its next page lies at {urlsplit(link).hostname}.",
            "Check the address in search.endpoints.",
        )
    return link


def too_many_pages(host: str) -> InputError:
    """More pages than any sensible question has."""
    return InputError(
        f"{host}: more than {MOST_PAGES} pages of products.", "Narrow dates.t0 and dates.t1, or the area."
    )


def same_granule(product: Product, wanted: Product) -> bool:
    """True for the product itself and for its other processings."""
    if product.mission == "S1":
        return product.name[:62] == wanted.name[:62]
    keys = ("platform", "type", "start", "relative_orbit", "tile")
    return all(getattr(product, key) == getattr(wanted, key) for key in keys)


def best_version(products: list[Product], name: str) -> Product | None:
    """The product of this name, else its newest processing; None when there is none.

    A second copy as cloud-optimised raster (_COG) never stands for an archive.
    """
    exact = next((p for p in products if p.name == name), None)
    others = [p for p in products if not p.cog]
    return exact or max(others, key=lambda p: (p.baseline, p.generated, p.name), default=None)
