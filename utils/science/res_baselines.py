"""season_only and histgbm_res as rivals in the table of every report: fitted on train samples like the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from utils.science import res_features, strict_rows
from utils.science.res_features import View
from utils.science.trees import Recipe, fit_bands, predict_bands

if TYPE_CHECKING:
    from utils.science.baselines import Inputs, Labelled

Matrix = NDArray[np.float64]

FEATURES = {"season_only": "season", "histgbm_res": "res"}


def view_of(inputs: Inputs) -> View:
    """What a tree model may see of a sample; without scene facts, those of the sample itself."""
    return View(
        inputs.s1_t0, inputs.s1_t1, inputs.s2_t0, inputs.bands, None, inputs.day_t0, inputs.day_t1, inputs.facts
    )  # fmt: skip


def fit(name: str, samples: Iterable[Labelled], count: int, pixels: int, seed: int) -> Callable[[Inputs], Matrix]:
    """Fit one of FEATURES on `count` samples, about `pixels` pixels in all.

    raises  ValueError when no train sample has a clear pixel
    """
    held = list(samples)
    if not held:
        raise ValueError("no train sample has a clear pixel")
    bands = held[0].inputs.bands
    names = res_features.names_of(FEATURES[name], bands)
    planes_of = res_features.season_planes if name == "season_only" else res_features.planes_of
    share = max(1, pixels // max(count, 1))

    def read(pair: tuple[str, str]) -> tuple[res_features.Planes, Matrix, NDArray[np.bool_]]:
        sample = held[int(pair[0])]
        finite = np.isfinite(sample.inputs.s2_t0).all(axis=-1)
        change = np.asarray(sample.s2_t1, dtype=np.float64) - sample.inputs.s2_t0
        return planes_of(view_of(sample.inputs)), change, np.asarray(sample.mask & finite)

    keys = [(str(number), "") for number in range(len(held))]
    rows = strict_rows.draw(keys, lambda _: share, read, names, bands, seed)
    forests = fit_bands(rows.x, rows.y, Recipe(), seed)

    def predict(inputs: Inputs) -> Matrix:
        change = predict_bands(forests, res_features.columns(planes_of(view_of(inputs)), names))
        return np.asarray(inputs.s2_t0, dtype=np.float64) + change.reshape(inputs.s2_t0.shape)

    return predict
