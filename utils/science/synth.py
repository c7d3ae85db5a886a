"""Seeded scene simulator: terrain, land cover and the state of the ground at two dates, with fires between them.

The latent fields made here are shared by the optical model (synth_optical.py) and the radar model (synth_sar.py), so
that both sensors see the same world. After design section "Scene simulator"; ranges of its figures are kept. All
figures of the vegetation model are choices for a plausible south-east Australian landscape, not measurements.
Arrays are (rows, cols) on the domain: the area plus a margin of `pad_px` pixels of 10 m on each side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.science.synth_fields import (
    F32,
    contour_line,
    fire_shape,
    generator,
    parcels,
    power_noise,
    smooth_step,
    spread_places,
    uniform,
)

WATER, FOREST, WOODLAND, GRASS, CROP, URBAN, ROAD = 1, 2, 3, 4, 5, 6, 7
COVER_NAMES = {1: "water", 2: "forest", 3: "woodland", 4: "grass", 5: "crop", 6: "urban", 7: "road"}
CONFUSERS = frozenset(("rain", "harvest", "curing", "logging", "understorey", "sun", "haze", "noise"))
PIXEL_M = 10.0
BASE_HEIGHT_M = 320.0
# mean fractions green, dry, soil and vegetation volume of each cover; crops are set per parcel
_GREEN = {FOREST: 0.72, WOODLAND: 0.52, GRASS: 0.42, URBAN: 0.18, ROAD: 0.04, WATER: 0.0, CROP: 0.0}
_DRY = {FOREST: 0.13, WOODLAND: 0.28, GRASS: 0.42, URBAN: 0.10, ROAD: 0.10, WATER: 0.0, CROP: 0.0}
_VOLUME = {FOREST: 1.0, WOODLAND: 0.50, GRASS: 0.14, URBAN: 0.20, ROAD: 0.03, WATER: 0.0, CROP: 0.0}
_CURING = {GRASS: 1.0, WOODLAND: 0.4, FOREST: 0.1}
# growing, ripe, bare: green, dry, volume of a crop parcel
_CROP_STATES = np.array([[0.68, 0.14, 0.42], [0.22, 0.62, 0.26], [0.06, 0.22, 0.05]], dtype=np.float32)


@dataclass(frozen=True)
class SceneParams:
    """What to simulate. burn_vh_db is the change of VH of a severe burn; confusers the changes that are not fire."""

    seed: int
    size_px: int
    fires: int = 3
    cloud_fraction: float = 0.18
    relief_m: float = 450.0
    misregistration_px: float = 0.3
    burn_vh_db: float = -2.0
    confusers: frozenset[str] = CONFUSERS
    pad_px: int = 0

    def __post_init__(self) -> None:
        unknown = set(self.confusers) - CONFUSERS
        if unknown:
            raise ValueError(f"unknown confuser {', '.join(sorted(unknown))}; there are {', '.join(sorted(CONFUSERS))}")
        if self.size_px < 64 or self.pad_px < 0:
            raise ValueError(f"size {self.size_px} px must be at least 64 and the margin {self.pad_px} px not negative")


@dataclass(frozen=True)
class Scene:
    """The simulated ground. All arrays (rows, cols) of the domain, float32 unless stated.

    height_m          ellipsoidal height; flat on water
    cover             uint8 class, see COVER_NAMES
    fractions         two dates, each (4, rows, cols): green, dry, soil, char; sum 1 on land
    volume            two dates: vegetation volume, 0..1.4
    moisture          two dates: volumetric soil moisture, 0.03..0.45
    severity          share of the fuel that burned between the dates, 0..1; 0 = unburnt
    radar_severity    the same as far as the radar can see it (understorey burns are hidden)
    """

    params: SceneParams
    height_m: F32
    cover: NDArray[np.uint8]
    fractions: tuple[F32, F32]
    volume: tuple[F32, F32]
    moisture: tuple[F32, F32]
    severity: F32
    radar_severity: F32
    extra: dict[str, float] = field(default_factory=dict)

    def window(self, margin_px: int = 0) -> tuple[slice, slice]:
        """Slices of the area grown by a margin (at most the pad) in the domain arrays."""
        first, last = self.params.pad_px - margin_px, self.params.pad_px + self.params.size_px + margin_px
        if first < 0:
            raise ValueError(f"margin {margin_px} px is larger than the pad {self.params.pad_px} px")
        return slice(first, last), slice(first, last)


def make_scene(params: SceneParams) -> Scene:
    """Simulate the ground at both dates; deterministic in `params`."""
    size = params.size_px + 2 * params.pad_px
    area = (slice(params.pad_px, params.pad_px + params.size_px),) * 2
    height, relief = _terrain(params, (size, size), area)
    cover, parcel = _cover(params, relief, height, area)
    before, volume0, states = _state_before(params, cover, parcel)
    after, volume1 = _seasonal_changes(params, cover, parcel, before, volume0, states)
    severity, hidden = _burn(params, cover, height, area)
    after, volume1 = _apply_fire(params, cover, after, volume1, severity, hidden)
    return Scene(
        params,
        height,
        cover,
        (before, after),
        (volume0, volume1),
        _moisture(params, relief),
        severity,
        np.where(hidden, np.float32(0), severity),
    )


def _terrain(params: SceneParams, shape: tuple[int, int], area: tuple[slice, slice]) -> tuple[F32, F32]:
    """Height in m, flat lakes in the lowest ground, and the relief as standard normal noise.

    Slopes stay gentle (99 % below about 25 degrees at 450 m), so that there is little layover.
    """
    rough = power_noise(params.seed, "terrain", shape, 3.7, longest_px=800.0, coarse=2)
    z = ndimage.gaussian_filter(rough, 4.0, mode="nearest")
    level = np.quantile(z[area], 0.022)
    height = np.float32(BASE_HEIGHT_M) + np.float32(params.relief_m / 5.0) * np.maximum(z, level)
    return np.asarray(height, dtype=np.float32), np.asarray(z, dtype=np.float32)


def _cover(
    params: SceneParams, z: F32, height: F32, area: tuple[slice, slice]
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Cover class and parcel id; shares are set on the area itself."""
    seed, shape = params.seed, z.shape
    wild = power_noise(seed, "wild", shape, 2.8, longest_px=300.0) + np.float32(0.7) * z
    flat = -z + np.float32(0.7) * power_noise(seed, "farms", shape, 2.8, longest_px=500.0, coarse=2)
    edges = np.quantile(wild[area], [0.32, 0.58])
    cover = np.where(wild > edges[1], FOREST, np.where(wild > edges[0], WOODLAND, GRASS)).astype(np.uint8)
    cover[flat > np.quantile(flat[area], 0.84)] = CROP
    parcel = parcels(seed, "parcels", shape, 24.0, 30.0, 17.0)
    river = contour_line(_smooth_noise(seed, "river", shape, 600.0), 0.15, 1.8) & (z < 0.2)
    for number, (row, col) in enumerate(_towns(params, flat, area)):
        y, x = np.ogrid[: shape[0], : shape[1]]
        distance = np.hypot(y - row, x - col) / max(18.0, 0.028 * params.size_px)
        torn = power_noise(seed, f"town {number}", shape, 1.8, longest_px=60.0)
        cover[distance + 0.35 * torn < 1] = URBAN
    road_field = _smooth_noise(seed, "roads", shape, 500.0)
    for level in (-0.8, 0.6):
        cover[contour_line(road_field, level, 0.7)] = ROAD
    cover[river | (height <= height[area].min())] = WATER
    return cover, parcel


