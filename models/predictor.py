"""Prediction from a finished run directory alone: network, scaler and card; nothing is fitted again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models import backend
from models.inputs import F32, RawSample
from models.run import RunFolder, load_card, load_model
from models.validation import pad_to_multiple
from utils.workflow.errors import ConfigError

Input = tuple[RawSample, Mapping[str, float]]


class Predictor:
    """A trained network that takes samples in physical units and gives reflectance.

    Every batch has the same shape, so a tile's values do not depend on how many others are predicted with it
    (differences stay below 1e-6 between batch sizes).
    """

    def __init__(self, folder: Path, batch_size: int = 8) -> None:
        backend.start()
        import tensorflow as tf

        from models.session import load_scaler

        run = RunFolder(folder)
        self.card = load_card(run)
        self.scaler = load_scaler(run.scaler)
        self.batch_size = batch_size
        network = load_model(run.model)
        if int(network.input_shape[-1]) != self.scaler.n_inputs:
            raise ConfigError(
                f"{folder}: the network takes {network.input_shape[-1]} channels, the scaler gives {self.scaler.n_inputs}.",
                "Train the run again.",
            )
        self._infer = tf.function(lambda x: network(x, training=False))
        self._sigma = self._load_head(run, network) if "uncertainty" in self.card else None

    def _load_head(self, run: RunFolder, network: Any) -> Any:
        """x -> standard deviation in reflectance. A graph of its own: the mean is computed as without a head."""
        import tensorflow as tf

        from models.inputs import units_of
        from models.uncertainty import feature_network

        head, features = load_model(run.uncertainty), feature_network(network)
        temperature = self.card["uncertainty"]["temperature"]
        factor = np.array([temperature[band] for band in self.bands]) * np.abs(
            units_of(self.scaler, len(self.bands)).scale
        )
        scale = tf.constant(factor, tf.float32)

        def sigma(x: Any) -> Any:
            found = head(tf.cast(features(x, training=False)[0], tf.float32), training=False)
            return scale * tf.exp(0.5 * found)

        return tf.function(sigma)

    @property
    def has_sigma(self) -> bool:
        """True when the run tells standard deviations."""
        return self._sigma is not None

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands in channel order."""
        return self.scaler.bands_optical

    def check_bands(self, bands_sar: Sequence[str], bands_optical: Sequence[str], dates: int | None = None) -> None:
        """raises  ConfigError naming both when a dataset has other bands, or samples of other dates, than the run"""
        if dates is not None and dates != self.scaler.n_dates:
            raise ConfigError(
                f"the run was trained on samples of {self.scaler.n_dates} dates, the dataset has {dates}.",
                "Predict a dataset with the same dataset.dates, or train on this one.",
            )
        mine, theirs = (*self.scaler.bands_sar, *self.bands), (*bands_sar, *bands_optical)
        if mine != theirs:
            raise ConfigError(
                f"the run was trained on {', '.join(mine)}, the dataset has {', '.join(theirs)}.",
                "Predict a dataset with the same bands, or train on this one.",
            )

    def predict(self, samples: Sequence[Input]) -> list[F32]:
        """Simulated t1 of samples of one size, each with the scene median of its dS1 in dB.

        returns  one (H, W, n) float32 reflectance each, NaN where an input has no data
        """
        return [self._reflectance(z, valid) for z, valid in self._each(self._infer, samples)]

    def predict_sigma(self, samples: Sequence[Input]) -> list[F32]:
        """Standard deviation of the error of `predict`, for the same samples.

        returns  one (H, W, n) float32 each, reflectance, > 0, NaN where an input has no data
        raises   ConfigError when the run was trained without an uncertainty head
        """
        if self._sigma is None:
            raise ConfigError(
                f"run {self.card['name']} has no uncertainty head.",
                "Write uncertainty: true in its model.yaml and train it again.",
            )
        return [_masked(sigma, valid) for sigma, valid in self._each(self._sigma, samples)]

    def _each(self, infer: Callable[[Any], Any], samples: Sequence[Input]) -> Iterator[tuple[F32, Any]]:
        """(output, valid) of every sample, in batches of one shape."""
        import tensorflow as tf

        for first in range(0, len(samples), self.batch_size):
            chosen = samples[first : first + self.batch_size]
            pairs = [
                self.scaler.network_input(
                    s.s1_t0, s.s1_t1, s.s2_t0, median, [(d.s1, d.s2) for d in getattr(s, "earlier", ())]
                )
                for s, median in chosen
            ]
            rows, cols = pairs[0][1].shape
            stacked = [x for x, _ in pairs] + [pairs[-1][0]] * (self.batch_size - len(pairs))
            x = pad_to_multiple(np.stack(stacked), int(self.card["size_multiple"]))
            z = np.asarray(infer(tf.constant(x)))[:, :rows, :cols]
            yield from ((z[i], valid) for i, (_, valid) in enumerate(pairs))

    def _reflectance(self, z: F32, valid: Any) -> F32:
        return _masked(self.scaler.invert_label(z), valid)


def _masked(image: F32, valid: Any) -> F32:
    return np.where(valid[..., None], image, np.float32(np.nan)).astype(np.float32)
