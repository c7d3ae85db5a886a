"""Blend the observed labels of t1 into one image per pair; what is not clear is nodata.

Reads   dataset/all/label/Sentinel2_t1/*.tif, dataset/all/mask/*.tif
Writes  mosaic/truth/<pair>/truth.tif          COG Int16, reflectance = DN * 0.0001, nodata -32768; truth.png
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
    import numpy as np

    from scripts._dates import load_dates
    from utils.io import mosaics, pictures
    from utils.science.blend import stitch

    index, pairs, total = mosaics.shown_pairs(ctx.layout.dataset, ctx.conf.report.max_pairs)
    dates = load_dates(ctx.conf, ctx.layout)
    note = "synthetic" if ctx.conf.report.synthetic else ""
    bands = index.bands_optical
    for item in ctx.todo(pairs, unit="mosaic"):
        with item:
            pair, folder = index.pairs[item.id], ctx.layout.mosaic("truth", item.id)
            samples = [sample for sample in index.samples if sample.pair == item.id]
            read = partial(_label, index, samples)
            image = stitch([sample.window for sample in samples], pair.grid.shape, len(bands), read)
            tags = ctx.tags("reflectance", dates[pair.date2].s2, PAIR=item.id, DATE_T1=pair.t1, MODEL="observed")
            mosaics.write_reflectance(item.output(folder / "truth.tif"), image, pair.grid, bands, tags)
            colours = pictures.true_colour(dict(zip(bands, image, strict=True)))
            pictures.write_png(item.output(folder / "truth.png"), colours, max_px=ctx.conf.report.max_px, text=note)
            item.data["clear"] = round(float(np.isfinite(image[0]).mean()), 6)
    return ctx.report({"pairs": list(pairs)}, f"{len(pairs)} of {total} pairs")


def _label(index: Any, samples: list[Any], number: int) -> Any:
    from utils.io.mosaics import observed_tile

    return observed_tile(index, samples[number])
