"""The second run of a finished chain, and the start of the command line, as whole processes."""

from __future__ import annotations

import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def _median_s(command: list[str], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def figures() -> list[dict[str, Any]]:
    """Seconds of `make demo` when all is done, of `plan` over the chain, and of `--help`."""
    subprocess.run(["make", "demo"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return [
        {"name": "second_demo", "value": _median_s(["make", "demo"], 5), "unit": "s", "limit": 5.0, "better": "lower"},
        {
            "name": "plan",
            "value": _median_s(["./s2cr", "plan", "confs/demo.yaml"], 5),
            "unit": "s",
            "limit": 1.0,
            "better": "lower",
        },
        {"name": "help", "value": _median_s(["./s2cr", "--help"], 9), "unit": "s", "limit": 0.5, "better": "lower"},
    ]
