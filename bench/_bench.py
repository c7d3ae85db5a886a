"""Frame of the benchmarks: one line a figure, the same as JSON in bench/results/."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def line(figure: dict[str, Any]) -> str:
    """`figure NAME VALUE UNIT limit LIMIT ok|short` of a figure {name, value, unit, limit, better: lower|higher}."""
    limit = figure.get("limit")
    if limit is None:
        return f"figure {figure['name']} {figure['value']:.4g} {figure['unit']} limit - ok"
    good = figure["value"] <= limit if figure["better"] == "lower" else figure["value"] >= limit
    return f"figure {figure['name']} {figure['value']:.4g} {figure['unit']} limit {limit:g} {'ok' if good else 'short'}"


def machine() -> dict[str, Any]:
    """What a figure depends on."""
    names = ("numpy", "scipy", "numba", "GDAL", "tensorflow-cpu", "keras")
    versions = {name: metadata.version(name) for name in names if _installed(name)}
    return {
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def store(name: str, figures: list[dict[str, Any]]) -> None:
    """Write bench/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    data = {"bench": name, "date": time.strftime("%Y-%m-%d"), "machine": machine(), "figures": figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")


def interleaved(
    first: Callable[[], object], second: Callable[[], object], rounds: int = 5
) -> tuple[float, float, float]:
    """Median seconds of two pieces of the same work, run in turn, and the median ratio second/first."""
    pairs = []
    for _ in range(rounds):
        begin = time.perf_counter()
        first()
        middle = time.perf_counter()
        second()
        pairs.append((middle - begin, time.perf_counter() - middle))
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    return a, b, statistics.median(y / x for x, y in pairs)
