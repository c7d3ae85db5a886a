"""Scores during training: pooled sums over the validation tiles, in reflectance, with those of copying S2(t0) beside."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from models.inputs import F32, Tile, Units
from utils.science import indices, metrics, severity

Scores = dict[str, float]
DNDVI_EDGES = (0.09, 0.14, 0.22, 0.34, 0.44)  # default of burned.dndvi_edges
INTERVALS = {
    "mae": ("all", "mae"), "psnr": ("all", "psnr"), "psnr_changed": ("changed", "psnr"), "psnr_unchanged": ("unchanged", "psnr"),
    "sam_deg": ("all", "sam_deg"), "skill_changed": ("changed", "skill"),
}  # fmt: skip
_FIGURES = {**INTERVALS, "ssim": ("all", "ssim"), "skill_unchanged": ("unchanged", "skill")}
DRAWS = 1000


class StoppedEarly(Exception):
    """A signal came between two tiles: the scores are not complete."""


def pad_to_multiple(x: F32, multiple: int) -> F32:
    """(B, H, W, C) reflected at the lower and right edge up to a multiple of `multiple`."""
    grow = [(0, 0), *((0, -n % multiple) for n in x.shape[1:3]), (0, 0)]
    return np.pad(x, grow, mode="reflect") if any(after for _, after in grow) else x


def difference_ndvi(bands: Sequence[str], t0: Any, t1: Any) -> Any:
    """(H, W) NDVI(t0) - NDVI(t1) of two reflectance images (H, W, n); None without B04 or B08."""
    if not {"B04", "B08"} <= set(bands):
        return None
    first, second = (indices.compute("NDVI", indices.stack_to_bands(image, tuple(bands))) for image in (t0, t1))
    return indices.difference(first, second)


class Judgement:
    """Streaming scores of a network and of copy_t0 on weighted pixels; blocks are what the bootstrap draws."""

    def __init__(self, bands: Sequence[str]) -> None:
        self.bands = tuple(bands)
        self.network, self.copy = metrics.Scorer(bands), metrics.Scorer(bands)
        self.classes = np.zeros((len(DNDVI_EDGES) + 1,) * 2)
        self.missing = 0

    def add(self, block: str, predicted: Any, truth: Any, t0: Any, tile: Tile) -> None:
        """One tile: predicted, truth and t0 are (H, W, n) reflectance."""
        good, changed = tile.weight > 0, tile.changed > 0
        self.missing += int((good & ~np.isfinite(predicted).all(-1)).sum())
        strata = {"changed": good & changed, "unchanged": good & ~changed}
        for scorer, image in ((self.network, predicted), (self.copy, t0)):
            scorer.add(block, image, truth, good, reference=t0, strata=strata)
        true, own = (difference_ndvi(self.bands, t0, image) for image in (truth, predicted))
        if true is not None:
            codes = [severity.classify(plane, DNDVI_EDGES) for plane in (true, own)]
            self.classes += severity.confusion(codes[0], codes[1], len(DNDVI_EDGES) + 1, good)

    def figures(self) -> Scores:
        """mae, psnr, sam_deg, ssim, skill_changed ... and the same of copy_t0; undefined figures are left out."""
        out: Scores = {}
        for suffix, scorer in (("", self.network), ("_copy_t0", self.copy)):
            pooled = {stratum: scorer.scores(stratum) for stratum in ("all", "changed", "unchanged")}
            for name, (stratum, figure) in _FIGURES.items():
                value = pooled[stratum][figure]
                if math.isfinite(value) and not (suffix and "skill" in name):
                    out[f"{name}{suffix}"] = value
        kappa = severity.quadratic_kappa(self.classes) if self.classes.sum() else math.nan
        return {**out, "kappa_dndvi": float(kappa)} if math.isfinite(kappa) else out

    def intervals(self, seed: int = 0) -> dict[str, list[float]]:
        """95 % block bootstrap of the main figures; empty with fewer than two blocks."""
        out = {}
        for name, (stratum, figure) in INTERVALS.items():
            low, high = self.network.interval(stratum, figure, DRAWS, seed)
            if math.isfinite(low) and math.isfinite(high):
                out[name] = [low, high]
        return out


def judge(
    predict: Callable[[F32], F32],
    tiles: Iterable[tuple[str, Tile]],
    units: Units,
    start: int,
    bands: Sequence[str],
    multiple: int = 1,
    stopped: Callable[[], bool] = lambda: False,
) -> Judgement:
    """Let a network predict tiles and judge it in reflectance.

    predict  (1, H, W, C) network units -> (1, H, W, n)
    tiles    (block, tile)
    raises   StoppedEarly when `stopped` says so between two tiles
    """
    found = Judgement(bands)
    for block, tile in tiles:
        if stopped():
            raise StoppedEarly
        t0, predicted, truth = reflectances(predict, tile, units, start, multiple)
        found.add(block, predicted, truth, t0, tile)
    return found


def reflectances(
    predict: Callable[[F32], F32], tile: Tile, units: Units, start: int, multiple: int
) -> tuple[Any, Any, Any]:
    """S2(t0), prediction and truth of a tile, (H, W, n) reflectance each."""
    rows, cols = tile.weight.shape
    z = predict(pad_to_multiple(tile.x[None], multiple))[0, :rows, :cols]
    t0, predicted, truth = (units.reflectance(v) for v in (tile.x[..., start : start + tile.y.shape[-1]], z, tile.y))
    return t0, predicted, truth


def score(predict: Callable[[F32], F32], tiles: Iterable[Tile], units: Units, start: int, multiple: int = 1) -> Scores:
    """Figures of a network over tiles of unnamed bands."""
    bands = [f"band{n}" for n in range(len(units.scale))]
    return judge(predict, ((str(n), tile) for n, tile in enumerate(tiles)), units, start, bands, multiple).figures()
