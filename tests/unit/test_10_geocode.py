"""Geocoding against the exact forward model of a synthetic image, and nodes against exact Newton."""

from dataclasses import replace

import numpy as np
import pytest

from tests import s1_oracles
from tests.synthetic_image import SyntheticImage, grid_at
from utils.science import geocode, geodesy
from utils.science.threads import use_threads

IMAGE = SyntheticImage()
GEOMETRY = geocode.image_geometry(IMAGE)
TIME_S, RANGE_M = np.broadcast_arrays(np.linspace(1, 23, 12)[:, None], np.linspace(805e3, 960e3, 15)[None])


def _hills(shape: tuple[int, int], low: float, high: float) -> np.ndarray:
    r, c = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    wave = 0.5 + 0.25 * (np.sin(r / 23.0) + np.cos(c / 31.0 + r / 57.0))
    return (low + (high - low) * wave).astype(np.float32)


def test_zero_doppler_inverts_the_forward_model() -> None:
    time, slant = geocode.zero_doppler(GEOMETRY.orbit, IMAGE.ground_point(TIME_S, RANGE_M), 12.0)
    errors = np.abs(time - TIME_S).max(), np.abs(slant - RANGE_M).max()
    print(f"zero Doppler against the forward model: {errors[0]:.1e} s (limit 1e-9), {errors[1]:.1e} m (limit 1e-6)")
    assert errors[0] < 1e-9  # 7 micrometres along the orbit
    assert errors[1] < 1e-6


def test_points_left_of_the_track_or_far_away_are_nan() -> None:
    position, velocity = IMAGE.state(np.array(12.0))
    ground = IMAGE.ground_point(np.array(12.0), np.array(850e3))
    across = np.cross(velocity, position)
    across /= np.linalg.norm(across)
    mirrored = ground - 2 * (ground - position) @ across * across
    antipode = -ground
    time, slant = geocode.zero_doppler(GEOMETRY.orbit, np.stack([ground, mirrored, antipode]), 12.0)
    assert np.isfinite(time).tolist() == [True, False, False]
    assert np.isfinite(slant).tolist() == [True, False, False]


def test_ground_range_linear_and_nearest_in_time() -> None:
    table = {"time_s": np.array([0.0, 10.0]), "origin_m": np.array([800e3, 800e3])}
    coefficients = np.array([[0.0, 2.0], [100.0, 2.0]])
    linear = geocode.SlantToGround(**table, coefficients=coefficients)
    nearest = geocode.SlantToGround(**table, coefficients=coefficients, mode="nearest")
    assert linear.ground_range([-5.0, 2.5, 10.0, 99.0], 800_010.0).tolist() == [20.0, 45.0, 120.0, 120.0]
    assert nearest.ground_range([-5.0, 4.9, 5.1, 99.0], 800_010.0).tolist() == [20.0, 20.0, 120.0, 120.0]


def test_one_polynomial_only() -> None:
    single = geocode.SlantToGround(np.array([3.0]), np.array([800e3]), np.array([[1.0, 2.0]]))
    assert single.ground_range(7.0, 800_001.0).tolist() == 3.0


@pytest.mark.parametrize("step_px", [32, 64])
def test_nodes_against_newton_per_pixel(step_px: int) -> None:
    grid = grid_at(IMAGE, 12.0, 880e3, 300, 420)
    height = _hills(grid.shape, 0.0, 1200.0)
    nodes = geocode.make_nodes(GEOMETRY, grid, float(height.min()), float(height.max()), step_px)
    position = geocode.locate(nodes, GEOMETRY, height)
    lon, lat = geodesy.utm_to_geodetic(grid.pixel_centres_x()[None], grid.pixel_centres_y()[:, None], grid.epsg)
    line, pixel = s1_oracles.locate_exact(GEOMETRY, geodesy.geodetic_to_ecef(lon, lat, height))
    line_error, slant_error = (
        np.abs(position.line - line).max(),
        np.abs((position.pixel - pixel) * position.slant_step_m).max(),
    )
    limits = {32: (2e-5, 0.012), 64: (7e-5, 0.048)}[step_px]  # 320 m of curvature: step^2 cos^2 / (8 R)
    print(f"step {step_px}: {line_error:.2e} lines (limit {limits[0]}), {slant_error:.4f} m slant (limit {limits[1]})")
    assert line_error < limits[0]
    assert slant_error < limits[1]


def test_five_heights_for_high_relief() -> None:
    grid = grid_at(IMAGE, 12.0, 900e3, 64, 64)
    nodes = geocode.make_nodes(GEOMETRY, grid, 0.0, 4000.0)
    assert nodes.heights_m.tolist() == np.linspace(-1, 4001, 5).tolist()
    height = np.full(grid.shape, 2345.0, np.float32)
    position = geocode.locate(nodes, GEOMETRY, height)
    lon, lat = geodesy.utm_to_geodetic(grid.pixel_centres_x()[40], grid.pixel_centres_y()[40], grid.epsg)
    line, pixel = s1_oracles.locate_exact(GEOMETRY, geodesy.geodetic_to_ecef(lon, lat, 2345.0))
    assert position.line[40, 40] == pytest.approx(float(line), abs=2e-5)
    assert position.pixel[40, 40] == pytest.approx(float(pixel), abs=2e-3)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_same_bits_for_any_threads_and_blocks(mode: geocode.SrgrTime) -> None:
    geometry = geocode.image_geometry(IMAGE, mode)
    grid = grid_at(IMAGE, 12.5, 850e3, 130, 90)
    height = _hills(grid.shape, 0.0, 500.0)
    nodes = geocode.make_nodes(geometry, grid, 0.0, 500.0)
    try:
        use_threads(1)
        one = geocode.locate(nodes, geometry, height)
        use_threads(2)
        two = geocode.locate(nodes, geometry, height)
    finally:
        use_threads(0)
    assert one.line.tobytes() == two.line.tobytes()
    assert one.pixel.tobytes() == two.pixel.tobytes()
    block = geocode.locate(nodes, geometry, height[50:77], first_row=50)
    assert block.line.tobytes() == one.line[50:77].tobytes()
    assert block.slant_step_m.tobytes() == one.slant_step_m[50:77].tobytes()


