"""Writing whole files or none: temporary file in the same folder, flush, fsync, rename."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_CHUNK = 1 << 20
TEMPORARY_MARK = ".s2cr-tmp."


def _temporary_name(path: Path) -> Path:
    """A name in the same folder that no other process or node uses; the suffix stays last for format detection."""
    return path.with_name(f"{path.stem}{TEMPORARY_MARK}{os.getpid()}.{secrets.token_hex(4)}{path.suffix}")


def fsync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable; file systems that cannot are left alone."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _fsync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def temporary_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`, on error removed.

    For writers that need a file name (GDAL, Keras, zip). The folder is created. GDAL's side files are removed too.
    raises  whatever the body raises; FileNotFoundError when the body wrote nothing
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(path)
    try:
        yield temporary
        _fsync_file(temporary)
        os.replace(temporary, path)  # noqa: PTH105 - os.replace is the documented atomic call
        fsync_folder(path.parent)
    finally:
        for leftover in (temporary, Path(f"{temporary}.aux.xml")):
            with suppress(OSError):
                leftover.unlink()


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file for `path` and rename it when the block ends without error."""
    with temporary_path(path) as temporary:
        encoding = None if "b" in mode else "utf-8"
        with temporary.open(mode, encoding=encoding) as stream:
            yield stream
            stream.flush()


def atomic_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_write(path) as stream:
        stream.write(data)


def atomic_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path`, whole or not at all."""
    atomic_bytes(path, text.encode("utf-8"))


def json_bytes(value: Any) -> bytes:
    """Canonical JSON: sorted keys, one space of indent, final newline; NaN and infinity are refused (ValueError)."""
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def atomic_json(path: Path, value: Any) -> None:
    """Write canonical JSON to `path`, whole or not at all."""
    atomic_bytes(path, json_bytes(value))


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a hard link of `source`, or a copy where links are impossible; atomic, replaces `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(target)
    try:
        os.link(source, temporary)
    except OSError:
        with temporary_path(target) as copy, source.open("rb") as reader, copy.open("wb") as writer:
            while chunk := reader.read(_CHUNK):
                writer.write(chunk)
        return
    try:
        # rename() of two links of one file does nothing and leaves the temporary name: unlink it in any case
        os.replace(temporary, target)  # noqa: PTH105
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_leftovers(folder: Path) -> int:
    """Delete temporary files that a killed run of this host left in `folder`; returns how many.

    Only call while holding the lock of the stage that owns the folder.
    """
    return sum(_removed(path) for path in folder.rglob(f"*{TEMPORARY_MARK}*"))


def remove_leftovers_of(path: Path) -> int:
    """Delete temporary files that a killed run left of one file, in a folder that other stages write to as well."""
    return sum(_removed(found) for found in path.parent.glob(f"{path.stem}{TEMPORARY_MARK}*{path.suffix}"))


def _removed(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
