"""Provider cdse: the OData catalogue of the Copernicus Data Space Ecosystem. Only metadata; bytes are fetched elsewhere.

`ContentDate/Start` is the fast filter of this service and at most 10,000 products can be paged through, so every
question covers one calendar month at most and is ordered by time.
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
from utils.science.product import Product, bare_name, parse_name, parse_time, with_relative_orbit
from utils.workflow.errors import InputError, OfflineProductError

PAGE = 1000  # the most that the service gives
_COLLECTION = {"S1": "SENTINEL-1", "S2": "SENTINEL-2"}
_S2_TYPE = {"L2A": "S2MSI2A", "L1C": "S2MSI1C"}


def search(query: Query, web: Web, base_url: str, page: int = PAGE) -> Iterator[Product]:
    """Products that answer a query, each once, in order of time within a month.

    base_url  such as https://catalogue.dataspace.copernicus.eu/odata/v1
    page      products a page, at most 1000
    raises    NetworkError, CredentialError, InputError (as utils.io.web.Web)
    """
    seen: set[str] = set()
    for start, end in answers.months(query.start, query.end):
        for item in _items(query, start, end, web, base_url, page):
            if _key(item) in seen:
                continue
            seen.add(_key(item))
            product = product_of(item)
            if product is not None:
                yield product


def find_version(name: str, web: Web, base_url: str, geometry: Mapping[str, Any] | None = None) -> Product | None:
    """The product of a name; when the catalogue has it no more, its newest reprocessing; None when there is none.

    geometry  not needed here: the catalogue finds names
    Reprocessed Sentinel-2 products share satellite, level, datatake start, relative orbit and tile; Sentinel-1 products
    share all but the last four hex digits.
    """
    wanted = parse_name(name)
    if wanted.mission == "S1":
        same = f"startswith(Name,'{wanted.name[:62]}_')"
    else:
        begin, granule = wanted.name[:26], f"_R{wanted.relative_orbit:03d}_T{wanted.tile}_"
        same = f"startswith(Name,'{begin}_') and contains(Name,'{granule}')"
    day = dt.timedelta(days=1)
    terms = [f"Collection/Name eq '{_COLLECTION[wanted.mission]}'", same,
             f"ContentDate/Start ge {_time(wanted.start - day)}", f"ContentDate/Start lt {_time(wanted.start + day)}"]  # fmt: skip
    found = [p for item in _ask(terms, web, base_url, PAGE)["value"] if (p := product_of(item)) is not None]
    return answers.best_version([p for p in found if answers.same_granule(p, wanted)], wanted.name)


def locate(product: Product, base_url: str) -> Request:
    """Where the zip of a product is; the login is attached by the transfer.

    base_url  the download host: the catalogue host redirects, and clients drop the login on the way
    raises    OfflineProductError for an archived product, InputError for one that did not come from this catalogue
    """
    if not product.online:
        raise OfflineProductError(
            f"{product.name}: archived, not online.", "Order it in the Data Workspace of the service, then try again."
        )
    if not product.remote_id:
        raise InputError(f"{product.name}: its id at cdse is not known.", "Run make find_images again.")
    url = f"{base_url.rstrip('/')}/Products({product.remote_id})/$value"
    facts = {"s3": product.href} if product.href.startswith("s3:") else {}
    return Request(
        f"{product.name}.zip", url, "zip", "cdse", product.size, product.md5, product.blake3, product.name, facts
    )


def filter_of(query: Query, start: dt.datetime, end: dt.datetime) -> list[str]:
    """Terms of $filter for one window; times are not quoted."""
    kind = "IW_GRDH_1S" if query.mission == "S1" else _S2_TYPE[query.s2_level]
    terms = [
        f"Collection/Name eq '{_COLLECTION[query.mission]}'",
        f"ContentDate/Start ge {_time(start)}",
        f"ContentDate/Start lt {_time(end)}",
        f"OData.CSC.Intersects(area=geography'SRID=4326;{answers.area_wkt(query.geometry)}')",
        _attribute("String", "productType", "eq", f"'{kind}'"),
    ]
    if query.mission == "S2" and query.max_cloud_tile is not None:
        terms.append(_attribute("Double", "cloudCover", "le", f"{query.max_cloud_tile:.2f}"))
    return terms


def _attribute(kind: str, name: str, relation: str, value: str) -> str:
    path = f"OData.CSC.{kind}Attribute"
    return f"Attributes/{path}/any(att:att/Name eq '{name}' and att/{path}/Value {relation} {value})"


def _time(time: dt.datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"


def _items(query: Query, start: dt.datetime, end: dt.datetime, web: Web, base_url: str, size: int) -> Iterator[Any]:
    """All items of one window.

    The link to the next page vanishes behind $skip = 10000: a full page without a link, and a page that only repeats,
    go on from the time of the last product.
    """
    seen: set[str] = set()
    answer = _ask(filter_of(query, start, end), web, base_url, size)
    for _ in range(answers.MOST_PAGES):
        items = answer["value"]
        new = [item for item in items if _key(item) not in seen]
        yield from new
        seen |= {_key(item) for item in new}
        link = answer.get("@odata.nextLink")
        if link and new:
            answer = _checked(web.json("GET", answers.same_host(str(link), base_url)), base_url)
            continue
        last = max((_start(item, start) for item in items), default=start)
        if last <= start or (len(items) < size and not link):
            return
        start = last
        answer = _ask(filter_of(query, start, end), web, base_url, size)
    raise answers.too_many_pages(str(urlsplit(base_url).hostname))


def _key(item: Any) -> str:
    return str(item.get("Id") or item.get("Name"))


def _start(item: Any, fallback: dt.datetime) -> dt.datetime:
    try:
        return parse_time(str((item.get("ContentDate") or {}).get("Start")))
    except ValueError:
        return fallback


def _ask(terms: list[str], web: Web, base_url: str, size: int) -> Any:
    """First page. Without $orderby pages may lose or repeat products; $count is slow and left out."""
    params = {"$filter": " and ".join(terms), "$orderby": "ContentDate/Start asc", "$top": str(size),
              "$expand": "Attributes"}  # fmt: skip
    return _checked(web.json("GET", f"{base_url.rstrip('/')}/Products", params=params), base_url)


def _checked(answer: Any, base_url: str) -> Any:
    items = answer.get("value") if isinstance(answer, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        host = urlsplit(base_url).hostname
        raise InputError(f"{host}: the answer has no list of products.", "Check search.endpoints.cdse_catalogue.")
    return answer


def product_of(item: Any) -> Product | None:
    """Product record of one item; None for names outside the grammar of Sentinel-1 and Sentinel-2 products."""
    product = answers.named(item.get("Name"))
    if product is None:
        return None
    attributes = {a.get("Name"): a.get("Value") for a in item.get("Attributes") or []}
    sums = {str(c.get("Algorithm")).upper(): c.get("Value") for c in item.get("Checksum") or []}
    dates = item.get("ContentDate") or {}
    product = answers.with_times(product, dates.get("Start"), dates.get("End"))
    path = str(item.get("S3Path") or "")
    return replace(
        with_relative_orbit(product, answers.whole(attributes.get("relativeOrbitNumber"))),
        direction=str(attributes.get("orbitDirection") or product.direction).upper(),
        absolute_orbit=answers.whole(attributes.get("orbitNumber")) or product.absolute_orbit,
        slice=answers.whole(attributes.get("sliceNumber")),
        total_slices=answers.whole(attributes.get("totalSlices")),
        timeliness=str(attributes.get("timeliness") or ""),
        generated=product.generated or answers.compact(attributes.get("processingDate")),
        footprint=answers.ring_of(item.get("GeoFootprint")) or answers.ring_of_text(item.get("Footprint")),
        cloud_tile=answers.percent(attributes.get("cloudCover")),
        size=item.get("ContentLength") or None,
        md5=answers.digest(sums.get("MD5"), 32),
        blake3=answers.digest(sums.get("BLAKE3"), 64),
        online=item.get("Online") is not False,
        provider="cdse",
        remote_id=str(item.get("Id") or ""),
        href=f"s3://{path.lstrip('/')}" if path.startswith("/eodata/") else "",
    )


def ids_of(names: list[str], web: Web, base_url: str) -> dict[str, Product]:
    """Products of several exact names in one request each hundred; missing names are left out."""
    found: dict[str, Product] = {}
    for first in range(0, len(names), 100):
        wanted = [{"Name": f"{bare_name(name)}.SAFE"} for name in names[first : first + 100]]
        answer = web.json(
            "POST", f"{base_url.rstrip('/')}/Products/OData.CSC.FilterList", body={"FilterProducts": wanted}
        )
        for item in _checked(answer, base_url)["value"]:
            product = product_of(item)
            if product is not None:
                found[product.name] = product
    return found
