"""buzzard 0.6.5 beside numpy 2 and shapely 2: names that both removed are put back before it is imported.

Only footprint and tile arithmetic is used. Its resampling is off by half a pixel and is not.
"""

from __future__ import annotations

import collections
import collections.abc
import threading
import warnings
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from utils.science.grid import Grid, Tile
from utils.workflow.errors import BrokenEnvironmentError


def _put_back(owner: Any, name: str, value: Any) -> None:
    if not hasattr(owner, name):
        setattr(owner, name, value)


def _restore() -> None:
    from osgeo import ogr

    for name in ("Iterable", "Mapping", "MutableMapping", "Sequence", "Container", "Hashable", "Callable", "Sized"):
        _put_back(collections, name, getattr(collections.abc, name))
    types = {name: getattr(np, name) for name in (
        "bool_", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
        "float16", "float32", "float64", "complex64", "complex128")}  # fmt: skip
    for name, value in {"typeDict": types, "sctypeDict": types, "product": np.prod, "object": object}.items():
        if name not in np.__dict__:  # hasattr would ask numpy's own __getattr__, which warns
            setattr(np, name, value)
    _put_back(threading.Thread, "isAlive", threading.Thread.is_alive)
    _put_back(ogr.Feature, "SetField2", ogr.Feature.SetField)


def _exterior_coords(geometry: Any) -> Iterator[Any]:
    """Coordinates of each exterior ring, (n, 2) arrays; shapely 2 needs .geoms and .exterior.coords."""
    if hasattr(geometry, "geoms"):
        for part in geometry.geoms:
            yield from _exterior_coords(part)
    else:
        yield np.asarray(geometry.exterior.coords if hasattr(geometry, "exterior") else geometry.coords)


@cache
def load() -> ModuleType:
    """Import buzzard with the compatibility names in place.

    raises  BrokenEnvironmentError when it is not installed
    """
    _restore()
    # a thousand notes about affine's operators on every tiling; nothing of it is ours to change
    warnings.filterwarnings("ignore", category=PendingDeprecationWarning, module=r"buzzard\b.*")
    try:
        import buzzard
        from buzzard import _footprint_intersection
    except ImportError as error:
        raise BrokenEnvironmentError(f"buzzard cannot be imported ({error}).", "Run: make env") from error
    _footprint_intersection._exterior_coords_iterator = _exterior_coords
    return buzzard  # type: ignore[no-any-return]


def footprint(grid: Grid) -> Any:
    """buzzard Footprint of a grid: upper-left corner, size in map units, size in pixels."""
    xmin, ymin, xmax, ymax = grid.bounds
    return load().Footprint(tl=(xmin, ymax), size=(xmax - xmin, ymax - ymin), rsize=(grid.cols, grid.rows))


def grid_of(fp: Any, epsg: int) -> Grid:
    """Inverse of `footprint` for a north-up footprint."""
    return Grid(
        epsg, float(fp.tlx), float(fp.tly), float(fp.pxsizex), -float(fp.pxsizey), int(fp.rsizey), int(fp.rsizex)
    )


def tile_footprints(grid: Grid, size_px: int, overlap_px: int = 0) -> list[list[Any]]:
    """Footprints of square tiles in rows and columns; the last ones overlap their neighbours ("overlap" boundary)."""
    tiles = footprint(grid).tile((size_px, size_px), overlap_px, overlap_px, boundary_effect="overlap")
    return [list(row) for row in tiles]


def same_geometry(fp: Any, grid: Grid, tile: Tile) -> bool:
    """True when a footprint covers exactly the pixels of a tile of `grid`."""
    return grid_of(fp, grid.epsg) == grid.window(tile.window)
