"""The gate: its target by hand, the least-squares meaning of its weight, and what it does to a bad bag."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from utils.science import gated


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(limits=1, user_api="openmp"):
        yield


def test_target_by_hand():
    mean = np.array([[1.0, 1.0], [1.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    truth = np.array([[0.5, 0.5], [3.0, 9.0], [-1.0, 0.0], [5.0, 5.0]])
    target, weight = gated.gate_target(mean, truth)
    assert target.tolist() == [0.5, 1.2, 0.0, 0.0]
    assert weight.tolist() == [2.0, 1.0, 4.0, 0.0]


def test_target_is_the_best_factor_of_a_pixel():
    rng = np.random.default_rng(0)
    mean, truth = rng.normal(size=(50, 4)), rng.normal(size=(50, 4))
    truth = 0.6 * mean + 0.2 * truth
    target, _ = gated.gate_target(mean, truth)
    tried = np.linspace(0, 1.2, 1201)
    errors = ((tried[None, :, None] * mean[:, None] - truth[:, None]) ** 2).sum(axis=2)
    assert np.allclose(target, tried[errors.argmin(axis=1)], atol=6e-4)


def test_shrink_is_least_squares_with_bounds():
    rng = np.random.default_rng(1)
    mean = rng.normal(size=(200, 4))
    truth = 0.7 * mean + rng.normal(size=(200, 4))
    expected = np.linalg.lstsq(mean.reshape(-1, 1), truth.ravel(), rcond=None)[0][0]
    assert gated.shrink(mean, truth) == pytest.approx(expected, abs=1e-12)
    assert gated.shrink(mean, 3 * mean) == 1.0 and gated.shrink(mean, -mean) == 0.0
    assert gated.shrink(np.zeros((3, 4)), truth[:3]) == 0.0


def test_bag_statistics():
    bag = gated.bagged([np.zeros((2, 3)), np.ones((2, 3)), np.full((2, 3), 2.0)], np.array([0.1, 0.9]))
    assert np.allclose(bag.mean, 1.0) and np.allclose(bag.spread, 1.0)
    inputs = gated.gate_inputs(bag, *np.arange(6.0).reshape(3, 2))
    assert inputs.shape == (2, len(gated.GATE_INPUTS))
    assert np.allclose(inputs[1], [np.sqrt(3), np.sqrt(3), 1.0, 0.9, 1.0, 3.0, 5.0])


def test_date_draws_are_sixty_per_cent_and_seeded():
    dates = [f"d{i}" for i in range(10)]
    draws = gated.date_draws(dates * 3, 1)
    assert len(draws) == 8 and {len(draw) for draw in draws} == {6} and len(set(draws)) > 4
    assert draws == gated.date_draws(list(reversed(dates)), 1) and draws != gated.date_draws(dates, 2)
    assert [len(draw) for draw in gated.date_draws(["a"], 1)] == [1] * 8


def test_gate_silences_what_was_wrong_out_of_fold():
    """Changes are right where NIR is high and noise where it is low: the gate must learn which."""
    rng = np.random.default_rng(2)
    nir = rng.random(20000)
    truth = rng.normal(size=(20000, 4)) * 0.1
    mean = np.where(nir[:, None] > 0.5, truth, rng.normal(size=truth.shape) * 0.1)
    bag = gated.Bagged(mean, np.full_like(mean, 0.01), np.full(len(mean), 0.5))
    inputs = gated.gate_inputs(bag, nir, nir * 0, nir * 0)
    gate = gated.fit_gate(inputs[:15000], mean[:15000], truth[:15000], seed=0)
    unseen = slice(15000, None)
    image = gated.gated(gate, inputs[unseen], mean[unseen])
    factor = np.linalg.norm(image, axis=1) / np.linalg.norm(mean[unseen], axis=1)
    high = nir[unseen] > 0.55
    assert factor[high].mean() > 0.95 and factor[nir[unseen] < 0.45].mean() < 0.35
    before, after = (((part - truth[unseen]) ** 2).sum() for part in (mean[unseen], image))
    assert after < 0.7 * before
