"""Stage preprocess_s1 on bad and unusual products: each ends with its documented error and leaves no folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.s1_products import Edit, edited
from tests.s1_stage import Skipped, convert
from utils.io import raster
from utils.io.safe import open_product
from utils.io.synth_products import SceneProducts
from utils.science.grid import Grid, Window
from utils.workflow.errors import ConfigError, Error, InputError
from utils.workflow.layout import Layout
from utils.workflow.schema import Dem, Scene, Speckle

SIZE_PX = 128


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("scene")
    products = SceneProducts(Scene(size_px=SIZE_PX, speckle=False, thermal_noise=True))
    products.write_ground(work / "scene", {})
    for plan in ("s1_t0", "s1_no_vh"):
        products.write_s1(plan, work / "scene" / plan)
    return work


def _zip(work: Path, plan: str = "s1_t0") -> Path:
    return next((work / "scene" / plan).glob("*.zip"))


def _edited(work: Path, target: Path, edit: Edit) -> Path:
    """Copy of the product of t0 with members changed; None leaves a member out."""
    return edited(_zip(work), target, edit)


def expect_refusal(work: Path, archive: Path, kind: type[Error], text: str, **settings: object) -> str:
    with pytest.raises(kind, match=text) as caught:
        convert(work, archive, **settings)  # type: ignore[arg-type]
    assert caught.value.remedy
    assert not Layout(work).preprocessed("sentinel1", archive.stem).exists()
    return str(caught.value)


def test_good_product_and_its_files(scene: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(scene / "scene", work / "scene")
    gamma0, mask, facts, warnings = convert(work, _zip(work), incidence=True)
    folder = Layout(work).preprocessed("sentinel1", _zip(work).stem)
    assert sorted(p.name for p in folder.iterdir()) == [
        "gamma0_vh.tif", "gamma0_vv.tif", "incidence.tif", "mask.tif", "product.json", "quicklook.png",
    ]  # fmt: skip
    info = raster.info(folder / "gamma0_vv.tif")
    assert (info.dtype, info.band_names, info.grid.epsg, info.grid.shape) == ("float32", ("VV",), 32755, (128, 128))
    assert np.isnan(info.nodata)
    expected = {
        "RADIOMETRY": "gamma0_rtc", "POLARISATION": "VV", "NOISE_REMOVED": "yes", "PASS": "descending", "RELATIVE_ORBIT": "147",
        "DEM_VERTICAL": "ellipsoid", "GEOID": "none", "SRGR_TIME": "linear", "RESAMPLING": "bilinear", "BORDER_NOISE": "dn0",
        "SPECKLE": "lee_sigma 7x7 ENL 4.4", "ORBIT_FILE": "annotation", "NODATA_FRACTION": "0.0", "UNITS": "m2/m2",
    }  # fmt: skip
    assert {name: info.tags[name] for name in expected} == expected
    incidence = raster.read(folder / "incidence.tif")[0]
    assert 25 < incidence.mean() < 50
    assert np.isfinite(gamma0).all()
    assert not mask.any()
    assert (warnings, facts["coverage"]) == ([], 1.0)
    assert str(work) not in (folder / "product.json").read_text()


def test_truncated_zip(scene: Path, tmp_path: Path) -> None:
    path = tmp_path / _zip(scene).name
    path.write_bytes(_zip(scene).read_bytes()[:-5000])
    expect_refusal(scene, path, InputError, "not a readable zip")


def test_member_shorter_than_the_manifest_says(scene: Path, tmp_path: Path) -> None:
    path = _edited(
        scene, tmp_path, lambda name, data: data[:1000] if name.endswith(".tiff") and "-vh-" in name else data
    )
    text = expect_refusal(scene, path, InputError, "-vh-.*has 1000 bytes, manifest.safe says")
    assert "measurement/" in text


def test_empty_measurement_is_refused_even_unverified(scene: Path, tmp_path: Path) -> None:
    path = _edited(scene, tmp_path, lambda name, data: b"" if name.endswith(".tiff") else data)
    expect_refusal(scene, path, InputError, "has 0 bytes, manifest.safe says")
    expect_refusal(scene, path, InputError, "not a readable raster", verify="off")


def test_missing_polarisation_lists_what_is_there(scene: Path) -> None:
    expect_refusal(scene, _zip(scene, "s1_no_vh"), InputError, "polarisation VH is missing; the product holds VV")
    gamma0, _, _, _ = convert(scene, _zip(scene, "s1_no_vh"), polarisations=("VV",))
    assert gamma0.shape == (1, SIZE_PX, SIZE_PX)
    shutil.rmtree(Layout(scene).preprocessed("sentinel1", _zip(scene, "s1_no_vh").stem))


@pytest.mark.parametrize("old", [b"<mode>IW</mode>", b"<s1sarl1:mode>IW</s1sarl1:mode>"])
def test_other_modes(scene: Path, tmp_path: Path, old: bytes) -> None:
    def edit(name: str, data: bytes) -> bytes:
        return (
            data.replace(b":mode>IW<", b":mode>EW<").replace(b"<mode>IW<", b"<mode>EW<")
            if name.endswith((".safe", ".xml"))
            else data
        )

    expect_refusal(
        scene, _edited(scene, tmp_path, edit), InputError, "product is EW GRD; this stage needs IW GRD", verify="off"
    )


def test_slc_in_the_annotation(scene: Path, tmp_path: Path) -> None:
    def edit(name: str, data: bytes) -> bytes:
        return data.replace(b"<productType>GRD<", b"<productType>SLC<") if "/annotation/s1" in name else data

    expect_refusal(scene, _edited(scene, tmp_path, edit), InputError, "product is IW SLC", verify="off")


def test_calibration_missing_or_without_beta(scene: Path, tmp_path: Path) -> None:
    gone = _edited(scene, tmp_path, lambda name, data: None if "/calibration-" in name and "-vv-" in name else data)
    expect_refusal(scene, gone, InputError, "no calibration file for VV")
    edited = _edited(
        scene,
        tmp_path,
        lambda name, data: data.replace(b"betaNought", b"betaZero") if "/calibration-" in name else data,
    )
    expect_refusal(scene, edited, InputError, "betaNought is missing", verify="off")


def test_noise_missing_or_zero_goes_on_with_a_warning(scene: Path, tmp_path: Path) -> None:
    gone = _edited(scene, tmp_path, lambda name, data: None if "/noise-" in name else data)
    work = tmp_path / "work"
    shutil.copytree(scene / "scene", work / "scene")
    kept, _, facts, warnings = convert(work, gone, speckle=Speckle(filter="none"))
    assert facts["noise_removed"] == {"VV": "no_data", "VH": "no_data"}
    assert len(warnings) == 1
    removed, _, _, _ = convert(work, _zip(scene), speckle=Speckle(filter="none"))
    assert kept[1].mean() > removed[1].mean()
    tags = raster.info(Layout(work).preprocessed("sentinel1", gone.stem) / "gamma0_vh.tif").tags
    assert tags["NOISE_REMOVED"] == "yes"  # the second run replaced the first: same product


def test_image_size_must_be_that_of_the_annotation(scene: Path, tmp_path: Path) -> None:
    def edit(name: str, data: bytes) -> bytes:
        if "/annotation/s1" not in name:
            return data
        start, stop = data.index(b"<numberOfLines>") + 15, data.index(b"</numberOfLines>")
        return data[:start] + str(int(data[start:stop]) + 7).encode() + data[stop:]

    expect_refusal(scene, _edited(scene, tmp_path, edit), InputError, "pixels, its annotation says", verify="off")


def test_contradicting_orbit(scene: Path, tmp_path: Path) -> None:
    def edit(name: str, data: bytes) -> bytes:
        if "/annotation/s1" not in name:
            return data
        start = data.index(b"<x>", data.index(b"<position>", len(data) // 200)) + 3
        stop = data.index(b"</x>", start)
        return data[:start] + f"{float(data[start:stop]) + 3.0:.9e}".encode() + data[stop:]

    expect_refusal(scene, _edited(scene, tmp_path, edit), InputError, "state vectors are inconsistent", verify="off")


def test_area_outside_is_skipped(scene: Path) -> None:
    grid = SceneProducts(Scene(size_px=SIZE_PX)).grid
    far = Grid(grid.epsg, grid.x0 + 60_000, grid.y0, 10.0, -10.0, 40, 40)
    with pytest.raises(Skipped, match=r"outside: the product covers 0\.0 %"):
        convert(scene, _zip(scene), far)
    with pytest.raises(Skipped, match="outside: the product covers"):
        convert(scene, _zip(scene), grid.window(Window(0, -3000, 20, 3020)), min_overlap=0.5)


def test_area_partly_outside_is_cut(scene: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(scene / "scene", work / "scene")
    grid = SceneProducts(Scene(size_px=SIZE_PX)).grid.window(Window(-260, -260, 140, 140))
    gamma0, mask, facts, _ = convert(work, _zip(work), grid, speckle=Speckle(filter="none"))
    outside = (mask & 4) > 0
    assert 0.02 < outside.mean() < 0.98
    assert facts["shares"]["VV"]["nodata"] == pytest.approx(outside.mean(), abs=1e-6)
    assert (np.isnan(gamma0[0]) == outside).all()
    assert facts["coverage"] == pytest.approx(1 - outside.mean(), abs=0.1)


def test_heights_that_do_not_cover(scene: Path) -> None:
    info = raster.info(scene / "scene" / "dem.tif")
    cut = info.grid.window(Window(0, 0, info.grid.rows, info.grid.cols // 2))
    raster.write(
        scene / "scene" / "half.tif",
        raster.read_on_grid(scene / "scene" / "dem.tif", cut),
        cut,
        tags={"VERTICAL": "ellipsoid"},
    )
    text = expect_refusal(scene, _zip(scene), InputError, "half.tif: no heights for", dem=Dem(path="{scene}/half.tif"))
    assert "1-degree tiles S36E149" in text


def test_heights_without_datum(scene: Path) -> None:
    plain = raster.read(scene / "scene" / "dem.tif")
    raster.write(scene / "scene" / "plain.tif", plain, raster.info(scene / "scene" / "dem.tif").grid)
    expect_refusal(
        scene, _zip(scene), ConfigError, "does not say what its heights refer to", dem=Dem(path="{scene}/plain.tif")
    )
    expect_refusal(
        scene, _zip(scene), ConfigError, "geoid_grid is not set", dem=Dem(path="{scene}/plain.tif", vertical="EGM2008")
    )


def test_precise_orbit_is_never_replaced_in_silence(scene: Path) -> None:
    expect_refusal(scene, _zip(scene), InputError, "no POEORB orbit file of S1A", orbit="poeorb")


def _orbit_file(folder: Path, archive: Path, kind: str, shift_m: float = 0.0) -> str:
    """An orbit file of the product's own state vectors; shift_m moves them all along x."""
    from utils.io import safe_s1

    with open_product(archive) as product:
        note = safe_s1.read_annotation(product, safe_s1.find_members(product)["VV"].annotation)
    day = note.first_line_time.astype("datetime64[D]")
    span = [str(day + np.timedelta64(n, "D")).replace("-", "") for n in (-1, 1)]
    vectors = "".join(
        f"<OSV><UTC>UTC={str(time)[:26]}</UTC><X>{p[0] + shift_m!r}</X><Y>{p[1]!r}</Y><Z>{p[2]!r}</Z><VX>{v[0]!r}</VX><VY>{v[1]!r}</VY><VZ>{v[2]!r}</VZ></OSV>"
        for time, p, v in zip(
            note.orbit_times, note.orbit_position_m.tolist(), note.orbit_velocity_m_s.tolist(), strict=True
        )
    )
    name = f"S1A_OPER_AUX_{kind}_OPOD_20991231T000000_V{span[0]}T225942_{span[1]}T005942.EOF"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(
        "<Earth_Explorer_File><Earth_Explorer_Header><Fixed_Header><Mission>Sentinel-1A</Mission></Fixed_Header></Earth_Explorer_Header>"
        f"<Data_Block><List_of_OSVs>{vectors}</List_of_OSVs></Data_Block></Earth_Explorer_File>"
    )
    return name


