"""Thousands of downloads from a server that misbehaves: what was accepted, what it cost, what leaked.

python -m tests.fakes.campaign --faults 2000   runs in a process of its own, whose output, log and files are then
searched for the secrets that it used. Prints one line a figure; the exit status tells whether all limits hold.
"""

from __future__ import annotations

import argparse
import base64
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import requests

from tests.fakes.hub import Clock, Hub
from tests.fakes.products import Made, broken, product, s1_name, s2_name
from utils.io import auth, redact
from utils.io.auth import Login
from utils.io.transfer import Limits, fetch
from utils.io.web import Web
from utils.workflow.errors import Error

ROOT = Path(__file__).parents[2]
SIZE = 100_000
SPEED = 50.0
LIMITS = Limits(overlap_bytes=8192, chunk_bytes=1 << 16)
CANARIES = {"S2CR_CDSE_USER": "eva", "S2CR_CDSE_PASSWORD": "canary-cdse-p4ss", "S2CR_SARA_USER": "otto",
            "S2CR_SARA_PASSWORD": "canary-sara-w0rd"}  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """Faults of one file in order, what is known about it beforehand, and the exit code that it must end with.

    serve  as made, or "broken": one wrong byte in a member, described by its own MD5
    """

    faults: tuple[str, ...]
    known: dict[str, Any] = field(default_factory=dict)
    code: int = 0
    serve: str = "whole"
    login: str = "token"
    weight: int = 3


_BLIND = {"size": None, "md5": ""}
SCENARIOS = (
    *(Scenario((one,)) for one in ("cut", "reset", "stall", "flip", "text at cut", "early close", "weak etag", "oversized", "gzip",
                                   "html", "html as zip", "json", "429", "500", "503", "401", "redirect loop")),
    *(Scenario(("cut", one)) for one in ("range ignored", "206 wrong start", "206 wrong total", "206 short", "changed etag",
                                         "multipart", "416", "html", "503")),
    *(Scenario((one,), weight=1) for one in ("429 seconds", "429 date", "503 seconds")),
    Scenario(("oversized unannounced",)),
    Scenario(("foreign redirect",)),
    Scenario(("foreign redirect",), login="basic"),
    Scenario(("cut", "cut", "401"), login="token"),
    Scenario(("cut",), login="signed"),
    Scenario(("500", "html"), login="signed"),
    Scenario(("flip",), {"md5": ""}),
    Scenario(("flip",), _BLIND),
    Scenario(("early close",), _BLIND),
    Scenario(("text without length",), _BLIND),
    Scenario(("cut", "206 wrong total"), {"size": 0, "md5": ""}),
    Scenario(("cut",), {"size": 0}),
    Scenario(("403",), code=76, weight=1),
    Scenario(("404",), code=66, weight=1),
    Scenario(("cut",), code=78, serve="broken", weight=1),
    Scenario((), {"md5": "0" * 32}, code=78, weight=1),
)  # fmt: skip


@dataclass
class Outcome:
    """Sums over all files."""

    files: int = 0
    corrupt: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    received: int = 0
    wanted: int = 0


