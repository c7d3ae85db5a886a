"""An Earth Engine server on loopback: discovery, algorithms, value:compute; answers by a function of the expression.

Discovery and algorithms are those that the installed client carries for its own tests, so signatures are checked by the
real client. Faults are queued: each value:compute request takes one from `faults` and answers with it.
"""

from __future__ import annotations

import importlib.util
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Answer = Callable[[dict[str, Any]], Any]


def _client_file(name: str) -> Path:
    spec = importlib.util.find_spec("ee")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "tests" / name


DISCOVERY, ALGORITHMS = _client_file("cloud_api_discovery_document.json"), _client_file("algorithms.json")


@dataclass
class Server:
    """answer: expression -> result; expressions: what was asked, in order; tokens: Authorization headers that came.

    faults  (path ending, status, message) to answer with first, in order; status 0 closes the connection, -1 says
            nothing for two seconds
    """

    answer: Answer
    url: str = ""
    expressions: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    faults: list[tuple[str, int, str]] = field(default_factory=list)

    def fault(self, path: str) -> tuple[int, str] | None:
        if self.faults and path.endswith(self.faults[0][0]):
            _, status, message = self.faults.pop(0)
            return status, message
        return None


class _Handler(BaseHTTPRequestHandler):
    server: _Http

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if self._refused(path):
            return
        if path == "/$discovery/rest":
            document = json.loads(DISCOVERY.read_text())
            document |= {"rootUrl": f"{self.server.facts.url}/", "baseUrl": f"{self.server.facts.url}/"}
            document.pop("mtlsRootUrl", None)
            self._send(200, document)
        elif path.startswith("/v1alpha/projects/") and path.endswith("/algorithms"):
            self._send(200, json.loads(ALGORITHMS.read_text()))
        else:
            self._send(404, {"error": {"code": 404, "message": f"no such path {path}"}})

    def do_POST(self) -> None:
        path, facts = self.path.partition("?")[0], self.server.facts
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._refused(path):
            return
        if not path.endswith("/value:compute"):
            self._send(404, {"error": {"code": 404, "message": f"no such path {path}"}})
            return
        facts.expressions.append(body["expression"])
        try:
            self._send(200, {"result": facts.answer(body["expression"])})
        except Exception as error:  # the client shows the text, so a test sees what the interpreter refused
            self._send(400, {"error": {"code": 400, "message": f"{type(error).__name__}: {error}"}})

    def _refused(self, path: str) -> bool:
        facts = self.server.facts
        facts.requests.append(f"{self.command} {path}")
        facts.tokens.append(self.headers.get("Authorization", ""))
        fault = facts.fault(path)
        if fault is None:
            return False
        if fault[0] == 0:
            self.close_connection = True
            self.connection.close()
        elif fault[0] == -1:
            time.sleep(2)
            self.close_connection = True
        else:
            self._send(fault[0], {"error": {"code": fault[0], "message": fault[1], "status": "FAULT"}})
        return True

    def _send(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    facts: Server


@contextmanager
def serving(answer: Answer = lambda expression: None) -> Iterator[Server]:
    """Run the server on a free port of 127.0.0.1; the client is reset afterwards."""
    import ee

    if not (DISCOVERY.is_file() and ALGORITHMS.is_file()):
        pytest.skip("the installed earthengine-api carries no test data")
    http = _Http(("127.0.0.1", 0), _Handler)
    facts = Server(answer, f"http://127.0.0.1:{http.server_address[1]}")
    http.facts = facts
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield facts
    finally:
        ee.Reset()
        http.shutdown()
        http.server_close()
        thread.join()


def fake_credentials(refreshes: list[int] | None = None) -> Any:
    """Credentials with a token of no worth; a refresh makes the next one and is counted."""
    import google.auth.credentials

    class Fake(google.auth.credentials.Credentials):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.token = "fake-0"

        def refresh(self, request: Any) -> None:
            if refreshes is not None:
                refreshes.append(1)
            self.token = f"fake-{len(refreshes or ())}"

    return Fake()