def test_orbit_file_that_the_lock_names(scene: Path, tmp_path: Path) -> None:
    """The product's own orbit as a file gives the same pixels; a file that the lock does not name is not seen."""
    from utils.io import download_lock

    work = tmp_path / "work"
    shutil.copytree(scene / "scene", work / "scene")
    raw, quiet = Layout(work).raw, Speckle(filter="none")
    expected, _, _, _ = convert(work, _zip(work), speckle=quiet)
    shutil.rmtree(Layout(work).preprocessed("sentinel1", _zip(work).stem))
    names = {kind: _orbit_file(raw / "orbits", _zip(work), kind) for kind in ("RESORB", "POEORB")}
    expect_refusal(work, _zip(work), InputError, "no POEORB orbit file of S1A", orbit="poeorb")
    for kind, warned in (("RESORB", 1), ("POEORB", 0)):
        record = {"file": f"orbits/{names[kind]}", "mission": "ORBIT"}
        download_lock.merge_lock(raw, {names[kind].removesuffix(".EOF"): record})
        gamma0, _, facts, warnings = convert(work, _zip(work), speckle=quiet, orbit="poeorb")
        assert (facts["tags"]["ORBIT_FILE"], facts["tags"]["ORBIT_SOURCE"]) == (names[kind], kind)
        assert [w.startswith("W_RESORB: S1A ") for w in warnings] == [True] * warned
        assert np.abs(gamma0 / expected - 1).max() < 1e-3  # the file is read 60 s around the scene, fewer vectors
    own = tmp_path / "own"
    _orbit_file(own, _zip(work), "POEORB")
    (raw / "downloads.lock.json").unlink()
    _, _, facts, _ = convert(work, _zip(work), speckle=quiet, orbit="poeorb", orbit_dir=str(own))
    assert facts["tags"]["ORBIT_FILE"] == names["POEORB"]
    download_lock.merge_lock(raw, {names["POEORB"].removesuffix(".EOF"): record})
    _orbit_file(raw / "orbits", _zip(work), "POEORB", shift_m=300.0)  # and the file is really used
    moved, _, _, _ = convert(work, _zip(work), speckle=quiet, orbit="poeorb")
    assert np.abs(moved / expected - 1).max() > 1e-2


