"""The SNAP engine of preprocess_s2. Whether SNAP applied scale and offset is measured on pixels, never assumed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts import _sentinel2, _snap_input
from scripts._cloud_mask import layer_of
from scripts._context import Context, Report
from scripts._snap import adopt_each
from scripts._snap_run import GptRun, check_engine, discard, execute, graph_file, grown_wkt, names_of
from utils.io import dimap, safe_s2, snap_graph
from utils.io.download_lock import products_of
from utils.io.footprint import aoi_geometry, grid_of
from utils.io.safe import SafeProduct, open_product
from utils.io.safe_l1c import without_auxiliary
from utils.io.snap_done import done_by_all
from utils.science.grid import Grid, Window
from utils.science.reflectance import bilinear_2x, to_reflectance
from utils.workflow import config
from utils.workflow.errors import ConfigError, ExternalError, InputError, NothingFoundError

AOI_MARGIN_M = 200.0
COMPARED_PIXELS = 1000
LARGEST_DIFFERENCE = 1e-4
_PATCH_PX = 128


def snap_name(band: str) -> str:
    """B02 -> B2, B8A -> B8A, B12 -> B12: names of SNAP's reader."""
    return f"B{int(band[1:])}" if band[1:].isdigit() else band


def run_snap_s2(ctx: Context) -> Report:
    """Every Sentinel-2 product through gpt, then into the contract's files."""
    found = check_engine(ctx)
    coarse = [band for band in _sentinel2.bands_of(ctx.conf) if band not in safe_s2.BANDS_10M]
    if coarse and found.version == 10:
        raise ConfigError(
            f"{', '.join(coarse)} have 20 m, and SNAP 10 resamples only all bands at once.",
            "Use SNAP 11 or newer, or set preprocess.s2_backend: native.",
        )
    grid, paths = target_grid(ctx), without_auxiliary(products_of(ctx.layout.raw, "S2"))
    for item in ctx.todo(paths, unit="product"):
        with item, open_product(paths[item.id]) as product:
            _snap_input.check(paths[item.id], (), _sentinel2.bands_of(ctx.conf), ctx.conf.preprocess.verify)
            meta = safe_s2.metadata(product)
            safe_s2.check_grid(meta, grid)
            _skip_outside(ctx, item, meta, grid)
            dim = execute(ctx, plan_s2(ctx, item.id, paths[item.id], product, grid))
            _adopt(ctx, item, product, [dim], grid)
            discard(ctx, dim)
    return _report(ctx, paths, grid)


def adopt_s2(ctx: Context, dims: Sequence[Path]) -> Report:
    """Only the given .dim files, whoever made them; the other products stay to be done."""
    grid, paths = target_grid(ctx), without_auxiliary(products_of(ctx.layout.raw, "S2"))
    adopt_each(ctx, dims, paths, grid, _adopt, _skip_if_outside)
    return _report(ctx, paths, grid)


def plan_s2(ctx: Any, name: str, path: Path, product: SafeProduct, grid: Grid) -> GptRun:
    """The gpt run of one product: 20 m bands are resampled only where one is wanted."""
    bands = [snap_name(band) for band in _sentinel2.bands_of(ctx.conf)]
    fine = [snap_name(band) for band in _sentinel2.bands_of(ctx.conf) if band in safe_s2.BANDS_10M]
    if not fine:
        raise ConfigError("no 10 m band is wanted; the graph needs one as reference.", "Add B02.")
    base = (config.ROOT / "snap-confs/s2_l2a.xml").read_text(encoding="utf-8")
    reference = "B2" if "B2" in fine else fine[0]
    text = snap_graph.s2_graph(base, "resample" if len(fine) < len(bands) else "plain", reference)
    variables = {"bands": ",".join(bands), "aoi_wkt": grown_wkt(grid, AOI_MARGIN_M)}
    out = ctx.layout.work / "snap/sentinel2"
    verify = ctx.conf.preprocess.verify
    return GptRun(name, path, graph_file(ctx, text), out, variables, tuple(bands), "any", None, (), verify)


def target_grid(ctx: Any) -> Grid:
    if ctx.conf.area.geojson is None:
        raise ConfigError("area.geojson is not set.", "Set it to a GeoJSON polygon in EPSG:4326.")
    return grid_of(aoi_geometry(ctx.resolve(ctx.conf.area.geojson)), ctx.conf.area.epsg, ctx.conf.area.pixel_m)


def _skip_outside(ctx: Context, item: Any, meta: safe_s2.S2Metadata, grid: Grid) -> None:
    share = safe_s2.grid_overlap(meta, grid)
    if share == 0 or share < ctx.conf.preprocess.min_overlap:
        item.skip(f"outside: the tile covers {100 * share:.1f} % of the area")


def _skip_if_outside(ctx: Context, item: Any, path: Path, grid: Grid) -> None:
    """Record a product that was not adopted because there is nothing to adopt; all others stay to be done."""
    try:
        with open_product(path) as product:
            share = safe_s2.grid_overlap(safe_s2.metadata(product), grid)
    except (InputError, ValueError):
        return
    if share == 0 or share < ctx.conf.preprocess.min_overlap:
        with item:
            item.skip(f"outside: the tile covers {100 * share:.1f} % of the area")


