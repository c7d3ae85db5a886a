"""Sigma of an index: closed forms by hand, seeded draws, probabilities against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from utils.science import index_uncertainty as iu
from utils.science import indices

GROUND = {
    "B02": 0.03,
    "B03": 0.06,
    "B04": 0.05,
    "B06": 0.2,
    "B07": 0.25,
    "B08": 0.30,
    "B8A": 0.31,
    "B11": 0.2,
    "B12": 0.12,
}


def arrays(values: dict[str, float]) -> dict[str, np.ndarray]:
    return {name: np.full((1, 1), value) for name, value in values.items()}


def test_nbr_by_the_closed_form() -> None:
    nir, swir, s_nir, s_swir, together = 0.30, 0.12, 0.02, 0.03, -0.4
    # d/dN (N-S)/(N+S) = 2 S/(N+S)^2, d/dS = -2 N/(N+S)^2
    by_nir, by_swir = 2 * swir / 0.42**2 * s_nir, -2 * nir / 0.42**2 * s_swir
    sigma = arrays({"B08": s_nir, "B12": s_swir})
    plain = iu.index_sigma("NBR", arrays(GROUND), sigma)[0, 0]
    assert plain == pytest.approx(np.hypot(by_nir, by_swir), rel=1e-6)
    joined = iu.index_sigma("NBR", arrays(GROUND), sigma, {("B12", "B08"): together})[0, 0]
    assert joined == pytest.approx(np.sqrt(by_nir**2 + by_swir**2 + 2 * together * by_nir * by_swir), rel=1e-6)


@pytest.mark.parametrize("name", sorted(indices.INDICES))
def test_delta_method_agrees_with_draws_of_the_bands(name: str) -> None:
    """An oracle that knows nothing of gradients: the standard deviation of the index of drawn bands."""
    rng = np.random.default_rng(11)
    used = indices.INDICES[name][1]
    sigma = {band: 0.04 * GROUND[band] for band in used}
    drawn = {band: GROUND[band] + sigma[band] * rng.standard_normal(200_000) for band in used}
    expected = float(np.std(indices.compute(name, drawn)))
    found = float(iu.index_sigma(name, arrays(GROUND), arrays(sigma))[0, 0])
    print(f"{name}: delta {found:.5f}, draws {expected:.5f}, off by {found / expected - 1:+.2%} (limit 6 %)")
    assert found == pytest.approx(expected, rel=0.06)


def test_dark_ground_and_missing_values() -> None:
    dark = {"B08": np.array([[0.0, -0.01, np.nan, 0.003]]), "B12": np.array([[0.01, 0.02, 0.1, 0.002]])}
    sigma = {"B08": np.full((1, 4), 0.02), "B12": np.full((1, 4), 0.02)}
    found = iu.index_sigma("NBR", dark, sigma)[0]
    assert (
        np.isnan(found[2]) and (found[[0, 1, 3]] <= 1).all() and found[3] == 1
    )  # the index spreads no wider than it can
    sigma["B12"][0, 0] = np.nan
    assert np.isnan(iu.index_sigma("NBR", dark, sigma)[0, 0])


def test_class_probabilities_equal_the_normal_distribution() -> None:
    edges, difference, sigma = (-0.1, 0.1, 0.27), np.array([[0.12, 0.5, np.nan]]), np.array([[0.08, 0.3, 0.1]])
    found = iu.class_probabilities(difference, sigma, edges)
    law = stats.norm(0.12, 0.08)
    expected = np.diff([0, *law.cdf(edges), 1])
    np.testing.assert_allclose(found[:, 0, 0], expected, atol=1e-12)
    assert found[:, 0, 1].sum() == pytest.approx(1) and np.isnan(found[:, 0, 2]).all()
    assert iu.at_least(np.array([0.1, 0.0999]), np.zeros(2), 0.1).tolist() == [
        1,
        0,
    ]  # the edge belongs to the upper class
    assert iu.percent(np.array([0.004, 0.006, 1.0, np.nan])).tolist() == [0, 1, 100, 255]
