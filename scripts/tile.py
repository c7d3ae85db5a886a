"""Cut the preprocessed rasters of every date into square tiles on one grid.

Reads   preprocessed/<sensor>/<product>/*.tif, search/pairs.json
Writes  tiles/<date>/sentinel1/r0003_c0012.tif  float32 VV, VH: gamma0 linear power, nodata NaN
        tiles/<date>/sentinel2/...  float32 reflectance, bands as in section dataset, nodata NaN
        tiles/<date>/mask/...  uint8 CLOUD code, SAR bits;  tiles/<date>/grid.json  windows and valid windows
        tiles/<date>/vrt/{VV,VH,B04,...}.vrt  every band over the products of the date; sentinel1.vrt, sentinel2.vrt
        the bands stacked, to look at: GDAL and QGIS open them, and they survive a move of the work directory
Items   one per date and tile; --part i/N       Fails  65 tile larger than the grid, 66 raster missing or on another grid
Example  ./s2cr tile confs/demo.yaml
"""

if not __package__:
    import _direct  # noqa: F401
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    from utils.io.acquisitions import Acquisition
    from utils.io.cutter import DateRasters
    from utils.science.grid import Grid, Tile


@stage("tile")
def run(ctx: Context) -> Report:
    from scripts._dates import load_dates
    from utils.io.cutter import DateRasters
    from utils.workflow.files import atomic_json

    dates = load_dates(ctx.conf, ctx.layout, ctx.conf.preprocess.sar_folder)
    count = 0
    # the three files of a tile wait for the disk together, not in turn
    for name, date in sorted(dates.items()):
        with (
            DateRasters(ctx.layout.preprocessed_root, date, ctx.conf.dataset.optical) as rasters,
            ThreadPoolExecutor(3) as pool,
        ):
            grid, tiles = rasters.grid, _tiles(ctx, rasters.grid)
            by_id = {f"{name}/{tile.id}": tile for tile in tiles}
            for item in ctx.todo(by_id, unit="tile"):
                with item:
                    _write(ctx, item, rasters, date, by_id[item.id], pool)
        count += len(tiles)
        if not ctx.options.part and not ctx.partial:
            atomic_json(ctx.output(ctx.layout.tiles(name) / "grid.json"), _grid_json(ctx, grid, tiles))
            _virtual(ctx, date)
    size = ctx.conf.tiling.size_px
    return ctx.report(metrics={"tiles": count, "dates": len(dates)}, summary=f"{len(dates)} dates, tiles of {size} px")


def _tiles(ctx: Context, grid: "Grid") -> "list[Tile]":
    from utils.science.grid import make_tiles
    from utils.workflow.errors import ConfigError

    try:
        return make_tiles(grid.rows, grid.cols, ctx.conf.tiling.size_px, ctx.conf.tiling.overlap_px)
    except ValueError as error:
        raise ConfigError(f"tiling.size_px: {error}.", "Choose a smaller tiling.size_px.") from error


def _write(
    ctx: Context, item: Any, rasters: "DateRasters", date: "Acquisition", tile: "Tile", pool: ThreadPoolExecutor
) -> None:
    from utils.io import raster

    cut, grid = rasters.cut(tile.window), rasters.grid.window(tile.window)
    planes: tuple[tuple[str, Any, tuple[str, ...], str, float | None], ...] = (
        ("sentinel1", cut.sar, ("VV", "VH"), "linear power", float("nan")),
        ("sentinel2", cut.optical, ctx.conf.dataset.optical, "reflectance", float("nan")),
        ("mask", cut.mask, ("CLOUD", "SAR"), "code, bits", None),
    )
    sources = {"sentinel1": date.s1, "sentinel2": date.s2, "mask": (*date.s1, *date.s2)}
    jobs = []
    for sensor, array, bands, units, nodata in planes:
        path, tags = item.output(ctx.layout.tile(date.id, sensor, tile.id)), ctx.tags(units, sources[sensor])
        jobs.append(pool.submit(raster.write, path, array, grid, band_names=bands, nodata=nodata, tags=tags))
    for job in jobs:
        job.result()


def _virtual(ctx: Context, date: "Acquisition") -> None:
    """Virtual rasters of a date: one a band, then the stack of each sensor."""
    from utils.io import vrt
    from utils.io.cutter import SAR_FILES

    folder, root = ctx.layout.tiles(date.id) / "vrt", ctx.layout.preprocessed_root
    optical = dict.fromkeys(ctx.conf.dataset.optical) if date.s2 else {}
    sensors = {
        "sentinel1": (date.sar_folder, date.s1, SAR_FILES),
        "sentinel2": ("sentinel2", date.s2, {name: name for name in optical}),
    }
    for sensor, (place, products, files) in sensors.items():
        bands = []
        for name, file in files.items():
            bands.append(ctx.output(folder / f"{name}.vrt"))
            vrt.write_band(bands[-1], [root / place / product / f"{file}.tif" for product in products], name)
        if bands:
            vrt.write_stack(ctx.output(folder / f"{sensor}.vrt"), bands)


def _grid_json(ctx: Context, grid: "Grid", tiles: "list[Tile]") -> dict[str, Any]:
    return {
        "grid": grid.to_dict(),
        "size_px": ctx.conf.tiling.size_px,
        "overlap_px": ctx.conf.tiling.overlap_px,
        "tiles": [{"id": t.id, "window": t.window.to_list(), "valid": t.valid.to_list()} for t in tiles],
    }