def _report(ctx: Context, paths: Mapping[str, Path], grid: Grid) -> Report:
    if paths and not ctx.partial and {ctx.status_of(name) for name in paths} == {"skipped"}:
        raise NothingFoundError(
            f"none of the {len(paths)} Sentinel-2 products covers the area.", "Search again: make find_images."
        )
    return ctx.report(summary=f"{grid.rows} x {grid.cols} px, EPSG:{grid.epsg}, SNAP")


def _adopt(ctx: Context, item: Any, product: SafeProduct, dims: Sequence[Path], grid: Grid) -> None:
    bands = _sentinel2.bands_of(ctx.conf)
    meta, opened = safe_s2.metadata(product), dimap.open_parts(dims)
    safe_s2.check_grid(meta, grid)
    _skip_outside(ctx, item, meta, grid)
    product.verify(safe_s2.members_of(meta, bands), ctx.conf.preprocess.verify)
    dimap.check_bands(opened, [snap_name(band) for band in bands])
    largest = {band: compare(opened, product, meta, band, grid) for band in bands}

    def read(band: str, part: Grid) -> NDArray[np.float32]:
        return reflectance_of(opened, meta, band, part)

    done = done_by_all(dims)
    tags = {
        "BACKEND": "snap",
        "SNAP_VERSION": done.version or "unknown",
        "SNAP_GRAPH": done.graph_sha256[:12] or "unknown",
    }
    facts = {
        "snap": {
            "dim": names_of(dims),
            "version": done.version,
            "graph": done.graph_sha256,
            "largest_difference": largest,
        }
    }
    foreign = _sentinel2.Foreign(read, tags, facts)
    _sentinel2.convert(ctx, item, product, meta, grid, layer_of(ctx, item, meta, grid), foreign)


def reflectance_of(opened: dimap.Dimap, meta: safe_s2.S2Metadata, band: str, grid: Grid) -> NDArray[np.float32]:
    """Reflectance of a band of gpt on a grid: not below 0, NaN where it has no or a saturated number."""
    name = snap_name(band)
    stored, _ = dimap.read_stored(opened, name, grid)
    values = dimap.read_on_grid(opened, name, grid)
    if stored.dtype.kind == "u":
        values[(stored == meta.nodata_dn) | (stored == meta.saturated_dn)] = np.nan
    return np.maximum(values, np.float32(0))


def compare(opened: dimap.Dimap, product: SafeProduct, meta: safe_s2.S2Metadata, band: str, grid: Grid) -> float:
    """Largest difference to the native reader over 1000 pixels that both hold.

    raises  ExternalError when it is above 1e-4: scale or offset were applied differently
    """
    rng = np.random.default_rng(zlib.crc32(f"{meta.name}{band}".encode()))
    count, largest, lonely = 0, 0.0, 0
    patches = _patches(grid, rng)
    quota, seen = -(-COMPARED_PIXELS // min(4, len(patches))), 0
    for window in patches:
        part = grid.window(window)
        ours, theirs = _native(product, meta, band, part), reflectance_of(opened, meta, band, part)
        both = np.isfinite(ours) & np.isfinite(theirs)
        lonely += int((np.isfinite(ours) != np.isfinite(theirs)).sum())
        seen += both.size
        taken = rng.permutation(np.flatnonzero(both))[: min(quota, COMPARED_PIXELS - count)]
        if taken.size:
            largest = max(largest, float(np.abs(ours.ravel()[taken] - theirs.ravel()[taken]).max()))
            count += taken.size
        if count >= COMPARED_PIXELS:
            break
    if largest > LARGEST_DIFFERENCE or lonely > 0.01 * seen:
        raise ExternalError(
            f"{opened.path.name}: {band} differs from the native reader by {largest:.3g} over {count} pixels (limit "
            f"{LARGEST_DIFFERENCE:g}){f', and {lonely} pixels are only in one of them' if lonely else ''}: scale, offset or "
            "place are not the same.",
            "Use preprocess.s2_backend: native, and report the product and the version of SNAP.",
        )
    return largest


def _patches(grid: Grid, rng: np.random.Generator) -> list[Window]:
    """Windows that nest with 20 m, spread over the grid in random order."""
    rows = range(0, max(grid.rows - _PATCH_PX, 0) + 1, max(_PATCH_PX, grid.rows // 6 // 2 * 2))
    cols = range(0, max(grid.cols - _PATCH_PX, 0) + 1, max(_PATCH_PX, grid.cols // 6 // 2 * 2))
    found = [Window(r, c, min(_PATCH_PX, grid.rows - r), min(_PATCH_PX, grid.cols - c)) for r in rows for c in cols]
    return [found[i] for i in rng.permutation(len(found))]


def _native(product: SafeProduct, meta: safe_s2.S2Metadata, band: str, grid: Grid) -> NDArray[np.float32]:
    fine = meta.resolution_m(band) == 10
    own = grid if fine else safe_s2.coarse_grid(grid, margin_px=1)
    dn = safe_s2.read_dn(product, meta, band, own)
    rho = to_reflectance(dn, meta.offset_dn(band), meta.quantification, meta.nodata_dn, meta.saturated_dn)
    return rho.values if fine else bilinear_2x(rho.values)
