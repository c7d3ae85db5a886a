"""Where logins come from, how often tokens are asked for, and where they never go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.hub import Clock, Hub
from tests.fakes.products import product, s2_name
from utils.io.auth import Account, Basic, Cdse, Signer, read_account
from utils.io.redact import SECRETS
from utils.io.transfer import fetch
from utils.io.web import Web
from utils.workflow.errors import CredentialError, NetworkError

MADE = product(s2_name(11))


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(Clock(200.0)) as server:
        yield server


@pytest.fixture(autouse=True)
def no_logins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for service in ("CDSE", "SARA"):
        for key in ("USER", "PASSWORD", "TOTP"):
            monkeypatch.delenv(f"S2CR_{service}_{key}", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def web(hub: Hub, **more: Any) -> Web:
    c = hub.clock
    return Web(sleep=c.sleep, now=c.now, wall=c.wall, **{"timeout_s": (5.0, 5.0), "keep_alive": False, **more})


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def cdse(hub: Hub, time: Time, **account: str) -> Cdse:
    hub.clock.speed = 1e-9  # the hub's time stands still: tokens age by `time`
    who = Account("user", "secret-password", **account)
    return Cdse(Web(), hub.url + "/token", [hub.host], lambda: who, time)


def netrc(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "netrc"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_login_from_netrc_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc(tmp_path, "machine a.example login anna password canary-netrc\ndefault login x password y\n")
    assert read_account("CDSE", "a.example") == Account("anna", "canary-netrc")
    assert "canary" not in SECRETS.text("canary-netrc YW5uYTpjYW5hcnktbmV0cmM=") and "YW5u" not in SECRETS.text(
        "YW5uYTpjYW5hcnktbmV0cmM="
    )
    with pytest.raises(CredentialError, match=r"No login for b\.example: neither S2CR_CDSE_USER"):
        read_account("CDSE", "b.example")  # the default entry is for no particular host
    monkeypatch.setenv("S2CR_CDSE_USER", "eva")
    monkeypatch.setenv("S2CR_CDSE_PASSWORD", "canary-env")
    monkeypatch.setenv("S2CR_CDSE_TOTP", "123456")
    assert read_account("CDSE", "a.example") == Account("eva", "canary-env", "123456")
    assert "canary" not in repr(read_account("CDSE", "a.example"))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_netrc_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = netrc(tmp_path, "machine a.example login anna password canary-netrc\n", mode)
    with pytest.raises(CredentialError) as caught:
        read_account("SARA", "a.example")
    assert caught.value.exit_code == 76 and caught.value.remedy == f"Run: chmod 600 {path}"


def test_malformed_netrc_shows_no_secret(tmp_path: Path) -> None:
    netrc(tmp_path, "machine a.example login anna passw0rd canary-netrc\n")
    with pytest.raises(CredentialError, match="line 1: not readable") as caught:
        read_account("SARA", "a.example")
    assert "canary" not in str(caught.value) and caught.value.__cause__ is None


def test_one_login_then_refreshes(hub: Hub) -> None:
    time = Time()
    login = cdse(hub, time)
    first = login.token()
    time.now = 539.0
    assert login.token() == first and hub.grants == ["password"]
    time.now = 541.0  # 59 s of life left
    second = login.token()
    assert second != first and hub.grants == ["password", "refresh_token"]
    time.now += 3601.0  # the refresh token has died too
    login.token()
    assert hub.grants == ["password", "refresh_token", "password"]


def test_a_refresh_that_is_refused_becomes_a_login(hub: Hub) -> None:
    time = Time()
    login = cdse(hub, time)
    login.token()
    hub._refreshes.clear()
    time.now = 590.0
    login.token()
    assert hub.grants == ["password", "refresh_token", "password"]


def test_workers_share_one_token(hub: Hub) -> None:
    login, seen = cdse(hub, Time()), []
    workers = [threading.Thread(target=lambda: seen.append(login.token())) for _ in range(12)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert len(seen) == 12 and len(set(seen)) == 1 and hub.grants == ["password"]
    for _ in range(3):  # all workers met a 401 with the same old token: one renewal
        assert login.renew(f"Bearer {seen[0]}")
    assert hub.grants == ["password", "refresh_token"]


def test_second_factor_and_refusal(hub: Hub) -> None:
    hub.totp = "654321"
    with pytest.raises(CredentialError, match="the login of user was refused") as caught:
        cdse(hub, Time()).token()
    assert "secret-password" not in f"{caught.value}{caught.value.__cause__}{caught.value.remedy}"
    assert caught.value.__suppress_context__ and caught.value.exit_code == 76
    assert cdse(hub, Time(), totp="654321").token().startswith("canary-access")


def test_service_down_is_no_refusal(hub: Hub) -> None:
    hub.faults["/token"].extend(["503"] * 2)
    login = Cdse(web(hub, tries=2), hub.url + "/token", [hub.host], lambda: Account("user", "secret-password"))
    with pytest.raises(NetworkError):
        login.token()
    hub.faults["/token"].extend(["503"])
    assert login.token()


def test_token_goes_to_the_allow_list_only(hub: Hub) -> None:
    login = cdse(hub, Time())
    assert login.attach("example.org") is None and hub.grants == []
    assert login.attach(hub.host) is not None


@pytest.mark.parametrize("fault", ["", "cut", "401"])
def test_download_with_a_token(hub: Hub, tmp_path: Path, fault: str) -> None:
    url = hub.put("/p.zip", MADE.data, *([fault] if fault else []), login="token")
    client = web(hub)
    login = Cdse(client, hub.url + "/token", [hub.host], lambda: Account("user", "secret-password"), hub.clock.now)
    fetch(MADE.request(url, "cdse"), tmp_path / "p.zip", web=client, auth=login)
    assert hub.grants == ["password"] + (["refresh_token"] if fault == "401" else [])
    assert all(e.authorization.startswith("Bearer canary-access") for e in hub.requests("/p.zip"))


def test_second_401_is_a_refusal(hub: Hub, tmp_path: Path) -> None:
    url = hub.put("/p.zip", MADE.data, "401", "401", login="token")
    client = web(hub)
    login = Cdse(client, hub.url + "/token", [hub.host], lambda: Account("user", "secret-password"), hub.clock.now)
    with pytest.raises(CredentialError):
        fetch(MADE.request(url, "cdse"), tmp_path / "p.zip", web=client, auth=login)
    assert len(hub.requests("/p.zip")) == 2 and hub.grants == ["password", "refresh_token"]


def test_basic_login_stays_with_its_host(hub: Hub, tmp_path: Path) -> None:
    with Hub(hub.clock) as store:
        store.put("/p.zip", MADE.data)
        hub.foreign = store.url
        url = hub.put("/p.zip", b"", "foreign redirect")
        login = Basic([hub.host], lambda: Account("ü", "canary-basic"))
        fetch(MADE.request(url, "sara"), tmp_path / "p.zip", web=web(hub), auth=login)
        assert hub.log[0].authorization == "Basic w7w6Y2FuYXJ5LWJhc2lj"
        assert [entry.authorization for entry in store.log] == [""]


def test_signed_addresses(hub: Hub, tmp_path: Path) -> None:
    client = web(hub)
    login = Signer(client, hub.url + "/sas/", [hub.host], hub.clock.wall)
    url = hub.put("/p.zip", MADE.data, "cut")
    assert (
        login.sign(url, {}) == url and login.sign("https://elsewhere/x", {"collection": "c"}) == "https://elsewhere/x"
    )
    request = MADE.request(url, "planetary", facts={"collection": "c"})
    fetch(request, tmp_path / "p.zip", web=client, auth=login)
    assert [e.query for e in hub.requests("/p.zip")] == ["sv=1&sig=canary-sas-1"] * 2 and hub.sas_asked == 1
    hub.sas_life_s = 59.0
    login.renew("")
    assert login.sign(url + "?a=1", {"collection": "c"}).endswith("?a=1&sv=1&sig=canary-sas-2")
    assert login.sign(url, {"collection": "c"}).endswith("sig=canary-sas-3")
    assert "canary" not in "".join(p.read_text(errors="replace") for p in tmp_path.iterdir())
