"""Steps of preprocess_s1 between files and arrays: orbit, heights, pixels and tables, rasters of one product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts._context import Context
from scripts._item import progress_of
from utils.io import pictures, row_writer, safe_s1
from utils.io.dem import HeightField
from utils.io.download_lock import fetched_heights, orbit_files
from utils.io.ground import Ground, ground_under
from utils.io.orbit_file import find_precise, read_orbit_file
from utils.io.safe import SafeProduct
from utils.io.safe_s1_pixels import Measurement
from utils.science import calibrate, s1_chain, s1_run
from utils.science.border import BorderMask, find_border
from utils.science.geocode import MapNodes
from utils.science.grid import Grid, Window
from utils.science.thumbnail import Thumbnail
from utils.workflow.errors import ConfigError, InputError
from utils.workflow.files import atomic_json


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
    folder = ctx.conf.preprocess.orbit_dir
    more = sorted(ctx.resolve(folder).glob("*.EOF")) if folder else []
    files = [*orbit_files(ctx.layout.raw), *more]
    path = find_precise(files, note.mission, note.first_line_time, note.last_line_time)
    if "AUX_RESORB" in path.name:
        ctx.warn(f"W_RESORB: {note.mission} {note.first_line_time}: no precise orbit is at hand; {path.name} is used")
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
        if states[name] == "no_data":
            ctx.warn(f"{product.name}: no usable thermal noise table for {name}; the noise stays in")
        pixels = stack.enter_context(Measurement(product, member.measurement, note.lines, note.samples))
        beta = safe_s1.read_calibration(product, member.calibration)
        channels[name] = s1_chain.Channel(pixels, beta, tables if states[name] == "yes" else None)
    border = None
    if conf.border_noise and calibrate.needs_border_mask(ipf):
        first = next(iter(channels))
        border = _border(channels[first], notes[first])
    return Inputs(channels, border, states)


def _border(channel: s1_chain.Channel, note: safe_s1.Annotation) -> BorderMask:
    tables = channel.noise_tables

    def noise(window: Window) -> NDArray[np.float64] | None:
        return None if tables is None else calibrate.noise_on_image(tables, window)

    return find_border(channel.read, noise, note.lines, note.samples)


def tags(
    ctx: Context, product: SafeProduct, note: safe_s1.Annotation, orbit_file: str, found: Ground, pixels: Inputs
) -> dict[str, str]:
    """Tags of all rasters of a product: what was done, not what was asked."""
    conf = ctx.conf.preprocess
    values = {
        "BACKEND": "native", "RADIOMETRY": "gamma0_rtc" if conf.flatten else "gamma0_ellipsoid",
        "ORBIT_SOURCE": note.orbit_source, "ORBIT_FILE": orbit_file, "PASS": note.direction,
        "RELATIVE_ORBIT": product.manifest().relative_orbit, "ACQ_START": note.first_line_time, "ACQ_STOP": note.last_line_time,
        "IPF": "{}.{:02d}".format(*safe_s1.ipf_of(product)), "BORDER_NOISE": "dn0" if pixels.border is None else "masked",
        "DEM": height_raster(ctx).name, "DEM_VERTICAL": found.field.vertical, "GEOID": found.field.geoid,
        "POLARISATIONS_ABSENT": ",".join(safe_s1.absent(product, pixels.channels)) or "none",
        "RESAMPLING": conf.resampling, "SRGR_TIME": conf.srgr_time, "AZIMUTH_SPACING": conf.azimuth_spacing,
    }  # fmt: skip
    return {name: str(text) for name, text in values.items()}


class Rasters:
    """The contract's rasters of one product, written block by block; counts what they hold.

    Use as a context manager: the files get their names when the block ends without error.
    """

    def __init__(self, ctx: Context, item: Any, grid: Grid, pols: Sequence[str], tags: Mapping[str, str]) -> None:
        self._ctx, self._grid = ctx, grid
        self.folder: Path = ctx.layout.preprocessed("sentinel1", item.id)
        self._item, self._tags = item, tags
        self._stack = ExitStack()
        self._valid = dict.fromkeys(pols, 0)
        self._nonpositive = dict.fromkeys(pols, 0)
        self._bits = dict.fromkeys((1, 2, 4, 8, 16), 0)
        self.thumbnails = {name: Thumbnail(grid.rows, grid.cols) for name in pols}
        self._gamma0 = {name: self._open(f"gamma0_{name.lower()}", "float32", "m2/m2", name) for name in pols}
        self._mask = self._open("mask", "uint8", "bits")
        angle = ctx.conf.preprocess.incidence
        self._incidence = self._open("incidence", "float32", "degree") if angle else None

    def _open(self, name: str, dtype: str, units: str, band: str = "") -> row_writer.Writer:
        more = {"POLARISATION": band} if band else {}
        opened = row_writer.writer(
            self._item.output(self.folder / f"{name}.tif"), self._grid, 1, dtype, band_names=(band,) if band else (),
            nodata=float("nan") if dtype == "float32" else None,
            tags=self._ctx.tags(units, [self._item.id], **self._tags, **more), threads=self._ctx.conf.preprocess.threads,
        )  # fmt: skip
        return self._stack.enter_context(opened)

    def __enter__(self) -> Rasters:
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._stack.__exit__(*error)
        finally:
            if error[0] is not None and self.folder.is_dir() and not any(self.folder.iterdir()):
                self.folder.rmdir()

    def add(self, block: s1_run.Block) -> None:
        """Write some rows of all rasters."""
        row = block.window.row
        for name, values in block.gamma0.items():
            self._gamma0[name].write(values[None], row, 0)
            valid = np.isfinite(values)
            self._valid[name] += int(valid.sum())
            self._nonpositive[name] += int(np.count_nonzero(values[valid] <= 0))
            self.thumbnails[name].add(values, row)
        self._mask.write(block.mask[None], row, 0)
        for bit in self._bits:
            self._bits[bit] += int(np.count_nonzero(block.mask & bit))
        if self._incidence is not None and block.incidence_deg is not None:
            self._incidence.write(block.incidence_deg[None], row, 0)

    @property
    def shares(self) -> dict[str, dict[str, float]]:
        """Shares of pixels without value and, among the others, of pixels at or below zero, by polarisation."""
        total = self._grid.rows * self._grid.cols
        return {
            name: {
                "nodata": round(1.0 - count / total, 6),
                "nonpositive": round(self._nonpositive[name] / count, 6) if count else 0.0,
            }
            for name, count in self._valid.items()
        }

    @property
    def mask_fraction(self) -> dict[str, float]:
        """Share of each mask bit."""
        return {f"bit{bit}": round(n / (self._grid.rows * self._grid.cols), 6) for bit, n in self._bits.items()}

    def tag(self, noise: Mapping[str, str], looks: Mapping[str, float]) -> None:
        """Tags that are known only after the last block: what was done, not what was asked."""
        conf = self._ctx.conf.preprocess.speckle
        for name, out in self._gamma0.items():
            share = self.shares[name]
            used = (
                "none" if conf.filter == "none" else f"{conf.filter} {conf.window}x{conf.window} ENL {looks[name]:.3g}"
            )
            out.set_tags(
                {
                    "NOISE_REMOVED": noise[name], "NODATA_FRACTION": str(share["nodata"]),
                    "NONPOSITIVE_FRACTION": str(share["nonpositive"]), "SPECKLE": used,
                }
            )  # fmt: skip


def write(
    ctx: Context, item: Any, grid: Grid, run: s1_run.Run, noise: dict[str, str], tags: dict[str, str],
    facts: dict[str, Any], pols: Sequence[str],
) -> None:  # fmt: skip
    """The contract's files of one product, from the blocks of a run."""
    with Rasters(ctx, item, grid, pols, tags) as rasters:
        try:
            for block in progress_of(ctx, run.blocks(), run.block_count, item.id):
                rasters.add(block)
        except s1_run.LooksError as error:
            raise InputError(f"{item.id}: {error}.", "Set preprocess.speckle.enl to a number, such as 4.4.") from error
        if all(share["nodata"] == 1.0 for share in rasters.shares.values()):
            item.skip("outside: no pixel of the product falls on the area")
        rasters.tag(noise, run.looks)
    folder = rasters.folder
    if ctx.conf.preprocess.quicklook:
        first, last = (rasters.thumbnails[name].mean() for name in (pols[0], pols[-1]))
        pictures.write_png(item.output(folder / "quicklook.png"), pictures.radar(first, last))
    settings = ctx.conf.preprocess.model_dump(mode="json", exclude={"threads": True, "dem": {"path", "geoid_grid"}})
    missing = {name: round(share, 6) for name, share in run.noise_missing_fraction.items()}
    looks = {} if ctx.conf.preprocess.speckle.filter == "none" else {n: round(v, 4) for n, v in run.looks.items()}
    record = {
        **facts, "tags": tags, "noise_removed": noise, "shares": rasters.shares, "mask_fraction": rasters.mask_fraction,
        "grid": grid.to_dict(), "noise_missing_fraction": missing, "looks": looks, "options": settings,
    }  # fmt: skip
    atomic_json(item.output(folder / "product.json"), record)
    item.data.update(coverage=facts["coverage"], shares=rasters.shares, noise_removed=noise)