def test_slant_step_is_the_slant_width_of_a_pixel() -> None:
    grid = grid_at(IMAGE, 12.0, 880e3, 40, 40)
    height = np.zeros(grid.shape, np.float32)
    nodes = geocode.make_nodes(GEOMETRY, grid, 0.0, 0.0)
    step = geocode.locate(nodes, GEOMETRY, height).slant_step_m[20, 20]
    cosine = geocode.ellipsoid_cos_incidence(nodes, height)[20, 20]
    assert step == pytest.approx(10.0 * np.sqrt(1 - cosine**2), rel=2e-3)  # ground range is an arc on the ellipsoid


def test_heights_must_fit() -> None:
    grid = grid_at(IMAGE, 12.0, 880e3, 40, 40)
    nodes = geocode.make_nodes(GEOMETRY, grid, 0.0, 0.0)
    with pytest.raises(ValueError, match="do not fit"):
        geocode.locate(nodes, GEOMETRY, np.zeros((41, 40), np.float32))
    with pytest.raises(ValueError, match="not a WGS84 UTM zone"):
        geocode.make_nodes(GEOMETRY, grid.__class__(4326, 0.0, 0.0, 0.1, -0.1, 4, 4), 0.0, 0.0)


def test_unknown_height_gives_nan() -> None:
    grid = grid_at(IMAGE, 12.0, 880e3, 40, 40)
    height = np.zeros(grid.shape, np.float32)
    height[3, 4] = np.nan
    position = geocode.locate(geocode.make_nodes(GEOMETRY, grid, 0.0, 0.0), GEOMETRY, height)
    assert np.argwhere(np.isnan(position.line)).tolist() == [[3, 4]]


def test_some_columns_without_the_slant_step_are_the_same_bits() -> None:
    """Any columns, also from the middle of an interval of the lattice on and beyond its last whole one."""
    grid = grid_at(IMAGE, 12.0, 880e3, 40, 101)
    height = _hills(grid.shape, 0.0, 700.0)
    nodes = geocode.make_nodes(GEOMETRY, grid, 0.0, 700.0)
    whole = geocode.locate(nodes, GEOMETRY, height)
    for first, last in ((0, 101), (7, 9), (31, 65), (50, 101)):
        part = geocode.locate(nodes, GEOMETRY, height, cols=(first, last), slant_step=False)
        assert part.line.tobytes() == np.ascontiguousarray(whole.line[:, first:last]).tobytes()
        assert part.pixel.tobytes() == np.ascontiguousarray(whole.pixel[:, first:last]).tobytes()
        assert part.slant_step_m.shape == (40, 0)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_polynomials_that_change_within_a_row(mode: geocode.SrgrTime) -> None:
    """Ground range jumps by up to 30 m every 11 ms, about 8 map rows: each pixel takes the polynomials of its own time."""
    grid = grid_at(IMAGE, 12.0, 880e3, 120, 150)
    height = _hills(grid.shape, 0.0, 300.0)
    given = GEOMETRY.srgr
    times = np.arange(11.92, 12.09, 0.011)  # the area begins before and ends after them
    coefficients = np.repeat(given.coefficients[:1], len(times), axis=0)
    coefficients[:, 0] += np.random.default_rng(2).uniform(-15, 15, len(times))
    origin = np.full(len(times), given.origin_m[0])
    geometry = replace(GEOMETRY, srgr=geocode.SlantToGround(times, origin, coefficients, mode))
    nodes = geocode.make_nodes(geometry, grid, 0.0, 300.0)
    found = geocode.locate(nodes, geometry, height)
    lon, lat = geodesy.utm_to_geodetic(grid.pixel_centres_x()[None], grid.pixel_centres_y()[:, None], grid.epsg)
    line, pixel = s1_oracles.locate_exact(geometry, geodesy.geodetic_to_ecef(lon, lat, height))
    time_s = line * geometry.line_interval_s
    assert np.ptp(np.searchsorted(times, time_s[60])) >= 1  # more than one within a row
    assert time_s.min() < times[0]
    assert times[-1] < time_s.max()
    nearer = time_s[..., None] - (times[:-1] + times[1:]) / 2
    nearer = np.abs(nearer).min(axis=-1)
    clear = nearer > 1e-6 if mode == "nearest" else np.ones(grid.shape, bool)  # at a jump 1e-5 lines decide
    error = np.abs((found.pixel - pixel) * found.slant_step_m)[clear].max()
    print(f"{mode}: {error:.4f} m slant (limit 0.012), {clear.mean():.4f} of the pixels")
    assert clear.mean() > 0.99
    assert error < 0.012
