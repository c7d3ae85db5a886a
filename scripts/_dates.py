"""Dates of the pair list with the products that preprocessing made rasters of."""

from __future__ import annotations

from utils.io import acquisitions
from utils.io.acquisitions import Acquisition
from utils.workflow import freshness
from utils.workflow.layout import Layout
from utils.workflow.schema import Conf
from utils.workflow.stages import STAGES

PREPROCESSING = ("preprocess_s1", "preprocess_s2")


def load_dates(
    conf: Conf, layout: Layout, sar_folder: str = "sentinel1", stages: tuple[str, ...] = PREPROCESSING
) -> dict[str, Acquisition]:
    """Date id -> acquisition, without the products that `stages` skipped as outside the area.

    Only what a manifest records as skipped is left out: a product that failed, or that nobody tried, stays and is
    missed by name.
    raises  InputError when the pair list is unusable, or skipping left a date without a product of a sensor
    """
    left_out: set[str] = set()
    for name in stages:
        manifest = freshness.read_manifest(layout, name) if STAGES[name].enabled(conf) else None
        items = (manifest or {}).get("items", {})
        left_out.update(item for item, facts in items.items() if facts["status"] == "skipped")
    return acquisitions.load(layout.pairs_json, sar_folder, left_out)
