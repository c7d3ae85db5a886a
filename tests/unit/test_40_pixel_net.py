"""The pixel network: its matrix products against Keras, equal bytes, what it learns, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from models import pixel_net, tree_net
from utils.science.pixel_net import CLIP, NetRecipe, PixelNet
from utils.science.trees import Recipe, predict_bands

SMALL = NetRecipe(hidden=(16, 16), epochs=30, batch=128, dropout=0.0, noise=0.0)


def made(count: int = 4000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two targets that no plane gives: a product and a bend."""
    x = np.random.default_rng(seed).normal(3, 2, (count, 5)).astype(np.float32)
    z = (x - 3) / 2
    return x, np.stack([0.1 * z[:, 0] * z[:, 1], 0.05 * np.abs(z[:, 2])], axis=1).astype(np.float32)


def test_matrix_products_are_those_of_keras() -> None:
    x, y = made(300)
    net = pixel_net.fit(x, y, NetRecipe(hidden=(8, 7), epochs=2, batch=64), 3)
    twin = pixel_net._network(5, 2, NetRecipe(hidden=(8, 7)), 99)
    twin.set_weights([array for layer in net.layers for array in layer])
    z = np.clip((x - net.mean) / net.spread, -CLIP, CLIP)
    wanted = np.asarray(twin(z, training=False), np.float64) * net.scale
    assert np.allclose(net.predict(x), wanted, rtol=1e-5, atol=1e-7) and np.ptp(wanted) > 0
    assert net.parameters == twin.count_params() == 5 * 8 + 8 + 8 * 7 + 7 + 7 * 2 + 2


def test_learns_what_no_plane_gives_and_equal_trainings_give_equal_weights() -> None:
    x, y = made()
    first, again, other = (pixel_net.fit(x, y, SMALL, seed) for seed in (1, 1, 2))
    test, truth = made(2000, seed=2)
    skill = 1 - ((first.predict(test) - truth) ** 2).sum(axis=0) / ((truth - y.mean(axis=0)) ** 2).sum(axis=0)
    print(f"explained of a product and of a bend {skill.round(3)} (limit 0.9)")
    assert (skill > 0.9).all()
    arrays = [net.to_arrays("n") for net in (first, again, other)]
    assert all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0])
    assert not np.array_equal(arrays[0]["n.kernel0"], arrays[2]["n.kernel0"])


def test_unknown_is_the_mean_and_far_away_is_no_farther_than_the_clip() -> None:
    x, y = made(500)
    x[:50, 1] = np.nan
    x[:, 4] = 7.0  # never varies
    net = pixel_net.fit(x, y, SMALL, 1)
    centre = net.mean[None].copy()
    hole = centre.copy()
    hole[0, :2] = np.nan
    assert np.array_equal(net.predict(hole), net.predict(centre)) and net.mean[4] == 7.0
    far, edge = np.full((1, 5), 1e9, np.float32), (net.mean + CLIP * net.spread)[None]
    edge[0, 4] = -50.0  # nothing was learned from it, so nothing depends on it
    assert np.allclose(net.predict(far), net.predict(edge), atol=1e-4)
    assert np.isfinite(net.predict(np.full((1, 5), np.nan, np.float32))).all()


def test_trees_answer_alone_where_the_network_would_extrapolate() -> None:
    x, y = made(2000)
    model = tree_net.fit(x, y, Recipe(iterations=10, min_leaf=20), SMALL, 1)
    assert model.net is not None
    trees, net = predict_bands(model.forests, x), model.net.predict(x)
    far = (np.abs((x - model.net.mean) / model.net.spread) > CLIP).any(axis=1)
    found = model.predict(x)
    assert np.array_equal(found[~far], (trees + net)[~far] / 2) and np.array_equal(found[far], trees[far])
    away = np.repeat(model.net.mean[None], 3, axis=0)
    away[0, 2], away[1, 2], away[2, 1] = 1e6, model.net.mean[2] + 3.9 * model.net.spread[2], np.nan
    alone, mean, hole = model.predict(away) - predict_bands(model.forests, away)
    assert not alone.any() and mean.any() and hole.any()
    plain = tree_net.fit(x, y, Recipe(iterations=10, min_leaf=20), None, 1)
    assert plain.net is None and np.array_equal(plain.predict(x), trees)


def test_kept_as_plain_arrays() -> None:
    x, y = made(300)
    net = pixel_net.fit(x, y, NetRecipe(hidden=(4,), epochs=1, batch=64), 1)
    arrays = net.to_arrays("a.b")
    again = PixelNet.from_arrays(arrays, "a.b")
    assert np.array_equal(net.predict(x), again.predict(x)) and net.predict(x[:0]).shape == (0, 2)
    for name, broken in (("a.b.mean", arrays["a.b.mean"][:3]), ("a.b.spread", 0 * arrays["a.b.spread"])):
        with pytest.raises(ValueError, match="do not fit together"):
            PixelNet.from_arrays({**arrays, name: broken}, "a.b")
    with pytest.raises(ValueError, match=r"no 'a\.b\.scale'"):
        PixelNet.from_arrays({name: array for name, array in arrays.items() if name != "a.b.scale"}, "a.b")
    with pytest.raises(ValueError, match="takes"):
        net.predict(x[:, :4])


def test_no_row_is_refused_and_few_rows_train() -> None:
    x, y = made(3)
    with pytest.raises(ValueError, match="no row"):
        pixel_net.fit(x[:0], y[:0], SMALL, 1)
    assert np.isfinite(pixel_net.fit(x, 0 * y, SMALL, 1).predict(x)).all()
