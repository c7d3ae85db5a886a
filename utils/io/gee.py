"""Provider gee: search with cloud measured over the area, on Earth Engine's servers. No product byte passes here.

The only module that imports the client, and only inside functions. One request per month and sensor returns all
properties and pixel counts; images that a cloud method lacks are asked for once more with the next method. The client
retries by itself (429, 5xx, resets), so nothing is retried here. What is asked is built in utils/io/gee_graph.py.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn
from urllib.parse import urlsplit

from utils.io import gee_graph
from utils.science import gee_records
from utils.science.catalogue import Query
from utils.science.cloud import CloudStats
from utils.science.gee_records import Found
from utils.science.product import Product
from utils.workflow.errors import ConfigError, CredentialError, Error, InputError, NetworkError

DEADLINE_S = 360.0  # the service itself gives up after 5 minutes; without one a dead connection waits for ever
_GOOGLE = "https://earthengine.googleapis.com"
_LOGIN = "Run once: earthengine authenticate (in .venv/bin), then the same command again."
_PROJECT = "Set search.gee_project to a Google Cloud project that is registered for Earth Engine."


def start(project: str | None, url: str | None = None, credentials: Any = None) -> None:
    """Connect the client.

    project      Google Cloud project;  url: another server (tests, a mirror), None = Google's own
    credentials  google.auth object; None = those stored by `earthengine authenticate`, which go to Google's hosts only
    raises       CredentialError without login, ConfigError without project, NetworkError
    """
    if not project:
        raise ConfigError("search.gee_project is not set.", _PROJECT)
    with _translated():
        import ee
        from google.auth import credentials as auth

        host = urlsplit(url or _GOOGLE).hostname or ""
        anonymous: Any = auth.AnonymousCredentials
        stored = "persistent" if host.endswith(".googleapis.com") else anonymous()
        ee.Initialize(credentials or stored, url=url, project=project)
        ee.data.setDeadline(DEADLINE_S * 1000)


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of the client in the project's words."""
    import ee
    import google.auth.exceptions as auth
    import httplib2
    import requests
    from googleapiclient.errors import HttpError

    try:
        yield
    except (ee.EEException, HttpError) as error:
        raise _error(error) from error
    except (auth.TransportError, requests.RequestException, httplib2.HttpLib2Error, OSError) as error:
        name = type(error).__name__
        raise NetworkError(f"Earth Engine: no answer ({name}).", "Check the network, then run it again.") from error
    except auth.GoogleAuthError as error:
        raise CredentialError("Earth Engine: the stored login is not accepted.", _LOGIN) from error


def _error(error: Exception) -> Error:
    cause = error if hasattr(error, "resp") else error.__context__
    status = int(getattr(getattr(cause, "resp", None), "status", 0))
    text = str(error) if status == 0 else f"HTTP {status}: {getattr(cause, 'reason', None) or error}"
    text = " ".join(text.split())[:300].rstrip(".")
    if "no project found" in text or ("project" in text.lower() and status == 403):
        return ConfigError(f"Earth Engine: {text}.", _PROJECT)
    if "Please authorize access" in text or status in (401, 403):
        return CredentialError(f"Earth Engine: {text}.", _LOGIN)
    if status == 429 or status >= 500:
        return NetworkError(f"Earth Engine: {text}.", "The client has retried already; run the same command later.")
    return InputError(f"Earth Engine: {text}.", "Make the area or the dates smaller, or set search.cloud_method: scl.")


def ask(build: Callable[[Any], Any]) -> Any:
    """The computed value of what `build` makes of the client: one HTTP request, JSON answer."""
    with _translated():
        import ee

        return ee.data.computeValue(build(ee))


def _rows(build: Callable[[Any], Any]) -> list[dict[str, Any]]:
    return [feature["properties"] for feature in ask(build)["features"]]


def _month(query: Query, window: tuple[dt.datetime, dt.datetime], method: str) -> tuple[list[Found], list[str]]:
    if query.mission == "S1":
        return gee_records.found(_rows(lambda ee: gee_graph.s1_request(ee, query, window)), query, {}, window)
    rows: dict[str, Mapping[str, Any]] = {}
    methods: dict[str, str] = {}
    missing: list[str] = []
    for name in gee_records.methods_of(method):
        request = partial(gee_graph.s2_request, query=query, window=window, method=name, only=missing)
        for row in _rows(request):
            rows[row["index"]], methods[row["index"]] = row, name
        missing = sorted(index for index, row in rows.items() if gee_records.is_missing(row))
        if not missing:
            break
    return gee_records.found(rows.values(), query, methods, window)


