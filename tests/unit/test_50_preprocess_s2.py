"""Stage preprocess_s2 on good, bad and unusual products: values, counts, tags; each error leaves nothing behind."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.s1_stage import Skipped
from tests.s2_stage import convert, folder_of, planes
from tests.synthetic_l1c import scene_toa, write_l1c
from tests.synthetic_l2a import GRID, change, reflectances, write_product
from utils.io import pictures, raster
from utils.science.grid import Grid, Window
from utils.workflow import config
from utils.workflow.errors import ConfigError, DiskError, Error, InputError

ROOT = Path(__file__).parents[2]


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def expect(tmp_path: Path, archive: Path, kind: type[Error], code: int, text: str, **settings: object) -> Error:
    """The error, its code and remedy; no file and no folder of the product stays."""
    with pytest.raises(kind, match=text) as caught:
        convert(tmp_path / "work", archive, GRID, **settings)
    assert caught.value.exit_code == code and caught.value.remedy
    parent = folder_of(tmp_path / "work", archive).parent
    assert not parent.exists() or not list(parent.iterdir())
    return caught.value


def test_files_values_and_tags(tmp_path: Path) -> None:
    path = write_product(tmp_path / "archive", "05.00")
    facts = convert(tmp_path, path, GRID, bands=("B04", "B03", "B02", "B8A"))
    folder = folder_of(tmp_path, path)
    assert sorted(p.name for p in folder.iterdir()) == [
        "B02.tif", "B03.tif", "B04.tif", "B8A.tif", "cloud.tif", "product.json", "quicklook.png", "scl.tif",
    ]  # fmt: skip
    assert np.abs(planes(tmp_path, path, "B04")[0] - reflectances()["B04"]).max() <= 0.5001e-4
    info = {name: raster.info(folder / f"{name}.tif") for name in ("B04", "B8A", "scl", "cloud")}
    shared = {
        "SOURCE_PRODUCTS": path.stem, "STAGE": "preprocess_s2", "KEY": "0", "CODE": "0", "BACKEND": "native",
        "PROCESSING_BASELINE": "05.00", "QUANTIFICATION": "10000", "OFFSET_SOURCE": "xml",
        "SENSING_TIME": "2020-01-04T00:02:43.000Z", "TILE": "55HGA",
    }  # fmt: skip
    own = {
        "B04": {"UNITS": "reflectance", "OFFSET_DN": "-1000", "RESAMPLING": "none"},
        "B8A": {"UNITS": "reflectance", "OFFSET_DN": "-1000", "RESAMPLING": "bilinear"},
        "scl": {"UNITS": "class", "OFFSET_DN": "0", "RESAMPLING": "nearest"},
        "cloud": {"UNITS": "code", "CLOUD_SOURCE": "scl", "SHADOW_SOURCE": "scl", "DILATED_M": "60"},
    }
    for name, tags in own.items():
        assert {key: info[name].tags.get(key) for key in shared | tags} == shared | tags
    assert (info["B04"].dtype, info["scl"].dtype, info["scl"].nodata, info["cloud"].nodata) == (
        "float32",
        "uint8",
        0,
        255,
    )
    assert np.isnan(info["B04"].nodata) and info["cloud"].grid == GRID
    assert facts["options"]["bands"] == ["B04", "B03", "B02", "B8A"] and facts["classes"]["none"] > 0
    assert str(tmp_path) not in (folder / "product.json").read_text()


def test_nodata_saturated_and_clipped_are_counted(tmp_path: Path) -> None:
    """DN 0 and 65535 give NaN, DN below the offset gives 0; each is counted in pixels of the band's own size."""
    from utils.io.synth_s2 import jp2_bytes

    dn10, dn20 = np.full(GRID.shape, 3000, np.uint16), np.full((24, 30), 3000, np.uint16)
    dn10[0, :4], dn10[5, :3], dn10[9, :2] = 0, 65535, 990
    dn20[0, :4], dn20[5, :3], dn20[9, :2] = 0, 65535, 990
    half = Grid(GRID.epsg, GRID.x0, GRID.y0, 20.0, -20.0, 24, 30)
    path = write_product(tmp_path / "archive", "05.00")
    change(path, r"_B04_10m\.jp2", lambda _: jp2_bytes(dn10, GRID))
    change(path, r"_B8A_20m\.jp2", lambda _: jp2_bytes(dn20, half))
    facts = convert(tmp_path, path, GRID, bands=("B04", "B8A"))
    counted = {"nodata": 4, "saturated": 3, "clipped": 2}
    assert facts["bands"] == {"B04": counted, "B8A": counted}
    red, narrow = planes(tmp_path, path, "B04", "B8A")
    assert np.isnan(red).sum() == 7 and np.isnan(narrow).sum() == 28 and np.nanmin(red) == 0
    assert (
        red[20, 20] == np.float32(0.2) and red[9, 0] == 0 and np.isnan(red[0, :4]).all() and np.isnan(red[5, :3]).all()
    )


