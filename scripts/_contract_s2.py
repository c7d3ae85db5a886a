"""The files of one preprocessed Sentinel-2 product whose reflectance comes from elsewhere than the native reader."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts._context import Context
from utils.io import pictures, raster, safe_s2
from utils.io.safe import SafeProduct
from utils.science import reflectance
from utils.science.grid import Grid, Window
from utils.workflow.files import atomic_bytes, atomic_json

_BLOCK_ROWS = 1024
_CODES = {"clear": 0, "cloud": 1, "shadow": 2, "snow": 3, "defective": 4, "none": 255}
Rows = Callable[[str, Grid], NDArray[np.float32]]


def windows(grid: Grid) -> Iterator[Window]:
    """Full-width row blocks from top to bottom."""
    for row in range(0, grid.rows, _BLOCK_ROWS):
        yield Window(row, 0, min(_BLOCK_ROWS, grid.rows - row), grid.cols)


def write_s2(
    ctx: Context, item: Any, grid: Grid, product: SafeProduct, meta: safe_s2.S2Metadata, bands: Sequence[str], read: Rows,
    tags: Mapping[str, Any], facts: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write B*.tif from `read`, and scl.tif, cloud.tif, product.json and quicklook.png from the product itself.

    read  (band, grid of a row block) -> (rows, cols) float32 reflectance, not below 0, NaN = none
    tags  of the bands; classes are always read natively, and tagged so
    """
    folder = ctx.layout.preprocessed("sentinel2", item.id)
    step = max(1, -(-max(grid.shape) // 800))
    thin: dict[str, NDArray[np.float32]] = {}
    counts: dict[str, dict[str, int]] = {}
    for band in bands:
        rows, nodata = [], 0
        all_tags = {**_tags(ctx, meta, "reflectance", meta.offset_dn(band)), **{k: str(v) for k, v in tags.items()}}
        with raster.writer(item.output(folder / f"{band}.tif"), grid, 1, "float32", band_names=(band,), nodata=math.nan,
                           tags=all_tags) as out:  # fmt: skip
            for window in windows(grid):
                values = read(band, grid.window(window))
                out.write(values[None], window.row, 0)
                nodata += int(np.isnan(values).sum())
                rows.append(values[-window.row % step :: step, ::step])
        thin[band], counts[band] = np.concatenate(rows), {"nodata": nodata}
    classes = _classes(ctx, item, folder, product, meta, grid)
    valid = sum(classes.values()) - classes["none"]
    item.data.update(
        clear=round(classes["clear"] / valid, 6) if valid else 0.0, baseline=".".join(f"{n:02d}" for n in meta.baseline)
    )
    record = {
        **safe_s2.facts(meta),
        **facts,
        "bands": counts,
        "classes": classes,
        "grid": grid.to_dict(),
        "key": ctx.key,
    }
    atomic_json(item.output(folder / "product.json"), record)
    if ctx.conf.preprocess.quicklook:
        first = next(iter(thin))
        shown = thin if {"B04", "B03", "B02"} <= set(thin) else dict.fromkeys(("B04", "B03", "B02"), thin[first])
        atomic_bytes(item.output(folder / "quicklook.png"), pictures.png_bytes(pictures.true_colour(shown)))


def _tags(ctx: Context, meta: safe_s2.S2Metadata, units: str, offset_dn: int) -> dict[str, str]:
    return ctx.tags(
        units, [meta.name], BACKEND="native", PROCESSING_BASELINE=".".join(f"{n:02d}" for n in meta.baseline), OFFSET_DN=offset_dn,
        QUANTIFICATION=meta.quantification, OFFSET_SOURCE=meta.offset_source, SENSING_TIME=meta.sensing_time, TILE=meta.tile,
    )  # fmt: skip


def _classes(
    ctx: Context, item: Any, folder: Path, product: SafeProduct, meta: safe_s2.S2Metadata, grid: Grid
) -> dict[str, int]:
    """Scene classes and cloud codes from the product's SCL at 20 m; returns pixel counts by code."""
    dilate_m = ctx.conf.preprocess.cloud_dilate_m
    margin = math.ceil(dilate_m / 20)
    counts = np.zeros(256, np.int64)
    with ExitStack() as stack:

        def new(name: str, band: str, nodata: int, units: str, **more: str) -> Any:
            return stack.enter_context(raster.writer(
                item.output(folder / name), grid, 1, "uint8", band_names=(band,), nodata=nodata, tags=_tags(ctx, meta, units, 0) | more
            ))  # fmt: skip

        scl_out = new("scl.tif", "SCL", 0, "class")
        cloud_out = new("cloud.tif", "CLOUD", 255, "code", DILATED_M=f"{dilate_m:g}")
        for window in windows(grid):
            coarse = safe_s2.coarse_grid(grid.window(window), margin)
            scl = reflectance.nearest_2x(safe_s2.read_dn(product, meta, "SCL", coarse).astype(np.uint8))
            inner = (slice(2 * margin, 2 * margin + window.rows), slice(2 * margin, 2 * margin + window.cols))
            codes = reflectance.cloud_codes(scl, dilate_m, grid.dx)[inner]
            scl_out.write(scl[inner][None], window.row, 0)
            cloud_out.write(codes[None], window.row, 0)
            counts += np.bincount(codes.ravel(), minlength=256)
    return {name: int(counts[code]) for name, code in _CODES.items()}
