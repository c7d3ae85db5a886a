"""What stage burned reads for its intervals: the reference on test ground, and the error model of validation ground."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts._context import Context
from utils.io import mosaics, raster, samples
from utils.science import area, area_errors, index_uncertainty, indices, severity
from utils.science.area_errors import AreaModel
from utils.science.grid import Grid
from utils.workflow.errors import InputError

Codes = NDArray[np.uint8]
Matrix = NDArray[np.float64]
INDICES = {"DNDVI": "NDVI", "DNBR": "NBR"}


class Tables:
    """Class tables of the configuration, and the difference maps classed by them."""

    def __init__(self, ctx: Context) -> None:
        conf = self.conf = ctx.conf.burned
        self.thresholds = {"DNDVI": conf.dndvi_burned, "DNBR": conf.dnbr_burned}
        self.edges = {"DNDVI": conf.dndvi_edges, "DNBR": conf.dnbr_edges}

    def names(self, name: str) -> tuple[str, ...]:
        """Names of the severity classes; numbers where the configuration has another number of them."""
        known = severity.SEVERITY_NAMES if name == "DNDVI" else severity.DNBR_NAMES
        count = len(self.edges[name]) + 1
        return known if len(known) == count else tuple(f"class_{code}" for code in range(count))

    def offset(self, name: str, change: Any) -> float:
        """What is subtracted first: 0, or the median difference of unburned pixels."""
        return severity.stable_offset(change, self.thresholds[name]) if self.conf.offset == "stable" else 0.0

    def classed(self, name: str, change: Any, offset: float) -> tuple[Codes, Codes]:
        """Burned codes (1, 0, 255) and severity codes of a difference map."""
        moved = self.moved(change, offset)
        return severity.burned(moved, self.thresholds[name]), severity.classify(moved, self.edges[name])

    def moved(self, change: Any, offset: float) -> Matrix:
        """The difference as it is compared with thresholds: offset taken out, rounded where the configuration says so."""
        values = np.asarray(change, dtype=np.float64) - offset
        return values if self.conf.round_decimals is None else np.round(values, self.conf.round_decimals)


class Reference:
    """The map of the true t1 of a pair on its test ground.

    name    hidden (the simulator's clear t1) or observed
    blocks  (rows, cols) number of the test block, -1 elsewhere
    """

    def __init__(self, ctx: Context, pair_id: str) -> None:
        test = samples.load_index(ctx.layout.dataset_set("test"))
        self.name = "hidden" if ctx.conf.evaluate.truth_dir else "observed"
        self.folder = ctx.layout.maps("hidden" if self.name == "hidden" else "truth", pair_id)
        chosen = [sample for sample in test.samples if sample.pair == pair_id]
        grid = test.pairs[pair_id].grid if pair_id in test.pairs else None
        self.blocks = numbered_blocks(chosen, grid.shape) if grid else np.zeros((0, 0), np.int32)

    @property
    def missing(self) -> str:
        """Why there is no reference; empty when there is one."""
        if not (self.blocks >= 0).any():
            return "no test sample in this pair"
        return "" if any(self.folder.glob("d*.tif")) else f"no {self.name} t1 to compare with"


def numbered_blocks(chosen: Sequence[samples.SampleInfo], shape: tuple[int, int]) -> NDArray[np.int32]:
    """(rows, cols) number of the block that owns a pixel, -1 outside the valid windows of the samples."""
    numbers = {block: number for number, block in enumerate(sorted({sample.block for sample in chosen}))}
    out = np.full(shape, -1, dtype=np.int32)
    for sample in chosen:
        out[sample.valid.slices] = numbers[sample.block]
    return out


def intervals(
    reference: Reference, own: Codes, true: Codes, pixel_area_m2: Matrix, classes: int, conf: Any
) -> dict[str, Any]:
    """Areas of every class by the three estimators, as plain JSON; a sentence where one of them cannot be made."""
    weights, total_ha = area.map_shares(own, pixel_area_m2, classes)
    counts = area.counts_by_block(own, true, classes, reference.blocks)
    chosen = area.one_a_cell((reference.blocks >= 0) & (own != 255) & (true != 255), conf.cell_px, conf.seed)
    sampled = severity.confusion(own, true, classes, chosen)
    made: dict[str, Callable[[], list[area.Area]]] = {
        "stratified": lambda: area.stratified(sampled, weights, total_ha),
        "clustered": lambda: area.clustered(counts, weights, total_ha),
        "bootstrap": lambda: area.bootstrap(counts, weights, total_ha, conf.draws, conf.seed),
    }
    found: dict[str, Any] = {"blocks": len(counts), "reference_pixels": int(counts.sum()), "sample": int(sampled.sum())}
    for name, estimate in made.items():
        try:
            found[name] = [one.to_json() for one in estimate()]
        except ValueError as error:
            found[name] = str(error)
    return found


# -- sigma ---------------------------------------------------------------------------------------------------------------


def sigma_source(ctx: Context, run: str, pair_id: str, grid: Grid) -> tuple[Path, Path] | None:
    """The image that stage mosaic has a sigma of, and the sigma; None where the run has none.

    raises  InputError when the two are of different grids
    """
    folder = ctx.layout.mosaic(run, pair_id)
    sigma = folder / "sigma.tif"
    if not sigma.is_file():
        return None
    facts = raster.info(sigma)
    image = folder / facts.tags.get("SIGMA_OF", "composite.tif" if (folder / "composite.tif").is_file() else "prediction.tif")  # fmt: skip
    for path, found in ((sigma, facts.grid), (image, raster.info(image).grid)):
        if found != grid:
            raise InputError(
                f"{path}: its grid ({found.rows} x {found.cols} pixels of EPSG:{found.epsg}) is not that of the pair "
                f"({grid.rows} x {grid.cols} of EPSG:{grid.epsg}).",
                "Run mosaic again (./s2cr mosaic CONF --force); do not put rasters of your own there.",
            )
    return image, sigma


@dataclass(frozen=True)
class Piece:
    """A validation sample: the scene (place and date) and block that it is of, and three images (H, W), NaN = unknown."""

    scene: str
    block: str
    own: Matrix
    sigma: Matrix
    true: Matrix


def area_model(pieces: Sequence[Piece], edges: Sequence[float], scene: str, scene_px: int) -> tuple[AreaModel, str]:
    """Calibration and covariance of a table of edges from validation ground, and a sentence about it.

    Several scenes are groups; one scene is divided into its blocks. Without validation samples that have a sigma and a
    known t1 the model is assumed, and the sentence says so

    scene, scene_px  place and date whose area is asked for, and its pixels
    """
    names = {piece.scene for piece in pieces}
    by_block = len(names) == 1
    ground = [(piece.block if by_block else piece.scene, piece.own, piece.sigma, piece.true) for piece in pieces]
    try:
        model = area_errors.fit(ground, edges, scene_px if names == {scene} else None)
    except ValueError as error:
        return area_errors.assumed(edges), f"assumed, not measured: {error}"
    kind = "blocks of one scene" if by_block else "scenes"
    few = "; what they have in common is assumed" if model.groups < 2 else ""
    return model, f"measured on {model.pixels} validation pixels in {model.groups} {kind}{few}"


def scene_of(pair: samples.PairInfo) -> str:
    """Place and date of t1."""
    return f"{pair.site}/{pair.date2}"


def validation(ctx: Context, run: str, name: str, tables: Tables) -> list[Piece]:
    """Predicted difference, its sigma and the true difference of the validation samples of a run."""
    val, index = samples.load_index(ctx.layout.dataset_set("val")), INDICES[name]
    found: list[Piece] = []
    if not set(indices.INDICES[index][1]) <= set(val.bands_optical):
        return found
    for info in val.samples:
        read = _predicted(ctx, run, info, val)
        if read is None:
            continue
        image, sigma = (dict(zip(val.bands_optical, planes, strict=True)) for planes in read)
        sample = samples.read_sample(val.set_dir, info.id)
        before, after = (
            indices.compute(index, indices.stack_to_bands(one, val.bands_optical))
            for one in (sample.s2_t0, sample.s2_t1)
        )
        known = sample.window & sample.clear_t1 & sample.clear_t0
        own = tables.moved(before - indices.compute(index, image), 0.0)
        true = tables.moved(before - after, 0.0)
        spread = index_uncertainty.index_sigma(index, image, sigma)
        found.append(Piece(scene_of(val.pairs[info.pair]), info.block, own, spread, np.where(known, true, np.nan)))
    return found


def _predicted(ctx: Context, run: str, info: samples.SampleInfo, index: samples.DatasetIndex) -> tuple[Any, Any] | None:
    """Prediction and its own sigma (bands, H, W) of a sample: its tiles, else the images of the pair."""
    tile = ctx.layout.pred(run) / f"{info.id}.tif"
    spread = ctx.layout.pred(run) / "sigma" / f"{info.id}.tif"
    if tile.is_file() and spread.is_file():
        return raster.read(tile), raster.read(spread)
    folder = ctx.layout.mosaic(run, info.pair)
    if not (folder / "prediction_sigma.tif").is_file():
        return None
    grid = index.pairs[info.pair].grid.window(info.window)
    names = [f"sigma_{band}" for band in index.bands_optical]
    return (
        mosaics.read_reflectance(folder / "prediction.tif", index.bands_optical, grid),
        mosaics.read_reflectance(folder / "prediction_sigma.tif", names, grid),
    )
