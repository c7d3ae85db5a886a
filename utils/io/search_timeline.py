"""The timeline of a search as inline SVG: one line a sensor and track, both windows side by side."""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from utils.io.search_marks import DATES, UNDATED, Mark, Window

PANEL, GUTTER, EDGE = 396.0, 28.0, 14.0  # width of one window, between them, room for marks outside a window
_TOP, _LABEL, _LANE, _BOTTOM = 42.0, 20.0, 15.0, 30.0
_CLOSE, _LANES, _LANES_OUTSIDE = 13.0, 12, 2  # marks closer than this are put below one another, up to so many
_STEPS_DAYS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class Panel:
    """One window on the page: x of its left side, first and last time shown."""

    date: str
    left: float
    first: dt.datetime
    last: dt.datetime

    def x(self, time: dt.datetime) -> float:
        """Place of a time; times outside come to lie in the margin of their side."""
        inner = PANEL - 2 * EDGE
        share = (time - self.first) / (self.last - self.first)
        if share < 0 or share > 1:
            return self.left + (EDGE / 2 if share < 0 else PANEL - EDGE / 2)
        return self.left + EDGE + share * inner

    def holds(self, time: dt.datetime) -> bool:
        return self.first <= time <= self.last


def panels(windows: Mapping[str, Window], max_gap_days: float) -> list[Panel]:
    """Each window, widened by the largest gap, because that is where Sentinel-1 is searched."""
    out = []
    for number, (date, (start, end)) in enumerate(sorted(windows.items())):
        wide = dt.timedelta(days=max_gap_days) + 0.03 * (end - start)
        out.append(Panel(date, number * (PANEL + GUTTER), start - wide, end + wide))
    return out


def panel_of(mark: Mark, shown: Sequence[Panel]) -> Panel:
    """The panel of the mark's own date, else the one whose window is nearer in time."""
    for panel in shown:
        if panel.date == mark.date:
            return panel

    def distance_s(panel: Panel) -> float:
        return max((panel.first - mark.start).total_seconds(), (mark.start - panel.last).total_seconds(), 0.0)

    return min(shown, key=distance_s)


@dataclass(frozen=True)
class Placed:
    """A mark with its place."""

    mark: Mark
    number: int
    x: float
    y: float
    outside: bool


def place(marks: Sequence[Mark], shown: Sequence[Panel]) -> tuple[list[Placed], dict[str, tuple[float, float]]]:
    """Places of all dated marks, and the (top, bottom) of each row; rows with chosen marks come first."""
    dated = [(i, m) for i, m in enumerate(marks) if m.start != UNDATED]
    chosen = {m.row for _, m in dated if m.state == "chosen"}
    rows = sorted({m.row for _, m in dated}, key=lambda row: ("Sentinel-2" not in row, row not in chosen, row))
    placed: list[Placed] = []
    spans: dict[str, tuple[float, float]] = {}
    top = _TOP
    for row in rows:
        lanes: list[list[float]] = []
        own = [(i, m, panel_of(m, shown)) for i, m in dated if m.row == row]
        for number, mark, panel in sorted(own, key=lambda t: (t[1].state != "chosen", t[2].x(t[1].start), t[0])):
            x = panel.x(mark.start)
            outside = not panel.holds(mark.start)
            lane = _lane(lanes, x, _LANES_OUTSIDE if outside else _LANES)
            placed.append(Placed(mark, number, x, top + _LABEL + _LANE * (lane + 0.5), outside))
        bottom = top + _LABEL + _LANE * max(len(lanes), 1) + 5
        spans[row] = (top, bottom)
        top = bottom
    return placed, spans


def _lane(lanes: list[list[float]], x: float, most: int) -> int:
    """The first lane of a row where no mark is close to x; the last of `most` when all are taken. Takes the place.

    lanes  sorted places of the marks in each lane
    """
    for number in range(most):
        if number == len(lanes):
            lanes.append([])
        own = lanes[number]
        at = bisect.bisect_left(own, x)
        if number == most - 1 or all(abs(own[i] - x) >= _CLOSE for i in (at - 1, at) if 0 <= i < len(own)):
            break
    bisect.insort(lanes[number], x)
    return number


