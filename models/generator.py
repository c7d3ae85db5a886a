"""The published generator: convolutions, residual blocks, convolutions; stride 1 throughout."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from models.config import ModelConf


def _conv_norm_relu(x: Any, conf: ModelConf, filters: int, kernel: int, name: str) -> Any:
    """Convolution, batch norm, ReLU: (B, H, W, C) -> (B, H, W, filters)."""
    x = layers.Conv2D(filters, kernel, strides=conf.stride, padding=conf.padding, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=conf.bn_momentum, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _residual(x: Any, conf: ModelConf, name: str) -> Any:
    """conv, BN, ReLU, dropout, conv, BN, add, ReLU: (B, H, W, dim) -> the same shape."""
    y = _conv_norm_relu(x, conf, conf.dim_resnet, conf.k_resnet, f"{name}_1")
    y = layers.Dropout(conf.do_rate, seed=0, name=f"{name}_dropout")(y)
    y = layers.Conv2D(conf.dim_resnet, conf.k_resnet, strides=conf.stride, padding=conf.padding, name=f"{name}_2_conv")(
        y
    )
    y = layers.BatchNormalization(momentum=conf.bn_momentum, name=f"{name}_2_bn")(y)
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def build_generator(
    conf: ModelConf, channels_in: int, channels_out: int, optical_start: int = 4, name: str = "generator"
) -> keras.Model:
    """Generator of the published conditional GAN, free of height and width.

    input    (B, H, W, channels_in) network units
    output   (B, H, W, channels_out), tanh: -1..1
    check    published values, 8 in and 4 out: 11,407,748 parameters, 10,496 of them not trainable
    source   irisdum/sent2_cloud_remover (facts of the architecture)
    """
    del optical_start  # this generator predicts the image itself, not a change of it
    inputs = keras.Input((None, None, channels_in), name="x")
    x = inputs
    for number, (filters, kernel) in enumerate(conf.param_before_resnet, 1):
        x = _conv_norm_relu(x, conf, filters, kernel, f"before{number}")
    for number in range(1, conf.nb_resnet_blocs + 1):
        x = _residual(x, conf, f"block{number}")
    for number, (filters, kernel) in enumerate(conf.param_after_resnet, 1):
        x = _conv_norm_relu(x, conf, filters, kernel, f"after{number}")
    last = {"strides": conf.stride, "padding": conf.padding, "dtype": "float32", "name": "last_conv"}
    x = layers.Conv2D(channels_out, conf.last_layer[1], **last)(x)
    # float32 whatever the precision of the rest: the loss and the reflectance need it
    outputs = layers.Activation(conf.last_activation, dtype="float32", name="y")(x)
    return keras.Model(inputs, outputs, name=name)
