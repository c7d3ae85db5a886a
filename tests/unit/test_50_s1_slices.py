"""An area across the seam of two slices of a pass: their mosaic against the product that was never cut."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from tests.s1_slices import write_slices
from tests.s1_stage import convert
from utils.io import raster, safe_s1
from utils.io.acquisitions import Acquisition, read_planes
from utils.io.cutter import DateRasters
from utils.io.safe import open_product
from utils.io.synth_products import SceneProducts
from utils.science.grid import Grid, Window
from utils.science.speckle import radius_px
from utils.workflow.layout import Layout
from utils.workflow.schema import Scene, Speckle

SIZE_PX = 320
WINDOW = Window(0, 0, SIZE_PX, SIZE_PX)
FILES = ("gamma0_vv", "gamma0_vh")


@dataclass(frozen=True)
class Case:
    """A speckled scene with products in work/scene."""

    work: Path
    grid: Grid
    whole: Path
    slices: tuple[Path, Path]
    lines: int
    cut: int


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    work = tmp_path_factory.mktemp("slices")
    products = SceneProducts(Scene(size_px=SIZE_PX, speckle=True, thermal_noise=True))
    products.write_ground(work / "scene", {})
    lines = products.track(True).grid.lines
    whole, *parts = write_slices(products, work / "scene" / "archive", lines // 2)
    return Case(work, products.grid, whole, (parts[0], parts[1]), lines, lines // 2)


def test_slices_say_what_they_are(case: Case) -> None:
    """Times, sizes, slice numbers and tables of the parts are those of the whole, shifted."""
    found = []
    for path in (case.whole, *case.slices):
        with open_product(path) as product:
            members = safe_s1.require(product, ("VV", "VH"), "md5")["VV"]
            assert members.noise
            note, noise = (
                safe_s1.read_annotation(product, members.annotation),
                safe_s1.read_noise(product, members.noise),
            )
            found.append((note, noise, product.manifest()))
    (whole, table, _), (first, _, facts), (second, part, more) = found
    step = whole.line_interval_s
    assert (first.lines, second.lines) == (case.cut, case.lines - case.cut)
    assert (facts.slice_number, more.slice_number, more.total_slices) == (1, 2, 2)
    assert facts.datatake == more.datatake
    seconds = (second.first_line_time - first.last_line_time).astype(int) * 1e-9
    assert seconds == pytest.approx(step, abs=1.1e-6)  # times are written to a microsecond
    assert first.first_line_time == whole.first_line_time
    assert second.last_line_time == whole.last_line_time
    column = table.range_vectors.pixels[0][5]
    at = [
        np.interp(case.cut, table.range_vectors.lines, [v[5] for v in table.range_vectors.values]),
        part.range_vectors.values[0][5],
    ]
    assert part.range_vectors.pixels[0][5] == column
    assert at[0] == pytest.approx(at[1], rel=1e-6)


@pytest.mark.parametrize("name", ["none", "lee_sigma"])
def test_mosaic_of_two_slices_is_the_undivided_product(case: Case, name: str) -> None:
    """No line without data, no step in brightness; at the seam the filter has half a window, so single pixels differ."""
    chosen = Speckle(filter=name)
    expected, mask, _, _ = convert(case.work, case.whole, case.grid, speckle=chosen)
    parts = [convert(case.work, path, case.grid, speckle=chosen) for path in case.slices]
    root, names = Layout(case.work).preprocessed_root, tuple(path.stem for path in case.slices)
    mosaics = []
    for order in (names, names[::-1]):
        with DateRasters(root, Acquisition("d", order, (), {}), ("B04",)) as rasters:
            mosaics.append(rasters.cut(WINDOW))
        planes = read_planes(root, "sentinel1", order, FILES, case.grid)
        assert planes.tobytes() == mosaics[-1].sar.tobytes()
    assert mosaics[0].sar.tobytes() == mosaics[1].sar.tobytes()  # slices do not overlap: order does not matter
    sar, bits = mosaics[0].sar, mosaics[0].mask[1]
    assert np.isfinite(expected).all()
    assert np.isfinite(sar).all()
    assert (bits == mask).all()
    assert all(0.3 < ((part[1] & 4) > 0).mean() < 0.7 for part in parts)  # each alone lacks about half
    first = np.isfinite(parts[0][0][0])
    away = np.where(first, distance_transform_edt(first), distance_transform_edt(~first))
    reach, db = radius_px(name, 7), 10 * np.log10(sar / expected)  # type: ignore[arg-type]
    seam = away <= max(reach, 2)
    sides = {"before": seam & first, "after": seam & ~first, "seam": seam}
    for pol, values in zip(("VV", "VH"), db, strict=True):
        medians = {side: float(np.median(values[at])) for side, at in sides.items()}
        step = medians["after"] - medians["before"]
        print(
            f"{name} {pol}: {seam.sum()} seam pixels, median " + ", ".join(f"{k} {v:+.4f}" for k, v in medians.items())
            + f" dB (limit 0.05), median size of the difference {np.median(abs(values[seam])):.3f} dB; elsewhere "
            f"{np.percentile(abs(values[away > reach + 2]), 99):.4f} dB at 99 %; step {step:+.3f} dB (limit 0.1)"
        )  # fmt: skip
        assert abs(medians["seam"]) < 0.05
        assert abs(step) < 0.1
        assert np.percentile(abs(values[away > reach + 2]), 99) < 0.02
        if name == "none":
            assert np.median(abs(values[seam])) < 0.002


def _product(root: Path, name: str, sar: list[float], bits: list[int]) -> None:
    grid = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 1, len(sar))
    for file in FILES:
        raster.write(root / "sentinel1" / name / f"{file}.tif", np.array([[sar]], np.float32), grid)
    raster.write(root / "sentinel1" / name / "mask.tif", np.array([[bits]], np.uint8), grid)


def test_no_sample_only_where_no_slice_has_one(tmp_path: Path) -> None:
    """Where no slice has a value, shadow (2) or border noise (16) of one beats "no sample" (4) of the other."""
    nan = float("nan")
    _product(tmp_path, "A", [0.1, nan, nan, nan, nan, 0.1], [0, 4, 4, 16, 4, 1])
    _product(tmp_path, "B", [nan, 0.2, nan, nan, nan, 0.2], [4, 1, 2, 4, 4, 0])
    for order, last in ((("A", "B"), (0.1, 1)), (("B", "A"), (0.2, 0))):
        with DateRasters(tmp_path, Acquisition("d", order, (), {}), ("B04",)) as rasters:
            cut = rasters.cut(Window(0, 0, 1, 6))
        assert cut.mask[1, 0].tolist() == [0, 1, 2, 16, 4, last[1]]
        np.testing.assert_array_equal(cut.sar[0, 0], np.array([0.1, 0.2, nan, nan, nan, last[0]], np.float32))
