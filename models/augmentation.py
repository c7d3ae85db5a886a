"""What changes a training tile: where it is cut, gains, turns, a missing S1(t0), a shift between the sensors.

Pure functions of a stream of random numbers; a Draw takes as many whether they are used or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from utils.science.gain_kernels import add_channels, gain_channels

if TYPE_CHECKING:
    from models.config import TrainConf
    from models.inputs import Units

F32 = NDArray[np.float32]


def crop_size(shape: tuple[int, ...], size_px: int | None, multiple: int) -> tuple[int, int]:
    """Rows and columns of a crop of size_px, or of the whole tile, cut to a multiple of `multiple`."""
    rows, cols = shape
    return min(size_px or rows, rows) // multiple * multiple, min(size_px or cols, cols) // multiple * multiple


def crop_corner(shape: tuple[int, ...], size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Random first row and column of a crop."""
    rows, cols = shape
    return int(rng.integers(rows - size[0] + 1)), int(rng.integers(cols - size[1] + 1))


@dataclass(frozen=True)
class Draw:
    """What one tile is changed by. Every number is drawn whether used or not, so that streams stay aligned."""

    shifts_db: NDArray[np.float64]
    gain: float
    drop: bool
    turns: int
    mirror: bool
    older: NDArray[np.float64]

    @classmethod
    def of(cls, conf: TrainConf, channels: int, start: int, bands: int, rng: np.random.Generator) -> Draw:
        """The next numbers of a stream."""
        options = conf.augment
        shifts_db, gain = rng.uniform(-1, 1, 2) * options.s1_gain_db, 1 + rng.uniform(-1, 1) * options.s2_gain
        drop, turns, mirror = rng.random() < options.drop_s1_t0, int(rng.integers(4)), bool(rng.integers(2))
        dates, _, _ = channel_plan(channels, start, bands)
        return cls(shifts_db, gain, drop, turns, mirror, rng.uniform(-1, 1, dates - 2) * options.s1_gain_db)

    def change(self, x: F32, y: F32, conf: TrainConf, units: Units, start: int) -> None:
        """Gains of radar and reflectance, in place."""
        bands = y.shape[-1]
        _, optical, _ = channel_plan(x.shape[-1], start, bands)
        if conf.augment.s1_gain_db:
            for date, shift_db in enumerate([*self.older, *self.shifts_db]):
                add_channels(x, 2 * date, (shift_db * units.db_slope).astype(np.float32))
        if conf.augment.s2_gain:
            for first in range(optical, start + bands, bands):
                gain_channels(x, first, units.scale, units.offset, np.float32(self.gain))
            gain_channels(y, 0, units.scale, units.offset, np.float32(self.gain))

    def hide(self, x: F32, start: int, bands: int) -> None:
        """Take S1(t0) away, in place, where that was drawn."""
        if not self.drop:
            return
        dates, optical, changes = channel_plan(x.shape[-1], start, bands)
        x[..., 2 * dates - 4 : 2 * dates - 2] = 0.0
        x[..., changes : changes + 2 * (optical > changes)] = 0.0  # the differences of scaler mode fixed


def channel_plan(width: int, start: int, bands: int) -> tuple[int, int, int]:
    """(dates, first optical channel, first channel behind the SAR dates) of x: 2 SAR channels a date, in mode fixed two
    differences, the optical images of all dates but the last, in mode fixed a valid mask."""
    differences = 2 if width - start - bands else 0
    dates = (start - differences + 2 * bands) // (2 + bands)
    return dates, 2 * dates + differences, 2 * dates


def shifted(image: F32, shift_px: Any) -> F32:
    """(H, W, ...) moved down and right by shift_px (2,), each at most 1 either way, bilinear; edge pixels repeat."""
    for axis, amount in enumerate(shift_px):
        size = image.shape[axis]
        source = np.clip(np.arange(size) - (1 if amount > 0 else -1), 0, size - 1)
        part = np.float32(abs(amount))
        image = (1 - part) * image + part * np.take(image, source, axis=axis)
    return image
