"""Multi-temporal speckle filter: looks against theory, means, changes, missing pixels, blocks, a real series."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from utils.science import multitemporal as mt
from utils.science import speckle
from utils.science.threads import use_threads


def _stack(dates: int, shape: tuple[int, int], looks: float = 4.4, seed: int = 5) -> np.ndarray:
    """Gamma noise of its own level at each date."""
    level = 0.05 * 1.5 ** np.arange(dates)[:, None, None]
    return (level * np.random.default_rng(seed).gamma(looks, 1 / looks, (dates, *shape))).astype(np.float32)


def expected_looks(looks: float, dates: int, window: int) -> float:
    """Equivalent number of looks after the filter on homogeneous ground: N L / (1 + (N - 1) / window^2).

    First order in the speckle: each ratio has the variance 1/L (1 - 1/n) of a pixel over the mean of n, the level 1/(n L).
    """
    return dates * looks / (1 + (dates - 1) / window**2)


def _plain(stack: np.ndarray, window: int) -> np.ndarray:
    """The formula with loops over windows and sorted dates, nothing else."""
    means, radius = np.full(stack.shape, np.nan), window // 2
    scatter, joins = np.full(stack.shape, np.inf), np.zeros(stack.shape, bool)
    for k, r, c in np.argwhere(np.isfinite(stack)):
        part = stack[k, max(r - radius, 0) : r + radius + 1, max(c - radius, 0) : c + radius + 1].astype(float)
        values = part[np.isfinite(part)]
        if 2 * values.size < part.size or values.mean() <= 0:
            continue
        deviation = values.std(ddof=1)
        if values.mean() > 3 * deviation / np.sqrt(values.size):
            means[k, r, c], scatter[k, r, c] = values.mean(), (deviation / values.mean()) ** 2
    for r, c in np.ndindex(stack.shape[1:]):
        taken: list[float] = []
        for k in np.argsort(scatter[:, r, c]):
            if np.isfinite(scatter[k, r, c]) and scatter[k, r, c] <= 4 * max(np.mean(taken or scatter[k, r, c]), 0.1):
                taken.append(float(scatter[k, r, c]))
                joins[k, r, c] = True
    ratio = np.where(joins, stack / np.where(joins, means, 1), 0).sum(0) / np.maximum(joins.sum(0), 1)
    return np.where(joins, means * ratio, stack)


def test_formula_with_gaps_and_negative_power() -> None:
    stack = _stack(4, (40, 530))[:, :, 490:] - np.float32(0.02)
    rng = np.random.default_rng(1)
    stack[rng.random(stack.shape) < 0.2] = np.nan
    stack[1, 10:30, 5:25] = np.nan
    stack[2, 12, 8] = 0.07
    stack[3, 20:30, 20:30] -= np.float32(1.0)
    out = mt.multitemporal_filter(stack, 5)
    expected = _plain(stack, 5)
    assert (np.isnan(out) == np.isnan(stack)).all()
    assert np.nanmax(np.abs(out - expected)) < 1e-6
    assert out[3, 25, 25] == stack[3, 25, 25] or np.isnan(stack[3, 25, 25])  # mean below zero: kept as it is
    assert (out[1:] != stack[1:])[np.isfinite(stack[1:])].any()


@pytest.mark.parametrize(("dates", "window"), [(1, 7), (2, 7), (5, 5), (10, 7), (20, 9)])
def test_looks_against_theory(dates: int, window: int) -> None:
    """N L / (1 + (N - 1) / n) within 4 %, and every mean within 1 %."""
    stack = _stack(dates, (400, 400))
    out = mt.multitemporal_filter(stack, window)
    inner = out[:, 10:-10, 10:-10].astype(float)
    found = float(np.mean(inner.mean((1, 2)) ** 2 / inner.var((1, 2))))
    expected = expected_looks(4.4, dates, window)
    ratio = out.mean((1, 2), dtype=float) / stack.mean((1, 2), dtype=float)
    print(
        f"{dates} dates, window {window}: ENL 4.4 -> {found:.1f}, theory {expected:.1f} (limit 4 %), means x {ratio.min():.4f} .. {ratio.max():.4f} (limit 1 %)"
    )
    assert found == pytest.approx(expected, rel=0.04)
    assert ratio == pytest.approx(np.ones(dates), abs=0.01)
    if dates == 1:
        assert np.abs(out / stack - 1).max() < 1e-6  # one date alone stays as it is


def test_a_change_stays_in_its_date() -> None:
    """A field that is four times as bright at one date: there by four, nowhere else, but for half a window at its edge."""
    dates, inside, around = 10, np.s_[60:140, 60:140], np.s_[57:143, 57:143]
    stack = _stack(dates, (200, 200))
    plain = mt.multitemporal_filter(stack, 7)
    stack[4][inside] *= 4
    out = mt.multitemporal_filter(stack, 7)
    deep = np.s_[67:133, 67:133]
    gain = float(out[4][deep].mean() / plain[4][deep].mean())
    others = np.abs(out[[0, 9]] / plain[[0, 9]] - 1)
    edge = np.ones((200, 200), bool)
    edge[np.s_[63:137, 63:137]] = False
    band = edge.copy()
    band[:] = False
    band[around] = True
    band[np.s_[63:137, 63:137]] = False
    leak = float(np.median(others[:, band]))
    print(f"step of 4 at one of {dates} dates: x {gain:.4f} there; the others change by {others[:, ~band].max():.1e} away from its edge (limit 1e-5), "
          f"by {100 * leak:.1f} % in the median within 3 px of it")  # fmt: skip
    assert gain == pytest.approx(4, rel=1e-4)
    assert others[:, ~band].max() < 1e-5
    assert leak < 0.08
    assert out[4][np.s_[63:137, 63:137]].mean() > 3.9 * plain[4][np.s_[63:137, 63:137]].mean()


def _flooded(level_db: float, dates: int, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Dates at the noise floor: speckle of signal and noise (equivalent -25 dB), less the mean noise."""
    noise, level = 10**-2.5, 10 ** (level_db / 10)
    grain = np.random.default_rng(seed).gamma(4.4, 1 / 4.4, (dates, *shape))
    return ((level + noise) * grain - noise).astype(np.float32)


