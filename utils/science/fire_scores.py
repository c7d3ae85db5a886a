"""Burned-area maps of real before and after images against two truths that are no severity: a perimeter, and dNBR.

F1 grows with the share of burned pixels, so that all_burned stands beside every figure, and IoU and kappa too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.science import indices, severity

Plane = NDArray[np.float64]
Codes = NDArray[np.uint8]

THRESHOLDS = {"NBR": 0.10, "NDVI": 0.09}  # burned above
FIGURES = ("f1", "iou", "kappa", "commission", "omission", "area_bias", "base_rate")
TOLERANCE = 0.01
# fire -> F1 of dNBR > .10 and of dNDVI > .09 against the perimeter, as measured before this project
REFERENCE = {
    "DOVE_20241019": (0.95, 0.01),
    "10TH_20240624": (0.86, 0.42),
    "4-8_20200817": (0.69, 0.50),
    "68_20210818": (0.63, 0.42),
    "66_20230515": (0.43, 0.37),
    "1-7_20200817": (0.42, 0.52),
}


def differences(before: Mapping[str, Plane], after: Mapping[str, Plane]) -> dict[str, Plane]:
    """index -> before minus after, (rows, cols); bands by name, reflectance."""
    return {
        name: indices.difference(*(indices.compute(name, bands) for bands in (before, after))) for name in THRESHOLDS
    }


def rows(name: str, change: Mapping[str, Plane], perimeter: Codes, pixel_area_m2: Plane) -> list[dict[str, Any]]:
    """Scores of one fire: every map against the perimeter, then dNDVI against the map of dNBR.

    change     index -> (rows, cols) difference, as `differences` gives it
    perimeter  (rows, cols) 1 inside, 0 outside, 255 unknown; pixel_area_m2 (rows, 1)
    returns    fire, map, truth, FIGURES, all_burned (F1), map_ha, truth_ha, mean_inside (mean difference inside the truth),
               and for the perimeter reference and off, None where there is none
    """
    maps = {index: severity.burned(plane, THRESHOLDS[index]) for index, plane in change.items()}
    found = []
    for index, truth, codes in [*((i, "perimeter", perimeter) for i in maps), ("NDVI", "dNBR > 0.10", maps["NBR"])]:
        figures = scored(maps[index], codes, pixel_area_m2)
        inside = (codes == 1) & np.isfinite(change[index])
        figures["mean_inside"] = float(change[index][inside].mean()) if inside.any() else float("nan")
        known = REFERENCE.get(name) if truth == "perimeter" else None
        reference = None if known is None else known[list(THRESHOLDS).index(index)]
        off = None if reference is None else abs(figures["f1"] - reference)
        text = f"d{index} > {THRESHOLDS[index]:.2f}"
        found.append({"fire": name, "map": text, "truth": truth, **figures, "reference": reference, "off": off})
    return found


def scored(own: Codes, truth: Codes, pixel_area_m2: Plane) -> dict[str, float]:
    """FIGURES of a burned map, F1 of calling all of it burned, and hectares of both where both are known."""
    counts = severity.confusion(truth, own, 2)
    figures = {key: float(value) for key, value in severity.binary_figures(counts).items() if key in FIGURES}
    known = (own != severity.NODATA) & (truth != severity.NODATA)
    everything = np.where(known, 1, severity.NODATA).astype(np.uint8)
    figures["all_burned"] = float(severity.binary_figures(severity.confusion(truth, everything, 2))["f1"])
    for key, codes in (("map_ha", own), ("truth_ha", truth)):
        shown = np.where(known, codes, severity.NODATA).astype(np.uint8)
        figures[key] = severity.area_ha(shown, pixel_area_m2, 2)[1]
    return figures
