"""The simulated ground and what both sensors see of it: statistics, switches, seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from utils.science import synth_optical as optical
from utils.science import synth_sar as sar
from utils.science.synth import CONFUSERS, FOREST, URBAN, WATER, Scene, SceneParams, make_scene
from utils.science.synth_fields import contour_line, parcels, power_noise, spread_places

PARAMS = SceneParams(seed=20191106, size_px=600, pad_px=20)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(PARAMS)


def _ndvi(bands: np.ndarray) -> np.ndarray:
    red, nir = bands[optical.BANDS.index("B04")], bands[optical.BANDS.index("B08")]
    return (nir - red) / (nir + red)


def _db(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power)


def test_power_noise_has_the_asked_spectrum() -> None:
    field = power_noise(1, "x", (512, 512), 2.0, longest_px=1e6)
    power = np.abs(np.fft.fft2(field)) ** 2
    f = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.fftfreq(512)[None, :])
    low, high = (power[(f > a) & (f < b)].mean() for a, b in ((0.02, 0.03), (0.16, 0.24)))
    # 1/f^2 over a factor of eight in frequency: 64
    assert low / high == pytest.approx(64, rel=0.25)
    assert field.mean() == pytest.approx(0, abs=1e-4) and field.std() == pytest.approx(1, abs=1e-3)


def test_coarse_noise_has_the_asked_shape_and_scale() -> None:
    field = power_noise(1, "x", (301, 203), 3.0, coarse=4)
    assert field.shape == (301, 203) and 0.5 < field.std() < 1.5


def test_contour_line_width_is_in_pixels() -> None:
    ramp = np.tile(np.arange(100, dtype=np.float32) * 0.1, (5, 1))
    line = contour_line(ramp, 5.0, 1.5)
    assert line[2].nonzero()[0].tolist() == [49, 50, 51]


def test_parcels_are_connected_rectangles_of_the_asked_size() -> None:
    ids = parcels(3, "p", (200, 200), 20.0, 30.0, 0.0)
    _, counts = np.unique(ids, return_counts=True)
    assert np.median(counts) == pytest.approx(20 * 33, rel=0.3)
    assert np.unique(ids[:20, 0]).size == 1  # one row of parcels is 20 px high


def test_places_are_apart() -> None:
    places = np.array(spread_places(5, "f", np.ones((300, 300), dtype=bool), 3))
    gaps = [np.hypot(*(places[i] - places[j])) for i in range(3) for j in range(i)]
    assert min(gaps) > 90


def test_same_seed_same_scene_other_seed_other_scene(scene: Scene) -> None:
    small = SceneParams(seed=7, size_px=128, pad_px=10)
    one, two, other = make_scene(small), make_scene(small), make_scene(SceneParams(seed=8, size_px=128, pad_px=10))
    assert np.array_equal(one.height_m, two.height_m) and np.array_equal(one.fractions[1], two.fractions[1])
    assert not np.array_equal(one.height_m, other.height_m)


def test_fractions_sum_to_one_on_land_and_zero_on_water(scene: Scene) -> None:
    for fractions in scene.fractions:
        total = fractions.sum(0)
        assert np.allclose(total[scene.cover != WATER], 1, atol=1e-5)
        assert np.all(total[scene.cover == WATER] == 0)
        assert fractions.min() >= -1e-6


def test_every_cover_class_is_there_and_lakes_are_flat(scene: Scene) -> None:
    shares = np.bincount(scene.cover[scene.window()].ravel(), minlength=8) / 600**2
    assert 0.005 < shares[WATER] < 0.12
    assert np.all(shares[1:8] > 0.002) and 0.25 < shares[FOREST] < 0.5
    assert np.ptp(scene.height_m) > 0.5 * PARAMS.relief_m
    slope = np.degrees(np.arctan(np.hypot(*np.gradient(scene.height_m, 10.0))))
    assert np.percentile(slope, 99) < 30


def test_fire_burns_land_only_and_spares_islands(scene: Scene) -> None:
    burnt = scene.severity > 0
    assert 0.08 < burnt[scene.window()].mean() < 0.35
    assert not burnt[(scene.cover == WATER) | (scene.cover == URBAN)].any()
    # islands: unburnt patches completely surrounded by burnt land
    assert (ndimage.binary_fill_holes(burnt) & ~burnt).sum() > 20
    assert scene.fractions[1][3][~burnt].max() == 0 and scene.fractions[1][3][burnt].mean() > 0.2


def test_balance_of_change_outside_fires(scene: Scene) -> None:
    change = _ndvi(optical.reflectance(scene, 0)) - _ndvi(optical.reflectance(scene, 1))
    window = scene.window()
    severity, land = scene.severity[window], scene.cover[window] != WATER
    outside = (change > 0.09)[land & (severity == 0)].mean()
    assert 0.03 < outside <= 0.15
    assert (change > 0.09)[severity > 0.4].mean() > 0.8


def test_radar_percentiles_are_like_real_ones(scene: Scene) -> None:
    vv, vh = sar.gamma_nought(scene, 0)[(slice(None), *scene.window())]
    assert np.median(_db(vv)) == pytest.approx(-9.5, abs=2) and np.median(_db(vh)) == pytest.approx(-15.8, abs=2)
    assert np.percentile(_db(vv), 1) < -14 and np.percentile(_db(vh), 1) < -21


def test_burn_changes_vh_by_the_parameter_and_only_there() -> None:
    quiet = SceneParams(seed=3, size_px=200, pad_px=0, fires=2, confusers=frozenset(), burn_vh_db=-2.0)
    scene = make_scene(quiet)
    change = _db(sar.gamma_nought(scene, 1) / sar.gamma_nought(scene, 0))
    assert np.abs(change[:, scene.severity == 0]).max() < 1e-3
    core = (scene.severity > 0.9) & (scene.cover == FOREST)
    wetness = np.clip(0.75 + 1.5 * scene.moisture[1], 0.75, 1)
    assert np.allclose(change[1][core], -2.0 * (scene.severity * wetness)[core], atol=2e-3)
    assert np.all(change[0][core] > 0) and change[0][core].max() <= 0.2 + 1e-3


def test_understorey_burns_are_hidden_from_the_radar(scene: Scene) -> None:
    hidden = (scene.severity > 0) & (scene.radar_severity == 0)
    assert hidden.sum() > 100
    assert np.all(scene.cover[hidden] == FOREST) and scene.severity[hidden].max() <= 0.35 + 1e-6


def test_without_confusers_and_fires_nothing_changes() -> None:
    scene = make_scene(SceneParams(seed=3, size_px=128, fires=0, confusers=frozenset()))
    assert np.array_equal(sar.gamma_nought(scene, 0), sar.gamma_nought(scene, 1))
    assert np.allclose(optical.reflectance(scene, 0), optical.reflectance(scene, 1), atol=1e-6)


@pytest.mark.parametrize("name", sorted(CONFUSERS - {"noise", "understorey"}))
def test_each_confuser_changes_something_alone(name: str) -> None:
    scene = make_scene(SceneParams(seed=11, size_px=200, fires=0, confusers=frozenset({name})))
    optics = np.abs(optical.reflectance(scene, 1) - optical.reflectance(scene, 0)).max()
    radar = np.abs(_db(sar.gamma_nought(scene, 1) / sar.gamma_nought(scene, 0))).max()
    assert max(optics / 0.01, radar / 0.3) > 1
    if name in ("sun", "haze"):
        assert radar == 0


def test_switching_one_confuser_leaves_the_others() -> None:
    full, less = (
        make_scene(SceneParams(seed=5, size_px=128, confusers=names)) for names in (CONFUSERS, CONFUSERS - {"logging"})
    )
    assert np.array_equal(full.severity > 0, less.severity > 0) and np.array_equal(full.moisture[1], less.moisture[1])


def test_unknown_confuser_is_named() -> None:
    with pytest.raises(ValueError, match="locusts"):
        SceneParams(seed=1, size_px=128, confusers=frozenset({"locusts"}))


def test_pure_endmembers_give_their_reflectance(scene: Scene) -> None:
    # water is a single endmember, times the date's gain
    gain = optical.sky(scene, 0).gain
    bands = optical.reflectance(scene, 0)
    water = scene.cover[scene.window()] == WATER
    for k in range(len(optical.BANDS)):
        assert np.allclose(bands[k][water], optical.ENDMEMBERS["water"][k] * gain[k], atol=2e-4)


def test_noise_and_clouds(scene: Scene) -> None:
    clear = optical.reflectance(scene, 0)
    none = optical.clouds(scene, "none", 0.0, 55.0)
    noise = optical.observe(scene, clear, 0, none, "a") - clear
    assert noise[3].std() == pytest.approx(optical.NOISE_SD, rel=0.02) and abs(noise[3].mean()) < 1e-4
    some = optical.clouds(scene, "t1", 0.25, 55.0)
    assert (some.cloud > optical.CLOUD_FLAG).mean() == pytest.approx(0.25, abs=0.005)
    classes = optical.scene_classes(scene, optical.observe(scene, clear, 0, some, "b"), some)
    assert np.isin(classes, (8, 9, 10)).mean() == pytest.approx(0.25, abs=0.02)
    assert 0.02 < (classes == 3).mean() < 0.3 and set(np.unique(classes)) <= {2, 3, 4, 5, 6, 8, 9, 10}


def test_shadow_lies_away_from_the_sun(scene: Scene) -> None:
    sky = optical.clouds(scene, "t1", 0.1, 45.0)
    reach = optical.CLOUD_HEIGHT_M / 10.0
    # sun at azimuth 62 degrees and elevation 45: shadow south (more rows) by cos 62 and west (fewer columns) by sin 62
    expected = ndimage.shift(sky.cloud, (reach * 0.46947, -reach * 0.88295), order=1, mode="nearest")
    assert np.corrcoef(expected.ravel(), sky.shadow.ravel())[0, 1] > 0.999
    assert 0.4 <= sky.shadow.max() / min(expected.max(), 1) <= 0.7


def test_thin_cloud_is_thickest_in_the_blue(scene: Scene) -> None:
    clear = np.zeros((7, 600, 600), dtype=np.float32)
    thin = optical.Clouds(np.full((600, 600), 0.3, dtype=np.float32), np.zeros((600, 600), dtype=np.float32))
    quiet = Scene(**{**scene.__dict__, "params": SceneParams(seed=1, size_px=600, pad_px=20, confusers=frozenset())})
    seen = optical.observe(quiet, clear, 0, thin, "x")[:, 0, 0] / np.array(optical.CLOUD_REFLECTANCE)
    assert seen[0] == pytest.approx(1 - 0.7**1.15, abs=1e-3) and np.all(np.diff(seen) < 0)


def test_speckle_statistics_after_resampling() -> None:
    grain = sar.speckle(np.random.default_rng(4), (900, 900))
    assert grain.mean() == pytest.approx(1, abs=0.01)
    assert grain.mean() ** 2 / grain.var() == pytest.approx(4.4, abs=0.15)
    # terrain correction turns the image by 13 degrees and interpolates bilinearly
    y, x = np.mgrid[:600, :600] * 0.99
    c, s = np.cos(np.radians(13)), np.sin(np.radians(13))
    mapped = ndimage.map_coordinates(grain, [y * c - x * s + 160, y * s + x * c + 10.3], order=1)
    lag = [np.corrcoef(mapped[:, d:].ravel(), mapped[:, :-d].ravel())[0, 1] for d in (1, 2, 3, 4)]
    assert lag == pytest.approx([0.70, 0.25, 0.05, 0.0], abs=0.035)


def test_white_speckle_is_white() -> None:
    grain = sar.speckle(np.random.default_rng(4), (400, 400), sigma_px=0.0, weights=(1.0,) * 4)
    assert grain.mean() ** 2 / grain.var() == pytest.approx(4.0, rel=0.04)
    assert abs(np.corrcoef(grain[1:].ravel(), grain[:-1].ravel())[0, 1]) < 0.01


def test_digital_numbers() -> None:
    beta0 = np.array([[0.0, 0.04, 0.01]], dtype=np.float32)
    # sqrt(0.04 * 474^2) = 94.8; with noise 700: sqrt(0.01 * 474^2 + 700) = 54.3
    assert sar.digital_numbers(beta0, np.float32(0) * beta0, 474.0, None).tolist() == [[0, 95, 47]]
    assert sar.digital_numbers(beta0, np.full_like(beta0, 700), 474.0, None).tolist() == [[0, 98, 54]]


def test_noise_table_is_what_the_product_can_store() -> None:
    table = sar.noise_table(1500, 900, "VH")
    assert all(float(f"{v:.6e}") == v for v in table.range_lut.ravel())
    image = table.image(1500, 900)
    assert image[667, 40] == pytest.approx(
        table.range_lut[1, 1] * np.interp(667, table.azimuth_lines, table.azimuth_lut), rel=1e-6
    )
    assert image.min() > 500 and image.max() < 1500
