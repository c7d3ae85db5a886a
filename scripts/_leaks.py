"""The leak check at the start of stages that trust the split: train and evaluate."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from utils.io import placing


def refuse(dataset: Path, norm: Path | None = None, runs: Iterable[Path] = ()) -> None:
    """Search the split of a dataset folder for leaks, with the image hashes that its index lists.

    A folder without split.json (sets that somebody put together) cannot be checked and passes.
    raises  ConfigError (65) naming the leaks
    """
    if (dataset / "split.json").is_file():
        placing.refuse_leaks(placing.find_leaks_on_disk(dataset, norm, runs, pixels="listed"))
