"""Compiled loops load and run where neither the checkout nor the home folder may be written."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = 65534
LOAD = """
import os
from utils.science import resample, threads
import numba, numpy as np
threads.use_threads(2)
power = np.arange(64, dtype=np.float32).reshape(8, 8)
at = np.full((3, 3), 2.5, np.float32)
found = resample.to_map(power, 0, 0, at, at, "bilinear")
assert np.allclose(found, 2.5 * 8 + 2.5), found
print(os.environ.get("NUMBA_CACHE_DIR", "unset"), numba.threading_layer())
"""

ONLY_IMPORT = "import os; from utils.science import resample; print(os.environ.get('NUMBA_CACHE_DIR', 'unset'))"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that an unprivileged user can reach, with a copy of the code, a home and a folder for files."""
    folder = Path(tempfile.mkdtemp(prefix="numba-setup-"))
    try:
        shutil.copytree(ROOT / "utils", folder / "checkout/utils", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "home").mkdir()
        (folder / "tmp").mkdir()
        yield folder
    finally:
        for parent, _, _ in os.walk(folder):
            Path(parent).chmod(0o755)
        shutil.rmtree(folder)


def close(folder: Path) -> None:
    """Nobody but root may write in a folder and below."""
    for parent, _, _ in os.walk(folder, topdown=False):
        Path(parent).chmod(0o555)


def load(place: Path, code: str = LOAD, **more: str) -> subprocess.CompletedProcess[str]:
    """Run code with the copy as checkout, never as root: root may write everywhere."""

    def drop() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    root = os.geteuid() == 0
    place.chmod(0o755)
    (place / "tmp").chmod(0o1777)
    env = {
        "PATH": os.environ["PATH"], "HOME": str(place / "home"), "TMPDIR": str(place / "tmp"),
        "PYTHONPATH": str(place / "checkout"), **more,
    }  # fmt: skip
    start = drop if root else None

    def call(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", text], env=env, cwd=place, preexec_fn=start, capture_output=True, text=True, check=False
        )  # fmt: skip

    try:
        able = call("import numba, scipy").returncode == 0
    except OSError:
        able = False
    if root and not able:
        pytest.skip("an unprivileged user cannot start this Python")
    return call(code)


def test_read_only_checkout_and_home(place: Path) -> None:
    close(place / "checkout")
    close(place / "home")
    done = load(place)
    assert done.returncode == 0, done.stderr
    folder, layer = done.stdout.split()
    assert Path(folder).parent == place / "tmp" and list(Path(folder).rglob("*.nbi"))
    assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
    assert layer in {"omp", "workqueue"}
    again = load(place, ONLY_IMPORT)
    assert again.stdout.split() == [folder], again.stderr


def test_read_only_checkout_writable_home(place: Path) -> None:
    close(place / "checkout")
    (place / "home").chmod(0o777)
    done = load(place, ONLY_IMPORT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == str(place / "home/.cache/s2cr/numba")
    (place / "cache").mkdir()
    (place / "cache").chmod(0o777)
    assert load(place, ONLY_IMPORT, XDG_CACHE_HOME=str(place / "cache")).stdout.startswith(
        str(place / "cache/s2cr/numba")
    )


def test_a_writable_checkout_and_the_user_come_first(place: Path) -> None:
    (place / "checkout/utils/science").chmod(0o777)
    done = load(place, ONLY_IMPORT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "unset"
    (place / "mine").mkdir()
    (place / "mine").chmod(0o777)
    done = load(place, NUMBA_CACHE_DIR=str(place / "mine"), NUMBA_THREADING_LAYER="workqueue")
    assert done.stdout.split() == [str(place / "mine"), "workqueue"], done.stderr
    assert list((place / "mine").rglob("*.nbi"))


def test_a_folder_of_somebody_else_is_not_trusted(place: Path) -> None:
    """numba runs what its cache holds: a folder that others may write is passed over."""
    close(place / "checkout")
    close(place / "home")
    user = NOBODY if os.geteuid() == 0 else os.geteuid()
    trap = place / "tmp" / f"s2cr-numba-{user}"
    trap.mkdir()
    trap.chmod(0o777)
    done = load(place, ONLY_IMPORT)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.split()[0]).parent == place / "tmp" and done.stdout.split()[0] != str(trap)
    assert not list(trap.iterdir())


def test_the_layer_is_chosen_in_one_place(place: Path) -> None:
    (place / "checkout/utils/science").chmod(0o777)
    code = "import utils.science, sys; assert 'numba' not in sys.modules; import numba; print(*numba.config.THREADING_LAYER_PRIORITY)"
    done = load(place, code)
    assert done.stdout == "omp workqueue tbb\n", done.stderr
