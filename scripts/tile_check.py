"""Cut the first tiles into a scratch folder, to look at them before the whole area is cut.

Reads   preprocessed/<sensor>/<product>/*.tif, search/pairs.json
Writes  tile_check/<date>_<tile>_{sentinel1,sentinel2,mask}.tif, and one line of statistics a tile on stdout
        No stage: nothing depends on it, no manifest is written; delete the folder when you like
Example  ./s2cr tile_check confs/demo.yaml --count 4
"""

if not __package__:
    import _direct  # noqa: F401
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts._options import CONF
from scripts._stage import guarded

if TYPE_CHECKING:
    from utils.io.cutter import Cut


@click.command("tile_check", help=__doc__, epilog="\b\nExample:\n  ./s2cr tile_check confs/demo.yaml --count 4")
@CONF
@click.option("--count", type=click.IntRange(min=1), default=2, show_default=True, help="Tiles of each date.")
def run(conf: Path, count: int) -> None:
    from scripts._dates import load_dates
    from utils.io import raster
    from utils.io.cutter import DateRasters
    from utils.science.grid import make_tiles
    from utils.workflow import config
    from utils.workflow.errors import ConfigError

    with guarded("tile_check"):
        settings = config.load(conf)
        layout, bands = config.layout_of(settings), settings.dataset.optical
        for name, date in sorted(load_dates(settings, layout, settings.preprocess.sar_folder).items()):
            with DateRasters(layout.preprocessed_root, date, bands) as rasters:
                grid, tiling = rasters.grid, settings.tiling
                try:
                    tiles = make_tiles(grid.rows, grid.cols, tiling.size_px, tiling.overlap_px)
                except ValueError as error:
                    raise ConfigError(f"tiling.size_px: {error}.", "Choose a smaller tiling.size_px.") from error
                for tile in tiles[:count]:
                    cut, window = rasters.cut(tile.window), grid.window(tile.window)
                    parts: dict[str, tuple[Any, tuple[str, ...]]] = {
                        "sentinel1": (cut.sar, ("VV", "VH")),
                        "sentinel2": (cut.optical, bands),
                        "mask": (cut.mask, ("CLOUD", "SAR")),
                    }
                    for part, (array, names) in parts.items():
                        path = layout.work / "tile_check" / f"{name}_{tile.id}_{part}.tif"
                        raster.write(
                            path, array, window, band_names=names, nodata=None if part == "mask" else float("nan")
                        )
                    click.echo(f"{name} {tile.id}: {_statistics(cut)}; {len(tiles)} tiles in all")


def _statistics(cut: "Cut") -> str:
    """Medians and shares that show a wrong unit or an empty tile at a glance."""
    import numpy as np

    from utils.science.sar import to_db

    def median(values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> float:
        good = values[np.isfinite(values)]
        return float(np.median(good)) if good.size else float("nan")

    vv, vh = (median(to_db(plane)) for plane in cut.sar)
    nodata = 1 - np.isfinite(np.concatenate([cut.sar, cut.optical])).all(axis=0).mean()
    cloud = np.isin(cut.mask[0], (1, 2)).mean()
    return f"VV {vv:.1f} dB, VH {vh:.1f} dB, reflectance {median(cut.optical):.3f}, nodata {100 * nodata:.1f} %, cloud {100 * cloud:.1f} %"
