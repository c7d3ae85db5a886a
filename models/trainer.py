"""What every way of training shares: networks, optimisers, moving average, their exact state, and several devices.

On several devices every replica computes loss terms whose SUM over the replicas is the mean over the global batch, the
gradients are summed, and one update of the sum follows: clipping, accumulation and decay see what one device would see.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import cos, pi
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import losses
from models.config import TrainConf
from models.inputs import F32, Batch

Losses = dict[str, Any]
Gradients = dict[str, list[Any]]
PACK_BYTES = 32 << 20  # gradients travel between workers in packs of this size


def _over_replicas(values: Any) -> Any:
    """Sum of a tensor, or of each of a list, over all replicas; on one device the values themselves."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    options = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=PACK_BYTES)
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values, options=options)


losses.total_of_replicas = _over_replicas


def learning_rate(base: float, conf: TrainConf, step: int, total_steps: int) -> float:
    """Rate of one step (from 0): linear warm-up, then constant or cosine to zero."""
    warm = conf.schedule.warmup_steps
    if step < warm:
        return base * (step + 1) / warm
    if conf.schedule.decay == "none":
        return base
    return base * 0.5 * (1 + cos(pi * (step - warm) / max(1, total_steps - warm)))


def make_optimiser(conf: TrainConf, kind: str, rate: float, variables: list[Any], clips: bool = True) -> Any:
    """Adam or AdamW with gradient accumulation, built for its variables.

    clips  False = who applies it clips (accumulated gradients are always clipped by the optimiser, after their sum)
    """
    options: dict[str, Any] = {"learning_rate": rate, "beta_1": conf.beta1}
    if conf.gradient_acc_step > 1:
        options["gradient_accumulation_steps"] = conf.gradient_acc_step
    if conf.schedule.clip_norm and (clips or conf.gradient_acc_step > 1):
        options["global_clipnorm"] = conf.schedule.clip_norm
    if kind == "adamw":
        optimiser = keras.optimizers.AdamW(weight_decay=conf.schedule.weight_decay, **options)
        optimiser.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    else:
        optimiser = keras.optimizers.Adam(**options)
    optimiser.build(variables)
    return optimiser


def global_norm(gradients: Sequence[Any]) -> Any:
    """Euclidean norm of all gradients as one vector, summed as Keras sums it; None counts nothing."""
    return tf.sqrt(tf.reduce_sum(tf.stack([tf.reduce_sum(tf.square(g)) for g in gradients if g is not None])))


