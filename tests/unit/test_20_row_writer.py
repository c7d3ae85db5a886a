"""Rasters written row by row: pixels, bytes that depend on nothing but the pixels and their direction, nothing left."""

import os
from pathlib import Path

import numpy as np
import pytest

from utils.io import raster, row_writer
from utils.science.grid import Grid

GRID = Grid(32755, 600_000.0, 6_100_000.0, 10.0, -10.0, 1300, 700)
IMAGE = np.random.default_rng(4).normal(0.1, 0.05, (1, GRID.rows, GRID.cols)).astype(np.float32)


def _write(path: Path, size: int, *, upwards: bool = False, threads: int = 1) -> bytes:
    rows = list(range(0, GRID.rows, size))
    with row_writer.writer(
        path, GRID, 1, "float32", band_names=("VV",), nodata=np.nan, tags={"A": "1"}, threads=threads
    ) as out:
        for row in reversed(rows) if upwards else rows:
            out.write(IMAGE[:, row : row + size], row, 0)
        out.set_tags({"SHARE": "0.5"})
    return path.read_bytes()


@pytest.mark.parametrize("upwards", [False, True])
def test_bytes_do_not_depend_on_rows_at_once_nor_on_threads(tmp_path: Path, upwards: bool) -> None:
    files = [
        _write(tmp_path / f"{size}_{threads}.tif", size, upwards=upwards, threads=threads)
        for size, threads in ((1300, 1), (256, 2), (77, 3), (512, 2))
    ]
    assert files[0] == files[1] == files[2] == files[3]
    assert (raster.read(tmp_path / "77_3.tif") == IMAGE).all()
    info = raster.info(tmp_path / "256_2.tif")
    assert info.tags["A"] == "1" and info.tags["SHARE"] == "0.5" and info.grid == GRID


def test_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), row_writer.writer(tmp_path / "a.tif", GRID, 1, "float32") as out:
        out.write(IMAGE[:, :100], 0, 0)
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_file_is_complete_when_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds the writer: what is renamed is what stays."""
    seen = {}
    rename = os.replace

    def watch(source: str, target: str) -> None:
        seen[Path(target)] = Path(source).read_bytes()
        rename(source, target)

    monkeypatch.setattr(os, "replace", watch)
    with row_writer.writer(tmp_path / "a.tif", GRID, 1, "float32") as held:
        held.write(IMAGE, 0, 0)
        held.set_tags({"LATE": "x" * 5000})
    assert seen[tmp_path / "a.tif"] == (tmp_path / "a.tif").read_bytes()
    assert raster.info(tmp_path / "a.tif").tags["LATE"] == "x" * 5000
    assert held is not None
