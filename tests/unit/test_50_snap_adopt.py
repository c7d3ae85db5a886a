"""From a result of gpt to the contract's files: values by hand, tags, and every reason to refuse one."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scripts import _contract, _snap, _snap_run, _snap_s2
from tests.fakes.gpt_dimap import write_dimap
from tests.s1_stage import Item, Skipped
from tests.snap_tools import ROOT, write_orbit
from utils.io import dimap, raster, safe_s2
from utils.io.download_lock import merge_lock
from utils.io.safe import open_product
from utils.io.synth_products import SceneProducts
from utils.science.grid import Grid, Window
from utils.science.s1_run import Block
from utils.workflow import config
from utils.workflow.errors import ConfigError, ExternalError, InputError
from utils.workflow.layout import Layout
from utils.workflow.schema import Area, Conf, DatasetConf, Dem, Preprocess, Scene, Speckle

SIZE_PX = 128


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("scene")
    products = SceneProducts(Scene(size_px=SIZE_PX, speckle=False))
    products.write_ground(work / "scene", {})
    products.write_s1("s1_t0", work / "scene/archive")
    products.write_s2("s2_t0", work / "scene/archive")
    products.write_s2("s2_t1", work / "scene/archive")
    return work / "scene"


def context(work: Path, scene: Path, bands: tuple[str, ...] = ("B04", "B03", "B02", "B08"), **settings: Any) -> Any:
    """What a stage context offers, for a scene elsewhere."""
    area = Area(geojson=str(scene / "area.geojson"), epsg=32755)
    settings.setdefault("dem", Dem(path=str(scene / "dem.tif")))
    conf = Conf(work=str(work), area=area, preprocess=Preprocess(**settings), dataset=DatasetConf(s2_bands=bands))
    warnings: list[str] = []
    return SimpleNamespace(
        conf=conf, layout=Layout(work), warn=warnings.append, warnings=warnings, key="k", resolve=lambda text: config.resolve(conf, text),
        tags=lambda units, sources, **more: {"UNITS": units, **{k: str(v) for k, v in more.items()}},
    )  # fmt: skip


def s1(scene: Path) -> Path:
    return next((scene / "archive").glob("S1*.zip"))


def s2(scene: Path, date: str = "2019") -> Path:
    return next((scene / "archive").glob(f"S2?_MSIL2A_{date}*.zip"))


GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, SIZE_PX, SIZE_PX)


def s1_dim(folder: Path, orbit: str = "Downlink", **planes: np.ndarray) -> Path:
    """A .dim that covers the grid and 40 m more on each side."""
    grown = Grid(32755, 699960.0, 6100040.0, 10.0, -10.0, SIZE_PX + 8, SIZE_PX + 8)
    bands = {"Gamma0_VV": np.full(grown.shape, 0.1, np.float32), "Gamma0_VH": np.full(grown.shape, 0.02, np.float32),
             "layoverShadowMask": np.zeros(grown.shape, np.uint8)}  # fmt: skip
    for name, values in planes.items():
        bands[name] = np.pad(values, 4, mode="edge").astype(bands.get(name, values).dtype)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "S1.dim"
    write_dimap(path, grown, bands, {"orbit_state_vector_file": orbit})
    return path


def adopt(ctx: Any, path: Path, dim: Path | list[Path]) -> tuple[Item, Path]:
    item = Item(path.stem)
    with open_product(path) as product:
        _snap._adopt(ctx, item, product, [dim] if isinstance(dim, Path) else dim, GRID)
    return item, ctx.layout.preprocessed("sentinel1", path.stem)


def test_values_by_hand(scene: Path, tmp_path: Path) -> None:
    vv = np.full((SIZE_PX, SIZE_PX), 0.1, np.float32)
    vh = np.full((SIZE_PX, SIZE_PX), 0.02, np.float32)
    mask = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    vv[0, :6] = [0.0, 4.5e-11, 9.9e-7, 1.1e-6, 0.5, 0.3]
    vh[1, 1] = 0.0
    mask[2, :4] = [0, 1, 2, 3]
    ctx = context(tmp_path, scene)
    item, folder = adopt(ctx, s1(scene), s1_dim(tmp_path / "d", Gamma0_VV=vv, Gamma0_VH=vh, layoverShadowMask=mask))
    out, other = (raster.read(folder / f"gamma0_{pol}.tif")[0] for pol in ("vv", "vh"))
    bits = raster.read(folder / "mask.tif")[0]
    np.testing.assert_array_equal(out[0, :6], np.float32([np.nan, 0.0, 0.0, 1.1e-6, 0.5, 0.3]))
    np.testing.assert_array_equal(bits[0, :6], [4, 0, 0, 0, 0, 0])
    assert np.isnan(other[0, 0]) and bits[1, 1] == 4 and np.isnan(out[1, 1]) and np.isnan(other[1, 1])
    np.testing.assert_array_equal(bits[2, :4], [0, 1, 2, 3])
    np.testing.assert_array_equal(
        np.isnan(out[2, :4]), [False, False, True, True]
    )  # shadow has no value, layover keeps it
    assert int(np.isnan(out).sum()) == 4 and int((bits > 0).sum()) == 5
    info = raster.info(folder / "gamma0_vv.tif")
    assert (info.dtype, info.grid, info.band_names) == ("float32", GRID, ("VV",)) and np.isnan(info.nodata)
    total = SIZE_PX**2
    expected = {
        "BACKEND": "snap", "RADIOMETRY": "gamma0_rtc", "POLARISATION": "VV", "ORBIT_FILE": "annotation", "PASS": "descending",
        "RELATIVE_ORBIT": "147", "UNITS": "m2/m2", "NODATA_FRACTION": str(round(4 / total, 6)),
        "NONPOSITIVE_FRACTION": str(round(2 / total, 6)), "SRGR_TIME": "linear", "AZIMUTH_SPACING": "nominal",
        # a .dim of unknown making says nothing of these, and nothing is made up
        "SPECKLE": "unknown", "DEM": "unknown", "DEM_VERTICAL": "unknown", "GEOID": "unknown", "RESAMPLING": "unknown",
        "NOISE_REMOVED": "unknown", "BORDER_NOISE": "unknown", "SNAP_VERSION": "unknown",
    }  # fmt: skip
    assert {name: info.tags[name] for name in expected} == expected
    assert sorted(p.name for p in folder.iterdir()) == [
        "gamma0_vh.tif",
        "gamma0_vv.tif",
        "mask.tif",
        "product.json",
        "quicklook.png",
    ]
    assert {p.name for p in item.outputs} == {p.name for p in folder.iterdir()}
    facts = json.loads((folder / "product.json").read_text())
    assert facts["coverage"] == 1.0 and facts["mask_fraction"]["bit4"] == round(2 / total, 6)
    assert str(tmp_path) not in (folder / "product.json").read_text()


def test_tags_of_a_known_run(scene: Path, tmp_path: Path) -> None:
    dim = s1_dim(tmp_path / "d")
    (dim.parent / "graph.xml").write_text((ROOT / "snap-confs/s1_grd_ellipsoid.xml").read_text())
    (dim.parent / "settings.txt").write_text("snap 13\nspeckle=Refined Lee\ndem=/x/dem.tif\n")
    _, folder = adopt(context(tmp_path, scene), s1(scene), dim)
    tags = raster.info(folder / "gamma0_vv.tif").tags
    expected = {"SPECKLE": "refined_lee 7x7 ENL auto", "DEM": "dem.tif", "DEM_VERTICAL": "ellipsoid", "GEOID": "none", "BORDER_NOISE": "dn0",
                "RESAMPLING": "bilinear", "NOISE_REMOVED": "yes", "SNAP_VERSION": "13"}  # fmt: skip
    assert {name: tags[name] for name in expected} == expected


def test_incidence_is_kept(scene: Path, tmp_path: Path) -> None:
    angle = np.full((SIZE_PX, SIZE_PX), 37.5, np.float32)
    angle[3, 3] = 0
    _, folder = adopt(
        context(tmp_path, scene, incidence=True), s1(scene), s1_dim(tmp_path / "d", localIncidenceAngle=angle)
    )
    found = raster.read(folder / "incidence.tif")[0]
    assert np.isnan(found[3, 3]) and float(np.nanmean(found)) == 37.5


def test_no_pixel_is_outside_and_leaves_nothing(scene: Path, tmp_path: Path) -> None:
    zero = np.zeros((SIZE_PX, SIZE_PX), np.float32)
    ctx = context(tmp_path, scene)
    with pytest.raises(Skipped, match="outside"):
        adopt(ctx, s1(scene), s1_dim(tmp_path / "d", Gamma0_VV=zero, Gamma0_VH=zero))
    assert not ctx.layout.preprocessed("sentinel1", s1(scene).stem).exists()


def fetched_orbit(ctx: Any, scene: Path, **how: str) -> Path:
    path = write_orbit(s1(scene), ctx.layout.raw / "orbits", **how)
    record = {"file": f"orbits/{path.name}", "mission": "ORBIT", "size": path.stat().st_size, "sha256": ""}
    merge_lock(ctx.layout.raw, {path.stem: record})
    return path


@pytest.mark.parametrize(
    ("applied", "text"),
    [
        ("Downlink", "no orbit file was applied"),
        ("Sentinel Precise {resorb}.zip", "is RESORB, allowed is POEORB"),
        ("Sentinel Precise {other}.zip", "is an orbit of S1B, the product is S1A"),
        ("Sentinel Precise {day}.zip", "does not cover"),
    ],
)
def test_an_orbit_that_was_not_applied_is_70(scene: Path, tmp_path: Path, applied: str, text: str) -> None:
    ctx = context(tmp_path, scene, orbit="poeorb")
    name = fetched_orbit(ctx, scene).name
    names = {"resorb": name.replace("POEORB", "RESORB"), "other": name.replace("S1A", "S1B"),
             "day": name.replace("_V20191105", "_V20181105").replace("_20191107T", "_20181107T")}  # fmt: skip
    with pytest.raises(ExternalError, match=text) as caught:
        adopt(ctx, s1(scene), s1_dim(tmp_path / "d", orbit=applied.format(**names)))
    assert caught.value.exit_code == 70
    assert not ctx.layout.preprocessed("sentinel1", s1(scene).stem).exists()
    _, folder = adopt(ctx, s1(scene), s1_dim(tmp_path / "e", orbit=f"Sentinel Precise {name}.zip"))
    tags = raster.info(folder / "gamma0_vv.tif").tags
    assert (tags["ORBIT_SOURCE"], tags["ORBIT_FILE"]) == ("POEORB", name)


def test_missing_band_and_other_grid(scene: Path, tmp_path: Path) -> None:
    ctx = context(tmp_path, scene, incidence=True)
    with pytest.raises(InputError, match="no band localIncidenceAngle; it has Gamma0_VH, Gamma0_VV, layoverShadowMask"):
        adopt(ctx, s1(scene), s1_dim(tmp_path / "d"))
    shifted = Grid(32755, 700003.0, 6100000.0, 10.0, -10.0, SIZE_PX, SIZE_PX)
    planes = {name: np.ones(shifted.shape, np.float32) for name in ("Gamma0_VV", "Gamma0_VH", "layoverShadowMask")}
    path = tmp_path / "S.dim"
    write_dimap(path, shifted, planes, {})
    with pytest.raises(InputError, match="does not align with the target grid"):
        adopt(context(tmp_path, scene), s1(scene), path)
    assert not ctx.layout.preprocessed("sentinel1", s1(scene).stem).exists()


def test_row_blocks_do_not_change_the_files(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).uniform(0.01, 0.5, (SIZE_PX, SIZE_PX)).astype(np.float32)
    dim = s1_dim(tmp_path / "d", Gamma0_VV=values)
    monkeypatch.setattr(_contract, "_QUICKLOOK_PX", 16)  # every fourth row, and blocks that do not begin at one
    _, one = adopt(context(tmp_path / "one", scene), s1(scene), dim)
    monkeypatch.setattr(_snap, "_BLOCK_ROWS", 50)
    _, many = adopt(context(tmp_path / "many", scene), s1(scene), dim)
    for path in one.iterdir():
        if path.suffix == ".tif":
            np.testing.assert_array_equal(raster.read(path), raster.read(many / path.name))
    assert (one / "product.json").read_bytes() == (many / "product.json").read_bytes()
    assert (one / "quicklook.png").read_bytes() == (many / "quicklook.png").read_bytes()


def test_writer_refuses_blocks_with_gaps(scene: Path, tmp_path: Path) -> None:
    part = Window(0, 0, 8, SIZE_PX)
    block = Block(part, {"VV": np.ones((8, SIZE_PX), np.float32)}, np.zeros((8, SIZE_PX), np.uint8), None)
    ctx = context(tmp_path, scene)
    with pytest.raises(ValueError, match="the blocks hold 1024 pixels, the grid 16384"):
        _contract.write_s1(ctx, Item("x"), GRID, ["VV"], [block], {}, {}, {"VV": "yes"})
    assert not ctx.layout.preprocessed("sentinel1", "x").exists()


def test_dims_belong_to_products(tmp_path: Path) -> None:
    paths = {"S1A_AAA": tmp_path, "S1A_BBB": tmp_path}
    chosen = _snap.match_products([Path("/x/S1A_BBB_Orb_NR_Cal_TF_TC.dim")], paths)
    assert chosen == {"S1A_BBB": [Path("/x/S1A_BBB_Orb_NR_Cal_TF_TC.dim")]}
    several = [Path(f"/x/S1A_{name}.dim") for name in ("BBB_VV", "AAA", "BBB_VH")]
    assert _snap.match_products(several, paths) == {"S1A_BBB": [several[0], several[2]], "S1A_AAA": [several[1]]}
    with pytest.raises(InputError, match="belongs to none of the downloaded products"):
        _snap.match_products([Path("/x/S1A_CCC.dim")], paths)


def part_of(folder: Path, name: str, bands: dict[str, np.ndarray], grid: Grid = GRID, orbit: str = "Downlink") -> Path:
    """A .dim that holds some bands, as the historic scripts leave one for each polarisation or band."""
    path = folder / f"{name}.dim"
    folder.mkdir(parents=True, exist_ok=True)
    write_dimap(path, grid, bands, {"orbit_state_vector_file": orbit})
    return path


def test_one_dim_for_each_polarisation(scene: Path, tmp_path: Path) -> None:
    bands = {name: np.full(GRID.shape, value, np.float32) for name, value in (("VV", 0.1), ("VH", 0.02))}
    mask = np.zeros(GRID.shape, np.uint8)
    mask[5, 5] = 1
    dims = [part_of(tmp_path / "d", f"X_{pol}", {f"Gamma0_{pol}": values, "layoverShadowMask": mask})
            for pol, values in bands.items()]  # fmt: skip
    for order in (dims, dims[::-1]):
        _, folder = adopt(context(tmp_path, scene), s1(scene), order)
        for pol, values in bands.items():
            np.testing.assert_array_equal(raster.read(folder / f"gamma0_{pol.lower()}.tif")[0], values)
        assert raster.read(folder / "mask.tif")[0, 5, 5] == 1
    facts = json.loads((folder / "product.json").read_text())
    assert facts["snap"]["dim"] == "X_VH.dim, X_VV.dim"
    with pytest.raises(InputError, match="no band Gamma0_VH"):
        adopt(context(tmp_path / "one", scene), s1(scene), dims[0])


def test_dims_that_are_no_parts_of_one_result_are_66(scene: Path, tmp_path: Path) -> None:
    ones, mask = np.ones(GRID.shape, np.float32), np.zeros(GRID.shape, np.uint8)
    both = {"Gamma0_VV": ones, "Gamma0_VH": ones, "layoverShadowMask": mask}
    vv, vh = ({f"Gamma0_{pol}": ones, "layoverShadowMask": mask} for pol in ("VV", "VH"))
    moved = Grid(32755, 700010.0, 6100000.0, 10.0, -10.0, SIZE_PX, SIZE_PX)
    d = tmp_path / "d"
    pairs = [
        ([part_of(d, "X_g01", both), part_of(d, "X_g02", both)], r"X_g01.dim and X_g02.dim both hold Gamma0_VV"),
        ([part_of(d, "X_VV", vv), part_of(d, "X_g02_VH", vh, moved)], "X_VV.dim and X_g02_VH.dim are of different areas"),
        ([part_of(d / "o", "X_VV", vv), part_of(d / "o", "P_VH", vh, orbit="Sentinel Precise S1A_OPER_AUX_POEORB_OPOD_"
          "20210316T161714_V20191105T225942_20191107T005942.EOF.zip")], "were made with different orbits"),
    ]  # fmt: skip
    for dims, text in pairs:
        with pytest.raises(InputError, match=text) as caught:
            adopt(context(tmp_path, scene), s1(scene), dims)
        assert caught.value.exit_code == 66
    for pol, filtered in (("VV", "Lee"), ("VH", "None")):
        (d / pol).mkdir()
        part_of(d / pol, f"X_{pol}", vv if pol == "VV" else vh)
        (d / pol / "graph.xml").write_text((ROOT / "snap-confs/s1_grd_ellipsoid.xml").read_text())
        (d / pol / "settings.txt").write_text(f"snap 13\nspeckle={filtered}\ndem=/x/dem.tif\n")
    with pytest.raises(InputError, match=r"X_VV.dim and X_VH.dim were not made with the same graph"):
        adopt(context(tmp_path, scene), s1(scene), [d / "VV/X_VV.dim", d / "VH/X_VH.dim"])
    assert not (tmp_path / "preprocessed").exists()


# -- the plan of a run -------------------------------------------------------------------------------------------------


def planned(ctx: Any, scene: Path) -> Any:
    with open_product(s1(scene)) as product:
        return _snap.plan_s1(ctx, "X", s1(scene), product, GRID)


def test_plan_of_sentinel1(scene: Path, tmp_path: Path) -> None:
    from shapely import wkt

    from utils.io.footprint import to_utm

    run = planned(context(tmp_path, scene, polarisations=("VV",), speckle=Speckle(filter="refined_lee")), scene)
    assert run.variables["crs"] == "EPSG:32755" and run.variables["speckle"] == "Refined Lee"
    assert run.variables["dem"] == str(scene / "dem.tif") and run.variables["dem_nodata"] == "-32768"
    assert (run.bands, run.pols, run.orbit) == (("Gamma0_VV", "layoverShadowMask"), ("VV",), "annotation")
    x0, y0, x1, y1 = to_utm(wkt.loads(run.variables["aoi_wkt"]), 32755).bounds
    np.testing.assert_allclose((x0, y0, x1, y1), (695000, 6093720, 706280, 6105000), atol=0.05)
    text = run.graph.read_text()
    assert "Apply-Orbit-File" not in text and text.count("<externalDEMApplyEGM>false<") == 2
    found = run.arguments()
    assert found[-5 - 3] == str(run.graph) and found[-5 - 2] == str(s1(scene))
    precise = context(tmp_path, scene, orbit="poeorb")
    with pytest.raises(InputError, match="no POEORB orbit file of S1A"):
        planned(precise, scene)
    orbit = fetched_orbit(precise, scene)
    run = planned(precise, scene)
    assert (run.orbit, run.orbits) == ("poeorb", orbit) and "Sentinel Precise (Auto Download)" in run.graph.read_text()
    orbit.unlink()
    fetched_orbit(precise, scene, kind="RESORB")
    run = planned(precise, scene)
    assert run.orbit == "resorb" and "Sentinel Restituted" in run.graph.read_text()
    assert precise.warnings and precise.warnings[0].startswith("W_RESORB")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"flatten": False}, "the graphs of SNAP always flatten"),
        ({"speckle": Speckle(window=3)}, "SNAP offers speckle windows of 5, 7, 9"),
        ({"speckle": Speckle(sigma=0.85)}, r"SNAP offers sigma 0.5, 0.6"),
        ({"speckle": Speckle(filter="refined_lee", window=9)}, "refined Lee has a window of 7"),
    ],
)
def test_settings_that_snap_cannot_follow_are_65(scene: Path, tmp_path: Path, settings: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        planned(context(tmp_path, scene, **settings), scene)


def test_heights_for_snap(scene: Path, tmp_path: Path) -> None:
    path = tmp_path / "h.tif"
    values = np.full((4, 4), 300.0, np.float32)
    grid = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 4, 4)

    def ask(nodata: float | None, vertical: Any = None, tags: dict[str, str] | None = None) -> Any:
        raster.write(path, values, grid, nodata=nodata, tags=tags)
        return _snap_run.heights_of(context(tmp_path, scene, dem=Dem(path=str(path), vertical=vertical)))

    assert ask(-9999.0, "EGM2008") == (path, "EGM2008", -9999.0)
    assert ask(float("nan"), "EGM96") == (path, "EGM96", -32768.0)
    assert ask(None, None, {"VERTICAL": "ellipsoid"}) == (path, "ellipsoid", -32768.0)
    with pytest.raises(ConfigError, match="its nodata value 0 is a height"):
        ask(0.0, "EGM96")
    with pytest.raises(ConfigError, match="does not say what its heights refer to"):
        ask(-32768.0)
    with pytest.raises(ConfigError, match=r"the file says ellipsoid, preprocess.dem.vertical says EGM96"):
        ask(None, "EGM96", {"VERTICAL": "ellipsoid"})
    with pytest.raises(ConfigError, match="SNAP reads heights from GeoTIFF"):
        _snap_run.heights_of(context(tmp_path, scene, dem=Dem(path=str(tmp_path / "h.vrt"), vertical="EGM96")))


def holed(scene: Path, path: Path, hole: tuple[slice, slice], nodata: float | None, value: float) -> Dem:
    """The scene's heights with a hole, to be taken as sea."""
    info, heights = raster.info(scene / "dem.tif"), raster.read(scene / "dem.tif")[0]
    heights[hole] = value
    raster.write(path, heights, info.grid, nodata=nodata, tags={"VERTICAL": "ellipsoid"})
    return Dem(path=str(path), missing="sea")


