"""Stage download with an online provider: a real hub on loopback, the command as the user runs it."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import time
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from osgeo import osr

from scripts.download import run
from tests.fakes.buckets import Buckets, orbit_body, serving, tile_body
from tests.fakes.hub import Hub
from tests.fakes.products import Made, broken, product, s1_name, s2_name
from tests.synthetic_l2a import GRID, RING, classes, reflectances
from utils.io import acquisitions
from utils.io.dem_tiles import tile_name
from utils.io.download_lock import fetched_pairs, read_lock
from utils.io.synth_s2 import write_l2a
from utils.io.synth_s2_xml import L2aIdentity
from utils.io.tiles import read_pairs
from utils.science.product import parse_name
from utils.workflow import config, freshness
from utils.workflow.files import sha256_file

ROOT = Path(__file__).parents[2]
ORBIT = "S1A_OPER_AUX_POEORB_OPOD_20200121T120753_V20191231T225942_20200102T005942.EOF"
CONF = """\
work: {work}
area: {{geojson: {work}/area.geojson, epsg: 32755}}
dates: {{t0: {{start: 2019-12-30, end: 2020-01-03}}, t1: {{start: 2020-02-01, end: 2020-02-07}}}}
search:
  provider: cdse
  endpoints: {{cdse_download: "{url}/odata", cdse_catalogue: "{url}/catalogue", cdse_identity: "{url}/token"}}
