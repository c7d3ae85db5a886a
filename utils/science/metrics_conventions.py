"""Other papers' scorers, by name: the same pair of images under their definitions, for comparison with their tables.

Figures of two conventions are not comparable. `project` is utils.science.metrics. Definitions as the projects' public
code states them; ours are written from those facts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from utils.science import metrics

FloatArray = NDArray[np.floating]
Mask = NDArray[np.bool_]
Figures = dict[str, float]

NOT_COMPARABLE = "not comparable with other rows: range and averaging differ"


def psnr(prediction: FloatArray, target: FloatArray, max_value: float = 1.0, mask: Mask | None = None) -> float:
    """20 log10(max_value) - 10 log10(MSE) over finite pixels of mask, dB; infinite for equal images."""
    mse = metrics.score(prediction, target, mask)["rmse"] ** 2
    return float(20.0 * np.log10(max_value) + metrics.psnr_from_mse(mse))


def _clipped(prediction: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    return np.clip(prediction, 0.0, 1.0), np.clip(target, 0.0, 1.0)


def _uncrtaints(prediction: FloatArray, target: FloatArray, mask: Mask) -> Figures:
    """Also EMRDM: images clipped to 0..1, no mask, SAM in degrees, SSIM 11x11 zero padded."""
    p, t = _clipped(prediction, target)
    base = metrics.score(p, t)
    return {
        "mae": base["mae"],
        "rmse": base["rmse"],
        "psnr": base["psnr"],
        "sam_deg": base["sam_deg"],
        "ssim": metrics.ssim(p, t, padding="zero"),
    }


def _sen12mscr_ts(prediction: FloatArray, target: FloatArray, mask: Mask) -> Figures:
    """As uncrtaints with SAM in radians; plus MAE under (mask False) and outside the input clouds."""
    figures = _uncrtaints(prediction, target, mask)
    figures["sam_rad"] = float(np.radians(figures.pop("sam_deg")))
    p, t = _clipped(prediction, target)
    for name, member in (("cloudfree", mask), ("cloudy", ~mask)):
        figures[f"mae_{name}"] = metrics.score(p, t, member)["mae"]
    return figures


def _dsen2cr(prediction: FloatArray, target: FloatArray, mask: Mask) -> Figures:
    """Digital numbers 0..10000: MAE of the target, of clear and of cloudy pixels in DN, PSNR max 10000, SAM radians."""
    base = metrics.score(prediction, target)
    return {
        "mae_dn": base["mae"] * 10_000,
        "mae_clear_dn": metrics.score(prediction, target, mask)["mae"] * 10_000,
        "mae_cloudy_dn": metrics.score(prediction, target, ~mask)["mae"] * 10_000,
        "psnr": psnr(prediction * 10_000, target * 10_000, 10_000.0),
        "sam_rad": float(np.radians(base["sam_deg"])),
    }


def _utilise(prediction: FloatArray, target: FloatArray, mask: Mask) -> Figures:
    """Masked; pixels of norm zero are out of SAM; SSIM with a 5x5 Gaussian."""
    base = metrics.score(prediction, target, mask)
    return {
        "mae": base["mae"],
        "rmse": base["rmse"],
        "psnr": base["psnr"],
        "sam_deg": base["sam_deg"],
        "ssim": metrics.ssim(prediction, target, mask, window=5),
    }


def _allclear(prediction: FloatArray, target: FloatArray, mask: Mask) -> Figures:
    """Masked including shadow, one image; average the images with nanmean, SAM in degrees."""
    base = metrics.score(prediction, target, mask)
    return {name: base[name] for name in ("mae", "rmse", "psnr", "sam_deg", "ssim")}


def _published(prediction: FloatArray, target: FloatArray, mask: Mask) -> Figures:
    """PSNR per band, then the mean over bands, with the ranges 4095 and 1.27. See NOT_COMPARABLE."""
    return {
        f"psnr_max_{name}": float(
            np.mean([psnr(prediction[..., [b]], target[..., [b]], value) for b in range(target.shape[-1])])
        )
        for name, value in (("4095", 4095.0), ("1.27", 1.27))
    }


def _project(prediction: FloatArray, target: FloatArray, mask: Mask) -> Figures:
    base = metrics.score(prediction, target, mask)
    return {name: base[name] for name in ("mae", "rmse", "psnr", "sam_deg", "ergas", "ssim")}


CONVENTIONS: dict[str, Callable[[FloatArray, FloatArray, Mask], Figures]] = {
    "project": _project,
    "uncrtaints": _uncrtaints,
    "sen12mscr_ts": _sen12mscr_ts,
    "dsen2cr": _dsen2cr,
    "utilise": _utilise,
    "allclear": _allclear,
    "published": _published,
}


def score_as(name: str, prediction: FloatArray, target: FloatArray, mask: Mask | None = None) -> Figures:
    """Figures of one image under convention `name`.

    prediction, target  (H, W, B) reflectance 0..1
    mask                (H, W) True = clear in the input; None = everywhere. Some conventions ignore it.
    raises              ValueError for an unknown name
    Papers that score per image average these figures over images; `project` pools sums instead (metrics.Scorer).
    """
    if name not in CONVENTIONS:
        raise ValueError(f"unknown convention {name!r}; there are {', '.join(CONVENTIONS)}")
    everywhere = np.ones(target.shape[:2], dtype=bool) if mask is None else mask
    return CONVENTIONS[name](prediction, target, everywhere)
