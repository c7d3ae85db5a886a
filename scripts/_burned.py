"""One map set of stage burned: codes, hectares, intervals, probabilities, picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts import _areas
from scripts._context import Context
from utils.io import class_raster, map_pictures, mosaics, pictures, qgis, raster
from utils.io.samples import load_index
from utils.science import area, indices, severity
from utils.science import index_uncertainty as uncertainty
from utils.science.grid import Grid, Window
from utils.workflow.files import atomic_json

SCHEMA = "s2cr.areas/1"
COLOURS = {"DNDVI": pictures.SEVERITY_RGB, "DNBR": pictures.DNBR_RGB}
REMEDY = (
    "Add the bands (dataset.extra_bands: [B12]) and the index (burned.indices: [NDVI, NBR]); where they are there, choose "
    "dates with clear ground."
)
_STRIPE_ROWS = 512


def make(ctx: Context, item: Any) -> None:
    """All files of one item; its data hold what the table, the report and areas.json say."""
    run, pair_id = item.id.split("/")
    folder, tables = ctx.layout.maps(run, pair_id), _areas.Tables(ctx)
    found = [name for name in tables.thresholds if (folder / f"{name.lower()}.tif").is_file()]
    if not found:
        item.skip("neither NDVI (B04, B08) nor NBR (B08, B12) was mapped")
    if not any(np.isfinite(raster.read(folder / f"{name.lower()}.tif")).any() for name in found):
        item.skip("no pixel has data at both dates")
    grid = raster.info(folder / f"{found[0].lower()}.tif").grid
    is_run = run not in ("truth", "hidden")
    reference = _areas.Reference(ctx, pair_id) if is_run else None
    burned, classes = [], []
    for name in found:
        change = raster.read(folder / f"{name.lower()}.tif")[0]
        offset = tables.offset(name, change)
        codes = tables.classed(name, change, offset)
        burned.append(codes[0])
        classes.append(codes[1])
        item.data[name.lower()] = _hectares(tables, name, codes, grid, offset)
        if reference is not None:
            item.data[name.lower()]["reference"] = _judged(ctx, tables, reference, name, codes, grid)
    tags = ctx.tags("class", [], PAIR=pair_id, MODEL=run)
    for label, planes in (("burned", burned), ("severity", classes)):
        path = item.output(folder / f"{label}.tif")
        raster.write(
            path, np.stack(planes), grid, band_names=found, nodata=255, tags=tags, cog=True, resampling="NEAREST"
        )
    for name, plane in zip(found, classes, strict=True):
        path = item.output(folder / f"severity_{name.lower()}.tif")
        class_raster.write(path, plane, grid, name, dict(enumerate(tables.names(name))), _colours(tables, name), tags)
    _styles(item, tables, found, folder)
    if is_run:
        _probabilities(ctx, item, tables, found, grid, tags)
    if ctx.conf.burned.offset == "stable":
        ctx.log.info("%s: offset taken out: %s", item.id, ", ".join(f"{name} {item.data[name.lower()]['offset']:+.4f}" for name in found))  # fmt: skip
    atomic_json(item.output(folder / "areas.json"), {"schema": SCHEMA, "map": item.id, "synthetic": ctx.conf.report.synthetic, **item.data})  # fmt: skip
    _picture(ctx, item, tables, dict(zip(found, classes, strict=True)), folder)


def _styles(item: Any, tables: _areas.Tables, found: Sequence[str], folder: Path) -> None:
    """QGIS styles; tables of another length than the known ones keep the colours that their raster has."""
    qgis.write_style(item.output(folder / "burned.qml"), "burned")
    kinds: dict[str, qgis.Kind] = {"DNDVI": "severity_dndvi", "DNBR": "severity_dnbr"}
    for name in found:
        if len(tables.edges[name]) + 1 == len(COLOURS[name]):
            qgis.write_style(item.output(folder / f"severity_{name.lower()}.qml"), kinds[name])


def _colours(tables: _areas.Tables, name: str) -> list[tuple[int, int, int]]:
    count = len(tables.edges[name]) + 1
    return list(COLOURS[name]) if len(COLOURS[name]) == count else class_raster.palette(count)


def _hectares(
    tables: _areas.Tables, name: str, codes: tuple[NDArray[np.uint8], NDArray[np.uint8]], grid: Grid, offset: float
) -> dict[str, Any]:
    """Hectares counted in the map."""
    area_m2, count = grid.pixel_area_m2(), len(tables.edges[name]) + 1
    sides = severity.area_ha(codes[0], area_m2, 2)
    return {
        "burned_ha": round(sides[1], 4), "unburned_ha": round(sides[0], 4), "offset": round(offset, 6),
        "class_ha": [round(value, 4) for value in severity.area_ha(codes[1], area_m2, count)],
        "classes": list(tables.names(name)),
    }  # fmt: skip


def _judged(
    ctx: Context, tables: _areas.Tables, reference: _areas.Reference, name: str,
    codes: tuple[NDArray[np.uint8], NDArray[np.uint8]], grid: Grid,
) -> dict[str, Any]:  # fmt: skip
    """Areas corrected by the true map on test ground."""
    path = reference.folder / f"{name.lower()}.tif"
    if reference.missing or not path.is_file():
        return {"missing": reference.missing or f"no true {name}"}
    change = raster.read_on_grid(path, grid)[0]
    true = tables.classed(name, change, tables.offset(name, change))
    count, area_m2 = len(tables.edges[name]) + 1, grid.pixel_area_m2()
    found: dict[str, Any] = {"truth": reference.name}
    for label, own, real, classes in (("burned", codes[0], true[0], 2), ("severity", codes[1], true[1], count)):
        found[label] = _areas.intervals(reference, own, real, area_m2, classes, ctx.conf.burned)
    if reference.name == "hidden":
        found["true_ha"] = round(severity.area_ha(true[0], area_m2, 2)[1], 4)
    return found


def _probabilities(
    ctx: Context, item: Any, tables: _areas.Tables, found: list[str], grid: Grid, tags: dict[str, str]
) -> None:
    """severity_probability.tif and expected hectares, where stage mosaic has a sigma."""
    run, pair_id = item.id.split("/")
    source = _areas.sigma_source(ctx, run, pair_id, grid)
    if source is None:
        item.data["sigma"] = "none: this run tells no sigma, so there are no probabilities"
        return
    image, spread = source
    scene = _areas.scene_of(load_index(ctx.layout.dataset_set("all")).pairs[pair_id])
    planes, names = [], []
    for name in found:
        pieces = _areas.validation(ctx, run, name, tables)
        change, sigma, observed = _difference(ctx, item, name, grid, image, spread)
        moved = tables.moved(change, item.data[name.lower()]["offset"])
        area_m2, threshold = grid.pixel_area_m2(), tables.thresholds[name]
        made_px = int((np.isfinite(change) & ~observed).sum())
        models = {
            part: _areas.area_model(pieces, edges, scene, made_px)
            for part, edges in (("burned", (threshold,)), ("severity", tables.edges[name]))
        }
        percent = Percent(grid.shape)
        looks = {"burned": percent.burned, "severity": percent.classes}
        made = {
            part: area.expected(moved, sigma, area_m2, model, observed, looks[part])
            for part, (model, _) in models.items()
        }
        counted = severity.area_ha(severity.burned(moved, threshold), area_m2, 2)[1]
        item.data[name.lower()]["expected"] = {
            "of": image.name, "map_ha": round(counted, 4), "errors": models["burned"][1],
            **{part: [one.to_json() for one in areas] for part, areas in made.items()},
            "model": {part: model.to_json() for part, (model, _) in models.items()},
        }  # fmt: skip
        planes += percent.planes
        names += [f"{name}_BURNED", f"{name}_LIKELIEST", f"{name}_CLASS"]
    path = item.output(ctx.layout.maps(run, pair_id) / "severity_probability.tif")
    units = "percent, percent, class of the largest probability"
    raster.write(
        path, np.stack(planes), grid, band_names=names, nodata=255, tags={**tags, "UNITS": units, "IMAGE": image.name},
        cog=True, resampling="NEAREST",
    )  # fmt: skip


def _difference(
    ctx: Context, item: Any, name: str, grid: Grid, image: Path, spread: Path
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Index difference of an image to t0, its standard deviation, and where the image was observed, in stripes."""
    run, pair_id = item.id.split("/")
    index = _areas.INDICES[name]
    bands = indices.INDICES[index][1]
    change, sigma = np.empty(grid.shape, np.float32), np.empty(grid.shape, np.float32)
    observed, source = np.zeros(grid.shape, bool), ctx.layout.mosaic(run, pair_id) / "source.tif"
    for top in range(0, grid.rows, _STRIPE_ROWS):
        part = grid.window(Window(top, 0, min(_STRIPE_ROWS, grid.rows - top), grid.cols))
        rows = slice(top, top + part.rows)
        seen = dict(zip(bands, mosaics.read_reflectance(image, bands, part), strict=True))
        stds = mosaics.read_reflectance(spread, [f"sigma_{band}" for band in bands], part)
        before = raster.read_on_grid(ctx.layout.maps(run, pair_id) / f"{index.lower()}_t0.tif", part)[0]
        change[rows] = before - indices.compute(index, seen)
        sigma[rows] = uncertainty.index_sigma(index, seen, dict(zip(bands, stds, strict=True)))
        if image.name == "composite.tif" and source.is_file():
            observed[rows] = raster.read_on_grid(source, part, fill=255)[0] == 0
    return change, sigma, observed


