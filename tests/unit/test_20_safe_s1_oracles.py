"""Real annotation against independent computations: orbit degrees, nodes on relief, annotated angles, real pixels.

The figure is printed beside each limit (pytest -s).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests import s1_oracles
from tests.unit.test_20_safe_s1_real import DATA, S1A_2015, S1A_2021, S1B_2018, S1B_2021, _annotation, _tables
from utils.io import raster
from utils.io.dem import read_heights
from utils.science import calibrate, flatten, geocode, geodesy
from utils.science.grid import Grid, Window
from utils.science.orbit import fit_orbit

needs_data = pytest.mark.skipif(not DATA, reason="S2CR_DATA is not set: the folder of real sample products")
EGM96 = os.environ.get("S2CR_EGM96")
# largest difference in a coordinate to 16 state vectors of 10 s spacing, m, by the degree of the fit
DEGREES = {
    3: 1.45,
    4: 0.0095,
    5: 0.00065,
}  # 1.4, 0.009, 0.0006 before rounding; the noise of the vectors themselves remains


@pytest.mark.realdata
@needs_data
@pytest.mark.parametrize("name", [S1B_2021, S1A_2021])
def test_orbit_residual_by_degree(name: str) -> None:
    """Degree 8 is enough and degree 3 is not; the fit of the chain predicts a vector that it has not seen."""
    note = _annotation(name)
    time_s = (note.orbit_times - note.orbit_times[0]).astype(np.int64) * 1e-9
    u = 2 * time_s / time_s[-1] - 1
    for degree, limit_m in DEGREES.items():
        powers = np.polynomial.polynomial.polyvander(u, degree)
        solution = np.linalg.lstsq(powers, note.orbit_position_m, rcond=None)[0]
        residual_m = np.abs(powers @ solution - note.orbit_position_m).max()
        print(f"{name[:25]} degree {degree}: {residual_m:.5f} m (limit {limit_m})")
        assert residual_m <= limit_m
        assert degree > 3 or residual_m > 0.5
    chain = geocode.image_geometry(note).orbit.position_residual_m
    kept = np.arange(len(time_s)) != len(time_s) // 2
    orbit = fit_orbit(
        note.orbit_times[kept], note.orbit_position_m[kept], note.orbit_velocity_m_s[kept], note.orbit_times[0]
    )
    predicted = orbit.evaluate(time_s[~kept])[0]
    missed_m = float(np.linalg.norm(predicted - note.orbit_position_m[~kept]))
    print(f"chain: {chain:.6f} m (limit 0.002); a vector left out: {missed_m:.5f} m (limit 0.002)")
    assert chain <= 0.002
    assert missed_m <= 0.002


def _grid_near(name: str, range_share: float, size_px: int) -> Grid:
    """A square of 10 m pixels in the middle of the product in azimuth, at a share of its width."""
    note = _annotation(name)
    nearest = np.abs(note.grid_line - note.lines / 2) + np.abs(note.grid_pixel - range_share * note.samples)
    k = int(np.argmin(nearest))
    lon, lat = note.grid_lon_deg[k], note.grid_lat_deg[k]
    epsg = (32600 if lat >= 0 else 32700) + int((lon + 180) // 6) + 1
    x, y = (round(float(v) / 20) * 20.0 for v in geodesy.geodetic_to_utm(lon, lat, epsg))
    return Grid(epsg, x - 5.0 * size_px, y + 5.0 * size_px, 10.0, -10.0, size_px, size_px)


# step of the nodes: largest error in lines and in m of slant range over 1200 m of relief; 32 is what the chain uses
STEPS = {16: (1e-5, 0.005), 32: (1e-3, 0.02), 64: (1e-3, 0.05), 128: (1e-3, 0.2)}


@pytest.mark.realdata
@needs_data
@pytest.mark.parametrize("name", [S1B_2021, S1A_2021])
@pytest.mark.parametrize(("low_m", "high_m"), [(0.0, 1200.0), (0.0, 3200.0)])
def test_nodes_against_newton(name: str, low_m: float, high_m: float) -> None:
    """Interpolated positions against zero Doppler of every pixel; 3200 m of relief take five heights."""
    geometry, grid = geocode.image_geometry(_annotation(name)), _grid_near(name, 0.5, 400)
    r, c = np.meshgrid(np.arange(400), np.arange(400), indexing="ij")
    wave = 0.5 + 0.25 * (np.sin(r / 23.0) + np.cos(c / 31.0 + r / 57.0))
    height_m = (low_m + (high_m - low_m) * wave).astype(np.float32)
    lon, lat = geodesy.utm_to_geodetic(grid.pixel_centres_x()[None], grid.pixel_centres_y()[:, None], grid.epsg)
    line, pixel = s1_oracles.locate_exact(geometry, geodesy.geodetic_to_ecef(lon, lat, height_m))
    for step_px, (line_limit, slant_limit) in STEPS.items():
        nodes = geocode.make_nodes(geometry, grid, float(height_m.min()), float(height_m.max()), step_px)
        position = geocode.locate(nodes, geometry, height_m)
        lines = float(np.abs(position.line - line).max())
        slant_m = float(np.abs((position.pixel - pixel) * position.slant_step_m).max())
        print(f"{name[:25]} relief {np.ptp(height_m):.0f} m, {len(nodes.heights_m)} heights, step {step_px}: {lines:.1e} lines "
              f"(limit {line_limit}), {slant_m:.4f} m slant (limit {slant_limit})")  # fmt: skip
        assert lines < line_limit
        assert slant_m < slant_limit


@pytest.mark.realdata
@needs_data
@pytest.mark.parametrize("range_share", [0.9, 0.5, 0.18])
def test_flat_ground_against_the_annotated_angles(range_share: float) -> None:
    """(gamma table / beta table)^2 is cot(incidence) by the processor; its angles include the mean terrain height."""
    name = S1B_2021
    note, tables = _annotation(name), _tables(name, "VV")[0]
    geometry, grid = geocode.image_geometry(note), _grid_near(name, range_share, 400)
    height = np.full(grid.shape, float(np.median(note.grid_height_m)), np.float32)
    nodes = geocode.make_nodes(geometry, grid, float(height[0, 0]), float(height[0, 0]))
    position = geocode.locate(nodes, geometry, height)
    window = Window(int(position.line[200, 200]) - 60, int(position.pixel[200, 200]) - 60, 120, 120)
    ratio = flatten.facets(nodes, geometry, height, position).ratio
    area = flatten.radar_area(position, ratio, window).on_image(window).mean(dtype=float)
    beta, gamma = (calibrate.table_on_image(tables[q], window).mean() for q in ("betaNought", "gamma"))
    difference_db = 10 * np.log10(area / (gamma / beta) ** 2)
    print(f"area ratio over (gamma/betaNought)^2 at {range_share} of the width: {difference_db:+.4f} dB (limit 0.05)")
    assert abs(difference_db) < 0.05


@pytest.mark.realdata
@needs_data
@pytest.mark.parametrize(
    ("polarisation", "mean_dn", "largest_dn", "expected_db"),
    [("VV", 224.44, 2759, (-13.2, -8.4, -5.1)), ("VH", 101.46, 730, (-25.6, -14.8, -11.8))],
)
@pytest.mark.parametrize("table_of", [S1B_2018, S1A_2021, S1A_2015])
def test_real_pixels_with_a_real_table(
    polarisation: str, mean_dn: float, largest_dn: int, expected_db: tuple[float, ...], table_of: str
) -> None:
    """Digital numbers of S1A 2018-07-16 with the sigma nought table of another product: a composition of two
    products, possible because these tables agree within 0.04 dB."""
    path = Path(DATA or "") / "sentinel1" / "grd_2018_reduced" / f"iw-{polarisation.lower()}.tiff"
    dn = raster.read(path)[0]
    assert dn.mean() == pytest.approx(mean_dn, abs=0.005)
    assert dn.max() == largest_dn
    note, table = _annotation(table_of, polarisation), _tables(table_of, polarisation)[0]["sigmaNought"]
    rows, cols = (
        ((np.arange(n) + 0.5) * full / n).astype(int)
        for n, full in zip(dn.shape, (note.lines, note.samples), strict=True)
    )
    nought = np.concatenate(
        [calibrate.table_on_image(table, Window(int(r), 0, 1, note.samples))[:, cols] for r in rows]
    )
    sigma0_db = 10 * np.log10(s1_oracles.beta0(dn, nought, None))
    found = np.nanpercentile(sigma0_db, [5, 50, 95])
    print(f"{polarisation} with the table of {table_of[:25]}: {found.round(3)} dB, expected {expected_db} (limit 0.1)")
    assert found == pytest.approx(expected_db, abs=0.1)


@pytest.mark.skipif(not EGM96, reason="S2CR_EGM96 is not set: an EGM96 undulation grid of 15 minutes")
@pytest.mark.parametrize(
    ("lon", "lat", "undulation_m"),
    [(12.5, 42.0, 48.613), (137.2, -35.8, -5.496), (149.1, -35.3, 19.409), (0.0, 0.0, 17.162), (86.9, 27.99, -28.770)],
)
def test_geoid_reference_points(tmp_path: Path, lon: float, lat: float, undulation_m: float) -> None:
    """Sea level above the ellipsoid, through the reader of heights."""
    epsg = (32600 if lat >= 0 else 32700) + int((lon + 180) // 6) + 1
    x, y = (float(v) for v in geodesy.geodetic_to_utm(lon, lat, epsg))
    grid = Grid(epsg, x - 15.0, y + 15.0, 10.0, -10.0, 3, 3)
    zero = Grid(epsg, x - 500.0, y + 500.0, 10.0, -10.0, 100, 100)
    raster.write(tmp_path / "sea.tif", np.zeros(zero.shape, np.float32), zero)
    found = float(read_heights(tmp_path / "sea.tif", grid, "EGM96", Path(EGM96 or "")).height_m[1, 1])
    print(f"N({lon}, {lat}) = {found:.3f} m, expected {undulation_m} (limit 0.005)")
    assert found == pytest.approx(undulation_m, abs=0.005)
