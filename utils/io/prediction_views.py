"""Predicted tiles to look at, for notebooks: the best and the worst, errors by stratum, and maps to swipe without a widget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io import html_viewer, mosaics, pictures, raster
from utils.io.pictures import Picture
from utils.io.samples import DatasetIndex, Sample, SampleInfo, read_sample
from utils.science import evaluation
from utils.science.grid import Grid
from utils.science.reduced import Reduced
from utils.workflow.errors import InputError

Image = NDArray[np.floating]


@dataclass(frozen=True)
class TileScore:
    """Mean absolute errors of one tile on clear pixels of its valid window, reflectance.

    skill  1 - squared error over that of copying t0; None where t0 is the truth to the bit
    """

    id: str
    pixels: int
    mae: float
    mae_copy_t0: float
    skill: float | None


def predicted(pred_dir: Path, sample_id: str) -> Image:
    """(H, W, B) reflectance that a run predicted for a sample.

    raises  InputError when there is none
    """
    path = pred_dir / f"{sample_id}.tif"
    if not path.is_file():
        raise InputError(f"{path}: no such prediction.", "Run: ./s2cr predict CONF, with predict.method tiles.")
    return np.moveaxis(raster.read(path), 0, -1)


def _mask(sample: Sample) -> NDArray[np.bool_]:
    """(H, W) pixels that score: clear at t1, known at t0, owned by this tile."""
    known: NDArray[np.bool_] = sample.window & sample.clear_t1 & np.isfinite(sample.s2_t0).all(axis=-1)
    return known


def judged(index: DatasetIndex, pred_dir: Path) -> list[TileScore]:
    """Every tile of a set that has a pixel to score, the worst first by its skill, then by its error."""
    found = []
    for info in index.samples:
        sample, image = read_sample(index.set_dir, info.id), predicted(pred_dir, info.id)
        mask = _mask(sample) & np.isfinite(image).all(axis=-1)
        if not mask.any():
            continue
        own, copied = (np.abs(one.astype(np.float64) - sample.s2_t1)[mask] for one in (image, sample.s2_t0))
        squared = float((copied**2).sum())
        skill = 1 - float((own**2).sum()) / squared if squared > 0 else None
        found.append(TileScore(info.id, int(mask.sum()), float(own.mean()), float(copied.mean()), skill))
    return sorted(found, key=lambda tile: (-np.inf if tile.skill is None else tile.skill, -tile.mae, tile.id))


def pooled(tiles: Sequence[TileScore]) -> dict[str, float]:
    """Mean absolute error over all pixels of tiles, of the run and of copying t0."""
    pixels = np.array([tile.pixels for tile in tiles], dtype=np.float64)
    run, copied = (np.array([getattr(tile, name) for tile in tiles]) for name in ("mae", "mae_copy_t0"))
    return {
        "mae": float((pixels * run).sum() / pixels.sum()),
        "mae_copy_t0": float((pixels * copied).sum() / pixels.sum()),
    }


def tile_row(index: DatasetIndex, pred_dir: Path, sample_id: str) -> list[tuple[str, Picture]]:
    """Title and (H, W, 3) picture of t0, radar change, simulated, true t1, error, error of the copy, and sigma where there is one.

    Colours are those of the report: true colour 0 to 0.3, errors and sigma 0 to 0.1, radar -6 to +6 dB.
    """
    sample, image = read_sample(index.set_dir, sample_id), predicted(pred_dir, sample_id)
    median = float(index.pairs[index.sample(sample_id).pair].ds1_median_db.get("VH", 0.0))
    vh = index.bands_sar.index("VH")
    truth = np.where(_mask(sample)[..., None], sample.s2_t1, np.nan)
    row = [
        ("S2 t0", _colour(index, sample.s2_t0)),
        ("S1 change", pictures.radar_change(sample.s1_t0[..., vh], sample.s1_t1[..., vh], median)),
        ("t1 simulated", _colour(index, image)),
        ("t1 observed", _colour(index, sample.s2_t1)),
        ("error", pictures.error(np.moveaxis(image, -1, 0), np.moveaxis(truth, -1, 0))),
        ("error of copying t0", pictures.error(np.moveaxis(sample.s2_t0, -1, 0), np.moveaxis(truth, -1, 0))),
    ]
    spread = pred_dir / "sigma" / f"{sample_id}.tif"
    if spread.is_file():
        row.append(("sigma", pictures.ramp(raster.read(spread).mean(axis=0), 0.0, pictures.SIGMA_MAX, "spread")))
    return row


def _colour(index: DatasetIndex, image: Image) -> Picture:
    return pictures.true_colour(dict(zip(index.bands_optical, np.moveaxis(image, -1, 0), strict=True)))


def errors_by_stratum(
    index: DatasetIndex, pred_dir: Path, settings: evaluation.Settings
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """stratum of the true pair -> mean absolute error over bands of each pixel, of the run and of copying t0, (N,) each."""
    parts: dict[str, list[tuple[Any, Any]]] = {}
    for info in index.samples:
        sample, image = read_sample(index.set_dir, info.id), predicted(pred_dir, info.id)
        truth = evaluation.truth_of(
            settings, sample.s2_t0, sample.s2_t1, _mask(sample) & np.isfinite(image).all(axis=-1)
        )
        own, copied = (np.abs(one - sample.s2_t1).mean(axis=-1) for one in (image, sample.s2_t0))
        for name, mask in {"all": truth.mask, **truth.strata}.items():
            parts.setdefault(name, []).append((own[mask], copied[mask]))
    joined = {
        name: (np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs]))
        for name, pairs in parts.items()
    }
    return {name: both for name, both in joined.items() if both[0].size}


def swipe_tile(index: DatasetIndex, pred_dir: Path, info: SampleInfo, note: str = "") -> str:
    """HTML of one tile to look at in a notebook: every picture of its row, the simulated one under the observed."""
    row = tile_row(index, pred_dir, info.id)
    words = {
        "error": "reflectance, 0 black to 0.1 light",
        "error of copying t0": "the same",
        "sigma": "0 to 0.1 reflectance",
    }
    named = {name: (picture, words.get(name, "")) for name, picture in row}
    grid = index.pairs[info.pair].grid.window(info.window)
    return html_viewer.inline(f"Tile {info.id}", named, grid, note, ("t1 simulated", "t1 observed"))


def swipe_images(files: Mapping[str, Path], bands: Sequence[str], note: str = "", max_px: int = 700) -> str:
    """HTML of whole reflectance rasters of one grid over one another, name -> file; the last is swiped over the first.

    raises  InputError when a raster or a band is missing
    """
    grid: Grid = raster.info(next(iter(files.values()))).grid
    see = Reduced(grid, max_px)
    named = {}
    for name, path in files.items():
        image = see.mean(lambda part, path=path: mosaics.read_reflectance(path, bands, part))  # type: ignore[misc]
        named[name] = (pictures.true_colour(dict(zip(bands, image, strict=True))), "B04 B03 B02, reflectance 0 to 0.3")
    return html_viewer.inline("Whole image", named, see.small, note, (next(iter(files)), list(files)[-1]))
