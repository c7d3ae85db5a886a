"""Downloads: the only code that fetches product bytes. A final name never holds unverified bytes.

Bytes go to NAME.part and are resumed with a range request that the server may only honour for the same entity;
then size, published checksum and the whole archive are tested, and the file gets its name.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import requests
from requests.exceptions import BaseHTTPError  # type: ignore[attr-defined]  # of urllib3: what reading a body raises

from utils.io.http_body import AgainError, check_type, content_length, content_range
from utils.io.local_copy import Received, need_space
from utils.io.part import Part, State, TargetLock, without_query
from utils.io.verify import SpoiledError, Verified, magic_problem, verify
from utils.io.waits import StoppedError
from utils.io.web import (
    RETRY_STATUS,
    TRANSIENT,
    NotThereError,
    Web,
    host_of,
    no_answer,
    reason_of,
    refused,
)
from utils.science.catalogue import Request
from utils.workflow.errors import DiskError, InputError, Interrupted, VerificationError

if TYPE_CHECKING:
    from utils.io.auth import Login

__all__ = ["LIMITS", "Job", "Limits", "Received", "fetch", "need_space", "receive"]
_BROKEN_BODY = (BaseHTTPError, ConnectionError, TimeoutError, *TRANSIENT)
UNKNOWN_BYTES = 1_200_000_000  # what a file of unknown size counts against the disk


@dataclass(frozen=True)
class Limits:
    """Figures of the rules; changed only by tests with small files.

    overlap_bytes  fetched again at a cut: servers append error text there
    chunk_bytes    read at once; below 64 KiB most of the time goes into calls
    rounds         complete downloads that may fail verification
    gain_bytes     progress that makes the count of tries start anew
    """

    overlap_bytes: int = 1 << 20
    chunk_bytes: int = 1 << 20
    rounds: int = 3
    gain_bytes: int = 1 << 20


LIMITS = Limits()


class _RenewError(Exception):
    """HTTP 401: the credentials sent."""


class _ContinueError(Exception):
    """The server sent a shorter range than asked, whole as far as it goes."""


def expected_bytes(request: Request) -> int:
    """Size for the disk check; unknown counts as a large product."""
    return UNKNOWN_BYTES if request.size is None else request.size


def fetch(
    request: Request,
    target: Path,
    *,
    web: Web,
    auth: Login | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    stop: Callable[[], bool] | None = None,
    accept_stale_checksum: bool = False,
    limits: Limits = LIMITS,
) -> Received:
    """Bring one file to `target`, verified; a verified file that is there already costs no request.

    progress  called with (bytes there, bytes of the whole or None) from the thread that fetches
    stop      asked after every chunk and while waiting; True keeps .part and raises Interrupted
    raises    NetworkError (67), DiskError through OSError (69), LockedError (74), Interrupted (75), CredentialError
              (76), VerificationError (78) after three complete downloads, NotThereError (404, 410)
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with TargetLock(target):
        job = Job(request, Part(target), web, auth, progress, stop, limits)
        if target.exists():
            try:
                found = verify(target, job.request, accept="*" if accept_stale_checksum else "", complete=True)
                job.part.clean()
                return Received(found.size, found.md5, found.sha256, found.checks)
            except SpoiledError:
                target.unlink()
        found = _rounds(job, accept_stale_checksum)
    host = host_of(request.url)
    return Received(found.size, found.md5, found.sha256, found.checks, host, job.received, job.requests)


def _rounds(job: Job, accept_stale: bool) -> Verified:
    reason, stale = "", ""
    for _ in range(job.limits.rounds):
        try:
            receive(job)
            with ThreadPoolExecutor(1) as pool:  # the disk works while the digests are computed
                synced = pool.submit(job.part.sync)
                found = verify(
                    job.part.path, job.request, accept=stale if accept_stale else "", complete=job.complete()
                )
                synced.result()
            job.part.finish()
            return found
        except SpoiledError as error:
            reason, stale = str(error), error.stale
            job.part.spoil()
    remedy = (
        f"Look at {job.part.bad.name}; run the same command again later, or take the product from another provider."
    )
    if stale:
        remedy = "The file is intact but contradicts its published checksum: download.accept_stale_checksum keeps it."
    raise VerificationError(
        f"{job.part.target.name}: failed verification {job.limits.rounds} times ({reason}).", remedy
    )


