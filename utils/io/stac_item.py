"""STAC item of the images of a pair: what they are, where, when, in which units, and from what.

STAC 1.1.0 with the extensions projection 2.0.0, raster 1.1.0, eo 1.1.0 and file 2.1.0. Links are relative, so that a work
directory can be moved.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osgeo import osr

from utils.io import raster
from utils.science.grid import Grid
from utils.workflow.files import atomic_json

STAC_VERSION = "1.1.0"
EXTENSIONS = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("projection/v2.0.0", "raster/v1.1.0", "eo/v1.1.0", "file/v2.1.0")
)
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
ATTRIBUTION = "contains modified Copernicus Sentinel data"
_CHUNK = 1 << 20
_EDGE_POINTS = 8  # of the outline, an edge: straight lines on the grid are not straight in degrees
# eo:common_name, central wavelength in micrometres of Sentinel-2
_EO: dict[str, tuple[str, float]] = {
    "B02": ("blue", 0.492), "B03": ("green", 0.560), "B04": ("red", 0.665), "B05": ("rededge", 0.704),
    "B06": ("rededge", 0.741), "B07": ("rededge", 0.783), "B08": ("nir", 0.833), "B8A": ("nir08", 0.865),
    "B11": ("swir16", 1.614), "B12": ("swir22", 2.202),
}  # fmt: skip
_TITLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "prediction": ("Simulated surface reflectance of t1; an estimate, no observation", ("data", "reflectance")),
    "composite": ("Observed where clear, simulated under cloud and shadow", ("data", "reflectance")),
    "source": ("0 observed, 1 simulated, 2 feathered, 255 nodata", ("metadata", "data-mask")),
    "sigma": ("Standard deviation of the composite, or of the prediction where there is none", ("metadata",)),
    "prediction_sigma": ("Standard deviation of the prediction", ("metadata",)),
    "abstain": ("1 do not use, 0 use, 255 nodata", ("metadata", "data-mask")),
}


@dataclass(frozen=True)
class Facts:
    """What an item says besides its files.

    t0, t1    days or times, ISO 8601; t1 is the time of the images, a day means its first second
    sources   name of a product -> path of a JSON file about it
    more      further properties, with a prefix
    """

    id: str
    t0: str
    t1: str
    description: str
    grid: Grid
    sources: Mapping[str, Path]
    synthetic: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)


def instant(text: str) -> str:
    """RFC 3339 time in UTC of an ISO day or time without zone."""
    day, _, clock = text.removesuffix("Z").partition("T")
    return f"{day}T{(clock or '00:00:00').split('+')[0]}Z"


def checksum(path: Path) -> str:
    """Multihash of a file: sha2-256 (0x12), 32 bytes (0x20), digest, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return f"1220{digest.hexdigest()}"


def outline(grid: Grid) -> dict[str, Any] | None:
    """GeoJSON polygon of a grid in longitude and latitude, counter-clockwise; None without a coordinate system."""
    if not grid.epsg:
        return None
    west, south, east, north = grid.bounds
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    points = [
        (x0 + (x1 - x0) * step / _EDGE_POINTS, y0 + (y1 - y0) * step / _EDGE_POINTS)
        for (x0, y0), (x1, y1) in itertools.pairwise(corners)
        for step in range(_EDGE_POINTS)
    ]
    source, target = osr.SpatialReference(), osr.SpatialReference()
    source.ImportFromEPSG(grid.epsg)
    target.ImportFromEPSG(4326)
    for reference in (source, target):  # GDAL 3 would otherwise take latitude first
        reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    ring = [
        [round(p[0], 7), round(p[1], 7)] for p in osr.CoordinateTransformation(source, target).TransformPoints(points)
    ]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def build(folder: Path, facts: Facts, images: Mapping[str, Path], pictures: Mapping[str, Path]) -> dict[str, Any]:
    """The item as a dictionary.

    folder    where item.json will lie; hrefs are relative to it
    images    asset name (prediction, composite, source, sigma, prediction_sigma, abstain) -> GeoTIFF, read for its bands
    pictures  asset name -> PNG
    """
    geometry = outline(facts.grid)
    item: dict[str, Any] = {
        "type": "Feature", "stac_version": STAC_VERSION, "stac_extensions": list(EXTENSIONS), "id": facts.id,
        "geometry": geometry,
    }  # fmt: skip
    if geometry is not None:
        lon, lat = zip(*geometry["coordinates"][0], strict=True)
        item["bbox"] = [min(lon), min(lat), max(lon), max(lat)]
    note = "Synthetic data of a generated scene." if facts.synthetic else f"It {ATTRIBUTION}."
    properties: dict[str, Any] = {
        "datetime": instant(facts.t1), "description": f"{facts.description} {note}", **_resolution(facts.grid, "gsd"),
        "s2cr:datetime_t0": instant(facts.t0), "s2cr:synthetic": facts.synthetic, **facts.more, **_projection(facts.grid),
    }  # fmt: skip
    if not facts.synthetic:
        properties |= {"constellation": "sentinel-2", "instruments": ["msi", "c-sar"]}
    item["properties"] = properties
    item["links"] = [_source_link(folder, name, path) for name, path in facts.sources.items()]
    assets = {name: _image_asset(folder, name, path) for name, path in images.items()}
    item["assets"] = assets | {name: _picture_asset(folder, name, path) for name, path in pictures.items()}
    return item


