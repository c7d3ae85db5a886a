"""`./s2cr find_images CONF` as a process against catalogues on a loopback server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.catalogue_hub import Hub, serve
from tests.fakes.sky import AREA, FAR, recorded, s1, s2
from utils.science.product import Product, parse_name, with_relative_orbit

ROOT = Path(__file__).parents[2]
CONF = """\
work: {work}
area: {{geojson: "{area}"}}
dates:
  t0: {{start: 2020-01-01, end: 2020-01-15}}
  t1: {{start: 2020-02-01, end: 2020-02-15}}
search:
  provider: {provider}
  endpoints: {{sara: "{url}/sara", cdse_catalogue: "{url}/odata", stac: "{url}/stac"}}
{more}"""
HALF = ((148.0, -36.0), (149.12, -36.0), (149.12, -34.0), (148.0, -34.0))
RADAR0, RADAR1 = s1("20200108T191500", 30700), s1("20200201T191500", 31050)  # 24 days apart
CLEAR, LATER, TARGET = (
    s2("20200110T000241"),
    s2("20200113T000241", cloud_tile=20.0),
    s2("20200204T000241", "0500", cloud_tile=66.0),
)
GOOD = (RADAR0, RADAR1, CLEAR, LATER, TARGET)
DECOYS = (
    s1("20200109T084500", 30708, direction="ASCENDING"),
    s1("20200109T191000", 30800, last="CCCC", footprint=HALF),
    s1("20200108T191500", 30700, last="77F0", cog=True),
    s1("20200202T191500", 31065, footprint=FAR),
    s2("20200107T000241", cloud_tile=91.0),
    s2("20200105T000241", footprint=HALF),
    s2("20200112T000241", tile="56HKG"),
    s1("20200203T084500", 31090, last="DEAD", online=False),
)
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(*GOOD, *DECOYS) as running:
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def call(url: str, provider: str, *options: str, code: int = 0, area: Any = AREA, more: str = "") -> Any:
        place = tmp_path / "area.geojson"
        place.write_text(json.dumps(area))
        conf = tmp_path / "conf.yaml"
        conf.write_text(CONF.format(work=tmp_path / "work", area=place, provider=provider, url=url, more=more))
        environment = {**os.environ, "S2CR_TRIES": "2", "no_proxy": "127.0.0.1"}
        result = subprocess.run([ROOT / "s2cr", "find_images", conf, *options], capture_output=True, text=True, check=False,
                                timeout=60, env=environment)  # fmt: skip
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr
        return result

    return call


def read(tmp_path: Path, name: str = "search/pairs.json") -> dict[str, Any]:
    return dict(json.loads((tmp_path / "work" / name).read_text()))


@pytest.mark.parametrize("provider", ["sara", "cdse", "stac"])
def test_a_search_finds_the_pairs_and_a_second_run_asks_nothing(
    hub: Hub, run: Run, tmp_path: Path, provider: str
) -> None:
    result = run(hub.url, provider, "--explain")
    found = read(tmp_path)
    first, second = found["pairs"]
    assert first["track"] == {"relative_orbit": 3, "direction": "DESCENDING"}
    for pair, clear in ((first, CLEAR), (second, LATER)):
        assert [pair[d][s]["products"] for d in ("date1", "date2") for s in ("s2", "s1")] == [
            [clear.name], [RADAR0.name], [TARGET.name], [RADAR1.name]]  # fmt: skip
        assert (pair["date1"]["s2"]["cloud_aoi"], pair["date1"]["s2"]["cloud_method"]) == (None, None)
        assert not [w for w in pair["warnings"] if w.startswith("W_METHOD")]
    assert first["date1"]["s1"]["gap_s"] == pytest.approx(pair_gap(CLEAR, RADAR0), abs=0.001)
    assert found["provider"] == {"search": provider, "download": provider}
    record = found["products"][RADAR0.name]
    assert record["provider"] == provider and record["substitutes"] is None and "path" not in record
    if provider != "stac":
        assert (record["size"], record["md5"], record["remote_id"]) == (RADAR0.size, RADAR0.md5, RADAR0.remote_id)
    lines = [json.loads(text) for text in (tmp_path / "work" / "search" / "rejected.jsonl").read_text().splitlines()]
    codes = {line["code"] for line in lines}
    # the area narrows the question on the server: what lies elsewhere does not come
    expected = {"R_TRACK", "R_COVERAGE", "R_COG_VARIANT", "R_TILESET"}
    expected |= {"R_OFFLINE"} if provider == "cdse" else set()
    assert expected <= codes
    assert all(f"{line['code']:14}".strip() in result.stderr for line in lines)
    assert not any(entry.login for entry in hub.log)
    asked = len(hub.log)
    assert "up to date" in run(hub.url, provider).stderr and len(hub.log) == asked


def pair_gap(optical: Product, radar: Product) -> float:
    return abs((radar.start - optical.start).total_seconds())


def test_three_ranks_are_kept_while_cloud_is_unknown(hub: Hub, run: Run, tmp_path: Path) -> None:
    hub.products += [s2("20200111T000241"), s2("20200114T000241")]
    run(hub.url, "cdse")
    assert [pair["rank"] for pair in read(tmp_path)["pairs"]] == [1, 2, 3]
    run(hub.url, "cdse", "--limit", "4")
    assert len(read(tmp_path)["pairs"]) == 4


def test_offline_refuses_before_any_request(hub: Hub, run: Run) -> None:
    for provider in ("sara", "cdse", "stac"):
        result = run(hub.url, provider, "--offline", code=67)
        assert "not asked, --offline is set. Leave --offline out" in result.stderr.replace("\n", " ")
    assert hub.log == []


def test_a_provider_that_is_down_is_named(run: Run) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = run(f"http://127.0.0.1:{port}", "cdse", code=67)
    assert f"127.0.0.1:{port}: no answer after 2 tries (ConnectionError).\nCheck the network" in result.stderr


@pytest.mark.parametrize("status", [401, 403])
def test_a_login_that_has_expired(hub: Hub, run: Run, tmp_path: Path, status: int) -> None:
    hub.fail("/sara", status)
    result = run(hub.url, "sara", code=76)
    assert f"refused (HTTP {status})" in result.stderr and "Check the login" in result.stderr
    assert not (tmp_path / "work" / "search" / "pairs.json").exists()


def test_nothing_found_says_the_nearest_miss_and_what_to_change(hub: Hub, run: Run, tmp_path: Path) -> None:
    hub.products = [p for p in hub.products if p.name not in {CLEAR.name, LATER.name}]
    result = run(hub.url, "sara", code=72)  # the hub is not asked for less cloud: the search refuses by itself
    assert (
        "nearest miss for t0" in result.stderr and "R_CLOUD" in result.stderr and "91.0 against 80.0" in result.stderr
    )
    assert "Raise search.max_cloud_aoi" in result.stderr
    assert not (tmp_path / "work" / "search" / "pairs.json").exists()
    assert (tmp_path / "work" / "search" / "rejected.jsonl").exists()
    result = run(hub.url, "sara", "--max-gap-days", "0.5", "--max-cloud-tile", "95", code=72)
    assert "R_GAP" in result.stderr and "Raise search.max_gap_days to" in result.stderr


def test_an_option_enters_key_and_manifest_and_later_stages_see_that_it_is_not_in_the_file(
    hub: Hub, run: Run, tmp_path: Path
) -> None:
    run(hub.url, "cdse")
    plain = read(tmp_path, "manifests/find_images.json")
    result = run(
        hub.url, "cdse", "--max-gap-days", "4", "--pass", "desc", "--t0", "2020-01-02", "2020-01-12", "--pols", "VV"
    )
    assert "command line: search.max_gap_days = 4.0; later stages read" in result.stderr
    changed = read(tmp_path, "manifests/find_images.json")
    assert changed["key"] != plain["key"]
    assert changed["slice"]["search"]["max_gap_days"] == 4.0 and changed["slice"]["search"]["direction"] == "descending"
    assert changed["slice"]["dates"]["t0"] == {"start": "2020-01-02", "end": "2020-01-12"}
    assert read(tmp_path)["settings"] | {"max_gap_days": 4.0, "pols": ["VV"]} == read(tmp_path)["settings"]
    assert len(read(tmp_path)["pairs"]) == 1  # LATER lies behind the window
    asked = len(hub.log)
    assert "up to date" not in run(hub.url, "cdse").stderr and len(hub.log) > asked
    assert read(tmp_path, "manifests/find_images.json")["key"] == plain["key"]
    other = tmp_path / "other.geojson"
    other.write_text(json.dumps(AREA).replace("149.15", "149.14"))
    run(hub.url, "cdse", "--aoi", str(other))
    assert read(tmp_path)["aoi"]["geometry"]["coordinates"][0][1] == [149.14, -35.25]


def test_a_wrong_option_is_a_wrong_configuration(hub: Hub, run: Run) -> None:
    result = run(hub.url, "cdse", "--coverage", "1.5", code=65)
    assert "command line: search.coverage: input should be less than or equal to 1 (got 1.5)" in result.stderr
    assert (
        "command line: dates.t1 starts 2019-01-01"
        in run(hub.url, "cdse", "--t1", "2019-01-01", "2019-02-01", code=65).stderr
    )
    assert "set search.download_from to sara or cdse" in run(hub.url, "cdse", "--provider", "gee", code=65).stderr
    for name in ("nonsense", RADAR0.name):
        said = run(hub.url, "cdse", "--s2-t1", name, code=65).stderr
        assert f"search.s2_t1: {name!r} is no Sentinel-2 product name.\nCorrect the name." in said
    assert "search.archive is not set" in run(hub.url, "cdse", "--provider", "local", code=65).stderr
    assert hub.log == []


@pytest.mark.parametrize("provider", ["sara", "cdse", "stac"])
def test_a_reprocessed_name_is_substituted_or_refused(hub: Hub, run: Run, tmp_path: Path, provider: str) -> None:
    old = s2("20200110T000241", "0201", "20200110T020000")
    options = ("--s2-t0", old.name, "--s2-t1", TARGET.name)
    result = run(hub.url, provider, *options)
    found = read(tmp_path)
    (pair,) = found["pairs"]
    assert pair["date1"]["s2"]["products"] == [CLEAR.name] and pair["date2"]["s2"]["products"] == [TARGET.name]
    assert f"W_SUBSTITUTE: {CLEAR.name} stands for {old.name}" in pair["warnings"] and "W_SUBSTITUTE" in result.stderr
    assert found["products"][CLEAR.name]["substitutes"] == old.name
    result = run(hub.url, provider, *options, "--exact-names", code=65)
    assert f"was reprocessed to {CLEAR.name}, which exact names refuse" in result.stderr
    gone = s2("20200106T000241")
    assert (
        f"{gone.name}: not in the catalogue of {provider}"
        in run(hub.url, provider, "--s2-t0", gone.name, code=65).stderr
    )


def test_a_nearly_empty_tile_is_refused_without_pixels(hub: Hub, run: Run, tmp_path: Path) -> None:
    hub.products = list(GOOD)
    from tests.fakes.catalogue_hub import stac_item

    empty = stac_item(s2("20200108T000241"))
    empty["properties"]["s2:nodata_pixel_percentage"] = 99.95  # 6 km2 of data, the area has 25
    hub.items["stac"] = [empty]
    run(hub.url, "stac")
    lines = [json.loads(text) for text in (tmp_path / "work" / "search" / "rejected.jsonl").read_text().splitlines()]
    (line,) = [entry for entry in lines if entry["code"] == "R_NODATA"]
    assert line["value"] == pytest.approx(0.0005 * 109.8**2 / read(tmp_path)["aoi"]["area_km2"], abs=1e-4)
    assert "no data in 99.95 % of T55HFA" in line["text"]


def test_areas_that_are_no_areas(hub: Hub, run: Run) -> None:
    swapped = {"type": "Polygon", "coordinates": [[[lat, lon] for lon, lat in AREA["coordinates"][0]]]}
    result = run(hub.url, "cdse", code=66, area=swapped)
    assert "vertex 1: latitude 149.1 is outside -90..90; latitude and longitude look swapped" in result.stderr
    bow = {
        "type": "Polygon",
        "coordinates": [[[149.1, -35.25], [149.15, -35.2], [149.15, -35.25], [149.1, -35.2], [149.1, -35.25]]],
    }
    result = run(hub.url, "cdse", code=66, area=bow)
    assert "Self-intersection[149.125 -35.225]" in result.stderr and "Redraw the ring" in result.stderr
    assert hub.log == []


def test_a_static_catalogue_is_an_archive_without_its_data(run: Run, tmp_path: Path) -> None:
    from tests.fakes.catalogue_hub import stac_item

    links = []
    for product in GOOD:
        item = stac_item(product) | {"assets": {"data": {"href": f"http://127.0.0.1:1/{product.name}.zip"}}}
        (tmp_path / f"{product.name}.json").write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./{product.name}.json"})
    top = tmp_path / "catalog.json"
    top.write_text(json.dumps({"type": "Catalog", "id": "own", "stac_version": "1.0.0", "links": links}))
    run("http://127.0.0.1:1", "local", code=72, more=f'  archive: "{top}"\n')
    lines = (tmp_path / "work" / "search" / "rejected.jsonl").read_text().splitlines()
    assert [json.loads(text)["code"] for text in lines] == ["R_OFFLINE"] * 5
    top.write_text(top.read_text().replace("./S1A", "http://127.0.0.1:1/S1A"))
    result = run("http://127.0.0.1:1", "local", code=66, more=f'  archive: "{top}"\n')
    assert "names a server" in result.stderr


def real_products() -> list[Product]:
    """Two passes and three tiles of one real place, from the properties that were recorded with their pixels."""
    data = Path(os.environ.get("S2CR_DATA", "")) / "two_dates"
    found = []
    for path in sorted(data.glob("*/*/*/metadata.json")):
        p = json.loads(path.read_text())
        ring = tuple((float(x), float(y)) for x, y in p["system:footprint"]["coordinates"][:-1])
        own = {"footprint": ring, "remote_id": p["system:index"]}
        if "PRODUCT_ID" in p:
            product = parse_name(p["PRODUCT_ID"])
            found.append(_with(product, own | {"cloud_tile": p["CLOUDY_PIXEL_PERCENTAGE"]}))
        else:
            product = with_relative_orbit(parse_name(p["system:index"]), p["relativeOrbitNumber_start"])
            found.append(_with(product, own | {"direction": p["orbitProperties_pass"], "slice": p["sliceNumber"]}))
    return found


def _with(product: Product, changes: dict[str, Any]) -> Product:
    return Product.from_json(product.to_json() | changes)


@pytest.mark.realdata
def test_real_passes_of_opposite_direction_are_refused(run: Run, tmp_path: Path) -> None:
    recorded("MANIFEST.md")
    products = real_products()
    assert sorted((p.direction, p.relative_orbit) for p in products if p.mission == "S1") == [
        ("ASCENDING", 173),
        ("DESCENDING", 107),
    ]
    west, south, east, north = 73.2922, 30.4526, 73.3190, 30.4758  # the pixels that were recorded
    area = {
        "type": "Polygon",
        "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]],
    }
    dates = ("--t0", "2020-06-01", "2020-06-11", "--t1", "2020-08-10", "2020-08-20", "--max-gap-days", "25")
    with serve(*products) as hub:
        result = run(hub.url, "cdse", *dates, "--max-cloud-tile", "100", code=72, area=area)
    assert "No pair among" in result.stderr and "nearest miss for Sentinel-1" in result.stderr
    assert (
        "R_TRACK" in result.stderr
        and "Widen dates.t0 or dates.t1 so that one track serves both dates." in result.stderr
    )
    lines = [json.loads(text) for text in (tmp_path / "work" / "search" / "rejected.jsonl").read_text().splitlines()]
    refused = sorted(
        (line["code"], line["value"], line["date"], line["text"]) for line in lines if line["kind"] == "S1 pass"
    )
    assert refused == [
        ("R_TRACK", "107 descending", "t0", "no covering pass of this track within 25 days of t1"),
        ("R_TRACK", "173 ascending", "t1", "no covering pass of this track within 25 days of t0"),
    ]
