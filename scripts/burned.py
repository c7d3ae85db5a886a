"""Burned area and severity from the index differences, in hectares.

Reads   maps/<run>/<pair>/{dndvi,dnbr}.tif
Writes  maps/<run>/<pair>/burned.tif     uint8 1 burned, 0 not, 255 nodata; one band an index (DNDVI, DNBR)
        maps/<run>/<pair>/severity.tif   uint8 class codes by burned.dndvi_edges, burned.dnbr_edges; 255 nodata
Items   as indices

Example  ./s2cr burned confs/demo.yaml
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401
from typing import Any

from scripts._stage import Context, Report, stage


@stage("burned")
def run(ctx: Context) -> Report:
    done = [name for name, item in ctx.results("indices").items() if item["status"] == "done"]
    for item in ctx.todo(done, unit="map"):
        with item:
            _burned(ctx, item)
    return ctx.report({name: ctx.data_of(name) for name in done})


def _burned(ctx: Context, item: Any) -> None:
    import numpy as np

    from utils.io import raster
    from utils.science import severity

    run, pair_id = item.id.split("/")
    conf, folder = ctx.conf.burned, ctx.layout.maps(run, pair_id)
    tables = {"DNDVI": (conf.dndvi_burned, conf.dndvi_edges), "DNBR": (conf.dnbr_burned, conf.dnbr_edges)}
    found = [name for name in tables if (folder / f"{name.lower()}.tif").is_file()]
    if not found:
        item.skip("neither NDVI nor NBR was mapped")
    maps, classes = [], []
    grid = raster.info(folder / f"{found[0].lower()}.tif").grid
    area_m2 = grid.pixel_area_m2()
    for name in found:
        threshold, edges = tables[name]
        change = raster.read(folder / f"{name.lower()}.tif")[0]
        maps.append(severity.burned(change, threshold))
        classes.append(severity.classify(change, severity.check_edges(edges, len(edges) + 1)))
        hectares = severity.area_ha(maps[-1], area_m2, 2)
        item.data[name.lower()] = {
            "burned_ha": round(hectares[1], 4),
            "unburned_ha": round(hectares[0], 4),
            "class_ha": [round(value, 4) for value in severity.area_ha(classes[-1], area_m2, len(edges) + 1)],
        }
    tags = ctx.tags("class", [], PAIR=pair_id, MODEL=run)
    for label, planes in (("burned", maps), ("severity", classes)):
        path = item.output(folder / f"{label}.tif")
        raster.write(path, np.stack(planes), grid, band_names=found, nodata=255, tags=tags)
