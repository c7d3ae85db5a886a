"""Likeness of two images in moving windows: SSIM and UQI, whole windows only or zero padded.

Images are (H, W, B), channel last; masks are (H, W) bool, True = scored. The range of SSIM is given, never that of the data.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.floating]
Mask = NDArray[np.bool_]
Matrix = NDArray[np.float64]

SSIM_WINDOW, _SIGMA, _K1, _K2 = 11, 1.5, 0.01, 0.03


class ShapeError(ValueError):
    """Arrays do not fit together."""


def matching(prediction: FloatArray, target: FloatArray, mask: Mask | None = None) -> None:
    """raises  ShapeError unless both are images (H, W, B) of one shape, and the mask (H, W) is of theirs"""
    if prediction.ndim != 3 or prediction.shape != target.shape:
        raise ShapeError(f"expected two images (H, W, B) of one shape, found {prediction.shape} and {target.shape}")
    if mask is not None and mask.shape != target.shape[:2]:
        raise ShapeError(f"mask {mask.shape} for an image of {target.shape[:2]}")


def scored_pair(prediction: FloatArray, target: FloatArray, mask: Mask | None) -> tuple[Matrix, Matrix, Mask]:
    """float64 images and the mask of pixels that are finite in all bands of both."""
    matching(prediction, target, mask)
    p, t = prediction.astype(np.float64), target.astype(np.float64)
    good = finite_pixels(p) & finite_pixels(t)
    return p, t, good if mask is None else good & mask


def finite_pixels(image: FloatArray) -> Mask:
    """(H, W) True where all bands of (H, W, B) are finite. The sum of a pixel is, exactly then: much quicker."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(np.einsum("...b->...", image)))


def _moments(a: FloatArray, b: FloatArray, kernel: Matrix) -> tuple[Matrix, Matrix, Matrix, Matrix, Matrix]:
    """Moving means of two planes, their biased variances and covariance; outside the planes counts as zero."""

    def mean(plane: Matrix) -> Matrix:
        down = ndimage.correlate1d(plane, kernel, axis=0, mode="constant")
        return np.asarray(ndimage.correlate1d(down, kernel, axis=1, mode="constant"))

    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    mean_a, mean_b = mean(first), mean(second)
    var_a, var_b = mean(first * first) - mean_a**2, mean(second * second) - mean_b**2
    return mean_a, mean_b, var_a, var_b, mean(first * second) - mean_a * mean_b


def ssim_map(
    a: FloatArray,
    b: FloatArray,
    *,
    data_range: float = 1.0,
    window: int = SSIM_WINDOW,
    gaussian: bool = True,
    sample_covariance: bool = False,
) -> Matrix:
    """Structural similarity of two planes (H, W) without NaN; outside the image counts as zero (zero padding).

    Biased covariance unless sample_covariance, K1 .01, K2 .03; Gaussian of sigma 1.5 cut at `window`, or a uniform one.
    Crop window//2 pixels for the map of whole windows. Source: Wang et al. 2004, IEEE TIP 13(4).
    """
    half = np.arange(window) - window // 2
    kernel = np.exp(-(half**2) / (2 * _SIGMA**2)) if gaussian else np.ones(window)
    mean_a, mean_b, var_a, var_b, cov = _moments(a, b, kernel / kernel.sum())
    unbias = window**2 / (window**2 - 1) if sample_covariance else 1.0
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * unbias * cov + c2)
    return top / ((mean_a**2 + mean_b**2 + c1) * (unbias * (var_a + var_b) + c2))


def uqi_map(a: FloatArray, b: FloatArray, window: int = 8) -> Matrix:
    """Universal quality index of two planes (H, W) in uniform windows; outside the image counts as zero.

    Two constant windows compare by their means alone; where both are zero the index is 1. An even window reaches one
    pixel farther up and left. Source: Wang and Bovik 2002, IEEE SPL 9(3).
    """
    mean_a, mean_b, var_a, var_b, cov = _moments(a, b, np.full(window, 1.0 / window))
    level, spread = mean_a**2 + mean_b**2, var_a + var_b
    flat, dark = spread <= 1e-12 * level, level == 0
    by_level = np.where(dark, 1.0, 2 * mean_a * mean_b / np.where(dark, 1.0, level))
    return np.where(flat, by_level, by_level * 2 * cov / np.where(flat, 1.0, spread))


def whole_windows(mask: Mask, window: int = SSIM_WINDOW) -> Mask:
    """Pixels whose whole window lies inside the image and inside `mask`."""
    padded = ndimage.minimum_filter(mask.astype(np.uint8), size=window, mode="constant", cval=0)
    return np.asarray(padded, dtype=bool)


def ssim(
    prediction: FloatArray,
    target: FloatArray,
    mask: Mask | None = None,
    *,
    padding: str = "valid",
    data_range: float = 1.0,
    window: int = SSIM_WINDOW,
    gaussian: bool = True,
    sample_covariance: bool = False,
) -> float:
    """Mean SSIM over bands; options as in ssim_map.

    padding  valid: mean of the map where the whole window is valid (this project); zero: mean over all pixels of the
             zero-padded map, invalid pixels counted as zero (some published scorers)
    returns  NaN when no window is whole
    """
    p, t, good = scored_pair(prediction, target, mask)
    p, t = np.where(good[..., None], p, 0.0), np.where(good[..., None], t, 0.0)
    take = whole_windows(good, window) if padding == "valid" else np.ones_like(good)
    if padding not in ("valid", "zero"):
        raise ValueError(f"padding {padding!r}; choose valid or zero")
    if not take.any():
        return float("nan")

    def one(band: int) -> float:
        plane = ssim_map(
            p[..., band],
            t[..., band],
            data_range=data_range,
            window=window,
            gaussian=gaussian,
            sample_covariance=sample_covariance,
        )
        return float(plane[take].mean())

    return float(np.mean([one(band) for band in range(p.shape[2])]))


def uqi(prediction: FloatArray, target: FloatArray, mask: Mask | None = None, *, window: int = 8) -> float:
    """Mean universal quality index over bands where the whole window is valid; NaN when no window is."""
    p, t, good = scored_pair(prediction, target, mask)
    take = whole_windows(good, window)
    if not take.any():
        return float("nan")
    p, t = np.where(good[..., None], p, 0.0), np.where(good[..., None], t, 0.0)
    return float(np.mean([uqi_map(p[..., band], t[..., band], window)[take].mean() for band in range(p.shape[2])]))
