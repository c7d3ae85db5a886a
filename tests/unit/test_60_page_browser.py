"""report.html in a real browser: silent, offline, no wider than the window; maps that toggle, swipe, zoom by mouse, touch, keys."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests import browser
from tests.browser import Browser
from tests.unit import page_case

pytestmark = pytest.mark.skipif(browser.executable() is None, reason="no Chromium on this machine")

WIDTHS = (320, 390, 768, 1400)
# 15 MB is what a mail server takes and a phone opens at once; three pairs of 900 pixels with two runs must stay below
PAGE_BYTES = 15e6
STACK = ".view .stack"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> page_case.Page:
    return page_case.build(tmp_path_factory.mktemp("browsed"))


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def shown(window: Browser, page: page_case.Page) -> Browser:
    """The page, freshly opened at desktop width, the first map in view."""
    window.size(1400, 1000)
    window.events.clear()
    window.open(page.path)
    window.value(f"document.querySelector('{STACK}').scrollIntoView()")
    return window


def alone(window: Browser, name: str) -> np.ndarray:
    """Choose a layer by a click on its button, swipe nothing over it; pixels of the map."""
    window.value(
        "(o=>{o.value=-1;o.dispatchEvent(new Event('change',{bubbles:true}))})(document.querySelector('.view select'))"
    )
    done = window.value(
        f"(n=>{{var v=document.querySelector('.view'),i=[].findIndex.call(v.querySelectorAll('.lay img'),x=>x.alt===n);"
        f"if(i<0)return false;v.querySelectorAll('.pick input')[[].findIndex.call(v.querySelectorAll('.pick input'),x=>+x.value===i)].click();return true}})({name!r})"
    )
    assert done, f"no layer {name}"
    return window.pixels(STACK)


def inner(pixels: np.ndarray) -> np.ndarray:
    """Without the words in the corners."""
    rows, cols = pixels.shape[:2]
    return pixels[rows // 5 : -rows // 5, cols // 20 : -cols // 20].astype(int)


def click(window: Browser, x: float, y: float, times: int = 1) -> None:
    for count in range(1, times + 1):
        for kind in ("mousePressed", "mouseReleased"):
            window.mouse(kind, x, y, button="left", clickCount=count)


def centre(window: Browser) -> tuple[float, float, float, float]:
    """x and y of the middle of the map in the window, width and height."""
    box = window.value(
        f"(b=>[b.left+b.width/2,b.top+b.height/2,b.width,b.height])(document.querySelector('{STACK}').getBoundingClientRect())"
    )
    return box[0], box[1], box[2], box[3]


def test_silent_and_offline(shown: Browser, page: page_case.Page) -> None:
    for name in ("good: sigma", "severity dNBR of the truth", "S1 change"):
        alone(shown, name)
    shown.value("document.querySelectorAll('details').forEach(d=>d.open=true)")
    time.sleep(0.2)
    assert shown.complaints() == []
    assert shown.requests() == [page.path.as_uri()], "nothing but the file itself"


@pytest.mark.parametrize("width", WIDTHS)
def test_no_wider_than_the_window(shown: Browser, width: int) -> None:
    shown.value("document.querySelectorAll('details').forEach(d=>d.open=true)")
    shown.size(width, 844, phone=width < 700)
    found = shown.value("[document.documentElement.scrollWidth,innerWidth]")
    print(f"page {found[0]} px wide (limit {found[1]})")
    assert found[0] <= found[1] == width
    # what is wide scrolls inside its frame, and the keyboard reaches it
    frames = shown.value(
        "[].filter.call(document.querySelectorAll('.scroll'),f=>f.scrollWidth>f.clientWidth).map(f=>[f.tabIndex,getComputedStyle(f).overflowX])"
    )
    assert all(frame == [0, "auto"] for frame in frames) and (frames or width > 1000)


def test_toggling_changes_the_pixels(shown: Browser) -> None:
    names = ("S2 t0", "S2 t1 hidden truth", "good: error", "good: sigma", "good: abstain", "severity dNBR of the truth")
    seen = {name: inner(alone(shown, name)) for name in names}
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            assert np.abs(seen[first] - seen[second]).mean() > 1, f"{first} looks like {second}"
    left, right = np.array_split(seen["good: abstain"], 2, axis=1)
    assert left[..., 0].mean() > right[..., 1].mean() - 60 and left[..., 1].mean() < 80 < right[..., 1].mean()
    caption = shown.value(
        "[].filter.call(document.querySelectorAll('.view .cap>div'),d=>!d.hidden).map(d=>d.textContent)"
    )
    assert len(caption) == 1 and caption[0].startswith("severity dNBR of the truth")


def test_swiping_moves_the_border(shown: Browser) -> None:
    below, above = inner(alone(shown, "good: error")), inner(alone(shown, "S2 t0"))
    alone(shown, "good: error")
    shown.value(
        "(o=>{o.value=[].findIndex.call(o.options,x=>x.textContent==='S2 t0')-1;o.dispatchEvent(new Event('change',{bubbles:true}))})"
        "(document.querySelector('.view select'))"
    )
    x, y, width, _ = centre(shown)
    for share in (0.25, 0.7):
        shown.mouse("mousePressed", x, y, button="left", clickCount=1)
        shown.mouse("mouseMoved", x - width / 2 + share * width, y, button="left", buttons=1)
        shown.mouse("mouseReleased", x - width / 2 + share * width, y, button="left", clickCount=1)
        both = inner(shown.pixels(STACK))
        border = round((share - 0.05) / 0.9 * both.shape[1])
        # apart from the line and its grip, left of the border is one layer and right of it the other
        assert np.abs(both[:, : border - 40] - below[:, : border - 40]).mean() < 1
        assert np.abs(both[:, border + 40 :] - above[:, border + 40 :]).mean() < 1
    shown.value(f"document.querySelector('{STACK}').focus()")
    before = float(shown.value("document.querySelector('.view input[type=range]').value"))
    shown.key("ArrowLeft")
    assert float(shown.value("document.querySelector('.view input[type=range]').value")) == pytest.approx(
        before - 5, abs=0.2
    )
    shown.key(" ")
    assert shown.value("document.querySelector('.view .tag.l').textContent") == "S2 t0", "space swaps the two"


def scale_of(window: Browser) -> float:
    """Zoom of the shown layer."""
    return float(
        window.value("+/scale\\(([\\d.]+)\\)/.exec(document.querySelector('.view .lay.on img').style.transform)[1]")
    )


def test_zoom_by_keys_mouse_and_buttons(shown: Browser) -> None:
    whole = inner(alone(shown, "S2 t1 hidden truth"))
    bar = shown.value("document.querySelector('.view .tag.b b').textContent")
    shown.value(f"document.querySelector('{STACK}').focus()")
    shown.key("+")
    shown.key("+")
    assert scale_of(shown) == pytest.approx(2.25)
    assert np.abs(inner(shown.pixels(STACK)) - whole).mean() > 1
    assert shown.value("document.querySelector('.view .tag.b b').textContent") != bar, "the scale bar follows"
    at = inner(shown.pixels(STACK))
    shown.key("ArrowRight")
    assert np.abs(inner(shown.pixels(STACK)) - at).mean() > 0.5
    shown.key("0")
    assert scale_of(shown) == 1 and np.abs(inner(shown.pixels(STACK)) - whole).mean() < 0.5
    x, y, width, _ = centre(shown)
    click(shown, x, y, times=2)
    assert scale_of(shown) == pytest.approx(2)
    shown.mouse("mouseWheel", x, y, deltaX=0, deltaY=-100, modifiers=2)
    assert scale_of(shown) == pytest.approx(2 * np.exp(0.5), rel=0.01)
    dragged = inner(shown.pixels(STACK))
    shown.mouse("mousePressed", x, y, button="left", clickCount=1)
    shown.mouse("mouseMoved", x + width / 4, y, button="left", buttons=1)
    shown.mouse("mouseReleased", x + width / 4, y, button="left", clickCount=1)
    assert np.abs(inner(shown.pixels(STACK)) - dragged).mean() > 0.5
    shown.value("document.querySelector('.view .tools button[value=all]').click()")
    assert scale_of(shown) == 1
    shown.mouse("mouseWheel", x, y, deltaX=0, deltaY=-100)
    assert scale_of(shown) == 1, "the wheel alone scrolls the page"


def test_zoomed_pixels_are_crisp(shown: Browser) -> None:
    """Deep in, a pixel of the raster is a square of one colour: the colours that are seen are those of the classes."""
    alone(shown, "severity dNBR of the truth")
    shown.value(f"document.querySelector('{STACK}').focus()")
    for _ in range(3):
        shown.key("+")
    colours = {tuple(colour) for colour in inner(shown.pixels(STACK)).reshape(-1, 3).tolist()}
    print(f"{len(colours)} colours of classes (at least 2, limit 7)")
    assert 2 <= len(colours) <= 7


def test_two_fingers_zoom_and_one_moves(shown: Browser) -> None:
    shown.size(390, 844, phone=True)
    alone(shown, "S2 t1 hidden truth")
    shown.value(f"document.querySelector('{STACK}').scrollIntoView()")
    x, y, _, _ = centre(shown)
    shown.touch("touchStart", (x - 20, y))
    shown.touch("touchStart", (x - 20, y), (x + 20, y))
    for spread in (25, 35, 50, 60):
        shown.touch("touchMove", (x - spread, y), (x + spread, y))
    shown.touch("touchEnd")
    zoomed = scale_of(shown)
    print(f"pinched from 50 to 120 px: zoom {zoomed:.2f} (at least 2, at most 3.1)")
    assert 2 <= zoomed <= 3.1
    before = inner(shown.pixels(STACK))
    shown.touch("touchStart", (x, y))
    for step in (10, 30, 60):
        shown.touch("touchMove", (x - step, y))
    shown.touch("touchEnd")
    assert scale_of(shown) == pytest.approx(zoomed) and np.abs(inner(shown.pixels(STACK)) - before).mean() > 0.5


def test_a_finger_swipes_on_a_phone(shown: Browser) -> None:
    shown.size(390, 844, phone=True)
    shown.value(f"document.querySelector('{STACK}').scrollIntoView()")
    x, y, width, _ = centre(shown)
    shown.touch("touchStart", (x, y))
    for share in (0.45, 0.35, 0.2):
        shown.touch("touchMove", (x - width / 2 + share * width, y))
    shown.touch("touchEnd")
    border = float(shown.value("document.querySelector('.view input[type=range]').value"))
    assert border == pytest.approx(20, abs=2)
    high = shown.value(
        "[].map.call(document.querySelectorAll('.view .tools button'),b=>b.getBoundingClientRect().height)"
    )
    print(f"smallest button {min(high):.0f} px (limit 44)")
    assert min(high) >= 44


def luminance(colour: str) -> float:
    """Relative luminance of rgb(...), WCAG 2."""
    parts = [float(value) / 255 for value in re.findall(r"[\d.]+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("dark", [False, True])
def test_contrast_of_words_in_light_and_dark(shown: Browser, dark: bool) -> None:
    shown.dark(dark)
    script = (
        "[].map.call(document.querySelectorAll('p,td,th,li,h1,h2,h3,summary,.pick span,a,.mark,legend,button,figcaption'),e=>{"
        "for(var p=e;p&&/rgba\\(0, 0, 0, 0\\)/.test(getComputedStyle(p).backgroundColor);)p=p.parentElement;"
        "return [e.tagName+' '+e.textContent.slice(0,20),getComputedStyle(e).color,getComputedStyle(p||document.body).backgroundColor]})"
    )
    worst, where = 21.0, ""
    for words, ink, paper in shown.value(script):
        light, deep = sorted((luminance(ink), luminance(paper)), reverse=True)
        ratio = (light + 0.05) / (deep + 0.05)
        if ratio < worst:
            worst, where = ratio, words
    shown.dark(False)
    print(f"lowest contrast {worst:.2f} at {where!r} (limit 4.5)")
    assert worst >= 4.5


def test_everything_to_operate_has_a_name(shown: Browser) -> None:
    nameless = shown.value(
        "[].filter.call(document.querySelectorAll('button,input,select,[tabindex],img,svg[role]'),e=>!(e.getAttribute('aria-label')||e.alt||"
        "(e.labels&&e.labels.length)||e.textContent.trim())).length"
    )
    assert nameless == 0
    doubled = shown.value("(ids=>ids.length-new Set(ids).size)([].map.call(document.querySelectorAll('[id]'),e=>e.id))")
    assert doubled == 0
    assert (
        shown.value("document.documentElement.lang") == "en"
        and shown.value("document.querySelectorAll('h1').length") == 1
    )


def test_paper_leaves_the_controls_out(shown: Browser) -> None:
    shown.call("Emulation.setEmulatedMedia", media="print")
    hidden = shown.value(
        "['.picks','.swipe','.tools','nav'].map(s=>getComputedStyle(document.querySelector(s)).display)"
    )
    cut = shown.value("getComputedStyle(document.querySelector('.scroll')).overflowX")
    shown.call("Emulation.setEmulatedMedia", media="")
    assert hidden == ["none"] * 4 and cut == "visible"


def test_first_map_without_script(window: Browser, page: page_case.Page) -> None:
    window.size(1400, 1000)
    window.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        window.call("Page.navigate", url=page.path.as_uri())
        time.sleep(1.0)
        window.call("Emulation.setScriptExecutionDisabled", value=False)
        assert (
            window.value(
                "[].filter.call(document.querySelectorAll('.view .lay'),e=>getComputedStyle(e).display!=='none').length"
            )
            == 1
        )
    finally:
        window.call("Emulation.setScriptExecutionDisabled", value=False)


def test_size_of_the_page(page: page_case.Page) -> None:
    """The limit itself is kept by report.max_mb (test_50_page); this one is far below it."""
    size = page.path.stat().st_size
    print(f"page {size / 1e6:.2f} MB (limit {PAGE_BYTES / 1e6:g})")
    assert size < PAGE_BYTES
