"""Spectral indices of surface reflectance, by band name. Numerators and denominators as published; no scaling.

Every function takes a mapping from band name (B02, B03, B04, B08, ...) to an array of reflectance 0..1 with NaN for
nodata. All computation is float64; the result is NaN where an input is NaN or the denominator is smaller than 1e-6.
Normalised differences take a negative reflectance (dark water, models) for 0, so that they stay in -1..1: the ratio of a
negative and a positive value has any size and either sign, and a few such pixels would rule every mean and slope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
Bands = Mapping[str, FloatArray]

MIN_DENOMINATOR = 1e-6
MIN_SIGNAL = 0.05  # sum of two reflectances; see well_determined
CHANGE_MEDIAN_DVI = 0.14  # published tile rule; not the 0.09 class edge


def _get(bands: Bands, *names: str) -> list[NDArray[np.float64]]:
    """The named bands in float64; ValueError names what is missing, or shapes that differ."""
    missing = [name for name in names if name not in bands]
    if missing:
        raise ValueError(f"band {', '.join(missing)} is missing; there are {', '.join(sorted(bands))}")
    arrays = [np.asarray(bands[name], dtype=np.float64) for name in names]
    if len({array.shape for array in arrays}) > 1:
        raise ValueError(f"bands {', '.join(names)} have different shapes: {[array.shape for array in arrays]}")
    return arrays


def _divide(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    safe = np.abs(bottom) >= MIN_DENOMINATOR  # False for NaN
    return np.where(safe, top / np.where(safe, bottom, 1.0), np.nan)


def _difference(bands: Bands, first: str, second: str) -> NDArray[np.float64]:
    from utils.science.score_kernels import normalised_difference

    a, b = _get(bands, first, second)
    out = np.empty(a.shape)
    normalised_difference(a.ravel(), b.ravel(), MIN_DENOMINATOR, out.reshape(-1))
    return out


def ndvi(bands: Bands) -> NDArray[np.float64]:
    """Normalised difference vegetation index (B08-B04)/(B08+B04), -1..1. Source: Rouse et al. 1974."""
    return _difference(bands, "B08", "B04")


def gndvi(bands: Bands) -> NDArray[np.float64]:
    """Green NDVI (B08-B03)/(B08+B03). Source: Gitelson et al. 1996."""
    return _difference(bands, "B08", "B03")


def ndwi(bands: Bands) -> NDArray[np.float64]:
    """Water index (B03-B08)/(B03+B08). Source: McFeeters 1996."""
    return _difference(bands, "B03", "B08")


def nbr(bands: Bands) -> NDArray[np.float64]:
    """Normalised burn ratio (B08-B12)/(B08+B12). Source: Key and Benson 2006."""
    return _difference(bands, "B08", "B12")


def nbr2(bands: Bands) -> NDArray[np.float64]:
    """Second burn ratio (B11-B12)/(B11+B12)."""
    return _difference(bands, "B11", "B12")


def ndmi(bands: Bands) -> NDArray[np.float64]:
    """Moisture index (B08-B11)/(B08+B11). Source: Gao 1996."""
    return _difference(bands, "B08", "B11")


def evi(bands: Bands) -> NDArray[np.float64]:
    """Enhanced vegetation index 2.5(N-R)/(N+6R-7.5B+1). Source: Huete et al. 2002."""
    blue, red, nir = _get(bands, "B02", "B04", "B08")
    return _divide(2.5 * (nir - red), nir + 6 * red - 7.5 * blue + 1)


def savi(bands: Bands) -> NDArray[np.float64]:
    """Soil adjusted index (1+L)(N-R)/(N+R+L) with L = 0.5. Source: Huete 1988."""
    red, nir = _get(bands, "B04", "B08")
    return _divide(1.5 * (nir - red), nir + red + 0.5)


def msavi(bands: Bands) -> NDArray[np.float64]:
    """Modified soil adjusted index (2N+1-sqrt((2N+1)^2-8(N-R)))/2. Source: Qi et al. 1994."""
    red, nir = _get(bands, "B04", "B08")
    root = (2 * nir + 1) ** 2 - 8 * (nir - red)
    return np.where(root >= 0, (2 * nir + 1 - np.sqrt(np.maximum(root, 0))) / 2, np.nan)


def bai(bands: Bands) -> NDArray[np.float64]:
    """Burned area index 1/((0.1-R)^2+(0.06-N)^2), a SUM of squares. Source: Chuvieco et al. 2002."""
    red, nir = _get(bands, "B04", "B08")
    return _divide(np.ones_like(red), (0.1 - red) ** 2 + (0.06 - nir) ** 2)


def mirbi(bands: Bands) -> NDArray[np.float64]:
    """Mid-infrared burn index 10*B12-9.8*B11+2. Source: Trigg and Flasse 2001."""
    swir1, swir2 = _get(bands, "B11", "B12")
    return 10 * swir2 - 9.8 * swir1 + 2


def bais2(bands: Bands) -> NDArray[np.float64]:
    """Sentinel-2 burned area index (1-sqrt(B06*B07*B8A/B04))*((B12-B8A)/sqrt(B12+B8A)+1); formula unverified."""
    red, edge6, edge7, narrow, swir2 = _get(bands, "B04", "B06", "B07", "B8A", "B12")
    inner, outer = _divide(edge6 * edge7 * narrow, red), swir2 + narrow
    good = (inner >= 0) & (outer > MIN_DENOMINATOR)
    root_inner, root_outer = np.sqrt(np.where(good, inner, 1.0)), np.sqrt(np.where(good, outer, 1.0))
    return np.where(good, (1 - root_inner) * ((swir2 - narrow) / root_outer + 1), np.nan)


INDICES: dict[str, tuple[Callable[[Bands], NDArray[np.float64]], tuple[str, ...]]] = {
    "NDVI": (ndvi, ("B04", "B08")),
    "EVI": (evi, ("B02", "B04", "B08")),
    "SAVI": (savi, ("B04", "B08")),
    "MSAVI": (msavi, ("B04", "B08")),
    "GNDVI": (gndvi, ("B03", "B08")),
    "NDWI": (ndwi, ("B03", "B08")),
    "BAI": (bai, ("B04", "B08")),
    "NBR": (nbr, ("B08", "B12")),
    "NBR2": (nbr2, ("B11", "B12")),
    "NDMI": (ndmi, ("B08", "B11")),
    "MIRBI": (mirbi, ("B11", "B12")),
    "BAIS2": (bais2, ("B04", "B06", "B07", "B8A", "B12")),
}


NORMALISED = frozenset({"NDVI", "GNDVI", "NDWI", "NBR", "NBR2", "NDMI"})


def available(names: tuple[str, ...], bands: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the indices `names` whose bands are all in `bands`, in the order asked for.

    raises  ValueError for an unknown index
    """
    unknown = [name for name in names if name not in INDICES]
    if unknown:
        raise ValueError(f"unknown index {', '.join(unknown)}; there are {', '.join(INDICES)}")
    return tuple(name for name in names if set(INDICES[name][1]) <= set(bands))


