"""Is a written sigma right on test ground? Coverage with block intervals and AUSE against one sigma for all, by stratum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.science import metrics, uncertainty
from utils.science.evaluation import Truth, plain

Image = NDArray[np.floating]
Matrix = NDArray[np.float64]

PIXELS = 400_000  # drawn for AUSE, which sorts them
_COLUMNS = 5  # values, within 68 %, within 95 %, squared error, squared sigma


class SigmaJudge:
    """Streaming judgement of the sigma of one method.

    pieces    number of pieces that will be added: AUSE takes the same share of each
    width_95  half width of the interval of 95 % in sigmas: one a band, or one for all
    """

    def __init__(
        self,
        pieces: int,
        seed: int = 0,
        pixels: int = PIXELS,
        width_95: Sequence[float] | float = uncertainty.NORMAL_95,
    ) -> None:
        self._width_95 = np.asarray(width_95, np.float64)
        self._share, self._seed, self._number = max(1, pixels // max(1, pieces)), seed, 0
        self._sums: dict[str, dict[str, Matrix]] = {}
        self._drawn: dict[str, list[tuple[Matrix, Matrix]]] = {}

    def add(self, block: str, prediction: Image, sigma: Image, truth: Truth) -> None:
        """Add a piece: prediction and sigma (H, W, B) reflectance; pixels without either are left out."""
        good = truth.mask & np.isfinite(prediction).all(axis=-1) & np.isfinite(sigma).all(axis=-1)
        good &= (sigma > 0).all(axis=-1)
        error = np.abs(prediction.astype(np.float64) - truth.s2_t1)[good]
        spread = sigma.astype(np.float64)[good]
        inside = [error <= spread, error <= self._width_95 * spread]
        parts = [np.ones_like(error), *inside, error**2, spread**2]
        columns = np.stack([np.asarray(part, np.float64).sum(axis=-1) for part in parts], axis=-1)
        chosen = np.zeros(len(error), bool)
        generator = np.random.default_rng([self._seed, self._number])
        chosen[generator.permutation(len(error))[: self._share]] = True
        self._number += 1
        for name, member in {"all": truth.mask, **truth.strata}.items():
            here = member[good]
            blocks = self._sums.setdefault(name, {})
            blocks[block] = blocks.get(block, np.zeros(_COLUMNS)) + columns[here].sum(axis=0)
            squared, own = (np.square(part[here & chosen]).mean(axis=-1) for part in (error, spread))
            self._drawn.setdefault(name, []).append((squared, np.sqrt(own)))

    def to_json(self, draws: int, seed: int) -> dict[str, Any]:
        """stratum -> pixels, coverage {68, 95} with 95 % intervals, ause, ause_constant, rmse, sigma (root mean square).

        Strata without a pixel are left out
        """
        found = {}
        for name, blocks in self._sums.items():
            matrix = np.stack(
                [blocks[block] for block in sorted(blocks) if blocks[block][0] > 0] or [np.zeros(_COLUMNS)]
            )
            total = matrix.sum(axis=0)
            if total[0] > 0:
                found[name] = self._figures(name, matrix, total, draws, seed)
        return dict(plain(found))

    def _figures(self, name: str, matrix: Matrix, total: Matrix, draws: int, seed: int) -> dict[str, Any]:
        squared, spread = (np.concatenate(parts) for parts in zip(*self._drawn[name], strict=True))
        levels = list(uncertainty.LEVELS)
        drawn = metrics.draw_blocks(matrix[matrix[:, 0] > 0], draws, seed)
        shares = None if drawn is None else drawn[:, 1:3] / drawn[:, :1]
        return {
            "values": total[0],
            "coverage": {level: total[i + 1] / total[0] for i, level in enumerate(levels)},
            "interval": {
                level: metrics.percentiles(None if shares is None else shares[:, i]) for i, level in enumerate(levels)
            },
            "ause": uncertainty.ause(squared, spread),
            "ause_constant": uncertainty.ause(squared, np.ones(squared.size)),
            "rmse": np.sqrt(total[3] / total[0]),
            "sigma": np.sqrt(total[4] / total[0]),
        }
