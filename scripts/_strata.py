"""Strata of a sample that its pair, its clouds and other rasters make: lag, source, land class and terrain."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.tree_scenes import day_of
from scripts._context import Context
from scripts._dates import load_dates
from utils.io import acquisitions, samples
from utils.io.strata_rasters import strata_rasters
from utils.science import strata
from utils.science.grid import Grid, Window

Masks = dict[str, NDArray[np.bool_]]
_MARGIN_PX = strata.FEATHER_PX + 1


class SampleStrata:
    """Strata of the samples of one set."""

    def __init__(self, ctx: Context, index: samples.DatasetIndex) -> None:
        judge = ctx.conf.evaluate
        self.index, self._root = index, ctx.layout.preprocessed_root
        self._lags = judge.lag_days
        self._dates = load_dates(ctx.conf, ctx.layout)
        heights = judge.dem_raster or (ctx.conf.preprocess.dem.path if ctx.conf.source == "search" else None)
        self._rasters = strata_rasters(
            ctx.resolve(judge.class_raster) if judge.class_raster else None,
            dict(judge.class_names),
            ctx.resolve(heights) if heights else None,
        )

    def of(self, info: samples.SampleInfo) -> Masks:
        """kind:label -> (H, W) mask of one sample."""
        pair = self.index.pairs[info.pair]
        grid: Grid = pair.grid.window(info.window)
        lag = strata.lag_label(day_of(pair.t0), day_of(pair.t1), self._lags)
        found: Masks = {lag: np.ones(grid.shape, bool)}
        found |= strata.source_strata(self._cloud(pair.date2, grid), _MARGIN_PX)
        return found | self._rasters(grid)

    def _cloud(self, date: str, grid: Grid) -> Any:
        """Codes of t1 with what lies around the tile: a cloud next door feathers into it."""
        wide = Window(-_MARGIN_PX, -_MARGIN_PX, grid.rows + 2 * _MARGIN_PX, grid.cols + 2 * _MARGIN_PX)
        return acquisitions.read_cloud(self._root, self._dates[date].s2, grid.window(wide))
