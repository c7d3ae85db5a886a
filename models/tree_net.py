"""What predicts the change inside the landscape of the training: boosted trees, alone or averaged with a pixel network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.config import ModelConf
from utils.science.pixel_net import NetRecipe, PixelNet
from utils.science.trees import Forest, Recipe, fit_bands, predict_bands

Matrix = NDArray[np.float64]
WITH_NET = "trees_net"  # name of the model
_NET = "res.net"


def recipe_of(model: ModelConf) -> Recipe:
    """How the trees of a model.yaml are grown."""
    own = model.trees
    return Recipe(own.iterations, own.rate, own.leaves, own.min_leaf, own.l2)


def net_of(model: ModelConf) -> NetRecipe | None:
    """How the pixel network of a model.yaml is trained; None for trees alone."""
    return NetRecipe(**model.net.model_dump()) if model.model == WITH_NET else None


def facts_of_net(model: ModelConf, fitted: ResModel) -> dict[str, Any] | None:
    """What the card says of the network; None where there is none."""
    recipe = net_of(model)
    return None if recipe is None or fitted.net is None else asdict(recipe) | {"parameters": fitted.net.parameters}


@dataclass(frozen=True)
class ResModel:
    """Forests of the change, one a band; net: the other half of a mean where its features are known, or None."""

    forests: tuple[Forest, ...]
    net: PixelNet | None = None

    def predict(self, x: NDArray[np.float32]) -> Matrix:
        """(N, n) change of reflectance for the features `res` (N, F)."""
        found = predict_bands(self.forests, x)
        return found if self.net is None else self.net.with_trees(x, found)

    def to_arrays(self, bands: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        """Nodes and weights by name."""
        out: dict[str, NDArray[Any]] = {} if self.net is None else self.net.to_arrays(_NET)
        for band, forest in zip(bands, self.forests, strict=True):
            out |= forest.to_arrays(f"res.{band}")
        return out

    @classmethod
    def from_arrays(cls, data: Mapping[str, NDArray[Any]], bands: tuple[str, ...]) -> ResModel:
        """raises  ValueError when something is missing or does not fit"""
        forests = tuple(Forest.from_arrays(data, f"res.{band}") for band in bands)
        return cls(forests, PixelNet.from_arrays(data, _NET) if f"{_NET}.mean" in data else None)


def fit(x: NDArray[np.float32], y: NDArray[np.float32], recipe: Recipe, net: NetRecipe | None, seed: int) -> ResModel:
    """Fit on the features `res` (N, F) and the change (N, n); net None = trees alone.

    raises  ValueError when there is no row
    """
    forests = fit_bands(x, y, recipe, seed)
    if net is None:
        return ResModel(forests)
    from models.pixel_net import fit as fit_net

    return ResModel(forests, fit_net(x, y, net, seed))
