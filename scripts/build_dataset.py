"""Pair tiles of two or more dates into samples: dataX, label and mask.

Reads   tiles/<date>/*, search/pairs.json       dataset.dates: [t0, t1, t2] joins pairs to sequences of three dates
Writes  dataset/all/dataX/{Sentinel1_t0,Sentinel1_t1,Sentinel2_t0}/<pair>_<tile>.tif  links to the tiles
        dataset/all/label/Sentinel2_t1/..., mask/... uint8 CLOUD_T0, CLOUD_T1, SAR, WINDOW;  dataset/all/index.json
        `all` holds every tile with usable inputs; those with a cloudy or missing label do not train
Items   one per pair and tile; --part i/N       Fails  65 dates of different tracks, 66 tile missing, 72 no sample
Example  ./s2cr build_dataset confs/demo.yaml
"""

if not __package__:
    import _direct  # noqa: F401
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    from utils.io.cutter import Cut
    from utils.io.tiles import Tiling
    from utils.science.filters import Limits, Verdict

_CACHE_BYTES = 256 << 20


@stage("build_dataset")
def run(ctx: Context) -> Report:
    from utils.io import tiles
    from utils.workflow.errors import NothingFoundError
    from utils.workflow.files import atomic_json

    conf = ctx.conf.dataset
    pairs = {pair["id"]: pair for pair in tiles.read_sequences(ctx.layout.pairs_json, len(conf.dates))}
    mixed = {name: tiles.mixed_orbit(pair, conf.allow_mixed_orbit) for name, pair in pairs.items()}
    limits = _limits(ctx)
    tilings = {name: _tiling(ctx, pair) for name, pair in pairs.items()}
    ids = {f"{name}_{tile}": (pair, tile) for name, pair in pairs.items() for tile in tilings[name].tiles}
    per_tile = ctx.conf.tiling.size_px**2 * 4 * (3 + len(conf.optical))

    @lru_cache(maxsize=max(16, _CACHE_BYTES // per_tile))
    def cut(date: str, tile: str) -> "Cut":
        return tiles.read_tile(ctx.layout.tiles(date), tile)

    for item in ctx.todo(ids, unit="sample"):
        with item:
            pair, tile = ids[item.id]
            _make(ctx, item, pair, tile, [cut(date["id"], tile) for date in pair["dates"]], tilings[pair["id"]], limits)
    if ctx.partial:
        return ctx.report()
    done = [name for name in sorted(ids) if ctx.status_of(name) == "done"]
    if not done:
        raise NothingFoundError(
            f"None of {len(ids)} tiles has usable inputs ({_words(_reasons(ctx, ids))}); see items/build_dataset.jsonl.",
            "Relax the filters of section dataset.",
        )
    index = _index(ctx, done, ids, pairs, mixed, tilings)
    atomic_json(ctx.output(ctx.layout.dataset_set("all") / "index.json"), index)
    return _report(ctx, ids, index["samples"])


def _limits(ctx: Context) -> "Limits":
    from utils.science.filters import Limits

    conf = ctx.conf.dataset
    return Limits(
        conf.min_nonzero, conf.max_cloud_px, conf.keep_clouds, conf.min_clear, conf.min_valid, conf.max_sar_filled,
        ctx.conf.evaluate.changed_threshold, conf.keep_clouds_t0,
    )  # fmt: skip


def _reasons(ctx: Context, ids: dict[str, Any]) -> Counter[str]:
    """Why tiles are no sample, by the first words of the reason."""
    return Counter(ctx.reason_of(name).split(":", maxsplit=1)[0] for name in ids if ctx.status_of(name) == "skipped")


def _words(reasons: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))


def _report(ctx: Context, ids: dict[str, Any], records: list[dict[str, Any]]) -> Report:
    """Every filter has its counter in the metrics; those that refused something are in the closing line."""
    from utils.science.filters import FILTERS, filter_of

    unusable = _reasons(ctx, ids)
    useless = Counter(record["reason"].split(":", maxsplit=1)[0] for record in records if record["reason"])
    filters = dict.fromkeys(sorted(set(FILTERS.values())), 0)
    for reason, count in (unusable + useless).items():
        filters[filter_of(reason)] += count
    training = sum(record["trainable"] for record in records)
    partly = sum(record["trainable"] and record["train_only"] for record in records)
    parts = [f"{training} train" + (f", {partly} of them partly cloudy at t0" if partly else "")]
    parts += [f"no sample: {_words(unusable)}"] if unusable else []
    parts += [f"not for training: {_words(useless)}"] if useless else []
    metrics = {
        "samples": len(records), "trainable": training, "train_only": partly, "filters": filters,
        "not_usable": dict(sorted(unusable.items())), "not_trainable": dict(sorted(useless.items())),
    }  # fmt: skip
    return ctx.report(metrics=metrics, summary="; ".join(parts))


def _tiling(ctx: Context, pair: dict[str, Any]) -> "Tiling":
    """The tiling all dates share; two grids would pair the wrong pixels."""
    from utils.io.tiles import read_tiling
    from utils.workflow.errors import InputError

    first, *others = (read_tiling(ctx.layout.tiles(date["id"])) for date in pair["dates"])
    for other in others:
        if first != other:
            raise InputError(
                f"pair {pair['id']}: {first.grid} and {other.grid} differ.",
                "Preprocess or import all dates on one grid.",
            )
    return first


def _make(
    ctx: Context,
    item: Any,
    pair: dict[str, Any],
    tile: str,
    cuts: "Sequence[Cut]",
    tiling: "Tiling",
    limits: "Limits",
) -> None:
    """Judge one tile and put its files in place."""
    import numpy as np

    from utils.io import raster, samples
    from utils.science.filters import judge
    from utils.workflow.files import link_or_copy

    place, n_dates = tiling.tiles[tile], len(cuts)
    owned = np.zeros(cuts[0].mask.shape[1:], dtype=bool)
    owned[place.valid.relative_to(place.window).slices] = True
    clouds = [cut.mask[0] for cut in cuts]
    verdict = judge([cut.sar for cut in cuts], [cut.optical for cut in cuts], clouds, owned, limits)
    if verdict.skip:
        item.skip(verdict.skip)
    folder = ctx.layout.dataset_set("all")
    for number, date in enumerate(pair["dates"]):
        for part, sensor in ((f"s1_t{number}", "sentinel1"), (f"s2_t{number}", "sentinel2")):
            target = samples.sample_path(folder, part, item.id, n_dates)
            link_or_copy(ctx.layout.tile(date["id"], sensor, tile), item.output(target))
    bits = np.bitwise_or.reduce([cut.mask[1] for cut in cuts])
    names = [name for date in pair["dates"] for sensor in ("s1", "s2") for name in date[sensor]["products"]]
    raster.write(
        item.output(samples.sample_path(folder, "mask", item.id, n_dates)),
        np.stack([*clouds, bits, owned.astype(np.uint8)]), tiling.grid.window(place.window),
        band_names=samples.mask_bands(n_dates), tags=ctx.tags(f"{'code, ' * n_dates}bits, 0 or 1", names),
    )  # fmt: skip
    item.data.update(_facts(verdict, cuts))


def _facts(verdict: "Verdict", cuts: "Sequence[Cut]") -> dict[str, Any]:
    """What index.json says of a sample beside its place."""
    from utils.io.placing import pixel_digest

    return {
        "trainable": verdict.reason is None,
        "reason": verdict.reason,
        "train_only": verdict.train_only,
        "clear_t0": round(verdict.clear_t0, 6),
        "clear_t1": round(verdict.clear_t1, 6),
        "sar_filled": round(verdict.sar_filled, 6),
        "changed_fraction": None if verdict.changed is None else round(verdict.changed, 6),
        "pixels": [pixel_digest(cut.optical) for cut in cuts],
    }


def _index(
    ctx: Context,
    done: list[str],
    ids: dict[str, Any],
    pairs: dict[str, Any],
    mixed: dict[str, bool],
    tilings: "dict[str, Tiling]",
) -> dict[str, Any]:
    """index.json of the set `all`."""
    from utils.io import samples
    from utils.science.blocks import block_id

    records = []
    for name in done:
        pair, tile = ids[name]
        place = tilings[pair["id"]].tiles[tile]
        windows = {"window": place.window.to_list(), "valid": place.valid.to_list()}
        block = block_id(tile, ctx.conf.split.block_tiles)
        records.append({"id": name, "pair": pair["id"], "tile": tile, "block": block, **windows, **ctx.data_of(name)})
    return {
        "schema": samples.SCHEMA, "set": "all", "size_px": ctx.conf.tiling.size_px, "dates": list(ctx.conf.dataset.dates),
        "bands": {"sar": ["VV", "VH"], "optical": list(ctx.conf.dataset.optical)},
        "pairs": _pair_records(ctx, pairs, mixed, tilings), "samples": records,
    }  # fmt: skip


def _pair_records(
    ctx: Context, pairs: dict[str, Any], mixed: dict[str, bool], tilings: "dict[str, Tiling]"
) -> dict[str, Any]:
    """Facts of every pair, with the scene median of dS1 between the last two dates: of the whole scene, not of the tiles
    that passed."""
    from scripts._dates import load_dates
    from utils.io import tiles
    from utils.science.filters import ds1_median_db
    from utils.workflow.errors import InputError

    dates = load_dates(ctx.conf, ctx.layout, ctx.conf.preprocess.sar_folder)
    power = lru_cache(maxsize=32)(lambda name: tiles.scene_power(ctx.layout.preprocessed_root, dates[name]))
    records = {}
    for name, pair in pairs.items():
        before, after = pair["dates"][-2:]
        try:
            medians = ds1_median_db(power(before["id"]), power(after["id"]))
        except ValueError as error:
            raise InputError(f"pair {name}: {error}.", "Choose other dates.") from error
        records[name] = {
            "site": pair["site"], "date1": before["id"], "date2": after["id"], "t0": tiles.day_of(before),
            "t1": tiles.day_of(after), "grid": tilings[name].grid.to_dict(), "mixed_orbit": mixed[name],
            "dates": [date["id"] for date in pair["dates"]], "days": [tiles.day_of(date) for date in pair["dates"]],
            "ds1_median_db": {band: round(value, 6) for band, value in zip(("VV", "VH"), medians, strict=True)},
        }  # fmt: skip
    return records
