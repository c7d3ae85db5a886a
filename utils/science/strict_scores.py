"""Scores of the strict split: sums per t1 date and block of the ground, intervals that draw both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.science import metrics

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
Sums = dict[str, dict[str, Matrix]]  # stratum -> "t1|block" -> sums of the scorer

STRATA = ("all", "changed", "unchanged", "changed_05")
LARGE_CHANGE = 0.05
CELL = "|"


@dataclass(frozen=True)
class Truth:
    """The true pair: s2_t0, s2_t1 (H, W, n) reflectance, mask (H, W) of the pixels that score."""

    s2_t0: NDArray[np.floating]
    s2_t1: NDArray[np.floating]
    mask: Mask


def strata_of(truth: Truth, bands: tuple[str, ...], threshold: float) -> dict[str, Mask]:
    """Changed, unchanged, and changed by more than 0.05 in the mean of the bands (no NDVI rule there)."""
    changed = metrics.changed_mask(truth.s2_t0, truth.s2_t1, bands, threshold)
    large = np.abs(truth.s2_t1.astype(np.float64) - truth.s2_t0).mean(axis=-1) > LARGE_CHANGE
    named = {"changed": changed, "unchanged": ~changed, "changed_05": large}
    return {name: mask & truth.mask for name, mask in named.items()}


class Board:
    """Sums of one method, cell by cell."""

    def __init__(self, bands: tuple[str, ...], block_px: int, threshold: float = metrics.CHANGED_REFLECTANCE) -> None:
        self.bands, self.block_px, self.threshold = bands, block_px, threshold
        self._scorer = metrics.Scorer(bands, similarity=False)

    def add(self, t1: str, prediction: NDArray[np.floating], truth: Truth) -> None:
        """Add a predicted image (H, W, n) of date t1, block by block."""
        strata = strata_of(truth, self.bands, self.threshold)
        rows, cols = truth.mask.shape
        for top in range(0, rows, self.block_px):
            for left in range(0, cols, self.block_px):
                at = (slice(top, top + self.block_px), slice(left, left + self.block_px))
                if truth.mask[at].any():
                    self._scorer.add(
                        f"{t1}{CELL}r{top:04d}c{left:04d}", prediction[at], truth.s2_t1[at], truth.mask[at],
                        reference=truth.s2_t0[at], strata={name: mask[at] for name, mask in strata.items()},
                    )  # fmt: skip

    def sums(self) -> Sums:
        return {name: self._scorer.sums(name) for name in STRATA}


def merged(parts: list[Sums]) -> Sums:
    """Sums of several folds or seeds, added up cell by cell."""
    out: Sums = {name: {} for name in STRATA}
    for part in parts:
        for name, cells in part.items():
            for cell, values in cells.items():
                out[name][cell] = out[name].get(cell, np.zeros_like(values)) + values
    return out


def cube(cells: Mapping[str, Matrix]) -> Matrix:
    """(dates, blocks, columns); cells that are not there are 0."""
    dates, blocks = (sorted({cell.split(CELL)[i] for cell in cells}) for i in (0, 1))
    width = len(next(iter(cells.values()))) if cells else 0
    out = np.zeros((len(dates), len(blocks), width))
    for cell, values in cells.items():
        date, block = cell.split(CELL)
        out[dates.index(date), blocks.index(block)] = values
    return out


def drawn_totals(sums: Matrix, draws: int, seed: int) -> Matrix:
    """(draws, columns) totals of a crossed bootstrap: t1 dates AND blocks are drawn with replacement, independently.

    A date that is drawn twice counts twice in every block, so that weather shared by all blocks of a date is not
    taken for many independent samples. Source: Owen 2007, Annals of Applied Statistics 1(2), the pigeonhole bootstrap.
    """
    generator = np.random.default_rng(seed)
    dates, blocks = sums.shape[:2]
    first = generator.multinomial(dates, np.full(dates, 1 / dates), size=draws).astype(np.float64)
    second = generator.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws).astype(np.float64)
    by_date = np.tensordot(first, sums, axes=(1, 0))
    return np.asarray(np.einsum("rbc,rb->rc", by_date, second))


def figures(sums: Sums, bands: int, draws: int, seed: int) -> dict[str, dict[str, Any]]:
    """Stratum -> figure -> {value, low, high}; 95 % percentiles, NaN left out."""
    out: dict[str, dict[str, Any]] = {}
    for name, cells in sums.items():
        if not cells:
            continue
        table = cube(cells)
        values = metrics.figures_of(table.sum(axis=(0, 1)), bands)
        drawn = metrics.figures_of(drawn_totals(table, draws, seed), bands)
        out[name] = {key: _interval(float(values[key]), drawn[key]) for key in ("psnr", "skill", "sam_deg", "mae")}
        out[name]["pixels"] = float(values["pixels"])
    return out


def gain_interval(sums: Sums, copy: Sums, bands: int, draws: int, seed: int) -> dict[str, float]:
    """PSNR of a method minus that of copying t0 over all pixels, drawn together."""
    both = [cube(part["all"]) for part in (sums, copy)]
    value = [float(metrics.figures_of(part.sum(axis=(0, 1)), bands)["psnr"]) for part in both]
    drawn = [metrics.figures_of(drawn_totals(part, draws, seed), bands)["psnr"] for part in both]
    return _interval(value[0] - value[1], drawn[0] - drawn[1])


def _interval(value: float, drawn: Matrix) -> dict[str, float]:
    finite = drawn[np.isfinite(drawn)]
    low, high = np.percentile(finite, [2.5, 97.5]) if finite.size else (np.nan, np.nan)
    return {"value": value, "low": float(low), "high": float(high)}
