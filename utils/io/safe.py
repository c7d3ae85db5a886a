"""SAFE products, zipped or unpacked, through one reader. Nothing is ever extracted here.

A product is found by its manifest.safe; members are named relative to the folder that holds it. Archives with
absolute or climbing member names are refused as a whole, before any member is read.
"""

from __future__ import annotations

import hashlib
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Literal
from xml.etree import ElementTree

from utils.workflow.errors import InputError

Verify = Literal["size", "md5", "off"]
MANIFEST = "manifest.safe"
_AGAIN = "Download it again: make download CONF=..."
_DIGESTS = {"MD5": "md5", "SHA-256": "sha256", "SHA256": "sha256", "SHA3-256": "sha3_256", "SHA3_256": "sha3_256"}
_DRIVE = re.compile(r"^[A-Za-z]:")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class DataObject:
    """One file that manifest.safe promises. digest is lower-case hexadecimal, algorithm a hashlib name or empty."""

    member: str
    size: int
    algorithm: str
    digest: str


@dataclass(frozen=True)
class Manifest:
    """What manifest.safe says. The Sentinel-1 fields are empty or None in a Sentinel-2 product.

    footprint  corner points as (longitude, latitude), degrees; ring not closed
    ipf        processor version as integers: "002.36" is (2, 36), never the float 2.36
    start      ISO 8601 UTC text as written in the product
    """

    objects: Mapping[str, DataObject]
    platform: str
    mode: str
    product_type: str
    polarisations: tuple[str, ...]
    absolute_orbit: int | None
    relative_orbit: int | None
    direction: str
    start: str
    stop: str
    slice_number: int | None
    total_slices: int | None
    timeliness: str
    datatake: str
    ipf: tuple[int, ...]
    footprint: tuple[tuple[float, float], ...]


