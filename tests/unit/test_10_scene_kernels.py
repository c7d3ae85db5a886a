"""The one-pass forms of what a scene goes through against the plain forms that tiles go through."""

from __future__ import annotations

import copy
import itertools
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.unit.tiny_training import BANDS, SAR, standard_scaler
from utils.io.scene_reader import SceneRows
from utils.science.grid import Window
from utils.science.scaler import CHANGE_CLIP_DB, Scaler
from utils.science.scene_kernels import add_window, network_input, weighted_mean

RNG = np.random.default_rng(2)


def planes(dates: int) -> tuple[np.ndarray, np.ndarray]:
    """Radar from -45 to +8 dB and reflectance from -0.1 to 1.3, beyond every clip, with holes in both."""
    power = (10 ** RNG.uniform(-4.5, 0.8, (dates, 2, 40, 50))).astype(np.float32)
    optical = RNG.uniform(-0.1, 1.3, (dates - 1, 4, 40, 50)).astype(np.float32)
    power[0, 1, 3:6, 7:9] = power[-1, 0, 20, :5] = optical[-1, 2, 30:33, 40] = np.nan
    return power, optical


@pytest.mark.parametrize(("mode", "dates"), [("fixed", 2), ("standard", 2), ("fixed", 3)])
def test_network_input_is_that_of_the_scaler(mode: str, dates: int) -> None:
    scaler = Scaler.fixed(SAR, BANDS, n_dates=dates) if mode == "fixed" else standard_scaler()
    power, optical = planes(dates)
    median = {"VV": 0.31, "VH": -0.7}
    s1, s2 = ([np.moveaxis(one, 0, -1) for one in stack] for stack in (power, optical))
    earlier = list(zip(s1[:-2], s2[:-1], strict=True))
    expected, good = scaler.network_input(s1[-2], s1[-1], s2[-1], median, earlier)
    x, valid = np.empty_like(expected), np.empty_like(good)
    cut = CHANGE_CLIP_DB if mode == "fixed" else 0.0
    network_input(power, optical, *scaler.affine_and_clip(), np.array(list(median.values()), np.float32), cut, x, valid)
    assert 0 < (~good).sum() < good.size and np.array_equal(valid, good)
    print(f"largest difference {np.abs(x - expected).max():.2g} network units (limit 2e-6)")
    assert np.abs(x - expected).max() < 2e-6


def test_windows_are_added_and_divided() -> None:
    total, weight = np.zeros((4, 9, 2), np.float32), np.zeros((4, 9), np.float32)
    images = RNG.normal(size=(2, 4, 4, 2)).astype(np.float32)
    weights = RNG.uniform(0.1, 1, (4, 4)).astype(np.float32)
    for image, left in zip(images, (0, 2), strict=True):
        add_window(total, weight, image, weights, left)
    valid = np.ones((4, 9), bool)
    valid[1, 3] = False
    found = weighted_mean(total, weight, valid, np.array([2.0, 1.0], np.float32), np.array([0.5, 0.0], np.float32))
    w, v = weights[0, 2], weights[0, 0]  # pixel (0, 2) is the third of the first window and the first of the second
    by_hand = (w * images[0, 0, 2] + v * images[1, 0, 0]) / (w + v) * [2, 1] + [0.5, 0]
    assert np.abs(found[0, 2] - by_hand).max() < 1e-6
    assert np.isnan(found[:, 6:]).all() and np.isnan(found[1, 3]).all() and np.isnan(found).sum() == 2 * (12 + 1)


def given(into: Any, *planes: np.ndarray) -> Any:
    """What a scene answers."""
    if into is None:
        return SceneRows(*planes)
    for target, values in zip((into.s1, into.s2, into.cloud), planes, strict=True):
        target[...] = values
    return into


