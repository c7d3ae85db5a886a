"""Cloud scores: values by hand, invariants, and one cloud whose shadow must fall away from the sun."""

from __future__ import annotations

import numpy as np
import pytest

from utils.science import cloud_score as cs
from utils.science.cloud import CloudStats

CLEAR = {"B1": 0.12, "B2": 0.10, "B3": 0.10, "B4": 0.08, "B8": 0.30, "B10": 0.002, "B11": 0.20, "B12": 0.10}
CLOUD = {"B1": 0.50, "B2": 0.55, "B3": 0.55, "B4": 0.55, "B8": 0.60, "B10": 0.05, "B11": 0.40, "B12": 0.30}
DARK = {"B1": 0.10, "B2": 0.07, "B3": 0.05, "B4": 0.04, "B8": 0.09, "B10": 0.002, "B11": 0.08, "B12": 0.05}


def scene(shape: tuple[int, int] = (60, 80), spectrum: dict[str, float] = CLEAR) -> dict[str, np.ndarray]:
    return {name: np.full(shape, value) for name, value in spectrum.items()}


def paint(toa: dict[str, np.ndarray], where: tuple[slice, slice], spectrum: dict[str, float]) -> None:
    for name, value in spectrum.items():
        toa[name][where] = value


def one(spectrum: dict[str, float]) -> float:
    return float(cs.pixel_score(scene((1, 1), spectrum))[0, 0])


def test_each_term_decides_alone() -> None:
    """Bright in everything but one term: the score is that term, by hand."""
    bright = {"B1": 0.9, "B2": 0.9, "B3": 0.9, "B4": 0.9, "B8": 0.9, "B10": 0.1, "B11": 0.6}
    assert one(bright) == 1.0
    assert one(bright | {"B2": 0.3}) == pytest.approx((0.3 - 0.1) / 0.4)
    assert one(bright | {"B1": 0.16, "B10": 0.1}) == pytest.approx((0.16 - 0.1) / 0.2)
    assert one(bright | {"B1": 0.15, "B10": 0.005}) == pytest.approx((0.155 - 0.15) / 0.05)
    assert one(bright | {"B2": 0.45, "B3": 0.05, "B4": 0.0, "B11": 0.05}) == pytest.approx((0.5 - 0.2) / 0.6)
    assert one(bright | {"B8": 0.6, "B11": 0.66}) == pytest.approx(((0.6 - 0.66) / 1.26 + 0.1) / 0.2)
    assert one(bright | {"B11": 0.15}) == pytest.approx((0.75 / 1.05 - 0.8) / (0.6 - 0.8))
    assert one(bright | {"B11": 0.02}) == 0.001  # snow
    assert one(CLEAR) == 0.001 and one(DARK) == 0.001 and one(CLOUD) == pytest.approx(1.0)


def test_the_offset_of_new_baselines_would_saturate_the_cirrus_term() -> None:
    """+1000 DN on B1 and B10 adds 0.2: a clear pixel then passes the cirrus term, so the offset must be removed."""
    assert cs.ramp(np.array(CLEAR["B1"] + CLEAR["B10"]), *cs.RAMPS["cirrus"]) < 0
    assert cs.ramp(np.array(CLEAR["B1"] + CLEAR["B10"] + 0.2), *cs.RAMPS["cirrus"]) > 1


def test_l2a_is_refused() -> None:
    toa = scene()
    del toa["B10"]
    with pytest.raises(ValueError, match="band B10 is missing"):
        cs.pixel_score(toa)


def test_zero_reflectance_and_no_data() -> None:
    assert one(dict.fromkeys(CLEAR, 0.0)) == 0.001
    toa = scene((3, 3))
    toa["B3"][1, 1] = np.nan
    assert np.isnan(cs.pixel_score(toa)[1, 1]) and np.isfinite(cs.pixel_score(toa)).sum() == 8


def test_window_mean_counts_valid_pixels_only() -> None:
    values = np.zeros((21, 21))
    values[10, 10] = 121.0
    mean = cs.window_mean(values)
    assert mean[10, 10] == pytest.approx(1) and mean[5, 15] == pytest.approx(1) and mean[4, 10] == 0
    values[0, 0] = 36.0
    assert cs.window_mean(values)[0, 0] == pytest.approx(1)  # 6 x 6 of the window lie inside
    values[1, 1] = np.nan
    assert cs.window_mean(values)[0, 0] == pytest.approx(36 / 35) and np.isnan(cs.window_mean(values)[1, 1])
    assert np.allclose(cs.window_mean(np.full((30, 40), 0.3)), 0.3)


