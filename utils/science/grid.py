"""Raster grids and tile windows. (row, col) is for arrays, (x, y) for maps; the two are never mixed."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TILE_ID = re.compile(r"r(\d{4,})_c(\d{4,})")
_WGS84_A_M = 6378137.0
_WGS84_E2 = 6.69437999014e-3


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels: first row and column, and size."""

    row: int
    col: int
    rows: int
    cols: int

    def to_list(self) -> list[int]:
        return [self.row, self.col, self.rows, self.cols]

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices into an array of the whole grid."""
        return slice(self.row, self.row + self.rows), slice(self.col, self.col + self.cols)

    def relative_to(self, other: Window) -> Window:
        """This window in the coordinates of `other`."""
        return Window(self.row - other.row, self.col - other.col, self.rows, self.cols)


@dataclass(frozen=True)
class Grid:
    """A north-up raster grid.

    epsg    coordinate system; 0 = none known
    x0, y0  outer corner of the upper-left pixel, m (degrees where the system is geographic)
    dx, dy  pixel size; dy is negative
    """

    epsg: int
    x0: float
    y0: float
    dx: float
    dy: float
    rows: int
    cols: int

    def __post_init__(self) -> None:
        if self.dx <= 0 or self.dy >= 0 or self.rows <= 0 or self.cols <= 0:
            raise ValueError(f"not a north-up grid with positive size: {self}")

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """GDAL geotransform."""
        return (self.x0, self.dx, 0.0, self.y0, 0.0, self.dy)

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.cols

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """xmin, ymin, xmax, ymax of the outer edges."""
        return self.x0, self.y0 + self.rows * self.dy, self.x0 + self.cols * self.dx, self.y0

    @property
    def is_geographic(self) -> bool:
        """True for longitude/latitude grids (EPSG:4326 is the only one used)."""
        return self.epsg == 4326

    def window(self, window: Window) -> Grid:
        """The grid of a window of this one; the window may reach outside."""
        return Grid(
            self.epsg,
            self.x0 + window.col * self.dx,
            self.y0 + window.row * self.dy,
            self.dx,
            self.dy,
            window.rows,
            window.cols,
        )

    def offset_of(self, other: Grid, tolerance_px: float = 1e-3) -> tuple[int, int]:
        """(row, col) of the upper-left pixel of `other` in this grid.

        raises  ValueError when system or pixel size differ, or the offset is no whole number of pixels
        """
        if self.epsg != other.epsg:
            raise ValueError(f"different coordinate systems: EPSG {self.epsg} and {other.epsg}")
        if not (math.isclose(self.dx, other.dx, rel_tol=1e-6) and math.isclose(self.dy, other.dy, rel_tol=1e-6)):
            raise ValueError(f"different pixel sizes: {self.dx} x {self.dy} and {other.dx} x {other.dy}")
        col, row = (other.x0 - self.x0) / self.dx, (other.y0 - self.y0) / self.dy
        if abs(col - round(col)) > tolerance_px or abs(row - round(row)) > tolerance_px:
            raise ValueError(f"grids are offset by {row:.3f} rows and {col:.3f} columns, not by whole pixels")
        return round(row), round(col)

    def pixel_centres_x(self) -> NDArray[np.float64]:
        """(cols,) float64 map x of the pixel centres."""
        return np.asarray(self.x0 + (np.arange(self.cols) + 0.5) * self.dx, dtype=np.float64)

    def pixel_centres_y(self) -> NDArray[np.float64]:
        """(rows,) float64 map y of the pixel centres."""
        return np.asarray(self.y0 + (np.arange(self.rows) + 0.5) * self.dy, dtype=np.float64)

    def pixel_area_m2(self) -> NDArray[np.float64]:
        """(rows, 1) float64 area of a pixel in each row.

        Projected grids: |dx dy|. Geographic: area of the ellipsoidal zone between two parallels on WGS84
        (authalic latitude formula, e.g. Snyder 1987, USGS PP 1395, eq. 3-12).
        """
        if not self.is_geographic:
            return np.full((self.rows, 1), abs(self.dx * self.dy))
        edges = np.radians(self.y0 + np.arange(self.rows + 1) * self.dy)
        e, sin = math.sqrt(_WGS84_E2), np.sin(edges)
        q = (1 - _WGS84_E2) * (sin / (1 - _WGS84_E2 * sin**2) + np.arctanh(e * sin) / e)
        zone = _WGS84_A_M**2 / 2 * np.abs(np.diff(q)) * math.radians(self.dx)
        return np.asarray(zone[:, None], dtype=np.float64)

    def mean_pixel_size_m(self) -> float:
        """Side of a square pixel of the mean area, m."""
        return float(np.sqrt(self.pixel_area_m2().mean()))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Grid:
        return cls(**{name: data[name] for name in ("epsg", "x0", "y0", "dx", "dy", "rows", "cols")})


@dataclass(frozen=True)
class Tile:
    """One tile of a tiling.

    window  the pixels the tile holds
    valid   the part of them that this tile owns: the valid windows of all tiles partition the grid, so that no
            pixel is counted twice although shifted edge tiles and overlaps hold some pixels twice
    """

    id: str
    window: Window
    valid: Window


def tile_id(row_index: int, col_index: int) -> str:
    """Name of the tile in row and column `index` of the tiling: r0003_c0012."""
    return f"r{row_index:04d}_c{col_index:04d}"


def parse_tile_id(text: str) -> tuple[int, int]:
    """Inverse of tile_id.

    raises  ValueError for anything else
    """
    match = _TILE_ID.fullmatch(text)
    if match is None:
        raise ValueError(f"not a tile id: {text!r}")
    return int(match.group(1)), int(match.group(2))


def _starts(length: int, size_px: int, stride_px: int) -> list[int]:
    """Starts of the windows along one axis; the last is shifted inwards to end at the edge."""
    starts = list(range(0, max(length - size_px, 0) + 1, stride_px))
    if starts[-1] + size_px < length:
        starts.append(length - size_px)
    return starts


def _cuts(starts: list[int], size_px: int, length: int) -> list[int]:
    """Borders between the owned parts of neighbouring windows: the middle of each overlap."""
    middles = [(right + left + size_px) // 2 for left, right in itertools.pairwise(starts)]
    return [0, *middles, length]


def make_tiles(rows: int, cols: int, size_px: int, overlap_px: int = 0) -> list[Tile]:
    """Cover a grid of rows x cols with square tiles, row by row.

    Neighbours overlap by overlap_px; the last row and column are shifted inwards so that no edge is lost.
    raises  ValueError if the tile is larger than the grid or the overlap not smaller than the tile
    """
    if size_px > min(rows, cols):
        raise ValueError(f"tile of {size_px} px does not fit into {rows} x {cols} px")
    if not 0 <= overlap_px < size_px:
        raise ValueError(f"overlap {overlap_px} px must be at least 0 and less than the tile, {size_px} px")
    tops, lefts = (_starts(length, size_px, size_px - overlap_px) for length in (rows, cols))
    row_cuts, col_cuts = _cuts(tops, size_px, rows), _cuts(lefts, size_px, cols)
    tiles = []
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            owned = Window(row_cuts[i], col_cuts[j], row_cuts[i + 1] - row_cuts[i], col_cuts[j + 1] - col_cuts[j])
            tiles.append(Tile(tile_id(i, j), Window(top, left, size_px, size_px), owned))
    return tiles