def _smooth_noise(seed: int, name: str, shape: tuple[int, int], longest_px: float) -> F32:
    """Noise without detail below about 30 pixels, whose contours are calm lines."""
    field = power_noise(seed, name, shape, 3.6, longest_px=longest_px, coarse=4)
    return np.asarray(ndimage.gaussian_filter(field, 10.0, mode="nearest"), dtype=np.float32)


def _towns(params: SceneParams, flat: F32, area: tuple[slice, slice]) -> list[tuple[float, float]]:
    inside = flat[area] > np.quantile(flat[area], 0.75)
    places = spread_places(params.seed, "towns", inside, 1 if params.size_px < 600 else 3)
    return [(row + params.pad_px, col + params.pad_px) for row, col in places]


def _table(values: dict[int, float]) -> F32:
    return np.array([values.get(code, 0.0) for code in range(8)], dtype=np.float32)


def _state_before(
    params: SceneParams, cover: NDArray[np.uint8], parcel: NDArray[np.int32]
) -> tuple[F32, F32, NDArray[np.int64]]:
    """Fractions (4, rows, cols) and volume at t0, and the state of each parcel."""
    seed, shape = params.seed, cover.shape
    vigour = power_noise(seed, "vigour", shape, 1.9, longest_px=250.0)
    spread = _table({FOREST: 0.06, WOODLAND: 0.09, GRASS: 0.08, CROP: 0.03, URBAN: 0.08, ROAD: 0.02})[cover]
    rng = generator(seed, "parcel state")
    states = rng.choice(3, size=int(parcel.max()) + 1, p=[0.45, 0.35, 0.20])
    crop = cover == CROP
    green, dry, volume = (_table(values)[cover] for values in (_GREEN, _DRY, _VOLUME))
    for target, column in ((green, 0), (dry, 1), (volume, 2)):
        target[crop] = _CROP_STATES[states[parcel[crop]], column]
    green = np.clip(green + spread * vigour, 0, 0.95)
    dry = np.clip(dry - 0.6 * spread * vigour, 0, 1 - green)
    land = cover != WATER
    fractions = np.stack([green * land, dry * land, (1 - green - dry) * land, np.zeros_like(green)]).astype(np.float32)
    stand = power_noise(seed, "stand", shape, 2.0, longest_px=200.0)
    volume = np.clip(volume * (1 + np.float32(0.22) * stand + np.float32(0.10) * vigour), 0, 1.4) * land
    return fractions, np.asarray(volume, dtype=np.float32), states


