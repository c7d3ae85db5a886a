"""Calibration and noise by hand-computed pixels."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests import s1_oracles
from utils.science import calibrate
from utils.science.grid import Window


@dataclass
class Table:
    lines: np.ndarray
    pixels: list[np.ndarray]
    values: list[np.ndarray]


@dataclass
class Block:
    first_line: int
    last_line: int
    first_pixel: int
    last_pixel: int
    lines: np.ndarray
    values: np.ndarray


@dataclass
class Noise:
    range_vectors: Table
    azimuth_blocks: list[Block] = field(default_factory=list)


TABLE = Table(
    np.array([0, 10, 30]),
    [np.array([0, 10]), np.array([0, 5, 10]), np.array([2, 6])],
    [np.array([1.0, 2.0]), np.array([3.0, 3.0, 5.0]), np.array([10.0, 20.0])],
)


@pytest.mark.parametrize(
    ("line", "pixel", "expected"),
    [
        (0, 0, 1.0),
        (0, 5, 1.5),
        (5, 5, (1.5 + 3.0) / 2),
        (10, 8, 3.0 + 2.0 * 3 / 5),
        (20, 4, (3.0 + 15.0) / 2),
        (30, 0, 10.0),  # before the vector's first pixel: clamped
        (30, 9, 20.0),  # after its last pixel
        (99, 6, 20.0),  # after the last vector: clamped, not extrapolated
    ],
)
def test_table_is_bilinear_per_vector_and_clamped(line: int, pixel: int, expected: float) -> None:
    at = Window(line, pixel, 1, 1)
    assert calibrate.table_on_image(TABLE, at)[0, 0] == pytest.approx(expected)
    assert s1_oracles.table_in_use(TABLE, at)[0, 0] == pytest.approx(expected, rel=2e-7)  # as lines are calibrated


def test_window_equals_single_pixels() -> None:
    whole = calibrate.table_on_image(TABLE, Window(3, 1, 35, 9))
    for line, pixel in [(3, 1), (9, 5), (10, 9), (29, 2), (37, 9)]:
        assert whole[line - 3, pixel - 1] == calibrate.table_on_image(TABLE, Window(line, pixel, 1, 1))[0, 0]


def test_single_vector() -> None:
    one = Table(np.array([7]), [np.array([0, 2])], [np.array([1.0, 3.0])])
    assert calibrate.table_on_image(one, Window(0, 1, 2, 1)).tolist() == [[2.0], [2.0]]
    assert s1_oracles.table_in_use(one, Window(0, 1, 2, 1)).tolist() == [[2.0], [2.0]]


def _noise_arrays(noise: Noise, window: Window) -> np.ndarray:
    return calibrate.noise_on_image(noise, window)


def _noise_lines(noise: Noise, window: Window) -> np.ndarray:
    """What LinePower takes off: 0 where the tables have nothing."""
    return s1_oracles.noise_in_use(noise, window)[0]


@pytest.mark.parametrize("noise_of", [_noise_arrays, _noise_lines])
def test_noise_is_range_times_azimuth_inside_the_block(noise_of: Callable[[Noise, Window], np.ndarray]) -> None:
    flat = Table(np.array([0, 100]), [np.array([0, 100])] * 2, [np.array([50.0, 50.0])] * 2)
    block = Block(10, 19, 5, 9, np.array([10, 20]), np.array([1.0, 2.0]))
    eta = noise_of(Noise(flat, [block]), Window(8, 4, 14, 8))
    assert eta[0, 0] == 50.0  # line 8: outside, factor 1
    assert eta[15 - 8, 5 - 4] == pytest.approx(75.0)  # line 15, pixel 5
    assert eta[19 - 8, 9 - 4] == pytest.approx(95.0)  # bounds are inclusive
    assert eta[20 - 8, 9 - 4] == 50.0
    assert eta[15 - 8, 10 - 4] == 50.0
    assert eta[15 - 8, 4 - 4] == 50.0


def test_zero_noise_is_missing_not_zero() -> None:
    table = Table(
        np.array([0, 10]), [np.array([0, 10, 20])] * 2, [np.array([0.0, 40.0, 60.0]), np.array([30.0, 40.0, 60.0])]
    )
    eta = calibrate.noise_on_image(Noise(table), Window(0, 0, 11, 21))
    assert np.isnan(eta[0, 0])
    assert np.isnan(eta[0, 5])  # between a missing and a known node
    assert eta[0, 15] == pytest.approx(50.0)
    assert eta[10, 0] == pytest.approx(30.0)  # the line of the other vector does not need the missing one
    two = Table(np.array([0]), [np.array([0])], [np.array([2.0])])
    power = s1_oracles.power_at(np.full((11, 21), 10, np.uint16), two, Noise(table), Window(0, 0, 11, 21))
    assert power[0, 0] == 25.0  # DN^2 kept
    assert power[0, 15] == pytest.approx((100 - 50) / 4)


def test_beta0_by_hand() -> None:
    """Design figures: S1B line 8000 pixel 15000, DN 91; S1A DN 57 and 20."""
    at = Window(0, 0, 1, 2)

    def even(value: float) -> Table:
        return Table(np.array([0]), [np.array([0])], [np.array([value])])

    def power(dn: list[int], nought: float, eta: float | None) -> list[float]:
        noise = None if eta is None else Noise(even(eta))
        return s1_oracles.power_at(np.array([dn], np.uint16), even(nought), noise, at)[0].tolist()

    for (dn, nought, eta), expected in [
        (([91, 0], 473.9733, None), [0.03686167, np.nan]),
        (([91, 0], 473.9733, 783.4001), [0.03337448, np.nan]),
        (([57, 20], 474.0, 784.2488), [0.01097025, -0.00171024]),
    ]:
        found = power(dn, nought, eta)
        print(f"DN {dn}: {found} expected {expected} (limit 1e-5 relative)")
        assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)
    assert power([91, 91], 473.9733, None)[0] == pytest.approx(0.03686167, rel=1e-6)
    assert power([65535, 1], 1.0, None) == [np.float32(65535.0**2), 1.0]


@pytest.mark.parametrize(
    ("ipf", "level", "removed", "wanted", "expected"),
    [
        ((3, 40), 5.0, False, True, "yes"),
        ((2, 60), 5.0, False, True, "yes"),
        ((2, 50), 5.0, False, True, "no_data"),
        ((2, 36), 5.0, False, True, "no_data"),
        ((3, 40), 0.0, False, True, "no_data"),
        ((3, 40), 5.0, True, True, "already"),
        ((3, 40), 5.0, False, False, "off"),
        ((3, 40), None, False, True, "no_data"),
    ],
)
def test_noise_state(ipf: tuple[int, int], level: float | None, removed: bool, wanted: bool, expected: str) -> None:
    table = None if level is None else Noise(Table(np.array([0]), [np.array([0, 9])], [np.full(2, level)]))
    assert calibrate.noise_state(ipf, table, removed, wanted) == expected


def test_old_products_need_a_border_mask() -> None:
    assert [calibrate.needs_border_mask(ipf) for ipf in ((2, 36), (2, 89), (2, 90), (3, 40))] == [
        True,
        True,
        False,
        False,
    ]
