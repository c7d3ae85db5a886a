"""Products of a local folder into raw/: temporary file, verification, rename; and the checks that transfer shares.

What is verified: the size, every member of a zip against its CRC, the presence of manifest.safe and of the main
metadata file, and the copy against its source.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from utils.io.safe import MANIFEST, open_product
from utils.science.product import parse_name
from utils.workflow.errors import DiskError, InputError, VerificationError
from utils.workflow.files import TEMPORARY_MARK, link_or_copy, sha256_file, temporary_path

_CHUNK = 1 << 20
_TRIES = 3
_READ_ONLY = 0o444


@dataclass(frozen=True)
class Received:
    """What one transfer made: size in bytes, digests in hexadecimal, names of the checks passed.

    host, bytes_received, requests  of a download; empty and 0 for a local copy or a file that was there already
    """

    size: int
    md5: str
    sha256: str
    verified: tuple[str, ...]
    host: str = ""
    bytes_received: int = 0
    requests: int = 0

    def record(self) -> dict[str, Any]:
        """For the lock: only a download has a host and counts bytes, so that the record of a copy never varies."""
        out = {"size": self.size, "md5": self.md5, "sha256": self.sha256, "verified": list(self.verified)}
        if self.host:
            out |= {"host": self.host, "bytes_received": self.bytes_received, "requests": self.requests}
        return out


_UNPACKED = 2.5  # bytes of a folder for each of its zip


def need_space(folder: Path, sizes: Sequence[int], reserve_gib: float, unpack: bool = False) -> None:
    """Refuse before the first byte when the transfers do not fit.

    sizes   bytes still to come; the largest counts twice, for its temporary file
    unpack  the zips are unpacked too
    raises  DiskError naming the missing GiB
    """
    if not sizes:
        return
    folder.mkdir(parents=True, exist_ok=True)
    needed = sum(sizes) * (1 + _UNPACKED * unpack) + max(sizes)
    missing = needed + reserve_gib * 2**30 - free_bytes(folder)
    if missing > 0:
        raise DiskError(
            f"{folder}: {missing / 2**30:.2f} GiB short for {len(sizes)} file(s), {reserve_gib:g} GiB stay reserved.",
            "Free disk space, or lower download.reserve_gib.",
        )


def free_bytes(folder: Path) -> int:
    """Free space of the file system that holds a folder, which need not exist yet."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


def check_product(path: Path, name: str) -> tuple[str, ...]:
    """Read a whole product: CRC of every zip member (or size of every listed file of a folder), metadata present.

    name     the product that it must be
    returns  names of the checks
    raises   InputError naming the first bad member, or the missing file
    """
    main = {"S1": MANIFEST, "S2": "MTD_MSI" + name[7:10] + ".xml"}[parse_name(name).mission]
    with open_product(path) as product:
        if product.folder_name not in ("", name):
            raise InputError(
                f"{path.name}: holds {product.folder_name}, not {name}.", "Rename the file to the product it holds."
            )
        if not product.has(main):
            raise InputError(f"{path.name}: {main} is missing.", "Replace the file by a complete product.")
        if path.is_dir():
            promised = product.manifest().objects
            product.verify([member for member in product.members() if member in promised], "size")
            return ("size", "manifest")
    _check_members(path)
    return ("size", "zip")


def _check_members(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        bad = str(error)  # the last two: a flipped bit may say "encrypted", or point behind the file
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: a flipped bit makes the reader seek before the file
            raise
        bad = "a member outside the file"
    if bad:
        raise InputError(f"{path.name}: archive test failed at {bad}.", "Replace the file by a complete product.")


def fetch_local(source: Path, target: Path, name: str, link: Literal["copy", "hardlink", "symlink"]) -> Received:
    """Bring one product from a local folder to `target` and verify it there.

    A copy that differs from its source is made again, three times in all; a source that is itself broken is refused
    at once. A link keeps the owner's permissions, a copy becomes read-only.
    raises  InputError (broken source), VerificationError (the copy never equalled the source)
    """
    if source.is_dir():
        return _fetch_folder(source, target, name)
    if link != "copy":
        checks = check_product(source, name)
        link_or_copy(source, target) if link == "hardlink" else _symlink(source, target)
        return Received(target.stat().st_size, _digest(target, "md5"), sha256_file(target), checks)
    return _copy(source, target, lambda temporary: check_product(temporary, name))


def _symlink(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}{TEMPORARY_MARK}{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(source.resolve())
    os.replace(temporary, target)  # noqa: PTH105


def fetch_file(source: Path, target: Path) -> Received:
    """A verified copy of a plain file (a height raster)."""
    return _copy(source, target, lambda _: ("size",))


class _DifferentError(Exception):
    """The copy does not equal its source."""


def _copy(source: Path, target: Path, check: Callable[[Path], tuple[str, ...]]) -> Received:
    for _ in range(_TRIES):
        with suppress(_DifferentError):
            return _copy_once(source, target, check)
    raise VerificationError(
        f"{target.name}: {_TRIES} copies differed from {source}.", "Check the disk and the memory of this machine."
    )


def _copy_once(source: Path, target: Path, check: Callable[[Path], tuple[str, ...]]) -> Received:
    with temporary_path(target) as temporary:
        md5, sha256 = _copy_bytes(source, temporary)
        size = temporary.stat().st_size
        if size != source.stat().st_size or sha256_file(temporary) != sha256:
            raise _DifferentError
        try:
            checks = check(temporary)
        except InputError as error:  # the copy equals its source, so the source is broken
            raise InputError(error.message.replace(temporary.name, str(source)), error.remedy) from error
        temporary.chmod(_READ_ONLY)
    return Received(size, md5, sha256, (*checks, "sha256"))


def _copy_bytes(source: Path, target: Path) -> tuple[str, str]:
    """Copy and return MD5 and SHA-256 of the bytes read from the source."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(_CHUNK):
            md5.update(chunk)
            sha256.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return md5.hexdigest(), sha256.hexdigest()


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the sorted relative names and digests of all files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def _fetch_folder(source: Path, target: Path, name: str) -> Received:
    checks = check_product(source, name)
    temporary = target.with_name(f"{target.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(source, temporary)
        sha256 = folder_digest(temporary)
        if sha256 != folder_digest(source):
            raise VerificationError(
                f"{target.name}: the copy differs from {source}.", "Check the disk of this machine."
            )
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)  # noqa: PTH105 - os.replace is the documented atomic call
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Received(size_of(target), "", sha256, (*checks, "sha256"))


def received_folder(folder: Path, name: str) -> Received:
    """A product that was unpacked before, verified against its manifest.

    raises  InputError when it is not complete
    """
    checks = check_product(folder, name)
    return Received(size_of(folder), "", folder_digest(folder), (*checks, "sha256"))


def intact(path: Path, record: dict[str, Any] | None, deep: bool = False) -> bool:
    """True when a file is there as the lock says: by size, or with `deep` by SHA-256."""
    if record is None or not path.exists() or size_of(path) != record["size"]:
        return False
    if not deep:
        return True
    return bool((folder_digest(path) if path.is_dir() else sha256_file(path)) == record["sha256"])


def stray_files(raw: Path, known: Iterable[str]) -> list[str]:
    """Files of raw/date1 and raw/date2 that the lock does not know, relative to raw."""
    expected = set(known)
    found = [p.relative_to(raw).as_posix() for date in ("date1", "date2") for p in sorted((raw / date).glob("*"))]
    unfinished = (".part", ".part.json", ".lock")  # of a transfer that will be resumed
    return [name for name in found if name not in expected and not name.endswith(unfinished)]
