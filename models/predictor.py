"""Prediction from a finished run directory alone: network, scaler and card; nothing is fitted again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models import backend
from models.inputs import F32, RawSample
from models.run import RunFolder, load_card, load_model
from models.validation import pad_to_multiple
from utils.workflow.errors import ConfigError


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
        self._infer = tf.function(lambda x: network(x, training=False), reduce_retracing=True)

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

    def predict(self, samples: Sequence[tuple[RawSample, Mapping[str, float]]]) -> list[F32]:
        """Simulated t1 of samples of one size, each with the scene median of its dS1 in dB.

        returns  one (H, W, n) float32 reflectance each, NaN where an input has no data
        """
        out: list[F32] = []
        for first in range(0, len(samples), self.batch_size):
            out += self._batch(samples[first : first + self.batch_size])
        return out

    def _batch(self, samples: Sequence[tuple[RawSample, Mapping[str, float]]]) -> list[F32]:
        import tensorflow as tf

        pairs = [
            self.scaler.network_input(
                s.s1_t0, s.s1_t1, s.s2_t0, median, [(d.s1, d.s2) for d in getattr(s, "earlier", ())]
            )
            for s, median in samples
        ]
        rows, cols = pairs[0][1].shape
        filled = [x for x, _ in pairs] + [pairs[-1][0]] * (self.batch_size - len(pairs))
        x = pad_to_multiple(np.stack(filled), int(self.card["size_multiple"]))
        z = np.asarray(self._infer(tf.constant(x)))[:, :rows, :cols]
        return [self._reflectance(z[i], valid) for i, (_, valid) in enumerate(pairs)]

    def _reflectance(self, z: F32, valid: Any) -> F32:
        reflectance = self.scaler.invert_label(z)
        return np.where(valid[..., None], reflectance, np.float32(np.nan)).astype(np.float32)
