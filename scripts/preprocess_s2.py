"""Turn Sentinel-2 L2A products into reflectance and cloud codes on the grid of the area.

Reads   raw/downloads.lock.json and the products it names; for cloud_mask s2cloudless or fmask the L1C product too
Writes  preprocessed/sentinel2/<product>/B02.tif ...  float32 surface reflectance, 1.0 = 100 %, nodata NaN
        scl.tif    uint8 class 0..11 (nodata 0), 20 m classes repeated
        cloud.tif  uint8: 0 clear, 1 cloud, 2 shadow, 3 snow, 4 defective, nodata 255
        product.json, quicklook.png
Items   one per product; --part i/N
Fails   65 wrong zone, 66 product broken or no L1C product, 70 backend snap or fmask, 72 no product over the area
Example  ./s2cr preprocess_s2 confs/demo.yaml
Example  ./s2cr preprocess_s2 confs/mine.yaml --adopt out/S2A_MSIL2A_....dimap/S2A_MSIL2A_....dim
"""

if not __package__:
    import _direct  # noqa: F401
from typing import TYPE_CHECKING, Any

from scripts._options import adopt, outside_only
from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    from utils.io.safe import SafeProduct
    from utils.science.grid import Grid


@stage("preprocess_s2", options=(adopt, outside_only))
def run(ctx: Context) -> Report:
    from utils.io.download_lock import products_of
    from utils.io.footprint import aoi_geometry, grid_of
    from utils.io.safe import open_product
    from utils.io.safe_l1c import without_auxiliary
    from utils.workflow.errors import ConfigError, NothingFoundError

    snap_results = ctx.extra["adopt"] or ctx.extra["outside_only"]
    if snap_results or ctx.conf.preprocess.engine("s2") == "snap":
        from scripts import _snap_s2

        return _snap_s2.adopt_s2(ctx, ctx.extra["adopt"]) if snap_results else _snap_s2.run_snap_s2(ctx)
    if ctx.conf.area.geojson is None:
        raise ConfigError("area.geojson is not set.", "Set it to a GeoJSON polygon in EPSG:4326.")
    area = aoi_geometry(ctx.resolve(ctx.conf.area.geojson))
    grid = grid_of(area, ctx.conf.area.epsg, ctx.conf.area.pixel_m)
    products = without_auxiliary(products_of(ctx.layout.raw, "S2"))
    for item in ctx.todo(products, unit="product"):
        with item, open_product(products[item.id]) as product:
            _convert(ctx, item, product, grid)
    states = [ctx.status_of(name) for name in products]
    if states and not ctx.partial and set(states) == {"skipped"}:
        raise NothingFoundError(
            f"none of the {len(states)} Sentinel-2 products covers the area.", "Search again: make find_images."
        )
    return ctx.report(summary=f"{grid.rows} x {grid.cols} px, EPSG:{grid.epsg}")


def _convert(ctx: Context, item: Any, product: "SafeProduct", grid: "Grid") -> None:
    """One product; everything that can be refused is refused before the first pixel is read."""
    from scripts import _sentinel2 as steps
    from scripts._cloud_mask import layer_of
    from utils.io import safe_s2

    meta = safe_s2.metadata(product)
    safe_s2.check_grid(meta, grid)
    bands = steps.bands_of(ctx.conf)
    with item.steps("verify"):
        product.verify(safe_s2.members_of(meta, bands), ctx.conf.preprocess.verify)
    share = safe_s2.grid_overlap(meta, grid)
    if share == 0 or share < ctx.conf.preprocess.min_overlap:
        item.skip(f"outside: the tile covers {100 * share:.1f} % of the area")
    with item.steps("detector"):
        layer = layer_of(ctx, item, meta, grid)
    steps.convert(ctx, item, product, meta, grid, layer)


if __name__ == "__main__":
    run()
