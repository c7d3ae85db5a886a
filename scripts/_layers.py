"""Pictures of one pair for compare and report: which rasters, which stretch, which words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts._context import Context
from scripts._dates import load_dates
from utils.io import acquisitions, mosaics, pictures, raster
from utils.io.samples import DatasetIndex, load_index
from utils.science import severity

Image = NDArray[Any]
Words = tuple[tuple[tuple[int, int, int], str], ...]


@dataclass(frozen=True)
class View:
    """One picture: key for programs, name and caption for people; classes are never averaged when reduced."""

    key: str
    name: str
    group: str
    picture: pictures.Picture
    caption: str
    legend: Words = ()
    ramp: tuple[str, str, str] | None = None  # ramp name, low, high
    is_class: bool = False

    @property
    def short(self) -> str:
        """The name without the run, which the group tells."""
        if self.group.startswith("Maps"):
            return self.name.split(" simulated by ")[0].removesuffix(" of the truth")
        return self.name.split(": ", 1)[1] if self.group.startswith("Run ") and ": " in self.name else self.name


class PairViews:
    """Reads the rasters of a pair on its grid and turns them into views."""

    def __init__(self, ctx: Context, pair_id: str) -> None:
        self.ctx, self.pair_id = ctx, pair_id
        self.index: DatasetIndex = load_index(ctx.layout.dataset_set("all"))
        self.pair, self.bands = self.index.pairs[pair_id], self.index.bands_optical
        sar, root = ctx.conf.preprocess.sar_folder, ctx.layout.preprocessed_root
        dates = load_dates(ctx.conf, ctx.layout)
        first, second = dates[self.pair.date1], dates[self.pair.date2]
        grid = self.pair.grid
        self.before = acquisitions.read_planes(root, "sentinel2", first.s2, self.bands, grid)
        self.after = acquisitions.read_planes(root, "sentinel2", second.s2, self.bands, grid)
        self.cloud = acquisitions.read_cloud(root, second.s2, grid) if second.s2 else np.full(grid.shape, 255, np.uint8)
        files = [f"gamma0_{name.lower()}" for name in self.index.bands_sar]
        self.radar0 = acquisitions.read_planes(root, sar, first.s1, files, grid)
        self.radar1 = acquisitions.read_planes(root, sar, second.s1, files, grid)
        truth_dir = ctx.conf.evaluate.truth_dir
        self.hidden: Image | None = None
        if truth_dir:
            self.hidden = mosaics.read_reflectance(ctx.resolve(truth_dir) / "S2_t1_clear.tif", self.bands, grid)

    @property
    def truth(self) -> Image:
        """The hidden clear t1, else the observed one with NaN where not clear."""
        return self.hidden if self.hidden is not None else np.where(self.cloud == 0, self.after, np.nan)

    @property
    def truth_words(self) -> str:
        return "the hidden clear t1" if self.hidden is not None else "the observed t1 where clear"

    def simulated(self, run: str) -> Image | None:
        """The mosaic of a run; None when it has none for this pair."""
        path = self.ctx.layout.mosaic(run, self.pair_id) / "prediction.tif"
        return mosaics.read_reflectance(path, self.bands, self.pair.grid) if path.is_file() else None

    def _named(self, image: Image) -> dict[str, Image]:
        return dict(zip(self.bands, image, strict=True))

    def _optical(self, key: str, name: str, group: str, image: Image, caption: str) -> list[View]:
        views = [View(key, name, group, pictures.true_colour(self._named(image)), f"{caption} B04 B03 B02, 0 to 0.3.")]
        infrared = pictures.false_colour(self._named(image))
        if infrared is not None:
            words = f"{caption} B12 B08 B04: burns are red, vegetation green."
            views.append(View(f"{key}_ir", f"{name}, infrared", group, infrared, words))
        return views

    def inputs(self) -> list[View]:
        """What the model sees, and the real image of t1."""
        pair, vh = self.pair, list(self.index.bands_sar).index("VH")
        vv = list(self.index.bands_sar).index("VV")
        median = float(pair.ds1_median_db.get("VH", 0.0))
        views = self._optical("t0", "S2 t0", "Inputs", self.before, f"Sentinel-2 of {pair.t0}.")
        for key, image, day in (("s1_t0", self.radar0, pair.t0), ("s1_t1", self.radar1, pair.t1)):
            words = f"Sentinel-1 for {day}: VV red (-25 to 0 dB), VH green (-32.5 to 0 dB), VV-VH blue (0 to 15 dB)."
            views.append(
                View(
                    key,
                    key.replace("_", " ").upper().replace("T", "t"),
                    "Inputs",
                    pictures.radar(image[vv], image[vh]),
                    words,
                )
            )
        change = pictures.radar_change(self.radar0[vh], self.radar1[vh], median)
        words = f"VH of t1 minus t0, scene median of {median:+.2f} dB taken out."
        views.append(View("s1_change", "S1 change", "Inputs", change, words, ramp=("change", "-6 dB", "+6 dB")))
        if np.isfinite(self.after).any():
            share = float(np.isin(self.cloud, (1, 2)).mean())
            words = f"Sentinel-2 of {pair.t1} as it was seen, {share:.0%} under cloud or shadow."
            views += self._optical("observed", "S2 t1 observed", "Truth", self.after, words)
        if self.hidden is not None:
            words = f"The cloud-free t1 ({pair.t1}) of the scene generator, shown to no model."
            views += self._optical("hidden", "S2 t1 hidden truth", "Truth", self.hidden, words)
        return views

    def results(self, run: str) -> list[View]:
        """Simulated image and its error for one run."""
        image = self.simulated(run)
        if image is None:
            return []
        group = f"Run {run}"
        views = self._optical(f"sim:{run}", f"{run}: t1 simulated", group, image, f"Simulated by {run}; an estimate.")
        words = f"Mean absolute error over bands against {self.truth_words}."
        wrong = pictures.error(image, self.truth)
        views.append(View(f"err:{run}", f"{run}: error", group, wrong, words, ramp=("error", "0", "0.1 reflectance")))
        words = f"Error of copying t0 against {self.truth_words}, for comparison."
        if run == self.ctx.conf.train.runs[0].name:
            copied = pictures.error(self.before, self.truth)
            views.append(
                View("err:copy_t0", "copy_t0: error", "Truth", copied, words, ramp=("error", "0", "0.1 reflectance"))
            )
            path = self.ctx.layout.mosaic(run, self.pair_id) / "composite.tif"
            if path.is_file():
                joined = mosaics.read_reflectance(path, self.bands, self.pair.grid)
                words = "Observed t1 where clear, simulated under cloud and shadow, faded over 5 pixels."
                views.append(
                    View(f"mix:{run}", f"{run}: composite", group, pictures.true_colour(self._named(joined)), words)
                )
        return views

    def maps(self, run: str, words: str) -> list[View]:
        """Index difference, severity and burned area of a run, truth or hidden."""
        folder = self.ctx.layout.maps(run, self.pair_id)
        views: list[View] = []
        group = "Maps of the truth" if run in ("truth", "hidden") else f"Maps of {run}"
        if not (folder / "severity.tif").is_file():
            return views
        for index, table, colours, names in (
            ("DNDVI", "dNDVI", pictures.SEVERITY_RGB, severity.SEVERITY_NAMES),
            ("DNBR", "dNBR", pictures.DNBR_RGB, severity.DNBR_NAMES),
        ):
            if index not in raster.info(folder / "severity.tif").band_names:
                continue
            change = raster.read(folder / f"{index.lower()}.tif")[0]
            shown = pictures.ramp(change, *pictures.DIFFERENCE_RANGE, "change")
            views.append(
                View(
                    f"{index}:{run}",
                    f"{table} {words}",
                    group,
                    shown,
                    f"{table} before minus after, {words}.",
                    ramp=("change", "-0.6", "+0.6"),
                )
            )
            for label, rgb, keys in (
                ("severity", colours, names),
                ("burned", pictures.BURNED_RGB, ("not burned", "burned")),
            ):
                codes = raster.read(folder / f"{label}.tif", [index])[0]
                legend = tuple(zip(rgb, (key.replace("_", " ") for key in keys), strict=False))
                caption = f"{label.capitalize()} from {table}, {words}; grey is no data."
                views.append(
                    View(
                        f"{label}_{index}:{run}",
                        f"{label} {table} {words}",
                        group,
                        pictures.classes(codes, rgb),
                        caption,
                        legend,
                        is_class=True,
                    )
                )
        return views

    def all(self) -> list[View]:
        """Every view of the pair, inputs first."""
        runs = [run.name for run in self.ctx.conf.train.runs]
        views = self.inputs()
        for run in runs:
            views += self.results(run)
        if runs:
            views += self.maps(runs[0], f"simulated by {runs[0]}")
        return views + self.maps("hidden" if self.hidden is not None else "truth", "of the truth")


def sheet_path(ctx: Context, pair_id: str) -> Path:
    """Where compare puts the picture of a pair."""
    return ctx.layout.reports / "compare" / f"{pair_id}.png"
