"""Real annotation, calibration and noise of three processor generations: geometry, tables, orbit, honest errors.

Limits come from measurements on these products; the figure is printed beside each (pytest -s).
"""

from __future__ import annotations

import os
import shutil
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import s1_oracles
from tests.ground import Ground, Pixels, run
from utils.io import safe_s1
from utils.io.safe import open_product
from utils.io.safe_s1_pixels import Measurement
from utils.science import calibrate, flatten, geocode, geodesy
from utils.science.grid import Grid, Window
from utils.workflow.errors import InputError

DATA = os.environ.get("S2CR_DATA")
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA, reason="S2CR_DATA is not set: the folder of real sample products"),
]

S1B_2021 = "S1B_IW_GRDH_1SDV_20211223T051122_20211223T051147_030148_039993_5371.SAFE.zip"
S1A_2021 = "S1A_IW_GRDH_1SDV_20210809T173953_20210809T174018_039156_049F13_6FF8.SAFE.zip"
S1A_2015 = "S1A_IW_GRDH_1SDV_20150222T170725_20150222T170750_004739_005DD8_CEAB.zip"
S1B_2018 = "S1B_IW_GRDH_1SDV_20180813T054020_20180813T054045_012240_0168D6_B775.SAFE.zip"


def _path(name: str) -> Path:
    return Path(DATA or "") / "sentinel1" / name


@cache
def _annotation(name: str, polarisation: str = "VV") -> safe_s1.Annotation:
    with open_product(_path(name)) as product:
        return safe_s1.read_annotation(product, safe_s1.find_members(product)[polarisation].annotation)


@cache
def _tables(name: str, polarisation: str) -> tuple[dict[str, safe_s1.Vectors], safe_s1.Noise]:
    with open_product(_path(name)) as product:
        members = safe_s1.find_members(product)[polarisation]
        assert members.calibration and members.noise
        tables = {
            q: safe_s1.read_calibration(product, members.calibration, q) for q in ("betaNought", "sigmaNought", "gamma")
        }
        return tables, safe_s1.read_noise(product, members.noise)


@pytest.mark.parametrize(
    ("name", "azimuth_m", "slant_m", "nearest_px", "linear_px"),
    [
        (S1B_2021, 0.02, 0.001, 0.02, 0.60),
        (S1A_2021, 0.6, 0.001, 0.02, 0.45),
        (S1B_2018, 0.3, 0.001, 0.02, 0.20),
        (S1A_2015, 2.0, 0.001, 4.5, 4.5),  # its grid and its own range polynomials disagree: regression only
    ],
)
def test_geolocation_grid(name: str, azimuth_m: float, slant_m: float, nearest_px: float, linear_px: float) -> None:
    note = _annotation(name)
    points = geodesy.geodetic_to_ecef(note.grid_lon_deg, note.grid_lat_deg, note.grid_height_m)
    geometry = geocode.image_geometry(note)
    time, slant = geocode.zero_doppler(geometry.orbit, points, 12.0)
    given = (note.grid_time - note.first_line_time).astype("timedelta64[ns]").astype(np.int64) * 1e-9
    azimuth = np.abs(time - given).max() * note.azimuth_spacing_m / note.line_interval_s
    range_error = np.abs(slant - note.grid_range_m).max()
    pixel: dict[str, float] = {}
    for mode in ("nearest", "linear"):
        srgr = geocode.image_geometry(note, mode).srgr  # type: ignore[arg-type]
        pixel[mode] = np.abs(srgr.ground_range(time, slant) / note.range_spacing_m - note.grid_pixel).max()
    lines = np.abs(time / note.line_interval_s - note.grid_line).max()
    print(
        f"{name[:25]} {len(points)} points: azimuth {azimuth:.4f} m (limit {azimuth_m}), slant {range_error:.6f} m ({slant_m}), "
        f"pixel nearest {pixel['nearest']:.4f} ({nearest_px}), linear {pixel['linear']:.3f} ({linear_px}), line {lines:.3f}"
    )
    assert len(points) == 210
    assert azimuth < azimuth_m
    assert range_error < slant_m
    assert pixel["nearest"] < nearest_px
    assert pixel["linear"] < linear_px
    assert lines < 0.25 or name == S1A_2015


