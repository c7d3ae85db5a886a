"""The table of scores: order, winner, CSV, undefined and infinite figures."""

import csv

import numpy as np

from utils.science import evaluation, score_table, strata_table

SETTINGS = evaluation.Settings(
    ("B04", "B08", "B12"), 0.02, (0.09, 0.14, 0.22, 0.34, 0.44), (-0.25, -0.10, 0.10, 0.27, 0.44, 0.66), 0.09, 0.10
)


def _judged(predict) -> dict:
    """Two blocks of ground; the left half loses NIR and gains SWIR."""
    judge = evaluation.Judge(SETTINGS)
    for block in ("a", "b"):
        before = np.full((16, 16, 3), [0.05, 0.35, 0.15])
        after = before.copy()
        after[:, :8] = [0.1, 0.15, 0.25]
        truth = evaluation.truth_of(
            SETTINGS, before, after, np.ones((16, 16), bool), {"under_cloud": np.zeros((16, 16), bool)}
        )
        judge.add(block, predict(before, after), truth)
    return {"observed": judge.to_json(50, 1)}


def _table() -> dict:
    methods = {
        "copy_t0": _judged(lambda before, after: before),
        "perfect": _judged(lambda before, after: after),
        "half": _judged(lambda before, after: (before + after) / 2),
        "vh_logratio": {"skipped": "no train pixel is burned"},
    }
    facts = {"samples": 2, "set": "test", "pairs": 1, "synthetic": True, "hidden_truth": False}
    return score_table.build(methods, ["perfect", "half"], facts)


def test_strata_and_figures_by_hand() -> None:
    table = _table()
    rows = {name: row["observed"]["strata"] for name, row in table["methods"].items() if "observed" in row}
    assert rows["copy_t0"]["changed"]["pixels"] == 256 and rows["copy_t0"]["unchanged"]["pixels"] == 256
    assert (
        rows["copy_t0"]["all"]["mae"] == (0.05 + 0.2 + 0.1) / 3 / 2
        or abs(rows["copy_t0"]["all"]["mae"] - 0.35 / 6) < 1e-12
    )
    assert abs(rows["half"]["changed"]["skill"] - 0.75) < 1e-12
    assert rows["perfect"]["all"]["psnr"] == "inf" and rows["copy_t0"]["unchanged"]["skill"] is None


def test_burned_figures_by_hand() -> None:
    burned = _table()["methods"]["half"]["observed"]["burned"]
    # NBR: before .2/.5 = .4; after -.1/.4 = -.25; half (.25, .2): .05/.45 = .111 -> dNBR true .65, predicted .289
    assert burned["NBR"]["f1"] == 1 and burned["NBR"]["severity"]["oa"] == 0.5
    assert abs(burned["NBR"]["difference"]["slope"] - (0.4 - 0.05 / 0.45) / 0.65) < 1e-9
    assert _table()["methods"]["copy_t0"]["observed"]["burned"]["NBR"]["omission"] == 1


def test_missing_predictions_are_counted_not_hidden() -> None:
    def holes(before, after):
        image = after.copy()
        image[:4] = np.nan
        return image

    figures = _judged(holes)["observed"]
    facts = {
        "samples": 2,
        "set": "test",
        "pairs": 1,
        "synthetic": False,
        "hidden_truth": False,
        "changed_threshold": 0.02,
    }
    table = score_table.build({"copy_t0": _judged(lambda b, _: b), "some": {"observed": figures}}, ["some"], facts)
    assert strata_table.notes(table) == [
        "some: 128 pixels of the observed t1 have no prediction; they are in no score of some"
    ]
    assert figures["missing_pixels"] == 2 * 4 * 16 and figures["strata"]["all"]["pixels"] == 2 * 12 * 16


def test_copy_is_first_and_the_winner_is_named() -> None:
    table = _table()
    text = score_table.lines(table)
    assert "synthetic" in text[0] and text[2].startswith("copy_t0")
    assert "vh_logratio: not judged, no train pixel is burned" in text
    assert table["best"]["observed"]["skill_changed"] == "perfect" and "perfect" in score_table.verdict(table)
    assert score_table.verdict(table).startswith("best on changed pixels: perfect (change skill 1.00, copy_t0 0)")
    assert score_table.image_rows(table, "observed")[0][1] == "skill changed [95 %]"


def test_copy_wins_when_it_wins() -> None:
    methods = {"copy_t0": _judged(lambda b, a: b), "worse": _judged(lambda b, a: b - 0.1)}
    table = score_table.build(
        methods, ["worse"], {"samples": 1, "set": "test", "pairs": 1, "synthetic": False, "hidden_truth": False}
    )
    assert table["best"]["observed"]["psnr_all"] == "copy_t0"
    assert "synthetic" not in score_table.csv_text(table)


def test_csv_is_long_and_carries_intervals() -> None:
    rows = list(csv.DictReader(score_table.csv_text(_table()).splitlines()))
    found = [r for r in rows if (r["method"], r["part"], r["figure"]) == ("half", "changed", "skill")]
    assert (
        len(found) == 1
        and float(found[0]["value"]) == 0.75
        and float(found[0]["low"]) <= 0.75
        and found[0]["note"] == "synthetic"
    )


def test_plain_makes_json_of_everything() -> None:
    value = evaluation.plain({"a": np.float64("nan"), "b": (np.inf, -np.inf), "c": np.int64(3), "d": np.array([True])})
    assert value == {"a": None, "b": ["inf", "-inf"], "c": 3, "d": [True]}
