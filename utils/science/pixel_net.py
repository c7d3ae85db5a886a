"""A small network on the features of single pixels: what it is made of, and its answer by plain matrix products.

The features hold the surroundings already (guided radar, box means, statistics of the scene). Trees answer in steps, this
network smoothly: their mean errs less than either (docs/results.md). models/pixel_net.py trains it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Matrix = NDArray[np.float64]

CLIP = 4.0  # standard deviations: features beyond are taken as this far away, so that nothing is extrapolated without bound
_CHUNK = 1 << 16


@dataclass(frozen=True)
class NetRecipe:
    """How the network is made and trained; chosen inside the halves of a place, away from what the strict split tests.

    noise  standard deviation of what is added to standardised features in training
    ema    momentum of the moving average of the weights, which is what is kept
    """

    hidden: tuple[int, ...] = (64, 64)
    dropout: float = 0.3
    noise: float = 0.3
    epochs: int = 12
    batch: int = 512
    rate: float = 2e-3
    weight_decay: float = 1e-2
    ema: float = 0.99


@dataclass(frozen=True)
class PixelNet:
    """Dense layers with SiLU between them (Hendrycks and Gimpel 2016), none after the last.

    mean, spread  (F,) of the training features; spread > 0
    scale         standard deviation of the training targets: the last layer gives change / scale
    layers        kernel (inputs, outputs) and bias (outputs,) of each layer
    """

    mean: F32
    spread: F32
    scale: float
    layers: tuple[tuple[F32, F32], ...]

    def __post_init__(self) -> None:
        """raises  ValueError for arrays that do not fit together"""
        width = len(self.mean)
        fits = self.spread.shape == (width,) and bool(self.layers) and bool((self.spread > 0).all())
        for kernel, bias in self.layers:
            fits = fits and kernel.ndim == 2 and kernel.shape == (width, len(bias))
            width = len(bias)
        if not fits:
            raise ValueError("the arrays of a pixel network do not fit together")

    @property
    def parameters(self) -> int:
        """Numbers that were trained."""
        return sum(kernel.size + bias.size for kernel, bias in self.layers)

    def predict(self, x: NDArray[np.floating]) -> Matrix:
        """(N, n) float64 change of reflectance for features (N, F); NaN counts as the mean of the training.

        raises  ValueError for another number of features
        """
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise ValueError(f"features {x.shape}, the network takes (N, {len(self.mean)})")
        parts = [self._predict(x[first : first + _CHUNK]) for first in range(0, len(x), _CHUNK)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.layers[-1][1])))

    def with_trees(self, x: NDArray[np.floating], trees: Matrix) -> Matrix:
        """(N, n) mean of what trees answered and of `predict`; trees alone where a feature lies beyond CLIP standard
        deviations of the training (water after a training on forest, say): trees never leave what they saw."""
        far = (np.abs((x - self.mean) / self.spread) > CLIP).any(axis=1)  # NaN is not known, so not far
        return np.where(far[:, None], trees, (trees + self.predict(x)) / 2)

    def _predict(self, x: NDArray[np.floating]) -> Matrix:
        value = standardised(x, self.mean, self.spread)
        for kernel, bias in self.layers[:-1]:
            value = value @ kernel + bias
            value = value / (1 + np.exp(-value))
        kernel, bias = self.layers[-1]
        return (value @ kernel + bias).astype(np.float64) * self.scale

    def to_arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """All that is needed to rebuild, for an .npz file."""
        out = {"mean": self.mean, "spread": self.spread, "scale": np.array(self.scale)}
        for number, (kernel, bias) in enumerate(self.layers):
            out |= {f"kernel{number}": kernel, f"bias{number}": bias}
        return {f"{prefix}.{name}": value for name, value in out.items()}

    @classmethod
    def from_arrays(cls, data: Mapping[str, NDArray[Any]], prefix: str) -> PixelNet:
        """raises  ValueError when something is missing or does not fit"""
        try:
            mean, spread, scale = (data[f"{prefix}.{name}"] for name in ("mean", "spread", "scale"))
            layers: list[tuple[F32, F32]] = []
            while f"{prefix}.kernel{len(layers)}" in data:
                layers.append((data[f"{prefix}.kernel{len(layers)}"], data[f"{prefix}.bias{len(layers)}"]))
        except KeyError as error:
            raise ValueError(f"{prefix}: no {error}") from error
        return cls(mean, spread, float(scale), tuple(layers))


def standardised(x: NDArray[np.floating], mean: F32, spread: F32) -> F32:
    """(N, F) float32: (x - mean) / spread, cut to CLIP either way; NaN becomes 0, the mean."""
    value: F32 = np.clip((np.asarray(x, np.float32) - mean) / spread, -CLIP, CLIP).astype(np.float32, copy=False)
    value[np.isnan(value)] = 0.0
    return value
