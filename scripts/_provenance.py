"""What a result depends on besides its inputs: code and package versions."""

from __future__ import annotations

import platform
import subprocess
import time
from contextlib import suppress
from importlib import metadata

from utils.workflow import config

_PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "GDAL",
    "tensorflow-cpu",
    "tensorflow",
    "keras",
    "pydantic",
    "numba",
    "shapely",
)


def code_version() -> str:
    """git description of the checkout, with -dirty for changed files; `unknown` outside git."""
    git = ["git", "-C", str(config.ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    with suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    return "unknown"


def package_versions() -> dict[str, str]:
    """Installed versions of what shapes results, and of Python."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
