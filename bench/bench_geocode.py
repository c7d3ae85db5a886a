"""Geocoding core: map geometry, terrain flattening and sampling of one product, without files.

Work: from heights on a 10 m grid to gamma0 on it (positions, facet areas, their sums in radar cells, division,
bilinear sampling). The peer does the same with NumPy and SciPy in the straightforward way: exact zero Doppler for
every pixel, explicit earth-centred facets, bincount, map_coordinates. Orbit and digital numbers are made up;
compile time is reported apart. Limits are those of the acceptance table for 4 MPix on 2 threads.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from bench._bench import interleaved
from tests.synthetic_image import SyntheticImage, grid_at
from utils.science import flatten, geocode, geodesy, resample
from utils.science.grid import Grid, Window

CELL = flatten.CELL_PX


@dataclass(frozen=True)
class Work:
    """One area: geometry, heights and calibrated pixels."""

    geometry: geocode.ImageGeometry
    grid: Grid
    height_m: NDArray[np.float32]
    window: Window
    beta0: NDArray[np.float32]


def make_work(side_px: int) -> Work:
    """A square of hills with 300 m of relief and random beta0 over the image window that it needs."""
    image = SyntheticImage()
    geometry = geocode.image_geometry(image)
    grid = grid_at(image, 12.0, 870e3, side_px, side_px)
    r, c = np.meshgrid(np.arange(side_px), np.arange(side_px), indexing="ij")
    height = (200 + 150 * np.sin(r / 41.0) * np.cos(c / 53.0)).astype(np.float32)
    nodes = geocode.make_nodes(geometry, grid, float(height.min()), float(height.max()))
    position = geocode.locate(nodes, geometry, height)
    top, left = int(position.line.min()) - 4, int(position.pixel.min()) - 4
    window = Window(top, left, int(position.line.max()) - top + 6, int(position.pixel.max()) - left + 6)
    beta0 = np.random.default_rng(1).gamma(4.4, 0.05, (window.rows, window.cols)).astype(np.float32)
    return Work(geometry, grid, height, window, beta0)


def ours(work: Work) -> NDArray[np.float32]:
    """The project's chain."""
    nodes = geocode.make_nodes(work.geometry, work.grid, float(work.height_m.min()), float(work.height_m.max()))
    position = geocode.locate(nodes, work.geometry, work.height_m)
    ratio = flatten.facets(nodes, work.geometry, work.height_m, position).ratio
    area = flatten.radar_area(position, ratio, work.window).on_image(work.window)
    gamma0 = flatten.to_gamma0(work.beta0, area)
    return resample.to_map(gamma0, work.window.row, work.window.col, position.line, position.pixel, "bilinear")


def peer(work: Work) -> NDArray[np.float32]:
    """The same figures with plain array operations, every pixel exactly."""
    grid, geometry = work.grid, work.geometry
    x, y = np.meshgrid(grid.pixel_centres_x(), grid.pixel_centres_y())
    lon, lat = geodesy.utm_to_geodetic(x, y, grid.epsg)
    ground = geodesy.geodetic_to_ecef(lon, lat, work.height_m)
    time_s, slant = geocode.zero_doppler(geometry.orbit, ground, geometry.lines * geometry.line_interval_s / 2)
    line = time_s / geometry.line_interval_s
    pixel = geometry.srgr.ground_range(time_s, slant) / geometry.range_spacing_m
    down, right = (np.gradient(ground, axis=axis) for axis in (0, 1))
    look = (geometry.orbit.evaluate(time_s)[0] - ground) / slant[..., None]
    seen = np.maximum((np.cross(down, right) * look).sum(-1), 0)
    slope = (geometry.srgr.ground_range(time_s, slant + 1) - geometry.srgr.ground_range(time_s, slant - 1)) / 2
    width = geometry.range_spacing_m / slope
    share = seen / (_ground_speed(work) * geometry.line_interval_s * width) / CELL**2
    rows, cols = work.window.rows // CELL + 3, work.window.cols // CELL + 3
    v = (line - work.window.row - 1) / CELL + 1
    u = (pixel - work.window.col - 1) / CELL + 1
    i, j = np.floor(v).astype(np.int64), np.floor(u).astype(np.int64)
    total = np.zeros(rows * cols)
    for di in (0, 1):
        for dj in (0, 1):
            weight = np.abs(1 - di - (v - i)) * np.abs(1 - dj - (u - j)) * share
            total += np.bincount(((i + di) * cols + j + dj).ravel(), weight.ravel(), rows * cols)
    at_line = (np.arange(work.window.rows) - 1) / CELL + 1
    at_pixel = (np.arange(work.window.cols) - 1) / CELL + 1
    area = map_coordinates(total.reshape(rows, cols), np.meshgrid(at_line, at_pixel, indexing="ij"), order=1)
    gamma0 = work.beta0 / np.where(area >= flatten.MIN_RATIO, area, np.nan)
    return np.asarray(
        map_coordinates(gamma0, [line - work.window.row, pixel - work.window.col], order=1, cval=np.nan),
        dtype=np.float32,
    )


