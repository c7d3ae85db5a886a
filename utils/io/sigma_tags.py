"""The tag that says how far the interval of 95 % reaches: written with every sigma, carried from raster to raster."""

from __future__ import annotations

from pathlib import Path

from utils.io import raster

NAME = "SIGMA_95"  # "B04 2.310, B08 2.480": half width in sigmas by band; utils.science.uncertainty reads it


def sigma_tags(path: Path) -> dict[str, str]:
    """The tag of a raster; empty where it has none, as of a run that was trained before it was told.

    raises  InputError when the raster is missing or unreadable
    """
    tags = raster.info(path).tags
    return {NAME: tags[NAME]} if NAME in tags else {}
