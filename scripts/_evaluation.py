"""What evaluate reads and how a method is put before the judge; the numerics are in utils/science/evaluation.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.tree_scenes import Scenes, day_of
from scripts._context import Context
from scripts._dates import load_dates
from utils.io import acquisitions, mosaics, raster, samples
from utils.science import baselines, evaluation, metrics, metrics_conventions
from utils.workflow.errors import InputError, RefusedError

Image = NDArray[Any]
Method = Callable[[samples.SampleInfo, samples.Sample], Image]


def channel_last(planes: Image) -> Image:
    """(B, H, W) -> (H, W, B)."""
    return np.moveaxis(planes, 0, -1)


def _one_thread() -> Any:
    """One OpenMP thread inside the block. The trees run many short parallel loops: on small tiles and shared
    processors the threads wait for one another (344 tiles of 16 px: 9 s with one thread, 99 s with two on a busy machine).
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="openmp")


class Data:
    """Samples of one set, the train set behind the rivals, and the truths.

    raises  RefusedError for training samples without allow_train, InputError when test and train share a sample
    """

    def __init__(self, ctx: Context, set_name: str, allow_train: bool) -> None:
        if set_name == "train" and not allow_train:
            raise RefusedError(
                "Scores on training samples tell memory, not skill.", "Score the test set, or add --allow-train."
            )
        layout, conf = ctx.layout, ctx.conf
        self.ctx, self.conf, self.layout = ctx, conf, layout
        self.index = samples.load_index(layout.dataset_set(set_name))
        self.train = samples.load_index(layout.dataset_set("train"))
        shared = set(self.index.ids) & set(self.train.ids)
        if shared and set_name != "train":
            raise InputError(
                f"{len(shared)} samples are in train and in {set_name}, first {min(shared)}.", "Run split again."
            )
        if not self.index.samples:
            raise InputError(
                f"The {set_name} set is empty.", "Change split.shares or split.block_tiles, then run split."
            )
        self.bands = self.index.bands_optical
        burned, judge = conf.burned, conf.evaluate
        self.settings = evaluation.Settings(
            self.bands,
            judge.changed_threshold,
            burned.dndvi_edges,
            burned.dnbr_edges,
            burned.dndvi_burned,
            burned.dnbr_burned,
        )
        self._facts: dict[str, Scenes] = {}
        self.hidden = ctx.resolve(judge.truth_dir) / "S2_t1_clear.tif" if judge.truth_dir else None

    # -- truths ------------------------------------------------------------------------------------------------

    def block(self, info: samples.SampleInfo) -> str:
        """What the bootstrap draws: a block of the ground at one t1, so that dates are drawn as well."""
        pair = self.index.pairs[info.pair]
        return f"{pair.site}/{info.block}/{pair.date2}"

    def observed_truth(self, sample: samples.Sample) -> evaluation.Truth:
        """Clear pixels of the real t1 inside the valid window."""
        return evaluation.truth_of(self.settings, sample.s2_t0, sample.s2_t1, sample.window & sample.clear_t1)

    def hidden_truth(self, info: samples.SampleInfo, sample: samples.Sample) -> evaluation.Truth | None:
        """The simulator's clear t1, under cloud too; None without one."""
        if self.hidden is None:
            return None
        grid = self.index.pairs[info.pair].grid.window(info.window)
        clear = channel_last(mosaics.read_reflectance(self.hidden, self.bands, grid))
        under = {"under_cloud": np.isin(sample.cloud_t1, (1, 2))}
        return evaluation.truth_of(self.settings, sample.s2_t0, clear, sample.window, under)

    # -- methods -----------------------------------------------------------------------------------------------

    def inputs(self, info: samples.SampleInfo, sample: samples.Sample, index: samples.DatasetIndex) -> baselines.Inputs:
        """What a rival may see."""
        pair = index.pairs[info.pair]
        shifts = (float(pair.ds1_median_db.get("VV", 0.0)), float(pair.ds1_median_db.get("VH", 0.0)))
        return baselines.Inputs(
            sample.s1_t0, sample.s1_t1, sample.s2_t0, self.bands, shifts, day_of(pair.t0), day_of(pair.t1),
            self._scenes(index).facts(info.pair),
        )  # fmt: skip

    def _scenes(self, index: samples.DatasetIndex) -> Scenes:
        """Scene facts of a set, kept."""
        if index.name not in self._facts:
            self._facts[index.name] = Scenes(index, samples.reader(index.set_dir))
        return self._facts[index.name]

    def labelled(self) -> Iterator[baselines.Labelled]:
        """Train samples in order of their id."""
        for info in self.train.samples:
            sample = samples.read_sample(self.train.set_dir, info.id)
            mask = sample.window & sample.clear_t1 & sample.clear_t0
            yield baselines.Labelled(self.inputs(info, sample, self.train), sample.s2_t1, mask)

    def predicted(self, run: str) -> Method:
        """Predictions of a run, from pred/<run>/."""

        def read(info: samples.SampleInfo, _: samples.Sample) -> Image:
            return channel_last(raster.read(self.layout.pred(run) / f"{info.id}.tif"))

        return read

    def baseline(self, name: str) -> Method:
        """A rival fitted on the train set."""
        judge, count = self.conf.evaluate, len(self.train.samples)
        try:
            with _one_thread():
                model = baselines.fit(name, self.labelled, count, judge.baseline_pixels, judge.seed)
        except ValueError as error:
            raise InputError(
                f"{name}: {error}.", "Change evaluate.baselines, or give the train set clear samples."
            ) from error

        def predict(info: samples.SampleInfo, sample: samples.Sample) -> Image:
            with _one_thread():
                return model(self.inputs(info, sample, self.index))

        return predict

    def judged(self, predict: Method) -> dict[str, Any]:
        """Figures of a method against the observed and the hidden truth."""
        judges = {"observed": evaluation.Judge(self.settings), "hidden": evaluation.Judge(self.settings)}
        for info in self.index.samples:
            sample = samples.read_sample(self.index.set_dir, info.id)
            image = predict(info, sample)
            truths = {"observed": self.observed_truth(sample), "hidden": self.hidden_truth(info, sample)}
            for name, truth in truths.items():
                if truth is not None:
                    judges[name].add(self.block(info), image, truth)
        return self._figures(judges)

    def _figures(self, judges: dict[str, evaluation.Judge]) -> dict[str, Any]:
        names = ["observed", *(["hidden"] if self.hidden else [])]
        return {name: judges[name].to_json(self.conf.evaluate.bootstrap, self.conf.evaluate.seed) for name in names}

    def rule(self, name: str) -> dict[str, Any]:
        """Burned maps without an optical image: all_burned, or vh_logratio with its threshold from the train set.

        raises  ValueError when no train pixel is burned
        """
        judges = {"observed": evaluation.Judge(self.settings), "hidden": evaluation.Judge(self.settings)}
        fitted: dict[str, baselines.VhLogRatio] = {}
        for index in self.settings.indices if name == "vh_logratio" else ():
            fitted[index] = baselines.fit_vh_logratio(self._burned_train(index))
        for info in self.index.samples:
            sample = samples.read_sample(self.index.set_dir, info.id)
            seen = self.inputs(info, sample, self.index)
            truths = {"observed": self.observed_truth(sample), "hidden": self.hidden_truth(info, sample)}
            for index in self.settings.indices:
                codes = fitted[index].burned(seen) if fitted else np.ones(sample.window.shape, np.uint8)
                for key, truth in truths.items():
                    if truth is not None:
                        judges[key].add_map(self.block(info), index, codes, truth)
        result = self._figures(judges)
        return result | {"fitted": {index: dict(rule.to_json()) for index, rule in fitted.items()}}

    def _burned_train(self, index: str) -> Iterator[tuple[baselines.Inputs, NDArray[np.uint8]]]:
        for sample in self.labelled():
            truth = evaluation.truth_of(self.settings, sample.inputs.s2_t0, sample.s2_t1, sample.mask)
            yield sample.inputs, np.where(truth.mask, truth.burned[index], 255).astype(np.uint8)

    def conventions(self, name: str, predict: Method) -> dict[str, float]:
        """Mean over test samples of the figures of another paper's scorer; samples without clear pixels left out."""
        rows = []
        for info in self.index.samples:
            sample = samples.read_sample(self.index.set_dir, info.id)
            mask = sample.window & sample.clear_t1
            if mask.any():
                image, target = np.nan_to_num(predict(info, sample)), np.nan_to_num(sample.s2_t1)
                rows.append(metrics_conventions.score_as(name, image, target, mask))
        return {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]} if rows else {}

    # -- whole rasters -----------------------------------------------------------------------------------------

    def rasters(self) -> dict[str, Any]:
        """copy_t0 over the whole preprocessed images of every pair, bands of dataset.s2_bands: all pixels, and those
        clear at both dates."""
        everything = samples.load_index(self.layout.dataset_set("all"))
        dates = load_dates(self.conf, self.layout)
        root, bands = self.layout.preprocessed_root, self.conf.dataset.s2_bands

        @lru_cache(maxsize=24)
        def load(date: str, grid: Any) -> tuple[Image, NDArray[np.uint8]]:
            products = dates[date].s2
            image = acquisitions.read_planes(root, "sentinel2", products, bands, grid)
            return image, acquisitions.read_cloud(root, products, grid)

        pairs: dict[str, dict[str, dict[str, float]]] = {"all": {}, "clear": {}}
        for name in sorted(everything.pairs):
            pair = everything.pairs[name]
            (first, cloud0), (second, cloud1) = load(pair.date1, pair.grid), load(pair.date2, pair.grid)
            for key, mask in (("all", np.ones(pair.grid.shape, bool)), ("clear", (cloud0 == 0) & (cloud1 == 0))):
                scores = evaluation.copy_scores(first, second, mask, bands).scores()
                pairs[key][name] = {figure: scores[figure] for figure in ("pixels", "mae", "rmse", "sam_deg")}
        result = {
            key: {"bands": bands, "pairs": value, **_summary(list(value.values()))} for key, value in pairs.items()
        }
        return dict(evaluation.plain({"rasters": result}))

    def facts(self) -> dict[str, Any]:
        """What was scored, for the head of the table."""
        return {
            "set": self.index.name,
            "samples": len(self.index.samples),
            "train_samples": len(self.train.samples),
            "pairs": len({info.pair for info in self.index.samples}),
            "blocks": len({self.block(info) for info in self.index.samples}),
            "bands": list(self.bands),
            "synthetic": self.conf.report.synthetic,
            "hidden_truth": self.hidden is not None,
            "changed_threshold": self.conf.evaluate.changed_threshold,
        }


def _summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean over pairs, and pooled over pixels (PSNR of the pooled and of the mean MSE)."""
    used = [row for row in rows if row["pixels"] > 0]
    if not used:
        return {"count": 0.0}
    weights = np.array([row["pixels"] for row in used])
    mae, mse = np.array([row["mae"] for row in used]), np.array([row["rmse"] for row in used]) ** 2
    return {
        "count": float(len(used)),
        "mean_mae": float(mae.mean()),
        "pooled_mae": float((weights * mae).sum() / weights.sum()),
        "psnr_mean_mse": float(metrics.psnr_from_mse(mse.mean())),
        "pooled_psnr": float(metrics.psnr_from_mse((weights * mse).sum() / weights.sum())),
        "mean_sam_deg": float(np.mean([row["sam_deg"] for row in used])),
    }
