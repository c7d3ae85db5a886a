"""Orbit fit against an exact circular orbit over a rotating Earth."""

import numpy as np
import pytest

from tests.synthetic_image import EPOCH, SyntheticImage
from utils.science.orbit import OrbitError, fit_orbit

IMAGE = SyntheticImage()


def _fit(count: int = 15, step_s: float = 10.0, start_s: float = -60.0, shift_m: float = 0.0):
    time = start_s + step_s * np.arange(count)
    position, velocity = IMAGE.state(time)
    position[count // 2] += shift_m
    return fit_orbit(EPOCH + (time * 1e9).astype("timedelta64[ns]"), position, velocity, EPOCH)


def test_position_and_velocity_between_vectors() -> None:
    orbit = _fit()
    time = np.linspace(-5.0, 30.0, 71)
    position, velocity, acceleration = orbit.evaluate(time)
    exact_position, exact_velocity = IMAGE.state(time)
    errors = np.abs(position - exact_position).max(), np.abs(velocity - exact_velocity).max()
    print(f"between vectors: {errors[0]:.1e} m (limit 1e-6), {errors[1]:.1e} m/s (limit 1e-6)")
    assert errors[0] < 1e-6
    assert errors[1] < 1e-6
    numeric = (IMAGE.state(time + 0.01)[1] - IMAGE.state(time - 0.01)[1]) / 0.02
    assert np.abs(acceleration - numeric).max() < 1e-4
    assert orbit.position_residual_m < 1e-6


def test_short_orbit_uses_degree_5_and_reaches_2_s_beyond() -> None:
    orbit = _fit(count=28, step_s=1.0, start_s=-2.6)  # as in products of 2015: ends with the last line
    assert orbit.coefficients.shape == (6, 3)
    last = orbit.last_s
    assert np.abs(orbit.evaluate(np.array([last + 1.9]))[0] - IMAGE.state(np.array([last + 1.9]))[0]).max() < 0.02
    with pytest.raises(OrbitError, match="outside the orbit"):
        orbit.evaluate(np.array([last + 2.1]))


def test_degree_8_for_full_orbits() -> None:
    assert _fit().coefficients.shape == (9, 3)


def test_a_wrong_vector_is_found() -> None:
    with pytest.raises(OrbitError, match="misses a position"):
        _fit(shift_m=1.0)


def test_too_few_or_unordered_vectors() -> None:
    with pytest.raises(OrbitError, match="3 state vectors"):
        _fit(count=3)
    position, velocity = IMAGE.state(np.zeros(6))
    with pytest.raises(OrbitError, match="increasing"):
        fit_orbit(np.repeat(EPOCH, 6), position, velocity, EPOCH)
