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

from utils.science import terrain
from utils.science.grid import Grid
from utils.workflow.errors import ConfigError, InputError

Float32Array = NDArray[np.float32]
Vertical = Literal["ellipsoid", "EGM96", "EGM2008"]
Missing = Literal["error", "sea"]
_VERTICAL_EPSG: dict[str, Vertical] = {"5773": "EGM96", "5171": "EGM96", "3855": "EGM2008"}
_NAMES: dict[str, Vertical] = {"ellipsoid": "ellipsoid", "egm96": "EGM96", "egm2008": "EGM2008"}
_PROJ_GRIDS = {"EGM96": "us_nga_egm96_15", "EGM2008": "us_nga_egm08_25"}
_MAX_NAMED_TILES = 12
_METRES_PER_DEGREE = 111_320.0
_SAME_COLUMN = 0.01  # of a pixel: how far the last column of a raster around the earth may miss the first

gdal.UseExceptions()
osr.UseExceptions()


@dataclass(frozen=True)
class Heights:
    """Heights of a grid.

    height_m  (rows, cols) float32 above the WGS84 ellipsoid, complete
    missing   (rows, cols) bool: sea level was assumed there
    vertical  datum of the source; geoid: name of the undulation raster used, or none
    """

    height_m: Float32Array
    missing: NDArray[np.bool_]
    vertical: Vertical
    geoid: str


class HeightField:
    """An open height raster, with its geoid where it needs one; a height does not depend on the window it is read with.

    path        height raster in any known system, m; nodata or NaN = unknown
    vertical    datum; needed unless the file says it (tag VERTICAL or a compound coordinate system)
    geoid_grid  undulation raster, m; needed for heights above a geoid: h = H + N
    missing     error, or sea: unknown heights become sea level
    raises      ConfigError when the datum is unknown or contradicts the file, or the geoid grid is not set or not
                there; InputError when a raster is unreadable
    """

    def __init__(
        self, path: Path, vertical: Vertical | None = None, geoid_grid: Path | None = None, missing: Missing = "error"
    ) -> None:
        dataset = _open(path)
        self._name, self._fails = path.name, missing == "error"
        self.vertical: Vertical = stated_or_wanted(dataset, path, vertical)
        if self.vertical != "ellipsoid" and geoid_grid is None:
            raise ConfigError(
                f"{path.name}: heights are above {self.vertical}, but preprocess.dem.geoid_grid is not set; leaving the "
                "geoid out would shift the image by up to 100 m.",
                f"Set preprocess.dem.geoid_grid to a raster of {self.vertical} undulations in metres, such as PROJ's own: "
                f"projsync --file {_PROJ_GRIDS[self.vertical]}.",
            )
        if geoid_grid is not None and not geoid_grid.is_file():
            raise ConfigError(f"{geoid_grid}: no such geoid grid.", "Correct preprocess.dem.geoid_grid.")
        self._heights = _Surface(dataset)
        self._geoid = _Surface(_open(geoid_grid)) if geoid_grid else None
        self.geoid = geoid_grid.name if geoid_grid else "none"

    def read(self, grid: Grid) -> Heights:
        """Heights on `grid`, bilinear.

        raises  InputError when a raster does not cover the grid (naming the missing area), ConfigError when sea level
                has to be assumed without a geoid
        """
        height = self._heights.on_grid(grid)
        unknown = np.isnan(height)
        if unknown.any():
            self.refuse([(unknown, grid)], grid)
        return Heights(self._complete(height, unknown, grid), unknown, self.vertical, self.geoid)

    def _complete(self, height: Float32Array, unknown: NDArray[np.bool_], grid: Grid) -> Float32Array:
        """Ellipsoidal heights, sea level (the geoid) where unknown."""
        if self._geoid is None:
            return height
        undulation = self._geoid.on_grid(grid)
        if np.isnan(undulation).any():
            raise InputError(
                f"{self.geoid}: no undulation for {_where([(np.isnan(undulation), grid)], grid)}.",
                "Give a grid that covers the area.",
            )
        if self.vertical == "ellipsoid":  # already ellipsoidal; only the sea is filled
            return np.where(unknown, undulation, height)
        return np.where(unknown, np.float32(0), height) + undulation

    def look(self, grid: Grid) -> tuple[Float32Array, NDArray[np.bool_]]:
        """Heights of a part of an area, and where the raster has none; what that means is for `refuse` to say.

        returns  as `read`, but nothing is filled in where an unknown height is an error
        """
        height = self._heights.on_grid(grid)
        unknown = np.isnan(height)
        if self._fails and unknown.any():
            return height, unknown
        return self._complete(height, unknown, grid), unknown

    def refuse(self, holes: list[tuple[NDArray[np.bool_], Grid]], grid: Grid) -> None:
        """Raise unless unknown heights may be filled with sea level.

        holes   masks of unknown pixels, each with its part of the grid
        raises  as `read`
        """
        if self._fails:
            raise InputError(
                f"{self._name}: no heights for {_where(holes, grid)}.",
                "Give a raster that covers the area and its margin, or set preprocess.dem.missing: sea over open water.",
            )
        if self._geoid is None:
            raise ConfigError(
                f"{self._name}: no heights for {_where(holes, grid)}; sea level there needs a geoid.",
                "Set preprocess.dem.geoid_grid.",
            )


