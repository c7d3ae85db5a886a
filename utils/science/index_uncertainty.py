"""From the standard deviation of bands to that of an index, and to the probability of a class.

The error of the simulated t1 is taken as normal. An index is not linear in its bands, so its standard deviation comes
from the delta method: s^2 = sum_ij g_i g_j r_ij s_i s_j with the gradient g of the index at the simulated value and the
correlation r of the errors of two bands. Seeded draws of the bands agree within a few per cent where the sum of the two
bands is well above its own standard deviation (tests); unlike draws it costs two evaluations a band and has no noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from utils.science import indices

Matrix = NDArray[np.float64]
FloatArray = NDArray[np.floating]
STEP = 1e-5  # reflectance; central differences of these rational functions are then exact to about 1e-8
SENSOR_SIGMA = 0.003  # reflectance; what is left of an observed pixel


def gradient(name: str, bands: Mapping[str, FloatArray]) -> dict[str, Matrix]:
    """Derivative of index `name` by each band it uses, at every pixel; NaN where the index is.

    A normalised difference takes a negative reflectance for 0; a value nearer to 0 than the step is moved there first,
    so that its derivative is that of the positive side.
    """
    used = indices.INDICES[name][1]
    at = {band: np.asarray(bands[band], dtype=np.float64) for band in used}
    if name in indices.NORMALISED:
        at = {
            band: np.where(plane < 2 * STEP, np.where(np.isnan(plane), np.nan, 2 * STEP), plane)
            for band, plane in at.items()
        }
    found = {}
    for band in used:
        up, down = (indices.compute(name, at | {band: at[band] + sign * STEP}) for sign in (1, -1))
        found[band] = (up - down) / (2 * STEP)
    return found


def index_sigma(
    name: str,
    bands: Mapping[str, FloatArray],
    sigma: Mapping[str, FloatArray],
    correlation: Mapping[tuple[str, str], float] | None = None,
) -> Matrix:
    """Standard deviation of index `name` by the delta method.

    bands        reflectance, (H, W) each; sigma: its standard deviation, reflectance, >= 0
    correlation  of the errors of two bands, in either order of names; 0 where not given
    returns      (H, W) float64, NaN where a band or its sigma is. That of a normalised difference is at most 1: the
                 index lies in -1..1, and no distribution there spreads wider
    """
    slopes = gradient(name, bands)
    spread = {band: slopes[band] * np.asarray(sigma[band], dtype=np.float64) for band in slopes}
    names = list(spread)
    total: Matrix = np.sum([plane**2 for plane in spread.values()], axis=0)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            given = correlation or {}
            together = given.get((first, second), given.get((second, first), 0.0))
            total = total + 2 * together * spread[first] * spread[second]
    root = np.sqrt(np.maximum(total, 0.0))
    return np.minimum(root, 1.0) if name in indices.NORMALISED else root


def at_least(difference: FloatArray, sigma: FloatArray, edge: float) -> Matrix:
    """P(true difference >= edge) for a normal error; where sigma is 0 it is 0 or 1, NaN where an input is NaN."""
    gap = np.asarray(difference, dtype=np.float64) - edge
    spread = np.asarray(sigma, dtype=np.float64)
    safe = np.where(spread > 0, spread, 1.0)
    return np.where(np.isnan(gap) | np.isnan(spread), np.nan, np.where(spread > 0, ndtr(gap / safe), gap >= 0))


def class_probabilities(difference: FloatArray, sigma: FloatArray, edges: Sequence[float]) -> Matrix:
    """(classes, H, W) probability of each class of a difference image; they sum to 1, NaN where an input is NaN."""
    above = [at_least(difference, sigma, edge) for edge in edges]
    one = np.where(np.isnan(above[0]), np.nan, 1.0)
    ladder = [one, *above, np.zeros_like(one)]
    return np.stack([ladder[k] - ladder[k + 1] for k in range(len(edges) + 1)])


def percent(probability: FloatArray) -> NDArray[np.uint8]:
    """Probability as whole per cent 0..100, uint8; 255 where NaN."""
    return np.where(np.isnan(probability), 255, np.round(100 * np.nan_to_num(probability))).astype(np.uint8)
