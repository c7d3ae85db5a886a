"""HTTP as all of the project speaks it: retries, waits shared by all workers of a host, credentials by host.

Catalogues are asked for JSON and text here; product bytes go through `Web.open` too, but only transfer reads them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.utils import get_environ_proxies

from utils.io.waits import HostWaits, backoff_s, retry_after_s
from utils.workflow.errors import CredentialError, InputError, NetworkError

RETRY_STATUS = frozenset({408, 429, 500, 502, 503, 504})
TIMEOUT_S = (10.0, 60.0)  # connect, read
CONNECTIONS = 4
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_HOPS = 10
Attach = Callable[[str], requests.auth.AuthBase | None]


class NotThereError(InputError):
    """The server answers 404 or 410."""


class RedirectError(requests.RequestException):
    """Redirects in a circle, too many of them, or to an address that is not HTTP."""


# what a try may end with that another try can mend
TRANSIENT = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    RedirectError,
)


@dataclass(frozen=True)
class _Ask:
    """One request as it goes out; a redirect makes another."""

    method: str
    url: str
    headers: Mapping[str, str]
    params: Mapping[str, Any] | None = None
    body: Any = None
    form: Mapping[str, str] | None = None


class Web:
    """One session for all requests of a run; may be used by several threads.

    offline     refuse every request (exit 67 with the word offline)
    attach      requests auth object for a host ("name" or "name:port"), or None: credentials go to that host only,
                never with a redirect to another one, and never over plain HTTP except to this machine
    sleep, now, wall  the clocks; now is monotonic, wall in seconds since 1970
    timeout_s   connect, read
    keep_alive  False: one connection a request, so that idle ones do not count against the limit of a service
    """

    def __init__(
        self,
        *,
        offline: bool = False,
        tries: int = 10,
        attach: Attach = lambda host: None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        timeout_s: tuple[float, float] = TIMEOUT_S,
        connections: int = CONNECTIONS,
        keep_alive: bool = True,
    ) -> None:
        self.offline, self.tries, self._attach = offline, tries, attach
        self.now, self._wall, self._timeout_s, self._keep_alive = now, wall, timeout_s, keep_alive
        self.waits = HostWaits(now, sleep)
        self._slots = threading.BoundedSemaphore(connections)
        self._session = requests.Session()
        self._session.trust_env = False  # netrc would replace an Authorization of ours
        self._verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        self._count = threading.Lock()
        self._live: set[requests.Response] = set()
        self.requests_made = 0

    def json(self, method: str, url: str, *, params: Mapping[str, Any] | None = None, body: Any = None) -> Any:
        """The parsed JSON answer.

        raises  NetworkError after all tries, CredentialError (401, 403), NotThereError (404, 410), InputError for an
                answer that is no JSON
        """
        return _parsed(self._ask(_Ask(method, url, {}, params, body)))

    def text(self, method: str, url: str, *, params: Mapping[str, Any] | None = None) -> str:
        """The answer as text; raises as `json`."""
        return self._ask(_Ask(method, url, {}, params)).text

    def head(self, url: str) -> int | None:
        """Size of a file in bytes, 0 when the server does not say it, None when it is not there; raises as `json`."""
        try:
            answer = self._ask(_Ask("HEAD", url, {"Accept-Encoding": "identity"}))
        except NotThereError:
            return None
        text = answer.headers.get("Content-Length", "")
        return int(text) if text.isdigit() else 0

    def form(self, url: str, fields: Mapping[str, str]) -> Any:
        """POST a form and parse the JSON answer; a redirect is refused, because the form holds a login."""
        return _parsed(self._ask(_Ask("POST", url, {}, form=fields)))

    @contextmanager
    def open(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        attach: Attach | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Iterator[requests.Response]:
        """One GET, redirects followed, its body still unread; no retry. The connection is closed at the end.

        attach  as for the class; None = no credentials
        raises  the exceptions of TRANSIENT, NetworkError when offline, StoppedError
        """
        with self._sent(_Ask("GET", url, headers or {}), attach or (lambda host: None), stop, True) as answer:
            yield answer

    def interrupt(self) -> None:
        """End the bodies that are being read now, as if the server had cut them: for workers that must stop."""
        with self._count:
            live = list(self._live)
        for answer in live:
            with suppress(OSError, ValueError):
                answer.raw.shutdown()

    def wait_after(self, host: str, attempt: int, answer: requests.Response | None) -> None:
        """Keep everybody from this host for as long as it asks, else for a random time that grows with the attempts."""
        asked = retry_after_s(answer.headers, self._wall()) if answer is not None else None
        self.waits.hold(host, asked if asked else backoff_s(attempt))

    def _ask(self, ask: _Ask) -> requests.Response:
        host = host_of(ask.url)
        reason = ""
        for attempt in range(self.tries):
            try:
                with self._sent(ask, self._attach, None, False) as answer:
                    if answer.status_code not in RETRY_STATUS:
                        return _checked(answer, host_of(answer.url))
                    reason, host = f"HTTP {answer.status_code}", host_of(answer.url)
                    self.wait_after(host, attempt, answer)
            except TRANSIENT as error:
                reason = reason_of(error)
                self.wait_after(host, attempt, None)
            except requests.RequestException as error:
                raise InputError(
                    f"{host or 'an address'}: cannot be asked ({type(error).__name__}).", "Check search.endpoints."
                ) from None
        raise no_answer(host, self.tries, reason)

    @contextmanager
    def _sent(
        self, ask: _Ask, attach: Attach, stop: Callable[[], bool] | None, stream: bool
    ) -> Iterator[requests.Response]:
        visited: set[str] = set()
        while True:
            if ask.url in visited or len(visited) > _MOST_HOPS:
                raise RedirectError("redirects in a circle")
            visited.add(ask.url)
            with self._hop(ask, attach, stop, stream) as answer:
                if answer.status_code not in _REDIRECTS or "Location" not in answer.headers:
                    yield answer
                    return
                ask = _redirected(ask, answer)

    @contextmanager
    def _hop(
        self, ask: _Ask, attach: Attach, stop: Callable[[], bool] | None, stream: bool
    ) -> Iterator[requests.Response]:
        host = host_of(ask.url)
        if self.offline:
            raise NetworkError(f"{host}: not asked, --offline is set.", "Leave --offline out, or use provider local.")
        auth = attach(host) if _private(ask.url) else None  # may ask for a token, so before a slot is taken
        keep = self._keep_alive and not stream
        headers = dict(ask.headers) if keep else {**ask.headers, "Connection": "close"}
        while True:
            waited = self.waits.pause(host, stop)
            with self._slots:
                if self.waits.until(host) != waited:  # another worker was told to wait while this one got its slot
                    continue
                with self._session_of(keep) as session:
                    with self._count:
                        self.requests_made += 1
                    answer = session.request(
                        ask.method, ask.url, params=ask.params, json=ask.body, data=ask.form, headers=headers,
                        timeout=self._timeout_s, auth=auth or _no_auth, allow_redirects=False, stream=stream,
                        proxies=get_environ_proxies(ask.url, no_proxy=None), verify=self._verify,
                    )  # fmt: skip
                    with self._watched(answer):
                        yield answer
                return

    @contextmanager
    def _session_of(self, keep: bool) -> Iterator[requests.Session]:
        """The session of the run; or one for a single request, whose connection no pool keeps: a server may close it
        without saying so, and the next request would meet a dead connection."""
        if keep:
            yield self._session
            return
        with requests.Session() as single:
            single.trust_env = False
            single.cookies = self._session.cookies
            yield single

    @contextmanager
    def _watched(self, answer: requests.Response) -> Iterator[None]:
        """`interrupt` can reach the answer while it is read; it is closed in the end."""
        with self._count:
            self._live.add(answer)
        try:
            yield
        finally:
            with self._count:
                self._live.discard(answer)
            answer.close()


def host_of(url: str) -> str:
    """Host of an address, with its port when that is not the usual one."""
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    host = (parts.hostname or "").lower()
    return f"{host}:{parts.port}" if parts.port not in (None, usual) else host


def _private(url: str) -> bool:
    """True for an address that may be sent credentials: TLS, or this machine itself."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("127.0.0.1", "::1", "localhost")


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _redirected(ask: _Ask, answer: requests.Response) -> _Ask:
    if ask.form is not None:
        raise RedirectError("a login form was redirected")
    url = urljoin(ask.url, answer.headers["Location"])
    if urlsplit(url).scheme not in ("http", "https"):
        raise RedirectError("redirected to an address that is not HTTP")
    same = ask.method in ("GET", "HEAD") or answer.status_code in (307, 308)
    return _Ask(ask.method if same else "GET", url, ask.headers, None, ask.body if same else None)


