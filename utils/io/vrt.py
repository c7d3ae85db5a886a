"""Virtual rasters as gdalbuildvrt writes them: one for each band over its products, then a stack of those.

Paths inside are relative to the virtual raster itself, also upwards, so that a work directory may be moved as a whole.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from utils.io import raster
from utils.science.grid import Grid
from utils.workflow.errors import InputError
from utils.workflow.files import atomic_text

_TYPES = {"uint8": "Byte", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
          "float32": "Float32", "float64": "Float64"}  # fmt: skip


def write_band(path: Path, sources: Sequence[Path], name: str) -> None:
    """One band over several rasters of one lattice, as `gdalbuildvrt path sources`; where they overlap the first wins.

    sources  single-band rasters, offset against one another by whole pixels
    name     description of the band
    raises   InputError when there is none, or when they differ in coordinate system, pixel, type or nodata
    """
    facts = [raster.info(source) for source in sources]
    if not facts:
        raise InputError(f"{path}: no raster to build it from.", "Run the stage that writes the rasters.")
    grid = _union([fact.grid for fact in facts], sources)
    for fact, source in zip(facts, sources, strict=True):
        if fact.dtype != facts[0].dtype or not _same(fact.nodata, facts[0].nodata):
            raise InputError(
                f"{source} ({fact.dtype}, nodata {fact.nodata}) differs from {sources[0]} ({facts[0].dtype}, "
                f"nodata {facts[0].nodata}).",
                "Preprocess all products with one configuration.",
            )
    # GDAL draws in order, so the one that shall win comes last
    drawn = [
        _source(path, source, 1, fact.grid, grid, fact.nodata)
        for source, fact in zip(reversed(sources), reversed(facts), strict=True)
    ]
    atomic_text(path, _dataset(grid, [_band(1, name, facts[0].dtype, facts[0].nodata, drawn)]))


def write_stack(path: Path, bands: Sequence[Path]) -> None:
    """One band for each raster, as `gdalbuildvrt -separate path bands`; names are those of the rasters' first bands.

    raises  InputError when there is none, or when they are not on one grid
    """
    facts = [raster.info(band) for band in bands]
    if not facts:
        raise InputError(f"{path}: no band to stack.", "Run the stage that writes the rasters.")
    for fact, band in zip(facts, bands, strict=True):
        if fact.grid != facts[0].grid:
            raise InputError(
                f"{band} ({fact.grid}) is not on the grid of {bands[0]} ({facts[0].grid}).", "Preprocess them again."
            )
    grid = facts[0].grid
    planes = [
        _band(number, fact.band_names[0], fact.dtype, fact.nodata, [_source(path, band, 1, grid, grid, fact.nodata)])
        for number, (band, fact) in enumerate(zip(bands, facts, strict=True), start=1)
    ]
    atomic_text(path, _dataset(grid, planes))


def _same(one: float | None, other: float | None) -> bool:
    """Equal nodata values; NaN equals NaN here."""
    return one == other or (one is not None and other is not None and math.isnan(one) and math.isnan(other))


def _union(grids: Sequence[Grid], sources: Sequence[Path]) -> Grid:
    """The smallest grid of the lattice of the first that holds them all."""
    first = grids[0]
    places = []
    for grid, source in zip(grids, sources, strict=True):
        try:
            row, col = first.offset_of(grid)
        except ValueError as error:
            raise InputError(
                f"{source} does not fit {sources[0]}: {error}.", "Preprocess all products on one grid."
            ) from error
        places.append((row, col, row + grid.rows, col + grid.cols))
    top, left = min(p[0] for p in places), min(p[1] for p in places)
    rows, cols = max(p[2] for p in places) - top, max(p[3] for p in places) - left
    x0, y0 = first.x0 + left * first.dx, first.y0 + top * first.dy
    return Grid(first.epsg, x0, y0, first.dx, first.dy, rows, cols)


def _number(value: float) -> str:
    """Shortest text that reads back to the same value."""
    return "nan" if math.isnan(value) else repr(float(value)).removesuffix(".0")


def _source(path: Path, source: Path, band: int, own: Grid, whole: Grid, nodata: float | None) -> str:
    row, col = whole.offset_of(own)
    relative = Path(os.path.relpath(source.resolve(), path.parent.resolve())).as_posix()
    size = f'xSize="{own.cols}" ySize="{own.rows}"'
    kind = "SimpleSource" if nodata is None else "ComplexSource"
    skip = "" if nodata is None else f"      <NODATA>{_number(nodata)}</NODATA>\n"
    return (
        f'    <{kind}>\n      <SourceFilename relativeToVRT="1">{escape(relative)}</SourceFilename>\n'
        f"      <SourceBand>{band}</SourceBand>\n"
        f'      <SrcRect xOff="0" yOff="0" {size} />\n      <DstRect xOff="{col}" yOff="{row}" {size} />\n'
        f"{skip}    </{kind}>\n"
    )


def _band(number: int, name: str, dtype: str, nodata: float | None, sources: Sequence[str]) -> str:
    missing = "" if nodata is None else f"    <NoDataValue>{_number(nodata)}</NoDataValue>\n"
    return (
        f'  <VRTRasterBand dataType="{_TYPES[dtype]}" band="{number}">\n'
        f"    <Description>{escape(name)}</Description>\n{missing}{''.join(sources)}  </VRTRasterBand>\n"
    )


def _dataset(grid: Grid, bands: Sequence[str]) -> str:
    transform = ", ".join(_number(value) for value in grid.transform)
    system = f"  <SRS>EPSG:{grid.epsg}</SRS>\n" if grid.epsg else ""
    return (
        f'<VRTDataset rasterXSize="{grid.cols}" rasterYSize="{grid.rows}">\n{system}'
        f"  <GeoTransform>{transform}</GeoTransform>\n{''.join(bands)}</VRTDataset>\n"
    )
