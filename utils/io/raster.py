"""GeoTIFF, JP2 and VRT through GDAL: the only module that imports osgeo for pixels. Arrays are (bands, rows, cols)."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal, osr

from utils.science.grid import Grid, Window
from utils.workflow.errors import DiskError, InputError
from utils.workflow.files import atomic_bytes, temporary_path

gdal.UseExceptions()
osr.UseExceptions()
os.environ.setdefault("CPL_LOG", os.devnull)
gdal.SetConfigOption("GDAL_PAM_ENABLED", "NO")  # side files would be written beside final names, not atomically
if "GDAL_CACHEMAX" not in os.environ:
    gdal.SetCacheMax(256 << 20)  # GDAL's own default grows with the machine: 5 % of a large node is many GiB

Array = NDArray[Any]
GDAL_TYPES: dict[str, int] = {
    "uint8": gdal.GDT_Byte,
    "uint16": gdal.GDT_UInt16,
    "int16": gdal.GDT_Int16,
    "uint32": gdal.GDT_UInt32,
    "int32": gdal.GDT_Int32,
    "float32": gdal.GDT_Float32,
    "float64": gdal.GDT_Float64,
}
_NO_TRANSFORM = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
_IN_MEMORY_BYTES = 256 << 20
_DIRECT = "GTIFF_DIRECT_IO"


@dataclass(frozen=True)
class RasterInfo:
    """What a raster says of itself. nodata and scale are those of band 1."""

    grid: Grid
    count: int
    dtype: str
    nodata: float | None
    band_names: tuple[str, ...]
    tags: Mapping[str, str]
    scale: float
    offset: float


def _open(path: Path | str) -> gdal.Dataset:
    try:
        return gdal.OpenEx(str(path), gdal.OF_RASTER | gdal.OF_READONLY)
    except RuntimeError as error:
        if not str(path).startswith(("/vsi", "NETCDF:")) and not Path(path).exists():
            raise InputError(f"{path}: no such file.", "Run the stage that writes it, then this one again.") from error
        raise InputError(
            f"{path}: not a readable raster ({error}).", "Delete it and run the stage that writes it again."
        ) from error


def _epsg(wkt: str) -> int:
    if not wkt:
        return 0
    reference = osr.SpatialReference(wkt=wkt)
    if reference.GetAuthorityCode(None) is None:
        reference.AutoIdentifyEPSG()
    code = reference.GetAuthorityCode(None)
    return int(code) if code else 0


def _grid(dataset: gdal.Dataset, path: Path | str) -> Grid:
    x0, dx, rx, y0, ry, dy = dataset.GetGeoTransform(can_return_null=True) or _NO_TRANSFORM
    if (x0, dx, rx, y0, ry, dy) == (0.0, 1.0, 0.0, 0.0, 0.0, 1.0):  # some writers store the identity for "none"
        x0, dx, rx, y0, ry, dy = _NO_TRANSFORM
    if rx != 0 or ry != 0 or dx <= 0 or dy >= 0:
        raise InputError(f"{path}: the raster is not north up.", "Warp it to a north-up grid first (gdalwarp).")
    return Grid(_epsg(dataset.GetProjection()), x0, y0, dx, dy, dataset.RasterYSize, dataset.RasterXSize)


def info(path: Path | str) -> RasterInfo:
    """Grid, bands and tags of a raster without reading pixels.

    raises  InputError when missing, unreadable or not north up
    """
    dataset = _open(path)
    band = dataset.GetRasterBand(1)
    names = tuple(dataset.GetRasterBand(i + 1).GetDescription() for i in range(dataset.RasterCount))
    scale, offset = band.GetScale(), band.GetOffset()
    return RasterInfo(
        _grid(dataset, path),
        dataset.RasterCount,
        gdal.GetDataTypeName(band.DataType).lower().replace("byte", "uint8"),
        band.GetNoDataValue(),
        names,
        dict(dataset.GetMetadata()),
        1.0 if scale is None else float(scale),
        0.0 if offset is None else float(offset),
    )


def read(path: Path | str, bands: Sequence[int | str] | None = None, window: Window | None = None) -> Array:
    """Pixels as stored, (bands, rows, cols) in the file's dtype.

    bands   1-based numbers or band names; None = all
    window  must lie inside the raster; None = all
    raises  InputError when unreadable or a band is missing
    """
    return _read(_open(path), path, bands, window)


def read_placed(path: Path | str, transform: bool = True) -> tuple[Array, tuple[float, ...]]:
    """Pixels as `read` gives them, and the geotransform; without transform an empty one.

    Without the coordinate system: to look it up takes GDAL five times as long as to read a small tile, the transform
    half as long.
    """
    dataset = _open(path)
    try:
        planes = dataset.ReadAsArray()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    place = tuple(dataset.GetGeoTransform(can_return_null=True) or _NO_TRANSFORM) if transform else ()
    return planes[None] if planes.ndim == 2 else planes, place


def _read(dataset: gdal.Dataset, path: Path | str, bands: Sequence[int | str] | None, window: Window | None) -> Array:
    numbers = _band_numbers(dataset, path, bands)
    w = window or Window(0, 0, dataset.RasterYSize, dataset.RasterXSize)
    try:
        planes = [dataset.GetRasterBand(n).ReadAsArray(w.col, w.row, w.cols, w.rows) for n in numbers]
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    return np.stack(planes)


def _unreadable(path: Path | str, error: RuntimeError) -> InputError:
    return InputError(f"{path}: pixels cannot be read ({error}).", "Delete it and run the stage that writes it again.")


def _band_numbers(dataset: gdal.Dataset, path: Path | str, bands: Sequence[int | str] | None) -> list[int]:
    if bands is None:
        return list(range(1, dataset.RasterCount + 1))
    names = [dataset.GetRasterBand(i + 1).GetDescription() for i in range(dataset.RasterCount)]
    numbers = []
    for band in bands:
        number = band if isinstance(band, int) else (names.index(band) + 1 if band in names else 0)
        if not 1 <= number <= dataset.RasterCount:
            raise InputError(
                f"{path}: no band {band!r}; it has {', '.join(names)}.", "Name one of the bands that are there."
            )
        numbers.append(number)
    return numbers


class Reader:
    """An open raster for many window reads; use as a context manager. Not shared between threads.

    read_once  every pixel is asked for about once: those of an uncompressed GeoTIFF then come straight from the file,
               not through GDAL's cache, which would hold whole lines
    """

    def __init__(self, path: Path | str, *, read_once: bool = False) -> None:
        self.path = path
        before = gdal.GetThreadLocalConfigOption(_DIRECT)
        try:
            if read_once:
                gdal.SetThreadLocalConfigOption(_DIRECT, "YES")
            self._dataset = _open(path)
        finally:
            gdal.SetThreadLocalConfigOption(_DIRECT, before)
        self.grid = _grid(self._dataset, path)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._dataset = None

    @property
    def striped(self) -> bool:
        """True when the file's blocks are as wide as the raster: many columns are read at the price of few."""
        width = int(self._dataset.GetRasterBand(1).GetBlockSize()[0])
        return width >= self.grid.cols

    def read(self, window: Window | None = None, bands: Sequence[int | str] | None = None) -> Array:
        """Same as the function read, without opening the file again."""
        return _read(self._dataset, self.path, bands, window)

    def read_into(self, window: Window, band: int, target: Array) -> None:
        """One band (from 1) of a window into `target`, which may be part of a larger array; the type is converted."""
        w = window
        try:
            self._dataset.GetRasterBand(band).ReadAsArray(w.col, w.row, w.cols, w.rows, buf_obj=target)
        except RuntimeError as error:
            raise _unreadable(self.path, error) from error

    def read_on_grid(self, grid: Grid, bands: Sequence[int | str] | None = None, fill: float = math.nan) -> Array:
        """Same as the function read_on_grid, without opening the file again."""
        return _on_grid(self, grid, bands, fill)


