"""Pairs joined to sequences of dates."""

import itertools

import pytest

from utils.science.chains import Chain, Link, join

DAYS = {"a": 1, "b": 2, "c": 3, "d": 4}


def all_pairs(names, site="s", both=False):
    ordered = [(x, y) for x, y in itertools.permutations(names, 2) if both or DAYS[x] < DAYS[y]]
    return [Link(f"{x}{y}", site, x, y) for x, y in ordered]


def test_two_dates_are_the_pairs_themselves():
    links = all_pairs("bca", both=True)
    assert join(links, 2, DAYS) == [Chain(link.id, "s", (link.first, link.second)) for link in links]


def test_three_and_four_dates_by_hand():
    assert [c.dates for c in join(all_pairs("abcd"), 3, DAYS)] == [
        ("a", "b", "c"), ("a", "b", "d"), ("a", "c", "d"), ("b", "c", "d"),
    ]  # fmt: skip
    (four,) = join(all_pairs("abcd"), 4, DAYS)
    assert four == Chain("ab+bc+cd", "s", ("a", "b", "c", "d"))
    assert join(all_pairs("ab"), 3, DAYS) == []


def test_chains_run_one_way_and_stay_at_their_place():
    forth_and_back = {c.dates for c in join(all_pairs("abc", both=True), 3, DAYS)}
    assert forth_and_back == {("a", "b", "c"), ("c", "b", "a")}  # never a, c, b nor a, b, a
    two = [Link("1", "s", "a", "b"), Link("2", "t", "b", "c")]
    assert join(two, 3, DAYS) == []
    gap = [Link("1", "s", "a", "b"), Link("2", "s", "b", "d")]  # c is no pair with b: not in any chain
    assert [c.dates for c in join(gap, 3, DAYS)] == [("a", "b", "d")]
    with pytest.raises(ValueError, match="at least 2"):
        join(two, 1, DAYS)


def test_every_chain_is_made_of_pairs_for_random_lists():
    import random

    rng = random.Random(5)
    names = [f"d{i}" for i in range(7)]
    moment = {name: rng.random() for name in names}
    for _ in range(50):
        chosen = rng.sample(list(itertools.permutations(names, 2)), 18)
        links = [Link(f"{x}-{y}", "s", x, y) for x, y in chosen]
        expected = set()
        for dates in itertools.permutations(names, 4):
            steps = list(itertools.pairwise(dates))
            signs = {moment[x] < moment[y] for x, y in steps}
            if set(steps) <= set(chosen) and len(signs) == 1:
                expected.add(dates)
        assert {c.dates for c in join(links, 4, moment)} == expected
