"""Turn Sentinel-2 L2A products into reflectance and cloud codes on the grid of the area.

Reads   raw/downloads.lock.json and the products it names
Writes  preprocessed/sentinel2/<product>/B02.tif ...  float32 surface reflectance, 1.0 = 100 %, nodata NaN
        scl.tif    uint8 class 0..11 (nodata 0), 20 m classes repeated
        cloud.tif  uint8: 0 clear, 1 cloud, 2 shadow, 3 snow, 4 defective, nodata 255
        product.json, quicklook.png
Items   one per product; --part i/N             Fails  65 wrong zone, 66 product broken, 72 no product over the area
Example  ./s2cr preprocess_s2 confs/demo.yaml
Example  ./s2cr preprocess_s2 confs/mine.yaml --adopt out/S2A_MSIL2A_....dimap/S2A_MSIL2A_....dim
"""

if not __package__:
    import _direct  # noqa: F401
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts._options import adopt
from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from utils.io.safe import SafeProduct
    from utils.io.safe_s2 import S2Metadata
    from utils.science.grid import Grid, Window

_BLOCK_ROWS = 1024  # memory stays below 1 GiB for a full tile; a multiple of the 512 rows of a GeoTIFF block


@stage("preprocess_s2", options=(adopt,))
def run(ctx: Context) -> Report:
    from utils.io.download_lock import products_of
    from utils.io.footprint import aoi_geometry, grid_of
    from utils.io.safe import open_product
    from utils.workflow.errors import ConfigError, NothingFoundError

    if ctx.extra["adopt"] or ctx.conf.preprocess.engine("s2") == "snap":
        from scripts import _snap_s2

        return _snap_s2.adopt_s2(ctx, ctx.extra["adopt"]) if ctx.extra["adopt"] else _snap_s2.run_snap_s2(ctx)
    if ctx.conf.area.geojson is None:
        raise ConfigError("area.geojson is not set.", "Set it to a GeoJSON polygon in EPSG:4326.")
    area = aoi_geometry(ctx.resolve(ctx.conf.area.geojson))
    grid = grid_of(area, ctx.conf.area.epsg, ctx.conf.area.pixel_m)
    products = products_of(ctx.layout.raw, "S2")
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
    from utils.io import safe_s2
    from utils.workflow.files import atomic_json

    bands = ctx.conf.dataset.optical
    meta = safe_s2.metadata(product)
    safe_s2.check_grid(meta, grid)
    product.verify(safe_s2.members_of(meta, bands), ctx.conf.preprocess.verify)
    share = safe_s2.grid_overlap(meta, grid)
    if share == 0 or share < ctx.conf.preprocess.min_overlap:
        item.skip(f"outside: the tile covers {100 * share:.1f} % of the area")
    folder = ctx.layout.preprocessed("sentinel2", item.id)
    facts: dict[str, Any] = {"overlap": round(share, 6), "bands": {}}
    thin: dict[str, NDArray[np.float32]] = {}
    for band in bands:
        facts["bands"][band], thin[band] = _band(ctx, item.output(folder / f"{band}.tif"), product, meta, band, grid)
    facts["classes"] = _classes(
        ctx, item.output(folder / "scl.tif"), item.output(folder / "cloud.tif"), product, meta, grid
    )
    clear, valid = facts["classes"]["clear"], sum(facts["classes"].values()) - facts["classes"]["none"]
    item.data.update(
        clear=round(clear / valid, 6) if valid else 0.0, baseline=".".join(f"{n:02d}" for n in meta.baseline)
    )
    atomic_json(
        item.output(folder / "product.json"), {**safe_s2.facts(meta), **facts, "grid": grid.to_dict(), "key": ctx.key}
    )
    if ctx.conf.preprocess.quicklook:
        _quicklook(item.output(folder / "quicklook.png"), thin)


def _blocks(grid: "Grid") -> "Iterator[Window]":
    """Full-width row blocks."""
    from utils.science.grid import Window

    for row in range(0, grid.rows, _BLOCK_ROWS):
        yield Window(row, 0, min(_BLOCK_ROWS, grid.rows - row), grid.cols)


