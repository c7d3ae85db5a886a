"""From two YAML files, a scaler and two data sets to a training task: every contradiction is found before work starts."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from models import minmax, registry
from models.config import ModelConf, TrainConf
from models.devices import ONE, Devices
from models.inputs import RawSample, TileCache, prepare_tile, units_of
from models.notes import notes
from models.run import RunFolder
from models.training import Task, fingerprint
from utils.science.scaler import Scaler, ScalerError, groups_of
from utils.workflow.config import ROOT, load_yaml_model
from utils.workflow.errors import ConfigError, InputError, NothingFoundError
from utils.workflow.files import atomic_bytes, atomic_json


class Index(Protocol):
    """index.json of a set, as utils.io.samples reads it."""

    @property
    def bands_sar(self) -> tuple[str, ...]: ...
    @property
    def bands_optical(self) -> tuple[str, ...]: ...
    @property
    def size_px(self) -> int: ...
    @property
    def pairs(self) -> Mapping[str, Any]: ...
    @property
    def samples(self) -> Sequence[Any]: ...
    @property
    def n_dates(self) -> int: ...


@dataclass(frozen=True)
class DataSet:
    """One set: its index, and a reader of samples by id."""

    index: Index
    read: Callable[[str], RawSample]

    def trainable(self) -> list[str]:
        """Ids that have a usable label."""
        return [sample.id for sample in self.index.samples if sample.trainable]


def load_confs(model_yaml: Path, train_yaml: Path) -> tuple[ModelConf, TrainConf]:
    """Read and check the two files.

    raises  ConfigError with file:line; for an unknown model, listing those that exist
    """
    model = load_yaml_model(model_yaml, ModelConf)
    registry.spec_of(model)
    return model, load_yaml_model(train_yaml, TrainConf)


def load_scaler(path: Path) -> Scaler:
    """Read scaler.json.

    raises  InputError when it is missing or malformed
    """
    try:
        return Scaler.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such scaler.", "Run: ./s2cr normalise CONF.") from error
    except (ScalerError, ValueError) as error:
        raise InputError(f"{path}: {error}.", "Run: ./s2cr normalise CONF --force.") from error


def scaler_with_factors(scaler: Scaler, train: TrainConf) -> Scaler:
    """The scaler with s1_scale and s2_scale of train.yaml, where they are given; constants of mode fixed stay."""
    if scaler.mode != "standard":
        return scaler
    factors = {"dB": train.s1_scale, "reflectance": train.s2_scale}
    groups = tuple(replace(group, factor=factors[group.unit] or group.factor) for group in scaler.groups)
    return replace(scaler, groups=groups)


def scaler_with_ranges(scaler: Scaler, train: TrainConf, index: Index, name: str, log: logging.Logger) -> Scaler:
    """The scaler with the yearly ranges of path_csv for the optical bands, where it is given.

    raises  ConfigError for scaler mode fixed and for years or bands that the table lacks, InputError without a table
    """
    if train.path_csv is None:
        return scaler
    if scaler.mode != "standard":
        raise ConfigError(
            f"train.yaml: path_csv works with scaler standard, this model has {scaler.mode}.",
            "Leave path_csv out, or write scaler: standard in model.yaml.",
        )
    if train.s2_scale is not None:
        log.warning("%s: s2_scale has no effect with path_csv: its ranges become -1 to 1", name)
    years = {int(day[:4]) for pair in index.pairs.values() for day in (*pair.days, pair.t0, pair.t1)}
    table = minmax.read_table(ROOT / Path(train.path_csv).expanduser())
    return minmax.with_ranges(scaler, minmax.ranges(table, index.bands_optical, years))


def expected_channels(
    bands_sar: Sequence[str], bands_optical: Sequence[str], dates: int = 2
) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """dict_band_x and dict_band_label of a dataset: group -> channels of x, of y. The last date is the label."""
    sar, width = [*bands_sar] * dates, len(bands_optical)
    x = {band: [i for i, name in enumerate(sar) if name == band] for band in bands_sar}
    y = {group: [list(bands_optical).index(b) for b in members] for group, members in groups_of(bands_optical).items()}
    optical = {g: [len(sar) + width * d + i for d in range(dates - 1) for i in places] for g, places in y.items()}
    return {**x, **optical}, y


def check_channels(train: TrainConf, index: Index) -> None:
    """Compare the channel tables of train.yaml with the dataset.

    raises  ConfigError naming what is written and what the dataset has
    """
    x, y = expected_channels(index.bands_sar, index.bands_optical, getattr(index, "n_dates", 2))
    tables = {"dict_band_x": (train.dict_band_x, x), "dict_band_label": (train.dict_band_label, y)}
    for name, (written, found) in tables.items():
        given = None if written is None else {group: list(places) for group, places in written.items()}
        if given is not None and given != found:
            raise ConfigError(
                f"train.yaml: {name} says {given}, the dataset has {found}.",
                f"Leave {name} out, or build the dataset with other bands.",
            )
    lists = {"s1bands": (train.s1bands, set(index.bands_sar)), "s2bands": (train.s2bands, set(y))}
    for name, (groups, known) in lists.items():
        if groups is not None and set(groups) != known:
            raise ConfigError(
                f"train.yaml: {name} says {sorted(groups)}, the dataset has {sorted(known)}.",
                f"Leave {name} out or correct it.",
            )


def _check_sets(train: Index, val: Index) -> None:
    if (train.bands_sar, train.bands_optical) != (val.bands_sar, val.bands_optical):
        raise InputError(
            f"the train set has bands {', '.join(train.bands_optical)}, the validation set {', '.join(val.bands_optical)}.",
            "Build both with one configuration.",
        )
    if train.n_dates != val.n_dates:
        raise InputError(
            f"the train set has {train.n_dates} dates a sample, the validation set {val.n_dates}.",
            "Build both with one configuration.",
        )


def _task_scaler(
    name: str, norm: Path, confs: tuple[ModelConf, TrainConf], index: Index, log: logging.Logger
) -> Scaler:
    """The scaler of the model's mode as this training uses it, checked against the dataset."""
    model, conf = confs
    scaler = scaler_with_factors(load_scaler(norm / f"scaler_{registry.scaler_mode(model)}.json"), conf)
    try:
        scaler.check_bands(index.bands_sar, index.bands_optical, index.n_dates)
    except ScalerError as error:
        raise ConfigError(f"{norm}: {error}.", "Run: ./s2cr normalise CONF.") from error
    return scaler_with_ranges(scaler, conf, index, name, log)


