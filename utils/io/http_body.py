"""What the headers of an answer promise about its body, judged before the first byte is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping

import requests

from utils.science.catalogue import Kind

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class AgainError(Exception):
    """This try failed; another may succeed.

    drop    what was received before is worth nothing: start at byte 0
    answer, host  what the server said about waiting, and which server
    """

    def __init__(
        self, reason: str, *, drop: bool = False, answer: requests.Response | None = None, host: str = ""
    ) -> None:
        super().__init__(reason)
        self.drop, self.answer, self.host = drop, answer, host


def check_type(headers: Mapping[str, str], kind: Kind) -> None:
    """Refuse pages, compressed bodies and multipart answers.

    raises  AgainError
    """
    media = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media == "multipart/byteranges":
        raise AgainError("several ranges instead of one", drop=True)
    if headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise AgainError("a compressed body that nobody asked for", drop=True)
    page = media in ("text/html", "application/xhtml+xml") or media.endswith("json")
    if page or (media.endswith("xml") and kind != "xml"):
        raise AgainError(f"a {media} page instead of the file")


def content_range(headers: Mapping[str, str], start: int, known: int | None, etag: str) -> tuple[int, int, int]:
    """First byte, byte behind the last, and total of a 206.

    start   first byte that was asked for;  known: size of the whole, None = unknown;  etag: of the bytes kept, or empty
    raises  AgainError for anything but a range of the same entity from `start` on
    """
    match = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if match is not None and start > 0:
        begin, end, total = int(match[1]), int(match[2]) + 1, int(match[3])
        same = etag == "" or headers.get("ETag", etag) == etag
        if begin == start and begin < end <= total and known in (None, total) and same:
            return begin, end, total
    raise AgainError("another range than the one asked for", drop=True)


def content_length(headers: Mapping[str, str]) -> int | None:
    """Bytes of this body; None when the server does not say."""
    text = headers.get("Content-Length", "").strip()
    return int(text) if text.isdigit() else None
