"""Real fires: rasters before and after that differ in shape must be noticed, or put on one grid, never paired by index."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from utils.io import importer, raster, tiles
from utils.io.acquisitions import Acquisition as Date
from utils.io.cutter import DateRasters
from utils.io.importer import Acquisition, DatedSet, Plane, Rules
from utils.science.grid import Grid
from utils.workflow.errors import InputError

DATA = os.environ.get("S2CR_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="S2CR_DATA is not set: the real fires are not there")
BANDS = ("B02", "B03", "B04", "B08", "B12")
RULES = Rules(s2_nodata=None)
DOVE, SHIFT = "DOVE_20241019", 28  # columns that the raster after the fire begins further east


def fire(name: str, when: str) -> Path:
    return Path(str(DATA)) / "fires" / f"{when}_fire" / f"{name}.tif"


def optical(name: str, when: str) -> Acquisition:
    planes = tuple(Plane(band, fire(name, when), number) for number, band in enumerate(BANDS, start=1))
    return Acquisition("fire", "sentinel2", f"{name}_{when}", planes, "2024-01-01T00:00:00")


def dnbr(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> np.ndarray:
    def nbr(bands: dict[str, np.ndarray]) -> np.ndarray:
        nir, swir = bands["B08"].astype(float), bands["B12"].astype(float)
        return np.asarray((nir - swir) / (nir + swir))

    with np.errstate(invalid="ignore", divide="ignore"):
        return nbr(before) - nbr(after)


def f1(change: np.ndarray, perimeter: np.ndarray) -> float:
    burned, known = change > 0.10, np.isfinite(change)
    hits = (burned & perimeter & known).sum()
    return float(2 * hits / ((burned & known).sum() + (perimeter & known).sum()))


def test_the_trap_is_there() -> None:
    before, after = raster.info(fire(DOVE, "pre")).grid, raster.info(fire(DOVE, "post")).grid
    assert before.shape == (225, 376) and after.shape == (225, 320) and before.offset_of(after) == (0, SHIFT)
    assert (before.y0, before.dx, before.epsg) == (after.y0, after.dx, after.epsg)  # all else would agree


def test_rasters_of_a_date_on_two_grids_are_refused(tmp_path: Path) -> None:
    """Both images of DOVE as products of one date, and one of them with a radar image on the other's grid."""
    for when in ("pre", "post"):
        grid, image = raster.info(fire(DOVE, when)).grid, raster.read(fire(DOVE, when))
        for band, plane in zip(BANDS, image.astype(np.float32) * 1e-4, strict=True):
            raster.write(tmp_path / "sentinel2" / when / f"{band}.tif", plane, grid)
        raster.write(tmp_path / "sentinel2" / when / "cloud.tif", np.zeros(grid.shape, np.uint8), grid)
    grid = raster.info(fire(DOVE, "pre")).grid
    for file in ("gamma0_vv", "gamma0_vh", "mask"):
        kind = np.uint8 if file == "mask" else np.float32
        raster.write(tmp_path / "sentinel1/S1" / f"{file}.tif", np.ones(grid.shape, kind), grid)
    DateRasters(tmp_path, Date("d", ("S1",), ("pre",), {}), BANDS).__exit__()
    for products in (("pre", "post"), ("post",)):
        with pytest.raises(InputError, match=r"225 x 320 px.*is not on the grid of.*225 x 376 px"):
            DateRasters(tmp_path, Date("d", ("S1",), products, {}), BANDS)


def test_tiles_of_two_grids_are_refused(tmp_path: Path) -> None:
    """A tile whose mask is cut from the other raster: same shape, same system, other place."""
    grid = raster.info(fire(DOVE, "pre")).grid
    small, shifted = (Grid(4326, grid.x0 + n * grid.dx, grid.y0, grid.dx, grid.dy, 64, 64) for n in (0, SHIFT))
    system = Grid(32611, small.x0, small.y0, small.dx, small.dy, 64, 64)  # the same numbers in another system
    for number, other in enumerate((shifted, system, small)):
        folder = tmp_path / str(number)
        for sensor, bands, place in (("sentinel1", 2, small), ("sentinel2", 5, small), ("mask", 2, other)):
            kind = np.uint8 if sensor == "mask" else np.float32
            raster.write(folder / sensor / "r0000_c0000.tif", np.ones((bands, 64, 64), kind), place)
        if other is small:
            assert tiles.read_tile(folder, "r0000_c0000").optical.shape == (5, 64, 64)
            continue
        with pytest.raises(InputError, match="not on one grid"):
            tiles.read_tile(folder, "r0000_c0000")


def test_import_puts_both_dates_on_one_grid() -> None:
    before, after = optical(DOVE, "pre"), optical(DOVE, "post")
    grid = importer.site_grid([DatedSet("d0", "fire", before, before)], "B04", RULES)
    assert grid == raster.info(fire(DOVE, "pre")).grid
    first, _ = importer.load_s2(before, BANDS, grid, RULES)
    second, cloud = importer.load_s2(after, BANDS, grid, RULES)
    stored = raster.read(fire(DOVE, "post"))[3].astype(np.float64) * 1e-4
    np.testing.assert_allclose(second["B08"][:, SHIFT : SHIFT + 320], stored, atol=2e-6)
    outside = np.ones(grid.shape, bool)
    outside[:, SHIFT : SHIFT + 320] = False
    assert np.isnan(second["B08"][outside]).all() and (cloud[outside] == 255).all()
    perimeter = raster.read(Path(str(DATA)) / "fires/masks" / f"{DOVE}.tif")[0] > 0
    right = f1(dnbr(first, second), perimeter)
    by_index = {band: plane[:, SHIFT : SHIFT + 320] for band, plane in second.items()}
    wrong = f1(dnbr({band: plane[:, :320] for band, plane in first.items()}, by_index), perimeter[:, :320])
    print(f"F1 of dNBR > .10 against the perimeter: {right:.3f} (.95 +- .01); paired by index {wrong:.3f}")
    assert right == pytest.approx(0.95, abs=0.01) and wrong < right - 0.05


@pytest.mark.parametrize(("name", "figure"), [("10TH_20240624", 0.86), ("4-8_20200817", 0.69), ("68_20210818", 0.63)])
def test_other_fires_through_the_import(name: str, figure: float) -> None:
    before, after = optical(name, "pre"), optical(name, "post")
    grid = importer.site_grid([DatedSet("d0", "fire", before, before)], "B04", RULES)
    images = [importer.load_s2(date, BANDS, grid, RULES)[0] for date in (before, after)]
    perimeter = raster.read(Path(str(DATA)) / "fires/masks" / f"{name}.tif")[0] > 0
    assert f1(dnbr(*images), perimeter) == pytest.approx(figure, abs=0.01)
