"""Sentinel-1 preprocessing against sarsen, like for like, and full tiles through the real stages.

Parts (--parts, default all that the machine has data for):
  s1_small        1, 4 and 16 MPix of flattened gamma0 by the native engine, 3 runs each in processes of their own
  sarsen_nearest  4 MPix by sarsen, area by nearest cell, once (minutes)
  sarsen          4 MPix by sarsen, area bilinear, once (6 minutes and 6 GB)
  s1_tile         10980 x 10980 px, VV and VH, noise, Lee sigma and refined Lee, all files written, by the stage
  s2_tile         the same size of Sentinel-2 with its mask: the benchmark sentinel2
--scale 0.1 makes every side a tenth, to try it: such figures have no limit.

Both programs get the same product, the same ellipsoidal heights on the same 10 m grid, the annotation orbit, one
polarisation, bilinear sampling, the nominal azimuth spacing and as many threads; neither removes noise, masks or filters,
both read from files and write none. Start-up is told apart in both: imports, then a small square that loads
compiled loops (native) and XML schemas (sarsen). The product has the annotation of a real one (S2CR_DATA) and
made-up pixels at full size; the terrain is made up too: about 1000 m of relief, 30 m posting. Temporary files of up
to 3.5 GB go to TMPDIR.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench._bench import line
from bench._native import shrunk
from utils.science.grid import Grid, Window

PARTS = ("s1_small", "sarsen_nearest", "sarsen", "s1_tile", "s2_tile")
S1A_2021 = "sentinel1/S1A_IW_GRDH_1SDV_20210809T173953_20210809T174018_039156_049F13_6FF8.SAFE.zip"
SIDES_PX = {1: 1000, 4: 2000, 16: 4000}
LIMITS = {4: (2.0, 0.8), 16: (8.0, 1.2)}  # seconds, GB
TILE_PX, MARGIN_PX = 10980, 300
RUNS = 3
ROOT = Path(__file__).parents[1]
Figure = dict[str, Any]


def figure(name: str, value: float, unit: str, limit: float | None = None, better: str = "lower") -> Figure:
    return {"name": name, "value": value, "unit": unit, "limit": limit, "better": better}


@dataclass(frozen=True)
class Ground:
    """Files of the benchmark: product, heights of the tile at 30 m and of the largest area at 10 m; the tile's grid."""

    folder: Path
    product: Path
    heights_30m: Path
    heights_10m: Path
    tile: Grid
    threads: int
    scale: float

    def area(self, side_px: int) -> Grid:
        return shrunk(self.tile, max(int(side_px * self.scale) // 2 * 2, 128))


def terrain_m(x_m: NDArray[np.float64], y_m: NDArray[np.float64]) -> NDArray[np.float32]:
    """Mountains of 900 m every 9 km with hills of 120 m every 900 m on them: slopes up to 40 degrees."""
    broad = 1 + 0.6 * np.sin(x_m / 1430) * np.cos(y_m / 1610) + 0.4 * np.sin((x_m + 2 * y_m) / 3900)
    fine = np.sin(x_m / 143 + np.cos(y_m / 700)) * np.cos(y_m / 161)
    return np.asarray(100 + 450 * broad + 60 * fine, dtype=np.float32)


def make_ground(folder: Path, archive: Path, parts: Sequence[str], scale: float) -> Ground:
    """Write product and heights; the whole image is filled only for the tile."""
    from tests.real_product import image_window, speckled_copy
    from utils.io import raster, safe_s1
    from utils.io.dem import read_heights
    from utils.io.safe import open_product
    from utils.science import geodesy

    with open_product(archive) as product:
        note = safe_s1.read_annotation(product, safe_s1.find_members(product)["VV"].annotation)
    k = int(np.argmin(np.abs(note.grid_line - note.lines / 2) + np.abs(note.grid_pixel - note.samples / 2)))
    lon, lat = note.grid_lon_deg[k], note.grid_lat_deg[k]
    epsg = (32600 if lat >= 0 else 32700) + int((lon + 180) // 6) + 1
    x, y = (round(float(v) / 20) * 20.0 for v in geodesy.geodetic_to_utm(lon, lat, epsg))
    side = max(int(TILE_PX * scale) // 2 * 2, 512)
    tile = Grid(epsg, x - 5.0 * side, y + 5.0 * side, 10.0, -10.0, side, side)
    count = math.ceil((side + 2 * MARGIN_PX) / 3) + 4
    coarse = Grid(epsg, tile.x0 - 10.0 * MARGIN_PX - 60, tile.y0 + 10.0 * MARGIN_PX + 60, 30.0, -30.0, count, count)
    values = terrain_m(coarse.pixel_centres_x()[None] - x, coarse.pixel_centres_y()[:, None] - y)
    raster.write(folder / "heights_30m.tif", values, coarse, tags={"VERTICAL": "ellipsoid"})
    ground = Ground(
        folder, Path(), folder / "heights_30m.tif", folder / "heights_10m.tif", tile,
        min(2, len(os.sched_getaffinity(0))), scale,
    )  # fmt: skip
    largest = ground.area(SIDES_PX[16])
    grown = largest.window(Window(-MARGIN_PX, -MARGIN_PX, largest.rows + 2 * MARGIN_PX, largest.cols + 2 * MARGIN_PX))
    heights = read_heights(ground.heights_30m, grown).height_m
    raster.write(ground.heights_10m, heights, grown, tags={"VERTICAL": "ellipsoid"})
    # sarsen reads and calibrates more than the area: it gets the whole image too, as a user would have it
    whole = bool({"s1_tile", "sarsen", "sarsen_nearest"} & set(parts)) and scale == 1
    seen = tile if "s1_tile" in parts else grown
    window = None if whole else image_window(archive, seen, (float(values.min()), float(values.max())), 500)
    safe = speckled_copy(archive, folder, ("VV", "VH"), window)
    return Ground(**{**ground.__dict__, "product": safe})


def native(ground: Ground, grid: Grid, **more: Any) -> dict[str, Any]:
    """bench._native on one area in a process of its own."""
    request = {
        "task": "memory", "product": str(ground.product), "dem": str(ground.heights_10m), "grid": asdict(grid),
        "polarisation": "VV", "threads": ground.threads, **more,
    }  # fmt: skip
    path = ground.folder / "native.json"
    path.write_text(json.dumps(request), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GDAL_NUM_THREADS": str(ground.threads)}
    done = subprocess.run([sys.executable, "-m", "bench._native", str(path)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the native engine failed: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _gb(gib: float) -> float:
    return gib * 2**30 / 1e9


def small(ground: Ground) -> list[Figure]:
    """1, 4 and 16 MPix; the first process compiles what is not in the cache yet and does not count."""
    out, per_mpix = [], {}
    compiled_s = native(ground, ground.area(128))["warm_s"]
    for mpix, side_px in SIDES_PX.items():
        grid = ground.area(side_px)
        runs = [native(ground, grid) for _ in range(RUNS)]
        seconds = statistics.median(run["work_s"] for run in runs)
        per_mpix[mpix] = seconds / (grid.rows * grid.cols / 1e6)
        limit_s, limit_gb = LIMITS.get(mpix, (None, None))
        out += [
            figure(f"s1_{mpix}mpix", seconds, "s", limit_s),
            figure(f"s1_{mpix}mpix_per_mpix", per_mpix[mpix], "s/MPix"),
            figure(f"s1_{mpix}mpix_peak_memory", _gb(max(run["peak_gib"] for run in runs)), "GB", limit_gb),
        ]
        if mpix == 4:
            startup = [statistics.median(run[key] for run in runs) for key in ("import_s", "warm_s")]
            out += [figure("s1_import", startup[0], "s"), figure("s1_load_compiled_loops", startup[1], "s")]
    return [
        *out,
        figure("s1_first_process", compiled_s, "s"),
        figure("s1_cost_per_mpix_16_over_4", per_mpix[16] / per_mpix[4], "times"),
    ]


def against_sarsen(ground: Ground, method: str, least: float) -> list[Figure]:
    """4 MPix by sarsen once, and by the native engine just before and after it."""
    from tests.real_product import run_sarsen

    grid, name = ground.area(SIDES_PX[4]), f"sarsen_{method}"
    ours = [native(ground, grid)]
    request = {
        "task": "run", "product": str(ground.product), "group": "IW/VV", "dem": str(ground.heights_10m),
        "method": f"gamma_{method}", "bounds": grid.bounds, "threads": ground.threads,
    }  # fmt: skip
    theirs = run_sarsen(request, ground.folder, timeout_s=7200)
    ours += [native(ground, grid) for _ in range(RUNS - 1)]
    if tuple(theirs["shape"]) != grid.shape:
        raise RuntimeError(f"sarsen made {theirs['shape']}, not {grid.shape}")
    seconds = statistics.median(run["work_s"] for run in ours)
    return [
        figure(f"{name}_4mpix", theirs["work_s"], "s"),
        figure(f"{name}_import", theirs["import_s"], "s"),
        figure(f"{name}_small_square", theirs["warm_s"], "s"),
        figure(f"{name}_4mpix_peak_memory", _gb(theirs["peak_gib"]), "GB"),
        figure(f"{name}_over_native", theirs["work_s"] / seconds, "times", least, "higher"),
        figure(f"{name}_memory_over_native", theirs["peak_gib"] / max(run["peak_gib"] for run in ours), "times"),
        figure(f"{name}_median_difference", abs(10 * math.log10(theirs["median"] / ours[0]["median"])), "dB"),
    ]


def tile(ground: Ground) -> list[Figure]:
    """The whole stage on a tile, both polarisations."""
    out = []
    for speckle in ("lee_sigma", "refined_lee"):
        work = ground.folder / f"work_{speckle}"
        run = native(ground, ground.tile, task="stage", dem=str(ground.heights_30m), work=str(work), speckle=speckle)
        files = sorted(work.rglob("*.tif"))
        out += [
            figure(f"s1_tile_{speckle}", run["work_s"], "s", 240.0),
            figure(f"s1_tile_{speckle}_peak_memory", run["peak_gib"], "GiB", 2.0),
            figure(f"s1_tile_{speckle}_files", sum(path.stat().st_size for path in files) / 2**20, "MiB"),
        ]
        for path in files:
            path.unlink()
    return out


def sentinel2(scale: float) -> list[Figure]:
    """The figures of the benchmark sentinel2."""
    module = importlib.import_module("bench.bench_sentinel2")
    return list(module.figures(max(int(module.SIDE_PX * scale) // 60 * 60, 600)))


def _sentinel1(parts: Sequence[str], scale: float) -> list[Figure]:
    data = os.environ.get("S2CR_DATA")
    wanted = [part for part in parts if part != "s2_tile"]
    if not wanted:
        return []
    if not data:
        print(f"skipped {', '.join(wanted)}: S2CR_DATA is not set, the folder of real sample products", flush=True)
        return []
    out: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="s2cr-bench-") as folder:
        ground = make_ground(Path(folder), Path(data) / S1A_2021, wanted, scale)
        jobs: dict[str, Callable[[], list[Figure]]] = {
            "s1_small": lambda: small(ground),
            "sarsen_nearest": lambda: against_sarsen(ground, "nearest", 20.0),
            "sarsen": lambda: against_sarsen(ground, "bilinear", 50.0),
            "s1_tile": lambda: tile(ground),
        }
        for name in [name for name in jobs if name in wanted]:
            found = jobs[name]()
            for one in found:  # a later part may fail or be stopped: what took minutes is told at once
                print(f"{name}: {line(one)}", file=sys.stderr, flush=True)
            out += found
    return out


def figures(parts: Sequence[str] = PARTS, scale: float = 1.0) -> list[Figure]:
    """The wanted rows of the acceptance table."""
    out = _sentinel1(parts, scale) + (sentinel2(scale) if "s2_tile" in parts else [])
    return out if scale == 1 else [{**found, "limit": None} for found in out]
