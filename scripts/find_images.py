"""Find the clear Sentinel-2 scene at t0, the scene at t1 and the closest Sentinel-1 passes of one track.

Reads   search.archive: a folder of SAFE products (zips or folders); area.geojson
Writes  search/pairs.json     ranked pairs with everything that download needs
        search/rejected.jsonl every refused product with code, measured value and limit
Items   none                                    Fails  65 area or dates, 66 archive, 72 no pair (names the nearest miss)
Example  ./s2cr find_images confs/demo.yaml
Example  ./s2cr find_images confs/demo.yaml --explain
"""

if not __package__:
    import _direct  # noqa: F401
import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from utils.io.local import Catalogue
    from utils.science.candidates import Settings
    from utils.science.cloud import CloudStats
    from utils.science.grid import Grid
    from utils.science.pairing import Result
    from utils.science.product import Product

_OPTIONS = (
    click.option("--explain", is_flag=True, help="Print one line for every refused candidate."),
    click.option("--json", "as_json", is_flag=True, help="Print pairs.json itself."),
)


@stage("find_images", options=_OPTIONS, always=lambda extra: bool(extra["explain"] or extra["as_json"]))
def run(ctx: Context) -> Report:
    from utils.io import footprint, local
    from utils.science import pair_document, pairing
    from utils.workflow.errors import NothingFoundError
    from utils.workflow.files import atomic_bytes, atomic_json

    path, archive = _paths(ctx)
    area = footprint.aoi_geometry(path)
    grid = footprint.grid_of(area, ctx.conf.area.epsg, ctx.conf.area.pixel_m)
    catalogue = local.search(archive, None if ctx.options.dry_run else ctx.layout.search / "local_index.json")
    settings = _settings(ctx, grid.epsg)
    result = _match(ctx, catalogue, settings, area, grid)
    lines = [json.dumps(r.to_json(), sort_keys=True) for r in result.rejections]
    lines += [json.dumps({"kind": "file", "id": name, "code": "R_UNREADABLE", "text": why}, sort_keys=True)
              for name, why in sorted(catalogue.unreadable.items())]  # fmt: skip
    if catalogue.unreadable:
        first = min(catalogue.unreadable)
        ctx.warn(f"{len(catalogue.unreadable)} file(s) of the archive left out; {catalogue.unreadable[first]}")
    if ctx.extra["explain"]:
        _explain(result, catalogue)
    if not ctx.options.dry_run:
        atomic_bytes(ctx.output(ctx.layout.search / "rejected.jsonl"), ("\n".join(lines) + "\n").encode())
    if not result.pairs:
        said, remedy = pairing.nearest_miss(result, settings)
        raise NothingFoundError(f"No pair among {len(catalogue.products)} products: {said}", remedy)
    facts = _area_facts(path, area, grid.epsg)
    document = pair_document.document(result, settings, facts, ctx.conf.search.provider)
    for pair in document["pairs"]:
        for warning in pair["warnings"]:
            ctx.warn(f"{pair['id']}: {warning}")
    if not ctx.options.dry_run:
        atomic_json(ctx.output(ctx.layout.pairs_json), document)
    if ctx.extra["as_json"]:
        click.echo(json.dumps(document, indent=1, sort_keys=True))
    best = document["pairs"][0]
    gaps = "/".join(f"{best[date]['s1']['gap_s'] / 86400:.1f}" for date in ("date1", "date2"))
    return ctx.report(
        {"pairs": len(document["pairs"]), "products": len(catalogue.products), "rejected": len(lines)},
        f"{len(document['pairs'])} pair(s); {best['date1']['id']} and {best['date2']['id']}, gaps {gaps} days; {len(lines)} refused",
    )


def _paths(ctx: Context) -> tuple[Path, Path]:
    from utils.workflow.errors import ConfigError

    geojson, archive = ctx.conf.area.geojson, ctx.conf.search.archive
    if not geojson or not archive:
        name = "search.archive" if geojson else "area.geojson"
        raise ConfigError(f"{name} is not set.", "Set it in the configuration; ./s2cr conf explain describes it.")
    return ctx.resolve(geojson), ctx.resolve(archive)


def _settings(ctx: Context, epsg: int) -> "Settings":
    from utils.science.candidates import Settings

    def window(dates: Any) -> tuple[dt.datetime, dt.datetime]:
        start, end = (dt.datetime.combine(day, dt.time(), dt.UTC) for day in (dates.start, dates.end))
        return start, end

    c = ctx.conf.search
    names = ("max_gap_days", "max_cloud_aoi", "max_cloud_aoi_t1", "max_cloud_tile", "coverage", "orbit", "direction",
             "pols", "rank_by", "limit", "s2_t0", "s2_t1")  # fmt: skip
    values = {name: getattr(c, name) for name in names}
    return Settings(window(ctx.conf.dates.t0), window(ctx.conf.dates.t1), epsg, **values)


def _match(ctx: Context, catalogue: "Catalogue", settings: "Settings", area: "BaseGeometry", grid: "Grid") -> "Result":
    from utils.io import footprint, local, safe_s2
    from utils.science import pairing
    from utils.science.cloud import scl_statistics
    from utils.workflow.errors import ConfigError

    coarse = safe_s2.coarse_grid(grid)
    inside = footprint.inside_mask(area, coarse)

    def cloud(products: "Sequence[Product]") -> "CloudStats":
        return scl_statistics(local.read_scl(products, coarse), inside)

    s1 = footprint.Coverage(area, grid.epsg, ctx.conf.search.edge_margin_m, footprint.SLICE_SEAM_M)
    try:
        return pairing.find_pairs(
            catalogue.products, settings, s1_coverage=s1, s2_coverage=footprint.Coverage(area, grid.epsg),
            overlap=footprint.overlap_share, cloud=cloud, missing=s1.missing_side,
        )  # fmt: skip
    except (LookupError, ValueError) as error:
        raise ConfigError(f"search.s2_t0/s2_t1: {error}: not in the archive.", "Correct the name.") from error


def _explain(result: "Result", catalogue: "Catalogue") -> None:
    for rejection in result.rejections:
        click.echo(rejection.line(), err=True)
    for name, why in sorted(catalogue.unreadable.items()):
        click.echo(f"-- file     {name}  R_UNREADABLE   {why}", err=True)


def _area_facts(path: Path, area: "BaseGeometry", epsg: int) -> dict[str, Any]:
    from shapely.geometry import mapping

    from utils.io.footprint import to_utm
    from utils.workflow.files import sha256_file

    geometry = json.loads(json.dumps(mapping(area)))
    km2 = round(to_utm(area, epsg).area / 1e6, 6)
    return {"sha256": sha256_file(path), "area_km2": km2, "work_epsg": epsg, "geometry": geometry}


if __name__ == "__main__":
    run()
