"""Other papers' scorers, by name: the same pair of images under their definitions, for comparison with their tables.

Figures of two conventions are not comparable. `project` is utils.science.metrics. Definitions as the projects' public
code states them; ours are written from those facts. docs/scores.md tells every difference with a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from utils.science import metrics, similarity

FloatArray = NDArray[np.floating]
Mask = NDArray[np.bool_]
Figures = dict[str, float]

NOT_COMPARABLE = "not comparable"
OWN_TABLE_ONLY = "compare with tables of the same convention only: range, masks and averaging differ"


@dataclass(frozen=True)
class Masks:
    """(H, W) bool masks of one image.

    scored   target clear and inside the valid window
    clear    no optical input has cloud or shadow there (the complement of the union of their masks)
    classes  land class -> its pixels
    """

    scored: Mask
    clear: Mask
    classes: Mapping[str, Mask] = field(default_factory=dict)


def psnr(prediction: FloatArray, target: FloatArray, max_value: float = 1.0, mask: Mask | None = None) -> float:
    """20 log10(max_value) - 10 log10(MSE) over finite pixels of mask, dB; infinite for equal images."""
    mse = metrics.score(prediction, target, mask)["rmse"] ** 2
    return float(20.0 * np.log10(max_value) + metrics.psnr_from_mse(mse))


def _chosen(figures: Mapping[str, float], names: tuple[str, ...], suffix: str = "") -> Figures:
    return {f"{name}{suffix}": figures[name] for name in names}


_IMAGE = ("mae", "rmse", "psnr", "sam_deg")


def _uncrtaints(prediction: FloatArray, target: FloatArray, masks: Masks) -> Figures:
    """Also EMRDM: images clipped to 0..1, no mask, SAM in degrees, SSIM 11x11 zero padded."""
    p, t = np.clip(prediction, 0.0, 1.0), np.clip(target, 0.0, 1.0)
    return _chosen(metrics.score(p, t), _IMAGE) | {"ssim": similarity.ssim(p, t, padding="zero")}


def _sen12mscr_ts(prediction: FloatArray, target: FloatArray, masks: Masks) -> Figures:
    """As uncrtaints with SAM in radians; plus the figures where no input, and where an input has cloud."""
    figures = _uncrtaints(prediction, target, masks)
    figures["sam_rad"] = float(np.radians(figures.pop("sam_deg")))
    p, t = np.clip(prediction, 0.0, 1.0), np.clip(target, 0.0, 1.0)
    for name, member in (("_cloudfree", masks.clear), ("_cloudy", ~masks.clear)):
        figures |= _chosen(metrics.score(p, t, member), ("mae", "rmse", "psnr"), name)
    return figures


_DN_PER_UNIT = 2000.0  # DSen2-CR trains on DN/2000 and multiplies again for its PSNR


def _dsen2cr(prediction: FloatArray, target: FloatArray, masks: Masks) -> Figures:
    """No mask; MAE of all, of clear and of cloudy pixels in reflectance (the paper) and in units of DN/2000 (the code);
    PSNR of the values x 2000 with max 10000; SAM in radians (the code) and degrees (the paper)."""
    base = metrics.score(prediction, target)
    figures = {"mae": base["mae"]}
    for name, member in (("mae_clear", masks.clear), ("mae_cloudy", ~masks.clear)):
        figures[name] = metrics.score(prediction, target, member)["mae"]
    network = [image * 10_000.0 / _DN_PER_UNIT for image in (prediction, target)]
    figures["mae_network"] = metrics.score(network[0], network[1])["mae"]
    figures["psnr"] = psnr(network[0] * _DN_PER_UNIT, network[1] * _DN_PER_UNIT, 10_000.0)
    return figures | {"sam_rad": float(np.radians(base["sam_deg"])), "sam_deg": base["sam_deg"]}


def _utilise(prediction: FloatArray, target: FloatArray, masks: Masks) -> Figures:
    """Masked, and apart where an input is occluded and where all observe; norm zero is out of SAM; SSIM 5x5 Gaussian."""
    figures: Figures = {}
    parts = {"": masks.scored, "_occluded": masks.scored & ~masks.clear, "_observed": masks.scored & masks.clear}
    for suffix, member in parts.items():
        figures |= _chosen(metrics.score(prediction, target, member), _IMAGE, suffix)
    return figures | {"ssim": similarity.ssim(prediction, target, masks.scored, window=5)}


def _allclear(prediction: FloatArray, target: FloatArray, masks: Masks) -> Figures:
    """Masked including shadow, one image (average images with nanmean), SAM in degrees; MAE and PSNR by land class."""
    figures = _chosen(metrics.score(prediction, target, masks.scored), (*_IMAGE, "ssim"))
    for name, member in masks.classes.items():
        figures |= _chosen(metrics.score(prediction, target, masks.scored & member), ("mae", "psnr"), f"_{name}")
    return figures


def _published(prediction: FloatArray, target: FloatArray, masks: Masks) -> Figures:
    """PSNR per band, then the mean over bands, with the ranges 4095 and 1.27, and the same of the pooled error; SSIM in
    uniform 7x7 windows with the library's range of floats, 2, as no range is given. See NOT_COMPARABLE."""
    figures: Figures = {}
    for name, value in (("4095", 4095.0), ("1.27", 1.27)):
        each = [psnr(prediction[..., [b]], target[..., [b]], value) for b in range(target.shape[-1])]
        figures |= {f"psnr_max_{name}": float(np.mean(each)), f"psnr_pooled_{name}": psnr(prediction, target, value)}
    likeness = similarity.ssim(prediction, target, data_range=2.0, window=7, gaussian=False, sample_covariance=True)
    return figures | {"ssim_no_range": likeness}


