"""Configuration of the judgement: rivals, thresholds, strata and intervals (stages evaluate, compare, report)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from utils.workflow.schema_base import Integers, Section, Strings, as_tuple, key


def _as_pairs(value: Any) -> Any:
    """A YAML mapping code -> name becomes pairs, so that strict models stay immutable."""
    pairs = list(value.items()) if isinstance(value, dict) else value
    return tuple(as_tuple(pair) for pair in pairs) if isinstance(pairs, list) else pairs


CodeNames = Annotated[tuple[tuple[int, str], ...], BeforeValidator(_as_pairs)]


class Evaluate(Section):
    """Scores (stages evaluate, compare, report)."""

    truth_dir: str | None = key(
        None, "Folder with the hidden clear t1 of a generated scene; {scene} for the default.", "path"
    )
    baselines: Strings = key(
        ("copy_t0", "linear_gain", "ridge_ctx", "histgbm_ctx", "no_s1", "s1_frozen", "season_only"),
        "Rivals in every table; one of these that is left out is named there as left out. Also histgbm_res.",
    )
    baseline_pixels: int = key(60000, "Pixels that a fitted baseline sees.", ge=100)
    bootstrap: int = key(1000, "Draws of the block bootstrap.", ge=0)
    seed: int = key(7, "Seed of the bootstrap and of baseline sampling.", ge=0)
    changed_threshold: float = key(
        0.02, "Mean absolute change of reflectance that makes a pixel changed.", "reflectance", gt=0
    )
    lag_days: Integers = key((16, 32, 64, 128), "Edges of the strata by time between t0 and t1.", "days")
    class_raster: str | None = key(
        None, "Land classes as strata: uint8 or uint16 codes in any system, sampled at the nearest pixel.", "path"
    )
    class_names: CodeNames = key((), "Code: name of the classes of class_raster; empty = their codes.")
    dem_raster: str | None = key(
        None, "Heights for strata by slope and aspect; without it preprocess.dem.path, where source is search.", "path"
    )
