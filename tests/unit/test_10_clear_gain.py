"""Correction from clear pixels: the robust line against other implementations, and the rule that it must prove itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import HuberRegressor, TheilSenRegressor

from utils.science import clear_gain


def points(n: int, seed: int, gain: float = 1.1, offset: float = -0.01, wild: float = 0.0, noise: float = 0.002):
    """x and y = gain*x + offset + noise, a share `wild` of them one-sided outliers (burnt: half as bright)."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(0.02, 0.4, n)
    y = gain * x + offset + generator.normal(0, noise, n)
    burnt = generator.uniform(0, 1, n) < wild
    y[burnt] *= 0.4
    return x, y


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_line_equals_scipy_where_all_pairs_are_used(seed: int) -> None:
    x, y = points(400, seed, wild=0.1, noise=0.02)
    x[:20] = x[20:40]  # equal x have no slope
    expected = stats.theilslopes(y, x)
    slope, intercept = clear_gain.theil_sen(x, y)
    assert slope == pytest.approx(expected.slope, rel=1e-12)
    # scipy's intercept is median(y) - slope*median(x); ours is the median of the residuals
    assert intercept == pytest.approx(float(np.median(y - expected.slope * x)), rel=1e-12)


def test_line_survives_a_fifth_of_burnt_pixels_and_least_squares_does_not() -> None:
    x, y = points(3000, 4, wild=0.2)
    slope, intercept = clear_gain.theil_sen(x, y)
    other = TheilSenRegressor(random_state=0, max_subpopulation=20_000).fit(x[:, None], y)
    huber = HuberRegressor(epsilon=1.01, alpha=0.0, max_iter=1000).fit(x[:, None], y)
    least = np.polyfit(x, y, 1)
    for name, value in (("own", slope), ("scikit-learn Theil-Sen", other.coef_[0]), ("Huber", huber.coef_[0])):
        print(f"{name}: gain {value:.4f} (planted 1.1)")
    assert abs(slope - 1.1) < 0.03 and abs(intercept + 0.01) < 0.004
    assert abs(slope - other.coef_[0]) < 0.03
    assert abs(least[0] - 1.1) > 0.08


def test_drawn_pairs_are_near_all_pairs_and_repeatable() -> None:
    x, y = points(60_000, 5, wild=0.1, noise=0.01)
    first, again = clear_gain.theil_sen(x, y), clear_gain.theil_sen(x, y)
    few = clear_gain.theil_sen(x[:2000], y[:2000])  # just below the limit: all pairs
    assert first == again
    assert abs(first[0] - few[0]) < 0.01 and abs(first[0] - 1.1) < 0.03
    with pytest.raises(ValueError, match="all x are equal"):
        clear_gain.theil_sen(np.full(10, 0.2), np.arange(10.0))


def test_offset_is_the_median_difference() -> None:
    assert clear_gain.fit(np.array([0.1, 0.2, 0.3]), np.array([0.13, 0.22, 0.9]), "offset") == (
        1.0,
        pytest.approx(0.03),
    )


def test_a_planted_haze_is_found_and_applied() -> None:
    x, y = points(5000, 6, gain=0.9, offset=0.02)
    block = np.arange(5000) // 100
    found = clear_gain.decide("B04", x, y, block, "gain_offset", 1000)
    assert found.applied and found.gain == pytest.approx(0.9, abs=0.002)
    assert found.rmse_after < 0.3 * found.rmse_before and found.fitted_px + found.checked_px == 5000
    band = np.array([[0.1, np.nan]], np.float32)
    out = found.apply(band)
    assert out.dtype == np.float32 and out[0, 0] == pytest.approx(0.11, abs=0.001) and np.isnan(out[0, 1])


def test_a_line_that_does_not_hold_on_the_blocks_left_out_is_not_applied() -> None:
    """The clear ground of the fit is 0.05 brighter than simulated, that of the check is as simulated."""
    x, _ = points(6000, 7)
    block = np.arange(6000) // 100
    y = x + np.where(clear_gain.left_out(block), 0.0, 0.05)
    for mode in ("offset", "gain_offset"):
        found = clear_gain.decide("B08", x, y, block, mode, 1000)
        assert not found.applied and "does not surely lower" in found.reason
        assert found.rmse_before == pytest.approx(0, abs=1e-9) and found.rmse_after == pytest.approx(0.05, abs=1e-3)
        image = x.astype(np.float32)[None]
        assert np.array_equal(found.apply(image), image)


def test_a_gain_from_one_block_only_is_no_proof() -> None:
    """Eleven blocks left out are as simulated, one is 0.08 brighter: the sum gains, the blocks do not agree."""
    generator = np.random.default_rng(10)
    block = np.repeat(np.arange(40), 100)
    check = np.unique(block[clear_gain.left_out(block)])
    x = generator.uniform(0.1, 0.3, len(block))
    y = x + 0.01 * generator.normal(size=len(block))
    y[~clear_gain.left_out(block)] += 0.01
    y[block == check[0]] += 0.08
    found = clear_gain.decide("B04", x, y, block, "offset", 1000)
    assert found.rmse_after < found.rmse_before and not found.applied
    y[np.isin(block, check[1:])] += 0.01
    assert clear_gain.decide("B04", x, y, block, "offset", 1000).applied


def test_reasons_for_no_correction() -> None:
    x, y = points(999, 8)
    block = np.arange(999) // 50
    assert clear_gain.decide("B04", x, y, block, "gain_offset", 1000).reason == (
        "999 clear pixels near hidden ones, fewer than 1000"
    )
    assert clear_gain.decide("B04", x, y, block, "none", 100).reason == "switched off"
    one = clear_gain.decide("B04", x, y, np.zeros(999, np.int64), "gain_offset", 100)
    assert not one.applied and "too few blocks" in one.reason
    flat = clear_gain.decide("B04", np.full(999, 0.2), y, block, "gain_offset", 100)
    assert not flat.applied and "all x are equal" in flat.reason
    steep = clear_gain.decide("B04", x, 4 * x, block, "gain_offset", 100)
    assert not steep.applied and "outside 0.5 to 2" in steep.reason
    assert clear_gain.words({"B04": steep}).startswith("B04 none (gain 4.000 outside")


def test_a_third_of_the_blocks_is_left_out_and_no_row_as_a_whole() -> None:
    mask = clear_gain.left_out(np.arange(120 * 100)).reshape(120, 100)
    assert mask.mean() == pytest.approx(1 / 3, abs=0.02)
    assert mask.mean(axis=0).min() > 0.1 and mask.mean(axis=1).max() < 0.6
    again = clear_gain.left_out(np.arange(120 * 100)).reshape(120, 100)
    assert np.array_equal(mask, again)


def test_blocks_near_hidden_ground_by_brute_force() -> None:
    generator = np.random.default_rng(9)
    hidden_px = np.where(generator.uniform(size=(30, 25)) < 0.01, 3, 0)
    rows, cols = np.nonzero(hidden_px)
    grid_row, grid_col = np.mgrid[:30, :25]
    distance = np.sqrt((grid_row[..., None] - rows) ** 2 + (grid_col[..., None] - cols) ** 2).min(axis=-1)
    assert np.array_equal(clear_gain.near_blocks(hidden_px, 4.0), distance <= 4.0)
    assert not clear_gain.near_blocks(np.zeros((3, 3), np.int64), 9.0).any()
