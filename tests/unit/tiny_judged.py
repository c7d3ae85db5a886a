"""A made-up work directory with everything that mosaic .. report read: two pairs on one small grid.

The true change is a square that loses vegetation and VH; the run `good` predicts it with small noise, `bad` copies t0.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scripts._context import Context, Options, Report
from utils.io import raster
from utils.io.samples import sample_path
from utils.science.grid import Grid, make_tiles
from utils.workflow import config
from utils.workflow.files import atomic_json

GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 64, 96)
BANDS = ("B04", "B03", "B02", "B08", "B12")
HEALTHY = np.array([0.04, 0.06, 0.03, 0.35, 0.12], np.float32)
BURNT = np.array([0.10, 0.08, 0.06, 0.14, 0.25], np.float32)
UPSTREAM: dict[str, str | None] = {  # stages before mosaic -> folder of their outputs
    "import_data": "preprocessed", "tile": None, "build_dataset": "dataset/all", "split": "dataset/test", "normalise": None,
    "train": None, "predict": "pred",
}  # fmt: skip

CONF = """\
extends: default.yaml
work: {work}
source: import
import_data: {{root: {folder}/truth}}
dataset: {{extra_bands: [B12]}}
tiling: {{size_px: 32}}
train:
  runs:
    - {{name: good, model: GAN_confs/model_resunet_tiny.yaml, train: GAN_confs/train_resunet_tiny.yaml}}
    - {{name: bad, model: GAN_confs/model_tiny.yaml, train: GAN_confs/train_tiny.yaml}}
evaluate: {{truth_dir: {folder}/truth, bootstrap: 50, baseline_pixels: 2000}}
report: {{title: Made-up ground, synthetic: true, max_px: 100, max_pairs: 1}}
"""


def _ground(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reflectance before and after (B, rows, cols), and the burnt mask."""
    generator = np.random.default_rng(seed)
    before = HEALTHY[:, None, None] * generator.uniform(0.8, 1.2, (1, *GRID.shape)).astype(np.float32)
    burnt = np.zeros(GRID.shape, bool)
    burnt[10:50, 8:28] = burnt[20:60, 40:56] = burnt[5:40, 70:90] = True
    after = np.where(burnt, BURNT[:, None, None], before + generator.normal(0, 0.002, before.shape)).astype(np.float32)
    return before, after, burnt


def _radar(burnt: np.ndarray, seed: int, drop_db: float) -> np.ndarray:
    generator = np.random.default_rng(seed)
    looks = generator.gamma(20, 1 / 20, (2, *GRID.shape))
    drop = np.where(burnt, 10 ** (drop_db / 10), 1.0)
    return (looks * np.array([0.1, 0.02])[:, None, None] * np.stack([np.ones(GRID.shape), drop])).astype(np.float32)


def build(folder: Path) -> Path:
    """Write the work directory and its configuration; returns the path of the YAML."""
    work = folder / "work"
    conf_path = folder / "tiny.yaml"
    (folder / "default.yaml").write_text((config.ROOT / "confs/default.yaml").read_text())
    conf_path.write_text(CONF.format(work=work, folder=folder))
    before, after, burnt = _ground(1)
    cloud = np.zeros(GRID.shape, np.uint8)
    cloud[:12, 60:] = 1
    seen = np.where(cloud == 1, np.float32(0.6), after)
    radar = {"d0": _radar(burnt, 2, 0.0), "d1": _radar(burnt, 3, -4.0)}
    optical = {"d0": (before, np.zeros(GRID.shape, np.uint8)), "d1": (seen, cloud)}
    for date, (image, mask) in optical.items():
        place = work / "preprocessed" / "sentinel2" / f"S2_{date}"
        for name, plane in zip(BANDS, image):
            raster.write(place / f"{name}.tif", plane, GRID, nodata=np.nan)
        raster.write(place / "cloud.tif", mask, GRID)
        for name, plane in zip(("vv", "vh"), radar[date]):
            raster.write(
                work / "preprocessed" / "sentinel1" / f"S1_{date}" / f"gamma0_{name}.tif", plane, GRID, nodata=np.nan
            )
    raster.write(folder / "truth" / "S2_t1_clear.tif", after, GRID, band_names=BANDS, nodata=np.nan)
    _pairs(work)
    _dataset(work, before, seen, radar, cloud)
    _predictions(work, before, after)
    manifests(conf_path)
    return conf_path