class Job:
    """One file under way: its request, its unfinished file and the counts for the lock."""

    def __init__(
        self,
        request: Request,
        part: Part,
        web: Web,
        auth: Login | None,
        progress: Callable[[int, int | None], None] | None,
        stop: Callable[[], bool] | None,
        limits: Limits,
    ) -> None:
        if request.size == 0:  # catalogues send 0 for unknown
            request = replace(request, size=None)
        self.request, self.part, self.web, self.auth, self.limits = request, part, web, auth, limits
        self._progress, self.stop = progress, stop
        self.received = self.requests = 0

    def complete(self) -> bool:
        """True when the server's announced length proves that nothing is missing."""
        state = self.part.state(self.request)
        return state is not None and state.size is not None and state.size == self.part.length()

    def check_stop(self) -> bool:
        return self.stop is not None and self.stop()

    def tell(self, length: int, size: int | None) -> None:
        if self._progress is not None:
            self._progress(length, size)

    def stopped(self) -> Interrupted:
        return Interrupted(
            f"{self.part.target.name}: stopped after {self.part.length()} bytes.",
            "Run the same command again: it resumes.",
        )

    def no_space(self) -> DiskError:
        return DiskError(
            f"No space left while writing {self.part.path}.",
            "Free disk space, then run the same command again: it resumes.",
        )


def receive(job: Job) -> None:
    """Complete NAME.part: tries with growing waits, credentials renewed once; the content is not yet verified."""
    attempt, best, renewed, reason = 0, job.part.length(), False, ""
    host = host_of(job.request.url)
    while attempt < job.web.tries:
        if job.check_stop():
            raise job.stopped()
        try:
            _attempt(job)
            return
        except _ContinueError:
            continue
        except _RenewError as error:
            if job.auth is None or renewed or not job.auth.renew(str(error)):
                raise refused(host, 401) from None
            renewed = True
            continue
        except StoppedError:
            raise job.stopped() from None
        except OSError as error:
            raise job.no_space() if error.errno in (errno.ENOSPC, errno.EDQUOT) else error from None
        except AgainError as error:
            reason = str(error)
            if error.drop:
                job.part.drop()
            length = job.part.length()
            if length >= best + job.limits.gain_bytes:
                attempt, best, renewed = 0, length, False
            job.web.wait_after(error.host or host, attempt, error.answer)
            attempt += 1
    raise no_answer(f"{host}: {job.part.target.name}", job.web.tries, reason)


def _attempt(job: Job) -> None:
    """One request and its body.

    raises  AgainError, _RenewError, _ContinueError; SpoiledError for a size that contradicts the known one
    """
    start, state = _where_to_start(job)
    if start < 0:
        return
    url = job.auth.sign(job.request.url, job.request.facts) if job.auth else job.request.url
    headers = {"Accept-Encoding": "identity"}
    if start > 0 and state is not None:
        headers |= {"Range": f"bytes={start}-", "If-Range": state.validator()}
    job.requests += 1
    try:
        with job.web.open(url, headers=headers, attach=job.auth.attach if job.auth else None, stop=job.stop) as answer:
            _take(job, answer, start, state)
    except _BROKEN_BODY as error:
        raise AgainError(reason_of(error)) from None  # its text holds the signed address
    except requests.RequestException as error:
        raise InputError(
            f"{host_of(job.request.url)}: {job.request.name} has an address that cannot be asked "
            f"({type(error).__name__}).", "Run make find_images again.",
        ) from None  # fmt: skip