@pytest.mark.parametrize(
    ("name", "count", "degree", "limit_m"),
    [(S1B_2021, 16, 8, 1e-4), (S1A_2021, 16, 8, 0.002), (S1B_2018, 17, 8, 1e-4), (S1A_2015, 28, 5, 0.01)],
)
def test_orbit_fit(name: str, count: int, degree: int, limit_m: float) -> None:
    note = _annotation(name)
    orbit = geocode.image_geometry(note).orbit
    print(f"{name[:25]}: {len(note.orbit_times)} vectors, degree {len(orbit.coefficients) - 1}, residual {orbit.position_residual_m:.6f} m "
          f"(limit {limit_m}), {orbit.velocity_residual_m_s:.5f} m/s (limit 0.1)")  # fmt: skip
    assert (len(note.orbit_times), len(orbit.coefficients) - 1) == (count, degree)
    assert orbit.position_residual_m < limit_m
    assert orbit.velocity_residual_m_s < 0.1
    last = (note.last_line_time - note.first_line_time).astype(np.int64) * 1e-9
    orbit.evaluate(np.array([0.0, last]))  # the scene is covered


CALIBRATION = [
    (S1B_2021, "VV", 0, 0, 473.9733, 663.8558, 615.7493, 2593.864, 1.09179),
    (S1B_2021, "VV", 8000, 100, 473.9733, 663.1686, 614.8876, 2538.541, 1.02695),
    (S1B_2021, "VV", 8000, 15000, 473.9733, 590.9670, 517.1061, 783.4001, 1.06058),
    (S1B_2021, "VV", 16000, 25000, 473.9733, 561.1968, 469.8160, 709.2036, 1.06804),
    (S1A_2021, "VV", 0, 0, 474.0, 662.8682, 614.4983, 2489.0074, 1.04049),
    (S1A_2021, "VH", 0, 0, 474.0, 662.8682, 614.4983, 2790.3851, 1.03485),
    (S1A_2021, "VV", 8000, 15000, 474.0, 589.8752, 515.4525, 784.2488, 1.02608),
    (S1A_2021, "VH", 8000, 15000, 474.0, 589.8752, 515.4525, 875.5073, 1.02331),
    (S1A_2021, "VV", 16000, 25000, 474.0, 560.4483, 468.5099, 1016.438, 1.02374),
    (S1A_2021, "VH", 16000, 25000, 474.0, 560.4483, 468.5099, 1086.6443, 1.02349),
    (S1A_2015, "VV", 8000, 15000, 474.0, 589.5997, 515.0393, None, None),
]


@pytest.mark.parametrize("row", CALIBRATION, ids=lambda r: f"{r[0][:3]}-{r[0][17:21]}-{r[1]}-{r[2]}-{r[3]}")
def test_calibration_and_noise_points(row: tuple[Any, ...]) -> None:
    name, polarisation, line, pixel, beta, sigma, gamma, eta, azimuth = row
    tables, noise = _tables(name, polarisation)
    at = Window(line, pixel, 1, 1)
    found = [float(calibrate.table_on_image(tables[q], at)[0, 0]) for q in ("betaNought", "sigmaNought", "gamma")]
    in_use = [float(s1_oracles.table_in_use(tables[q], at)[0, 0]) for q in ("betaNought", "sigmaNought", "gamma")]
    level = float(calibrate.noise_on_image(noise, at)[0, 0])
    taken_off, missing = s1_oracles.noise_in_use(noise, at)
    print(
        f"the lines' tables {in_use} (limit 1e-4), noise taken off {taken_off[0, 0]:.4f} (limit 1e-3)\n"
        f"betaNought, sigmaNought, gamma {found} expected {[beta, sigma, gamma]} (limit 1e-4, below 1e-6 relative); "
        f"noise {level:.4f} expected {eta} (limit 1e-3, below 1e-4 relative)"
    )
    assert found == pytest.approx([beta, sigma, gamma], abs=1.01e-4)
    assert in_use == pytest.approx([beta, sigma, gamma], abs=1.01e-4)
    if eta is None:
        assert np.isnan(level)
        assert (float(taken_off[0, 0]), missing) == (0.0, 1.0)
        assert not calibrate.has_noise(noise)
        return
    assert level == pytest.approx(eta, abs=1e-3)
    without = safe_s1.Noise(noise.range_vectors, ())
    factor = level / float(calibrate.noise_on_image(without, at)[0, 0])
    factor_in_use = float(taken_off[0, 0] / s1_oracles.noise_in_use(without, at)[0][0, 0])
    print(f"azimuth factor {factor:.5f}, of the lines {factor_in_use:.5f}, expected {azimuth} (limit 1e-5)")
    assert (float(taken_off[0, 0]), missing) == (pytest.approx(eta, abs=1e-3), 0.0)
    assert [factor, factor_in_use] == pytest.approx([azimuth] * 2, abs=1.01e-5)


