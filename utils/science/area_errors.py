"""Class probabilities calibrated on validation ground, and how their errors hang together over the ground.

A probability p of a class errs by e = y - p with y = 1 where the class is true. An area is a sum of p, its error the sum
of e. If pixels erred independently the variance of that sum would be the sum of s^2 = p (1 - p); they do not: a fire that
the radar missed is missed as a whole, and a wet date moves a whole scene. On validation ground is measured

    E[e(x) e(x+h)] / (s(x) s(x+h)) = common + smooth * exp(-h / range) + white * [h = 0]

with the products summed before they are divided, so that pixels of doubt count and sure ones do not. `smooth` and `range`
come from the lags; `common` is set so that the errors of whole groups of ground have the variance that they are seen to
have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import expit, logit

from utils.science.index_uncertainty import at_least

Matrix = NDArray[np.float64]
FloatArray = NDArray[np.floating]
LAGS_PX = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)
MIN_PIXELS = 1000  # a calibration of fewer is noise
_RANGES_PX = np.geomspace(0.5, 128.0, 49)
_SURE = 1e-5  # probabilities are kept this far from 0 and 1: a normal law knows nothing of its own tails
_MOST_CELLS = 256  # cells along the longer side, on which the smooth part is summed
_FIT_PIXELS = 100_000
_ASSUMED_COMMON = 0.02
_PRIOR = 10.0  # pixels' worth of belief that a probability is right as it is


@dataclass(frozen=True)
class Calibration:
    """p -> expit(shift + slope * logit(p)), so that shares of validation pixels are as large as their probability says."""

    shift: float = 0.0
    slope: float = 1.0

    def apply(self, probability: FloatArray) -> Matrix:
        """Calibrated probabilities, NaN where they are."""
        return np.asarray(expit(self.shift + self.slope * logit(np.clip(probability, _SURE, 1 - _SURE))))


def calibrate(probability: FloatArray, happened: NDArray[np.bool_], start: Calibration | None = None) -> Calibration:
    """Fit shift and slope by maximum likelihood with a weak prior at 0 and 1. Source: Platt 1999.

    probability, happened  (N,); slope stays above 0.05; start: where to begin
    """
    x, y = logit(np.clip(np.asarray(probability, np.float64), _SURE, 1 - _SURE)), happened.astype(np.float64)
    at = np.array([start.shift, start.slope]) if start else np.array([0.0, 1.0])
    for _ in range(50):
        p = expit(at[0] + at[1] * x)
        slope = np.array([(y - p).sum(), ((y - p) * x).sum()]) - _PRIOR * (at - [0.0, 1.0])
        w = p * (1 - p)
        bend = np.array([[w.sum(), (w * x).sum()], [(w * x).sum(), (w * x * x).sum()]]) + _PRIOR * np.eye(2)
        step = np.linalg.solve(bend, slope)
        step *= min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))  # no leap out of where Newton converges
        at = at + step
        at[1] = max(at[1], 0.05)
        if np.abs(step).max() < 1e-5:
            break
    return Calibration(float(at[0]), float(at[1]))


@dataclass(frozen=True)
class Covariance:
    """Covariance of e in units of s: three parts, not negative, and the range of the smooth one in pixels."""

    common: float
    smooth: float
    white: float
    range_px: float

    def at(self, lag_px: FloatArray) -> Matrix:
        """Covariance at a distance."""
        lag = np.asarray(lag_px, dtype=np.float64)
        return np.asarray(self.common + self.smooth * np.exp(-lag / self.range_px) + self.white * (lag == 0))

    def variances(self, doubt: Doubt) -> tuple[float, float]:
        """Variance of the sum of e over ground: without the common part, and of the common part."""
        smooth = self.smooth * decaying_sum(doubt, self.range_px)
        return self.white * doubt.squares + smooth, self.common * doubt.total**2


@dataclass(frozen=True)
class Doubt:
    """Sums of s (or of s times the area of a pixel) over ground: all that a variance needs.

    total, squares  sum of s and of s^2; cells: (rows, cols) sums of s over squares of step_px pixels
    """

    total: float
    squares: float
    cells: Matrix
    step_px: int


def cell_step(shape: tuple[int, ...]) -> int:
    """Side of the cells, in pixels, so that the longer side has at most 256."""
    return max(1, math.ceil(max(shape) / _MOST_CELLS))


def doubt_of(spread: FloatArray, step_px: int | None = None) -> Doubt:
    """Sums of a grid of s (H, W), 0 where nothing is summed. Stripes of whole cells can be stacked: cells below one another."""
    step = step_px or cell_step(spread.shape)
    rows, cols = (-(-n // step) for n in spread.shape)
    padded = np.zeros((rows * step, cols * step))
    padded[: spread.shape[0], : spread.shape[1]] = spread
    cells = padded.reshape(rows, step, cols, step).sum(axis=(1, 3))
    return Doubt(float(cells.sum()), float((padded**2).sum()), cells, step)


def decaying_sum(doubt: Doubt, range_px: float) -> float:
    """sum_ij s_i s_j exp(-h_ij / range) over a grid, by a convolution of its cells.

    Within a cell errors count as equal, which makes the sum a little too large where the range is not far above the cell.
    """
    cells, step = doubt.cells, doubt.step_px
    size = tuple(fft.next_fast_len(2 * n, real=True) for n in cells.shape)
    along = [np.minimum(np.arange(n), n - np.arange(n)) * step for n in size]
    kernel = np.exp(-np.hypot(along[0][:, None], along[1][None, :]) / range_px)
    around = fft.irfft2(fft.rfft2(cells, size) * fft.rfft2(kernel, size), size)[: cells.shape[0], : cells.shape[1]]
    return max(0.0, float((cells * around).sum()))


Piece = tuple[str, FloatArray, FloatArray]


def measure(pieces: Sequence[Piece]) -> Covariance:
    """Covariance of the errors of one class.

    pieces   (group, p (H, W), y (H, W) of 0 and 1), NaN = unknown; a group is a scene or a block of one
    raises   ValueError when no probability is in doubt
    """
    top, bottom = np.zeros(len(LAGS_PX)), np.zeros(len(LAGS_PX))
    square = spread_square = 0.0
    scenes: dict[str, list[tuple[float, Doubt]]] = {}
    for group, p, y in pieces:
        known = np.isfinite(p) & np.isfinite(y)
        e = np.where(known, y - p, 0.0).astype(np.float64)
        s = np.sqrt(np.where(known, p * (1 - p), 0.0)).astype(np.float64)
        square, spread_square = square + float((e * e).sum()), spread_square + float((s * s).sum())
        for number, lag in enumerate(LAGS_PX):
            for a, b in ((e, s), (e.T, s.T)):
                if lag < a.shape[0]:
                    top[number] += (a[lag:] * a[:-lag]).sum()
                    bottom[number] += (b[lag:] * b[:-lag]).sum()
        scenes.setdefault(group, []).append((float(e.sum()), doubt_of(s)))
    if spread_square <= 0:
        raise ValueError("no validation pixel is in doubt")
    good = bottom > 1e-3 * bottom.max() if bottom.max() > 0 else np.zeros(len(LAGS_PX), bool)
    lags, rho = np.array(LAGS_PX, dtype=np.float64)[good], top[good] / np.maximum(bottom[good], 1e-30)
    smooth, range_px = _decay(lags, rho)
    rest = max(0.0, square / spread_square - smooth)
    common = _common(scenes, Covariance(0.0, smooth, rest, range_px))
    return Covariance(common, smooth, max(0.0, rest - common), range_px)


def _decay(lags: Matrix, rho: Matrix) -> tuple[float, float]:
    """Smooth part and range by least squares of rho on a constant and a decay, neither negative."""
    best = (math.inf, 0.0, 1.0)
    for range_px in _RANGES_PX if lags.size > 2 else ():
        decay = np.exp(-lags / range_px)
        basis = np.stack([np.ones_like(decay), decay], axis=1)
        level, height = np.linalg.lstsq(basis, rho, rcond=None)[0]
        if level < 0:
            level, height = 0.0, float(decay @ rho / (decay @ decay))
        height = max(height, 0.0)
        miss = float(((level + height * decay - rho) ** 2).sum())
        best = min(best, (miss, float(height), float(range_px)))
    return best[1], best[2]


def _common(scenes: dict[str, list[tuple[float, Doubt]]], inner: Covariance) -> float:
    """What the errors of whole scenes vary by beyond the other two parts, in units of the squared sum of s."""
    excess = doubt = 0.0
    for parts in scenes.values():
        seen = sum(total for total, _ in parts) ** 2
        expected = sum(inner.variances(part)[0] for _, part in parts)
        excess += seen - expected
        doubt += sum(part.total for _, part in parts) ** 2
    return max(0.0, excess / doubt) if doubt > 0 else 0.0


@dataclass(frozen=True)
class AreaModel:
    """Everything measured on validation ground for one table of class edges.

    calibrations  one an edge; covariances: one a class; pixels: validation pixels, 0 = assumed
    groups        scenes, or blocks of one scene, behind the common parts; below 2 these are assumed
    """

    edges: tuple[float, ...]
    calibrations: tuple[Calibration, ...]
    covariances: tuple[Covariance, ...]
    pixels: int
    groups: int

    def probabilities(
        self, difference: FloatArray, sigma: FloatArray, observed: NDArray[np.bool_] | None = None
    ) -> Matrix:
        """(classes, H, W) probability of each class, summing to 1; NaN where an input is.

        observed  pixels that were seen, not simulated: theirs are not calibrated
        """
        above = []
        for one, edge in zip(self.calibrations, self.edges, strict=True):
            bare = at_least(difference, sigma, edge)
            above.append(one.apply(bare) if observed is None else np.where(observed, bare, one.apply(bare)))
        return ladder(above)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def ladder(above: Sequence[Matrix]) -> Matrix:
    """Class probabilities from those to reach each edge, made falling first."""
    falling = np.minimum.accumulate(np.stack(above))
    one = np.where(np.isnan(falling[:1]), np.nan, 1.0)
    return -np.diff(np.concatenate([one, falling, 0 * one]), axis=0)


def assumed(edges: Sequence[float]) -> AreaModel:
    """Where there is no validation ground: probabilities as they are, errors about as simulated scenes have them."""
    many = tuple(float(edge) for edge in edges)
    guess = Covariance(_ASSUMED_COMMON, 0.6, 0.4, 12.0)
    return AreaModel(many, (Calibration(),) * len(many), (guess,) * (len(many) + 1), 0, 0)


Ground = tuple[str, FloatArray, FloatArray, FloatArray]


def fit(pieces: Sequence[Ground], edges: Sequence[float], scene_px: float | None = None) -> AreaModel:
    """Measure the model.

    The error of a group is taken with the calibration of the OTHER groups: with its own it would be 0 by construction, and
    nothing would be left to learn from. What groups vary by is the common part of a new scene. Where the groups are blocks
    of the very scene whose area is asked for, what the scene has in common is in the calibration already, and left is
    that B of its N blocks stand for all: common * (1/B + 1/N).

    pieces    (group, predicted difference, its sigma, true difference), (H, W) each, NaN = unknown
    scene_px  pixels of that scene; None = the groups are scenes, and others than it
    raises    ValueError with fewer than MIN_PIXELS known pixels
    """
    known = [np.isfinite(d) & np.isfinite(s) & np.isfinite(t) for _, d, s, t in pieces]
    pixels, many = int(sum(mask.sum() for mask in known)), tuple(float(edge) for edge in edges)
    if pixels < MIN_PIXELS:
        raise ValueError(f"{pixels} validation pixels with a known error are too few (at least {MIN_PIXELS})")
    names = sorted({piece[0] for piece, mask in zip(pieces, known, strict=True) if mask.any()})
    models = _calibrated(pieces, known, names, many)
    tables: list[list[Piece]] = [[] for _ in range(len(many) + 1)]
    for (group, own, sigma, true), mask in zip(pieces, known, strict=True):
        shares = models.get(group, models[""]).probabilities(np.where(mask, own, np.nan), sigma)
        codes = np.digitize(np.where(mask, true, 0.0), many)
        for code, table in enumerate(tables):
            table.append((group, shares[code], np.where(mask, codes == code, np.nan)))
    factor = 1.0 if scene_px is None else 1 / len(names) + pixels / len(names) / max(scene_px, 1.0)
    found = [_measured(table) for table in tables]
    # few groups may agree on a class by chance: no class has less in common than all of them together
    weights = np.array(
        [sum(float(np.sqrt(np.nan_to_num(p * (1 - p))).sum()) for _, p, _ in table) ** 2 for table in tables]
    )
    together = float(weights @ [one.common for one in found] / max(weights.sum(), 1e-30))
    covariances = []
    for one in found:
        common = factor * max(one.common, together) if len(names) > 1 else _ASSUMED_COMMON
        covariances.append(Covariance(common, one.smooth, one.white, one.range_px))
    return AreaModel(many, models[""].calibrations, tuple(covariances), pixels, len(names))


def _calibrated(
    pieces: Sequence[Ground], known: Sequence[NDArray[np.bool_]], names: Sequence[str], edges: tuple[float, ...]
) -> dict[str, AreaModel]:
    """Calibrations of all groups under the name "", and of all but one under the name of that one."""
    d, s, t = (np.concatenate([piece[i][mask] for piece, mask in zip(pieces, known, strict=True)]) for i in (1, 2, 3))
    group = np.repeat([names.index(piece[0]) if mask.any() else 0 for piece, mask in zip(pieces, known, strict=True)], [mask.sum() for mask in known])  # fmt: skip
    few = np.random.default_rng(0).permutation(len(d))[:_FIT_PIXELS]
    bare = [at_least(d[few], s[few], edge) for edge in edges]
    happened = [t[few] >= edge for edge in edges]
    whole = tuple(calibrate(p, y) for p, y in zip(bare, happened, strict=True))
    models = {"": AreaModel(edges, whole, (), len(d), len(names))}
    for number, name in enumerate(names if len(names) > 1 else ()):
        rest = group[few] != number
        others = tuple(calibrate(p[rest], y[rest], one) for p, y, one in zip(bare, happened, whole, strict=True))
        models[name] = AreaModel(edges, others, (), len(d), len(names))
    return models


def _measured(table: Sequence[Piece]) -> Covariance:
    try:
        return measure(table)
    except ValueError:
        return Covariance(0.0, 0.0, 1.0, 1.0)
