"""Composite of an observed and a simulated image, with its source, standard deviation and what to abstain from.

All functions work on stripes: given `feather_px + 1` rows of surroundings they return the same bits as on the whole
image, because a pixel farther from hidden ground than that has weight 0 whatever its exact distance is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

OBSERVED, SIMULATED, FEATHERED, NO_SOURCE = 0, 1, 2, 255
HIDDEN_CODES = (1, 2, 4)  # cloud, shadow, defective of cloud.tif, which preprocessing has grown already
USE, ABSTAIN, NO_ABSTAIN = 0, 1, 255

Bool = NDArray[np.bool_]
F32 = NDArray[np.float32]


def has_data(image: NDArray[Any]) -> Bool:
    """(H, W) True where every band of (B, H, W) is finite."""
    return np.asarray(np.isfinite(image).all(axis=0), dtype=np.bool_)


def hidden_ground(cloud: NDArray[np.uint8], seen: Bool) -> Bool:
    """(H, W) True where t1 shows no ground: codes 1, 2, 4 of the grown mask, or no observation at all.

    cloud  (H, W) codes of cloud.tif; seen (H, W) every band of the observed image has data
    """
    return np.asarray(np.isin(cloud, HIDDEN_CODES) | ~seen)


def halo_rows(feather_px: int) -> int:
    """Rows of surroundings that `feather_weight` needs on each side of a stripe."""
    return feather_px + 1


def feather_weight(hidden: Bool, feather_px: int) -> NDArray[np.float64]:
    """(H, W) float64 weight of the simulated image: 1 where hidden, falling to 0 at feather_px + 1 pixels from there.

    w = 1 - d / (feather_px + 1), d = Euclidean distance to the nearest hidden pixel centre, in pixels
    """
    if not hidden.any():
        return np.zeros(hidden.shape)
    distance = ndimage.distance_transform_edt(~hidden)
    return np.asarray(np.clip(1.0 - distance / (feather_px + 1), 0.0, 1.0))


def mixing_weight(hidden: Bool, weight: NDArray[np.float64], made: Bool) -> NDArray[np.float64]:
    """The weight with 0 at clear pixels that have no simulated value (made False): they stay as observed."""
    return np.where(~made & ~hidden, 0.0, weight)


def mix(observed: NDArray[Any], simulated: NDArray[Any], hidden: Bool, weight: NDArray[np.float64]) -> F32:
    """One band: observed where weight is 0, simulated where hidden, (1-w)*observed + w*simulated between.

    observed, simulated  (H, W) reflectance, NaN = nodata; weight from `mixing_weight`
    returns              (H, W) float32, NaN where hidden and nothing is simulated. Pixels of weight 0 keep their bits.
    """
    image = np.asarray(observed, dtype=np.float32).copy()
    inner, edge = weight >= 1, (weight > 0) & (weight < 1)
    image[inner] = simulated[inner]
    share = weight[edge]
    image[edge] = observed[edge].astype(np.float64) * (1.0 - share) + simulated[edge].astype(np.float64) * share
    image[hidden & ~np.isfinite(simulated)] = np.nan
    return image


def source_codes(hidden: Bool, weight: NDArray[np.float64], made: Bool) -> NDArray[np.uint8]:
    """(H, W) uint8: 0 observed, 1 simulated, 2 feathered, 255 nodata (hidden and nothing simulated)."""
    codes = np.where(weight == 0, OBSERVED, np.where(hidden, SIMULATED, FEATHERED)).astype(np.uint8)
    codes[hidden & ~made] = NO_SOURCE
    return codes


def mixed_sigma(sigma: NDArray[Any], weight: NDArray[np.float64], sensor_sigma: float) -> F32:
    """Standard deviation of one band of the composite.

    sigma    (H, W) standard deviation of the simulated band, reflectance, NaN where there is none
    returns  (H, W) float32: sqrt((1-w)^2 sensor_sigma^2 + w^2 sigma^2), the variance of a weighted mean of two
             independent errors; sensor_sigma where w = 0, NaN where w > 0 and sigma is NaN
    """
    mixed = np.sqrt(((1.0 - weight) * sensor_sigma) ** 2 + (weight * np.nan_to_num(sigma)) ** 2)
    return np.where((weight > 0) & ~np.isfinite(sigma), np.nan, mixed).astype(np.float32)


def abstain_codes(
    source: NDArray[np.uint8], sar_bad: Bool, largest_sigma: NDArray[Any] | None, max_sigma: float
) -> NDArray[np.uint8]:
    """(H, W) uint8: 1 do not use, 0 use, 255 nodata; observed pixels are always to be used.

    source         codes of `source_codes`
    sar_bad        True where Sentinel-1 of any date has no value or one <= 0 (filled before prediction)
    largest_sigma  (H, W) largest standard deviation of the composite over bands, NaN = unknown; None without sigma
    """
    bad = sar_bad.copy()
    if largest_sigma is not None:
        bad |= ~(largest_sigma <= max_sigma)  # an unknown sigma is no small one
    codes = np.where(bad & (source != OBSERVED), ABSTAIN, USE).astype(np.uint8)
    codes[source == NO_SOURCE] = NO_ABSTAIN
    return codes


def composite(
    observed: NDArray[Any], simulated: NDArray[Any], cloudy: Bool, feather_px: int = 5
) -> tuple[F32, NDArray[np.uint8]]:
    """Observed image where clear, simulated under cloud and shadow, faded over feather_px outside the cloud.

    observed, simulated  (B, H, W) reflectance, NaN = nodata; cloudy (H, W) True where the ground is hidden
    returns              (B, H, W) float32 and the source (H, W): 0 observed, 1 simulated, 2 feathered, 255 nodata.
                         No pixel farther than feather_px from a hidden one is changed.
    """
    seen, made = has_data(observed), has_data(simulated)
    hidden = np.asarray(cloudy | ~seen)
    weight = mixing_weight(hidden, feather_weight(hidden, feather_px), made)
    bands = [
        mix(band, np.where(made, other, np.nan), hidden, weight)
        for band, other in zip(observed, simulated, strict=True)
    ]
    return np.stack(bands), source_codes(hidden, weight, made)
