"""Samples of a data set as the tree models see them: days and scene facts of each pair, and drawn pixels."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.inputs import RawSample
from utils.science import res_features, strict_rows
from utils.science.res_features import Planes, SceneFacts, View
from utils.science.strict_rows import Pair, Rows

Matrix = NDArray[np.float64]

NEAR_M = 100_000.0
_FACT_TILES, _FACT_PIXELS = 64, 4096


class Data(Protocol):
    """A set of samples: its index (utils.io.samples.DatasetIndex) and a reader by id."""

    @property
    def index(self) -> Any: ...
    @property
    def read(self) -> Callable[[str], RawSample]: ...


def day_of(text: str) -> dt.date | None:
    """The day of a date of a pair, None where it is not ISO 8601."""
    try:
        return dt.date.fromisoformat(text[:10])
    except ValueError:
        return None


@dataclass(frozen=True)
class Ground:
    """Centre of a scene in its own coordinate system; epsg 0 = none."""

    site: str
    epsg: int
    x: float
    y: float

    def near(self, other: Ground) -> bool:
        """The same site, or not farther than 100 km in one projected system."""
        if self.site == other.site and self.epsg == other.epsg == 0:
            return True
        metres = self.epsg == other.epsg and self.epsg not in (0, 4326)
        close = bool(np.hypot(self.x - other.x, self.y - other.y) <= NEAR_M)
        return close if metres else self.site == other.site and self.epsg == other.epsg


@dataclass(frozen=True)
class Place:
    """What a whole scene tells every pixel of it: its facts, where it lies, the days of both optical images."""

    facts: SceneFacts
    ground: Ground
    day_t0: dt.date | None
    day_t1: dt.date | None


def ground_of(site: str, grid: Any) -> Ground:
    """Where a scene on a grid lies."""
    west, south, east, north = grid.bounds
    return Ground(site, int(grid.epsg or 0), (west + east) / 2, (south + north) / 2)


class Scenes:
    """Views of the samples of one set: days and scene facts of each pair, measured on up to 64 of its tiles."""

    def __init__(self, index: Any, read: Callable[[str], RawSample]) -> None:
        self.index, self.read = index, read
        self.bands = tuple(index.bands_optical)
        self._pair = {sample.id: sample.pair for sample in index.samples}
        self._facts: dict[str, SceneFacts] = {}

    def facts(self, pair: str) -> SceneFacts:
        """Facts of the scene of a pair, from pixels evenly spread over its tiles."""
        if pair not in self._facts:
            ids = sorted(name for name, owner in self._pair.items() if owner == pair)
            step = max(1, len(ids) // _FACT_TILES)
            parts = [self._pixels(self.read(name)) for name in ids[::step]]
            s1_t0, s1_t1, s2, seen = (np.concatenate([part[i] for part in parts]) for i in range(4))
            self._facts[pair] = res_features.facts_of(s1_t0, s1_t1, s2, self.bands, seen)
        return self._facts[pair]

    @staticmethod
    def _pixels(sample: RawSample) -> tuple[Any, ...]:
        seen = (sample.cloud_t0 == 0) & sample.window
        step = max(1, int(np.sqrt(seen.size / _FACT_PIXELS)))
        part = (slice(None, None, step), slice(None, None, step))
        planes = (sample.s1_t0, sample.s1_t1, sample.s2_t0)
        flat = [plane[part].reshape(-1, plane.shape[-1]) for plane in planes]
        return (*flat, seen[part].ravel())

    def view(self, sample_id: str, sample: RawSample) -> View:
        """What the trees may see of a sample."""
        pair = self.index.pairs[self._pair[sample_id]]
        return View(
            sample.s1_t0, sample.s1_t1, sample.s2_t0, self.bands, np.asarray(sample.cloud_t0 == 0),
            day_of(pair.t0), day_of(pair.t1), self.facts(pair.id),
        )  # fmt: skip

    def ground(self, pair: str) -> Ground:
        """Where the scene of a pair lies."""
        info = self.index.pairs[pair]
        return ground_of(str(info.site), info.grid)

    def place(self, pair: str) -> Place:
        """All that the scene of a pair tells its pixels."""
        info = self.index.pairs[pair]
        return Place(self.facts(pair), self.ground(pair), day_of(info.t0), day_of(info.t1))

    def dates(self, sample_id: str) -> Pair:
        """Days of t0 and t1 as text: what date groups are made of."""
        pair = self.index.pairs[self._pair[sample_id]]
        return str(pair.t0)[:10], str(pair.t1)[:10]

    def owner(self, sample_id: str) -> str:
        return str(self._pair[sample_id])


def draw_rows(scenes: Scenes, ids: Sequence[str], pixels: int, seed: int) -> Rows:
    """Pixels from every sample, the same number of each; `pair` of the rows counts samples."""
    names = strict_rows.all_names(scenes.bands, ("res", "season", "res_no_calendar", "means", "relative"))
    share = -(-pixels // len(ids))

    def read(key: Pair) -> tuple[Planes, Matrix, NDArray[np.bool_]]:
        sample = scenes.read(key[0])
        usable = (sample.cloud_t0 == 0) & (sample.cloud_t1 == 0) & sample.window
        change = sample.s2_t1.astype(np.float64) - sample.s2_t0
        return res_features.planes_of(scenes.view(key[0], sample)), change, np.asarray(usable)

    keys = [(name, scenes.dates(name)[1]) for name in ids]
    return strict_rows.draw(keys, lambda _: share, read, names, scenes.bands, seed)
