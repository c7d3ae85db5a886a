"""Provider stac: pystac-client against a STAC API on a loopback server, each trap of the items, recorded items."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.catalogue_hub import serve, stac_item
from tests.fakes.sky import AREA, query, quick_web, recorded, s1, s2
from utils.io import stac
from utils.science.candidates import Log, Settings, make_passes
from utils.science.product import Product, parse_time
from utils.workflow.errors import ConfigError, CredentialError, InputError, NetworkError


def seen_in_stac(product: Product) -> Product:
    """The record that a search must give: no size, no checksum, no address."""
    bare = replace(product, provider="stac", size=None, md5="", href="", remote_id=product.name[:-5])
    return replace(bare, total_slices=None) if product.mission == "S1" else bare


def changed(product: Product, item: dict[str, Any] | None = None, **properties: Any) -> Product | None:
    """The record of an item with other members and properties; None removes a property."""
    raw = stac_item(product) | (item or {})
    raw["properties"] = {k: v for k, v in (raw["properties"] | properties).items() if v is not None}
    return stac.product_of(raw)


def test_every_field_comes_back() -> None:
    radar, optical = s1("20200105T191500", 30700), s2("20200110T000241", "0500")
    with serve(radar, optical) as hub:
        assert list(stac.search(query("S1"), quick_web(), f"{hub.url}/stac")) == [seen_in_stac(radar)]
        assert list(stac.search(query("S2"), quick_web(), f"{hub.url}/stac")) == [seen_in_stac(optical)]


def test_the_question() -> None:
    with serve() as hub:
        assert list(stac.search(query(max_cloud_tile=80.0), quick_web(), f"{hub.url}/stac")) == []
        assert [(entry.method, entry.path) for entry in hub.log] == [
            ("GET", "/stac"), ("GET", "/stac/collections/sentinel-2-c1-l2a"), ("POST", "/stac/search")]  # fmt: skip
        assert hub.log[2].body == {
            "collections": ["sentinel-2-l2a"], "intersects": AREA, "limit": 100, "query": {"eo:cloud_cover": {"lte": 80.0}},
            "datetime": "2019-12-31T23:55:00Z/2020-02-01T00:05:00Z"}  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_by_link_and_by_body(method: str) -> None:
    products = [s2(f"202001{n:02d}T000241") for n in range(2, 27)]
    with serve(*products, most=10, stac_method=method) as hub:
        found = list(stac.search(query(), quick_web(), f"{hub.url}/stac"))
        assert [p.name for p in found] == [p.name for p in products]
        asked = hub.asked("/search")
        assert [entry.method for entry in asked] == ["POST", method, method]
        token = [(entry.body or entry.query).get("token") for entry in asked]
        assert token == [None, "10", "20"]
        if method == "POST":  # the body of the link is merged into that of the question
            assert asked[2].body["collections"] == ["sentinel-2-l2a"] and asked[2].body["limit"] == 100


def test_a_repeated_page_ends_the_paging() -> None:
    products = [s2(f"202001{n:02d}T000241") for n in range(2, 8)]
    with serve(*products, repeats=True, most=3) as hub:
        assert len(list(stac.search(query(), quick_web(), f"{hub.url}/stac"))) == 3
        assert len(hub.asked("/search")) == 2


def test_an_address_without_api() -> None:
    with serve() as hub:
        with pytest.raises(InputError, match="404"):
            list(stac.search(query(), quick_web(), f"{hub.url}/nothing"))
        hub.fail("/stac", 200, body=b'{"type": "Feature"}')
        with pytest.raises(InputError, match=r"no STAC API with item search\. Correct search\.endpoints\.stac"):
            list(stac.search(query(), quick_web(), f"{hub.url}/stac"))
        hub.fail(
            "/stac",
            200,
            body=b'{"type": "Catalog", "stac_version": "1.0.0", "id": "x", "description": "x", "links": []}',
        )
        with pytest.raises(InputError, match="no STAC API with item search"):
            list(stac.search(query(), quick_web(), f"{hub.url}/stac"))


def test_our_retries_errors_and_offline_hold_inside_the_client() -> None:
    radar = s1("20200105T191500", 30700)
    with serve(radar) as hub:
        hub.fail("/stac", 503)
        hub.fail("/stac/search", 429, 1, {"Retry-After": "1"})
        assert [p.name for p in stac.search(query("S1"), quick_web(), f"{hub.url}/stac")] == [radar.name]
        hub.fail("/stac/search", 401)
        with pytest.raises(CredentialError):
            list(stac.search(query("S1"), quick_web(), f"{hub.url}/stac"))
        before = len(hub.log)
        with pytest.raises(NetworkError, match="--offline is set"):
            list(stac.search(query("S1"), quick_web(offline=True), f"{hub.url}/stac"))
        assert len(hub.log) == before


def test_the_id_is_never_the_name() -> None:
    found = changed(
        s1("20200105T191500", 30700), {"id": "S1A_IW_GRDH_1SDV_20200105T191500_20200105T191525_030700_0ABCDE"}
    )
    assert found is not None and found.name.endswith("_0ABCDE_A1B2")
    full = s2("20200110T000241")
    assert changed(full, {"id": full.name}, **{"s2:product_uri": None}) is None


def test_slice_number_is_text() -> None:
    found = changed(s1("20200105T191500", 30700), **{"s1:slice_number": "07", "s1:total_slices": "20"})
    assert found is not None and (found.slice, found.total_slices) == (7, 20)


def test_a_missing_relative_orbit_is_that_of_the_name() -> None:
    found = changed(s2("20200110T000241"), **{"sat:relative_orbit": None})
    assert found is not None and found.relative_orbit == 30
    found = changed(s1("20200105T191500", 30700), **{"sat:relative_orbit": None})
    assert found is not None and found.relative_orbit == 3


def test_datetime_is_not_the_time_of_the_name() -> None:
    late = s2("20200131T235930")
    found = changed(late, datetime="2020-02-01T00:00:43.918Z")
    assert found is not None and found.start == parse_time("20200131T235930")
    item = stac_item(late)
    item["properties"]["datetime"] = "2020-02-01T00:00:43.918Z"
    with serve(items={"stac": [item]}) as hub:
        assert [p.name for p in stac.search(query(), quick_web(), f"{hub.url}/stac")] == [late.name]
        assert (
            list(stac.search(query(start="20200201T000000", end="20200301T000000"), quick_web(), f"{hub.url}/stac"))
            == []
        )


def test_null_geometry_has_no_footprint() -> None:
    found = changed(s1("20200105T191500", 30700), {"geometry": None})
    assert found is not None and found.footprint == ()


def test_nodata_and_absolute_orbit_of_a_tile() -> None:
    found = changed(
        s2("20200110T000241"),
        **{"s2:nodata_pixel_percentage": 96.8, "s2:datatake_id": "GS2A_20200110T000241_023800_N02.13"},
    )
    assert found is not None and (found.nodata_tile, found.absolute_orbit) == (96.8, 23800)


def test_a_platform_that_is_not_the_one_of_the_name_is_told() -> None:
    found = changed(s1("20200105T191500", 30700), platform="Sentinel-1B")
    assert found is not None and found.warnings == (f"W_PLATFORM: {found.name} is told to be of Sentinel-1B",)


def test_no_archive_is_served() -> None:
    with pytest.raises(ConfigError, match=r"catalogue\.example serves no SAFE archive\. Set search\.download_from"):
        stac.locate(s1("20200105T191500", 30700), "https://catalogue.example/v1")


def test_rasters_only_over_https_and_never_with_a_doubtful_offset() -> None:
    old, new = s2("20200110T000241", "0213"), s2("20230110T000241", "0509")
    assets = {"red": {"href": "https://bucket.example/t/B04.tif"}, "nir": {"href": "s3://bucket/t/B08.tif"},
              "scl": {"href": "https://a.blob.core.windows.net/t/SCL.tif"}, "meta": {"href": "https://bucket.example/t.xml"}}  # fmt: skip
    found = stac.rasters(stac_item(old) | {"assets": assets})
    assert {key: (r.name, r.url, r.auth, r.kind) for key, r in found.items()} == {
        "red": (f"{old.name}_red.tif", "https://bucket.example/t/B04.tif", "", "tif"),
        "scl": (f"{old.name}_scl.tif", "https://a.blob.core.windows.net/t/SCL.tif", "planetary", "tif"),
    }
    with pytest.raises(InputError, match=r"offset of baseline 0509 cannot be trusted.*download_from cdse"):
        stac.rasters(stac_item(new) | {"assets": assets})
    assert set(stac.rasters(stac_item(new) | {"assets": assets}, "measure")) == {"red", "scl"}
    assert set(stac.rasters(stac_item(new) | {"assets": assets, "collection": "sentinel-2-c1-l2a"})) == {"red", "scl"}
    with pytest.raises(InputError, match="no Sentinel-2 item"):
        stac.rasters(stac_item(s1("20200105T191500", 30700)))


@pytest.mark.parametrize(("level", "removed"), [(120.0, True), (899.9, True), (1000.1, False), (1350.0, False)])
def test_offset_by_the_data(level: float, removed: bool) -> None:
    assert stac.offset_is_removed(level) is removed


@pytest.mark.parametrize("level", [900.0, 950.0, 1000.0])
def test_offset_that_the_data_cannot_tell(level: float) -> None:
    with pytest.raises(InputError, match="cannot be told"):
        stac.offset_is_removed(level)


def item_of(name: str) -> dict[str, Any]:
    return dict(json.loads(recorded(name).read_text()))


def test_recorded_radar_item() -> None:
    found = stac.product_of(item_of("stac/s1_grd_iw_item.json"))
    name = "S1A_IW_GRDH_1SDV_20210809T173953_20210809T174018_039156_049F13_6FF8"
    assert found == Product(
        name, "S1", "S1A", "GRDH", "IW", parse_time("2021-08-09T17:39:53.153776Z"), parse_time("2021-08-09T17:40:18.152800Z"),
        pols=("VV", "VH"), absolute_orbit=39156, relative_orbit=59, direction="ASCENDING", datatake="049F13", slice=7,
        total_slices=20, timeliness="NRT-3h", generated="20210809T201958", provider="stac", remote_id=name[:-5],
        footprint=((1.512143, 46.03389), (4.85136, 46.436539), (5.188996, 44.938713), (1.937196, 44.536255)),
    )  # fmt: skip


def test_recorded_ew_item_is_refused_by_its_mode() -> None:
    found = stac.product_of(item_of("stac/s1_grd_ew_item.json"))
    assert found is not None and (found.mode, found.pols, found.relative_orbit) == ("EW", ("HH", "HV"), 20)
    window, log = (parse_time("20221101T000000"), parse_time("20221201T000000")), Log()
    assert make_passes([found], Settings(window, window, 32645), lambda _: 1.0, log) == []
    assert [(r.code, r.value) for r in log.items] == [("R_MODE", "EW")]


def test_recorded_tile_that_is_almost_empty() -> None:
    found = stac.product_of(item_of("stac/s2_l2a_item_baseline0212.json"))
    start = parse_time("20190212T192651")
    assert found is not None and replace(found, footprint=()) == Product(
        "S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857", "S2", "S2A", "L2A", "MSI", start, start,
        absolute_orbit=19029, relative_orbit=13, direction="DESCENDING", baseline="0212", tile="07HFE",
        generated="20201007T160857", cloud_tile=51.580326, nodata_tile=96.769553, provider="stac",
        remote_id="S2A_T07HFE_20190212T192646_L2A",
    )  # fmt: skip
    assert len(found.footprint) == 9


def test_recorded_item_of_a_cloud_catalogue() -> None:
    found = stac.product_of(item_of("planetary/item_s2_l2a.json"))
    start = parse_time("20190629T212529")
    assert found == Product(
        "S2B_MSIL2A_20190629T212529_N0212_R043_T06VVN_20201006T080531", "S2", "S2B", "L2A", "MSI", start, start,
        absolute_orbit=12081, relative_orbit=43, direction="DESCENDING", baseline="0212", tile="06VVN",
        generated="20201006T080531", cloud_tile=0.314306, nodata_tile=0.0, provider="stac",
        remote_id="S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531",
        footprint=((-148.86876, 61.32159126), (-146.81763, 61.33432013), (-146.82315, 60.34852729), (-148.81212, 60.33630032)),
    )  # fmt: skip
    rasters = stac.rasters(item_of("planetary/item_s2_l2a.json"))
    assert (
        rasters["B04"].auth == "planetary"
        and rasters["B04"].url.endswith("_B04_10m.tif")
        and "?" not in rasters["B04"].url
    )


def test_recorded_page_of_an_open_catalogue() -> None:
    (item,) = item_of("earth_search/search_s2_l1c.json")["features"]
    found = stac.product_of(item)
    start = parse_time("20240206T131259")  # datetime says 13:14:11.918
    assert found == Product(
        "S2B_MSIL1C_20240206T131259_N0510_R081_T27VWK_20240206T133903", "S2", "S2B", "L1C", "MSI", start, start,
        absolute_orbit=36143, relative_orbit=81, direction="DESCENDING", baseline="0510", tile="27VWK",
        generated="20240206T133903", cloud_tile=9.93604802923519, provider="stac", remote_id="S2B_27VWK_20240206_0_L1C",
        footprint=((-21.00037677459615, 63.12951023858156), (-21.00037271572523, 62.81247761195228),
                   (-20.69680827030645, 63.12918636378938)),
    )  # fmt: skip
    assert stac.rasters(item) == {}  # only s3 addresses


@pytest.mark.parametrize(
    "name", ["stac/s1_rtc_item_two_slices.json", "stac/s2_l2a_item_baseline0510_antimeridian.json"]
)
def test_recorded_items_without_a_product_name_are_left_out(name: str) -> None:
    assert stac.product_of(item_of(name)) is None


def test_recorded_outline_across_the_antimeridian_stays_in_one_piece() -> None:
    item = item_of("stac/s2_l2a_item_baseline0510_antimeridian.json")
    item["properties"]["s2:product_uri"] = "S2A_MSIL2A_20240109T184754_N0510_R127_T60CWS_20240109T203651.SAFE"
    found = stac.product_of(item)
    assert found is not None
    longitudes = [x for x, _ in found.footprint]
    assert min(longitudes) == pytest.approx(176.999016) and max(longitudes) == pytest.approx(360 - 178.188058)


def test_recorded_pages_are_read_by_the_client() -> None:
    pages = [json.loads(recorded(f"planetary/paging_page{n}.json").read_text()) for n in (1, 2)]
    with serve() as hub:
        for page in pages:
            text = json.dumps(page["response"]["json"]).replace(
                "https://planetarycomputer.microsoft.com/api/stac/v1", f"{hub.url}/stac"
            )
            hub.fail("/stac/search", 200, body=text.encode())
        hub.fail("/stac/search", 200, body=b'{"type": "FeatureCollection", "features": [], "links": []}')
        q = replace(query(), start=parse_time("20000101T000000"))
        with pytest.raises(InputError, match="none of 20 items tells its product name"):  # aerial images
            list(stac.search(q, quick_web(), f"{hub.url}/stac"))
        first, second, third = hub.asked("/search")
        assert "token" not in first.body
        assert (second.body["token"], second.body["limit"]) == ("next:naip:vt_m_4307307_nw_18_060_20211029", 10)
        assert third.body["token"].startswith("next:naip:")
