"""The installed gpt: where it is, what it says of itself, and one call of bash_scripts/gpt.sh."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.workflow.errors import ConfigError, DiskError, Error, ExternalError, InputError, Interrupted

SCRIPT = Path(__file__).resolve().parents[2] / "bash_scripts/gpt.sh"
_CLASSES: dict[int, type[Error]] = {65: ConfigError, 66: InputError, 69: DiskError, 70: ExternalError, 75: Interrupted}
_DIAG_SECONDS = 120
_LABELS = {"heap": "Max memory", "cache": "Cache size", "parallelism": "Tile parallelism"}


@dataclass(frozen=True)
class Diagnosis:
    """What `gpt --diag` says; version is 0 and texts are empty where it does not."""

    version: int
    heap: str
    cache: str
    parallelism: str

    def __str__(self) -> str:
        parts = [f"SNAP {self.version or '?'}", f"heap {self.heap or '?'}", f"cache {self.cache or '?'}"]
        return ", ".join([*parts, f"parallelism {self.parallelism or '?'}"])


def find_gpt(configured: str | None = None) -> str | None:
    """Path of gpt: as configured, SNAP_GPT, S2CR_GPT, then PATH; None when there is none."""
    wanted = configured or os.environ.get("SNAP_GPT") or os.environ.get("S2CR_GPT") or "gpt"
    return shutil.which(wanted)


def parse_diag(text: str) -> Diagnosis:
    """Parse the output of `gpt --diag`."""
    match = re.search(r"^.*snap.*version\D*(\d+)", text, re.IGNORECASE | re.MULTILINE)
    values = {}
    for name, label in _LABELS.items():
        found = re.search(rf"^\s*{label}:\s*(.+?)\s*$", text, re.MULTILINE)
        values[name] = found[1] if found else ""
    return Diagnosis(int(match[1]) if match else 0, **values)


def diagnose(gpt: str) -> Diagnosis:
    """Ask gpt.

    raises  ExternalError when it cannot be run
    """
    try:
        result = subprocess.run(
            [gpt, "--diag"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_DIAG_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ExternalError(f"{gpt} --diag failed ({error}).", "Check the installation of SNAP.") from error
    return parse_diag(result.stdout)


def run_script(arguments: Sequence[str], env: Mapping[str, str], say: Callable[[str], None]) -> Path:
    """Run bash_scripts/gpt.sh; an interruption of this process is handed on to it.

    env      variables on top of the environment
    say      gets each line that the script says of its progress
    returns  path of the .dim file
    raises   the project's error of the script's exit code, with its last lines
    """
    process = subprocess.Popen(
        [str(SCRIPT), *arguments], env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        out, err = process.communicate()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    lines = [line for line in err.splitlines() if line.strip()]
    if process.returncode != 0:
        kind = _CLASSES.get(process.returncode, ExternalError)
        text = "\n".join(line for line in lines[:-1] if not line.startswith("gpt.sh:"))
        raise kind(text or f"gpt.sh ended with {process.returncode}.", lines[-1] if lines else "Run it by hand.")
    for line in lines:
        say(line)
    return Path(out.strip().splitlines()[-1])
