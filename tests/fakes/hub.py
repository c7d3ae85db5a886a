"""A server of bytes on 127.0.0.1 that can misbehave in every way a real one has been seen to.

Each path has a queue of faults: every request to the path takes one, an empty queue serves the body properly.
The clock may run faster than time, so that a wait of ten seconds costs a fraction of one.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import random
import select
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOLD_GRACE_S = 0.05  # real seconds between the last look at the waits and the stamp of a request, on a busy machine
ALLOWED_CONNECTIONS = 4  # by one client at a time, as the Copernicus Data Space has it
CLOSED_GRACE_S = 0.05  # real seconds in which a connection that its client has closed may still look open here
GRACE_S = 0.15  # real seconds in which a request may already be under way when a wait is announced
_PACE_BYTES = 1 << 16
_TEXT = b"\n<html><body>502 Bad Gateway</body></html>\n"


@dataclass
class Body:
    """What a path serves. login: "" open, else the Authorization that is required ("token" = a live token)."""

    data: bytes
    login: str = ""
    etag: str = ""
    modified: str = "Wed, 01 Jan 2020 00:00:00 GMT"
    media: str = "application/octet-stream"
    length: bool = True


@dataclass(frozen=True)
class Entry:
    """One request as it came. authorization: the header itself, to see who was sent what; started: when the client
    began it, on the monotonic clock that client and hub share, 0 = not told (header X-Started)."""

    time: float
    method: str
    path: str
    query: str
    range: str
    if_range: str
    authorization: str
    started: float = 0.0


@dataclass
class Clock:
    """Time that runs `speed` times faster."""

    speed: float = 1.0
    begin: float = field(default_factory=time.monotonic)
    epoch: float = field(default_factory=time.time)

    def now(self) -> float:
        return (time.monotonic() - self.begin) * self.speed

    def wall(self) -> float:
        return self.epoch + self.now()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds) / self.speed)


class Hub:
    """A threaded server; use as a context manager.

    ranges, etags   switches for range requests and entity tags
    token_life_s    life of access tokens on the hub's clock
    """

    def __init__(self, clock: Clock | None = None, seed: int = 0) -> None:
        self.clock = clock or Clock()
        self.bodies: dict[str, Body] = {}
        self.faults: dict[str, deque[str]] = defaultdict(deque)
        self.log: list[Entry] = []
        self.answered: list[tuple[str, str]] = []  # path, fault served
        self.ranges = self.etags = True
        self.foreign = ""
        self.token_life_s, self.refresh_life_s = 600.0, 3600.0
        self.user, self.password, self.totp = "user", "secret-password", ""
        self.grants: list[str] = []
        self.sas_life_s, self.sas_asked = 2700.0, 0
        self.open_most = 0
        self._open: set[socket.socket] = set()
        self.early = 0
        self.told_at = math.inf
        self.announced = self.heard = 0
        self.early_at: list[tuple[float, str]] = []
        self.retry_after_s = 10.0
        self.stall_s = 1.0
        self.pace_s = 0.0  # pause after each 64 KiB of a body
        self._tokens: dict[str, float] = {}
        self._refreshes: dict[str, float] = {}
        self._quiet: tuple[float, float] = (0.0, 0.0)  # real times between which nobody may ask
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        hub = self

        class Handler(_Handler):
            owner = hub

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def put(self, path: str, data: bytes, *faults: str, **more: Any) -> str:
        """Serve bytes at a path; returns the address."""
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        self.bodies[path] = Body(data, **{"etag": etag, **more})
        self.faults[path] = deque(faults)
        return self.url + path

    def requests(self, path: str) -> list[Entry]:
        """The log of one path."""
        return [entry for entry in self.log if entry.path == path]

    # -- what handlers ask -------------------------------------------------------------------------------------

    def connected(self, connection: socket.socket) -> None:
        """Count the connections that their client has not closed: it closes one before it opens the next, but word of
        it comes late on a busy machine. A number above the allowed one counts once it has lasted."""
        with self._lock:
            self._open.add(connection)
            seen = list(self._open)
        until = time.monotonic() + CLOSED_GRACE_S
        while (most := sum(map(_is_open, seen))) > ALLOWED_CONNECTIONS and time.monotonic() < until:
            time.sleep(0.002)
        with self._lock:
            self.open_most = max(self.open_most, most)

    def gone(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def arrived(self, entry: Entry) -> None:
        with self._lock:
            self.log.append(entry)
            # a busy machine may need longer than the grace to read the announcement: where the client tells when it
            # has read it and when it began a request, those times decide
            begun = entry.started or time.monotonic()
            known = self.told_at + TOLD_GRACE_S if entry.started else self._quiet[0] + GRACE_S
            if known < begun < self._quiet[1]:
                self.early += 1
                self.early_at.append((begun - self._quiet[0], entry.path))

    def next_fault(self, path: str) -> str:
        with self._lock:
            fault = self.faults[path].popleft() if self.faults.get(path) else ""
            if fault:
                self.answered.append((path, fault))
            return fault

    def announce_quiet(self, seconds: float) -> None:
        """Nobody may ask for so many seconds of the hub's clock."""
        now = time.monotonic()
        with self._lock:
            self.announced += 1
            self.told_at = math.inf  # nobody knows of it yet
            self._quiet = (now, max(self._quiet[1], now + seconds / self.clock.speed))

    def allowed(self, body: Body, authorization: str) -> bool:
        if body.login != "token":
            return authorization == body.login or not body.login
        return self._tokens.get(authorization.removeprefix("Bearer "), 0.0) > self.clock.now()

    def revoke(self) -> None:
        """End the life of every access token."""
        self._tokens.clear()

    def grant(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Answer of the token endpoint."""
        with self._lock:
            now, kind = self.clock.now(), form.get("grant_type", "")
            self.grants.append(kind)
            if kind == "refresh_token":
                good = self._refreshes.pop(form.get("refresh_token", ""), 0.0) > now
            else:
                good = (form.get("username"), form.get("password"), form.get("totp", "")) == (
                    self.user, self.password, self.totp)  # fmt: skip
            if not good:
                return 401, {"error": "invalid_grant", "error_description": f"refused {form}"}
            access, refresh = (f"canary-{k}-{self._random.getrandbits(64):016x}" for k in ("access", "refresh"))
            self._tokens[access] = now + self.token_life_s
            self._refreshes[refresh] = now + self.refresh_life_s
            return 200, {"access_token": access, "expires_in": self.token_life_s, "refresh_token": refresh,
                         "refresh_expires_in": self.refresh_life_s}  # fmt: skip

    def some_cut(self, length: int) -> int:
        """Where a body is cut: neither at its first bytes nor at its end."""
        with self._lock:
            return self._random.randint(length // 5, max(length // 5, length * 4 // 5))


def _is_open(connection: socket.socket) -> bool:
    """False when the peer has closed. select first: a socket with a timeout would wait in recv."""
    try:
        readable, _, _ = select.select([connection], [], [], 0)
        return not readable or connection.recv(1, socket.MSG_PEEK) != b""
    except (OSError, ValueError):
        return False


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    owner: Hub
    protocol_version = "HTTP/1.1"
    wbufsize = 0

    def setup(self) -> None:
        super().setup()
        self.owner.connected(self.connection)

    def finish(self) -> None:
        with suppress(OSError):  # an answer may fit into buffers: the connection lasts until the client closes it
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(2.0)
            while self.connection.recv(1 << 16):
                pass
        self.owner.gone(self.connection)
        super().finish()

    def log_message(self, *_: Any) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(self.owner.clock.wall(), usegmt=True)

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        text = self.rfile.read(size).decode()
        self._note()
        fault = self.owner.next_fault(urlsplit(self.path).path)
        if fault in FAULTS:
            FAULTS[fault](self, Body(b""))
        elif self.path == "/token":
            status, answer = self.owner.grant({k: v[0] for k, v in parse_qs(text).items()})
            self.reply(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})
        else:
            self.reply(200, text.encode(), {"Content-Type": "application/json"})

    def do_GET(self) -> None:
        path = self._note()
        if path.startswith("/sas/"):
            self._sas()
            return
        fault, body = self.owner.next_fault(path), self.owner.bodies.get(path)
        if body is None:
            self.reply(404, b"nothing here")
        elif fault:
            FAULTS[fault](self, body)
        elif not self.owner.allowed(body, self.headers.get("Authorization", "")):
            self.reply(401, b"who are you")
        else:
            self.serve(body)

    def _note(self) -> str:
        parts, h = urlsplit(self.path), self.headers
        self.owner.arrived(Entry(self.owner.clock.now(), self.command, parts.path, parts.query, h.get("Range", ""),
                                 h.get("If-Range", ""), h.get("Authorization", ""), float(h.get("X-Started", 0))))  # fmt: skip
        return parts.path

    def _sas(self) -> None:
        self.owner.sas_asked += 1
        until = time.gmtime(self.owner.clock.wall() + self.owner.sas_life_s)
        answer = {
            "msft:expiry": time.strftime("%Y-%m-%dT%H:%M:%SZ", until),
            "token": f"sv=1&sig=canary-sas-{self.owner.sas_asked}",
        }
        self.reply(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    # -- answers -----------------------------------------------------------------------------------------------

    def reply(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.head(status, {"Content-Length": str(len(data)), **(headers or {})})
        self.wfile.write(data)

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def entity(self, body: Body) -> dict[str, str]:
        out = {"Content-Type": body.media}
        if body.modified:
            out["Last-Modified"] = body.modified
        return {**out, "ETag": body.etag} if self.owner.etags and body.etag else out

    def asked_start(self, body: Body) -> int:
        """First byte that this request may get; 0 without a range that holds for this entity."""
        text, condition = self.headers.get("Range", ""), self.headers.get("If-Range")
        known = (body.etag if self.owner.etags and not body.etag.startswith("W/") else "", body.modified)
        if not self.owner.ranges or not text.startswith("bytes=") or (condition and condition not in known):
            return 0
        return int(text[6:].partition("-")[0])

    def serve(self, body: Body, upto: int | None = None, change: Callable[[bytes], bytes] = lambda data: data) -> int:
        """Proper answer, or its first bytes; returns the position reached."""
        start, total = self.asked_start(body), len(body.data)
        if start >= total:
            self.reply(416, b"", {"Content-Range": f"bytes */{total}", **self.entity(body)})
            return total
        headers = self.entity(body)
        if body.length:
            headers["Content-Length"] = str(total - start)
        else:
            headers["Connection"] = "close"
        if start:
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        self.head(206 if start else 200, headers)
        end = total if upto is None else max(start, upto)
        data = change(body.data[start:end])
        for at in range(0, len(data), _PACE_BYTES):
            self.wfile.write(data[at : at + _PACE_BYTES])
            if self.owner.pace_s:
                time.sleep(self.owner.pace_s)
        if not body.length:
            self.close_connection = True
        return end

    def hang_up(self) -> None:
        self.close_connection = True

    def reset(self) -> None:
        """Close with a TCP reset instead of a proper end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


def _cut(h: _Handler, body: Body) -> None:
    h.serve(body, h.owner.some_cut(len(body.data)))
    h.hang_up()


def _reset(h: _Handler, body: Body) -> None:
    h.serve(body, h.owner.some_cut(len(body.data)))
    time.sleep(0.01)
    h.reset()


def _stall(h: _Handler, body: Body) -> None:
    h.serve(body, h.owner.some_cut(len(body.data)))
    with suppress(OSError):
        h.connection.settimeout(h.owner.stall_s)
        h.connection.recv(1)  # ends when the client has had enough
    h.close_connection = True


def _flip(h: _Handler, body: Body) -> None:
    def one_bit(data: bytes) -> bytes:
        out = bytearray(data)
        out[len(out) // 2] ^= 4
        return bytes(out)

    h.serve(body, change=one_bit)


def _text_at_cut(h: _Handler, body: Body) -> None:
    h.serve(body, h.owner.some_cut(len(body.data)))
    h.wfile.write(_TEXT)
    h.hang_up()


def _text_without_length(h: _Handler, body: Body) -> None:
    h.serve(Body(body.data, etag=body.etag, length=False))
    h.wfile.write(_TEXT)
    h.hang_up()


def _early_close(h: _Handler, body: Body) -> None:
    h.serve(Body(body.data, etag=body.etag, length=False), h.owner.some_cut(len(body.data)))
    h.hang_up()


def _whole(h: _Handler, body: Body) -> None:
    """Range ignored: 200 with everything."""
    h.head(200, {**h.entity(body), "Content-Length": str(len(body.data))})
    h.wfile.write(body.data)


def _wrong_range(shift: int, more: int) -> Callable[[_Handler, Body], None]:
    def answer(h: _Handler, body: Body) -> None:
        start, total = h.asked_start(body) + shift, len(body.data)
        headers = {"Content-Length": str(total - start), "Content-Range": f"bytes {start}-{total - 1}/{total + more}"}
        h.head(206, {**h.entity(body), **headers})
        h.wfile.write(body.data[start:])

    return answer


def _short_range(h: _Handler, body: Body) -> None:
    """206 that ends before the end of the file, whole as far as it goes."""
    start, total = h.asked_start(body), len(body.data)
    end = start + max(1, (total - start) // 2)
    headers = {"Content-Length": str(end - start), "Content-Range": f"bytes {start}-{end - 1}/{total}"}
    h.head(206, {**h.entity(body), **headers})
    h.wfile.write(body.data[start:end])


def _other_entity(h: _Handler, body: Body) -> None:
    """206 of another entity: right range, other ETag, other bytes."""
    start, total = h.asked_start(body), len(body.data)
    headers = {"Content-Length": str(total - start), "Content-Range": f"bytes {start}-{total - 1}/{total}"}
    h.head(206, {**h.entity(body), **headers, "ETag": '"another"'})
    h.wfile.write(bytes(total - start))


def _multipart(h: _Handler, body: Body) -> None:
    h.reply(206, body.data, {"Content-Type": "multipart/byteranges; boundary=x"})


def _cut_weak(h: _Handler, body: Body) -> None:
    h.serve(Body(body.data, etag="W/" + body.etag, modified=""), h.owner.some_cut(len(body.data)))
    h.hang_up()


def _oversized(h: _Handler, body: Body) -> None:
    data = body.data + bytes(5000)
    h.reply(200, data, h.entity(body))


def _oversized_unannounced(h: _Handler, body: Body) -> None:
    h.serve(Body(body.data + bytes(5000), etag=body.etag, length=False))


def _gzipped(h: _Handler, body: Body) -> None:
    h.reply(200, gzip.compress(body.data, 1), {**h.entity(body), "Content-Encoding": "gzip"})


def _page(media: str, data: bytes) -> Callable[[_Handler, Body], None]:
    return lambda h, body: h.reply(200, data, {"Content-Type": media})


def _status(status: int, data: bytes = b"") -> Callable[[_Handler, Body], None]:
    return lambda h, body: h.reply(status, data)


def _unsatisfiable(h: _Handler, body: Body) -> None:
    h.reply(416, b"", {"Content-Range": f"bytes */{len(body.data)}"})


def _wait_seconds(status: int) -> Callable[[_Handler, Body], None]:
    def answer(h: _Handler, body: Body) -> None:
        seconds = h.owner.retry_after_s
        h.owner.announce_quiet(seconds)
        h.reply(status, b'{"code": "DAT-ZIP-100"}', {"Retry-After": f"{seconds:.0f}"})

    return answer


def _wait_date(h: _Handler, body: Body) -> None:
    seconds = h.owner.retry_after_s
    h.owner.announce_quiet(seconds)
    h.reply(429, b"", {"Retry-After": formatdate(h.owner.clock.wall() + seconds + 5, usegmt=True)})


def _foreign(h: _Handler, body: Body) -> None:
    h.reply(302, b"", {"Location": h.owner.foreign + urlsplit(h.path).path})


def _loop(h: _Handler, body: Body) -> None:
    h.reply(302, b"", {"Location": h.path})


FAULTS: dict[str, Callable[[_Handler, Body], None]] = {
    "cut": _cut, "reset": _reset, "stall": _stall, "flip": _flip, "text at cut": _text_at_cut,
    "text without length": _text_without_length, "early close": _early_close, "range ignored": _whole,
    "206 wrong start": _wrong_range(7, 0), "206 wrong total": _wrong_range(0, 9), "206 short": _short_range,
    "changed etag": _other_entity, "multipart": _multipart, "weak etag": _cut_weak, "oversized": _oversized,
    "oversized unannounced": _oversized_unannounced, "gzip": _gzipped, "html": _page("text/html; charset=utf-8", b"<html>log in</html>"),
    "html as zip": _page("application/zip", b"<!DOCTYPE html><html>maintenance</html>"),
    "json": _page("application/json", b'{"detail": {"ErrorCode": "X"}}'), "416": _unsatisfiable,
    "429 seconds": _wait_seconds(429), "429 date": _wait_date, "429": _status(429), "503 seconds": _wait_seconds(503),
    "500": _status(500, b"oops"), "503": _status(503), "401": _status(401), "403": _status(403), "404": _status(404),
    "foreign redirect": _foreign, "redirect loop": _loop,
}  # fmt: skip
