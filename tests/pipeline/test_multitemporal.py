"""Stage multitemporal through the command line: what it writes, who reads it, when it is stale, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.chain_tools import Chain, final_bytes, make_chain
from tests.unit.test_10_multitemporal import expected_looks
from utils.io import raster
from utils.science.multitemporal import multitemporal_filter
from utils.science.speckle import estimate_looks


def _set(chain: Chain, old: str, new: str) -> None:
    text = chain.conf.read_text()
    assert old in text
    chain.conf.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The small chain up to its tiles, filtered over both dates; its scene has two dates of one track."""
    chain = make_chain(tmp_path_factory.mktemp("series"))
    _set(chain, "preprocess: {", "preprocess: {speckle: {filter: none}, multitemporal: {enabled: true, window: 7}, ")
    _set(chain, "size_px: 320", "size_px: 192")
    for stage in ("make_scene", "find_images", "download", "preprocess_s1", "preprocess_s2", "multitemporal", "tile"):
        chain.run(stage)
    return chain


def test_files_and_what_reads_them(built: Chain) -> None:
    plain, filtered = (built.work / "preprocessed" / name for name in ("sentinel1", "sentinel1_mt"))
    names = sorted((path.name for path in plain.iterdir()), key=lambda name: name[17:])
    assert sorted(path.name for path in filtered.iterdir()) == sorted(names)
    assert len(names) == 2
    for pol in ("VV", "VH"):
        file = f"gamma0_{pol.lower()}.tif"
        stack = np.concatenate([raster.read(plain / name / file) for name in names])
        out = np.concatenate([raster.read(filtered / name / file) for name in names])
        assert out.tobytes() == multitemporal_filter(stack, 7).tobytes()
        gain = [estimate_looks(b, 24) / estimate_looks(a, 24) for a, b in zip(stack, out, strict=True)]
        print(
            f"{pol}: looks x {gain[0]:.2f} and {gain[1]:.2f} (theory for bare speckle x {expected_looks(1, 2, 7):.2f})"
        )
        assert min(gain) > 1.3
        info = raster.info(filtered / names[0] / file)
        assert info.band_names == (pol,)
        expected = {"SPECKLE": "multitemporal 7x7 of 2 dates", "STAGE": "multitemporal", "SOURCE_PRODUCTS": names[0],
                    "RADIOMETRY": "gamma0_rtc", "POLARISATION": pol, "RELATIVE_ORBIT": "147"}  # fmt: skip
        assert {key: info.tags[key] for key in expected} == expected
    for name in names:
        assert (filtered / name / "mask.tif").read_bytes() == (plain / name / "mask.tif").read_bytes()
        record = json.loads((filtered / name / "product.json").read_text())["multitemporal"]
        assert record["series"] == names
        for figures in record["means"].values():
            assert figures["mean_after"] == pytest.approx(figures["mean_before"], rel=0.01)
    tile = raster.read(next((built.work / "tiles").glob("*/sentinel1/r0001_c0001.tif")))
    grid = raster.info(next((built.work / "tiles").glob("*/sentinel1/r0001_c0001.tif"))).grid
    seen = [raster.read_on_grid(filtered / name / "gamma0_vv.tif", grid)[0].tobytes() for name in names]
    assert tile[0].tobytes() in seen


def test_second_run_does_nothing_and_only_what_depends_is_stale(built: Chain) -> None:
    assert "multitemporal: up to date" in built.run("multitemporal").stderr
    before = final_bytes(built.work)
    built.run("multitemporal", "--force")
    assert final_bytes(built.work) == before
    _set(built, "window: 7", "window: 5")
    try:
        shown = built.run("plan", "--until", "tile").stdout
    finally:
        _set(built, "window: 5", "window: 7")
    lines = {line.split()[1]: line for line in shown.splitlines()}
    assert lines["preprocess_s1"].startswith("fresh"), shown
    assert lines["multitemporal"].startswith("run "), shown
    assert "configuration changed: preprocess.multitemporal" in lines["multitemporal"], shown
    assert "after multitemporal" in lines["tile"], shown


def test_speckle_is_never_filtered_twice(built: Chain, tmp_path: Path) -> None:
    chain = make_chain(tmp_path / "twice")
    _set(chain, "preprocess: {", "preprocess: {multitemporal: {enabled: true}, ")
    result = chain.run("multitemporal", check=False)
    assert result.returncode == 65
    assert "mini.yaml:" in result.stderr
    assert "preprocess.speckle.filter must be none" in result.stderr
    _set(chain, "multitemporal: {enabled: true}", "multitemporal: {window: 6}")
    assert "preprocess.multitemporal.window must be odd" in chain.run("tile", check=False).stderr


def test_not_enabled_means_not_run(tmp_path: Path) -> None:
    chain = make_chain(tmp_path / "off")
    result = chain.run("multitemporal", check=False)
    assert result.returncode == 0, result.stderr
    assert not (chain.work / "preprocessed").exists()
