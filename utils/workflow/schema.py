"""Every configuration key: type, default, unit and one sentence. The only place that knows them all.

Strict pydantic models: an unknown key, a wrong type or a non-finite number is an error. `docs/config.md` and
`confs/default.yaml` are generated from here; sections of their own modules: schema_preprocess, schema_import,
schema_mosaic (composite), schema_maps, schema_evaluate, schema_hpc (batch jobs).
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import BeforeValidator, field_validator

from utils.workflow.schema_base import Direction, Floats, Integers, Pols, Ratio, Section, Strings, as_tuple, key
from utils.workflow.schema_evaluate import Evaluate
from utils.workflow.schema_hpc import Hpc
from utils.workflow.schema_import import ImportData
from utils.workflow.schema_maps import Burned, Change, Landclass
from utils.workflow.schema_mosaic import Mosaic
from utils.workflow.schema_preprocess import Dem, Preprocess, Snap, Speckle

__all__ = ["Dem", "Floats", "Hpc", "Integers", "Preprocess", "Ratio", "Section", "Snap", "Speckle", "Strings", "key"]


class Scene(Section):
    """Generated products for the demo and the tests (stage make_scene)."""

    enabled: bool = key(False, "Generate synthetic products before the search.")
    form: Literal["products", "rasters"] = key(
        "products",
        "products: one scene as SAFE products, for the whole chain. rasters: many scenes as preprocessing would give them, "
        "for training; import_data.layout simulator reads them.",
    )
    scenes: int = key(
        1, "Number of scenes, for form rasters; each has a seed and 0 to 4 fires of its own.", "scenes", ge=1, le=1000
    )
    dir: str = key("scene", "Folder of the generated scene; relative to the work directory.", "path")
    seed: int = key(20191106, "Seed of everything random in the scene.", ge=0)
    size_px: int = key(1500, "Width and height of the area of interest.", "10 m pixels", ge=128, le=5490)
    epsg: int = key(32755, "UTM zone of the scene.", "EPSG code")
    origin: Floats = key(
        (700000.0, 6100000.0), "Upper-left outer corner of the area; multiples of 20.", "m", min_length=2, max_length=2
    )
    fires: int = key(3, "Number of fires between the dates.", ge=0, le=8)
    cloud_fraction: float = key(0.18, "Share of the t1 image under cloud.", "fraction", ge=0, le=0.9)
    relief_m: float = key(450.0, "Height range of the terrain.", "m", ge=0, le=3000)
    speckle: bool = key(True, "Correlated speckle in the Sentinel-1 products; off only for radiometric tests.")
    thermal_noise: bool = key(True, "Add thermal noise power to the Sentinel-1 digital numbers.")
    misregistration_px: float = key(0.3, "Random shift between the two optical dates.", "10 m pixels", ge=0, le=2)
    burn_vh_db: float = key(
        -2.0, "Change of VH over severe burns, before volume removal is dry-weighted.", "dB", ge=-6, le=0
    )
    confusers: Strings = key(
        ("rain", "harvest", "curing", "logging", "understorey", "sun", "haze", "noise"),
        "Changes between the dates that are not fire; leave one out to switch it off.",
    )
    decoys: bool = key(True, "Add products that the search must refuse.")


class Area(Section):
    """Area of interest and target grid."""

    geojson: str | None = key(
        None, "Polygon in EPSG:4326; relative to the repository, or {scene} for the generated area.", "path"
    )
    epsg: int | None = key(None, "UTM zone of the target grid; empty = from the area.", "EPSG code")
    pixel_m: float = key(10.0, "Pixel size of the target grid.", "m", gt=0)


class DateRange(Section):
    """Half-open search window in UTC."""

    start: dt.date | None = key(None, "First day.", "UTC date")
    end: dt.date | None = key(None, "Day after the last day.", "UTC date")


class Dates(Section):
    """The two dates."""

    t0: DateRange = key(DateRange(), "Window of the clear image before.")
    t1: DateRange = key(DateRange(), "Window of the date to simulate.")


class Endpoints(Section):
    """Addresses of the services; change them for a mirror or a test server."""

    sara: str = key("https://copernicus.nci.org.au/sara.server/1.0/api/collections", "Australasian hub.", "URL")
    cdse_catalogue: str = key("https://catalogue.dataspace.copernicus.eu/odata/v1", "Copernicus OData.", "URL")
    cdse_download: str = key("https://download.dataspace.copernicus.eu/odata/v1", "Copernicus downloads.", "URL")
    cdse_identity: str = key(
        "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token",
        "Copernicus tokens.",
        "URL",
    )
    stac: str = key("https://earth-search.aws.element84.com/v1", "STAC API of provider stac.", "URL")
    planetary_sas: str = key(
        "https://planetarycomputer.microsoft.com/api/sas/v1/token", "Signing of Azure assets.", "URL"
    )
    orbits: str = key("https://s1-orbits.s3.amazonaws.com", "Open bucket of orbit files.", "URL")
    dem_30: str = key("https://copernicus-dem-30m.s3.amazonaws.com", "Open bucket of GLO-30 tiles.", "URL")
    dem_90: str = key("https://copernicus-dem-90m.s3.amazonaws.com", "Open bucket of GLO-90 tiles.", "URL")
    gee: str | None = key(None, "Earth Engine API; empty = Google's own.", "URL")


class Search(Section):
    """Finding products (stage find_images)."""

    provider: Literal["local", "gee", "sara", "cdse", "stac"] = key(
        "local", "Catalogue to ask; local searches a folder of SAFE products."
    )
    download_from: Literal["local", "sara", "cdse"] | None = key(
        None, "Who serves the bytes; empty = the provider (gee and stac serve no archives: name sara or cdse)."
    )
    endpoints: Endpoints = key(Endpoints(), "Addresses of the services.")
    archive: str | None = key(
        None,
        "For provider local: folder of SAFE folders and zips, or catalog.json of a static STAC catalogue; {scene} for the generated archive.",
        "path",
    )
    max_gap_days: float = key(
        6.0, "Largest distance in time between Sentinel-1 and Sentinel-2 at either date.", "days", gt=0
    )
    max_cloud_aoi: float = key(1.0, "Largest cloud cover over the area at t0.", "% of valid pixels", ge=0, le=100)
    max_cloud_aoi_t1: float = key(
        100.0, "Largest cloud cover over the area at t1, the date to simulate.", "% of valid pixels", ge=0, le=100
    )
    max_cloud_tile: float = key(
        80.0, "Prefilter on the tile's own cloud figure; 100 switches it off.", "%", ge=0, le=100
    )
    coverage: float = key(0.999, "Share of the area that a pass and a scene must cover.", "fraction", gt=0, le=1)
    edge_margin_m: float = key(1000.0, "The area is grown by this before Sentinel-1 coverage is measured.", "m", ge=0)
    orbit: int | None = key(None, "Only this relative orbit.", ge=1, le=175)
    direction: Direction | None = key(None, "Only this orbit direction.")
    pols: Pols = key(("VV", "VH"), "Required polarisations.")
    rank_by: Literal["gap", "cloud"] = key("gap", "First ranking term of the pairs.")
    limit: int = key(1, "Number of ranked pairs kept.", ge=1)
    s2_t0: Strings = key((), "Fixed Sentinel-2 products at t0; only Sentinel-1 is searched.")
    s2_t1: Strings = key((), "Fixed Sentinel-2 products at t1.")
    s2_level: Literal["L2A", "L1C"] = key("L2A", "Level of the Sentinel-2 products.")
    same_platform: Literal["prefer", "require", "any"] = key("prefer", "One Sentinel-1 platform at both dates.")
    exact_names: bool = key(False, "Refuse a reprocessed product in place of a fixed name.")
    cloud_method: Literal["auto", "cloud_score_plus", "s2cloudless", "sen2cloudfree", "scl"] = key(
        "auto", "How provider gee measures cloud over the area; auto tries them in this order."
    )
    gee_project: str | None = key(None, "Google Cloud project for Earth Engine.")


class Download(Section):
    """Fetching products (stage download)."""

    link: Literal["copy", "hardlink", "symlink"] = key("copy", "How local products enter raw/; all are verified.")
    reserve_gib: float = key(1.0, "Disk space to leave free.", "GiB", ge=0)
    jobs: int = key(4, "Files fetched at once; services allow 4 connections.", ge=1, le=4)
    rank: int | Literal["all"] = key(1, "Which ranked pair to fetch, or all.")
    unpack: bool = key(False, "Unpack zips to .SAFE folders.")
    orbits: bool = key(True, "Fetch precise orbits of Sentinel-1 products from online providers.")
    dem: bool = key(
        True, "Fetch GLO-30 tiles over the area where preprocess.dem.path is empty and the provider is online."
    )
    recheck_cloud: bool = key(True, "Measure cloud over the area in a fetched product where the search could not.")
    accept_stale_checksum: bool = key(
        False, "Keep a file whose published checksum two identical, intact downloads contradict."
    )


class Tiling(Section):
    """Cutting rasters into tiles (stage tile)."""

    size_px: int = key(256, "Tile side.", "pixels", ge=8)
    overlap_px: int = key(0, "Overlap of neighbouring tiles.", "pixels", ge=0)


class DatasetConf(Section):
    """Pairing tiles into samples (stage build_dataset)."""

    dates: Strings = key(
        ("t0", "t1"), "Dates of a sample in order, t0, t1 and so on; the last one is simulated.", min_length=2
    )
    s2_bands: Strings = key(("B04", "B03", "B02", "B08"), "Optical bands in the published order R, G, B, NIR.")
    extra_bands: Strings = key((), "Further L2A bands, such as B12 for NBR.")
    min_nonzero: float = key(0.7, "Smallest share of non-zero values in any band.", "fraction", ge=0, le=1)
    max_cloud_px: int = key(20, "Most cloud and shadow pixels in S2(t0) and in the label.", "pixels", ge=0)
    keep_clouds: bool = key(False, "Keep cloudy labels with their mask; loss and scores ignore masked pixels.")
    keep_clouds_t0: bool = key(
        False, "Keep tiles with a cloudy optical input too, with its mask: they only train, val and test get none."
    )
    min_clear: float = key(
        0.3, "With keep_clouds: smallest clear share of an image that still trains.", "fraction", ge=0, le=1
    )
    min_valid: float = key(0.95, "Smallest share of pixels with data in all inputs.", "fraction", ge=0, le=1)
    max_sar_filled: float = key(0.05, "Largest share of non-positive SAR pixels.", "fraction", ge=0, le=1)
    allow_mixed_orbit: bool = key(False, "Accept S1 dates of different tracks; recorded in the provenance.")
    storage: Literal["tiles", "shards", "both"] | None = key(
        None, "How train, val and test are stored: GeoTIFF tiles, shards, or both; empty = both from 2,000 samples on."
    )

    @field_validator("dates")
    @classmethod
    def _counted(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        expected = tuple(f"t{number}" for number in range(len(value)))
        if value != expected:
            raise ValueError(f"dates must be [{', '.join(expected)}]: counted from t0")
        return value

    @property
    def optical(self) -> tuple[str, ...]:
        """All optical bands in channel order."""
        return self.s2_bands + self.extra_bands


class Split(Section):
    """Train, validation and test sets by place (stage split)."""

    method: Literal["blocks", "halves", "event"] = key(
        "blocks", "Spatial blocks, halves with a guard strip, or whole events (at least 3)."
    )
    event_by: Literal["site", "t1"] = key(
        "site", "What an event is for method event: a site (one fire, one scene), or a date t1."
    )
    block_tiles: int = key(4, "Block side.", "tiles", ge=1)
    buffer_m: float = key(2560.0, "Tiles closer than this to another set are dropped.", "m", ge=0)
    shares: Floats = key((0.80, 0.05, 0.15), "Train, validation, test.", "fraction", min_length=3, max_length=3)
    seed: int = key(2, "Seed of the block order.", ge=0)
    holdout_dates: Strings = key((), "Date ids whose pairs (as t1) are kept for test only.")
    date_guard_days: int = key(
        15, "Strict split: training dates this near to a test t1 are dropped; a group of test dates spans no more.",
        "days", ge=0,
    )  # fmt: skip


class Normalise(Section):
    """Scaler of the network inputs (stage normalise)."""

    mode: Literal["standard", "fixed"] = key("fixed", "Default mode; models may ask for the other.")
    s1_scale: Ratio = key(0.2, "Factor after the z-score of SAR (published 1/5).")
    s2_scale: Ratio = key(1 / 7, "Factor after the z-score of optical bands (published 1/7).")
    fill_k: int = key(5, "Neighbours that replace a non-positive SAR pixel.", ge=1)


class Run(Section):
    """One training run."""

    name: str = key("", "Name of the run and of its folder.", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    model: str = key("", "Model YAML; relative to the repository.", "path")
    train: str = key("", "Training YAML; relative to the repository.", "path")


class Training(Section):
    """Training runs (stage train)."""

    runs: Annotated[tuple[Run, ...], BeforeValidator(as_tuple)] = key(
        (Run(name="resunet", model="GAN_confs/model_resunet.yaml", train="GAN_confs/train_resunet.yaml"),),
        "Runs in order; the first is the one that maps and pictures show.",
    )


class Predict(Section):
    """Prediction (stage predict)."""

    method: Literal["tiles", "scene"] = key("tiles", "Samples one by one, or whole scenes by blended windows.")
    set: Literal["all", "train", "val", "test"] = key("all", "Dataset folder to predict.")
    batch_size: int = key(8, "Tiles a batch; windows too, where there is a GPU.", ge=1)
    pairs: Strings = key((), "Only these pair ids; empty = all.")
    window_px: int | None = key(
        None, "Side of a window of method scene; empty = that of the run's tiles.", "pixels", ge=8
    )
    stride_px: int | None = key(None, "Distance of neighbouring windows; empty = half a window.", "pixels", ge=1)
    stripe_rows: int = key(2048, "Rows of one item and file of method scene.", "pixels", ge=16)
    runtime: Literal["tf", "tflite", "onnx"] = key("tf", "What runs networks; exports are compared with tf first.")


class Strict(Section):
    """Strict split of one small place: unseen ground and unseen season, both ways (./s2cr strict)."""

    site: str | None = key(None, "Place, where import_data holds several; empty = the first.")
    guard_px: int = key(8, "Width of the empty strip between the halves.", "pixels", ge=0)
    block_px: int = key(16, "Side of the blocks that the bootstrap draws.", "pixels", ge=1)
    min_clear: float = key(0.97, "Sure share from which a date is tested.", "fraction", ge=0, le=1)
    partly_clear: float = key(0.6, "Clear share above which other dates still train.", "fraction", ge=0, le=1)
    max_blue: float = key(0.10, "Largest mean B02 of their clear pixels: haze is brighter.", "reflectance", gt=0)
    dilate_px: int = key(6, "Radius by which cloud and shadow grow.", "pixels", ge=0)
    score: Literal["clear", "all"] = key("clear", "Pixels of tested dates that count: clear at both, or all with data.")
    seeds: Integers = key((1,), "Seeds; figures are of the pooled error of all of them.", min_length=1)
    pixels: int = key(60000, "Pixels that a model sees.", "pixels", ge=100)
    bag_pixels: int = key(20000, "Pixels that each member of a bag sees.", "pixels", ge=100)
    inner_pixels: int = key(10000, "The same for the fits behind gate and shrink factor.", "pixels", ge=100)
    networks: Strings = key((), "Networks of GAN_confs that are trained on every fold as well, published_gan_tiny say.")
    network_steps: int | None = key(None, "Steps of each of their trainings; empty = those of its train.yaml.", ge=1)
    network_px: int = key(56, "Largest side of their training crops and windows of prediction.", "pixels", ge=8)
    network_seeds: Integers = key((1,), "Seeds of their trainings.", min_length=1)


class Report(Section):
    """The page to look at (stage report)."""

    title: str = key("Simulated cloud-free Sentinel-2", "Title of the page.")
    synthetic: bool = key(False, "State in every figure and table that the data are generated.")
    max_px: int = key(900, "Largest side of an embedded picture.", "pixels", ge=100)
    detail_px: int = key(
        480, "Side of the close look at full resolution where most has changed, in scenes larger than max_px; 0 = none.",
        "pixels", ge=0,
    )  # fmt: skip
    max_mb: float = key(15.0, "Size of the page; pictures are compressed more where it would be larger.", "MB", gt=0)
    max_pairs: int = key(
        3, "Pairs that get mosaics, maps and pictures, test pairs first; scores always cover all.", ge=1
    )


class Conf(Section):
    """One configuration: one work directory."""

    work: str = key("work/default", "Work directory; relative to the repository.", "path")
    source: Literal["search", "import"] = key(
        "search", "Where rasters come from: search and preprocessing, or import_data."
    )
    max_failed: int = key(0, "Failed items that a stage tolerates.", "items", ge=0)
    scene: Scene = key(Scene(), "Generated scene.")
    area: Area = key(Area(), "Area of interest.")
    dates: Dates = key(Dates(), "Dates.")
    search: Search = key(Search(), "Search.")
    download: Download = key(Download(), "Download.")
    preprocess: Preprocess = key(Preprocess(), "Preprocessing.")
    snap: Snap = key(Snap(), "The SNAP engine.")
    import_data: ImportData = key(ImportData(), "Import.")
    tiling: Tiling = key(Tiling(), "Tiles.")
    dataset: DatasetConf = key(DatasetConf(), "Samples.")
    split: Split = key(Split(), "Split.")
    normalise: Normalise = key(Normalise(), "Normalisation.")
    train: Training = key(Training(), "Training.")
    predict: Predict = key(Predict(), "Prediction.")
    mosaic: Mosaic = key(Mosaic(), "Image and composite.")
    burned: Burned = key(Burned(), "Burned area.")
    landclass: Landclass = key(Landclass(), "Land classes.")
    change: Change = key(Change(), "Change detection.")
    evaluate: Evaluate = key(Evaluate(), "Evaluation.")
    strict: Strict = key(Strict(), "Strict split.")
    report: Report = key(Report(), "Report.")
    hpc: Hpc = key(Hpc(), "Batch system.")
