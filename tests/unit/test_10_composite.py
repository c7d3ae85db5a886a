"""Composite: what may change, weights against brute force, stripes against the whole, variances against random errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.science import composite as mixing
from utils.science.composite import composite


def ground(seed: int, shape: tuple[int, int] = (90, 40)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observed and simulated (2, H, W) with holes of their own, and cloud codes."""
    generator = np.random.default_rng(seed)
    observed, simulated = generator.uniform(0, 1, (2, 2, *shape)).astype(np.float32)
    cloud = np.zeros(shape, np.uint8)
    for code, n in ((1, 4), (2, 3), (3, 2), (4, 1)):
        for row, col in generator.integers(0, shape, (n, 2)):
            cloud[row : row + generator.integers(1, 12), col : col + generator.integers(1, 12)] = code
    observed[0, 3, 5] = observed[1, -9, -7] = np.nan
    simulated[1, 20:24, 10:28] = np.nan
    cloud[20:26, 14:18] = 1
    return observed, simulated, cloud


def brute_distance(hidden: np.ndarray) -> np.ndarray:
    rows, cols = np.nonzero(hidden)
    grid_row, grid_col = np.mgrid[: hidden.shape[0], : hidden.shape[1]]
    return np.sqrt((grid_row[..., None] - rows) ** 2 + (grid_col[..., None] - cols) ** 2).min(axis=-1)


def test_codes_that_hide_the_ground() -> None:
    cloud = np.array([[0, 1, 2, 3, 4, 255, 0]], np.uint8)
    seen = np.array([[True, True, True, True, True, True, False]])
    # snow is a surface; code 255 with data stays observed, a pixel without data has nothing to show
    assert mixing.hidden_ground(cloud, seen).tolist() == [[False, True, True, False, True, False, True]]


@pytest.mark.parametrize("feather_px", [0, 1, 5, 11])
def test_weight_against_distances_by_brute_force(feather_px: int) -> None:
    _, _, cloud = ground(1, (40, 30))
    hidden = np.isin(cloud, (1, 2, 4))
    expected = np.clip(1 - brute_distance(hidden) / (feather_px + 1), 0, 1)
    found = mixing.feather_weight(hidden, feather_px)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)
    assert (found[hidden] == 1).all() and (found[brute_distance(hidden) >= feather_px + 1] == 0).all()
    assert (mixing.feather_weight(np.zeros((3, 3), bool), feather_px) == 0).all()


def test_no_bit_changes_outside_mask_and_feather() -> None:
    observed, simulated, cloud = ground(2)
    image, source = composite(observed, simulated, np.isin(cloud, (1, 2, 4)))
    hidden = np.isin(cloud, (1, 2, 4)) | ~np.isfinite(observed).all(axis=0)
    far = brute_distance(hidden) >= 6
    assert far.sum() > 500
    assert np.array_equal(image[:, far].view(np.uint32), observed[:, far].view(np.uint32))
    assert (source[far] == 0).all()
    made = np.isfinite(simulated).all(axis=0)
    assert np.array_equal(image[:, hidden & made], simulated[:, hidden & made])
    assert np.isnan(image[:, hidden & ~made]).all() and (source[hidden & ~made] == 255).all()
    # a clear pixel beside cloud that the model could not simulate stays as observed
    lonely = ~hidden & ~made
    assert np.array_equal(image[:, lonely], observed[:, lonely]) and (source[lonely] == 0).all()
    assert set(np.unique(source)) == {0, 1, 2, 255}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), feather_px=st.integers(0, 9), step=st.integers(1, 90))
def test_stripes_with_a_halo_have_the_bits_of_the_whole(seed: int, feather_px: int, step: int) -> None:
    observed, _simulated, cloud = ground(seed)
    hidden = mixing.hidden_ground(cloud, mixing.has_data(observed))
    whole = mixing.feather_weight(hidden, feather_px)
    halo = mixing.halo_rows(feather_px)
    parts = []
    for first in range(0, len(cloud), step):
        top, bottom = max(first - halo, 0), min(first + step + halo, len(cloud))
        parts.append(mixing.feather_weight(hidden[top:bottom], feather_px)[first - top : first - top + step])
    assert np.array_equal(np.concatenate(parts), whole)


def test_a_halo_one_row_shorter_is_not_enough() -> None:
    hidden = np.zeros((30, 5), bool)
    hidden[0] = True
    whole = mixing.feather_weight(hidden, 5)
    cut = mixing.feather_weight(hidden[6 - (mixing.halo_rows(5) - 2) :], 5)[mixing.halo_rows(5) - 2 :]
    assert whole[5, 0] > 0 and not np.array_equal(cut[:1], whole[5:6])


def test_sigma_of_a_mixture_against_errors_that_are_drawn() -> None:
    generator = np.random.default_rng(3)
    weight = np.linspace(0, 1, 7)[None, :]
    sigma = np.full((1, 7), 0.04)
    errors = (1 - weight) * generator.normal(0, 0.003, (200_000, 7)) + weight * generator.normal(0, 0.04, (200_000, 7))
    found = mixing.mixed_sigma(sigma, weight, 0.003)
    worst = float(np.abs(found[0] / errors.std(axis=0) - 1).max())
    print(f"sigma of mixtures off by {worst:.3g} of itself (limit 0.01)")
    assert worst < 0.01
    assert found[0, 0] == np.float32(0.003) and found[0, -1] == np.float32(0.04)
    # by hand: w = .5 gives sqrt(.0015^2 + .02^2)
    assert found[0, 3] == pytest.approx(0.0200562, rel=1e-5)


def test_sigma_is_unknown_only_where_the_unknown_part_counts() -> None:
    weight = np.array([[0.0, 0.5, 1.0]])
    found = mixing.mixed_sigma(np.full((1, 3), np.nan), weight, 0.003)
    assert found[0, 0] == np.float32(0.003) and np.isnan(found[0, 1:]).all()


def test_abstain_by_hand() -> None:
    source = np.array([[0, 0, 1, 1, 1, 2, 2, 255, 1]], np.uint8)
    bad = np.array([[1, 0, 0, 1, 0, 0, 1, 0, 0]], bool)
    largest = np.array([[0.003, 0.9, 0.04, 0.01, 0.06, 0.051, 0.01, np.nan, np.nan]])
    found = mixing.abstain_codes(source, bad, largest, 0.05)
    assert found.tolist() == [[0, 0, 0, 1, 1, 1, 1, 255, 1]]
    without = mixing.abstain_codes(source, bad, None, 0.05)
    assert without.tolist() == [[0, 0, 0, 1, 0, 0, 1, 255, 0]]
    assert (
        mixing.abstain_codes(source, bad & False, np.full((1, 9), 0.05), 0.05).max(where=source != 255, initial=0) == 0
    )
