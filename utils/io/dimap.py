"""BEAM-DIMAP products, as gpt writes them: a .dim file (XML) and a .data folder of ENVI images, one a band.

The .dim names its folder in every href: the two are never renamed, only the folder that holds both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from osgeo import osr

from utils.io.orbit_file import ORBIT_NAME
from utils.io.safe import parse_xml
from utils.science.grid import Grid, Window
from utils.workflow.errors import InputError

osr.UseExceptions()
_TYPES = {"1": "u1", "2": "i2", "3": "i4", "4": "f4", "5": "f8", "12": "u2", "13": "u4"}  # codes of ENVI headers
_AGAIN = "Run gpt again: bash_scripts/gpt.sh."


@dataclass(frozen=True)
class Band:
    """One band: value = stored * scale + offset; nodata is a stored value, None when the product uses none."""

    name: str
    image: Path
    dtype: np.dtype[Any]
    skip_bytes: int
    rows: int
    cols: int
    scale: float
    offset: float
    nodata: float | None


@dataclass(frozen=True)
class Dimap:
    """A product: grid of its map projection, bands by name, and the attributes of Abstracted_Metadata."""

    path: Path
    grid: Grid
    bands: Mapping[str, Band]
    attributes: Mapping[str, str]

    def band(self, name: str) -> Band:
        """A band; upper and lower case and underscores do not count (SNAP changed the mask's name between versions).

        raises  InputError listing what is there
        """
        wanted = _plain(name)
        for key, band in self.bands.items():
            if _plain(key) == wanted:
                return band
        raise InputError(f"{self.path.name}: no band {name}; it has {', '.join(sorted(self.bands))}.", _AGAIN)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def open_dimap(path: Path) -> Dimap:
    """Parse a .dim file and the headers of its images; pixels are not read.

    raises  InputError when a file is missing, malformed, or an image has another size than its header says
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file.", "Name the .dim file that gpt wrote.")
    root = parse_xml(path.read_bytes(), path.name)
    if root.tag != "Dimap_Document":
        raise InputError(f"{path.name}: its root is <{root.tag}>, not a BEAM-DIMAP document.", _AGAIN)
    files = {
        (entry.findtext("BAND_INDEX") or "").strip(): _href(entry, path) for entry in root.iterfind(".//Data_File")
    }
    infos = root.findall(".//Spectral_Band_Info")
    bands = {}
    for info in infos:
        number = (info.findtext("BAND_INDEX") or "").strip()
        if number in files:  # virtual bands have no file
            band = _band(info, files[number], path)
            bands[band.name] = band
    if not bands:
        raise InputError(f"{path.name}: it holds no band.", _AGAIN)
    # the first is the product's own; products that were merged into it bring theirs further down
    own = next((element for element in root.iter("MDElem") if element.get("name") == "Abstracted_Metadata"), None)
    entries = own.findall("MDATTR") if own is not None else []
    attributes = {(entry.get("name") or ""): (entry.text or "").strip() for entry in entries}
    return Dimap(path, _grid(root, infos, next(iter(bands.values())), path), bands, attributes)


def open_parts(paths: Sequence[Path], shared: Collection[str] = ()) -> Dimap:
    """Several .dim files of one product as one: each brings bands of its own.

    shared  names of bands that each may hold, as they do not depend on the run
    raises  InputError when two hold the same other band, or differ in grid or orbit
    """
    parts = [open_dimap(path) for path in paths]
    first, bands = parts[0], dict(parts[0].bands)
    both, ground = {_plain(name): first for name in bands}, {_plain(name) for name in shared}
    for part in parts[1:]:
        for name, band in part.bands.items():
            before = both.setdefault(_plain(name), part)
            if before is not part and _plain(name) not in ground:
                raise InputError(
                    f"{before.path.name} and {part.path.name} both hold {name}: they are results of two areas or two runs.",
                    "Give each band once, all of the same area.",
                )
            if before is part:
                bands[name] = band
        if part.grid != first.grid:
            raise InputError(
                f"{first.path.name} and {part.path.name} are of different areas.", "Give only results of the same area."
            )
        if orbit_used(part) != orbit_used(first):
            raise InputError(f"{first.path.name} and {part.path.name} were made with different orbits.", _AGAIN)
    return Dimap(first.path, first.grid, bands, first.attributes)


def _href(entry: ElementTree.Element, path: Path) -> Path:
    element = entry.find("DATA_FILE_PATH")
    name = element.get("href", "") if element is not None else ""
    if not name or name.startswith("/") or ".." in Path(name).parts:
        raise InputError(f"{path.name}: data file {name!r} is not inside its own folder.", _AGAIN)
    return path.parent / name


def _header(path: Path, where: str) -> dict[str, str]:
    """Entries of an ENVI header in lower case."""
    try:
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise InputError(f"{where}: {path.name} cannot be read ({error.strerror}).", _AGAIN) from error
    if not text.startswith("ENVI"):
        raise InputError(f"{where}: {path.name} is no ENVI header.", _AGAIN)
    return {
        key.strip().lower(): value.strip() for key, value in re.findall(r"^([\w ]+?)\s*=\s*(.*)$", text, re.MULTILINE)
    }


def _band(info: ElementTree.Element, header: Path, path: Path) -> Band:
    name = (info.findtext("BAND_NAME") or "").strip()
    entries = _header(header, path.name)
    try:
        rows, cols = int(entries["lines"]), int(entries["samples"])
        order = ">" if entries.get("byte order", "1") == "1" else "<"
        dtype = np.dtype(order + _TYPES[entries["data type"]])
        skip = int(entries.get("header offset", "0"))
        scale, offset = (float(info.findtext(tag) or default) for tag, default in _SCALING)
        used = (info.findtext("NO_DATA_VALUE_USED") or "").strip().lower() == "true"
        nodata = float(info.findtext("NO_DATA_VALUE") or "nan") if used else None
    except (KeyError, ValueError) as error:
        raise InputError(f"{path.name}: header of band {name} is malformed ({error}).", _AGAIN) from error
    image = header.with_suffix(".img")
    expected = skip + rows * cols * dtype.itemsize
    found = image.stat().st_size if image.is_file() else None
    if found != expected:
        what = "is missing" if found is None else f"has {found} bytes"
        raise InputError(f"{path.name}: {image.name} {what}, {rows} x {cols} pixels need {expected}.", _AGAIN)
    return Band(name, image, dtype, skip, rows, cols, scale, offset, nodata)


_SCALING = (("SCALING_FACTOR", "1"), ("SCALING_OFFSET", "0"))


def _grid(root: ElementTree.Element, infos: list[ElementTree.Element], first: Band, path: Path) -> Grid:
    """Grid from IMAGE_TO_MODEL_TRANSFORM (pixel corner to map) and the WKT."""
    text = root.findtext(".//Geoposition/IMAGE_TO_MODEL_TRANSFORM") or next(
        (found for info in infos if (found := info.findtext("IMAGE_TO_MODEL_TRANSFORM"))), ""
    )
    wkt = (root.findtext(".//Coordinate_Reference_System/WKT") or "").strip()
    try:
        dx, shear_y, shear_x, dy, x0, y0 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"{path.name}: it has no map projection (IMAGE_TO_MODEL_TRANSFORM {text!r}).",
            "Use a graph that ends with Terrain-Correction, or a Sentinel-2 product.",
        ) from error
    if shear_x or shear_y or dx <= 0 or dy >= 0:
        raise InputError(f"{path.name}: it is not north up.", _AGAIN)
    return Grid(_epsg(wkt, path), x0, y0, dx, dy, first.rows, first.cols)


