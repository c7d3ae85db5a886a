"""A folder of real fires: Sentinel-2 before and after, perimeter, and a given dNBR where there is one.

`pre_fire/NAME.tif` and `post_fire/NAME.tif` hold DN 0..10000 of B02 B03 B04 B08 B12, `masks/NAME.tif` the perimeter (1
inside), `dnbr/NAME.tif` a dNBR. The rasters of a fire may differ in extent: they are put on the grid of the one after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils.io import raster
from utils.science.grid import Grid
from utils.workflow.errors import InputError

BANDS = ("B02", "B03", "B04", "B08", "B12")
_DN = 10_000.0
Plane = NDArray[np.float64]


@dataclass(frozen=True)
class Fire:
    """One fire on one grid.

    before, after  band -> (rows, cols) reflectance, NaN = not seen
    perimeter      (rows, cols) uint8: 1 inside, 0 outside, 255 unknown
    given_dnbr     (rows, cols), None where no file gives one
    cut            rows and columns by which the extent before differs from that after, (0, 0) for one grid
    """

    name: str
    grid: Grid
    before: Mapping[str, Plane]
    after: Mapping[str, Plane]
    perimeter: NDArray[np.uint8]
    given_dnbr: Plane | None
    cut: tuple[int, int]


def names(folder: Path) -> list[str]:
    """Fires of a folder, in order of their names.

    raises  InputError when it holds none
    """
    found = sorted(path.stem for path in (folder / "post_fire").glob("*.tif"))
    if not found:
        raise InputError(
            f"{folder}: no post_fire/*.tif.", "Name the folder of the fires, or set S2CR_DATA to the folder above it."
        )
    return found


def read(folder: Path, name: str) -> Fire:
    """One fire, put on one grid.

    raises  InputError when a raster is missing, has too few bands, or lies between the pixels of the others
    """
    grid = raster.info(folder / f"post_fire/{name}.tif").grid
    before = raster.info(folder / f"pre_fire/{name}.tif").grid
    images = [_bands(folder / f"{when}_fire/{name}.tif", grid) for when in ("pre", "post")]
    perimeter = raster.read_on_grid(folder / f"masks/{name}.tif", grid, [1], fill=255)[0]
    given = folder / f"dnbr/{name}.tif"
    dnbr = raster.read_on_grid(given, grid, [1])[0].astype(np.float64) if given.is_file() else None
    cut = (before.rows - grid.rows, before.cols - grid.cols)
    return Fire(name, grid, images[0], images[1], perimeter.astype(np.uint8), dnbr, cut)


def _bands(path: Path, grid: Grid) -> dict[str, Plane]:
    numbers = range(1, len(BANDS) + 1)
    planes = raster.read_on_grid(path, grid, list(numbers)).astype(np.float64) / _DN
    return dict(zip(BANDS, planes, strict=True))
