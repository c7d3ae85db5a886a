"""Training of cyclegan: two generators, two discriminators, a memory of simulated images."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models import cyclegan, losses
from models.config import ModelConf, TrainConf
from models.discriminator import build_patch_critic
from models.gan import draw_targets
from models.inputs import Batch
from models.trainer import Gradients, Losses, Trainer, make_optimiser


class ImageBuffer:
    """The last simulated images, of which a discriminator sees an old one every other time (Shrivastava et al. 2017).

    Its images and their number belong to the state of a training. size 0 = no memory.
    """

    def __init__(self, size: int, shape: tuple[int, int, int]) -> None:
        self.size = size
        self.images = tf.Variable(tf.zeros((size, *shape)), trainable=False)
        self.count = tf.Variable(0, dtype=tf.int32, trainable=False)

    def exchange(self, fresh: Any, draws: Any) -> Any:
        """Images to judge.

        fresh  (B, H, W, C) new images; they fill the memory first, then each replaces an old one with probability 1/2
        draws  (B, 2) uniform in 0..1: the coin, the place
        """
        if self.size == 0:
            return fresh
        out = []
        for number in range(int(fresh.shape[0])):
            image, full = fresh[number], self.count >= self.size
            place = tf.where(full, tf.cast(draws[number, 1] * self.size, tf.int32), self.count)
            old = tf.gather(self.images, place)
            swapped = tf.logical_and(full, draws[number, 0] < 0.5)
            stored = tf.where(tf.logical_or(tf.logical_not(full), swapped), image, old)
            self.images.scatter_nd_update([[place]], stored[None])
            self.count.assign(tf.minimum(self.count + 1, self.size))
            out.append(tf.where(swapped, old, image))
        return tf.stack(out)

    @property
    def variables(self) -> list[Any]:
        return [self.images, self.count]


class CycleTrainer(Trainer):
    """One update of F, G and both discriminators a batch.

    G and F minimise the least squares of their discriminators, lambda_cyc times both cycles, lambda_id times the
    distance to no change where S1 did not change, and lambda times L1 where the label is clear (0 = unpaired).
    """

    distributable = False  # what a discriminator remembers is one list, in the order of the images

    def __init__(
        self,
        generator: Any,
        model: ModelConf,
        conf: TrainConf,
        total_steps: int,
        size_px: int,
        places: cyclegan.Places,
    ) -> None:
        super().__init__(generator, conf, total_steps)
        self.places = places
        self.inverse = cyclegan.build_inverse(model, int(generator.input_shape[-1]), places.bands)
        channels = {"s2": places.bands, "s1": cyclegan.SAR_BANDS}
        self.critics = {k: build_patch_critic(model, n, size_px, f"discriminator_{k}") for k, n in channels.items()}
        self.buffers = {k: ImageBuffer(conf.image_buffer, (size_px, size_px, n)) for k, n in channels.items()}
        self.networks["inverse"] = self.inverse
        self.networks |= {f"discriminator_{k}": network for k, network in self.critics.items()}
        for name, network in self.networks.items():
            creates = name in ("generator", "inverse")
            rate = conf.lr * (conf.fact_g_lr if creates else 1.0)
            kind = conf.schedule.optimiser if creates else "adam"
            self.optimisers[name] = (make_optimiser(conf, kind, rate, network.trainable_variables), rate)
        self._update = tf.function(self._one_update)

    def _dropouts(self) -> list[Any]:
        creators = (self.generator, self.inverse)
        return [layer for network in creators for layer in network.layers if hasattr(layer, "seed_generator")]

    def _groups(self) -> list[tuple[str, list[Any]]]:
        return [*super()._groups(), *((f"buffer_{k}", buffer.variables) for k, buffer in self.buffers.items())]

    def _creators(self, x: Any, y: Any, weight: Any) -> tuple[Losses, dict[str, Any]]:
        """Loss terms of G and F, and the images that they made."""
        at = self.places
        radar, optical = at.s1_t1(x), at.filled(y, x, weight)
        fake_s2 = self.generator(x, training=True)
        fake_s1 = self.inverse(at.inverse_input(x, optical), training=True)
        back_s1 = self.inverse(at.inverse_input(x, fake_s2), training=True)
        back_s2 = self.generator(at.with_s1_t1(x, fake_s1), training=True)
        terms: Losses = {
            "adversarial": losses.least_squares(self.critics["s2"](fake_s2, training=True)[0], 1.0),
            "adversarial_inverse": losses.least_squares(self.critics["s1"](fake_s1, training=True)[0], 1.0),
            "cycle_s1": cyclegan.everywhere(back_s1, radar),
            "cycle_s2": losses.l1(back_s2, y, weight),
            "l1": losses.l1(fake_s2, y, weight),
            "identity": tf.constant(0.0),
        }
        if self.conf.lambda_id:
            s1_t0, s2_t0 = at.s1_t0(x), at.s2_t0(x)  # nothing happened: S1(t1) = S1(t0), S2(t1) = S2(t0)
            still_s2 = self.generator(at.with_s1_t1(x, s1_t0), training=True)
            still_s1 = self.inverse(at.inverse_input(x, s2_t0), training=True)
            terms["identity"] = cyclegan.everywhere(still_s2, s2_t0) + cyclegan.everywhere(still_s1, s1_t0)
        terms["loss"] = (
            terms["adversarial"] + terms["adversarial_inverse"] + self.conf.lambda_ * terms["l1"]
            + self.conf.lambda_cyc * (terms["cycle_s1"] + terms["cycle_s2"]) + self.conf.lambda_id * terms["identity"]
        )  # fmt: skip
        return terms, {"s2": fake_s2, "s1": fake_s1, "real_s2": optical, "real_s1": radar}

    def _judge(self, kind: str, images: dict[str, Any], targets: Any, seed: Any, weight: Any = None) -> Any:
        """Loss of one discriminator on the observed and on a remembered or new simulated image."""
        fake = tf.stop_gradient(images[kind])
        stream = tf.constant([1 if kind == "s1" else 2, 0], seed.dtype)
        seen = self.buffers[kind].exchange(fake, tf.random.stateless_uniform((int(fake.shape[0]), 2), seed + stream))
        real = self.critics[kind](images[f"real_{kind}"], training=True)[0]
        share = None if weight is None else cyclegan.map_weight(weight, real)
        d_real = losses.least_squares(real, targets[0], share)
        d_fake = losses.least_squares(self.critics[kind](seen, training=True)[0], targets[1])
        return 0.5 * (d_real + d_fake)

    def loss_weights(self) -> dict[str, float]:
        ones = ("adversarial", "adversarial_inverse", "d_s2", "d_s1")
        cycles = dict.fromkeys(("cycle_s1", "cycle_s2"), self.conf.lambda_cyc)
        return {**dict.fromkeys(ones, 1.0), **cycles, "identity": self.conf.lambda_id, "l1": self.conf.lambda_}

    def _gradients(self, x: Any, y: Any, weight: Any, targets: Any, seed: Any) -> tuple[Losses, Gradients]:
        variables = {name: network.trainable_variables for name, network in self.networks.items()}
        with tf.GradientTape(persistent=True) as tape:
            terms, images = self._creators(x, y, weight)
            terms["d_s2"] = self._judge("s2", images, targets, seed, weight)
            terms["d_s1"] = self._judge("s1", images, targets, seed)
        wanted = {"generator": "loss", "inverse": "loss", "discriminator_s2": "d_s2", "discriminator_s1": "d_s1"}
        return terms, {
            name: tape.gradient(terms[loss], [v.value for v in variables[name]]) for name, loss in wanted.items()
        }

    def step(self, batch: Batch, step: int, epoch: int) -> Losses:
        self.prepare_step(step)
        targets = tf.constant(draw_targets(self.conf, step), tf.float32)
        seed = tf.constant([self.conf.seed % 2**31, step], tf.int32)
        names: tuple[str, ...] = ("generator", "inverse", "discriminator_s2", "discriminator_s1")
        names = names[:2] if epoch in self.conf.train_g_multiple_time else names
        result: Losses
        arrays = self.spread(batch.x, batch.y, batch.weight)
        result, self.last_gradients = self._update(names, *arrays, targets, seed)
        return result
