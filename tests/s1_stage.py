"""Run the Sentinel-1 stage on one product of a generated scene, without ledger and manifest."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from scripts import preprocess_s1
from scripts._context import Options
from scripts._steps import Steps
from utils.io import raster
from utils.io.safe import open_product
from utils.io.synth_products import SceneProducts
from utils.science.grid import Grid
from utils.workflow import config
from utils.workflow.layout import Layout
from utils.workflow.schema import Area, Conf, Dem, Preprocess, Scene


class Skipped(Exception):
    """The item was skipped; the text is the reason."""


class Item:
    """Stands in for a ledger item."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.data: dict[str, Any] = {}
        self.outputs: list[Path] = []
        self.steps = Steps()

    def output(self, path: Path) -> Path:
        self.outputs.append(path)
        return path

    def skip(self, reason: str) -> None:
        raise Skipped(reason)


def convert(
    work: Path, archive: Path, grid: Grid | None = None, dem: Dem | None = None, **preprocess: Any
) -> tuple[np.ndarray, np.ndarray, dict[str, Any], list[str]]:
    """Process a zip with the scene folder work/scene.

    returns  gamma0 (polarisations, rows, cols), mask, product.json and the warnings
    """
    settings = Preprocess(dem=dem or Dem(path="{scene}/dem.tif"), **preprocess)
    scene: Any = Scene(size_px=128)
    conf = Conf(
        work=str(work), scene=scene, area=Area(geojson="{scene}/area.geojson", epsg=scene.epsg), preprocess=settings
    )
    layout, item = Layout(work), Item(archive.stem)
    warnings: list[str] = []
    ctx: Any = SimpleNamespace(
        conf=conf, layout=layout, warn=warnings.append, log=logging.getLogger("s1_stage"), options=Options(quiet=True), resolve=lambda text: config.resolve(conf, text),
        tags=lambda units, sources, **more: {"UNITS": units, **{k: str(v) for k, v in more.items()}},
    )  # fmt: skip
    with open_product(archive) as product:
        preprocess_s1._convert(ctx, item, product, grid or SceneProducts(scene).grid)
    folder = layout.preprocessed("sentinel1", archive.stem)
    assert {path.name for path in item.outputs} <= {path.name for path in folder.iterdir()}
    pols = [pol.lower() for pol in settings.polarisations]
    gamma0 = np.concatenate([raster.read(folder / f"gamma0_{pol}.tif") for pol in pols])
    return gamma0, raster.read(folder / "mask.tif")[0], json.loads((folder / "product.json").read_text()), warnings
