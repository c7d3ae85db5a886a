"""A full Sentinel-2 tile, 10980 x 10980 px: B02 B03 B04 B08 and scene classes, from JPEG 2000 to the stage's files.

The product is generated: lossless JPEG 2000 in tiles of 1024 of a smooth field with noise, as slow to decode as real
bands. The peer is GDAL alone: the same five images decoded in windows of one row of tiles, with nothing else done, one
image on all threads and one image a thread; the faster of the two counts. Each piece runs in a process of its own, in
turn; the ratio compares runs that follow one another. Limits are those of the acceptance table.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from utils.io.synth_s2 import jp2_bytes
from utils.io.synth_s2_xml import L2aIdentity, compact, manifest_xml, product_xml, tile_xml
from utils.science.grid import Grid

SIDE_PX = 10980
BANDS = ("B02", "B03", "B04", "B08")
GRID = Grid(32755, 699960.0, 6100020.0, 10.0, -10.0, SIDE_PX, SIDE_PX)
_ROUNDS = 3


def make_product(folder: Path, side_px: int = SIDE_PX) -> Path:
    """A .SAFE folder with one image under four names, and classes with cloud and shadow."""
    grid = Grid(GRID.epsg, GRID.x0, GRID.y0, 10.0, -10.0, side_px, side_px)
    rng = np.random.default_rng(3)
    field = ndimage.gaussian_filter(rng.normal(size=(side_px // 10 + 1,) * 2), 8).astype(np.float32)
    field = (field - field.min()) / (field.max() - field.min())
    dn = np.kron(field, np.full((10, 10), 2600, np.float32))[:side_px, :side_px]
    dn += rng.normal(600, 60, dn.shape).astype(np.float32)
    image = jp2_bytes(dn.clip(1, 20000).astype(np.uint16), grid)
    coarse = np.kron(field, np.ones((5, 5), np.float32))[: side_px // 2, : side_px // 2]
    scl = np.select([coarse > 0.75, coarse < 0.2], [9, 3], 4).astype(np.uint8)
    identity = L2aIdentity("S2A", dt.datetime(2020, 1, 4, tzinfo=dt.UTC), 23686, 30, "55HGA", "05.00",
                           dt.datetime(2020, 3, 1, tzinfo=dt.UTC), 30.0, 60.0)  # fmt: skip
    half = Grid(grid.epsg, grid.x0, grid.y0, 20.0, -20.0, side_px // 2, side_px // 2)
    place = f"GRANULE/{identity.granule}/IMG_DATA"
    stem = f"T{identity.tile}_{compact(identity.sensing)}"
    files = {f"{place}/R10m/{stem}_{band}_10m.jp2": image for band in BANDS}
    files[f"{place}/R20m/{stem}_SCL_20m.jp2"] = jp2_bytes(scl, half)
    ring = [(-35.2, 149.2), (-35.2, 150.4), (-36.2, 150.4), (-36.2, 149.2), (-35.2, 149.2)]
    names = [name.removesuffix(".jp2") for name in files]
    documents = {
        "MTD_MSIL2A.xml": product_xml(identity, names, ring, scl),
        f"GRANULE/{identity.granule}/MTD_TL.xml": tile_xml(identity, grid, scl),
    }
    files = documents | files
    safe = folder / f"{identity.name}.SAFE"
    for name, data in {"manifest.safe": manifest_xml(identity, files, ring), **files}.items():
        (safe / name).parent.mkdir(parents=True, exist_ok=True)
        (safe / name).write_bytes(data)
    return safe


def bare(safe: Path, threads: int, images_at_once: int) -> None:
    """GDAL alone: every image in windows of one row of tiles."""
    from osgeo import gdal

    gdal.UseExceptions()
    gdal.SetCacheMax(256 << 20)

    def decode(path: Path) -> None:
        gdal.SetThreadLocalConfigOption("GDAL_NUM_THREADS", str(max(1, threads // images_at_once)))
        image = gdal.Open(str(path))
        for row in range(0, image.RasterYSize, 1024):
            image.GetRasterBand(1).ReadAsArray(0, row, image.RasterXSize, min(1024, image.RasterYSize - row))

    with ThreadPoolExecutor(images_at_once) as pool:
        list(pool.map(decode, sorted(safe.rglob("*.jp2"))))


class _Nowhere:
    """Takes strips and forgets them."""

    def write(self, array: Any, row: int, col: int) -> None:
        """Nothing."""


def without_files(safe: Path, threads: int) -> None:
    """Decoding and conversion of all five images, as the stage does it, nothing written."""
    import threading

    from scripts._sentinel2 import run_all
    from utils.io import safe_s2
    from utils.io.jp2 import bounded_cache
    from utils.io.s2_convert import How, MaskRules, convert_band, convert_classes
    from utils.io.safe import open_product

    with open_product(safe) as product, bounded_cache(64 * threads):
        meta, out = safe_s2.metadata(product), _Nowhere()
        grid = meta.grids[10]
        how, alone = How(threads=max(1, threads // 4), thin=14), How(threads=threads, thin=14)
        jobs = {band: partial(convert_band, product, meta, band, grid, out, how) for band in BANDS}
        classes = partial(convert_classes, product, meta, grid, (out, out), MaskRules(), alone)
        jobs_all: dict[str, Any] = {**jobs, "classes": classes}
        run_all(jobs_all, min(threads, 4), threading.Event())


def whole_stage(safe: Path, threads: int) -> None:
    """All files of the product."""
    from tests.s2_stage import convert
    from utils.io import safe_s2
    from utils.io.safe import open_product

    with open_product(safe) as product:
        grid = safe_s2.metadata(product).grids[10]
    work = Path(tempfile.mkdtemp(prefix="stage-", dir=safe.parent))
    try:
        convert(work, safe, grid, threads=threads)
    finally:
        shutil.rmtree(work)


def _child(safe: Path, piece: str, threads: int) -> dict[str, float]:
    """Seconds of a piece without start-up, of the clock and of processors, and peak memory, in a process of its own."""
    code = (
        "import sys; from pathlib import Path; from bench import bench_sentinel2 as b; "
        "b.timed(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))"
    )
    run = subprocess.run([sys.executable, "-c", code, str(safe), piece, str(threads)],
                         cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)  # fmt: skip
    return dict(json.loads(run.stdout.splitlines()[-1]))


def timed(safe: Path, piece: str, threads: int) -> None:
    """Run one piece and print its figures."""
    work: Callable[[], None] = {
        "bare": lambda: bare(safe, threads, 1),
        "bare_each": lambda: bare(safe, threads, threads),
        "without_files": lambda: without_files(safe, threads),
        "stage": lambda: whole_stage(safe, threads),
    }[piece]
    begin, begin_cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_s = time.perf_counter() - begin, time.process_time() - begin_cpu
    # not ru_maxrss: a child inherits that of the process that started it
    (peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "peak_gib": int(peak.split()[1]) / 2**20}))


def figures(side_px: int = SIDE_PX, rounds: int = _ROUNDS) -> list[dict[str, Any]]:
    """Seconds, memory and share of the bare decoding rate for one tile."""
    threads = min(2, len(os.sched_getaffinity(0)))
    pieces = ("bare", "bare_each", "without_files", "stage")
    found: dict[str, list[dict[str, float]]] = {piece: [] for piece in pieces}
    with tempfile.TemporaryDirectory(prefix="s2cr-bench-") as folder:
        safe = make_product(Path(folder), side_px)
        for _ in range(rounds):
            for piece in pieces:
                found[piece].append(_child(safe, piece, threads))
    seconds, cpu_s = ({p: [run[key] for run in runs] for p, runs in found.items()} for key in ("seconds", "cpu_s"))
    best = [min(pair) for pair in zip(seconds["bare"], seconds["bare_each"], strict=True)]
    mpix = 4.25 * side_px**2 / 1e6

    def share(piece: str) -> float:
        return statistics.median(a / b for a, b in zip(best, seconds[piece], strict=True))

    def cpu_share(piece: str) -> float:
        return statistics.median(a / b for a, b in zip(cpu_s["bare"], cpu_s[piece], strict=True))

    def figure(name: str, value: float, unit: str, limit: float | None, better: str) -> dict[str, Any]:
        return {"name": name, "value": value, "unit": unit, "limit": limit, "better": better}

    return [
        figure("sentinel2_tile", statistics.median(seconds["stage"]), "s", 150.0, "lower"),
        figure("sentinel2_tile_peak_memory", max(run["peak_gib"] for run in found["stage"]), "GiB", 1.0, "lower"),
        figure("sentinel2_decode_convert_share_of_bare", share("without_files"), "times", 0.8, "higher"),
        figure("sentinel2_with_files_share_of_bare", share("stage"), "times", None, "higher"),
        figure("sentinel2_decode_convert_cpu_share", cpu_share("without_files"), "times", None, "higher"),
        figure("sentinel2_with_files_cpu_share", cpu_share("stage"), "times", None, "higher"),
        figure("sentinel2_bare_decoding", mpix / statistics.median(best), "MPix/s", None, "higher"),
        figure("sentinel2_tile_without_files", statistics.median(seconds["without_files"]), "s", None, "lower"),
    ]