def test_heights_must_cover_the_area_and_its_margin(scene: Path, tmp_path: Path) -> None:
    info = raster.info(scene / "dem.tif")
    row, col = info.grid.offset_of(GRID)
    few = Window(row, col, SIZE_PX, SIZE_PX)
    raster.write(tmp_path / "h.tif", raster.read(scene / "dem.tif", window=few)[0], info.grid.window(few),
                 tags={"VERTICAL": "ellipsoid"})  # fmt: skip
    ctx = context(tmp_path, scene, dem=Dem(path=str(tmp_path / "h.tif")))
    with pytest.raises(InputError, match=r"h.tif: no heights for .* % of the area with margin.*S36E149") as caught:
        planned(ctx, scene)
    assert caught.value.exit_code == 66 and not (tmp_path / "snap/heights").exists()
    planned(context(tmp_path, scene, dem=Dem(path=str(tmp_path / "h.tif"), missing="sea")), scene)
    planned(context(tmp_path, scene), scene)


@pytest.mark.parametrize(("nodata", "expected"), [(float("nan"), -32768.0), (None, -32768.0), (-9999.0, -9999.0)])
def test_snap_is_never_given_nan(scene: Path, tmp_path: Path, nodata: float | None, expected: float) -> None:
    hole = (slice(3, 5), slice(7, 9))
    ctx = context(tmp_path, scene, dem=holed(scene, tmp_path / "h.tif", hole, nodata, np.nan))
    _snap.plan_choice(ctx, "annotation")
    assert not (tmp_path / "snap").exists(), "a dry run asks only this, and writes nothing"
    run = planned(ctx, scene)
    given = Path(run.variables["dem"])
    assert given != tmp_path / "h.tif" and given.name == "h.tif"
    assert float(run.variables["dem_nodata"]) == expected == raster.info(given).nodata
    right = raster.read(scene / "dem.tif")[0]
    right[hole] = expected
    np.testing.assert_array_equal(raster.read(given)[0], right)
    info, own = raster.info(given), raster.info(scene / "dem.tif")
    assert info.grid == own.grid and info.tags["VERTICAL"] == "ellipsoid"
    before = given.stat().st_mtime_ns
    assert planned(ctx, scene).variables == run.variables and given.stat().st_mtime_ns == before
    whole = context(tmp_path, scene, dem=holed(scene, tmp_path / "w.tif", hole, -9999.0, -9999.0))
    assert planned(whole, scene).variables["dem"] == str(tmp_path / "w.tif"), "numbers are understood as they are"