def _epsg(wkt: str, path: Path) -> int:
    try:
        reference = osr.SpatialReference(wkt=" ".join(wkt.split()))
        if reference.GetAuthorityCode(None) is None:
            reference.AutoIdentifyEPSG()
        return int(reference.GetAuthorityCode(None))
    except (RuntimeError, TypeError) as error:
        raise InputError(f"{path.name}: its coordinate system has no EPSG code ({error}).", _AGAIN) from error


def check_bands(dimap: Dimap, names: Collection[str]) -> None:
    """All wanted bands are there and have the size of the product.

    raises  InputError naming the first that is not
    """
    for name in names:
        band = dimap.band(name)
        if (band.rows, band.cols) != dimap.grid.shape:
            raise InputError(
                f"{dimap.path.name}: band {band.name} has {band.rows} x {band.cols} pixels, the product "
                f"{dimap.grid.rows} x {dimap.grid.cols}.",
                _AGAIN,
            )


def read_on_grid(dimap: Dimap, name: str, grid: Grid) -> NDArray[np.float32]:
    """Values of a band on a grid, (rows, cols) float32; NaN outside the product and where the stored value is nodata.

    grid    must be offset by whole pixels
    raises  InputError when the grids do not align
    """
    stored, inside = _stored(dimap, name, grid)
    band = dimap.band(name)
    # scaled in float64 as SNAP does: 0.0001 as float32 would be off in the last digit
    values = stored if (band.scale, band.offset) == (1.0, 0.0) else stored.astype(np.float64) * band.scale + band.offset
    out = np.asarray(values, dtype=np.float32)
    bad = ~inside
    if band.nodata is not None and not math.isnan(band.nodata):
        bad |= stored == band.nodata
    return np.where(bad, np.float32(np.nan), out)


