"""Find the clear Sentinel-2 scene at t0, the scene at t1 and the closest Sentinel-1 passes of one track.

Reads   search.provider: a folder of SAFE products or a static STAC catalogue (search.archive), or an online catalogue;
        area.geojson. Options replace keys of the configuration for this call.
Writes  search/pairs.json     ranked pairs with everything that download needs
        search/rejected.jsonl every refused product with code, measured value and limit
        search/search.html    footprints, timeline of candidates, ranks and refusals; also when nothing was found
Items   none    Fails  65 area, dates or names, 66 archive, 67 network, 72 no pair (names the nearest miss), 76 login
Example  ./s2cr find_images confs/demo.yaml
Example  ./s2cr find_images confs/demo.yaml --explain
Example  ./s2cr find_images confs/demo.yaml --map
Example  ./s2cr find_images CONF --provider cdse --t0 2019-10-30 2019-11-10 --pass desc
"""

if not __package__:
    import _direct  # noqa: F401
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts import _search
from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from utils.science.pairing import Result


@stage("find_images", options=_search.OPTIONS, overrides=_search.overrides,
       always=lambda extra: bool(extra["explain"] or extra["as_json"] or extra["as_map"]))  # fmt: skip
def run(ctx: Context) -> Report:
    from utils.io import footprint
    from utils.science import pair_document, pairing
    from utils.workflow.errors import NothingFoundError
    from utils.workflow.files import atomic_json

    path = _area_path(ctx)
    area = footprint.aoi_geometry(path)
    grid = footprint.grid_of(area, ctx.conf.area.epsg, ctx.conf.area.pixel_m)
    facts = _area_facts(path, area, grid.epsg)
    settings = _search.settings_of(ctx.conf, grid.epsg, facts["area_km2"])
    answer = _search.catalogue(ctx, settings, area, grid)
    result = _search.match(ctx, answer, settings, area)
    rejected = _rejections(ctx, result, answer)
    conf = ctx.conf.search
    document = pair_document.document(result, settings, facts, conf.provider, conf.download_from, answer.method)
    nearest = None if result.pairs else pairing.nearest_miss(result, settings)
    _page(ctx, document, rejected, answer, nearest)
    if nearest is not None:
        raise NothingFoundError(f"No pair among {len(answer.products)} products: {nearest[0]}", nearest[1])
    for pair in document["pairs"]:
        for warning in pair["warnings"]:
            ctx.warn(f"{pair['id']}: {warning}")
        ctx.log.info("%s", _line(pair))
    if not ctx.options.dry_run:
        atomic_json(ctx.output(ctx.layout.pairs_json), document)
    if ctx.extra["as_json"]:
        click.echo(json.dumps(document, indent=1, sort_keys=True))
    best = document["pairs"][0]
    gaps = "/".join(f"{best[date]['s1']['gap_s'] / 86400:.1f}" for date in ("date1", "date2"))
    return ctx.report(
        {"pairs": len(document["pairs"]), "products": len(answer.products), "rejected": len(rejected)},
        f"{len(document['pairs'])} pair(s); {best['date1']['id']} and {best['date2']['id']}, gaps {gaps} days; {len(rejected)} refused",
    )


def _area_path(ctx: Context) -> Path:
    from utils.workflow.errors import ConfigError

    if not ctx.conf.area.geojson:
        raise ConfigError("area.geojson is not set.", "Set it in the configuration; ./s2cr conf explain describes it.")
    return ctx.resolve(ctx.conf.area.geojson)


def _line(pair: dict[str, Any]) -> str:
    """One pair of the table."""
    gaps = " / ".join(f"{pair[date]['s1']['gap_s'] / 86400:.2f}" for date in ("date1", "date2"))
    clouds = [pair[date]["s2"]["cloud_aoi"] for date in ("date1", "date2")]
    told = " / ".join("not measured" if cloud is None else f"{cloud:.2f} %" for cloud in clouds)
    track = f"track {pair['track']['relative_orbit']} {pair['track']['direction'].lower()}"
    tiles = "+".join(f"T{tile}" for tile in pair["date1"]["s2"]["tiles"])
    return (
        f"{pair['id']}  {pair['date1']['id']} {pair['date2']['id']}  {tiles}  {track}  gaps {gaps} days  cloud {told}"
    )


def _rejections(ctx: Context, result: "Result", answer: _search.Answer) -> list[dict[str, Any]]:
    """Write rejected.jsonl, and with --explain print it as lines; returns them."""
    from utils.workflow.files import atomic_bytes

    refused = [rejection.to_json() for rejection in result.rejections]
    refused += [{"kind": "file", "id": name, "code": "R_UNREADABLE", "text": why}
                for name, why in sorted(answer.unreadable.items())]  # fmt: skip
    if answer.unreadable:
        first = min(answer.unreadable)
        ctx.warn(f"{len(answer.unreadable)} file(s) of the archive left out; {answer.unreadable[first]}")
    if ctx.extra["explain"]:
        for rejection in result.rejections:
            click.echo(rejection.line(), err=True)
        for name, why in sorted(answer.unreadable.items()):
            click.echo(f"-- file     {name}  R_UNREADABLE   {why}", err=True)
    if not ctx.options.dry_run:
        lines = [json.dumps(record, sort_keys=True) for record in refused]
        atomic_bytes(ctx.output(ctx.layout.search / "rejected.jsonl"), ("\n".join(lines) + "\n").encode())
    return refused


def _page(ctx: Context, document: dict[str, Any], refused: list[dict[str, Any]], answer: _search.Answer,
          nearest: tuple[str, str] | None) -> None:  # fmt: skip
    """search.html: what the search found and refused, to look at."""
    from utils.io import search_map
    from utils.workflow.files import atomic_bytes

    if ctx.options.dry_run:
        return
    mark = "synthetic data" if ctx.conf.report.synthetic else ""
    page = search_map.page(document, refused, answer.products, nearest=nearest, mark=mark)
    path = ctx.layout.search / "search.html"
    atomic_bytes(ctx.output(path), page)
    if ctx.extra["as_map"]:
        click.echo(path)


def _area_facts(path: Path, area: "BaseGeometry", epsg: int) -> dict[str, Any]:
    from shapely.geometry import mapping

    from utils.io.footprint import to_utm
    from utils.workflow.files import sha256_file

    geometry = json.loads(json.dumps(mapping(area)))
    km2 = round(to_utm(area, epsg).area / 1e6, 6)
    return {"sha256": sha256_file(path), "area_km2": km2, "work_epsg": epsg, "geometry": geometry}


if __name__ == "__main__":
    run()
