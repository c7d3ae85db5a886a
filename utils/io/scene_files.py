"""The rows of a predicted scene on disk: rows_<first>_<last>.tif, full width, and index.json beside them.

first is the first row of a file, last the one behind its last: the rows of the next file begin there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io import raster
from utils.io.sigma_tags import sigma_tags
from utils.science.grid import Window
from utils.workflow.errors import InputError
from utils.workflow.files import atomic_json

SCHEMA = "s2cr.scene/1"
F32 = NDArray[np.float32]


def stripes(rows: int, stripe_rows: int) -> list[tuple[int, int]]:
    """(first, last) of every stripe of a scene, from top to bottom."""
    return [(first, min(first + stripe_rows, rows)) for first in range(0, rows, stripe_rows)]


def file_name(first: int, last: int) -> str:
    """rows_00000_02048.tif holds rows 0 .. 2047."""
    return f"rows_{first:05d}_{last:05d}.tif"


@dataclass(frozen=True)
class SceneFiles:
    """A predicted scene: bands without and with sigma, size, and (path, first, last) of its files from top to bottom."""

    bands: tuple[str, ...]
    sigma: bool
    rows: int
    cols: int
    files: tuple[tuple[Path, int, int], ...]

    @property
    def all_bands(self) -> tuple[str, ...]:
        """Bands of the files in order."""
        return (*self.bands, *(f"sigma_{band}" for band in self.bands if self.sigma))

    def sigma_tags(self) -> dict[str, str]:
        """Tag SIGMA_95 of the files, where the run told it."""
        return sigma_tags(self.files[0][0])

    def read(self, window: Window, bands: Sequence[str] | None = None) -> F32:
        """(bands, rows, cols) float32 of a window of the scene, from as many files as it takes; NaN = nodata."""
        parts = []
        for path, first, last in self.files:
            top, bottom = max(window.row, first), min(window.row + window.rows, last)
            if top < bottom:
                parts.append(raster.read(path, bands, Window(top - first, window.col, bottom - top, window.cols)))
        return np.concatenate(parts, axis=1)


def write_index(folder: Path, facts: Mapping[str, Any], shape: tuple[int, int], stripe_rows: int) -> Path:
    """Write index.json. facts: run, pair, bands, sigma."""
    path = folder / "index.json"
    files = [{"file": file_name(*one), "first": one[0], "last": one[1]} for one in stripes(shape[0], stripe_rows)]
    atomic_json(path, {"schema": SCHEMA, **facts, "rows": shape[0], "cols": shape[1], "files": files})
    return path


def load_index(folder: Path) -> SceneFiles:
    """raises  InputError when index.json is missing, malformed, or a file of it is not there"""
    path, remedy = folder / "index.json", "Run the stage predict again (predict.method: scene)."
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise InputError(f"{path}: schema {data['schema']!r} is not {SCHEMA}.", remedy)
        files = tuple((folder / one["file"], int(one["first"]), int(one["last"])) for one in data["files"])
        found = SceneFiles(tuple(data["bands"]), bool(data["sigma"]), int(data["rows"]), int(data["cols"]), files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: missing or malformed ({error!r}).", remedy) from error
    if missing := [name for name, *_ in files if not name.is_file()]:
        raise InputError(f"{missing[0]}: no such file.", remedy)
    return found
