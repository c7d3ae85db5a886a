"""The chain of one product on made-up pixels: identity, mask bits, margins, order of flattening and resampling."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tests.ground import Ground, Pixels, run
from tests.synthetic_image import SyntheticImage, grid_at
from utils.science import flatten, geocode, resample, s1_chain, s1_run, visibility
from utils.science.border import BorderMask
from utils.science.grid import Grid, Window
from utils.science.threads import use_threads

IMAGE = SyntheticImage()
GEOMETRY = geocode.image_geometry(IMAGE)
INNER = Window(60, 60, 80, 90)
PLAIN = s1_chain.Options(speckle="none")


def _grid() -> Grid:
    return grid_at(IMAGE, 12.0, 870e3, 200, 210)


def _hills(grid: Grid, amplitude_m: float = 100.0) -> np.ndarray:
    r, c = np.meshgrid(np.arange(grid.rows), np.arange(grid.cols), indexing="ij")
    return (amplitude_m * (1 + np.sin(r / 20.0) * np.cos(c / 25.0))).astype(np.float32)


def _plan(
    height: np.ndarray,
    options: s1_chain.Options = PLAIN,
    missing: np.ndarray | None = None,
    grid: Grid | None = None,
    inner: Window = INNER,
) -> s1_chain.Plan:
    limits = float(height.min()), float(height.max())
    return s1_chain.plan(GEOMETRY, grid or _grid(), inner, Ground(height, missing), limits, options)


def _position(plan: s1_chain.Plan) -> geocode.ImagePosition:
    """Image position of the area's pixels."""
    height, _ = plan.terrain.heights(Window(0, 0, *plan.grid.shape))
    found = geocode.locate(plan.nodes, GEOMETRY, height)
    cut = plan.inner.slices
    return geocode.ImagePosition(*(np.ascontiguousarray(a[cut]) for a in (found.line, found.pixel, found.slant_step_m)))


def _channel(plan: s1_chain.Plan, dn: np.ndarray, beta: float = 100.0) -> s1_chain.Channel:
    table = SimpleNamespace(
        lines=np.array([0, 20_000]), pixels=[np.array([0, 30_000])] * 2, values=[np.full(2, beta)] * 2
    )
    return s1_chain.Channel(Pixels(plan, dn), table, None)


def test_ground_of_constant_gamma0_comes_back_constant() -> None:
    """Pixels made as gamma0 x area ratio: the chain divides by the same area and nothing else is left."""
    plan = _plan(_hills(_grid()))
    window = plan.image_window
    assert window is not None and plan.area is not None
    ratio = plan.area.on_image(window)
    dn = np.round(1e4 * np.sqrt(0.08 * ratio))
    result = run(plan, {"VV": _channel(plan, dn, beta=1e4)})
    assert result.gamma0["VV"].shape == (80, 90)
    assert result.gamma0["VV"] == pytest.approx(0.08, rel=2e-3)  # DN are whole numbers
    assert not result.mask.any()


def test_order_of_flattening_and_resampling_hardly_matters() -> None:
    plan = _plan(_hills(_grid()))
    window, position = plan.image_window, _position(plan)
    assert window is not None and plan.area is not None
    ratio = plan.area.on_image(window)
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
    plan = _plan(_hills(grid), options, missing)
    window, position = plan.image_window, _position(plan)
    assert window is not None
    dn = np.full((window.rows, window.cols), 50)
    line, pixel = position.line[10, 20], position.pixel[10, 20]
    dn[
        int(line) - window.row - 2 : int(line) - window.row + 3,
        int(pixel) - window.col - 2 : int(pixel) - window.col + 3,
    ] = 0
    border = np.zeros(dn.shape, bool)
    line, pixel = position.line[70, 70], position.pixel[70, 70]
    border[
        int(line) - window.row - 3 : int(line) - window.row + 4,
        int(pixel) - window.col - 3 : int(pixel) - window.col + 4,
    ] = True
    channels = {name: _channel(plan, dn) for name in ("VV", "VH")}
    result = run(plan, channels, BorderMask(((window, border),)))
    assert result.mask[10, 20] == visibility.NO_SAMPLE
    assert result.mask[70, 70] == visibility.BORDER
    assert (result.mask[40:43, 40:43] == visibility.DEM_MISSING).all()
    assert result.mask[5, 80] == 0
    for values in result.gamma0.values():
        assert np.isnan(values[10, 20]) and np.isnan(values[70, 70])
        assert np.isfinite(values[41, 41])  # filled heights keep their value and their bit
        assert ((result.mask & 54) > 0).tolist() == np.isnan(values).tolist()


def _ridge(grid: Grid, col: int = 105) -> np.ndarray:
    c = np.arange(grid.cols)
    return np.tile((900 * np.exp(-(((c - col) / 12.0) ** 2))).astype(np.float32), (grid.rows, 1))


def test_shadow_has_no_value_and_layover_keeps_its_own() -> None:
    plan = _plan(_ridge(_grid()))
    window = plan.image_window
    assert window is not None
    result = run(plan, {"VV": _channel(plan, np.full((window.rows, window.cols), 50))})
    shadow, layover = (result.mask & 2) > 0, (result.mask & 1) > 0
    assert shadow.any() and layover.any()
    assert np.isnan(result.gamma0["VV"][shadow]).all()
    assert np.isfinite(result.gamma0["VV"][layover & ~shadow]).mean() > 0.95


