"""Rows of a whole scene with their radar filled, in memory that does not grow with the scene's height."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io.scene_reader import BLOCK_PX, F32, SAR, Scene, SceneRows
from utils.science.grid import Window
from utils.science.sar import fill_non_positive_knn

CHUNK_ROWS = 32
HALO_PX = 32  # of the filling of radar pixels


class FilledRows:
    """Rows of a scene with non-positive radar power filled from its neighbours, up to 32 px away.

    Rows are read a line of blocks at a time, so that each block is decoded once, and filled in groups that end 32 px
    above the next line. The groups are fixed to the scene: what a row becomes depends on nothing that is asked for.
    """

    def __init__(self, scene: Scene, fill_k: int) -> None:
        self._scene, self._fill_k = scene, fill_k
        self._first = self._ready = self._last = 0  # rows first .. ready - 1 are filled, ready .. last - 1 as read
        self._held: list[NDArray[Any]] = []
        self._above: NDArray[np.float32] = np.empty(0, np.float32)  # radar above `ready`, as read

    def read(self, first: int, last: int) -> SceneRows:
        """Rows first .. last - 1. What it gives is a view that holds until the next call."""
        if not self._first <= first <= self._ready or not self._last:
            self._begin(first)
        while self._ready < last:
            self._more(first)
        power, optical, cloud = (one[..., first - self._first : last - self._first, :] for one in self._held)
        return SceneRows(power, optical, cloud)

    def _begin(self, first: int) -> None:
        """Hold the rows from which the group of row `first` is filled."""
        line = min(first + HALO_PX, self._scene.grid.rows - 1) // BLOCK_PX * BLOCK_PX
        top = max(line - 2 * HALO_PX, 0)
        self._first = self._ready = self._last = top
        if top < line:
            self._load(line - top)
            self._ready = line - HALO_PX
            self._above = self._held[0][..., :HALO_PX, :].copy()

    def _room(self, keep_from: int) -> None:
        """Drop the rows before keep_from and have room for a line of blocks behind those that stay."""
        kept = self._last - keep_from
        rows = slice(keep_from - self._first, self._last - self._first)
        for number, held in enumerate(self._held):
            if kept + min(BLOCK_PX, self._scene.grid.rows - self._last) > held.shape[-2]:
                self._held[number] = np.concatenate([held[..., rows, :], np.empty_like(held)], axis=-2)
            else:
                held[..., :kept, :] = held[..., rows, :]
        self._first = keep_from

    def _load(self, height: int) -> None:
        """Read `height` rows behind those that are held, block by block."""
        grid, place = self._scene.grid, self._last - self._first
        for window in _pieces(self._scene, self._last, height):
            top = place + window.row - self._last
            own = np.s_[..., top : top + window.rows, window.col : window.col + window.cols]
            if self._held:
                self._scene.part(window, SceneRows(*(held[own] for held in self._held)))
                continue
            one = self._scene.part(window)
            planes, room = (one.s1, one.s2, one.cloud), min(BLOCK_PX + HALO_PX + CHUNK_ROWS, grid.rows)
            self._held = [np.empty((*plane.shape[:-2], room, grid.cols), plane.dtype) for plane in planes]
            for held, plane in zip(self._held, planes, strict=True):
                held[own] = plane
        self._last += height

    def _more(self, keep_from: int) -> None:
        """Read the next line of blocks, and fill the group that it completes."""
        rows = self._scene.grid.rows
        self._room(min(keep_from, self._ready))
        self._load(min(BLOCK_PX, rows - self._last))
        end = rows if self._last == rows else self._last - HALO_PX
        held = self._held[0][..., self._ready - self._first : self._last - self._first, :]
        above, self._above = self._above, held[..., -2 * HALO_PX : -HALO_PX, :].copy()
        for date in range(len(held)):
            for band in range(len(SAR)):
                over = above[date, band] if above.size else held[date, band][:0]
                fill_rows(over, held[date, band], end - self._ready, self._fill_k)
        self._ready = end


def _pieces(scene: Scene, first: int, height: int) -> list[Window]:
    """Windows of some 260,000 px over full-width rows."""
    cols = scene.grid.cols
    if not scene.striped:
        return [Window(first, left, height, min(BLOCK_PX, cols - left)) for left in range(0, cols, BLOCK_PX)]
    step = max(1, BLOCK_PX**2 // cols)
    return [Window(first + top, 0, min(step, height - top), cols) for top in range(0, height, step)]


def fill_rows(above: F32, values: F32, count: int, fill_k: int) -> None:
    """Fill the holes of the first `count` rows of values in place; the rows above and behind them only give.

    above  rows right above, as they were read: a filled pixel fills no other
    """
    cols, halo = values.shape[1], len(above)
    waiting: tuple[Any, F32] | None = None
    for left in range(0, cols, BLOCK_PX):
        right, begin = min(left + BLOCK_PX, cols), max(left - HALO_PX, 0)
        around = slice(begin, min(right + HALO_PX, cols))
        block = np.concatenate([above[:, around], values[:, around]])
        if waiting is not None:  # only now: this block has seen the columns as they were
            values[waiting[0]] = waiting[1]
            waiting = None
        if _holes(block):
            filled = fill_non_positive_knn(block, ~np.isnan(block), fill_k)
            waiting = np.s_[:count, left:right], filled[halo : halo + count, left - begin : right - begin]
    if waiting is not None:
        values[waiting[0]] = waiting[1]


def filled(scene: Scene, first: int, last: int, fill_k: int) -> SceneRows:
    """Rows first .. last - 1 at once, as FilledRows gives them."""
    return FilledRows(scene, fill_k).read(first, last)


def _holes(plane: F32) -> bool:
    with np.errstate(invalid="ignore"):
        return bool((plane <= 0).any() | np.isinf(plane).any())
