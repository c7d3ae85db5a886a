"""The chain of one product on made-up pixels: identity, mask bits, margins, order of flattening and resampling."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tests.synthetic_image import SyntheticImage, grid_at
from utils.science import flatten, geocode, resample, s1_chain, visibility
from utils.science.grid import Grid, Window

IMAGE = SyntheticImage()
GEOMETRY = geocode.image_geometry(IMAGE)
INNER = Window(60, 60, 80, 90)
PLAIN = s1_chain.Options(speckle="none")


def _grid() -> Grid:
    return grid_at(IMAGE, 12.0, 870e3, 200, 210)


def _hills(grid: Grid, amplitude_m: float = 100.0) -> np.ndarray:
    r, c = np.meshgrid(np.arange(grid.rows), np.arange(grid.cols), indexing="ij")
    return (amplitude_m * (1 + np.sin(r / 20.0) * np.cos(c / 25.0))).astype(np.float32)


def _prepare(
    height: np.ndarray, options: s1_chain.Options = PLAIN, missing: np.ndarray | None = None
) -> s1_chain.Prepared:
    none = np.zeros(height.shape, bool) if missing is None else missing
    return s1_chain.prepare(GEOMETRY, _grid(), INNER, height, none, options)


def _channel(dn: np.ndarray, beta: float = 100.0) -> s1_chain.Channel:
    table = SimpleNamespace(
        lines=np.array([0, 20_000]), pixels=[np.array([0, 30_000])] * 2, values=[np.full(2, beta)] * 2
    )
    return s1_chain.Channel(dn.astype(np.uint16), table, None)


def test_ground_of_constant_gamma0_comes_back_constant() -> None:
    """Pixels made as gamma0 x area ratio: the chain divides by the same area and nothing else is left."""
    prepared = _prepare(_hills(_grid()))
    window = prepared.image_window
    assert window is not None and prepared.area is not None
    ratio = prepared.area.on_image(window)
    dn = np.round(1e4 * np.sqrt(0.08 * ratio))
    result = s1_chain.process(prepared, {"VV": _channel(dn, beta=1e4)}, PLAIN)
    assert result.gamma0["VV"].shape == (80, 90)
    assert result.gamma0["VV"] == pytest.approx(0.08, rel=2e-3)  # DN are whole numbers
    assert not result.mask.any()


def test_order_of_flattening_and_resampling_hardly_matters() -> None:
    prepared = _prepare(_hills(_grid()))
    window, position = prepared.image_window, prepared.position
    assert window is not None and prepared.area is not None
    ratio = prepared.area.on_image(window)
    field = gaussian_filter(np.random.default_rng(5).standard_normal(ratio.shape), 1.5)
    texture = np.exp(0.35 * field / field.std())  # 1.5 dB of pixel-scale contrast
    beta0 = (0.08 * ratio * texture).astype(np.float32)
    args = (window.row, window.col, position.line, position.pixel, "bilinear")
    before = resample.to_map(flatten.to_gamma0(beta0, ratio), *args)
    after = resample.to_map(beta0, *args) / resample.to_map(ratio, *args)
    difference = float(np.percentile(np.abs(10 * np.log10(before / after)), 99))
    print(f"flatten first against resample first: p99 {difference:.5f} dB (limit 0.05)")
    assert difference < 0.05


def test_mask_bits() -> None:
    grid, options = _grid(), PLAIN
    missing = np.zeros(grid.shape, bool)
    missing[100:103, 100:103] = True
    prepared = _prepare(_hills(grid), options, missing)
    window = prepared.image_window
    assert window is not None
    dn = np.full((window.rows, window.cols), 50)
    line, pixel = prepared.position.line[10, 20], prepared.position.pixel[10, 20]
    dn[
        int(line) - window.row - 2 : int(line) - window.row + 3,
        int(pixel) - window.col - 2 : int(pixel) - window.col + 3,
    ] = 0
    border = np.zeros(dn.shape, bool)
    line, pixel = prepared.position.line[70, 70], prepared.position.pixel[70, 70]
    border[
        int(line) - window.row - 3 : int(line) - window.row + 4,
        int(pixel) - window.col - 3 : int(pixel) - window.col + 4,
    ] = True
    result = s1_chain.process(prepared, {"VV": _channel(dn), "VH": _channel(dn)}, options, border)
    assert result.mask[10, 20] == visibility.NO_SAMPLE
    assert result.mask[70, 70] == visibility.BORDER
    assert (result.mask[40:43, 40:43] == visibility.DEM_MISSING).all()
    assert result.mask[5, 80] == 0
    for values in result.gamma0.values():
        assert np.isnan(values[10, 20]) and np.isnan(values[70, 70])
        assert np.isfinite(values[41, 41])  # filled heights keep their value and their bit
        assert ((result.mask & 22) > 0).tolist() == np.isnan(values).tolist()


def test_shadow_has_no_value_and_layover_keeps_its_own() -> None:
    grid = _grid()
    c = np.arange(grid.cols)
    height = np.tile((900 * np.exp(-(((c - 105) / 12.0) ** 2))).astype(np.float32), (grid.rows, 1))
    prepared = _prepare(height)
    window = prepared.image_window
    assert window is not None
    result = s1_chain.process(prepared, {"VV": _channel(np.full((window.rows, window.cols), 50))}, PLAIN)
    shadow, layover = (result.mask & 2) > 0, (result.mask & 1) > 0
    assert shadow.any() and layover.any()
    assert np.isnan(result.gamma0["VV"][shadow]).all()
    assert np.isfinite(result.gamma0["VV"][layover & ~shadow]).mean() > 0.95


def test_margin_grows_with_relief_and_covers_the_displacement() -> None:
    nodes = geocode.make_nodes(GEOMETRY, _grid(), 0.0, 500.0)
    angle = np.arccos(nodes.values[3, 3, 1, 6])
    flat, high = s1_chain.margin_px(nodes, 0.0), s1_chain.margin_px(nodes, 1000.0)
    assert flat == 20
    assert (high - flat) * 10.0 == pytest.approx(1000.0 * max(np.tan(angle), 1 / np.tan(angle)), rel=0.02)


def test_terrain_beyond_the_margin_does_not_change_the_area() -> None:
    """Twice the margin gives the same result: nothing outside it matters."""
    wide = grid_at(IMAGE, 12.0, 870e3, 320, 330)
    r, c = np.meshgrid(np.arange(320), np.arange(330), indexing="ij")
    height = (60 * (1 + np.sin(r / 20.0) * np.cos(c / 25.0))).astype(np.float32)
    results = []
    for margin in (45, 120):
        first = Window(120 - margin, 120 - margin, 80 + 2 * margin, 90 + 2 * margin)
        grid, part = wide.window(first), np.ascontiguousarray(height[first.slices])
        assert s1_chain.margin_px(geocode.make_nodes(GEOMETRY, grid, 0.0, 120.0), 120.0) <= 45
        prepared = s1_chain.prepare(
            GEOMETRY, grid, Window(margin, margin, 80, 90), part, np.zeros(part.shape, bool), PLAIN
        )
        window = prepared.image_window
        assert window is not None and prepared.area is not None
        position = prepared.position
        results.append(
            resample.to_map(
                prepared.area.on_image(window), window.row, window.col, position.line, position.pixel, "bilinear"
            )
        )
    assert np.abs(10 * np.log10(results[0] / results[1])).max() < 0.01


def test_coverage_and_a_product_elsewhere() -> None:
    grid = _grid()
    nodes = geocode.make_nodes(GEOMETRY, grid, 0.0, 500.0)
    assert s1_chain.coverage_share(nodes, GEOMETRY) == 1.0
    far = Grid(grid.epsg, grid.x0 - 150_000, grid.y0, 10.0, -10.0, 64, 64)
    assert s1_chain.coverage_share(geocode.make_nodes(GEOMETRY, far, 0.0, 500.0), GEOMETRY) == 0.0
    short = geocode.ImageGeometry(
        GEOMETRY.orbit,
        GEOMETRY.srgr,
        GEOMETRY.line_interval_s,
        10.0,
        10.0,
        int(nodes.values[3, 3, 1, 0] / 1.49e-3),
        25_000,
    )
    assert 0.2 < s1_chain.coverage_share(nodes, short) < 0.8


def test_fractions() -> None:
    values = np.array([[1.0, -1.0, 0.0, np.nan]], np.float32)
    assert s1_chain.fractions(values) == {"nodata": 0.25, "nonpositive": 0.666667}
    assert s1_chain.fractions(np.full((2, 2), np.nan, np.float32)) == {"nodata": 1.0, "nonpositive": 0.0}