def read_stored(dimap: Dimap, name: str, grid: Grid) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Stored numbers of a band on a grid, 0 outside the product, and where the product lies (bool)."""
    return _stored(dimap, name, grid)


def _stored(dimap: Dimap, name: str, grid: Grid) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    band = dimap.band(name)
    try:
        row, col = dimap.grid.offset_of(grid)
    except ValueError as error:
        raise InputError(
            f"{dimap.path.name}: does not align with the target grid ({error}).",
            "Run gpt with the shipped graph: alignToStandardGrid and the origins keep the pixels in place.",
        ) from error
    out, inside = np.zeros(grid.shape, band.dtype.newbyteorder("=")), np.zeros(grid.shape, bool)
    top, left = max(row, 0), max(col, 0)
    bottom, right = min(row + grid.rows, band.rows), min(col + grid.cols, band.cols)
    if bottom > top and right > left:
        pixels = np.memmap(band.image, band.dtype, "r", band.skip_bytes, (band.rows, band.cols))
        window = Window(top - row, left - col, bottom - top, right - left)
        out[window.slices], inside[window.slices] = pixels[top:bottom, left:right], True
    return out, inside


@dataclass(frozen=True)
class OrbitUsed:
    """What Abstracted_Metadata proves: kind is POEORB, RESORB or empty, file the name without .zip."""

    kind: str
    file: str
    mission: str
    valid: tuple[np.datetime64, np.datetime64] | None


def orbit_used(dimap: Dimap) -> OrbitUsed:
    """The orbit file that gpt applied. The type in front of the name is the one asked for: only the name counts."""
    text = dimap.attributes.get("orbit_state_vector_file", "")
    name = text.split()[-1].removesuffix(".zip") if text.split() else ""
    match = ORBIT_NAME.fullmatch(name)
    if match is None:
        return OrbitUsed("", text, "", None)
    first, last = (_stamp(match[number]) for number in (4, 5))
    return OrbitUsed(match[2], name, match[1], (first, last))


def _stamp(text: str) -> np.datetime64:
    return np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[9:11]}:{text[11:13]}:{text[13:15]}", "ns")


def orbit_fault(
    used: OrbitUsed, allowed: Collection[str], mission: str, first: np.datetime64, last: np.datetime64
) -> str:
    """Why the applied orbit is not the wanted one; empty when it is.

    allowed  POEORB, RESORB; empty = the annotation orbit was wanted and nothing is to prove
    mission  S1A, S1B, S1C;  first, last: the scene, datetime64
    """
    if not allowed:
        return f"the annotation orbit was wanted, but {used.file} was applied" if used.kind else ""
    if not used.kind:
        return f"no orbit file was applied (orbit_state_vector_file is {used.file or 'empty'!r})"
    if used.kind not in allowed:
        return f"{used.file} is {used.kind}, allowed is {' or '.join(sorted(allowed))}"
    if used.mission != mission:
        return f"{used.file} is an orbit of {used.mission}, the product is {mission}"
    if used.valid is None or used.valid[0] > first or used.valid[1] < last:
        return f"{used.file} does not cover {first} .. {last}"
    return ""
