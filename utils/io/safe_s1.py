"""Sentinel-1 IW GRD products: annotation, calibration and noise XML to plain arrays.

GDAL's SAFE driver is not used: it gives uncalibrated amplitude only and fails when one polarisation is missing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from utils.io import xml_fields as fields
from utils.io.safe import SafeProduct, Verify
from utils.workflow.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
TimeArray = NDArray[np.datetime64]

_AGAIN = "Download it again: make download CONF=..."
_NAME = re.compile(r"annotation/(s1[a-z]-([a-z0-9]+)-([a-z]+)-(vv|vh|hh|hv)-[0-9t]+-[0-9t]+-\d+-[0-9a-f]+-\d+)\.xml")


@dataclass(frozen=True)
class Members:
    """Files of one polarisation, relative to the product; None where absent."""

    annotation: str
    calibration: str | None
    noise: str | None
    measurement: str | None

    def present(self) -> list[str]:
        """The files that exist."""
        return [m for m in (self.annotation, self.calibration, self.noise, self.measurement) if m]


@dataclass(frozen=True)
class Annotation:
    """What the processing chain needs of one annotation file.

    first_line_time, last_line_time   datetime64[ns]
    line_interval_s                   time between lines; range_spacing_m, azimuth_spacing_m nominal pixel size
    lines, samples                    image size
    orbit_times (n,), orbit_position_m, orbit_velocity_m_s (n, 3)   state vectors, earth-fixed
    srgr_times (m,), srgr_origin_m (m,), srgr_coefficients (m, k)   slant to ground range, lowest power first
    grid_* (p,)                       geolocation grid: line, pixel, lat, lon in degrees, height m, time, range m
    """

    mission: str
    mode: str
    product_type: str
    polarisation: str
    absolute_orbit: int
    direction: str
    orbit_source: str
    noise_removed: bool
    first_line_time: np.datetime64
    last_line_time: np.datetime64
    line_interval_s: float
    range_spacing_m: float
    azimuth_spacing_m: float
    lines: int
    samples: int
    orbit_times: TimeArray
    orbit_position_m: FloatArray
    orbit_velocity_m_s: FloatArray
    srgr_times: TimeArray
    srgr_origin_m: FloatArray
    srgr_coefficients: FloatArray
    grid_line: IntArray
    grid_pixel: IntArray
    grid_lat_deg: FloatArray
    grid_lon_deg: FloatArray
    grid_height_m: FloatArray
    grid_time: TimeArray
    grid_range_m: FloatArray


@dataclass(frozen=True)
class Vectors:
    """Table of values along lines; see utils.science.calibrate.VectorTable."""

    lines: IntArray
    pixels: tuple[IntArray, ...]
    values: tuple[FloatArray, ...]


@dataclass(frozen=True)
class AzimuthBlock:
    """One noiseAzimuthVector; bounds inclusive."""

    first_line: int
    last_line: int
    first_pixel: int
    last_pixel: int
    lines: IntArray
    values: FloatArray


@dataclass(frozen=True)
class Noise:
    """Thermal noise tables of one polarisation, DN^2."""

    range_vectors: Vectors
    azimuth_blocks: tuple[AzimuthBlock, ...]


SPEED_OF_LIGHT_M_S = 299_792_458.0


def find_members(product: SafeProduct) -> dict[str, Members]:
    """Files of each polarisation (upper case) whose annotation exists.

    raises  InputError when the product is not IW GRD, judged by manifest and file names before any geometry
    """
    manifest = product.manifest()
    kind = f"{manifest.mode or '?'} {manifest.product_type or '?'}"
    if (manifest.mode, manifest.product_type) != ("IW", "GRD"):
        raise InputError(
            f"{product.name}: product is {kind}; this stage needs IW GRD.",
            "Search for IW GRD products and download them.",
        )
    found: dict[str, Members] = {}
    names = product.members()
    for match in filter(None, map(_NAME.fullmatch, names)):
        stem, folder = match.group(1), "annotation/calibration"
        optional = (f"{folder}/calibration-{stem}.xml", f"{folder}/noise-{stem}.xml", f"measurement/{stem}.tiff")
        found[match.group(4).upper()] = Members(match.group(), *(name if name in names else None for name in optional))
    return found


def ipf_of(product: SafeProduct) -> tuple[int, int]:
    """Version of the processor, such as (3, 40); it decides how noise and borders are treated.

    raises  InputError when manifest.safe does not say it
    """
    version = product.manifest().ipf
    if len(version) < 2:
        raise InputError(f"{product.name}: manifest.safe does not name the IPF version.", _AGAIN)
    return version[0], version[1]


def require(product: SafeProduct, polarisations: Sequence[str], verify: Verify) -> dict[str, Members]:
    """Complete and verified files of the wanted polarisations.

    polarisations  VV, VH; or the word available: those whose annotation, calibration and measurement are all there
                   (a file that is there but damaged is an error all the same); `absent` names the others
    raises  InputError naming what is missing, or the file whose size or checksum is not that of manifest.safe
    """
    found = find_members(product)
    complete = [p for p in ("VV", "VH") if p in found and None not in (found[p].measurement, found[p].calibration)]
    wanted: Sequence[str] = complete if polarisations == "available" else polarisations
    missing = [p for p in wanted if p not in found or found[p].measurement is None]
    there = [p for p, m in sorted(found.items(), reverse=True) if m.measurement is not None]
    if missing or not wanted:
        raise InputError(
            f"{product.name}: polarisation {', '.join(missing) or 'VV or VH'} is missing; the product holds {', '.join(there) or 'none'}.",
            "Set preprocess.polarisations to what is there, or choose another product.",
        )
    for polarisation in wanted:
        members = found[polarisation]
        if members.calibration is None:
            raise InputError(f"{product.name}: no calibration file for {polarisation}.", _AGAIN)
        product.verify(members.present(), verify)
    return {p: found[p] for p in wanted}


def absent(product: SafeProduct, members: Collection[str]) -> tuple[str, ...]:
    """Polarisations that manifest.safe promises and that are not among `members`, for a tag."""
    return tuple(p for p in product.manifest().polarisations if p not in members)


def read_annotation(product: SafeProduct, member: str) -> Annotation:
    """Parse one annotation file.

    raises  InputError when an element is missing or malformed, for another product type, or another orbit frame
    """
    root, where = product.xml(member), f"{product.name}: {member}"
    mode, kind = fields.text(root, "adsHeader/mode", where), fields.text(root, "adsHeader/productType", where)
    if (mode, kind) != ("IW", "GRD"):
        raise InputError(f"{where}: product is {mode} {kind}; this stage needs IW GRD.", "Choose an IW GRD product.")
    image = "imageAnnotation/imageInformation/"
    steps = "imageAnnotation/processingInformation/"
    return Annotation(
        mission=fields.text(root, "adsHeader/missionId", where),
        mode=mode,
        product_type=kind,
        polarisation=fields.text(root, "adsHeader/polarisation", where),
        absolute_orbit=int(fields.number(root, "adsHeader/absoluteOrbitNumber", where)),
        direction=fields.text(root, "generalAnnotation/productInformation/pass", where).lower(),
        orbit_source=(root.findtext(steps + "orbitSource") or "unknown").strip(),
        noise_removed=(root.findtext(steps + "thermalNoiseCorrectionPerformed") or "false").strip() == "true",
        first_line_time=fields.time(root, image + "productFirstLineUtcTime", where),
        last_line_time=fields.time(root, image + "productLastLineUtcTime", where),
        line_interval_s=fields.number(root, image + "azimuthTimeInterval", where),
        range_spacing_m=fields.number(root, image + "rangePixelSpacing", where),
        azimuth_spacing_m=fields.number(root, image + "azimuthPixelSpacing", where),
        lines=int(fields.number(root, image + "numberOfLines", where)),
        samples=int(fields.number(root, image + "numberOfSamples", where)),
        **_orbit(root, where),
        **_slant_to_ground(root, where),
        **_geolocation_grid(root, where),
    )


def _orbit(root: ElementTree.Element, where: str) -> dict[str, Any]:
    vectors = fields.elements(root, "generalAnnotation/orbitList/orbit", where)
    frames = {fields.text(v, "frame", where) for v in vectors}
    if frames != {"Earth Fixed"}:
        raise InputError(
            f"{where}: orbit frame is {', '.join(sorted(frames))}, not Earth Fixed.", "Choose another product."
        )
    return {
        "orbit_times": np.array([fields.time(v, "time", where) for v in vectors]),
        "orbit_position_m": np.array([[fields.number(v, f"position/{a}", where) for a in "xyz"] for v in vectors]),
        "orbit_velocity_m_s": np.array([[fields.number(v, f"velocity/{a}", where) for a in "xyz"] for v in vectors]),
    }


def _slant_to_ground(root: ElementTree.Element, where: str) -> dict[str, Any]:
    entries = fields.elements(root, "coordinateConversion/coordinateConversionList/coordinateConversion", where)
    rows = [fields.floats(e, "srgrCoefficients", where) for e in entries]
    table = np.zeros((len(rows), max(len(r) for r in rows)))
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return {
        "srgr_times": np.array([fields.time(e, "azimuthTime", where) for e in entries]),
        "srgr_origin_m": np.array([fields.number(e, "sr0", where) for e in entries]),
        "srgr_coefficients": table,
    }


def _geolocation_grid(root: ElementTree.Element, where: str) -> dict[str, Any]:
    points = fields.elements(root, "geolocationGrid/geolocationGridPointList/geolocationGridPoint", where)

    def column(name: str) -> FloatArray:
        return np.array([fields.number(p, name, where) for p in points])

    return {
        "grid_line": column("line").astype(np.int64),
        "grid_pixel": column("pixel").astype(np.int64),
        "grid_lat_deg": column("latitude"),
        "grid_lon_deg": column("longitude"),
        "grid_height_m": column("height"),
        "grid_time": np.array([fields.time(p, "azimuthTime", where) for p in points]),
        "grid_range_m": column("slantRangeTime") * SPEED_OF_LIGHT_M_S / 2,
    }


def _vectors(entries: Sequence[ElementTree.Element], value: str, where: str) -> Vectors:
    lines: list[int] = []
    pixels, values = [], []
    for entry in entries:
        pixel, row = fields.floats(entry, "pixel", where).astype(np.int64), fields.floats(entry, value, where)
        line = int(fields.number(entry, "line", where))
        if len(pixel) != len(row) or np.any(np.diff(pixel) <= 0) or (lines and line <= lines[-1]):
            raise InputError(
                f"{where}: {value} at line {line}: positions do not increase or do not match values.", _AGAIN
            )
        lines.append(line)
        pixels.append(pixel)
        values.append(row)
    return Vectors(np.array(lines), tuple(pixels), tuple(values))


def read_calibration(product: SafeProduct, member: str, quantity: str = "betaNought") -> Vectors:
    """Calibration table of one quantity: betaNought, sigmaNought, gamma or dn.

    raises  InputError when the table is missing, malformed or not positive
    """
    root, where = product.xml(member), f"{product.name}: {member}"
    vectors = _vectors(fields.elements(root, "calibrationVectorList/calibrationVector", where), quantity, where)
    if any(np.any(~(v > 0)) for v in vectors.values):
        raise InputError(f"{where}: {quantity} holds values that are not positive.", _AGAIN)
    return vectors


def read_noise(product: SafeProduct, member: str) -> Noise:
    """Noise tables: noiseRangeVector and noiseAzimuthVector (IPF >= 2.90), or noiseVector alone (before)."""
    root, where = product.xml(member), f"{product.name}: {member}"
    old = root.findall("noiseVectorList/noiseVector")
    if old:
        return Noise(_vectors(old, "noiseLut", where), ())
    entries = fields.elements(root, "noiseRangeVectorList/noiseRangeVector", where)
    blocks = root.findall("noiseAzimuthVectorList/noiseAzimuthVector")
    return Noise(_vectors(entries, "noiseRangeLut", where), tuple(_block(b, where) for b in blocks))


def _block(entry: ElementTree.Element, where: str) -> AzimuthBlock:
    names = ("firstAzimuthLine", "lastAzimuthLine", "firstRangeSample", "lastRangeSample")
    bounds = [int(fields.number(entry, name, where)) for name in names]
    lines = fields.floats(entry, "line", where).astype(np.int64)
    values = fields.floats(entry, "noiseAzimuthLut", where)
    if len(lines) != len(values) or np.any(np.diff(lines) <= 0):
        raise InputError(f"{where}: noiseAzimuthLut does not match its lines.", _AGAIN)
    return AzimuthBlock(bounds[0], bounds[1], bounds[2], bounds[3], lines, values)
