"""What stage download has to fetch, and the workers that fetch it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts._progress import Progress
from scripts._stage import Context
from utils.workflow.errors import ConfigError, InputError, OfflineProductError

if TYPE_CHECKING:
    from utils.io.auth import Login
    from utils.io.transfer import Received
    from utils.science.catalogue import Request
    from utils.science.product import Product
    from utils.workflow.schema import Conf

ORBITS, HEIGHTS = "orbits", "heights"
_LOOK_S = 0.5  # how often the main thread looks for progress and signals


@dataclass(frozen=True)
class Wanted:
    """One product or height raster.

    source   file or folder of a local archive; None = from `provider`
    product  catalogue record, for a download
    target   zip or folder in raw/;  date: date1, date2 or dem
    """

    name: str
    target: Path
    mission: str
    date: str
    pairs: tuple[str, ...]
    provider: str = "local"
    source: Path | None = None
    product: Product | None = None

    def size(self) -> int | None:
        """Bytes, None = unknown."""
        from utils.io.local_copy import size_of

        if self.source is not None:
            return size_of(self.source) if self.source.exists() else 0
        return self.product.size or None if self.product else None


def read_pairs(ctx: Context) -> dict[str, Any]:
    """search/pairs.json.

    raises  InputError when it is missing, malformed or of another schema
    """
    from utils.science.pair_document import SCHEMA

    path = ctx.layout.pairs_json
    remedy = f"Run: make find_images CONF={ctx.conf_path}"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable ({type(error).__name__}).", remedy) from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise InputError(f"{path}: its schema is not {SCHEMA}.", remedy)
    return document


def candidates(ctx: Context, document: dict[str, Any]) -> list[dict[str, Any]]:
    """Pairs that may be fetched: those of the rank, and the next ones in case it proves cloudy.

    Pairs of a local archive were measured and cost no transfer: all of them, rank chooses among downloads.
    """
    rank = ctx.conf.download.rank
    local = document["provider"]["download"] == "local"
    return [pair for pair in document["pairs"] if rank == "all" or local or pair["rank"] >= rank]


def plan(
    ctx: Context, document: dict[str, Any], pairs: Sequence[dict[str, Any]], sensors: Sequence[str] = ("s2", "s1")
) -> dict[str, Wanted]:
    """Everything that the pairs name, by product: S2 first, because a bad scene makes its radar data useless."""
    found: dict[str, Wanted] = {}
    for sensor in sensors:
        for pair in pairs:
            for date in ("date1", "date2"):
                for name in pair[date][sensor]["products"]:
                    one = found.get(name) or _wanted(ctx, document, name, date)
                    found[name] = replace(one, pairs=tuple(dict.fromkeys((*one.pairs, pair["id"]))))
    if ctx.conf.preprocess.dem.path is not None and "s1" in sensors:
        dem = ctx.resolve(ctx.conf.preprocess.dem.path)
        found[dem.stem] = Wanted(dem.stem, ctx.layout.raw / "dem" / dem.name, "DEM", "dem", (), source=dem)
    return found


def _wanted(ctx: Context, document: dict[str, Any], name: str, date: str) -> Wanted:
    from utils.science.product import Product

    record, provider = document["products"][name], document["provider"]["download"]
    unpacked, source, product = ctx.conf.download.unpack, None, None
    if provider == "local":
        if ctx.conf.search.archive is None:
            raise ConfigError("search.archive is not set.", "Set it to the folder that find_images searched.")
        archive = ctx.resolve(ctx.conf.search.archive)  # a static catalogue: addresses are relative to its folder
        source = (archive.parent if archive.suffix == ".json" else archive) / record["href"]
        unpacked = unpacked or source.is_dir()
    else:
        product = Product.from_json(record)
    target = ctx.layout.raw / date / f"{name}{'.SAFE' if unpacked else '.zip'}"
    return Wanted(name, target, record["mission"], date, (), provider, source, product)


def more(conf: Conf) -> list[str]:
    """What an online provider's products need besides, as far as the configuration asks for it."""
    heights = conf.download.dem and conf.preprocess.dem.path is None
    return [ORBITS] * conf.download.orbits + [HEIGHTS] * heights