def test_baselines_and_threads_give_the_same_bytes(tmp_path: Path) -> None:
    """DN + 1000 with offset -1000 is bit-equal to the old product; threads change no byte of any file."""
    old, new = write_product(tmp_path / "a"), write_product(tmp_path / "b", "05.00")
    bands = ("B02", "B03", "B04", "B08", "B8A", "B11", "B12")
    for name, threads in (("1", 1), ("2", 2), ("7", 7)):
        convert(tmp_path / name, new, GRID, bands=bands, threads=threads)
    convert(tmp_path / "old", old, GRID, bands=bands)
    first = digests(folder_of(tmp_path / "1", new))
    assert first == digests(folder_of(tmp_path / "2", new)) == digests(folder_of(tmp_path / "7", new))
    assert planes(tmp_path / "old", old, *bands).tobytes() == planes(tmp_path / "1", new, *bands).tobytes()


def test_red_edge_on_request(tmp_path: Path) -> None:
    """preprocess.s2_bands beyond those of the data set; a product that lacks one is refused before anything is written."""
    path = write_product(tmp_path / "archive")
    assert list(convert(tmp_path, path, GRID, s2_bands=("B02", "B11"))["bands"]) == ["B02", "B11"]
    expect(tmp_path / "x", path, InputError, 66, r"no image B05_20m in MTD_MSIL2A\.xml", s2_bands=("B05",))


def test_cloud_classes_are_configurable(tmp_path: Path) -> None:
    path = write_product(tmp_path / "archive")
    usual = convert(tmp_path / "0", path, GRID, cloud_dilate_m=0.0)["classes"]
    assert (usual["cloud"], usual["shadow"], usual["clear"]) == (36, 48, 48 * 60 - 120 - 36 - 48)
    other = {"cloud": (3,), "shadow": (), "snow": (4,), "defective": (9,)}
    changed = convert(tmp_path / "1", path, GRID, cloud_dilate_m=0.0, cloud_classes=other)["classes"]
    assert changed == {"cloud": 48, "shadow": 0, "snow": usual["clear"], "defective": 36, "clear": 0, "none": 120}


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("preprocess: {cloud_classes: {cloud: [8, 9], shadow: [9]}}", "a class has two meanings"),
        ("preprocess: {cloud_classes: {cloud: [0]}}", "greater than or equal to 1"),
        ("preprocess: {s2_bands: [B04, B03]}", "preprocess.s2_bands lacks B02, B08, which section dataset uses"),
        ("preprocess: {s2_bands: [B04, B03, B02, B08, B04]}", "a band is listed twice"),
        ("preprocess: {s2_bands: [B09]}", "preprocess.s2_bands"),
        ("preprocess: {cloud_mask: maja}", "preprocess.cloud_mask"),
        ("preprocess: {s2cloudless: {resolution_m: 30}}", "resolution_m"),
    ],
)
def test_wrong_settings_are_refused_with_file_and_line(tmp_path: Path, lines: str, text: str) -> None:
    path = tmp_path / "c.yaml"
    dates = "dates: {t0: {start: 2019-01-01, end: 2019-02-01}, t1: {start: 2019-03-01, end: 2019-04-01}}\n"
    path.write_text(f"{dates}{lines}\n")
    with pytest.raises(ConfigError, match=re.escape(text)) as caught:
        config.load(path)
    assert f"{path.name}:2" in str(caught.value) and caught.value.exit_code == 65


def test_quicklook_shows_the_outline_of_the_mask(tmp_path: Path) -> None:
    from PIL import Image

    path = write_product(tmp_path / "archive")
    convert(tmp_path, path, GRID, cloud_dilate_m=20.0)
    picture = np.asarray(Image.open(folder_of(tmp_path, path) / "quicklook.png"))
    codes = planes(tmp_path, path, "cloud")[0]
    for code, colour in ((1, pictures.CLOUD_RGB), (2, pictures.SHADOW_RGB)):
        mask = np.pad(codes == code, 1, mode="edge")
        inner = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        assert np.array_equal((picture == colour).all(-1), (codes == code) & ~inner) and inner.any()
    plain = pictures.true_colour(
        dict(zip(("B02", "B03", "B04"), planes(tmp_path, path, "B02", "B03", "B04"), strict=True))
    )
    assert np.array_equal(picture[codes == 0], plain[codes == 0])


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_l1c_in_place_of_l2a(tmp_path: Path) -> None:
    grid = Grid(GRID.epsg, GRID.x0, GRID.y0, 10.0, -10.0, 48, 60)
    none = np.zeros((8, 10), bool)
    path = write_l1c(tmp_path / "archive", grid, scene_toa(grid, none, none))
    error = expect(tmp_path, path, InputError, 66, r"product is Sentinel-2 L1C; this stage needs L2A")
    assert "L2A product of the same acquisition" in error.remedy