def write(path: Path, item: Mapping[str, Any]) -> None:
    """Write an item, whole or not at all."""
    atomic_json(path, dict(item))


def _projection(grid: Grid) -> dict[str, Any]:
    x0, dx, rx, y0, ry, dy = grid.transform
    return {
        "proj:code": f"EPSG:{grid.epsg}" if grid.epsg else None,
        "proj:shape": [grid.rows, grid.cols],
        "proj:transform": [dx, rx, x0, ry, dy, y0],
        "proj:bbox": list(grid.bounds),
    }


def _resolution(grid: Grid, name: str) -> dict[str, float]:
    """Pixel size in metres; a grid without coordinate system tells none."""
    return {name: round(grid.mean_pixel_size_m(), 3)} if grid.epsg else {}


def _href(folder: Path, path: Path) -> str:
    text = Path(os.path.relpath(path, folder)).as_posix()
    return text if text.startswith("../") else f"./{text}"


def _source_link(folder: Path, name: str, path: Path) -> dict[str, Any]:
    return {"rel": "derived_from", "title": name, "href": _href(folder, path), "type": "application/json"}


def _file(folder: Path, path: Path) -> dict[str, Any]:
    return {"href": _href(folder, path), "file:size": path.stat().st_size, "file:checksum": checksum(path)}


def _image_asset(folder: Path, name: str, path: Path) -> dict[str, Any]:
    facts = raster.info(path)
    title, roles = _TITLES[name]
    bands: list[dict[str, Any]] = []
    for _ in facts.band_names:
        band: dict[str, Any] = {"data_type": facts.dtype, **_resolution(facts.grid, "spatial_resolution")}
        if facts.nodata is not None:
            band["nodata"] = "nan" if facts.nodata != facts.nodata else _whole(facts.nodata)
        if "reflectance" in facts.tags.get("UNITS", ""):
            band |= {"scale": facts.scale, "offset": facts.offset, "unit": "1"}
        bands.append(band)
    asset = {"title": title, "type": COG_TYPE, "roles": list(roles), "raster:bands": bands, **_file(folder, path)}
    if name not in ("source", "abstain"):
        asset["eo:bands"] = [_eo(band) for band in facts.band_names]
    return asset


def _whole(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _eo(name: str) -> dict[str, Any]:
    known = _EO.get(name.removeprefix("sigma_"))
    more = {"common_name": known[0], "center_wavelength": known[1]} if known else {}
    return {"name": name, **more}


def _picture_asset(folder: Path, name: str, path: Path) -> dict[str, Any]:
    roles = ["thumbnail"] if name == "thumbnail" else ["overview"]
    return {"title": "True colour, 0 to 0.3 reflectance", "type": "image/png", "roles": roles, **_file(folder, path)}


def source_files(root: Path, products: Mapping[str, Sequence[str]], otherwise: Path) -> dict[str, Path]:
    """Product name -> its product.json below preprocessed/, or `otherwise` where it has none.

    products  folder of a sensor -> products
    """
    found: dict[str, Path] = {}
    for sensor, names in products.items():
        for name in names:
            path = root / sensor / name / "product.json"
            found[name] = path if path.is_file() else otherwise
    return found
