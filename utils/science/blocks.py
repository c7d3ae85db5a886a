"""Training, validation and test sets by place; leaks.py looks for what they know of one another.

Neighbouring tiles share fire, weather and scaler: a random split of tiles reports memory, not skill (Kattenborn et al.
2022). So whole blocks of tiles, halves of a small patch, or whole events go into one set, with a strip between sets.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from utils.science.grid import Grid, Window, parse_tile_id

SETS = ("train", "val", "test")
MIN_BLOCKS = 12  # below this, three sets of blocks with strips between them leave almost nothing
CHANGED_SHARE = 0.05  # border between the two strata
EDGE_M = 1e-3  # touching footprints of one grid differ by rounding only
MIN_EVENTS = 3
Box = tuple[float, float, float, float]
Place = tuple[str, ...]  # what goes into one set: (site, tile), or (event, site, tile)
EventBy = Literal["site", "t1"]


@dataclass(frozen=True)
class Placed:
    """A sample with its place.

    frame    coordinate frame in which boxes can be compared: the EPSG code, or the site where there is none
    box      west, south, east, north of the footprint, m
    changed  share of changed pixels, None = unknown
    digests  hashes of its images (empty = not computed)
    events   names of what it shows, such as the fire or the date t1
    train_only  partly cloudy: further training, but nothing to judge by
    """

    id: str
    site: str
    pair: str
    tile: str
    date: str
    frame: str
    box: Box
    changed: float | None = None
    digests: tuple[str, ...] = ()
    events: frozenset[str] = frozenset()
    train_only: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """Scene, tile, date: compared as a whole, so that tile 1 is never taken for 13 or 139."""
        return self.site, self.tile, self.date


@dataclass(frozen=True)
class Split:
    """Sample ids of each set, sorted; dropped ones with the reason; what was done in words; events only test may see."""

    method: str
    sets: Mapping[str, tuple[str, ...]]
    dropped: tuple[tuple[str, str], ...]
    note: str
    test_events: frozenset[str] = frozenset()


def block_id(tile: str, block_tiles: int) -> str:
    """Block that a tile belongs to: b003_004."""
    row, col = parse_tile_id(tile)
    return f"b{row // block_tiles:03d}_{col // block_tiles:03d}"


def footprint_m(grid: Grid, window: Window) -> Box:
    """West, south, east, north of a window in metres.

    Geographic grids are scaled with the radii of curvature of WGS84 at the middle of the grid (error below 1e-3 of a
    distance over 20 km); differences between boxes are then metres, the values themselves mean nothing.
    """
    west, south, east, north = grid.window(window).bounds
    if not grid.is_geographic:
        return west, south, east, north
    latitude = math.radians((grid.bounds[1] + grid.bounds[3]) / 2)
    e2, sin2 = 6.69437999014e-3, math.sin(latitude) ** 2
    normal = 6378137.0 / math.sqrt(1 - e2 * sin2)
    meridian = normal * (1 - e2) / (1 - e2 * sin2)
    x, y = math.radians(1) * normal * math.cos(latitude), math.radians(1) * meridian
    return west * x, south * y, east * x, north * y


def distance_m(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, m) distances between boxes (n, 4) and (m, 4); 0 where they touch or overlap."""
    a, b = first[:, None, :], second[None, :, :]
    dx = np.maximum(np.maximum(a[..., 0] - b[..., 2], b[..., 0] - a[..., 2]), 0.0)
    dy = np.maximum(np.maximum(a[..., 1] - b[..., 3], b[..., 1] - a[..., 3]), 0.0)
    return np.asarray(np.hypot(dx, dy))


