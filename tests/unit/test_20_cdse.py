"""Provider cdse: the question that is sent, paging over a loopback server, each trap of the answers, recorded answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.catalogue_hub import cdse_item, serve
from tests.fakes.sky import AREA, WIDE, query, quick_web, recorded, s1, s2
from utils.io import cdse
from utils.science.product import Product, parse_time
from utils.workflow.errors import CredentialError, InputError, NetworkError, OfflineProductError


def seen_at_cdse(product: Product) -> Product:
    """The record that a search must give for a product of the hub."""
    return replace(product, provider="cdse", href=f"s3://eodata/{product.name}.SAFE")


def changed(product: Product, item: dict[str, Any] | None = None, **attributes: Any) -> Product | None:
    """The record of an item with other members and attributes; None removes an attribute."""
    raw = cdse_item(product) | (item or {})
    kept = [a for a in raw["Attributes"] if a["Name"] not in attributes]
    raw["Attributes"] = kept + [{"Name": k, "Value": v} for k, v in attributes.items() if v is not None]
    return cdse.product_of(raw)


def test_every_field_comes_back() -> None:
    radar = s1("20200105T191500", 30700)
    optical = s2("20200110T000241", "0500", blake3="ab" * 32, absolute_orbit=23800)
    with serve(radar, optical) as hub:
        assert list(cdse.search(query("S1"), quick_web(), f"{hub.url}/odata")) == [seen_at_cdse(radar)]
        assert list(cdse.search(query("S2"), quick_web(), f"{hub.url}/odata")) == [seen_at_cdse(optical)]


def test_the_question_names_collection_month_area_and_type_with_unquoted_times() -> None:
    q = query("S2", "20200120T000000", "20200210T063000", max_cloud_tile=80.0)
    with serve() as hub:
        assert list(cdse.search(q, quick_web(), f"{hub.url}/odata")) == []
        first, second = (entry.query for entry in hub.log)
    assert first["$filter"] == (
        "Collection/Name eq 'SENTINEL-2' and ContentDate/Start ge 2020-01-20T00:00:00.000Z and "
        "ContentDate/Start lt 2020-02-01T00:00:00.000Z and OData.CSC.Intersects(area=geography'SRID=4326;"
        "POLYGON((149.1 -35.25,149.15 -35.25,149.15 -35.2,149.1 -35.2,149.1 -35.25))') and "
        "Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'productType' and "
        "att/OData.CSC.StringAttribute/Value eq 'S2MSI2A') and Attributes/OData.CSC.DoubleAttribute/any("
        "att:att/Name eq 'cloudCover' and att/OData.CSC.DoubleAttribute/Value le 80.00)"
    )
    assert "ge 2020-02-01T00:00:00.000Z and ContentDate/Start lt 2020-02-10T06:30:00.000Z" in second["$filter"]
    assert {k: v for k, v in first.items() if k != "$filter"} == {
        "$orderby": "ContentDate/Start asc", "$top": "1000", "$expand": "Attributes"}  # fmt: skip


def test_a_window_of_a_year_is_asked_month_by_month() -> None:
    with serve() as hub:
        list(cdse.search(query("S1", "20191115T120000", "20201115T120000"), quick_web(), f"{hub.url}/odata"))
        assert len(hub.log) == 13


def days(count: int) -> list[Product]:
    return [s1(f"20200103T{n // 60:02d}{n % 60:02d}00", 30700, last=f"{n:04X}") for n in range(count)]


def test_pages_follow_the_link() -> None:
    products = days(25)
    with serve(*products, most=10) as hub:
        found = list(cdse.search(query("S1"), quick_web(), f"{hub.url}/odata"))
        assert [p.name for p in found] == [p.name for p in products]
        assert [entry.query.get("$skip") for entry in hub.log] == [None, "10", "20"]


def test_a_vanished_link_loses_nothing() -> None:
    products = days(57)
    with serve(*products, link_until=20) as hub:  # full pages of 10, no link behind the second
        found = list(cdse.search(query("S1"), quick_web(), f"{hub.url}/odata", page=10))
        assert [p.name for p in found] == [p.name for p in products]
        assert "ge 2020-01-03T00:19:00.123Z" in hub.log[2].query["$filter"]


def test_a_repeated_page_ends_and_gives_no_product_twice() -> None:
    products = days(30)
    with serve(*products, repeats=True) as hub:
        found = list(cdse.search(query("S1"), quick_web(), f"{hub.url}/odata", page=10))
        assert sorted(p.name for p in found) == sorted(p.name for p in products) and len(hub.log) < 15


def test_a_link_to_another_host_is_refused() -> None:
    with serve(s1("20200105T191500", 30700)) as hub:
        body = json.dumps(
            {"value": [cdse_item(hub.products[0])], "@odata.nextLink": "http://127.0.0.2:9/odata/Products?$skip=1"}
        )
        hub.fail("/odata/Products", 200, body=body.encode())
        with pytest.raises(InputError, match=r"next page lies at 127\.0\.0\.2"):
            list(cdse.search(query("S1"), quick_web(), f"{hub.url}/odata"))


def test_content_length_0_and_empty_checksums_mean_unknown() -> None:
    found = changed(s1("20200105T191500", 30700), {"ContentLength": 0, "Checksum": []})
    assert found is not None and (found.size, found.md5, found.blake3) == (None, "", "")


def test_an_empty_md5_is_none() -> None:
    sums = [{"Algorithm": "MD5", "Value": ""}, {"Algorithm": "SHA3-256", "Value": "00" * 32}]
    found = changed(s1("20200105T191500", 30700), {"Checksum": sums})
    assert found is not None and (found.md5, found.blake3) == ("", "")


def test_relative_orbit_0_is_missing_and_the_formula_answers() -> None:
    found = changed(s1("20200105T191500", 30700), relativeOrbitNumber=0)
    assert found is not None and found.relative_orbit == (30700 - 73) % 175 + 1 == 3 and not found.warnings


def test_a_recorded_relative_orbit_wins_and_warns() -> None:
    found = changed(s1("20200105T191500", 30700), relativeOrbitNumber=5)
    assert found is not None and found.relative_orbit == 5
    assert found.warnings == (f"W_ORBIT: {found.name} records relative orbit 5, its name gives 3",)


def test_missing_total_slices() -> None:
    found = changed(s1("20200105T191500", 30700), totalSlices=None)
    assert found is not None and (found.slice, found.total_slices) == (3, None)


@pytest.mark.parametrize(
    ("text", "micro"), [("2020-01-05T19:15:00.123Z", 123000), ("2020-01-05T19:15:00.123456Z", 123456)]
)
def test_fractions_of_3_or_6_digits(text: str, micro: int) -> None:
    found = changed(s1("20200105T191500", 30700), {"ContentDate": {"Start": text, "End": "2020-01-05T19:15:25.000Z"}})
    assert found is not None and found.start == parse_time("20200105T191500").replace(microsecond=micro)


def test_malformed_times_leave_those_of_the_name() -> None:
    found = changed(s1("20200105T191500", 30700), {"ContentDate": {"Start": "yesterday", "End": None}})
    assert found is not None and found.start == parse_time("20200105T191500")


@pytest.mark.parametrize("date", ["", "9999-12-31T23:59:59.999999Z"])
def test_the_eviction_date_does_not_matter(date: str) -> None:
    found = changed(s1("20200105T191500", 30700), {"EvictionDate": date})
    assert found is not None and found.online


def test_a_cog_copy_keeps_its_mark() -> None:
    found = changed(s1("20200105T191500", 30700, last="77F0", cog=True))
    assert found is not None and found.cog and found.name.endswith("_77F0_COG")


def test_null_geometry_takes_the_other_spelling_or_none() -> None:
    text = "geography'SRID=4326;POLYGON ((148 -36, 150 -36, 150 -34, 148 -34, 148 -36))'"
    found = changed(s1("20200105T191500", 30700), {"GeoFootprint": None, "Footprint": text})
    assert found is not None and found.footprint == WIDE
    found = changed(s1("20200105T191500", 30700), {"GeoFootprint": None})
    assert found is not None and found.footprint == ()


def test_other_files_of_the_catalogue_are_left_out() -> None:
    item = cdse_item(s1("20200105T191500", 30700)) | {"Name": "S1A_OPER_AUX_POEORB_OPOD_20200126T120000_V1_2.EOF"}
    assert cdse.product_of(item) is None


def test_optical_start_stays_the_datatake_start_of_the_name() -> None:
    found = changed(
        s2("20200110T000241"), {"ContentDate": {"Start": "2020-01-10T00:03:54.024Z", "End": "2020-01-10T00:03:54.024Z"}}
    )
    assert found is not None and found.start == found.stop == parse_time("20200110T000241")


def test_answers_that_are_no_lists_of_products() -> None:
    with serve() as hub:
        hub.fail("/odata", 200, body=b'{"value": "none"}')
        with pytest.raises(InputError, match=r"no list of products\. Check search\.endpoints"):
            list(cdse.search(query(), quick_web(), f"{hub.url}/odata"))
        hub.fail("/odata", 200, body=b"\xff\xfe{")
        with pytest.raises(InputError, match="no JSON"):
            list(cdse.search(query(), quick_web(), f"{hub.url}/odata"))
        hub.fail("/odata", 401)
        with pytest.raises(CredentialError):
            list(cdse.search(query(), quick_web(), f"{hub.url}/odata"))


def test_a_busy_service_is_asked_again_and_a_dead_one_is_named() -> None:
    radar = s1("20200105T191500", 30700)
    with serve(radar) as hub:
        hub.fail("/odata", 429, 1, {"Retry-After": "1"})
        hub.fail("/odata", 503)
        assert [p.name for p in cdse.search(query("S1"), quick_web(), f"{hub.url}/odata")] == [radar.name]
        assert len(hub.log) == 3
        hub.fail("/odata", 503, 3)
        with pytest.raises(NetworkError, match="no answer after 3 tries"):
            list(cdse.search(query("S1"), quick_web(), f"{hub.url}/odata"))


def test_a_reprocessed_name_is_found_again() -> None:
    old, other = s2("20200110T000241", "0213"), s2("20200110T000241", "0500", tile="55HFB")
    new = [s2("20200110T000241", "0500", "20230601T120000"), s2("20200110T000241", "0510", "20240101T000000")]
    with serve(*new, other) as hub:
        found = cdse.find_version(old.name, quick_web(), f"{hub.url}/odata")
        assert found == seen_at_cdse(new[1])
        text = hub.log[0].query["$filter"]
        assert "startswith(Name,'S2A_MSIL2A_20200110T000241_') and contains(Name,'_R030_T55HFA_')" in text
        assert "Collection/Name eq 'SENTINEL-2'" in text and "ge 2020-01-09" in text and "lt 2020-01-11" in text
        hub.products.append(old)
        exact = cdse.find_version(old.name, quick_web(), f"{hub.url}/odata")
        assert exact is not None and exact.name == old.name
        assert cdse.find_version(s2("20200111T000241").name, quick_web(), f"{hub.url}/odata") is None


def test_a_reprocessed_radar_name_differs_in_the_last_digits_only() -> None:
    new, copy = s1("20200105T191500", 30700, last="0001"), s1("20200105T191500", 30700, last="FFFF", cog=True)
    with serve(new, copy) as hub:
        found = cdse.find_version(s1("20200105T191500", 30700, last="A1B2").name, quick_web(), f"{hub.url}/odata")
    assert found is not None and found.name == new.name


def test_many_names_in_one_request() -> None:
    first, second = s1("20200105T191500", 30700), s2("20200110T000241")
    with serve(first, second) as hub:
        found = cdse.ids_of([first.name, second.name, "S2A_none"], quick_web(), f"{hub.url}/odata")
        assert found == {p.name: seen_at_cdse(p) for p in (first, second)}
        assert [(entry.method, len(entry.body["FilterProducts"])) for entry in hub.log] == [("POST", 3)]


def test_bytes_lie_at_the_download_host_and_archived_ones_nowhere() -> None:
    radar = seen_at_cdse(s1("20200105T191500", 30700))
    request = cdse.locate(radar, "https://download.example/odata/v1/")
    assert request.url == f"https://download.example/odata/v1/Products({radar.remote_id})/$value"
    assert (request.name, request.kind, request.auth, request.size, request.md5, request.product) == (
        f"{radar.name}.zip", "zip", "cdse", radar.size, radar.md5, radar.name)  # fmt: skip
    assert request.facts == {"s3": f"s3://eodata/{radar.name}.SAFE"}
    with pytest.raises(OfflineProductError, match="Data Workspace"):
        cdse.locate(replace(radar, online=False), "https://download.example/odata/v1")
    with pytest.raises(InputError, match="id at cdse is not known"):
        cdse.locate(replace(radar, remote_id=""), "https://download.example/odata/v1")


def test_an_area_of_two_parts_is_asked_as_its_hull() -> None:
    two = {
        "type": "MultiPolygon",
        "coordinates": [AREA["coordinates"], [[[149.3, -35.2], [149.4, -35.2], [149.4, -35.1], [149.3, -35.2]]]],
    }
    with serve() as hub:
        list(cdse.search(replace(query(), geometry=two), quick_web(), f"{hub.url}/odata"))
        assert (
            "POLYGON((149.1 -35.25,149.1 -35.2,149.4 -35.1,149.4 -35.2,149.15 -35.25,149.1 -35.25))"
            in hub.log[0].query["$filter"]
        )


def test_recorded_pass_of_2014() -> None:
    items = json.loads(recorded("cdse/odata_s1_grd_slices.json").read_text())["value"]
    found = [cdse.product_of(item) for item in items]
    assert all(p is not None for p in found) and len(found) == 10
    first = found[0]
    name = "S1A_IW_GRDH_1SSV_20141004T005844_20141004T005913_002673_002FAB_4FCD"
    assert first == Product(
        name, "S1", "S1A", "GRDH", "IW", parse_time("2014-10-04T00:58:44.620Z"), parse_time("2014-10-04T00:59:13.611Z"),
        pols=("VV",), absolute_orbit=2673, relative_orbit=153, direction="ASCENDING", datatake="002FAB", slice=1,
        timeliness="Fast-24h", provider="cdse", remote_id="78d5c597-78e9-56e8-b4ea-3c2aa92a5d4e",
        href=f"s3://eodata/Sentinel-1/SAR/GRD/2014/10/04/{name}.SAFE",
        footprint=((-105.359001, 28.981216), (-102.76075, 29.394079), (-102.414383, 27.64957), (-104.969788, 27.233603)),
        warnings=(f"W_ORBIT: {name} records relative orbit 153, its name gives 151",),
    )  # fmt: skip
    assert [p.slice for p in found if p] == list(range(1, 11))
    assert {(p.size, p.md5, p.total_slices, p.online) for p in found if p} == {(None, "", None, True)}


def test_recorded_tiles_of_collection_1() -> None:
    items = json.loads(recorded("cdse/odata_s2_l1c.json").read_text())["value"]
    one, two = [cdse.product_of(item) for item in items]
    assert one is not None and two is not None
    name = "S2A_MSIL1C_20200808T010311_N0500_R045_T54PXA_20230413T212505"
    start = parse_time("20200808T010311")
    assert replace(one, footprint=()) == Product(
        name, "S2", "S2A", "L1C", "MSI", start, start, absolute_orbit=26783, relative_orbit=45, direction="DESCENDING",
        baseline="0500", tile="54PXA", generated="20230413T212505", size=224105657, cloud_tile=95.136736479015,
        provider="cdse", remote_id="05edf2bb-d103-49f1-a677-9e474138d84f",
        href=f"s3://eodata/Sentinel-2/MSI/L1C_N0500/2020/08/08/{name}.SAFE", md5="923ac4992d90b57d41e7ace4d9d90757",
        blake3="2f787caed527ffeb3245594a465abd127da5ee7eaeb974f9a9ab4342f2fba7cf",
    )  # fmt: skip
    assert (len(one.footprint), one.footprint[0]) == (20, (142.352793016856, 13.4758743606673))
    assert (two.tile, two.size, two.md5) == ("55PBR", 172342246, "9d22f81af1320e17fa38449195a73772")
