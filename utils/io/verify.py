"""Is a received file what it should be? Size, published checksum, whole archive; digests for the lock."""

from __future__ import annotations

import hashlib
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from utils.io.local_copy import check_product
from utils.science.catalogue import Kind, Request
from utils.workflow.errors import InputError

_CHUNK = 1 << 20
_MAGIC: dict[Kind, tuple[bytes, ...]] = {
    "zip": (b"PK\x03\x04",),
    "tif": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "xml": (b"<?xml", b"\xef\xbb\xbf<?xml", b"<"),
}
_END_RECORD = 22  # bytes of the end record of a zip without its comment


class SpoiledError(Exception):
    """The bytes are not those of the product.

    stale  SHA-256 of a complete file that passes the archive test and only contradicts its published checksum
    """

    def __init__(self, reason: str, stale: str = "") -> None:
        super().__init__(reason)
        self.stale = stale


@dataclass(frozen=True)
class Verified:
    """Size in bytes, digests in hexadecimal, names of the checks passed."""

    size: int
    md5: str
    sha256: str
    checks: tuple[str, ...]


def magic_problem(head: bytes, kind: Kind) -> str:
    """Why the first bytes cannot be of this kind; empty when they may be."""
    if head.startswith(_MAGIC[kind]) and not (kind == "xml" and head[:14].lower().startswith((b"<!doctype", b"<html"))):
        return ""
    page = head[:64].lstrip().lower().startswith((b"<", b"{", b"["))
    return "a page of the web server instead of the file" if page else f"no {kind} file"


def verify(path: Path, request: Request, accept: str = "", complete: bool = False) -> Verified:
    """All checks that apply to a complete file.

    accept   SHA-256 that may contradict the published checksum (download.accept_stale_checksum); * = any
    complete the transport has proved that nothing is missing
    raises   SpoiledError with the reason
    """
    size = path.stat().st_size
    if request.size is not None and size != request.size:
        raise SpoiledError(f"{size} bytes instead of {request.size}")
    with path.open("rb") as stream:
        if problem := magic_problem(stream.read(64), request.kind):
            raise SpoiledError(problem)
    digests = _digests(path, blake3=bool(request.blake3 and not request.md5))
    checks = ["size"] if request.size is not None else []
    contradicted = _contradicted(digests, request)
    if not contradicted:
        checks += [name for name in ("md5", "blake3") if getattr(request, name) and name in digests][:1]
    # tested even when the checksum fits: it may be the checksum of a broken file
    checks += _whole(path, request, sure=complete or bool(checks))
    if contradicted and accept not in ("*", digests["sha256"]):
        raise SpoiledError(contradicted, stale=digests["sha256"])
    if contradicted:
        checks.append("stale-checksum")
    return Verified(size, digests["md5"], digests["sha256"], (*checks, "sha256"))


def _contradicted(digests: dict[str, str], request: Request) -> str:
    for name in ("md5", "blake3"):
        published = getattr(request, name)
        if published and name in digests:
            same = digests[name] == published.lower()
            return "" if same else f"{name.upper()} {digests[name]} instead of {published}"
    return ""


def _digests(path: Path, blake3: bool) -> dict[str, str]:
    """Each digest in a thread of its own, over the page cache: hashing releases the interpreter lock."""
    names = ["md5", "sha256", *(["blake3"] if blake3 and _has_blake3() else [])]

    def one(name: str) -> str:
        if name == "blake3":
            return _blake3(path)
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.new(name, usedforsecurity=False)).hexdigest()

    with ThreadPoolExecutor(len(names)) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


def _has_blake3() -> bool:
    try:
        import blake3  # noqa: F401
    except ImportError:
        return False
    return True


def _blake3(path: Path) -> str:
    from blake3 import blake3

    digest = blake3()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return str(digest.hexdigest())


def _whole(path: Path, request: Request, sure: bool) -> list[str]:
    """The test of the whole content that this kind allows.

    sure  True when length or checksum already prove that nothing is missing
    """
    if request.kind == "zip":
        _test_zip(path, request.product)
        return ["zip"]
    if request.kind == "xml":
        try:
            ElementTree.parse(path)
        except ElementTree.ParseError as error:
            raise SpoiledError(f"XML not well-formed ({error})") from error
        return ["xml"]
    if not sure:
        raise SpoiledError("neither its size nor a checksum is known, so that a missing end would not be seen")
    return []


def _test_zip(path: Path, product: str) -> None:
    try:
        _check_end(path)
        check_product(path, product)
    except (InputError, LookupError, OverflowError, RuntimeError, ValueError, struct.error, MemoryError) as error:
        text = error.message if isinstance(error, InputError) else str(error) or type(error).__name__
        raise SpoiledError(f"archive test: {text}") from error


def _check_end(path: Path) -> None:
    """Nothing may follow the end record: zip readers skip text that a server appended.

    raises  ValueError
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - _END_RECORD - 65535))
        tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + _END_RECORD:
        raise ValueError("no end record")
    comment = struct.unpack_from("<H", tail, at + 20)[0]
    if at + _END_RECORD + comment != len(tail):
        raise ValueError("bytes follow the end record")
