"""Where the downloaded products of a work directory lie."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from utils.io import acquisitions
from utils.workflow.layout import Layout


def product_paths(layout: Layout, sensor: Literal["s1", "s2"]) -> dict[str, Path]:
    """Product id -> zip or .SAFE folder in raw/, for every product that search/pairs.json names, sorted by id.

    A product that is not there maps to where it should be: opening it then says so. Folders are never listed, so
    that a stray file cannot enter a data set.
    raises  InputError when search/pairs.json is missing or malformed
    """
    found: dict[str, Path] = {}
    for date in acquisitions.load(layout.pairs_json).values():
        for name in date.s1 if sensor == "s1" else date.s2:
            places = [layout.raw / day / f"{name}{end}" for day in ("date1", "date2") for end in (".zip", ".SAFE")]
            found[name] = next((place for place in places if place.exists()), places[0])
    return dict(sorted(found.items()))
