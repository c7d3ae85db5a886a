"""Which tiles make samples: counts of pixels, never the mere presence of a nodata tag. Arrays are channel first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Limits:
    """The keys of section dataset of the same names, and the change that makes a pixel changed (reflectance)."""

    min_nonzero: float
    max_cloud_px: int
    keep_clouds: bool
    min_clear: float
    min_valid: float
    max_sar_filled: float
    changed_threshold: float
    keep_clouds_t0: bool = False


@dataclass(frozen=True)
class Verdict:
    """What becomes of a tile. t1 is the last date, the label; t0 the one before, the newest optical input.

    skip        why the inputs are unusable, empty = usable; the tile then is no sample at all
    reason      why a usable sample does not train, None = it trains
    changed     share of changed pixels among those clear at both dates in the owned part; None without such pixels
    train_only  an optical input has more cloud than max_cloud_px: good for training through its mask, for nothing else
    """

    skip: str
    reason: str | None
    clear_t0: float
    clear_t1: float
    changed: float | None
    sar_filled: float
    train_only: bool = False


# First words of a reason -> the key of section dataset that refused the tile.
FILTERS = {
    "nodata": "min_valid",
    "zeros": "min_nonzero",
    "SAR": "max_sar_filled",
    "cloud": "max_cloud_px",
    "clear": "min_clear",
    "label nodata": "min_valid",
    "label zeros": "min_nonzero",
    "label": "min_clear",
    "no label": "no_label",
}


def filter_of(reason: str) -> str:
    """The key of section dataset behind a reason of judge."""
    words = reason.split(":", maxsplit=1)[0]
    return FILTERS.get(words) or FILTERS[words.split(" ")[0]]


def judge(
    s1: Sequence[F32], s2: Sequence[F32], cloud: Sequence[U8], owned: NDArray[np.bool_], limits: Limits
) -> Verdict:
    """Apply the filters to one tile of n dates, oldest first; the last is the label, all others are inputs.

    s1     per date (bands, rows, cols) linear power
    s2     per date (bands, rows, cols) reflectance
    cloud  per date (rows, cols) codes: 0 clear, 1 cloud, 2 shadow, 255 none
    owned  (rows, cols) True in the valid window
    """
    clear = [(codes == 0) & np.isfinite(image).all(axis=0) for codes, image in zip(cloud, s2, strict=True)]
    both = clear[-2] & clear[-1] & owned
    moved = np.abs(s2[-1] - s2[-2]).mean(axis=0)[both] > limits.changed_threshold
    with np.errstate(invalid="ignore"):
        filled = float(np.mean(np.concatenate(list(s1)) <= 0))
    shares = [float(part.mean()) for part in clear]
    skip = _inputs(np.concatenate([*s1, *s2[:-1]]), filled, limits) or _input_clouds(cloud[:-1], shares, limits)
    return Verdict(
        skip,
        _label(s2[-1], cloud[-1], shares[-1], len(s2) - 1, limits),
        shares[-2],
        shares[-1],
        float(moved.mean()) if moved.size else None,
        filled,
        any(_cloud_px(codes) > limits.max_cloud_px for codes in cloud[:-1]),
    )


def _nonzero(image: NDArray[Any]) -> float:
    """Smallest share of non-zero finite values over the bands."""
    return float((np.isfinite(image) & (image != 0)).mean(axis=(1, 2)).min())


def _cloud_px(codes: U8) -> int:
    return int(np.isin(codes, (1, 2)).sum())


def _inputs(inputs: F32, filled: float, limits: Limits) -> str:
    """inputs: (channels, rows, cols) of all dates but the label."""
    valid = float(np.isfinite(inputs).all(axis=0).mean())
    if valid < limits.min_valid:
        return f"nodata: {100 * (1 - valid):.1f} % of the inputs, at most {100 * (1 - limits.min_valid):g} %"
    if (share := _nonzero(inputs)) < limits.min_nonzero:
        return f"zeros: {100 * (1 - share):.1f} % of an input band, at most {100 * (1 - limits.min_nonzero):g} %"
    if filled > limits.max_sar_filled:
        return f"SAR: {100 * filled:.1f} % of the pixels are not positive, at most {100 * limits.max_sar_filled:g} %"
    return ""


def _input_clouds(cloud: Sequence[U8], clear: Sequence[float], limits: Limits) -> str:
    """Clouds in an optical input, the oldest date first."""
    for date, (codes, share) in enumerate(zip(cloud, clear, strict=False)):
        pixels = _cloud_px(codes)
        if pixels <= limits.max_cloud_px:
            continue
        if not limits.keep_clouds_t0:
            return f"cloud t{date}: {pixels} px of cloud and shadow, at most {limits.max_cloud_px}"
        if share < limits.min_clear:
            return f"clear t{date}: {100 * share:.0f} %, at least {100 * limits.min_clear:g} %"
    return ""


def _label(image: F32, codes: U8, clear: float, date: int, limits: Limits) -> str | None:
    """date: the number of the last date."""
    valid = float(np.isfinite(image).all(axis=0).mean())
    if valid == 0:
        return "no label"
    if limits.keep_clouds:
        return (
            None
            if clear >= limits.min_clear
            else f"label: {100 * clear:.0f} % clear, at least {100 * limits.min_clear:g} %"
        )
    if valid < limits.min_valid:
        return f"label nodata: {100 * (1 - valid):.1f} %, at most {100 * (1 - limits.min_valid):g} %"
    if (share := _nonzero(image)) < limits.min_nonzero:
        return f"label zeros: {100 * (1 - share):.1f} % of a band, at most {100 * (1 - limits.min_nonzero):g} %"
    if (pixels := _cloud_px(codes)) > limits.max_cloud_px:
        return f"cloud t{date}: {pixels} px of cloud and shadow in the label, at most {limits.max_cloud_px}"
    return None


def ds1_median_db(power_t0: F32, power_t1: F32) -> list[float]:
    """Scene median of S1(t1) - S1(t0) for each band, dB, over pixels that are positive at both dates.

    power_t0, power_t1  (bands, rows, cols) linear, NaN = nodata
    raises              ValueError when a band has no such pixel
    """
    medians = []
    for before, after in zip(power_t0, power_t1, strict=True):
        with np.errstate(invalid="ignore"):
            use = (before > 0) & (after > 0)
        if not use.any():
            raise ValueError("the two dates share no pixel with positive backscatter")
        medians.append(float(np.median(10 * np.log10(after[use].astype(np.float64) / before[use]))))
    return medians
