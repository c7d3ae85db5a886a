"""Features of the residual trees: values by hand, what no set may hold, tiles against their scene."""

import dataclasses
import datetime as dt

import numpy as np
import pytest

from utils.science import baselines, guided, res_features
from utils.science.res_features import View

BANDS = ("B04", "B03", "B02", "B08")


def view(seed=0, size=40, **changed):
    rng = np.random.default_rng(seed)
    s2 = 0.05 + 0.3 * rng.random((size, size, 4))
    s1 = [10 ** (rng.normal([-11, -17], 1.0, (size, size, 2)) / 10) for _ in range(2)]
    given = {"day_t0": dt.date(2018, 4, 1), "day_t1": dt.date(2018, 7, 1)} | changed
    return View(s1[0], s1[1], s2, BANDS, **given)


def test_calendar_by_hand():
    found = res_features.calendar(dt.date(2018, 1, 1), dt.date(2018, 4, 2))
    angle = 2 * np.pi * 92 / 365.25
    assert found["day_t1_sin"] == pytest.approx(np.sin(angle)) and found["day_t1_cos"] == pytest.approx(np.cos(angle))
    assert found["gap_days"] == 91.0
    assert res_features.calendar(dt.date(2018, 7, 1), dt.date(2018, 4, 2))["gap_days"] == -90.0
    assert np.isnan(list(res_features.calendar(None, None).values())).all()


def test_scene_facts_by_hand():
    s1_t0 = np.full((2, 2, 2), 0.1)  # -10 dB
    s1_t1 = np.array([[[0.1, 0.01], [0.1, 0.1]], [[0.1, 0.1], [0.2, 0.0]]])
    s2 = np.broadcast_to([0.1, 0.1, 0.1, 0.3], (2, 2, 4))
    facts = res_features.scene_facts(View(s1_t0, s1_t1, s2, BANDS))
    # the last pixel has no VH: three pixels are left, VV -10 dB each, VH -20, -10, -10
    assert facts.ds1_median == pytest.approx((0.0, 0.0)) and facts.s1_t1_median == pytest.approx((-10.0, -10.0))
    assert facts.guide_mean == pytest.approx((0.1, 0.1, 0.1, 0.3, 0.5)) and facts.guide_std == pytest.approx(
        (0,) * 5, abs=1e-12
    )


def test_guided_planes_are_the_filter_of_the_parts():
    given = view()
    planes = res_features.planes_of(given)
    seen = given.seen_t0
    guide, _, _ = guided.standardised(res_features.guide_of(given.s2_t0, BANDS), seen)
    vh = [10 * np.log10(image[..., 1]) for image in (given.s1_t0, given.s1_t1)]
    smooth = guided.GuidedFilter(guide, seen, 12, 0.02)
    assert np.allclose(planes["VH_t1_g12"], smooth.apply(vh[1]))
    shift = np.median(vh[1] - vh[0])
    assert np.allclose(planes["dVH_g12"], smooth.apply(vh[1] - vh[0]) - shift)
    assert np.allclose(planes["cross_t0_g12"], planes["VH_t0_g12"] - planes["VV_t0_g12"])


def test_context_equals_that_of_the_baseline():
    given = view()
    facts = res_features.scene_facts(given)
    planes = res_features.planes_of(given)
    inputs = baselines.Inputs(given.s1_t0, given.s1_t1, given.s2_t0, BANDS, facts.ds1_median)
    own = res_features.columns(planes, res_features.names_of("ctx", BANDS))
    theirs = baselines.features(inputs).reshape(-1, own.shape[1])
    assert np.allclose(own, theirs, atol=1e-5)


def test_no_set_holds_what_its_name_excludes():
    sets = {name: res_features.names_of(name, BANDS) for name in res_features.SETS}
    radar = ("VV", "VH", "cross", "dV")
    assert not [n for n in (*sets["season"], *sets["no_s1"]) if n.startswith(radar) or "dV" in n or "VV" in n]
    assert not set(res_features.CALENDAR) & {*sets["res_no_calendar"], *sets["ctx"], *sets["no_s1"], *sets["relative"]}
    assert set(res_features.CALENDAR) <= set(sets["res"]) & set(sets["season"]) & set(sets["means"])
    assert not [n for n in sets["relative"] if n in BANDS or "mean9" in n or n.startswith("scene_")]
    assert all(len(names) == len(set(names)) for names in sets.values())
    planes = res_features.planes_of(view(size=20))
    assert all(set(names) <= set(planes) for names in sets.values())
    with pytest.raises(ValueError, match="unknown features"):
        res_features.names_of("none", BANDS)


