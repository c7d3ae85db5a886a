"""Where cloud.tif takes its cloud from: nothing more than the scene classes, s2cloudless or fmask on the L1C product."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts._context import Context
from utils.io import cloud_probability, fmask, safe_l1c
from utils.io.download_lock import products_of
from utils.io.s2_convert import CloudLayer
from utils.io.safe import SafeProduct, open_product
from utils.io.safe_s2 import S2Metadata
from utils.science.grid import Grid
from utils.workflow.errors import ConfigError, InputError
from utils.workflow.files import TEMPORARY_MARK


def layer_of(ctx: Context, item: Any, meta: S2Metadata, grid: Grid) -> CloudLayer | None:
    """Cloud of the configured detector over the area; None for the scene classes.

    raises  InputError or ConfigError when the L1C product is not there; ExternalError when fmask fails
    """
    source = ctx.conf.preprocess.cloud_mask
    if source == "scl":
        return None
    path = l1c_path(ctx, meta)
    with open_product(path) as product:
        l1c = safe_l1c.metadata(product)
        safe_l1c.check_same(l1c, meta)
        if source == "s2cloudless":
            product.verify(safe_l1c.members_of(l1c, cloud_probability.BANDS), ctx.conf.preprocess.verify)
            return _s2cloudless(ctx, product, l1c, grid)
        product.verify(safe_l1c.members_of(l1c), ctx.conf.preprocess.verify)
        return _fmask(ctx, item, product, l1c)


def l1c_path(ctx: Context, meta: S2Metadata) -> Path:
    """The L1C product of the same datatake and tile, from raw/ or preprocess.l1c_dir.

    raises  ConfigError when that folder is not there; InputError naming the product that is wanted
    """
    text, folder, paths = ctx.conf.preprocess.l1c_dir, None, []
    if text is not None:
        folder = ctx.resolve(text)
        if not folder.is_dir():
            raise ConfigError(f"preprocess.l1c_dir: {folder} is no folder.", "Correct preprocess.l1c_dir.")
        paths = safe_l1c.products_below(folder)
    fetched = products_of(ctx.layout.raw, "S2") if (ctx.layout.raw / "downloads.lock.json").is_file() else {}
    found = safe_l1c.find(meta.name, [*fetched.values(), *paths])
    if found is None:
        places = "raw/" if folder is None else f"raw/ and {folder}"
        raise InputError(
            f"{meta.name}: preprocess.cloud_mask {ctx.conf.preprocess.cloud_mask} needs the L1C product of the same datatake, "
            f"{safe_l1c.pattern(meta.name)}, which is not in {places}.",
            "Fetch it in a work directory of its own (./s2cr find_images CONF --s2-level L1C, then ./s2cr download CONF), "
            "or by hand, and set preprocess.l1c_dir to its folder; or set preprocess.cloud_mask: scl.",
        )
    return found


def _s2cloudless(ctx: Context, product: SafeProduct, l1c: safe_l1c.L1cMetadata, grid: Grid) -> CloudLayer:
    conf = ctx.conf.preprocess.s2cloudless
    threads = ctx.conf.preprocess.threads or len(os.sched_getaffinity(0))
    settings = cloud_probability.Detector(conf.resolution_m, conf.threshold, conf.average_px, conf.dilate_px, threads)
    values, coarse = cloud_probability.detect(product, l1c, grid, settings)
    tags = {
        "CLOUD_SOURCE": "s2cloudless", "L1C_PRODUCT": l1c.name, "CLOUD_RESOLUTION_M": f"{conf.resolution_m}",
        "CLOUD_THRESHOLD": f"{conf.threshold:g}", "CLOUD_AVERAGE_PX": f"{conf.average_px}",
        "CLOUD_DILATE_PX": f"{conf.dilate_px}", "SHADOW_SOURCE": "scl",
    }  # fmt: skip
    return CloudLayer(values, coarse, True, settings.margin_px * conf.resolution_m, tags)


def _fmask(ctx: Context, item: Any, product: SafeProduct, l1c: safe_l1c.L1cMetadata) -> CloudLayer:
    conf = ctx.conf.preprocess.fmask
    settings = fmask.Settings(
        conf.program, conf.cloud_buffer_m, conf.shadow_buffer_m, conf.cloud_probability, conf.min_cloud_px,
        conf.parallax_test,
    )  # fmt: skip
    with _scratch(ctx, item) as scratch, safe_l1c.unpacked(product, scratch / "safe") as safe:
        values, grid = fmask.detect(settings, safe, scratch / "run")
    tags = {
        "CLOUD_SOURCE": "fmask", "L1C_PRODUCT": l1c.name, "CLOUD_BUFFER_M": f"{conf.cloud_buffer_m:g}",
        "SHADOW_BUFFER_M": f"{conf.shadow_buffer_m:g}", "CLOUD_PROBABILITY_PERCENT": f"{conf.cloud_probability:g}",
        "SHADOW_SOURCE": "fmask",
    }  # fmt: skip
    return CloudLayer(values, grid, False, max(conf.cloud_buffer_m, conf.shadow_buffer_m) + grid.dx, tags)


@contextmanager
def _scratch(ctx: Context, item: Any) -> Iterator[Path]:
    """A folder for unpacked and temporary files, in the work directory; leftovers of a killed run are removed first."""
    root = ctx.layout.preprocessed("sentinel2", item.id).parent
    for old in root.glob(f"{item.id}{TEMPORARY_MARK}*"):
        shutil.rmtree(old, ignore_errors=True)
    folder = root / f"{item.id}{TEMPORARY_MARK}{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
