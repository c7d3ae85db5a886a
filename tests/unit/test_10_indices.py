"""Indices: hand-computed values by band name."""

import numpy as np
import pytest

from utils.science import indices

PIXEL = {
    "B02": 0.04, "B03": 0.06, "B04": 0.1, "B06": 0.2, "B07": 0.25, "B08": 0.4, "B8A": 0.42, "B11": 0.2, "B12": 0.1,
}  # fmt: skip
BANDS = {name: np.array([value]) for name, value in PIXEL.items()}

EXPECTED = {
    "NDVI": 0.3 / 0.5,
    "EVI": 2.5 * 0.3 / (0.4 + 0.6 - 0.3 + 1),
    "SAVI": 1.5 * 0.3 / 1.0,
    "MSAVI": (1.8 - np.sqrt(3.24 - 2.4)) / 2,
    "GNDVI": 0.34 / 0.46,
    "NDWI": -0.34 / 0.46,
    "BAI": 1 / (0 + 0.34**2),
    "NBR": 0.3 / 0.5,
    "NBR2": 0.1 / 0.3,
    "NDMI": 0.2 / 0.6,
    "MIRBI": 1.0 - 1.96 + 2,
    "BAIS2": (1 - np.sqrt(0.2 * 0.25 * 0.42 / 0.1)) * ((0.1 - 0.42) / np.sqrt(0.52) + 1),
}


@pytest.mark.parametrize("name", sorted(indices.INDICES))
def test_value_by_hand(name):
    assert indices.compute(name, BANDS)[0] == pytest.approx(EXPECTED[name], rel=1e-12)


def test_design_values():
    assert indices.compute("MSAVI", BANDS)[0] == pytest.approx(0.4417, abs=5e-5)
    bai = indices.compute("BAI", {"B04": np.array([0.05]), "B08": np.array([0.08])})[0]
    assert bai == pytest.approx(344.8, abs=0.05)  # the product form would give 1,000,000


def test_small_denominator_and_nan_become_nan():
    red, nir = np.array([0.0, np.nan, 1e-7, 0.1]), np.array([0.0, 0.2, 1e-7, 0.3])
    result = indices.ndvi({"B04": red, "B08": nir})
    assert np.isnan(result[:3]).all() and result[3] == pytest.approx(0.5)


def test_available_keeps_order_and_refuses_unknown():
    assert indices.available(("NBR", "NDVI"), ("B04", "B08")) == ("NDVI",)
    with pytest.raises(ValueError, match="unknown index NVDI"):
        indices.available(("NVDI",), ("B04",))
    with pytest.raises(ValueError, match="band B12 is missing"):
        indices.compute("NBR", {"B08": np.ones(1)})
    with pytest.raises(ValueError, match="different shapes"):
        indices.compute("NDVI", {"B04": np.ones(1), "B08": np.ones(2)})


def test_differences():
    pre, post = np.array([0.64, 0.0]), np.array([0.16, 0.1])
    assert indices.difference(pre, post).tolist() == pytest.approx([0.48, -0.1])
    relative = indices.relative_difference(pre, post)
    assert relative[0] == pytest.approx(0.6) and np.isnan(relative[1])
    assert indices.rbr(pre, post)[0] == pytest.approx(0.48 / 1.641)


def test_is_change_uses_the_median_of_valid_pixels():
    assert indices.is_change(np.array([0.14, np.nan, 0.14]))
    assert not indices.is_change(np.array([0.139, 0.9, 0.1]))
    assert not indices.is_change(np.array([np.nan]))


def test_stack_to_bands_checks_the_number_of_names():
    assert indices.stack_to_bands(np.array([[1.0, 2.0]]), ("B04", "B08"))["B08"][0] == 2.0
    with pytest.raises(ValueError, match="3 bands for 2 names"):
        indices.stack_to_bands(np.zeros((1, 1, 3)), ("B04", "B08"))


def test_negative_reflectance_counts_as_zero_in_normalised_differences():
    """Model output over dark water: -0.05 and 0.03 would give +4; both below zero say nothing."""
    nir, red = np.array([-0.01, -0.05, 0.03, -0.02]), np.array([0.03, 0.03, -0.01, -0.01])
    assert indices.compute("NDVI", {"B08": nir, "B04": red}) == pytest.approx([-1.0, -1.0, 1.0, np.nan], nan_ok=True)


@pytest.mark.parametrize("name", ["NDVI", "GNDVI", "NDWI", "NBR", "NBR2", "NDMI"])
def test_normalised_differences_stay_in_their_bounds(name):
    rng = np.random.default_rng(5)
    bands = {band: rng.normal(0.02, 0.1, 4000) for band in BANDS}
    value = indices.compute(name, bands)
    assert np.isfinite(value).mean() > 0.6
    assert np.nanmin(value) >= -1 and np.nanmax(value) <= 1


def test_indices_of_dark_water_are_noise():
    """Two looks at water with 0.003 noise differ by more than the burned threshold; the pixels are told apart."""
    rng = np.random.default_rng(6)
    water = [{"B08": 0.015 + rng.normal(0, 0.003, 5000), "B12": 0.005 + rng.normal(0, 0.003, 5000)} for _ in range(2)]
    noise = indices.difference(*(indices.compute("NBR", bands) for bands in water))
    assert np.nanstd(noise) > 0.2 and not np.concatenate([indices.well_determined("NBR", b) for b in water]).any()
    char = {"B08": 0.085 + rng.normal(0, 0.003, 5000), "B12": 0.13 + rng.normal(0, 0.003, 5000)}
    assert indices.well_determined("NBR", char).all() and indices.compute("NBR", char).std() < 0.03
    assert indices.well_determined("NBR", {"B08": np.array([np.nan, 0.3]), "B12": np.array([0.1, 0.1])}).tolist() == [
        False,
        True,
    ]
    assert indices.well_determined("BAI", {"B04": np.array([0.0]), "B08": np.array([0.01])}).tolist() == [True]
