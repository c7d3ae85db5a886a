"""The gate of the tree model: trusts what repeats on dates not seen, and travels with the run."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from models import tree_gate
from models.tree_gate import Gate
from utils.science.strict_rows import Rows, all_names
from utils.science.trees import Recipe

BANDS = ("B04", "B08")
NAMES = all_names(BANDS, tree_gate.FEATURES)
DAYS = tuple(f"2020-{month:02d}-01" for month in range(1, 9))
RECIPE = Recipe(iterations=15, min_leaf=20)


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(limits=1, user_api="openmp"):
        yield


def rows(seed: int = 0) -> Rows:
    """8 dates of 600 pixels. On the left (dVV_g4 > 0) the change follows dVH_g4; on the right it turns from date to date."""
    rng = np.random.default_rng(seed)
    count = len(DAYS) * 600
    x = rng.normal(size=(count, len(NAMES))).astype(np.float32)
    number = np.repeat(np.arange(len(DAYS)), 600).astype(np.int32)
    x[:, NAMES.index("day_t1_sin")] = number
    left = x[:, NAMES.index("dVV_g4")] > 0
    true = np.where(left, 0.05 * x[:, NAMES.index("dVH_g4")], 0.1 * (-1.0) ** number)
    x[:, NAMES.index("dVV_mean5")] = x[:, NAMES.index("dVV_g4")]
    x[:, NAMES.index("dVH_mean5")] = x[:, NAMES.index("dVH_g4")]
    for band, level in (("B04", 0.05), ("B08", 0.3)):
        x[:, NAMES.index(band)] = level
    x[:, NAMES.index("NDVI")] = np.where(left, 0.7, 0.2)
    y = np.stack([true, -true], axis=1).astype(np.float32)
    pairs = tuple((str(i), day) for i, day in enumerate(DAYS))
    return Rows(NAMES, BANDS, x, y, number, np.tile(np.arange(600, dtype=np.int32), len(DAYS)), pairs)


def held_out(made: Rows) -> list:
    return [({p for p in made.pairs if p[1] != day}, {p for p in made.pairs if p[1] == day}) for day in DAYS]


def test_the_gate_lets_through_what_repeats_and_holds_back_what_does_not() -> None:
    made = rows()
    gate, shrink = tree_gate.fit(made, held_out(made), RECIPE, 9600, 1)
    sheet = made.sheet(np.arange(len(made.x)))
    mean = gate.bag.predict(sheet).mean
    factor = np.abs(gate.predict(sheet)).sum(axis=1) / np.maximum(np.abs(mean).sum(axis=1), 1e-9)
    left = made.x[:, NAMES.index("dVV_g4")] > 0
    big = np.abs(mean).sum(axis=1) > 0.03
    print(
        f"factor where the change repeats {factor[left & big].mean():.2f}, where not {factor[~left & big].mean():.2f}"
    )
    assert factor[left & big].mean() > 0.7 and factor[~left & big].mean() < 0.45
    assert shrink < 0.95  # one factor for both halves
    assert gate.sets == ["res", "res_no_calendar", "season", "means"] * 2


def test_a_gate_survives_its_arrays(tmp_path) -> None:
    made = rows()
    gate, _ = tree_gate.fit(made, held_out(made)[:3], RECIPE, 4800, 1)
    np.savez(tmp_path / "m.npz", **gate.to_arrays(BANDS))
    with np.load(tmp_path / "m.npz", allow_pickle=False) as data:
        again = Gate.from_arrays(data, gate.sets, BANDS)
    sheet = made.sheet(np.arange(500))
    assert np.array_equal(gate.predict(sheet), again.predict(sheet))


def test_without_dates_to_hold_out_there_is_no_gate() -> None:
    made = rows()
    assert tree_gate.fit(made, [], RECIPE, 4800, 1) is None
    assert tree_gate.fit(made, [(set(), set(made.pairs))], RECIPE, 4800, 1) is None
