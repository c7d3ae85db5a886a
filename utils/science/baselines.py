"""Rivals of every learned model: fitted on train samples only, seeded, cheap. They belong in every report."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.science import indices, linear, res_baselines
from utils.science.res_features import SceneFacts, to_db

Image = NDArray[np.floating]
Matrix = NDArray[np.float64]
Predictor = Callable[["Inputs"], Matrix]

NAMES = ("copy_t0", "linear_gain", "ridge_ctx", "histgbm_ctx", "no_s1", "s1_frozen", "season_only", "histgbm_res")
IN_EVERY_TABLE = ("copy_t0", "linear_gain", "ridge_ctx", "histgbm_ctx", "no_s1", "s1_frozen", "season_only")
S1_FEATURES = 10  # last features of `features`: VV and VH of both dates, of the change and of its two means
VH_WINDOWS_PX = (5, 15, 31)
_VH_BINS_DB = np.round(np.arange(-12.0, 6.0001, 0.05), 2)


@dataclass(frozen=True)
class Inputs:
    """What a method may see of one sample.

    s1_t0, s1_t1   (H, W, 2) gamma0 VV, VH in linear power; NaN or <= 0 = no signal
    s2_t0          (H, W, n) reflectance 0..1, NaN = nodata
    bands          names of the n optical bands
    ds1_median_db  median of S1(t1) - S1(t0) over the whole scene, VV and VH, dB
    day_t0, day_t1 of the optical images, None = unknown; facts of the scene, None = those of the sample
    only           (H, W) pixels to predict: trees leave the others NaN; None = all
    """

    s1_t0: Image
    s1_t1: Image
    s2_t0: Image
    bands: tuple[str, ...]
    ds1_median_db: tuple[float, float] = (0.0, 0.0)
    day_t0: dt.date | None = None
    day_t1: dt.date | None = None
    facts: SceneFacts | None = None
    only: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Labelled:
    """Inputs with the true image s2_t1 (H, W, n) and the mask (H, W) of pixels that may be learned from."""

    inputs: Inputs
    s2_t1: Image
    mask: NDArray[np.bool_]


def box_mean(plane: Image, size_px: int) -> Matrix:
    """Mean of the valid pixels in a square window; NaN where the window holds none. Edges see fewer pixels."""
    values = np.asarray(plane, dtype=np.float64)
    valid = np.isfinite(values)
    options: dict[str, Any] = {"size": size_px, "mode": "constant", "cval": 0.0}
    total = ndimage.uniform_filter(np.where(valid, values, 0.0), **options)
    share = ndimage.uniform_filter(valid.astype(np.float64), **options)
    covered = share > 0.5 / size_px**2
    return np.where(covered, total / np.where(covered, share, 1.0), np.nan)


def recentred_difference_db(inputs: Inputs) -> Matrix:
    """(H, W, 2) S1(t1) - S1(t0) in dB minus the scene median: rain moves whole scenes, fires do not."""
    change = to_db(inputs.s1_t1) - to_db(inputs.s1_t0)
    return change - np.asarray(inputs.ds1_median_db, dtype=np.float64)


def features(inputs: Inputs, *, use_s1: bool = True) -> Matrix:
    """(H, W, F) context features: S1 of both dates in dB, recentred change with 5 and 15 px means, S2(t0) with 9 px
    band means, NDVI(t0) with its 9 px mean. NaN is left in: the trees know missing values.
    """
    s2 = np.asarray(inputs.s2_t0, dtype=np.float64)
    planes = [s2[..., i] for i in range(s2.shape[-1])]
    planes += [box_mean(s2[..., i], 9) for i in range(s2.shape[-1])]
    if {"B04", "B08"} <= set(inputs.bands):
        index = indices.ndvi(indices.stack_to_bands(s2, inputs.bands))
        planes += [index, box_mean(index, 9)]
    if use_s1:
        change = recentred_difference_db(inputs)
        for image in (to_db(inputs.s1_t0), to_db(inputs.s1_t1), change):
            planes += [image[..., 0], image[..., 1]]
        planes += [box_mean(change[..., i], size) for size in (5, 15) for i in range(2)]
    return np.stack(planes, axis=-1)


def freeze_s1(inputs: Inputs) -> Inputs:
    """The same sample with S1(t1) := S1(t0): what is left of a gain then does not come from the radar."""
    return Inputs(inputs.s1_t0, inputs.s1_t0, inputs.s2_t0, inputs.bands, (0.0, 0.0), only=inputs.only)


def _good(sample: Labelled) -> NDArray[np.bool_]:
    finite = np.isfinite(sample.s2_t1).all(axis=-1) & np.isfinite(sample.inputs.s2_t0).all(axis=-1)
    return np.asarray(sample.mask & finite)


def draw_pixels(samples: Iterable[Labelled], count: int, pixels: int, seed: int) -> tuple[Matrix, Matrix]:
    """Seeded draw of about `pixels` pixels, the same number from each of `count` samples.

    returns  features (N, F) and changes S2(t1) - S2(t0) (N, n)
    raises   ValueError when no sample has a usable pixel
    """
    share = max(1, pixels // max(count, 1))
    rows, targets = [], []
    for number, sample in enumerate(samples):
        where = np.flatnonzero(_good(sample))
        if not where.size:
            continue
        chosen = np.random.default_rng((seed, number)).permutation(where)[:share]
        planes = features(sample.inputs)
        change = np.asarray(sample.s2_t1, dtype=np.float64) - sample.inputs.s2_t0
        rows.append(planes.reshape(-1, planes.shape[-1])[chosen])
        targets.append(change.reshape(-1, change.shape[-1])[chosen])
    if not rows:
        raise ValueError("no train sample has a clear pixel")
    return np.concatenate(rows), np.concatenate(targets)


def copy_t0(inputs: Inputs) -> Matrix:
    """The image of t0 as it is: the zero of the change skill."""
    return np.asarray(inputs.s2_t0, dtype=np.float64)


def fit_linear_gain(samples: Iterable[Labelled]) -> Predictor:
    """Per band S2(t1) = gain * S2(t0) + offset by least squares over all clear pixels (streaming sums)."""
    sums: Matrix | None = None
    for sample in samples:
        good = _good(sample)
        before = np.asarray(sample.inputs.s2_t0, dtype=np.float64)[good]
        part = linear.gain_sums(before, np.asarray(sample.s2_t1, dtype=np.float64)[good])
        sums = part if sums is None else sums + part
    if sums is None or sums[0, 0] < 2:
        raise ValueError("no train sample has a clear pixel")
    model = linear.fit_gain(sums)
    return lambda inputs: model.image(inputs.s2_t0)


def fit_ridge_ctx(x: Matrix, y: Matrix) -> Predictor:
    """Ridge regression of the change on the context features; missing values become the train median."""
    model = linear.fit_ridge(x, y)

    def predict(inputs: Inputs) -> Matrix:
        planes = features(inputs)
        change = model.predict(planes.reshape(-1, planes.shape[-1]))
        return copy_t0(inputs) + change.reshape(inputs.s2_t0.shape)

    return predict


def fit_histgbm_ctx(
    x: Matrix, y: Matrix, seed: int, *, iterations: int = 150, rate: float = 0.1, use_s1: bool = True
) -> Predictor:
    """Gradient-boosted trees, one a band, of the change on the context features; seeded, no early stopping."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    models = [
        HistGradientBoostingRegressor(
            max_iter=iterations, learning_rate=rate, early_stopping=False, random_state=seed
        ).fit(x, y[:, band])
        for band in range(y.shape[1])
    ]

    def predict(inputs: Inputs) -> Matrix:
        planes = features(inputs, use_s1=use_s1)
        wanted = np.ones(planes.shape[:2], bool) if inputs.only is None else inputs.only
        change: Matrix = np.full(inputs.s2_t0.shape, np.nan)
        if wanted.any():
            change[wanted] = np.stack([model.predict(planes[wanted]) for model in models], axis=-1)
        return copy_t0(inputs) + change

    return predict