def split_samples(
    samples: Sequence[Placed],
    method: Literal["blocks", "halves", "event"],
    shares: Sequence[float],
    seed: int,
    buffer_m: float,
    block_tiles: int,
    holdout_dates: Sequence[str] = (),
    event_by: EventBy = "site",
) -> Split:
    """Deal samples into train, val and test so that no place is in two sets and places of two sets are buffer_m apart.

    blocks   of block_tiles x block_tiles tiles, ranked by a seeded hash, dealt by shares within two strata (more and
             less than 5 % changed pixels); with fewer than 12 blocks, halves instead
    halves   of each site along its longer side: first half train, other half test, its first rows val
    event    whole sites (fires, scenes) or whole dates t1, at least three, dealt like blocks
    holdout  date ids of t1 that only test may see; test then holds no other
    raises   ValueError when shares do not add up to 1, or train or test would be empty
    """
    if len(shares) != len(SETS) or abs(sum(shares) - 1) > 1e-6 or min(shares) < 0:
        raise ValueError(f"shares {tuple(shares)} are not three parts of 1")
    if method == "event":
        return _split_events(samples, shares, seed, buffer_m, frozenset(holdout_dates), event_by)
    places: dict[Place, Placed] = {(s.site, s.tile): s for s in samples}
    blocks = {(site, block_id(tile, block_tiles)) for site, tile in places}
    note = f"{len(blocks)} blocks of {block_tiles} x {block_tiles} tiles"
    if method == "blocks" and len(blocks) >= MIN_BLOCKS:
        home = _deal_blocks(samples, shares, seed, block_tiles)
        chosen: dict[Place, str] = {place: home[place[0], block_id(place[1], block_tiles)] for place in places}
        reasons: dict[Place, str] = {}
    else:
        why = "" if method == "halves" else f"only {note}, fewer than {MIN_BLOCKS}: "
        method, note = "halves", f"{why}halves with a guard strip of {buffer_m:g} m"
        chosen, reasons = _deal_halves(places, shares, buffer_m)
    _part(chosen, reasons, places, buffer_m)
    homes: dict[str, tuple[Place, Placed]] = {s.id: ((s.site, s.tile), s) for s in samples}
    return _collect(homes, chosen, reasons, method, note, frozenset(holdout_dates))


def _part(chosen: dict[Place, str], reasons: dict[Place, str], places: Mapping[Place, Placed], buffer_m: float) -> None:
    """Take out what is too near another set, with the reason."""
    for place in _too_near(chosen, places, buffer_m):
        reasons[place] = f"{chosen.pop(place)} tile closer than {buffer_m:g} m to another set"


def event_of(sample: Placed, event_by: EventBy) -> str:
    """Name of the event of a sample, as in Placed.events."""
    return f"site:{sample.site}" if event_by == "site" else f"t1:{sample.date}"


def _split_events(
    samples: Sequence[Placed],
    shares: Sequence[float],
    seed: int,
    buffer_m: float,
    holdout: frozenset[str],
    event_by: EventBy,
) -> Split:
    changed: dict[Place, list[float]] = defaultdict(list)
    for sample in samples:
        changed[("event", event_of(sample, event_by))] += [] if sample.changed is None else [sample.changed]
    if len(changed) < MIN_EVENTS:
        raise ValueError(
            f"method event needs at least {MIN_EVENTS} events, by {event_by} there are {len(changed)}: "
            f"{', '.join(sorted(event for _, event in changed))}"
        )
    home = _deal(changed, shares, seed)
    homes: dict[str, tuple[Place, Placed]] = {s.id: ((event_of(s, event_by), s.site, s.tile), s) for s in samples}
    places: dict[Place, Placed] = dict(homes.values())
    chosen: dict[Place, str] = {place: home["event", place[0]] for place in places}
    reasons: dict[Place, str] = {}
    _part(chosen, reasons, places, buffer_m)
    note = f"{len(changed)} events by {event_by}; no ground is in two sets"
    test = frozenset(event for (_, event), name in home.items() if name == "test")
    return _collect(homes, chosen, reasons, "event", note, holdout, test)


def _rank(seed: int, site: str, block: str) -> str:
    return hashlib.sha256(f"{seed}:{site}:{block}".encode()).hexdigest()


def _deal_blocks(samples: Sequence[Placed], shares: Sequence[float], seed: int, block_tiles: int) -> dict[Place, str]:
    """(site, block) -> set."""
    changed: dict[Place, list[float]] = defaultdict(list)
    for sample in samples:
        block = (sample.site, block_id(sample.tile, block_tiles))
        changed[block] += [] if sample.changed is None else [sample.changed]
    return _deal(changed, shares, seed)


def _deal(changed: Mapping[Place, Sequence[float]], shares: Sequence[float], seed: int) -> dict[Place, str]:
    """Unit -> set, for units with the changed shares of their samples. Each next unit of a stratum goes to the set that
    is furthest below its share."""
    means = {unit: float(np.mean(values)) if values else 0.0 for unit, values in changed.items()}
    order = sorted(means, key=lambda unit: (means[unit] < CHANGED_SHARE, _rank(seed, *unit)))
    counts, home = dict.fromkeys(SETS, 0), {}
    for number, unit in enumerate(order, start=1):
        name = max(SETS, key=lambda s: shares[SETS.index(s)] * number - counts[s])
        counts[name] += 1
        home[unit] = name
    for name, share in zip(SETS, shares, strict=True):
        if share > 0 and counts[name] == 0:  # too few units for a small share: it still gets one
            unit = next(unit for unit in reversed(order) if home[unit] == "train")
            home[unit] = name
    return home


