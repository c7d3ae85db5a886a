"""burned, landclass and change on a made-up work directory, through the real commands."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from osgeo import gdal, osr
from osgeo_utils.samples.validate_cloud_optimized_geotiff import validate

from scripts.__main__ import main
from tests.unit import tiny_judged
from utils.io import mosaics, raster
from utils.science.grid import Grid, make_tiles

BURNT_PX = 40 * 20 + 40 * 16 + 35 * 20
STAGES = ("mosaic", "mosaic_truth", "indices", "burned", "landclass", "change")


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def more(conf: Path, text: str) -> None:
    conf.write_text(conf.read_text() + text)


def sigma_tiles(work: Path, value: float = 0.004) -> None:
    """A sigma of run good, that of its noise, as stage predict writes it; and mosaic's of the composite where it is missing."""
    names = tuple(f"sigma_{band}" for band in tiny_judged.BANDS)
    for tile in make_tiles(*tiny_judged.GRID.shape, 32):
        path = work / "pred/good/sigma" / f"p001_{tile.id}.tif"
        planes = np.full((len(names), 32, 32), value, np.float32)
        raster.write(path, planes, tiny_judged.GRID.window(tile.window), band_names=names, nodata=np.nan)


def sigma_mosaic(conf: Path, value: float = 0.004) -> None:
    folder = conf.parent / "work/mosaic/good/p001"
    if (folder / "sigma.tif").is_file():
        return
    names = tuple(f"sigma_{band}" for band in tiny_judged.BANDS)
    source = raster.read(folder / "source.tif")[0]
    planes = np.broadcast_to(np.where(source == 0, 0.003, value), (len(names), *source.shape))
    mosaics.write_reflectance(folder / "sigma.tif", planes, tiny_judged.GRID, names, {"SIGMA_OF": "composite.tif"})


def class_raster_3577(path: Path) -> np.ndarray:
    """A class raster of the pair in EPSG:3577: code 3 west, 7 east, made from one on the pair's own grid, which is returned."""
    codes = np.full(tiny_judged.GRID.shape, 3, np.uint8)
    codes[:, 48:] = 7
    wide = Grid(32755, 699000.0, 6101000.0, 10.0, -10.0, 264, 296)  # with a margin, so that turning cuts nothing off
    big = np.full(wide.shape, 3, np.uint8)
    big[:, 148:] = 7
    raster.write(path.with_suffix(".utm.tif"), big, wide, nodata=255)
    gdal.Warp(str(path), str(path.with_suffix(".utm.tif")), dstSRS="EPSG:3577", xRes=5, yRes=5, resampleAlg="near")
    return codes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    conf = tiny_judged.build(tmp_path_factory.mktemp("maps"))
    sigma_tiles(conf.parent / "work")
    tiny_judged.manifests(conf)
    class_raster_3577(conf.parent / "forest.tif")
    rows = np.indices((84, 116))[0]
    heights = Grid(32755, 699900.0, 6100100.0, 10.0, -10.0, 84, 116)
    raster.write(conf.parent / "dem.tif", (3.0 * rows).astype(np.float32), heights)  # rises southwards: faces north
    more(conf, f"landclass: {{class_raster: {conf.parent}/forest.tif, land_classes: {{3: Tall open, 7: Grass}}, dem: {conf.parent}/dem.tif}}\n")  # fmt: skip
    for stage in STAGES[:1]:
        assert call(stage, str(conf))[0] == 0
    sigma_mosaic(conf)
    for stage in STAGES[1:]:
        code, text = call(stage, str(conf))
        assert code == 0, f"{stage}: {text}"
    return conf


def areas(conf: Path, run: str) -> dict[str, Any]:
    return dict(json.loads((conf.parent / f"work/maps/{run}/p001/areas.json").read_text()))


# -- burned ----------------------------------------------------------------------------------------------------------------


