"""Backscatter: fill, decibels, interpolation, against brute force and hand computation."""

import numpy as np
import pytest

from utils.science import sar
from utils.science.grid import Grid


def brute_force(x, valid, k):
    """The definition, pixel by pixel: k smallest of (distance, row, col), weights 1/distance."""
    good = [(r, c) for r, c in np.argwhere(valid & np.isfinite(x) & (np.nan_to_num(x, nan=-1) > 0))]
    out = np.where(valid, x, np.nan)
    for r, c in np.argwhere(valid):
        if np.isfinite(x[r, c]) and x[r, c] > 0:
            continue
        near = sorted(((i - r) ** 2 + (j - c) ** 2, i, j) for i, j in good)[:k]
        weight = [d2**-0.5 for d2, _, _ in near]
        out[r, c] = (
            sum(w * float(x[i, j]) for w, (_, i, j) in zip(weight, near, strict=True)) / sum(weight)
            if len(near) == k
            else np.nan
        )
    return out


def holed(shape, share, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.gamma(4.0, 0.02, shape).astype(np.float32)
    holes = rng.random(shape) < share
    x[holes] = rng.choice([0.0, -0.01, np.inf], holes.sum())
    valid = np.ones(shape, bool)
    valid[: shape[0] // 8] = False
    x[~valid] = np.nan
    return x, valid


def test_db_values_and_inverse():
    power = np.array([1.0, 0.1, 0.02, 0.0, -1.0, np.nan])
    db = sar.to_db(power)
    np.testing.assert_allclose(db[:3], [0.0, -10.0, -16.98970004336019], rtol=1e-14)
    assert np.isnan(db[3:]).all()
    np.testing.assert_allclose(sar.from_db(db[:3]), power[:3], rtol=1e-14)


def test_single_hole_by_hand():
    x = np.array([[1, 2, 3], [4, 0, 6], [7, 8, 9]], dtype=np.float64)
    # five nearest: 2, 4, 6, 8 at distance 1, then the first diagonal, 1, at sqrt 2
    expected = (2 + 4 + 6 + 8 + 1 / np.sqrt(2)) / (4 + 1 / np.sqrt(2))
    assert sar.fill_non_positive_knn(x, np.ones((3, 3), bool), 5)[1, 1] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(("share", "k"), [(0.02, 5), (0.5, 5), (0.93, 4)])
def test_fill_equals_brute_force(share, k):
    x, valid = holed((30, 27), share, seed=int(share * 100))
    filled = sar.fill_non_positive_knn(x, valid, k)
    assert filled.dtype == np.float32
    np.testing.assert_allclose(filled, brute_force(x, valid, k), rtol=3e-7)
    assert np.isfinite(filled[valid]).all() and (filled[valid] > 0).all() and np.isnan(filled[~valid]).all()


def test_large_hole_uses_true_neighbours_far_away():
    x = np.full((40, 40), 0.1)
    x[5:35, 5:35] = 0.0
    x[:, :5] = 0.4
    np.testing.assert_allclose(
        sar.fill_non_positive_knn(x, np.ones(x.shape, bool), 5), brute_force(x, np.ones(x.shape, bool), 5), rtol=1e-12
    )


def test_windows_with_halo_equal_the_whole(monkeypatch):
    from utils.io import filled_rows

    monkeypatch.setattr(filled_rows, "BLOCK_PX", 40)
    x, valid = holed((150, 130), 0.03)
    whole = sar.fill_non_positive_knn(x, valid)
    filled = np.where(valid, x, np.nan)
    filled_rows.fill_rows(filled[:0], filled, len(filled), 5)
    np.testing.assert_array_equal(filled, whole)


def test_impossible_window_is_nan_and_shape_kept():
    x = np.zeros((4, 5), np.float32)
    x[0, 0] = 1.0
    out = sar.fill_non_positive_knn(x, np.ones(x.shape, bool), 5)
    assert out.shape == (4, 5) and np.isnan(out).sum() == 19 and out[0, 0] == 1.0


def test_true_neighbours_beat_columns_on_correlated_speckle():
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(3)
    field = sum(
        gaussian_filter(rng.normal(size=(128, 128)), 1.18) ** 2
        + gaussian_filter(rng.normal(size=(128, 128)), 1.18) ** 2
        for _ in range(5)
    )
    holes = rng.random(field.shape) < 0.01
    x = np.where(holes, 0.0, field)
    filled = sar.fill_non_positive_knn(x, np.ones(x.shape, bool))
    columns = np.where(holes, np.nan, field)
    column_mean = np.where(holes, np.nanmean(columns, axis=0), field)

    def rms_db(values):
        return np.sqrt(np.mean((10 * np.log10(values[holes] / field[holes])) ** 2))

    # 1.07 dB against 1.64 dB in the figures this rule was chosen by
    print(
        f"rms of filled pixels: neighbours {rms_db(filled):.2f} dB (limit 1.25), columns {rms_db(column_mean):.2f} dB"
    )
    assert rms_db(filled) < 1.25 < 1.5 < rms_db(column_mean)


def test_true_neighbours_beat_a_column_wise_imputer():
    """scikit-learn's KNNImputer takes rows as samples: it knows no neighbours below, and drops an empty column."""
    from scipy.ndimage import gaussian_filter
    from sklearn.impute import KNNImputer

    rng = np.random.default_rng(8)
    field = sum(
        gaussian_filter(rng.normal(size=(2, 96, 96)), (0, 1.18, 1.18))[i] ** 2 for _ in range(5) for i in (0, 1)
    )
    holes = rng.random(field.shape) < 0.01
    x = np.where(holes, 0.0, field)
    own = sar.fill_non_positive_knn(x, np.ones(x.shape, bool))
    columns = KNNImputer(n_neighbors=5).fit_transform(np.where(holes, np.nan, field))

    def rms_db(values):
        return np.sqrt(np.mean((10 * np.log10(values[holes] / field[holes])) ** 2))

    print(f"rms of filled pixels: neighbours {rms_db(own):.2f} dB, column-wise imputer {rms_db(columns):.2f} dB")
    assert rms_db(own) < 0.8 * rms_db(columns)
    x[:, 40] = 0.0  # a column of zeros: the imputer drops it and shifts all that follow
    dropped = KNNImputer(n_neighbors=5).fit_transform(np.where(x > 0, x, np.nan))
    assert dropped.shape == (96, 95)
    filled = sar.fill_non_positive_knn(x, np.ones(x.shape, bool))
    assert filled.shape == x.shape and (filled > 0).all()
    np.testing.assert_allclose(filled, brute_force(x, np.ones(x.shape, bool), 5), rtol=1e-12)


def test_bad_arguments():
    with pytest.raises(ValueError, match="shapes"):
        sar.fill_non_positive_knn(np.ones((2, 2)), np.ones((2, 3), bool))
    with pytest.raises(ValueError, match="k must"):
        sar.fill_non_positive_knn(np.ones((2, 2)), np.ones((2, 2), bool), 0)


def test_bilinear_reproduces_a_plane_and_clamps_at_the_edge():
    source = Grid(32631, 0.0, 80.0, 20.0, -20.0, 4, 4)
    target = Grid(32631, 0.0, 80.0, 10.0, -10.0, 8, 8)
    plane = 1.0 + 0.05 * source.pixel_centres_x()[None, :] + 0.01 * source.pixel_centres_y()[:, None]
    out = sar.bilinear_on_grid(plane, source, target)
    truth = 1.0 + 0.05 * target.pixel_centres_x()[None, :] + 0.01 * target.pixel_centres_y()[:, None]
    np.testing.assert_allclose(out[1:-1, 1:-1], truth[1:-1, 1:-1], rtol=1e-6)
    assert out[0, 0] == pytest.approx(plane[0, 0])  # half a source pixel beyond the last centre: the edge value


def test_bilinear_nan_and_outside():
    source = Grid(0, 0.0, 3.0, 1.0, -1.0, 3, 3)
    power = np.array([[1.0, 2, 3], [4, np.nan, 6], [7, 8, 9]])
    np.testing.assert_array_equal(np.isnan(sar.bilinear_on_grid(power, source, source)), np.isnan(power))
    shifted = Grid(0, 0.5, 3.0, 1.0, -1.0, 3, 3)
    out = sar.bilinear_on_grid(power, source, shifted)
    np.testing.assert_allclose(out[:, :2], [[1.5, 2.5], [4, 6], [7.5, 8.5]])  # NaN weights go to the other side
    beyond = sar.bilinear_on_grid(power, source, Grid(0, 2.0, 3.0, 1.0, -1.0, 3, 3))
    assert np.isnan(beyond[:, 1:]).all() and beyond[0, 0] == 3
    with pytest.raises(ValueError, match="coordinate systems"):
        sar.bilinear_on_grid(power, source, Grid(32631, 0, 3, 1, -1, 3, 3))
