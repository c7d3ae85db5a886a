"""Write a generated Sentinel-1 IW GRDH product: a SAFE zip with the structure of real ones (IPF 3.x).

Element names and formats are those of the product specification (S1-RS-MDA-52-7441); parts that no reader of this
project uses (downlink, attitude, antenna pattern) are left out. The facility in the manifest says "synthetic".
"""

from __future__ import annotations

import binascii
import datetime as dt
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal, osr

from utils.io.synth_s1_manifest import manifest_xml
from utils.io.synth_s1_xml import POL_ORDER, annotation_xml, calibration_xml, noise_xml
from utils.io.synth_zip import write_zip
from utils.science.synth_geometry import RadarGrid
from utils.science.synth_orbit import F64, KeplerOrbit, ecef_to_geodetic, ellipsoid_normal, ground_point
from utils.science.synth_sar import NoiseTable

gdal.UseExceptions()
osr.UseExceptions()


@dataclass(frozen=True)
class GrdIdentity:
    """Who took the image and when.

    centre          UTC of t = 0 in the geometry (scene centre at zero Doppler), whole milliseconds
    datatake        mission data take identifier (shown as six hexadecimal digits in the name)
    """

    platform: str
    centre: dt.datetime
    absolute_orbit: int
    relative_orbit: int
    cycle: int
    descending: bool
    datatake: int
    ipf: str = "003.10"
    slice_number: int = 7
    total_slices: int = 20


@dataclass(frozen=True)
class Geolocation:
    """Geolocation grid at the reference height, arrays of one shape (lines of the grid, points a line)."""

    line: NDArray[np.int64]
    pixel: NDArray[np.int64]
    time_s: F64
    range_m: F64
    lon_deg: F64
    lat_deg: F64
    height_m: F64
    incidence_deg: F64
    elevation_deg: F64


@dataclass(frozen=True)
class GrdImage:
    """Everything that goes into one product.

    dn            polarisation -> (lines, samples) uint16; 0 = no sample
    noise         polarisation -> noise tables in DN^2
    noise_removed the annotation says that noise was subtracted already (images generated without noise)
    start_xyz     any ground point of the scene, to start solving from
    """

    identity: GrdIdentity
    orbit: KeplerOrbit
    grid: RadarGrid
    dn: Mapping[str, NDArray[np.uint16]]
    noise: Mapping[str, NoiseTable]
    a_beta: float
    noise_removed: bool
    start_xyz: F64

    def utc(self, time_s: float) -> str:
        """ISO text with six decimals of a time in the geometry."""
        return (self.identity.centre + dt.timedelta(microseconds=round(time_s * 1e6))).strftime("%Y-%m-%dT%H:%M:%S.%f")

    @property
    def last_line_s(self) -> float:
        return self.grid.first_line_s + (self.grid.lines - 1) * self.grid.dt_s


def incidence(image: GrdImage, time_s: F64, range_m: F64) -> tuple[F64, F64, F64]:
    """Points on the reference surface: (..., 3) ECEF, incidence and elevation (off-nadir) angle in degrees."""
    points = ground_point(image.orbit, time_s, range_m, image.grid.height_m, image.start_xyz)
    position = image.orbit.state(time_s)[0]
    sight = position - points
    lon, lat, _ = ecef_to_geodetic(points)
    cos = (sight * ellipsoid_normal(lon, lat)).sum(-1) / np.linalg.norm(sight, axis=-1)
    cos_nadir = (sight * position).sum(-1) / np.linalg.norm(sight, axis=-1) / np.linalg.norm(position, axis=-1)
    return points, np.degrees(np.arccos(cos)), np.degrees(np.arccos(cos_nadir))


def geolocation(image: GrdImage, n_lines: int = 10, n_points: int = 21) -> Geolocation:
    """Solve the geolocation grid: first and last line and sample included, as in real products."""
    grid = image.grid
    rows = np.unique(np.linspace(0, grid.lines - 1, n_lines).round().astype(np.int64))
    columns = np.unique(np.linspace(0, grid.samples - 1, n_points).round().astype(np.int64))
    line, pixel = np.meshgrid(rows, columns, indexing="ij")
    time_s = np.asarray(grid.first_line_s + line * grid.dt_s, dtype=np.float64)
    range_m = grid.slant_range(time_s, pixel)
    points, theta, nadir = incidence(image, time_s, range_m)
    lon, lat, height = ecef_to_geodetic(points)
    return Geolocation(line, pixel, time_s, range_m, lon, lat, height, theta, nadir)


