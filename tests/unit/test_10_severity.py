"""Burn severity: classes, confusion and areas by hand, and F1 on real fires."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

from utils.science import indices, severity
from utils.science.grid import Grid

DNDVI = (0.09, 0.14, 0.22, 0.34, 0.44)
DNBR = (-0.25, -0.10, 0.10, 0.27, 0.44, 0.66)


def test_class_edges_belong_to_the_upper_class():
    values = np.array([-1.5, -1.0, 0.0899, 0.09, 0.1399, 0.14, 0.22, 0.34, 0.4399, 0.44, 1.9, np.nan])
    assert severity.classify(values, DNDVI).tolist() == [0, 0, 0, 1, 1, 2, 3, 4, 4, 5, 5, 255]
    values = np.array([-0.3, -0.25, -0.1, 0.1, 0.27, 0.44, 0.66])
    assert severity.classify(values, DNBR).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert len(severity.DNBR_NAMES) == 7 and len(severity.SEVERITY_NAMES) == 6


def test_rounding_and_offset():
    assert severity.classify(np.array([0.08996]), DNDVI)[0] == 0
    assert severity.classify(np.array([0.08996]), DNDVI, round_decimals=4)[0] == 1
    assert severity.classify(np.array([0.12]), DNDVI, offset=0.04)[0] == 0


def test_edges_must_increase():
    with pytest.raises(ValueError, match="increase"):
        severity.classify(np.zeros(1), (0.1, -0.25))
    with pytest.raises(ValueError, match="need 5 edges"):
        severity.check_edges((0.1,), 6)


def test_burned_is_strictly_above():
    assert severity.burned(np.array([0.09, 0.0901, np.nan]), 0.09).tolist() == [0, 1, 255]


def test_confusion_by_hand():
    truth = np.array([0, 0, 1, 1, 1, 255, 0], np.uint8)
    predicted = np.array([0, 1, 1, 0, 1, 1, 255], np.uint8)
    counts = severity.confusion(truth, predicted, 2)
    assert counts.tolist() == [[1, 1], [1, 2]]
    figures = severity.binary_figures(counts)
    assert figures["f1"] == pytest.approx(4 / 6)
    assert figures["iou"] == pytest.approx(2 / 4)
    assert figures["commission"] == pytest.approx(1 / 3) and figures["omission"] == pytest.approx(1 / 3)
    assert figures["area_bias"] == 0 and figures["base_rate"] == pytest.approx(0.6)
    # agreement .6, chance (3*3 + 2*2)/25 = .52
    assert figures["kappa"] == pytest.approx((0.6 - 0.52) / 0.48)
    masked = severity.confusion(truth, predicted, 2, np.array([1, 0, 1, 1, 1, 1, 1], bool))
    assert masked.tolist() == [[1, 0], [1, 2]]


def test_all_burned_at_47_percent_has_f1_064():
    counts = np.array([[0.0, 53.0], [0.0, 47.0]])
    figures = severity.binary_figures(counts)
    assert figures["f1"] == pytest.approx(0.64, abs=0.005) and figures["kappa"] == 0


def test_severity_figures_by_hand():
    counts = np.array([[5.0, 1.0, 0.0], [2.0, 3.0, 0.0], [1.0, 0.0, 4.0]])
    figures = severity.severity_figures(counts, ("a", "b", "c"))
    assert figures["oa"] == pytest.approx(12 / 16) and figures["off_by_one"] == pytest.approx(3 / 16)
    assert figures["recall"]["b"] == pytest.approx(3 / 5) and figures["precision"]["b"] == pytest.approx(3 / 4)
    # quadratic weights: observed 3*(1/4) + 1*1 = 1.75; expected sum of w_ij r_i c_j / n
    rows, cols = (6, 5, 5), (8, 4, 4)
    expected = sum((i - j) ** 2 / 4 * rows[i] * cols[j] / 16 for i in range(3) for j in range(3))
    assert figures["kappa_quadratic"] == pytest.approx(1 - 1.75 / expected)


def test_quadratic_kappa_equals_scikit_learn():
    from sklearn.metrics import cohen_kappa_score

    generator = np.random.default_rng(2)
    truth = generator.integers(0, 6, 500).astype(np.uint8)
    predicted = np.clip(truth + generator.integers(-1, 2, 500), 0, 5).astype(np.uint8)
    reference = cohen_kappa_score(truth, predicted, weights="quadratic")
    assert severity.quadratic_kappa(severity.confusion(truth, predicted, 6)) == pytest.approx(reference)


def test_unknown_code_is_an_error():
    with pytest.raises(ValueError, match="code 7"):
        severity.confusion(np.array([7], np.uint8), np.array([0], np.uint8), 6)


def test_area_on_metres_and_on_the_ellipsoid():
    codes = np.array([[0, 1, 1], [255, 1, 0]], np.uint8)
    flat = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 2, 3)
    assert severity.area_ha(codes, flat.pixel_area_m2(), 2) == pytest.approx([0.02, 0.03])
    # one degree cell between 0 and 1 deg north: 12308.778 km2 on WGS84 (zone formula by hand with authalic q)
    globe = Grid(4326, 10.0, 1.0, 1.0, -1.0, 1, 1)
    area = severity.area_ha(np.zeros((1, 1), np.uint8), globe.pixel_area_m2(), 1)[0]
    radius_m = 6371007.18  # authalic sphere; the equator cell is 0.56 % smaller on the ellipsoid
    sphere_ha = radius_m**2 * math.radians(1) * math.sin(math.radians(1)) / 1e4
    assert area == pytest.approx(sphere_ha, rel=0.006) and area == pytest.approx(1230877.8, rel=2e-4)


def test_stratified_estimator_by_hand():
    # map: 30 % burned; samples burned stratum 9 of 10 right, unburned stratum 2 of 20 are burned
    counts = np.array([[18.0, 2.0], [1.0, 9.0]])
    (_, _), (share, error) = severity.stratified_share(counts, (0.7, 0.3))
    assert share == pytest.approx(0.7 * 0.1 + 0.3 * 0.9)
    assert error == pytest.approx(math.sqrt(0.49 * 0.09 / 19 + 0.09 * 0.09 / 9))
    with pytest.raises(ValueError, match="sum to 1"):
        severity.stratified_share(counts, (0.7, 0.2))


def test_index_errors_by_hand():
    true = np.array([0.0, 0.2, 0.4, np.nan])
    predicted = np.array([0.1, 0.2, 0.3, 0.0])
    figures = severity.index_figures(severity.index_sums(predicted, true, np.ones(4, bool)))
    assert figures["mae"] == pytest.approx(0.2 / 3) and figures["bias"] == pytest.approx(0)
    assert figures["slope"] == pytest.approx(0.5) and figures["n"] == 3


F1 = {  # fire: F1 of dNBR > .10 and of dNDVI > .09 against the perimeter
    "DOVE_20241019": (0.95, 0.01),
    "10TH_20240624": (0.86, 0.42),
    "4-8_20200817": (0.69, 0.50),
    "68_20210818": (0.63, 0.42),
    "66_20230515": (0.43, 0.37),
    "1-7_20200817": (0.42, 0.52),
}


@pytest.mark.realdata
@pytest.mark.parametrize("fire", sorted(F1))
def test_burned_area_of_real_fires(fire):
    if not os.environ.get("S2CR_DATA"):
        pytest.skip("S2CR_DATA is unset: the fires need the sample data")
    from utils.io import raster

    root = Path(os.environ["S2CR_DATA"]) / "fires"
    grid = raster.info(
        root / f"post_fire/{fire}.tif"
    ).grid  # DOVE: before 376 columns, after 320; join on the common grid
    names = ("B02", "B03", "B04", "B08", "B12")
    pre = dict(zip(names, raster.read_on_grid(root / f"pre_fire/{fire}.tif", grid) / 1e4))
    post = dict(zip(names, raster.read(root / f"post_fire/{fire}.tif") / 1e4))
    perimeter = raster.read_on_grid(root / f"masks/{fire}.tif", grid, fill=255)[0].astype(np.uint8)
    for (index, threshold), expected in zip((("NBR", 0.10), ("NDVI", 0.09)), F1[fire]):
        change = indices.difference(indices.compute(index, pre), indices.compute(index, post))
        counts = severity.confusion(perimeter, severity.burned(change, threshold), 2)
        assert float(severity.binary_figures(counts)["f1"]) == pytest.approx(expected, abs=0.01)
    given = root / f"dnbr/{fire}.tif"
    if given.exists():
        change = indices.difference(indices.compute("NBR", pre), indices.compute("NBR", post))
        assert np.nanmax(np.abs(change - raster.read_on_grid(given, grid)[0])) < 2e-7