@pytest.mark.parametrize("name", ["none", "lee", "lee_sigma"])
def test_every_missing_value_has_its_true_reason(name: str) -> None:
    """Every pixel has a sample: hidden ground and filters that starve beside it are never called a missing sample."""
    grid = _grid()
    r, c = np.indices(grid.shape)
    height = (90 * (1 + np.sin(c / 6.0 + 0.3 * np.sin(r / 9.0))) + 10 * np.sin(r / 5.0)).astype(np.float32)
    plan = _plan(height, s1_chain.Options(speckle=name))  # type: ignore[arg-type]
    window = plan.image_window
    assert window is not None
    result = run(plan, {"VV": _channel(plan, np.full((window.rows, window.cols), 50))})
    missing = np.isnan(result.gamma0["VV"])
    assert missing.any() and not (result.mask & visibility.NO_SAMPLE).any()
    assert (((result.mask & 54) > 0) == missing).all()
    assert (result.mask & visibility.NO_VALUE).any()


def test_larger_pixels_are_means_of_power() -> None:
    nan = np.nan
    power = np.array([[1.0, 3.0, nan, 2.0], [5.0, -1.0, nan, nan]], np.float32)
    mask = np.array([[1, 0, 4, 0], [0, 8, 32, 2]], np.uint8)
    block = s1_run.Block(Window(6, 0, 2, 4), {"VV": power}, mask, np.full((2, 4), 30, np.float32))
    found = s1_run.coarser(block, 2)
    assert found.window == Window(3, 0, 1, 2)
    assert found.gamma0["VV"][0, 0] == 2.0 and np.isnan(found.gamma0["VV"][0, 1])
    assert found.mask.tolist() == [[9, 38]]  # layover and missing height of any; the reasons of NaN where it is NaN
    assert found.incidence_deg is not None and found.incidence_deg.tolist() == [[30.0, 30.0]]


@pytest.mark.parametrize("image", [IMAGE, SyntheticImage(argument_deg=35.0)], ids=["descending", "ascending"])
@pytest.mark.parametrize("name", ["none", "lee", "refined_lee", "lee_sigma"])
def test_bits_do_not_depend_on_rows_of_a_block_nor_on_threads(
    image: SyntheticImage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole area at once, 16 and 37 rows, 1 and 2 threads, lines in chunks of 256 and 19: the same bits everywhere."""
    geometry = geocode.image_geometry(image)
    grid, margin = grid_at(image, 12.0, 870e3, 480, 420), 145
    inner = Window(margin, margin, 480 - 2 * margin, 420 - 2 * margin)
    height = _ridge(grid, 210) * np.linspace(0.2, 1.0, grid.rows, dtype=np.float32)[:, None]
    options = s1_chain.Options(speckle=name, incidence=True)  # type: ignore[arg-type]
    results = []
    try:
        for rows, threads, chunk in ((1000, 1, 256), (16, 2, 256), (37, 2, 19)):
            use_threads(threads)
            monkeypatch.setattr("utils.science.line_buffer._CHUNK_LINES", chunk)
            plan = s1_chain.plan(geometry, grid, inner, Ground(height), (0.0, 900.0), options)
            window = plan.image_window
            assert window is not None
            dn = np.round(np.random.default_rng(3).gamma(4.4, 30.0, (window.rows, window.cols))).astype(np.uint16)
            channels = {pol: _channel(plan, dn * (i + 1)) for i, pol in enumerate(("VV", "VH"))}
            block = run(plan, channels, rows=rows)
            assert block.incidence_deg is not None
            results.append([a.tobytes() for a in (*block.gamma0.values(), block.mask, block.incidence_deg)])
            assert {1, 2} <= set(np.unique(block.mask & 3))
    finally:
        use_threads(0)
    assert results[0] == results[1] == results[2]


def test_looks_are_estimated_where_they_are_not_given() -> None:
    """Four looks on level ground; too small an image says so instead of guessing."""
    grid = grid_at(IMAGE, 12.0, 870e3, 300, 300)
    options = s1_chain.Options(speckle="lee", looks=None)
    plan = _plan(np.full(grid.shape, 50, np.float32), options, grid=grid, inner=Window(30, 30, 240, 240))
    window = plan.image_window
    assert window is not None
    dn = 300 * np.sqrt(np.random.default_rng(0).gamma(4.0, 0.25, (window.rows, window.cols)))
    whole = s1_run.Run(plan, {"VV": _channel(plan, np.round(dn))})
    list(whole.blocks())
    assert whole.looks["VV"] == pytest.approx(4.0, rel=0.12)
    fixed = s1_run.Run(_plan(np.full(grid.shape, 50, np.float32), s1_chain.Options(speckle="lee"), grid=grid,
                             inner=Window(30, 30, 240, 240)), {"VV": _channel(plan, np.round(dn))})  # fmt: skip
    list(fixed.blocks())
    assert fixed.looks["VV"] == 4.4
    small = _plan(np.full(_grid().shape, 50, np.float32), options, inner=Window(60, 60, 20, 20))
    assert small.image_window is not None
    pixels = np.full((small.image_window.rows, small.image_window.cols), 50)
    with pytest.raises(s1_run.LooksError, match="number of looks of VV cannot be estimated"):
        list(s1_run.Run(small, {"VV": _channel(small, pixels)}).blocks())


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
        plan = _plan(part, grid=grid, inner=Window(margin, margin, 80, 90))
        window = plan.image_window
        assert window is not None and plan.area is not None
        position = _position(plan)
        results.append(
            resample.to_map(
                plan.area.on_image(window), window.row, window.col, position.line, position.pixel, "bilinear"
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
