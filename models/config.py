"""Keys of model.yaml and train.yaml: the 24 and 34 published ones with their meaning, and the optional new ones.

Tables may be long: this file is one. An unknown key is refused; utils.workflow.config.load_yaml_model gives its line.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from utils.workflow.schema import Integers, Ratio, Section, Strings, key


def _tuples(value: Any) -> Any:
    """Nested YAML sequences become nested tuples."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _number_keys(value: Any) -> Any:
    """Keys 1, 2, 3 of a mapping may arrive as text."""
    if not isinstance(value, dict):
        return value
    return {int(k) if isinstance(k, str) and k.isdigit() else k: _tuples(v) for k, v in value.items()}


def _tuple_values(value: Any) -> Any:
    return {k: _tuples(v) for k, v in value.items()} if isinstance(value, dict) else value


Shape = Annotated[tuple[int | None, int | None, int | None], BeforeValidator(_tuples)]
LastLayer = Annotated[tuple[int | None, int], BeforeValidator(_tuples)]
Pair = Annotated[tuple[int, int], BeforeValidator(_tuples)]
Pairs = Annotated[tuple[tuple[int, int], ...], BeforeValidator(_tuples)]
Interval = Annotated[tuple[float, float], BeforeValidator(_tuples)]
Layers = Annotated[dict[int, tuple[int, int, int, int]], BeforeValidator(_number_keys)]
Dense = Annotated[dict[int, tuple[int, ...]], BeforeValidator(_number_keys)]
Channels = Annotated[dict[str, tuple[int, ...]], BeforeValidator(_tuple_values)]

LAYER_WORDS = {"padding", "stride", "kernel", "nfilter"}
PUBLISHED_LAYERS = ("published_gan", "cyclegan")  # models whose generator has the published layers
PUBLISHED_DISCRIMINATOR = {1: (1, 2, 4, 64), 2: (1, 2, 4, 256), 3: (1, 2, 4, 256), 4: (1, 1, 4, 512), 5: (1, 1, 4, 1)}


class Trees(Section):
    """Boosted trees of models histgbm_res and trees_net."""

    iterations: int = key(60, "Trees of a band.", ge=1)
    rate: float = key(0.08, "Learning rate.", gt=0)
    leaves: int = key(15, "Largest number of leaves of a tree.", ge=2)
    min_leaf: int = key(200, "Fewest pixels of a leaf.", "pixels", ge=1)
    l2: float = key(10.0, "L2 penalty of the leaves.", ge=0)
    pixels: int = key(60000, "Pixels that the trees see, the same number of every sample.", "pixels", ge=100)
    tiles: int = key(2000, "Samples that pixels are drawn from, at most.", "tiles", ge=1)
    gate: bool = key(
        True,
        "A bag of eight fits with a gate learned on dates left out, where training has three groups of t1 dates; else one fit. Model trees_net has none.",
    )


class PixelNetwork(Section):
    """The network of model trees_net: dense layers on the features of a pixel."""

    hidden: Integers = key((64, 64), "Units of each hidden layer.", min_length=1)
    dropout: float = key(0.3, "Share of units left out at each step of the training.", "fraction", ge=0, lt=1)
    noise: float = key(0.3, "Noise on standardised features in training.", "standard deviations", ge=0)
    epochs: int = key(12, "Times that it sees its pixels (trees.pixels).", ge=1)
    batch: int = key(512, "Pixels a step.", "pixels", ge=1)
    rate: float = key(0.002, "Learning rate at the start; a cosine takes it to zero.", gt=0)
    weight_decay: float = key(0.01, "Decay of AdamW.", ge=0)
    ema: float = key(0.99, "Momentum of the moving average of the weights, which is kept.", ge=0, lt=1)


