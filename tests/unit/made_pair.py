"""One made-up pair for the mosaic: overlapping predicted tiles or scene rows with sigma, cloud, gaps of Sentinel-1."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from utils.io import raster
from utils.io.mosaic_build import Settings, Work
from utils.io.observation import Observation
from utils.io.row_sources import SceneRows, TileRows
from utils.science.grid import Grid, Window, make_tiles
from utils.workflow.files import atomic_json

GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 150, 130)
BANDS = ("B04", "B03", "B02", "B08")
SIGMA = tuple(f"sigma_{band}" for band in BANDS)
SIGMA_95 = "B04 2.310, B03 2.400, B02 2.500, B08 2.600"


def truth(seed: int = 1) -> np.ndarray:
    """(4, rows, cols) reflectance of t1."""
    generator = np.random.default_rng(seed)
    return generator.uniform(0.05, 0.4, (4, *GRID.shape)).astype(np.float32)


def cloud() -> np.ndarray:
    codes = np.zeros(GRID.shape, np.uint8)
    codes[20:50, 30:80], codes[52:60, 30:80], codes[95:103, 0:20], codes[140:, 100:] = 1, 2, 4, 1
    codes[120:124, 60:64] = 3  # snow
    return codes


def predicted(offset: float = 0.0) -> np.ndarray:
    """(4, rows, cols): truth with small noise and an offset; no data in a corner."""
    noise = np.random.default_rng(5).normal(0, 0.004, (4, *GRID.shape))
    image = (truth() + noise - offset).astype(np.float32)
    image[:, :10, :10] = np.nan
    return image


def sigma() -> np.ndarray:
    values = np.full((4, *GRID.shape), 0.02, np.float32)
    values[3, 40:48, 30:80] = 0.09  # above max_sigma
    values[:, :10, :10] = np.nan
    return values


def write_preprocessed(root: Path) -> None:
    """preprocessed/ of t1 (S2_d1) and of both Sentinel-1 dates; gaps and values <= 0 under the cloud."""
    seen = np.where(np.isin(cloud(), (1, 2, 4)), np.float32(0.7), truth())
    seen[:, 148, 10] = np.nan
    for name, plane in zip(BANDS, seen):
        raster.write(root / "sentinel2/S2_d1" / f"{name}.tif", plane, GRID, nodata=np.nan)
    raster.write(root / "sentinel2/S2_d1/cloud.tif", cloud(), GRID)
    for date in ("d0", "d1"):
        for name in ("gamma0_vv", "gamma0_vh"):
            power = np.full(GRID.shape, 0.1, np.float32)
            if date == "d1" and name == "gamma0_vh":
                power[22:26, 32:40], power[55, 40] = 0.0, -0.01
                power[100, 60] = -0.5  # in the clear: does not matter
            if date == "d0" and name == "gamma0_vv":
                power[30, 50] = np.nan
            raster.write(root / f"sentinel1/S1_{date}/{name}.tif", power, GRID, nodata=np.nan)


def tiles(root: Path, image: np.ndarray, values: np.ndarray | None = None, size: int = 48) -> list[tuple[Path, Window]]:
    """Tiles that overlap by half, each with a bias of its own, and their sigma."""
    placed = []
    for number, tile in enumerate(make_tiles(*GRID.shape, size, size // 2)):
        rows, cols = tile.window.slices
        path, grid = root / f"{tile.id}.tif", GRID.window(tile.window)
        bias = np.float32(0.0005 * (number % 5 - 2))
        raster.write(path, image[:, rows, cols] + bias, grid, band_names=BANDS, nodata=np.nan)
        if values is not None:
            told = {"SIGMA_95": SIGMA_95}
            raster.write(
                root / "sigma" / path.name, values[:, rows, cols], grid, band_names=SIGMA, nodata=np.nan, tags=told
            )
        placed.append((path, tile.window))
    return placed


def tile_source(root: Path, image: np.ndarray, values: np.ndarray | None = None) -> TileRows:
    placed = tiles(root, image, values)
    return TileRows([p for p, _ in placed], [w for _, w in placed], GRID, BANDS, values is not None)


def write_scene(folder: Path, image: np.ndarray, values: np.ndarray | None = None, step: int = 64) -> Path:
    """Rows of a scene with their index, as stage predict writes them."""
    planes = image if values is None else np.concatenate([image, values])
    names, files = BANDS if values is None else BANDS + SIGMA, []
    told = None if values is None else {"SIGMA_95": SIGMA_95}
    for first in range(0, GRID.rows, step):
        rows = min(step, GRID.rows - first)
        last = first + rows
        name = f"rows_{first:05d}_{last:05d}.tif"
        grid = GRID.window(Window(first, 0, rows, GRID.cols))
        raster.write(folder / name, planes[:, first : first + rows], grid, band_names=names, nodata=np.nan, tags=told)
        files.append({"file": name, "first": first, "last": last})
    index = {
        "schema": "s2cr.scene/1", "run": "m", "pair": "p001", "bands": list(BANDS), "sigma": values is not None,
        "rows": GRID.rows, "cols": GRID.cols, "files": files,
    }  # fmt: skip
    atomic_json(folder / "index.json", index)
    return folder


def scene_source(folder: Path, image: np.ndarray, values: np.ndarray | None = None, step: int = 64) -> SceneRows:
    return SceneRows(write_scene(folder, image, values, step), "m", "p001", GRID, BANDS)


def observation(root: Path) -> Observation:
    files = ("gamma0_vv", "gamma0_vh")
    return Observation(root, ("S2_d1",), BANDS, (("S1_d0",), ("S1_d1",)), "sentinel1", files)


def tags(units: str, **more: object) -> dict[str, str]:
    return {"STAGE": "mosaic", "UNITS": units, **{name: str(value) for name, value in more.items()}}


def work(folder: Path, source: TileRows | SceneRows, seen: Observation | None, **settings: object) -> Work:
    return Work(folder, GRID, BANDS, source, seen, Settings(**settings), tags)  # type: ignore[arg-type]
