"""Heights under a growing area: kept or made again, seen once, holes named for the area as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.synthetic_image import SyntheticImage, grid_at
from utils.io import ground, raster
from utils.io.dem import HeightField
from utils.science import geocode, s1_chain
from utils.science.grid import Grid, Window
from utils.workflow.errors import InputError

IMAGE = SyntheticImage()
GRID = grid_at(IMAGE, 12.0, 870e3, 60, 90)
HOLE = -32768.0


def _dem(path: Path, hole: Window | None = None, reach_px: int = 400) -> Path:
    """Hills of 300 m and more in the south, 30 m posting; a hole in source pixels where it is asked for."""
    count = (GRID.rows + 2 * reach_px) // 3, (GRID.cols + 2 * reach_px) // 3
    grid = Grid(GRID.epsg, GRID.x0 - 10 * reach_px - 4, GRID.y0 + 10 * reach_px + 7, 30.0, -30.0, *count)
    r, c = np.meshgrid(np.arange(count[0]), np.arange(count[1]), indexing="ij")
    values = (150 * (1 + np.sin(r / 9.0) * np.cos(c / 11.0)) + 0.5 * r).astype(np.float32)
    if hole:
        values[hole.slices] = HOLE
    raster.write(path, values, grid, nodata=HOLE, tags={"VERTICAL": "ellipsoid"})
    return path


class Counted(HeightField):
    """Counts the pixels that were asked for."""

    pixels = 0

    def look(self, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        self.pixels += grid.rows * grid.cols
        return super().look(grid)


def _under(field: HeightField) -> ground.Ground:
    return ground.ground_under(field, GRID, s1_chain.rough_nodes(geocode.image_geometry(IMAGE), GRID))


@pytest.mark.parametrize("block_px", [10**6, 700])
def test_every_height_is_made_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_px: int) -> None:
    monkeypatch.setattr(ground, "_BLOCK_PX", block_px)
    field = Counted(_dem(tmp_path / "dem.tif"))
    found = _under(field)
    assert found.inner.row > 25  # the relief needs more than the fixed margin: the area has grown in two steps
    assert field.pixels == found.grid.rows * found.grid.cols
    whole = field.read(found.grid).height_m
    assert found.kept is not None
    assert found.kept.height_m.tobytes() == whole.tobytes()
    assert found.range_m == (whole.min(), whole.max())
    part = Window(5, 0, 31, found.grid.cols)
    height, missing = found.heights(part)
    assert height.tobytes() == np.ascontiguousarray(whole[part.slices]).tobytes()
    assert missing.shape == height.shape
    assert not missing.any()


def test_a_large_area_is_made_again_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    field = Counted(_dem(tmp_path / "dem.tif"))
    kept = _under(field)
    monkeypatch.setattr(ground.Survey.__init__, "__defaults__", (kept.grid.rows * kept.grid.cols - 1,))
    seen, made = field.pixels, _under(field)
    assert made.kept is None
    assert field.pixels == 2 * seen  # surveyed once too
    assert (made.grid, made.inner, made.range_m) == (kept.grid, kept.inner, kept.range_m)
    part = Window(17, 0, 40, made.grid.cols)
    assert [a.tobytes() for a in made.heights(part)] == [a.tobytes() for a in kept.heights(part)]


@pytest.mark.parametrize("hole", [Window(148, 150, 4, 4), Window(130, 120, 3, 5)], ids=["inside", "in the margin"])
def test_filled_heights_are_told(tmp_path: Path, hole: Window) -> None:
    """A hole is filled with the geoid and marked, wherever in the growing area it is."""
    path = _dem(tmp_path / "dem.tif", hole)
    geoid = Grid(GRID.epsg, GRID.x0 - 9000, GRID.y0 + 9000, 1000.0, -1000.0, 20, 20)
    raster.write(tmp_path / "geoid.tif", np.full(geoid.shape, 45.0, np.float32), geoid)
    found = _under(HeightField(path, geoid_grid=tmp_path / "geoid.tif", missing="sea"))
    height, missing = found.heights(Window(0, 0, *found.grid.shape))
    assert 50 < missing.sum() < 400
    assert np.abs(height[missing] - 45).max() < 1e-4
    again = found.field.read(found.grid)
    assert again.missing.tobytes() == np.ascontiguousarray(missing).tobytes()
    with pytest.raises(InputError, match="no heights for"):
        _under(HeightField(path))


def test_area_without_heights_around_it(tmp_path: Path) -> None:
    """The raster ends 30 pixels outside: enough for the fixed margin, too little for the relief."""
    field = HeightField(_dem(tmp_path / "dem.tif", reach_px=30))
    with pytest.raises(InputError, match="no heights for"):
        _under(field)
