"""Candidates of a search as marks to draw: chosen, refused with their reason, or left over.

A mark is one Sentinel-2 scene, one Sentinel-1 pass or one product; its rings are the footprints of its products.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from utils.science.product import NameError_, Product, parse_name, parse_time

Ring = tuple[tuple[float, float], ...]
Window = tuple[dt.datetime, dt.datetime]
DATES = {"date1": "t0", "date2": "t1"}
UNDATED = dt.datetime.min.replace(tzinfo=dt.UTC)

REASONS = {
    "R_DATE": "outside both windows", "R_MODE": "acquisition mode", "R_POL": "polarisation", "R_TYPE": "product type",
    "R_COG_VARIANT": "second copy as COG", "R_DUPLICATE": "older copy of a slice", "R_SUPERSEDED": "older version",
    "R_NRT_SLICE": "near-real-time slicing", "R_ORBIT_UNKNOWN": "orbit unknown", "R_TRACK": "track serves one date only",
    "R_COVERAGE": "does not cover the area", "R_GAP": "too far in time", "R_TILESET": "other tile or zone",
    "R_NODATA": "no data over the area", "R_CLOUD": "cloud", "R_OFFLINE": "archived", "R_UNREADABLE": "not readable",
}  # fmt: skip
_SCENE = re.compile(r"(?P<platform>S2\w) R(?P<orbit>\d{3}) T(?P<tiles>.+)")
_PASS = re.compile(r"(?P<platform>S1\w) (?P<absolute>\d+) track (?P<orbit>\d+) (?P<direction>\S+)")


@dataclass(frozen=True)
class Mark:
    """One candidate.

    state   chosen, refused or left
    sensor  S1, S2 or empty (a file that is no product);  row: words of its line in the timeline
    start   UNDATED when unknown;  date: t0, t1 or empty
    ranks   of the pairs that use it;  near: it is the nearest miss
    """

    state: str
    id: str
    sensor: str
    row: str
    start: dt.datetime
    date: str = ""
    code: str = ""
    words: str = ""
    rings: tuple[Ring, ...] = ()
    ranks: tuple[int, ...] = ()
    near: bool = False


def marks(document: Mapping[str, Any], rejections: Sequence[Mapping[str, Any]], products: Iterable[Product] = (),
          nearest: str = "") -> list[Mark]:  # fmt: skip
    """All candidates: each scene and pass of the pairs once, each refusal once, each product of neither once.

    nearest  words of the error "nothing found"; without it and without pairs, the refusal closest to its limit
    """
    known = {name: Product.from_json({"name": name, **record}) for name, record in document["products"].items()}
    known |= {product.name: product for product in products}
    chosen = _chosen(document, known)
    refused, claimed = [], {name for names in _used(document) for name in names}
    for rejection in rejections:
        members = _members(rejection, known)
        claimed |= {product.name for product in members} | {str(rejection["id"])}
        refused.append(_refused(rejection, members))
    left = [
        Mark("left", p.name, p.mission, _row(p.mission, p.relative_orbit, p.direction), p.start,
             words=f"{p.name}: not refused, but in none of the kept pairs", rings=(p.footprint,))
        for name, p in sorted(known.items()) if name not in claimed
    ]  # fmt: skip
    lacking = _lacking(document, left)
    number = None if document["pairs"] else nearest_refusal(rejections, nearest, lacking)
    refused = [replace(mark, near=True) if i == number else mark for i, mark in enumerate(refused)]
    return _with_direction([*chosen, *refused, *left])


def _used(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        tuple(pair[date][sensor]["products"])
        for pair in document["pairs"] for date in DATES for sensor in ("s2", "s1") if pair[date].get(sensor)
    ]  # fmt: skip


def _chosen(document: Mapping[str, Any], known: Mapping[str, Product]) -> list[Mark]:
    found: dict[tuple[str, str, tuple[str, ...]], Mark] = {}
    for pair in document["pairs"]:
        for date, short in DATES.items():
            for sensor in ("s2", "s1"):
                part = pair[date].get(sensor)
                if not part:
                    continue
                key = (date, sensor, tuple(part["products"]))
                mark = found.get(key) or _chosen_mark(part, sensor, short, [known[n] for n in part["products"]])
                found[key] = replace(mark, ranks=(*mark.ranks, int(pair["rank"])))
    return list(found.values())


def _chosen_mark(part: Mapping[str, Any], sensor: str, date: str, products: Sequence[Product]) -> Mark:
    first = products[0]
    row = _row(sensor.upper(), first.relative_orbit, first.direction)
    names = " + ".join(product.name for product in products)
    cloud, gap_s, coverage = part.get("cloud_aoi"), part.get("gap_s"), part.get("coverage")
    facts = [f"cloud over the area {cloud:.2f} %" if cloud is not None else "",
             f"{gap_s / 86400:.2f} days from Sentinel-2" if gap_s is not None else "",
             f"covers {100 * coverage:.2f} %" if coverage is not None else ""]  # fmt: skip
    words = ", ".join([names, "chosen", *(fact for fact in facts if fact)])
    rings = tuple(product.footprint for product in products)
    return Mark("chosen", names, sensor.upper(), row, parse_time(part["start"]), date, words=words, rings=rings)


def _refused(rejection: Mapping[str, Any], members: Sequence[Product]) -> Mark:
    name, code = str(rejection["id"]), str(rejection["code"])
    sensor, orbit, direction = _place(name, members)
    start = parse_time(rejection["start"]) if rejection.get("start") else members[0].start if members else UNDATED
    words = f"{name}: {code}, {REASONS.get(code, 'refused')}: {said(rejection)}"
    rings = tuple(product.footprint for product in members)
    row = _row(sensor, orbit, direction)
    return Mark("refused", name, sensor, row, start, str(rejection.get("date") or ""), code, words.rstrip(": "), rings)


def said(rejection: Mapping[str, Any]) -> str:
    """The refusal in words: its text, else the measured value against the limit."""
    value, limit = rejection.get("value"), rejection.get("limit")
    if rejection.get("text"):
        return str(rejection["text"])
    return "" if value is None else f"{value}" if limit is None else f"{value} against {limit}"


def _place(name: str, members: Sequence[Product]) -> tuple[str, int, str]:
    """(sensor, relative orbit, direction) of a refused candidate."""
    if members:
        return members[0].mission, members[0].relative_orbit, members[0].direction
    if match := _SCENE.fullmatch(name):
        return "S2", int(match["orbit"]), "DESCENDING"
    if match := _PASS.fullmatch(name):
        return "S1", int(match["orbit"]), {"asce": "ASCENDING", "desc": "DESCENDING"}.get(match["direction"], "")
    try:
        product = parse_name(name)
    except NameError_:
        return "", 0, ""
    return product.mission, product.relative_orbit, product.direction


def _members(rejection: Mapping[str, Any], known: Mapping[str, Product]) -> list[Product]:
    """Products behind a refusal: the product itself, all tiles of a scene, all slices of a pass."""
    name = str(rejection["id"])
    if name in known:
        return [known[name]]
    if match := _SCENE.fullmatch(name):
        tiles, start = match["tiles"].split("+T"), parse_time(rejection["start"])
        orbit = int(match["orbit"])
        return [
            p
            for p in known.values()
            if p.tile in tiles and (p.platform, p.relative_orbit, p.start) == (match["platform"], orbit, start)
        ]
    if match := _PASS.fullmatch(name):
        absolute, short = int(match["absolute"]), match["direction"]
        return [p for p in known.values() if p.mission == "S1" and (p.platform, p.absolute_orbit) == (match["platform"], absolute)
                and p.direction.lower()[:4] == short.replace("?", "")]  # fmt: skip
    return []


def _row(sensor: str, orbit: int, direction: str) -> str:
    if sensor == "S2":
        return f"Sentinel-2, orbit {orbit}"
    if sensor == "S1":
        return f"Sentinel-1, track {orbit} {direction.lower()}".rstrip() if orbit else "Sentinel-1, track unknown"
    return "Other files"


def _with_direction(found: Sequence[Mark]) -> list[Mark]:
    """A row that a name alone gave lacks the direction: it joins the row of its track where there is just one."""
    rows = {mark.row for mark in found}
    out = []
    for mark in found:
        longer = [row for row in rows if row.startswith(f"{mark.row} ")]
        out.append(replace(mark, row=longer[0]) if len(longer) == 1 and mark.sensor == "S1" else mark)
    return out


def _lacking(document: Mapping[str, Any], left: Sequence[Mark]) -> str:
    """What a search without pairs lacks: the first date without an accepted scene, else Sentinel-1."""
    for date, (start, end) in windows(document, left).items():
        if not any(mark.sensor == "S2" and start <= mark.start < end for mark in left):
            return date
    return "Sentinel-1"


def nearest_refusal(rejections: Sequence[Mapping[str, Any]], words: str = "", lacking: str = "") -> int | None:
    """Index of the refusal that the words name, else of the one closest to its limit; None when none is measured.

    lacking  t0 or t1: scenes of this date come first; Sentinel-1: passes do
    """
    named = [i for i, r in enumerate(rejections) if str(r["id"]) in words and str(r["code"]) in words]
    if named:
        return named[0]
    measured = []
    for index, rejection in enumerate(rejections):
        value, limit = rejection.get("value"), rejection.get("limit")
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (value, limit))
        if numbers and rejection["code"] in ("R_CLOUD", "R_COVERAGE", "R_NODATA", "R_GAP") and value != 0:
            assert value is not None and limit is not None
            optical = str(rejection["id"]).startswith("S2")
            wanted = not optical if lacking == "Sentinel-1" else optical and rejection.get("date") == lacking
            measured.append((not wanted, abs(value - limit) / max(abs(limit), 1e-6), index))
    return min(measured)[2] if measured else None


def windows(document: Mapping[str, Any], found: Sequence[Mark]) -> dict[str, Window]:
    """The windows of t0 and t1; where the settings hold none (imported data), the span of the chosen ones."""
    out: dict[str, Window] = {}
    for date in DATES.values():
        texts = (document.get("settings") or {}).get(date)
        times = [m.start for m in found if m.state == "chosen" and m.date == date]
        if texts:
            out[date] = (parse_time(texts[0]), parse_time(texts[1]))
        elif times:
            out[date] = (min(times) - dt.timedelta(days=1), max(times) + dt.timedelta(days=1))
    return out