def read_on_grid(
    path: Path | str, grid: Grid, bands: Sequence[int | str] | None = None, fill: float = math.nan
) -> Array:
    """Pixels on `grid`, which must be offset by whole pixels; outside the raster `fill`.

    raises  InputError naming both grids when they do not align
    """
    with Reader(path) as reader:
        return _on_grid(reader, grid, bands, fill)


def _on_grid(reader: Reader, grid: Grid, bands: Sequence[int | str] | None, fill: float) -> Array:
    try:
        row, col = reader.grid.offset_of(grid)
    except ValueError as error:
        raise InputError(
            f"{reader.path}: does not align with the target grid ({error}).",
            "Preprocess it on the grid of the area again.",
        ) from error
    top, left = max(row, 0), max(col, 0)
    bottom, right = min(row + grid.rows, reader.grid.rows), min(col + grid.cols, reader.grid.cols)
    if bottom <= top or right <= left:
        inner = reader.read(Window(0, 0, 1, 1), bands)
        return np.full((inner.shape[0], grid.rows, grid.cols), fill, dtype=inner.dtype)
    inner = reader.read(Window(top, left, bottom - top, right - left), bands)
    if inner.shape[1:] == grid.shape:
        return inner
    out = np.full((inner.shape[0], grid.rows, grid.cols), fill, dtype=inner.dtype)
    out[:, top - row : bottom - row, left - col : right - col] = inner
    return out


def creation_options(dtype: np.dtype[Any], rows: int, cols: int, cog: bool) -> list[str]:
    """Compression and tiling of every GeoTIFF of the project."""
    predictor = 3 if dtype.kind == "f" else 2
    if cog:
        return ["COMPRESS=DEFLATE", "PREDICTOR=YES", "BLOCKSIZE=512", "BIGTIFF=IF_SAFER", "OVERVIEW_COMPRESS=DEFLATE"]
    options = ["COMPRESS=DEFLATE", f"PREDICTOR={predictor}", "BIGTIFF=IF_SAFER", "ZLEVEL=6"]
    if max(rows, cols) > 512:
        options += ["TILED=YES", "BLOCKXSIZE=512", "BLOCKYSIZE=512"]
    else:
        options.append(f"BLOCKYSIZE={rows}")
    return options


