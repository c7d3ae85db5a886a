"""Provider stac: any STAC API through pystac-client, such as Earth Search and the Planetary Computer. Only metadata.

Names come from the properties of an item, never from its id, which lacks a part of the name in most catalogues.
STAC catalogues serve no SAFE archives: products are found here and fetched from cdse or sara by name.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from utils.io import answers
from utils.io.web import NotThereError, Web
from utils.science.catalogue import Query, Request
from utils.science.product import Product, parse_name, with_relative_orbit
from utils.workflow.errors import ConfigError, InputError

if TYPE_CHECKING:
    from pystac_client import Client

PAGE = 100
OFFSET_BASELINE = "0400"  # from here on digital numbers carry an offset of -1000
_S1 = "sentinel-1-grd"
_S2 = {"L2A": ("sentinel-2-l2a", "sentinel-2-c1-l2a"), "L1C": ("sentinel-2-l1c",)}  # the second is optional
_PLATFORM = re.compile(r"sentinel[- ]([12][a-d])", re.IGNORECASE)


def search(query: Query, web: Web, base_url: str, page: int = PAGE) -> Iterator[Product]:
    """Products that answer a query, each once. Single items without a product name are left out.

    base_url  address of the landing page, such as https://earth-search.aws.element84.com/v1
    page      items a page
    raises    NetworkError, CredentialError, InputError (as utils.io.web.Web; also for a page that is no STAC, and for
              answers in which no item has a product name)
    """
    client = _open(web, base_url)
    asked: dict[str, Any] = {
        "collections": _collections(query, web, base_url),
        "intersects": dict(query.geometry),
        # the time of an item may be that of the tile, a minute behind the one in the name
        "datetime": f"{_time(query.start - dt.timedelta(minutes=5))}/{_time(query.end + dt.timedelta(minutes=5))}",
        "limit": page,
    }
    if query.mission == "S2" and query.max_cloud_tile is not None:
        asked["query"] = {"eo:cloud_cover": {"lte": query.max_cloud_tile}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # landing pages seldom say that POST is understood
        pages = client.search(**asked)
    names: set[str] = set()
    count = unnamed = 0
    for item in _items(pages, base_url):
        count += 1
        product = product_of(item)
        unnamed += product is None
        if product is not None and product.name not in names and query.start <= product.start < query.end:
            names.add(product.name)
            yield product
    if count and unnamed == count:
        raise InputError(
            f"{urlsplit(base_url).hostname}: none of {count} items tells its product name.",
            "Search with provider cdse, or set search.endpoints.stac to another catalogue.",
        )


def find_version(name: str, web: Web, base_url: str, geometry: Mapping[str, Any] | None = None) -> Product | None:
    """The product of a name, else its newest reprocessing; None when there is none.

    geometry  GeoJSON of the area that the product touches; the whole world where it is not given
    """
    wanted = parse_name(name)
    world = {"type": "Polygon", "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]}
    level = wanted.type if wanted.mission == "S2" else "L2A"
    second = dt.timedelta(seconds=1)
    query = Query(
        "S1" if wanted.mission == "S1" else "S2", geometry or world, wanted.start, wanted.start + second, level
    )
    found = [p for p in search(query, web, base_url) if answers.same_granule(p, wanted)]
    return answers.best_version(found, wanted.name)


def locate(product: Product, base_url: str) -> Request:
    """There is no archive to point at.

    raises  ConfigError always: Sentinel-1 needs the annotation of its SAFE, and so does the optical preprocessing
    """
    raise ConfigError(
        f"{product.name}: {urlsplit(base_url).hostname} serves no SAFE archive.",
        "Set search.download_from to cdse or sara.",
    )


def rasters(item: Mapping[str, Any], offset_policy: str = "refuse") -> dict[str, Request]:
    """Where the cloud-optimised rasters of a Sentinel-2 item are: asset key -> request, only those over https.

    offset_policy  "refuse", or "measure" when the reader decides by the data (see `offset_is_removed`)
    raises         InputError for a Sentinel-1 item, and for sentinel-2-l2a from baseline 04.00 on under "refuse": what
                   these items tell about their offset is wrong on some, in both directions
    """
    product = product_of(item)
    if product is None or product.mission == "S1":
        raise InputError(f"{item.get('id')}: no Sentinel-2 item.", "Take the SAFE archive: search.download_from cdse.")
    doubtful = item.get("collection") == "sentinel-2-l2a" and product.baseline >= OFFSET_BASELINE
    if doubtful and offset_policy == "refuse":
        raise InputError(
            f"{product.name}: what its item tells about the offset of baseline {product.baseline} cannot be trusted.",
            "Take the SAFE archive: search.download_from cdse.",
        )
    found = {}
    for key, asset in (item.get("assets") or {}).items():
        href = str(asset.get("href") or "")
        if href.startswith("https://") and urlsplit(href).path.endswith((".tif", ".tiff")):
            host = urlsplit(href).hostname or ""
            auth = "planetary" if host.endswith(".blob.core.windows.net") else ""
            facts = {"collection": item.get("collection"), "asset": key}
            found[key] = Request(f"{product.name}_{key}.tif", href, "tif", auth, facts=facts)
    return found


def offset_is_removed(first_percentile_b04: float) -> bool:
    """Whether the offset of -1000 was taken off already, from the 1st percentile of valid B04 in digital numbers.

    Below 900 it is removed, above 1000 it is not (limits not checked against many scenes).
    raises  InputError between
    """
    if 900 <= first_percentile_b04 <= 1000:
        raise InputError(
            f"1st percentile of B04 is {first_percentile_b04:g}: with or without offset cannot be told.",
            "Take the SAFE archive: set search.download_from to cdse.",
        )
    return first_percentile_b04 < 900


def _open(web: Web, base_url: str) -> Client:
    """The API, with our own client for the requests: retries, --offline and errors as with the other providers."""
    from pystac.errors import STACError
    from pystac_client import Client
    from pystac_client.errors import ClientTypeError
    from pystac_client.stac_api_io import StacApiIO

    class Quiet(StacApiIO):
        def request(
            self,
            href: str,
            method: str | None = None,
            headers: dict[str, str] | None = None,
            parameters: dict[str, Any] | None = None,
        ) -> str:
            if (method or "GET").upper() == "POST":
                return json.dumps(web.json("POST", href, body=parameters))
            return json.dumps(web.json("GET", href, params=parameters))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client = Client.open(base_url, stac_io=Quiet())
    except (STACError, ClientTypeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _no_api(base_url) from error
    if not client.conforms_to("ITEM_SEARCH"):
        raise _no_api(base_url)
    return client


def _no_api(base_url: str) -> InputError:
    return InputError(f"{base_url}: no STAC API with item search.", "Correct search.endpoints.stac.")


def _collections(query: Query, web: Web, base_url: str) -> list[str]:
    """Names to ask; Collection 1 only where the API has it, because some refuse unknown names."""
    if query.mission == "S1":
        return [_S1]
    first, *more = _S2[query.s2_level]
    found = [first]
    for name in more:
        try:
            web.json("GET", f"{base_url.rstrip('/')}/collections/{name}")
        except (NotThereError, InputError):
            continue
        found.append(name)
    return found


def _items(found: Any, base_url: str) -> Iterator[dict[str, Any]]:
    """Items of all pages; a page that only repeats ends the paging."""
    seen: set[tuple[Any, Any]] = set()
    for number, page in enumerate(found.pages_as_dicts(), start=1):
        features = page.get("features")
        if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
            raise InputError(
                f"{urlsplit(base_url).hostname}: a page is no list of items.", "Check search.endpoints.stac."
            )
        new = [item for item in features if (item.get("collection"), item.get("id")) not in seen]
        if not new:
            return
        if number > answers.MOST_PAGES:
            raise answers.too_many_pages(str(urlsplit(base_url).hostname))
        seen |= {(item.get("collection"), item.get("id")) for item in new}
        yield from new


def _time(time: dt.datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _folder_of(item: Mapping[str, Any]) -> Product | None:
    """Product of the one .SAFE folder in which all assets lie that lie in any."""
    hrefs = [str(asset.get("href") or "") for asset in (item.get("assets") or {}).values()]
    names = {part for href in hrefs for part in urlsplit(href).path.split("/") if part.endswith(".SAFE")}
    return answers.named(names.pop()) if len(names) == 1 else None


def product_of(item: Mapping[str, Any], provider: str = "stac") -> Product | None:
    """Product record of one item; None where neither a property nor the folder of its assets is a product name.

    The absolute orbit of Sentinel-2 is taken from the datatake id; a missing relative orbit is that of the name.
    """
    p = item.get("properties") or {}
    product = (
        answers.named(p.get("s1:product_identifier")) or answers.named(p.get("s2:product_uri")) or _folder_of(item)
    )
    if product is None:
        return None
    product = answers.with_times(product, p.get("start_datetime"), p.get("end_datetime"))
    take = re.fullmatch(r"GS2[A-D]_\d{8}T\d{6}_(\d{6})_N[\d.]+", str(p.get("s2:datatake_id") or ""))
    absolute = answers.whole(p.get("sat:absolute_orbit")) or (int(take.group(1)) if take else None)
    told = _PLATFORM.match(str(p.get("platform") or ""))
    if told and f"S{told.group(1).upper()}" != product.platform:
        product = replace(product, warnings=(f"W_PLATFORM: {product.name} is told to be of {p['platform']}",))
    return replace(
        with_relative_orbit(product, answers.whole(p.get("sat:relative_orbit"))),
        absolute_orbit=absolute or product.absolute_orbit,
        direction=str(p.get("sat:orbit_state") or product.direction).upper(),
        slice=answers.whole(p.get("s1:slice_number")),
        total_slices=answers.whole(p.get("s1:total_slices")),
        timeliness=str(p.get("s1:product_timeliness") or ""),
        generated=product.generated or answers.compact(p.get("s1:processing_datetime")),
        footprint=answers.ring_of(item.get("geometry")),
        cloud_tile=answers.percent(p.get("eo:cloud_cover")),
        nodata_tile=answers.percent(p.get("s2:nodata_pixel_percentage")),
        provider=provider,
        remote_id=str(item.get("id") or ""),
    )
