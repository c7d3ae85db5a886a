"""The SNAP engine of preprocess_s1: which gpt run a product needs, and how its result becomes the contract's files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts import _contract, _snap_input, _snap_run
from scripts._context import Context, Item, Report
from scripts._heights_orbits import orbit_paths
from scripts._snap_run import GptRun, check_engine, discard, execute, graph_file, grown_wkt, heights_of, names_of
from utils.io import dimap, safe_s1, snap_graph
from utils.io.download_lock import products_of
from utils.io.footprint import aoi_grid, to_utm
from utils.io.orbit_file import find_precise
from utils.io.safe import SafeProduct, open_product
from utils.io.snap_done import Done, done_by_all
from utils.science.grid import Grid, Window
from utils.science.s1_run import Block
from utils.workflow import config
from utils.workflow.errors import ConfigError, ExternalError, InputError, NothingFoundError

AOI_MARGIN_M = 5000.0  # SNAP cuts in radar geometry: the rotated image and its filters need room
CLIPPED_BELOW = 1e-6  # SNAP lifts negative power to about 4.5e-11 in beta0: that is "at the noise floor", not a value
SHARED_BANDS = ("layoverShadowMask", "localIncidenceAngle")  # of the ground alone: the same for each polarisation
_FILTERS = {"none": "None", "lee": "Lee", "refined_lee": "Refined Lee", "lee_sigma": "Lee Sigma"}
_BLOCK_ROWS = 1024


def run_snap_s1(ctx: Context) -> Report:
    """Every Sentinel-1 product through gpt, then into the contract's files."""
    check_engine(ctx)
    grid, paths = target_grid(ctx), products_of(ctx.layout.raw, "S1")
    plan_choice(ctx, "poeorb")  # settings that SNAP cannot do are refused before the first product
    for item in ctx.todo(paths, unit="product"):
        with item, open_product(paths[item.id]) as product:
            _snap_input.check(paths[item.id], polarisations(ctx, product), (), ctx.conf.preprocess.verify)
            _skip_outside(ctx, item, product, grid)
            dim = execute(ctx, plan_s1(ctx, item.id, paths[item.id], product, grid))
            _adopt(ctx, item, product, [dim], grid)
            discard(ctx, dim)
    return _report(ctx, paths, grid)


def adopt_s1(ctx: Context, dims: Sequence[Path]) -> Report:
    """Only the given .dim files, whoever made them; the other products stay to be done."""
    grid, paths = target_grid(ctx), products_of(ctx.layout.raw, "S1")
    adopt_each(ctx, dims, paths, grid, _adopt, _skip_if_outside)
    return _report(ctx, paths, grid)


def adopt_each(
    ctx: Context, dims: Sequence[Path], paths: Mapping[str, Path], grid: Grid,
    adopt: Callable[[Context, Item, SafeProduct, list[Path], Grid], None],
    skip_if_outside: Callable[[Context, Item, Path, Grid], None],
) -> None:  # fmt: skip
    """Adopt the products that the .dim files belong to; the others are left, or recorded as outside."""
    chosen = match_products(dims, paths)
    for item in ctx.todo(paths, unit="product"):
        if item.id in chosen:
            with item, open_product(paths[item.id]) as product:
                adopt(ctx, item, product, chosen[item.id], grid)
                discard(ctx, *chosen[item.id])
        else:
            skip_if_outside(ctx, item, paths[item.id], grid)
    leave_the_rest(ctx, paths, chosen)


def leave_the_rest(ctx: Context, paths: Mapping[str, Path], chosen: Iterable[str]) -> None:
    """End of an adoption: products that nobody has done yet leave the stage open.

    raises  InputError when a chosen product is not in the part of this call
    """
    missed = [name for name in chosen if ctx.status_of(name) == ""]
    if missed and not ctx.options.dry_run:
        raise InputError(f"{missed[0]} belongs to another part of the products.", "Give its --part, or none.")
    if any(ctx.status_of(name) == "" for name in paths):
        ctx.stop()


