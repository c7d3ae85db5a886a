"""Linear rivals on rows of pixels: a gain and an offset of each band, and a ridge regression of the change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Gain:
    """S2(t1) = gain * S2(t0) + offset, (n,) each."""

    gain: Matrix
    offset: Matrix

    def image(self, s2_t0: NDArray[np.floating]) -> Matrix:
        """(..., n) reflectance at t1 for that at t0."""
        return np.asarray(s2_t0, dtype=np.float64) * self.gain + self.offset

    def change(self, s2_t0: NDArray[np.floating]) -> Matrix:
        """(..., n) S2(t1) - S2(t0)."""
        return self.image(s2_t0) - np.asarray(s2_t0, dtype=np.float64)


def gain_sums(before: Matrix, after: Matrix) -> Matrix:
    """(5, n) sums of least squares over rows (N, n): number, x, y, x x, x y. Sums of parts may be added."""
    return np.stack(
        [
            np.full(before.shape[1], len(before)), before.sum(0), after.sum(0), (before * before).sum(0),
            (before * after).sum(0),
        ]
    )  # fmt: skip


def fit_gain(sums: Matrix) -> Gain:
    """Least squares from gain_sums; a band that does not vary gets gain 1.

    raises  ValueError for fewer than two rows
    """
    n, sx, sy, sxx, sxy = sums
    if n[0] < 2:
        raise ValueError("a gain needs two pixels")
    spread = n * sxx - sx * sx
    varies = spread > 1e-12 * n * np.maximum(sxx, 1e-30)
    gain = np.where(varies, (n * sxy - sx * sy) / np.where(varies, spread, 1.0), 1.0)
    return Gain(gain, (sy - gain * sx) / n)


@dataclass(frozen=True)
class Ridge:
    """Change (N, n) = standardised features times weights plus intercept; missing features become the train median."""

    medians: Matrix
    mean: Matrix
    spread: Matrix
    weights: Matrix
    intercept: Matrix

    def predict(self, x: NDArray[np.floating]) -> Matrix:
        """(N, n) change for features (N, F)."""
        full = np.where(np.isfinite(x), x, self.medians)
        return ((full - self.mean) / self.spread) @ self.weights + self.intercept


def fit_ridge(x: NDArray[np.floating], y: NDArray[np.floating], alpha: float = 1.0) -> Ridge:
    """Ridge regression of y (N, n) on x (N, F) standardised, NaN = missing; penalty alpha on the weights."""
    from sklearn import linear_model, preprocessing

    medians = np.nanmedian(np.asarray(x, dtype=np.float64), axis=0)
    full = np.where(np.isfinite(x), x, medians)
    scaler = preprocessing.StandardScaler().fit(full)
    model = linear_model.Ridge(alpha=alpha).fit(scaler.transform(full), np.asarray(y, dtype=np.float64))
    return Ridge(medians, scaler.mean_, scaler.scale_, model.coef_.T, model.intercept_)
