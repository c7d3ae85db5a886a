"""Run the Sentinel-2 stage on one product, without ledger and manifest."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from scripts import preprocess_s2
from tests.s1_stage import Item
from utils.io import raster
from utils.io.safe import open_product
from utils.science.grid import Grid
from utils.workflow import config
from utils.workflow.layout import Layout
from utils.workflow.schema import Conf, DatasetConf, Preprocess


def context(work: Path, bands: tuple[str, ...] = ("B02", "B03", "B04", "B08"), **preprocess: Any) -> Any:
    """What _convert needs of a stage context."""
    conf = Conf(work=str(work), dataset=DatasetConf(s2_bands=bands), preprocess=Preprocess(**preprocess))
    warnings: list[str] = []
    return SimpleNamespace(
        conf=conf, layout=Layout(work), key="0", warn=warnings.append, warnings=warnings,
        resolve=lambda text: config.resolve(conf, text), log=SimpleNamespace(info=lambda *_: None, warning=lambda *_: None),
        tags=lambda units, sources, **more: {
            "SOURCE_PRODUCTS": ",".join(sources), "STAGE": "preprocess_s2", "KEY": "0", "CODE": "0", "UNITS": units,
            **{k: str(v) for k, v in more.items()},
        },
    )  # fmt: skip


def convert(work: Path, archive: Path, grid: Grid, **settings: Any) -> dict[str, Any]:
    """Process one product as the stage does; returns product.json."""
    ctx, item = context(work, **settings), Item(archive.name.removesuffix(".zip").removesuffix(".SAFE"))
    with open_product(archive) as product:
        preprocess_s2._convert(ctx, item, product, grid)
    folder = folder_of(work, archive)
    assert {path.name for path in item.outputs} == {path.name for path in folder.iterdir()}
    return dict(json.loads((folder / "product.json").read_text()))


def folder_of(work: Path, archive: Path) -> Path:
    """Where the files of a product are."""
    return Layout(work).preprocessed("sentinel2", archive.name.removesuffix(".zip").removesuffix(".SAFE"))


def planes(work: Path, archive: Path, *names: str) -> np.ndarray:
    """Rasters of a product by name, stacked."""
    return np.concatenate([raster.read(folder_of(work, archive) / f"{name}.tif") for name in names])
