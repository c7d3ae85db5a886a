"""When a host may be asked again: what it asks for, else a random time that grows; one clock for all workers."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime

LONGEST_WAIT_S = 900.0
_NAP_S = 0.25  # how long a waiting worker may sleep before it looks for a stop


class StoppedError(Exception):
    """The caller asked to stop while this worker was waiting."""


class HostWaits:
    """When each host may be asked again; shared by all workers of a run."""

    def __init__(self, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._now, self._sleep = now, sleep
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def hold(self, host: str, seconds: float) -> None:
        """Nobody asks this host for so many seconds; a longer wait stays."""
        with self._lock:
            self._until[host] = max(self._until.get(host, 0.0), self._now() + seconds)

    def until(self, host: str) -> float:
        """The moment from which the host may be asked, on the clock `now`; 0 = always."""
        return self._until.get(host, 0.0)

    def pause(self, host: str, stop: Callable[[], bool] | None = None) -> float:
        """Sleep until the host may be asked; returns the moment that was waited for.

        raises  StoppedError when `stop` becomes true
        """
        seen = 0.0
        while (until := self.until(host)) != seen:  # another worker may have made the wait longer
            seen, left = until, until - self._now()
            while left > 0:
                if stop is not None and stop():
                    raise StoppedError
                nap = left if stop is None else min(left, _NAP_S)
                self._sleep(nap)
                left -= nap
        return seen


def backoff_s(attempt: int) -> float:
    """Random wait after the given number of failed tries, 1 s to at most 60 s."""
    return random.uniform(1.0, min(60.0, 2.0**attempt))


def retry_after_s(headers: Mapping[str, str], wall_s: float) -> float | None:
    """Seconds that a server asks to wait, at most 15 minutes; None when it says nothing usable.

    A date is compared with the server's own Date, so that a wrong clock of this machine does no harm.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return min(float(text), LONGEST_WAIT_S)
    try:
        until = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        return None
    with suppress(ValueError, TypeError):
        wall_s = parsedate_to_datetime(headers.get("Date", "")).timestamp()
    return min(max(until - wall_s, 0.0), LONGEST_WAIT_S)