def test_noise_states_of_three_generations() -> None:
    states = {}
    for name in (S1B_2021, S1A_2021, S1B_2018, S1A_2015):
        with open_product(_path(name)) as product:
            ipf = safe_s1.ipf_of(product)
        states[ipf] = calibrate.noise_state(ipf, _tables(name, "VV")[1], _annotation(name).noise_removed, True)
    assert states == {(3, 40): "yes", (3, 31): "yes", (2, 91): "yes", (2, 36): "no_data"}


def test_beta0_of_the_hand_computed_pixels() -> None:
    for name, number, raw, denoised in [
        (S1B_2021, 91, 0.03686167, 0.03337448),
        (S1A_2021, 57, 0.01446082, 0.01097025),
        (S1A_2021, 20, None, -0.00171024),
    ]:
        tables, noise = _tables(name, "VV")
        at = Window(8000, 15000, 1, 1)
        dn = np.array([[number]], np.uint16)
        kept, removed = (
            float(s1_oracles.power_at(dn, tables["betaNought"], table, at)[0, 0]) for table in (None, noise)
        )
        print(
            f"{name[:3]} DN {number}: {kept:.8f} expected {raw}, noise removed {removed:.8f} expected {denoised} (limit 6e-9)"
        )
        assert removed == pytest.approx(denoised, abs=6e-9)
        assert raw is None or kept == pytest.approx(raw, abs=6e-9)


