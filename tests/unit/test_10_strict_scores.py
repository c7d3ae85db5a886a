"""Scores of the strict split: cells against one pooled score, and the crossed bootstrap against draws made by hand."""

import numpy as np
import pytest

from utils.science import metrics, strict_report, strict_scores
from utils.science.strict_scores import Board, Truth

BANDS = ("B04", "B03", "B02", "B08")


def images(seed=0, size=48):
    rng = np.random.default_rng(seed)
    s2_t0 = 0.05 + 0.3 * rng.random((size, size, 4))
    s2_t1 = s2_t0 + rng.normal(0, 0.05, s2_t0.shape) * (rng.random((size, size, 1)) > 0.6)
    return s2_t0, s2_t1, s2_t0 + 0.5 * (s2_t1 - s2_t0), rng.random((size, size)) > 0.1


def test_cells_add_up_to_the_pooled_score():
    board, pieces = Board(BANDS, 16), []
    for seed, day in ((0, "d1"), (1, "d2"), (2, "d1")):
        s2_t0, s2_t1, own, mask = images(seed)
        board.add(day, own, Truth(s2_t0, s2_t1, mask))
        pieces.append((s2_t0[mask], s2_t1[mask], own[mask]))
    first, second, own = (np.concatenate(part)[None] for part in zip(*pieces, strict=True))
    found = strict_scores.figures(board.sums(), 4, 50, 0)
    mse = ((own - second) ** 2).mean()
    assert found["all"]["psnr"]["value"] == pytest.approx(-10 * np.log10(mse), abs=1e-9)
    changed = metrics.changed_mask(first, second, BANDS)
    for name, part in (
        ("changed", changed),
        ("unchanged", ~changed),
        ("changed_05", np.abs(first - second).mean(-1) > 0.05),
    ):
        direct = 1 - ((own - second)[part] ** 2).sum() / ((first - second)[part] ** 2).sum()
        assert found[name]["skill"]["value"] == pytest.approx(direct, abs=1e-9), name
        assert found[name]["pixels"] == part.sum()
    assert found["changed"]["skill"]["value"] == pytest.approx(0.75, abs=1e-9)  # half of every change is predicted


def test_cube_places_cells():
    cells = {"d2|b": np.array([1.0, 2.0]), "d1|a": np.array([3.0, 4.0])}
    assert strict_scores.cube(cells).tolist() == [[[3.0, 4.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 2.0]]]


def test_draws_are_of_dates_and_blocks_together():
    table = np.random.default_rng(0).random((3, 4, 2))
    found = strict_scores.drawn_totals(table, 200, seed=5)
    generator = np.random.default_rng(5)
    dates = generator.multinomial(3, [1 / 3] * 3, size=200)
    blocks = generator.multinomial(4, [1 / 4] * 4, size=200)
    for draw in (0, 17, 199):
        direct = sum(dates[draw, i] * blocks[draw, j] * table[i, j] for i in range(3) for j in range(4))
        assert np.allclose(found[draw], direct)


def test_interval_knows_that_a_date_is_one_sample():
    """Errors shared by all blocks of a date: the interval must be about that of the dates alone, not 64 times as many."""
    rng = np.random.default_rng(1)
    level = rng.normal(1.0, 0.3, 6)
    table = np.repeat(level[:, None, None], 64, axis=1)
    drawn = strict_scores.drawn_totals(table, 4000, 2)[:, 0] / (6 * 64)
    expected = level.std() / np.sqrt(6)
    print(f"spread of the mean {drawn.std():.4f} (by hand {expected:.4f})")
    assert drawn.std() == pytest.approx(expected, rel=0.1)


def test_merged_adds_seeds_and_folds():
    one = {name: {"d|b": np.ones(3)} for name in strict_scores.STRATA}
    two = {name: {"d|b": np.ones(3), "e|b": np.full(3, 5.0)} for name in strict_scores.STRATA}
    total = strict_scores.merged([one, two])
    assert total["all"]["d|b"].tolist() == [2, 2, 2] and total["changed"]["e|b"].tolist() == [5, 5, 5]


def sums_of(factor, seed=0):
    board = Board(BANDS, 16)
    for day in range(4):
        s2_t0, s2_t1, _, mask = images(10 * seed + day)
        board.add(f"d{day}", s2_t0 + factor * (s2_t1 - s2_t0), Truth(s2_t0, s2_t1, mask))
    return board.sums()


