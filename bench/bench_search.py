"""Search and matching over an archive of 10,000 products with a warm index.

Work: list the folder, compare size and time of every file with the index, build the records, match them over a 20 km
area (coverage by polygons in the UTM zone, slices, tracks, ranking). No product is opened: cloud over the area would
be read from the few scenes that are left, which is the speed of JPEG 2000 and no part of this figure.
"""

from __future__ import annotations

import datetime as dt
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from shapely.geometry import box

from utils.io import footprint, local
from utils.science import pairing
from utils.science.candidates import Settings
from utils.science.product import Product, parse_name

ITEMS = 10_000
EPSG = 32755
_FIRST = dt.datetime(2019, 1, 1, 19, 16, tzinfo=dt.UTC)
_AREA = box(149.9, -35.0, 150.1, -34.8)


def _around(lon: float, lat: float, half: float) -> tuple[tuple[float, float], ...]:
    return ((lon - half, lat - half), (lon + half, lat - half), (lon + half, lat + half), (lon - half, lat + half))


def _radar(number: int) -> Product:
    """Slice `number`: three slices a pass, a pass every 12 hours on one of 24 tracks, a third of them far away."""
    one, part = divmod(number, 3)
    start = _FIRST + dt.timedelta(hours=12 * one, seconds=25 * part)
    stop, orbit = start + dt.timedelta(seconds=25), 25000 + 7 * one
    name = f"S1A_IW_GRDH_1SDV_{start:%Y%m%dT%H%M%S}_{stop:%Y%m%dT%H%M%S}_{orbit:06d}_{one:06X}_{part:04X}"
    lon = 150.0 if one % 3 else 120.0
    ring = _around(lon, -33.5 - 1.4 * part, 1.0)
    relative = 1 + one % 24
    return replace(parse_name(name), direction="DESCENDING", footprint=ring, slice=part + 1, relative_orbit=relative)


def _optical(number: int) -> Product:
    """Product `number`: four tiles a datatake, a datatake every 2.5 days; two of the tiles cover the area."""
    one, part = divmod(number, 4)
    start = dt.datetime(2015, 7, 1, 0, 2, 41, tzinfo=dt.UTC) + dt.timedelta(days=2.5 * one)
    tile, lon = (("55HGB", 150.0), ("55HGC", 150.0), ("55HFB", 147.0), ("55HFC", 147.0))[part]
    name = f"S2A_MSIL2A_{start:%Y%m%dT%H%M%S}_N0213_R030_T{tile}_{start + dt.timedelta(hours=2):%Y%m%dT%H%M%S}"
    return replace(parse_name(name), footprint=_around(lon, -34.9 + (part % 2), 0.55), cloud_tile=float(one * 37 % 100))


def make_archive(folder: Path) -> Path:
    """Empty files named like products, and the index that a first search over real ones would have left."""
    products = {p.name: p for p in [*map(_radar, range(ITEMS // 2)), *map(_optical, range(ITEMS // 2))]}
    entries = {}
    for name, product in products.items():
        path = folder / f"{name}.zip"
        path.touch()
        stat = path.stat()
        record = replace(product, provider="local", path=str(path), size=0).to_json()
        entries[str(path)] = {"mark": [stat.st_size, stat.st_mtime_ns], "product": record}
    index = folder / "local_index.json"
    index.write_text(json.dumps({"schema": local.INDEX_SCHEMA, "entries": entries}))
    return index


def search_once(folder: Path, index: Path) -> tuple[int, int]:
    """(products, pairs) of one search with matching."""
    found = local.search(folder, index)
    march, april, september, october = (dt.datetime(2019, month, 1, tzinfo=dt.UTC) for month in (3, 4, 9, 10))
    settings = Settings((march, april), (september, october), EPSG, limit=100, max_cloud_tile=100.0)
    coverage = footprint.Coverage(_AREA, EPSG, 1000.0, footprint.SLICE_SEAM_M)
    result = pairing.find_pairs(
        found.products, settings, s1_coverage=coverage, s2_coverage=footprint.Coverage(_AREA, EPSG),
        overlap=footprint.overlap_share, cloud=lambda products: None, missing=coverage.missing_side,
    )  # fmt: skip
    return len(found.products), len(result.pairs)


def figures() -> list[dict[str, Any]]:
    """Seconds of the median of five searches, what was found, and seconds of a search for each thousand items."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = make_archive(folder)
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            products, pairs = search_once(folder, index)
            times.append(time.perf_counter() - begin)
    return [
        {"name": "search_10000_local", "value": statistics.median(times), "unit": "s", "limit": 2.0, "better": "lower"},
        {"name": "search_items", "value": products, "unit": "items", "limit": ITEMS, "better": "higher"},
        {"name": "search_pairs_ranked", "value": pairs, "unit": "pairs", "limit": 1, "better": "higher"},
    ]