@pytest.mark.parametrize("level_db", [-28.0, -30.0, -33.0, -60.0])
@pytest.mark.parametrize(("land_dates", "dark_dates"), [(5, 1), (1, 4)])
def test_dates_at_the_noise_floor_poison_no_other(land_dates: int, dark_dates: int, level_db: float) -> None:
    shape = (300, 300)
    grain = np.random.default_rng(8).gamma(4.4, 1 / 4.4, (land_dates, *shape))
    land, dark = (0.04 * grain).astype(np.float32), _flooded(level_db, dark_dates, shape, 9)
    alone = mt.multitemporal_filter(land, 7).astype(float)
    out = mt.multitemporal_filter(np.concatenate([land, dark]), 7).astype(float)
    spread = float(out[:land_dates].std() / alone.std())
    mean = float(out[:land_dates].mean() / alone.mean())
    kept = out[land_dates:].mean((1, 2)) / dark.mean((1, 2), dtype=float)
    print(
        f"{dark_dates} of {land_dates + dark_dates} dates at {level_db:.0f} dB: land std x {spread:.4f} (limit 10 %), mean x {mean:.5f} (limit 1 %), "
        f"mean of the dark dates x {kept.min():.4f} .. {kept.max():.4f}"
    )
    assert abs(spread - 1) < 0.1
    assert abs(mean - 1) < 0.01
    if level_db > -60:
        assert kept == pytest.approx(np.ones(dark_dates), abs=0.02)


