"""Show the area: WKT, UTM zone, target grid, footprints of the chosen products, a map; for use in other programs.

Reads   area.geojson (EPSG:4326); search/pairs.json and search/rejected.jsonl when they are there
Writes  search/area/area.geojson      merged area, EPSG:4326     search/area/area.wkt  the same as WKT
        search/area/area_utm.geojson  the area in metres         search/area/grid.json grid, zone, size in km2
        search/area/tiles.geojson     outlines of the tiles of section tiling, in metres
        search/area/{s2,s1}_{date1,date2}, intersection; each .geojson (EPSG:4326), _utm.geojson and .wkt
        search/area/area.png          the map                    search/area/area.html the search to look at
Example  ./s2cr area confs/demo.yaml
Example  ./s2cr area confs/demo.yaml --thumbnails
"""

if not __package__:
    import _direct  # noqa: F401
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts._options import CONF
from scripts._stage import guarded

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from utils.io.area_layers import Layer
    from utils.science.grid import Grid
    from utils.workflow.schema import Conf

_LINES = (__doc__ or "").split("\nExample")
_HELP = _LINES[0].replace("\n\n", "\n\n\b\n", 1)
_EXAMPLES = "\b\nExample:\n  ./s2cr area confs/demo.yaml\n  ./s2cr area confs/demo.yaml --thumbnails"


@click.command("area", help=_HELP, epilog=_EXAMPLES)
@CONF
@click.option("--rank", type=click.IntRange(min=1), default=1, show_default=True, help="Pair whose footprints to show.")
@click.option("--thumbnails", is_flag=True, help="Also fetch small pictures of the chosen scenes from Earth Engine.")
def run(conf: Path, rank: int, thumbnails: bool) -> None:
    from utils.io import area_layers, footprint, search_map
    from utils.workflow import config
    from utils.workflow.errors import ConfigError
    from utils.workflow.files import atomic_bytes

    with guarded("area") as log:
        c = config.load(conf)
        if c.area.geojson is None:
            raise ConfigError(f"{conf}: area.geojson is not set.", "Set it to a GeoJSON polygon in EPSG:4326.")
        path = config.resolve(c, c.area.geojson)
        area = footprint.aoi_geometry(path)
        grid = footprint.grid_of(area, c.area.epsg, c.area.pixel_m)
        search = config.layout_of(c).search
        found = search_map.load(search)
        note = _stale(c) if found.document else ""
        if note:
            log.warning(note)
        _write_area(c, area, grid, search / "area", log)
        layers = _layers(found.document, area, grid.epsg, rank)
        written = [p for layer in layers for p in area_layers.write(search / "area", layer, grid.epsg)]
        area_layers.remove_other(search / "area", written)
        atomic_bytes(search / "area" / "area.png", _map(c, area, grid, layers))
        pictures = _thumbnails(c, found, area, search / "area", rank) if thumbnails else []
        document = found.document or _without_pairs(c, area, grid.epsg)
        mark = "synthetic" if c.report.synthetic else ""
        page = search_map.page(document, found.rejections, found.products, mark=mark, note=note, pictures=pictures)
        atomic_bytes(search / "area" / "area.html", page)
        _judge(layers, found.document, area, grid.epsg, log)
        click.echo(footprint.geometry_wkt(area))


def _stale(c: "Conf") -> str:
    """Pairs of an earlier area or earlier dates are still shown, but not without a word; empty when they are current."""
    from utils.workflow import config, freshness

    name = "import_data" if c.source == "import" else "find_images"
    state = freshness.state(c, config.layout_of(c), name)
    return "" if state.fresh else f"search/pairs.json is not of this configuration ({state.reason}); run {name} again."


def _write_area(c: "Conf", area: "BaseGeometry", grid: "Grid", folder: Path, log: logging.Logger) -> None:
    from utils.io import area_layers, footprint
    from utils.io.area_layers import Feature, Layer
    from utils.workflow.files import atomic_json

    in_utm = footprint.to_utm(area, grid.epsg)
    tiles: dict[str, Any] = {}
    if c.tiling.size_px <= min(grid.shape):
        tiles = footprint.tile_outlines(grid, c.tiling.size_px, c.tiling.overlap_px)
    outlines = [Feature(outline, outline, {"id": name}) for name, outline in tiles.items()]
    area_layers.write(folder, Layer("area", (Feature(area, in_utm, {}),)), grid.epsg)
    atomic_json(folder / "tiles.geojson", area_layers.collection(outlines, grid.epsg))
    km2 = round(in_utm.area / 1e6, 6)
    facts = {"grid": grid.to_dict(), "epsg": grid.epsg, "area_km2": km2, "tiles": len(tiles)}
    atomic_json(folder / "grid.json", facts)
    log.info(
        "EPSG:%d, %d x %d px of %g m, %.2f km2, %d tiles", grid.epsg, grid.rows, grid.cols, grid.dx, km2, len(tiles)
    )


