"""Digital numbers of Sentinel-2 images on a target grid, strip by strip, nodata outside the tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io.jp2 import Rows
from utils.io.safe import SafeProduct
from utils.science.grid import Grid
from utils.workflow.errors import InputError

_AGAIN = "Download it again: make download CONF=..."


@dataclass(frozen=True)
class Image:
    """One image of a product.

    member   file in the product;  grid: where MTD_TL.xml puts it
    fill     value outside the tile
    """

    member: str
    grid: Grid
    fill: int


class Strips:
    """Rows of an image on a grid of the image's own pixel size; forwards only. Use as a context manager.

    grid     must nest with that of the image; may reach beyond the tile
    threads  decode so many tiles at once
    raises   InputError for a missing or broken file, or one of another size or place than the metadata say
    """

    def __init__(self, product: SafeProduct, image: Image, grid: Grid, threads: int = 1) -> None:
        self._image, self._grid = image, grid
        self._row, self._col = image.grid.offset_of(grid)
        where = f"{product.path.name}: {image.member}"
        self._rows = Rows(product.gdal_path(image.member), where, threads)
        found, own = self._rows.grid, image.grid
        if found.shape != own.shape:
            raise InputError(
                f"{where} has {found.rows} x {found.cols} pixels, MTD_TL.xml says {own.rows} x {own.cols}.", _AGAIN
            )
        if found.epsg and (found.epsg, found.x0, found.y0) != (own.epsg, own.x0, own.y0):
            raise InputError(f"{where} lies elsewhere than MTD_TL.xml says.", _AGAIN)

    def __enter__(self) -> Strips:
        return self

    def __exit__(self, *error: object) -> None:
        self._rows.__exit__(*error)

    def take(self, first: int, last: int) -> NDArray[Any]:
        """Rows first..last - 1 of the grid; both may lie outside it, as context.

        returns  (last - first, cols) in the image's type, `fill` outside the tile
        """
        own, row, col = self._image.grid, self._row, self._col
        top, bottom = max(row + first, 0), min(row + last, own.rows)
        left, right = max(col, 0), min(col + self._grid.cols, own.cols)
        if bottom <= top or right <= left:
            return np.full((last - first, self._grid.cols), self._image.fill, np.uint16)
        inner = self._rows.take(top, bottom, left, right)
        if inner.shape == (last - first, self._grid.cols):
            return inner
        out = np.full((last - first, self._grid.cols), self._image.fill, inner.dtype)
        out[top - row - first : bottom - row - first, left - col : right - col] = inner
        return out


def read(product: SafeProduct, image: Image, grid: Grid) -> NDArray[Any]:
    """All pixels of a grid at once, for small areas: (rows, cols)."""
    with Strips(product, image, grid) as strips:
        return strips.take(0, grid.rows)


def strip_rows(rows: int, step: int) -> Sequence[tuple[int, int]]:
    """First and last row (exclusive) of strips of `step` rows."""
    return [(first, min(first + step, rows)) for first in range(0, rows, step)]
