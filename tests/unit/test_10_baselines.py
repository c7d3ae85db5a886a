"""Baselines: exact on constructed cases, seeded, honest without signal."""

import dataclasses

import numpy as np
import pytest

from utils.science import baselines, metrics
from utils.science.baselines import Inputs, Labelled

BANDS = ("B04", "B03", "B02", "B08")


def _sample(seed, change):
    """A sample whose S2 change is `change`(dVH map, s2_t0)."""
    generator = np.random.default_rng(seed)
    s2 = generator.uniform(0.05, 0.4, (32, 32, 4))
    drop_db = np.where(generator.uniform(size=(32, 32)) < 0.4, -3.0, 0.0)
    s1_t0 = np.stack([np.full((32, 32), 0.1), np.full((32, 32), 0.02)], axis=-1)
    s1_t1 = s1_t0 * 10 ** (drop_db[..., None] / 10)
    inputs = Inputs(s1_t0, s1_t1, s2, BANDS, (0.0, 0.0))
    return Labelled(inputs, change(drop_db, s2), np.ones((32, 32), bool)), drop_db


def test_linear_gain_recovers_gain_and_offset():
    train = [_sample(i, lambda d, s2: 0.8 * s2 + 0.03)[0] for i in range(3)]
    model = baselines.fit("linear_gain", lambda: train, 3, 1000, 0)
    test = _sample(9, lambda d, s2: 0.8 * s2 + 0.03)[0]
    np.testing.assert_allclose(model(test.inputs), test.s2_t1, atol=1e-12)
    # never worse than copying on its own train data
    for sample in train:
        skill = metrics.change_skill(model(sample.inputs), sample.s2_t1, sample.inputs.s2_t0, sample.mask)
        assert skill >= 0


def test_linear_gain_of_a_constant_band_is_an_offset():
    sample = _sample(1, lambda d, s2: s2)[0]
    flat = Inputs(sample.inputs.s1_t0, sample.inputs.s1_t1, np.full((32, 32, 4), 0.2), BANDS)
    model = baselines.fit_linear_gain([Labelled(flat, np.full((32, 32, 4), 0.25), sample.mask)])
    np.testing.assert_allclose(model(flat), 0.25)


@pytest.mark.parametrize("name", ["ridge_ctx", "histgbm_ctx"])
def test_radar_driven_change_is_learned(name):
    def change(drop_db, s2):
        return s2 + (drop_db[..., None] / 3.0) * 0.05

    train = [_sample(i, change)[0] for i in range(4)]
    model = baselines.fit(name, lambda: train, 4, 4000, 1)
    test = _sample(20, change)[0]
    skill = metrics.change_skill(model(test.inputs), test.s2_t1, test.inputs.s2_t0, test.mask)
    assert skill > 0.9
    again = baselines.fit(name, lambda: train, 4, 4000, 1)
    assert np.array_equal(model(test.inputs), again(test.inputs))


def test_without_radar_the_gain_is_gone():
    def change(drop_db, s2):
        return s2 + (drop_db[..., None] / 3.0) * 0.05

    train = [_sample(i, change)[0] for i in range(4)]
    test = _sample(20, change)[0]
    for name in ("s1_frozen", "no_s1"):
        model = baselines.fit(name, lambda: train, 4, 4000, 1)
        skill = metrics.change_skill(model(test.inputs), test.s2_t1, test.inputs.s2_t0, test.mask)
        assert skill < 0.7  # what is left is the mean change, not the place


