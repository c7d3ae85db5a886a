"""path_csv: Sentinel-2 scaled by its yearly ranges instead of a z-score, z = 2 (v - min) / (max - min) - 1.

The table is that of `./s2cr s2_minmax`: year, tile, band, images, min, max. One range serves a run: the union of all tiles
in the years of its pairs. A range for each tile and year would give x and y of one sample different units and a mosaic
seams at the borders of tiles. The ranges become groups of the scaler, so that scaler.json carries them with the run.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from utils.science.scaler import Group, Scaler
from utils.workflow.errors import ConfigError, InputError

FILE = "s2_minmax.csv"
COLUMNS = ("year", "tile", "band", "min", "max")


@dataclass(frozen=True)
class Row:
    """Range of one band of one tile in one year; reflectance."""

    year: int
    tile: str
    band: str
    low: float
    high: float


def read_table(path: Path) -> list[Row]:
    """Rows of s2_minmax.csv with a range; path is the file or its folder.

    raises  InputError when it is missing, has other columns or a line that is no number
    """
    file = path / FILE if path.is_dir() else path
    remedy = "Run: ./s2cr s2_minmax CONF, and write its output in path_csv."
    try:
        reader = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"path_csv: {file} cannot be read ({error}).", remedy) from error
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
        raise InputError(f"path_csv: {file} has no column {', '.join(missing)}.", remedy)
    rows = []
    for line, record in enumerate(reader, 2):
        if not record["min"] or not record["max"]:  # a year without a clear pixel
            continue
        try:
            numbers = int(record["year"]), float(record["min"]), float(record["max"])
        except (TypeError, ValueError) as error:
            raise InputError(f"path_csv: {file}:{line}: {error}.", remedy) from error
        rows.append(Row(numbers[0], record["tile"], record["band"], numbers[1], numbers[2]))
    return rows


def ranges(rows: Sequence[Row], bands: Sequence[str], years: Iterable[int]) -> dict[str, tuple[float, float]]:
    """band -> (smallest, largest) reflectance over all tiles in these years.

    raises  ConfigError naming the band and the years without a range, or a range without width
    """
    wanted = sorted(set(years))
    out = {}
    for band in bands:
        found = [row for row in rows if row.band == band and row.year in wanted]
        if lost := sorted(set(wanted) - {row.year for row in found}):
            span = f"{wanted[0]} {wanted[-1]}"
            raise ConfigError(
                f"path_csv: no range of {band} in {', '.join(map(str, lost))}.",
                f"Run: ./s2cr s2_minmax CONF --years {span} --bands {','.join(bands)}",
            )
        low, high = min(row.low for row in found), max(row.high for row in found)
        if not low < high:
            raise ConfigError(f"path_csv: the range of {band} is {low:g} to {high:g}.", "Check the table.")
        out[band] = (low, high)
    return out


def with_ranges(scaler: Scaler, found: dict[str, tuple[float, float]]) -> Scaler:
    """The scaler with one group a band for the optical bands: min becomes -1, max becomes 1."""
    radar = tuple(group for group in scaler.groups if group.unit == "dB")
    optical = tuple(
        Group(band, (band,), (low + high) / 2, (high - low) / 2, 1.0, "reflectance")
        for band, (low, high) in ((band, found[band]) for band in scaler.bands_optical)
    )
    return replace(scaler, groups=radar + optical)
