"""Places left out: every place in turn is simulated by a model of the others that were given before it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts._strict import Features, load_places, one_thread
from utils.io.dated_scenes import Place
from utils.science import res_features, strict, strict_places, strict_rows, strict_scores
from utils.science.evaluation import plain
from utils.science.strict_rows import Pair, Rows, Sheet
from utils.science.trees import Recipe
from utils.workflow import config
from utils.workflow.files import atomic_json
from utils.workflow.schema import Conf

# what trains -> what tests
CASES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("belgium",), "0060c0a5"),
    (("belgium", "0060c0a5"), "000aa810"),
    (("0060c0a5",), "belgium"),
)
_SETS = ("res", "relative")
_CODE = (
    "utils/science/guided.py", "utils/science/res_features.py", "utils/science/trees.py", "utils/science/gated.py",
    "utils/science/strict_places.py", "utils/science/strict_rows.py", "utils/science/strict_scores.py",
    "utils/science/metrics.py", "utils/io/dated_scenes.py", "utils/io/importer.py", "scripts/_strict_places.py",
)  # fmt: skip


class Places:
    """All places of some configurations, their pairs and drawn pixels."""

    def __init__(self, confs: Sequence[Conf], log: logging.Logger) -> None:
        self.log = log
        self.places: dict[str, tuple[Conf, Place, Features]] = {}
        for conf in confs:
            for place in load_places(conf):
                self.places[place.name] = (conf, place, Features(place, conf.strict.score == "clear"))
        self._rows: dict[tuple[str, int], Rows] = {}

    def cases(self) -> list[tuple[tuple[str, ...], str]]:
        """Those of CASES whose places are here."""
        return [case for case in CASES if {*case[0], case[1]} <= set(self.places)]

    def pairs(self, name: str, clear: bool) -> list[Pair]:
        conf, place, _ = self.places[name]
        dates = [date for date in place.dates if date.clear or not clear]
        return [(a.id, b.id) for a, b in strict.pairs_of(dates, dates, conf.import_data.min_gap_days)]

    def rows(self, name: str, seed: int) -> Rows:
        """Pixels of the whole place, drawn once."""
        if (name, seed) not in self._rows:
            conf, place, features = self.places[name]
            pairs = self.pairs(name, clear=False)
            share = -(-conf.strict.pixels // len(pairs))

            def read(pair: Pair) -> Any:
                first, second = (place.scene(date) for date in pair)
                change = second.s2.astype(np.float64) - first.s2
                return features.planes(pair), change, first.seen & second.seen

            names = strict_rows.all_names(place.bands, _SETS)
            self._rows[name, seed] = strict_rows.draw(pairs, lambda _: share, read, names, place.bands, seed)
        return self._rows[name, seed]

    def key(self, train: Sequence[str], test: str, seed: int) -> str:
        """Changes with everything that the figures of a case depend on."""
        digest = hashlib.sha256(f"{test} {seed}".encode())
        for name in (*train, test):
            conf, place, _ = self.places[name]
            digest.update(conf.model_dump_json(include={"strict", "split", "evaluate"}).encode())
            for scene in place.scenes:
                for array in (scene.s1, scene.s2, scene.seen):
                    digest.update(np.ascontiguousarray(array).tobytes())
        for name in _CODE:
            digest.update((config.ROOT / name).read_bytes())
        return digest.hexdigest()

    def results(self, folder: Path, seed: int) -> list[dict[str, Any]]:
        """Figures of all cases; what is missing in the folder is computed and written at once."""
        out = []
        for train, test in self.cases():
            path, key = folder / f"{'+'.join(train)}_to_{test}-s{seed}.json", self.key(train, test, seed)
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                found = {}
            if found.get("key") != key:
                found = dict(plain({"key": key, **self.judged(train, test, seed)}))
                atomic_json(path, found)
            out.append(found)
        return out

    def judged(self, train: Sequence[str], test: str, seed: int) -> dict[str, Any]:
        """Figures of one case."""
        conf, place, features = self.places[test]
        facts = [
            res_features.scene_facts(self.places[name][2].view(pair))
            for name in train
            for pair in {pair[0]: pair for pair in self.pairs(name, clear=False)}.values()
        ]
        with one_thread():
            rows = {name: self.rows(name, seed) for name in train}
            model = strict_places.fit_places(rows, strict_places.range_of(facts), Recipe(), conf.strict.pixels, seed)
            boards = {
                name: strict_scores.Board(place.bands, conf.strict.block_px, conf.evaluate.changed_threshold)
                for name in strict_places.METHODS
            }
            inside = self._judge(model, test, features, boards)
        sums = {name: board.sums() for name, board in boards.items()}
        self.log.info("%s -> %s: factor %.2f, %d scenes inside", " + ".join(train), test, model.shrink, inside)
        return {
            "train": list(train), "test": test, "shrink": model.shrink, "pairs": len(self.pairs(test, clear=True)),
            "pairs_inside": inside, "methods": _figures(sums, len(place.bands), conf),
        }  # fmt: skip

    def _judge(
        self, model: strict_places.PlaceModel, test: str, features: Features, boards: Mapping[str, strict_scores.Board]
    ) -> int:
        """Adds every clear pair to the boards; returns how many count as inside."""
        conf, place, _ = self.places[test]
        names, count = strict_rows.all_names(place.bands, _SETS), 0
        for pair in self.pairs(test, clear=True):
            first, second = (place.scene(date) for date in pair)
            inside = model.range.holds(res_features.scene_facts(features.view(pair)))
            count += inside
            sheet = Sheet(names, place.bands, res_features.columns(features.planes(pair), names))
            mask = np.asarray(np.isfinite(first.s2).all(axis=-1) & np.isfinite(second.s2).all(axis=-1))
            if conf.strict.score == "clear":
                mask &= first.seen & second.seen
            changes = model.predict(sheet, inside)
            for name, board in boards.items():
                image = first.s2.astype(np.float64)
                if name in changes:
                    image = image + changes[name].reshape(image.shape)
                board.add(pair[1], image, strict_scores.Truth(first.s2, second.s2, mask))
        return count


def _figures(sums: Mapping[str, strict_scores.Sums], bands: int, conf: Conf) -> dict[str, Any]:
    judge = conf.evaluate
    out = {}
    for name, own in sums.items():
        strata = strict_scores.figures(own, bands, judge.bootstrap, judge.seed)
        gain = strict_scores.gain_interval(own, sums["copy_t0"], bands, judge.bootstrap, judge.seed)
        out[name] = {"strata": strata, "gain_db": gain}
    return out
