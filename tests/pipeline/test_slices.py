"""Slices through the stages: one that preprocessing skips as outside the area, and two of one pass."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.pipeline.chain_tools import Chain, make_chain
from tests.real_product import image_window
from tests.s1_slices import write_slices
from utils.io import raster
from utils.io.synth_products import SceneProducts
from utils.workflow.schema import Scene

SIZE_PX = 192


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A generated archive of whole products."""
    made = make_chain(tmp_path_factory.mktemp("source"))
    made.conf.write_text(made.conf.read_text().replace("size_px: 320", f"size_px: {SIZE_PX}"))
    made.run("make_scene")
    return made


def _sliced(source: Chain, folder: Path, share: float, more_px: int) -> Chain:
    """The same archive with the product of t0 in two slices, cut at a share of the area's lines and `more_px` below."""
    scene = folder / "scene"
    shutil.copytree(source.work / "scene", scene)
    whole = next(scene.rglob("S1A_IW_GRDH_*20191106*.zip"))
    products = SceneProducts(Scene(size_px=SIZE_PX, fires=2, cloud_fraction=0.15, relief_m=200.0))
    seen = image_window(whole, products.grid, (0.0, 1200.0), margin=0)
    _, *slices = write_slices(products, folder / "slices", seen.row + int(seen.rows * share) + more_px)
    whole.unlink()
    for path in slices:
        shutil.copy2(path, whole.parent)
    chain, text = make_chain(folder / "chain"), source.conf.read_text()
    for old, new in {
        "scene: {enabled: true, ": "scene: {enabled: false, ", str(source.work): str(chain.work), "{scene}": str(scene),
        "size_px: 40, overlap_px: 8": "size_px: 96",
        "preprocess: {": "preprocess: {speckle: {filter: none}, multitemporal: {enabled: true}, ",
    }.items():  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    chain.conf.write_text(text)
    for stage in ("find_images", "download", "preprocess_s1"):
        chain.run(stage)
    return chain


@pytest.fixture(scope="module")
def outside(source: Chain, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The second slice begins just south of the area: the search wants it for its margin."""
    chain = _sliced(source, tmp_path_factory.mktemp("outside"), 1.0, 20)
    for stage in ("preprocess_s2", "multitemporal", "tile"):
        chain.run(stage)
    return chain


def _listed(built: Chain) -> list[str]:
    pair = json.loads((built.work / "search/pairs.json").read_text())["pairs"][0]
    return [name.removesuffix(".zip").removesuffix(".SAFE") for name in pair["date1"]["s1"]["products"]]


def _edit(built: Chain, **status: str) -> None:
    """Give items of preprocess_s1 another status in its manifest."""
    path = built.work / "manifests/preprocess_s1.json"
    manifest = json.loads(path.read_text())
    for name, text in status.items():
        manifest["items"][name]["status"] = text
    path.write_text(json.dumps(manifest))


def test_later_stages_do_without_the_skipped_slice(outside: Chain) -> None:
    inner, outer = _listed(outside)
    items = json.loads((outside.work / "manifests/preprocess_s1.json").read_text())["items"]
    assert (items[inner]["status"], items[outer]["status"]) == ("done", "skipped")
    for stage in ("build_dataset", "tile_check"):
        outside.run(stage)
    filtered = sorted((outside.work / "preprocessed/sentinel1_mt").iterdir())
    assert [path.name for path in filtered] == sorted(name for name in items if name != outer)
    tile = next((outside.work / "tiles").glob("20191106*/sentinel1/r0001_c0001.tif"))
    assert raster.info(tile).tags["SOURCE_PRODUCTS"] == inner
    grid = raster.info(tile).grid
    seen = raster.read_on_grid(outside.work / "preprocessed/sentinel1_mt" / inner / "gamma0_vv.tif", grid)
    assert raster.read(tile)[0].tobytes() == seen[0].tobytes()


def test_a_failed_product_and_a_date_without_products_stay_errors(outside: Chain) -> None:
    inner, outer = _listed(outside)
    before = (outside.work / "manifests/preprocess_s1.json").read_bytes()
    try:
        _edit(outside, **{outer: "failed"})
        for stage in ("multitemporal", "tile"):
            result = outside.run(stage, "--force", check=False)
            assert result.returncode == 66, result.stderr
            assert outer in result.stderr, result.stderr
        _edit(outside, **{outer: "skipped", inner: "skipped"})
        result = outside.run("multitemporal", "--force", check=False)
        assert result.returncode == 66, result.stderr
        assert "preprocessing skipped all of its Sentinel-1 products as outside the area" in result.stderr
        assert inner in result.stderr and "preprocess.min_overlap" in result.stderr
    finally:
        (outside.work / "manifests/preprocess_s1.json").write_bytes(before)


def test_slices_of_a_pass_count_as_one_date(source: Chain, tmp_path: Path) -> None:
    """Cut in the middle of the area: three products of two dates."""
    built = _sliced(source, tmp_path, 0.5, 0)
    assert len(_listed(built)) == 2
    built.run("multitemporal")
    tags = [
        raster.info(path / "gamma0_vh.tif").tags["SPECKLE"]
        for path in (built.work / "preprocessed/sentinel1_mt").iterdir()
    ]
    assert tags == ["multitemporal 7x7 of 2 dates"] * 3
