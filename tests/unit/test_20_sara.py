"""Provider sara: the question that is sent, paging over a loopback server, each trap of the answers, recorded answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.catalogue_hub import sara_item, serve
from tests.fakes.sky import AREA, WIDE, query, quick_web, recorded, s1, s2
from utils.io import sara
from utils.science.product import Product, parse_time
from utils.workflow.errors import CredentialError, InputError


def seen_at_sara(product: Product) -> Product:
    """The record that a search must give: the hub tells no slices, no timeliness."""
    return replace(product, provider="sara", slice=None, total_slices=None, timeliness="")


def changed(product: Product, **properties: Any) -> Product | None:
    raw = sara_item(product)
    raw["properties"] |= properties
    return sara.product_of(raw)


def test_every_field_comes_back() -> None:
    radar, optical = s1("20200105T191500", 30700), s2("20200110T000241", absolute_orbit=23800)
    with serve(radar, optical) as hub:
        assert list(sara.search(query("S1"), quick_web(), f"{hub.url}/sara")) == [seen_at_sara(radar)]
        assert list(sara.search(query("S2"), quick_web(), f"{hub.url}/sara")) == [seen_at_sara(optical)]


def test_only_dates_area_and_page_are_sent_and_the_area_as_its_hull() -> None:
    dent = {
        "type": "Polygon",
        "coordinates": [[[149.1, -35.25], [149.12, -35.24], [149.15, -35.25], [149.15, -35.2], [149.1, -35.25]]],
    }
    with serve() as hub:
        assert list(sara.search(replace(query(), geometry=dent), quick_web(), f"{hub.url}/sara")) == []
        (entry,) = hub.log
    assert entry.path == "/sara/S2/search.json"
    assert entry.query == {
        "startDate": "2019-12-31", "completionDate": "2020-02-02", "maxRecords": "500", "page": "1",
        "geometry": "POLYGON((149.1 -35.25,149.15 -35.2,149.15 -35.25,149.1 -35.25))"}  # fmt: skip


def test_the_padding_of_a_day_is_filtered_again() -> None:
    inside = s2("20200101T000000")
    with serve(s2("20191231T235959"), inside, s2("20200201T000000")) as hub:
        assert [p.name for p in sara.search(query(), quick_web(), f"{hub.url}/sara")] == [inside.name]


@pytest.mark.parametrize("total", [0, 3, 9999])
def test_a_wrong_total_of_results_does_not_matter(total: int) -> None:
    products = [s2(f"202001{n:02d}T000241") for n in range(2, 27)]
    with serve(*products, total=total, most=10) as hub:
        found = list(sara.search(query(), quick_web(), f"{hub.url}/sara"))
        assert [p.name for p in found] == [p.name for p in products]
        assert [entry.query["page"] for entry in hub.log] == ["1", "2", "3", "4"]  # the fourth is empty


def test_a_repeated_page_ends_the_paging() -> None:
    products = [s2(f"202001{n:02d}T000241") for n in range(2, 8)]
    with serve(*products, repeats=True, most=3) as hub:
        assert len(list(sara.search(query(), quick_web(), f"{hub.url}/sara"))) == 3
        assert len(hub.log) == 2


def test_more_than_200_pages_are_refused() -> None:
    products = [s2(f"20200102T{n // 60:02d}{n % 60:02d}00") for n in range(201)]
    with serve(*products, most=1) as hub, pytest.raises(InputError, match=r"more than 200 pages.*Narrow dates"):
        list(sara.search(query(), quick_web(), f"{hub.url}/sara"))


@pytest.mark.parametrize("text", ["{}", "md5={}", "md5:{}", "MD5={}"])
def test_spellings_of_a_checksum(text: str) -> None:
    hexadecimal = "0123456789ABCDEF" * 2
    found = changed(s1("20200105T191500", 30700), services={"download": {"checksum": text.format(hexadecimal)}})
    assert found is not None and found.md5 == hexadecimal.lower()


@pytest.mark.parametrize("text", ["", None, "none", "md5=", "0123"])
def test_no_checksum(text: str | None) -> None:
    found = changed(s1("20200105T191500", 30700), services={"download": {"checksum": text}})
    assert found is not None and found.md5 == ""


def test_the_other_names_of_size_and_checksum() -> None:
    found = changed(s1("20200105T191500", 30700), services={}, resourceSize=1234, resourceChecksum="AB" * 16)
    assert found is not None and (found.size, found.md5, found.href) == (1234, "ab" * 16, "")
    with pytest.raises(InputError, match="address at sara is not known"):
        sara.locate(found, "https://hub.example/api/collections")


def test_orbit_number_is_the_absolute_orbit() -> None:
    found = changed(s1("20200105T191500", 30700), orbitNumber=30700, relativeOrbitNumber=3)
    assert found is not None and (found.absolute_orbit, found.relative_orbit) == (30700, 3)


@pytest.mark.parametrize("recorded_orbit", [0, None])
def test_a_missing_relative_orbit_comes_from_the_absolute_one(recorded_orbit: int | None) -> None:
    found = changed(s1("20200105T191500", 30700), relativeOrbitNumber=recorded_orbit)
    assert found is not None and found.relative_orbit == 3


def test_lower_case_direction() -> None:
    found = changed(s1("20200105T191500", 30700), orbitDirection="ascending")
    assert found is not None and found.direction == "ASCENDING"


def test_optical_start_equals_stop_and_is_that_of_the_name() -> None:
    found = changed(
        s2("20200110T000241"), startDate="2020-01-10T00:02:41.024Z", completionDate="2020-01-10T00:02:41.024Z"
    )
    assert found is not None and found.start == found.stop == parse_time("20200110T000241")


def test_null_geometry_and_foreign_names() -> None:
    found = sara.product_of(sara_item(s1("20200105T191500", 30700)) | {"geometry": None})
    assert found is not None and found.footprint == ()
    assert changed(s1("20200105T191500", 30700), productIdentifier="S3A_OL_1_EFR", title=None) is None


def test_a_footprint_of_parts_across_the_antimeridian_stays_in_one_piece() -> None:
    west = [[[179.0, -40.0], [180.0, -40.0], [180.0, -39.0], [179.0, -39.0], [179.0, -40.0]]]
    east = [[[-180.0, -40.0], [-179.5, -40.0], [-179.5, -39.0], [-180.0, -39.0], [-180.0, -40.0]]]
    item = sara_item(s1("20200105T191500", 30700)) | {"geometry": {"type": "MultiPolygon", "coordinates": [west, east]}}
    found = sara.product_of(item)
    assert found is not None
    xs, ys = zip(*found.footprint, strict=True)
    assert (min(xs), max(xs), min(ys), max(ys)) == (179.0, 180.5, -40.0, -39.0)
    one = {
        "type": "Polygon",
        "coordinates": [[[179.0, -40.0], [-179.5, -40.0], [-179.5, -39.0], [179.0, -39.0], [179.0, -40.0]]],
    }
    found = sara.product_of(item | {"geometry": one})
    assert found is not None and found.footprint == ((179.0, -40.0), (180.5, -40.0), (180.5, -39.0), (179.0, -39.0))


def test_of_parts_that_do_not_touch_the_largest_counts() -> None:
    small = [[[147.0, -36.0], [147.1, -36.0], [147.1, -35.9], [147.0, -36.0]]]
    large = [[*(list(p) for p in WIDE), list(WIDE[0])]]
    item = sara_item(s1("20200105T191500", 30700)) | {
        "geometry": {"type": "MultiPolygon", "coordinates": [small, large]}
    }
    found = sara.product_of(item)
    assert found is not None and sorted(found.footprint) == sorted(WIDE)


def test_refusals_and_answers_that_are_no_lists() -> None:
    with serve() as hub:
        hub.fail("/sara", 403)
        with pytest.raises(CredentialError, match="refused"):
            list(sara.search(query(), quick_web(), f"{hub.url}/sara"))
        hub.fail("/sara", 200, body=b'{"features": [1]}')
        with pytest.raises(InputError, match=r"Check search\.endpoints\.sara"):
            list(sara.search(query(), quick_web(), f"{hub.url}/sara"))


def test_a_reprocessed_name_is_found_again() -> None:
    new = [s2("20200110T000241", "0500", "20230601T120000"), s2("20200110T000241", "0510", "20240101T000000")]
    with serve(*new, s2("20200110T000241", "0500", tile="55HFB"), s2("20200110T000251", "0511")) as hub:
        found = sara.find_version(s2("20200110T000241", "0213").name, quick_web(), f"{hub.url}/sara", AREA)
        assert found == seen_at_sara(new[1]) and "geometry" in hub.log[0].query
        assert sara.find_version(s2("20200112T000241").name, quick_web(), f"{hub.url}/sara") is None


def test_the_login_goes_to_the_host_of_the_hub_only() -> None:
    radar = replace(s1("20200105T191500", 30700), provider="sara", href="https://hub.example/resto/1/download")
    request = sara.locate(radar, "https://hub.example/api/collections")
    assert (request.name, request.url, request.kind, request.auth) == (f"{radar.name}.zip", radar.href, "zip", "sara")
    assert (request.size, request.md5, request.product) == (radar.size, radar.md5, radar.name)
    assert sara.locate(replace(radar, href="https://elsewhere.example/1"), "https://hub.example/api").auth == ""


def test_recorded_page() -> None:
    features = json.loads(recorded("sara/search_s2_l1c.json").read_text())["features"]
    one, two = [sara.product_of(feature) for feature in features]
    start = parse_time("20200815T005251")
    assert one == Product(
        "S2A_MSIL1C_20200815T005251_N0209_R002_T55PDR_20200815T023440", "S2", "S2A", "L1C", "MSI", start, start,
        absolute_orbit=26883, relative_orbit=2, direction="DESCENDING", baseline="0209", tile="55PDR",
        generated="20200815T023440", size=781865648, cloud_tile=20.5218, provider="sara",
        remote_id="01f888ef-3368-59ff-a639-52242d159d7c", md5="64ffca4b9cd13d094ed05554e010db5a",
        href="https://copernicus.nci.org.au/resto/collections/S2ST/01f888ef-3368-59ff-a639-52242d159d7c/download",
        footprint=((146.07570757577, 13.478316386477), (147.09017897872, 13.480000948125),
                   (147.09056628434, 14.472812699207), (146.07173856054, 14.470999017171)),
    )  # fmt: skip
    assert two is not None and (two.tile, two.cloud_tile, two.size) == ("55PCR", 2.6607, 659478453)
