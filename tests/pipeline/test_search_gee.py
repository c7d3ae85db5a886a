"""`./s2cr find_images CONF` with provider gee as a process: the real client against a server on loopback."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes import ee_server, ee_world
from tests.fakes.ee_eval import World
from tests.pipeline.test_gee_loopback import A, B, C, s1_image
from utils.io import gee_graph

ROOT = Path(__file__).parents[2]
CONF = """\
work: {work}
area: {{geojson: "{area}", epsg: 32755}}
dates:
  t0: {{start: 2020-01-01, end: 2020-01-11}}
  t1: {{start: 2020-01-11, end: 2020-01-31}}
search:
  provider: gee
  download_from: cdse
  gee_project: p
  coverage: 0.8
  edge_margin_m: 0
  endpoints: {{gee: "{url}"}}
"""


def world_of_a_pair() -> World:
    """Two images at t0, the second clear, and one at t1 that Cloud Score+ lacks; one track of Sentinel-1."""
    world = ee_world.make_world({A: 6, B: 7, C: 8}, (A, B), (C,))
    for image in world.collections[gee_graph.CLOUD_SCORE_PLUS]:
        plane = image.at(20)["cs"].data
        plane[np.isfinite(plane)] = 0.9 if image.properties["system:index"] == B else 0.1
    for number, day in ((30655, "04"), (30830, "16")):
        name = f"S1A_IW_GRDH_1SDV_202001{day}T192233_202001{day}T192258_{number:06d}_038353_1A2B"
        world.collections[gee_graph.S1_GRD].append(s1_image(name, "DESCENDING", 133))
    return world


def run(tmp_path: Path, url: str, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    (tmp_path / "area.geojson").write_text(json.dumps(ee_world.GEOMETRY))
    conf = tmp_path / "conf.yaml"
    conf.write_text(CONF.format(work=tmp_path / "work", area=tmp_path / "area.geojson", url=url))
    command = [ROOT / "s2cr", "find_images", conf, *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    return result


def test_search_with_measured_cloud(tmp_path: Path) -> None:
    with ee_server.serving(world_of_a_pair().answer) as server:
        run(tmp_path, server.url)
        asked = len(server.expressions)
        assert asked == 6  # Sentinel-2 t0, t1 with two methods; Sentinel-1 in three months, its windows touch
        assert "up to date" in run(tmp_path, server.url).stderr and len(server.expressions) == asked
    found: dict[str, Any] = json.loads((tmp_path / "work" / "search" / "pairs.json").read_text())
    (pair,) = found["pairs"]  # cloud is known: one rank is enough
    assert found["provider"] == {"search": "gee", "download": "cdse"}
    names = [pair[date][sensor]["products"][0] for date in ("date1", "date2") for sensor in ("s2", "s1")]
    assert [found["products"][name]["remote_id"] for name in (names[0], names[2])] == [B, C]
    assert (names[1][17:25], names[3][17:25]) == ("20200104", "20200116")
    optical = [pair[date]["s2"] for date in ("date1", "date2")]
    assert [s["cloud_method"] for s in optical] == ["cloud_score_plus", "s2cloudless"] and optical[0][
        "cloud_aoi"
    ] == 0.0
    assert "W_METHOD: cloud over the area is by cloud_score_plus at t0 and s2cloudless at t1" in pair["warnings"]
    lines = [json.loads(text) for text in (tmp_path / "work" / "search" / "rejected.jsonl").read_text().splitlines()]
    assert [line["code"] for line in lines if line["kind"] == "S2 scene"] == ["R_CLOUD"]


@pytest.mark.slow
def test_refusals(tmp_path: Path) -> None:
    with ee_server.serving(world_of_a_pair().answer) as server:
        assert "Earth Engine: not asked, --offline is set" in run(tmp_path, server.url, "--offline", code=67).stderr
        assert server.requests == [] and server.expressions == []
        assert "search.download_from" in run(tmp_path, server.url, "--download-from", "local", code=65).stderr
        assert "Earth Engine" in run(tmp_path, "http://127.0.0.1:1", code=67).stderr
