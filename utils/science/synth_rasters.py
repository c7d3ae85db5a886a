"""A simulated scene as preprocessing would give it: both sensors on one map grid, without products and geometry.

The full simulator writes SAFE products and the chain geocodes them; hundreds of scenes for training networks need no
more than this: the same ground, the same reflectance and backscatter, speckle as correlated as terrain-corrected GRD,
the speckle filter of preprocessing. Left out: terrain geometry (the flattened product has none left), thermal noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from utils.science import reflectance as codes
from utils.science import speckle, synth_optical, synth_sar
from utils.science.synth import Scene, SceneParams, make_scene
from utils.science.synth_fields import F32, generator

# complex field smoothed with 1.18 px: intensity correlation .70/.24/.04 at lags 1/2/3, as real terrain-corrected GRD has
MAP_SPECKLE_SIGMA_PX = 1.18
LOOKS = 4.4
CLOUD_DILATE_M = 40.0
MAX_FIRES = 4
_EDGE_PX = 16  # filters and shifts see ground beyond the area; the edge is cut off afterwards


@dataclass(frozen=True)
class SceneRasters:
    """Two dates on one grid of 10 m.

    s1         two dates: (2, rows, cols) float32 gamma nought VV, VH, linear power, speckle filtered
    s2         two dates: (7, rows, cols) float32 reflectance as observed, in the order of synth_optical.BANDS
    cloud      two dates: (rows, cols) uint8 codes of cloud.tif
    clear_t1   (7, rows, cols) float32 reflectance of t1 without cloud and noise: the hidden truth
    severity   (rows, cols) float32 share of the fuel burned
    """

    s1: tuple[F32, F32]
    s2: tuple[F32, F32]
    cloud: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    clear_t1: F32
    severity: F32


def scenes(params: SceneParams, count: int) -> Iterator[SceneParams]:
    """Parameters of `count` scenes: a seed and 0 to 4 fires each, drawn from the seed of `params`."""
    for number in range(count):
        rng = generator(params.seed, f"scene {number}")
        fires, seed = int(rng.integers(MAX_FIRES + 1)), int(rng.integers(1, 2**31))
        yield replace(params, seed=seed, fires=fires, pad_px=_EDGE_PX)


def rasters(params: SceneParams, filter_name: speckle.FilterName = "lee_sigma", window_px: int = 7) -> SceneRasters:
    """Simulate one scene; deterministic in `params`, whose pad must be at least 16 px.

    raises  ValueError for a smaller pad
    """
    if params.pad_px < _EDGE_PX:
        raise ValueError(f"pad {params.pad_px} px is smaller than {_EDGE_PX} px")
    scene = make_scene(params)
    clear = [synth_optical.reflectance(scene, date, _EDGE_PX) for date in (0, 1)]
    fractions = (0.0, params.cloud_fraction)
    seen, cloud = zip(*(_optical(scene, clear[d], d, fractions[d]) for d in (0, 1)), strict=True)
    radar = tuple(_radar(scene, date, filter_name, window_px) for date in (0, 1))
    quiet = replace(params, confusers=params.confusers - {"noise"})
    none = synth_optical.clouds(scene, "none", 0.0, 45.0, _EDGE_PX)
    truth = synth_optical.observe(replace(scene, params=quiet), clear[1], 1, none, "truth")
    return SceneRasters(
        (radar[0], radar[1]), (seen[0], seen[1]), (cloud[0], cloud[1]), _cut(truth), scene.severity[scene.window()]
    )


def _cut(array: F32) -> F32:
    return np.ascontiguousarray(array[..., _EDGE_PX:-_EDGE_PX, _EDGE_PX:-_EDGE_PX])


def _optical(scene: Scene, clear: F32, date: int, fraction: float) -> tuple[F32, NDArray[np.uint8]]:
    """Observed reflectance and cloud codes of one date on the area."""
    name = f"t{date}"
    sky = synth_optical.sky(scene, date)
    cover = synth_optical.clouds(scene, name, fraction, sky.elevation_deg, _EDGE_PX)
    seen = synth_optical.observe(scene, clear, date, cover, name)
    scl = synth_optical.scene_classes(scene, seen, cover, _EDGE_PX)
    fine = codes.nearest_2x(codes.cloud_codes(scl, CLOUD_DILATE_M, 20.0))
    return _cut(seen), np.ascontiguousarray(fine[_EDGE_PX:-_EDGE_PX, _EDGE_PX:-_EDGE_PX])


def _radar(scene: Scene, date: int, filter_name: speckle.FilterName, window_px: int) -> F32:
    """Speckled and filtered gamma nought of one date on the area."""
    out = []
    for name, power in zip(("VV", "VH"), synth_sar.gamma_nought(scene, date), strict=True):
        rng = generator(scene.params.seed, f"speckle t{date} {name}")
        noisy = power * synth_sar.speckle(rng, power.shape, MAP_SPECKLE_SIGMA_PX)
        out.append(speckle.speckle_filter(noisy, filter_name, window_px, LOOKS))
    return _cut(np.stack(out))
