"""Whole scenes through a network: seams, parts, batches, edges, holes, constants, tiles against scenes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bench._scene import BANDS, make_rasters, make_run
from scripts._scene import Sizes, load_run
from tests.unit.tiny_scene import DATES, predicted
from utils.io import raster
from utils.io.filled_rows import filled
from utils.io.row_writer import writer
from utils.io.scene_reader import WorkScene, median_change_db, rows_of
from utils.science.blend import seam_ratio
from utils.science.grid import Grid
from utils.science.scene_windows import WindowPlan, part_rows

SIZE, WINDOW = 1280, 256


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A scene of 1280 px without holes, and a run with windows of 256 px."""
    folder = tmp_path_factory.mktemp("scene")
    make_rasters(folder / "pre", SIZE, holes=False)
    return folder / "pre", make_run(folder / "run", WINDOW)


def hard_cut(run: Path, root: Path, size: int) -> np.ndarray:
    """The same network on windows side by side."""
    one = load_run(run, 1, "tf")
    out = np.empty((size, size, len(BANDS)), np.float32)
    scale, offset = one.scene_units()
    with WorkScene(root, DATES, BANDS) as scene:
        x, _ = one.scene_input(filled(scene, 0, size, 5), median_change_db(scene))
    for row in range(0, size, WINDOW):
        for col in range(0, size, WINDOW):
            part = np.ascontiguousarray(x[None, row : row + WINDOW, col : col + WINDOW])
            out[row : row + WINDOW, col : col + WINDOW] = one.windows(part)[0] * scale + offset
    return out


def seams(image: np.ndarray, t0: np.ndarray, stride: int) -> float:
    """Mean seam ratio over bands, rows and columns."""
    lines = list(range(stride, len(image), stride))
    ratios = [seam_ratio(image[..., b], t0[b], lines, stride, axis) for b in range(len(BANDS)) for axis in (0, 1)]
    return float(np.mean(ratios))


