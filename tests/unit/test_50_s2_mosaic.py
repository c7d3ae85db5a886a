"""Two tiles of one datatake: their mosaic equals the undivided scene bit for bit, across the seam too."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest

from tests.s2_stage import convert, folder_of
from tests.synthetic_l2a import RING
from utils.io import acquisitions, raster
from utils.io.acquisitions import Acquisition
from utils.io.cutter import DateRasters
from utils.io.synth_s2 import write_l2a
from utils.io.synth_s2_xml import L2aIdentity
from utils.science.grid import Grid, Window
from utils.workflow.errors import ConfigError, InputError

SCENE = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 180, 360)
LEFT, RIGHT = Window(0, 0, 180, 210), Window(0, 150, 180, 210)
BANDS = ("B04", "B03", "B8A", "B12")


def scene() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Random bands, and classes with clouds and shadows that touch both tile edges, and gaps inside and outside."""
    rng = np.random.default_rng(4)
    bands = {band: rng.uniform(0.0, 0.6, SCENE.shape).astype(np.float32) for band in ("B02", "B03", "B04", "B08")}
    bands |= {band: rng.uniform(0.0, 0.6, (90, 180)).astype(np.float32) for band in ("B8A", "B11", "B12")}
    scl = rng.choice(np.array([4, 5, 6], np.uint8), (90, 180))
    scl[10:20, 60:76], scl[30:40, 104:130], scl[50:58, 70:110], scl[70, 75], scl[80:84, 40:44] = 9, 8, 3, 11, 0
    scl[62:68, 106:118], scl[2:6, 66:74] = 9, 3  # beside the tiles' edges, outside the other one
    return bands, scl


