"""Configuration keys of import_data; schema.py says what a key is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from utils.workflow.schema_base import Direction, Section, Strings, as_tuple, key


class ImportItem(Section):
    """One acquisition of one sensor to import."""

    date: str = key("", "Date id that this acquisition belongs to.")
    site: str | None = key(None, "Place, such as one of several fires; empty = import_data.site.")
    sensor: Literal["sentinel1", "sentinel2"] = key("sentinel1", "Sensor.")
    name: str | None = key(None, "Product name; empty = made from the date id.")
    files: Strings = key(
        (), "Rasters in band order; one multi-band file or one file a band. NetCDF as file.nc:variable.", "path"
    )
    bands: Strings = key((), "Band name of each input band, in order; a dash skips one.")
    time_index: int | None = key(None, "Index of the time step of a netCDF variable.", ge=0)
    acquired: str | None = key(None, "Acquisition time, ISO 8601 UTC.")
    relative_orbit: int | None = key(None, "Relative orbit of the pass.", ge=1, le=175)
    direction: Direction | None = key(None, "Orbit direction of the pass.")


class ImportData(Section):
    """Bringing analysis-ready rasters into the layout (stage import_data)."""

    root: str | None = key(None, "Folder that relative input paths start from; ${S2CR_DATA} works.", "path")
    layout: Literal["items", "belgium", "finland", "two_dates", "simulator"] = key(
        "items", "Explicit items, the layout of a known public sample, or that of generated scenes."
    )
    site: str = key("site", "Name of the place.")
    items: Annotated[tuple[ImportItem, ...], BeforeValidator(as_tuple)] = key((), "Acquisitions, for layout items.")
    s1_unit: Literal["db", "power"] = key("db", "Unit of Sentinel-1 input.")
    s1_nodata: float | None = key(None, "Value of missing Sentinel-1 pixels besides NaN.")
    s1_scale: float = key(1.0, "Input value times this is in s1_unit.")
    s2_scale: float = key(0.0001, "Reflectance = (value + offset) times this.")
    s2_offset: float = key(0.0, "Added to the digital number first.", "DN")
    s2_nodata: float | None = key(0.0, "Value of missing Sentinel-2 pixels besides NaN; empty = none.")
    cloud_band: str | None = key(None, "Band of the optical input that holds cloud probability or SCL classes.")
    cloud_kind: Literal["scl", "probability", "codes"] = key("scl", "Meaning of cloud_band.")
    cloud_threshold: float = key(20.0, "Cloud from this probability on.", "%", ge=0, le=100)
    cloud_dilate_m: float = key(0.0, "Cloud and shadow grow by this distance.", "m", ge=0)
    s1_average: int = key(
        1, "Up to this many acquisitions of one track around a date are averaged in linear power.", "passes", ge=1
    )
    min_clear: float = key(0.0, "Dates with a smaller clear share are left out.", "fraction", ge=0, le=1)
    pairs: Literal["forward", "both"] = key("forward", "Only t0 before t1, or both orders of each pair.")
    min_gap_days: float = key(0.0, "Smallest distance of the two dates of a pair.", "days", ge=0)
    max_pairs: int | None = key(None, "Keep at most this many pairs, earliest first.", ge=1)
    epsg: int | None = key(None, "Grid of input without georeference.", "EPSG code")
    pixel_m: float = key(10.0, "Pixel size of input without georeference.", "m", gt=0)
    direction: Direction | None = key(
        None, "Which Sentinel-1 pass to take where the input holds both (layout finland)."
    )
    relative_orbit: int | None = key(
        None,
        "Only this Sentinel-1 track (layout belgium); empty = the track closest to the optical dates.",
        ge=1,
        le=175,
    )
