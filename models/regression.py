"""Training without a discriminator: resunet and dsen2cr."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models import losses
from models.config import TrainConf
from models.inputs import Batch, Units
from models.trainer import Gradients, Losses, Trainer, make_optimiser

INDEX_BANDS = (("B08", "B04"), ("B08", "B12"))  # NDVI and NBR


class RegressionTrainer(Trainer):
    """Weighted Charbonnier on clear pixels, 1 + change_weight on changed ones, optional SSIM, SAM and index terms."""

    def __init__(self, generator: Any, conf: TrainConf, total_steps: int, units: Units, bands: tuple[str, ...]) -> None:
        super().__init__(generator, conf, total_steps)
        rate = conf.lr * conf.fact_g_lr
        optimiser = make_optimiser(conf, conf.schedule.optimiser, rate, generator.trainable_variables, clips=False)
        self.optimisers["generator"] = (optimiser, rate)
        self._scale, self._offset = tf.constant(units.scale), tf.constant(units.offset)
        self._pairs = tuple((bands.index(a), bands.index(b)) for a, b in INDEX_BANDS if a in bands and b in bands)
        self._update = tf.function(self._one_update)

    def _terms(self, predicted: Any, y: Any, weight: Any, changed: Any) -> Losses:
        """Unweighted loss terms."""
        wanted = self.conf.loss_weights
        weighted = losses.change_weight(weight, changed, self.conf.change_weight)
        terms: Losses = {"charbonnier": losses.charbonnier(predicted, y, weighted)}
        p, t = predicted * self._scale + self._offset, y * self._scale + self._offset
        if wanted.ssim:
            terms["ssim"] = losses.ssim_loss(p, t, weight)
        if wanted.sam:
            terms["sam"] = losses.spectral_angle(p, t, weighted)
        if wanted.index:
            terms["index"] = losses.index_error(p, t, weighted, self._pairs)
        return terms

    def loss_weights(self) -> dict[str, float]:
        return self.conf.loss_weights.model_dump()

    def _gradients(self, x: Any, y: Any, weight: Any, changed: Any) -> tuple[Losses, Gradients]:
        with tf.GradientTape() as tape:
            terms = self._terms(self.generator(x, training=True), y, weight, changed)
            total = tf.add_n([getattr(self.conf.loss_weights, name) * value for name, value in terms.items()])
        gradients = tape.gradient(total, [v.value for v in self.generator.trainable_variables])
        return {"loss": total, **terms}, {"generator": gradients}

    def step(self, batch: Batch, step: int, epoch: int) -> Losses:
        del epoch
        self.prepare_step(step)
        arrays = self.spread(batch.x, batch.y, batch.weight, batch.changed)
        result: Losses
        result, self.last_gradients = self._update(("generator",), *arrays)
        return result
