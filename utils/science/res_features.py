"""Features of the tree models: what a pixel of t0, the radar of both dates, the scene and the calendar tell of t1.

All that a set of features needs is listed by name, so that a saved model says what it reads. Radar is smoothed by a
guided filter whose guide is S2(t0) with NDVI: speckle goes, field borders stay.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from utils.science import indices
from utils.science.guided import GuidedFilter, box_sums, standardised

Image = NDArray[np.floating]
Matrix = NDArray[np.float64]
F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Planes = dict[str, Matrix | float]

RADII_PX, EPS = (4, 12), (0.05, 0.02)
POLARISATIONS = ("VV", "VH")
DAYS_A_YEAR = 365.25


@dataclass(frozen=True)
class SceneFacts:
    """Statistics of a whole scene at one pair of dates; a tile takes those of its scene.

    ds1_median, ds1_spread  VV, VH of S1(t1) - S1(t0), dB; spread = half the distance of the 16 and 84 % quantiles
    s1_t1_median            VV, VH, dB
    guide_mean, guide_std   of the optical bands at t0 and, last, NDVI
    """

    ds1_median: tuple[float, ...]
    ds1_spread: tuple[float, ...]
    s1_t1_median: tuple[float, ...]
    guide_mean: tuple[float, ...]
    guide_std: tuple[float, ...]


@dataclass(frozen=True)
class View:
    """What a model may see of a pair of dates.

    s1_t0, s1_t1    (H, W, 2) VV, VH in linear power; NaN or <= 0 = no signal
    s2_t0           (H, W, n) reflectance, NaN = nodata; bands names them
    clear_t0        (H, W) surface in sight at t0; None = wherever s2_t0 has data
    day_t0, day_t1  of the optical images; None = unknown
    facts           of the scene that this is a tile of; None = this is the scene
    """

    s1_t0: Image
    s1_t1: Image
    s2_t0: Image
    bands: tuple[str, ...]
    clear_t0: Mask | None = None
    day_t0: dt.date | None = None
    day_t1: dt.date | None = None
    facts: SceneFacts | None = None

    @property
    def seen_t0(self) -> Mask:
        """(H, W) optical data without cloud at t0."""
        finite = np.isfinite(self.s2_t0).all(axis=-1)
        return np.asarray(finite if self.clear_t0 is None else finite & self.clear_t0)

    def frozen(self) -> View:
        """The same with S1(t1) := S1(t0): what is left of a skill then does not come from the radar."""
        return replace(self, s1_t1=self.s1_t0, facts=None if self.facts is None else frozen_facts(self.facts))


def frozen_facts(facts: SceneFacts) -> SceneFacts:
    """Facts of a scene whose radar did not change: S1(t1) has the median of S1(t0), as far as medians subtract."""
    before = tuple(t1 - d for t1, d in zip(facts.s1_t1_median, facts.ds1_median, strict=True))
    return replace(facts, ds1_median=(0.0, 0.0), ds1_spread=(0.0, 0.0), s1_t1_median=before)


def to_db(power: Image) -> Matrix:
    """10 log10 of power; NaN where it is not positive."""
    values = np.asarray(power, dtype=np.float64)
    positive = values > 0
    return np.where(positive, 10.0 * np.log10(np.where(positive, values, 1.0)), np.nan)


def ndvi(s2: Image, bands: tuple[str, ...]) -> Matrix:
    """(...) NDVI of reflectance (..., n); NaN without B04 and B08."""
    if not {"B04", "B08"} <= set(bands):
        return np.full(s2.shape[:-1], np.nan)
    return indices.ndvi({name: s2[..., bands.index(name)] for name in ("B04", "B08")})


def guide_of(s2: Image, bands: tuple[str, ...]) -> Matrix:
    """(..., n + 1) bands and NDVI."""
    return np.concatenate([np.asarray(s2, dtype=np.float64), ndvi(s2, bands)[..., None]], axis=-1)


def _quantiles(values: Matrix) -> tuple[Matrix, Matrix]:
    """Median and spread of the columns; NaN where a column has no value."""
    if not len(values):
        return np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    low, middle, high = np.nanpercentile(values, [15.87, 50.0, 84.13], axis=0)
    return middle, (high - low) / 2


def facts_of(s1_t0: Image, s1_t1: Image, s2_t0: Image, bands: tuple[str, ...], seen: Mask) -> SceneFacts:
    """Facts from pixels in any arrangement: S1 (..., 2) linear power, S2 (..., n), seen (...)."""
    first, second = to_db(s1_t0), to_db(s1_t1)
    both = np.isfinite(first).all(axis=-1) & np.isfinite(second).all(axis=-1)
    median, spread = _quantiles((second - first)[both])
    level, _ = _quantiles(second[both])
    guide = guide_of(s2_t0, bands)
    guide = guide[seen & np.isfinite(s2_t0).all(axis=-1)]
    enough = len(guide) > 0
    mean = np.nanmean(guide, axis=0) if enough else np.full(len(bands) + 1, np.nan)
    std = np.nanstd(guide, axis=0) if enough else np.full(len(bands) + 1, np.nan)
    return SceneFacts(*(tuple(map(float, values)) for values in (median, spread, level, mean, std)))


def scene_facts(view: View) -> SceneFacts:
    """Facts of a view: given, or its own."""
    return view.facts or facts_of(view.s1_t0, view.s1_t1, view.s2_t0, view.bands, view.seen_t0)


def window_mean(plane: Matrix, size_px: int) -> Matrix:
    """Mean of the finite pixels in a square window of odd side; NaN where it holds none."""
    valid = np.isfinite(plane)
    sums = box_sums(np.stack([np.where(valid, plane, 0.0), valid.astype(np.float64)]), size_px // 2)
    return np.where(sums[1] > 0.5, sums[0] / np.maximum(sums[1], 1.0), np.nan)


class Guide:
    """Guided filters of one S2(t0), shared by all pairs that start from it."""

    def __init__(self, view: View, valid: Mask, facts: SceneFacts) -> None:
        own, _, _ = standardised(guide_of(view.s2_t0, view.bands), valid)
        known = np.asarray(facts.guide_mean), np.asarray(facts.guide_std)
        if view.facts is not None and np.isfinite(known).all():  # a tile is standardised like its scene
            values = np.where(valid[..., None], guide_of(view.s2_t0, view.bands), known[0])
            own = (values - known[0]) / np.where(known[1] > 1e-9, known[1], np.inf)
        self.valid, self.planes = valid, np.nan_to_num(own)
        self._filters = [
            GuidedFilter(self.planes, valid, radius, eps) for radius, eps in zip(RADII_PX, EPS, strict=True)
        ]

    def smooth(self, image: Matrix) -> list[Matrix]:
        """(H, W, 2) in dB, smoothed once for each radius; each channel on its own."""
        return [np.stack([one.apply(image[..., c]) for c in range(image.shape[-1])], axis=-1) for one in self._filters]


def planes_of(view: View, guide: Guide | None = None) -> Planes:
    """All features of a view: (H, W) planes and, for the scene and the calendar, plain numbers.

    guide  filters of the same S2(t0) and clear mask, used where the radar is complete
    """
    facts = scene_facts(view)
    first, second = to_db(view.s1_t0), to_db(view.s1_t1)
    seen = view.seen_t0
    signal = np.isfinite(first).all(axis=-1) & np.isfinite(second).all(axis=-1)
    if guide is None or not np.array_equal(guide.valid, seen & signal):
        guide = Guide(view, seen & signal, facts)
    out = _optical(view, seen)
    out |= {
        f"z_{name}": np.where(guide.valid, guide.planes[..., i], np.nan) for i, name in enumerate((*view.bands, "NDVI"))
    }
    out |= _radar_context(first, second, facts)
    smooth = zip(RADII_PX, guide.smooth(first), guide.smooth(second), strict=True)
    for radius, before, after in smooth:
        for c, name in enumerate(POLARISATIONS):
            out |= {f"{name}_t0_g{radius}": before[..., c], f"{name}_t1_g{radius}": after[..., c]}
            out[f"d{name}_g{radius}"] = after[..., c] - before[..., c] - facts.ds1_median[c]
        out |= {f"cross_{when}_g{radius}": p[..., 1] - p[..., 0] for when, p in (("t0", before), ("t1", after))}
    return out | _scene(facts, view.bands) | calendar(view.day_t0, view.day_t1)


def season_planes(view: View) -> Planes:
    """Those of planes_of that the set `season` needs, without the filters of the radar, which take most of the time."""
    return _optical(view, view.seen_t0) | _scene(scene_facts(view), view.bands) | calendar(view.day_t0, view.day_t1)


def _optical(view: View, seen: Mask) -> Planes:
    s2 = np.where(seen[..., None], view.s2_t0, np.nan).astype(np.float64)
    index = ndvi(s2, view.bands)
    out: Planes = {name: s2[..., i] for i, name in enumerate(view.bands)}
    out |= {f"{name}_mean9": window_mean(s2[..., i], 9) for i, name in enumerate(view.bands)}
    return out | {"NDVI": index, "NDVI_mean9": window_mean(index, 9), "NDVI_mean15": window_mean(index, 15)}


def _radar_context(first: Matrix, second: Matrix, facts: SceneFacts) -> Planes:
    """Levels, recentred change and its means over 5 and 15 px."""
    out: Planes = {}
    for c, name in enumerate(POLARISATIONS):
        change = second[..., c] - first[..., c] - facts.ds1_median[c]
        out |= {f"{name}_t0": first[..., c], f"{name}_t1": second[..., c], f"d{name}": change}
        out |= {f"d{name}_mean{size}": window_mean(change, size) for size in (5, 15)}
    return out


def _scene(facts: SceneFacts, bands: Sequence[str]) -> Planes:
    out: Planes = {}
    for c, name in enumerate(POLARISATIONS):
        out[f"scene_d{name}_median"], out[f"scene_d{name}_spread"] = facts.ds1_median[c], facts.ds1_spread[c]
        out[f"scene_{name}_t1_median"] = facts.s1_t1_median[c]
    return out | {f"scene_{name}": facts.guide_mean[i] for i, name in enumerate((*bands, "NDVI"))}


def calendar(day_t0: dt.date | None, day_t1: dt.date | None) -> Planes:
    """Sine and cosine of the day of year of both dates, and t1 - t0 in days; NaN where a day is unknown."""
    out: Planes = {}
    for name, day in (("t0", day_t0), ("t1", day_t1)):
        angle = math.nan if day is None else 2 * math.pi * day.timetuple().tm_yday / DAYS_A_YEAR
        out[f"day_{name}_sin"], out[f"day_{name}_cos"] = math.sin(angle), math.cos(angle)
    known = day_t0 is not None and day_t1 is not None
    out["gap_days"] = float((day_t1 - day_t0).days) if known else math.nan  # type: ignore[operator]
    return out


CALENDAR = ("day_t0_sin", "day_t0_cos", "day_t1_sin", "day_t1_cos", "gap_days")
SETS = ("res", "res_no_calendar", "season", "means", "ctx", "no_s1", "relative")


def names_of(chosen: str, bands: Sequence[str]) -> tuple[str, ...]:
    """Names of the features of a set, in their order.

    res, res_no_calendar  guided radar, S2(t0), scene, with and without calendar
    season                S2(t0), scene means of S2(t0) and calendar: no radar
    means                 5 and 15 px means of the radar change instead of the guided filter
    ctx, no_s1            those of baselines.histgbm_ctx, with and without radar
    relative              nothing that identifies a place: guided radar, S2(t0) standardised per scene; no calendar
    raises                ValueError for an unknown set
    """
    optical = (*bands, *(f"{name}_mean9" for name in bands), "NDVI", "NDVI_mean15")
    colour = tuple(f"scene_{name}" for name in (*bands, "NDVI"))
    scene = tuple(f"scene_{p}" for n in POLARISATIONS for p in (f"d{n}_median", f"d{n}_spread", f"{n}_t1_median"))
    levels = tuple(f"{n}_{when}_g{r}" for r in RADII_PX for when in ("t0", "t1") for n in (*POLARISATIONS, "cross"))
    change = tuple(f"d{n}_g{r}" for r in RADII_PX for n in POLARISATIONS)
    plain = tuple(f"{n}_{when}" for when in ("t0", "t1") for n in POLARISATIONS)
    context = tuple(f"d{n}{end}" for end in ("", "_mean5", "_mean15") for n in POLARISATIONS)
    simple = (*bands, *(f"{name}_mean9" for name in bands), "NDVI", "NDVI_mean9")
    sets: Mapping[str, tuple[str, ...]] = {
        "res": (*optical, *levels, *change, *scene, *colour, *CALENDAR),
        "res_no_calendar": (*optical, *levels, *change, *scene, *colour),
        "season": (*optical, *colour, *CALENDAR),
        "means": (*optical, *plain, *context, *scene, *colour, *CALENDAR),
        "ctx": (*simple, *plain, *context),
        "no_s1": simple,
        "relative": (*change, *levels, *(f"z_{name}" for name in (*bands, "NDVI"))),
    }
    if chosen not in sets:
        raise ValueError(f"unknown features {chosen!r}; there are {', '.join(sets)}")
    return sets[chosen]


def columns(planes: Planes, names: Sequence[str], where: NDArray[np.intp] | None = None) -> F32:
    """(N, F) float32 rows of the named features at flat pixel positions; None = all pixels."""
    sizes = [np.size(plane) for plane in planes.values() if isinstance(plane, np.ndarray)]
    count = sizes[0] if where is None else len(where)
    out = np.empty((count, len(names)), np.float32)
    for i, name in enumerate(names):
        plane = planes[name]
        flat = plane.ravel() if isinstance(plane, np.ndarray) else plane
        out[:, i] = flat if where is None or not isinstance(flat, np.ndarray) else flat[where]
    return out