class RawHeights(HeightField):
    """Heights as the raster holds them, for an engine that adds its own geoid: surveyed and refused as usual.

    missing  error, or sea: unknown heights become 0
    raises   InputError when the raster is unreadable
    """

    def __init__(self, path: Path, missing: Missing = "error") -> None:
        self._name, self._fails = path.name, missing == "error"
        self._heights, self._geoid, self.geoid = _Surface(_open(path)), None, "none"

    def unknown(self, grid: Grid) -> NDArray[np.bool_]:
        """Where the raster has no height on a grid."""
        return np.isnan(self._heights.on_grid(grid))

    def _complete(self, height: Float32Array, unknown: NDArray[np.bool_], grid: Grid) -> Float32Array:
        return np.where(unknown, np.float32(0), height)

    def refuse(self, holes: list[tuple[NDArray[np.bool_], Grid]], grid: Grid) -> None:
        if self._fails:
            super().refuse(holes, grid)


def read_heights(
    path: Path, grid: Grid, vertical: Vertical | None = None, geoid_grid: Path | None = None, missing: Missing = "error"
) -> Heights:
    """Heights of a raster on one grid; see HeightField."""
    return HeightField(path, vertical, geoid_grid, missing).read(grid)


class _Surface:
    """Band 1 of a raster, with its scale and offset, sampled on UTM grids. Pixels finer than half of the target's are
    averaged first; a raster around the whole earth has no edge in longitude."""

    def __init__(self, dataset: gdal.Dataset) -> None:
        self._dataset, self._band = dataset, dataset.GetRasterBand(1)
        self._name, self._nodata = Path(dataset.GetDescription()).name, self._band.GetNoDataValue()
        reference = dataset.GetSpatialRef()
        if reference is None:
            raise InputError(f"{self._name}: no coordinate system.", "Assign one with gdal_edit.py -a_srs.")
        self._reference = reference.Clone()
        self._reference.StripVertical()  # PROJ never touches heights
        self._reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
        transform = dataset.GetGeoTransform(can_return_null=True)
        if transform is None:
            raise InputError(f"{self._name}: no georeference.", "Assign one with gdal_edit.py -a_ullr.")
        self._geographic = bool(self._reference.IsGeographic())
        self._pixel_m = abs(transform[5]) * (_METRES_PER_DEGREE if self._geographic else 1.0)
        self._to_pixel = gdal.InvGeoTransform(transform)
        self._middle_x = transform[0] + transform[1] * dataset.RasterXSize / 2
        scale, offset = self._band.GetScale(), self._band.GetOffset()
        self._scale, self._offset = 1.0 if scale is None else scale, offset or 0.0
        around = 360.0 / abs(transform[1])
        whole = self._geographic and transform[2] == 0 and abs(around - round(around)) < _SAME_COLUMN
        self._period = round(around) if whole and dataset.RasterXSize >= round(around) else 0
        self._transformers: dict[int, tuple[osr.CoordinateTransformation, float]] = {}

    def on_grid(self, grid: Grid) -> Float32Array:
        """(rows, cols) float32, NaN where unknown. Files that mark points (GLO-30) are shifted by GDAL already."""
        points = terrain.lattice(grid)
        factor = max(1, int(grid.dx / self._pixel_m))
        try:
            rows, cols = self._positions(points, grid.epsg, factor)
            source, top, left = self._read(rows, cols, factor)
        except RuntimeError as error:
            raise InputError(
                f"{self._name}: heights cannot be read ({error}).", "Replace the height raster by a complete one."
            ) from error
        return terrain.sample(source, top, left, (rows, cols), points)

    def _positions(
        self, points: terrain.Lattice, epsg: int, factor: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Source row and column of the lattice points, in averaged pixels; whole numbers are centres."""
        if epsg not in self._transformers:
            grid_reference = osr.SpatialReference()
            grid_reference.ImportFromEPSG(epsg)
            meridian = grid_reference.GetProjParm(osr.SRS_PP_CENTRAL_MERIDIAN, 0.0)
            self._transformers[epsg] = osr.CoordinateTransformation(grid_reference, self._reference), meridian
        transformer, meridian = self._transformers[epsg]
        x, y = np.meshgrid(points.x, points.y)
        found = np.array(transformer.TransformPoints(np.stack([x.ravel(), y.ravel()], axis=1).tolist()))
        at_x, at_y = found[:, 0].reshape(x.shape), found[:, 1].reshape(x.shape)
        if self._geographic:
            # no jump within the lattice: all of a zone on one side of the date line, whatever the window; then all of
            # it to the side that the raster counts on
            turns = np.round((meridian - at_x) / 360.0) + round((self._middle_x - meridian) / 360.0)
            at_x = at_x + 360.0 * turns
        g = self._to_pixel
        cols = (g[0] + g[1] * at_x + g[2] * at_y) / factor - 0.5
        rows = (g[3] + g[4] * at_x + g[5] * at_y) / factor - 0.5
        return rows, cols

    def _read(self, rows: NDArray[np.float64], cols: NDArray[np.float64], factor: int) -> tuple[Float32Array, int, int]:
        """The part of the raster around the positions, NaN = unknown, and its first row and column."""
        limits = self._dataset.RasterYSize // factor, self._dataset.RasterXSize // factor
        cyclic = self._period > 0 and factor == 1
        (top, bottom), (left, right) = (
            (int(np.floor(at.min())) - 1, int(np.ceil(at.max())) + 2) for at in (rows, cols)
        )
        top, bottom = max(top, 0), min(bottom, limits[0])
        if not cyclic:
            left, right = max(left, 0), min(right, limits[1])
        if bottom <= top or right <= left:
            return np.full((1, 1), np.nan, np.float32), 0, 0
        parts, col = [], left
        while col < right:
            start = col % self._period if cyclic else col
            count = min(right - col, self._period - start) if cyclic else right - col
            parts.append(self._values(top, start, bottom - top, count, factor))
            col += count
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1), top, left

    def _values(self, top: int, left: int, rows: int, cols: int, factor: int) -> Float32Array:
        """Heights in m of averaged pixels, all inside the raster; NaN = unknown."""
        values = self._band.ReadAsArray(
            left * factor, top * factor, cols * factor, rows * factor,
            buf_xsize=cols, buf_ysize=rows, buf_type=gdal.GDT_Float32, resample_alg=gdal.GRIORA_Average,
        )  # fmt: skip
        source = np.asarray(values, dtype=np.float32)
        if self._nodata is not None and not math.isnan(self._nodata):
            source = np.where(source == np.float32(self._nodata), np.float32(np.nan), source)
        if (self._scale, self._offset) != (1.0, 0.0):
            source = (source * self._scale + self._offset).astype(np.float32)
        return source


def _open(path: Path) -> gdal.Dataset:
    try:
        return gdal.OpenEx(str(path), gdal.OF_RASTER)
    except RuntimeError as error:
        raise InputError(f"{path}: not a readable height raster ({error}).", "Correct preprocess.dem.path.") from error


def datum_of(path: Path, wanted: Vertical | None) -> Vertical:
    """Vertical datum of a height raster: what the file says, or `wanted`.

    raises  ConfigError when neither says it, or they contradict each other; InputError when unreadable
    """
    return stated_or_wanted(_open(path), path, wanted)


def stated_or_wanted(dataset: gdal.Dataset, path: Path, wanted: Vertical | None) -> Vertical:
    """The same for an open raster."""
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


def _where(holes: list[tuple[NDArray[np.bool_], Grid]], grid: Grid) -> str:
    """The missing area in words: share of `grid`, bounds in degrees and names of the 1-degree tiles.

    holes  masks of unknown pixels, each with its part of the grid
    """
    source, target = osr.SpatialReference(), osr.SpatialReference()
    source.ImportFromEPSG(grid.epsg)
    target.ImportFromEPSG(4326)
    target.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    corners = [
        (part.x0 + c * part.dx, part.y0 + r * part.dy)
        for unknown, part in holes
        for rows, cols in (np.nonzero(unknown),)
        for r in (int(rows.min()), int(rows.max()) + 1)
        for c in (int(cols.min()), int(cols.max()) + 1)
    ]
    share = sum(int(unknown.sum()) for unknown, _ in holes) / (grid.rows * grid.cols)
    points = osr.CoordinateTransformation(source, target).TransformPoints(corners)
    lons, lats = [p[0] for p in points], [p[1] for p in points]
    tiles = [
        f"{'N' if lat >= 0 else 'S'}{abs(lat):02d}{'E' if lon >= 0 else 'W'}{abs(lon):03d}"
        for lat in range(math.floor(min(lats)), math.floor(max(lats)) + 1)
        for lon in range(math.floor(min(lons)), math.floor(max(lons)) + 1)
    ]
    named = ", ".join(tiles[:_MAX_NAMED_TILES])
    return (
        f"{100 * share:.1f} % of the area with margin, longitude {min(lons):.3f} .. {max(lons):.3f}, latitude "
        f"{min(lats):.3f} .. {max(lats):.3f} (1-degree tiles {named})"
    )
