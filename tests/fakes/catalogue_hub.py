"""A hub on 127.0.0.1 that speaks like the catalogues: sara, cdse (OData) and a STAC API, over one list of products.

Faults are switches of the hub. Every request is logged, so that tests can count and read them.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from shapely import wkt
from shapely.geometry import Polygon, mapping, shape

from utils.science.product import Product, iso, parse_time


@dataclass
class Asked:
    """One request: method, path, query and JSON body, and whether it carried a login."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    login: bool


@dataclass
class Hub:
    """State of the hub.

    products      what every service has
    faults        path prefix -> answers (status, headers, body) given first, one a request
    most          products a page at most, whatever is asked for
    link_until    cdse: from this $skip on there is no link to the next page
    repeats       every page behind the first repeats the first
    total         sara: the totalResults that it claims
    stac_method   how the STAC API links its next page: GET, or POST with a body to merge
    items         further raw items by service: cdse, sara, stac
    """

    products: list[Product] = field(default_factory=list)
    faults: dict[str, list[tuple[int, dict[str, str], bytes]]] = field(default_factory=dict)
    most: int = 1000
    link_until: int = 10000
    repeats: bool = False
    total: int | None = None
    stac_method: str = "GET"
    items: dict[str, list[Any]] = field(default_factory=dict)
    log: list[Asked] = field(default_factory=list)
    url: str = ""

    def fail(
        self, prefix: str, status: int, times: int = 1, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> None:
        """The next requests of a path end with this status."""
        self.faults.setdefault(prefix, []).extend([(status, headers or {}, body)] * times)

    def asked(self, part: str) -> list[Asked]:
        return [entry for entry in self.log if part in entry.path]

    # -- answers -----------------------------------------------------------------------------------------------

    def answer(self, ask: Asked) -> Any:
        path = ask.path
        if found := re.fullmatch(r"/sara/(S1|S2)/search\.json", path):
            return self._sara(found.group(1), ask.query)
        if path == "/odata/Products":
            return self._odata(ask.query)
        if path == "/odata/Products/OData.CSC.FilterList":
            names = {entry["Name"] for entry in ask.body["FilterProducts"]}
            return {"value": [item for item in self._cdse_items() if item["Name"] in names]}
        if path.rstrip("/") == "/stac":
            return self._stac_root()
        if path == "/stac/search":
            return self._stac(ask.body if ask.method == "POST" else ask.query)
        if path.startswith("/stac/collections/"):
            name = path.rpartition("/")[2]
            return {"type": "Collection", "id": name} if name in {"sentinel-1-grd", "sentinel-2-l2a"} else None
        return None

    def _page(self, items: list[Any], first: int, size: int) -> list[Any]:
        first = 0 if self.repeats else first
        return items[first : first + size]

    def _sara(self, mission: str, query: dict[str, str]) -> Any:
        area = wkt.loads(query["geometry"]) if "geometry" in query else None
        first_day, last_day = (parse_time(f"{query[name]}T00:00:00") for name in ("startDate", "completionDate"))
        found = [
            p for p in self.products if p.mission == mission and first_day <= p.start < last_day and _touches(p, area)
        ]
        items = [*map(sara_item, found), *self.items.get("sara", [])]
        size, number = min(int(query["maxRecords"]), self.most), int(query["page"])
        page = self._page(items, (number - 1) * size, size)
        total = len(items) if self.total is None else self.total
        return {"type": "FeatureCollection", "features": page,
                "properties": {"totalResults": total, "exactCount": True, "itemsPerPage": size, "links": []}}  # fmt: skip

    def _cdse_items(self) -> list[Any]:
        return [*map(cdse_item, sorted(self.products, key=lambda p: p.start)), *self.items.get("cdse", [])]

    def _odata(self, query: dict[str, str]) -> Any:
        items = [item for item in self._cdse_items() if _passes(item, query["$filter"])]
        first, size = int(query.get("$skip", 0)), min(int(query["$top"]), self.most)
        answer: dict[str, Any] = {"value": self._page(items, first, size)}
        if first + size < min(len(items), self.link_until) or (self.repeats and items):
            follow = {**query, "$skip": str(first + size)}
            answer["@odata.nextLink"] = f"{self.url}/odata/Products?{urlencode(follow, quote_via=quote)}"
        return answer

    def _stac_root(self) -> Any:
        core, search = "https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"
        classes = [core, search, f"{search}#query"]
        links = [{"rel": rel, "href": f"{self.url}{path}", "type": "application/json"}
                 for rel, path in (("self", "/stac"), ("root", "/stac"), ("search", "/stac/search"))]  # fmt: skip
        return {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "hub",
            "description": "hub",
            "conformsTo": classes,
            "links": links,
        }

    def _stac(self, query: dict[str, Any]) -> Any:
        wanted = query["collections"]
        wanted = wanted.split(",") if isinstance(wanted, str) else wanted
        area = query.get("intersects")
        area = shape(json.loads(area) if isinstance(area, str) else area) if area else None
        start, end = (parse_time(text) for text in query["datetime"].split("/"))
        found = [p for p in self.products if start <= p.start <= end and _touches(p, area)]
        items = [
            item
            for item in [*(stac_item(p) for p in found), *self.items.get("stac", [])]
            if item["collection"] in wanted
        ]
        first, size = int(query.get("token", 0)), min(int(query["limit"]), self.most)
        links = []
        if first + size < len(items) or (self.repeats and items):
            body = {"token": str(first + size)}
            if self.stac_method == "POST":
                links = [
                    {"rel": "next", "href": f"{self.url}/stac/search", "method": "POST", "body": body, "merge": True}
                ]
            else:
                text = {
                    k: v if isinstance(v, str) else ",".join(v) if k == "collections" else json.dumps(v)
                    for k, v in query.items()
                }
                links = [
                    {"rel": "next", "href": f"{self.url}/stac/search?{urlencode({**text, **body})}", "method": "GET"}
                ]
        return {"type": "FeatureCollection", "features": self._page(items, first, size), "links": links}


def _touches(product: Product, area: Any) -> bool:
    return area is None or (len(product.footprint) > 2 and Polygon(product.footprint).intersects(area))


def _passes(item: Any, text: str) -> bool:
    """The terms of an OData filter that the providers use."""
    attributes = {a["Name"]: a["Value"] for a in item["Attributes"]}
    start = parse_time(item["ContentDate"]["Start"])
    collection = re.search(r"Collection/Name eq '(SENTINEL-\d)'", text)
    assert collection, text
    area = re.search(r"Intersects\(area=geography'SRID=4326;(POLYGON\(\(.*?\)\))'\)", text)
    kind = re.search(r"Name eq 'productType' and att/OData.CSC.StringAttribute/Value eq '(\w+)'", text)
    cloud = re.search(r"Name eq 'cloudCover' and att/OData.CSC.DoubleAttribute/Value le ([\d.]+)", text)
    begin, granule = re.search(r"startswith\(Name,'(\w+)'\)", text), re.search(r"contains\(Name,'(\w+)'\)", text)
    times = dict(re.findall(r"ContentDate/Start (ge|lt) (\S+Z)", text))
    return (
        item["Name"].startswith(f"S{collection.group(1)[-1]}")
        and parse_time(times["ge"]) <= start < parse_time(times["lt"])
        and (
            area is None
            or item["GeoFootprint"] is None
            or shape(item["GeoFootprint"]).intersects(wkt.loads(area.group(1)))
        )
        and (kind is None or attributes["productType"] == kind.group(1))
        and (cloud is None or attributes.get("cloudCover", 101) <= float(cloud.group(1)))
        and (begin is None or item["Name"].startswith(begin.group(1)))
        and (granule is None or granule.group(1) in item["Name"])
    )


def _geometry(product: Product) -> Any:
    return json.loads(json.dumps(mapping(Polygon(product.footprint)))) if product.footprint else None


def cdse_item(product: Product) -> dict[str, Any]:
    """A product as the OData service tells it."""
    s1 = product.mission == "S1"
    values = {"orbitNumber": product.absolute_orbit, "relativeOrbitNumber": product.relative_orbit,
              "orbitDirection": product.direction, "sliceNumber": product.slice, "totalSlices": product.total_slices,
              "timeliness": product.timeliness, "cloudCover": product.cloud_tile,
              "productType": "IW_GRDH_1S" if s1 else {"L2A": "S2MSI2A", "L1C": "S2MSI1C"}[product.type]}  # fmt: skip
    sums = [
        {"Algorithm": name, "Value": text} for name, text in (("MD5", product.md5), ("BLAKE3", product.blake3)) if text
    ]
    return {
        "Id": product.remote_id, "Name": f"{product.name}.SAFE", "ContentLength": product.size or 0, "Online": product.online,
        "EvictionDate": "", "S3Path": f"/eodata/{product.name}.SAFE", "Checksum": sums,
        "ContentDate": {"Start": iso(product.start), "End": iso(product.stop)}, "GeoFootprint": _geometry(product),
        "Attributes": [{"Name": name, "Value": value} for name, value in values.items() if value is not None],
    }  # fmt: skip


def sara_item(product: Product) -> dict[str, Any]:
    """A product as the regional hub tells it."""
    download = {
        "url": product.href,
        "mimeType": "application/zip",
        "size": product.size,
        "checksum": product.md5.upper(),
    }
    return {
        "type": "Feature", "id": product.remote_id, "geometry": _geometry(product),
        "properties": {
            "productIdentifier": product.name, "title": product.name, "startDate": iso(product.start),
            "completionDate": iso(product.stop), "platform": product.platform, "orbitDirection": product.direction.lower(),
            "orbitNumber": product.absolute_orbit, "relativeOrbitNumber": product.relative_orbit,
            "cloudCover": product.cloud_tile, "services": {"download": download},
        },
    }  # fmt: skip


def stac_item(product: Product) -> dict[str, Any]:
    """A product as a STAC item; its id lacks a part of the name, as recorded ones do."""
    s1 = product.mission == "S1"
    p: dict[str, Any] = {
        "datetime": iso(product.start),
        "sat:orbit_state": product.direction.lower(),
        "platform": f"sentinel-{product.platform[1:].lower()}",
    }
    if s1:
        p |= {"s1:product_identifier": product.name, "start_datetime": iso(product.start), "end_datetime": iso(product.stop),
              "sat:absolute_orbit": product.absolute_orbit, "sat:relative_orbit": product.relative_orbit,
              "s1:slice_number": str(product.slice), "s1:product_timeliness": product.timeliness}  # fmt: skip
    else:
        p |= {
            "s2:product_uri": f"{product.name}.SAFE",
            "eo:cloud_cover": product.cloud_tile,
            "grid:code": f"MGRS-{product.tile}",
        }
    collection = "sentinel-1-grd" if s1 else {"L2A": "sentinel-2-l2a", "L1C": "sentinel-2-l1c"}[product.type]
    return {"type": "Feature", "stac_version": "1.0.0", "id": product.name[:-5], "collection": collection, "assets": {},
            "geometry": _geometry(product), "properties": p, "links": []}  # fmt: skip


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            parts = urlsplit(self.path)
            ask = Asked(self.command, parts.path, dict(parse_qsl(parts.query)), body, "Authorization" in self.headers)
            hub.log.append(ask)
            for prefix, waiting in hub.faults.items():
                if parts.path.startswith(prefix) and waiting:
                    self._send(*waiting.pop(0))
                    return
            answer = hub.answer(ask)
            self._send(
                404 if answer is None else 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()
            )

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def serve(*products: Product, **switches: Any) -> Iterator[Hub]:
    """A running hub; stopped at the end of the block."""
    hub = Hub(list(products), **switches)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
