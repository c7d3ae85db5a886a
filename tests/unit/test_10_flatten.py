"""Terrain flattening: flat-ground identity, explicit facets, energy, determinism."""

import numpy as np
import pytest

from tests.synthetic_image import SyntheticImage, grid_at
from utils.science import flatten, geocode, geodesy
from utils.science.grid import Window
from utils.science.threads import use_threads

IMAGE = SyntheticImage()
GEOMETRY = geocode.image_geometry(IMAGE)


def _db(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power)


def _flat(range_m: float, height_m: float, spacing: flatten.AzimuthSpacing) -> tuple[np.ndarray, float]:
    """sim * tan(incidence) in the middle of a flat area, and the incidence in degrees."""
    grid = grid_at(IMAGE, 12.0, range_m, 360, 360)
    height = np.full(grid.shape, height_m, np.float32)
    nodes = geocode.make_nodes(GEOMETRY, grid, height_m, height_m)
    position = geocode.locate(nodes, GEOMETRY, height)
    seen = flatten.facets(nodes, GEOMETRY, height, position, azimuth_spacing=spacing)
    window = Window(int(position.line[180, 180]) - 60, int(position.pixel[180, 180]) - 60, 120, 120)
    cosine = geocode.ellipsoid_cos_incidence(nodes, height)
    line, pixel = position.line, position.pixel
    inside = (abs(line - window.row - 60) < 60) & (abs(pixel - window.col - 60) < 60)
    tangent = np.sqrt(1 / cosine[inside].mean() ** 2 - 1)
    return flatten.radar_area(position, seen.ratio, window).on_image(window) * tangent, float(
        np.degrees(np.arccos(cosine[inside].mean()))
    )


@pytest.mark.parametrize("range_m", [830e3, 880e3, 940e3])
@pytest.mark.parametrize("height_m", [0.0, 1000.0])
def test_flat_ground_gives_the_cotangent(range_m: float, height_m: float) -> None:
    product, incidence = _flat(range_m, height_m, "ground")
    mean, ripple = float(_db(product.mean())), np.ptp(np.percentile(_db(product), [1, 99]))
    print(f"{incidence:.1f} deg, {height_m:.0f} m: {mean:+.5f} dB (limit 0.002), ripple {ripple:.3f} dB (limit 0.15)")
    assert abs(mean) < 0.002
    assert ripple < 0.15


def test_nominal_spacing_shows_up_as_its_excess() -> None:
    """The image's nominal 10 m is 10.2 m on the ground here: sim is larger by that ratio, and by nothing else."""
    ground, _ = _flat(880e3, 0.0, "ground")
    nominal, _ = _flat(880e3, 0.0, "nominal")
    a, b = IMAGE.ground_point(np.array([11.995, 12.005]), np.array([880e3, 880e3]))
    true_spacing_m = float(np.linalg.norm(b - a)) / 0.01 * IMAGE.line_interval_s
    excess, expected = float(_db(nominal.mean() / ground.mean())), float(_db(np.array(true_spacing_m / 10.0)))
    print(f"nominal spacing: {excess:+.5f} dB, by the forward model {expected:+.5f} (limit 0.0005)")
    assert excess == pytest.approx(expected, abs=5e-4)


def _hills(shape: tuple[int, int], amplitude_m: float) -> np.ndarray:
    r, c = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    return (amplitude_m * (1.1 + np.sin(r / 29.0) * np.cos(c / 37.0))).astype(np.float32)


def test_area_formula_equals_explicit_facets() -> None:
    """Two triangles per cell in earth-centred coordinates against c0 + c1 dh/dx + c2 dh/dy, on tilted planes."""
    grid = grid_at(IMAGE, 12.0, 870e3, 40, 50)
    x, y = np.meshgrid(grid.pixel_centres_x() - grid.x0, grid.pixel_centres_y() - grid.y0)
    errors = []
    for hx, hy in [(0.0, 0.0), (0.25, -0.1), (-0.3, 0.2), (0.1, 0.35)]:
        height = (400.0 + hx * x + hy * y).astype(np.float32)
        nodes = geocode.make_nodes(GEOMETRY, grid, float(height.min()), float(height.max()), 8)
        position = geocode.locate(nodes, GEOMETRY, height)
        area = flatten.facets(nodes, GEOMETRY, height, position, areas=True).area_m2
        assert area is not None
        corners = []
        for dx, dy in [(-5, 5), (5, 5), (5, -5), (-5, -5)]:
            cx, cy = x + dx, y + dy
            lon, lat = geodesy.utm_to_geodetic(cx + grid.x0, cy + grid.y0, grid.epsg)
            corners.append(geodesy.geodetic_to_ecef(lon, lat, 400.0 + hx * cx + hy * cy))
        nw, ne, se, sw = corners
        normal = 0.5 * (np.cross(sw - nw, ne - nw) + np.cross(ne - se, sw - se))
        centre = 0.25 * (nw + ne + se + sw)
        time, slant = geocode.zero_doppler(GEOMETRY.orbit, centre, 12.0)
        look = (GEOMETRY.orbit.evaluate(time)[0] - centre) / slant[..., None]
        explicit = (normal * look).sum(-1)
        errors.append(_db(area[1:-1, 1:-1] / explicit[1:-1, 1:-1]))
    low, high = np.percentile(np.concatenate([e.ravel() for e in errors]), [1, 99])
    print(f"area formula against facets: p1 {low:+.2e}, p99 {high:+.2e} dB (limit 1e-4)")
    assert max(abs(low), abs(high)) < 1e-4


