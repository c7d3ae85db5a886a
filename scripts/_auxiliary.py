"""Orbit files and heights of the pairs: what fetch_orbits and fetch_dem do, and download at its end.

`fetch_orbits` and `fetch_heights` do the work for a Job; both ask nothing when all is there.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts._options import CONF
from scripts._stage import guarded
from utils.workflow import config
from utils.workflow.errors import ConfigError, DiskError, Error, InputError, Interrupted, PartialError
from utils.workflow.files import remove_leftovers
from utils.workflow.layout import Layout
from utils.workflow.lock import Lock
from utils.workflow.schema import Conf

if TYPE_CHECKING:
    from utils.io.local_copy import Received
    from utils.io.orbits import Found
    from utils.io.staged import Fetch
    from utils.io.web import Web
    from utils.science.catalogue import Request
    from utils.science.product import Product

_MOSAIC = "dem"
_UNKNOWN_SIZE = 50 << 20  # of one height tile; orbit files have 5 MB


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """CONF and the options of both commands."""
    for option in (
        click.option("-q", "--quiet", is_flag=True, help="Only warnings and errors."),
        click.option("-v", "--verbose", count=True, help="More log."),
        click.option("--dry-run", is_flag=True, help="Say what would be fetched; search, but write nothing."),
        CONF,
    ):
        function = option(function)
    return function


@dataclass
class Job:
    """One call of a command that fetches what belongs to the pairs but is no product.

    warnings  W_RESORB and W_DEM_OCEAN of this call
    """

    conf: Conf
    conf_path: Path
    layout: Layout
    log: logging.Logger
    dry_run: bool
    warnings: list[str] = field(default_factory=list)

    @property
    def remedy(self) -> str:
        """What to do where there are no pairs."""
        return f"Run: make find_images CONF={self.conf_path}"

    def pairs(self) -> dict[str, Any]:
        """search/pairs.json.

        raises  InputError when it is missing, malformed or of another schema
        """
        from utils.science.pair_document import SCHEMA

        path, remedy = self.layout.pairs_json, self.remedy
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(f"{path}: missing, nothing was searched yet.", remedy) from error
        except ValueError as error:
            raise InputError(f"{path}: not readable as JSON ({error}).", remedy) from error
        if not isinstance(found, dict) or found.get("schema") != SCHEMA:
            raise InputError(f"{path}: its schema is not {SCHEMA}.", remedy)
        return found

    def records(self, mission: str) -> dict[str, dict[str, Any]]:
        """Records of the download lock of one mission whose files are there with their size."""
        from utils.io import download_lock, local_copy

        raw = self.layout.raw
        found = download_lock.read_lock(raw).items()
        return {n: r for n, r in found if r.get("mission") == mission and local_copy.intact(raw / r["file"], r)}

    def fetch(
        self, requests: Sequence[Request], folder: str, bring: Callable[[Request, Path], Received]
    ) -> list[tuple[str, Error]]:
        """Bring the files into raw/<folder>, the lock rewritten after each; returns those that failed, with why."""
        from utils.io import download_lock, local_copy, staged

        raw, failed = self.layout.raw, []
        sizes = [request.size or _UNKNOWN_SIZE for request in requests]
        local_copy.need_space(raw, sizes, self.conf.download.reserve_gib)
        for request in requests:
            self.warn(request)
            file = f"{folder}/{request.name}"
            try:
                record = staged.lock_record(request, bring(request, raw / file), file)
            except (DiskError, Interrupted):
                raise
            except Error as error:
                self.log.error("%s: %s", request.name, error)
                failed.append((request.name, error))
                continue
            download_lock.merge_lock(raw, {request.name.rpartition(".")[0]: record})
            self.log.info("%8.1f MiB  %s", record["size"] / 2**20, file)
        return failed

    def say(self, requests: Iterable[Request]) -> None:
        """What a run would fetch."""
        for request in requests:
            size = f"{request.size / 2**20:8.1f} MiB" if request.size else "  size ?     "
            self.log.info("dry run: %s  %s  %s", size, request.name, request.url or "written here")
            self.warn(request)

    def warn(self, request: Request) -> None:
        """Say what is unusual about a file, and keep it."""
        for warning in request.facts["warnings"]:
            self.warnings.append(warning)
            self.log.warning(warning)


@contextmanager
def job(name: str, conf: Path, dry_run: bool, verbose: int, quiet: bool) -> Iterator[Job]:
    """One call: errors become exit codes, and no download of the same work directory runs at the same time."""
    with guarded(name, verbose, quiet) as log:
        values = config.load(conf)
        if values.source != "search":
            raise ConfigError(f"{name}: source is {values.source}, no products are fetched.", "Set source: search.")
        one = Job(values, conf, config.layout_of(values), log, dry_run)
        if dry_run:
            yield one
            return
        one.pairs()  # before anything is created
        with Lock(one.layout.locks / "download.lock"):
            remove_leftovers(one.layout.raw)
            yield one


def client() -> Web:
    """The web client of a command; S2CR_TRIES sets how often a service is asked."""
    from utils.io.redact import install
    from utils.io.web import Web

    install()
    return Web(tries=int(os.environ.get("S2CR_TRIES", "10")))


def radar_products(one: Job) -> list[Product]:
    """Sentinel-1 products of the pairs that download.rank names, in order."""
    from utils.science.product import Product

    pairs, rank = one.pairs(), one.conf.download.rank
    try:
        chosen = [pair for pair in pairs["pairs"] if rank in ("all", pair["rank"])]
        names = [name for pair in chosen for date in ("date1", "date2") for name in pair[date]["s1"]["products"]]
        return [Product.from_json(pairs["products"][name]) for name in dict.fromkeys(names)]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{one.layout.pairs_json}: malformed ({error}).", one.remedy) from error


def area(one: Job) -> dict[str, Any]:
    """Polygon of the search, GeoJSON in degrees."""
    try:
        return dict(one.pairs()["aoi"]["geometry"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{one.layout.pairs_json}: no area in it ({error}).", one.remedy) from error


def over_http(one: Job, web: Web) -> Fetch:
    """The project's transfer, with the Copernicus login where a request asks for it; read when first needed."""
    from utils.io import auth, transfer
    from utils.io.web import host_of

    ends = one.conf.search.endpoints
    hosts = {*auth.CDSE_HOSTS, host_of(ends.cdse_download)}
    login = auth.Cdse(web, ends.cdse_identity, hosts)

    def fetch(request: Request, target: Path) -> Received:
        return transfer.fetch(request, target, web=web, auth=login if request.auth == "cdse" else None)

    return fetch


