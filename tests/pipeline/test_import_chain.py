"""From made-up rasters to scalers through the import route, as the user runs it: values, resume, parts, refusals."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from utils.io import raster, samples
from utils.science.grid import Grid, Window
from utils.science.scaler import Scaler, list_digest

ROOT = Path(__file__).parents[2]
GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 72, 88)
STAGES = ("import_data", "tile", "build_dataset", "split", "normalise")
CONF = """\
extends: default.yaml
work: {work}
source: import
import_data:
  root: {root}
  site: toy
  s1_unit: db
  s1_nodata: -99.0
  cloud_band: SCL
  items:
    - {{date: d0, sensor: sentinel1, name: S1a, files: [s1_d0.tif], bands: [VV, VH], acquired: "2020-01-01T00:00:00Z", relative_orbit: 9, direction: descending}}
    - {{date: d0, sensor: sentinel2, name: S2a, files: [s2_d0.tif], bands: [B02, B03, B04, "-", B08, SCL], acquired: "2020-01-02T00:00:00"}}
    - {{date: d1, sensor: sentinel1, name: S1b, files: [s1_d1.tif], bands: [VV, VH], acquired: "2020-02-01T00:00:00", relative_orbit: {track}, direction: descending}}
    - {{date: d1, sensor: sentinel2, name: S2b, files: [s2_d1.tif], bands: [B02, B03, B04, "-", B08, SCL], acquired: "2020-02-02T00:00:00"}}