def _checked(name: str, where: Path) -> str:
    """A member name without leading ./; absolute, climbing and Windows names are refused."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or _DRIVE.match(name) or ".." in parts:
        raise InputError(
            f"{where.name}: refused, member {name!r} points outside the product.", f"Do not unpack it. {_AGAIN}"
        )
    return str(PurePosixPath(name))


class SafeProduct:
    """A SAFE product opened for reading; use `open_product`. May be used as a context manager.

    path         the zip or the folder;  name: the product name without .SAFE
    folder_name  name of the .SAFE folder without its ending, empty for a zip without such a folder
    """

    def __init__(self, path: Path, root: str, sizes: Mapping[str, int], archive: zipfile.ZipFile | None) -> None:
        self.path = path
        self._root = root
        self._sizes = dict(sizes)
        self._archive = archive
        folder = PurePosixPath(root).name if archive and root else path.name
        self.folder_name = PurePosixPath(root).name.removesuffix(".SAFE") if archive else folder.removesuffix(".SAFE")
        self.name = folder.removesuffix(".zip").removesuffix(".SAFE")

    def __enter__(self) -> SafeProduct:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file handle of a zip."""
        if self._archive is not None:
            self._archive.close()

    def members(self) -> list[str]:
        """Names of all files relative to the .SAFE folder, sorted."""
        return sorted(self._sizes)

    def has(self, member: str) -> bool:
        """True when the product holds this file."""
        return _checked(member, self.path) in self._sizes

    def size(self, member: str) -> int:
        """Size of a member in bytes; InputError when it is missing."""
        return self._sizes[self._known(member)]

    def _known(self, member: str) -> str:
        name = _checked(member, self.path)
        if name not in self._sizes:
            raise InputError(f"{self.path.name}: member {name} is missing.", _AGAIN)
        return name

    @contextmanager
    def open(self, member: str) -> Iterator[IO[bytes]]:
        """Stream of a member; a wrong CRC or a broken deflate stream is an InputError that names it."""
        name = self._known(member)
        try:
            if self._archive is None:
                with (self.path / name).open("rb") as stream:
                    yield stream
            else:
                with self._archive.open(self._root + name) as stream:
                    yield stream
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise InputError(f"{self.path.name}: member {name} cannot be read ({error}).", _AGAIN) from error

    def read(self, member: str) -> bytes:
        """All bytes of a member."""
        with self.open(member) as stream:
            return stream.read()

    def gdal_path(self, member: str) -> str:
        """Path of a member for GDAL: /vsizip/... or the plain file."""
        name = self._known(member)
        if self._archive is None:
            return str(self.path / name)
        archive = str(self.path.resolve())
        if self.path.suffix.lower() != ".zip":
            archive = "{" + archive + "}"  # GDAL finds the end of other archive names only in braces
        return f"/vsizip/{archive}/{self._root}{name}"

    def xml(self, member: str) -> ElementTree.Element:
        """Parsed XML member with namespaces removed from all tags, so that plain paths find elements."""
        return parse_xml(self.read(member), f"{self.path.name}: {member}")

    @cached_property
    def _manifest(self) -> Manifest:
        return _parse_manifest(self.xml(MANIFEST), self.path)

    def manifest(self) -> Manifest:
        """Facts of manifest.safe; InputError when it is malformed."""
        return self._manifest

    def verify(self, members: Iterable[str], how: Verify) -> None:
        """Compare members with the size (and, for md5, the checksum) that manifest.safe gives for them.

        how     size: bytes only; md5: also the published checksum (MD5, SHA-256 or SHA3-256); off: nothing
        raises  InputError naming the member, what was expected and what was found
        """
        if how == "off":
            return
        for member in members:
            name = self._known(member)
            promised = self.manifest().objects.get(name)
            if promised is None:
                raise InputError(f"{self.path.name}: member {name} is not listed in {MANIFEST}.", _AGAIN)
            if self.size(name) != promised.size:
                raise InputError(
                    f"{self.path.name}: member {name} has {self.size(name)} bytes, {MANIFEST} says {promised.size}.",
                    _AGAIN,
                )
            if how == "md5" and promised.algorithm:
                self._verify_digest(name, promised)

    def _verify_digest(self, name: str, promised: DataObject) -> None:
        digest = hashlib.new(promised.algorithm, usedforsecurity=False)
        with self.open(name) as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        if digest.hexdigest() != promised.digest:
            raise InputError(
                f"{self.path.name}: member {name} has {promised.algorithm} {digest.hexdigest()}, "
                f"{MANIFEST} says {promised.digest}.",
                _AGAIN,
            )


def parse_xml(data: bytes, where: str) -> ElementTree.Element:
    """Parse XML and drop namespaces from tags (schemas change their namespace with every baseline).

    raises  InputError naming `where`
    """
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise InputError(f"{where} is not well-formed XML ({error}).", _AGAIN) from error
    for element in root.iter():
        if isinstance(element.tag, str) and "}" in element.tag:
            element.tag = element.tag.rpartition("}")[2]
    return root


def open_product(path: Path) -> SafeProduct:
    """Open a .SAFE folder or a zip of one.

    raises  InputError for a missing file, a zip that is truncated or no zip, an archive with members outside
            itself, and a product without manifest.safe
    """
    path = Path(path)
    if path.is_dir():
        files = {p.relative_to(path).as_posix(): p.stat().st_size for p in path.rglob("*") if p.is_file()}
        if MANIFEST not in files:
            raise InputError(f"{path.name}: no {MANIFEST}.", "Give the .SAFE folder itself, complete as published.")
        return SafeProduct(path, "", files, None)
    if not path.is_file():
        raise InputError(f"{path}: no such product.", "Run make download CONF=..., or correct search.archive.")
    archive = _open_zip(path)
    try:
        root, sizes = _index(archive, path)
    except InputError:
        archive.close()
        raise
    return SafeProduct(path, root, sizes, archive)


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        with path.open("rb") as stream:
            head = stream.read(256).lstrip().lower()
        page = head.startswith((b"<!doctype", b"<html", b"{", b"<?xml"))
        why = "it holds an answer of a web server, not an archive" if page else "central directory missing"
        raise InputError(f"{path.name}: not a readable zip ({why}).", _AGAIN) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}).", "Check that you may read it.") from error


