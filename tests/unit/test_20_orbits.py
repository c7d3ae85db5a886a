"""Orbit files: which one is asked for, which one wins, where the bytes come from, what is refused."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import sky
from tests.fakes.buckets import Buckets, orbit_body, remote_id, serving
from utils.io import orbits, transfer
from utils.io.local_copy import Received
from utils.io.orbits import check_orbit_file, newest, odata_filter, parse_orbit_name
from utils.io.staged import lock_record
from utils.io.web import Web
from utils.science.catalogue import Request
from utils.science.product import Product, parse_name
from utils.workflow.errors import CredentialError, InputError, NetworkError, PartialError, VerificationError

SLICE_1 = "S1A_IW_GRDH_1SDV_20191106T190800_20191106T190825_029797_036540_11AA"
SLICE_2 = "S1A_IW_GRDH_1SDV_20191106T190825_20191106T190850_029797_036540_22BB"
OTHER_DAY = "S1A_IW_GRDH_1SDV_20200204T190758_20200204T190823_031110_039300_33CC"
OF_B = "S1B_IW_GRDH_1SDV_20191106T082112_20191106T082137_018810_023760_44DD"
DAY = "V20191105T225942_20191107T005942"
OLD = f"S1A_OPER_AUX_POEORB_OPOD_20191126T120753_{DAY}.EOF"
NEW = f"S1A_OPER_AUX_POEORB_OPOD_20210316T161714_{DAY}.EOF"
B_FILE = f"S1B_OPER_AUX_POEORB_OPOD_20220101T010101_{DAY}.EOF"
NEXT_DAY = "S1A_OPER_AUX_POEORB_OPOD_20230101T120000_V20191106T225942_20191108T005942.EOF"
FEBRUARY = "S1A_OPER_AUX_POEORB_OPOD_20200224T120000_V20200203T225942_20200205T005942.EOF"
RESORB = "S1A_OPER_AUX_RESORB_OPOD_20200204T210000_V20200204T161500_20200204T193230.EOF"
UTC = dt.UTC
DATA = pytest.mark.skipif("S2CR_DATA" not in os.environ, reason="S2CR_DATA is not set: the folder of recorded answers")


def recorded(name: str) -> str:
    return sky.recorded(name).read_text()


@pytest.fixture
def server() -> Iterator[Buckets]:
    with serving(Buckets()) as buckets:
        yield buckets


def hold(buckets: Buckets, *names: str) -> None:
    buckets.orbits |= {name: orbit_body(name) for name in names}


def products(*names: str) -> list[Product]:
    return [parse_name(name) for name in names]


def web() -> Web:
    return Web(tries=2, sleep=lambda _: None)


def fetch(request: Request, target: Path) -> Received:
    return transfer.fetch(request, target, web=web())


def urls(buckets: Buckets) -> dict[str, str]:
    ends = buckets.endpoints
    return {
        "catalogue_url": ends["cdse_catalogue"],
        "bucket_url": ends["orbits"],
        "download_url": ends["cdse_download"],
    }


def test_margins_by_hand() -> None:
    """19:08:00 less 5984.57 s (1 h 39 min 44.57 s) is 17:28:15.43; 19:08:25 and 60 s is 19:09:25."""
    start, stop = dt.datetime(2019, 11, 6, 19, 8, 0, tzinfo=UTC), dt.datetime(2019, 11, 6, 19, 8, 25, tzinfo=UTC)
    assert odata_filter("S1A", "POEORB", start, stop) == (
        "startswith(Name,'S1A') and contains(Name,'AUX_POEORB') and ContentDate/Start lt 2019-11-06T17:28:15.430Z "
        "and ContentDate/End gt 2019-11-06T19:09:25.000Z"
    )

    def fits(validity: str) -> bool:
        file = parse_orbit_name(f"S1A_OPER_AUX_RESORB_OPOD_20191106T220000_V{validity}.EOF")
        assert file is not None
        return newest([file], "S1A", "RESORB", start, stop) is not None

    assert fits("20191106T172815_20191106T190926")
    assert not fits("20191106T172816_20191106T190926")  # the ascending node may lie outside
    assert not fits("20191106T172815_20191106T190925")


def test_newest_wins_in_any_order_and_the_other_satellite_does_not_matter() -> None:
    files = [file for file in map(parse_orbit_name, (NEW, OLD, B_FILE, NEXT_DAY)) if file]
    start, stop = dt.datetime(2019, 11, 6, 19, 8, tzinfo=UTC), dt.datetime(2019, 11, 6, 19, 9, tzinfo=UTC)
    for order in (files, files[::-1]):
        found, of_b = newest(order, "S1A", "POEORB", start, stop), newest(order, "S1B", "POEORB", start, stop)
        assert found is not None and found.name == NEW
        assert of_b is not None and of_b.name == B_FILE
        assert newest(order, "S1C", "POEORB", start, stop) is None


def test_one_question_a_pass_and_all_facts_of_the_request(server: Buckets) -> None:
    hold(
        server, NEW, OLD, B_FILE, NEXT_DAY, FEBRUARY
    )  # the newest comes first: its place in the answer must not matter
    found = orbits.wanted(products(SLICE_2, OTHER_DAY, SLICE_1, OF_B), web(), **urls(server))
    assert [request.name for request in found] == [B_FILE, NEW, FEBRUARY]
    questions = server.asked("/odata/Products")
    assert len(questions) == 3 and all(query["$top"] == "10" for _, query in questions)
    assert "lt 2019-11-06T17:28:15.430Z and ContentDate/End gt 2019-11-06T19:09:50.000Z" in questions[1][1]["$filter"]
    request, body = found[1], server.orbits[NEW]
    assert request.url == f"{server.base}/orbits/AUX_POEORB/{NEW}"
    assert (request.kind, request.auth, request.size) == ("xml", "", len(body))
    assert request.md5 == hashlib.md5(body).hexdigest()
    assert request.facts["products"] == [SLICE_1, SLICE_2] and request.facts["warnings"] == []
    assert request.facts["fallback"] == f"{server.base}/bytes/Products({remote_id(NEW)})/$value"
    assert len(server.log) == 3  # not a byte was fetched


def test_a_pass_that_needs_no_file_of_its_own_shares_one(server: Buckets) -> None:
    later = "S1A_IW_GRDH_1SDV_20191106T204600_20191106T204625_029798_036541_55EE"
    hold(server, NEW)
    (request,) = orbits.wanted(products(SLICE_1, later), web(), **urls(server))
    assert request.facts["products"] == [SLICE_1, later]


def test_more_versions_than_a_page_holds(server: Buckets) -> None:
    versions = [f"S1A_OPER_AUX_POEORB_OPOD_2021{month:02d}01T000000_{DAY}.EOF" for month in range(1, 13)]
    hold(server, *versions)
    (request,) = orbits.wanted(products(SLICE_1), web(), **urls(server))
    assert request.name == versions[-1] and len(server.asked("/odata/Products")) == 2


def test_resorb_only_with_a_warning(server: Buckets) -> None:
    hold(server, RESORB)
    (request,) = orbits.wanted(products(OTHER_DAY), web(), **urls(server))
    assert request.url.endswith(f"/AUX_RESORB/{RESORB}")
    (warning,) = request.facts["warnings"]
    assert warning.startswith("W_RESORB: S1A 2020-02-04 19:07:58:") and RESORB in warning
    hold(server, FEBRUARY)
    (request,) = orbits.wanted(products(OTHER_DAY), web(), **urls(server))
    assert request.name == FEBRUARY and request.facts["warnings"] == []


def test_neither_is_exit_71_and_names_the_pass(server: Buckets) -> None:
    hold(server, NEW, B_FILE)
    with pytest.raises(
        PartialError, match="no orbit file, neither POEORB nor RESORB, for S1A 2020-02-04 19:07:58"
    ) as caught:
        orbits.wanted(products(SLICE_1, OTHER_DAY), web(), **urls(server))
    assert caught.value.exit_code == 71 and "preprocess.orbit: annotation" in caught.value.remedy
    found = orbits.search(products(SLICE_1, OTHER_DAY), web(), **urls(server))
    assert [r.name for r in found.requests] == [NEW] and found.missing == ("S1A 2020-02-04 19:07:58",)


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_bucket_listing_takes_over_when_the_catalogue_fails(server: Buckets, page: int) -> None:
    hold(server, OLD, NEW, B_FILE, NEXT_DAY, FEBRUARY)
    server.page, server.failing = page, {"/odata": 503}
    found = orbits.wanted(products(SLICE_1, OTHER_DAY), web(), **urls(server))
    assert [r.name for r in found] == [NEW, FEBRUARY]
    assert [r.size for r in found] == [len(server.orbits[NEW]), len(server.orbits[FEBRUARY])]
    assert all("fallback" not in r.facts for r in found)
    listing = server.asked("/orbits/")
    assert len(listing) == {1: 4, 2: 2, 1000: 1}[page]  # four files of S1A; read once for both passes
    assert [query["marker"].rpartition("/")[2] for _, query in listing][1:2] == {1: [OLD], 2: [FEBRUARY], 1000: []}[
        page
    ]
    assert {query["prefix"] for _, query in listing} == {"AUX_POEORB/S1A_OPER_AUX_POEORB_OPOD_"}
    assert len(server.asked("/odata")) == 2  # two tries, then the catalogue is left alone


def test_a_listing_that_does_not_advance_ends() -> None:
    class Stuck(Buckets):
        def _listing(self, query: dict[str, str]) -> str:
            return (
                f"<L><IsTruncated>true</IsTruncated><Contents><Key>AUX_POEORB/{OLD}</Key><Size>1</Size></Contents></L>"
            )

    with serving(Stuck()) as server, pytest.raises(InputError, match="does not end"):
        list(orbits.list_bucket("S1A", "POEORB", web(), server.endpoints["orbits"]))
    assert len(server.log) == 2


def test_both_services_away_is_a_network_error(server: Buckets) -> None:
    server.failing = {"/": 503}
    with pytest.raises(NetworkError, match="no answer after 2 tries"):
        orbits.wanted(products(SLICE_1), web(), **urls(server))
    with pytest.raises(NetworkError, match="--offline is set"):
        orbits.wanted(products(SLICE_1), Web(offline=True), **urls(server))


def test_bring_takes_the_bucket_then_the_catalogue(server: Buckets, tmp_path: Path) -> None:
    hold(server, NEW)
    (request,) = orbits.wanted(products(SLICE_1), web(), **urls(server))
    target = tmp_path / "orbits" / NEW
    received = orbits.bring(request, target, fetch)
    assert target.read_bytes() == server.orbits[NEW] and target.stat().st_mode & 0o777 == 0o444
    assert received.verified == ("size", "md5", "xml", "sha256", "validity")
    assert server.asked("/bytes") == []
    record = lock_record(request, received, f"orbits/{NEW}")
    assert record["mission"] == "ORBIT" and record["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert "fallback" not in record and record["products"] == [SLICE_1]
    target.unlink()
    server.unlisted = {NEW}
    seen = []
    orbits.bring(request, target, lambda r, path: (seen.append((r.auth, r.url)), fetch(r, path))[1])
    assert target.read_bytes() == server.orbits[NEW] and len(server.asked("/bytes")) == 1
    assert [auth for auth, _ in seen] == ["", "cdse"]


def test_bring_says_both_reasons(server: Buckets, tmp_path: Path) -> None:
    hold(server, NEW)
    server.unlisted = {NEW}
    (request,) = orbits.wanted(products(SLICE_1), web(), **urls(server))

    def no_login(one: object, path: Path) -> object:
        if getattr(one, "auth"):
            raise CredentialError("no login for cdse.", "Put it into ~/.netrc.")
        return fetch(one, path)  # type: ignore[arg-type]

    with pytest.raises(InputError, match=r"HTTP 404\)\. Second source: no login for cdse\.") as caught:
        orbits.bring(request, tmp_path / NEW, no_login)  # type: ignore[arg-type]
    assert caught.value.remedy == "Put it into ~/.netrc." and not (tmp_path / NEW).exists()


def test_bring_never_keeps_a_file_that_is_not_what_it_says(server: Buckets, tmp_path: Path) -> None:
    server.checksums = False
    server.orbits[NEW] = orbit_body(NEW, mission="Sentinel-1B")
    (request,) = orbits.wanted(products(SLICE_1), web(), **urls(server))
    with pytest.raises(VerificationError, match=r"refused 3 times; .*holds the orbit of Sentinel-1B"):
        orbits.bring(request, tmp_path / NEW, fetch)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == []


def test_check_accepts_and_names_its_checks(tmp_path: Path) -> None:
    path = tmp_path / NEW
    path.write_bytes(orbit_body(NEW))
    assert check_orbit_file(path) == ("size", "xml", "validity")
    path.rename(tmp_path / "other.part")
    assert check_orbit_file(tmp_path / "other.part", NEW, len(orbit_body(NEW))) == ("size", "xml", "validity")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (orbit_body(NEW)[:-40], "not well-formed XML"),
        (orbit_body(NEW)[:900], "not well-formed XML"),
        (b"", "not well-formed XML"),
        (b"<html><body>Error</body></html>", "its root is html"),
        (orbit_body(NEW, mission="Sentinel-1B"), "holds the orbit of Sentinel-1B"),
        (orbit_body(NEW, valid=("2019-11-05T22:59:43", "")), "valid UTC=2019-11-05T22:59:43"),
        (orbit_body(NEW, valid=("", "2019-11-08T00:59:42")), "not as named"),
        (orbit_body(NEW).replace(b"Validity_Start", b"Start"), "no validity period"),
        (orbit_body(NEW).replace(b"count='12'", b"count='13'"), "12 state vectors instead of 13"),
        (orbit_body(NEW, vectors=0), "0 state vectors"),
    ],
    ids=["cut", "cut early", "empty", "html", "mission", "start", "stop", "no validity", "count", "no vectors"],
)  # fmt: skip
def test_check_refuses(tmp_path: Path, body: bytes, text: str) -> None:
    path = tmp_path / NEW
    path.write_bytes(body)
    with pytest.raises(InputError, match=text):
        check_orbit_file(path)


def test_check_of_size_and_name(tmp_path: Path) -> None:
    path = tmp_path / NEW
    path.write_bytes(orbit_body(NEW))
    size = path.stat().st_size
    with pytest.raises(InputError, match=f"{size} bytes instead of {size + 1}"):
        check_orbit_file(path, size=size + 1)
    with pytest.raises(InputError, match="not the name of an orbit file"):
        check_orbit_file(path, "S1A_AUX_PP1.EOF")


@DATA
@pytest.mark.parametrize(
    ("answer", "kind", "start", "size", "md5"),
    [
        ("poeorb", "POEORB", "2020-01-01T00:00:00", 4409905, "e0345368421e1b65127adc6ea103ab53"),
        ("resorb", "RESORB", "2025-03-10T20:42:28", 590749, "ead3d2760014f518fe0521c6930d5fc5"),
    ],
)
def test_recorded_catalogue_answers(answer: str, kind: str, start: str, size: int, md5: str) -> None:
    """The recorded question differs from ours in nothing but its last digits, quotes and $top; its answer is read."""
    exchange = json.loads(recorded(f"cdse/odata_{answer}.json"))
    time = dt.datetime.fromisoformat(start).replace(tzinfo=UTC)
    ours = odata_filter("S1A", kind, time, time).split(" lt ")[0]  # type: ignore[arg-type]
    assert (
        ours.replace(" ", "+")
        .replace("/", "%2F")
        .replace("'", "%27")
        .replace("(", "%28")
        .replace(")", "%29")
        .replace(",", "%2C")
        in exchange["request"]["url"]
    )

    class Recorded(Buckets):
        def _products(self, query: dict[str, str]) -> dict[str, object]:
            return dict(exchange["response"]["json"])

    with serving(Recorded()) as server:
        (file,) = orbits.search_catalogue("S1A", kind, time, time, web(), server.endpoints["cdse_catalogue"])  # type: ignore[arg-type]
        assert len(server.log) == 1  # the link to a next page behind a page that is not full is not followed
    assert (file.kind, file.size, file.md5) == (kind, size, md5) and len(file.blake3) == 64
    assert newest([file], "S1A", kind, time, time) == file  # type: ignore[arg-type]
    assert file.remote_id == exchange["response"]["json"]["value"][0]["Id"]


@DATA
def test_recorded_bucket_listing() -> None:
    """The first of two pages is the recorded one: 60 keys, no NextMarker."""
    text = recorded("orbits/bucket_listing_poeorb.xml")

    class Recorded(Buckets):
        def _listing(self, query: dict[str, str]) -> str:
            return text if not query["marker"] else "<L><IsTruncated>false</IsTruncated></L>"

    with serving(Recorded()) as server:
        files = list(orbits.list_bucket("S1A", "POEORB", web(), server.endpoints["orbits"]))
    assert len(files) == 60 and {(f.platform, f.kind) for f in files} == {("S1A", "POEORB")}
    last = "S1A_OPER_AUX_POEORB_OPOD_20210301T181435_V20140422T225944_20140424T005944.EOF"
    assert [query["marker"] for _, query in server.asked("/orbits/")] == ["", f"AUX_POEORB/{last}"]
    assert (files[-1].name, files[-1].size) == (last, 4413452)
    start = dt.datetime(2014, 4, 23, 12, tzinfo=UTC)
    assert newest(files, "S1A", "POEORB", start, start) == files[-1]
