"""Adversarial training of the published GAN: cross-entropy + lambda * L1."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from models import losses
from models.config import ModelConf, TrainConf
from models.discriminator import build_discriminator
from models.inputs import Batch
from models.trainer import Losses, Trainer, make_optimiser


def draw_targets(conf: TrainConf, step: int) -> tuple[float, float]:
    """The discriminator's targets for real and simulated images in one step, drawn from their intervals."""
    rng = np.random.default_rng([conf.seed, 21, step])
    real, fake = (float(rng.uniform(low, high)) for low, high in (conf.real_label_smoothing, conf.fake_label_smoothing))
    return real, fake


class GanTrainer(Trainer):
    """Generator and discriminator, one update of both a batch.

    Default: logits, fakes from the one forward pass of the step. published_exact: probabilities behind a leaky ReLU and
    a batch norm, and the discriminator learns from fakes of an inference pass, without dropout.
    """

    def __init__(
        self, generator: Any, model: ModelConf, conf: TrainConf, total_steps: int, size_px: int, start: int
    ) -> None:
        super().__init__(generator, conf, total_steps)
        self.model, self.start = model, start
        self.bands = int(generator.output_shape[-1])
        channels = self.bands + int(generator.input_shape[-1])
        self.discriminator = build_discriminator(model, channels, size_px, conf.published_exact)
        self.networks["discriminator"] = self.discriminator
        self._logits = not (conf.published_exact and model.d_last_activ == "sigmoid")
        g_rate = conf.lr * conf.fact_g_lr
        kinds = {
            "generator": (generator, conf.schedule.optimiser, g_rate),
            "discriminator": (self.discriminator, "adam", conf.lr),
        }
        for name, (network, kind, rate) in kinds.items():
            self.optimisers[name] = (make_optimiser(conf, kind, rate, network.trainable_variables), rate)
        self._update = tf.function(self._one_update)

    def _noise(self, like: Any, sigma: Any, seed: Any, stream: int) -> Any:
        return sigma * tf.random.stateless_normal(tf.shape(like), seed + tf.constant([stream, 0], seed.dtype))

    def _seen(self, image: Any, x: Any, weight: Any) -> Any:
        """What the discriminator sees of an image: S2(t0) where there is no clear label, so that holes tell nothing."""
        t0 = x[..., self.start : self.start + self.bands]
        return tf.where(weight[..., None] > 0, image, t0)

    def _decide(self, image: Any, x: Any, sigma: Any, seed: Any, stream: int) -> Any:
        pair = tf.concat([image, x], axis=-1)
        if self.model.add_discri_noise and not self.conf.published_exact:  # published: sigma 0, without effect
            pair = pair + self._noise(pair, sigma, seed, stream)
        return self.discriminator(pair, training=True)

    def _real(self, y: Any, x: Any, weight: Any, sigma: Any, seed: Any) -> Any:
        real = self._seen(y, x, weight)
        if self.model.add_discri_white_noise:
            real = real + self._noise(real, sigma, seed, 1)
            real = tf.tanh(real) if self.model.add_relu_after_noise else real
        return real

    def _one_update(self, x: Any, y: Any, weight: Any, targets: Any, sigma: Any, seed: Any, update_d: bool) -> Losses:
        g_vars, d_vars = self.generator.trainable_variables, self.discriminator.trainable_variables
        with tf.GradientTape() as g_tape, tf.GradientTape() as d_tape:
            fake = self.generator(x, training=True)
            decided = self._decide(self._seen(fake, x, weight), x, sigma, seed, 2)
            adversarial = losses.binary_cross_entropy(decided, 1.0, self._logits)
            distance = losses.l1(fake, y, weight)
            g_loss = adversarial + self.conf.lambda_ * distance
            if self.conf.published_exact:
                still = tf.stop_gradient(self.generator(x, training=False))
                decided = self._decide(self._seen(still, x, weight), x, sigma, seed, 3)
            d_real = losses.binary_cross_entropy(
                self._decide(self._real(y, x, weight, sigma, seed), x, sigma, seed, 4), targets[0], self._logits
            )
            d_fake = losses.binary_cross_entropy(decided, targets[1], self._logits)
            d_loss = 0.5 * (d_real + d_fake)
        g_optimiser, d_optimiser = self.optimisers["generator"][0], self.optimisers["discriminator"][0]
        g_gradients = g_tape.gradient(g_loss, [v.value for v in g_vars])
        d_gradients = d_tape.gradient(d_loss, [v.value for v in d_vars])
        g_optimiser.apply(g_gradients, g_vars)
        if update_d:
            d_optimiser.apply(d_gradients, d_vars)
        self.update_average(g_optimiser.iterations)
        return {"loss": g_loss, "adversarial": adversarial, "l1": distance, "d_real": d_real, "d_fake": d_fake}

    def step(self, batch: Batch, step: int, epoch: int) -> Losses:
        self.prepare_step(step)
        targets = tf.constant(draw_targets(self.conf, step), tf.float32)
        sigma = tf.constant(self.conf.sigma(epoch), tf.float32)
        seed = tf.constant([self.conf.seed % 2**31, step], tf.int32)
        arrays = (tf.constant(a) for a in (batch.x, batch.y, batch.weight))
        result: Losses = self._update(*arrays, targets, sigma, seed, epoch not in self.conf.train_g_multiple_time)
        return result
