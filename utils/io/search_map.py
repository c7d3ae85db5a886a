"""A search to look at: one self-contained page with map, timeline, ranks and refusals. Also useful when nothing was found.

No request leaves the page; everything that a catalogue wrote is escaped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from utils.io import html, search_footprints, search_timeline
from utils.io.search_marks import DATES, REASONS, UNDATED, Mark, marks, said, windows
from utils.science.product import Product

_SCHEMA = "s2cr.pairs/1"
_MANY = 60  # refusals of one reason beyond this are hidden until asked for
_PALETTE = ("#dc2626", "#c026d3", "#7c3aed", "#0d9488", "#ca8a04", "#65a30d", "#db2777", "#64748b")
_OTHER = ("#0369a1", "#4d7c0f", "#a16207", "#9f1239", "#0f766e")
_CODES = ("R_CLOUD", "R_COVERAGE", "R_TRACK", "R_GAP", "R_NODATA", "R_TILESET", "R_POL", "R_DATE")

_CSS = """<style>
:root{color-scheme:light dark}
.box{border:1px solid var(--line);border-radius:8px;background:var(--card);padding:.7rem;margin:.6rem 0 1.2rem}
.roll{overflow-x:auto}svg.map,svg.time{display:block;width:100%;height:auto}svg text{fill:var(--ink);font-family:system-ui,sans-serif}
svg.map{background:var(--tint);border-radius:4px;max-width:920px;margin:0 auto}
svg.map text{font-size:calc(11px*var(--u));paint-order:stroke;stroke:var(--tint);stroke-width:calc(3px*var(--u))}
svg.map path{vector-effect:non-scaling-stroke}.grid{stroke:var(--soft);stroke-width:.5px;opacity:.45;fill:none}.frame{pointer-events:none}
.aoi{fill:#b91c1c33;stroke:#b91c1c;stroke-width:2.2px}.north{fill:var(--ink)}.dark{fill:var(--ink)}.light{fill:var(--card)}
.scale rect{stroke:var(--ink);stroke-width:.8px;vector-effect:non-scaling-stroke}
.foot{fill:none;stroke:var(--c,#64748b);stroke-width:1px}.foot.refused{stroke-dasharray:3 3}.foot.left{stroke-width:.7px;opacity:.6}
.foot.chosen{stroke-width:1.2px}.foot.best{stroke-width:2.2px;fill:var(--c);fill-opacity:.09}.foot.t1{stroke-dasharray:9 4}.foot.nearest{stroke-width:2.6px}
.s2{--c:#2563eb}.s1{--c:#d97706}.foot.hot{stroke-width:4px;fill:var(--c);fill-opacity:.25}
.window{fill:var(--accent);opacity:.09}.wide{fill:var(--soft);opacity:.07}.tick{stroke:var(--line);fill:none}.day{font-size:11px;text-anchor:middle;fill:var(--soft)!important}
.head{font-size:13px;font-weight:600}.row{font-size:11.5px;fill:var(--soft)!important;paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-opacity:.8}
.line{stroke:var(--line);fill:none}.gap{font-size:11px;font-weight:600;paint-order:stroke;stroke:var(--card);stroke-width:4px}
.link{stroke:var(--soft);stroke-width:1;fill:none;opacity:.45}.link.first{stroke:var(--ink);stroke-width:1.8;opacity:.85}
.link.across{stroke-dasharray:2 4;stroke-width:1.2}
.mark{cursor:pointer}.mark.chosen{fill:var(--c);stroke:var(--card);stroke-width:1.5}.mark.refused{stroke:var(--c,#64748b);stroke-width:2.2;fill:none}
.mark.left{fill:var(--card);stroke:var(--soft);stroke-width:1.6}.mark.out{stroke-width:1.2;fill:var(--c,#64748b)}
.mark .near{fill:none;stroke:var(--accent);stroke-width:2.4}.mark .hit{fill:transparent;stroke:none}.mark.hot .hit{stroke:var(--ink);stroke-width:1.5}
.pick i{display:inline-block;width:.75em;height:.75em;border-radius:2px;background:var(--c,#64748b);margin-right:.4em}.keys{font-size:.86rem;margin:.5rem 0 0}
#said{min-height:2.9em;font-size:.86rem;overflow-wrap:anywhere;margin:.5rem 0 0}
.alert{border-left:4px solid var(--accent);padding:.5rem .8rem;background:var(--tint);overflow-wrap:anywhere}
.pictures{display:flex;flex-wrap:wrap;gap:.8rem}.pictures figure{margin:0;flex:1 1 16rem;max-width:30rem}.pictures img{width:100%;border-radius:4px}
.refused table.words td{white-space:nowrap}ul.files{overflow-wrap:anywhere;font-size:.86rem}
</style>"""

_JS = """<script>(function(){var d=document,m=d.getElementById('map'),s=d.getElementById('said');
function all(q){return [].slice.call(d.querySelectorAll(q))}
function view(){var r=d.querySelector('input[name=extent]:checked');if(!m||!r)return;m.setAttribute('viewBox',r.value);
m.style.setProperty('--u',r.value.split(' ')[2]/Math.max(m.clientWidth,1));
all('.frame').forEach(function(g){g.style.display=g.getAttribute('data-view')===r.value?'':'none'})}
function codes(){all('input[data-toggle]').forEach(function(i){
all('[data-c="'+i.getAttribute('data-toggle')+'"]').forEach(function(e){e.style.display=i.checked?'':'none'})})}
d.addEventListener('change',function(){view();codes()});addEventListener('resize',view);
d.addEventListener('click',function(e){var g=e.target.closest('[data-m],[data-f]');if(!g)return;
var n=g.getAttribute('data-m')||g.getAttribute('data-f');s.textContent=g.querySelector('title').textContent;
all('.hot').forEach(function(h){h.classList.remove('hot')});
all('[data-m="'+n+'"],[data-f="'+n+'"]').forEach(function(h){h.classList.add('hot')})});
view();codes()})();</script>"""


@dataclass(frozen=True)
class Found:
    """What a search left in its folder; document is None when it wrote no pairs."""

    document: dict[str, Any] | None
    rejections: list[dict[str, Any]]
    products: list[Product]


def load(folder: Path) -> Found:
    """pairs.json, rejected.jsonl and, for footprints of the refused, local_index.json; what is missing is empty.

    raises  InputError when pairs.json or rejected.jsonl is there and cannot be read
    """
    from utils.workflow.errors import InputError

    pairs, refused, index = (folder / name for name in ("pairs.json", "rejected.jsonl", "local_index.json"))
    try:
        document = json.loads(pairs.read_text(encoding="utf-8")) if pairs.is_file() else None
        lines = refused.read_text(encoding="utf-8").splitlines() if refused.is_file() else []
        rejections = [json.loads(line) for line in lines if line.strip()]
    except ValueError as error:
        raise InputError(f"{folder}: malformed ({error}).", "Run find_images again.") from error
    if document is not None and document.get("schema") != _SCHEMA:
        raise InputError(f"{pairs}: schema {document.get('schema')!r} is not {_SCHEMA}.", "Run find_images again.")
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))["entries"].values() if index.is_file() else ()
        products = [Product.from_json(entry["product"]) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError):
        products = []  # a cache: without it the refused have no outlines
    return Found(document, rejections, products)


def page(document: Mapping[str, Any], rejections: Sequence[Mapping[str, Any]], products: Sequence[Product] = (), *,
         nearest: tuple[str, str] | None = None, mark: str = "", note: str = "",
         pictures: Sequence[tuple[str, bytes]] = ()) -> bytes:  # fmt: skip
    """The page, UTF-8.

    document    as pair_document.document makes it; `pairs` and `products` may be empty
    rejections  Rejection.to_json of every refusal; lines of unreadable files too
    products    everything that the catalogue gave: outlines of refused candidates, and those left over
    nearest     (what came closest, remedy) when nothing was found; without it the closest refusal is named
    note        a sentence above everything, such as that the pairs are of other settings
    mark        a word beside the title, such as "synthetic"
    pictures    (caption, PNG) to show below the map
    """
    found = marks(document, rejections, products, nearest[0] if nearest else "")
    colours = _colours(found)
    settings = document.get("settings") or {}
    time = search_timeline.svg(
        found, windows(document, found), float(settings.get("max_gap_days") or 6.0), document["pairs"], colours
    )
    drawn, shown = search_footprints.svg(search_footprints.rings_of(document["aoi"]["geometry"]), found, colours)
    parts = [
        _CSS,
        f"<p class=alert>{escape(note)}</p>" if note else "",
        *_verdict(document, found, nearest),
        html.section("Map", _map_box(drawn, shown)),
    ]
    if pictures:
        parts.append(html.section("Pictures", _pictures(pictures)))
    parts.append(html.section("Timeline", _time_box(time), _undated(found), _toggles(found, colours)))
    parts += [html.section("Pairs, best first", *_ranks(document)), _refusals(rejections), _asked(settings), _JS]
    return html.page(_title(document, found), parts, mark)


def _title(document: Mapping[str, Any], found: Sequence[Mark]) -> str:
    if not found:
        return "Area, not searched yet"
    count = len(document["pairs"])
    return "Search: no pair" if not count else f"Search: {count} pair{'s' if count > 1 else ''}"


def _colours(found: Sequence[Mark]) -> dict[str, str]:
    """A fixed colour for the common reasons, the rest in order of the palette."""
    codes = sorted({m.code for m in found if m.code}, key=lambda c: (_CODES.index(c) if c in _CODES else 99, c))
    fixed = dict(zip(_CODES, _PALETTE, strict=True))
    return {code: fixed.get(code, _OTHER[i % len(_OTHER)]) for i, code in enumerate(codes)}


def _verdict(document: Mapping[str, Any], found: Sequence[Mark], nearest: tuple[str, str] | None) -> list[str]:
    states = Counter(m.state for m in found)
    counts = f"{states['refused']} refused, {states['left']} left over."
    if document["pairs"]:
        best = document["pairs"][0]
        gaps = " and ".join(
            f"{best[date]['s1']['gap_s'] / 86400:.1f}"
            for date in DATES
            if (best[date].get("s1") or {}).get("gap_s") is not None
        )
        days = f", Sentinel-1 {gaps} days from Sentinel-2" if gaps else ""
        track = best.get("track") or {}
        where = (
            f" on track {track['relative_orbit']} {str(track['direction']).lower()}"
            if track.get("relative_orbit")
            else ""
        )
        return [
            html.paragraph(f"Best pair: {best['date1']['id']} and {best['date2']['id']}{where}{days}. {counts}", "lead")
        ]
    if nearest:
        words = f"<b>Nothing found.</b> {escape(nearest[0][:1].upper() + nearest[0][1:])} <b>{escape(nearest[1])}</b>"
    else:
        near = next((m for m in found if m.near), None)
        if not found:
            return [html.paragraph("Run find_images; then this page shows what it found and what it refused.", "lead")]
        words = f"<b>No pair.</b> Nearest miss: {escape(near.words)}" if near else "<b>No pair.</b> Widen the dates."
    return [f"<p class=alert>{words}</p>", html.paragraph(counts, "soft")]


def _map_box(drawn: str, shown: Sequence[search_footprints.View]) -> str:
    picks = "".join(
        f"<label><input type=radio name=extent value='{view.box}'{'' if i else ' checked'}><span>{escape(view.name)}</span></label>"
        for i, view in enumerate(shown)
    )
    keys = "".join(
        f"<span class=key><i style='background:{colour};border:0'></i>{words}</span>"
        for colour, words in (("#b91c1c", "area of interest"), ("#2563eb", "Sentinel-2"), ("#d97706", "Sentinel-1"))
    )
    words = "full line t0, long dashes t1, short dashes refused. Click an outline or a mark."
    return f"<div class=box>{drawn}<div class=keys>{keys}{words}</div><fieldset><legend>Extent</legend><div class=pick>{picks}</div></fieldset></div>"


def _time_box(time: str) -> str:
    if not time:
        return html.paragraph("There are no dates to show.", "soft")
    words = (
        "Disc: chosen Sentinel-2 scene. Square: chosen Sentinel-1 pass. Cross: refused. Ring: left over. Arrow head: outside these "
        "days. The line joins the best pair, with the days between its sensors."
    )
    return f"<div class=box><div class=roll tabindex=0>{time}</div><p id=said class=soft>{words}</p></div>"


def _toggles(found: Sequence[Mark], colours: Mapping[str, str]) -> str:
    counts = Counter(m.code or m.state for m in found if m.state != "chosen")
    if not counts:
        return ""
    boxes = "".join(
        f"<label style='--c:{colours.get(code, 'var(--soft)')}'><input type=checkbox data-toggle='{escape(code, quote=True)}'"
        f"{' checked' if number <= _MANY else ''}><span><i></i>{escape(REASONS.get(code, 'left over' if code == 'left' else code))} ({number})</span></label>"
        for code, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
    return f"<fieldset><legend>Show on map and timeline</legend><div class=pick>{boxes}</div></fieldset>"


def _undated(found: Sequence[Mark]) -> str:
    lines = "".join(
        f"<li data-m={i} data-id='{escape(m.id, quote=True)}'>{escape(m.words)}</li>"
        for i, m in enumerate(found)
        if m.start == UNDATED
    )
    return f"<h3>Without a date</h3><ul class=files>{lines}</ul>" if lines else ""


def _pictures(pictures: Sequence[tuple[str, bytes]]) -> str:
    figures = "".join(
        f"<figure><img src='{html.data_uri(data, 'image/png')}' alt='{escape(name, quote=True)}'><figcaption class=soft>{escape(name)}</figcaption></figure>"
        for name, data in pictures
    )
    return f"<div class=pictures>{figures}</div>"


def _ranks(document: Mapping[str, Any]) -> list[str]:
    head = [
        "Rank",
        "Track",
        "S2 t0",
        "Cloud t0 %",
        "S1 t0",
        "Gap t0 d",
        "S2 t1",
        "Cloud t1 %",
        "S1 t1",
        "Gap t1 d",
        "Cost",
    ]
    rows = [_rank(pair) for pair in document["pairs"]]
    if not rows:
        return [html.paragraph("None.", "soft")]
    by = (document.get("settings") or {}).get("rank_by", "gap")
    order = ["larger gap s", "sum of gaps s", "cloud t0 + t1 %"]
    order = [order[2], *order[:2]] if by == "cloud" else order
    words = f"Cost, compared from the left: {', '.join(order)}, platforms differ, Sentinel-2 orbits differ."
    warned = [f"{pair['id']}: {text}" for pair in document["pairs"] for text in pair.get("warnings") or ()]
    return [html.table(head, rows), html.paragraph(words, "soft"), *(html.paragraph(text) for text in warned)]


def _rank(pair: Mapping[str, Any]) -> list[str]:
    track = pair.get("track") or {}
    row = [
        str(pair["rank"]),
        f"{track.get('relative_orbit') or '-'} {str(track.get('direction') or '').lower()}".strip(),
    ]
    for date in DATES:
        s2, s1 = pair[date].get("s2") or {}, pair[date].get("s1") or {}
        cloud, gap_s = s2.get("cloud_aoi"), s1.get("gap_s")
        row += [
            _when(s2),
            "-" if cloud is None else f"{cloud:.2f}",
            _when(s1),
            "-" if gap_s is None else f"{gap_s / 86400:.2f}",
        ]
    return [*row, ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in (pair.get("cost") or [])[:5])]


def _when(part: Mapping[str, Any]) -> str:
    """Platform, day and tiles of one scene or pass."""
    words = (str(part.get("platform") or ""), str(part.get("start") or "")[:10], " ".join(part.get("tiles") or ()))
    return " ".join(word for word in words if word) or "-"


def _refusals(rejections: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            str(r.get("date") or "-"),
            str(r.get("start") or "-")[:19].replace("T", " "),
            str(r["kind"]),
            str(r["id"]),
            str(r["code"]),
            said(r),
        ]
        for r in rejections
    ]
    table = html.table(["Date", "UTC", "What", "Name", "Code", "Why"], rows, words=True)
    return html.details(f"All {len(rows)} refusals", f"<div class=refused>{table}</div>") if rows else ""


def _asked(settings: Mapping[str, Any]) -> str:
    rows = [[name, " to ".join(map(str, v)) if name in ("t0", "t1") and v else " ".join(map(str, v)) if isinstance(v, list) else str(v)]
            for name, v in sorted(settings.items())]  # fmt: skip
    return html.details("What was asked", html.table(["Setting", "Value"], rows, words=True)) if rows else ""
