"""Speckle filters: published constants, hand-computed windows, statistics, NaN."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from utils.science import speckle, speckle_refined
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
    inside = [(i, j) for i in range(-3, 4) for j in range(-3, 4) if speckle_refined.in_half(direction, side, i, j)]
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


def _holes(shape: tuple[int, int]) -> np.ndarray:
    """Noise with negative power, single and wide gaps, point targets."""
    rng = np.random.default_rng(8)
    image = 0.05 * _gamma(shape, 1.5) - np.float32(0.01)
    image[rng.random(shape) < 0.2] = np.nan
    image[30:55, 20:60] = np.nan
    for row in range(5, shape[0] - 3, 4):  # a target at every cut: crosses, of which a part is none
        for r, c in ((0, 0), (0, 2), (1, 1), (2, 0), (2, 2)):
            image[row + r, 500 + c] = 4.0 + r + 0.3 * c
    return image


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(("window", "step"), [(7, 13), (3, 1), (9, 40)])
def test_pieces_with_a_halo_equal_the_whole(name: speckle.FilterName, window: int, step: int) -> None:
    """Any cut into rows or columns, also into single rows, changes no bit; one pixel less of halo would."""
    image = _holes((101, 700))
    bright, reach = speckle.bright_limit(image), speckle.radius_px(name, window)
    whole = speckle.speckle_filter(image, name, window)

    def in_pieces(source: np.ndarray, halo: int, by: int) -> np.ndarray:
        rows = source.shape[0]
        parts = []
        for start in range(0, rows, by):
            top = max(start - halo, 0)
            part = speckle.speckle_filter(source[top : start + by + halo], name, window, bright=bright)
            parts.append(part[start - top : start - top + by])
        return np.concatenate(parts)

    assert in_pieces(image, reach, step).tobytes() == whole.tobytes()
    assert in_pieces(image, reach - 1, step).tobytes() != whole.tobytes()
    turned = speckle.speckle_filter(np.ascontiguousarray(image.T), name, window)
    assert in_pieces(np.ascontiguousarray(image.T), reach, step + 200).tobytes() == turned.tobytes()


def test_bright_limit_is_the_98th_percentile_of_what_is_valid() -> None:
    sample = np.arange(101, dtype=np.float32)
    assert speckle.bright_limit(sample) == 98.0
    assert speckle.bright_limit(np.append(sample, [np.nan, np.nan]).astype(np.float32)) == 98.0
    assert speckle.bright_limit(np.full(3, np.nan, np.float32)) == np.inf
    image = 0.05 * _gamma((60, 60))
    image[30:33, 20:23] = target = 8 * _gamma((3, 3), seed=1)
    default = speckle.speckle_filter(image, "lee_sigma")
    given = speckle.speckle_filter(image, "lee_sigma", bright=speckle.bright_limit(image))
    assert default.tobytes() == given.tobytes()
    without = speckle.speckle_filter(image, "lee_sigma", bright=np.inf)
    assert (default[30:33, 20:23] == target).all()
    assert (without[30:33, 20:23] != target).any()


@pytest.mark.parametrize("name", FILTERS)
def test_filters_against_the_plain_formulas(name: speckle.FilterName) -> None:
    """Every formula once more, pixel by pixel with NumPy, on noise with gaps, targets and image edges."""
    image = _holes((60, 520))[:, 480:]
    bright = speckle.bright_limit(image)
    expected = _PLAIN[name](image.astype(float), bright)
    out = speckle.speckle_filter(image, name, 7)
    assert (np.isnan(out) == np.isnan(expected)).all()
    assert np.nanmax(np.abs(out - expected)) < 2e-6


def _around(image: np.ndarray, r: int, c: int, radius: int) -> np.ndarray:
    return image[max(r - radius, 0) : r + radius + 1, max(c - radius, 0) : c + radius + 1]


def _plain_lee(window: np.ndarray, value: float) -> float:
    known = window[np.isfinite(window)]
    mean, variance = known.mean(), known.var()
    weight = (1 - mean**2 / 4.4 / variance) / (1 + 1 / 4.4) if variance > 1e-20 else 0.0
    return float(mean + np.clip(weight, 0, 1) * (value - mean))


def _each(image: np.ndarray, formula: Callable[[int, int], float]) -> np.ndarray:
    """The formula where a pixel and half of its 7 x 7 window are valid."""
    out = np.full(image.shape, np.nan)
    for r, c in np.argwhere(np.isfinite(image)):
        out[r, c] = formula(int(r), int(c))
    return out


def _lee_oracle(image: np.ndarray, _: float) -> np.ndarray:
    def formula(r: int, c: int) -> float:
        window = _around(image, r, c, 3)
        return _plain_lee(window, image[r, c]) if np.isfinite(window).mean() >= 0.5 else np.nan

    return _each(image, formula)


def _sigma_oracle(image: np.ndarray, bright: float) -> np.ndarray:
    limits = speckle.sigma_range(4.4, 0.9)

    def formula(r: int, c: int) -> float:
        window, value = _around(image, r, c, 3), image[r, c]
        if np.isfinite(window).mean() < 0.5:
            return np.nan
        centres = [(i, j) for i in (r - 1, r, r + 1) for j in (c - 1, c, c + 1)]
        inside = [(i, j) for i, j in centres if 0 <= i < image.shape[0] and 0 <= j < image.shape[1]]
        if value > bright and any((_around(image, i, j, 1) > bright).sum() >= 5 for i, j in inside):
            return float(value)
        prior = _plain_lee(_around(image, r, c, 1), value)
        ends = sorted((limits.low * prior, limits.high * prior))
        kept = window[(window >= ends[0]) & (window <= ends[1])]
        if kept.size == 0:
            return prior
        mean, variance, eta2 = kept.mean(), kept.var(), limits.variation**2
        weight = (variance - mean**2 * eta2) / (1 + eta2) / variance if variance > 1e-20 else 0.0
        return float(mean + np.clip(weight, 0, 1) * (value - mean))

    return _each(image, formula)


def _refined_oracle(image: np.ndarray, _: float) -> np.ndarray:
    """Edge across columns, rows, and the two diagonals; halves hold the line through the centre."""
    wide = np.pad(image, 4, constant_values=np.nan)
    there = np.pad(np.ones(image.shape, bool), 4)
    i, j = np.mgrid[-3:4, -3:4]
    along = (j, i, j - i, i + j)

    def formula(r: int, c: int) -> float:
        window, inside = wide[r + 1 : r + 8, c + 1 : c + 8], there[r + 1 : r + 8, c + 1 : c + 8]
        subs = np.array([[_mean(wide[r + a : r + a + 3, c + b : c + b + 3]) for b in (1, 3, 5)] for a in (1, 3, 5)])
        m = subs[1, 1]
        s = np.where(np.isnan(subs), m, subs)
        steps = (
            s[:, 2].sum() - s[:, 0].sum(), s[2].sum() - s[0].sum(),
            s[0, 1] + s[0, 2] + s[1, 2] - s[1, 0] - s[2, 0] - s[2, 1], s[1, 2] + s[2, 2] + s[2, 1] - s[0, 1] - s[0, 0] - s[1, 0],
        )  # fmt: skip
        edge = int(np.argmax(np.abs(steps)))
        near = ((1, 0), (0, 1), (2, 0), (0, 0))[edge]
        far = ((1, 2), (2, 1), (0, 2), (2, 2))[edge]
        one, other = (np.inf if np.isnan(subs[p]) else abs(subs[p] - m) for p in (near, far))
        side = -1 if one <= other else 1
        for sign in (side, -side):
            half = (along[edge] * sign >= 0) & inside
            known = window[half & np.isfinite(window)]
            if 2 * known.size >= half.sum():
                mean, variance = known.mean(), known.var()
                signal = (variance - mean**2 / 4.4) / (1 + 1 / 4.4)
                weight = max(signal / variance, 0.0) if variance > 1e-20 else 0.0
                return float(mean + weight * (image[r, c] - mean))
        return np.nan

    return _each(image, formula)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else np.nan


_PLAIN = {"lee": _lee_oracle, "lee_sigma": _sigma_oracle, "refined_lee": _refined_oracle}


@pytest.mark.parametrize("looks", [1.0, 4.4, 20.0])
def test_estimated_looks_of_known_speckle(looks: float) -> None:
    """The choice of the most homogeneous windows biases upwards: order statistics of 1024 pixels give about +8.5 %."""
    found = speckle.estimate_looks(0.1 * _gamma((1024, 1024), looks))
    spread = np.sqrt(2 * (1 + 1 / looks) / 1024)  # standard error of mean^2 / variance over one window
    print(f"ENL of {looks}: {found:.2f}, bias {100 * (found / looks - 1):+.1f} % (limit 2.5 standard errors)")
    assert 1.0 < found / looks < 1 + 2.5 * spread


def test_estimated_looks_come_from_homogeneous_windows() -> None:
    """Half of the image is rough ground; missing and negative pixels are left out; too little is refused."""
    image = 0.1 * _gamma((512, 1024))
    expected = speckle.estimate_looks(image)
    rough = image * np.where(np.arange(1024) % 2, 0.3, 1.7).astype(np.float32)
    both = np.concatenate([image, rough])
    both[600:, :] = np.nan
    assert speckle.estimate_looks(both) == pytest.approx(expected, rel=0.05)
    assert speckle.estimate_looks(np.concatenate([image, -rough])) == expected
    with pytest.raises(ValueError, match="9 windows of 32 x 32 px are complete; 10 are needed"):
        speckle.estimate_looks(image[:100, :100])


@pytest.mark.skipif("S2CR_DATA" not in os.environ, reason="S2CR_DATA is not set")
def test_estimated_looks_of_real_data() -> None:
    """Digital numbers at reduced resolution (averaged: many looks), and a gamma0 series at 30 m."""
    from utils.io import raster

    data = Path(os.environ["S2CR_DATA"])
    found = {}
    for name in ("vv", "vh"):
        dn = raster.read(data / "sentinel1" / "grd_2018_reduced" / f"iw-{name}.tiff")[0].astype(np.float32)
        dn[dn == 0] = np.nan
        found[name] = speckle.estimate_looks(dn**2)
    paths = sorted((data / "s1_rtc_series").glob("*/*_VV.tif"))
    images = [image for path in paths if np.isfinite(image := raster.read(path)[0]).all() and image.size == 10_000]
    series = [speckle.estimate_looks(image, 16) for image in images]
    print(
        f"ENL of reduced digital numbers: VV {found['vv']:.0f}, VH {found['vh']:.0f} (several hundred pixels are one)"
    )
    print(f"ENL of {len(series)} gamma0 images at 30 m: {min(series):.1f} .. {max(series):.1f}")
    assert 50 < found["vv"] < 2000
    assert 50 < found["vh"] < 2000
    assert 3 < np.median(series) < 20


def test_none_and_wrong_settings() -> None:
    noise = _gamma((10, 10))
    assert speckle.speckle_filter(noise, "none").tobytes() == noise.tobytes()
    with pytest.raises(ValueError, match="odd"):
        speckle.speckle_filter(noise, "lee", 6)
    with pytest.raises(ValueError, match="unknown"):
        speckle.speckle_filter(noise, "boxcar")  # type: ignore[arg-type]
    names = ("none", "lee", "refined_lee", "lee_sigma")
    assert [[speckle.radius_px(name, window) for name in names] for window in (7, 3)] == [[0, 3, 3, 3], [0, 1, 3, 2]]
