"""Change maps without labels, of every run and of the true pair, with scores beside copying t0.

Reads   preprocessed/ of both dates, mosaic/<run>/<pair>/prediction.tif, the true t1 (hidden, else observed where clear),
        dataset/train (where the detector is fitted), dataset/test (where it is scored)
Writes  change/model.json                  PCA and k-means of |t0 - t1| (Celik 2009), fitted on train samples
        change/<run>/<pair>/change.tif     COG uint8 1 changed, 0 not, 255 nodata, by that model; run truth: the true pair
        change/radar/<pair>/change.tif     the same of |log ratio| of VH above Otsu's threshold of the train samples
        change/scores.json, change/<pair>.png   PSNR and MSE on all, changed, unchanged; F1 and kappa; the maps
Items   <pair>     Fails  66 true t1 or train samples missing, nothing changed between the dates

Example  ./s2cr change confs/demo.yaml
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401
from scripts._stage import Context, Report, stage


@stage("change")
def run(ctx: Context) -> Report:
    from scripts import _change
    from utils.workflow.files import atomic_json

    pairs = sorted(name for name, item in ctx.results("mosaic_truth").items() if item["status"] == "done")
    shown = [name.split("/") for name, item in ctx.results("mosaic").items() if item["status"] == "done"]
    detector = None
    for item in ctx.todo(pairs, unit="pair"):
        if detector is None:  # only when there is something to do
            detector = _change.Detector(ctx)
        with item:
            _change.make(ctx, item, detector, [run for run, pair in shown if pair == item.id])
    if ctx.partial:
        return ctx.report()
    detector = detector or _change.Detector(ctx)
    atomic_json(ctx.output(ctx.layout.work / "change" / "model.json"), detector.to_json())
    found = {name: ctx.data_of(name) for name in pairs if ctx.status_of(name) == "done"}
    facts = {"schema": "s2cr.change_scores/1", "synthetic": ctx.conf.report.synthetic, "pairs": found}
    atomic_json(ctx.output(ctx.layout.work / "change" / "scores.json"), facts)
    for name, data in found.items():
        for line in _change.table(name, data):
            ctx.log.info("%s", line)
    return ctx.report(found)