@pytest.mark.parametrize("range_share", [0.9, 0.5, 0.18])
@pytest.mark.parametrize("height_m", [0.0, 1000.0])
def test_flat_terrain_identity(range_share: float, height_m: float) -> None:
    """Mean sim tan(theta) is 1 with the true ground speed; the nominal spacing adds its known excess."""
    note = _annotation(S1B_2021)
    geometry = geocode.image_geometry(note)
    middle = np.abs(note.grid_line - note.lines / 2) + np.abs(note.grid_pixel - range_share * note.samples)
    k = int(np.argmin(middle))
    lon, lat = note.grid_lon_deg[k], note.grid_lat_deg[k]
    epsg = 32600 + int((lon + 180) // 6) + 1
    x, y = geodesy.geodetic_to_utm(lon, lat, epsg)
    grid = Grid(epsg, round(float(x) / 20) * 20 - 2000.0, round(float(y) / 20) * 20 + 2000.0, 10.0, -10.0, 400, 400)
    height = np.full(grid.shape, height_m, np.float32)
    nodes = geocode.make_nodes(geometry, grid, height_m, height_m)
    position = geocode.locate(nodes, geometry, height)
    window = Window(int(position.line[200, 200]) - 75, int(position.pixel[200, 200]) - 75, 150, 150)
    inside = (abs(position.line - window.row - 75) < 75) & (abs(position.pixel - window.col - 75) < 75)
    cosine = float(geocode.ellipsoid_cos_incidence(nodes, height)[inside].mean(dtype=float))
    tangent = np.sqrt(1 / cosine**2 - 1)
    found: dict[str, float] = {}
    for spacing in ("nominal", "ground"):
        ratio = flatten.facets(nodes, geometry, height, position, azimuth_spacing=spacing).ratio  # type: ignore[arg-type]
        area = flatten.radar_area(position, ratio, window).on_image(window)
        found[spacing] = float(10 * np.log10(area.mean(dtype=float) * tangent))
    ripple = float(np.ptp(10 * np.log10(np.percentile(area, [1, 99]))))
    incidence = np.degrees(np.arccos(cosine))
    # measured before by another program on this product: +0.048, +0.061, +0.069 dB at 44.0, 37.6, 32.9 degrees
    excess = float(np.polyval(np.polyfit([44.0, 37.6, 32.9], [0.048, 0.061, 0.069], 1), incidence))
    print(
        f"{incidence:.1f} deg, {height_m:.0f} m: {found['ground']:+.5f} dB (limit 0.002), nominal {found['nominal']:+.4f} (expected {excess:.4f}, limit 0.005), "
        f"ripple p1 to p99 {ripple:.3f} dB (limit 0.15)"
    )
    assert ripple < 0.15
    assert abs(found["ground"]) < 0.002
    assert found["nominal"] == pytest.approx(excess, abs=0.005)


def test_missing_files_of_real_products_are_named() -> None:
    with open_product(_path(S1B_2021)) as product:  # its manifest promises VH, its files are not there
        with pytest.raises(InputError, match="polarisation VH is missing; the product holds VV"):
            safe_s1.require(product, ("VV", "VH"), "size")
        with pytest.raises(InputError, match=r"has \d+ bytes, manifest.safe says \d+"):  # replaced by a blank image
            safe_s1.require(product, ("VV",), "size")
        assert list(safe_s1.require(product, ("VV",), "off")) == ["VV"]
    with open_product(_path(S1A_2021)) as product, pytest.raises(InputError, match=r"measurement.* has 0 bytes"):
        safe_s1.require(product, ("VV", "VH"), "size")


def test_pixels_of_a_real_measurement(tmp_path: Path) -> None:
    with open_product(_path(S1B_2021)) as product:
        member = safe_s1.find_members(product)["VV"].measurement
        assert member
        with Measurement(product, member, 16705, 26102) as read:
            dn = read(Window(16600, 26000, 105, 102))
        assert (dn.shape, dn.dtype) == ((105, 102), np.uint16)
        with pytest.raises(InputError, match="16705 x 26102 pixels, its annotation says 16706 x 26102"):
            Measurement(product, member, 16706, 26102)


def test_unpacked_folder_reads_the_same(tmp_path: Path) -> None:
    with zipfile.ZipFile(_path(S1B_2021)) as archive:
        wanted = [n for n in archive.namelist() if n.endswith((".xml", ".safe"))]
        archive.extractall(tmp_path, wanted)
    folder = next(tmp_path.glob("*.SAFE"))
    with open_product(folder) as product:
        note = safe_s1.read_annotation(product, safe_s1.find_members(product)["VV"].annotation)
    zipped = _annotation(S1B_2021)
    assert note.orbit_position_m.tobytes() == zipped.orbit_position_m.tobytes()
    assert (note.orbit_source, note.lines, note.samples, note.direction) == ("Auxiliary", 16705, 26102, "descending")
    shutil.rmtree(folder)


def test_real_terrain_end_to_end_with_made_up_pixels(tmp_path: Path) -> None:
    """Rome: real annotation, tables and heights; pixels are gamma0 0.1 times the area ratio, plus thermal noise."""
    from utils.io import raster
    from utils.io.dem import read_heights
    from utils.science import s1_chain

    note, (tables, noise) = _annotation(S1B_2021), _tables(S1B_2021, "VV")
    geometry, options = geocode.image_geometry(note), s1_chain.Options(speckle="none")
    grid, inner = Grid(32633, 291_000.0, 4_653_000.0, 10.0, -10.0, 360, 360), Window(60, 60, 240, 240)
    geoid = Grid(4326, 12.0, 43.0, 0.25, -0.25, 8, 8)
    raster.write(tmp_path / "geoid.tif", np.full(geoid.shape, 48.613, np.float32), geoid)
    heights = read_heights(Path(DATA or "") / "dem" / "Rome-30m-DEM.tif", grid, geoid_grid=tmp_path / "geoid.tif")
    nodes = geocode.make_nodes(geometry, grid, float(heights.height_m.min()), float(heights.height_m.max()))
    assert s1_chain.coverage_share(nodes, geometry) == 1.0
    assert s1_chain.margin_px(nodes, float(np.ptp(heights.height_m))) <= 60
    position = geocode.locate(nodes, geometry, heights.height_m)
    lon, lat = geodesy.utm_to_geodetic(grid.pixel_centres_x()[None], grid.pixel_centres_y()[:, None], grid.epsg)
    line, pixel = s1_oracles.locate_exact(geometry, geodesy.geodetic_to_ecef(lon, lat, heights.height_m))
    errors = np.abs(position.line - line).max(), np.abs((position.pixel - pixel) * position.slant_step_m).max()
    print(f"nodes against Newton: {errors[0]:.1e} lines (limit 2e-5), {errors[1]:.4f} m slant (limit 0.012)")
    assert errors[0] < 2e-5
    assert errors[1] < 0.012
    limits = float(heights.height_m.min()), float(heights.height_m.max())
    plan = s1_chain.plan(geometry, grid, inner, Ground(heights.height_m), limits, options)
    window = plan.image_window
    assert window is not None and plan.area is not None
    beta, eta = calibrate.table_on_image(tables["betaNought"], window), calibrate.noise_on_image(noise, window)
    dn = np.round(np.sqrt(0.1 * plan.area.on_image(window) * beta**2 + np.nan_to_num(eta))).astype(np.uint16)
    channel = s1_chain.Channel(Pixels(plan, dn), tables["betaNought"], noise)
    gamma0 = run(plan, {"VV": channel}).gamma0["VV"]
    print(
        f"gamma0 {np.nanmedian(gamma0):.5f} (made as 0.1), p1 {np.nanpercentile(gamma0, 1):.4f}, p99 {np.nanpercentile(gamma0, 99):.4f}"
    )
    assert np.nanmedian(gamma0) == pytest.approx(0.1, rel=2e-3)
    assert np.nanpercentile(np.abs(gamma0 / 0.1 - 1), 99) < 0.01
