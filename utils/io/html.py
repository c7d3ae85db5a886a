"""One self-contained HTML page: no request leaves it, pictures are data URIs, readable on a phone, light and dark."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Layer:
    """One picture of a viewer.

    short   words of its button, understood inside its group; name stands alone
    legend  colours with their words; ramp = the same as a gradient with end values
    """

    name: str
    group: str
    data: bytes
    mime: str
    caption: str
    legend: tuple[tuple[Colour, str], ...] = ()
    ramp: tuple[tuple[Colour, ...], str, str] | None = None
    short: str = ""


CSS = """
:root{--ink:#1c1f23;--soft:#5b636d;--paper:#fbfaf8;--card:#fff;--line:#dcdad4;--accent:#9a3412;--tint:#f3efe8}
@media(prefers-color-scheme:dark){:root{--ink:#e8e6e1;--soft:#a3a8af;--paper:#15171a;--card:#1e2125;--line:#363a40;--accent:#fb923c;--tint:#262a2f}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1280px;margin:0 auto;padding:1.2rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:.6rem 0 .3rem}h2{font-size:1.25rem;margin:2.4rem 0 .6rem;border-bottom:2px solid var(--line);padding-bottom:.25rem}
h3{font-size:1.02rem;margin:1.4rem 0 .4rem}p{margin:.4rem 0 .8rem}.soft{color:var(--soft);font-size:.9rem}
.mark{display:inline-block;background:var(--accent);color:#fff;border-radius:3px;padding:.05rem .5rem;font-weight:600;font-size:.85rem;letter-spacing:.03em}
@media(prefers-color-scheme:dark){.mark{color:#15171a}}
.lead{font-size:1.08rem}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:6px;background:var(--card);margin:.4rem 0 1rem}
table{border-collapse:collapse;width:100%;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{padding:.38rem .5rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--card)}
th{background:var(--tint)!important;font-weight:600;white-space:normal;min-width:4.4em;vertical-align:bottom}tr:last-child td{border-bottom:0}
td.best{font-weight:700;color:var(--accent)}table.words td,table.words th{text-align:left;white-space:normal;overflow-wrap:anywhere}
.view{border:1px solid var(--line);border-radius:8px;background:var(--card);padding:.7rem;margin:.6rem 0 1.4rem}
.stack{position:relative;width:100%;max-width:760px;margin:0 auto;background:#777;overflow:hidden;border-radius:4px}
.stack img{position:absolute;inset:0;width:100%;height:100%;display:none;image-rendering:auto}
.stack.coarse img{image-rendering:pixelated}.stack img.on{display:block}.stack img.top{z-index:2}
.stack .edge{position:absolute;top:0;bottom:0;width:2px;background:#fff;box-shadow:0 0 3px #000;z-index:3;display:none}
.tag{position:absolute;z-index:4;top:.4rem;background:#000b;color:#fff;font-size:.78rem;padding:.1rem .45rem;border-radius:3px;max-width:48%}
.tag.l{left:.4rem}.tag.r{right:.4rem;display:none}.tag.s{top:auto;bottom:.4rem;left:.4rem;background:#9a3412}
fieldset{border:0;padding:0;margin:.5rem 0;min-width:0}legend{font-size:.8rem;color:var(--soft);padding:0;margin-bottom:.2rem}
.pick{display:flex;flex-wrap:wrap;gap:.3rem}
.pick label{cursor:pointer}.pick input{position:absolute;opacity:0;width:1px;height:1px}
.pick span{display:block;border:1px solid var(--line);border-radius:4px;padding:.28rem .6rem;font-size:.84rem;background:var(--paper)}
.pick input:checked+span{background:var(--ink);color:var(--paper);border-color:var(--ink)}
.pick input:focus-visible+span{outline:3px solid var(--accent);outline-offset:1px}
.swipe{display:flex;gap:.6rem;flex-wrap:wrap;align-items:center;margin:.5rem auto 0;max-width:760px;font-size:.86rem}
.swipe input[type=range]{flex:1 1 12rem;accent-color:var(--accent);min-height:2rem}
select{font:inherit;max-width:100%;padding:.2rem;background:var(--paper);color:var(--ink);border:1px solid var(--line);border-radius:4px}
.cap{max-width:760px;margin:.5rem auto 0;font-size:.86rem;min-height:3.4em}.key{display:inline-flex;align-items:center;margin:.15rem .7rem .15rem 0}
.key i{width:1.1em;height:1.1em;border-radius:2px;margin-right:.35em;display:inline-block;border:1px solid #0003}
.ramp{display:inline-block;width:9rem;height:.8em;border-radius:2px;vertical-align:middle;margin:0 .5em;border:1px solid #0003}
details{margin:.5rem 0}summary{cursor:pointer;font-weight:600}pre{overflow-x:auto;background:var(--tint);padding:.7rem;border-radius:6px;font-size:.78rem}
img.sheet{width:100%;height:auto;border-radius:4px}code{font-size:.86em;overflow-wrap:anywhere}
"""

JS = """
document.querySelectorAll('.view').forEach(function(v){
var s=v.querySelector('.stack'),im=[].slice.call(s.querySelectorAll('img')),e=s.querySelector('.edge'),
r=v.querySelector('input[type=range]'),o=v.querySelector('select'),L=s.querySelector('.tag.l'),R=s.querySelector('.tag.r'),c=v.querySelectorAll('.cap>div');
function draw(){var a=+v.querySelector('.pick input:checked').value,b=+o.value,x=+r.value,two=b>=0&&b!==a;
im.forEach(function(m,i){m.className='';m.style.clipPath='';if(i===a)m.className='on';
if(two&&i===b){m.className='on top';m.style.clipPath='inset(0 0 0 '+x+'%)'}});
e.style.display=two?'block':'none';e.style.left=x+'%';L.textContent=im[a].alt;R.style.display=two?'block':'none';if(two)R.textContent=im[b].alt;
r.disabled=!two;c.forEach(function(d,i){d.hidden=!(i===a||(two&&i===b))})}
v.addEventListener('input',draw);v.addEventListener('change',draw);
s.addEventListener('pointermove',function(p){if(r.disabled||p.pointerType==='mouse'&&!p.buttons)return;
var q=s.getBoundingClientRect();r.value=100*(p.clientX-q.left)/q.width;draw()});
draw()});
"""


def data_uri(data: bytes, mime: str) -> str:
    """The bytes as a data URI."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False, best: Sequence[tuple[int, int]] = ()
) -> str:
    """A table that scrolls sideways on a narrow screen. best = (row, column) cells to mark."""
    marked = set(best)
    top = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>"
        + "".join(f"<td{' class=best' if (i, j) in marked else ''}>{escape(cell)}</td>" for j, cell in enumerate(row))
        + "</tr>"
        for i, row in enumerate(rows)
    )
    kind = " class=words" if words else ""
    return f"<div class=scroll tabindex=0><table{kind}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _rgb(colour: Colour) -> str:
    return f"rgb({colour[0]},{colour[1]},{colour[2]})"


def _caption(layer: Layer) -> str:
    text = f"<b>{escape(layer.name)}</b>: {escape(layer.caption)}"
    keys = "".join(
        f"<span class=key><i style='background:{_rgb(c)}'></i>{escape(word)}</span>" for c, word in layer.legend
    )
    if layer.ramp:
        colours, low, high = layer.ramp
        stops = ",".join(_rgb(colour) for colour in colours)
        ramp = f"<i class=ramp style='background:linear-gradient(90deg,{stops})'></i>"
        keys += f"<span class=key>{escape(low)}{ramp}{escape(high)}</span>"
    return f"<div>{text}<br>{keys}</div>"


def viewer(
    name: str, layers: Sequence[Layer], size: tuple[int, int], note: str = "", first: int = 0, second: int = -1
) -> str:
    """Layers over one another, chosen by radio buttons; a second one can be swiped over the first.

    size    rows, columns of the pictures, for the shape of the frame
    note    text in a corner of every picture (such as "synthetic")
    """
    rows, cols = size
    images = "".join(
        f"<img src='{data_uri(layer.data, layer.mime)}' alt='{escape(layer.name, quote=True)}'{' class=on' if i == first else ''}>"
        for i, layer in enumerate(layers)
    )
    groups = []
    for group in dict.fromkeys(layer.group for layer in layers):
        picks = "".join(
            f"<label><input type=radio name='{name}' value={i}{' checked' if i == first else ''}><span>{escape(layer.short or layer.name)}</span></label>"
            for i, layer in enumerate(layers)
            if layer.group == group
        )
        groups.append(f"<fieldset><legend>{escape(group)}</legend><div class=pick>{picks}</div></fieldset>")
    choices = "".join(
        f"<option value={i}{' selected' if i == second else ''}>{escape(layer.name)}</option>"
        for i, layer in enumerate(layers)
    )
    swipe = (
        f"<div class=swipe><label>Swipe over it: <select><option value=-1>nothing</option>{choices}</select></label>"
        "<input type=range min=0 max=100 value=50 aria-label='Border between the two layers'></div>"
    )
    corner = f"<span class='tag s'>{escape(note)}</span>" if note else ""
    coarse = " coarse" if max(rows, cols) < 400 else ""
    stack = (
        f"<div class='stack{coarse}' style='aspect-ratio:{cols}/{rows}'>{images}<span class=edge></span>"
        f"<span class='tag l'></span><span class='tag r'></span>{corner}</div>"
    )
    captions = "".join(_caption(layer) for layer in layers)
    return f"<div class=view>{stack}{swipe}<div class=cap>{captions}</div>{''.join(groups)}</div>"


def section(title: str, *parts: str) -> str:
    """A titled section of ready HTML parts."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def paragraph(text: str, kind: str = "") -> str:
    """Escaped text; kind = soft or lead."""
    return f"<p{f' class={kind}' if kind else ''}>{escape(text)}</p>"


def details(title: str, body: str) -> str:
    """A part that opens on click; body is ready HTML."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def page(title: str, parts: Sequence[str], mark: str = "") -> bytes:
    """The whole document, UTF-8. mark = a word beside the title that nobody can miss."""
    badge = f"<span class=mark>{escape(mark)}</span>" if mark else ""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f'<meta http-equiv=Content-Security-Policy content="{policy}">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body><main><h1>{escape(title)}</h1>{badge}"
        f"{''.join(parts)}</main><script>{JS}</script></body></html>\n"
    ).encode()
