"""From catalogue products to Sentinel-1 passes: filters, duplicates, slices, coverage. Pure.

Geometry arrives as a function: coverage(products) -> share of the area, 0..1. Every refusal is a Rejection with
measured value and limit.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from utils.science.product import Product, iso

Coverage = Callable[[Sequence[Product]], float]
Window = tuple[dt.datetime, dt.datetime]

_ADDS_NOTHING = 1e-6  # share of the area
_MANY = 8  # slices of a pass over one area; beyond this the choice is greedy


@dataclass(frozen=True)
class Settings:
    """Search settings; windows are half-open, UTC. cloud limits in percent, coverage as a fraction."""

    t0: Window
    t1: Window
    epsg: int
    max_gap_days: float = 6.0
    max_cloud_aoi: float = 1.0
    max_cloud_aoi_t1: float = 100.0
    max_cloud_tile: float = 80.0
    coverage: float = 0.999
    orbit: int | None = None
    direction: str | None = None
    pols: tuple[str, ...] = ("VV", "VH")
    s2_level: str = "L2A"
    rank_by: str = "gap"
    limit: int = 1
    s2_t0: tuple[str, ...] = ()
    s2_t1: tuple[str, ...] = ()
    same_platform: str = "prefer"  # prefer, require, any
    exact_names: bool = False  # refuse a reprocessed product in place of a fixed name
    area_km2: float = 0.0  # 0 = not known

    @property
    def max_gap(self) -> dt.timedelta:
        return dt.timedelta(days=self.max_gap_days)


@dataclass(frozen=True)
class Rejection:
    """One refused candidate: what, when, code (R_...), measured value, limit, words."""

    kind: str
    id: str
    start: dt.datetime
    code: str
    value: float | str | None = None
    limit: float | str | None = None
    text: str = ""
    date: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "start": iso(self.start)}

    def line(self) -> str:
        """One line for --explain."""
        words = self.text or (f"{self.value} against {self.limit}" if self.limit is not None else str(self.value or ""))
        return f"{self.date or '--'} {self.kind:8} {self.start:%Y-%m-%d %H:%M:%S} {self.id}  {self.code:14} {words}".rstrip()


@dataclass(frozen=True)
class Pass:
    """All slices of one overpass of Sentinel-1 that the area needs. coverage 0..1 of the grown area."""

    products: tuple[Product, ...]
    coverage: float

    @property
    def start(self) -> dt.datetime:
        return self.products[0].start

    @property
    def platform(self) -> str:
        return self.products[0].platform

    @property
    def track(self) -> tuple[int, str]:
        """(relative orbit, direction)."""
        return self.products[0].relative_orbit, self.products[0].direction

    @property
    def id(self) -> str:
        first = self.products[0]
        return (
            f"{first.platform} {first.absolute_orbit or 0:06d} track {self.track[0]} {self.track[1].lower()[:4] or '?'}"
        )


@dataclass
class Log:
    """Rejections collected while candidates are made."""

    items: list[Rejection] = field(default_factory=list)

    def add(
        self, product: Product, code: str, value: Any = None, limit: Any = None, text: str = "", date: str = ""
    ) -> None:
        self.items.append(Rejection("product", product.name, product.start, code, value, limit, text, date))


def inside(time: dt.datetime, window: Window) -> bool:
    return window[0] <= time < window[1]


def _s1_refusal(p: Product, s: Settings) -> tuple[str, Any, Any]:
    """(code, value, limit), or an empty code for an acceptable Sentinel-1 product."""
    gap = s.max_gap
    if not any(inside(p.start, (window[0] - gap, window[1] + gap)) for window in (s.t0, s.t1)):
        return "R_DATE", iso(p.start), None
    if p.mode != "IW":
        return "R_MODE", p.mode, "IW"
    if p.type != "GRDH":
        return "R_TYPE", p.type, "GRDH"
    if p.cog:
        return "R_COG_VARIANT", "_COG", None
    if not set(s.pols) <= set(p.pols):
        return "R_POL", "+".join(p.pols), "+".join(s.pols)
    if not p.relative_orbit or not p.direction:
        return "R_ORBIT_UNKNOWN", p.platform, None
    if s.orbit is not None and p.relative_orbit != s.orbit:
        return "R_TRACK", p.relative_orbit, s.orbit
    if s.direction is not None and p.direction.lower() != s.direction.lower():
        return "R_TRACK", p.direction.lower(), s.direction.lower()
    if not p.online:
        return "R_OFFLINE", "archived", "online"
    return "", None, None


def _newest(products: Iterable[Product], log: Log) -> list[Product]:
    """Of Sentinel-1 products that differ in the last hex group only, the last processed, then the greater name."""
    groups: dict[str, list[Product]] = {}
    for product in products:
        groups.setdefault(product.name[:62], []).append(product)
    kept = []
    for group in groups.values():
        best = max(group, key=lambda p: (p.generated, p.name))
        kept.append(best)
        for product in group:
            if product is not best:
                log.add(product, "R_DUPLICATE", product.generated or product.name[-4:], best.name, f"kept {best.name}")
    return kept


def make_passes(products: Iterable[Product], settings: Settings, coverage: Coverage, log: Log,
                missing: Callable[[Sequence[Product]], str] = lambda _: "") -> list[Pass]:  # fmt: skip
    """Covering passes in order of time; the rest goes to `log`.

    coverage  share of the grown area that the products cover together
    missing   words for the uncovered side, for messages only
    """
    good = []
    for product in products:
        code, value, limit = _s1_refusal(product, settings)
        if code:
            log.add(product, code, value, limit)
        elif coverage([product]) <= 0:
            log.add(product, "R_COVERAGE", 0.0, settings.coverage, "outside the area")
        else:
            good.append(product)
    groups: dict[tuple[Any, ...], list[Product]] = {}
    for product in _newest(good, log):
        key = (product.platform, product.absolute_orbit, product.direction, product.mode, product.pols)
        groups.setdefault(key, []).append(product)
    passes = []
    for group in groups.values():
        slices = sorted(_numbered(group, settings, coverage, log), key=lambda p: (p.start, p.name))
        chosen, share = _fewest(slices, coverage)
        candidate = Pass(tuple(chosen), share)
        if share >= settings.coverage:
            passes.append(candidate)
        else:
            side = missing(chosen)
            text = f"{share:.4f} < {settings.coverage:.4f}, {len(chosen)} slice(s)" + (
                f", missing side: {side}" if side else ""
            )
            log.items.append(
                Rejection(
                    "S1 pass", candidate.id, candidate.start, "R_COVERAGE", round(share, 4), settings.coverage, text
                )
            )
    return sorted(passes, key=lambda p: (p.start, p.id))


def _numbered(group: list[Product], settings: Settings, coverage: Coverage, log: Log) -> list[Product]:
    """Slices numbered 0 come from near-real-time slicing with other start times: never mixed with numbered ones."""
    unnumbered = [p for p in group if p.slice == 0]
    numbered = [p for p in group if p.slice != 0]
    if not unnumbered or not numbered:
        return group
    keep, drop = (numbered, unnumbered) if coverage(numbered) >= settings.coverage else (unnumbered, numbered)
    if keep is unnumbered and coverage(unnumbered) < coverage(numbered):
        keep, drop = numbered, unnumbered
    for product in drop:
        log.add(product, "R_NRT_SLICE", product.slice, None, "not mixed with the other slicing of this pass")
    return keep


def _fewest(slices: Sequence[Product], coverage: Coverage) -> tuple[list[Product], float]:
    """The fewest slices that cover as much as all together; among equals the earliest."""
    full = coverage(slices)
    if len(slices) <= _MANY:
        for count in range(1, len(slices)):
            for chosen in itertools.combinations(slices, count):
                share = coverage(chosen)
                if share >= full - _ADDS_NOTHING:
                    return list(chosen), share
        return list(slices), full
    kept = list(slices)
    for product in reversed(slices):
        rest = [p for p in kept if p is not product]
        if coverage(rest) >= full - _ADDS_NOTHING:
            kept = rest
    return kept, coverage(kept)
