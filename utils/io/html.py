"""Pieces of a self-contained HTML page: no request leaves it, pictures are data URIs, readable on a phone, light and dark.

Maps to swipe are in html_viewer, charts in html_chart, style and script in html_style.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape

from utils.io.html_style import CSS, JS


def data_uri(data: bytes, mime: str) -> str:
    """The bytes as a data URI."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    words: bool = False,
    best: Sequence[tuple[int, int]] = (),
    label: str = "",
) -> str:
    """A table that scrolls sideways inside its frame on a narrow screen.

    words  text that may break its lines, instead of figures
    best   (row, column) cells to mark
    label  words for those who do not see it
    """
    marked = set(best)
    top = "".join(f"<th scope=col>{escape(cell).replace(' %]', '&nbsp;%]')}</th>" for cell in head)
    body = "".join(
        "<tr>"
        + "".join(f"<td{' class=best' if (i, j) in marked else ''}>{escape(cell)}</td>" for j, cell in enumerate(row))
        + "</tr>"
        for i, row in enumerate(rows)
    )
    kind = " class=words" if words else ""
    said = escape(label or "Table: " + ", ".join(head[:4]), quote=True)
    return (
        f"<div class=scroll tabindex=0 role=region aria-label='{said}'><table{kind}><thead><tr>{top}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def anchor(title: str) -> str:
    """The id of a section: lower case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def section(title: str, *parts: str) -> str:
    """A titled section of ready HTML parts."""
    return f"<section id='{anchor(title)}'><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def contents(titles: Sequence[str]) -> str:
    """Links to the sections of the page."""
    links = "".join(f"<a href='#{anchor(title)}'>{escape(title)}</a>" for title in titles)
    return f"<nav aria-label='Parts of this page'>{links}</nav>"


def paragraph(text: str, kind: str = "") -> str:
    """Escaped text; kind = soft, lead or warn."""
    return f"<p{f' class={kind}' if kind else ''}>{escape(text)}</p>"


def bullets(texts: Sequence[str]) -> str:
    """A list of escaped texts."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


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
