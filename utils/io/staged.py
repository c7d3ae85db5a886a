"""Files whose content is checked after the transfer and before they get their name: orbit files, height tiles."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.io.local_copy import Received
from utils.io.web import host_of
from utils.science.catalogue import Request
from utils.workflow.errors import InputError, VerificationError
from utils.workflow.files import fsync_folder

Fetch = Callable[[Request, Path], Received]
Check = Callable[[Path], tuple[str, ...]]
INCOMING = "incoming"
_TRIES = 3
_READ_ONLY = 0o444


def fetch_checked(request: Request, target: Path, fetch: Fetch, check: Check) -> Received:
    """Fetch to a folder beside `target`, check the content, rename. The folder's name is fixed, so that an interrupted
    transfer is resumed by the next run.

    check    given the fetched file, returns the names of the checks passed, raises InputError
    returns  what the transfer says, with these checks added
    raises   VerificationError when three transfers were refused; what `fetch` raises
    """
    staged = target.parent / INCOMING / target.name
    staged.parent.mkdir(parents=True, exist_ok=True)
    reason = ""
    for _ in range(_TRIES):
        received = fetch(request, staged)
        try:
            checks = check(staged)
        except InputError as error:
            reason = error.message
            staged.unlink()
            continue
        publish(staged, target)
        return replace(received, verified=tuple(dict.fromkeys((*received.verified, *checks))))
    raise VerificationError(f"{target.name}: refused {_TRIES} times; {reason}", "Try again later.")


def publish(staged: Path, target: Path) -> None:
    """Make a checked file read-only and give it its name."""
    staged.chmod(_READ_ONLY)
    os.replace(staged, target)  # noqa: PTH105 - os.replace is the documented atomic call
    fsync_folder(target.parent)
    with suppress(OSError):  # other files may be on their way
        staged.parent.rmdir()


def lock_record(request: Request, received: Received, file: str) -> dict[str, Any]:
    """The record of one file in the download lock.

    request.facts  mission, provider and what else later stages must know; keys that only steer the transfer are left out
    file           relative to raw/
    """
    kept: Mapping[str, Any] = {name: value for name, value in request.facts.items() if name != "fallback"}
    host = {"host": host_of(request.url)} if request.url.startswith("http") else {}
    return {**host, **received.record(), **kept, "file": file}
