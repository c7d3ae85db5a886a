"""Settings of the compiled loops: number of threads, threading layer, cache folder. Results depend on none of them.

`settle_numba` runs when utils.science is first imported, thus in every entry and before numba reads its environment.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator

# OpenMP wherever its library is, else numba's own pool, which every wheel holds; never TBB only because some other
# package brought it. Both work for the one thread that calls compiled loops here. A process that has run them must
# not fork and go on with them in the child (GNU OpenMP ends it): other programs are started anew.
LAYERS = "omp workqueue tbb"


def settle_numba() -> None:
    """Choose numba's threading layer, and a cache folder that is writable; what the user has set stays.

    The cache is numba's own, `__pycache__` beside the modules, where that is writable. Else it is below XDG_CACHE_HOME
    or ~/.cache, or a folder of this user in TMPDIR: without any, numba refuses to load compiled functions.
    """
    os.environ.setdefault("NUMBA_THREADING_LAYER_PRIORITY", LAYERS)
    if os.environ.get("NUMBA_CACHE_DIR") or _writable(f"{__file__.rpartition('/')[0]}/__pycache__"):
        return
    for folder in _folders():
        if _writable(folder):
            os.environ["NUMBA_CACHE_DIR"] = folder
            return


def _folders() -> Iterator[str]:
    """Cache folders besides that of the checkout, the best first."""
    home = os.environ.get("XDG_CACHE_HOME") or (f"{os.environ['HOME']}/.cache" if os.environ.get("HOME") else "")
    if home.startswith("/"):
        yield f"{home}/s2cr/numba"
    own = f"{tempfile.gettempdir()}/s2cr-numba-{os.geteuid()}"
    if _is_private(own):
        yield own
    yield tempfile.mkdtemp(prefix="s2cr-numba-")


def _is_private(folder: str) -> bool:
    """Make a folder, and see that it is of this user alone: numba runs what it finds in its cache."""
    try:
        os.mkdir(folder, 0o700)  # noqa: PTH102 - no pathlib in this layer
    except FileExistsError:
        pass
    except OSError:
        return False
    found = os.lstat(folder)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _writable(folder: str) -> bool:
    """True when a file can be made in a folder, which is made where it is missing."""
    try:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - no pathlib in this layer
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def use_threads(count: int) -> int:
    """Run compiled loops on `count` threads; 0 = all CPUs that this process may use. Returns the number set."""
    import numba

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    chosen = max(1, min(count or allowed, most))
    numba.set_num_threads(chosen)
    return chosen