def test_missing_heights_are_bit_8_and_no_missing_sample(scene: Path, tmp_path: Path) -> None:
    row, col = raster.info(scene / "dem.tif").grid.offset_of(GRID)
    hole = (slice(row + 20, row + 30), slice(col + 40, col + 60))
    dem = holed(scene, tmp_path / "h.tif", hole, float("nan"), np.nan)
    vv = np.full(GRID.shape, 0.1, np.float32)
    vv[22:26, 45:50] = 0  # SNAP has no value where it has no height ...
    vv[70, 70] = 0  # ... and at a missing sample
    _, folder = adopt(context(tmp_path, scene, dem=dem), s1(scene), s1_dim(tmp_path / "d", Gamma0_VV=vv))
    bits, out = raster.read(folder / "mask.tif")[0], raster.read(folder / "gamma0_vv.tif")[0]
    inside = np.zeros(GRID.shape, bool)
    inside[21:29, 41:59] = True  # bilinear: the rim of the hole is unknown too
    assert (bits[inside] == 8).all() and np.isnan(out[22:26, 45:50]).all()
    assert float(out[21, 41]) == pytest.approx(0.1), "a value that SNAP gave is kept"
    assert bits[70, 70] == 4 and set(np.unique(bits)) == {0, 4, 8} and (bits == 8).sum() <= 12 * 22
    np.testing.assert_array_equal(np.isnan(out), vv == 0)


