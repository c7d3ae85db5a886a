"""Loops of the scores, compiled: one pass over the pixels instead of one a formula. Sums are float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)  # type: ignore[misc]
def angles_deg(first: Any, second: Any, out: Any) -> None:
    """Angle between the spectra of two images (N, B) in degrees; NaN for a norm of zero or a value that is not finite."""
    for i in range(first.shape[0]):
        both, one, other = 0.0, 0.0, 0.0
        for b in range(first.shape[1]):
            both += first[i, b] * second[i, b]
            one += first[i, b] * first[i, b]
            other += second[i, b] * second[i, b]
        norm = math.sqrt(one) * math.sqrt(other)
        if norm > 0 and math.isfinite(norm):
            out[i] = math.degrees(math.acos(min(1.0, max(-1.0, both / norm))))
        else:
            out[i] = np.nan


@njit(cache=True, nogil=True)  # type: ignore[misc]
def squared_errors(prediction: Any, target: Any, reference: Any, mask: Any) -> tuple[float, float]:
    """Sums over the masked pixels, finite in all three images (N, B), of the squared errors of prediction and reference."""
    own, copied = 0.0, 0.0
    for i in range(target.shape[0]):
        if not mask[i]:
            continue
        p, r = 0.0, 0.0
        for b in range(target.shape[1]):
            p += (prediction[i, b] - target[i, b]) ** 2
            r += (reference[i, b] - target[i, b]) ** 2
        if math.isfinite(p) and math.isfinite(r):
            own += p
            copied += r
    return own, copied


@njit(cache=True, nogil=True)  # type: ignore[misc]
def mean_change(first: Any, second: Any, out: Any) -> None:
    """Mean absolute difference of the bands of two images (N, B); not finite where a value is not."""
    for i in range(first.shape[0]):
        total = 0.0
        for b in range(first.shape[1]):
            total += abs(second[i, b] - first[i, b])
        out[i] = total / first.shape[1]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc]
def normalised_difference(first: Any, second: Any, smallest: float, out: Any) -> None:
    """(a - b) / (a + b) of two images (N,), negative values taken for 0; NaN where |a + b| < smallest or a value is NaN."""
    for i in range(first.size):
        a, b = first[i], second[i]
        if a < 0:  # False for NaN
            a = 0.0
        if b < 0:
            b = 0.0
        both = a + b
        out[i] = (a - b) / both if both >= smallest else np.nan


@njit(cache=True, nogil=True)  # type: ignore[misc]
def count_edges(values: Any, edges: Any, nodata: int, out: Any) -> None:
    """How many of the rising edges each value (N,) reaches; nodata where it is not finite."""
    for i in range(values.size):
        value, code = values[i], 0
        if math.isfinite(value):
            for edge in edges:
                code += value >= edge
            out[i] = code
        else:
            out[i] = nodata
