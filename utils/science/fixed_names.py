"""Dates from Sentinel-2 product names that a person typed. Pure."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from utils.science.product import NameError_, parse_name

FORM = "S2A_MSIL2A_YYYYMMDDTHHMMSS_Nbbbb_Rooo_Tttttt_YYYYMMDDTHHMMSS"


@dataclass(frozen=True)
class FixedDate:
    """One date: the day of its datatake, UTC, and its products (several tiles of one datatake are one date)."""

    day: dt.date
    names: tuple[str, ...]


def dates_of(names: Sequence[str]) -> list[FixedDate]:
    """Two or three dates in order of time.

    raises  ValueError naming the malformed name, a name of another sensor or level, or what is wrong with the order
    """
    found: dict[dt.datetime, list[str]] = {}
    for text in names:
        try:
            product = parse_name(text)
        except NameError_ as error:
            raise ValueError(f"{text!r} is no Sentinel-2 product name; the form is {FORM}") from error
        if product.mission != "S2":
            raise ValueError(f"{product.name} is a Sentinel-1 product; Sentinel-1 passes are found by the search")
        if product.type != "L2A":
            raise ValueError(f"{product.name} is of level {product.type}; level L2A is needed")
        known = found.setdefault(product.start, [])
        if product.name in known:
            raise ValueError(f"{product.name} is given twice")
        known.append(product.name)
    dates = [FixedDate(start.date(), tuple(members)) for start, members in found.items()]
    if len(dates) not in (2, 3):
        raise ValueError(f"{len(dates)} date(s) given; two (t0 t1) or three (t0 t1 t2) are needed")
    for before, after in itertools.pairwise(dates):
        if before.day >= after.day:
            raise ValueError(f"{after.names[0]} is not after {before.names[0]}; give the names in order of time")
    return dates


def pairs_of(dates: Sequence[FixedDate]) -> list[tuple[FixedDate, FixedDate]]:
    """Neighbouring dates: (t0, t1), and with three dates (t1, t2) too."""
    return list(itertools.pairwise(dates))
