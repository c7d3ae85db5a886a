"""Image scores in float64 on reflectance. One definition of each; masks always explicit.

Images are (H, W, B), channel last, reflectance 0..1; masks are (H, W) bool, True = scored. PSNR and SSIM take the
FIXED range 1 (reflectance), never the range of the data. Sums are kept per block of the ground, so that scenes need
not be in memory and intervals resample blocks, not pixels (neighbouring pixels are no independent samples).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.science import indices, score_kernels
from utils.science.similarity import finite_pixels, matching, scored_pair, ssim_map, whole_windows

FloatArray = NDArray[np.floating]
Mask = NDArray[np.bool_]
Matrix = NDArray[np.float64]

CHANGED_REFLECTANCE = 0.02
CHANGED_DNDVI = 0.09


def spectral_angle_deg(prediction: FloatArray, target: FloatArray) -> Matrix:
    """(H, W) angle between spectra in degrees; NaN where one of them has norm zero or is not finite."""
    out = np.empty(target.shape[:-1])
    score_kernels.angles_deg(_rows(prediction), _rows(target), out.reshape(-1))
    return out


def _rows(image: FloatArray) -> Matrix:
    """(pixels, B) float64 in one piece; a view where the image is that already."""
    return np.ascontiguousarray(image, dtype=np.float64).reshape(-1, image.shape[-1])


def changed_mask(
    t0: FloatArray,
    t1: FloatArray,
    bands: Sequence[str],
    threshold: float = CHANGED_REFLECTANCE,
    dndvi: float = CHANGED_DNDVI,
) -> Mask:
    """True where mean_b|t1-t0| > threshold or |dNDVI| > dndvi; False where data are missing.

    t0, t1  (H, W, B) TRUE reflectance of both dates, bands named by `bands`; without B04 and B08 only the first rule
    """
    matching(t0, t1)
    change = np.empty(t0.shape[:2])
    score_kernels.mean_change(_rows(t0), _rows(t1), change.reshape(-1))
    changed = change > threshold
    if {"B04", "B08"} <= set(bands):
        names = tuple(bands)
        first, second = (indices.ndvi(indices.stack_to_bands(image, names)) for image in (t0, t1))
        changed |= np.abs(np.nan_to_num(first - second)) > dndvi
    return np.asarray(changed & np.isfinite(change))


def psnr_from_mse(mse: Any) -> Any:
    """10 log10(1/MSE): range 1; infinite for MSE 0, NaN for NaN."""
    with np.errstate(divide="ignore"):
        return -10.0 * np.log10(mse)


class Scorer:
    """Streaming sums of one prediction method over strata and blocks.

    bands  names of the last axis; similarity = False leaves SSIM out (NaN), which is most of the work on small pieces
    add() one piece at a time; scores() and interval() at the end. Pieces of a block may come in any order.
    """

    def __init__(self, bands: Sequence[str], similarity: bool = True) -> None:
        self.bands, self.similarity = tuple(bands), similarity
        self._sums: dict[str, dict[str, Matrix]] = {}

    def add(
        self,
        block: str,
        prediction: FloatArray,
        target: FloatArray,
        mask: Mask,
        *,
        reference: FloatArray | None = None,
        strata: Mapping[str, Mask] | None = None,
    ) -> None:
        """Add a piece of block `block`; pixels not finite in any image are left out.

        reference  image of t0, the denominator of the change skill; NaN skill without it
        strata     name -> (H, W) mask inside `mask`; `all` is always there
        """
        p, t, good = scored_pair(prediction, target, mask)
        r = np.full_like(t, np.nan) if reference is None else reference.astype(np.float64)
        if reference is not None:
            good &= finite_pixels(r)
        planes = np.nan_to_num(_pixel_planes(p, t, r, good, self.similarity)[good])
        named = {"all": good, **(strata or {})}
        members = np.stack([np.asarray(member)[good] for member in named.values()]).astype(np.float64)
        for name, totals in zip(named, members @ planes, strict=True):
            blocks = self._sums.setdefault(name, {})
            blocks[block] = blocks[block] + totals if block in blocks else totals

    @property
    def strata(self) -> tuple[str, ...]:
        return tuple(self._sums)

    def _matrix(self, stratum: str) -> Matrix:
        blocks = self._sums.get(stratum, {})
        rows = [blocks[name] for name in sorted(blocks) if blocks[name][0] > 0]
        return np.stack(rows) if rows else np.zeros((0, _columns(len(self.bands))))

    def sums(self, stratum: str = "all") -> dict[str, Matrix]:
        """Block -> its sums, columns as figures_of takes them; blocks without a pixel are left out."""
        return {name: totals for name, totals in sorted(self._sums.get(stratum, {}).items()) if totals[0] > 0}

    def scores(self, stratum: str = "all") -> dict[str, float]:
        """All figures of one stratum, pooled over everything added; NaN where there is nothing."""
        totals = self._matrix(stratum).sum(axis=0)
        result = {name: float(value) for name, value in _figures(totals, len(self.bands)).items()}
        rmse = np.sqrt(_divide(totals[_HEAD : _HEAD + len(self.bands)], totals[0]))
        result.update({f"rmse_{band}": float(value) for band, value in zip(self.bands, rmse, strict=True)})
        result["blocks"] = float(len(self._matrix(stratum)))
        return result

    def interval(self, stratum: str, figure: str, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
        """95 % block bootstrap interval of one figure; NaN with fewer than two blocks."""
        return self.intervals(stratum, (figure,), draws, seed)[figure]

    def intervals(
        self, stratum: str, names: Sequence[str], draws: int = 1000, seed: int = 0
    ) -> dict[str, tuple[float, float]]:
        """The same of several figures, of one draw of the blocks."""
        matrix, count = self._matrix(stratum), len(self.bands)
        drawn = draw_blocks(matrix, draws, seed)
        figures = None if drawn is None else _figures(drawn, count)
        return {name: percentiles(None if figures is None else figures[name]) for name in names}


# Columns of a sum: count, angle, angle count, zero norms, SSIM, SSIM count, gradients of both, gradient count, bias,
# then per band squared error, absolute error, target, squared error of the reference.
_HEAD = 10


def _columns(bands: int) -> int:
    return _HEAD + 4 * bands


def _pixel_planes(p: Matrix, t: Matrix, r: Matrix, good: Mask, similarity: bool) -> Matrix:
    """(H, W, columns) contributions of each pixel to the sums; NaN = no contribution."""
    bands = p.shape[2]
    planes = np.full((*good.shape, _columns(bands)), np.nan)
    p, t = np.where(good[..., None], p, 0.0), np.where(good[..., None], t, 0.0)
    angle = spectral_angle_deg(p, t)
    planes[..., 0] = 1.0
    planes[..., 1] = angle
    planes[..., 2] = np.isfinite(angle)
    planes[..., 3] = ~np.isfinite(angle)
    whole = whole_windows(good) if similarity else np.zeros_like(good)
    if whole.any():
        likeness = np.mean([ssim_map(p[..., b], t[..., b]) for b in range(bands)], axis=0)
        planes[..., 4] = np.where(whole, likeness, np.nan)
    planes[..., 5] = whole
    inner = good[:-1, :-1] & good[1:, :-1] & good[:-1, 1:]
    for column, image in ((6, p), (7, t)):
        steps = np.diff(image, axis=0)[:, :-1] ** 2 + np.diff(image, axis=1)[:-1] ** 2
        planes[:-1, :-1, column] = np.where(inner, steps.mean(axis=2), np.nan)
    planes[:-1, :-1, 8] = inner
    planes[..., 9] = (p - t).mean(axis=2)
    groups = ((p - t) ** 2, np.abs(p - t), t, (np.where(good[..., None], r, 0.0) - t) ** 2)
    planes[..., _HEAD:] = np.concatenate(groups, axis=2)
    return planes


def _divide(top: Any, bottom: Any) -> Any:
    bottom = np.asarray(bottom, dtype=np.float64)
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), np.nan)


def _figures(totals: Matrix, bands: int) -> dict[str, Matrix]:
    """Figures from sums (..., columns); one value per leading index."""
    head = [totals[..., i] for i in range(_HEAD)]
    square, absolute, target, reference = (totals[..., _HEAD + i * bands : _HEAD + (i + 1) * bands] for i in range(4))
    n = head[0]
    mse = _divide(square.sum(axis=-1), n * bands)
    relative = _divide(_divide(square, n[..., None]), np.maximum(_divide(target, n[..., None]), 0) ** 2)
    return {
        "pixels": n,
        "mae": _divide(absolute.sum(axis=-1), n * bands),
        "rmse": np.sqrt(mse),
        "psnr": psnr_from_mse(mse),
        "bias": _divide(head[9], n),
        "sam_deg": _divide(head[1], head[2]),
        "zero_norm": head[3],
        "ergas": 100.0 * np.sqrt(relative.mean(axis=-1)),
        "ssim": _divide(head[4], head[5]),
        "sharpness": _divide(head[6], head[7]),
        "skill": 1.0 - _divide(square.sum(axis=-1), reference.sum(axis=-1)),
    }


def figures_of(totals: Matrix, bands: int) -> dict[str, Matrix]:
    """Figures from sums of Scorer.sums (..., columns), added up in any way: one value per leading index."""
    return _figures(totals, bands)


def block_interval(
    sums: Matrix, figure: Callable[[Matrix], Matrix], draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile bootstrap over blocks of a figure of pooled sums.

    sums     (blocks, columns) sums of each block
    figure   maps (..., columns) totals to (...) values
    returns  (low, high); NaN with fewer than two blocks or without draws. The same seed gives the same interval.
    """
    drawn = draw_blocks(sums, draws, seed)
    return percentiles(None if drawn is None else figure(drawn))


