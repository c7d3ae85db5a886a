"""A headless Chromium driven through the DevTools protocol over two pipes: no port, no network, no extra package."""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


def executable() -> str | None:
    """Path of a Chromium on this machine, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page. `events` keeps everything that the browser reported, oldest first."""

    def __init__(self, profile: Path, width: int = 1400, height: int = 1000) -> None:
        path = executable()
        if path is None:
            raise RuntimeError("no Chromium")
        its_in, self._out = os.pipe()
        self._in, its_out = os.pipe()
        # the browser reads commands at descriptor 3 and writes answers at 4
        command = f'exec "$0" "$@" 3<&{its_in} 4>&{its_out}'
        flags = [*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", command, path, *flags],
            pass_fds=(its_in, its_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_in)
        os.close(its_out)
        self._rest, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._out)  # the browser ends when nobody can command it
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        os.close(self._in)

    def _message(self, timeout_s: float) -> dict[str, Any]:
        until = time.monotonic() + timeout_s
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser did not answer")
            part = os.read(self._in, 1 << 20)
            if not part:
                raise EOFError("the browser ended")
            self._rest += part
        first, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(first))

    def call(self, method: str, timeout_s: float = 60.0, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; raises RuntimeError with the browser's own words."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message(timeout_s)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.events.append(answer)

    def open(self, path: Path) -> None:
        """Load a local file and wait until everything in it is there."""
        self.call("Page.navigate", url=path.as_uri())
        until = time.monotonic() + 60
        while not self.value("document.readyState==='complete'&&location.protocol==='file:'"):
            if time.monotonic() > until:
                raise TimeoutError(f"{path} did not load")
            time.sleep(0.05)

    def value(self, script: str) -> Any:
        """The value of a JavaScript expression; waits for promises."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def size(self, width: int, height: int, *, phone: bool = False, scale: float = 1.0) -> None:
        """Size of the window in CSS pixels; a phone has touch and obeys the viewport tag."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def dark(self, on: bool = True) -> None:
        """Ask for the dark or the light colours."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def png(self, selector: str = "", whole: bool = False) -> bytes:
        """Picture of the window, of the whole page, or of one element."""
        clip: dict[str, Any] = {}
        if selector:
            box = self.box(selector)
            clip = {"clip": {**box, "scale": 1}}
        # two frames later everything that was asked for is painted
        self.value("new Promise(r=>requestAnimationFrame(()=>requestAnimationFrame(()=>r(1))))")
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole or bool(selector), **clip)
        return base64.b64decode(found["data"])

    def pixels(self, selector: str = "") -> np.ndarray:
        """(H, W, 3) uint8 of what png shows."""
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(self.png(selector))).convert("RGB"))

    def box(self, selector: str) -> dict[str, float]:
        """x, y, width, height of an element on the page."""
        script = f"(function(){{var b=document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
        return dict(self.value(script + "return {x:b.left+scrollX,y:b.top+scrollY,width:b.width,height:b.height}})()"))

    def key(self, key: str) -> None:
        """Press and release one key."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """kind = mousePressed, mouseMoved, mouseReleased or mouseWheel, in CSS pixels of the window."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """kind = touchStart, touchMove or touchEnd with the fingers that are down."""
        down = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        self.call("Input.dispatchTouchEvent", type=kind, touchPoints=down)

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions of scripts."""
        found = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(str(params["args"]))
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(str(params["entry"]))
        return found

    def requests(self) -> list[str]:
        """Addresses that the page asked for, without those inside it."""
        sent = [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        return [url for url in sent if not url.startswith("data:")]
