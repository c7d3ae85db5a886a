"""The dataset on disk: index.json of a set and the arrays of one sample. Arrays are channel last, (H, W, C).

A set is a folder dataset/{all,train,val,test} with dataX/{Sentinel1_t0,Sentinel1_t1,Sentinel2_t0}, label/Sentinel2_t1
and mask. `all` holds every sample whose inputs are usable; the others hold hard links to the trainable ones, or their
samples are in dataset/shards/<set>, or both. With n dates there are n Sentinel-1 and n-1 Sentinel-2 inputs, and the
label is that of the last date.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io import raster
from utils.io.shards import Arrays, ShardSet
from utils.science.grid import Grid, Window
from utils.workflow.errors import InputError

SCHEMA = "s2cr.dataset/1"


@lru_cache
def folders(n_dates: int = 2) -> Mapping[str, str]:
    """Part -> folder of its rasters in a set: s1_t0 .. s2_t0 .. mask."""
    last = n_dates - 1
    radar = {f"s1_t{date}": f"dataX/Sentinel1_t{date}" for date in range(n_dates)}
    optical = {f"s2_t{date}": f"{'label' if date == last else 'dataX'}/Sentinel2_t{date}" for date in range(n_dates)}
    return {**radar, **optical, "mask": "mask"}


def mask_bands(n_dates: int = 2) -> tuple[str, ...]:
    """Bands of the mask raster."""
    return (*(f"CLOUD_T{date}" for date in range(n_dates)), "SAR", "WINDOW")


FOLDERS = folders()
MASK_BANDS = mask_bands()
# Codes of cloud.tif whose pixels train and score. Snow (3) is a surface, but Sen2Cor takes bright cloud for it.
CLEAR_CODES = (0,)

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class PairInfo:
    """One pair of dates: date ids and days, grid of the site, scene median of S1(t1) - S1(t0) in dB.

    date1, date2, t0, t1  the date before the last, the newest whose optical image is known, and the last, to simulate
    dates, days           all dates in order, where there are more
    """

    id: str
    site: str
    date1: str
    date2: str
    t0: str
    t1: str
    grid: Grid
    ds1_median_db: Mapping[str, float]
    mixed_orbit: bool
    dates: tuple[str, ...] = ()
    days: tuple[str, ...] = ()

    @property
    def all_dates(self) -> tuple[str, ...]:
        """Date ids in order, the last one to simulate."""
        return self.dates or (self.date1, self.date2)


@dataclass(frozen=True)
class SampleInfo:
    """One sample of an index. window and valid are absolute; reason says why it does not train.

    train_only  an optical input is partly cloudy: it trains through its mask and is in no other set
    pixels      SHA-256 of its optical images, oldest first; None for an image of one value only
    """

    id: str
    pair: str
    tile: str
    window: Window
    valid: Window
    block: str
    trainable: bool
    reason: str | None
    clear_t0: float
    clear_t1: float
    changed_fraction: float | None
    sar_filled: float
    train_only: bool = False
    pixels: tuple[str | None, ...] | None = None


@dataclass(frozen=True)
class DatasetIndex:
    """index.json of one set; samples are sorted by id."""

    set_dir: Path
    name: str
    bands_sar: tuple[str, ...]
    bands_optical: tuple[str, ...]
    size_px: int
    pairs: Mapping[str, PairInfo]
    samples: tuple[SampleInfo, ...]
    n_dates: int = 2

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(sample.id for sample in self.samples)

    def sample(self, sample_id: str) -> SampleInfo:
        """raises  InputError for an unknown id"""
        for sample in self.samples:
            if sample.id == sample_id:
                return sample
        raise InputError(f"{self.set_dir}: no sample {sample_id!r}.", "Take an id from its index.json.")


def _clear(cloud: ByteArray, image: FloatArray) -> BoolArray:
    return np.asarray(np.isin(cloud, CLEAR_CODES) & np.isfinite(image).all(axis=-1))


@dataclass(frozen=True)
class Earlier:
    """A date before the last two: s1 (H, W, 2), s2 (H, W, n), cloud (H, W), as in Sample."""

    s1: FloatArray
    s2: FloatArray
    cloud: ByteArray

    @property
    def clear(self) -> BoolArray:
        """(H, W) surface in sight and every optical band has data."""
        return _clear(self.cloud, self.s2)


@dataclass(frozen=True)
class Sample:
    """The arrays of one sample. t1 is the last date, the label's; t0 the one before; `earlier` what lies before those.

    s1_t0, s1_t1        (H, W, 2) float32 gamma0 VV, VH, linear power, NaN = nodata; values <= 0 are measurements
    s2_t0, s2_t1        (H, W, n) float32 reflectance, NaN = nodata
    cloud_t0, cloud_t1  (H, W) uint8: 0 clear, 1 cloud, 2 shadow, 3 snow, 4 defective, 255 none
    sar_bits            (H, W) uint8 bits of all dates: 1 layover, 2 shadow, 4 no sample, 8 DEM, 16 border noise, 32 no value
    window              (H, W) True where the sample owns the pixel
    earlier             further dates, oldest first; empty in a dataset of two dates
    """

    id: str
    s1_t0: FloatArray
    s1_t1: FloatArray
    s2_t0: FloatArray
    s2_t1: FloatArray
    cloud_t0: ByteArray
    cloud_t1: ByteArray
    sar_bits: ByteArray
    window: BoolArray
    earlier: tuple[Earlier, ...] = ()

    @property
    def clear_t0(self) -> BoolArray:
        """(H, W) surface in sight at t0 and every optical band has data."""
        return _clear(self.cloud_t0, self.s2_t0)

    @property
    def clear_t1(self) -> BoolArray:
        """(H, W) the same for the label."""
        return _clear(self.cloud_t1, self.s2_t1)


def sample_path(set_dir: Path, part: str, sample_id: str, n_dates: int = 2) -> Path:
    """Raster of one part (s1_t0, s1_t1, s2_t0, s2_t1, mask) of a sample."""
    return Path(set_dir) / folders(n_dates)[part] / f"{sample_id}.tif"


def load_index(set_dir: Path) -> DatasetIndex:
    """Read index.json of a set.

    raises  InputError when it is missing, no JSON, of another schema or incomplete
    """
    path = Path(set_dir) / "index.json"
    remedy = "Run build_dataset and split again."
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.", remedy) from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}).", remedy) from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise InputError(f"{path}: schema is not {SCHEMA}.", remedy)
    try:
        return DatasetIndex(
            Path(set_dir),
            str(data["set"]),
            tuple(data["bands"]["sar"]),
            tuple(data["bands"]["optical"]),
            int(data["size_px"]),
            {name: _pair(name, record) for name, record in data["pairs"].items()},
            tuple(_sample(record) for record in data["samples"]),
            len(data.get("dates", ("t0", "t1"))),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: incomplete or malformed ({error!r}).", remedy) from error


def _pair(name: str, record: Mapping[str, Any]) -> PairInfo:
    plain: dict[str, Any] = {key: record[key] for key in ("site", "date1", "date2", "t0", "t1", "mixed_orbit")}
    plain |= {key: tuple(record[key]) for key in ("dates", "days") if key in record}
    plain |= {"grid": Grid.from_dict(record["grid"]), "ds1_median_db": dict(record["ds1_median_db"])}
    return PairInfo(id=name, **plain)


_OPTIONAL = ("train_only", "pixels")


def _sample(record: Mapping[str, Any]) -> SampleInfo:
    names = [n for n in SampleInfo.__dataclass_fields__ if n in record or n not in _OPTIONAL]
    values = {key: record[key] for key in names}
    if values.get("pixels") is not None:
        values["pixels"] = tuple(values["pixels"])
    return SampleInfo(**{**values, "window": Window(*record["window"]), "valid": Window(*record["valid"])})


def n_dates_of(set_dir: Path, sample_id: str) -> int:
    """How many Sentinel-1 dates a sample has rasters of, at least 2."""
    date = 2
    while (set_dir / f"dataX/Sentinel1_t{date}" / f"{sample_id}.tif").is_file():
        date += 1
    return date


def shards_of(set_dir: Path) -> Path:
    """Folder of the shards of a set dataset/<set>: dataset/shards/<set>."""
    return set_dir.parent / "shards" / set_dir.name


@lru_cache(maxsize=16)
def _shard_set(folder: Path, _state: tuple[int, int]) -> ShardSet:
    return ShardSet(folder)


def open_shards(set_dir: Path) -> ShardSet | None:
    """The shards of a set, None where there are none; opened once in a process as long as they do not change."""
    folder = shards_of(Path(set_dir))
    try:
        state = (folder / "index.json").stat()
    except OSError:
        return None
    return _shard_set(folder, (state.st_mtime_ns, state.st_ino))


_PLACED: set[tuple[str, str]] = set()  # samples whose rasters were found to lie in one place


def read_arrays(set_dir: Path, sample_id: str) -> Arrays:
    """Part -> (H, W, C) of the rasters of a sample.

    raises  InputError when one is missing or unreadable, or when they differ in shape, or in transform when a process
            first reads them; build_dataset has compared their coordinate systems (tiles.read_tile), which takes longer
            than to read them
    """
    n_dates, key = n_dates_of(set_dir, sample_id), (str(set_dir), sample_id)
    first = key not in _PLACED  # asked once: another thread may finish the same sample meanwhile
    arrays, places = {}, {}
    for part, folder in folders(n_dates).items():
        planes, transform = raster.read_placed(f"{set_dir}/{folder}/{sample_id}.tif", first)
        arrays[part] = np.ascontiguousarray(np.moveaxis(planes, 0, -1))
        places[part] = (transform, planes.shape[1:])
    if len(set(places.values())) != 1:
        listed = ", ".join(f"{part} {r}x{c} at {t[:1]} {t[3:4]}" for part, (t, (r, c)) in places.items())
        raise InputError(
            f"{set_dir}: rasters of {sample_id} are not on one grid: {listed}.", "Run tile and build_dataset again."
        )
    _PLACED.add(key)
    if arrays["mask"].shape[-1] != len(mask_bands(n_dates)):
        raise InputError(
            f"{sample_path(set_dir, 'mask', sample_id)}: {arrays['mask'].shape[-1]} bands instead of {len(mask_bands(n_dates))}.",
            "Run build_dataset again.",
        )
    return arrays


def sample_of(sample_id: str, arrays: Arrays) -> Sample:
    """A sample from its arrays by part."""
    mask, last = arrays["mask"], arrays["mask"].shape[-1] - 3
    earlier = tuple(Earlier(arrays[f"s1_t{d}"], arrays[f"s2_t{d}"], mask[..., d]) for d in range(last - 1))
    return Sample(
        sample_id, arrays[f"s1_t{last - 1}"], arrays[f"s1_t{last}"], arrays[f"s2_t{last - 1}"], arrays[f"s2_t{last}"],
        cloud_t0=mask[..., last - 1], cloud_t1=mask[..., last], sar_bits=mask[..., last + 1],
        window=mask[..., last + 2] == 1, earlier=earlier,
    )  # fmt: skip


def read_sample(set_dir: Path, sample_id: str) -> Sample:
    """A sample from its rasters, or from the shards of the set where it has no rasters.

    raises  InputError when it is in neither, unreadable, or its rasters are not on one grid
    """
    set_dir = Path(set_dir)
    if not sample_path(set_dir, "mask", sample_id).is_file():
        shards = open_shards(set_dir)
        if shards is not None and sample_id in shards:
            return sample_of(sample_id, shards.read(sample_id))
    return sample_of(sample_id, read_arrays(set_dir, sample_id))


def reader(set_dir: Path) -> Callable[[str], Sample]:
    """Reads samples of a set by id in the quickest way there is: from its shards, else from its rasters."""
    shards = open_shards(Path(set_dir))
    if shards is None:
        return lambda sample_id: read_sample(set_dir, sample_id)
    return lambda sample_id: sample_of(sample_id, shards.read(sample_id))
