"""Predictions of a run as evaluate reads them: checked once before anything is judged, then read one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io import raster, samples
from utils.io.sigma_tags import sigma_tags
from utils.science import uncertainty
from utils.science.grid import Grid
from utils.workflow.errors import InputError

Image = NDArray[Any]


class Predictions:
    """pred/<run>/ for the samples of one set.

    Bands are read by name, so that their order in the file does not matter; sigma where the run wrote it.
    """

    def __init__(self, folder: Path, run: str, index: samples.DatasetIndex, conf_path: Path) -> None:
        self.folder, self.run, self.index, self.conf_path = folder, run, index, conf_path
        self.bands = index.bands_optical

    @property
    def has_sigma(self) -> bool:
        return (self.folder / "sigma").is_dir()

    def check(self) -> None:
        """raises  InputError when a prediction is missing, of other bands or on another grid, all are nodata, or a tag is malformed"""
        absent = [info.id for info in self.index.samples if not self.path(info.id).is_file()]
        if absent:
            raise InputError(
                f"Run {self.run} has no prediction of {len(absent)} of {len(self.index.samples)} {self.index.name} "
                f"samples, first {self.path(absent[0])}.",
                f"Set predict.set to all or {self.index.name} and leave predict.pairs out, then run: ./s2cr predict {self.conf_path}",
            )
        if self.has_sigma:
            self.width_95()
        empty = True
        for info in self.index.samples:
            self._check_one(info)
            empty = empty and not np.isfinite(self.read(info)).any()
        if empty:
            raise InputError(
                f"Every prediction of run {self.run} is nodata.",
                f"Look at the inputs of {self.index.samples[0].id} (nodata there is nodata here), then run: ./s2cr predict {self.conf_path} --force",
            )

    def path(self, sample_id: str) -> Path:
        return self.folder / f"{sample_id}.tif"

    def _check_one(self, info: samples.SampleInfo) -> None:
        wanted, found = self.index.pairs[info.pair].grid.window(info.window), raster.info(self.path(info.id))
        again = f"Train and predict with the bands and tiles of this dataset: ./s2cr predict {self.conf_path} --force"
        self._bands(self.path(info.id), found.band_names, self.bands, again)
        if not _same(found.grid, wanted):
            raise InputError(
                f"{self.path(info.id)}: on another grid ({_said(found.grid)}) than its sample ({_said(wanted)}).", again
            )

    @staticmethod
    def _bands(path: Path, found: Sequence[str], wanted: Sequence[str], remedy: str) -> None:
        if set(found) != set(wanted):
            raise InputError(
                f"{path}: bands {', '.join(found) or 'without names'}; the dataset has {', '.join(wanted)}.", remedy
            )

    def read(self, info: samples.SampleInfo) -> Image:
        """(H, W, n) reflectance, bands in the order of the dataset."""
        return np.moveaxis(raster.read(self.path(info.id), self.bands), 0, -1)

    def width_95(self) -> list[float]:
        """Half width of the interval of 95 % of each band, in sigmas; that of normal errors where the run tells none.

        raises  InputError when the tag is malformed
        """
        path = self.folder / "sigma" / f"{self.index.samples[0].id}.tif"
        try:
            return [float(w) for w in uncertainty.widths_of(sigma_tags(path).get(uncertainty.WIDTH_TAG), self.bands)]
        except ValueError as error:
            raise InputError(
                f"{path}: tag {uncertainty.WIDTH_TAG}: {error}.",
                f"Predict again: ./s2cr predict {self.conf_path} --force",
            ) from error

    def read_sigma(self, info: samples.SampleInfo) -> Image:
        """(H, W, n) standard deviation in reflectance.

        raises  InputError when it is missing
        """
        path = self.folder / "sigma" / f"{info.id}.tif"
        return np.moveaxis(raster.read(path, [f"sigma_{band}" for band in self.bands]), 0, -1)


def _same(one: Grid, other: Grid) -> bool:
    if one.shape != other.shape:
        return False
    try:
        return one.offset_of(other) == (0, 0)
    except ValueError:
        return False


def _said(grid: Grid) -> str:
    return f"EPSG {grid.epsg}, {grid.rows} x {grid.cols} px of {grid.dx:g} at {grid.x0:.10g}, {grid.y0:.10g}"