def make_task(
    name: str,
    run: RunFolder,
    yamls: tuple[Path, Path],
    sets: tuple[DataSet, DataSet],
    norm: Path,
    log: logging.Logger,
    data_key: str,
    devices: Devices = ONE,
    facts: Mapping[str, Any] | None = None,
) -> Task:
    """Check everything, write the run's yaml and scaler files (the chief does), return the task.

    yamls     model.yaml, train.yaml
    sets      train, validation
    norm      folder with scaler_standard.json and scaler_fixed.json
    data_key  changes whenever the data do
    facts     further entries of `data` in the model card: split, synthetic
    raises    ConfigError, InputError, NothingFoundError for an empty training set
    """
    model, conf = load_confs(*yamls)
    train, val = sets
    _check_sets(train.index, val.index)
    bands = train.index.bands_optical
    registry.check_shapes(model, bands, train.index.size_px, train.index.n_dates)
    check_channels(conf, train.index)
    if not conf.normalization:
        raise ConfigError(
            "train.yaml: normalization: false needs tiles in network units, this dataset holds physical ones.",
            "Write normalization: true.",
        )
    for text in notes(model, conf):
        log.warning("%s: %s", name, text)
    scaler = _task_scaler(name, norm, (model, conf), train.index, log)
    if not train.trainable():
        raise NothingFoundError(
            f"The training set has {len(train.index.samples)} samples, none with a usable label.",
            "See the counts and reasons of ./s2cr build_dataset and split.",
        )
    if devices.chief:
        for source, target in zip(yamls, (run.model_yaml, run.train_yaml), strict=True):
            atomic_bytes(target, source.read_bytes())
        atomic_json(run.scaler, scaler.to_json())
    parts = [data_key] + ([f"{devices.replicas} replicas"] if devices.replicas > 1 else [])
    return Task(
        name=name, run=run, model=model, train=conf, bands=bands, size_px=train.index.size_px,
        units=units_of(scaler, len(bands)), train_ids=train.trainable(), val_ids=val.trainable(),
        load=_loader(sets, scaler, model), fingerprint=fingerprint(model, conf, scaler.to_json(), *parts),
        changed_fraction={sample.id: sample.changed_fraction for sample in train.index.samples}, log=log,
        card={
            "bands_sar": list(train.index.bands_sar), "inputs": list(scaler.input_names),
            "data": {**data_facts(train.index), **(facts or {})},
        },
        dates=scaler.n_dates, devices=devices, blocks=_blocks(val.index),
    )  # fmt: skip


def data_facts(index: Index) -> dict[str, Any]:
    """What the model card says of a set: places, pairs, dates from and to."""
    used = [index.pairs[name] for name in sorted({sample.pair for sample in index.samples if sample.trainable})]
    days = {t: [min((getattr(p, t) for p in used), default="?"), max((getattr(p, t) for p in used), default="?")] for t in ("t0", "t1")}  # fmt: skip
    return {
        "sites": len({pair.site for pair in used}),
        "pairs": len(used),
        "mixed_orbit": any(pair.mixed_orbit for pair in used),
        "split": {},
        **days,
    }


def _blocks(index: Index) -> dict[str, str]:
    """Sample id -> block of ground and date of t1: samples of one block are drawn together."""
    pairs = index.pairs
    return {s.id: f"{pairs[s.pair].site}/{s.block}/{pairs[s.pair].date2}" for s in index.samples}


def _loader(sets: tuple[DataSet, DataSet], scaler: Scaler, model: ModelConf) -> TileCache:
    """Sample id -> prepared tile, from whichever set holds it."""
    places = {sample.id: (data, data.index.pairs[sample.pair]) for data in sets for sample in data.index.samples}
    _, start = registry.channels(registry.scaler_mode(model), len(scaler.bands_optical), scaler.n_dates)
    clip = registry.spec_of(model).adversarial

    def load(sample_id: str) -> Any:
        data, pair = places[sample_id]
        return prepare_tile(data.read(sample_id), scaler, pair.ds1_median_db, start, clip)

    return TileCache(load)
