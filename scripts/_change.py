"""The detector of stage change, its maps of one pair in stripes, scores and picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts import _areas
from scripts._context import Context
from scripts._dates import load_dates
from utils.io import acquisitions, class_raster, map_pictures, mosaics, pictures, samples
from utils.science import change, composite, metrics
from utils.science.grid import Grid, Window
from utils.workflow.errors import ConfigError, InputError

Codes = NDArray[np.uint8]
Image = NDArray[Any]
STRATA = ("all", "changed", "unchanged")
COLOURS = ((60, 60, 75), (255, 190, 60))
NAMES = {0: "unchanged", 1: "changed"}
_STRIPE_ROWS = 1024


class Detector:
    """Fitted on train samples where both dates are clear.

    raises  ConfigError for a band that is not there, InputError when nothing can be fitted
    """

    def __init__(self, ctx: Context) -> None:
        train = samples.load_index(ctx.layout.dataset_set("train"))
        self.bands = ctx.conf.change.bands or train.bands_optical
        absent = sorted(set(self.bands) - set(train.bands_optical))
        if absent:
            raise ConfigError(
                f"change.bands: {', '.join(absent)} not among the bands of the dataset, {', '.join(train.bands_optical)}.",
                "Correct change.bands, or add the band to dataset.extra_bands and run from tile on.",
            )
        at = [train.bands_optical.index(band) for band in self.bands]
        window, vh = ctx.conf.change.vh_window_px, train.bands_sar.index("VH") if "VH" in train.bands_sar else None
        differences, ratios = [], []
        for info in train.samples:
            sample = samples.read_sample(train.set_dir, info.id)
            known = (sample.window & sample.clear_t0 & sample.clear_t1)[..., None]
            pair = [
                np.moveaxis(np.where(known, image[..., at], np.nan), -1, 0) for image in (sample.s2_t0, sample.s2_t1)
            ]
            differences.append(change.absolute_difference(*pair))
            if vh is not None:
                median = float(train.pairs[info.pair].ds1_median_db.get("VH", 0.0))
                ratio = change.log_ratio_db(sample.s1_t0[..., vh], sample.s1_t1[..., vh], window, median)
                ratios.append(np.abs(ratio[sample.window]))
        try:
            self.model = change.fit(differences, self.bands, ctx.conf.change.seed)
            self.vh_db = change.otsu(np.concatenate(ratios)) if ratios else None
        except ValueError as error:
            raise InputError(
                f"The change detector cannot be fitted on the train samples: {error}.",
                "Change split.shares, or choose dates between which something changed.",
            ) from error

    def to_json(self) -> dict[str, Any]:
        return {**self.model.to_json(), "vh_threshold_db": self.vh_db}


class Pair:
    """Images of one pair on its grid, read in stripes."""

    def __init__(self, ctx: Context, pair_id: str, bands: tuple[str, ...]) -> None:
        index = samples.load_index(ctx.layout.dataset_set("all"))
        self.ctx, self.id, self.bands, self.pair = ctx, pair_id, bands, index.pairs[pair_id]
        self.grid, self.root = self.pair.grid, ctx.layout.preprocessed_root
        dates = load_dates(ctx.conf, ctx.layout)
        self.before, self.after = dates[self.pair.date1], dates[self.pair.date2]
        self.hidden = (
            ctx.resolve(ctx.conf.evaluate.truth_dir) / "S2_t1_clear.tif" if ctx.conf.evaluate.truth_dir else None
        )

    def t0(self, part: Grid) -> Image:
        image = acquisitions.read_planes(self.root, "sentinel2", self.before.s2, self.bands, part)
        image[:, np.isin(acquisitions.read_cloud(self.root, self.before.s2, part), composite.HIDDEN_CODES)] = np.nan
        return image

    def truth(self, part: Grid) -> Image:
        path = self.hidden or self.ctx.layout.mosaic("truth", self.id) / "truth.tif"
        return mosaics.read_reflectance(path, self.bands, part)

    def simulated(self, run: str) -> Callable[[Grid], Image]:
        path = self.ctx.layout.mosaic(run, self.id) / "prediction.tif"
        return lambda part: mosaics.read_reflectance(path, self.bands, part)

    def stripes(self, halo: int) -> Iterator[tuple[slice, slice, Grid]]:
        """Rows of the pair, where they lie in the grid that is read for them, and that grid."""
        for top in range(0, self.grid.rows, _STRIPE_ROWS):
            end = min(top + _STRIPE_ROWS, self.grid.rows)
            first, last = max(top - halo, 0), min(end + halo, self.grid.rows)
            part = self.grid.window(Window(first, 0, last - first, self.grid.cols))
            yield slice(top, end), slice(top - first, end - first), part

    def radar(self, threshold_db: float) -> Codes:
        """Change map of VH, in stripes."""
        folder, window = self.ctx.conf.preprocess.sar_folder, self.ctx.conf.change.vh_window_px
        median = float(self.pair.ds1_median_db.get("VH", 0.0))
        out = np.full(self.grid.shape, change.NODATA, np.uint8)
        for rows, inner, part in self.stripes(window):
            before, after = (
                acquisitions.read_planes(self.root, folder, date.s1, ["gamma0_vh"], part)[0]
                for date in (self.before, self.after)
            )
            out[rows] = change.from_log_ratio(change.log_ratio_db(before, after, window, median), threshold_db)[inner]
        return out


def make(ctx: Context, item: Any, detector: Detector, runs: list[str]) -> None:
    """Maps, scores and picture of one pair."""
    pair = Pair(ctx, item.id, detector.bands)
    test = samples.load_index(ctx.layout.dataset_set("test"))
    chosen = [sample for sample in test.samples if sample.pair == item.id]
    scored = _areas.numbered_blocks(chosen, pair.grid.shape) >= 0
    maps, facts = _detect(pair, detector, runs, scored)
    if detector.vh_db is not None:
        maps["radar"] = pair.radar(detector.vh_db)
    if not (maps["truth"] != change.NODATA).any():
        raise InputError(
            f"{item.id}: no pixel is clear at t0 and known at t1.", "Choose other dates, or set evaluate.truth_dir."
        )
    for name, codes in maps.items():
        tags = ctx.tags("1 changed, 0 unchanged, 255 nodata", [], PAIR=item.id, MODEL=name)
        path = item.output(ctx.layout.change(name, item.id) / "change.tif")
        class_raster.write(path, codes, pair.grid, "CHANGE", NAMES, COLOURS, tags)
    own = {name: codes for name, codes in maps.items() if name != "truth"}
    item.data |= facts | {
        "maps": {name: change.map_figures(maps["truth"], codes, scored) for name, codes in own.items()}
    }
    _picture(ctx, item, maps, pair)


def _detect(
    pair: Pair, detector: Detector, runs: list[str], scored: NDArray[np.bool_]
) -> tuple[dict[str, Codes], dict[str, Any]]:
    """Change maps of the true pair and of every run, and scores of the images beside copy_t0 on test ground.

    In stripes with a halo: the same codes as in one piece, every raster read once.
    """
    maps = {name: np.full(pair.grid.shape, change.NODATA, np.uint8) for name in ("truth", *runs)}
    sums = {name: {stratum: np.zeros(2) for stratum in STRATA} for name in ("copy_t0", *runs)}
    counts = np.zeros(3)  # test pixels, changed ones, and those on which the threshold of evaluate says the same
    for rows, inner, part in pair.stripes(change.HALO_PX):
        before = pair.t0(part)
        images = {"truth": pair.truth(part), **{run: pair.simulated(run)(part) for run in runs}}
        for name, image in images.items():
            maps[name][rows] = detector.model.apply(change.absolute_difference(before, image))[inner]
        seen = maps["truth"][rows]
        strata = {"all": seen != change.NODATA, "changed": seen == 1, "unchanged": seen == 0}
        after = images["truth"][:, inner]
        for name, parts in sums.items():
            image = images.get(name, before)[:, inner]
            for stratum, where in strata.items():
                parts[stratum] += change.image_sums(image, after, where & scored[rows])
        first, second = np.moveaxis(before[:, inner], 0, -1), np.moveaxis(after, 0, -1)
        moved = metrics.changed_mask(first, second, pair.bands, pair.ctx.conf.evaluate.changed_threshold)
        known = strata["all"] & scored[rows]
        counts += [known.sum(), (strata["changed"] & known).sum(), (((seen == 1) == moved) & known).sum()]
    total = int(counts[0])
    return maps, {
        "truth": "hidden" if pair.hidden else "observed", "test_pixels": total,
        "changed_share": counts[1] / total if total else None,
        "agrees_with_threshold": counts[2] / total if total else None,
        "images": {name: {stratum: change.image_figures(part) for stratum, part in made.items()} for name, made in sums.items()},
    }  # fmt: skip


def table(pair: str, data: dict[str, Any]) -> list[str]:
    """Lines for the terminal."""
    if not data["test_pixels"]:
        return [f"{pair}: no test sample, so no scores"]
    lines = [
        f"{pair}: {data['changed_share']:.1%} of the test ground changed (PCA and k-means of the true pair, {data['truth']} t1)",
        f"{'':<16}{'PSNR all':>10}{'changed':>10}{'unchanged':>11}{'map F1':>10}{'kappa':>8}{'mapped':>9}",
    ]
    for name in dict.fromkeys([*data["images"], *data["maps"]]):
        image, own = data["images"].get(name, {}), data["maps"].get(name, {})
        psnr = [_number(image.get(stratum, {}).get("psnr"), 2) for stratum in STRATA]
        share = own["mapped"] if own else None
        lines.append(
            f"{name:<16}{psnr[0]:>10}{psnr[1]:>10}{psnr[2]:>11}{_number(own.get('f1'), 2):>10}{_number(own.get('kappa'), 2):>8}"
            f"{'-' if share is None else f'{share:.1%}':>9}"
        )
    return lines


def _number(value: Any, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _picture(ctx: Context, item: Any, maps: dict[str, Codes], pair: Pair) -> None:
    panels = []
    for name, codes in maps.items():
        words = {"truth": f"true pair ({item.data['truth']} t1)", "radar": "VH log ratio, Otsu"}.get(
            name, f"simulated by {name}"
        )
        shares = [float((codes[codes != 255] == code).mean()) if (codes != 255).any() else 0.0 for code in (0, 1)]
        figures = item.data["maps"].get(name)
        note = (
            f"   F1 {_number(figures['f1'], 2)}, kappa {_number(figures['kappa'], 2)} on test ground" if figures else ""
        )
        keys = [(COLOURS[0], f"unchanged {shares[0]:.1%}"), (COLOURS[1], f"changed {shares[1]:.1%}{note}")]
        panels.append(map_pictures.Panel(words, pictures.classes(codes, COLOURS), keys))
    note = (
        "synthetic. " if ctx.conf.report.synthetic else ""
    ) + "PCA and k-means of |t0 - t1|, fitted on train samples."
    path = item.output(ctx.layout.work / "change" / f"{item.id}.png")
    map_pictures.write(path, panels, f"Change, {item.id}", note, max_px=500)
