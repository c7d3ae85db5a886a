"""Folds of the strict split on the dates of the real samples, and leaks planted into them."""

import dataclasses
import datetime as dt

import numpy as np
import pytest

from utils.science import strict

# The sixteen clear dates of the Belgian sample.
CLEAR = [
    "2018-02-25", "2018-02-28", "2018-05-04", "2018-05-06", "2018-05-11", "2018-06-28", "2018-06-30", "2018-07-05",
    "2018-07-08", "2018-07-15", "2018-07-23", "2018-07-28", "2018-08-02", "2018-08-07", "2018-10-08", "2018-10-21",
]  # fmt: skip
CLOUDY = ["2018-01-16", "2018-05-24", "2018-06-23", "2018-08-17", "2018-09-21"]
DATES = [strict.Dated(d, "b", dt.date.fromisoformat(d)) for d in CLEAR]
MORE = [*DATES, *(strict.Dated(d, "b", dt.date.fromisoformat(d), clear=False) for d in CLOUDY)]


def folds(dates=DATES):
    return strict.folds(dates, (64, 64), guard_px=8, guard_days=15, min_gap_days=30)


def test_six_groups_of_the_belgian_dates():
    found = strict.date_groups([d.day for d in DATES], 15)
    assert [len(group) for group in found] == [2, 3, 4, 3, 2, 2]
    assert found[2] == tuple(dt.date(2018, m, d) for m, d in [(6, 28), (6, 30), (7, 5), (7, 8)])


def test_every_pair_is_tested_once_on_each_half():
    found = folds()
    assert len(found) == 12
    for side in ("left", "right"):
        tested = [pair for fold in found if fold.side == side for pair in fold.test_pairs]
        assert len(tested) == len(set(tested)) == 172


def test_halves_leave_the_strip_of_the_issue():
    left, right = strict.halves((64, 64), 8)
    assert [np.flatnonzero(m[0])[[0, -1]].tolist() for m in (left, right)] == [[0, 27], [36, 63]]
    left, right = strict.halves((256, 256), 32)
    assert [np.flatnonzero(m[5])[[0, -1]].tolist() for m in (left, right)] == [[0, 111], [144, 255]]
    with pytest.raises(ValueError, match="leaves nothing"):
        strict.halves((4, 4), 4)


def test_training_keeps_away_in_time_by_hand():
    fold = next(f for f in folds(MORE) if f.group[0] == "2018-07-15" and f.side == "right")
    used = {date for pair in fold.train_pairs for date in pair}
    # tested: 07-15, 07-23, 07-28; so 06-30 (15 days) to 08-12 is out, 06-28 (17 days) and 08-17 (20 days) are in
    assert used == {
        "2018-01-16", "2018-02-25", "2018-02-28", "2018-05-04", "2018-05-06", "2018-05-11", "2018-05-24", "2018-06-23",
        "2018-06-28", "2018-08-17", "2018-09-21", "2018-10-08", "2018-10-21",
    }  # fmt: skip
    assert ("2018-06-28", "2018-05-24") in fold.train_pairs and ("2018-06-23", "2018-05-26") not in fold.train_pairs
    assert not {d for pair in fold.test_pairs for d in pair} & set(CLOUDY)
    assert fold.train_area[:, :28].all() and not fold.train_area[:, 28:].any()
    assert fold.test_area[:, 36:].all() and not fold.test_area[:, :36].any()


def test_no_fold_has_a_leak():
    for fold in folds(MORE):
        assert strict.find_leaks(fold, MORE, guard_px=8, guard_days=15) == [], fold.name


def test_planted_leaks_are_found():
    fold = folds(MORE)[0]

    def leaks(**changed):
        return strict.find_leaks(dataclasses.replace(fold, **changed), MORE, guard_px=8, guard_days=15)

    t1 = fold.test_pairs[0][1]
    assert any("0 days" in text for text in leaks(train_pairs=(*fold.train_pairs, (t1, "2018-10-08"))))
    assert any("15 days" in text for text in strict.find_leaks(
        dataclasses.replace(folds(MORE)[6], train_pairs=(("2018-06-30", "2018-10-08"),)), MORE, guard_px=8, guard_days=15
    ))  # fmt: skip
    assert "a pixel trains and tests" in leaks(train_area=np.ones((64, 64), bool))
    near = fold.train_area.copy()
    near[:, 28] = True
    assert any("7 px apart" in text for text in leaks(train_area=near))
    assert any("not clear" in text for text in leaks(test_pairs=(("2018-01-16", "2018-10-08"),)))


def test_two_sites_or_equal_ids_are_refused():
    with pytest.raises(ValueError, match="one site"):
        folds([*DATES, strict.Dated("x", "other", dt.date(2018, 1, 1))])
    with pytest.raises(ValueError, match="ids of their own"):
        folds([*DATES, DATES[0]])