def test_relative_features_do_not_know_the_level_of_a_place():
    given = view()
    brighter = dataclasses.replace(given, s2_t0=given.s2_t0 * 1.0 + 0.1)
    names = [n for n in res_features.names_of("relative", BANDS) if n.startswith("z_B")]
    first, second = (res_features.columns(res_features.planes_of(v), names) for v in (given, brighter))
    assert np.allclose(first, second, atol=1e-4)


def test_a_tile_takes_the_facts_of_its_scene():
    given = view(size=48)
    facts = res_features.scene_facts(given)
    part = (slice(0, 24), slice(8, 40))
    tile = dataclasses.replace(
        given, s1_t0=given.s1_t0[part], s1_t1=given.s1_t1[part], s2_t0=given.s2_t0[part], facts=facts
    )
    whole, cut = res_features.planes_of(given), res_features.planes_of(tile)
    for name in ("scene_dVV_median", "scene_B08", "scene_NDVI", "scene_dVH_spread"):
        assert cut[name] == whole[name]
    assert np.allclose(cut["z_B08"], whole["z_B08"][part]) and np.allclose(cut["dVV"], whole["dVV"][part])
    assert not np.isclose(
        res_features.planes_of(dataclasses.replace(tile, facts=None))["scene_B08"], whole["scene_B08"]
    )


def test_frozen_radar_shows_no_change():
    planes = res_features.planes_of(view().frozen())
    for name in ("dVV_g4", "dVH_g12", "dVV_mean15", "dVH"):
        assert np.abs(planes[name]).max() < 1e-9
    assert planes["scene_dVV_median"] == 0.0 and planes["scene_dVH_spread"] == 0.0


def test_clouds_and_missing_radar_are_missing_values():
    given = view()
    cloudy = np.ones((40, 40), bool)
    cloudy[:10, :10] = False
    s2 = given.s2_t0.copy()
    s2[:10, :10] = 5.0  # a bright cloud must not reach its neighbours
    dark = dataclasses.replace(given, clear_t0=cloudy)
    bright = dataclasses.replace(given, s2_t0=s2, clear_t0=cloudy)
    for name in res_features.names_of("res", BANDS):
        first, second = (res_features.planes_of(v)[name] for v in (dark, bright))
        assert np.allclose(first, second, equal_nan=True), name
    planes = res_features.planes_of(bright)
    assert np.isnan(planes["VV_t1_g4"][:10, :10]).all() and np.isfinite(planes["VV_t1_g4"][12:, 12:]).all()
    s1 = given.s1_t1.copy()
    s1[5, 5] = 0.0
    hole = res_features.planes_of(dataclasses.replace(given, s1_t1=s1))
    assert np.isnan(hole["dVV_g4"][5, 5]) and np.isnan(hole["dVV_g4"]).sum() == 1 and np.isfinite(hole["B08"]).all()


def test_columns_pick_pixels():
    planes = {"a": np.arange(6.0).reshape(2, 3), "b": 7.0}
    assert res_features.columns(planes, ("b", "a"), np.array([4, 1])).tolist() == [[7.0, 4.0], [7.0, 1.0]]
    assert res_features.columns(planes, ("a",)).shape == (6, 1)


def test_planes_of_the_season_are_those_of_all():
    seen = np.ones((40, 40), bool)
    seen[:9, :9] = False
    one = view(3, clear_t0=seen)
    every, season = res_features.planes_of(one), res_features.season_planes(one)
    names = res_features.names_of("season", BANDS)
    assert set(names) <= set(season) and not any("VV_t0" in name or "_g4" in name for name in season)
    np.testing.assert_array_equal(res_features.columns(season, names), res_features.columns(every, names))
