"""Parts of the stage find_images: options of the command line, the catalogues, settings, the matching."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from scripts._context import Context

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from utils.io.web import Web
    from utils.science.candidates import Settings
    from utils.science.catalogue import Query
    from utils.science.cloud import CloudStats
    from utils.science.grid import Grid
    from utils.science.pairing import Result
    from utils.science.product import Product
    from utils.workflow.schema import Conf

_RANKS = 3  # kept at least when cloud over the area is measured only after the download
_DAY = click.DateTime(["%Y-%m-%d"])
_DIRECTIONS = {"asc": "ascending", "desc": "descending", "ascending": "ascending", "descending": "descending"}

OPTIONS = (
    click.option("--provider", type=click.Choice(["local", "gee", "sara", "cdse", "stac"]), help="Catalogue to ask."),
    click.option("--download-from", type=click.Choice(["local", "sara", "cdse"]), help="Who serves the bytes."),
    click.option("--aoi", type=click.Path(path_type=Path), help="Area as GeoJSON in EPSG:4326."),
    click.option("--t0", nargs=2, type=_DAY, metavar="START END", help="Window before, UTC, without the end day."),
    click.option("--t1", nargs=2, type=_DAY, metavar="START END", help="Window of the date to simulate."),
    click.option("--max-gap-days", type=float, help="Largest distance of Sentinel-1 to Sentinel-2."),
    click.option("--max-cloud-aoi", type=float, help="Largest cloud over the area at t0, percent."),
    click.option("--max-cloud-tile", type=float, help="Prefilter on the tile's figure, percent; 100 = off."),
    click.option("--coverage", type=float, help="Share of the area to be covered, 0..1."),
    click.option("--orbit", type=int, help="Only this relative orbit."),
    click.option("--pass", "direction", type=click.Choice(list(_DIRECTIONS)), help="Only this direction."),
    click.option("--pols", metavar="VV,VH", help="Required polarisations."),
    click.option("--s2-level", type=click.Choice(["L2A", "L1C"]), help="Level of the Sentinel-2 products."),
    click.option("--s2-t0", multiple=True, metavar="NAME", help="Fix a Sentinel-2 product at t0; may be repeated."),
    click.option("--s2-t1", multiple=True, metavar="NAME", help="Fix a Sentinel-2 product at t1; may be repeated."),
    click.option("--exact-names", is_flag=True, help="Refuse a reprocessed product in place of a fixed name."),
    click.option("--rank-by", type=click.Choice(["gap", "cloud"]), help="First ranking term."),
    click.option("--offline", is_flag=True, help="Refuse any network access."),
    click.option("--explain", is_flag=True, help="Print one line for every refused candidate."),
    click.option("--map", "as_map", is_flag=True, help="Print the path of search/search.html, the page to look at."),
    click.option("--json", "as_json", is_flag=True, help="Print pairs.json itself."),
)
_KEYS = ("provider", "download_from", "max_gap_days", "max_cloud_aoi", "max_cloud_tile", "coverage", "orbit", "s2_level",
         "rank_by", "limit")  # fmt: skip


def overrides(values: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration keys that options of the command line replace; --limit is the number of ranked pairs here."""
    out = {f"search.{key}": values[key] for key in _KEYS if values.get(key) is not None}
    if values["aoi"] is not None:
        out["area.geojson"] = str(values["aoi"].resolve())
    for date in ("t0", "t1"):
        if values[date]:
            out |= {f"dates.{date}.{end}": day.date() for end, day in zip(("start", "end"), values[date], strict=True)}
        if values[f"s2_{date}"]:
            out[f"search.s2_{date}"] = tuple(values[f"s2_{date}"])
    if values["direction"]:
        out["search.direction"] = _DIRECTIONS[values["direction"]]
    if values["pols"]:
        out["search.pols"] = tuple(text.strip().upper() for text in values["pols"].split(","))
    if values["exact_names"]:
        out["search.exact_names"] = True
    return out


@dataclass(frozen=True)
class Answer:
    """What a catalogue gave.

    cloud       statistics over the area of the products of one date, None where it is known only after the download
    method      how that was measured;  unreadable: file or item -> reason
    """

    products: tuple[Product, ...]
    cloud: Callable[[Sequence[Product]], CloudStats | None] = lambda products: None
    method: Callable[[Sequence[Product]], str] = lambda products: ""
    unreadable: Mapping[str, str] = field(default_factory=dict)


