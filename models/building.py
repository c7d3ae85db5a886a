"""Fresh networks and optimisers for a task, on its devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models import registry
from utils.workflow.errors import ConfigError

if TYPE_CHECKING:
    from models.config import ModelConf, TrainConf
    from models.inputs import Units
    from models.trainer import Trainer
    from models.training import Task


def build_trainer(task: Task, total_steps: int) -> Any:
    """Fresh networks and optimisers on the task's devices, weights from the seed."""
    size = min(task.train.crop_px or task.size_px, task.size_px)
    with task.devices.scope():
        trainer = fresh_trainer((task.model, task.train), task.bands, task.units, size, total_steps, task.dates)
    if task.devices.replicas > 1 and not trainer.distributable:
        raise ConfigError(
            f"{task.name}: {task.model.model} trains on one device only.", "Write multi_gpu: false in train.yaml."
        )
    synchronise(trainer.networks, task.devices.replicas > 1)
    return trainer


def fresh_trainer(
    confs: tuple[ModelConf, TrainConf],
    bands: tuple[str, ...],
    units: Units,
    size_px: int,
    total_steps: int,
    dates: int = 2,
) -> Trainer:
    """Networks with fresh weights from the seed, in the precision of the configuration, and their optimisers.

    size_px  side of the training crops
    """
    import keras

    from models.trainers import make_trainer

    model, train = confs
    keras.utils.set_random_seed(train.seed)
    keras.config.set_dtype_policy("mixed_bfloat16" if train.mixed_precision else "float32")
    try:
        generator = registry.build(model, len(bands), dates)
        return make_trainer(generator, model, train, total_steps, size_px, units, bands, dates)
    finally:
        keras.config.set_dtype_policy("float32")  # a process may go on with other networks


def synchronise(networks: dict[str, Any], on: bool) -> None:
    """Let batch normalisation see the global batch; off before a network is saved, so that it loads anywhere."""
    for network in networks.values():
        for layer in network.layers:
            if hasattr(layer, "synchronized"):
                layer.synchronized = on