class ModelConf(Section):
    """model.yaml: one network, or boosted trees."""

    model_config = ConfigDict(protected_namespaces=())

    model: str = key("published_gan", "Name in the registry; absent means the published GAN. ./s2cr models lists them.")
    model_name: str = key("GAN_v0", "Folder name below training_dir.", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    input_shape: Shape = key(
        (None, None, None),
        "Rows, columns and channels of x; null = taken from the dataset.",
        "pixels, pixels, channels",
    )
    dim_gt_image: Shape = key(
        (None, None, None),
        "Rows, columns and channels of y; null = taken from the dataset.",
        "pixels, pixels, channels",
    )
    # published generator
    param_before_resnet: Pairs = key(
        ((64, 7), (128, 3), (256, 3)), "[filters, kernel] of the convolutions before the blocks."
    )
    param_after_resnet: Pairs = key(((128, 3), (64, 3)), "[filters, kernel] of the convolutions after the blocks.")
    nb_resnet_blocs: int = key(9, "Number of residual blocks.", ge=0)
    k_resnet: int = key(3, "Kernel of the residual blocks.", "pixels", ge=1)
    dim_resnet: int = key(256, "Filters of the residual blocks; the last filters before them.", ge=1)
    last_layer: LastLayer = key((None, 3), "Bands (null = from the dataset) and kernel of the last convolution.")
    last_activation: Literal["tanh", "linear", "sigmoid"] = key("tanh", "Activation of the output.")
    stride: Pair = key((1, 1), "Stride of every generator convolution; only [1, 1] keeps the tile size.")
    padding: Literal["same"] = key("same", "Padding of every generator convolution.")
    bn_momentum: float = key(0.99, "Momentum of batch normalisation, both networks.", ge=0, lt=1)
    do_rate: float = key(0.5, "Dropout inside the residual blocks.", "fraction", ge=0, lt=1)
    # published discriminator
    discri_opt_padding: Literal["CONSTANT", "REFLECT", "SYMMETRIC"] = key(
        "SYMMETRIC", "Padding before each discriminator convolution."
    )
    layer_key: Strings = key(
        ("padding", "stride", "kernel", "nfilter"), "Meaning of the four numbers of a discriminator layer."
    )
    dict_discri_archi: Layers = key(PUBLISHED_DISCRIMINATOR, "Discriminator layers in order.")
    discri_dense_archi: Dense = key(
        {}, "Dense head of the discriminator; never used by the published code: accepted, told, without effect."
    )
    lrelu_alpha: float = key(0.2, "Slope of the leaky ReLU below zero.", ge=0)
    d_activation: Literal["relu", "lrelu"] = key("lrelu", "Activation of the discriminator.")
    d_last_activ: Literal["sigmoid", "none"] = key(
        "sigmoid", "Last activation of the discriminator; none = logits loss."
    )
    add_discri_white_noise: bool = key(
        False, "Gaussian noise (sigma of train.yaml) on the real image before the discriminator."
    )
    add_relu_after_noise: bool = key(True, "Squash the noisy image (published: with tanh, despite the name).")
    add_discri_noise: bool = key(False, "Gaussian noise on all that the discriminator sees; excludes the white noise.")
    # further models
    scaler: Literal["standard", "fixed"] | None = key(None, "Scaler mode; empty = the model's own.")
    widths: Integers = key(
        (32, 64, 128), "Filters of each level of resunet; the middle has twice the last.", min_length=1
    )
    encoder_blocks: Integers = key((2, 2, 4), "Blocks of each level on the way down.", min_length=1)
    middle_blocks: int = key(4, "Blocks in the middle.", ge=1)
    decoder_blocks: Integers = key((2, 2, 2), "Blocks of each level on the way up.", min_length=1)
    channel_attention: bool = key(
        True, "Weight channels by their mean over the window: train and predict with one window size."
    )
    uncertainty: bool = key(
        False, "Head for a standard deviation of each band, trained after the mean; the mean stays the same to the bit."
    )
    trees: Trees = key(Trees(), "Boosted trees of models histgbm_res and trees_net; networks do not read it.")
    net: PixelNetwork = key(PixelNetwork(), "Pixel network of model trees_net; others do not read it.")

    @model_validator(mode="after")
    def _consistent(self) -> ModelConf:
        published = self.model in PUBLISHED_LAYERS
        if self.param_before_resnet and published and self.param_before_resnet[-1][0] != self.dim_resnet:
            raise ValueError(
                f"dim_resnet {self.dim_resnet} is not the last filters of param_before_resnet, {self.param_before_resnet[-1][0]}"
            )
        if set(self.layer_key) != LAYER_WORDS or len(self.layer_key) != 4:
            raise ValueError(f"layer_key must hold the four words {', '.join(sorted(LAYER_WORDS))}")
        if self.stride != (1, 1):
            raise ValueError("stride must be [1, 1]: the image predicted has the size of its input")
        if self.add_discri_white_noise and self.add_discri_noise:
            raise ValueError("add_discri_white_noise and add_discri_noise exclude each other")
        if not len(self.widths) == len(self.encoder_blocks) == len(self.decoder_blocks):
            raise ValueError("widths, encoder_blocks and decoder_blocks need one number for each level")
        noise = [name for name in ("add_discri_white_noise", "add_discri_noise") if getattr(self, name)]
        if noise and self.model in ("cyclegan", "resunet_gan"):
            raise ValueError(f"{noise[0]} belongs to published_gan; {self.model} has no noise")
        if self.model == "cyclegan" and self.scaler == "fixed":
            raise ValueError(
                "cyclegan works with scaler standard only: it replaces S1(t1), which mode fixed holds twice"
            )
        return self

    def discriminator_layers(self) -> list[dict[str, int]]:
        """The discriminator's layers in order, each as {padding, stride, kernel, nfilter}."""
        return [
            dict(zip(self.layer_key, self.dict_discri_archi[n], strict=True)) for n in sorted(self.dict_discri_archi)
        ]


class Schedule(Section):
    """Optimiser and learning rate over the training."""

    optimiser: Literal["adam", "adamw"] = key("adam", "Optimiser of the generator.")
    weight_decay: float = key(0.0, "Decoupled weight decay of adamw; biases and norms are spared.", ge=0)
    warmup_steps: int = key(0, "Steps of linear warm-up.", "steps", ge=0)
    decay: Literal["none", "cosine"] = key("none", "Decay of the rate to zero over the training.")
    clip_norm: float = key(0.0, "Largest norm of a gradient; 0 = unlimited.", ge=0)


class LossWeights(Section):
    """Terms of the loss of resunet and dsen2cr."""

    charbonnier: float = key(1.0, "Weight of the Charbonnier term, network units.", ge=0)
    ssim: float = key(0.0, "Weight of 1 - SSIM.", ge=0)
    sam: float = key(0.0, "Weight of the spectral angle.", "per radian", ge=0)
    index: float = key(0.0, "Weight of the absolute errors of NDVI and NBR.", ge=0)


class Augment(Section):
    """Random changes of training samples."""

    flips: bool = key(False, "Flips and quarter turns; only honest with terrain-flattened Sentinel-1.")
    s1_gain_db: float = key(0.0, "Largest shift of Sentinel-1, drawn for each date.", "dB", ge=0)
    s2_gain: float = key(0.0, "Largest relative gain of Sentinel-2, drawn once a sample.", "fraction", ge=0, lt=1)
    drop_s1_t0: float = key(0.0, "Probability that S1(t0) is replaced by S1(t1).", "fraction", ge=0, le=1)
    shift_px: float = key(
        0.0,
        "Largest shift of both Sentinel-2 images against Sentinel-1, each axis, drawn once a sample.",
        "pixels",
        ge=0,
        le=1,
    )
    changed_half: bool = key(False, "Half of each batch from tiles with more than 5 % changed pixels.")


class Phase2(Section):
    """The adversarial end of resunet_gan."""

    share: float = key(0.2, "Last part of the steps.", "fraction", ge=0, lt=1)
    loss: Literal["hinge", "least_squares"] = key("hinge", "Adversarial loss.")
    lr_d: float = key(4e-4, "Adam rate of the discriminator.", gt=0)
    lr_g: float = key(1e-4, "Adam rate of the network.", gt=0)
    beta1: float = key(0.5, "First moment of both.", ge=0, lt=1)
    adversarial: float = key(0.01, "Weight of the adversarial term beside the loss of phase 1.", ge=0)
    feature_matching: float = key(1.0, "Weight of the feature distance relative to the adversarial term.", ge=0)
    max_loss_db: float = key(
        0.2, "Largest fall of PSNR on changed validation pixels; beyond it the weights of phase 1 are exported.", "dB"
    )


class HeadConf(Section):
    """Training of the uncertainty head, after the mean."""

    steps: int | None = key(None, "Steps; empty = a fifth of those of the mean.", "steps", ge=1)
    lr: float = key(1e-3, "Adam rate, falling to zero along a cosine.", gt=0)
    beta: float = key(0.0, "Each pixel counts variance ^ beta; 0 = plain likelihood.", ge=0, le=1)
    filters: int = key(32, "Filters of the two hidden convolutions.", ge=1)


class TrainConf(Section):
    """train.yaml: one training."""

    model_config = ConfigDict(populate_by_name=True, protected_namespaces=())

    # data
    train_directory: str | None = key(None, "Training set; empty = <work>/dataset/train.", "path")
    val_directory: str | None = key(None, "Validation set; empty = <work>/dataset/val.", "path")
    dict_band_x: Channels | None = key(None, "Channels of x for each scaler group; empty = from the dataset.")
    dict_band_label: Channels | None = key(None, "Channels of y for each scaler group; empty = from the dataset.")
    normalization: bool = key(True, "Normalise while loading; false = the tiles hold network units already.")
    dict_rescale_type: dict[str, Literal["StandardScaler"]] | None = key(
        None, "Kind of scaler for each group; StandardScaler is the only kind."
    )
    s1_scale: Ratio | None = key(None, "Factor after the z-score of SAR; empty = the scaler's own.", gt=0)
    s2_scale: Ratio | None = key(None, "Factor after the z-score of optical groups; empty = the scaler's own.", gt=0)
    s1bands: Strings | None = key(None, "Groups that are SAR: filled, then dB; empty = from the dataset.")
    s2bands: Strings | None = key(None, "Groups that are optical; empty = from the dataset.")
    lim_train_tile: int | None = key(None, "Largest number of training tiles; empty = all.", "tiles", ge=1)
    lim_val_tile: int | None = key(None, "Largest number of validation tiles; empty = all.", "tiles", ge=1)
    path_csv: str | None = key(
        None,
        "s2_minmax.csv of stage s2_minmax, or its folder: S2 becomes 2 (v - min) / (max - min) - 1 instead of a z-score.",
        "path",
    )
    # optimisation
    lr: float = key(1e-4, "Adam rate of the discriminator.", gt=0)
    fact_g_lr: float = key(1.0, "Rate of the generator = lr times this.", gt=0)
    beta1: float = key(0.5, "First moment of Adam.", ge=0, lt=1)
    lambda_: float = Field(
        100.0,
        alias="lambda",
        description="Weight of the L1 term of the GAN; 0 collapses (PSNR 11 dB).",
        json_schema_extra={"unit": ""},
        ge=0,
    )
    k_step: int = key(
        5,
        "Discriminator steps for each generator step; marked unused by its author: accepted, told, without effect.",
        ge=1,
    )
    epoch: int = key(50, "Epochs in total.", "epochs", ge=1)
    batch_size: int = key(2, "Tiles for each replica.", "tiles", ge=1)
    gradient_acc_step: int = key(1, "Micro-batches for each update; 1 = off.", ge=1)
    train_g_multiple_time: Integers = key((), "Epochs (from 1) in which only the generator is updated.", "epochs")
    real_label_smoothing: Interval = key(
        (1.0, 1.0), "The discriminator's target for real images is drawn from this interval."
    )
    fake_label_smoothing: Interval = key(
        (0.0, 0.0), "The discriminator's target for simulated images is drawn from this interval."
    )
    sigma_init: float = key(0.5, "Noise level in epoch 1.", "network units", ge=0)
    sigma_decay: float = key(0.5, "Factor of the noise level.", ge=0, le=1)
    sigma_step: int = key(10, "The factor applies after so many epochs.", "epochs", ge=1)
    # run
    load_model: int | Literal["auto"] | None = key(
        "auto", "Epoch to resume from, auto = newest complete checkpoint, empty = start anew."
    )
    training_number: int = key(1, "Number of the run folder training_<n>.", ge=1)
    training_dir: str | None = key(
        None, "Root of run folders <training_dir>/<model_name>/training_<n>; empty = <work>/runs/<name>.", "path"
    )
    multi_gpu: bool = key(
        False, "Use all visible GPUs, and all workers of TF_CONFIG or of a Slurm step; one device where there is one."
    )
    steps_per_execution: int = key(
        1, "Steps between two readings of the losses; without effect on the result.", "steps", ge=1
    )
    one_thread_per_operation: bool = key(
        False,
        "Every operation on one thread, several of them at once: a quarter faster for the smallest networks, "
        "a tenth slower for large ones. The first run that a process trains decides.",
    )
    im_saving_step: int = key(1, "Sample images every so many epochs.", "epochs", ge=1)
    weights_saving_step: int = key(50, "Checkpoint every so many epochs.", "epochs", ge=1)
    metric_step: int = key(50, "Validation scores every so many batches.", "batches", ge=1)
    # new, optional
    published_exact: bool = key(False, "Keep the questionable parts of the published training.")
    seed: int = key(1, "Seed of weights, order, crops, dropout and noise.", ge=0)
    lambda_cyc: float = key(10.0, "Weight of both cycle terms of cyclegan.", ge=0)
    lambda_id: float = key(5.0, "Weight of cyclegan's identity term: without a change of S1, none of S2.", ge=0)
    image_buffer: int = key(50, "Simulated images that cyclegan's discriminators remember.", "images", ge=0)
    phase2: Phase2 = key(Phase2(), "Adversarial end of resunet_gan.")
    head: HeadConf = key(HeadConf(), "Training of the uncertainty head.")
    loss_weights: LossWeights = key(LossWeights(), "Loss of resunet, resunet_gan and dsen2cr.")
    change_weight: float = key(2.0, "Changed pixels weigh 1 + this.", ge=0)
    schedule: Schedule = key(Schedule(), "Optimiser and rate.")
    augment: Augment = key(Augment(), "Random changes of training samples.")
    ema: float | None = key(None, "Moving average of the weights that is exported; empty = off.", ge=0, lt=1)
    mixed_precision: bool = key(False, "bfloat16 convolutions; losses and output stay float32.")
    keep: int = key(3, "Newest checkpoints kept beside the best.", ge=1)
    crop_px: int | None = key(None, "Side of random training crops; empty = whole tiles.", "pixels", ge=8)
    steps_per_epoch: int | None = key(None, "Batches of an epoch; empty = every tile once.", "batches", ge=1)
    checkpoint_steps: int | None = key(None, "Also write a checkpoint every so many batches.", "batches", ge=1)
    tensorboard: bool = key(True, "Write scalars and sample images to tb/.")

    @model_validator(mode="after")
    def _consistent(self) -> TrainConf:
        for name in ("real_label_smoothing", "fake_label_smoothing"):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= 1:
                raise ValueError(f"{name} must be an interval inside 0..1, lower end first")
        plain = self.schedule.decay == "none" and self.schedule.warmup_steps == 0 and self.schedule.optimiser == "adam"
        if self.published_exact and not plain:
            raise ValueError("published_exact trains with Adam at a constant rate: leave schedule out")
        return self

    def sigma(self, epoch: int) -> float:
        """Noise level of an epoch (from 1)."""
        return self.sigma_init * self.sigma_decay ** ((epoch - 1) // self.sigma_step)
