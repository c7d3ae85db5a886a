"""Optical model of the scene simulator: reflectance by linear mixing, illumination, haze, clouds, scene classes.

Reflectance is 0..1 (may exceed 1 under bright cloud). Bands are addressed by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.science.synth import PIXEL_M, ROAD, URBAN, WATER, Scene
from utils.science.synth_fields import F32, generator, power_noise

BANDS = ("B02", "B03", "B04", "B08", "B8A", "B11", "B12")
# B02 B03 B04 B08 B12 from the design's table of endmembers; B8A and B11 interpolated for this simulator
ENDMEMBERS: dict[str, tuple[float, ...]] = {
    "green": (0.030, 0.060, 0.035, 0.400, 0.410, 0.205, 0.090),
    "dry": (0.080, 0.120, 0.160, 0.280, 0.295, 0.335, 0.250),
    "soil": (0.090, 0.130, 0.180, 0.260, 0.275, 0.345, 0.330),
    "char": (0.040, 0.045, 0.055, 0.085, 0.090, 0.120, 0.130),
    "water": (0.045, 0.050, 0.030, 0.015, 0.013, 0.007, 0.005),
    "urban": (0.120, 0.140, 0.155, 0.210, 0.215, 0.225, 0.210),
}
# opacity of one thickness of thin cloud falls with wavelength
CLOUD_EXPONENT = (1.15, 1.06, 1.00, 0.94, 0.92, 0.78, 0.68)
CLOUD_REFLECTANCE = (0.62, 0.63, 0.65, 0.68, 0.68, 0.42, 0.33)
NOISE_SD = 0.0025
SUN_AZIMUTH_DEG = 62.0
SUN_ELEVATION_DEG = (58.0, 50.0)
CLOUD_HEIGHT_M = 1100.0
CLOUD_FLAG = 0.06  # opacity from which the scene classification says cloud


@dataclass(frozen=True)
class Sky:
    """Sun and atmosphere of one date: elevation and azimuth in degrees, gain per band."""

    elevation_deg: float
    azimuth_deg: float
    gain: tuple[float, ...]


@dataclass(frozen=True)
class Clouds:
    """Cloud and shadow opacity, (rows, cols) float32 in 0..1."""

    cloud: F32
    shadow: F32


def sky(scene: Scene, date: int) -> Sky:
    """Sun elevation (40 to 65 degrees) and haze gain of a date; equal at both dates when the confusers are off."""
    confusers, seed = scene.params.confusers, scene.params.seed
    elevation = SUN_ELEVATION_DEG[0]
    if "sun" in confusers:
        elevation = float(np.clip(generator(seed, f"sun {date}").normal(SUN_ELEVATION_DEG[date], 8.0), 40.0, 65.0))
    gain = np.ones(len(BANDS))
    if "haze" in confusers:
        rng = generator(seed, f"haze {date}")
        gain = 1 + np.clip(
            rng.normal(0, 0.02) * np.linspace(1.2, 0.4, len(BANDS)) + rng.normal(0, 0.006, len(BANDS)), -0.05, 0.05
        )
    return Sky(round(elevation, 4), SUN_AZIMUTH_DEG, tuple(float(g) for g in gain))


def reflectance(scene: Scene, date: int, margin_px: int = 0) -> F32:
    """(7, rows, cols) float32 clear, noise-free surface reflectance in the order of BANDS, on the area plus margin."""
    window = scene.window(margin_px)
    cover, moisture = scene.cover[window], scene.moisture[date][window]
    green, dry, soil, char = (layer[window] for layer in scene.fractions[date])
    light, state = _illumination(scene, date, window), sky(scene, date)
    brightness = np.float32(1.25) - np.float32(1.2) * moisture
    ripple = power_noise(scene.params.seed, "ripple", scene.cover.shape, 1.4, longest_px=40.0)[window] * np.float32(
        0.035
    )
    built = power_noise(scene.params.seed, "roofs", scene.cover.shape, 0.6, longest_px=20.0)[window]
    water, urban, road = cover == WATER, cover == URBAN, cover == ROAD
    out = np.empty((len(BANDS), *cover.shape), dtype=np.float32)
    for k, plane in enumerate(out):
        plane[:] = (
            green * ENDMEMBERS["green"][k] + dry * ENDMEMBERS["dry"][k] + soil * brightness * ENDMEMBERS["soil"][k]
        )
        plane += char * ENDMEMBERS["char"][k]
        plane[urban] = 0.65 * ENDMEMBERS["urban"][k] * (1 + 0.3 * built[urban]) + 0.35 * plane[urban]
        plane[road] = 0.6 * ENDMEMBERS["urban"][k] + 0.4 * plane[road]
        plane *= light * (1 + ripple)
        plane[water] = ENDMEMBERS["water"][k]
        plane *= np.float32(state.gain[k])
    return np.clip(out, 0.001, 1.2)


def _illumination(scene: Scene, date: int, window: tuple[slice, slice]) -> F32:
    """Half of the Lambertian slope effect, as a correction of part of it leaves: 1 on flat ground, 0.5 to 1.4."""
    state = sky(scene, date)
    down, right = np.gradient(scene.height_m[window], np.float32(PIXEL_M))
    zenith, azimuth = math.radians(90 - state.elevation_deg), math.radians(state.azimuth_deg)
    east, north, up = math.sin(zenith) * math.sin(azimuth), math.sin(zenith) * math.cos(azimuth), math.cos(zenith)
    cos = (up - right * np.float32(east) + down * np.float32(north)) / np.sqrt(1 + down**2 + right**2)
    return np.asarray(np.clip(0.5 + 0.5 * cos / up, 0.5, 1.4), dtype=np.float32)


def clouds(scene: Scene, name: str, fraction: float, elevation_deg: float, margin_px: int = 0) -> Clouds:
    """Clouds over `fraction` of the area, with shadows shifted away from the sun by the cloud height.

    fraction  share of the area with cloud opacity above CLOUD_FLAG; 0 gives a clear sky
    """
    n = scene.params.size_px + 2 * margin_px
    zero = np.zeros((n, n), dtype=np.float32)
    if fraction <= 0:
        return Clouds(zero, zero)
    towers = power_noise(scene.params.seed, f"clouds {name}", (n, n), 3.2, longest_px=200.0)
    area = (slice(margin_px, margin_px + scene.params.size_px),) * 2
    low = np.quantile(towers[area], 1 - fraction)
    spread = np.float32(0.7)
    cloud = np.clip(CLOUD_FLAG + (towers - np.float32(low)) / spread, 0, 1)
    cloud[cloud < 0.02] = 0
    reach = CLOUD_HEIGHT_M / math.tan(math.radians(elevation_deg)) / PIXEL_M
    azimuth = math.radians(SUN_AZIMUTH_DEG)
    # the shadow lies away from the sun: south-west of the cloud when the sun stands in the north-east
    shift = (reach * math.cos(azimuth), -reach * math.sin(azimuth))
    shadow = ndimage.shift(cloud, shift, order=1, mode="nearest")
    strength = generator(scene.params.seed, f"shadow {name}").uniform(0.4, 0.7)
    return Clouds(np.asarray(cloud, dtype=np.float32), np.asarray(np.clip(shadow, 0, 1) * strength, dtype=np.float32))


def observe(scene: Scene, clear: F32, date: int, sky_clouds: Clouds, name: str) -> F32:
    """What the instrument sees: misregistration (second date), shadow, cloud and noise on clear reflectance."""
    seen = clear
    if date == 1 and scene.params.misregistration_px > 0:
        angle = generator(scene.params.seed, "misregistration").uniform(0, 2 * math.pi)
        row, col = (scene.params.misregistration_px * part for part in (math.sin(angle), math.cos(angle)))
        seen = np.stack([ndimage.shift(plane, (row, col), order=1, mode="nearest") for plane in clear])
    out = np.empty_like(seen)
    rng = generator(scene.params.seed, f"noise {name}")
    for k, plane in enumerate(seen):
        opacity = 1 - (1 - sky_clouds.cloud) ** np.float32(CLOUD_EXPONENT[k])
        out[k] = plane * (1 - sky_clouds.shadow) * (1 - opacity) + np.float32(CLOUD_REFLECTANCE[k]) * opacity
        if "noise" in scene.params.confusers:
            out[k] += np.float32(NOISE_SD) * rng.standard_normal(plane.shape, dtype=np.float32)
    return np.clip(out, 0.0001, 1.4)


def halve(plane: F32) -> F32:
    """Mean of 2 x 2 pixels: a 20 m band on the 10 m grid's multiples. Rows and columns must be even."""
    rows, cols = plane.shape
    return np.asarray(plane.reshape(rows // 2, 2, cols // 2, 2).mean(axis=(1, 3)), dtype=np.float32)


def scene_classes(scene: Scene, seen: F32, sky_clouds: Clouds, margin_px: int = 0) -> NDArray[np.uint8]:
    """(rows/2, cols/2) uint8 scene classification at 20 m with the codes of Level-2A.

    9 and 8 cloud of high and medium probability, 10 thin cirrus, 3 shadow, 6 water, 4 vegetation, 5 not vegetated,
    2 dark area. Very thin cloud edges stay unflagged, as they do in real products.
    """
    red, nir = halve(seen[BANDS.index("B04")]), halve(seen[BANDS.index("B08")])
    cloud, shadow = halve(sky_clouds.cloud), halve(sky_clouds.shadow)
    ndvi = (nir - red) / (nir + red)
    water = halve((scene.cover[scene.window(margin_px)] == WATER).astype(np.float32)) > 0.5
    out = np.where(ndvi > 0.38, 4, 5).astype(np.uint8)
    out[(nir < 0.10) & ~water] = 2
    out[water] = 6
    out[shadow > 0.15] = 3
    out[cloud > CLOUD_FLAG] = 10
    out[cloud > 0.2] = 8
    out[cloud > 0.5] = 9
    return out
