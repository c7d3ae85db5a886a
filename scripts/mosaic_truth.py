"""Blend the observed labels of t1 into one image per pair; what is not clear is nodata.

Reads   dataset/all/label/Sentinel2_t1/*.tif, dataset/all/mask/*.tif
Writes  mosaic/truth/<pair>/truth.tif          COG Int16, reflectance = DN * 0.0001, nodata -32768 (or mosaic.dtype);
        truth.png truth.qml truth_nir.qml      preview, styles for QGIS
Items   <pair>; the first report.max_pairs pairs with test samples

Example  ./s2cr mosaic_truth confs/demo.yaml
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401
from functools import partial
from typing import Any

from scripts._stage import Context, Report, stage


@stage("mosaic_truth")
def run(ctx: Context) -> Report:
    from utils.io import mosaics

    index, pairs, total = mosaics.shown_pairs(ctx.layout.dataset, ctx.conf.report.max_pairs)
    for item in ctx.todo(pairs, unit="mosaic"):
        with item:
            _truth(ctx, item, index)
    return ctx.report({"pairs": list(pairs)}, f"{len(pairs)} of {total} pairs")


def _truth(ctx: Context, item: Any, index: Any) -> None:
    import numpy as np

    from scripts._dates import load_dates
    from utils.io import mosaics, qgis
    from utils.io.row_sources import LabelRows

    pair, folder, bands = index.pairs[item.id], ctx.layout.mosaic("truth", item.id), index.bands_optical
    samples = [sample for sample in index.samples if sample.pair == item.id]
    observed = load_dates(ctx.conf, ctx.layout)[pair.date2].s2
    tags = ctx.tags("reflectance", observed, PAIR=item.id, DATE_T1=pair.t1, MODEL="observed")
    source = LabelRows([sample.window for sample in samples], pair.grid, bands, partial(_label, index, samples))
    path, dtype, clear = item.output(folder / "truth.tif"), ctx.conf.mosaic.dtype, 0
    with mosaics.reflectance_rows(path, pair.grid, bands, tags, dtype) as out:
        for first in range(0, pair.grid.rows, ctx.conf.mosaic.row_block):
            rows = source.rows(first, min(ctx.conf.mosaic.row_block, pair.grid.rows - first))
            out.write(mosaics.to_dn(rows) if dtype == "int16" else rows, first, 0)
            clear += int(np.isfinite(rows[0]).sum())
    note = "synthetic" if ctx.conf.report.synthetic else ""
    if {"B04", "B03", "B02"} <= set(bands):
        mosaics.write_preview(item.output(folder / "truth.png"), path, ctx.conf.report.max_px, note)
    styles: tuple[tuple[str, qgis.Kind], ...] = (("truth", "true_colour"), ("truth_nir", "nir_false_colour"))
    for stem, kind in styles:
        if qgis.can_style(kind, bands):
            qgis.write_style(item.output(folder / f"{stem}.qml"), kind, bands=bands)
    item.data["clear"] = round(clear / (pair.grid.rows * pair.grid.cols), 6)


def _label(index: Any, samples: list[Any], number: int) -> Any:
    from utils.io.mosaics import observed_tile

    return observed_tile(index, samples[number])
