"""Pairs of dates: the clear Sentinel-2 scene at t0, the scene at t1, and the closest Sentinel-1 passes of one track.

Both passes lie on the same track. Another incidence angle and look direction changes backscatter by itself, and a
network would learn that as change on the ground.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from utils.science.candidates import Coverage, Log, Pass, Rejection, Settings, make_passes
from utils.science.product import Product, iso
from utils.science.scenes import Cloud, Overlap, Scene, choose_tiles, make_scenes, select_s2

_CYCLE = dt.timedelta(days=12)
_CYCLE_TOLERANCE_S = 60.0
_OFFSET_BASELINE = "0400"  # digital numbers carry an offset from here on
Cost = tuple[Any, ...]


@dataclass(frozen=True)
class Pair:
    """One pair; gaps in seconds between Sentinel-2 and Sentinel-1 at either date."""

    scene0: Scene
    scene1: Scene
    pass0: Pass
    pass1: Pass
    gap0_s: float
    gap1_s: float

    def cost(self, rank_by: str = "gap", same_platform: str = "prefer") -> Cost:
        """Ranking key, compared from the left; smaller is better.

        (larger gap s, sum of gaps s, cloud t0 + t1 %, platforms differ, S2 orbits differ, names); rank_by="cloud"
        moves the third term to the front; same_platform="any" takes the platforms for equal.
        """
        gaps = (max(self.gap0_s, self.gap1_s), self.gap0_s + self.gap1_s)
        cloud = round(self.scene0.cloud_aoi + self.scene1.cloud_aoi, 4)
        rest = (
            int(self.pass0.platform != self.pass1.platform and same_platform != "any"),
            int(self.scene0.products[0].relative_orbit != self.scene1.products[0].relative_orbit),
            " ".join(p.name for part in (self.scene0, self.scene1, self.pass0, self.pass1) for p in part.products),
        )
        return (cloud, *gaps, *rest) if rank_by == "cloud" else (*gaps, cloud, *rest)

    def warnings(self) -> list[str]:
        """W_ lines: what may make the two dates differ although the ground did not."""
        found = [
            w for part in (self.scene0, self.scene1, self.pass0, self.pass1) for p in part.products for w in p.warnings
        ]
        if self.pass0.platform != self.pass1.platform:
            found.append(f"W_PLATFORM: {self.pass0.platform} at t0, {self.pass1.platform} at t1")
        else:
            rest_s = (self.pass1.start - self.pass0.start) % _CYCLE / dt.timedelta(seconds=1)
            off_s = min(rest_s, _CYCLE.total_seconds() - rest_s)
            if off_s > _CYCLE_TOLERANCE_S:
                found.append(f"W_ORBIT: passes of one track are {off_s:.0f} s off a multiple of 12 days")
        baselines = {p.baseline >= _OFFSET_BASELINE for scene in (self.scene0, self.scene1) for p in scene.products}
        if len(baselines) == 2:
            found.append("W_BASELINE: one date has baseline 04.00 or later, the other an older one")
        return sorted(set(found))


@dataclass(frozen=True)
class Result:
    """Ranked pairs and everything that was refused."""

    pairs: tuple[Pair, ...]
    rejections: tuple[Rejection, ...]
    scenes0: tuple[Scene, ...]
    scenes1: tuple[Scene, ...]
    passes: tuple[Pass, ...]
    tiles: tuple[str, ...]


def find_pairs(
    products: Iterable[Product],
    settings: Settings,
    *,
    s1_coverage: Coverage,
    s2_coverage: Coverage,
    overlap: Overlap,
    cloud: Cloud,
    missing: Callable[[Sequence[Product]], str] = lambda _: "",
) -> Result:
    """Match a catalogue. The result does not depend on the order of `products`.

    s1_coverage  over the area grown by the edge margin, footprints grown over slice seams
    s2_coverage  over the area itself
    cloud        statistics over the area, or None when they cannot be measured before download
    raises       LookupError for a configured product name that is not in the catalogue
    """
    catalogue = sorted(products, key=lambda p: p.name)
    log = Log()
    s2 = [p for p in catalogue if p.mission == "S2"]
    for product in s2:
        in_windows = any(w[0] <= product.start < w[1] for w in (settings.t0, settings.t1))
        if not in_windows and product.name not in (*settings.s2_t0, *settings.s2_t1):
            log.add(product, "R_DATE", iso(product.start))
    chosen = {date: select_s2(s2, settings, s2_coverage, overlap, log, date) for date in ("t0", "t1")}
    tiles = choose_tiles(chosen["t0"], chosen["t1"], s2_coverage, settings.coverage)
    scenes = {d: make_scenes(chosen[d], tiles, settings, s2_coverage, cloud, log, d) for d in ("t0", "t1")}
    passes = make_passes((p for p in catalogue if p.mission == "S1"), settings, s1_coverage, log, missing)
    pairs = _combine(scenes["t0"], scenes["t1"], passes, settings)
    _explain_passes(scenes["t0"], scenes["t1"], passes, settings, log)
    rejections = sorted(log.items, key=lambda r: (r.date, r.start, r.kind, r.id, r.code))
    return Result(tuple(pairs), tuple(rejections), tuple(scenes["t0"]), tuple(scenes["t1"]), tuple(passes), tiles)


def _gap_s(one: Pass, scene: Scene) -> float:
    return abs((one.start - scene.start).total_seconds())


def _nearest(passes: Sequence[Pass], scene: Scene, settings: Settings) -> list[Pass]:
    """The pass closest in time within the limit; several when they are equally close, and one of each platform when
    both dates must have the same: the closest of all may have no partner."""
    within = [(_gap_s(p, scene), p) for p in passes if _gap_s(p, scene) <= settings.max_gap.total_seconds()]
    each = settings.same_platform == "require"
    best: dict[str, float] = {}
    for gap, p in within:
        key = p.platform if each else ""
        best[key] = min(gap, best.get(key, gap))
    return [p for gap, p in within if gap == best[p.platform if each else ""]]


def _combine(
    scenes0: Sequence[Scene], scenes1: Sequence[Scene], passes: Sequence[Pass], settings: Settings
) -> list[Pair]:
    pairs = []
    for track in sorted({p.track for p in passes}):
        own = [p for p in passes if p.track == track]
        near0 = [(scene, _nearest(own, scene, settings)) for scene in scenes0]
        near1 = [(scene, _nearest(own, scene, settings)) for scene in scenes1]
        pairs += [
            Pair(s0, s1, p0, p1, _gap_s(p0, s0), _gap_s(p1, s1))
            for s0, passes0 in near0
            for s1, passes1 in near1
            for p0 in passes0
            for p1 in passes1
            if s0.start < s1.start
            and p0.start < p1.start
            and (settings.same_platform != "require" or p0.platform == p1.platform)
        ]
    return sorted(pairs, key=lambda pair: pair.cost(settings.rank_by, settings.same_platform))[: settings.limit]


def _explain_passes(
    scenes0: Sequence[Scene], scenes1: Sequence[Scene], passes: Sequence[Pass], settings: Settings, log: Log
) -> None:
    """Why a covering pass serves no date, or its track only one."""
    limit_s = settings.max_gap.total_seconds()

    def serves(one: Pass, scenes: Sequence[Scene]) -> bool:
        return any(_gap_s(one, scene) <= limit_s for scene in scenes)

    served = {d: {p.track for p in passes if serves(p, s)} for d, s in (("t0", scenes0), ("t1", scenes1))}
    for one in passes:
        for date, scenes, other in (("t0", scenes0, "t1"), ("t1", scenes1, "t0")):
            if serves(one, scenes) and scenes and one.track not in served[other]:
                text = f"no covering pass of this track within {settings.max_gap_days:g} days of {other}"
                track = f"{one.track[0]} {one.track[1].lower()}"
                log.items.append(Rejection("S1 pass", one.id, one.start, "R_TRACK", track, None, text, date))
        if not serves(one, scenes0) and not serves(one, scenes1):
            every = [*scenes0, *scenes1]
            days = min((_gap_s(one, scene) for scene in every), default=0.0) / 86400
            value = round(days, 2) if every else None
            text = (
                f"{days:.2f} days from the nearest scene > {settings.max_gap_days:g}" if every else "no scene to serve"
            )
            log.items.append(Rejection("S1 pass", one.id, one.start, "R_GAP", value, settings.max_gap_days, text))


_REMEDY = {
    "R_CLOUD": "Raise search.max_cloud_aoi to {value}, or widen the dates.",
    "R_COVERAGE": "Lower search.coverage to {value}, or widen the dates.",
    "R_NODATA": "Lower search.coverage to {value}, or widen the dates.",
    "R_GAP": "Raise search.max_gap_days to {value}, or widen the dates.",
    "R_TRACK": "Widen dates.t0 or dates.t1 so that one track serves both dates.",
    "R_POL": "Ask for fewer polarisations in search.pols.",
    "R_OFFLINE": "Order the product in the workspace of its archive, or widen the dates.",
}
_WIDEN = "Widen the dates, or add products to the archive that is searched; --explain lists every refusal."


def nearest_miss(result: Result, settings: Settings) -> tuple[str, str]:
    """(what came closest, remedy) for the error "nothing found"."""
    stage, kind = _what_is_missing(result)
    dates = {"t0": ("t0",), "t1": ("t1",)}.get(stage, ("t0", "t1", ""))
    wanted = [r for r in result.rejections if r.kind in kind and r.date in dates and r.code in _REMEDY]
    wanted = [r for r in wanted if not (r.code == "R_COVERAGE" and r.value == 0.0)]
    if not wanted:
        return _no_candidate(result, settings, stage)
    best = min(wanted, key=_distance)
    return f"nearest miss for {stage}: {best.line()}.", _REMEDY[best.code].format(value=_rounded(best))


def _no_candidate(result: Result, settings: Settings, stage: str) -> tuple[str, str]:
    """For a window without candidates: its products lie elsewhere, or the closest product lies outside the window."""
    said = f"no candidate for {stage} over the area in this window"
    elsewhere = sorted({r.id for r in result.rejections if r.code == "R_COVERAGE" and r.value == 0.0})
    early = [(_days_outside(r.start, settings, stage), r.id) for r in result.rejections if r.code == "R_DATE"]
    if elsewhere:
        return f"{said}; {len(elsewhere)} outside the area, such as {elsewhere[0]}.", f"Check area.geojson. {_WIDEN}"
    if early and stage in ("t0", "t1"):
        days, name = min(early)
        return f"{said}; nearest miss: {name}, {days:.1f} days outside.", _WIDEN
    return f"{said}.", _WIDEN


def _days_outside(start: dt.datetime, settings: Settings, stage: str) -> float:
    first, end = settings.t1 if stage == "t1" else settings.t0
    return max((first - start).total_seconds(), (start - end).total_seconds(), 0.0) / 86400


def _what_is_missing(result: Result) -> tuple[str, tuple[str, ...]]:
    if not result.scenes0:
        return "t0", ("S2 scene", "product")
    if not result.scenes1:
        return "t1", ("S2 scene", "product")
    return "Sentinel-1", ("S1 pass", "product") if not result.passes else ("S1 pass",)


def _distance(rejection: Rejection) -> tuple[float, str]:
    """How far the measured value lies beyond its limit, relative to the limit; words count as far."""
    if isinstance(rejection.value, int | float) and isinstance(rejection.limit, int | float):
        return abs(rejection.value - rejection.limit) / max(abs(rejection.limit), 1e-6), rejection.id
    return 1e6, rejection.id


def _rounded(rejection: Rejection) -> str:
    """The limit that would have accepted it, rounded to the generous side."""
    value = rejection.value
    if not isinstance(value, int | float):
        return str(value)
    if rejection.code in ("R_COVERAGE", "R_NODATA"):
        return f"{int(value * 1000) / 1000:g}"
    return f"{int(value * 10 + 1) / 10:g}"


def date_ids(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    """(date1 id, date2 id) of each pair: the S2 sensing date, with the track when another pass serves the same date."""
    known: dict[tuple[str, ...], str] = {}
    taken: set[str] = set()

    def name(scene: Scene, one: Pass) -> str:
        key = tuple(p.name for p in (*scene.products, *one.products))
        if key not in known:
            text = f"{scene.start:%Y%m%d}"
            for candidate in (text, f"{text}-t{one.track[0]}", *(f"{text}-t{one.track[0]}-{n}" for n in range(2, 100))):
                if candidate not in taken:
                    known[key] = candidate
                    taken.add(candidate)
                    break
        return known[key]

    return [(name(pair.scene0, pair.pass0), name(pair.scene1, pair.pass1)) for pair in pairs]
