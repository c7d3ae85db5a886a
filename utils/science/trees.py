"""Boosted trees: fitted by scikit-learn, kept as plain arrays and evaluated exactly as scikit-learn would.

Arrays can be saved without pickle and read with any later version; the sums run in the same order, so predictions are
equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Matrix = NDArray[np.float64]

_FIELDS: dict[str, Any] = {
    "feature": np.int32, "threshold": np.float64, "missing_left": np.uint8, "left": np.int32, "right": np.int32,
    "value": np.float64, "roots": np.int32,
}  # fmt: skip
LEAF = -1
_BINNING_SAMPLE = 200_000


@dataclass(frozen=True)
class Recipe:
    """How trees are grown; no early stopping, so that nothing is chosen by a hidden part of the data."""

    iterations: int = 60
    rate: float = 0.08
    leaves: int = 15
    min_leaf: int = 200
    l2: float = 10.0


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _sum_trees(
    x: Floats, feature: Any, threshold: Any, missing_left: Any, left: Any, right: Any, value: Any, roots: Any, out: Any
) -> None:
    for i in range(x.shape[0]):
        total = out[i]
        for root in roots:
            node = root
            while left[node] >= 0:
                v = x[i, feature[node]]
                goes_left = missing_left[node] == 1 if np.isnan(v) else v <= threshold[node]
                node = left[node] if goes_left else right[node]
            total += value[node]
        out[i] = total


@dataclass(frozen=True)
class Forest:
    """Trees of one target, all nodes in one table.

    arrays    feature, threshold, missing_left, left, right (LEAF in leaves), value of each node; roots of the trees
    baseline  where the sum starts
    features  columns that predict() expects
    """

    arrays: Mapping[str, NDArray[Any]]
    baseline: float
    features: int

    def __post_init__(self) -> None:
        """raises  ValueError for arrays that do not fit together: a walk through them must end"""
        if set(self.arrays) != set(_FIELDS):
            raise ValueError(f"trees need the arrays {', '.join(_FIELDS)}; found {', '.join(sorted(self.arrays))}")
        nodes = len(self.arrays["feature"])
        if any(len(self.arrays[name]) != nodes for name in _FIELDS if name != "roots"):
            raise ValueError("arrays of the nodes differ in length")
        left, right, roots = (self.arrays[name].astype(np.int64) for name in ("left", "right", "roots"))
        inner = np.flatnonzero(left != LEAF)
        later = (left[inner] > inner) & (right[inner] > inner) & (left[inner] < nodes) & (right[inner] < nodes)
        known = (self.arrays["feature"][inner] >= 0) & (self.arrays["feature"][inner] < self.features)
        if not (later.all() and known.all() and ((roots >= 0) & (roots < nodes)).all()):
            raise ValueError("a node points to itself, backwards, outside, or to a feature that is not there")

    def predict(self, x: Floats) -> Matrix:
        """Predictions (N,) float64 for features (N, F) float32 or float64; NaN is a missing value.

        raises  ValueError for another number of features
        """
        if x.ndim != 2 or x.shape[1] != self.features:
            raise ValueError(f"features {x.shape}, the trees take (N, {self.features})")
        out = np.full(len(x), self.baseline)
        _sum_trees(np.ascontiguousarray(x), *(self.arrays[name] for name in _FIELDS), out)  # type: ignore[call-arg]
        return out

    def to_arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """All that is needed to rebuild, for an .npz file."""
        extra = {"baseline": np.array(self.baseline), "features": np.array(self.features)}
        return {f"{prefix}.{name}": value for name, value in {**self.arrays, **extra}.items()}

    @classmethod
    def from_arrays(cls, data: Mapping[str, NDArray[Any]], prefix: str) -> Forest:
        """raises  ValueError when something is missing or does not fit"""
        missing = [name for name in (*_FIELDS, "baseline", "features") if f"{prefix}.{name}" not in data]
        if missing:
            raise ValueError(f"{prefix}: no {', '.join(missing)}")
        arrays = {name: np.ascontiguousarray(data[f"{prefix}.{name}"], dtype=kind) for name, kind in _FIELDS.items()}
        return cls(arrays, float(data[f"{prefix}.baseline"]), int(data[f"{prefix}.features"]))


def from_sklearn(model: Any, features: int) -> Forest:
    """The trees of a fitted HistGradientBoostingRegressor without categorical features.

    raises  ValueError when it has categorical splits or several outputs
    """
    tables, roots, start = [], [], 0
    for trees in model._predictors:
        if len(trees) != 1 or trees[0].nodes["is_categorical"].any():
            raise ValueError("only one output and numerical features can be kept")
        nodes = trees[0].nodes
        leaf = nodes["is_leaf"].astype(bool)
        tables.append(
            {
                "feature": np.where(leaf, 0, nodes["feature_idx"]), "threshold": np.where(leaf, 0.0, nodes["num_threshold"]),
                "missing_left": nodes["missing_go_to_left"], "value": nodes["value"],
                "left": np.where(leaf, LEAF, nodes["left"].astype(np.int64) + start),
                "right": np.where(leaf, LEAF, nodes["right"].astype(np.int64) + start),
            }
        )  # fmt: skip
        roots.append(start)
        start += len(nodes)
    joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]} | {"roots": roots}
    arrays = {name: np.ascontiguousarray(joined[name], dtype=kind) for name, kind in _FIELDS.items()}
    return Forest(arrays, float(np.ravel(model._baseline_prediction)[0]), features)


def fit(x: Floats, y: Floats, recipe: Recipe, seed: int, weight: Floats | None = None) -> Forest:
    """Grow trees of y (N,) on features (N, F); seeded.

    weight  (N,) of the squared errors; None = equal
    raises  ValueError when there is no row
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    if not len(x):
        raise ValueError("no row to learn from")
    model = HistGradientBoostingRegressor(
        max_iter=recipe.iterations, learning_rate=recipe.rate, max_leaf_nodes=recipe.leaves,
        min_samples_leaf=recipe.min_leaf, l2_regularization=recipe.l2, early_stopping=False, random_state=seed,
    )  # fmt: skip
    return from_sklearn(model.fit(x, y, sample_weight=weight), x.shape[1])


