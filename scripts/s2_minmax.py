"""Yearly minimum and maximum of Sentinel-2 bands and indices over the area, per tile, from Earth Engine.

Reads   area.geojson; COPERNICUS/S2_SR_HARMONIZED at 20 m, one request a year (search.gee_project names the account)
Writes  search/minmax/s2_minmax.csv   year,tile,band,images,min,max   reflectance 0..1 and index values
        search/minmax/s2_minmax.json  the same rows with their provenance
Fails   65 area, years or project, 67 network, 72 no image in any year, 76 login

Only pixels that Cloud Score+ calls clear count: with clouds and their shadows the range would be that of the weather.
Example  ./s2cr s2_minmax confs/nsw_south_coast.yaml --years 2019 2020
Example  ./s2cr s2_minmax confs/nsw_south_coast.yaml --bands B02,B03,B04,B08 --indices NDVI --dry-run
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401
import datetime as dt
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts._options import CONF
from scripts._stage import guarded

if TYPE_CHECKING:
    from utils.workflow.schema import Conf

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
INDICES = ("NDVI", "EVI")
FIRST_YEAR = 2017  # the collection of surface reflectance begins in March 2017
COLUMNS = ("year", "tile", "band", "images", "min", "max")
_TEXT, _, _EXAMPLES = (__doc__ or "").partition("\nExample")
_EPILOG = "\b\nExample:\n" + "\n".join(
    f"  {line.removeprefix('Example').strip()}" for line in _EXAMPLES.strip().splitlines()
)


def _names(allowed: tuple[str, ...]) -> Any:
    def check(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[str, ...] | None:
        names = None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())
        unknown = [name for name in names or () if name not in allowed]
        if unknown:
            raise click.BadParameter(f"{', '.join(unknown)}: there are {', '.join(allowed)}", ctx, param)
        return None if names is None else tuple(dict.fromkeys(names))

    return check


@click.command("s2_minmax", help=_TEXT.replace("\n\n", "\n\n\b\n", 1), epilog=_EPILOG)
@CONF
@click.option(
    "--years", nargs=2, type=int, metavar="A B", help="First and last year; default: those of dates.t0 to t1."
)
@click.option("--bands", callback=_names(BANDS), metavar="LIST",
              help="Bands, separated by commas; default: the optical bands of the configuration.")  # fmt: skip
@click.option("--indices", callback=_names(INDICES), default=",".join(INDICES), show_default=True, metavar="LIST",
              help="Indices, separated by commas; may be empty.")  # fmt: skip
@click.option("--all-pixels", is_flag=True, help="Count clouds and shadows too.")
@click.option("--dry-run", is_flag=True, help="Say what would be asked; ask and write nothing.")
def run(conf: Path, years: tuple[int, int] | None, bands: tuple[str, ...] | None, indices: tuple[str, ...],
        all_pixels: bool, dry_run: bool) -> None:  # fmt: skip
    from utils.workflow import config
    from utils.workflow.files import atomic_json, atomic_text

    with guarded("s2_minmax") as log:
        c = config.load(conf)
        facts = _facts(
            c, conf, _years(c, years), bands if bands is not None else _default_bands(c), indices, all_pixels
        )
        folder = config.layout_of(c).search / "minmax"
        if dry_run:
            first, last = facts["years"]
            log.info("would ask %d time(s), %d to %d: %s of %s", last - first + 1, first, last,
                     ", ".join((*facts["bands"], *facts["indices"])), facts["collection"])  # fmt: skip
            click.echo(folder / "s2_minmax.csv")
            return
        rows = _ask(c, facts, log)
        lines = [",".join("" if row[name] is None else str(row[name]) for name in COLUMNS) for row in rows]
        atomic_text(folder / "s2_minmax.csv", "\n".join([",".join(COLUMNS), *lines]) + "\n")
        atomic_json(folder / "s2_minmax.json", facts | {"rows": rows})
        log.info("s2_minmax: %d rows, %d tile(s)", len(rows), len({row["tile"] for row in rows}))
        click.echo(folder / "s2_minmax.csv")


def _years(c: Conf, years: tuple[int, int] | None) -> tuple[int, int]:
    from utils.workflow.errors import ConfigError

    windows = (c.dates.t0, c.dates.t1)
    ends = [w.start for w in windows if w.start] + [w.end - dt.timedelta(days=1) for w in windows if w.end]
    if years is None and not ends:
        raise ConfigError("No years: dates.t0 and dates.t1 are not set.", "Give --years, such as --years 2019 2020.")
    first, last = years or (min(ends).year, max(ends).year)
    newest = dt.datetime.now(dt.UTC).year
    if not FIRST_YEAR <= first <= last <= newest:
        raise ConfigError(
            f"--years {first} {last}: not within {FIRST_YEAR} to {newest}.", "Give the earlier year first."
        )
    return first, last


def _default_bands(c: Conf) -> tuple[str, ...]:
    return tuple(name for name in BANDS if name in (*c.dataset.s2_bands, *c.dataset.extra_bands))


def _facts(c: Conf, conf: Path, years: tuple[int, int], bands: tuple[str, ...], indices: tuple[str, ...],
           all_pixels: bool) -> dict[str, Any]:  # fmt: skip
    """Everything that the numbers depend on; the head of the JSON file."""
    from shapely.geometry import mapping

    from scripts._provenance import code_version
    from utils.io import footprint, gee_graph
    from utils.science.cloud_score import CLEAR_CS, SCALE_M
    from utils.workflow import config
    from utils.workflow.errors import ConfigError
    from utils.workflow.files import sha256_bytes, sha256_file

    if not c.area.geojson:
        raise ConfigError("area.geojson is not set.", "Set it in the configuration; ./s2cr conf explain describes it.")
    if not (bands or indices):
        raise ConfigError("Neither a band nor an index is asked for.", "Name some with --bands or --indices.")
    path = config.resolve(c, c.area.geojson)
    geometry = json.loads(json.dumps(mapping(footprint.aoi_geometry(path))))
    return {
        "schema": "s2cr.s2_minmax/1", "created": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "code": code_version(), "conf_sha256": sha256_file(conf), "collection": gee_graph.S2["L2A"],
        "area": {"sha256": sha256_file(path), "geometry": geometry, "geometry_sha256": sha256_bytes(json.dumps(geometry).encode())},
        "years": list(years), "bands": list(bands), "indices": list(indices), "scale_m": SCALE_M,
        "clear": None if all_pixels else {"collection": gee_graph.CLOUD_SCORE_PLUS, "cs_at_least": CLEAR_CS},
        "units": "reflectance 0..1, index value",
    }  # fmt: skip


def _ask(c: Conf, facts: dict[str, Any], log: logging.Logger) -> list[dict[str, Any]]:
    from utils.io import gee
    from utils.workflow.errors import NothingFoundError

    gee.start(c.search.gee_project, c.search.endpoints.gee)
    rows: list[dict[str, Any]] = []
    first, last = facts["years"]
    for year in range(first, last + 1):
        found = gee.yearly_range(facts["area"]["geometry"], year, facts["bands"], facts["indices"], facts["clear"] is not None)  # fmt: skip
        log.info("%d: %d tile(s)", year, len({row["tile"] for row in found}))
        rows += [{"year": year} | row for row in found]
    if not rows:
        raise NothingFoundError(
            f"No Sentinel-2 image over the area from {first} to {last}.", "Check area.geojson, or give other --years."
        )
    return rows


if __name__ == "__main__":
    run()