def _seasonal_changes(
    params: SceneParams,
    cover: NDArray[np.uint8],
    parcel: NDArray[np.int32],
    before: F32,
    volume0: F32,
    states: NDArray[np.int64],
) -> tuple[F32, F32]:
    """Curing of grass, harvest and sowing of parcels, logging of forest blocks."""
    after, volume = before.copy(), volume0.copy()
    if "curing" in params.confusers:
        patch = power_noise(params.seed, "curing", cover.shape, 2.2, longest_px=200.0)
        loss = (np.float32(0.12) + np.float32(0.10) * patch) * _table(_CURING)[cover]
        loss = np.clip(loss, -0.9 * after[1], np.maximum(after[0] - 0.03, 0))
        after[0] -= loss
        after[1] += loss
        volume *= 1 - np.float32(0.4) * np.maximum(loss, 0)
    if "harvest" in params.confusers:
        rng = generator(params.seed, "harvest")
        moved = rng.random(len(states)) < 0.40
        target = np.where(moved, rng.choice(3, size=len(states), p=[0.15, 0.35, 0.50]), states)
        changed = (cover == CROP) & (target != states)[parcel]
        new = _CROP_STATES[target[parcel[changed]]]
        wobble = before[0][changed] - _CROP_STATES[states[parcel[changed]], 0]
        after[0][changed] = np.clip(new[:, 0] + wobble, 0.02, 0.95)
        after[1][changed] = np.clip(new[:, 1], 0, 1 - after[0][changed])
        after[2][changed] = 1 - after[0][changed] - after[1][changed]
        volume[changed] = new[:, 2]
    if "logging" in params.confusers:
        block = parcels(params.seed, "coupes", cover.shape, 33.0, 36.0, -28.0)
        cut = generator(params.seed, "logging").random(int(block.max()) + 1) < 0.012
        logged = np.isin(cover, (FOREST, WOODLAND)) & cut[block]
        for layer, value in zip(after[:3], (0.16, 0.38, 0.46), strict=True):
            layer[logged] = value
        volume[logged] *= 0.22
    return after, volume


