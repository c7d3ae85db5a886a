"""Unpack the zip of a product to its .SAFE folder; an archive that reaches outside that folder is refused as a whole."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from utils.workflow.errors import InputError
from utils.workflow.files import TEMPORARY_MARK, fsync_folder

MOST_BYTES = 30 << 30
MOST_TIMES = 20  # unpacked bytes for each packed one
_DRIVE = re.compile(r"^[A-Za-z]:")
_CHUNK = 1 << 20
_REMEDY = "Do not unpack it by hand; download it again or take the product from another provider."


def problem_of(entry: zipfile.ZipInfo, top: str, seen: set[str]) -> str:
    """Why a member must not be unpacked; empty when it may be. `seen` collects the names, case folded."""
    name = entry.orig_filename  # zipfile cleans `filename`: backslashes, and what follows a zero byte
    parts = PurePosixPath(name).parts
    if name.startswith("/") or _DRIVE.match(name):
        return "an absolute path"
    if "\\" in name or "\0" in name:
        return "a backslash or a zero byte in its name"
    if ".." in parts or not parts:
        return "a path that climbs"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "a symbolic link"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "no plain file"
    if parts[0] != top:
        return f"outside {top}"
    key = str(PurePosixPath(name)).casefold()  # file systems that ignore case would overwrite
    if key in seen and not entry.is_dir():
        return "a name that occurs twice"
    seen.add(key)
    return ""


def check_members(archive: zipfile.ZipFile, packed_bytes: int, top: str, where: str) -> None:
    """Refuse an archive before its first byte is unpacked.

    raises  InputError naming the member
    """
    seen: set[str] = set()
    total = 0
    for entry in archive.infolist():
        if problem := problem_of(entry, top, seen):
            raise InputError(f"{where}: refused, member {entry.orig_filename!r} is {problem}.", _REMEDY)
        total += entry.file_size
    if total > MOST_BYTES or total > MOST_TIMES * packed_bytes:
        raise InputError(f"{where}: refused, it unpacks to {total / 2**30:.1f} GiB, {total // max(1, packed_bytes)} times "
                         "its size.", _REMEDY)  # fmt: skip


def unpack(path: Path, target: Path) -> Path:
    """Unpack a product to `target`, a folder <NAME>.SAFE; whole or not at all. Returns the folder.

    raises  InputError for an archive that must not or cannot be unpacked
    """
    for old in target.parent.glob(f"{target.name}{TEMPORARY_MARK}*"):  # of a killed run: the caller holds the lock
        shutil.rmtree(old, ignore_errors=True)
    draft = target.with_name(f"{target.name}{TEMPORARY_MARK}{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive, path.stat().st_size, target.name, path.name)
            for entry in archive.infolist():
                _write(archive, entry, draft)
        os.replace(draft / target.name, target)  # noqa: PTH105 - os.replace is the documented atomic call
        fsync_folder(target.parent)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path.name}: cannot be unpacked ({error}).", _REMEDY) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    """One member; reading it to its end checks its CRC, and no member grows beyond its announced size."""
    path = folder / PurePosixPath(entry.filename)
    if entry.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with archive.open(entry) as reader, path.open("xb") as writer:
        while chunk := reader.read(_CHUNK):
            written += len(chunk)
            if written > entry.file_size:
                raise zipfile.BadZipFile(f"{entry.filename} is longer than announced")
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    path.chmod(0o444)
