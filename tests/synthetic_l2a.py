"""A tiny Sentinel-2 L2A product for tests, and zips with changed members."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from utils.io.synth_s2 import write_l2a
from utils.io.synth_s2_xml import L2aIdentity
from utils.science.grid import Grid

GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 48, 60)
RING = [(-35.22, 149.19), (-35.22, 149.21), (-35.23, 149.21), (-35.23, 149.19), (-35.22, 149.19)]  # latitude first
_GENERATED = dt.datetime(2020, 3, 1, tzinfo=dt.UTC)


def reflectances(seed: int = 1) -> dict[str, np.ndarray]:
    """B02 B03 B04 B08 at 10 m and B8A B11 B12 at 20 m, 0.01..0.6."""
    rng = np.random.default_rng(seed)
    shapes = dict.fromkeys(("B02", "B03", "B04", "B08"), GRID.shape) | dict.fromkeys(("B8A", "B11", "B12"), (24, 30))
    return {band: rng.uniform(0.01, 0.6, shape).astype(np.float32) for band, shape in shapes.items()}


def classes() -> np.ndarray:
    scl = np.full((24, 30), 4, np.uint8)
    scl[5:8, 5:8], scl[10:12, 3:9], scl[0, :] = 9, 3, 0
    return scl


def write_product(folder: Path, baseline: str = "02.13", day: int = 4) -> Path:
    """Write one product and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    sensing = dt.datetime(2020, 1, day, 0, 2, 41, tzinfo=dt.UTC)
    identity = L2aIdentity("S2A", sensing, 23686, 30, "55HGA", baseline, _GENERATED, 30.0, 60.0)
    return write_l2a(folder, identity, GRID, reflectances(), classes(), RING)


def change(path: Path, pattern: str, edit: Callable[[bytes], bytes | None]) -> Path:
    """Rewrite a zip with members that match `pattern` edited (None: left out); the manifest follows their sizes."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = next(name for name in members if name.endswith("manifest.safe"))
    for name in [n for n in members if re.search(pattern, n)]:
        old, new = members[name], edit(members[name])
        if new is None:
            del members[name]
            continue
        members[name] = new
        text = members[manifest].decode()
        text = text.replace(hashlib.md5(old).hexdigest(), hashlib.md5(new).hexdigest())
        href = re.escape(name.split(".SAFE/")[1])
        text = re.sub(rf'size="\d+"(>\s*<fileLocation[^>]*{href}")', rf'size="{len(new)}"\1', text)
        members[manifest] = text.encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path