def test_local_incidence_of_flat_ground_is_the_ellipsoid_one() -> None:
    grid = grid_at(IMAGE, 12.0, 870e3, 40, 50)
    height = np.full(grid.shape, 300.0, np.float32)
    nodes = geocode.make_nodes(GEOMETRY, grid, 300.0, 300.0)
    position = geocode.locate(nodes, GEOMETRY, height)
    cosine = flatten.facets(nodes, GEOMETRY, height, position, incidence=True).cos_incidence
    assert cosine is not None
    assert np.abs(cosine - geocode.ellipsoid_cos_incidence(nodes, height)).max() < 1e-6


def test_local_incidence_of_a_slope_facing_the_sensor() -> None:
    grid = grid_at(IMAGE, 12.0, 870e3, 40, 50)
    flat = geocode.make_nodes(GEOMETRY, grid, 0.0, 600.0)
    toward = flat.values[0, 0, 1, 7:9]
    tilt = np.radians(15.0)
    x, y = np.meshgrid(grid.pixel_centres_x() - grid.x0, grid.pixel_centres_y() - grid.y0)
    height = (300.0 - np.tan(tilt) * (toward[0] * x + toward[1] * y)).astype(np.float32)
    nodes = geocode.make_nodes(GEOMETRY, grid, float(height.min()), float(height.max()))
    position = geocode.locate(nodes, GEOMETRY, height)
    local = flatten.facets(nodes, GEOMETRY, height, position, incidence=True).cos_incidence
    assert local is not None
    plain = np.degrees(np.arccos(geocode.ellipsoid_cos_incidence(nodes, height)))
    difference = plain - np.degrees(np.arccos(local))
    assert difference[5:-5, 5:-5] == pytest.approx(15.0, abs=0.05)  # UTM's scale is not 1 there


def test_scatter_keeps_the_sum_and_does_not_depend_on_threads() -> None:
    grid = grid_at(IMAGE, 12.0, 900e3, 300, 280)
    height = _hills(grid.shape, 150.0)
    nodes = geocode.make_nodes(GEOMETRY, grid, float(height.min()), float(height.max()))
    results = []
    try:
        for threads in (1, 2):
            use_threads(threads)
            position = geocode.locate(nodes, GEOMETRY, height)
            seen = flatten.facets(nodes, GEOMETRY, height, position)
            line, pixel = position.line, position.pixel
            window = Window(int(line.min()) - 9, int(pixel.min()) - 9, int(np.ptp(line)) + 20, int(np.ptp(pixel)) + 20)
            results.append(flatten.radar_area(position, seen.ratio, window).ratio)
    finally:
        use_threads(0)
    assert results[0].tobytes() == results[1].tobytes()
    assert results[0].sum() * flatten.CELL_PX**2 == pytest.approx(float(seen.ratio.sum(dtype=float)), rel=1e-9)


def test_radar_area_of_a_part_equals_the_part() -> None:
    grid = grid_at(IMAGE, 12.0, 900e3, 200, 200)
    height = _hills(grid.shape, 100.0)
    nodes = geocode.make_nodes(GEOMETRY, grid, float(height.min()), float(height.max()))
    position = geocode.locate(nodes, GEOMETRY, height)
    ratio = flatten.facets(nodes, GEOMETRY, height, position).ratio
    row, col = int(position.line[100, 100]), int(position.pixel[100, 100])
    big = flatten.radar_area(position, ratio, Window(row - 50, col - 50, 100, 100)).on_image(
        Window(row - 10, col - 7, 20, 14)
    )
    small = flatten.radar_area(position, ratio, Window(row - 10, col - 7, 20, 14)).on_image(
        Window(row - 10, col - 7, 20, 14)
    )
    assert big.tobytes() == small.tobytes()


def test_to_gamma0() -> None:
    beta, ratio = np.array([[0.2, -0.1, 0.3, 0.4]], np.float32), np.array([[2.0, 1.0, 0.04, np.nan]], np.float32)
    out = flatten.to_gamma0(beta, ratio)
    assert out[0, :2].tolist() == pytest.approx([0.1, -0.1])
    assert np.isnan(out[0, 2:]).all()
