"""The Sentinel-1 chain against the scene simulator, which models geometry and radiometry on its own.

The simulator goes from explicit facets on the ground to image cells with exact zero Doppler for every facet; the
chain comes back from the zip alone. Ground truth is the simulator's gamma nought on the map, without speckle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tests.s1_stage import convert
from utils.io import raster
from utils.io.synth_products import SceneProducts
from utils.workflow.layout import Layout
from utils.workflow.schema import Dem, Scene, Speckle

SIZE_PX = 400


def _make(work: Path, *, noisy: bool) -> Path:
    """Scene folder with ground, truth and the product of t0."""
    scene = Scene(size_px=SIZE_PX, speckle=noisy, thermal_noise=noisy, decoys=False)
    products = SceneProducts(scene)
    products.write_ground(work / "scene", {})
    return products.write_s1("s1_t0", work / "scene" / "archive")


def _run(work: Path, archive: Path, **settings: Any) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """gamma0 (2, rows, cols), mask and product.json of the product."""
    gamma0, mask, facts, _ = convert(work, archive, SceneProducts(Scene(size_px=SIZE_PX)).grid, **settings)
    return gamma0, mask, facts


def _shift_px(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(x, y) displacement of image against truth, by least squares on the gradients of smoothed decibels."""
    a, b = (gaussian_filter(10 * np.log10(np.maximum(p, 1e-5)), 1.0) for p in (image, truth))
    rows, cols = np.gradient(b)
    error = (a - b) - (a - b).mean()
    normal = np.array([[np.sum(cols * cols), np.sum(cols * rows)], [np.sum(cols * rows), np.sum(rows * rows)]])
    return -np.linalg.solve(normal, np.array([np.sum(cols * error), np.sum(rows * error)]))


def _blocks(values: np.ndarray, side: int) -> np.ndarray:
    count = values.shape[0] // side
    cut = values[: count * side, : count * side].reshape(count, side, count, side)
    return np.asarray(np.nanmean(cut, axis=(1, 3)))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    work = tmp_path_factory.mktemp("clean")
    return work, _make(work, noisy=False)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    work = tmp_path_factory.mktemp("noisy")
    return work, _make(work, noisy=True)


def _truth(work: Path) -> np.ndarray:
    return raster.read(work / "scene" / "truth" / "gamma0_t0.tif")


def test_lands_on_the_simulators_ground(clean: tuple[Path, Path]) -> None:
    work, archive = clean
    gamma0, mask, facts = _run(work, archive, speckle=Speckle(filter="none"))
    truth = _truth(work)
    shifts = np.array(
        [
            _shift_px(gamma0[0, r : r + 64, c : c + 64], truth[0, r : r + 64, c : c + 64])
            for r in range(0, 384, 64)
            for c in range(0, 384, 64)
        ]
    )
    length, mean = float(np.median(np.hypot(*shifts.T))), np.median(shifts, axis=0)
    print(f"median shift {length:.3f} px (limit 0.2), median x {mean[0]:+.3f}, y {mean[1]:+.3f} px")
    assert length < 0.2
    assert np.abs(mean).max() < 0.05
    for band, name in enumerate(("VV", "VH")):
        difference = 10 * np.log10(gamma0[band] / truth[band])
        median, total = float(np.median(difference)), 10 * np.log10(gamma0[band].mean() / truth[band].mean())
        print(f"{name}: median {median:+.4f} dB (limit 0.1), mean power {total:+.4f} dB (limit 0.02)")
        assert abs(median) < 0.1
        assert abs(total) < 0.02
    assert facts["coverage"] == 1.0
    assert not (mask & 4).any()


@pytest.mark.parametrize(("name", "limit_db"), [("none", 0.03), ("lee_sigma", 0.1)])
def test_power_with_speckle_and_thermal_noise(noisy: tuple[Path, Path], name: Any, limit_db: float) -> None:
    work, archive = noisy
    gamma0, _, facts = _run(work, archive, speckle=Speckle(filter=name))
    assert facts["noise_removed"] == {"VV": "yes", "VH": "yes"}
    for band, pol in enumerate(("VV", "VH")):
        averaged = 10 * np.log10(_blocks(gamma0[band], 40) / _blocks(_truth(work)[band], 40))
        median = float(np.median(averaged))
        print(f"{name} {pol}: median of 40 x 40 px means {median:+.4f} dB (limit {limit_db})")
        assert abs(median) < limit_db


def test_without_noise_removal_the_dark_channel_is_too_bright(noisy: tuple[Path, Path]) -> None:
    """The noise subtraction is needed, and of the right size: VH is too bright without it."""
    work, archive = noisy
    kept, _, facts = _run(work, archive, speckle=Speckle(filter="none"), noise=False)
    removed, _, _ = _run(work, archive, speckle=Speckle(filter="none"))
    truth = _truth(work)[1].mean()
    assert facts["noise_removed"]["VH"] == "off"
    assert abs(10 * np.log10(removed[1].mean() / truth)) < 0.03
    assert 10 * np.log10(kept[1].mean() / truth) > 0.3


def test_wrong_height_datum_would_shift_the_image(clean: tuple[Path, Path]) -> None:
    """Sensitivity of the shift test: 50 m of height error move the image by more than a pixel."""
    work, archive = clean
    heights = raster.read(work / "scene" / "dem.tif")
    info = raster.info(work / "scene" / "dem.tif")
    raster.write(work / "scene" / "wrong.tif", heights + np.float32(50), info.grid, tags={"VERTICAL": "ellipsoid"})
    gamma0, _, _ = _run(work, archive, dem=Dem(path="{scene}/wrong.tif"), speckle=Speckle(filter="none"))
    truth = _truth(work)
    shift = np.median(
        [_shift_px(gamma0[0, r : r + 64, 64:128], truth[0, r : r + 64, 64:128]) for r in range(0, 384, 64)], axis=0
    )
    assert np.hypot(*shift) > 1.0


def test_equal_bytes_for_any_number_of_threads_and_rows(noisy: tuple[Path, Path]) -> None:
    from utils.science.threads import use_threads

    work, archive = noisy
    folder = Layout(work).preprocessed("sentinel1", archive.stem)
    contents = []
    try:
        for threads, rows in ((1, 400), (2, 64), (2, 111)):
            use_threads(threads)
            _run(work, archive, threads=threads, row_block=rows, incidence=True)
            files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
            files.pop("product.json")  # tells the settings
            contents.append(files)
    finally:
        use_threads(0)
    assert set(contents[0]) == {"gamma0_vv.tif", "gamma0_vh.tif", "mask.tif", "incidence.tif", "quicklook.png"}
    assert contents[0] == contents[1] == contents[2]
