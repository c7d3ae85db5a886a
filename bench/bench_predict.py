"""Whole-scene prediction: speed against the bare network on the same windows, peak memory, seams, parts.

Work: the demo's tiny residual network (weights made up) on a made-up scene, two dates of VV and VH and four optical
bands in deflated rasters, windows of 256 px at a stride of 128. The throughput is that of stage predict, with reading,
normalising, blending and writing (the scene's median change of radar is in the dataset's index).

`predict_speed_to_bare`             against the bare network: calls on windows that lie in memory, one after the other, in a
                                    process where TensorFlow divides every operation among the cores, as it does by itself
`predict_speed_to_calls_on_each_core`  against a harder rival: the network called as prediction calls it, on every core at
                                    once, by the clock; `predict_processor_time_to_calls_on_each_core`: by processor time,
                                    which other programs disturb less
`predict_command_*`                 of ./s2cr predict --scene on named rasters, a process of its own: start, median change,
                                    prediction and a Cloud Optimized GeoTIFF
`predict_runtime_*`                 milliseconds a window of the runtimes that are installed

`--size 10980` measures a full Sentinel-2 tile: one round, the bare network on 200 windows before and after it.
"""

from __future__ import annotations

import itertools
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from bench._scene import BANDS, make_rasters, make_run
from utils.workflow.config import ROOT

PARTS = ("scene", "runtimes")
_SIDE_PX, _WINDOW_PX, _FULL_PX, _ROUNDS, _HELD = 3072, 256, 4096, 3, 50
Figure = dict[str, Any]


def figures(size: int = _SIDE_PX, parts: list[str] | None = None) -> list[Figure]:
    """Ratios, GB, differences."""
    from models import backend

    out: list[Figure] = []
    backend.start(side_by_side=True)  # as prediction does, and before anything else starts it otherwise
    with tempfile.TemporaryDirectory(prefix="s2cr-bench.") as name:
        folder = Path(name)
        run = make_run(folder / "run", _WINDOW_PX)
        if "scene" in (parts or PARTS):
            make_rasters(folder / "pre", size)
            out += _scene(folder, run, size)
        if "runtimes" in (parts or PARTS):
            out += _runtimes(run)
    return out


