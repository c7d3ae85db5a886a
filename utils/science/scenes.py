"""From catalogue products to Sentinel-2 scenes: versions, the tile set of an area, cloud over the area. Pure.

Geometry and pixels arrive as functions: coverage(products) -> share of the area (0..1), overlap(a, b) -> share of the
smaller footprint, cloud(products) -> statistics over the area or None.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from utils.science.candidates import Coverage, Log, Rejection, Settings, inside
from utils.science.cloud import CloudStats
from utils.science.product import Product, parse_name

Overlap = Callable[[Product, Product], float]
Cloud = Callable[[Sequence[Product]], CloudStats | None]
_TILE_KM2 = 109.8**2
_FOOTPRINT_SLACK = 0.02  # footprints are coarser than pixels: only clear misses are refused without reading SCL


@dataclass(frozen=True)
class Scene:
    """All tiles of one Sentinel-2 datatake over the area, with cloud statistics (None: not measured)."""

    products: tuple[Product, ...]
    cloud: CloudStats | None

    @property
    def start(self) -> dt.datetime:
        return self.products[0].start

    @property
    def tiles(self) -> tuple[str, ...]:
        return tuple(sorted({product.tile for product in self.products}))

    @property
    def cloud_aoi(self) -> float:
        """Percent of the valid pixels over the area; where it was not measured, the catalogue's figure of the tiles."""
        if self.cloud:
            return self.cloud.cloud_aoi
        told = [p.cloud_tile for p in self.products if p.cloud_tile is not None]
        return round(sum(told) / len(told), 4) if told else 0.0

    @property
    def id(self) -> str:
        return f"{self.products[0].platform} R{self.products[0].relative_orbit:03d} T{'+T'.join(self.tiles)}"


def _zone_of_tile(tile: str) -> int:
    return (32600 if tile[2] >= "N" else 32700) + int(tile[:2])


def _s2_refusal(p: Product, s: Settings, date: str) -> tuple[str, Any, Any]:
    if p.type != s.s2_level:
        return "R_TYPE", p.type, s.s2_level
    if _zone_of_tile(p.tile) != s.epsg:
        return "R_TILESET", _zone_of_tile(p.tile), s.epsg
    # the figure of the whole tile may not be stricter than the limit over the area
    limit = max(s.max_cloud_tile, s.max_cloud_aoi if date == "t0" else s.max_cloud_aoi_t1)
    if p.cloud_tile is not None and p.cloud_tile > limit:
        return "R_CLOUD", round(p.cloud_tile, 2), limit
    if not p.online:
        return "R_OFFLINE", "archived", "online"
    return "", None, None


def _versions(products: Iterable[Product], overlap: Overlap, log: Log, date: str) -> list[Product]:
    """Reprocessed copies of one granule: highest baseline, then last generated. Two datastrips are both kept."""
    groups: dict[tuple[Any, ...], list[Product]] = {}
    for product in products:
        groups.setdefault((product.platform, product.start, product.relative_orbit, product.tile), []).append(product)
    kept: list[Product] = []
    for group in groups.values():
        chosen: list[Product] = []
        for product in sorted(group, key=lambda p: (p.baseline, p.generated, p.name), reverse=True):
            newer = next((other for other in chosen if overlap(product, other) > 0.5), None)
            if newer is None:
                chosen.append(product)
            else:
                log.add(product, "R_SUPERSEDED", product.baseline, newer.baseline, f"kept {newer.name}", date)
        kept += chosen
    return kept


def select_s2(products: Iterable[Product], settings: Settings, coverage: Coverage, overlap: Overlap, log: Log,
              date: str) -> list[Product]:  # fmt: skip
    """Sentinel-2 products of one date window (or the configured names) that touch the area, newest versions only.

    raises  LookupError naming a configured product that is not in the catalogue in any version
    """
    names = settings.s2_t0 if date == "t0" else settings.s2_t1
    window = settings.t0 if date == "t0" else settings.t1
    if names:
        return resolve_names(names, list(products), settings.exact_names)
    good = []
    for product in products:
        code, value, limit = _s2_refusal(product, settings, date)
        if not inside(product.start, window):
            code = ""  # reported once by the caller when it is in neither window
        elif code:
            log.add(product, code, value, limit, date=date)
        elif coverage([product]) <= 0:
            log.add(product, "R_COVERAGE", 0.0, settings.coverage, "outside the area", date)
        else:
            good.append(product)
    return _versions(good, overlap, log, date)


