"""A slice that the search takes for its margin and preprocessing skips as outside: later stages do without it."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.pipeline.chain_tools import Chain, make_chain
from tests.real_product import image_window
from tests.s1_slices import write_slices
from utils.io import raster
from utils.io.synth_products import SceneProducts
from utils.workflow.schema import Scene

SIZE_PX = 192


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A generated archive of slices: the second of t0 begins just south of the area, that of t1 in its middle."""
    folder = tmp_path_factory.mktemp("skipped")
    source = make_chain(folder / "source")
    text = source.conf.read_text().replace("size_px: 320", f"size_px: {SIZE_PX}")
    source.conf.write_text(text)
    source.run("make_scene")
    scene = folder / "scene"
    shutil.copytree(source.work / "scene", scene)
    products = SceneProducts(Scene(size_px=SIZE_PX, fires=2, cloud_fraction=0.15, relief_m=200.0))
    for key, day in (("s1_t0", "20191106"), ("s1_t1", "20200129")):
        whole = next(scene.rglob(f"S1A_IW_GRDH_*{day}*.zip"))
        seen = image_window(whole, products.grid, (0.0, 1200.0), margin=0)
        cut = seen.row + (seen.rows + 20 if key == "s1_t0" else seen.rows // 2)
        _, *slices = write_slices(products, folder / key, cut, key=key)
        whole.unlink()
        for path in slices:
            shutil.copy2(path, whole.parent)
    chain = make_chain(folder / "chain")
    text = text.replace("scene: {enabled: true, ", "scene: {enabled: false, ").replace(
        str(source.work), str(chain.work)
    )
    text = text.replace("{scene}", str(scene)).replace("size_px: 40, overlap_px: 8", "size_px: 96")
    text = text.replace("preprocess: {", "preprocess: {speckle: {filter: none}, multitemporal: {enabled: true}, ")
    chain.conf.write_text(text)
    for stage in ("find_images", "download", "preprocess_s1", "preprocess_s2"):
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


def test_later_stages_do_without_the_skipped_slice(built: Chain) -> None:
    inner, outer = _listed(built)
    items = json.loads((built.work / "manifests/preprocess_s1.json").read_text())["items"]
    assert (items[inner]["status"], items[outer]["status"]) == ("done", "skipped")
    for stage in ("multitemporal", "tile", "build_dataset", "tile_check"):
        built.run(stage)
    filtered = sorted((built.work / "preprocessed/sentinel1_mt").iterdir())
    assert [path.name for path in filtered] == sorted(name for name in items if name != outer)
    assert len(filtered) == 3  # of two dates
    assert {raster.info(path / "gamma0_vv.tif").tags["SPECKLE"] for path in filtered} == {
        "multitemporal 7x7 of 2 dates"
    }
    tile = next((built.work / "tiles").glob("20191106*/sentinel1/r0001_c0001.tif"))
    assert raster.info(tile).tags["SOURCE_PRODUCTS"] == inner
    grid = raster.info(tile).grid
    seen = raster.read_on_grid(built.work / "preprocessed/sentinel1_mt" / inner / "gamma0_vv.tif", grid)
    assert raster.read(tile)[0].tobytes() == seen[0].tobytes()


def test_a_failed_product_and_a_date_without_products_stay_errors(built: Chain) -> None:
    inner, outer = _listed(built)
    before = (built.work / "manifests/preprocess_s1.json").read_bytes()
    try:
        _edit(built, **{outer: "failed"})
        for stage in ("multitemporal", "tile"):
            result = built.run(stage, "--force", check=False)
            assert result.returncode == 66, result.stderr
            assert outer in result.stderr, result.stderr
        _edit(built, **{outer: "skipped", inner: "skipped"})
        result = built.run("multitemporal", "--force", check=False)
        assert result.returncode == 66, result.stderr
        assert "preprocessing skipped all of its Sentinel-1 products as outside the area" in result.stderr
        assert inner in result.stderr and "preprocess.min_overlap" in result.stderr
    finally:
        (built.work / "manifests/preprocess_s1.json").write_bytes(before)
