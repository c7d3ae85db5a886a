"""Fit the scalers of network inputs and labels on the train set only.

Reads   dataset/train/*                         clear pixels inside the valid windows; non-positive SAR is filled first
Writes  norm/scaler_standard.json  mean and standard deviation by band group; norm/scaler_fixed.json  constants
        norm/scaler.json  the one of normalise.mode
Items   scaler                                  Fails  65 band without spread, 66 dataset missing
Example  ./s2cr normalise confs/demo.yaml
"""

if not __package__:
    import _direct  # noqa: F401
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    from utils.io.samples import DatasetIndex, Sample
    from utils.science.moments import Moments


@stage("normalise")
def run(ctx: Context) -> Report:
    from utils.io import samples
    from utils.science.scaler import Scaler, ScalerError, list_digest
    from utils.workflow.errors import ConfigError
    from utils.workflow.files import atomic_json

    conf = ctx.conf.normalise
    for item in ctx.todo(["scaler"], unit="scaler"):
        with item:
            index = samples.load_index(ctx.layout.dataset_set("train"))
            more: dict[str, Any] = {
                "fill_k": conf.fill_k, "train_sha256": list_digest(index.ids), "code": ctx.code, "n_dates": index.n_dates,
            }  # fmt: skip
            read, counts = samples.reader(index.set_dir), Counter[str]()
            parts = [_moments(read(name), index, conf.fill_k, counts) for name in index.ids]
            try:
                standard = Scaler.fit(parts, index.bands_sar, index.bands_optical, conf.s1_scale, conf.s2_scale, **more)
            except ScalerError as error:
                raise ConfigError(f"{error}.", "Give the train set more samples, or leave the band out.") from error
            scalers = {"standard": standard, "fixed": Scaler.fixed(index.bands_sar, index.bands_optical, **more)}
            for mode, scaler in scalers.items():
                atomic_json(item.output(ctx.layout.scaler(mode)), scaler.to_json())
            atomic_json(item.output(ctx.layout.scaler()), scalers[conf.mode].to_json())
            item.data.update(samples=len(index.ids), clipped=round(_clipped(index, read, standard), 6), **counts)
            if counts["sar_unfilled"]:
                ctx.warn(
                    f"{counts['sar_unfilled']} non-positive Sentinel-1 values have fewer than {conf.fill_k} good pixels "
                    "in their tile: they stay without value"
                )
    data = ctx.data_of("scaler")
    shown = (
        f"{data['samples']} samples, default {conf.mode}, standard clips {100 * data['clipped']:.2f} % of the labels"
        if data
        else ""
    )
    return ctx.report(metrics={**data, "s1_scale": conf.s1_scale, "s2_scale": conf.s2_scale}, summary=shown)


def _moments(sample: "Sample", index: "DatasetIndex", fill_k: int, counts: "Counter[str]") -> "dict[str, Moments]":
    """Moments of one sample: every pixel of every date counts once, masked ones never."""
    import numpy as np

    from utils.science.sar import needs_fill
    from utils.science.scaler import sample_moments, sar_db, unfilled

    radar = [(sample.s1_t0, sample.window), (sample.s1_t1, sample.window)]
    radar += [(date.s1, sample.window) for date in sample.earlier]
    optical = [(sample.s2_t0, sample.clear_t0 & sample.window), (sample.s2_t1, sample.clear_t1 & sample.window)]
    optical += [(date.s2, date.clear & sample.window) for date in sample.earlier]
    for power, _ in radar:
        if needs_fill(
            power, ~np.isnan(power)
        ).any():  # the fill is slow, so it is not done twice where nothing is missing
            db, filled = sar_db(power, fill_k)
            counts.update(sar_filled=filled, sar_unfilled=unfilled(power, db))
    return sample_moments(radar, optical, index.bands_sar, index.bands_optical, fill_k)


def _clipped(index: "DatasetIndex", read: "Callable[[str], Sample]", scaler: Any) -> float:
    """Share of label values that mode standard cuts at -1..1 in training."""
    shares = [scaler.clipped_share(read(name).s2_t1) for name in index.ids]
    return float(sum(shares) / len(shares)) if shares else 0.0
