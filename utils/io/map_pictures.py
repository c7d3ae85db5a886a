"""Class maps to look at: panels beside one another, each with a legend that can hold figures. PNG, equal bytes each time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.io.pictures import NODATA_RGB, Picture, shrink
from utils.workflow.files import atomic_bytes

Rgb = tuple[int, int, int]
_DPI = 110
_ROW_IN = 0.165  # height of a line of the legend


@dataclass(frozen=True)
class Panel:
    """One map: title, picture (H, W, 3) and the words beside each colour; is_class keeps codes whole when reduced."""

    title: str
    picture: Picture
    legend: Sequence[tuple[Rgb, str]] = ()
    is_class: bool = True


def write(path: Path, panels: Sequence[Panel], title: str, note: str = "", max_px: int = 700) -> None:
    """Write the panels in one row as PNG, whole or not at all.

    note    small words below the title; max_px: largest side of a map in the picture
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    shown = [shrink(panel.picture, max_px, nearest=panel.is_class) for panel in panels]
    wide_in = max(4.4, min(6.4, max_px / _DPI))
    tall_in = max(wide_in * picture.shape[0] / picture.shape[1] for picture in shown)
    rows = max([len(panel.legend) for panel in panels] + [0]) + 1
    under_in, over_in = _ROW_IN * rows + 0.25, 0.95
    figure = Figure(figsize=(wide_in * len(panels), tall_in + under_in + over_in), dpi=_DPI)
    FigureCanvasAgg(figure)
    whole_in = figure.get_figheight()
    figure.text(0.01, 1 - 0.08 / whole_in, title, va="top", fontsize=13, weight="bold")
    figure.text(0.01, 1 - 0.38 / whole_in, note, va="top", fontsize=8.5, color="#5b636d")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - over_in / whole_in, bottom=under_in / whole_in, wspace=0.03)
    for axis, panel, picture in zip(axes, panels, shown, strict=True):
        axis.axis("off")
        axis.set_title(panel.title, fontsize=10, loc="left")
        axis.imshow(picture, interpolation="nearest")
        keys = [(colour, words) for colour, words in panel.legend] + [(NODATA_RGB, "no data")]
        handles = [
            Patch(facecolor=(r / 255, g / 255, b / 255), edgecolor="#444444", label=words, linewidth=0.4)
            for (r, g, b), words in keys
        ]
        axis.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(0.0, -0.005), frameon=False, fontsize=8,
            borderaxespad=0.0, labelspacing=0.25, prop={"family": "DejaVu Sans Mono", "size": 7.5},
        )  # fmt: skip
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    atomic_bytes(path, stream.getvalue())
