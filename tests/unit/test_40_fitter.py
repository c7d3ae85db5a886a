"""Many small trainings from one configuration: equal starts, windows that join, and what cannot be trained."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from models import backend

backend.start()

from models import fitter, inputs  # noqa: E402
from models.config import ModelConf, TrainConf  # noqa: E402
from models.fitter import Fitter, predict_windows  # noqa: E402
from tests.unit.tiny_training import MEDIAN, SAR, sample  # noqa: E402
from utils.science.scaler import Scaler  # noqa: E402
from utils.workflow.errors import ConfigError  # noqa: E402

BANDS = ("B04", "B03", "B02", "B08")
RESUNET = ModelConf(model="resunet", widths=(4, 8), encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))
GAN = ModelConf(
    param_before_resnet=((4, 7), (8, 3)), nb_resnet_blocs=1, dim_resnet=8, param_after_resnet=((8, 3),), do_rate=0.1,
    last_layer=(None, 3), dict_discri_archi={1: (1, 2, 4, 4), 2: (1, 1, 4, 1)},
)  # fmt: skip
TRAIN = TrainConf(lr=2e-3, batch_size=2, gradient_acc_step=1, crop_px=32, ema=0.9)
UNITS = inputs.units_of(Scaler.fixed(SAR, BANDS), len(BANDS))


def tile(name: str) -> inputs.Tile:
    return inputs.prepare_tile(sample(int(name), 24), Scaler.fixed(SAR, BANDS), MEDIAN, 6, False)


def gan_tile(name: str) -> inputs.Tile:
    whole = tile(name)
    return inputs.Tile(
        np.ascontiguousarray(whole.x[..., [0, 1, 2, 3, 6, 7, 8, 9]]), whole.y, whole.weight, whole.changed
    )


IDS = ["1", "2", "3"]


@pytest.mark.parametrize(
    ("model", "load", "channels"), [pytest.param(RESUNET, tile, 11, marks=pytest.mark.slow), (GAN, gan_tile, 8)]
)
def test_every_training_starts_from_the_same_weights(model: ModelConf, load, channels: int) -> None:
    one = Fitter(model, TRAIN, BANDS, 20, 6)
    assert one.side_px == 20 and one.train.crop_px == 20
    x = np.random.default_rng(0).normal(size=(2, 20, 20, channels)).astype(np.float32)
    first = one.fit(IDS, load, UNITS, {})(x)
    other = one.fit(IDS[:1], load, UNITS, {})(x)
    again = one.fit(IDS, load, UNITS, {})(x)
    assert np.array_equal(first, again), "the training before left something behind"
    assert np.abs(first - other).max() > 1e-4, "the tiles made no difference"
    assert np.array_equal(first, Fitter(model, TRAIN, BANDS, 20, 6).fit(IDS, load, UNITS, {})(x))


@pytest.mark.slow
def test_other_units_get_graphs_of_their_own() -> None:
    conf = TRAIN.model_copy(update={"loss_weights": TRAIN.loss_weights.model_copy(update={"sam": 0.5})})
    darker = inputs.Units(UNITS.scale * 0.1, UNITS.offset * 0.1, UNITS.db_slope)
    x = np.random.default_rng(0).normal(size=(1, 20, 20, 11)).astype(np.float32)
    shared = Fitter(RESUNET, conf, BANDS, 20, 4)
    shared.fit(IDS, tile, UNITS, {})
    assert np.array_equal(
        shared.fit(IDS, tile, darker, {})(x), Fitter(RESUNET, conf, BANDS, 20, 4).fit(IDS, tile, darker, {})(x)
    )


@pytest.mark.slow
def test_a_fitted_network_beats_the_copy_on_what_it_saw() -> None:
    one = Fitter(RESUNET, TRAIN.model_copy(update={"lr": 5e-3}), BANDS, 24, 80)
    seen = [tile(name) for name in IDS]
    predict = one.fit(IDS, tile, UNITS, {})
    found = predict(np.stack([t.x for t in seen]))
    copy = np.stack([t.x[..., 6:10] for t in seen])
    weight = np.stack([t.weight for t in seen])[..., None]
    truth = np.stack([t.y for t in seen])
    assert (np.abs(found - truth) * weight).sum() < 0.9 * (np.abs(copy - truth) * weight).sum()


def test_losses_that_are_not_finite_and_sides_that_are_too_small() -> None:
    def spoiled(name: str) -> inputs.Tile:
        whole = tile(name)
        return inputs.Tile(whole.x, whole.y * np.float32(np.inf), whole.weight, whole.changed)

    with pytest.raises(ConfigError, match="not finite"):
        Fitter(RESUNET, TRAIN, BANDS, 20, 2).fit(IDS, spoiled, UNITS, {})
    with pytest.raises(ConfigError, match="multiples of 4"):
        Fitter(RESUNET, TRAIN, BANDS, 3, 2)


def test_warm_up_fits_into_short_trainings() -> None:
    slow = TRAIN.model_copy(update={"schedule": TRAIN.schedule.model_copy(update={"warmup_steps": 1000})})
    assert Fitter(RESUNET, slow, BANDS, 20, 50).train.schedule.warmup_steps == 5


@pytest.mark.parametrize("shape", [(64, 28), (28, 28), (33, 57)])
def test_windows_join_to_what_one_image_would_be(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(1).normal(size=(*shape, 3)).astype(np.float32)
    seen = []

    def per_pixel(windows):
        seen.append(windows.shape)
        return 2 * windows[..., :2] + 1

    assert np.allclose(predict_windows(per_pixel, x, 28), 2 * x[..., :2] + 1, atol=1e-5)
    assert all(side == 28 for side in seen[0][1:3])


def test_places_overlap_by_half_and_reach_the_end() -> None:
    for length in range(28, 140):
        places = fitter._places(length, 28)
        assert places[0] == 0 and places[-1] == length - 28
        assert all(0 < b - a <= 14 for a, b in pairwise(places))
    with pytest.raises(ValueError, match="fewer than a window"):
        fitter._places(10, 28)
