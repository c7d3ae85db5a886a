"""Show the area: WKT, UTM zone, target grid; write them for use in other programs.

Reads   area.geojson (EPSG:4326)
Writes  search/area/area.geojson      merged area, EPSG:4326     search/area/area.wkt  the same as WKT
        search/area/area_utm.geojson  the area in metres         search/area/grid.json grid, zone, size in km2
        search/area/tiles.geojson     outlines of the tiles of section tiling, in metres
Example  ./s2cr area confs/demo.yaml
"""

if not __package__:
    import _direct  # noqa: F401
import json
from pathlib import Path
from typing import Any

import click

from scripts._options import CONF
from scripts._stage import guarded


@click.command("area", help=(__doc__ or "").split("\nExample")[0].replace("\n\n", "\n\n\b\n", 1),
               epilog="\b\nExample:\n  ./s2cr area confs/demo.yaml")  # fmt: skip
@CONF
def run(conf: Path) -> None:
    from shapely.geometry import mapping

    from utils.io import footprint
    from utils.workflow import config
    from utils.workflow.errors import ConfigError
    from utils.workflow.files import atomic_json, atomic_text

    with guarded("area") as log:
        c = config.load(conf)
        if c.area.geojson is None:
            raise ConfigError(f"{conf}: area.geojson is not set.", "Set it to a GeoJSON polygon in EPSG:4326.")
        area = footprint.aoi_geometry(config.resolve(c, c.area.geojson))
        grid = footprint.grid_of(area, c.area.epsg, c.area.pixel_m)
        in_utm = footprint.to_utm(area, grid.epsg)
        folder = config.layout_of(c).search / "area"
        tiles: dict[str, Any] = {}
        if c.tiling.size_px <= min(grid.shape):
            tiles = footprint.tile_outlines(grid, c.tiling.size_px, c.tiling.overlap_px)
        wkt = footprint.geometry_wkt(area)
        atomic_text(folder / "area.wkt", wkt + "\n")
        atomic_json(folder / "area.geojson", _features([mapping(area)], None))
        atomic_json(folder / "area_utm.geojson", _features([mapping(in_utm)], grid.epsg))
        atomic_json(folder / "tiles.geojson", _features(list(map(mapping, tiles.values())), grid.epsg, list(tiles)))
        facts = {
            "grid": grid.to_dict(),
            "epsg": grid.epsg,
            "area_km2": round(in_utm.area / 1e6, 6),
            "tiles": len(tiles),
        }
        atomic_json(folder / "grid.json", facts)
        log.info("EPSG:%d, %d x %d px of %g m, %.2f km2, %d tiles", grid.epsg, grid.rows, grid.cols, grid.dx,
                 facts["area_km2"], len(tiles))  # fmt: skip
        click.echo(wkt)


def _features(geometries: list[Any], epsg: int | None, ids: list[str] | None = None) -> dict[str, Any]:
    """A GeoJSON FeatureCollection; the crs member of the 2008 draft, which GIS programs read, where not in degrees."""
    features = [
        {"type": "Feature", "properties": {"id": ids[i]} if ids else {}, "geometry": json.loads(json.dumps(geometry))}
        for i, geometry in enumerate(geometries)
    ]
    out: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if epsg is not None:
        out["crs"] = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{epsg}"}}
    return out


if __name__ == "__main__":
    run()