def svg(marks: Sequence[Mark], windows: Mapping[str, Window], max_gap_days: float,
        pairs: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> str:  # fmt: skip
    """The timeline; empty text when there is no window.

    colours  reason code -> CSS colour
    """
    shown = panels(windows, max_gap_days)
    if not shown:
        return ""
    placed, spans = place(marks, shown)
    low = max((bottom for _, bottom in spans.values()), default=_TOP + 20)
    parts = [_panel(panel, windows[panel.date], low) for panel in shown]
    parts += [_row(row, span, shown) for row, span in spans.items()]
    parts += [_links(pair, placed) for pair in reversed(pairs)]  # the best pair is drawn last, over the others
    parts += [glyph(p, colours) for p in placed]
    wide = len(shown) * PANEL + (len(shown) - 1) * GUTTER
    return (
        f"<svg class=time viewBox='0 0 {wide:g} {low + _BOTTOM:g}' style='min-width:{0.84 * wide:.0f}px' role=img "
        f"aria-label='Timeline of candidates'>{''.join(parts)}</svg>"
    )


def _panel(panel: Panel, window: Window, low: float) -> str:
    left, right = panel.x(window[0]), panel.x(window[1])
    last = window[1] - dt.timedelta(seconds=1)
    words = f"{panel.date}: {window[0]:%Y-%m-%d} to {last:%Y-%m-%d}"
    out = [
        f"<text class=head x='{panel.left + 2:.1f}' y='15'>{escape(words)}</text>",
        f"<rect class=wide x='{panel.left + EDGE:.1f}' y='{_TOP - 18:g}' width='{PANEL - 2 * EDGE:.1f}' height='{low - _TOP + 18:.1f}'/>",
        f"<rect class=window x='{left:.1f}' y='{_TOP - 18:g}' width='{right - left:.1f}' height='{low - _TOP + 18:.1f}'/>",
    ]
    days = (panel.last - panel.first).total_seconds() / 86400
    step = next((s for s in _STEPS_DAYS if days / s <= 6), _STEPS_DAYS[-1])
    day = panel.first.replace(hour=0, minute=0, second=0, microsecond=0) + dt.timedelta(days=1)
    while day <= panel.last:
        if (day.date() - window[0].date()).days % step == 0:
            x = panel.x(day)
            out.append(f"<path class=tick d='M{x:.1f} {_TOP - 18:g}V{low:.1f}'/>")
            out.append(f"<text class=day x='{x:.1f}' y='{low + 15:.1f}'>{day.day} {day:%b}</text>")
        day += dt.timedelta(days=1)
    return "".join(out)


def _row(row: str, span: tuple[float, float], shown: Sequence[Panel]) -> str:
    lines = "".join(
        f"<path class=line d='M{p.left:.1f} {span[0]:.1f}h{PANEL:g}'/>"
        f"<text class=row x='{p.left + 4:.1f}' y='{span[0] + 14:.1f}'>{escape(row)}</text>"
        for p in shown
    )
    return f"<g>{lines}</g>"


def _links(pair: Mapping[str, Any], placed: Sequence[Placed]) -> str:
    """Lines of one pair: Sentinel-2 to its pass at either date, and across the dates."""
    ends: dict[tuple[str, str], Placed] = {}
    for date, short in DATES.items():
        for sensor in ("s2", "s1"):
            names = " + ".join((pair[date].get(sensor) or {}).get("products") or ())
            found = [p for p in placed if p.mark.state == "chosen" and (p.mark.id, p.mark.date) == (names, short)]
            if found:
                ends[sensor, date] = found[0]
    kind = "link first" if pair["rank"] == 1 else "link"
    out = []
    for a, b in ((("s2", "date1"), ("s1", "date1")), (("s2", "date2"), ("s1", "date2")),
                 (("s1", "date1"), ("s1", "date2")), (("s2", "date1"), ("s2", "date2"))):  # fmt: skip
        if a not in ends or b not in ends:
            continue
        across = " across" if a[1] != b[1] else ""
        p, q = ends[a], ends[b]
        out.append(f"<path class='{kind}{across}' d='M{p.x:.1f} {p.y:.1f}L{q.x:.1f} {q.y:.1f}'/>")
        gap_s = pair[b[1]]["s1"].get("gap_s")
        if not across and pair["rank"] == 1 and gap_s is not None:
            out.append(f"<text class=gap x='{q.x + 10:.1f}' y='{q.y + 4:.1f}'>{gap_s / 86400:.1f} d</text>")
    return f"<g data-rank={int(pair['rank'])}>{''.join(out)}</g>"


def glyph(p: Placed, colours: Mapping[str, str]) -> str:
    """One mark: filled when chosen, a cross when refused, hollow when left over, an arrow head outside the window."""
    mark, x, y = p.mark, p.x, p.y
    colour = f" style='--c:{colours[mark.code]}'" if mark.code in colours else ""
    if mark.state == "chosen" and mark.sensor == "S2":
        shape = f"<circle cx='{x:.1f}' cy='{y:.1f}' r='6.5'/>"
    elif mark.state == "chosen":
        shape = f"<rect x='{x - 6:.1f}' y='{y - 6:.1f}' width='12' height='12' rx='1.5'/>"
    elif p.outside:
        way = -4 if (x % (PANEL + GUTTER)) < PANEL / 2 else 4
        shape = f"<path d='M{x - way:.1f} {y - 5:.1f}L{x + way:.1f} {y:.1f}L{x - way:.1f} {y + 5:.1f}z'/>"
    elif mark.state == "refused":
        shape = f"<path d='M{x - 4:.1f} {y - 4:.1f}l8 8m0-8l-8 8'/>"
    else:
        shape = f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4'/>"
    ring = f"<circle class=near cx='{x:.1f}' cy='{y:.1f}' r='10'/>" if mark.near else ""
    hit = f"<circle class=hit cx='{x:.1f}' cy='{y:.1f}' r='8'/>"
    kind = f"{mark.state} {mark.sensor.lower()}" + (" out" if p.outside else "")
    when = f"{mark.start:%Y-%m-%d %H:%M:%S} UTC"
    return (
        f"<g class='mark {kind.strip()}' data-m={p.number} data-id='{escape(mark.id, quote=True)}' "
        f"data-c='{escape(mark.code or mark.state, quote=True)}'{colour}>"
        f"<title>{escape(f'{when}. {mark.words}')}</title>{ring}{shape}{hit}</g>"
    )