class Online:
    """The services of a run: one web client, one login a service, the addresses of the configuration."""

    def __init__(self, ctx: Context, document: dict[str, Any]) -> None:
        from utils.io import auth
        from utils.io.redact import install
        from utils.io.web import Web, host_of

        install()
        self._ends, self._exact = ctx.conf.search.endpoints, ctx.conf.search.exact_names
        self._area = document["aoi"].get("geometry")
        self.web = web = Web(
            keep_alive=False, connections=ctx.conf.download.jobs, tries=int(os.environ.get("S2CR_TRIES", "10"))
        )
        e = self._ends
        self._logins: dict[str, Login] = {
            "cdse": auth.Cdse(web, e.cdse_identity, {*auth.CDSE_HOSTS, host_of(e.cdse_download)}),
            "sara": auth.Basic({host_of(e.sara)}),
            "planetary": auth.Signer(web, e.planetary_sas),
        }

    def login(self, request: Request) -> Login | None:
        """Credentials that a request asks for by name."""
        return self._logins.get(request.auth)

    def fetch(self, request: Request, target: Path) -> Received:
        """One file in this thread; a signal ends it."""
        from utils.io import transfer

        return transfer.fetch(request, target, web=self.web, auth=self.login(request))

    def request(self, wanted: Wanted, again: bool = False) -> Request:
        """Where the bytes of a product are; a product of another catalogue is looked up by its name first.

        again   look it up although its address is known: it was not there any more
        raises  OfflineProductError, InputError, ConfigError (a provider that serves no archives), NetworkError
        """
        product = wanted.product
        if product is None:
            raise RuntimeError("a local product has no request")
        module = import_module(f"utils.io.{wanted.provider}")
        if again or product.provider != wanted.provider:
            product = self._find(module, product, wanted.provider)
        if not product.online:
            raise OfflineProductError(
                f"{product.name} is archived, not online.", "Order it at the service, then run the same command again."
            )
        found: Request = module.locate(product, self._address(wanted.provider, bytes_=True))
        return found

    def _find(self, module: Any, product: Product, provider: str) -> Product:
        address = self._address(provider, bytes_=False)
        more = {} if provider == "cdse" else {"geometry": self._area}
        found: Product | None = module.find_version(product.name, self.web, address, **more)
        if found is None:
            raise InputError(
                f"{product.name}: {provider} does not have it, nor a reprocessing of it.",
                "Set search.download_from to another provider, or run make find_images again.",
            )
        if found.name != product.name and self._exact:
            raise InputError(
                f"{product.name}: replaced by {found.name}.", "Set search.exact_names: false to accept it."
            )
        return found

    def _address(self, provider: str, bytes_: bool) -> str:
        e = self._ends
        return {"sara": e.sara, "cdse": e.cdse_download if bytes_ else e.cdse_catalogue, "stac": e.stac}[provider]

    def question(self, wanted: Wanted) -> str:
        """The first request that would be made, for --dry-run; makes none itself."""
        from utils.io.part import without_query

        product = wanted.product
        if product is None:
            return ""
        if product.provider != wanted.provider:
            return f"{self._address(wanted.provider, bytes_=False)} (looked up by name)"
        return without_query(self.request(wanted).url)