def draw_blocks(sums: Matrix, draws: int, seed: int) -> Matrix | None:
    """(draws, columns) totals of blocks drawn with replacement; None with fewer than two blocks or without draws."""
    if len(sums) < 2 or draws < 1:
        return None
    counts = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1.0 / len(sums)), size=draws)
    return np.asarray(counts.astype(np.float64) @ sums)


def percentiles(values: Matrix | None) -> tuple[float, float]:
    """2.5 and 97.5 % of the finite values; NaN without any."""
    finite = np.zeros(0) if values is None else values[np.isfinite(values)]
    if not finite.size:
        return float("nan"), float("nan")
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def score(
    prediction: FloatArray,
    target: FloatArray,
    mask: Mask | None = None,
    *,
    reference: FloatArray | None = None,
    bands: Sequence[str] = (),
) -> dict[str, float]:
    """All figures of one image pair: mae rmse psnr sam_deg ssim ergas bias sharpness skill pixels zero_norm.

    prediction, target, reference  (H, W, B) reflectance; mask (H, W) bool, None = all finite pixels
    """
    scorer = Scorer(bands or [f"band{i + 1}" for i in range(prediction.shape[-1])])
    everything = np.ones(prediction.shape[:2], dtype=bool) if mask is None else mask
    scorer.add("all", prediction, target, everything, reference=reference)
    return scorer.scores()


def change_skill(prediction: FloatArray, target: FloatArray, reference: FloatArray, mask: Mask) -> float:
    """S = 1 - SSE(prediction)/SSE(reference) over the pixels of `mask` that are finite in all three; 0 = no better than
    copying t0, NaN where copying is exact or nothing is left."""
    matching(prediction, target, mask)
    images = (_rows(prediction), _rows(target), _rows(reference))
    own, copied = score_kernels.squared_errors(*images, np.ascontiguousarray(mask).reshape(-1))
    return float(1.0 - _divide(own, copied))
