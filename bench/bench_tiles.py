"""Tile reader: windows of a scene, and samples of a dataset, against plain GDAL reads of the same pixels.

Work: 144 windows of 80 px (overlap 16) of two SAR and five optical bands from a 784 px scene in 512 px deflated
blocks, and 144 samples of five small GeoTIFFs each. The peer opens the files once (scene) or each time (samples) and
calls ReadAsArray, no more: what our reader adds is masks, first-valid-wins, checks and channel order. The same samples
come from shards (docs/adr/0020), whose files are verified once, when they are first opened.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from osgeo import gdal

from bench._bench import interleaved
from utils.io import raster, samples, shards
from utils.io.acquisitions import Acquisition
from utils.io.cutter import DateRasters
from utils.science.grid import Grid, make_tiles

BANDS = ("B04", "B03", "B02", "B08", "B12")
_SIDE_PX, _TILE_PX, _OVERLAP_PX = 784, 80, 16


def make_scene(root: Path, grid: Grid) -> Acquisition:
    """One product of each sensor with random pixels."""
    rng = np.random.default_rng(0)
    for name in ("gamma0_vv", "gamma0_vh"):
        raster.write(root / f"sentinel1/S1/{name}.tif", rng.gamma(4.4, 0.03, grid.shape).astype(np.float32), grid)
    for name in BANDS:
        raster.write(root / f"sentinel2/S2/{name}.tif", rng.random(grid.shape, dtype=np.float32), grid)
    for path in ("sentinel1/S1/mask.tif", "sentinel2/S2/cloud.tif"):
        raster.write(root / path, np.zeros(grid.shape, np.uint8), grid)
    return Acquisition("d", ("S1",), ("S2",), {})


def make_samples(set_dir: Path, grid: Grid, ids: list[str]) -> None:
    """Samples as build_dataset lays them out."""
    rng = np.random.default_rng(1)
    bands = {"s1_t0": 2, "s1_t1": 2, "s2_t0": len(BANDS), "s2_t1": len(BANDS)}
    for name in ids:
        for part, count in bands.items():
            raster.write(
                samples.sample_path(set_dir, part, name), rng.random((count, *grid.shape), dtype=np.float32), grid
            )
        raster.write(samples.sample_path(set_dir, "mask", name), np.zeros((4, *grid.shape), np.uint8), grid)


def figures() -> list[dict[str, Any]]:
    """Ratios to plain GDAL (1 = as fast) and tiles a second."""
    grid = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, _SIDE_PX, _SIDE_PX)
    tiles = make_tiles(_SIDE_PX, _SIDE_PX, _TILE_PX, _OVERLAP_PX)
    ids = [f"p001_{tile.id}" for tile in tiles]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        date = make_scene(root, grid)
        make_samples(root / "set", Grid(32755, 0, 0, 10, -10, _TILE_PX, _TILE_PX), ids)
        files = sorted(str(path) for path in root.glob("sentinel?/*/*.tif"))
        parts = [[str(samples.sample_path(root / "set", part, name)) for part in samples.FOLDERS] for name in ids]

        def cut_all() -> None:
            with DateRasters(root, date, BANDS) as rasters:
                for tile in tiles:
                    rasters.cut(tile.window)

        def plain_windows() -> None:
            datasets = [gdal.Open(name) for name in files]
            for tile in tiles:
                w = tile.window
                for dataset in datasets:
                    dataset.ReadAsArray(w.col, w.row, w.cols, w.rows)

        def read_all() -> None:
            for name in ids:
                samples.read_sample(root / "set", name)

        bands: dict[str, tuple[str, ...]] = dict.fromkeys(samples.FOLDERS, BANDS) | {
            "s1_t0": ("VV", "VH"),
            "s1_t1": ("VV", "VH"),
        }
        bands["mask"] = samples.MASK_BANDS
        load = partial(samples.read_arrays, root / "set")
        shards.write(samples.shards_of(root / "set"), "set", ids, load, bands)
        from_shards = samples.reader(root / "set")

        def read_shards() -> None:
            for name in ids:
                from_shards(name)

        def plain_samples() -> None:
            for names in parts:
                for name in names:
                    gdal.Open(name).ReadAsArray()

        cut_s, _, cut_ratio = interleaved(cut_all, plain_windows)
        read_s, _, read_ratio = interleaved(read_all, plain_samples)
        _, _, shard_ratio = interleaved(read_shards, read_all)
    return [
        {"name": "tile_windows_speed_to_gdal", "value": cut_ratio, "unit": "times", "limit": 0.6, "better": "higher"},
        {"name": "tile_windows_rate", "value": len(tiles) / cut_s, "unit": "tiles/s", "limit": 100.0, "better": "higher"},
        {"name": "sample_read_speed_to_gdal", "value": read_ratio, "unit": "times", "limit": 0.6, "better": "higher"},
        {"name": "shard_read_speed_to_tiles", "value": shard_ratio, "unit": "times", "limit": 3.0, "better": "higher"},
        {"name": "sample_read_rate", "value": len(ids) / read_s, "unit": "samples/s", "limit": 100.0, "better": "higher"},
    ]  # fmt: skip
