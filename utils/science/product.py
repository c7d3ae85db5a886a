"""Sentinel product names, product records and orbit arithmetic. Pure; no files.

Sources: Sentinel-1 product specification (S1-RS-MDA-52-7441) and Sentinel-2 product specification document for
the names; the orbit formulas follow from 175 (S1) and 143 (S2) orbits a repeat cycle and one recorded pair each.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

S1_REPEAT_ORBITS = 175
S2_REPEAT_ORBITS = 143
_S1C_SHIFT_AFTER = 8018  # orbital reconfiguration of 8 to 24 June 2026

_TIME = r"\d{8}T\d{6}"
_S1 = re.compile(
    rf"(?P<platform>S1[A-D])_(?P<mode>IW|EW|S[1-6]|WV|EN|N[1-6])_(?P<type>SLC|GRD|OCN|RAW)(?P<resolution>[FHM_])_"
    rf"(?P<level>[012])(?P<class>[SANC])(?P<pols>SH|SV|DH|DV|HH|HV|VV|VH)_(?P<start>{_TIME})_(?P<stop>{_TIME})_"
    rf"(?P<orbit>\d{{6}})_(?P<datatake>[0-9A-F]{{6}})_(?P<id>[0-9A-F]{{4}})(?P<cog>_COG)?"
)
_S2 = re.compile(
    rf"(?P<platform>S2[A-D])_MSI(?P<level>L1C|L2A)_(?P<start>{_TIME})_N(?P<baseline>\d{{4}})_R(?P<orbit>\d{{3}})_"
    rf"T(?P<tile>\d{{2}}[A-Z]{{3}})_(?P<generated>{_TIME})"
)
_POLS = {"SH": ("HH",), "SV": ("VV",), "DH": ("HH", "HV"), "DV": ("VV", "VH")}


class NameError_(ValueError):
    """A text that is no product name."""


@dataclass(frozen=True)
class Product:
    """One SAFE product, from a catalogue or a folder.

    name            without .SAFE or .zip
    start, stop     UTC, timezone-aware; for S2 start is the datatake start in the name
    relative_orbit  0 = unknown;  absolute_orbit None = unknown (S2 names do not hold it)
    direction       ASCENDING, DESCENDING or empty
    baseline        S2 processing baseline as in the name, "0400";  tile: S2 tile without T
    generated       S2 generation or S1 processing time as compact text, compared as text
    footprint       (longitude, latitude) in degrees, ring not closed
    cloud_tile      percent, the catalogue's figure for the whole S2 tile; None = unknown
    nodata_tile     percent of the pixels of the whole S2 tile without data; None = unknown
    path            where provider local found it
    remote_id       id at an online provider;  href: address of its bytes without secrets
    md5, blake3     published checksums, lower-case hexadecimal, empty = not published
    online          False: archived, must be ordered before it can be fetched
    substitutes     configured name that this reprocessed product stands for
    """

    name: str
    mission: str
    platform: str
    type: str
    mode: str
    start: dt.datetime
    stop: dt.datetime
    pols: tuple[str, ...] = ()
    absolute_orbit: int | None = None
    relative_orbit: int = 0
    direction: str = ""
    datatake: str = ""
    slice: int | None = None
    total_slices: int | None = None
    timeliness: str = ""
    baseline: str = ""
    tile: str = ""
    generated: str = ""
    cog: bool = False
    footprint: tuple[tuple[float, float], ...] = ()
    size: int | None = None
    cloud_tile: float | None = None
    provider: str = ""
    path: str = ""
    remote_id: str = ""
    href: str = ""
    md5: str = ""
    blake3: str = ""
    online: bool = True
    warnings: tuple[str, ...] = ()
    nodata_tile: float | None = None
    substitutes: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON form: times as ISO text with Z, tuples as lists."""
        out = {field.name: getattr(self, field.name) for field in fields(self)}
        out |= {"start": iso(self.start), "stop": iso(self.stop)}
        out |= {
            "pols": list(self.pols),
            "footprint": [list(p) for p in self.footprint],
            "warnings": list(self.warnings),
        }
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Product:
        """Inverse of to_json; unknown keys are ignored."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        values |= {"start": parse_time(data["start"]), "stop": parse_time(data["stop"])}
        values["pols"] = tuple(data.get("pols") or ())
        values["footprint"] = tuple((float(lon), float(lat)) for lon, lat in data.get("footprint") or ())
        values["warnings"] = tuple(data.get("warnings") or ())
        values["substitutes"] = data.get("substitutes") or ""
        return cls(**values)


def parse_time(text: str) -> dt.datetime:
    """UTC time from compact (20200104T000241) or ISO text with any number of decimals, with or without Z."""
    match = re.fullmatch(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d):?(\d\d):?(\d\d)(?:\.(\d+))?Z?", text.strip())
    if match is None:
        raise ValueError(f"not a UTC time: {text!r}")
    numbers = [int(part) for part in match.groups()[:6]]
    micro = int((match.group(7) or "0")[:6].ljust(6, "0"))
    return dt.datetime(*numbers, micro, tzinfo=dt.UTC)  # type: ignore[arg-type,misc]


def iso(time: dt.datetime) -> str:
    """ISO 8601 text with Z; decimals only when there are any."""
    return time.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def bare_name(text: str) -> str:
    """Product name of a file name, path ending or URI: without folder, .zip and .SAFE."""
    return text.rstrip("/").rpartition("/")[2].removesuffix(".zip").removesuffix(".SAFE")


def parse_name(text: str) -> Product:
    """Product record from a name alone.

    raises  NameError_ for anything that is not a Sentinel-1 or Sentinel-2 product name
    """
    name = bare_name(text)
    if match := _S1.fullmatch(name):
        return _from_s1(name, match)
    if match := _S2.fullmatch(name):
        start = parse_time(match["start"])
        return Product(
            name, "S2", match["platform"], match["level"], "MSI", start, start,
            relative_orbit=int(match["orbit"]), direction="DESCENDING", baseline=match["baseline"],
            tile=match["tile"], generated=match["generated"],
        )  # fmt: skip
    raise NameError_(f"not a Sentinel-1 or Sentinel-2 product name: {name!r}")


def _from_s1(name: str, match: re.Match[str]) -> Product:
    orbit = int(match["orbit"])
    kind = match["type"] + (match["resolution"] if match["type"] == "GRD" else "")
    return Product(
        name, "S1", match["platform"], kind, match["mode"], parse_time(match["start"]), parse_time(match["stop"]),
        pols=_POLS.get(match["pols"], (match["pols"],)), absolute_orbit=orbit,
        relative_orbit=relative_orbit_s1(match["platform"], orbit) or 0,
        datatake=match["datatake"], cog=bool(match["cog"]),
    )  # fmt: skip


def relative_orbit_s1(platform: str, absolute_orbit: int) -> int | None:
    """Relative orbit 1..175 of an absolute orbit; None for an unknown platform (never a guess)."""
    offset = {"S1A": 73, "S1B": 27, "S1C": 172 if absolute_orbit <= _S1C_SHIFT_AFTER else 99, "S1D": 42}.get(platform)
    return None if offset is None else (absolute_orbit - offset) % S1_REPEAT_ORBITS + 1


def relative_orbit_s2(platform: str, absolute_orbit: int) -> int | None:
    """Relative orbit 1..143 for a cross-check of the name; None where no formula is known (S2C)."""
    offset = {"S2A": -2, "S2B": 27}.get(platform)
    return None if offset is None else (absolute_orbit - offset) % S2_REPEAT_ORBITS + 1


def with_relative_orbit(product: Product, recorded: int | None) -> Product:
    """The recorded relative orbit wins over the formula; a disagreement is kept as a warning.

    recorded  None or a number outside the range of the mission counts as not recorded (catalogues send 0)
    """
    highest = S1_REPEAT_ORBITS if product.mission == "S1" else S2_REPEAT_ORBITS
    if recorded is None or not 1 <= recorded <= highest:
        return product
    if product.relative_orbit and product.relative_orbit != recorded:
        text = f"W_ORBIT: {product.name} records relative orbit {recorded}, its name gives {product.relative_orbit}"
        return replace(product, relative_orbit=recorded, warnings=(*product.warnings, text))
    return replace(product, relative_orbit=recorded)
