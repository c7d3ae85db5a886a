"""The shipped tiny files train: one step each, with nothing changed but the length."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from models import backend

backend.start()

from models import inputs, registry  # noqa: E402
from models.config import ModelConf, TrainConf  # noqa: E402
from models.run import RunFolder, load_card  # noqa: E402
from models.training import Training  # noqa: E402
from tests.unit.tiny_training import MEDIAN, SAR, sample, standard_scaler, task  # noqa: E402
from utils.science.scaler import Scaler  # noqa: E402
from utils.workflow.config import ROOT, load_yaml_model  # noqa: E402

BANDS = ("B04", "B03", "B02", "B08")
NAMES = sorted(path.name for path in (ROOT / "GAN_confs").glob("model*tiny.yaml"))


def test_every_network_has_a_tiny_file() -> None:
    models = {load_yaml_model(ROOT / "GAN_confs" / name, ModelConf).model for name in NAMES}
    assert models >= {"published_gan", "cyclegan", "dsen2cr", "resunet", "resunet_gan"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_shipped_tiny_files_train(tmp_path: Path, name: str) -> None:
    model = load_yaml_model(ROOT / "GAN_confs" / name, ModelConf)
    conf = load_yaml_model(ROOT / "GAN_confs" / name.replace("model", "train"), TrainConf)
    conf = conf.model_copy(update={"epoch": 1, "steps_per_epoch": 2, "tensorboard": False})
    one = task(tmp_path, model, conf)
    mode = registry.scaler_mode(model)
    scaler = Scaler.fixed(SAR, BANDS) if mode == "fixed" else standard_scaler()
    start, clip = registry.channels(mode, 4)[1], registry.spec_of(model).adversarial

    def load(sample_id: str) -> inputs.Tile:
        return inputs.prepare_tile(sample(int(sample_id), 48), scaler, MEDIAN, start, clip)

    figures = Training(dataclasses.replace(one, size_px=48, load=inputs.TileCache(load))).fit()
    assert np.isfinite(figures["psnr"])
    assert load_card(RunFolder(tmp_path))["model"] == model.model
