"""Configuration of the products of a pair: composite, its correction, its uncertainty (stages mosaic, mosaic_truth)."""

from __future__ import annotations

from typing import Literal

from utils.workflow.schema_base import Section, key


class Mosaic(Section):
    """Image and composite of a pair."""

    dtype: Literal["int16", "float32"] = key(
        "int16", "How reflectance and sigma are stored: DN = value / 0.0001 with nodata -32768, or as it is with NaN."
    )
    feather_px: int = key(5, "Width of the fade from observed to simulated around cloud and shadow.", "pixels", ge=0)
    gain: Literal["none", "offset", "gain_offset"] = key(
        "offset",
        "Correction of each band of the simulated part, fitted on clear pixels near the hidden ones; a band takes it only "
        "where it lowers the squared error on clear blocks left out of the fit by more than its standard error.",
    )
    gain_radius_m: float = key(5000.0, "Clear pixels this near to hidden ones are used.", "m", gt=0)
    gain_min_px: int = key(1000, "Fewest such pixels; with fewer there is no correction.", "pixels", ge=100)
    sensor_sigma: float = key(0.003, "Standard deviation of observed reflectance.", "reflectance", ge=0)
    max_sigma: float = key(
        0.05, "A composite pixel with a larger standard deviation in any band is marked in abstain.tif.",
        "reflectance", gt=0,
    )  # fmt: skip
    row_block: int = key(256, "Rows held in memory at once; the files are the same for any number.", "rows", ge=16)
