"""Downloads: 1 GiB over loopback against curl, on a memory file system where there is one, so that no disk is measured.

The server is a process of its own that hands the file to the kernel (sendfile). The bytes alone: the receiving part of
the transfer against `curl -o`. The whole: fetch with MD5, SHA-256, sync and rename against curl and then md5sum, and on
the disk of the temporary folder against curl, md5sum and sync. `speed` is the peer's time over ours: 1 = as fast.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench._bench import interleaved
from utils.io.part import Part
from utils.io.transfer import LIMITS, Job, fetch, receive
from utils.io.web import Web
from utils.science.catalogue import Request

SIZE = 1 << 30
_MEMORY = Path("/dev/shm")
_SERVER = """
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        with open(sys.argv[1], "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.send_header("Content-Type", "image/tiff")
            self.send_header("ETag", '"1"')
            self.end_headers()
            self.wfile.flush()
            self.connection.sendfile(stream)
        self.close_connection = True
    def log_message(self, *_):
        pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@contextmanager
def _served(path: Path) -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-c", _SERVER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None:
            raise RuntimeError("the server has no output")
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/file.tif"
    finally:
        process.terminate()
        process.wait()


def _make(path: Path, size: int) -> str:
    """A file that begins like a TIFF; returns its MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("wb") as stream:
        for count in range(size >> 20):
            block = b"II*\0" * (1 << 18) if count == 0 else os.urandom(1 << 20)
            digest.update(block)
            stream.write(block)
    return digest.hexdigest()


def figures() -> list[dict[str, Any]]:
    """Our speed relative to curl."""
    if shutil.which("curl") is None or shutil.which("md5sum") is None:
        print("curl or md5sum is missing on this machine: nothing to compare with", file=sys.stderr)
        return []
    free = shutil.disk_usage(_MEMORY).free if _MEMORY.is_dir() else 0
    base = _MEMORY if free > 4 * SIZE and os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=base) as memory, tempfile.TemporaryDirectory() as disk:
        source = Path(memory) / "source"
        md5 = _make(source, SIZE)
        with _served(source) as url:
            return _compare(Request("file.tif", url, "tif", size=SIZE, md5=md5), Path(memory), Path(disk))


def _compare(request: Request, memory: Path, disk: Path) -> list[dict[str, Any]]:
    def curl(folder: Path, *after: list[str]) -> Callable[[], object]:
        target = str(folder / "curl.tif")

        def work() -> None:
            subprocess.run(["curl", "-sf", "-o", target, request.url], check=True)
            for command in after:
                subprocess.run([*command, target], check=True, stdout=subprocess.DEVNULL)
            Path(target).unlink()

        return work

    def bytes_only() -> None:
        part = Part(memory / "ours.tif")
        receive(Job(request, part, Web(), None, None, None, LIMITS))
        part.drop()

    def whole(folder: Path) -> Callable[[], object]:
        def work() -> None:
            target = folder / "ours.tif"
            fetch(request, target, web=Web())
            target.unlink()

        return work

    ours_s, _, plain = interleaved(bytes_only, curl(memory))
    _, _, hashed = interleaved(whole(memory), curl(memory, ["md5sum"]))
    _, _, synced = interleaved(whole(disk), curl(disk, ["md5sum"], ["sync"]), 3)
    return [
        {"name": "transfer_speed_to_curl", "value": plain, "unit": "times", "limit": 0.9, "better": "higher"},
        {"name": "transfer_rate", "value": SIZE / 2**20 / ours_s, "unit": "MiB/s", "limit": None, "better": "higher"},
        {"name": "transfer_speed_to_curl_md5sum", "value": hashed, "unit": "times", "limit": 0.9, "better": "higher"},
        {"name": "transfer_speed_to_curl_md5sum_sync", "value": synced, "unit": "times", "limit": None, "better": "higher"},
    ]  # fmt: skip
