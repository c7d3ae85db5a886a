"""The images of a pair, made in stripes: prediction, composite, source, sigma, abstain. Memory does not grow with height.

Order: where a correction is asked for, one look at the cloud codes and one at clear pixels near the hidden ones; then one
pass that writes all files at once. Files appear whole, one after the other, when the last row is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io import cog, mosaics
from utils.io.observation import Observation
from utils.io.row_sources import RowSource
from utils.io.row_writer import Writer
from utils.science import clear_gain
from utils.science import composite as mixing
from utils.science.clear_gain import Correction
from utils.science.grid import Grid
from utils.workflow.errors import InputError

_SAMPLE = 200_000  # clear pixels that a correction is fitted and checked on
_BLOCK_PX = 64  # ground of one block is fitted or left out as a whole
_MIN_BLOCKS = 12  # blocks along the shorter side, so that small images have enough of them

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Settings:
    """Section mosaic of the configuration; see there."""

    dtype: str = "int16"
    feather_px: int = 5
    gain: clear_gain.Mode = "offset"
    gain_radius_m: float = 5000.0
    gain_min_px: int = 1000
    sensor_sigma: float = 0.003
    max_sigma: float = 0.05
    row_block: int = 256


@dataclass
class Images:
    """What was written, and figures of it: file name -> path; counts are pixels."""

    paths: dict[str, Path] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    corrections: dict[str, Correction] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """One pair to make images of. tags gives those of a file: units, further tags."""

    folder: Path
    grid: Grid
    bands: tuple[str, ...]
    source: RowSource
    observation: Observation | None
    settings: Settings
    tags: Callable[..., dict[str, str]]

    @property
    def has_composite(self) -> bool:
        return self.observation is not None and bool(self.observation.optical)

    @property
    def seen(self) -> Observation:
        """The observation, where has_composite is true."""
        if self.observation is None:
            raise RuntimeError("the pair has no observation")
        return self.observation

    def stripes(self) -> Iterator[tuple[int, int]]:
        """First row and number of rows of each stripe."""
        step = self.settings.row_block
        for first in range(0, self.grid.rows, step):
            yield first, min(step, self.grid.rows - first)


@dataclass(frozen=True)
class _Stripe:
    """Rows of a pair: reflectance (bands, rows, cols), hidden ground and weight of the simulated image."""

    simulated: F32
    observed: F32
    made: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    weight: NDArray[np.float64]


def build(work: Work) -> Images:
    """Write all images of a pair.

    raises  InputError when the prediction has no pixel with data, or an input is missing or on another grid
    """
    out = Images()
    if work.has_composite:
        out.corrections = _corrections(work)
    counts = {"covered": 0, "simulated": 0, "feathered": 0, "observed": 0, "nodata": 0, "abstain": 0}
    with ExitStack() as stack:
        files = _open(work, out, stack)
        for first, count in work.stripes():
            simulated = work.source.rows(first, count)
            counts["covered"] += int(mixing.has_data(simulated).sum())
            files["prediction"].write(_stored(work, simulated), first, 0)
            _write_stripe(work, out.corrections, files, simulated, first, counts)
        if counts["covered"] == 0:
            raise InputError(
                f"{work.folder}: the prediction has no pixel with data in all bands.",
                "Check that both Sentinel-1 dates and Sentinel-2 of t0 cover the pair, then run predict again.",
            )
    out.facts = _facts(work, out, counts)
    return out


def _open(work: Work, out: Images, stack: ExitStack) -> dict[str, Writer]:
    """Open every file of the pair for rows; they are completed when `stack` closes."""
    sigma_names = tuple(f"sigma_{band}" for band in work.bands)
    wanted: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
        "prediction": ("reflectance", work.bands, work.tags("reflectance"))
    }
    if work.source.has_sigma:
        words, told = "standard deviation in reflectance", work.source.sigma_tags()
        wanted["prediction_sigma"] = (words, sigma_names, work.tags(words, SIGMA_OF="prediction.tif", **told))
        of = "composite.tif" if work.has_composite else "prediction.tif"
        told = {"SIGMA_OF": of, "SENSOR_SIGMA": str(work.settings.sensor_sigma), **told}
        wanted["sigma"] = (words, sigma_names, work.tags(words, **told))
    if work.has_composite:
        more = {"COMPOSITE": f"feather {work.settings.feather_px} px", "GAIN": clear_gain.words(out.corrections)}
        wanted["composite"] = ("reflectance", work.bands, work.tags("reflectance", **more))
        codes = "0 observed, 1 simulated, 2 feathered, 255 nodata"
        wanted["source"] = ("class", ("SOURCE",), work.tags(codes))
    if work.observation is not None:
        codes = "1 do not use, 0 use, 255 nodata"
        limit = work.settings.max_sigma if work.source.has_sigma else "none: the run tells no sigma"
        wanted["abstain"] = ("class", ("ABSTAIN",), work.tags(codes, MAX_SIGMA=limit))
    files = {}
    for name, (units, names, tags) in wanted.items():
        out.paths[name] = work.folder / f"{name}.tif"
        files[name] = stack.enter_context(_writer(work, out.paths[name], units == "class", names, tags))
    return files


def _writer(work: Work, path: Path, is_class: bool, names: tuple[str, ...], tags: Mapping[str, str]) -> Any:
    if is_class:
        return cog.rows_to_cog(
            path, work.grid, 1, "uint8", band_names=names, nodata=255, tags=tags, resampling="NEAREST"
        )
    return mosaics.reflectance_rows(path, work.grid, names, tags, work.settings.dtype)


def _stored(work: Work, image: NDArray[Any]) -> NDArray[Any]:
    return mosaics.to_dn(image) if work.settings.dtype == "int16" else image.astype(np.float32)


def _stripe(work: Work, simulated: F32, first: int) -> _Stripe:
    """Observation, hidden ground and weight of rows; surroundings are read so that the bits are those of the whole."""
    observation, settings = work.seen, work.settings
    count, halo = simulated.shape[1], mixing.halo_rows(settings.feather_px)
    top, bottom = max(first - halo, 0), min(first + count + halo, work.grid.rows)
    observed, cloud = observation.image(work.grid, top, bottom - top)
    hidden = mixing.hidden_ground(cloud, mixing.has_data(observed))
    inner = slice(first - top, first - top + count)
    made = mixing.has_data(simulated)
    weight = mixing.feather_weight(hidden, settings.feather_px)[inner]
    hidden = hidden[inner]
    return _Stripe(simulated, observed[:, inner], made, hidden, mixing.mixing_weight(hidden, weight, made))


def _write_stripe(
    work: Work, corrections: Mapping[str, Correction], files: Mapping[str, Writer], simulated: F32, first: int,
    counts: dict[str, int],
) -> None:  # fmt: skip
    made = mixing.has_data(simulated)
    weight, source = np.ones(made.shape), np.where(made, mixing.SIMULATED, mixing.NO_SOURCE).astype(np.uint8)
    if work.has_composite:
        stripe = _stripe(work, simulated, first)
        weight, source = stripe.weight, mixing.source_codes(stripe.hidden, stripe.weight, made)
        joined = np.empty_like(simulated)
        for number, band in enumerate(work.bands):
            plane = np.where(made, corrections[band].apply(simulated[number]), np.float32(np.nan))
            joined[number] = mixing.mix(stripe.observed[number], plane, stripe.hidden, weight)
        files["composite"].write(_stored(work, joined), first, 0)
        files["source"].write(source[None], first, 0)
    largest = _write_sigma(work, corrections, files, weight, source, first) if work.source.has_sigma else None
    if work.observation is not None:
        bad = work.observation.sar_bad(work.grid, first, len(made))
        abstain = mixing.abstain_codes(source, bad, largest, work.settings.max_sigma)
        files["abstain"].write(abstain[None], first, 0)
        counts["abstain"] += int((abstain == mixing.ABSTAIN).sum())
    names = {"observed": mixing.OBSERVED, "simulated": mixing.SIMULATED, "feathered": mixing.FEATHERED}
    for name, code in {**names, "nodata": mixing.NO_SOURCE}.items():
        counts[name] += int((source == code).sum())


def _write_sigma(
    work: Work, corrections: Mapping[str, Correction], files: Mapping[str, Writer], weight: NDArray[np.float64],
    source: NDArray[np.uint8], first: int,
) -> F32:  # fmt: skip
    """Write both sigma files; returns the largest sigma of the composite over bands."""
    sigma = work.source.sigma(first, len(weight))
    files["prediction_sigma"].write(_stored(work, sigma), first, 0)
    largest = np.zeros(weight.shape, np.float32)
    for number, band in enumerate(work.bands):
        gain = corrections[band].gain if band in corrections and corrections[band].applied else 1.0
        mixed = mixing.mixed_sigma(gain * sigma[number], weight, work.settings.sensor_sigma)
        mixed[source == mixing.NO_SOURCE] = np.nan
        largest = np.maximum(largest, mixed)  # NaN stays
        sigma[number] = mixed
    files["sigma"].write(_stored(work, sigma), first, 0)
    return largest


def _corrections(work: Work) -> dict[str, Correction]:
    """Gain and offset of every band, or why there is none."""
    mode, settings = work.settings.gain, work.settings
    if mode == "none":
        return {band: Correction(band, reason="switched off") for band in work.bands}
    block_px = max(4, min(_BLOCK_PX, min(work.grid.shape) // _MIN_BLOCKS))
    hidden_px, clear_px = _block_counts(work, block_px)
    radius = settings.gain_radius_m / (block_px * work.grid.mean_pixel_size_m())
    near = clear_gain.near_blocks(hidden_px, radius)
    clear = int(clear_px[near].sum())
    if not near.any():
        return {band: Correction(band, reason="nothing is hidden") for band in work.bands}
    if clear < settings.gain_min_px:
        words = f"{clear} clear pixels near hidden ones, fewer than {settings.gain_min_px}"
        return {band: Correction(band, reason=words) for band in work.bands}
    step = max(1, math.isqrt(clear // _SAMPLE))
    simulated, observed, block = _clear_pixels(work, near, block_px, step)
    return {
        band: clear_gain.decide(band, simulated[i], observed[i], block, mode, settings.gain_min_px)
        for i, band in enumerate(work.bands)
    }


def _block_counts(work: Work, block_px: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(block rows, block columns) number of hidden and of clear pixels in each block of ground."""
    shape = (-(-work.grid.rows // block_px), -(-work.grid.cols // block_px))
    hidden_px, clear_px = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    across = np.arange(work.grid.cols) // block_px
    for first, count in work.stripes():
        observed, cloud = work.seen.image(work.grid, first, count)
        seen = mixing.has_data(observed)
        hidden = mixing.hidden_ground(cloud, seen)
        for row in range(count):
            down = (first + row) // block_px
            hidden_px[down] += np.bincount(across[hidden[row]], minlength=shape[1])
            clear_px[down] += np.bincount(across[seen[row] & (cloud[row] == 0)], minlength=shape[1])
    return hidden_px, clear_px


def _clear_pixels(
    work: Work, near: NDArray[np.bool_], block_px: int, step: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Simulated and observed (bands, n) of clear pixels of near blocks, every step-th row and column; block numbers."""
    found: list[tuple[Any, Any, Any]] = []
    across = np.arange(0, work.grid.cols, step)
    for first, count in work.stripes():
        rows = np.arange(-(-first // step) * step, first + count, step)
        if not near[(rows // block_px)].any():
            continue
        observed, cloud = work.seen.image(work.grid, first, count)
        simulated = work.source.rows(first, count)
        at = np.ix_(rows - first, across)
        there = near[np.ix_(rows // block_px, across // block_px)] & (cloud[at] == 0)
        planes = [np.stack([plane[at] for plane in image]) for image in (simulated, observed)]
        there &= np.isfinite(planes[0]).all(axis=0) & np.isfinite(planes[1]).all(axis=0)
        block = (rows // block_px)[:, None] * near.shape[1] + (across // block_px)[None, :]
        found.append((planes[0][:, there], planes[1][:, there], block[there]))
    joined = [np.concatenate([one[i] for one in found], axis=-1) for i in range(3)]
    return joined[0], joined[1], joined[2]


def _facts(work: Work, out: Images, counts: Mapping[str, int]) -> dict[str, Any]:
    """Shares of the image, and what was decided about the correction and sigma."""
    total = work.grid.rows * work.grid.cols
    facts: dict[str, Any] = {"covered": round(counts["covered"] / total, 6)}
    if work.has_composite:
        shares = ("observed", "simulated", "feathered", "nodata")
        facts |= {name: round(counts[name] / total, 6) for name in shares}
        facts["gain"] = {band: one.facts() for band, one in out.corrections.items()}
    if work.observation is not None:
        facts["abstain"] = round(counts["abstain"] / total, 6)
    facts["sigma"] = (
        "of the run's uncertainty head" if work.source.has_sigma else "none: the run has no uncertainty head"
    )
    return facts
