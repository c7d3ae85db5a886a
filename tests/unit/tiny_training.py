"""A small world in memory for the model tests: smooth images, burns that darken the optical and the radar image."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from models import inputs, registry
from models.config import ModelConf, TrainConf
from models.run import RunFolder
from models.training import Task, fingerprint
from utils.science.scaler import Scaler, sample_moments

BANDS = ("B04", "B03", "B02", "B08")
SAR = ("VV", "VH")
MEDIAN = {"VV": 0.0, "VH": 0.0}
TINY = {"widths": (8, 16), "encoder_blocks": (1, 1), "decoder_blocks": (1, 1), "middle_blocks": 1}
TINY_GAN: dict[str, Any] = {
    "param_before_resnet": ((8, 3),), "dim_resnet": 8, "nb_resnet_blocs": 1, "param_after_resnet": ((8, 3),),
    "dict_discri_archi": {1: (1, 2, 4, 8), 2: (1, 1, 4, 1)},
}  # fmt: skip


@dataclass(frozen=True)
class FakeSample:
    s1_t0: Any
    s1_t1: Any
    s2_t0: Any
    s2_t1: Any
    cloud_t0: Any
    cloud_t1: Any
    window: Any


def sample(number: int, size: int = 24) -> FakeSample:
    """Sample `number`; the burn multiplies reflectance by 0.3, 0.4, 0.5, 0.3 and VH and VV by 0.5."""
    rng = np.random.default_rng(number)
    t0 = (0.2 + 0.4 * gaussian_filter(rng.normal(size=(size, size, 4)), (3, 3, 0))).clip(0.02, 0.6).astype("float32")
    burn = (gaussian_filter(rng.normal(size=(size, size)), 4) > 0.03).astype("float32")[..., None]
    t1 = (t0 * (1 - burn * np.array([0.7, 0.6, 0.5, 0.7]))).astype("float32")
    s0, s1 = (
        np.array([0.1, 0.02], np.float32) * rng.gamma(20, 1 / 20, (size, size, 2)).astype("float32") for _ in range(2)
    )
    clear = np.zeros((size, size), np.uint8)
    return FakeSample(s0, s1 * (1 - 0.5 * burn), t0, t1, clear, clear, clear == 0)


def standard_scaler() -> Scaler:
    """Mode standard fitted on five samples."""
    use = np.ones((24, 24), bool)
    parts = [
        sample_moments([(s.s1_t0, use), (s.s1_t1, use)], [(s.s2_t0, use), (s.s2_t1, use)], SAR, BANDS, 5)
        for s in map(sample, range(5))
    ]
    return Scaler.fit(parts, SAR, BANDS, 0.2, 1 / 7)


def resunet_conf(**more: Any) -> TrainConf:
    values: dict[str, Any] = {
        "epoch": 2, "steps_per_epoch": 6, "batch_size": 2, "metric_step": 5, "lr": 3e-3, "beta1": 0.9, "ema": 0.9, "crop_px": 16, "seed": 3,
        "checkpoint_steps": 3, "tensorboard": False, "gradient_acc_step": 1,
        "schedule": {"optimiser": "adamw", "weight_decay": 1e-4, "decay": "cosine", "warmup_steps": 3},
        "augment": {"flips": True, "s1_gain_db": 0.5, "s2_gain": 0.02, "drop_s1_t0": 0.1},
    }  # fmt: skip
    return TrainConf(**{**values, **more})


def gan_conf(**more: Any) -> TrainConf:
    values: dict[str, Any] = {
        "epoch": 2, "steps_per_epoch": 5, "batch_size": 2, "metric_step": 4, "lr": 1e-3, "seed": 3, "checkpoint_steps": 3,
        "tensorboard": False, "gradient_acc_step": 2,
    }  # fmt: skip
    return TrainConf(**{**values, **more})


def task(folder: Path, model: ModelConf, train: TrainConf, after_step: Any = None) -> Task:
    """A training of eight samples, validated on two others."""
    mode = registry.scaler_mode(model)
    scaler = Scaler.fixed(SAR, BANDS) if mode == "fixed" else standard_scaler()
    start = registry.channels(mode, 4)[1]
    clip = registry.spec_of(model).adversarial
    load = inputs.TileCache(lambda i: inputs.prepare_tile(sample(int(i)), scaler, MEDIAN, start, clip))
    folder.mkdir(parents=True, exist_ok=True)
    return Task(
        "tiny", RunFolder(folder), model, train, BANDS, 24, inputs.units_of(scaler, 4), [f"{i:03d}" for i in range(8)], ["100", "101"],
        load, fingerprint(model, train, scaler.to_json()), {}, logging.getLogger("test"), after_step=after_step,
    )  # fmt: skip