def test_coverage_and_outside(scene: Path, tmp_path: Path) -> None:
    far = Grid(32755, 600000.0, 6000000.0, 10.0, -10.0, SIZE_PX, SIZE_PX)
    with open_product(s1(scene)) as product:
        assert _snap.coverage(product, GRID) == pytest.approx(1.0)
        assert _snap.coverage(product, far) == 0
        with pytest.raises(Skipped, match=r"covers 0.0 % of the area"):
            _snap._skip_outside(context(tmp_path, scene), Item("x"), product, far)


def test_noise_that_the_product_lacks(scene: Path) -> None:
    done = _snap.Done(known=True, noise=True)
    with open_product(s1(scene)) as product:
        states = [_snap._noise_removed(product, "VV", *how) for how in (
            (done, False), (done, True), (_snap.Done(known=True), False), (_snap.Done(), False))]  # fmt: skip
    assert states == ["yes", "already", "off", "unknown"]


# -- Sentinel-2 --------------------------------------------------------------------------------------------------------


def s2_dim(
    folder: Path, product: Path, change: Any = None, scaling: tuple[float, float] | None = None,
    names: tuple[str, ...] = ("B2", "B4"),
) -> Path:  # fmt: skip
    """B2 and B4 as SNAP's reader would give them, changed on purpose."""
    with open_product(product) as opened:
        meta = safe_s2.metadata(opened)
        planes = {name: safe_s2.read_dn(opened, meta, band, GRID) for name, band in (("B2", "B02"), ("B4", "B04"))}
        right = (1 / meta.quantification, meta.offset_dn("B02") / meta.quantification)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "S2.dim"
    planes = {name: change(planes[name]) if change else planes[name] for name in names}
    write_dimap(path, GRID, planes, {}, scaling=dict.fromkeys(planes, scaling or right))
    return path


