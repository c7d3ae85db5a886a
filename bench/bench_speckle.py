"""Speckle filters on gamma noise, 2 threads: millions of pixels a second of each filter, compile time apart.

Work: 16 MPix of 4.4-look noise, window 7 x 7, the limit of bright power given, as the stage calls them. The peer is
the Lee filter from two uniform filters of SciPy, the fastest way with plain arrays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from utils.science import speckle
from utils.science.threads import use_threads


def peer_lee(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lee filter from moving averages; no missing pixels."""
    mean = uniform_filter(power, 7)
    variance = uniform_filter(power * power, 7) - mean**2
    weight = np.clip((1 - mean**2 / 4.4 / variance) / (1 + 1 / 4.4), 0, 1)
    return np.asarray(mean + weight * (power - mean), dtype=np.float32)


def _best_s(work: Callable[[], object], rounds: int = 3) -> float:
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def figures() -> list[dict[str, Any]]:
    """Throughput of every filter and of the peer, and the seconds of the first call."""
    use_threads(2)
    power = np.random.default_rng(0).gamma(4.4, 0.05 / 4.4, (4000, 4000)).astype(np.float32)
    bright, mpix, found = speckle.bright_limit(power[::7]), power.size / 1e6, []
    begin = time.perf_counter()
    names: tuple[speckle.FilterName, ...] = ("lee", "refined_lee", "lee_sigma")
    for name in names:
        speckle.speckle_filter(power[:64], name, bright=bright)
    first_s = time.perf_counter() - begin
    for name in names:
        seconds = _best_s(lambda name=name: speckle.speckle_filter(power, name, bright=bright))  # type: ignore[misc]
        limit = None if name == "lee" else 15.0
        found.append({"name": f"speckle_{name}", "value": mpix / seconds, "unit": "MPix/s", "limit": limit})
    found.append({"name": "speckle_peer_lee", "value": mpix / _best_s(lambda: peer_lee(power), 1), "unit": "MPix/s"})
    found = [{"limit": None, "better": "higher", **figure} for figure in found]
    return [*found, {"name": "speckle_first_calls", "value": first_s, "unit": "s", "limit": None, "better": "lower"}]
