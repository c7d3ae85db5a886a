"""Steps of preprocess_s2 between a product and its rasters: which bands, all images at once, tags, quick-look."""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scripts._context import Context
from utils.io import pictures, row_writer, safe_s2
from utils.io.jp2 import bounded_cache
from utils.io.s2_convert import (
    CloudLayer,
    Converted,
    How,
    MaskRules,
    Rows,
    convert_band,
    convert_classes,
    copy_band,
    core,
)
from utils.io.safe import SafeProduct
from utils.io.safe_s2 import S2Metadata
from utils.science.cloud import CloudClasses
from utils.science.grid import Grid
from utils.workflow.errors import DiskError
from utils.workflow.files import atomic_bytes, atomic_json
from utils.workflow.schema import Conf

CLASSES = "classes"
_WRITE_FAILED = re.compile(r"No space left|File too large|[Qq]uota|[Ww]rite ?(error|Proc|failed)")  # GDAL's words
_QUICKLOOK_PX = 800
_AT_ONCE = 4  # images open at once: each holds about 100 MiB for a full tile
_CACHE_MIB = 64  # of GDAL's cache for each of them: one row of JPEG 2000 tiles read, one of GeoTIFF blocks written


class _Stopped(Exception):
    """Another image of the product failed."""


def bands_of(conf: Conf) -> tuple[str, ...]:
    """Bands to write: preprocess.s2_bands, or those that section dataset uses."""
    return conf.preprocess.s2_bands or conf.dataset.optical


def rules_of(conf: Conf) -> MaskRules:
    """Meaning of the scene classes and growth of cloud and shadow."""
    named = conf.preprocess.cloud_classes
    return MaskRules(
        CloudClasses(named.cloud, named.shadow, named.snow, named.defective), conf.preprocess.cloud_dilate_m
    )


@dataclass(frozen=True)
class Foreign:
    """Reflectance that another engine made: its bands, what its tags say, facts for product.json."""

    read: Rows
    tags: Mapping[str, str]
    facts: Mapping[str, Any]


def convert(
    ctx: Context, item: Any, product: SafeProduct, meta: S2Metadata, grid: Grid, layer: CloudLayer | None,
    foreign: Foreign | None = None,
) -> None:  # fmt: skip
    """Write all files of one product; when one image fails none of them stays. Classes are always read natively."""
    folder = ctx.layout.preprocessed("sentinel2", item.id)
    try:
        with item.steps("rasters"):
            done = _rasters(ctx, item, product, meta, grid, folder, layer, foreign)
        _records(ctx, item, meta, grid, folder, done, layer, foreign)
    except BaseException as error:
        _clear(folder)
        if isinstance(error, RuntimeError) and _WRITE_FAILED.search(str(error)):
            raise DiskError(
                f"No space left while writing {folder} ({error}).", "Free disk space, then run the same command again."
            ) from error
        raise


def _clear(folder: Path) -> None:
    """Remove what an unfinished product has in its folder, and the folder."""
    for path in folder.glob("*"):
        with suppress(OSError):
            path.unlink()
    with suppress(OSError):
        folder.rmdir()


