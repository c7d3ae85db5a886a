"""The training loop: batches, validation, checkpoints, the finished run. Interrupted and resumed it gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models import registry, validation
from models.callbacks import Board, Progress, StopFlag
from models.checkpoint import Checkpoints, load_folder, sweep
from models.config import ModelConf, TrainConf
from models.inputs import Batches, Tile, Units
from models.run import RunFolder, save_model, write_card, write_history
from utils.workflow.errors import ConfigError, Interrupted

SAMPLE_IMAGES = 10


@dataclass
class Task:
    """All that one training needs.

    load         sample id -> prepared tile, for both sets
    fingerprint  changes with the configuration, the scaler and the data; names the checkpoints
    """

    name: str
    run: RunFolder
    model: ModelConf
    train: TrainConf
    bands: tuple[str, ...]
    size_px: int
    units: Units
    train_ids: Sequence[str]
    val_ids: Sequence[str]
    load: Callable[[str], Tile]
    fingerprint: str
    changed_fraction: dict[str, float | None]
    log: logging.Logger
    card: dict[str, Any] = field(default_factory=dict)
    after_step: Callable[[int], None] | None = None  # tests interrupt here


@dataclass
class Progressed:
    """Where a training stands; written into every checkpoint."""

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    batches: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_step: int | None = None
    best_score: float | None = None


def fingerprint(model: ModelConf, train: TrainConf, scaler: dict[str, Any], *data: str) -> str:
    """SHA-256 over all that changes the result; folders, kept checkpoints and logging do not."""
    without = {
        "train_directory",
        "val_directory",
        "training_dir",
        "training_number",
        "load_model",
        "path_csv",  # its ranges are in the scaler
        "keep",
        "tensorboard",
        "im_saving_step",
        "weights_saving_step",
        "checkpoint_steps",
        "steps_per_execution",
    }
    parts = [model.model_dump(mode="json"), train.model_dump(mode="json", exclude=without), scaler, list(data)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def notes(model: ModelConf, train: TrainConf) -> list[str]:
    """Warnings about keys that are accepted without effect, or that are known to fail."""
    adversarial = registry.spec_of(model).adversarial
    out = []
    if adversarial and train.lambda_ == 0:
        out.append(
            "lambda is 0: the L1 term is off and the images collapse (PSNR 11 dB in trials); the published comment says 100"
        )
    if adversarial and model.discri_dense_archi:
        out.append("discri_dense_archi has no effect: the published discriminator never used its dense head")
    if adversarial and train.k_step != 5:
        out.append("k_step has no effect: its author marked it unused")
    if train.multi_gpu:
        out.append("multi_gpu: this version trains on one device")
    if train.train_g_multiple_time and not adversarial:
        out.append("train_g_multiple_time has no effect without a discriminator")
    return out


def build_trainer(task: Task, total_steps: int) -> Any:
    """Fresh networks and optimisers, weights from the seed."""
    import keras

    from models.trainers import make_trainer

    keras.utils.set_random_seed(task.train.seed)
    keras.config.set_dtype_policy("mixed_bfloat16" if task.train.mixed_precision else "float32")
    generator = registry.build(task.model, len(task.bands))
    size = min(task.train.crop_px or task.size_px, task.size_px)
    return make_trainer(generator, task.model, task.train, total_steps, size, task.units, task.bands)


class Training:
    """One run from its newest checkpoint to its finished folder; fresh = leave checkpoints aside and start anew."""

    def __init__(self, task: Task, fresh: bool = False) -> None:
        self.task, self.fresh, train = task, fresh, task.train
        self.multiple = registry.size_multiple(task.model)
        _, self.start = registry.channels(registry.scaler_mode(task.model), len(task.bands))
        self.batches = Batches(
            task.train_ids, task.load, train, task.units, self.start, task.changed_fraction, self.multiple
        )
        self.val_ids = sorted(task.val_ids)[: train.lim_val_tile]
        self.spe = self.batches.steps_per_epoch
        self.total = self.spe * train.epoch
        self.trainer = build_trainer(task, self.total)
        self.checkpoints = Checkpoints(task.run.checkpoints, task.fingerprint, train.keep)
        if not self.val_ids:
            task.log.warning("%s: the validation set is empty: the last weights are exported, not the best", task.name)
        self.at = Progressed()
        self.pending: list[dict[str, Any]] = []
        self.shown = 0.0

    def resume(self) -> None:
        """Continue from the checkpoint that load_model asks for."""
        wanted = None if self.fresh else self.task.train.load_model
        sweep(self.task.run.path)
        sweep(self.checkpoints.folder)
        if isinstance(wanted, int):
            arrays, state = load_folder(self.checkpoints.find_epoch(wanted))
        elif wanted == "auto" and self.checkpoints.steps():
            arrays, state = self.checkpoints.load(self.checkpoints.steps()[-1])
        else:
            return
        try:
            self.trainer.restore(arrays)
        except ValueError as error:
            raise ConfigError(f"load_model: {error}.", "Write load_model: null to start anew.") from error
        self.at = Progressed(**state["progress"])
        if self.at.best_step not in self.checkpoints.steps():  # the best of another configuration is not ours
            self.at.best_step = self.at.best_score = None
        self.task.log.info("%s: resumes at step %d of %d", self.task.name, self.at.step, self.total)

    def fit(self) -> dict[str, Any]:
        """Train to the end and write the run; returns the figures of the exported weights.

        raises  Interrupted after a signal, with the checkpoint written
        """
        self.task.run.path.mkdir(parents=True, exist_ok=True)
        self.resume()
        board = Board(self.task.run.board if self.task.train.tensorboard else None)
        progress = Progress(self.total, self.at.step, self.task.log, self.task.name)
        try:
            with StopFlag() as stop:
                for batch in self.batches.iterate(self.at.step, self.total):
                    epoch = self.at.step // self.spe + 1
                    self.pending.append(self.trainer.step(batch, self.at.step, epoch))
                    self.at.step += 1
                    loss = self._after_batch(epoch, board)
                    progress.update(self.at.step, epoch, loss)
                    if self.task.after_step is not None:
                        self.task.after_step(self.at.step)
                    if stop.name and self.at.step < self.total:
                        self._checkpoint()
                        raise Interrupted(
                            f"{self.task.name}: {stop.name} at step {self.at.step} of {self.total}; saved.",
                            "Run the same command again: it resumes.",
                        )
        finally:
            board.close()
        return self._finish()

    def _after_batch(self, epoch: int, board: Board) -> float:
        """Sum losses, validate and save when due; returns the mean loss since the last validation."""
        train, step = self.task.train, self.at.step
        end, last = step % self.spe == 0, step == self.total
        judged = step % train.metric_step == 0 or last or step in self.trainer.turning_points
        if len(self.pending) >= train.steps_per_execution or judged:
            self._read_losses()
        better = False
        if judged:
            better = self._validate(epoch, board)
            self.trainer.note_validation(step, better)
        if end and (epoch % train.im_saving_step == 0 or last):
            board.images(self._sample_images() if train.tensorboard else [], step * train.batch_size)
        due = (end and epoch % train.weights_saving_step == 0) or (
            train.checkpoint_steps and step % train.checkpoint_steps == 0
        )
        if due or better or last:
            self._checkpoint()
        if self.at.batches:
            self.shown = self.at.sums.get("loss", 0.0) / self.at.batches
        return self.shown

    def _read_losses(self) -> None:
        for losses in self.pending:
            for name, value in losses.items():
                self.at.sums[name] = self.at.sums.get(name, 0.0) + float(value)
            self.at.batches += 1
        self.pending.clear()

    def scores(self) -> dict[str, float]:
        """Validation figures of the weights as exported, in reflectance."""
        with self.trainer.exported_weights():
            return validation.score(
                self.trainer.predict,
                (self.task.load(i) for i in self.val_ids),
                self.task.units,
                self.start,
                self.multiple,
            )

    def _validate(self, epoch: int, board: Board) -> bool:
        """Add a history record; True when its score is the best so far."""
        means = (
            {name: value / self.at.batches for name, value in sorted(self.at.sums.items())} if self.at.batches else {}
        )
        if not all(math.isfinite(value) for value in means.values()):
            raise ConfigError(
                f"{self.task.name}: the loss is not finite any more at step {self.at.step}.",
                "Lower lr or fact_g_lr in train.yaml.",
            )
        self.at.sums, self.at.batches = {}, 0
        scores = self.scores()
        tiles = self.at.step * self.task.train.batch_size
        record = {"step": self.at.step, "epoch": epoch, "tiles": tiles, "train": means, "val": scores}
        self.at.history.append(record)
        write_history(self.task.run, self.at.history)
        rates = {f"rate_{n}": float(pair[0].learning_rate) for n, pair in self.trainer.optimisers.items()}
        board.scalars(
            {**{f"train/{k}": v for k, v in {**means, **rates}.items()}, **{f"val/{k}": v for k, v in scores.items()}},
            tiles,
        )
        score = scores.get("skill_changed", scores.get("psnr"))
        if score is None or (self.at.best_score is not None and score <= self.at.best_score):
            return False
        self.at.best_score, self.at.best_step = score, self.at.step
        return True

    def _sample_images(self) -> list[list[Any]]:
        """t0, prediction, truth and error of the first validation tiles, reflectance."""
        rows, units = [], self.task.units
        for sample_id in self.val_ids[:SAMPLE_IMAGES]:
            tile = self.task.load(sample_id)
            height, width = tile.weight.shape
            with self.trainer.exported_weights():
                z = self.trainer.predict(validation.pad_to_multiple(tile.x[None], self.multiple))[0, :height, :width]
            t0, y, t = (
                units.scale * v + units.offset
                for v in (tile.x[..., self.start : self.start + len(self.task.bands)], z, tile.y)
            )
            rows.append([t0, y, t, np.abs(y - t)])
        return rows

    def _checkpoint(self) -> None:
        self._read_losses()
        state = {
            "progress": {**vars(self.at)},
            "batch_of_epoch": self.at.step % self.spe,
            "epochs_done": self.at.step // self.spe,
        }
        self.checkpoints.save(self.at.step, self.trainer.state(), state, self.at.best_step)

    def _finish(self) -> dict[str, Any]:
        """Write the run folder; the card comes last."""
        task, used = self.task, self.at.step
        chosen = self.trainer.choose(self.scores)
        if chosen is None and not task.train.published_exact and self.at.best_step in self.checkpoints.steps():
            used = int(self.at.best_step or used)
            self.trainer.restore(self.checkpoints.load(used)[0])
        used = used if chosen is None else int(chosen["exported_step"])
        figures = self.scores()
        with self.trainer.exported_weights():
            self.trainer.prepare_step(0)
            save_model(self.trainer.generator, task.run.model)
        more = {**(chosen or {}), **self._head()}
        write_history(task.run, self.at.history)
        write_card(task.run, {**self._card(used, figures), **more})
        return {"step": used, **figures}

    def _head(self) -> dict[str, Any]:
        """Train the uncertainty head where model.yaml asks for one; facts for the card."""
        self.task.run.uncertainty.unlink(missing_ok=True)
        if not self.task.model.uncertainty:
            return {}
        from models.head import train_head

        args = (self.task, self.batches, self.total, self.val_ids, self.start, self.multiple)
        return {"uncertainty": train_head(*args, fresh=self.fresh)}

    def _card(self, used: int, figures: dict[str, float]) -> dict[str, Any]:
        task = self.task
        mode = registry.scaler_mode(task.model)
        channels_in, start = registry.channels(mode, len(task.bands))
        return {
            "name": task.name, "model": task.model.model, "fingerprint": task.fingerprint, "scaler_mode": mode,
            "parameters": int(self.trainer.generator.count_params()), "channels_in": channels_in, "optical_start": start,
            "bands": list(task.bands), "size_px": task.size_px, "size_multiple": self.multiple,
            "train_samples": len(self.batches.ids), "val_samples": len(self.val_ids), "steps": self.total, "exported_step": used,
            "validation": figures, "units": "surface reflectance, 0..1", **task.card,
        }  # fmt: skip
