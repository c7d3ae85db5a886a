"""From an image to severity, hectares and their interval, as the notebook does it."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.unit import tiny_judged
from utils.io import burned_views, mosaics, pictures, raster
from utils.io.burned_views import Severity
from utils.io.samples import DatasetIndex, load_index
from utils.science import severity
from utils.science.grid import Grid, Window
from utils.workflow.errors import InputError

EDGES = (-0.25, -0.10, 0.10, 0.27, 0.44, 0.66)
GRID = tiny_judged.GRID


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> DatasetIndex:
    folder = tmp_path_factory.mktemp("burnt")
    tiny_judged.build(folder)
    return load_index(folder / "work/dataset/test")


def of_codes(burned: np.ndarray, grid: Grid = GRID) -> Severity:
    """A map with dNBR .5 where burned."""
    change = np.where(burned == 255, np.nan, np.where(burned == 1, 0.5, 0.0))
    return Severity("NBR", grid, change, severity.classify(change, EDGES), severity.burned(change, 0.10))


def test_severity_of_an_image_by_hand(tmp_path: Path) -> None:
    small = GRID.window(Window(0, 0, 2, 2))
    before = np.full((1, 2, 2), 0.5, np.float32)
    # NBR (N - B12) / (N + B12): .5, .2, -.3, and no data
    nir, swir = np.array([[0.3, 0.3], [0.14, np.nan]]), np.array([[0.1, 0.2], [0.26, 0.1]])
    raster.write(tmp_path / "nbr_t0.tif", before, small, nodata=np.nan)
    image = np.stack([np.full((2, 2), 0.1), np.full((2, 2), 0.1), np.full((2, 2), 0.1), nir, swir])
    mosaics.write_reflectance(tmp_path / "image.tif", image, small, tiny_judged.BANDS, {})
    made = burned_views.severity_map("NBR", tmp_path / "nbr_t0.tif", tmp_path / "image.tif", EDGES, 0.10)
    np.testing.assert_allclose(made.change[:1], [[0.0, 0.3]], atol=2e-3)
    np.testing.assert_allclose(made.change[1, 0], 0.8, atol=2e-3)
    assert made.classes.tolist() == [[2, 4], [6, 255]] and made.burned.tolist() == [[0, 1], [1, 255]]
    hectares = made.hectares()
    assert hectares["burned"] == pytest.approx(0.02)
    assert {name: round(value, 4) for name, value in hectares.items() if value} == {
        "burned": 0.02, "unburned": 0.01, "moderate_low": 0.01, "high": 0.01,
    }  # fmt: skip
    assert made.legend[6] == (pictures.DNBR_RGB[6], "high") and (made.picture[1, 1] == pictures.NODATA_RGB).all()


def test_interval_of_a_perfect_map_is_its_own_area(index: DatasetIndex) -> None:
    burned = np.zeros(GRID.shape, np.uint8)
    burned[:, 60:80] = 1
    one = of_codes(burned)
    ha, low, high = burned_views.interval(one, one, index, "p001", cell_px=4)
    assert ha == low == high == pytest.approx(64 * 20 * 0.01)


def test_interval_corrects_a_map_that_misses_burns(index: DatasetIndex) -> None:
    """Half of what burned is missed everywhere; test ground is columns 64 to 96."""
    held, centre = 0, []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        true = (rng.random(GRID.shape) < 0.4).astype(np.uint8)
        own = np.where(rng.random(GRID.shape) < 0.5, true, 0).astype(np.uint8)
        ha, low, high = burned_views.interval(of_codes(own), of_codes(true), index, "p001", cell_px=4, seed=seed)
        real, counted = true.sum() * 0.01, own.sum() * 0.01
        held += low <= real <= high
        centre.append(ha / real)
        assert counted < 0.6 * real
    print(
        f"{held} of 60 intervals hold the true area (limit 54); mean of corrected / true {np.mean(centre):.3f} (1 +- 0.03)"
    )
    assert held >= 54 and abs(np.mean(centre) - 1) < 0.03
    # outside the test samples nothing is looked at
    hidden = true.copy()
    hidden[:, :64] = 255
    assert burned_views.interval(of_codes(own), of_codes(hidden), index, "p001", cell_px=4, seed=59) == (ha, low, high)
    with pytest.raises(ValueError, match="fewer than two samples"):
        burned_views.interval(of_codes(own), of_codes(hidden), index, "p001", cell_px=1000)


def test_folder_of_the_truth(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no maps of a true t1 of pair p001"):
        burned_views.true_folder(tmp_path, "p001")
    (tmp_path / "truth/p001").mkdir(parents=True)
    assert burned_views.true_folder(tmp_path, "p001") == (tmp_path / "truth/p001", "observed t1 where clear")
    (tmp_path / "hidden/p001").mkdir(parents=True)
    assert burned_views.true_folder(tmp_path, "p001")[1] == "hidden truth"


def test_rivals_in_hectares(tmp_path: Path) -> None:
    figures = {"confusion": [[50.0, 10.0], [20.0, 20.0]], "area_bias": -0.25, "f1": 0.571, "iou": 0.4, "kappa": None}
    table = {
        "facts": {"hidden_truth": True}, "order": ["copy_t0", "all_burned"],
        "methods": {"copy_t0": {"hidden": {"burned": {"NBR": figures}}}, "all_burned": {"skipped": "no"}},
    }  # fmt: skip
    (tmp_path / "evaluate.json").write_text(json.dumps(table))
    head, *rows = burned_views.rival_lines(tmp_path / "evaluate.json", "NBR", 0.01)
    assert head.split() == ["method", "mapped", "ha", "true", "ha", "bias", "F1", "IoU", "kappa"]
    assert [row.split() for row in rows] == [["copy_t0", "0.3", "0.4", "-0.25", "0.57", "0.40", "-"]]


def test_severity_is_swiped_with_its_legend() -> None:
    burned = np.zeros(GRID.shape, np.uint8)
    burned[:, 60:80] = 1
    frame = burned_views.swipe(of_codes(burned), of_codes(1 - burned), "synthetic")
    page = html.unescape(re.search(r'srcdoc="([^"]*)"', frame).group(1))
    assert re.findall(r"alt='([^']+)'", page) == [
        "severity, simulated",
        "dNBR, simulated",
        "severity, true",
        "dNBR, true",
    ]
    assert "moderate high" in page and "<option value=2 selected>severity, true" in page


def test_other_class_tables_are_refused(tmp_path: Path) -> None:
    raster.write(tmp_path / "dnbr.tif", np.zeros((1, *GRID.shape), np.float32), GRID, nodata=np.nan)
    assert burned_views.stored_map("NBR", tmp_path, EDGES, 0.1).hectares()["unburned"] == pytest.approx(61.44)
    with pytest.raises(InputError, match="3 classes, not 7"):
        burned_views.stored_map("NBR", tmp_path, (0.1, 0.5), 0.1)
