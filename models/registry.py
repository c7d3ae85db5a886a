"""Names of the models and how each is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from models.config import PUBLISHED_LAYERS, ModelConf
from utils.workflow.errors import ConfigError

if TYPE_CHECKING:
    import keras

ScalerMode = Literal["standard", "fixed"]
Training = Literal["gan", "cycle", "regression", "phases"]
SAR_CHANNELS = 2  # VV and VH of one date
FIXED_EXTRA = 3  # scaler mode fixed adds two SAR differences before the optical bands and the valid mask after them


@dataclass(frozen=True)
class ModelSpec:
    """One entry of the registry.

    scaler    the mode of normalisation it was designed for
    training  the way it is trained, see models.trainers
    trees     boosted trees (models/trees.py) in place of a network; builder is never called then
    builder   (conf, channels_in, channels_out, optical_start) -> Keras model, free of height and width
    """

    name: str
    scaler: ScalerMode
    training: Training
    summary: str
    builder: Callable[[ModelConf, int, int, int], Any]
    trees: bool = False

    @property
    def adversarial(self) -> bool:
        """True when a discriminator takes part from the first step and labels are cut to -1..1, the range of tanh."""
        return self.training in ("gan", "cycle")


def _published(conf: ModelConf, channels_in: int, channels_out: int, start: int) -> Any:
    from models.generator import build_generator

    return build_generator(conf, channels_in, channels_out, start)


def _resunet(conf: ModelConf, channels_in: int, channels_out: int, start: int) -> Any:
    from models.resunet import build_resunet

    return build_resunet(conf, channels_in, channels_out, start)


def _dsen2cr(conf: ModelConf, channels_in: int, channels_out: int, start: int) -> Any:
    from models.dsen2cr import build_dsen2cr

    return build_dsen2cr(conf, channels_in, channels_out, start)


def _no_network(conf: ModelConf, channels_in: int, channels_out: int, start: int) -> Any:
    raise ConfigError(f"model: '{conf.model}' is no network.", "It is fitted by ./s2cr train and needs no layers.")


_RESUNET = "residual U-Net, the recommended default; step 0 copies S2(t0)"
_PHASES = "the same, with a patch discriminator in the last fifth of the steps: for looks, not for maps"
_CYCLE = "cycle GAN between S2(t1) and S1(t1); learns from tiles whose t1 is cloudy too"
REGISTRY: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            "published_gan", "standard", "gan", "conditional GAN as published; L1 + patch discriminator", _published
        ),
        ModelSpec("cyclegan", "standard", "cycle", _CYCLE, _published),
        ModelSpec("resunet", "fixed", "regression", _RESUNET, _resunet),
        ModelSpec("resunet_gan", "fixed", "phases", _PHASES, _resunet),
        ModelSpec(
            "dsen2cr", "standard", "regression", "residual network at full resolution, peer for comparison", _dsen2cr
        ),
        ModelSpec(
            "histgbm_res",
            "fixed",
            "regression",
            "boosted trees for few scenes: minutes on a CPU, no GPU",
            _no_network,
            True,
        ),
        ModelSpec(
            "trees_net",
            "fixed",
            "regression",
            "mean of such trees and a small network on the same features: for places with dozens of dates",
            _no_network,
            True,
        ),
    )
}


def spec_of(conf: ModelConf) -> ModelSpec:
    """The registry entry of a model.yaml.

    raises  ConfigError for an unknown name, listing those that exist
    """
    if conf.model not in REGISTRY:
        raise ConfigError(f"model: '{conf.model}' is unknown.", f"Choose one of {', '.join(sorted(REGISTRY))}.")
    return REGISTRY[conf.model]


def scaler_mode(conf: ModelConf) -> ScalerMode:
    """Normalisation mode of a model: its own unless model.yaml says otherwise."""
    return conf.scaler or spec_of(conf).scaler


def channels(mode: ScalerMode, optical_bands: int, dates: int = 2) -> tuple[int, int]:
    """(channels of x, first channel of the newest optical image in x) for a number of optical bands and of dates.

    With n dates x holds 2n SAR channels, in mode fixed two differences, and n-1 optical images, oldest first
    """
    start = SAR_CHANNELS * dates + optical_bands * (dates - 2)
    if mode == "fixed":
        return start + FIXED_EXTRA + optical_bands, start + 2
    return start + optical_bands, start


def check_shapes(conf: ModelConf, bands: tuple[str, ...], size_px: int, dates: int = 2) -> None:
    """Compare the shapes written in model.yaml with the dataset; null agrees with everything.

    raises  ConfigError naming both numbers
    """
    width, _ = channels(scaler_mode(conf), len(bands), dates)
    optical = ", ".join(bands)
    checks = [
        (
            "input_shape",
            conf.input_shape[2],
            width,
            f"channels of x (Sentinel-1 of {dates} dates, {optical} of {dates - 1})",
        ),
        ("dim_gt_image", conf.dim_gt_image[2], len(bands), f"optical bands ({optical})"),
    ]
    for name, shape in (("input_shape", conf.input_shape), ("dim_gt_image", conf.dim_gt_image)):
        checks += [(name, shape[axis], size_px, "pixels a tile side") for axis in (0, 1)]
    if conf.model in PUBLISHED_LAYERS:
        checks.append(("last_layer", conf.last_layer[0], len(bands), f"optical bands ({optical})"))
    for name, written, found, what in checks:
        if written is not None and written != found:
            raise ConfigError(
                f"model.yaml: {name} says {written}, the dataset has {found} {what}.",
                f"Write {found} or null in {name}, or build the dataset with other bands or tiles.",
            )


def build(conf: ModelConf, optical_bands: int, dates: int = 2) -> keras.Model:
    """Build the network that predicts, with fresh weights. Residual networks add to the newest optical image.

    raises  ConfigError for an unknown name
    """
    width, start = channels(scaler_mode(conf), optical_bands, dates)
    return spec_of(conf).builder(conf, width, optical_bands, start)


def helpers(conf: ModelConf, optical_bands: int, size_px: int = 256) -> list[keras.Model]:
    """The networks that take part in training only: discriminators, and F of cyclegan."""
    from models.cyclegan import SAR_BANDS, build_inverse
    from models.discriminator import build_discriminator, build_patch_critic

    width, start = channels(scaler_mode(conf), optical_bands)
    training = spec_of(conf).training
    if training == "gan":
        return [build_discriminator(conf, width + optical_bands, size_px)]
    if training == "phases":
        return [build_patch_critic(conf, start + 2 * optical_bands, size_px)]
    if training == "cycle":
        critics = [build_patch_critic(conf, bands, size_px) for bands in (optical_bands, SAR_BANDS)]
        return [build_inverse(conf, width, optical_bands), *critics]
    return []


def size_multiple(conf: ModelConf) -> int:
    """Height and width that the network takes are multiples of this."""
    spec_of(conf)
    return int(2 ** len(conf.widths)) if conf.model in ("resunet", "resunet_gan") else 1


def macs_per_pixel(model: keras.Model, size_px: int = 64) -> float:
    """Multiply-accumulate operations of all convolutions for one pixel of x (a 1 x 1 on a global mean counts once)."""
    import keras

    total = 0
    copy = keras.Model(model.inputs, [layer.output for layer in model.layers if _is_conv(layer)])
    shapes = copy.compute_output_shape((1, size_px, size_px, model.inputs[0].shape[-1]))
    for layer, shape in zip([layer for layer in model.layers if _is_conv(layer)], shapes, strict=True):
        kernel = layer.kernel.shape
        total += int(kernel[0] * kernel[1] * kernel[2] * kernel[3]) * int(shape[1]) * int(shape[2])
    return total / size_px**2


def _is_conv(layer: Any) -> bool:
    return type(layer).__name__ in ("Conv2D", "DepthwiseConv2D", "SpectralConv2D")
