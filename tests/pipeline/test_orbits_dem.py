"""fetch_orbits and fetch_dem as the user runs them, against a loopback server that plays all services."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from osgeo import gdal
from shapely.geometry import box, mapping

from tests.fakes.buckets import Buckets, orbit_body, plane_m, serving, tile_body
from utils.io.dem_tiles import tile_name
from utils.science.pair_document import product_record
from utils.science.product import parse_name

ROOT = Path(__file__).parents[2]
FIRST = "S1A_IW_GRDH_1SDV_20191106T190800_20191106T190825_029797_036540_11AA"
SECOND = "S1A_IW_GRDH_1SDV_20200204T190758_20200204T190823_031110_039300_33CC"
RUNNER_UP = "S1A_IW_GRDH_1SDV_20200216T190758_20200216T190823_031285_039400_44DD"
OLD = "S1A_OPER_AUX_POEORB_OPOD_20191126T120753_V20191105T225942_20191107T005942.EOF"
NEW = "S1A_OPER_AUX_POEORB_OPOD_20210316T161714_V20191105T225942_20191107T005942.EOF"
FEBRUARY = "S1A_OPER_AUX_POEORB_OPOD_20200224T120000_V20200203T225942_20200205T005942.EOF"
RESORB = "S1A_OPER_AUX_RESORB_OPOD_20200204T210000_V20200204T161500_20200204T193230.EOF"
LAND, SEA = tile_name(63, -20), tile_name(62, -20)
AREA = box(-19.55, 63.1, -19.45, 63.2)  # 11 km north of the edge of the land tile
PASSWORD, TOKEN = "canary-password-51", "canary-token-52"


@dataclass
class Work:
    """A work directory with pairs, as after find_images."""

    folder: Path
    server: Buckets

    def prepare(self, **more: Any) -> Work:
        (self.folder / "search").mkdir(parents=True, exist_ok=True)
        products = {name: product_record(parse_name(name)) for name in (FIRST, SECOND, RUNNER_UP)}

        def pair(rank: int, second: str) -> dict[str, Any]:
            dates = {date: {"s1": {"products": [name]}} for date, name in (("date1", FIRST), ("date2", second))}
            return {"id": f"p{rank:03d}", "rank": rank, **dates}

        document = {
            "schema": "s2cr.pairs/1", "aoi": {"geometry": mapping(AREA)}, "products": products,
            "pairs": [pair(1, SECOND), pair(2, RUNNER_UP)],
        }  # fmt: skip
        (self.folder / "search" / "pairs.json").write_text(json.dumps(document))
        windows = {
            "t0": (dt.date(2019, 11, 1), dt.date(2019, 11, 15)),
            "t1": (dt.date(2020, 1, 28), dt.date(2020, 2, 18)),
        }
        conf = {
            "extends": "default.yaml", "work": str(self.folder), "search": {"provider": "cdse", "endpoints": self.server.endpoints},
            "dates": {name: {"start": start, "end": end} for name, (start, end) in windows.items()},
        }  # fmt: skip
        (self.folder.parent / "default.yaml").write_bytes((ROOT / "confs" / "default.yaml").read_bytes())
        (self.folder.parent / "conf.yaml").write_text(yaml.safe_dump(conf | more))
        return self

    def start(self, command: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [ROOT / "s2cr", command, self.folder.parent / "conf.yaml", *arguments], text=True, env={**os.environ, **env},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, command: str, *arguments: str, code: int = 0, **env: str) -> tuple[str, str]:
        process = self.start(command, *arguments, **env)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert "Traceback" not in err
        return out, err

    def lock(self) -> dict[str, dict[str, Any]]:
        return dict(json.loads((self.folder / "raw" / "downloads.lock.json").read_text())["files"])

    def files(self) -> dict[str, str]:
        raw = self.folder / "raw"
        paths = sorted(p for p in raw.rglob("*") if p.is_file() and p.name != "downloads.lock.json")
        return {p.relative_to(raw).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


@pytest.fixture
def server() -> Iterator[Buckets]:
    with serving(Buckets()) as buckets:
        buckets.orbits = {name: orbit_body(name) for name in (NEW, OLD, FEBRUARY)}
        buckets.dem_30 = {LAND: partial(tile_body, 63, -20, 1800)}
        yield buckets


@pytest.fixture
def work(tmp_path: Path, server: Buckets) -> Work:
    return Work(tmp_path / "work", server).prepare()


def test_orbits_then_nothing_to_do(work: Work) -> None:
    out, err = work.run("fetch_orbits")
    assert out.strip() == str(work.folder / "raw" / "downloads.lock.json")
    assert "2 fetched, 0 failed, 0 of 2 products had theirs" in err
    bodies = {f"orbits/{name}": hashlib.sha256(work.server.orbits[name]).hexdigest() for name in (FEBRUARY, NEW)}
    assert work.files() == bodies
    for name, product in ((NEW, FIRST), (FEBRUARY, SECOND)):
        record = work.lock()[name.removesuffix(".EOF")]
        assert record["mission"] == "ORBIT" and record["orbit"] == "POEORB" and record["products"] == [product]
        assert record["sha256"] == bodies[record["file"]] and {"md5", "xml", "validity"} <= set(record["verified"])
    assert len(work.server.log) == 4  # two questions, two files
    before = (work.folder / "raw" / "downloads.lock.json").read_bytes()
    work.server.log.clear()
    assert "2 of 2 products had theirs" in work.run("fetch_orbits")[1]
    assert work.server.log == [] and (work.folder / "raw" / "downloads.lock.json").read_bytes() == before


def test_all_ranks_on_request(work: Work) -> None:
    work.prepare(download={"rank": "all"})
    message = work.run("fetch_orbits", code=71)[1]  # the runner-up's pass has no orbit file
    assert "S1A 2020-02-16 19:07:58" in message and "1 of 3 failed" in message
    assert len(work.files()) == 2


def test_only_the_second_rank(work: Work) -> None:
    work.prepare(download={"rank": 2})
    assert "1 of 2 failed" in work.run("fetch_orbits", code=71)[1]
    assert list(work.files()) == [f"orbits/{NEW}"]


def test_restituted_now_precise_later(work: Work) -> None:
    precise = work.server.orbits.pop(FEBRUARY)
    work.server.orbits[RESORB] = orbit_body(RESORB)
    assert (
        f"W_RESORB: S1A 2020-02-04 19:07:58: no precise orbit is published yet; {RESORB} is used"
        in work.run("fetch_orbits")[1]
    )
    assert set(work.files()) == {f"orbits/{NEW}", f"orbits/{RESORB}"}
    work.server.log.clear()
    assert "W_RESORB" in work.run("fetch_orbits")[1]
    assert [path for _, path, _ in work.server.log] == ["/odata/Products"] * 2  # asked again, fetched nothing
    work.server.orbits[FEBRUARY] = precise
    assert "W_RESORB" not in work.run("fetch_orbits")[1]
    assert f"orbits/{FEBRUARY}" in work.files()


def test_a_pass_without_any_orbit_is_71_and_the_other_is_kept(work: Work) -> None:
    del work.server.orbits[FEBRUARY]
    message = work.run("fetch_orbits", code=71)[1]
    assert "no orbit file, neither POEORB nor RESORB, for S1A 2020-02-04 19:07:58" in message
    assert list(work.files()) == [f"orbits/{NEW}"] and list(work.lock()) == [NEW.removesuffix(".EOF")]
    work.server.log.clear()
    work.run("fetch_orbits", code=71)
    assert all(path == "/odata/Products" for _, path, _ in work.server.log)


def test_second_source_needs_the_login_and_leaves_no_trace_of_it(work: Work) -> None:
    work.server.unlisted, work.server.token = {NEW}, TOKEN
    out, err = work.run("fetch_orbits", S2CR_CDSE_USER="somebody", S2CR_CDSE_PASSWORD=PASSWORD)
    assert set(work.files()) == {f"orbits/{NEW}", f"orbits/{FEBRUARY}"}
    assert [query for _, query in work.server.asked("/token")] == [{"grant_type": "password"}]
    text = out + err + "".join(p.read_text(errors="replace") for p in work.folder.rglob("*") if p.is_file())
    assert PASSWORD not in text and TOKEN not in text


def test_without_login_the_second_source_is_refused(work: Work, tmp_path: Path) -> None:
    work.server.unlisted, work.server.token = {NEW}, TOKEN
    _, err = work.run(
        "fetch_orbits",
        code=71,
        HOME=str(tmp_path),
        NETRC=str(tmp_path / "none"),
        S2CR_CDSE_USER="",
        S2CR_CDSE_PASSWORD="",
    )
    assert "Second source:" in err and f"orbits/{FEBRUARY}" in work.files()


def test_catalogue_away_bucket_listing_instead(work: Work) -> None:
    work.server.failing, work.server.page = {"/odata": 503}, 1
    work.run("fetch_orbits", S2CR_TRIES="1")
    assert set(work.files()) == {f"orbits/{NEW}", f"orbits/{FEBRUARY}"}
    assert len(work.server.asked("/odata")) == 1 and len(work.server.asked("/orbits/", "GET")) == 3 + 2


def test_everything_away_is_67(work: Work) -> None:
    work.server.failing = {"/": 503}
    for command in ("fetch_orbits", "fetch_dem"):
        assert "no answer after 1 tries" in work.run(command, code=67, S2CR_TRIES="1")[1]
    assert not list((work.folder / "raw").rglob("*"))


def test_a_signal_is_75_and_the_next_run_resumes(work: Work) -> None:
    work.server.orbits = {name: orbit_body(name, vectors=30_000) for name in (NEW, FEBRUARY)}
    work.server.chunk_s = 0.05
    process = work.start("fetch_orbits")
    part = work.folder / "raw" / "orbits" / "incoming" / f"{NEW}.part"
    until = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size > 3 << 20) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 75 and "it resumes" in err
    there = part.stat().st_size
    assert 3 << 20 < there < len(work.server.orbits[NEW])
    work.server.chunk_s = 0.0
    work.run("fetch_orbits")
    record = work.lock()[NEW.removesuffix(".EOF")]
    assert record["bytes_received"] == len(work.server.orbits[NEW]) - there + (1 << 20)


def test_from_a_folder_without_any_request(work: Work, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "2019"
    folder.mkdir(parents=True)
    for name in (NEW, OLD, FEBRUARY):
        (folder / name).write_bytes(orbit_body(name))
    work.run("fetch_orbits", "--from", str(tmp_path / "mine"))
    assert set(work.files()) == {f"orbits/{NEW}", f"orbits/{FEBRUARY}"} and work.server.log == []
    assert str(tmp_path) not in json.dumps(work.lock())
    (folder / FEBRUARY).write_bytes(orbit_body(FEBRUARY)[:-30])
    (work.folder / "raw" / "orbits" / FEBRUARY).unlink()
    assert "not well-formed XML" in work.run("fetch_orbits", "--from", str(tmp_path / "mine"), code=71)[1]


def test_heights_then_nothing_to_do(work: Work) -> None:
    _, err = work.run("fetch_dem")
    assert f"W_DEM_OCEAN: {SEA} is open water; its heights are 0 m" in err
    assert set(work.files()) == {f"dem/{LAND}.tif", f"dem/{SEA}.tif", "dem/dem.tif"}
    lock = work.lock()
    assert lock[LAND]["mission"] == lock[SEA]["mission"] == "DEM_TILE" and lock[SEA]["ocean"] is True
    assert lock["dem"]["mission"] == "DEM_MOSAIC" and lock["dem"]["vertical"] == "EGM2008"
    assert lock["dem"]["tiles"] == {name: lock[name]["sha256"] for name in (LAND, SEA)}
    assert {name: record["sha256"] for name, record in lock.items()} == {
        Path(k).stem: v for k, v in work.files().items()
    }
    dataset = gdal.OpenEx(str(work.folder / "raw" / "dem" / "dem.tif"))
    assert dataset.GetMetadataItem("VERTICAL") == "EGM2008" and (dataset.RasterXSize, dataset.RasterYSize) == (
        1800,
        7200,
    )
    values = dataset.ReadAsArray()
    assert values[0, 0] == pytest.approx(float(plane_m(-20.0, 64.0)), abs=1e-3) and not values[3600:].any()  # type: ignore[arg-type]
    assert [m for m, _, _ in work.server.log] == ["HEAD", "HEAD", "HEAD", "GET"]
    before = {p: p.stat().st_mtime_ns for p in work.folder.rglob("*.*") if p.is_file()}
    work.server.log.clear()
    assert "2 of 2 tiles were there" in work.run("fetch_dem")[1]
    assert work.server.log == [] and all(p.stat().st_mtime_ns == t for p, t in before.items())
    work.run("fetch_orbits")  # both commands keep the records of the other
    assert len(work.lock()) == 5


def test_land_that_is_not_released_is_66(work: Work) -> None:
    work.server.dem_90 = {tile_name(62, -20, 30)}
    _, err = work.run("fetch_dem", code=66)
    assert f"{SEA}: land that is not released in GLO-30" in err and "preprocess.dem.path" in err
    assert not (work.folder / "raw").exists()


def test_dry_run_writes_nothing(work: Work) -> None:
    _, orbits = work.run("fetch_orbits", "--dry-run")
    _, heights = work.run("fetch_dem", "--dry-run")
    assert NEW in orbits and OLD not in orbits and LAND in heights and "written here" in heights
    assert not (work.folder / "raw").exists() and not (work.folder / "locks").exists()
    assert work.server.asked("/", "GET") == work.server.asked("/odata")


def test_without_search_is_66(work: Work) -> None:
    (work.folder / "search" / "pairs.json").unlink()
    for command in ("fetch_orbits", "fetch_dem"):
        assert "make find_images CONF=" in work.run(command, code=66)[1]
    assert work.server.log == []


def test_malformed_pairs_and_other_sources(work: Work) -> None:
    path = work.folder / "search" / "pairs.json"
    for text, said in (
        ("{", "not readable"),
        ('{"schema": "x/1"}', "its schema is not"),
        ('{"schema": "s2cr.pairs/1"}', "pairs.json: "),
    ):
        path.write_text(text)
        for command in ("fetch_dem", "fetch_orbits"):
            assert said in work.run(command, code=66)[1]
    work.prepare(source="import")
    for command in ("fetch_dem", "fetch_orbits"):
        assert "source is import" in work.run(command, code=65)[1]
    assert work.server.log == []


@pytest.mark.parametrize("command", ["fetch_dem", "fetch_orbits"])
def test_kill_and_run_again(work: Work, command: str, tmp_path: Path) -> None:
    """SIGKILL at growing moments; no final name is ever partial, and the end is that of an undisturbed run."""
    if command == "fetch_orbits":
        work.server.orbits = {name: orbit_body(name, vectors=4000) for name in (NEW, FEBRUARY)}
    calm = Work(tmp_path / "calm" / "work", work.server).prepare()
    calm.run(command)
    expected = calm.files()
    work.server.chunk_s = 0.02
    killed = 0
    for wait_s in (0.5, 0.9, 1.1, 1.3, 1.6, 2.0):
        process = work.start(command)
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        killed += process.returncode == -signal.SIGKILL
        finished = {n: digest for n, digest in work.files().items() if "incoming/" not in n and "s2cr-tmp" not in n}
        assert finished.items() <= expected.items()
    assert killed >= 2
    work.server.chunk_s = 0.0
    work.run(command)
    assert work.files() == expected  # no leftover either
    assert [_lasting(r) for r in work.lock().values()] == [_lasting(r) for r in calm.lock().values()]


def _lasting(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in ("bytes_received", "requests")}


def test_the_stage_download_keeps_orbits(tmp_path: Path) -> None:
    """make_scene, find_images, download, then orbits from a folder: download takes the new lock over and is fresh."""
    conf = {
        "extends": "default.yaml", "work": str(tmp_path / "work"), "report": {"synthetic": True},
        "scene": {"enabled": True, "size_px": 128, "fires": 1, "confusers": ["rain"], "speckle": False},
        "area": {"geojson": "{scene}/area.geojson", "epsg": 32755}, "search": {"archive": "{scene}/archive"},
        "dates": {"t0": {"start": dt.date(2019, 11, 1), "end": dt.date(2019, 11, 15)},
                  "t1": {"start": dt.date(2020, 1, 28), "end": dt.date(2020, 2, 12)}},
        "preprocess": {"dem": {"path": "{scene}/dem.tif"}},
    }  # fmt: skip
    (tmp_path / "conf.yaml").write_text(yaml.safe_dump(conf))
    (tmp_path / "default.yaml").write_bytes((ROOT / "confs" / "default.yaml").read_bytes())
    work = Work(tmp_path / "work", Buckets())
    for stage in ("make_scene", "find_images", "download"):
        work.run(stage)
    products = [n for n, r in work.lock().items() if r["mission"] == "S1"]
    assert len(products) == 2 and len(work.lock()) == 5
    (tmp_path / "mine").mkdir()
    for product in map(parse_name, products):
        first, last = product.start - dt.timedelta(days=1), product.start + dt.timedelta(days=1)
        name = (
            f"{product.platform}_OPER_AUX_POEORB_OPOD_20200301T120000_V{first:%Y%m%d}T225942_{last:%Y%m%d}T005942.EOF"
        )
        (tmp_path / "mine" / name).write_bytes(orbit_body(name))
    work.run("fetch_orbits", "--from", str(tmp_path / "mine"))
    assert len(work.lock()) == 7
    assert "needs download, which is not up to date" in work.run("preprocess_s2", code=66)[1]
    work.run("download")
    assert sorted(r["mission"] for r in work.lock().values()) == ["DEM", "ORBIT", "ORBIT", "S1", "S1", "S2", "S2"]
    assert "up to date" in work.run("download")[1]
    assert "2 of 2 products had theirs" in work.run("fetch_orbits")[1]
