"""Loss values by hand on two pixels and two bands."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models import backend

backend.start()

from models import losses  # noqa: E402

P = np.array([[[[0.1, 0.4], [0.2, 0.3]]]], np.float32)  # (1, 1, 2, 2)
T = np.array([[[[0.2, 0.2], [0.2, 0.7]]]], np.float32)
BOTH = np.ones((1, 1, 2), np.float32)
FIRST = np.array([[[1, 0]]], np.float32)
NONE = np.zeros((1, 1, 2), np.float32)


def test_l1_is_the_mean_over_bands_and_weighted_pixels() -> None:
    assert float(losses.l1(P, T, BOTH)) == pytest.approx(((0.1 + 0.2) / 2 + (0.0 + 0.4) / 2) / 2, rel=1e-6)
    assert float(losses.l1(P, T, FIRST)) == pytest.approx(0.15, rel=1e-6)
    assert float(losses.l1(P, T, NONE)) == 0.0


def test_charbonnier_rounds_the_corner() -> None:
    expected = (math.hypot(0.1, 0.01) + math.hypot(0.2, 0.01)) / 2
    assert float(losses.charbonnier(P, T, FIRST, eps=0.01)) == pytest.approx(expected, rel=1e-5)


def test_changed_pixels_weigh_one_plus_factor() -> None:
    changed = np.array([[[0, 1]]], np.float32)
    weight = losses.change_weight(BOTH, changed, 2.0)
    assert np.asarray(weight).ravel().tolist() == [1.0, 3.0]
    assert float(losses.l1(P, T, weight)) == pytest.approx((0.15 + 3 * 0.2) / 4, rel=1e-6)


def test_cross_entropy_with_smooth_targets() -> None:
    p, target = 0.8, 0.9
    expected = -(target * math.log(p) + (1 - target) * math.log(1 - p))
    decision = np.full((1, 2, 2, 1), p, np.float32)
    assert float(losses.binary_cross_entropy(decision, target, False)) == pytest.approx(expected, rel=1e-5)
    logits = np.full((1, 2, 2, 1), math.log(p / (1 - p)), np.float32)
    assert float(losses.binary_cross_entropy(logits, target, True)) == pytest.approx(expected, rel=1e-5)


def test_spectral_angle_in_radians() -> None:
    a, b = np.array([[[[1.0, 0.0]]]], np.float32), np.array([[[[1.0, 1.0]]]], np.float32)
    one = np.ones((1, 1, 1), np.float32)
    assert float(losses.spectral_angle(a, b, one)) == pytest.approx(math.pi / 4, abs=1e-5)
    assert float(losses.spectral_angle(b, b, one)) == pytest.approx(0.0, abs=2e-6)


def test_index_error_and_its_clamped_denominator() -> None:
    expected = abs((0.4 - 0.1) / 0.5 - 0.0)
    assert float(losses.index_error(P, T, FIRST, ((1, 0),))) == pytest.approx(expected, rel=1e-5)
    assert float(losses.normalised_difference(np.float32(0.012), np.float32(0.006))) == pytest.approx(
        0.006 / 0.03, rel=1e-5
    )


def test_ssim_of_constants_and_of_equal_images() -> None:
    size = 12
    a, b = (np.full((1, size, size, 1), v, np.float32) for v in (0.2, 0.4))
    weight = np.ones((1, size, size), np.float32)
    luminance = (2 * 0.2 * 0.4 + 1e-4) / (0.2**2 + 0.4**2 + 1e-4)  # variances are 0: contrast term is 1
    assert float(losses.ssim_loss(a, b, weight)) == pytest.approx(1 - luminance, abs=1e-4)
    noise = np.random.default_rng(0).uniform(0, 0.5, (1, size, size, 3)).astype("float32")
    assert float(losses.ssim_loss(noise, noise, weight)) == pytest.approx(0.0, abs=1e-6)
    weight[0, 5, 5] = 0  # inside every window: nothing is left to score
    assert float(losses.ssim_loss(a, b, weight)) == 0.0


def test_ssim_equals_scikit_image() -> None:
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(3)
    a = rng.uniform(0, 0.5, (1, 24, 24, 2)).astype("float32")
    b = (a + rng.normal(0, 0.05, a.shape)).astype("float32")
    _, full = structural_similarity(
        a[0],
        b[0],
        channel_axis=-1,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    expected = 1 - full[5:-5, 5:-5].mean()
    assert float(losses.ssim_loss(a, b, np.ones((1, 24, 24), np.float32))) == pytest.approx(expected, abs=1e-5)


def test_least_squares_with_and_without_weights() -> None:
    decision = np.array([[[[0.5], [2.0]]]], np.float32)
    assert float(losses.least_squares(decision, 1.0)) == pytest.approx((0.25 + 1.0) / 2)
    assert float(losses.least_squares(decision, 1.0, np.float32([[[3, 1]]]))) == pytest.approx((3 * 0.25 + 1) / 4)
    assert float(losses.least_squares(decision, 1.0, np.zeros((1, 1, 2), np.float32))) == 0.0


def test_hinge_wants_one_on_either_side() -> None:
    decision = np.array([[[[0.25], [3.0], [-2.0]]]], np.float32)
    assert float(losses.hinge(decision, real=True)) == pytest.approx((0.75 + 0 + 3) / 3)
    assert float(losses.hinge(decision, real=False)) == pytest.approx((1.25 + 4 + 0) / 3)


def test_feature_matching_is_the_mean_over_layers() -> None:
    fake = [np.float32([[1, 2]]), np.float32([[5]])]
    real = [np.float32([[1, 4]]), np.float32([[2]])]
    assert float(losses.feature_matching(fake, real)) == pytest.approx((1.0 + 3.0) / 2)


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_likelihood_by_hand(beta: float) -> None:
    log_variance = np.array([[[[-2.0, 0.0], [1.0, 1.0]]]], np.float32)  # the second pixel has no weight
    each = [0.5 * (lv + error**2 / math.exp(lv)) * math.exp(beta * lv) for lv, error in ((-2.0, 0.1), (0.0, 0.2))]
    found = float(losses.gaussian_nll(P, T, log_variance, FIRST, beta))
    assert found == pytest.approx(sum(each) / 2, rel=1e-5)
