"""Speckle filters: published constants, hand-computed windows, statistics, NaN."""

import numpy as np
import pytest

from utils.science import speckle
from utils.science.threads import use_threads

FILTERS = ("lee", "refined_lee", "lee_sigma")


def _gamma(shape: tuple[int, int], looks: float = 4.4, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).gamma(looks, 1 / looks, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("looks", "low", "high", "variation"),
    [
        (1, 0.0838, 3.9321, 0.8188),
        (2, 0.2207, 2.7396, 0.5698),
        (3, 0.3124, 2.3154, 0.4623),
        (4, 0.3772, 2.0888, 0.3990),
        (4.4, 0.3982, 2.0243, 0.3801),
    ],
)
def test_sigma_range_for_sigma_09(looks: float, low: float, high: float, variation: float) -> None:
    found = speckle.sigma_range(looks, 0.9)
    print(
        f"L={looks}: {found.low:.4f} {found.high:.4f} {found.variation:.4f}, published {low} {high} {variation} (limit 6e-5)"
    )
    assert (found.low, found.high, found.variation) == pytest.approx((low, high, variation), abs=6e-5)


def test_sigma_range_by_sampling() -> None:
    """Monte Carlo: the interval holds the share sigma, and the mean inside is the mean."""
    sample = np.random.default_rng(1).gamma(6.0, 1 / 6.0, 2_000_000)
    found = speckle.sigma_range(6.0, 0.8)
    inside = sample[(sample >= found.low) & (sample <= found.high)]
    assert len(inside) / len(sample) == pytest.approx(0.8, abs=1e-3)
    assert inside.mean() == pytest.approx(1.0, abs=1e-3)
    assert inside.std() == pytest.approx(found.variation, abs=1e-3)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("level", [0.03, -0.002])
def test_constant_image_is_unchanged(name: speckle.FilterName, level: float) -> None:
    flat = np.full((25, 30), level, np.float32)
    change = np.abs(speckle.speckle_filter(flat, name) - np.float32(level)).max()
    print(f"{name} on a constant {level}: changed by {change:.1e} (limit 1e-9)")
    assert change < 1e-9


@pytest.mark.parametrize("name", FILTERS)
def test_mean_is_kept_and_looks_rise(name: speckle.FilterName) -> None:
    noise = _gamma((300, 300))
    out = speckle.speckle_filter(noise, name)
    ratio, looks = out.mean() / noise.mean(), out.mean() ** 2 / out.var()
    print(f"{name}: mean ratio {ratio:.4f} (limit 1 %), ENL 4.4 -> {looks:.0f}")
    assert ratio == pytest.approx(1.0, abs=0.01)
    assert looks > 50


def test_lee_by_hand() -> None:
    image = np.array([[1, 2, 3], [4, 9, 1], [2, 2, 3]], np.float32)
    mean, variance, cu2 = image.mean(), image.var(), 1 / 4.4
    weight = np.clip((1 - cu2 * mean**2 / variance) / (1 + cu2), 0, 1)
    assert 0 < weight < 1
    assert speckle.speckle_filter(image, "lee", 3)[1, 1] == pytest.approx(mean + weight * (9 - mean), rel=1e-6)


def test_refined_lee_keeps_an_edge_that_lee_blurs() -> None:
    truth = np.full((120, 120), 0.05, np.float32)
    truth[:, 60:] = 0.5
    noisy = truth * _gamma(truth.shape)
    refined = speckle.speckle_filter(noisy, "refined_lee")
    # the half window on the right side of the edge contains no dark pixel: the mean of its first columns stays
    assert refined[10:-10, 60:62].mean() == pytest.approx(0.5, rel=0.05)
    assert refined[10:-10, 58:60].mean() == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize(("direction", "flip"), [(0, False), (1, False), (2, False), (3, False), (2, True), (3, True)])
def test_half_windows_have_28_pixels_and_hold_the_edge_line(direction: int, flip: bool) -> None:
    side = -1 if flip else 1
    inside = [(i, j) for i in range(-3, 4) for j in range(-3, 4) if speckle._in_half(direction, side, i, j)]
    assert len(inside) == 28
    assert (0, 0) in inside


def test_lee_sigma_keeps_a_point_target() -> None:
    image = 0.05 * _gamma((60, 60))
    image[30:33, 20:23] = 8.0
    out = speckle.speckle_filter(image, "lee_sigma")
    print(f"3 x 3 target of 8: {out[30:33, 20:23].min()} .. {out[30:33, 20:23].max()} (must be 8)")
    assert (out[30:33, 20:23] == 8.0).all()
    assert speckle.speckle_filter(image, "lee")[29, 19] > out[29, 19]  # no halo around it


@pytest.mark.parametrize("name", FILTERS)
def test_nan_neither_spreads_nor_is_filled(name: speckle.FilterName) -> None:
    noise = _gamma((60, 60))
    holes = noise.copy()
    holes[20:24, 30] = np.nan
    holes[:, 50:] = np.nan
    out = speckle.speckle_filter(holes, name)
    print(f"{name}: {np.isnan(holes).sum()} pixels without value before, {np.isnan(out).sum()} after (must be equal)")
    assert np.isnan(out[np.isnan(holes)]).all()
    assert np.isfinite(out[18:26, 27:30]).all()
    assert np.isfinite(out[5:55, 49]).all()  # 4 of 7 columns are valid
    lonely = np.full((21, 21), np.nan, np.float32)
    lonely[10, 10] = 1.0
    assert np.isnan(speckle.speckle_filter(lonely, name)).all()  # fewer than half of the window


@pytest.mark.parametrize("name", FILTERS)
def test_threads_do_not_change_bits(name: speckle.FilterName) -> None:
    noise = _gamma((80, 90))
    try:
        use_threads(1)
        one = speckle.speckle_filter(noise, name)
        use_threads(2)
        assert speckle.speckle_filter(noise, name).tobytes() == one.tobytes()
    finally:
        use_threads(0)


def test_none_and_wrong_settings() -> None:
    noise = _gamma((10, 10))
    assert speckle.speckle_filter(noise, "none").tobytes() == noise.tobytes()
    with pytest.raises(ValueError, match="odd"):
        speckle.speckle_filter(noise, "lee", 6)
    with pytest.raises(ValueError, match="unknown"):
        speckle.speckle_filter(noise, "boxcar")  # type: ignore[arg-type]
    assert [speckle.radius_px(name, 7) for name in ("none", "lee", "refined_lee", "lee_sigma")] == [0, 3, 3, 4]
