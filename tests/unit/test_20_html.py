"""Pieces of a page: escaped, labelled, asking for nothing outside."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from utils.io import html, html_chart, html_viewer
from utils.io.html_chart import Mark
from utils.io.html_viewer import Frame, Layer
from utils.science.grid import Grid

UTM = Grid(32755, 700000.0, 6100000.0, 20.0, -20.0, 50, 100)


def layer(name: str = "a<b", **more: object) -> Layer:
    facts = {"legend": (((1, 2, 3), "word & more"),), "ramp": None, "short": "short"} | more
    return Layer(name, "Group", b"\x89PNG", "image/png", "x & y", **facts)


def test_page_escapes_and_asks_for_nothing_outside() -> None:
    text = html.page(
        "T<i>",
        [
            html_viewer.viewer("v", [layer()], Frame(10, 20), "synthetic"),
            html.table(["m", "<x>"], [["a", "1"]], best=[(0, 1)]),
        ],
        "synthetic",
    ).decode()
    assert (
        "T&lt;i&gt;" in text
        and "a&lt;b" in text
        and "x &amp; y" in text
        and "&lt;x&gt;" in text
        and "word &amp; more" in text
    )
    assert "<td class=best>1</td>" in text and "name=viewport" in text and "prefers-color-scheme:dark" in text
    assert "data:image/png;base64,iVBORw==" in text and "default-src 'none'" in text
    assert "@media print" in text and "lang=en" in text
    assert not re.search(r"https?://|@import|url\(", text)


def test_tables_scroll_in_a_named_frame() -> None:
    text = html.table(["method", "skill [95 %]"], [["a", "1"]], label='of "x"')
    assert "<div class=scroll tabindex=0 role=region aria-label='of &quot;x&quot;'>" in text
    assert "[95&nbsp;%]" in text and text.count("scope=col") == 2
    assert "aria-label='Table: method, skill [95 %]'" in html.table(["method", "skill [95 %]"], [])


def test_contents_lead_to_sections() -> None:
    titles = ("Burned area and severity", "Maps")
    page = html.contents(titles) + "".join(html.section(title, "x") for title in titles)
    targets = set(re.findall(r"href='#([^']+)'", page))
    assert targets == set(re.findall(r"id='([^']+)'", page)) == {"burned-area-and-severity", "maps"}


def test_viewer_has_one_choice_checked_and_captions() -> None:
    ramp = layer("ramp", ramp=(((0, 0, 0), (255, 0, 0)), "-6 dB", "+6 dB"), legend=())
    text = html_viewer.viewer("v7", [layer(), ramp, layer("c")], Frame(50, 100, UTM), "synthetic", 1, 2, "Pair p001")
    assert text.count("type=radio") == 3 and re.findall(r"value=(\d) checked", text) == ["1"]
    assert re.findall(r"value=(\d) selected", text) == ["2"]
    assert text.count("<div hidden>") == 1, "captions of the two shown layers are seen"
    assert "-6 dB<i class=ramp" in text and "linear-gradient(90deg,rgb(0,0,0),rgb(255,0,0))" in text
    assert "aria-label='Pair p001. Plus and minus zoom" in text and text.count("aria-label=") == 6
    assert ">synthetic</span>" in text and "draggable=false" in text


def test_scale_and_coordinates_come_from_the_grid() -> None:
    assert Frame(50, 100, UTM).width_m == 2000.0
    text = html_viewer.viewer("v", [layer()], Frame(50, 100, UTM))
    assert "data-width='2000.000'" in text and "data-x0='700000'" in text and "data-dx='2000'" in text
    assert "data-y0='6100000'" in text and "data-dy='1000'" in text and "data-crs='EPSG:32755'" in text
    degrees = Grid(4326, 10.0, 60.5, 0.01, -0.01, 100, 100)
    # a degree of longitude at 60 degrees is half one of latitude
    assert Frame(100, 100, degrees).width_m == pytest.approx(111194.93 / 2, abs=1)
    text = html_viewer.viewer("v", [layer()], Frame(10, 10))
    assert "<span hidden class='tag b'" in text and "data-x0" not in text


def quoted(text: str) -> str:
    """Attributes without quotes get them, so that an XML reader can read the drawing."""
    return re.sub(r"=([A-Za-z0-9.-]+)(?=[ />])", r"='\1'", text)


def test_chart_places_values_on_its_axis() -> None:
    marks = [Mark("copy_t0", 0.0), Mark("rival", 0.25, 0.2, 0.5), Mark("run & co", 1.0, is_run=True), Mark("bad", -9.0)]
    text = html_chart.intervals("Skill <x>", marks, floor=-1.0)
    svg = ET.fromstring(quoted(re.search(r"<svg.*</svg>", text).group(0)))
    dots = [float(dot.get("cx")) for dot in svg.iter("circle")]
    low, high = html_chart.span(marks, -1.0)
    assert low == pytest.approx(-1.08) and high == pytest.approx(1.08)
    width = html_chart.WIDTH - html_chart.LEFT - html_chart.RIGHT
    expected = [html_chart.LEFT + width * (value - low) / (high - low) for value in (0.0, 0.25, 1.0)]
    assert dots == pytest.approx(expected, abs=0.051)
    line = next(line for line in svg.iter("line") if line.get("class") == "ci")
    ends = [html_chart.LEFT + width * (value - low) / (high - low) for value in (0.2, 0.5)]
    assert [float(line.get("x1")), float(line.get("x2"))] == pytest.approx(ends, abs=0.051)
    zero = next(line for line in svg.iter("line") if line.get("class") == "zero")
    assert float(zero.get("x1")) == pytest.approx(expected[0], abs=0.051)
    # what lies beyond the axis is an arrow with its figure, not a dot at the edge
    assert len(dots) == 3 and any(text.text == "-9.00" for text in svg.iter("text"))
    assert [group.get("class") for group in svg.iter("g")].count("run") == 1
    titles = [title.text for title in svg.iter("title")]
    assert titles[1] == "rival 0.25, 95 % 0.20 to 0.50" and titles[2] == "run & co 1.00"
    assert svg.get("role") == "img" and svg.get("aria-label").startswith("Skill <x>: copy_t0 0.00; rival 0.25")
    assert "Skill &lt;x&gt;" in text and html_chart.intervals("t", []) == ""
