"""Which trainer belongs to which model."""

from __future__ import annotations

from typing import Any

from models import registry
from models.config import ModelConf, TrainConf
from models.inputs import Units
from models.trainer import Trainer


def make_trainer(
    generator: Any,
    model: ModelConf,
    conf: TrainConf,
    total_steps: int,
    size_px: int,
    units: Units,
    bands: tuple[str, ...],
    dates: int = 2,
) -> Trainer:
    """Fresh optimisers and helper networks around a fresh generator.

    size_px  side of the training crops: discriminators are built for it
    """
    _, start = registry.channels(registry.scaler_mode(model), len(bands), dates)
    training = registry.spec_of(model).training
    if training == "gan":
        from models.gan import GanTrainer

        return GanTrainer(generator, model, conf, total_steps, size_px, start)
    if training == "cycle":
        from models.cycle_trainer import CycleTrainer
        from models.cyclegan import Places

        places = Places(registry.SAR_CHANNELS * (dates - 1), start, len(bands))
        return CycleTrainer(generator, model, conf, total_steps, size_px, places)
    if training == "phases":
        from models.phases import PhasedTrainer

        return PhasedTrainer(generator, model, conf, total_steps, size_px, start, units, bands)
    from models.regression import RegressionTrainer

    return RegressionTrainer(generator, conf, total_steps, units, bands)
