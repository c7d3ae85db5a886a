"""The page of a search: places on map and timeline, every candidate once, nothing leaves the page."""

from __future__ import annotations

import datetime as dt
import html as entities
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from utils.io import search_footprints, search_map, search_timeline
from utils.io.search_marks import Mark, marks, nearest_refusal, windows
from utils.science import pair_document, pairing
from utils.science.candidates import Settings
from utils.science.cloud import CloudStats
from utils.science.product import Product, parse_name, parse_time
from utils.workflow.errors import InputError

AREA = ((149.0, -35.2), (149.4, -35.2), (149.4, -35.0), (149.0, -35.0), (149.0, -35.2))
TILE = ((148.8, -34.8), (149.6, -34.8), (149.6, -35.4), (148.8, -35.4))
SWATH = ((148.0, -34.0), (151.0, -34.0), (151.0, -36.0), (148.0, -36.0))
CLOUD = {"20191106T000239": 0.5, "20191116T000239": 44.0, "20200204T000239": 20.0}
WINDOWS = ((parse_time("20191101T000000"), parse_time("20191121T000000")),
           (parse_time("20200201T000000"), parse_time("20200211T000000")))  # fmt: skip


def optical(day: str, tile: str = "55HGB") -> Product:
    name = f"S2B_MSIL2A_{day}T000239_N0213_R030_T{tile}_{day}T014722"
    return replace(parse_name(name), footprint=TILE, cloud_tile=10.0)


def radar(day: str, orbit: int, pols: str = "DV", direction: str = "DESCENDING", time: str = "191600") -> Product:
    name = f"S1A_IW_GRDH_1S{pols}_{day}T{time}_{day}T{time}_{orbit:06d}_0364D1_B271"
    return replace(parse_name(name), direction=direction, footprint=SWATH)


def catalogue() -> list[Product]:
    return [
        optical("20191106"), optical("20191116"), optical("20200204"), optical("20190105"),
        radar("20191107", 29809), radar("20191111", 29984), radar("20200205", 31034), radar("20191109", 29838, "SV"),
        radar("20191110", 29850, direction="ASCENDING", time="082315"),
    ]  # fmt: skip


def search(
    products: Sequence[Product], **changes: Any
) -> tuple[dict[str, Any], list[dict[str, Any]], pairing.Result, Settings]:
    settings = replace(Settings(*WINDOWS, 32755), **changes)

    def cloud(members: Sequence[Product]) -> CloudStats:
        return CloudStats(CLOUD[f"{members[0].start:%Y%m%dT%H%M%S}"], 0.0, 1.0)

    result = pairing.find_pairs(
        products, settings, s1_coverage=lambda ps: 1.0 if ps else 0.0, s2_coverage=lambda ps: 1.0 if ps else 0.0,
        overlap=lambda a, b: 1.0, cloud=cloud,
    )  # fmt: skip
    area = {"sha256": "0", "area_km2": 1.0, "work_epsg": 32755, "geometry": {"type": "Polygon", "coordinates": [AREA]}}
    document = json.loads(json.dumps(pair_document.document(result, settings, area, "local")))
    return document, [r.to_json() for r in result.rejections], result, settings


def tree(page: bytes, kind: str) -> ElementTree.Element:
    """The inline SVG of the map or the timeline; unquoted attributes are quoted first."""
    text = page.decode()
    found = re.search(rf"<svg class={kind} .*?</svg>", text, re.DOTALL)
    assert found, kind
    quoted = re.sub(
        r"<[a-z][^>]*>", lambda tag: re.sub(r"([\w-]+)=([^'\"\s/>]+)(?=[\s/>])", r"\1='\2'", tag[0]), found[0]
    )
    return ElementTree.fromstring(quoted)


def by_id(page: bytes) -> dict[str, ElementTree.Element]:
    return {e.attrib["data-id"]: e for e in tree(page, "time").iter("g") if "data-id" in e.attrib}


