"""Layover and shadow against exact ranges and look angles over a round Earth: 2000 samples across a ridge of 1500 m."""

import numpy as np
import pytest

from utils.science import visibility
from utils.science.geocode import MapNodes
from utils.science.grid import Grid

SAMPLES, CELL_M, FINE = 2000, 10.0, 20
EARTH_M, ORBIT_M = 6_371_000.0, 7_071_000.0


def _profile(x_m: np.ndarray) -> np.ndarray:
    middle = SAMPLES * CELL_M / 2
    return 1500 * np.exp(-(((x_m - middle) / 900.0) ** 2)) + 60 * np.sin(x_m / 90.0) + 100


def _sensor_angle(incidence_deg: float) -> float:
    """Angle at the Earth's centre between the sensor and the profile's middle, seen at this incidence."""
    look = np.arcsin(EARTH_M / ORBIT_M * np.sin(np.radians(incidence_deg)))
    return float(np.radians(incidence_deg) - look)


def _seen(x_m: np.ndarray, height_m: np.ndarray, incidence_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Slant range and look angle from straight down; the sensor is to the left, at angle 0."""
    at = _sensor_angle(incidence_deg) + (x_m - SAMPLES * CELL_M / 2) / EARTH_M
    across, up = (EARTH_M + height_m) * np.sin(at), ORBIT_M - (EARTH_M + height_m) * np.cos(at)
    return np.hypot(across, up), np.arctan2(across, up)


def _nodes(incidence_deg: float) -> MapNodes:
    """Incidence on the ellipsoid at every node, sensor to the left."""
    grid = Grid(32755, 0.0, 0.0, CELL_M, -CELL_M, 3, SAMPLES)
    columns = -(-SAMPLES // 32) + 1
    at = _sensor_angle(incidence_deg) + (np.arange(columns) * 32 * CELL_M - SAMPLES * CELL_M / 2) / EARTH_M
    across, up = EARTH_M * np.sin(at), ORBIT_M - EARTH_M * np.cos(at)
    values = np.zeros((2, columns, 3, 9))
    values[..., 6] = np.cos(np.arctan2(across, up) + at)[None, :, None]
    values[..., 7] = -1.0
    return MapNodes(values, np.array([-1.0, 0.0, 1.0]), 32, grid)


@pytest.mark.parametrize("incidence_deg", [20.0, 25.0, 30.0, 35.0, 40.0, 46.0])
def test_ridge_against_exact_ranges_and_look_angles(incidence_deg: float) -> None:
    fine_m = np.arange(SAMPLES * FINE) * CELL_M / FINE
    heights = np.interp(fine_m, np.arange(SAMPLES) * CELL_M, _profile(np.arange(SAMPLES) * CELL_M))
    slant, look = _seen(fine_m, heights, incidence_deg)
    shadow = (np.concatenate([[-np.inf], np.maximum.accumulate(look)[:-1]]) > look)[::FINE]
    layover = ((np.maximum.accumulate(slant) > slant) | (np.minimum.accumulate(slant[::-1])[::-1] < slant))[::FINE]
    image = np.tile(heights[::FINE].astype(np.float32), (3, 1))
    bits = visibility.layover_shadow(_nodes(incidence_deg), image)[1]
    wrong = [
        int(((bits & bit > 0) != truth).sum())
        for bit, truth in ((visibility.LAYOVER, layover), (visibility.SHADOW, shadow))
    ]
    print(f"{incidence_deg:.0f} deg: layover {layover.sum()}, {wrong[0]} differ; shadow {shadow.sum()}, {wrong[1]} differ, "
          f"of {SAMPLES} (limit 4)")  # fmt: skip
    assert layover.sum() + shadow.sum() > 50
    assert max(wrong) <= 4
