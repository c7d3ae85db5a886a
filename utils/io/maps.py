"""A map as PNG: outlines in degrees, graticule, scale bar, north arrow, legend. matplotlib without a display.

Longitude is shown shorter by the cosine of the middle latitude, so that shapes and the scale bar hold in the middle.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

KM_PER_DEGREE = 111.19492664  # of latitude, sphere of 6371.0088 km
_DASHES = (0, (5, 3))
Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Outline:
    """One entry of the legend with its geometry in degrees (longitude, latitude).

    colour  of the line; fill: share of it inside, 0..1; dashed line; width in points
    close   it is wanted in the close view too
    """

    words: str
    geometry: BaseGeometry
    colour: str
    fill: float = 0.0
    dashed: bool = False
    width: float = 1.6
    close: bool = True


def steps(low: float, high: float, most: int = 5) -> list[float]:
    """Round values between two bounds, at most `most`: multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    return [round(i * step, 10) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def degrees(value: float, names: str) -> str:
    """149.2°E, 35.25°S; names = letters of the positive and the negative side."""
    value = (value + 180) % 360 - 180 if names == "EW" else value
    letter = "" if abs(value) < 1e-9 or abs(abs(value) - 180) < 1e-9 else names[value < 0]
    return f"{abs(value):.6f}".rstrip("0").rstrip(".") + f"°{letter}"


def bar_km(bounds: Bounds, share: float = 0.3) -> float:
    """Length of the scale bar: the largest of 1, 2, 5 times a power of ten within this share of the width."""
    west, south, east, north = bounds
    limit = share * (east - west) * KM_PER_DEGREE * math.cos(math.radians((south + north) / 2))
    power = 10.0 ** math.floor(math.log10(limit))
    return next(m * power for m in (5, 2, 1) if m * power <= limit * (1 + 1e-9))


def padded(bounds: Bounds, share: float = 0.08) -> Bounds:
    """Bounds grown by a share of the larger side on every side."""
    west, south, east, north = bounds
    grow = share * max(east - west, north - south, 1e-4)
    return west - grow, south - grow, east + grow, north + grow


def png(outlines: Sequence[Outline], title: str, note: str = "", width_px: int = 1500) -> bytes:
    """The map: one view of everything, and a close one where an outline is far larger than those marked close.

    note     small words below the title
    returns  PNG, equal bytes for equal input
    raises   ValueError when no outline has an area
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    views = _views([o for o in outlines if not o.geometry.is_empty])
    wide = width_px / 150
    figure = Figure(figsize=(wide, wide * (0.66 if len(views) == 2 else 0.9)), dpi=150)
    canvas = FigureCanvasAgg(figure)
    tall_in = figure.get_figheight()
    figure.text(0.012, 1 - 0.1 / tall_in, title, va="top", fontsize=13, weight="bold")
    figure.text(0.012, 1 - 0.4 / tall_in, note, va="top", fontsize=8.5, color="#5b636d")
    axes = figure.subplots(1, len(views), squeeze=False)[0]
    rows = (len(outlines) + 1) // 2
    figure.subplots_adjust(
        left=0.055, right=0.985, top=1 - 0.9 / tall_in, bottom=(0.5 + 0.2 * rows) / tall_in, wspace=0.14
    )
    for axis, (name, bounds) in zip(axes, views, strict=True):
        place = axis.get_position()
        tall = place.height * figure.get_figheight() / (place.width * figure.get_figwidth())
        _draw(axis, outlines, fitted(bounds, tall), name)
    figure.legend(handles=[_key(o) for o in outlines], loc="lower left", ncols=2, fontsize=8.5, frameon=False)
    out = io.BytesIO()
    write: Any = canvas.print_png  # not typed
    write(out, metadata={"Software": None})
    return out.getvalue()


def fitted(bounds: Bounds, tall: float) -> Bounds:
    """Bounds grown about their middle until height over width, on the ground, is `tall`."""
    west, south, east, north = bounds
    shrink = max(math.cos(math.radians((south + north) / 2)), 0.05)
    width, height = (east - west) * shrink, north - south
    width, height = max(width, height / tall), max(height, width * tall)
    x, y = (west + east) / 2, (south + north) / 2
    return x - width / shrink / 2, y - height / 2, x + width / shrink / 2, y + height / 2


def _views(outlines: Sequence[Outline]) -> list[tuple[str, Bounds]]:
    if not outlines:
        raise ValueError("nothing to draw")
    whole = _bounds(outlines)
    near = _bounds([o for o in outlines if o.close] or outlines)
    if near[2] - near[0] > 0.4 * (whole[2] - whole[0]) and near[3] - near[1] > 0.4 * (whole[3] - whole[1]):
        return [("", padded(whole))]
    return [("Footprints", padded(whole)), ("The area", padded(near, 0.15))]


def _bounds(outlines: Sequence[Outline]) -> Bounds:
    boxes = [o.geometry.bounds for o in outlines]
    return (min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes))


def _rings(geometry: BaseGeometry) -> Iterator[Polygon]:
    for part in getattr(geometry, "geoms", [geometry]):
        if isinstance(part, Polygon):
            yield part
        elif hasattr(part, "geoms"):
            yield from _rings(part)


def _key(outline: Outline) -> Any:
    """The entry of the legend."""
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Patch

    line: dict[str, Any] = {"linestyle": _DASHES if outline.dashed else "solid", "linewidth": outline.width}
    return Patch(facecolor=to_rgba(outline.colour, outline.fill), edgecolor=outline.colour, label=outline.words, **line)


def _draw(axis: Any, outlines: Sequence[Outline], bounds: Bounds, name: str) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    west, south, east, north = bounds
    axis.set_facecolor("#f6f4ef")
    for number, outline in enumerate(outlines):
        for polygon in _rings(outline.geometry):
            rings = [polygon.exterior, *polygon.interiors]
            path = Path.make_compound_path(*(Path([p[:2] for p in ring.coords], closed=True) for ring in rings))
            style = {"linestyle": _DASHES if outline.dashed else "solid", "linewidth": outline.width}
            if outline.fill:
                axis.add_patch(PathPatch(path, facecolor=outline.colour, alpha=outline.fill, linewidth=0, zorder=2))
            axis.add_patch(
                PathPatch(path, facecolor="none", edgecolor=outline.colour, zorder=3 + 0.01 * number, **style)
            )
    axis.set_xlim(west, east)
    axis.set_ylim(south, north)
    _frame(axis, bounds, name)


def _frame(axis: Any, bounds: Bounds, name: str) -> None:
    """Graticule in degrees, scale bar, north arrow."""
    west, south, east, north = bounds
    columns, rows = steps(west, east, 4), steps(south, north, 5)
    rows = [y for y in rows if 0.04 < (y - south) / (north - south) < 0.96]  # else the label leaves the frame
    axis.set_xticks(columns, [degrees(x, "EW") for x in columns], fontsize=8)
    axis.set_yticks(rows, [degrees(y, "NS") for y in rows], fontsize=8, rotation=90, va="center")
    axis.grid(color="#8a9097", linewidth=0.4, alpha=0.7)
    axis.set_axisbelow(True)
    axis.set_title(name, fontsize=10, loc="left")
    long_km = bar_km(bounds)
    long_deg = long_km / (KM_PER_DEGREE * math.cos(math.radians((south + north) / 2)))
    x, y, tall = west + 0.05 * (east - west), south + 0.05 * (north - south), 0.012 * (north - south)
    for part, colour in ((0, "black"), (1, "white")):
        axis.fill(
            [x + (part + i) * long_deg / 2 for i in (0, 1, 1, 0)],
            [y, y, y + tall, y + tall], facecolor=colour, edgecolor="black", linewidth=0.7, zorder=6,
        )  # fmt: skip
    halo = {"boxstyle": "round,pad=0.15", "facecolor": "#ffffffcc", "linewidth": 0}
    axis.text(
        x + long_deg / 2, y + 2 * tall, f"{long_km:g} km", ha="center", va="bottom", fontsize=8, zorder=6, bbox=halo
    )
    axis.annotate(
        "N", xy=(0.95, 0.97), xytext=(0.95, 0.86), xycoords="axes fraction", ha="center", va="center", fontsize=10,
        weight="bold", zorder=6, arrowprops={"arrowstyle": "-|>", "facecolor": "black", "linewidth": 1.4},
    )  # fmt: skip