def match_products(dims: Iterable[Path], paths: Mapping[str, Path]) -> dict[str, list[Path]]:
    """Product id -> its .dim files, by the name: SNAP appends what it did to it. Several hold one band each.

    raises  InputError when a .dim belongs to no product of the download lock
    """
    chosen: dict[str, list[Path]] = {}
    for dim in dims:
        fitting = [name for name in paths if _snap_run.stem_of(dim).startswith(name)]
        if len(fitting) != 1:
            raise InputError(
                f"{dim.name} belongs to none of the downloaded products ({', '.join(sorted(paths)) or 'none'}).",
                "Give the .dim the name of its product, or download that product.",
            )
        known = chosen.setdefault(fitting[0], [])
        known += [dim] if dim not in known else []
    return chosen


def polarisations(ctx: Any, product: SafeProduct) -> tuple[str, ...]:
    """Polarisations to process; the word `available` means those that the product holds."""
    wanted: Any = ctx.conf.preprocess.polarisations
    if wanted != "available":
        return tuple(wanted)
    there = safe_s1.find_members(product)
    return tuple(name for name in ("VV", "VH") if name in there and there[name].measurement is not None)


def target_grid(ctx: Any) -> Grid:
    return aoi_grid(ctx.conf.area, config.ROOT, ctx.layout.work, config.scene_dir(ctx.conf))


def _report(ctx: Context, paths: Mapping[str, Path], grid: Grid) -> Report:
    if paths and not ctx.partial and {ctx.status_of(name) for name in paths} == {"skipped"}:
        raise NothingFoundError(
            f"none of the {len(paths)} Sentinel-1 products covers the area.",
            "Search again with the right area: make find_images.",
        )
    return ctx.report(summary=f"{grid.rows} x {grid.cols} px, EPSG:{grid.epsg}, SNAP")


def coverage(product: SafeProduct, grid: Grid) -> float:
    """Share of the grid under the footprint that the manifest gives, 0..1."""
    from shapely.geometry import Polygon, box

    ring = product.manifest().footprint
    if len(ring) < 3:
        return 1.0
    area = box(*grid.bounds)
    footprint = to_utm(Polygon(ring), grid.epsg)
    return float(footprint.buffer(0).intersection(area).area / area.area)


def _skip_outside(ctx: Context, item: Any, product: SafeProduct, grid: Grid) -> None:
    share = coverage(product, grid)
    item.data.update(coverage=round(share, 6))
    if share == 0 or share < ctx.conf.preprocess.min_overlap:
        item.skip(f"outside: the product covers {100 * share:.1f} % of the area")


def _skip_if_outside(ctx: Context, item: Any, path: Path, grid: Grid) -> None:
    """Record a product that was not adopted because there is nothing to adopt; all others stay to be done."""
    try:
        with open_product(path) as product:
            share = coverage(product, grid)
    except InputError:
        return
    if share == 0 or share < ctx.conf.preprocess.min_overlap:
        with item:
            item.skip(f"outside: the product covers {100 * share:.1f} % of the area")


def plan_s1(ctx: Any, name: str, path: Path, product: SafeProduct, grid: Grid) -> GptRun:
    """The gpt run of one product.

    ctx     anything with conf, layout, resolve and warn
    raises  ConfigError for settings that SNAP cannot do; InputError when the wanted orbit is not there
    """
    conf = ctx.conf.preprocess
    orbit, orbits = _orbit(ctx, product)
    choice = plan_choice(ctx, orbit)
    dem, nodata = _snap_run.numeric_heights(ctx)
    _snap_run.ground_for_snap(ctx, grid, _note(product))
    pols = polarisations(ctx, product)
    bands = [f"Gamma0_{pol}" for pol in pols] + ["layoverShadowMask"] + ["localIncidenceAngle"] * conf.incidence
    text = snap_graph.s1_graph((config.ROOT / "snap-confs/s1_grd.xml").read_text(encoding="utf-8"), choice)
    variables = {
        "aoi_wkt": grown_wkt(grid, AOI_MARGIN_M), "dem": str(dem), "dem_nodata": f"{nodata:g}",
        "crs": f"EPSG:{grid.epsg}", "speckle": _FILTERS[conf.speckle.filter],
    }  # fmt: skip
    out = ctx.layout.work / "snap/sentinel1"
    return GptRun(name, path, graph_file(ctx, text), out, variables, tuple(bands), orbit, orbits, pols, conf.verify)