download: {{orbits: false, dem: false, reserve_gib: 0.0}}
"""


def remote_id(name: str) -> str:
    return f"id-{zlib.crc32(name.encode()):08x}"


class Case:
    """A hub with products, a configuration and a finished search."""

    def __init__(self, hub: Hub, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog
        self.geometry: dict[str, Any] | None = None
        self.hub, self.work, self.conf = hub, folder / "w", folder / "c.yaml"
        self.made = {n: product(n) for n in (s2_name(1), s2_name(2), s1_name(1), s1_name(2), s1_name(3))}
        self.conf.write_text(CONF.format(work=self.work, url=hub.url))
        self.work.mkdir()
        ring = [[147.0, -35.0], [147.1, -35.0], [147.1, -35.1], [147.0, -35.0]]
        (self.work / "area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
        self.records = {n: self.record(made) for n, made in self.made.items()}
        self.search()

    def path(self, name: str) -> str:
        return f"/odata/Products({remote_id(name)})/$value"

    def record(self, made: Made, **more: Any) -> dict[str, Any]:
        self.hub.put(self.path(made.name), made.data, login="token")
        record = parse_name(made.name).to_json() | {"provider": "cdse", "remote_id": remote_id(made.name)}
        return record | {"size": len(made.data), "md5": made.md5} | more

    def search(self, *pairs: dict[str, Any]) -> None:
        """What find_images leaves behind: pairs.json and a manifest that is up to date."""
        a, b, c, d, e = list(self.made)[:5]
        pairs = pairs or (self.pair("p001", 1, (a, c), (b, d)), self.pair("p002", 2, (a, c), (b, e)))
        document = {"schema": "s2cr.pairs/1", "provider": {"search": "cdse", "download": "cdse"}, "pairs": pairs,
                    "aoi": {"geometry": self.geometry}, "products": self.records}  # fmt: skip
        conf = config.load(self.conf)
        layout = config.layout_of(conf)
        layout.search.mkdir(exist_ok=True)
        layout.pairs_json.write_text(json.dumps(document))
        outputs = {"search/pairs.json": [layout.pairs_json.stat().st_size, sha256_file(layout.pairs_json)]}
        external = freshness.externals(conf, layout, "find_images")
        manifest = {"schema": freshness.SCHEMA, "stage": "find_images", "status": "complete", "outputs": outputs,
                    "key": freshness.compute_key(conf, layout, "find_images", external), "external": external,
                    "outputs_digest": freshness.digest_of(outputs), "items": {}}  # fmt: skip
        layout.manifest("find_images").parent.mkdir(exist_ok=True)
        layout.manifest("find_images").write_text(json.dumps(manifest))

    @staticmethod
    def pair(name: str, rank: int, *dates: tuple[str, str], cloud: float | None = 0.0) -> dict[str, Any]:
        sides = {f"date{n}": {"id": f"d{n}", "s2": {"products": [s2], "cloud_aoi": cloud}, "s1": {"products": [s1]}}
                 for n, (s2, s1) in enumerate(dates, start=1)}  # fmt: skip
        return {"id": name, "rank": rank, "warnings": [], **sides}

    def run(self, *arguments: str) -> Result:
        """The command; what it logs is put behind its output."""
        self.hub.log.clear()
        self.caplog.clear()
        result = CliRunner().invoke(run, [str(self.conf), *arguments])
        result.output_bytes += self.caplog.text.encode()
        return result

    def manifest(self) -> dict[str, Any]:
        return json.loads((self.work / "manifests/download.json").read_text())  # type: ignore[no-any-return]

    def files(self) -> dict[str, bytes]:
        raw = self.work / "raw"
        return {p.relative_to(raw).as_posix(): p.read_bytes() for p in sorted(raw.glob("date*/**/*")) if p.is_file()}

    def expected(self, count: int = 4) -> dict[str, bytes]:
        folders = ("date1", "date2", "date1", "date2", "date2")
        return {f"{folder}/{m.name}.zip": m.data for folder, m in list(zip(folders, self.made.values()))[:count]}


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Case]:
    monkeypatch.setenv("S2CR_CDSE_USER", "user")
    monkeypatch.setenv("S2CR_CDSE_PASSWORD", "secret-password")
    monkeypatch.setenv("S2CR_TRIES", "2")
    with Hub() as hub:
        yield Case(hub, tmp_path, caplog)


def test_first_run_then_no_request(case: Case) -> None:
    first = case.run()
    assert first.exit_code == 0, first.output
    assert case.files() == case.expected() and case.hub.grants == ["password"] and case.hub.open_most <= 4
    s2, record = s2_name(1), read_lock(case.work / "raw")[s2_name(1)]
    made = case.made[s2]
    assert record == {
        "file": f"date1/{s2}.zip", "date": "date1", "mission": "S2", "pairs": ["p001"], "provider": "cdse",
        "size": len(made.data), "md5": made.md5, "sha256": made.sha256, "verified": ["size", "md5", "zip", "sha256"],
        "host": case.hub.host, "bytes_received": len(made.data), "requests": 1,
    }  # fmt: skip
    asked = [(entry.method, entry.path) for entry in case.hub.log]
    assert len(asked) == 5, asked
    assert case.manifest()["metrics"]["requests"] == 5  # four files and one token
    order = [entry.path for entry in case.hub.log if entry.method == "GET"]
    assert set(order[:2]) == {case.path(s2_name(1)), case.path(s2_name(2))} or case.hub.open_most > 1
    second = case.run()
    assert second.exit_code == 0 and case.hub.log == []
    verified = case.run("--verify-only")
    assert verified.exit_code == 0 and case.hub.log == [] and "4 files verified by SHA-256" in verified.output


def test_a_hundred_files_then_nothing_to_do_in_less_than_a_second(case: Case) -> None:
    """Without a manifest too: then the ledger tells what is done."""
    names = [product(s1_name(number), 2000) for number in range(100, 200)]
    for made in names:
        case.records[made.name] = case.record(made)
    pair = case.pair("p001", 1, (s2_name(1), s1_name(1)), (s2_name(2), s1_name(2)))
    pair["date1"]["s1"]["products"] = [made.name for made in names]
    case.search(pair)
    assert case.run().exit_code == 0 and len(case.files()) == 103 and case.hub.open_most <= 4
    for without in (None, "manifests/download.json"):
        if without:
            (case.work / without).unlink()
        begin = time.perf_counter()
        assert case.run().exit_code == 0 and case.hub.log == []
        seconds = time.perf_counter() - begin
        print(f"nothing to do for 103 files: {seconds:.2f} s")
        assert seconds < 1.0


def test_a_bug_shows_no_secret(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from scripts import _download

    def bug(*_: object) -> None:
        raise ZeroDivisionError("https://h/?sig=canary-bug Authorization: Basic canary-basic")

    monkeypatch.setattr(_download, "plan", bug)
    result = case.run()
    assert result.exit_code == 1 and "ZeroDivisionError" in result.output and "this is a bug" in result.output
    assert "canary" not in result.output


def test_damage_is_found_by_verify_only(case: Case) -> None:
    case.run()
    path = case.work / f"raw/date1/{s2_name(1)}.zip"
    path.chmod(0o644)
    path.write_bytes(broken(case.made[s2_name(1)]).data)
    result = case.run("--verify-only")
    assert (
        result.exit_code == 78
        and f"the first: date1/{s2_name(1)}.zip" in result.output
        and "Delete it" in result.output
    )
    path.write_bytes(b"short")
    assert case.run().exit_code == 0 and case.files() == case.expected()
    assert len([entry for entry in case.hub.log if entry.method == "GET"]) == 1


def test_dry_run_asks_nobody(case: Case) -> None:
    result = case.run("--dry-run")
    assert result.exit_code == 0 and case.hub.log == [] and case.files() == {}
    assert f"{case.hub.url}{case.path(s1_name(1))}" in result.output and "0.1 MiB" in result.output
    assert "dry run: 4 files, 0.4 MiB" in result.output and "GiB free, 4 requests" in result.output


def test_rank(case: Case) -> None:
    assert case.run("--rank", "2").exit_code == 0
    assert set(case.files()) == set(case.expected(5)) - {f"date2/{s1_name(2)}.zip"}
    assert case.run("--rank", "all").exit_code == 0 and case.files() == case.expected(5)
    assert len(case.hub.requests(case.path(s1_name(2)))) == 1 and len(case.hub.log) == 2
    assert case.run("--rank", "first").exit_code == 65


def test_one_failure_does_not_stop_the_others(case: Case) -> None:
    case.hub.faults[case.path(s1_name(1))].extend(["403"])
    result = case.run()
    assert result.exit_code == 71 and "1 of 4 items failed" in result.output and len(case.files()) == 3
    assert case.manifest()["items"][s1_name(1)]["status"] == "failed" and set(read_lock(case.work / "raw")) == set(
        list(case.made)[:4]
    ) - {s1_name(1)}
    result = case.run()
    assert result.exit_code == 0 and case.files() == case.expected()
    assert [e.path for e in case.hub.log if e.method == "GET"] == [case.path(s1_name(1))]


@pytest.mark.parametrize(("faults", "code"), [(["403"], 76), (["404"] * 2, 71), (["503"] * 2, 67)])
def test_common_cause_gives_the_code(case: Case, faults: list[str], code: int) -> None:
    for name in list(case.made)[:4]:
        case.hub.faults[case.path(name)].extend(faults)
    result = case.run()
    assert result.exit_code in (code, 66), result.output
    assert case.files() == {} and "Traceback" not in result.output


def test_content_that_never_verifies_is_78(case: Case) -> None:
    for name, made in case.made.items():
        case.hub.put(case.path(name), broken(made).data, login="token")
    result = case.run()
    assert result.exit_code == 78 and "failed verification 3 times" in result.output
    assert [name for name in case.files() if not name.endswith(".bad")] == []


def test_a_stale_checksum_needs_consent(case: Case) -> None:
    case.records[s2_name(1)]["md5"] = "0" * 32
    case.search()
    result = case.run()
    assert result.exit_code == 71 and "accept_stale_checksum" in result.output and len(case.files()) == 4  # one .bad
    result = case.run("--accept-stale-checksum")
    assert result.exit_code == 0 and case.files() == case.expected()
    assert "stale-checksum" in read_lock(case.work / "raw")[s2_name(1)]["verified"]


def test_fail_fast(case: Case) -> None:
    case.hub.faults[case.path(s2_name(1))].extend(["403"])
    assert case.run("--fail-fast", "--jobs", "1").exit_code == 76
    assert f"date2/{s1_name(2)}.zip" not in case.files()


def test_archived_products_are_68(case: Case) -> None:
    for record in case.records.values():
        record["online"] = False
    case.search()
    result = case.run()
    assert result.exit_code == 68 and "archived, not online" in result.output and case.hub.log == []


def test_login_missing_or_wrong_is_76(case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case.hub.password = "another"
    result = case.run()
    assert result.exit_code == 76 and "was refused" in result.output and "secret-password" not in result.output
    monkeypatch.delenv("S2CR_CDSE_PASSWORD")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    result = case.run()
    assert result.exit_code == 76 and "No login for 127.0.0.1" in result.output


def test_disk_is_checked_before_the_first_byte(case: Case) -> None:
    result = case.run("--reserve-gib", "1000000000")
    assert result.exit_code == 69 and "GiB short for 4 file(s)" in result.output and case.hub.log == []


def test_unpack(case: Case) -> None:
    result = case.run("--unpack")
    assert result.exit_code == 0, result.output
    files = case.files()
    assert set(name.split("/")[1] for name in files) == {f"{n}.SAFE" for n in list(case.made)[:4]}
    record = read_lock(case.work / "raw")[s1_name(1)]
    assert record["file"] == f"date1/{s1_name(1)}.SAFE" and "unpacked" in record["verified"]
    assert case.run("--verify-only", "--unpack").exit_code == 0
    assert case.run("--unpack").exit_code == 0 and case.hub.log == []


def test_what_a_killed_run_finished_is_verified_from_the_disk(case: Case) -> None:
    case.run()
    for path in ("items/download.jsonl", "manifests/download.json", "raw/downloads.lock.json"):
        (case.work / path).unlink()
    assert case.run().exit_code == 0 and case.hub.log == [] and len(read_lock(case.work / "raw")) == 4
    assert case.run("--force").exit_code == 0 and len(case.hub.requests(case.path(s2_name(1)))) == 1


def test_a_product_of_another_catalogue_is_looked_up(case: Case) -> None:
    """Earth Engine tells names only: the catalogue of the download provider is asked, and a reprocessing accepted."""
    old, new = s2_name(1), s2_name(1).replace("N0213", "N0500")
    made = product(new)
    case.hub.put(case.path(new), made.data, login="token")
    case.records[old] |= {"provider": "gee", "remote_id": "", "size": None, "md5": ""}
    case.search()
    item = {"Id": remote_id(new), "Name": f"{new}.SAFE", "ContentLength": len(made.data), "Online": True,
            "Checksum": [{"Algorithm": "MD5", "Value": made.md5.upper()}]}  # fmt: skip
    case.hub.put("/catalogue/Products", json.dumps({"value": [item]}).encode(), media="application/json")
    assert "(looked up by name)" in case.run("--dry-run").output and case.hub.log == []
    result = case.run()
    assert result.exit_code == 0 and f"W_SUBSTITUTE: {old} is not there any more, {new}" in result.output
    assert read_lock(case.work / "raw")[old]["product"] == new
    assert (case.work / f"raw/date1/{old}.zip").read_bytes() == made.data
    case.conf.write_text(case.conf.read_text().replace("provider: cdse", "provider: cdse\n  exact_names: true"))
    case.search()
    (case.work / f"raw/date1/{old}.zip").unlink()
    result = case.run()
    assert result.exit_code == 71 and f"{old}: replaced by {new}" in result.output


@pytest.fixture
def buckets(case: Case) -> Iterator[Buckets]:
    """The services of orbits and heights; the configuration asks for both."""
    with serving(Buckets()) as server:
        ends = {name: server.endpoints[name] for name in ("cdse_catalogue", "orbits", "dem_30", "dem_90")}
        text = case.conf.read_text().replace("orbits: false, dem: false, ", "")
        text = text.replace(f'"{case.hub.url}/catalogue"', f'"{ends.pop("cdse_catalogue")}"')
        more = "".join(f', {name}: "{url}"' for name, url in ends.items())
        case.conf.write_text(text.replace('/token"}', f'/token"{more}}}'))
        case.geometry = {
            "type": "Polygon",
            "coordinates": [[[-19.55, 63.1], [-19.45, 63.1], [-19.45, 63.2], [-19.55, 63.1]]],
        }
        case.search()
        server.orbits = {ORBIT: orbit_body(ORBIT)}
        server.dem_30 = {tile_name(63, -20): partial(tile_body, 63, -20, 1800)}
        yield server


def test_orbits_and_heights(case: Case, buckets: Buckets) -> None:
    dry = case.run("--dry-run")
    assert "orbits, asked for when" in dry.output and "heights, asked for when" in dry.output and buckets.log == []
    result = case.run()
    assert result.exit_code == 0, result.output
    raw = case.work / "raw"
    assert {p.name for p in (raw / "orbits").iterdir()} == {ORBIT}
    assert {p.name for p in (raw / "dem").iterdir()} >= {"dem.tif", f"{tile_name(63, -20)}.tif"}
    missions = sorted(record["mission"] for record in read_lock(raw).values())
    assert missions[:2] == ["DEM_MOSAIC", "DEM_TILE"] and missions[-5:] == ["ORBIT", "S1", "S1", "S2", "S2"]
    assert read_lock(raw)[ORBIT.removesuffix(".EOF")]["products"] == [s1_name(1), s1_name(2)]
    assert fetched_pairs(raw) == ["p001"]
    buckets.log.clear()
    assert case.run().exit_code == 0 and case.hub.log == [] and buckets.log == []
    assert case.run("--no-orbits", "--no-dem").exit_code == 0 and case.hub.log == [] and buckets.log == []


def test_a_missing_orbit_fails_only_where_it_is_used(case: Case, buckets: Buckets) -> None:
    buckets.orbits = {}
    result = case.run("--no-dem")
    assert (
        result.exit_code == 0 and "no orbit file" in result.output and "The annotation's orbits serve" in result.output
    )
    case.conf.write_text(case.conf.read_text() + "preprocess: {orbit: poeorb}\n")
    (case.work / "manifests/download.json").unlink()
    (case.work / "items/download.jsonl").unlink()
    result = case.run("--no-dem")
    assert result.exit_code == 71 and "no orbit file" in result.output and case.files() == case.expected()


def clear_or_cloudy(case: Case, folder: Path) -> list[str]:
    """Three real L2A products: the first has 3 % cloud over the area, the others none; returns their names."""
    names = []
    for day, scl in ((4, classes()), (5, np.full((24, 30), 4, np.uint8)), (6, np.full((24, 30), 4, np.uint8))):
        sensing = dt.datetime(2020, 1, day, 0, 2, 41, tzinfo=dt.UTC)
        who = L2aIdentity(
            "S2A", sensing, 23686, 30, "55HGA", "02.13", dt.datetime(2020, 3, 1, tzinfo=dt.UTC), 30.0, 60.0
        )
        path = write_l2a(folder, who, GRID, reflectances(), scl, RING)
        made = Made(path.stem, path.read_bytes(), 0)
        case.made[made.name], case.records[made.name] = made, case.record(made)
        names.append(made.name)
    utm, degrees = osr.SpatialReference(), osr.SpatialReference()
    utm.ImportFromEPSG(32755)
    degrees.ImportFromEPSG(4326)
    degrees.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    corners = [(700100, 6099600), (700500, 6099600), (700500, 6099900), (700100, 6099900), (700100, 6099600)]
    ring = [list(p[:2]) for p in osr.CoordinateTransformation(utm, degrees).TransformPoints(corners)]
    (case.work / "area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    return names


def test_a_cloudy_pair_gives_way_before_its_radar_data_are_fetched(case: Case, tmp_path: Path) -> None:
    cloudy, clear, after = clear_or_cloudy(case, tmp_path / "archive")
    ranks = [case.pair("p001", 1, (cloudy, s1_name(1)), (after, s1_name(2)), cloud=None),
             case.pair("p002", 2, (clear, s1_name(3)), (after, s1_name(2)), cloud=None)]  # fmt: skip
    case.search(*ranks)
    result = case.run()
    assert result.exit_code == 0, result.output
    assert "p001, rank 1: refused, R_CLOUD at date1: cloud_aoi 3.00 > 1.00 %" in result.output
    assert case.hub.requests(case.path(s1_name(1))) == [], "radar data of a refused pair were fetched"
    assert fetched_pairs(case.work / "raw") == ["p002"]
    assert sorted(read_lock(case.work / "raw")) == sorted([clear, after, s1_name(3), s1_name(2)])
    assert case.run().exit_code == 0 and case.hub.log == []
    result = case.run("--no-recheck-cloud")
    assert result.exit_code == 0 and fetched_pairs(case.work / "raw") == ["p001"]
    case.search(ranks[0])
    result = case.run()
    assert result.exit_code == 72 and "No pair is clear enough" in result.output and "max_cloud_aoi" in result.output
    case.conf.write_text(case.conf.read_text().replace("provider: cdse", f"provider: cdse\n  s2_t0: [{cloudy}]"))
    case.search(ranks[0])
    assert case.run().exit_code == 0, "a product fixed by name is taken as it is"


def test_later_stages_read_only_the_pairs_that_were_fetched(case: Case) -> None:
    case.run()
    pairs_json = case.work / "search/pairs.json"
    assert [pair["id"] for pair in read_pairs(pairs_json)] == ["p001"]
    assert {one.s1 for one in acquisitions.load(pairs_json).values()} == {(s1_name(1),), (s1_name(2),)}
    case.run("--rank", "all")
    assert [pair["id"] for pair in read_pairs(pairs_json)] == ["p001", "p002"]


def test_term_signal_keeps_parts_and_resumes(case: Case) -> None:
    big = product(s2_name(1), 3_000_000)
    case.made[big.name] = big
    case.records[big.name] = case.record(big)
    case.search()
    case.hub.stall_s = 30.0
    case.hub.faults[case.path(big.name)].append("stall")
    env = {**os.environ, "S2CR_GOALS": ""}
    process = subprocess.Popen([ROOT / "s2cr", "download", case.conf], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               text=True, env=env)  # fmt: skip
    part = case.work / f"raw/date1/{big.name}.zip.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    _, text = process.communicate(timeout=90)
    assert time.monotonic() - begin < 10, "waited for the silent server"
    assert process.returncode == 75 and "it resumes" in text and "Traceback" not in text
    assert part.exists()
    result = case.run()
    assert result.exit_code == 0 and case.files() == case.expected()
    assert case.hub.requests(case.path(big.name))[0].range.startswith("bytes=")