def judge(failed: Sequence[tuple[str, Error]], good: int) -> None:
    """Nothing when all is there.

    raises  PartialError (71) when some files are there, else the one error or, for several causes, PartialError
    """
    if not failed:
        return
    codes = {error.exit_code for _, error in failed}
    name, first = failed[0]
    error = PartialError(
        f"{len(failed)} of {len(failed) + good} failed; the first: {name}: {first.message}", first.remedy
    )
    if not good and len(codes) == 1:
        error.exit_code = codes.pop()
    raise error


def fetch_orbits(one: Job, web: Web, fetch: Fetch, folder: Path | None = None) -> None:
    """The orbit file of every Sentinel-1 pass into raw/orbits, named by the lock.

    folder  take the files from there and make no request
    raises  PartialError when a pass has no orbit file yet; see `judge`
    """
    from utils.io import download_lock, local_copy, orbits

    products, there = radar_products(one), one.records(download_lock.ORBIT)
    precise = {name for record in there.values() if record.get("orbit") == "POEORB" for name in record["products"]}
    waiting = [product for product in products if product.name not in precise]
    found = _search_orbits(one, waiting, folder, web) if waiting else orbits.Found((), ())
    requests = [_with_products(request, there) for request in found.requests]
    new = [request for request in requests if _key(request) not in there]
    if one.dry_run:
        one.say(new)
        return
    for request in requests:
        if _key(request) in there:
            record = {**there[_key(request)], "products": request.facts["products"]}
            download_lock.merge_lock(one.layout.raw, {_key(request): record})
            one.warn(request)
    if folder is not None:
        fetch = lambda request, path: local_copy.fetch_file(Path(request.url), path)  # noqa: E731
    failed = one.fetch(new, "orbits", lambda request, target: orbits.bring(request, target, fetch))
    fetched, had = len(new) - len(failed), len(products) - len(waiting)
    failed += [(name, orbits.missing_error([name])) for name in found.missing]
    one.log.info(
        "orbits: %d fetched, %d failed, %d of %d products had theirs", fetched, len(failed), had, len(products)
    )
    judge(failed, fetched + had)


