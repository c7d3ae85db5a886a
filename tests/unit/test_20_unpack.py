"""Unpacking: nothing outside the target, nothing half."""

from __future__ import annotations

import stat
import warnings
import zipfile
from pathlib import Path

import pytest

from tests.fakes.products import broken, product, s2_name
from utils.io import unpack
from utils.io.local_copy import check_product
from utils.workflow.errors import InputError

MADE = product(s2_name(21), 10_000)
TOP = f"{MADE.name}.SAFE"


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_members_are_equal_and_read_only(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    path.write_bytes(MADE.data)
    (tmp_path / "raw").mkdir()
    folder = unpack.unpack(path, tmp_path / "raw" / TOP)
    with zipfile.ZipFile(path) as archive:
        assert tree(folder.parent) == {name: archive.read(name) for name in archive.namelist()}
    assert {p.stat().st_mode & 0o777 for p in folder.rglob("*") if p.is_file()} == {0o444}
    assert check_product(folder, MADE.name) == ("size", "manifest")
    assert [p.name for p in (tmp_path / "raw").iterdir()] == [TOP]


def evil(tmp_path: Path, name: str, mode: int = 0o100644, data: bytes = b"evil", twice: str = "") -> Path:
    path = tmp_path / "in" / "p.zip"
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(f"{TOP}/manifest.safe", b"<xfdu/>")
        for one in (name, twice) if twice else (name,):
            entry = zipfile.ZipInfo("placeholder")
            entry.filename = one  # ZipInfo() would clean it
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = mode << 16
            archive.writestr(entry, data)
    return path


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/evil", "an absolute path"),
        ("C:/evil", "an absolute path"),
        ("../evil", "climbs"),
        (f"{TOP}/../../evil", "climbs"),
        (f"{TOP}\\..\\evil", "backslash"),
        ("other.SAFE/evil", "outside"),
        ("evil", "outside"),
        (f"{TOP}x/evil", "outside"),
    ],
)
def test_members_outside_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    path = evil(tmp_path, name)
    (tmp_path / "deep" / "raw").mkdir(parents=True)
    before = tree(tmp_path)
    with pytest.raises(InputError, match=f"refused, member .* is .*{reason}"):
        unpack.unpack(path, tmp_path / "deep" / "raw" / TOP)
    assert tree(tmp_path) == before and list((tmp_path / "deep" / "raw").iterdir()) == []


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"mode": stat.S_IFLNK | 0o777}, "a symbolic link"),
        ({"mode": stat.S_IFIFO | 0o644}, "no plain file"),
        ({"twice": f"{TOP}/a"}, "occurs twice"),
        ({"twice": f"{TOP}/A"}, "occurs twice"),
        ({"data": bytes(1_000_000)}, "times its size"),
    ],
)
def test_links_doubles_and_bombs_are_refused(tmp_path: Path, more: dict[str, object], reason: str) -> None:
    path = evil(tmp_path, f"{TOP}/a", **more)  # type: ignore[arg-type]
    (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match=reason):
        unpack.unpack(path, tmp_path / "raw" / TOP)
    assert list((tmp_path / "raw").iterdir()) == []


def test_more_than_thirty_gib_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MOST_BYTES", 9_000)
    path = tmp_path / "p.zip"
    path.write_bytes(MADE.data)
    with pytest.raises(InputError, match="unpacks to"):
        unpack.unpack(path, tmp_path / TOP)


def test_a_broken_member_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    path.write_bytes(broken(MADE).data)
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack.unpack(path, tmp_path / TOP)
    assert [p.name for p in tmp_path.iterdir()] == ["p.zip"]
