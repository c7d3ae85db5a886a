"""Training of the pixel network: Keras layers, one TensorFlow step, equal weights for equal rows, recipe and seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import backend
from utils.science.pixel_net import F32, NetRecipe, PixelNet, standardised

_STILL, _IGNORED = 1e-6, 1e30  # a feature that hardly varies gets this spread: nothing was learned from it


def fit(x: NDArray[np.floating], y: NDArray[np.floating], recipe: NetRecipe, seed: int) -> PixelNet:
    """Train on rows: Huber loss of the change over its standard deviation, AdamW with a cosine to zero, moving average.

    x  (N, F) features, NaN = not known; y (N, n) change of reflectance
    raises  ValueError when there is no row
    """
    if not len(x):
        raise ValueError("no row to learn from")
    backend.start()
    mean, deviation = np.nanmean(x, axis=0, dtype=np.float64), np.nanstd(x, axis=0, dtype=np.float64)
    varies = np.isfinite(mean) & (deviation > _STILL)
    centre = np.where(np.isfinite(mean), mean, 0.0).astype(np.float32)
    spread = np.where(varies, deviation, _IGNORED).astype(np.float32)
    scale = float(y.std(dtype=np.float64)) or 1.0
    inputs, targets = standardised(x, centre, spread), (y / scale).astype(np.float32)
    network = _network(inputs.shape[1], targets.shape[1], recipe, seed)
    _train(network, inputs, targets, recipe, seed)
    arrays = [np.asarray(weight) for weight in network.get_weights()]
    return PixelNet(centre, spread, scale, tuple(zip(arrays[::2], arrays[1::2], strict=True)))


def _network(width: int, outputs: int, recipe: NetRecipe, seed: int) -> Any:
    import keras

    value = first = keras.Input((width,))
    value = keras.layers.GaussianNoise(recipe.noise, seed=seed)(value)
    for number, units in enumerate((*recipe.hidden, outputs), start=1):
        last = number > len(recipe.hidden)
        kernel = keras.initializers.GlorotUniform(seed=seed + number)
        value = keras.layers.Dense(units, activation=None if last else "silu", kernel_initializer=kernel)(value)
        if not last:
            value = keras.layers.Dropout(recipe.dropout, seed=seed + 100 + number)(value)
    return keras.Model(first, value)


def _train(network: Any, inputs: F32, targets: F32, recipe: NetRecipe, seed: int) -> None:
    import keras
    import tensorflow as tf

    size = min(recipe.batch, len(inputs))
    steps = len(inputs) // size
    rate = keras.optimizers.schedules.CosineDecay(recipe.rate, steps * recipe.epochs)
    optimiser = keras.optimizers.AdamW(
        rate, weight_decay=recipe.weight_decay, use_ema=True, ema_momentum=recipe.ema, ema_overwrite_frequency=None
    )
    optimiser.build(network.trainable_variables)
    loss_of = keras.losses.Huber(1.0)

    @tf.function(reduce_retracing=True)
    def step(x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            loss = loss_of(y, network(x, training=True))
        variables = network.trainable_variables
        optimiser.apply(tape.gradient(loss, [v.value for v in variables]), variables)

    for epoch in range(recipe.epochs):
        order = np.random.default_rng((seed, 29, epoch)).permutation(len(inputs))
        for first in range(0, steps * size, size):
            chosen = order[first : first + size]
            step(tf.constant(inputs[chosen]), tf.constant(targets[chosen]))
    optimiser.finalize_variable_values(network.trainable_variables)
