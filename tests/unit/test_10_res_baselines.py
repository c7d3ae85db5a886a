"""season_only and histgbm_res as rivals: the calendar alone explains a season, the radar a place."""

import datetime as dt

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from utils.science import baselines, metrics
from utils.science.baselines import Inputs, Labelled

BANDS = ("B04", "B03", "B02", "B08")
DAYS = [dt.date(2018, month, 1) for month in (1, 3, 5, 7, 9, 11)]


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(limits=1, user_api="openmp"):
        yield


def made(seed, day, season):
    """One place of 8 px fields: NIR follows the season (+-0.1), or falls by 0.1 where VH of a field fell by 3 dB.

    The place is the same at every seed: where each sample has scene means of its own, trees take them for the date.
    """
    rng = np.random.default_rng(seed)
    s2 = np.kron(np.random.default_rng(99).uniform(0.05, 0.4, (6, 6, 4)), np.ones((8, 8, 1)))
    drop = np.kron(rng.random((6, 6)) < 0.4, np.ones((8, 8))).astype(bool)
    s1_t0 = np.stack([np.full(drop.shape, 0.1), np.full(drop.shape, 0.02)], axis=-1)
    s1_t1 = s1_t0 * np.where(drop, 0.5, 1.0)[..., None]
    change = 0.1 * np.cos(2 * np.pi * day.timetuple().tm_yday / 365.25) if season else -0.1 * drop
    s2_t1 = s2.copy()
    s2_t1[..., 3] += change
    return Labelled(
        Inputs(s1_t0, s1_t1, s2, BANDS, (0.0, 0.0), dt.date(2018, 2, 1), day), s2_t1, np.ones(drop.shape, bool)
    )


def skill(name, season):
    train = [made(i, DAYS[i % 6], season) for i in range(12)]
    model = baselines.fit(name, lambda: iter(train), 12, 12000, 1)
    test = made(50, DAYS[2], season)
    return metrics.change_skill(model(test.inputs), test.s2_t1, test.inputs.s2_t0, test.mask)


def test_season_only_knows_the_season_and_no_radar():
    assert skill("season_only", season=True) > 0.9
    assert skill("season_only", season=False) < 0.5


def test_histgbm_res_knows_both():
    season, radar = (skill("histgbm_res", value) for value in (True, False))
    print(f"histgbm_res: season {season:.2f}, radar {radar:.2f} (limit 0.9, 0.8)")
    assert season > 0.9 and radar > 0.8


def test_nothing_to_learn_is_said():
    with pytest.raises(ValueError, match="clear pixel"):
        baselines.fit("season_only", lambda: iter([]), 0, 100, 0)
    empty = made(0, DAYS[0], True)
    dark = Labelled(empty.inputs, empty.s2_t1, np.zeros_like(empty.mask))
    with pytest.raises(ValueError, match="usable pixel"):
        baselines.fit("histgbm_res", lambda: iter([dark]), 1, 100, 0)
