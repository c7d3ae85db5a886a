"""Configuration of the stages that turn images into maps: indices and burned, landclass, change."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from utils.workflow.schema_base import Floats, Section, Strings, as_tuple, key


def _as_pairs(value: Any) -> Any:
    """A YAML mapping code -> name becomes pairs, so that strict models stay immutable."""
    pairs = list(value.items()) if isinstance(value, dict) else value
    return tuple(as_tuple(pair) for pair in pairs) if isinstance(pairs, list) else pairs


def _sound_classes(pairs: tuple[tuple[int, str], ...]) -> tuple[tuple[int, str], ...]:
    codes, names = [code for code, _ in pairs], [name for _, name in pairs]
    if any(not 0 <= code <= 254 for code in codes):
        raise ValueError("a class code must be 0 to 254 (255 is no data)")
    if len(set(codes)) < len(codes) or len(set(names)) < len(names) or not all(names):
        raise ValueError("codes and names must be there and differ from one another")
    return pairs


def _increasing(edges: tuple[float, ...]) -> tuple[float, ...]:
    if not edges or any(right <= left for left, right in itertools.pairwise(edges)):
        raise ValueError("class edges must increase")
    return edges


ClassNames = Annotated[tuple[tuple[int, str], ...], BeforeValidator(_as_pairs), AfterValidator(_sound_classes)]
Edges = Annotated[Floats, AfterValidator(_increasing)]


class Burned(Section):
    """Burned area and severity (stages indices, burned)."""

    indices: Strings = key(("NDVI", "NBR"), "Indices to map; those whose bands are missing are left out.")
    dndvi_edges: Edges = key((0.09, 0.14, 0.22, 0.34, 0.44), "Lower edges of low .. extreme severity from dNDVI.")
    dnbr_edges: Edges = key((-0.25, -0.10, 0.10, 0.27, 0.44, 0.66), "Class edges of dNBR (Key and Benson).")
    dndvi_burned: float = key(0.09, "Burned above this dNDVI.")
    dnbr_burned: float = key(0.10, "Burned above this dNBR.")
    round_decimals: int | None = key(
        None, "Round differences to so many decimals before they are classed; 4 is the published rounding.", "decimals",
        ge=0, le=9,
    )  # fmt: skip
    offset: Literal["none", "stable"] = key(
        "none", "stable: the median difference of unburned pixels is subtracted first, and logged."
    )
    cell_px: int = key(16, "Side of the cells of which the stratified interval takes one pixel each.", "pixels", ge=1)
    draws: int = key(1000, "Draws of the block bootstrap of areas.", "draws", ge=0)
    seed: int = key(7, "Seed of sample and draws.", ge=0)


class Landclass(Section):
    """Land classes (stage landclass)."""

    class_raster: str | None = key(
        None, "Class raster of any coordinate system; empty = a segmentation of NDVI stands in.", "path"
    )
    land_classes: ClassNames = key((), "Code: name of the classes of class_raster; empty = the codes that occur.")
    dem: str | None = key(None, "Height raster for slope and aspect; empty = that of preprocessing, if any.", "path")
    segments: int = key(5, "Classes of the segmentation.", "classes", ge=2, le=20)
    draws: int = key(1000, "Draws of the block bootstrap.", "draws", ge=0)
    seed: int = key(7, "Seed of the bootstrap.", ge=0)


class Change(Section):
    """Change detection without labels (stage change)."""

    bands: Strings = key((), "Bands of the difference image; empty = all.")
    vh_window_px: int = key(5, "Window over which VH is averaged before its log ratio.", "pixels", ge=1)
    seed: int = key(7, "Seed of k-means.", ge=0)
