"""The search for leaks between training, validation and test sets: ways in which one set knows another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from utils.science.blocks import EDGE_M, SETS, Placed, distance_m, overlaps

_MAX_LEAKS = 50  # of one kind; one is enough to stop, the rest is noise


@dataclass(frozen=True)
class Leak:
    """One way in which a set knows another."""

    kind: Literal["same_tile", "near", "pixels", "overlap", "fit", "event"]
    sets: tuple[str, str]
    items: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Evidence:
    """What is known beside the samples: who was fitted on what, and what test is about.

    fits         name of a scaler or threshold -> digest of the sample list it was fitted on ("" = unknown)
    train_digest digest of the train list
    test_events  events that training must not have seen
    """

    fits: Mapping[str, str] = field(default_factory=dict)
    train_digest: str = ""
    test_events: frozenset[str] = frozenset()


def find_leaks(sets: Mapping[str, Sequence[Placed]], buffer_m: float, evidence: Evidence | None = None) -> list[Leak]:
    """Six tests: same tile in two sets; overlapping windows; footprints nearer than buffer_m; equal pixels; a scaler
    or threshold fitted on anything but train; a test event in train. An empty list means none was found."""
    known = evidence or Evidence()
    leaks: list[Leak] = []
    names = [name for name in SETS if sets.get(name)]
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            leaks += _same_tile(first, sets[first], second, sets[second])
            leaks += _spatial(first, sets[first], second, sets[second], buffer_m)
            leaks += _same_pixels(first, sets[first], second, sets[second])
    for name, digest in sorted(known.fits.items()):
        if digest != known.train_digest:
            leaks.append(Leak("fit", ("train", "test"), (name,), f"{name} was not fitted on this train set"))
    for sample in sets.get("train", ()):
        for event in sorted(sample.events & known.test_events):
            leaks.append(
                Leak("event", ("train", "test"), (sample.id,), f"train sample {sample.id} shows test event {event}")
            )
    return _few_of_each(leaks)


def _few_of_each(leaks: Iterable[Leak]) -> list[Leak]:
    counts: dict[str, int] = defaultdict(int)
    out = []
    for leak in leaks:
        counts[leak.kind] += 1
        if counts[leak.kind] <= _MAX_LEAKS:
            out.append(leak)
    return out


def _same_tile(first: str, a: Sequence[Placed], second: str, b: Sequence[Placed]) -> list[Leak]:
    keys = {sample.key: sample.id for sample in a}
    return [
        Leak("same_tile", (first, second), (keys[s.key], s.id), f"tile {'/'.join(s.key)} is in {first} and {second}")
        for s in b
        if s.key in keys
    ]


def _spatial(first: str, a: Sequence[Placed], second: str, b: Sequence[Placed], buffer_m: float) -> list[Leak]:
    leaks = []
    for frame in sorted({s.frame for s in a} & {s.frame for s in b}):
        ours, theirs = ({s.box: s for s in group if s.frame == frame} for group in (a, b))
        boxes = np.array(list(theirs))
        others = list(theirs.values())
        for box, sample in ours.items():
            row = np.array([box])
            overlap, gap = overlaps(row, boxes)[0], distance_m(row, boxes)[0]
            for index in np.flatnonzero(overlap | (gap < buffer_m - EDGE_M)):
                other, both = others[index], (first, second)
                if overlap[index]:
                    text = f"{sample.id} in {first} and {other.id} in {second} overlap"
                    leaks.append(Leak("overlap", both, (sample.id, other.id), text))
                else:
                    text = f"{sample.id} in {first} is {gap[index]:.0f} m from {other.id} in {second}; the buffer is {buffer_m:g} m"
                    leaks.append(Leak("near", both, (sample.id, other.id), text))
    return leaks


def _same_pixels(first: str, a: Sequence[Placed], second: str, b: Sequence[Placed]) -> list[Leak]:
    seen = {digest: sample.id for sample in a for digest in sample.digests}
    return [
        Leak(
            "pixels",
            (first, second),
            (seen[digest], s.id),
            f"{seen[digest]} in {first} and {s.id} in {second} hold the same pixels",
        )
        for s in b
        for digest in dict.fromkeys(s.digests)
        if digest in seen
    ]
