"""The same product by two engines, as two folders of the file contract: figures and a picture of their difference.

Rasters are read in strips and in blocks: memory does not grow with the area.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io import pictures, raster, safe_s1
from utils.io.safe import open_product
from utils.science import engines
from utils.science.engines import Shift, Statistics
from utils.science.grid import Grid, Window
from utils.workflow.errors import InputError

Array = NDArray[Any]

# Largest median of the difference and largest displacement that count as agreement. Reflectance: what --adopt allows.
LIMITS = {"dB": 0.15, "reflectance": 1e-4}
SHIFT_LIMIT_PX = 0.2
_RANGES = {"dB": (-3.0, 3.0), "reflectance": (-0.01, 0.01)}
_MOST_PIXELS, _STRIP_ROWS, _PICTURE_PX, _BLOCKS_A_SIDE = 16e6, 512, 640, 8


@dataclass(frozen=True)
class Comparison:
    """One raster of both engines.

    statistics  of second - first in `unit`, over every `step`-th pixel of both axes
    share       of those pixels that could be compared, 0..1
    views       thinned first, second (dB or reflectance) and difference, NaN where not comparable
    """

    name: str
    unit: str
    statistics: Statistics
    shift: Shift
    share: float
    step: int
    views: tuple[Array, Array, Array]

    @property
    def good(self) -> bool:
        """True when both figures keep their limits."""
        return abs(self.statistics.median) <= LIMITS[self.unit] and self.shift.length_px <= SHIFT_LIMIT_PX

    def line(self) -> str:
        """The figures beside their limits, in words."""
        s, digits = self.statistics, 3 if self.unit == "dB" else 5
        return (
            f"{self.name}: median {s.median:+.{digits}f} {self.unit} (limit {LIMITS[self.unit]}), sigma {s.sigma:.{digits}f}, "
            f"p5 {s.p5:+.{digits}f}, p95 {s.p95:+.{digits}f}, shift x {self.shift.x_px:+.2f} y {self.shift.y_px:+.2f} px (limit "
            f"{SHIFT_LIMIT_PX}), {self.share:.1%} of pixels: {'ok' if self.good else 'short'}"
        )

    def record(self) -> dict[str, Any]:
        """For the report; a figure without pixels is null."""
        figures = {
            **asdict(self.statistics), "shift_x_px": self.shift.x_px, "shift_y_px": self.shift.y_px,
            "shift_blocks": self.shift.blocks, "share": self.share,
        }  # fmt: skip
        known = {name: None if math.isnan(value) else round(value, 6) for name, value in figures.items()}
        limits = {"median": LIMITS[self.unit], "shift_px": SHIFT_LIMIT_PX}
        return {**known, "unit": self.unit, "step": self.step, "limits": limits, "ok": self.good}


def rasters_of(first: Path, second: Path, sensor: str) -> list[str]:
    """Names without .tif of the measurements that both folders hold.

    raises  InputError when they have none in common
    """
    pattern = "gamma0_*.tif" if sensor == "sentinel1" else "B*.tif"
    found = [{path.stem for path in folder.glob(pattern)} for folder in (first, second)]
    if not found[0] & found[1]:
        texts = [", ".join(sorted(names)) or "nothing" for names in found]
        raise InputError(
            f"{first} holds {texts[0]} and {second} holds {texts[1]}: no raster in common.",
            "Run both engines with the same polarisations or bands.",
        )
    return sorted(found[0] & found[1])


def noise_of(archive: Path, polarisation: str) -> float:
    """Noise level of a product as gamma0, see engines.noise_power; NaN when it has no table."""
    with open_product(archive) as product:
        member = safe_s1.find_members(product).get(polarisation)
        if member is None or member.noise is None or member.calibration is None:
            return float("nan")
        note = safe_s1.read_annotation(product, member.annotation)
        gamma = safe_s1.read_calibration(product, member.calibration, "gamma")
        return engines.noise_power(safe_s1.read_noise(product, member.noise), gamma, note.lines, note.samples)


class _Both:
    """One raster of both folders, and their masks, on the first one's grid."""

    def __init__(self, first: Path, second: Path, name: str, noise_power: float | None) -> None:
        self.grid: Grid = raster.info(first / f"{name}.tif").grid
        self._paths = [folder / f"{name}.tif" for folder in (first, second)]
        self._masks = [path for path in (first / "mask.tif", second / "mask.tif") if path.is_file()]
        self._noise_power = noise_power

    def read(self, window: Window) -> tuple[Array, Array, Array]:
        """Both rasters and where they can be compared: finite, no mask bit, well above the noise."""
        part = self.grid.window(window)
        a, b = (raster.read_on_grid(path, part)[0] for path in self._paths)
        good = np.isfinite(a) & np.isfinite(b)
        if self._noise_power is not None:
            for path in self._masks:
                good &= raster.read_on_grid(path, part, fill=255)[0] == 0
            good &= engines.above_noise(a, b, self._noise_power)
        return a, b, good

    def shown(self, a: Array, b: Array, good: Array) -> tuple[Array, Array, Array]:
        """Values as they are compared: dB or reflectance, and the difference, NaN where not good."""
        if self._noise_power is None:
            return a, b, np.where(good, b - a, np.nan)
        one = np.ones(a.shape, np.float32)
        difference = np.where(good, engines.difference_db(a, b), np.nan)
        return engines.difference_db(one, a), engines.difference_db(one, b), difference


