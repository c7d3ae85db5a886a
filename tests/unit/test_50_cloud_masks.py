"""Stage preprocess_s2 with cloud from s2cloudless and fmask: codes on the ground, the L1C product found, failures."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes import fmask as fake
from tests.s2_stage import convert, folder_of, planes
from tests.synthetic_l1c import identity_of, scene_toa, write_l1c
from tests.synthetic_l2a import change
from utils.io import cloud_probability, fmask, raster, safe_l1c, safe_s2
from utils.io.download_lock import write_lock
from utils.io.safe import open_product
from utils.io.synth_s2 import write_l2a
from utils.io.synth_s2_xml import L2aIdentity
from utils.science.grid import Grid, Window
from utils.workflow.errors import ConfigError, DiskError, ExternalError, InputError

GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 240, 300)  # 40 x 50 pixels of 60 m
ROOT = Path(__file__).parents[2]
DATA = os.environ.get("S2CR_DATA")


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Cloud and shadow at 60 m."""
    cloud, shadow = np.zeros((40, 50), bool), np.zeros((40, 50), bool)
    cloud[8:18, 10:22], shadow[22:32, 14:26] = True, True
    return cloud, shadow


def l2a(folder: Path, baseline: str = "02.13") -> Path:
    """L2A of the same datatake, whose scene classes say: everything vegetation, a shadow, a strip without data."""
    identity = identity_of()
    identity = L2aIdentity(identity.platform, identity.sensing, identity.absolute_orbit, identity.relative_orbit, identity.tile,
                           baseline, identity.generated.replace(month=3), 30.0, 60.0)  # fmt: skip
    scl = np.full((120, 150), 4, np.uint8)
    scl[66:96, 42:78], scl[:, :3], scl[100:103, 100:110], scl[50, 100] = 3, 0, 11, 1
    rng = np.random.default_rng(2)
    bands = {band: rng.uniform(0.02, 0.4, GRID.shape).astype(np.float32) for band in ("B02", "B03", "B04", "B08")}
    folder.mkdir(parents=True, exist_ok=True)
    ring = [(-35.22, 149.19), (-35.22, 149.21), (-35.23, 149.21), (-35.23, 149.19), (-35.22, 149.19)]
    return write_l2a(folder, identity, GRID, bands, scl, ring)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("archive")
    return l2a(folder / "l2a"), write_l1c(folder / "l1c", GRID, scene_toa(GRID, *masks()))


def run(work: Path, archive: tuple[Path, Path], source: str, **settings: Any) -> np.ndarray:
    settings = {"l1c_dir": str(archive[1].parent), **settings}
    convert(work, archive[0], GRID, cloud_mask=source, **settings)
    return planes(work, archive[0], "cloud")[0]


def at_60m(codes: np.ndarray, code: int) -> np.ndarray:
    return (codes == code).reshape(40, 6, 50, 6).all(axis=(1, 3))


def test_s2cloudless_replaces_cloud_and_keeps_the_rest(archive: tuple[Path, Path], tmp_path: Path) -> None:
    codes = run(tmp_path, archive, "s2cloudless", cloud_dilate_m=0.0, s2cloudless={"average_px": 0, "dilate_px": 0})
    cloud, _ = masks()
    agree = (at_60m(codes, 1) == cloud).mean()
    print(f"s2cloudless: {100 * agree:.2f} % of the 60 m pixels as generated (limit 99.5)")
    assert agree >= 0.995
    assert (codes[:, :6] == 255).all() and codes[100, 200] == 4  # the product's own gaps stay
    assert (codes[132:192, 84:156] == 2).mean() > 0.95 and (codes[201:206, 201:219] == 3).all()
    tags = raster.info(folder_of(tmp_path, archive[0]) / "cloud.tif").tags
    expected = {"CLOUD_SOURCE": "s2cloudless", "SHADOW_SOURCE": "scl", "CLOUD_RESOLUTION_M": "60", "CLOUD_THRESHOLD": "0.4",
                "CLOUD_AVERAGE_PX": "0", "CLOUD_DILATE_PX": "0", "L1C_PRODUCT": archive[1].stem, "DILATED_M": "0"}  # fmt: skip
    assert {name: tags[name] for name in expected} == expected


