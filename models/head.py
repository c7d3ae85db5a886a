"""Training of the uncertainty head of a finished mean, and its judgement on the validation set.

It works on the network as exported: the mean that is judged is the mean that predicts. Interrupted, it resumes like the
training of the mean, with checkpoints of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from math import cos, pi
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import losses, uncertainty
from models.callbacks import Progress, StopFlag
from models.checkpoint import Checkpoints, sweep
from models.inputs import CHANGED_REFLECTANCE, F32, Batches, Tile, Units
from models.run import load_model, save_model
from models.validation import pad_to_multiple
from utils.science import indices, severity
from utils.science import uncertainty as judgement
from utils.workflow.errors import ConfigError, Interrupted

PIXELS = 2_000_000  # of the validation set that are judged, at most
SAVES = 5  # checkpoints of a training
BURNED = {"NBR": 0.10, "NDVI": 0.09}  # fall of the index from t0 to t1 that counts as burned


class Head:
    """A head on a network, in memory."""

    def __init__(self, network: Any, filters: int, bands: int) -> None:
        self.network = uncertainty.feature_network(network)
        self.model = uncertainty.build_head(int(self.network.output_shape[0][-1]), bands, filters)
        self.infer = tf.function(self._sigma)

    def _sigma(self, x: Any) -> tuple[Any, Any]:
        features, mean = self.network(x, training=False)
        return tf.cast(mean, tf.float32), tf.exp(0.5 * self.model(tf.cast(features, tf.float32), training=False))


class HeadTraining:
    """One training of a head: Adam on the likelihood of the errors of a mean that stands still.

    first_step  the batches continue behind those of the mean, so that crops and gains are others
    """

    def __init__(self, task: Any, batches: Batches, first_step: int, steps: int, multiple: int) -> None:
        self.task, self.batches, self.first_step, self.steps = task, batches, first_step, steps
        self.conf, self.multiple, self.done = task.train.head, multiple, 0
        keras.utils.set_random_seed(task.train.seed)
        self.head = Head(load_model(task.run.model), self.conf.filters, len(task.bands))
        self.optimiser = keras.optimizers.Adam(self.conf.lr)
        self.optimiser.build(self.head.model.trainable_variables)
        mean = hashlib.sha256(task.run.model.read_bytes()).hexdigest()
        key = hashlib.sha256(f"{task.fingerprint} {mean} {steps}".encode()).hexdigest()
        self.checkpoints = Checkpoints(task.run.checkpoints / "uncertainty", key, 1)
        self._update = tf.function(self._one_update)

    def _variables(self) -> dict[str, Any]:
        every = {"head": self.head.model.variables, "optimiser": self.optimiser.variables}
        return {f"{name}.{i:04d}": v for name, variables in every.items() for i, v in enumerate(variables)}

    def _one_update(self, x: Any, y: Any, weight: Any) -> Any:
        features, mean = self.head.network(x, training=False)
        features, mean = tf.stop_gradient(tf.cast(features, tf.float32)), tf.stop_gradient(tf.cast(mean, tf.float32))
        variables = self.head.model.trainable_variables
        with tf.GradientTape() as tape:
            found = self.head.model(features, training=True)
            loss = losses.gaussian_nll(mean, y, found, weight, self.conf.beta)
        self.optimiser.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    def _start_from_the_errors(self) -> None:
        """Before its training the head says the mean squared error of each band, everywhere."""
        total, count = np.zeros(len(self.task.bands)), 0.0
        for step in range(4):
            batch = self.batches.batch(self.first_step + step)
            mean = np.asarray(self.head.infer(tf.constant(batch.x))[0], np.float64)
            total += (np.square(mean - batch.y) * batch.weight[..., None]).sum((0, 1, 2))
            count += float(batch.weight.sum())
        value = np.log(np.maximum(total / max(count, 1.0), 1e-4))
        self.head.model.get_layer("last").bias.assign(value.astype(np.float32))

    def run(self, fresh: bool) -> None:
        """Train to the end, or resume; fresh leaves checkpoints aside.

        raises  Interrupted after a signal, ConfigError when the loss is not finite
        """
        sweep(self.checkpoints.folder)
        if self.checkpoints.steps() and not fresh:
            arrays, state = self.checkpoints.load(self.checkpoints.steps()[-1])
            for name, variable in self._variables().items():
                variable.assign(arrays[name])
            self.done = int(state["done"])
        else:
            self._start_from_the_errors()
        first, every = self.first_step + self.done, max(1, self.steps // SAVES)
        name = f"{self.task.name}, uncertainty"
        progress = Progress(self.steps, self.done, self.task.log, name)
        with StopFlag() as stop:
            for batch in self.batches.iterate(first, self.first_step + self.steps):
                self.optimiser.learning_rate = self.conf.lr * 0.5 * (1 + cos(pi * self.done / self.steps))
                loss = float(self._update(*(tf.constant(a) for a in (batch.x, batch.y, batch.weight))))
                self.done += 1
                if not np.isfinite(loss):
                    raise ConfigError(f"{name}: the loss is not finite at step {self.done}.", "Lower head.lr.")
                progress.update(self.done, 1, loss)
                if self.task.after_step is not None:
                    self.task.after_step(self.first_step + self.done)
                if self.done % every == 0 or self.done == self.steps or stop.name:
                    self._save()
                if stop.name and self.done < self.steps:
                    raise Interrupted(
                        f"{name}: {stop.name} at step {self.done} of {self.steps}; saved.",
                        "Run the same command again: it resumes.",
                    )

    def _save(self) -> None:
        arrays = {name: np.asarray(variable) for name, variable in self._variables().items()}
        self.checkpoints.save(self.done, arrays, {"done": self.done}, None)


def burned_mask(t0: F32, t1: F32, bands: tuple[str, ...]) -> Any:
    """(H, W) True where the true pair burned: dNBR > 0.10 where B12 is there, else dNDVI > 0.09; reflectance."""
    for name, threshold in BURNED.items():
        if name in indices.available((name,), bands):
            before, after = (indices.compute(name, indices.stack_to_bands(image, bands)) for image in (t0, t1))
            return severity.burned(indices.difference(before, after), threshold) == 1
    return np.zeros(t0.shape[:2], bool)


def collect(
    infer: Callable[[Any], tuple[Any, Any]], tiles: Sequence[Callable[[], Tile]], units: Units, start: int,
    bands: tuple[str, ...], multiple: int,
) -> dict[str, Any]:  # fmt: skip
    """Errors and sigmas of weighted validation pixels, in reflectance; at most PIXELS, drawn evenly and seeded.

    returns  error, sigma (N, bands); changed, burned, predicted_change (N,); tile (N,) number of the tile
    """
    names = ("error", "sigma", "changed", "burned", "predicted_change", "tile")
    parts: dict[str, list[Any]] = {name: [] for name in names}
    share = max(1, PIXELS // max(1, len(tiles)))
    for number, load in enumerate(tiles):
        tile = load()
        rows, cols = tile.weight.shape
        padded = pad_to_multiple(tile.x[None], multiple)
        mean, sigma = (np.asarray(a)[0, :rows, :cols] for a in infer(tf.constant(padded)))
        t0 = tile.x[..., start : start + len(bands)]
        burned = burned_mask(units.scale * t0 + units.offset, units.scale * tile.y + units.offset, bands)
        where = np.flatnonzero(tile.weight > 0)
        if where.size > share:
            where = np.random.default_rng([31, number]).choice(where, share, replace=False)
        planes = {"error": (mean - tile.y) * units.scale, "sigma": sigma * np.abs(units.scale)}
        for name, plane in planes.items():
            parts[name].append(plane.reshape(-1, len(bands))[where].astype(np.float64))
        said = np.abs((mean - t0) * units.scale).mean(-1) > CHANGED_REFLECTANCE
        parts["predicted_change"].append(said.ravel()[where])
        parts["changed"].append(tile.changed.ravel()[where] > 0)
        parts["burned"].append(burned.ravel()[where])
        parts["tile"].append(np.full(where.size, number))
    return {name: np.concatenate(arrays) for name, arrays in parts.items() if arrays}


def judge(pixels: dict[str, Any], bands: tuple[str, ...]) -> dict[str, Any]:
    """Temperature and interval of 95 % of each band; coverage and AUSE of all, changed, burned, said-to-change pixels.

    Each half of the tiles is judged with the figures of the other half; exported are those of both together.
    """
    if not pixels or not pixels["error"].size:
        none = {"temperature": dict.fromkeys(bands, 1.0), "width_95": dict.fromkeys(bands, judgement.NORMAL_95)}
        return {**none, "strata": {}, "cross_fitted": False}
    error, sigma = pixels["error"], pixels["sigma"]
    ratios = np.abs(error) / sigma

    def fitted(chosen: Any) -> Any:
        """(2, bands): temperatures, and widths of the interval of 95 % in sigmas after them."""
        columns = [ratios[chosen, band] for band in range(len(bands))]
        factors = [judgement.fit_temperature(column) for column in columns]
        widths = [judgement.fit_width_95(column / factor) for column, factor in zip(columns, factors, strict=True)]
        return np.array([factors, widths])

    second = pixels["tile"] >= (pixels["tile"].max() + 1) / 2
    whole = fitted(slice(None))
    crossed = bool(second.any() and (~second).any())
    used = np.where(second[:, None], fitted(~second)[:, None], fitted(second)[:, None]) if crossed else whole
    strata = {"all": np.ones(len(error), bool)}
    strata |= {name: pixels[name] for name in ("changed", "burned", "predicted_change")}
    temperature, width = (dict(zip(bands, map(float, row), strict=True)) for row in whole)
    return {
        "temperature": temperature, "width_95": width, "cross_fitted": crossed,
        "strata": judgement.strata_report(error, sigma, used[0], used[1], strata, whole[0]),
        "mean_sigma": dict(zip(bands, map(float, (sigma * whole[0]).mean(0)), strict=True)),
    }  # fmt: skip


def train_head(
    task: Any, batches: Batches, first_step: int, val_ids: Sequence[str], start: int, multiple: int, fresh: bool
) -> dict[str, Any]:
    """Train, export and judge the head of task.run.model; returns the facts for the card."""
    steps = task.train.head.steps or max(1, first_step // 5)
    training = HeadTraining(task, batches, first_step, steps, multiple)
    training.run(fresh)
    save_model(training.head.model, task.run.uncertainty)
    tiles = [lambda i=i: task.load(i) for i in val_ids]
    pixels = collect(training.head.infer, tiles, task.units, start, task.bands, multiple)
    facts = judge(pixels, task.bands)
    if not val_ids:
        task.log.warning("%s: the validation set is empty: the temperature of sigma stays 1", task.name)
    parameters = int(training.head.model.count_params())
    return {"file": task.run.uncertainty.name, "steps": steps, "parameters": parameters, **facts}
