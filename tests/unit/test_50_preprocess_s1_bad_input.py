"""Section 6 of the specification, Sentinel-1, row by row: cause, exit code, remedy, nothing left behind.

What needs the command line (exit codes of a whole stage, full disk, kill) is in tests/pipeline/test_s1_bad_input.py.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.s1_products import SIZE_PX, edited, everything, expect_refusal, make_products, zip_of
from tests.s1_stage import Skipped, convert
from utils.io import download_lock, raster, safe_s1
from utils.io.acquisitions import Acquisition
from utils.io.cutter import DateRasters
from utils.io.safe import open_product
from utils.io.synth_products import SceneProducts
from utils.science.grid import Grid, Window
from utils.workflow.errors import ConfigError, InputError
from utils.workflow.layout import Layout
from utils.workflow.schema import Dem, Preprocess, Scene, Speckle

DATA = os.environ.get("S2CR_DATA")
realdata = pytest.mark.skipif(not DATA, reason="S2CR_DATA is not set: the folder of real sample products")
QUIET = Speckle(filter="none")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_products(tmp_path_factory.mktemp("scene"), "s1_t0", "s1_no_vh")


@pytest.fixture
def work(scene: Path, tmp_path: Path) -> Path:
    """A work directory of its own, with heights but without results."""
    (tmp_path / "work" / "scene").mkdir(parents=True)
    for name in ("dem.tif", "s1_t0", "s1_no_vh"):
        (tmp_path / "work" / "scene" / name).symlink_to(scene / "scene" / name)
    return tmp_path / "work"


# -- row 1: archives ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda data: data[: len(data) // 2], "central directory missing"),
        (lambda data: b"", "central directory missing"),
        (lambda data: b"not an archive at all", "central directory missing"),
        (lambda data: b"<!DOCTYPE html><html>log in first</html>", "an answer of a web server"),
    ],
    ids=["truncated", "empty", "text", "page"],
)
def test_no_readable_zip(work: Path, tmp_path: Path, make: object, why: str) -> None:
    path = tmp_path / zip_of(work).name
    path.write_bytes(make(zip_of(work).read_bytes()))  # type: ignore[operator]
    error = expect_refusal(work, path, InputError, 66, rf"not a readable zip .*{why}")
    assert error.message.startswith(path.name)
    assert "make download CONF=" in error.remedy


# -- row 2: members against the manifest ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "member", ["/measurement/", "/annotation/s1", "/annotation/calibration/calibration-", "/noise-"]
)
def test_member_of_another_size(work: Path, tmp_path: Path, member: str) -> None:
    """Longer by one byte, in every file that is read; the previews are not looked at."""
    path = edited(zip_of(work), tmp_path, lambda name, data: data + b" " if member in name and "-vh-" in name else data)
    error = expect_refusal(work, path, InputError, 66, "-vh-")
    found = re.search(r"has (\d+) bytes, manifest.safe says (\d+)", error.message)
    assert found
    assert int(found[1]) == int(found[2]) + 1


def test_checksum_is_compared_on_request(work: Path, tmp_path: Path) -> None:
    def flip(name: str, data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1]) if "/measurement/" in name and "-vv-" in name else data

    path = edited(zip_of(work), tmp_path, flip)
    error = expect_refusal(work, path, InputError, 66, r"-vv-.* has md5 [0-9a-f]{32}", verify="md5")
    assert "manifest.safe says" in error.message
    convert(work, path, verify="size", speckle=QUIET)  # the size is right


@realdata
def test_real_products_that_are_incomplete(work: Path) -> None:
    """Empty measurements (2021-08-09), a measurement of another size and a missing polarisation (2021-12-23)."""
    folder = Path(DATA or "") / "sentinel1"
    empty = next(folder.glob("S1A_IW_GRDH_1SDV_20210809*.zip"))
    error = expect_refusal(
        work, empty, InputError, 66, r"measurement/s1a-iw-grd-vv-.*has 0 bytes, manifest.safe says \d{9}"
    )
    assert "make download" in error.remedy
    expect_refusal(work, empty, InputError, 66, "has 0 bytes", polarisations="available")
    blank = next(folder.glob("S1B_IW_GRDH_1SDV_20211223*.zip"))
    error = expect_refusal(work, blank, InputError, 66, "polarisation VH is missing; the product holds VV")
    assert "preprocess.polarisations" in error.remedy
    for polarisations in (("VV",), "available"):
        error = expect_refusal(
            work,
            blank,
            InputError,
            66,
            r"measurement/s1b-iw-grd-vv-.*bytes, manifest.safe",
            polarisations=polarisations,
        )
        found = re.search(r"has (\d+) bytes, manifest.safe says (\d+)", error.message)
        assert found
        assert int(found[1]) != int(found[2])
    with open_product(blank) as product:
        members = safe_s1.require(product, "available", "off")
        assert list(members) == ["VV"]
        assert safe_s1.absent(product, members) == ("VH",)


# -- row 3: polarisations ------------------------------------------------------------------------------------------


def test_available_polarisations(work: Path, tmp_path: Path) -> None:
    assert Preprocess(polarisations="available").polarisations == "available"
    without = edited(
        zip_of(work), tmp_path, lambda name, data: None if "/measurement/" in name and "-vv-" in name else data
    )
    for path, expected, left_out in (
        (zip_of(work), ["VV", "VH"], ()),
        (zip_of(work, "s1_no_vh"), ["VV"], ()),  # promises VV alone
        (without, ["VH"], ("VV",)),
    ):
        with open_product(path) as product:
            members = safe_s1.require(product, "available", "size")
            assert list(members) == expected
            assert safe_s1.absent(product, members) == left_out
    expect_refusal(work, without, InputError, 66, "polarisation VV is missing; the product holds VH")
    nothing = edited(zip_of(work), tmp_path, lambda name, data: None if "/measurement/" in name else data)
    error = expect_refusal(
        work,
        nothing,
        InputError,
        66,
        "polarisation VV or VH is missing; the product holds none",
        polarisations="available",
    )
    assert "preprocess.polarisations" in error.remedy


def test_tiles_of_one_polarisation_are_refused(work: Path) -> None:
    """The stage may write VV alone; what follows needs both and says so."""
    path = zip_of(work, "s1_no_vh")
    gamma0, _, _, _ = convert(work, path, polarisations=("VV",), speckle=QUIET)
    assert gamma0.shape == (1, SIZE_PX, SIZE_PX)
    with pytest.raises(InputError, match=f"{path.stem}: only VV was preprocessed; tiles need VV and VH") as caught:
        DateRasters(Layout(work).preprocessed_root, Acquisition("d", (path.stem,), (), {}), ("B04",))
    assert caught.value.exit_code == 66
    assert "preprocess.polarisations: [VV, VH]" in caught.value.remedy


# -- rows 4 and 5: calibration and noise -----------------------------------------------------------------------------


@pytest.mark.parametrize("pol", ["vv", "vh"])
def test_calibration_missing(work: Path, tmp_path: Path, pol: str) -> None:
    gone = edited(zip_of(work), tmp_path, lambda name, data: None if f"/calibration-s1a-iw-grd-{pol}" in name else data)
    expect_refusal(work, gone, InputError, 66, f"no calibration file for {pol.upper()}")


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda data: data.replace(b"betaNought", b"betaZero"), "betaNought is missing"),
        (lambda data: re.sub(rb"(<betaNought[^>]*>)[0-9.e+]+", rb"\g<1>0.0", data), "betaNought holds values that are not positive"),
        (lambda data: re.sub(rb"(<betaNought[^>]*>)[0-9.e+]+", rb"\g<1>word", data), "betaNought holds something that is not a number"),
        (lambda data: re.sub(rb"<calibrationVector>.*</calibrationVector>", b"", data, flags=re.DOTALL), "no calibrationVector in it"),
        (lambda data: data[: len(data) // 2], "is not well-formed XML"),
    ],
    ids=["absent", "zero", "word", "no-vector", "cut"],
)  # fmt: skip
def test_calibration_without_usable_beta_nought(work: Path, tmp_path: Path, edit: object, text: str) -> None:
    """Never a fall-back to digital numbers."""
    path = edited(zip_of(work), tmp_path, lambda name, data: edit(data) if "/calibration-" in name else data)  # type: ignore[operator]
    expect_refusal(work, path, InputError, 66, text, verify="off")


@pytest.mark.parametrize("kind", ["missing", "zero"])
def test_noise_missing_or_zero_is_tagged_and_warned_once_each(work: Path, tmp_path: Path, kind: str) -> None:
    def edit(name: str, data: bytes) -> bytes | None:
        if "/noise-" not in name:
            return data
        if kind == "missing":
            return None
        return re.sub(
            rb"(<noiseRangeLut[^>]*>)[^<]*", lambda m: m[1] + b" ".join([b"0.0"] * len(m[0][len(m[1]) :].split())), data
        )

    path = edited(zip_of(work), tmp_path, edit)
    gamma0, _, facts, warnings = convert(work, path, speckle=QUIET, verify="off")
    assert facts["noise_removed"] == {"VV": "no_data", "VH": "no_data"}
    assert len(warnings) == 1
    assert "no usable thermal noise table for VV, VH" in warnings[0]
    folder = Layout(work).preprocessed("sentinel1", path.stem)
    assert {raster.info(folder / f"gamma0_{pol}.tif").tags["NOISE_REMOVED"] for pol in ("vv", "vh")} == {"no_data"}
    kept = gamma0.copy()
    shutil.rmtree(folder)
    same, _, facts, warnings = convert(work, zip_of(work), speckle=QUIET, noise=False)
    assert facts["noise_removed"] == {"VV": "off", "VH": "off"}
    assert warnings == []
    assert same.tobytes() == kept.tobytes()  # nothing was subtracted, all else is as ever


# -- row 6: other products ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "kind"), [("IW", "SLC"), ("EW", "GRD"), ("SM", "GRD"), ("WV", "SLC"), ("IW", "OCN"), ("EW", "SLC")]
)
def test_other_products_in_manifest_and_annotation(work: Path, tmp_path: Path, mode: str, kind: str) -> None:
    """Either place alone is enough, and neither geometry nor pixels are needed to see it."""

    def changed(data: bytes) -> bytes:
        data = re.sub(rb"(mode>)IW(<)", rb"\g<1>%s\2" % mode.encode(), data)
        return re.sub(rb"(productType>)GRD(<)", rb"\g<1>%s\2" % kind.encode(), data)

    for place, wanted in (("/manifest.safe", "product is"), ("/annotation/s1", "annotation/s1.*product is")):
        path = edited(
            zip_of(work), tmp_path,
            lambda name, data, place=place: b"" if "/measurement/" in name else changed(data) if place in name else data,
        )  # fmt: skip
        error = expect_refusal(
            work, path, InputError, 66, f"{wanted} {mode} {kind}; this stage needs IW GRD", verify="off"
        )
        assert "IW GRD" in error.remedy


def test_no_manifest(work: Path, tmp_path: Path) -> None:
    path = edited(zip_of(work), tmp_path, lambda name, data: None if name.endswith("manifest.safe") else data)
    error = expect_refusal(work, path, InputError, 66, "no manifest.safe")
    assert "as published" in error.remedy


@realdata
def test_no_manifest_in_a_real_layout(work: Path, tmp_path: Path) -> None:
    """The cloud copy of 2018-07-16: measurements and productInfo.json, as folder and as zip."""
    folder = Path(DATA or "") / "sentinel1" / "grd_2018_reduced"
    expect_refusal(work, folder, InputError, 66, "no manifest.safe")
    path = tmp_path / "S1A_IW_GRDH_20180716.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"measurement/{file.name}" if file.suffix == ".tiff" else file.name)
    expect_refusal(work, path, InputError, 66, "no manifest.safe")


# -- row 7: the area and the footprint -----------------------------------------------------------------------------------


def test_outside_and_partly_outside(work: Path) -> None:
    grid = SceneProducts(Scene(size_px=SIZE_PX)).grid
    before = everything(work)
    with pytest.raises(Skipped, match=r"outside: the product covers 0\.0 % of the area"):
        convert(work, zip_of(work), Grid(grid.epsg, grid.x0 + 60_000, grid.y0, 10.0, -10.0, 40, 40))
    assert everything(work) == before
    partly = grid.window(Window(-260, -260, 140, 140))
    with pytest.raises(Skipped, match="outside"):
        convert(work, zip_of(work), partly, min_overlap=0.999)
    assert everything(work) == before
    gamma0, mask, facts, _ = convert(work, zip_of(work), partly, speckle=QUIET)
    outside = (mask & 4) > 0
    assert 0.02 < outside.mean() < 0.98
    for values, name in zip(gamma0, ("vv", "vh"), strict=True):
        assert (np.isnan(values) == outside).all()
        path = Layout(work).preprocessed("sentinel1", zip_of(work).stem) / f"gamma0_{name}.tif"
        assert float(raster.info(path).tags["NODATA_FRACTION"]) == pytest.approx(outside.mean(), abs=1e-6)
    assert facts["mask_fraction"]["bit4"] == pytest.approx(outside.mean(), abs=1e-6)


# -- rows 8 and 9: heights -------------------------------------------------------------------------------------------------


def _heights(work: Path, name: str, share: float = 1.0, **tags: str) -> Dem:
    """The scene's heights, the western share of them, under another name and with these tags."""
    source = work / "scene" / "dem.tif"
    grid = raster.info(source).grid
    cut = grid.window(Window(0, 0, grid.rows, int(grid.cols * share)))
    raster.write(work / "scene" / name, raster.read_on_grid(source, cut), cut, tags=tags)
    return Dem(path=f"{{scene}}/{name}")


