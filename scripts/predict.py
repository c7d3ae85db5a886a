"""Predict the optical image of t1 in reflectance: every sample, or whole scenes.

Reads   runs/<name>/{model.keras,scaler.json,model_card.json}, dataset/<set>/   <set> = predict.set, all by default
Writes  pred/<run>/<sample>.tif  float32 surface reflectance, bands in label order, NaN where an input has no data
        pred/<run>/sigma/<sample>.tif  the same for its standard deviation, of runs with an uncertainty head
        pred/<run>/index.json    the sample list and what was used
        stripes/<run>/<pair>/rows_<first>_<last>.tif, index.json   with predict.method scene (--scene): overlapping
        windows of preprocessed/, blended; bands in label order, then sigma_<band>. pred/ is cut out of them
Items   one per run and batch of samples, or per run, pair and stripe of rows; --part i/N
Fails   65 other bands than the run's, 66 run or raster missing or off the grid, 77 runtime not installed, 78 export wrong
Without CONF: --run-dir and --dataset (a set folder such as dataset/test), --out for another output folder; or --run-dir
and --scene with rasters on one grid (docs/predict.md), --out for the one file that they become.
Example  ./s2cr predict confs/demo.yaml
Example  ./s2cr predict --run-dir work/demo/runs/resunet_tiny --dataset work/demo/dataset/test
Example  ./s2cr predict --run-dir RUN --scene --s1-t0 A.tif --s1-t1 B.tif --s2-t0 C.tif --out t1.tif
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from scripts._options import optional_conf
from scripts._scene import load_run, run_scenes
from scripts._scene_files import predict_files
from scripts._stage import Context, Report, stage

_DIR = click.Path(exists=True, file_okay=False, path_type=Path)
_RASTER = click.Path(dir_okay=False, path_type=Path)
_OPTIONS = (
    click.option("--run-dir", type=_DIR, help="Finished run, instead of CONF."),
    click.option("--dataset", type=_DIR, help="Set folder to predict, instead of CONF."),
    click.option("--out", type=click.Path(path_type=Path), help="Output folder; default RUN_DIR/pred/<set>. With --scene a file."),
    click.option("--scene", is_flag=True, help="Whole scenes by blended windows: predict.method scene."),
    click.option("--runtime", type=click.Choice(["tf", "tflite", "onnx"]), help="What runs networks: predict.runtime."),
    click.option("--s1-t0", multiple=True, type=_RASTER, help="Without CONF: VV and VH at t0, gamma0, linear power; repeat it for several files."),
    click.option("--s1-t1", multiple=True, type=_RASTER, help="The same at t1."),
    click.option("--s2-t0", multiple=True, type=_RASTER, help="Reflectance at t0, the run's bands."),
    click.option("--day-t0", type=click.DateTime(["%Y-%m-%d"]), help="Day of t0, for runs of trees."),
    click.option("--day-t1", type=click.DateTime(["%Y-%m-%d"]), help="Day of t1, for runs of trees."),
    click.option("--float32", is_flag=True, help="Store reflectance as it is, not as 16-bit numbers of 0.0001."),
)  # fmt: skip


def _overrides(values: dict[str, Any]) -> dict[str, Any]:
    chosen = {"predict.method": "scene" if values["scene"] else None, "predict.runtime": values["runtime"]}
    return {name: value for name, value in chosen.items() if value is not None}


@stage("predict", options=_OPTIONS, overrides=_overrides)
def run(ctx: Context) -> Report:
    if ctx.conf.predict.method == "scene":
        return run_scenes(ctx)
    return _run_tiles(ctx)


def _run_tiles(ctx: Context) -> Report:
    from utils.io import samples
    from utils.workflow.files import atomic_json

    set_dir = ctx.layout.dataset_set(ctx.conf.predict.set)
    index = samples.load_index(set_dir)
    wanted = ctx.conf.predict.pairs
    # a cloudy S2(t0) trains through its mask, but an image predicted from it would show the cloud
    chosen = [s.id for s in index.samples if (not wanted or s.pair in wanted) and not s.train_only]
    size = ctx.conf.predict.batch_size
    # fixed groups: a tile shares its batch with the same tiles whatever was done before, so its bytes are the same
    groups = {f"{i // size:05d}": chosen[i : i + size] for i in range(0, len(chosen), size)}
    runs = [one.name for one in ctx.conf.train.runs]
    predictor: dict[str, Any] = {}
    for item in ctx.todo([f"{name}/{group}" for name in runs for group in groups], unit="group"):
        with item:
            name, group = item.id.split("/")
            if name not in predictor:
                predictor = {name: _load(ctx.layout.run(name), size, ctx.conf.predict.runtime, index)}
            _predict(predictor[name], index, groups[group], ctx.layout.pred(name), ctx.tags, item.output)
    if not ctx.partial:
        for name in runs:
            info = {
                "schema": "s2cr.prediction/1",
                "run": name,
                "set": ctx.conf.predict.set,
                "bands": list(index.bands_optical),
                "samples": chosen,
            }
            atomic_json(ctx.output(ctx.layout.pred(name) / "index.json"), info)
    return ctx.report(metrics={"tiles": len(chosen) * len(runs)}, summary=f"{len(chosen)} tiles a run")


def _load(folder: Path, batch_size: int, runtime: str, index: Any) -> Any:
    predictor = load_run(folder, batch_size, runtime, index)
    predictor.check_bands(index.bands_sar, index.bands_optical, index.n_dates)
    return predictor


def _predict(
    predictor: Any,
    index: Any,
    ids: Sequence[str],
    folder: Path,
    tags: Callable[..., dict[str, str]],
    register: Callable[[Path], Path],
) -> None:
    from utils.io import raster, samples

    infos = [index.sample(i) for i in ids]
    pairs = [index.pairs[info.pair] for info in infos]
    read = [samples.read_sample(index.set_dir, i) for i in ids]
    inputs = [(sample, pair.ds1_median_db) for sample, pair in zip(read, pairs, strict=True)]
    outputs = [(folder, "", predictor.predict(inputs))]
    if getattr(predictor, "has_sigma", False):
        outputs.append((folder / "sigma", "sigma_", predictor.predict_sigma(inputs)))
    named = {"MODEL": predictor.card["model"], "RUN": predictor.card["name"]}
    for target, prefix, images in outputs:
        for info, pair, image in zip(infos, pairs, images, strict=True):
            own = predictor.tags(pair.id) if hasattr(predictor, "tags") else {}
            more = tags("reflectance", [pair.date1, pair.date2], **named, **own)
            more |= predictor.sigma_tags if prefix else {}
            path, bands = target / f"{info.id}.tif", [f"{prefix}{band}" for band in predictor.bands]
            raster.write(
                path, image.transpose(2, 0, 1), pair.grid.window(info.window), band_names=bands, nodata=float("nan"),
                tags=more, units="reflectance",
            )  # fmt: skip
            register(path)


def _direct_form(values: dict[str, Any], log: logging.Logger) -> None:
    if values["scene"]:
        click.echo(predict_files(values, log))
        return
    from utils.io import samples
    from utils.workflow.errors import ConfigError

    run_dir, set_dir, out = values["run_dir"], values["dataset"], values["out"]
    if run_dir is None or set_dir is None:
        raise ConfigError(
            "Without CONF, --run-dir and --dataset are both needed, or --run-dir and --scene with rasters.",
            "./s2cr predict --run-dir RUN --dataset work/demo/dataset/test",
        )
    index = samples.load_index(set_dir)
    folder = out or run_dir / "pred" / index.name
    predictor, size = _load(run_dir, 8, values["runtime"] or "tf", index), 8

    def tags(units: str, sources: list[str], **more: object) -> dict[str, str]:
        return {
            "SOURCE_PRODUCTS": ",".join(sources),
            "STAGE": "predict",
            "UNITS": units,
            **{k: str(v) for k, v in more.items()},
        }

    for first in range(0, len(index.ids), size):
        _predict(predictor, index, index.ids[first : first + size], folder, tags, lambda path: path)
    log.info("predict: %d tiles in %s", len(index.ids), folder)
    click.echo(folder)


run = optional_conf(run, "predict", _direct_form)
