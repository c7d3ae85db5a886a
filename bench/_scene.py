"""A run with made-up weights and rasters of a made-up scene, of any size, for the benchmark and the tests of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.io.row_writer import writer
from utils.science.grid import Grid
from utils.science.scaler import Scaler
from utils.workflow.files import atomic_json

BANDS = ("B04", "B03", "B02", "B08")
SAR = ("VV", "VH")
_PATCH_PX, _ROWS = 1098, 512


def make_run(folder: Path, size_px: int = 256, bands: Sequence[str] = BANDS, noise: float = 0.01) -> Path:
    """A finished run of the demo's tiny residual network; its weights are moved by `noise`, so that every layer counts."""
    from models import backend

    backend.start()
    import keras

    from models import registry, run
    from models.session import load_confs
    from utils.workflow.config import ROOT

    conf = load_confs(ROOT / "GAN_confs/model_resunet_tiny.yaml", ROOT / "GAN_confs/train_resunet_tiny.yaml")[0]
    keras.utils.set_random_seed(7)
    network, rng = registry.build(conf, len(bands)), np.random.default_rng(7)
    for weight in network.trainable_weights:
        weight.assign(weight.numpy() + rng.normal(0, noise, weight.shape).astype(np.float32))
    paths = run.RunFolder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    run.save_model(network, paths.model)
    atomic_json(paths.scaler, Scaler.fixed(SAR, bands).to_json())
    card = {"schema": run.CARD_SCHEMA, "name": folder.name, "model": "resunet", "size_px": size_px, "size_multiple": 4}
    atomic_json(paths.card, card)
    return folder


def patch(seed: int, side: int = _PATCH_PX) -> dict[str, NDArray[np.float32]]:
    """Band -> (side, side) of a made-up ground: s2 B04 .., S1 VV_t0 .. as linear power with speckle."""
    rng = np.random.default_rng(seed)
    rough, smooth = (ndimage.gaussian_filter(rng.normal(size=(side, side)), width, mode="wrap") for width in (3, 20))
    ground = 0.5 * rough / rough.std() + smooth / smooth.std()
    out = {
        band: np.clip(level + 0.25 * level * ground + rng.normal(0, 0.003, ground.shape), 0.005, 0.9)
        for band, level in zip((*BANDS, "B12"), (0.06, 0.07, 0.05, 0.3, 0.15), strict=True)
    }
    for date in (0, 1):
        for band, level in (("VV", 0.1), ("VH", 0.02)):
            power = level * 10 ** (0.1 * ground) * rng.gamma(4.4, 1 / 4.4, ground.shape)
            out[f"{band}_t{date}"] = power * (0.8 if date and band == "VH" else 1.0)
    return {name: values.astype(np.float32) for name, values in out.items()}


def make_rasters(folder: Path, size: int, bands: Sequence[str] = BANDS, holes: bool = True) -> Grid:
    """preprocessed/ of two dates of size x size px, deflated as preprocessing leaves it: S1_0, S1_1, S2_0.

    The ground repeats every 1098 px. holes: a corner without radar, a spot without optical data, single zeros of power
    """
    grid = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, size, size)
    side = min(_PATCH_PX, max(size, 256))
    ground = patch(3, side)
    if holes:
        ground["VV_t1"].ravel()[:: side * 7 + 3] = 0.0
    places = {f"{band}_t{date}": f"sentinel1/S1_{date}/gamma0_{band.lower()}" for band in SAR for date in (0, 1)}
    places |= {band: f"sentinel2/S2_0/{band}" for band in bands}
    for name, place in places.items():
        _write(folder / f"{place}.tif", grid, ground[name], name.startswith("V"), holes)
    zero = np.zeros((side, side), np.uint8)
    for place in ("sentinel1/S1_0/mask", "sentinel1/S1_1/mask", "sentinel2/S2_0/cloud"):
        _write(folder / f"{place}.tif", grid, zero, False, False)
    return grid


def _write(path: Path, grid: Grid, ground: NDArray[Any], radar: bool, holes: bool) -> None:
    side = len(ground)
    columns = np.arange(grid.cols)
    with writer(path, grid, 1, ground.dtype.name) as out:
        for top in range(0, grid.rows, _ROWS):
            rows = np.arange(top, min(top + _ROWS, grid.rows))
            part = ground[np.ix_(rows % side, columns % side)].copy()
            if holes and ground.dtype.kind == "f":
                edge = (
                    grid.cols // 8 - rows[:, None] // 2 > columns
                    if radar
                    else (np.hypot(rows[:, None] - grid.rows * 0.7, columns - grid.cols * 0.6) < grid.rows / 12)
                )
                part[edge] = np.nan
            out.write(part[None], top, 0)
