"""Cloud and shadow from top-of-atmosphere reflectance, cloud probability and Cloud Score+, at 20 m. Pure NumPy.

The same arithmetic is sent to Earth Engine by utils/io/gee.py; tests hold the two together. All arrays are (H, W),
north up, one pixel = 20 m, NaN = no data. Windows are counted in pixels, so 11 x 11 px is 220 m wide here; the published
statistics of Sen2CloudFree run at 10 m. Any score must be told with its scale: SCALE_M.

Sources: Sen2CloudFree (published Earth Engine script, bit.ly/Sen2CloudFree; Schmitt et al. 2019) for `sen2cloudfree_*`;
the published s2cloudless guide of Earth Engine for `s2cloudless_masks`; Cloud Score+ (Pasquarella et al. 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.science.cloud import CloudStats

FloatArray = NDArray[np.floating]
Bools = NDArray[np.bool_]

SCALE_M = 20.0
DN_PER_UNIT = 10000.0
CLOUD_THRESHOLD = 0.2
SHADOW_THRESHOLD = 0.02  # ours: one of 40 heights under full cloud gives 0.026; the published script has no limit
LOWEST_SCORE = 0.001
WINDOW_PX = 11
HEIGHTS_M = tuple(range(200, 9951, 250))  # 40 values
DARK_SUM = 0.3
WATER_NDVI = -0.1
ERODE_PX, DILATE_PX, ROUNDS = 1.5, 3.0, 3
# (name of the term, low, high); the last falls with NDSI: snow is not cloud
RAMPS = {"blue": (0.1, 0.5), "aerosol": (0.1, 0.3), "cirrus": (0.15, 0.2), "visible": (0.2, 0.8), "ndmi": (-0.1, 0.1), "ndsi": (0.8, 0.6)}  # fmt: skip
TOA_BANDS = ("B1", "B2", "B3", "B4", "B8", "B10", "B11", "B12")

CLEAR_CS = 0.60  # Cloud Score+ band `cs`; 0.50 to 0.65 is the advised range
PROBABILITY_PERCENT = 50.0
DARK_NIR = 0.15
SCL_WATER = 6
CAST_PX, CAST_BLOCK_PX = 10, 5  # 1 km in pixels of 100 m, each 5 x 5 px of 20 m
CLEAN_PX, GROW_PX = 2.0, 5.0  # 40 m off, then 100 m on: what is left grows by the buffer of 50 m on each side and more


@dataclass(frozen=True)
class Masks:
    """cloud, shadow, valid: (H, W) bool; cloud and shadow are False where valid is False."""

    cloud: Bools
    shadow: Bools
    valid: Bools


def ramp(value: FloatArray, low: float, high: float) -> NDArray[np.float64]:
    """(value - low) / (high - low), not clamped; low > high gives a falling ramp."""
    return np.asarray((np.asarray(value, np.float64) - low) / (high - low))


def _ratio(first: FloatArray, second: FloatArray) -> NDArray[np.float64]:
    """(first - second) / (first + second); 0 where the sum is 0, as Earth Engine divides."""
    total = np.asarray(first + second, np.float64)
    return np.where(total == 0, 0.0, (first - second) / np.where(total == 0, 1.0, total))


def pixel_score(toa: Mapping[str, FloatArray]) -> NDArray[np.float64]:
    """Sen2CloudFree score of single pixels, 0.001..1.

    toa      B1 B2 B3 B4 B8 B10 B11 (more are ignored), each (H, W) top-of-atmosphere reflectance, offset removed;
             surface reflectance is wrong here: its thresholds differ and it has no B10
    returns  (H, W) float64, the smallest of seven terms, each a ramp; NaN where a band is NaN
    raises   ValueError naming a missing band
    """
    missing = sorted(set(TOA_BANDS[:-1]) - set(toa))
    if missing:
        raise ValueError(f"band {', '.join(missing)} is missing: the score needs top-of-atmosphere reflectance (L1C)")
    b = {name: np.asarray(toa[name], np.float64) for name in TOA_BANDS[:-1]}
    terms = {
        "blue": b["B2"], "aerosol": b["B1"], "cirrus": b["B1"] + b["B10"], "visible": b["B4"] + b["B3"] + b["B2"],
        "ndmi": _ratio(b["B8"], b["B11"]), "ndsi": _ratio(b["B3"], b["B11"]),
    }  # fmt: skip
    score: NDArray[np.float64] = np.where(np.isnan(sum(b.values())), np.nan, 1.0)
    for name, value in terms.items():
        score = np.minimum(score, ramp(value, *RAMPS[name]))  # NaN stays NaN
    return np.maximum(score, LOWEST_SCORE)


def window_mean(values: FloatArray, size_px: int = WINDOW_PX) -> NDArray[np.float64]:
    """Mean of the valid pixels of a square window around each valid pixel; NaN where the centre is NaN.

    size_px  odd side of the window; beyond the edges nothing is valid
    """
    data = np.asarray(values, np.float64)
    valid = np.isfinite(data)
    kernel = np.ones(size_px)
    sums, counts = np.where(valid, data, 0.0), valid.astype(np.float64)
    for axis in (0, 1):
        sums = ndimage.correlate1d(sums, kernel, axis, mode="constant")
        counts = ndimage.correlate1d(counts, kernel, axis, mode="constant")
    return np.where(valid, sums / np.maximum(counts, 1.0), np.nan)


def _window_max(values: FloatArray, size_px: int = 3) -> NDArray[np.float64]:
    data = np.where(np.isnan(values), -np.inf, values)
    return np.asarray(ndimage.maximum_filter(data, size_px, mode="constant", cval=-np.inf), np.float64)


def circle(radius_px: float) -> Bools:
    """Footprint of all pixels whose centre lies within radius_px of the centre."""
    reach = np.arange(-int(radius_px), int(radius_px) + 1)
    return np.asarray(reach[:, None] ** 2 + reach[None, :] ** 2 <= radius_px**2)


def opened(values: FloatArray | Bools, erode_px: float, dilate_px: float, rounds: int = 1) -> NDArray[np.float64]:
    """`rounds` minima in a circle of erode_px, then as many maxima in a circle of dilate_px; beyond the edges 0."""
    data = np.asarray(values, np.float64)
    for _ in range(rounds):
        data = ndimage.minimum_filter(data, footprint=circle(erode_px), mode="constant", cval=0.0)
    for _ in range(rounds):
        data = ndimage.maximum_filter(data, footprint=circle(dilate_px), mode="constant", cval=0.0)
    return data


def displaced(values: FloatArray, dx_m: float, dy_m: float, pixel_m: float = SCALE_M) -> NDArray[np.float64]:
    """Read at p + (dx east, dy north) what is written at p, bilinear; NaN where a pixel that has weight is missing.

    Earth Engine's `displace` has the same sign: the vector is added to the pixel location to find the place to read.
    """
    data = np.asarray(values, np.float64)
    rows, cols = data.shape
    row, col = round(-dy_m / pixel_m, 6), round(dx_m / pixel_m, 6)  # rounding noise of sin(pi) is no shift
    top, left = int(np.floor(row)), int(np.floor(col))
    out = np.zeros(data.shape)
    for i, row_weight in ((top, 1 - (row - top)), (top + 1, row - top)):
        for j, col_weight in ((left, 1 - (col - left)), (left + 1, col - left)):
            if row_weight * col_weight > 0:
                shifted = np.full(data.shape, np.nan)
                into = slice(max(-i, 0), max(min(rows - i, rows), 0)), slice(max(-j, 0), max(min(cols - j, cols), 0))
                source = slice(max(i, 0), max(min(rows + i, rows), 0)), slice(max(j, 0), max(min(cols + j, cols), 0))
                shifted[into] = data[source]
                out += row_weight * col_weight * shifted
    return out


def cast_mean(cloud_score: FloatArray, sun_azimuth_deg: float, sun_zenith_deg: float,
              pixel_m: float = SCALE_M) -> NDArray[np.float64]:  # fmt: skip
    """Mean over 40 cloud heights of the score of the cloud that would cast its shadow here.

    sun_azimuth_deg, sun_zenith_deg  where the sun stands, clockwise from north and from the zenith
    returns  (H, W) float64; heights whose cloud lies outside the data are left out; NaN where all do
    """
    angle = np.radians(sun_azimuth_deg + 180.0)
    total, count = np.zeros(cloud_score.shape), np.zeros(cloud_score.shape)
    for height_m in HEIGHTS_M:
        reach_m = float(height_m * np.tan(np.radians(sun_zenith_deg)))
        seen = displaced(cloud_score, float(-reach_m * np.sin(angle)), float(-reach_m * np.cos(angle)), pixel_m)
        valid = np.isfinite(seen)
        total += np.where(valid, seen, 0.0)
        count += valid
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)


def dark_land(toa: Mapping[str, FloatArray], cloud: Bools) -> Bools:
    """Dark in B8 + B11 + B12, no water (NDVI below -0.1) and no cloud: where a shadow may be."""
    total = toa["B8"] + toa["B11"] + toa["B12"]
    return np.asarray((total < DARK_SUM) & ~(_ratio(toa["B8"], toa["B4"]) < WATER_NDVI) & ~cloud)


def sen2cloudfree_scores(toa: Mapping[str, FloatArray], sun_azimuth_deg: float, sun_zenith_deg: float,
                         pixel_m: float = SCALE_M) -> dict[str, NDArray[np.float64]]:  # fmt: skip
    """cloudScore, shadowScore and quality of one L1C image.

    toa      the bands TOA_BANDS, (H, W) top-of-atmosphere reflectance 0..1 at pixel_m
    returns  cloudScore 0.001..1, the mean of pixel_score over 11 x 11 px; shadowScore 0..1, after erosion, dilation and
             a 3 x 3 maximum; quality -1..0, minus the mean over 11 x 11 px of the greater of both (greater is better).
             All NaN where a band is NaN
    source   Sen2CloudFree; read bilinearly between pixels, where the script leaves the default (bicubic)
    """
    valid = np.isfinite(sum(np.asarray(toa[name], np.float64) for name in TOA_BANDS))
    cloud_score = window_mean(np.where(valid, pixel_score(toa), np.nan))
    dark = dark_land(toa, cloud_score > CLOUD_THRESHOLD)
    cast = cast_mean(cloud_score, sun_azimuth_deg, sun_zenith_deg, pixel_m)
    shadow = np.where(valid & dark & np.isfinite(cast), cast, 0.0)
    shadow_score = np.where(valid, _window_max(opened(shadow, ERODE_PX, DILATE_PX, ROUNDS)), np.nan)
    quality = -window_mean(np.maximum(cloud_score, shadow_score))
    return {"cloudScore": cloud_score, "shadowScore": shadow_score, "quality": quality}


def sen2cloudfree_masks(scores: Mapping[str, FloatArray]) -> Masks:
    """Masks of sen2cloudfree_scores: cloud above 0.2; shadow above 0.02 where there is no cloud."""
    valid = np.isfinite(scores["cloudScore"])
    cloud = valid & (np.nan_to_num(scores["cloudScore"]) > CLOUD_THRESHOLD)
    return Masks(cloud, valid & ~cloud & (np.nan_to_num(scores["shadowScore"]) > SHADOW_THRESHOLD), valid)


def cloud_score_plus_masks(cs: FloatArray) -> Masks:
    """Cloud Score+: clear where cs >= 0.60. It does not tell shadow from cloud, so shadow stays empty.

    cs  (H, W) 0..1, 1 = clear; `cs`, not `cs_cdf`: the latter ranks a pixel against its own past, which a fire breaks
    """
    valid = np.isfinite(cs)
    return Masks(valid & ~(np.nan_to_num(cs) >= CLEAR_CS), np.zeros(valid.shape, bool), valid)


def _coarse(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of the valid pixels of 5 x 5 px blocks; NaN where none is valid. The last blocks may be cut."""
    rows, cols = (-(-length // CAST_BLOCK_PX) * CAST_BLOCK_PX for length in values.shape)
    padded = np.full((rows, cols), np.nan)
    padded[: values.shape[0], : values.shape[1]] = values
    blocks = padded.reshape(rows // CAST_BLOCK_PX, CAST_BLOCK_PX, cols // CAST_BLOCK_PX, CAST_BLOCK_PX)
    counts = np.isfinite(blocks).sum(axis=(1, 3))
    return np.where(counts > 0, np.nansum(blocks, axis=(1, 3)) / np.maximum(counts, 1), np.nan)


def within_reach(source: Bools, angle_deg: float, reach_px: int) -> Bools:
    """True where a straight line of reach_px pixels in a direction, counter-clockwise from east, meets the source."""
    found = np.zeros(source.shape, bool)
    rows, cols = np.indices(source.shape)
    for step in range(reach_px + 1):
        row = np.rint(rows - step * np.sin(np.radians(angle_deg))).astype(int)
        col = np.rint(cols + step * np.cos(np.radians(angle_deg))).astype(int)
        here = (row >= 0) & (row < source.shape[0]) & (col >= 0) & (col < source.shape[1])
        found[here] |= source[row[here], col[here]]
    return found


def s2cloudless_masks(probability: FloatArray, nir: FloatArray, scl: FloatArray, sun_azimuth_deg: float) -> Masks:
    """Cloud where the probability is above 50 %, shadow where dark land lies within 1 km away from the sun.

    probability  (H, W) percent;  nir: B8, surface reflectance;  scl: classes, 6 = water; NaN = no data in each
    returns      the published mask (cloud or shadow, 40 m taken off, 100 m put on); its part that grows from cloud alone
                 is cloud, the rest is shadow. The search for the casting cloud runs at 100 m
    """
    valid = np.isfinite(probability) & np.isfinite(nir) & np.isfinite(scl)
    cloud = valid & (np.nan_to_num(probability) > PROBABILITY_PERCENT)
    coarse = np.nan_to_num(_coarse(np.asarray(probability, np.float64))) > PROBABILITY_PERCENT
    reach = within_reach(coarse, 90.0 - sun_azimuth_deg, CAST_PX)
    cast = reach.repeat(CAST_BLOCK_PX, 0).repeat(CAST_BLOCK_PX, 1)[: valid.shape[0], : valid.shape[1]]
    shadow = valid & cast & (np.nan_to_num(nir) < DARK_NIR) & (scl != SCL_WATER)
    grown = opened(cloud, CLEAN_PX, GROW_PX) > 0
    both = opened(cloud | shadow, CLEAN_PX, GROW_PX) > 0
    return Masks(valid & grown, valid & both & ~grown, valid)


def statistics(masks: Masks, inside: Bools) -> CloudStats:
    """Cloud and shadow over the area in percent of its valid pixels; ValueError when the area holds no pixel."""
    counts = [int(np.count_nonzero(mask & inside)) for mask in (masks.valid, masks.cloud, masks.shadow)]
    return from_counts(int(np.count_nonzero(inside)), *counts)


def from_counts(area: float, valid: float, cloud: float, shadow: float) -> CloudStats:
    """Statistics of pixel counts: cloud over valid, never over the area, so that no data is not clear."""
    if area <= 0:
        raise ValueError("the area holds no pixel")
    if valid <= 0:
        return CloudStats(100.0, 0.0, 0.0)
    return CloudStats(round(100.0 * cloud / valid, 4), round(100.0 * shadow / valid, 4), round(valid / area, 6))
