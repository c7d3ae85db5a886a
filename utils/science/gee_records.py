"""From Earth Engine properties to product records; months of a query; pixel counts. Pure, no client.

Earth Engine gives no addresses: a record holds the product name, by which another service finds the bytes.
Sentinel-2: the name is PRODUCT_ID (generation times differ between the levels); `system:index` is the same for both
levels and joins them; `system:time_start` is the time of the tile, minutes after the datatake start in the name.
Sentinel-1: `system:index` is the product name.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from utils.science.catalogue import Query
from utils.science.cloud import CloudStats
from utils.science.cloud_score import from_counts
from utils.science.product import NameError_, Product, parse_name, with_relative_orbit

METHODS = ("cloud_score_plus", "s2cloudless", "sen2cloudfree")  # order of `auto`
S2_PROPERTIES = (
    "PRODUCT_ID", "CLOUDY_PIXEL_PERCENTAGE", "MGRS_TILE", "SENSING_ORBIT_NUMBER", "SENSING_ORBIT_DIRECTION",
    "DATATAKE_IDENTIFIER", "PROCESSING_BASELINE",
)  # fmt: skip
S1_PROPERTIES = (
    "orbitProperties_pass", "orbitNumber_start", "relativeOrbitNumber_start", "sliceNumber", "totalSlices",
    "productTimelinessCategory",
)  # fmt: skip
COUNTS = ("area", "data", "valid", "cloud", "shadow")
TILE_DELAY = dt.timedelta(hours=1)  # longest time between the datatake start and the time of a tile in it


@dataclass(frozen=True)
class Found:
    """One product with its cloud over the area.

    index   system:index, which joins the collections
    cloud   None: no method had an image for it;  method: empty then, and for Sentinel-1
    """

    product: Product
    index: str
    cloud: CloudStats | None = None
    method: str = ""


def methods_of(name: str) -> tuple[str, ...]:
    """The methods to try, in order: those of `auto`, or the one named."""
    return METHODS if name == "auto" else (name,)


def months(start: dt.datetime, end: dt.datetime) -> list[tuple[dt.datetime, dt.datetime]]:
    """The half-open window cut at the first of each month, UTC."""
    parts = []
    while start < end:
        year, month = start.year + start.month // 12, start.month % 12 + 1
        stop = min(end, dt.datetime(year, month, 1, tzinfo=dt.UTC))
        parts.append((start, stop))
        start = stop
    return parts


def is_missing(counts: Mapping[str, Any]) -> bool:
    """The image has data over the area and the method has no value for any of it: its collection lacks the image."""
    return float(counts["data"]) > 0 and float(counts["valid"]) <= 0


def statistics(counts: Mapping[str, Any]) -> CloudStats | None:
    """Cloud statistics of the counts of one image; None where the method is missing or the area holds no pixel."""
    if is_missing(counts) or float(counts["area"]) <= 0:
        return None
    return from_counts(*(float(counts[name]) for name in ("area", "valid", "cloud", "shadow")))


def s2_product(properties: Mapping[str, Any]) -> Product:
    """Record of a Sentinel-2 image of either level.

    properties  at least PRODUCT_ID; as in the data set, with `footprint` or `system:footprint`
    raises      NameError_ when PRODUCT_ID is missing or of the form before December 2016
    """
    product = parse_name(str(properties.get("PRODUCT_ID")))
    orbit = re.fullmatch(r"GS2[A-D]_\d{8}T\d{6}_(\d{6})_N\d\d\.\d\d", str(properties.get("DATATAKE_IDENTIFIER")))
    cloud = properties.get("CLOUDY_PIXEL_PERCENTAGE")
    product = replace(
        product,
        absolute_orbit=int(orbit.group(1)) if orbit else None,
        direction=str(properties.get("SENSING_ORBIT_DIRECTION") or product.direction),
        cloud_tile=None if cloud is None else float(cloud),
        **_common(properties),
    )
    return with_relative_orbit(product, _whole(properties.get("SENSING_ORBIT_NUMBER")))


def s1_product(properties: Mapping[str, Any]) -> Product:
    """Record of a Sentinel-1 image; NameError_ when `index` (or `system:index`) is no product name."""
    product = parse_name(str(_either(properties, "index")))
    product = replace(
        product,
        absolute_orbit=_whole(properties.get("orbitNumber_start")) or product.absolute_orbit,
        direction=str(properties.get("orbitProperties_pass") or "").upper(),
        slice=_whole(properties.get("sliceNumber")),
        total_slices=_whole(properties.get("totalSlices")),
        timeliness=str(properties.get("productTimelinessCategory") or ""),
        **_common(properties),
    )
    return with_relative_orbit(product, _whole(properties.get("relativeOrbitNumber_start")))


def found(rows: Iterable[Mapping[str, Any]], query: Query, methods: Mapping[str, str],
          window: tuple[dt.datetime, dt.datetime]) -> tuple[list[Found], list[str]]:  # fmt: skip
    """Products whose start in the NAME lies in the window, sorted by name, and the indices whose name is not known.

    rows     properties of one image each;  methods: index -> how its counts were made
    """
    kept, unnamed = [], []
    for row in rows:
        index = str(_either(row, "index"))
        try:
            product = s2_product(row) if query.mission == "S2" else s1_product(row)
        except NameError_:
            unnamed.append(index)
            continue
        if not window[0] <= product.start < window[1]:
            continue
        if query.mission == "S1":
            kept.append(Found(product, index))
            continue
        cloud = statistics(row)
        method = methods[index] if cloud else ""
        kept.append(Found(product, index, cloud, method))
    return sorted(kept, key=lambda item: item.product.name), unnamed


def with_warnings(items: Sequence[Found]) -> list[Found]:
    """Sentinel-2 products measured in another way than the best that was used, or not at all, get a warning (W_METHOD).

    Given all products of a search, so that a pair of two methods holds at least one product that says so.
    """
    used = {item.method for item in items if item.method}
    best = next((name for name in METHODS if name in used), "")
    out = []
    for item in items:
        if item.product.mission == "S2" and item.method != (best or item.method or "a method"):
            text = f"W_METHOD: {item.product.name}: cloud by {item.method or 'no method'}, the best here is {best or 'none'}"
            item = replace(item, product=replace(item.product, warnings=(*item.product.warnings, text)))
        out.append(item)
    return out


def scenes_of(items: Iterable[Found], tiles: frozenset[str]) -> list[tuple[Found, ...]]:
    """Groups of the products of one datatake on the given tiles that hold more than one, sorted by time."""
    groups: dict[tuple[Any, ...], list[Found]] = {}
    for item in items:
        if item.product.tile in tiles and item.method:
            p = item.product
            groups.setdefault((p.start, p.platform, p.relative_orbit), []).append(item)
    return [tuple(sorted(groups[key], key=lambda i: i.product.name)) for key in sorted(groups) if len(groups[key]) > 1]


def utm_epsg(tile: str) -> int:
    """EPSG code of the zone of a Sentinel-2 tile, such as 55HGA."""
    return (32600 if tile[2] >= "N" else 32700) + int(tile[:2])


def _either(properties: Mapping[str, Any], name: str) -> Any:
    """A property under its short name (as asked for) or its full name (as in the data set)."""
    return properties.get(name, properties.get(f"system:{name}"))


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _common(properties: Mapping[str, Any]) -> dict[str, Any]:
    ring = (_either(properties, "footprint") or {}).get("coordinates") or []
    while ring and isinstance(ring[0][0], list):  # a polygon holds a list of rings
        ring = ring[0]
    points = tuple((float(lon), float(lat)) for lon, lat in ring)
    return {
        "provider": "gee",
        "remote_id": str(_either(properties, "index")),
        "footprint": points[:-1] if len(points) > 1 and points[0] == points[-1] else points,
    }