@pytest.mark.parametrize(("rows", "striped"), [(100, False), (200, True), (512, False), (520, True), (1600, False)])
def test_radar_is_filled_from_beyond_the_rows_that_are_asked_for(rows: int, striped: bool) -> None:
    """Up to 32 px beyond, whatever pieces are read."""
    from utils.io import filled_rows

    power = RNG.uniform(0.05, 0.2, (2, 2, rows, 60)).astype(np.float32)
    power[0, 0, 64, 30], power[1, 1, 63, 10] = 0.0, -0.1
    optical = RNG.uniform(0, 1, (1, 4, rows, 60)).astype(np.float32)
    asked = []

    def part(window: Window, into: Any = None) -> Any:
        asked.append((window.row, window.rows))
        own = window.slices
        cloud = np.zeros((window.rows, window.cols), np.uint8)
        return given(into, power[:, :, *own], optical[:, :, *own], cloud)

    scene = SimpleNamespace(grid=SimpleNamespace(rows=rows, cols=60), part=part, striped=striped)
    reader, edges = filled_rows.FilledRows(scene, 5), [*range(0, rows, 32), rows]
    pairs = list(itertools.pairwise(edges))
    parts = [copy.deepcopy(reader.read(first, last)) for first, last in pairs]
    joined = np.concatenate([part.s1 for part in parts], axis=2)
    assert sum(height for _, height in asked) == rows  # every row is read once
    assert np.array_equal(np.concatenate([part.s2 for part in parts], axis=2), optical)
    again = [filled_rows.filled(scene, *pair, 5).s1 for pair in pairs]  # and each chunk by itself is the same
    assert np.array_equal(np.concatenate(again, axis=2), joined)
    around = power[0, 0, 63:66, 29:32].ravel()
    four = around[[1, 3, 5, 7]]  # at distance 1; the fifth at sqrt 2 is the one of the smallest row and column
    expected = (four.sum() + around[0] / np.sqrt(2)) / (4 + 1 / np.sqrt(2))
    assert joined[0, 0, 64, 30] == pytest.approx(expected, rel=1e-6)
    assert joined[1, 1, 63, 10] > 0.05
    joined[0, 0, 64, 30], joined[1, 1, 63, 10] = 0.0, -0.1
    assert np.array_equal(joined, power)


def test_rows_are_filled_as_the_whole_scene_is() -> None:
    """Across the edges of blocks and groups, single holes and gaps of up to 40 px: as one array filled at once."""
    from utils.io.filled_rows import FilledRows
    from utils.science.sar import fill_non_positive_knn

    rows, cols = 1100, 1050
    power = RNG.uniform(0.05, 0.2, (2, 2, rows, cols)).astype(np.float32)
    power[RNG.random(power.shape) < 0.005] = 0.0
    for row, col in ((460, 490), (475, 900), (990, 500), (0, 0), (1060, 1010)):
        power[0, 1, row : row + 40, col : col + 40] = -1.0
    power[1, :, 300:700, 200:240] = np.nan

    def part(window: Window, into: Any = None) -> Any:
        own = window.slices
        return given(into, power[:, :, *own], power[:1, :, *own], np.zeros((window.rows, window.cols), np.uint8))

    scene = SimpleNamespace(grid=SimpleNamespace(rows=rows, cols=cols), part=part, striped=False)
    reader = FilledRows(scene, 5)
    joined = np.concatenate([reader.read(row, min(row + 32, rows)).s1.copy() for row in range(0, rows, 32)], axis=2)
    for found, values in zip(joined.reshape(4, rows, cols), power.reshape(4, rows, cols), strict=True):
        np.testing.assert_array_equal(found, fill_non_positive_knn(values, ~np.isnan(values), 5))


def test_windows_in_several_threads_are_summed_in_their_order() -> None:
    """Whatever window comes back first: the same bits; an error of one of them ends the scene."""
    from utils.science.scene_windows import WindowPlan, predict_rows

    x = RNG.normal(0, 1, (150, 170, 3)).astype(np.float32)
    valid, plan = np.ones(x.shape[:2], bool), WindowPlan(150, 170, 64, 32)
    delays = itertools.cycle([0.004, 0.0, 0.002])

    def infer(windows: np.ndarray) -> np.ndarray:
        time.sleep(next(delays))
        return np.tanh(windows[..., :2]) * windows.mean()

    def rows(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        return x[first:last], valid[first:last]

    images = [
        np.concatenate([image for _, image in predict_rows(plan, rows, infer, 2, 1, workers=workers)])
        for workers in (1, 2, 5)
    ]
    assert images[0].shape == (150, 170, 2)
    assert np.array_equal(images[0], images[1]) and np.array_equal(images[0], images[2])

    def failing(windows: np.ndarray) -> np.ndarray:
        if next(count) == 7:
            raise RuntimeError("broken network")
        return infer(windows)

    count = itertools.count()
    with pytest.raises(RuntimeError, match="broken network"):
        list(predict_rows(plan, rows, failing, 2, 1, workers=3))
