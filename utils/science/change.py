"""Unsupervised change detection: PCA and k-means of a difference image, and log-ratio with Otsu's threshold on radar.

PCA + k-means after Celik 2009 (IEEE Geosci. Remote Sens. Lett. 6): non-overlapping blocks of |t0 - t1| give the principal
components; every pixel's neighbourhood of the same size is projected on them; two clusters part changed from unchanged;
an erosion takes away what is thinner than a diamond of 5 x 5 pixels. Fitted on training ground, applied to other ground.
The changed cluster is that of the larger mean difference: the smaller one, as published elsewhere, is wrong once more
than half of the ground has changed. Codes: 1 changed, 0 not, 255 no data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.science import severity

SCHEMA = "s2cr.change/1"
BLOCK_PX = 4
COMPONENTS = 3
HALO_PX = 4  # rows around a stripe that its result depends on: neighbourhood 2, erosion 2
NODATA = 255
MOST_VECTORS = 50_000  # neighbourhoods that k-means sees
_STRIPE_ROWS = 32
DIAMOND = np.abs(np.arange(-2, 3))[:, None] + np.abs(np.arange(-2, 3))[None, :] <= 2

Matrix = NDArray[np.float64]
FloatArray = NDArray[np.floating]
Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class ChangeModel:
    """A fitted detector.

    bands       names of the planes of a difference image, in order
    mean        (16 * bands,) mean block; a block is ordered band, row, column
    components  (3, 16 * bands) orthonormal rows, largest variance first; the largest weight of a row is positive
    centres     (2, 3) clusters of projected neighbourhoods: unchanged, changed
    explained   share of the variance of the blocks along each component
    """

    bands: tuple[str, ...]
    mean: Matrix
    components: Matrix
    centres: Matrix
    explained: tuple[float, ...]
    seed: int
    blocks: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; from_json gives an equal model."""
        return {
            "schema": SCHEMA, "bands": list(self.bands), "block_px": BLOCK_PX, "mean": self.mean.tolist(),
            "components": self.components.tolist(), "centres": self.centres.tolist(),
            "explained": list(self.explained), "seed": self.seed, "blocks": self.blocks,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ChangeModel:
        """raises  ValueError for another schema or shapes that do not fit"""
        if data.get("schema") != SCHEMA or data.get("block_px") != BLOCK_PX:
            raise ValueError(f"no change model of schema {SCHEMA}: {data.get('schema')!r}")
        mean, components, centres = (
            np.array(data[name], dtype=np.float64) for name in ("mean", "components", "centres")
        )
        size = BLOCK_PX**2 * len(data["bands"])
        if mean.shape != (size,) or components.shape[1:] != (size,) or centres.shape != (2, len(components)):
            raise ValueError("the arrays of the change model do not fit its bands")
        return cls(
            tuple(data["bands"]), mean, components, centres, tuple(data["explained"]), data["seed"], data["blocks"]
        )

    def score(self, difference: FloatArray) -> Matrix:
        """(H, W) squared distance to the unchanged centre minus that to the changed one: above 0 is changed.

        Projection and the nearer of two centres are linear in the neighbourhood, so one 4 x 4 filter a band does both: a
        product of matrices and sixteen shifted sums.
        """
        step = self.centres[1] - self.centres[0]
        kernels = 2 * (step @ self.components).reshape(len(self.bands), BLOCK_PX, BLOCK_PX)
        offset = float(
            (self.centres[0] ** 2).sum() - (self.centres[1] ** 2).sum() - 2 * step @ self.components @ self.mean
        )
        rows, cols = difference.shape[1:]
        weights = kernels.reshape(len(self.bands), -1).T  # (16, bands)
        total = np.empty((rows, cols))
        for top in range(0, rows, _STRIPE_ROWS):
            high = min(_STRIPE_ROWS, rows - top)
            around = np.clip(np.arange(top - 1, top + high + 2), 0, rows - 1)  # the outermost row again beyond the edge
            part = np.pad(_filled(difference[:, around]), ((0, 0), (0, 0), (1, 2)), mode="edge")
            planes = (weights @ part.reshape(len(self.bands), -1)).reshape(BLOCK_PX, BLOCK_PX, *part.shape[1:])
            out = np.full((high, cols), offset)
            for i in range(BLOCK_PX):
                for j in range(BLOCK_PX):
                    out += planes[i, j, i : i + high, j : j + cols]
            total[top : top + high] = out
        return total

    def apply(self, difference: FloatArray, erode: bool = True) -> Codes:
        """Codes of a difference image (bands, H, W), NaN = no data; the picture's edge and no data erode nothing.

        raises  ValueError when the number of planes is not that of the bands
        """
        if len(difference) != len(self.bands):
            raise ValueError(f"{len(difference)} planes for {len(self.bands)} bands {', '.join(self.bands)}")
        valid = np.isfinite(difference).all(axis=0)
        changed = self.score(difference) > 0
        if erode:
            changed = ndimage.binary_erosion(changed | ~valid, DIAMOND, border_value=1)
        return np.where(valid, changed, NODATA).astype(np.uint8)


def absolute_difference(t0: FloatArray, t1: FloatArray) -> FloatArray:
    """|t0 - t1| (bands, H, W); NaN where either has no data in any band."""
    change = np.abs(np.asarray(t1) - np.asarray(t0))
    change[:, ~np.isfinite(change).all(axis=0)] = np.nan
    return change


def _filled(difference: FloatArray) -> Matrix:
    """No data as no difference, so that a hole does not look like a change to its neighbours."""
    return np.nan_to_num(np.asarray(difference, dtype=np.float64))


def block_vectors(difference: FloatArray) -> Matrix:
    """(N, 16 * bands) non-overlapping blocks without a gap, ordered band, row, column; rows and columns left over at the
    lower and right edge are not used."""
    bands, rows, cols = difference.shape
    high, wide = rows // BLOCK_PX, cols // BLOCK_PX
    cut = np.asarray(difference[:, : high * BLOCK_PX, : wide * BLOCK_PX], dtype=np.float64)
    parts = cut.reshape(bands, high, BLOCK_PX, wide, BLOCK_PX).transpose(1, 3, 0, 2, 4)
    vectors = parts.reshape(high * wide, bands * BLOCK_PX**2)
    return np.ascontiguousarray(vectors[np.isfinite(vectors).all(axis=1)])


def neighbourhoods(difference: FloatArray, most: int | None = None, seed: int = 0) -> Matrix:
    """(N, 16 * bands) the 4 x 4 neighbourhood of every pixel with data: one row and column before it, two after.

    Edges repeat the outermost pixel; a pixel without data counts as no difference.
    most  of at most so many pixels, drawn by the seed
    """
    padded = np.pad(_filled(difference), ((0, 0), (1, 2), (1, 2)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (BLOCK_PX, BLOCK_PX), axis=(1, 2))
    rows, cols = np.nonzero(np.isfinite(difference).all(axis=0))
    if most is not None and len(rows) > most:
        kept = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
        rows, cols = rows[kept], cols[kept]
    return np.ascontiguousarray(windows[:, rows, cols].swapaxes(0, 1).reshape(len(rows), -1))


def principal(vectors: Matrix, count: int = COMPONENTS) -> tuple[Matrix, Matrix, Matrix]:
    """Mean, `count` principal components (rows) and their share of the variance.

    raises  ValueError with fewer vectors than components, or when all are equal
    """
    if len(vectors) <= count:
        raise ValueError(f"{len(vectors)} blocks with data are too few for {count} components")
    mean = vectors.mean(axis=0)
    values, rows = np.linalg.eigh(np.cov(vectors - mean, rowvar=False))
    order = np.argsort(values)[::-1][:count]
    if values.sum() <= 1e-18:
        raise ValueError("the two images differ by the same amount everywhere: there is nothing to part")
    components = rows[:, order].T
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    return mean, components * np.sign(largest), np.maximum(values[order], 0) / values.sum()


def two_means(points: Matrix, seed: int, starts: int = 8, rounds: int = 100) -> Matrix:
    """(2, D) centres of k-means with k = 2: Lloyd from seeded k-means++ starts, the best of them, in order of the first
    coordinate. Source: Arthur and Vassilvitskii 2007.
    """
    rng = np.random.default_rng(seed)
    best, least = points[:2], np.inf
    for _ in range(starts):
        first = points[rng.integers(len(points))]
        away = ((points - first) ** 2).sum(axis=1)
        if away.sum() == 0:
            return np.stack([first, first])
        centres = np.stack([first, points[rng.choice(len(points), p=away / away.sum())]])
        for _ in range(rounds):
            gaps = ((points[:, None] - centres[None]) ** 2).sum(axis=2)
            second = gaps[:, 1] < gaps[:, 0]
            if second.all() or not second.any():
                break
            moved = np.stack([points[~second].mean(axis=0), points[second].mean(axis=0)])
            if np.array_equal(moved, centres):
                break
            centres = moved
        loss = float(((points[:, None] - centres[None]) ** 2).sum(axis=2).min(axis=1).sum())
        if loss < least:
            best, least = centres, loss
    return best[np.argsort(best[:, 0], kind="stable")]


def fit(pieces: Sequence[FloatArray], bands: Sequence[str], seed: int) -> ChangeModel:
    """Fit the detector on difference images of training ground.

    pieces  |t0 - t1| (bands, H, W), NaN = no data
    raises  ValueError when no block has data or nothing changed
    """
    vectors = [block_vectors(piece) for piece in pieces]
    blocks = np.concatenate([*vectors, np.zeros((0, BLOCK_PX**2 * len(bands)))])
    mean, components, explained = principal(blocks)
    share = -(-MOST_VECTORS // len(pieces))
    around = [neighbourhoods(piece, share, seed + i) for i, piece in enumerate(pieces)]
    points = np.concatenate(around)
    projected = (points - mean) @ components.T
    centres = two_means(projected, seed)
    near = ((projected[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
    size = [float(points[near == side].mean()) if (near == side).any() else 0.0 for side in (0, 1)]
    ordered = centres if size[1] >= size[0] else centres[::-1]
    return ChangeModel(
        tuple(bands), mean, components, ordered.copy(), tuple(float(e) for e in explained), seed, len(blocks)
    )


# -- radar -------------------------------------------------------------------------------------------------------------


def otsu(values: FloatArray, bins: int = 256) -> float:
    """Threshold that parts the values into the two classes of the largest variance between them; above it is one class.

    The histogram has `bins` equal bins from the least to the largest value; the result is the middle of a bin.
    raises  ValueError without two different values
    source  Otsu 1979
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not known.size or known.min() == known.max():
        raise ValueError("a threshold needs two different values")
    counts, edges = np.histogram(known, bins=bins)
    middles = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    sums = np.cumsum(counts * middles)
    low = sums / np.maximum(below, 1)
    high = (sums[-1] - np.concatenate([[0.0], sums[:-1]])) / np.maximum(above, 1)
    between = below[:-1].astype(np.float64) * above[1:] * (low[:-1] - high[1:]) ** 2
    return float(middles[int(np.argmax(between))])


def log_ratio_db(power_t0: FloatArray, power_t1: FloatArray, window_px: int = 5, median_db: float = 0.0) -> Matrix:
    """Change of backscatter in dB: means of the power over a square window, t1 over t0, minus the median of the whole
    scene (rain moves whole scenes). NaN where a date has no positive power; such pixels enter no mean.
    """
    means = []
    for power in (power_t0, power_t1):
        good = np.isfinite(power) & (np.nan_to_num(power) > 0)
        top = ndimage.uniform_filter(np.where(good, power, 0).astype(np.float64), window_px, mode="nearest")
        share = ndimage.uniform_filter(good.astype(np.float64), window_px, mode="nearest")
        means.append(np.where(good, top / np.maximum(share, 1e-12), np.nan))
    return 10 * np.log10(means[1] / means[0]) - median_db


def from_log_ratio(ratio_db: FloatArray, threshold_db: float) -> Codes:
    """Codes of |log ratio| above a threshold; 255 where NaN."""
    valid = np.isfinite(ratio_db)
    return np.where(valid, np.abs(np.nan_to_num(ratio_db)) > threshold_db, NODATA).astype(np.uint8)


# -- scores ------------------------------------------------------------------------------------------------------------


def image_sums(image: FloatArray, truth: FloatArray, mask: NDArray[np.bool_]) -> Matrix:
    """(2,) squared error and number of values of an image (bands, H, W) on the pixels of a mask that both have."""
    good = mask & np.isfinite(image).all(axis=0) & np.isfinite(truth).all(axis=0)
    miss = np.asarray(image, dtype=np.float64)[:, good] - np.asarray(truth, dtype=np.float64)[:, good]
    return np.array([(miss**2).sum(), miss.size])


def image_figures(sums: Matrix) -> dict[str, float | None]:
    """mse and psnr (range 1, of the pooled error) of summed image_sums; None without a value."""
    if sums[1] == 0:
        return {"mse": None, "psnr": None, "values": 0}
    mse = float(sums[0] / sums[1])
    return {"mse": mse, "psnr": float(-10 * np.log10(mse)) if mse > 0 else None, "values": int(sums[1])}


def map_figures(truth: Codes, own: Codes, mask: NDArray[np.bool_]) -> dict[str, float | None]:
    """f1, iou, kappa and shares of a change map against that of the true pair, on the pixels of a mask; mapped is the
    share that the map calls changed, base_rate that of the truth. None where undefined.
    """
    counts = severity.confusion(truth, own, 2, mask)
    figures = severity.binary_figures(counts)
    figures["mapped"] = counts[:, 1].sum() / counts.sum() if counts.sum() else np.array(np.nan)
    return {name: float(value) if np.isfinite(value) else None for name, value in figures.items()}
