"""From a configuration to the questions of the catalogues, and what the matching does without pixels."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import Point, Polygon, mapping, shape

from scripts import _search
from tests.fakes.sky import AREA, s1, s2
from utils.io import answers
from utils.science import pair_document
from utils.science.candidates import Log, Pass, Settings, make_passes
from utils.science.cloud import CloudStats
from utils.science.pairing import Pair, Result
from utils.science.product import Product, parse_time
from utils.science.scenes import Scene, resolve_names, select_s2
from utils.workflow import config

CONF = """\
area: {geojson: a.geojson}
dates:
  t0: {start: 2020-01-01, end: 2020-01-15}
  t1: {start: %s, end: 2020-02-15}
search: {provider: cdse%s}
"""
DAY = dt.timedelta(days=1)
SETTINGS = Settings((parse_time("20200101T000000"), parse_time("20200115T000000")),
                    (parse_time("20200201T000000"), parse_time("20200215T000000")), 32755)  # fmt: skip


def asked(tmp_path: Path, more: str = "", t1: str = "2020-02-01") -> list[Any]:
    path = tmp_path / "x.yaml"
    path.write_text(CONF % (t1, more))
    conf = config.load(path)
    return list(_search.queries(_search.settings_of(conf, 32755, 25.0), shape(AREA), conf))


def test_windows_of_the_questions(tmp_path: Path) -> None:
    optical0, optical1, radar0, radar1 = asked(tmp_path)
    assert (optical0.start, optical0.end, optical0.max_cloud_tile) == (*SETTINGS.t0, 80.0)
    assert (optical1.start, optical1.end, optical1.max_cloud_tile) == (*SETTINGS.t1, None)  # any cloud is allowed at t1
    assert (radar0.start, radar0.end) == (SETTINGS.t0[0] - 6 * DAY, SETTINGS.t0[1] + 6 * DAY)
    assert (radar1.start, radar1.end) == (SETTINGS.t1[0] - 6 * DAY, SETTINGS.t1[1] + 6 * DAY)
    assert [q.mission for q in (optical0, optical1, radar0, radar1)] == ["S2", "S2", "S1", "S1"]


def test_windows_that_touch_are_one_question(tmp_path: Path) -> None:
    radar = [q for q in asked(tmp_path, t1="2020-01-27") if q.mission == "S1"]
    assert [(q.start, q.end) for q in radar] == [(parse_time("20191226T000000"), parse_time("20200221T000000"))]
    assert len([q for q in asked(tmp_path, t1="2020-01-28") if q.mission == "S1"]) == 2


def test_radar_is_asked_over_the_area_with_its_margin(tmp_path: Path) -> None:
    optical, _, radar, _ = asked(tmp_path)
    assert optical.geometry == mapping(shape(AREA))
    grown = shape(radar.geometry)
    # 1000 m are 0.0110 degrees of longitude and 0.0090 of latitude here
    assert grown.contains(Point(149.1 - 0.0108, -35.25 - 0.0088)) and grown.area < 4 * shape(AREA).area


def test_fixed_names_are_asked_in_their_second(tmp_path: Path) -> None:
    name = s2("20200110T000241").name
    first, second, *_ = asked(tmp_path, f", s2_t0: [{name}], max_cloud_tile: 100")
    assert (first.start, first.end) == (parse_time("20200110T000241"), parse_time("20200110T000242"))
    assert first.max_cloud_tile is None and second.start == SETTINGS.t1[0]


def test_ranks_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    for more, count in (("", 3), (", limit: 5", 5), (", archive: a, provider: local", 1)):
        path.write_text((CONF % ("2020-02-01", more)).replace("provider: cdse, archive: a, ", "archive: a, "))
        assert _search.settings_of(config.load(path), 32755, 1.0).limit == count


@pytest.mark.parametrize(("count", "expected"), [(40, 41), (300, 5)])
def test_an_area_of_many_vertices_is_asked_as_its_hull_or_box(count: int, expected: int) -> None:
    circle = Point(149.0, -35.0).buffer(0.1, quad_segs=count // 4)
    dented = Polygon(
        [
            p if n % 2 else (149.0 + (p[0] - 149.0) * 0.9, -35.0 + (p[1] + 35.0) * 0.9)
            for n, p in enumerate(circle.exterior.coords[:-1])
        ]
    )
    text = answers.area_wkt(mapping(dented if count > 60 else circle))
    assert text.count(",") + 1 == expected
    assert Polygon([[float(v) for v in pair.split()] for pair in text[9:-2].split(",")]).buffer(1e-5).contains(dented)


def test_months() -> None:
    parts = list(answers.months(parse_time("20191130T120000"), parse_time("20200201T000000")))
    assert [f"{a:%m-%dT%H} {b:%m-%dT%H}" for a, b in parts] == [
        "11-30T12 12-01T00",
        "12-01T00 01-01T00",
        "01-01T00 02-01T00",
    ]


def test_archived_products_are_refused_last() -> None:
    log = Log()
    cold, wrong = (
        s1("20200108T191500", 30700, online=False),
        s1("20200108T191500", 30700, last="0002", online=False, cog=True),
    )
    assert make_passes([cold, wrong], SETTINGS, lambda _: 1.0, log) == []
    tile, cloudy = s2("20200110T000241", online=False), s2("20200111T000241", online=False, cloud_tile=99.0)
    assert select_s2([tile, cloudy], SETTINGS, lambda _: 1.0, lambda a, b: 0.0, log, "t0") == []
    assert [(r.id, r.code) for r in log.items] == [
        (cold.name, "R_OFFLINE"), (wrong.name, "R_COG_VARIANT"), (tile.name, "R_OFFLINE"), (cloudy.name, "R_CLOUD")]  # fmt: skip


def test_an_archived_new_version_does_not_hide_the_old_one_that_is_online() -> None:
    old, new = s2("20200110T000241", "0213"), s2("20200110T000241", "0500", online=False)
    assert select_s2([old, new], SETTINGS, lambda _: 1.0, lambda a, b: 1.0, Log(), "t0") == [old]


def test_substitutes_and_exact_names() -> None:
    old, new = s2("20200110T000241", "0213"), s2("20200110T000241", "0500")
    (found,) = resolve_names([old.name], [new])
    assert found == replace(new, substitutes=old.name, warnings=(f"W_SUBSTITUTE: {new.name} stands for {old.name}",))
    assert resolve_names([old.name], [new, old], exact_only=True) == [old]
    with pytest.raises(LookupError, match=f"{old.name} was reprocessed to {new.name}"):
        resolve_names([old.name], [new], exact_only=True)


def pair_of(cloud0: CloudStats | None, cloud1: CloudStats | None) -> Pair:
    first, second = s2("20200110T000241", cloud_tile=4.0), s2("20200204T000241", cloud_tile=6.5)
    pass0, pass1 = s1("20200108T191500", 30700), s1("20200201T191500", 31050)
    return Pair(
        Scene((first,), cloud0), Scene((second,), cloud1), Pass((pass0,), 1.0), Pass((pass1,), 1.0), 100.0, 200.0
    )


def test_unmeasured_cloud_ranks_by_the_figure_of_the_tiles() -> None:
    assert pair_of(None, None).cost("cloud")[0] == 10.5
    assert pair_of(CloudStats(1.0, 0.0, 1.0), CloudStats(2.0, 0.0, 1.0)).cost("cloud")[0] == 3.0
    two = Scene((s2("20200110T000241", cloud_tile=4.0), s2("20200110T000241", tile="55HFB", cloud_tile=None)), None)
    assert two.cloud_aoi == 4.0


@pytest.mark.parametrize(("methods", "warned"), [
    (("scl", "scl"), None), (("a", "b"), "a at t0 and b at t1"), (("a+b", "a"), "a+b at t0 and a at t1"),
    (("a", ""), "a at t0 and not measured at t1"), (("", ""), None),
])  # fmt: skip
def test_mixed_methods_of_measuring_cloud_are_told(methods: tuple[str, str], warned: str | None) -> None:
    stats = CloudStats(1.0, 0.0, 1.0)
    pair = pair_of(*(stats if method else None for method in methods))
    result = Result((pair,), (), (), (), (), ("55HFA",))

    def method(products: Any) -> str:
        return methods[0] if products[0].start < SETTINGS.t1[0] else methods[1]

    written = pair_document.document(result, SETTINGS, {}, "gee", "cdse", method)
    (record,) = written["pairs"]
    found = [w for w in record["warnings"] if w.startswith("W_METHOD")]
    assert found == ([f"W_METHOD: cloud over the area is by {warned}"] if warned else [])
    assert (record["date1"]["s2"]["cloud_method"] or "", record["date2"]["s2"]["cloud_method"] or "") == methods
    assert written["provider"] == {"search": "gee", "download": "cdse"}


def test_a_record_keeps_no_machine_path() -> None:
    product = s2("20200110T000241")
    below = replace(product, path="/data/x/catalogue/data/a.zip", href="data/a.zip")
    assert pair_document.product_record(below)["href"] == "data/a.zip"
    assert pair_document.product_record(replace(below, href=""))["href"] == "a.zip"
    assert Product.from_json(pair_document.product_record(product)) == product