class Percent:
    """Per cent burned, per cent of the likeliest class, and its code; 255 = no data. Filled in stripes."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.planes = [np.full(shape, 255, np.uint8) for _ in range(3)]

    def burned(self, rows: slice, shares: NDArray[np.float64]) -> None:
        self.planes[0][rows] = uncertainty.percent(shares[1])

    def classes(self, rows: slice, shares: NDArray[np.float64]) -> None:
        known = np.isfinite(shares[0])
        self.planes[1][rows] = uncertainty.percent(np.where(known, shares.max(axis=0), np.nan))
        self.planes[2][rows] = np.where(known, np.nan_to_num(shares).argmax(axis=0), 255)


# -- words ---------------------------------------------------------------------------------------------------------------


def _span(one: Any) -> str:
    """12.3 [10.1, 14.6]; whole hectares from 100 on."""
    if not isinstance(one, dict):
        return "-"
    figures = [one[key] for key in ("ha", "low_ha", "high_ha")]
    digits = 0 if one["ha"] >= 100 else 1
    ha, *bounds = (None if value is None else f"{value:.{digits}f}" for value in figures)
    return f"{ha}" + ("" if None in bounds else f" [{bounds[0]}, {bounds[1]}]")


def _estimate(facts: dict[str, Any], part: str, name: str, code: int) -> Any:
    made = facts.get("reference", {}).get(part, {}).get(name)
    return made[code] if isinstance(made, list) else None


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """Lines for the terminal: burned hectares of every map and index by each estimator."""
    head = (
        f"{'map':<28} {'index':<6} {'map ha':>10} {'blocks':>24} {'stratified':>24} {'bootstrap':>24} {'expected':>24}"
    )
    lines = [head]
    for name, data in found.items():
        for index in ("dndvi", "dnbr"):
            if index not in data:
                continue
            facts = data[index]
            cells = [_span(_estimate(facts, "burned", one, 1)) for one in ("clustered", "stratified", "bootstrap")]
            cells.append(_span(facts["expected"]["burned"][1]) if "expected" in facts else "-")
            lines.append(
                f"{name:<28} {index:<6} {facts['burned_ha']:>10.1f} " + " ".join(f"{cell:>24}" for cell in cells)
            )
    return [
        *lines,
        "burned ha [95 %]; blocks, stratified, bootstrap: corrected by the true t1 on test ground; expected: from sigma",
    ]


def summary(ctx: Context, found: dict[str, dict[str, Any]]) -> str:
    """The closing line: the first run's burned area."""
    note = "synthetic: " if ctx.conf.report.synthetic else ""
    for name, data in found.items():
        for index in ("dnbr", "dndvi"):
            if index in data and not name.startswith(("truth/", "hidden/")):
                return f"{note}{name} {index} {data[index]['burned_ha']:.1f} ha burned"
    return ""


