"""Pairs of dates joined to chains of n dates: t0 .. t(n-1), the last one being the date to simulate."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """One pair of the pair list: its id, its place, and its two date ids."""

    id: str
    site: str
    first: str
    second: str


@dataclass(frozen=True)
class Chain:
    """One sequence of dates. id is that of its pair, or those of its pairs joined by `+`."""

    id: str
    site: str
    dates: tuple[str, ...]


def join(links: Sequence[Link], n_dates: int, moment: Mapping[str, Hashable]) -> list[Chain]:
    """All chains of n_dates dates of one site in which every two neighbours are a pair.

    links    in the order of the pair list, which the chains keep; with two dates every pair is a chain
    moment   date id -> something that sorts by time; longer chains run one way in it, all forward or all back, so that
             the date before the last is the newest that a forward chain knows
    raises   ValueError when n_dates is below 2
    """
    if n_dates < 2:
        raise ValueError(f"a sample has at least 2 dates, not {n_dates}")
    onward: dict[tuple[str, str], list[Link]] = {}
    for link in links:
        onward.setdefault((link.site, link.first), []).append(link)
    chains = []
    for link in links:
        ways = [[link]]
        for _ in range(n_dates - 2):
            ways = [
                [*way, follower]
                for way in ways
                for follower in onward.get((link.site, way[-1].second), ())
                if _same_way(way[-1], follower, moment)
            ]
        chains += [_chain(way) for way in ways]
    return chains


def _chain(way: Sequence[Link]) -> Chain:
    return Chain("+".join(link.id for link in way), way[0].site, (way[0].first, *(link.second for link in way)))


def _same_way(link: Link, follower: Link, moment: Mapping[str, Hashable]) -> bool:
    one, two, three = (moment[name] for name in (link.first, link.second, follower.second))
    return bool(one < two < three or one > two > three)  # type: ignore[operator]
