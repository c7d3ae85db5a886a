"""Credentials: the only code that reads them. From ~/.netrc or the environment, to an allow-list of hosts, into no log.

Services   Copernicus Data Space (bearer token), SARA (HTTP Basic), Planetary Computer (signed query)
Variables  S2CR_CDSE_USER, S2CR_CDSE_PASSWORD, S2CR_CDSE_TOTP (two-factor code), S2CR_SARA_USER, S2CR_SARA_PASSWORD
"""

from __future__ import annotations

import netrc
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from utils.io.redact import SECRETS, install
from utils.io.web import Web, host_of
from utils.science.product import parse_time
from utils.workflow.errors import CredentialError, InputError

CDSE_HOSTS = ("download.dataspace.copernicus.eu",)
SARA_HOSTS = ("copernicus.nci.org.au",)
_FRESH_S = 60.0  # a token with less life left is renewed before it is used
_CLIENT = "cdse-public"


@dataclass(frozen=True)
class Account:
    """A login; the password shows in no repr."""

    user: str
    password: str = field(repr=False)
    totp: str = field(default="", repr=False)


class Login(Protocol):
    """Credentials of one service, shared by all workers."""

    def attach(self, host: str) -> AuthBase | None:
        """What goes with a request to this host ("name" or "name:port"); None for a host outside the allow-list."""

    def sign(self, url: str, facts: Mapping[str, Any]) -> str:
        """The address to ask; differs from `url` only where a service signs addresses. Never to be stored or logged."""

    def renew(self, sent: str) -> bool:
        """After HTTP 401 to a request with this Authorization header: True when another try may succeed."""


def read_account(service: str, host: str) -> Account:
    """Login of a service (CDSE or SARA) from S2CR_<service>_USER and _PASSWORD, else from the netrc entry of `host`.

    raises  CredentialError: none found, or a netrc file that others can read
    """
    user = os.environ.get(f"S2CR_{service}_USER", "")
    password = os.environ.get(f"S2CR_{service}_PASSWORD", "")
    account = Account(user, password, os.environ.get(f"S2CR_{service}_TOTP", ""))
    if not (user and password):
        account = _from_netrc(service, host)
    SECRETS.add_login(account.user, account.password)
    install()
    return account


def _from_netrc(service: str, host: str) -> Account:
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    missing = CredentialError(
        f"No login for {host}: neither S2CR_{service}_USER and S2CR_{service}_PASSWORD nor an entry in {path}.",
        f"Add a line to {path}: machine {host} login NAME password SECRET; then: chmod 600 {path}",
    )
    if not path.is_file():
        raise missing
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise CredentialError(f"{path} can be read by others.", f"Run: chmod 600 {path}")
    try:
        entry = netrc.netrc(str(path)).hosts.get(host)  # not authenticators(): it falls back to the default entry
    except netrc.NetrcParseError as error:
        raise CredentialError(f"{path}, line {error.lineno}: not readable.", "Correct that line.") from None
    if entry is None or not entry[0] or not entry[2]:
        raise missing
    return Account(entry[0], entry[2], os.environ.get(f"S2CR_{service}_TOTP", ""))