def _burn(
    params: SceneParams, cover: NDArray[np.uint8], height: F32, area: tuple[slice, slice]
) -> tuple[F32, NDArray[np.bool_]]:
    """Severity 0..1 and where the burn stayed below the canopy. Water, towns and roads do not burn; crops seldom."""
    seed, shape = params.seed, cover.shape
    severity = np.zeros(shape, dtype=np.float32)
    if params.fires == 0:
        return severity, np.zeros(shape, dtype=np.bool_)
    fuel = np.isin(cover[area], (FOREST, WOODLAND))
    radius = 0.285 * params.size_px / math.sqrt(max(params.fires, 2))
    for number, (row, col) in enumerate(spread_places(seed, "fires", fuel, params.fires)):
        size = radius * generator(seed, f"fire size {number}").uniform(0.8, 1.15)
        depth = fire_shape(seed, number, shape, (row + params.pad_px, col + params.pad_px), size)
        severity = np.maximum(
            severity,
            smooth_step(depth, 0.0, 0.06) * (np.float32(0.45) + np.float32(0.55) * smooth_step(depth, 0.0, 0.6)),
        )
    mood = uniform(power_noise(seed, "severity", shape, 2.8, longest_px=120.0))
    rough = uniform(power_noise(seed, "islands", shape, 2.8, longest_px=60.0))
    up = np.gradient(height)[0] * np.float32(
        1.5 / PIXEL_M
    )  # northern slopes are drier on the southern half of the Earth
    severity *= np.clip(np.float32(0.50) + np.float32(0.80) * mood + np.clip(up, -0.2, 0.2), 0.25, 1.0)
    severity *= smooth_step(rough, 0.08, 0.12)  # unburnt islands
    severity *= _table({FOREST: 1.0, WOODLAND: 1.0, GRASS: 0.9, CROP: 0.15})[cover]
    severity[severity < 0.08] = 0
    hidden = np.zeros(shape, dtype=np.bool_)
    if "understorey" in params.confusers:
        quiet = power_noise(seed, "understorey", shape, 2.6, longest_px=150.0, coarse=2) > 1.0
        hidden = quiet & (cover == FOREST) & (severity > 0)
        severity[hidden] = np.minimum(severity[hidden], 0.35)
    return severity, hidden


def _apply_fire(
    params: SceneParams, cover: NDArray[np.uint8], after: F32, volume: F32, severity: F32, hidden: NDArray[np.bool_]
) -> tuple[F32, F32]:
    """Fuel turns to char, and a little bare soil; volume goes by 45 % (forest), 50 % (woodland), 70 % (grass)."""
    kept = 1 - np.float32(0.92) * severity
    lost = (after[0] + after[1]) * (1 - kept)
    after[0] *= kept
    after[1] *= kept
    ash = severity * np.float32(0.5) * after[2]
    after[3] = np.float32(0.85) * lost + ash
    after[2] += np.float32(0.15) * lost - ash
    share = _table({FOREST: 0.45, WOODLAND: 0.50, GRASS: 0.70, CROP: 0.70})[cover]
    return after, np.asarray(volume * (1 - share * severity * ~hidden), dtype=np.float32)


def _moisture(params: SceneParams, z: F32) -> tuple[F32, F32]:
    """Soil moisture of both dates; rain shifts the whole second date by a normal deviate of 0.07 and a pattern."""
    pattern = power_noise(params.seed, "moisture", z.shape, 2.6, longest_px=300.0, coarse=2)
    first = np.clip(np.float32(0.17) + np.float32(0.035) * pattern - np.float32(0.02) * z, 0.03, 0.45)
    if "rain" not in params.confusers:
        return first, first.copy()
    shift = float(np.clip(generator(params.seed, "rain").normal(0, 0.07), -0.12, 0.14))
    local = power_noise(params.seed, "showers", z.shape, 3.2, longest_px=600.0, coarse=4)
    second = np.clip(first + np.float32(shift) + np.float32(0.015) * local, 0.03, 0.45)
    return np.asarray(first, dtype=np.float32), np.asarray(second, dtype=np.float32)