def _parsed(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise InputError(
            f"{host_of(answer.url)}: the answer is no JSON ({answer.headers.get('Content-Type', 'no type')}).",
            "Try again later; if it stays, another provider can be set in search.provider.",
        ) from error


def _checked(answer: requests.Response, host: str) -> requests.Response:
    if answer.status_code in (401, 403):
        raise refused(host, answer.status_code)
    if answer.status_code in (404, 410):
        raise NotThereError(f"{host}: HTTP {answer.status_code}.", "Check the address in search.endpoints.")
    if not answer.ok:
        raise InputError(
            f"{host}: HTTP {answer.status_code}: {answer.text[:200]!r}.", "Check the area and the dates of the search."
        )
    return answer


def refused(host: str, status: int) -> CredentialError:
    """The error for a login that is missing or wrong."""
    return CredentialError(f"{host}: refused (HTTP {status}).", "Check the login of this service in ~/.netrc.")


def no_answer(host: str, tries: int, reason: str) -> NetworkError:
    """The error after the last try."""
    return NetworkError(
        f"{host}: no answer after {tries} tries ({reason}).",
        "Check the network of this machine and the state of the service, then run the same command again.",
    )


def reason_of(error: Exception) -> str:
    """A word for the log: never the text of a client's exception, which holds the whole address with its query."""
    return str(error) if isinstance(error, RedirectError) else type(error).__name__
