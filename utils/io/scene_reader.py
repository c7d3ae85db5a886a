"""Rows of the inputs of a whole scene, read a few at a time: from the preprocessed rasters of a work directory, or from
rasters that a user names."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal

from utils.io import raster
from utils.io.acquisitions import Acquisition
from utils.io.cutter import DateRasters
from utils.science.filters import ds1_median_db
from utils.science.grid import Grid, Window
from utils.workflow.errors import InputError

F32 = NDArray[np.float32]

SAR = ("VV", "VH")
BLOCK_PX = 512  # of the project's rasters
_CACHE_BYTES = 16 << 20
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

    @property
    def striped(self) -> bool:
        """True when full rows are read at less cost than squares."""
        ...

    def part(self, window: Window, into: SceneRows | None = None) -> SceneRows:
        """A window of every input; `into`: written there, and that returned."""
        ...


def _empty(dates: int, optical: tuple[int, ...]) -> SceneRows:
    """Room for a window of `dates` dates, the last one without its optical image (bands, rows, cols)."""
    bands, *shape = optical
    s1, s2 = (np.empty((n, k, *shape), np.float32) for n, k in ((dates, len(SAR)), (dates - 1, bands)))
    return SceneRows(s1, s2, np.empty(tuple(shape), np.uint8))


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

    striped = False

    def __enter__(self) -> WorkScene:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def part(self, window: Window, into: SceneRows | None = None) -> SceneRows:
        """A window of every input; `into`: written there, and that returned."""
        cuts = [date.cut(window) for date in self._dates]
        out = into or _empty(len(cuts), cuts[0].optical.shape)
        for number, cut in enumerate(cuts):
            out.s1[number] = cut.sar
            if number < len(cuts) - 1:
                out.s2[number] = cut.optical
        out.cloud[...] = cuts[-2].mask[0]
        return out


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
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 4 << 20)


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
    def striped(self) -> bool:
        """True when a file holds full rows, as many programs write them."""
        return any(band.reader.striped for group in self._bands.values() for band in group)

    @property
    def paths(self) -> list[Path]:
        """All files."""
        return list(dict.fromkeys(band.path for group in self._bands.values() for band in group))

    def part(self, window: Window, into: SceneRows | None = None) -> SceneRows:
        """A window of every input; `into`: written there, and that returned."""
        before, after, optical = self._bands.values()
        out = into or _empty(2, (len(optical), window.rows, window.cols))
        for bands, target in ((before, out.s1[0]), (after, out.s1[1]), (optical, out.s2[0])):
            for band, plane in zip(bands, target, strict=True):
                band.read_into(window, plane)
        out.cloud[...] = 0
        return out

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
        plain = (self._scale, self._offset) == (1.0, 0.0) and (self._nodata is None or np.isnan(self._nodata))
        self._as_stored = plain and facts.dtype == "float32"
        self.reader = raster.Reader(path)

    def read_into(self, window: Window, target: F32) -> None:
        if self._as_stored:
            self.reader.read_into(window, self._number, target)
            return
        stored = self.reader.read(window, [self._number])[0]
        target[...] = stored * self._scale + self._offset if (self._scale, self._offset) != (1.0, 0.0) else stored
        if self._nodata is not None and np.isfinite(self._nodata):
            target[stored == self._nodata] = np.nan


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


def rows_of(scene: Scene, first: int, last: int) -> SceneRows:
    """Rows first .. last - 1 in full width."""
    return scene.part(Window(first, 0, last - first, scene.grid.cols))


def sampled(scene: Scene) -> tuple[F32, F32, F32]:
    """S1 of the last two dates and the newest S2, about a million pixels of every n-th row, (channels, n, cols) each."""
    grid = scene.grid
    step = max(1, grid.rows * grid.cols // _SAMPLE_PX)
    rows = range(0, grid.rows, step)
    lines: dict[int, list[int]] = {}
    for row in rows:
        lines.setdefault(row // BLOCK_PX, []).append(row)
    out: tuple[F32, ...] = ()
    for left in range(0, grid.cols, BLOCK_PX):
        width = min(BLOCK_PX, grid.cols - left)
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
