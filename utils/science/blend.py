"""Joining overlapping predictions: sin^2 weights, one streaming accumulation, order-independent to rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.science.grid import Window


def window_weights(rows: int, cols: int) -> NDArray[np.float64]:
    """Weights w(i) = sin^2(pi*(i+0.5)/N) per axis, outer product, (rows, cols) float64, all > 0.

    At a stride of N/2 the weights of all windows sum to exactly 1 inside.
    """
    if rows < 1 or cols < 1:
        raise ValueError(f"window of {rows} x {cols} px")
    axes = [np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (rows, cols)]
    return np.asarray(np.outer(*axes), dtype=np.float64)


class Blender:
    """Accumulate weighted windows into one stripe or scene.

    rows, cols, bands  size of the output; NaN marks nodata in what is added and in the result.
    Sums are float64: with every permutation of the windows the float32 result is the same to one unit in the last
    place; `mosaic` adds in sorted order, so its bytes are equal as well.
    """

    def __init__(self, rows: int, cols: int, bands: int) -> None:
        self._sum = np.zeros((bands, rows, cols))
        self._weight = np.zeros((bands, rows, cols))

    def add(self, array: NDArray[Any], row: int, col: int) -> None:
        """Add (bands, h, w) with its upper-left corner at (row, col); parts outside are cut off.

        A window that holds the whole scene edge keeps its small weights there: they are divided out.
        """
        if array.ndim != 3 or array.shape[0] != self._sum.shape[0]:
            raise ValueError(f"array {array.shape} for {self._sum.shape[0]} bands")
        height, width = array.shape[1:]
        weights = window_weights(height, width)
        top, left = max(row, 0), max(col, 0)
        bottom, right = min(row + height, self._sum.shape[1]), min(col + width, self._sum.shape[2])
        if bottom <= top or right <= left:
            return
        part = array[:, top - row : bottom - row, left - col : right - col].astype(np.float64)
        weight = weights[top - row : bottom - row, left - col : right - col]
        good = np.isfinite(part)
        target = (slice(None), slice(top, bottom), slice(left, right))
        self._sum[target] += np.where(good, part, 0.0) * weight
        self._weight[target] += good * weight

    def result(self) -> NDArray[np.float32]:
        """(bands, rows, cols) float32 weighted mean; NaN where nothing was added."""
        covered = self._weight > 0
        return np.where(covered, self._sum / np.where(covered, self._weight, 1.0), np.nan).astype(np.float32)


def stitch_rows(
    windows: Sequence[Window],
    cols: int,
    bands: int,
    read_tile: Callable[[int], NDArray[Any] | None],
    first: int,
    count: int,
) -> NDArray[np.float32]:
    """Rows first .. first + count - 1 of the blended image: (bands, count, cols) float32, NaN where no tile has data.

    windows    place of each tile in the image; tiles are added in this order, whatever order they were made in, so that a
               pixel has the same bits in any division of the image into rows
    read_tile  gives (bands, h, w) of tile number i, or None when it has none
    """
    blender = Blender(count, cols, bands)
    for number, window in enumerate(windows):
        if window.row < first + count and window.row + window.rows > first:
            tile = read_tile(number)
            if tile is not None:
                blender.add(tile, window.row - first, window.col)
    return blender.result()


def stitch(
    windows: Sequence[Window],
    shape: tuple[int, int],
    bands: int,
    read_tile: Callable[[int], NDArray[Any] | None],
    stripe_px: int = 1024,
) -> NDArray[np.float32]:
    """The whole blended image (bands, rows, cols) float32, made in stripes: see `stitch_rows`."""
    out = np.full((bands, *shape), np.nan, dtype=np.float32)
    for top in range(0, shape[0], stripe_px):
        rows = min(stripe_px, shape[0] - top)
        out[:, top : top + rows] = stitch_rows(windows, shape[1], bands, read_tile, top, rows)
    return out


def seam_ratio(
    image: NDArray[Any], reference: NDArray[Any], boundaries: list[int], stride: int, axis: int = 1
) -> float:
    """Visibility of seams: steps at window boundaries against steps half a stride away, relative to `reference`.

    image, reference  (H, W) arrays, the second without seams (the optical image of t0); NaN is ignored
    boundaries        indices i of the first column (axis 1) or row (axis 0) after a boundary
    returns           1.0 = no seam; NaN without usable lines
    """
    lines = [i for i in boundaries if 0 < i < image.shape[axis]]
    between = [i + stride // 2 for i in lines if 0 < i + stride // 2 < image.shape[axis]]
    if not lines or not between:
        return float("nan")

    def roughness(array: NDArray[Any], at: list[int]) -> float:
        step = np.abs(np.diff(np.asarray(array, dtype=np.float64), axis=axis))
        return float(np.nanmean(np.take(step, [i - 1 for i in at], axis=axis)))

    own = roughness(image, lines) / roughness(image, between)
    return own / (roughness(reference, lines) / roughness(reference, between))
