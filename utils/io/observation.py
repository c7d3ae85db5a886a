"""What the sensors saw of a pair, row by row: the optical image of t1 with its cloud codes, and where Sentinel-1 fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils.io import acquisitions
from utils.science.grid import Grid, Window

Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Observation:
    """Preprocessed rasters behind a pair.

    root          folder preprocessed/
    optical       Sentinel-2 products of t1; empty where t1 was not observed
    bands         optical bands in channel order
    radar         Sentinel-1 products of each date that the model sees
    sar_folder    folder of gamma0 below root
    sar_files     rasters of a product, such as gamma0_vv
    """

    root: Path
    optical: tuple[str, ...]
    bands: tuple[str, ...]
    radar: tuple[tuple[str, ...], ...]
    sar_folder: str
    sar_files: tuple[str, ...]

    def image(self, grid: Grid, first: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """(bands, count, cols) reflectance, NaN = no data, and (count, cols) codes of cloud.tif, of rows of a grid.

        raises  InputError when a raster is missing or lies on another grid or in another coordinate system
        """
        part = grid.window(Window(first, 0, count, grid.cols))
        planes = acquisitions.read_planes(self.root, "sentinel2", self.optical, self.bands, part)
        return planes, acquisitions.read_cloud(self.root, self.optical, part)

    def sar_bad(self, grid: Grid, first: int, count: int) -> Bool:
        """(count, cols) True where a polarisation of any date has no value or one <= 0, which is filled for the model."""
        part = grid.window(Window(first, 0, count, grid.cols))
        bad = np.zeros(part.shape, bool)
        for products in self.radar:
            power = acquisitions.read_planes(self.root, self.sar_folder, products, self.sar_files, part)
            for plane in power:
                bad |= ~(plane > 0)
        return bad


def radar_files(bands_sar: Sequence[str]) -> tuple[str, ...]:
    """Names of the gamma0 rasters of SAR bands."""
    return tuple(f"gamma0_{band.lower()}" for band in bands_sar)
