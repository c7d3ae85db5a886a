"""Pixels drawn once from every training pair, from which all models of all folds on that half learn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.science.res_features import Planes, columns, names_of

F32 = NDArray[np.float32]
Matrix = NDArray[np.float64]
Pair = tuple[str, str]


@dataclass(frozen=True)
class Sheet:
    """Features (N, F) of some pixels, by name."""

    names: tuple[str, ...]
    bands: tuple[str, ...]
    x: F32

    def columns(self, wanted: Sequence[str]) -> F32:
        """(N, len(wanted)); ValueError for a feature that is not there."""
        return np.ascontiguousarray(self.x[:, [self.names.index(name) for name in wanted]])

    def of_set(self, chosen: str) -> F32:
        """Those of a set of features."""
        return self.columns(names_of(chosen, self.bands))

    def one(self, name: str) -> Matrix:
        """(N,) float64."""
        return self.x[:, self.names.index(name)].astype(np.float64)


@dataclass(frozen=True)
class Rows:
    """Drawn pixels.

    x      (N, F) features named by `names`
    y      (N, n) true change of reflectance
    pair   (N,) index into pairs
    rank   (N,) position in the random order of its pair: the first k of every pair are a fair draw of k
    """

    names: tuple[str, ...]
    bands: tuple[str, ...]
    x: F32
    y: F32
    pair: NDArray[np.int32]
    rank: NDArray[np.int32]
    pairs: tuple[Pair, ...]

    def of_pairs(self, wanted: Collection[Pair], limit: int | None = None) -> NDArray[np.intp]:
        """Positions of the rows of some pairs; with a limit, about so many, the same number from every pair."""
        chosen = np.array([pair in wanted for pair in self.pairs])
        keep = chosen[self.pair]
        if limit is not None and chosen.any():
            keep &= self.rank < max(1, -(-limit // int(chosen.sum())))
        return np.flatnonzero(keep)

    def sheet(self, at: NDArray[np.intp]) -> Sheet:
        """Features of some rows."""
        return Sheet(self.names, self.bands, self.x[at])


def all_names(bands: Sequence[str], sets: Iterable[str]) -> tuple[str, ...]:
    """Every feature that some of the sets need, once, in a fixed order."""
    return tuple(dict.fromkeys(name for chosen in sets for name in names_of(chosen, bands)))


def draw(
    pairs: Sequence[Pair],
    counts: Callable[[Pair], int],
    read: Callable[[Pair], tuple[Planes, Matrix, NDArray[np.bool_]]],
    names: Sequence[str],
    bands: tuple[str, ...],
    seed: int,
) -> Rows:
    """Draw pixels of every pair.

    counts  how many at most
    read    planes of features, true change (H, W, n) and pixels (H, W) that may be learned from
    raises  ValueError when no pair has one
    """
    xs, ys, owners, ranks = [], [], [], []
    for number, pair in enumerate(pairs):
        planes, change, usable = read(pair)
        where = np.flatnonzero(usable & np.isfinite(change).all(axis=-1))
        chosen = np.random.default_rng((seed, 17, number)).permutation(where)[: counts(pair)]
        xs.append(columns(planes, names, chosen))
        ys.append(change.reshape(-1, change.shape[-1])[chosen].astype(np.float32))
        owners.append(np.full(len(chosen), number, np.int32))
        ranks.append(np.arange(len(chosen), dtype=np.int32))
    if not sum(map(len, owners)):
        raise ValueError("no training pair has a usable pixel")
    return Rows(
        tuple(names), bands, np.concatenate(xs), np.concatenate(ys), np.concatenate(owners), np.concatenate(ranks),
        tuple(pairs),
    )  # fmt: skip
