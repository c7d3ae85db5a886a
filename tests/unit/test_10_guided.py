"""Guided filter against a regression window by window, and what it must do on made planes."""

import numpy as np
import pytest
from scipy import ndimage

from utils.science.guided import GuidedFilter, box_sums, standardised


def direct(guide, plane, valid, radius, eps):
    """Ridge regression (intercept free) in every window by least squares on augmented rows; then mean of the fits."""
    rows, cols, size = guide.shape
    total, count = np.zeros((rows, cols)), np.zeros((rows, cols))
    for i in range(rows):
        for j in range(cols):
            part = (slice(max(i - radius, 0), i + radius + 1), slice(max(j - radius, 0), j + radius + 1))
            x, y = guide[part][valid[part]], plane[part][valid[part]]
            if not len(y):
                continue
            n = len(y)
            # min sum (y - b - a x)^2 + n eps |a|^2: rows sqrt(n eps) e_k with target 0 for the slopes only
            design = np.vstack(
                [np.hstack([x, np.ones((n, 1))]), np.hstack([np.sqrt(n * eps) * np.eye(size), np.zeros((size, 1))])]
            )
            fit = np.linalg.lstsq(design, np.concatenate([y, np.zeros(size)]), rcond=None)[0]
            total[part] += guide[part] @ fit[:-1] + fit[-1]
            count[part] += 1
    return np.where(valid, total / np.maximum(count, 1), np.nan)


@pytest.mark.parametrize("radius,eps", [(2, 0.05), (4, 0.02)])
def test_equals_regression_window_by_window(radius, eps):
    rng = np.random.default_rng(3)
    guide = ndimage.gaussian_filter(rng.normal(size=(17, 14, 3)), (1, 1, 0))
    plane = guide @ [0.5, -1.0, 2.0] + rng.normal(size=(17, 14))
    valid = rng.random((17, 14)) > 0.2
    valid[:6, :6] = False  # windows without any pixel
    found = GuidedFilter(guide, valid, radius, eps).apply(np.where(valid, plane, np.nan))
    expected = direct(np.where(valid[..., None], guide, 0.0), plane, valid, radius, eps)
    error = np.nanmax(np.abs(found - expected))
    print(f"guided filter against direct regression: {error:.3g} (limit 1e-9)")
    assert error < 1e-9
    assert np.array_equal(np.isnan(found), ~valid)


def test_box_sums_equal_scipy():
    plane = np.random.default_rng(1).normal(size=(9, 30))
    for radius in (1, 4, 12):
        window = np.ones((2 * radius + 1, 2 * radius + 1))
        assert np.allclose(box_sums(plane, radius), ndimage.convolve(plane, window, mode="constant"), atol=1e-12)


def test_keeps_an_edge_of_the_guide_and_smooths_elsewhere():
    rng = np.random.default_rng(0)
    edge = np.where(np.arange(60) < 30, -1.0, 1.0) * np.ones((60, 60))
    noisy = edge + rng.normal(size=edge.shape)
    found = GuidedFilter(edge[..., None], np.ones_like(edge, bool), 4, 0.05).apply(noisy)
    blurred = ndimage.uniform_filter(noisy, 9)
    near = (slice(None), slice(28, 32))
    assert np.abs(found - edge)[near].mean() < 0.5 * np.abs(blurred - edge)[near].mean()
    assert found[:, :25].std() < 0.25 * noisy[:, :25].std()


def test_standardised_by_hand():
    image = np.array([[[1.0, 5.0], [3.0, 5.0], [100.0, np.nan]]])
    scaled, means, spread = standardised(image, np.array([[True, True, False]]))
    assert scaled.tolist() == [[[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]]
    assert means.tolist() == [2.0, 5.0] and spread.tolist() == [1.0, 0.0]


def test_refuses_what_is_not_finite():
    guide, valid = np.zeros((5, 5, 1)), np.ones((5, 5), bool)
    plane = np.zeros((5, 5))
    plane[2, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        GuidedFilter(guide, valid, 2, 0.1).apply(plane)
    with pytest.raises(ValueError, match="positive"):
        GuidedFilter(guide, valid, 2, 0.0)
