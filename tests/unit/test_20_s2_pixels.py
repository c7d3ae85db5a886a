"""Rows of JPEG 2000 images: each row of tiles decoded once, any strips give the same bits, broken images are named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

from tests.synthetic_l2a import GRID, reflectances, write_product
from utils.io import safe_s2
from utils.io.jp2 import Rows, bounded_cache
from utils.io.s2_convert import How, MaskRules, convert_band, convert_classes
from utils.io.s2_pixels import Image, Strips, strip_rows
from utils.io.safe import open_product
from utils.io.synth_s2 import jp2_bytes
from utils.science.grid import Grid, Window
from utils.workflow.errors import InputError

ROOT = Path(__file__).parents[2]
BIG = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 2500, 1300)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A JPEG 2000 with three rows of two tiles."""
    rng = np.random.default_rng(5)
    dn = (1000 + 500 * np.sin(np.arange(2500) / 90)[:, None] + rng.normal(0, 20, BIG.shape)).astype(np.uint16)
    path = tmp_path_factory.mktemp("jp2") / "big.jp2"
    path.write_bytes(jp2_bytes(dn, BIG))
    return path, dn


def test_each_row_of_tiles_is_decoded_once_from_inside_a_tile(big: tuple[Path, np.ndarray]) -> None:
    path, dn = big
    for threads, step in ((1, 100), (2, 512), (2, 1024), (1, 37)):
        with Rows(str(path), "big", threads) as rows:
            parts = [rows.take(first + 700, last + 700, 11, 1290) for first, last in strip_rows(1500, step)]
            assert np.array_equal(np.concatenate(parts), dn[700:2200, 11:1290])
            print(f"decoded {rows.decoded_rows} rows for 1500 (limit 1700: to the end of the last row of tiles)")
            assert rows.decoded_rows == (1024 - 700) + 1024 + (2500 - 2048)


def test_context_before_a_strip_is_kept_and_going_back_is_refused(big: tuple[Path, np.ndarray]) -> None:
    path, dn = big
    with Rows(str(path), "big") as rows:
        for first, last in strip_rows(2400, 300):
            got = rows.take(max(first - 40, 0), last + 40, 0, 1300)
            assert np.array_equal(got, dn[max(first - 40, 0) : last + 40])
        assert rows.decoded_rows == 2500
        with pytest.raises(ValueError, match="do not follow"):
            rows.take(0, 10, 0, 1300)


def test_skipped_rows_of_tiles_are_not_decoded(big: tuple[Path, np.ndarray]) -> None:
    path, dn = big
    with Rows(str(path), "big") as rows:
        assert np.array_equal(rows.take(5, 6, 0, 3), dn[5:6, :3])
        assert np.array_equal(rows.take(2300, 2310, 0, 3), dn[2300:2310, :3])
        assert rows.decoded_rows == (1024 - 5) + (2500 - 2300)


def test_cache_is_bounded_and_given_back() -> None:
    before = gdal.GetCacheMax()
    with bounded_cache(7):
        assert gdal.GetCacheMax() == 7 << 20
    assert gdal.GetCacheMax() == before


class Sink:
    """Keeps what is written and checks that strips come in order."""

    def __init__(self, grid: Grid) -> None:
        self.values, self.next = np.zeros(grid.shape, np.float32), 0

    def write(self, array: np.ndarray, row: int, col: int) -> None:
        assert (row, col, array.shape[0], array.shape[2]) == (self.next, 0, 1, self.values.shape[1])
        self.values[row : row + array.shape[1]], self.next = array[0], row + array.shape[1]


@pytest.mark.parametrize("window", [Window(0, 0, 48, 60), Window(14, 6, 20, 30), Window(-10, -8, 70, 80)])
def test_any_strip_height_gives_the_same_bits(tmp_path: Path, window: Window) -> None:
    grid = GRID.window(window)
    with open_product(write_product(tmp_path, "05.00")) as product:
        meta, found = safe_s2.metadata(product), {}
        for rows in (2, 6, 16, 512):
            sinks = {name: Sink(grid) for name in ("B04", "B8A", "scl", "cloud")}
            how = How(rows=rows, threads=1 + rows % 3, thin=3)
            done = [convert_band(product, meta, band, grid, sinks[band], how) for band in ("B04", "B8A")]
            done.append(convert_classes(product, meta, grid, (sinks["scl"], sinks["cloud"]), MaskRules(), how))
            assert all(
                np.array_equal(d.thin, sinks[n].values[::3, ::3], equal_nan=True)
                for d, n in zip(done, ("B04", "B8A", "cloud"), strict=True)
            )
            found[rows] = ([s.values.tobytes() for s in sinks.values()], [d.counts for d in done])
        assert found[2] == found[6] == found[16] == found[512]


