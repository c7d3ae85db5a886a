"""The small commands of the SNAP engine: snap_check, snap_graph, snap_verify, snap_region."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from shapely import wkt

from tests.fakes.gpt_dimap import write_dimap
from tests.snap_tools import ROOT
from utils.io.footprint import to_utm
from utils.io.synth_products import SceneProducts
from utils.science.grid import Grid
from utils.workflow.schema import Scene


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "s2cr", *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def radar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SceneProducts(Scene(size_px=128)).write_s1("s1_t0", tmp_path_factory.mktemp("s1"))


def test_check(tmp_path: Path, radar: Path) -> None:
    graph = ROOT / "snap-confs/s2_l2a.xml"
    good = call("snap_check", graph, "--version", "12", "input", "output", "aoi_wkt", "bands=B2,B3")
    assert (good.returncode, good.stdout) == (0, "")
    bad = call("snap_check", graph, "--version", "12", "input", "output", "bands=B2", "geometry")
    assert bad.returncode == 65
    assert (
        "variable ${aoi_wkt} is used but not given" in bad.stdout
        and "variable geometry is given but no node uses it" in bad.stdout
    )
    assert "2 errors; the first" in bad.stderr
    assert call("snap_check", tmp_path / "none.xml", "--version", "12").returncode == 66
    warned = tmp_path / "w.xml"
    warned.write_text(graph.read_text().replace("<operator>BandSelect<", "<operator>BandSelekt<"))
    found = call("snap_check", warned, "--version", "12", "input", "output", "aoi_wkt", "bands")
    assert found.returncode == 0 and "warning: node BandSelect: operator 'BandSelekt' is unknown" in found.stdout
    names = ("input", "output", "aoi_wkt", "bands")
    assert call("snap_check", graph, "--version", "12", "--input", radar, "--pol", "VV", *names).returncode == 0
    (tmp_path / "X.zip").write_bytes(b"no zip")
    broken = call("snap_check", graph, "--version", "12", "--input", tmp_path / "X.zip", *names)
    assert broken.returncode == 66 and "not a readable zip" in broken.stderr


@pytest.mark.realdata
@pytest.mark.skipif("S2CR_DATA" not in os.environ, reason="S2CR_DATA is not set")
@pytest.mark.parametrize(
    ("name", "verify", "text"),
    [
        (
            "S1A_IW_GRDH_1SDV_20210809T173953",
            "size",
            "-vv-20210809t173953-.* has 0 bytes, manifest.safe says 872232364",
        ),
        ("S1A_IW_GRDH_1SDV_20210809T173953", "off", "the measurement of VV is empty"),
        ("S1B_IW_GRDH_1SDV_20211223T051122", "size", "has 434506 bytes, manifest.safe says 872345960"),
        ("S1A_IW_GRDH_1SDV_20150222T170725", "size", "polarisation VV is missing; the product holds none"),
    ],
)
def test_incomplete_real_products_never_reach_gpt(name: str, verify: str, text: str) -> None:
    (product,) = (Path(os.environ["S2CR_DATA"]) / "sentinel1").glob(f"{name}*.zip")
    graph = ROOT / "snap-confs/s1_grd.xml"
    names = ("input", "output", "aoi_wkt", "dem", "dem_nodata", "crs", "speckle")
    found = call("snap_check", graph, "--version", "12", "--input", product, "--pol", "VV", "--verify", verify, *names)
    assert found.returncode == 66 and re.search(text, found.stderr), found.stderr


def test_graph() -> None:
    made = call("snap_graph", "--orbit", "annotation", "--heights", "ellipsoid")
    assert made.returncode == 0 and "Apply-Orbit-File" not in made.stdout
    same = call("snap_graph", "--spacing", "20")
    assert same.stdout == (ROOT / "snap-confs/s1_grd_20m.xml").read_text()
    wrong = call("snap_graph", "--window", "8")
    assert wrong.returncode == 65 and "SNAP offers speckle windows" in wrong.stderr


def test_verify(tmp_path: Path, radar: Path) -> None:
    name = "S1A_OPER_AUX_POEORB_OPOD_20210316T161714_V20191105T225942_20191107T005942.EOF"
    grid = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 4, 5)
    write_dimap(
        tmp_path / "X.dim",
        grid,
        {"Gamma0_VV": np.ones((4, 5), np.float32)},
        {"orbit_state_vector_file": f"Sentinel Precise {name}"},
    )
    ask = ("snap_verify", tmp_path / "X.dim", "--band", "Gamma0_VV", "--input", radar, "--orbit")
    assert [call(*ask, orbit).returncode for orbit in ("poeorb", "resorb", "any", "annotation")] == [0, 0, 0, 70]
    assert call("snap_verify", tmp_path / "X.dim", "--orbit", "poeorb").returncode == 2
    lost = call("snap_verify", tmp_path / "X.dim", "--band", "Gamma0_VH")
    assert lost.returncode == 70 and "gpt ended with 0, but X.dim: no band Gamma0_VH; it has Gamma0_VV" in lost.stderr
    restituted = (tmp_path / "X.dim").read_text().replace("AUX_POEORB", "AUX_RESORB")
    (tmp_path / "X.dim").write_text(restituted)
    found = call(*ask, "poeorb")
    assert found.returncode == 70 and "is RESORB, allowed is POEORB" in found.stderr
    assert call(*ask, "resorb").returncode == 0


def test_region(tmp_path: Path) -> None:
    path = tmp_path / "areas.txt"
    path.write_text("# one\n\nPOLYGON ((149.2 -35.2, 149.3 -35.2, 149.3 -35.3, 149.2 -35.3, 149.2 -35.2))\n")
    found = call("snap_region", path, "--crs", "EPSG:32755", "--grow", "5000")
    assert found.returncode == 0
    grown = to_utm(wkt.loads(found.stdout.strip()), 32755).bounds
    before = to_utm(wkt.loads(path.read_text().splitlines()[-1]), 32755).bounds
    np.testing.assert_allclose(np.subtract(grown, before), (-5000, -5000, 5000, 5000), atol=0.1)
    assert call("snap_region", path, "--crs", "EPSG:4326").returncode == 65
    path.write_text("POINT (149 -35)\n")
    assert "areas.txt:1: no polygon in degrees" in call("snap_region", path, "--crs", "EPSG:32755").stderr
    path.write_text("POLYGON ((149\n")
    wrong = call("snap_region", path, "--crs", "EPSG:32755")
    assert wrong.returncode == 66 and "not WKT" in wrong.stderr