def numbers(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


def test_every_candidate_is_there_exactly_once() -> None:
    document, rejections, _, _ = search(catalogue(), limit=2)
    rejections.append({"kind": "file", "id": "broken.zip", "code": "R_UNREADABLE", "text": "not a readable zip"})
    page = search_map.page(document, rejections, catalogue()).decode()
    shown = Counter(entities.unescape(name) for name in re.findall(r"data-id='([^']*)'", page))
    used = {
        " + ".join(pair[d][s]["products"])
        for pair in document["pairs"]
        for d in ("date1", "date2")
        for s in ("s1", "s2")
    }
    refused = Counter(str(r["id"]) for r in rejections)
    spare = "S1A_IW_GRDH_1SDV_20191111T191600_20191111T191600_029984_0364D1_B271"
    assert len(used) == 4 and spare not in used
    assert sorted(r["code"] for r in rejections) == ["R_CLOUD", "R_DATE", "R_POL", "R_TRACK", "R_UNREADABLE"]
    assert shown == Counter(used) + refused + Counter([spare])
    places = re.findall(r"data-m=(\d+)", page)
    assert sorted(map(int, places)) == list(range(sum(shown.values())))
    outlines = re.findall(r"data-f=(\d+)", page)
    assert len(outlines) == len(set(outlines)) == sum(shown.values()) - 1  # the broken file has none


def test_places_on_the_timeline() -> None:
    document, rejections, _, _ = search(catalogue())
    marked = by_id(search_map.page(document, rejections, catalogue()))
    # t0 is shown from 6 days and 3 % of 20 days before its start to as much after its end: 33.2 days on 368 units
    first = dt.datetime(2019, 11, 1, tzinfo=dt.UTC) - dt.timedelta(days=6.6)
    (disc,) = (
        e
        for e in marked["S2B_MSIL2A_20191106T000239_N0213_R030_T55HGB_20191106T014722"].iter("circle")
        if e.get("r") == "6.5"
    )
    days = (dt.datetime(2019, 11, 6, 0, 2, 39, tzinfo=dt.UTC) - first) / dt.timedelta(days=1)
    assert float(disc.attrib["cx"]) == pytest.approx(14 + 368 * days / 33.2, abs=0.06)
    (square,) = marked["S1A_IW_GRDH_1SDV_20200205T191600_20200205T191600_031034_0364D1_B271"].iter("rect")
    start = dt.datetime(2020, 2, 1, tzinfo=dt.UTC) - dt.timedelta(days=6.3)
    days = (dt.datetime(2020, 2, 5, 19, 16, tzinfo=dt.UTC) - start) / dt.timedelta(days=1)
    assert float(square.attrib["x"]) + 6 == pytest.approx(424 + 14 + 368 * days / 22.6, abs=0.06)
    early = marked["S2B_MSIL2A_20190105T000239_N0213_R030_T55HGB_20190105T014722"]
    assert "out" in early.attrib["class"].split() and early.attrib["data-c"] == "R_DATE"
    hit = next(e for e in early.iter("circle") if e.get("class") == "hit")
    assert float(hit.attrib["cx"]) == 7.0  # left margin of the first window
    assert "44.00 &gt; 1 %" in search_map.page(document, rejections, catalogue()).decode()


def test_the_chosen_pair_is_joined_with_its_gaps() -> None:
    document, rejections, _, _ = search(catalogue())
    page = search_map.page(document, rejections, catalogue())
    marked = by_id(page)

    def centre(name: str) -> tuple[float, float]:
        hit = next(e for e in marked[name].iter("circle") if e.get("class") == "hit")
        return float(hit.attrib["cx"]), float(hit.attrib["cy"])

    pair = document["pairs"][0]
    ends = {(s, d): centre(pair[d][s]["products"][0]) for s in ("s1", "s2") for d in ("date1", "date2")}
    lines = [e.attrib["d"] for e in tree(page, "time").iter("path") if e.get("class", "").startswith("link first")]
    joined = {tuple(numbers(line.replace("M", "").replace("L", " "))) for line in lines}
    assert joined == {
        (ends["s2", "date1"], ends["s1", "date1"]), (ends["s2", "date2"], ends["s1", "date2"]),
        (ends["s1", "date1"], ends["s1", "date2"]), (ends["s2", "date1"], ends["s2", "date2"]),
    }  # fmt: skip
    gaps = [e.text for e in tree(page, "time").iter("text") if e.get("class") == "gap"]
    assert gaps == ["1.8 d", "1.8 d"]  # 6 Nov 00:02 to 7 Nov 19:16
    assert ends["s1", "date1"][1] == ends["s1", "date2"][1]  # one track, one line
    assert "1.80" in page.decode() and "155601" in page.decode()  # gap in the table, cost in seconds


def test_places_on_the_map() -> None:
    document, rejections, _, _ = search(catalogue())
    svg = tree(search_map.page(document, rejections, catalogue()), "map")
    (area,) = (e for e in svg.iter("path") if e.get("class") == "aoi")
    shrink = math.cos(math.radians(35.1))
    corners = numbers(area.attrib["d"].replace("M", " ").replace("L", " "))
    assert corners[0] == pytest.approx((-20 * shrink, 10), abs=1e-3)  # 0.2 degrees west, 0.1 south, 100 units a degree
    assert corners[2] == pytest.approx((20 * shrink, -10), abs=1e-3)
    chosen = [e for e in svg.iter("path") if "chosen" in e.get("class", "") and "s2" in e.get("class", "").split()]
    assert len(chosen) == 2
    assert numbers(chosen[0].attrib["d"].replace("M", " ").replace("L", " "))[0] == pytest.approx(
        (-40 * shrink, -30), abs=1e-3
    )
    frames = [e for e in svg.iter("g") if e.get("class") == "frame"]
    assert [f.attrib.get("style") for f in frames] == [None, "display:none", "display:none"]
    box = [float(v) for v in frames[0].attrib["data-view"].split()]
    assert box[0] <= -100 * shrink * 1.2 and box[0] + box[2] >= 180 * shrink  # the swath, 148 to 151
    labels = [e.text for f in frames[:1] for e in f.iter("text")]
    assert "148°E" in labels and "35°S" in labels and "50 km" in labels and "N" in labels
    bars = [e for e in frames[0].iter("rect")]
    assert sum(float(b.attrib["width"]) for b in bars) == pytest.approx(100 * 50 / 111.19492664, abs=2e-3)
    line = next(e for e in frames[0].iter("path") if e.get("class") == "grid" and "v" in e.attrib["d"])
    assert float(line.attrib["d"][1:].split()[0]) == pytest.approx(-120 * shrink, abs=1e-3)  # 148, 1.2 degrees west


def test_longitudes_beyond_the_antimeridian_stay_beside_the_area() -> None:
    plane = search_footprints.plane_of([((179.0, -17.0), (179.8, -17.0), (179.8, -16.0), (179.0, -16.0))])
    x, _ = plane.xy(-179.6, -16.5)
    assert x == pytest.approx(100 * plane.shrink * 1.0)  # from 179.4 to 180.4
    assert plane.lonlat(*plane.xy(179.1, -16.2)) == pytest.approx((179.1, -16.2))


def test_nothing_found_shows_the_nearest_miss() -> None:
    products = [p for p in catalogue() if p.start != parse_time("20191106T000239")]
    document, rejections, result, settings = search(products)
    assert document["pairs"] == []
    miss = pairing.nearest_miss(result, settings)
    page = search_map.page(document, rejections, products, nearest=miss)
    text = page.decode()
    assert "<b>Nothing found.</b> Nearest miss for t0" in text and "Raise search.max_cloud_aoi to 44.1" in text
    (near,) = (name for name, mark in by_id(page).items() if any(e.get("class") == "near" for e in mark.iter("circle")))
    assert near == "S2B R030 T55HGB"
    alone = search_map.page(document, rejections).decode()  # as after the run, from the file alone
    assert "<b>No pair.</b> Nearest miss: S2B R030 T55HGB: R_CLOUD, cloud: cloud_aoi 44.00 &gt; 1 %" in alone


def test_the_refusal_closest_to_its_limit_is_the_nearest() -> None:
    def refusal(code: str, value: Any, limit: Any) -> dict[str, Any]:
        return {"id": f"{code}{value}", "code": code, "value": value, "limit": limit}

    some = [
        refusal("R_CLOUD", 5.0, 1.0),
        refusal("R_COVERAGE", 0.95, 0.999),
        refusal("R_COVERAGE", 0.0, 0.999),
        refusal("R_POL", "VV", "VV+VH"),
    ]
    assert nearest_refusal(some) == 1
    assert nearest_refusal(some, "nearest miss for t0: R_CLOUD5.0 R_CLOUD") == 0
    assert nearest_refusal(some[3:]) is None
    scenes = [{**some[0], "id": "S2A R030 T55HGB", "date": "t1"}, {**some[1], "id": "S1A 1 track 2 desc", "date": ""}]
    assert [nearest_refusal(scenes, "", lacking) for lacking in ("t0", "t1", "Sentinel-1")] == [1, 0, 1]


def test_names_are_escaped_and_no_request_leaves_the_page() -> None:
    document, rejections, _, _ = search(catalogue())
    evil = "<script>alert('x')</script>\"><img src=https://example.org/x.png>"
    rejections.append(
        {"kind": "product", "id": evil, "start": "2019-11-06T00:00:00Z", "code": "R_<b>", "text": evil, "date": "t0"}
    )
    document["pairs"][0]["warnings"] = [evil]
    text = search_map.page(document, rejections, catalogue(), mark=evil, note=evil).decode()
    assert "<script>alert" not in text and "<img" not in text and "R_<b>" not in text
    assert text.count("<script>") == 2  # the page's own
    assert not re.search(
        r"(?:src|href|action|data)\s*=\s*['\"]?\s*(?:https?:|//)", text.replace(entities.escape(evil), "")
    )
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", text)
    assert "default-src 'none'" in text
    names = [entities.unescape(n) for n in re.findall(r"data-id='([^']*)'", text)]
    assert names.count(evil) == 1


def test_toggles_count_each_reason() -> None:
    document, rejections, _, _ = search(catalogue())
    text = search_map.page(document, rejections, catalogue()).decode()
    toggles = dict(re.findall(r"data-toggle='(\w+)' checked><span><i></i>[^<]*\((\d+)\)", text))
    assert toggles == {"R_CLOUD": "1", "R_DATE": "1", "R_POL": "1", "R_TRACK": "1", "left": "1"}
    many = [{**rejections[0], "id": f"x{i}"} for i in range(61)]
    assert re.search(rf"data-toggle='{rejections[0]['code']}'><span>", search_map.page(document, many).decode())


def test_marks_close_in_time_lie_below_one_another() -> None:
    start = parse_time("20191106T000239")
    some = [Mark("refused", f"m{i}", "S2", "Sentinel-2, orbit 30", start, "t0", "R_TILESET") for i in range(3)]
    shown = search_timeline.panels({"t0": WINDOWS[0], "t1": WINDOWS[1]}, 6.0)
    placed, spans = search_timeline.place(some, shown)
    assert [p.y - placed[0].y for p in placed] == [0, 15, 30] and len({p.x for p in placed}) == 1
    assert spans["Sentinel-2, orbit 30"][1] > placed[2].y


def test_a_document_without_settings_takes_its_windows_from_the_chosen() -> None:
    document, rejections, _, _ = search(catalogue())
    del document["settings"]
    found = marks(document, rejections)
    day = dt.timedelta(days=1)
    assert windows(document, found)["t0"] == (parse_time("20191106T000239") - day, parse_time("20191107T191600") + day)
    assert b"Best pair: 20191106 and 20200204" in search_map.page(document, rejections)


def test_what_a_search_left_is_loaded(tmp_path: Path) -> None:
    assert search_map.load(tmp_path) == search_map.Found(None, [], [])
    document, rejections, _, _ = search(catalogue())
    (tmp_path / "pairs.json").write_text(json.dumps(document))
    (tmp_path / "rejected.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rejections))
    entries = {p.name: {"mark": [1, 2], "product": p.to_json()} for p in catalogue()}
    (tmp_path / "local_index.json").write_text(json.dumps({"schema": "s2cr.local_index/1", "entries": entries}))
    found = search_map.load(tmp_path)
    assert (found.document, found.rejections, found.products) == (document, rejections, catalogue())
    (tmp_path / "local_index.json").write_text("{")
    assert search_map.load(tmp_path).products == []
    (tmp_path / "pairs.json").write_text('{"schema": "s2cr.pairs/9"}')
    with pytest.raises(InputError, match=r"schema 's2cr\.pairs/9'"):
        search_map.load(tmp_path)
    (tmp_path / "pairs.json").write_text("{")
    with pytest.raises(InputError, match="malformed"):
        search_map.load(tmp_path)


def test_pictures_are_inside_the_page() -> None:
    document, rejections, _, _ = search(catalogue())
    text = search_map.page(document, rejections, pictures=[("t0 <x>", b"\x89PNG")]).decode()
    assert "<img src='data:image/png;base64,iVBORw==' alt='t0 &lt;x&gt;'>" in text
    assert "<h2>Pictures</h2>" not in search_map.page(document, rejections).decode()
