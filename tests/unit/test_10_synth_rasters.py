"""Scenes in raster form: what the two sensors see of them, and that scenes differ."""

from __future__ import annotations

import numpy as np
import pytest

from utils.io.synth_rasters import grid_of
from utils.science import synth_rasters
from utils.science.synth import SceneParams
from utils.science.synth_optical import BANDS
from utils.science.synth_rasters import SceneRasters, rasters, scenes

BASE = SceneParams(seed=5, size_px=256, cloud_fraction=0.1)


@pytest.fixture(scope="module")
def made() -> SceneRasters:
    params = next(p for p in scenes(BASE, 20) if p.fires == 3)
    return rasters(params)


def test_scenes_are_reproducible_and_differ_in_seed_and_number_of_fires() -> None:
    first, again = list(scenes(BASE, 40)), list(scenes(BASE, 40))
    assert first == again and len({p.seed for p in first}) == 40
    assert {p.fires for p in first} == {0, 1, 2, 3, 4}
    assert list(scenes(BASE, 10)) == first[:10]  # more scenes do not change the earlier ones


def test_shapes_and_codes(made: SceneRasters) -> None:
    assert made.s1[0].shape == (2, 256, 256) and made.s2[1].shape == (len(BANDS), 256, 256)
    assert (made.cloud[0] == 0).all()
    cloudy = np.isin(made.cloud[1], (1, 2)).mean()
    assert 0.10 < cloudy < 0.5  # a tenth under cloud, more with shadow and dilation


def test_the_truth_is_what_was_seen_where_the_sky_is_clear(made: SceneRasters) -> None:
    """Noise 0.0025 and cloud too thin to be flagged are all that separates the two."""
    clear = made.cloud[1] == 0
    error = made.s2[1][:, clear] - made.clear_t1[:, clear]
    assert 0.002 < error.std() < 0.02 and abs(np.median(error)) < 0.001
    assert (made.s2[1] - made.clear_t1)[:, made.cloud[1] == 1].mean() > 0.03


def test_fires_darken_the_near_infrared_and_lower_vh(made: SceneRasters) -> None:
    nir = BANDS.index("B08")
    severe, unburnt = made.severity > 0.5, made.severity == 0
    fall = made.s2[0][nir] - made.clear_t1[nir]
    assert fall[severe].mean() > fall[unburnt].mean() + 0.05
    vh = 10 * np.log10(made.s1[1][1] / made.s1[0][1])
    assert np.median(vh[severe]) < np.median(vh[unburnt]) - 0.5


def test_speckle_is_as_correlated_as_on_real_terrain_corrected_images() -> None:
    """Unfiltered: .70, .24, .04 at lags 1, 2, 3 (real: .70, .27, .05)."""
    from utils.science.synth_sar import speckle

    field = speckle(np.random.default_rng(3), (1200, 1200), synth_rasters.MAP_SPECKLE_SIGMA_PX)
    field = field - field.mean()
    lags = [float((field[:, k:] * field[:, :-k]).mean() / field.var()) for k in (1, 2, 3)]
    print(f"lag correlations {lags[0]:.2f} {lags[1]:.2f} {lags[2]:.2f}")
    assert lags == pytest.approx([0.70, 0.24, 0.04], abs=0.03)


def test_the_filter_of_preprocessing_takes_speckle_off_and_keeps_the_mean() -> None:
    params = next(scenes(BASE, 1))
    raw, filtered = rasters(params, "none"), rasters(params, "lee_sigma")
    spread = [float(np.std(10 * np.log10(r.s1[1][0] / r.s1[0][0]))) for r in (raw, filtered)]
    print(f"change of VV between the dates: sd {spread[0]:.2f} dB, filtered {spread[1]:.2f} dB")
    assert spread[1] < 0.75 * spread[0]
    assert np.mean(filtered.s1[0][0]) == pytest.approx(float(np.mean(raw.s1[0][0])), rel=0.05)


def test_a_pad_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="pad 4 px"):
        rasters(SceneParams(seed=1, size_px=128, pad_px=4))


def test_scenes_lie_apart_on_the_map() -> None:
    grids = [grid_of(n, (700000.0, 6100000.0), 32755, 512) for n in range(17)]
    corners = np.array([(g.x0, g.y0) for g in grids])
    gaps = [np.abs(corners[i] - corners[j]).max() for i in range(17) for j in range(i)]
    assert min(gaps) == 20_000.0 and grids[8].y0 == 6080000.0
