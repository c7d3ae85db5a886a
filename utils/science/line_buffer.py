"""Filtered image lines in increasing order, each read once, kept only as long as the map needs them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.science import speckle
from utils.science.border import BorderMask, ReadDn
from utils.science.flatten import RadarArea
from utils.science.grid import Window
from utils.science.line_power import LinePower
from utils.science.speckle import FilterName

Float32Array = NDArray[np.float32]

NO_SAMPLE_FLAG, BORDER_FLAG = 1, 2
_CHUNK_LINES = 256


@dataclass(frozen=True)
class Filter:
    """Speckle filter with its figures; bright is the limit of point targets for lee_sigma, by polarisation."""

    name: FilterName
    window: int
    looks: float
    sigma: float

    @property
    def radius_px(self) -> int:
        return speckle.radius_px(self.name, self.window)


class Source:
    """Raw power of one polarisation over an image window: read, calibrated, flattened.

    read    digital numbers of an image window
    area    radar cells of the flattening, or None
    """

    def __init__(
        self, read: ReadDn, power: LinePower, window: Window, area: RadarArea | None, border: BorderMask | None
    ) -> None:
        self._read, self.power, self._window, self._area, self._border = read, power, window, area, border

    def lines(self, first: int, last: int, *, count: bool = True) -> tuple[Float32Array, NDArray[np.uint8]]:
        """Power and flags of image lines first .. last - 1, (lines, cols) float32 and uint8."""
        window = Window(first, self._window.col, last - first, self._window.cols)
        dn = self._read(window)
        ratio = self._area.on_image(window) if self._area is not None else None
        power = self.power.lines(dn, first, ratio, count=count)
        flags = np.where(dn == 0, np.uint8(NO_SAMPLE_FLAG), np.uint8(0))
        if self._border is not None:
            marks = self._border.on_image(window)
            power[marks] = np.nan
            flags[marks] |= BORDER_FLAG
        return power, flags


class LineBuffer:
    """A rolling window of filtered lines of one polarisation.

    window    image lines and pixels that may be asked for
    capacity  lines that have to be held at once
    bright    limit of point targets for lee_sigma
    Filtering in chunks gives the same bits as filtering the window at once: every chunk comes with the filter's radius
    of lines on both sides.
    """

    def __init__(self, source: Source, window: Window, capacity: int, filter_: Filter, bright: float | None) -> None:
        self._source, self._window, self._filter, self._bright = source, window, filter_, bright
        size = (min(capacity + _CHUNK_LINES, window.rows) + _CHUNK_LINES, window.cols)
        self._power, self._flags = np.empty(size, np.float32), np.empty(size, np.uint8)
        self._first = self._end = window.row  # lines that are held
        self._raw: Float32Array = np.empty((0, window.cols), np.float32)  # unfiltered lines that the next chunk needs
        self._raw_flags: NDArray[np.uint8] = np.empty((0, window.cols), np.uint8)
        self._raw_first = window.row

    def get(self, first: int, last: int) -> tuple[Float32Array, NDArray[np.uint8], int]:
        """Filtered power and flags that include image lines first .. last - 1, and the line that they begin with.

        Lines before `first` are given up: later calls must not ask for them.
        raises  ValueError when they were given up already
        """
        first, last = max(first, self._window.row), min(last, self._window.row + self._window.rows)
        if first < self._first:
            raise ValueError(f"line {first} was given up, the buffer begins at {self._first}")
        while self._end < last:
            self._append(first)
        held = slice(0, self._end - self._first)
        return self._power[held], self._flags[held], self._first

    def _append(self, keep_from: int) -> None:
        """Filter one more chunk; lines before keep_from make room when there is none."""
        bottom = self._window.row + self._window.rows
        end = min(self._end + _CHUNK_LINES, bottom)
        radius = self._filter.radius_px
        raw_end = self._raw_first + len(self._raw)
        wanted = min(end + radius, bottom)
        if wanted > raw_end:
            power, flags = self._source.lines(raw_end, wanted)
            self._raw = np.concatenate([self._raw, power]) if len(self._raw) else power
            self._raw_flags = np.concatenate([self._raw_flags, flags]) if len(self._raw_flags) else flags
        begin = self._end
        filtered = speckle.speckle_filter(
            self._raw, self._filter.name, self._filter.window, self._filter.looks, self._filter.sigma,
            bright=self._bright,
        )  # fmt: skip
        part = slice(begin - self._raw_first, end - self._raw_first)
        self._make_room(end - begin, keep_from)
        target = slice(begin - self._first, end - self._first)
        self._power[target], self._flags[target] = filtered[part], self._raw_flags[part]
        self._end = end
        drop = max(end - radius, self._raw_first) - self._raw_first
        self._raw, self._raw_flags = self._raw[drop:].copy(), self._raw_flags[drop:].copy()
        self._raw_first += drop

    def _make_room(self, count: int, keep_from: int) -> None:
        held = self._end - self._first
        if held + count <= len(self._power):
            return
        drop = min(keep_from - self._first, held)
        kept = held - drop
        if kept + count > len(self._power):
            raise ValueError(f"{kept + count} lines do not fit into the buffer of {len(self._power)}")
        for array in (self._power, self._flags):
            array[:kept] = array[drop:held]
        self._first += drop