def run(faults: int, seed: int, folder: Path) -> dict[str, Any]:
    """Fetch files until so many faults have been injected."""
    clock, outcome = Clock(SPEED), Outcome()
    order = [s for s in SCENARIOS for _ in range(s.weight)]
    chooser = random.Random(seed)
    with Hub(clock, seed) as hub, Hub(clock, seed + 1) as foreign:
        hub.user, hub.password, hub.foreign = "eva", CANARIES["S2CR_CDSE_PASSWORD"], foreign.url
        hub.retry_after_s, hub.stall_s = 20.0, 20.0
        web = Web(sleep=clock.sleep, now=clock.now, wall=clock.wall, timeout_s=(10.0, 1.0), keep_alive=False)
        logins: dict[str, Login] = {
            "token": auth.Cdse(web, hub.url + "/token", [hub.host], now=clock.now),
            "basic": auth.Basic([hub.host]),
            "signed": auth.Signer(web, hub.url + "/sas", [hub.host], clock.wall),
        }
        _tell_times(web, hub)
        number = 0
        begin = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            while len(hub.answered) < faults:
                chooser.shuffle(order)
                jobs = []
                for scenario in order:
                    number += 1
                    jobs.append(pool.submit(_one, hub, foreign, web, logins, scenario, number, folder, outcome))
                for job in jobs:
                    job.result()
        seconds = time.monotonic() - begin
        forced = sum(fault == "401" for _, fault in hub.answered)
        return {
            "faults": len(hub.answered), "kinds": dict(Counter(fault for _, fault in hub.answered)), "files": outcome.files,
            "corrupt": outcome.corrupt, "wrong": outcome.wrong, "factor": outcome.received / outcome.wanted,
            "connections": max(hub.open_most, foreign.open_most), "early": hub.early + foreign.early,
            "unheard": hub.announced - hub.heard,
            "tokens": len(hub.grants), "logins": hub.grants.count("password"), "forced": forced, "minutes": seconds * SPEED / 60,
            "seconds": seconds, "foreign_secrets": sum(bool(entry.authorization) for entry in foreign.log),
            "foreign_requests": len(foreign.log), "early_at": hub.early_at,
        }  # fmt: skip


def _tell_times(web: Web, hub: Hub) -> None:
    """Let the hub know when the client has read a Retry-After, and each request when it was begun."""
    hold, session_of = web.waits.hold, web._session_of

    def told(host: str, seconds: float) -> None:
        hold(host, seconds)
        if host == hub.host and seconds >= hub.retry_after_s:
            hub.told_at = min(hub.told_at, time.monotonic())
            hub.heard += 1

    @contextmanager
    def stamped(keep: bool) -> Iterator[requests.Session]:
        begun = time.monotonic()
        with session_of(keep) as session:
            session.headers["X-Started"] = repr(begun)
            yield session

    web.waits.hold, web._session_of = told, stamped  # type: ignore[method-assign]


def _one(
    hub: Hub,
    foreign: Hub,
    web: Web,
    logins: dict[str, Login],
    scenario: Scenario,
    number: int,
    folder: Path,
    sums: Outcome,
) -> None:
    whole = product(s1_name(number) if number % 2 else s2_name(number), SIZE)
    served: Made = broken(whole) if scenario.serve == "broken" else whole
    path, target = f"/{number}.zip", folder / f"{number}.zip"
    basic = "Basic " + base64.b64encode(f"otto:{CANARIES['S2CR_SARA_PASSWORD']}".encode()).decode()
    required = {"token": "token", "basic": basic, "signed": ""}[scenario.login]
    hub.put(path, served.data, *scenario.faults, login=required)
    foreign.put(path, served.data)
    request = served.request(hub.url + path, scenario.login, **scenario.known)
    request = replace(request, facts={"collection": f"c{number % 3}"})
    code, received = 0, None
    try:
        received = fetch(request, target, web=web, auth=logins[scenario.login], limits=LIMITS)
    except Error as error:
        code = error.exit_code
        print(f"{number} {scenario.faults}: {error}")
    sums.files += 1
    label = f"{number} {scenario.faults} {scenario.known} {scenario.serve}"
    if target.exists() and target.read_bytes() != whole.data:
        sums.corrupt.append(label)
    if code != scenario.code or target.exists() != (code == 0):
        sums.wrong.append(f"{label}: exit {code} instead of {scenario.code}")
    if received is not None:
        sums.received += received.bytes_received
        sums.wanted += received.size


