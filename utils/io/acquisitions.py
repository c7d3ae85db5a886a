"""Preprocessed rasters of one acquisition date on a grid: which products a date has, and their mosaic.

A date may have several products of a sensor (slices of a pass, neighbouring tiles): the first valid pixel wins.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io import raster
from utils.io.download_lock import fetched_pairs
from utils.science.grid import Grid
from utils.science.product import NameError_, parse_name
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


def load(pairs_json: Path, sar_folder: str = "sentinel1", left_out: Collection[str] = ()) -> dict[str, Acquisition]:
    """Date id -> acquisition, from search/pairs.json.

    sar_folder  preprocess.sar_folder, where gamma0 is read
    left_out    ids of products without rasters, because they do not cover the area
    raises      InputError when it is missing, malformed or of another schema, or when `left_out` holds all products that
                a date has of a sensor
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
            s1, s2 = (_used(date, sensor, left_out) for sensor in ("s1", "s2"))
            facts = {"s1": date.get("s1", {}), "s2": date.get("s2", {})}
            found[date["id"]] = Acquisition(date["id"], s1, s2, facts, sar_folder)
    return found


def _used(date: Mapping[str, Any], sensor: str, left_out: Collection[str]) -> tuple[str, ...]:
    listed = _ids(date.get(sensor, {}).get("products", ()))
    used = tuple(name for name in listed if name not in left_out)
    if listed and not used:
        raise InputError(
            f"date {date['id']}: preprocessing skipped all of its Sentinel-{sensor[1]} products as outside the area: "
            f"{', '.join(listed)}.",
            "Choose another date or product (find_images), or lower preprocess.min_overlap.",
        )
    return used


def check_datatake(products: Sequence[str]) -> None:
    """Sentinel-2 products of one date must be tiles of one datatake: two passes differ in view, sun and clouds.

    products  names; those that are no product names (imported rasters) are left out
    raises    InputError naming two of different datatakes
    """
    taken: dict[tuple[Any, ...], str] = {}
    for name in products:
        try:
            product = parse_name(name)
        except NameError_:
            continue
        if product.mission == "S2":
            taken.setdefault((product.platform, product.start, product.relative_orbit), name)
    if len(taken) > 1:
        first, second = list(taken.values())[:2]
        raise InputError(
            f"{first} and {second} are of different datatakes, but of one date in the pair list: they are not mixed.",
            "Run find_images again, or leave one of them out of search.s2_t0, search.s2_t1 or import_data.",
        )


def core_of(root: Path, sensor: str, product: str) -> Grid | None:
    """Where a product's pixels do not depend on what lies beyond its tile: its rectangle without a margin.

    Along the edge of a tile clouds next door do not grow into it and interpolation lacks neighbours; the tile next door
    of the same datatake overlaps by 10 km and knows better.
    returns  None where product.json does not say
    """
    try:
        data = json.loads((root / sensor / product / "product.json").read_text(encoding="utf-8"))
        return Grid.from_dict(data["core"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


LOWEST = np.iinfo(np.int32).min


def rank(core: Grid | None, grid: Grid) -> NDArray[np.int32]:
    """(rows, cols) 0 where the pixel centres of a grid lie in the core, else minus the pixels across and down to it.

    Where several tiles cover a pixel the one of the highest rank knows most of its surroundings. 0 without a core
    """
    if core is None:
        return np.zeros(grid.shape, np.int32)
    west, south, east, north = core.bounds
    x, y = grid.pixel_centres_x(), grid.pixel_centres_y()
    across = np.ceil(np.maximum(np.maximum(west - x, x - east), 0) / grid.dx)
    down = np.ceil(np.maximum(np.maximum(y - north, south - y), 0) / -grid.dy)
    return -(down[:, None] + across[None, :]).astype(np.int32)


def read_planes(root: Path, sensor: str, products: Sequence[str], files: Sequence[str], grid: Grid) -> NDArray[Any]:
    """(files, rows, cols) float32 mosaic of `files` (names without .tif) of the products on `grid`; NaN = no data.

    A pixel comes whole from one product with data in all files there: the first, in the order given, of the highest rank
    raises  InputError when a raster is missing or does not align, or for Sentinel-2 products of several datatakes
    """
    check_datatake(products)
    out = np.full((len(files), *grid.shape), np.nan, dtype=np.float32)
    best = np.full(grid.shape, LOWEST, np.int32)
    for product in products:
        ranks = rank(core_of(root, sensor, product), grid)
        if not (ranks > best).any():
            continue
        planes = [raster.read_on_grid(root / sensor / product / f"{name}.tif", grid)[0] for name in files]
        here = (ranks > best) & np.isfinite(planes).all(axis=0)
        for plane, values in zip(out, planes, strict=True):
            np.copyto(plane, values, where=here, casting="unsafe")
        np.copyto(best, ranks, where=here)
    return out


def read_cloud(root: Path, products: Sequence[str], grid: Grid) -> NDArray[np.uint8]:
    """(rows, cols) cloud codes of the mosaic: 0 clear, 1 cloud, 2 shadow, 3 snow, 4 defective, 255 none.

    The first product with a code, of those of the highest rank, wins
    """
    check_datatake(products)
    out = np.full(grid.shape, 255, dtype=np.uint8)
    best = np.full(grid.shape, LOWEST, np.int32)
    for product in products:
        ranks = rank(core_of(root, "sentinel2", product), grid)
        if not (ranks > best).any():
            continue
        values = raster.read_on_grid(root / "sentinel2" / product / "cloud.tif", grid, fill=255)[0]
        here = (ranks > best) & (values != 255)
        np.copyto(out, values, where=here, casting="unsafe")
        np.copyto(best, ranks, where=here)
    return out
