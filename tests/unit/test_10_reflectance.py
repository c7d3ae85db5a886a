"""Reflectance, interpolation and cloud codes against hand computation and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from utils.science.cloud import CloudClasses, CloudStats, scl_statistics
from utils.science.grid import Grid
from utils.science.reflectance import (
    bilinear_2x,
    block_means,
    cloud_codes,
    nearest_2x,
    nearest_on,
    to_reflectance,
    with_gaps,
)


def test_values_by_hand() -> None:
    dn = np.array([[0, 65535, 1000, 2500, 990, 16000]], np.uint16)
    new = to_reflectance(dn, -1000, 10000)
    assert new.values[0, 2:] == pytest.approx([0.0, 0.15, 0.0, 1.5])
    assert np.isnan(new.values[0, :2]).all()
    assert (new.nodata, new.saturated, new.clipped) == (1, 1, 1)  # DN 1000 is exactly 0 and not clipped
    old = to_reflectance(dn, 0, 10000)
    assert old.values[0, 3] == np.float32(0.25) and old.clipped == 0
    with pytest.raises(ValueError, match="not positive"):
        to_reflectance(dn, 0, 0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_offset_and_shift_give_equal_bits(seed: int) -> None:
    dn = np.random.default_rng(seed).integers(1, 20000, (16, 16)).astype(np.uint16)
    old, new = to_reflectance(dn, 0, 10000), to_reflectance(dn + np.uint16(1000), -1000, 10000)
    assert old.values.tobytes() == new.values.tobytes()


def test_bilinear_by_hand_and_linear_ramp() -> None:
    a = np.array([[0, 0, 0], [0, 16, 0], [0, 0, 0]], np.float32)
    assert bilinear_2x(a).tolist() == [[9.0, 9.0], [9.0, 9.0]]  # (3/4)^2 of 16
    rows, cols = np.mgrid[0:6, 0:8].astype(np.float32)
    fine = bilinear_2x(3 * rows + 2 * cols)
    y, x = (np.mgrid[0:8, 0:12] + 0.5) / 2 + 0.5  # centres of the fine pixels in coarse pixels
    assert fine == pytest.approx(3 * y + 2 * x, abs=1e-5)  # a plane is reproduced: no shift


def test_bilinear_equals_scipy_inside() -> None:
    a = np.random.default_rng(1).random((9, 7)).astype(np.float32)
    y, x = (np.mgrid[0:14, 0:10] + 0.5) / 2 + 0.5
    assert bilinear_2x(a) == pytest.approx(ndimage.map_coordinates(a, [y, x], order=1), abs=1e-6)


def test_holes_stay_and_weights_renormalise() -> None:
    a = np.full((5, 5), 7.0, np.float32)
    a[2, 2] = np.nan
    a[0] = np.nan
    fine = bilinear_2x(a)
    hole = np.zeros((6, 6), bool)
    hole[2:4, 2:4] = True
    assert np.array_equal(np.isnan(fine), hole)
    assert (fine[~hole] == 7.0).all()  # neighbours do not darken beside a hole


def test_nearest() -> None:
    assert nearest_2x(np.array([[1, 2]], np.uint8)).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]


def test_cloud_codes_without_dilation() -> None:
    scl = np.arange(12, dtype=np.uint8)[None]
    assert cloud_codes(scl, 0, 10).tolist() == [[255, 4, 0, 2, 0, 0, 0, 0, 1, 1, 1, 3]]


def test_dilation_is_a_disc_in_metres() -> None:
    scl = np.full((21, 21), 4, np.uint8)
    scl[10, 10] = 9
    row, col = np.mgrid[-10:11, -10:11]
    assert np.array_equal(cloud_codes(scl, 60, 10) == 1, np.hypot(row, col) <= 6)
    assert np.array_equal(cloud_codes(scl, 60, 20) == 1, np.hypot(row, col) <= 3)
    scl[10, 11], scl[10, 12], scl[9, 10] = 0, 1, 3
    codes = cloud_codes(scl, 60, 10)
    assert (codes[10, 11], codes[10, 12], codes[9, 10]) == (255, 4, 1)  # cloud wins over shadow; holes stay
    assert codes[3, 10] == 2  # shadow pixel at row 9 reaches 6 pixels up, the cloud only to row 4


def test_statistics_of_classes() -> None:
    scl = np.array([[0, 1, 8, 9, 10], [3, 4, 5, 6, 11]], np.uint8)
    inside = np.ones(scl.shape, bool)
    assert scl_statistics(scl, inside) == CloudStats(37.5, 12.5, 0.8)
    inside[:, 2:] = False
    assert scl_statistics(scl, inside) == CloudStats(0.0, 50.0, 0.5)
    assert scl_statistics(np.zeros((2, 2), np.uint8), np.ones((2, 2), bool)) == CloudStats(100.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="no pixel"):
        scl_statistics(scl, np.zeros(scl.shape, bool))
    with pytest.raises(ValueError, match="differ"):
        scl_statistics(scl, inside[:1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_bilinear_with_holes_by_brute_force(seed: int) -> None:
    """Every fine pixel from the distances of all coarse centres: tent weights of the valid ones, renormalised."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(0.01, 0.6, (6, 7)).astype(np.float32)
    a[rng.random(a.shape) < 0.3] = np.nan
    y, x = np.arange(8) / 2 + 0.75, np.arange(10) / 2 + 0.75
    tent_y = np.maximum(1 - np.abs(y[:, None] - np.arange(6)), 0)
    tent_x = np.maximum(1 - np.abs(x[:, None] - np.arange(7)), 0)
    weights = tent_y[:, None, :, None] * tent_x[None, :, None, :] * np.isfinite(a)
    own = np.isfinite(a[np.rint(y).astype(int)][:, np.rint(x).astype(int)])
    with np.errstate(invalid="ignore"):
        expected = (weights * np.nan_to_num(a)).sum(axis=(2, 3)) / weights.sum(axis=(2, 3))
    fine = bilinear_2x(a)
    assert np.array_equal(np.isfinite(fine), own)
    assert fine[own] == pytest.approx(expected[own], rel=1e-6)
    if own.any():
        assert np.nanmin(fine) >= np.nanmin(a) * (1 - 1e-7) and np.nanmax(fine) <= np.nanmax(a) * (1 + 1e-7)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 95))
