"""STAC item: pystac's own copy of the core schema, its extension classes, checksums and places by other means."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pystac
import pytest
from pystac.extensions.eo import EOExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import RasterExtension
from pystac.validation import validate_dict
from rasterio.warp import transform

from utils.io import mosaics, raster, stac_item
from utils.science.grid import Grid

GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 40, 60)
BANDS = ("B04", "B03", "B02", "B08", "B12")
# fields of the extensions that an asset may have, as their schemas (closed to others of the prefix) list them
RASTER_FIELDS = {"data_type", "nodata", "scale", "offset", "unit", "spatial_resolution"}
EO_FIELDS = {"name", "common_name", "center_wavelength"}
COMMON_NAMES = {"blue", "green", "red", "rededge", "nir", "nir08", "swir16", "swir22"}


def make(folder: Path, grid: Grid = GRID, **facts: object) -> Path:
    home = folder / "mosaic/run/p001"
    values = np.random.default_rng(1).uniform(0, 0.5, (5, *grid.shape)).astype(np.float32)
    images = {"prediction": home / "prediction.tif", "sigma": home / "sigma.tif", "source": home / "source.tif"}
    mosaics.write_reflectance(images["prediction"], values, grid, BANDS, {"UNITS": "reflectance"})
    names = [f"sigma_{band}" for band in BANDS]
    mosaics.write_reflectance(
        images["sigma"], values * 0.1, grid, names, {"UNITS": "standard deviation in reflectance"}, "float32"
    )
    raster.write(images["source"], values[0].astype(np.uint8), grid, band_names=("SOURCE",), nodata=255, cog=True)
    mosaics.write_preview(home / "prediction.png", images["prediction"], 100)
    product = folder / "preprocessed/sentinel2/S2_x/product.json"
    product.parent.mkdir(parents=True)
    product.write_text("{}")
    sources = stac_item.source_files(
        folder / "preprocessed", {"sentinel2": ["S2_x"], "sentinel1": ["S1_y"]}, folder / "search/pairs.json"
    )
    given = {"id": "run_p001", "t0": "2020-01-04", "t1": "2020-02-04", "description": "Made up.", **facts}
    item = stac_item.build(
        home, stac_item.Facts(grid=grid, sources=sources, **given), images, {"thumbnail": home / "prediction.png"}
    )
    stac_item.write(home / "item.json", item)
    return home / "item.json"


@pytest.mark.parametrize("epsg", [32755, 0])
def test_core_schema_that_pystac_ships(tmp_path: Path, epsg: int) -> None:
    path = make(tmp_path, Grid(epsg, *[getattr(GRID, n) for n in ("x0", "y0", "dx", "dy", "rows", "cols")]))
    data = json.loads(path.read_text())
    assert validate_dict(data, extensions=[]) == ["https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"]
    assert (data["geometry"] is None) == (epsg == 0) and ("bbox" in data) == (epsg != 0)
    for broken in ({"geometry": 5}, {"properties": {}}, {"assets": {"x": {}}}, {"links": [{"rel": "a"}]}):
        with pytest.raises(pystac.STACValidationError):
            validate_dict({**data, **broken}, extensions=[])


def test_fields_of_the_extensions_are_those_of_their_schemas(tmp_path: Path) -> None:
    """The schemas of the extensions lie on the network; these are their closed lists of fields, types and values."""
    data = json.loads(make(tmp_path).read_text())
    assert [uri.split("/")[-3:-1] for uri in data["stac_extensions"]] == [
        ["projection", "v2.0.0"], ["raster", "v1.1.0"], ["eo", "v1.1.0"], ["file", "v2.1.0"],
    ]  # fmt: skip
    properties = data["properties"]
    assert {k for k in properties if k.startswith("proj:")} == {
        "proj:code",
        "proj:shape",
        "proj:transform",
        "proj:bbox",
    }
    assert properties["proj:code"] == "EPSG:32755" and properties["proj:shape"] == [40, 60]
    assert properties["proj:transform"] == [10.0, 0.0, 700000.0, 0.0, -10.0, 6100000.0]
    assert properties["proj:bbox"] == [700000.0, 6099600.0, 700600.0, 6100000.0]
    for asset in data["assets"].values():
        assert set(asset) <= {
            "href", "title", "type", "roles", "raster:bands", "eo:bands", "file:size", "file:checksum",
        }  # fmt: skip
        assert re.fullmatch(r"1220[0-9a-f]{64}", asset["file:checksum"]) and isinstance(asset["file:size"], int)
        for band in asset.get("raster:bands", ()):
            assert set(band) <= RASTER_FIELDS and band["data_type"] in ("int16", "uint8", "float32")
            assert isinstance(band["nodata"], int) or band["nodata"] == "nan"
        for band in asset.get("eo:bands", ()):
            assert set(band) <= EO_FIELDS and band["common_name"] in COMMON_NAMES and band["center_wavelength"] < 3


def test_pystac_reads_back_what_was_written(tmp_path: Path) -> None:
    path = make(tmp_path, t1="2020-02-04T00:02:29")
    item = pystac.Item.from_file(str(path))
    assert item.datetime is not None and item.datetime.isoformat() == "2020-02-04T00:02:29+00:00"
    assert ProjectionExtension.ext(item).epsg == 32755
    bands = RasterExtension.ext(item.assets["prediction"]).bands
    assert bands is not None and len(bands) == 5
    assert (bands[0].scale, bands[0].offset, bands[0].nodata) == (0.0001, 0.0, -32768)
    sigma = RasterExtension.ext(item.assets["sigma"]).bands
    assert sigma is not None and sigma[0].nodata == "nan" and sigma[0].data_type == "float32"
    names = EOExtension.ext(item.assets["prediction"]).bands
    assert names is not None and [(b.name, b.common_name) for b in names][:4] == [
        ("B04", "red"), ("B03", "green"), ("B02", "blue"), ("B08", "nir"),
    ]  # fmt: skip
    assert not item.assets["source"].extra_fields.get("eo:bands")
    for asset in item.assets.values():
        file = Path(str(asset.get_absolute_href()))
        told = FileExtension.ext(asset)
        assert told.size == file.stat().st_size
        assert told.checksum == "1220" + hashlib.sha256(file.read_bytes()).hexdigest()


def test_links_to_sources_lead_to_files(tmp_path: Path) -> None:
    path = make(tmp_path)
    links = json.loads(path.read_text())["links"]
    assert [(one["rel"], one["title"], one["href"]) for one in links] == [
        ("derived_from", "S2_x", "../../../preprocessed/sentinel2/S2_x/product.json"),
        ("derived_from", "S1_y", "../../../search/pairs.json"),
    ]
    assert (path.parent / links[0]["href"]).resolve().is_file()


def test_outline_against_proj_through_rasterio(tmp_path: Path) -> None:
    ring = json.loads(make(tmp_path).read_text())["geometry"]["coordinates"][0]
    west, south, east, north = GRID.bounds
    lon, lat = transform("EPSG:32755", "EPSG:4326", [west, east, east, west], [south, south, north, north])
    for corner in zip(lon, lat):
        assert min(np.hypot(x - corner[0], y - corner[1]) for x, y in ring) < 2e-7
    area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in itertools.pairwise(ring))
    assert ring[0] == ring[-1] and area > 0  # closed, counter-clockwise
    assert len(ring) == 33


def test_attribution_or_synthetic(tmp_path: Path) -> None:
    real = json.loads(make(tmp_path / "a").read_text())["properties"]
    made = json.loads(make(tmp_path / "b", synthetic=True).read_text())["properties"]
    assert "contains modified Copernicus Sentinel data" in real["description"] and not real["s2cr:synthetic"]
    assert "Synthetic" in made["description"] and "Copernicus" not in made["description"] and made["s2cr:synthetic"]
    assert "constellation" in real and "constellation" not in made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-02-04", "2020-02-04T00:00:00Z"),
        ("2020-02-04T00:02:29", "2020-02-04T00:02:29Z"),
        ("2020-02-04T00:02:29Z", "2020-02-04T00:02:29Z"),
        ("2020-02-04T00:02:29.123+00:00", "2020-02-04T00:02:29.123Z"),
    ],
)
def test_times(text: str, expected: str) -> None:
    assert stac_item.instant(text) == expected
