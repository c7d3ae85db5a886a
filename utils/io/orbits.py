"""Precise (POEORB) and restituted (RESORB) orbit files of Sentinel-1 products: where they are, whether they are whole.

Asked is the OData catalogue, or the listing of the open bucket when the catalogue does not answer. The bytes come from
the bucket, which needs no login; what it lacks the catalogue's download service has, with a login.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from utils.io.local_copy import Received
from utils.io.orbit_file import ORBIT_NAME
from utils.io.safe import parse_xml
from utils.io.staged import Fetch, fetch_checked
from utils.io.web import Web
from utils.science.catalogue import Request
from utils.science.product import Product, parse_time
from utils.workflow.errors import CredentialError, Error, InputError, NetworkError, PartialError, VerificationError

Kind = Literal["POEORB", "RESORB"]
# one orbit (12 days / 175) and 60 s before the first line, so that the ascending node is inside
BEFORE = dt.timedelta(seconds=5984.57)
AFTER = dt.timedelta(seconds=60)
DOWNLOAD_URL = "https://download.dataspace.copernicus.eu/odata/v1"
_TOP = 10
_MAX_PAGES = 200  # of 1000 keys; a listing that does not end is an error of the server


@dataclass(frozen=True)
class OrbitFile:
    """One published orbit file.

    created      compact text, compared as text;  start, stop: validity, UTC
    remote_id    id at the catalogue, empty when the bucket listing named the file
    size         bytes, None = unknown;  md5, blake3 empty = not published;  path: in a folder of orbit files
    """

    name: str
    platform: str
    kind: str
    created: str
    start: dt.datetime
    stop: dt.datetime
    remote_id: str = ""
    size: int | None = None
    md5: str = ""
    blake3: str = ""
    path: str = ""


@dataclass(frozen=True)
class Found:
    """Requests of the files to fetch, and the passes that have no orbit file yet, in words."""

    requests: tuple[Request, ...]
    missing: tuple[str, ...]


@dataclass
class _Pass:
    """Products of one platform and absolute orbit."""

    platform: str
    start: dt.datetime
    stop: dt.datetime
    products: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.platform} {self.start:%Y-%m-%d %H:%M:%S}"


def parse_orbit_name(name: str, **known: Any) -> OrbitFile | None:
    """Record of a file name; None for anything else. known: further fields."""
    match = ORBIT_NAME.fullmatch(name)
    if match is None:
        return None
    return OrbitFile(name, match[1], match[2], match[3], parse_time(match[4]), parse_time(match[5]), **known)


def newest(
    files: Iterable[OrbitFile], platform: str, kind: Kind, start: dt.datetime, stop: dt.datetime
) -> OrbitFile | None:
    """The newest file of a platform and kind whose validity, as named, holds start - 5984.57 s .. stop + 60 s."""
    fitting = [
        file
        for file in files
        if (file.platform, file.kind) == (platform, kind) and file.start < start - BEFORE and file.stop > stop + AFTER
    ]
    return max(fitting, key=lambda file: (file.created, file.name), default=None)


def odata_filter(platform: str, kind: Kind, start: dt.datetime, stop: dt.datetime) -> str:
    """The question to the catalogue; start, stop: first and last line of a pass, UTC."""
    first, last = start - BEFORE, stop + AFTER
    return (
        f"startswith(Name,'{platform}') and contains(Name,'AUX_{kind}') "
        f"and ContentDate/Start lt {_stamp(first)} and ContentDate/End gt {_stamp(last)}"
    )


def _stamp(time: dt.datetime) -> str:
    return time.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def search_catalogue(
    platform: str, kind: Kind, start: dt.datetime, stop: dt.datetime, web: Web, catalogue_url: str
) -> Iterator[OrbitFile]:
    """Files that the OData catalogue offers for a pass, in its order; raises as Web.json."""
    url = f"{catalogue_url.rstrip('/')}/Products"
    params: dict[str, Any] | None = {"$filter": odata_filter(platform, kind, start, stop), "$top": _TOP}
    for _ in range(_MAX_PAGES):
        page = web.json("GET", url, params=params)
        if not isinstance(page, dict) or not isinstance(page.get("value"), list):
            raise InputError("the catalogue's answer holds no list of orbit files.", "Try again later.")
        for item in page["value"]:
            if file := _from_odata(item):
                yield file
        url, params = page.get("@odata.nextLink") or "", None
        if not url or len(page["value"]) < _TOP:
            return


def _from_odata(item: Mapping[str, Any]) -> OrbitFile | None:
    sums = {str(entry.get("Algorithm")): str(entry.get("Value", "")).lower() for entry in item.get("Checksum") or []}
    return parse_orbit_name(
        str(item.get("Name", "")), remote_id=str(item.get("Id", "")), size=item.get("ContentLength") or None,
        md5=sums.get("MD5", ""), blake3=sums.get("BLAKE3", ""),
    )  # fmt: skip


def list_bucket(platform: str, kind: Kind, web: Web, bucket_url: str) -> Iterator[OrbitFile]:
    """All files of a platform and kind in the open bucket, page after page.

    raises  InputError when a page is no listing or the pages do not advance; as Web.text
    """
    marker, prefix = "", f"AUX_{kind}/{platform}_OPER_AUX_{kind}_OPOD_"
    for _ in range(_MAX_PAGES):
        text = web.text("GET", f"{bucket_url.rstrip('/')}/", params={"prefix": prefix, "marker": marker})
        root = parse_xml(text.encode(), "the listing of the orbit bucket")
        last = ""
        for entry in root.iterfind("Contents"):
            last, size = entry.findtext("Key") or "", entry.findtext("Size") or ""
            if file := parse_orbit_name(last.rpartition("/")[2], size=int(size) if size.isdigit() else None):
                yield file
        if (root.findtext("IsTruncated") or "").strip() != "true":
            return
        following = root.findtext("NextMarker") or last  # absent without a delimiter: then the last key
        if following <= marker:
            break
        marker = following
    raise InputError("the listing of the orbit bucket does not end.", "Try again later.")


class _Services:
    """Catalogue and bucket for several passes: a catalogue that failed is not asked again, a listing is read once."""

    def __init__(self, web: Web, catalogue_url: str, bucket_url: str) -> None:
        self.web, self.catalogue_url, self.bucket_url = web, catalogue_url, bucket_url
        self._catalogue_works = True
        self._listed: dict[tuple[str, Kind], list[OrbitFile]] = {}

    def offers(self, one: _Pass, kind: Kind) -> list[OrbitFile]:
        if self._catalogue_works:
            try:
                return list(search_catalogue(one.platform, kind, one.start, one.stop, self.web, self.catalogue_url))
            except (NetworkError, InputError, CredentialError):
                self._catalogue_works = False
        key = (one.platform, kind)
        if key not in self._listed:
            self._listed[key] = list(list_bucket(one.platform, kind, self.web, self.bucket_url))
        return self._listed[key]


def _passes(products: Sequence[Product]) -> list[_Pass]:
    found: dict[tuple[str, int | str], _Pass] = {}
    for product in products:
        if product.mission != "S1":
            continue
        key = (product.platform, product.name if product.absolute_orbit is None else product.absolute_orbit)
        one = found.setdefault(key, _Pass(product.platform, product.start, product.stop))
        one.start, one.stop = min(one.start, product.start), max(one.stop, product.stop)
        one.products.append(product.name)
    return sorted(found.values(), key=lambda one: (one.start, one.platform))


def search(
    products: Sequence[Product], web: Web, *, catalogue_url: str, bucket_url: str, download_url: str = DOWNLOAD_URL
) -> Found:
    """The orbit file of every Sentinel-1 pass: POEORB, else RESORB with W_RESORB in facts["warnings"].

    download_url  of the catalogue's own files, for what the bucket lacks
    raises        NetworkError and others when neither catalogue nor bucket answers
    """
    services = _Services(web, catalogue_url, bucket_url)
    return _found(products, services.offers, bucket_url, download_url)


def search_folder(products: Sequence[Product], folder: Path) -> Found:
    """As `search`, among the orbit files of a folder and those below it; the addresses are paths."""
    paths = sorted(folder.rglob("*.EOF"))
    known = (parse_orbit_name(path.name, path=str(path), size=path.stat().st_size) for path in paths)
    files = [file for file in known if file]
    return _found(products, lambda one, kind: files, "", "")


def _found(
    products: Sequence[Product], offers: Callable[[_Pass, Kind], list[OrbitFile]], bucket_url: str, download_url: str
) -> Found:
    def best(one: _Pass, kind: Kind) -> OrbitFile | None:
        return newest(offers(one, kind), one.platform, kind, one.start, one.stop)

    chosen: dict[str, tuple[OrbitFile, list[_Pass]]] = {}
    missing = []
    for one in _passes(products):
        file = best(one, "POEORB") or best(one, "RESORB")
        if file is None:
            missing.append(str(one))
        else:
            chosen.setdefault(file.name, (file, []))[1].append(one)
    requests = tuple(_request(file, passes, bucket_url, download_url) for file, passes in chosen.values())
    return Found(requests, tuple(missing))


def wanted(
    products: Sequence[Product], web: Web, *, catalogue_url: str, bucket_url: str, download_url: str = DOWNLOAD_URL
) -> list[Request]:
    """As `search`, for callers that need all of them.

    raises  PartialError naming the passes that have no orbit file yet
    """
    found = search(
        products, web, catalogue_url=catalogue_url, bucket_url=bucket_url, download_url=download_url
    )  # fmt: skip
    if found.missing:
        raise missing_error(found.missing)
    return list(found.requests)


def missing_error(missing: Sequence[str]) -> PartialError:
    """Exit 71 with the passes named."""
    return PartialError(
        f"no orbit file, neither POEORB nor RESORB, for {', '.join(missing)}.",
        "Try again some hours after the acquisition, or set preprocess.orbit: annotation.",
    )


def _request(file: OrbitFile, passes: Sequence[_Pass], bucket_url: str, download_url: str) -> Request:
    facts: dict[str, Any] = {
        "mission": "ORBIT",
        "provider": "orbits",
        "orbit": file.kind,
        "products": sorted(name for one in passes for name in one.products),
        "warnings": [
            f"W_RESORB: {one}: no precise orbit is published yet; {file.name} is used" for one in passes
        ] if file.kind == "RESORB" else [],
    }  # fmt: skip
    if file.remote_id:
        # never at the catalogue's host: it redirects to another one, and HTTP clients drop the token on the way
        facts["fallback"] = f"{download_url.rstrip('/')}/Products({file.remote_id})/$value"
    url = file.path or f"{bucket_url.rstrip('/')}/AUX_{file.kind}/{file.name}"
    return Request(file.name, url, "xml", size=file.size, md5=file.md5, blake3=file.blake3, facts=facts)


def bring(request: Request, target: Path, fetch: Fetch) -> Received:
    """Fetch one orbit file, from the bucket or else from the catalogue's download service, and check it.

    raises  what the bucket's transfer raised, with the reason of the second source added
    """
    try:
        return _bring(request, target, fetch)
    except (InputError, NetworkError, CredentialError, VerificationError) as error:
        url = request.facts.get("fallback")
        if not url:
            raise
        try:
            return _bring(replace(request, url=url, auth="cdse"), target, fetch)
        except Error as second:
            error.message = f"{error.message} Second source: {second.message}"
            error.remedy = second.remedy
            raise error from second


def _bring(request: Request, target: Path, fetch: Fetch) -> Received:
    return fetch_checked(request, target, fetch, lambda path: check_orbit_file(path, request.name, request.size))


def check_orbit_file(path: Path, name: str | None = None, size: int | None = None) -> tuple[str, ...]:
    """Read a whole orbit file: size, well-formed XML, mission and validity as named, all state vectors there.

    name     what it must be, default its file name;  size: bytes, None = unknown
    returns  names of the checks
    raises   InputError
    """
    said = parse_orbit_name(name or path.name)
    if said is None:
        raise InputError(f"{name or path.name}: not the name of an orbit file.", "Give a POEORB or RESORB file.")
    data = path.read_bytes()
    if size is not None and len(data) != size:
        raise InputError(f"{said.name}: {len(data)} bytes instead of {size}.", "Fetch it again.")
    root = parse_xml(data, said.name)
    if root.tag != "Earth_Explorer_File":
        raise InputError(f"{said.name}: its root is {root.tag}, not Earth_Explorer_File.", "Fetch it again.")
    _check_header(root, said)
    vectors = root.find("Data_Block/List_of_OSVs")
    count = len(vectors.findall("OSV")) if vectors is not None else 0
    promised = vectors.get("count", "") if vectors is not None else ""
    if not count or (promised.isdigit() and int(promised) != count):
        raise InputError(f"{said.name}: {count} state vectors instead of {promised or 'some'}.", "Fetch it again.")
    return ("size", "xml", "validity")


def _check_header(root: ElementTree.Element, said: OrbitFile) -> None:
    header = root.find("Earth_Explorer_Header/Fixed_Header")
    keys = ("Mission", "Validity_Period/Validity_Start", "Validity_Period/Validity_Stop")
    mission, start, stop = ((header.findtext(key) or "").strip() if header is not None else "" for key in keys)
    if mission.replace("Sentinel-", "S") != said.platform:
        raise InputError(f"{said.name}: holds the orbit of {mission or 'no mission'}.", "Fetch it again.")
    try:
        valid = tuple(parse_time(text.removeprefix("UTC=")) for text in (start, stop))
    except ValueError as error:
        raise InputError(f"{said.name}: no validity period ({error}).", "Fetch it again.") from error
    if valid != (said.start, said.stop):
        raise InputError(f"{said.name}: valid {start} .. {stop}, not as named.", "Fetch it again.")
