"""Deal the samples into train, val and test by place, never by single tile, and look for leaks.

Reads   dataset/all/index.json and its rasters
Writes  dataset/{train,val,test}/...  hard links, index.json each;  dataset/split.json  sets, dropped samples, note
        With --check-leaks nothing is written: exit 0 when no leak is found, 65 with the leaks otherwise
Items   all                                     Fails  65 leak, or no room for two sets, 66 dataset missing
Example  ./s2cr split confs/demo.yaml --check-leaks
"""

if not __package__:
    import _direct  # noqa: F401
from typing import TYPE_CHECKING, Any

import click

from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    from utils.io.samples import DatasetIndex
    from utils.science.blocks import Split

CHECK = click.option("--check-leaks", is_flag=True, help="Only search the finished split for leaks; exit 65 on one.")


@stage("split", options=[CHECK], always=lambda extra: bool(extra["check_leaks"]))
def run(ctx: Context) -> Report:
    from utils.io import placing

    norm = ctx.layout.norm
    if ctx.extra["check_leaks"]:
        placing.refuse_leaks(placing.find_leaks_on_disk(ctx.layout.dataset, norm))
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
            conf.block_tiles, conf.holdout_dates,
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError(
            f"split: {error}.", "Choose a smaller split.buffer_m, other shares, or smaller tiles."
        ) from error
    _link(ctx, item, index, split)
    record = {
        "schema": "s2cr.split/1", "method": split.method, "seed": conf.seed, "buffer_m": conf.buffer_m, "note": split.note,
        "sets": {name: list(ids) for name, ids in split.sets.items()},
        "dropped": [{"id": name, "reason": reason} for name, reason in split.dropped],
        "test_events": sorted(f"t1:{date}" for date in conf.holdout_dates),
    }  # fmt: skip
    atomic_json(item.output(ctx.layout.dataset / "split.json"), record)
    counts = {name: len(ids) for name, ids in split.sets.items()} | {"dropped": len(split.dropped)}
    item.data.update(counts=counts, method=split.method, note=split.note)


def _link(ctx: Context, item: Any, index: "DatasetIndex", split: "Split") -> None:
    """Hard links and index.json of every set; records are those of the pool, in its order."""
    import json

    from utils.io import samples
    from utils.workflow.files import atomic_json, link_or_copy

    pool = json.loads((index.set_dir / "index.json").read_text(encoding="utf-8"))
    for name, ids in split.sets.items():
        folder, wanted = ctx.layout.dataset_set(name), set(ids)
        for sample_id in ids:
            for part in samples.FOLDERS:
                source = samples.sample_path(index.set_dir, part, sample_id)
                link_or_copy(source, item.output(samples.sample_path(folder, part, sample_id)))
        records = [record for record in pool["samples"] if record["id"] in wanted]
        atomic_json(item.output(folder / "index.json"), {**pool, "set": name, "samples": records})
