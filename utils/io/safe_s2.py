"""Sentinel-2 L2A products: metadata, band files, digital numbers on a target grid."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from utils.io import s2_pixels
from utils.io.safe import SafeProduct
from utils.science.grid import Grid
from utils.workflow.errors import ConfigError, InputError

BANDS_10M = ("B02", "B03", "B04", "B08")
BANDS_20M = ("B05", "B06", "B07", "B8A", "B11", "B12")
_OFFSET_BASELINE = (4, 0)
_BAND_ID = {name: str(number) for number, name in enumerate(
    ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"))}  # fmt: skip
_AGAIN = "Download it again: make download CONF=..."


@dataclass(frozen=True)
class S2Metadata:
    """What the XML files of a product say.

    baseline        integers, (2, 12) for 02.12
    offsets_dn      band -> offset to add to digital numbers; empty before baseline 04.00
    offset_source   xml, or absent when the product has none and needs none
    images          B02_10m -> member without its ending;  ending: .jp2 or .tif
    grids           resolution in m -> grid of the tile
    cloud_percent, nodata_percent  of the whole tile
    footprint       (longitude, latitude), degrees, ring not closed; the valid pixels of the tile
    """

    name: str
    level: str
    baseline: tuple[int, ...]
    start: str
    sensing_time: str
    tile: str
    quantification: int
    offsets_dn: Mapping[str, int]
    offset_source: str
    nodata_dn: int
    saturated_dn: int
    images: Mapping[str, str]
    ending: str
    epsg: int
    grids: Mapping[int, Grid]
    cloud_percent: float | None
    nodata_percent: float | None
    footprint: tuple[tuple[float, float], ...]

    def offset_dn(self, band: str) -> int:
        """Offset of a band; 0 where the product has no offsets at all.

        raises  InputError when the product has offsets but none for this band
        """
        if not self.offsets_dn:
            return 0
        if band not in self.offsets_dn:
            raise InputError(f"{self.name}: no BOA_ADD_OFFSET for band {band}.", _AGAIN)
        return self.offsets_dn[band]

    def resolution_m(self, band: str) -> int:
        """Native pixel size of a band (10 or 20 m); SCL is taken at 20 m."""
        return 10 if band in BANDS_10M else 20

    def member(self, band: str) -> str:
        """Image file of a band at its native resolution.

        raises  InputError when the product does not list it
        """
        key = f"{band}_{self.resolution_m(band)}m"
        if key not in self.images:
            raise InputError(
                f"{self.name}: no image {key} in MTD_MSIL2A.xml; it lists {', '.join(sorted(self.images))}.", _AGAIN
            )
        return self.images[key] + self.ending


def metadata(product: SafeProduct) -> S2Metadata:
    """Parse MTD_MSIL2A.xml and MTD_TL.xml.

    raises  InputError for another level, a missing file or element, baseline 04.00 or later without offsets
    """
    main = _main_xml(product)
    granule = [name for name in product.members() if re.fullmatch(r"GRANULE/[^/]+/MTD_TL\.xml", name)]
    if len(granule) != 1:
        raise InputError(f"{product.path.name}: {len(granule)} files GRANULE/*/MTD_TL.xml, expected 1.", _AGAIN)
    return _metadata(product, main, product.xml(granule[0]))


def _main_xml(product: SafeProduct) -> ElementTree.Element:
    if product.has("MTD_MSIL1C.xml"):
        raise InputError(
            f"{product.path.name}: product is Sentinel-2 L1C; this stage needs L2A.",
            "Put the L2A product of the same acquisition into the archive and search again.",
        )
    if not product.has("MTD_MSIL2A.xml"):
        raise InputError(f"{product.path.name}: MTD_MSIL2A.xml is missing.", _AGAIN)
    return product.xml("MTD_MSIL2A.xml")


def _metadata(product: SafeProduct, main: ElementTree.Element, tile: ElementTree.Element) -> S2Metadata:
    where = product.path.name
    baseline_text = need(main, ".//PROCESSING_BASELINE", where)
    baseline = tuple(int(part) for part in baseline_text.split("."))
    offsets = parse_offsets(main, where, "BOA_ADD_OFFSET")
    if not offsets and baseline >= _OFFSET_BASELINE:
        raise InputError(f"{where}: baseline {baseline_text} without BOA_ADD_OFFSET_VALUES_LIST.", _AGAIN)
    special = special_values(main)
    images, ending = _images(main, where)
    epsg, grids = parse_grids(tile, where)
    name = need(main, ".//PRODUCT_URI", where).removesuffix(".SAFE")
    tile_match = re.search(r"_T(\d{2}[A-Z]{3})_", name)
    return S2Metadata(
        name=name,
        level="L2A",
        baseline=baseline,
        start=need(main, ".//PRODUCT_START_TIME", where),
        sensing_time=need(tile, ".//SENSING_TIME", where),
        tile=tile_match.group(1) if tile_match else "",
        quantification=round(float(need(main, ".//BOA_QUANTIFICATION_VALUE", where))),
        offsets_dn=offsets,
        offset_source="xml" if offsets else "absent",
        nodata_dn=special.get("NODATA", 0),
        saturated_dn=special.get("SATURATED", 65535),
        images=images,
        ending=ending,
        epsg=epsg,
        grids=grids,
        cloud_percent=_percent(main, tile, "Cloud_Coverage_Assessment", "CLOUDY_PIXEL_PERCENTAGE"),
        nodata_percent=_percent(main, tile, "NODATA_PIXEL_PERCENTAGE", "NODATA_PIXEL_PERCENTAGE"),
        footprint=_footprint(main),
    )


def special_values(main: ElementTree.Element) -> dict[str, int]:
    """NODATA, SATURATED -> digital number, where the product states them."""
    found = {
        (e.findtext("SPECIAL_VALUE_TEXT") or "").strip(): (e.findtext("SPECIAL_VALUE_INDEX") or "").strip()
        for e in main.iterfind(".//Special_Values")
    }
    return {name: int(text) for name, text in found.items() if text.isdigit()}


def need(root: ElementTree.Element, path: str, where: str) -> str:
    """Text of an element; InputError when it is missing or empty."""
    text = (root.findtext(path) or "").strip()
    if not text:
        raise InputError(f"{where}: element {path.removeprefix('.//')} is missing in the metadata.", _AGAIN)
    return text


def _percent(main: ElementTree.Element, tile: ElementTree.Element, in_main: str, in_tile: str) -> float | None:
    text = main.findtext(f".//{in_main}") or tile.findtext(f".//{in_tile}")
    return float(text) if text else None


def parse_offsets(main: ElementTree.Element, where: str, tag: str) -> dict[str, int]:
    """Offsets by band name from the elements `tag`; band_id numbers B8A as 8, so B09 is 9 and B12 is 12."""
    names = {number: band for band, number in _BAND_ID.items()}
    found = {}
    for element in main.iterfind(f".//{tag}"):
        band, text = names.get(element.get("band_id", "")), (element.text or "").strip()
        if band is None or not re.fullmatch(r"[+-]?\d+(\.0*)?", text):
            raise InputError(f"{where}: {tag} {text!r} of band_id {element.get('band_id')!r}.", _AGAIN)
        found[band] = int(float(text))
    return found


def _images(main: ElementTree.Element, where: str) -> tuple[dict[str, str], str]:
    """Image files by their ending _B02_10m: the order in the list differs between products."""
    images = {}
    for element in main.iterfind(".//Granule_List/Granule/IMAGE_FILE"):
        text = (element.text or "").strip()
        if match := re.search(r"_([A-Z0-9]{3})_(\d\d)m$", text):
            images[f"{match.group(1)}_{match.group(2)}m"] = text
    granule = main.find(".//Granule_List/Granule")
    if granule is None or not images:
        raise InputError(f"{where}: no IMAGE_FILE in MTD_MSIL2A.xml.", _AGAIN)
    return images, ".tif" if granule.get("imageFormat", "").upper() in ("GEOTIFF", "TIFF") else ".jp2"


def parse_grids(tile: ElementTree.Element, where: str) -> tuple[int, dict[int, Grid]]:
    """EPSG code, and resolution in m -> grid, of a MTD_TL.xml."""
    code = need(tile, ".//Tile_Geocoding/HORIZONTAL_CS_CODE", where)
    epsg = int(code.rpartition(":")[2])
    grids = {}
    for size in tile.iterfind(".//Tile_Geocoding/Size"):
        step = size.get("resolution", "")
        place = tile.find(f".//Tile_Geocoding/Geoposition[@resolution='{step}']")
        if place is None:
            raise InputError(f"{where}: MTD_TL.xml gives no position at {step} m.", _AGAIN)
        x, y, dx, dy = (float(need(place, tag, where)) for tag in ("ULX", "ULY", "XDIM", "YDIM"))
        grids[int(step)] = Grid(epsg, x, y, dx, dy, int(need(size, "NROWS", where)), int(need(size, "NCOLS", where)))
    if not {10, 20} <= grids.keys():
        raise InputError(f"{where}: MTD_TL.xml lacks the 10 m or 20 m grid.", _AGAIN)
    return epsg, grids


def _footprint(main: ElementTree.Element) -> tuple[tuple[float, float], ...]:
    """EXT_POS_LIST is "lat lon lat lon ...", latitude first: swapped once, here."""
    numbers = [float(text) for text in (main.findtext(".//EXT_POS_LIST") or "").split()]
    points = tuple((lon, lat) for lat, lon in zip(numbers[::2], numbers[1::2], strict=False))
    return points[:-1] if len(points) > 3 and points[0] == points[-1] else points


def members_of(meta: S2Metadata, bands: Sequence[str]) -> list[str]:
    """Image files of the bands and SCL, for verification before pixels are read.

    raises  InputError when the metadata do not list one, or have offsets but none for a band
    """
    for band in bands:
        meta.offset_dn(band)
    return [meta.member(band) for band in (*bands, "SCL")]


def check_grid(meta: S2Metadata, grid: Grid) -> None:
    """The product must lie in the zone of the target grid and nest with it.

    raises  ConfigError naming both systems
    """
    if meta.epsg != grid.epsg:
        raise ConfigError(
            f"{meta.name} is in EPSG:{meta.epsg}, the target grid in EPSG:{grid.epsg}.",
            f"Set area.epsg to {meta.epsg}, or search tiles of that zone.",
        )
    try:
        meta.grids[10].offset_of(grid)
    except ValueError as error:
        raise ConfigError(
            f"{meta.name} does not nest with the target grid: {error}.", "Set area.pixel_m to 10."
        ) from error


def coarse_grid(grid: Grid, margin_px: int = 0) -> Grid:
    """The 20 m grid under a 10 m grid whose corner is a multiple of 20 m, with a margin in 20 m pixels."""
    step, edge = 2 * grid.dx, margin_px * 2 * grid.dx
    return Grid(
        grid.epsg,
        grid.x0 - edge,
        grid.y0 + edge,
        step,
        -step,
        grid.rows // 2 + 2 * margin_px,
        grid.cols // 2 + 2 * margin_px,
    )


def image(meta: S2Metadata, band: str) -> s2_pixels.Image:
    """The image of a band (or SCL) at its native resolution, for utils.io.s2_pixels."""
    fill = 0 if band == "SCL" else meta.nodata_dn
    return s2_pixels.Image(meta.member(band), meta.grids[meta.resolution_m(band)], fill)


def read_dn(product: SafeProduct, meta: S2Metadata, band: str, grid: Grid) -> NDArray[np.uint16]:
    """Stored numbers of a band on a grid of the band's own resolution; nodata outside the tile.

    grid     must nest with the tile's grid of that resolution
    returns  (rows, cols) uint16 (SCL: classes)
    raises   InputError for a missing or wrong image file
    """
    return s2_pixels.read(product, image(meta, band), grid).astype(np.uint16, copy=False)


def grid_overlap(meta: S2Metadata, grid: Grid) -> float:
    """Share of a target grid that the tile's rectangle covers, 0..1."""
    row, col = meta.grids[10].offset_of(grid)
    tile = meta.grids[10]
    rows = min(row + grid.rows, tile.rows) - max(row, 0)
    cols = min(col + grid.cols, tile.cols) - max(col, 0)
    return max(rows, 0) * max(cols, 0) / (grid.rows * grid.cols)


def baseline_text(meta: S2Metadata) -> str:
    """Processing baseline as products write it: 02.12."""
    return ".".join(f"{part:02d}" for part in meta.baseline)


def facts(meta: S2Metadata) -> dict[str, Any]:
    """Metadata as plain JSON values, without file lists."""
    return {
        "name": meta.name,
        "level": meta.level,
        "baseline": baseline_text(meta),
        "start": meta.start,
        "sensing_time": meta.sensing_time,
        "tile": meta.tile,
        "quantification": meta.quantification,
        "offsets_dn": dict(sorted(meta.offsets_dn.items())),
        "offset_source": meta.offset_source,
        "epsg": meta.epsg,
        "cloud_percent": meta.cloud_percent,
        "nodata_percent": meta.nodata_percent,
    }
