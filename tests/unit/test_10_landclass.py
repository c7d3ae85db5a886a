"""Slope, aspect, shares, errors by class and the segmentation, by hand and against scipy and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from utils.science import landclass
from utils.science.grid import Window


def plane(east: float, north: float, shape: tuple[int, int] = (6, 7)) -> np.ndarray:
    """Heights that rise by `east` and `north` metres a metre on a grid of 10 m, rows from north to south."""
    rows, cols = np.indices(shape)
    return 100 + 10 * east * cols - 10 * north * rows


@pytest.mark.parametrize(
    ("east", "north", "aspect", "sector"),
    [(0, -1, 0, 0), (-1, -1, 45, 1), (-1, 0, 90, 2), (-1, 1, 135, 3), (0, 1, 180, 4), (1, 1, 225, 5), (1, 0, 270, 6), (1, -1, 315, 7)],
)  # fmt: skip
def test_slope_and_the_direction_in_which_the_ground_falls(
    east: float, north: float, aspect: float, sector: int
) -> None:
    slope, direction = landclass.slope_aspect(plane(0.3 * east, 0.3 * north), 10, 10)
    inner = (slice(1, -1), slice(1, -1))
    assert slope[inner] == pytest.approx(math.degrees(math.atan(0.3 * math.hypot(east, north))))
    turned = (direction[inner] - aspect + 180) % 360 - 180
    assert np.abs(turned).max() < 1e-9
    assert (landclass.aspect_classes(direction, slope)[inner] == sector).all()


def test_north_is_the_sector_about_zero_and_begins_at_its_lower_bound() -> None:
    aspects = np.array([337.4, 337.5, 359.9, 0.0, 22.4, 22.5, 67.5, np.nan, 10.0, 10.0])
    slopes = np.array([5.0] * 7 + [0.0, 1.99, np.nan])
    assert landclass.aspect_classes(aspects, slopes).tolist() == [7, 0, 0, 0, 0, 1, 2, 8, 8, 255]


def test_slope_classes() -> None:
    slopes = np.array([0, 9.99, 10, 24.9, 25, 34.9, 35, 90, np.nan])
    assert landclass.slope_classes(slopes).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 255]


def test_slope_of_unequal_pixels_and_of_level_ground() -> None:
    slope, _ = landclass.slope_aspect(plane(0.5, 0), 20, 10)  # the same steps over twice the distance
    assert slope[2, 3] == pytest.approx(math.degrees(math.atan(0.25)))
    slope, aspect = landclass.slope_aspect(np.full((4, 4), 7.0), 10, 10)
    assert (slope == 0).all() and np.isnan(aspect).all()
    holed = plane(0.1, 0)
    holed[2, 2] = np.nan
    assert np.isnan(landclass.slope_aspect(holed, 10, 10)[0][1:4, 1:4]).all()


def test_shares_of_a_window() -> None:
    codes = np.array([[1, 1, 2, 255], [1, 2, 2, 255]], np.uint8)
    assert landclass.shares(codes, [1, 2, 3]) == {1: 0.5, 2: 0.5}
    assert landclass.shares(codes, [1, 2], Window(0, 1, 2, 2)) == {1: 0.25, 2: 0.75}
    assert landclass.shares(codes, [1, 2], Window(0, 3, 2, 1)) == {}


def test_class_names_are_checked() -> None:
    assert list(landclass.check_classes({7: "b", 1: "a"})) == [1, 7]
    for wrong in ({255: "x"}, {-1: "x"}, {1: ""}, {1: "a", 2: "a"}):
        with pytest.raises(ValueError, match="class"):
            landclass.check_classes(wrong)


def test_wrong_severity_by_class_by_hand() -> None:
    truth = np.array([[0, 0, 3, 3], [0, 2, 255, 1]], np.uint8)
    own = np.array([[0, 1, 1, 3], [0, 2, 0, 1]], np.uint8)
    group = np.array([[5, 5, 5, 6], [6, 6, 6, 255]], np.uint8)
    blocks = np.array([[0, 0, 1, 1], [0, 1, 1, 1]])
    found = landclass.wrong_by_class(truth, own, group, {5: "forest", 6: "grass", 7: "water"}, blocks, 200, 1)
    assert set(found) == {"forest", "grass"}
    assert found["forest"]["pixels"] == 3 and found["forest"]["wrong"] == pytest.approx(2 / 3)
    assert found["forest"]["apart"] == 1.0  # 0, 1 and 2 classes
    # block 0 has one wrong of two, block 1 one of one: draws give 0.5, 2/3 or 1
    assert found["forest"]["low"] == pytest.approx(0.5) and found["forest"]["high"] == pytest.approx(1.0)
    assert found["grass"]["wrong"] == 0 and found["grass"]["blocks"] == 2
    one = landclass.wrong_by_class(truth, own, group, {5: "forest"}, np.where(blocks == 0, 0, -1), 200, 1)
    assert one["forest"]["low"] is None and one["forest"]["pixels"] == 2


def test_median_equals_scipy_inside_and_leaves_holes_out() -> None:
    values = np.random.default_rng(3).normal(size=(40, 31))
    inner = (slice(1, -1), slice(1, -1))
    np.testing.assert_array_equal(landclass.median_3x3(values)[inner], ndimage.median_filter(values, 3)[inner])
    values[5, 5] = np.nan
    smooth = landclass.median_3x3(values)
    assert np.isnan(smooth[5, 5])
    assert smooth[5, 6] == pytest.approx(float(np.nanmedian(values[4:7, 5:8])))
    assert smooth[0, 0] == pytest.approx(float(np.median(values[:2, :2])))


def test_segments_equal_scikit_learn() -> None:
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(8)
    values = np.concatenate([rng.normal(m, 0.03, n) for m, n in ((0.1, 500), (0.4, 900), (0.8, 300))])
    centres = landclass.clusters_1d(values, 3)
    oracle = KMeans(3, n_init=10, random_state=0).fit(values[:, None]).cluster_centers_.ravel()
    np.testing.assert_allclose(centres, np.sort(oracle), atol=1e-3)
    image = np.full((20, 30), 0.1)
    image[:, 10:20], image[:, 20:] = 0.4, 0.8
    image[3, 3], image[7, 0] = 0.8, np.nan  # a single pixel is smoothed away
    codes, _ = landclass.segment_ndvi(image, 3)
    assert (
        (codes[:, :10][np.isfinite(image[:, :10])] == 1).all()
        and (codes[:, 10:20] == 2).all()
        and (codes[:, 20:] == 3).all()
    )
    assert codes[7, 0] == 255
    with pytest.raises(ValueError, match="fewer than 3"):
        landclass.segment_ndvi(np.full((5, 5), 0.3), 3)
