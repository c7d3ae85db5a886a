"""Made-up dates of one or more places for the import route, with a working chain around them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np

from utils.io import raster
from utils.science.grid import Grid

ROOT = Path(__file__).parents[2]
DAYS = ("2020-01-02", "2020-02-02", "2020-03-02", "2020-04-02")
BANDS = "[B02, B03, B04, B08, B8A, B11, B12, SCL]"
ITEM = (
    "    - {{date: {date}, site: {site}, sensor: {sensor}, name: {name}, files: [{file}], bands: {bands},"
    ' acquired: "{day}T00:00:00Z", relative_orbit: {track}, direction: descending}}\n'
)


def grid_of(site: int, rows: int = 64, cols: int = 96) -> Grid:
    """Places lie 100 km apart."""
    return Grid(32755, 500000.0 + 1e5 * site, 6100000.0, 10.0, -10.0, rows, cols)


def dn_of(seed: int, site: int, date: int, grid: Grid) -> np.ndarray:
    """(8, rows, cols) uint16: seven bands that drift with the date, all clear."""
    rng = np.random.default_rng([seed, site])
    ground = rng.integers(300, 2500, (7, *grid.shape))
    moved = ground + 60 * date + np.random.default_rng([seed, site, date]).integers(-40, 40, ground.shape)
    return np.concatenate([moved, np.full((1, *grid.shape), 4)]).astype(np.uint16)


def db_of(seed: int, site: int, date: int, grid: Grid) -> np.ndarray:
    """(2, rows, cols) float32 VV, VH in dB, 0.7 dB more at each date."""
    rng = np.random.default_rng([seed, site, date, 1])
    return rng.normal([[[-10.0]], [[-17.0]]], 1.0, (2, *grid.shape)).astype(np.float32) + np.float32(0.7 * date)


class DatedToy:
    """Inputs, configuration and work directory in one folder."""

    def __init__(self, folder: Path, dates: int, sites: int = 1, more: str = "", **sections: str) -> None:
        self.inputs, self.work, self.conf = folder / "in", folder / "work", folder / "toy.yaml"
        self.inputs.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "confs/default.yaml", folder / "default.yaml")
        items = ""
        for site in range(sites):
            grid = grid_of(site)
            for date in range(dates):
                name = f"{site}_{date}"
                raster.write(self.inputs / f"s1_{name}.tif", db_of(3, site, date, grid), grid)
                raster.write(self.inputs / f"s2_{name}.tif", dn_of(3, site, date, grid), grid)
                for sensor, bands in (("sentinel1", "[VV, VH]"), ("sentinel2", BANDS)):
                    file = f"{'s1' if sensor == 'sentinel1' else 's2'}_{name}.tif"
                    items += ITEM.format(
                        date=f"d{name}", site=f"place{site}", sensor=sensor, name=file[:-4].upper(), file=file,
                        bands=bands, day=DAYS[date], track=9,
                    )  # fmt: skip
        parts = {
            "tiling": "{size_px: 16}", "dataset": "{}", "split": "{buffer_m: 160.0}",
            "train": "{runs: [{name: tiny, model: " + str(folder / "model.yaml") + ", train: " + str(folder / "train.yaml") + "}]}",
            "evaluate": "{baselines: [copy_t0], bootstrap: 20, baseline_pixels: 500}", **sections,
        }  # fmt: skip
        text = f"extends: default.yaml\nwork: {self.work}\nsource: import\nimport_data:\n  root: {self.inputs}\n  cloud_band: SCL\n"
        text += "  items:\n" + items + "".join(f"{name}: {value}\n" for name, value in parts.items())
        self.conf.write_text(text + more)
        self.write_models(folder)

    def write_models(self, folder: Path) -> None:
        """A resunet so small that three steps take a second."""
        model = "model: resunet\nwidths: [4]\nencoder_blocks: [1]\nmiddle_blocks: 1\ndecoder_blocks: [1]\nchannel_attention: false\n"
        (folder / "model.yaml").write_text(model)
        train = "epoch: 1\nsteps_per_epoch: 3\nbatch_size: 2\nmetric_step: 3\ntensorboard: false\nlambda: 1.0\n"
        train += "augment: {flips: true, s1_gain_db: 0.5, s2_gain: 0.02, drop_s1_t0: 0.3}\n"
        (folder / "train.yaml").write_text(train)

    def run(self, stage: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([ROOT / "s2cr", stage, self.conf, *options], capture_output=True, text=True, check=False)

    def through(self, *stages: str) -> DatedToy:
        for stage in stages:
            result = self.run(stage)
            assert result.returncode == 0, f"{stage}: {result.stderr}"
        return self
