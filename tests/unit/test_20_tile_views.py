"""Pictures of dataset tiles and of the split against the rasters and the index that they show."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.unit.tiny_sets import SIZE, write_set
from utils.io import pictures, samples, tile_views
from utils.workflow.errors import InputError


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_set(tmp_path, "all", range(6))
    path = tmp_path / "all/index.json"
    index = json.loads(path.read_text())
    for number, facts in enumerate(index["samples"]):
        facts["changed_fraction"] = [0.1, 0.5, None, 0.9, 0.3, 0.5][number]
    for number, reason in ((3, "label: 12 % clear, at least 30 %"), (4, "label: 7 % clear, at least 30 %")):
        index["samples"][number] |= {"trainable": False, "reason": reason}
    path.write_text(json.dumps(index))
    ids = [facts["id"] for facts in index["samples"]]
    split = {
        "sets": {"train": [ids[0], ids[5]], "val": [ids[1]], "test": []},
        "dropped": [{"id": ids[2], "reason": "near"}],
    }
    (tmp_path / "split.json").write_text(json.dumps(split))
    return tmp_path


def test_split_map_shows_the_set_of_every_pixel(dataset: Path) -> None:
    codes = tile_views.split_codes(dataset, "p001")
    assert codes.shape == (SIZE, 6 * SIZE)
    assert [int(codes[5, (k * SIZE) + 3]) for k in range(6)] == [0, 1, 3, 4, 4, 0]
    assert (np.diff(codes.astype(int), axis=0) == 0).all()
    with pytest.raises(InputError, match="no pair 'p9'"):
        tile_views.split_codes(dataset, "p9")
    (dataset / "split.json").unlink()
    with pytest.raises(InputError, match=r"split\.json: no such file"):
        tile_views.split_codes(dataset, "p001")


def test_counts_by_set_and_by_reason(dataset: Path) -> None:
    assert tile_views.counts(dataset) == {
        "train": 2,
        "val": 1,
        "dropped": 1,
        "not trainable: label: N % clear, at least N %": 2,
    }


def test_most_changed_of_those_that_train(dataset: Path) -> None:
    index = samples.load_index(dataset / "all")
    assert tile_views.most_changed(index, 3) == [index.ids[1], index.ids[5], index.ids[0]]


def test_a_row_shows_the_arrays_of_its_sample(dataset: Path) -> None:
    index = samples.load_index(dataset / "all")
    sample = samples.read_sample(index.set_dir, index.ids[1])
    row = dict(tile_views.tile_row(index, index.ids[1]))
    assert list(row) == ["S1 t0", "S1 t1", "S1 change, VH", "S2 t0", "S2 t1, the label", "mask"]
    assert {picture.shape for picture in row.values()} == {(SIZE, SIZE, 3)}
    np.testing.assert_array_equal(row["S1 t1"], pictures.radar(sample.s1_t1[..., 0], sample.s1_t1[..., 1]))
    label = dict(zip(index.bands_optical, np.moveaxis(sample.s2_t1, -1, 0), strict=True))
    np.testing.assert_array_equal(row["S2 t1, the label"], pictures.true_colour(label))
    drop = sample.s1_t1[..., 1] < 0.6 * sample.s1_t0[..., 1]
    blue_over_red = row["S1 change, VH"][..., 2].astype(int) - row["S1 change, VH"][..., 0]
    assert (blue_over_red[drop] > 0).mean() > 0.95, "VH that fell is blue"
    assert (row["mask"] == tile_views.MASK_RGB[0]).all(), "all clear, all of this tile"
