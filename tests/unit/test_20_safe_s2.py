"""Sentinel-2 metadata and pixels; each broken product gives the documented error."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from tests.synthetic_l2a import GRID, change, classes, reflectances, write_product
from utils.io import safe_s2
from utils.io.safe import open_product
from utils.science.grid import Grid, Window
from utils.science.reflectance import to_reflectance
from utils.workflow.errors import ConfigError, InputError


def meta_of(path: Path) -> safe_s2.S2Metadata:
    with open_product(path) as product:
        return safe_s2.metadata(product)


def test_old_baseline_has_no_offset(tmp_path: Path) -> None:
    meta = meta_of(write_product(tmp_path))
    assert (meta.baseline, meta.offset_source, meta.offset_dn("B04"), meta.quantification) == (
        (2, 13),
        "absent",
        0,
        10000,
    )
    assert (meta.nodata_dn, meta.saturated_dn, meta.tile, meta.epsg) == (0, 65535, "55HGA", 32755)
    assert meta.footprint[0] == (149.19, -35.22)  # longitude first: the file has latitude first
    assert meta.grids[10] == GRID and meta.grids[20] == safe_s2.coarse_grid(GRID)


def test_new_baseline_reads_the_offset_of_each_band(tmp_path: Path) -> None:
    path = write_product(tmp_path, "05.00")
    # band_id 8 is B8A and 12 is B12: give them other offsets to see the order
    change(path, "MTD_MSIL2A", lambda d: re.sub(rb'(BOA_ADD_OFFSET band_id="8">)-1000', rb"\1-900", d))
    change(path, "MTD_MSIL2A", lambda d: re.sub(rb'(BOA_ADD_OFFSET band_id="12">)-1000', rb"\1-800", d))
    meta = meta_of(path)
    assert {band: meta.offset_dn(band) for band in ("B02", "B08", "B8A", "B11", "B12")} == {
        "B02": -1000, "B08": -1000, "B8A": -900, "B11": -1000, "B12": -800}  # fmt: skip
    assert meta.offset_source == "xml"


def test_new_baseline_without_offset_is_refused(tmp_path: Path) -> None:
    path = write_product(tmp_path, "05.00")
    change(path, "MTD_MSIL2A", lambda d: re.sub(rb"<BOA_ADD_OFFSET[ >].*?</BOA_ADD_OFFSET>", b"", d))
    with pytest.raises(InputError, match=r"baseline 05\.00 without BOA_ADD_OFFSET_VALUES_LIST"):
        meta_of(path)


def test_offset_missing_for_one_band(tmp_path: Path) -> None:
    path = write_product(tmp_path, "05.00")
    change(path, "MTD_MSIL2A", lambda d: re.sub(rb'<BOA_ADD_OFFSET band_id="3">.*?</BOA_ADD_OFFSET>', b"", d))
    with pytest.raises(InputError, match="no BOA_ADD_OFFSET for band B04"):
        meta_of(path).offset_dn("B04")


def test_both_baselines_give_the_same_bits(tmp_path: Path) -> None:
    values = []
    for number, baseline in enumerate(("02.13", "05.00")):
        with open_product(write_product(tmp_path / str(number), baseline)) as product:
            meta = safe_s2.metadata(product)
            dn = safe_s2.read_dn(product, meta, "B04", GRID)
            values.append(to_reflectance(dn, meta.offset_dn("B04"), meta.quantification).values)
    assert values[0].tobytes() == values[1].tobytes()
    assert np.abs(values[0] - reflectances()["B04"]).max() <= 0.5001e-4  # half a digital number


def test_windows_inside_and_outside_the_tile(tmp_path: Path) -> None:
    with open_product(write_product(tmp_path)) as product:
        meta = safe_s2.metadata(product)
        whole = safe_s2.read_dn(product, meta, "B08", GRID)
        part = safe_s2.read_dn(product, meta, "B08", GRID.window(Window(-4, 50, 20, 20)))
        assert (part[:4] == 0).all() and (part[:, 10:] == 0).all()
        assert np.array_equal(part[4:, :10], whole[:16, 50:])
        far = safe_s2.read_dn(product, meta, "B08", GRID.window(Window(1000, 1000, 2, 2)))
        assert far.tolist() == [[0, 0], [0, 0]]
        scl = safe_s2.read_dn(product, meta, "SCL", safe_s2.coarse_grid(GRID))
        assert np.array_equal(scl, classes())


def test_missing_band_file_is_named(tmp_path: Path) -> None:
    path = change(write_product(tmp_path), r"_B03_10m\.jp2$", lambda _: None)
    with open_product(path) as product, pytest.raises(InputError, match=r"_B03_10m\.jp2 is missing"):
        product.verify(safe_s2.members_of(safe_s2.metadata(product), ["B04", "B03"]), "size")


def test_band_that_the_metadata_do_not_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no image B05_20m in MTD_MSIL2A\.xml; it lists B02_10m"):
        meta_of(write_product(tmp_path)).member("B05")


def test_wrong_zone_names_both(tmp_path: Path) -> None:
    meta = meta_of(write_product(tmp_path))
    with pytest.raises(ConfigError, match=r"in EPSG:32755, the target grid in EPSG:32756\. Set area\.epsg to 32755"):
        safe_s2.check_grid(meta, Grid(32756, 700000.0, 6100000.0, 10.0, -10.0, 10, 10))
    with pytest.raises(ConfigError, match="does not nest"):
        safe_s2.check_grid(meta, Grid(32755, 700005.0, 6100000.0, 10.0, -10.0, 10, 10))
    assert safe_s2.grid_overlap(meta, GRID.window(Window(24, 0, 48, 60))) == 0.5
    assert safe_s2.grid_overlap(meta, GRID.window(Window(480, 0, 48, 60))) == 0.0


def test_image_of_another_size_or_place(tmp_path: Path) -> None:
    path = change(write_product(tmp_path), "MTD_TL", lambda d: d.replace(b"<NROWS>48</NROWS>", b"<NROWS>49</NROWS>"))
    with (
        open_product(path) as product,
        pytest.raises(InputError, match=r"has 48 x 60 pixels, MTD_TL\.xml says 49 x 60"),
    ):
        safe_s2.read_dn(product, safe_s2.metadata(product), "B04", GRID)
    path = change(write_product(tmp_path), "MTD_TL", lambda d: d.replace(b"<ULX>700000</ULX>", b"<ULX>700020</ULX>"))
    with open_product(path) as product, pytest.raises(InputError, match=r"lies elsewhere than MTD_TL\.xml says"):
        safe_s2.read_dn(product, safe_s2.metadata(product), "B04", GRID)


def test_other_level_and_missing_metadata(tmp_path: Path) -> None:
    path = change(write_product(tmp_path), "MTD_MSIL2A", lambda _: None)
    with pytest.raises(InputError, match=r"MTD_MSIL2A\.xml is missing"):
        meta_of(path)
    path = change(write_product(tmp_path), "MTD_TL", lambda _: None)
    with pytest.raises(InputError, match=r"0 files GRANULE/\*/MTD_TL\.xml"):
        meta_of(path)
    path = change(write_product(tmp_path), "MTD_MSIL2A", lambda d: d.replace(b"BOA_QUANTIFICATION_VALUE", b"OTHER"))
    with pytest.raises(InputError, match="element BOA_QUANTIFICATION_VALUE is missing"):
        meta_of(path)


DATA = os.environ.get("S2CR_DATA")


@pytest.mark.realdata
@pytest.mark.skipif(not DATA, reason="S2CR_DATA is not set: real products are not here")
def test_real_metadata() -> None:
    folder = Path(DATA or "") / "sentinel2"
    old = meta_of(folder / "S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857.SAFE")
    assert (old.baseline, old.epsg, old.grids[10].x0, old.grids[10].y0) == ((2, 12), 32707, 600000.0, 6500020.0)
    assert old.nodata_percent == pytest.approx(96.7696, abs=1e-3) and old.cloud_percent == pytest.approx(51.580326)
    assert old.member("B04").endswith("R10m/T07HFE_20190212T192651_B04_10m.tif")
    new = meta_of(folder / "esa_S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.SAFE")
    assert (new.baseline, new.grids[20].x0, new.grids[20].rows) == ((2, 14), 199980.0, 5490)
    assert new.member("SCL").endswith("R20m/T22HBD_20210122T133229_SCL_20m.jp2")
    for meta in (old, new):
        assert meta.offset_source == "absent" and meta.quantification == 10000
        assert meta.grids[10].x0 % 20 == 0 and meta.grids[10].y0 % 20 == 0
