"""Models applied to a place that no training saw: the absolute ones, and the relative one that is meant for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.science import gated
from utils.science.res_features import SceneFacts
from utils.science.strict_rows import Rows, Sheet
from utils.science.trees import Forest, Recipe, fit_bands, predict_bands

Matrix = NDArray[np.float64]

LARGEST_SHRINK = 0.5
OUTSIDE_SHRINK = 0.25  # of a run: 0.5 fell below copy_t0 in two of three places (docs/results.md)
RANGE_MARGIN = 0.5  # of the spread within a scene: how far scene means may leave the training range
METHODS = ("copy_t0", "histgbm_res", "relative", "relative_half", "by_range")


@dataclass(frozen=True)
class Range:
    """Scene means of S2(t0) and NDVI of the training, with the margin that counts as inside."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def holds(self, facts: SceneFacts) -> bool:
        """False when a scene mean lies outside, or is unknown."""
        mean = np.asarray(facts.guide_mean)
        return bool(((mean >= np.asarray(self.low)) & (mean <= np.asarray(self.high))).all())


def range_of(facts: Sequence[SceneFacts]) -> Range:
    """Smallest and largest scene mean, widened by half the mean spread within a scene.

    raises  ValueError when no scene has a clear pixel
    """
    means = np.array([one.guide_mean for one in facts])
    spread = np.array([one.guide_std for one in facts])
    good = np.isfinite(means).all(axis=1)
    if not good.any():
        raise ValueError("no training scene has a clear pixel")
    margin = RANGE_MARGIN * spread[good].mean(axis=0)
    low, high = means[good].min(axis=0) - margin, means[good].max(axis=0) + margin
    return Range(tuple(map(float, low)), tuple(map(float, high)))


@dataclass(frozen=True)
class PlaceModel:
    """res and relative trees of the change; factor of the relative ones; scenes that count as inside."""

    res: tuple[Forest, ...]
    relative: tuple[Forest, ...]
    shrink: float
    range: Range

    def predict(self, sheet: Sheet, inside: bool) -> dict[str, Matrix]:
        """Change (N, n) by each method but copy_t0."""
        res = predict_bands(self.res, sheet.of_set("res"))
        relative = self.shrink * predict_bands(self.relative, sheet.of_set("relative"))
        found = {"histgbm_res": res, "relative": relative, "relative_half": relative / 2}
        return found | {"by_range": res if inside else relative}


def _pooled(rows: Sequence[Rows], features: str, pixels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The same number of pixels from every place."""
    share = -(-pixels // len(rows))
    at = [one.of_pairs(set(one.pairs), share) for one in rows]
    x = np.concatenate([one.sheet(where).of_set(features) for one, where in zip(rows, at, strict=True)])
    return x, np.concatenate([one.y[where] for one, where in zip(rows, at, strict=True)])


def fit_places(rows: Mapping[str, Rows], limits: Range, recipe: Recipe, pixels: int, seed: int) -> PlaceModel:
    """Fit on the drawn pixels of some places.

    The factor of the relative trees is 0.5; with several places it is what leaving each of them out in turn asks for,
    if that is less.
    """
    every = list(rows.values())
    res, relative = (fit_bands(*_pooled(every, name, pixels), recipe, seed) for name in ("res", "relative"))
    return PlaceModel(res, relative, _factor(rows, recipe, pixels, seed), limits)


def _factor(rows: Mapping[str, Rows], recipe: Recipe, pixels: int, seed: int) -> float:
    if len(rows) < 2:
        return LARGEST_SHRINK
    means, truths = [], []
    for left in rows:
        others = [one for name, one in rows.items() if name != left]
        model = fit_bands(*_pooled(others, "relative", pixels), recipe, seed)
        x, y = _pooled([rows[left]], "relative", pixels // len(rows))
        means.append(predict_bands(model, x))
        truths.append(y.astype(np.float64))
    return gated.shrink(np.concatenate(means), np.concatenate(truths), LARGEST_SHRINK)
