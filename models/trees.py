"""Boosted trees, alone or with a pixel network, as models of the registry: trained, predicted and scored by the same commands as the networks.

No accelerator, no pickle: model.npz holds the nodes, model_card.json what they read. Outside the landscape of the
training the model says so (DOMAIN=outside) and falls back to features that identify no place, scaled down.
"""

from __future__ import annotations

import datetime as dt
import io
import logging
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import tree_gate, tree_net
from models.config import ModelConf, TrainConf
from models.inputs import RawSample
from models.run import RunFolder, load_card, write_card, write_history
from models.tree_gate import Gate
from models.tree_net import ResModel, facts_of_net, net_of, recipe_of
from models.tree_scenes import Data, Ground, Place, Scenes, day_of, draw_rows
from utils.science import gated, res_features, strict_rows
from utils.science.pixel_net import NetRecipe
from utils.science.res_features import SceneFacts, View
from utils.science.strict import date_groups
from utils.science.strict_places import OUTSIDE_SHRINK, Range, range_of
from utils.science.strict_rows import Pair, Rows, Sheet
from utils.science.trees import Forest, Recipe, fit_bands, predict_bands
from utils.workflow.errors import ConfigError, InputError, NothingFoundError
from utils.workflow.files import atomic_bytes

F32 = NDArray[np.float32]
Matrix = NDArray[np.float64]

