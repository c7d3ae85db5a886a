"""The tag that says how far the interval of 95 % reaches: written with every sigma, carried from raster to raster."""

from __future__ import annotations

from pathlib import Path

from utils.io import raster
from utils.science.uncertainty import WIDTH_TAG


def sigma_tags(path: Path) -> dict[str, str]:
    """The tag of a raster; empty where it has none, as of a run that was trained before it was told.

    raises  InputError when the raster is missing or unreadable
    """
    tags = raster.info(path).tags
    return {WIDTH_TAG: tags[WIDTH_TAG]} if WIDTH_TAG in tags else {}
