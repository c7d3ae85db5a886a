"""Generated products: read back by GDAL and a plain XML reader, and compared with the structure of real ones."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from osgeo import gdal

from utils.io import raster
from utils.io.footprint import aoi_geometry, grid_of
from utils.io.synth_plans import S1_PLANS, S2_PLANS
from utils.io.synth_products import SceneProducts, SceneSettings, mgrs_tile
from utils.io.synth_s2 import stored
from utils.science import synth_optical as optical
from utils.science.synth_orbit import C_M_S, geodetic_to_ecef
from utils.workflow.errors import ConfigError

SETTINGS = SceneSettings(size_px=128, seed=5)


def _plain(tag: str) -> str:
    return tag.rpartition("}")[2]


def _paths(root: ElementTree.Element, prefix: str = "") -> set[str]:
    here = f"{prefix}/{_plain(root.tag)}"
    return {here}.union(*(_paths(child, here) for child in root))


def _tree(archive: Path, pattern: str) -> ElementTree.Element:
    with zipfile.ZipFile(archive) as stored_zip:
        return ElementTree.fromstring(stored_zip.read(next(n for n in stored_zip.namelist() if re.search(pattern, n))))


@pytest.fixture(scope="module")
def products() -> SceneProducts:
    return SceneProducts(SETTINGS)


@pytest.fixture(scope="module")
def archive(products: SceneProducts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("archive")
    paths = {key: products.write_s1(key, folder) for key in S1_PLANS}
    return paths | {key: products.write_s2(key, folder)[0] for key in S2_PLANS}


def test_two_runs_give_the_same_bytes(archive: dict[str, Path], tmp_path: Path) -> None:
    again = SceneProducts(SETTINGS)
    for path, key in ((again.write_s2("s2_t1", tmp_path)[0], "s2_t1"), (again.write_s1("s1_t1", tmp_path), "s1_t1")):
        assert path.name == archive[key].name
        assert path.read_bytes() == archive[key].read_bytes()


def test_names_obey_grammar_and_orbit_formulas(archive: dict[str, Path]) -> None:
    for key, plan in S1_PLANS.items():
        match = re.fullmatch(
            r"(S1[AB])_IW_GRDH_1S(DV|SV)_(\d{8}T\d{6})_(\d{8}T\d{6})_(\d{6})_[0-9A-F]{6}_[0-9A-F]{4}", archive[key].stem
        )
        assert match is not None and match[2] == ("DV" if len(plan.pols) == 2 else "SV")
        shift = {"S1A": 73, "S1B": 27}[match[1]]
        assert (int(match[5]) - shift) % 175 + 1 == plan.identity.relative_orbit
    for key, s2 in S2_PLANS.items():
        assert re.fullmatch(r"S2[AB]_MSIL2A_\d{8}T\d{6}_N\d{4}_R030_T55HGA_\d{8}T\d{6}", archive[key].stem)
        relative = (s2.absolute_orbit + 2) % 143 + 1 if s2.platform == "S2A" else (s2.absolute_orbit - 27) % 143 + 1
        assert relative == 30
    between = S1_PLANS["s1_t1"].identity.centre - S1_PLANS["s1_t0"].identity.centre
    assert (
        abs((between.total_seconds() + 43200 * 12) % (86400 * 12) - 43200 * 12) < 60
    )  # same track: multiples of 12 days
    assert S1_PLANS["s1_t1"].identity.absolute_orbit - S1_PLANS["s1_t0"].identity.absolute_orbit == 175 * 7


def test_mgrs_tile_of_known_places() -> None:
    assert mgrs_tile(149.0, -35.2, 707500.0, 6092500.0, 32755) == "55HGA"
    assert mgrs_tile(149.1, -34.5, 754980.0, 6145120.0, 32755) == "55HGB"  # the middle of a real tile
    assert mgrs_tile(2.9, 42.0, 454800.0, 4645200.0, 32631) == "31TDG"


@pytest.mark.parametrize("key", ["s1_t0", "s1_no_vh", "s2_t0", "s2_t1"])
def test_manifest_states_size_and_md5_of_every_file(archive: dict[str, Path], key: str) -> None:
    path = archive[key]
    with zipfile.ZipFile(path) as stored_zip:
        assert stored_zip.testzip() is None
        names = set(stored_zip.namelist())
        root = ElementTree.fromstring(stored_zip.read(f"{path.stem}.SAFE/manifest.safe"))
        listed = set()
        for stream in root.iter("byteStream"):
            location, checksum = stream.find("fileLocation"), stream.find("checksum")
            assert location is not None and checksum is not None
            member = f"{path.stem}.SAFE/{location.attrib['href'].removeprefix('./')}"
            data = stored_zip.read(member)
            assert (int(stream.attrib["size"]), checksum.text) == (len(data), hashlib.md5(data).hexdigest())
            listed.add(member)
        assert listed == names - {f"{path.stem}.SAFE/manifest.safe"}
        assert {info.date_time for info in stored_zip.infolist()} == {(2020, 1, 1, 0, 0, 0)}


def test_measurement_is_plain_uint16_with_control_points(archive: dict[str, Path]) -> None:
    path = archive["s1_t0"]
    root = _tree(path, r"annotation/s1a-iw-grd-vv")
    lines, samples = (
        int(root.findtext(f"imageAnnotation/imageInformation/{n}") or 0) for n in ("numberOfLines", "numberOfSamples")
    )
    with zipfile.ZipFile(path) as stored_zip:
        member = next(n for n in stored_zip.namelist() if "-vv-" in n and n.endswith(".tiff"))
    dataset = gdal.Open(f"/vsizip/{path}/{member}")
    assert (dataset.RasterYSize, dataset.RasterXSize) == (lines, samples)
    assert gdal.GetDataTypeName(dataset.GetRasterBand(1).DataType) == "UInt16"
    assert dataset.GetRasterBand(1).GetBlockSize() == [samples, 1]
    dn = dataset.ReadAsArray()
    assert (dn == 0).mean() == 0 and 60 < np.median(dn) < 250
    points = dataset.GetGCPs()
    grid = root.findall("geolocationGrid/geolocationGridPointList/geolocationGridPoint")
    assert len(points) == len(grid) == 210
    for control, node in zip(points, grid, strict=True):
        assert pytest.approx(float(node.findtext("longitude") or 0), abs=1e-12) == control.GCPX
        assert (control.GCPLine, control.GCPPixel) == (
            float(node.findtext("line") or 0),
            float(node.findtext("pixel") or 0),
        )


def _seconds(text: str, reference: datetime) -> float:
    return (datetime.fromisoformat(text) - reference).total_seconds()


@pytest.mark.parametrize("key", ["s1_t0", "s1_wrong_pass", "s1_partial"])
def test_geolocation_grid_agrees_with_orbit_and_ground_range(archive: dict[str, Path], key: str) -> None:
    """Brute force: the range from the annotated orbit is least at the annotated time, and maps to the annotated pixel."""
    root = _tree(archive[key], r"annotation/s1.-iw-grd-vv")
    info = root.find("imageAnnotation/imageInformation")
    assert info is not None
    reference = datetime.fromisoformat(info.findtext("productFirstLineUtcTime") or "")
    vectors = root.findall("generalAnnotation/orbitList/orbit")
    assert len(vectors) == 16
    times = np.array([_seconds(v.findtext("time") or "", reference) for v in vectors])
    assert np.diff(times) == pytest.approx(10.0, abs=1e-5) and times[0] < -60 < 60 < times[-1]
    position = np.array([[float(v.findtext(f"position/{a}") or 0) for a in "xyz"] for v in vectors])
    fits = [np.polynomial.Polynomial.fit(times, position[:, a], 9) for a in range(3)]
    conversions = root.findall("coordinateConversion/coordinateConversionList/coordinateConversion")
    nearest = min(conversions, key=lambda c: abs(_seconds(c.findtext("azimuthTime") or "", reference)))
    coefficients = np.array((nearest.findtext("srgrCoefficients") or "").split(), dtype=float)
    sr0 = float(nearest.findtext("sr0") or 0)
    dt = float(info.findtext("azimuthTimeInterval") or 0)
    for node in root.findall("geolocationGrid/geolocationGridPointList/geolocationGridPoint")[::13]:
        value = {
            name: float(node.findtext(name) or 0)
            for name in ("longitude", "latitude", "height", "line", "pixel", "slantRangeTime")
        }
        point = geodetic_to_ecef(value["longitude"], value["latitude"], value["height"])
        stated = _seconds(node.findtext("azimuthTime") or "", reference)
        assert stated == pytest.approx(value["line"] * dt, abs=2e-6)
        around = stated + np.linspace(-1.0, 1.0, 201)
        ranges = np.linalg.norm(np.stack([fit(around) for fit in fits], -1) - point, axis=-1)
        c = np.polynomial.Polynomial.fit(around - stated, ranges, 4).convert().coef
        assert abs(c[1] / (2 * c[2])) < 0.1 * dt  # a tenth of a line
        slant = c[0]
        assert slant == pytest.approx(value["slantRangeTime"] * C_M_S / 2, abs=0.01)
        ground = np.polynomial.polynomial.polyval(slant - sr0, coefficients)
        assert ground / 10.0 == pytest.approx(value["pixel"], abs=0.05)


def test_pixels_bear_the_annotated_noise_and_calibration(tmp_path: Path) -> None:
    """Without speckle, (DN^2 - noise) / betaNought^2 is the simulated beta nought to the rounding of DN."""
    quiet = SceneProducts(SceneSettings(size_px=128, seed=5, speckle=False))
    path = quiet.write_s1("s1_t0", tmp_path)
    noise = _tree(path, r"calibration/noise-.*-vh-")
    vector = noise.find("noiseRangeVectorList/noiseRangeVector")
    block = noise.find("noiseAzimuthVectorList/noiseAzimuthVector")
    assert vector is not None and block is not None
    pixel, level = (np.array((vector.findtext(n) or "").split(), dtype=float) for n in ("pixel", "noiseRangeLut"))
    along = np.array((block.findtext("noiseAzimuthLut") or "").split(), dtype=float)
    with zipfile.ZipFile(path) as stored_zip:
        member = next(n for n in stored_zip.namelist() if "-vh-" in n and n.endswith(".tiff"))
    dn = gdal.Open(f"/vsizip/{path}/{member}").ReadAsArray()[0].astype(float)
    beta0 = quiet.track(True).beta0[0][1][0]
    eta = np.interp(np.arange(len(dn)), pixel, level) * along[0]
    found = (dn**2 - eta) / 474.0**2
    bound = (dn + 0.25) / 474.0**2 * 1.001
    assert np.all(np.abs(found - beta0) <= bound)
    calibration = _tree(path, r"calibration/calibration-.*-vv-").find("calibrationVectorList/calibrationVector")
    assert calibration is not None
    tables = {
        n: np.array((calibration.findtext(n) or "").split(), dtype=float)
        for n in ("sigmaNought", "betaNought", "gamma")
    }
    assert np.all(tables["betaNought"] == 474.0)
    theta = np.degrees(np.arcsin((tables["betaNought"] / tables["sigmaNought"]) ** 2))
    assert np.all((theta > 36) & (theta < 38))
    assert tables["gamma"] == pytest.approx(474.0 / np.sqrt(np.tan(np.radians(theta))), rel=1e-6)


def test_partial_product_is_a_cut_of_the_track(archive: dict[str, Path]) -> None:
    full, part = (_tree(archive[key], r"annotation/s1.-iw-grd-vv") for key in ("s1_t1", "s1_partial"))
    lines = [int(root.findtext("imageAnnotation/imageInformation/numberOfLines") or 0) for root in (full, part)]
    assert lines[1] == round(0.55 * lines[0])


def test_optical_bands_return_the_reflectance(products: SceneProducts, archive: dict[str, Path]) -> None:
    clear = optical.reflectance(products.scene, 0, 156)
    none = optical.clouds(products.scene, "s2_t0", 0.0, 50.0, 156)
    seen = optical.observe(products.scene, clear, 0, none, "s2_t0")
    for key, offset in (("s2_t0", 0), ("s2_t1", -1000)):
        root = _tree(archive[key], "MTD_MSIL2A.xml")
        offsets = [float(e.text or 0) for e in root.iter("BOA_ADD_OFFSET")]
        assert offsets == ([-1000.0] * 13 if offset else [])
        with zipfile.ZipFile(archive[key]) as stored_zip:
            member = next(n for n in stored_zip.namelist() if n.endswith("_B04_10m.jp2"))
        info = raster.info(f"/vsizip/{archive[key]}/{member}")
        assert (info.grid.epsg, info.grid.x0, info.grid.y0, info.grid.dx) == (32755, 698500.0, 6101500.0, 10.0)
        dn = raster.read(f"/vsizip/{archive[key]}/{member}")[0]
        assert dn.min() >= 1
        if key == "s2_t0":
            side = dn.shape[0]
            assert np.abs(dn / 1e4 - seen[2][6 : 6 + side, 6 : 6 + side]).max() <= 0.5001e-4


def test_offset_keeps_the_reflectance() -> None:
    values = np.array([0.0, 0.0001, 0.1234, 1.2], dtype=np.float32)
    assert stored(values, None).tolist() == [1, 1, 1234, 12000]
    assert stored(values, -1000).tolist() == [1000, 1001, 2234, 13000]


def test_tile_metadata_describe_the_rasters(archive: dict[str, Path]) -> None:
    root = _tree(archive["s2_t1"], "MTD_TL.xml")
    assert root.findtext(".//HORIZONTAL_CS_CODE") == "EPSG:32755"
    for step, rows in ((10, 432), (20, 216), (60, 72)):
        assert root.findtext(f".//Size[@resolution='{step}']/NROWS") == str(rows)
        assert root.findtext(f".//Geoposition[@resolution='{step}']/ULX") == "698500"
    with zipfile.ZipFile(archive["s2_t1"]) as stored_zip:
        member = next(n for n in stored_zip.namelist() if n.endswith("_SCL_20m.jp2"))
    scl = raster.read(f"/vsizip/{archive['s2_t1']}/{member}")[0]
    assert scl.shape == (216, 216) and scl.dtype == np.uint8
    share = 100 * np.isin(scl, (8, 9, 10)).mean()
    assert float(root.findtext(".//CLOUDY_PIXEL_PERCENTAGE") or 0) == pytest.approx(share, abs=1e-4) and share > 5
    images = [e.text or "" for e in _tree(archive["s2_t1"], "MTD_MSIL2A.xml").iter("IMAGE_FILE")]
    with zipfile.ZipFile(archive["s2_t1"]) as stored_zip:
        assert {f"{archive['s2_t1'].stem}.SAFE/{image}.jp2" for image in images} == {
            n for n in stored_zip.namelist() if n.endswith(".jp2")
        }


def test_outline_maps_back_to_the_intended_grid(tmp_path: Path) -> None:
    for size, epsg, origin in ((128, 32755, (700000.0, 6100000.0)), (1500, 32631, (399960.0, 4693200.0))):
        products = SceneProducts(SceneSettings(size_px=size, epsg=epsg, origin=origin))
        lon, lat = products.ring(-5.0, per_side=16)
        ring = ",".join(f"[{x:.8f},{y:.8f}]" for x, y in zip(lon[::-1], lat[::-1], strict=True))
        path = tmp_path / "area.geojson"
        path.write_text(f'{{"type":"Polygon","coordinates":[[{ring}]]}}', encoding="utf-8")
        assert grid_of(aoi_geometry(path), epsg) == products.grid


def test_truth_and_heights(products: SceneProducts, tmp_path: Path) -> None:
    products.write_ground(tmp_path, {"SYNTHETIC": "yes"})
    heights = raster.info(tmp_path / "dem.tif")
    assert heights.tags["VERTICAL"] == "ellipsoid"
    row, col = heights.grid.offset_of(products.grid)
    assert (row, col) == (products.pad_px, products.pad_px)
    whole, area = raster.read(tmp_path / "dem.tif")[0], raster.read(tmp_path / "truth/height.tif")[0]
    assert np.array_equal(whole[row : row + 128, col : col + 128], area)
    clear = raster.info(tmp_path / "truth/S2_t1_clear.tif")
    assert clear.band_names == ("B02", "B03", "B04", "B08", "B12") and clear.grid == products.grid
    assert raster.info(tmp_path / "truth/gamma0_t0.tif").band_names == ("VV", "VH")


def test_origin_off_the_grid_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiples of 20 m"):
        SceneProducts(SceneSettings(origin=(700010.0, 6100000.0)))
    with pytest.raises(ConfigError, match="even"):
        SceneProducts(SceneSettings(size_px=129))


@pytest.mark.realdata
def test_structure_is_a_part_of_real_products(archive: dict[str, Path]) -> None:
    if not os.environ.get("S2CR_DATA"):
        pytest.skip("S2CR_DATA is not set")
    data = Path(os.environ["S2CR_DATA"])
    real = next((data / "sentinel1").glob("S1A_*20210809*.zip"))
    for pattern in (
        r"annotation/s1a-iw-grd-vv",
        r"calibration/calibration-.*-vv",
        r"calibration/noise-.*-vv",
        r"manifest\.safe",
    ):
        extra = _paths(_tree(archive["s1_t0"], pattern)) - _paths(_tree(real, pattern))
        assert not extra, f"{pattern}: not in real products: {sorted(extra)}"
    folder = next((data / "sentinel2").glob("S2A_MSIL2A_20190212*"))
    for pattern, path in (
        ("MTD_MSIL2A.xml", folder / "MTD_MSIL2A.xml"),
        ("MTD_TL.xml", next(folder.glob("GRANULE/*/MTD_TL.xml"))),
    ):
        extra = _paths(_tree(archive["s2_t0"], pattern)) - _paths(ElementTree.parse(path).getroot())
        assert not extra, f"{pattern}: not in real products: {sorted(extra)}"