def test_hectares_are_corrected_on_test_ground(made: Path) -> None:
    facts = areas(made, "good")["dnbr"]
    assert facts["burned_ha"] == pytest.approx(BURNT_PX / 100) and facts["offset"] == 0
    assert facts["classes"][facts["class_ha"].index(max(facts["class_ha"]))] == "unburned"
    reference = facts["reference"]
    assert reference["truth"] == "hidden" and reference["true_ha"] == pytest.approx(BURNT_PX / 100)
    found = reference["burned"]
    # the third column of tiles is the test set: two blocks of 32 x 32, cells of 16 give one pixel each
    assert found["blocks"] == 2 and found["reference_pixels"] == 2048 and found["sample"] == 8
    assert found["clustered"][1]["ha"] == pytest.approx(
        BURNT_PX / 100, abs=0.01
    )  # the map is right: nothing to correct
    assert found["bootstrap"][1]["ha"] == found["clustered"][1]["ha"]
    # a map that finds nothing is corrected by what the test ground shows: 35 x 20 of 64 x 32 px are burnt
    lost = areas(made, "bad")["dnbr"]
    assert lost["burned_ha"] == 0
    assert lost["reference"]["burned"]["clustered"][1]["ha"] == pytest.approx(61.44 * 700 / 2048, abs=0.01)
    assert lost["reference"]["burned"]["clustered"][1]["high_ha"] > BURNT_PX / 100
    assert "reference" not in areas(made, "hidden")["dnbr"]


def test_probabilities_and_expected_hectares(made: Path) -> None:
    facts, work = areas(made, "good")["dnbr"], made.parent / "work"
    expected = facts["expected"]
    assert expected["of"] == "composite.tif" and expected["errors"].startswith(
        "measured on 2000 validation pixels"
    )  # 12 x 4 are cloudy
    two = expected["burned"]
    assert (
        two[1]["ha"] == pytest.approx(BURNT_PX / 100, abs=0.3)
        and two[1]["low_ha"] <= BURNT_PX / 100 <= two[1]["high_ha"]
    )
    assert sum(one["ha"] for one in two) == pytest.approx(61.44, abs=0.001)
    assert sum(one["ha"] for one in expected["severity"]) == pytest.approx(61.44, abs=0.001)
    path = work / "maps/good/p001/severity_probability.tif"
    info = raster.info(path)
    assert info.band_names == tuple(f"{i}_{k}" for i in ("DNDVI", "DNBR") for k in ("BURNED", "LIKELIEST", "CLASS"))
    assert info.dtype == "uint8" and info.nodata == 255 and info.tags["IMAGE"] == "composite.tif"
    burned, likeliest, classes = raster.read(path, ["DNBR_BURNED", "DNBR_LIKELIEST", "DNBR_CLASS"])
    assert (burned[12:48, 10:26] == 100).all() and (burned[52:, :6] <= 1).all()
    assert (classes[12:48, 10:26] == 6).all() and (likeliest <= 100).all()
    assert "sigma" in areas(made, "bad") and not (work / "maps/bad/p001/severity_probability.tif").exists()


def test_class_maps_are_coloured_cloud_optimised_tiffs(made: Path) -> None:
    work = made.parent / "work"
    files = ["maps/good/p001/severity_dnbr.tif", "maps/good/p001/severity_dndvi.tif", "landclass/p001/class.tif", "change/good/p001/change.tif"]  # fmt: skip
    for name in [
        *files,
        "maps/good/p001/severity.tif",
        "maps/good/p001/burned.tif",
        "maps/good/p001/severity_probability.tif",
    ]:
        warnings, errors, _ = validate(str(work / name))
        assert not errors and not warnings, f"{name}: {errors} {warnings}"
        assert raster.info(work / name).nodata == 255 and raster.info(work / name).dtype == "uint8"
    for name in files:
        dataset = gdal.Open(str(work / name))
        assert dataset.GetRasterBand(1).GetColorTable() is not None, name
    dataset = gdal.Open(str(work / files[0]))
    assert dataset.GetRasterBand(1).GetColorTable().GetColorEntry(6)[:3] == (150, 0, 60)
    assert dataset.GetMetadata()["CLASS_006"] == "high" and dataset.GetMetadata()["CLASS_000"] == "high_regrowth"
    both = raster.read(work / "maps/good/p001/severity.tif", ["DNBR"])
    assert (raster.read(work / files[0]) == both).all()


