"""Provider gee: records from properties, months, errors in the project's words, and how the client retries."""

from __future__ import annotations

import ast
import datetime as dt
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import ee_server
from utils.io import gee, gee_graph
from utils.science import gee_records as records
from utils.science.catalogue import Query
from utils.science.cloud import CloudStats
from utils.science.product import NameError_, Product
from utils.workflow.errors import ConfigError, CredentialError, Error, InputError, NetworkError

UTC = dt.UTC
ROOT = Path(__file__).parents[2]
RECORDED = Path(os.environ.get("S2CR_DATA", "/nowhere")).parent / "fixtures/catalogue/gee"
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded answers beside S2CR_DATA are not here")
INDEX = "20200104T000241_20200104T001612_T55HGA"
S2 = {
    "PRODUCT_ID": "S2B_MSIL2A_20200104T000239_N0500_R030_T55HGA_20230301T010203", "CLOUDY_PIXEL_PERCENTAGE": 12.5,
    "MGRS_TILE": "55HGA", "SENSING_ORBIT_NUMBER": 30, "SENSING_ORBIT_DIRECTION": "DESCENDING",
    "DATATAKE_IDENTIFIER": "GS2B_20200104T000239_014778_N05.00", "index": INDEX,
    "footprint": {"type": "LinearRing", "coordinates": [[149.1, -35.1], [150.2, -35.1], [150.2, -36.1], [149.1, -35.1]]},
    "area": 1000, "data": 900, "valid": 900, "cloud": 90, "shadow": 9,
}  # fmt: skip
S1 = {
    "index": "S1A_IW_GRDH_1SDV_20200104T192233_20200104T192258_030655_038353_1A2B", "orbitProperties_pass": "DESCENDING",
    "orbitNumber_start": 30655, "relativeOrbitNumber_start": 133, "sliceNumber": 4, "totalSlices": 9,
    "productTimelinessCategory": "Fast-24h", "footprint": None,
}  # fmt: skip


def query(mission: str = "S2", **more: Any) -> Query:
    area = {"type": "Polygon", "coordinates": [[[149.0, -35.0], [149.1, -35.0], [149.1, -35.1], [149.0, -35.0]]]}
    window = {"start": dt.datetime(2020, 1, 1, tzinfo=UTC), "end": dt.datetime(2020, 2, 1, tzinfo=UTC)}
    return Query(mission, area, **(window | more))  # type: ignore[arg-type]


def one_month(rows: list[dict[str, Any]], asked: Query, methods: dict[str, str]) -> list[records.Found]:
    return records.found(rows, asked, methods, (asked.start, asked.end))[0]


def test_a_sentinel2_record() -> None:
    p = records.s2_product(S2)
    assert (p.name, p.platform, p.type, p.tile, p.baseline) == (S2["PRODUCT_ID"], "S2B", "L2A", "55HGA", "0500")
    assert p.start == dt.datetime(2020, 1, 4, 0, 2, 39, tzinfo=UTC) and p.absolute_orbit == 14778
    assert (p.relative_orbit, p.direction, p.cloud_tile, p.warnings) == (30, "DESCENDING", 12.5, ())
    assert p.footprint == ((149.1, -35.1), (150.2, -35.1), (150.2, -36.1))
    assert (p.provider, p.remote_id, p.href, p.size, p.online) == ("gee", INDEX, "", None, True)
    polygon = S2 | {"footprint": {"type": "Polygon", "coordinates": [S2["footprint"]["coordinates"]]}}
    assert records.s2_product(polygon).footprint == p.footprint
    assert records.s2_product(S2 | {"footprint": None, "CLOUDY_PIXEL_PERCENTAGE": None}).footprint == ()
    assert records.s2_product(S2 | {"SENSING_ORBIT_NUMBER": 31}).warnings[0].startswith("W_ORBIT")
    assert Product.from_json(json.loads(json.dumps(p.to_json()))) == p
    with pytest.raises(NameError_):
        records.s2_product(S2 | {"PRODUCT_ID": "S2A_OPER_PRD_MSIL1C_PDMC_20160504T225644_R030_V20160504T000241"})


def test_a_sentinel1_record() -> None:
    p = records.s1_product(S1)
    assert (p.name, p.mission, p.type, p.mode, p.pols) == (S1["index"], "S1", "GRDH", "IW", ("VV", "VH"))
    assert (p.absolute_orbit, p.relative_orbit, p.direction, p.slice, p.total_slices) == (
        30655,
        133,
        "DESCENDING",
        4,
        9,
    )
    assert p.timeliness == "Fast-24h" and p.warnings == ()


