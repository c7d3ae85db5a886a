"""A process that forks children which download, and kills them at random moments; run by test_transfer_kill.

stdin   one JSON line: {"url", "folder", "kills", "seed", "products": [[name, size, md5, date], ...]}
stdout  one JSON line: {"kills", "rounds", "finished", "partial": [...], "trees": [digest, ...], "moments": {...}}
Forking from a process that has loaded everything costs milliseconds; a new interpreter for each kill costs a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from utils.io import download_lock
from utils.io.transfer import Limits, fetch
from utils.io.web import Web
from utils.science.catalogue import Request
from utils.workflow.files import remove_leftovers

_VOLATILE = ("bytes_received", "requests", "host")  # a resumed transfer has other counts


def download(job: dict[str, Any]) -> None:
    """What stage download does, without its frame: fetch, verify, record each file."""
    raw, web = Path(job["folder"]), Web(keep_alive=False, sleep=lambda seconds: time.sleep(seconds / 100))
    remove_leftovers(raw)
    for name, size, md5, date in job["products"]:
        request = Request(f"{name}.zip", f"{job['url']}/{name}.zip", "zip", "", size, md5, product=name)
        target = raw / date / f"{name}.zip"
        received = fetch(request, target, web=web, limits=Limits(overlap_bytes=4096, chunk_bytes=1 << 16))
        record = {k: v for k, v in received.record().items() if k not in _VOLATILE}
        record["verified"] = sorted(record["verified"])
        download_lock.merge_lock(raw, {name: {**record, "file": f"{date}/{name}.zip", "mission": "S2"}})


def tree(raw: Path) -> str:
    """Digest of the names, modes and bytes of everything in a folder."""
    digest = hashlib.sha256()
    for path in sorted(p for p in raw.rglob("*") if p.is_file()):
        digest.update(
            f"{path.relative_to(raw)} {path.stat().st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
        )
    return digest.hexdigest()


def partial_files(job: dict[str, Any]) -> list[str]:
    """Final names whose bytes are not those of the product, or which the lock names wrongly."""
    raw, bad = Path(job["folder"]), []
    known = {name: md5 for name, _, md5, _ in job["products"]}
    for path in raw.glob("date*/*.zip"):
        if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != known[path.stem]:
            bad.append(path.name)
    for name, record in download_lock.read_lock(raw).items():
        path = raw / record["file"]
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != record["sha256"]:
            bad.append(f"lock: {name}")
    return bad


def moment(raw: Path) -> str:
    """What a kill left behind: names the phase it fell into."""
    names = [path.name for path in raw.rglob("*") if path.is_file()]
    if any(".s2cr-tmp." in name for name in names):
        return "writing the lock or the state"
    parts = [name for name in names if name.endswith(".part")]
    if parts:
        return "bytes or verification"
    return "between" if any(name.endswith(".lock") for name in names) else "elsewhere"


def fork(job: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            download(job)
        except BaseException as error:
            print(f"child: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return pid


def main() -> None:
    job = json.loads(sys.stdin.readline())
    raw, chooser = Path(job["folder"]), random.Random(job["seed"])
    begin = time.monotonic()
    os.waitpid(fork(job), 0)
    whole_s, trees = time.monotonic() - begin, [tree(raw)]
    shutil.rmtree(raw)
    kills, finished, partial, moments = 0, 0, [], Counter[str]()
    while kills < job["kills"]:
        pid = fork(job)
        deadline = time.monotonic() + chooser.uniform(0.0, whole_s)
        status: int | None = None
        while status is None and time.monotonic() < deadline:
            done, code = os.waitpid(pid, os.WNOHANG)
            status = code if done else None
            time.sleep(0.0005)
        if status is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            kills += 1
            moments[moment(raw)] += 1
            partial += partial_files(job)
            continue
        if status != 0:
            raise RuntimeError(f"a run failed after {kills} kills")
        finished += 1
        trees.append(tree(raw))
        shutil.rmtree(raw)
    _, code = os.waitpid(fork(job), 0)
    trees.append(tree(raw))
    print(
        json.dumps(
            {"kills": kills, "finished": finished, "partial": partial, "trees": trees, "moments": moments, "last": code}
        )
    )


if __name__ == "__main__":
    main()
