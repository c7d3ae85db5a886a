"""gpt runs of both sensors: what is handed to bash_scripts/gpt.sh, and what a configuration means for it."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts._heights_orbits import height_raster
from utils.io import dem, raster, safe_s1, snap_gpt, snap_heights
from utils.io.footprint import geometry_wkt, to_lonlat
from utils.io.ground import ground_under
from utils.io.snap_heights import NO_HEIGHT
from utils.science import s1_chain
from utils.science.geocode import image_geometry
from utils.science.grid import Grid
from utils.science.orbit import OrbitError
from utils.workflow.errors import ConfigError, ExternalError, InputError
from utils.workflow.files import atomic_text


@dataclass(frozen=True)
class GptRun:
    """One call of gpt.sh.

    bands   that the result must hold;  orbit: poeorb, resorb, annotation or any;  orbits: orbit file to link, if any
    """

    id: str
    path: Path
    graph: Path
    out: Path
    variables: Mapping[str, str]
    bands: tuple[str, ...]
    orbit: str
    orbits: Path | None
    pols: tuple[str, ...]
    verify: str

    def arguments(self) -> list[str]:
        """Arguments of gpt.sh."""
        options = ["--id", self.id, "--orbit", self.orbit, "--verify", self.verify]
        options += [word for band in self.bands for word in ("--band", band)]
        options += [word for pol in self.pols for word in ("--pol", pol)]
        values = [f"{name}={value}" for name, value in self.variables.items()]
        return [*options, str(self.graph), str(self.path), str(self.out), *values]

    def env(self, ctx: Any) -> dict[str, str]:
        """Environment of gpt.sh for a configuration."""
        conf = ctx.conf.snap
        wanted = {
            "SNAP_GPT": snap_gpt.find_gpt(conf.gpt), "SNAP_VERSION": conf.version, "SNAP_HEAP": conf.heap,
            "SNAP_CACHE": conf.cache, "SNAP_USERDIR": conf.userdir and ctx.resolve(conf.userdir),
            "SNAP_AUXDATA": conf.auxdata and ctx.resolve(conf.auxdata), "SNAP_ORBITS": self.orbits,
            "SNAP_LOGS": ctx.layout.logs / "snap", "SNAP_THREADS": ctx.conf.preprocess.threads or None,
        }  # fmt: skip
        return {name: str(value) for name, value in wanted.items() if value is not None}


def check_engine(ctx: Any) -> snap_gpt.Diagnosis:
    """gpt is there and has the wanted version; a dry run does not need it.

    raises  ExternalError (70) else, before any product is touched
    """
    conf = ctx.conf.snap
    if ctx.options.dry_run:
        return snap_gpt.Diagnosis(0, "", "", "")
    gpt = snap_gpt.find_gpt(conf.gpt)
    if gpt is None:
        raise ExternalError(
            f"preprocess.backend is snap, but gpt was not found{f' ({conf.gpt})' if conf.gpt else ''}.",
            "Install SNAP, load its module, or set snap.gpt to it; preprocess.backend: native needs no SNAP.",
        )
    found = snap_gpt.diagnose(gpt)
    if conf.version and found.version and found.version != conf.version:
        raise ExternalError(
            f"{gpt} is SNAP {found.version}, snap.version asks for {conf.version}.",
            "Load the right module, or correct snap.version.",
        )
    ctx.log.info("%s: %s", gpt, found)
    return found


def execute(ctx: Any, run: GptRun) -> Path:
    """Run gpt.sh; returns the .dim file. raises the error of its exit code."""
    return snap_gpt.run_script(run.arguments(), run.env(ctx), lambda line: ctx.log.info("%s", line))


def discard(ctx: Any, *dims: Path) -> None:
    """Delete what gpt.sh wrote once it is adopted, unless snap.keep_dimap; a .dim of the user's own is never touched."""
    for dim in dims:
        if not ctx.conf.snap.keep_dimap and dim.parent.parent.parent == ctx.layout.work / "snap":
            shutil.rmtree(dim.parent, ignore_errors=True)


def names_of(dims: Iterable[Path]) -> str:
    """Names of .dim files in one text, for product.json."""
    return ", ".join(dim.name for dim in dims)


def stem_of(dim: Path) -> str:
    """Name of a .dim file without its ending."""
    return dim.name.removesuffix(".dim")


def graph_file(ctx: Any, text: str) -> Path:
    """Write a graph where its content names it; runs of one configuration share it."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    path: Path = ctx.layout.work / "snap/graphs" / f"{digest}.xml"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        atomic_text(path, text)
    return path


def grown_wkt(grid: Grid, margin_m: float) -> str:
    """The grid's rectangle grown by a margin, as WKT in longitude and latitude."""
    from shapely.geometry import box

    x0, y0, x1, y1 = grid.bounds
    return geometry_wkt(to_lonlat(box(x0 - margin_m, y0 - margin_m, x1 + margin_m, y1 + margin_m), grid.epsg))


def ground_for_snap(ctx: Any, grid: Grid, note: safe_s1.Annotation) -> None:
    """The raster has heights for the area and the surroundings that its relief needs, as the native engine wants it.

    raises  InputError naming the missing area and its tiles, unless preprocess.dem.missing is sea
    """
    field = dem.RawHeights(height_raster(ctx), ctx.conf.preprocess.dem.missing)
    try:
        nodes = s1_chain.rough_nodes(image_geometry(note, ctx.conf.preprocess.srgr_time), grid)
    except OrbitError as error:
        raise InputError(f"{note.mission} {note.first_line_time}: {error}.", "Choose another product.") from error
    ground_under(field, grid, nodes)


def without_height(ctx: Any, grid: Grid) -> NDArray[np.bool_] | None:
    """Where the height raster of the configuration has no height; None without such a raster."""
    try:
        path = height_raster(ctx)
    except ConfigError:
        return None
    return dem.RawHeights(path).unknown(grid) if path.is_file() else None


def heights_of(ctx: Any) -> tuple[Path, str, float]:
    """Height raster of the configuration, its vertical datum, and the value that means no height.

    raises  ConfigError when there is no raster, its datum is unknown, or its nodata value is a height
    """
    conf = ctx.conf.preprocess.dem
    path = height_raster(ctx)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise ConfigError(f"{path.name}: SNAP reads heights from GeoTIFF.", "Convert it: gdal_translate in out.tif")
    info, datum = raster.info(path), dem.datum_of(path, conf.vertical)
    nodata = NO_HEIGHT if info.nodata is None or math.isnan(info.nodata) else float(info.nodata)
    if -500 <= nodata <= 9000:
        raise ConfigError(
            f"{path.name}: its nodata value {nodata:g} is a height; SNAP would cut holes there.",
            f"Give it another one: gdalwarp -dstnodata {NO_HEIGHT:g} in.tif out.tif",
        )
    return path, datum, nodata


def numeric_heights(ctx: Any) -> tuple[Path, float]:
    """Height raster to hand to SNAP, which knows no NaN, and the value that means no height; see heights_of."""
    path, _, nodata = heights_of(ctx)
    return snap_heights.with_number(path, ctx.layout.work / "snap/heights", nodata), nodata
