"""Training: our step against a bare loop, the input pipeline against the step, resunet against the published generator.

step      The loop of models/training.py as it runs in a training (batches drawn, cropped and augmented by threads, rates and
          seeds set, losses and gradient norms read and checked) against a bare loop: the same network, loss, optimiser and
          moving average in one tf.function over tensors that lie in memory already. Twenty steps of each in turn; 1 = as fast.
pipeline  Batches of the tiny model alone, from prepared tiles and from GeoTIFFs never read before, against its step.
networks  One step of resunet and one of the published generator on one tile of 256 px, both with our trainer.

Peak memory is that of the process so far: the parts run from the smallest to the largest.
"""

from __future__ import annotations

import logging
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench._bench import interleaved

PARTS = ("step", "pipeline", "networks")
ROOT = Path(__file__).parents[1]
BANDS, SAR = ("B04", "B03", "B02", "B08"), ("VV", "VH")
STEPS, ROUNDS = 20, 7
MANY = 31  # rounds of the tiny step: it differs from the bare loop by less than one round from the next


def _figure(name: str, value: float, unit: str, limit: float | None, better: str = "higher") -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "limit": limit, "better": better}


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _sample(number: int, size_px: int) -> Any:
    from types import SimpleNamespace

    rng = np.random.default_rng(number)
    s2_t0, s2_t1 = (rng.uniform(0.02, 0.5, (size_px, size_px, len(BANDS))).astype(np.float32) for _ in range(2))
    s1_t0, s1_t1 = (rng.gamma(4.4, 0.03, (size_px, size_px, 2)).astype(np.float32) for _ in range(2))
    clear = np.zeros((size_px, size_px), np.uint8)
    return SimpleNamespace(
        s1_t0=s1_t0, s1_t1=s1_t1, s2_t0=s2_t0, s2_t1=s2_t1, cloud_t0=clear, cloud_t1=clear, window=clear == 0
    )


def _task(model: Any, conf: Any, size_px: int, folder: Path, read: Any = None, ids: Sequence[str] = ()) -> Any:
    """A training of 32 tiles in memory, or of the samples that `read` gives."""
    from models import inputs, registry
    from models.run import RunFolder
    from models.training import Task
    from utils.science.scaler import Scaler

    scaler = Scaler.fixed(SAR, BANDS)
    _, start = registry.channels("fixed", len(BANDS))
    source = read or (lambda name: _sample(int(name), size_px))
    load = inputs.TileCache(lambda i: inputs.prepare_tile(source(i), scaler, {"VV": 0.0, "VH": 0.0}, start, False))
    names = list(ids) or [f"{i:02d}" for i in range(32)]
    return Task(
        "bench", RunFolder(folder), model, conf, BANDS, size_px, inputs.units_of(scaler, len(BANDS)), names, [], load, "bench",
        {}, logging.getLogger("bench"),
    )  # fmt: skip


def _confs(model: str, train: str, **changes: Any) -> tuple[Any, Any]:
    """The project's own yaml files, with what a benchmark must not do switched off."""
    from models.session import load_confs

    one, two = load_confs(ROOT / f"GAN_confs/{model}.yaml", ROOT / f"GAN_confs/{train}.yaml")
    quiet = {"tensorboard": False, "checkpoint_steps": None, "metric_step": 10**6, "steps_per_epoch": 10**6, "epoch": 1}
    return one, two.model_copy(update={**quiet, **changes})


def _bare(trainer: Any, batches: Sequence[Any], conf: Any) -> Any:
    """One step after the other over tensors in memory, as short as it can be written."""
    import keras
    import tensorflow as tf

    network = keras.models.clone_model(trainer.generator)
    network.set_weights(trainer.generator.get_weights())
    optimiser = keras.optimizers.AdamW(
        2e-4, weight_decay=conf.schedule.weight_decay, beta_1=conf.beta1, global_clipnorm=conf.schedule.clip_norm
    )
    optimiser.build(network.trainable_variables)
    averages = [tf.Variable(v.value, trainable=False) for v in network.trainable_variables] if conf.ema else []
    tensors = [[tf.constant(a) for a in (b.x, b.y, b.weight, b.changed)] for b in batches]

    @tf.function
    def step(x: Any, y: Any, weight: Any, changed: Any) -> Any:
        with tf.GradientTape() as tape:
            terms = trainer._terms(network(x, training=True), y, weight, changed)
            loss = tf.add_n([getattr(conf.loss_weights, name) * value for name, value in terms.items()])
        optimiser.apply(tape.gradient(loss, [v.value for v in network.trainable_variables]))
        for mean, variable in zip(averages, network.trainable_variables, strict=bool(averages)):
            mean.assign(conf.ema * mean + (1.0 - conf.ema) * variable.value)
        return loss

    def run() -> None:
        for arrays in tensors:
            loss = step(*arrays)
        float(loss)

    return run


def _training(task: Any) -> Any:
    """A training that neither validates nor saves."""
    from models.training import Training

    class Quiet(Training):
        def _due(self) -> bool:
            return False

        def _checkpoint(self) -> None:
            self._read_losses()

    return Quiet(task)


def _ours(training: Any) -> Any:
    """STEPS steps of the training's own loop; every call goes on where the last one stopped."""
    from models.callbacks import StopFlag

    def run() -> None:
        training.total = training.at.step + STEPS
        training._loop(StopFlag())

    return run