def catalogue(ctx: Context, settings: Settings, area: BaseGeometry, grid: Grid) -> Answer:
    """Ask the provider of the configuration: the one place where providers differ.

    raises  ConfigError, InputError, NetworkError, CredentialError
    """
    from utils.io import cdse, sara, stac

    conf, ends = ctx.conf.search, ctx.conf.search.endpoints
    if conf.provider == "local":
        return _local(ctx, area, grid)
    if conf.provider == "gee":
        return _gee(ctx, settings, area)
    provider, address = {
        "sara": (sara, ends.sara),
        "cdse": (cdse, ends.cdse_catalogue),
        "stac": (stac, ends.stac),
    }[conf.provider]
    return _online(ctx, provider, address, settings, area)


def _local(ctx: Context, area: BaseGeometry, grid: Grid) -> Answer:
    """A folder, or a static catalogue; cloud over the area from the scene classes of the products themselves."""
    from utils.io import footprint, local, safe_s2
    from utils.science.cloud import scl_statistics
    from utils.workflow.errors import ConfigError

    if not ctx.conf.search.archive:
        raise ConfigError(
            "search.archive is not set; provider local searches that folder.",
            "Set it, or choose another search.provider.",
        )
    archive = ctx.resolve(ctx.conf.search.archive)
    found = local.search(archive, None if ctx.options.dry_run else ctx.layout.search / "local_index.json")
    coarse = safe_s2.coarse_grid(grid)
    inside = footprint.inside_mask(area, coarse)
    return Answer(
        found.products,
        lambda products: scl_statistics(local.read_scl(products, coarse), inside),
        lambda _: "scl",
        found.unreadable,
    )


def _gee(ctx: Context, settings: Settings, area: BaseGeometry) -> Answer:
    """Earth Engine: names and cloud over the area; the bytes come from search.download_from."""
    from utils.io import gee
    from utils.workflow.errors import NetworkError

    conf = ctx.conf.search
    if ctx.extra["offline"]:
        raise NetworkError("Earth Engine: not asked, --offline is set.", "Leave --offline out, or use provider local.")
    gee.start(conf.gee_project, conf.endpoints.gee)
    scenes = gee.search_scenes(list(queries(settings, area, ctx.conf)), conf.cloud_method)
    for index in scenes.unnamed:
        ctx.warn(f"{index}: Earth Engine tells no product name, left out")
    return Answer(scenes.products, scenes.cloud, scenes.method)


def _online(ctx: Context, provider: ModuleType, address: str, settings: Settings, area: BaseGeometry) -> Answer:
    """A catalogue that knows footprints and tile figures, no pixels."""
    from shapely.geometry import mapping

    client = web(bool(ctx.extra["offline"]))
    found: dict[str, Product] = {}
    for query in queries(settings, area, ctx.conf):
        before = len(found)
        found |= {product.name: product for product in provider.search(query, client, address)}
        ctx.log.info("%s: %d products of %s from %s to %s", ctx.conf.search.provider, len(found) - before, query.mission,
                     f"{query.start:%Y-%m-%d}", f"{query.end:%Y-%m-%d}")  # fmt: skip
    for name in _unresolved(settings, found):
        version = provider.find_version(name, client, address, mapping(area))
        if version is not None:
            found[version.name] = version
    return Answer(tuple(found.values()))


def web(offline: bool) -> Web:
    """The client of all catalogues. S2CR_TRIES sets how often a silent service is asked (10)."""
    from utils.io.web import Web

    text = os.environ.get("S2CR_TRIES", "")
    return Web(offline=offline, tries=int(text) if text.isdigit() and int(text) else 10)


def _unresolved(settings: Settings, found: Mapping[str, Product]) -> list[str]:
    """Fixed names of which neither the product nor another version was found by time and area."""
    from utils.io.answers import same_granule
    from utils.science.product import parse_name

    names = [parse_name(name) for name in (*settings.s2_t0, *settings.s2_t1)]
    return [wanted.name for wanted in names if not any(same_granule(product, wanted) for product in found.values())]


