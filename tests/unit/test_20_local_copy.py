"""Verified copies: a final name never holds unverified bytes."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.synthetic_l2a import change, write_product
from utils.io import download_lock
from utils.io import local_copy as transfer
from utils.workflow.errors import DiskError, InputError, VerificationError


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*")) if folder.exists() else []


def test_copy_is_equal_read_only_and_recorded(tmp_path: Path) -> None:
    source = write_product(tmp_path / "archive")
    target = tmp_path / "raw" / source.name
    received = transfer.fetch_local(source, target, source.stem, "copy")
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mode & 0o777 == 0o444
    assert received.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert received.md5 == hashlib.md5(source.read_bytes()).hexdigest()
    assert received.verified == ("size", "zip", "sha256") and files(tmp_path / "raw") == [source.name]
    record = received.record()
    assert transfer.intact(target, record, deep=True)
    target.chmod(0o644)
    target.write_bytes(b"x" * received.size)
    assert transfer.intact(target, record) and not transfer.intact(target, record, deep=True)
    assert not transfer.intact(tmp_path / "none", record)


def test_hard_link_leaves_the_permissions_of_the_archive(tmp_path: Path) -> None:
    source = write_product(tmp_path / "archive")
    before = source.stat().st_mode
    transfer.fetch_local(source, tmp_path / "raw" / source.name, source.stem, "hardlink")
    assert (tmp_path / "raw" / source.name).samefile(source) and source.stat().st_mode == before


def test_flipped_bit_in_the_archive_is_found_and_nothing_stays(tmp_path: Path) -> None:
    source = write_product(tmp_path / "archive")
    data = bytearray(source.read_bytes())
    data[len(data) // 3] ^= 1
    source.write_bytes(data)
    with pytest.raises(InputError, match=f"{source.name}: archive test failed at"):
        transfer.fetch_local(source, tmp_path / "raw" / source.name, source.stem, "copy")
    assert files(tmp_path / "raw") == []


def test_truncated_page_and_missing_metadata(tmp_path: Path) -> None:
    source = write_product(tmp_path / "archive")
    name, whole = source.stem, source.read_bytes()
    for content, message in (
        (whole[:-100], "central directory missing"),
        (b"<html>log in</html>", "an answer of a web server"),
        (b"", "central directory missing"),
    ):
        source.write_bytes(content)
        with pytest.raises(InputError, match=message):
            transfer.fetch_local(source, tmp_path / "raw" / source.name, name, "copy")
    source.write_bytes(whole)
    change(source, "MTD_MSIL2A", lambda _: None)
    with pytest.raises(InputError, match=r"MTD_MSIL2A\.xml is missing"):
        transfer.fetch_local(source, tmp_path / "raw" / source.name, name, "copy")
    assert files(tmp_path / "raw") == []


def test_wrong_product_under_a_name(tmp_path: Path) -> None:
    source = write_product(tmp_path / "archive")
    with pytest.raises(InputError, match=f"holds {source.stem}, not"):
        transfer.check_product(source, source.stem.replace("T55HGA", "T55HGB"))


def test_copy_that_never_equals_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, tries = write_product(tmp_path / "archive"), []

    def lossy(one: Path, two: Path) -> tuple[str, str]:
        tries.append(two)
        two.write_bytes(one.read_bytes()[:-1])
        return "", ""

    monkeypatch.setattr(transfer, "_copy_bytes", lossy)
    with pytest.raises(VerificationError, match="3 copies differed"):
        transfer.fetch_local(source, tmp_path / "raw" / source.name, source.stem, "copy")
    assert len(tries) == 3 and files(tmp_path / "raw") == []


def test_folder(tmp_path: Path) -> None:
    source = write_product(tmp_path / "archive")
    shutil.unpack_archive(source, tmp_path / "archive")
    folder = source.with_suffix(".SAFE")
    target = tmp_path / "raw" / folder.name
    received = transfer.fetch_local(folder, target, source.stem, "copy")
    assert received.size == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert transfer.folder_digest(target) == transfer.folder_digest(folder) == received.sha256
    assert [p.name for p in (tmp_path / "raw").iterdir()] == [folder.name]
    next(folder.rglob("*B04_10m.jp2")).write_bytes(b"short")
    with pytest.raises(InputError, match="has 5 bytes"):
        transfer.fetch_local(folder, tmp_path / "again" / folder.name, source.stem, "copy")


def test_disk_is_checked_before_the_first_byte(tmp_path: Path) -> None:
    transfer.need_space(tmp_path, [], 1e9)
    transfer.need_space(tmp_path, [1000], 0.0)
    with pytest.raises(DiskError, match=r"GiB short for 2 file\(s\), 1 GiB stay reserved"):
        transfer.need_space(tmp_path, [2**60, 5], 1.0)


def test_lock_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no product was downloaded"):
        download_lock.products_of(tmp_path, "S2")
    download_lock.write_lock(
        tmp_path, {"b": {"file": "date1/b.zip", "mission": "S2"}, "a": {"file": "dem/a.tif", "mission": "DEM"}}
    )
    assert download_lock.products_of(tmp_path, "S2") == {"b": tmp_path / "date1/b.zip"}
    assert download_lock.products_of(tmp_path, "S1") == {}
    (tmp_path / "date1").mkdir()
    (tmp_path / "date1" / "stray.zip").touch()
    assert transfer.stray_files(tmp_path, ["date1/b.zip"]) == ["date1/stray.zip"]
    (tmp_path / download_lock.NAME).write_text('{"schema": "other/2"}')
    with pytest.raises(InputError, match="its schema is not"):
        download_lock.read_lock(tmp_path)
