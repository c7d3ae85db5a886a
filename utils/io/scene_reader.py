"""Rows of the inputs of a whole scene, read a few at a time: from the preprocessed rasters of a work directory, or from
rasters that a user names."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal

from utils.io import raster
from utils.io.acquisitions import Acquisition
from utils.io.cutter import DateRasters
from utils.science.filters import ds1_median_db
from utils.science.grid import Grid, Window
from utils.science.sar import fill_in_windows
from utils.workflow.errors import InputError

F32 = NDArray[np.float32]

SAR = ("VV", "VH")
CHUNK_ROWS = 32
HALO_PX = 32  # of the filling of radar pixels
_READ_ROWS = 256  # half a block of the project's rasters: each is decoded twice, and memory holds half of them
_READ_COLS = 1024
_CACHE_BYTES = 32 << 20
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h
_SAMPLE_PX = 1 << 20  # pixels that a median looks at; more changes nothing


@dataclass(frozen=True)
class SceneRows:
    """Rows, or a part of them, of every input.

    s1      (dates, 2, rows, cols) float32, oldest first: gamma0 VV, VH, linear power, NaN = nodata
    s2      (dates - 1, n, rows, cols) float32 reflectance, NaN = nodata
    cloud   (rows, cols) uint8 cloud code of the newest optical image; 0 where nobody says
    """

    s1: F32
    s2: F32
    cloud: NDArray[np.uint8]


class Scene(Protocol):
    """What prediction reads. One thread at a time may call it."""

    @property
    def grid(self) -> Grid: ...

    def part(self, window: Window) -> SceneRows: ...


class WorkScene:
    """A pair, or a sequence of dates, of a work directory; the same pixels as tiles have. A context manager.

    raises  InputError when a raster is missing, or when two are not on one grid
    """

    def __init__(self, root: Path, dates: Sequence[Acquisition], optical: Sequence[str]) -> None:
        self._stack = ExitStack()
        try:
            known = [DateRasters(root, date, optical) for date in dates[:-1]]
            # the last optical image is what is predicted, and may not be there
            known.append(DateRasters(root, replace(dates[-1], s2=()), ()))
            self._dates = [self._stack.enter_context(date) for date in known]
            self.grid = self._dates[0].grid
            for date, open_date in zip(dates, self._dates, strict=True):
                if open_date.grid != self.grid:
                    raise _other_grid(f"date {date.id}", open_date.grid, f"date {dates[0].id}", self.grid)
        except BaseException:
            self._stack.close()
            raise
        bound_memory()

    def __enter__(self) -> WorkScene:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def part(self, window: Window) -> SceneRows:
        """A window of every input."""
        cuts = [date.cut(window) for date in self._dates]
        return SceneRows(
            np.stack([cut.sar for cut in cuts]), np.stack([cut.optical for cut in cuts[:-1]]), cuts[-2].mask[0]
        )


def _other_grid(name: str, grid: Grid, first_name: str, first: Grid) -> InputError:
    bounds = " ".join(f"{value:.8g}" for value in first.bounds)
    system = f"-t_srs EPSG:{first.epsg} " if first.epsg else ""
    return InputError(
        f"{name} ({_words(grid)}) is not on the grid of {first_name} ({_words(first)}).",
        f"Put both on one grid, for example gdalwarp {system}-te {bounds} -ts {first.cols} {first.rows} IN.tif OUT.tif.",
    )


def _words(grid: Grid) -> str:
    return (
        f"EPSG {grid.epsg}, origin {grid.x0:.10g} {grid.y0:.10g}, pixel {grid.dx:.6g} x {grid.dy:.6g}, "
        f"{grid.rows} x {grid.cols} px"
    )


def bound_memory() -> None:
    """Keep GDAL's cache small, and give arrays above 1 MiB back to the system when they are freed (glibc only: its heap
    would keep some 50 MB of them)."""
    gdal.SetCacheMax(_CACHE_BYTES)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1 << 20)


class FileScene:
    """Rasters that a user names, all on one grid. A context manager.

    s1_t0, s1_t1  files that hold VV and VH, gamma0 in linear power; s2_t0 files that hold the bands of `optical`
    Bands are found by their description, in files of one band by the last word of the name too (x_vv.tif, B04.tif);
    files without any such name count in the order asked for when their number is right. Scale, offset and nodata of the
    files hold.
    raises        InputError when a band is missing, when two rasters are not on one grid, or when values are decibels or
                  digital numbers
    """

    def __init__(
        self, s1_t0: Sequence[Path], s1_t1: Sequence[Path], s2_t0: Sequence[Path], optical: Sequence[str]
    ) -> None:
        self._stack = ExitStack()
        groups = {"--s1-t0": (s1_t0, SAR), "--s1-t1": (s1_t1, SAR), "--s2-t0": (s2_t0, tuple(optical))}
        try:
            self._bands = {name: [_Band(*one) for one in _find(name, *group)] for name, group in groups.items()}
            bands = [band for group in self._bands.values() for band in group]
            for band in bands:
                self._stack.enter_context(band.reader)
            self.grid = bands[0].reader.grid
            for band in bands[1:]:
                if band.reader.grid != self.grid:
                    raise _other_grid(str(band.path), band.reader.grid, str(bands[0].path), self.grid)
        except BaseException:
            self._stack.close()
            raise
        bound_memory()

    def __enter__(self) -> FileScene:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def paths(self) -> list[Path]:
        """All files."""
        return list(dict.fromkeys(band.path for group in self._bands.values() for band in group))

    def part(self, window: Window) -> SceneRows:
        """A window of every input."""
        before, after, optical = (np.stack([band.read(window) for band in self._bands[name]]) for name in self._bands)
        return SceneRows(np.stack([before, after]), optical[None], np.zeros(optical.shape[1:], np.uint8))

    def check(self, sample: tuple[F32, F32, F32]) -> None:
        """Look at what `sampled` gave: raises InputError for decibels or digital numbers, or an input without any data."""
        power0, power1, optical = sample
        for name, values, unit in (
            ("--s1-t0", power0, "linear power"), ("--s1-t1", power1, "linear power"), ("--s2-t0", optical, "reflectance 0..1"),
        ):  # fmt: skip
            seen = values[np.isfinite(values)]
            if not seen.size:
                raise InputError(f"{name}: no pixel has data.", "Name rasters with data over the same ground.")
            middle = float(np.median(seen))
            if name != "--s2-t0" and middle < 0:
                raise InputError(
                    f"{name}: the median is {middle:.3g}, as of decibels; {unit} is read.",
                    "Convert it: power = 10 ** (dB / 10).",
                )
            if name == "--s2-t0" and middle > 2:
                raise InputError(
                    f"{name}: the median is {middle:.5g}, as of digital numbers; {unit} is read.",
                    "Store the scale in the file: gdal_edit.py -scale 0.0001 FILE (and -offset -0.1 from baseline 04.00 on).",
                )


class _Band:
    """One band of one file, read in physical units."""

    def __init__(self, path: Path, number: int) -> None:
        facts = raster.info(path)
        self.path, self._number = path, number
        self._nodata, self._scale, self._offset = facts.nodata, facts.scale, facts.offset
        self.reader = raster.Reader(path)

    def read(self, window: Window) -> F32:
        stored = self.reader.read(window, [self._number])[0]
        values = stored.astype(np.float32)
        if (self._scale, self._offset) != (1.0, 0.0):
            values = (stored * self._scale + self._offset).astype(np.float32)
        if self._nodata is not None and np.isfinite(self._nodata):
            values[stored == self._nodata] = np.nan
        return np.asarray(values, np.float32)


def _find(option: str, paths: Sequence[Path], wanted: Sequence[str]) -> list[tuple[Path, int]]:
    """File and band number of every wanted band."""
    there: list[tuple[Path, int, set[str]]] = []
    for path in paths:
        facts = raster.info(path)
        for number, text in enumerate(facts.band_names, start=1):
            names = {text.upper()} - {""}
            if facts.count == 1:
                names.add(path.stem.upper().replace("-", "_").split("_")[-1])
            there.append((path, number, names))
    found = [next(((path, number) for path, number, names in there if band in names), None) for band in wanted]
    if any(place is not None for place in found) and (
        missing := [b for b, p in zip(wanted, found, strict=True) if p is None]
    ):
        raise InputError(
            f"{option}: no band {', '.join(missing)} in {', '.join(map(str, paths))}.",
            f"The run reads {', '.join(wanted)}: name files with all of them.",
        )
    if None in found and len(there) != len(wanted):
        listed = ", ".join(f"{path} band {number}" for path, number, _ in there) or "no file"
        raise InputError(
            f"{option}: {listed}; the run reads {', '.join(wanted)}, and no band has one of these names.",
            f"Name the bands, or give {len(wanted)} bands in this order.",
        )
    return [place or (path, number) for place, (path, number, _) in zip(found, there, strict=False)]


class FilledRows:
    """Rows of a scene with non-positive radar power filled from its neighbours, up to 32 px beyond the rows.

    Rows are read in large pieces and kept as long as chunks that follow one another need them. What a chunk gets depends
    on nothing but its rows, if they are a multiple of CHUNK_ROWS
    """

    def __init__(self, scene: Scene, fill_k: int) -> None:
        self._scene, self._fill_k = scene, fill_k
        self._first = self._last = 0
        self._held: list[NDArray[Any]] = []

    def read(self, first: int, last: int) -> SceneRows:
        """Rows first .. last - 1."""
        top, bottom = max(first - HALO_PX, 0), min(last + HALO_PX, self._scene.grid.rows)
        if not self._first <= top <= self._last:
            self._first = self._last = top // _READ_ROWS * _READ_ROWS
        while self._last < bottom:
            self._more(top)
        power, optical, cloud = (one[..., top - self._first : bottom - self._first, :] for one in self._held)
        own = slice(first - top, last - top)
        radar = np.ascontiguousarray(power[:, :, own])
        for target, planes in zip(radar, power, strict=True):
            for plane, values in zip(target, planes, strict=True):
                if _holes(values):
                    plane[:] = fill_in_windows(values, ~np.isnan(values), self._fill_k, halo_px=HALO_PX)[own]
        return SceneRows(radar, np.ascontiguousarray(optical[:, :, own]), cloud[own].copy())

    def _more(self, top: int) -> None:
        """Keep the rows from `top` on and read the next piece behind them, block by block, in one buffer."""
        grid, begin = self._scene.grid, self._last
        height = min(_READ_ROWS, grid.rows - begin)
        kept = begin - top if begin > self._first else 0
        for held in self._held:
            held[..., :kept, :] = held[..., top - self._first : begin - self._first, :][..., :kept, :].copy()
        if self._held and kept + height > self._held[0].shape[-2]:
            self._held = [np.concatenate([one[..., :kept, :], np.empty_like(one)], axis=-2) for one in self._held]
        for left in range(0, grid.cols, _READ_COLS):
            window = Window(begin, left, height, min(_READ_COLS, grid.cols - left))
            one = self._scene.part(window)
            if not self._held:
                room = min(_READ_ROWS + CHUNK_ROWS + 2 * HALO_PX, grid.rows)
                self._held = [
                    np.empty((*plane.shape[:-2], room, grid.cols), plane.dtype) for plane in (one.s1, one.s2, one.cloud)
                ]
            for held, plane in zip(self._held, (one.s1, one.s2, one.cloud), strict=True):
                held[..., kept : kept + height, left : left + window.cols] = plane
        self._first, self._last = begin - kept, begin + height


def rows_of(scene: Scene, first: int, last: int) -> SceneRows:
    """Rows first .. last - 1 in full width."""
    return scene.part(Window(first, 0, last - first, scene.grid.cols))


def filled(scene: Scene, first: int, last: int, fill_k: int) -> SceneRows:
    """Rows first .. last - 1 at once, as FilledRows gives them."""
    return FilledRows(scene, fill_k).read(first, last)


def _holes(plane: F32) -> bool:
    with np.errstate(invalid="ignore"):
        return bool((plane <= 0).any() | np.isinf(plane).any())


def sampled(scene: Scene) -> tuple[F32, F32, F32]:
    """S1 of the last two dates and the newest S2, about a million pixels of every n-th row, (channels, n, cols) each."""
    grid = scene.grid
    step = max(1, grid.rows * grid.cols // _SAMPLE_PX)
    rows = range(0, grid.rows, step)
    lines: dict[int, list[int]] = {}
    for row in rows:
        lines.setdefault(row // (2 * _READ_ROWS), []).append(row)
    out: tuple[F32, ...] = ()
    for left in range(0, grid.cols, _READ_COLS):
        width = min(_READ_COLS, grid.cols - left)
        for wanted in lines.values():  # rows of one line of blocks together: each block is decoded for all of them
            height = len(wanted) if step == 1 else 1
            for row in wanted[::height]:
                one = scene.part(Window(row, left, height, width))
                found = (one.s1[-2], one.s1[-1], one.s2[-1])
                if not out:
                    out = tuple(np.empty((len(planes), len(rows), grid.cols), np.float32) for planes in found)
                for target, planes in zip(out, found, strict=True):
                    target[:, row // step : row // step + height, left : left + width] = planes
    return out[0], out[1], out[2]


def median_change_db(scene: Scene, sample: tuple[F32, F32, F32] | None = None) -> dict[str, float]:
    """Scene median of S1(t1) - S1(t0) by band, dB, as build_dataset writes it into its index.

    sample  what `sampled` gave; None = asked for here
    raises  InputError when the two dates share no pixel with positive power
    """
    before, after, _ = sample or sampled(scene)
    try:
        medians = ds1_median_db(before, after)
    except ValueError as error:
        raise InputError(
            f"Sentinel-1 of t0 and t1: {error}.", "Choose rasters with data over the same ground."
        ) from error
    return {band: round(value, 6) for band, value in zip(SAR, medians, strict=True)}