def _ground_speed(work: Work) -> float:
    """Azimuth speed of the beam on level ground in the middle of the area, m/s, by differences over 100 m."""
    grid, d = work.grid, 50.0
    x, y = float(grid.pixel_centres_x().mean()), float(grid.pixel_centres_y().mean())
    lon, lat = geodesy.utm_to_geodetic(x + np.array([d, -d, 0, 0]), y + np.array([0, 0, d, -d]), grid.epsg)
    ground = geodesy.geodetic_to_ecef(lon, lat, 200.0)
    time_s, slant = geocode.zero_doppler(work.geometry.orbit, ground, 12.0)
    normal = np.cross(ground[0] - ground[1], ground[2] - ground[3])
    look = work.geometry.orbit.evaluate(time_s.mean())[0] - ground.mean(0)
    cosine = normal @ look / np.linalg.norm(normal) / np.linalg.norm(look)
    crossed = (time_s[0] - time_s[1]) * (slant[2] - slant[3]) - (time_s[2] - time_s[3]) * (slant[0] - slant[1])
    return float(np.linalg.norm(normal) * np.sqrt(1 - cosine**2) / abs(crossed))


def figures() -> list[dict[str, Any]]:
    """Seconds for 4 MPix, throughput against the peer on 1 MPix, agreement of the two."""
    small, large = make_work(1000), make_work(2000)
    begin = time.perf_counter()
    mine = ours(small)
    first_s = time.perf_counter() - begin
    theirs = peer(small)
    inner = (slice(60, -60), slice(60, -60))
    median_db = float(np.nanmedian(np.abs(10 * np.log10(mine[inner] / theirs[inner]))))
    fast_s, slow_s, ratio = interleaved(lambda: ours(small), lambda: peer(small), rounds=3)
    runs = []
    for _ in range(3):
        begin = time.perf_counter()
        ours(large)
        runs.append(time.perf_counter() - begin)
    mpix = large.height_m.size / 1e6
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    def figure(name: str, value: float, unit: str, limit: float | None, better: str) -> dict[str, Any]:
        return {"name": name, "value": value, "unit": unit, "limit": limit, "better": better}

    return [
        figure("geocode_flatten_sample_4mpix", sorted(runs)[1], "s", 2.0, "lower"),
        figure("geocode_throughput", mpix / sorted(runs)[1], "MPix/s", 2.0, "higher"),
        figure("geocode_ratio_to_exact_numpy", ratio, "times", 5.0, "higher"),
        figure("geocode_peer_throughput", small.height_m.size / 1e6 / slow_s, "MPix/s", None, "higher"),
        figure("geocode_throughput_1mpix", small.height_m.size / 1e6 / fast_s, "MPix/s", None, "higher"),
        figure("geocode_difference_to_peer", median_db, "dB", 0.05, "lower"),
        figure("geocode_first_call", first_s, "s", None, "lower"),
        figure("geocode_peak_memory_with_peer", peak_gib, "GiB", None, "lower"),
    ]
