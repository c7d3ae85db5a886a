"""The small world of tiny_training as data sets on disk, for the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.unit.tiny_training import BANDS, SAR, sample, standard_scaler
from utils.io import raster, samples
from utils.science.grid import Grid, Window
from utils.science.scaler import Scaler
from utils.workflow.files import atomic_json

SIZE = 24
GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, SIZE, SIZE * 6)
MODEL = """model: resunet
model_name: small
input_shape: [null, null, null]
dim_gt_image: [24, 24, 4]
widths: [8]
encoder_blocks: [1]
middle_blocks: 1
decoder_blocks: [1]
"""


def write_set(root: Path, name: str, numbers: range) -> None:
    """dataset/NAME with the samples of these numbers, one column of the grid each."""
    infos = []
    for number in numbers:
        sample_id, window = f"p001_r0000_c{number:04d}", Window(0, number * SIZE, SIZE, SIZE)
        raw, grid = sample(number, SIZE), GRID.window(window)
        mask = np.stack([raw.cloud_t0, raw.cloud_t1, raw.cloud_t0, raw.window.astype(np.uint8)])
        planes = {part: getattr(raw, part).transpose(2, 0, 1) for part in ("s1_t0", "s1_t1", "s2_t0", "s2_t1")}
        for part, array in {**planes, "mask": mask}.items():
            raster.write(samples.sample_path(root / name, part, sample_id), np.ascontiguousarray(array), grid)
        infos.append({
            "id": sample_id, "pair": "p001", "tile": f"r0000_c{number:04d}", "window": window.to_list(), "valid": window.to_list(), "block": f"b{number % 3}",
            "trainable": True, "reason": None, "clear_t0": 1.0, "clear_t1": 1.0, "changed_fraction": 0.3, "sar_filled": 0.0,
        })  # fmt: skip
    pair = {
        "site": "x", "date1": "20200101", "date2": "20200301", "t0": "2020-01-01", "t1": "2020-03-01", "grid": GRID.to_dict(),
        "ds1_median_db": {"VV": 0.0, "VH": 0.0}, "mixed_orbit": False,
    }  # fmt: skip
    index = {
        "schema": "s2cr.dataset/1",
        "set": name,
        "bands": {"sar": list(SAR), "optical": list(BANDS)},
        "size_px": SIZE,
    }
    atomic_json(root / name / "index.json", {**index, "pairs": {"p001": pair}, "samples": infos})


def write_work(folder: Path, **keys: Any) -> None:
    """dataset/train and val, both scalers, model.yaml and train.yaml; keys go into train.yaml."""
    write_set(folder / "dataset", "train", range(4))
    write_set(folder / "dataset", "val", range(4, 6))
    atomic_json(folder / "norm" / "scaler_fixed.json", Scaler.fixed(SAR, BANDS).to_json())
    atomic_json(folder / "norm" / "scaler_standard.json", standard_scaler().to_json())
    (folder / "model.yaml").write_text(MODEL)
    write_train(folder / "train.yaml", folder, **keys)


def write_train(path: Path, folder: Path, **keys: Any) -> None:
    """A train.yaml of 4 steps on the sets of a folder."""
    values = {
        "train_directory": str(folder / "dataset/train"), "val_directory": str(folder / "dataset/val"), "epoch": 1, "steps_per_epoch": 4,
        "batch_size": 2, "gradient_acc_step": 1, "lr": 0.003, "metric_step": 2, "checkpoint_steps": 2, **keys,
    }  # fmt: skip
    path.write_text("".join(f"{key}: {'null' if value is None else value}\n" for key, value in values.items()))
