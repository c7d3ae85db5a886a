"""The strict split: unseen ground AND unseen season, both ways, so that a score tells skill and not memory.

One half of a place trains and the other tests, then the reverse, with an empty strip between them. The dates that
test are dealt into groups that lie together in time; a fold tests on the pairs whose t1 is in one group, and no
training pair holds a date (t0 or t1) within `guard_days` of any t1 that tests.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Side = Literal["left", "right"]


@dataclass(frozen=True)
class Dated:
    """One date of one place. clear = seen well enough over the whole scene to be scored; others may only train."""

    id: str
    site: str
    day: dt.date
    clear: bool = True


@dataclass(frozen=True)
class Fold:
    """One training and its test. Pairs are (id of t0, id of t1).

    side         the half that tests; the other one trains
    group        ids of the test dates t1
    train_area   (H, W) pixels that training may learn from, further cut by the clear masks of both dates of a pair
    test_area    (H, W) pixels that score, likewise
    """

    name: str
    site: str
    side: Side
    group: tuple[str, ...]
    train_pairs: tuple[tuple[str, str], ...]
    test_pairs: tuple[tuple[str, str], ...]
    train_area: Mask
    test_area: Mask


def halves(shape: tuple[int, int], guard_px: int) -> tuple[Mask, Mask]:
    """Left and right part (H, W) of a scene without the guard_px columns in the middle.

    raises  ValueError when the strip leaves nothing
    """
    middle, before = shape[1] // 2, guard_px // 2
    first, second = middle - before, middle - before + guard_px
    if guard_px < 0 or first <= 0 or second >= shape[1]:
        raise ValueError(f"a guard strip of {guard_px} px leaves nothing of {shape[1]} columns")
    columns = np.broadcast_to(np.arange(shape[1]), shape)
    return columns < first, columns >= second


def date_groups(days: Iterable[dt.date], guard_days: int) -> list[tuple[dt.date, ...]]:
    """Days dealt into groups in order of time; no group spans more than guard_days."""
    groups: list[list[dt.date]] = []
    for day in sorted(set(days)):
        if groups and (day - groups[-1][0]).days <= guard_days:
            groups[-1].append(day)
        else:
            groups.append([day])
    return [tuple(group) for group in groups]


def pairs_of(first: Sequence[Dated], second: Sequence[Dated], min_gap_days: float) -> tuple[tuple[Dated, Dated], ...]:
    """All (t0, t1) of one site, in either order of time, at least min_gap_days (and one day) apart."""
    found = [
        (a, b)
        for a in sorted(first, key=lambda d: (d.day, d.id))
        for b in sorted(second, key=lambda d: (d.day, d.id))
        if a.site == b.site and abs((b.day - a.day).days) >= max(min_gap_days, 1)
    ]
    return tuple(found)


def distant(dates: Iterable[Dated], tested: Iterable[dt.date], guard_days: int) -> list[Dated]:
    """Dates further than guard_days from every tested day."""
    away = list(tested)
    return [date for date in dates if all(abs((date.day - day).days) > guard_days for day in away)]


def folds(
    dates: Sequence[Dated], shape: tuple[int, int], *, guard_px: int, guard_days: int = 15, min_gap_days: float = 0.0
) -> list[Fold]:
    """All folds of one place: every group of clear dates in turn, on either half.

    dates         of one site; those not clear train only
    shape         (H, W) of the scene
    guard_px      width of the empty strip between the halves
    guard_days    training dates this near to a test t1 are dropped; a group of test dates spans at most this
    min_gap_days  distance of the two dates of a pair, for training and test alike
    raises        ValueError for dates of two sites, equal ids, or a fold without training pairs
    """
    if len({date.site for date in dates}) != 1 or len({date.id for date in dates}) != len(dates):
        raise ValueError("the folds of one place need dates of one site with ids of their own")
    left, right = halves(shape, guard_px)
    clear = [date for date in dates if date.clear]
    out = []
    sides: tuple[tuple[Side, Mask, Mask], ...] = (("right", left, right), ("left", right, left))
    for number, group in enumerate(date_groups((date.day for date in clear), guard_days), start=1):
        tests = pairs_of(clear, [date for date in clear if date.day in group], min_gap_days)
        tested = sorted({b.day for _, b in tests})
        kept = distant(dates, tested, guard_days)
        trains = pairs_of(kept, kept, min_gap_days)
        if not tests:
            continue
        if not trains:
            raise ValueError(f"group {number} of {dates[0].site}: no training pair is left")
        for side, train_area, test_area in sides:
            out.append(
                Fold(
                    f"{dates[0].site}-g{number}-{side}", dates[0].site, side,
                    tuple(sorted({b.id for _, b in tests})),
                    tuple((a.id, b.id) for a, b in trains), tuple((a.id, b.id) for a, b in tests),
                    train_area, test_area,
                )
            )  # fmt: skip
    return out


def find_leaks(fold: Fold, dates: Sequence[Dated], *, guard_px: int, guard_days: int) -> list[str]:
    """Ways in which the training of a fold knows its test; an empty list means none was found.

    Looks at the fold as it is, not at how it was made: shared pixels, pixels nearer than the strip, a date of a
    training pair that tests or lies within guard_days of one, a tested pair that is no clear one.
    """
    known = {date.id: date for date in dates}
    leaks = []
    if (fold.train_area & fold.test_area).any():
        leaks.append("a pixel trains and tests")
    train_columns, test_columns = (np.flatnonzero(area.any(axis=0)) for area in (fold.train_area, fold.test_area))
    nearest = np.abs(train_columns[:, None] - test_columns[None, :]).min() - 1
    if nearest < guard_px:
        leaks.append(f"training and test are {nearest} px apart; the strip is {guard_px} px")
    for t1 in sorted({pair[1] for pair in fold.test_pairs}):
        for date in sorted({date for pair in fold.train_pairs for date in pair}):
            days = abs((known[date].day - known[t1].day).days)
            if days <= guard_days:
                leaks.append(f"training date {date} is {days} days from test date {t1}")
    leaks += [f"test pair {a} {b} is not clear" for a, b in fold.test_pairs if not (known[a].clear and known[b].clear)]
    return leaks
