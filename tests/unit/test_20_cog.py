"""Cloud Optimized GeoTIFFs from rows: GDAL's validator, metadata, overviews by hand, equal bytes, nothing left behind."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal
from osgeo_utils.samples.validate_cloud_optimized_geotiff import validate

from utils.io import cog, mosaics, raster
from utils.science.grid import Grid
from utils.workflow.errors import DiskError

GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 1300, 1100)
TAGS = {"STAGE": "mosaic", "KEY": "abc", "CODE": "1", "UNITS": "reflectance", "MODEL": "m", "SOURCE_PRODUCTS": "A,B"}


def image(grid: Grid, bands: int, seed: int = 1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    values = generator.uniform(0, 0.6, (bands, *grid.shape)).astype(np.float32)
    values[:, 100:900, 200:300] = np.nan
    return values


def write(path: Path, values: np.ndarray, grid: Grid, step: int, dtype: str = "int16") -> str:
    names = ("B04", "B03", "B02", "B08")[: len(values)]
    with mosaics.reflectance_rows(path, grid, names, TAGS, dtype) as out:
        for first in range(0, grid.rows, step):
            rows = values[:, first : first + step]
            out.write(mosaics.to_dn(rows) if dtype == "int16" else rows, first, 0)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("shape", [(1300, 1100), (64, 96), (512, 513)])
def test_validator_of_gdal_finds_nothing(tmp_path: Path, dtype: str, shape: tuple[int, int]) -> None:
    grid = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, *shape)
    path = tmp_path / "x.tif"
    write(path, image(grid, 4), grid, 200, dtype)
    warnings, errors, _details = validate(str(path), full_check=True)
    assert errors == [] and warnings == [], (warnings, errors)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.tif"]
    facts = raster.info(path)
    assert facts.band_names == ("B04", "B03", "B02", "B08") and facts.grid == grid and facts.dtype == dtype
    assert {name: facts.tags[name] for name in TAGS} == TAGS
    if dtype == "int16":
        assert facts.scale == 0.0001 and facts.offset == 0.0 and facts.nodata == -32768
    else:
        assert facts.scale == 1.0 and np.isnan(facts.nodata)


def test_the_validator_objects_to_a_plain_geotiff(tmp_path: Path) -> None:
    path = tmp_path / "plain.tif"
    raster.write(path, image(GRID, 1), GRID)
    warnings, errors, _ = validate(str(path), full_check=True)
    assert warnings or errors


def test_bytes_do_not_depend_on_the_rows_at_once(tmp_path: Path) -> None:
    values = image(GRID, 2)
    digests = {write(tmp_path / f"{step}.tif", values, GRID, step) for step in (1300, 512, 333, 17)}
    assert len(digests) == 1


def test_values_and_overviews(tmp_path: Path) -> None:
    values = image(GRID, 1)
    path = tmp_path / "x.tif"
    write(path, values, GRID, 512)
    back = mosaics.read_reflectance(path, ["B04"])
    assert np.nanmax(np.abs(back - values)) <= 0.00005 + 1e-7 and np.array_equal(np.isnan(back), np.isnan(values))
    dataset = gdal.Open(str(path))  # a band does not keep its dataset alive
    overview = dataset.GetRasterBand(1).GetOverview(0).ReadAsArray()
    stored = mosaics.to_dn(values)[0].astype(np.float64)
    stored[stored == -32768] = np.nan
    blocks = stored.reshape(650, 2, 550, 2)
    with np.errstate(all="ignore"):
        mean = np.nanmean(blocks, axis=(1, 3))
    good = np.isfinite(mean)
    assert np.abs(overview[good] - mean[good]).max() <= 0.5 + 1e-9 and (overview[~good] == -32768).all()


def test_class_overviews_are_classes(tmp_path: Path) -> None:
    codes = np.random.default_rng(2).choice([0, 1, 2, 255], (1, *GRID.shape)).astype(np.uint8)
    path = tmp_path / "source.tif"
    with cog.rows_to_cog(
        path, GRID, 1, "uint8", band_names=("SOURCE",), nodata=255, tags=TAGS, resampling="NEAREST"
    ) as out:
        out.write(codes, 0, 0)
    warnings, errors, _ = validate(str(path), full_check=True)
    assert not warnings and not errors
    dataset = gdal.Open(str(path))
    band = dataset.GetRasterBand(1)
    assert band.GetOverviewCount() >= 2
    small = band.GetOverview(0).ReadAsArray()
    assert set(np.unique(small)) == {0, 1, 2, 255}
    near = np.stack([codes[0, i:1300:2, j:1100:2] for i in (0, 1) for j in (0, 1)])
    assert (near == small).any(axis=0).all()


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    with pytest.raises(ValueError, match="halfway"), mosaics.reflectance_rows(path, GRID, ("B04",), TAGS) as out:
        out.write(mosaics.to_dn(image(GRID, 1))[:, :600], 0, 0)
        raise ValueError("halfway")
    assert list(tmp_path.iterdir()) == []


def test_reduced_reading_is_the_mean_of_blocks(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    values = np.broadcast_to(np.linspace(0, 0.5, 1100, dtype=np.float32), (1, 1300, 1100)).copy()
    values[:, :130] = np.nan
    write(path, values, GRID, 512)
    small = cog.read_reduced(path, ["B04"], 130)
    assert small.shape == (1, 130, 110)
    assert np.isnan(small[0, :12]).all() and np.isfinite(small[0, 14:]).all()
    expected = values[0, 500, :1100].reshape(110, 10).mean(axis=1)
    assert np.abs(small[0, 60] - expected).max() < 0.002
    assert cog.read_reduced(path, ["B04"], 5000).shape == (1, 1300, 1100)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_fills_up_is_told_and_left_clean(tmp_path: Path) -> None:
    """Rows and the file made of them lie on the disk at once: every size gives the whole file or error 69 and nothing."""
    disk, grid = tmp_path / "disk", Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 200, 300)
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], check=False, capture_output=True)
    if mount.returncode != 0:
        pytest.skip("mount is not permitted here")
    noise = np.random.default_rng(0).random((1, *grid.shape), dtype=np.float32)
    outcome = []
    try:
        for kib in range(200, 640, 20):
            subprocess.run(["mount", "-o", f"remount,size={kib}k", disk], check=True)
            try:
                write(disk / "x.tif", noise, grid, 50, "float32")
                outcome.append("done")
            except DiskError as error:
                assert error.exit_code == 69 and "space" in error.remedy
                outcome.append("full")
            assert [path.name for path in disk.iterdir()] == (["x.tif"] if outcome[-1] == "done" else []), kib
            if outcome[-1] == "done":
                assert raster.read(disk / "x.tif").tobytes() == noise.tobytes()
                (disk / "x.tif").unlink()
    finally:
        subprocess.run(["umount", "-l", disk], check=False)
    print(f"{outcome.count('full')} of {len(outcome)} sizes were too small")
    assert outcome.count("full") >= 5 and outcome[-1] == "done"