def test_s2cloudless_settings(archive: tuple[Path, Path], tmp_path: Path) -> None:
    """Growth by a disk of whole coarse pixels; a higher threshold never gives more; 20 m gives the same cloud."""
    plain = {"average_px": 0, "dilate_px": 0}
    bare = at_60m(run(tmp_path / "0", archive, "s2cloudless", s2cloudless=plain), 1)
    grown = at_60m(run(tmp_path / "1", archive, "s2cloudless", s2cloudless=plain | {"dilate_px": 2}), 1)
    rows, cols = np.nonzero(bare)
    row, col = np.indices(bare.shape)
    near = (np.hypot(row[..., None] - rows, col[..., None] - cols) <= 2).any(-1)
    assert np.array_equal(grown[:, 1:], near[:, 1:])  # column 0 has no data in the classes
    strict = at_60m(run(tmp_path / "2", archive, "s2cloudless", s2cloudless=plain | {"threshold": 0.99}), 1)
    assert not (strict & ~bare).any()
    fine = run(tmp_path / "3", archive, "s2cloudless", s2cloudless=plain | {"resolution_m": 20}) == 1
    assert (fine == np.kron(masks()[0], np.ones((6, 6))).astype(bool))[:, 6:].mean() > 0.97


def test_part_of_the_tile_gives_the_same_codes(archive: tuple[Path, Path], tmp_path: Path) -> None:
    """The area starts inside coarse pixels; codes do not depend on where the area is cut."""
    window = Window(34, 26, 120, 170)
    whole = run(tmp_path / "0", archive, "s2cloudless")
    convert(tmp_path / "1", archive[0], GRID.window(window), cloud_mask="s2cloudless", l1c_dir=str(archive[1].parent))
    part = planes(tmp_path / "1", archive[0], "cloud")[0]
    assert np.array_equal(part, whole[window.slices])


def test_offsets_of_the_l1c_product(archive: tuple[Path, Path], tmp_path: Path) -> None:
    """The same scene with baseline 05.00 and RADIO_ADD_OFFSET -1000 gives the same bits; without the list it is refused."""
    new = write_l1c(tmp_path / "new", GRID, scene_toa(GRID, *masks()), identity_of(baseline="05.00"))
    old = run(tmp_path / "0", archive, "s2cloudless")
    assert np.array_equal(run(tmp_path / "1", (archive[0], new), "s2cloudless"), old)
    change(new, "MTD_MSIL1C", lambda data: data.replace(b"RADIO_ADD_OFFSET", b"OTHER"))
    with pytest.raises(InputError, match=r"baseline 05\.00 without Radiometric_Offset_List"):
        run(tmp_path / "2", (archive[0], new), "s2cloudless")
    assert not folder_of(tmp_path / "2", archive[0]).exists()


def test_l1c_of_one_band_offset_missing_and_other_faults(archive: tuple[Path, Path], tmp_path: Path) -> None:
    def broken(name: str, pattern: str, edit: Any) -> Path:
        (tmp_path / name).mkdir()
        return change(Path(shutil.copy(archive[1], tmp_path / name)), pattern, edit)

    new = write_l1c(tmp_path / "new", GRID, scene_toa(GRID, *masks()), identity_of(baseline="05.00"))
    change(new, "MTD_MSIL1C", lambda d: re.sub(rb'<RADIO_ADD_OFFSET band_id="10">.*?</RADIO_ADD_OFFSET>', b"", d))
    cases = {
        "no RADIO_ADD_OFFSET for band B10": new,
        r"lists no image of B09": broken("a", "MTD_MSIL1C", lambda d: d.replace(b"_B09<", b"_X<")),
        r"_B10\.jp2 is missing": broken("b", r"_B10\.jp2$", lambda _: None),
        "is not of the datatake and tile": broken("d", "MTD_TL", lambda d: d.replace(b"00:02:43", b"00:02:45")),
        "0 files GRANULE": broken("e", "MTD_TL", lambda _: None),
    }
    (tmp_path / "c").mkdir()
    short = Path(shutil.copy(archive[1], tmp_path / "c"))

    with zipfile.ZipFile(archive[1]) as old, zipfile.ZipFile(short, "w") as out:
        for entry in old.namelist():
            out.writestr(entry, b"1234567" if entry.endswith("_B12.jp2") else old.read(entry))
    cases[r"_B12\.jp2 has 7 bytes, manifest\.safe says"] = short
    for text, path in cases.items():
        with pytest.raises(InputError, match=text) as caught:
            run(tmp_path / "work", (archive[0], path), "s2cloudless")  # type: ignore[arg-type]
        assert caught.value.remedy and not folder_of(tmp_path / "work", archive[0]).exists()


