"""Cloud over the area in fetched Sentinel-2 products, for pairs whose catalogue could not measure it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scripts._stage import Context
from utils.workflow.errors import NothingFoundError

if TYPE_CHECKING:
    from scripts._download import Wanted
    from utils.science.cloud import CloudStats

Pair = dict[str, Any]


def unmeasured(ctx: Context, pair: Pair) -> list[str]:
    """Dates of a pair whose cloud is to be measured: date1, date2. Products fixed by name are taken as they are."""
    fixed = {"date1": ctx.conf.search.s2_t0, "date2": ctx.conf.search.s2_t1}
    if not ctx.conf.download.recheck_cloud or ctx.conf.search.s2_level != "L2A":  # only L2A has scene classes
        return []
    return [date for date in ("date1", "date2") if pair[date]["s2"].get("cloud_aoi") is None and not fixed[date]]


def settle(
    ctx: Context, pairs: Sequence[Pair], count: int, fetch: Callable[[Pair], Mapping[str, Wanted]]
) -> list[Pair]:
    """The first `count` pairs, in order of rank, that are clear enough.

    fetch   brings the Sentinel-2 products of a pair and returns them
    raises  NothingFoundError naming the clearest pair that was refused
    """
    kept: list[Pair] = []
    refused: list[tuple[float, str]] = []
    for pair in sorted(pairs, key=lambda one: int(one["rank"])):
        if len(kept) == count:
            break
        dates = unmeasured(ctx, pair)
        problem = _problem(ctx, pair, dates, fetch(pair)) if dates else None
        if problem is None:
            kept.append(pair)
            continue
        refused.append(problem)
        ctx.warn(f"{pair['id']}, rank {pair['rank']}: refused, {problem[1]}")
    if not kept:
        raise NothingFoundError(
            f"No pair is clear enough over the area; the nearest: {min(refused)[1]}.",
            "Raise search.max_cloud_aoi or search.max_cloud_aoi_t1, or widen dates, and run make find_images again.",
        )
    return kept


def _problem(ctx: Context, pair: Pair, dates: Sequence[str], wanted: Mapping[str, Wanted]) -> tuple[float, str] | None:
    """How far a pair exceeds its limits and a sentence about it; None when it is clear, or was not fetched whole."""
    search = ctx.conf.search
    limits = {"date1": search.max_cloud_aoi, "date2": search.max_cloud_aoi_t1}
    for date in dates:
        names = pair[date]["s2"]["products"]
        if any(ctx.status_of(name) != "done" for name in names):
            return None  # its failure is recorded and reported
        stats = _statistics(ctx, [wanted[name] for name in names])
        ctx.log.info("%s %s: cloud_aoi %.2f %%, valid_aoi %.4f", pair["id"], date, stats.cloud_aoi, stats.valid_aoi)
        if stats.cloud_aoi > limits[date]:
            text = f"R_CLOUD at {date}: cloud_aoi {stats.cloud_aoi:.2f} > {limits[date]:.2f} %"
            return stats.cloud_aoi - limits[date], text
        if stats.valid_aoi < search.coverage:
            text = f"R_NODATA at {date}: valid_aoi {stats.valid_aoi:.4f} < {search.coverage:.4f}"
            return 100.0 * (search.coverage - stats.valid_aoi), text
    return None


def _statistics(ctx: Context, wanted: Sequence[Wanted]) -> CloudStats:
    from utils.io import footprint, local, safe_s2
    from utils.science.cloud import scl_statistics
    from utils.science.product import parse_name

    area = footprint.aoi_geometry(ctx.resolve(str(ctx.conf.area.geojson)))
    coarse = safe_s2.coarse_grid(footprint.grid_of(area, ctx.conf.area.epsg, ctx.conf.area.pixel_m))
    products = [replace(parse_name(one.name), path=str(one.target)) for one in wanted]
    return scl_statistics(local.read_scl(products, coarse), footprint.inside_mask(area, coarse))
