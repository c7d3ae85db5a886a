"""Preprocessed rasters of one acquisition date on a grid: which products a date has, and their mosaic.

A date may have several products of a sensor (slices of a pass, neighbouring tiles): the first valid pixel wins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
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
    """Products of one date: ids without suffix, in the order of the pair list."""

    id: str
    s1: tuple[str, ...]
    s2: tuple[str, ...]
    facts: Mapping[str, Any]


def _ids(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.removesuffix(".zip").removesuffix(".SAFE") for name in names)


def load(pairs_json: Path) -> dict[str, Acquisition]:
    """Date id -> acquisition, from search/pairs.json.

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
            found[date["id"]] = Acquisition(date["id"], s1, s2, facts)
    return found


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


def inside(core: Grid | None, grid: Grid) -> NDArray[np.bool_]:
    """(rows, cols) True where the pixel centres of a grid lie in the core; everywhere when there is none."""
    if core is None:
        return np.ones(grid.shape, bool)
    west, south, east, north = core.bounds
    x, y = grid.pixel_centres_x(), grid.pixel_centres_y()
    return np.asarray(((y > south) & (y < north))[:, None] & ((x > west) & (x < east))[None, :])


def in_order(
    products: Sequence[str], cores: Sequence[Grid | None], grid: Grid
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Number of a product and the pixels that may be taken from it: cores first, then whatever is there.

    The order is that of `products`, twice; a single product, or products without core, are gone through once
    """
    if len(products) > 1 and any(core is not None for core in cores):
        for number, core in enumerate(cores):
            yield number, inside(core, grid)
    for number in range(len(products)):
        yield number, np.ones(grid.shape, bool)


def read_planes(root: Path, sensor: str, products: Sequence[str], files: Sequence[str], grid: Grid) -> NDArray[Any]:
    """(files, rows, cols) float32 mosaic of `files` (names without .tif) of the products on `grid`; NaN = no data.

    A pixel comes whole from one product: the first, in the order given, that has data in all files there, where it can
    be not along the edge of its tile
    raises  InputError when a raster is missing or does not align, or for Sentinel-2 products of several datatakes
    """
    check_datatake(products)
    out = np.full((len(files), *grid.shape), np.nan, dtype=np.float32)
    cores = [core_of(root, sensor, product) for product in products]
    for number, allowed in in_order(products, cores, grid):
        wanted = np.isnan(out).any(axis=0) & allowed
        if not wanted.any():
            continue
        folder = root / sensor / products[number]
        planes = [raster.read_on_grid(folder / f"{name}.tif", grid)[0] for name in files]
        here = wanted & np.isfinite(planes).all(axis=0)
        for plane, values in zip(out, planes, strict=True):
            np.copyto(plane, values, where=here, casting="unsafe")
    return out


def read_cloud(root: Path, products: Sequence[str], grid: Grid) -> NDArray[np.uint8]:
    """(rows, cols) cloud codes of the mosaic: 0 clear, 1 cloud, 2 shadow, 3 snow, 4 defective, 255 none.

    The first product with a code wins, away from the edge of its tile where it can be
    """
    check_datatake(products)
    out = np.full(grid.shape, 255, dtype=np.uint8)
    cores = [core_of(root, "sentinel2", product) for product in products]
    for number, allowed in in_order(products, cores, grid):
        wanted = (out == 255) & allowed
        if not wanted.any():
            continue
        values = raster.read_on_grid(root / "sentinel2" / products[number] / "cloud.tif", grid, fill=255)[0]
        np.copyto(out, values, where=wanted, casting="unsafe")
    return out