def test_times_are_compared_as_times(archive: tuple[Path, Path]) -> None:
    """Decimals differ between processors: 3 or 6, rounded or cut, with or without Z. More than 1 s is another image."""
    with open_product(archive[1]) as one, open_product(archive[0]) as two:
        l1c, l2a = safe_l1c.metadata(one), safe_s2.metadata(two)
    l2a = replace(l2a, sensing_time="2020-01-04T00:02:43.459Z")
    for text in ("43.459Z", "43.459000Z", "43.458613Z", "43.459", "43.46Z", "44.459Z", "42.459Z"):
        safe_l1c.check_same(replace(l1c, sensing_time=f"2020-01-04T00:02:{text}"), l2a)
    for text in ("44.460Z", "42.458Z", "44.459001Z"):
        with pytest.raises(InputError, match="is not of the datatake and tile"):
            safe_l1c.check_same(replace(l1c, sensing_time=f"2020-01-04T00:02:{text}"), l2a)
    with pytest.raises(InputError, match="SENSING_TIME 'noon' is no time"):
        safe_l1c.check_same(replace(l1c, sensing_time="noon"), l2a)


def test_l1c_is_found_by_datatake_in_raw(archive: tuple[Path, Path], tmp_path: Path) -> None:
    raw = tmp_path / "work" / "raw"
    (raw / "date1").mkdir(parents=True)
    record = {"mission": "S2", "size": 1, "sha256": "0"}
    files = {}
    for path in archive:
        shutil.copy(path, raw / "date1")
        files[path.stem] = {**record, "file": f"date1/{path.name}"}
    write_lock(raw, files)
    convert(tmp_path / "work", archive[0], GRID, cloud_mask="s2cloudless")
    assert (planes(tmp_path / "work", archive[0], "cloud") == 1).any()
    # alone, the L1C product is refused; beside its L2A product it is no item of the stage
    both = {path.stem: path for path in archive}
    assert list(safe_l1c.without_auxiliary(both)) == [archive[0].stem]
    assert list(safe_l1c.without_auxiliary({archive[1].stem: archive[1]})) == [archive[1].stem]


def test_newest_of_several_and_no_other_datatake(tmp_path: Path) -> None:
    names = [
        "S2A_MSIL1C_20200104T000241_N0208_R030_T55HGA_20200104T010203", "S2A_MSIL1C_20200104T000241_N0500_R030_T55HGA_20220104T010203",
        "S2A_MSIL1C_20200104T000241_N0500_R030_T55HGA_20210104T010203", "S2A_MSIL1C_20200104T000241_N0510_R030_T55HFA_20220104T010203",
        "S2B_MSIL1C_20200104T000241_N0510_R030_T55HGA_20220104T010203", "S2A_MSIL1C_20200104T000242_N0510_R030_T55HGA_20220104T010203",
        "S2A_MSIL2A_20200104T000241_N0510_R030_T55HGA_20220104T010203", "notes",
    ]  # fmt: skip
    paths = [Path(f"{name}.zip") for name in names]
    wanted = "S2A_MSIL2A_20200104T000241_N0213_R030_T55HGA_20200104T012345"
    assert safe_l1c.find(wanted, paths) == paths[1]
    assert safe_l1c.find(wanted, paths[3:]) is None
    with pytest.raises(InputError, match="not a Sentinel-1 or Sentinel-2 product name"):
        safe_l1c.find("renamed", paths)


