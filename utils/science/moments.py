"""Mean and spread of values that come in parts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations (M2) of the values of one group, float64."""

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0

    @classmethod
    def of(cls, values: NDArray[Any]) -> Moments:
        """Moments of all finite values of an array."""
        flat = np.asarray(values, dtype=np.float64).ravel()
        flat = flat[np.isfinite(flat)]
        if flat.size == 0:
            return cls()
        mean = float(flat.mean())
        return cls(int(flat.size), mean, float(((flat - mean) ** 2).sum()))

    @classmethod
    def merge(cls, parts: Iterable[Moments]) -> Moments:
        """Moments of the union (Chan, Golub and LeVeque 1983), with exactly rounded sums.

        The result does not depend on the order of the parts, so parts may come from any number of processes.
        """
        known = [part for part in parts if part.n]
        n = sum(part.n for part in known)
        if n == 0:
            return cls()
        mean = math.fsum(part.n * part.mean for part in known) / n
        m2 = math.fsum([part.m2 for part in known] + [part.n * (part.mean - mean) ** 2 for part in known])
        return cls(n, mean, m2)

    @property
    def std(self) -> float:
        """Population standard deviation, as scikit-learn's StandardScaler."""
        return math.sqrt(self.m2 / self.n) if self.n else math.nan