def _project(prediction: FloatArray, target: FloatArray, masks: Masks) -> Figures:
    """This project's definitions, but averaged over images like the others; the table of evaluate pools sums instead."""
    return _chosen(metrics.score(prediction, target, masks.scored), (*_IMAGE, "ergas", "ssim"))


CONVENTIONS: dict[str, Callable[[FloatArray, FloatArray, Masks], Figures]] = {
    "project": _project,
    "uncrtaints": _uncrtaints,
    "sen12mscr_ts": _sen12mscr_ts,
    "dsen2cr": _dsen2cr,
    "utilise": _utilise,
    "allclear": _allclear,
    "published": _published,
}
MASKED = ("project", "utilise", "allclear")  # the others score whole images, whose targets are free of cloud there


def remark(name: str) -> str:
    """What must stand beside the figures of a convention."""
    return NOT_COMPARABLE if name == "published" else OWN_TABLE_ONLY


def score_as(
    name: str, prediction: FloatArray, target: FloatArray, mask: Mask | None = None, *, clear: Mask | None = None,
    classes: Mapping[str, Mask] | None = None,
) -> Figures:  # fmt: skip
    """Figures of one image under convention `name`.

    prediction, target  (H, W, B) reflectance 0..1
    mask                (H, W) True = scored; None = everywhere. Conventions outside MASKED ignore it.
    clear               (H, W) True = no optical input has cloud; None = everywhere
    classes             land class -> (H, W) its pixels, for allclear
    returns             figure -> value; NaN where it has no pixel
    raises              ValueError for an unknown name
    Papers average these figures over images; `project` pools sums instead (metrics.Scorer).
    """
    if name not in CONVENTIONS:
        raise ValueError(f"unknown convention {name!r}; there are {', '.join(CONVENTIONS)}")
    everywhere = np.ones(target.shape[:2], dtype=bool)
    scored, seen = (everywhere if given is None else given for given in (mask, clear))
    return CONVENTIONS[name](prediction, target, Masks(scored, seen, dict(classes or {})))
