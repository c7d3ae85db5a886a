"""Provider local: index of a folder, its cache, and scene classes over an area."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.synthetic_l2a import GRID, classes, write_product
from utils.io import local, safe_s2
from utils.science.grid import Window
from utils.workflow.errors import InputError


def test_index_and_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, cache = tmp_path / "archive", tmp_path / "search" / "local_index.json"
    path = write_product(archive, "05.00")
    (archive / "notes.txt").write_text("no product")
    (archive / f"S2A_MSIL2A_20200110T000241_N0213_R030_T55HGA_{20200301}T000000.zip").write_bytes(b"PK broken")
    found = local.search(archive, cache)
    (product,) = found.products
    assert (product.name, product.baseline, product.provider) == (path.stem, "0500", "local")
    assert product.footprint[0] == (149.19, -35.22) and product.size == path.stat().st_size
    assert product.cloud_tile == pytest.approx(100 * 9 / (24 * 30 - 30), abs=0.01)  # 9 cloudy of the valid pixels
    assert (
        "central directory missing"
        in found.unreadable["S2A_MSIL2A_20200110T000241_N0213_R030_T55HGA_20200301T000000.zip"]
    )
    monkeypatch.setattr(local, "_describe", lambda p: pytest.fail(f"{p} was opened") if p == path else _broken(p))
    assert local.search(archive, cache).products == found.products
    os.utime(path, ns=(1, 1))
    monkeypatch.undo()
    assert local.search(archive, cache).products == found.products
    assert json.loads(cache.read_text())["entries"][str(path)]["mark"][1] == 1
    cache.write_text("{broken")
    assert local.search(archive, cache).products == found.products


def _broken(path: Path) -> None:
    raise InputError(f"{path}: broken.", "")


def test_folders_and_zips_with_other_names(tmp_path: Path) -> None:
    path = write_product(tmp_path / "archive")
    shutil.unpack_archive(path, tmp_path / "archive")
    path.rename(path.with_name("renamed.zip"))
    found = local.search(tmp_path / "archive")
    assert {p.name for p in found.products} == {path.stem} and len(found.products) == 2
    assert not found.unreadable


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such folder\. Set search\.archive"):
        local.search(tmp_path / "none")


def test_classes_over_an_area_wider_than_the_tile(tmp_path: Path) -> None:
    write_product(tmp_path)
    products = local.search(tmp_path).products
    coarse = safe_s2.coarse_grid(GRID)
    assert np.array_equal(local.read_scl(products, coarse), classes())
    wider = local.read_scl(products, coarse.window(Window(-2, 0, 26, 30)))
    assert (wider[:2] == 0).all() and np.array_equal(wider[2:], classes())


DATA = os.environ.get("S2CR_DATA")


@pytest.mark.realdata
@pytest.mark.skipif(not DATA, reason="S2CR_DATA is not set: real products are not here")
def test_real_folder() -> None:
    found = local.search(Path(DATA or "") / "sentinel1").products
    facts = {p.start.strftime("%Y%m%d"): (p.relative_orbit, p.direction, p.slice, p.warnings) for p in found}
    assert facts == {
        "20150222": (117, "ASCENDING", 2, ()),
        "20180813": (139, "DESCENDING", 13, ()),
        "20210809": (59, "ASCENDING", 7, ()),
        "20211223": (22, "DESCENDING", 9, ()),
    }
    (s2,) = [p for p in local.search(Path(DATA or "") / "sentinel2").products]
    assert (s2.tile, s2.relative_orbit, s2.baseline) == ("07HFE", 13, "0212")
