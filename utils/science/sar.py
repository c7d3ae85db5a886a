"""Backscatter: repair of non-positive power, decibels, interpolation on power. Arrays are (H, W) unless stated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.spatial import KDTree

from utils.science.grid import Grid

FloatArray = NDArray[np.floating[Any]]
BoolArray = NDArray[np.bool_]

# Fixed display and clip ranges of calibrated backscatter over land, dB.
CLIP_DB: dict[str, tuple[float, float]] = {"VV": (-25.0, 0.0), "VH": (-32.5, 0.0)}
_NEAR_PX = 12  # up to here every hole looks around itself; wider gaps share a tree
_TIE_MARGIN = 12  # a circle around a pixel holds at most 12 pixels up to a radius of 8 px


def to_db(power: FloatArray) -> FloatArray:
    """10 log10 of linear power.

    power    any shape, linear; NaN = nodata
    returns  same shape, dB; NaN where power is NaN or not positive (fill it first)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(power > 0, 10.0 * np.log10(power), np.nan).astype(power.dtype)


def from_db(db: FloatArray) -> FloatArray:
    """Linear power of dB; inverse of to_db. NaN stays NaN."""
    return np.asarray(np.power(10.0, db / 10.0), dtype=db.dtype)


def needs_fill(x: FloatArray, valid: BoolArray) -> BoolArray:
    """Pixels inside the swath that are not positive or not finite. log10(0) is -inf, so zero counts too."""
    with np.errstate(invalid="ignore"):
        return np.asarray(valid & ~(np.isfinite(x) & (x > 0)))


def fill_non_positive_knn(x: FloatArray, valid: BoolArray, k: int = 5) -> FloatArray:
    """Replace non-positive and non-finite pixels by their k nearest good pixels.

    x        (H, W) linear power
    valid    (H, W) True inside the swath; outside stays NaN and is neither filled nor used
    returns  (H, W) in the type of x. A hole becomes the mean of its k nearest good pixels in (row, col), weighted by
             1/distance; equal distances go to the smaller row, then column, so that a window with a halo gives the
             same values as the whole. With fewer than k good pixels holes are NaN
    raises   ValueError if the shapes differ or k < 1
    """
    if x.ndim != 2 or x.shape != valid.shape:
        raise ValueError(f"power {x.shape} and valid {valid.shape} must be equal two-dimensional shapes")
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    out = np.where(valid, x, np.nan).astype(x.dtype)
    holes = needs_fill(x, valid)
    good = valid & ~holes
    if not holes.any():
        return out
    out[holes] = np.nan
    if int(good.sum()) < k:
        return out
    left = _fill_near(x, good, np.argwhere(holes), k, out)
    ring_px = 2 * _NEAR_PX
    while len(left):
        solved, values = _fill_from_ring(x, good, left, k, ring_px)
        done = left[solved]
        out[done[:, 0], done[:, 1]] = values
        left = left[~solved]
        ring_px *= 2
    return out


def _fill_near(x: FloatArray, good: BoolArray, holes: NDArray[np.intp], k: int, out: FloatArray) -> NDArray[np.intp]:
    """Fill the holes whose k nearest good pixels certainly lie within _NEAR_PX; returns the others."""
    from utils.science.fill_kernels import nearest_good

    solved, rows, cols, distance2 = nearest_good(good, holes, k, _NEAR_PX)
    done = holes[solved]
    power, weight = (
        x[rows[solved], cols[solved]].astype(np.float64),
        1.0 / np.sqrt(distance2[solved].astype(np.float64)),
    )
    out[done[:, 0], done[:, 1]] = (power * weight).sum(axis=1) / weight.sum(axis=1)
    return np.asarray(holes[~solved])


