"""Preprocessed rasters of one acquisition date on a grid: which products a date has, and their mosaic.

A date may have several products of a sensor (slices of a pass, neighbouring tiles): the first valid pixel wins.
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
from utils.io.download_lock import fetched_pairs
from utils.science.grid import Grid
from utils.workflow.errors import InputError

SCHEMA = "s2cr.pairs/1"


@dataclass(frozen=True)
class Acquisition:
    """Products of one date: ids without suffix, in the order of the pair list.

    sar_folder  folder of the Sentinel-1 products below preprocessed/
    """

    id: str
    s1: tuple[str, ...]
    s2: tuple[str, ...]
    facts: Mapping[str, Any]
    sar_folder: str = "sentinel1"


def _ids(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.removesuffix(".zip").removesuffix(".SAFE") for name in names)


def load(pairs_json: Path, sar_folder: str = "sentinel1") -> dict[str, Acquisition]:
    """Date id -> acquisition, from search/pairs.json.

    sar_folder  preprocess.sar_folder, where gamma0 is read

    raises  InputError when it is missing, malformed or of another schema
    """
    remedy = "Run find_images or import_data again."
    try:
        data = json.loads(pairs_json.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise InputError(f"{pairs_json}: {error}.", remedy) from error
    if data.get("schema") != SCHEMA:
        raise InputError(f"{pairs_json}: schema {data.get('schema')!r} is not {SCHEMA}.", remedy)
    fetched = fetched_pairs(pairs_json.parent.parent / "raw")
    found: dict[str, Acquisition] = {}
    for pair in data["pairs"]:
        if fetched is not None and pair["id"] not in fetched:
            continue  # the search keeps more ranks than download fetches
        for key in ("date1", "date2"):
            date = pair[key]
            s1, s2 = (_ids(date.get(sensor, {}).get("products", ())) for sensor in ("s1", "s2"))
            facts = {"s1": date.get("s1", {}), "s2": date.get("s2", {})}
            found[date["id"]] = Acquisition(date["id"], s1, s2, facts, sar_folder)
    return found


def read_planes(root: Path, sensor: str, products: Sequence[str], files: Sequence[str], grid: Grid) -> NDArray[Any]:
    """(files, rows, cols) float32 mosaic of `files` (names without .tif) of the products on `grid`; NaN = no data.

    raises  InputError when a raster is missing or does not align
    """
    out = np.full((len(files), *grid.shape), np.nan, dtype=np.float32)
    for product in products:
        for plane, name in zip(out, files, strict=True):
            values = raster.read_on_grid(root / sensor / product / f"{name}.tif", grid)[0]
            np.copyto(plane, values, where=np.isnan(plane), casting="unsafe")
    return out


def read_cloud(root: Path, products: Sequence[str], grid: Grid) -> NDArray[np.uint8]:
    """(rows, cols) cloud codes of the mosaic: 0 clear, 1 cloud, 2 shadow, 3 snow, 4 defective, 255 none."""
    out = np.full(grid.shape, 255, dtype=np.uint8)
    for product in products:
        values = raster.read_on_grid(root / "sentinel2" / product / "cloud.tif", grid, fill=255)[0]
        np.copyto(out, values, where=out == 255, casting="unsafe")
    return out
