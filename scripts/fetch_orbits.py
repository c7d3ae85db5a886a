"""Fetch the precise orbit file of every Sentinel-1 pass of the pairs.

Reads   search/pairs.json; asks search.endpoints, or a folder of orbit files (--from)
Writes  raw/orbits/*.EOF, read-only; raw/downloads.lock.json names them and the products that they belong to
A pass without precise orbit yet gets the restituted one, with the warning W_RESORB; the next call asks for it again.
preprocess_s1 uses the files where preprocess.orbit is poeorb.
Exit 67 network, 71 some passes have no orbit file yet, 78 content refused

Example  ./s2cr fetch_orbits confs/nsw_south_coast.yaml
Example  ./s2cr fetch_orbits confs/nsw_south_coast.yaml --from /data/orbits
"""

if not __package__:
    import _direct  # noqa: F401
from pathlib import Path

import click

from scripts import _auxiliary

_TEXT, _, _EXAMPLE = (__doc__ or "").partition("\n\nExample")


@click.command("fetch_orbits", help=_TEXT.replace("\n\n", "\n\n\b\n", 1),
               epilog="\b\nExample:" + ("\nExample" + _EXAMPLE).replace("\nExample", "\n"))  # fmt: skip
@click.option("--from", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="FOLDER",
              help="Take the orbit files from this folder; no request is made.")  # fmt: skip
@_auxiliary.options
def run(conf: Path, folder: Path | None, dry_run: bool, verbose: int, quiet: bool) -> None:
    from utils.io import download_lock

    with _auxiliary.job("fetch_orbits", conf, dry_run, verbose, quiet) as job:
        web = _auxiliary.client()
        _auxiliary.fetch_orbits(job, web, _auxiliary.over_http(job, web), folder)
        if not dry_run:
            click.echo(job.layout.raw / download_lock.NAME)


if __name__ == "__main__":
    run()
