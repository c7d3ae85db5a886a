"""Scenes by overlapping windows: what a network does to a window must not show where windows meet."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from utils.science.blend import seam_ratio
from utils.science.scene_windows import WindowPlan, mirrored, part_rows, predict_rows

RNG = np.random.default_rng(4)
SCENE = ndimage.gaussian_filter(RNG.normal(size=(301, 263)), 3).astype(np.float32)


def reader(x: np.ndarray, valid: np.ndarray | None = None, calls: list | None = None) -> Callable:
    good = np.ones(x.shape[:2], bool) if valid is None else valid

    def read(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        assert 0 <= first < last <= len(x)
        if calls is not None:
            calls.append((first, last))
        return x[first:last], good[first:last]

    return read


def whole(plan: WindowPlan, read: Callable, infer: Callable, **options: int) -> np.ndarray:
    parts = list(predict_rows(plan, read, infer, 1, **options))
    assert [row for row, _ in parts] == sorted(row for row, _ in parts)
    return np.concatenate([image for _, image in parts])


def copy(x: np.ndarray) -> np.ndarray:
    return x


def windowed(x: np.ndarray) -> np.ndarray:
    """A network that errs by a constant of its own in every window, as global pooling makes it."""
    return x + np.float32(0.5) * x.mean(axis=(1, 2), keepdims=True)


@pytest.mark.parametrize(("window", "stride"), [(64, 32), (64, 48), (64, 64), (128, 64)])
def test_a_network_that_copies_gives_the_scene_back(window: int, stride: int) -> None:
    plan = WindowPlan(*SCENE.shape, window, stride)
    found = whole(plan, reader(SCENE[..., None]), copy)
    assert found.shape == (*SCENE.shape, 1)
    assert np.abs(found[..., 0] - SCENE).max() < 1e-6


def test_weights_of_half_overlapping_windows_sum_to_one() -> None:
    plan = WindowPlan(200, 200, 64, 32)
    sums = np.zeros(200)
    weights = np.sin(np.pi * (np.arange(64) + 0.5) / 64) ** 2
    for start in plan.starts(200):
        for i in range(64):
            if 0 <= start + i < 200:
                sums[start + i] += weights[i]
    assert np.abs(sums - 1).max() < 1e-12


def test_every_pixel_lies_well_inside_some_window() -> None:
    for size in (129, 200, 256, 301):
        plan = WindowPlan(size, size, 128, 64)
        centre = np.array(plan.starts(size)) + 63.5
        assert np.abs(np.arange(size)[:, None] - centre[None, :]).min(axis=1).max() <= 32.5


def test_parts_and_batches_change_no_bit() -> None:
    plan = WindowPlan(*SCENE.shape, 64, 32)
    one = whole(plan, reader(SCENE[..., None]), windowed, batch=4)
    rows = [part_rows(plan, part, 3) for part in (1, 2, 3)]
    assert rows[0][0] == 0 and rows[-1][1] == SCENE.shape[0] and all(a[1] == b[0] for a, b in itertools.pairwise(rows))
    three = np.concatenate([whole(plan, reader(SCENE[..., None]), windowed, batch=4, first=a, last=b) for a, b in rows])
    assert np.array_equal(one, three)
    other = whole(plan, reader(SCENE[..., None]), windowed, batch=7)
    assert np.abs(one - other).max() < 1e-6


def test_rows_are_read_once_apart_from_the_mirrored_edges() -> None:
    calls: list[tuple[int, int]] = []
    plan = WindowPlan(600, 263, 64, 32)
    whole(plan, reader(np.zeros((600, 263, 1), np.float32), calls=calls), copy)
    assert sum(b - a for a, b in calls) <= 600 + 2 * 32 + 2
    assert max(b - a for a, b in calls) <= 64


@pytest.mark.parametrize(("seen", "ahead_px"), [(True, 64), (False, 32)])
def test_rows_are_told_soon_and_the_network_does_not_wait_between_them(seen: bool, ahead_px: int) -> None:
    plan, calls = WindowPlan(*SCENE.shape, 64, 32), []
    valid = np.full(SCENE.shape, seen)
    rows = predict_rows(plan, reader(SCENE[..., None], valid, calls), copy, 1, batch=1, workers=2)
    for row, image in itertools.islice(rows, 2):
        # windows that end one stride below those of the row told now are on their way to the network; where there are
        # none, nothing is read ahead
        assert max(last for _, last in calls) == row + len(image) + ahead_px
    rows.close()


def test_nodata_stays_nodata_and_empty_windows_are_not_made() -> None:
    valid = np.ones(SCENE.shape, bool)
    valid[:, 150:] = False
    valid[40:60, 30:50] = False
    made = []

    def count(x: np.ndarray) -> np.ndarray:
        made.append(len(x))
        return x

    plan = WindowPlan(*SCENE.shape, 64, 32)
    found = whole(plan, reader(SCENE[..., None], valid), count, batch=1)
    assert np.array_equal(np.isnan(found[..., 0]), ~valid)
    assert sum(made) < len(plan.starts(301)) * len(plan.starts(263)) * 0.75
    assert np.isnan(whole(plan, reader(SCENE[..., None], np.zeros_like(valid)), copy)).all()


def test_seams_vanish_where_a_hard_cut_shows_them() -> None:
    plan = WindowPlan(*SCENE.shape, 64, 32)
    blended = whole(plan, reader(SCENE[..., None]), windowed)[..., 0]
    cut = whole(WindowPlan(*SCENE.shape, 64, 64), reader(SCENE[..., None]), windowed)[..., 0]
    hard = np.empty_like(SCENE)
    for i in range(0, 301, 64):
        for j in range(0, 263, 64):
            part = SCENE[i : i + 64, j : j + 64]
            hard[i : i + 64, j : j + 64] = part + 0.5 * part.mean()
    lines = list(range(64, 263, 64))
    ratios = [seam_ratio(image, SCENE, lines, 64) for image in (blended, hard)]
    print(f"seam ratio {ratios[0]:.3f} (0.98 to 1.02), hard cut {ratios[1]:.3f}")
    assert abs(ratios[0] - 1) < 0.02 < ratios[1] - 1
    assert np.isfinite(cut).all()


def test_mirrored_does_not_repeat_the_edge() -> None:
    assert mirrored(np.arange(-3, 8), 5).tolist() == [3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1]


@pytest.mark.parametrize(("rows", "stride", "words"), [(300, 300, "stride"), (100, 128, "cannot be mirrored")])
def test_what_does_not_fit_is_refused(rows: int, stride: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        WindowPlan(rows, 300, 256, stride)
    with pytest.raises(ValueError, match="part 4 of 3"):
        part_rows(WindowPlan(300, 300), 4, 3)
