"""A second network that tells how far the first may be wrong: per-band log-variance from its features. keras.ops only.

It is a network of its own, trained after the mean on features that carry no gradient back: the mean cannot change.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from models.layers import Pad2D, SoftRange

LOG_VARIANCE_LIMIT = 10.0  # network units squared: sigma between 0.007 and 148
# the layer of each network whose input are the last features, by the name of the network
FEATURES = {"resunet": "head_pad", "generator": "last_conv", "dsen2cr": "last"}


def feature_network(network: keras.Model) -> keras.Model:
    """x -> (features (B, H, W, F), mean (B, H, W, n)) of a network that predicts; it shares its weights.

    raises  ValueError for a network without known features
    """
    if network.name not in FEATURES:
        raise ValueError(f"no features are known for network {network.name!r}")
    features = network.get_layer(FEATURES[network.name]).input
    return keras.Model(network.inputs, [features, network.outputs[0]], name="features")


def build_head(features: int, bands: int, filters: int = 32, log_variance: Any = 0.0) -> keras.Model:
    """The head, float32 throughout.

    input         (B, H, W, features)
    output        (B, H, W, bands) log-variance in network units
    log_variance  (bands,) or one number: what it says before its training, everywhere
    check         32 features, 4 bands, 32 filters: 18,692 parameters
    """
    options: dict[str, Any] = {"dtype": "float32"}
    inputs = keras.Input((None, None, features), name="features", dtype="float32")
    x = layers.LayerNormalization(epsilon=1e-6, name="norm", **options)(inputs)
    for number in (1, 2):
        x = Pad2D(1, "reflect", name=f"pad{number}", **options)(x)
        x = layers.Conv2D(filters, 3, activation="relu", name=f"conv{number}", **options)(x)
    x = layers.Conv2D(bands, 1, kernel_initializer="zeros", name="last", **options)(x)
    head = keras.Model(inputs, SoftRange(LOG_VARIANCE_LIMIT, name="log_variance", **options)(x), name="uncertainty")
    bias = head.get_layer("last").bias
    bias.assign(keras.ops.broadcast_to(keras.ops.cast(log_variance, "float32"), bias.shape))
    return head
