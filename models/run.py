"""The run directory: everything that a prediction needs, and nothing else of the machine that trained.

runs/<name>/  model.yaml train.yaml   the two files as given
              scaler.json             the scaler as used
              model.keras             network with the exported weights; equal trainings give equal bytes
              uncertainty.keras       head for a standard deviation, where model.yaml says uncertainty: true
              model_card.md           the same for readers, with limits
              model_card.json         what it is: data, split, bands, counts, scores with intervals; last = complete
              history.jsonl           one JSON line for each validation
              checkpoints/ tb/        scratch
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.card import text as card_text
from utils.workflow.errors import InputError
from utils.workflow.files import atomic_bytes, atomic_json, atomic_text, sha256_file, temporary_path

CARD_SCHEMA = "s2cr.model/1"
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_FIXED_STAMP = "1980-01-01@00:00:00"


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def model_yaml(self) -> Path:
        return self.path / "model.yaml"

    @property
    def train_yaml(self) -> Path:
        return self.path / "train.yaml"

    @property
    def scaler(self) -> Path:
        return self.path / "scaler.json"

    @property
    def model(self) -> Path:
        return self.path / "model.keras"

    @property
    def uncertainty(self) -> Path:
        return self.path / "uncertainty.keras"

    @property
    def trees(self) -> Path:
        """In place of model.keras in a run of trees."""
        return self.path / "model.npz"

    @property
    def card(self) -> Path:
        return self.path / "model_card.json"

    @property
    def card_text(self) -> Path:
        return self.path / "model_card.md"

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def board(self) -> Path:
        return self.path / "tb"

    def outputs(self) -> list[Path]:
        """The seven files that a finished run consists of, and the uncertainty head where it has one."""
        if self.trees.is_file() and not self.model.is_file():  # trees need no scaler
            return [self.model_yaml, self.train_yaml, self.trees, self.card, self.card_text, self.history]
        head = [self.uncertainty] if self.uncertainty.is_file() else []
        return [
            self.model_yaml, self.train_yaml, self.scaler, self.model, *head, self.card, self.card_text, self.history,
        ]  # fmt: skip

    def finished(self, fingerprint: str) -> dict[str, Any] | None:
        """The card of a complete run of the same configuration, scaler and data; None when there is work to do."""
        if not all(path.is_file() for path in self.outputs()):
            return None
        try:
            card: dict[str, Any] = json.loads(self.card.read_text(encoding="utf-8"))
        except ValueError:
            return None
        same = card.get("schema") == CARD_SCHEMA and card.get("fingerprint") == fingerprint
        return card if same and card.get("model_sha256") == sha256_file(self.model) else None


def write_history(run: RunFolder, records: list[dict[str, Any]]) -> None:
    """history.jsonl: one line a record, sorted keys, no times."""
    lines = [json.dumps(record, sort_keys=True, allow_nan=False) for record in records]
    atomic_bytes(run.history, "".join(f"{line}\n" for line in lines).encode("utf-8"))


def save_model(model: Any, path: Path) -> None:
    """Write a .keras file whose bytes depend on the network and its weights only.

    Keras stamps the hour into the archive and metadata.json, and memory addresses into config.json: the archive is
    packed again without them.
    """
    with temporary_path(path) as final, tempfile.TemporaryDirectory(dir=path.parent, prefix=".s2cr-tmp.") as folder:
        raw = Path(folder) / "raw.keras"
        model.save(raw)
        with zipfile.ZipFile(raw) as source, zipfile.ZipFile(final, "w", zipfile.ZIP_STORED) as target:
            for name in sorted(source.namelist()):
                data = source.read(name)
                if name == "metadata.json":
                    data = json.dumps({**json.loads(data), "date_saved": _FIXED_STAMP}, sort_keys=True).encode("utf-8")
                elif name == "config.json":
                    data = json.dumps(_renumber(json.loads(data), {})).encode("utf-8")
                info = zipfile.ZipInfo(name, _FIXED_DATE)
                info.external_attr = 0o644 << 16
                target.writestr(info, data)


def _renumber(node: Any, seen: dict[int, int]) -> Any:
    """Replace Keras' shared_object_id, a memory address, by the order of first appearance."""
    if isinstance(node, list):
        return [_renumber(item, seen) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        k: seen.setdefault(v, len(seen)) if k == "shared_object_id" else _renumber(v, seen) for k, v in node.items()
    }


def load_model(path: Path) -> Any:
    """Read a .keras file written by save_model.

    raises  InputError when it is missing or damaged
    """
    from models import backend

    backend.start()
    import keras

    import models.layers  # noqa: F401 - registers the project's layers

    if not path.is_file():
        raise InputError(f"{path}: no such model.", "Train it first: ./s2cr train CONF.")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: not a readable model ({error}).", "Train it again: ./s2cr train CONF --force."
        ) from error


def load_card(run: RunFolder) -> dict[str, Any]:
    """model_card.json of a finished run.

    raises  InputError when the run is missing or not finished
    """
    try:
        card: dict[str, Any] = json.loads(run.card.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{run.card}: the run is not finished.", "Train it first: ./s2cr train CONF.") from error
    if card.get("schema") != CARD_SCHEMA:
        raise InputError(
            f"{run.card}: schema {card.get('schema')!r}, expected {CARD_SCHEMA!r}.", "Train the run again."
        )
    return card


def write_card(run: RunFolder, card: dict[str, Any]) -> None:
    """Write both forms of the card; the JSON last, the sign that the run is complete."""
    model = run.model if run.model.is_file() else run.trees
    whole = {"schema": CARD_SCHEMA, **card, "model_sha256": sha256_file(model)}
    atomic_text(run.card_text, card_text(whole))
    atomic_json(run.card, whole)