def adopt_s2(ctx: Any, path: Path, *dims: Path) -> Path:
    with open_product(path) as product:
        _snap_s2._adopt(ctx, Item(path.stem), product, dims, GRID)
    return ctx.layout.preprocessed("sentinel2", path.stem)  # type: ignore[no-any-return]


@pytest.mark.parametrize("date", ["2019", "2020"])
def test_reflectance_equals_the_native_reader(scene: Path, tmp_path: Path, date: str) -> None:
    from utils.science.reflectance import to_reflectance

    ctx, path = context(tmp_path, scene, ("B02", "B04")), s2(scene, date)
    folder = adopt_s2(ctx, path, s2_dim(tmp_path / "d", path))
    with open_product(path) as product:
        meta = safe_s2.metadata(product)
        assert (meta.offset_dn("B02") == 0) == (date == "2019"), "one product with, one without offsets"
        for band in ("B02", "B04"):
            dn = safe_s2.read_dn(product, meta, band, GRID)
            expected = to_reflectance(
                dn, meta.offset_dn(band), meta.quantification, meta.nodata_dn, meta.saturated_dn
            ).values
            found = raster.read(folder / f"{band}.tif")[0]
            np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
            error = float(np.nanmax(np.abs(found - expected)))
            print(f"{band} {date}: largest difference {error:.3g} (limit 1e-6)")
            assert error <= 1e-6 and float(np.nanmin(found)) >= 0
    assert sorted(p.name for p in folder.iterdir()) == [
        "B02.tif",
        "B04.tif",
        "cloud.tif",
        "product.json",
        "quicklook.png",
        "scl.tif",
    ]
    tags, classes = raster.info(folder / "B02.tif").tags, raster.info(folder / "scl.tif").tags
    assert (tags["BACKEND"], classes["BACKEND"]) == ("snap", "native")
    facts = json.loads((folder / "product.json").read_text())
    assert facts["snap"]["largest_difference"]["B02"] <= 1e-6


