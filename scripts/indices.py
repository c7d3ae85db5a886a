"""Map vegetation and burn indices before and after, for each run, the observed t1 and the hidden truth.

Reads   mosaic/<run>/<pair>/prediction.tif, mosaic/truth/<pair>/truth.tif, preprocessed/sentinel2/ of t0
Writes  maps/<run>/<pair>/{ndvi_t0,ndvi_t1,dndvi,...}.tif   float32, NaN = nodata; d = before - after
Items   <run>/<pair>, truth/<pair> (observed t1) and, with evaluate.truth_dir, hidden/<pair> (the simulator's clear t1)

Example  ./s2cr indices confs/demo.yaml
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401
from pathlib import Path
from typing import Any

from scripts._stage import Context, Report, stage


@stage("indices")
def run(ctx: Context) -> Report:
    from utils.io.samples import load_index
    from utils.science import indices

    done = [name for name, item in ctx.results("mosaic").items() if item["status"] == "done"]
    truth = [f"truth/{name}" for name, item in ctx.results("mosaic_truth").items() if item["status"] == "done"]
    hidden = [name.replace("truth/", "hidden/") for name in truth] if ctx.conf.evaluate.truth_dir else []
    index = load_index(ctx.layout.dataset_set("all"))
    names = indices.available(ctx.conf.burned.indices, index.bands_optical)
    left_out = sorted(set(ctx.conf.burned.indices) - set(names))
    if left_out:
        ctx.log.info("indices: %s left out, bands are missing", ", ".join(left_out))
    for item in ctx.todo([*done, *truth, *hidden], unit="map set"):
        with item:
            _maps(ctx, item, index, names)
    return ctx.report({"indices": list(names), "left_out": left_out}, ", ".join(names))


def _image(ctx: Context, run: str, pair: str) -> Path:
    if run == "hidden":
        return ctx.resolve(str(ctx.conf.evaluate.truth_dir)) / "S2_t1_clear.tif"
    return ctx.layout.mosaic(run, pair) / ("truth.tif" if run == "truth" else "prediction.tif")


def _maps(ctx: Context, item: Any, index: Any, names: tuple[str, ...]) -> None:
    import numpy as np

    from scripts._dates import load_dates
    from utils.io import acquisitions, mosaics, raster
    from utils.science import indices

    run, pair_id = item.id.split("/")
    pair, bands = index.pairs[pair_id], index.bands_optical
    before_date = load_dates(ctx.conf, ctx.layout)[pair.date1]
    root = ctx.layout.preprocessed_root
    before = acquisitions.read_planes(root, "sentinel2", before_date.s2, bands, pair.grid)
    before[:, np.isin(acquisitions.read_cloud(root, before_date.s2, pair.grid), (1, 2, 4))] = np.nan
    after = mosaics.read_reflectance(_image(ctx, run, pair_id), bands, pair.grid)
    dates = {"PAIR": pair_id, "MODEL": run, "DATE_T0": pair.t0, "DATE_T1": pair.t1}
    tags = ctx.tags("1", before_date.s2, **dates)
    folder = ctx.layout.maps(run, pair_id)
    for name in names:
        first, second = (indices.compute(name, dict(zip(bands, image, strict=True))) for image in (before, after))
        planes = {f"{name.lower()}_t0": first, f"{name.lower()}_t1": second, f"d{name.lower()}": first - second}
        for label, plane in planes.items():
            path = item.output(folder / f"{label}.tif")
            values = plane.astype(np.float32)
            raster.write(path, values, pair.grid, band_names=(label.upper(),), nodata=np.nan, tags=tags)
        change = planes[f"d{name.lower()}"]
        good = change[np.isfinite(change)]
        item.data[f"median_d{name.lower()}"] = round(float(np.median(good)), 6) if good.size else None