def plan_choice(ctx: Any, orbit: snap_graph.Orbit) -> snap_graph.S1Choice:
    """The configuration as choices of the graph.

    raises  ConfigError naming the key that SNAP cannot follow
    """
    conf, pixel_m = ctx.conf.preprocess, ctx.conf.area.pixel_m
    if pixel_m not in (10, 20):
        raise ConfigError(
            f"area.pixel_m is {pixel_m:g}; the graphs make 10 or 20 m.", "Use 10 or 20, or the native engine."
        )
    if not conf.flatten:
        raise ConfigError("preprocess.flatten is false; the graphs of SNAP always flatten.", "Use the native engine.")
    _, vertical, _ = heights_of(ctx)
    filtered = conf.speckle.filter
    if filtered == "refined_lee" and conf.speckle.window != 7:
        raise ConfigError("SNAP's refined Lee has a window of 7 pixels.", "Set preprocess.speckle.window: 7.")
    choice = snap_graph.S1Choice(
        orbit=orbit, noise=conf.noise, border_noise=conf.border_noise, spacing_m=20 if pixel_m == 20 else 10,
        ellipsoid=vertical == "ellipsoid", nearest=conf.resampling == "nearest", incidence=conf.incidence,
        window=conf.speckle.window if filtered != "none" else 7, sides=filtered == "lee",
        sigma=conf.speckle.sigma if filtered == "lee_sigma" else 0.9,
    )  # fmt: skip
    try:
        snap_graph.s1_graph((config.ROOT / "snap-confs/s1_grd.xml").read_text(encoding="utf-8"), choice)
    except ValueError as error:
        raise ConfigError(f"preprocess.speckle: {error}.", "Choose one of those, or the native engine.") from error
    return choice


def _orbit(ctx: Any, product: SafeProduct) -> tuple[snap_graph.Orbit, Path | None]:
    """Kind of orbit and its file: what the download lock names, else what the shared auxdata of SNAP may hold."""
    if ctx.conf.preprocess.orbit == "annotation":
        return "annotation", None
    note = _note(product)
    try:
        path = find_precise(orbit_paths(ctx), note.mission, note.first_line_time, note.last_line_time)
    except InputError:
        if ctx.conf.snap.auxdata:
            return "poeorb", None
        raise
    if "AUX_RESORB" in path.name:
        ctx.warn(f"W_RESORB: {note.mission} {note.first_line_time}: no precise orbit is at hand; {path.name} is used")
        return "resorb", path
    return "poeorb", path


def _allowed(ctx: Any, product: SafeProduct) -> tuple[str, ...]:
    """Orbit kinds that an adopted product may have; where none was fetched, SNAP may have found a precise one itself."""
    try:
        kind = _orbit(ctx, product)[0]
    except InputError:
        kind = "poeorb"
    return {"annotation": (), "poeorb": ("POEORB",), "resorb": ("POEORB", "RESORB")}[kind]


def _note(product: SafeProduct) -> safe_s1.Annotation:
    members = safe_s1.find_members(product)
    if not members:
        raise InputError(f"{product.name}: it has no annotation.", "Download it again: make download CONF=...")
    return safe_s1.read_annotation(product, next(iter(members.values())).annotation)


# -- adoption ----------------------------------------------------------------------------------------------------------


def _adopt(ctx: Context, item: Any, product: SafeProduct, dims: Sequence[Path], grid: Grid) -> None:
    """One product of gpt to the contract's files, after the proof that the wanted orbit was applied."""
    conf = ctx.conf.preprocess
    opened, done = dimap.open_parts(dims, SHARED_BANDS), done_by_all(dims)
    bands: dict[str, str] = {pol: f"Gamma0_{pol}" for pol in polarisations(ctx, product)}
    angle = ["localIncidenceAngle"] * conf.incidence
    dimap.check_bands(opened, [*bands.values(), "layoverShadowMask", *angle])
    note = _note(product)
    used = dimap.orbit_used(opened)
    fault = dimap.orbit_fault(used, _allowed(ctx, product), note.mission, note.first_line_time, note.last_line_time)
    if fault:
        raise ExternalError(
            f"{opened.path.name}: the wanted orbit was not applied: {fault}.",
            "Run gpt again with that orbit, or set preprocess.orbit to what was applied.",
        )

    def blocks() -> Iterator[Block]:
        for row in range(0, grid.rows, _BLOCK_ROWS):
            window = Window(row, 0, min(_BLOCK_ROWS, grid.rows - row), grid.cols)
            here = grid.window(window)
            yield block_of(opened, bands, here, window, bool(angle), _snap_run.without_height(ctx, here))

    noise = {pol: _noise_removed(product, pol, done, note.noise_removed) for pol in bands}
    share = coverage(product, grid)
    facts = {
        "coverage": round(share, 6),
        "snap": {"dim": names_of(dims), "version": done.version, "graph": done.graph_sha256},
    }
    item.data.update(coverage=facts["coverage"])
    absent = ",".join(safe_s1.absent(product, bands)) or "none"
    tags = {**_tags(ctx, product, note, done, used), "POLARISATIONS_ABSENT": absent}
    _contract.write_s1(ctx, item, grid, list(bands), blocks(), tags, facts, noise)


