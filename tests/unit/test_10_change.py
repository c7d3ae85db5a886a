"""Change detection: PCA, k-means, neighbourhoods and Otsu against scikit-learn, scipy and scikit-image."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from utils.science import change

BANDS = ("B04", "B08")


def scene(share: float, seed: int = 0, shape: tuple[int, int] = (96, 128)) -> tuple[np.ndarray, np.ndarray]:
    """|t0 - t1| (bands, H, W) with noise, and where it changed: the left `share` of the columns."""
    rng = np.random.default_rng(seed)
    moved = np.zeros(shape, bool)
    moved[:, : int(share * shape[1])] = True
    strength = np.array([0.05, 0.2])[:, None, None] * moved
    return np.abs(strength + rng.normal(0, 0.01, (2, *shape))), moved


def test_blocks_are_ordered_band_row_column_and_holes_are_left_out() -> None:
    image = np.arange(2 * 9 * 8, dtype=np.float64).reshape(2, 9, 8)
    vectors = change.block_vectors(image)
    assert vectors.shape == (4, 32)  # the ninth row is left over
    assert vectors[1].tolist() == [*image[0, :4, 4:].ravel(), *image[1, :4, 4:].ravel()]
    image[1, 5, 1] = np.nan
    assert len(change.block_vectors(image)) == 3


def test_neighbourhood_begins_one_pixel_before_and_ends_two_after() -> None:
    image = np.arange(36, dtype=np.float64).reshape(1, 6, 6)
    around = change.neighbourhoods(image).reshape(6, 6, 4, 4)
    assert around[2, 3].tolist() == image[0, 1:5, 2:6].tolist()
    assert around[0, 0, 0].tolist() == [0, 0, 1, 2]  # the edge repeats its outermost pixel
    some = change.neighbourhoods(image, most=5, seed=3)
    assert len(some) == 5 and all((some[i] == around.reshape(36, 16)).all(axis=1).any() for i in range(5))


def test_components_equal_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    vectors = change.block_vectors(scene(0.3)[0])
    mean, components, explained = change.principal(vectors)
    oracle = PCA(3, svd_solver="full").fit(vectors)
    np.testing.assert_allclose(mean, oracle.mean_, atol=1e-12)
    np.testing.assert_allclose(np.abs(components @ oracle.components_.T), np.eye(3), atol=1e-8)
    np.testing.assert_allclose(explained, oracle.explained_variance_ratio_, atol=1e-12)
    assert all(row[np.abs(row).argmax()] > 0 for row in components)


def test_clusters_equal_scikit_learn() -> None:
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(1)
    points = np.concatenate([rng.normal(0, 1, (400, 3)), rng.normal(3, 1, (150, 3))])
    oracle = KMeans(2, n_init=20, random_state=0).fit(points).cluster_centers_
    np.testing.assert_allclose(change.two_means(points, 5), oracle[np.argsort(oracle[:, 0])], atol=1e-3)
    assert (change.two_means(points, 5) == change.two_means(points, 5)).all()


def test_map_equals_the_steps_one_by_one() -> None:
    from sklearn.decomposition import PCA

    train, test = scene(0.3)[0], scene(0.4, seed=9)[0]
    test[:, 40:44, 60:66] = np.nan
    model = change.fit([train], BANDS, 7)
    pca = PCA(3, svd_solver="full").fit(change.block_vectors(train))
    filled = np.nan_to_num(test)
    padded = np.pad(filled, ((0, 0), (1, 2), (1, 2)), mode="edge")
    rows, cols = test.shape[1:]
    expected = np.zeros((rows, cols), bool)
    centres = (model.centres @ model.components) @ pca.components_.T  # the same centres in the oracle's signs
    for i in range(rows):
        for j in range(cols):
            vector = padded[:, i : i + 4, j : j + 4].ravel()
            projected = (vector - pca.mean_) @ pca.components_.T
            expected[i, j] = ((projected - centres[1]) ** 2).sum() < ((projected - centres[0]) ** 2).sum()
    valid = np.isfinite(test).all(axis=0)
    diamond = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), 2)
    assert (diamond == change.DIAMOND).all()
    eroded = ndimage.binary_erosion(expected | ~valid, diamond, border_value=1)
    codes = model.apply(test)
    assert (codes[~valid] == 255).all() and (codes[valid] == eroded[valid]).all()
    assert (model.apply(test, erode=False)[valid] == expected[valid]).all()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_larger_difference_is_change_however_much_has_changed(share: float) -> None:
    difference, moved = scene(share)
    codes = change.fit([difference], BANDS, 1).apply(difference, erode=False)
    agreement = float(((codes == 1) == moved).mean())
    print(f"agreement at {share:.0%} changed: {agreement:.4f} (limit 0.98)")
    assert agreement > 0.98


def test_stripes_with_a_halo_give_the_same_codes() -> None:
    difference, _ = scene(0.5, shape=(300, 40))
    model, whole = change.fit([difference], BANDS, 1), None
    whole = model.apply(difference)
    for top, end in ((0, 100), (100, 200), (200, 300)):
        first, last = max(top - change.HALO_PX, 0), min(end + change.HALO_PX, 300)
        part = model.apply(difference[:, first:last])
        assert (part[top - first : end - first] == whole[top:end]).all()


def test_model_survives_json_and_refuses_what_does_not_fit() -> None:
    model = change.fit([scene(0.3)[0]], BANDS, 7)
    again = change.ChangeModel.from_json(json.loads(json.dumps(model.to_json())))
    assert (again.components == model.components).all() and (again.centres == model.centres).all()
    assert again.bands == BANDS and again.seed == 7
    with pytest.raises(ValueError, match="no change model"):
        change.ChangeModel.from_json({"schema": "other"})
    with pytest.raises(ValueError, match="do not fit"):
        change.ChangeModel.from_json(model.to_json() | {"bands": ["B04"]})
    with pytest.raises(ValueError, match="3 planes for 2 bands"):
        model.apply(np.zeros((3, 8, 8)))


def test_nothing_to_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="too few"):
        change.fit([np.full((2, 8, 8), np.nan)], BANDS, 0)
    with pytest.raises(ValueError, match="nothing to part"):
        change.fit([np.full((2, 64, 64), 0.1)], BANDS, 0)


def test_otsu_equals_scikit_image() -> None:
    from skimage.filters import threshold_otsu

    rng = np.random.default_rng(4)
    for low, high, count in ((0.0, 5.0, 2000), (1.0, 2.0, 300), (0.0, 0.5, 5000)):
        values = np.concatenate([rng.normal(low, 0.7, 4000), rng.normal(high, 0.4, count)])
        assert change.otsu(values) == pytest.approx(float(threshold_otsu(values)), abs=1e-12)
    assert change.otsu(np.array([0.0, 0.0, 1.0, np.nan])) < 1
    with pytest.raises(ValueError, match="two different"):
        change.otsu(np.array([2.0, 2.0, np.nan]))


def test_log_ratio_by_hand() -> None:
    before, after = np.full((9, 9), 0.02), np.full((9, 9), 0.01)
    before[0, 0] = 0.0
    ratio = change.log_ratio_db(before, after, 3, median_db=-1.0)
    assert np.isnan(ratio[0, 0]) and ratio[0, 1] == pytest.approx(-3.0103 + 1.0, abs=1e-4)
    codes = change.from_log_ratio(ratio, 2.0)
    assert codes[0, 0] == 255 and codes[5, 5] == 1 and (change.from_log_ratio(ratio, 2.1)[4] == 0).all()
    # a mean of powers, not of decibels: one pixel of 0.1 among eight of 0.01
    after[4, 4] = 0.1
    assert change.log_ratio_db(np.full((9, 9), 0.01), after, 3)[4, 4] == pytest.approx(
        10 * np.log10((0.1 + 0.08) / 9 / 0.01)
    )


def test_scores_by_hand() -> None:
    truth, image = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    image[0, 0, 0], image[1, 1, 1] = 0.1, np.nan
    sums = change.image_sums(image, truth, np.array([[True, True], [False, True]]))
    assert sums.tolist() == pytest.approx([0.01, 4])  # two pixels of two bands; the one without data is left out
    figures = change.image_figures(sums)
    assert figures["mse"] == pytest.approx(0.0025) and figures["psnr"] == pytest.approx(-10 * np.log10(0.0025))
    assert change.image_figures(np.zeros(2)) == {"mse": None, "psnr": None, "values": 0}
    true, own = np.array([[1, 1, 0, 0, 255]], np.uint8), np.array([[1, 0, 0, 1, 1]], np.uint8)
    made = change.map_figures(true, own, np.ones((1, 5), bool))
    assert made["f1"] == 0.5 and made["kappa"] == 0 and made["mapped"] == 0.5 and made["n"] == 4
