"""The default model: a small U-Net of gated blocks that predicts the CHANGE of the optical image.

y = S2(t0) + delta with a last convolution of zeros, so that before the first step the output is S2(t0) itself.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from models.config import ModelConf
from models.layers import ChannelSlice, Gate, Pad2D


def _conv3(x: Any, filters: int, name: str, **options: Any) -> Any:
    """Reflect-padded 3 x 3 convolution: (B, H, W, C) -> (B, H, W, filters)."""
    x = Pad2D(1, "reflect", name=f"{name}_pad")(x)
    return layers.Conv2D(filters, 3, name=name, **options)(x)


def _block(x: Any, width: int, attention: bool, name: str) -> Any:
    """One gated block, (B, H, W, width) -> the same shape.

    norm, 1 x 1 to 2c, depthwise 3 x 3, gate, times 1 x 1 of the global mean, 1 x 1, add; norm, 1 x 1 to 2c, gate,
    1 x 1, add. No batch norm and no dropout: the result does not depend on the other tiles of a batch.
    """
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm1")(x)
    y = layers.Conv2D(2 * width, 1, name=f"{name}_expand1")(y)
    y = Pad2D(1, "reflect", name=f"{name}_pad")(y)
    y = Gate(name=f"{name}_gate1")(layers.DepthwiseConv2D(3, name=f"{name}_depthwise")(y))
    if attention:
        mean = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(y)  # (B, 1, 1, width)
        y = layers.Multiply(name=f"{name}_attend")([y, layers.Conv2D(width, 1, name=f"{name}_attention")(mean)])
    x = layers.Add(name=f"{name}_add1")([x, layers.Conv2D(width, 1, name=f"{name}_project1")(y)])
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(x)
    y = Gate(name=f"{name}_gate2")(layers.Conv2D(2 * width, 1, name=f"{name}_expand2")(y))
    return layers.Add(name=f"{name}_add2")([x, layers.Conv2D(width, 1, name=f"{name}_project2")(y)])


def build_resunet(conf: ModelConf, channels_in: int, channels_out: int, optical_start: int = 6) -> keras.Model:
    """Residual U-Net, free of height and width (multiples of 2 ** number of levels).

    input    (B, H, W, channels_in) network units; S2(t0) in channels optical_start .. optical_start+channels_out-1
    output   (B, H, W, channels_out) network units of the label
    check    11 in, 4 out: 3,298,084 parameters; widths 8, 16, middle 32, one block each: 23,612
    """
    inputs = keras.Input((None, None, channels_in), name="x")
    x = _conv3(inputs, conf.widths[0], "stem")
    skips = []
    for level, (width, count) in enumerate(zip(conf.widths, conf.encoder_blocks, strict=True), 1):
        for number in range(1, count + 1):
            x = _block(x, width, conf.channel_attention, f"down{level}_{number}")
        skips.append(x)
        x = layers.Conv2D(2 * width, 2, strides=2, name=f"down{level}")(x)  # (B, H/2, W/2, 2 width)
    for number in range(1, conf.middle_blocks + 1):
        x = _block(x, 2 * conf.widths[-1], conf.channel_attention, f"middle_{number}")
    levels = range(len(conf.widths), 0, -1)
    for level, count in zip(levels, conf.decoder_blocks, strict=True):
        width = conf.widths[level - 1]
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"up{level}")(x)
        x = _conv3(x, width, f"up{level}_conv")
        x = layers.Add(name=f"skip{level}")([x, skips.pop()])
        for number in range(1, count + 1):
            x = _block(x, width, conf.channel_attention, f"up{level}_{number}")
    delta = _conv3(x, channels_out, "head", kernel_initializer="zeros", bias_initializer="zeros", dtype="float32")
    s2_t0 = ChannelSlice(optical_start, channels_out, dtype="float32", name="s2_t0")(inputs)
    outputs = layers.Add(dtype="float32", name="y")([s2_t0, delta])
    return keras.Model(inputs, outputs, name="resunet")
