"""Series of preprocessed Sentinel-1 products of one track: which there are, and their filter from file to file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io import raster, row_writer
from utils.science import multitemporal
from utils.science.grid import Grid, Window
from utils.workflow.errors import InputError

POLARISATIONS = ("VV", "VH")
_BLOCK_BYTES = 256 << 20
_SAME_PASS = timedelta(hours=1)
_STORED_ROWS = 512  # rows of blocks in the files: reading fewer at once would decompress them more than once


@dataclass(frozen=True)
class Series:
    """Products of one track on one grid, in the order of acquisition.

    passes  number of the pass that each product belongs to, from 0: slices of one pass are one date
    """

    id: str
    grid: Grid
    products: tuple[str, ...]
    passes: tuple[int, ...]

    def dates(self, names: Iterable[str]) -> int:
        """How many acquisition dates some of the products are of."""
        number = dict(zip(self.products, self.passes, strict=True))
        return len({number[name] for name in names})


def file_of(polarisation: str) -> str:
    """Name of the raster of one polarisation."""
    return f"gamma0_{polarisation.lower()}.tif"


def facts_of(folder: Path) -> dict[str, Any]:
    """product.json of a preprocessed product.

    raises  InputError when it is missing or malformed
    """
    path = folder / "product.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError) as error:
        raise InputError(f"{path}: {error}.", "Run the stage that writes it again.") from error


def find_series(root: Path, products: Iterable[str]) -> list[Series]:
    """Group preprocessed products by relative orbit, direction and grid.

    root    folder that holds one folder for each product
    raises  InputError when a product does not say its track: dates of two tracks must never be mixed
    """
    groups: dict[tuple[int, str, Grid], list[tuple[str, str]]] = {}
    for name in products:
        facts = facts_of(root / name)
        tags = facts.get("tags", {})
        orbit = facts.get("relative_orbit") or tags.get("RELATIVE_ORBIT")
        direction, start = (facts.get("pass") or tags.get("PASS"), facts.get("start") or tags.get("ACQ_START"))
        if not str(orbit or "").isdigit() or not direction:
            raise InputError(
                f"{name}: product.json does not say relative orbit and direction.",
                "Set preprocess.multitemporal.enabled: false, or give them to import_data.",
            )
        grid = raster.info(next(iter(sorted((root / name).glob("gamma0_*.tif"))), root / name / file_of("VV"))).grid
        groups.setdefault((int(orbit), str(direction).lower(), grid), []).append((str(start), name))
    found: list[Series] = []
    for (orbit, direction, grid), members in sorted(groups.items(), key=lambda item: (item[0][:2], min(item[1]))):
        base, taken = f"{orbit:03d}_{direction}", [one.id for one in found]
        number = sum(name.split("-")[0] == base for name in taken)
        starts, names = zip(*sorted(members), strict=True)
        found.append(Series(f"{base}-{number + 1}" if number else base, grid, names, _passes(starts)))
    return found


def _passes(starts: Sequence[str]) -> tuple[int, ...]:
    """Number of the pass of each start time, in order; a start that is no time is a pass of its own.

    By time and not by calendar day: a pass may run across midnight, and a track comes back after days.
    """
    numbers: list[int] = []
    last: datetime | None = None
    for text in starts:
        try:
            start = datetime.fromisoformat(text).replace(tzinfo=None)
        except ValueError:
            start = None
        same = start is not None and last is not None and abs(start - last) < _SAME_PASS
        numbers.append(numbers[-1] + (not same) if numbers else 0)
        last = start
    return tuple(numbers)


def filter_files(
    sources: Sequence[Path],
    targets: Sequence[Path],
    grid: Grid,
    window: int,
    *,
    polarisation: str,
    tags: Sequence[Mapping[str, str]],
    threads: int = 0,
    block_rows: int = 0,
) -> list[dict[str, float]]:
    """Filter the rasters of one polarisation of a series; every target appears whole or not at all.

    block_rows  rows in memory at once, 0 = so that all dates take about 256 MiB; the result does not depend on it
    returns     for each date the mean of the input and of the output over its valid pixels
    raises      InputError when a raster is missing or not on `grid`, DiskError
    """
    rows_at_once = block_rows or _rows_at_once(len(sources), grid.cols)
    sums = np.zeros((3, len(sources)))
    with ExitStack() as stack:
        readers = [stack.enter_context(raster.Reader(path)) for path in sources]
        for reader in readers:
            if reader.grid != grid:
                raise InputError(f"{reader.path}: is on another grid than its series.", "Preprocess all dates again.")
        options = {"band_names": (polarisation,), "nodata": float("nan"), "threads": threads}
        writers = [
            stack.enter_context(row_writer.writer(path, grid, 1, "float32", tags=text, **options))  # type: ignore[arg-type]
            for path, text in zip(targets, tags, strict=True)
        ]
        for first, before, after in _blocks(readers, grid, window, rows_at_once):
            for writer, plane in zip(writers, after, strict=True):
                writer.write(plane[None], first, 0)
            sums += [np.nansum(part, axis=(1, 2), dtype=np.float64) for part in (before, after)] + [
                np.isfinite(after).sum(axis=(1, 2))
            ]
    counts = np.maximum(sums[2], 1)
    return [{"mean_before": float(a), "mean_after": float(b)} for a, b in (sums[:2] / counts).T]


def _rows_at_once(dates: int, cols: int) -> int:
    fitting = _BLOCK_BYTES // (3 * 4 * dates * cols)  # input, output, scatter
    return max(min(fitting, _STORED_ROWS), 16)


def _blocks(
    readers: Sequence[raster.Reader], grid: Grid, window: int, rows_at_once: int
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
    """First row, input and output (dates, rows, cols) of successive parts; every row is read once."""
    radius = multitemporal.radius_px(window)
    held = np.empty((len(readers), 0, grid.cols), np.float32)
    top = 0  # row of the grid that the held rows begin with
    for block in multitemporal.row_blocks(grid.rows, rows_at_once, radius):
        part = Window(block.first, 0, block.stop - block.first, grid.cols)
        new = np.stack([reader.read(part)[0] for reader in readers])
        held = np.concatenate([held, new], axis=1)
        inner = slice(block.out_first - top, block.out_stop - top)
        yield block.out_first, held[:, inner], multitemporal.multitemporal_filter(held, window)[:, inner]
        keep = max(block.out_stop - radius, 0)
        held, top = np.ascontiguousarray(held[:, keep - top :]), keep