KIND = "trees"
GUARD_DAYS, MIN_GROUPS, MAX_FOLDS = 15, 3, 5
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class TreeModel:
    """All that a run holds.

    res            predicts the change inside the landscape of the training
    relative       forests of the change outside it, one a band
    shrink         factor of the change inside the landscape, fitted on what res had not seen
    gate           bag and gate that take the place of res times shrink inside the landscape, or None
    range, ground  scene means, and where the scenes of the training lie: what counts as inside needs both, because
                   means of many dates hold those of quite another landscape (docs/results.md)
    """

    bands: tuple[str, ...]
    res: ResModel
    relative: tuple[Forest, ...]
    shrink: float
    range: Range
    ground: tuple[Ground, ...]
    gate: Gate | None = None

    def inside(self, facts: SceneFacts, ground: Ground) -> bool:
        """True near a training scene with scene means in the range of the training."""
        return any(ground.near(known) for known in self.ground) and self.range.holds(facts)

    def predict(self, view: View, ground: Ground) -> F32:
        """(H, W, n) reflectance of t1, NaN where S2(t0) or the radar of either date has no data; not below 0."""
        planes = res_features.planes_of(view)
        if not self.inside(res_features.scene_facts(view), ground):
            names = res_features.names_of("relative", self.bands)
            change = OUTSIDE_SHRINK * predict_bands(self.relative, res_features.columns(planes, names))
        elif self.gate is not None:
            names = strict_rows.all_names(self.bands, tree_gate.FEATURES)
            change = self.gate.predict(Sheet(names, self.bands, res_features.columns(planes, names)))
        else:
            names = res_features.names_of("res", self.bands)
            change = self.shrink * self.res.predict(res_features.columns(planes, names))
        image = np.maximum(np.asarray(view.s2_t0, np.float64) + change.reshape(view.s2_t0.shape), 0.0)
        radar = [np.isfinite(image_s1).all(axis=-1) for image_s1 in (view.s1_t0, view.s1_t1)]
        good = np.asarray(np.isfinite(view.s2_t0).all(axis=-1) & radar[0] & radar[1])
        return np.where(good[..., None], image, np.nan).astype(np.float32)

    def to_bytes(self) -> bytes:
        """The .npz: equal models give equal bytes."""
        arrays = self.res.to_arrays(self.bands)
        for band, forest in zip(self.bands, self.relative, strict=True):
            arrays |= forest.to_arrays(f"relative.{band}")
        arrays |= {} if self.gate is None else self.gate.to_arrays(self.bands)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(arrays):
                entry = io.BytesIO()
                np.lib.format.write_array(entry, np.asanyarray(arrays[name]), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy", _FIXED_DATE), entry.getvalue())
        return file.getvalue()

    @classmethod
    def load(cls, folder: Path) -> TreeModel:
        """raises  InputError when the run is missing, damaged or not one of trees"""
        run = RunFolder(folder)
        card = load_card(run)
        try:
            own, bands = card["trees"], tuple(card["bands"])
            with np.load(run.trees, allow_pickle=False) as data:
                res = ResModel.from_arrays(data, bands)
                relative = tuple(Forest.from_arrays(data, f"relative.{band}") for band in bands)
                gate = Gate.from_arrays(data, own["bag"], bands) if own.get("bag") else None
            limits = Range(tuple(own["range"]["low"]), tuple(own["range"]["high"]))
            ground = tuple(Ground(**one) for one in own["ground"])
            return cls(bands, res, relative, float(own["shrink"]), limits, ground, gate)
        except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{run.trees}: not a readable model ({error}).", "Train the run again.") from error


def fit_model(
    scenes: Scenes, ids: Sequence[str], val: tuple[Scenes, Sequence[str]] | None, model: ModelConf, seed: int
) -> TreeModel:
    """Fit the trees on samples.

    Gate and shrink factor come from t1 dates left out in turn where the training has three groups of them or more. With
    fewer there is no gate, and the factor comes from the validation samples, else it is 1.
    raises  NothingFoundError when no sample has a clear pixel
    """
    own, recipe, net = model.trees, recipe_of(model), net_of(model)
    try:
        rows = draw_rows(scenes, ids, own.pixels, seed)
        limits = range_of([scenes.facts(pair) for pair in sorted({scenes.owner(name) for name in ids})])
    except ValueError as error:
        raise NothingFoundError(f"The training set: {error}.", "See the counts of build_dataset and split.") from error
    sheet = Sheet(rows.names, rows.bands, rows.x)
    res = tree_net.fit(sheet.of_set("res"), rows.y, recipe, net, seed)
    relative = fit_bands(sheet.of_set("relative"), rows.y, recipe, seed)
    held_out = _held_out(rows, scenes)
    gate, factor = None, None
    if own.gate and net is None and set(scenes.bands) >= tree_gate.BANDS_NEEDED:
        gate, factor = tree_gate.fit(rows, held_out, recipe, own.pixels, seed) or (None, None)
    else:
        factor = _shrink(rows, held_out, (recipe, net), own.pixels, seed)
    if factor is None and val is not None and val[1]:
        unseen = draw_rows(val[0], val[1], own.pixels // 2, seed)
        mean = res.predict(Sheet(unseen.names, unseen.bands, unseen.x).of_set("res"))
        factor = gated.shrink(mean, unseen.y.astype(np.float64))
    factor = 1.0 if factor is None else factor
    ground = {scenes.ground(pair): None for pair in sorted({scenes.owner(name) for name in ids})}
    return TreeModel(scenes.bands, res, relative, factor, limits, tuple(ground), gate)


def _held_out(rows: Rows, scenes: Scenes) -> list[tuple[set[Pair], set[Pair]]]:
    """Samples that stay in and samples that are predicted, for groups of t1 dates in turn; none with fewer than three.

    Samples with a date (t0 or t1) within the guard of a group stay out of both.
    """
    days = {pair: tuple(day_of(text) for text in scenes.dates(pair[0])) for pair in rows.pairs}
    groups = date_groups((day[1] for day in days.values() if day[1] is not None), GUARD_DAYS)
    if len(groups) < MIN_GROUPS:
        return []
    parts = [tuple(day for group in groups[i::MAX_FOLDS] for day in group) for i in range(min(MAX_FOLDS, len(groups)))]
    return [
        (
            {pair for pair, both in days.items() if all(_distant(day, held) for day in both)},
            {pair for pair, both in days.items() if both[1] in held},
        )
        for held in parts
    ]


def _shrink(
    rows: Rows,
    held_out: list[tuple[set[Pair], set[Pair]]],
    recipes: tuple[Recipe, NetRecipe | None],
    pixels: int,
    seed: int,
) -> float | None:
    """Shrink factor from predictions of dates that the model had not seen; None without such dates."""
    means, truths = [], []
    for away, tested in held_out:
        at, test = rows.of_pairs(away, pixels // 3), rows.of_pairs(tested, pixels // 3)
        if not len(at) or not len(test):
            continue
        fitted = tree_net.fit(rows.sheet(at).of_set("res"), rows.y[at], *recipes, seed)
        means.append(fitted.predict(rows.sheet(test).of_set("res")))
        truths.append(rows.y[test].astype(np.float64))
    return gated.shrink(np.concatenate(means), np.concatenate(truths)) if means else None


def _distant(day: dt.date | None, held: Sequence[dt.date]) -> bool:
    return day is not None and all(abs((day - other).days) > GUARD_DAYS for other in held)


def _chosen(ids: Sequence[str], limit: int, seed: int) -> list[str]:
    """At most `limit` samples, drawn once, sorted."""
    ordered = sorted(ids)
    if len(ordered) <= limit:
        return ordered
    return sorted(ordered[i] for i in np.random.default_rng((seed, 23)).permutation(len(ordered))[:limit])


def train(
    name: str,
    run: RunFolder,
    yamls: tuple[Path, Path],
    confs: tuple[ModelConf, TrainConf],
    sets: tuple[Data, Data],
    log: logging.Logger,
) -> dict[str, Any]:
    """Fit and write a run folder; returns the validation figures.

    raises  ConfigError for other bands in the two sets, NothingFoundError without a usable sample
    """
    model, conf = confs
    ids = [[s.id for s in data.index.samples if s.trainable] for data in sets]
    if not ids[0]:
        raise NothingFoundError("The training set holds no sample.", "See the counts of build_dataset and split.")
    if tuple(sets[0].index.bands_optical) != tuple(sets[1].index.bands_optical):
        raise ConfigError("The train and the validation set have other bands.", "Build both with one configuration.")
    chosen = _chosen(ids[0], conf.lim_train_tile or model.trees.tiles, conf.seed)
    held = _chosen(ids[1], conf.lim_val_tile or model.trees.tiles, conf.seed)
    scenes, val = (Scenes(data.index, data.read) for data in sets)
    fitted = fit_model(scenes, chosen, (val, held), model, conf.seed)
    figures = scored(fitted, val, held)
    how = "no gate" if fitted.gate is None else f"a bag of {len(fitted.gate.sets)} with a gate"
    how = "averaged with a pixel network" if fitted.res.net is not None else how
    log.info("%s: trees on %d samples, %s, shrink factor %.2f", name, len(chosen), how, fitted.shrink)
    run.path.mkdir(parents=True, exist_ok=True)
    run.model.unlink(missing_ok=True)  # of a network that had this name
    for source, target in zip(yamls, (run.model_yaml, run.train_yaml), strict=True):
        atomic_bytes(target, source.read_bytes())
    atomic_bytes(run.trees, fitted.to_bytes())
    write_history(
        run, [{"step": model.trees.iterations, "epoch": 1, "tiles": len(chosen), "train": {}, "val": figures}]
    )
    write_card(run, _card(name, model, fitted, scenes, (len(chosen), len(held)), figures))
    return {"step": model.trees.iterations, **figures}


def _card(
    name: str,
    model: ModelConf,
    fitted: TreeModel,
    scenes: Scenes,
    counts: tuple[int, int],
    figures: Mapping[str, float],
) -> dict[str, Any]:
    nodes = sum(len(forest.arrays["value"]) for forest in (*fitted.res.forests, *fitted.relative))
    return {
        "name": name, "model": model.model, "kind": KIND, "bands": list(fitted.bands), "bands_sar": list(scenes.index.bands_sar),
        "parameters": nodes, "size_px": scenes.index.size_px, "size_multiple": 1, "train_samples": counts[0],
        "val_samples": counts[1], "validation": dict(figures), "units": "surface reflectance, 0..1",
        "trees": {
            "recipe": asdict(recipe_of(model)), "shrink": fitted.shrink, "outside_shrink": OUTSIDE_SHRINK,
            "range": asdict(fitted.range), "ground": [asdict(one) for one in fitted.ground], "scene_means": [*fitted.bands, "NDVI"],
            "net": facts_of_net(model, fitted.res),
            "bag": [] if fitted.gate is None else fitted.gate.sets,
            "features": {name: list(res_features.names_of(name, fitted.bands)) for name in ("res", "relative")},
        },
    }  # fmt: skip


def scored(fitted: TreeModel, scenes: Scenes, ids: Sequence[str]) -> dict[str, float]:
    """mae, psnr, skill_changed and mae_copy_t0 on samples, pooled; empty where nothing is clear."""
    from utils.science import metrics

    scorer, copy = metrics.Scorer(fitted.bands), metrics.Scorer(fitted.bands)
    for name in ids:
        sample = scenes.read(name)
        mask = np.asarray((sample.cloud_t0 == 0) & (sample.cloud_t1 == 0) & sample.window)
        changed = metrics.changed_mask(sample.s2_t0, sample.s2_t1, fitted.bands)
        strata = {"changed": changed & mask, "unchanged": mask & ~changed}
        image = fitted.predict(scenes.view(name, sample), scenes.ground(scenes.owner(name)))
        scorer.add(name, image, sample.s2_t1, mask, reference=sample.s2_t0, strata=strata)
        copy.add(name, sample.s2_t0, sample.s2_t1, mask, reference=sample.s2_t0, strata=strata)
    if "all" not in scorer.strata:
        return {}
    out = {key: scorer.scores()[key] for key in ("mae", "psnr")} | {"mae_copy_t0": copy.scores()["mae"]}
    out |= {f"skill_{part}": scorer.scores(part)["skill"] for part in ("changed", "unchanged")}
    return {key: value for key, value in out.items() if np.isfinite(value)}


class TreePredictor:
    """Prediction from a finished run of trees; the same calls as models.predictor.Predictor."""

    halo_px = 32  # twice the largest radius of the guided filter is 24: nothing farther away changes a pixel

    def __init__(self, folder: Path, index: Any = None, read: Callable[[str], RawSample] | None = None) -> None:
        self.card = load_card(RunFolder(folder))
        self.model = TreeModel.load(folder)
        if index is not None and read is not None:
            self.scenes = Scenes(index, read)

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands in channel order."""
        return self.model.bands

    def check_bands(self, bands_sar: Sequence[str], bands_optical: Sequence[str], dates: int | None = None) -> None:
        """raises  ConfigError naming both when a dataset has other bands than the run, or samples of more than two dates"""
        if dates not in (None, 2):
            raise ConfigError(
                f"boosted trees take samples of 2 dates, the dataset has {dates}.",
                "Choose a network for dataset.dates.",
            )
        mine, theirs = (*self.card["bands_sar"], *self.bands), (*bands_sar, *bands_optical)
        if mine != theirs:
            raise ConfigError(
                f"the run was trained on {', '.join(mine)}, the dataset has {', '.join(theirs)}.",
                "Predict a dataset with the same bands, or train on this one.",
            )

    def tags(self, pair: str) -> dict[str, str]:
        """DOMAIN inside or outside: whether the scene lies near those of the training and looks like them."""
        return self.place_tags(self.scenes.place(pair))

    def place_tags(self, place: Place) -> dict[str, str]:
        """The same of a scene that is no pair of the index."""
        return {"DOMAIN": "inside" if self.model.inside(place.facts, place.ground) else "outside"}

    def predict_part(self, s1_t0: F32, s1_t1: F32, s2_t0: F32, clear_t0: Any, place: Place) -> F32:
        """Simulated t1 of a part of a scene, (h, w, n) reflectance; right where `halo_px` of it lie around."""
        view = View(s1_t0, s1_t1, s2_t0, self.bands, clear_t0, place.day_t0, place.day_t1, place.facts)
        return self.model.predict(view, place.ground)

    def predict(self, samples: Sequence[tuple[Any, Mapping[str, float]]]) -> list[F32]:
        """Simulated t1 of samples, (H, W, n) float32 reflectance each; the medians of the scene are its own."""
        scenes = self.scenes
        return [
            self.model.predict(scenes.view(sample.id, sample), scenes.ground(scenes.owner(sample.id)))
            for sample, _ in samples
        ]


def card_kind(folder: Path) -> str:
    """Kind of a finished run: network or trees.

    raises  InputError when it is not finished
    """
    return str(load_card(RunFolder(folder)).get("kind", "network"))