def test_growth_equals_the_distance_transform(seed: int, distance_m: float) -> None:
    scl = np.where(np.random.default_rng(seed).random((23, 31)) < 0.03, 9, 4).astype(np.uint8)
    far_m = ndimage.distance_transform_edt(scl != 9, sampling=10.0)
    expected = (far_m <= distance_m + 1e-5) & (scl == 9).any()
    assert np.array_equal(cloud_codes(scl, distance_m, 10.0) == 1, expected)


def test_another_detector_replaces_cloud_alone() -> None:
    scl = np.array([[9, 4, 3, 11, 1, 0]], np.uint8)
    cloud = np.array([[False, True, True, True, True, True]])
    assert cloud_codes(scl, 0, 10, cloud=cloud).tolist() == [[0, 1, 1, 1, 4, 255]]
    assert cloud_codes(scl, 0, 10, cloud=~cloud).tolist() == [[1, 0, 2, 3, 4, 255]]
    assert with_gaps(np.full((1, 6), 2, np.uint8), scl).tolist() == [[2, 2, 2, 2, 4, 255]]


def test_classes_have_the_meaning_that_is_given() -> None:
    scl = np.arange(12, dtype=np.uint8)[None]
    classes = CloudClasses(cloud=(7, 9), shadow=(2, 3), snow=(), defective=(1, 10))
    assert cloud_codes(scl, 0, 10, classes).tolist() == [[255, 4, 2, 2, 0, 0, 0, 1, 0, 1, 4, 0]]


def test_nearest_on_another_grid() -> None:
    source = Grid(32755, 0.0, 120.0, 60.0, -60.0, 2, 2)
    target = Grid(32755, 20.0, 100.0, 20.0, -20.0, 5, 6)
    got = nearest_on(np.array([[1, 2], [3, 4]], np.uint8), source, target, 9)
    assert got.tolist() == [[1, 1, 2, 2, 2, 9]] * 2 + [[3, 3, 4, 4, 4, 9]] * 3
    assert nearest_on(np.array([[1, 2], [3, 4]], np.uint8), source, target, 9, 1, 3).tolist() == got[1:3].tolist()
    with pytest.raises(ValueError, match="different coordinate systems"):
        nearest_on(np.zeros((2, 2), np.uint8), source, Grid(32756, 0.0, 0.0, 10.0, -10.0, 1, 1), 9)


def test_block_means_leave_out_holes() -> None:
    a = np.array([[1, 2, np.nan, np.nan], [3, np.nan, np.nan, np.nan]], np.float32)
    assert block_means(a, 2).tolist()[0][0] == 2.0 and np.isnan(block_means(a, 2)[0, 1])
    assert block_means(a, 1) is a
