"""The stages: order, upstream, the configuration they read, weight. The only table of its kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from utils.workflow.schema import Conf, DatasetConf
from utils.workflow.schema_mosaic import Mosaic

Weight = Literal["light", "heavy", "network"]


def _always(conf: Conf) -> bool:
    return True


def _search(conf: Conf) -> bool:
    return conf.source == "search"


@dataclass(frozen=True)
class Stage:
    """One stage.

    upstream   stages whose outputs it reads (those that are not enabled are skipped)
    slice      dotted configuration keys that its result depends on
    without    keys of section preprocess that its result does not depend on
    external   dotted keys that name files or folders outside the work directory which it reads
    folders    under the work directory, that no other stage writes to while this one runs; {run}: each of train.runs; left
               out: what it writes, where that is one folder
    files      its files in folders that others write to at the same time, as patterns
    version    raised when the meaning of its results changes: makes older results stale
    """

    name: str
    summary: str
    reads: str
    writes: str
    upstream: tuple[str, ...] = ()
    slice: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    weight: Weight = "light"
    splittable: bool = False
    version: int = 1
    published: tuple[str, ...] = ()
    enabled: Callable[[Conf], bool] = _always


# Keys that change how fast a result comes, or that other stages read: no reason to make it again.
_ELSEWHERE = ("threads", "row_block", "multitemporal")
_S1_ONLY = (
    "s1_backend", "orbit", "orbit_dir", "polarisations", "noise", "border_noise", "flatten", "azimuth_spacing",
    "srgr_time", "resampling", "speckle", "incidence", "dem",
)  # fmt: skip
_S2_ONLY = (
    "s2_backend", "s2_bands", "cloud_classes", "cloud_dilate_m", "cloud_mask", "l1c_dir", "s2cloudless", "fmask",
)  # fmt: skip

_DOWNLOAD = (
    *(f"download.{name}" for name in ("link", "rank", "unpack", "orbits", "dem", "recheck_cloud")),
    "preprocess.dem.path",
)

# All of section dataset but how the sets are stored.
_DATASET = tuple(f"dataset.{name}" for name in DatasetConf.model_fields if name != "storage")

# All of section mosaic but what decides memory only.
_MOSAIC = tuple(f"mosaic.{name}" for name in Mosaic.model_fields if name != "row_block")

# What decides which pixels are burned, and how badly; evaluate reads no more of section burned.
_BURNED_CLASSES = ("burned.dndvi_edges", "burned.dnbr_edges", "burned.dndvi_burned", "burned.dnbr_burned")

_ALL = (
    Stage(
        "make_scene",
        "generate products of a synthetic scene",
        "-",
        "scene/",
        slice=("scene",),
        splittable=True,
        enabled=lambda c: c.scene.enabled,
    ),
    Stage(
        "find_images",
        "find clear Sentinel-2 pairs and the closest Sentinel-1 passes",
        "a catalogue",
        "search/pairs.json",
        upstream=("make_scene",),
        slice=("area", "dates", "search"),
        external=("search.archive", "area.geojson"),
        weight="network",
        published=("find_image",),
        enabled=_search,
        folders=("search",),
    ),
    Stage(
        "download",
        "fetch and verify the products of the pairs",
        "search/pairs.json",
        "raw/",
        upstream=("find_images",),
        slice=_DOWNLOAD,
        external=("preprocess.dem.path",),
        weight="network",
        published=("download_image", "download_images_from_s2name"),
        enabled=_search,
    ),
    Stage(
        "preprocess_s1",
        "Sentinel-1 to terrain-flattened gamma0 on the target grid",
        "raw/",
        "preprocessed/sentinel1/",
        upstream=("download",),
        slice=("area", "preprocess", "snap.version"),
        without=(*_ELSEWHERE, *_S2_ONLY),
        external=("preprocess.dem.geoid_grid", "preprocess.orbit_dir"),
        weight="heavy",
        splittable=True,
        version=2,
        published=("convert_sent1",),
        enabled=_search,
    ),
    Stage(
        "preprocess_s2",
        "Sentinel-2 to reflectance and clear mask on the target grid",
        "raw/",
        "preprocessed/sentinel2/",
        upstream=("download",),
        slice=("area", "preprocess", "snap.version", "dataset.s2_bands", "dataset.extra_bands"),
        without=(*_ELSEWHERE, *_S1_ONLY),
        external=("preprocess.l1c_dir",),
        weight="heavy",
        splittable=True,
        version=2,
        published=("convert_sent2",),
        enabled=_search,
    ),
    Stage(
        "import_data",
        "bring analysis-ready rasters into the layout",
        "your rasters",
        "preprocessed/, search/pairs.json",
        upstream=("make_scene",),
        slice=("import_data", "dataset.s2_bands", "dataset.extra_bands"),
        external=("import_data.root",),
        splittable=False,
        enabled=lambda c: c.source == "import",
        folders=("preprocessed", "search"),
    ),
    Stage(
        "multitemporal",
        "filter speckle over the dates of a track",
        "preprocessed/sentinel1/",
        "preprocessed/sentinel1_mt/",
        upstream=("find_images", "preprocess_s1", "import_data"),
        slice=("preprocess.multitemporal",),
        splittable=True,
        version=2,
        enabled=lambda c: c.preprocess.multitemporal.enabled,
    ),
    Stage(
        "tile",
        "cut rasters into tiles",
        "preprocessed/",
        "tiles/",
        upstream=("find_images", "preprocess_s1", "preprocess_s2", "import_data", "multitemporal"),
        slice=("tiling", "dataset.s2_bands", "dataset.extra_bands"),
        splittable=True,
    ),
    Stage(
        "build_dataset",
        "pair tiles into samples",
        "tiles/",
        "dataset/all/",
        upstream=("tile",),
        slice=(*_DATASET, "evaluate.changed_threshold", "split.block_tiles"),
        splittable=True,
        version=3,
        published=("tiling",),
    ),
    Stage(
        "split",
        "train, validation and test sets by place",
        "dataset/all/",
        "dataset/{train,val,test}/",
        upstream=("build_dataset",),
        slice=("split", "dataset.storage"),
        version=2,
        published=("split_dataset",),
        folders=("dataset/train", "dataset/val", "dataset/test", "dataset/shards"),
        files=("dataset/split.json",),
    ),
    Stage(
        "normalise",
        "fit the scalers on the train set",
        "dataset/train/",
        "norm/",
        upstream=("split",),
        slice=("normalise",),
    ),
    Stage(
        "train",
        "train the models",
        "dataset/{train,val}/, norm/",
        "runs/",
        upstream=("split", "normalise"),
        slice=("train",),
        external=("train.runs",),
        weight="heavy",
        published=("train_model",),
    ),
    Stage(
        "predict",
        "predict tiles, or whole scenes",
        "runs/, dataset/, preprocessed/",
        "pred/, stripes/",
        upstream=("build_dataset", "train"),
        slice=("predict",),
        weight="heavy",
        splittable=True,
        version=2,
        folders=("pred", "stripes"),
    ),
    Stage(
        "mosaic",
        "one image of the predictions, its composite with the observed t1, and their uncertainty",
        "pred/ or stripes/, preprocessed/",
        "mosaic/",
        upstream=("predict", "split"),
        slice=(*_MOSAIC, "report.max_px", "report.max_pairs", "report.synthetic"),
        version=2,
        published=("mosaic_predictions",),
        folders=("mosaic/{run}",),
    ),
    Stage(
        "mosaic_truth",
        "the same for the observed t1",
        "dataset/all/",
        "mosaic/truth/",
        upstream=("build_dataset", "split"),
        slice=("mosaic.dtype", "report.max_px", "report.max_pairs", "report.synthetic"),
        version=2,
        published=("mosaic_gt",),
    ),
    Stage(
        "indices",
        "index maps before and after",
        "mosaic/, preprocessed/",
        "maps/",
        upstream=("mosaic", "mosaic_truth"),
        slice=("burned.indices", "evaluate.truth_dir"),
        external=("evaluate.truth_dir",),
        version=2,
    ),
    Stage(
        "burned",
        "burned area and severity maps, hectares with intervals",
        "maps/, mosaic/, pred/, dataset/",
        "maps/",
        upstream=("predict", "mosaic", "split", "indices"),
        slice=("burned", "evaluate.truth_dir", "report.synthetic"),
        external=("evaluate.truth_dir",),
        version=3,
    ),
    Stage(
        "landclass",
        "land classes, and errors of severity by class, slope and aspect",
        "a class raster, heights, maps/",
        "landclass/",
        upstream=("indices", "burned"),
        slice=("landclass", "preprocess.dem.path", "report.synthetic", "report.max_px"),
        external=("landclass.class_raster", "landclass.dem", "preprocess.dem.path"),
    ),
    Stage(
        "change",
        "change maps without labels: PCA with k-means, VH with Otsu's threshold",
        "mosaic/, preprocessed/, dataset/",
        "change/",
        upstream=("mosaic", "mosaic_truth", "split"),
        slice=("change", "evaluate.truth_dir", "evaluate.changed_threshold", "report.synthetic", "report.max_px"),
        external=("evaluate.truth_dir",),
    ),
    Stage(
        "evaluate",
        "scores beside the baselines",
        "pred/, dataset/",
        "reports/evaluate.json",
        upstream=("predict", "split", "normalise"),
        slice=("evaluate", *_BURNED_CLASSES, "report.synthetic", "train.runs", "preprocess.dem.path"),
        external=("evaluate.truth_dir", "evaluate.class_raster", "evaluate.dem_raster", "preprocess.dem.path"),
        version=3,
        folders=("reports/scores",),
        files=("reports/*",),
    ),
    Stage(
        "compare",
        "pictures side by side",
        "mosaic/, preprocessed/",
        "reports/compare/",
        upstream=("mosaic", "mosaic_truth"),
        slice=("evaluate.truth_dir", "report"),
        external=("evaluate.truth_dir",),
    ),
    Stage(
        "report",
        "one page with maps, scores and provenance",
        "all of the above",
        "reports/report.html",
        upstream=("burned", "evaluate", "compare"),
        slice=("report",),
        files=("reports/report.html",),
    ),
)

STAGES: dict[str, Stage] = {stage.name: stage for stage in _ALL}


def folders_of(stage: Stage, conf: Conf) -> list[str]:
    """The folders of a stage under the work directory, {run} replaced by the name of each run."""
    folders = stage.folders or ((stage.writes.rstrip("/"),) if stage.writes.endswith("/") else ())
    names = [run.name for run in conf.train.runs] or [""]
    return list(dict.fromkeys(folder.format(run=name) for folder in folders for name in names))


def upstream_of(name: str, conf: Conf) -> list[str]:
    """Enabled stages that `name` reads from, in order."""
    return [up for up in STAGES[name].upstream if STAGES[up].enabled(conf)]


def chain(until: str, conf: Conf) -> list[str]:
    """Enabled stages that `until` needs, itself last, in table order."""
    wanted: set[str] = set()

    def visit(name: str) -> None:
        if name not in wanted and STAGES[name].enabled(conf):
            wanted.add(name)
            for up in STAGES[name].upstream:
                visit(up)

    visit(until)
    return [name for name in STAGES if name in wanted]