def test_missing_l1c_is_named_with_a_remedy(archive: tuple[Path, Path], tmp_path: Path) -> None:
    for source in ("s2cloudless", "fmask"):
        with pytest.raises(InputError, match=r"S2A_MSIL1C_20200104T000241_N\*_R030_T55HGA_\*") as caught:
            convert(tmp_path, archive[0], GRID, cloud_mask=source)
        assert "--s2-level L1C" in caught.value.remedy and "preprocess.l1c_dir" in caught.value.remedy
        with pytest.raises(InputError, match="which is not in raw/ and "):
            convert(tmp_path, archive[0], GRID, cloud_mask=source, l1c_dir=str(tmp_path))
        with pytest.raises(ConfigError, match=r"preprocess\.l1c_dir: .* is no folder"):
            convert(tmp_path, archive[0], GRID, cloud_mask=source, l1c_dir=str(tmp_path / "none"))
    assert not folder_of(tmp_path, archive[0]).exists()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("FAKE_FMASK", "FAKE_FMASK_LOG"):
        monkeypatch.delenv(name, raising=False)
    return fake.install(tmp_path / "bin")


def test_fmask_codes_are_mapped(
    archive: tuple[Path, Path], program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FMASK_LOG", str(tmp_path / "log"))
    codes = run(tmp_path, archive, "fmask", fmask={"program": str(program), "cloud_buffer_m": 0.0, "min_cloud_px": 4})
    cloud, shadow = masks()
    assert np.array_equal(at_60m(codes, 1)[:, 1:], cloud[:, 1:])  # the fake's own thresholds, through HFA at 20 m
    assert np.array_equal(at_60m(codes, 2)[:, 1:], shadow[:, 1:])
    assert (codes[:, :6] == 255).all() and codes[100, 200] == 4
    assert (codes == 3).sum() == 0  # snow of the scene classes does not count here
    tags = raster.info(folder_of(tmp_path, archive[0]) / "cloud.tif").tags
    assert (tags["CLOUD_SOURCE"], tags["SHADOW_SOURCE"], tags["CLOUD_BUFFER_M"]) == ("fmask", "fmask", "0")
    assert "DILATED_M" not in tags
    said = (tmp_path / "log").read_text().splitlines()
    assert said[0] == "--safedir" and said[1].endswith(f"/{archive[1].stem}.SAFE") and said[2] == "-o"
    assert said[6:] == [
        "--mincloudsize",
        "4",
        "--cloudbufferdistance",
        "0",
        "--shadowbufferdistance",
        "300",
        "--cloudprobthreshold",
        "20",
    ]
    assert not Path(said[1]).exists()  # unpacked for the program and removed afterwards
    assert [p.name for p in folder_of(tmp_path, archive[0]).parent.iterdir()] == [archive[0].stem]


def test_fmask_reads_an_unpacked_product_in_place(archive: tuple[Path, Path], program: Path, tmp_path: Path) -> None:
    safe = write_l1c(tmp_path / "safe", GRID, scene_toa(GRID, *masks()), unpacked=True)
    before = sorted(safe.rglob("*"))
    from_folder = run(tmp_path / "0", (archive[0], safe), "fmask", fmask={"program": str(program)})
    assert sorted(safe.rglob("*")) == before
    assert np.array_equal(from_folder, run(tmp_path / "1", archive, "fmask", fmask={"program": str(program)}))


def test_mapping_of_all_codes() -> None:
    assert fmask.CODES[:7].tolist() == [255, 0, 1, 2, 3, 0, 255]


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("fail", "ended with code 1; its last words:\n(line 2[1-9]\n)+fmask: out of tune"),
        ("silent", r"ended without its result; its last words:\n\(nothing\)"),
        ("codes", r"values 0\.\.9|values 1\.\.9"),
        ("absent", "no such program"),
    ],
)
def test_fmask_fails(
    archive: tuple[Path, Path], program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, text: str
) -> None:
    monkeypatch.setenv("FAKE_FMASK", mode)
    name = "/nowhere/fmask" if mode == "absent" else str(program)
    with pytest.raises(ExternalError, match=text) as caught:
        run(tmp_path, archive, "fmask", fmask={"program": name})
    assert caught.value.remedy and caught.value.exit_code == 70
    assert "line 19" not in str(caught.value)
    parent = folder_of(tmp_path, archive[0]).parent
    assert not parent.exists() or not list(parent.iterdir())


