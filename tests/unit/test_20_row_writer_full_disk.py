"""Two large rasters at once on a disk that holds one: an honest error, or both files whole; never a short file."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from utils.io import raster
from utils.io.row_writer import writer
from utils.science.grid import Grid
from utils.workflow.errors import DiskError

GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 200, 300)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_disk_that_fills_up_between_two_writers(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=240k", "tmpfs", disk], check=False, capture_output=True)
    if mount.returncode != 0:
        pytest.skip("mount is not permitted here")
    noise = np.random.default_rng(0).random((1, *GRID.shape), dtype=np.float32)
    outcome = []
    try:
        for kib in range(
            240, 500, 12
        ):  # one raster takes 235 KiB raw; the check before each sees room for itself alone
            subprocess.run(["mount", "-o", f"remount,size={kib}k", disk], check=True)
            try:
                with ExitStack() as stack:
                    for name in "ab":
                        out = stack.enter_context(writer(disk / f"{name}.tif", GRID, 1, "float32", threads=2))
                        for row in range(0, 200, 50):
                            out.write(noise[:, row : row + 50], row, 0)
                outcome.append("done")
            except DiskError as error:
                assert error.exit_code == 69
                outcome.append("full")
            assert not [path.name for path in disk.iterdir() if "s2cr-tmp" in path.name]
            for path in disk.iterdir():
                assert raster.read(path).tobytes() == noise.tobytes(), (kib, path)
                path.unlink()
    finally:
        subprocess.run(["umount", "-l", disk], check=False)
    print(f"{outcome.count('full')} of {len(outcome)} sizes were too small")
    assert outcome.count("full") >= 5
    assert outcome[-1] == "done"