class Workers:
    """Threads that fetch; leaving the block stops them after the current chunk.

    fetch      called with an item and a function that says whether to stop
    interrupt  ends reads that wait for a silent server
    """

    def __init__(
        self,
        jobs: int,
        progress: Progress,
        fetch: Callable[[Wanted, Callable[[], bool]], Any],
        interrupt: Callable[[], None],
    ) -> None:
        self._fetch, self._interrupt = fetch, interrupt
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="download")
        self._stop = threading.Event()
        self._futures: dict[str, Future[Any]] = {}
        self.progress = progress

    def start(self, wanted: Wanted) -> None:
        """Queue one; what is queued already stays as it is."""
        if wanted.name not in self._futures:
            self._futures[wanted.name] = self._pool.submit(self._fetch, wanted, self._stop.is_set)

    def result(self, wanted: Wanted) -> Any:
        """Wait for one; raises what its fetch raised. Signals and progress lines come through meanwhile."""
        self.start(wanted)
        name, future = wanted.name, self._futures[wanted.name]
        while True:
            try:
                found = future.result(timeout=_LOOK_S)
                self.progress.done(name)
                return found
            except NotYet:
                if future.done():  # the fetch itself timed out
                    raise
                self.progress.tick()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._interrupt()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.progress.close()


def bring(
    ctx: Context, online: Online | None, progress: Progress, wanted: Wanted, stop: Callable[[], bool]
) -> tuple[Received, str]:
    """Fetch, verify and, where it was asked for, unpack one file; returns what was received and the product's name
    where a reprocessing took its place, else an empty text."""
    from utils.io import local_copy

    if wanted.target.is_dir() and wanted.source is None and not ctx.options.force:
        return local_copy.received_folder(wanted.target, wanted.name), ""
    zipped = wanted.target.with_suffix(".zip") if wanted.target.suffix == ".SAFE" else wanted.target
    if ctx.options.force and zipped.exists():
        zipped.unlink()
    if wanted.source is not None:
        return _bring_local(ctx, wanted, zipped), ""
    if online is None:
        raise RuntimeError("no online services for a download")
    received, instead = _bring_online(ctx, online, progress, wanted, zipped, stop)
    return (_unpacked(received, zipped, wanted.target), instead) if zipped != wanted.target else (received, instead)


def _bring_local(ctx: Context, wanted: Wanted, zipped: Path) -> Received:
    from utils.io import local_copy

    source = wanted.source
    if source is None or not source.exists():
        raise InputError(f"{source}: no such file.", "Run make find_images again: the archive has changed.")
    if wanted.mission == "DEM":
        return local_copy.fetch_file(source, wanted.target)
    if source.is_dir():
        return local_copy.fetch_local(source, wanted.target, wanted.name, ctx.conf.download.link)
    received = local_copy.fetch_local(source, zipped, wanted.name, ctx.conf.download.link)
    return received if zipped == wanted.target else _unpacked(received, zipped, wanted.target)


def _bring_online(
    ctx: Context, online: Online, progress: Progress, wanted: Wanted, zipped: Path, stop: Callable[[], bool]
) -> tuple[Received, str]:
    from utils.io import transfer
    from utils.io.web import NotThereError

    def fetch(request: Request) -> Received:
        return transfer.fetch(
            request, zipped, web=online.web, auth=online.login(request), progress=progress.of(wanted.name), stop=stop,
            accept_stale_checksum=ctx.conf.download.accept_stale_checksum,
        )  # fmt: skip

    request = online.request(wanted)
    try:
        received = fetch(request)
    except NotThereError:
        other = online.request(wanted, again=True)
        if other.url == request.url:
            raise
        request, received = other, fetch(other)
    return received, request.product if request.product not in ("", wanted.name) else ""


def _unpacked(received: Received, zipped: Path, target: Path) -> Received:
    """Unpack a verified zip and remove it; size and SHA-256 are then those of the folder."""
    import shutil

    from utils.io import local_copy, unpack

    if target.exists():  # of an earlier configuration, or --force
        shutil.rmtree(target)
    unpack.unpack(zipped, target)
    zipped.unlink()
    return replace(received, size=local_copy.size_of(target), sha256=local_copy.folder_digest(target),
                   verified=(*received.verified, "unpacked"))  # fmt: skip