def _pairs(work: Path) -> None:
    def date(name: str) -> dict[str, object]:
        return {"id": name, "s1": {"products": [f"S1_{name}"]}, "s2": {"products": [f"S2_{name}"]}}

    pairs = [
        {"id": "p001", "site": "aoi", "date1": date("d0"), "date2": date("d1")},
        {"id": "p002", "site": "aoi", "date1": date("d1"), "date2": date("d0")},
    ]
    atomic_json(work / "search" / "pairs.json", {"schema": "s2cr.pairs/1", "pairs": pairs, "products": {}})


def _dataset(work: Path, before: np.ndarray, seen: np.ndarray, radar: dict[str, np.ndarray], cloud: np.ndarray) -> None:
    tiles = make_tiles(*GRID.shape, 32)
    samples, sets = [], {"train": [], "val": [], "test": []}
    for tile in tiles:
        name = f"p001_{tile.id}"
        rows, cols = tile.window.slices
        grid = GRID.window(tile.window)
        part = "test" if tile.window.col == 64 else "train" if tile.window.col == 0 else "val"
        sets[part].append(name)
        window = np.ones((32, 32), np.uint8)
        mask = np.stack([np.zeros((32, 32), np.uint8), cloud[rows, cols], np.zeros((32, 32), np.uint8), window])
        planes = {"s1_t0": radar["d0"], "s1_t1": radar["d1"], "s2_t0": before, "s2_t1": seen}
        for folder in ("all", part):
            root = work / "dataset" / folder
            for key, image in planes.items():
                raster.write(sample_path(root, key, name), image[:, rows, cols], grid, nodata=np.nan)
            raster.write(
                sample_path(root, "mask", name), mask, grid, band_names=("CLOUD_T0", "CLOUD_T1", "SAR", "WINDOW")
            )
        samples.append({
            "id": name, "pair": "p001", "tile": tile.id, "window": tile.window.to_list(), "valid": tile.valid.to_list(),
            "block": f"b{tile.window.row // 32:03d}_{tile.window.col // 32:03d}", "trainable": True, "reason": None,
            "clear_t0": 1.0, "clear_t1": 0.9, "changed_fraction": 0.3, "sar_filled": 0.0,
        })  # fmt: skip
    facts = {
        "site": "aoi",
        "date1": "d0",
        "date2": "d1",
        "t0": "2020-01-04",
        "t1": "2020-02-04",
        "grid": GRID.to_dict(),
    }
    pair = facts | {"ds1_median_db": {"VV": 0.0, "VH": 0.0}, "mixed_orbit": False}
    back = pair | {"date1": "d1", "date2": "d0", "t0": "2020-02-04", "t1": "2020-01-04"}
    for name, ids in {"all": [s["id"] for s in samples], **sets}.items():
        index = {
            "schema": "s2cr.dataset/1", "set": name, "bands": {"sar": ["VV", "VH"], "optical": list(BANDS)}, "size_px": 32,
            "pairs": {"p001": pair, "p002": back}, "samples": [s for s in samples if s["id"] in ids],
        }  # fmt: skip
        atomic_json(work / "dataset" / name / "index.json", index)
    split = {"method": "halves", "seed": 2, "buffer_m": 0.0, "sets": sets, "dropped": [], "note": "made up"}
    atomic_json(work / "dataset" / "split.json", split)


def _predictions(work: Path, before: np.ndarray, after: np.ndarray) -> None:
    noise = np.random.default_rng(9).normal(0, 0.004, after.shape).astype(np.float32)
    for tile in make_tiles(*GRID.shape, 32):
        rows, cols = tile.window.slices
        for run, image in (("good", after + noise), ("bad", before)):
            path = work / "pred" / run / f"p001_{tile.id}.tif"
            raster.write(path, image[:, rows, cols], GRID.window(tile.window), band_names=BANDS, nodata=np.nan)


def manifests(conf_path: Path, stages: Mapping[str, str | None] = UPSTREAM) -> None:
    """Complete manifests of finished stages, so that the real commands accept the directory.

    stages  name -> folder in the work directory whose files are the outputs, None = no outputs
    """
    conf = config.load(conf_path)
    work = config.layout_of(conf).work
    for name, folder in stages.items():
        ctx = Context(name, conf, conf_path, Options(quiet=True), logging.getLogger("tiny"))
        with ctx.open_ledger():
            for path in sorted((work / folder).rglob("*")) if folder else ():
                if path.is_file():
                    ctx.output(path)
            ctx.finish(Report())


def read_json(path: Path) -> dict[str, object]:
    return dict(json.loads(path.read_text()))