def _deal_halves(
    places: Mapping[Place, Placed], shares: Sequence[float], buffer_m: float
) -> tuple[dict[Place, str], dict[Place, str]]:
    """Place -> set, and reasons for the places of the guard strips; every site by itself."""
    chosen: dict[Place, str] = {}
    reasons: dict[Place, str] = {}
    for site in sorted({place[0] for place in places}):
        mine = [place for place in sorted(places) if place[0] == site]
        boxes = np.array([places[place].box for place in mine])
        west, south, east, north = boxes[:, 0].min(), boxes[:, 1].min(), boxes[:, 2].max(), boxes[:, 3].max()
        by_columns = east - west >= north - south - EDGE_M
        along = np.stack([boxes[:, 0] - west, boxes[:, 2] - west], axis=1)  # low and high edge, from the left
        across = np.stack([north - boxes[:, 3], north - boxes[:, 1]], axis=1)  # and from the top
        if not by_columns:
            along, across = across, along
        train = along[:, 1] <= along[:, 1].max() / 2 + EDGE_M
        border = along[train, 1].max() if train.any() else 0.0
        rest = along[:, 0] >= border + buffer_m - EDGE_M
        val = rest & _first_rows(across, rest, shares)
        test_from = across[val, 1].max() + buffer_m if val.any() else -math.inf
        test = rest & ~val & (across[:, 0] >= test_from - EDGE_M)
        for index, place in enumerate(mine):
            name = "train" if train[index] else "val" if val[index] else "test" if test[index] else None
            if name:
                chosen[place] = name
            else:
                reasons[place] = "guard strip between the sets"
    return chosen, reasons


def _first_rows(across: NDArray[np.float64], rest: NDArray[np.bool_], shares: Sequence[float]) -> NDArray[np.bool_]:
    """The rows of the second half that become validation: its share, at least one row of at least four."""
    nothing = np.zeros(len(across), dtype=bool)
    rows = np.unique(np.round(across[rest, 1], 3))
    if shares[1] <= 0 or len(rows) < 4:
        return nothing
    wanted = rows[-1] * shares[1] / (shares[1] + shares[2])
    return np.asarray(across[:, 1] <= max(wanted, rows[0]) + EDGE_M)


def _too_near(chosen: Mapping[Place, str], places: Mapping[Place, Placed], buffer_m: float) -> list[Place]:
    """Places to drop so that sets are apart: train gives way to val and test, val to test, since train is largest."""
    dropped: set[Place] = set()
    for weaker, stronger in (("train", ("val", "test")), ("val", ("test",))):
        for frame in {places[place].frame for place in chosen}:
            here = [p for p in sorted(chosen) if places[p].frame == frame and p not in dropped]
            give = [p for p in here if chosen[p] == weaker]
            keep = [p for p in here if chosen[p] in stronger]
            if give and keep:
                fixed = np.array([places[p].box for p in keep])
                for place in give:
                    gap = distance_m(np.array([places[place].box]), fixed).min()
                    if gap < buffer_m - EDGE_M or (
                        buffer_m == 0 and overlaps(np.array([places[place].box]), fixed).any()
                    ):
                        dropped.add(place)
    return sorted(dropped)


def _collect(
    homes: Mapping[str, tuple[Place, Placed]],
    chosen: Mapping[Place, str],
    reasons: Mapping[Place, str],
    method: str,
    note: str,
    holdout: frozenset[str],
    test_events: frozenset[str] = frozenset(),
) -> Split:
    """homes: sample id -> its place and itself."""
    sets: dict[str, list[str]] = {name: [] for name in SETS}
    dropped: list[tuple[str, str]] = []
    for sample_id, (place, sample) in homes.items():
        name = chosen.get(place)
        if name is None:
            dropped.append((sample_id, reasons[place]))
        elif holdout and (sample.date in holdout) != (name == "test"):
            seen = "t1 is held out for test" if name != "test" else "t1 is not held out: training sees that date"
            dropped.append((sample_id, seen))
        elif sample.train_only and name != "train":
            dropped.append((sample_id, f"partly cloudy input: trains only, not for {name}"))
        else:
            sets[name].append(sample_id)
    empty = [name for name in ("train", "test") if not sets[name]]
    if empty:
        raise ValueError(f"{' and '.join(empty)} would be empty ({note}; {len(homes)} samples, {len(dropped)} dropped)")
    if not sets["val"]:
        note += "; no room for validation"
    ids = {name: tuple(sorted(group)) for name, group in sets.items()}
    return Split(method, ids, tuple(sorted(dropped)), note, test_events | {f"t1:{date}" for date in holdout})


def overlaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n, m) True where boxes share an area."""
    a, b = first[:, None, :], second[None, :, :]
    wide = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0]) > EDGE_M
    high = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1]) > EDGE_M
    return np.asarray(wide & high)
