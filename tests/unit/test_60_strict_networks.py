"""Networks of the strict split on a made-up place: what they may learn from, and that they are judged on the rest."""

from __future__ import annotations

import datetime as dt
import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from scripts import _strict_networks as networks
from utils.io.dated_scenes import Place, Scene
from utils.science import strict, strict_scores
from utils.workflow import schema
from utils.workflow.errors import UsageError

BANDS = ("B04", "B03", "B02", "B08")
DAYS = ("2018-01-01", "2018-03-01", "2018-05-01", "2018-07-01")


def scene(number: int, day: str) -> Scene:
    rng = np.random.default_rng(number)
    s1 = rng.gamma(4.0, 0.03, (40, 56, 2)).astype(np.float32)
    s2 = (0.1 + 0.05 * number + 0.02 * rng.random((40, 56, 4))).astype(np.float32)
    seen = np.ones((40, 56), bool)
    seen[:5, :5] = number != 1
    return Scene(strict.Dated(day, "p", dt.date.fromisoformat(day)), s1, s2, seen)


@pytest.fixture
def judged(tmp_path: Path) -> SimpleNamespace:
    place = Place("p", BANDS, tuple(scene(i, day) for i, day in enumerate(DAYS)))
    conf = SimpleNamespace(strict=schema.Strict(), evaluate=schema.Evaluate(), normalise=schema.Normalise())

    def truth(fold, pair):
        first, second = (place.scene(date) for date in pair)
        return strict_scores.Truth(first.s2, second.s2, fold.test_area & first.seen & second.seen)

    return SimpleNamespace(
        place=place, conf=conf, log=logging.getLogger("test"), folder=tmp_path, truth=truth,
        folds=strict.folds(place.dates, place.shape, guard_px=8), board=lambda: strict_scores.Board(BANDS, 8),
    )  # fmt: skip


def test_names_are_the_files_of_the_configurations() -> None:
    names = networks.known()
    assert {"published_gan", "cyclegan", "dsen2cr", "resunet", "resunet_gan"} <= set(names)
    assert {f"{name}_tiny" for name in ("published_gan", "cyclegan", "dsen2cr", "resunet", "resunet_gan")} <= set(names)
    assert not {"histgbm_res", "trees_net"} & set(names)
    assert [path.name for path in names["published_gan"]] == ["model.yaml", "train.yaml"]
    assert [path.name for path in names["published_gan_tiny"]] == ["model_tiny.yaml", "train_tiny.yaml"]
    with pytest.raises(UsageError, match="no network nowhere"):
        networks.check_names(["resunet", "nowhere"])


def test_tiles_hold_the_training_half_and_its_clear_pixels(judged: SimpleNamespace) -> None:
    net = networks.Network("resunet_tiny", judged, 3)
    fold = next(f for f in judged.folds if f.side == "right")
    pair = next(p for p in fold.train_pairs if DAYS[1] in p)
    tile = net.tile(pair, fold, net.scaler(fold))
    assert tile.weight.shape == (40, 24) and tile.weight[:5, :5].max() == 0 and tile.weight[5:].min() == 1
    raw = judged.place.scene(pair[0]).s2[:, :24]
    assert np.allclose(tile.x[..., 6:10], 4 * raw - 0.6, atol=1e-5)
    changed = net._changed(pair, fold)
    assert changed == 1.0  # every date differs by more than 0.02 from every other


def test_a_standard_scaler_knows_training_dates_and_training_ground_only(judged: SimpleNamespace) -> None:
    net = networks.Network("published_gan_tiny", judged, 3)
    fold = next(f for f in judged.folds if f.side == "right")
    before = net.scaler(fold)
    dates = {date for pair in fold.train_pairs for date in pair}
    for one in judged.place.scenes:
        one.s2[:, 24:] = 9.0
        one.s1[:, 24:] = 9.0
        if one.dated.id not in dates:
            one.s2[:], one.s1[:] = 9.0, 9.0
    assert before == net.scaler(fold)
    seen = [s.s2[:, :24][s.seen[:, :24]][:, 3] for s in judged.place.scenes if s.dated.id in dates]
    nir = next(group for group in before.groups if group.name == "NIR")
    assert nir.mean == pytest.approx(np.concatenate(seen).mean(), rel=1e-5)
    assert nir.factor == pytest.approx(1 / 7)


@pytest.mark.parametrize("name", ["published_gan_tiny", "resunet_tiny"])
def test_a_result_is_kept_and_only_the_test_half_is_simulated(judged: SimpleNamespace, name: str) -> None:
    net = networks.Network(name, judged, 3)
    fold = judged.folds[0]
    images = []
    real = net.image
    net.image = lambda *args: images.append((args[0], real(*args))) or images[-1][1]
    found = net.result(fold, 1)
    assert [pair for pair, _ in images] == list(fold.test_pairs)
    for (t0, _), image in images:
        outside = ~fold.test_area.any(axis=0)
        assert np.array_equal(image[:, outside], judged.place.scene(t0).s2[:, outside])
        assert np.abs(image - judged.place.scene(t0).s2)[:, ~outside].max() > 0
    path = judged.folder / f"{fold.name}-{name}-s1.json"
    assert json.loads(path.read_text()) == found and found["steps"] == 3 and found["side_px"] == 24
    assert set(found["sums"]) == set(strict_scores.STRATA) and len(images) == len(fold.test_pairs)
    assert net.result(fold, 1) == found and len(images) == len(fold.test_pairs), "a finished fold was trained again"
    fresh = networks.Network(name, judged, 4)
    assert fresh.key(fold, 1) != net.key(fold, 1) and net.key(fold, 2) != net.key(fold, 1)


def test_parts_cover_all_folds_once(judged: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        networks.Network, "result", lambda self, fold, seed: asked.append(f"{self.name} {fold.name} {seed}") or {}
    )
    for number in (1, 2, 3):
        list(networks.results(judged, ("resunet_tiny", "cyclegan_tiny"), None, (1, 2), (number, 3)))
    assert len(asked) == len(set(asked)) == 2 * 2 * len(judged.folds)