def queries(settings: Settings, area: BaseGeometry, conf: Conf) -> Iterator[Query]:
    """Questions to an online catalogue.

    Sentinel-2 in each window, or in the second of each fixed name; Sentinel-1 in each window widened by the largest gap,
    over the area grown by the edge margin. Windows that touch are asked as one.
    """
    from shapely.geometry import mapping

    from utils.science.catalogue import Query
    from utils.science.product import parse_name

    own = mapping(area)
    for names, window, limit in ((settings.s2_t0, settings.t0, settings.max_cloud_aoi),
                                 (settings.s2_t1, settings.t1, settings.max_cloud_aoi_t1)):  # fmt: skip
        if names:
            for start in sorted({parse_name(name).start for name in names}):
                yield Query("S2", own, start, start + dt.timedelta(seconds=1), settings.s2_level)
            continue
        # the figure of the whole tile may not be stricter than the limit over the area
        cloud = max(settings.max_cloud_tile, limit)
        yield Query("S2", own, *window, settings.s2_level, None if cloud >= 100 else cloud)
    gap = settings.max_gap
    (begin, end), last = (settings.t0[0] - gap, settings.t0[1] + gap), (settings.t1[0] - gap, settings.t1[1] + gap)
    windows = [(begin, last[1])] if last[0] <= end else [(begin, end), last]
    for window in windows:
        yield Query("S1", mapping(_grown(area, conf.search.edge_margin_m)), *window)


def _grown(area: BaseGeometry, margin_m: float) -> BaseGeometry:
    """Convex hull of an area in degrees, grown by at least margin_m."""
    import math

    latitude = min(max(abs(area.bounds[1]), abs(area.bounds[3])), 85.0)
    return area.convex_hull.buffer(margin_m / (111_000 * math.cos(math.radians(latitude))), join_style="mitre")


def settings_of(conf: Conf, epsg: int, area_km2: float) -> Settings:
    """Settings of the matching. Where cloud over the area is known only after the download, more ranks are kept.

    raises  ConfigError for a fixed name that is no Sentinel-2 product name
    """
    from utils.science.candidates import Settings

    def window(dates: Any) -> tuple[dt.datetime, dt.datetime]:
        start, end = (dt.datetime.combine(day, dt.time(), dt.UTC) for day in (dates.start, dates.end))
        return start, end

    names = ("max_gap_days", "max_cloud_aoi", "max_cloud_aoi_t1", "max_cloud_tile", "coverage", "orbit", "direction",
             "pols", "s2_level", "rank_by", "limit", "s2_t0", "s2_t1", "same_platform", "exact_names")  # fmt: skip
    values = {name: getattr(conf.search, name) for name in names}
    _check_names(conf)
    if conf.search.provider in ("sara", "cdse", "stac"):
        values["limit"] = max(values["limit"], _RANKS)
    return Settings(window(conf.dates.t0), window(conf.dates.t1), epsg, area_km2=area_km2, **values)


def _check_names(conf: Conf) -> None:
    from utils.science.product import NameError_, parse_name
    from utils.workflow.errors import ConfigError

    for key in ("s2_t0", "s2_t1"):
        for name in getattr(conf.search, key):
            try:
                optical = parse_name(name).mission == "S2"
            except NameError_:
                optical = False
            if not optical:
                raise ConfigError(f"search.{key}: {name!r} is no Sentinel-2 product name.", "Correct the name.")


def match(ctx: Context, answer: Answer, settings: Settings, area: BaseGeometry) -> Result:
    """Pairs of the products found."""
    from utils.io import footprint
    from utils.science import pairing
    from utils.workflow.errors import ConfigError

    s1 = footprint.Coverage(area, settings.epsg, ctx.conf.search.edge_margin_m, footprint.SLICE_SEAM_M)
    try:
        return pairing.find_pairs(
            answer.products, settings, s1_coverage=s1, s2_coverage=footprint.Coverage(area, settings.epsg),
            overlap=footprint.overlap_share, cloud=answer.cloud, missing=s1.missing_side,
        )  # fmt: skip
    except (LookupError, ValueError) as error:
        where = f"not in the catalogue of {ctx.conf.search.provider}"
        raise ConfigError(
            f"search.s2_t0/s2_t1: {error}: {where}.", "Correct the name, or take another version."
        ) from error
