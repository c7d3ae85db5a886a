"""Satellite orbit: polynomial through the state vectors of a product.

Times are seconds after an epoch (the product's first line); positions are earth-centred, rotating with the Earth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
TimeArray = NDArray[np.datetime64]

_MAX_POSITION_RESIDUAL_M = 0.02
_MAX_VELOCITY_RESIDUAL_M_S = 0.1
_MAX_EXTRAPOLATION_S = 2.0
_FULL_DEGREE, _SHORT_DEGREE = 8, 5
_MIN_VECTORS_FULL, _MIN_SPAN_FULL_S = 12, 60.0


class OrbitError(ValueError):
    """State vectors that contradict each other, or a time that they do not cover."""


@dataclass(frozen=True)
class Orbit:
    """Polynomials in u = (t - mid_s) / half_s, one per coordinate.

    epoch               time of t = 0
    coefficients        (degree + 1, 3) float64, m, lowest power first
    first_s, last_s     span of the state vectors, s after epoch
    position_residual_m, velocity_residual_m_s  largest difference to the given vectors
    """

    epoch: np.datetime64
    coefficients: FloatArray
    mid_s: float
    half_s: float
    first_s: float
    last_s: float
    position_residual_m: float
    velocity_residual_m_s: float

    @property
    def limits_s(self) -> tuple[float, float]:
        """First and last time that may be evaluated: the vectors' span and 2 s beyond."""
        return self.first_s - _MAX_EXTRAPOLATION_S, self.last_s + _MAX_EXTRAPOLATION_S

    def evaluate(self, time_s: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Position m, velocity m/s and acceleration m/s2, each time_s.shape + (3,).

        raises  OrbitError when a time lies more than 2 s outside the state vectors
        """
        time = np.asarray(time_s, float)
        low, high = self.limits_s
        if np.any(time < low) or np.any(time > high):
            raise OrbitError(
                f"time {float(time.min()):.3f} .. {float(time.max()):.3f} s is outside the orbit, {low:.3f} .. {high:.3f} s"
            )
        return self._horner((time - self.mid_s) / self.half_s)

    def _horner(self, u: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        states = np.empty((3, u.size, 3))
        _states(self.coefficients, u.ravel(), states)
        position, velocity, half_acceleration = states.reshape(3, *u.shape, 3)
        return position, velocity / self.half_s, 2 * half_acceleration / self.half_s**2


@njit(cache=True, nogil=True, error_model="numpy")
def _states(coefficients: Any, u: Any, out: Any) -> None:
    """Polynomials, their first derivative and half of the second at u (n,), out (3, n, 3) float64."""
    top = coefficients.shape[0] - 1
    for i in range(u.shape[0]):
        for axis in range(3):
            value, slope, curvature = 0.0, 0.0, 0.0
            for k in range(top, -1, -1):
                curvature = curvature * u[i] + slope
                slope = slope * u[i] + value
                value = value * u[i] + coefficients[k, axis]
            out[0, i, axis], out[1, i, axis], out[2, i, axis] = value, slope, curvature


def fit_orbit(times: TimeArray, position_m: FloatArray, velocity_m_s: FloatArray, epoch: np.datetime64) -> Orbit:
    """Fit the state vectors of one product.

    times                      (n,) datetime64[ns], increasing
    position_m, velocity_m_s   (n, 3) in the rotating Earth frame
    epoch                      time of t = 0 of the result
    raises  OrbitError with fewer than 4 vectors, times that do not increase, or when the fitted position misses a
            vector by more than 0.02 m or its derivative the given velocity by more than 0.1 m/s
    """
    time_s = (times.astype("datetime64[ns]") - epoch.astype("datetime64[ns]")).astype(np.int64) * 1e-9
    if len(time_s) < 4 or np.any(np.diff(time_s) <= 0):
        raise OrbitError(f"{len(time_s)} state vectors; at least 4 with increasing times are needed")
    span_s = float(time_s[-1] - time_s[0])
    full = len(time_s) >= _MIN_VECTORS_FULL and span_s >= _MIN_SPAN_FULL_S
    degree = min(_FULL_DEGREE if full else _SHORT_DEGREE, len(time_s) - 1)
    mid_s, half_s = float(time_s[0] + time_s[-1]) / 2, span_s / 2
    coefficients = np.polynomial.polynomial.polyfit((time_s - mid_s) / half_s, position_m, degree)
    draft = Orbit(epoch, coefficients, mid_s, half_s, float(time_s[0]), float(time_s[-1]), 0.0, 0.0)
    position, velocity, _ = draft.evaluate(time_s)
    position_residual = float(np.linalg.norm(position - position_m, axis=1).max())
    velocity_residual = float(np.linalg.norm(velocity - velocity_m_s, axis=1).max())
    if position_residual > _MAX_POSITION_RESIDUAL_M or velocity_residual > _MAX_VELOCITY_RESIDUAL_M_S:
        raise OrbitError(
            f"state vectors are inconsistent: the fit misses a position by {position_residual:.3f} m (limit "
            f"{_MAX_POSITION_RESIDUAL_M}) and a velocity by {velocity_residual:.3f} m/s (limit {_MAX_VELOCITY_RESIDUAL_M_S})"
        )
    return Orbit(epoch, coefficients, mid_s, half_s, draft.first_s, draft.last_s, position_residual, velocity_residual)