def test_single_look_speckle_still_takes_part() -> None:
    stack = _stack(6, (300, 300), looks=1.0)
    inner = mt.multitemporal_filter(stack, 7)[:, 10:-10, 10:-10].astype(float)
    found = float(np.mean(inner.mean((1, 2)) ** 2 / inner.var((1, 2))))
    print(f"6 dates of one look: {found:.2f}, theory {expected_looks(1, 6, 7):.2f} (limit 6 %)")
    assert found == pytest.approx(expected_looks(1, 6, 7), rel=0.06)


def test_missing_dates_count_as_nothing() -> None:
    """Where a date is missing the others are averaged as if it did not exist."""
    stack = _stack(5, (60, 60))
    without = mt.multitemporal_filter(stack[:4], 7)
    stack[4] = np.nan
    assert mt.multitemporal_filter(stack, 7)[:4].tobytes() == without.tobytes()
    stack[4, 30, 30] = 1.0  # alone in its window: kept, and no help to others
    out = mt.multitemporal_filter(stack, 7)
    assert out[4, 30, 30] == 1.0
    assert out[:4].tobytes() == without.tobytes()
    with pytest.raises(ValueError, match="odd"):
        mt.multitemporal_filter(stack, 6)


def test_threads_and_row_blocks_change_no_bit() -> None:
    stack = _stack(3, (101, 700))
    stack[np.random.default_rng(2).random(stack.shape) < 0.3] = np.nan
    try:
        use_threads(1)
        whole = mt.multitemporal_filter(stack, 7)
        use_threads(2)
        assert mt.multitemporal_filter(stack, 7).tobytes() == whole.tobytes()
    finally:
        use_threads(0)
    for step in (4, 5, 16, 50, 101, 512):
        read, parts = np.zeros(101, int), []
        for block in mt.row_blocks(101, step, mt.radius_px(7)):
            read[block.first : block.stop] += 1
            top, bottom = max(block.out_first - 3, 0), min(block.out_stop + 3, 101)
            assert bottom <= block.stop  # only what has been read
            part = mt.multitemporal_filter(stack[:, top:bottom], 7)
            parts.append(part[:, block.out_first - top : block.out_stop - top])
        assert (read == 1).all()
        assert np.concatenate(parts, axis=1).tobytes() == whole.tobytes()
    with pytest.raises(ValueError, match="blocks of 3 rows do not hold a radius of 3"):
        list(mt.row_blocks(10, 3, 3))


@pytest.mark.realdata
@pytest.mark.skipif("S2CR_DATA" not in os.environ, reason="S2CR_DATA is not set: the folder of real sample products")
def test_real_series() -> None:
    """gamma0 of one track at 30 m, 2021 to 2024: looks rise, means stay. The ground varies at 30 m, and no filter of speckle
    takes that away: far from the theory of bare speckle."""
    from utils.io import raster

    folder = Path(os.environ["S2CR_DATA"]) / "s1_rtc_series"
    for pol in ("VV", "VH"):
        images = [raster.read(path)[0] for path in sorted(folder.glob(f"*/*_{pol}.tif"))]
        stack = np.stack([image for image in images if image.shape == (100, 100) and np.isfinite(image).all()])
        ratio = {}
        for count in (2, 6, len(stack)):
            part = stack[:count]
            out = mt.multitemporal_filter(part, 7)
            before, after = ([speckle.estimate_looks(image, 10) for image in images] for images in (part, out))
            ratio[count] = out.mean((1, 2), dtype=float) / part.mean((1, 2), dtype=float)
            gain = float(np.median(np.array(after) / before))
            print(
                f"{pol}, {count} dates: ENL {np.median(before):.1f} -> {np.median(after):.1f} (x {gain:.1f}, theory for bare speckle x "
                f"{expected_looks(1, count, 7):.1f}), means x {ratio[count].min():.4f} .. {ratio[count].max():.4f}"
            )
            assert gain > 1.1
            assert np.abs(ratio[count] - 1).max() < 0.02
