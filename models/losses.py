"""Loss terms, each a mean over weighted pixels. keras.ops only; every function returns a scalar tensor.

Shapes: images (B, H, W, C) float32, weights (B, H, W) float32 with 0 where the target is cloudy or missing.
A batch without any weight gives 0, not NaN. Where several replicas share a batch, each gets its share of the mean over
the global batch: the weights are those of all replicas, and the sum of the shares is the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

CHARBONNIER_EPS = 1e-3  # network units; rounds the corner of |x| at 0.25e-3 reflectance
INDEX_DENOMINATOR = 0.03  # reflectance; smaller sums are noise over water and shadow


def _of_one_replica(total: Any) -> Any:
    return total


total_of_replicas: Callable[[Any], Any] = _of_one_replica  # models.trainer puts the sum over all replicas here


def weighted_mean(values: Any, weight: Any) -> Any:
    """Mean of values (B, H, W) under weight (B, H, W); 0 when all weights are 0."""
    total = total_of_replicas(ops.sum(weight))
    return ops.sum(values * weight) / ops.where(total > 0, total, ops.ones_like(total))


def mean_of_all(values: Any) -> Any:
    """Mean of (B, H, W, C) over everything."""
    each = ops.mean(values, axis=-1)
    return weighted_mean(each, ops.ones_like(each))


def l1(predicted: Any, target: Any, weight: Any) -> Any:
    """Mean absolute error over bands and weighted pixels."""
    return weighted_mean(ops.mean(ops.abs(predicted - target), axis=-1), weight)


def charbonnier(predicted: Any, target: Any, weight: Any, eps: float = CHARBONNIER_EPS) -> Any:
    """Mean of sqrt(difference^2 + eps^2): the absolute error with a round corner."""
    return weighted_mean(ops.mean(ops.sqrt(ops.square(predicted - target) + eps * eps), axis=-1), weight)


def change_weight(weight: Any, changed: Any, factor: float) -> Any:
    """Weights times 1 + factor on changed pixels; changed is (B, H, W) of 0 and 1."""
    return weight * (1.0 + factor * changed)


def binary_cross_entropy(decision: Any, target: Any, from_logits: bool) -> Any:
    """Mean cross-entropy of a map of decisions against one target value in 0..1 (smoothed labels)."""
    wanted = ops.ones_like(decision) * target
    entropy = ops.mean(ops.binary_crossentropy(wanted, decision, from_logits=from_logits), axis=-1)
    return weighted_mean(entropy, ops.ones_like(entropy))


def least_squares(decision: Any, target: Any, weight: Any = None) -> Any:
    """Mean squared distance of decisions (B, h, w, 1) to one target value (Mao et al. 2017).

    weight  (B, h, w) or None: how much each decision counts
    """
    squared = ops.square(decision - target)[..., 0]
    return weighted_mean(squared, ops.ones_like(squared) if weight is None else weight)


def hinge(decision: Any, real: bool) -> Any:
    """Hinge loss of a discriminator: real decisions are wanted above 1, simulated ones below -1 (Lim and Ye 2017)."""
    sign = 1.0 if real else -1.0
    return mean_of_all(ops.relu(1.0 - sign * decision))


def feature_matching(simulated: Sequence[Any], real: Sequence[Any]) -> Any:
    """Mean over layers of the mean absolute difference of a discriminator's activations (Wang et al. 2018)."""
    total = ops.zeros(())
    for fake, true in zip(simulated, real, strict=True):
        total = total + mean_of_all(ops.abs(fake - ops.stop_gradient(true)))
    return total / len(real)


def gaussian_nll(mean: Any, target: Any, log_variance: Any, weight: Any, beta: float = 0.0) -> Any:
    """Negative log-likelihood of normal errors without its constant, mean over bands and weighted pixels.

    log_variance  (B, H, W, C) of the same units as the images, squared
    beta          each pixel counts variance^beta, held constant (Seitzer et al. 2022); 0 = plain likelihood
    """
    squared = ops.square(ops.stop_gradient(mean) - target)
    each = 0.5 * (log_variance + squared * ops.exp(-log_variance))
    if beta:
        each = each * ops.stop_gradient(ops.exp(beta * log_variance))
    return weighted_mean(ops.mean(each, axis=-1), weight)


def spectral_angle(predicted: Any, target: Any, weight: Any) -> Any:
    """Mean angle between spectra in radians; both in reflectance.

    arctan2 of the parts across and along the target: unlike arccos its gradient is finite at angle 0.
    """
    dot = ops.sum(predicted * target, axis=-1)
    across = ops.sum(ops.square(predicted), -1) * ops.sum(ops.square(target), -1) - ops.square(dot)
    return weighted_mean(ops.arctan2(ops.sqrt(ops.maximum(across, 0.0) + 1e-12), dot), weight)


def normalised_difference(first: Any, second: Any) -> Any:
    """(a - b) / (a + b) with the denominator kept at 0.03 or more."""
    return (first - second) / ops.maximum(first + second, INDEX_DENOMINATOR)


def index_error(predicted: Any, target: Any, weight: Any, pairs: tuple[tuple[int, int], ...]) -> Any:
    """Sum over channel pairs (a, b) of the mean absolute error of (a - b) / (a + b); reflectance."""
    total = ops.zeros(())
    for a, b in pairs:
        p = normalised_difference(predicted[..., a], predicted[..., b])
        t = normalised_difference(target[..., a], target[..., b])
        total = total + weighted_mean(ops.abs(p - t), weight)
    return total


def _gaussian(channels: int, size: int = 11, sigma: float = 1.5) -> Any:
    """(size, size, channels, 1) kernel of a depthwise Gaussian filter, sum 1."""
    axis = np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma) ** 2)
    window = np.outer(axis, axis) / axis.sum() ** 2
    return np.repeat(window[:, :, None, None], channels, axis=2).astype("float32")


def ssim_loss(predicted: Any, target: Any, weight: Any) -> Any:
    """1 - SSIM (Wang 2004: 11 x 11 Gaussian, sigma 1.5, L = 1), reflectance, where the whole window has weight."""
    kernel = _gaussian(predicted.shape[-1])

    def blur(x: Any) -> Any:
        return ops.depthwise_conv(x, kernel, strides=1, padding="valid")

    mean_p, mean_t = blur(predicted), blur(target)
    var_p = blur(ops.square(predicted)) - ops.square(mean_p)
    var_t = blur(ops.square(target)) - ops.square(mean_t)
    cov = blur(predicted * target) - mean_p * mean_t
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_p * mean_t + c1) * (2 * cov + c2)
    bottom = (ops.square(mean_p) + ops.square(mean_t) + c1) * (var_p + var_t + c2)
    whole = -ops.max_pool(-weight[..., None], 11, 1, "valid")  # (B, H-10, W-10, 1): the smallest weight in the window
    return weighted_mean(1.0 - ops.mean(top / bottom, axis=-1), ops.cast(whole[..., 0] > 0, "float32"))
