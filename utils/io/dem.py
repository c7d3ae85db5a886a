"""Heights above the ellipsoid on a UTM grid, from any height raster, with the vertical datum stated, never guessed.

PROJ is not asked for heights: without its geoid grids it shifts by 0 m and says nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal, osr

from utils.science.grid import Grid
from utils.workflow.errors import ConfigError, InputError

Vertical = Literal["ellipsoid", "EGM96", "EGM2008"]
Missing = Literal["error", "sea"]
_VERTICAL_EPSG: dict[str, Vertical] = {"5773": "EGM96", "5171": "EGM96", "3855": "EGM2008"}
_NAMES: dict[str, Vertical] = {"ellipsoid": "ellipsoid", "egm96": "EGM96", "egm2008": "EGM2008"}
_MAX_NAMED_TILES = 12

gdal.UseExceptions()
osr.UseExceptions()


@dataclass(frozen=True)
class Heights:
    """Heights of a grid.

    height_m  (rows, cols) float32 above the WGS84 ellipsoid, complete
    missing   (rows, cols) bool: sea level was assumed there
    vertical  datum of the source; geoid: name of the undulation raster used, or none
    """

    height_m: NDArray[np.float32]
    missing: NDArray[np.bool_]
    vertical: Vertical
    geoid: str


def read_heights(
    path: Path, grid: Grid, vertical: Vertical | None = None, geoid_grid: Path | None = None, missing: Missing = "error"
) -> Heights:
    """Heights on `grid`, bilinear.

    path        height raster in any known system, m; nodata or NaN = unknown
    vertical    datum; needed unless the file says it (tag VERTICAL or a compound coordinate system)
    geoid_grid  undulation raster, m; needed for heights above a geoid: h = H + N
    missing     error, or sea: unknown heights become sea level
    raises      ConfigError when the datum is unknown or contradicts the file, or the geoid grid is not set or not
                there; InputError when a raster is unreadable or does not cover the grid (naming the missing area)
    """
    dataset = _open(path)
    datum = _datum(dataset, path, vertical)
    needs_geoid = datum != "ellipsoid"
    if needs_geoid and geoid_grid is None:
        raise ConfigError(
            f"{path.name}: heights are above {datum}, but preprocess.dem.geoid_grid is not set; leaving the geoid out "
            "would shift the image by up to 100 m.",
            f"Set preprocess.dem.geoid_grid to a raster of {datum} undulations in metres.",
        )
    if geoid_grid is not None and not geoid_grid.is_file():
        raise ConfigError(f"{geoid_grid}: no such geoid grid.", "Correct preprocess.dem.geoid_grid.")
    height = _on_grid(dataset, grid)
    unknown = np.isnan(height)
    if unknown.any() and missing == "error":
        raise InputError(
            f"{path.name}: no heights for {_where(unknown, grid)}.",
            "Give a raster that covers the area and its margin, or set preprocess.dem.missing: sea over open water.",
        )
    if unknown.any() and geoid_grid is None:
        raise ConfigError(
            f"{path.name}: no heights for {_where(unknown, grid)}; sea level there needs a geoid.",
            "Set preprocess.dem.geoid_grid.",
        )
    if geoid_grid is None:
        return Heights(height, unknown, datum, "none")
    undulation = _on_grid(_open(geoid_grid), grid)
    if np.isnan(undulation).any():
        raise InputError(
            f"{geoid_grid.name}: no undulation for {_where(np.isnan(undulation), grid)}.",
            "Give a grid that covers the area.",
        )
    base = np.where(unknown, np.float32(0), height)
    if not needs_geoid:  # already ellipsoidal; only the sea is filled
        return Heights(np.where(unknown, undulation, height), unknown, datum, geoid_grid.name)
    return Heights(base + undulation, unknown, datum, geoid_grid.name)


def _open(path: Path) -> gdal.Dataset:
    try:
        return gdal.OpenEx(str(path), gdal.OF_RASTER)
    except RuntimeError as error:
        raise InputError(f"{path}: not a readable height raster ({error}).", "Correct preprocess.dem.path.") from error


def _datum(dataset: gdal.Dataset, path: Path, wanted: Vertical | None) -> Vertical:
    stated = _stated(dataset)
    if stated is None and wanted is None:
        raise ConfigError(
            f"{path.name}: the file does not say what its heights refer to.",
            "Set preprocess.dem.vertical to ellipsoid, EGM96 or EGM2008 (Copernicus GLO-30: EGM2008).",
        )
    if stated and wanted and stated != wanted:
        raise ConfigError(
            f"{path.name}: the file says {stated}, preprocess.dem.vertical says {wanted}.",
            "Remove preprocess.dem.vertical, or correct the file.",
        )
    return stated or wanted  # type: ignore[return-value]


def _stated(dataset: gdal.Dataset) -> Vertical | None:
    tag = dataset.GetMetadataItem("VERTICAL")
    if tag:
        return _NAMES.get(tag.strip().lower())
    reference = dataset.GetSpatialRef()
    if reference is None or not reference.IsCompound():
        return None
    return _VERTICAL_EPSG.get(
        reference.GetAuthorityCode("COMPD_CS|VERT_CS") or reference.GetAuthorityCode("VERT_CS") or ""
    )


def _horizontal(dataset: gdal.Dataset, name: str) -> osr.SpatialReference:
    """Coordinate system of the raster without its vertical part, so that the warp never touches heights."""
    reference = dataset.GetSpatialRef()
    if reference is None:
        raise InputError(f"{name}: no coordinate system.", "Assign one with gdal_edit.py -a_srs.")
    flat = reference.Clone()
    flat.StripVertical()
    return flat


def _on_grid(dataset: gdal.Dataset, grid: Grid) -> NDArray[np.float32]:
    """Bilinear on the pixel centres of the grid, NaN where unknown. Files that mark points (GLO-30) are already
    shifted by half a pixel by GDAL."""
    target = osr.SpatialReference()
    target.ImportFromEPSG(grid.epsg)
    try:
        warped = _warped(dataset, grid, target.ExportToWkt())
    except RuntimeError as error:
        raise InputError(
            f"{dataset.GetDescription()}: heights cannot be read ({error}).",
            "Replace the height raster by a complete one.",
        ) from error
    return np.asarray(warped.GetRasterBand(1).ReadAsArray(), dtype=np.float32)


def _warped(dataset: gdal.Dataset, grid: Grid, target_wkt: str) -> gdal.Dataset:
    xmin, ymin, xmax, ymax = grid.bounds
    return gdal.Warp(
        "", dataset, format="MEM", srcSRS=_horizontal(dataset, dataset.GetDescription()).ExportToWkt(),
        dstSRS=target_wkt, outputBounds=(xmin, ymin, xmax, ymax), width=grid.cols, height=grid.rows,
        resampleAlg="bilinear", outputType=gdal.GDT_Float32, dstNodata=math.nan, errorThreshold=0.0, overviewLevel="NONE",
        warpOptions=["SAMPLE_GRID=NO", "SOURCE_EXTRA=4"],
    )  # fmt: skip


def _where(unknown: NDArray[np.bool_], grid: Grid) -> str:
    """The missing area in words: share, bounds in degrees and names of the 1-degree tiles."""
    rows, cols = np.nonzero(unknown)
    source, target = osr.SpatialReference(), osr.SpatialReference()
    source.ImportFromEPSG(grid.epsg)
    target.ImportFromEPSG(4326)
    target.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    corners = [
        (grid.x0 + c * grid.dx, grid.y0 + r * grid.dy)
        for r in (rows.min(), rows.max() + 1)
        for c in (cols.min(), cols.max() + 1)
    ]
    points = osr.CoordinateTransformation(source, target).TransformPoints(corners)
    lons, lats = [p[0] for p in points], [p[1] for p in points]
    tiles = [
        f"{'N' if lat >= 0 else 'S'}{abs(lat):02d}{'E' if lon >= 0 else 'W'}{abs(lon):03d}"
        for lat in range(math.floor(min(lats)), math.floor(max(lats)) + 1)
        for lon in range(math.floor(min(lons)), math.floor(max(lons)) + 1)
    ]
    named = ", ".join(tiles[:_MAX_NAMED_TILES])
    return (
        f"{100 * unknown.mean():.1f} % of the area with margin, longitude {min(lons):.3f} .. {max(lons):.3f}, latitude "
        f"{min(lats):.3f} .. {max(lats):.3f} (1-degree tiles {named})"
    )
