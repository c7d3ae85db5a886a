"""Cloud, shadow and snow from python-fmask, run as a separate program on an L1C product in a folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils.io import raster
from utils.science.grid import Grid
from utils.science.reflectance import CLEAR, CLOUD, NONE, SHADOW, SNOW
from utils.workflow.errors import ExternalError, InputError

PROGRAM = "fmask_sentinel2Stacked"
# 0 null, 1 clear, 2 cloud, 3 shadow, 4 snow, 5 water
CODES = np.full(256, NONE, np.uint8)
CODES[:6] = (NONE, CLEAR, CLOUD, SHADOW, SNOW, CLEAR)
_LAST_LINES = 10


@dataclass(frozen=True)
class Settings:
    """Options of the program; its own defaults."""

    program: str = PROGRAM
    cloud_buffer_m: float = 150.0
    shadow_buffer_m: float = 300.0
    cloud_probability: float = 20.0
    min_cloud_px: int = 0
    parallax_test: bool = False


def command(settings: Settings, safe: Path, out: Path, scratch: Path) -> list[str]:
    """The command line."""
    line = [
        settings.program, "--safedir", str(safe), "-o", str(out), "-e", str(scratch),
        "--mincloudsize", str(settings.min_cloud_px), "--cloudbufferdistance", f"{settings.cloud_buffer_m:g}",
        "--shadowbufferdistance", f"{settings.shadow_buffer_m:g}", "--cloudprobthreshold", f"{settings.cloud_probability:g}",
    ]  # fmt: skip
    return [*line, "--parallaxtest"] if settings.parallax_test else line


def detect(settings: Settings, safe: Path, scratch: Path) -> tuple[NDArray[np.uint8], Grid]:
    """Run the program on a .SAFE folder.

    scratch  an empty folder for its temporary files and its result
    returns  codes (rows, cols) uint8 0 clear (also water), 1 cloud, 2 shadow, 3 snow, 255 none, and their grid (20 m)
    raises   ExternalError when it is absent, fails, or writes something else
    """
    if shutil.which(settings.program) is None:
        raise ExternalError(
            f"{settings.program}: no such program; preprocess.cloud_mask is fmask.",
            "Install python-fmask (conda install -c conda-forge python-fmask) or name it in preprocess.fmask.program; "
            "or set preprocess.cloud_mask: s2cloudless.",
        )
    out = scratch / "fmask.img"
    (scratch / "temp").mkdir(parents=True)
    code, lines = _run(command(settings, safe.resolve(), out, scratch / "temp"), scratch)
    if code != 0 or not out.is_file():
        why = f"ended with code {code}" if code else "ended without its result"
        raise ExternalError(
            f"{settings.program} on {safe.name} {why}; its last words:\n{_tail(lines)}",
            "Run it by hand on the unpacked L1C product, or set preprocess.cloud_mask: s2cloudless.",
        )
    return _result(settings, out)


def _run(line: Sequence[str], folder: Path) -> tuple[int, str]:
    """Exit code and what it said; the program and its children end when this process is stopped."""
    said = folder / "stderr.txt"
    with said.open("wb") as stderr:
        child = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
                                 start_new_session=True)  # fmt: skip
        try:
            code = child.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
    return code, said.read_text(encoding="utf-8", errors="replace")


def _tail(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-_LAST_LINES:]) or "(nothing)"


def _result(settings: Settings, out: Path) -> tuple[NDArray[np.uint8], Grid]:
    try:
        info, values = raster.info(out), raster.read(out)[0]
    except InputError as error:
        raise ExternalError(
            f"{settings.program}: its result is not a readable raster.", "Run it by hand on the unpacked L1C product."
        ) from error
    found = np.unique(values)
    if info.dtype != "uint8" or found.max() > 5 or not info.grid.epsg:
        raise ExternalError(
            f"{settings.program}: its result holds {info.dtype} values {found[0]}..{found[-1]} in EPSG:{info.grid.epsg}, "
            "expected codes 0..5 in the tile's coordinate system.",
            "Run it by hand on the unpacked L1C product; the adapter expects the codes of python-fmask.",
        )
    return CODES[values], info.grid
