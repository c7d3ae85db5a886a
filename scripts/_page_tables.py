"""Words and marks that the tables of report.html share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scripts._context import Context

Table = dict[str, Any]
SMALLER = ("MAE", "RMSE", "SAM deg")


def synthetic(ctx: Context) -> str:
    """Said in every heading of a page on generated data."""
    return " (synthetic)" if ctx.conf.report.synthetic else ""


def against(truth: str) -> str:
    """What a table was judged against."""
    return "the hidden clear t1, pixels under cloud too" if truth == "hidden" else "clear pixels of the observed t1"


def count(number: int, word: str) -> str:
    """1 block, 2 blocks."""
    return f"{number} {word}{'s' * (number != 1)}"


def leading(cell: str) -> float | None:
    """The number that a cell starts with; None for a dash."""
    return None if cell in ("-", "") else float(cell.split(maxsplit=1)[0])


def best_cells(rows: Sequence[Sequence[str]], head: Sequence[str]) -> list[tuple[int, int]]:
    """The best cell of each column: smallest error, bias next to 0, slope next to 1, else the largest; none where all are equal."""
    cells = []
    for column, title in enumerate(head[1:], start=1):
        found = {i: value for i, row in enumerate(rows) if (value := leading(row[column])) is not None}
        if title in SMALLER:
            found = {i: -value for i, value in found.items()}
        elif "bias" in title or "slope" in title:
            found = {i: -abs(value - ("slope" in title)) for i, value in found.items()}
        if len(set(found.values())) > 1 and title != "off by one":
            target = max(found.values())
            cells += [(i, column) for i, value in found.items() if value == target]
    return cells


def span(figures: Mapping[str, Any], name: str, digits: int) -> str:
    """value [low, high] of a figure and its interval; a dash where it is undefined."""
    value, interval = figures.get(name), (figures.get("interval") or {}).get(name)
    if value is None:
        return "-"
    text = f"{float(value):.{digits}f}"
    if isinstance(interval, list | tuple) and len(interval) == 2 and None not in interval:
        text += f" [{float(interval[0]):.{digits}f}, {float(interval[1]):.{digits}f}]"
    return text
