"""Radar model of the scene simulator: gamma nought of the ground, correlated speckle, digital numbers.

gamma nought is linear power. Burned vegetation changes by a parameter, not by a claim: the size of the effect at
C band is uncertain (0.5 to 3 dB in VH), and most other changes of the scene are as large.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from utils.science.synth import CROP, FOREST, GRASS, ROAD, URBAN, WATER, WOODLAND, Scene
from utils.science.synth_fields import F32, power_noise

VOLUME_DB = (-8.3, -14.0)
GROUND_DB = (-15.5, -24.0)
MOISTURE_DB = (26.0, 16.0)
WATER_DB = (-19.0, -27.0)
URBAN_DB = (-4.0, -11.5)
TEXTURE_DB = 0.6
# a complex Gaussian field smoothed with this sigma has, after bilinear terrain correction, intensity correlation
# .70/.24/.04 at lags 1/2/3, as real terrain-corrected GRD has (measured in the tests)
SPECKLE_SIGMA_PX = 1.07
# five looks, the last a weak one: (sum w)^2 / sum w^2 = 4.4 equivalent looks
LOOK_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 0.2207)


def _linear(db: Any) -> F32:
    return np.asarray(np.power(np.float32(10), np.asarray(db, dtype=np.float32) / np.float32(10)), dtype=np.float32)


def gamma_nought(scene: Scene, date: int) -> F32:
    """(2, rows, cols) float32 gamma nought VV, VH of one date (0 or 1) on the domain, linear power, no speckle.

    Ground and volume are mixed by 1 - exp(-2.2 volume); both dates share a texture that belongs to the place.
    A burn multiplies VH by burn_vh_db times severity, class weight and wetness, and raises VV a little.
    """
    cover, volume, moisture = scene.cover, scene.volume[0], scene.moisture[date]
    if date == 1:
        # the burn's own volume loss is replaced by the parameter below; harvest, curing and logging stay
        share = _class_table({FOREST: 0.45, WOODLAND: 0.50, GRASS: 0.70, CROP: 0.70})[cover]
        volume = scene.volume[1] / (1 - share * scene.radar_severity)
    opacity = 1 - np.exp(np.float32(-2.2) * volume)
    texture = power_noise(scene.params.seed, "texture", cover.shape, 1.4, longest_px=60.0)
    built = power_noise(scene.params.seed, "buildings", cover.shape, 0.6, longest_px=20.0)
    layers = []
    for pol in range(2):
        ground = _linear(GROUND_DB[pol] + MOISTURE_DB[pol] * moisture)
        power = (1 - opacity) * ground + opacity * _linear(VOLUME_DB[pol])
        power *= _linear(np.float32(TEXTURE_DB) * texture)
        if date == 1:
            power *= _linear(_burn_db(scene, pol))
        water, urban, road = cover == WATER, cover == URBAN, cover == ROAD
        power[road] = 0.8 * ground[road]
        power[water] = _linear(WATER_DB[pol] + 0.5 * texture[water])
        power[urban] = _linear(URBAN_DB[pol] + 2.0 * built[urban])
        layers.append(power)
    return np.stack(layers)


def _class_table(values: dict[int, float]) -> F32:
    return np.array([values.get(code, 0.0) for code in range(8)], dtype=np.float32)


def _burn_db(scene: Scene, pol: int) -> F32:
    """Change in dB of severe burns: VH by the parameter, VV by a tenth of it upwards; weaker on dry ground."""
    weight = _class_table({FOREST: 1.0, WOODLAND: 1.0, GRASS: 0.6, CROP: 0.3})[scene.cover]
    wetness = np.clip(np.float32(0.75) + np.float32(1.5) * scene.moisture[1], 0.75, 1.0)
    factor = scene.params.burn_vh_db * (1.0 if pol == 1 else -0.1)
    return np.asarray(np.float32(factor) * scene.radar_severity * weight * wetness, dtype=np.float32)


@njit(cache=True)
def _smooth_power(re: Any, kernel: Any, weight: float, out: Any, work: Any) -> None:  # pragma: no cover - compiled
    """out += weight * (field smoothed along both axes)^2; the field is larger than out by the kernel's ends."""
    rows, cols = out.shape
    n = kernel.size
    for i in range(rows + n - 1):
        for j in range(cols):
            total = np.float32(0.0)
            for k in range(n):
                total += kernel[k] * re[i, j + k]
            work[i, j] = total
    for i in range(rows):
        for j in range(cols):
            total = np.float32(0.0)
            for k in range(n):
                total += kernel[k] * work[i + k, j]
            out[i, j] += weight * total * total


def speckle(rng: np.random.Generator, shape: tuple[int, int], sigma_px: float = SPECKLE_SIGMA_PX,
            weights: tuple[float, ...] = LOOK_WEIGHTS) -> F32:
    """(lines, samples) float32 multiplicative speckle of mean 1: intensity of smoothed complex Gaussian looks.

    sigma_px  Gaussian smoothing of the complex field; 0 gives uncorrelated speckle
    weights   weight of each look; equivalent looks = (sum w)^2 / sum w^2
    """
    half = math.ceil(3.5 * sigma_px)
    taps = np.exp(-0.5 * (np.arange(-half, half + 1) / max(sigma_px, 1e-6)) ** 2)
    kernel = (taps / np.sqrt((taps**2).sum())).astype(np.float32)
    out = np.zeros(shape, dtype=np.float32)
    work = np.empty((shape[0] + 2 * half, shape[1]), dtype=np.float32)
    for weight in weights:
        for _ in range(2):
            white = rng.standard_normal((shape[0] + 2 * half, shape[1] + 2 * half), dtype=np.float32)
            _smooth_power(white, kernel, np.float32(weight / (2 * sum(weights))), out, work)
    return out


def digital_numbers(beta0: F32, eta: F32, a_beta: float, grain: F32 | None) -> NDArray[np.uint16]:
    """(lines, samples) uint16 DN = sqrt(speckle * (beta0 A^2 + eta)), rounded; 0 where no ground was simulated.

    eta   thermal noise power in DN^2; it is received before detection and speckles like the signal
    """
    power = beta0 * np.float32(a_beta**2) + eta
    if grain is not None:
        power = power * grain
    dn = np.clip(np.rint(np.sqrt(power)), 1, 65535).astype(np.uint16)
    dn[beta0 <= 0] = 0
    return dn
