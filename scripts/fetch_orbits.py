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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts import _auxiliary

if TYPE_CHECKING:
    from utils.io.orbits import Found
    from utils.io.web import Web
    from utils.science.catalogue import Request
    from utils.science.product import Product

_TEXT, _, _EXAMPLE = (__doc__ or "").partition("\n\nExample")


@click.command("fetch_orbits", help=_TEXT.replace("\n\n", "\n\n\b\n", 1),
               epilog="\b\nExample:" + ("\nExample" + _EXAMPLE).replace("\nExample", "\n"))  # fmt: skip
@click.option("--from", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="FOLDER",
              help="Take the orbit files from this folder; no request is made.")  # fmt: skip
@_auxiliary.options
def run(conf: Path, folder: Path | None, dry_run: bool, verbose: int, quiet: bool) -> None:
    from utils.io import download_lock, local_copy, orbits
    from utils.io.web import Web

    with _auxiliary.job("fetch_orbits", conf, dry_run, verbose, quiet) as job:
        web, products = Web(), _auxiliary.radar_products(job)
        there = job.records(download_lock.ORBIT)
        precise = {name for record in there.values() if record.get("orbit") == "POEORB" for name in record["products"]}
        waiting = [product for product in products if product.name not in precise]
        found = _search(job, waiting, folder, web) if waiting else orbits.Found((), ())
        requests = [_with_products(request, there) for request in found.requests]
        new = [request for request in requests if _key(request) not in there]
        if dry_run:
            job.say(new)
            return
        for request in requests:
            if _key(request) in there:
                record = {**there[_key(request)], "products": request.facts["products"]}
                download_lock.merge_lock(job.layout.raw, {_key(request): record})
                job.warn(request)
        fetch = (lambda r, path: local_copy.fetch_file(Path(r.url), path)) if folder else _auxiliary.over_http(job, web)
        failed = job.fetch(new, "orbits", lambda request, target: orbits.bring(request, target, fetch))
        fetched = len(new) - len(failed)
        failed += [(one, orbits.missing_error([one])) for one in found.missing]
        job.log.info("fetch_orbits: %d fetched, %d failed, %d of %d products had theirs", fetched, len(failed),
                     len(products) - len(waiting), len(products))  # fmt: skip
        _auxiliary.judge(failed, fetched + len(products) - len(waiting))
        click.echo(job.layout.raw / download_lock.NAME)


def _search(job: _auxiliary.Job, products: "list[Product]", folder: Path | None, web: "Web") -> "Found":
    from utils.io import orbits

    if folder is not None:
        return orbits.search_folder(products, folder)
    ends = job.conf.search.endpoints
    return orbits.search(products, web, catalogue_url=ends.cdse_catalogue, bucket_url=ends.orbits,
                         download_url=ends.cdse_download)  # fmt: skip


def _key(request: "Request") -> str:
    return request.name.removesuffix(".EOF")


def _with_products(request: "Request", there: dict[str, dict[str, Any]]) -> "Request":
    """The request with the products that the lock already connects with its file."""
    old = there.get(_key(request), {}).get("products", [])
    return replace(request, facts={**request.facts, "products": sorted({*request.facts["products"], *old})})


if __name__ == "__main__":
    run()