def test_one_draw_and_one_forest_serve_several_baselines():
    train = [_sample(i, lambda d, s2: s2 + d[..., None] / 60)[0] for i in range(4)]
    calls = []

    def samples():
        calls.append(1)
        return train

    fitter = baselines.Fitter(samples, 4, 4000, 1)
    shared = {name: fitter.fit(name) for name in ("ridge_ctx", "histgbm_ctx", "no_s1", "s1_frozen")}
    assert len(calls) == 1
    inputs = _sample(20, lambda d, s2: s2)[0].inputs
    for name, model in shared.items():
        assert np.array_equal(model(inputs), baselines.fit(name, lambda: train, 4, 4000, 1)(inputs)), name
    frozen = baselines.freeze_s1(inputs)
    assert np.array_equal(shared["s1_frozen"](inputs), shared["histgbm_ctx"](frozen))
    assert np.array_equal(shared["no_s1"](inputs), shared["no_s1"](frozen))  # it never looks at the radar
    without = baselines.features(inputs, use_s1=False)
    planes = baselines.features(inputs)
    assert planes.shape[-1] - without.shape[-1] == baselines.S1_FEATURES
    assert np.array_equal(planes[..., : without.shape[-1]], without)


def test_trees_predict_only_the_pixels_asked_for():
    train = [_sample(i, lambda d, s2: s2 + d[..., None] / 60)[0] for i in range(3)]
    inputs = _sample(20, lambda d, s2: s2)[0].inputs
    only = np.zeros((32, 32), bool)
    only[4:20, 8:] = True
    part = dataclasses.replace(inputs, only=only)
    for name in ("histgbm_ctx", "s1_frozen", "no_s1"):
        model = baselines.fit(name, lambda: train, 3, 2000, 1)
        own = model(part)
        assert np.array_equal(own[only], model(inputs)[only]) and np.isnan(own[~only]).all(), name
    assert np.isnan(model(dataclasses.replace(inputs, only=np.zeros_like(only)))).all()


def test_masked_pixels_are_never_learned_from():
    sample = _sample(3, lambda d, s2: s2)[0]
    spoiled = sample.s2_t1.copy()
    spoiled[:16] = 9.0
    mask = sample.mask.copy()
    mask[:16] = False
    model = baselines.fit_linear_gain([Labelled(sample.inputs, spoiled, mask)])
    np.testing.assert_allclose(model(sample.inputs), sample.inputs.s2_t0, atol=1e-12)
    with pytest.raises(ValueError, match="clear pixel"):
        baselines.fit_linear_gain([Labelled(sample.inputs, spoiled, np.zeros_like(mask))])


def test_copy_and_unknown_names():
    sample = _sample(3, lambda d, s2: s2)[0]
    assert np.array_equal(baselines.fit("copy_t0", list, 0, 1, 0)(sample.inputs), sample.inputs.s2_t0)
    with pytest.raises(ValueError, match="unknown baseline 'magic'"):
        baselines.fit("magic", list, 0, 1, 0)


def test_box_mean_ignores_missing_pixels():
    plane = np.array([[1.0, np.nan, 3.0], [1.0, 1.0, 1.0], [np.nan, np.nan, np.nan]])
    assert baselines.box_mean(plane, 3)[1, 1] == pytest.approx(7 / 5)
    assert np.isnan(baselines.box_mean(np.full((3, 3), np.nan), 3)).all()


def test_recentring_removes_the_scene_median():
    power = np.full((2, 2, 2), 0.1)
    inputs = Inputs(power, power * 10**0.1, np.zeros((2, 2, 4)), BANDS, (1.0, 1.0))
    np.testing.assert_allclose(baselines.recentred_difference_db(inputs), 0.0, atol=1e-12)


def test_vh_logratio_finds_the_drop():
    pairs = []
    for seed in range(3):
        sample, drop_db = _sample(seed, lambda d, s2: s2)
        pairs.append((sample.inputs, (drop_db < -1).astype(np.uint8)))
    rule = baselines.fit_vh_logratio(pairs, windows_px=(1, 5))
    assert rule.window_px == 1 and rule.train_f1 == pytest.approx(1.0) and -3 < rule.threshold_db <= 0.05
    inputs, truth = pairs[0]
    assert np.array_equal(rule.burned(inputs), truth)
    with pytest.raises(ValueError, match="no train pixel is burned"):
        baselines.fit_vh_logratio([(inputs, np.zeros_like(truth))])
