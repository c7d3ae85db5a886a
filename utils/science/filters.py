"""Which tiles make samples: counts of pixels, never the mere presence of a nodata tag. Arrays are channel first."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Verdict:
    """What becomes of a tile.

    skip       why the inputs are unusable, empty = usable; the tile then is no sample at all
    reason     why a usable sample does not train, None = it trains
    changed    share of changed pixels among those clear at both dates in the owned part; None without such pixels
    """

    skip: str
    reason: str | None
    clear_t0: float
    clear_t1: float
    changed: float | None
    sar_filled: float


def judge(
    s1: tuple[F32, F32], s2: tuple[F32, F32], cloud: tuple[U8, U8], owned: NDArray[np.bool_], limits: Limits
) -> Verdict:
    """Apply the filters to one tile.

    s1     (bands, rows, cols) linear power at t0 and t1
    s2     (bands, rows, cols) reflectance at t0 and t1
    cloud  (rows, cols) codes at t0 and t1: 0 clear, 1 cloud, 2 shadow, 255 none
    owned  (rows, cols) True in the valid window
    """
    clear = [(codes == 0) & np.isfinite(image).all(axis=0) for codes, image in zip(cloud, s2, strict=True)]
    both = clear[0] & clear[1] & owned
    moved = np.abs(s2[1] - s2[0]).mean(axis=0)[both] > limits.changed_threshold
    with np.errstate(invalid="ignore"):
        filled = float(np.mean(np.concatenate(s1) <= 0))
    return Verdict(
        _inputs(s1, s2[0], cloud[0], filled, limits),
        _label(s2[1], cloud[1], float(clear[1].mean()), limits),
        float(clear[0].mean()),
        float(clear[1].mean()),
        float(moved.mean()) if moved.size else None,
        filled,
    )


def _nonzero(image: NDArray[Any]) -> float:
    """Smallest share of non-zero finite values over the bands."""
    return float((np.isfinite(image) & (image != 0)).mean(axis=(1, 2)).min())


def _cloud_px(codes: U8) -> int:
    return int(np.isin(codes, (1, 2)).sum())


def _inputs(s1: tuple[F32, F32], s2_t0: F32, cloud_t0: U8, filled: float, limits: Limits) -> str:
    inputs = np.concatenate([*s1, s2_t0])
    valid = float(np.isfinite(inputs).all(axis=0).mean())
    if valid < limits.min_valid:
        return f"nodata: {100 * (1 - valid):.1f} % of the inputs, at most {100 * (1 - limits.min_valid):g} %"
    if (share := _nonzero(inputs)) < limits.min_nonzero:
        return f"zeros: {100 * (1 - share):.1f} % of an input band, at most {100 * (1 - limits.min_nonzero):g} %"
    if filled > limits.max_sar_filled:
        return f"SAR: {100 * filled:.1f} % of the pixels are not positive, at most {100 * limits.max_sar_filled:g} %"
    if (pixels := _cloud_px(cloud_t0)) > limits.max_cloud_px:
        return f"cloud t0: {pixels} px of cloud and shadow, at most {limits.max_cloud_px}"
    return ""


def _label(s2_t1: F32, cloud_t1: U8, clear: float, limits: Limits) -> str | None:
    valid = float(np.isfinite(s2_t1).all(axis=0).mean())
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
    if (share := _nonzero(s2_t1)) < limits.min_nonzero:
        return f"label zeros: {100 * (1 - share):.1f} % of a band, at most {100 * (1 - limits.min_nonzero):g} %"
    if (pixels := _cloud_px(cloud_t1)) > limits.max_cloud_px:
        return f"cloud t1: {pixels} px of cloud and shadow in the label, at most {limits.max_cloud_px}"
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
