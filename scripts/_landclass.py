"""One pair of stage landclass: classes, slope and aspect, shares, errors, picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts import _areas
from scripts._context import Context
from scripts._heights_orbits import height_raster
from utils.io import class_raster, map_pictures, pictures, raster, samples
from utils.io.dem import RawHeights
from utils.science import landclass
from utils.science.grid import Grid, Window
from utils.workflow.errors import ConfigError, InputError
from utils.workflow.files import atomic_json

SCHEMA = "s2cr.landclass/1"
SEGMENTS = "segmentation of NDVI"
Codes = NDArray[np.uint8]


def make(ctx: Context, item: Any, runs: list[str]) -> None:
    """class.tif, landclass.json and the picture of one pair."""
    index = samples.load_index(ctx.layout.dataset_set("all"))
    grid, folder = index.pairs[item.id].grid, ctx.layout.landclass(item.id)
    codes, names, source, notes = _classes(ctx, item, runs, grid)
    groups = {"class": (codes, names), **_terrain(ctx, grid, notes)}
    item.data |= {"source": source, "notes": notes, "shares": _named(landclass.shares(codes, list(names)), names)}
    item.data["wrong"] = _wrong(ctx, item, runs, groups, notes)
    for note in notes:
        ctx.log.info("%s: %s", item.id, note)
    tiles = {
        sample.tile: _named(landclass.shares(codes, list(names), sample.window), names)
        for sample in index.samples
        if sample.pair == item.id
    }
    colours = _colours(names, source == SEGMENTS)
    tags = ctx.tags("class", [source], PAIR=item.id)
    class_raster.write(item.output(folder / "class.tif"), codes, grid, "LANDCLASS", names, colours, tags)
    facts = {"schema": SCHEMA, "pair": item.id, "synthetic": ctx.conf.report.synthetic, "classes": _text_keys(names)}
    atomic_json(item.output(folder / "landclass.json"), {**facts, **item.data, "tiles": tiles})
    _picture(ctx, item, codes, names, colours, folder)


def _colours(names: dict[int, str], ordered: bool) -> list[tuple[int, int, int]]:
    """A colour for every code up to the largest; those of a segmentation run from bare brown to green."""
    if not ordered:
        return class_raster.palette(max(names) + 1)
    ramp = pictures.ramp(np.linspace(0, 1, len(names))[None], 0.0, 1.0, "index")[0]
    return [(0, 0, 0), *((int(r), int(g), int(b)) for r, g, b in ramp)]


def _text_keys(names: dict[int, str]) -> dict[str, str]:
    return {str(code): name for code, name in names.items()}


def _named(shares: dict[int, float], names: dict[int, str]) -> dict[str, float]:
    return {names[code]: round(share, 6) for code, share in shares.items()}


def _classes(ctx: Context, item: Any, runs: list[str], grid: Grid) -> tuple[Codes, dict[int, str], str, list[str]]:
    """Codes on the grid, names of the codes that occur, where they come from, and what a reader should know."""
    conf = ctx.conf.landclass
    if conf.class_raster is None:
        return _segments(ctx, item, runs)
    path = ctx.resolve(conf.class_raster)
    codes, notes = class_raster.on_grid(path, grid), []
    there = [int(code) for code in np.unique(codes) if code != landclass.NODATA]
    known = landclass.check_classes(dict(conf.land_classes))
    unnamed = [code for code in there if code not in known]
    if unnamed and known:
        notes.append(f"codes without a name in landclass.land_classes: {', '.join(map(str, unnamed))}")
    uncovered = float((codes == landclass.NODATA).mean())
    if uncovered > 0:
        notes.append(f"{uncovered:.1%} of the pair has no class")
    return codes, {code: known.get(code, f"class {code}") for code in there}, path.name, notes


def _segments(ctx: Context, item: Any, runs: list[str]) -> tuple[Codes, dict[int, str], str, list[str]]:
    """Classes of NDVI(t0), named by their rank."""
    found = [ctx.layout.maps(run, item.id) / "ndvi_t0.tif" for run in runs]
    path = next((path for path in found if path.is_file()), None)
    if path is None:
        raise InputError(
            "No NDVI of t0, which the segmentation needs (bands B04 and B08).",
            "Set landclass.class_raster, or add NDVI to burned.indices.",
        )
    try:
        codes, centres = landclass.segment_ndvi(raster.read(path)[0], ctx.conf.landclass.segments)
    except ValueError as error:
        raise InputError(
            f"{path}: no segmentation ({error}).",
            "Choose a pair with clear ground at t0, or set landclass.class_raster.",
        ) from error
    names = {number + 1: f"NDVI about {centre:.2f}" for number, centre in enumerate(centres)}
    if len(set(names.values())) < len(names):
        names = {code: f"{name} ({code})" for code, name in names.items()}
    return codes, names, SEGMENTS, ["no class raster: classes are a segmentation of NDVI(t0), no land cover"]


def _terrain(ctx: Context, grid: Grid, notes: list[str]) -> dict[str, tuple[Codes, dict[int, str]]]:
    """Slope and aspect classes where there are heights on a metric grid."""
    path = _heights(ctx)
    if path is None or grid.is_geographic or grid.epsg == 0:
        notes.append("no slope and aspect: " + ("no height raster" if path is None else "the grid is not in metres"))
        return {}
    wide = grid.window(Window(-1, -1, grid.rows + 2, grid.cols + 2))  # a slope needs its neighbours
    heights, _ = RawHeights(path).look(wide)
    if not np.isfinite(heights).any():
        raise InputError(
            f"{path}: no heights for this pair.", "Give a raster of the area, or leave landclass.dem empty."
        )
    slope, aspect = (plane[1:-1, 1:-1] for plane in landclass.slope_aspect(heights, grid.dx, -grid.dy))
    return {
        "slope": (landclass.slope_classes(slope), {i: f"{name} deg" for i, name in enumerate(landclass.SLOPE_NAMES)}),
        "aspect": (landclass.aspect_classes(aspect, slope), dict(enumerate(landclass.ASPECT_NAMES))),
    }


def _heights(ctx: Context) -> Path | None:
    if ctx.conf.landclass.dem is not None:
        return ctx.resolve(ctx.conf.landclass.dem)
    try:
        return height_raster(ctx)
    except ConfigError:
        return None


def _wrong(
    ctx: Context, item: Any, runs: list[str], groups: dict[str, tuple[Codes, dict[int, str]]], notes: list[str]
) -> dict[str, Any]:
    """run -> index -> grouping -> class -> figures, on test ground."""
    reference, conf = _areas.Reference(ctx, item.id), ctx.conf.landclass
    truth = reference.folder / "severity.tif"
    if reference.missing or not truth.is_file():
        notes.append(f"no errors by class: {reference.missing or 'no severity map of the true t1'}")
        return {}
    found: dict[str, Any] = {}
    for run in (name for name in runs if name not in ("truth", "hidden")):
        own = ctx.layout.maps(run, item.id) / "severity.tif"
        if not own.is_file():
            continue
        for index in raster.info(own).band_names:
            planes = [raster.read(path, [index])[0] for path in (truth, own)]
            found.setdefault(run, {})[index.lower()] = {
                kind: landclass.wrong_by_class(
                    planes[0], planes[1], codes, names, reference.blocks, conf.draws, conf.seed
                )
                for kind, (codes, names) in groups.items()
            }
    item.data["truth"] = reference.name
    return found


def table(pair: str, data: dict[str, Any]) -> list[str]:
    """Lines for the terminal: share of each class and P(severity wrong | class) of every run."""
    lines = [f"{pair}, classes of {data['source']}: " + ", ".join(f"{k} {v:.1%}" for k, v in data["shares"].items())]
    columns = [(run, index) for run, made in data["wrong"].items() for index in made]
    if not columns:
        return lines
    lines.append(f"{'P(severity wrong | class)':<34}" + "".join(f"{f'{run} {index}':>30}" for run, index in columns))
    kinds = data["wrong"][columns[0][0]][columns[0][1]]
    for kind in kinds:
        names = list(dict.fromkeys(name for run, index in columns for name in data["wrong"][run][index][kind]))
        for name in names:
            cells = [_cell(data["wrong"][run][index][kind].get(name)) for run, index in columns]
            lines.append(f"{f'{kind} {name}':<34.34}" + "".join(f"{cell:>30}" for cell in cells))
    return lines


def _cell(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return "-"
    span = "" if facts["low"] is None else f" [{facts['low']:.2f}, {facts['high']:.2f}]"
    return f"{facts['wrong']:.2f}{span}"


def _picture(
    ctx: Context, item: Any, codes: Codes, names: dict[int, str], colours: list[tuple[int, int, int]], folder: Path
) -> None:
    first: dict[str, Any] = next(iter(item.data["wrong"].values()), {})
    wrong = {index: made["class"] for index, made in first.items()}
    keys = []
    for code, name in names.items():
        words = f"{name:<30.30} {item.data['shares'].get(name, 0):>6.1%}"
        words += "".join(f"  {index} {_cell(made.get(name))}" for index, made in wrong.items())
        keys.append((colours[code], words))
    run = next(iter(item.data["wrong"]), "")
    note = ("synthetic. " if ctx.conf.report.synthetic else "") + (f"Share, and P(severity wrong | class) of {run}." if run else "Share of each class.")  # fmt: skip
    panel = map_pictures.Panel(item.data["source"], pictures.classes(codes, colours), keys)
    map_pictures.write(item.output(folder / "landclass.png"), [panel], f"Land classes, {item.id}", note)