def _layers(document: dict[str, Any] | None, area: "BaseGeometry", epsg: int, rank: int) -> list["Layer"]:
    from utils.io import area_layers
    from utils.workflow.errors import UsageError

    if document is None or not document["pairs"]:
        return []
    try:
        return area_layers.layers_of(document, area, epsg, rank)
    except LookupError as error:
        raise UsageError(f"search/pairs.json: {error}.", "Give a smaller --rank, or raise search.limit.") from error


def _map(c: "Conf", area: "BaseGeometry", grid: "Grid", layers: list["Layer"]) -> bytes:
    from utils.io import area_layers, maps

    title = "Area of interest" + (" and the chosen products" if layers else "")
    synthetic = "Synthetic data. " if c.report.synthetic else ""
    note = f"{synthetic}Graticule in degrees, WGS 84 (EPSG:4326); scale bars hold at the middle latitude."
    return maps.png(area_layers.outlines(layers, area, grid), title, note)


def _without_pairs(c: "Conf", area: "BaseGeometry", epsg: int) -> dict[str, Any]:
    """What the page needs before a search, or after one that found nothing."""
    from shapely.geometry import mapping

    def window(dates: Any) -> list[str] | None:
        return [f"{day}T00:00:00Z" for day in (dates.start, dates.end)] if dates.start and dates.end else None

    s = c.search
    return {
        "aoi": {"geometry": json.loads(json.dumps(mapping(area))), "work_epsg": epsg},
        "settings": {"t0": window(c.dates.t0), "t1": window(c.dates.t1), "max_gap_days": s.max_gap_days,
                     "max_cloud_aoi": s.max_cloud_aoi, "max_cloud_aoi_t1": s.max_cloud_aoi_t1, "coverage": s.coverage,
                     "pols": list(s.pols), "rank_by": s.rank_by},
        "pairs": [], "products": {}, "provider": {"search": s.provider},
    }  # fmt: skip


def _thumbnails(c: "Conf", found: Any, area: "BaseGeometry", folder: Path, rank: int) -> list[tuple[str, bytes]]:
    """Small pictures of the chosen Sentinel-2 scenes over the area, kept beside the map."""
    from shapely.geometry import mapping

    from utils.workflow.errors import CredentialError, InputError

    if found.document is None or not found.document["pairs"]:
        raise InputError("There is no search/pairs.json to take scenes from.", "Run find_images first.")
    try:
        from utils.io import gee  # type: ignore[attr-defined, unused-ignore]

        fetch = gee.thumbnails
    except (ImportError, AttributeError) as error:
        raise CredentialError(
            "Thumbnails come from Earth Engine, whose client is not available here.",
            "Install earthengine-api and log in with: earthengine authenticate; or leave --thumbnails out.",
        ) from error
    pair = next(p for p in found.document["pairs"] if p["rank"] == rank)
    names = [name for date in ("date1", "date2") for name in pair[date]["s2"]["products"]]
    url = c.search.endpoints.gee
    paths: list[Path] = fetch(names, mapping(area), folder, project=c.search.gee_project, url=url)
    return [(path.stem, path.read_bytes()) for path in paths]


def _judge(layers: list["Layer"], document: dict[str, Any] | None, area: "BaseGeometry", epsg: int,
           log: logging.Logger) -> None:  # fmt: skip
    """How much of the area the chosen products cover; everything is written by now.

    raises  NothingFoundError when the area lies outside a footprint
    """
    from utils.io import area_layers
    from utils.workflow.errors import NothingFoundError

    if document is None or not layers:
        return
    shares = {f.properties["date"]: f.properties["share_of_area"] for f in layers[-1].features}
    for layer in layers[:-1]:
        products = [document["products"][feature.properties["id"]] for feature in layer.features]
        away_km = min(area_layers.distance_km(area, product, epsg) for product in products)
        if away_km > 0:
            raise NothingFoundError(
                f"The area lies outside {layer.features[0].properties['id']}, {away_km:.0f} km from its edge.",
                "Correct area.geojson, or search again: ./s2cr find_images.",
            )
    log.info("tiles and passes cover %.2f %% of the area at t0, %.2f %% at t1, %.2f %% at both",
             *(100 * shares[name] for name in ("date1", "date2", "both")))  # fmt: skip


if __name__ == "__main__":
    run()
