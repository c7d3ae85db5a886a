"""One configuration trained again and again on tiles in memory: many small trainings, no validation, no files.

Every training starts from the same fresh weights and sees the same stream of crops and gains; only the tiles differ. The
weights after the last step count (their moving average where there is one): nothing is chosen, so nothing is held out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from models import backend, registry
from models.building import fresh_trainer
from models.config import ModelConf, TrainConf
from models.inputs import F32, Batches, Tile, Units
from utils.science.blend import Blender
from utils.workflow.errors import ConfigError

_LOOK = 50  # steps between two looks at the losses: reading one waits for it


class Fitter:
    """Trains networks of one kind for one place.

    side_px  side of a training crop and of a window of prediction
    """

    def __init__(self, model: ModelConf, train: TrainConf, bands: tuple[str, ...], side_px: int, steps: int) -> None:
        """side_px  at most this; a multiple of what the network divides by

        raises  ConfigError when the side is too small for the network
        """
        backend.start(side_by_side=train.one_thread_per_operation)
        self.multiple = registry.size_multiple(model)
        self.side_px = min(train.crop_px or side_px, side_px) // self.multiple * self.multiple
        if self.side_px < 1:
            raise ConfigError(
                f"{model.model_name}: {side_px} px are too few, sides are multiples of {self.multiple} px.",
                "Choose a network with fewer levels.",
            )
        warm = min(train.schedule.warmup_steps, steps // 10)
        schedule = train.schedule.model_copy(update={"warmup_steps": warm})
        self.model, self.bands, self.steps = model, bands, steps
        self.train = train.model_copy(update={"crop_px": self.side_px, "schedule": schedule})
        _, self.start = registry.channels(registry.scaler_mode(model), len(bands))
        self._kept: tuple[bytes, Any, dict[str, Any]] | None = None

    def fit(
        self, ids: Sequence[str], load: Callable[[str], Tile], units: Units, changed: Mapping[str, float]
    ) -> Callable[[F32], F32]:
        """Train on some tiles.

        load     id -> tile in network units
        changed  id -> share of changed pixels, for configurations that balance batches
        returns  windows (B, side_px, side_px, C) -> (B, side_px, side_px, n), network units; good until the next fit
        raises   NothingFoundError without tiles, ConfigError when a loss is not finite
        """
        trainer = self._fresh(units)
        batches = Batches(ids, load, self.train, units, self.start, dict(changed), self.multiple)
        for step, batch in enumerate(batches.iterate(0, self.steps)):
            terms = trainer.step(batch, step, step // batches.steps_per_epoch + 1)
            if (step + 1) % _LOOK == 0 or step + 1 == self.steps:
                self._check(step + 1, terms)

        def predict(x: F32) -> F32:
            with trainer.exported_weights():
                return np.asarray(trainer.predict(x))

        return predict

    def _fresh(self, units: Units) -> Any:
        """A trainer with fresh weights: the one of the last training set back, where its graphs are the same."""
        key = b"".join(np.ascontiguousarray(part).tobytes() for part in (units.scale, units.offset, units.db_slope))
        if registry.spec_of(self.model).adversarial:
            key = b""  # these losses know network units only
        if self._kept is not None and self._kept[0] == key:
            self._kept[1].restore(self._kept[2])
            return self._kept[1]
        trainer = fresh_trainer((self.model, self.train), self.bands, units, self.side_px, self.steps)
        trainer.keeps_gradients = False
        self._kept = key, trainer, trainer.state()
        return trainer

    def _check(self, step: int, terms: Mapping[str, Any]) -> None:
        values = {name: float(value) for name, value in terms.items()}
        if not all(math.isfinite(value) for value in values.values()):
            raise ConfigError(
                f"{self.model.model_name}: at step {step} of {self.steps} a loss is not finite: {values}.",
                "Lower lr in its train.yaml.",
            )

    @property
    def parameters(self) -> int:
        """Parameters of the network that predicts, after the first fit."""
        return int(self._kept[1].generator.count_params()) if self._kept else 0


def predict_windows(predict: Callable[[F32], F32], x: F32, side_px: int) -> F32:
    """Predict an image by windows of one size that overlap by half, blended with sin^2 weights.

    x        (H, W, C) network units, H and W at least side_px
    returns  (H, W, n) network units
    """
    rows, cols = (_places(length, side_px) for length in x.shape[:2])
    corners = [(top, left) for top in rows for left in cols]
    found = predict(np.stack([x[top : top + side_px, left : left + side_px] for top, left in corners]))
    blender = Blender(x.shape[0], x.shape[1], found.shape[-1])
    for (top, left), window in zip(corners, found, strict=True):
        blender.add(np.moveaxis(window, -1, 0), top, left)
    return np.ascontiguousarray(np.moveaxis(blender.result(), 0, -1))


def _places(length: int, side_px: int) -> list[int]:
    """First pixels of the fewest windows that cover a length and overlap by half or more."""
    if length < side_px:
        raise ValueError(f"{length} px are fewer than a window of {side_px} px")
    count = 1 + -(-(length - side_px) // max(1, side_px // 2))
    return [round(number * (length - side_px) / max(1, count - 1)) for number in range(count)]
