"""Prediction from a finished run directory alone: network, scaler and card; nothing is fitted again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from models import backend
from models.inputs import F32, RawSample, units_of
from models.run import RunFolder, load_card, load_model
from models.runtime import Kind, Runtime
from models.validation import pad_to_multiple
from utils.science.scaler import CHANGE_CLIP_DB
from utils.science.uncertainty import WIDTH_TAG, widths_text
from utils.workflow.errors import ConfigError

Input = tuple[RawSample, Mapping[str, float]]
REFLECTANCE = (-0.01, 1.2)  # what a network says beyond is cut: no clear ground is darker or brighter
_WINDOW_PIXELS = 1 << 16  # of a batch on a processor: one window of 256 px stays in its cache, eight do not


class SceneRows(Protocol):
    """Full-width rows of a scene, as utils.io.scene_reader gives them: s1, s2 (dates, channels, rows, cols)."""

    @property
    def s1(self) -> F32: ...
    @property
    def s2(self) -> F32: ...


class Predictor:
    """A trained network that takes samples in physical units and gives reflectance.

    Every batch has the same shape, so a tile's values do not depend on how many others are predicted with it
    (differences stay below 1e-6 between batch sizes).
    """

    def __init__(self, folder: Path, batch_size: int = 8, runtime: Kind = "tf") -> None:
        backend.start()
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
        units = units_of(self.scaler, len(self.bands))
        self._infer = self._windows = Runtime(lambda x: network(x, training=False), runtime, units.scale)
        self._limits = tuple(np.asarray((limit - units.offset) / units.scale, np.float32) for limit in REFLECTANCE)
        self._sigma: Runtime | None = None
        if "uncertainty" in self.card:
            self._load_head(run, network, runtime, units.scale)

    def _load_head(self, run: RunFolder, network: Any, runtime: Kind, scale: Any) -> None:
        """x -> standard deviation in reflectance. A graph of its own: the mean of tiles is computed as without a head.

        For windows of scenes one graph gives both: features are computed once.
        """
        import tensorflow as tf

        from models.uncertainty import feature_network

        head, features = load_model(run.uncertainty), feature_network(network)
        temperature = self.card["uncertainty"]["temperature"]
        factor = tf.constant(np.array([temperature[band] for band in self.bands]) * np.abs(scale), tf.float32)

        def both(x: Any) -> tuple[Any, Any]:
            seen, mean = features(x, training=False)
            found = head(tf.cast(seen, tf.float32), training=False)
            return mean, factor * tf.exp(0.5 * found)

        one = np.ones(len(self.bands))
        self._sigma = Runtime(lambda x: both(x)[1], runtime, one)
        self._windows = Runtime(lambda x: tf.concat(both(x), axis=-1), runtime, np.concatenate([scale, one]))

    @property
    def has_sigma(self) -> bool:
        """True when the run tells standard deviations."""
        return self._sigma is not None

    @property
    def sigma_tags(self) -> dict[str, str]:
        """Tag SIGMA_95 of rasters of sigma: half width of the interval of 95 % of each band, in sigmas."""
        widths = self.card.get("uncertainty", {}).get("width_95")
        return {WIDTH_TAG: widths_text({band: widths[band] for band in self.bands})} if widths else {}

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands in channel order."""
        return self.scaler.bands_optical

    @property
    def size_multiple(self) -> int:
        """Height and width of what the network takes are multiples of this."""
        return int(self.card["size_multiple"])

    @property
    def window_px(self) -> int:
        """Side of the tiles that the run was trained and judged on: the scale on which its features pool."""
        return int(self.card["size_px"])

    @property
    def scene_bands(self) -> tuple[str, ...]:
        """Bands of a predicted scene: reflectance, then sigma_<band> where the run tells standard deviations."""
        return (*self.bands, *(f"sigma_{band}" for band in self.bands if self.has_sigma))

    def scene_batch(self, window_px: int) -> int:
        """Windows that are predicted at once."""
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return self.batch_size
        return min(self.batch_size, max(1, _WINDOW_PIXELS // window_px**2))

    @property
    def scene_workers(self) -> int:
        """Calls of the network at once: one a core where every operation has one thread."""
        import tensorflow as tf

        if self._windows.kind != "tf" or tf.config.list_physical_devices("GPU"):
            return 1  # other runtimes divide each call among the cores themselves
        return backend.usable_cores()

    def scene_room(self, rows: int, cols: int) -> tuple[F32, Any]:
        """Arrays for scene_input: (rows, cols, C) float32 and (rows, cols) bool."""
        return np.empty((rows, cols, self.scaler.n_inputs), np.float32), np.empty((rows, cols), bool)

    def scene_input(
        self, rows: SceneRows, ds1_median_db: Mapping[str, float], x: F32 | None = None, valid: Any = None
    ) -> tuple[F32, Any]:
        """Normalised input (rows, cols, C) and valid (rows, cols) of rows of a scene whose radar is filled.

        x, valid  what scene_room gave; written there
        """
        from utils.science.scene_kernels import network_input

        scaler, fixed = self.scaler, self.scaler.mode == "fixed"
        if x is None:
            x, valid = self.scene_room(*rows.s1.shape[2:])
        median = np.array([ds1_median_db[band] for band in scaler.bands_sar], np.float32)
        cut = CHANGE_CLIP_DB if fixed else 0.0
        network_input(rows.s1, rows.s2, *scaler.affine_and_clip(), median, cut, x, valid)
        return x, valid

    def windows(self, x: F32) -> F32:
        """(B, h, w, C) network input to (B, h, w, scene bands): mean in network units, sigma in reflectance."""
        found = np.array(self._windows(x))
        count = len(self.bands)
        np.clip(found[..., :count], *self._limits, out=found[..., :count])
        return found

    def scene_units(self) -> tuple[F32, F32]:
        """(scale, offset) of the scene bands: what windows() gave, blended, times scale plus offset is reflectance.

        Sigma is blended as it is, not its square: errors of two windows over one pixel are one network's answers to
        nearly one input, so they go together, and of fully correlated errors the weighted mean of the standard
        deviations is that of the weighted mean. It is also what joining predicted tiles does.
        """
        units = units_of(self.scaler, len(self.bands))
        more = len(self.scene_bands) - len(self.bands)
        ones, zeros = np.ones(more, np.float32), np.zeros(more, np.float32)
        return np.concatenate([units.scale, ones]), np.concatenate([units.offset, zeros])

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
            x = pad_to_multiple(np.stack(stacked), self.size_multiple)
            z = infer(x)[:, :rows, :cols]
            yield from ((z[i], valid) for i, (_, valid) in enumerate(pairs))

    def _reflectance(self, z: F32, valid: Any) -> F32:
        return _masked(self.scaler.invert_label(np.clip(z, *self._limits)), valid)


def _masked(image: F32, valid: Any) -> F32:
    return np.where(valid[..., None], image, np.float32(np.nan)).astype(np.float32)