class Fitter:
    """Fits baselines on train samples; pixels drawn and trees grown for one serve the others.

    samples  gives the train samples in a fixed order each time it is called; count is their number
    pixels   that a fitted baseline sees, about; seed of their draw and of the trees
    s1_frozen is histgbm_ctx fitted with radar and then shown S1(t1) := S1(t0); no_s1 never sees radar.
    season_only sees S2(t0) and the calendar, histgbm_res guided radar besides (res_features).
    """

    def __init__(self, samples: Callable[[], Iterable[Labelled]], count: int, pixels: int, seed: int) -> None:
        self._samples, self._count, self._pixels, self._seed = samples, count, pixels, seed
        self._rows: tuple[Matrix, Matrix] | None = None
        self._ctx: Predictor | None = None

    def fit(self, name: str) -> Predictor:
        """raises  ValueError for an unknown name or when nothing can be learned"""
        if name not in NAMES:
            raise ValueError(f"unknown baseline {name!r}; there are {', '.join(NAMES)}")
        if name == "copy_t0":
            return copy_t0
        if name == "linear_gain":
            return fit_linear_gain(self._samples())
        if name in res_baselines.FEATURES:
            return res_baselines.fit(name, self._samples(), self._count, self._pixels, self._seed)
        x, y = self._drawn()
        if name == "ridge_ctx":
            return fit_ridge_ctx(x, y)
        if name == "no_s1":
            return fit_histgbm_ctx(x[:, : self._without_s1], y, self._seed, use_s1=False)
        if self._ctx is None:
            self._ctx = fit_histgbm_ctx(x, y, self._seed)
        model = self._ctx
        return (lambda inputs: model(freeze_s1(inputs))) if name == "s1_frozen" else model

    def _drawn(self) -> tuple[Matrix, Matrix]:
        if self._rows is None:
            self._rows = draw_pixels(self._samples(), self._count, self._pixels, self._seed)
            self._without_s1 = self._rows[0].shape[1] - S1_FEATURES
        return self._rows