def _rasters(
    ctx: Context, item: Any, product: SafeProduct, meta: S2Metadata, grid: Grid, folder: Path, layer: CloudLayer | None,
    foreign: Foreign | None,
) -> dict[str, Converted]:  # fmt: skip
    bands, rules = bands_of(ctx.conf), rules_of(ctx.conf)
    threads = ctx.conf.preprocess.threads or len(os.sched_getaffinity(0))
    workers = min(threads, len(bands) + 1, _AT_ONCE)
    stop, thin = threading.Event(), max(1, math.ceil(max(grid.shape) / _QUICKLOOK_PX))
    how = How(threads=max(1, threads // workers), thin=thin, go_on=lambda: _go_on(stop))
    _need_space(folder, grid.rows * grid.cols * (4 * len(bands) + 2))
    with bounded_cache(_CACHE_MIB * workers), ExitStack() as files:
        jobs: dict[str, Callable[[], Converted]] = {}
        for band in bands:
            path, more = item.output(folder / f"{band}.tif"), foreign.tags if foreign else {}
            out = files.enter_context(_band_writer(ctx, path, meta, band, grid, more, how.threads))
            if foreign:
                jobs[band] = partial(copy_band, foreign.read, band, grid, out, how)
            else:
                jobs[band] = partial(convert_band, product, meta, band, grid, out, how)
        scl, cloud = (
            files.enter_context(writer) for writer in _class_writers(ctx, item, folder, meta, grid, layer, how.threads)
        )
        alone = replace(how, threads=threads)  # the last one: most of its time no band is left
        jobs[CLASSES] = partial(convert_classes, product, meta, grid, (scl, cloud), rules, alone, layer)
        return run_all(jobs, workers, stop)


def _go_on(stop: threading.Event) -> None:
    if stop.is_set():
        raise _Stopped


def run_all(jobs: Mapping[str, Callable[[], Converted]], workers: int, stop: threading.Event) -> dict[str, Converted]:
    """Run jobs on threads; the first error, in the order of the jobs, ends all of them and is raised."""
    with ThreadPoolExecutor(workers, thread_name_prefix="sentinel2") as pool:
        started: dict[str, Future[Converted]] = {name: pool.submit(_guarded, job, stop) for name, job in jobs.items()}
        try:
            failed = [e for e in (future.exception() for future in started.values()) if e is not None]
        finally:
            stop.set()  # a signal ends the threads too
            pool.shutdown(cancel_futures=True)
    real = [error for error in failed if not isinstance(error, _Stopped)]
    if real:
        raise real[0]
    return {name: future.result() for name, future in started.items()}


def _guarded(job: Callable[[], Converted], stop: threading.Event) -> Converted:
    try:
        _go_on(stop)
        return job()
    except BaseException:
        stop.set()
        raise


def _need_space(folder: Path, n_bytes: int) -> None:
    """All rasters of a product are open at once: ask for the sum before the first pixel.

    raises  DiskError
    """
    there = next(parent for parent in folder.parents if parent.exists())
    disk = os.statvfs(there)
    if disk.f_bavail * disk.f_frsize < n_bytes:
        raise DiskError(
            f"{folder}: needs up to {n_bytes / 2**20:.0f} MiB, {disk.f_bavail * disk.f_frsize / 2**20:.0f} MiB are free.",
            "Free disk space, then run the same command again: it resumes.",
        )


def _tags(ctx: Context, meta: S2Metadata, units: str, offset_dn: int, **more: object) -> dict[str, str]:
    return ctx.tags(
        units, [meta.name], BACKEND="native", PROCESSING_BASELINE=safe_s2.baseline_text(meta), OFFSET_DN=offset_dn,
        QUANTIFICATION=meta.quantification, OFFSET_SOURCE=meta.offset_source, SENSING_TIME=meta.sensing_time, TILE=meta.tile,
        **more,
    )  # fmt: skip


def _band_writer(
    ctx: Context, path: Path, meta: S2Metadata, band: str, grid: Grid, more: Mapping[str, str], threads: int
) -> Any:
    resampling = "none" if meta.resolution_m(band) == 10 else "bilinear"
    tags = {**_tags(ctx, meta, "reflectance", meta.offset_dn(band), RESAMPLING=resampling), **more}
    return _writer(path, grid, "float32", band, math.nan, tags, threads)


def _class_writers(
    ctx: Context, item: Any, folder: Path, meta: S2Metadata, grid: Grid, layer: CloudLayer | None, threads: int
) -> list[Any]:
    about = dict(layer.tags) if layer else {"CLOUD_SOURCE": "scl", "SHADOW_SOURCE": "scl"}
    if layer is None or layer.only_cloud:
        about["DILATED_M"] = f"{ctx.conf.preprocess.cloud_dilate_m:g}"  # of what the scene classes give
    scl, cloud = (item.output(folder / f"{name}.tif") for name in ("scl", "cloud"))
    classes, codes = (
        _tags(ctx, meta, "class", 0, RESAMPLING="nearest"),
        _tags(ctx, meta, "code", 0, RESAMPLING="nearest", **about),
    )
    return [
        _writer(scl, grid, "uint8", "SCL", 0, classes, threads),
        _writer(cloud, grid, "uint8", "CLOUD", 255, codes, threads),
    ]


def _writer(path: Path, grid: Grid, dtype: str, name: str, nodata: float, tags: Mapping[str, str], threads: int) -> Any:
    return row_writer.writer(path, grid, 1, dtype, band_names=(name,), nodata=nodata, tags=tags, threads=threads)


def _records(
    ctx: Context, item: Any, meta: S2Metadata, grid: Grid, folder: Path, done: Mapping[str, Converted],
    layer: CloudLayer | None, foreign: Foreign | None,
) -> None:  # fmt: skip
    """product.json and quicklook.png, from what was counted and kept while the pixels passed."""
    codes = done[CLASSES].counts
    valid = sum(codes.values()) - codes["none"]
    item.data.update(clear=round(codes["clear"] / valid, 6) if valid else 0.0, baseline=safe_s2.baseline_text(meta))
    bands = {name: found.counts for name, found in done.items() if name != CLASSES}
    settings = ctx.conf.preprocess
    options = {
        "bands": list(bands), "cloud_mask": settings.cloud_mask, "cloud_dilate_m": settings.cloud_dilate_m,
        "cloud_classes": settings.cloud_classes.model_dump(mode="json"), "verify": settings.verify,
        "cloud_tags": dict(layer.tags) if layer else {},
    }  # fmt: skip
    facts = {
        **safe_s2.facts(meta), "overlap": round(safe_s2.grid_overlap(meta, grid), 6), "bands": bands, "classes": codes,
        "grid": grid.to_dict(), "core": core(meta, rules_of(ctx.conf), layer).to_dict(), "key": ctx.key, "options": options,
        **(foreign.facts if foreign else {}),
    }  # fmt: skip
    atomic_json(item.output(folder / "product.json"), facts)
    if settings.quicklook:
        picture = quicklook({name: found.thin for name, found in done.items() if name != CLASSES}, done[CLASSES].thin)
        atomic_bytes(item.output(folder / "quicklook.png"), pictures.png_bytes(picture))


def quicklook(bands: Mapping[str, Any], codes: Any) -> pictures.Picture:
    """True colour where the bands are there, else the first band in grey; outlines of cloud and shadow on it."""
    first = next(iter(bands))
    shown = bands if {"B04", "B03", "B02"} <= set(bands) else dict.fromkeys(("B04", "B03", "B02"), bands[first])
    picture = pictures.outline(pictures.true_colour(shown), np.asarray(codes) == 2, pictures.SHADOW_RGB)
    return pictures.outline(picture, np.asarray(codes) == 1, pictures.CLOUD_RGB)
