"""Land classes: shares, errors of severity by class, slope and aspect, and a small segmentation where there is no map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.science import metrics
from utils.science.grid import Window

NODATA = 255
SLOPE_EDGES_DEG = (10.0, 25.0, 35.0)
SLOPE_NAMES = ("0-10", "10-25", "25-35", "35-90")
ASPECT_NAMES = ("N", "NE", "E", "SE", "S", "SW", "W", "NW", "flat")
FLAT_DEG = 2.0  # below this slope a direction is noise of the height model
_STRIPE_ROWS = 256

Matrix = NDArray[np.float64]
FloatArray = NDArray[np.floating]
Codes = NDArray[np.uint8]


def check_classes(classes: Mapping[int, str]) -> dict[int, str]:
    """Codes 0..254 with distinct names, by code.

    raises  ValueError for another code, an empty name or a name given twice
    """
    bad = [code for code in classes if not 0 <= code < NODATA]
    if bad:
        raise ValueError(f"class codes must be 0 to 254, found {', '.join(map(str, bad))}")
    names = [name.strip() for name in classes.values()]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError("class names must be there and differ from one another")
    return dict(sorted(classes.items()))


def shares(codes: Codes, classes: Sequence[int], window: Window | None = None) -> dict[int, float]:
    """Share of each class among the pixels with a class, in a window or everywhere; empty without such a pixel."""
    part = codes[window.slices] if window else codes
    counts = np.bincount(part.ravel(), minlength=256)
    total = counts[:NODATA].sum()
    return {code: float(counts[code] / total) for code in classes if counts[code]} if total else {}


def slope_aspect(height_m: FloatArray, dx_m: float, dy_m: float) -> tuple[Matrix, Matrix]:
    """Slope in degrees and the compass direction in which the ground falls, degrees clockwise from north, 0 to 360.

    height_m  (H, W), rows from north to south, NaN = unknown; dx_m, dy_m: pixel size, both positive
    returns   (H, W) each; NaN beside unknown heights; edges repeat the outermost pixel; aspect of level ground NaN
    source    Horn 1981 (weights 1, 2, 1)
    """
    z = np.pad(np.asarray(height_m, dtype=np.float64), 1, mode="edge")
    north, middle, south = z[:-2], z[1:-1], z[2:]
    west = north[:, :-2] + 2 * middle[:, :-2] + south[:, :-2]
    east = north[:, 2:] + 2 * middle[:, 2:] + south[:, 2:]
    up = north[:, :-2] + 2 * north[:, 1:-1] + north[:, 2:]
    down = south[:, :-2] + 2 * south[:, 1:-1] + south[:, 2:]
    eastward, northward = (east - west) / (8 * dx_m), (up - down) / (8 * dy_m)
    slope = np.degrees(np.arctan(np.hypot(eastward, northward)))
    slope[~np.isfinite(middle[:, 1:-1])] = np.nan  # the weights do not see the pixel itself
    aspect = np.degrees(np.arctan2(-eastward, -northward)) % 360.0
    return slope, np.where(slope > 0, aspect, np.nan)


def slope_classes(slope_deg: FloatArray) -> Codes:
    """0..3 for [0, 10), [10, 25), [25, 35), [35, 90] degrees; 255 where NaN."""
    valid = np.isfinite(slope_deg)
    return np.where(valid, np.digitize(np.where(valid, slope_deg, 0.0), SLOPE_EDGES_DEG), NODATA).astype(np.uint8)


def aspect_classes(aspect_deg: FloatArray, slope_deg: FloatArray) -> Codes:
    """0..7 for the sectors N, NE, .. NW of 45 degrees about their direction, 8 flat (slope below 2 degrees), 255 NaN.

    North is [337.5, 360) and [0, 22.5): a sector begins at its lower bound.
    """
    sector = np.floor((np.nan_to_num(aspect_deg) + 22.5) / 45.0).astype(np.int64) % 8
    flat = np.isfinite(slope_deg) & ((slope_deg < FLAT_DEG) | ~np.isfinite(aspect_deg))
    known = np.isfinite(slope_deg) & np.isfinite(aspect_deg)
    return np.where(flat, 8, np.where(known, sector, NODATA)).astype(np.uint8)


def wrong_by_class(
    truth: Codes,
    own: Codes,
    group: Codes,
    names: Mapping[int, str],
    blocks: NDArray[np.integer],
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """P(severity wrong | class) with its 95 % bootstrap interval over blocks of ground.

    truth, own  (H, W) severity codes, 255 = none; group: (H, W) class of the ground, 255 = none
    names       code of the ground -> name; classes without a scored pixel are left out
    blocks      (H, W) number of the block that a pixel belongs to, below 0 = not scored
    returns     name -> pixels, wrong (share), low, high (None with fewer than two blocks), apart (mean number of
                severity classes between truth and map)
    """
    scored = (truth != NODATA) & (own != NODATA) & (group != NODATA) & (blocks >= 0)
    off = np.abs(truth.astype(np.int64) - own.astype(np.int64))
    found: dict[str, dict[str, Any]] = {}
    for code, name in names.items():
        chosen = scored & (group == code)
        pixels = int(chosen.sum())
        if not pixels:
            continue
        where = blocks[chosen].astype(np.int64)
        per_block = np.stack(
            [np.bincount(where, weights=values) for values in (np.ones(pixels), off[chosen] > 0)], axis=1
        )
        sums = per_block[per_block[:, 0] > 0].astype(np.float64)
        low, high = metrics.block_interval(sums, lambda totals: totals[..., 1] / totals[..., 0], draws, seed)
        found[name] = {
            "pixels": pixels, "wrong": float((off[chosen] > 0).mean()), "apart": float(off[chosen].mean()),
            "low": None if math.isnan(low) else low, "high": None if math.isnan(high) else high, "blocks": len(sums),
        }  # fmt: skip
    return found


def median_3x3(plane: FloatArray) -> Matrix:
    """Median of the known pixels among each pixel and its eight neighbours; NaN where the pixel itself is unknown."""
    padded = np.pad(np.asarray(plane, dtype=np.float64), 1, constant_values=np.nan)
    out = np.empty(plane.shape)
    rows, cols = plane.shape
    for top in range(0, rows, _STRIPE_ROWS):
        high = min(_STRIPE_ROWS, rows - top)
        nine = np.stack([padded[top + i : top + i + high, j : j + cols] for i in range(3) for j in range(3)])
        nine.sort(axis=0)  # unknown pixels come last
        known = np.isfinite(nine).sum(axis=0)
        lower = np.take_along_axis(nine, np.maximum((known - 1) // 2, 0)[None], axis=0)[0]
        upper = np.take_along_axis(nine, np.minimum(known // 2, 8)[None], axis=0)[0]
        out[top : top + high] = (lower + upper) / 2
    return np.where(np.isfinite(plane), out, np.nan)


def clusters_1d(values: FloatArray, count: int, rounds: int = 200) -> Matrix:
    """(count,) increasing centres of k-means of numbers: Lloyd from equal quantiles, so nothing is drawn.

    raises  ValueError with fewer different values than classes
    """
    known = np.sort(np.asarray(values, dtype=np.float64)[np.isfinite(values)].ravel())
    if len(np.unique(known[:: max(1, known.size // 100_000)])) < count:
        raise ValueError(f"fewer than {count} different values")
    sums = np.concatenate([[0.0], np.cumsum(known)])
    centres = np.quantile(known, (np.arange(count) + 0.5) / count)
    for _ in range(rounds):
        cuts = np.concatenate([[0], np.searchsorted(known, (centres[:-1] + centres[1:]) / 2), [known.size]])
        sizes = np.diff(cuts)
        moved = np.where(sizes > 0, (sums[cuts[1:]] - sums[cuts[:-1]]) / np.maximum(sizes, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return np.asarray(centres)


def segment_ndvi(ndvi: FloatArray, count: int) -> tuple[Codes, Matrix]:
    """Classes 1..count of increasing NDVI: 3 x 3 median, then k-means of the values. A stand-in, no land-cover map.

    returns  (H, W) uint8 codes, 255 where NaN, and the centres
    raises   ValueError with fewer different values than classes
    """
    smooth = median_3x3(ndvi)
    centres = clusters_1d(smooth, count)
    valid = np.isfinite(smooth)
    codes = 1 + np.searchsorted((centres[:-1] + centres[1:]) / 2, np.where(valid, smooth, 0.0), side="right")
    return np.where(valid, codes, NODATA).astype(np.uint8), centres
