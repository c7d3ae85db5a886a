"""Burned area and severity from the index differences, in hectares with 95 % intervals.

Reads   maps/<run>/<pair>/{dndvi,dnbr}.tif; mosaic/<run>/<pair>/{sigma,composite,prediction}.tif where the run has a sigma;
        the true t1 on test samples (maps/hidden or maps/truth), prediction and sigma of validation samples
Writes  maps/<run>/<pair>/burned.tif     COG uint8 1 burned, 0 not, 255 nodata; one band an index (DNDVI, DNBR)
        maps/<run>/<pair>/severity.tif   COG uint8 class codes by burned.dndvi_edges, burned.dnbr_edges; 255 nodata
        maps/<run>/<pair>/severity_{dndvi,dnbr}.tif   the same codes, one band with colours and class names
        maps/<run>/<pair>/{burned,severity_dndvi,severity_dnbr}.qml   QGIS styles
        maps/<run>/<pair>/severity_probability.tif    COG uint8 per cent: burned, likeliest class; and that class
        maps/<run>/<pair>/areas.json, severity.png    hectares with intervals; the maps with them, to look at
Items   as indices     Fails  66 sigma of another grid, 72 neither NDVI nor NBR was mapped, or no pixel has data
How the intervals are made and read: docs/burned.md

Example  ./s2cr burned confs/demo.yaml
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401

from scripts._stage import Context, Report, stage


@stage("burned")
def run(ctx: Context) -> Report:
    from scripts import _burned
    from utils.workflow.errors import NothingFoundError

    done = [name for name, item in ctx.results("indices").items() if item["status"] == "done"]
    for item in ctx.todo(done, unit="map"):
        with item:
            _burned.make(ctx, item)
    if ctx.partial:
        return ctx.report()
    found = {name: ctx.data_of(name) for name in done if ctx.status_of(name) == "done"}
    if done and not found and all(ctx.status_of(name) == "skipped" for name in done):
        raise NothingFoundError(f"No burned map: {ctx.reason_of(done[0])}.", _burned.REMEDY)
    for line in _burned.table(found):
        ctx.log.info("%s", line)
    return ctx.report(found, _burned.summary(ctx, found))