def test_cloud_goes_with_the_product() -> None:
    (item,) = one_month([S2], query(), {INDEX: "s2cloudless"})
    assert item.cloud == CloudStats(10.0, 1.0, 0.9) and item.method == "s2cloudless" and item.index == INDEX
    missing = S2 | {"valid": 0, "cloud": 0, "shadow": 0}
    assert records.is_missing(missing) and not records.is_missing(missing | {"data": 0})
    (item,) = one_month([missing], query(), {INDEX: "sen2cloudfree"})
    assert item.cloud is None and item.method == ""
    (item,) = one_month([missing | {"data": 0}], query(), {INDEX: "cloud_score_plus"})
    assert item.cloud == CloudStats(100.0, 0.0, 0.0)


def test_a_mix_of_methods_is_told() -> None:
    def made(method: str) -> records.Found:
        return records.Found(records.s2_product(S2), INDEX, CloudStats(1.0, 0.0, 1.0) if method else None, method)

    def warned(*methods: str) -> list[bool]:
        return [bool(i.product.warnings) for i in records.with_warnings([made(m) for m in methods])]

    assert warned("s2cloudless", "s2cloudless") == [False, False]
    assert warned("s2cloudless", "cloud_score_plus", "") == [True, False, True]
    assert warned("", "") == [True, True] and warned("scl") == [False]
    assert not records.with_warnings([records.Found(records.s1_product(S1), "i")])[0].product.warnings


def test_the_window_holds_by_the_name_and_unknown_names_are_told() -> None:
    after = S2 | {"PRODUCT_ID": "S2B_MSIL2A_20200201T000239_N0500_R030_T55HGA_20230301T010203"}
    old = S2 | {"PRODUCT_ID": "S2A_OPER_PRD_MSIL1C_X", "index": "old"}
    asked = query()
    found, unnamed = records.found([after, old, S2], asked, {INDEX: "scl"}, (asked.start, asked.end))
    assert [item.product.name for item in found] == [S2["PRODUCT_ID"]] and unnamed == ["old"]


def test_months() -> None:
    def day(*numbers: int) -> dt.datetime:
        return dt.datetime(*numbers, tzinfo=UTC)  # type: ignore[arg-type,misc]

    assert records.months(day(2019, 11, 20, 5), day(2020, 1, 3)) == [
        (day(2019, 11, 20, 5), day(2019, 12, 1)), (day(2019, 12, 1), day(2020, 1, 1)), (day(2020, 1, 1), day(2020, 1, 3)),
    ]  # fmt: skip
    assert records.months(day(2020, 1, 1), day(2020, 2, 1)) == [(day(2020, 1, 1), day(2020, 2, 1))]
    assert records.months(day(2020, 1, 1), day(2020, 1, 1)) == []


def test_bytes_come_from_another_provider() -> None:
    with pytest.raises(ConfigError, match="serves no products") as caught:
        gee.locate(records.s2_product(S2))
    assert caught.value.exit_code == 65 and "search.download_from" in caught.value.remedy


def test_zones_and_band_names() -> None:
    assert (records.utm_epsg("55HGA"), records.utm_epsg("43RCP"), records.utm_epsg("32NAA")) == (32755, 32643, 32632)
    assert [gee_graph.catalogue_band(b) for b in ("B02", "B8A", "B11", "B12")] == ["B2", "B8A", "B11", "B12"]