tiling: {{size_px: 16}}
dataset: {{max_sar_filled: 0.05}}
split: {{buffer_m: 100.0}}
"""


def make_inputs(folder: Path) -> None:
    """Two dates with planted defects: clouds at t0 and t1, nodata in S1, zeros."""
    rng = np.random.default_rng(5)
    for number, date in enumerate(("d0", "d1")):
        db = rng.normal([[[-10.0]], [[-17.0]]], 2.0, (2, *GRID.shape)).astype(np.float32) + 1.5 * number
        if number == 0:
            db[:, 40:48, :16] = -99.0  # half of tile r0002_c0000 has no radar data
        raster.write(folder / f"s1_{date}.tif", db, GRID)
        dn = rng.integers(200, 3000, (6, *GRID.shape)).astype(np.uint16)
        dn[5] = 4
        if number == 0:
            dn[5, :5, 16:21] = 9  # 25 cloud pixels in tile r0000_c0001 at t0
            dn[5, 70, 30] = 3
        else:
            dn[5, 16:22, :4] = 8  # 24 in tile r0001_c0000 at t1
            dn[0, 60, 60] = 0
        raster.write(folder / f"s2_{date}.tif", dn, GRID)


class Toy:
    def __init__(self, folder: Path, track: int = 9, more: str = "") -> None:
        self.inputs, self.work, self.conf = folder / "in", folder / "work", folder / "toy.yaml"
        self.inputs.mkdir(exist_ok=True)
        shutil.copy(ROOT / "confs/default.yaml", folder / "default.yaml")
        self.conf.write_text(CONF.format(work=self.work, root=self.inputs, track=track) + more)

    def run(self, stage: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([ROOT / "s2cr", stage, self.conf, *options], capture_output=True, text=True, check=False)

    def all(self) -> Toy:
        for stage in STAGES:
            result = self.run(stage)
            assert result.returncode == 0, f"{stage}: {result.stderr}"
        return self

    def bytes(self) -> dict[str, str]:
        folders = ("preprocessed", "search", "tiles", "dataset", "norm")
        files = [p for folder in folders for p in (self.work / folder).rglob("*") if p.is_file()]
        return {p.relative_to(self.work).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files)}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    built = Toy(tmp_path_factory.mktemp("import"))
    make_inputs(built.inputs)
    return built.all()


def test_import_writes_what_preprocessing_writes(toy: Toy) -> None:
    s1, s2 = toy.work / "preprocessed/sentinel1/S1a", toy.work / "preprocessed/sentinel2/S2b"
    db = raster.read(toy.inputs / "s1_d0.tif").astype(np.float64)
    vh = raster.read(s1 / "gamma0_vh.tif")[0]
    expected = np.where(db[1] == -99, np.nan, 10 ** (db[1] / 10))
    np.testing.assert_allclose(vh, expected, rtol=1e-6)
    np.testing.assert_array_equal(raster.read(s1 / "mask.tif")[0], np.where(db[0] == -99, 4, 0))
    dn = raster.read(toy.inputs / "s2_d1.tif")
    blue = raster.read(s2 / "B02.tif")[0]
    np.testing.assert_allclose(blue, np.where(dn[0] == 0, np.nan, dn[0] * 1e-4), rtol=1e-6)
    np.testing.assert_allclose(raster.read(s2 / "B08.tif")[0], dn[4] * 1e-4, rtol=1e-6)  # a band was skipped by "-"
    cloud = raster.read(s2 / "cloud.tif")[0]
    assert (cloud[16:22, :4] == 1).all() and (cloud == 1).sum() == 24 and cloud[60, 60] == 255
    info = raster.info(s2 / "B08.tif")
    assert info.grid == GRID and info.tags["UNITS"] == "reflectance" and info.tags["SOURCE_PRODUCTS"] == "S2b"


def test_pairs_json(toy: Toy) -> None:
    data = json.loads((toy.work / "search/pairs.json").read_text())
    assert data["schema"] == "s2cr.pairs/1" and data["provider"]["search"] == "import"
    (pair,) = data["pairs"]
    assert (pair["id"], pair["site"], pair["date1"]["id"], pair["date2"]["id"]) == ("p001", "toy", "d0", "d1")
    assert pair["date1"]["s1"]["relative_orbit"] == 9 and pair["date1"]["s1"]["products"] == ["S1a"]


def test_tiles_hold_the_pixels_of_their_windows(toy: Toy) -> None:
    data = json.loads((toy.work / "tiles/d0/grid.json").read_text())
    tiles = {t["id"]: Window(*t["window"]) for t in data["tiles"]}
    assert len(tiles) == 5 * 6  # 72 x 88 px: the last row and column are shifted inwards
    owned = np.zeros(GRID.shape, int)
    for record in data["tiles"]:
        owned[Window(*record["valid"]).slices] += 1
    assert (owned == 1).all()
    vv = raster.read(toy.work / "preprocessed/sentinel1/S1a/gamma0_vv.tif")[0]
    for name, window in tiles.items():
        tile = raster.read(toy.work / f"tiles/d0/sentinel1/{name}.tif", bands=["VV"])[0]
        np.testing.assert_array_equal(tile, vv[window.slices])
    info = raster.info(toy.work / "tiles/d0/sentinel2/r0004_c0005.tif")
    assert info.band_names == ("B04", "B03", "B02", "B08") and GRID.offset_of(info.grid) == (56, 72)


def test_filters_name_their_reasons(toy: Toy) -> None:
    manifest = json.loads((toy.work / "manifests/build_dataset.json").read_text())
    skipped = {name: item["reason"] for name, item in manifest["items"].items() if item["status"] == "skipped"}
    assert skipped == {
        "p001_r0000_c0001": "cloud t0: 25 px of cloud and shadow, at most 20",
        "p001_r0002_c0000": "nodata: 50.0 % of the inputs, at most 5 %",
    }
    index = samples.load_index(toy.work / "dataset/all")
    cloudy = index.sample("p001_r0001_c0000")  # stays in the pool: predict needs it
    assert not cloudy.trainable and cloudy.reason == "cloud t1: 24 px of cloud and shadow in the label, at most 20"
    assert cloudy.clear_t1 == pytest.approx(1 - 24 / 256, abs=1e-6) and len(index.samples) == 28
    metrics = manifest["metrics"]
    assert metrics["not_trainable"] == {"cloud t1": 1} and metrics["not_usable"] == {"cloud t0": 1, "nodata": 1}
    assert metrics["filters"] == {
        "max_cloud_px": 2, "max_sar_filled": 0, "min_clear": 0, "min_nonzero": 0, "min_valid": 1, "no_label": 0,
    }  # fmt: skip
    ledger = (toy.work / "items/build_dataset.jsonl").read_text()
    assert "nodata: 50.0 % of the inputs, at most 5 %" in ledger


def test_virtual_rasters_open_after_a_move(toy: Toy, tmp_path: Path) -> None:
    shutil.copytree(toy.work, tmp_path / "elsewhere")
    for name, bands in {"sentinel1": ("VV", "VH"), "sentinel2": ("B04", "B03", "B02", "B08")}.items():
        path = tmp_path / f"elsewhere/tiles/d1/vrt/{name}.vrt"
        info = raster.info(path)
        assert info.band_names == bands and info.grid == GRID
        for number, band in enumerate(bands, start=1):
            product = toy.work / "preprocessed" / name / ("S1b" if name == "sentinel1" else "S2b")
            file = f"gamma0_{band.lower()}" if name == "sentinel1" else band
            np.testing.assert_array_equal(raster.read(path, [number]), raster.read(product / f"{file}.tif"))


def test_partly_cloudy_dates_train_through_their_masks(toy: Toy, tmp_path: Path) -> None:
    partly = Toy(tmp_path)
    shutil.copytree(toy.inputs, partly.inputs, dirs_exist_ok=True)
    conf = partly.conf.read_text().replace("{max_sar_filled: 0.05}", "{keep_clouds: true, keep_clouds_t0: true}")
    partly.conf.write_text(conf)
    said = {}
    for stage in STAGES:
        result = partly.run(stage)
        assert result.returncode == 0, result.stderr
        said[stage] = result.stderr
    assert "29 train, 1 of them partly cloudy at t0; no sample: 1 nodata" in said["build_dataset"], said[
        "build_dataset"
    ]
    index = samples.load_index(partly.work / "dataset/all")
    cloudy = index.sample("p001_r0000_c0001")  # 25 cloud pixels at t0
    assert cloudy.train_only and cloudy.trainable and cloudy.clear_t0 == pytest.approx(1 - 25 / 256, abs=1e-6)
    assert index.sample("p001_r0001_c0000").trainable and not index.sample("p001_r0001_c0000").train_only
    split = json.loads((partly.work / "dataset/split.json").read_text())
    assert cloudy.id in split["sets"]["train"]
    from models.inputs import prepare_tile
    from models.registry import channels

    scaler = Scaler.from_json(json.loads((partly.work / "norm/scaler_fixed.json").read_text()))
    sample = samples.read_sample(partly.work / "dataset/train", cloudy.id)
    medians = index.pairs["p001"].ds1_median_db
    weight = prepare_tile(sample, scaler, medians, channels("fixed", 4)[1], False).weight
    assert (weight[:5, :5] == 0).all() and weight.sum() == 256 - 25  # the loss does not see the cloud
    standard = json.loads((partly.work / "norm/scaler_standard.json").read_text())["groups"]
    counts = {group["name"]: group["n"] for group in standard}
    owned = {i: samples.read_sample(partly.work / "dataset/train", i) for i in split["sets"]["train"]}
    clear = sum(int((s.window & s.clear_t0).sum() + (s.window & s.clear_t1).sum()) for s in owned.values())
    assert counts["NIR"] == clear and counts["R,G,B"] == 3 * clear and counts["VV"] > counts["NIR"]


def test_sample_arrays_and_scene_median(toy: Toy) -> None:
    index = samples.load_index(toy.work / "dataset/all")
    info = index.sample("p001_r0004_c0005")
    sample = samples.read_sample(index.set_dir, info.id)
    dn0, dn1 = (raster.read(toy.inputs / f"s2_{d}.tif") for d in ("d0", "d1"))
    order = [2, 1, 0, 4]  # R, G, B, NIR
    np.testing.assert_allclose(sample.s2_t0, np.moveaxis(dn0[order], 0, -1)[info.window.slices] * 1e-4, rtol=1e-6)
    np.testing.assert_allclose(sample.s2_t1, np.moveaxis(dn1[order], 0, -1)[info.window.slices] * 1e-4, rtol=1e-6)
    assert sample.window.sum() == info.valid.rows * info.valid.cols < 256
    change = np.abs(dn1[order] - dn0[order].astype(float)).mean(0)[info.valid.slices] * 1e-4 > 0.02
    assert info.changed_fraction == pytest.approx(change.mean(), abs=1e-6)
    db0, db1 = (raster.read(toy.inputs / f"s1_{d}.tif").astype(np.float64) for d in ("d0", "d1"))
    both = (db0 != -99).all(0)
    for place, band in enumerate(("VV", "VH")):
        median = np.median((db1 - db0)[place][both])
        assert index.pairs["p001"].ds1_median_db[band] == pytest.approx(median, abs=2e-5)
    assert index.pairs["p001"].t0 == "2020-01-02" and not index.pairs["p001"].mixed_orbit


def test_split_links_what_it_says(toy: Toy) -> None:
    split = json.loads((toy.work / "dataset/split.json").read_text())
    assert split["method"] == "halves" and "fewer than 12" in split["note"]
    assert "p001_r0001_c0000" not in [i for ids in split["sets"].values() for i in ids]
    for name, ids in split["sets"].items():
        index = samples.load_index(toy.work / "dataset" / name)
        assert list(index.ids) == ids and all(s.trainable for s in index.samples)
        for part in samples.FOLDERS:
            files = sorted(p.stem for p in (index.set_dir / samples.FOLDERS[part]).glob("*.tif"))
            assert files == ids
            assert not ids or samples.sample_path(index.set_dir, part, ids[0]).samefile(
                samples.sample_path(toy.work / "dataset/all", part, ids[0])
            )


def test_scaler_is_fitted_on_train_only(toy: Toy) -> None:
    train = samples.load_index(toy.work / "dataset/train")
    scaler = Scaler.from_json(json.loads((toy.work / "norm/scaler_standard.json").read_text()))
    assert scaler.train_sha256 == list_digest(train.ids)
    values = []
    for name in train.ids:
        sample = samples.read_sample(train.set_dir, name)
        values += [
            sample.s2_t0[sample.clear_t0 & sample.window][:, 3],
            sample.s2_t1[sample.clear_t1 & sample.window][:, 3],
        ]
    nir = np.concatenate(values).astype(np.float64)
    group = next(g for g in scaler.groups if g.name == "NIR")
    assert (group.n, group.mean, group.std) == (
        nir.size,
        pytest.approx(nir.mean(), abs=1e-9),
        pytest.approx(nir.std(), abs=1e-9),
    )
    assert (toy.work / "norm/scaler.json").read_bytes() == (toy.work / "norm/scaler_fixed.json").read_bytes()


def test_second_run_does_nothing_and_parts_give_the_same_bytes(toy: Toy) -> None:
    for stage in STAGES:
        assert "up to date" in toy.run(stage).stderr
    before = toy.bytes()
    for stage in ("tile", "build_dataset"):
        shutil.rmtree(toy.work / ("tiles" if stage == "tile" else "dataset/all"))
        (toy.work / f"manifests/{stage}.json").unlink()
        (toy.work / f"items/{stage}.jsonl").unlink()
        for part in ("1/2", "2/2"):
            result = toy.run(stage, "--part", part)
            assert result.returncode == 0, result.stderr
        result = toy.run(stage, "--finalise")
        assert result.returncode == 0, result.stderr
    assert toy.bytes() == before


def test_leak_check(toy: Toy) -> None:
    assert toy.run("split", "--check-leaks").returncode == 0
    path = toy.work / "dataset/test/index.json"
    good, train = path.read_text(), json.loads((toy.work / "dataset/train/index.json").read_text())
    data = json.loads(good)
    stranger = train["samples"][0]
    copies = [
        (toy.work / f"dataset/{name}/{folder}/{stranger['id']}.tif")
        for folder in samples.FOLDERS.values()
        for name in ("train", "test")
    ]
    try:
        path.write_text(json.dumps({**data, "samples": [*data["samples"], stranger]}))
        for source, target in zip(copies[::2], copies[1::2], strict=True):
            shutil.copy(source, target)
        from utils.io.placing import find_leaks_on_disk

        kinds = {leak.kind for leak in find_leaks_on_disk(toy.work / "dataset", toy.work / "norm")}
        assert {"same_tile", "overlap", "pixels"} <= kinds
    finally:
        path.write_text(good)
        for target in copies[1::2]:
            target.unlink(missing_ok=True)


def test_another_track_is_refused(toy: Toy, tmp_path: Path) -> None:
    other = Toy(tmp_path, track=147)
    shutil.copytree(toy.inputs, other.inputs, dirs_exist_ok=True)
    assert [other.run(stage).returncode for stage in ("import_data", "tile")] == [0, 0]
    result = other.run("build_dataset")
    assert result.returncode == 65
    assert "track 9 descending" in result.stderr and "track 147 descending" in result.stderr
    assert "allow_mixed_orbit" in result.stderr


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (("s1_d0.tif", "none.tif"), 71, "none.tif: no such file"),
        (('"-", B08', '"-", B05, B08'), 71, "has 6 bands, no band 7"),
        (("files: [s1_d0.tif], ", ""), 65, "import_data.items[0]"),
        (("size_px: 16", "size_px: 100"), 65, "does not fit"),
        (("site: toy", "site: toy\n  min_gap_days: 90.0"), 72, "the widest gap is 31 days"),
        (("site: toy", "site: toy\n  min_clear: 0.999"), 72, "No pair of 0 dates"),
    ],
)
def test_errors_have_their_exit_code(toy: Toy, tmp_path: Path, change: tuple[str, str], code: int, text: str) -> None:
    broken = Toy(tmp_path)
    shutil.copytree(toy.inputs, broken.inputs, dirs_exist_ok=True)
    broken.conf.write_text(broken.conf.read_text().replace(*change))
    result = broken.run("import_data")
    if result.returncode == 0:
        result = broken.run("tile")
    assert result.returncode == code and text in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
