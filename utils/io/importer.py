"""Analysis-ready rasters from outside, in the units of the project.

A Plane says where one band lies (GeoTIFF band or netCDF variable), an Acquisition which planes make one date of one
sensor, Rules what their numbers mean. Nothing is written here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from utils.io import raster
from utils.io.netcdf import Cube
from utils.science.grid import Grid
from utils.science.reflectance import grow_clouds
from utils.science.sar import bilinear_on_grid, from_db
from utils.workflow.errors import InputError, NothingFoundError

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Sensor = Literal["sentinel1", "sentinel2"]

CLOUD = "CLOUD"  # name of the plane that holds SCL, cloud probability or codes
NO_CLOUD_SOURCE = "none given: every pixel with data is taken as clear"
# SCL to the codes of cloud.tif: 8, 9, 10 cloud; 3 shadow; 11 snow; 1 defective; 0 no data; all others clear.
_SCL_CODES = np.array([255, 4, 0, 2, 0, 0, 0, 0, 1, 1, 1, 3], dtype=np.uint8)
# Classes that count when whole dates are chosen: vegetation, bare, water. Class 7 (unclassified) is often haze.
_SCL_SURE = (4, 5, 6)
NO_SAR_SAMPLE_BIT = 4


@dataclass(frozen=True)
class Plane:
    """One band in one file. band counts from 1; variable and time_index are for netCDF."""

    name: str
    path: Path
    band: int = 1
    variable: str | None = None
    time_index: int | None = None


@dataclass(frozen=True)
class Acquisition:
    """One date of one sensor at one site.

    start    ISO 8601 UTC; nominal = True when the source states only a month
    members  acquisitions of one track that are averaged to this one; empty = it is one itself
    """

    site: str
    sensor: Sensor
    name: str
    planes: tuple[Plane, ...]
    start: str
    platform: str = ""
    direction: str | None = None
    relative_orbit: int | None = None
    nominal: bool = False
    members: tuple[Acquisition, ...] = ()

    def plane(self, name: str) -> Plane | None:
        return next((plane for plane in self.planes if plane.name == name), None)

    @property
    def day(self) -> dt.date:
        return dt.datetime.fromisoformat(self.start).date()


@dataclass(frozen=True)
class DatedSet:
    """The acquisitions of one date id: optical may be None at a date that is only to be simulated."""

    id: str
    site: str
    s1: Acquisition
    s2: Acquisition | None

    @property
    def day(self) -> dt.date:
        return (self.s2 or self.s1).day


@dataclass(frozen=True)
class Rules:
    """What input numbers mean; the keys of section import_data of the same names."""

    s1_unit: Literal["db", "power"] = "db"
    s1_nodata: float | None = None
    s1_scale: float = 1.0
    s2_scale: float = 0.0001
    s2_offset: float = 0.0
    s2_nodata: float | None = 0.0
    cloud_kind: Literal["scl", "probability", "codes"] = "scl"
    cloud_threshold: float = 20.0
    epsg: int | None = None
    pixel_m: float = 10.0
    cloud_dilate_m: float = 0.0


def read_plane(plane: Plane, rules: Rules) -> tuple[NDArray[Any], Grid]:
    """Values as stored, (rows, cols), and their grid; without georeference the grid of rules at (0, 0)."""
    if plane.variable is not None:
        values, grid = _read_cube(plane.path, plane.variable)
        if values.ndim == 3:
            if plane.time_index is None or plane.time_index >= len(values):
                raise InputError(
                    f"{plane.path}: {plane.variable} has {len(values)} times; time_index is {plane.time_index}.",
                    "Set time_index of the item to one of them, from 0.",
                )
            values = values[plane.time_index]
        return values, grid
    info = raster.info(plane.path)
    if not 1 <= plane.band <= info.count:
        raise InputError(
            f"{plane.path}: has {info.count} bands, no band {plane.band}.", "Correct files and bands of the item."
        )
    values = raster.read(plane.path, bands=[plane.band])[0]
    return values, info.grid if info.grid.epsg else _assumed(info.grid, rules)


def _assumed(grid: Grid, rules: Rules) -> Grid:
    """Without a coordinate system: rows and columns of pixel_m; a transform that the file has is kept."""
    if (grid.x0, grid.y0, grid.dx, grid.dy) != (0.0, 0.0, 1.0, -1.0):
        return Grid(rules.epsg or 0, grid.x0, grid.y0, grid.dx, grid.dy, grid.rows, grid.cols)
    side = rules.pixel_m
    return Grid(rules.epsg or 0, 0.0, grid.rows * side, side, -side, grid.rows, grid.cols)


@lru_cache(maxsize=8)
def _read_cube(path: Path, variable: str) -> tuple[NDArray[Any], Grid]:
    """A whole variable; kept, because cubes are stored in chunks over time."""
    with Cube(path) as cube:
        return cube.planes(variable), cube.grid(variable)


def _missing(values: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    missing = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, dtype=bool)
    return missing | (values == nodata) if nodata is not None else missing


def to_power(values: NDArray[Any], rules: Rules) -> F32:
    """Stored backscatter to linear power float32, NaN where missing."""
    missing = _missing(values, rules.s1_nodata)
    scaled = np.where(missing, np.nan, values.astype(np.float64) * rules.s1_scale)
    return np.asarray(from_db(scaled) if rules.s1_unit == "db" else scaled, dtype=np.float32)


def to_reflectance(values: NDArray[Any], rules: Rules) -> F32:
    """Stored reflectance to 0..1 float32, NaN where missing; negative values become 0, as in preprocessing."""
    missing = _missing(values, rules.s2_nodata)
    rho = (values.astype(np.float64) + rules.s2_offset) * rules.s2_scale
    return np.where(missing, np.nan, np.maximum(rho, 0.0)).astype(np.float32)


def cloud_codes(values: NDArray[Any], rules: Rules) -> U8:
    """Stored cloud band to codes: 0 clear, 1 cloud, 2 shadow, 3 snow, 4 defective, 255 none.

    raises  InputError for values that the kind does not have
    """
    if rules.cloud_kind == "probability":
        codes = (values >= rules.cloud_threshold).astype(np.uint8)
        return np.where((values > 100) | ~np.isfinite(values), 255, codes).astype(np.uint8)
    allowed = range(len(_SCL_CODES)) if rules.cloud_kind == "scl" else (0, 1, 2, 3, 4, 255)
    if unknown := sorted(set(np.unique(values).tolist()) - set(allowed)):
        raise InputError(
            f"The cloud band has values {unknown[:5]}, which {rules.cloud_kind} does not know.",
            "Correct import_data.cloud_kind.",
        )
    return _SCL_CODES[values.astype(np.intp)] if rules.cloud_kind == "scl" else values.astype(np.uint8)


def clear_share(acquisition: Acquisition, rules: Rules) -> float:
    """Share of surely clear pixels of an optical date, by its cloud band alone; 1 when it has none."""
    plane = acquisition.plane(CLOUD)
    if plane is None:
        return 1.0
    values = read_plane(plane, rules)[0]
    if rules.cloud_kind == "scl":
        return float(np.isin(values, _SCL_SURE).mean())
    return float((cloud_codes(values, rules) == 0).mean())


def site_grid(sets: Iterable[DatedSet], band: str, rules: Rules) -> Grid:
    """Target grid of a site: that of the named optical band at its first date.

    raises  InputError when no date has that band
    """
    for dated in sets:
        plane = dated.s2.plane(band) if dated.s2 else None
        if plane is not None:
            return read_plane(plane, rules)[1]
    raise InputError(f"No optical input has band {band}.", "Correct bands of the items, or dataset.s2_bands.")


def load_s1(acquisition: Acquisition, target: Grid, rules: Rules) -> dict[str, F32]:
    """VV and VH in linear power on the target grid: bilinear on power where the grids differ, NaN = nodata.

    Of several members the mean of those that have a value there, in linear power.
    raises  InputError when a polarisation is missing or the grids are in different coordinate systems
    """
    out = {}
    for band in ("VV", "VH"):
        total, count = np.zeros(target.shape), np.zeros(target.shape, np.int16)
        for one in acquisition.members or (acquisition,):
            plane = _need(one, band)
            values, grid = read_plane(plane, rules)
            power = _resampled(to_power(values, rules), grid, target, plane)
            known = np.isfinite(power)
            total += np.where(known, power, 0.0)
            count += known
        out[band] = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    return out


def load_s2(acquisition: Acquisition, bands: Sequence[str], target: Grid, rules: Rules) -> tuple[dict[str, F32], U8]:
    """Reflectance of the bands and cloud codes on the target grid; codes by nearest neighbour, 255 without data."""
    out = {}
    for band in bands:
        plane = _need(acquisition, band)
        values, grid = read_plane(plane, rules)
        out[band] = _resampled(to_reflectance(values, rules), grid, target, plane)
    cloud_plane = acquisition.plane(CLOUD)
    if cloud_plane is None:
        cloud = np.zeros(target.shape, dtype=np.uint8)
    else:
        values, grid = read_plane(cloud_plane, rules)
        cloud = _nearest(cloud_codes(values, rules), grid, target, cloud_plane)
        cloud = grow_clouds(cloud, rules.cloud_dilate_m, target.mean_pixel_size_m())
    no_data = np.isnan(np.stack(list(out.values()))).any(axis=0)
    return out, np.where(no_data & (cloud == 0), 255, cloud).astype(np.uint8)


def _need(acquisition: Acquisition, band: str) -> Plane:
    plane = acquisition.plane(band)
    if plane is None:
        have = ", ".join(p.name for p in acquisition.planes)
        raise InputError(
            f"{acquisition.name}: no band {band}; it has {have}.", "Correct files and bands, or the bands asked for."
        )
    return plane


def _resampled(values: F32, grid: Grid, target: Grid, plane: Plane) -> F32:
    if grid == target:
        return values
    try:
        return bilinear_on_grid(values, grid, target)
    except ValueError as error:
        raise InputError(
            f"{plane.path}: {error}.", "Warp all inputs of a site to one coordinate system (gdalwarp)."
        ) from error


def _nearest(codes: U8, grid: Grid, target: Grid, plane: Plane) -> U8:
    """Nearest neighbour; 255 outside. The centre of a fine pixel never lies on the edge of a coarse one."""
    if grid == target:
        return codes
    if grid.epsg != target.epsg:
        raise InputError(
            f"{plane.path}: EPSG {grid.epsg} is not that of the site, {target.epsg}.",
            "Warp all inputs of a site to one coordinate system (gdalwarp).",
        )
    row = np.floor((target.pixel_centres_y() - grid.y0) / grid.dy).astype(int)
    col = np.floor((target.pixel_centres_x() - grid.x0) / grid.dx).astype(int)
    inside = ((row >= 0) & (row < grid.rows))[:, None] & ((col >= 0) & (col < grid.cols))
    picked = codes[np.clip(row, 0, grid.rows - 1)[:, None], np.clip(col, 0, grid.cols - 1)]
    return np.where(inside, picked, 255).astype(np.uint8)


def nearest_in_time(acquisitions: Sequence[Acquisition], start: str) -> Acquisition:
    """The acquisition closest in time, the earlier one on a tie.

    raises  NothingFoundError when there is none
    """
    if not acquisitions:
        raise NothingFoundError(f"No Sentinel-1 acquisition for {start}.", "Give Sentinel-1 input for every date.")
    when = dt.datetime.fromisoformat(start)
    return min(acquisitions, key=lambda a: (abs(dt.datetime.fromisoformat(a.start) - when), a.start, a.name))


def around(acquisitions: Sequence[Acquisition], start: str, count: int) -> Acquisition:
    """The acquisition closest in time, averaged with the next closest of its track until there are `count`.

    The result carries the name and time of the closest; with fewer of that track it averages what is there
    raises  NothingFoundError when there is none
    """
    nearest = nearest_in_time(acquisitions, start)
    track = [a for a in acquisitions if (a.direction, a.relative_orbit) == (nearest.direction, nearest.relative_orbit)]
    when = dt.datetime.fromisoformat(start)
    ordered = sorted(track, key=lambda a: (abs(dt.datetime.fromisoformat(a.start) - when), a.start, a.name))
    members = tuple(ordered[:count])
    if len(members) < 2:
        return nearest
    return replace(nearest, name=f"{nearest.name}_mean{len(members)}", members=members)


def make_pairs(
    sets: Sequence[DatedSet], both_orders: bool, min_gap_days: float, max_pairs: int | None
) -> list[tuple[DatedSet, DatedSet]]:
    """(t0, t1) pairs of one site's dates, never across sites, ordered by site, day of t0, day of t1.

    The gap is counted in calendar days. t0 needs an optical image; t1 may do without.
    raises  NothingFoundError naming the widest gap when no pair is left
    """
    ordered = sorted(sets, key=lambda d: (d.site, d.day, d.id))
    pairs, widest = [], 0
    for first in ordered:
        for second in ordered:
            gap = (second.day - first.day).days
            if first.site != second.site or first.id == second.id or first.s2 is None:
                continue
            if gap > 0 or (both_orders and gap < 0) or (gap == 0 and first.id < second.id):
                widest = max(widest, abs(gap))
                if abs(gap) >= min_gap_days:
                    pairs.append((first, second))
    if not pairs:
        raise NothingFoundError(
            f"No pair of {len(ordered)} dates is at least {min_gap_days:g} days apart; the widest gap is {widest} days.",
            "Lower import_data.min_gap_days, or min_clear to keep more dates.",
        )
    return pairs[:max_pairs]
