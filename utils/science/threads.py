"""Number of threads of the compiled loops. Results do not depend on it."""

from __future__ import annotations

import os

import numba


def use_threads(count: int) -> int:
    """Run compiled loops on `count` threads; 0 = all CPUs that this process may use. Returns the number set."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    chosen = max(1, min(count or allowed, most))
    numba.set_num_threads(chosen)
    return chosen
