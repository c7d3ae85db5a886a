"""Strata of a judgement: groups of pixels that share a cause of error. A group of a kind is named `kind:label`.

lag     days between the optical images t0 and t1, without sign
source  what a composite holds there: under_cloud is simulated, feather is mixed, clear is observed
class   land class of a class raster; slope and aspect from heights
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.science.composite import HIDDEN_CODES

Mask = NDArray[np.bool_]
Matrix = NDArray[np.float64]

KINDS = ("lag", "source", "class", "slope", "aspect")
FEATHER_PX = 5
PAIR_ORDER = ("all", "changed", "unchanged", "changed_05", "unchanged_05", "burned", "unburned", "under_cloud")
SLOPE_EDGES_DEG = (10, 25, 35)
SECTORS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")
FLAT_DEG = 2.0  # below it the direction of a slope is noise


def kind_of(stratum: str) -> str:
    """lag, source, class, slope or aspect; empty for the strata of the true pair (all, changed, burned ...)."""
    kind, colon, _ = stratum.partition(":")
    return kind if colon and kind in KINDS else ""


def order_of(strata: Iterable[str]) -> list[str]:
    """Those of the true pair first, as in PAIR_ORDER; then lags and slopes by size, classes by name, directions by
    compass."""

    def place(item: tuple[int, str]) -> tuple[int, int, str]:
        number, name = item
        kind, label = kind_of(name), name.partition(":")[2]
        if kind == "class":
            return KINDS.index(kind) + 1, 0, label
        if kind in ("lag", "slope"):
            digits = re.match(r"\d+", label)
            return KINDS.index(kind) + 1, int(digits.group()) if digits else 1_000_000, label
        if kind == "aspect":
            return KINDS.index(kind) + 1, SECTORS.index(label) if label in SECTORS else len(SECTORS), label
        if not kind:
            return 0, PAIR_ORDER.index(name) if name in PAIR_ORDER else len(PAIR_ORDER), ""
        return KINDS.index(kind) + 1, number, ""

    return [name for _, name in sorted(enumerate(strata), key=place)]


def lag_label(day_t0: dt.date | None, day_t1: dt.date | None, edges_days: Sequence[int]) -> str:
    """Stratum of a pair of days: `lag:16-31 d` for edges (16, 32, ...); `lag:unknown` without a day."""
    if day_t0 is None or day_t1 is None:
        return "lag:unknown"
    days = abs((day_t1 - day_t0).days)
    low = max((edge for edge in edges_days if edge <= days), default=0)
    high = min((edge for edge in edges_days if edge > days), default=None)
    return f"lag:{low}+ d" if high is None else f"lag:{low}-{high - 1} d"


def source_strata(cloud: NDArray[np.uint8], margin_px: int, feather_px: int = FEATHER_PX) -> dict[str, Mask]:
    """Where a composite simulates, mixes and observes.

    cloud    (H + 2 margin, W + 2 margin) codes of t1 with the surroundings of the piece; 255 = none known
    returns  three masks (H, W); pixels without a code are in none
    """
    hidden = np.isin(cloud, HIDDEN_CODES)
    distance = ndimage.distance_transform_edt(~hidden) if hidden.any() else np.full(hidden.shape, np.inf)
    near = ~hidden & (distance < feather_px + 1)
    rows, cols = (slice(margin_px, size - margin_px) for size in cloud.shape)
    inner, known = (rows, cols), cloud != 255
    masks = {"under_cloud": hidden, "feather": near & known, "clear": ~hidden & ~near & known}
    return {f"source:{name}": mask[inner] for name, mask in masks.items()}


def class_strata(codes: NDArray[np.integer], names: Mapping[int, str], nodata: float | None) -> dict[str, Mask]:
    """One mask a class that is there; a class without a name is called by its code.

    codes  (H, W) class codes; nodata = no class
    """
    found = {}
    for code in np.unique(codes):
        if nodata is None or code != nodata:
            found[f"class:{names.get(int(code), f'class {int(code)}')}"] = codes == code
    return found


def slope_aspect_deg(height_m: NDArray[np.floating], dx_m: float, dy_m: float) -> tuple[Matrix, Matrix]:
    """Slope and direction of steepest descent, clockwise from north, of the inner pixels.

    height_m  (H + 2, W + 2), first row in the north; NaN = unknown
    dx_m      pixel width and height on the ground, > 0
    returns   two (H, W), degrees 0..90 and 0..360; NaN where a neighbour is unknown
    source    Horn 1981
    """
    z = np.asarray(height_m, dtype=np.float64)
    columns = z[:-2] + 2 * z[1:-1] + z[2:]
    rows = z[:, :-2] + 2 * z[:, 1:-1] + z[:, 2:]
    east, north = (columns[:, 2:] - columns[:, :-2]) / (8 * dx_m), (rows[:-2] - rows[2:]) / (8 * dy_m)
    slope = np.degrees(np.arctan(np.hypot(east, north)))
    return slope, np.degrees(np.arctan2(-east, -north)) % 360.0


def terrain_strata(height_m: NDArray[np.floating], dx_m: float, dy_m: float) -> dict[str, Mask]:
    """Slope classes 0-10, 10-25, 25-35, 35-90 degrees, eight sectors of 45 degrees around their directions, and flat.

    Arguments as in slope_aspect_deg. A slope equal to an edge belongs to the upper class
    """
    slope, aspect = slope_aspect_deg(height_m, dx_m, dy_m)
    lows, highs = (0, *SLOPE_EDGES_DEG), (*SLOPE_EDGES_DEG, 90)
    known = np.isfinite(slope)
    steep = np.digitize(np.nan_to_num(slope), SLOPE_EDGES_DEG)
    found = {f"slope:{a}-{b} deg": known & (steep == i) for i, (a, b) in enumerate(zip(lows, highs, strict=True))}
    sector = (np.nan_to_num(aspect) + 22.5) % 360.0 // 45.0
    tilted = known & (slope >= FLAT_DEG)
    found |= {f"aspect:{name}": tilted & (sector == i) for i, name in enumerate(SECTORS)}
    return found | {"aspect:flat": known & ~tilted}
