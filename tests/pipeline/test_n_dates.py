"""Two and three dates a sample from import to prediction and score, as the user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models import registry
from models.session import expected_channels
from tests.pipeline.dated_toy import DatedToy, db_of, dn_of, grid_of
from utils.io import raster, samples
from utils.science.scaler import Scaler

STAGES = ("import_data", "tile", "build_dataset", "split", "normalise", "train", "predict", "evaluate")
pytestmark = pytest.mark.slow
ORDER = [2, 1, 0, 3]  # R, G, B, NIR of the input file


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> DatedToy:
    toy = DatedToy(tmp_path_factory.mktemp("three"), dates=3, dataset="{dates: [t0, t1, t2]}")
    return toy.through(*STAGES)


def test_a_sequence_is_a_chain_of_pairs(three: DatedToy) -> None:
    index = samples.load_index(three.work / "dataset/all")
    assert index.n_dates == 3 and list(index.pairs) == ["p001+p003"]
    pair = index.pairs["p001+p003"]  # p001 d0-d1, p002 d0-d2, p003 d1-d2
    assert pair.dates == ("d0_0", "d0_1", "d0_2") and pair.days == ("2020-01-02", "2020-02-02", "2020-03-02")
    assert (pair.date1, pair.date2, pair.t0, pair.t1) == ("d0_1", "d0_2", "2020-02-02", "2020-03-02")
    db = [db_of(3, 0, date, grid_of(0)).astype(np.float64) for date in range(3)]
    for place, band in enumerate(("VV", "VH")):  # of the last two dates
        assert pair.ds1_median_db[band] == pytest.approx(np.median((db[2] - db[1])[place]), abs=2e-5)


def test_folders_hold_the_dates_they_name(three: DatedToy) -> None:
    root = three.work / "dataset/all"
    assert sorted(p.name for p in (root / "dataX").iterdir()) == [
        "Sentinel1_t0", "Sentinel1_t1", "Sentinel1_t2", "Sentinel2_t0", "Sentinel2_t1",
    ]  # fmt: skip
    assert [p.name for p in (root / "label").iterdir()] == ["Sentinel2_t2"]
    index = samples.load_index(root)
    info = index.samples[7]
    for date, folder in enumerate(("dataX/Sentinel2_t0", "dataX/Sentinel2_t1", "label/Sentinel2_t2")):
        image = raster.read(root / folder / f"{info.id}.tif")
        dn = dn_of(3, 0, date, grid_of(0))[ORDER][(slice(None), *info.window.slices)]
        np.testing.assert_allclose(image, dn * 1e-4, rtol=1e-6)
    assert raster.info(root / "mask" / f"{info.id}.tif").band_names == (
        "CLOUD_T0", "CLOUD_T1", "CLOUD_T2", "SAR", "WINDOW",
    )  # fmt: skip


def test_channels_of_x_by_hand(three: DatedToy) -> None:
    index = samples.load_index(three.work / "dataset/train")
    sample = samples.read_sample(index.set_dir, index.ids[0])
    pair, info = index.pairs["p001+p003"], index.samples[0]
    fixed = Scaler.from_json(json.loads((three.work / "norm/scaler_fixed.json").read_text()))
    assert fixed.input_names == (
        "VV_t0", "VH_t0", "VV_t1", "VH_t1", "VV_t2", "VH_t2", "dVV", "dVH",
        "B04_t0", "B03_t0", "B02_t0", "B08_t0", "B04_t1", "B03_t1", "B02_t1", "B08_t1", "valid",
    )  # fmt: skip
    earlier = [(date.s1, date.s2) for date in sample.earlier]
    x, valid = fixed.network_input(sample.s1_t0, sample.s1_t1, sample.s2_t0, pair.ds1_median_db, earlier)
    assert valid.all() and x.shape[-1] == 17
    at = (slice(None), *info.window.slices)
    for date in range(3):
        db = db_of(3, 0, date, grid_of(0))[at]
        np.testing.assert_allclose(x[..., 2 * date], np.clip(db[0], -25, 0) / 12.5 + 1, atol=1e-5)
    change = (db_of(3, 0, 2, grid_of(0)) - db_of(3, 0, 1, grid_of(0)))[at][1] - pair.ds1_median_db["VH"]
    np.testing.assert_allclose(x[..., 7], np.clip(change, -6, 6) / 6, atol=1e-5)
    for date in range(2):
        rho = dn_of(3, 0, date, grid_of(0))[ORDER][at] * 1e-4
        np.testing.assert_allclose(x[..., 8 + 4 * date : 12 + 4 * date], np.moveaxis(4 * rho - 0.6, 0, -1), atol=1e-5)
    # the channel count that the models expect: 2n SAR + 4(n-1) optical, and two differences and a mask in mode fixed
    assert registry.channels("standard", 4, 3) == (14, 10) and registry.channels("fixed", 4, 3) == (17, 12)
    table, label = expected_channels(("VV", "VH"), ("B04", "B03", "B02", "B08"), 3)
    assert table == {"VV": [0, 2, 4], "VH": [1, 3, 5], "R,G,B": [6, 7, 8, 10, 11, 12], "NIR": [9, 13]}
    assert label == {"R,G,B": [0, 1, 2], "NIR": [3]}


def test_scaler_pools_all_dates(three: DatedToy) -> None:
    train = samples.load_index(three.work / "dataset/train")
    scaler = Scaler.from_json(json.loads((three.work / "norm/scaler_standard.json").read_text()))
    nir = []
    for info in train.samples:
        at = (3, *info.window.slices)
        own = samples.read_sample(train.set_dir, info.id).window
        nir += [dn_of(3, 0, date, grid_of(0))[at][own] * 1e-4 for date in range(3)]
    group = next(g for g in scaler.groups if g.name == "NIR")
    values = np.concatenate(nir)
    assert group.n == values.size and group.mean == pytest.approx(values.mean(), abs=1e-8)
    assert group.std == pytest.approx(values.std(), abs=1e-8) and scaler.n_dates == 3


def test_step_0_copies_the_newest_clear_image(three: DatedToy, tmp_path: Path) -> None:
    from models import backend

    backend.start()
    from models.inputs import prepare_tile
    from models.session import load_confs, load_scaler

    model, _ = load_confs(three.conf.parent / "model.yaml", three.conf.parent / "train.yaml")
    network = registry.build(model, 4, 3)
    assert network.input_shape[-1] == 17
    scaler = load_scaler(three.work / "norm/scaler_fixed.json")
    index = samples.load_index(three.work / "dataset/train")
    sample = samples.read_sample(index.set_dir, index.ids[0])
    _, start = registry.channels("fixed", 4, 3)
    tile = prepare_tile(sample, scaler, index.pairs["p001+p003"].ds1_median_db, start, False)
    predicted = scaler.invert_label(np.asarray(network(tile.x[None], training=False))[0])
    np.testing.assert_allclose(predicted, sample.s2_t0, atol=1e-6)  # Sentinel2_t1, not t0
    older = np.abs(predicted - sample.earlier[0].s2).mean()
    print(f"mean distance to Sentinel2_t0 {older:.4f}, to Sentinel2_t1 {np.abs(predicted - sample.s2_t0).max():.2g}")
    assert older > 0.004


def test_prediction_and_score(three: DatedToy) -> None:
    index = samples.load_index(three.work / "dataset/all")
    image = raster.read(three.work / "pred/tiny" / f"{index.ids[0]}.tif")
    assert image.shape == (4, 16, 16) and np.isfinite(image).all()
    table = json.loads((three.work / "reports/scores/copy_t0.json").read_text())["observed"]["strata"]["all"]
    test = samples.load_index(three.work / "dataset/test")
    errors = []
    for info in test.samples:
        at, own = (slice(None), *info.window.slices), samples.read_sample(test.set_dir, info.id).window
        t1, t2 = (dn_of(3, 0, date, grid_of(0))[ORDER].astype(float) for date in (1, 2))
        errors.append(np.abs(t2 - t1)[at][:, own] * 1e-4)
    assert table["mae"] == pytest.approx(np.concatenate(errors, axis=1).mean(), abs=1e-7)  # copy of t1, not of t0
    card = json.loads((three.work / "runs/tiny/model_card.json").read_text())
    assert card["inputs"][4:6] == ["VV_t2", "VH_t2"]


def test_a_run_of_three_dates_refuses_two(three: DatedToy, tmp_path: Path) -> None:
    two = DatedToy(tmp_path, dates=2).through("import_data", "tile", "build_dataset")
    result = three.run("predict")
    assert result.returncode == 0
    from scripts.predict import _load
    from utils.workflow.errors import ConfigError

    with pytest.raises(ConfigError, match="samples of 3 dates, the dataset has 2"):
        _load(three.work / "runs/tiny", 2, "tf", samples.load_index(two.work / "dataset/all"))


def test_shapes_of_model_yaml_are_checked_for_three_dates() -> None:
    from models.config import ModelConf
    from utils.workflow.errors import ConfigError

    bands = ("B04", "B03", "B02", "B08")
    registry.check_shapes(ModelConf(input_shape=(16, 16, 14)), bands, 16, 3)
    with pytest.raises(ConfigError, match=r"says 8, the dataset has 14 channels of x \(Sentinel-1 of 3 dates"):
        registry.check_shapes(ModelConf(input_shape=(16, 16, 8)), bands, 16, 3)


def test_too_few_dates_and_wrong_names(tmp_path: Path) -> None:
    toy = DatedToy(tmp_path, dates=2, dataset="{dates: [t0, t1, t2]}").through("import_data", "tile")
    result = toy.run("build_dataset")
    assert result.returncode == 72 and "None of 1 pairs joins others to a sequence of 3 dates" in result.stderr
    toy.conf.write_text(toy.conf.read_text().replace("[t0, t1, t2]", "[t0, t2]"))
    result = toy.run("build_dataset")
    assert result.returncode == 65 and "dates must be [t0, t1]" in result.stderr


@pytest.mark.slow
def test_maps_and_report_of_three_dates(three: DatedToy) -> None:
    three.through("mosaic", "mosaic_truth", "indices", "burned", "compare", "report")
    tags = raster.info(three.work / "mosaic/tiny/p001+p003/prediction.tif").tags
    assert (tags["DATE_T0"], tags["DATE_T1"]) == ("2020-02-02", "2020-03-02")
    assert tags["SOURCE_PRODUCTS"] == "S1_0_0,S1_0_1,S1_0_2,S2_0_0,S2_0_1"
    truth = raster.read(three.work / "mosaic/truth/p001+p003/truth.tif")
    dn = dn_of(3, 0, 2, grid_of(0))[ORDER]
    known = truth != -32768
    assert known.mean() > 0.9
    np.testing.assert_allclose(truth[known], dn[known], atol=1)  # the label is Sentinel2_t2