def _tiff(image: GrdImage, dn: NDArray[np.uint16], grid: Geolocation) -> bytes:
    """Uncompressed TIFF, one strip a line, with the geolocation grid as ground control points."""
    name = f"/vsimem/s2cr-synth-{os.getpid()}-{threading.get_ident()}.tiff"
    rows, cols = dn.shape
    dataset = gdal.GetDriverByName("GTiff").Create(
        name, cols, rows, 1, gdal.GDT_UInt16, ["BLOCKYSIZE=1", "PROFILE=GDALGeoTIFF"]
    )
    columns = (grid.lon_deg, grid.lat_deg, grid.height_m, grid.pixel, grid.line)
    points = [
        gdal.GCP(*(float(value) for value in values))
        for values in zip(*(column.ravel() for column in columns), strict=True)
    ]
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(4326)
    dataset.SetGCPs(points, reference.ExportToWkt())
    dataset.SetMetadataItem(
        "TIFFTAG_IMAGEDESCRIPTION",
        f"Synthetic image in the format of Sentinel-1{image.identity.platform[2]} IW GRD HR L1",
    )
    dataset.GetRasterBand(1).WriteArray(dn)
    dataset = None
    try:
        stream = gdal.VSIFOpenL(name, "rb")
        data = bytes(gdal.VSIFReadL(1, gdal.VSIStatL(name).size, stream))
        gdal.VSIFCloseL(stream)
    finally:
        gdal.Unlink(name)
    return data


def product_name(image: GrdImage, unique: str) -> str:
    """Name without .SAFE; `unique` is the last hexadecimal group."""
    identity = image.identity
    pols = "DV" if set(image.dn) == {"VV", "VH"} else {"VV": "SV", "VH": "VH"}[next(iter(image.dn))]
    start, stop = (
        image.utc(t)[:19].replace("-", "").replace(":", "") for t in (image.grid.first_line_s, image.last_line_s)
    )
    return f"{identity.platform}_IW_GRDH_1S{pols}_{start}_{stop}_{identity.absolute_orbit:06d}_{identity.datatake:06X}_{unique}"


def write_grd(folder: Path, image: GrdImage) -> Path:
    """Write <folder>/<NAME>.zip and return its path.

    The last group of the name is the CRC-16 of the manifest, as in real products.
    raises  ValueError when an image has not the shape of the grid or no polarisation is given
    """
    shape = (image.grid.lines, image.grid.samples)
    if not image.dn or any(dn.shape != shape for dn in image.dn.values()):
        raise ValueError(f"images must all be {shape}, got {[dn.shape for dn in image.dn.values()]}")
    net = geolocation(image)
    stem_base = product_name(image, "0000").lower().split("_")
    start, stop, orbit, take = stem_base[4:8]
    files: dict[str, bytes] = {}
    for number, pol in enumerate(sorted(image.dn, key=POL_ORDER.index), start=1):
        stem = f"{stem_base[0]}-iw-grd-{pol.lower()}-{start}-{stop}-{orbit}-{take}-{number:03d}"
        files[f"annotation/{stem}.xml"] = annotation_xml(image, net, pol, number)
        files[f"annotation/calibration/calibration-{stem}.xml"] = calibration_xml(image, pol, number)
        files[f"annotation/calibration/noise-{stem}.xml"] = noise_xml(image, pol, number)
        files[f"measurement/{stem}.tiff"] = _tiff(image, image.dn[pol], net)
    manifest = manifest_xml(image, net, files)
    name = product_name(image, f"{binascii.crc_hqx(manifest, 0xFFFF):04X}")
    members = [("manifest.safe", manifest), *files.items()]
    path = folder / f"{name}.zip"
    write_zip(path, ((f"{name}.SAFE/{member}", data) for member, data in members))
    return path
