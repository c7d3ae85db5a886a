"""Land classes of each pair, and where severity goes wrong: by class, slope and aspect.

Reads   landclass.class_raster, of any coordinate system, nearest pixel on the grid of the pair; without one, a
        segmentation of NDVI of t0 stands in (3 x 3 median, k-means)
        a height raster (landclass.dem, else that of preprocessing), for slope and aspect
        maps/<run>/<pair>/severity.tif and that of the true t1; ndvi_t0.tif
Writes  landclass/<pair>/class.tif        COG uint8, nodata 255, colours and class names
        landclass/<pair>/landclass.json   share of each class per tile; P(severity wrong | class) with 95 % intervals
        landclass/<pair>/landclass.png    the classes, to look at
Items   <pair>     Fails  66 class raster without overlap, without a coordinate system or with codes beyond 0..254

Example  ./s2cr landclass confs/demo.yaml
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401
from scripts._stage import Context, Report, stage


@stage("landclass")
def run(ctx: Context) -> Report:
    from scripts import _landclass

    maps = [name.split("/") for name, item in ctx.results("indices").items() if item["status"] == "done"]
    order = [*(run.name for run in ctx.conf.train.runs), "truth", "hidden"]
    pairs = sorted({pair for _, pair in maps})
    for item in ctx.todo(pairs, unit="pair"):
        with item:
            _landclass.make(ctx, item, sorted((run for run, pair in maps if pair == item.id), key=order.index))
    if ctx.partial:
        return ctx.report()
    found = {name: ctx.data_of(name) for name in pairs if ctx.status_of(name) == "done"}
    for name, data in found.items():
        for line in _landclass.table(name, data):
            ctx.log.info("%s", line)
    sources = sorted({data["source"] for data in found.values()})
    return ctx.report(found, ", ".join(sources))
