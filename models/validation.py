"""Scores during training: pooled sums over the validation tiles, in reflectance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from models.inputs import F32, Tile, Units

Scores = dict[str, float]


def pad_to_multiple(x: F32, multiple: int) -> F32:
    """(B, H, W, C) reflected at the lower and right edge up to a multiple of `multiple`."""
    grow = [(0, 0), *((0, -n % multiple) for n in x.shape[1:3]), (0, 0)]
    return np.pad(x, grow, mode="reflect") if any(after for _, after in grow) else x


def score(predict: Callable[[F32], F32], tiles: Iterable[Tile], units: Units, start: int, multiple: int = 1) -> Scores:
    """Mean absolute error, PSNR (range 1) and change skill of a network on weighted pixels.

    predict  (1, H, W, C) network units -> (1, H, W, n)
    returns  mae, psnr, psnr_changed, psnr_unchanged, the same of copy_t0, and skill_changed =
             1 - SSE(model) / SSE(copy_t0) on changed pixels. Undefined figures are left out.
    """
    sums = np.zeros((2, 2, 3))  # (changed, [model, copy], [absolute, squared, count])
    for tile in tiles:
        rows, cols = tile.weight.shape
        y = predict(pad_to_multiple(tile.x[None], multiple))[0, :rows, :cols].astype(np.float64)
        t0 = tile.x[..., start : start + tile.y.shape[-1]].astype(np.float64)
        for which, image in enumerate((y, t0)):
            error = (image - tile.y) * units.scale.astype(np.float64)
            for changed in (0, 1):
                chosen = error[(tile.weight > 0) & (tile.changed == changed)]
                sums[changed, which] += np.abs(chosen).sum(), np.square(chosen).sum(), chosen.size
    return _figures(sums)


def _figures(sums: np.ndarray) -> Scores:
    out: Scores = {}
    for which, suffix in enumerate(("", "_copy_t0")):
        total = sums[:, which].sum(0)
        if total[2]:
            out[f"mae{suffix}"] = float(total[0] / total[2])
        for name, part in (("psnr", total), ("psnr_changed", sums[1, which]), ("psnr_unchanged", sums[0, which])):
            if part[2] and part[1] > 0:
                out[f"{name}{suffix}"] = 10 * math.log10(part[2] / part[1])
    if sums[1, 1, 1] > 0:
        out["skill_changed"] = 1 - float(sums[1, 0, 1] / sums[1, 1, 1])
    return out
