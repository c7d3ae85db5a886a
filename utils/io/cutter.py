"""Windows out of the preprocessed rasters of one date: opened once, checked to share one grid, read many times."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io import raster
from utils.io.acquisitions import LOWEST, Acquisition, check_datatake, core_of, rank
from utils.science.grid import Grid, Window
from utils.workflow.errors import InputError

SAR_FILES = {"VV": "gamma0_vv", "VH": "gamma0_vh"}
NO_CLOUD_DATA = 255
_NO_SAR_SAMPLE = 4


@dataclass(frozen=True)
class Cut:
    """One window of one date, channel first.

    sar      (2, rows, cols) float32 gamma0 VV, VH, linear power, NaN = nodata
    optical  (n, rows, cols) float32 reflectance, NaN = nodata
    mask     (2, rows, cols) uint8: cloud code (255 none) and SAR bits
    """

    sar: NDArray[np.float32]
    optical: NDArray[np.float32]
    mask: NDArray[np.uint8]


class DateRasters:
    """All products of one date; where several cover a pixel, the first one with data wins. Use as context manager.

    A date without Sentinel-2 gives NaN reflectance and cloud code 255: it can be simulated but not judged.
    Bands and cloud code of a pixel come from one product with data in all bands: the first, in the order of the pair
    list, of those that the pixel lies farthest inside (acquisitions.rank).
    raises  InputError when a raster is missing, when two differ in coordinate system, transform or shape, or when
            Sentinel-2 products are of several datatakes
    """

    def __init__(self, root: Path, date: Acquisition, optical_bands: Sequence[str]) -> None:
        check_datatake(date.s2)
        self._cores = [core_of(root, "sentinel2", name) for name in date.s2]
        self._n_optical = len(optical_bands)
        self._stack = ExitStack()
        try:
            self._s1 = [self._open_sar(root / date.sar_folder / name) for name in date.s1]
            self._s2 = [self._open(root / "sentinel2" / name, [*optical_bands, "cloud"]) for name in date.s2]
        except BaseException:
            self._stack.close()
            raise
        if not self._s1:
            raise InputError(f"date {date.id} has no Sentinel-1 product.", "Run find_images or import_data again.")
        self.grid: Grid = self._common_grid()

    def __enter__(self) -> DateRasters:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open_sar(self, folder: Path) -> list[raster.Reader]:
        there = [name for name, file in SAR_FILES.items() if (folder / f"{file}.tif").is_file()]
        if len(there) == 1:  # preprocess.polarisations may leave one out
            raise InputError(
                f"{folder.name}: only {there[0]} was preprocessed; tiles need VV and VH.",
                "Set preprocess.polarisations: [VV, VH], or choose a product with both (search.pols).",
            )
        return self._open(folder, [*SAR_FILES.values(), "mask"])

    def _open(self, folder: Path, names: Sequence[str]) -> list[raster.Reader]:
        return [self._stack.enter_context(raster.Reader(folder / f"{name}.tif")) for name in names]

    def _common_grid(self) -> Grid:
        """Check, do not assume: a shifted or cropped raster would pair the wrong pixels in silence."""
        readers = [reader for product in (*self._s1, *self._s2) for reader in product]
        first = readers[0]
        for other in readers[1:]:
            if other.grid != first.grid:
                raise InputError(
                    f"{other.path} ({_describe(other.grid)}) is not on the grid of {first.path} ({_describe(first.grid)}).",
                    "Preprocess or import both on one grid.",
                )
        return first.grid

    def cut(self, window: Window) -> Cut:
        """Read one window, which must lie inside the grid."""
        shape = (window.rows, window.cols)
        if len(self._s1) == 1:  # nothing to choose
            vv, vh, bits = (reader.read(window)[0] for reader in self._s1[0])
            optical, cloud = self._optical(window)
            return Cut(_whole(np.stack([vv, vh])), optical, np.stack([cloud, bits]).astype(np.uint8))
        sar = np.full((2, *shape), np.nan, dtype=np.float32)
        bits = np.full(shape, _NO_SAR_SAMPLE, dtype=np.uint8)
        for number, product in enumerate(self._s1):
            vv, vh, mask = (reader.read(window)[0] for reader in product)
            empty = np.isnan(sar).any(axis=0)
            here = empty & np.isfinite(vv) & np.isfinite(vh)
            # where none has a value, the slice that has a sample says why: shadow or border noise, not "no sample"
            known = empty & ((bits & _NO_SAR_SAMPLE) > 0) & ((mask & _NO_SAR_SAMPLE) == 0)
            bits = np.where(here | known if number else True, mask, bits).astype(np.uint8)
            sar = np.where(here, np.stack([vv, vh]), sar)
        optical, cloud = self._optical(window)
        return Cut(sar.astype(np.float32), optical, np.stack([cloud, bits]))

    def _optical(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Bands and cloud codes; where no product has all bands, the code of the first product that has one."""
        shape, grid = (window.rows, window.cols), self.grid.window(window)
        planes = [[reader.read(window)[0] for reader in product] for product in self._s2]
        if len(planes) == 1 and self._n_optical:
            *bands, codes = planes[0]
            return _whole(np.stack(bands)), codes.astype(np.uint8)
        optical = np.full((self._n_optical, *shape), np.nan, dtype=np.float32)
        cloud = np.full(shape, NO_CLOUD_DATA, dtype=np.uint8)
        best = np.full(shape, LOWEST, np.int32)
        for core, (*bands, codes) in zip(self._cores, planes, strict=True):
            ranks = rank(core, grid)
            here = (ranks > best) & np.isfinite(np.stack(bands)).all(axis=0)
            for target, values in ((optical, np.stack(bands)), (cloud, codes), (best, ranks)):
                np.copyto(target, values, where=here)
        empty = np.isnan(optical).any(axis=0)
        for *_, codes in planes:
            np.copyto(cloud, codes, where=empty & (cloud == NO_CLOUD_DATA))
        return optical, cloud


def _whole(planes: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Pixels that have a value in every plane (n, rows, cols); the others NaN in all."""
    out = planes.astype(np.float32, copy=False)
    missing = ~np.isfinite(out).all(axis=0)
    if missing.any():
        out[:, missing] = np.nan
    return out


def _describe(grid: Grid) -> str:
    return f"EPSG {grid.epsg}, origin {grid.x0:.6f} {grid.y0:.6f}, pixel {grid.dx:.6g} x {grid.dy:.6g}, {grid.rows} x {grid.cols} px"
