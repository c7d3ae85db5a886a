"""Sentinel-2 digital numbers to surface reflectance; scene classes to cloud codes; 20 m to 10 m. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.science.cloud import SCL_CLOUD, SCL_DEFECTIVE, SCL_NO_DATA, SCL_SHADOW, SCL_SNOW

CLEAR, CLOUD, SHADOW, SNOW, DEFECTIVE, NONE = 0, 1, 2, 3, 4, 255
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Reflectance:
    """values (H, W) float32 reflectance, NaN = none; counts of pixels of each kind."""

    values: FloatArray
    nodata: int
    saturated: int
    clipped: int


def to_reflectance(
    dn: NDArray[np.uint16], offset_dn: int, quantification: int, nodata: int = 0, saturated: int = 65535
) -> Reflectance:
    """rho = (DN + offset) / quantification, 1.0 = 100 %.

    dn       (H, W) digital numbers
    returns  NaN where DN is nodata or saturated; negative values are set to 0 and counted: old baselines cannot
             store them, new ones can, and the two dates may differ in baseline
    The sum is taken in integers first, so that DN + 1000 with offset -1000 gives the same bits as DN with offset 0.
    raises   ValueError unless quantification is positive
    """
    if quantification <= 0:
        raise ValueError(f"quantification value {quantification} is not positive")
    none, full = dn == nodata, dn == saturated
    shifted = dn.astype(np.int32) + np.int32(offset_dn)
    valid = ~(none | full)
    clipped = int(np.count_nonzero(valid & (shifted < 0)))
    values = np.maximum(shifted, 0).astype(np.float32) / np.float32(quantification)
    values[~valid] = np.nan
    return Reflectance(values, int(np.count_nonzero(none)), int(np.count_nonzero(full)), clipped)


def bilinear_2x(coarse: FloatArray) -> FloatArray:
    """Bilinear interpolation to half the pixel size; NaN neighbours are dropped and the other weights renormalised.

    coarse   (H, W) with one pixel of context on each side (NaN where there is none)
    returns  (2 (H - 2), 2 (W - 2)) float32. A pixel whose own coarse pixel is NaN stays NaN: a hole neither
             grows nor shrinks. Centres lie a quarter of a coarse pixel off, hence weights 3/4 and 1/4 an axis.
    """
    valid = np.isfinite(coarse)
    weighted = _halves(np.where(valid, coarse, 0).astype(np.float64))
    weights = _halves(valid.astype(np.float64))
    own = np.repeat(np.repeat(valid[1:-1, 1:-1], 2, axis=0), 2, axis=1)
    out = np.full(weighted.shape, np.nan)
    np.divide(weighted, weights, out=out, where=own)
    return out.astype(np.float32)


def _halves(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """Separable 3/4, 1/4 interpolation of the inner pixels of `a` along both axes."""
    for axis in (0, 1):
        a = np.moveaxis(a, axis, 0)
        fine = np.empty((2 * (a.shape[0] - 2), *a.shape[1:]))
        fine[0::2] = 0.75 * a[1:-1] + 0.25 * a[:-2]
        fine[1::2] = 0.75 * a[1:-1] + 0.25 * a[2:]
        a = np.moveaxis(fine, 0, axis)
    return a


def nearest_2x(coarse: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each pixel as 2 x 2 pixels of half the size; classes are never averaged."""
    return np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1)


def cloud_codes(scl: NDArray[np.uint8], dilate_m: float, pixel_m: float) -> NDArray[np.uint8]:
    """Scene classes to cloud codes.

    scl      (H, W) uint8 class 0..11
    dilate_m cloud and shadow grow by this distance between pixel centres (classes are 20 m with soft edges)
    returns  (H, W) uint8: 0 clear, 1 cloud (8, 9, 10), 2 shadow (3), 3 snow (11), 4 defective (1), 255 no data (0).
             Grown cloud wins over grown shadow, both over snow; no data and defective stay.
    """
    codes = np.full(scl.shape, CLEAR, np.uint8)
    codes[scl == SCL_SNOW] = SNOW
    codes[_grown(scl == SCL_SHADOW, dilate_m, pixel_m)] = SHADOW
    codes[_grown(np.isin(scl, SCL_CLOUD), dilate_m, pixel_m)] = CLOUD
    codes[scl == SCL_DEFECTIVE] = DEFECTIVE
    codes[scl == SCL_NO_DATA] = NONE
    return codes


def _grown(mask: NDArray[np.bool_], distance_m: float, pixel_m: float) -> NDArray[np.bool_]:
    if distance_m <= 0 or not mask.any():
        return mask
    far_m = ndimage.distance_transform_edt(~mask, sampling=pixel_m)
    return np.asarray(far_m <= distance_m + 1e-6)
