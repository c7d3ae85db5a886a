"""Networks under the strict split: trained on the half and the dates of a fold, judged like every other method."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scripts._strict import Strict
from utils.science.evaluation import plain
from utils.science.sar import to_db
from utils.science.strict import Fold
from utils.science.strict_rows import Pair
from utils.workflow import config
from utils.workflow.errors import UsageError
from utils.workflow.files import atomic_json

if TYPE_CHECKING:
    from models.config import ModelConf, TrainConf
    from models.fitter import Fitter
    from models.inputs import Tile
    from utils.science.scaler import Scaler

F32 = NDArray[np.float32]
SCHEMA = "s2cr.strict_network/1"
SAR = ("VV", "VH")
PUBLISHED = "published_gan"
_CONFS = config.ROOT / "GAN_confs"
_CODE = (
    "utils/science/scaler.py", "utils/science/sar.py", "utils/science/moments.py", "utils/science/blend.py",
    "utils/science/strict.py", "utils/science/strict_scores.py", "utils/science/metrics.py",
    "utils/io/dated_scenes.py", "utils/io/importer.py", "scripts/_strict_networks.py",
)  # fmt: skip
_NOT_ASKED = {
    "board",
    "card",
    "checkpoint",
    "cluster",
    "listing",
    "notes",
    "pixel_net",
    "run",
    "validation",
    "training",
}


def known() -> dict[str, tuple[Path, Path]]:
    """Networks with both of their files in GAN_confs: name -> model.yaml, train.yaml."""
    from models import registry
    from models.config import ModelConf

    out = {}
    for path in sorted(_CONFS.glob("model*.yaml")):
        train = path.with_name(path.name.replace("model", "train", 1))
        stem = path.stem.removeprefix("model").removeprefix("_")
        name = stem if stem not in ("", "tiny") else "_".join(filter(None, (PUBLISHED, stem)))
        if train.exists() and not registry.spec_of(config.load_yaml_model(path, ModelConf)).trees:
            out[name] = (path, train)
    return out


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """raises  UsageError for a network that is not there, listing those that are"""
    there = known()
    if bad := [name for name in names if name not in there]:
        raise UsageError(f"networks: no network {bad[0]}.", f"There are {', '.join(there)}; or write none.")
    return tuple(names)


@dataclass(frozen=True)
class HalfSample:
    """A pair of dates cut to the half that trains; see models.inputs.RawSample."""

    s1_t0: F32
    s1_t1: F32
    s2_t0: F32
    s2_t1: F32
    cloud_t0: NDArray[np.uint8]
    cloud_t1: NDArray[np.uint8]
    window: NDArray[np.bool_]


class Network:
    """One network of GAN_confs on one place. steps = of each training, None = epoch times steps_per_epoch of its file."""

    def __init__(self, name: str, judged: Strict, steps: int | None) -> None:
        self.name, self.judged, self.place = name, judged, judged.place
        self.files, self._asked_steps = known()[name], steps
        self._fitters: dict[tuple[int, int], Fitter] = {}
        self._digest = hashlib.sha256()
        for scene in self.place.scenes:
            for array in (scene.s1, scene.s2, scene.seen):
                self._digest.update(np.ascontiguousarray(array).tobytes())
        code = [*_CODE, *(f"models/{p.name}" for p in sorted((config.ROOT / "models").glob("*.py")) if p.stem not in _NOT_ASKED)]  # fmt: skip
        for path in (*(config.ROOT / file for file in code), *self.files):
            self._digest.update(path.read_bytes())

    @cached_property
    def confs(self) -> tuple[ModelConf, TrainConf]:
        from models.session import load_confs

        return load_confs(*self.files)

    @cached_property
    def steps(self) -> int:
        """Of every training: all folds of a place are equal in this."""
        _, train = self.confs
        most = max(len(fold.train_pairs) for fold in self.judged.folds)
        return self._asked_steps or train.epoch * (train.steps_per_epoch or -(-most // train.batch_size))

    def result(self, fold: Fold, seed: int) -> dict[str, Any]:
        """Sums of a fold; computed and written at once where they are not there yet."""
        path = self.judged.folder / f"{fold.name}-{self.name}-s{seed}.json"
        key = self.key(fold, seed)
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}
        if found.get("key") != key:
            found = dict(
                plain({"schema": SCHEMA, "key": key, "fold": fold.name, "seed": seed, **self._run(fold, seed)})
            )
            atomic_json(path, found)
        return found

    def key(self, fold: Fold, seed: int) -> str:
        """Changes with everything that the result depends on."""
        conf = self.judged.conf
        facts = [
            fold.train_pairs, fold.test_pairs, seed, self.steps, conf.strict.network_px, conf.strict.block_px,
            conf.strict.score, conf.evaluate.changed_threshold, conf.normalise.model_dump(mode="json"),
        ]  # fmt: skip
        areas = fold.train_area.tobytes() + fold.test_area.tobytes()
        return hashlib.sha256(self._digest.digest() + json.dumps(facts).encode() + areas).hexdigest()

    def _run(self, fold: Fold, seed: int) -> dict[str, Any]:
        from models.inputs import TileCache, units_of

        begin = time.monotonic()
        fitter, scaler = self._fitter(fold, seed), self.scaler(fold)
        ids = {f"{t0} {t1}": (t0, t1) for t0, t1 in fold.train_pairs}
        tiles = TileCache(lambda name: self.tile(ids[name], fold, scaler))
        changed = {name: self._changed(pair, fold) for name, pair in ids.items()}
        predict = fitter.fit(list(ids), tiles, units_of(scaler, len(self.place.bands)), changed)
        board = self.judged.board()
        for pair in fold.test_pairs:
            truth = self.judged.truth(fold, pair)
            board.add(pair[1], self.image(pair, fold, scaler, predict, fitter.side_px), truth)
        seconds = time.monotonic() - begin
        self.judged.log.info("%s seed %d: %s, %d steps, %.0f s", fold.name, seed, self.name, fitter.steps, seconds)
        return {
            "network": self.name, "steps": fitter.steps, "batch": fitter.train.batch_size, "side_px": fitter.side_px,
            "parameters": fitter.parameters, "sums": board.sums(),
        }  # fmt: skip

    def _fitter(self, fold: Fold, seed: int) -> Fitter:
        """One fitter serves all folds whose halves have one width."""
        from models.fitter import Fitter

        rows, columns = self.place.shape[0], int(fold.train_area.any(axis=0).sum())
        key = (seed, min(rows, columns, int(fold.test_area.any(axis=0).sum())))
        if key not in self._fitters:
            model, train = self.confs
            train = train.model_copy(update={"seed": seed})
            side = min(key[1], self.judged.conf.strict.network_px)
            self._fitters[key] = Fitter(model, train, self.place.bands, side, self.steps)
        return self._fitters[key]

    def scaler(self, fold: Fold) -> Scaler:
        """Fitted on the training dates within the training half, for networks of mode standard."""
        from models import registry
        from models.session import scaler_with_factors
        from utils.science.scaler import Scaler, sample_moments

        own, bands = self.judged.conf.normalise, self.place.bands
        if registry.scaler_mode(self.confs[0]) == "fixed":
            return Scaler.fixed(SAR, bands, fill_k=own.fill_k)
        cut = fold.train_area.any(axis=0)
        scenes = [self.place.scene(date) for date in sorted({date for pair in fold.train_pairs for date in pair})]
        moments = (
            sample_moments(
                [(scene.s1[:, cut], np.asarray(np.isfinite(scene.s1[:, cut]).all(axis=-1)))],
                [(scene.s2[:, cut], scene.seen[:, cut])], SAR, bands, own.fill_k,
            )
            for scene in scenes
        )  # fmt: skip
        scaler = Scaler.fit(moments, SAR, bands, own.s1_scale, own.s2_scale, fill_k=own.fill_k)
        return scaler_with_factors(scaler, self.confs[1])

    def tile(self, pair: Pair, fold: Fold, scaler: Scaler) -> Tile:
        """A training pair within the training half."""
        from models import registry
        from models.inputs import prepare_tile

        cut = fold.train_area.any(axis=0)
        first, second = (self.place.scene(date) for date in pair)
        cloud_t0, cloud_t1 = ((~scene.seen[:, cut]).astype(np.uint8) for scene in (first, second))
        sample = HalfSample(
            first.s1[:, cut], second.s1[:, cut], first.s2[:, cut], second.s2[:, cut], cloud_t0, cloud_t1,
            fold.train_area[:, cut],
        )  # fmt: skip
        _, start = registry.channels(scaler.mode, len(self.place.bands))
        return prepare_tile(sample, scaler, self._median(pair), start, registry.spec_of(self.confs[0]).adversarial)

    def _median(self, pair: Pair) -> dict[str, float]:
        """Scene median of the change of radar, dB; radar of the whole scene is there at prediction too."""
        first, second = (to_db(self.place.scene(date).s1) for date in pair)
        return dict(zip(SAR, np.nanmedian((second - first).reshape(-1, len(SAR)), axis=0).tolist(), strict=True))

    def _changed(self, pair: Pair, fold: Fold) -> float:
        """Share of the usable pixels of a training pair that changed."""
        from models.inputs import CHANGED_REFLECTANCE

        first, second = (self.place.scene(date) for date in pair)
        usable = fold.train_area & first.seen & second.seen
        moved = np.abs(second.s2[usable] - first.s2[usable]).mean(axis=-1) > CHANGED_REFLECTANCE
        return float(moved.mean()) if moved.size else 0.0

    def image(self, pair: Pair, fold: Fold, scaler: Scaler, predict: Any, side_px: int) -> F32:
        """S2(t0) with the half that tests simulated; S2(t0) stays where an input has no data."""
        from models.fitter import predict_windows
        from models.predictor import REFLECTANCE

        cut = fold.test_area.any(axis=0)
        first, second = (self.place.scene(date) for date in pair)
        x, valid = scaler.network_input(first.s1[:, cut], second.s1[:, cut], first.s2[:, cut], self._median(pair))
        found = np.clip(scaler.invert_label(predict_windows(predict, x, side_px)), *REFLECTANCE)
        out = first.s2.copy()
        out[:, cut] = np.where(valid[..., None], found, first.s2[:, cut])
        return out


def results(
    judged: Strict, names: Sequence[str], steps: int | None, seeds: Sequence[int], part: tuple[int, int] = (1, 1)
) -> Iterator[dict[str, Any]]:
    """Results of all networks and folds; part = (i, N): only the i-th of N runs of neighbouring folds."""
    number, count = part
    ordered = sorted(judged.folds, key=lambda fold: fold.side)
    for name in names:
        network = Network(name, judged, steps)
        for seed in seeds:
            for fold in ordered[len(ordered) * (number - 1) // count : len(ordered) * number // count]:
                yield network.result(fold, seed)


def facts_of(found: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """What the report says of each network: parameters, steps, batch and crop."""
    keys = ("parameters", "steps", "batch", "side_px")
    return {one["network"]: {key: int(one[key]) for key in keys} for one in found}