def write_tile(folder: Path, tile: str, window: Window, second: int = 41, epsg: int = 32755) -> Path:
    """A part of the scene as a product of its own."""
    bands, scl = scene()
    half = Window(window.row // 2, window.col // 2, window.rows // 2, window.cols // 2)
    part = {band: plane[(window if plane.shape == SCENE.shape else half).slices] for band, plane in bands.items()}
    sensing = dt.datetime(2020, 1, 4, 0, 2, second, tzinfo=dt.UTC)
    identity = L2aIdentity("S2A", sensing, 23686, 30, tile, "05.00", dt.datetime(2020, 3, 1, tzinfo=dt.UTC), 30.0, 60.0)
    folder.mkdir(parents=True, exist_ok=True)
    grid = SCENE.window(window)
    grid = Grid(epsg, grid.x0, grid.y0, grid.dx, grid.dy, grid.rows, grid.cols)
    return write_l2a(folder, identity, grid, part, scl[half.slices], RING)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """A work directory with the undivided scene, both tiles, and constant Sentinel-1 rasters."""
    root = tmp_path_factory.mktemp("mosaic")
    whole = Window(0, 0, SCENE.rows, SCENE.cols)
    products = {
        "whole": write_tile(root / "archive", "55HFA", whole), "left": write_tile(root / "archive", "55HGA", LEFT),
        "right": write_tile(root / "archive", "55HHA", RIGHT),
    }  # fmt: skip
    for path in products.values():
        convert(root / "work", path, SCENE, bands=BANDS)
    for name, value, dtype in (("gamma0_vv", 0.1, np.float32), ("gamma0_vh", 0.02, np.float32), ("mask", 0, np.uint8)):
        raster.write(root / "work/preprocessed/sentinel1/S1" / f"{name}.tif", np.full(SCENE.shape, value, dtype), SCENE)
    return root / "work", products


def cut_of(
    work: Path, names: list[str], window: Window = Window(0, 0, SCENE.rows, SCENE.cols)
) -> tuple[np.ndarray, np.ndarray]:
    with DateRasters(work / "preprocessed", Acquisition("d", ("S1",), tuple(names), {}), BANDS) as rasters:
        cut = rasters.cut(window)
    return cut.optical, cut.mask[0]


def test_mosaic_equals_the_undivided_scene(work: tuple[Path, dict[str, Path]]) -> None:
    folder, products = work
    wanted = cut_of(folder, [products["whole"].stem])
    assert {0, 1, 2, 3, 255} == set(np.unique(wanted[1]).tolist())
    for order in (["left", "right"], ["right", "left"]):
        names = [products[key].stem for key in order]
        got = cut_of(folder, names)
        assert got[0].tobytes() == wanted[0].tobytes() and np.array_equal(got[1], wanted[1])
        parts = [cut_of(folder, names, Window(0, col, 180, 40)) for col in range(0, 360, 40)]
        assert np.array_equal(np.concatenate([p[0] for p in parts], axis=2), wanted[0], equal_nan=True)
        root = folder / "preprocessed"
        planes = acquisitions.read_planes(root, "sentinel2", names, BANDS, SCENE)
        assert planes.tobytes() == wanted[0].tobytes()
        assert np.array_equal(acquisitions.read_cloud(root, names, SCENE), wanted[1])


def test_without_cores_the_seam_shows(work: tuple[Path, dict[str, Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above must be able to fail: simply the first product with data differs along the edge of the left tile."""
    folder, products = work
    monkeypatch.setattr("utils.io.cutter.core_of", lambda *_: None)
    wanted = cut_of(folder, [products["whole"].stem])
    got = cut_of(folder, [products["left"].stem, products["right"].stem])
    columns = np.flatnonzero((got[1] != wanted[1]).any(axis=0))
    print(f"cloud codes differ in columns {columns.min()}..{columns.max()}, the left tile ends at {LEFT.cols}")
    assert columns.min() >= LEFT.cols - 6 and columns.max() < LEFT.cols
    assert np.flatnonzero((got[0] != wanted[0]).any(axis=(0, 1)) & np.isfinite(got[0]).all(axis=(0, 1))).tolist() == [
        209
    ]


def test_each_tile_alone_is_nodata_outside(work: tuple[Path, dict[str, Path]]) -> None:
    folder, products = work
    optical, cloud = cut_of(folder, [products["left"].stem])
    assert np.isnan(optical[:, :, 210:]).all() and (cloud[:, 210:] == 255).all()
    whole = cut_of(folder, [products["whole"].stem])
    assert np.array_equal(optical[:2, :, :210], whole[0][:2, :, :210], equal_nan=True)  # bands of 10 m to the very edge
    facts = json.loads((folder_of(folder, products["left"]) / "product.json").read_text())
    assert facts["overlap"] == round(210 / 360, 6)
    assert Grid.from_dict(facts["core"]) == SCENE.window(Window(6, 6, 168, 198))  # 60 m off each side


def test_other_datatakes_are_not_mixed(work: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    folder, products = work
    later = write_tile(tmp_path, "55HHA", RIGHT, second=51)
    convert(folder, later, SCENE, bands=BANDS)
    names = [products["left"].stem, later.stem]
    for call in (
        lambda: cut_of(folder, names),
        lambda: acquisitions.read_planes(folder / "preprocessed", "sentinel2", names, BANDS, SCENE),
        lambda: acquisitions.read_cloud(folder / "preprocessed", names, SCENE),
    ):
        with pytest.raises(InputError, match=f"{names[0]} and {names[1]} are of different datatakes") as caught:
            call()
        assert "find_images" in caught.value.remedy
    acquisitions.check_datatake(["my_raster", "other", products["left"].stem])


def test_tile_of_another_zone_is_refused(tmp_path: Path) -> None:
    path = write_tile(tmp_path, "56HKF", RIGHT, epsg=32756)
    with pytest.raises(ConfigError, match=r"is in EPSG:32756, the target grid in EPSG:32755\. Set area\.epsg to 32756"):
        convert(tmp_path / "work", path, SCENE, bands=BANDS)
    assert not folder_of(tmp_path / "work", path).exists()
