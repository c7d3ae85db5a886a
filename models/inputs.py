"""From samples to batches: normalised once, cached, cropped and shuffled by pure functions of (seed, step).

No file is read here: a loader callable gives the samples. Batch `step` never depends on the batches before it, so a
resumed training sees exactly what an undisturbed one would have seen. Threads prepare batches ahead instead of tf.data:
an error of a reader keeps its class, and with it its exit code; `make bench-train` compares their speed with the step's.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.augmentation import Draw, crop_corner, crop_size, shifted
from models.config import TrainConf
from utils.science.gain_kernels import cut_turned
from utils.workflow.errors import NothingFoundError

F32 = NDArray[np.float32]
CHANGED_REFLECTANCE = 0.02  # mean absolute change over the bands that makes a pixel changed
CHANGED_TILE = 0.05  # share of changed pixels that makes a tile a changed one
CACHE_BYTES = 1 << 30
PREFETCH = 4  # batches prepared ahead
THREADS = 2  # reading a tile waits for the disk


class RawSample(Protocol):
    """What a loader gives: s1 (H, W, 2) linear power, s2 (H, W, n) reflectance, NaN = nodata; masks (H, W)."""

    @property
    def s1_t0(self) -> F32: ...
    @property
    def s1_t1(self) -> F32: ...
    @property
    def s2_t0(self) -> F32: ...
    @property
    def s2_t1(self) -> F32: ...
    @property
    def cloud_t0(self) -> NDArray[np.uint8]: ...
    @property
    def cloud_t1(self) -> NDArray[np.uint8]: ...
    @property
    def window(self) -> NDArray[np.bool_]: ...

    # A sample of more than two dates has `earlier`: those before t0, oldest first, each with s1, s2 and cloud.


class Normaliser(Protocol):
    """The scaler of utils.science.scaler, as far as it is needed here."""

    def network_input(
        self, s1_t0: Any, s1_t1: Any, s2_t0: Any, ds1_median_db: Any, earlier: Any = ()
    ) -> tuple[Any, Any]: ...

    def apply_label(self, y: Any) -> Any: ...

    def invert_label(self, z: Any) -> Any: ...


@dataclass(frozen=True)
class Tile:
    """One sample in network units, free of NaN.

    x        (H, W, C) float32
    y        (H, W, n) float32; S2(t0) where there is no label
    weight   (H, W) float32, 1 where target and inputs are clear and valid and the tile owns the pixel
    changed  (H, W) float32, 1 where the label differs from S2(t0) by more than 0.02 in the mean of the bands
    """

    x: F32
    y: F32
    weight: F32
    changed: F32

    @property
    def nbytes(self) -> int:
        return int(self.x.nbytes + self.y.nbytes + self.weight.nbytes + self.changed.nbytes)


@dataclass(frozen=True)
class Batch:
    """Tiles stacked along a first axis."""

    x: F32
    y: F32
    weight: F32
    changed: F32


@dataclass(frozen=True)
class Units:
    """How network units map to physical ones.

    scale, offset  (n,) reflectance = scale * z + offset
    db_slope       (2,) network units of VV and VH for 1 dB
    """

    scale: F32
    offset: F32
    db_slope: F32

    def reflectance(self, z: Any) -> NDArray[np.float64]:
        """Reflectance of optical network units, (..., n) float64."""
        return np.asarray(z, np.float64) * self.scale.astype(np.float64) + self.offset.astype(np.float64)


def units_of(scaler: Normaliser, bands: int) -> Units:
    """Measure the (affine) scaler instead of knowing its inside."""
    zeros = np.zeros((4, 4, bands), np.float32)
    offset = np.asarray(scaler.invert_label(zeros), np.float64)[0, 0]
    scale = np.asarray(scaler.invert_label(zeros + 1), np.float64)[0, 0] - offset
    levels = []
    for level_db in (-13.0, -12.0):
        power = np.full((4, 4, 2), 10 ** (level_db / 10), np.float32)
        optical = zeros + np.float32(0.1)
        more = [(power, optical)] * (getattr(scaler, "n_dates", 2) - 2)
        x, _ = scaler.network_input(power, power, optical, {"VV": 0.0, "VH": 0.0}, more)
        levels.append(np.asarray(x, np.float64)[0, 0, :2])
    return Units(scale.astype(np.float32), offset.astype(np.float32), (levels[1] - levels[0]).astype(np.float32))


def prepare_tile(sample: RawSample, scaler: Normaliser, ds1_median_db: Any, start: int, clip_label: bool) -> Tile:
    """Normalise one sample for training.

    start       first channel of the newest optical image in x
    clip_label  keep labels in -1..1 (networks that end in tanh cannot reach further)
    """
    before = getattr(sample, "earlier", ())
    x, valid = scaler.network_input(
        sample.s1_t0, sample.s1_t1, sample.s2_t0, ds1_median_db, [(date.s1, date.s2) for date in before]
    )
    x = np.nan_to_num(np.asarray(x, np.float32), copy=True, nan=0.0, posinf=0.0, neginf=0.0)
    bands = sample.s2_t1.shape[-1]
    has_label = np.asarray(np.isfinite(sample.s2_t1).all(-1))
    good = has_label & np.asarray(valid, bool) & sample.window & (sample.cloud_t0 == 0) & (sample.cloud_t1 == 0)
    for date in before:
        good &= date.cloud == 0
    y = np.asarray(scaler.apply_label(sample.s2_t1), np.float32)
    y = np.where(has_label[..., None], y, x[..., start : start + bands]).astype(np.float32)
    if clip_label:
        y = np.clip(y, -1, 1)
    with np.errstate(invalid="ignore"):
        moved = np.abs(sample.s2_t1 - sample.s2_t0).mean(-1) > CHANGED_REFLECTANCE
    return Tile(x, y, good.astype(np.float32), (moved & good).astype(np.float32))


class TileCache:
    """Prepared tiles by id, the least recently used dropped first above a number of bytes."""

    def __init__(self, load: Callable[[str], Tile], limit_bytes: int = CACHE_BYTES) -> None:
        self._load, self._limit = load, limit_bytes
        self._tiles: OrderedDict[str, Tile] = OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()

    def __call__(self, sample_id: str) -> Tile:
        with self._lock:
            if sample_id in self._tiles:
                self._tiles.move_to_end(sample_id)
                return self._tiles[sample_id]
        tile = self._load(sample_id)
        with self._lock:
            if sample_id not in self._tiles:
                self._tiles[sample_id] = tile
                self._bytes += tile.nbytes
            while self._bytes > self._limit and len(self._tiles) > 1:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes
        return tile


class Batches:
    """Training batches; batch(step) is a pure function of the configuration and the step (from 0)."""

    def __init__(
        self,
        ids: Sequence[str],
        load: Callable[[str], Tile],
        conf: TrainConf,
        units: Units,
        start: int,
        changed_fraction: dict[str, float | None] | None = None,
        multiple: int = 1,
        replicas: tuple[int, int, int] = (1, 0, 1),
    ) -> None:
        """replicas  of all workers, number of this worker's first one, how many it has: batch_size tiles for each"""
        if not ids:
            raise NothingFoundError(
                "The training set holds no sample.", "See the counts of ./s2cr build_dataset and split."
            )
        limit = conf.lim_train_tile or len(ids)
        self.ids = sorted(ids)[:limit]
        self.load, self.conf, self.units, self.start, self.multiple = load, conf, units, start, multiple
        known = changed_fraction or {}
        self.changed_ids = [i for i in self.ids if (known.get(i) or 0.0) > CHANGED_TILE]
        count, first, own = replicas
        self.size = count * conf.batch_size  # tiles of the global batch
        self.places = range(first * conf.batch_size, (first + own) * conf.batch_size)
        self.steps_per_epoch = conf.steps_per_epoch or -(-len(self.ids) // self.size)

    def choose(self, step: int) -> list[str]:
        """Sample ids of one global batch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        size = self.size
        half = size // 2 if self.conf.augment.changed_half and self.changed_ids else 0
        chosen = self._dealt(self.changed_ids, half, epoch, place, 1) if half else []
        return chosen + self._dealt(self.ids, size - half, epoch, place, 0)

    def _dealt(self, ids: Sequence[str], count: int, epoch: int, place: int, stream: int) -> list[str]:
        """`count` ids of batch `place` from an endless sequence of shuffles of this epoch."""
        out, shuffled = [], {}
        for position in range(place * count, (place + 1) * count):
            round_, index = divmod(position, len(ids))
            if round_ not in shuffled:
                shuffled[round_] = np.random.default_rng([self.conf.seed, 11, stream, epoch, round_]).permutation(
                    len(ids)
                )
            out.append(ids[int(shuffled[round_][index])])
        return out

    def batch(self, step: int) -> Batch:
        """This worker's part of the batch of one step, cropped and augmented."""
        chosen = self.choose(step)
        tiles = [self.load(chosen[place]) for place in self.places]
        streams = [np.random.default_rng([self.conf.seed, 12, step, place]) for place in self.places]
        sizes = {crop_size(tile.weight.shape, self.conf.crop_px, self.multiple) for tile in tiles}
        if self.conf.augment.shift_px or len({side for size in sizes for side in size}) > 1:
            cut = (crop(tile, self.conf.crop_px, self.multiple, rng) for tile, rng in zip(tiles, streams, strict=True))
            return stack(
                [augment(tile, self.conf, self.units, self.start, rng) for tile, rng in zip(cut, streams, strict=True)]
            )
        return self._assembled(tiles, streams, sizes.pop()[0])

    def _assembled(self, tiles: Sequence[Tile], streams: Sequence[np.random.Generator], side: int) -> Batch:
        """The same of squares that are not shifted, bit for bit, each number written once: a quarter of the time."""
        shape, conf = (len(tiles), side, side), self.conf
        channels, bands = tiles[0].x.shape[-1], tiles[0].y.shape[-1]
        out = Batch(*(np.empty((*shape, n), np.float32) for n in (channels, bands, 1, 1)))
        for number, (tile, rng) in enumerate(zip(tiles, streams, strict=True)):
            top, left = crop_corner(tile.weight.shape, (side, side), rng)
            draw = Draw.of(conf, channels, self.start, bands, rng)
            x, y = out.x[number], out.y[number]
            turns, mirror = (draw.turns, draw.mirror) if conf.augment.flips else (0, False)
            planes = ((tile.x, x), (tile.y, y), (tile.weight[..., None], out.weight[number]))
            for source, target in (*planes, (tile.changed[..., None], out.changed[number])):
                cut_turned(source, top, left, turns, mirror, target)
            draw.change(x, y, conf, self.units, self.start)
            draw.hide(x, self.start, bands)
        return Batch(out.x, out.y, out.weight[..., 0], out.changed[..., 0])

    def iterate(self, first: int, stop: int) -> Iterator[Batch]:
        """Batches first .. stop-1 in order, prepared ahead by a few threads; an error of one comes at its turn."""
        with ThreadPoolExecutor(THREADS, "batches") as pool:
            ahead = deque(pool.submit(self.batch, step) for step in range(first, min(first + PREFETCH, stop)))
            try:
                for step in range(first, stop):
                    batch = ahead.popleft().result()
                    if step + PREFETCH < stop:
                        ahead.append(pool.submit(self.batch, step + PREFETCH))
                    yield batch
            finally:
                for waiting in ahead:
                    waiting.cancel()


def stack(tiles: Sequence[Tile]) -> Batch:
    """Tiles of one size as a batch."""
    fields = ("x", "y", "weight", "changed")
    return Batch(*(np.ascontiguousarray(np.stack([getattr(tile, name) for tile in tiles])) for name in fields))


def crop(tile: Tile, size_px: int | None, multiple: int, rng: np.random.Generator) -> Tile:
    """A random square of size_px; without a size, the whole tile cut to a multiple of `multiple`."""
    height, width = crop_size(tile.weight.shape, size_px, multiple)
    top, left = crop_corner(tile.weight.shape, (height, width), rng)
    part = (slice(top, top + height), slice(left, left + width))
    return Tile(tile.x[part], tile.y[part], tile.weight[part], tile.changed[part])


def augment(tile: Tile, conf: TrainConf, units: Units, start: int, rng: np.random.Generator) -> Tile:
    """Random gains, turns, a missing S1(t0), a shift between the sensors.

    Every draw but the last one's happens whether used or not, so that streams stay aligned.
    """
    options, bands = conf.augment, tile.y.shape[-1]
    draw = Draw.of(conf, tile.x.shape[-1], start, bands, rng)
    x, y = tile.x.copy(), tile.y.copy() if options.s2_gain else tile.y
    draw.change(x, y, conf, units, start)
    weight, changed = tile.weight, tile.changed
    if options.shift_px:
        shift_px = rng.uniform(-1, 1, 2) * options.shift_px
        x[..., start : start + bands] = shifted(x[..., start : start + bands], shift_px)
        y = shifted(y, shift_px)
        weight = np.floor(shifted(weight, shift_px) + np.float32(1e-6))  # every pixel mixed in must be a good one
        changed = np.ceil(shifted(changed, shift_px) - np.float32(1e-6)) * weight
    draw.hide(x, start, bands)
    arrays = [x, y, weight, changed]
    if options.flips:
        arrays = [np.rot90(a, draw.turns) for a in arrays]
        arrays = [a[:, ::-1] for a in arrays] if draw.mirror else arrays
    return Tile(*arrays)
