"""Split by place and leak checker: distances by brute force, planted leaks."""

import itertools
import math
from dataclasses import replace

import pytest

from utils.science.blocks import Placed, block_id, footprint_m, split_samples
from utils.science.grid import Grid, Window, make_tiles, parse_tile_id
from utils.science.leaks import Evidence, find_leaks

GRID = Grid(32631, 500000.0, 5600000.0, 10.0, -10.0, 1200, 1200)
DATES = ("20200101", "20200301")


def placed(grid=GRID, size=80, overlap=0, site="aoi", dates=DATES, changed=lambda tile: 0.0):
    out = []
    for date in dates:
        for tile in make_tiles(grid.rows, grid.cols, size, overlap):
            frame = str(grid.epsg) if grid.epsg else site
            out.append(
                Placed(f"{site}-{date}_{tile.id}", site, f"p{date}", tile.id, date, frame, footprint_m(grid, tile.window), changed(tile.id),
                       (f"{site}{date}{tile.id}",), frozenset({f"t1:{date}"}))
            )  # fmt: skip
    return out


def gap(a, b):
    """Distance of two boxes, written differently from the code: over their four corners and edges."""

    def axis(low1, high1, low2, high2):
        return 0.0 if low1 <= high2 and low2 <= high1 else min(abs(low1 - high2), abs(low2 - high1))

    return math.hypot(axis(a[0], a[2], b[0], b[2]), axis(a[1], a[3], b[1], b[3]))


def members(split, samples):
    by_id = {s.id: s for s in samples}
    return {name: [by_id[i] for i in ids] for name, ids in split.sets.items()}


def brute_force_ok(split, samples, buffer_m):
    sets = members(split, samples)
    for first, second in itertools.combinations(sets, 2):
        for a, b in itertools.product({s.box for s in sets[first]}, {s.box for s in sets[second]}):
            assert gap(a, b) >= buffer_m - 1e-3, (first, second, a, b)


@pytest.mark.parametrize(("overlap", "buffer_m"), [(0, 800.0), (16, 640.0), (0, 0.0)])
def test_blocks_keep_their_distance(overlap, buffer_m):
    samples = placed(overlap=overlap)
    split = split_samples(samples, "blocks", (0.7, 0.1, 0.2), 2, buffer_m, 2)
    assert split.method == "blocks" and all(split.sets.values())
    brute_force_ok(split, samples, buffer_m)
    assert sum(map(len, split.sets.values())) + len(split.dropped) == len(samples)
    for name, group in members(split, samples).items():  # a place is in one set at all dates
        tiles = {s.tile for s in group}
        assert len(group) == len(DATES) * len(tiles), name
    assert find_leaks(members(split, samples), buffer_m) == []


def test_blocks_are_dealt_by_share_within_both_strata():
    def changed(tile):
        return 0.3 if parse_tile_id(tile)[0] < 6 else 0.0

    grid = Grid(32631, 0, 0, 10, -10, 2400, 2400)  # 900 tiles, 225 blocks of 2 x 2, 45 of them changed
    samples = placed(grid, dates=("d",), changed=changed)
    split = split_samples(samples, "blocks", (0.8, 0.05, 0.15), 2, 0.0, 2)
    # without a buffer only touching counts as apart: nothing is dropped
    assert not split.dropped
    blocks = {name: {block_id(s.tile, 2) for s in group} for name, group in members(split, samples).items()}
    assert {name: len(b) for name, b in blocks.items()} == {"train": 180, "val": 11, "test": 34}
    test_changed = [b for b in blocks["test"] if int(b[1:4]) < 3]
    assert 6 <= len(test_changed) <= 7  # 15 % of 45
    other = split_samples(samples, "blocks", (0.8, 0.05, 0.15), 3, 0.0, 2)
    assert other.sets != split.sets
    assert split_samples(samples, "blocks", (0.8, 0.05, 0.15), 2, 0.0, 2) == split


def test_small_shares_still_get_a_block_and_float_shares_are_accepted():
    grid = Grid(32631, 0, 0, 10, -10, 320, 320)  # 16 blocks of one tile
    assert 0.7 + 0.2 + 0.1 != 1.0
    split = split_samples(placed(grid, dates=("d",)), "blocks", (0.7, 0.2, 0.1), 0, 0.0, 1)
    assert [len(split.sets[n]) for n in ("train", "val", "test")] == [11, 3, 2]
    split = split_samples(placed(grid, dates=("d",)), "blocks", (0.94, 0.01, 0.05), 0, 0.0, 1)
    assert [len(split.sets[n]) for n in ("val", "test")] == [1, 1]
    with pytest.raises(ValueError, match="shares"):
        split_samples(placed(grid), "blocks", (0.7, 0.2, 0.2), 0, 0.0, 1)