def inner(faults: int, seed: int, folder: Path) -> None:
    """The process under observation: everything is logged, the client's own debug lines included."""
    handler = logging.FileHandler(folder / "log.txt")
    for one in (handler, logging.StreamHandler(sys.stderr)):
        logging.getLogger().addHandler(one)
    logging.getLogger().setLevel(logging.DEBUG)
    redact.install()
    work = folder / "work"
    work.mkdir()
    (folder / "figures.json").write_text(json.dumps(run(faults, seed, work)))


def observe(faults: int, seed: int) -> dict[str, Any]:
    """Figures of one run, with the places where a secret was found."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [
            sys.executable,
            "-m",
            "tests.fakes.campaign",
            "--faults",
            str(faults),
            "--seed",
            str(seed),
            "--inner",
            name,
        ]
        env = {**os.environ, **CANARIES, "PYTHONPATH": str(ROOT), "NETRC": str(folder / "none")}
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            subprocess.run(command, stdout=out, stderr=err, env=env, cwd=ROOT, check=False)
        figures_path = folder / "figures.json"
        if not figures_path.exists():
            raise RuntimeError((folder / "stderr").read_text()[-3000:])
        figures: dict[str, Any] = json.loads(figures_path.read_text())
        secrets = [b"canary", *(base64.b64encode(f"{u}:{p}".encode()) for u, p in
                                (("otto", CANARIES["S2CR_SARA_PASSWORD"]), ("eva", CANARIES["S2CR_CDSE_PASSWORD"])))]  # fmt: skip
        files = [path for path in folder.rglob("*") if path.is_file()]
        figures["leaks"] = [str(p.relative_to(folder)) for p in files if any(s in p.read_bytes() for s in secrets)]
        figures["searched"] = len(files)
        figures["signed_lines"] = (folder / "log.txt").read_text().count(redact.MARK)
        return figures


def judge(f: dict[str, Any]) -> list[tuple[str, Any, str, bool]]:
    """Name, value, limit and whether it holds."""
    tokens = 1 + f["forced"] + int(f["minutes"] / 9)  # a life of 10 minutes, renewed when one is left
    return [
        ("injected faults", f["faults"], f"{len(f['kinds'])} kinds, {f['files']} files", True),
        ("corrupt files accepted", len(f["corrupt"]), "limit 0", not f["corrupt"]),
        ("files that ended otherwise than they must", len(f["wrong"]), "limit 0", not f["wrong"]),
        ("bytes received for each byte of a file", round(f["factor"], 3), "limit 1.3", f["factor"] <= 1.3),
        ("connections at once", f["connections"], "limit 4", f["connections"] <= 4),
        ("requests before Retry-After ended", f["early"], "limit 0", f["early"] == 0),
        ("Retry-After that the client did not heed", f["unheard"], "limit 0", f["unheard"] == 0),
        ("token requests", f["tokens"], f"limit {tokens}: {f['forced']} injected 401, {f['minutes']:.0f} minutes of the hub's clock, "
         f"{f['logins']} by password", f["tokens"] <= tokens),
        ("requests with a login to a foreign host", f["foreign_secrets"], f"limit 0, of {f['foreign_requests']}", f["foreign_secrets"] == 0),
        ("places where a secret was found", len(f["leaks"]), f"limit 0, {f['searched']} files searched", not f["leaks"]),
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--faults", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inner", type=Path)
    options = parser.parse_args()
    if options.inner:
        inner(options.faults, options.seed, options.inner)
        return 0
    figures = observe(options.faults, options.seed)
    for name, value, limit, good in judge(figures):
        print(f"{name}: {value} ({limit}) {'ok' if good else 'SHORT'}")
    for label in (*figures["corrupt"], *figures["wrong"], *figures["leaks"]):
        print(f"  {label}")
    for delay, path in figures["early_at"]:
        print(f"  {path} {delay:.3f} s after the announcement")
    print(f"{figures['seconds']:.0f} s")
    return 0 if all(good for *_, good in judge(figures)) else 1


if __name__ == "__main__":
    sys.exit(main())
