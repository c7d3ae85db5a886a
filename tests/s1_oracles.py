"""Plain versions of Sentinel-1 steps on whole arrays, and the tables that the one-pass code works with, read back."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from utils.science import geocode
from utils.science.calibrate import NoiseTables, VectorTable
from utils.science.grid import Window
from utils.science.line_power import LinePower

FloatArray = NDArray[np.float64]


def beta0(dn: NDArray[np.uint16], beta_nought: FloatArray, noise_dn2: FloatArray | None) -> NDArray[np.float32]:
    """beta0 = (DN^2 - noise) / betaNought^2, float32 linear power, signed; NaN where DN is 0.

    noise_dn2  noise power, NaN where unknown (DN^2 is kept there), or None
    """
    power = dn.astype(np.float64) ** 2
    if noise_dn2 is not None:
        power -= np.nan_to_num(noise_dn2, nan=0.0)
    return np.where(dn > 0, power / beta_nought**2, np.nan).astype(np.float32)


def locate_exact(geometry: geocode.ImageGeometry, ecef_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Image line and pixel of ground points S + (3,), by Newton's method for every point; NaN as zero_doppler."""
    time, slant = geocode.zero_doppler(geometry.orbit, ecef_m, geometry.lines * geometry.line_interval_s / 2)
    line = time / geometry.line_interval_s
    return line, geometry.srgr.ground_range(time, slant) / geometry.range_spacing_m


def power_at(
    dn: NDArray[np.uint16], table: VectorTable, noise: NoiseTables | None, window: Window
) -> NDArray[np.float32]:
    """beta0 of a window by LinePower, as the stages ask for it."""
    return LinePower(table, noise, window).lines(dn, window.row, None)


def table_in_use(table: VectorTable, window: Window) -> FloatArray:
    """Calibration values that LinePower divides by, from its power of DN 1024; seven digits."""
    dn = np.full((window.rows, window.cols), 1024, np.uint16)
    return 1024 / np.sqrt(power_at(dn, table, None, window).astype(np.float64))


def noise_in_use(noise: NoiseTables, window: Window) -> tuple[FloatArray, float]:
    """DN^2 that LinePower takes off, 0 where the tables have none, and its share of such pixels; seven digits."""
    one = SimpleNamespace(lines=np.array([0]), pixels=[np.array([0])], values=[np.array([1.0])])
    power = LinePower(one, noise, window)
    found = power.lines(np.ones((window.rows, window.cols), np.uint16), window.row, None)
    return 1 - found.astype(np.float64), power.noise_missing_fraction
