"""A finished made-up work directory with everything that the page may show, and its report.html."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

from scripts import _page
from scripts.__main__ import main
from scripts._context import Context, Options
from tests.unit import tiny_judged
from utils.io import html, mosaics, raster
from utils.workflow import config
from utils.workflow.files import atomic_json

STAGES = ("mosaic", "mosaic_truth", "indices", "burned", "evaluate", "compare", "report")
UNCERTAINTY = {
    "temperature": dict.fromkeys(tiny_judged.BANDS, 1.1),
    "strata": {
        "all": {"pixels": 4321, "coverage": {"68": 0.671, "95": 0.948}, "ause": 0.123, "ause_constant": 0.456},
        "changed": {"pixels": 99, "coverage": {"68": 0.5, "95": 0.8}, "ause": None, "ause_constant": 0.2},
    },
}


@dataclass(frozen=True)
class Page:
    """The finished work directory and its page."""

    conf: Path
    work: Path

    @property
    def path(self) -> Path:
        return self.work.parent / "full.html"

    def context(self, **report: object) -> Context:
        """What stage report gets, with other values of its section; whether earlier stages are fresh is not asked."""
        conf = config.load(self.conf)
        conf = conf.model_copy(update={"report": conf.report.model_copy(update=report)})
        return Context("report", conf, self.conf, Options(quiet=True), logging.getLogger("page"))

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def json(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.work / name).read_text()))


def call(*arguments: str) -> None:
    """Run a stage in this process; it must end with 0."""
    result = CliRunner().invoke(main, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output


def build(folder: Path) -> Page:
    """Everything up to the report; run `good` predicts a sigma, and says of its pair DOMAIN=outside."""
    conf = tiny_judged.build(folder)
    conf.write_text(conf.read_text().replace("evaluate: {", "evaluate: {baselines: [copy_t0, linear_gain], "))
    page = Page(conf, folder / "work")
    for path in (page.work / "pred/good").glob("*.tif"):
        facts, image = raster.info(path), raster.read(path)
        raster.write(path, image, facts.grid, band_names=facts.band_names, nodata=np.nan, tags={"DOMAIN": "outside"})
    atomic_json(page.work / "runs/good/model_card.json", {
        "model": "resunet", "parameters": 23757, "train_samples": 2, "model_sha256": "ab" * 32,
        "versions": {"keras": "3.15.1"}, "uncertainty": UNCERTAINTY,
    })  # fmt: skip
    tiny_judged.manifests(conf)
    for stage in STAGES:
        call(stage, str(conf))
    # what other stages may write is put beside their results, and the page made again of all that
    add_doubts(page.work / "mosaic/good/p001")
    add_probabilities(page.work)
    page.path.write_bytes(html.page("Made-up ground", _page.parts(page.context()), "synthetic data"))
    return page


def add_doubts(folder: Path) -> None:
    """sigma.tif, 0.05 in all bands, and abstain.tif, the left half, beside the mosaic."""
    spread = np.full((len(tiny_judged.BANDS), *tiny_judged.GRID.shape), 0.05, np.float32)
    names = [f"sigma_{band}" for band in tiny_judged.BANDS]
    mosaics.write_reflectance(folder / "sigma.tif", spread, tiny_judged.GRID, names, {"SYNTHETIC": "yes"})
    abstain = np.zeros(tiny_judged.GRID.shape, np.uint8)
    abstain[:, :48] = 1
    raster.write(folder / "abstain.tif", abstain, tiny_judged.GRID, band_names=("ABSTAIN",), nodata=255)


AREA = {"ha": 21.25, "low_ha": 18.5, "high_ha": 24.0}
NO_AREA = {"ha": 40.19, "low_ha": 37.4, "high_ha": 42.9}


def add_probabilities(work: Path) -> None:
    """severity_probability.tif, 25 % burned at the left half and no data at the right; hectares with intervals."""
    percent = np.full((3, *tiny_judged.GRID.shape), 255, np.uint8)
    percent[0, :, :48], percent[1, :, :48], percent[2, :, :48] = 25, 75, 2
    names = [f"DNBR_{name}" for name in ("BURNED", "LIKELIEST", "CLASS")]
    path = work / "maps/good/p001/severity_probability.tif"
    raster.write(path, percent, tiny_judged.GRID, band_names=names, nodata=255)
    manifest = work / "manifests/burned.json"
    facts = json.loads(manifest.read_text())
    for item in facts["items"].values():
        for index in ("dndvi", "dnbr"):
            for name in ("reference", "expected"):
                item["data"].get(index, {}).pop(name, None)
    facts["items"]["good/p001"]["data"]["dnbr"] |= {
        "reference": {
            "truth": "hidden", "true_ha": 21.4, "burned": {
                "clustered": [NO_AREA, AREA], "stratified": "a map class with area has fewer than two samples",
                "bootstrap": [NO_AREA, {"ha": 20.0, "low_ha": None, "high_ha": None}],
            },
        },
        "expected": {"of": "composite.tif", "map_ha": 19.0, "burned": [NO_AREA, AREA], "errors": "measured on 10 validation pixels"},
    }  # fmt: skip
    atomic_json(manifest, facts)
