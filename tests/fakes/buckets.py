"""A loopback server that plays the orbit catalogue, its download service, the orbit bucket and the height buckets.

Bodies are made here: small orbit files of own numbers, height tiles of a plane. Nothing is recorded from anybody.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np
from osgeo import gdal

from utils.io.orbits import parse_orbit_name

gdal.UseExceptions()


def orbit_body(name: str, mission: str = "", valid: tuple[str, str] = ("", ""), vectors: int = 12) -> bytes:
    """An orbit file of `name`; mission and validity as named unless given."""
    said = parse_orbit_name(name)
    assert said is not None
    start, stop = (given or f"{time_:%Y-%m-%dT%H:%M:%S}" for given, time_ in zip(valid, (said.start, said.stop)))
    step = (said.stop - said.start) / max(vectors - 1, 1)
    states = "".join(
        f"<OSV><TAI>TAI={said.start + i * step:%Y-%m-%dT%H:%M:%S.%f}</TAI><UTC>UTC={said.start + i * step:%Y-%m-%dT%H:%M:%S.%f}</UTC>"
        f"<X unit='m'>{7.0e6 - i}</X><Y unit='m'>{i}.5</Y><Z unit='m'>0.0</Z><VX unit='m/s'>0.0</VX><VY unit='m/s'>0.0</VY>"
        f"<VZ unit='m/s'>7500.0</VZ></OSV>\n"
        for i in range(vectors)
    )
    return (
        "<?xml version='1.0'?>\n<Earth_Explorer_File><Earth_Explorer_Header><Fixed_Header>"
        f"<File_Name>{name.removesuffix('.EOF')}</File_Name><Mission>{mission or 'Sentinel-' + said.platform[1:]}</Mission>"
        f"<Validity_Period><Validity_Start>UTC={start}</Validity_Start><Validity_Stop>UTC={stop}</Validity_Stop></Validity_Period>"
        "</Fixed_Header><Variable_Header><Ref_Frame>EARTH_FIXED</Ref_Frame></Variable_Header></Earth_Explorer_Header>"
        f"<Data_Block type='xml'><List_of_OSVs count='{vectors}'>\n{states}</List_of_OSVs></Data_Block></Earth_Explorer_File>\n"
    ).encode()


def plane_m(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Heights of every generated tile: a plane in degrees, so that interpolation of it is exact."""
    return np.asarray(200.0 + 10.0 * lon - 20.0 * lat, dtype=np.float32)


