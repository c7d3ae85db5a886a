"""Predictions of a pair row by row: from overlapping tiles, which are blended, or from rows of a streamed scene."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from utils.io import raster
from utils.io.sigma_tags import sigma_tags
from utils.science.blend import stitch_rows
from utils.science.grid import Grid, Window
from utils.workflow.errors import InputError

F32 = NDArray[np.float32]
SCHEMA = "s2cr.scene/1"
_BLEND_ROWS = 128  # float64 sums of so many rows at once
_REMEDY = "Run predict again: ./s2cr predict CONF --force"


class RowSource(Protocol):
    """What mosaic reads: simulated reflectance and, where the run tells it, its standard deviation."""

    @property
    def has_sigma(self) -> bool: ...

    def sigma_tags(self) -> dict[str, str]:
        """Tag SIGMA_95 of the files: half width of the interval of 95 %, in sigmas; empty where they do not say it."""
        ...

    def rows(self, first: int, count: int) -> F32:
        """(bands, count, cols) float32 reflectance, NaN = nodata."""
        ...

    def sigma(self, first: int, count: int) -> F32:
        """The same for the standard deviation."""
        ...


class TileRows:
    """Predicted tiles of one pair, blended with sin^2 weights in the order given.

    The standard deviation of overlapping windows is blended like the reflectance: their errors are nearly equal, so it
    does not shrink by averaging.
    """

    def __init__(
        self, tiles: Sequence[Path], windows: Sequence[Window], grid: Grid, bands: Sequence[str], with_sigma: bool
    ) -> None:
        """raises  InputError when the first tile, or that of sigma, is missing, of other bands, system or data type"""
        self._tiles, self._windows, self._grid, self._bands = list(tiles), list(windows), grid, tuple(bands)
        self._with_sigma = with_sigma
        _check_bands(self._tiles[0], self._bands, grid.window(self._windows[0]))
        if with_sigma:
            _check_bands(_sigma_of(self._tiles[0]), _sigma_names(self._bands), grid.window(self._windows[0]))

    @property
    def has_sigma(self) -> bool:
        return self._with_sigma

    def sigma_tags(self) -> dict[str, str]:
        return sigma_tags(_sigma_of(self._tiles[0]))

    def rows(self, first: int, count: int) -> F32:
        return self._blend(self._tiles, first, count)

    def sigma(self, first: int, count: int) -> F32:
        return self._blend([_sigma_of(tile) for tile in self._tiles], first, count)

    def _blend(self, tiles: Sequence[Path], first: int, count: int) -> F32:
        def read(number: int) -> F32:
            return self._read(tiles[number], self._windows[number])

        parts = [
            stitch_rows(
                self._windows, self._grid.cols, len(self._bands), read, top, min(_BLEND_ROWS, first + count - top)
            )
            for top in range(first, first + count, _BLEND_ROWS)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _read(self, tile: Path, window: Window) -> F32:
        planes, transform = raster.read_placed(tile)
        expected = self._grid.window(window)
        shape = (len(self._bands), expected.rows, expected.cols)
        near = np.allclose(transform, expected.transform, rtol=0, atol=1e-3 * expected.dx)
        if planes.shape != shape or not near:
            raise InputError(
                f"{tile}: {planes.shape} pixels from {transform[0]:.10g}, {transform[3]:.10g}; its sample has {shape} "
                f"from {expected.x0:.10g}, {expected.y0:.10g}.",
                _REMEDY,
            )
        return planes.astype(np.float32, copy=False)


def _sigma_of(tile: Path) -> Path:
    return tile.parent / "sigma" / tile.name


def _sigma_names(bands: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"sigma_{band}" for band in bands)


def _check_bands(path: Path, bands: Sequence[str], grid: Grid) -> None:
    """raises  InputError unless the raster is float with exactly these bands in the coordinate system of the grid"""
    facts = raster.info(path)
    if tuple(facts.band_names) != tuple(bands) or not facts.dtype.startswith("float"):
        raise InputError(
            f"{path}: {facts.dtype} bands {', '.join(facts.band_names)}; expected float {', '.join(bands)}.", _REMEDY
        )
    if facts.grid.epsg != grid.epsg:
        raise InputError(f"{path}: EPSG {facts.grid.epsg}; the pair is in EPSG {grid.epsg}.", _REMEDY)
    try:
        offset = grid.offset_of(facts.grid)
    except ValueError as error:
        raise InputError(f"{path}: not on the grid of the pair: {error}.", _REMEDY) from error
    if offset != (0, 0) or facts.grid.shape != grid.shape:
        raise InputError(
            f"{path}: {facts.grid.rows} x {facts.grid.cols} px at row {offset[0]}, column {offset[1]} of its place; "
            f"expected {grid.rows} x {grid.cols} px at 0, 0.",
            _REMEDY,
        )


@dataclass(frozen=True)
class _Part:
    path: Path
    first: int
    rows: int


class SceneRows:
    """Rows of a scene that predict streamed: stripes/<run>/<pair>/index.json and rows_<first>_<last>.tif."""

    def __init__(self, folder: Path, run: str, pair: str, grid: Grid, bands: Sequence[str]) -> None:
        """raises  InputError when the index or a file is missing, malformed, of other bands or another grid"""
        self._folder, self._bands, self._grid = folder, tuple(bands), grid
        facts = _scene_index(folder / "index.json")
        expected = {"run": run, "pair": pair, "bands": list(bands), "rows": grid.rows, "cols": grid.cols}
        for name, value in expected.items():
            if facts.get(name) != value:
                raise InputError(
                    f"{folder / 'index.json'}: {name} is {facts.get(name)!r}, expected {value!r}.", _REMEDY
                )
        self._sigma = bool(facts.get("sigma"))
        self._parts = self._checked(facts["files"])

    @property
    def has_sigma(self) -> bool:
        return self._sigma

    def sigma_tags(self) -> dict[str, str]:
        return sigma_tags(self._parts[0].path)

    def rows(self, first: int, count: int) -> F32:
        return self._read(self._bands, first, count)

    def sigma(self, first: int, count: int) -> F32:
        return self._read(_sigma_names(self._bands), first, count)

    def _checked(self, files: Sequence[dict[str, Any]]) -> list[_Part]:
        names = self._bands + (_sigma_names(self._bands) if self._sigma else ())
        parts, at = [], 0
        for record in sorted(files, key=lambda one: int(one["first"])):
            path, first = self._folder / str(record["file"]), int(record["first"])
            if path.parent != self._folder:
                raise InputError(f"{path}: not in the folder of its index.json.", _REMEDY)
            rows = raster.info(path).grid.rows
            if first != at or int(record["last"]) - first != rows:
                raise InputError(
                    f"{path}: rows {first} to {record['last']} by its index; {at} comes next, and it has {rows}.",
                    _REMEDY,
                )
            _check_bands(path, names, self._grid.window(Window(first, 0, rows, self._grid.cols)))
            parts.append(_Part(path, first, rows))
            at = first + rows
        if at != self._grid.rows:
            raise InputError(f"{self._folder}: rows end at {at} of {self._grid.rows}.", _REMEDY)
        return parts

    def _read(self, names: Sequence[str], first: int, count: int) -> F32:
        pieces = []
        for part in self._parts:
            top, bottom = max(first, part.first), min(first + count, part.first + part.rows)
            if top < bottom:
                window = Window(top - part.first, 0, bottom - top, self._grid.cols)
                pieces.append(raster.read(part.path, names, window).astype(np.float32, copy=False))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)


def _scene_index(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}.", _REMEDY) from error
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA or not isinstance(facts.get("files"), list):
        raise InputError(f"{path}: schema is not {SCHEMA}, or it lists no files.", _REMEDY)
    return facts


class LabelRows:
    """Label tiles of the observed t1, blended like predictions; `read` gives tile number i with NaN where not clear."""

    has_sigma = False

    def __init__(self, windows: Sequence[Window], grid: Grid, bands: Sequence[str], read: Callable[[int], F32]) -> None:
        self._windows, self._grid, self._bands, self._read = list(windows), grid, tuple(bands), read

    def rows(self, first: int, count: int) -> F32:
        parts = [
            stitch_rows(
                self._windows, self._grid.cols, len(self._bands), self._read, top, min(_BLEND_ROWS, first + count - top)
            )
            for top in range(first, first + count, _BLEND_ROWS)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def sigma_tags(self) -> dict[str, str]:
        return {}

    def sigma(self, first: int, count: int) -> F32:
        raise ValueError("labels have no sigma")
