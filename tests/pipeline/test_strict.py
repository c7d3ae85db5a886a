"""./s2cr strict on the real samples: folds, a reduced table beside the goals, resuming, predictions from outside."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from scripts.__main__ import main
from utils.workflow.config import ROOT

DATA = os.environ.get("S2CR_DATA", "")
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not (Path(DATA) / "pairs_finland").is_dir(), reason="S2CR_DATA does not hold pairs_finland"),
]


def conf_in(folder: Path, name: str) -> Path:
    """The configuration of a place with a work directory of its own."""
    text = (
        (ROOT / f"confs/strict_{name}.yaml").read_text().replace(f"work: work/strict_{name}", f"work: {folder}/{name}")
    )
    (folder / "default.yaml").write_text((ROOT / "confs/default.yaml").read_text())
    path = folder / f"strict_{name}.yaml"
    path.write_text(text)
    return path


def call(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_folds_of_the_real_dates(tmp_path: Path) -> None:
    code, text = call("strict", conf_in(tmp_path, "belgium"), conf_in(tmp_path, "finland"), "--folds")
    folds = json.loads(text)
    assert code == 0
    belgium, finland = ([fold for fold in folds if fold["place"] == place] for place in ("belgium", "0060c0a5"))
    assert len(belgium) == 12 and len(finland) == 10
    for side in ("left", "right"):
        tested = [tuple(pair) for fold in belgium if fold["tests"] == side for pair in fold["test_pairs"]]
        assert len(tested) == len(set(tested)) == 172
    assert {tuple(f["train_columns"]) for f in belgium} == {(0, 27), (36, 63)}
    assert {tuple(f["test_columns"]) for f in finland} == {(0, 111), (144, 255)}
    assert {len(fold["train_pairs"]) for fold in finland} == {12}


def copies(folder: Path, folds: list[dict], name: str) -> Path:
    """Predictions from outside that copy S2(t0)."""
    from scripts._strict import chosen_place, load_places
    from utils.workflow import config

    conf = config.load(conf_in(folder, name))
    place = chosen_place(conf, load_places(conf))
    for fold in folds:
        (folder / "pred" / fold["fold"]).mkdir(parents=True)
        for t0, t1 in fold["test_pairs"]:
            np.save(folder / "pred" / fold["fold"] / f"{t0}_{t1}.npy", place.scene(t0).s2)
    return folder / "pred"


@pytest.mark.slow
def test_reduced_table_beside_the_goals(tmp_path: Path) -> None:
    """A tenth of the pixels, clear dates, one way: nothing to quote, but every part runs and copy_t0 is what it is."""
    confs = [conf_in(tmp_path, name) for name in ("belgium", "finland")]
    folds = [fold for fold in json.loads(call("strict", confs[1], "--folds")[1]) if fold["tests"] == "right"]
    files = copies(tmp_path, folds, "finland")
    (files / "about.txt").write_text("copies of the image of t0\n")
    page = tmp_path / "results.md"
    words = ["strict", *confs, "--reduced", "--networks", "resunet_tiny", "--steps", 12, "--page", page]
    code, text = call(*words, "--predictions", f"copied={files}")
    print(text)
    assert code == 0
    belgium, finland = (
        json.loads((tmp_path / name / "reports/strict_reduced.json").read_text()) for name in ("belgium", "finland")
    )
    assert belgium["methods"]["copy_t0"]["strata"]["all"]["psnr"]["value"] == pytest.approx(21.5, abs=0.01)
    for report in (belgium, finland):
        own = report["methods"]
        assert own["histgbm_res"]["strata"]["changed"]["skill"]["value"] > 0.1
        assert own["copy_t0"]["strata"]["changed"]["skill"]["value"] == pytest.approx(
            0.0, abs=1e-12
        )  # of sums in another order
        assert len(report["goals"]) >= 6
        made = report["facts"]["networks"]["resunet_tiny"]
        assert made["parameters"] == 23612 and made["steps"] == 12
        assert (
            own["resunet_tiny"]["strata"]["all"]["psnr"]["value"] > own["copy_t0"]["strata"]["all"]["psnr"]["value"] - 3
        )
    copied, copy = (finland["methods"][name]["strata"]["all"] for name in ("copied", "copy_t0"))
    assert copied["psnr"] == copy["psnr"] and copied["sam_deg"] == copy["sam_deg"]
    assert "`copied`: predictions from files (--predictions), of one run: copies of the image of t0" in page.read_text()
    assert "`resunet_tiny`: network of 23,612 parameters, 12 steps of 4 crops of 28 and 48 px" in page.read_text()
    assert "REDUCED FORM" in page.read_text() and page.with_name("results_strict.png").read_bytes()[:4] == b"\x89PNG"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/strict_reduced/*/*.json")}
    assert len(before) == 22 and call(*words)[0] == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}, "finished folds were computed again"
    assert page.read_text().count("## Strict split") == 1


def test_errors_are_sentences(tmp_path: Path) -> None:
    conf = conf_in(tmp_path, "finland")
    assert call("strict", conf, "--seeds", "1,x")[0] == 2
    assert call("strict", conf, "--networks", "nowhere")[0] == 2
    for name in ("histgbm_res", "resunet_tiny"):
        assert call("strict", conf, "--folds", "--predictions", f"{name}={tmp_path}")[0] == 2
    text = conf.read_text()
    conf.write_text(text.replace("resunet_tiny, resunet_gan_tiny", "resunet_tony"))
    assert call("strict", conf, "--folds")[0] == 2, "a network that is not there is told before any fold"
    conf.write_text(text)
    conf.write_text(conf.read_text().replace("site: 0060c0a5", "site: nowhere"))
    assert call("strict", conf, "--folds")[0] == 65
    conf.write_text(
        conf.read_text().replace("site: nowhere", "site: 0060c0a5").replace("guard_px: 32", "guard_px: 300")
    )
    assert call("strict", conf, "--folds")[0] == 65
