"""Maps over one another in a page: chosen, swiped, zoomed by mouse, touch and keyboard, with captions and a scale bar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from utils.io import html
from utils.io.html import data_uri
from utils.io.maps import KM_PER_DEGREE
from utils.io.pictures import Picture, webp_bytes
from utils.science.grid import Grid

Colour = tuple[int, int, int]
KEYS = (
    "Plus and minus zoom, 0 shows all, arrows move, comma and full stop change the layer, space swaps the two layers."
)


@dataclass(frozen=True)
class Layer:
    """One picture of a viewer.

    short   words of its button, understood inside its group; name stands alone
    legend  colours with their words; ramp = the same as a gradient with end values
    """

    name: str
    group: str
    data: bytes
    mime: str
    caption: str
    legend: tuple[tuple[Colour, str], ...] = ()
    ramp: tuple[tuple[Colour, ...], str, str] | None = None
    short: str = ""


@dataclass(frozen=True)
class Frame:
    """What the pictures of a viewer show: rows and columns of a picture, and where it lies.

    grid   None = no place known: no scale bar, no coordinates
    """

    rows: int
    cols: int
    grid: Grid | None = None

    @property
    def width_m(self) -> float:
        """Width on the ground in the middle row; 0 without a place."""
        if self.grid is None:
            return 0.0
        width = self.grid.cols * self.grid.dx
        if not self.grid.is_geographic:
            return width
        middle = self.grid.y0 + self.grid.rows * self.grid.dy / 2
        return width * 1000 * KM_PER_DEGREE * math.cos(math.radians(middle))


def _rgb(colour: Colour) -> str:
    return f"rgb({colour[0]},{colour[1]},{colour[2]})"


def key_html(layer: Layer) -> str:
    """Legend of a layer: squares with words, or a gradient between two values."""
    keys = "".join(
        f"<span class=key><i style='background:{_rgb(c)}'></i>{escape(word)}</span>" for c, word in layer.legend
    )
    if layer.ramp:
        colours, low, high = layer.ramp
        stops = ",".join(_rgb(colour) for colour in colours)
        ramp = f"<i class=ramp style='background:linear-gradient(90deg,{stops})'></i>"
        keys += f"<span class=key>{escape(low)}{ramp}{escape(high)}</span>"
    return keys


def _caption(layer: Layer, hidden: bool) -> str:
    text = f"<b>{escape(layer.name)}</b>: {escape(layer.caption)}"
    return f"<div{' hidden' if hidden else ''}>{text}<br>{key_html(layer)}</div>"


def _pickers(name: str, layers: Sequence[Layer], first: int) -> str:
    groups = []
    for group in dict.fromkeys(layer.group for layer in layers):
        picks = "".join(
            f"<label><input type=radio name='{name}' value={i}{' checked' if i == first else ''}><span>{escape(layer.short or layer.name)}</span></label>"
            for i, layer in enumerate(layers)
            if layer.group == group
        )
        groups.append(f"<fieldset><legend>{escape(group)}</legend><div class=pick>{picks}</div></fieldset>")
    return f"<div class=picks>{''.join(groups)}</div>"


def _stack(layers: Sequence[Layer], frame: Frame, label: str, note: str, first: int) -> str:
    images = "".join(
        f"<div class='lay{' on' if i == first else ''}'><img src='{data_uri(layer.data, layer.mime)}' alt='{escape(layer.name, quote=True)}' draggable=false></div>"
        for i, layer in enumerate(layers)
    )
    corner = f"<span class='tag s'>{escape(note)}</span>" if note else ""
    bar = "<span class='tag b' aria-hidden=true><b></b><i></i></span>"
    if not frame.width_m:
        bar = bar.replace("<span", "<span hidden")
    said = escape(f"{label}. {KEYS}", quote=True)
    return (
        f"<div class=stack tabindex=0 role=group aria-label='{said}' style='aspect-ratio:{frame.cols}/{frame.rows}'>{images}"
        f"<span class=edge></span><span class='tag l'>{escape(layers[first].name)}</span><span class='tag r'></span>{corner}{bar}</div>"
    )


def _controls(layers: Sequence[Layer], second: int) -> str:
    choices = "".join(
        f"<option value={i}{' selected' if i == second else ''}>{escape(layer.name)}</option>"
        for i, layer in enumerate(layers)
    )
    buttons = "".join(
        f"<button type=button value={value} aria-label='{label}' title='{label}'>{sign}</button>"
        for value, sign, label in (
            ("in", "+", "Zoom in"),
            ("out", "&minus;", "Zoom out"),
            ("all", "Whole", "Show all"),
            ("swap", "Swap", "Swap the two layers"),
        )
    )
    return (
        f"<div class=swipe><label>Swipe over it: <select><option value=-1>nothing</option>{choices}</select></label>"
        "<input type=range min=0 max=100 step=.1 value=50 aria-label='Border between the two layers'></div>"
        f"<div class=tools>{buttons}<output aria-hidden=true></output></div>"
    )


def _place(frame: Frame) -> str:
    """Data attributes: width in metres, and corner and extent in map units for the coordinates under the pointer."""
    text = f"data-width='{frame.width_m or 1:.3f}' data-cols={frame.cols}"
    if frame.grid is None:
        return text
    g, digits = frame.grid, 5 if frame.grid.is_geographic else 0
    crs = f"EPSG:{g.epsg}" if g.epsg else ""
    extent = (
        f"data-x0='{g.x0:.10g}' data-y0='{g.y0:.10g}' data-dx='{g.cols * g.dx:.10g}' data-dy='{-g.rows * g.dy:.10g}'"
    )
    return f"{text} {extent} data-digits={digits} data-crs='{crs}'"


def viewer(
    name: str, layers: Sequence[Layer], frame: Frame, note: str = "", first: int = 0, second: int = -1, label: str = ""
) -> str:
    """Layers over one another, chosen by radio buttons; a second one can be swiped over the first.

    name    unique on the page
    frame   size and place of the pictures, the same for all
    note    text in a corner of every picture (such as "synthetic")
    label   words for those who do not see it
    """
    captions = "".join(_caption(layer, i not in (first, second)) for i, layer in enumerate(layers))
    shown = _stack(layers, frame, label or "Maps", note, first) + _controls(layers, second)
    return (
        f"<div class=view {_place(frame)} style='--ar:{frame.cols / frame.rows:.4f}'>"
        f"<div class=show>{shown}<div class=cap aria-live=polite>{captions}</div></div>{_pickers(name, layers, first)}</div>"
    )


def inline(
    title: str,
    named: Mapping[str, tuple[Picture, str]],
    grid: Grid,
    note: str = "",
    shown: tuple[str, str] = ("", ""),
    legends: Mapping[str, tuple[tuple[Colour, str], ...]] | None = None,
) -> str:
    """A viewer for a notebook: a page of its own inside a frame, without a widget, and kept in the saved notebook.

    named    name -> picture and caption, all of one size
    grid     where they lie; note: a word in the corner of every picture
    shown    names of the layer at first and of the one swiped over it
    legends  name -> colours and words, of pictures whose pixels are kept as they are
    """
    keys, known = list(named), legends or {}
    layers = [
        Layer(
            name, title, webp_bytes(picture, 100 if name in known else 80), "image/webp", caption, known.get(name, ())
        )
        for name, (picture, caption) in named.items()
    ]
    rows, cols = named[keys[0]][0].shape[:2]
    first, second = (keys.index(name) if name in keys else -1 for name in shown)
    text = html.page(title, [viewer("v", layers, Frame(rows, cols, grid), note, max(first, 0), second, title)], note)
    inside = escape(text.decode(), quote=True)
    frame = f'<iframe title="{escape(title, quote=True)}" srcdoc="{inside}" style="width:100%;height:980px;border:0"></iframe>'
    return f"<div>{frame}</div>"
