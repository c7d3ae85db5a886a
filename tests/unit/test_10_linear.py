"""Linear rivals against independent solutions of the same least squares."""

import numpy as np
import pytest

from utils.science import linear


def test_gain_is_that_of_polyfit_and_sums_add_up():
    rng = np.random.default_rng(4)
    before = rng.random((500, 3))
    after = before * [0.5, 1.0, 2.0] + [0.1, 0.0, -0.2] + 0.05 * rng.normal(size=before.shape)
    parts = linear.gain_sums(before[:200], after[:200]) + linear.gain_sums(before[200:], after[200:])
    found = linear.fit_gain(parts)
    for band in range(3):
        slope, offset = np.polyfit(before[:, band], after[:, band], 1)
        assert found.gain[band] == pytest.approx(slope, abs=1e-9)
        assert found.offset[band] == pytest.approx(offset, abs=1e-9)
    assert np.allclose(found.change(before), found.image(before) - before)


def test_a_band_without_variation_is_only_shifted():
    before = np.full((10, 1), 0.3)
    found = linear.fit_gain(linear.gain_sums(before, before + 0.1))
    assert found.gain[0] == 1.0 and found.image(before)[0, 0] == pytest.approx(0.4)
    with pytest.raises(ValueError, match="two pixels"):
        linear.fit_gain(linear.gain_sums(before[:1], before[:1]))


def test_ridge_solves_the_normal_equations_of_standardised_features():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 4)) * [1.0, 10.0, 0.1, 3.0] + 2.0
    y = x @ rng.normal(size=(4, 2)) + 0.1 * rng.normal(size=(300, 2))
    x[::7, 1] = np.nan
    found = linear.fit_ridge(x, y, alpha=3.0)
    full = np.where(np.isnan(x), np.nanmedian(x, axis=0), x)
    z = (full - full.mean(0)) / full.std(0)
    weights = np.linalg.solve(z.T @ z + 3.0 * np.eye(4), z.T @ (y - y.mean(0)))
    assert np.allclose(found.predict(x), z @ weights + y.mean(0), atol=1e-9)
