"""Residual peer: plain convolution blocks at full resolution that add to S2(t0)."""

from __future__ import annotations

import keras
from keras import layers

from models.config import ModelConf
from models.layers import ChannelSlice, Scale


def build_dsen2cr(conf: ModelConf, channels_in: int, channels_out: int, optical_start: int = 4) -> keras.Model:
    """DSen2-CR's residual network (Meraner et al. 2020), on our channels.

    input    (B, H, W, channels_in) network units
    output   (B, H, W, channels_out) = S2(t0) + change
    check    16 blocks of 256: 15 in, 13 out 18,947,341 parameters; 8 in, 4 out 18,910,468
    """
    filters, kernel = conf.dim_resnet, conf.k_resnet
    inputs = keras.Input((None, None, channels_in), name="x")
    x = layers.Conv2D(filters, kernel, padding="same", activation="relu", name="first")(inputs)
    for number in range(1, conf.nb_resnet_blocs + 1):
        y = layers.Conv2D(filters, kernel, padding="same", activation="relu", name=f"block{number}_1")(x)
        y = layers.Conv2D(filters, kernel, padding="same", name=f"block{number}_2")(y)
        x = layers.Add(name=f"block{number}_add")([x, Scale(0.1, name=f"block{number}_scale")(y)])
    delta = layers.Conv2D(channels_out, kernel, padding="same", dtype="float32", name="last")(x)
    s2_t0 = ChannelSlice(optical_start, channels_out, dtype="float32", name="s2_t0")(inputs)
    return keras.Model(inputs, layers.Add(dtype="float32", name="y")([s2_t0, delta]), name="dsen2cr")
