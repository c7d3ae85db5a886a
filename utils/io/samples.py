"""The dataset on disk: index.json of a set and the rasters of one sample. Arrays are channel last, (H, W, C).

A set is a folder dataset/{all,train,val,test} with dataX/{Sentinel1_t0,Sentinel1_t1,Sentinel2_t0}, label/Sentinel2_t1
and mask. `all` holds every sample whose inputs are usable; the others hold hard links to the trainable ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io import raster
from utils.science.grid import Grid, Window
from utils.workflow.errors import InputError

SCHEMA = "s2cr.dataset/1"
FOLDERS: dict[str, str] = {
    "s1_t0": "dataX/Sentinel1_t0",
    "s1_t1": "dataX/Sentinel1_t1",
    "s2_t0": "dataX/Sentinel2_t0",
    "s2_t1": "label/Sentinel2_t1",
    "mask": "mask",
}
MASK_BANDS = ("CLOUD_T0", "CLOUD_T1", "SAR", "WINDOW")
# Codes of cloud.tif whose pixels train and score. Snow (3) is a surface, but Sen2Cor takes bright cloud for it.
CLEAR_CODES = (0,)

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class PairInfo:
    """One pair of dates: date ids and days, grid of the site, scene median of S1(t1) - S1(t0) in dB."""

    id: str
    site: str
    date1: str
    date2: str
    t0: str
    t1: str
    grid: Grid
    ds1_median_db: Mapping[str, float]
    mixed_orbit: bool


@dataclass(frozen=True)
class SampleInfo:
    """One sample of an index. window and valid are absolute; reason says why it does not train."""

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

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(sample.id for sample in self.samples)

    def sample(self, sample_id: str) -> SampleInfo:
        """raises  InputError for an unknown id"""
        for sample in self.samples:
            if sample.id == sample_id:
                return sample
        raise InputError(f"{self.set_dir}: no sample {sample_id!r}.", "Take an id from its index.json.")


@dataclass(frozen=True)
class Sample:
    """The arrays of one sample.

    s1_t0, s1_t1        (H, W, 2) float32 gamma0 VV, VH, linear power, NaN = nodata; values <= 0 are measurements
    s2_t0, s2_t1        (H, W, n) float32 reflectance, NaN = nodata
    cloud_t0, cloud_t1  (H, W) uint8: 0 clear, 1 cloud, 2 shadow, 3 snow, 4 defective, 255 none
    sar_bits            (H, W) uint8 bits of both dates: 1 layover, 2 shadow, 4 no sample, 8 DEM, 16 border noise, 32 no value
    window              (H, W) True where the sample owns the pixel
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

    @property
    def clear_t0(self) -> BoolArray:
        """(H, W) surface in sight at t0 and every optical band has data."""
        return np.asarray(np.isin(self.cloud_t0, CLEAR_CODES) & np.isfinite(self.s2_t0).all(axis=-1))

    @property
    def clear_t1(self) -> BoolArray:
        """(H, W) the same for the label."""
        return np.asarray(np.isin(self.cloud_t1, CLEAR_CODES) & np.isfinite(self.s2_t1).all(axis=-1))


def sample_path(set_dir: Path, part: str, sample_id: str) -> Path:
    """Raster of one part (s1_t0, s1_t1, s2_t0, s2_t1, mask) of a sample."""
    return Path(set_dir) / FOLDERS[part] / f"{sample_id}.tif"


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
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: incomplete or malformed ({error!r}).", remedy) from error


def _pair(name: str, record: Mapping[str, Any]) -> PairInfo:
    plain = {key: record[key] for key in ("site", "date1", "date2", "t0", "t1", "mixed_orbit")}
    return PairInfo(id=name, grid=Grid.from_dict(record["grid"]), ds1_median_db=dict(record["ds1_median_db"]), **plain)


def _sample(record: Mapping[str, Any]) -> SampleInfo:
    values = {key: record[key] for key in SampleInfo.__dataclass_fields__}
    return SampleInfo(**{**values, "window": Window(*record["window"]), "valid": Window(*record["valid"])})


def read_sample(set_dir: Path, sample_id: str) -> Sample:
    """Read the five rasters of a sample.

    raises  InputError when one is missing or unreadable, or when their shapes differ
    """
    planes = {part: raster.read(sample_path(set_dir, part, sample_id)) for part in FOLDERS}
    shapes = {part: array.shape[1:] for part, array in planes.items()}
    if len(set(shapes.values())) != 1:
        listed = ", ".join(f"{part} {shape[0]}x{shape[1]}" for part, shape in shapes.items())
        raise InputError(
            f"{set_dir}: rasters of {sample_id} differ in size: {listed}.", "Run tile and build_dataset again."
        )
    if len(planes["mask"]) != len(MASK_BANDS):
        raise InputError(
            f"{sample_path(set_dir, 'mask', sample_id)}: {len(planes['mask'])} bands instead of {len(MASK_BANDS)}.",
            "Run build_dataset again.",
        )
    cloud_t0, cloud_t1, sar_bits, window = planes["mask"]
    last = {
        part: np.ascontiguousarray(np.moveaxis(planes[part], 0, -1)) for part in ("s1_t0", "s1_t1", "s2_t0", "s2_t1")
    }
    return Sample(sample_id, **last, cloud_t0=cloud_t0, cloud_t1=cloud_t1, sar_bits=sar_bits, window=window == 1)
