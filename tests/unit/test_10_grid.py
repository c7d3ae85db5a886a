"""Grids and tiles: index bounds, alignment, areas, the partition of the grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.science.grid import Grid, Window, make_tiles, parse_tile_id, tile_id

UTM = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 80, 90)


def test_bounds_and_centres() -> None:
    assert UTM.bounds == (700000.0, 6099200.0, 700900.0, 6100000.0)
    assert UTM.pixel_centres_x()[0] == 700005.0 and UTM.pixel_centres_y()[-1] == 6099205.0


def test_offset_of_whole_pixels_only() -> None:
    inner = UTM.window(Window(3, 5, 10, 10))
    assert UTM.offset_of(inner) == (3, 5) and inner.offset_of(UTM) == (-3, -5)
    with pytest.raises(ValueError, match="not by whole pixels"):
        UTM.offset_of(Grid(32755, 700005.0, 6100000.0, 10.0, -10.0, 8, 8))
    with pytest.raises(ValueError, match="coordinate systems"):
        UTM.offset_of(Grid(32756, 700000.0, 6100000.0, 10.0, -10.0, 8, 8))
    with pytest.raises(ValueError, match="pixel sizes"):
        UTM.offset_of(Grid(32755, 700000.0, 6100000.0, 20.0, -20.0, 8, 8))


def test_projected_pixel_area() -> None:
    assert np.all(UTM.pixel_area_m2() == 100.0)


def test_geographic_pixel_area_adds_up_to_the_earth() -> None:
    whole = Grid(4326, -180.0, 90.0, 1.0, -1.0, 180, 360)
    # area of the WGS84 ellipsoid, 510 065 621.7 km2 (e.g. Moritz 2000)
    assert whole.pixel_area_m2().sum() * 360 == pytest.approx(5.100656217e14, rel=1e-8)


@settings(deadline=None)
@given(
    rows=st.integers(8, 300), cols=st.integers(8, 300), size=st.integers(4, 64), overlap=st.integers(0, 63)
)  # fmt: skip
def test_valid_windows_partition_the_grid(rows: int, cols: int, size: int, overlap: int) -> None:
    size = min(size, rows, cols)
    overlap = min(overlap, size - 1)
    count = np.zeros((rows, cols), dtype=int)
    for tile in make_tiles(rows, cols, size, overlap):
        w, v = tile.window, tile.valid
        assert w.row >= 0 and w.row + size <= rows and w.col >= 0 and w.col + size <= cols
        assert (
            w.row <= v.row and v.row + v.rows <= w.row + w.rows and w.col <= v.col and v.col + v.cols <= w.col + w.cols
        )
        count[v.slices] += 1
    assert np.all(count == 1)


def test_last_tiles_are_shifted_inwards() -> None:
    tiles = make_tiles(100, 100, 64, 0)
    assert [tile.window.to_list() for tile in tiles] == [
        [0, 0, 64, 64],
        [0, 36, 64, 64],
        [36, 0, 64, 64],
        [36, 36, 64, 64],
    ]


def test_tile_ids() -> None:
    assert tile_id(3, 12) == "r0003_c0012" and parse_tile_id("r0003_c0012") == (3, 12)
    assert parse_tile_id(tile_id(12345, 7)) == (12345, 7)
    for bad in ("r3_c12", "r0003_c0012_x", "p001_r0003_c0012", "r0003"):
        with pytest.raises(ValueError):
            parse_tile_id(bad)


def test_tile_larger_than_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        make_tiles(50, 100, 64)