def compute(name: str, bands: Bands) -> NDArray[np.float64]:
    """Index `name` of `bands`; ValueError when the index is unknown or a band is missing."""
    available((name,), tuple(bands))
    return INDICES[name][0](bands)


def well_determined(name: str, bands: Bands) -> NDArray[np.bool_]:
    """True where a normalised difference is more than noise: the two reflectances add up to at least 0.05.

    With a sensor noise of 0.003 in each band the index has a standard deviation of sqrt(2) * 0.003 / sum, so below this
    sum (open water) a difference of two dates crosses the burned threshold of 0.09 by noise alone. NaN is False; indices
    that are no normalised difference are True wherever their bands have data.
    """
    planes = _get(bands, *INDICES[name][1])
    finite = np.logical_and.reduce([np.isfinite(plane) for plane in planes])
    if name not in NORMALISED:
        return np.asarray(finite)
    return np.asarray(finite & (np.maximum(planes[0], 0) + np.maximum(planes[1], 0) >= MIN_SIGNAL))


def stack_to_bands(array: FloatArray, names: tuple[str, ...]) -> dict[str, FloatArray]:
    """Mapping from band name to plane of an array (H, W, n) whose last axis is `names`.

    raises  ValueError when the numbers differ
    """
    if array.shape[-1] != len(names):
        raise ValueError(f"array of {array.shape[-1]} bands for {len(names)} names {', '.join(names)}")
    return {name: array[..., i] for i, name in enumerate(names)}


def difference(pre: FloatArray, post: FloatArray) -> NDArray[np.float64]:
    """dVI = pre - post: a loss of vegetation is positive."""
    return np.asarray(pre, dtype=np.float64) - np.asarray(post, dtype=np.float64)


def relative_difference(pre: FloatArray, post: FloatArray) -> NDArray[np.float64]:
    """dVI / sqrt(|pre|) (RdNBR when the index is NBR); NaN where |pre| < 1e-6. Source: Miller and Thode 2007."""
    pre64 = np.asarray(pre, dtype=np.float64)
    return _divide(difference(pre, post), np.where(np.abs(pre64) < MIN_DENOMINATOR, np.nan, np.sqrt(np.abs(pre64))))


def rbr(nbr_pre: FloatArray, nbr_post: FloatArray) -> NDArray[np.float64]:
    """Relativised burn ratio dNBR/(NBR_pre+1.001); formula unverified. Source: Parks et al. 2014."""
    return _divide(difference(nbr_pre, nbr_post), np.asarray(nbr_pre, dtype=np.float64) + 1.001)


def is_change(dvi: FloatArray) -> bool:
    """Published tile rule: median dVI of the pixels with data >= 0.14. False for a tile without data."""
    values = np.asarray(dvi, dtype=np.float64)
    values = values[np.isfinite(values)]
    return bool(values.size and np.median(values) >= CHANGE_MEDIAN_DVI)