@cache
def tile_body(lat: int, lon: int, cols: int) -> bytes:
    """A height tile with this south-west corner: 3600 rows, pixel centres on the whole degrees."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tile.tif"
        dataset = gdal.GetDriverByName("GTiff").Create(
            str(path), cols, 3600, 1, gdal.GDT_Float32, ["COMPRESS=DEFLATE", "ZLEVEL=1", "PREDICTOR=3", "TILED=YES"]
        )
        dataset.SetMetadataItem("AREA_OR_POINT", "Point")
        dataset.SetGeoTransform((lon - 0.5 / cols, 1 / cols, 0, lat + 1 + 0.5 / 3600, 0, -1 / 3600))
        dataset.SetProjection("EPSG:4326")
        lons, lats = lon + np.arange(cols) / cols, lat + 1 - np.arange(3600) / 3600
        dataset.GetRasterBand(1).WriteArray(plane_m(lons[None], lats[:, None]))
        dataset.FlushCache()
        del dataset
        return path.read_bytes()


@dataclass
class Buckets:
    """What the server holds, what it was asked, what it does wrong.

    orbits     file name -> body, in the bucket;  catalogue: file names of the catalogue (default all), any order
    unlisted   file names that the bucket lacks;  page: keys a listing page, products a catalogue page
    failing    path prefix -> HTTP status;  chunk_s: seconds between pieces of 64 KiB
    dem_30     tile name -> body;  dem_90: tile names that exist
    silent     HEAD does not say the size
    token      what the catalogue's download service asks for; empty = nothing
    """

    orbits: dict[str, bytes] = field(default_factory=dict)
    catalogue: list[str] | None = None
    unlisted: set[str] = field(default_factory=set)
    page: int = 1000
    checksums: bool = True
    failing: dict[str, int] = field(default_factory=dict)
    chunk_s: float = 0.0
    dem_30: dict[str, Callable[[], bytes]] = field(default_factory=dict)
    dem_90: set[str] = field(default_factory=set)
    log: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    token: str = ""
    silent: bool = False
    base: str = ""

    def asked(self, prefix: str, method: str = "") -> list[tuple[str, dict[str, str]]]:
        return [(p, q) for m, p, q in self.log if p.startswith(prefix) and method in ("", m)]

    @property
    def endpoints(self) -> dict[str, str]:
        """Values of search.endpoints."""
        names = {
            "cdse_catalogue": "odata",
            "cdse_download": "bytes",
            "orbits": "orbits",
            "dem_30": "glo30",
            "dem_90": "glo90",
        }
        return {"cdse_identity": f"{self.base}/token"} | {key: f"{self.base}/{folder}" for key, folder in names.items()}

    def listed(self) -> list[str]:
        return list(self.orbits) if self.catalogue is None else self.catalogue

    # -- answers ---------------------------------------------------------------------------------------------------

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, str, bytes]:
        """Status, content type, body."""
        for prefix, status in self.failing.items():
            if path.startswith(prefix):
                return status, "text/plain", b"failing"
        if path == "/odata/Products":
            return 200, "application/json", json.dumps(self._products(query)).encode()
        if path == "/orbits/":
            return 200, "application/xml", self._listing(query).encode()
        body = self._file(path)
        return (404, "application/xml", b"<Error/>") if body is None else (200, "application/octet-stream", body)

    def _file(self, path: str) -> bytes | None:
        if match := re.fullmatch(r"/orbits/AUX_(?:POEORB|RESORB)/(.+)", path):
            return None if match[1] in self.unlisted else self.orbits.get(match[1])
        if match := re.fullmatch(r"/bytes/Products\((.+)\)/\$value", path):
            return next((body for name, body in self.orbits.items() if remote_id(name) == match[1]), None)
        if match := re.fullmatch(r"/glo30/(.+)/\1\.tif", path):
            return self.dem_30[match[1]]() if match[1] in self.dem_30 else None
        if match := re.fullmatch(r"/glo90/(.+)/\1\.tif", path):
            return b"II*\0" if match[1] in self.dem_90 else None
        return None

    def _products(self, query: dict[str, str]) -> dict[str, Any]:
        """The subset of OData that is asked: two texts, two times, $top, $skip."""
        match = re.fullmatch(
            r"startswith\(Name,'(\w+)'\) and contains\(Name,'(\w+)'\) and ContentDate/Start lt (\S+) and ContentDate/End gt (\S+)",
            query["$filter"],
        )
        assert match is not None, query["$filter"]
        before, after = (dt.datetime.fromisoformat(text) for text in match.groups()[2:])
        found = [
            said
            for said in map(parse_orbit_name, self.listed())
            if said
            and said.name.startswith(match[1])
            and match[2] in said.name
            and said.start < before
            and said.stop > after
        ]
        skip, top = int(query.get("$skip", 0)), min(int(query["$top"]), self.page)
        page: dict[str, Any] = {"value": [self._item(said.name) for said in found[skip : skip + top]]}
        if len(found) > skip + top:
            more = "&".join(f"{quote(k)}={quote(v)}" for k, v in (query | {"$skip": str(skip + top)}).items())
            page["@odata.nextLink"] = f"{self.base}/odata/Products?{more}"
        return page

    def _item(self, name: str) -> dict[str, Any]:
        body = self.orbits[name]
        sums = [{"Algorithm": "MD5", "Value": hashlib.md5(body).hexdigest()}] if self.checksums else []
        return {
            "Id": remote_id(name),
            "Name": name,
            "ContentLength": len(body),
            "Online": True,
            "Checksum": sums,
            "EvictionDate": "",
        }

    def _listing(self, query: dict[str, str]) -> str:
        keys = sorted(f"{name[9:19]}/{name}" for name in self.orbits if name not in self.unlisted)
        keys = [key for key in keys if key.startswith(query.get("prefix", "")) and key > query.get("marker", "")]
        shown = keys[: self.page]
        entries = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(self.orbits[key.rpartition('/')[2]])}</Size></Contents>"
            for key in shown
        )
        more = "true" if len(keys) > len(shown) else "false"
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        return f'<ListBucketResult xmlns="{space}"><IsTruncated>{more}</IsTruncated>{entries}</ListBucketResult>'


def remote_id(name: str) -> str:
    """An id that looks like the catalogue's."""
    return hashlib.md5(name.encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    buckets: Buckets

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.buckets.log.append(("POST", self.path, {"grant_type": form["grant_type"][0]}))
        body = json.dumps({"access_token": self.buckets.token, "expires_in": 600}).encode()
        self._write_head(200, "application/json", {"Content-Length": str(len(body))})
        self._write(body)

    def _write_head(self, status: int, kind: str, more: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        self.buckets.log.append((self.command, path, query))
        status, kind, body = self.buckets.answer(path, query)
        if path.startswith("/bytes") and self.buckets.token not in self.headers.get("Authorization", ""):
            status, body = 401, b""
        etag, total = f'"{hashlib.md5(body).hexdigest()}"', len(body)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if status == 200 and asked and self.headers.get("If-Range", etag) == etag and int(asked[1]) < total:
            status, body = 206, body[int(asked[1]) :]
        more = {"Content-Length": str(len(body)), "ETag": etag}
        if self.buckets.silent and self.command == "HEAD":
            del more["Content-Length"]
        if status == 206:
            more["Content-Range"] = f"bytes {total - len(body)}-{total - 1}/{total}"
        self._write_head(status, kind, more)
        if self.command == "GET":
            self._write(body)

    def _write(self, body: bytes) -> None:
        try:
            for begin in range(0, len(body), 1 << 16):
                self.wfile.write(body[begin : begin + (1 << 16)])
                if self.buckets.chunk_s:
                    time.sleep(self.buckets.chunk_s)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def serving(buckets: Buckets) -> Iterator[Buckets]:
    """Serve on 127.0.0.1 until the block ends."""
    handler = type("Handler", (_Handler,), {"buckets": buckets})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    buckets.base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield buckets
    finally:
        server.shutdown()
        server.server_close()
