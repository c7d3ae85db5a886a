"""Radar model of the scene simulator: gamma nought of the ground, correlated speckle, digital numbers.

gamma nought is linear power. Burned vegetation changes by a parameter, not by a claim: the size of the effect at
C band is uncertain (0.5 to 3 dB in VH), and most other changes of the scene are as large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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


@njit(cache=True, nogil=True)
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


def speckle(
    rng: np.random.Generator,
    shape: tuple[int, int],
    sigma_px: float = SPECKLE_SIGMA_PX,
    weights: tuple[float, ...] = LOOK_WEIGHTS,
) -> F32:
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
            _smooth_power(white, kernel, weight / (2 * sum(weights)), out, work)
    return out


@dataclass(frozen=True)
class NoiseTable:
    """Thermal noise of one polarisation in DN^2: range vectors at some lines times one azimuth vector.

    lines (n,), pixels (m,) int64; range_lut (n, m); azimuth_lines (k,) int64; azimuth_lut (k,) without unit
    """

    lines: NDArray[np.int64]
    pixels: NDArray[np.int64]
    range_lut: NDArray[np.float64]
    azimuth_lines: NDArray[np.int64]
    azimuth_lut: NDArray[np.float64]

    def image(self, lines: int, samples: int) -> F32:
        """(lines, samples) float32 noise power, bilinear in the range vectors, linear in the azimuth vector."""
        across = np.array([np.interp(np.arange(samples), self.pixels, row) for row in self.range_lut])
        along = np.arange(lines)
        place = np.clip(np.interp(along, self.lines, np.arange(len(self.lines))), 0, len(self.lines) - 1)
        k = np.minimum(place.astype(np.int64), len(self.lines) - 2)
        w = (place - k)[:, None]
        range_part = (1 - w) * across[k] + w * across[k + 1]
        scallop = np.interp(along, self.azimuth_lines, self.azimuth_lut)
        return np.asarray(range_part * scallop[:, None], dtype=np.float32)


def noise_table(lines: int, samples: int, pol: str) -> NoiseTable:
    """Noise like that of the middle swath: about 700 to 900 DN^2, a little higher for VH, scalloped by 2.5 %.

    Values are rounded to the seven digits that the product stores, so that image and tables agree.
    """
    rows = np.arange(0, lines + 667, 667)
    pixels = np.unique(np.append(np.arange(0, samples - 1, 40), samples - 1))
    x = pixels / max(samples - 1, 1) - 0.45
    level = (720.0 if pol == "VV" else 790.0) * (1 + 0.9 * x**2) * (1 + 0.002 * np.arange(len(rows))[:, None])
    azimuth_lines = np.unique(np.append(np.arange(0, lines - 1, 10), lines - 1))
    # a burst of about 1 500 output lines has its peak gain in the middle
    phase = (azimuth_lines % 1300) / 1300 - 0.5
    digits = np.vectorize(lambda v: float(f"{v:.6e}"))
    return NoiseTable(rows, pixels, digits(level), azimuth_lines, digits(1 + 0.1 * phase**2))


def digital_numbers(beta0: F32, eta: F32, a_beta: float, grain: F32 | None) -> NDArray[np.uint16]:
    """(lines, samples) uint16 DN = sqrt(speckle * (beta0 A^2 + eta)), rounded; 0 where no ground was simulated.

    eta   thermal noise power in DN^2; it is received before detection and speckles like the signal
    """
    power = beta0 * np.float32(a_beta**2) + eta
    if grain is not None:
        power = power * grain
    dn: NDArray[np.uint16] = np.clip(np.rint(np.sqrt(power)), 1, 65535).astype(np.uint16)
    dn[beta0 <= 0] = 0
    return dn
