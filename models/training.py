"""The training loop: batches, validation, checkpoints, the finished run. Interrupted and resumed it gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from models import backend, card, registry, validation
from models.board import Board, Meter
from models.building import build_trainer, synchronise
from models.callbacks import Progress, StopFlag, not_finite
from models.checkpoint import Checkpoints, load_folder, sweep
from models.config import ModelConf, TrainConf
from models.devices import ONE, Devices
from models.inputs import Batches, Tile, Units
from models.run import RunFolder, save_model, write_card, write_history
from utils.workflow.errors import ConfigError, InputError, Interrupted

SAMPLE_IMAGES = 10
BOARD_STEPS = 10  # training scalars are means over so many steps


@dataclass
class Task:
    """All that one training needs.

    load         sample id -> prepared tile, for both sets
    fingerprint  changes with the configuration, the scaler and the data; names the checkpoints
    card         further entries of the model card; its `data` describes the training data
    blocks       validation sample id -> block of ground and date that the bootstrap draws
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
    dates: int = 2
    devices: Devices = ONE
    blocks: dict[str, str] = field(default_factory=dict)


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
    # path_csv: its ranges are in the scaler
    without = {
        "train_directory", "val_directory", "training_dir", "training_number", "load_model", "path_csv", "keep", "tensorboard",
        "im_saving_step", "weights_saving_step", "checkpoint_steps", "steps_per_execution",
    }  # fmt: skip
    if not train.one_thread_per_operation:  # younger than the others: runs from before it stay finished
        without.add("one_thread_per_operation")
    parts = [model.model_dump(mode="json"), train.model_dump(mode="json", exclude=without), scaler, list(data)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Training:
    """One run from its newest checkpoint to its finished folder; fresh = leave checkpoints aside and start anew.

    With several workers each calls the same methods; only the chief validates, writes and returns figures.
    """

    def __init__(self, task: Task, fresh: bool = False) -> None:
        self.task, self.fresh, train = task, fresh, task.train
        self.devices = task.devices
        self.multiple = registry.size_multiple(task.model)
        _, self.start = registry.channels(registry.scaler_mode(task.model), len(task.bands), task.dates)
        shares = (self.devices.replicas, self.devices.first, self.devices.own)
        self.batches = Batches(
            task.train_ids, task.load, train, task.units, self.start, task.changed_fraction, self.multiple, shares
        )
        self.val_ids = sorted(task.val_ids)[: train.lim_val_tile]
        self.spe = self.batches.steps_per_epoch
        self.total = self.spe * train.epoch
        self.trainer = build_trainer(task, self.total)
        self.trainer.keeps_gradients = train.tensorboard  # which shows their histograms
        self.checkpoints = Checkpoints(task.run.checkpoints, task.fingerprint, train.keep)
        if not self.val_ids:
            task.log.warning("%s: the validation set is empty: the last weights are exported, not the best", task.name)
        self.at = Progressed()
        self.pending: list[tuple[int, dict[str, Any]]] = []
        self.shown = 0.0
        self.board, self.meter = Board(None), Meter()

    def resume(self) -> None:
        """Continue from the checkpoint that load_model asks for; all workers from the one that the chief found."""
        wanted = None if self.fresh else self.task.train.load_model
        if self.devices.chief:
            sweep(self.task.run.path)
            sweep(self.checkpoints.folder)
        if isinstance(wanted, int):
            arrays, state = load_folder(self.checkpoints.find_epoch(wanted))
        else:
            steps = self.checkpoints.steps() if wanted == "auto" and self.devices.chief else []
            newest = round(self.devices.total(steps[-1] if steps else 0))
            if not newest:
                return
            if newest not in self.checkpoints.steps():
                raise InputError(
                    f"{self.checkpoints.folder}: this worker does not see the checkpoint of step {newest}.",
                    "Keep the run folder on a file system that all workers share.",
                )
            arrays, state = self.checkpoints.load(newest)
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

        raises  Interrupted after a signal, with the checkpoint written; ConfigError when a loss is not finite
        """
        self.task.run.path.mkdir(parents=True, exist_ok=True)
        self.resume()
        shown = self.devices.chief and self.task.train.tensorboard
        self.board = Board(self.task.run.board if shown else None, self.task.log)
        try:
            with StopFlag() as stop, self.devices.lost_worker(self.task.name):
                self._loop(stop)
        finally:
            self.board.close()
        figures = self._finish() if self.devices.chief else {}
        with self.devices.lost_worker(self.task.name):
            self.devices.total(0)  # nobody leaves before the chief has written
        return figures

    def _loop(self, stop: StopFlag) -> None:
        progress = Progress(self.total, self.at.step, self.task.log, self.task.name, self.batches.size)
        if self._due() and self.at.step:  # a signal came before its scores were complete
            self._close_step(stop)
        for batch in self.batches.iterate(self.at.step, self.total):
            epoch = self.at.step // self.spe + 1
            terms = self.trainer.step(batch, self.at.step, epoch)
            self.at.step += 1
            self.pending.append((self.at.step, terms))
            self._close_step(stop)
            if self.devices.chief:
                progress.update(self.at.step, epoch, self.shown)
            if self.task.after_step is not None:
                self.task.after_step(self.at.step)
            if self.devices.total(1.0 if stop.name else 0.0) and self._unfinished():
                progress.end()
                self._checkpoint()
                self.devices.total(0)  # nobody leaves before the chief has saved
                raise Interrupted(
                    f"{self.task.name}: {stop.name or 'a signal to another worker'} at step {self.at.step} of {self.total}; saved.",
                    "Run the same command again: it resumes.",
                )

    def _due(self) -> bool:
        """Whether scores of this very step belong into the history and are not there yet."""
        step = self.at.step
        wanted = step % self.task.train.metric_step == 0 or step == self.total or step in self.trainer.turning_points
        return wanted and self.devices.chief and (not self.at.history or self.at.history[-1]["step"] != self.at.step)

    def _unfinished(self) -> bool:
        return self.at.step < self.total or self.devices.total(float(self._due())) > 0

    def _close_step(self, stop: StopFlag) -> None:
        """Read losses, validate, show and save when due."""
        train, step = self.task.train, self.at.step
        epoch, end, last = (step - 1) // self.spe + 1, step % self.spe == 0, step == self.total
        save = (end and epoch % train.weights_saving_step == 0) or (
            train.checkpoint_steps and step % train.checkpoint_steps == 0
        )
        judged = step % train.metric_step == 0 or step in self.trainer.turning_points
        if len(self.pending) >= train.steps_per_execution or last or save or judged:
            self._read_losses()
        if not self.devices.chief:
            return
        if step % BOARD_STEPS == 0 or last:
            self._show_scalars(epoch)
        better = False
        if self._due():
            try:
                better = self._validate(epoch, stop)
            except validation.StoppedEarly:
                return
            self.trainer.note_validation(step, better)
        if end and (epoch % train.im_saving_step == 0 or last):
            self._show_pictures()
        if save or better or last:
            self._checkpoint()

    def _read_losses(self) -> None:
        """Add the terms of finished steps to the sums.

        raises  ConfigError when one is not finite: before anything of such a step is saved
        """
        for step, terms in self.pending:
            values = {name: float(value) for name, value in terms.items()}
            if not all(math.isfinite(value) for value in values.values()):
                self.pending.clear()
                raise not_finite(self.task.name, step, values, self.checkpoints.steps())
            for name, value in values.items():
                self.at.sums[name] = self.at.sums.get(name, 0.0) + value
            self.at.batches += 1
            self.meter.add(values)
        self.pending.clear()
        if self.at.batches:
            self.shown = self.at.sums.get("loss", 0.0) / self.at.batches

    def scores(self, stopped: Callable[[], bool] = lambda: False) -> validation.Judgement:
        """Judgement of the exported weights on the validation tiles."""
        tiles = ((self.task.blocks.get(i, i), self.task.load(i)) for i in self.val_ids)
        with self.trainer.exported_weights():
            return validation.judge(
                self.trainer.predict, tiles, self.task.units, self.start, self.task.bands, self.multiple, stopped
            )

    def _validate(self, epoch: int, stop: StopFlag) -> bool:
        """Add a history record; True when its score is the best so far.

        raises  StoppedEarly after a signal, with nothing changed
        """
        judged = self.scores(lambda: stop.name is not None)
        if judged.missing:
            raise not_finite(
                self.task.name, self.at.step, {"validation prediction": math.nan}, self.checkpoints.steps()
            )
        means = {name: value / self.at.batches for name, value in sorted(self.at.sums.items())}
        self.at.sums, self.at.batches, scores = {}, 0, judged.figures()
        record = {"step": self.at.step, "epoch": epoch, "tiles": self.tiles, "train": means, "val": scores}
        self.at.history.append(record)
        write_history(self.task.run, self.at.history)
        self.board.scalars({f"val/{name}": value for name, value in scores.items()}, self.tiles)
        score = scores.get("skill_changed", scores.get("psnr"))
        if score is None or (self.at.best_score is not None and score <= self.at.best_score):
            return False
        self.at.best_score, self.at.best_step = score, self.at.step
        return True

    @property
    def tiles(self) -> int:
        """Tiles seen so far, by all replicas."""
        return self.at.step * self.batches.size

    def _show_scalars(self, epoch: int) -> None:
        if not self.board.on:
            return
        self._read_losses()
        values = self.meter.read(self.batches.size, self.trainer.loss_weights())
        for name, pair in self.trainer.optimisers.items():
            values[f"train/rate_{name}"] = float(pair[0].learning_rate.value.numpy())
        if "discriminator" in self.trainer.networks:
            values["train/sigma"] = self.task.train.sigma(epoch)
        self.board.scalars(values, self.tiles)

    def _show_pictures(self) -> None:
        """Pictures of the first validation tiles, histograms of weights, gradients and the output of each band."""
        if not self.board.on:
            return
        with self.trainer.exported_weights():
            for number, sample_id in enumerate(self.val_ids[:SAMPLE_IMAGES]):
                images = validation.reflectances(
                    self.trainer.predict, self.task.load(sample_id), self.task.units, self.start, self.multiple
                )
                self.board.tile(number, *images, self.task.bands, self.tiles)
        self.board.networks(self.trainer.networks, self.trainer.last_gradients, self.tiles)

    def _checkpoint(self) -> None:
        self._read_losses()
        if not self.devices.chief:
            return
        epochs, rest = divmod(self.at.step, self.spe)
        state = {"progress": {**vars(self.at)}, "batch_of_epoch": rest, "epochs_done": epochs}
        self.checkpoints.save(self.at.step, self.trainer.state(), state, self.at.best_step)

    def _finish(self) -> dict[str, Any]:
        """Write the run folder; the card comes last."""
        task, used = self.task, self.at.step
        chosen = self.trainer.choose(lambda: self.scores().figures())
        if chosen is None and not task.train.published_exact and self.at.best_step in self.checkpoints.steps():
            used = int(self.at.best_step or used)
            self.trainer.restore(self.checkpoints.load(used)[0])
        used = used if chosen is None else int(chosen["exported_step"])
        judged = self.scores()
        with self.trainer.exported_weights():
            self.trainer.prepare_step(0)
            synchronise(self.trainer.networks, False)
            save_model(self.trainer.generator, task.run.model)
        more = {**(chosen or {}), **self._head()}
        write_history(task.run, self.at.history)
        write_card(task.run, {**self._card(used, judged), **more})
        return {"step": used, **judged.figures()}

    def _head(self) -> dict[str, Any]:
        """Train the uncertainty head where model.yaml asks for one; facts for the card."""
        self.task.run.uncertainty.unlink(missing_ok=True)
        if not self.task.model.uncertainty:
            return {}
        from models.head import train_head

        args = (self.task, self.batches, self.total, self.val_ids, self.start, self.multiple)
        return {"uncertainty": train_head(*args, fresh=self.fresh)}

    def _card(self, used: int, judged: validation.Judgement) -> dict[str, Any]:
        task, conf = self.task, self.task.train
        mode = registry.scaler_mode(task.model)
        channels_in, start = registry.channels(mode, len(task.bands), task.dates)
        return {
            "name": task.name, "model": task.model.model, "fingerprint": task.fingerprint, "scaler_mode": mode,
            "parameters": int(self.trainer.generator.count_params()), "channels_in": channels_in, "optical_start": start,
            "bands": list(task.bands), "size_px": task.size_px, "size_multiple": self.multiple,
            "train_samples": len(self.batches.ids), "val_samples": len(self.val_ids), "steps": self.total, "exported_step": used,
            "validation": judged.figures(), "validation_intervals": judged.intervals(conf.seed),
            "training": {
                "global_batch": self.batches.size, "devices": self.devices.words(), "seed": conf.seed, "ema": conf.ema,
                "precision": "mixed bfloat16" if conf.mixed_precision else "float32", "loss": self.trainer.loss_weights(),
            },
            "limits": card.limits(task.card.get("data", card.UNKNOWN_DATA), len(self.val_ids)),
            "units": "surface reflectance, 0..1", "versions": backend.versions(), "data": card.UNKNOWN_DATA, **task.card,
        }  # fmt: skip
