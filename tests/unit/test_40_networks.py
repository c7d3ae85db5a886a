"""Networks: exact counts, step 0, sizes, contradictions."""

from __future__ import annotations

import numpy as np
import pytest

from models import backend

backend.start()

from models import registry  # noqa: E402
from models.config import ModelConf  # noqa: E402
from models.discriminator import build_discriminator, output_size  # noqa: E402
from models.dsen2cr import build_dsen2cr  # noqa: E402
from models.resunet import build_resunet  # noqa: E402
from tests.unit.tiny_training import TINY  # noqa: E402
from utils.workflow.config import ROOT, load_yaml_model  # noqa: E402
from utils.workflow.errors import ConfigError  # noqa: E402


def test_published_generator_has_the_published_count() -> None:
    network = registry.build(load_yaml_model(ROOT / "GAN_confs" / "model.yaml", ModelConf), 4)
    assert network.count_params() == 11_407_748
    assert sum(int(np.prod(v.shape)) for v in network.non_trainable_weights) == 10_496
    assert registry.macs_per_pixel(network) == 11_381_504


def test_published_discriminator_has_the_published_count_and_map() -> None:
    exact = build_discriminator(ModelConf(), 12, 256, published_exact=True)
    assert exact.count_params() == 3_433_541
    assert exact.output_shape == (None, 30, 30, 1)
    # without the batch norm of the decision: 4 numbers less
    assert build_discriminator(ModelConf(), 12, 256, published_exact=False).count_params() == 3_433_537
    assert output_size(ModelConf(), 256) == 30


def test_resunet_and_dsen2cr_counts() -> None:
    assert build_resunet(ModelConf(model="resunet"), 11, 4, 6).count_params() == 3_298_084
    assert build_resunet(ModelConf(model="resunet", **TINY), 11, 4, 6).count_params() == 23_612
    conf = ModelConf(model="dsen2cr", nb_resnet_blocs=16)
    assert build_dsen2cr(conf, 15, 13, 2).count_params() == 18_947_341
    ours = registry.build(conf, 4)
    assert ours.count_params() == 18_910_468
    assert registry.macs_per_pixel(build_dsen2cr(conf, 15, 13, 2)) == 9 * 256 * (15 + 32 * 256 + 13)
    assert pytest.approx(1.241, abs=5e-4) == 9 * 256 * (15 + 32 * 256 + 13) * 256**2 / 1e12


def test_resunet_costs_a_sixtieth_of_the_published_generator() -> None:
    """Convolutions only; the 24.3 GFLOP of the specification count norms, gates and the resampling too."""
    gflop = 2 * registry.macs_per_pixel(registry.build(ModelConf(model="resunet"), 4)) * 256**2 / 1e9
    print(f"resunet {gflop:.2f} GFLOP a tile in its convolutions (24.3 with everything else)")
    assert gflop == pytest.approx(24.3, rel=0.03)
    assert pytest.approx(61, abs=0.5) == 2 * 11_381_504 * 256**2 / 1e9 / 24.3


@pytest.mark.parametrize(("mode", "width", "start"), [("fixed", 11, 6), ("standard", 8, 4)])
def test_step_0_of_resunet_is_copy_t0_bit_for_bit(mode: str, width: int, start: int) -> None:
    network = registry.build(ModelConf(model="resunet", scaler=mode, **TINY), 4)
    x = np.random.default_rng(0).normal(size=(2, 20, 28, width)).astype("float32")
    assert np.array_equal(np.asarray(network(x)), x[..., start : start + 4])


def test_networks_take_any_multiple_of_their_size() -> None:
    conf = ModelConf(model="resunet", **TINY)
    network = registry.build(conf, 4)
    assert registry.size_multiple(conf) == 4
    for rows, cols in ((8, 12), (32, 20)):
        assert network(np.zeros((1, rows, cols, 11), "float32")).shape == (1, rows, cols, 4)


def test_layers_survive_their_configuration() -> None:
    import keras

    from models.layers import Pad2D

    network = registry.build(ModelConf(model="resunet", **TINY), 4)
    copy = keras.Model.from_config(network.get_config())
    copy.set_weights(network.get_weights())
    x = np.random.default_rng(1).normal(size=(1, 16, 16, 11)).astype("float32")
    assert np.array_equal(np.asarray(network(x)), np.asarray(copy(x)))
    # reflect: the edge is not repeated; symmetric: it is
    row = np.arange(3, dtype="float32").reshape(1, 1, 3, 1).repeat(3, axis=1)
    assert np.asarray(Pad2D(1, "reflect")(row))[0, 1, :, 0].tolist() == [1, 0, 1, 2, 1]
    assert np.asarray(Pad2D(1, "symmetric")(row))[0, 1, :, 0].tolist() == [0, 0, 1, 2, 2]


@pytest.mark.parametrize("mode", ["reflect", "symmetric", "constant"])
@pytest.mark.parametrize("size", [1, 3])
def test_padding_is_numpys_with_and_without_training_and_where_sizes_are_not_known(mode: str, size: int) -> None:
    import tensorflow as tf

    from models.layers import Pad2D

    x = np.random.default_rng(3).normal(size=(2, 7, 5, 3)).astype(np.float32)
    expected = np.pad(x, [(0, 0), (size, size), (size, size), (0, 0)], mode=mode)
    layer = Pad2D(size, mode)
    unknown = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)])
    for found in (layer(x, training=False), layer(x, training=True), unknown(x)):
        assert np.array_equal(found, expected)


def test_unknown_model_lists_the_names() -> None:
    with pytest.raises(
        ConfigError,
        match=r"'cyclegam' is unknown.*cyclegan, dsen2cr, histgbm_res, published_gan, resunet, resunet_gan, trees_net",
    ):
        registry.spec_of(ModelConf(model="cyclegam"))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"input_shape": (None, None, 8)}, "input_shape says 8, the dataset has 9 channels"),
        ({"dim_gt_image": (None, None, 4)}, "dim_gt_image says 4, the dataset has 5 optical bands"),
        ({"last_layer": (4, 3)}, "last_layer says 4, the dataset has 5"),
        ({"input_shape": (256, 256, 9)}, "input_shape says 256, the dataset has 80 pixels"),
    ],
)
def test_a_contradiction_names_both_numbers(keys: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        registry.check_shapes(ModelConf(**keys), ("B04", "B03", "B02", "B08", "B12"), 80)


def test_shapes_that_agree_or_are_null_pass() -> None:
    registry.check_shapes(
        ModelConf(input_shape=(80, 80, 8), dim_gt_image=(80, 80, 4)), ("B04", "B03", "B02", "B08"), 80
    )
    registry.check_shapes(ModelConf(model="resunet"), ("B04", "B12"), 64)


def test_a_discriminator_too_deep_for_the_tile_is_refused() -> None:
    with pytest.raises(ConfigError, match="16 px shrinks to nothing"):
        build_discriminator(ModelConf(), 12, 16)
