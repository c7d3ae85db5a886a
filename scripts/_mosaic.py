"""What the stages mosaic and mosaic_truth share: settings, images of a pair, previews, styles, STAC item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts._context import Context
from scripts._dates import load_dates
from utils.io import acquisitions, mosaic_build, mosaics, qgis, stac_item
from utils.io.mosaic_build import Images, Settings, Work
from utils.io.observation import Observation, radar_files
from utils.io.row_sources import RowSource, SceneRows, TileRows
from utils.io.samples import DatasetIndex
from utils.workflow.errors import InputError

STYLES: dict[str, tuple[tuple[str, qgis.Kind], ...]] = {
    "prediction": (("prediction", "true_colour"), ("prediction_nir", "nir_false_colour")),
    "composite": (("composite", "true_colour"), ("composite_nir", "nir_false_colour")),
    "source": (("source", "source"),),
    "sigma": (("sigma", "sigma"),),
    "prediction_sigma": (("prediction_sigma", "sigma"),),
    "abstain": (("abstain", "abstain"),),
}


def settings_of(ctx: Context) -> Settings:
    """Section mosaic as the builder takes it."""
    return Settings(**ctx.conf.mosaic.model_dump())


def source_of(ctx: Context, index: DatasetIndex, run: str, pair_id: str, written: set[str]) -> RowSource | None:
    """Predictions of a run for a pair: tiles of pred/, or rows of stripes/ with predict.method: scene; None without any.

    written  outputs of stage predict, relative to the work directory
    raises   InputError when what predict wrote is not there, or is of other bands or another grid
    """
    pair, bands = index.pairs[pair_id], index.bands_optical
    if getattr(ctx.conf.predict, "method", "tiles") == "scene":
        folder = ctx.layout.scene(run, pair_id)
        if f"stripes/{run}/{pair_id}/index.json" not in written:
            return None
        return SceneRows(folder, run, pair_id, pair.grid, bands)
    samples = [s for s in index.samples if s.pair == pair_id and f"pred/{run}/{s.id}.tif" in written]
    if not samples:
        return None
    tiles = [ctx.layout.pred(run) / f"{sample.id}.tif" for sample in samples]
    told = [f"pred/{run}/sigma/{sample.id}.tif" in written for sample in samples]
    if any(told) and not all(told):
        missing = samples[told.index(False)].id
        raise InputError(
            f"pred/{run}/sigma: {missing} has a prediction and no standard deviation, others have both.",
            f"Run predict again: ./s2cr predict {ctx.conf_path} --force",
        )
    return TileRows(tiles, [s.window for s in samples], pair.grid, bands, all(told))


def pair_images(ctx: Context, item: Any, index: DatasetIndex, source: RowSource) -> Images:
    """Write the images of item <run>/<pair> with previews, styles and STAC item, and register them all."""
    run, pair_id = item.id.split("/")
    pair = index.pairs[pair_id]
    dates = load_dates(ctx.conf, ctx.layout, ctx.conf.preprocess.sar_folder)
    radar = {name: dates[name].s1 for name in pair.all_dates}
    optical = [name for date in pair.all_dates[:-1] for name in dates[date].s2]
    observed = dates[pair.date2].s2
    sources = [*(name for names in radar.values() for name in names), *optical]

    def tags(units: str, **more: object) -> dict[str, str]:
        used = [*sources, *observed] if "COMPOSITE" in more else sources
        return ctx.tags(units, used, MODEL=run, PAIR=pair_id, DATE_T0=pair.t0, DATE_T1=pair.t1, **more)

    observation = Observation(
        ctx.layout.preprocessed_root, observed, index.bands_optical, tuple(radar.values()),
        ctx.conf.preprocess.sar_folder, radar_files(index.bands_sar),
    )  # fmt: skip
    folder = ctx.layout.mosaic(run, pair_id)
    work = Work(folder, pair.grid, index.bands_optical, source, observation, settings_of(ctx), tags)
    images = mosaic_build.build(work)
    products = {
        observation.sar_folder: [n for names in radar.values() for n in names],
        "sentinel2": [*optical, *observed],
    }
    facts = stac_item.Facts(
        f"{run}_{pair_id}", pair.t0, _time_of(dates[pair.date2], pair.t1), _description(images, run), pair.grid,
        stac_item.source_files(ctx.layout.preprocessed_root, products, ctx.layout.pairs_json), ctx.conf.report.synthetic,
        {"s2cr:run": run, "s2cr:pair": pair_id, "s2cr:key": ctx.key, "s2cr:code": ctx.code},
    )  # fmt: skip
    for path in finish(folder, images, index.bands_optical, ctx.conf.report.max_px, facts):
        item.output(path)
    _say(ctx, item, images)
    return images


def finish(folder: Path, images: Images, bands: Sequence[str], max_px: int, facts: stac_item.Facts) -> list[Path]:
    """Previews, styles and STAC item of images that are written; returns every path of the folder."""
    note = "synthetic" if facts.synthetic else ""
    pictures = {}
    for name in ("prediction", "composite"):
        if name in images.paths and {"B04", "B03", "B02"} <= set(bands):
            pictures[name] = folder / f"{name}.png"
            mosaics.write_preview(pictures[name], images.paths[name], max_px, note)
    named = {f"{name}_picture": path for name, path in pictures.items()}
    styles = write_styles(folder, images.paths, bands)
    item = folder / "item.json"
    stac_item.write(item, stac_item.build(folder, facts, images.paths, named))
    return [*images.paths.values(), *pictures.values(), *styles, item]


def write_styles(folder: Path, images: Mapping[str, Path], bands: Sequence[str]) -> list[Path]:
    """A style beside every image, and the near infrared for reflectance; returns the paths."""
    made = []
    for name in images:
        for stem, kind in STYLES.get(name, ()):
            if qgis.can_style(kind, bands):
                made.append(folder / f"{stem}.qml")
                qgis.write_style(made[-1], kind, bands=bands)
    return made


def _time_of(date: acquisitions.Acquisition, day: str) -> str:
    """When t1 was: start of its Sentinel-2 acquisition, else of Sentinel-1, else the day."""
    for sensor in ("s2", "s1"):
        start = str(date.facts.get(sensor, {}).get("start", ""))
        if start.startswith(day):
            return start
    return day


def _description(images: Images, run: str) -> str:
    words = f"Sentinel-2 surface reflectance simulated by {run} from Sentinel-1 and an earlier Sentinel-2 image"
    return f"{words}{', set into the observed image under cloud and shadow' if 'composite' in images.paths else ''}."


def _say(ctx: Context, item: Any, images: Images) -> None:
    """What was decided goes to the log and to the manifest."""
    item.data.update(images.facts)
    for band, one in images.corrections.items():
        fits = f", rmse {one.rmse_before:.4f} to {one.rmse_after:.4f}" if one.rmse_before is not None else ""
        did = f"gain {one.gain:.3f} offset {one.offset:+.4f}" if one.applied else "not corrected"
        ctx.log.info("%s %s: %s (%s%s)", item.id, band, did, one.reason, fits)
    if "prediction_sigma" not in images.paths:
        ctx.log.info("%s: the run tells no sigma; abstain.tif knows gaps of Sentinel-1 only", item.id)
