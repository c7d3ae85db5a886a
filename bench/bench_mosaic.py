"""Images of a full scene, 10980 x 10980 px, four bands with standard deviation: time and peak memory of the builder.

Everything is made up: a field with noise repeated over the scene, 30 % of it under cloud, Sentinel-1 of two dates, a
correction by offset. Part rows reads rows of a streamed scene, part tiles blends predicted tiles of 256 px that overlap
by 64. The builder runs in a process of its own, so that its peak memory holds nothing of the preparation. The limit of
memory is that of the acceptance table; time has none.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.io import raster, row_writer
from utils.io.mosaic_build import Settings, Work, build
from utils.io.observation import Observation
from utils.io.row_sources import RowSource, SceneRows, TileRows
from utils.science.grid import Grid, Window, make_tiles
from utils.workflow.files import atomic_json

PARTS = ("rows", "tiles")
SIDE_PX, TILE_PX, OVERLAP_PX, ROWS = 10980, 256, 64, 512
BANDS = ("B04", "B03", "B02", "B08")
SIGMA = tuple(f"sigma_{band}" for band in BANDS)
LIMIT_GB = 1.5


def grid_of(rows: int, cols: int) -> Grid:
    return Grid(32755, 699960.0, 6100020.0, 10.0, -10.0, rows, cols)


def _field(bands: int, rows: int, cols: int, seed: int) -> np.ndarray:
    """(bands, rows, cols) reflectance in whole steps of 1e-4, a block of 512 px repeated."""
    block = np.random.default_rng(seed).normal(0.12, 0.02, (bands, 512, 512)).clip(0.01, 0.5)
    whole = np.round(block, 4).astype(np.float32)
    return np.tile(whole, (1, -(-rows // 512), -(-cols // 512)))[:, :rows, :cols]


def _write(path: Path, grid: Grid, planes: np.ndarray, names: Sequence[str] = ()) -> None:
    dtype, nodata = planes.dtype.name, np.nan if planes.dtype.kind == "f" else 255
    with row_writer.writer(path, grid, len(planes), dtype, band_names=names, nodata=nodata) as out:
        out.write(planes, 0, 0)


def prepare(folder: Path, grid: Grid, part: str) -> None:
    """preprocessed/ of both dates and the predictions of one part."""
    for number, band in enumerate(BANDS):
        _write(folder / f"preprocessed/sentinel2/S2_d1/{band}.tif", grid, _field(1, grid.rows, grid.cols, number))
    cloud = np.zeros((1, *grid.shape), np.uint8)
    for row in range(0, grid.rows, 1000):
        cloud[:, row : row + 300] = 1
    _write(folder / "preprocessed/sentinel2/S2_d1/cloud.tif", grid, cloud)
    for date in ("d0", "d1"):
        for name in ("gamma0_vv", "gamma0_vh"):
            _write(folder / f"preprocessed/sentinel1/S1_{date}/{name}.tif", grid, _field(1, grid.rows, grid.cols, 9))
    names = BANDS + SIGMA
    if part == "rows":
        files = []
        for first in range(0, grid.rows, ROWS):
            count = min(ROWS, grid.rows - first)
            name = f"rows_{first:05d}_{first + count:05d}.tif"
            place = grid.window(Window(first, 0, count, grid.cols))
            _write(folder / "scene" / name, place, _field(8, count, grid.cols, 20), names)
            files.append({"file": name, "first": first, "last": first + count})
        index = {"schema": "s2cr.scene/1", "run": "m", "pair": "p", "bands": BANDS, "sigma": True, "files": files}
        atomic_json(folder / "scene/index.json", {**index, "rows": grid.rows, "cols": grid.cols})
        return
    planes = _field(8, TILE_PX, TILE_PX, 20)
    for tile in make_tiles(*grid.shape, TILE_PX, OVERLAP_PX):
        place, path = grid.window(tile.window), folder / "pred" / f"{tile.id}.tif"
        raster.write(path, planes[:4], place, band_names=BANDS, nodata=np.nan)
        raster.write(path.parent / "sigma" / path.name, planes[4:], place, band_names=SIGMA, nodata=np.nan)


def run(folder: Path, grid: Grid, part: str) -> dict[str, float]:
    """Build the images; seconds and the most memory of this process, GB."""
    import resource
    import time

    source: RowSource
    if part == "rows":
        source = SceneRows(folder / "scene", "m", "p", grid, BANDS)
    else:
        tiles = make_tiles(*grid.shape, TILE_PX, OVERLAP_PX)
        paths = [folder / "pred" / f"{tile.id}.tif" for tile in tiles]
        source = TileRows(paths, [tile.window for tile in tiles], grid, BANDS, True)
    files = ("gamma0_vv", "gamma0_vh")
    seen = Observation(folder / "preprocessed", ("S2_d1",), BANDS, (("S1_d0",), ("S1_d1",)), "sentinel1", files)

    def tags(units: str, **more: object) -> dict[str, str]:
        return {"UNITS": units, **{name: str(value) for name, value in more.items()}}

    begin = time.perf_counter()
    build(Work(folder / "out", grid, BANDS, source, seen, Settings(), tags))
    seconds = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"s": seconds, "cpu_s": used.ru_utime + used.ru_stime, "gb": used.ru_maxrss * 1024 / 1e9}


def figures(parts: Sequence[str] = PARTS, scale: float = 1.0) -> list[dict[str, Any]]:
    side_px, found = round(SIDE_PX * scale), []
    for part in parts:
        with tempfile.TemporaryDirectory() as name:
            prepare(Path(name), grid_of(side_px, side_px), part)
            words = [sys.executable, "-m", "bench.bench_mosaic", name, str(side_px), str(side_px), part]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
        result = json.loads(done.stdout)
        size = f"{side_px} x {side_px} x {len(BANDS)}"
        found += [
            {"name": f"mosaic of {part}, {size}: peak memory", "value": result["gb"], "unit": "GB", "better": "lower",
             "limit": LIMIT_GB if scale == 1.0 else None},
            {"name": f"mosaic of {part}, {size}: time", "value": result["s"], "unit": "s", "better": "lower"},
            {"name": f"mosaic of {part}, {size}: processor time", "value": result["cpu_s"], "unit": "s", "better": "lower"},
        ]  # fmt: skip
    return found


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), grid_of(int(sys.argv[2]), int(sys.argv[3])), sys.argv[4])))
