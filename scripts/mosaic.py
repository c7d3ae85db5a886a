"""Blend predicted tiles into one image per run and pair, and set it into the clear part of the observed image.

Reads   pred/<run>/<sample>.tif                float32 reflectance, NaN = nodata
Writes  mosaic/<run>/<pair>/prediction.tif     COG Int16, reflectance = DN * 0.0001, nodata -32768; prediction.png
        mosaic/<run>/<pair>/composite.tif      the same; observed t1 where clear, prediction under cloud and shadow
        mosaic/<run>/<pair>/source.tif         uint8: 0 observed, 1 simulated, 2 feathered, 255 nodata
Items   <run>/<pair>; the first report.max_pairs pairs with test samples     Fails  66 prediction missing
Without CONF: --pred, a folder of predicted tiles, and --dataset, the set that they were predicted for; every pair of it
becomes <out>/<pair>/prediction.tif and prediction.png.

Example  ./s2cr mosaic confs/demo.yaml
Example  ./s2cr mosaic --pred predictions --dataset work/demo/dataset/test
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401
import logging
from pathlib import Path
from typing import Any

import click

from scripts._options import optional_conf
from scripts._stage import Context, Report, stage

_DIR = click.Path(exists=True, file_okay=False, path_type=Path)
_OPTIONS = (
    click.option("--pred", type=_DIR, help="Folder of predicted tiles, instead of CONF."),
    click.option("--dataset", type=_DIR, help="Set folder of these tiles, instead of CONF."),
    click.option("--out", type=click.Path(path_type=Path), help="Output folder; default PRED/mosaic."),
)


@stage("mosaic", options=_OPTIONS)
def run(ctx: Context) -> Report:
    from utils.io.mosaics import shown_pairs

    index, pairs, total = shown_pairs(ctx.layout.dataset, ctx.conf.report.max_pairs)
    if len(pairs) < total:
        ctx.log.info("mosaic: %d of %d pairs (report.max_pairs); scores cover all", len(pairs), total)
    written = set(ctx.manifest("predict")["outputs"])
    ids = [f"{run.name}/{pair}" for run in ctx.conf.train.runs for pair in pairs]
    for item in ctx.todo(ids, unit="mosaic"):
        with item:
            _mosaic(ctx, item, index, written)
    return ctx.report({"pairs": list(pairs), "pairs_in_dataset": total}, f"{len(pairs)} of {total} pairs")


def _mosaic(ctx: Context, item: Any, index: Any, written: set[str]) -> None:
    import numpy as np

    from scripts._dates import load_dates
    from utils.io import acquisitions, mosaics, pictures, raster
    from utils.science.blend import composite, stitch

    name, pair_id = item.id.split("/")
    pair, bands = index.pairs[pair_id], index.bands_optical
    samples = [s for s in index.samples if s.pair == pair_id and f"pred/{name}/{s.id}.tif" in written]
    if not samples:
        item.skip(f"run {name} predicted no sample of pair {pair_id} (predict.set, predict.pairs)")
    folder = ctx.layout.mosaic(name, pair_id)
    tiles = [ctx.layout.pred(name) / f"{sample.id}.tif" for sample in samples]
    image = stitch([s.window for s in samples], pair.grid.shape, len(bands), lambda i: raster.read(tiles[i]))
    dates = load_dates(ctx.conf, ctx.layout)
    sources = [name for date in pair.all_dates for name in dates[date].s1]
    sources += [name for date in pair.all_dates[:-1] for name in dates[date].s2]
    tags = ctx.tags("reflectance", sources, MODEL=name, PAIR=pair_id, DATE_T0=pair.t0, DATE_T1=pair.t1)
    mosaics.write_reflectance(item.output(folder / "prediction.tif"), image, pair.grid, bands, tags)
    note = "synthetic" if ctx.conf.report.synthetic else ""
    colours = pictures.true_colour(dict(zip(bands, image, strict=True)))
    pictures.write_png(item.output(folder / "prediction.png"), colours, max_px=ctx.conf.report.max_px, text=note)
    observed = dates[pair.date2].s2
    item.data["samples"] = len(samples)
    item.data["covered"] = round(float(np.isfinite(image[0]).mean()), 6)
    if not observed:
        return
    root = ctx.layout.preprocessed_root
    seen = acquisitions.read_planes(root, "sentinel2", observed, bands, pair.grid)
    cloud = acquisitions.read_cloud(root, observed, pair.grid)
    joined, source = composite(seen, image, np.isin(cloud, (1, 2, 4)))
    tags = ctx.tags("reflectance", [*sources, *observed], MODEL=name, PAIR=pair_id, COMPOSITE="feather 5 px")
    mosaics.write_reflectance(item.output(folder / "composite.tif"), joined, pair.grid, bands, tags)
    codes = ctx.tags("0 observed, 1 simulated, 2 feathered, 255 nodata", sources, PAIR=pair_id)
    raster.write(item.output(folder / "source.tif"), source, pair.grid, band_names=("SOURCE",), nodata=255, tags=codes)
    item.data["simulated"] = round(float((source == 1).mean()), 6)


def _direct_form(values: dict[str, Any], log: logging.Logger) -> None:
    from utils.io import samples
    from utils.workflow.errors import ConfigError, InputError

    pred, set_dir = values["pred"], values["dataset"]
    if pred is None or set_dir is None:
        raise ConfigError(
            "Without CONF, --pred and --dataset are both needed.",
            "./s2cr mosaic --pred predictions --dataset work/demo/dataset/test",
        )
    index, out = samples.load_index(set_dir), values["out"] or pred / "mosaic"
    written = [pair_id for pair_id in sorted(index.pairs) if _join(index, pair_id, pred, out / pair_id)]
    if not written:
        raise InputError(
            f"{pred}: no tile of a sample of {set_dir}.", "Predict first: ./s2cr predict --run-dir RUN ..."
        )
    log.info("mosaic: %d image(s) in %s", len(written), out)
    click.echo(out)


def _join(index: Any, pair_id: str, pred: Path, folder: Path) -> bool:
    """Blend the predicted tiles of one pair; False when there is none."""
    from utils.io import mosaics, pictures, raster
    from utils.science.blend import stitch

    pair = index.pairs[pair_id]
    chosen = [s for s in index.samples if s.pair == pair_id and (pred / f"{s.id}.tif").is_file()]
    if not chosen:
        return False
    tiles = [pred / f"{sample.id}.tif" for sample in chosen]
    facts = raster.info(tiles[0])
    kept = {name: facts.tags[name] for name in ("SOURCE_PRODUCTS", "MODEL", "RUN", "SYNTHETIC") if name in facts.tags}
    tags = {**kept, "STAGE": "mosaic", "UNITS": "reflectance", "PAIR": pair_id, "DATE_T0": pair.t0, "DATE_T1": pair.t1}
    bands = tuple(facts.band_names)
    image = stitch([s.window for s in chosen], pair.grid.shape, len(bands), lambda i: raster.read(tiles[i]))
    mosaics.write_reflectance(folder / "prediction.tif", image, pair.grid, bands, tags)
    colours = pictures.true_colour(dict(zip(bands, image, strict=True)))
    pictures.write_png(folder / "prediction.png", colours, text="synthetic" if "SYNTHETIC" in kept else "")
    return True


run = optional_conf(run, "mosaic", _direct_form)
