"""Samples with their place on the ground, and the leak check of a dataset on disk."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from utils.io import raster
from utils.io.samples import DatasetIndex, SampleInfo, load_index, sample_path
from utils.science.blocks import SETS, Placed, footprint_m
from utils.science.leaks import Evidence, Leak, find_leaks
from utils.science.scaler import list_digest
from utils.workflow.errors import ConfigError, InputError

_IMAGES = ("s2_t0", "s2_t1")


def placed(index: DatasetIndex, sample: SampleInfo, digests: tuple[str, ...] = ()) -> Placed:
    """A sample of an index with its footprint in metres."""
    pair = index.pairs[sample.pair]
    frame = str(pair.grid.epsg) if pair.grid.epsg else pair.site
    box = footprint_m(pair.grid, sample.window)
    events = frozenset({f"site:{pair.site}", f"t1:{pair.date2}"})
    return Placed(
        sample.id, pair.site, pair.id, sample.tile, pair.date2, frame, box, sample.changed_fraction, digests, events
    )


class Digests:
    """SHA-256 of the pixels of images; hard links of one file are read once. Images of one value only give none:
    two empty tiles are no leak."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str | None] = {}

    def of(self, set_dir: Path, sample_id: str) -> tuple[str, ...]:
        found = (self._one(sample_path(set_dir, part, sample_id)) for part in _IMAGES)
        return tuple(digest for digest in found if digest)

    def _one(self, path: Path) -> str | None:
        try:
            state = path.stat()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}.", "Run build_dataset and split again.") from error
        key = (state.st_dev, state.st_ino)
        if key not in self._known:
            pixels = raster.read(path)
            data = pixels.tobytes()
            constant = data == data[: pixels.itemsize] * pixels.size
            self._known[key] = None if constant else hashlib.sha256(data).hexdigest()
        return self._known[key]


def find_leaks_on_disk(dataset: Path, norm: Path | None = None) -> list[Leak]:
    """Run all leak tests on dataset/{train,val,test}, split.json and, where there, the fitted scalers in norm/.

    raises  InputError when an index, split.json or a raster is missing
    """
    split = _json(dataset / "split.json")
    digests, sets = Digests(), {}
    for name in SETS:
        index = load_index(dataset / name)
        sets[name] = [placed(index, s, digests.of(index.set_dir, s.id)) for s in index.samples]
    fits: dict[str, str] = {}
    for path in sorted(norm.glob("scaler*.json")) if norm and norm.is_dir() else []:
        data = _json(path)
        if data.get("mode") == "standard":  # mode fixed is fitted on nothing
            fits[path.name] = str(data.get("train_sha256", ""))
    evidence = Evidence(fits, list_digest(s.id for s in sets["train"]), frozenset(split.get("test_events", ())))
    return find_leaks(sets, float(split["buffer_m"]), evidence)


def refuse_leaks(leaks: list[Leak]) -> None:
    """raises  ConfigError (65) naming the first leak of each kind"""
    if leaks:
        first = {leak.kind: leak.text for leak in reversed(leaks)}
        listed = "; ".join(text for _, text in sorted(first.items()))
        raise ConfigError(
            f"{len(leaks)} leaks between the sets: {listed}.", "Run split (and normalise) again with --force."
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: missing or malformed ({error}).", "Run split and normalise again.") from error
