"""Cycle GAN between the optical and the radar image of t1: networks, the images that they see, and their losses.

G: (S1 t0, S1 t1, S2 t0) -> S2 t1 has the layers of the published generator; F: (S2 t1, S1 t0, S2 t0) -> S1 t1 has the
same layers and an open end, since its target is in standardised dB. Two patch discriminators judge S2 t1 and S1 t1 alone,
without a condition, so that they learn from tiles whose own t1 is cloudy too. keras.ops only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from models import losses
from models.config import ModelConf
from models.generator import build_generator

SAR_BANDS = 2  # VV and VH


def build_inverse(conf: ModelConf, channels_in: int, channels_out: int) -> keras.Model:
    """F, from channels_out optical bands of t1 and x without S1(t1) to S1(t1).

    input    (B, H, W, channels_out + channels_in - 2)
    output   (B, H, W, 2) standardised dB
    check    published values, 8 in and 4 out of G: 10 in, 2 out, 11,412,866 parameters
    """
    open_end = conf.model_copy(update={"last_activation": "linear"})
    return build_generator(open_end, channels_out + channels_in - SAR_BANDS, SAR_BANDS, name="inverse")


@dataclass(frozen=True)
class Places:
    """Where the images lie in x (scaler mode standard): first channels of S1(t1) and of the newest S2, its bands.

    S1 of the date before t1 lies before S1(t1).
    """

    radar: int
    optical: int
    bands: int

    def s1_t1(self, x: Any) -> Any:
        """S1(t1) of x."""
        return x[..., self.radar : self.radar + SAR_BANDS]

    def s1_t0(self, x: Any) -> Any:
        """S1 of the date before t1."""
        return x[..., self.radar - SAR_BANDS : self.radar]

    def s2_t0(self, x: Any) -> Any:
        """The newest S2 of x."""
        return x[..., self.optical : self.optical + self.bands]

    def with_s1_t1(self, x: Any, radar: Any) -> Any:
        """x with another S1(t1)."""
        return ops.concatenate([x[..., : self.radar], radar, x[..., self.radar + SAR_BANDS :]], axis=-1)

    def inverse_input(self, x: Any, optical: Any) -> Any:
        """Input of F: an optical image of t1, then x without S1(t1)."""
        return ops.concatenate([optical, x[..., : self.radar], x[..., self.radar + SAR_BANDS :]], axis=-1)

    def filled(self, image: Any, x: Any, weight: Any) -> Any:
        """An observed S2(t1) with S2(t0) where it is cloudy or missing."""
        return ops.where(weight[..., None] > 0, image, self.s2_t0(x))


def map_weight(weight: Any, decision: Any) -> Any:
    """(B, h, w): how far each decision looks at clear label, 0..1; what is less than half clear does not count."""
    size = (int(decision.shape[1]), int(decision.shape[2]))
    share = ops.image.resize(
        weight[..., None], size, interpolation="bilinear", antialias=True, data_format="channels_last"
    )[..., 0]
    return ops.where(share >= 0.5, share, ops.zeros_like(share))


def everywhere(predicted: Any, target: Any) -> Any:
    """Mean absolute error over all pixels and bands: radar sees through clouds."""
    return losses.l1(predicted, target, ops.ones_like(predicted[..., 0]))
