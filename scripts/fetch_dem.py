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

import click

from scripts import _auxiliary

_TEXT, _, _EXAMPLE = (__doc__ or "").partition("\n\nExample")


@click.command("fetch_dem", help=_TEXT.replace("\n\n", "\n\n\b\n", 1),
               epilog="\b\nExample:" + ("\nExample" + _EXAMPLE).replace("\nExample", "\n"))  # fmt: skip
@_auxiliary.options
def run(conf: Path, dry_run: bool, verbose: int, quiet: bool) -> None:
    from utils.io import download_lock

    with _auxiliary.job("fetch_dem", conf, dry_run, verbose, quiet) as job:
        web = _auxiliary.client()
        if job.conf.preprocess.dem.path is not None:
            job.log.warning("preprocess.dem.path is set: preprocess_s1 will use that file, not these tiles")
        _auxiliary.fetch_heights(job, web, _auxiliary.over_http(job, web))
        if not dry_run:
            click.echo(job.layout.raw / download_lock.NAME)


if __name__ == "__main__":
    run()
