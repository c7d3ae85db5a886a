"""All usable dates of one place in memory, for experiments over many pairs of dates (small places only)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.io.importer import DatedSet, Rules, clear_share, load_s1, load_s2, site_grid
from utils.science.reflectance import grown
from utils.science.strict import Dated
from utils.workflow.errors import NothingFoundError

F32 = NDArray[np.float32]
BLUE = "B02"


@dataclass(frozen=True)
class Selection:
    """Which dates of a place take part.

    clear        share of sure pixels, by the cloud band alone, from which a date may be tested
    partly       clear share under the grown cloud mask above which other dates may train; 1 = none do
    max_blue     largest mean of B02 over their seen pixels: haze that the scene classes miss is brighter
    dilate_px    radius by which cloud and shadow grow, for all dates
    """

    clear: float = 0.97
    partly: float = 0.6
    max_blue: float = 0.10
    dilate_px: int = 6


@dataclass(frozen=True)
class Scene:
    """One date: s1 (H, W, 2) linear power, s2 (H, W, n) reflectance, seen (H, W) clear and with data."""

    dated: Dated
    s1: F32
    s2: F32
    seen: NDArray[np.bool_]


@dataclass(frozen=True)
class Place:
    """A place with its dates in order of time."""

    name: str
    bands: tuple[str, ...]
    scenes: tuple[Scene, ...]

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self.scenes[0].seen.shape
        return rows, cols

    @property
    def dates(self) -> list[Dated]:
        return [scene.dated for scene in self.scenes]

    def scene(self, date_id: str) -> Scene:
        return next(scene for scene in self.scenes if scene.dated.id == date_id)


def load_place(sets: Sequence[DatedSet], bands: tuple[str, ...], rules: Rules, selection: Selection) -> Place:
    """Read all dates of one site that a selection takes.

    raises  NothingFoundError when fewer than two clear dates are left, InputError for unreadable files
    """
    grid = site_grid(sets, bands[0], rules)
    scenes = []
    for dated in sorted(sets, key=lambda d: (d.day, d.id)):
        if dated.s2 is None:
            continue
        sure = clear_share(dated.s2, rules) >= selection.clear
        optical, codes = load_s2(dated.s2, bands, grid, rules)
        s2 = np.stack([optical[band] for band in bands], axis=-1)
        seen = ~grown(codes != 0, selection.dilate_px) & np.isfinite(s2).all(axis=-1)
        blue = float(s2[..., bands.index(BLUE)][seen].mean()) if seen.any() and BLUE in bands else 0.0
        if not sure and not (seen.mean() > selection.partly and blue < selection.max_blue):
            continue
        radar = load_s1(dated.s1, grid, rules)
        day = dt.datetime.fromisoformat(dated.s2.start).date()
        s1 = np.stack([radar["VV"], radar["VH"]], axis=-1)
        scenes.append(Scene(Dated(dated.id, dated.site, day, sure), s1, s2, seen))
    if sum(scene.dated.clear for scene in scenes) < 2:
        raise NothingFoundError(
            f"{sets[0].site}: fewer than two dates are clear to {selection.clear:g}.", "Lower strict.min_clear."
        )
    return Place(sets[0].site, bands, tuple(scenes))
