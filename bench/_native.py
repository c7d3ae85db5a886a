"""The native Sentinel-1 engine in a process of its own: `python -m bench._native REQUEST.json`, answer: a JSON line.

in_memory is the only place of the benchmark that knows how the engine's steps are put together.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.science.grid import Grid, Window


def in_memory(safe: Path, heights: Path, grid: Grid, polarisation: str) -> NDArray[np.float32]:
    """gamma0 of one polarisation on `grid`, read from files and kept in memory; as sarsen works.

    Annotation orbit, nominal azimuth spacing, bilinear; no noise, border, speckle filter. The layover and shadow mask
    is made although nobody asks for it.
    """
    from utils.io import safe_s1
    from utils.io.dem import HeightField
    from utils.io.ground import ground_under
    from utils.io.safe import open_product
    from utils.io.safe_s1_pixels import Measurement
    from utils.science import s1_chain, s1_run
    from utils.science.geocode import image_geometry

    options = s1_chain.Options(azimuth_spacing="nominal", speckle="none")
    with open_product(safe) as product:
        member = safe_s1.require(product, (polarisation,), "off")[polarisation]
        note = safe_s1.read_annotation(product, member.annotation)
        table = safe_s1.read_calibration(product, member.calibration or "")
        geometry = image_geometry(note, "linear")
        ground = ground_under(HeightField(heights), grid, s1_chain.rough_nodes(geometry, grid))
        plan = s1_chain.plan(geometry, ground.grid, ground.inner, ground, ground.range_m, options)
        with Measurement(product, member.measurement or "", note.lines, note.samples) as pixels:
            run = s1_run.Run(plan, {polarisation: s1_chain.Channel(pixels, table, None)})
            return s1_run.collect(run, grid.shape).gamma0[polarisation]


def peak_gib() -> float:
    """Largest resident memory of this process. Not ru_maxrss: it starts with the memory of the process that forked."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found.group(1)) / 2**20 if found else float("nan")


def _memory(request: dict[str, Any], grid: Grid) -> dict[str, Any]:
    """A small square first, which loads the compiled loops; then the area."""
    args = (Path(request["product"]), Path(request["dem"]))
    begin = time.perf_counter()
    in_memory(*args, grid.window(Window(grid.rows // 2, grid.cols // 2, 64, 64)), request["polarisation"])
    warm = time.perf_counter()
    image = in_memory(*args, grid, request["polarisation"])
    done = time.perf_counter()
    return {"warm_s": warm - begin, "work_s": done - warm, "median": float(np.nanmedian(image)), "shape": image.shape}


def _stage(request: dict[str, Any], grid: Grid) -> dict[str, Any]:
    """The stage's own function, files and all, without ledger and manifest. What the helper of the tests does after it
    (reading the files back) does not count."""
    from scripts import preprocess_s1
    from tests import s1_stage
    from utils.science.threads import use_threads
    from utils.workflow.schema import Dem, Speckle

    use_threads(request["threads"])
    measured: dict[str, float] = {}
    convert = preprocess_s1._convert

    def timed(*args: Any) -> None:
        begin = time.perf_counter()
        convert(*args)
        measured.update(work_s=time.perf_counter() - begin, peak_gib=peak_gib())

    vars(preprocess_s1)["_convert"] = timed
    gamma0, _, facts, _ = s1_stage.convert(
        Path(request["work"]), Path(request["product"]), grid, Dem(path=request["dem"]), verify="off",
        speckle=Speckle(filter=request["speckle"]), threads=request["threads"],
    )  # fmt: skip
    return {**measured, "median": float(np.nanmedian(gamma0[0, ::8, ::8])), "noise": facts["noise_removed"]}


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Do one request: task memory or stage; seconds are wall time."""
    begin = time.perf_counter()
    from scripts import preprocess_s1  # noqa: F401 - what the stage imports at its start
    from utils.io import dem, raster, safe_s1  # noqa: F401
    from utils.science import s1_chain  # noqa: F401
    from utils.science.threads import use_threads

    use_threads(request["threads"])
    imported = time.perf_counter()
    grid = Grid(**request["grid"])
    found = _memory(request, grid) if request["task"] == "memory" else _stage(request, grid)
    return {"import_s": imported - begin, "peak_gib": peak_gib(), **found}


def shrunk(grid: Grid, side_px: int) -> Grid:
    """A square of side_px around the centre of a grid, on the same pixels."""
    row, col = (grid.rows - side_px) // 2 // 2 * 2, (grid.cols - side_px) // 2 // 2 * 2
    return grid.window(Window(row, col, side_px, side_px))


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
