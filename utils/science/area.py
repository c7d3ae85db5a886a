"""Areas with 95 % intervals: from a sample with reference, over blocks, and from class probabilities.

Three estimators for three situations:
- `stratified`: reference pixels one a cell, cells far enough apart to be independent (Olofsson et al. 2014);
- `clustered` and `bootstrap`: all reference pixels of a few blocks of ground. Neighbouring pixels err together, so the
  blocks are the sample: the variance is that between blocks, with Student's t of their number;
- `expected`: no reference; class probabilities, and errors that hang together as on validation ground.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from utils.science import area_errors, severity
from utils.science.area_errors import AreaModel, Doubt

Matrix = NDArray[np.float64]
Codes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
FloatArray = NDArray[np.floating]
Z95 = 1.959963984540054
_STRIPE_ROWS = 256


@dataclass(frozen=True)
class Area:
    """Hectares of one class with the bounds of its 95 % interval; bounds NaN where there is none."""

    ha: float
    low_ha: float
    high_ha: float

    def to_json(self) -> dict[str, Any]:
        return {name: None if math.isnan(value) else round(value, 4) for name, value in asdict(self).items()}


def one_a_cell(usable: Mask, cell_px: int, seed: int) -> Mask:
    """(H, W) mask of one usable pixel in every cell of cell_px x cell_px that has one, drawn by the seed."""
    rows, cols = np.nonzero(usable)
    chosen = np.zeros_like(usable)
    if not rows.size:
        return chosen
    order = np.random.default_rng(seed).permutation(rows.size)
    cell = (rows // cell_px) * (usable.shape[1] // cell_px + 1) + cols // cell_px
    _, first = np.unique(cell[order], return_index=True)
    picked = order[first]
    chosen[rows[picked], cols[picked]] = True
    return chosen


def counts_by_block(own: Codes, true: Codes, classes: int, blocks: NDArray[np.integer[Any]]) -> Matrix:
    """(B, k, k) reference pixels of each block that has some: rows map class, columns reference class.

    blocks  (H, W) number of the block, below 0 = no reference ground; pixels where a map is 255 are left out
    raises  ValueError when a code is no class
    """
    good = (blocks >= 0) & (own != severity.NODATA) & (true != severity.NODATA)
    rows, cols = own[good].astype(np.int64), true[good].astype(np.int64)
    if rows.size and max(int(rows.max()), int(cols.max())) >= classes:
        raise ValueError(f"code {max(int(rows.max()), int(cols.max()))} in a map of {classes} classes")
    found, number = np.unique(blocks[good], return_inverse=True)
    size = classes**2
    flat = np.bincount((number * classes + rows) * classes + cols, minlength=len(found) * size)
    return flat.reshape(len(found), classes, classes).astype(np.float64)


def map_shares(codes: Codes, pixel_area_m2: Matrix, classes: int) -> tuple[Matrix, float]:
    """Share of the mapped area in each map class, and the mapped area in ha."""
    hectares = np.array(severity.area_ha(codes, pixel_area_m2, classes))
    total = float(hectares.sum())
    return hectares / total if total > 0 else hectares, total


def _shares(counts: Matrix, weights: Matrix) -> Matrix:
    """Share of each reference class, from counts (..., map class, reference class)."""
    rows = counts.sum(axis=-1, keepdims=True)
    rates = counts / np.where(rows > 0, rows, np.nan)
    used = weights > 0
    return np.asarray((weights[used, None] * rates[..., used, :]).sum(axis=-2))


def stratified(counts: Matrix, weights: Matrix, total_ha: float) -> list[Area]:
    """Area of each class: p_k = sum_i W_i n_ik/n_i, SE = sqrt(sum_i W_i^2 p_ik (1-p_ik)/(n_i-1)), +-1.96 SE.

    counts   (k, k) independent sample pixels, rows map class, columns reference class
    weights  W_i, share of the map in class i
    raises   ValueError when a map class with area has fewer than two samples
    source   Olofsson et al. 2014
    """
    found = severity.stratified_share(counts, weights.tolist())
    return [_area(share, Z95 * error, total_ha) for share, error in found]


def clustered(counts: Matrix, weights: Matrix, total_ha: float) -> list[Area]:
    """The same shares from all reference pixels of B blocks, with the variance between the blocks.

    With n_bik pixels of map class i and reference class k in block b, r_ik = sum_b n_bik / sum_b n_bi:
    u_bk = sum_i W_i (n_bik - r_ik n_bi) / n_i,  SE_k^2 = B/(B-1) sum_b u_bk^2,  bounds +- t(B-1) SE.

    counts   (B, k, k), rows map class, columns reference class
    raises   ValueError with fewer than two blocks, or when a map class with area has no pixel
    source   linearised ratio estimator for cluster samples, Cochran 1977, section 11.8 and 6.3
    """
    blocks = len(counts)
    if blocks < 2:
        raise ValueError("an interval between blocks needs at least two blocks with reference")
    rows = counts.sum(axis=(0, 2))
    used = weights > 0
    if np.any(used & (rows == 0)):
        raise ValueError("a map class with area has no reference pixel")
    rates = counts.sum(axis=0)[used] / rows[used, None]
    off = counts[:, used] - rates[None] * counts[:, used].sum(axis=2, keepdims=True)
    pulls = (off * (weights[used] / rows[used])[None, :, None]).sum(axis=1)  # (B, k)
    error = np.sqrt(blocks / (blocks - 1) * (pulls**2).sum(axis=0))
    width = float(stdtrit(blocks - 1, 0.975))
    shares = _shares(counts.sum(axis=0), weights)
    return [_area(float(p), width * float(e), total_ha) for p, e in zip(shares, error, strict=True)]


def _area(share: float, half: float, total_ha: float) -> Area:
    return Area(share * total_ha, max(0.0, share - half) * total_ha, min(1.0, share + half) * total_ha)


def bootstrap(counts: Matrix, weights: Matrix, total_ha: float, draws: int, seed: int) -> list[Area]:
    """The same shares with 95 % percentile bounds over blocks drawn with replacement.

    counts  (B, k, k); draws in which a map class has no pixel are left out; bounds NaN with fewer than two blocks
    """
    shares = _shares(counts.sum(axis=0), weights)
    if len(counts) < 2 or draws < 1:
        return [Area(float(p) * total_ha, math.nan, math.nan) for p in shares]
    picks = np.random.default_rng(seed).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=draws)
    drawn = _shares(np.tensordot(picks.astype(np.float64), counts, axes=1), weights)
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    if not len(drawn):
        return [Area(float(p) * total_ha, math.nan, math.nan) for p in shares]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return [Area(float(p) * total_ha, float(a) * total_ha, float(b) * total_ha) for p, a, b in zip(shares, low, high, strict=True)]  # fmt: skip


def expected(
    difference: FloatArray,
    sigma: FloatArray,
    pixel_area_m2: Matrix,
    model: AreaModel,
    observed: Mask | None = None,
    visit: Callable[[slice, Matrix], None] | None = None,
) -> list[Area]:
    """Expected area of every class of `model.edges`, and its interval; in stripes, memory is that of the two images.

    Hectares sum the calibrated probabilities of all pixels. The variance is that of errors that hang together as on
    validation ground; its common part rests on few groups G of ground, so that it counts with Student's t:
    half width^2 = 1.96^2 var(inner) + t(G - 1)^2 var(common).

    difference     (H, W) index difference, NaN = no data; sigma: its standard deviation
    pixel_area_m2  (rows, 1) area of a pixel in each row
    observed       pixels that were seen, not simulated: their probability is not calibrated, their errors (noise of the
                   sensor) are independent
    visit          is given rows and their class probabilities (classes, rows, W), NaN = no data
    """
    area_ha = np.broadcast_to(pixel_area_m2, difference.shape) / 10_000.0
    count, step = len(model.edges) + 1, area_errors.cell_step(difference.shape)
    sums, noise = np.zeros(count), np.zeros(count)
    doubts: list[list[Doubt]] = [[] for _ in range(count)]
    stripe = step * max(1, _STRIPE_ROWS // step)
    for top in range(0, difference.shape[0], stripe):
        part = slice(top, min(top + stripe, difference.shape[0]))
        seen = None if observed is None else observed[part]
        p = model.probabilities(difference[part], sigma[part], seen)
        if visit is not None:
            visit(part, p)
        for code, share in enumerate(np.nan_to_num(p)):
            sums[code] += float((share * area_ha[part]).sum())
            spread = np.sqrt(np.maximum(share * (1 - share), 0.0)) * area_ha[part]
            if seen is not None:
                noise[code] += float((spread[seen] ** 2).sum())
                spread = np.where(seen, 0.0, spread)
            doubts[code].append(area_errors.doubt_of(spread, step))
    wide = float(stdtrit(model.groups - 1, 0.975)) if model.groups > 1 else Z95
    found = []
    for code, parts in enumerate(doubts):
        cells = np.concatenate([one.cells for one in parts])
        doubt = Doubt(sum(one.total for one in parts), sum(one.squares for one in parts), cells, step)
        inner, common = model.covariances[code].variances(doubt)
        half = math.sqrt(Z95**2 * (inner + noise[code]) + wide**2 * common)
        ha = float(sums[code])
        found.append(Area(ha, max(0.0, ha - half), min(float(sums.sum()), ha + half)))
    return found
