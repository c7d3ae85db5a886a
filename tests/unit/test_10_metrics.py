"""Scores against hand computation and scikit-image."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from utils.science import metrics, similarity


def _random(shape=(40, 50, 4), seed=1):
    generator = np.random.default_rng(seed)
    truth = generator.uniform(0.02, 0.5, shape)
    return truth + generator.normal(0, 0.05, shape), truth


def test_hand_computed_figures():
    target = np.array([[[0.1, 0.2], [0.3, 0.4]]])
    prediction = np.array([[[0.2, 0.2], [0.3, 0.0]]])
    figures = metrics.score(prediction, target)
    # squared errors .01 0 0 .16 -> MSE .0425; absolute .1 0 0 .4 -> MAE .125
    assert figures["mae"] == pytest.approx(0.125)
    assert figures["rmse"] == pytest.approx(np.sqrt(0.0425))
    assert figures["psnr"] == pytest.approx(-10 * np.log10(0.0425))
    # angles: atan2(.2,.1)-atan2(.2,.2) = 18.4349 deg; (.3,0) against (.3,.4) = 53.1301 deg
    assert figures["sam_deg"] == pytest.approx((18.434949 + 53.130102) / 2, abs=1e-5)
    # RMSE_b = sqrt(.005), sqrt(.08); means .2, .3
    assert figures["ergas"] == pytest.approx(100 * np.sqrt((0.005 / 0.04 + 0.08 / 0.09) / 2))
    assert figures["rmse_band2"] == pytest.approx(np.sqrt(0.08))
    assert figures["bias"] == pytest.approx((0.1 - 0.4) / 4)


def test_equal_images_have_infinite_psnr_and_zero_norm_is_counted():
    image = np.zeros((12, 12, 3))
    image[0, 0] = 0.2
    figures = metrics.score(image, image)
    assert figures["psnr"] == np.inf and figures["mae"] == 0
    assert figures["zero_norm"] == 143 and figures["sam_deg"] == pytest.approx(0, abs=1e-5)


def test_mask_and_nan_are_left_out():
    prediction, target = _random()
    mask = np.ones(target.shape[:2], bool)
    mask[:10] = False
    spoiled = prediction.copy()
    spoiled[:10] = 99
    spoiled[20, 20, 2] = np.nan
    figures = metrics.score(spoiled, target, mask)
    assert figures["pixels"] == 30 * 50 - 1
    good = mask.copy()
    good[20, 20] = False
    assert figures["mae"] == pytest.approx(np.abs(prediction - target)[good].mean())
    assert figures["rmse"] == pytest.approx(np.sqrt(((prediction - target)[good] ** 2).mean()))


def test_ssim_equals_scikit_image_where_conventions_agree():
    prediction, target = _random()
    for band in range(2):
        p, t = prediction[..., [band]], target[..., [band]]
        reference = structural_similarity(
            p[..., 0], t[..., 0], data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert similarity.ssim(p, t) == pytest.approx(reference, abs=1e-12)
        uniform = structural_similarity(p[..., 0], t[..., 0], data_range=2, win_size=7)
        own = similarity.ssim(p, t, window=7, gaussian=False, data_range=2, sample_covariance=True)
        assert own == pytest.approx(uniform, abs=1e-12)


def test_ssim_window_touching_an_invalid_pixel_does_not_count():
    prediction, target = _random((30, 30, 1))
    mask = np.ones((30, 30), bool)
    mask[15, 15] = False
    spoiled = prediction.copy()
    spoiled[15, 15] = 50.0
    # an invalid value never leaks into a whole window
    assert similarity.ssim(spoiled, target, mask) == pytest.approx(similarity.ssim(prediction, target, mask), abs=1e-12)
    assert similarity.whole_windows(mask).sum() == 20 * 20 - 11 * 11
    assert np.isnan(similarity.ssim(prediction[:8, :8], target[:8, :8]))


def test_changed_mask_rules():
    names = ("B04", "B08")
    t0 = np.full((1, 4, 2), [0.05, 0.30])
    t1 = t0.copy()
    t1[0, 1] += 0.03  # mean change .03
    t1[0, 2] = [0.065, 0.29]  # mean change .0125, NDVI .714 -> .634
    t1[0, 3] = np.nan
    assert metrics.changed_mask(t0, t1, names).tolist() == [[False, True, False, False]]
    t1[0, 2] = [0.07, 0.29]  # mean change .015, NDVI .714 -> .611: difference .103
    assert metrics.changed_mask(t0, t1, names)[0, 2]
    assert not metrics.changed_mask(t0, t1, ("B02", "B03"))[0, 2]


def test_change_skill_by_hand():
    t0, t1 = np.zeros((2, 2, 1)), np.full((2, 2, 1), 0.2)
    ones = np.ones((2, 2), bool)
    assert metrics.change_skill(t0, t1, t0, ones) == 0
    assert metrics.change_skill(t1, t1, t0, ones) == 1
    assert metrics.change_skill(np.full((2, 2, 1), 0.1), t1, t0, ones) == pytest.approx(0.75)
    assert metrics.change_skill(np.full((2, 2, 1), 0.6), t1, t0, ones) == pytest.approx(-3)


def test_compiled_loops_equal_the_formulas_in_arrays():
    generator = np.random.default_rng(5)
    t0, t1, p = (generator.uniform(-0.05, 0.6, (5, 31, 23)).astype(np.float32).transpose(1, 2, 0) for _ in range(3))
    t1[:8] = t0[:8] + 0.001
    t1[3, 4], p[5, 6, 2], t0[7, 7, 0], t1[9, 9] = np.nan, np.inf, np.nan, 0.0
    mask = generator.random((31, 23)) < 0.8
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b, r = (image.astype(np.float64) for image in (p, t1, t0))
        cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        good = mask & np.isfinite(a).all(-1) & np.isfinite(b).all(-1) & np.isfinite(r).all(-1)
        change = np.abs(b - r).mean(-1)
    own = metrics.spectral_angle_deg(p, t1)
    np.testing.assert_allclose(own, np.where(np.isfinite(a).all(-1), angle, np.nan), atol=1e-9)
    assert np.isnan(own[3, 4]) and np.isnan(own[5, 6]) and np.isnan(own[9, 9])
    skill = 1 - np.square(a - b)[good].sum() / np.square(r - b)[good].sum()
    assert metrics.change_skill(p, t1, t0, mask) == pytest.approx(skill, rel=1e-12)
    assert metrics.score(p, t1, mask, reference=t0)["skill"] == pytest.approx(skill, rel=1e-12)
    names = ("B02", "B03", "B05", "B06", "B12")
    np.testing.assert_array_equal(metrics.changed_mask(t0, t1, names), np.isfinite(change) & (change > 0.02))
    assert np.isnan(metrics.change_skill(p, t1, t0, np.zeros_like(mask)))
    assert np.isnan(metrics.change_skill(p, t0, t0, mask))


def test_pooling_is_over_pixels_not_a_mean_of_tiles():
    scorer = metrics.Scorer(["B04"])
    ones = np.ones((2, 2), bool)
    scorer.add("a", np.full((2, 2, 1), 0.1), np.zeros((2, 2, 1)), ones)
    scorer.add("b", np.full((2, 2, 1), 0.3), np.zeros((2, 2, 1)), ones)
    assert scorer.scores()["psnr"] == pytest.approx(-10 * np.log10((0.01 + 0.09) / 2))


def test_streaming_equals_whole_and_ignores_order():
    prediction, target = _random((64, 32, 4))
    reference = target + 0.1
    changed = target.mean(axis=2) > 0.25
    pieces = [(slice(0, 32), "a"), (slice(32, 64), "b")]
    scorers = []
    for order in (pieces, pieces[::-1]):
        scorer = metrics.Scorer(["B04", "B03", "B02", "B08"])
        for rows, block in order:
            ones = np.ones((32, 32), bool)
            options = {"reference": reference[rows], "strata": {"changed": changed[rows]}}
            scorer.add(block, prediction[rows], target[rows], ones, **options)
        scorers.append(scorer)
    assert scorers[0].scores("changed") == scorers[1].scores("changed")
    whole = metrics.score(prediction, target, reference=reference)
    for name in ("mae", "rmse", "psnr", "sam_deg", "ergas", "skill"):
        assert scorers[0].scores()[name] == pytest.approx(whole[name], rel=1e-12)
    assert scorers[0].scores("nothing")["pixels"] == 0


def test_bootstrap_is_deterministic_and_covers_the_mean():
    generator = np.random.default_rng(0)
    sums = np.stack([np.ones(400), generator.normal(5, 1, 400)], axis=1)
    first = metrics.block_interval(sums, lambda s: s[..., 1] / s[..., 0], 1000, seed=3)
    assert first == metrics.block_interval(sums, lambda s: s[..., 1] / s[..., 0], 1000, seed=3)
    assert first != metrics.block_interval(sums, lambda s: s[..., 1] / s[..., 0], 1000, seed=4)
    # standard error of the mean of 400 unit normals is .05: the interval is about +-.098
    assert first[1] - first[0] == pytest.approx(0.196, abs=0.02)
    assert first[0] < sums[:, 1].mean() < first[1]
    assert np.isnan(metrics.block_interval(sums[:1], lambda s: s[..., 1], 10)).all()


def test_sharpness_is_one_for_truth_and_less_when_smooth():
    _, target = _random((40, 40, 2))
    assert metrics.score(target, target)["sharpness"] == pytest.approx(1)
    smooth = (target + np.roll(target, 1, 0)) / 2
    assert metrics.score(smooth, target)["sharpness"] < 0.9


def test_shape_errors_name_both_shapes():
    with pytest.raises(similarity.ShapeError, match=r"\(2, 2, 1\) and \(2, 3, 1\)"):
        metrics.score(np.zeros((2, 2, 1)), np.zeros((2, 3, 1)))
    with pytest.raises(ValueError, match="padding"):
        similarity.ssim(np.zeros((2, 2, 1)), np.zeros((2, 2, 1)), padding="reflect")