def test_few_blocks_fall_back_to_halves_and_say_so():
    grid = Grid(32631, 0, 0, 10, -10, 64, 64)
    samples = placed(grid, size=16)
    split = split_samples(samples, "blocks", (0.5, 0.125, 0.375), 2, 80.0, 4)
    assert split.method == "halves" and "1 blocks of 4 x 4 tiles" in split.note and "halves" in split.note
    tiles = {name: {s.tile for s in group} for name, group in members(split, samples).items()}
    assert tiles["train"] == {f"r{r:04d}_c{c:04d}" for r in range(4) for c in (0, 1)}
    assert tiles["val"] == {"r0000_c0003"}
    assert tiles["test"] == {"r0002_c0003", "r0003_c0003"}
    brute_force_ok(split, samples, 80.0)
    no_val = split_samples(samples, "halves", (0.5, 0.0, 0.5), 2, 80.0, 4)
    assert len(no_val.sets["test"]) == 8 and not no_val.sets["val"] and "no room for validation" in no_val.note


def test_halves_of_two_sites_without_georeference():
    grid = Grid(0, 0.0, 2560.0, 10.0, -10.0, 256, 256)
    samples = placed(grid, 32, site="a") + placed(grid, 32, site="b")
    split = split_samples(samples, "halves", (0.8, 0.05, 0.15), 2, 320.0, 1)
    for site in ("a", "b"):
        mine = [s for s in samples if s.site == site]
        part = {name: [s for s in group if s.site == site] for name, group in members(split, samples).items()}
        assert all(part.values()) and len({s.tile for s in part["train"]}) == 32
        assert find_leaks(part, 320.0) == [] and len(mine) == 128
    assert find_leaks(members(split, samples), 320.0) == []  # same coordinates, other frame


def test_wide_grids_are_halved_by_columns_and_tall_ones_by_rows():
    tall = Grid(32631, 0, 0, 10, -10, 160, 80)
    split = split_samples(placed(tall, 16), "halves", (0.5, 0.0, 0.5), 0, 160.0, 1)
    assert {parse_tile_id(i.split("_", 1)[1])[0] for i in split.sets["train"]} == {0, 1, 2, 3, 4}
    assert {parse_tile_id(i.split("_", 1)[1])[0] for i in split.sets["test"]} == {6, 7, 8, 9}


def test_holdout_dates_are_for_test_only():
    samples = placed(Grid(32631, 0, 0, 10, -10, 64, 64), 16)
    split = split_samples(samples, "halves", (0.5, 0.0, 0.5), 2, 80.0, 1, holdout_dates=("20200301",))
    sets = members(split, samples)
    assert {s.date for s in sets["test"]} == {"20200301"} and {s.date for s in sets["train"]} == {"20200101"}
    reasons = dict(split.dropped)
    assert sum("held out for test" in r for r in reasons.values()) == 8
    assert sum("training sees that date" in r for r in reasons.values()) == 4


def fires(count=9, dates=DATES, changed=lambda n: 0.0):
    """Places 100 km apart, four tiles each."""
    out = []
    for number in range(count):
        grid = Grid(32631, 500000.0 + 1e5 * number, 5600000.0, 10.0, -10.0, 160, 160)
        for sample in placed(grid, 80, site=f"fire{number}", dates=dates, changed=lambda tile, n=number: changed(n)):
            out.append(replace(sample, events=frozenset({f"site:{sample.site}", f"t1:{sample.date}"})))
    return out


def test_whole_events_go_into_one_set():
    samples = fires()
    split = split_samples(samples, "event", (0.6, 0.2, 0.2), 2, 2560.0, 4)
    homes = {name: {s.site for s in group} for name, group in members(split, samples).items()}
    assert {name: len(found) for name, found in homes.items()} == {"train": 5, "val": 2, "test": 2}
    assert len(set.union(*homes.values())) == 9 and not split.dropped
    assert split.method == "event" and split.test_events == {f"site:{site}" for site in homes["test"]}
    assert find_leaks(members(split, samples), 2560.0, Evidence(test_events=split.test_events)) == []
    assert split_samples(samples, "event", (0.6, 0.2, 0.2), 2, 2560.0, 4) == split
    assert split_samples(samples, "event", (0.6, 0.2, 0.2), 3, 2560.0, 4).sets != split.sets
    planted = {
        **members(split, samples),
        "train": [s for s in samples if s.site in homes["train"] | {min(homes["test"])}],
    }
    assert {leak.kind for leak in find_leaks(planted, 0.0, Evidence(test_events=split.test_events))} >= {"event"}


def test_events_are_dealt_within_strata_and_three_are_needed():
    samples = fires(10, changed=lambda n: 0.4 if n < 5 else 0.01)
    split = split_samples(samples, "event", (0.6, 0.0, 0.4), 1, 0.0, 4)
    burnt = {s.site for s in members(split, samples)["test"] if s.changed > 0.05}
    assert len(burnt) == 2 and len({s.site for s in members(split, samples)["test"]}) == 4
    three = split_samples(fires(3), "event", (0.8, 0.05, 0.15), 2, 2560.0, 4)
    assert all(three.sets.values())
    with pytest.raises(ValueError, match="at least 3 events, by site there are 2: site:fire0, site:fire1"):
        split_samples(fires(2), "event", (0.8, 0.05, 0.15), 2, 2560.0, 4)


