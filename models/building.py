"""Fresh networks and optimisers for a task, on its devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models import registry
from utils.workflow.errors import ConfigError

if TYPE_CHECKING:
    from models.training import Task


def build_trainer(task: Task, total_steps: int) -> Any:
    """Fresh networks and optimisers on the task's devices, weights from the seed."""
    import keras

    keras.utils.set_random_seed(task.train.seed)
    keras.config.set_dtype_policy("mixed_bfloat16" if task.train.mixed_precision else "float32")
    try:
        with task.devices.scope():
            trainer = _trainer(task, total_steps)
    finally:
        keras.config.set_dtype_policy("float32")  # a process may go on with other networks
    if task.devices.replicas > 1 and not trainer.distributable:
        raise ConfigError(
            f"{task.name}: {task.model.model} trains on one device only.", "Write multi_gpu: false in train.yaml."
        )
    synchronise(trainer.networks, task.devices.replicas > 1)
    return trainer


def _trainer(task: Task, total_steps: int) -> Any:
    from models.trainers import make_trainer

    generator = registry.build(task.model, len(task.bands), task.dates)
    size = min(task.train.crop_px or task.size_px, task.size_px)
    return make_trainer(generator, task.model, task.train, total_steps, size, task.units, task.bands, task.dates)


def synchronise(networks: dict[str, Any], on: bool) -> None:
    """Let batch normalisation see the global batch; off before a network is saved, so that it loads anywhere."""
    for network in networks.values():
        for layer in network.layers:
            if hasattr(layer, "synchronized"):
                layer.synchronized = on
