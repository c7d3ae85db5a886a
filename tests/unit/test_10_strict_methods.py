"""Models of a fold on a made-up place: what they learn from, what they may not see, and what each must reach."""

import datetime as dt

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from utils.science import gated, strict, strict_methods, strict_rows
from utils.science.pixel_net import CLIP, PixelNet
from utils.science.strict_methods import Half, Settings
from utils.science.strict_rows import Rows, Sheet
from utils.science.trees import Recipe

BANDS = ("B04", "B08")
DAYS = ["2018-01-01", "2018-01-05", "2018-03-01", "2018-05-01", "2018-05-09", "2018-07-01", "2018-09-01", "2018-11-01"]
DATES = tuple(strict.Dated(day, "p", dt.date.fromisoformat(day), clear=day != "2018-11-01") for day in DAYS)
NAMES = strict_rows.all_names(BANDS, strict_methods.SETS)
SETTINGS = Settings(pixels=2000, bag_pixels=1000, inner_pixels=800, seed=3)


QUICK = Recipe(iterations=20, rate=0.2, leaves=8, min_leaf=30, l2=1.0)
ORIGINAL = {name: (features, QUICK, clear) for name, (features, _, clear) in strict_methods.PLAIN.items()}


@pytest.fixture(autouse=True)
def one_thread_and_few_trees(monkeypatch):
    monkeypatch.setattr(strict_methods, "RES", QUICK)
    monkeypatch.setattr(strict_methods, "PLAIN", ORIGINAL)
    monkeypatch.setattr(gated, "GATE_RECIPE", QUICK)
    with threadpool_limits(limits=1, user_api="openmp"):
        yield


