"""Burned area and severity: class tables, confusion, agreement, hectares. Codes 0..n, 255 = no data."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NODATA = 255
SEVERITY_NAMES = ("unburnt", "low", "moderate", "high", "very_high", "extreme")
DNBR_NAMES = (
    "high_regrowth",
    "low_regrowth",
    "unburned",
    "low",
    "moderate_low",
    "moderate_high",
    "high",
)  # Key and Benson 2006, standard table, unverified

Matrix = NDArray[np.float64]
Codes = NDArray[np.uint8]


def check_edges(edges: Sequence[float], classes: int) -> tuple[float, ...]:
    """Class edges, strictly increasing and one less than the classes.

    raises  ValueError (an edge written as (10-25) instead of (10, 25) gives a falling one)
    """
    if len(edges) != classes - 1:
        raise ValueError(f"{classes} classes need {classes - 1} edges, found {len(edges)}")
    if any(right <= left for left, right in itertools.pairwise(edges)):
        raise ValueError(f"class edges must increase: {list(edges)}")
    return tuple(float(edge) for edge in edges)


def classify(
    difference: NDArray[np.floating],
    edges: Sequence[float],
    *,
    round_decimals: int | None = None,
    offset: float = 0.0,
) -> Codes:
    """Class codes of a difference image (pre - post).

    edges           lower edges of class 1, 2, ...; a value equal to an edge belongs to the upper class
    round_decimals  4 reproduces the published rounding before the comparison
    offset          median difference of stable pixels, subtracted first
    returns         uint8 of the same shape: 0 below the first edge (values below -1 too), NODATA where NaN
    """
    from utils.science.score_kernels import count_edges

    checked = check_edges(edges, len(edges) + 1)
    values = np.asarray(difference, dtype=np.float64)
    if offset:
        values = values - offset
    if round_decimals is not None:
        values = np.round(values, round_decimals)
    codes = np.empty(values.shape, np.uint8)
    count_edges(values.ravel(), np.array(checked), NODATA, codes.reshape(-1))
    return codes


def burned(difference: NDArray[np.floating], threshold: float) -> Codes:
    """1 where difference > threshold, 0 elsewhere, NODATA where NaN; uint8 of the same shape."""
    values = np.asarray(difference, dtype=np.float64)
    valid = np.isfinite(values)
    return np.where(valid, np.where(valid, values, 0.0) > threshold, NODATA).astype(np.uint8)


def stable_offset(difference: NDArray[np.floating], threshold: float, rounds: int = 50) -> float:
    """Median difference of stable pixels, those that are no farther than the burned threshold from it on either side.

    The threshold is applied to what the last median left, from the median of all pixels on, until nothing moves: a season
    that shifts the whole image is found, and neither fires nor regrowth pull at it while less than half of the ground
    is burned. 0 without a pixel.
    """
    known = np.asarray(difference, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        return 0.0
    offset = float(np.median(known))
    for _ in range(rounds):
        stable = known[np.abs(known - offset) <= threshold]
        moved = float(np.median(stable)) if stable.size else offset
        if moved == offset:
            break
        offset = moved
    return offset


def confusion(truth: Codes, predicted: Codes, classes: int, mask: NDArray[np.bool_] | None = None) -> Matrix:
    """(classes, classes) float64 counts, rows truth; pixels where either is NODATA (or mask False) left out.

    raises  ValueError when shapes differ or a code is not a class
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"maps have different shapes: {truth.shape} and {predicted.shape}")
    good = (truth != NODATA) & (predicted != NODATA)
    if mask is not None:
        good &= mask
    rows, cols = truth[good].astype(np.int64), predicted[good].astype(np.int64)
    if rows.size and max(int(rows.max()), int(cols.max())) >= classes:
        raise ValueError(f"code {max(int(rows.max()), int(cols.max()))} in a map of {classes} classes")
    counts = np.bincount(rows * classes + cols, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.float64)


def _ratio(top: Any, bottom: Any) -> Any:
    bottom = np.asarray(bottom, dtype=np.float64)
    return np.where(bottom != 0, np.asarray(top) / np.where(bottom != 0, bottom, 1.0), np.nan)


def binary_figures(counts: Matrix) -> dict[str, Matrix]:
    """Figures of 2 x 2 counts (..., 2, 2), rows truth, class 1 = burned; NaN where a denominator is 0.

    f1, iou, kappa, commission FP/(TP+FP), omission FN/(TP+FN), area_bias (FP-FN)/(TP+FN), base_rate, n
    """
    tn, fp, fn, tp = counts[..., 0, 0], counts[..., 0, 1], counts[..., 1, 0], counts[..., 1, 1]
    n = tn + fp + fn + tp
    agreement = _ratio(tp + tn, n)
    chance = _ratio((tp + fp) * (tp + fn) + (fn + tn) * (fp + tn), n**2)
    return {
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "iou": _ratio(tp, tp + fp + fn),
        "kappa": _ratio(agreement - chance, 1 - chance),
        "commission": _ratio(fp, tp + fp),
        "omission": _ratio(fn, tp + fn),
        "area_bias": _ratio(fp - fn, tp + fn),
        "base_rate": _ratio(tp + fn, n),
        "n": n,
    }


