"""Products made by hand for the catalogue tests: own names, own numbers, over an area near 149 E, 35 S."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from utils.io.web import Web
from utils.science.catalogue import Query
from utils.science.product import Product, parse_name, parse_time

AREA = {
    "type": "Polygon",
    "coordinates": [[[149.1, -35.25], [149.15, -35.25], [149.15, -35.2], [149.1, -35.2], [149.1, -35.25]]],
}
WIDE = ((148.0, -36.0), (150.0, -36.0), (150.0, -34.0), (148.0, -34.0))
FAR = ((20.0, 50.0), (21.0, 50.0), (21.0, 51.0), (20.0, 51.0))


def _facts(product: Product, changes: dict[str, Any]) -> Product:
    number = hashlib.md5(product.name.encode(), usedforsecurity=False).hexdigest()
    own = {"remote_id": f"{number[:8]}-{number[8:12]}", "md5": number, "size": 1000 + int(number[:4], 16), "footprint": WIDE,
           "href": f"http://127.0.0.1:1/resto/{number[:8]}/download"}  # fmt: skip
    return replace(product, **(own | changes))


def s1(start: str, orbit: int, last: str = "A1B2", platform: str = "S1A", cog: bool = False, **changes: Any) -> Product:
    """A Sentinel-1 slice of 25 s that starts at compact time `start` plus 0.123456 s."""
    begin = parse_time(start)
    stop = begin + dt.timedelta(seconds=25)
    name = f"{platform}_IW_GRDH_1SDV_{begin:%Y%m%dT%H%M%S}_{stop:%Y%m%dT%H%M%S}_{orbit:06d}_0ABCDE_{last}{'_COG' * cog}"
    exact = {"start": begin.replace(microsecond=123456), "stop": stop.replace(microsecond=654321), "slice": 3, "total_slices": 9,
             "direction": "DESCENDING", "timeliness": "Fast-24h"}  # fmt: skip
    return _facts(parse_name(name), exact | changes)


def s2(start: str, baseline: str = "0213", generated: str = "20200301T000000", tile: str = "55HFA", level: str = "L2A",
       **changes: Any) -> Product:  # fmt: skip
    """A Sentinel-2 tile."""
    name = f"S2A_MSI{level}_{start}_N{baseline}_R030_T{tile}_{generated}"
    return _facts(parse_name(name), {"cloud_tile": 12.5} | changes)


def query(mission: Any = "S2", start: str = "20200101T000000", end: str = "20200201T000000", **changes: Any) -> Query:
    return Query(mission, AREA, parse_time(start), parse_time(end), **changes)


def quick_web(**changes: Any) -> Web:
    """A client that does not wait between its tries."""
    return Web(tries=3, sleep=lambda _: None, **changes)


def recorded(name: str) -> Path:
    """A recorded answer; the test is skipped where there are none."""
    data = os.environ.get("S2CR_DATA")
    if not data:
        pytest.skip("S2CR_DATA is not set: no recorded answers")
    path = Path(data).parent / "fixtures" / "catalogue" / name
    if not path.exists():
        pytest.skip(f"no recorded answer {name}")
    return path
