"""From a simulated image to a severity map and hectares, step by step, for the notebook; beside the truth and the rivals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io import html_viewer, mosaics, pictures, raster
from utils.io.samples import DatasetIndex
from utils.science import indices, score_table, severity
from utils.science.grid import Grid
from utils.science.reduced import Reduced
from utils.workflow.errors import InputError

Matrix = NDArray[np.floating]
Codes = NDArray[np.uint8]
COLOURS = {"NDVI": pictures.SEVERITY_RGB, "NBR": pictures.DNBR_RGB}
NAMES = {"NDVI": severity.SEVERITY_NAMES, "NBR": severity.DNBR_NAMES}
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Severity:
    """One severity map.

    change   (rows, cols) index before minus after, NaN = no data
    classes  its severity codes; burned: 1, 0; both 255 = no data
    """

    index: str
    grid: Grid
    change: Matrix
    classes: Codes
    burned: Codes

    @property
    def picture(self) -> pictures.Picture:
        """The classes in their fixed colours."""
        return pictures.classes(self.classes, COLOURS[self.index])

    @property
    def legend(self) -> tuple[tuple[tuple[int, int, int], str], ...]:
        """Colour and name of each class."""
        return tuple(zip(COLOURS[self.index], (name.replace("_", " ") for name in NAMES[self.index]), strict=True))

    def hectares(self) -> dict[str, float]:
        """Hectares burned, and of each class, counted in the map."""
        area_m2, names = self.grid.pixel_area_m2(), NAMES[self.index]
        counted = severity.area_ha(self.classes, area_m2, len(names))
        return {"burned": severity.area_ha(self.burned, area_m2, 2)[1], **dict(zip(names, counted, strict=True))}


def severity_map(index: str, before: Path, after: Path, edges: Sequence[float], threshold: float) -> Severity:
    """Severity of the change of an index.

    before  the index at t0 as one band; after: reflectance of t1 with the bands of the index, simulated or observed
    edges, threshold  of the configuration, section burned
    raises  InputError when a raster or a band is missing, or the grids differ
    """
    facts = raster.info(after)
    first = raster.read_on_grid(before, facts.grid)[0]
    bands = indices.INDICES[index][1]
    second = indices.compute(index, dict(zip(bands, mosaics.read_reflectance(after, bands), strict=True)))
    return _classed(index, facts.grid, indices.difference(first, second), edges, threshold)


def stored_map(index: str, folder: Path, edges: Sequence[float], threshold: float) -> Severity:
    """The same from a difference that stage indices wrote, such as that of the true t1.

    raises  InputError when it is missing
    """
    path = folder / f"d{index.lower()}.tif"
    return _classed(index, raster.info(path).grid, raster.read(path)[0], edges, threshold)


def _classed(index: str, grid: Grid, change: Matrix, edges: Sequence[float], threshold: float) -> Severity:
    if len(edges) + 1 != len(NAMES[index]):
        raise InputError(
            f"d{index} has {len(edges) + 1} classes, not {len(NAMES[index])}.",
            "Look at it with the class edges of the default.",
        )
    return Severity(index, grid, change, severity.classify(change, tuple(edges)), severity.burned(change, threshold))


def true_folder(maps: Path, pair_id: str) -> tuple[Path, str]:
    """Folder of the maps of the true t1 of a pair and words for it: the hidden truth of a generated scene, else the observed t1.

    raises  InputError when there is neither
    """
    for name, words in (("hidden", "hidden truth"), ("truth", "observed t1 where clear")):
        if (maps / name / pair_id).is_dir():
            return maps / name / pair_id, words
    raise InputError(f"{maps}: no maps of a true t1 of pair {pair_id}.", "Run: ./s2cr indices CONF")


def interval(
    own: Severity, true: Severity, index: DatasetIndex, pair_id: str, cell_px: int = 24, seed: int = 7
) -> tuple[float, float, float]:
    """Burned hectares of the whole map, corrected by the true map on test ground, with 95 % bounds.

    The sample is one pixel of each cell of cell_px x cell_px on the valid windows of the test samples: neighbouring
    pixels err together and would make the interval too narrow.
    returns  hectares, low, high
    raises   ValueError when a map class has fewer than two sample pixels
    source   Olofsson et al. 2014, as in severity.stratified_share
    """
    shape = own.grid.shape
    usable = np.zeros(shape, bool)
    for info in index.samples:
        if info.pair == pair_id:
            usable[info.valid.slices] = True
    usable &= (own.burned != severity.NODATA) & (true.burned != severity.NODATA)
    rows, cols = np.nonzero(usable)
    order = np.random.default_rng(seed).permutation(rows.size)
    cells = (rows // cell_px) * (shape[1] // cell_px + 1) + cols // cell_px
    _, first = np.unique(cells[order], return_index=True)
    chosen = order[first]
    picked = np.zeros_like(usable)
    picked[rows[chosen], cols[chosen]] = True
    counts = severity.confusion(own.burned, true.burned, 2, picked)
    mapped = np.array(severity.area_ha(own.burned, own.grid.pixel_area_m2(), 2))
    share, error = severity.stratified_share(counts, (mapped / mapped.sum()).tolist())[1]
    total = float(mapped.sum())
    return share * total, max(0.0, share - Z95 * error) * total, min(1.0, share + Z95 * error) * total


def rival_lines(evaluate_json: Path, index: str, pixel_ha: float) -> list[str]:
    """Table of all methods on test ground: hectares mapped and true, bias of the area, F1, IoU and kappa; as text.

    pixel_ha  area of a pixel
    """
    table = json.loads(evaluate_json.read_text(encoding="utf-8"))
    truth = score_table.truths(table)[-1]
    rows = []
    for method in table["order"]:
        found: Mapping[str, Any] = table["methods"][method].get(truth, {}).get("burned", {}).get(index, {})
        if found:
            counts = np.array(found["confusion"])
            areas = [f"{value * pixel_ha:.1f}" for value in (counts[:, 1].sum(), counts[1].sum())]
            rows.append([method, *areas, *(_text(found.get(name)) for name in ("area_bias", "f1", "iou", "kappa"))])
    return score_table.aligned(["method", "mapped ha", "true ha", "bias", "F1", "IoU", "kappa"], rows)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def swipe(own: Severity, true: Severity, note: str = "", max_px: int = 700) -> str:
    """HTML of the simulated severity under the true one, with both differences, to look at in a notebook."""
    see, named, legends = Reduced(own.grid, max_px), {}, {}
    for words, one in (("simulated", own), ("true", true)):
        codes = see.nearest(_part(own.grid, one.classes))[0]
        change = see.mean(_part(own.grid, one.change))[0]
        name = f"severity, {words}"
        named[name] = pictures.classes(codes, COLOURS[own.index]), f"from d{own.index}; grey is no data"
        legends[name] = own.legend
        shown = pictures.ramp(change, *pictures.DIFFERENCE_RANGE, "change")
        named[f"d{own.index}, {words}"] = shown, "before minus after, -0.6 blue to 0.6 red"
    return html_viewer.inline(
        "Burn severity", named, see.small, note, ("severity, simulated", "severity, true"), legends
    )


def _part(whole: Grid, plane: NDArray[Any]) -> Any:
    """Reader of an array on a part of its grid."""

    def read(grid: Grid) -> NDArray[Any]:
        row, col = whole.offset_of(grid)
        return plane[None, row : row + grid.rows, col : col + grid.cols]

    return read
