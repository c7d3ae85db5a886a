"""What is asked of a catalogue, and where the bytes of a product are. Pure records; no network."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["zip", "tif", "xml"]


@dataclass(frozen=True)
class Query:
    """One question: products of a mission over an area in a half-open window, UTC.

    geometry   GeoJSON Polygon or MultiPolygon, (longitude, latitude) in degrees
    start, end timezone-aware; already widened by what the matching needs
    s2_level   L2A or L1C
    max_cloud_tile  percent; a prefilter on the catalogue's figure, None = none
    """

    mission: Literal["S1", "S2"]
    geometry: Mapping[str, Any]
    start: dt.datetime
    end: dt.datetime
    s2_level: str = "L2A"
    max_cloud_tile: float | None = None


@dataclass(frozen=True)
class Request:
    """Where one file is and what is known about its bytes.

    name      final file name without folder, such as S1A_....zip
    url       without secrets; the host decides which credentials may be attached
    kind      what the first bytes must be: a zip archive, a TIFF, XML
    auth      name of the credentials: "" none, "cdse", "sara", "planetary"
    size      bytes, None = unknown (catalogues send 0 for unknown)
    md5, blake3  lower-case hexadecimal, empty = not published
    product   name of the SAFE product inside, empty for other files
    """

    name: str
    url: str
    kind: Kind
    auth: str = ""
    size: int | None = None
    md5: str = ""
    blake3: str = ""
    product: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