def _index(archive: zipfile.ZipFile, path: Path) -> tuple[str, dict[str, int]]:
    """Prefix of the product folder and sizes of its members."""
    sizes: dict[str, int] = {}
    for entry in archive.infolist():
        name = _checked(entry.filename, path)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise InputError(f"{path.name}: refused, member {name!r} is a symbolic link.", _AGAIN)
        if entry.is_dir():
            continue
        if name in sizes:
            raise InputError(f"{path.name}: refused, member {name!r} occurs twice.", _AGAIN)
        sizes[name] = entry.file_size
    found = [name for name in sizes if PurePosixPath(name).name == MANIFEST]
    if len(found) != 1:
        what = f"no {MANIFEST}" if not found else f"{len(found)} products in one archive"
        raise InputError(f"{path.name}: {what}.", "Give one zip a product, as published.")
    root = found[0].removesuffix(MANIFEST)
    return root, {name.removeprefix(root): size for name, size in sizes.items() if name.startswith(root)}


def _text(root: ElementTree.Element, path: str) -> str:
    return (root.findtext(path) or "").strip()


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _objects(root: ElementTree.Element, path: Path) -> dict[str, DataObject]:
    objects = {}
    for stream in root.iterfind(".//dataObject/byteStream"):
        location, checksum = stream.find("fileLocation"), stream.find("checksum")
        size = _number(stream.get("size", ""))
        if location is None or size is None:
            raise InputError(f"{path.name}: {MANIFEST} has a data object without file or size.", _AGAIN)
        member = _checked(location.get("href", ""), path)
        algorithm = _DIGESTS.get(checksum.get("checksumName", "").upper(), "") if checksum is not None else ""
        digest = (checksum.text or "").strip().lower() if checksum is not None else ""
        objects[member] = DataObject(member, size, algorithm, digest)
    return objects


def _corners(root: ElementTree.Element, path: Path) -> tuple[tuple[float, float], ...]:
    """gml:coordinates is "lat,lon lat,lon ..." in both missions: swapped once, here."""
    text = _text(root, ".//footPrint/coordinates")
    numbers = [float(number) for number in re.split(r"[\s,]+", text) if number]
    if len(numbers) % 2:
        raise InputError(f"{path.name}: odd number of footprint coordinates in {MANIFEST}.", _AGAIN)
    points = tuple((lon, lat) for lat, lon in zip(numbers[::2], numbers[1::2], strict=True))
    return points[:-1] if len(points) > 3 and points[0] == points[-1] else points


def _parse_manifest(root: ElementTree.Element, path: Path) -> Manifest:
    # the first software element is the last processing step; deeper ones belong to the inputs of the product
    software = root.find(".//processing/facility/software")
    version = software.get("version", "") if software is not None else ""
    family = _text(root, ".//platform/familyName").upper().replace("SENTINEL-", "S").replace("SENTINEL", "S")
    return Manifest(
        objects=_objects(root, path),
        platform=family + _text(root, ".//platform/number"),
        mode=_text(root, ".//instrumentMode/mode"),
        product_type=_text(root, ".//standAloneProductInformation/productType"),
        polarisations=tuple(
            (element.text or "").strip() for element in root.iterfind(".//transmitterReceiverPolarisation")
        ),
        absolute_orbit=_number(_text(root, ".//orbitReference/orbitNumber")),
        relative_orbit=_number(_text(root, ".//orbitReference/relativeOrbitNumber")),
        direction=_text(root, ".//orbitProperties/pass").upper() or _text(root, ".//orbitReference/pass").upper(),
        start=_text(root, ".//acquisitionPeriod/startTime"),
        stop=_text(root, ".//acquisitionPeriod/stopTime"),
        slice_number=_number(_text(root, ".//sliceNumber")),
        total_slices=_number(_text(root, ".//totalSlices")),
        timeliness=_text(root, ".//productTimelinessCategory"),
        datatake=_text(root, ".//missionDataTakeID"),
        ipf=tuple(int(part) for part in re.findall(r"\d+", version)),
        footprint=_corners(root, path),
    )
