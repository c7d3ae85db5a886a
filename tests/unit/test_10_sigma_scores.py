"""Judged sigmas: coverage and order of made-up errors whose sigma is known."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from utils.science import evaluation, score_table, strata_table
from utils.science.sigma_scores import SigmaJudge

BANDS = ("B04", "B08")
SETTINGS = evaluation.Settings(BANDS, 0.02, (0.09, 0.14), (-0.1, 0.1), 0.09, 0.10)
SIDE = 80


def judged(factor: float, *, flat: bool = False, pixels: int = 400_000, changed_error: float = 1.0) -> dict:
    """Sigma told as `factor` times the true one; errors of changed pixels `changed_error` times as large."""
    judge, generator = SigmaJudge(6, seed=1, pixels=pixels), np.random.default_rng(3)
    for number in range(6):
        before = np.full((SIDE, SIDE, 2), [0.05, 0.30])
        after = before.copy()
        after[: SIDE // 4] += 0.1
        truth = evaluation.truth_of(SETTINGS, before, after, np.ones((SIDE, SIDE), bool))
        sigma = np.broadcast_to(generator.uniform(0.005, 0.05, (SIDE, SIDE, 1)), before.shape)
        large = np.where(truth.strata["changed"], changed_error, 1.0)[..., None]
        prediction = after + generator.normal(0, 1, before.shape) * sigma * large
        told = np.full_like(sigma, 0.02) if flat else sigma * factor
        judge.add(f"b{number % 3}", prediction, told, truth)
    return judge.to_json(200, 1)


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0])
def test_coverage_is_that_of_the_normal_distribution(factor: float) -> None:
    found = judged(factor)["all"]
    for level, width in (("68", 1.0), ("95", NormalDist().inv_cdf(0.975))):
        wanted = 2 * NormalDist().cdf(width * factor) - 1
        low, high = found["interval"][level]
        print(f"sigma x {factor}: {level} % covers {found['coverage'][level]:.4f}, theory {wanted:.4f}")
        assert found["coverage"][level] == pytest.approx(wanted, abs=0.006) and low < high
        assert low <= found["coverage"][level] <= high
    assert found["values"] == 6 * SIDE * SIDE * 2
    assert found["sigma"] / found["rmse"] == pytest.approx(factor, rel=0.02)


def test_the_interval_of_95_has_a_width_of_its_own() -> None:
    image = np.zeros((1, 4, 2))
    truth = evaluation.truth_of(SETTINGS, image, image, np.ones((1, 4), bool))
    errors = np.array([0.5, 1.5, 2.5, 3.5])[None, :, None] * np.full((1, 1, 2), 0.01)
    for width, wanted in ((1.96, 4 / 8), ([3.0, 1.0], 4 / 8), ([4.0, 3.0], 7 / 8)):
        judge = SigmaJudge(1, width_95=width)
        judge.add("a", errors, np.full((1, 4, 2), 0.01), truth)
        assert judge.to_json(10, 0)["all"]["coverage"] == {"68": 2 / 8, "95": wanted}


def test_a_sigma_that_knows_sorts_better_than_one_for_all() -> None:
    own, flat = judged(1.0)["all"], judged(1.0, flat=True)["all"]
    print(f"AUSE {own['ause']:.4f}, one sigma for all {own['ause_constant']:.4f}")
    assert own["ause"] < 0.7 * own["ause_constant"]
    assert flat["ause"] == pytest.approx(flat["ause_constant"], abs=1e-9)
    drawn = judged(1.0, pixels=6000)["all"]
    assert drawn["ause"] == pytest.approx(own["ause"], abs=0.02) and drawn["coverage"] == own["coverage"]


def test_changed_pixels_whose_errors_are_larger_are_told() -> None:
    found = judged(1.0, changed_error=2.0)
    assert found["changed"]["coverage"]["68"] == pytest.approx(2 * NormalDist().cdf(0.5) - 1, abs=0.01)
    assert strata_table.sigma_verdict(found["changed"]) == "too small"
    assert strata_table.sigma_verdict(found["unchanged"]) == "ok"
    assert strata_table.sigma_verdict(judged(3.0)["all"]) == "too large"
    worse = strata_table.sigma_verdict(judged(1.0, flat=True)["all"])
    assert "sorts no better than one sigma for all" in worse


def test_pixels_without_prediction_or_sigma_are_left_out() -> None:
    judge = SigmaJudge(1)
    image = np.full((4, 4, 2), 0.2)
    truth = evaluation.truth_of(SETTINGS, image, image, np.ones((4, 4), bool))
    prediction, sigma = image + 0.01, np.full((4, 4, 2), 0.02)
    prediction[0] = np.nan
    sigma[1, 0, 1], sigma[1, 1] = np.nan, 0.0
    judge.add("a", prediction, sigma, truth)
    found = judge.to_json(100, 0)
    assert found["all"]["values"] == (16 - 4 - 2) * 2 and found["all"]["interval"]["68"] == [None, None]
    assert found["all"]["coverage"] == {"68": 1.0, "95": 1.0} and "changed" not in found


def test_the_table_names_what_is_wrong() -> None:
    figures = {"strata": {"all": {"pixels": 5, "mae": 0.1, "blocks": 3}}, "sigma": judged(0.5)}
    facts = {
        "synthetic": True,
        "hidden_truth": False,
        "changed_threshold": 0.02,
        "samples": 1,
        "set": "test",
        "pairs": 1,
    }
    table = score_table.build(
        {"copy_t0": {"observed": {"strata": figures["strata"]}}, "good": {"observed": figures}}, ["good"], facts
    )
    head, rows = strata_table.sigma_rows(table, "observed")
    assert [row[1] for row in rows][:3] == ["all", "changed > 0.02 or dNDVI", "unchanged <= 0.02 or dNDVI"]
    assert all(row[0] == "good" and row[-1].startswith("too small") for row in rows)
    assert "38." in rows[0][head.index("within 1 sigma [95 %]")]
    text = "\n".join(strata_table.lines(table))
    assert "68.3 and 95.0 % are wanted" in text and "synthetic" in text
