"""How well two engines agree on one product: difference of values, and displacement of the images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.science import calibrate
from utils.science.calibrate import NoiseTables, VectorTable
from utils.science.grid import Window

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

BLOCK_PX = 256
NOISE_FACTOR = 3.0  # nearer to the noise floor the engines differ by what they do with negative power
NOISE_DB_UNKNOWN = -22.0  # what the mission promises for IW; products are better by 2 to 8 dB
_MOST_PX = 8
_MIN_VALID = 0.6
_FINE = 100
_HIGH_PASS_PX = 6.0


@dataclass(frozen=True)
class Statistics:
    """Of a difference, in its own unit; NaN and count 0 when nothing is comparable."""

    count: int
    median: float
    sigma: float
    p5: float
    p95: float


@dataclass(frozen=True)
class Shift:
    """Displacement of the second image against the first, px; x to the right, y down. NaN without a usable block."""

    x_px: float
    y_px: float
    blocks: int

    @property
    def length_px(self) -> float:
        return float(np.hypot(self.x_px, self.y_px))


def difference_db(first: FloatArray, second: FloatArray) -> NDArray[np.float64]:
    """10 log10(second / first) of power, NaN where one of the two is not above 0."""
    both = (first > 0) & (second > 0)
    ratio = np.divide(second, first, where=both, out=np.ones(first.shape))
    return np.where(both, 10 * np.log10(ratio), np.nan)


def above_noise(first: FloatArray, second: FloatArray, noise_power: float) -> BoolArray:
    """Pixels whose mean of both engines is more than 3 times the noise.

    The geometric mean and not one of the two: a threshold on one alone keeps its high values and so makes a difference.
    """
    product = np.where((first > 0) & (second > 0), first.astype(np.float64) * second, 0.0)
    return np.asarray(product > (NOISE_FACTOR * noise_power) ** 2)


def statistics(difference: FloatArray) -> Statistics:
    """Median, standard deviation, 5th and 95th percentile of the finite values."""
    values = difference[np.isfinite(difference)].astype(np.float64)
    if values.size == 0:
        return Statistics(0, *[float("nan")] * 4)
    low, median, high = np.percentile(values, [5, 50, 95])
    return Statistics(int(values.size), float(median), float(values.std()), float(low), float(high))


def noise_power(noise: NoiseTables, gamma: VectorTable, lines: int, samples: int) -> float:
    """Noise level as gamma0 on flat ground: 95th percentile of eta / A_gamma^2 over the image; NaN without noise.

    noise   DN^2;  gamma  calibration table `gamma`;  lines, samples  size of the image
    """
    levels = []
    for line in np.linspace(0, lines - 1, 24).astype(int):
        window = Window(int(line), 0, 1, samples)
        levels.append(calibrate.noise_on_image(noise, window) / calibrate.table_on_image(gamma, window) ** 2)
    found = np.concatenate(levels).ravel()
    return float(np.percentile(found[np.isfinite(found)], 95)) if np.isfinite(found).any() else float("nan")


def median_shift(blocks: Iterable[tuple[float, float] | None]) -> Shift:
    """Median displacement of the usable ones of block_shift's results."""
    usable = np.array([pair for pair in blocks if pair is not None])
    if not len(usable):
        return Shift(float("nan"), float("nan"), 0)
    x, y = np.median(usable, axis=0)
    return Shift(float(x), float(y), len(usable))


def block_shift(first: FloatArray, second: FloatArray, good: BoolArray) -> tuple[float, float] | None:
    """(x, y) displacement px of one block by correlation, up to 8 px, or None below 60 % good pixels or without texture.

    first, second  (rows, cols) images on one grid, in dB or reflectance (not power: few bright points would decide)
    good           pixels to use
    The high-passed images are correlated by FFT, and the peak is found to 0.01 px by a matrix Fourier transform around
    it (Guizar-Sicairos, Thurman, Fienup 2008, Optics Letters 33(2)).
    """
    usable = good & np.isfinite(first) & np.isfinite(second)
    if usable.mean() < _MIN_VALID or min(first.shape) < 4 * _MOST_PX:
        return None
    a, b = (_high_passed(image, usable) for image in (first, second))
    if a.std() == 0 or b.std() == 0:
        return None
    spectrum = np.fft.fft2(b) * np.conj(np.fft.fft2(a))
    correlation = np.fft.ifft2(spectrum).real
    near = np.arange(-_MOST_PX, _MOST_PX + 1)
    row, col = np.unravel_index(np.argmax(correlation[np.ix_(near, near)]), (len(near), len(near)))
    fine = np.arange(-_FINE, _FINE + 1) / _FINE  # 1 px to either side of the whole-pixel peak
    rows, cols = near[row] + fine, near[col] + fine
    down = np.exp(2j * np.pi * np.outer(rows, np.fft.fftfreq(a.shape[0])))
    right = np.exp(2j * np.pi * np.outer(np.fft.fftfreq(a.shape[1]), cols))
    row, col = np.unravel_index(np.argmax((down @ spectrum @ right).real), (len(rows), len(cols)))
    return float(cols[col]), float(rows[row])


def _high_passed(image: FloatArray, usable: BoolArray) -> NDArray[np.float64]:
    """Small structure only, 0 where not usable, faded out at the block's edge: the transform takes it for periodic."""
    values = np.where(usable, image, np.median(image[usable])).astype(np.float64)
    detail = np.where(usable, values - ndimage.gaussian_filter(values, _HIGH_PASS_PX), 0.0)
    return np.asarray(detail * np.outer(*(np.hanning(size) for size in image.shape)))
