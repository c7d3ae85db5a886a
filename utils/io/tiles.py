"""The tiles of stage `tile` and what build_dataset needs beside them: windows, pairs, tracks, whole radar scenes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io import raster
from utils.io.acquisitions import Acquisition
from utils.io.cutter import Cut, DateRasters
from utils.io.download_lock import fetched_pairs
from utils.science.chains import Link, join
from utils.science.grid import Grid, Tile, Window
from utils.workflow.errors import ConfigError, InputError, NothingFoundError

_SCENE_PX = 1 << 20  # pixels of a radar scene that a median looks at; more changes nothing


@dataclass(frozen=True)
class Tiling:
    """grid.json of one date."""

    grid: Grid
    size_px: int
    tiles: Mapping[str, Tile]


def read_tiling(folder: Path) -> Tiling:
    """Windows of the tiles in a folder tiles/<date>.

    raises  InputError when grid.json is missing or malformed
    """
    path = folder / "grid.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        tiles = {t["id"]: Tile(t["id"], Window(*t["window"]), Window(*t["valid"])) for t in data["tiles"]}
        return Tiling(Grid.from_dict(data["grid"]), int(data["size_px"]), tiles)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: missing or malformed ({error!r}).", "Run the stage tile again.") from error


def read_tile(folder: Path, tile_id: str) -> Cut:
    """The three rasters of one tile of tiles/<date>.

    raises  InputError when one is missing, or when they differ in coordinate system, transform or shape
    """
    arrays, grids = [], {}
    for sensor in ("sentinel1", "sentinel2", "mask"):
        with raster.Reader(folder / sensor / f"{tile_id}.tif") as reader:
            arrays.append(reader.read())
            grids[sensor] = reader.grid
    if len(set(grids.values())) != 1:
        raise InputError(
            f"{folder}: the rasters of {tile_id} are not on one grid: {grids}.",
            "Run the stage tile again with --force.",
        )
    return Cut(*arrays)


def scene_power(root: Path, date: Acquisition) -> NDArray[np.float32]:
    """(2, rows, cols) VV and VH of a whole date; of a large one every n-th row, so that about a million pixels stay."""
    with DateRasters(root, replace(date, s2=()), ()) as rasters:
        grid = rasters.grid
        step = max(1, grid.rows * grid.cols // _SCENE_PX)
        if step == 1:
            return rasters.cut(Window(0, 0, grid.rows, grid.cols)).sar
        rows = [rasters.cut(Window(row, 0, 1, grid.cols)).sar for row in range(0, grid.rows, step)]
        return np.concatenate(rows, axis=1)


def read_pairs(pairs_json: Path) -> list[dict[str, Any]]:
    """The pairs of pairs.json that were fetched, in order.

    raises  InputError when it is missing or malformed
    """
    try:
        pairs = list(json.loads(pairs_json.read_text(encoding="utf-8"))["pairs"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{pairs_json}: missing or malformed ({error!r}).", "Run find_images or import_data again."
        ) from error
    fetched = fetched_pairs(pairs_json.parent.parent / "raw")
    return [pair for pair in pairs if fetched is None or pair["id"] in fetched]


def read_sequences(pairs_json: Path, n_dates: int) -> list[dict[str, Any]]:
    """The fetched pairs as sequences of n_dates dates: id, site, dates (records of pairs.json, the last to simulate).

    With two dates these are the pairs. raises  InputError as read_pairs, NothingFoundError when no pairs make a sequence
    """
    pairs = read_pairs(pairs_json)
    records = {date["id"]: date for pair in pairs for date in dates_of(pair)}
    links = [Link(p["id"], p.get("site", "aoi"), p["date1"]["id"], p["date2"]["id"]) for p in pairs]
    chains = join(links, n_dates, {name: (day_of(date), name) for name, date in records.items()})
    if not chains:
        raise NothingFoundError(
            f"None of {len(pairs)} pairs joins others to a sequence of {n_dates} dates.",
            "Search or import more dates: every two neighbours of a sequence must be a pair. Or lower dataset.dates.",
        )
    return [{"id": c.id, "site": c.site, "dates": [records[name] for name in c.dates]} for c in chains]


def mixed_orbit(pair: Mapping[str, Any], allowed: bool) -> bool:
    """True when radar dates of a pair are of different tracks; unknown tracks count as equal.

    pair    a pair of pairs.json, or a sequence of more dates as read_sequences gives it
    raises  ConfigError (65) naming both tracks when that is not allowed
    """
    dates = dates_of(pair)
    return any([_mixed(pair["id"], dates[0], other, allowed) for other in dates[1:]])


def dates_of(pair: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The dates of a pair or of a sequence, oldest first."""
    return list(pair["dates"]) if "dates" in pair else [pair["date1"], pair["date2"]]


def _mixed(name: str, one: Mapping[str, Any], other: Mapping[str, Any], allowed: bool) -> bool:
    first, second = one["s1"], other["s1"]
    mixed = any(
        first.get(key) is not None
        and second.get(key) is not None
        and str(first[key]).lower() != str(second[key]).lower()
        for key in ("direction", "relative_orbit")
    )
    if mixed and not allowed:
        raise ConfigError(
            f"pair {name}: Sentinel-1 of {one['id']} is {_track(first)}, of {other['id']} {_track(second)}.",
            "Choose dates of one track, or set dataset.allow_mixed_orbit: true (the difference then holds viewing geometry).",
        )
    return mixed


def _track(date: Mapping[str, Any]) -> str:
    return f"track {date.get('relative_orbit') or 'unknown'} {str(date.get('direction') or 'unknown').lower()}"


def day_of(date: Mapping[str, Any]) -> str:
    """ISO day of a date of pairs.json: that of Sentinel-2, else of Sentinel-1."""
    return str((date.get("s2") or {}).get("start") or date["s1"]["start"])[:10]
