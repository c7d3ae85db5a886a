"""Rasters reduced while they are read: equal to the plain definition, whatever the stripes."""

from __future__ import annotations

import numpy as np
import pytest

from utils.science import reduced
from utils.science.grid import Grid, Window
from utils.science.reduced import Reduced, busiest

GRID = Grid(32755, 500000.0, 6000000.0, 10.0, -10.0, 47, 61)


def reader(image: np.ndarray):
    """Pixels of an image on a part of GRID, and how many rows were asked for at most."""
    asked = []

    def read(grid: Grid) -> np.ndarray:
        row, col = GRID.offset_of(grid)
        asked.append(grid.rows)
        return image[:, row : row + grid.rows, col : col + grid.cols]

    return read, asked


def plain_mean(image: np.ndarray, n: int) -> np.ndarray:
    """Block means one by one."""
    rows, cols = -(-image.shape[1] // n), -(-image.shape[2] // n)
    out = np.full((image.shape[0], rows, cols), np.nan)
    for plane in range(image.shape[0]):
        for i in range(rows):
            for j in range(cols):
                block = image[plane, i * n : i * n + n, j * n : j * n + n]
                if np.isfinite(block).any():
                    out[plane, i, j] = np.nanmean(block)
    return out


@pytest.mark.parametrize("max_px", [7, 16, 31, 61, 100])
@pytest.mark.parametrize("stripe", [1, 10, 512])
def test_mean_is_that_of_the_blocks(max_px: int, stripe: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduced, "STRIPE_ROWS", stripe)
    image = np.random.default_rng(1).normal(size=(2, 47, 61)).astype(np.float32)
    image[:, 10:30, 5:40] = np.nan
    read, asked = reader(image)
    see = Reduced(GRID, max_px)
    made = see.mean(read)
    np.testing.assert_allclose(made, plain_mean(image, see.factor), atol=1e-6)
    assert made.shape[1:] == see.small.shape and max(made.shape) <= max_px and made.dtype == np.float32
    assert max(asked) <= max(see.factor, stripe) and sum(asked) == 47


@pytest.mark.parametrize("stripe", [1, 10, 512])
def test_classes_are_kept(stripe: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduced, "STRIPE_ROWS", stripe)
    codes = np.random.default_rng(2).integers(0, 6, (1, 47, 61)).astype(np.uint8)
    see = Reduced(GRID, 13)
    assert see.factor == 5
    made = see.nearest(reader(codes)[0])
    assert made.dtype == np.uint8 and made.shape[1:] == see.small.shape
    assert made[0, 3, 4] == codes[0, 17, 22]
    assert made[0, -1, -1] == codes[0, 46, 60], "the last block is cut by the edge"


def test_a_small_grid_is_left_alone() -> None:
    image = np.random.default_rng(3).normal(size=(1, 47, 61)).astype(np.float32)
    see = Reduced(GRID, 900)
    assert see.factor == 1 and see.small == GRID
    np.testing.assert_array_equal(see.mean(reader(image)[0]), image)


def test_grid_of_the_picture_keeps_the_corner() -> None:
    see = Reduced(GRID, 13)
    assert (see.small.x0, see.small.y0, see.small.dx, see.small.dy) == (500000.0, 6000000.0, 50.0, -50.0)
    assert see.small.shape == (10, 13)


def test_busiest_square_is_found() -> None:
    plane = np.zeros((10, 13))
    plane[6:8, 9:11] = 1.0
    plane[0, 0] = 1.5
    plane[:, 1] = np.nan
    window = busiest(plane, 5, 10, GRID.shape)
    assert window == Window(30, 45, 10, 10)
    assert busiest(plane, 5, 1000, GRID.shape) == Window(0, 0, 47, 61)
    edge = np.zeros((10, 13))
    edge[9, 12] = 1.0
    found = busiest(edge, 5, 10, GRID.shape)
    assert found == Window(37, 51, 10, 10), "moved inwards where the last block is cut"