def resolve_names(names: Sequence[str], products: Sequence[Product], exact_only: bool = False) -> list[Product]:
    """Products of the given names; a name that was reprocessed away resolves to its newest version with a warning.

    exact_only  refuse such a version
    raises      LookupError naming the product, and the version that was refused
    """
    found = []
    for name in names:
        wanted = parse_name(name)
        exact = [p for p in products if p.name == wanted.name]
        same = [
            p
            for p in products
            if (p.platform, p.type, p.start, p.relative_orbit, p.tile)
            == (wanted.platform, wanted.type, wanted.start, wanted.relative_orbit, wanted.tile)
        ]
        if not exact and not same:
            raise LookupError(name)
        if not exact and exact_only:
            raise LookupError(f"{name} was reprocessed to {max(p.name for p in same)}, which exact names refuse")
        best = exact[0] if exact else max(same, key=lambda p: (p.baseline, p.generated, p.name))
        if not exact:
            warning = f"W_SUBSTITUTE: {best.name} stands for {wanted.name}"
            best = replace(best, substitutes=wanted.name, warnings=(*best.warnings, warning))
        found.append(best)
    return found


def choose_tiles(t0: Sequence[Product], t1: Sequence[Product], coverage: Coverage, limit: float) -> tuple[str, ...]:
    """The tile set for both dates: fewest tiles that cover the area, then most datatakes at the poorer date, then name.

    When no set covers the area, the set of all tiles.
    """
    products = [*t0, *t1]
    tiles = sorted({product.tile for product in products})
    for count in range(1, len(tiles) + 1):
        sets = [
            chosen
            for chosen in itertools.combinations(tiles, count)
            if coverage([p for p in products if p.tile in chosen]) >= limit - _FOOTPRINT_SLACK
        ]
        if sets:
            return min(sets, key=lambda s: (-min(_datatakes(t0, s), _datatakes(t1, s)), s))
    return tuple(tiles)


def _datatakes(products: Sequence[Product], tiles: Sequence[str]) -> int:
    """Number of datatakes that have all of these tiles."""
    found: dict[tuple[Any, ...], set[str]] = {}
    for product in products:
        found.setdefault((product.platform, product.start), set()).add(product.tile)
    return sum(set(tiles) <= have for have in found.values())


def make_scenes(products: Iterable[Product], tiles: Sequence[str], settings: Settings, coverage: Coverage, cloud: Cloud,
                log: Log, date: str) -> list[Scene]:  # fmt: skip
    """Scenes of one date that cover the area with valid pixels and are clear enough, in order of time."""
    groups: dict[tuple[Any, ...], list[Product]] = {}
    for product in products:
        if product.tile in tiles:
            groups.setdefault((product.platform, product.start, product.relative_orbit), []).append(product)
        else:
            log.add(product, "R_TILESET", product.tile, "+".join(tiles), "not in the tile set of this area", date)
    scenes = []
    for group in groups.values():
        members = tuple(sorted(group, key=lambda p: (p.tile, p.name)))
        scene, refusal = _judge(members, settings, coverage, cloud, date)
        if refusal:
            code, value, limit, text = refusal
            log.items.append(Rejection("S2 scene", scene.id, scene.start, code, value, limit, text, date))
        else:
            scenes.append(scene)
    return sorted(scenes, key=lambda s: (s.start, s.id))


def _too_empty(members: tuple[Product, ...], settings: Settings) -> tuple[str, float, float, str] | None:
    """Without pixels: the data of whole tiles, as the catalogue tells them, are less than the area needs."""
    if not settings.area_km2 or any(p.nodata_tile is None for p in members):
        return None
    most = sum((100 - (p.nodata_tile or 0.0)) / 100 * _TILE_KM2 for p in members) / settings.area_km2
    if most >= settings.coverage:
        return None
    told = ", ".join(f"{p.nodata_tile:.2f} % of T{p.tile}" for p in members)
    return "R_NODATA", round(most, 4), settings.coverage, f"no data in {told}: at most {most:.4f} of the area"


def _judge(members: tuple[Product, ...], settings: Settings, coverage: Coverage, cloud: Cloud,
           date: str) -> tuple[Scene, tuple[str, float, float, str] | None]:  # fmt: skip
    need = settings.coverage
    share = coverage(members)
    if share < need - _FOOTPRINT_SLACK:
        return Scene(members, None), ("R_COVERAGE", round(share, 4), need, f"footprint {share:.4f} < {need:.4f}")
    stats = cloud(members)
    scene = Scene(members, stats)
    if stats is None:
        if share < need:
            return scene, ("R_COVERAGE", round(share, 4), need, f"footprint {share:.4f} < {need:.4f}")
        return scene, _too_empty(members, settings)
    if stats.valid_aoi < need:
        return scene, ("R_NODATA", stats.valid_aoi, need, f"valid pixels {stats.valid_aoi:.4f} < {need:.4f}")
    fixed = settings.s2_t0 if date == "t0" else settings.s2_t1
    limit = settings.max_cloud_aoi if date == "t0" else settings.max_cloud_aoi_t1
    if stats.cloud_aoi > limit and not fixed:
        told = next((f" (tile says {p.cloud_tile:.1f} %)" for p in members if p.cloud_tile is not None), "")
        return scene, ("R_CLOUD", stats.cloud_aoi, limit, f"cloud_aoi {stats.cloud_aoi:.2f} > {limit:g} %{told}")
    return scene, None
