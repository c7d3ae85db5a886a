"""Secrets never reach a log: one filter for all handlers, and the same rules for any text."""

from __future__ import annotations

import base64
import logging
import re
import threading
from urllib.parse import quote, quote_plus

MARK = "[removed]"
_SHORTEST = 4  # removing shorter values would blank ordinary words
_HEADER = re.compile(r"(?i)((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)(?:(?:basic|bearer)\s+)?[^\s\"',}]+")
_SCHEME = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_QUERY = re.compile(r"(?i)([?&;](?:token|sig|signature|awsaccesskeyid|x-amz-[a-z-]+)=)[^&\s\"'<>]+")


class Redactor(logging.Filter):
    """Removes Authorization headers, signed query keys and every secret value it was told."""

    def __init__(self) -> None:
        super().__init__()
        self._values: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    def add(self, *values: str) -> None:
        """Remember secret values; their quoted forms are removed too."""
        forms = {form for v in values if len(v) >= _SHORTEST for form in (v, quote(v, safe=""), quote_plus(v))}
        with self._lock:
            self._values |= forms

    def add_login(self, user: str, password: str) -> None:
        """Remember a password and the Basic form of a login."""
        self.add(password, base64.b64encode(f"{user}:{password}".encode()).decode())

    def text(self, text: str) -> str:
        """The text without secrets."""
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, MARK)
        text = _HEADER.sub(rf"\1{MARK}", text)
        text = _SCHEME.sub(rf"\1 {MARK}", text)
        return _QUERY.sub(rf"\1{MARK}", text)

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place, its traceback included; never drops one."""
        record.msg, record.args = self.text(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self.text(record.exc_text)
        return True


SECRETS = Redactor()


def install() -> None:
    """Put the filter on the loggers that see addresses and on every handler of the root and of our own logger."""
    for name in ("", "s2cr", "urllib3", "urllib3.connectionpool", "urllib3.util.retry", "requests"):
        logger = logging.getLogger(name)
        for target in (logger, *logger.handlers):
            if SECRETS not in target.filters:
                target.addFilter(SECRETS)