def _search_orbits(one: Job, products: list[Product], folder: Path | None, web: Web) -> Found:
    from utils.io import orbits

    if folder is not None:
        return orbits.search_folder(products, folder)
    ends = one.conf.search.endpoints
    return orbits.search(products, web, catalogue_url=ends.cdse_catalogue, bucket_url=ends.orbits,
                         download_url=ends.cdse_download)  # fmt: skip


def _key(request: Request) -> str:
    return request.name.removesuffix(".EOF")


def _with_products(request: Request, there: dict[str, dict[str, Any]]) -> Request:
    """The request with the products that the lock already connects with its file."""
    old = there.get(_key(request), {}).get("products", [])
    return replace(request, facts={**request.facts, "products": sorted({*request.facts["products"], *old})})


def fetch_heights(one: Job, web: Web, fetch: Fetch) -> None:
    """The height tiles of the area into raw/dem, and dem.tif made of them, named by the lock.

    raises  InputError for land that GLO-30 does not release; see `judge`
    """
    from utils.io import dem_tiles, download_lock

    geometry, ends = area(one), one.conf.search.endpoints
    names, there = dem_tiles.tile_names(geometry), one.records(download_lock.DEM_TILE)
    new = dem_tiles.wanted(geometry, web, dem_30_url=ends.dem_30, dem_90_url=ends.dem_90, have=there)
    if one.dry_run:
        one.say(new)
        return
    failed = one.fetch(new, "dem", lambda request, target: dem_tiles.bring(request, target, fetch))
    one.log.info("heights: %d fetched, %d failed, %d of %d tiles were there", len(new) - len(failed), len(failed),
                 len(names) - len(new), len(names))  # fmt: skip
    judge(failed, len(names) - len(failed))
    _join(one, names)


def _join(one: Job, names: list[str]) -> None:
    """Write the mosaic, unless the one that is there holds the same tiles."""
    from utils.io import dem_tiles, download_lock, local_copy

    tiles = one.records(download_lock.DEM_TILE)
    digests = {name: tiles[name]["sha256"] for name in names}
    old = one.records(download_lock.DEM_MOSAIC).get(_MOSAIC)
    if old is not None and old["tiles"] == digests:
        return
    local_copy.need_space(one.layout.raw, [sum(tiles[name]["size"] for name in names)], one.conf.download.reserve_gib)
    raw, file = one.layout.raw, f"dem/{_MOSAIC}.tif"
    made = dem_tiles.mosaic([raw / tiles[name]["file"] for name in names], raw / file)
    record: dict[str, Any] = {**made.record(), "file": file, "mission": download_lock.DEM_MOSAIC, "provider": "dem",
                              "vertical": dem_tiles.VERTICAL, "tiles": digests}  # fmt: skip
    download_lock.merge_lock(raw, {_MOSAIC: record})
    one.log.info("%8.1f MiB  %s, %d tiles", record["size"] / 2**20, file, len(names))
