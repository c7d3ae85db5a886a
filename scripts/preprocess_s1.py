"""Turn Sentinel-1 IW GRD products into terrain-flattened gamma0 on the grid of the area.

Reads   raw/downloads.lock.json and the products that it names, the height raster of preprocess.dem
Writes  preprocessed/sentinel1/<product>/gamma0_vv.tif, gamma0_vh.tif  float32 linear power, nodata NaN
        mask.tif  uint8 bits: 1 layover, 2 shadow, 4 no sample, 8 height missing, 16 border noise
        incidence.tif (on request, degrees), product.json, quicklook.png
Items   one per product; --part i/N
Fails   65 heights unclear, 66 product broken, 70 backend snap, 71 some products failed, 72 all outside the area
Example  ./s2cr preprocess_s1 confs/demo.yaml
"""

if not __package__:
    import _direct  # noqa: F401
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    from utils.io.dem import Heights
    from utils.io.safe import SafeProduct
    from utils.io.safe_s1 import Annotation
    from utils.science.geocode import ImageGeometry
    from utils.science.grid import Grid, Window
    from utils.science.s1_chain import Channel, Prepared, Result


@stage("preprocess_s1")
def run(ctx: Context) -> Report:
    from utils.io.download_lock import products_of
    from utils.io.footprint import aoi_grid
    from utils.io.safe import open_product
    from utils.science.threads import use_threads
    from utils.workflow import config
    from utils.workflow.errors import ConfigError, ExternalError, NothingFoundError

    conf = ctx.conf.preprocess
    if conf.backend == "snap":
        raise ExternalError(
            "preprocess.backend is snap, but the SNAP engine comes with bash_scripts/ in a later release.",
            "Set preprocess.backend: native.",
        )
    if conf.dem.path is None:
        raise ConfigError(
            "preprocess.dem.path is not set.", "Set it to a height raster of the area and its surroundings."
        )
    use_threads(conf.threads)
    grid = aoi_grid(ctx.conf.area, config.ROOT, ctx.layout.work, config.scene_dir(ctx.conf))
    paths = products_of(ctx.layout.raw, "S1")
    for item in ctx.todo(paths, unit="product"):
        with item, open_product(paths[item.id]) as product:
            _convert(ctx, item, product, grid)
    if paths and not ctx.partial and {ctx.status_of(name) for name in paths} == {"skipped"}:
        raise NothingFoundError(
            f"none of the {len(paths)} Sentinel-1 products covers the area.",
            "Search again with the right area: make find_images.",
        )
    return ctx.report(summary=f"{grid.rows} x {grid.cols} px, EPSG:{grid.epsg}")


def _convert(ctx: Context, item: Any, product: "SafeProduct", grid: "Grid") -> None:
    """One product, from zip to rasters; nothing is written before all of it is computed."""
    from utils.io import safe_s1
    from utils.science import s1_chain
    from utils.science.geocode import image_geometry, make_nodes
    from utils.science.orbit import OrbitError
    from utils.workflow.errors import InputError

    conf = ctx.conf.preprocess
    members = safe_s1.require(product, conf.polarisations, conf.verify)
    notes = {name: safe_s1.read_annotation(product, m.annotation) for name, m in members.items()}
    main, orbit_file = _with_orbit(ctx, next(iter(notes.values())))
    try:
        geometry = image_geometry(main, conf.srgr_time)
    except OrbitError as error:
        raise InputError(f"{product.name}: {error}.", "Choose another product.") from error
    share = s1_chain.coverage_share(make_nodes(geometry, grid, 0.0, 500.0), geometry)
    if share == 0 or share < conf.min_overlap:
        item.skip(f"outside: the product covers {100 * share:.1f} % of the area")
    heights, grown, inner = _heights(ctx, grid, geometry)
    prepared = s1_chain.prepare(geometry, grown, inner, heights.height_m, heights.missing, _options(ctx))
    if prepared.image_window is None:
        item.skip("outside: no pixel of the product falls on the area")
        return
    channels, border, noise = _channels(ctx, product, members, notes, prepared.image_window)
    result = s1_chain.process(prepared, channels, _options(ctx), border)
    tags = {
        "BACKEND": "native", "RADIOMETRY": "gamma0_rtc" if conf.flatten else "gamma0_ellipsoid",
        "ORBIT_SOURCE": main.orbit_source, "ORBIT_FILE": orbit_file, "PASS": main.direction,
        "RELATIVE_ORBIT": product.manifest().relative_orbit, "ACQ_START": main.first_line_time, "ACQ_STOP": main.last_line_time,
        "IPF": "{}.{:02d}".format(*safe_s1.ipf_of(product)), "BORDER_NOISE": "dn0" if border is None else "masked",
        "SPECKLE": f"{conf.speckle.filter} {conf.speckle.window}x{conf.speckle.window} ENL {conf.speckle.enl}",
        "DEM": ctx.resolve(conf.dem.path or "").name, "DEM_VERTICAL": heights.vertical, "GEOID": heights.geoid,
        "RESAMPLING": conf.resampling, "SRGR_TIME": conf.srgr_time, "AZIMUTH_SPACING": conf.azimuth_spacing,
    }  # fmt: skip
    facts = {
        "coverage": round(share, 6),
        "orbit_residual_m": round(geometry.orbit.position_residual_m, 6),
        "noise": noise,
    }
    _write(ctx, item, grid, prepared, result, {name: str(text) for name, text in tags.items()}, facts)