def _where_to_start(job: Job) -> tuple[int, State | None]:
    """Byte to ask from, and the state to ask with; -1 = nothing is missing. Drops what cannot be resumed."""
    length, state = job.part.length(), job.part.state(job.request)
    if state is None or (state.size is not None and length > state.size):
        job.part.drop()
        return 0, None
    if state.size is not None and length == state.size and length > 0:
        return -1, state
    if not state.validator():
        return 0, None
    return max(0, length - job.limits.overlap_bytes), state


def _take(job: Job, answer: requests.Response, start: int, state: State | None) -> None:
    status, host = answer.status_code, host_of(answer.url)
    if status in RETRY_STATUS:
        raise AgainError(f"HTTP {status}", answer=answer, host=host)
    if status == 401:
        raise _RenewError(answer.request.headers.get("Authorization", ""))
    if status == 403:
        raise refused(host, 403)
    if status in (404, 410):
        raise NotThereError(
            f"{host}: {job.request.name} is not there any more (HTTP {status}).", "Run make find_images again."
        )
    if status == 416:
        _unsatisfiable(job, answer)
        return
    if status not in (200, 206):
        raise InputError(f"{host}: HTTP {status} for {job.request.name}.", "Run make find_images again.")
    check_type(answer.headers, job.request.kind)
    if status == 206:
        known = state.size if state is not None else job.request.size
        begin, end, total = content_range(answer.headers, start, known, state.etag if state else "")
        _store(job, answer, begin, end, total)
    else:
        length = content_length(answer.headers)
        _store(job, answer, 0, length, length)


def _unsatisfiable(job: Job, answer: requests.Response) -> None:
    """416: complete when the server's total is what we have, else everything anew."""
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if not (total.isdigit() and int(total) == job.part.length() and job.request.size in (None, int(total))):
        raise AgainError("HTTP 416", drop=True)


def _store(job: Job, answer: requests.Response, begin: int, end: int | None, total: int | None) -> None:
    """Write the body from `begin` on; the state first, so that a kill in between finds it."""
    size = job.request.size if job.request.size is not None else total
    if total is not None and size is not None and total != size:
        job.part.drop()
        raise SpoiledError(f"the server announces {total} bytes, {size} are known")
    if begin == 0:
        job.part.drop()
        headers, r = answer.headers, job.request
        state = State(without_query(r.url), headers.get("ETag", ""), headers.get("Last-Modified", ""), size, r.md5, r.blake3)  # fmt: skip
        job.part.write_state(state)
    with _opened(job.part.path, begin) as stream:
        position = _copy(job, answer, stream, begin, size)
    _judge(job, position, end, size)


@contextmanager
def _opened(path: Path, position: int) -> Iterator[IO[bytes]]:
    with path.open("r+b" if position else "wb", buffering=1 << 18) as stream:
        if position:
            stream.seek(position)
            stream.truncate()
        yield stream


def _copy(job: Job, answer: requests.Response, stream: IO[bytes], position: int, size: int | None) -> int:
    """Bytes from the connection to the file as they come; returns the position behind the last one.

    read1 gives what has arrived: a cut in the middle of a chunk then loses nothing.
    """
    head = b""
    first = position
    for chunk in _chunks(answer, job.limits.chunk_bytes):
        job.received += len(chunk)
        if first == 0 and len(head) < 64:
            head += chunk
            if len(head) >= 16 and (problem := magic_problem(head, job.request.kind)):
                raise AgainError(problem, drop=True)
        position += len(chunk)
        if size is not None and position > size:
            job.part.drop()
            raise SpoiledError(f"more than the known {size} bytes")
        stream.write(chunk)
        job.tell(position, size)
        if job.check_stop():
            raise StoppedError
    return position


def _chunks(answer: requests.Response, at_most: int) -> Iterator[bytes]:
    raw: Any = answer.raw
    while chunk := raw.read1(at_most, decode_content=False):
        yield chunk


def _judge(job: Job, position: int, end: int | None, size: int | None) -> None:
    """The body has ended without error: is that all?"""
    if end is not None and position < end:
        raise AgainError("cut")
    if size is not None and position < size:
        if end is not None:
            raise _ContinueError
        raise AgainError("cut")
