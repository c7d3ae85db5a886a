"""Is a predicted standard deviation right? Temperature, interval of 95 %, coverage, and how well it sorts the errors.

A pixel's error is normal with the predicted sigma if 68.27 % of the errors lie within one sigma and 95 % within 1.96.
Errors of images have heavier tails: the interval of 95 % has a width of its own, in sigmas, from errors of other ground.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]
NORMAL_95 = 1.959963984540054  # sigmas
LEVELS = {"68": (1.0, 0.6826894921370859), "95": (NORMAL_95, 0.95)}  # sigmas of normal errors, wanted share
WIDTH_TAG = "SIGMA_95"  # of a raster of sigma: widths_text
STEPS = 100  # shares of removed pixels in a sparsification curve


def coverage(ratios: Values, width_95: Values | float = NORMAL_95) -> dict[str, float]:
    """Share of errors within the intervals of 68 and 95 %.

    ratios    (N,) or (N, bands) |error| / sigma
    width_95  half width of the interval of 95 % in sigmas; of the shape of ratios, (bands,) or one for all
    returns   level -> share; empty without a value
    """
    if not ratios.size:
        return {}
    return {"68": float((ratios <= 1.0).mean()), "95": float((ratios <= width_95).mean())}


def fit_width_95(ratios: Values) -> float:
    """Half width of the interval of 95 % in sigmas: split conformal prediction with normalised residuals.

    The k-th smallest ratio, k = ceil(0.95 (N + 1)): a new error of the same kind lies within with at least 95 %.

    ratios   (N,) |error| / sigma of ground that did not train
    returns  > 0; that of normal errors where N is too small to say (< 19)
    source   Lei et al. 2018, Distribution-free predictive inference for regression, sections 2.2 and 5.2
    """
    rank = int(np.ceil(0.95 * (ratios.size + 1)))
    if rank > ratios.size:
        return NORMAL_95
    return max(float(np.partition(np.asarray(ratios, np.float64), rank - 1)[rank - 1]), 1e-6)


def widths_text(widths: Mapping[str, float]) -> str:
    """Band -> width as the tag SIGMA_95 of a raster, e.g. "B04 2.310, B08 2.480"."""
    return ", ".join(f"{band} {width:.3f}" for band, width in widths.items())


def widths_of(text: str | None, bands: Sequence[str]) -> Values:
    """(bands,) widths from such a tag; that of normal errors for bands that it does not name, or without a tag.

    raises  ValueError for a text that is not of this form
    """
    pairs = [part.split() for part in (text or "").split(",") if part.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"no widths of bands: {text!r}")
    known = {band: float(width) for band, width in pairs}
    return np.array([known.get(band, NORMAL_95) for band in bands])


def fit_temperature(ratios: Values) -> float:
    """Factor of sigma that makes the larger miss of the two coverages as small as it can be.

    Errors have heavier tails than a normal distribution, so that no factor meets both. Where they ask for different
    factors, the shares miss by the same amount on opposite sides.

    ratios   (N,) |error| / sigma
    returns  > 0; 1 without a value
    """
    if not ratios.size:
        return 1.0
    ordered = np.sort(np.asarray(ratios, np.float64))
    apart = [float(np.quantile(ordered, wanted)) / width for width, wanted in LEVELS.values()]
    low, high = max(min(apart), 1e-6), max(*apart, 1e-6)
    wanted_sum = sum(wanted for _, wanted in LEVELS.values())
    for _ in range(60):
        middle = 0.5 * (low + high)
        shares = [np.searchsorted(ordered, width * middle, side="right") / ordered.size for width, _ in LEVELS.values()]
        low, high = (middle, high) if sum(shares) < wanted_sum else (low, middle)
    return 0.5 * (low + high)


def sparsification(squared_error: Values, score: Values) -> Values:
    """Root mean squared error of what is left when the pixels of the largest score are removed, relative to all pixels.

    squared_error, score  (N,); equal scores count as sorted at random, that is each with the mean of its equals
    returns               (100,) for removed shares 0, .01 ... .99
    source                Ilg et al. 2018
    """
    order = np.argsort(score, kind="stable")
    ranked, errors = score[order], np.asarray(squared_error, np.float64)[order]
    _, first, counts = np.unique(ranked, return_index=True, return_counts=True)
    errors = np.repeat(np.add.reduceat(errors, first) / counts, counts)
    mean = np.cumsum(errors) / np.arange(1, errors.size + 1)
    left = np.maximum(1, np.round(errors.size * (1 - np.arange(STEPS) / STEPS)).astype(int))
    whole = mean[-1]
    return np.sqrt(mean[left - 1] / whole) if whole > 0 else np.zeros(STEPS)


def ause(squared_error: Values, sigma: Values) -> float | None:
    """Area between the sparsification curve of sigma and that of the error itself: 0 = sigma sorts perfectly.

    None without a value
    """
    if not squared_error.size:
        return None
    gap = sparsification(squared_error, sigma) - sparsification(squared_error, squared_error)
    return float(gap.mean())


def strata_report(
    error: Values, sigma: Values, temperature: Values, width_95: Values, strata: Mapping[str, NDArray[np.bool_]],
    common: Values,
) -> dict[str, Any]:  # fmt: skip
    """Coverage and AUSE of pixels, by stratum.

    A stratum that the truth makes (changed, burned) gathers errors that nobody could foresee: there even a right sigma
    covers less than its level.

    error        (N, bands) prediction - truth, reflectance
    sigma        (N, bands) before the temperature, > 0
    temperature  (bands,) or (N, bands) for the coverage
    width_95     the same: half width of the interval of 95 % in sigmas after the temperature
    strata       name -> (N,) pixels of it
    common       (bands,) temperature for AUSE: factors that differ between pixels would shuffle them
    returns      stratum -> {pixels, coverage, ause, ause_constant}; the last is that of one sigma for all pixels
    """
    ratios, widths = np.abs(error) / (sigma * temperature), np.broadcast_to(width_95, error.shape)
    squared, spread = np.square(error).mean(-1), np.sqrt(np.square(sigma * common).mean(-1))
    out: dict[str, Any] = {}
    for name, chosen in strata.items():
        out[name] = {
            "pixels": int(chosen.sum()), "coverage": coverage(ratios[chosen], widths[chosen]), "ause": ause(squared[chosen], spread[chosen]),
            "ause_constant": ause(squared[chosen], np.ones(int(chosen.sum()))),
        }  # fmt: skip
    return out