def describe(
    dataset: gdal.Dataset,
    grid: Grid,
    band_names: Sequence[str],
    nodata: float | None,
    tags: Mapping[str, str],
    scale: float | None,
    offset: float | None,
) -> None:
    """Set grid, names, nodata, scale and tags of a new dataset."""
    dataset.SetGeoTransform(grid.transform)
    if grid.epsg:
        reference = osr.SpatialReference()
        reference.ImportFromEPSG(grid.epsg)
        dataset.SetProjection(reference.ExportToWkt())
    dataset.SetMetadata({name: str(tags[name]) for name in sorted(tags)})
    for number in range(1, dataset.RasterCount + 1):
        band = dataset.GetRasterBand(number)
        if number <= len(band_names):
            band.SetDescription(band_names[number - 1])
        if nodata is not None:
            band.SetNoDataValue(nodata)
        if scale is not None:
            band.SetScale(scale)
        if offset is not None:
            band.SetOffset(offset)


def write(
    path: Path,
    array: Array,
    grid: Grid,
    *,
    band_names: Sequence[str] = (),
    nodata: float | None = None,
    tags: Mapping[str, str] | None = None,
    units: str = "",
    cog: bool = False,
    scale: float | None = None,
    offset: float | None = None,
    resampling: str = "AVERAGE",
    colours: Sequence[tuple[int, int, int]] = (),
) -> None:
    """Write a GeoTIFF, whole or not at all.

    array       (bands, rows, cols) or (rows, cols); uint8, uint16, int16, uint32, int32, float32 or float64
    nodata      stored nodata value; NaN is allowed for floats
    tags        metadata; `units` is added as UNITS
    cog         Cloud Optimized GeoTIFF with overviews, made with `resampling` (AVERAGE, NEAREST)
    scale       stored with offset: value = stored * scale + offset
    colours     colour of each code from 0, of a raster of one uint8 band
    raises      ValueError on shape or type, DiskError when the disk is full
    """
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[1:] != grid.shape:
        raise ValueError(f"array {array.shape} does not fit grid of {grid.rows} x {grid.cols}")
    if array.dtype.name not in GDAL_TYPES:
        raise ValueError(f"type {array.dtype} cannot be stored in a GeoTIFF here")
    all_tags = {**(tags or {}), **({"UNITS": units} if units else {})}
    memory = gdal.GetDriverByName("MEM").Create("", grid.cols, grid.rows, len(array), GDAL_TYPES[array.dtype.name])
    describe(memory, grid, band_names, nodata, all_tags, scale, offset)
    for number, plane in enumerate(array, start=1):
        memory.GetRasterBand(number).WriteArray(np.ascontiguousarray(plane))
    if colours:
        table = gdal.ColorTable()
        for code, colour in enumerate(colours):
            table.SetColorEntry(code, colour)
        memory.GetRasterBand(1).SetColorTable(table)
    options = creation_options(array.dtype, grid.rows, grid.cols, cog)
    if cog:
        options.append(f"OVERVIEW_RESAMPLING={resampling}")
    _store(memory, path, "COG" if cog else "GTiff", options, array.nbytes)


def _store(memory: gdal.Dataset, path: Path, driver: str, options: Sequence[str], n_bytes: int) -> None:
    """Encode in memory where possible, so that a full disk is an honest OSError and not a short file from GDAL."""
    if n_bytes <= _IN_MEMORY_BYTES:
        name = f"/vsimem/s2cr-{os.getpid()}-{id(memory)}.tif"
        try:
            gdal.GetDriverByName(driver).CreateCopy(name, memory, options=list(options)).FlushCache()
            size = gdal.VSIStatL(name).size
            stream = gdal.VSIFOpenL(name, "rb")
            data = bytes(gdal.VSIFReadL(1, size, stream))
            gdal.VSIFCloseL(stream)
        finally:
            gdal.Unlink(name)
        atomic_bytes(path, data)
        return
    with temporary_path(path) as temporary:
        need_space(path, n_bytes)
        dataset = gdal.GetDriverByName(driver).CreateCopy(str(temporary), memory, options=list(options))
        dataset.FlushCache()
        del dataset


def need_space(path: Path, n_bytes: int) -> None:
    """Refuse to begin what does not fit.

    raises  DiskError
    """
    free = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize
    if free < n_bytes:
        raise DiskError(
            f"{path}: needs up to {n_bytes / 2**20:.0f} MiB, {free / 2**20:.0f} MiB are free.",
            "Free disk space, then run again.",
        )