def _picture(
    ctx: Context, item: Any, tables: _areas.Tables, classes: dict[str, NDArray[np.uint8]], folder: Path
) -> None:
    panels = []
    for name, codes in classes.items():
        facts, colours = item.data[name.lower()], _colours(tables, name)
        keys = []
        for code, words in enumerate(tables.names(name)):
            estimate = _estimate(facts, "severity", "clustered", code)
            expected = facts["expected"]["severity"][code] if "expected" in facts else None
            figures = f"{words.replace('_', ' '):<14}{facts['class_ha'][code]:>8.1f} ha"
            figures += f"  test {_span(estimate)}" if estimate else ""
            keys.append((colours[code], figures + (f"  sigma {_span(expected)}" if expected else "")))
        title = f"severity from {name.replace('DN', 'dN')}, {facts['burned_ha']:.1f} ha burned"
        panels.append(map_pictures.Panel(title, pictures.classes(codes, colours), keys))
    note = "Hectares counted in the map; test: corrected on test ground, sigma: expected from it; 95 % intervals."
    note = f"synthetic. {note}" if ctx.conf.report.synthetic else note
    of = {"truth": "observed t1", "hidden": "hidden truth"}
    run, pair_id = item.id.split("/")
    title = f"Burn severity, {of.get(run, f'simulated by {run}')}, {pair_id}"
    map_pictures.write(item.output(folder / "severity.png"), panels, title, note)