def test_only_one_module_imports_the_client() -> None:
    importing = []
    for folder in ("utils", "scripts", "models"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
            names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
            if any(name == "ee" or name.startswith("ee.") for name in names):
                importing.append(path.name)
                assert not [n for n in tree.body if isinstance(n, ast.Import) and n.names[0].name == "ee"]
    assert importing == ["gee.py"]


@recorded
def test_recorded_sentinel2_images() -> None:
    wanted = {
        "s2_sr_20200604T054639_20200604T054831_T43RCP": ("S2B_MSIL2A_20200604T054639_N0214_R048_T43RCP_20200604T094332", 16948, 4.184628),
        "s2_sr_20200813T054639_20200813T054952_T43RCP": ("S2B_MSIL2A_20200813T054639_N0214_R048_T43RCP_20200813T083230", 17949, 1.948562),
        "s2_toa_20200604T054639_20200604T054831_T43RCP": ("S2B_MSIL1C_20200604T054639_N0209_R048_T43RCP_20200604T083537", 16948, 0.8438),
        "s2_toa_20200823T054639_20200823T055618_T43RCP": ("S2B_MSIL1C_20200823T054639_N0209_R048_T43RCP_20200823T074854", 18092, 9.9194),
    }  # fmt: skip
    products = {}
    for file, (name, orbit, cloud) in wanted.items():
        properties = json.loads((RECORDED / f"{file}.json").read_text())
        p = products[file] = records.s2_product(properties)
        assert (p.name, p.absolute_orbit, p.cloud_tile, p.relative_orbit, p.tile) == (name, orbit, cloud, 48, "43RCP")
        assert p.warnings == () and p.remote_id == file.partition("_20")[2].join(("20", "")) and len(p.footprint) > 3
        assert p.start.strftime("%H%M%S") == "054639"
        # the time of the tile is minutes after the start in the name, within what the request is widened by
        late = dt.datetime.fromtimestamp(properties["system:time_start"] / 1000, UTC) - p.start
        assert dt.timedelta(minutes=5) < late < records.TILE_DELAY
        assert ("B10" in properties["system:band_names"]) == (p.type == "L1C")
    first, second = (products[f"s2_{level}_20200604T054639_20200604T054831_T43RCP"] for level in ("sr", "toa"))
    assert first.remote_id == second.remote_id and first.generated != second.generated  # the join, and why not by name


@recorded
@pytest.mark.parametrize(
    ("name", "orbit", "relative", "direction", "slices"),
    [
        ("S1A_IW_GRDH_1SDV_20200607T010800_20200607T010825_032904_03CFBA_D457", 32904, 107, "DESCENDING", (11, 18)),
        ("S1A_IW_GRDH_1SDV_20200903T131212_20200903T131237_034195_03F8F5_AC1C", 34195, 173, "ASCENDING", (2, 12)),
    ],
)
def test_recorded_sentinel1_images(
    name: str, orbit: int, relative: int, direction: str, slices: tuple[int, int]
) -> None:
    p = records.s1_product(json.loads((RECORDED / f"s1_grd_{name}.json").read_text()))
    assert (p.name, p.absolute_orbit, p.relative_orbit, p.direction) == (name, orbit, relative, direction)
    assert (p.slice, p.total_slices) == slices and p.warnings == () and p.pols == ("VV", "VH")


@recorded
def test_recorded_images_through_the_server() -> None:
    """The two recorded S1 images as the answer of a search: filters, properties and names as they are asked for."""
    from tests.fakes import ee_world
    from tests.fakes.ee_eval import Image

    world = ee_world.make_world({}, (), ())
    world.area = [[[74.0, 30.6], [74.05, 30.6], [74.05, 30.5], [74.0, 30.6]]]
    for path in sorted(RECORDED.glob("s1_*.json")):
        image = Image(lambda m: {}, json.loads(path.read_text()))
        world.collections[gee_graph.S1_GRD].append(image)
        wrong = image.properties | {"instrumentMode": "EW", "system:index": "wrong"}
        single = image.properties | {"transmitterReceiverPolarisation": ["VV"], "system:index": "single"}
        world.collections[gee_graph.S1_GRD] += [Image(lambda m: {}, wrong), Image(lambda m: {}, single)]
    asked = Query("S1", {"type": "Polygon", "coordinates": world.area}, dt.datetime(2020, 6, 1, tzinfo=UTC), dt.datetime(2020, 10, 1, tzinfo=UTC))  # fmt: skip
    with ee_server.serving(world.answer) as server:
        gee.start("p", server.url)
        products = list(gee.search(asked))
        assert len(server.expressions) == 4  # one a month
    assert [p.relative_orbit for p in products] == [107, 173] and all(len(p.footprint) > 3 for p in products)


def test_no_login_and_no_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import ee

    ee.Reset()
    for name, value in {"HOME": tmp_path, "CLOUDSDK_CONFIG": tmp_path, "GOOGLE_APPLICATION_CREDENTIALS": ""}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(CredentialError, match="Please authorize access") as caught:
        gee.start("p")
    assert caught.value.exit_code == 76 and "earthengine authenticate" in caught.value.remedy
    with pytest.raises(ConfigError, match="gee_project is not set") as missing:
        gee.start(None)
    assert missing.value.exit_code == 65
    with pytest.raises(ConfigError, match="no project found") as unknown:  # a project of the client itself is none
        gee.start("764086051850", "http://127.0.0.1:9")
    assert unknown.value.exit_code == 65 and "search.gee_project" in unknown.value.remedy
    ee.data.setMaxRetries(0)
    with pytest.raises(NetworkError, match="no answer"):
        gee.start("p", "http://127.0.0.1:9")
    ee.data.setMaxRetries(5)


def test_a_stored_login_goes_to_google_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import ee

    monkeypatch.setattr(ee.data, "get_persistent_credentials", lambda: pytest.fail("the stored login was read"))
    with ee_server.serving(lambda expression: 7) as server:
        gee.start("p", server.url)
        assert gee.ask(lambda ee: ee.Number(3).add(4)) == 7
        assert set(server.tokens) == {""} and "value:compute" in server.requests[-1]
        gee.start("p", server.url, ee_server.fake_credentials())
        assert server.tokens[-1] == "Bearer fake-0"


@pytest.mark.parametrize(
    ("status", "message", "error", "code"),
    [
        (400, "User memory limit exceeded.", InputError, 66),
        (404, "Asset not found.", InputError, 66),
        (403, "Permission denied on resource.", CredentialError, 76),
        (403, "Earth Engine API has not been used in project 12 before or it is disabled.", ConfigError, 65),
        (401, "Request had invalid authentication credentials.", CredentialError, 76),
    ],
)
def test_errors_of_a_request(status: int, message: str, error: type[Error], code: int) -> None:
    with ee_server.serving(lambda expression: 7) as server:
        gee.start("p", server.url, ee_server.fake_credentials())
        server.faults = [("value:compute", status, message)] * 3
        with pytest.raises(error, match=message.rstrip(".")) as caught:
            gee.ask(lambda ee: ee.Number(3).add(4))
    assert caught.value.exit_code == code and "fake-" not in str(caught.value) and caught.value.remedy


def test_the_client_refreshes_once_on_401() -> None:
    refreshes: list[int] = []
    with ee_server.serving(lambda expression: 7) as server:
        gee.start("p", server.url, ee_server.fake_credentials(refreshes))
        server.faults = [("value:compute", 401, "expired")]
        assert gee.ask(lambda ee: ee.Number(3).add(4)) == 7
        assert len(refreshes) == 1 and server.tokens[-1] == "Bearer fake-1"


@pytest.mark.parametrize(("status", "times"), [(429, 3), (503, 2), (0, 1)])
def test_the_client_retries_by_itself(status: int, times: int) -> None:
    """So nothing is retried here: after these faults (0: the connection is closed) the answer comes."""
    with ee_server.serving(lambda expression: 7) as server:
        gee.start("p", server.url, ee_server.fake_credentials())
        server.faults = [("value:compute", status, "try later")] * times
        begin, before = time.monotonic(), len(server.requests)
        assert gee.ask(lambda ee: ee.Number(3).add(4)) == 7
        print(f"HTTP {status} {times} times, then the answer: {time.monotonic() - begin:.1f} s")
        assert len(server.requests) - before == times + 1


def test_a_dead_connection_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gee, "DEADLINE_S", 0.5)
    with ee_server.serving(lambda expression: 7) as server:
        gee.start("p", server.url)
        server.faults = [("value:compute", -1, "")]
        begin = time.monotonic()
        assert gee.ask(lambda ee: ee.Number(3).add(4)) == 7  # the client tries again after the deadline
        assert (
            0.5 < time.monotonic() - begin < 4
            and server.requests[-2:] == ["POST /v1alpha/projects/p/value:compute"] * 2
        )


def test_what_the_client_gives_up_on_is_a_network_error() -> None:
    import ee

    with ee_server.serving(lambda expression: 7) as server:
        gee.start("p", server.url, ee_server.fake_credentials())
        ee.data.setMaxRetries(1)
        server.faults = [("value:compute", 429, "Too Many Requests")] * 2
        try:
            with pytest.raises(NetworkError, match=r"HTTP 429: Too Many Requests\. The client has retried") as caught:
                gee.ask(lambda ee: ee.Number(3).add(4))
        finally:
            ee.data.setMaxRetries(5)
    assert caught.value.exit_code == 67