def test_one_dim_for_each_band(scene: Path, tmp_path: Path) -> None:
    path = s2(scene)
    together = adopt_s2(context(tmp_path / "a", scene, ("B02", "B04")), path, s2_dim(tmp_path / "d", path))
    parts = [s2_dim(tmp_path / name, path, names=(name,)) for name in ("B4", "B2")]
    apart = adopt_s2(context(tmp_path / "b", scene, ("B02", "B04")), path, *parts)
    for name in ("B02.tif", "B04.tif", "cloud.tif"):
        np.testing.assert_array_equal(raster.read(apart / name), raster.read(together / name))
    with pytest.raises(InputError, match=r"S2.dim and S2.dim both hold B2"):
        adopt_s2(context(tmp_path / "c", scene, ("B02", "B04")), path, *parts, s2_dim(tmp_path / "again", path))


@pytest.mark.parametrize(
    ("date", "change", "scaling", "text"),
    [
        ("2020", None, (1e-4, 0.0), "differs from the native reader by 0.1 "),  # the offset is missing
        ("2020", None, (1e-4, -0.2), "differs from the native reader by "),  # applied twice
        ("2019", None, (1.0, 0.0), "differs from the native reader by "),  # plain digital numbers
        ("2019", lambda v: v + np.uint16(2), None, "differs from the native reader by 0.0002 "),
        ("2019", lambda v: np.roll(v, 1, axis=1), None, "differs from the native reader by "),  # one pixel to the side
        ("2019", lambda v: v * np.uint16(0), None, "pixels are only in one of them"),
    ],
)
def test_difference_to_the_native_reader_stops(
    scene: Path, tmp_path: Path, date: str, change: Any, scaling: Any, text: str
) -> None:
    ctx, path = context(tmp_path, scene, ("B02", "B04")), s2(scene, date)
    with pytest.raises(ExternalError, match=text) as caught:
        adopt_s2(ctx, path, s2_dim(tmp_path / "d", path, change, scaling))
    assert "1000 pixels (limit 0.0001)" in caught.value.message or "0 pixels (limit" in caught.value.message
    assert not ctx.layout.preprocessed("sentinel2", path.stem).exists()


