"""Files of simulated scenes in raster form: <name>_S1_<date>.tif, <name>_S2_<date>.tif, <name>_CLOUD_<date>.tif and
<name>_truth.tif, dates t0 and t1. The layout `simulator` of import_data reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from utils.io import raster
from utils.science.grid import Grid
from utils.science.synth_optical import BANDS
from utils.science.synth_rasters import SceneRasters

NAME = "sim{:03d}"
_APART_M = 20_000.0  # scenes lie apart on the map, so that no two share ground, weather or a buffer
_PER_ROW = 8


def grid_of(number: int, origin: tuple[float, float], epsg: int, size_px: int) -> Grid:
    """Grid of scene `number` (from 0): rows of eight, 20 km apart, from the origin to the east and south."""
    row, col = divmod(number, _PER_ROW)
    return Grid(epsg, origin[0] + col * _APART_M, origin[1] - row * _APART_M, 10.0, -10.0, size_px, size_px)


def write_scene(folder: Path, name: str, made: SceneRasters, grid: Grid, tags: Mapping[str, str]) -> list[Path]:
    """Write the seven files of one scene, each whole or not at all; returns their paths."""
    out = []

    def put(stem: str, array: np.ndarray, bands: tuple[str, ...], units: str) -> None:
        path = folder / f"{name}_{stem}.tif"
        raster.write(path, array, grid, band_names=bands, tags=tags, units=units)
        out.append(path)

    for date in (0, 1):
        put(f"S1_t{date}", made.s1[date], ("VV", "VH"), "linear power")
        put(f"S2_t{date}", made.s2[date], BANDS, "reflectance")
        put(f"CLOUD_t{date}", made.cloud[date], ("CLOUD",), "code")
    truth = np.concatenate([made.clear_t1, made.severity[None]])
    put("truth", truth, (*BANDS, "severity"), "reflectance; severity: fraction of fuel burned")
    return out