class Scenes:
    """Answer of a search: found (in order of query, month and name), unnamed indices, and cloud of scenes.

    `cloud` asks the server only for scenes of more than one tile: one request per month, for all of them.
    """

    def __init__(self, queries: Sequence[Query], method: str = "auto") -> None:
        self._optical = next((query for query in queries if query.mission == "S2"), queries[0])
        items: list[Found] = []
        self.unnamed: list[str] = []
        for query in queries:
            for window in gee_records.months(query.start, query.end):
                found, unnamed = _month(query, window, method)
                items += found
                self.unnamed += unnamed
        self._by_name = {item.product.name: item for item in gee_records.with_warnings(items)}
        self._measured: dict[tuple[str, ...], CloudStats | None] = {}

    @property
    def found(self) -> tuple[Found, ...]:
        return tuple(self._by_name.values())

    @property
    def products(self) -> tuple[Product, ...]:
        return tuple(item.product for item in self.found)

    def method(self, products: Sequence[Product]) -> str:
        """Names of the cloud methods of these products, joined by +; empty where one was not measured."""
        used = {self._by_name[product.name].method for product in products}
        return "" if "" in used else "+".join(sorted(used))

    def cloud(self, products: Sequence[Product]) -> CloudStats | None:
        """Cloud over the area of the products of one datatake together; None where one was not measured."""
        items = [self._by_name[product.name] for product in products]
        if len(items) == 1 or any(item.cloud is None for item in items):
            return items[0].cloud if len(items) == 1 else None
        key = tuple(sorted(item.product.name for item in items))
        if key not in self._measured:
            self._measure(items)
        return self._measured[key]

    def _measure(self, items: Sequence[Found]) -> None:
        tiles = frozenset(item.product.tile for item in items)
        first = items[0].product.start
        same = [i for i in self.found if (i.product.start.year, i.product.start.month) == (first.year, first.month)]
        scenes = gee_records.scenes_of(same, tiles)
        names = [tuple(item.product.name for item in scene) for scene in scenes]
        wanted = tuple(sorted(item.product.name for item in items))
        if wanted not in names:  # a datatake with two datastrips of one tile, of which one was chosen
            scenes, names = [*scenes, tuple(items)], [*names, wanted]
        for row in _rows(partial(gee_graph.scenes_request, query=self._optical, scenes=scenes)):
            self._measured[names[int(row["scene"])]] = gee_records.statistics(row)


def yearly_range(geometry: Mapping[str, Any], year: int, bands: Sequence[str], indices: Sequence[str],
                 clear_only: bool = True) -> list[dict[str, Any]]:  # fmt: skip
    """Smallest and largest reflectance and index of a year per tile over an area, in one request.

    bands, indices  names of the project, such as B02 and NDVI
    clear_only      only pixels that Cloud Score+ calls clear; else clouds and shadows make the range
    returns         a dictionary each of tile, band, images, min, max (None: no such pixel), sorted by tile
    """
    rows = _rows(lambda ee: gee_graph.range_request(ee, geometry, year, bands, indices, clear_only))
    return [
        {"tile": row["tile"], "band": name, "images": int(row["images"])}
        | {end: row.get(f"{name}_{end}") for end in ("min", "max")}
        for row in sorted(rows, key=lambda row: str(row["tile"]))
        for name in (*bands, *indices)
    ]


def search_scenes(queries: Sequence[Query], method: str = "auto") -> Scenes:
    """Products of all queries (S1 and S2, one area) with cloud statistics over it; `start` must have been called.

    method  auto, cloud_score_plus, s2cloudless, sen2cloudfree or scl
    raises  NetworkError, CredentialError, ConfigError, InputError
    """
    return Scenes(queries, method)


def search(query: Query, method: str = "auto") -> Iterator[Product]:
    """The products alone, as the other providers give them."""
    yield from search_scenes([query], method).products


def locate(product: Product, base_url: str = "") -> NoReturn:
    """Earth Engine serves no products: another provider finds them by their names.

    raises  ConfigError always
    """
    raise ConfigError(f"{product.name}: Earth Engine serves no products.", "Set search.download_from to sara or cdse.")
