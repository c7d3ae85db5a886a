"""Deal the samples into train, val and test by place, never by single tile, and look for leaks.

Reads   dataset/all/index.json and its rasters
Writes  dataset/{train,val,test}/...  hard links, index.json each;  dataset/split.json  sets, dropped samples, note
        dataset/shards/{train,val,test}/*.npy, index.json  the same samples in few files, as dataset.storage says
        With --check-leaks nothing is written: exit 0 when no leak is found, 65 with the leaks otherwise
Items   all                                     Fails  65 leak, or no room for two sets, 66 dataset missing
Example  ./s2cr split confs/demo.yaml --check-leaks
"""

if not __package__:
    import _direct  # noqa: F401
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    from pathlib import Path

    from utils.io.samples import DatasetIndex
    from utils.science.blocks import Split

_MANY = 2000  # samples from which on files of their own would strain a file system
CHECK = click.option("--check-leaks", is_flag=True, help="Only search the finished split for leaks; exit 65 on one.")


@stage("split", options=[CHECK], always=lambda extra: bool(extra["check_leaks"]))
def run(ctx: Context) -> Report:
    from utils.io import placing

    if ctx.extra["check_leaks"]:
        runs = [ctx.layout.run(run.name) for run in ctx.conf.train.runs]
        placing.refuse_leaks(placing.find_leaks_on_disk(ctx.layout.dataset, ctx.layout.norm, runs))
        ctx.log.info("split: no leak found")
        raise SystemExit(0)
    for item in ctx.todo(["all"], unit="split"):
        with item:
            _split(ctx, item)
    if not ctx.partial and ctx.status_of("all") == "done":
        placing.refuse_leaks(placing.find_leaks_on_disk(ctx.layout.dataset))
    data = ctx.data_of("all")
    counts = ", ".join(f"{name} {count}" for name, count in data.get("counts", {}).items())
    return ctx.report(metrics=data, summary=f"{counts}; {data.get('note', '')}")


def _split(ctx: Context, item: Any) -> None:
    from utils.io import placing, samples
    from utils.science.blocks import split_samples
    from utils.workflow.errors import ConfigError
    from utils.workflow.files import atomic_json

    conf = ctx.conf.split
    index = samples.load_index(ctx.layout.dataset_set("all"))
    usable = [sample for sample in index.samples if sample.trainable]
    dates = {pair.date2 for pair in index.pairs.values()}
    if unknown := set(conf.holdout_dates) - dates:
        raise ConfigError(
            f"split.holdout_dates: {', '.join(sorted(unknown))} is no t1 of the dataset.",
            f"Choose among {', '.join(sorted(dates))}.",
        )
    try:
        split = split_samples(
            [placing.placed(index, sample) for sample in usable], conf.method, conf.shares, conf.seed, conf.buffer_m,
            conf.block_tiles, conf.holdout_dates, conf.event_by,
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError(
            f"split: {error}.", "Choose a smaller split.buffer_m, other shares, or smaller tiles."
        ) from error
    storage = _storage(ctx, len(index.samples))
    _store(ctx, item, index, split, storage)
    record = {
        "schema": "s2cr.split/1", "method": split.method, "seed": conf.seed, "buffer_m": conf.buffer_m, "note": split.note,
        "sets": {name: list(ids) for name, ids in split.sets.items()},
        "dropped": [{"id": name, "reason": reason} for name, reason in split.dropped],
        "test_events": sorted(split.test_events),
    }  # fmt: skip
    atomic_json(item.output(ctx.layout.dataset / "split.json"), record)
    counts = {name: len(ids) for name, ids in split.sets.items()} | {"dropped": len(split.dropped)}
    item.data.update(counts=counts, method=split.method, note=split.note, storage=storage)


def _storage(ctx: Context, count: int) -> str:
    """dataset.storage, or its default for so many samples."""
    return ctx.conf.dataset.storage or ("tiles" if count < _MANY else "both")


def _store(ctx: Context, item: Any, index: "DatasetIndex", split: "Split", storage: str) -> None:
    """Hard links, shards and index.json of every set; records are those of the pool, in its order."""
    import json

    from utils.io import samples, shards
    from utils.workflow.files import atomic_json

    pool = json.loads((index.set_dir / "index.json").read_text(encoding="utf-8"))
    radar, optical = index.bands_sar, index.bands_optical
    bands = {part: optical if shards.is_optical(part) else radar for part in samples.folders(index.n_dates)}
    bands["mask"] = samples.mask_bands(index.n_dates)
    for name, ids in split.sets.items():
        if storage != "shards":
            _link(ctx.layout.dataset_set(name), index, ids, item.output)
        if storage != "tiles":
            loss = shards.write(
                ctx.layout.shards(name), name, ids, lambda i: samples.read_arrays(index.set_dir, i), bands, item.output
            )
            if loss["cut"]:
                ctx.warn(f"{name}: {loss['cut']:.0f} reflectances outside 0 .. 6.5534 were cut in the shards")
            item.data[f"largest_error_{name}"] = float(f"{loss['largest_error']:.3g}")
        wanted = set(ids)
        records = [record for record in pool["samples"] if record["id"] in wanted]
        index_json = item.output(ctx.layout.dataset_set(name) / "index.json")
        atomic_json(index_json, {**pool, "set": name, "samples": records})


def _link(folder: "Path", index: "DatasetIndex", ids: "tuple[str, ...]", register: "Callable[[Path], Path]") -> None:
    """Hard links to the rasters of the pool."""
    from utils.io import samples
    from utils.workflow.files import link_or_copy

    for sample_id in ids:
        for part in samples.folders(index.n_dates):
            source = samples.sample_path(index.set_dir, part, sample_id, index.n_dates)
            link_or_copy(source, register(samples.sample_path(folder, part, sample_id, index.n_dates)))
