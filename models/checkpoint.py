"""Checkpoints: a folder with every number that the next step depends on, renamed into place when complete."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from utils.workflow.errors import ConfigError, InputError, from_os_error
from utils.workflow.files import fsync_folder, json_bytes

_NAME = re.compile(r"step-(\d{8})")
_MARK = ".s2cr-tmp."


class Checkpoints:
    """Checkpoints of one configuration in <run>/checkpoints/<fingerprint>/step-00000123/.

    A run with another configuration has another fingerprint, so old weights are never taken for its own.
    Each folder holds arrays.npz (weights, optimisers, moving average, seeds) and state.json (step, epoch, running sums,
    history). Without pickle.
    """

    def __init__(self, root: Path, fingerprint: str, keep: int) -> None:
        self.root, self.folder, self.keep = root, root / fingerprint[:16], keep

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(int(m.group(1)) for m in (_NAME.fullmatch(p.name) for p in self.folder.iterdir()) if m)

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def save(self, step: int, arrays: dict[str, Any], state: dict[str, Any], best_step: int | None) -> None:
        """Write the checkpoint of `step` and drop all but the newest `keep` and the best.

        raises  DiskError when the disk is full
        """
        final = self.path(step)
        if not final.exists():
            temporary = self.folder / f"{_MARK}{os.getpid()}.{secrets.token_hex(4)}"
            try:
                temporary.mkdir(parents=True)
                _write_arrays(temporary / "arrays.npz", arrays)
                _write_bytes(temporary / "state.json", json_bytes(state))
                fsync_folder(temporary)
                temporary.rename(final)
                fsync_folder(self.folder)
            except OSError as error:
                raise from_os_error(error) from error
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        self._prune(step, best_step)

    def load(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """(arrays, state) of one checkpoint."""
        return load_folder(self.path(step))

    def find_epoch(self, epoch: int) -> Path:
        """The newest checkpoint that ends an epoch, of this configuration or, failing that, of any other.

        raises  ConfigError listing the epochs that exist
        """
        found: dict[int, Path] = {}
        folders = sorted(p for p in self.root.iterdir() if p.is_dir()) if self.root.is_dir() else []
        for folder in [*(f for f in folders if f != self.folder), self.folder]:
            for path in sorted(folder.glob("step-*")) if folder.is_dir() else []:
                state = json.loads((path / "state.json").read_text(encoding="utf-8"))
                if state["batch_of_epoch"] == 0:
                    found[int(state["epochs_done"])] = path
        if epoch not in found:
            known = ", ".join(str(n) for n in sorted(found)) or "none"
            raise ConfigError(
                f"load_model: no checkpoint of epoch {epoch} in {self.root}; there are: {known}.",
                "Write one of them, auto or null.",
            )
        return found[epoch]

    def _prune(self, newest: int, best_step: int | None) -> None:
        steps = self.steps()
        later = [s for s in steps if s > newest]  # left from before an explicit older epoch was resumed
        keep = {*[s for s in steps if s <= newest][-self.keep :], newest, best_step}
        for step in [*later, *steps]:
            if step not in keep:
                doomed = self.folder / f"{_MARK}old.{step}.{secrets.token_hex(4)}"
                with suppress(OSError):  # rename first: a half deleted folder must not look like a checkpoint
                    self.path(step).rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove folders that a killed process left half written. Only while holding the lock of the stage."""
    for leftover in folder.glob(f"{_MARK}*") if folder.is_dir() else []:
        shutil.rmtree(leftover, ignore_errors=True)


def load_folder(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(arrays, state) of a checkpoint folder.

    raises  InputError when a file of it is missing or damaged
    """
    try:
        with np.load(path / "arrays.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return arrays, json.loads((path / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path}: a damaged checkpoint ({error}).", f"Delete it, the one before is used then: rm -r {path}"
        ) from error


def _write_bytes(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """An npz with fixed member dates, synced."""
    with path.open("wb") as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(arrays):
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(arrays[name]), allow_pickle=False)
        stream.flush()
        os.fsync(stream.fileno())