@pytest.mark.parametrize("change_line", [["--bogus", "1"], ["--safe", "x"]])
def test_the_fake_refuses_unknown_options(program: Path, tmp_path: Path, change_line: list[str]) -> None:
    line = fmask.command(fmask.Settings(str(program)), tmp_path, tmp_path / "o.img", tmp_path)
    done = subprocess.run([*line, *change_line], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "unrecognized arguments" in done.stderr


@pytest.mark.parametrize("missing", ["MTD_MSIL1C.xml", "GRANULE/*/MTD_TL.xml", "GRANULE/*/IMG_DATA/*_B10.jp2"])
def test_the_fake_refuses_incomplete_folders(program: Path, tmp_path: Path, missing: str) -> None:
    safe = write_l1c(tmp_path / "safe", GRID, scene_toa(GRID, *masks()), unpacked=True)
    next(safe.glob(missing)).unlink()
    with pytest.raises(ExternalError, match="ended with code"):
        fmask.detect(fmask.Settings(str(program)), safe, tmp_path / "scratch")


def test_stopped_run_ends_the_program(archive: tuple[Path, Path], program: Path, tmp_path: Path) -> None:
    """SIGTERM to the stage's process ends the program too, and nothing is left behind."""
    code = """if True:
        import signal, sys
        from pathlib import Path
        from scripts._stage import _interrupt
        from tests.s2_stage import convert
        from tests.unit.test_50_cloud_masks import GRID
        signal.signal(signal.SIGTERM, _interrupt)
        convert(Path(sys.argv[1]), Path(sys.argv[2]), GRID, cloud_mask="fmask", l1c_dir=sys.argv[3], fmask={"program": sys.argv[4]})
    """
    line = [sys.executable, "-c", code, str(tmp_path / "w"), str(archive[0]), str(archive[1].parent), str(program)]
    child = subprocess.Popen(
        line, cwd=ROOT, env={**os.environ, "FAKE_FMASK": "hang"}, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 50
    while time.monotonic() < deadline and not list((tmp_path / "w").rglob("started")):
        time.sleep(0.05)
    (started,) = (tmp_path / "w").rglob("started")
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=30)
    assert "_Stop: SIGTERM" in said and not started.exists()
    assert not list(folder_of(tmp_path / "w", archive[0]).parent.iterdir())


def test_leftovers_of_a_killed_run_are_removed(archive: tuple[Path, Path], program: Path, tmp_path: Path) -> None:
    old = folder_of(tmp_path, archive[0]).parent / f"{archive[0].stem}.s2cr-tmp.1" / "safe"
    old.mkdir(parents=True)
    (old / "B01.jp2").write_bytes(b"x")
    run(tmp_path, archive, "fmask", fmask={"program": str(program)})
    assert not old.parent.exists()


def test_no_room_to_unpack(
    archive: tuple[Path, Path], program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_l1c.os, "statvfs", lambda _: os.statvfs_result((1, 1, 1, 1, 1, 1, 1, 1, 1, 1)))
    with pytest.raises(DiskError, match=r"unpacking S2A_MSIL1C.* needs \d+ MiB"):
        run(tmp_path, archive, "fmask", fmask={"program": str(program)})


def shares_of(paths: dict[str, list[Path]], scale: float = 1e-4) -> dict[str, float]:
    """Cloud in percent of images given as one file a band at 10, 20 and 60 m, or one file of 13 bands at 10 m."""
    detector, shares = cloud_probability.detector_of(cloud_probability.Detector()), {}
    for name, files in paths.items():
        planes = [plane for path in files for plane in raster.read(path).astype(np.float32) * scale]
        means = []
        for plane in planes:
            factor = max(1, round(plane.shape[0] / (planes[0].shape[0] / (6 if len(files) == 1 else 1))))
            side = plane.shape[0] // factor
            means.append(plane[: side * factor, : side * factor].reshape(side, factor, side, factor).mean(axis=(1, 3)))
        order = [safe_l1c.BANDS.index(band) for band in cloud_probability.BANDS] if len(files) == 1 else range(10)
        chances = cloud_probability.probability(detector, np.stack([means[i] for i in order], axis=-1))
        shares[name] = 100 * float((cloud_probability.mask(detector, chances) == 1).mean())
    return shares


@pytest.mark.realdata
@pytest.mark.skipif(not DATA, reason="S2CR_DATA is not set: real products are not here")
def test_s2cloudless_on_a_real_tile_under_cirrus(tmp_path: Path) -> None:
    """L1C T31TDH 2015-07-26, its own JPEG 2000 files with generated XML, through the whole reader.

    The whole cut lies under a veil: its cirrus band has 0.018 to 0.049, where clear air has 0.001 to 0.003.
    """
    folder = Path(DATA or "") / "sentinel2" / "l1c_T31TDH_20150726"
    images = {band: next(folder.glob(f"*_{band}.jp2")).read_bytes() for band in safe_l1c.BANDS}
    grid = Grid(32631, 399960.0, 4693200.0, 10.0, -10.0, 300, 300)
    path = write_l1c(tmp_path, grid, {}, identity_of(tile="31TDH"), images=images)
    with open_product(path) as product:
        meta, settings = safe_l1c.metadata(product), cloud_probability.Detector()
        codes, coarse = cloud_probability.detect(product, meta, grid, settings)
        ((_, toa),) = cloud_probability.coarse_toa(product, meta, coarse)
    cirrus = toa[..., cloud_probability.BANDS.index("B10")]
    b10 = raster.read(next(folder.glob("*_B10.jp2")))[0]
    assert np.array_equal(cirrus, b10.astype(np.float32) / np.float32(10000))
    share = 100 * float((codes == 1).mean())
    print(
        f"T31TDH 2015-07-26 under cirrus of {cirrus.min():.3f}..{cirrus.max():.3f}: {share:.1f} % cloud (limit >= 80)"
    )
    assert coarse.shape == (50, 50) and (codes != 255).all() and share >= 80
    toa[..., cloud_probability.BANDS.index("B10")] = 0.001
    detector = cloud_probability.detector_of(settings)
    without = 100 * float((cloud_probability.mask(detector, cloud_probability.probability(detector, toa)) == 1).mean())
    print(f"the same with the cirrus band of clear air: {without:.1f} %")
    assert without < share


@pytest.mark.realdata
@pytest.mark.skipif(not DATA, reason="S2CR_DATA is not set: real products are not here")
def test_s2cloudless_tells_cloudy_from_clear() -> None:
    """Real L1C, means over 60 m: one place of SEN12MS-CR cloudy and clear; one place at two dates, clear and cloudy."""
    root = Path(DATA or "")
    dates = sorted((root / "two_dates" / "s2c" / "0000200").iterdir())
    files = [[folder / f"{band.replace('B0', 'B')}.tif" for band in cloud_probability.BANDS] for folder in dates]
    shares = shares_of({
        "cloudy": [next((root / "sen12mscr" / "s2_cloudy").glob("*.tif"))],
        "clear": [next((root / "sen12mscr" / "s2_cloudfree").glob("*.tif"))],
        "2020-06-04": files[0], "2020-08-23": files[1],
    })  # fmt: skip
    print(
        f"SEN12MS-CR: {shares['cloudy']:.1f} % cloud in the cloudy, {shares['clear']:.1f} % in the clear image (limits >= 50, <= 5)"
    )
    print(
        f"two dates: {shares['2020-06-04']:.1f} % on the clear, {shares['2020-08-23']:.1f} % on the cloudy date (limits <= 5, >= 50)"
    )
    assert shares["cloudy"] >= 50 and shares["clear"] <= 5
    assert shares["2020-06-04"] <= 5 and shares["2020-08-23"] >= 50
