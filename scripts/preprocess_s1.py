"""Turn Sentinel-1 IW GRD products into terrain-flattened gamma0 on the grid of the area.

Reads   raw/downloads.lock.json and the products and orbits that it names, the height raster of preprocess.dem
        or the fetched raw/dem/dem.tif
Writes  preprocessed/sentinel1/<product>/gamma0_vv.tif, gamma0_vh.tif  float32 linear power, nodata NaN
        mask.tif  uint8 bits: 1 layover, 2 shadow, 4 no sample, 8 height missing, 16 border noise, 32 no value
        incidence.tif (on request, degrees), product.json, quicklook.png
Items   one per product; --part i/N
Fails   65 heights unclear, 66 product broken, 70 gpt failed (backend snap), 71 some products failed, 72 all outside the area
Example  ./s2cr preprocess_s1 confs/demo.yaml
Example  ./s2cr preprocess_s1 confs/mine.yaml --adopt out/S1A_IW_GRDH_....dimap/S1A_IW_GRDH_....dim
"""

if not __package__:
    import _direct  # noqa: F401
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from scripts._options import adopt, outside_only
from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    from utils.io.safe import SafeProduct
    from utils.science.grid import Grid


@stage("preprocess_s1", options=(adopt, outside_only))
def run(ctx: Context) -> Report:
    from scripts._heights_orbits import height_raster
    from utils.io.download_lock import products_of
    from utils.io.footprint import aoi_grid
    from utils.io.safe import open_product
    from utils.science.threads import use_threads
    from utils.workflow import config
    from utils.workflow.errors import NothingFoundError

    conf = ctx.conf.preprocess
    snap_results = ctx.extra["adopt"] or ctx.extra["outside_only"]
    if snap_results or conf.engine("s1") == "snap":
        from scripts import _snap

        return _snap.adopt_s1(ctx, ctx.extra["adopt"]) if snap_results else _snap.run_snap_s1(ctx)
    height_raster(ctx)  # refused before the first product
    use_threads(conf.threads)
    grid = aoi_grid(ctx.conf.area, config.ROOT, ctx.layout.work, config.scene_dir(ctx.conf))
    paths = products_of(ctx.layout.raw, "S1")
    for item in ctx.todo(paths, unit="product"):
        with item, open_product(paths[item.id]) as product:
            _convert(ctx, item, product, grid)
    if paths and not ctx.partial and {ctx.status_of(name) for name in paths} == {"skipped"}:
        raise NothingFoundError(
            f"none of the {len(paths)} Sentinel-1 products covers the area.",
            "Search again with the right area: make find_images.",
        )
    return ctx.report(summary=f"{grid.rows} x {grid.cols} px, EPSG:{grid.epsg}")


def _convert(ctx: Context, item: Any, product: "SafeProduct", grid: "Grid") -> None:
    """One product, from zip to rasters; they get their names when all of it is computed."""
    from scripts import _sentinel1 as steps
    from utils.io import safe_s1
    from utils.science import s1_chain, s1_run

    conf = ctx.conf.preprocess
    with item.steps("verify"):
        members = safe_s1.require(product, conf.polarisations, conf.verify)
    with item.steps("geometry"):
        notes = {name: safe_s1.read_annotation(product, m.annotation) for name, m in members.items()}
        main, orbit_file = steps.with_orbit(ctx, next(iter(notes.values())))
        geometry = steps.geometry(product, main, conf.srgr_time)
        fine, factor = steps.finer(grid)
        nodes = s1_chain.rough_nodes(geometry, fine)
        share = s1_chain.coverage_share(nodes, geometry)
    if share == 0 or share < conf.min_overlap:
        item.skip(f"outside: the product covers {100 * share:.1f} % of the area")
    with item.steps("heights"):
        ground = steps.ground(ctx, fine, nodes)
    with ExitStack() as stack:
        with item.steps("tables"):
            found = steps.inputs(ctx, stack, product, members, notes)
        with item.steps("facets"):
            plan = s1_chain.plan(geometry, ground.grid, ground.inner, ground, ground.range_m, steps.options(ctx))
        if plan.image_window is None:
            item.skip("outside: no pixel of the product falls on the area")
        run = s1_run.Run(plan, found.channels, found.border, conf.row_block // factor * factor or factor)
        tags = steps.tags(ctx, product, main, orbit_file, ground, found)
        facts = {"coverage": round(share, 6), "orbit_residual_m": round(geometry.orbit.position_residual_m, 6)}
        steps.write(ctx, item, grid, run, found.noise, tags, facts, list(members), factor)


if __name__ == "__main__":
    run()
