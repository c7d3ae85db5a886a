"""A small chart of figures with their intervals, as inline SVG in the colours of the page, light, dark and on paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from utils.io.maps import steps

WIDTH, LEFT, RIGHT, ROW, TOP = 420, 130, 14, 24, 8  # units of the view box


@dataclass(frozen=True)
class Mark:
    """One row: name, value and interval; is_run = one of the models that are judged, drawn in the first colour."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    is_run: bool = False


def span(marks: Sequence[Mark], floor: float | None = None) -> tuple[float, float]:
    """Ends of the axis: all values, intervals and zero, a little wider; never below floor."""
    known = [v for m in marks for v in (m.value, m.low, m.high) if v is not None and math.isfinite(v)]
    low, high = min([0.0, *known]), max([0.0, *known])
    if floor is not None:
        low = max(low, floor)
    pad = 0.04 * ((high - low) or 1.0)
    return low - pad, high + pad


def _x(value: float, ends: tuple[float, float]) -> float:
    low, high = ends
    share = (min(max(value, low), high) - low) / (high - low)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _row(mark: Mark, ends: tuple[float, float], y: float, digits: int) -> str:
    parts = [f"<text x={LEFT - 8} y={y + 4:.1f} text-anchor=end>{escape(mark.name)}</text>"]
    said = f"{mark.name} {mark.value:.{digits}f}"
    if mark.low is not None and mark.high is not None:
        parts.append(
            f"<line class=ci x1={_x(mark.low, ends):.1f} x2={_x(mark.high, ends):.1f} y1={y:.1f} y2={y:.1f} />"
        )
        said += f", 95 % {mark.low:.{digits}f} to {mark.high:.{digits}f}"
    x = _x(mark.value, ends)
    if mark.value < ends[0]:  # beyond the axis: an arrow instead of a dot
        parts.append(f"<path class=dot d='M{x:.1f} {y:.1f}l9 -5v10z'/><text class=small x={x + 13:.1f} y={y + 4:.1f}>")
        parts.append(f"{mark.value:.{digits}f}</text>")
    else:
        parts.append(f"<circle class=dot cx={x:.1f} cy={y:.1f} r=4.5 />")
    return f"<g{' class=run' if mark.is_run else ''}><title>{escape(said)}</title>{''.join(parts)}</g>"


def intervals(title: str, marks: Sequence[Mark], *, digits: int = 2, floor: float | None = None) -> str:
    """A figure: one row a mark, a dot at the value, a line over the interval, a dashed line at zero.

    floor    values below it become an arrow at the left edge with their figure
    returns  HTML; empty without a mark
    """
    if not marks:
        return ""
    ends = span(marks, floor)
    height = TOP + ROW * len(marks) + 26
    bottom = height - 22
    ticks = "".join(
        f"<line class=ax x1={_x(v, ends):.1f} x2={_x(v, ends):.1f} y1={TOP} y2={bottom} />"
        f"<text class=small x={_x(v, ends):.1f} y={height - 6} text-anchor=middle>{v:g}</text>"
        for v in steps(*ends, 5)
    )
    zero = f"<line class=zero x1={_x(0, ends):.1f} x2={_x(0, ends):.1f} y1={TOP} y2={bottom} />"
    rows = "".join(_row(mark, ends, TOP + ROW * (i + 0.5), digits) for i, mark in enumerate(marks))
    said = escape(f"{title}: " + "; ".join(f"{m.name} {m.value:.{digits}f}" for m in marks), quote=True)
    drawing = f"<svg viewBox='0 0 {WIDTH} {height}' role=img aria-label='{said}'><g>{ticks}{zero}{rows}</g></svg>"
    return f"<figure><figcaption>{escape(title)}</figcaption>{drawing}</figure>"
