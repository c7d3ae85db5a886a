"""The second pass over the map: image lines through calibration, flattening and filter, resampled block by block.

Every image line is read once; before, some are read for the statistics that a filter needs (all of a small window, 32 of
every 256 of a large one). A rolling buffer holds the lines that a block of map rows spans. Results do not depend on the number of threads nor on the rows of a block.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.science import flatten, resample, speckle, visibility
from utils.science.border import BorderMask
from utils.science.geocode import ellipsoid_cos_incidence, image_bounds, locate
from utils.science.grid import Window
from utils.science.line_buffer import BORDER_FLAG, NO_SAMPLE_FLAG, Filter, LineBuffer, Source
from utils.science.line_power import LinePower
from utils.science.s1_chain import Channel, Plan, heights_of

Float32Array = NDArray[np.float32]
BitArray = NDArray[np.uint8]

ROW_BLOCK = 256
_NAN_BITS = visibility.SHADOW | visibility.NO_SAMPLE | visibility.BORDER | visibility.NO_VALUE
# strips as high as the windows that looks are estimated from
_SAMPLE_LINES, _SAMPLE_EVERY, _SAMPLE_ALL_PX = 32, 256, 4_000_000


class LooksError(ValueError):
    """Too little homogeneous ground to estimate the number of looks."""


@dataclass(frozen=True)
class Block:
    """Some rows of the area.

    window         within the area, full width
    gamma0         by polarisation, (rows, cols) float32 linear power, NaN exactly where mask has 2, 4, 16 or 32
    mask           (rows, cols) uint8: 1 layover, 2 shadow, 4 no sample, 8 height missing, 16 border noise, 32 no value
                   although a sample is there (area ratio below 0.05, or too few samples around)
    incidence_deg  (rows, cols) float32 local incidence angle, on request
    """

    window: Window
    gamma0: dict[str, Float32Array]
    mask: BitArray
    incidence_deg: Float32Array | None


class Run:
    """One pass over the map; `blocks` yields it, the properties tell of it afterwards.

    channels   by polarisation
    border     border noise of the image, or None
    row_block  rows of the area at once: memory, never the result
    lines_s    seconds spent so far on image lines: reading, calibration, flattening, speckle filter
    raises     ValueError when the product misses the area
    """

    def __init__(
        self, plan_: Plan, channels: Mapping[str, Channel], border: BorderMask | None = None, row_block: int = ROW_BLOCK
    ) -> None:
        if plan_.image_window is None:
            raise ValueError("the product misses the area")
        self._plan, self._row_block, self._window = plan_, row_block, plan_.image_window
        self._sources = {
            name: Source(
                channel.read, LinePower(channel.beta_table, channel.noise_tables, self._window), self._window,
                plan_.area, border,
            )
            for name, channel in channels.items()
        }  # fmt: skip
        self.looks: dict[str, float] = {}
        self.lines_s = 0.0

    @property
    def noise_missing_fraction(self) -> dict[str, float]:
        """Share of image pixels without a noise figure, by polarisation."""
        return {name: source.power.noise_missing_fraction for name, source in self._sources.items()}

    @property
    def block_count(self) -> int:
        """How many blocks there will be."""
        return -(-self._plan.inner.rows // self._row_block)

    def blocks(self) -> Iterator[Block]:
        """The area by blocks of rows, in the order of the image lines: upwards or downwards."""
        order = self._order()
        needed_from = np.minimum.accumulate([first for _, first, _ in order][::-1])[
            ::-1
        ]  # by this block or a later one
        spans = [(window, int(first), last) for (window, _, last), first in zip(order, needed_from, strict=True)]
        capacity = max(last - first for _, first, last in spans)
        begin = time.monotonic()
        buffers = {name: self._buffer(source, name, capacity) for name, source in self._sources.items()}
        self.lines_s += time.monotonic() - begin
        for window, first, last in spans:
            begin = time.monotonic()
            lines = {name: buffer.get(first, last) for name, buffer in buffers.items()}
            self.lines_s += time.monotonic() - begin
            yield self._block(window, lines)

    def _order(self) -> list[tuple[Window, int, int]]:
        """Row blocks of the area with the image lines that each may need."""
        found = []
        for row in range(0, self._plan.inner.rows, self._row_block):
            window = Window(row, 0, min(self._row_block, self._plan.inner.rows - row), self._plan.inner.cols)
            bounds = image_bounds(self._plan.nodes, self._plan.geometry, self._on_grid(window))
            top, bottom = self._window.row, self._window.row + self._window.rows
            first = top if bounds is None else min(max(math.floor(bounds.first_line) - 1, top), bottom)
            last = first if bounds is None else min(max(math.floor(bounds.last_line) + 3, first), bottom)
            found.append((window, first, last))
        upwards = found[-1][1] < found[0][1]
        return found[::-1] if upwards else found

    def _on_grid(self, window: Window) -> Window:
        inner = self._plan.inner
        return Window(inner.row + window.row, inner.col + window.col, window.rows, window.cols)

    def _buffer(self, source: Source, name: str, capacity: int) -> LineBuffer:
        options, bright = self._plan.options, None
        looks = options.looks if options.speckle != "none" else float("nan")
        if options.speckle == "lee_sigma" or looks is None:
            sample = self._sample(source)
            bright = speckle.bright_limit(sample)
            looks = self._estimate(sample, name) if looks is None else looks
        self.looks[name] = looks
        chosen = Filter(options.speckle, options.speckle_window, self.looks[name], options.speckle_sigma)
        return LineBuffer(source, self._window, capacity, chosen, bright)

    @staticmethod
    def _estimate(sample: Float32Array, name: str) -> float:
        try:
            return speckle.estimate_looks(sample)
        except ValueError as error:
            raise LooksError(f"the number of looks of {name} cannot be estimated: {error}") from error

    def _sample(self, source: Source) -> Float32Array:
        """Lines for the statistics of the whole window: all of a small one, 32 of every 256 of a large one."""
        top, bottom = self._window.row, self._window.row + self._window.rows
        whole = self._window.rows * self._window.cols <= _SAMPLE_ALL_PX
        step = self._window.rows if whole else _SAMPLE_EVERY
        count = step if whole else _SAMPLE_LINES
        parts = [source.lines(a, min(a + count, bottom), count=False)[0] for a in range(top, bottom, step)]
        return np.concatenate(parts)

    def _block(self, window: Window, lines: Mapping[str, tuple[Float32Array, BitArray, int]]) -> Block:
        plan_, here = self._plan, self._on_grid(window)
        reach = plan_.inner.row  # the margin: terrain further away does not matter
        height, missing, above = heights_of(plan_, here.row, here.row + here.rows, reach, reach)
        rows = slice(above, above + here.rows)
        cols = slice(here.col, here.col + here.cols)
        at = locate(plan_.nodes, plan_.geometry, height[rows], here.row, cols=(cols.start, cols.stop), slant_step=False)
        mask = visibility.layover_shadow(plan_.nodes, height, here.row, above, here.rows)[:, cols].copy()
        mask[missing[rows, cols]] |= visibility.DEM_MISSING
        maps, flags = {}, None
        for name, (power, marks, first_line) in lines.items():
            maps[name] = resample.to_map(
                power, first_line, self._window.col, at.line, at.pixel, plan_.options.resampling
            )
            found = resample.flags_to_map(marks, first_line, self._window.col, at.line, at.pixel, NO_SAMPLE_FLAG)
            flags = found if flags is None else flags | found
        if not plan_.options.flatten:
            cosine = ellipsoid_cos_incidence(plan_.nodes, height[rows], here.row)[:, cols]
            for values in maps.values():
                values *= np.sqrt(1 / cosine**2 - 1)
        _hide(maps, mask, flags)
        return Block(window, maps, mask, self._incidence(height, here, above))

    def _incidence(self, height: Float32Array, here: Window, above: int) -> Float32Array | None:
        if not self._plan.options.incidence:
            return None
        position = locate(self._plan.nodes, self._plan.geometry, height[above : above + here.rows], here.row)
        seen = flatten.facets(
            self._plan.nodes, self._plan.geometry, height, position, incidence=True, first_row=here.row, above=above
        )
        assert seen.cos_incidence is not None
        cosine = seen.cos_incidence[:, here.col : here.col + here.cols]
        return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))), dtype=np.float32)


def _hide(maps: dict[str, Float32Array], mask: BitArray, flags: BitArray | None) -> None:
    """Set the bits of what is no measurement, and take the values away there: NaN and these bits go together."""
    found = np.zeros(mask.shape, np.uint8) if flags is None else flags
    mask[(found & BORDER_FLAG) > 0] |= visibility.BORDER
    mask[(found & NO_SAMPLE_FLAG) > 0] |= visibility.NO_SAMPLE
    empty = np.any([np.isnan(m) for m in maps.values()], axis=0)
    mask[empty & ((mask & _NAN_BITS) == 0)] |= visibility.NO_VALUE
    hidden = (mask & _NAN_BITS) > 0
    for values in maps.values():
        values[hidden] = np.nan


def coarser(block: Block, factor: int) -> Block:
    """A block of larger pixels: mean power of factor x factor pixels, never of decibels.

    gamma0   mean of the valid pixels where at least half are valid, else NaN; incidence: the same, of angles
    mask     layover and missing height where any pixel has them; the bits of NaN only where the result is NaN
    raises   ValueError when rows or columns are no multiple of the factor
    """
    shape = block.mask.shape[0] // factor, factor, block.mask.shape[1] // factor, factor
    maps = {name: _block_mean(values.reshape(shape)) for name, values in block.gamma0.items()}
    bits = np.bitwise_or.reduce(np.bitwise_or.reduce(block.mask.reshape(shape), axis=3), axis=1)
    empty = np.any([np.isnan(values) for values in maps.values()], axis=0)
    mask = np.where(empty, bits, bits & ~np.uint8(_NAN_BITS)).astype(np.uint8)
    angle = None if block.incidence_deg is None else _block_mean(block.incidence_deg.reshape(shape))
    window = Window(block.window.row // factor, block.window.col // factor, shape[0], shape[2])
    return Block(window, maps, mask, angle)


def _block_mean(parts: Float32Array) -> Float32Array:
    valid = np.isfinite(parts)
    count = valid.sum(axis=(1, 3))
    total = np.where(valid, parts, 0).sum(axis=(1, 3), dtype=np.float64)
    enough = 2 * count >= parts.shape[1] * parts.shape[3]
    return np.where(enough, total / np.maximum(count, 1), np.nan).astype(np.float32)


def collect(run: Run, shape: tuple[int, int]) -> Block:
    """All blocks of a run as one, for areas that fit into memory; shape: rows and columns of the area."""
    maps: dict[str, Float32Array] = {}
    mask, angle = np.empty(shape, np.uint8), None
    for block in run.blocks():
        if not maps:  # the blocks cover the area: nothing stays empty
            maps = {name: np.empty(shape, np.float32) for name in block.gamma0}
            angle = None if block.incidence_deg is None else np.empty(shape, np.float32)
        rows = slice(block.window.row, block.window.row + block.window.rows)
        for name, values in block.gamma0.items():
            maps[name][rows] = values
        mask[rows] = block.mask
        if angle is not None and block.incidence_deg is not None:
            angle[rows] = block.incidence_deg
    return Block(Window(0, 0, *shape), maps, mask, angle)
