"""The published patch discriminator."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from models.config import ModelConf
from models.layers import Pad2D, SpectralConv2D
from utils.workflow.errors import ConfigError


def output_size(conf: ModelConf, size_px: int) -> int:
    """Side of the map of decisions for an input of size_px x size_px (256 -> 30 with the published layers)."""
    for layer in conf.discriminator_layers():
        size_px = (size_px + 2 * layer["padding"] - layer["kernel"]) // layer["stride"] + 1
    return size_px


def _activation(conf: ModelConf, name: str) -> Any:
    if conf.d_activation == "lrelu":
        return layers.LeakyReLU(negative_slope=conf.lrelu_alpha, name=name)
    return layers.ReLU(name=name)


def _check_size(conf: ModelConf, size_px: int) -> None:
    if output_size(conf, size_px) < 1:
        raise ConfigError(
            f"dict_discri_archi: a tile of {size_px} px shrinks to nothing after {len(conf.dict_discri_archi)} layers.",
            "Use larger tiles or fewer layers with stride 2.",
        )


def receptive_field(conf: ModelConf) -> int:
    """Side of the patch of the image that one decision sees, in pixels (70 with the published layers)."""
    side, jump = 1, 1
    for layer in conf.discriminator_layers():
        side, jump = side + (layer["kernel"] - 1) * jump, jump * layer["stride"]
    return side


def build_patch_critic(conf: ModelConf, channels: int, size_px: int, name: str = "discriminator") -> keras.Model:
    """Discriminator of cyclegan and of phase 2 of resunet_gan: spectral norm instead of batch norm, no squashing.

    input    (B, size_px, size_px, channels)
    outputs  the decisions (B, h, w, 1), float32 and unbounded, then the activations of the layers before, in order
    check    published layers, 14 channels: 3,431,489 trainable parameters, a 30 x 30 map, patches of 70 px
    raises   ConfigError when the image is too small for the layers
    """
    _check_size(conf, size_px)
    inputs = keras.Input((size_px, size_px, channels), name="seen")
    x, activations = inputs, []
    specs = conf.discriminator_layers()
    for number, spec in enumerate(specs, 1):
        if spec["padding"]:
            x = Pad2D(spec["padding"], conf.discri_opt_padding.lower(), name=f"pad{number}")(x)
        x = SpectralConv2D(spec["nfilter"], spec["kernel"], spec["stride"], name=f"conv{number}")(x)
        if number < len(specs):
            x = _activation(conf, f"act{number}")(x)
            activations.append(x)
    decision = layers.Activation("linear", dtype="float32", name="decision")(x)
    return keras.Model(inputs, [decision, *activations], name=name)


def build_discriminator(conf: ModelConf, channels: int, size_px: int, published_exact: bool = False) -> keras.Model:
    """Discriminator on an image and its condition.

    input    (B, size_px, size_px, channels): channels = image + x
    output   (B, h, w, 1) probabilities with published_exact and a sigmoid, else logits
    check    published layers, 12 channels, published_exact: 3,433,541 parameters and a 30 x 30 map; without the
             questionable last batch norm and leaky ReLU (the default here): 3,433,537
    raises   ConfigError when the image is too small for the layers
    """
    _check_size(conf, size_px)
    inputs = keras.Input((size_px, size_px, channels), name="image_and_x")
    x = inputs
    specs = conf.discriminator_layers()
    for number, spec in enumerate(specs, 1):
        if spec["padding"]:
            x = Pad2D(spec["padding"], conf.discri_opt_padding.lower(), name=f"pad{number}")(x)
        dtype = "float32" if number == len(specs) else None  # also where the rest computes in bfloat16
        x = layers.Conv2D(spec["nfilter"], spec["kernel"], strides=spec["stride"], name=f"conv{number}", dtype=dtype)(x)
        if number == len(specs) and not published_exact:
            break  # logits: a leaky ReLU and a batch norm before the decision only distort it
        if number > 1:
            x = layers.BatchNormalization(momentum=conf.bn_momentum, name=f"bn{number}")(x)
        x = _activation(conf, f"act{number}")(x)
    last = "sigmoid" if published_exact and conf.d_last_activ == "sigmoid" else "linear"
    outputs = layers.Activation(last, dtype="float32", name="decision")(x)
    return keras.Model(inputs, outputs, name="discriminator")
