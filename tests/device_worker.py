"""One process of the tests of several devices: a few steps, or a whole training, in a TensorFlow of its own.

python -m tests.device_worker steps KIND BATCH MULTI OUT     the first steps of KIND; weights and terms into OUT (.npz)
python -m tests.device_worker fit KIND BATCH MULTI FOLDER [STEP [SIGNAL]]   a training of KIND in FOLDER; at STEP it sends
                                                             itself SIGNAL (SIGTERM)
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from models import devices

STEPS = 5  # two updates of two micro-batches, and a look at what they did


def _confs(kind: str, batch: int) -> tuple[Any, Any]:
    from models.config import ModelConf
    from tests.unit.tiny_training import TINY_GAN, gan_conf, resunet_conf

    schedule = {"optimiser": "adamw", "weight_decay": 1e-2, "clip_norm": 0.05}  # small enough to bind in every step
    more: dict[str, Any] = {"batch_size": batch, "schedule": schedule, "gradient_acc_step": 2, "multi_gpu": True}
    if kind == "gan":
        # No dropout and no noise: they are drawn for each replica, so no two divisions of a batch can agree.
        return ModelConf(**TINY_GAN, do_rate=0.0), gan_conf(**more, ema=0.9)
    small: dict[str, Any] = {"widths": (8,), "encoder_blocks": (1,), "decoder_blocks": (1,), "middle_blocks": 1}
    if kind == "resunet_gan":  # two of twelve steps, then against the discriminator
        more["phase2"] = {"share": 0.8, "adversarial": 1.0}
        small["dict_discri_archi"] = {1: (1, 2, 4, 8), 2: (1, 1, 4, 1)}
    model = ModelConf(model=kind, **small)
    weights = {"charbonnier": 1.0, "ssim": 0.1, "sam": 0.05, "index": 0.1}
    return model, resunet_conf(**more, loss_weights=weights)


def _task(kind: str, batch: int, folder: Path, multi: bool, after_step: Any = None) -> Any:
    found = devices.start(multi)
    from tests.unit.tiny_training import task

    model, conf = _confs(kind, batch)
    one = task(folder, model, conf, after_step)
    one.devices = found
    return one


def _uneven(tile: Any, number: int) -> Any:
    """Another share of clear pixels in each tile: a mean of means is not the mean over the batch then."""
    from dataclasses import replace

    weight = tile.weight.copy()
    weight[: 2 + 5 * (number % 4)] = 0
    return replace(tile, weight=weight, changed=tile.changed * weight)


def steps(kind: str, batch: int, multi: bool, out: Path) -> None:
    """The terms of STEPS steps and every variable after them."""
    one = _task(kind, batch, out.parent / "unused", multi)
    from models.training import Training

    load = one.load
    one.load = lambda name: _uneven(load(name), int(name))
    training = Training(one)
    found: dict[str, Any] = {"replicas": one.devices.replicas}
    for step in range(STEPS):
        terms = training.trainer.step(training.batches.batch(step), step, 1)
        found.update({f"term{step}.{name}": float(value) for name, value in terms.items()})
    found.update(training.trainer.state())
    if one.devices.chief:
        np.savez(out, **found)
    one.devices.total(0)


def fit(kind: str, batch: int, multi: bool, folder: Path, stop: int = 0, name: str = "SIGTERM") -> int:
    """A whole training; 75 when a signal ended it."""
    from utils.workflow.errors import Interrupted

    def after(done: int) -> None:
        if done == stop:
            os.kill(os.getpid(), getattr(signal, name))

    one = _task(kind, batch, folder, multi, after)
    from models.training import Training

    try:
        figures = Training(one).fit()
    except Interrupted as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if one.devices.chief:
        print(figures["psnr"])
    return 0


if __name__ == "__main__":
    what, kind, batch, multi, path, *rest = sys.argv[1:]
    if what == "steps":
        steps(kind, int(batch), multi == "multi", Path(path))
        sys.exit(0)
    sys.exit(fit(kind, int(batch), multi == "multi", Path(path), int((rest or [0])[0]), *rest[1:]))