def test_truncated_zip_and_no_zip(tmp_path: Path) -> None:
    path = write_product(tmp_path / "archive")
    data = path.read_bytes()
    for content in (data[:-3000], b"<html>busy</html>"):
        path.write_bytes(content)
        error = expect(tmp_path, path, InputError, 66, rf"{path.name}: not a readable zip")
        assert error.remedy == "Download it again: make download CONF=..."


Edit = Callable[[bytes], bytes | None]


def unlike_its_manifest(path: Path, pattern: str, edit: Edit) -> Path:
    """Rewrite a zip with one member edited and the manifest left as it was."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            new = edit(data) if re.search(pattern, name) else data
            if new is not None:
                archive.writestr(name, new)
    return path


@pytest.mark.parametrize(
    ("pattern", "edit", "verify", "text"),
    [
        (r"_B03_10m\.jp2", lambda d: d[:100], "size", r"_B03_10m\.jp2 has 100 bytes, manifest\.safe says \d+"),
        (r"_B03_10m\.jp2", lambda _: b"", "size", r"_B03_10m\.jp2 has 0 bytes, manifest\.safe says \d+"),
        (r"_B03_10m\.jp2", lambda _: b"", "off", r"_B03_10m\.jp2: not a readable image"),
        (r"_B03_10m\.jp2", lambda d: d[:-1] + b"x", "md5", r"_B03_10m\.jp2 has md5 [0-9a-f]{32}, manifest\.safe says"),
        (r"_B03_10m\.jp2", lambda _: None, "size", r"_B03_10m\.jp2 is missing"),
        (r"_SCL_20m\.jp2", lambda _: None, "off", r"_SCL_20m\.jp2 is missing"),
        (r"_B08_10m\.jp2", lambda d: d[: len(d) * 3 // 4], "off", r"_B08_10m\.jp2: rows 0 to 48 cannot be decoded"),
        (r"_SCL_20m\.jp2", lambda d: d[: len(d) * 2 // 3], "off", r"_SCL_20m\.jp2: (not a readable image|rows 0 to 24 cannot be decoded)"),
        (r"manifest\.safe", lambda _: None, "size", r"no manifest\.safe"),
        (r"MTD_MSIL2A\.xml", lambda d: d[:500], "size", r"MTD_MSIL2A\.xml is not well-formed XML"),
    ],
)  # fmt: skip
def test_broken_members(tmp_path: Path, pattern: str, edit: Edit, verify: str, text: str) -> None:
    path = unlike_its_manifest(write_product(tmp_path / "archive"), pattern, edit)
    error = expect(tmp_path, path, InputError, 66, text, verify=verify)
    assert "Download it again" in error.remedy or "Give one zip" in error.remedy


def _drop(element: bytes, attribute: bytes = b"") -> Edit:
    return lambda data: re.sub(b"<%s[ >]?%s.*?</%s>" % (element, attribute, element), b"", data)


@pytest.mark.parametrize(
    ("baseline", "pattern", "edit", "kind", "text"),
    [
        ("05.00", "MTD_MSIL2A", _drop(b"BOA_ADD_OFFSET"), InputError, r"baseline 05\.00 without BOA_ADD_OFFSET_VALUES_LIST"),
        ("04.00", "MTD_MSIL2A", _drop(b"BOA_ADD_OFFSET"), InputError, r"baseline 04\.00 without BOA_ADD_OFFSET_VALUES_LIST"),
        ("05.10", "MTD_MSIL2A", _drop(b"BOA_ADD_OFFSET", b'band_id="3"'), InputError, "no BOA_ADD_OFFSET for band B04"),
        ("05.10", "MTD_MSIL2A", lambda d: d.replace(b">-1000<", b">-1000.5<"), InputError, r"BOA_ADD_OFFSET '-1000\.5'"),
        ("02.13", "MTD_TL", lambda d: d.replace(b"EPSG:32755", b"EPSG:32756"), ConfigError, "is in EPSG:32756, the target grid in EPSG:32755"),
        ("02.13", "MTD_TL", lambda d: d.replace(b"<NCOLS>60<", b"<NCOLS>66<"), InputError, r"has 48 x 60 pixels, MTD_TL\.xml says 48 x 66"),
        ("02.13", "MTD_TL", lambda d: d.replace(b"<ULY>6100000<", b"<ULY>6100020<"), InputError, "lies elsewhere than MTD_TL"),
        ("02.13", "MTD_TL", lambda d: d.replace(b"SENSING_TIME", b"OTHER"), InputError, "element SENSING_TIME is missing"),
    ],
)  # fmt: skip
def test_metadata_that_do_not_hold(
    tmp_path: Path, baseline: str, pattern: str, edit: Edit, kind: type[Error], text: str
) -> None:
    path = change(write_product(tmp_path / "archive", baseline), pattern, edit)
    expect(tmp_path, path, kind, 65 if kind is ConfigError else 66, text)


def test_reprocessed_old_scene_keeps_its_offsets(tmp_path: Path) -> None:
    """A scene of 2020 in baseline 05.xx: the offset comes from the XML, never from the date."""
    path = change(
        write_product(tmp_path / "archive", "05.00"), "MTD_MSIL2A", lambda d: d.replace(b">-1000<", b">-900<")
    )
    facts = convert(tmp_path, path, GRID, bands=("B04",))
    assert facts["offsets_dn"]["B04"] == -900 and facts["start"].startswith("2020-01-04")
    assert np.abs(planes(tmp_path, path, "B04")[0] - reflectances()["B04"] - 0.01).max() <= 0.501e-4


def test_area_outside_and_partly_outside(tmp_path: Path) -> None:
    path = write_product(tmp_path / "archive")
    for window, least in ((Window(480, 0, 48, 60), 0.01), (Window(24, 0, 48, 60), 0.6)):
        with pytest.raises(Skipped, match=r"outside: the tile covers (0|50)\.0 % of the area"):
            convert(tmp_path, path, GRID.window(window), min_overlap=least)
        assert not folder_of(tmp_path, path).exists()
    facts = convert(tmp_path, path, GRID.window(Window(24, 0, 48, 60)))
    assert facts["overlap"] == 0.5 and facts["classes"]["none"] == 24 * 60
    assert np.isnan(planes(tmp_path, path, "B04")[0][24:]).all()


def test_no_room_on_the_disk_is_said_before_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_product(tmp_path / "archive")
    real = os.statvfs(tmp_path)
    full = os.statvfs_result((*real[:4], 1, *real[5:]))
    monkeypatch.setattr("scripts._sentinel2.os.statvfs", lambda _: full)
    expect(tmp_path, path, DiskError, 69, "needs up to .* MiB, 0 MiB are free")


CHILD = """if True:
    import resource, sys
    from pathlib import Path
    from tests.s2_stage import convert
    from tests.unit.test_50_preprocess_s2 import BIG
    from utils.workflow.errors import Error, from_os_error
    if int(sys.argv[3]):
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]), BIG)
    except OSError as error:
        print(from_os_error(error).exit_code)
    except Error as error:
        print(error.exit_code, error)
