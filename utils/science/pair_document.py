"""The content of search/pairs.json, schema s2cr.pairs/1. Pure: dictionaries of plain values, no times of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from utils.science.candidates import Pass, Settings
from utils.science.pairing import Pair, Result, date_ids
from utils.science.product import Product, iso
from utils.science.scenes import Scene

SCHEMA = "s2cr.pairs/1"
Method = Callable[[Sequence[Product]], str]


def document(result: Result, settings: Settings, area: Mapping[str, Any], provider: str, download_from: str | None = None,
             method: Method = lambda _: "scl") -> dict[str, Any]:  # fmt: skip
    """Everything that later stages need to know about the pairs.

    area           facts of the area: sha256, area_km2, work_epsg, geometry
    download_from  who serves the bytes; None = the provider
    method         how cloud over the area was measured for these products of one date
    """
    pairs = [_pair(pair, number, ids, settings, method) for number, (pair, ids) in
             enumerate(zip(result.pairs, date_ids(result.pairs), strict=True), start=1)]  # fmt: skip
    used = {p.name: p for pair in result.pairs for p in _products(pair)}
    return {
        "schema": SCHEMA,
        "provider": {"search": provider, "download": download_from or provider},
        "aoi": dict(area),
        "settings": {
            "t0": [iso(time) for time in settings.t0],
            "t1": [iso(time) for time in settings.t1],
            "max_gap_days": settings.max_gap_days,
            "max_cloud_aoi": settings.max_cloud_aoi,
            "max_cloud_aoi_t1": settings.max_cloud_aoi_t1,
            "coverage": settings.coverage,
            "pols": list(settings.pols),
            "rank_by": settings.rank_by,
            "same_platform": settings.same_platform,
        },
        "tiles": list(result.tiles),
        "pairs": pairs,
        "products": {name: product_record(product) for name, product in sorted(used.items())},
    }


def _products(pair: Pair) -> tuple[Product, ...]:
    return (*pair.scene0.products, *pair.scene1.products, *pair.pass0.products, *pair.pass1.products)


def product_record(product: Product) -> dict[str, Any]:
    """JSON form of a product; the place in the archive is kept as file name, or as path below a static catalogue, so
    that no machine path is stored."""
    record = product.to_json()
    path = record.pop("path")
    if path:
        record["href"] = record["href"] or path.rpartition("/")[2]
    record["substitutes"] = record["substitutes"] or None
    return record


def _pair(pair: Pair, number: int, ids: tuple[str, str], settings: Settings, method: Method) -> dict[str, Any]:
    used = [method(scene.products) if scene.cloud else "" for scene in (pair.scene0, pair.scene1)]
    cost = pair.cost(settings.rank_by, settings.same_platform)
    orbit, direction = pair.pass0.track
    return {
        "id": f"p{number:03d}",
        "site": "aoi",
        "rank": number,
        "track": {"relative_orbit": orbit, "direction": direction},
        "date1": {"id": ids[0], "s1": _pass(pair.pass0, pair.gap0_s), "s2": _scene(pair.scene0, used[0])},
        "date2": {"id": ids[1], "s1": _pass(pair.pass1, pair.gap1_s), "s2": _scene(pair.scene1, used[1])},
        "cost": list(cost),
        "warnings": sorted({*pair.warnings(), *_mixed(used)}),
    }


def _mixed(methods: Sequence[str]) -> list[str]:
    """One warning when the cloud of the two dates was not measured in one way; none when it was measured at neither."""
    if len({name for text in methods for name in text.split("+")}) == 1:
        return []
    words = " and ".join(f"{name or 'not measured'} at t{number}" for number, name in enumerate(methods))
    return [f"W_METHOD: cloud over the area is by {words}"]


def _pass(one: Pass, gap_s: float) -> dict[str, Any]:
    first = one.products[0]
    return {
        "products": [product.name for product in one.products],
        "start": iso(first.start),
        "platform": first.platform,
        "absolute_orbit": first.absolute_orbit,
        "relative_orbit": first.relative_orbit,
        "direction": first.direction,
        "coverage": round(one.coverage, 6),
        "gap_s": round(gap_s, 3),
    }


def _scene(scene: Scene, method: str) -> dict[str, Any]:
    first, stats = scene.products[0], scene.cloud
    return {
        "products": [product.name for product in scene.products],
        "tiles": list(scene.tiles),
        "start": iso(first.start),
        "platform": first.platform,
        "relative_orbit": first.relative_orbit,
        "cloud_aoi": stats.cloud_aoi if stats else None,
        "shadow_aoi": stats.shadow_aoi if stats else None,
        "valid_aoi": stats.valid_aoi if stats else None,
        "cloud_method": method or None,
    }
