"""A real Sentinel-1 product with made-up pixels: annotation and tables of a sample zip, speckle in the measurement.

The samples have blank or empty measurements. The copy is an unpacked SAFE folder: one strip a line, uncompressed, as
delivered. Lines outside the wanted window are left out of the file and read as 0.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal

from tests import s1_oracles
from utils.io import safe_s1
from utils.io.safe import open_product
from utils.science import geocode, geodesy
from utils.science.grid import Grid, Window

ROOT = Path(__file__).parents[1]
LOOKS = 4.4
_BLOCK_LINES = 512


def speckled_copy(
    archive: Path, folder: Path, polarisations: Sequence[str], window: Window | None = None, mean_dn2: float = 9000.0
) -> Path:
    """Write the SAFE folder of a sample zip below `folder`.

    window    image lines and pixels to fill; None = the whole image
    mean_dn2  mean of DN^2: gamma distributed with 4.4 looks, over a pattern of 4 dB with edges of 20 to 200 px
    returns   path of the SAFE folder
    """
    with zipfile.ZipFile(archive) as source:
        names = [n for n in source.namelist() if n.endswith((".xml", ".safe"))]
        source.extractall(folder, names)
    root = folder / PurePosixPath(next(n for n in names if n.endswith("manifest.safe"))).parent
    (root / "measurement").mkdir(exist_ok=True)
    with open_product(archive) as product:
        found = {pol: safe_s1.find_members(product)[pol] for pol in polarisations}
        notes = {pol: safe_s1.read_annotation(product, member.annotation) for pol, member in found.items()}
    for number, (pol, note) in enumerate(notes.items()):
        stem = PurePosixPath(found[pol].annotation).stem
        whole = Window(0, 0, note.lines, note.samples)
        _write_pixels(root / "measurement" / f"{stem}.tiff", note, window or whole, mean_dn2 / (1 + 3 * number), number)
    return root


def _write_pixels(path: Path, note: Any, window: Window, mean_dn2: float, seed: int) -> None:
    options = ["SPARSE_OK=TRUE", "BLOCKYSIZE=1"]
    image = gdal.GetDriverByName("GTiff").Create(str(path), note.samples, note.lines, 1, gdal.GDT_UInt16, options)
    rng, pixel = np.random.default_rng(seed), np.arange(window.col, window.col + window.cols)
    for first in range(window.row, window.row + window.rows, _BLOCK_LINES):
        line = np.arange(first, min(first + _BLOCK_LINES, window.row + window.rows))
        level = mean_dn2 * _pattern(line[:, None], pixel[None])
        power = level * rng.standard_gamma(LOOKS, level.shape, dtype=np.float32) / np.float32(LOOKS)
        dn = np.maximum(np.rint(np.sqrt(power)), 1).astype(np.uint16)  # 0 would be no sample
        image.GetRasterBand(1).WriteArray(dn, window.col, int(line[0]))
    image = None


def _pattern(line: NDArray[np.int64], pixel: NDArray[np.int64]) -> NDArray[np.float32]:
    """Fields of 0.4 to 1.6 times the mean, so that a wrong place shows."""
    code = (line // 37 * 73 + pixel // 53 * 19 + line // 211 * pixel // 190) % 7
    return (0.4 + 0.2 * code).astype(np.float32)


def image_window(archive: Path, grid: Grid, heights_m: tuple[float, float], margin: int = 150) -> Window:
    """Lines and pixels that a map grid falls on, by exact geocoding of its outline, and a margin; cut at the image."""
    with open_product(archive) as product:
        members = next(iter(safe_s1.find_members(product).values()))
        note = safe_s1.read_annotation(product, members.annotation)
    x, y = grid.pixel_centres_x(), grid.pixel_centres_y()
    xs, ys = np.meshgrid(x[:: max(len(x) // 9, 1)], y[:: max(len(y) // 9, 1)])
    lon, lat = geodesy.utm_to_geodetic(xs, ys, grid.epsg)
    ground = np.stack([geodesy.geodetic_to_ecef(lon, lat, np.full(lon.shape, h)) for h in heights_m])
    line, pixel = s1_oracles.locate_exact(geocode.image_geometry(note), ground)
    top, left = max(int(line.min()) - margin, 0), max(int(pixel.min()) - margin, 0)
    bottom, right = min(int(line.max()) + margin, note.lines), min(int(pixel.max()) + margin, note.samples)
    return Window(top, left, bottom - top, right - left)


def run_sarsen(request: dict[str, Any], folder: Path, timeout_s: float = 1800.0) -> dict[str, Any]:
    """Start tests.sarsen_worker on a request; its answer with the seconds of the whole process as process_s."""
    path = folder / "request.json"
    path.write_text(json.dumps(request), encoding="utf-8")
    # the variables of this process point to the other GDAL's data
    dropped = ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH")
    environment = {k: v for k, v in os.environ.items() if k not in dropped}
    threads = str(request["threads"])
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads, "DASK_NUM_WORKERS": threads}
    command = [sys.executable, "-W", "ignore", "-m", "tests.sarsen_worker", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"sarsen failed ({done.returncode}): {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