def test_circles() -> None:
    assert cs.circle(1.5).sum() == 9 and cs.circle(3).sum() == 29 and cs.circle(5).sum() == 81


def test_opening_removes_what_is_small_and_keeps_the_rest() -> None:
    values = np.zeros((60, 60))
    values[5:11, 5:11] = 1  # 6 x 6: three erosions by one pixel leave nothing
    values[30:37, 30:37] = 0.5  # 7 x 7: one pixel is left, then 3 circles of radius 3
    result = cs.opened(values, cs.ERODE_PX, cs.DILATE_PX, cs.ROUNDS)
    assert result[:20].max() == 0 and result[33, 33] == 0.5
    assert result[33, 24] == 0.5 and result[33, 23] == 0 and result[24, 33] == 0.5


def test_displacement_reads_east_and_north() -> None:
    values = np.zeros((9, 9))
    values[4, 4] = 1
    assert cs.displaced(values, 40, 0)[4, 2] == 1  # the pixel two to the west reads it
    assert cs.displaced(values, 0, 40)[6, 4] == 1  # and the pixel two to the south
    half = cs.displaced(values, 10, 0)
    assert half[4, 3] == pytest.approx(0.5) and half[4, 4] == pytest.approx(0.5)
    assert np.isnan(half[4, 8]) and np.isnan(cs.displaced(values, 1e5, 0)).all()
    assert np.isfinite(cs.displaced(values, 0, 0)).all()


@pytest.mark.parametrize(("azimuth_deg", "row_step", "col_step"), [(0, 1, 0), (90, 0, -1), (180, -1, 0), (270, 0, 1)])
def test_the_shadow_falls_away_from_the_sun(azimuth_deg: float, row_step: int, col_step: int) -> None:
    """Sun in the north: the shadow of a cloud at 2,200 m lies 110 px south of it at a zenith angle of 45 degrees."""
    toa, size = scene((301, 301)), 12
    here = (slice(150 - size, 150 + size + 1), slice(150 - size, 150 + size + 1))
    paint(toa, here, CLOUD)
    middle = 150 + row_step * 110, 150 + col_step * 110
    paint(toa, tuple(slice(c - size, c + size + 1) for c in middle), DARK)  # type: ignore[arg-type]
    opposite = 150 - row_step * 110, 150 - col_step * 110
    paint(toa, tuple(slice(c - size, c + size + 1) for c in opposite), DARK)  # type: ignore[arg-type]
    scores = cs.sen2cloudfree_scores(toa, azimuth_deg, 45.0)
    masks = cs.sen2cloudfree_masks(scores)
    assert masks.cloud[150, 150] and masks.shadow[middle] and not masks.shadow[opposite]
    assert scores["shadowScore"][middle] > 10 * scores["shadowScore"][opposite]
    assert scores["quality"][150, 150] == pytest.approx(-1, abs=1e-9) and scores["quality"][5, 5] > -0.002


def test_shadow_by_hand() -> None:
    """A cloud wide enough for one height only: mean = (1 of 40 heights x 1 + the rest x 0.001)."""
    score = np.full((1, 801), cs.LOWEST_SCORE)
    score[0, 10] = 1.0  # at 200 m and 45 degrees the cloud lies 10 px towards the sun
    cast = cs.cast_mean(score, 90.0, 45.0)  # sun in the east
    assert cast[0, 0] == pytest.approx((1.0 + 39 * 0.001) / 40)
    assert cast[0, 1] == pytest.approx(0.001)
    assert np.isnan(cast[0, 800]) and cast[0, 790] == pytest.approx(0.001)  # only the lowest height is inside


def test_water_is_no_shadow_and_cloud_is_no_shadow() -> None:
    toa = scene((1, 4), DARK)
    toa["B4"][0, 1] = 0.12  # NDVI (0.09 - 0.12) / 0.21 = -0.143
    toa["B8"][0, 2] = 0.30
    cloud = np.array([[False, False, False, True]])
    assert cs.dark_land(toa, cloud).tolist() == [[True, False, False, False]]


