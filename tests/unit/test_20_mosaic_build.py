"""Images of a pair in stripes: equal bytes for any stripes, values against the whole in memory, source by source."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from osgeo_utils.samples.validate_cloud_optimized_geotiff import validate

from tests.unit import made_pair
from utils.io import mosaic_build, mosaics, raster
from utils.io.row_sources import SceneRows, TileRows
from utils.science.blend import Blender
from utils.science.composite import composite
from utils.science.grid import Grid
from utils.workflow.errors import InputError

NAMES = {"prediction", "prediction_sigma", "composite", "source", "sigma", "abstain"}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("preprocessed")
    made_pair.write_preprocessed(root)
    return root


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*"))}


@pytest.mark.parametrize("gain", ["none", "gain_offset"])
def test_bytes_are_the_same_for_any_stripes_and_any_rows_of_a_scene(tmp_path: Path, seen: Path, gain: str) -> None:
    image, sigma = made_pair.predicted(0.03), made_pair.sigma()
    found = []
    for number, (row_block, step) in enumerate(((512, 150), (64, 64), (37, 41), (16, 7))):
        source = made_pair.scene_source(tmp_path / f"scene{number}", image, sigma, step)
        work = made_pair.work(
            tmp_path / f"out{number}", source, made_pair.observation(seen), row_block=row_block, gain=gain
        )
        images = mosaic_build.build(work)
        assert set(images.paths) == NAMES
        found.append((digests(tmp_path / f"out{number}"), images.facts))
    assert all(one == found[0] for one in found[1:])
    assert len(found[0][0]) == 6


def test_tiles_in_stripes_equal_the_blend_in_memory(tmp_path: Path, seen: Path) -> None:
    image, sigma = made_pair.predicted(), made_pair.sigma()
    placed = made_pair.tiles(tmp_path / "pred", image, sigma)
    blender = Blender(*made_pair.GRID.shape, 4)
    for path, window in placed:
        blender.add(raster.read(path), window.row, window.col)
    whole = blender.result()
    for row_block in (512, 48, 17):
        source = TileRows([p for p, _ in placed], [w for _, w in placed], made_pair.GRID, made_pair.BANDS, True)
        folder = tmp_path / str(row_block)
        settings = {"row_block": row_block, "dtype": "float32", "gain": "none"}
        mosaic_build.build(made_pair.work(folder, source, made_pair.observation(seen), **settings))
        found = raster.read(folder / "prediction.tif")
        assert np.array_equal(found, whole, equal_nan=True)
        observed = np.stack([raster.read(seen / f"sentinel2/S2_d1/{band}.tif")[0] for band in made_pair.BANDS])
        joined, codes = composite(observed, whole, np.isin(made_pair.cloud(), (1, 2, 4)), 5)
        assert np.array_equal(raster.read(folder / "composite.tif"), joined, equal_nan=True)
        assert np.array_equal(raster.read(folder / "source.tif")[0], codes)


def test_composite_changes_nothing_outside_the_mask_and_its_feather(tmp_path: Path, seen: Path) -> None:
    source = made_pair.tile_source(tmp_path / "pred", made_pair.predicted(0.02))
    mosaic_build.build(made_pair.work(tmp_path / "out", source, made_pair.observation(seen), gain="offset"))
    codes = raster.read(tmp_path / "out/source.tif")[0]
    observed = np.stack([raster.read(seen / f"sentinel2/S2_d1/{band}.tif")[0] for band in made_pair.BANDS])
    stored = raster.read(tmp_path / "out/composite.tif")
    hidden = np.isin(made_pair.cloud(), (1, 2, 4)) | np.isnan(observed[0])
    rows, cols = np.nonzero(hidden)
    grid_row, grid_col = np.mgrid[: hidden.shape[0], : hidden.shape[1]]
    far = np.ones(hidden.shape, bool)
    for row, col in zip(rows, cols):
        far &= (grid_row - row) ** 2 + (grid_col - col) ** 2 >= 36
    assert 0.3 < far.mean() < 0.9
    assert np.array_equal(stored[:, far], mosaics.to_dn(observed)[:, far]) and (codes[far] == 0).all()
    assert (codes[hidden] == 1).all() and (codes[120:124, 60:64] == 0).all()


def test_sigma_and_abstain_by_hand(tmp_path: Path, seen: Path) -> None:
    source = made_pair.scene_source(tmp_path / "scene", made_pair.predicted(), made_pair.sigma())
    images = mosaic_build.build(made_pair.work(tmp_path / "out", source, made_pair.observation(seen), gain="none"))
    names = list(made_pair.SIGMA)
    sigma = mosaics.read_reflectance(tmp_path / "out/sigma.tif", names)
    facts = raster.info(tmp_path / "out/sigma.tif")
    assert facts.dtype == "int16" and facts.scale == 0.0001 and facts.tags["SIGMA_OF"] == "composite.tif"
    assert sigma[0, 130, 60] == pytest.approx(0.003) and sigma[0, 30, 45] == pytest.approx(0.02)
    # three pixels right of the cloud: w = .5
    assert sigma[0, 35, 82] == pytest.approx(np.hypot(0.5 * 0.003, 0.5 * 0.02), abs=5e-5)
    own = mosaics.read_reflectance(tmp_path / "out/prediction_sigma.tif", names)
    assert own[0, 130, 60] == pytest.approx(0.02) and own[3, 44, 45] == pytest.approx(0.09)
    abstain = raster.read(tmp_path / "out/abstain.tif")[0]
    assert (abstain[40:48, 30:80] == 1).all()  # sigma above 0.05 in one band
    assert (abstain[22:26, 32:40] == 1).all() and abstain[55, 40] == 1 and abstain[30, 50] == 1  # Sentinel-1
    assert abstain[100, 60] == 0 and abstain[35, 45] == 0 and (abstain[110:118] == 0).all()
    assert images.facts["abstain"] == pytest.approx((abstain == 1).mean(), abs=1e-6)


def test_without_a_head_there_is_no_sigma_and_abstain_knows_sentinel_1(tmp_path: Path, seen: Path) -> None:
    source = made_pair.tile_source(tmp_path / "pred", made_pair.predicted())
    images = mosaic_build.build(made_pair.work(tmp_path / "out", source, made_pair.observation(seen)))
    assert set(images.paths) == NAMES - {"sigma", "prediction_sigma"} and "no uncertainty head" in images.facts["sigma"]
    abstain = raster.read(tmp_path / "out/abstain.tif")[0]
    assert (abstain == 1).sum() == 4 * 8 + 2
    assert "no sigma" in raster.info(tmp_path / "out/abstain.tif").tags["MAX_SIGMA"]


def test_a_planted_offset_is_found_near_clouds_and_told(tmp_path: Path, seen: Path) -> None:
    source = made_pair.tile_source(tmp_path / "pred", made_pair.predicted(0.03))
    images = mosaic_build.build(made_pair.work(tmp_path / "out", source, made_pair.observation(seen), gain="offset"))
    for one in images.corrections.values():
        assert one.applied and one.offset == pytest.approx(0.03, abs=5e-4)
    joined = mosaics.read_reflectance(tmp_path / "out/composite.tif", made_pair.BANDS)
    hidden = np.isin(made_pair.cloud(), (1, 2, 4)) & np.isfinite(joined[0])
    assert np.abs((joined - made_pair.truth())[:, hidden].mean(axis=1)).max() < 6e-4
    assert "+0.030" in raster.info(tmp_path / "out/composite.tif").tags["GAIN"]
    # the prediction itself stays as the model made it
    made = mosaics.read_reflectance(tmp_path / "out/prediction.tif", made_pair.BANDS)
    assert np.nanmean(made - made_pair.truth()) == pytest.approx(-0.03, abs=5e-4)


def test_too_few_clear_pixels_near_the_cloud_give_no_correction(tmp_path: Path, seen: Path) -> None:
    source = made_pair.tile_source(tmp_path / "pred", made_pair.predicted(0.03))
    work = made_pair.work(tmp_path / "out", source, made_pair.observation(seen), gain="offset", gain_min_px=20_000)
    images = mosaic_build.build(work)
    assert not any(one.applied for one in images.corrections.values())
    assert "fewer than 20000" in raster.info(tmp_path / "out/composite.tif").tags["GAIN"]


def test_every_image_is_a_valid_cog_with_names_and_tags(tmp_path: Path, seen: Path) -> None:
    source = made_pair.scene_source(tmp_path / "scene", made_pair.predicted(), made_pair.sigma())
    images = mosaic_build.build(made_pair.work(tmp_path / "out", source, made_pair.observation(seen)))
    expected = {"prediction": made_pair.BANDS, "composite": made_pair.BANDS, "sigma": made_pair.SIGMA}
    expected |= {"prediction_sigma": made_pair.SIGMA, "source": ("SOURCE",), "abstain": ("ABSTAIN",)}
    for name, path in images.paths.items():
        warnings, errors, _ = validate(str(path), full_check=True)
        assert not warnings and not errors, (name, warnings, errors)
        facts = raster.info(path)
        assert facts.band_names == expected[name] and facts.tags["STAGE"] == "mosaic" and facts.grid == made_pair.GRID


@pytest.mark.parametrize("make", [made_pair.tile_source, made_pair.scene_source])
def test_the_width_of_the_interval_of_95_travels_with_sigma_alone(
    tmp_path: Path, make: Callable[..., Any], seen: Path
) -> None:
    source = make(tmp_path / "in", made_pair.predicted(), made_pair.sigma())
    images = mosaic_build.build(made_pair.work(tmp_path / "out", source, made_pair.observation(seen)))
    told = {name: raster.info(path).tags.get("SIGMA_95") for name, path in images.paths.items()}
    assert {name for name, text in told.items() if text == made_pair.SIGMA_95} == {"sigma", "prediction_sigma"}
    assert set(told.values()) == {None, made_pair.SIGMA_95}


def test_without_observation_only_the_prediction_is_written(tmp_path: Path) -> None:
    source = made_pair.tile_source(tmp_path / "pred", made_pair.predicted(), made_pair.sigma())
    images = mosaic_build.build(made_pair.work(tmp_path / "out", source, None))
    assert set(images.paths) == {"prediction", "prediction_sigma", "sigma"}
    assert raster.info(images.paths["sigma"]).tags["SIGMA_OF"] == "prediction.tif"
    assert np.array_equal(raster.read(images.paths["sigma"]), raster.read(images.paths["prediction_sigma"]))


def test_a_prediction_without_data_is_refused_and_leaves_nothing(tmp_path: Path, seen: Path) -> None:
    source = made_pair.tile_source(tmp_path / "pred", np.full((4, *made_pair.GRID.shape), np.nan, np.float32))
    with pytest.raises(InputError, match="no pixel with data") as caught:
        mosaic_build.build(made_pair.work(tmp_path / "out", source, made_pair.observation(seen)))
    assert caught.value.exit_code == 66 and "predict" in caught.value.remedy
    assert list((tmp_path / "out").iterdir()) == []


def test_observation_of_another_system_is_refused(tmp_path: Path, seen: Path) -> None:
    source = made_pair.tile_source(tmp_path / "pred", made_pair.predicted())
    root = tmp_path / "preprocessed"
    made_pair.write_preprocessed(root)
    other = Grid(32754, *[getattr(made_pair.GRID, n) for n in ("x0", "y0", "dx", "dy", "rows", "cols")])
    raster.write(root / "sentinel2/S2_d1/B03.tif", made_pair.truth()[1], other, nodata=np.nan)
    with pytest.raises(InputError, match="EPSG 32754 and 32755"):
        mosaic_build.build(made_pair.work(tmp_path / "out", source, made_pair.observation(root)))
    assert not list(tmp_path.glob("out/*"))


# -- predictions that do not fit -------------------------------------------------------------------------------


def rewritten(path: Path, grid: Grid, names: tuple[str, ...], dtype: str = "float32") -> None:
    planes = np.nan_to_num(raster.read(path)).astype(dtype)
    raster.write(path, np.resize(planes, (len(names), *grid.shape)), grid, band_names=names)


@pytest.mark.parametrize("which", ["pred", "pred/sigma"])
def test_tiles_of_another_grid_system_or_bands_are_refused(tmp_path: Path, which: str) -> None:
    placed = made_pair.tiles(tmp_path / "pred", made_pair.predicted(), made_pair.sigma())
    first, later = (tmp_path / which / placed[n][0].name for n in (0, 7))
    names = made_pair.BANDS if which == "pred" else made_pair.SIGMA
    paths, windows = [p for p, _ in placed], [w for _, w in placed]

    def read() -> None:
        source = TileRows(paths, windows, made_pair.GRID, made_pair.BANDS, True)
        source.rows(0, 150)
        source.sigma(0, 150)

    read()
    good, later_good = first.read_bytes(), later.read_bytes()
    grid = raster.info(first).grid
    fields = {n: getattr(grid, n) for n in ("epsg", "x0", "y0", "dx", "dy", "rows", "cols")}
    for change, words in (
        ({"epsg": 32754}, "EPSG 32754; the pair is in EPSG 32755"),
        ({"x0": grid.x0 + 10}, "column 1 of its place"),
        ({"x0": grid.x0 + 3}, "not on the grid of the pair"),
        ({"dx": 20.0}, "different pixel sizes"),
        ({"rows": 20}, "20 x 48 px"),
    ):
        rewritten(first, Grid(**{**fields, **change}), names)
        with pytest.raises(InputError, match=words):
            read()
    rewritten(first, grid, names[::-1])
    with pytest.raises(InputError, match="expected float"):
        read()
    rewritten(first, grid, names, "int16")
    with pytest.raises(InputError, match="int16 bands"):
        read()
    first.unlink()
    with pytest.raises(InputError, match="no such file"):
        read()
    first.write_bytes(good)
    later_grid = raster.info(later).grid
    rewritten(later, Grid(32755, later_grid.x0, later_grid.y0 - 20, 10.0, -10.0, 48, 48), names)
    with pytest.raises(InputError, match="its sample has"):
        read()
    later.write_bytes(later_good)
    later.unlink()
    with pytest.raises(InputError, match="no such file"):
        read()


def test_scene_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = made_pair.write_scene(tmp_path / "scene", made_pair.predicted(), made_pair.sigma())
    index = json.loads((folder / "index.json").read_text())

    def read(**change: object) -> SceneRows:
        (folder / "index.json").write_text(json.dumps({**index, **change}))
        return SceneRows(folder, "m", "p001", made_pair.GRID, made_pair.BANDS)

    whole = read()
    assert np.array_equal(whole.rows(60, 10), made_pair.predicted()[:, 60:70], equal_nan=True)
    assert whole.has_sigma and np.array_equal(whole.sigma(0, 150), made_pair.sigma(), equal_nan=True)
    files = index["files"]
    inclusive = [{**one, "last": one["last"] - 1} for one in files]
    for change, words in (
        ({"schema": "other"}, "schema is not"),
        ({"files": None}, "lists no files"),
        ({"run": "n"}, "run is 'n', expected 'm'"),
        ({"pair": "p002"}, "pair is 'p002'"),
        ({"bands": ["B02", "B03", "B04", "B08"]}, "bands is"),
        ({"rows": 151}, "rows is 151, expected 150"),
        ({"files": files[:-1]}, "rows end at 128 of 150"),
        ({"files": files[1:]}, "0 comes next"),
        ({"files": inclusive}, "rows 0 to 63 by its index"),
        ({"files": [*files, files[-1]]}, "150 comes next"),
        ({"files": [{**files[0], "file": "../x.tif"}, *files[1:]]}, "not in the folder"),
        ({"files": [{**files[0], "file": "gone.tif"}, *files[1:]]}, "no such file"),
        ({"sigma": False}, "expected float B04, B03, B02, B08"),
    ):
        with pytest.raises(InputError, match=words):
            read(**change)
    (folder / "index.json").write_text("{")
    with pytest.raises(InputError, match=r"index\.json"):
        SceneRows(folder, "m", "p001", made_pair.GRID, made_pair.BANDS)
