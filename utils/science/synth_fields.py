"""Seeded random fields of the scene simulator: power-law noise, parcels, lines and fire shapes.

Every field has its own generator, seeded by the scene's seed and the field's name: switching one thing off leaves
all the others as they were. Arrays are (rows, cols) float32 on a 10 m grid unless stated.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, special

F32 = NDArray[np.float32]


def generator(seed: int, name: str) -> np.random.Generator:
    """The generator of one named thing in a scene."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def power_noise(
    seed: int, name: str, shape: tuple[int, int], beta: float, longest_px: float = 600.0, coarse: int = 1
) -> F32:
    """Gaussian noise with power spectrum 1/f^beta, flat below 1/longest_px; mean 0, standard deviation 1.

    shape   (rows, cols)
    beta    1.4 (rough texture) to 3.6 (terrain)
    coarse  make it on a grid this many times coarser and interpolate: for fields without fine detail
    """
    if coarse > 1:
        small = (math.ceil(shape[0] / coarse) + 2, math.ceil(shape[1] / coarse) + 2)
        field = power_noise(seed, name, small, beta, longest_px / coarse)
        return _enlarge(field, coarse, shape)
    rows, cols = (fft.next_fast_len(n, real=True) for n in shape)
    white = generator(seed, name).standard_normal((rows, cols), dtype=np.float32)
    # two workers on every machine: how lines are shared out could change a last bit
    spectrum = fft.rfft2(white, workers=2)
    f2 = np.fft.fftfreq(rows).astype(np.float32)[:, None] ** 2 + np.fft.rfftfreq(cols).astype(np.float32)[None, :] ** 2
    spectrum *= (f2 + np.float32(longest_px**-2.0)) ** np.float32(-beta / 4)
    spectrum[0, 0] = 0
    field = fft.irfft2(spectrum, s=(rows, cols), workers=2)[: shape[0], : shape[1]]
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


def _enlarge(field: F32, factor: int, shape: tuple[int, int]) -> F32:
    """Cubic interpolation of a coarse field; its sample k lies at fine position factor * k."""
    step = ndimage.zoom(
        field, ((field.shape[0] - 1) * factor + 1) / field.shape[0], order=3, mode="nearest", grid_mode=False
    )
    return np.ascontiguousarray(step[: shape[0], : shape[1]], dtype=np.float32)


def uniform(field: F32) -> F32:
    """Standard normal noise mapped to 0..1, uniform."""
    return np.asarray(special.ndtr(field), dtype=np.float32)


def smooth_step(x: F32, low: float, high: float) -> F32:
    """0 below low, 1 above high, smooth between."""
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def contour_line(field: F32, level: float, half_width_px: float) -> NDArray[np.bool_]:
    """(rows, cols) bool: pixels nearer than half_width_px to the contour of a smooth field, to first order."""
    down, right = np.gradient(field)
    return np.asarray(np.abs(field - level) < half_width_px * np.hypot(down, right))


def parcels(
    seed: int, name: str, shape: tuple[int, int], height_px: float, width_px: float, angle_deg: float
) -> NDArray[np.int32]:
    """(rows, cols) int32 id of the field parcel: rows of rectangles of random width, the whole pattern rotated.

    Ids are dense enough to index a table of parcel_count(shape, ...) entries after modulo; equal ids are one parcel.
    """
    rng = generator(seed, name)
    y, x = np.meshgrid(np.arange(shape[0], dtype=np.float32), np.arange(shape[1], dtype=np.float32), indexing="ij")
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    u, v = x * np.float32(c) + y * np.float32(s), y * np.float32(c) - x * np.float32(s)
    band = np.floor((v - v.min()) / np.float32(height_px)).astype(np.int32)
    count = int(band.max()) + 1
    offset = rng.uniform(0, width_px, count).astype(np.float32)
    width = rng.uniform(0.6 * width_px, 1.6 * width_px, count).astype(np.float32)
    place = np.floor((u - u.min() + offset[band]) / width[band]).astype(np.int32)
    return np.asarray(band * np.int32(place.max() + 1) + place, dtype=np.int32)


def fire_shape(seed: int, number: int, shape: tuple[int, int], centre: tuple[float, float], radius_px: float) -> F32:
    """(rows, cols) float32 penetration depth of one fire: above 0 inside, about 1 at the centre, below 0 outside.

    An ellipse stretched along a random wind, its edge torn by noise.
    """
    rng = generator(seed, f"fire {number}")
    wind, stretch = rng.uniform(0, math.pi), rng.uniform(1.3, 1.9)
    y = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(centre[0])
    x = np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(centre[1])
    along = (x * np.float32(math.cos(wind)) + y * np.float32(math.sin(wind))) / np.float32(
        radius_px * math.sqrt(stretch)
    )
    across = (y * np.float32(math.cos(wind)) - x * np.float32(math.sin(wind))) / np.float32(
        radius_px / math.sqrt(stretch)
    )
    torn = power_noise(seed, f"fire edge {number}", shape, 3.0, longest_px=radius_px, coarse=2)
    return np.asarray(1 - np.hypot(along, across) + np.float32(0.28) * torn, dtype=np.float32)


def spread_places(
    seed: int, name: str, allowed: NDArray[np.bool_], count: int, candidates: int = 400
) -> list[tuple[float, float]]:
    """`count` places (row, col) far from one another, on allowed ground where there is any (best-candidate sampling)."""
    rng = generator(seed, name)
    rows, cols = np.nonzero(allowed)
    if len(rows) == 0:
        rows, cols = (part.ravel() for part in np.indices(allowed.shape))
    chosen: list[tuple[float, float]] = []
    for _ in range(count):
        pick = rng.integers(0, len(rows), candidates)
        y, x = rows[pick].astype(np.float64), cols[pick].astype(np.float64)
        nearest = np.full(candidates, np.inf)
        for row, col in chosen:
            nearest = np.minimum(nearest, np.hypot(y - row, x - col))
        # a quarter of the picture's margin is avoided, so that fires stay inside it
        inside = np.minimum.reduce([y, x, allowed.shape[0] - y, allowed.shape[1] - x])
        best = int(np.argmax(np.minimum(nearest, 3 * inside) if chosen else inside * rng.uniform(0.5, 1, candidates)))
        chosen.append((float(y[best]), float(x[best])))
    return chosen
