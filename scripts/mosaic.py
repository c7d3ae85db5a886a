"""Join predictions to one image per run and pair, set it into the clear part of the observed image, say how sure it is.

Reads   pred/<run>/<sample>.tif and sigma/     float32 reflectance, NaN = nodata; with predict.method: scene instead
        stripes/<run>/<pair>/                    rows of the whole scene
        preprocessed/                          reflectance and cloud codes of t1, gamma0 of all dates
Writes  mosaic/<run>/<pair>/prediction.tif     COG Int16, reflectance = DN * 0.0001, nodata -32768 (or mosaic.dtype)
        mosaic/<run>/<pair>/composite.tif      the same; observed t1 where clear, prediction under cloud and shadow
        mosaic/<run>/<pair>/source.tif         uint8: 0 observed, 1 simulated, 2 feathered, 255 nodata
        mosaic/<run>/<pair>/sigma.tif          standard deviation of the composite; prediction_sigma.tif that of the
                                               prediction; of runs with an uncertainty head
        mosaic/<run>/<pair>/abstain.tif        uint8: 1 do not use, 0 use, 255 nodata
        mosaic/<run>/<pair>/item.json *.qml    STAC item, styles for QGIS; prediction.png composite.png
Items   <run>/<pair>; the first report.max_pairs pairs with test samples     Fails  66 prediction missing or of another grid
Without CONF: --pred, a folder of predicted tiles, and --dataset, the set that they were predicted for; every pair of it
becomes <out>/<pair>/prediction.tif and prediction.png, with sigma where the tiles have it.

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
    from scripts import _mosaic
    from utils.io.mosaics import shown_pairs

    index, pairs, total = shown_pairs(ctx.layout.dataset, ctx.conf.report.max_pairs)
    if len(pairs) < total:
        ctx.log.info("mosaic: %d of %d pairs (report.max_pairs); scores cover all", len(pairs), total)
    written = set(ctx.manifest("predict")["outputs"])
    ids = [f"{run.name}/{pair}" for run in ctx.conf.train.runs for pair in pairs]
    for item in ctx.todo(ids, unit="mosaic"):
        with item:
            name, pair_id = item.id.split("/")
            source = _mosaic.source_of(ctx, index, name, pair_id, written)
            if source is None:
                item.skip(f"run {name} predicted no sample of pair {pair_id} (predict.set, predict.pairs)")
            else:
                _mosaic.pair_images(ctx, item, index, source)
    return ctx.report({"pairs": list(pairs), "pairs_in_dataset": total}, f"{len(pairs)} of {total} pairs")


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
    from scripts import _mosaic
    from scripts._provenance import code_version
    from utils.io import mosaic_build, mosaics, raster
    from utils.io.row_sources import TileRows

    pair = index.pairs[pair_id]
    chosen = [s for s in index.samples if s.pair == pair_id and (pred / f"{s.id}.tif").is_file()]
    if not chosen:
        return False
    tiles = [pred / f"{sample.id}.tif" for sample in chosen]
    facts = raster.info(tiles[0])
    kept = {name: facts.tags[name] for name in ("SOURCE_PRODUCTS", "MODEL", "RUN", "SYNTHETIC") if name in facts.tags}
    kept |= {"STAGE": "mosaic", "CODE": code_version(), "PAIR": pair_id, "DATE_T0": pair.t0, "DATE_T1": pair.t1}
    bands = tuple(facts.band_names)

    def tags(units: str, **more: object) -> dict[str, str]:
        return {**kept, "UNITS": units, **{name: str(value) for name, value in more.items()}}

    with_sigma = (pred / "sigma" / tiles[0].name).is_file()
    source = TileRows(tiles, [s.window for s in chosen], pair.grid, bands, with_sigma)
    images = mosaic_build.build(
        mosaic_build.Work(folder, pair.grid, bands, source, None, mosaic_build.Settings(), tags)
    )
    _mosaic.write_styles(folder, images.paths, bands)
    if {"B04", "B03", "B02"} <= set(bands):
        note = "synthetic" if "SYNTHETIC" in kept else ""
        mosaics.write_preview(folder / "prediction.png", images.paths["prediction"], 2048, note)
    return True


run = optional_conf(run, "mosaic", _direct_form)