def _options(ctx: Context) -> Any:
    from utils.science.s1_chain import Options

    conf = ctx.conf.preprocess
    return Options(
        conf.flatten, conf.azimuth_spacing, conf.resampling, conf.speckle.filter, conf.speckle.window,
        conf.speckle.sigma, conf.speckle.enl, conf.incidence,
    )  # fmt: skip


def _with_orbit(ctx: Context, note: "Annotation") -> tuple["Annotation", str]:
    """The annotation with the configured orbit, and the name of the orbit file."""
    from utils.io.orbit_file import find_precise, read_orbit_file

    if ctx.conf.preprocess.orbit == "annotation":
        return note, "annotation"
    path = find_precise(ctx.layout.raw / "orbits", note.mission, note.first_line_time, note.last_line_time)
    states = read_orbit_file(path, note.mission, note.first_line_time, note.last_line_time)
    precise = replace(
        note, orbit_times=states.times, orbit_position_m=states.position_m, orbit_velocity_m_s=states.velocity_m_s
    )
    return precise, path.name


def _heights(ctx: Context, grid: "Grid", geometry: "ImageGeometry") -> tuple["Heights", "Grid", "Window"]:
    """Heights on the area's grid, grown until no terrain outside can matter."""
    from utils.io.dem import read_heights
    from utils.science.geocode import make_nodes
    from utils.science.grid import Window
    from utils.science.s1_chain import margin_px

    dem = ctx.conf.preprocess.dem
    path = ctx.resolve(dem.path or "")
    copy = ctx.layout.raw / "dem" / path.name
    geoid = ctx.resolve(dem.geoid_grid) if dem.geoid_grid else None
    margin, nodes = 0, make_nodes(geometry, grid, 0.0, 500.0)
    needed = margin_px(nodes, 0.0)
    while margin < needed:
        margin = needed
        grown = grid.window(Window(-margin, -margin, grid.rows + 2 * margin, grid.cols + 2 * margin))
        heights = read_heights(copy if copy.is_file() else path, grown, dem.vertical, geoid, dem.missing)
        needed = margin_px(nodes, float(heights.height_m.max() - heights.height_m.min()))
    return heights, grown, Window(margin, margin, grid.rows, grid.cols)


def _channels(
    ctx: Context, product: "SafeProduct", members: Any, notes: dict[str, "Annotation"], window: "Window"
) -> tuple[dict[str, "Channel"], Any, dict[str, Any]]:
    """Pixels and tables of all polarisations over the needed window, the border mask, and what happens to noise."""
    from utils.io import safe_s1
    from utils.science import calibrate, s1_chain

    conf, ipf = ctx.conf.preprocess, safe_s1.ipf_of(product)
    mask_border = conf.border_noise and calibrate.needs_border_mask(ipf)
    channels: dict[str, Channel] = {}
    states, border = {}, None
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
        channels[name] = s1_chain.Channel(dn[inner], safe_s1.read_calibration(product, member.calibration), used)
    return channels, border, states


def _write(
    ctx: Context,
    item: Any,
    grid: "Grid",
    prepared: "Prepared",
    result: "Result",
    tags: dict[str, str],
    facts: dict[str, Any],
) -> None:
    """The contract's files of one product."""
    from utils.io import pictures, raster
    from utils.science.s1_chain import fractions
    from utils.workflow.files import atomic_json

    folder, nan = ctx.layout.preprocessed("sentinel1", item.id), float("nan")
    noise, shares = facts.pop("noise"), {name: fractions(values) for name, values in result.gamma0.items()}
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
