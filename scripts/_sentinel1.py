"""Steps of preprocess_s1 between files and arrays: orbit, heights, pixels and tables, rasters of one product."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts._context import Context
from utils.io import pictures, raster, safe_s1
from utils.io.dem import Heights, read_heights
from utils.io.download_lock import fetched_heights, orbit_files
from utils.io.orbit_file import find_precise, read_orbit_file
from utils.io.safe import SafeProduct
from utils.science import calibrate, s1_chain
from utils.science.geocode import ImageGeometry, make_nodes
from utils.science.grid import Grid, Window
from utils.workflow.errors import ConfigError
from utils.workflow.files import atomic_json


def options(ctx: Context) -> s1_chain.Options:
    """Settings of the chain."""
    conf = ctx.conf.preprocess
    return s1_chain.Options(
        conf.flatten, conf.azimuth_spacing, conf.resampling, conf.speckle.filter, conf.speckle.window,
        conf.speckle.sigma, conf.speckle.enl, conf.incidence,
    )  # fmt: skip


def with_orbit(ctx: Context, note: safe_s1.Annotation) -> tuple[safe_s1.Annotation, str]:
    """The annotation with the configured orbit, and the name of the orbit file."""
    if ctx.conf.preprocess.orbit == "annotation":
        return note, "annotation"
    files = orbit_files(ctx.layout.raw)
    path = find_precise(files, note.mission, note.first_line_time, note.last_line_time)
    if "AUX_RESORB" in path.name:
        ctx.warn(f"W_RESORB: {note.mission} {note.first_line_time}: no precise orbit was fetched; {path.name} is used")
    states = read_orbit_file(path, note.mission, note.first_line_time, note.last_line_time)
    precise = replace(
        note, orbit_times=states.times, orbit_position_m=states.position_m, orbit_velocity_m_s=states.velocity_m_s
    )
    return precise, path.name


def height_raster(ctx: Context) -> Path:
    """Where heights come from: preprocess.dem.path, or its copy in raw/; when it is empty, what download fetched.

    raises  ConfigError when neither is there
    """
    text = ctx.conf.preprocess.dem.path
    if text is not None:
        path = ctx.resolve(text)
        copy = ctx.layout.raw / "dem" / path.name
        return copy if copy.is_file() else path
    fetched = fetched_heights(ctx.layout.raw)
    if fetched is None:
        raise ConfigError(
            "preprocess.dem.path is not set, and no height tiles were fetched.",
            "Run: ./s2cr fetch_dem CONF, or set it to a height raster of the area and its surroundings.",
        )
    return fetched


def heights(ctx: Context, grid: Grid, geometry: ImageGeometry) -> tuple[Heights, Grid, Window]:
    """Heights on the area's grid, grown until no terrain outside can matter."""
    dem = ctx.conf.preprocess.dem
    path = height_raster(ctx)
    geoid = ctx.resolve(dem.geoid_grid) if dem.geoid_grid else None
    margin, nodes = 0, make_nodes(geometry, grid, 0.0, 500.0)
    needed = s1_chain.margin_px(nodes, 0.0)
    while margin < needed:
        margin = needed
        grown = grid.window(Window(-margin, -margin, grid.rows + 2 * margin, grid.cols + 2 * margin))
        found = read_heights(path, grown, dem.vertical, geoid, dem.missing)
        needed = s1_chain.margin_px(nodes, float(found.height_m.max() - found.height_m.min()))
    return found, grown, Window(margin, margin, grid.rows, grid.cols)


def channels(
    ctx: Context, product: SafeProduct, members: Any, notes: dict[str, safe_s1.Annotation], window: Window
) -> tuple[dict[str, s1_chain.Channel], Any, dict[str, Any]]:
    """Pixels and tables of all polarisations over the needed window, the border mask, and what happens to noise."""
    conf, ipf = ctx.conf.preprocess, safe_s1.ipf_of(product)
    mask_border = conf.border_noise and calibrate.needs_border_mask(ipf)
    found: dict[str, s1_chain.Channel] = {}
    states: dict[str, Any] = {}
    border = None
    for name, member in members.items():
        note = notes[name]
        tables = safe_s1.read_noise(product, member.noise) if member.noise else None
        states[name] = calibrate.noise_state(ipf, tables, note.noise_removed, conf.noise)
        if states[name] == "no_data":
            ctx.warn(f"{product.name}: no usable thermal noise table for {name}; the noise stays in")
        used = tables if states[name] == "yes" else None
        read = s1_chain.read_window(window, note.lines, note.samples, mask_border)
        inner = window.relative_to(read).slices
        dn = safe_s1.read_pixels(product, member.measurement, read, note.lines, note.samples)
        if mask_border and border is None:
            noise = calibrate.noise_on_image(used, read) if used else None
            border = calibrate.border_noise(dn, noise, read, note.lines, note.samples)[inner]
        found[name] = s1_chain.Channel(dn[inner], safe_s1.read_calibration(product, member.calibration), used)
    return found, border, states


def write(
    ctx: Context,
    item: Any,
    grid: Grid,
    prepared: s1_chain.Prepared,
    result: s1_chain.Result,
    tags: dict[str, str],
    facts: dict[str, Any],
) -> None:
    """The contract's files of one product."""
    folder, nan = ctx.layout.preprocessed("sentinel1", item.id), float("nan")
    noise, shares = facts.pop("noise"), {name: s1_chain.fractions(values) for name, values in result.gamma0.items()}
    for name, values in result.gamma0.items():
        more = {
            "POLARISATION": name, "NOISE_REMOVED": noise[name], "NODATA_FRACTION": shares[name]["nodata"],
            "NONPOSITIVE_FRACTION": shares[name]["nonpositive"],
        }  # fmt: skip
        path = item.output(folder / f"gamma0_{name.lower()}.tif")
        raster.write(
            path, values, grid, band_names=(name,), nodata=nan, tags=ctx.tags("m2/m2", [item.id], **tags, **more)
        )
    raster.write(item.output(folder / "mask.tif"), result.mask, grid, tags=ctx.tags("bits", [item.id], **tags))
    if prepared.incidence_deg is not None:
        path = item.output(folder / "incidence.tif")
        raster.write(path, prepared.incidence_deg, grid, nodata=nan, tags=ctx.tags("degree", [item.id], **tags))
    if ctx.conf.preprocess.quicklook:
        first, last = result.gamma0[next(iter(result.gamma0))], result.gamma0[list(result.gamma0)[-1]]
        pictures.write_png(item.output(folder / "quicklook.png"), pictures.radar(first, last), max_px=600)
    bits = {f"bit{bit}": round(float((result.mask & bit > 0).mean()), 6) for bit in (1, 2, 4, 8, 16)}
    settings = ctx.conf.preprocess.model_dump(mode="json", exclude={"threads": True, "dem": {"path", "geoid_grid"}})
    record = {
        **facts, "tags": tags, "noise_removed": noise, "shares": shares, "mask_fraction": bits, "grid": grid.to_dict(),
        "noise_missing_fraction": result.noise_missing_fraction, "options": settings,
    }  # fmt: skip
    atomic_json(item.output(folder / "product.json"), record)
    item.data.update(coverage=facts["coverage"], shares=shares, noise_removed=noise)