def fit(name: str, samples: Callable[[], Iterable[Labelled]], count: int, pixels: int, seed: int) -> Predictor:
    """One baseline; see Fitter."""
    return Fitter(samples, count, pixels, seed).fit(name)


@dataclass(frozen=True)
class VhLogRatio:
    """Burned where the mean VH change over window_px, minus the scene median, is below threshold_db."""

    window_px: int
    threshold_db: float
    train_f1: float

    def burned(self, inputs: Inputs) -> NDArray[np.uint8]:
        """(H, W) uint8: 1 burned, 0 not, 255 without signal."""
        smooth = box_mean(recentred_difference_db(inputs)[..., 1], self.window_px)
        return np.where(np.isfinite(smooth), smooth < self.threshold_db, 255).astype(np.uint8)

    def to_json(self) -> Mapping[str, float]:
        return {"window_px": self.window_px, "threshold_db": self.threshold_db, "train_f1": self.train_f1}


def fit_vh_logratio(
    samples: Iterable[tuple[Inputs, NDArray[np.uint8]]], windows_px: Sequence[int] = VH_WINDOWS_PX
) -> VhLogRatio:
    """Window and threshold with the largest F1 on train samples.

    samples  inputs and the true burned map (H, W), 1 burned, 0 not, 255 unknown
    raises   ValueError when no train pixel is burned
    """
    bins = len(_VH_BINS_DB) + 1
    counts = {size: np.zeros((2, bins)) for size in windows_px}
    for inputs, truth in samples:
        change = recentred_difference_db(inputs)[..., 1]
        for size in windows_px:
            smooth = box_mean(change, size)
            for value in (0, 1):
                chosen = smooth[(truth == value) & np.isfinite(smooth)]
                counts[size][value] += np.bincount(np.digitize(chosen, _VH_BINS_DB), minlength=bins)
    best: VhLogRatio | None = None
    for size in windows_px:
        below = counts[size].cumsum(axis=1)[:, :-1]  # (2, thresholds) pixels below each threshold
        positives = counts[size][1].sum()
        if positives == 0:
            continue
        f1 = 2 * below[1] / (below[1] + below[0] + positives)
        at = int(np.argmax(f1))
        if best is None or f1[at] > best.train_f1:
            best = VhLogRatio(size, float(_VH_BINS_DB[at]), float(f1[at]))
    if best is None:
        raise ValueError("no train pixel is burned: a threshold cannot be chosen")
    return best
