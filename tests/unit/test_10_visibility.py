"""Layover and shadow against another algorithm: sorting of ranges and look directions along a profile."""

import numpy as np
import pytest

from utils.science import visibility
from utils.science.geocode import MapNodes
from utils.science.grid import Grid

ROWS, COLS = 24, 700


def _nodes(incidence_deg: float, towards: tuple[float, float]) -> MapNodes:
    grid = Grid(32755, 0.0, 0.0, 10.0, -10.0, ROWS, COLS)
    values = np.zeros((2, -(-COLS // 32) + 1, 3, 9))
    values[..., 6] = np.cos(np.radians(incidence_deg))
    values[..., 7], values[..., 8] = towards
    return MapNodes(values, np.array([-1.0, 0.0, 1.0]), 32, grid)


def _ridge(height_m: float, width_px: float) -> np.ndarray:
    column = np.arange(COLS)
    profile = height_m * np.exp(-(((column - 350) / width_px) ** 2)) + 60 * np.sin(column / 9.0)
    return np.tile(profile.astype(np.float32), (ROWS, 1))


def _profile_truth(profile: np.ndarray, incidence_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Sensor to the left, plane wave. r: range, q: height across the beam. Shadow where a nearer point has larger q
    (running maximum); layover where the ranges of near and far points are not in order."""
    fine = np.interp(np.arange(0, COLS - 1, 0.02), np.arange(COLS), profile)
    x = np.arange(len(fine)) * 0.2
    theta = np.radians(incidence_deg)
    r, q = x * np.sin(theta) - fine * np.cos(theta), x * np.cos(theta) + fine * np.sin(theta)
    at = np.minimum((np.arange(COLS) * 50), len(fine) - 1)
    before = np.concatenate([[-np.inf], np.maximum.accumulate(q)[:-1]])
    shadow = (before > q)[at]
    # looking along the beam (cos, sin): nearer to the sensor in x but not in r
    layover = ((np.maximum.accumulate(r) > r) | (np.minimum.accumulate(r[::-1])[::-1] < r))[at]
    return layover, shadow


@pytest.mark.parametrize("incidence_deg", [20.0, 33.0, 39.0, 46.0])
@pytest.mark.parametrize(("height_m", "width_px"), [(1500.0, 90.0), (600.0, 25.0)])
def test_ridge_against_sorted_ranges(incidence_deg: float, height_m: float, width_px: float) -> None:
    height = _ridge(height_m, width_px)
    bits = visibility.layover_shadow(_nodes(incidence_deg, (-1.0, 0.0)), height)
    layover, shadow = _profile_truth(height[0], incidence_deg)
    # the beam comes from the left and upwards: a larger q behind a nearer point means hidden; q grows to the right
    wrong = (
        int(((bits[12] & visibility.LAYOVER > 0) != layover)[80:-80].sum()),
        int(((bits[12] & visibility.SHADOW > 0) != shadow)[80:-80].sum()),
    )
    print(
        f"{incidence_deg} deg, {height_m} m: {wrong} of {COLS - 160} samples differ; layover {layover.sum()}, shadow {shadow.sum()}"
    )
    assert max(wrong) <= 4
    assert (bits == bits[0]).all()


def test_direction_to_the_sensor_matters() -> None:
    height = _ridge(1200.0, 30.0)
    left = visibility.layover_shadow(_nodes(40.0, (-1.0, 0.0)), height)
    right = visibility.layover_shadow(_nodes(40.0, (1.0, 0.0)), height[:, ::-1])
    assert (left == right[:, ::-1]).all()
    assert (left & visibility.SHADOW).any()
    north = visibility.layover_shadow(_nodes(40.0, (0.0, 1.0)), height)
    assert not north.any()  # the ridge does not change along the beam


def test_gentle_terrain_has_neither() -> None:
    assert not visibility.layover_shadow(_nodes(39.0, (-1.0, 0.0)), _ridge(200.0, 90.0) * 0.2).any()


def test_unknown_geometry_gives_no_bits() -> None:
    nodes = _nodes(39.0, (-1.0, 0.0))
    nodes.values[...] = np.nan
    assert not visibility.layover_shadow(nodes, _ridge(1500.0, 30.0)).any()
