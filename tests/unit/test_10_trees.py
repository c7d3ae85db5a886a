"""Trees kept as arrays against scikit-learn itself, on data with missing values, and damage that must be refused."""

import io

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from utils.science import trees

RECIPE = trees.Recipe(iterations=25, min_leaf=20)


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of short loops wait for one another on a shared machine: a second becomes a minute."""
    with threadpool_limits(limits=1, user_api="openmp"):
        yield


def made(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3000, 6)).astype(dtype)
    y = x[:, 0] * x[:, 1] + np.sign(x[:, 2]) + 0.1 * rng.normal(size=3000)
    x[rng.random(x.shape) < 0.1] = np.nan
    x[::17, 3] = 1e30
    x[::19, 4] = -1e30
    return x, y


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_to_scikit_learn_to_the_last_bit(dtype):
    x, y = made(dtype=dtype)
    weight = np.random.default_rng(5).random(len(y))
    own = trees.fit(x, y, RECIPE, seed=3, weight=weight)
    theirs = HistGradientBoostingRegressor(
        max_iter=25, learning_rate=0.08, max_leaf_nodes=15, min_samples_leaf=20, l2_regularization=10.0,
        early_stopping=False, random_state=3,
    ).fit(x, y, sample_weight=weight)  # fmt: skip
    unseen = made(seed=9, dtype=dtype)[0]
    assert np.array_equal(own.predict(unseen), theirs.predict(unseen))
    assert np.unique(own.predict(unseen)).size > 100


def test_shared_binning_gives_the_bits_of_single_fits():
    x, y = made()
    both = np.stack([y, y**2 - x[:, 5].clip(-1, 1)], axis=1)
    both[np.isnan(both)] = 0.5
    shared = trees._fit_shared(x, both, RECIPE)
    for band, forest in enumerate(shared):
        alone = trees.fit(x, both[:, band], RECIPE, seed=band)
        assert forest.baseline == alone.baseline
        for name, values in alone.arrays.items():
            assert np.array_equal(forest.arrays[name], values), name
    floats = trees._fit_shared(x, both.astype(np.float32), RECIPE)
    assert np.array_equal(floats[0].predict(x), trees.fit(x, both[:, 0].astype(np.float32), RECIPE, seed=0).predict(x))


def test_survives_a_file_without_pickle():
    x, y = made()
    forests = trees.fit_bands(x, np.stack([y, -2 * y], axis=1), RECIPE, seed=1)
    file = io.BytesIO()
    np.savez(file, **{k: v for i, f in enumerate(forests) for k, v in f.to_arrays(f"band{i}").items()})
    file.seek(0)
    with np.load(file, allow_pickle=False) as data:
        again = tuple(trees.Forest.from_arrays(data, f"band{i}") for i in range(2))
    assert np.array_equal(trees.predict_bands(again, x), trees.predict_bands(forests, x))


def test_damaged_arrays_are_refused():
    x, y = made()
    good = trees.fit(x, y, RECIPE, seed=1).to_arrays("a")
    loop = {**good, "a.left": good["a.left"].copy()}
    loop["a.left"][0] = 0  # a walk would never end
    with pytest.raises(ValueError, match="points to itself"):
        trees.Forest.from_arrays(loop, "a")
    with pytest.raises(ValueError, match="no baseline"):
        trees.Forest.from_arrays({k: v for k, v in good.items() if k != "a.baseline"}, "a")
    with pytest.raises(ValueError, match="differ in length"):
        trees.Forest.from_arrays({**good, "a.value": good["a.value"][:-1]}, "a")
    with pytest.raises(ValueError, match="the trees take"):
        trees.Forest.from_arrays(good, "a").predict(x[:, :5])


def test_one_split_by_hand():
    arrays = {
        "feature": np.array([1, 0, 0], np.int32), "threshold": np.array([0.5, 0, 0]), "missing_left": np.array([0, 0, 0], np.uint8),
        "left": np.array([1, -1, -1], np.int32), "right": np.array([2, -1, -1], np.int32), "value": np.array([0, 10.0, 20.0]),
        "roots": np.array([0], np.int32),
    }  # fmt: skip
    x = np.array([[0, 0.5], [0, 0.6], [0, np.nan]])
    assert trees.Forest(arrays, 1.0, 2).predict(x).tolist() == [11.0, 21.0, 21.0]
