"""Cloud over an area from the scene classification of Sentinel-2 L2A. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCL_NO_DATA, SCL_DEFECTIVE, SCL_SHADOW, SCL_SNOW = 0, 1, 3, 11
SCL_CLOUD = (8, 9, 10)  # medium and high probability, thin cirrus


@dataclass(frozen=True)
class CloudClasses:
    """Which classes of the scene classification count as cloud, shadow, snow and defective."""

    cloud: tuple[int, ...] = SCL_CLOUD
    shadow: tuple[int, ...] = (SCL_SHADOW,)
    snow: tuple[int, ...] = (SCL_SNOW,)
    defective: tuple[int, ...] = (SCL_DEFECTIVE,)


CLOUD_CLASSES = CloudClasses()


@dataclass(frozen=True)
class CloudStats:
    """cloud_aoi, shadow_aoi: percent of the valid pixels; valid_aoi: valid share of the area, 0..1."""

    cloud_aoi: float
    shadow_aoi: float
    valid_aoi: float


def scl_statistics(scl: NDArray[np.uint8], inside: NDArray[np.bool_]) -> CloudStats:
    """Cloud and shadow over the area.

    scl      (H, W) uint8 class 0..11; 0 no data and 1 defective are not valid and never count as clear
    inside   (H, W) bool, True inside the area
    returns  percentages over the valid pixels of the area, rounded to 4 decimals; 100 % cloud when none is valid
    raises   ValueError when shapes differ or the area is empty
    """
    if scl.shape != inside.shape:
        raise ValueError(f"classes {scl.shape} and area {inside.shape} differ in shape")
    n_area = int(np.count_nonzero(inside))
    if n_area == 0:
        raise ValueError("the area holds no pixel")
    counts = np.bincount(scl[inside].ravel(), minlength=256)
    n_valid = n_area - int(counts[SCL_NO_DATA] + counts[SCL_DEFECTIVE])
    if n_valid == 0:
        return CloudStats(100.0, 0.0, 0.0)
    cloud = 100.0 * float(counts[list(SCL_CLOUD)].sum()) / n_valid
    shadow = 100.0 * float(counts[SCL_SHADOW]) / n_valid
    return CloudStats(round(cloud, 4), round(shadow, 4), round(n_valid / n_area, 6))
