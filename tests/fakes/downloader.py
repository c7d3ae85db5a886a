"""A small real downloader, for tests of what comes before and after a transfer."""

from __future__ import annotations

import hashlib
from pathlib import Path

import requests

from utils.io.transfer import Received
from utils.io.web import NotThereError
from utils.science.catalogue import Request
from utils.workflow.errors import NetworkError, VerificationError
from utils.workflow.files import temporary_path


def fetch(request: Request, target: Path) -> Received:
    """Stream one file to `target`; size and MD5 as the request says."""
    md5, sha256, size = hashlib.md5(), hashlib.sha256(), 0
    with temporary_path(target) as temporary, requests.get(request.url, stream=True, timeout=10) as answer:
        if answer.status_code == 404:
            raise NotThereError(f"{request.name}: HTTP 404.", "Search again.")
        if answer.status_code != 200:
            raise NetworkError(f"{request.name}: HTTP {answer.status_code}.", "Try again.")
        with temporary.open("wb") as stream:
            for chunk in answer.iter_content(1 << 16):
                stream.write(chunk)
                md5.update(chunk)
                sha256.update(chunk)
                size += len(chunk)
        if request.size not in (None, size) or request.md5 not in ("", md5.hexdigest()):
            raise VerificationError(f"{request.name}: {size} bytes, not as published.", "Try again.")
    return Received(size=size, md5=md5.hexdigest(), sha256=sha256.hexdigest(), verified=("size", "md5"))
