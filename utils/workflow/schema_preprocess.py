"""Sections preprocess and snap of the configuration; utils.workflow.schema hands them on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from utils.workflow.schema_base import Classes, Pols, S2Bands, Section, key


class Dem(Section):
    """Heights for the native Sentinel-1 engine."""

    path: str | None = key(None, "Height raster; {scene} for the generated one.", "path")
    vertical: Literal["ellipsoid", "EGM96", "EGM2008"] | None = key(
        None, "Vertical datum; required unless the file states it."
    )
    geoid_grid: str | None = key(None, "Geoid undulation raster, required for orthometric heights.", "path")
    missing: Literal["error", "sea"] = key("error", "What a hole in the heights means.")


class Speckle(Section):
    """Speckle filter, in radar geometry on power."""

    filter: Literal["none", "lee", "refined_lee", "lee_sigma"] = key("lee_sigma", "Filter.")
    window: int = key(7, "Window side.", "pixels", ge=3, le=15)
    sigma: float = key(0.9, "Share of the gamma law kept by lee_sigma.", "fraction", gt=0, lt=1)
    enl: Annotated[float, Field(gt=0)] | Literal["auto"] = key(
        4.4, "Equivalent number of looks; auto: estimated from the most homogeneous parts of each image."
    )


class Multitemporal(Section):
    """Speckle filter over all dates of a track (stage multitemporal)."""

    enabled: bool = key(False, "Filter over the dates of a track; needs speckle.filter: none.")
    window: int = key(7, "Window side of the local means, odd.", "pixels", ge=3, le=15)


class CloudClasses(Section):
    """Meaning of the scene classes (SCL) in cloud.tif; a class that is not named is clear, 0 is always no data."""

    cloud: Classes = key((8, 9, 10), "Classes that are cloud: medium, high probability, thin cirrus.", "SCL class")
    shadow: Classes = key((3,), "Classes that are cloud shadow.", "SCL class")
    snow: Classes = key((11,), "Classes that are snow.", "SCL class")
    defective: Classes = key((1,), "Classes without a usable measurement.", "SCL class")


class S2Cloudless(Section):
    """Cloud probability of s2cloudless; it knows cloud alone, shadow and snow stay those of the scene classes."""

    resolution_m: Literal[20, 60] = key(60, "Pixel size at which cloud is looked for.", "m")
    threshold: float = key(0.4, "Cloud above this probability.", "fraction", gt=0, lt=1)
    average_px: int = key(4, "Radius of the disk that averages the probability; 0 = none.", "pixels", ge=0, le=50)
    dilate_px: int = key(2, "Radius of the disk by which cloud grows then; 0 = none.", "pixels", ge=0, le=50)


class Fmask(Section):
    """python-fmask, run as a separate program."""

    program: str = key("fmask_sentinel2Stacked", "Program, by name or path.", "path")
    cloud_buffer_m: float = key(150.0, "Cloud grows by this.", "m", ge=0)
    shadow_buffer_m: float = key(300.0, "Shadow grows by this.", "m", ge=0)
    cloud_probability: float = key(20.0, "Cloud above this probability.", "%", ge=0, le=100)
    min_cloud_px: int = key(0, "Smaller clouds are dropped.", "pixels", ge=0)
    parallax_test: bool = key(False, "Tell bright ground from cloud by parallax.")


class Preprocess(Section):
    """From products to aligned rasters (stages preprocess_s1, preprocess_s2)."""

    backend: Literal["native", "snap"] = key("native", "Engine for both sensors.")
    s1_backend: Literal["native", "snap"] | None = key(None, "Engine for Sentinel-1; empty = backend.")
    s2_backend: Literal["native", "snap"] | None = key(
        None, "Engine for Sentinel-2; empty = backend. SNAP brings nothing where only 10 m bands are wanted."
    )
    orbit: Literal["annotation", "poeorb"] = key("annotation", "Orbit source; poeorb never falls back silently.")
    orbit_dir: str | None = key(None, "Folder with more orbit files (*.EOF), besides those that were fetched.", "path")
    polarisations: Pols | Literal["available"] = key(
        ("VV", "VH"), "Polarisations to process; available: those that a product holds complete."
    )
    noise: bool = key(True, "Subtract thermal noise.")
    border_noise: bool = key(True, "Mask border noise of old products.")
    flatten: bool = key(True, "Radiometric terrain flattening.")
    azimuth_spacing: Literal["ground", "nominal"] = key(
        "ground", "Reference azimuth spacing of the flattening; nominal only for comparisons."
    )
    srgr_time: Literal["linear", "nearest"] = key("linear", "Interpolation of slant-to-ground polynomials in time.")
    resampling: Literal["bilinear", "nearest"] = key("bilinear", "Radar to map interpolation, on power.")
    speckle: Speckle = key(Speckle(), "Speckle filter.")
    multitemporal: Multitemporal = key(Multitemporal(), "Speckle filter over the dates of a track.")
    incidence: bool = key(False, "Also write the local incidence angle.")
    dem: Dem = key(Dem(), "Heights.")
    verify: Literal["size", "md5", "off"] = key("size", "How files inside a product are checked against its manifest.")
    min_overlap: float = key(0.01, "Smallest share of the area that a product must cover.", "fraction", ge=0, le=1)
    s2_bands: S2Bands = key((), "Sentinel-2 bands to write, those of 20 m interpolated; empty = as section dataset.")
    cloud_classes: CloudClasses = key(CloudClasses(), "Scene classes of the clear mask.")
    cloud_dilate_m: float = key(60.0, "Cloud and shadow of the scene classes are grown by this.", "m", ge=0, le=2000)
    cloud_mask: Literal["scl", "s2cloudless", "fmask"] = key(
        "scl", "Where cloud comes from: scene classes, or a detector that needs the L1C product of the same datatake."
    )
    l1c_dir: str | None = key(None, "Folder of L1C products for the detectors, besides raw/.", "path")
    s2cloudless: S2Cloudless = key(S2Cloudless(), "Settings of cloud_mask s2cloudless.")
    fmask: Fmask = key(Fmask(), "Settings of cloud_mask fmask.")
    threads: int = key(0, "Threads; 0 = all that this process may use.", ge=0)
    row_block: int = key(256, "Map rows processed at once: memory and speed, never the result.", "pixels", ge=16)
    quicklook: bool = key(True, "Write a PNG beside each product.")

    @property
    def sar_folder(self) -> str:
        """Folder below preprocessed/ that later stages read gamma0 from."""
        return "sentinel1_mt" if self.multitemporal.enabled else "sentinel1"

    def engine(self, sensor: Literal["s1", "s2"]) -> str:
        """The engine of a sensor: native or snap."""
        return (self.s1_backend if sensor == "s1" else self.s2_backend) or self.backend


class Snap(Section):
    """The SNAP engine (backend snap). Nothing here changes pixels, except the version."""

    gpt: str | None = key(None, "The program gpt; empty = SNAP_GPT, then gpt on PATH.", "path")
    version: int | None = key(None, "Major version that gpt must have; empty = any from 10 on.", ge=10, le=15)
    heap: str | None = key(
        None, "Heap of Java, such as 24G; empty = 0.75 of the memory of the job.", pattern=r"^\d+(\.\d+)?[KMG]$"
    )
    cache: str | None = key(
        None, "Tile cache, below 0.75 of the heap; empty = half of the heap.", pattern=r"^\d+(\.\d+)?[KMG]$"
    )
    userdir: str | None = key(None, "Folder for the user directories of the runs, one each; empty = TMPDIR.", "path")
    auxdata: str | None = key(None, "Shared auxdata folder of SNAP; it is linked, never written.", "path")
    keep_dimap: bool = key(False, "Keep what gpt wrote after it was adopted.")
