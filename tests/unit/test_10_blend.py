"""Blending: unit weights, constants, order of windows, seams, holes."""

import numpy as np
import pytest

from utils.science.blend import Blender, seam_ratio, window_weights
from utils.science.composite import composite


@pytest.mark.parametrize("size", [8, 16, 256])
def test_weights_at_half_stride_sum_to_one(size):
    stride = size // 2
    total = np.zeros((4 * stride, 4 * stride))
    for row in range(0, 3 * stride, stride):
        for col in range(0, 3 * stride, stride):
            total[row : row + size, col : col + size] += window_weights(size, size)
    inner = total[stride:-stride, stride:-stride]
    assert np.abs(inner - 1).max() < 1e-15 * 4


def test_weight_value_by_hand():
    # N = 2: sin^2(pi/4) = sin^2(3 pi/4) = .5
    assert window_weights(2, 2) == pytest.approx(np.full((2, 2), 0.25))
    assert window_weights(7, 5).min() > 0


def test_constant_stays_constant_and_holes_are_nan():
    blender = Blender(20, 20, 2)
    for row, col in ((0, 0), (4, 4), (8, 2)):
        blender.add(np.full((2, 10, 10), 0.3), row, col)
    result = blender.result()
    assert np.nanmax(np.abs(result - 0.3)) < 1e-7
    assert np.isnan(result[:, 19, 19]).all() and result.dtype == np.float32


def test_order_of_windows_does_not_matter():
    generator = np.random.default_rng(5)
    tiles = [(generator.normal(size=(1, 16, 16)), int(r), int(c)) for r, c in generator.integers(0, 24, (30, 2))]
    results = []
    for order in (tiles, tiles[::-1], [tiles[i] for i in generator.permutation(30)]):
        blender = Blender(40, 40, 1)
        for tile in order:
            blender.add(*tile)
        results.append(blender.result())
    np.testing.assert_allclose(results[0], results[1], rtol=0, atol=2e-7)
    np.testing.assert_allclose(results[0], results[2], rtol=0, atol=2e-7)


def test_stripes_equal_the_whole():
    generator = np.random.default_rng(6)
    tiles = [(generator.normal(size=(1, 16, 16)), r, c) for r in (0, 8, 16) for c in (0, 8)]
    whole = Blender(32, 24, 1)
    for tile, r, c in tiles:
        whole.add(tile, r, c)
    stripes = []
    for top in (0, 10, 20):
        stripe = Blender(min(10, 32 - top), 24, 1) if top < 20 else Blender(12, 24, 1)
        for tile, r, c in tiles:
            stripe.add(tile, r - top, c)
        stripes.append(stripe.result())
    assert np.array_equal(np.concatenate(stripes, axis=1), whole.result())


def test_nodata_in_one_window_is_filled_by_the_other():
    blender = Blender(8, 8, 1)
    first = np.full((1, 8, 8), 0.2)
    first[0, 3, 3] = np.nan
    blender.add(first, 0, 0)
    assert np.isnan(blender.result()[0, 3, 3])
    blender.add(np.full((1, 8, 8), 0.4), 0, 0)
    assert blender.result()[0, 3, 3] == pytest.approx(0.4)
    with pytest.raises(ValueError, match="for 1 bands"):
        blender.add(np.zeros((2, 8, 8)), 0, 0)


def test_blended_windows_have_no_seam_and_a_hard_cut_has():
    generator = np.random.default_rng(7)
    size, stride, length = 32, 16, 256
    ground = generator.normal(size=(length, length))
    soft, hard = Blender(length, length, 1), np.zeros((length, length))
    for top in range(0, length - size + 1, stride):
        for left in range(0, length - size + 1, stride):
            piece = ground[top : top + size, left : left + size] + generator.normal(0, 1.0)  # window bias
            soft.add(piece[None], top, left)
            if top % size == 0 and left % size == 0:
                hard[top : top + size, left : left + size] = piece
    cuts = list(range(size, length, size))
    # inside each window the hard cut is the ground itself: only boundaries jump
    assert seam_ratio(hard, ground, cuts, size) > 1.1
    assert seam_ratio(soft.result()[0], ground, cuts, size) == pytest.approx(1.0, abs=0.06)


def test_composite_touches_only_cloud_and_feather():
    observed, prediction = np.full((2, 40, 40), 0.2, np.float32), np.full((2, 40, 40), 0.4, np.float32)
    cloudy = np.zeros((40, 40), bool)
    cloudy[15:25, 15:25] = True
    observed[:, 0, 0] = np.nan
    prediction[:, 39, 39] = np.nan
    image, source = composite(observed, prediction, cloudy)
    rows, cols = np.mgrid[:40, :40]
    distance = np.hypot(
        np.clip(np.maximum(15 - rows, rows - 24), 0, None), np.clip(np.maximum(15 - cols, cols - 24), 0, None)
    )
    near_hole = np.hypot(rows, cols) <= 5
    far = (distance > 5) & (distance >= 6) & ~near_hole & (np.hypot(rows, cols) >= 6)
    assert (image[:, far] == np.float32(0.2)).all() and (source[far] == 0).all()
    assert np.allclose(image[:, cloudy], 0.4) and (source[cloudy] == 1).all()
    # three pixels outside the edge: weight 1 - 3/6 = .5
    assert image[0, 20, 27] == pytest.approx(0.3) and source[20, 27] == 2
    assert image[0, 0, 0] == pytest.approx(0.4) and source[0, 0] == 1  # nodata of the observation is simulated
    assert image[0, 39, 39] == pytest.approx(0.2)


def test_composite_without_prediction_is_nodata_under_cloud():
    observed, cloudy = np.full((1, 3, 3), 0.2), np.eye(3, dtype=bool)
    image, source = composite(observed, np.full((1, 3, 3), np.nan), cloudy, 0)
    assert (source[cloudy] == 255).all() and np.isnan(image[0][cloudy]).all() and (source[~cloudy] == 0).all()