def _clock(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _figure(name: str, value: float, unit: str, limit: float | None = None, better: str = "lower") -> Figure:
    return {"name": f"predict_{name}", "value": value, "unit": unit, "limit": limit, "better": better}


def _windows(size: int) -> int:
    from utils.science.scene_windows import WindowPlan

    return len(WindowPlan(size, size, _WINDOW_PX, _WINDOW_PX // 2).starts(size)) ** 2


def _bare(predictor: Any, count: int, calls: int = 0) -> Callable[[], None]:
    """Calls of the network on `count` windows, in the batches that scenes have; calls: how many at once, 0 = as they do.

    The windows lie in memory side by side: one that is called again and again would never leave the processor's cache.
    """
    batch, workers = predictor.scene_batch(_WINDOW_PX), calls or predictor.scene_workers
    groups = -(-count // batch)
    x = np.random.default_rng(0).normal(0, 0.6, (batch, _WINDOW_PX, _WINDOW_PX, predictor.scaler.n_inputs))
    every = [x.astype(np.float32) for _ in range(min(groups, _HELD))]

    def work() -> None:
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(lambda number: predictor.windows(every[number % len(every)]), range(groups)):
                pass

    assert predictor.windows(every[0]).shape[0] == batch
    return work


def plain_calls(run: Path, count: int) -> float:
    """Seconds of calls one after the other, TensorFlow as it is by itself; best of three."""
    from scripts._scene import load_run

    work = _bare(load_run(run, 8, "tf"), count, 1)
    return min(_clock(work)[0] for _ in range(3))


def _plain(run: Path, count: int) -> float:
    """plain_calls in a process of its own: threads of TensorFlow are chosen once."""
    code = (
        "import sys; from pathlib import Path; from bench.bench_predict import plain_calls; "
        "print(plain_calls(Path(sys.argv[1]), int(sys.argv[2])))"
    )
    words = [sys.executable, "-c", code, str(run), str(count)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()[-1])


def _opened(folder: Path, predictor: Any, known: dict[str, float]) -> tuple[Any, Any]:
    """The scene and the model on it; known: its median change of radar."""
    from scripts._scene import SceneModel, Sizes

    scene = _work_scene(folder)
    return scene, SceneModel(predictor, scene, known, Sizes(), logging.getLogger("bench"))


def _work_scene(folder: Path) -> Any:
    from utils.io.acquisitions import Acquisition
    from utils.io.scene_reader import WorkScene

    dates = (Acquisition("d0", ("S1_0",), ("S2_0",), {}), Acquisition("d1", ("S1_1",), (), {}))
    return WorkScene(folder / "pre", dates, BANDS)


def _scene(folder: Path, run: Path, size: int) -> list[Figure]:
    from scripts._scene import load_run
    from utils.io.row_writer import writer
    from utils.io.scene_reader import median_change_db

    predictor, count, full = load_run(run, 8, "tf", scenes=True), _windows(size), size > _FULL_PX
    with _work_scene(folder) as scene:
        known = median_change_db(scene)

    def scene_pass() -> None:
        scene, model = _opened(folder, predictor, known)
        with scene, model, writer(folder / "out.tif", scene.grid, len(BANDS), "float32", quick=True) as out:
            for row, image in model.take(0, size):
                out.write(np.moveaxis(image, -1, 0), row, 0)

    few = min(count, 200)
    bare = _bare(predictor, few)
    passes, calls = [], [_clock(bare)]
    for _ in range(1 if full else _ROUNDS):
        passes.append(_clock(scene_pass))
        calls.append(_clock(bare))
    around = [[(a[i] + b[i]) / 2 / few * count for a, b in itertools.pairwise(calls)] for i in (0, 1)]
    wall, cpu = (statistics.median(b / s[i] for s, b in zip(passes, around[i], strict=True)) for i in (0, 1))
    seconds = statistics.median(one[0] for one in passes)
    command, peak = _call(folder, run, size)
    return [
        _figure("speed_to_bare", _plain(run, 100) / 100 * count / seconds, "times", 0.9, "higher"),
        _figure("speed_to_calls_on_each_core", wall, "times", None, "higher"),
        _figure("processor_time_to_calls_on_each_core", cpu, "times", None, "higher"),
        _figure("rate", count / seconds, "windows/s", None, "higher"),
        _figure("stage_time", seconds, "s"),
        _figure("command_time", command, "s"),
        _figure("command_speed_to_calls_on_each_core", statistics.median(around[0]) / command, "times", None, "higher"),
        _figure("peak_memory", peak, "GB", 1.5),
        *([] if full else _pixels(folder, predictor, known, size)),
    ]


def _pixels(folder: Path, predictor: Any, known: dict[str, float], size: int) -> list[Figure]:
    """Seams, and parts against the whole."""
    scene, model = _opened(folder, predictor, known)
    with scene, model:
        whole = np.concatenate([image for _, image in model.take(0, size)])
    return [
        *_seams(folder, predictor, known, whole, size),
        _figure("parts_difference", _parts(folder, predictor, known, whole, size), "reflectance", 1e-6),
    ]


def _seams(folder: Path, predictor: Any, known: dict[str, float], whole: Any, size: int) -> list[Figure]:
    from utils.io.filled_rows import filled
    from utils.science.blend import seam_ratio

    with _work_scene(folder) as scene:
        rows = filled(scene, 0, size, predictor.scaler.fill_k)
        x, valid = predictor.scene_input(rows, known)
    scale, offset = predictor.scene_units()
    cut = np.full_like(whole, np.nan)
    for row in range(0, size - _WINDOW_PX + 1, _WINDOW_PX):
        for col in range(0, size - _WINDOW_PX + 1, _WINDOW_PX):
            own = np.s_[row : row + _WINDOW_PX, col : col + _WINDOW_PX]
            cut[own] = predictor.windows(np.ascontiguousarray(x[None, own[0], own[1]]))[0] * scale + offset
    cut[~valid] = np.nan

    def ratio(image: Any, stride: int) -> float:
        lines = list(range(stride, size, stride))
        found = [seam_ratio(image[..., b], rows.s2[0, b], lines, stride, axis) for b in range(4) for axis in (0, 1)]
        return float(np.mean(found))

    blended = ratio(whole, _WINDOW_PX // 2)
    return [
        _figure("seam_ratio", blended, "times"),
        _figure("seam_ratio_from_1", abs(blended - 1), "times", 0.02),
        _figure("hard_cut_seam_ratio", ratio(cut, _WINDOW_PX), "times"),
    ]


def _parts(folder: Path, predictor: Any, known: dict[str, float], whole: Any, size: int) -> float:
    """Largest difference of three parts, each begun anew, from the whole; infinite where nodata differs."""
    found = []
    for part in range(3):
        scene, model = _opened(folder, predictor, known)
        with scene, model:
            found += [image for _, image in model.take(size * part // 3, size * (part + 1) // 3)]
    joined = np.concatenate(found)
    same = np.array_equal(np.isnan(joined), np.isnan(whole))
    return float(np.nanmax(np.abs(joined - whole))) if same else float("inf")


def _call(folder: Path, run: Path, size: int) -> tuple[float, float]:
    """Seconds and peak memory (GB) of the command."""
    words: list[object] = ["--run-dir", run, "--scene", "--float32", "--out", folder / f"scene{size}.tif"]
    for date in (0, 1):
        for band in ("vv", "vh"):
            words += [f"--s1-t{date}", folder / f"pre/sentinel1/S1_{date}/gamma0_{band}.tif"]
    for band in BANDS:
        words += ["--s2-t0", folder / f"pre/sentinel2/S2_0/{band}.tif"]
    # a small process starts it: the peak of a process counts that of the one it was forked from
    code = (
        "import resource as r, subprocess as s, sys; s.run(sys.argv[1:], check=True, stdout=s.DEVNULL); "
        "print(r.getrusage(r.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, ROOT / "s2cr", "predict", "-q", *words]
    begin = time.perf_counter()
    told = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout
    return time.perf_counter() - begin, int(told) * 1024 / 1e9


def _runtimes(run: Path) -> list[Figure]:
    """Milliseconds a window by the clock, best of three, and of processor time."""
    from scripts._scene import load_run
    from utils.workflow.errors import Error

    out = []
    for kind in ("tf", "tflite", "onnx"):
        try:
            work = _bare(load_run(run, 8, kind), 10)
        except Error:
            continue
        timed = [_clock(work) for _ in range(3)]
        for i, what in enumerate(("clock", "processor")):
            best = min(pair[i] for pair in timed) / 10 * 1000
            out.append(_figure(f"runtime_{kind}_{what}", best, "ms/window"))
    return out
