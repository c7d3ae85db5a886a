"""The strict split of one place: its dates read, its folds fitted and judged, one result file a fold and seed."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io import dated_scenes, import_layouts, importer
from utils.io.dated_scenes import Place, Selection
from utils.science import res_features, strict, strict_methods, strict_rows, strict_scores
from utils.science.pixel_net import NetRecipe, PixelNet
from utils.science.res_features import Guide, Planes, View
from utils.science.strict import Fold
from utils.science.strict_rows import Pair, Sheet
from utils.workflow import config
from utils.workflow.errors import ConfigError, InputError
from utils.workflow.files import atomic_json
from utils.workflow.schema import Conf

SCHEMA = "s2cr.strict/1"
_CODE = (
    "utils/science/guided.py", "utils/science/res_features.py", "utils/science/trees.py", "utils/science/gated.py",
    "utils/science/linear.py",
    "utils/science/strict.py", "utils/science/strict_rows.py", "utils/science/strict_methods.py",
    "utils/science/strict_scores.py", "utils/science/metrics.py", "utils/science/indices.py",
    "utils/science/pixel_net.py", "models/pixel_net.py", "utils/io/dated_scenes.py", "utils/io/importer.py", "utils/io/import_layouts.py", "scripts/_strict.py",
)  # fmt: skip
Predictions = Mapping[str, Path]


def _fit_net(x: NDArray[np.float32], y: NDArray[np.float32], seed: int) -> PixelNet:
    from models.pixel_net import fit

    return fit(x, y, NetRecipe(), seed)


def one_thread() -> Any:
    """One OpenMP thread: the trees run many short loops, whose threads wait for one another on shared processors."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="openmp")


def load_places(conf: Conf) -> list[Place]:
    """All places of import_data with at least two clear dates; bands are dataset.s2_bands.

    raises  ConfigError when the layout has no many dates, InputError and NothingFoundError for the data
    """
    given, own = conf.import_data, conf.strict
    if given.root is None or given.layout not in ("belgium", "finland"):
        raise ConfigError(
            "strict needs import_data.root and a layout with many dates (belgium, finland).", "See confs/strict_*.yaml."
        )
    rules = importer.Rules(**{field.name: getattr(given, field.name) for field in fields(importer.Rules)})
    root = Path(given.root) if Path(given.root).is_absolute() else config.ROOT / given.root
    if given.layout == "belgium":
        sets = import_layouts.belgium(root, given.site, rules, 0.0, given.relative_orbit, given.s1_average)
    else:
        sets = import_layouts.finland(root, rules, given.direction, 0.0)
    selection = Selection(own.min_clear, own.partly_clear, own.max_blue, own.dilate_px)
    bands = tuple(conf.dataset.s2_bands)
    sites = sorted({dated.site for dated in sets})
    return [dated_scenes.load_place([d for d in sets if d.site == site], bands, rules, selection) for site in sites]


def chosen_place(conf: Conf, places: list[Place]) -> Place:
    """raises  ConfigError when strict.site is not there"""
    for place in places:
        if conf.strict.site in (None, place.name):
            return place
    raise ConfigError(
        f"strict.site: no place {conf.strict.site}; there are {', '.join(p.name for p in places)}.", "Choose one."
    )


def folds_of(conf: Conf, place: Place) -> list[Fold]:
    """Folds of a place, checked for leaks.

    raises  ConfigError when the place is too small, InputError when a fold leaks
    """
    options = {"guard_px": conf.strict.guard_px, "guard_days": conf.split.date_guard_days}
    try:
        found = strict.folds(place.dates, place.shape, min_gap_days=conf.import_data.min_gap_days, **options)
    except ValueError as error:
        raise ConfigError(f"strict: {error}.", "Lower strict.guard_px or split.date_guard_days.") from error
    for fold in found:
        if leaks := strict.find_leaks(fold, place.dates, **options):
            raise InputError(f"{fold.name} leaks: {leaks[0]}.", "Do not use its scores.")
    return found


