"""Small answers over HTTP: waits shared by all workers, credentials that stay with their host, no secret in a log."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest
import requests
from requests.auth import AuthBase, HTTPBasicAuth

from tests.fakes.hub import ALLOWED_CONNECTIONS, Clock, Hub
from utils.io import redact
from utils.io.waits import LONGEST_WAIT_S, HostWaits, StoppedError, backoff_s, retry_after_s
from utils.io.web import NotThereError, Web, host_of
from utils.workflow.errors import CredentialError, InputError, NetworkError


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(Clock(200.0)) as server:
        yield server


def web(hub: Hub, **more: Any) -> Web:
    c = hub.clock
    return Web(sleep=c.sleep, now=c.now, wall=c.wall, **{"timeout_s": (5.0, 5.0), **more})


def as_json(hub: Hub, *faults: str) -> str:
    return hub.put("/a", b'{"a": [1, 2]}', *faults, media="application/json")


@pytest.mark.parametrize(
    "fault", ["", "429", "429 seconds", "429 date", "500", "503", "redirect loop", "reset", "cut", "stall"]
)
def test_an_answer_after_a_fault(hub: Hub, fault: str) -> None:
    url = as_json(hub, *([fault] if fault else []))
    client = web(hub, timeout_s=(5.0, 0.4 if fault == "stall" else 5.0))
    assert client.json("GET", url, params={"q": "x y"}) == {"a": [1, 2]}
    assert client.requests_made == len(hub.log) == (2 if fault else 1) and hub.log[0].query == "q=x+y"
    assert hub.early == 0


def test_text_and_posted_bodies(hub: Hub) -> None:
    assert web(hub).text("GET", hub.put("/t", "grün".encode(), media="text/plain; charset=utf-8")) == "grün"
    assert web(hub).json("POST", hub.url + "/echo", body={"k": [1]}) == {"k": [1]}


def test_errors(hub: Hub) -> None:
    url = as_json(hub, "401", "403", "404", "html", "416")
    for error, code in (
        (CredentialError, 76),
        (CredentialError, 76),
        (NotThereError, 66),
        (InputError, 66),
        (InputError, 66),
    ):
        with pytest.raises(error) as caught:
            web(hub).json("GET", url)
        assert caught.value.exit_code == code and caught.value.remedy
    as_json(hub, *["503"] * 3)
    with pytest.raises(NetworkError, match=r"no answer after 3 tries \(HTTP 503\)"):
        web(hub, tries=3).json("GET", url)
    with pytest.raises(NetworkError, match=r"127\.0\.0\.1:1: no answer after 2 tries \(ConnectionError\)"):
        web(hub, tries=2).json("GET", "http://127.0.0.1:1/")
    for address in ("ftp://127.0.0.1/x", "http://", "nonsense"):
        with pytest.raises(InputError, match="cannot be asked"):
            web(hub).json("GET", address)
    asked = len(hub.log)
    with pytest.raises(NetworkError, match="--offline"):
        web(hub, offline=True).json("GET", url)
    assert len(hub.log) == asked


def test_credentials_never_follow_a_redirect_to_another_host(hub: Hub) -> None:
    with Hub(hub.clock) as other:
        hub.foreign = other.url
        other.put("/a", b'{"from": "other"}')
        url = as_json(hub, "foreign redirect")
        client = web(hub, attach=lambda host: HTTPBasicAuth("u", "canary-p") if host == hub.host else None)
        assert client.json("GET", url) == {"from": "other"}
        assert hub.log[0].authorization.startswith("Basic ") and other.log[0].authorization == ""


def test_credentials_never_travel_in_the_clear() -> None:
    asked: list[str] = []

    def attach(host: str) -> AuthBase | None:
        asked.append(host)
        return None

    with pytest.raises(NetworkError):
        Web(tries=1, attach=attach, timeout_s=(0.2, 0.2)).json("GET", "http://192.0.2.1/")
    assert asked == []


def test_netrc_does_not_replace_our_credentials(hub: Hub, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password wrong\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    hub.put("/a", b"{}", login="Basic dTpw")
    assert web(hub, attach=lambda host: HTTPBasicAuth("u", "p")).json("GET", hub.url + "/a") == {}
    with pytest.raises(CredentialError):
        web(hub).json("GET", hub.url + "/a")


def test_a_login_form_is_not_redirected(hub: Hub) -> None:
    hub.faults["/token"].append("redirect loop")
    with pytest.raises(NetworkError, match="a login form was redirected"):
        web(hub, tries=1).form(hub.url + "/token", {"password": "canary"})


def test_a_wait_holds_for_all_workers_of_the_host_only(hub: Hub) -> None:
    url = as_json(hub, "429 seconds")
    hub.retry_after_s, client = 100.0, web(hub)
    first = threading.Thread(target=client.json, args=("GET", url))
    first.start()
    while not client.waits.until(hub.host):
        time.sleep(0.001)
    with Hub(hub.clock) as other:
        other.put("/b", b"1")
        begin = time.monotonic()
        client.json("GET", other.url + "/b")
        assert time.monotonic() - begin < 0.3
    workers = [threading.Thread(target=client.json, args=("GET", url)) for _ in range(6)]
    for one in workers:
        one.start()
    for one in (first, *workers):
        one.join()
    times = sorted(entry.time for entry in hub.log)
    assert len(times) == 8 and times[1] - times[0] >= 100.0 and hub.early == 0


def test_at_most_four_connections(hub: Hub) -> None:
    url = hub.put("/a", bytes(200_000))
    client = web(hub, keep_alive=False)

    def ask() -> None:
        with client.open(url) as answer:
            time.sleep(0.2)  # longer than the hub waits before it believes a number
            answer.raw.read()

    workers = [threading.Thread(target=ask) for _ in range(12)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert len(hub.log) == 12 and hub.open_most == ALLOWED_CONNECTIONS


def test_waits() -> None:
    slept: list[float] = []
    waits = HostWaits(lambda: 100.0, slept.append)
    waits.pause("a")
    waits.hold("a", 7.0)
    waits.hold("a", 3.0)
    waits.pause("b")
    waits.pause("a")
    assert slept == [7.0]
    with pytest.raises(StoppedError):
        waits.pause("a", lambda: len(slept) > 4)
    assert slept[1:] == [0.25] * 4


def test_retry_after() -> None:
    wall = 1_600_000_000.0

    def of(text: str, **more: str) -> float | None:
        return retry_after_s({"Retry-After": text, **more}, wall)

    assert of("7") == 7.0 and of(" 12 ") == 12.0 and of("86400") == LONGEST_WAIT_S == 900.0
    assert of(formatdate(wall + 30, usegmt=True)) == 30.0 and of(formatdate(wall - 30, usegmt=True)) == 0.0
    assert of(formatdate(wall + 30, usegmt=True), Date=formatdate(wall + 20, usegmt=True)) == 10.0
    assert of("soon") is None and of("-3") is None and retry_after_s({}, wall) is None


def test_backoff_grows_to_a_minute() -> None:
    for attempt, most in ((0, 1.0), (3, 8.0), (6, 60.0), (20, 60.0)):
        drawn = [backoff_s(attempt) for _ in range(300)]
        assert min(drawn) >= 1.0 and max(drawn) <= most
    assert max(drawn) > 50.0


def test_host_of() -> None:
    assert host_of("https://A.example:443/x") == "a.example" and host_of("http://a.example:8080/") == "a.example:8080"


@pytest.mark.parametrize(
    ("text", "kept", "gone"),
    [
        ("GET /x?token=abcdefgh&b=2", "b=2", "abcdefgh"),
        ("https://h/x?a=1&sig=Zm9v%3D&se=3", "se=3", "Zm9v"),
        ("?X-Amz-Signature=0011aabb&X-Amz-Credential=AKIA%2Fq", "X-Amz-Credential=", "AKIA"),
        ("{'Authorization': 'Bearer abc.def-ghi', 'Accept': 'x'}", "'Accept': 'x'", "abc.def"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization", "dXNlcjpwYXNz"),
        ("sent Bearer eyJhbGciOi.xyz to it", "to it", "eyJhbGciOi"),
        ("login p@ss word! failed", "failed", "p@ss word!"),
        ("login p%40ss%20word%21 failed", "failed", "p%40ss"),
    ],
)
def test_redaction(text: str, kept: str, gone: str) -> None:
    one = redact.Redactor()
    one.add("p@ss word!", "abc")
    assert gone not in one.text(text) and kept in one.text(text) and redact.MARK in one.text(text)
    assert one.text("abc stays, too short") == "abc stays, too short"


def test_the_log_of_the_client_shows_no_signature(hub: Hub) -> None:
    stream = io.StringIO()
    handler, root = logging.StreamHandler(stream), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        redact.install()
        web(hub).text("GET", as_json(hub), params={"sig": "canary-q"})
        try:
            raise requests.ConnectionError("https://h/?token=canary-t")
        except requests.ConnectionError:
            logging.getLogger("s2cr.other").exception("failed with %s", "Authorization: Basic canary-b")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert "/a?sig=[removed]" in stream.getvalue() and "Traceback" in stream.getvalue()
    assert "canary" not in stream.getvalue()
