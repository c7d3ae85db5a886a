"""What every way of training shares: networks, optimisers, moving average, and their exact state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import cos, pi
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.config import TrainConf
from models.inputs import F32, Batch

Losses = dict[str, Any]


def learning_rate(base: float, conf: TrainConf, step: int, total_steps: int) -> float:
    """Rate of one step (from 0): linear warm-up, then constant or cosine to zero."""
    warm = conf.schedule.warmup_steps
    if step < warm:
        return base * (step + 1) / warm
    if conf.schedule.decay == "none":
        return base
    return base * 0.5 * (1 + cos(pi * (step - warm) / max(1, total_steps - warm)))


def make_optimiser(conf: TrainConf, kind: str, rate: float, variables: list[Any]) -> Any:
    """Adam or AdamW with gradient accumulation, built for its variables."""
    options: dict[str, Any] = {"learning_rate": rate, "beta_1": conf.beta1}
    if conf.gradient_acc_step > 1:
        options["gradient_accumulation_steps"] = conf.gradient_acc_step
    if conf.schedule.clip_norm:
        options["global_clipnorm"] = conf.schedule.clip_norm
    if kind == "adamw":
        optimiser = keras.optimizers.AdamW(weight_decay=conf.schedule.weight_decay, **options)
        optimiser.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    else:
        optimiser = keras.optimizers.Adam(**options)
    optimiser.build(variables)
    return optimiser


class Trainer(ABC):
    """One training in memory. Subclasses fill `networks` (generator first) and `optimisers` with their base rates.

    turning_points  steps done at which a validation is due whatever metric_step says
    """

    turning_points: frozenset[int] = frozenset()

    def __init__(self, generator: Any, conf: TrainConf, total_steps: int) -> None:
        self.generator, self.conf, self.total_steps = generator, conf, total_steps
        self.networks: dict[str, Any] = {"generator": generator}
        self.optimisers: dict[str, tuple[Any, float]] = {}
        self.average = (
            [tf.Variable(v.value, trainable=False) for v in generator.trainable_variables] if conf.ema else []
        )
        self._infer = tf.function(lambda x: generator(x, training=False))

    @abstractmethod
    def step(self, batch: Batch, step: int, epoch: int) -> Losses:
        """One batch; step from 0, epoch from 1. Returns scalar tensors."""

    def note_validation(self, step: int, better: bool) -> None:  # noqa: B027 - most trainers do not care
        """Told after each validation, before the checkpoint; step batches are done."""

    def choose(self, scores: Callable[[], dict[str, float]]) -> dict[str, Any] | None:
        """Called at the end: a trainer that leaves the weights to export in the network tells the card why; None = the best checkpoint."""
        del scores
        return None

    def prepare_step(self, step: int) -> None:
        """Set everything that varies from step to step from (seed, step) alone."""
        for optimiser, base in self.optimisers.values():
            optimiser.learning_rate = learning_rate(base, self.conf, step, self.total_steps)
        for number, layer in enumerate(self._dropouts()):
            layer.seed_generator.state.assign(
                np.array([self.conf.seed % 2**32, (step * 1009 + number) % 2**32], np.uint32)
            )

    def _dropouts(self) -> list[Any]:
        return [layer for layer in self.generator.layers if hasattr(layer, "seed_generator")]

    def update_average(self, iterations: Any) -> None:
        """Move the average towards the weights; the first steps follow faster, so that a short training counts."""
        if not self.average:
            return
        done = tf.cast(iterations, tf.float32)
        momentum = tf.minimum(self.conf.ema, (1.0 + done) / (10.0 + done))
        for mean, variable in zip(self.average, self.generator.trainable_variables, strict=True):
            mean.assign(momentum * mean + (1.0 - momentum) * variable.value)

    @contextmanager
    def exported_weights(self) -> Iterator[None]:
        """Inside, the generator holds the weights that are scored and exported: the average where there is one."""
        if not self.average:
            yield
            return
        variables = self.generator.trainable_variables
        kept = [np.asarray(v.value) for v in variables]
        for variable, mean in zip(variables, self.average, strict=True):
            variable.assign(mean)
        try:
            yield
        finally:
            for variable, value in zip(variables, kept, strict=True):
                variable.assign(value)

    def predict(self, x: F32) -> F32:
        """(B, H, W, C) -> (B, H, W, n), network units, inference mode."""
        return np.asarray(self._infer(tf.constant(x)))

    def state(self) -> dict[str, Any]:
        """Every number that the next step depends on, by name."""
        out = {}
        for group, variables in self._groups():
            out.update({f"{group}.{i:04d}": np.asarray(v) for i, v in enumerate(variables)})
        return out

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of state.

        raises  ValueError when names or shapes differ
        """
        wanted = {f"{g}.{i:04d}": v for g, variables in self._groups() for i, v in enumerate(variables)}
        if set(wanted) != set(state):
            raise ValueError("the checkpoint holds other variables than this model")
        for name, variable in wanted.items():
            if tuple(variable.shape) != tuple(state[name].shape):
                raise ValueError(
                    f"the checkpoint holds {name} as {state[name].shape}, the model {tuple(variable.shape)}"
                )
            variable.assign(state[name])

    def _groups(self) -> list[tuple[str, list[Any]]]:
        groups = [(name, list(network.variables)) for name, network in self.networks.items()]
        groups += [(f"optimiser_{name}", list(pair[0].variables)) for name, pair in self.optimisers.items()]
        return [*groups, ("average", list(self.average))]
