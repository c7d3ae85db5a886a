"""Sentinel-2 digital numbers to surface reflectance; scene classes to cloud codes; 20 m to 10 m. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from utils.science.cloud import CLOUD_CLASSES, SCL_NO_DATA, CloudClasses
from utils.science.grid import Grid

CLEAR, CLOUD, SHADOW, SNOW, DEFECTIVE, NONE = 0, 1, 2, 3, 4, 255
FloatArray = NDArray[np.float32]
_VALID, _NODATA, _SATURATED, _CLIPPED = 0, 1, 2, 3


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
    table = reflectance_table(offset_dn, quantification, nodata, saturated)
    values = np.empty(dn.shape, np.float32)
    counts = np.zeros(4, np.int64)
    _look_up(np.ascontiguousarray(dn), table.values, table.kinds, values, counts)
    return Reflectance(values, int(counts[_NODATA]), int(counts[_SATURATED]), int(counts[_CLIPPED]))


@dataclass(frozen=True)
class Table:
    """values, kinds: (65536,) float32 reflectance and uint8 kind (valid, nodata, saturated, clipped) of each DN."""

    values: FloatArray
    kinds: NDArray[np.uint8]


@lru_cache(maxsize=32)
def reflectance_table(offset_dn: int, quantification: int, nodata: int = 0, saturated: int = 65535) -> Table:
    """Reflectance of every digital number of 16 bits, so that the formula is evaluated once and not for each pixel."""
    if quantification <= 0:
        raise ValueError(f"quantification value {quantification} is not positive")
    dn = np.arange(65536, dtype=np.int32)
    shifted = dn + np.int32(offset_dn)
    kinds = np.where(shifted < 0, _CLIPPED, _VALID).astype(np.uint8)
    values = np.maximum(shifted, 0).astype(np.float32) / np.float32(quantification)
    for number, kind in ((saturated, _SATURATED), (nodata, _NODATA)):
        kinds[dn == number], values[dn == number] = kind, np.nan
    return Table(values, kinds)


@njit(cache=True, nogil=True)
def _look_up(dn: Any, values: Any, kinds: Any, out: Any, counts: Any) -> None:  # pragma: no cover - compiled
    for i in range(dn.shape[0]):
        for j in range(dn.shape[1]):
            number = dn[i, j]
            out[i, j] = values[number]
            counts[kinds[number]] += 1


def bilinear_2x(coarse: FloatArray) -> FloatArray:
    """Bilinear interpolation to half the pixel size; NaN neighbours are dropped and the other weights renormalised.

    coarse   (H, W) with one pixel of context on each side (NaN where there is none)
    returns  (2 (H - 2), 2 (W - 2)) float32. A pixel whose own coarse pixel is NaN stays NaN: a hole neither
             grows nor shrinks. Centres lie a quarter of a coarse pixel off, hence weights 3/4 and 1/4 an axis.
    """
    out = np.empty((2 * (coarse.shape[0] - 2), 2 * (coarse.shape[1] - 2)), np.float32)
    _bilinear(np.ascontiguousarray(coarse), out)
    return out


@njit(cache=True, nogil=True)
def _bilinear(coarse: Any, out: Any) -> None:  # pragma: no cover - compiled
    for i in range(out.shape[0]):
        own_row, near_row = i // 2 + 1, i // 2 + 2 * (i % 2)
        for j in range(out.shape[1]):
            own_col, near_col = j // 2 + 1, j // 2 + 2 * (j % 2)
            own = coarse[own_row, own_col]
            if np.isnan(own):
                out[i, j] = np.nan
                continue
            total, weights = 0.5625 * own, 0.5625  # weights are sums of powers of 2: exact in any order
            for row, col, weight in (
                (own_row, near_col, 0.1875),
                (near_row, own_col, 0.1875),
                (near_row, near_col, 0.0625),
            ):
                value = coarse[row, col]
                if not np.isnan(value):
                    total += weight * value
                    weights += weight
            out[i, j] = total / weights


def nearest_2x(coarse: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each pixel as 2 x 2 pixels of half the size; classes are never averaged."""
    return np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1)


def nearest_on(
    values: NDArray[np.uint8], source: Grid, target: Grid, fill: int, first: int = 0, last: int | None = None
) -> NDArray[np.uint8]:
    """Values of the pixels of `source` that the centres of rows first..last - 1 of `target` lie in.

    returns  (last - first, cols) uint8; `fill` outside the source
    raises   ValueError when the two differ in coordinate system
    """
    if source.epsg != target.epsg:
        raise ValueError(f"different coordinate systems: EPSG {source.epsg} and {target.epsg}")
    y = target.pixel_centres_y()[first:last]
    rows = np.floor((y - source.y0) / source.dy).astype(np.int64)
    cols = np.floor((target.pixel_centres_x() - source.x0) / source.dx).astype(np.int64)
    row_in, col_in = (rows >= 0) & (rows < source.rows), (cols >= 0) & (cols < source.cols)
    out = np.full((len(rows), len(cols)), fill, np.uint8)
    out[np.ix_(row_in, col_in)] = values[np.ix_(rows[row_in], cols[col_in])]
    return out