def fit_bands(x: Floats, y: Floats, recipe: Recipe, seed: int) -> tuple[Forest, ...]:
    """One forest for each column of y (N, n), as fit() grows them to the last bit.

    The features are binned once for all columns, which is half of the work; where the installed scikit-learn has other
    inner parts, every column is fitted on its own. Above 200,000 rows binning draws a sample, which is left to fit().
    """
    if not len(x):
        raise ValueError("no row to learn from")
    if len(x) <= _BINNING_SAMPLE:
        with suppress(ImportError, TypeError, AttributeError):
            return _fit_shared(x, y, recipe)
    return tuple(fit(x, y[:, band], recipe, seed) for band in range(y.shape[1]))


def _fit_shared(x: Floats, y: Floats, recipe: Recipe) -> tuple[Forest, ...]:
    """Gradient boosting of squared errors with scikit-learn's own binning and tree growing."""
    from sklearn.ensemble._hist_gradient_boosting.binning import _BinMapper

    values = np.ascontiguousarray(x, dtype=np.float64)
    mapper = _BinMapper(n_bins=256, random_state=0, n_threads=1)
    bins = mapper.fit_transform(values)
    missing = np.isnan(values).any(axis=0).astype(np.uint8)
    return tuple(_grow(bins, mapper, missing, y[:, band], recipe, x.shape[1]) for band in range(y.shape[1]))


def _grow(bins: Any, mapper: Any, missing: Any, y: Floats, recipe: Recipe, features: int) -> Forest:
    from sklearn.ensemble._hist_gradient_boosting.grower import TreeGrower

    truth = np.asarray(y, dtype=np.float64)
    baseline = float(np.average(truth))
    found = np.full(len(truth), baseline)
    hessians = np.ones(1, dtype=np.float32)
    grown = []
    for _ in range(recipe.iterations):
        grower = TreeGrower(
            X_binned=bins, gradients=(found - truth).astype(np.float32), hessians=hessians, n_bins=256,
            n_bins_non_missing=mapper.n_bins_non_missing_, has_missing_values=missing, max_leaf_nodes=recipe.leaves,
            min_samples_leaf=recipe.min_leaf, l2_regularization=recipe.l2, shrinkage=recipe.rate, n_threads=1,
        )  # fmt: skip
        grower.grow()
        grown.append([grower.make_predictor(binning_thresholds=mapper.bin_thresholds_)])
        for leaf in grower.finalized_leaves:
            found[np.asarray(leaf.sample_indices)] += leaf.value
    return from_sklearn(_Grown(grown, np.array([baseline])), features)


@dataclass(frozen=True)
class _Grown:
    """What from_sklearn reads of an estimator."""

    _predictors: list[Any]
    _baseline_prediction: Any


def predict_bands(forests: tuple[Forest, ...], x: Floats) -> Matrix:
    """(N, n) predictions of one forest a column."""
    return np.stack([forest.predict(x) for forest in forests], axis=-1)