def test_20_m_band_keeps_its_coarse_means_and_edges(tmp_path: Path) -> None:
    """Beside the tile's edge the weights of what is there count; a plane stays a plane up to half a pixel from it."""
    with open_product(write_product(tmp_path)) as product:
        meta, sink = safe_s2.metadata(product), Sink(GRID)
        counts = convert_band(product, meta, "B8A", GRID, sink, How(rows=10)).counts
    assert counts == {"nodata": 0, "saturated": 0, "clipped": 0}
    coarse = np.rint(reflectances()["B8A"].astype(np.float64) * 10000) / 10000
    edge = sink.values[0, 1:-1].reshape(-1, 2)[:5]  # between the first columns of the first row
    a, b, c = coarse[0, :5], coarse[0, 1:6], coarse[0, 2:7]
    expected = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], 1)
    del c
    assert edge == pytest.approx(expected, abs=1e-6)
    assert sink.values[0, 0] == pytest.approx(coarse[0, 0], abs=1e-7)  # a corner has one neighbour only: itself
    inner = sink.values[1:3, 1:3]
    four = coarse[:2, :2]
    assert inner[0, 0] == pytest.approx((9 * four[0, 0] + 3 * four[0, 1] + 3 * four[1, 0] + four[1, 1]) / 16, abs=1e-6)


def _image(path: Path) -> Callable[[], object]:
    def read() -> object:
        with Rows(str(path), "PRODUCT: B04.jp2") as rows:
            return rows.take(0, rows.grid.rows, 0, rows.grid.cols)

    return read


@pytest.mark.parametrize("fault", ["no image", "cut", "tile", "float"])
def test_broken_image_is_named(big: tuple[Path, np.ndarray], tmp_path: Path, fault: str) -> None:
    data, path = big[0].read_bytes(), tmp_path / "broken.jp2"
    if fault == "float":
        path = tmp_path / "float.tif"
        memory = gdal.GetDriverByName("GTiff").Create(str(path), 4, 4, 1, gdal.GDT_Float32)
        memory.SetGeoTransform(BIG.transform)
        del memory
    else:
        middle = len(data) // 2
        broken = {
            "no image": b"not an image" * 100,
            "cut": data[:middle],
            "tile": data[: middle - 50_000] + b"\xff" * 100_000 + data[middle + 50_000 :],
        }
        path.write_bytes(broken[fault])
    with pytest.raises(InputError, match=r"PRODUCT: B04\.jp2") as caught:
        _image(path)()
    print(caught.value)
    assert caught.value.remedy == "Download it again: make download CONF=..." and str(tmp_path) not in str(caught.value)


def test_gdal_without_jpeg_2000(big: tuple[Path, np.ndarray]) -> None:
    """The driver is taken away in a process of its own."""
    code = """if True:
        import sys
        from utils.io import jp2
        from utils.workflow.errors import Error
        for name in jp2.DRIVERS:
            driver = jp2.gdal.GetDriverByName(name)
            if driver:
                driver.Deregister()
        try:
            jp2.Rows(sys.argv[1], "PRODUCT: B04.jp2")
        except Error as error:
            print(error.exit_code, error)
    """
    run = subprocess.run(
        [sys.executable, "-c", code, str(big[0])], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("77 PRODUCT: B04.jp2: this GDAL (") and "libgdal-jp2openjpeg" in run.stdout


def test_strips_outside_the_tile(tmp_path: Path) -> None:
    path = tmp_path / "a.jp2"
    small = Grid(32755, 0.0, 100.0, 10.0, -10.0, 4, 4)
    dn = np.arange(1, 17, dtype=np.uint16).reshape(4, 4)
    product = write_product(tmp_path / "p")
    path.write_bytes(jp2_bytes(dn, small))

    class Folder:
        def __init__(self) -> None:
            self.path = product

        def gdal_path(self, member: str) -> str:
            return str(tmp_path / member)

    wider = small.window(Window(-1, 2, 7, 4))
    with Strips(Folder(), Image("a.jp2", small, 9), wider) as strips:  # type: ignore[arg-type]
        assert strips.take(-3, 2).tolist() == [[9] * 4] * 4 + [[3, 4, 9, 9]]
        assert (
            strips.take(1, 9).tolist() == [[3, 4, 9, 9], [7, 8, 9, 9], [11, 12, 9, 9], [15, 16, 9, 9]] + [[9] * 4] * 4
        )
        assert (strips.take(9, 10) == 9).all()
