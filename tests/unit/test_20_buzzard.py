"""Tile geometry of buzzard equals that of the project; where it is missing the project's own is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from utils.io import buzzard_compat, footprint
from utils.science.grid import Grid, make_tiles
from utils.workflow.errors import BrokenEnvironmentError

try:
    buzzard_compat.load()
    MISSING = ""
except BrokenEnvironmentError as error:
    MISSING = str(error)

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 530, 700)


@pytest.mark.skipif(bool(MISSING), reason=f"buzzard is not installed: {MISSING}")
@pytest.mark.parametrize(("size", "overlap"), [(128, 0), (128, 16), (530, 0), (100, 50), (177, 3)])
def test_tiles_equal(size: int, overlap: int) -> None:
    rows = buzzard_compat.tile_footprints(GRID, size, overlap)
    tiles = make_tiles(GRID.rows, GRID.cols, size, overlap)
    flat = [fp for row in rows for fp in row]
    assert len(flat) == len(tiles)
    assert all(buzzard_compat.same_geometry(fp, GRID, tile) for fp, tile in zip(flat, tiles, strict=True))


@pytest.mark.skipif(bool(MISSING), reason=f"buzzard is not installed: {MISSING}")
def test_round_trip_and_intersection() -> None:
    fp = buzzard_compat.footprint(GRID)
    assert buzzard_compat.grid_of(fp, 32755) == GRID
    other = buzzard_compat.footprint(Grid(32755, 703000.0, 6099000.0, 10.0, -10.0, 530, 700))
    assert buzzard_compat.grid_of(fp & other, 32755) == Grid(32755, 703000.0, 6099000.0, 10.0, -10.0, 430, 400)


def test_outlines_with_and_without_buzzard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_it = footprint.tile_outlines(GRID, 128, 16)

    def missing(*_: object) -> None:
        raise BrokenEnvironmentError("buzzard cannot be imported.", "Run: make env")

    monkeypatch.setattr(buzzard_compat, "tile_footprints", missing)
    without = footprint.tile_outlines(GRID, 128, 16)
    assert list(with_it) == list(without) == [tile.id for tile in make_tiles(530, 700, 128, 16)]
    assert all(with_it[name].equals(without[name]) for name in without)
    assert without["r0000_c0001"].bounds == (701120.0, 6098720.0, 702400.0, 6100000.0)
