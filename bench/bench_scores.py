"""Scores against loops over pixels: spectral angle, change skill and severity classes of one tile.

Work: 256 x 256 px, five bands, the true pair and a prediction. The loops have the same definitions and give the same
figures, which is checked before anything is timed. `loop` is how such code is usually written: two nested loops that
index arrays pixel by pixel. `lists` is the best that plain Python does: lists made beforehand, no arrays inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench._bench import interleaved
from utils.science import indices, metrics, severity

SIDE_PX, BANDS = 256, ("B04", "B03", "B02", "B08", "B12")
EDGES = (0.09, 0.14, 0.22, 0.34, 0.44)
LIMIT = 50.0
_TINY = 1e-6
Image = NDArray[np.float64]


def make_tile(seed: int = 0) -> tuple[Image, Image, Image]:
    """t0, t1 and prediction, (H, W, 5) reflectance; a third of the ground changed, some spectra zero."""
    rng = np.random.default_rng(seed)
    before = rng.uniform(0.02, 0.5, (SIDE_PX, SIDE_PX, len(BANDS)))
    after = before + rng.normal(0, 0.004, before.shape)
    after[: SIDE_PX // 3] += rng.normal(0, 0.08, (SIDE_PX // 3, SIDE_PX, len(BANDS)))
    after = np.clip(after, 0.001, 1.0)
    after[-1, ::7] = 0.0
    return before, after, after + rng.normal(0, 0.03, after.shape)


# -- this project ----------------------------------------------------------------------------------------------


def own_angle(before: Image, after: Image, prediction: Image) -> float:
    return float(np.nanmean(metrics.spectral_angle_deg(prediction, after)))


def own_skill(before: Image, after: Image, prediction: Image) -> float:
    return metrics.change_skill(prediction, after, before, metrics.changed_mask(before, after, BANDS))


def planes_of(image: Image) -> dict[str, Image]:
    """Red and near infrared as planes, as the maps stages read them."""
    return {name: np.ascontiguousarray(image[..., BANDS.index(name)]) for name in ("B04", "B08")}


def own_classes(before: dict[str, Image], after: dict[str, Image]) -> list[int]:
    change = indices.difference(indices.ndvi(before), indices.ndvi(after))
    counts: list[int] = np.bincount(severity.classify(change, EDGES).ravel(), minlength=256).tolist()
    return counts


# -- loops over arrays, as such code is usually written ----------------------------------------------------------


def loop_angle(before: Image, after: Image, prediction: Image) -> float:
    angles = []
    for row in range(after.shape[0]):
        for col in range(after.shape[1]):
            p, t = prediction[row, col], after[row, col]
            norm = np.linalg.norm(p) * np.linalg.norm(t)
            if norm > 0:
                angles.append(np.degrees(np.arccos(np.clip(np.dot(p, t) / norm, -1.0, 1.0))))
    return float(np.mean(angles))


def _ndvi(red: float, nir: float) -> float:
    return (nir - red) / (nir + red) if abs(nir + red) >= _TINY else math.nan


def loop_skill(before: Image, after: Image, prediction: Image) -> float:
    own = copied = 0.0
    for row in range(after.shape[0]):
        for col in range(after.shape[1]):
            first, last = before[row, col], after[row, col]
            change = _ndvi(first[0], first[3]) - _ndvi(last[0], last[3])
            if np.mean(np.abs(last - first)) > metrics.CHANGED_REFLECTANCE or abs(change) > metrics.CHANGED_DNDVI:
                own += np.sum((prediction[row, col] - last) ** 2)
                copied += np.sum((first - last) ** 2)
    return float(1 - own / copied)


def loop_classes(before: dict[str, Image], after: dict[str, Image]) -> list[int]:
    counts = [0] * 256
    for row in range(SIDE_PX):
        for col in range(SIDE_PX):
            first = _ndvi(before["B04"][row, col], before["B08"][row, col])
            counts[_class(first - _ndvi(after["B04"][row, col], after["B08"][row, col]))] += 1
    return counts


def _class(change: float) -> int:
    if math.isnan(change):
        return severity.NODATA
    for code, edge in enumerate(EDGES):
        if change < edge:
            return code
    return len(EDGES)


# -- the best of plain Python: lists of lists, made before the clock starts ---------------------------------------


def list_angle(before: Any, after: Any, prediction: Any) -> float:
    total, count = 0.0, 0
    for p, t in zip(prediction, after, strict=True):
        norm = math.sqrt(sum(v * v for v in p)) * math.sqrt(sum(v * v for v in t))
        if norm > 0:
            cosine = sum(a * b for a, b in zip(p, t, strict=True)) / norm
            total += math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
            count += 1
    return total / count


def list_skill(before: Any, after: Any, prediction: Any) -> float:
    own = copied = 0.0
    for first, last, told in zip(before, after, prediction, strict=True):
        size = sum(abs(b - a) for a, b in zip(first, last, strict=True)) / len(BANDS)
        change = _ndvi(first[0], first[3]) - _ndvi(last[0], last[3])
        if size > metrics.CHANGED_REFLECTANCE or abs(change) > metrics.CHANGED_DNDVI:
            own += sum((a - b) ** 2 for a, b in zip(told, last, strict=True))
            copied += sum((a - b) ** 2 for a, b in zip(first, last, strict=True))
    return 1 - own / copied


def list_classes(before: Any, after: Any) -> list[int]:
    counts = [0] * 256
    for red_0, nir_0, red_1, nir_1 in zip(before["B04"], before["B08"], after["B04"], after["B08"], strict=True):
        counts[_class(_ndvi(red_0, nir_0) - _ndvi(red_1, nir_1))] += 1
    return counts


def same(one: Any, other: Any) -> bool:
    """Equal counts, or figures within 1e-9."""
    return bool(one == other) if isinstance(one, list) else math.isclose(one, other, rel_tol=1e-9)


Work = tuple[str, Callable[[], Any], Callable[[], Any], Callable[[], Any]]


def work() -> list[Work]:
    """Name, ours, loop over arrays, loop over lists."""
    tile = make_tile()
    lists = [image.reshape(-1, len(BANDS)).tolist() for image in tile]
    planes = [planes_of(image) for image in tile[:2]]
    flat = [{name: plane.ravel().tolist() for name, plane in pair.items()} for pair in planes]
    return [
        ("angle", partial(own_angle, *tile), partial(loop_angle, *tile), partial(list_angle, *lists)),
        ("change_skill", partial(own_skill, *tile), partial(loop_skill, *tile), partial(list_skill, *lists)),
        ("severity", partial(own_classes, *planes), partial(loop_classes, *planes), partial(list_classes, *flat)),
    ]


def figures() -> list[dict[str, Any]]:
    """Ratio of each loop to our time, and our milliseconds.

    raises  ValueError when a loop and ours disagree: they would not do the same work
    """
    found = []
    for name, own, loop, plain in work():
        for kind, other, limit in (("loop", loop, LIMIT), ("lists", plain, None)):
            if not same(own(), other()):
                raise ValueError(f"{name}: {kind} gives {other()}, ours {own()}")
            seconds, _, ratio = interleaved(own, other)
            found.append(
                {
                    "name": f"scores_{name}_over_{kind}",
                    "value": ratio,
                    "unit": "times",
                    "limit": limit,
                    "better": "higher",
                }
            )
        found.append({"name": f"scores_{name}", "value": seconds * 1e3, "unit": "ms", "limit": None, "better": "lower"})
    return found
