"""Running the real chain, small, as the user does: ./s2cr STAGE CONF in processes of their own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
# not results: bookkeeping with times and hosts, caches, scratch of training
BOOKKEEPING = ("manifests/", "items/", "locks/", "logs/", "jobs/", "search/local_index.json")
SCRATCH = ("/checkpoints/", "/tb/")

MINI = """\
extends: default.yaml
work: {work}
scene: {{enabled: true, size_px: 320, fires: 2, cloud_fraction: 0.15, relief_m: 200.0}}
area: {{geojson: "{{scene}}/area.geojson", epsg: 32755}}
dates:
  t0: {{start: 2019-10-30, end: 2019-11-10}}
  t1: {{start: 2020-02-01, end: 2020-02-07}}
search: {{archive: "{{scene}}/archive"}}
preprocess: {{dem: {{path: "{{scene}}/dem.tif"}}}}
tiling: {{size_px: 40, overlap_px: 8}}
dataset: {{extra_bands: [B12], keep_clouds: true}}
split: {{block_tiles: 2, buffer_m: 100.0}}
train:
  runs:
    - {{name: resunet_tiny, model: GAN_confs/model_resunet_tiny.yaml, train: {folder}/train_resunet.yaml}}
    - {{name: gan_tiny, model: GAN_confs/model_tiny.yaml, train: {folder}/train_gan.yaml}}
evaluate: {{truth_dir: "{{scene}}/truth", bootstrap: 100, baseline_pixels: 4000}}
report: {{synthetic: true, max_px: 300}}
hpc: {{allow_login: true}}
"""
SHORT = {
    "epoch": 2,
    "steps_per_epoch": 12,
    "checkpoint_steps": 5,
    "metric_step": 12,
    "weights_saving_step": 1,
    "im_saving_step": 2,
    "crop_px": 32,
}


@dataclass
class Chain:
    """A configuration in its own folder, and how long its stages took."""

    conf: Path
    work: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, stage: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        begin = time.monotonic()
        result = subprocess.run(
            [ROOT / "s2cr", stage, self.conf, *arguments], capture_output=True, text=True, check=False, timeout=600
        )
        self.seconds[stage] = time.monotonic() - begin
        if check and result.returncode != 0:
            raise AssertionError(f"{stage} ended with {result.returncode}:\n{result.stderr}")
        return result

    def start(self, stage: str) -> subprocess.Popen[bytes]:
        """Start a stage in a process group of its own, so that it can be killed with its children."""
        return subprocess.Popen(
            [ROOT / "s2cr", stage, self.conf],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ,
        )


def shortened(source: Path) -> str:
    """A training file with fewer and smaller steps."""
    lines = [line for line in source.read_text().splitlines() if line.split(":")[0] not in SHORT]
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in SHORT.items())]) + "\n"


def make_chain(folder: Path, confs: Path | None = None) -> Chain:
    """Write the small configuration into `folder`; training files of `confs` where given, so that pages are equal."""
    folder.mkdir(parents=True, exist_ok=True)
    if confs is None:
        (folder / "train_resunet.yaml").write_text(shortened(ROOT / "GAN_confs/train_resunet_tiny.yaml"))
        (folder / "train_gan.yaml").write_text(shortened(ROOT / "GAN_confs/train_tiny.yaml"))
    (folder / "default.yaml").write_text((ROOT / "confs/default.yaml").read_text())
    conf = folder / "mini.yaml"
    conf.write_text(MINI.format(work=folder / "work", folder=confs or folder))
    return Chain(conf, folder / "work")


def final_bytes(work: Path) -> dict[str, str]:
    """Relative name -> SHA-256 of every result below the work directory."""
    out = {}
    for path in sorted(work.rglob("*")):
        name = path.relative_to(work).as_posix()
        if path.is_file() and not name.startswith(BOOKKEEPING) and not any(part in f"/{name}" for part in SCRATCH):
            out[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return out
