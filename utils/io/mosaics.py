"""Images of a pair as files: which pairs are shown, label tiles, reflectance as DN (Int16, 0.0001, nodata -32768)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io import cog, pictures, raster
from utils.io.row_writer import Writer
from utils.io.samples import DatasetIndex, SampleInfo, load_index, sample_path
from utils.science.grid import Grid
from utils.workflow.errors import InputError

NODATA_DN = -32768
SCALE = 0.0001

FloatArray = NDArray[np.float32]


def shown_pairs(dataset: Path, max_pairs: int) -> tuple[DatasetIndex, tuple[str, ...], int]:
    """Pairs that get mosaics, maps and pictures: the first pairs with test samples, else the first of all.

    returns  index of dataset/all, pair ids, number of all pairs
    """
    everything, test = load_index(dataset / "all"), load_index(dataset / "test")
    with_test = sorted({sample.pair for sample in test.samples})
    rest = [pair for pair in sorted(everything.pairs) if pair not in with_test]
    return everything, tuple([*with_test, *rest][:max_pairs]), len(everything.pairs)


def observed_tile(index: DatasetIndex, sample: SampleInfo) -> FloatArray:
    """The label of a sample (bands, h, w) with NaN under everything that is not clear."""
    last, n_dates = index.n_dates - 1, index.n_dates
    label = raster.read(sample_path(index.set_dir, f"s2_t{last}", sample.id, n_dates)).astype(np.float32)
    cloud = raster.read(sample_path(index.set_dir, "mask", sample.id, n_dates), [f"CLOUD_T{last}"])[0]
    label[:, cloud != 0] = np.nan
    return label


def to_dn(reflectance: NDArray[Any]) -> NDArray[np.int16]:
    """DN = round(reflectance / 0.0001), NaN -> -32768; values beyond the type are clipped, never wrapped."""
    scaled = np.clip(np.round(np.nan_to_num(np.asarray(reflectance, dtype=np.float64)) / SCALE), -32767, 32767)
    return np.where(np.isfinite(reflectance), scaled, NODATA_DN).astype(np.int16)


@contextmanager
def reflectance_rows(
    path: Path, grid: Grid, bands: Sequence[str], tags: Mapping[str, str], dtype: str = "int16"
) -> Iterator[Writer]:
    """Cloud Optimized GeoTIFF of reflectance for rows (bands, count, cols) as stored; overviews are averages.

    dtype  int16: DN of `to_dn`, scale 0.0001, offset 0, nodata -32768; float32: reflectance, nodata NaN
    """
    nodata, scale = (NODATA_DN, SCALE) if dtype == "int16" else (math.nan, None)
    with cog.rows_to_cog(path, grid, len(bands), dtype, band_names=bands, nodata=nodata, tags=tags, scale=scale) as out:
        yield out


def write_reflectance(
    path: Path, image: NDArray[Any], grid: Grid, bands: Sequence[str], tags: Mapping[str, str], dtype: str = "int16"
) -> None:
    """The same of a whole image (bands, rows, cols) of reflectance, NaN = nodata."""
    with reflectance_rows(path, grid, bands, tags, dtype) as out:
        out.write(to_dn(image) if dtype == "int16" else np.asarray(image, dtype=np.float32), 0, 0)


def write_preview(path: Path, image: Path, max_px: int, text: str = "") -> None:
    """PNG of a reflectance file in true colour, at most max_px wide and high, with `text` in its corner."""
    names = ("B04", "B03", "B02")
    planes = cog.read_reduced(image, names, max_px)
    pictures.write_png(path, pictures.true_colour(dict(zip(names, planes, strict=True))), text=text)


def read_reflectance(path: Path, bands: Sequence[str], grid: Grid | None = None) -> FloatArray:
    """(bands, rows, cols) float32 reflectance of a raster stored with scale and offset, or as float; NaN = nodata.

    bands   names; grid = read on that grid, None = as stored
    raises  InputError when the raster or a band is missing
    """
    facts = raster.info(path)
    absent = [band for band in bands if band not in facts.band_names]
    if absent:
        raise InputError(
            f"{path}: no band {', '.join(absent)}; it has {', '.join(facts.band_names)}.",
            "Leave the band out of dataset.extra_bands, or give a raster that has it.",
        )
    if facts.dtype.startswith("float"):
        stored = raster.read(path, bands) if grid is None else raster.read_on_grid(path, grid, bands)
        return stored.astype(np.float32)
    fill = NODATA_DN if facts.nodata is None else facts.nodata
    stored = raster.read(path, bands) if grid is None else raster.read_on_grid(path, grid, bands, fill=fill)
    values = (stored * facts.scale + facts.offset).astype(np.float32)
    values[stored == fill] = np.nan
    return values
