"""Steps of preprocess_s1 between files and arrays: orbit, heights, pixels and tables, rasters of one product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scripts import _contract
from scripts._context import Context
from scripts._heights_orbits import height_raster, orbit_paths
from scripts._item import progress_of
from utils.io import safe_s1
from utils.io.dem import HeightField
from utils.io.ground import Ground, ground_under
from utils.io.orbit_file import find_precise, read_orbit_file
from utils.io.safe import SafeProduct
from utils.io.safe_s1_pixels import Measurement
from utils.science import calibrate, s1_chain, s1_run
from utils.science.border import BorderMask, find_border
from utils.science.geocode import ImageGeometry, MapNodes, image_geometry
from utils.science.grid import Grid, Window
from utils.science.orbit import OrbitError
from utils.workflow.errors import ConfigError, InputError

FINE_PX_M = 10.0


def options(ctx: Context) -> s1_chain.Options:
    """Settings of the chain."""
    conf = ctx.conf.preprocess
    return s1_chain.Options(
        conf.flatten, conf.azimuth_spacing, conf.resampling, conf.speckle.filter, conf.speckle.window,
        conf.speckle.sigma, None if conf.speckle.enl == "auto" else conf.speckle.enl, conf.incidence,
    )  # fmt: skip


def with_orbit(ctx: Context, note: safe_s1.Annotation) -> tuple[safe_s1.Annotation, str]:
    """The annotation with the configured orbit, and the name of the orbit file."""
    if ctx.conf.preprocess.orbit == "annotation":
        return note, "annotation"
    path = find_precise(orbit_paths(ctx), note.mission, note.first_line_time, note.last_line_time)
    if "AUX_RESORB" in path.name:
        ctx.warn(f"W_RESORB: {note.mission} {note.first_line_time}: no precise orbit is at hand; {path.name} is used")
    states = read_orbit_file(path, note.mission, note.first_line_time, note.last_line_time)
    precise = replace(
        note, orbit_source="RESORB" if "AUX_RESORB" in path.name else "POEORB", orbit_times=states.times,
        orbit_position_m=states.position_m, orbit_velocity_m_s=states.velocity_m_s,
    )  # fmt: skip
    return precise, path.name


def geometry(product: SafeProduct, note: safe_s1.Annotation, srgr_time: Literal["linear", "nearest"]) -> ImageGeometry:
    """Orbit and times of the image.

    raises  InputError when the orbit does not cover it
    """
    try:
        return image_geometry(note, srgr_time)
    except OrbitError as error:
        raise InputError(f"{product.name}: {error}.", "Choose another product.") from error


def ground(ctx: Context, grid: Grid, nodes: MapNodes) -> Ground:
    """Heights under the area and around it, as far as its relief needs them; see utils.io.ground."""
    dem = ctx.conf.preprocess.dem
    geoid = ctx.resolve(dem.geoid_grid) if dem.geoid_grid else None
    return ground_under(HeightField(height_raster(ctx), dem.vertical, geoid, dem.missing), grid, nodes)


@dataclass(frozen=True)
class Inputs:
    """Pixels and tables of a product: channels by polarisation, border noise, what happens to thermal noise."""

    channels: dict[str, s1_chain.Channel]
    border: BorderMask | None
    noise: dict[str, str]


def inputs(
    ctx: Context, stack: ExitStack, product: SafeProduct, members: Any, notes: dict[str, safe_s1.Annotation]
) -> Inputs:
    """Open the measurements (closed with `stack`), read the tables, find border noise of old products."""
    conf, ipf = ctx.conf.preprocess, safe_s1.ipf_of(product)
    channels: dict[str, s1_chain.Channel] = {}
    states: dict[str, str] = {}
    for name, member in members.items():
        note = notes[name]
        tables = safe_s1.read_noise(product, member.noise) if member.noise else None
        states[name] = calibrate.noise_state(ipf, tables, note.noise_removed, conf.noise)
        pixels = stack.enter_context(Measurement(product, member.measurement, note.lines, note.samples))
        beta = safe_s1.read_calibration(product, member.calibration)
        channels[name] = s1_chain.Channel(pixels, beta, tables if states[name] == "yes" else None)
    if missing := [name for name, state in states.items() if state == "no_data"]:
        ctx.warn(f"{product.name}: no usable thermal noise table for {', '.join(missing)}; the noise stays in")
    border = None
    if conf.border_noise and calibrate.needs_border_mask(ipf):
        border = _border(ctx, product, channels.get("VV"), next(iter(notes.values())))
    return Inputs(channels, border, states)


def _border(
    ctx: Context, product: SafeProduct, copol: s1_chain.Channel | None, note: safe_s1.Annotation
) -> BorderMask | None:
    """Border noise as the co-polarised channel shows it, also where only VH is processed: VH is dark by nature."""
    member = safe_s1.find_members(product).get("VV")
    if copol is None and (member is None or member.measurement is None):
        ctx.warn(f"{product.name}: no VV to tell border noise from dark ground; border noise is not masked")
        return None
    with ExitStack() as stack:
        if copol is not None:
            read, tables = copol.read, copol.noise_tables
        else:
            assert member is not None and member.measurement is not None
            read = stack.enter_context(Measurement(product, member.measurement, note.lines, note.samples))
            found = safe_s1.read_noise(product, member.noise) if member.noise else None
            state = calibrate.noise_state(safe_s1.ipf_of(product), found, note.noise_removed, True)
            tables = found if state == "yes" else None

        def noise(window: Window) -> NDArray[np.float64] | None:
            return None if tables is None else calibrate.noise_on_image(tables, window)

        return find_border(read, noise, note.lines, note.samples)


def tags(
    ctx: Context, product: SafeProduct, note: safe_s1.Annotation, orbit_file: str, found: Ground, pixels: Inputs
) -> dict[str, str]:
    """Tags of all rasters of a product: what was done, not what was asked."""
    conf = ctx.conf.preprocess
    values = {
        "BACKEND": "native", "RADIOMETRY": "gamma0_rtc" if conf.flatten else "gamma0_ellipsoid",
        "ORBIT_SOURCE": note.orbit_source, "ORBIT_FILE": orbit_file, "PASS": note.direction,
        "RELATIVE_ORBIT": product.manifest().relative_orbit, "ACQ_START": note.first_line_time, "ACQ_STOP": note.last_line_time,
        "IPF": "{}.{:02d}".format(*safe_s1.ipf_of(product)), "BORDER_NOISE": _border_tag(product, pixels),
        "DEM": height_raster(ctx).name, "DEM_VERTICAL": found.field.vertical, "GEOID": found.field.geoid,
        "POLARISATIONS_ABSENT": ",".join(safe_s1.absent(product, pixels.channels)) or "none",
        "RESAMPLING": conf.resampling, "SRGR_TIME": conf.srgr_time, "AZIMUTH_SPACING": conf.azimuth_spacing if conf.flatten else "none",
    }  # fmt: skip
    return {name: str(text) for name, text in values.items()}


def _border_tag(product: SafeProduct, pixels: Inputs) -> str:
    """dn0: the processor wrote DN 0 into borders; masked: found here; off: borders of an old product stay in."""
    if not calibrate.needs_border_mask(safe_s1.ipf_of(product)):
        return "dn0"
    return "off" if pixels.border is None else "masked"


def finer(grid: Grid) -> tuple[Grid, int]:
    """The grid of 10 m on which pixels of 20, 30 ... m are computed before power is averaged, and the factor.

    raises  ConfigError when the pixel is larger than 10 m and no multiple of it
    """
    factor = round(grid.dx / FINE_PX_M)
    if grid.dx <= FINE_PX_M:
        return grid, 1
    if abs(grid.dx - factor * FINE_PX_M) > 1e-6:
        raise ConfigError(f"area.pixel_m is {grid.dx:g}; Sentinel-1 makes multiples of 10 m.", "Use 10, 20 or 30.")
    fine = Grid(grid.epsg, grid.x0, grid.y0, grid.dx / factor, grid.dy / factor, grid.rows * factor, grid.cols * factor)
    return fine, factor


def write(
    ctx: Context, item: Any, grid: Grid, run: s1_run.Run, noise: dict[str, str], tags: dict[str, str],
    facts: dict[str, Any], pols: Sequence[str], factor: int = 1,
) -> None:  # fmt: skip
    """The contract's files of one product, from the blocks of a run, averaged by `factor`."""

    def blocks() -> Iterator[s1_run.Block]:
        try:
            parts = item.steps.each("map", run.blocks())
            for block in progress_of(ctx, parts, run.block_count, item.id):
                yield block if factor == 1 else s1_run.coarser(block, factor)
        except s1_run.LooksError as error:
            raise InputError(f"{item.id}: {error}.", "Set preprocess.speckle.enl to a number, such as 4.4.") from error

    def finish() -> _contract.Late:
        conf = ctx.conf.preprocess.speckle
        missing = {name: round(share, 6) for name, share in run.noise_missing_fraction.items()}
        if conf.filter == "none":
            return _contract.Late({"SPECKLE": dict.fromkeys(pols, "none")}, {"noise_missing_fraction": missing})
        used = {name: f"{conf.filter} {conf.window}x{conf.window} ENL {run.looks[name]:.3g}" for name in pols}
        looks = {name: round(value, 4) for name, value in run.looks.items()}
        return _contract.Late({"SPECKLE": used}, {"noise_missing_fraction": missing, "looks": looks})

    item.data.update(coverage=facts["coverage"])
    with item.steps("write"):
        _contract.write_s1(ctx, item, grid, pols, blocks(), tags, facts, noise, finish)
    item.steps.move(run.lines_s, "map", "lines")
