"""A made-up work directory with everything that predict reads, and scenes in memory; weights are made up too."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from bench._scene import BANDS, make_rasters, make_run
from scripts._scene import SceneModel, Sizes, load_run
from tests.unit import tiny_judged
from utils.io import raster, samples
from utils.io.acquisitions import Acquisition
from utils.io.cutter import DateRasters
from utils.io.scene_reader import WorkScene, median_change_db
from utils.science.grid import Grid, make_tiles
from utils.workflow import config
from utils.workflow.files import atomic_json

DATES = (Acquisition("d0", ("S1_0",), ("S2_0",), {}), Acquisition("d1", ("S1_1",), (), {}))
TILE, OVERLAP = 64, 32
UPSTREAM = ("import_data", "tile", "build_dataset", "split", "normalise", "train")
CONF = """\
extends: default.yaml
work: {work}
source: import
import_data: {{root: {folder}/in}}
tiling: {{size_px: 64, overlap_px: 32}}
predict: {{stripe_rows: 96}}
train:
  runs:
    - {{name: tiny, model: GAN_confs/model_resunet_tiny.yaml, train: GAN_confs/train_resunet_tiny.yaml}}
hpc: {{allow_login: true}}
"""


def build(folder: Path, size: int = 300, holes: bool = False) -> Path:
    """Rasters, pairs, samples of half overlapping tiles, one run, manifests; returns the path of the YAML."""
    work, conf = folder / "work", folder / "scene.yaml"
    (folder / "in").mkdir(parents=True, exist_ok=True)
    (folder / "default.yaml").write_text((config.ROOT / "confs/default.yaml").read_text())
    conf.write_text(CONF.format(work=work, folder=folder))
    grid = make_rasters(work / "preprocessed", size, holes=holes)
    make_run(work / "runs" / "tiny", TILE)
    dates = [
        {"id": "d0", "s1": {"products": ["S1_0"]}, "s2": {"products": ["S2_0"]}},
        {"id": "d1", "s1": {"products": ["S1_1"]}, "s2": {"products": []}},
    ]
    pair = {"id": "p001", "site": "aoi", "date1": dates[0], "date2": dates[1]}
    atomic_json(work / "search" / "pairs.json", {"schema": "s2cr.pairs/1", "pairs": [pair], "products": {}})
    _samples(work, grid)
    manifests(conf)
    return conf


def _samples(work: Path, grid: Grid) -> None:
    records, root = [], work / "dataset" / "all"
    with (
        DateRasters(work / "preprocessed", DATES[0], BANDS) as before,
        DateRasters(work / "preprocessed", DATES[1], ()) as after,
        WorkScene(work / "preprocessed", DATES, BANDS) as scene,
    ):
        median = median_change_db(scene)
        for tile in make_tiles(*grid.shape, TILE, OVERLAP):
            name, cuts = f"p001_{tile.id}", [before.cut(tile.window), after.cut(tile.window)]
            empty = np.full_like(cuts[0].optical, np.nan)
            planes = {"s1_t0": cuts[0].sar, "s1_t1": cuts[1].sar, "s2_t0": cuts[0].optical, "s2_t1": empty}
            window = np.ones((TILE, TILE), np.uint8)
            planes["mask"] = np.stack([0 * window, 255 * window, 0 * window, window])
            for part, image in planes.items():
                raster.write(samples.sample_path(root, part, name), image, grid.window(tile.window))
            records.append({
                "id": name, "pair": "p001", "tile": tile.id, "window": tile.window.to_list(), "valid": tile.valid.to_list(), "block": "b0",
                "trainable": False, "reason": "no label", "clear_t0": 1.0, "clear_t1": 0.0, "changed_fraction": None, "sar_filled": 0.0,
            })  # fmt: skip
    pair = {
        "site": "aoi", "date1": "d0", "date2": "d1", "t0": "2020-01-04", "t1": "2020-02-04", "grid": grid.to_dict(),
        "ds1_median_db": median, "mixed_orbit": False,
    }  # fmt: skip
    index = {
        "schema": "s2cr.dataset/1", "set": "all", "bands": {"sar": ["VV", "VH"], "optical": list(BANDS)}, "size_px": TILE,
        "pairs": {"p001": pair}, "samples": records,
    }  # fmt: skip
    atomic_json(root / "index.json", index)


def manifests(conf_path: Path) -> None:
    """Complete manifests of the stages before predict, so that the real command accepts the directory."""
    tiny_judged.manifests(conf_path, {**dict.fromkeys(UPSTREAM), "import_data": "preprocessed", "build_dataset": "dataset/all", "train": "runs"})  # fmt: skip


def predicted(
    run: Any, root: Path, first: int = 0, last: int | None = None, sizes: Sizes | None = None, bands: Any = BANDS
) -> np.ndarray:
    """Rows of the scene of make_rasters in `root`, (rows, cols, bands); run is a folder or a predictor."""
    predictor = load_run(run, 8, "tf") if isinstance(run, Path) else run
    log = logging.getLogger("tiny")
    with WorkScene(root, DATES, bands) as scene:
        median = median_change_db(scene)
        with SceneModel(predictor, scene, median, sizes or Sizes(), log) as model:
            return np.concatenate([image for _, image in model.take(first, last or scene.grid.rows)])