def test_report_reaches_goals_by_its_own_figures():
    sums = {"copy_t0": {1: sums_of(0.0)}, "season_only": {1: sums_of(0.2)}, "histgbm_res": {1: sums_of(0.5)}}
    report = strict_report.build("0060c0a5", sums, {"title": "t"}, 4, 200, 0)
    own = report["methods"]["histgbm_res"]
    assert own["strata"]["changed"]["skill"]["value"] == pytest.approx(0.75)
    assert own["gain_db"]["value"] == pytest.approx(20 * np.log10(2), abs=1e-6)
    assert report["above_season"]["histgbm_res"]["value"] == pytest.approx(0.75 - 0.36)
    goals = {(g["method"], g["what"]): g for g in report["goals"]}
    assert goals["histgbm_res", "overall, dB above copy_t0"]["ok"]
    assert [g["ok"] for g in report["goals"]] == [True, True, True]
    weak = strict_report.build("belgium", sums | {"histgbm_res": {1: sums_of(0.1)}}, {"title": "t"}, 4, 200, 0)
    found = {g["what"]: g["ok"] for g in weak["goals"]}
    assert (
        not found["overall, dB above copy_t0"] and not found["skill on changed pixels"] and not found["its lower bound"]
    )


def test_difference_needs_the_same_cells():
    with pytest.raises(ValueError, match="different dates or blocks"):
        first = sums_of(0.5)
        second = {**first, "all": dict(list(first["all"].items())[1:])}
        strict_report.difference(first, second, "all", "psnr", 4, 10, 0)


def test_page_tells_how_networks_and_files_were_made():
    sums = {name: {1: sums_of(0.1)} for name in ("copy_t0", "resunet_tiny", "told", "untold")}
    made = {"parameters": 23612, "steps": 960, "batch": 4, "side_px": 28}
    facts = {"networks": {"resunet_tiny": made}, "from_files": {"told": "by hand", "untold": ""}}
    other = {"networks": {"resunet_tiny": {**made, "side_px": 48}}, "from_files": {}}
    reports = [strict_report.build("p", sums, {"title": "t", "facts": each}, 4, 20, 0) for each in (facts, other)]
    page = strict_report.markdown(reports, "a.png", lambda _: "")
    assert "- `resunet_tiny`: network of 23,612 parameters, 960 steps of 4 crops of 28 and 48 px on each fold" in page
    assert f"- `told`: {strict_report.FROM_FILES}: by hand\n" in page
    assert f"- `untold`: {strict_report.FROM_FILES}\n" in page


def test_places_are_told_in_one_order_however_they_were_read():
    sums = sums_of(0.1)
    own = {
        "strata": strict_scores.figures(sums, 4, 20, 0),
        "gain_db": strict_scores.gain_interval(sums, sums_of(0.0), 4, 20, 0),
    }
    names = ["by_range", "relative", "copy_t0", "relative_half", "histgbm_res"]
    case = {"train": ["a"], "test": "b", "pairs": 2, "pairs_inside": 1, "shrink": 0.5}
    rows = [
        strict_report.place_rows([{**case, "methods": dict.fromkeys(order, own)}]) for order in (names, names[::-1])
    ]
    assert rows[0] == rows[1] and rows[0][1][2] == "copy_t0" and len(rows[0]) == 6


def test_table_and_page_name_what_is_short():
    sums = {"copy_t0": {1: sums_of(0.0)}, "histgbm_res": {1: sums_of(0.1), 2: sums_of(0.2)}}
    report = strict_report.build("belgium", sums, {"title": "the place"}, 4, 50, 0)
    page = strict_report.markdown([report], "a.png", lambda _: "made so")
    assert "### the place" in page and "made so" in page and "![Skill on changed pixels, with intervals](a.png)" in page
    assert "| histgbm_res | skill on changed pixels | 0.5 | 0.28 | short |" in page
    assert "- `copy_t0`: S2(t0) as it is" in page
    row = next(line for line in page.splitlines() if line.startswith("| histgbm_res | ") and "[" in line)
    assert "0.19 to 0.36 (2)" in row
    assert any(line.endswith("short") for line in strict_report.text_lines(report))