class Features:
    """Views and features of the pairs of one place; filters of a t0 are kept."""

    def __init__(self, place: Place, mask_t0: bool) -> None:
        self.place, self.mask_t0 = place, mask_t0
        self._guides: dict[str, Guide] = {}

    def view(self, pair: Pair) -> View:
        """Clear dates are taken whole where all their pixels score."""
        first, second = (self.place.scene(date) for date in pair)
        clear = first.seen if self.mask_t0 or not first.dated.clear else None
        return View(
            first.s1, second.s1, first.s2, self.place.bands, clear, first.dated.day, second.dated.day
        )  # fmt: skip

    def planes(self, pair: Pair, frozen: bool = False) -> Planes:
        view = self.view(pair).frozen() if frozen else self.view(pair)
        if pair[0] not in self._guides:
            self._guides[pair[0]] = Guide(view, view.seen_t0, res_features.scene_facts(view))
        return res_features.planes_of(view, self._guides[pair[0]])


class Strict:
    """The strict split of one place in one work directory."""

    def __init__(self, conf: Conf, place: Place, folder: Path, log: logging.Logger) -> None:
        self.conf, self.place, self.folder, self.log = conf, place, folder, log
        self.folds = folds_of(conf, place)
        self.features = Features(place, conf.strict.score == "clear")
        self.names = strict_rows.all_names(place.bands, strict_methods.SETS)
        self._halves: dict[tuple[str, int], strict_methods.Half] = {}
        self._digest = hashlib.sha256()
        for scene in place.scenes:
            for array in (scene.s1, scene.s2, scene.seen):
                self._digest.update(np.ascontiguousarray(array).tobytes())
        for name in _CODE:
            self._digest.update((config.ROOT / name).read_bytes())

    def settings(self, seed: int) -> strict_methods.Settings:
        own = self.conf.strict
        guard = self.conf.split.date_guard_days
        return strict_methods.Settings(own.pixels, own.bag_pixels, own.inner_pixels, guard, seed)

    def key(self, fold: Fold, seed: int) -> str:
        """Changes with everything that a fold's result depends on."""
        own, threshold = self.conf.strict, self.conf.evaluate.changed_threshold
        facts = [fold.train_pairs, fold.test_pairs, asdict(self.settings(seed)), own.block_px, own.score, threshold]
        areas = fold.train_area.tobytes() + fold.test_area.tobytes()
        return hashlib.sha256(self._digest.digest() + json.dumps(facts).encode() + areas).hexdigest()

    def stored(self, fold: Fold, seed: int) -> dict[str, Any] | None:
        """Finished result of a fold, None when it is missing or of other settings."""
        try:
            found: dict[str, Any] = json.loads(self._path(fold, seed).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if found.get("key") == self.key(fold, seed) else None

    def _path(self, fold: Fold, seed: int) -> Path:
        return self.folder / f"{fold.name}-s{seed}.json"

    def results(
        self, seeds: tuple[int, ...], part: tuple[int, int] = (1, 1)
    ) -> Iterator[tuple[Fold, int, dict[str, Any]]]:
        """Results of all folds and seeds; what is missing is computed and written at once.

        part  (i, N): only the i-th of N runs of neighbouring folds, which share their drawn pixels
        """
        number, count = part
        ordered = sorted(self.folds, key=lambda f: f.side)
        for seed in seeds:
            for fold in ordered[len(ordered) * (number - 1) // count : len(ordered) * number // count]:
                found = self.stored(fold, seed)
                if found is None:
                    with one_thread():
                        found = self._run(fold, seed)
                    atomic_json(self._path(fold, seed), found)
                yield fold, seed, found

    def _run(self, fold: Fold, seed: int) -> dict[str, Any]:
        begin = time.monotonic()
        models = strict_methods.fit_fold(self.half(fold, seed), fold, _fit_net)
        fitted = time.monotonic()
        boards = self.judged(fold, models)
        self.log.info(
            "%s seed %d: fitted in %.0f s, judged in %.0f s", fold.name, seed, fitted - begin, time.monotonic() - fitted
        )
        sums = {name: _plain(board.sums()) for name, board in boards.items()}
        return {
            "schema": SCHEMA, "key": self.key(fold, seed), "fold": fold.name, "seed": seed, "group": list(fold.group),
            "train_pairs": len(fold.train_pairs), "test_pairs": len(fold.test_pairs), "shrink": models.shrink,
            "methods": sums,
        }  # fmt: skip

    def half(self, fold: Fold, seed: int) -> strict_methods.Half:
        """Pixels drawn from the half that trains, shared by its folds; the last half is kept."""
        if (fold.side, seed) not in self._halves:
            self._halves.clear()
            pairs = sorted({p for f in self.folds if f.side == fold.side for p in f.train_pairs})
            rows = strict_rows.draw(
                pairs, self._counts(pairs), lambda pair: self._learnable(fold, pair), self.names, self.place.bands, seed
            )
            self._halves[fold.side, seed] = strict_methods.Half(rows, tuple(self.place.dates), self.settings(seed))
        return self._halves[fold.side, seed]

    def _counts(self, pairs: list[Pair]) -> Any:
        """Pixels drawn of a pair: enough for the models that see fewest pairs (clear ones, some t1 dates only)."""
        clear = {date.id for date in self.place.dates if date.clear}
        own, few = self.conf.strict, sum(set(pair) <= clear for pair in pairs)
        return lambda pair: -(-2 * own.pixels // few) if set(pair) <= clear else -(-2 * own.pixels // len(pairs))

    def _learnable(self, fold: Fold, pair: Pair) -> Any:
        first, second = (self.place.scene(date) for date in pair)
        usable = fold.train_area & first.seen & second.seen
        return self.features.planes(pair), second.s2.astype(np.float64) - first.s2, usable

    def truth(self, fold: Fold, pair: Pair) -> strict_scores.Truth:
        """The true pair and the pixels that score."""
        first, second = (self.place.scene(date) for date in pair)
        mask = fold.test_area & np.isfinite(first.s2).all(axis=-1) & np.isfinite(second.s2).all(axis=-1)
        if self.conf.strict.score == "clear":
            mask = mask & first.seen & second.seen
        return strict_scores.Truth(first.s2, second.s2, mask)

    def board(self) -> strict_scores.Board:
        return strict_scores.Board(
            self.place.bands, self.conf.strict.block_px, self.conf.evaluate.changed_threshold
        )  # fmt: skip

    def judged(self, fold: Fold, models: strict_methods.FoldModels) -> dict[str, strict_scores.Board]:
        """Every method on the test pairs of a fold."""
        boards = {name: self.board() for name in strict_methods.METHODS}
        where = np.flatnonzero(fold.test_area)
        for pair in fold.test_pairs:
            sheets = [
                Sheet(self.names, self.place.bands, res_features.columns(self.features.planes(pair, frozen), self.names, where))
                for frozen in (False, True)
            ]  # fmt: skip
            changes = models.predict(*sheets)
            truth = self.truth(fold, pair)
            for name, board in boards.items():
                image = truth.s2_t0.astype(np.float64)
                if name in changes:
                    image.reshape(-1, image.shape[-1])[where] += changes[name]
                board.add(pair[1], image, truth)
        return boards

    def judged_files(self, folder: Path) -> dict[str, Any] | None:
        """Sums of predictions from outside: <folder>/<fold>/<t0>_<t1>.npy, (H, W, n) reflectance float32.

        returns  None when the folder holds no fold of this place
        raises   InputError for a missing or wrong file
        """
        if not any((folder / fold.name).is_dir() for fold in self.folds):
            return None
        board = self.board()
        for fold in self.folds:
            for pair in fold.test_pairs:
                path = folder / fold.name / f"{pair[0]}_{pair[1]}.npy"
                try:
                    image = np.load(path, allow_pickle=False)
                except (OSError, ValueError) as error:
                    raise InputError(f"{path}: {error}.", "Predict every test pair of every fold.") from error
                truth = self.truth(fold, pair)
                if image.shape != truth.s2_t0.shape:
                    raise InputError(
                        f"{path}: shape {image.shape}, not {truth.s2_t0.shape}.", "Predict the whole scene."
                    )
                board.add(pair[1], image, truth)
        return _plain(board.sums())


def _plain(sums: strict_scores.Sums) -> dict[str, Any]:
    return {s: {cell: [float(v) for v in values] for cell, values in cells.items()} for s, cells in sums.items()}


def as_sums(plain: Mapping[str, Mapping[str, Any]]) -> strict_scores.Sums:
    """The inverse."""
    return {s: {cell: np.asarray(v, dtype=np.float64) for cell, v in cells.items()} for s, cells in plain.items()}
