"""Preparation, order, crops and augmentation of training tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.inputs import Batches, Tile, TileCache, augment, crop, prepare_tile, stack, units_of
from tests.unit.tiny_training import BANDS, MEDIAN, SAR, resunet_conf, sample, standard_scaler
from utils.science.scaler import Scaler
from utils.workflow.errors import NothingFoundError

FIXED = Scaler.fixed(SAR, BANDS)
UNITS = units_of(FIXED, 4)


def _tile(number: int) -> Tile:
    return prepare_tile(sample(number), FIXED, MEDIAN, 6, False)


def test_units_are_measured_from_the_scaler() -> None:
    assert np.allclose(UNITS.scale, 0.25)  # z = 4 rho - 0.6
    assert np.allclose(UNITS.offset, 0.15)
    assert np.allclose(UNITS.db_slope, [2 / 25, 2 / 32.5], rtol=1e-5)  # -25..0 and -32.5..0 dB onto -1..1
    scaler = standard_scaler()
    group = {group.name: group for group in scaler.groups}
    units = units_of(scaler, 4)
    assert units.scale[3] == pytest.approx(group["NIR"].std * 7, rel=1e-5)
    assert units.offset[3] == pytest.approx(group["NIR"].mean, rel=1e-5)
    assert units.db_slope[0] == pytest.approx(0.2 / group["VV"].std, rel=1e-4)


def test_masked_pixels_have_no_weight_and_no_nan() -> None:
    raw = sample(1)
    cloud = raw.cloud_t1.copy()
    cloud[0, 0], cloud[0, 1] = 1, 3
    before, after, window = raw.s2_t0.copy(), raw.s2_t1.copy(), raw.window.copy()
    before[1, 1, 2], after[2, 2, 0], window[3, 3] = np.nan, np.nan, False
    tile = prepare_tile(replace(raw, cloud_t1=cloud, s2_t0=before, s2_t1=after, window=window), FIXED, MEDIAN, 6, False)
    assert sorted(zip(*map(list, np.nonzero(tile.weight == 0)), strict=True)) == [
        (0, 0),
        (0, 1),
        (1, 1),
        (2, 2),
        (3, 3),
    ]
    assert np.isfinite(tile.x).all()
    assert np.isfinite(tile.y).all()
    assert np.array_equal(tile.y[2, 2], tile.x[2, 2, 6:10])  # no label: S2(t0)
    assert not tile.changed[tile.weight == 0].any()


def test_changed_means_more_than_two_percent_on_average() -> None:
    raw = sample(2)
    after = raw.s2_t0.copy()
    after[0, 0] += np.float32([0.04, 0.02, 0.03, 0.0])  # mean 0.0225
    after[0, 1] += np.float32([0.03, 0.02, 0.02, 0.0])  # mean 0.0175
    tile = prepare_tile(replace(raw, s2_t1=after), FIXED, MEDIAN, 6, False)
    assert np.argwhere(tile.changed).tolist() == [[0, 0]]


def test_labels_of_tanh_networks_are_clipped() -> None:
    scaler = standard_scaler()
    scaler = replace(scaler, groups=tuple(replace(g, factor=5.0) for g in scaler.groups))
    free, cut = (prepare_tile(sample(1), scaler, MEDIAN, 4, clip).y for clip in (False, True))
    assert np.abs(free).max() > 1
    assert np.array_equal(cut, np.clip(free, -1, 1))


def test_batches_are_a_pure_function_of_the_step() -> None:
    conf = resunet_conf()
    ids = [f"{i:03d}" for i in range(5)]
    one, two = (Batches(ids, TileCache(lambda i: _tile(int(i))), conf, UNITS, 6, multiple=4) for _ in range(2))
    in_order = list(one.iterate(0, 8))
    assert len(in_order) == 8
    for step in (7, 3):  # asked for alone and out of order
        again = two.batch(step)
        assert np.array_equal(again.x, in_order[step].x)
        assert np.array_equal(again.y, in_order[step].y)
    assert in_order[0].x.shape == (2, 16, 16, 11)
    assert [b.x.sum() for b in two.iterate(6, 8)] == [b.x.sum() for b in in_order[6:]]


def test_an_epoch_sees_every_tile_once() -> None:
    ids = [f"{i:03d}" for i in range(7)]
    batches = Batches(ids, _tile, resunet_conf(steps_per_epoch=None, batch_size=3), UNITS, 6)  # type: ignore[arg-type]
    assert batches.steps_per_epoch == 3
    for epoch in (0, 1):
        chosen = [i for step in range(3) for i in batches.choose(3 * epoch + step)]
        assert set(chosen) == set(ids)
        assert len(set(chosen[:7])) == 7
    assert [batches.choose(s) for s in range(3)] != [batches.choose(s) for s in range(3, 6)]


def test_half_of_a_batch_comes_from_changed_tiles() -> None:
    ids = [f"{i:03d}" for i in range(10)]
    share = {i: 0.5 if i in ("002", "007") else 0.01 for i in ids}
    conf = resunet_conf(augment={"changed_half": True}, batch_size=4)
    batches = Batches(ids, _tile, conf, UNITS, 6, share)  # type: ignore[arg-type]
    for step in range(5):
        assert set(batches.choose(step)[:2]) == {"002", "007"}


def test_limit_and_empty_set() -> None:
    batches = Batches(["b", "a", "c"], _tile, resunet_conf(lim_train_tile=2), UNITS, 6)  # type: ignore[arg-type]
    assert batches.ids == ["a", "b"]
    with pytest.raises(NothingFoundError):
        Batches([], _tile, resunet_conf(), UNITS, 6)  # type: ignore[arg-type]


def test_augmentation_in_physical_units() -> None:
    tile = _tile(3)
    conf = resunet_conf(augment={"s1_gain_db": 1.0, "s2_gain": 0.1})
    changed = augment(tile, conf, UNITS, 6, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    shifts_db, gain = rng.uniform(-1, 1, 2), 1 + 0.1 * rng.uniform(-1, 1)
    assert np.allclose(changed.x[..., 0] - tile.x[..., 0], shifts_db[0] * 2 / 25, atol=1e-5)
    assert np.allclose(changed.x[..., 3] - tile.x[..., 3], shifts_db[1] * 2 / 32.5, atol=1e-5)
    assert np.allclose(FIXED.invert_label(changed.y), gain * FIXED.invert_label(tile.y), atol=1e-6)
    assert np.allclose(
        FIXED.invert_label(changed.x[..., 6:10]), gain * FIXED.invert_label(tile.x[..., 6:10]), atol=1e-6
    )
    assert np.array_equal(
        changed.x[..., 4:6], tile.x[..., 4:6]
    )  # differences are recentred: a gain of the scene drops out
    dropped = augment(tile, resunet_conf(augment={"drop_s1_t0": 1.0}), UNITS, 6, np.random.default_rng(0))
    assert not dropped.x[..., [0, 1, 4, 5]].any()
    assert np.array_equal(dropped.x[..., 2:4], tile.x[..., 2:4])


def test_flips_move_all_arrays_alike() -> None:
    tile = _tile(4)
    for seed in range(6):
        turned = augment(tile, resunet_conf(augment={"flips": True}), UNITS, 6, np.random.default_rng(seed))
        before = sorted(
            map(tuple, np.concatenate([tile.x, tile.y, tile.weight[..., None]], -1).reshape(-1, 16).tolist())
        )
        after = sorted(
            map(tuple, np.concatenate([turned.x, turned.y, turned.weight[..., None]], -1).reshape(-1, 16).tolist())
        )
        assert before == after


@pytest.mark.parametrize("options", [{}, {"flips": False}, {"s1_gain_db": 0.0, "s2_gain": 0.0}, {"drop_s1_t0": 0.5}])
@pytest.mark.parametrize("dates", [2, 3])
def test_batches_written_at_once_are_those_of_the_parts(options: dict[str, object], dates: int) -> None:
    """Not one bit apart from crop, augment and stack, tile by tile."""
    chosen = {"flips": True, "s1_gain_db": 1.0, "s2_gain": 0.1, **options}
    conf = resunet_conf(augment=chosen, batch_size=3, crop_px=12)
    start = 6 + (dates - 2) * 6
    wide = {name: _wide(_tile(number), dates) for number, name in enumerate("abcdefg")}
    batches = Batches(list(wide), wide.__getitem__, conf, UNITS, start)
    turned = 0
    for step in range(12):
        parts = []
        for place, name in enumerate(batches.choose(step)):
            rng = np.random.default_rng([conf.seed, 12, step, place])
            parts.append(augment(crop(wide[name], 12, 1, rng), conf, UNITS, start, rng))
        wanted, found = stack(parts), batches.batch(step)
        for name in ("x", "y", "weight", "changed"):
            one, other = getattr(found, name), getattr(wanted, name)
            assert one.dtype == np.float32 and one.flags.c_contiguous and one.tobytes() == other.tobytes(), name
        turned += not np.array_equal(
            found.x[0], crop(wide[batches.choose(step)[0]], 12, 1, np.random.default_rng([conf.seed, 12, step, 0])).x
        )
    assert turned > 0


def _wide(tile: Tile, dates: int) -> Tile:
    """A tile of more dates: SAR and optical channels of those before come first."""
    if dates == 2:
        return tile
    older = np.random.default_rng(1).normal(size=(*tile.weight.shape, 2 + 4)).astype(np.float32)
    x = np.concatenate([older[..., :2], tile.x[..., :6], older[..., 2:], tile.x[..., 6:]], axis=-1)
    return Tile(x, tile.y, tile.weight, tile.changed)


def test_crops_are_multiples_and_inside() -> None:
    tile = _tile(5)
    part = crop(tile, None, 16, np.random.default_rng(0))
    assert part.x.shape == (16, 16, 11)
    assert crop(tile, 100, 4, np.random.default_rng(0)).x.shape == (24, 24, 11)


def test_the_cache_forgets_the_oldest() -> None:
    calls: list[str] = []

    def load(name: str) -> Tile:
        calls.append(name)
        return _tile(int(name))

    cache = TileCache(load, limit_bytes=2 * _tile(0).nbytes)
    for name in ("0", "1", "0", "2", "0", "1"):
        cache(name)
    assert calls == ["0", "1", "2", "1"]
