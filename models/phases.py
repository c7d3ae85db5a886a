"""resunet_gan: residual training, then a last part against a patch discriminator, kept only if it costs little.

The discriminator sees [S1, S2(t0), delta]. Phase 2 starts from the best weights of phase 1 and remembers them: where its
own fall behind on changed validation pixels, those of phase 1 are exported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from models import losses
from models.config import ModelConf, TrainConf
from models.discriminator import build_patch_critic
from models.inputs import Batch, Units
from models.regression import RegressionTrainer
from models.trainer import Gradients, Losses, make_optimiser

NEVER = -1


class PhasedTrainer(RegressionTrainer):
    """Phase 1 is that of resunet, its schedule ends with it. Without phase2.share it is resunet."""

    def __init__(
        self, generator: Any, model: ModelConf, conf: TrainConf, total_steps: int, size_px: int, start: int,
        units: Units, bands: tuple[str, ...],
    ) -> None:  # fmt: skip
        self.steps, self.boundary = total_steps, total_steps - round(conf.phase2.share * total_steps)
        super().__init__(generator, conf, max(1, self.boundary), units, bands)
        self.second, self.start, self.bands = conf.phase2, start, len(bands)
        self.discriminator = build_patch_critic(model, start + 2 * len(bands), size_px)
        self.networks["discriminator"] = self.discriminator
        self.turning_points = frozenset({self.boundary})  # phase 1 is judged where it ends
        options = conf.model_copy(update={"beta1": self.second.beta1})
        rates = {"generator2": (generator, self.second.lr_g), "discriminator": (self.discriminator, self.second.lr_d)}
        for name, (network, rate) in rates.items():
            self.optimisers[name] = (make_optimiser(options, "adam", rate, network.trainable_variables), rate)
        self.first = [tf.Variable(v.value, trainable=False) for v in generator.trainable_variables]
        self.first_step = tf.Variable(NEVER, dtype=tf.int64, trainable=False)
        self.phase = 1
        self._update2 = tf.function(self._second_update)

    def _groups(self) -> list[tuple[str, list[Any]]]:
        return [*super()._groups(), ("phase1", [*self.first, self.first_step])]

    def prepare_step(self, step: int) -> None:
        super().prepare_step(step)
        for name, rate in (("generator2", self.second.lr_g), ("discriminator", self.second.lr_d)):
            self.optimisers[name][0].learning_rate = rate

    # -- the two phases --------------------------------------------------------------------------------------------

    def note_validation(self, step: int, better: bool) -> None:
        """Remember the weights of the best validation of phase 1; step batches are done."""
        if better and step <= self.boundary:
            self._remember(step)

    def _remember(self, step: int) -> None:
        with self.exported_weights():
            for kept, variable in zip(self.first, self.generator.trainable_variables, strict=True):
                kept.assign(variable.value)
        self.first_step.assign(step)

    def _assign(self, values: list[Any]) -> None:
        """Make these the weights, and the average of the weights."""
        for variable, value in zip(self.generator.trainable_variables, values, strict=True):
            variable.assign(value)
        for mean, value in zip(self.average, values if self.average else [], strict=True):
            mean.assign(value)

    def step(self, batch: Batch, step: int, epoch: int) -> Losses:
        if step < self.boundary:
            return super().step(batch, step, epoch)
        if step == self.boundary:
            if int(self.first_step.numpy()) == NEVER:
                self._remember(step)
            self._assign([tf.identity(kept) for kept in self.first])
        self.prepare_step(step)
        arrays = self.spread(batch.x, batch.y, batch.weight, batch.changed)
        result: Losses
        result, gradients = self._update2(("generator2", "discriminator"), *arrays)
        self.last_gradients = {name.removesuffix("2"): group for name, group in gradients.items()}
        return result

    def _network_of(self, optimiser: str) -> Any:
        return super()._network_of("generator" if optimiser == "generator2" else optimiser)

    def _second_update(self, names: tuple[str, ...], *values: Any) -> tuple[Losses, Gradients]:
        self.phase = 2  # read while the graph is traced
        try:
            return self._one_update(names, *values)
        finally:
            self.phase = 1

    def _gradients(self, *values: Any) -> tuple[Losses, Gradients]:
        return self._adversarial(*values) if self.phase == 2 else super()._gradients(*values)

    def loss_weights(self) -> dict[str, float]:
        second = self.second.adversarial
        adversarial = {"adversarial": second, "matching": second * self.second.feature_matching, "d": 1.0}
        return {**super().loss_weights(), **(adversarial if self.second.share else {})}

    def choose(self, scores: Callable[[], dict[str, float]]) -> dict[str, Any] | None:
        """Leave in the network what is to be exported.

        scores   figures of the exported weights on the validation set
        returns  facts for the card: which phase, its step, PSNR on changed pixels after both
        """
        if self.second.share == 0:
            return None
        last = [tf.identity(v.value) for v in self.generator.trainable_variables]
        averages = [tf.identity(mean) for mean in self.average]
        after = scores().get("psnr_changed")
        self._assign([tf.identity(kept) for kept in self.first])
        before = scores().get("psnr_changed")
        # without a changed validation pixel nothing speaks for the adversarial weights
        kept = before is not None and after is not None and before - after < self.second.max_loss_db
        if kept:
            self._assign(last)
            for mean, value in zip(self.average, averages, strict=True):
                mean.assign(value)
        step = self.steps if kept else int(self.first_step.numpy())
        facts = {"exported": "phase 2" if kept else "phase 1", "max_loss_db": self.second.max_loss_db}
        facts |= {"phase1_step": int(self.first_step.numpy()), "phase2_from_step": self.boundary}
        return {"exported_step": step, "phase2": facts | {"psnr_changed_phase1": before, "psnr_changed_phase2": after}}

    # -- the adversarial step --------------------------------------------------------------------------------------

    def _judged(self, image: Any, x: Any, weight: Any) -> Any:
        """Decisions and activations for [S1, S2(t0), delta]; delta is 0 where there is no clear label."""
        t0 = x[..., self.start : self.start + self.bands]
        delta = tf.where(weight[..., None] > 0, image - t0, tf.zeros_like(t0))
        return self.discriminator(tf.concat([x[..., : self.start + self.bands], delta], axis=-1), training=True)

    def _decision_losses(self, fake: Any, real: Any) -> tuple[Any, Any]:
        """(loss of the discriminator, of the generator) from two maps of decisions."""
        if self.second.loss == "hinge":
            return 0.5 * (losses.hinge(real, True) + losses.hinge(fake, False)), -losses.mean_of_all(fake)
        d_loss = 0.5 * (losses.least_squares(real, 1.0) + losses.least_squares(fake, 0.0))
        return d_loss, losses.least_squares(fake, 1.0)

    def _adversarial(self, x: Any, y: Any, weight: Any, changed: Any) -> tuple[Losses, Gradients]:
        g_vars, d_vars = self.generator.trainable_variables, self.discriminator.trainable_variables
        with tf.GradientTape() as g_tape, tf.GradientTape() as d_tape:
            image = self.generator(x, training=True)
            terms = self._terms(image, y, weight, changed)
            fake, real = self._judged(image, x, weight), self._judged(y, x, weight)
            d_loss, adversarial = self._decision_losses(fake[0], real[0])
            matching = losses.feature_matching(fake[1:], real[1:])
            residual = tf.add_n([getattr(self.conf.loss_weights, name) * value for name, value in terms.items()])
            extra = self.second.adversarial * (adversarial + self.second.feature_matching * matching)
            total = residual + extra
        gradients = {
            "generator2": g_tape.gradient(total, [v.value for v in g_vars]),
            "discriminator": d_tape.gradient(d_loss, [v.value for v in d_vars]),
        }
        return {"loss": total, **terms, "adversarial": adversarial, "matching": matching, "d": d_loss}, gradients