def _tags(ctx: Context, meta: "S2Metadata", units: str, offset_dn: int) -> dict[str, str]:
    return ctx.tags(
        units, [meta.name], BACKEND="native", PROCESSING_BASELINE=".".join(f"{n:02d}" for n in meta.baseline), OFFSET_DN=offset_dn,
        QUANTIFICATION=meta.quantification, OFFSET_SOURCE=meta.offset_source, SENSING_TIME=meta.sensing_time, TILE=meta.tile,
    )  # fmt: skip


def _band(ctx: Context, path: Path, product: "SafeProduct", meta: "S2Metadata", band: str,
          grid: "Grid") -> "tuple[dict[str, int], NDArray[np.float32]]":  # fmt: skip
    """Write one band; returns counts of native pixels and a thinned copy for the quicklook."""
    import numpy as np

    from utils.io import raster, safe_s2
    from utils.science.reflectance import bilinear_2x, to_reflectance

    offset_dn, native = meta.offset_dn(band), meta.resolution_m(band)
    counts = {"nodata": 0, "saturated": 0, "clipped": 0}
    step = max(1, -(-max(grid.shape) // 800))
    thin = []
    with raster.writer(path, grid, 1, "float32", band_names=(band,), nodata=np.nan,
                       tags=_tags(ctx, meta, "reflectance", offset_dn)) as out:  # fmt: skip
        for window in _blocks(grid):
            fine = grid.window(window)
            own = fine if native == 10 else safe_s2.coarse_grid(fine, margin_px=1)
            dn = safe_s2.read_dn(product, meta, band, own)
            rho = to_reflectance(dn, offset_dn, meta.quantification, meta.nodata_dn, meta.saturated_dn)
            values = rho.values if native == 10 else bilinear_2x(rho.values)
            out.write(values[None], window.row, 0)
            for name in counts:
                counts[name] += getattr(rho, name)
            thin.append(values[-window.row % step :: step, ::step])
    return counts, np.concatenate(thin)


def _classes(ctx: Context, scl_path: Path, cloud_path: Path, product: "SafeProduct", meta: "S2Metadata",
             grid: "Grid") -> dict[str, int]:  # fmt: skip
    """Write scene classes and cloud codes; clouds outside the area grow into it. Returns pixel counts by code."""
    import math

    import numpy as np

    from utils.io import raster, safe_s2
    from utils.science import reflectance

    dilate_m = ctx.conf.preprocess.cloud_dilate_m
    margin = math.ceil(dilate_m / 20)  # in 20 m pixels
    counts = np.zeros(256, np.int64)
    with ExitStack() as stack:
        scl_out = stack.enter_context(raster.writer(scl_path, grid, 1, "uint8", band_names=("SCL",), nodata=0,
                                                    tags=_tags(ctx, meta, "class", 0)))  # fmt: skip
        cloud_out = stack.enter_context(raster.writer(cloud_path, grid, 1, "uint8", band_names=("CLOUD",), nodata=255,
                                                      tags=_tags(ctx, meta, "code", 0) | {"DILATED_M": f"{dilate_m:g}"}))  # fmt: skip
        for window in _blocks(grid):
            coarse = safe_s2.coarse_grid(grid.window(window), margin)
            scl = reflectance.nearest_2x(safe_s2.read_dn(product, meta, "SCL", coarse).astype(np.uint8))
            inner = (slice(2 * margin, 2 * margin + window.rows), slice(2 * margin, 2 * margin + window.cols))
            codes = reflectance.cloud_codes(scl, dilate_m, grid.dx)[inner]
            scl_out.write(scl[inner][None], window.row, 0)
            cloud_out.write(codes[None], window.row, 0)
            counts += np.bincount(codes.ravel(), minlength=256)
    names = {"clear": 0, "cloud": 1, "shadow": 2, "snow": 3, "defective": 4, "none": 255}
    return {name: int(counts[code]) for name, code in names.items()}


def _quicklook(path: Path, thin: "dict[str, NDArray[np.float32]]") -> None:
    """True colour where the bands are there, else the first band in grey."""
    from utils.io import pictures
    from utils.workflow.files import atomic_bytes

    first = next(iter(thin))
    bands = thin if {"B04", "B03", "B02"} <= set(thin) else dict.fromkeys(("B04", "B03", "B02"), thin[first])
    atomic_bytes(path, pictures.png_bytes(pictures.true_colour(bands)))


if __name__ == "__main__":
    run()
