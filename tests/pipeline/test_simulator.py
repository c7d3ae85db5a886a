"""Simulated scenes through the import route: make_scene, import_data, tile, build_dataset, split, normalise."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from utils.io import raster, samples

ROOT = Path(__file__).parents[2]
CONF = """\
extends: default.yaml
work: {work}
source: import
scene: {{enabled: true, form: rasters, scenes: 12, seed: 2026, size_px: 128, cloud_fraction: 0.1}}
import_data:
  root: "{{scene}}/rasters"
  layout: simulator
  s1_unit: power
  s2_scale: 1.0
  s2_nodata: null
  cloud_band: CLOUD
  cloud_kind: codes
tiling: {{size_px: 64}}
dataset: {{extra_bands: [B12], keep_clouds: true, max_cloud_px: 4096, max_sar_filled: 0.5}}
split: {{block_tiles: 2, buffer_m: 0.0}}
report: {{synthetic: true}}
"""


def _run(stage: str, conf: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "s2cr", stage, conf, *options], capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.slow
def test_generated_scenes_become_a_dataset(tmp_path: Path) -> None:
    conf = tmp_path / "sim.yaml"
    (tmp_path / "default.yaml").write_text((ROOT / "confs/default.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    conf.write_text(CONF.format(work=tmp_path / "work"), encoding="utf-8")
    for part in ("1/2", "2/2"):
        assert _run("make_scene", conf, "--part", part).returncode == 0
    for stage in ("make_scene", "import_data", "tile", "build_dataset", "split", "normalise"):
        done = _run(stage, conf)
        assert done.returncode == 0, done.stderr
    again = _run("make_scene", conf)
    assert again.returncode == 0 and "up to date" in again.stderr + again.stdout
    train = samples.load_index(tmp_path / "work/dataset/train")
    test = samples.load_index(tmp_path / "work/dataset/test")
    sites = [{s.pairs[info.pair].site for info in s.samples} for s in (train, test)]
    assert not sites[0] & sites[1] and len(sites[0]) >= 8
    assert train.bands_optical == ("B04", "B03", "B02", "B08", "B12")
    info = train.samples[0]
    sample = samples.read_sample(train.set_dir, info.id)
    truth, band = train.pairs[info.pair].site, 3
    seen = raster.read(tmp_path / f"work/scene/rasters/{truth}_S2_t1.tif", bands=[4])[0]
    np.testing.assert_array_equal(sample.s2_t1[..., band], seen[info.window.slices])
