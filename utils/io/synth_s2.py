"""Write a generated Sentinel-2 L2A product: a SAFE zip with JPEG 2000 bands and the metadata of real ones.

The granule covers only the generated area, not the 110 km of a real tile: MTD_TL.xml states its true size. Element
names and formats are those of the product specification document; parts that no reader of this project uses (angle
grids, per-band masks, auxiliary data) are left out. Fields of origin say "synthetic".
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal, osr

from utils.io.synth_s2_xml import QUANTIFICATION, L2aIdentity, compact, manifest_xml, product_xml, tile_xml
from utils.io.synth_zip import write_zip
from utils.science.grid import Grid

gdal.UseExceptions()
osr.UseExceptions()


def stored(reflectance: NDArray[np.float32], offset_dn: int | None) -> NDArray[np.uint16]:
    """Digital numbers: reflectance * 10000 - offset, 1..65534; 0 (no data) is never produced."""
    return np.asarray(np.clip(np.rint(reflectance * QUANTIFICATION) - (offset_dn or 0), 1, 65534), dtype=np.uint16)


def jp2_bytes(plane: NDArray[np.uint16] | NDArray[np.uint8], grid: Grid) -> bytes:
    """Lossless JPEG 2000 with georeference, as bytes."""
    kind = gdal.GDT_Byte if plane.dtype == np.uint8 else gdal.GDT_UInt16
    memory = gdal.GetDriverByName("MEM").Create("", grid.cols, grid.rows, 1, kind)
    memory.SetGeoTransform(grid.transform)
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(grid.epsg)
    memory.SetProjection(reference.ExportToWkt())
    memory.GetRasterBand(1).WriteArray(plane)
    name = f"/vsimem/s2cr-synth-{os.getpid()}-{threading.get_ident()}.jp2"
    options = ["REVERSIBLE=YES", "QUALITY=100", "BLOCKXSIZE=1024", "BLOCKYSIZE=1024"]
    try:
        copy = gdal.GetDriverByName("JP2OpenJPEG").CreateCopy(name, memory, options=options)
        copy = None  # noqa: F841 - closing the dataset writes it
        stream = gdal.VSIFOpenL(name, "rb")
        data = bytes(gdal.VSIFReadL(1, gdal.VSIStatL(name).size, stream))
        gdal.VSIFCloseL(stream)
    finally:
        gdal.Unlink(name)
    return data


def _at_20m(grid: Grid) -> Grid:
    return Grid(grid.epsg, grid.x0, grid.y0, 2 * grid.dx, 2 * grid.dy, grid.rows // 2, grid.cols // 2)


def write_l2a(
    folder: Path,
    identity: L2aIdentity,
    grid: Grid,
    bands: Mapping[str, NDArray[np.float32]],
    scl: NDArray[np.uint8],
    ring: list[tuple[float, float]],
) -> Path:
    """Write <folder>/<NAME>.zip and return its path.

    grid   10 m grid of the granule; rows and columns multiples of 6, so that 20 and 60 m pixels nest
    bands  B02 B03 B04 B08 on that grid; B8A B11 B12 at half its size (20 m); reflectance 0..1
    scl    scene classification at 20 m
    ring   closed footprint, (latitude, longitude)
    raises ValueError on a shape that does not fit
    """
    if grid.rows % 6 or grid.cols % 6:
        raise ValueError(f"granule of {grid.rows} x {grid.cols} px must be a multiple of 6 px a side")
    half, folder_20 = _at_20m(grid), f"GRANULE/{identity.granule}/IMG_DATA/R20m"
    prefix = f"T{identity.tile}_{compact(identity.sensing)}"
    files: dict[str, bytes] = {}
    for band, plane in bands.items():
        step = 10 if plane.shape == grid.shape else 20
        target = grid if step == 10 else half
        if plane.shape != target.shape:
            raise ValueError(f"{band} is {plane.shape}, neither the 10 m nor the 20 m grid")
        files[f"GRANULE/{identity.granule}/IMG_DATA/R{step}m/{prefix}_{band}_{step}m.jp2"] = jp2_bytes(
            stored(plane, identity.offset_dn), target
        )
    files[f"{folder_20}/{prefix}_SCL_20m.jp2"] = jp2_bytes(scl, half)
    images = [member.removesuffix(".jp2") for member in files]
    documents = {
        "MTD_MSIL2A.xml": product_xml(identity, images, ring, scl),
        f"GRANULE/{identity.granule}/MTD_TL.xml": tile_xml(identity, grid, scl),
    }
    files = documents | files
    manifest = manifest_xml(identity, files, ring)
    path = folder / f"{identity.name}.zip"
    members = [("manifest.safe", manifest), *files.items()]
    write_zip(path, ((f"{identity.name}.SAFE/{member}", data) for member, data in members))
    return path
