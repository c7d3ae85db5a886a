"""A bag of trees with a learned gate for model histgbm_res: the change is scaled down where bags erred on unseen dates.

source  docs/results.md compares it with the plain trees on unseen ground and season
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.science import gated
from utils.science.gated import Bagged
from utils.science.strict_methods import Bag, SetModel, fit_bag, gate_sheet, learn
from utils.science.strict_rows import Pair, Rows, Sheet
from utils.science.trees import Forest, Recipe

Matrix = NDArray[np.float64]
HeldOut = Sequence[tuple[set[Pair], set[Pair]]]

BANDS_NEEDED = frozenset(("B04", "B08"))
FEATURES = ("res", *gated.BAG_SETS)


@dataclass(frozen=True)
class Gate:
    """Members that each saw 60 % of the dates, and the trees that say how far to trust their mean."""

    bag: Bag
    forest: Forest

    def predict(self, sheet: Sheet) -> Matrix:
        """(N, n) change of reflectance."""
        found = self.bag.predict(sheet)
        return gated.gated(self.forest, gate_sheet(found, sheet), found.mean)

    @property
    def sets(self) -> list[str]:
        """Features of each member."""
        return [member.features for member in self.bag.members]

    def to_arrays(self, bands: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Nodes of all forests by name."""
        out = self.forest.to_arrays("gate") | self.bag.p_changed.forests[0].to_arrays("p_changed")
        for number, member in enumerate(self.bag.members):
            for band, forest in zip(bands, member.forests, strict=True):
                out |= forest.to_arrays(f"bag{number}.{band}")
        return out

    @classmethod
    def from_arrays(cls, data: Mapping[str, NDArray[Any]], sets: Sequence[str], bands: Sequence[str]) -> Gate:
        """Inverse of to_arrays; sets as the property of that name."""
        members = tuple(
            SetModel(features, tuple(Forest.from_arrays(data, f"bag{number}.{band}") for band in bands))
            for number, features in enumerate(sets)
        )
        changed = SetModel("res", (Forest.from_arrays(data, "p_changed"),))
        return cls(Bag(members, changed), Forest.from_arrays(data, "gate"))


def fit(rows: Rows, held_out: HeldOut, recipe: Recipe, pixels: int, seed: int) -> tuple[Gate, float] | None:
    """Gate, and shrink factor of the plain trees, from predictions of dates that no fit behind them had seen.

    held_out  pairs that stay in and pairs that are predicted, one entry a group of dates
    pixels    that one fit on everything sees; members see a third, those behind the gate a sixth
    returns   None when no group can be held out
    """
    found: list[tuple[Bagged, Matrix, NDArray[np.intp]]] = []
    for away, tested in held_out:
        at, test = rows.of_pairs(away, pixels // 6), rows.of_pairs(tested, pixels // 3)
        if not len(at) or not len(test):
            continue
        bag = fit_bag(rows, sorted(away), pixels // 6, seed, gated.INNER_ROUNDS, recipe)
        plain, sheet = learn(rows, at, "res", recipe, seed), rows.sheet(test)
        found.append((bag.predict(sheet), plain.predict(sheet), test))
    if not found:
        return None
    joined = Bagged(*(np.concatenate([getattr(f[0], n) for f in found]) for n in ("mean", "spread", "p_changed")))
    at = np.concatenate([f[2] for f in found])
    truth, sheet = rows.y[at].astype(np.float64), rows.sheet(at)
    forest = gated.fit_gate(gate_sheet(joined, sheet), joined.mean, truth, seed)
    bag = fit_bag(rows, list(rows.pairs), pixels // 3, seed, gated.BAG_ROUNDS, recipe)
    return Gate(bag, forest), gated.shrink(np.concatenate([f[1] for f in found]), truth)
