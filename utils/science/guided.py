"""Guided filter with a guide of several channels: smooths radar speckle but keeps edges that an optical image shows.

In every square window the plane is regressed on the guide (ridge eps on the slopes); a pixel gets the mean of the
regressions of all windows that hold it. Source: He, Sun and Tang 2013, IEEE TPAMI 35(6), eq. 14 to 16 and 8.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Image = NDArray[np.floating]
Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]


@njit(cache=True)  # type: ignore[misc]
def _box_sums(planes: Matrix, radius: int) -> Matrix:
    """(n, H, W) sums over windows of side 2*radius+1, cut at the edges; running sums along columns, then rows."""
    count, rows, cols = planes.shape
    across = np.empty_like(planes)
    out = np.empty_like(planes)
    for n in range(count):
        for i in range(rows):
            total = 0.0
            for j in range(min(radius, cols)):
                total += planes[n, i, j]
            for j in range(cols):
                if j + radius < cols:
                    total += planes[n, i, j + radius]
                if j - radius - 1 >= 0:
                    total -= planes[n, i, j - radius - 1]
                across[n, i, j] = total
        running = np.zeros(cols)
        for i in range(min(radius, rows)):
            running += across[n, i]
        for i in range(rows):
            if i + radius < rows:
                running += across[n, i + radius]
            if i - radius - 1 >= 0:
                running -= across[n, i - radius - 1]
            out[n, i] = running
    return out


def box_sums(planes: Image, radius: int) -> Matrix:
    """Sums over square windows cut at the edges, for a plane (H, W) or a stack (n, H, W) without NaN."""
    values = np.ascontiguousarray(planes, dtype=np.float64)
    return np.asarray(_box_sums(values.reshape(-1, *values.shape[-2:]), radius)).reshape(values.shape)


def standardised(image: Image, valid: Mask) -> tuple[Matrix, Matrix, Matrix]:
    """Each channel minus its mean, over its standard deviation, both over the valid pixels of the scene.

    image    (H, W, C); valid (H, W)
    returns  (H, W, C) with 0 where not valid, means (C,), standard deviations (C,); a constant channel becomes 0
    """
    values = np.asarray(image, dtype=np.float64)
    chosen = values[valid]
    means = chosen.mean(axis=0) if len(chosen) else np.zeros(values.shape[-1])
    spread = chosen.std(axis=0) if len(chosen) else np.zeros(values.shape[-1])
    scaled = (np.where(valid[..., None], values, means) - means) / np.where(spread > 1e-9, spread, np.inf)
    return scaled, means, spread


class GuidedFilter:
    """The part of the filter that depends on the guide alone, kept so that many planes share it.

    guide   (H, W, C), finite where valid
    valid   (H, W) pixels that take part; the others get NaN and influence nothing
    radius  of the window, pixels; eps is added to the diagonal of the covariance of the guide
    raises  ValueError when eps is not positive or the guide is not finite where valid
    """

    def __init__(self, guide: Image, valid: Mask, radius: int, eps: float) -> None:
        if eps <= 0 or radius < 1:
            raise ValueError(f"eps {eps} and radius {radius} must be positive")
        channels = np.moveaxis(np.where(valid[..., None], guide, 0.0), -1, 0).astype(np.float64)
        if not np.isfinite(channels).all():
            raise ValueError("the guide is not finite everywhere it is valid")
        self.valid, self.radius, self._guide = valid, radius, channels
        self._count = box_sums(valid.astype(np.float64), radius)
        self._windows = box_sums((self._count > 0.5).astype(np.float64), radius)
        self._means = self._mean(channels)
        size = len(channels)
        upper = [(a, b) for a in range(size) for b in range(a, size)]
        products = self._mean(np.stack([channels[a] * channels[b] for a, b in upper]))
        covariance = np.empty((*valid.shape, size, size))
        for (a, b), mean in zip(upper, products, strict=True):
            covariance[..., a, b] = covariance[..., b, a] = mean - self._means[a] * self._means[b]
        self._inverse = np.linalg.inv(covariance + eps * np.eye(size))

    def _mean(self, planes: Matrix) -> Matrix:
        """Means over the valid pixels of each window; 0 where it has none."""
        return box_sums(planes, self.radius) / np.maximum(self._count, 1.0)

    def apply(self, plane: Image) -> Matrix:
        """Filtered plane (H, W); NaN where not valid.

        raises  ValueError when the plane is not finite somewhere it is valid
        """
        values = np.where(self.valid, plane, 0.0).astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("the plane is not finite everywhere the filter is valid")
        mean = self._mean(values)
        covariance = self._mean(self._guide * values) - self._means * mean
        slopes = np.einsum("hwab,bhw->ahw", self._inverse, covariance)
        offset = mean - (slopes * self._means).sum(axis=0)
        inside = self._count > 0.5
        both = box_sums(np.where(inside, np.concatenate([slopes, offset[None]]), 0.0), self.radius)
        both /= np.maximum(self._windows, 1.0)
        return np.where(self.valid, (both[:-1] * self._guide).sum(axis=0) + both[-1], np.nan)