def test_half_a_count_is_within_the_limit(scene: Path, tmp_path: Path) -> None:
    path = s2(scene)
    dim = s2_dim(tmp_path / "d", path, scaling=(1e-4, 0.9e-4))
    opened = dimap.open_dimap(dim)
    with open_product(path) as product:
        largest = _snap_s2.compare(opened, product, safe_s2.metadata(product), "B02", GRID)
    print(f"largest difference {largest:.3g} (limit {_snap_s2.LARGEST_DIFFERENCE:g})")
    assert 0.8e-4 < largest <= 1e-4


def test_plan_of_sentinel2(scene: Path, tmp_path: Path) -> None:
    def plan(*bands: str) -> Any:
        with open_product(s2(scene)) as product:
            return _snap_s2.plan_s2(context(tmp_path, scene, bands), "X", s2(scene), product, GRID)

    fine = plan("B04", "B03", "B02", "B08")
    assert fine.variables["bands"] == "B4,B3,B2,B8" and "S2Resampling" not in fine.graph.read_text()
    mixed = plan("B04", "B02", "B8A", "B12")
    assert mixed.variables["bands"] == "B4,B2,B8A,B12" and "S2Resampling" in mixed.graph.read_text()
    assert "<referenceBand>B4<" in plan("B04", "B08").graph.read_text(), "the reference must be among the bands"
    with pytest.raises(ConfigError, match="no 10 m band"):
        plan("B12")
    assert [_snap_s2.snap_name(name) for name in ("B02", "B8A", "B11")] == ["B2", "B8A", "B11"]
