"""What a user should know of his keys before a training begins."""

from __future__ import annotations

from models import registry
from models.config import ModelConf, TrainConf


def notes(model: ModelConf, train: TrainConf) -> list[str]:
    """Warnings about keys that are accepted without effect, or that are known to fail."""
    training = registry.spec_of(model).training
    adversarial = training in ("gan", "cycle")
    out = []
    if training == "cycle" and train.lambda_ == 0:
        out.append("lambda is 0: nothing ties the image to its label, only cycles and discriminators teach")
    if training == "gan" and train.lambda_ == 0:
        out.append(
            "lambda is 0: the L1 term is off and the images collapse (PSNR 11 dB in trials); the published comment says 100"
        )
    if adversarial and model.discri_dense_archi:
        out.append("discri_dense_archi has no effect: the published discriminator never used its dense head")
    if adversarial and train.k_step != 5:
        out.append("k_step has no effect: its author marked it unused")
    if train.train_g_multiple_time and not adversarial:
        out.append("train_g_multiple_time has no effect without a discriminator")
    return out