class Trainer(ABC):
    """One training in memory. Subclasses fill `networks` (generator first) and `optimisers` with their base rates.

    Built inside the scope of a tf.distribute strategy, it trains on that strategy's devices: `_gradients` runs once a
    replica, the rest once. distributable: a subclass whose step does not go through `_one_update` says False.

    turning_points  steps done at which a validation is due whatever metric_step says
    """

    distributable = True
    # of whoever steps by `_one_update`: terms and gradients by network of one replica's tiles, shares of the global batch
    _gradients: Callable[..., tuple[Losses, Gradients]]
    turning_points: frozenset[int] = frozenset()

    def __init__(self, generator: Any, conf: TrainConf, total_steps: int) -> None:
        self.generator, self.conf, self.total_steps = generator, conf, total_steps
        self.strategy = tf.distribute.get_strategy()
        self.keeps_gradients = True  # False before the first step: none leaves the graph, where buffers are used again
        self.last_gradients: Gradients = {}
        self._seeded: list[Any] | None = None  # layers that draw numbers, looked for once
        self.networks: dict[str, Any] = {"generator": generator}
        self.optimisers: dict[str, tuple[Any, float]] = {}
        self.average = (
            [tf.Variable(v.value, trainable=False) for v in generator.trainable_variables] if conf.ema else []
        )
        self._infer = tf.function(lambda x: generator(x, training=False))

    @abstractmethod
    def step(self, batch: Batch, step: int, epoch: int) -> Losses:
        """One batch; step from 0, epoch from 1. Returns scalar tensors."""

    def loss_weights(self) -> dict[str, float]:
        """Weight of each loss term in the objective, to be shown beside it."""
        return {}

    def _shared(self, *values: Any) -> tuple[Losses, Gradients]:
        terms, gradients = self._gradients(*values)
        if self.strategy.num_replicas_in_sync == 1:
            return terms, gradients
        names = sorted(terms)
        known = [(name, i) for name, group in gradients.items() for i, g in enumerate(group) if g is not None]
        summed = _over_replicas([*(terms[n] for n in names), *(gradients[n][i] for n, i in known)])
        for (name, i), value in zip(known, summed[len(names) :], strict=True):
            gradients[name][i] = value
        return dict(zip(names, summed, strict=False)), gradients

    def _one_update(self, names: tuple[str, ...], *values: Any) -> tuple[Losses, Gradients]:
        """Gradients of every network, one update of the named ones; returns the terms of the global batch."""

        def here(value: Any) -> Any:
            return value if value is None else self.strategy.experimental_local_results(value)[0]

        shares, grown = self.strategy.run(self._shared, args=values)
        terms = {name: here(value) for name, value in shares.items()}
        gradients = {name: [here(g) for g in group] for name, group in grown.items()}
        norms = {name: global_norm(group) for name, group in gradients.items()}
        for name in names:
            optimiser, limit = self.optimisers[name][0], self.conf.schedule.clip_norm
            moves = gradients[name]
            if limit and optimiser.global_clipnorm is None:  # here: the norm is known, and half the cost of clipping
                moves = tf.clip_by_global_norm(moves, limit, use_norm=norms[name])[0]
            optimiser.apply(moves, self._network_of(name).trainable_variables)
        self.update_average(self.optimisers[names[0]][0].iterations)
        for name, norm in norms.items():
            terms["gradient_norm" if name == "generator" else f"gradient_norm_{name}"] = norm
        return terms, gradients if self.keeps_gradients else {}

    def _network_of(self, optimiser: str) -> Any:
        """The network that an optimiser moves."""
        return self.networks[optimiser]

    def spread(self, *arrays: F32) -> list[Any]:
        """The rows of this worker's tiles, dealt in order to its replicas."""
        if self.strategy.num_replicas_in_sync == 1:
            return [tf.constant(array) for array in arrays]
        count = len(self.strategy.extended.worker_devices)
        out = []
        for array in arrays:
            pieces = iter(np.split(array, count))
            out.append(
                self.strategy.experimental_distribute_values_from_function(
                    lambda _, pieces=pieces: tf.constant(next(pieces))
                )
            )
        return out

    def note_validation(self, step: int, better: bool) -> None:  # noqa: B027 - most trainers do not care
        """Told after each validation, before the checkpoint; step batches are done."""

    def choose(self, scores: Callable[[], dict[str, float]]) -> dict[str, Any] | None:
        """Called at the end: a trainer that leaves the weights to export in the network tells the card why; None = the best checkpoint."""
        del scores
        return None

    def prepare_step(self, step: int) -> None:
        """Set everything that varies from step to step from (seed, step) alone; replicas drop different pixels."""
        for optimiser, base in self.optimisers.values():
            optimiser.learning_rate = learning_rate(base, self.conf, step, self.total_steps)
        first = self.first_replica()
        if self._seeded is None:
            self._seeded = self._dropouts()
        for number, layer in enumerate(self._seeded):
            copies = self.strategy.experimental_local_results(layer.seed_generator.state.value)
            for replica, copy in enumerate(copies, first):
                words = [(self.conf.seed + 7919 * replica) % 2**32, (step * 1009 + number) % 2**32]
                copy.assign(np.array(words, np.uint32))

    def first_replica(self) -> int:
        """Number of this worker's first replica among all."""
        resolver = getattr(self.strategy, "cluster_resolver", None)
        return int(resolver.task_id or 0) * len(self.strategy.extended.worker_devices) if resolver else 0

    def _dropouts(self) -> list[Any]:
        return [layer for layer in self.generator.layers if hasattr(layer, "seed_generator")]

    def update_average(self, iterations: Any) -> None:
        """Move the average towards the weights; the first steps follow faster, so that a short training counts."""
        if not self.average:
            return
        done = tf.cast(iterations, tf.float32)
        momentum = tf.minimum(self.conf.ema, (1.0 + done) / (10.0 + done))

        def follow(
            mean: Any, value: Any
        ) -> None:  # one kernel instead of three: a fifth of the cost for small networks
            tf.raw_ops.ResourceApplyGradientDescent(var=mean.handle, alpha=1.0 - momentum, delta=mean - value)

        for mean, variable in zip(self.average, self.generator.trainable_variables, strict=True):
            self.strategy.extended.update(mean, follow, args=(variable.value,), group=False)

    @contextmanager
    def exported_weights(self) -> Iterator[None]:
        """Inside, the generator holds the weights that are scored and exported: the average where there is one."""
        if not self.average:
            yield
            return
        variables = self.generator.trainable_variables
        kept = [v.value.numpy() for v in variables]
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
            out.update({f"{group}.{i:04d}": v.numpy() for i, v in enumerate(variables)})
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
