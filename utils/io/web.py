"""Small answers over HTTP: JSON and text of catalogues, with retries. No product byte passes here (see transfer)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from utils.workflow.errors import CredentialError, InputError, NetworkError

RETRY_STATUS = frozenset({408, 429, 500, 502, 503, 504})
TIMEOUT_S = (10.0, 60.0)  # connect, read
LONGEST_WAIT_S = 900.0


class NotThereError(InputError):
    """The server answers 404 or 410."""


class Web:
    """One session for all searches of a run.

    offline   refuse every request (exit 67 with the word offline)
    attach    requests auth object for a host, or None: credentials never follow a redirect to another host
    """

    def __init__(
        self,
        *,
        offline: bool = False,
        tries: int = 10,
        attach: Callable[[str], requests.auth.AuthBase | None] = lambda host: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.offline, self.tries, self._attach, self._sleep = offline, tries, attach, sleep
        self._session = requests.Session()
        self._session.trust_env = False  # netrc would replace an Authorization of ours
        self.requests_made = 0

    def json(self, method: str, url: str, *, params: Mapping[str, Any] | None = None, body: Any = None) -> Any:
        """The parsed JSON answer.

        raises  NetworkError after all tries, CredentialError (401, 403), NotThereError (404, 410), InputError for an
                answer that is no JSON
        """
        answer = self._ask(method, url, params, body)
        try:
            return answer.json()
        except ValueError as error:
            host = urlsplit(url).hostname
            raise InputError(
                f"{host}: the answer is no JSON ({answer.headers.get('Content-Type', 'no type')}).",
                "Try again later; if it stays, another provider can be set in search.provider.",
            ) from error

    def text(self, method: str, url: str, *, params: Mapping[str, Any] | None = None) -> str:
        """The answer as text; raises as `json`."""
        return self._ask(method, url, params, None).text

    def head(self, url: str) -> int | None:
        """Size of a file in bytes, 0 when the server does not say it, None when it is not there; raises as `json`."""
        try:
            answer = self._ask("HEAD", url, None, None)
        except NotThereError:
            return None
        text = answer.headers.get("Content-Length", "")
        return int(text) if text.isdigit() else 0

    def _ask(self, method: str, url: str, params: Mapping[str, Any] | None, body: Any) -> requests.Response:
        host = urlsplit(url).hostname or ""
        if self.offline:
            raise NetworkError(f"{host}: not asked, --offline is set.", "Leave --offline out, or use provider local.")
        reason = ""
        for attempt in range(self.tries):
            if attempt:
                self._sleep(self._wait_s)
            try:
                self.requests_made += 1
                answer = self._session.request(
                    method, url, params=params, json=body, timeout=TIMEOUT_S, auth=self._attach(host)
                )
            except (requests.ConnectionError, requests.Timeout) as error:
                reason, self._wait_s = type(error).__name__, _backoff_s(attempt)
                continue
            if answer.status_code in RETRY_STATUS:
                reason = f"HTTP {answer.status_code}"
                self._wait_s = _retry_after_s(answer.headers.get("Retry-After")) or _backoff_s(attempt)
                continue
            return _checked(answer, host)
        raise NetworkError(
            f"{host}: no answer after {self.tries} tries ({reason}).",
            "Check the network of this machine and the state of the service, then run the same command again.",
        )

    _wait_s = 0.0


def _checked(answer: requests.Response, host: str) -> requests.Response:
    if answer.status_code in (401, 403):
        raise CredentialError(
            f"{host}: refused (HTTP {answer.status_code}).", "Check the login of this service in ~/.netrc."
        )
    if answer.status_code in (404, 410):
        raise NotThereError(f"{host}: HTTP {answer.status_code}.", "Check the address in search.endpoints.")
    if not answer.ok:
        raise InputError(
            f"{host}: HTTP {answer.status_code}: {answer.text[:200]!r}.", "Check the area and the dates of the search."
        )
    return answer


def _backoff_s(attempt: int) -> float:
    return random.uniform(1.0, min(60.0, 2.0**attempt))


def _retry_after_s(text: str | None) -> float | None:
    return min(float(text), LONGEST_WAIT_S) if text and text.strip().isdigit() else None
