"""TensorBoard: what is written, under which tags, with which stretch. The step is the number of tiles seen.

loss/TERM, weight/TERM     each loss term and the weight it has in the objective
train/...                  gradient norms, rates, sigma, accuracy of the discriminator, tiles a second
val/...                    scores of the exported weights and of copy_t0, in reflectance
tileNN/...                 t0, prediction, truth, error (stretch 0..0.3), classes of dNDVI; always the same tiles
weights/ gradients/ output/   histograms, the output one a band in reflectance
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.validation import DNDVI_EDGES, difference_ndvi
from utils.science import severity

STRETCH = 0.3  # reflectance shown as white
# unburnt, low, moderate, high, very high, extreme
CLASS_COLOURS = ((0.90, 0.93, 0.88), (1.0, 0.93, 0.55), (0.99, 0.70, 0.25), (0.91, 0.36, 0.15), (0.65, 0.10, 0.20), (0.30, 0.0, 0.25))  # fmt: skip


class Board:
    """Writes summaries into a folder; does nothing without one. A board that cannot be written never ends a training."""

    def __init__(self, folder: Path | None, log: logging.Logger | None = None) -> None:
        self._writer: Any = None
        self._log = log or logging.getLogger("s2cr")
        if folder is not None:
            import tensorflow as tf

            try:
                self._writer = tf.summary.create_file_writer(str(folder))
            except (tf.errors.OpError, OSError) as error:
                self._off(error)

    def _off(self, error: Exception) -> None:
        self._log.warning("TensorBoard is off from here on: %s", str(error).splitlines()[0])
        self._writer = None

    @property
    def on(self) -> bool:
        return self._writer is not None

    def _write(self, kind: str, values: Mapping[str, Any], tiles: int) -> None:
        if self._writer is None:
            return
        import tensorflow as tf

        write = _write_histogram if kind == "histogram" else getattr(tf.summary, kind)
        try:
            with self._writer.as_default():
                for name, value in values.items():
                    write(name, value, step=tiles)
            self._writer.flush()
        except (tf.errors.OpError, OSError) as error:
            self._off(error)

    def scalars(self, values: Mapping[str, float], tiles: int) -> None:
        """Write named numbers."""
        self._write("scalar", values, tiles)

    def images(self, pictures: Mapping[str, Any], tiles: int) -> None:
        """Write named pictures (H, W, 3), 0..1."""
        self._write("image", {name: np.asarray(p, np.float32)[None] for name, p in pictures.items()}, tiles)

    def histograms(self, values: Mapping[str, Any], tiles: int) -> None:
        """Write named arrays as histograms."""
        self._write("histogram", values, tiles)

    def tile(self, number: int, t0: Any, predicted: Any, truth: Any, bands: Sequence[str], tiles: int) -> None:
        """Pictures of one validation tile, histograms of its output; (H, W, n) reflectance each."""
        self.images(tile_pictures(number, t0, predicted, truth, bands), tiles)
        if number == 0:
            self.histograms({f"output/{band}": predicted[..., i] for i, band in enumerate(bands)}, tiles)

    def networks(self, networks: Mapping[str, Any], gradients: Mapping[str, Sequence[Any]], tiles: int) -> None:
        """Histograms of every trainable variable and of its gradient in the last step."""
        self.histograms(network_histograms(networks, gradients), tiles)

    def close(self) -> None:
        if self._writer is not None:
            import tensorflow as tf

            with suppress(tf.errors.OpError, OSError):
                self._writer.close()


def _write_histogram(name: str, value: Any, step: int) -> None:
    """As tf.summary.histogram writes it, but counted by numpy: some sixty operations of TensorFlow each cost seconds a run."""
    import tensorflow as tf
    from tensorboard.plugins.histogram.summary_v2 import histogram_pb

    tf.summary.experimental.write_raw_pb(histogram_pb(name, np.asarray(value)).SerializeToString(), step=step)


class Meter:
    """Means of the steps since the last reading, and tiles a second; for the board only, never for the result."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._steps, self._began = 0, time.monotonic()

    def add(self, terms: Mapping[str, float]) -> None:
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1

    def read(self, tiles_a_step: int, weights: Mapping[str, float]) -> dict[str, float]:
        """Tag -> number, and start again."""
        means = {name: value / self._steps for name, value in self._sums.items()} if self._steps else {}
        losses = {name for name in means if name in weights or name == "loss"}
        out = {f"{'loss' if name in losses else 'train'}/{name}": value for name, value in means.items()}
        out |= {f"weight/{name}": weights[name] for name in weights if name in means}
        now = time.monotonic()
        if self._steps:
            out["train/tiles_per_second"] = self._steps * tiles_a_step / max(now - self._began, 1e-9)
        self._sums, self._steps, self._began = {}, 0, now
        return out


def picture(reflectance: Any) -> NDArray[np.float32]:
    """(H, W, n) -> (H, W, 3) 0..1 with the fixed stretch; the first three bands are red, green, blue as stored."""
    image = np.asarray(reflectance, np.float32)[..., :3]
    return np.clip(np.repeat(image[..., :1], 3, -1) if image.shape[-1] < 3 else image, 0, STRETCH) / np.float32(STRETCH)


def class_picture(difference: Any) -> NDArray[np.float32]:
    """(H, W) dNDVI -> (H, W, 3) colours of its severity classes, black where it is NaN."""
    colours = np.zeros((256, 3), np.float32)
    colours[: len(CLASS_COLOURS)] = CLASS_COLOURS
    return np.asarray(colours[severity.classify(difference, DNDVI_EDGES)])


def tile_pictures(number: int, t0: Any, predicted: Any, truth: Any, bands: Sequence[str]) -> dict[str, Any]:
    """Tag -> picture of one validation tile; t0, predicted, truth (H, W, n) reflectance."""
    tag = f"tile{number:02d}"
    shown = {"t0": t0, "prediction": predicted, "truth": truth, "error": np.abs(predicted - truth)}
    out = {f"{tag}/{name}": picture(image) for name, image in shown.items()}
    for name, image in (("dndvi_prediction", predicted), ("dndvi_truth", truth)):
        difference = difference_ndvi(bands, t0, image)
        if difference is not None:
            out[f"{tag}/{name}"] = class_picture(difference)
    return out


def network_histograms(networks: Mapping[str, Any], gradients: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Tag -> array of every trainable variable and of its gradient in the last step."""
    out = {}
    for name, network in networks.items():
        variables = network.trainable_variables
        out.update({f"weights/{name}/{v.path}": v.numpy() for v in variables})
        for variable, gradient in zip(variables, gradients.get(name, ()), strict=False):
            if gradient is not None:
                out[f"gradients/{name}/{variable.path}"] = np.asarray(gradient)
    return out