def check_seams(root: Path, run: Path, size: int) -> None:
    with WorkScene(root, DATES, BANDS) as scene:
        t0 = rows_of(scene, 0, size).s2[0]
    blended, cut = predicted(run, root), hard_cut(run, root, size)
    ratio, hard = seams(blended, t0, WINDOW // 2), seams(cut, t0, WINDOW)
    print(f"seam ratio {ratio:.4f} (limit 0.98 to 1.02); windows side by side {hard:.4f}")
    assert 0.98 <= ratio <= 1.02 < hard
    assert hard - 1 > 5 * abs(ratio - 1)
    assert blended.min() >= -0.01 - 1e-6 and blended.max() <= 1.2 + 1e-6


def test_no_seam_is_seen_where_a_hard_cut_shows_one(world: tuple[Path, Path]) -> None:
    check_seams(*world, SIZE)


@pytest.mark.slow
def test_no_seam_is_seen_in_4096_px(tmp_path: Path) -> None:
    make_rasters(tmp_path / "pre", 4096, holes=False)
    check_seams(tmp_path / "pre", make_run(tmp_path / "run", WINDOW), 4096)


def test_parts_and_batches_change_nothing(tmp_path: Path) -> None:
    root, run = tmp_path / "pre", make_run(tmp_path / "run", 64)
    make_rasters(root, 420)
    one = load_run(run, 8, "tf")
    whole = predicted(one, root)
    parts = [part_rows(WindowPlan(420, 420, 64, 32), part, 3) for part in (1, 2, 3)]
    three = np.concatenate([predicted(one, root, *rows) for rows in parts])
    assert np.array_equal(three, whole, equal_nan=True)
    odd = [predicted(one, root, *rows) for rows in ((0, 17), (17, 301), (301, 420))]
    assert np.array_equal(np.concatenate(odd), whole, equal_nan=True)
    single = predicted(load_run(run, 1, "tf"), root)
    print(f"batches of 8 and of 1: {np.nanmax(np.abs(single - whole)):.2g} (limit 1e-6)")
    assert np.nanmax(np.abs(single - whole)) <= 1e-6
    assert np.array_equal(np.isnan(single), np.isnan(whole))


def test_windows_and_strides_of_any_size_cover_the_scene(tmp_path: Path) -> None:
    root, run = tmp_path / "pre", make_run(tmp_path / "run", 64, noise=0.0)  # copies S2(t0)
    make_rasters(root, 330, holes=False)
    with WorkScene(root, DATES, BANDS) as scene:
        t0 = np.moveaxis(rows_of(scene, 0, 330).s2[0], 0, -1)
    one = load_run(run, 8, "tf")
    for window, stride in ((64, 32), (64, 48), (128, 64), (256, 192)):
        found = predicted(one, root, sizes=Sizes(window, stride))
        assert np.abs(found - t0).max() < 2e-6, (window, stride)


def test_nodata_stays_nodata_and_spreads_nowhere(tmp_path: Path) -> None:
    root, run = tmp_path / "pre", make_run(tmp_path / "run", 64)
    make_rasters(root, 420)
    found = predicted(run, root)
    with WorkScene(root, DATES, BANDS) as scene:
        rows = rows_of(scene, 0, 420)
    good = np.isfinite(rows.s2[0]).all(axis=0) & np.isfinite(rows.s1).all(axis=(0, 1))
    assert (rows.s1 == 0).sum() > 10  # zeros of power are filled, not lost
    assert 0.02 < (~good).mean() < 0.3
    # far from any data no window is made: nodata too, never 0
    assert np.array_equal(np.isfinite(found).all(axis=-1), good)
    assert np.array_equal(np.isnan(found).any(axis=-1), ~good)


def test_a_constant_scene_gives_a_constant_image(tmp_path: Path) -> None:
    root, run = tmp_path / "pre", make_run(tmp_path / "run", 64)
    grid = make_rasters(root, 200, holes=False)
    levels = {"gamma0_vv": 0.1, "gamma0_vh": 0.02, **dict(zip(BANDS, (0.05, 0.06, 0.04, 0.3), strict=True))}
    for path in root.rglob("*.tif"):
        if path.stem in levels:
            raster.write(path, np.full(grid.shape, levels[path.stem], np.float32), grid)
    found = predicted(run, root)
    spread = float(np.ptp(found, axis=(0, 1)).max())
    print(f"largest spread {spread:.2g} (limit 1e-6)")
    assert spread <= 1e-6
    assert np.abs(found[0, 0] - [0.05, 0.06, 0.04, 0.3]).max() > 0.01  # the network does something


def test_scenes_smaller_than_a_window_are_mirrored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(tmp_path / "run", 64, noise=0.0)
    for side in (50, 30, 9):
        root = tmp_path / f"pre{side}"
        make_rasters(root, side, holes=False)
        with WorkScene(root, DATES, BANDS) as scene:
            t0 = np.moveaxis(rows_of(scene, 0, side).s2[0], 0, -1)
        assert np.abs(predicted(run, root) - t0).max() < 2e-6
    assert "too small for windows of 64 px: 16 px" in caplog.text


def test_sigma_is_blended_like_the_tiles_of_sigma(tmp_path: Path) -> None:
    from models import run as runs
    from models.uncertainty import build_head

    root, folder = tmp_path / "pre", make_run(tmp_path / "run", 64)
    make_rasters(root, 200, holes=False)
    paths = runs.RunFolder(folder)
    head = build_head(8, 4, 8, -4.0)
    rng = np.random.default_rng(3)
    for weight in head.trainable_weights:
        weight.assign(weight.numpy() + rng.normal(0, 0.1, weight.shape).astype(np.float32))
    runs.save_model(head, paths.uncertainty)
    plain = predicted(folder, root)
    card = json.loads(paths.card.read_text()) | {"uncertainty": {"temperature": dict.fromkeys(BANDS, 1.3)}}
    paths.card.write_text(json.dumps(card))
    one = load_run(folder, 8, "tf")
    assert one.scene_bands == (*BANDS, *(f"sigma_{band}" for band in BANDS))
    both = predicted(one, root)
    assert np.abs(both[..., :4] - plain).max() <= 1e-6  # the mean is that of a run without a head
    # one window: what predict_sigma says of the tile, blended with its three neighbours by hand
    with WorkScene(root, DATES, BANDS) as scene:
        median, rows = median_change_db(scene), filled(scene, 0, 200, 5)
    x, _ = one.scene_input(rows, median)
    at = [(r, c) for r in (32, 64) for c in (32, 64)]
    weights = np.sin(np.pi * (np.arange(64) + 0.5) / 64) ** 2
    expected = sum(
        one.windows(np.ascontiguousarray(x[None, r : r + 64, c : c + 64]))[0, 80 - r, 90 - c, 4:]
        * weights[80 - r] * weights[90 - c] for r, c in at
    )  # fmt: skip
    assert both[80, 90, 4:] == pytest.approx(expected, rel=1e-5)
    assert 0.001 < both[..., 4:].min() < both[..., 4:].max() < 1


@pytest.mark.slow
def test_memory_does_not_grow_with_the_height(tmp_path: Path) -> None:
    """Peak memory of the real command on 2000 and on 8000 rows of one width."""
    run, peaks = make_run(tmp_path / "run", 256), []
    for rows in (2000, 8000):
        grid = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, rows, 1000)
        rng, names = np.random.default_rng(1), []
        for name, bands, low, high in (
            ("a", ("VV", "VH"), 0.02, 0.2),
            ("b", ("VV", "VH"), 0.02, 0.2),
            ("c", BANDS, 0.02, 0.4),
        ):
            names.append(tmp_path / f"{name}{rows}.tif")
            with writer(names[-1], grid, len(bands), "float32", band_names=bands, quick=True) as out:
                for top in range(0, rows, 500):
                    out.write(rng.uniform(low, high, (len(bands), 500, 1000)).astype(np.float32), top, 0)
        words = ["--run-dir", run, "--scene", "--s1-t0", names[0], "--s1-t1", names[1], "--s2-t0", names[2]]
        code = "import resource, subprocess, sys; c = subprocess.run(sys.argv[1:]).returncode; " \
               "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(c)"  # fmt: skip
        done = subprocess.run(
            ["python3", "-c", code, "./s2cr", "predict", *map(str, words), "--out", str(tmp_path / f"out{rows}.tif")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]) / 2**20)
    print(f"peak {peaks[0]:.2f} GiB of 2000 rows, {peaks[1]:.2f} GiB of 8000 (limit: 1.1 times)")
    assert peaks[1] < 1.1 * peaks[0] and peaks[1] < 1.5