def test_no_data_stays_no_data_and_invariance() -> None:
    rng = np.random.default_rng(5)
    toa = {name: rng.uniform(0.0, 0.6, (40, 50)) for name in cs.TOA_BANDS}
    toa["B12"][:, :7] = np.nan
    scores = cs.sen2cloudfree_scores(toa, 40, 30)
    for values in scores.values():
        assert np.isnan(values[:, :7]).all() and np.isfinite(values[:, 7:]).all()
    assert (scores["cloudScore"][:, 7:] >= 0.001).all() and (scores["cloudScore"][:, 7:] <= 1).all()
    turned = cs.sen2cloudfree_scores({name: np.rot90(band) for name, band in toa.items()}, 40 - 90, 30)
    for name, values in scores.items():  # turning scene and sun by a quarter turns the scores
        np.testing.assert_allclose(turned[name], np.rot90(values), atol=1e-12)
    brighter = cs.pixel_score(toa | {"B10": toa["B10"] + 0.1})
    assert (brighter[:, 7:] >= cs.pixel_score(toa)[:, 7:]).all()


def test_cloud_score_plus() -> None:
    masks = cs.cloud_score_plus_masks(np.array([[0.60, 0.59, np.nan, 1.0]]))
    assert masks.cloud.tolist() == [[False, True, False, False]] and masks.valid.tolist() == [[True, True, False, True]]


def test_s2cloudless_masks() -> None:
    shape = (200, 200)
    probability, nir, scl = np.full(shape, 10.0), np.full(shape, 0.3), np.full(shape, 4.0)
    probability[90:110, 90:110] = 80.0
    probability[10:13, 10:13] = 80.0  # 3 x 3: taken off by the cleaning
    for where in ((slice(95, 105), slice(60, 75)), (slice(95, 105), slice(130, 145)), (slice(95, 105), slice(0, 15))):
        nir[where] = 0.1
    masks = cs.s2cloudless_masks(probability, nir, scl, sun_azimuth_deg=90.0)
    assert masks.shadow[100, 66] and not masks.shadow[100, 137]  # west of the cloud, the sun in the east
    assert not masks.shadow[100, 7]  # 1.5 km away
    assert masks.cloud[100, 90 - 3] and not masks.cloud[100, 90 - 4]  # 2 px off, 5 px on
    assert not masks.cloud[:40, :40].any() and not (masks.cloud & masks.shadow).any()
    scl[95:105, 60:75] = cs.SCL_WATER
    assert not cs.s2cloudless_masks(probability, nir, scl, 90.0).shadow.any()
    nir[100, 100] = np.nan
    assert not cs.s2cloudless_masks(probability, nir, scl, 90.0).cloud[100, 100]


def test_reach_follows_the_direction() -> None:
    source = np.zeros((21, 21), bool)
    source[10, 10] = True
    east = cs.within_reach(source, 0.0, 3)  # looking east: the pixels to the west find it
    assert [tuple(p) for p in np.argwhere(east)] == [(10, 7), (10, 8), (10, 9), (10, 10)]
    north = cs.within_reach(source, 90.0, 2)
    assert [tuple(p) for p in np.argwhere(north)] == [(10, 10), (11, 10), (12, 10)]


def test_statistics_divide_by_valid_pixels() -> None:
    valid = np.array([[True, True, True, False], [True, False, False, False]])
    cloud = np.array([[True, False, False, False], [False] * 4])
    shadow = np.array([[False, True, False, False], [False] * 4])
    inside = np.array([[True] * 4, [True] * 4])
    assert cs.statistics(cs.Masks(cloud, shadow, valid), inside) == CloudStats(25.0, 25.0, 0.5)
    assert cs.from_counts(10, 0, 0, 0) == CloudStats(100.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="no pixel"):
        cs.statistics(cs.Masks(cloud, shadow, valid), np.zeros((2, 4), bool))


def test_there_are_forty_heights() -> None:
    assert len(cs.HEIGHTS_M) == 40 and (cs.HEIGHTS_M[0], cs.HEIGHTS_M[1], cs.HEIGHTS_M[-1]) == (200, 450, 9950)
