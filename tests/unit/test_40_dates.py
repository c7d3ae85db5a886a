"""Samples of more than two dates on their way into a network: which channels are which."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from models import registry
from models.config import TrainConf
from models.inputs import Tile, augment, prepare_tile, units_of
from utils.science.scaler import Scaler

BANDS, SAR = ("B04", "B03", "B02", "B08"), ("VV", "VH")
MEDIAN = {"VV": 0.5, "VH": -0.5}


def scaler_of(mode: str, dates: int) -> Scaler:
    fixed = Scaler.fixed(SAR, BANDS, n_dates=dates)
    return fixed if mode == "fixed" else Scaler("standard", SAR, BANDS, fixed.groups, n_dates=dates)


def sample_of(dates: int, seed: int = 0) -> SimpleNamespace:
    rng = np.random.default_rng(seed)
    s1 = rng.gamma(4, 0.02, (dates, 8, 8, 2)).astype(np.float32)
    s2 = rng.uniform(0.05, 0.4, (dates, 8, 8, 4)).astype(np.float32)
    clear = np.zeros((8, 8), np.uint8)
    earlier = tuple(SimpleNamespace(s1=s1[d], s2=s2[d], cloud=clear.copy()) for d in range(dates - 2))
    return SimpleNamespace(
        s1_t0=s1[-2],
        s1_t1=s1[-1],
        s2_t0=s2[-2],
        s2_t1=s2[-1],
        cloud_t0=clear,
        cloud_t1=clear,
        window=clear == 0,
        earlier=earlier,
    )


def prepared(mode: str, dates: int) -> tuple[Tile, Scaler, int]:
    scaler = scaler_of(mode, dates)
    _, start = registry.channels(mode, 4, dates)  # type: ignore[arg-type]
    return prepare_tile(sample_of(dates), scaler, MEDIAN, start, False), scaler, start


CASES = [(mode, dates) for mode in ("standard", "fixed") for dates in (2, 3, 5)]


@pytest.mark.parametrize(("mode", "dates"), CASES)
def test_names_widths_and_the_newest_image_agree(mode: str, dates: int) -> None:
    tile, scaler, start = prepared(mode, dates)
    assert tile.x.shape[-1] == scaler.n_inputs == registry.channels(mode, 4, dates)[0]  # type: ignore[arg-type]
    assert scaler.input_names[start : start + 4] == tuple(f"{band}_t{dates - 2}" for band in BANDS)
    sample = sample_of(dates)
    np.testing.assert_allclose(scaler.invert_label(tile.x[..., start : start + 4]), sample.s2_t0, atol=1e-6)
    assert tile.weight.all()


@pytest.mark.parametrize(("mode", "dates"), CASES)
def test_augmentation_touches_the_channels_it_names(mode: str, dates: int) -> None:
    tile, scaler, start = prepared(mode, dates)
    units, names = units_of(scaler, 4), np.array(scaler.input_names)
    radar = np.array([name.startswith("V") for name in names])
    optical = np.array([name.startswith("B") for name in names])
    moved = augment(tile, TrainConf(augment={"s1_gain_db": 1.0}), units, start, np.random.default_rng(3)).x - tile.x
    shift_db = {name: moved[..., i] for i, name in enumerate(names)}
    slope = dict(zip(SAR, units.db_slope, strict=True))
    for name in names[radar]:
        band = str(name).split("_")[0]
        steps = shift_db[name] / slope[band]
        assert np.ptp(steps) < 1e-4 and 0.01 < abs(steps.mean()) <= 1.0
    assert not moved[..., ~radar].any()
    # VV and VH of a date move together, dates apart
    assert len({round(float((shift_db[f"VV_t{d}"] / slope["VV"]).mean()), 3) for d in range(dates)}) == dates
    for date in range(dates):
        together = [float((shift_db[f"{band}_t{date}"] / slope[band]).mean()) for band in SAR]
        assert together[0] == pytest.approx(together[1], abs=1e-4)
    gained = augment(tile, TrainConf(augment={"s2_gain": 0.1}), units, start, np.random.default_rng(3))
    physical = [units.scale * image + units.offset for image in (gained.y, tile.y)]
    gain = float((physical[0] / physical[1]).mean())
    assert 0.01 < abs(gain - 1) <= 0.1
    for number in np.flatnonzero(optical)[::4]:
        before, after = (units.scale * x[..., number : number + 4] + units.offset for x in (tile.x, gained.x))
        np.testing.assert_allclose(after, gain * before, rtol=1e-3)
    assert not (gained.x - tile.x)[..., ~optical].any()


@pytest.mark.parametrize(("mode", "dates"), CASES)
def test_a_missing_radar_image_is_that_of_the_date_before_the_last(mode: str, dates: int) -> None:
    tile, scaler, start = prepared(mode, dates)
    x = augment(tile, TrainConf(augment={"drop_s1_t0": 1.0}), units_of(scaler, 4), start, np.random.default_rng(1)).x
    gone = {name for i, name in enumerate(scaler.input_names) if not x[..., i].any()}
    expected = {f"VV_t{dates - 2}", f"VH_t{dates - 2}"} | ({"dVV", "dVH"} if mode == "fixed" else set())
    assert gone == expected
    kept = [i for i, name in enumerate(scaler.input_names) if name not in gone]
    np.testing.assert_array_equal(x[..., kept], tile.x[..., kept])


def test_clouds_of_any_input_date_are_kept_out_of_the_loss() -> None:
    sample, scaler = sample_of(4), scaler_of("fixed", 4)
    sample.earlier[0].cloud[0, :3] = 1
    sample.earlier[1].cloud[7, 7] = 2
    _, start = registry.channels("fixed", 4, 4)
    weight = prepare_tile(sample, scaler, MEDIAN, start, False).weight
    assert weight.sum() == 64 - 4 and not weight[0, :3].any() and weight[7, 7] == 0


def test_the_published_gan_trains_on_three_dates(tmp_path: Path) -> None:
    from models import backend

    backend.start()
    from models.config import ModelConf
    from models.inputs import TileCache
    from models.run import load_model
    from models.training import Training
    from tests.unit import tiny_training

    conf = tiny_training.gan_conf(epoch=1, steps_per_epoch=2, metric_step=2)
    task = tiny_training.task(tmp_path / "gan", ModelConf(**tiny_training.TINY_GAN), conf)
    scaler, start = scaler_of("standard", 3), registry.channels("standard", 4, 3)[1]
    task.dates, task.units, task.size_px = 3, units_of(scaler, 4), 8
    task.load = TileCache(lambda i: prepare_tile(sample_of(3, int(i)), scaler, MEDIAN, start, True))
    figures = Training(task).fit()
    assert np.isfinite(list(figures.values())).all()
    assert load_model(task.run.model).input_shape[-1] == 14