def test_fetched_heights_are_the_default(scene: Path, tmp_path: Path) -> None:
    """With preprocess.dem.path empty the mosaic of the lock is read: heights above EGM2008 and an undulation of 30 m
    give the pixels of the ellipsoidal heights 30 m higher."""
    from utils.io import download_lock

    work = tmp_path / "work"
    shutil.copytree(scene / "scene", work / "scene")
    raw, quiet = Layout(work).raw, Speckle(filter="none")
    expect_refusal(work, _zip(work), ConfigError, "no height tiles were fetched", dem=Dem())
    expected, _, _, _ = convert(work, _zip(work), speckle=quiet)
    shutil.rmtree(Layout(work).preprocessed("sentinel1", _zip(work).stem))
    source = work / "scene" / "dem.tif"
    grid = raster.info(source).grid
    raster.write(raw / "dem" / "dem.tif", raster.read(source) - 30, grid, tags={"VERTICAL": "EGM2008"})
    raster.write(work / "geoid.tif", np.full((1, *grid.shape), 30, np.float32), grid)
    download_lock.merge_lock(raw, {"dem": {"file": "dem/dem.tif", "mission": "DEM_MOSAIC"}})
    expect_refusal(work, _zip(work), ConfigError, "heights are above EGM2008, but preprocess.dem.geoid_grid", dem=Dem())
    gamma0, _, facts, _ = convert(work, _zip(work), speckle=quiet, dem=Dem(geoid_grid=str(work / "geoid.tif")))
    tags = facts["tags"]
    assert (tags["DEM"], tags["DEM_VERTICAL"], tags["GEOID"]) == ("dem.tif", "EGM2008", "geoid.tif")
    assert np.abs(gamma0 / expected - 1).max() < 1e-3


