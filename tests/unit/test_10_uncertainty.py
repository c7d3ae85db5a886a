"""Coverage, temperature and sparsification against normal draws, brute force and hand-made pixels."""

from __future__ import annotations

import numpy as np
import pytest

from utils.science import uncertainty as u


def test_coverage_counts_within_one_and_1_96_sigma() -> None:
    ratios = np.array([0.0, 0.5, 1.0, 1.5, 1.9, 2.5, 3.0, 4.0])
    assert u.coverage(ratios) == {"68": 3 / 8, "95": 5 / 8}
    assert u.coverage(ratios / 2.0) == {"68": 5 / 8, "95": 7 / 8}
    assert u.coverage(ratios, 3.0) == {"68": 3 / 8, "95": 7 / 8}
    assert u.coverage(ratios.reshape(4, 2), np.array([1.9, 0.1])) == {"68": 3 / 8, "95": 3 / 8}
    assert u.coverage(np.array([])) == {}


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5])
def test_temperature_of_normal_errors(factor: float) -> None:
    ratios = np.abs(np.random.default_rng(1).normal(0, factor, 40_000))
    found = u.fit_temperature(ratios)
    print(f"temperature {found:.4f} of normal errors of {factor} sigma (limit 1.5 %)")
    assert found == pytest.approx(factor, rel=0.015)


def test_heavy_tails_miss_both_coverages_by_the_same() -> None:
    ratios = np.abs(np.random.default_rng(2).laplace(0, 1, 40_000))
    found = u.coverage(ratios / u.fit_temperature(ratios))
    misses = [found[name] - wanted for name, (_, wanted) in u.LEVELS.items()]
    print(f"coverage of Laplace errors {found}")
    assert misses[0] == pytest.approx(-misses[1], abs=1e-4)
    brute = min(
        max(abs(u.coverage(ratios / t)[n] - w) for n, (_, w) in u.LEVELS.items()) for t in np.arange(0.5, 3, 0.01)
    )
    assert max(map(abs, misses)) <= brute + 1e-4
    assert u.fit_temperature(np.array([])) == 1.0


def test_width_of_95_covers_new_errors_of_the_same_kind_whatever_their_tails() -> None:
    rng = np.random.default_rng(5)
    shapes = {"normal": rng.standard_normal, "laplace": rng.laplace, "student 3": lambda size: rng.standard_t(3, size)}
    for name, draw in shapes.items():
        shares = [(np.abs(draw(size=999)) <= u.fit_width_95(np.abs(draw(size=99)))).mean() for _ in range(400)]
        print(f"{name}: covers {np.mean(shares):.4f} of new errors (exactly .95 expected: 95th of 99)")
        assert np.mean(shares) == pytest.approx(0.95, abs=0.004)
    normal = u.fit_width_95(np.abs(rng.standard_normal(400_000)))
    assert normal == pytest.approx(u.NORMAL_95, abs=0.01)
    assert u.fit_width_95(np.arange(1.0, 20.0)) == 19.0  # the largest of 19, as the rank says
    assert u.fit_width_95(np.arange(1.0, 19.0)) == u.NORMAL_95 == u.fit_width_95(np.array([]))


def test_the_tag_of_widths_is_read_as_it_was_written() -> None:
    text = u.widths_text({"B04": 2.31, "B08": 2.4806})
    assert text == "B04 2.310, B08 2.481"
    assert u.widths_of(text, ("B08", "B04", "B12")).tolist() == [2.481, 2.31, u.NORMAL_95]
    assert u.widths_of(None, ("B04",)).tolist() == [u.NORMAL_95]
    for broken in ("B04", "B04 wide", "B04 2 3"):
        with pytest.raises(ValueError):
            u.widths_of(broken, ("B04",))


def _brute_curve(squared: np.ndarray, score: np.ndarray) -> np.ndarray:
    out = []
    for removed in np.arange(100) / 100:
        kept = np.argsort(score)[: max(1, round(squared.size * (1 - removed)))]
        out.append(np.sqrt(squared[kept].mean() / squared.mean()))
    return np.array(out)


def test_sparsification_against_brute_force() -> None:
    rng = np.random.default_rng(3)
    squared, score = rng.gamma(1, 1, 1000), rng.random(1000)
    assert np.allclose(u.sparsification(squared, score), _brute_curve(squared, score))
    assert u.ause(squared, squared) == 0.0
    assert u.ause(squared, 3 + 7 * squared) == 0.0  # only the order counts
    reversed_, random = u.ause(squared, -squared), u.ause(squared, score)
    constant = u.ause(squared, np.ones(1000))
    assert reversed_ is not None and random is not None and constant is not None
    assert 0 < constant < reversed_
    assert random == pytest.approx(constant, abs=0.1)
    # one sigma for all pixels: nothing is sorted, the curve stays at 1
    assert constant == pytest.approx(1 - _brute_curve(squared, squared).mean())
    assert u.ause(np.array([]), np.array([])) is None


def test_strata_are_judged_apart() -> None:
    error = np.array([[0.01], [0.02], [0.30], [0.40]])
    sigma = np.array([[0.02], [0.02], [0.1], [0.1]])
    rough = np.array([False, False, True, True])
    one = np.ones(1)
    strata = {"all": rough | ~rough, "rough": rough, "none": rough & ~rough}
    found = u.strata_report(error, sigma, one, u.NORMAL_95 * one, strata, one)
    assert found["all"]["coverage"] == {"68": 0.5, "95": 0.5}
    assert found["rough"]["coverage"] == {"68": 0.0, "95": 0.0}
    assert found["none"] == {"pixels": 0, "coverage": {}, "ause": None, "ause_constant": None}
    # a temperature for each pixel moves the coverage, never the order of the pixels
    each = np.array([[1.0], [1.0], [2.1], [2.1]])
    wider = u.strata_report(error, sigma, each, u.NORMAL_95 * one, {"rough": rough, "all": rough | ~rough}, one)
    assert wider["all"]["ause"] == found["all"]["ause"]
    assert wider["rough"]["coverage"] == {"68": 0.0, "95": 1.0}
    # so does a width for each pixel, of the interval of 95 % alone
    widths = np.array([[1.0], [1.0], [3.5], [3.5]])
    assert u.strata_report(error, sigma, one, widths, strata, one)["rough"]["coverage"] == {"68": 0.0, "95": 0.5}