def cloud_codes(
    scl: NDArray[np.uint8],
    dilate_m: float,
    pixel_m: float,
    classes: CloudClasses = CLOUD_CLASSES,
    cloud: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Scene classes to cloud codes.

    scl      (H, W) uint8 class 0..11
    dilate_m cloud and shadow grow by this distance between pixel centres (classes are 20 m with soft edges)
    classes  which classes mean what; a class that is not named is clear, class 0 is always no data
    cloud    (H, W) cloud of another detector in place of the cloud classes; it is not grown here
    returns  (H, W) uint8: 0 clear, 1 cloud, 2 shadow, 3 snow, 4 defective, 255 no data.
             Grown cloud wins over grown shadow, both over snow; no data and defective stay.
    """
    codes = np.full(scl.shape, CLEAR, np.uint8)
    codes[np.isin(scl, classes.snow)] = SNOW
    codes[grown(np.isin(scl, classes.shadow), dilate_m, pixel_m)] = SHADOW
    codes[grown(np.isin(scl, classes.cloud), dilate_m, pixel_m) if cloud is None else cloud] = CLOUD
    return with_gaps(codes, scl, classes)


def with_gaps(
    codes: NDArray[np.uint8], scl: NDArray[np.uint8], classes: CloudClasses = CLOUD_CLASSES
) -> NDArray[np.uint8]:
    """Cloud codes of any detector with what the product itself says of missing and defective pixels."""
    out = codes.copy()
    out[np.isin(scl, classes.defective)] = DEFECTIVE
    out[scl == SCL_NO_DATA] = NONE
    return out


def grow_clouds(codes: NDArray[np.uint8], distance_m: float, pixel_m: float) -> NDArray[np.uint8]:
    """Codes with cloud (1) and shadow (2) grown by distance_m over clear pixels (0); cloud goes before shadow."""
    out = codes.copy()
    out[grown(codes == SHADOW, distance_m, pixel_m) & (codes == CLEAR)] = SHADOW
    out[grown(codes == CLOUD, distance_m, pixel_m) & np.isin(codes, (CLEAR, SHADOW))] = CLOUD
    return out


def grown(mask: NDArray[np.bool_], distance_m: float, pixel_m: float = 1.0) -> NDArray[np.bool_]:
    """True within distance_m of a True pixel, between centres; exact. With pixel_m 1 the distance is in pixels."""
    if distance_m <= 0 or not mask.any():
        return mask
    reach = distance_m / pixel_m + 1e-6
    down = np.arange(int(reach) + 1)
    half = np.floor(np.sqrt(np.maximum(reach**2 - down**2, 0.0)) + 1e-9).astype(np.int16)
    out = np.zeros(mask.shape, np.bool_)
    _within(np.ascontiguousarray(mask), half, out)
    return out


@njit(cache=True, nogil=True)
def _within(mask: Any, half: Any, out: Any) -> None:  # pragma: no cover - compiled
    """A pixel is near when, in some row d away, a True pixel lies within half[d] columns."""
    rows, cols = mask.shape
    far = np.int16(half[0] + 1)
    near = np.empty((rows, cols), np.int16)  # columns to the next True pixel of the row, at most `far`
    for i in range(rows):
        last = far
        for j in range(cols):
            last = np.int16(0) if mask[i, j] else np.int16(min(last + 1, far))
            near[i, j] = last
        for j in range(cols - 1, -1, -1):
            last = np.int16(0) if mask[i, j] else np.int16(min(last + 1, far))
            near[i, j] = min(near[i, j], last)
    for i in range(rows):
        for other in range(max(i - len(half) + 1, 0), min(i + len(half), rows)):
            limit = half[abs(other - i)]
            for j in range(cols):
                out[i, j] |= near[other, j] <= limit


def block_means(values: FloatArray, factor: int) -> FloatArray:
    """Means of the valid pixels of factor x factor blocks; NaN where a block has none.

    values  (H, W), both multiples of factor; factor 1 gives the values themselves
    """
    if factor == 1:
        return values
    rows, cols = values.shape[0] // factor, values.shape[1] // factor
    out = np.empty((rows, cols), np.float32)
    _block_means(np.ascontiguousarray(values), factor, out)
    return out


@njit(cache=True, nogil=True)
def _block_means(values: Any, factor: Any, out: Any) -> None:  # pragma: no cover - compiled
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total, count = 0.0, 0
            for row in range(i * factor, (i + 1) * factor):
                for col in range(j * factor, (j + 1) * factor):
                    if not np.isnan(values[row, col]):
                        total += values[row, col]
                        count += 1
            out[i, j] = total / count if count else np.nan