def test_offset_and_rounding_reach_the_maps(made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    conf = copy_of(made, tmp_path)
    more(conf, "burned: {offset: stable, round_decimals: 1, dnbr_burned: 0.1}\n")
    code, text = call("burned", str(conf))
    assert code == 0, text
    assert "offset taken out: DNDVI" in caplog.text
    facts = areas(conf, "good")["dnbr"]
    change = raster.read(conf.parent / "work/maps/good/p001/dnbr.tif")[0]
    stable = np.median(change[np.abs(change) <= 0.1])
    assert facts["offset"] == pytest.approx(float(stable), abs=2e-4)
    rounded = np.round(change.astype(float) - facts["offset"], 1)
    assert facts["burned_ha"] == pytest.approx((rounded > 0.1).sum() / 100)


def test_sigma_of_another_grid_is_refused(made: Path, tmp_path: Path) -> None:
    conf = copy_of(made, tmp_path)
    names = tuple(f"sigma_{band}" for band in tiny_judged.BANDS)
    other = Grid(32755, 700005.0, 6100000.0, 10.0, -10.0, 64, 96)
    path = conf.parent / "work/mosaic/good/p001/sigma.tif"
    mosaics.write_reflectance(path, np.full((5, 64, 96), 0.01), other, names, {"SIGMA_OF": "composite.tif"})
    reseal(conf, "mosaic", path)
    assert call("indices", str(conf))[0] == 0
    code, text = call("burned", str(conf))
    assert code == 71 and "sigma.tif: its grid" in text and "mosaic CONF --force" in text


def test_neither_index_is_an_error_with_a_remedy(made: Path, tmp_path: Path) -> None:
    conf = copy_of(made, tmp_path)
    more(conf, "burned: {indices: [EVI]}\n")
    assert call("indices", str(conf))[0] == 0
    code, text = call("burned", str(conf))
    assert code == 72 and "extra_bands: [B12]" in text
    more(conf, "")
    conf.write_text(conf.read_text().replace("burned: {indices: [EVI]}", "burned: {indices: [NDVI]}"))
    assert call("indices", str(conf))[0] == 0 and call("burned", str(conf))[0] == 0
    assert raster.info(conf.parent / "work/maps/good/p001/severity.tif").band_names == ("DNDVI",)
    assert not (conf.parent / "work/maps/good/p001/severity_dnbr.tif").exists()  # that of the run before is gone


def copy_of(made: Path, folder: Path) -> Path:
    """The finished work directory in another place, without the results of landclass and change."""
    shutil.copytree(made.parent / "work", folder / "work", copy_function=shutil.copy2)
    shutil.copytree(made.parent / "truth", folder / "truth", copy_function=shutil.copy2)
    for name in ("default.yaml", "forest.tif", "dem.tif"):
        shutil.copy2(made.parent / name, folder / name)
    conf = folder / "tiny.yaml"
    conf.write_text(made.read_text().replace(str(made.parent), str(folder)))
    tiny_judged.manifests(conf)
    for stage in ("mosaic", "mosaic_truth", "indices"):
        if stage == "indices":
            sigma_mosaic(conf)
        assert call(stage, str(conf))[0] == 0
    return conf


def reseal(conf: Path, stage: str, path: Path) -> None:
    """Enter a file that was put there by hand into the manifest, as if the stage had written it."""
    manifest = conf.parent / f"work/manifests/{stage}.json"
    data = json.loads(manifest.read_text())
    name = path.relative_to(conf.parent / "work").as_posix()
    if name in data["outputs"]:
        data["outputs"][name] = [path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()]
        manifest.write_text(json.dumps(data))


# -- landclass -------------------------------------------------------------------------------------------------------------


def test_classes_of_another_system_land_on_the_grid(made: Path) -> None:
    folder = made.parent / "work/landclass/p001"
    codes, wanted = raster.read(folder / "class.tif")[0], class_raster_3577(made.parent / "again.tif")
    agreement = float((codes == wanted).mean())
    print(
        f"agreement with the classes before they were turned: {agreement:.4f} (limit 0.98; one column of 96 may slip)"
    )
    assert agreement >= 0.98 and (codes[:, :47] == 3).all() and (codes[:, 49:] == 7).all()
    assert raster.info(folder / "class.tif").grid == tiny_judged.GRID
    facts = json.loads((folder / "landclass.json").read_text())
    assert facts["classes"] == {"3": "Tall open", "7": "Grass"} and facts["source"] == "forest.tif"
    assert facts["tiles"]["r0000_c0000"] == {"Tall open": 1.0} and facts["tiles"]["r0001_c0002"] == {"Grass": 1.0}
    assert facts["tiles"]["r0000_c0001"]["Grass"] == pytest.approx(0.5, abs=0.04)
    # the test ground lies in the east; the slope is atan(.3) = 16.7 degrees and faces north
    wrong = facts["wrong"]["bad"]["dnbr"]
    assert (
        list(wrong["class"]) == ["Grass"] and list(wrong["slope"]) == ["10-25 deg"] and list(wrong["aspect"]) == ["N"]
    )
    true = raster.read(made.parent / "work/maps/hidden/p001/severity.tif", ["DNBR"])[0][:, 64:]
    own = raster.read(made.parent / "work/maps/bad/p001/severity.tif", ["DNBR"])[0][:, 64:]
    assert wrong["class"]["Grass"]["wrong"] == pytest.approx(float((true != own).mean()))
    assert facts["wrong"]["good"]["dnbr"]["class"]["Grass"]["wrong"] < 0.05
    assert (folder / "landclass.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_slope_and_aspect_equal_gdaldem() -> None:
    from utils.science import landclass

    heights = np.random.default_rng(5).normal(0, 1, (40, 50)).cumsum(axis=0).cumsum(axis=1).astype(np.float32)
    memory = gdal.GetDriverByName("MEM").Create("", 50, 40, 1, gdal.GDT_Float32)
    memory.SetGeoTransform((0, 10, 0, 0, 0, -10))
    memory.GetRasterBand(1).WriteArray(heights)
    slope, aspect = landclass.slope_aspect(heights, 10, 10)
    inner = (slice(1, -1), slice(1, -1))
    for name, own in (("slope", slope), ("aspect", aspect)):
        shaded = gdal.DEMProcessing("", memory, name, format="MEM")  # kept: a band does not keep its dataset
        oracle = shaded.ReadAsArray()
        np.testing.assert_allclose(own[inner], oracle[inner], atol=2e-3)


@pytest.fixture(scope="module")
def burned(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that is finished up to burned."""
    conf = copy_of(made, tmp_path_factory.mktemp("burned"))
    assert call("burned", str(conf))[0] == 0
    return conf


def with_classes(conf: Path, path: Path) -> Path:
    """Another configuration of the same work directory, with another class raster."""
    other = conf.with_name(f"{path.parent.name}.yaml")
    other.write_text(conf.read_text().replace(f"{conf.parent}/forest.tif", str(path)))
    return other


@pytest.mark.parametrize("case", ["elsewhere", "no system", "codes", "all nodata", "missing"])
def test_class_rasters_that_cannot_serve(burned: Path, tmp_path: Path, case: str) -> None:
    conf = with_classes(burned, tmp_path / "bad.tif")
    path, grid = tmp_path / "bad.tif", tiny_judged.GRID
    words = {
        "elsewhere": "has no class on the pair", "no system": "no coordinate system", "codes": "found 300 to 300",
        "all nodata": "has no class on the pair", "missing": "no such file",
    }  # fmt: skip
    if case != "missing":
        if case == "elsewhere":
            grid = Grid(32755, 200000.0, 6100000.0, 10.0, -10.0, 64, 96)
        if case == "no system":
            grid = Grid(0, grid.x0, grid.y0, 10.0, -10.0, 64, 96)
        value = {"codes": 300, "all nodata": 0}.get(case, 3)
        raster.write(path, np.full(grid.shape, value, np.uint16), grid, nodata=0)
    code, text = call("landclass", str(conf))
    assert code == 66 and words[case] in text, text
    assert "Traceback" not in text


def test_segmentation_stands_in_where_there_is_no_map(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    conf = copy_of(made, tmp_path)
    nir = np.full(tiny_judged.GRID.shape, 0.1, np.float32)
    nir[:, 30:60], nir[:, 60:] = 0.25, 0.4
    raster.write(conf.parent / "work/preprocessed/sentinel2/S2_d0/B08.tif", nir, tiny_judged.GRID, nodata=np.nan)
    tiny_judged.manifests(conf)
    assert call("indices", str(conf), "--force")[0] == 0
    text = "\n".join(line for line in conf.read_text().splitlines() if not line.startswith("landclass:"))
    conf.write_text(text + "\nlandclass: {segments: 3}\n")
    assert call("burned", str(conf))[0] == 0
    code, said = call("landclass", str(conf))
    assert code == 0, said
    assert "segmentation of NDVI" in caplog.text and "no slope and aspect: no height raster" in caplog.text
    facts = json.loads((conf.parent / "work/landclass/p001/landclass.json").read_text())
    assert len(facts["classes"]) == 3 and list(facts["wrong"]["good"]["dnbr"]) == ["class"]


def test_class_names_are_checked_with_the_configuration(tmp_path: Path) -> None:
    from utils.workflow import config
    from utils.workflow.errors import ConfigError

    (tmp_path / "default.yaml").write_text((config.ROOT / "confs/default.yaml").read_text())
    conf = tmp_path / "x.yaml"
    for text, words in (
        ("{1: a, 1: b}", "given twice"),
        ("{1: a, 2: a}", "differ"),
        ("{255: a}", "0 to 254"),
        ("{one: a}", "integer"),
    ):
        conf.write_text(f"extends: default.yaml\nlandclass:\n  land_classes: {text}\n")
        with pytest.raises(ConfigError, match=words) as caught:
            config.load(conf)
        assert "x.yaml:3" in str(caught.value)
    conf.write_text("extends: default.yaml\nburned: {dnbr_edges: [0.1, -0.25]}\n")
    with pytest.raises(ConfigError, match="must increase"):
        config.load(conf)


# -- change ----------------------------------------------------------------------------------------------------------------


def test_change_of_a_good_and_of_a_blind_run(made: Path) -> None:
    work = made.parent / "work"
    facts = json.loads((work / "change/scores.json").read_text())["pairs"]["p001"]
    assert facts["truth"] == "hidden" and facts["test_pixels"] == 64 * 32
    assert (
        facts["maps"]["good"]["f1"] > 0.99 and facts["maps"]["bad"]["f1"] == 0 and facts["maps"]["bad"]["mapped"] == 0
    )
    assert facts["maps"]["radar"]["f1"] > 0.7
    images = facts["images"]
    assert images["good"]["changed"]["psnr"] == pytest.approx(-20 * np.log10(0.004), abs=0.3)
    assert images["bad"]["all"]["psnr"] == pytest.approx(images["copy_t0"]["all"]["psnr"], abs=0.001)  # bad copies t0
    assert images["copy_t0"]["changed"]["psnr"] < images["good"]["changed"]["psnr"] - 10
    true = raster.read(work / "change/truth/p001/change.tif")[0]
    _, _, burnt = tiny_judged._ground(1)
    assert (true[burnt][:] == 1).mean() > 0.7 and (true[~burnt] == 1).mean() < 0.03
    model = json.loads((work / "change/model.json").read_text())
    assert (
        model["schema"] == "s2cr.change/1"
        and model["bands"] == list(tiny_judged.BANDS)
        and model["vh_threshold_db"] > 1
    )
    assert (work / "change/p001.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_change_in_stripes_is_change_in_one_piece(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scripts import _change

    conf = copy_of(made, tmp_path)
    monkeypatch.setattr(_change, "_STRIPE_ROWS", 7)
    code, text = call("change", str(conf))
    assert code == 0, text
    for name in ("truth", "good", "radar"):
        path = f"work/change/{name}/p001/change.tif"
        assert (raster.read(conf.parent / path) == raster.read(made.parent / path)).all(), name
    ours, theirs = (json.loads((one.parent / "work/change/scores.json").read_text()) for one in (conf, made))
    assert ours["pairs"]["p001"]["maps"] == theirs["pairs"]["p001"]["maps"]


def test_bands_that_are_not_there_and_ground_that_nobody_saw(made: Path, tmp_path: Path) -> None:
    conf = copy_of(made, tmp_path)
    more(conf, "change: {bands: [B11]}\n")
    code, text = call("change", str(conf))
    assert code == 65 and "B11 not among the bands" in text
    conf.write_text(conf.read_text().replace("change: {bands: [B11]}", "change: {bands: [B08, B12]}"))
    code, text = call("change", str(conf))
    assert code == 0 and json.loads((tmp_path / "work/change/model.json").read_text())["bands"] == ["B08", "B12"]
    cloud = conf.parent / "work/preprocessed/sentinel2/S2_d0/cloud.tif"
    raster.write(cloud, np.ones(tiny_judged.GRID.shape, np.uint8), tiny_judged.GRID)
    tiny_judged.manifests(conf)
    for stage in ("mosaic", "mosaic_truth", "indices"):
        call(stage, str(conf), "--force")
    code, text = call("burned", str(conf))
    assert code == 72 and "no pixel has data at both dates" in text and "dates with clear ground" in text
    code, text = call("change", str(conf), "--force")
    assert code == 66 and "no pixel is clear at t0" in text


# -- all -------------------------------------------------------------------------------------------------------------------


def test_second_run_does_nothing_dry_run_writes_nothing_and_force_gives_equal_bytes(
    made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = made.parent / "work"

    def digest() -> dict[str, str]:
        files = [p for name in ("maps", "landclass", "change") for p in sorted((work / name).rglob("*")) if p.is_file()]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    first = digest()
    for stage in STAGES[3:]:
        code, _ = call(stage, str(made))
        assert code == 0 and f"{stage}: up to date" in caplog.text
        code, _ = call(stage, str(made), "--force", "--dry-run")
        assert code == 0 and "dry run: would do" in caplog.text
    assert digest() == first
    for stage in STAGES[3:]:
        assert call(stage, str(made), "--force")[0] == 0
    assert digest() == first


def test_a_wrong_system_of_the_class_raster_is_noticed(burned: Path, tmp_path: Path) -> None:
    """Coordinates of EPSG:3577 that claim to be EPSG:32755 lie elsewhere: no class on the pair, no silent map."""
    conf = with_classes(burned, tmp_path / "forest.tif")
    shutil.copy2(burned.parent / "forest.tif", tmp_path / "forest.tif")
    dataset = gdal.Open(str(tmp_path / "forest.tif"), gdal.GA_Update)
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32755)
    dataset.SetProjection(reference.ExportToWkt())
    del dataset
    code, text = call("landclass", str(conf))
    assert code == 66 and "check its coordinate system" in text
