"""The table of real fires: every known figure, and the same arithmetic on a made-up fire counted by hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score, jaccard_score

from tests.unit.test_50_judge import call
from utils.io import fires, raster
from utils.science import fire_scores
from utils.science.grid import Grid
from utils.workflow.errors import InputError

GRID = Grid(32755, 700000.0, 6100000.0, 20.0, -20.0, 10, 12)
HEALTHY, BURNT = (300, 500, 400, 3500, 1200), (600, 800, 1000, 1400, 2500)
DATA = os.environ.get("S2CR_DATA")


def made(folder: Path, shift: int = 2) -> Path:
    """A fire of 4 x 5 px; the image before reaches `shift` columns farther west, and one pixel after has no data."""
    before = np.broadcast_to(np.array(HEALTHY, float)[:, None, None], (5, 10, 12 + shift)).copy()
    after = np.broadcast_to(np.array(HEALTHY, float)[:, None, None], (5, *GRID.shape)).copy()
    after[:, 2:6, 3:8] = np.array(BURNT)[:, None, None]
    after[:, 0, 0] = np.nan
    perimeter = np.zeros(GRID.shape, np.uint8)
    perimeter[2:7, 3:8] = 1  # one row more than burned
    wide = Grid(GRID.epsg, GRID.x0 - 20.0 * shift, GRID.y0, 20.0, -20.0, 10, 12 + shift)
    raster.write(folder / "pre_fire/one.tif", before, wide)
    raster.write(folder / "post_fire/one.tif", after, GRID)
    raster.write(folder / "masks/one.tif", perimeter, GRID)
    return folder


def test_scores_by_hand(tmp_path: Path) -> None:
    fire = fires.read(made(tmp_path), "one")
    assert fire.cut == (0, 2) and fire.given_dnbr is None and fires.names(tmp_path) == ["one"]
    change = fire_scores.differences(fire.before, fire.after)
    rows = fire_scores.rows("one", change, fire.perimeter, fire.grid.pixel_area_m2())
    assert [(row["map"], row["truth"]) for row in rows] == [
        ("dNBR > 0.10", "perimeter"), ("dNDVI > 0.09", "perimeter"), ("dNDVI > 0.09", "dNBR > 0.10"),
    ]  # fmt: skip
    own = rows[0]
    # 20 hits, 5 missed, none too many, 119 pixels known
    assert own["f1"] == pytest.approx(40 / 45) and own["iou"] == pytest.approx(20 / 25)
    assert own["omission"] == pytest.approx(0.2) and own["commission"] == 0 and own["area_bias"] == pytest.approx(-0.2)
    assert own["all_burned"] == pytest.approx(2 * 25 / (119 + 25))
    assert own["map_ha"] == pytest.approx(20 * 0.04) and own["truth_ha"] == pytest.approx(25 * 0.04)
    burnt = (3500 - 1200) / 4700 - (1400 - 2500) / 3900
    assert own["mean_inside"] == pytest.approx(burnt * 20 / 25)
    assert own["reference"] is None and own["off"] is None and rows[2]["f1"] == 1


def test_figures_equal_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    truth, own = (generator.integers(0, 2, (40, 50)).astype(np.uint8) for _ in range(2))
    truth[:2] = own[:, :3] = 255
    found = fire_scores.scored(own, truth, np.full((40, 1), 100.0))
    known = (truth != 255) & (own != 255)
    t, p = truth[known], own[known]
    assert found["f1"] == pytest.approx(f1_score(t, p)) and found["iou"] == pytest.approx(jaccard_score(t, p))
    assert found["kappa"] == pytest.approx(cohen_kappa_score(t, p))
    assert found["all_burned"] == pytest.approx(f1_score(t, np.ones_like(p)))
    assert found["truth_ha"] == pytest.approx(t.sum() * 0.01)


def test_a_figure_that_is_off_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path)
    monkeypatch.setitem(fire_scores.REFERENCE, "one", (0.89, 0.80))
    code, text = call("fires", str(tmp_path))
    assert code == 0 and "off by more than 0.01: one dNDVI > 0.09 (0.089)" in text
    assert "0 rows and 2 columns more; joined by place" in text and "no dNBR is given" in text
    line = next(line for line in text.splitlines() if line.startswith("one   dNBR"))
    assert line.split()[4:9] == ["perimeter", "0.889", "0.89", "0.001", "0.35"]


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("S2CR_DATA", raising=False)
    code, text = call("fires")
    assert code == 66 and "S2CR_DATA" in text
    code, text = call("fires", str(tmp_path))
    assert code == 66 and "no post_fire/*.tif" in text
    made(tmp_path)
    raster.write(tmp_path / "pre_fire/one.tif", np.ones((5, 10, 12)), Grid(32755, 700003.0, 6100000.0, 20, -20, 10, 12))
    with pytest.raises(InputError, match="not by whole pixels"):
        fires.read(tmp_path, "one")
    raster.write(tmp_path / "pre_fire/one.tif", np.ones((4, 10, 12)), GRID)
    with pytest.raises(InputError, match="no band 5"):
        fires.read(tmp_path, "one")


@pytest.mark.realdata
@pytest.mark.parametrize("name", sorted(fire_scores.REFERENCE))
def test_known_figures_of_the_real_fires(name: str) -> None:
    if DATA is None:
        pytest.skip("S2CR_DATA is unset: the fires need the sample data")
    fire = fires.read(Path(DATA) / "fires", name)
    change = fire_scores.differences(fire.before, fire.after)
    rows = fire_scores.rows(name, change, fire.perimeter, fire.grid.pixel_area_m2())
    for row in rows[:2]:
        print(f"{name} {row['map']}: F1 {row['f1']:.3f}, known {row['reference']} (+- {fire_scores.TOLERANCE})")
        assert row["off"] <= fire_scores.TOLERANCE and row["all_burned"] < 0.40
    assert (fire.cut != (0, 0)) == (name == "DOVE_20241019") == (fire.given_dnbr is None)
    if fire.given_dnbr is not None:
        assert np.nanmax(np.abs(fire.given_dnbr - change["NBR"])) < 1e-7
    else:  # dNDVI fails there and dNBR does not: B12 is worth its channel
        inside = [round(row["mean_inside"], 3) for row in rows[:2]]
        assert inside == [0.200, 0.040]


@pytest.mark.realdata
def test_one_command_prints_them_all() -> None:
    if DATA is None:
        pytest.skip("S2CR_DATA is unset: the fires need the sample data")
    code, text = call("fires", f"{DATA}/fires")
    assert code == 0 and "12 known F1 figures" in text and "(limit 0.01)" in text
    assert text.count("perimeter") == 12 and text.count("dNDVI > 0.09  dNBR > 0.10") == 6
