"""copy_t0 over the whole preprocessed images of every pair: a known figure that no split or tiling moves."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts._context import Context
from scripts._dates import load_dates
from utils.io import acquisitions, samples
from utils.science import evaluation, metrics

Image = NDArray[Any]


def copy_of_whole_images(ctx: Context) -> dict[str, Any]:
    """copy_t0 over the whole preprocessed images of every pair, bands of dataset.s2_bands: all pixels, and those
    clear at both dates."""
    everything = samples.load_index(ctx.layout.dataset_set("all"))
    dates = load_dates(ctx.conf, ctx.layout)
    root, bands = ctx.layout.preprocessed_root, ctx.conf.dataset.s2_bands

    @lru_cache(maxsize=24)
    def load(date: str, grid: Any) -> tuple[Image, NDArray[np.uint8]]:
        products = dates[date].s2
        image = acquisitions.read_planes(root, "sentinel2", products, bands, grid)
        return image, acquisitions.read_cloud(root, products, grid)

    pairs: dict[str, dict[str, dict[str, float]]] = {"all": {}, "clear": {}}
    for name in sorted(everything.pairs):
        pair = everything.pairs[name]
        (first, cloud0), (second, cloud1) = load(pair.date1, pair.grid), load(pair.date2, pair.grid)
        for key, mask in (("all", np.ones(pair.grid.shape, bool)), ("clear", (cloud0 == 0) & (cloud1 == 0))):
            scores = evaluation.copy_scores(first, second, mask, bands).scores()
            pairs[key][name] = {figure: scores[figure] for figure in ("pixels", "mae", "rmse", "sam_deg")}
    result = {key: {"bands": bands, "pairs": value, **_summary(list(value.values()))} for key, value in pairs.items()}
    return dict(evaluation.plain({"rasters": result}))


def _summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean over pairs, and pooled over pixels (PSNR of the pooled and of the mean MSE)."""
    used = [row for row in rows if row["pixels"] > 0]
    if not used:
        return {"count": 0.0}
    weights = np.array([row["pixels"] for row in used])
    mae, mse = np.array([row["mae"] for row in used]), np.array([row["rmse"] for row in used]) ** 2
    return {
        "count": float(len(used)),
        "mean_mae": float(mae.mean()),
        "pooled_mae": float((weights * mae).sum() / weights.sum()),
        "psnr_mean_mse": float(metrics.psnr_from_mse(mse.mean())),
        "pooled_psnr": float(metrics.psnr_from_mse((weights * mse).sum() / weights.sum())),
        "mean_sam_deg": float(np.mean([row["sam_deg"] for row in used])),
    }