def test_without_flattening_flat_ground_is_the_same(scene: Path, tmp_path: Path) -> None:
    """gamma0 by the ellipsoid incidence differs from the flattened one by the terrain only: medians agree."""
    work = tmp_path / "work"
    shutil.copytree(scene / "scene", work / "scene")
    flat, _, _, _ = convert(work, _zip(work), flatten=False, speckle=Speckle(filter="none"))
    rtc, _, facts, _ = convert(work, _zip(work), speckle=Speckle(filter="none"))
    assert facts["tags"]["RADIOMETRY"] == "gamma0_rtc"
    ratio = 10 * np.log10(flat[0] / rtc[0])
    assert abs(np.median(ratio)) < 0.5
    assert np.ptp(np.percentile(ratio, [5, 95])) > 0.5  # and terrain does matter here


def test_members_are_found_by_name(scene: Path) -> None:
    from utils.io import safe_s1

    with open_product(_zip(scene)) as product:
        found = safe_s1.find_members(product)
        note = safe_s1.read_annotation(product, found["VH"].annotation)
    assert sorted(found) == ["VH", "VV"]
    assert all(None not in (m.calibration, m.noise, m.measurement) for m in found.values())
    assert (note.polarisation, note.mission, note.direction) == ("VH", "S1A", "descending")


def test_pixels_of_20_m_are_means_of_10_m(scene: Path, tmp_path: Path) -> None:
    """Flattened and filtered at 10 m, then averaged as power; another origin of the radar cells changes nothing."""
    work = tmp_path / "work"
    shutil.copytree(scene / "scene", work / "scene")
    fine, _, _, _ = convert(work, _zip(work))
    grid = SceneProducts(Scene(size_px=SIZE_PX)).grid
    coarse = Grid(grid.epsg, grid.x0, grid.y0, 20.0, -20.0, SIZE_PX // 2, SIZE_PX // 2)
    found, mask, _, _ = convert(work, _zip(work), coarse, row_block=33)
    expected = fine.reshape(2, SIZE_PX // 2, 2, SIZE_PX // 2, 2).mean(axis=(2, 4), dtype=np.float64)
    assert np.abs(found / expected - 1).max() < 1e-6
    assert not mask.any()
    odd = Grid(grid.epsg, grid.x0, grid.y0, 15.0, -15.0, 64, 64)
    with pytest.raises(ConfigError, match=r"area\.pixel_m is 15; Sentinel-1 makes multiples of 10 m"):
        convert(work, _zip(work), odd)