def made(pairs, count=150, seed=0):
    """Rows in which the change follows guided VH of both radii plus noise; features are noise otherwise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(len(pairs) * count, len(NAMES))).astype(np.float32)
    x[:, [NAMES.index(b) for b in BANDS]] = 0.2 + 0.05 * rng.random((len(x), 2))
    signal = x[:, NAMES.index("dVH_g4")] + x[:, NAMES.index("VH_t1_g12")]
    y = 0.05 * signal[:, None] * [1.0, -1.0] + 0.02 * rng.normal(size=(len(x), 2))
    owner = np.repeat(np.arange(len(pairs), dtype=np.int32), count)
    return Rows(
        NAMES,
        BANDS,
        x,
        y.astype(np.float32),
        owner,
        np.tile(np.arange(count, dtype=np.int32), len(pairs)),
        tuple(pairs),
    )


@pytest.fixture(scope="module")
def fold():
    return strict.folds(DATES, (20, 20), guard_px=4, min_gap_days=20)[2]


@pytest.fixture(scope="module")
def half(fold):
    pairs = sorted(
        {pair for one in strict.folds(DATES, (20, 20), guard_px=4, min_gap_days=20) for pair in one.train_pairs}
    )
    return Half(made(pairs), DATES, SETTINGS)


def test_groups_are_those_of_the_folds(half):
    assert [tuple(d.id for d in g) for g in half.groups()] == [
        tuple(DAYS[:2]),
        (DAYS[2],),
        tuple(DAYS[3:5]),
        (DAYS[5],),
        (DAYS[6],),
    ]


def test_inner_training_keeps_away_from_both_groups(half, fold):
    known = {date.id: date.day for date in DATES}
    for group in half.groups():
        if set(d.id for d in group) & set(fold.group):
            continue
        inner = half.inner(fold, group)
        assert inner
        for date in {d for pair in inner for d in pair}:
            for tested in (*fold.group, *(d.id for d in group)):
                assert abs((known[date] - known[tested]).days) > 15, (date, tested)


def test_bags_are_shared_by_the_two_folds_that_exclude_them(half, fold):
    half.kept.clear()
    half.unseen(fold)
    first = set(half.kept)
    assert len(first) == 4 and all(set(fold.group) <= key for key in first)
    other = next(
        f
        for f in strict.folds(DATES, (20, 20), guard_px=4, min_gap_days=20)
        if f.side == fold.side and f.group != fold.group
    )
    half.unseen(other)
    assert len(half.kept) == 4 + 4 - 1


def test_rows_of_the_gate_are_unseen_clear_pairs_of_the_training(half, fold, monkeypatch):
    asked = []
    real = Rows.of_pairs

    def spy(self, wanted, limit=None):
        asked.append((frozenset(wanted), limit))
        return real(self, wanted, limit)

    half.kept.clear()
    monkeypatch.setattr(Rows, "of_pairs", spy)
    half.unseen(fold)
    gate = [wanted for wanted, limit in asked if limit == SETTINGS.pixels // 4]
    assert len(gate) == 4
    for wanted in gate:
        assert wanted <= set(fold.train_pairs) and not {d for pair in wanted for d in pair} & {
            "2018-11-01",
            *fold.group,
        }


def linear_net(x, y, seed):
    """The least squares plane as a network without a hidden layer, in place of a trained one."""
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-3
    z = np.column_stack([(x - mean) / spread, np.ones(len(x))])
    found = np.linalg.lstsq(z.T @ z + 1e-3 * np.eye(z.shape[1]), z.T @ y, rcond=None)[0].astype(np.float32)
    return PixelNet(mean.astype(np.float32), spread.astype(np.float32), 1.0, ((found[:-1], found[-1]),))


def test_models_learn_the_signal_and_the_ablations_do_not(half, fold):
    models = strict_methods.fit_fold(half, fold, linear_net)
    test = made([("a", "b")], 3000, seed=9)
    sheet = Sheet(NAMES, BANDS, test.x)
    still = test.x.copy()
    for name in NAMES:
        if name.startswith(("dV", "VV_t1", "VH_t1", "cross_t1")):
            still[:, NAMES.index(name)] = 0.0
    found = models.predict(sheet, Sheet(NAMES, BANDS, still))
    truth = test.y.astype(np.float64)
    skill = {name: 1 - ((change - truth) ** 2).sum() / (truth**2).sum() for name, change in found.items()}
    print({name: round(value, 2) for name, value in skill.items()})
    assert set(found) == set(strict_methods.METHODS) - {"copy_t0"}
    assert skill["histgbm_res"] > 0.6 and skill["res_no_calendar"] > 0.6
    assert skill["season_only"] < 0.1 and skill["no_s1"] < 0.1 and skill["res_s1_frozen"] < 0.1
    assert skill["linear_gain"] < 0.1 and skill["ridge_ctx"] < 0.1  # the signal is in no feature that they see
    assert np.allclose(
        found["ensemble"], (found["histgbm_bag_gated"] + found["season_only"] + found["histgbm_res"]) / 3
    )
    for both, trees, net, x in (
        ("trees_net", "histgbm_res", "net_res", test.x), ("trees_net_s1_frozen", "res_s1_frozen", "net_s1_frozen", still),
    ):  # fmt: skip
        model = models.plain["net_res"]
        seen = Sheet(NAMES, BANDS, x).of_set("res")
        far = (np.abs((seen - model.net.mean) / model.net.spread) > CLIP).any(axis=1)
        assert far.any() and not far.all()
        assert np.array_equal(found[both][far], found[trees][far])
        assert np.allclose(found[both][~far], (found[trees] + found[net])[~far] / 2)
    assert skill["net_res"] > 0.6 and skill["trees_net"] > 0.6 and skill["net_s1_frozen"] < 0.1
    assert np.allclose(found["histgbm_res_shrink"], models.shrink * found["histgbm_res"])
    assert 0.9 < models.shrink <= 1.0


def test_linear_rivals_learn_from_clear_dates_alone(half, fold, monkeypatch):
    seen = set()

    def spy(rows, at):
        seen.update(rows.pairs[i] for i in np.unique(rows.pair[at]))
        raise StopIteration

    monkeypatch.setattr(strict_methods, "fit_linear", spy)
    with pytest.raises(StopIteration):
        strict_methods.fit_fold(half, fold, linear_net)
    assert seen and seen <= set(fold.train_pairs) and "2018-11-01" not in {d for pair in seen for d in pair}


def test_ridge_finds_a_signal_in_its_features():
    rows = made([("a", "b")], 2000)
    change = 0.1 * rows.x[:, [NAMES.index("dVH_mean5")]] * np.array([1.0, 2.0])
    lit = Rows(NAMES, BANDS, rows.x, change.astype(np.float32), rows.pair, rows.rank, rows.pairs)
    found = strict_methods.fit_linear(lit, np.arange(1000))["ridge_ctx"].predict(lit.sheet(np.arange(1000, 2000)))
    assert np.abs(found - change[1000:]).max() < 0.01


def test_only_clear_dates_train_the_context_baseline(half, fold, monkeypatch):
    seen = {}

    def spy(rows, at, features, recipe, seed):
        seen.setdefault(features, set()).update(rows.pairs[i] for i in np.unique(rows.pair[at]))
        raise StopIteration

    monkeypatch.setattr(strict_methods, "learn", spy)
    for name in ("ctx", "season"):
        monkeypatch.setattr(strict_methods, "PLAIN", {k: v for k, v in ORIGINAL.items() if v[0] == name})
        with pytest.raises(StopIteration):
            strict_methods.fit_fold(half, fold, linear_net)
    assert not {d for pair in seen["ctx"] for d in pair} & {"2018-11-01"}
    assert {d for pair in seen["season"] for d in pair} & {"2018-11-01"}


def test_of_pairs_takes_the_same_number_from_each():
    rows = made([("a", "b"), ("c", "d"), ("e", "f")], 100)
    at = rows.of_pairs({("a", "b"), ("e", "f")}, 50)
    assert np.bincount(rows.pair[at], minlength=3).tolist() == [25, 0, 25]
    assert len(rows.of_pairs({("a", "b")})) == 100 and not len(rows.of_pairs(set()))


def test_draw_takes_usable_pixels_only():
    planes = {"a": np.arange(16.0).reshape(4, 4)}
    change = np.zeros((4, 4, 1))
    change[0, 0] = np.nan
    usable = np.zeros((4, 4), bool)
    usable[0] = True
    rows = strict_rows.draw([("x", "y")], lambda _: 10, lambda _: (planes, change, usable), ("a",), ("a",), 0)
    assert sorted(rows.x[:, 0].tolist()) == [1.0, 2.0, 3.0] and rows.rank.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="no training pair"):
        strict_rows.draw([("x", "y")], lambda _: 10, lambda _: (planes, change, usable & False), ("a",), ("a",), 0)


def test_changed_rows_follow_the_rule_of_the_scorer():
    sheet = Sheet(("B04", "B08"), BANDS, np.array([[0.1, 0.3], [0.1, 0.3], [0.1, 0.3]], np.float32))
    # mean of |change|: 0.03; 0.005 with dNDVI 0.02; 0.019 with dNDVI 0.116
    change = np.array([[0.03, 0.03], [0.005, -0.005], [0.03, -0.008]])
    assert strict_methods.changed_rows(sheet, change)[:, 0].tolist() == [1.0, 0.0, 1.0]
