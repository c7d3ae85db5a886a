"""Values of the Earth Engine interpreter: images as functions of the pixel size, features, collections.

An image is a function of the pixel size (20 or 100 m) to planes; a plane is an array with NaN = masked, and one value for
everything outside it (NaN = masked; constants and unmask(v, sameFootprint=False) have a value everywhere).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NATIVE_M = 20
Array = np.ndarray


@dataclass
class Plane:
    data: Array
    outside: float = math.nan


@dataclass
class Image:
    """bands: pixel size in m -> planes by name;  crs: name, empty for an image without default projection."""

    bands: Callable[[int], dict[str, Plane]]
    properties: dict[str, Any] = field(default_factory=dict)
    crs: str = ""
    _seen: dict[int, dict[str, Plane]] = field(default_factory=dict)

    def at(self, pixel_m: int) -> dict[str, Plane]:
        if pixel_m not in self._seen:
            self._seen[pixel_m] = self.bands(pixel_m)
        return self._seen[pixel_m]


@dataclass
class Feature:
    properties: dict[str, Any]


@dataclass
class Geometry:
    coordinates: Any


@dataclass
class Reducer:
    name: str
    weighted: bool = True


@dataclass
class Collection:
    items: list[Any]


def source_image(properties: Mapping[str, Any], bands: Mapping[str, Array], crs: str = "EPSG:32755") -> Image:
    """An image of the data catalogue, with 20 m planes; at 100 m the mean of 5 x 5 valid pixels (SCL has none)."""

    def at(pixel_m: int) -> dict[str, Plane]:
        if pixel_m == NATIVE_M:
            return {name: Plane(np.asarray(data, float)) for name, data in bands.items()}
        assert pixel_m == 100, pixel_m
        return {name: Plane(_blocks(np.asarray(data, float))) for name, data in bands.items() if name != "SCL"}

    return Image(at, dict(properties), crs)


def _blocks(data: Array) -> Array:
    out = np.full((math.ceil(data.shape[0] / 5), math.ceil(data.shape[1] / 5)), np.nan)
    for i, j in np.ndindex(*out.shape):
        part = data[5 * i : 5 * i + 5, 5 * j : 5 * j + 5]
        if np.isfinite(part).any():
            out[i, j] = np.nanmean(part)
    return out