def test_events_by_date_need_ground_of_their_own():
    """Dates of one place see the same ground: the buffer leaves nothing to train on. At different places they may split."""
    with pytest.raises(ValueError, match=r"train would be empty \(3 events by t1"):
        split_samples(fires(1, ("d1", "d2", "d3")), "event", (0.4, 0.3, 0.3), 2, 2560.0, 4, event_by="t1")
    apart = [s for n in range(6) for s in fires(6, (f"d{n}",)) if s.site == f"fire{n}"]
    split = split_samples(apart, "event", (0.5, 0.25, 0.25), 2, 2560.0, 4, event_by="t1")
    assert all(split.sets.values()) and all(event.startswith("t1:d") for event in split.test_events)


def test_neighbouring_events_give_way_to_the_buffer():
    near = Grid(32631, 500000.0 + 1600.0 + 800.0, 5600000.0, 10.0, -10.0, 160, 160)  # 800 m east of fire0
    samples = [*fires(4), *placed(near, 80, site="beside")]
    for seed in range(12):
        split = split_samples(samples, "event", (0.5, 0.25, 0.25), seed, 2560.0, 4)
        brute_force_ok(split, samples, 2560.0)
        assert find_leaks(members(split, samples), 2560.0) == []


def test_partly_cloudy_samples_only_train():
    samples = [replace(s, train_only=parse_tile_id(s.tile)[1] % 3 == 0) for s in placed(dates=("d",))]
    split = split_samples(samples, "blocks", (0.6, 0.15, 0.25), 2, 800.0, 2)
    sets = members(split, samples)
    assert any(s.train_only for s in sets["train"])
    assert not any(s.train_only for name in ("val", "test") for s in sets[name])
    assert sum("trains only" in reason for _, reason in split.dropped) > 5


def test_no_room_is_an_error():
    with pytest.raises(ValueError, match="test would be empty"):
        split_samples(placed(Grid(32631, 0, 0, 10, -10, 64, 64), 16), "halves", (0.5, 0.1, 0.4), 2, 1000.0, 1)


def test_geographic_footprints_are_metres():
    grid = Grid(4326, 73.0, 30.5, 1e-4, -1e-4, 264, 264)
    west, south, east, north = footprint_m(grid, Window(0, 0, 100, 100))
    # one degree at 30.487 N on WGS84: 110 861 m along the meridian, 96 009 m along the parallel
    assert north - south == pytest.approx(1108.6, abs=0.2) and east - west == pytest.approx(960.1, abs=0.3)


def clean_sets():
    samples = placed(dates=("d1",))
    split = split_samples(samples, "blocks", (0.7, 0.1, 0.2), 2, 800.0, 2)
    return members(split, samples), samples


def test_six_planted_leaks_are_found_and_none_in_a_clean_split():
    sets, _samples = clean_sets()
    good = Evidence({"scaler": "abc"}, "abc", frozenset({"t1:other"}))
    assert find_leaks(sets, 800.0, good) == []
    train, test = sets["train"], sets["test"]
    target = test[0]

    def kinds(group, evidence=good):
        return {leak.kind for leak in find_leaks({**sets, "train": group}, 800.0, evidence)}

    far = (9e6, 9e6, 9e6 + 800, 9e6 + 800)
    assert kinds([*train, replace(target, id="x", box=far, digests=())]) == {"same_tile"}
    touching = (target.box[2], target.box[1], target.box[2] + 800, target.box[3])
    assert "near" in kinds([*train, replace(target, id="x", tile="r0999_c0999", box=touching, digests=())])
    assert kinds([*train, replace(target, id="x", tile="r0999_c0999", box=far)]) == {"pixels"}
    shifted = tuple(v + 400 for v in target.box)
    assert "overlap" in kinds([*train, replace(target, id="x", tile="r0999_c0999", box=shifted, digests=())])
    assert kinds(train, Evidence({"scaler": "fitted on all"}, "abc")) == {"fit"}
    assert kinds(train, Evidence({}, "", frozenset({"t1:d1"}))) == {"event"}


def test_random_split_of_single_tiles_is_a_leak():
    import random

    samples = placed(dates=("d1",))
    random.Random(0).shuffle(samples)
    leaks = find_leaks({"train": samples[:180], "val": samples[180:190], "test": samples[190:]}, 800.0)
    assert {leak.kind for leak in leaks} == {"near"}


def test_ids_1_13_and_139_never_match_one_another():
    far = [(i * 1e5, 0.0, i * 1e5 + 800, 800.0) for i in range(3)]
    one, thirteen, many = (
        Placed(f"s_{name}", "ROIs1970_fall", f"p{name}", name, "d", "32631", box)
        for name, box in zip(("1", "13", "139"), far, strict=True)
    )
    assert find_leaks({"train": [one], "val": [thirteen], "test": [many]}, 800.0) == []
    again = Placed("other", "ROIs1970_fall", "p1", "1", "d", "32631", (5e5, 0, 5e5 + 800, 800))
    assert [leak.kind for leak in find_leaks({"train": [one], "test": [again]}, 800.0)] == ["same_tile"]
