"""Sets of whole events, sets in shards, and leaks that stop training and scoring, as the user meets them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.dated_toy import DatedToy
from utils.io import samples, shards
from utils.io.placing import find_leaks_on_disk
from utils.science.scaler import list_digest
from utils.workflow.files import sha256_file

EVENT = "{method: event, buffer_m: 160.0}"


@pytest.fixture(scope="module")
def fires(tmp_path_factory: pytest.TempPathFactory) -> DatedToy:
    """Four places with two dates each, every place in one set; train and val as shards only."""
    folder = tmp_path_factory.mktemp("fires")
    toy = DatedToy(folder, dates=2, sites=4, split=EVENT, dataset="{storage: shards, extra_bands: [B8A, B11, B12]}")
    return toy.through("import_data", "tile", "build_dataset", "split", "normalise", "train", "predict", "evaluate")


def copy_of(toy: DatedToy, folder: Path, change: tuple[str, str] = ("", "")) -> DatedToy:
    """The same work directory again, to be damaged."""
    copy = DatedToy.__new__(DatedToy)
    copy.inputs, copy.work, copy.conf = toy.inputs, folder / "work", folder / "conf.yaml"
    shutil.copytree(toy.work, copy.work)
    shutil.copy(toy.conf.parent / "default.yaml", folder)
    copy.conf.write_text(toy.conf.read_text().replace(str(toy.work), str(copy.work)).replace(*change))
    return copy


def accept(toy: DatedToy, stage: str, *names: str) -> None:
    """Make the manifest of a stage agree with files that a test changed."""
    path = toy.work / f"manifests/{stage}.json"
    data = json.loads(path.read_text())
    for name in names:
        data["outputs"][name] = [(toy.work / name).stat().st_size, sha256_file(toy.work / name)]
    path.write_text(json.dumps(data))


def sites(toy: DatedToy, name: str) -> set[str]:
    index = samples.load_index(toy.work / "dataset" / name)
    return {index.pairs[sample.pair].site for sample in index.samples}


def test_a_place_is_in_one_set(fires: DatedToy) -> None:
    found = {name: sites(fires, name) for name in ("train", "val", "test")}
    assert sorted(len(group) for group in found.values()) == [1, 1, 2] and len(found["train"]) == 2
    assert set.union(*found.values()) == {f"place{n}" for n in range(4)} and sum(map(len, found.values())) == 4
    split = json.loads((fires.work / "dataset/split.json").read_text())
    assert split["method"] == "event" and split["note"].startswith("4 events by site") and not split["dropped"]
    assert split["test_events"] == [f"site:{site}" for site in found["test"]]
    assert fires.run("split", "--check-leaks").returncode == 0


def test_sets_in_shards_have_no_tiles_and_train_as_well(fires: DatedToy) -> None:
    for name in ("train", "val", "test"):
        assert not list((fires.work / "dataset" / name).rglob("*.tif"))
        index = samples.load_index(fires.work / "dataset" / name)
        read = samples.reader(index.set_dir)
        for sample_id in index.ids:
            tile = samples.read_sample(fires.work / "dataset/all", sample_id)
            np.testing.assert_array_equal(read(sample_id).s2_t1, tile.s2_t1)  # the import has whole steps of 1e-4
            np.testing.assert_array_equal(read(sample_id).s1_t0, tile.s1_t0)
            np.testing.assert_array_equal(read(sample_id).window, tile.window)
    card = json.loads((fires.work / "runs/tiny/model_card.json").read_text())
    assert card["bands"] == ["B04", "B03", "B02", "B08", "B8A", "B11", "B12"]
    groups = json.loads((fires.work / "norm/scaler_standard.json").read_text())["groups"]
    assert [group["name"] for group in groups] == ["VV", "VH", "R,G,B", "NIR", "B8A", "B11", "B12"]
    facts = json.loads((fires.work / "manifests/split.json").read_text())["metrics"]
    assert facts["storage"] == "shards" and facts["largest_error_train"] < 1e-7


def test_both_storages_fit_the_same_scaler_and_leave_no_orphans(fires: DatedToy, tmp_path: Path) -> None:
    other = copy_of(fires, tmp_path, ("storage: shards", "storage: tiles")).through("split", "normalise")
    assert not list((other.work / "dataset/shards").rglob("*.*"))
    assert list((other.work / "dataset/train").rglob("*.tif"))
    scaler = "norm/scaler_standard.json"
    assert (other.work / scaler).read_bytes() == (fires.work / scaler).read_bytes()


def test_a_damaged_shard_stops_training(fires: DatedToy, tmp_path: Path) -> None:
    toy = copy_of(fires, tmp_path)
    path = next((toy.work / "dataset/shards/train").glob("*_s2_t0.npy"))
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    accept(toy, "split", path.relative_to(toy.work).as_posix())
    store = shards.ShardSet(path.parent)
    store.read(store.ids[0], ["s1_t0"])  # other files are intact
    result = toy.run("train", "--force")
    assert result.returncode == 66 and "SHA-256" in result.stderr, result.stderr


def plant(toy: DatedToy, kind: str) -> None:
    """One leak in the finished sets of a work directory."""
    folder = toy.work / "dataset"
    train = json.loads((folder / "train/index.json").read_text())
    test = json.loads((folder / "test/index.json").read_text())
    if kind == "fit":
        for path in (toy.work / "norm").glob("scaler*.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"train_sha256": "0" * 64}))
        return
    if kind == "event":
        split = json.loads((folder / "split.json").read_text())
        site = train["pairs"][train["samples"][0]["pair"]]["site"]
        (folder / "split.json").write_text(json.dumps(split | {"test_events": [f"site:{site}"]}))
        return
    record, pairs = dict(train["samples"][0]), dict(test["pairs"])
    if kind == "same_tile":
        record |= {"window": [9000, 9000, 16, 16], "pixels": []}
    elif kind == "pixels":
        record |= {"window": [9000, 9000, 16, 16], "tile": "r0562_c0562"}
    elif kind == "near":
        record |= {
            "window": [record["window"][0] - 20, record["window"][1], 16, 16],
            "tile": "r0999_c0000",
            "pixels": [],
        }
    elif kind == "overlap":
        record |= {"window": [record["window"][0] + 8, *record["window"][1:]], "tile": "r0999_c0000", "pixels": []}
    (folder / "test/index.json").write_text(json.dumps(test | {"pairs": pairs, "samples": [*test["samples"], record]}))


@pytest.mark.parametrize("kind", ["same_tile", "near", "pixels", "overlap", "fit", "event"])
def test_a_planted_leak_is_found(fires: DatedToy, tmp_path: Path, kind: str) -> None:
    toy = copy_of(fires, tmp_path)
    dataset, norm, runs = toy.work / "dataset", toy.work / "norm", [toy.work / "runs/tiny"]
    assert find_leaks_on_disk(dataset, norm, runs, "listed") == [] == find_leaks_on_disk(dataset, norm, runs)
    plant(toy, kind)
    found = {leak.kind for leak in find_leaks_on_disk(dataset, norm, [], "listed")}
    assert kind in found and (kind in ("near", "overlap") or found == {kind}), found


def test_leaks_end_the_stages_with_65(fires: DatedToy, tmp_path: Path) -> None:
    toy = copy_of(fires, tmp_path)
    path, train = toy.work / "dataset/split.json", sorted(sites(fires, "train"))[0]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test_events": [f"site:{train}"]}))
    accept(toy, "split", "dataset/split.json")
    for stage, option in (("split", "--check-leaks"), ("evaluate", "--force"), ("train", "--force")):
        result = toy.run(stage, option)
        assert result.returncode == 65 and f"shows test event site:{train}" in result.stderr, (stage, result.stderr)


def test_a_run_of_another_train_set_is_a_leak(fires: DatedToy) -> None:
    ids = samples.load_index(fires.work / "dataset/train").ids
    scaler = json.loads((fires.work / "runs/tiny/scaler.json").read_text())
    assert scaler["train_sha256"] == list_digest(ids)
    path = fires.work / "runs/tiny/scaler.json"
    good = path.read_text()
    path.write_text(json.dumps(scaler | {"train_sha256": list_digest(ids[1:])}))
    try:
        (leak,) = find_leaks_on_disk(fires.work / "dataset", fires.work / "norm", [fires.work / "runs/tiny"])
        assert leak.kind == "fit" and leak.items == ("tiny",)
    finally:
        path.write_text(good)


@pytest.mark.slow
def test_two_events_or_dates_of_one_place_are_no_split(tmp_path: Path) -> None:
    two = DatedToy(tmp_path / "two", dates=2, sites=2, split=EVENT).through("import_data", "tile", "build_dataset")
    result = two.run("split")
    assert (
        result.returncode == 65 and "at least 3 events, by site there are 2: site:place0, site:place1" in result.stderr
    )
    one = DatedToy(tmp_path / "one", dates=4, split="{method: event, event_by: t1, buffer_m: 160.0}")
    result = one.through("import_data", "tile", "build_dataset").run("split")
    assert result.returncode == 65 and "train would be empty (3 events by t1" in result.stderr, result.stderr


def test_both_from_2000_samples_on_unless_said_otherwise() -> None:
    from types import SimpleNamespace

    from scripts.split import _storage

    def chosen(storage: str | None, count: int) -> str:
        conf = SimpleNamespace(dataset=SimpleNamespace(storage=storage))
        return _storage(SimpleNamespace(conf=conf), count)  # type: ignore[arg-type]

    assert [chosen(None, count) for count in (1, 1999, 2000)] == ["tiles", "tiles", "both"]
    assert [chosen(name, 5000) for name in ("tiles", "shards", "both")] == ["tiles", "shards", "both"]
