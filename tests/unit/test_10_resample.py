"""Radar to map sampling: hand-computed weights, NaN rule, positivity, energy."""

import numpy as np
import pytest

from utils.science import resample
from utils.science.threads import use_threads


def _at(image: list[list[float]], line: float, pixel: float, method: resample.Resampling = "bilinear") -> float:
    array = np.array(image, np.float32)
    return float(resample.to_map(array, 100, 200, np.array([[line]]), np.array([[pixel]]), method)[0, 0])


NAN = float("nan")
SQUARE = [[1.0, 2.0], [3.0, 7.0]]


@pytest.mark.parametrize(
    ("line", "pixel", "expected"),
    [
        (100.0, 200.0, 1.0),
        (101.0, 201.0, 7.0),
        (100.5, 200.5, 3.25),
        (100.25, 200.75, 0.75 * (0.25 * 1 + 0.75 * 2) + 0.25 * (0.25 * 3 + 0.75 * 7)),
        (99.5, 200.0, 1.0),  # half of the weight is outside
        (99.4, 200.0, NAN),
        (101.6, 200.0, NAN),
        (NAN, 200.0, NAN),
    ],
)
def test_bilinear_by_hand(line: float, pixel: float, expected: float) -> None:
    assert _at(SQUARE, line, pixel) == pytest.approx(expected, nan_ok=True)


def test_nan_weights_are_dropped_and_the_rest_renormalised() -> None:
    assert _at([[1.0, NAN], [3.0, 7.0]], 100.5, 200.5) == pytest.approx(11 / 3)
    assert np.isnan(_at([[1.0, NAN], [NAN, NAN]], 100.5, 200.5))
    assert _at([[1.0, NAN], [NAN, NAN]], 100.1, 200.1) == 1.0


@pytest.mark.parametrize(
    ("line", "pixel", "expected"), [(100.4, 200.6, 2.0), (101.49, 199.51, 3.0), (101.5, 200.0, NAN)]
)
def test_nearest(line: float, pixel: float, expected: float) -> None:
    assert _at(SQUARE, line, pixel, "nearest") == pytest.approx(expected, nan_ok=True)


def test_positive_stays_positive_and_within_bounds() -> None:
    rng = np.random.default_rng(0)
    image = rng.gamma(1.0, 1.0, (80, 80)).astype(np.float32) + np.float32(1e-4)
    image[rng.random(image.shape) < 0.2] = np.nan
    line, pixel = rng.uniform(-2, 82, (2, 200, 200))
    out = resample.to_map(image, 0, 0, line, pixel, "bilinear")
    print(
        f"smallest {np.nanmin(out):.6f} (limit {np.nanmin(image):.6f}), largest {np.nanmax(out):.3f} (limit {np.nanmax(image):.3f})"
    )
    assert np.nanmin(out) >= np.nanmin(image)
    assert np.nanmax(out) <= np.nanmax(image)


def test_half_pixel_shift_keeps_the_sum() -> None:
    image = np.random.default_rng(2).gamma(4.4, 1 / 4.4, (200, 200)).astype(np.float32)
    line, pixel = np.meshgrid(np.arange(5, 195) + 0.5, np.arange(5, 195) + 0.5, indexing="ij")
    out = resample.to_map(image, 0, 0, line, pixel, "bilinear")
    ratio = out.sum() / image[5:195, 5:195].sum()
    print(f"sum after half a pixel: {ratio:.4f} (limit 1 +- 0.01)")
    assert ratio == pytest.approx(1.0, abs=0.01)


def test_flags_nearest_and_outside() -> None:
    flags = np.array([[0, 1], [2, 3]], np.uint8)
    line, pixel = np.array([[10.4, 10.6, 9.4, np.nan]]), np.array([[20.6, 19.6, 20.0, 20.0]])
    assert resample.flags_to_map(flags, 10, 20, line, pixel, 9).tolist() == [[1, 2, 9, 9]]


def test_threads_do_not_change_bits() -> None:
    rng = np.random.default_rng(4)
    image, (line, pixel) = rng.random((50, 50)).astype(np.float32), rng.uniform(0, 49, (2, 70, 60))
    try:
        use_threads(1)
        one = resample.to_map(image, 0, 0, line, pixel, "bilinear")
        use_threads(2)
        assert resample.to_map(image, 0, 0, line, pixel, "bilinear").tobytes() == one.tobytes()
    finally:
        use_threads(0)
