"""Sentinel-2 L1C products, the input of cloud detectors: finding the one of a datatake, metadata, a copy on disk."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from utils.io import safe_s2
from utils.io.s2_pixels import Image
from utils.io.safe import SafeProduct
from utils.science.grid import Grid
from utils.science.product import NameError_, Product, parse_name
from utils.workflow.errors import DiskError, InputError

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
RESOLUTION_M = dict.fromkeys(BANDS, 20) | dict.fromkeys(("B02", "B03", "B04", "B08"), 10) | dict.fromkeys(("B01", "B09", "B10"), 60)  # fmt: skip
_OFFSET_BASELINE = (4, 0)
_SAME_TIME = dt.timedelta(seconds=1)  # processors write 3 or 6 decimals, rounded or cut
_AGAIN = "Download the L1C product again."
_CHUNK = 1 << 20


@dataclass(frozen=True)
class L1cMetadata:
    """What the XML files of an L1C product say; fields as in S2Metadata.

    images  band -> member;  grids: resolution in m -> grid of the tile
    """

    name: str
    baseline: tuple[int, ...]
    sensing_time: str
    quantification: int
    offsets_dn: Mapping[str, int]
    nodata_dn: int
    saturated_dn: int
    images: Mapping[str, str]
    epsg: int
    grids: Mapping[int, Grid]

    def image(self, band: str) -> Image:
        """Image of a band at its native resolution."""
        return Image(self.images[band], self.grids[RESOLUTION_M[band]], self.nodata_dn)

    def offset_dn(self, band: str) -> int:
        """Offset of a band; 0 where the product has no offsets at all.

        raises  InputError when the product has offsets but none for this band
        """
        if not self.offsets_dn:
            return 0
        if band not in self.offsets_dn:
            raise InputError(f"{self.name}: no RADIO_ADD_OFFSET for band {band}.", _AGAIN)
        return self.offsets_dn[band]


def metadata(product: SafeProduct) -> L1cMetadata:
    """Parse MTD_MSIL1C.xml and MTD_TL.xml.

    raises  InputError for another level, a missing file, band or element, baseline 04.00 or later without offsets
    """
    where = product.path.name
    if not product.has("MTD_MSIL1C.xml"):
        raise InputError(f"{where}: MTD_MSIL1C.xml is missing; this is no L1C product.", _AGAIN)
    main = product.xml("MTD_MSIL1C.xml")
    granules = [name for name in product.members() if re.fullmatch(r"GRANULE/[^/]+/MTD_TL\.xml", name)]
    if len(granules) != 1:
        raise InputError(f"{where}: {len(granules)} files GRANULE/*/MTD_TL.xml, expected 1.", _AGAIN)
    tile = product.xml(granules[0])
    baseline_text = safe_s2.need(main, ".//PROCESSING_BASELINE", where)
    baseline = tuple(int(part) for part in baseline_text.split("."))
    offsets = safe_s2.parse_offsets(main, where, "RADIO_ADD_OFFSET")
    if not offsets and baseline >= _OFFSET_BASELINE:
        raise InputError(f"{where}: baseline {baseline_text} without Radiometric_Offset_List.", _AGAIN)
    epsg, grids = safe_s2.parse_grids(tile, where)
    if 60 not in grids:
        raise InputError(f"{where}: MTD_TL.xml lacks the 60 m grid.", _AGAIN)
    special = safe_s2.special_values(main)
    return L1cMetadata(
        name=safe_s2.need(main, ".//PRODUCT_URI", where).removesuffix(".SAFE"),
        baseline=baseline,
        sensing_time=safe_s2.need(tile, ".//SENSING_TIME", where),
        quantification=round(float(safe_s2.need(main, ".//QUANTIFICATION_VALUE", where))),
        offsets_dn=offsets,
        nodata_dn=special.get("NODATA", 0),
        saturated_dn=special.get("SATURATED", 65535),
        images=_images(main, where),
        epsg=epsg,
        grids=grids,
    )


def _images(main: ElementTree.Element, where: str) -> dict[str, str]:
    """Band -> member, by the ending _B02: the names of L1C images do not hold the resolution."""
    found = {}
    for element in main.iterfind(".//Granule_List/Granule/IMAGE_FILE"):
        text = (element.text or "").strip()
        if match := re.search(r"_(B\d[0-9A])$", text):
            found[match.group(1)] = f"{text}.jp2"
    missing = [band for band in BANDS if band not in found]
    if missing:
        raise InputError(f"{where}: MTD_MSIL1C.xml lists no image of {', '.join(missing)}.", _AGAIN)
    return found


def _taken(product: Product) -> tuple[object, ...]:
    """What all products of one datatake and tile share, whatever their level, baseline and time of generation."""
    return product.platform, product.start, product.relative_orbit, product.tile


def pattern(l2a_name: str) -> str:
    """Name of the L1C product of an L2A product, with * for what differs: baseline and time of generation.

    raises  InputError when the name is no product name
    """
    try:
        parse_name(l2a_name)
    except NameError_ as error:
        raise InputError(
            f"{error}: the L1C product of the same datatake cannot be looked for.",
            "Give the product its published name, or set preprocess.cloud_mask: scl.",
        ) from error
    return re.sub(r"_N\d{4}_(R\d{3}_T\w{5})_\w+$", r"_N*_\1_*", l2a_name.replace("_MSIL2A_", "_MSIL1C_"))


def find(l2a_name: str, paths: Iterable[Path]) -> Path | None:
    """The L1C product of the same datatake and tile; of several the one of the newest baseline, then generation.

    paths  zips and .SAFE folders, by name;  raises: InputError when l2a_name is no product name
    """
    pattern(l2a_name)
    wanted, found = _taken(parse_name(l2a_name)), []
    for path in paths:
        try:
            product = parse_name(path.name)
        except NameError_:
            continue
        if product.mission == "S2" and product.type == "L1C" and _taken(product) == wanted:
            found.append((product.baseline, product.generated, path.name, path))
    return max(found)[-1] if found else None


def products_below(folder: Path) -> list[Path]:
    """Zips and .SAFE folders in a folder and its subfolders of one level, sorted."""
    found = [path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.suffix in (".zip", ".SAFE")]
    return sorted(path for path in found if path.parent.suffix != ".SAFE")


def without_auxiliary(products: Mapping[str, Path]) -> dict[str, Path]:
    """Products of a download without those L1C products whose L2A product is there too: they only serve its mask."""
    l2a = {_taken(p) for p in map(_parsed, products) if p is not None and p.type == "L2A"}
    return {
        name: path
        for name, path in products.items()
        if (p := _parsed(name)) is None or p.type != "L1C" or _taken(p) not in l2a
    }


def _parsed(name: str) -> Product | None:
    try:
        return parse_name(name)
    except NameError_:
        return None


def check_same(l1c: L1cMetadata, l2a: safe_s2.S2Metadata) -> None:
    """Both products must show one datatake and tile, in what the XML files say; times may differ by 1 s.

    raises  InputError naming both
    """
    same = _parsed(l1c.name), _parsed(l2a.name)
    alike = same[0] is not None and same[1] is not None and _taken(same[0]) == _taken(same[1])
    apart = abs(_sensed(l1c.sensing_time, l1c.name) - _sensed(l2a.sensing_time, l2a.name))
    if not alike or apart > _SAME_TIME or l1c.grids[10] != l2a.grids[10]:
        raise InputError(
            f"{l1c.name} (sensed {l1c.sensing_time}) is not of the datatake and tile of {l2a.name} ({l2a.sensing_time}).",
            f"Give the product {pattern(l2a.name)}.",
        )


def _sensed(text: str, where: str) -> dt.datetime:
    """Time of an XML file, with any number of decimals; without a zone it is UTC.

    raises  InputError
    """
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{where}: SENSING_TIME {text!r} is no time.", "Download the product again.") from error
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


@contextmanager
def unpacked(product: SafeProduct, folder: Path) -> Iterator[Path]:
    """The product as a .SAFE folder; a zip is unpacked below `folder` and removed afterwards.

    raises  DiskError when it does not fit, before anything is unpacked
    """
    if product.path.is_dir():
        yield product.path
        return
    need = sum(product.size(member) for member in product.members())
    folder.mkdir(parents=True, exist_ok=True)
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < need:
        raise DiskError(
            f"{folder}: unpacking {product.path.name} needs {need / 2**20:.0f} MiB, {disk.f_bavail * disk.f_frsize / 2**20:.0f} MiB are free.",
            "Free disk space, then run the same command again: it resumes.",
        )
    safe = folder / f"{product.folder_name or product.name}.SAFE"
    try:
        for member in product.members():
            target = safe / member
            target.parent.mkdir(parents=True, exist_ok=True)
            with product.open(member) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out, _CHUNK)
        yield safe
    finally:
        shutil.rmtree(safe, ignore_errors=True)


def members_of(meta: L1cMetadata, bands: Iterable[str] = BANDS) -> list[str]:
    """Image files of bands, for verification before pixels are read."""
    for band in bands:
        meta.offset_dn(band)
    return [meta.images[band] for band in bands]