def quadratic_kappa(counts: Matrix) -> float:
    """Cohen's kappa with quadratic weights of (k, k) counts; NaN without variation. Source: Cohen 1968."""
    k, n = len(counts), counts.sum()
    if n == 0:
        return float("nan")
    weights = np.subtract.outer(np.arange(k), np.arange(k)) ** 2 / (k - 1) ** 2
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n
    return float(1 - _ratio((weights * counts).sum(), (weights * expected).sum()))


def severity_figures(counts: Matrix, names: Sequence[str] = SEVERITY_NAMES) -> dict[str, Any]:
    """Agreement of severity maps from (k, k) counts, rows truth.

    returns  oa, kappa_quadratic, off_by_one (share of pixels exactly one class away), recall and precision per class
    """
    n = counts.sum()
    apart = np.abs(np.subtract.outer(np.arange(len(counts)), np.arange(len(counts))))
    diagonal = np.diag(counts)
    recall, precision = _ratio(diagonal, counts.sum(axis=1)), _ratio(diagonal, counts.sum(axis=0))
    return {
        "oa": float(_ratio(diagonal.sum(), n)),
        "kappa_quadratic": quadratic_kappa(counts),
        "off_by_one": float(_ratio(counts[apart == 1].sum(), n)),
        "recall": {name: float(value) for name, value in zip(names, recall, strict=True)},
        "precision": {name: float(value) for name, value in zip(names, precision, strict=True)},
    }


def area_ha(codes: Codes, pixel_area_m2: NDArray[np.float64], classes: int) -> list[float]:
    """Hectares of each class: sum of pixel areas / 10,000.

    pixel_area_m2  (rows, 1) area of a pixel in each row (Grid.pixel_area_m2: geodesic on longitude/latitude)
    """
    weights = np.broadcast_to(pixel_area_m2, codes.shape)
    return [float(weights[codes == code].sum() / 10_000.0) for code in range(classes)]


def stratified_share(counts: Matrix, map_shares: Sequence[float]) -> list[tuple[float, float]]:
    """Share of each reference class k with its standard error, from a sample stratified by map class.

    counts      (k, k) sample counts, rows MAP class i, columns reference class k
    map_shares  W_i, share of the map in class i; sums to 1
    returns     (p_k, SE_k): p_k = sum W_i n_ik/n_i, SE = sqrt(sum W_i^2 p(1-p)/(n_i - 1)); 95 % is +-1.96 SE
    raises      ValueError when the shares do not sum to 1 or a class with area has fewer than two samples
    source      Olofsson et al. 2014, Remote Sens. Environ. 148
    """
    weights = np.asarray(map_shares, dtype=np.float64)
    rows = counts.sum(axis=1)
    if len(weights) != len(counts) or abs(weights.sum() - 1) > 1e-6:
        raise ValueError(f"map shares {list(map_shares)} must be one a class and sum to 1")
    if np.any((weights > 0) & (rows < 2)):
        raise ValueError("a map class with area has fewer than two samples")
    used = weights > 0
    shares = counts[used] / rows[used][:, None]
    total = (weights[used][:, None] * shares).sum(axis=0)
    variance = (weights[used][:, None] ** 2 * shares * (1 - shares) / (rows[used][:, None] - 1)).sum(axis=0)
    return [(float(p), float(e)) for p, e in zip(total, np.sqrt(variance), strict=True)]


INDEX_COLUMNS = 7


def index_sums(predicted: NDArray[np.floating], true: NDArray[np.floating], mask: NDArray[np.bool_]) -> Matrix:
    """(7,) sums n, e, |e|, x, y, xx, xy of a difference index (x true, y predicted) over finite pixels of mask."""
    good = mask & np.isfinite(predicted) & np.isfinite(true)
    x, y = true[good].astype(np.float64), predicted[good].astype(np.float64)
    parts = (np.ones_like(x), y - x, np.abs(y - x), x, y, x * x, x * y)
    return np.array([part.sum() for part in parts])


def index_figures(sums: Matrix) -> Mapping[str, Matrix]:
    """mae, bias and slope of the regression of predicted on true; slope < 1 = severity compressed."""
    n, e, a, x, y, xx, xy = (sums[..., i] for i in range(INDEX_COLUMNS))
    return {"mae": _ratio(a, n), "bias": _ratio(e, n), "slope": _ratio(n * xy - x * y, n * xx - x * x), "n": n}
