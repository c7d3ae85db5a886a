"""Pictures of one pair for compare and report: which rasters, which stretch, which words.

Rasters are read in stripes and reduced while they are read: a whole scene fits into the memory of a small one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts._context import Context
from scripts._dates import load_dates
from utils.io import acquisitions, mosaics, pictures, raster
from utils.io.samples import DatasetIndex, load_index
from utils.science.grid import Grid, Window
from utils.science.reduced import Reduced

Image = NDArray[Any]
Words = tuple[tuple[tuple[int, int, int], str], ...]


@dataclass(frozen=True)
class View:
    """One picture: key for programs, name and caption for people; the pixels of classes are kept as they are."""

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
    """Reads the rasters of a pair on its grid and turns them into views.

    max_px  larger side of the pictures; window = this part of the grid only, for a look at full resolution
    """

    def __init__(self, ctx: Context, pair_id: str, max_px: int, window: Window | None = None) -> None:
        self.ctx, self.pair_id = ctx, pair_id
        self.index: DatasetIndex = load_index(ctx.layout.dataset_set("all"))
        self.pair, self.bands = self.index.pairs[pair_id], self.index.bands_optical
        dates = load_dates(ctx.conf, ctx.layout)
        self._first, self._second = dates[self.pair.date1], dates[self.pair.date2]
        self.see = Reduced(self.pair.grid.window(window) if window else self.pair.grid, max_px)

    # -- readers: a grid -> pixels on it -------------------------------------------------------------------------

    def _s2(self, date: acquisitions.Acquisition) -> Callable[[Grid], Image]:
        root = self.ctx.layout.preprocessed_root
        return lambda grid: acquisitions.read_planes(root, "sentinel2", date.s2, self.bands, grid)

    def _s1(self, date: acquisitions.Acquisition) -> Callable[[Grid], Image]:
        root, folder = self.ctx.layout.preprocessed_root, self.ctx.conf.preprocess.sar_folder
        files = [f"gamma0_{name.lower()}" for name in self.index.bands_sar]
        return lambda grid: acquisitions.read_planes(root, folder, date.s1, files, grid)

    def _cloud(self, grid: Grid) -> NDArray[np.uint8]:
        if not self._second.s2:
            return np.full(grid.shape, 255, np.uint8)
        return acquisitions.read_cloud(self.ctx.layout.preprocessed_root, self._second.s2, grid)

    def plain(self, path: Path) -> Callable[[Grid], Image]:
        """Reader of a raster of values as they are."""
        return lambda grid: raster.read_on_grid(path, grid)

    def percent(self, path: Path, band: str) -> Callable[[Grid], Image]:
        """Reader of a band of whole per cent, 255 = no data, as shares."""

        def read(grid: Grid) -> Image:
            stored = raster.read_on_grid(path, grid, [band], fill=255)
            return np.where(stored == 255, np.nan, stored / 100.0)

        return read

    def _stored(self, path: Path, bands: tuple[str, ...] | None = None) -> Callable[[Grid], Image]:
        return lambda grid: mosaics.read_reflectance(path, bands or self.bands, grid)

    def _true(self, grid: Grid) -> Image:
        if self._hidden_path:
            return self._stored(self._hidden_path)(grid)
        clear: Image = np.where(self._cloud(grid) == 0, self._s2(self._second)(grid), np.nan)
        return clear

    def _apart(self, image: Callable[[Grid], Image]) -> Callable[[Grid], Image]:
        """(1, rows, cols) mean over bands of the absolute difference of an image from the truth."""
        return lambda grid: np.abs(image(grid) - self._true(grid)).mean(0)[None]

    def _mosaic(self, run: str, name: str) -> Path:
        return self.ctx.layout.mosaic(run, self.pair_id) / name

    # -- what is seen ----------------------------------------------------------------------------------------------

    @property
    def _hidden_path(self) -> Path | None:
        folder = self.ctx.conf.evaluate.truth_dir
        return self.ctx.resolve(folder) / "S2_t1_clear.tif" if folder else None

    @property
    def truth_words(self) -> str:
        return "the hidden clear t1" if self._hidden_path else "the observed t1 where clear"

    @property
    def truth_run(self) -> str:
        """Folder name of the maps of the truth."""
        return "hidden" if self._hidden_path else "truth"

    @cached_property
    def before(self) -> Image:
        """(bands, rows, cols) reduced reflectance of t0."""
        return self.see.mean(self._s2(self._first))

    @cached_property
    def change(self) -> Image:
        """(rows, cols) true change, mean over bands of the absolute difference, where the truth is known."""
        found: Image = self.see.mean(self._apart(self._s2(self._first)))[0]
        return found

    def _named(self, image: Image) -> dict[str, Image]:
        return dict(zip(self.bands, image, strict=True))

    def _optical(self, key: str, name: str, group: str, image: Image, caption: str) -> list[View]:
        views = [
            View(
                key,
                name,
                group,
                pictures.true_colour(self._named(image)),
                f"{caption} B04 B03 B02, reflectance 0 to 0.3.",
            )
        ]
        infrared = pictures.false_colour(self._named(image))
        if infrared is not None:
            words = f"{caption} B12 B08 B04, 0 to 0.4, 0.5, 0.3: burns are red, vegetation green."
            views.append(View(f"{key}_ir", f"{name}, infrared", group, infrared, words))
        return views

    def inputs(self) -> list[View]:
        """What the model sees, and the real image of t1."""
        pair = self.pair
        views = self._optical("t0", "S2 t0", "Inputs", self.before, f"Sentinel-2 of {pair.t0}.")
        views += self._radar_views()
        observed = self.see.mean(self._s2(self._second)) if self._second.s2 else np.full_like(self.before, np.nan)
        if np.isfinite(observed).any():
            cloud = self.see.nearest(lambda grid: self._cloud(grid)[None])[0]
            share = float(np.isin(cloud, (1, 2)).mean())
            words = f"Sentinel-2 of {pair.t1} as it was seen, {share:.0%} under cloud or shadow."
            views += self._optical("observed", "S2 t1 observed", "Truth", observed, words)
        if self._hidden_path:
            words = f"The cloud-free t1 ({pair.t1}) of the scene generator, shown to no model."
            hidden = self.see.mean(self._stored(self._hidden_path))
            views += self._optical("hidden", "S2 t1 hidden truth", "Truth", hidden, words)
        return views

    def _radar_views(self) -> list[View]:
        vv, vh = (list(self.index.bands_sar).index(name) for name in ("VV", "VH"))
        median = float(self.pair.ds1_median_db.get("VH", 0.0))
        images, views = [self.see.mean(self._s1(date)) for date in (self._first, self._second)], []
        for key, name, image, day in zip(
            ("s1_t0", "s1_t1"), ("S1 t0", "S1 t1"), images, (self.pair.t0, self.pair.t1), strict=True
        ):
            words = f"Sentinel-1 for {day}: VV red (-25 to 0 dB), VH green (-32.5 to 0 dB), VV-VH blue (0 to 15 dB)."
            views.append(View(key, name, "Inputs", pictures.radar(image[vv], image[vh]), words))
        shown = pictures.radar_change(images[0][vh], images[1][vh], median)
        words = f"VH of t1 minus t0, scene median of {median:+.2f} dB taken out."
        return [*views, View("s1_change", "S1 change", "Inputs", shown, words, ramp=("change", "-6 dB", "+6 dB"))]

    def results(self, run: str) -> list[View]:
        """Simulated image, composite, error and uncertainty of one run, as far as they exist."""
        path = self._mosaic(run, "prediction.tif")
        if not path.is_file():
            return []
        group, read = f"Run {run}", self._stored(path)
        outside = raster.info(path).tags.get("DOMAIN") == "outside"
        words = f"Simulated by {run}; an estimate." + (
            " DOMAIN=outside: unlike the scenes of its training." if outside else ""
        )
        views = self._optical(f"sim:{run}", f"{run}: t1 simulated", group, self.see.mean(read), words)
        is_first = run == self.ctx.conf.train.runs[0].name
        if is_first:
            views += self._composite(run, group)
        views += self._errors(run, group, read, is_first)
        return views + self._doubts(run, group)

    def _composite(self, run: str, group: str) -> list[View]:
        views, path, source = [], self._mosaic(run, "composite.tif"), self._mosaic(run, "source.tif")
        if path.is_file():
            words = "Observed t1 where clear, simulated under cloud and shadow, faded over 5 pixels."
            picture = pictures.true_colour(self._named(self.see.mean(self._stored(path))))
            views.append(
                View(f"mix:{run}", f"{run}: composite", group, picture, f"{words} B04 B03 B02, reflectance 0 to 0.3.")
            )
        if source.is_file():
            views.append(self.codes(
                f"source:{run}", f"{run}: source of the composite", group, source, pictures.SOURCE_RGB,
                ("observed", "simulated", "feathered"), "Where each pixel of the composite comes from; grey is no data.",
            ))  # fmt: skip
        return views

    def _errors(self, run: str, group: str, read: Callable[[Grid], Image], is_first: bool) -> list[View]:
        views = []
        asked = [
            (f"err:{run}", f"{run}: error", group, f"Mean absolute error over bands against {self.truth_words}.", read)
        ]
        if is_first:
            words = f"Error of copying t0 against {self.truth_words}, for comparison."
            asked.append(("err:copy_t0", "copy_t0: error", "Truth", words, self._s2(self._first)))
        for key, name, place, words, image in asked:
            wrong = self.see.mean(self._apart(image))[0]
            shown = pictures.ramp(wrong, 0.0, pictures.ERROR_MAX, "error")
            views.append(View(key, name, place, shown, words, ramp=("error", "0", "0.1 reflectance")))
        return views

    def _doubts(self, run: str, group: str) -> list[View]:
        """Standard deviation and where not to use the image."""
        views, path, abstain = [], self._mosaic(run, "sigma.tif"), self._mosaic(run, "abstain.tif")
        if path.is_file():
            facts = raster.info(path)
            of = {"composite.tif": " of the composite; observed pixels have that of the sensor"}.get(
                facts.tags.get("SIGMA_OF", ""), ""
            )
            spread = self.see.mean(self._stored(path, tuple(facts.band_names))).mean(axis=0)
            views.append(View(
                f"sigma:{run}", f"{run}: sigma", group, pictures.ramp(spread, 0.0, pictures.SIGMA_MAX, "spread"),
                f"Standard deviation that the run expects of its error, mean over bands{of}.", ramp=("spread", "0", "0.1 reflectance"),
            ))  # fmt: skip
        if abstain.is_file():
            limit = raster.info(abstain).tags.get("MAX_SIGMA", "")
            views.append(self.codes(
                f"abstain:{run}", f"{run}: abstain", group, abstain, pictures.ABSTAIN_RGB, ("use", "do not use"),
                f"Where the image should not be used: too uncertain{f' (sigma over {limit})' if limit else ''}, or radar was filled in; grey is no data.",
            ))  # fmt: skip
        return views

    def codes(
        self, key: str, name: str, group: str, path: Path, rgb: Any, names: tuple[str, ...], caption: str, band: Any = 1
    ) -> View:
        """The view of a raster of class codes; band = number or name."""
        codes = self.see.nearest(lambda grid: raster.read_on_grid(path, grid, [band], fill=255))[0]
        legend = tuple(zip(rgb, (name.replace("_", " ") for name in names), strict=False))
        return View(key, name, group, pictures.classes(codes.astype(np.uint8), rgb), caption, legend, is_class=True)


def sheet_path(ctx: Context, pair_id: str) -> Path:
    """Where compare puts the picture of a pair."""
    return ctx.layout.reports / "compare" / f"{pair_id}.png"