def _fill_from_ring(
    x: FloatArray, good: BoolArray, holes: NDArray[np.intp], k: int, ring_px: int
) -> tuple[BoolArray, FloatArray]:
    """Fill the holes whose k nearest good pixels certainly lie within ring_px; returns (which, values)."""
    whole = ring_px >= max(x.shape)
    near = good
    if not whole:
        at = np.zeros(x.shape, dtype=bool)
        at[holes[:, 0], holes[:, 1]] = True
        near = good & binary_dilation(at, structure=np.ones((3, 3), dtype=bool), iterations=ring_px)
    candidates = np.argwhere(near)
    if len(candidates) < k:
        return np.zeros(len(holes), dtype=bool), np.empty(0)
    index, distance2 = _ordered_neighbours(candidates, holes, k)
    solved = np.ones(len(holes), dtype=bool) if whole else distance2[:, -1] < (ring_px + 1) ** 2
    chosen = candidates[index[solved]]
    weight = 1.0 / np.sqrt(distance2[solved].astype(np.float64))
    power = x[chosen[..., 0], chosen[..., 1]].astype(np.float64)
    return solved, (power * weight).sum(axis=1) / weight.sum(axis=1)


def _ordered_neighbours(
    candidates: NDArray[np.intp], holes: NDArray[np.intp], k: int
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Indices and squared distances (n, k) of the k nearest candidates, ties by row, then column.

    The tree returns ties in an order that depends on all points it holds, so more neighbours are asked for until
    everything tied with the k-th is among them; candidates come sorted by row, then column.
    """
    tree = KDTree(candidates)
    n_asked = min(k + _TIE_MARGIN, len(candidates))
    while True:
        index = np.asarray(tree.query(holes, k=n_asked)[1]).reshape(len(holes), n_asked)
        distance2 = ((candidates[index] - holes[:, None, :]) ** 2).sum(axis=-1)
        order = np.lexsort((index, distance2), axis=-1)
        index, distance2 = np.take_along_axis(index, order, axis=1), np.take_along_axis(distance2, order, axis=1)
        if n_asked == len(candidates) or not (distance2[:, k - 1] == distance2[:, -1]).any():
            return index[:, :k], distance2[:, :k]
        n_asked = min(2 * n_asked, len(candidates))


def bilinear_on_grid(power: FloatArray, source: Grid, target: Grid) -> FloatArray:
    """Bilinear interpolation of linear power from one north-up grid to another of the same coordinate system.

    power    (rows, cols) on source; NaN = nodata
    returns  (rows, cols) float32 on target. Weights of NaN neighbours go to the others; NaN where none is left and
             where the pixel centre lies outside the outer edge of source. Within half a source pixel of that edge the
             edge pixel's value holds
    raises   ValueError for different coordinate systems or a shape that is not that of source
    """
    if source.epsg != target.epsg:
        raise ValueError(f"different coordinate systems: EPSG {source.epsg} and {target.epsg}")
    if power.shape != source.shape:
        raise ValueError(f"array {power.shape} is not on its grid {source.shape}")
    row = (target.pixel_centres_y() - source.y0) / source.dy - 0.5
    col = (target.pixel_centres_x() - source.x0) / source.dx - 0.5
    edge = 1e-6  # pixel centres computed from degrees are not exact
    inside = ((row > -0.5 - edge) & (row < source.rows - 0.5 + edge))[:, None] & (
        (col > -0.5 - edge) & (col < source.cols - 0.5 + edge)
    )
    total, weights = np.zeros(target.shape), np.zeros(target.shape)
    for row_index, row_weight in _linear_weights(row, source.rows):
        for col_index, col_weight in _linear_weights(col, source.cols):
            value = power[np.ix_(row_index, col_index)].astype(np.float64)
            weight = np.where(np.isnan(value), 0.0, row_weight[:, None] * col_weight)
            total += np.where(np.isnan(value), 0.0, value) * weight
            weights += weight
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(inside & (weights > 0), total / weights, np.nan).astype(np.float32)


def _linear_weights(position: FloatArray, length: int) -> list[tuple[NDArray[np.intp], FloatArray]]:
    """The two neighbours of each position along an axis with their weights; clamped at the ends."""
    clamped = np.clip(position, 0, length - 1)
    low = np.minimum(np.floor(clamped).astype(np.intp), max(length - 2, 0))
    share = clamped - low
    return [(low, 1.0 - share), (np.minimum(low + 1, length - 1), share)]
