"""Fetch the Copernicus GLO-30 height tiles of the area and of 20 km around it, and make one raster of them.

Reads   search/pairs.json; asks search.endpoints.dem_30 and dem_90
Writes  raw/dem/Copernicus_DSM_COG_10_*.tif  tiles, read-only; zeros over open water, with the warning W_DEM_OCEAN
        raw/dem/dem.tif                      all of them, heights above EGM2008; raw/downloads.lock.json names both
preprocess_s1 uses raw/dem/dem.tif where preprocess.dem.path is empty; it needs preprocess.dem.geoid_grid then.
Exit 66 land that GLO-30 does not release, 67 network, 69 disk, 71 some tiles failed, 78 content refused

Example  ./s2cr fetch_dem confs/nsw_south_coast.yaml
"""

if not __package__:
    import _direct  # noqa: F401
from pathlib import Path
from typing import Any

import click

from scripts import _auxiliary

_TEXT, _, _EXAMPLE = (__doc__ or "").partition("\n\nExample")
_MOSAIC = "dem"


@click.command("fetch_dem", help=_TEXT.replace("\n\n", "\n\n\b\n", 1),
               epilog="\b\nExample:" + ("\nExample" + _EXAMPLE).replace("\nExample", "\n"))  # fmt: skip
@_auxiliary.options
def run(conf: Path, dry_run: bool, verbose: int, quiet: bool) -> None:
    from utils.io import dem_tiles, download_lock
    from utils.io.web import Web

    with _auxiliary.job("fetch_dem", conf, dry_run, verbose, quiet) as job:
        web, area, ends = Web(), _auxiliary.area(job), job.conf.search.endpoints
        names = dem_tiles.tile_names(area)
        there = job.records(download_lock.DEM_TILE)
        new = dem_tiles.wanted(area, web, dem_30_url=ends.dem_30, dem_90_url=ends.dem_90, have=there)
        if job.conf.preprocess.dem.path is not None:
            job.log.warning("preprocess.dem.path is set: preprocess_s1 will use that file, not these tiles")
        if dry_run:
            job.say(new)
            return
        fetch = _auxiliary.over_http(job, web)
        failed = job.fetch(new, "dem", lambda request, target: dem_tiles.bring(request, target, fetch))
        job.log.info("fetch_dem: %d fetched, %d failed, %d of %d tiles were there", len(new) - len(failed), len(failed),
                     len(names) - len(new), len(names))  # fmt: skip
        _auxiliary.judge(failed, len(names) - len(failed))
        _join(job, names)
        click.echo(job.layout.raw / download_lock.NAME)


def _join(job: _auxiliary.Job, names: list[str]) -> None:
    """Write the mosaic, unless the one that is there holds the same tiles."""
    from utils.io import dem_tiles, download_lock, local_copy

    tiles = job.records(download_lock.DEM_TILE)
    digests = {name: tiles[name]["sha256"] for name in names}
    old = job.records(download_lock.DEM_MOSAIC).get(_MOSAIC)
    if old is not None and old["tiles"] == digests:
        return
    local_copy.need_space(job.layout.raw, [sum(tiles[name]["size"] for name in names)], job.conf.download.reserve_gib)
    raw, file = job.layout.raw, f"dem/{_MOSAIC}.tif"
    made = dem_tiles.mosaic([raw / tiles[name]["file"] for name in names], raw / file)
    record: dict[str, Any] = {**made.record(), "file": file, "mission": download_lock.DEM_MOSAIC, "provider": "dem",
                              "vertical": dem_tiles.VERTICAL, "tiles": digests}  # fmt: skip
    download_lock.merge_lock(raw, {_MOSAIC: record})
    job.log.info("%8.1f MiB  %s, %d tiles", record["size"] / 2**20, file, len(names))


if __name__ == "__main__":
    run()
