"""Adversarial training of the published GAN: cross-entropy + lambda * L1."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from models import losses
from models.config import ModelConf, TrainConf
from models.discriminator import build_discriminator
from models.inputs import Batch
from models.trainer import Gradients, Losses, Trainer, make_optimiser


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
            self.optimisers[name] = (make_optimiser(conf, kind, rate, network.trainable_variables, clips=False), rate)
        self._update = tf.function(self._one_update)

    def _noise(self, like: Any, sigma: Any, seed: Any, stream: int) -> Any:
        context = tf.distribute.get_replica_context()
        own = 16 * tf.cast(context.replica_id_in_sync_group, seed.dtype)  # no two replicas draw the same noise
        return sigma * tf.random.stateless_normal(tf.shape(like), seed + tf.stack([stream + own, 0]))

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

    def loss_weights(self) -> dict[str, float]:
        return {"adversarial": 1.0, "l1": self.conf.lambda_, "d_real": 0.5, "d_fake": 0.5}

    def _right(self, decided: Any, real: bool) -> Any:
        """Share of patches that the discriminator takes for what they are, of all replicas' patches."""
        said_real = decided > (0.0 if self._logits else 0.5)
        right = tf.cast(said_real if real else tf.logical_not(said_real), tf.float32)[..., 0]
        return losses.weighted_mean(right, tf.ones_like(right))

    def _gradients(self, x: Any, y: Any, weight: Any, targets: Any, sigma: Any, seed: Any) -> tuple[Losses, Gradients]:
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
            decided_real = self._decide(self._real(y, x, weight, sigma, seed), x, sigma, seed, 4)
            d_real = losses.binary_cross_entropy(decided_real, targets[0], self._logits)
            d_fake = losses.binary_cross_entropy(decided, targets[1], self._logits)
            d_loss = 0.5 * (d_real + d_fake)
        gradients = {
            "generator": g_tape.gradient(g_loss, [v.value for v in g_vars]),
            "discriminator": d_tape.gradient(d_loss, [v.value for v in d_vars]),
        }
        accuracy = 0.5 * (self._right(decided_real, True) + self._right(decided, False))
        terms = {"loss": g_loss, "adversarial": adversarial, "l1": distance, "d_real": d_real, "d_fake": d_fake}
        return {**terms, "d_accuracy": accuracy}, gradients

    def step(self, batch: Batch, step: int, epoch: int) -> Losses:
        self.prepare_step(step)
        targets = tf.constant(draw_targets(self.conf, step), tf.float32)
        sigma = tf.constant(self.conf.sigma(epoch), tf.float32)
        seed = tf.constant([self.conf.seed % 2**31, step], tf.int32)
        both = ("generator", "discriminator")
        names = both[:1] if epoch in self.conf.train_g_multiple_time else both
        arrays = self.spread(batch.x, batch.y, batch.weight)
        result: Losses
        result, self.last_gradients = self._update(names, *arrays, targets, sigma, seed)
        return result