def block_of(
    opened: dimap.Dimap, bands: Mapping[str, str], grid: Grid, window: Window, incidence: bool,
    unknown: NDArray[np.bool_] | None = None,
) -> Block:  # fmt: skip
    """Rows of a .dim on the grid: SNAP's nodata 0 to NaN, its clipped noise to 0, its mask to bits 1 and 2.

    unknown  where there is no height: SNAP gives no value there, which is no missing sample
    """
    mask, _ = dimap.read_stored(opened, "layoverShadowMask", grid)
    bits = (mask & 3).astype(np.uint8)
    missing = np.full(bits.shape, _contract.BITS["no_sample"], np.uint8)
    if unknown is not None:
        bits |= np.where(unknown, _contract.BITS["no_height"], 0).astype(np.uint8)
        missing[unknown] = 0
    empty = np.zeros(bits.shape, bool)
    gamma0: dict[str, NDArray[np.float32]] = {}
    for pol, name in bands.items():
        values = dimap.read_on_grid(opened, name, grid)
        gone = np.isnan(values) | (values == 0)
        values[gone] = np.nan
        values[(values > 0) & (values < CLIPPED_BELOW)] = 0
        bits |= np.where(gone, missing, 0).astype(np.uint8)
        empty |= gone
        gamma0[pol] = values
    hidden = empty | (bits & _contract.BITS["shadow"] > 0)
    for values in gamma0.values():
        values[hidden] = np.nan
    angle = None
    if incidence:
        angle = dimap.read_on_grid(opened, "localIncidenceAngle", grid)
        angle[angle == 0] = np.nan
    return Block(window, gamma0, bits, angle)


def _noise_removed(product: SafeProduct, pol: str, done: Done, already: bool) -> str:
    """What the graph did about thermal noise, given what the product holds."""
    if not done.known:
        return "unknown"
    if not done.noise:
        return "off"
    if already:
        return "already"
    member = safe_s1.find_members(product)[pol].noise
    if member is None:
        return "no_data"
    tables = safe_s1.read_noise(product, member)
    return "yes" if any(np.any(row > 0) for row in tables.range_vectors.values) else "no_data"


def _tags(
    ctx: Context, product: SafeProduct, note: safe_s1.Annotation, done: Done, used: dimap.OrbitUsed
) -> dict[str, Any]:
    """What was done, as far as it is known: a .dim without its graph says only what its metadata say."""
    ipf = safe_s1.ipf_of(product)
    unknown = "unknown"
    border = unknown if not done.known else "off" if not done.border else "dn0" if ipf >= (2, 90) else "masked"
    vertical = unknown
    if done.known:
        vertical = heights_of(ctx)[1] if done.egm else "ellipsoid"
    return {
        "BACKEND": "snap", "RADIOMETRY": "gamma0_rtc", "ORBIT_SOURCE": used.kind or note.orbit_source,
        "ORBIT_FILE": used.file if used.kind else "annotation", "PASS": note.direction,
        "RELATIVE_ORBIT": product.manifest().relative_orbit, "ACQ_START": note.first_line_time, "ACQ_STOP": note.last_line_time,
        "IPF": "{}.{:02d}".format(*ipf), "BORDER_NOISE": border, "SPECKLE": done.speckle or unknown, "DEM": done.dem or unknown,
        "DEM_VERTICAL": vertical, "GEOID": ("EGM96" if done.egm else "none") if done.known else unknown,
        "RESAMPLING": done.resampling or unknown, "SRGR_TIME": "linear", "AZIMUTH_SPACING": "nominal",
        "SNAP_VERSION": done.version or unknown, "SNAP_GRAPH": done.graph_sha256[:12] or unknown,
    }  # fmt: skip
