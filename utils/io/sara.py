"""Provider sara: the regional hub for Australasia. Only metadata; bytes are fetched elsewhere.

Of the documented filters only area and dates are sent: recorded answers spell levels and product types otherwise than
the documents do, so the rest is decided by the product name.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from utils.io import answers
from utils.io.web import Web
from utils.science.catalogue import Query, Request
from utils.science.product import Product, parse_name, with_relative_orbit
from utils.workflow.errors import InputError

PAGE = 500
_DAY = dt.timedelta(days=1)


def search(query: Query, web: Web, base_url: str, page: int = PAGE) -> Iterator[Product]:
    """Products that answer a query, each once.

    base_url  such as https://copernicus.nci.org.au/sara.server/1.0/api/collections
    page      products a page
    raises    NetworkError, CredentialError, InputError (as utils.io.web.Web)
    """
    for product in _all(query.mission, query.geometry, query.start, query.end, web, base_url, page):
        if query.start <= product.start < query.end:
            yield product


def find_version(name: str, web: Web, base_url: str, geometry: Mapping[str, Any] | None = None) -> Product | None:
    """The product of a name; when the hub has it no more, its newest reprocessing; None when there is none.

    geometry  GeoJSON of the area, narrows the question; without it every product of the day is looked through
    """
    wanted = parse_name(name)
    found = _all(wanted.mission, geometry, wanted.start, wanted.start, web, base_url, PAGE)
    return answers.best_version([p for p in found if answers.same_granule(p, wanted)], wanted.name)


def locate(product: Product, base_url: str) -> Request:
    """Where the zip of a product is; the login is attached by the transfer, for the host of the hub only.

    raises  InputError for a product that did not come from this hub
    """
    if not product.href:
        raise InputError(f"{product.name}: its address at sara is not known.", "Run make find_images again.")
    auth = "sara" if urlsplit(product.href)[:2] == urlsplit(base_url)[:2] else ""
    return Request(
        f"{product.name}.zip", product.href, "zip", auth, product.size, product.md5, product.blake3, product.name
    )


def _all(mission: str, geometry: Mapping[str, Any] | None, start: dt.datetime, end: dt.datetime, web: Web, base_url: str,
         page: int) -> Iterator[Product]:  # fmt: skip
    """Every product of the days around a window. `totalResults` is unreliable: pages are asked for until one is empty
    or holds nothing new."""
    params = {"startDate": f"{start - _DAY:%Y-%m-%d}", "completionDate": f"{end + _DAY:%Y-%m-%d}",
              "maxRecords": str(page)}  # fmt: skip
    if geometry is not None:
        params["geometry"] = answers.area_wkt(geometry, hull=True)  # as hull: the address of a long area is refused
    url, host = f"{base_url.rstrip('/')}/{mission}/search.json", str(urlsplit(base_url).hostname)
    seen: set[str] = set()
    for number in range(1, answers.MOST_PAGES + 1):
        answer = web.json("GET", url, params={**params, "page": str(number)})
        features = answer.get("features") if isinstance(answer, dict) else None
        if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
            raise InputError(f"{host}: the answer has no list of products.", "Check search.endpoints.sara.")
        new = [feature for feature in features if feature.get("id") not in seen]
        if not new:
            return
        seen |= {feature.get("id") for feature in new}
        yield from (product for feature in new if (product := product_of(feature)) is not None)
    raise answers.too_many_pages(host)


def product_of(feature: Any) -> Product | None:
    """Product record of one feature; None for names outside the grammar of Sentinel-1 and Sentinel-2 products."""
    p = feature.get("properties") or {}
    product = answers.named(p.get("productIdentifier")) or answers.named(p.get("title"))
    if product is None:
        return None
    product = answers.with_times(product, p.get("startDate"), p.get("completionDate"))
    download = ((p.get("services") or {}).get("download")) or {}
    return replace(
        # orbitNumber is the absolute orbit, whatever it is taken for elsewhere
        with_relative_orbit(product, answers.whole(p.get("relativeOrbitNumber"))),
        absolute_orbit=answers.whole(p.get("orbitNumber")) or product.absolute_orbit,
        direction=str(p.get("orbitDirection") or product.direction).upper(),
        footprint=answers.ring_of(feature.get("geometry")),
        cloud_tile=answers.percent(p.get("cloudCover")),
        size=answers.whole(download.get("size") or p.get("resourceSize")) or None,
        md5=answers.digest(download.get("checksum"), 32) or answers.digest(p.get("resourceChecksum"), 32),
        provider="sara",
        remote_id=str(feature.get("id") or ""),
        href=str(download.get("url") or ""),
    )