def _geoid(work: Path, share: float = 1.0, level_m: float = 20.0) -> str:
    grid = raster.info(work / "scene" / "dem.tif").grid
    cut = grid.window(Window(0, 0, grid.rows, int(grid.cols * share)))
    raster.write(work / "geoid.tif", np.full((1, *cut.shape), level_m, np.float32), cut)
    return str(work / "geoid.tif")


def test_heights_that_do_not_cover(work: Path) -> None:
    dem = _heights(work, "half.tif", 0.5, VERTICAL="ellipsoid")
    error = expect_refusal(work, zip_of(work), InputError, 66, "half.tif: no heights for", dem=dem)
    assert re.search(r"[\d.]+ % of the area with margin, longitude 149\.\d+ \.\. 149\.\d+, latitude", error.message)
    assert "1-degree tiles S36E149" in error.message
    assert "preprocess.dem.missing: sea" in error.remedy


def test_heights_of_the_sea(work: Path) -> None:
    """Sea where heights are missing: bit 8 there and nowhere else, and sea needs a geoid."""
    dem = _heights(work, "half.tif", 0.5, VERTICAL="ellipsoid")
    sea = dem.model_copy(update={"missing": "sea"})
    expect_refusal(work, zip_of(work), ConfigError, 65, "sea level there needs a geoid", dem=sea)
    _, mask, _, _ = convert(work, zip_of(work), dem=sea.model_copy(update={"geoid_grid": _geoid(work)}), speckle=QUIET)
    filled = (mask & 8) > 0
    columns = np.flatnonzero(filled.all(axis=0))
    assert columns.tolist() == list(range(columns[0], SIZE_PX))
    assert not filled[:, : columns[0] - 1].any()
    assert abs(columns[0] - SIZE_PX // 2) <= 1


def test_vertical_datum_and_geoid(work: Path) -> None:
    plain, archive = _heights(work, "plain.tif"), zip_of(work)
    error = expect_refusal(
        work, archive, ConfigError, 65, "plain.tif: the file does not say what its heights", dem=plain
    )
    assert "preprocess.dem.vertical" in error.remedy
    egm = plain.model_copy(update={"vertical": "EGM2008"})
    error = expect_refusal(
        work, archive, ConfigError, 65, "above EGM2008, but preprocess.dem.geoid_grid is not set", dem=egm
    )
    assert "preprocess.dem.geoid_grid" in error.remedy
    absent = egm.model_copy(update={"geoid_grid": str(work / "nowhere.tif")})
    expect_refusal(work, archive, ConfigError, 65, "nowhere.tif: no such geoid grid", dem=absent)
    short = egm.model_copy(update={"geoid_grid": _geoid(work, 0.5)})
    error = expect_refusal(work, archive, InputError, 66, "geoid.tif: no undulation for", dem=short)
    assert "1-degree tiles S36E149" in error.message
    stated = _heights(work, "stated.tif", VERTICAL="EGM96").model_copy(update={"vertical": "ellipsoid"})
    expect_refusal(
        work, archive, ConfigError, 65, "the file says EGM96, preprocess.dem.vertical says ellipsoid", dem=stated
    )


# -- row 10: orbits ----------------------------------------------------------------------------------------------------------


def _orbit(raw: Path, archive: Path, named: str, mission: str, shift_s: int = 0) -> None:
    """An orbit file in the lock: the product's own vectors, moved in time; file name and content may disagree."""
    with open_product(archive) as product:
        note = safe_s1.read_annotation(product, safe_s1.find_members(product)["VV"].annotation)
    vectors = "".join(
        f"<OSV><UTC>UTC={str(t + np.timedelta64(shift_s, 's'))[:26]}</UTC><X>{p[0]!r}</X><Y>{p[1]!r}</Y><Z>{p[2]!r}</Z>"
        f"<VX>{v[0]!r}</VX><VY>{v[1]!r}</VY><VZ>{v[2]!r}</VZ></OSV>"
        for t, p, v in zip(
            note.orbit_times, note.orbit_position_m.tolist(), note.orbit_velocity_m_s.tolist(), strict=True
        )
    )
    (raw / "orbits").mkdir(parents=True, exist_ok=True)
    (raw / "orbits" / named).write_text(
        f"<Earth_Explorer_File><Earth_Explorer_Header><Fixed_Header><Mission>{mission}</Mission></Fixed_Header></Earth_Explorer_Header>"
        f"<Data_Block><List_of_OSVs>{vectors}</List_of_OSVs></Data_Block></Earth_Explorer_File>"
    )
    download_lock.merge_lock(raw, {named.removesuffix(".EOF"): {"file": f"orbits/{named}", "mission": "ORBIT"}})


DAY = "V20191105T225942_20191107T005942"


@pytest.mark.parametrize(
    ("name", "mission", "shift_s", "text"),
    [
        (f"S1B_OPER_AUX_POEORB_OPOD_20991231T000000_{DAY}.EOF", "Sentinel-1B", 0, "no POEORB orbit file of S1A"),
        ("S1A_OPER_AUX_POEORB_OPOD_20991231T000000_V20191104T225942_20191106T005942.EOF", "Sentinel-1A", 0, "no POEORB orbit file of S1A"),
        (f"S1A_OPER_AUX_POEORB_OPOD_20991231T000000_{DAY}.EOF", "Sentinel-1B", 0, "orbit of S1B, the product is S1A"),
        (f"S1A_OPER_AUX_POEORB_OPOD_20991231T000000_{DAY}.EOF", "Sentinel-1A", 7200, "does not cover 2019-11-06"),
    ],
    ids=["name-mission", "name-day", "content-mission", "content-time"],
)  # fmt: skip
def test_orbit_file_of_another_mission_or_day(work: Path, name: str, mission: str, shift_s: int, text: str) -> None:
    """And never the annotation's orbit in silence."""
    _orbit(Layout(work).raw, zip_of(work), name, mission, shift_s)
    expect_refusal(work, zip_of(work), InputError, 66, text, orbit="poeorb")


def test_orbit_file_of_the_day_is_taken(work: Path) -> None:
    _orbit(Layout(work).raw, zip_of(work), f"S1A_OPER_AUX_POEORB_OPOD_20991231T000000_{DAY}.EOF", "Sentinel-1A")
    _, _, facts, warnings = convert(work, zip_of(work), orbit="poeorb", speckle=QUIET)
    assert facts["tags"]["ORBIT_FILE"] == f"S1A_OPER_AUX_POEORB_OPOD_20991231T000000_{DAY}.EOF"
    assert warnings == []
