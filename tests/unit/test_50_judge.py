"""mosaic to report on a made-up work directory, through the real commands."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from scripts.__main__ import main
from tests.unit import tiny_judged
from utils.io import mosaics, raster

STAGES = ("mosaic", "mosaic_truth", "indices", "burned", "evaluate", "compare", "report")


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    conf = tiny_judged.build(tmp_path_factory.mktemp("judged"))
    for stage in STAGES:
        code, text = call(stage, str(conf))
        assert code == 0, f"{stage}: {text}"
    return conf


def table(conf: Path) -> dict:
    return json.loads((conf.parent / "work/reports/evaluate.json").read_text())


def test_mosaic_of_disjoint_tiles_is_the_prediction_to_one_digital_number(judged: Path) -> None:
    work = judged.parent / "work"
    path = work / "mosaic/good/p001/prediction.tif"
    facts = raster.info(path)
    assert facts.dtype == "int16" and facts.nodata == -32768 and facts.scale == 0.0001
    assert facts.band_names == tiny_judged.BANDS and facts.grid == tiny_judged.GRID
    assert facts.tags["MODEL"] == "good" and facts.tags["SYNTHETIC"] == "yes"
    image = mosaics.read_reflectance(path, tiny_judged.BANDS)
    tile = raster.read(work / "pred/good/p001_r0001_c0002.tif")
    assert np.abs(image[:, 32:64, 64:96] - tile).max() <= 0.000051
    # only the shown pair is mapped, because report.max_pairs is 1
    assert not (work / "mosaic/good/p002").exists()


def test_observed_truth_is_nodata_under_cloud_and_composite_is_not(judged: Path) -> None:
    work = judged.parent / "work"
    truth = mosaics.read_reflectance(work / "mosaic/truth/p001/truth.tif", tiny_judged.BANDS)
    assert np.isnan(truth[:, :12, 60:]).all() and np.isfinite(truth[:, 12:, :]).all()
    joined = mosaics.read_reflectance(work / "mosaic/good/p001/composite.tif", tiny_judged.BANDS)
    made = mosaics.read_reflectance(work / "mosaic/good/p001/prediction.tif", tiny_judged.BANDS)
    # an offset found in noise of 0.004 is far below it
    np.testing.assert_allclose(joined[:, :12, 60:], made[:, :12, 60:], rtol=0, atol=0.0003)
    source = raster.read(work / "mosaic/good/p001/source.tif")[0]
    assert (source[:12, 60:] == 1).all() and (source[30:] == 0).all() and (source[12:17, 70:] == 2).all()


def test_maps_and_hectares(judged: Path) -> None:
    maps = judged.parent / "work/maps"
    hidden = raster.read(maps / "hidden/p001/burned.tif", ["DNBR"])[0]
    burnt = 40 * 20 + 40 * 16 + 35 * 20
    assert (hidden == 1).sum() == burnt
    manifest = json.loads((judged.parent / "work/manifests/burned.json").read_text())
    assert manifest["items"]["hidden/p001"]["data"]["dnbr"]["burned_ha"] == pytest.approx(burnt * 0.01)
    assert manifest["items"]["bad/p001"]["data"]["dnbr"]["burned_ha"] == 0
    # NBR of healthy ground .23/.47, of burnt ground -.11/.39: difference .7714 is the class high (code 6)
    codes = raster.read(maps / "hidden/p001/severity.tif", ["DNBR"])[0]
    assert set(np.unique(codes[12:48, 10:26])) == {6} and codes[0, 0] == 2
    before = raster.read(maps / "hidden/p001/nbr_t0.tif")[0]
    np.testing.assert_allclose(before, 0.23 / 0.47, atol=1e-5)
    # under cloud the observed map has no data
    assert (raster.read(maps / "truth/p001/burned.tif")[0][:12, 60:] == 255).all()


def test_scores_put_copy_first_and_name_the_winner(judged: Path) -> None:
    scores = table(judged)
    assert scores["order"][0] == "copy_t0" and scores["facts"]["synthetic"] is True
    for truth in ("observed", "hidden"):
        rows = {name: row[truth]["strata"] for name, row in scores["methods"].items() if truth in row}
        assert rows["copy_t0"]["changed"]["skill"] == 0 and rows["bad"]["changed"]["skill"] == 0
        assert rows["good"]["changed"]["skill"] > 0.99
        assert rows["good"]["changed"]["mae"] == pytest.approx(0.004 * np.sqrt(2 / np.pi), rel=0.05)
        assert rows["histgbm_ctx"]["changed"]["skill"] > 0.3
        low, high = rows["good"]["changed"]["interval"]["skill"]
        assert low <= rows["good"]["changed"]["skill"] <= high
    assert scores["best"]["hidden"]["skill_changed"] == "good"
    # 12 rows of cloud in 32 columns of the test samples are scored against the hidden truth only
    counts = [scores["methods"]["good"][t]["strata"]["all"]["pixels"] for t in ("observed", "hidden")]
    assert counts == [64 * 32 - 12 * 32, 64 * 32]
    assert scores["methods"]["good"]["hidden"]["strata"]["under_cloud"]["pixels"] == 12 * 32


def test_burned_rivals_stand_beside_the_model(judged: Path) -> None:
    rows = table(judged)["methods"]
    everything = rows["all_burned"]["hidden"]["burned"]["NBR"]
    burnt, n = 35 * 20, 64 * 32
    assert everything["f1"] == pytest.approx(2 * burnt / (n + burnt)) and everything["kappa"] == 0
    assert rows["vh_logratio"]["hidden"]["burned"]["NBR"]["f1"] > 0.8
    assert rows["vh_logratio"]["fitted"]["NBR"]["threshold_db"] < -0.5
    assert rows["good"]["hidden"]["burned"]["NBR"]["f1"] > 0.99
    assert rows["bad"]["hidden"]["burned"]["NBR"]["f1"] == 0
    assert rows["good"]["hidden"]["burned"]["NBR"]["difference"]["slope"] == pytest.approx(1, abs=0.05)


def test_copy_over_whole_images_by_hand(judged: Path) -> None:
    rasters = table(judged)["rasters"]
    before, after, burnt = tiny_judged._ground(1)
    seen = after.copy()
    seen[:, :12, 60:] = 0.6
    expected = np.abs(seen[:4] - before[:4]).mean()
    assert rasters["all"]["mean_mae"] == pytest.approx(float(expected), rel=1e-5)
    assert rasters["all"]["count"] == 2 and rasters["all"]["bands"] == ["B04", "B03", "B02", "B08"]
    clear = np.ones(burnt.shape, bool)
    clear[:12, 60:] = False
    assert rasters["clear"]["pooled_mae"] == pytest.approx(float(np.abs(seen - before)[:4, clear].mean()), rel=1e-5)


def test_csv_says_synthetic_in_every_row(judged: Path) -> None:
    lines = (judged.parent / "work/reports/evaluate.csv").read_text().splitlines()
    assert lines[0].startswith("method,kind,truth,part,figure,value,low,high")
    assert len(lines) > 100 and all(line.endswith("synthetic") for line in lines[1:])
    assert lines[1].startswith("copy_t0,baseline,observed,all,")


def test_report_is_self_contained_and_says_synthetic(judged: Path) -> None:
    page = (judged.parent / "work/reports/report.html").read_text()
    assert "synthetic data" in page and page.count("(synthetic)") >= 5
    urls = re.findall(r"(?:src|href)\s*=\s*['\"]([^'\"]+)", page)
    assert urls and all(url.startswith(("data:image/", "#")) for url in urls)
    assert "http://" not in page and "https://" not in page and "url(" not in page
    assert str(judged.parent) not in page.split("<summary>Configuration")[0]
    for words in (
        "copy_t0",
        "vh_logratio",
        "Provenance",
        "S1_d0",
        "S2_d1",
        "Limits",
        "hidden truth",
        "prefers-color-scheme",
    ):
        assert words in page, words
    assert (judged.parent / "work/reports/compare/p001.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_second_run_does_nothing_and_force_gives_equal_bytes(judged: Path) -> None:
    work = judged.parent / "work"

    def digest() -> dict[str, str]:
        folders = ("mosaic", "maps", "reports")
        files = [path for name in folders for path in sorted((work / name).rglob("*")) if path.is_file()]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    first = digest()
    for stage in STAGES:
        code, _ = call(stage, str(judged))
        assert code == 0
    assert digest() == first
    for stage in STAGES:
        code, text = call(stage, str(judged), "--force")
        assert code == 0, text
    assert digest() == first


def test_training_samples_are_refused_without_the_switch(judged: Path) -> None:
    code, text = call("evaluate", str(judged), "--set", "train")
    assert code == 73 and "--allow-train" in text
    before = (judged.parent / "work/reports/evaluate.json").read_bytes()
    code, text = call("evaluate", str(judged), "--set", "train", "--allow-train")
    assert code == 0
    code, text = call("evaluate", str(judged), "--conventions", "uncrtaints")
    assert code == 0
    code, text = call("evaluate", str(judged), "--conventions", "nobody")
    assert code == 65 and "uncrtaints" in text
    assert (judged.parent / "work/reports/evaluate.json").read_bytes() == before


def test_overlap_of_train_and_test_is_an_error(tmp_path: Path) -> None:
    conf = tiny_judged.build(tmp_path)
    path = tmp_path / "work/dataset/test/index.json"
    index = json.loads(path.read_text())
    train = json.loads((tmp_path / "work/dataset/train/index.json").read_text())
    index["samples"].append(train["samples"][0])
    text = json.dumps(index, sort_keys=True, indent=1, ensure_ascii=False)
    path.write_text(text)
    tiny_judged.manifests(conf)
    code, said = call("evaluate", str(conf))
    assert code == 65 and "is in train and test" in said
