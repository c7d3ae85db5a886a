"""Pair tiles of two dates into samples: dataX, label and mask.

Reads   tiles/<date>/*, search/pairs.json
Writes  dataset/all/dataX/{Sentinel1_t0,Sentinel1_t1,Sentinel2_t0}/<pair>_<tile>.tif  links to the tiles
        dataset/all/label/Sentinel2_t1/..., mask/... uint8 CLOUD_T0, CLOUD_T1, SAR, WINDOW;  dataset/all/index.json
        `all` holds every tile with usable inputs; those with a cloudy or missing label do not train
Items   one per pair and tile; --part i/N       Fails  65 dates of different tracks, 66 tile missing, 72 no sample
Example  ./s2cr build_dataset confs/demo.yaml
"""

if not __package__:
    import _direct  # noqa: F401
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    from utils.io.cutter import Cut
    from utils.io.tiles import Tiling
    from utils.science.filters import Limits

_CACHE_BYTES = 256 << 20


@stage("build_dataset")
def run(ctx: Context) -> Report:
    from utils.io import tiles
    from utils.science.filters import Limits
    from utils.workflow.errors import NothingFoundError
    from utils.workflow.files import atomic_json

    conf = ctx.conf.dataset
    pairs = {pair["id"]: pair for pair in tiles.read_pairs(ctx.layout.pairs_json)}
    mixed = {name: tiles.mixed_orbit(pair, conf.allow_mixed_orbit) for name, pair in pairs.items()}
    limits = Limits(
        conf.min_nonzero, conf.max_cloud_px, conf.keep_clouds, conf.min_clear, conf.min_valid, conf.max_sar_filled,
        ctx.conf.evaluate.changed_threshold,
    )  # fmt: skip
    tilings = {name: _tiling(ctx, pair) for name, pair in pairs.items()}
    ids = {f"{name}_{tile}": (pair, tile) for name, pair in pairs.items() for tile in tilings[name].tiles}
    size_px = ctx.conf.tiling.size_px
    per_tile = size_px**2 * 4 * (3 + len(conf.optical))

    @lru_cache(maxsize=max(16, _CACHE_BYTES // per_tile))
    def cut(date: str, tile: str) -> "Cut":
        return tiles.read_tile(ctx.layout.tiles(date), tile)

    for item in ctx.todo(ids, unit="sample"):
        with item:
            pair, tile = ids[item.id]
            cuts = cut(pair["date1"]["id"], tile), cut(pair["date2"]["id"], tile)
            _make(ctx, item, pair, tile, cuts, tilings[pair["id"]], limits)
    if ctx.partial:
        return ctx.report()
    done = [name for name in sorted(ids) if ctx.status_of(name) == "done"]
    if not done:
        raise NothingFoundError(
            f"None of {len(ids)} tiles has usable inputs; see items/build_dataset.jsonl.",
            "Relax the filters of section dataset.",
        )
    index = _index(ctx, done, ids, pairs, mixed, tilings)
    atomic_json(ctx.output(ctx.layout.dataset_set("all") / "index.json"), index)
    reasons = Counter(sample["reason"].split(":")[0] for sample in index["samples"] if sample["reason"])
    training = sum(sample["trainable"] for sample in index["samples"])
    causes = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    metrics = {"samples": len(done), "trainable": training, "not_trainable": dict(sorted(reasons.items()))}
    return ctx.report(metrics=metrics, summary=f"{training} train" + (f"; not: {causes}" if causes else ""))


def _tiling(ctx: Context, pair: dict[str, Any]) -> "Tiling":
    """The tiling both dates share; two grids would pair the wrong pixels."""
    from utils.io.tiles import read_tiling
    from utils.workflow.errors import InputError

    first, second = (read_tiling(ctx.layout.tiles(pair[date]["id"])) for date in ("date1", "date2"))
    if first != second:
        raise InputError(
            f"pair {pair['id']}: {first.grid} and {second.grid} differ.", "Preprocess or import both dates on one grid."
        )
    return first


def _make(
    ctx: Context,
    item: Any,
    pair: dict[str, Any],
    tile: str,
    cuts: "tuple[Cut, Cut]",
    tiling: "Tiling",
    limits: "Limits",
) -> None:
    """Judge one tile and put its files in place."""
    import numpy as np

    from utils.io import raster, samples
    from utils.science.filters import judge
    from utils.workflow.files import link_or_copy

    before, after = cuts
    place = tiling.tiles[tile]
    owned = np.zeros(before.mask.shape[1:], dtype=bool)
    owned[place.valid.relative_to(place.window).slices] = True
    clouds = before.mask[0], after.mask[0]
    verdict = judge((before.sar, after.sar), (before.optical, after.optical), clouds, owned, limits)
    if verdict.skip:
        item.skip(verdict.skip)
    folder, layout = ctx.layout.dataset_set("all"), ctx.layout
    first, second = pair["date1"]["id"], pair["date2"]["id"]
    sources = {
        "s1_t0": (first, "sentinel1"),
        "s1_t1": (second, "sentinel1"),
        "s2_t0": (first, "sentinel2"),
        "s2_t1": (second, "sentinel2"),
    }
    for part, (date, sensor) in sources.items():
        link_or_copy(layout.tile(date, sensor, tile), item.output(samples.sample_path(folder, part, item.id)))
    planes = np.stack([*clouds, before.mask[1] | after.mask[1], owned.astype(np.uint8)])
    names = [name for date in ("date1", "date2") for sensor in ("s1", "s2") for name in pair[date][sensor]["products"]]
    raster.write(
        item.output(samples.sample_path(folder, "mask", item.id)), planes, tiling.grid.window(place.window),
        band_names=samples.MASK_BANDS, tags=ctx.tags("code, code, bits, 0 or 1", names),
    )  # fmt: skip
    item.data.update(
        trainable=verdict.reason is None, reason=verdict.reason,
        clear_t0=round(verdict.clear_t0, 6), clear_t1=round(verdict.clear_t1, 6), sar_filled=round(verdict.sar_filled, 6),
        changed_fraction=None if verdict.changed is None else round(verdict.changed, 6),
    )  # fmt: skip


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
        "schema": samples.SCHEMA, "set": "all", "size_px": ctx.conf.tiling.size_px,
        "bands": {"sar": ["VV", "VH"], "optical": list(ctx.conf.dataset.optical)},
        "pairs": _pair_records(ctx, pairs, mixed, tilings), "samples": records,
    }  # fmt: skip


def _pair_records(
    ctx: Context, pairs: dict[str, Any], mixed: dict[str, bool], tilings: "dict[str, Tiling]"
) -> dict[str, Any]:
    """Facts of every pair, with the scene median of dS1: of the whole scene, not of the tiles that passed."""
    from scripts._dates import load_dates
    from utils.io import tiles
    from utils.science.filters import ds1_median_db
    from utils.workflow.errors import InputError

    dates = load_dates(ctx.conf, ctx.layout, ctx.conf.preprocess.sar_folder)
    power = lru_cache(maxsize=32)(lambda name: tiles.scene_power(ctx.layout.preprocessed_root, dates[name]))
    records = {}
    for name, pair in pairs.items():
        first, second = pair["date1"], pair["date2"]
        try:
            medians = ds1_median_db(power(first["id"]), power(second["id"]))
        except ValueError as error:
            raise InputError(f"pair {name}: {error}.", "Choose other dates.") from error
        records[name] = {
            "site": pair.get("site", "aoi"), "date1": first["id"], "date2": second["id"], "t0": tiles.day_of(first),
            "t1": tiles.day_of(second), "grid": tilings[name].grid.to_dict(), "mixed_orbit": mixed[name],
            "ds1_median_db": {band: round(value, 6) for band, value in zip(("VV", "VH"), medians, strict=True)},
        }  # fmt: skip
    return records
