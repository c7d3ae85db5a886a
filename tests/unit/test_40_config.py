"""model.yaml and train.yaml: every published key, its value, and errors that a user can act on."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from models.config import ModelConf, TrainConf
from utils.workflow.config import ROOT, load_yaml_model
from utils.workflow.errors import ConfigError

CONFS = ROOT / "GAN_confs"
MODEL_KEYS = [
    "model_name",
    "input_shape",
    "dim_gt_image",
    "param_before_resnet",
    "param_after_resnet",
    "nb_resnet_blocs",
    "k_resnet",
    "dim_resnet",
    "last_layer",
    "last_activation",
    "stride",
    "padding",
    "bn_momentum",
    "do_rate",
    "discri_opt_padding",
    "layer_key",
    "dict_discri_archi",
    "discri_dense_archi",
    "lrelu_alpha",
    "d_activation",
    "d_last_activ",
    "add_discri_white_noise",
    "add_relu_after_noise",
    "add_discri_noise",
]
TRAIN_KEYS = [
    "train_directory",
    "val_directory",
    "dict_band_x",
    "dict_band_label",
    "normalization",
    "dict_rescale_type",
    "s1_scale",
    "s2_scale",
    "s1bands",
    "s2bands",
    "lim_train_tile",
    "lim_val_tile",
    "lr",
    "fact_g_lr",
    "beta1",
    "lambda",
    "load_model",
    "path_csv",
    "k_step",
    "epoch",
    "batch_size",
    "gradient_acc_step",
    "train_g_multiple_time",
    "training_number",
    "training_dir",
    "multi_gpu",
    "im_saving_step",
    "weights_saving_step",
    "metric_step",
    "real_label_smoothing",
    "fake_label_smoothing",
    "sigma_init",
    "sigma_decay",
    "sigma_step",
]


def _keys(model: type[ModelConf] | type[TrainConf]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_all_24_and_34_published_keys_are_accepted_and_shipped() -> None:
    assert len(MODEL_KEYS) == 24
    assert len(TRAIN_KEYS) == 34
    assert set(MODEL_KEYS) <= _keys(ModelConf)
    assert {*TRAIN_KEYS, "steps_per_execution"} <= _keys(TrainConf)
    text_model, text_train = ((CONFS / name).read_text() for name in ("model.yaml", "train.yaml"))
    assert [key for key in MODEL_KEYS if f"\n{key}:" not in text_model] == []
    assert [key for key in TRAIN_KEYS if f"\n{key}:" not in text_train] == []


def test_every_key_has_a_sentence() -> None:
    for model in (ModelConf, TrainConf):
        assert [name for name, field in model.model_fields.items() if not (field.description or "").endswith(".")] == []


def test_published_values() -> None:
    model, train = load_yaml_model(CONFS / "model.yaml", ModelConf), load_yaml_model(CONFS / "train.yaml", TrainConf)
    assert model.param_before_resnet == ((64, 7), (128, 3), (256, 3))
    assert (model.nb_resnet_blocs, model.dim_resnet, model.do_rate, model.bn_momentum) == (9, 256, 0.5, 0.99)
    assert model.discriminator_layers()[3] == {"padding": 1, "stride": 1, "kernel": 4, "nfilter": 512}
    assert (train.s1_scale, train.s2_scale) == (0.2, 1 / 7)  # written 1/5 and 1/7
    assert (train.lr, train.beta1, train.lambda_, train.batch_size, train.gradient_acc_step) == (1e-4, 0.5, 100, 2, 2)
    assert train.dict_band_x == {"VV": (0, 2), "VH": (1, 3), "R,G,B": (4, 5, 6), "NIR": (7,)}


@pytest.mark.parametrize("path", sorted(CONFS.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_load(path: Path) -> None:
    from models.registry import spec_of

    if path.name.startswith("model"):
        assert spec_of(load_yaml_model(path, ModelConf)).name
        assert (CONFS / path.name.replace("model", "train")).is_file()
    else:
        assert load_yaml_model(path, TrainConf).epoch >= 1


def test_an_unknown_key_is_named_with_its_line_and_neighbour(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("lr: 0.001\nbatchsize: 2\nlamda: 10\n")
    with pytest.raises(ConfigError) as caught:
        load_yaml_model(path, TrainConf)
    assert "train.yaml:2: unknown key 'batchsize'; did you mean 'batch_size'?" in caught.value.message
    assert "train.yaml:3: unknown key 'lamda'; did you mean 'lambda'?" in caught.value.message


@pytest.mark.parametrize(
    ("model", "keys", "words"),
    [
        (ModelConf, {"dim_resnet": 128}, "dim_resnet 128 is not the last filters of param_before_resnet, 256"),
        (ModelConf, {"add_discri_white_noise": True, "add_discri_noise": True}, "exclude each other"),
        (ModelConf, {"layer_key": ["padding", "stride", "kernel", "filters"]}, "layer_key must hold the four words"),
        (ModelConf, {"stride": [2, 2]}, "stride must be"),
        (TrainConf, {"real_label_smoothing": [1.0, 0.8]}, "interval inside 0..1"),
        (TrainConf, {"dict_rescale_type": {"VV": "MinMaxScaler"}}, "StandardScaler"),
        (TrainConf, {"published_exact": True, "schedule": {"decay": "cosine"}}, "constant rate"),
        (TrainConf, {"s2_scale": "one seventh"}, "valid number"),
        (TrainConf, {"batch_size": True}, "valid integer"),
    ],
)
def test_refusals_say_why(model: type[ModelConf], keys: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        model.model_validate(keys)


def test_sigma_halves_every_ten_epochs() -> None:
    conf = TrainConf(sigma_init=0.5, sigma_decay=0.5, sigma_step=10)
    assert [conf.sigma(epoch) for epoch in (1, 10, 11, 20, 21)] == [0.5, 0.5, 0.25, 0.25, 0.125]


def test_lambda_0_and_keys_without_effect_are_told() -> None:
    from models.notes import notes

    told = " ".join(
        notes(
            ModelConf(discri_dense_archi={1: [1]}),
            TrainConf.model_validate({"lambda": 0, "k_step": 2}),
        )
    )
    for word in ("lambda is 0", "collapse", "discri_dense_archi", "k_step"):
        assert word in told
    assert notes(ModelConf(), TrainConf()) == []
    unpaired = notes(ModelConf(model="cyclegan"), TrainConf.model_validate({"lambda": 0}))
    assert len(unpaired) == 1 and "only cycles and discriminators" in unpaired[0]
    assert notes(ModelConf(model="resunet"), TrainConf.model_validate({"lambda": 0})) == []


def test_channel_tables_must_agree_with_the_dataset() -> None:
    from types import SimpleNamespace

    from models.session import check_channels, expected_channels

    x, y = expected_channels(("VV", "VH"), ("B04", "B03", "B02", "B08", "B12"))
    assert x == {"VV": [0, 2], "VH": [1, 3], "R,G,B": [4, 5, 6], "NIR": [7], "B12": [8]}
    assert y == {"R,G,B": [0, 1, 2], "NIR": [3], "B12": [4]}
    train = load_yaml_model(CONFS / "train.yaml", TrainConf)
    four = SimpleNamespace(bands_sar=("VV", "VH"), bands_optical=("B04", "B03", "B02", "B08"))
    check_channels(train, four)  # type: ignore[arg-type]
    five = SimpleNamespace(bands_sar=("VV", "VH"), bands_optical=("B04", "B03", "B02", "B08", "B12"))
    with pytest.raises(ConfigError, match=r"dict_band_x says .*'NIR': \[7\]}, the dataset has .*'B12': \[8\]"):
        check_channels(train, five)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="s2bands says"):
        check_channels(TrainConf(s2bands=("NIR",)), four)  # type: ignore[arg-type]