def compare(first: Path, second: Path, name: str, noise_power: float | None) -> Comparison:
    """Compare one raster.

    noise_power  gamma0 of the noise of a Sentinel-1 product; None: reflectance
    raises       InputError when a raster is unreadable or the grids do not align
    """
    both = _Both(first, second, name, noise_power)
    grid = both.grid
    step = max(1, int(np.ceil(np.sqrt(grid.rows * grid.cols / _MOST_PIXELS))))
    look = -(-max(grid.shape) // (step * _PICTURE_PX)) * step
    found, views = [], []
    for window in _strips(grid):
        shown = both.shown(*both.read(window))
        found.append(shown[2][-window.row % step :: step, ::step])
        views.append([plane[-window.row % look :: look, ::look] for plane in shown])
    difference = np.concatenate(found)
    pictures_of = tuple(np.concatenate([part[i] for part in views]) for i in range(3))
    return Comparison(
        name, "reflectance" if noise_power is None else "dB", engines.statistics(difference), _shift(both),
        float(np.isfinite(difference).mean()), step, (pictures_of[0], pictures_of[1], pictures_of[2]),
    )  # fmt: skip


def _strips(grid: Grid) -> Iterator[Window]:
    for row in range(0, grid.rows, _STRIP_ROWS):
        yield Window(row, 0, min(_STRIP_ROWS, grid.rows - row), grid.cols)


def _shift(both: _Both) -> Shift:
    """Median displacement over at most 64 blocks spread over the area."""
    side = engines.BLOCK_PX
    starts = []
    for size in both.grid.shape:
        count = min(_BLOCKS_A_SIDE, max(size // side, 1))
        starts.append(np.linspace(0, max(size - side, 0), count).astype(int))
    windows = (Window(int(r), int(c), *(min(side, n) for n in both.grid.shape)) for r in starts[0] for c in starts[1])
    return engines.median_shift(_block(both, window) for window in windows)


def _block(both: _Both, window: Window) -> tuple[float, float] | None:
    a, b, good = both.read(window)
    one, other, _ = both.shown(a, b, good)
    return engines.block_shift(one, other, good)


def histogram(comparison: Comparison, shape: tuple[int, int]) -> pictures.Picture:
    """Histogram of the difference as a picture: bars, zero in black, the limits of the median in red."""
    low, high = _RANGES[comparison.unit]
    values = comparison.views[2]
    counts, _ = np.histogram(values[np.isfinite(values)], shape[1], (low, high))
    heights = np.round(counts / max(int(counts.max()), 1) * 0.95 * shape[0]).astype(int)
    picture = np.full((*shape, 3), 255, np.uint8)
    picture[shape[0] - np.arange(shape[0])[:, None] <= heights[None]] = (70, 110, 160)
    limit = LIMITS[comparison.unit]
    for value, colour in ((0.0, (0, 0, 0)), (-limit, (200, 30, 30)), (limit, (200, 30, 30))):
        picture[:, int((value - low) / (high - low) * (shape[1] - 1))] = colour
    return picture


def sheet(path: Path, comparisons: Sequence[Comparison], names: tuple[str, str], title: str) -> None:
    """One PNG: a row a raster with both engines, their difference and its histogram."""
    rows = []
    for item in comparisons:
        low, high = _RANGES[item.unit]
        span = (-25.0, 0.0) if item.unit == "dB" else (0.0, 0.3)
        span = (-32.5, 0.0) if item.name.endswith(("_vh", "_hv")) else span
        one, other, difference = item.views
        rows.append([
            (f"{item.name} {names[0]}, {span[0]:g} .. {span[1]:g}", pictures.ramp(one, *span, "error")),
            (names[1], pictures.ramp(other, *span, "error")),
            (f"difference {low:g} .. {high:g} {item.unit}", pictures.ramp(difference, low, high, "change")),
            ("histogram of the difference", histogram(item, (one.shape[0], one.shape[1]))),
        ])  # fmt: skip
    pictures.contact_sheet(path, rows, title)


def report(comparisons: Sequence[Comparison], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The report's JSON."""
    return {
        "schema": "s2cr.engines/1", **facts, "ok": all(item.good for item in comparisons),
        "rasters": {item.name: item.record() for item in comparisons},
    }  # fmt: skip
