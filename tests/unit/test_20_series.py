"""Series of a track from file to file: grouping, values, blocks, errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from utils.io import raster
from utils.io.series import filter_files, find_series
from utils.science.grid import Grid
from utils.science.multitemporal import multitemporal_filter
from utils.workflow.errors import InputError

GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 70, 530)
SMALL = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 10, 10)


def _product(
    root: Path, name: str, facts: dict[str, object], grid: Grid = SMALL, power: np.ndarray | None = None
) -> None:
    values = np.full((1, *grid.shape), 0.1, np.float32) if power is None else power[None]
    for pol in ("vv", "vh"):
        raster.write(root / name / f"gamma0_{pol}.tif", values, grid, nodata=float("nan"))
    (root / name / "product.json").write_text(json.dumps(facts))


def test_products_are_grouped_by_track_and_grid(tmp_path: Path) -> None:
    native = {"tags": {"RELATIVE_ORBIT": "147", "PASS": "descending", "ACQ_START": "2020-01-29T19:16"}}
    _product(tmp_path, "B", native)
    _product(tmp_path, "A", {"relative_orbit": 147, "pass": "descending", "start": "2020-03-01T19:16"})
    _product(tmp_path, "C", {"relative_orbit": 147, "pass": "ascending", "start": "2020-03-01T08:00"})
    _product(tmp_path, "D", {"relative_orbit": 9, "pass": "descending", "start": "2020-03-01T08:00"})
    _product(tmp_path, "E", {"relative_orbit": 147, "pass": "descending", "start": "2020-04-01T08:00"}, GRID)
    found = {one.id: one.products for one in find_series(tmp_path, ["A", "B", "C", "D", "E"])}
    assert found == {
        "009_descending": ("D",), "147_ascending": ("C",), "147_descending": ("B", "A"), "147_descending-2": ("E",),
    }  # fmt: skip
    _product(tmp_path, "F", {"relative_orbit": None, "pass": None})
    with pytest.raises(InputError, match=r"F: product\.json does not say relative orbit and direction") as caught:
        find_series(tmp_path, ["A", "F"])
    assert "multitemporal.enabled: false" in caught.value.remedy
    (tmp_path / "A" / "product.json").unlink()
    with pytest.raises(InputError, match=r"A/product\.json"):
        find_series(tmp_path, ["A"])


def test_slices_of_a_pass_are_one_date(tmp_path: Path) -> None:
    """Also across midnight; a product without a time of its own is a date of its own."""
    starts = {
        "A": "2020-01-03T23:59:40.5", "B": "2020-01-04T00:00:05", "C": "2020-01-04T00:00:30Z", "D": "2020-01-16T00:00:04",
        "E": "2020-01-28", "F": None, "G": None,
    }  # fmt: skip
    for name, start in starts.items():
        _product(tmp_path, name, {"relative_orbit": 147, "pass": "descending", "start": start})
    (found,) = find_series(tmp_path, "GFEDCBA")
    assert found.products == tuple("ABCDEFG")
    assert found.passes == (0, 0, 0, 1, 2, 3, 4)
    assert [found.dates(names) for names in ("ABC", "ACD", "ABCDEFG", "D", "")] == [1, 2, 5, 1, 0]


def test_files_are_the_filter_whatever_the_block(tmp_path: Path) -> None:
    stack = np.random.default_rng(3).gamma(4.4, 0.05 / 4.4, (3, *GRID.shape)).astype(np.float32)
    stack[np.random.default_rng(4).random(stack.shape) < 0.1] = np.nan
    for name, power in zip("ABC", stack, strict=True):
        _product(tmp_path / "in", name, {}, GRID, power)
    expected = multitemporal_filter(stack, 7)
    written = set()
    for rows in (0, 4, 16, 69, 512):
        targets = [tmp_path / f"out{rows}" / name / "gamma0_vv.tif" for name in "ABC"]
        means = filter_files(
            [tmp_path / "in" / name / "gamma0_vv.tif" for name in "ABC"], targets, GRID, 7, polarisation="VV",
            tags=[{"SPECKLE": "x"}] * 3, block_rows=rows,
        )  # fmt: skip
        out = np.concatenate([raster.read(path) for path in targets])
        assert out.tobytes() == expected.tobytes()
        written.add(b"".join(path.read_bytes() for path in targets))
        for k in range(3):
            assert means[k]["mean_before"] == pytest.approx(np.nanmean(stack[k].astype(float)), rel=1e-6)
            assert means[k]["mean_after"] == pytest.approx(np.nanmean(expected[k].astype(float)), rel=1e-6)
    assert len(written) == 1  # and the files are the same, byte for byte
    info = raster.info(tmp_path / "out0/A/gamma0_vv.tif")
    assert (info.band_names, info.tags["SPECKLE"]) == (("VV",), "x")
    assert np.isnan(info.nodata)


def test_nothing_is_left_when_a_date_is_missing_or_shifted(tmp_path: Path) -> None:
    _product(tmp_path, "A", {}, SMALL)
    _product(tmp_path, "B", {}, GRID)
    for other, text in (("B", "another grid"), ("C", "no such file")):
        with pytest.raises(InputError, match=text):
            filter_files(
                [tmp_path / name / "gamma0_vv.tif" for name in ("A", other)], [tmp_path / f"out/{n}.tif" for n in "AB"], SMALL, 7,
                polarisation="VV", tags=[{}, {}],
            )  # fmt: skip
        assert not (tmp_path / "out").exists()
