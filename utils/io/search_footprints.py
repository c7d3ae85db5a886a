"""The map of a search as inline SVG: area, footprints of the chosen and the refused, graticule, scale bar, north arrow.

Plane coordinates are x = cos(middle latitude) * (lon - lon0), y = lat0 - lat, in hundredths of a degree of latitude.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from utils.io.maps import KM_PER_DEGREE, Bounds, bar_km, degrees, padded, steps
from utils.io.search_marks import Mark, Ring

UNIT = 100.0  # plane units a degree of latitude
ASPECT = 0.72  # height over width of every view
_FAR_DEG = 8.0  # footprints beyond this from the area do not widen the first view


@dataclass(frozen=True)
class Plane:
    """Middle of the area in degrees; longitudes are taken on its side of the antimeridian."""

    lon0: float
    lat0: float

    @property
    def shrink(self) -> float:
        return max(math.cos(math.radians(self.lat0)), 0.05)

    def near(self, lon: float) -> float:
        """The longitude, moved by whole turns to within 180 degrees of the area."""
        return self.lon0 + (lon - self.lon0 + 180) % 360 - 180

    def xy(self, lon: float, lat: float) -> tuple[float, float]:
        return UNIT * self.shrink * (self.near(lon) - self.lon0), UNIT * (self.lat0 - lat)

    def lonlat(self, x: float, y: float) -> tuple[float, float]:
        return self.lon0 + x / (UNIT * self.shrink), self.lat0 - y / UNIT


@dataclass(frozen=True)
class View:
    """One extent of the map: name for its button, viewBox."""

    name: str
    x: float
    y: float
    width: float
    height: float

    @property
    def box(self) -> str:
        return f"{self.x:.3f} {self.y:.3f} {self.width:.3f} {self.height:.3f}"


def rings_of(geometry: Mapping[str, Any]) -> list[Ring]:
    """Outer and inner rings of a GeoJSON Polygon or MultiPolygon."""
    polygons = geometry["coordinates"]
    polygons = [polygons] if geometry["type"] == "Polygon" else polygons
    return [tuple((float(p[0]), float(p[1])) for p in ring) for polygon in polygons for ring in polygon]


def plane_of(area: Sequence[Ring]) -> Plane:
    """The plane of an area: the middle of its bounding box."""
    west, south, east, north = _bounds([p for ring in area for p in ring])
    return Plane((west + east) / 2, (south + north) / 2)


def _bounds(points: Iterable[tuple[float, float]]) -> Bounds:
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def path(rings: Iterable[Ring], plane: Plane) -> str:
    """SVG path data of rings, three decimals (a metre)."""
    out = []
    for ring in rings:
        points = [plane.xy(lon, lat) for lon, lat in ring]
        out.append("M" + "L".join(f"{x:.3f} {y:.3f}" for x, y in points) + "z")
    return "".join(out)


def views(area: Sequence[Ring], marks: Sequence[Mark], plane: Plane) -> list[View]:
    """Extents from far to near: every footprint close by, the Sentinel-2 scenes, the area. Equal ones are left out."""

    def near(some: Iterable[Mark]) -> list[tuple[float, float]]:
        return [
            (plane.near(lon), lat) for mark in some for ring in mark.rings for lon, lat in ring
            if abs(plane.near(lon) - plane.lon0) <= _FAR_DEG / plane.shrink and abs(lat - plane.lat0) <= _FAR_DEG
        ]  # fmt: skip

    own = [(plane.near(lon), lat) for ring in area for lon, lat in ring]
    scenes = [m for m in marks if m.sensor == "S2" and m.state == "chosen"] or [m for m in marks if m.sensor == "S2"]
    wanted = [
        ("All footprints", padded(_bounds([*own, *near(marks)]), 0.06)),
        ("Sentinel-2 scenes", padded(_bounds([*own, *near(scenes)]), 0.06)),
        ("The area", padded(_bounds(own), 0.25)),
    ]
    out: list[View] = []
    for name, bounds in wanted:
        view = _view(name, bounds, plane)
        if not out or view.width < 0.8 * out[-1].width or name == "The area":
            out.append(view)
    return out


def _view(name: str, bounds: Bounds, plane: Plane) -> View:
    x0, y0 = plane.xy(bounds[0], bounds[3])
    x1, y1 = plane.xy(bounds[2], bounds[1])
    width = max(x1 - x0, (y1 - y0) / ASPECT)
    return View(name, (x0 + x1 - width) / 2, (y0 + y1 - width * ASPECT) / 2, width, width * ASPECT)


def svg(area: Sequence[Ring], marks: Sequence[Mark], colours: Mapping[str, str]) -> tuple[str, list[View]]:
    """The map and its extents; the first is shown until a button is pressed.

    colours  reason code -> CSS colour
    """
    plane = plane_of(area)
    shown = views(area, marks, plane)
    order = {"refused": 0, "left": 1, "chosen": 2}
    drawn = sorted(enumerate(marks), key=lambda item: (order[item[1].state], item[1].sensor == "S2", item[0]))
    parts = [_footprint(number, mark, plane, colours) for number, mark in drawn if any(mark.rings)]
    first = shown[0]
    frames = "".join(_frame(view, plane, hidden=view is not first) for view in shown)
    return (
        f"<svg class=map id=map viewBox='{first.box}' style='--u:{first.width / 760:.5f}' role=img "
        f"aria-label='Map of footprints'>{''.join(parts)}<path class=aoi d='{path(area, plane)}'>"
        f"<title>Area of interest</title></path>{frames}</svg>"
    ), shown


def _footprint(number: int, mark: Mark, plane: Plane, colours: Mapping[str, str]) -> str:
    colour = f" style='--c:{colours[mark.code]}'" if mark.code in colours else ""
    best = " best" if 1 in mark.ranks else ""
    kind = f"foot {mark.state}{best} {mark.sensor.lower()} {mark.date}" + (" nearest" if mark.near else "")
    return (
        f"<path class='{' '.join(kind.split())}' data-f={number} data-c='{escape(mark.code or mark.state, quote=True)}'"
        f"{colour} d='{path(mark.rings, plane)}'><title>{escape(mark.words)}</title></path>"
    )


def _frame(view: View, plane: Plane, *, hidden: bool) -> str:
    """Graticule with its labels, scale bar and north arrow of one extent; text is sized by the page through --u."""
    west, north = plane.lonlat(view.x, view.y)
    east, south = plane.lonlat(view.x + view.width, view.y + view.height)
    out = []
    for lon in steps(west, east, 4):
        x = plane.xy(lon, plane.lat0)[0]
        out.append(f"<path class=grid d='M{x:.3f} {view.y:.3f}v{view.height:.3f}'/>")
        out.append(_text(x, view.y + 0.985 * view.height, degrees(lon, "EW"), "middle"))
    for lat in steps(south, north, 4):
        y = plane.xy(plane.lon0, lat)[1]
        out.append(f"<path class=grid d='M{view.x:.3f} {y:.3f}h{view.width:.3f}'/>")
        out.append(_text(view.x + 0.008 * view.width, y - 0.008 * view.width, degrees(lat, "NS"), "start"))
    out += [_bar(view, (west, south, east, north)), _arrow(view)]
    style = " style='display:none'" if hidden else ""
    return f"<g class=frame data-view='{view.box}'{style}>{''.join(out)}</g>"


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f"<text x='{x:.3f}' y='{y:.3f}' text-anchor={anchor}>{escape(words)}</text>"


def _bar(view: View, bounds: Bounds) -> str:
    """Scale bar in the upper left corner; its length holds at the middle latitude of the area."""
    long_km = bar_km(bounds, 0.25)
    length = UNIT * long_km / KM_PER_DEGREE
    x, y, tall = view.x + 0.03 * view.width, view.y + 0.05 * view.width, 0.008 * view.width
    half = "".join(
        f"<rect class={kind} x='{x + part * length / 2:.3f}' y='{y:.3f}' width='{length / 2:.3f}' height='{tall:.3f}'/>"
        for part, kind in ((0, "dark"), (1, "light"))
    )
    return f"<g class=scale>{half}{_text(x + length / 2, y - 0.6 * tall, f'{long_km:g} km', 'middle')}</g>"


def _arrow(view: View) -> str:
    x, y, r = view.x + 0.965 * view.width, view.y + 0.03 * view.width, 0.014 * view.width
    shape = f"M{x:.3f} {y:.3f}l{0.7 * r:.3f} {2.4 * r:.3f}l{-0.7 * r:.3f} {-0.6 * r:.3f}l{-0.7 * r:.3f} {0.6 * r:.3f}z"
    return f"<path class=north d='{shape}'/>{_text(x, y + 4.4 * r, 'N', 'middle')}"
