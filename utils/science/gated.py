"""Several tree models as one: their mean, their spread, and a gate that scales the predicted change down where the
members were wrong on dates that they had not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.science.trees import Forest, Recipe, fit

F32 = NDArray[np.float32]
Matrix = NDArray[np.float64]

GATE_RECIPE = Recipe(leaves=8)
GATE_MAX = 1.2
GATE_INPUTS = ("size", "spread", "size_over_spread", "p_changed", "B08", "B04", "NDVI")
BAG_SETS = ("res", "res_no_calendar", "season", "means")
BAG_ROUNDS = 2
BAG_SHARE = 0.6
INNER_ROUNDS = 1  # rounds of the bags behind the gate: one fit a set of features, so that they cost half
_TINY = 1e-12


@dataclass(frozen=True)
class Bagged:
    """Predictions of a bag: mean and spread of the change (N, n), probability of a change (N,)."""

    mean: Matrix
    spread: Matrix
    p_changed: Matrix


def bagged(members: Sequence[Matrix], p_changed: Matrix) -> Bagged:
    """Mean and standard deviation over the first axis of (members, N, n), at least two members.

    The deviation is that of a sample (divided by members - 1): bags of four and of eight then tell the same on average.
    """
    stack = np.asarray(members)
    return Bagged(stack.mean(axis=0), stack.std(axis=0, ddof=1), p_changed)


def date_draws(dates: Sequence[Any], seed: int, rounds: int = BAG_ROUNDS * len(BAG_SETS)) -> list[frozenset[Any]]:
    """For each member of a bag the t1 dates that it learns from: a random 60 %, at least one."""
    ordered = sorted(set(dates))
    count = max(1, round(BAG_SHARE * len(ordered)))
    out = []
    for member in range(rounds):
        chosen = np.random.default_rng((seed, 31, member)).permutation(len(ordered))[:count]
        out.append(frozenset(ordered[i] for i in chosen))
    return out


def gate_target(mean: Matrix, truth: Matrix) -> tuple[Matrix, Matrix]:
    """Best factor of each pixel and its weight.

    mean, truth  (N, n) predicted and true change
    returns      g = <mean, truth> / <mean, mean> cut to 0..1.2 (0 where nothing is predicted), weight |mean|^2
    """
    size2 = (mean * mean).sum(axis=1)
    factor = (mean * truth).sum(axis=1) / np.maximum(size2, _TINY)
    return np.clip(np.where(size2 > _TINY, factor, 0.0), 0.0, GATE_MAX), size2


def gate_inputs(bag: Bagged, nir: Matrix, red: Matrix, ndvi: Matrix) -> F32:
    """(N, 7) float32 in the order of GATE_INPUTS; sizes are norms over the bands."""
    size, spread = np.linalg.norm(bag.mean, axis=1), np.linalg.norm(bag.spread, axis=1)
    ratio = size / np.maximum(spread, 1e-6)
    return np.stack([size, spread, ratio, bag.p_changed, nir, red, ndvi], axis=1).astype(np.float32)


def fit_gate(inputs: F32, mean: Matrix, truth: Matrix, seed: int) -> Forest:
    """Trees that predict the factor. The rows must be predictions for dates that the bag had not seen."""
    target, weight = gate_target(mean, truth)
    return fit(inputs, target, GATE_RECIPE, seed, weight=weight)


def gated(gate: Forest, inputs: F32, mean: Matrix) -> Matrix:
    """(N, n) change of the bag times the predicted factor, cut to 0..1.2."""
    return np.clip(gate.predict(inputs), 0.0, GATE_MAX)[:, None] * mean


def shrink(mean: Matrix, truth: Matrix, largest: float = 1.0) -> float:
    """The one factor 0..largest that fits predictions of unseen dates best: <mean, truth> / <mean, mean> over all."""
    total = float((mean * mean).sum())
    return float(np.clip((mean * truth).sum() / total, 0.0, largest)) if total > _TINY else 0.0