"""
BIG = Grid(GRID.epsg, GRID.x0, GRID.y0, 10.0, -10.0, 1100, 1060)  # the product lies in its corner; the rest is no data


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product of 1100 x 1060 pixels of noise, which does not compress."""
    from tests.synthetic_l1c import identity_of
    from tests.synthetic_l2a import RING
    from utils.io.synth_s2 import write_l2a

    grid = Grid(GRID.epsg, GRID.x0, GRID.y0, 10.0, -10.0, 1098, 1056)
    rng = np.random.default_rng(8)
    bands = {band: rng.uniform(0, 1, grid.shape).astype(np.float32) for band in ("B02", "B03", "B04", "B08")}
    scl = rng.integers(0, 12, (549, 528)).astype(np.uint8)
    return write_l2a(tmp_path_factory.mktemp("noisy"), identity_of(), grid, bands, scl, RING)


def test_full_disk_ends_with_69_and_leaves_nothing(noisy: Path, tmp_path: Path) -> None:
    """The system refuses to let a file grow, as a full disk or a quota does."""
    line = [sys.executable, "-c", CHILD, str(tmp_path), str(noisy), "1000000"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("69"), done.stdout + done.stderr
    assert not list((tmp_path / "preprocessed" / "sentinel2").iterdir())


@pytest.mark.slow
def test_killed_runs_leave_no_partial_file_and_the_next_run_gives_the_same_bytes(noisy: Path, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", CHILD, str(undisturbed), str(noisy), "0"], cwd=ROOT, check=True)
    whole_s = time.monotonic() - begin
    wanted, work = digests(folder_of(undisturbed, noisy)), tmp_path / "work"
    for number in range(4):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(work), str(noisy), "0"], cwd=ROOT)
        time.sleep(whole_s * (0.5 + 0.14 * number))
        child.send_signal(signal.SIGKILL)
        child.wait()
        folder = folder_of(work, noisy)
        there = digests(folder) if folder.exists() else {}
        final = {name: digest for name, digest in there.items() if ".s2cr-tmp." not in name}
        assert final.items() <= wanted.items()
    shutil.rmtree(folder_of(work, noisy), ignore_errors=True)
    subprocess.run([sys.executable, "-c", CHILD, str(work), str(noisy), "0"], cwd=ROOT, check=True)
    assert digests(folder_of(work, noisy)) == wanted
