"""Fit the scalers of network inputs and labels on the train set only.

Reads   dataset/train/*                         clear pixels inside the valid windows; non-positive SAR is filled first
Writes  norm/scaler_standard.json  mean and standard deviation by band group; norm/scaler_fixed.json  constants
        norm/scaler.json  the one of normalise.mode
Items   scaler                                  Fails  65 band without spread, 66 dataset missing
Example  ./s2cr normalise confs/demo.yaml
"""

if not __package__:
    import _direct  # noqa: F401
from typing import TYPE_CHECKING, Any

from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    from utils.io.samples import DatasetIndex
    from utils.science.scaler import Moments


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
                "fill_k": conf.fill_k, "train_sha256": list_digest(index.ids), "code": ctx.code,
            }  # fmt: skip
            parts = [_moments(index, name, conf.fill_k) for name in index.ids]
            try:
                standard = Scaler.fit(parts, index.bands_sar, index.bands_optical, conf.s1_scale, conf.s2_scale, **more)
            except ScalerError as error:
                raise ConfigError(f"{error}.", "Give the train set more samples, or leave the band out.") from error
            scalers = {"standard": standard, "fixed": Scaler.fixed(index.bands_sar, index.bands_optical, **more)}
            for mode, scaler in scalers.items():
                atomic_json(item.output(ctx.layout.scaler(mode)), scaler.to_json())
            atomic_json(item.output(ctx.layout.scaler()), scalers[conf.mode].to_json())
            item.data.update(samples=len(index.ids), clipped=round(_clipped(index, standard), 6))
    data = ctx.data_of("scaler")
    shown = (
        f"{data['samples']} samples, default {conf.mode}, standard clips {100 * data['clipped']:.2f} % of the labels"
        if data
        else ""
    )
    return ctx.report(metrics={**data, "s1_scale": conf.s1_scale, "s2_scale": conf.s2_scale}, summary=shown)


def _moments(index: "DatasetIndex", name: str, fill_k: int) -> "dict[str, Moments]":
    """Moments of one sample: every pixel counts once, masked ones never."""
    from utils.io.samples import read_sample
    from utils.science.scaler import sample_moments

    sample = read_sample(index.set_dir, name)
    radar = [(sample.s1_t0, sample.window), (sample.s1_t1, sample.window)]
    optical = [(sample.s2_t0, sample.clear_t0 & sample.window), (sample.s2_t1, sample.clear_t1 & sample.window)]
    return sample_moments(radar, optical, index.bands_sar, index.bands_optical, fill_k)


def _clipped(index: "DatasetIndex", scaler: Any) -> float:
    """Share of label values that mode standard cuts at -1..1 in training."""
    from utils.io.samples import read_sample

    shares = [scaler.clipped_share(read_sample(index.set_dir, name).s2_t1) for name in index.ids]
    return float(sum(shares) / len(shares)) if shares else 0.0