def _step_ratio(model: str, train: str, size_px: int, folder: Path, rounds: int, **changes: Any) -> tuple[float, float]:
    """(our speed over the bare loop's, tiles a second of ours)."""
    one, conf = _confs(model, train, **changes)
    training = _training(_task(one, conf, size_px, folder))
    ours = _ours(training)
    bare = _bare(training.trainer, [training.batches.batch(n) for n in range(STEPS)], conf)
    ours(), bare()  # traced, cached
    ours_s, _, ratio = interleaved(ours, bare, rounds)
    return ratio, STEPS * conf.batch_size / ours_s


def _step(folder: Path) -> list[dict[str, Any]]:
    tiny, rate = _step_ratio("model_resunet_tiny", "train_resunet_tiny", 80, folder, MANY)
    whole, _ = _step_ratio("model_resunet", "train_resunet", 64, folder, ROUNDS, batch_size=1)
    return [
        _figure("train_step_to_bare_loop_tiny", tiny, "times", 0.95),
        _figure("train_step_to_bare_loop_resunet_64px", whole, "times", 0.95),
        _figure("train_rate_tiny", rate, "tiles/s", None),
        _figure("train_peak_memory_resunet_64px", _peak_gib(), "GiB", None, "lower"),
    ]


def _pipeline(folder: Path) -> list[dict[str, Any]]:
    from bench.bench_tiles import make_samples
    from utils.io import samples
    from utils.science.grid import Grid

    size_px = 80
    one, conf = _confs("model_resunet_tiny", "train_resunet_tiny")
    ids = [f"{i:03d}" for i in range(conf.batch_size * STEPS)]
    make_samples(folder / "set", Grid(32755, 0, 0, 10, -10, size_px, size_px), ids)

    def read(name: str) -> Any:
        sample = samples.read_sample(folder / "set", name)
        bands = slice(0, len(BANDS))
        return _cut(sample, bands)

    training = _training(_task(one, conf, size_px, folder, read, ids))

    def drawn() -> float:
        begin = time.perf_counter()
        for _ in training.batches.iterate(0, STEPS):
            pass
        return STEPS / (time.perf_counter() - begin)

    cold = drawn()  # every tile once, from its five GeoTIFFs
    warm = statistics.median(drawn() for _ in range(ROUNDS))
    batch = training.batches.batch(0)
    training.trainer.step(batch, 0, 1)
    times = []
    for step in range(ROUNDS):
        begin = time.perf_counter()
        for _ in range(STEPS):
            terms = training.trainer.step(batch, step, 1)
        float(terms["loss"])
        times.append(STEPS / (time.perf_counter() - begin))
    rate = statistics.median(times)
    return [
        _figure("input_pipeline_to_step_prepared_tiles", warm / rate, "times", 3.0),
        _figure("input_pipeline_to_step_first_reading", cold / rate, "times", None),
        _figure("input_pipeline_rate", warm * conf.batch_size, "tiles/s", None),
    ]


def _cut(sample: Any, bands: slice) -> Any:
    from dataclasses import replace

    return replace(sample, s2_t0=sample.s2_t0[..., bands], s2_t1=sample.s2_t1[..., bands])


def _networks(folder: Path) -> list[dict[str, Any]]:
    from models import inputs
    from models.building import build_trainer
    from models.regression import RegressionTrainer

    size_px = 256
    one, conf = _confs("model_resunet", "train_resunet", batch_size=1)
    task = _task(one, conf, size_px, folder)
    small = build_trainer(task, 100)
    batch = inputs.Batches(task.train_ids, task.load, conf, task.units, 6, multiple=8).batch(0)

    def seconds(trainer: Any, rounds: int) -> float:
        trainer.step(batch, 0, 1)  # traced
        found = []
        for step in range(rounds):
            begin = time.perf_counter()
            float(trainer.step(batch, step, 1)["loss"])
            found.append(time.perf_counter() - begin)
        return statistics.median(found)

    small_s, small_gib = seconds(small, 5), _peak_gib()
    published, _ = _confs("model", "train")
    from models.generator import build_generator

    generator = build_generator(published, int(batch.x.shape[-1]), len(BANDS), 6)
    big = RegressionTrainer(generator, conf, 100, task.units, BANDS)
    big_s = seconds(big, 2)
    return [
        _figure("published_generator_step_to_resunet_step", big_s / small_s, "times", 10.0),
        _figure("resunet_step_256px", small_s, "s", None, "lower"),
        _figure("published_generator_step_256px", big_s, "s", None, "lower"),
        _figure("train_peak_memory_before_published", small_gib, "GiB", None, "lower"),
        _figure("train_peak_memory_published_256px", _peak_gib(), "GiB", None, "lower"),
    ]


def figures(parts: Sequence[str] = PARTS) -> list[dict[str, Any]]:
    """The figures of the named parts."""
    from models import backend

    backend.start()
    found: list[dict[str, Any]] = []
    steps = {"step": _step, "pipeline": _pipeline, "networks": _networks}
    with tempfile.TemporaryDirectory() as folder:
        for name in PARTS:
            if name in parts:
                found += steps[name](Path(folder))
    return found
