"""Judging one method on samples: strata of the true pair, image scores, burned area and severity, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.science import indices, metrics, severity
from utils.science.strict_scores import LARGE_CHANGE

Image = NDArray[np.floating]
Mask = NDArray[np.bool_]
Matrix = NDArray[np.float64]

INTERVAL_FIGURES = ("skill", "psnr", "mae")
SCORE_FIGURES = ("pixels", "mae", "rmse", "psnr", "sam_deg", "ssim", "ergas", "bias", "sharpness", "skill", "zero_norm")


@dataclass(frozen=True)
class Settings:
    """Thresholds of the judgement; from the configuration sections burned and evaluate."""

    bands: tuple[str, ...]
    changed_threshold: float
    dndvi_edges: tuple[float, ...]
    dnbr_edges: tuple[float, ...]
    dndvi_burned: float
    dnbr_burned: float

    @property
    def indices(self) -> tuple[str, ...]:
        """NDVI and NBR, as far as the bands allow."""
        return indices.available(("NDVI", "NBR"), self.bands)

    def threshold(self, index: str) -> float:
        return self.dndvi_burned if index == "NDVI" else self.dnbr_burned

    def edges(self, index: str) -> tuple[float, ...]:
        return self.dndvi_edges if index == "NDVI" else self.dnbr_edges


@dataclass(frozen=True)
class Truth:
    """One piece of ground with its true pair.

    s2_t0, s2_t1  (H, W, B) reflectance
    mask          (H, W) pixels that score
    strata        changed, unchanged, changed_05, unchanged_05, burned, unburned and what the caller adds
    difference    index -> (H, W) true dVI
    burned        index -> (H, W) uint8 1/0/255
    sound         index -> (H, W) True where the true index is more than noise at both dates: errors are taken there
    """

    s2_t0: Image
    s2_t1: Image
    mask: Mask
    strata: Mapping[str, Mask]
    difference: Mapping[str, Matrix]
    burned: Mapping[str, NDArray[np.uint8]]
    sound: Mapping[str, Mask]


def differences(settings: Settings, s2_t0: Image, s2_t1: Image) -> dict[str, Matrix]:
    """index -> dVI = index(t0) - index(t1), (H, W) float64."""
    first, second = (indices.stack_to_bands(image, settings.bands) for image in (s2_t0, s2_t1))
    return {n: indices.difference(indices.compute(n, first), indices.compute(n, second)) for n in settings.indices}


def truth_of(
    settings: Settings, s2_t0: Image, s2_t1: Image, mask: Mask, extra: Mapping[str, Mask] | None = None
) -> Truth:
    """Strata of the TRUE pair. Burned is dNBR where B12 is there, else dNDVI (any loss of vegetation counts then).

    changed_05 is a mean change above 0.05 (no NDVI rule): clear images a few days apart differ by 0.02 without a change
    """
    good = mask & np.isfinite(s2_t0).all(axis=-1) & np.isfinite(s2_t1).all(axis=-1)
    changed = metrics.changed_mask(s2_t0, s2_t1, settings.bands, settings.changed_threshold)
    difference = differences(settings, s2_t0, s2_t1)
    burned = {name: severity.burned(value, settings.threshold(name)) for name, value in difference.items()}
    large = np.abs(s2_t1.astype(np.float64) - s2_t0).mean(axis=-1) > LARGE_CHANGE
    strata = {"changed": changed & good, "unchanged": good & ~changed}
    strata |= {"changed_05": large & good, "unchanged_05": good & ~large}
    if burned:
        main = burned[settings.indices[-1]]
        strata |= {"burned": good & (main == 1), "unburned": good & (main == 0)}
    strata |= {name: value & good for name, value in (extra or {}).items()}
    both = [indices.stack_to_bands(image, settings.bands) for image in (s2_t0, s2_t1)]
    sound = {n: good & np.logical_and(*(indices.well_determined(n, bands) for bands in both)) for n in difference}
    return Truth(s2_t0, s2_t1, good, strata, difference, burned, sound)


@dataclass
class _Counts:
    """Per block sums of a burned map and of severity and index errors."""

    burned: dict[str, Matrix] = field(default_factory=dict)
    classes: dict[str, Matrix] = field(default_factory=dict)
    errors: dict[str, Matrix] = field(default_factory=dict)

    @staticmethod
    def add(store: dict[str, Matrix], block: str, value: Matrix) -> None:
        store[block] = store[block] + value if block in store else value


class Judge:
    """Streaming judgement of one method. Blocks are what the bootstrap draws."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._scorer = metrics.Scorer(settings.bands)
        self._counts = {name: _Counts() for name in settings.indices}
        self.missing = 0

    def add(self, block: str, prediction: Image, truth: Truth) -> None:
        """Judge a predicted image (H, W, B); NaN pixels inside the mask are counted as missing, not scored."""
        finite = np.isfinite(prediction).all(axis=-1)
        self.missing += int((truth.mask & ~finite).sum())
        self._scorer.add(block, prediction, truth.s2_t1, truth.mask, reference=truth.s2_t0, strata=dict(truth.strata))
        for name, change in differences(self.settings, truth.s2_t0, prediction).items():
            counts = self._counts[name]
            self.add_map(block, name, severity.burned(change, self.settings.threshold(name)), truth)
            edges = self.settings.edges(name)
            true, own = (severity.classify(plane, edges) for plane in (truth.difference[name], change))
            counts.add(counts.classes, block, severity.confusion(true, own, len(edges) + 1, truth.mask))
            counts.add(counts.errors, block, severity.index_sums(change, truth.difference[name], truth.sound[name]))

    def add_map(self, block: str, index: str, codes: NDArray[np.uint8], truth: Truth) -> None:
        """Judge a burned map (H, W) uint8 1/0/255 against the map of the true pair."""
        counts = self._counts[index]
        counts.add(counts.burned, block, severity.confusion(truth.burned[index], codes, 2, truth.mask))

    def to_json(self, draws: int, seed: int) -> dict[str, Any]:
        """Figures of all strata with 95 % block bootstrap intervals; plain JSON (None = undefined, "inf" = infinite)."""
        strata = {}
        for name in self._scorer.strata:
            figures: dict[str, Any] = self._scorer.scores(name)
            figures["interval"] = self._scorer.intervals(name, INTERVAL_FIGURES, draws, seed)
            strata[name] = figures
        burned = {name: self._burned(counts, draws, seed) for name, counts in self._counts.items() if counts.burned}
        result = {"strata": strata, "burned": burned, "missing_pixels": self.missing}
        return dict(plain(result))

    def _burned(self, counts: _Counts, draws: int, seed: int) -> dict[str, Any]:
        matrix = np.stack([counts.burned[block].ravel() for block in sorted(counts.burned)])

        def figure(key: str) -> Any:
            return lambda totals: severity.binary_figures(totals.reshape(*totals.shape[:-1], 2, 2))[key]

        pooled = matrix.sum(axis=0).reshape(2, 2)
        result: dict[str, Any] = {key: float(value) for key, value in severity.binary_figures(pooled).items()}
        result["confusion"] = pooled.tolist()
        result["interval"] = {key: metrics.block_interval(matrix, figure(key), draws, seed) for key in ("f1", "iou")}
        if counts.classes:
            total = np.sum([counts.classes[block] for block in sorted(counts.classes)], axis=0)
            names = _class_names(len(total))
            result["severity"] = severity.severity_figures(total, names) | {"confusion": total.tolist()}
            sums = np.sum([counts.errors[block] for block in sorted(counts.errors)], axis=0)
            result["difference"] = {key: float(value) for key, value in severity.index_figures(sums).items()}
        return result


def _class_names(count: int) -> tuple[str, ...]:
    for names in (severity.SEVERITY_NAMES, severity.DNBR_NAMES):
        if len(names) == count:
            return names
    return tuple(f"class{i}" for i in range(count))


def plain(value: Any) -> Any:
    """JSON data: NaN becomes None, infinity the text "inf"; numpy scalars and tuples become plain."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        return None if math.isnan(number) else number if math.isfinite(number) else "inf" if number > 0 else "-inf"
    return value


def copy_scores(s2_t0: Image, s2_t1: Image, mask: Mask, bands: Sequence[str], rows: int = 256) -> metrics.Scorer:
    """Scorer of copying t0 over whole rasters (B, H, W), in stripes of `rows` (so SSIM sees no window across them)."""
    scorer = metrics.Scorer(bands)
    for top in range(0, s2_t0.shape[1], rows):
        part = (slice(None), slice(top, top + rows))
        first, second = (np.moveaxis(image[part], 0, -1) for image in (s2_t0, s2_t1))
        scorer.add(f"{top:06d}", first, second, mask[top : top + rows], reference=first)
    return scorer
