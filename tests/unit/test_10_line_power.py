"""Calibrated lines in one pass against the same figures from whole arrays."""

import numpy as np
import pytest

from tests import s1_oracles
from tests.unit.test_10_calibrate import Block, Noise, Table
from utils.science import calibrate, flatten
from utils.science.grid import Window
from utils.science.line_power import LinePower

WINDOW = Window(37, 12, 150, 80)


def _tables(seed: int) -> tuple[Table, Noise]:
    random = np.random.default_rng(seed)
    lines = np.array([0, 40, 90, 150, 260])
    pixels = [np.unique(np.concatenate([[0, 120], random.integers(1, 119, 12)])) for _ in lines]
    beta = Table(lines, pixels, [random.uniform(400, 500, len(p)) for p in pixels])
    noise = [random.uniform(200, 3000, len(p)) for p in pixels]
    noise[2][4] = 0.0  # zero means missing
    blocks = [
        Block(0, 100, 0, 50, np.array([0, 60, 100]), np.array([1.0, 1.2, 0.9])),
        Block(0, 300, 51, 120, np.array([10, 300]), np.array([1.1, 0.8])),
    ]
    return beta, Noise(Table(lines, pixels, noise), blocks)


@pytest.mark.parametrize("seed", [1, 2])
def test_equals_whole_arrays(seed: int) -> None:
    beta, noise = _tables(seed)
    random = np.random.default_rng(seed)
    dn = random.integers(0, 120, (WINDOW.rows, WINDOW.cols)).astype(np.uint16)
    ratio = random.uniform(0.0, 2.0, dn.shape).astype(np.float32)
    eta = calibrate.noise_on_image(noise, WINDOW)
    whole = s1_oracles.beta0(dn, calibrate.table_on_image(beta, WINDOW), eta)
    power = LinePower(beta, noise, WINDOW)
    parts = [
        power.lines(dn[a : a + 33], WINDOW.row + a, np.ascontiguousarray(ratio[a : a + 33]))
        for a in range(0, len(dn), 33)
    ]
    found, expected = np.concatenate(parts), flatten.to_gamma0(whole, ratio)
    assert (np.isnan(found) == np.isnan(expected)).all()
    valid = np.isfinite(found)
    assert (found[valid] < 0).any()
    assert np.abs(found[valid] / expected[valid] - 1).max() < 3e-7  # one rounding of float32
    assert power.noise_missing_fraction == pytest.approx(float(np.isnan(eta).mean()))
    assert 0 < power.noise_missing_fraction < 0.4


def test_without_noise_and_without_flattening() -> None:
    beta, _ = _tables(3)
    dn = np.full((2, WINDOW.cols), 60, np.uint16)
    power = LinePower(beta, None, WINDOW)
    found = power.lines(dn, WINDOW.row + 5, None)
    table = calibrate.table_on_image(beta, Window(WINDOW.row + 5, WINDOW.col, 2, WINDOW.cols))
    assert found == pytest.approx(3600 / table**2, rel=1e-6)
    assert power.noise_missing_fraction == 0.0


def test_last_vector_is_held_to_the_end() -> None:
    """Tables may end before the image: clamped there, never extrapolated."""
    table = Table(np.array([0, 10]), [np.array([0, 100])] * 2, [np.full(2, 400.0), np.full(2, 500.0)])
    for window in (Window(5, 0, 60, 20), Window(40, 0, 20, 20)):
        power = LinePower(table, None, window)
        found = power.lines(np.full((2, 20), 100, np.uint16), window.row + window.rows - 2, None)
        assert found == pytest.approx(1e4 / 500.0**2, rel=1e-6)
