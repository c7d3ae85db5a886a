"""Forward radar geometry against independent references: brute force, energy, flat ground."""

from __future__ import annotations

import math

import numpy as np
import pytest

from utils.science import synth_geometry as geometry
from utils.science import synth_orbit as orbits

LON, LAT = 149.0, -35.2
N, STEP = 260, 10.0


def _plane(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A local map: metres east and north to degrees, with the lengths of a degree at the middle latitude."""
    e2, lat = orbits.E2, math.radians(LAT)
    w = math.sqrt(1 - e2 * math.sin(lat) ** 2)
    north = orbits.A_M * (1 - e2) / w**3
    east = orbits.A_M / w * math.cos(lat)
    return LON + np.degrees(x / east), LAT + np.degrees(y / north)


@pytest.fixture(scope="module")
def surface() -> geometry.Surface:
    x, y = np.meshgrid(np.linspace(-1500, 1500, 13), np.linspace(-1500, 1500, 13))
    return geometry.fit_surface(x, y, *_plane(x, y))


def _setup(descending: bool = True, height_m: float = 100.0) -> tuple[orbits.KeplerOrbit, geometry.RadarGrid]:
    orbit = orbits.orbit_over(LON, LAT, height_m, 37.0, descending)
    edge = np.array([-900.0, 900.0])
    x, y = (part.ravel() for part in np.meshgrid(edge, edge))
    return orbit, geometry.radar_grid(orbit, orbits.geodetic_to_ecef(*_plane(x, y), height_m), height_m)


def test_ellipsoid_round_trip_and_known_points() -> None:
    assert orbits.geodetic_to_ecef(0.0, 0.0, 0.0) == pytest.approx([6378137.0, 0, 0])
    assert orbits.geodetic_to_ecef(0.0, 90.0, 10.0) == pytest.approx([0, 0, 6356762.314245], abs=1e-6)
    lon, lat, height = orbits.ecef_to_geodetic(orbits.geodetic_to_ecef(149.3, -35.7, 812.5))
    assert (lon, lat, height) == (pytest.approx(149.3), pytest.approx(-35.7), pytest.approx(812.5, abs=1e-6))


@pytest.mark.parametrize("descending", [True, False])
def test_orbit_is_like_sentinel_1(descending: bool) -> None:
    orbit = orbits.orbit_over(LON, LAT, 100.0, 37.0, descending)
    position, velocity = orbit.state(np.array([-0.5, 0.0, 0.5]))
    assert np.linalg.norm(position[1]) == pytest.approx(7071e3, rel=2e-3)
    # velocity is the derivative of position (Earth-fixed frame included)
    assert (position[2] - position[0]) == pytest.approx(velocity[1], abs=1e-3)
    assert (velocity[1][2] < 0) is np.bool_(descending) or (velocity[1][2] < 0) == descending
    target = orbits.geodetic_to_ecef(LON, LAT, 100.0)
    t, _ = orbits.zero_doppler(orbit, target)
    assert abs(float(t)) < 1e-6
    sight = position[1] - target
    cos = sight @ orbits.ellipsoid_normal(LON, LAT) / np.linalg.norm(sight)
    assert math.degrees(math.acos(cos)) == pytest.approx(37.0, abs=1e-5)
    assert np.cross(velocity[1], position[1]) @ (target - position[1]) > 0  # right looking


def test_orbit_repeats_after_its_period() -> None:
    orbit = orbits.orbit_over(LON, LAT, 0.0, 37.0, True)
    period = 2 * math.pi * math.sqrt(orbits.SEMI_MAJOR_M**3 / orbits.MU_M3_S2)
    assert period == pytest.approx(12 * 86400 / 175, rel=3e-3)
    first, later = orbit.state(0.0)[0], orbit.state(period)[0]
    assert np.linalg.norm(first) == pytest.approx(np.linalg.norm(later), abs=1e-3)
    assert first[2] == pytest.approx(later[2], abs=1e-3)


def test_zero_doppler_is_the_nearest_approach_by_brute_force() -> None:
    orbit, _ = _setup()
    point = orbits.geodetic_to_ecef(*_plane(np.array(700.0), np.array(-300.0)), 400.0)
    t, r = orbits.zero_doppler(orbit, point)
    # zero Doppler in the rotating frame is where the range is stationary
    times = float(t) + np.linspace(-0.02, 0.02, 4001)
    ranges = np.linalg.norm(orbit.state(times)[0] - point, axis=-1)
    assert ranges.min() == pytest.approx(float(r), abs=1e-6)
    curve = np.polynomial.Polynomial.fit(times - float(t), ranges, 2).convert().coef
    assert abs(curve[1] / (2 * curve[2])) < 1e-4


def test_ground_point_inverts_zero_doppler() -> None:
    orbit, _ = _setup()
    point = orbits.geodetic_to_ecef(*_plane(np.array([0.0, 600.0]), np.array([100.0, -500.0])), 523.0)
    t, r = orbits.zero_doppler(orbit, point)
    found = orbits.ground_point(orbit, t, r, 523.0, orbits.geodetic_to_ecef(LON, LAT, 0.0))
    assert np.abs(found - point).max() < 1e-3


def test_ground_range_polynomials_invert_each_other_and_measure_ground() -> None:
    orbit, grid = _setup()
    t = np.full(30, 0.05)
    sample = np.linspace(0, grid.samples - 1, 30)
    slant = grid.slant_range(t, sample)
    assert grid.sample(t, slant) == pytest.approx(sample, abs=1e-5)
    start = orbits.geodetic_to_ecef(LON, LAT, 0.0)
    points = orbits.ground_point(orbit, t, slant, grid.height_m, start)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    assert steps == pytest.approx(np.diff(sample) * grid.spacing_m, rel=1e-5)


@pytest.mark.parametrize("height_m", [0.0, 1000.0])
@pytest.mark.parametrize("descending", [True, False])
def test_flat_ground_gives_gamma_over_tangent(surface: geometry.Surface, descending: bool, height_m: float) -> None:
    orbit, grid = _setup(descending, height_m)
    height = np.full((N, N), height_m, dtype=np.float32)
    power = np.full((1, N, N), 0.1, dtype=np.float32)
    image = geometry.beta_nought(height, power, (-N * 5.0, N * 5.0), STEP, surface, orbit, grid)[0]
    line, sample = np.meshgrid(np.arange(60, grid.lines - 60, 7), np.arange(60, grid.samples - 60, 7), indexing="ij")
    t = grid.first_line_s + line * grid.dt_s
    points = orbits.ground_point(
        orbit, t, grid.slant_range(t, sample), height_m, orbits.geodetic_to_ecef(LON, LAT, 0.0)
    )
    lon, lat, _ = orbits.ecef_to_geodetic(points)
    sight = orbit.state(t)[0] - points
    theta = np.arccos((sight * orbits.ellipsoid_normal(lon, lat)).sum(-1) / np.linalg.norm(sight, axis=-1))
    ratio_db = 10 * np.log10(image[line, sample] * np.tan(theta) / 0.1)
    assert abs(ratio_db.mean()) < 0.003 and ratio_db.std() < 0.04


def test_energy_is_conserved_on_rough_ground(surface: geometry.Surface) -> None:
    """Sum of beta0 * cell area equals gamma0 * projected area, computed here from whole-pixel facets in ECEF."""
    orbit, grid = _setup()
    n = 120  # well inside the image, so that nothing is scattered outside
    c = (np.arange(n) + 0.5) * STEP - n * STEP / 2
    x, y = np.meshgrid(c, -c)
    height = (100 + 60 * np.sin(x / 200) * np.cos(y / 170)).astype(np.float32)
    power = np.full((1, n, n), 0.2, dtype=np.float32)
    image = geometry.beta_nought(height, power, (-n * STEP / 2, n * STEP / 2), STEP, surface, orbit, grid)[0]
    got = float((image * geometry.cell_area(orbit, grid, orbits.geodetic_to_ecef(LON, LAT, 0.0))).sum(dtype=np.float64))
    # facets between pixel centres, whose heights are exact; the rim of half a pixel is added by scaling
    points = orbits.geodetic_to_ecef(*_plane(x, y), height.astype(np.float64))
    diagonals = np.cross(points[1:, :-1] - points[:-1, 1:], points[:-1, :-1] - points[1:, 1:]) / 2
    sight = orbit.state(0.0)[0] - points[:-1, :-1]
    projected = np.abs((diagonals * sight).sum(-1)) / np.linalg.norm(sight, axis=-1)
    assert got == pytest.approx(0.2 * projected.sum() * (n / (n - 1)) ** 2, rel=5e-3)


def test_point_target_lands_where_brute_force_says(surface: geometry.Surface) -> None:
    orbit, grid = _setup()
    height = np.full((N, N), 230.0, dtype=np.float32)
    height += (np.arange(N) * 0.3).astype(np.float32)
    power = np.zeros((1, N, N), dtype=np.float32)
    row, col = 111, 87
    power[0, row, col] = 50.0
    image = geometry.beta_nought(height, power, (-N * 5.0, N * 5.0), STEP, surface, orbit, grid)[0].astype(np.float64)
    image *= geometry.cell_area(orbit, grid, orbits.geodetic_to_ecef(LON, LAT, 0.0))
    line, sample = ((image * index).sum() / image.sum() for index in np.indices(image.shape))
    x, y = -N * 5.0 + (col + 0.5) * STEP, N * 5.0 - (row + 0.5) * STEP
    point = orbits.geodetic_to_ecef(*_plane(np.array(x), np.array(y)), float(height[row, col]))
    times = grid.first_line_s + np.arange(0, grid.lines, 0.01) * grid.dt_s
    ranges = np.linalg.norm(orbit.state(times)[0] - point, axis=-1)
    # the range is stationary there but flat: fit its parabola
    curve = np.polynomial.Polynomial.fit(times, ranges, 4).deriv().roots()
    t = float(min(curve[np.isreal(curve)].real, key=lambda root: abs(root - times[ranges.argmin()])))
    expected_sample = float(grid.sample(np.array(t), np.linalg.norm(orbit.state(t)[0] - point)))
    assert line == pytest.approx((t - grid.first_line_s) / grid.dt_s, abs=0.02)
    assert sample == pytest.approx(expected_sample, abs=0.02)


def test_surface_polynomial_refuses_too_large_an_area() -> None:
    x, y = np.meshgrid(np.linspace(-1.5e6, 1.5e6, 13), np.linspace(-1.5e6, 1.5e6, 13))
    with pytest.raises(ValueError, match="too large"):
        geometry.fit_surface(x, y, LON + x / 1e5, LAT + y / 1.1e5)
