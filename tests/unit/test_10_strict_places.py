"""Places left out: the range of scene means, and the factor that several training places ask for."""

import dataclasses

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from utils.science import strict_places, strict_rows
from utils.science.res_features import SceneFacts
from utils.science.strict_rows import Rows, Sheet
from utils.science.trees import Recipe

BANDS = ("B04", "B08")
NAMES = strict_rows.all_names(BANDS, ("res", "relative"))
QUICK = Recipe(iterations=25, rate=0.2, leaves=8, min_leaf=30, l2=1.0)


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(limits=1, user_api="openmp"):
        yield


def facts(*means):
    return SceneFacts((0.0, 0.0), (0.0, 0.0), (-10.0, -17.0), means, (0.02, 0.1, 0.2))


def test_range_by_hand():
    limits = strict_places.range_of([facts(0.05, 0.30, 0.6), facts(0.09, 0.20, 0.4)])
    assert np.allclose(limits.low, (0.04, 0.15, 0.3)) and np.allclose(limits.high, (0.10, 0.35, 0.7))
    assert limits.holds(facts(0.041, 0.349, 0.5)) and not limits.holds(facts(0.039, 0.3, 0.5))
    assert not limits.holds(facts(0.05, float("nan"), 0.5))
    with pytest.raises(ValueError, match="no training scene"):
        strict_places.range_of([facts(float("nan"), 0.2, 0.4)])


def rows(slope, seed):
    """Changes that follow the guided radar with the slope of this place."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3000, len(NAMES))).astype(np.float32)
    y = slope * 0.05 * x[:, [NAMES.index("dVH_g4")]] * np.ones((1, 2)) + 0.01 * rng.normal(size=(3000, 2))
    return Rows(
        NAMES, BANDS, x, y.astype(np.float32), np.zeros(3000, np.int32), np.arange(3000, dtype=np.int32), (("a", "b"),)
    )


@pytest.mark.parametrize("slopes,expected", [((1.0,), 0.5), ((1.0, 1.0), 0.5), ((1.0, 0.2), 0.38), ((1.0, -1.0), 0.0)])
def test_factor_is_what_leaving_places_out_asks_for(slopes, expected):
    """Slopes 1 and 0.2: each predicts the other with the wrong size, <m, r> / <m, m> = 2 * 0.2 / (1 + 0.04) = 0.38."""
    limits = strict_places.range_of([facts(0.05, 0.30, 0.6)])
    given = {f"p{i}": rows(slope, i) for i, slope in enumerate(slopes)}
    model = strict_places.fit_places(given, limits, QUICK, 3000, 1)
    print(f"factor {model.shrink:.3f} (by hand {expected})")
    assert model.shrink == pytest.approx(expected, abs=0.03)


def test_methods_are_what_their_names_say():
    limits = strict_places.range_of([facts(0.05, 0.30, 0.6)])
    model = strict_places.fit_places({"p": rows(1.0, 0)}, limits, QUICK, 3000, 1)
    test = rows(1.0, 5)
    sheet = Sheet(NAMES, BANDS, test.x)
    out, inside = model.predict(sheet, False), model.predict(sheet, True)
    assert set(out) == set(strict_places.METHODS) - {"copy_t0"}
    assert np.array_equal(out["relative_half"], out["relative"] / 2)
    assert np.array_equal(out["by_range"], out["relative"]) and np.array_equal(inside["by_range"], out["histgbm_res"])
    own = ((out["histgbm_res"] - test.y) ** 2).sum() / (test.y**2).sum()
    assert own < 0.2
    whole = dataclasses.replace(model, shrink=1.0).predict(sheet, False)["relative"]
    assert ((whole - test.y) ** 2).sum() < 0.2 * (test.y**2).sum()