class Bearer(AuthBase):
    """Attaches a token. An auth object and no header: the client would replace a header by a netrc entry."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Cdse:
    """Copernicus Data Space: one login a run, then refreshes; all workers share the token.

    url      of the token endpoint;  hosts: where the token may go
    account  read when the first token is needed
    """

    def __init__(
        self,
        web: Web,
        url: str,
        hosts: Iterable[str] = CDSE_HOSTS,
        account: Callable[[], Account] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._web, self._url, self._hosts, self._now = web, url, frozenset(hosts), now
        self._account = account or (lambda: read_account("CDSE", urlsplit(url).hostname or ""))
        self._lock = threading.Lock()
        self._access = self._refresh = ""
        self._access_until = self._refresh_until = 0.0

    def attach(self, host: str) -> AuthBase | None:
        return Bearer(self.token()) if host in self._hosts else None

    def sign(self, url: str, facts: Mapping[str, Any]) -> str:
        return url

    def token(self) -> str:
        """A token with at least a minute of life.

        raises  CredentialError when the service refuses the login, NetworkError when it does not answer
        """
        with self._lock:
            if not self._access or self._access_until - self._now() < _FRESH_S:
                self._fetch()
            return self._access

    def renew(self, sent: str) -> bool:
        with self._lock:
            if sent == f"Bearer {self._access}":  # else another worker has renewed it already
                self._fetch()
            return True

    def _fetch(self) -> None:
        if self._refresh and self._refresh_until > self._now() and self._grant_refresh():
            return
        account = self._account()
        fields = {"grant_type": "password", "username": account.user, "password": account.password}
        if account.totp:
            fields["totp"] = account.totp
        try:
            self._keep(self._web.form(self._url, {"client_id": _CLIENT, **fields}))
        except (InputError, CredentialError):  # HTTP 400 and 401: the text of the service may repeat the form
            raise CredentialError(
                f"{host_of(self._url)}: the login of {account.user} was refused.",
                "Check S2CR_CDSE_USER and S2CR_CDSE_PASSWORD or ~/.netrc; with two-factor login set S2CR_CDSE_TOTP.",
            ) from None

    def _grant_refresh(self) -> bool:
        fields = {"client_id": _CLIENT, "grant_type": "refresh_token", "refresh_token": self._refresh}
        try:
            self._keep(self._web.form(self._url, fields))
        except (InputError, CredentialError):  # the session has ended at the service: log in anew
            return False
        return True

    def _keep(self, answer: Any) -> None:
        now = self._now()
        try:
            self._access, self._access_until = str(answer["access_token"]), now + float(answer["expires_in"])
            self._refresh = str(answer.get("refresh_token", ""))
            self._refresh_until = now + float(answer.get("refresh_expires_in", 0.0))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(f"{host_of(self._url)}: no token in its answer.", "Try again later.") from None
        SECRETS.add(self._access, self._refresh)


class Basic:
    """HTTP Basic, to the allow-listed hosts only (SARA: its downloads redirect elsewhere)."""

    def __init__(self, hosts: Iterable[str] = SARA_HOSTS, account: Callable[[], Account] | None = None) -> None:
        self._hosts = frozenset(hosts)
        first = min(self._hosts).partition(":")[0]
        self._account = account or (lambda: read_account("SARA", first))
        self._lock = threading.Lock()
        self._basic: HTTPBasicAuth | None = None

    def attach(self, host: str) -> AuthBase | None:
        if host not in self._hosts:
            return None
        with self._lock:
            if self._basic is None:
                account = self._account()
                # as bytes: the client would encode a text as Latin-1
                self._basic = HTTPBasicAuth(account.user.encode(), account.password.encode())
            return self._basic

    def sign(self, url: str, facts: Mapping[str, Any]) -> str:
        return url

    def renew(self, sent: str) -> bool:
        return False


class Signer:
    """Planetary Computer: a signed query per collection, renewed below a minute of life, kept in memory only.

    url    of the signing service, without collection
    hosts  endings of host names whose addresses may be signed
    """

    def __init__(
        self,
        web: Web,
        url: str,
        hosts: Iterable[str] = (".blob.core.windows.net",),
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._web, self._url, self._hosts, self._wall = web, url.rstrip("/"), tuple(hosts), wall
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str, float]] = {}

    def attach(self, host: str) -> AuthBase | None:
        return None

    def sign(self, url: str, facts: Mapping[str, Any]) -> str:
        collection = str(facts.get("collection", ""))
        if not collection or not host_of(url).endswith(self._hosts):
            return url
        with self._lock:
            query, until = self._known.get(collection, ("", 0.0))
            if until - self._wall() < _FRESH_S:
                query, until = self._known[collection] = self._ask(collection)
        return f"{url}{'&' if '?' in url else '?'}{query}"

    def _ask(self, collection: str) -> tuple[str, float]:
        answer = self._web.json("GET", f"{self._url}/{collection}")
        try:
            query, until = str(answer["token"]), parse_time(answer["msft:expiry"]).timestamp()
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{host_of(self._url)}: no signature in its answer.", "Try again later.") from None
        SECRETS.add(query)
        install()
        return query, until

    def renew(self, sent: str) -> bool:
        with self._lock:
            self._known.clear()
        return True
