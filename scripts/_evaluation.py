"""What evaluate reads and how a method is put before the judge; the numerics are in utils/science/evaluation.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.tree_scenes import Scenes, day_of
from scripts._context import Context
from scripts._predictions import Predictions
from scripts._strata import Masks, SampleStrata
from utils.io import mosaics, samples
from utils.science import baselines, evaluation, metrics_conventions
from utils.science.sigma_scores import SigmaJudge
from utils.science.strict_scores import LARGE_CHANGE
from utils.workflow.errors import InputError, RefusedError

Image = NDArray[Any]
Truths = dict[str, evaluation.Truth]
Method = Callable[[samples.SampleInfo, samples.Sample], Image]
_KEPT_BYTES = 1 << 28  # samples and truths that stay in memory from one method to the next


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
        self._strata = SampleStrata(ctx, self.index)
        count = len(self.train.samples)
        self._fitter = baselines.Fitter(self.labelled, count, judge.baseline_pixels, judge.seed)
        room = _KEPT_BYTES // (self.index.size_px**2 * (len(self.bands) * 32 + 128))
        self._load = lru_cache(maxsize=max(1, room))(self._read)

    # -- truths ------------------------------------------------------------------------------------------------

    def block(self, info: samples.SampleInfo) -> str:
        """What the bootstrap draws: a block of the ground at one t1, so that dates are drawn as well."""
        pair = self.index.pairs[info.pair]
        return f"{pair.site}/{info.block}/{pair.date2}"

    def _read(self, info: samples.SampleInfo) -> tuple[samples.Sample, Truths]:
        """A sample with its truths: observed, and hidden where a generated scene has one."""
        sample = samples.read_sample(self.index.set_dir, info.id)
        named = self._strata.of(info)
        mask = sample.window & sample.clear_t1
        truths = {"observed": evaluation.truth_of(self.settings, sample.s2_t0, sample.s2_t1, mask, named)}
        if self.hidden is not None:
            truths["hidden"] = self._hidden_truth(info, sample, named)
        return sample, truths

    def _hidden_truth(self, info: samples.SampleInfo, sample: samples.Sample, named: Masks) -> evaluation.Truth:
        """The simulator's clear t1, under cloud too."""
        grid = self.index.pairs[info.pair].grid.window(info.window)
        clear = channel_last(mosaics.read_reflectance(self.hidden, self.bands, grid))  # type: ignore[arg-type]
        under = {"under_cloud": np.isin(sample.cloud_t1, (1, 2))}
        return evaluation.truth_of(self.settings, sample.s2_t0, clear, sample.window, under | named)

    def loaded(self) -> Iterator[tuple[samples.SampleInfo, samples.Sample, Truths]]:
        """Samples of the set in order, with their truths."""
        for info in self.index.samples:
            yield info, *self._load(info)

    def check(self, runs: Sequence[str]) -> None:
        """raises  InputError when predictions of a run cannot be judged, or no sample has a pixel to judge"""
        for run in runs:
            self.predictions(run).check()
        if not any(truth.mask.any() for _, _, truths in self.loaded() for truth in truths.values()):
            raise InputError(
                f"No {self.index.name} sample has a pixel that is clear at t1 and known at t0: nothing can be scored.",
                "Choose a t1 with less cloud (dates, search.max_cloud), or other split.shares, and run split again.",
            )

    # -- methods -----------------------------------------------------------------------------------------------

    def inputs(self, info: samples.SampleInfo, sample: samples.Sample, index: samples.DatasetIndex) -> baselines.Inputs:
        """What a rival may see."""
        pair = index.pairs[info.pair]
        shifts = (float(pair.ds1_median_db.get("VV", 0.0)), float(pair.ds1_median_db.get("VH", 0.0)))
        return baselines.Inputs(
            sample.s1_t0, sample.s1_t1, sample.s2_t0, self.bands, shifts, day_of(pair.t0), day_of(pair.t1),
            self._scenes(index).facts(info.pair), sample.window,
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

    def predictions(self, run: str) -> Predictions:
        """What pred/<run>/ holds for this set."""
        return Predictions(self.layout.pred(run), run, self.index, self.ctx.conf_path)

    def predicted(self, run: str) -> Method:
        """Predictions of a run."""
        store = self.predictions(run)
        return lambda info, _: store.read(info)

    def baseline(self, name: str) -> Method:
        """A rival fitted on the train set."""
        try:
            with _one_thread():
                model = self._fitter.fit(name)
        except ValueError as error:
            raise InputError(
                f"{name}: {error}.", "Change evaluate.baselines, or give the train set clear samples."
            ) from error

        def predict(info: samples.SampleInfo, sample: samples.Sample) -> Image:
            with _one_thread():
                return model(self.inputs(info, sample, self.index))

        return predict

    def note(self, name: str) -> dict[str, str]:
        """What has to be said beside the figures of a method."""
        used = {info.pair for info in self.train.samples}
        days = {(self.train.pairs[pair].t0, self.train.pairs[pair].t1) for pair in used}
        if name == "season_only" and len(days) == 1:
            return {"note": "one pair of dates trains: the calendar is constant, and what is left is S2(t0) alone"}
        return {}

    def judged(self, predict: Method) -> dict[str, Any]:
        """Figures of a method against the observed and the hidden truth."""
        judges = self._judges()
        for info, sample, truths in self.loaded():
            image = predict(info, sample)
            for name, truth in truths.items():
                judges[name].add(self.block(info), image, truth)
        return self._figures(judges)

    def judged_sigma(self, run: str) -> dict[str, dict[str, Any]]:
        """truth -> {"sigma": figures} of a run that wrote its standard deviation; empty for another."""
        store, judge = self.predictions(run), self.conf.evaluate
        if not store.has_sigma:
            return {}
        pieces, width = len(self.index.samples), store.width_95()
        judges = {name: SigmaJudge(pieces, judge.seed, width_95=width) for name in self.truths}
        for info, _, truths in self.loaded():
            image, sigma = store.read(info), store.read_sigma(info)
            for name, truth in truths.items():
                judges[name].add(self.block(info), image, sigma, truth)
        return {name: {"sigma": one.to_json(judge.bootstrap, judge.seed)} for name, one in judges.items()}

    @property
    def truths(self) -> tuple[str, ...]:
        return ("observed", "hidden") if self.hidden else ("observed",)

    def _judges(self) -> dict[str, evaluation.Judge]:
        return {name: evaluation.Judge(self.settings) for name in self.truths}

    def _figures(self, judges: dict[str, evaluation.Judge]) -> dict[str, Any]:
        return {
            name: one.to_json(self.conf.evaluate.bootstrap, self.conf.evaluate.seed) for name, one in judges.items()
        }

    def rule(self, name: str) -> dict[str, Any]:
        """Burned maps without an optical image: all or none burned, or vh_logratio with its threshold from train.

        raises  ValueError when no train pixel is burned
        """
        judges = self._judges()
        fitted: dict[str, baselines.VhLogRatio] = {}
        for index in self.settings.indices if name == "vh_logratio" else ():
            fitted[index] = baselines.fit_vh_logratio(self._burned_train(index))
        for info, sample, truths in self.loaded():
            seen = self.inputs(info, sample, self.index)
            constant = np.full(sample.window.shape, int(name == "all_burned"), np.uint8)
            for index in self.settings.indices:
                codes = fitted[index].burned(seen) if fitted else constant
                for key, truth in truths.items():
                    judges[key].add_map(self.block(info), index, codes, truth)
        result = self._figures(judges)
        return result | {"fitted": {index: dict(rule.to_json()) for index, rule in fitted.items()}}

    def _burned_train(self, index: str) -> Iterator[tuple[baselines.Inputs, NDArray[np.uint8]]]:
        for sample in self.labelled():
            truth = evaluation.truth_of(self.settings, sample.inputs.s2_t0, sample.s2_t1, sample.mask)
            yield sample.inputs, np.where(truth.mask, truth.burned[index], 255).astype(np.uint8)

    def conventions(self, name: str, truth: str, predict: Method) -> tuple[int, dict[str, float]]:
        """Figures of another paper's scorer, averaged over the samples that it can score, and their number.

        Scorers without a mask take samples whose truth and prediction are whole and clear; the others those with a pixel.
        """
        rows: list[dict[str, float]] = []
        for info, sample, truths in self.loaded():
            true, image = truths[truth], predict(info, sample)
            mask = true.mask & np.isfinite(image).all(axis=-1)
            whole = np.isfinite(image).all(axis=-1) & np.isfinite(true.s2_t1).all(axis=-1)
            whole &= sample.clear_t1 | (truth == "hidden")
            if not (mask.any() if name in metrics_conventions.MASKED else whole.all()):
                continue
            seen = sample.clear_t0 & sample.clear_t1
            for date in sample.earlier:
                seen &= date.clear
            classes = {k.removeprefix("class:"): v for k, v in true.strata.items() if k.startswith("class:")}
            pair = np.nan_to_num(image), np.nan_to_num(true.s2_t1)
            rows.append(metrics_conventions.score_as(name, *pair, mask, clear=seen, classes=classes))
        keys = list(dict.fromkeys(key for row in rows for key in row))
        values = {key: np.array([row.get(key, np.nan) for row in rows]) for key in keys}
        return len(rows), {
            key: float(np.mean(v[~np.isnan(v)])) if (~np.isnan(v)).any() else np.nan for key, v in values.items()
        }

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
            "large_change": LARGE_CHANGE,
        }
