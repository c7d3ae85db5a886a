"""Border noise of products before IPF 2.90: dark pixels of the outer 500 lines and columns that are joined to the edge.

Lakes and other dark ground survive by not touching the edge. Only the four strips along the edges are looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.science.grid import Window

BoolArray = NDArray[np.bool_]
BORDER_PX = 500
_DARK_DN = 30
_DARK_DENOISED_DN = 0.5


class ReadDn(Protocol):
    """Digital numbers of a window of the image, (rows, cols) uint16."""

    def __call__(self, window: Window) -> NDArray[np.uint16]: ...


NoiseOf = Callable[[Window], "NDArray[np.float64] | None"]


@dataclass(frozen=True)
class BorderMask:
    """Marks of border noise; strips are (window of the image, marks of it)."""

    strips: tuple[tuple[Window, BoolArray], ...]

    def on_image(self, window: Window) -> BoolArray:
        """Marks at the pixels of an image window, (rows, cols) bool."""
        out = np.zeros((window.rows, window.cols), bool)
        for strip, marks in self.strips:
            top, left = max(strip.row, window.row), max(strip.col, window.col)
            bottom = min(strip.row + strip.rows, window.row + window.rows)
            right = min(strip.col + strip.cols, window.col + window.cols)
            if bottom > top and right > left:
                part = Window(top, left, bottom - top, right - left)
                out[part.relative_to(window).slices] |= marks[part.relative_to(strip).slices]
        return out


def find_border(read_copol: ReadDn, noise: NoiseOf, lines: int, samples: int) -> BorderMask:
    """Mark the border noise of a whole image.

    read_copol  co-polarised DN of a window
    noise       thermal noise of a window in DN^2 (NaN = unknown), or None when it has none
    lines, samples  size of the image
    source      the rule of SNAP's Remove-GRD-Border-Noise (DN below 30, or below 0.5 without noise), joined to the edge
    """
    strips = [(window, _dark(read_copol(window), noise(window))) for window in _strips(lines, samples)]
    marks = [np.zeros(dark.shape, bool) for _, dark in strips]
    changed = True
    while changed:  # noise goes round corners: what one strip finds in a corner is a seed in its neighbour
        changed = False
        for i, (window, dark) in enumerate(strips):
            seeds = _edge(window, lines, samples) | BorderMask(
                tuple((w, m) for (w, _), m in zip(strips, marks, strict=True))
            ).on_image(window)
            grown = _joined(dark, seeds & dark)
            if int(grown.sum()) != int(marks[i].sum()):
                marks[i], changed = grown, True
    return BorderMask(tuple((window, found) for (window, _), found in zip(strips, marks, strict=True)))


def _strips(lines: int, samples: int) -> list[Window]:
    deep, wide = min(BORDER_PX, lines), min(BORDER_PX, samples)
    return [
        Window(0, 0, deep, samples),
        Window(lines - deep, 0, deep, samples),
        Window(0, 0, lines, wide),
        Window(0, samples - wide, lines, wide),
    ]


def _dark(dn: NDArray[np.uint16], noise_dn2: NDArray[np.float64] | None) -> BoolArray:
    dark = dn < _DARK_DN
    if noise_dn2 is not None:
        residual = dn.astype(np.float64) ** 2 - np.nan_to_num(noise_dn2)
        dark |= np.sqrt(np.maximum(residual, 0)) < _DARK_DENOISED_DN
    return np.asarray(dark)


def _edge(window: Window, lines: int, samples: int) -> BoolArray:
    """True on the outermost lines and columns of the image."""
    out = np.zeros((window.rows, window.cols), bool)
    out[[0, -1]] = [[window.row == 0], [window.row + window.rows == lines]]
    if window.col == 0:
        out[:, 0] = True
    if window.col + window.cols == samples:
        out[:, -1] = True
    return out


def _joined(dark: BoolArray, seeds: BoolArray) -> BoolArray:
    """The dark regions (4 neighbours) that hold a seed."""
    labels: NDArray[Any]
    labels, count = ndimage.label(dark)
    hit = np.zeros(count + 1, bool)
    hit[np.unique(labels[seeds])] = True
    hit[0] = False
    return np.asarray(hit[labels])
