"""Samples with their place on the ground, and the leak check of a dataset on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from utils.io import raster
from utils.io.samples import DatasetIndex, SampleInfo, load_index, open_shards, sample_path
from utils.science.blocks import SETS, Placed, footprint_m
from utils.science.leaks import Evidence, Leak, find_leaks
from utils.science.scaler import list_digest
from utils.workflow.errors import ConfigError, InputError


def events_of(index: DatasetIndex, sample: SampleInfo) -> frozenset[str]:
    """Names of what a sample shows: its place (one fire, one scene) and its date t1."""
    pair = index.pairs[sample.pair]
    return frozenset({f"site:{pair.site}", f"t1:{pair.date2}"})


def placed(index: DatasetIndex, sample: SampleInfo, digests: tuple[str, ...] = ()) -> Placed:
    """A sample of an index with its footprint in metres."""
    pair = index.pairs[sample.pair]
    frame = str(pair.grid.epsg) if pair.grid.epsg else pair.site
    box = footprint_m(pair.grid, sample.window)
    return Placed(
        sample.id, pair.site, pair.id, sample.tile, pair.date2, frame, box, sample.changed_fraction, digests,
        events_of(index, sample), sample.train_only,
    )  # fmt: skip


def pixel_digest(image: NDArray[Any]) -> str | None:
    """SHA-256 of the pixels of an image; None for one of one value only: two empty tiles are no leak."""
    data = np.ascontiguousarray(image).tobytes()
    return None if data == data[: image.itemsize] * image.size else hashlib.sha256(data).hexdigest()


class Digests:
    """SHA-256 of the pixels of optical images on disk; hard links of one file are read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str | None] = {}

    def of(self, set_dir: Path, sample_id: str, n_dates: int = 2) -> tuple[str, ...]:
        parts = [f"s2_t{date}" for date in range(n_dates)]
        paths = [sample_path(set_dir, part, sample_id, n_dates) for part in parts]
        shards = None if paths[0].is_file() else open_shards(set_dir)
        if shards is not None and sample_id in shards:
            arrays = shards.read(sample_id, parts)
            # band by band as a raster holds them
            found = [pixel_digest(np.moveaxis(arrays[part], -1, 0)) for part in parts]
        else:
            found = [self._one(path) for path in paths]
        return tuple(digest for digest in found if digest)

    def _one(self, path: Path) -> str | None:
        try:
            state = path.stat()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}.", "Run build_dataset and split again.") from error
        key = (state.st_dev, state.st_ino)
        if key not in self._known:
            self._known[key] = pixel_digest(raster.read(path))
        return self._known[key]


def find_leaks_on_disk(
    dataset: Path, norm: Path | None = None, runs: Iterable[Path] = (), pixels: Literal["read", "listed"] = "read"
) -> list[Leak]:
    """Run all leak tests on dataset/{train,val,test}, split.json and, where there, what was fitted.

    norm    folder of scalers: those fitted on values must be fitted on this train set
    runs    run folders: so must every run, whatever its scaler
    pixels  read = hash the images on disk; listed = take the hashes that build_dataset put into the index, which is
            quick; samples without one are read
    raises  InputError when an index, split.json or a raster is missing
    """
    split = _json(dataset / "split.json")
    digests, sets = Digests(), {}
    for name in SETS:
        index = load_index(dataset / name)
        sets[name] = [placed(index, s, _digests(index, s, digests, pixels)) for s in index.samples]
    fits = {path.name: data for path, data in _scalers(norm) if data.get("mode") == "standard"}
    fits |= {run.name: data for run in runs if (data := _run_scaler(run)) is not None}
    known = {name: str(data.get("train_sha256", "")) for name, data in fits.items()}
    evidence = Evidence(known, list_digest(s.id for s in sets["train"]), frozenset(split.get("test_events", ())))
    return find_leaks(sets, float(split["buffer_m"]), evidence)


def _digests(index: DatasetIndex, sample: SampleInfo, digests: Digests, pixels: str) -> tuple[str, ...]:
    if pixels == "listed" and sample.pixels is not None:
        return tuple(digest for digest in sample.pixels if digest)
    if pixels == "listed" and not sample_path(index.set_dir, "s1_t0", sample.id).is_file():
        return ()
    return digests.of(index.set_dir, sample.id, index.n_dates)


def _scalers(norm: Path | None) -> list[tuple[Path, dict[str, Any]]]:
    """Scalers of stage normalise; mode fixed is fitted on nothing."""
    return [(path, _json(path)) for path in sorted(norm.glob("scaler*.json"))] if norm and norm.is_dir() else []


def _run_scaler(run: Path) -> dict[str, Any] | None:
    """The scaler of a run that knows its train set; None before it is trained, and for one made without a set."""
    if not (run / "scaler.json").is_file():
        return None
    data = _json(run / "scaler.json")
    return data if data.get("train_sha256") else None


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
