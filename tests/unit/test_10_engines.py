"""Agreement of two engines: known gains and displacements come back."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from utils.science import engines


def _speckle(shape: tuple[int, int], seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    fields = 0.05 * np.exp(0.5 * ndimage.gaussian_filter(rng.standard_normal(shape), 8) * 8)
    return (fields * rng.gamma(4.4, 1 / 4.4, shape)).astype(np.float32)


def _db(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power)


def _shift(first: np.ndarray, second: np.ndarray, good: np.ndarray) -> engines.Shift:
    """Over whole blocks side by side."""
    side = engines.BLOCK_PX
    parts = [
        np.s_[row : row + side, col : col + side]
        for row in range(0, first.shape[0] - side + 1, side)
        for col in range(0, first.shape[1] - side + 1, side)
    ]
    return engines.median_shift(engines.block_shift(first[part], second[part], good[part]) for part in parts)


@pytest.mark.parametrize("gain_db", [-0.4, 0.0, 0.15])
def test_known_gain(gain_db: float) -> None:
    first = _speckle((300, 320))
    scatter_db = np.random.default_rng(2).normal(0, 0.3, first.shape)
    found = engines.statistics(engines.difference_db(first, first * 10 ** ((gain_db + scatter_db) / 10)))
    print(f"gain {gain_db}: {found}")
    assert found.count == first.size
    assert found.median == pytest.approx(gain_db, abs=0.005)
    assert found.sigma == pytest.approx(0.3, abs=0.005)
    assert (found.p5, found.p95) == pytest.approx((gain_db - 0.4935, gain_db + 0.4935), abs=0.01)


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.2, -0.1), (0.4, 0.6), (-1.5, 3.3), (6.0, -5.5)])
@pytest.mark.parametrize("scale", [1, 3])
def test_known_shift(x: float, y: float, scale: int) -> None:
    """A finer image, displaced there and averaged: no interpolation that could itself displace. Radar and smoother."""
    factor, size = 10, 256
    rng = np.random.default_rng(3)
    coarse = ndimage.gaussian_filter(rng.standard_normal((size + 40,) * 2), 0.8 * scale)
    whole, part = np.divmod(np.rint(np.array([y, x]) * factor).astype(int), factor)
    fine = ndimage.zoom(coarse, factor, order=3, grid_mode=True, mode="nearest") if (part.any()) else None

    def at(down: int, right: int) -> np.ndarray:
        if fine is None:
            return coarse[20 - down // factor :, 20 - right // factor :][:size, :size]
        cut = fine[20 * factor - down :, 20 * factor - right :][: size * factor, : size * factor]
        return cut.reshape(size, factor, size, factor).mean(axis=(1, 3))

    first, second = at(0, 0), at(*(whole * factor + part))
    found = _shift(first, second, np.ones(first.shape, bool))
    error = np.hypot(found.x_px - x, found.y_px - y)
    print(
        f"shift ({x}, {y}), smoothness {scale}: found ({found.x_px:.3f}, {found.y_px:.3f}), error {error:.3f} px (limit 0.03)"
    )
    assert error < 0.03


def test_shift_under_holes_and_another_gain() -> None:
    first = _speckle((600, 600))
    second = np.roll(first, (2, -3), (0, 1)) * np.float32(1.7)
    good = np.random.default_rng(4).random(first.shape) > 0.15
    good[:256, :256] = False
    found = _shift(_db(first), _db(second), good)
    print(f"(-3, 2) with holes: ({found.x_px:.2f}, {found.y_px:.2f}) from {found.blocks} blocks (limit 0.02)")
    assert (found.x_px, found.y_px) == pytest.approx((-3.0, 2.0), abs=0.02)
    assert found.blocks == 3


def test_nothing_to_compare() -> None:
    empty = np.full((300, 300), np.nan)
    found = engines.statistics(engines.difference_db(empty, empty))
    assert found.count == 0 and np.isnan(found.median)
    assert _shift(empty, empty, np.ones(empty.shape, bool)).blocks == 0
    flat = np.ones((300, 300))
    assert _shift(flat, flat, np.ones(flat.shape, bool)).blocks == 0
    assert np.isnan(engines.difference_db(np.array([1.0, 0.0, -1.0]), np.array([0.0, 1.0, 1.0]))).all()


def test_threshold_does_not_prefer_one_engine() -> None:
    """Two noisy measurements of one surface near the threshold: equal on average, also among the selected pixels."""
    rng = np.random.default_rng(5)
    first, second = 0.02 * rng.gamma(4.4, 1 / 4.4, (2, 400, 400))
    keep = engines.above_noise(first, second, 0.02 / 3)
    median = float(np.median(_db(second[keep] / first[keep])))
    wrong = float(np.median(_db((second / first)[first > 0.02])))
    print(f"median of the selected {median:+.3f} dB (limit 0.03); by a threshold on one engine {wrong:+.3f}")
    assert 0.2 < keep.mean() < 0.8
    assert abs(median) < 0.03 < abs(wrong)
    assert engines.above_noise(np.array([0.07, 0.05, -1.0]), np.array([0.07, 0.05, -1.0]), 0.02).tolist() == [
        True,
        False,
        False,
    ]


def test_noise_as_gamma0() -> None:
    def table(value: float) -> SimpleNamespace:
        return SimpleNamespace(
            lines=np.array([0, 1000]), pixels=[np.array([0, 999])] * 2, values=[np.array([value, value])] * 2
        )

    noise = SimpleNamespace(range_vectors=table(800.0), azimuth_blocks=())
    assert engines.noise_power(noise, table(500.0), 1000, 1000) == pytest.approx(800 / 500**2)
    missing = SimpleNamespace(range_vectors=table(0.0), azimuth_blocks=())
    assert np.isnan(engines.noise_power(missing, table(500.0), 1000, 1000))
