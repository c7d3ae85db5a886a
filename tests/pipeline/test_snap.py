"""The whole route with SNAP's stand-in: configuration, gpt, adoption, tiles; faults, parts, kills, the historic scripts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pipeline.chain_tools import final_bytes
from tests.pipeline.test_s1_scene_oracle import _shift_px
from tests.snap_tools import AREA, ROOT, Gpt, left_behind, write_orbit
from utils.io import dimap, raster
from utils.io.download_lock import products_of

CONF = """\
work: {work}
scene: {{enabled: true, size_px: 128, fires: 1, decoys: false}}
area: {{geojson: "{{scene}}/area.geojson", epsg: 32755}}
dates:
  t0: {{start: 2019-10-30, end: 2019-11-10}}
  t1: {{start: 2020-02-01, end: 2020-02-07}}
search: {{archive: "{{scene}}/archive"}}
preprocess: {{{preprocess}dem: {{path: "{{scene}}/dem.tif"}}}}
tiling: {{size_px: 40, overlap_px: 8}}
dataset: {{extra_bands: [B12]}}
report: {{synthetic: true}}
hpc: {{allow_login: true}}
"""


@dataclass
class Work:
    """A work directory with downloaded products, and calls of the stages with the stand-in on PATH."""

    gpt: Gpt
    work: Path

    @property
    def conf(self) -> Path:
        return self.gpt.folder / "conf.yaml"

    def write(self, preprocess: str = "backend: snap, ", more: str = "") -> Work:
        self.conf.write_text(CONF.format(work=self.work, preprocess=preprocess) + more)
        return self

    def run(self, stage: str, *arguments: str | Path, code: int = 0, **env: str) -> str:
        result = subprocess.run(
            [ROOT / "s2cr", stage, self.conf, *arguments], capture_output=True, text=True, check=False, timeout=300,
            env=self.gpt.environment(**env),
        )  # fmt: skip
        assert result.returncode == code, result.stderr
        return result.stderr

    def products(self, mission: str) -> dict[str, Path]:
        return products_of(self.work / "raw", mission)

    def folder(self, sensor: str, number: int = 0) -> Path:
        mission = "S1" if sensor == "sentinel1" else "S2"
        return self.work / "preprocessed" / sensor / list(self.products(mission))[number]

    def snap_left(self) -> list[str]:
        """What is left below work/snap besides the graphs."""
        root = self.work / "snap"
        return sorted(
            p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and p.parent.name != "graphs"
        )


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("downloaded")
    made = Work(Gpt(folder), folder / "work").write()
    for stage in ("make_scene", "find_images", "download"):
        made.run(stage)
    return folder / "work"


@pytest.fixture(scope="module")
def finished(downloaded: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Both stages and the tiles with SNAP; tests must not change it."""
    work = fresh(tmp_path_factory.mktemp("finished"), downloaded)
    for stage in ("preprocess_s1", "preprocess_s2", "tile"):
        work.run(stage)
    return work


def fresh(folder: Path, downloaded: Path) -> Work:
    shutil.copytree(downloaded, folder / "work", symlinks=True)
    return Work(Gpt(folder), folder / "work").write()


@pytest.fixture
def work(tmp_path: Path, downloaded: Path) -> Iterator[Work]:
    yield fresh(tmp_path, downloaded)


def follow(plain: Work, stage: str, backend: str) -> tuple[Work, str]:
    """The steps that compare_engines names when nothing from SNAP is there, as they stand; returns its last output."""
    text = plain.run("compare_engines", "--product", plain.folder(f"sentinel{stage[-1]}").name, code=70)
    copy, second, run, compare = (line.strip() for line in text.splitlines() if line.startswith("  "))
    command, _, edit = second.partition("  # and set in it: ")
    made, env = Work(plain.gpt, Path(edit.split(",")[0].removeprefix("work: "))), plain.gpt.environment()
    if not made.work.exists():
        subprocess.run(["bash", "-ec", f"{copy}\n{command}"], check=True, cwd=ROOT)
    assert edit == f"work: {made.work}, preprocess.{stage[-2:]}_backend: snap"
    path = plain.conf.with_name("conf_snap.yaml")
    text = plain.conf.read_text().replace(f"work: {plain.work}\n", f"work: {made.work}\n")
    path.write_text(text.replace("preprocess: {", f"preprocess: {{{backend}"))
    subprocess.run(["bash", "-ec", run], check=True, cwd=ROOT, env=env, capture_output=True)
    out = subprocess.run(["bash", "-ec", compare], check=True, cwd=ROOT, env=env, capture_output=True, text=True).stdout
    return made, out


def test_same_files_and_same_pixels_as_the_native_engine(work: Work) -> None:
    # Lee sigma takes its point targets from a percentile of the whole image, which is larger in a run of gpt
    plain = work.write("speckle: {filter: none}, ")
    for stage in ("preprocess_s1", "preprocess_s2"):
        plain.run(stage)
    assert plain.gpt.calls() == []
    made, text = follow(plain, "preprocess_s1", "s1_backend: snap, ")
    assert text.count(": ok") == 2 and "short" not in text, text
    work, text = follow(plain, "preprocess_s2", "backend: snap, s2_backend: snap, ")
    assert text.count(": ok") == 5 and "short" not in text, text
    assert len(work.gpt.calls()) == 4 and made.work == work.work
    pair = (work, plain)
    names = [
        {p.relative_to(one.work).as_posix() for p in (one.work / "preprocessed").rglob("*") if p.is_file()}
        for one in pair
    ]
    assert names[0] == names[1] and len(names[0]) == 2 * 5 + 2 * 9
    for name in sorted(names[0]):
        if not name.endswith(".tif"):
            continue
        snap, native = raster.read(work.work / name)[0], raster.read(plain.work / name)[0]
        infos = [raster.info(one.work / name) for one in pair]
        assert infos[0].grid == infos[1].grid and infos[0].dtype == infos[1].dtype, name
        assert set(infos[1].tags) <= set(infos[0].tags), f"{name}: a tag of the contract is missing"
        if "gamma0" in name:
            np.testing.assert_array_equal(np.isnan(snap), np.isnan(native))
            assert ((snap == 0) | (snap >= 1e-6) | np.isnan(snap)).all(), "what SNAP clips is 0"
            bright = native > 0.01  # more than three times the noise of the scene
            offset_db = np.abs(10 * np.log10(snap[bright] / native[bright]))
            shift_px = np.abs(_shift_px(np.nan_to_num(snap), np.nan_to_num(native))).max()
            median = np.median(offset_db)
            print(f"{name[-13:]}: median {median:.2g} dB (limit 0.15), p99 {np.percentile(offset_db, 99):.2g} dB (limit 0.1), "
                  f"shift {shift_px:.2g} px (limit 0.2)")  # fmt: skip
            assert median <= 0.15 and np.percentile(offset_db, 99) <= 0.1 and shift_px <= 0.2
        elif "/sentinel2/" in name and "/B" in name:
            np.testing.assert_allclose(snap, native, atol=1e-6)
        else:
            np.testing.assert_array_equal(snap, native)


def test_tiles_come_of_it(finished: Work) -> None:
    tiles = list((finished.work / "tiles").rglob("*.tif"))
    assert len({p.name for p in tiles}) == 16 and len(tiles) == 16 * 2 * 3
    tags = raster.info(finished.folder("sentinel1") / "gamma0_vv.tif").tags
    expected = {"BACKEND": "snap", "NOISE_REMOVED": "yes", "SPECKLE": "lee_sigma 7x7 looks 4", "DEM": "dem.tif", "DEM_VERTICAL": "ellipsoid",
                "GEOID": "none", "RESAMPLING": "bilinear", "AZIMUTH_SPACING": "nominal", "SNAP_VERSION": "12"}  # fmt: skip
    assert {name: tags[name] for name in expected} == expected


def test_second_run_does_nothing_and_nothing_is_left(finished: Work) -> None:
    calls = len(finished.gpt.calls())
    assert calls == 4
    assert "up to date" in finished.run("preprocess_s1") and "up to date" in finished.run("preprocess_s2")
    assert len(finished.gpt.calls()) == calls
    assert finished.snap_left() == [] and finished.gpt.user_folders() == []


def test_memory_and_places_do_not_make_it_stale(finished: Work) -> None:
    before = finished.conf.read_text()
    try:
        finished.write(more='snap: {heap: 3G, cache: 1G, keep_dimap: true, userdir: "/tmp"}\n')
        assert "up to date" in finished.run("preprocess_s1")
        finished.write(more="snap: {version: 12}\n")
        assert "would do 2 products" in finished.run("preprocess_s1", "--dry-run")
    finally:
        finished.conf.write_text(before)


@pytest.mark.slow
def test_precise_orbit_is_linked_applied_and_proven(work: Work) -> None:
    work.write("backend: snap, orbit: poeorb, polarisations: [VV], ")
    missing = work.run("preprocess_s1", code=66)
    assert "no POEORB orbit file of S1A" in missing and work.gpt.calls() == []
    orbits = [write_orbit(path, work.gpt.folder / "mine") for path in work.products("S1").values()]
    work.run("fetch_orbits", "--from", work.gpt.folder / "mine")
    work.run("download")
    failed = work.run("preprocess_s1", "--limit", "1", "--fail-fast", code=70, FAKE_GPT_FAIL="no_orbit")
    assert "the wanted orbit was not applied: no orbit file was applied" in failed
    assert str(work.work / "logs/snap") in failed
    assert not (work.work / "preprocessed/sentinel1").exists() and work.snap_left() == []
    work.run("preprocess_s1")
    for number, orbit in enumerate(sorted(orbits)):
        tags = raster.info(work.folder("sentinel1", number) / "gamma0_vv.tif").tags
        assert (tags["ORBIT_SOURCE"], tags["ORBIT_FILE"]) == ("POEORB", orbit.name)
        assert not (work.folder("sentinel1", number) / "gamma0_vh.tif").exists()
    assert all(len(set(call["orbits"])) == 1 for call in work.gpt.calls()), "each run sees the orbit of its own scene"  # type: ignore[arg-type]


def test_restituted_instead_of_precise_is_never_taken_in_silence(work: Work) -> None:
    """Apply-Orbit-File falls back with a warning only and writes the type that was asked for."""
    work.write("backend: snap, orbit: poeorb, ", more=f'snap: {{auxdata: "{work.gpt.folder}/aux"}}\n')
    for path in work.products("S1").values():
        orbit = write_orbit(path, work.gpt.folder / "made", kind="RESORB")
        month = orbit.name.split("_V")[1][:6]
        scene = path.stem.split("_")[4]
        for stamp in {month, scene[:6]}:
            folder = work.gpt.folder / f"aux/Orbits/Sentinel-1/RESORB/S1A/{stamp[:4]}/{stamp[4:]}"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(orbit, folder)
    failed = work.run("preprocess_s1", "--limit", "1", "--fail-fast", code=70)
    assert "is RESORB, allowed is POEORB" in failed
    assert "WARNING: Precise orbit not found, using restituted" in failed
    assert not (work.work / "preprocessed/sentinel1").exists() and work.snap_left() == []


def test_a_dry_run_needs_no_gpt(work: Work) -> None:
    assert "would do 2 products" in work.run("preprocess_s1", "--dry-run", SNAP_GPT="/no/gpt")
    assert "would do 2 products" in work.run("preprocess_s2", "--dry-run", SNAP_GPT="/no/gpt")


@pytest.mark.parametrize(
    ("env", "conf", "text"),
    [
        ({"SNAP_GPT": "/no/gpt"}, "", "gpt was not found"),
        ({"FAKE_GPT_VERSION": "11"}, "snap: {version: 12}\n", "is SNAP 11, snap.version asks for 12"),
        ({"FAKE_GPT_FAIL": "exit1"}, "", "Error: [NodeId: Terrain-Correction] Java heap space"),
        pytest.param({"FAKE_GPT_FAIL": "short_img"}, "", "gpt ended with 0, but", marks=pytest.mark.slow),
    ],
)
def test_gpt_that_fails_is_70(work: Work, env: dict[str, str], conf: str, text: str) -> None:
    work.write(more=conf)
    for stage in ("preprocess_s2",) if "VERSION" in str(env) else ("preprocess_s1", "preprocess_s2"):
        found = work.run(stage, code=70, **env)
        assert text in found and "Traceback" not in found
        if "FAKE_GPT_FAIL" in env:
            assert str(work.work / "logs/snap") in found
    assert (
        not list((work.work / "preprocessed").glob("*/*/*"))
        and work.snap_left() == []
        and work.gpt.user_folders() == []
    )


def test_one_failed_product_is_71_and_the_next_run_repeats_only_it(work: Work) -> None:
    first, second = work.products("S2")
    found = work.run("preprocess_s2", code=71, FAKE_GPT_FAIL="exit1", FAKE_GPT_ONLY=second)
    assert "1 of 2 items failed" in found and len(work.gpt.calls()) == 2
    kept = final_bytes(work.work / "preprocessed")
    work.run("preprocess_s2")
    assert len(work.gpt.calls()) == 3
    assert {name: value for name, value in final_bytes(work.work / "preprocessed").items() if first in name} == kept


def test_a_full_disk_is_69(work: Work) -> None:
    found = work.run("preprocess_s2", code=69, FAKE_GPT_FAIL="disk_full")
    assert "ran out of disk space" in found and work.snap_left() == []


@pytest.mark.slow
def test_keep_dimap_then_adopt_by_hand(work: Work) -> None:
    """What preprocess_s2 keeps can be adopted again; a .dim of the user's own is never deleted."""
    work.write(more="snap: {keep_dimap: true}\n")
    work.run("preprocess_s2")
    first, second = work.products("S2")
    dims = [work.work / f"snap/sentinel2/{name}.dimap/{name}.dim" for name in (first, second)]
    assert all(dim.is_file() for dim in dims)
    before = final_bytes(work.work / "preprocessed")
    mine = work.gpt.folder / "mine"
    shutil.copytree(work.work / "snap/sentinel2", mine)
    shutil.rmtree(work.work / "preprocessed")
    (work.work / "items/preprocess_s2.jsonl").unlink()
    (work.work / "manifests/preprocess_s2.json").unlink()
    work.write()
    calls = len(work.gpt.calls())
    found = work.run("preprocess_s2", "--adopt", mine / f"{first}.dimap/{first}.dim")
    assert "no manifest: this call does not complete the stage" in found
    assert not (work.work / "manifests/preprocess_s2.json").exists()
    work.run("preprocess_s2", "--adopt", mine / f"{second}.dimap/{second}.dim")
    assert json.loads((work.work / "manifests/preprocess_s2.json").read_text())["status"] == "complete"
    # the key of the configuration without keep_dimap is the same, so the files are too
    assert final_bytes(work.work / "preprocessed") == before
    assert len(work.gpt.calls()) == calls and all(
        (mine / f"{name}.dimap/{name}.dim").is_file() for name in (first, second)
    )
    assert "belongs to none of the downloaded products" in work.run(
        "preprocess_s2", "--adopt", mine / "none.dim", "--force", code=66
    )


@pytest.mark.slow
def test_s2_that_differs_from_the_native_reader_is_70(work: Work) -> None:
    found = work.run("preprocess_s2", code=71, FAKE_GPT_S2="no_offset")
    assert "differs from the native reader by 0.1 over" in found
    (one,) = (work.work / "preprocessed/sentinel2").iterdir()
    assert "_N0213_" in one.name, "the product without offsets is not concerned"


@pytest.mark.slow
def test_each_sensor_may_have_its_own_engine(work: Work) -> None:
    work.write("s1_backend: snap, polarisations: [VV], ")
    work.run("preprocess_s2")
    assert work.gpt.calls() == []
    assert raster.info(work.folder("sentinel2") / "B02.tif").tags["BACKEND"] == "native"
    work.run("preprocess_s1", "--limit", "1")
    assert len(work.gpt.calls()) == 1


def test_snap_10_cannot_resample_single_bands(work: Work) -> None:
    found = work.run("preprocess_s2", code=65, FAKE_GPT_VERSION="10")
    assert "B12 have 20 m, and SNAP 10 resamples only all bands at once" in found


@pytest.mark.slow
def test_parts_give_the_same_files_as_one_run(finished: Work, work: Work) -> None:
    for part in ("1/2", "2/2"):
        work.run("preprocess_s1", "--part", part)
    work.run("preprocess_s1", "--finalise")
    assert pixels(work, "sentinel1") == pixels(finished, "sentinel1")


def pixels(work: Work, sensor: str) -> dict[str, str]:
    return final_bytes(work.work / "preprocessed" / sensor)


@pytest.mark.slow
def test_the_scripts_give_the_same_files_as_the_stages(finished: Work, work: Work) -> None:
    for part in ("1/2", "2/2"):
        result = work.gpt.run("preprocess_s1.sh", "--part", part, work.conf)
        assert result.returncode == 0, result.stderr
    work.run("preprocess_s1", "--finalise")
    result = work.gpt.run("preprocess_s2.sh", work.conf)
    assert result.returncode == 0 and "preprocess_s2.sh: 2 done, 0 skipped, 0 failed" in result.stderr
    for sensor in ("sentinel1", "sentinel2"):
        assert pixels(work, sensor) == pixels(finished, sensor)
    calls = len(work.gpt.calls())
    again = work.gpt.run("preprocess_s2.sh", work.conf)
    assert again.returncode == 0 and len(work.gpt.calls()) == calls, again.stderr
    assert "up to date" in work.run("preprocess_s1") and work.snap_left() == []


def test_script_ends_as_the_stage_would(work: Work) -> None:
    scheduler = work.gpt.folder / "bin/sbatch"
    scheduler.write_text("#!/bin/sh\n")
    scheduler.chmod(0o755)
    work.conf.write_text(work.conf.read_text().replace("allow_login: true", "allow_login: false"))
    refused = work.gpt.run("preprocess_s2.sh", work.conf)
    assert refused.returncode == 73 and "this is a login node" in refused.stderr
    work.write()
    path = next(iter(work.products("S2").values()))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-3000])
    refused = work.gpt.run("preprocess_s2.sh", work.conf)
    assert refused.returncode == 66 and "needs download, which is not up to date" in refused.stderr
    assert work.gpt.calls() == []
    listed = subprocess.run(
        [ROOT / "s2cr", "snap_plan", work.conf, "--sensor", "s2"],
        capture_output=True,
        text=True,
        check=True,
        env=work.gpt.environment(),
    ).stdout.split("\0")[:-1]
    assert "\nfail=" in listed[0] and "not a readable zip" in listed[0] and listed[0].endswith("code=66")
    assert "\ngraph=" in listed[1] and "var:bands=B4,B3,B2,B8,B12" in listed[1]


@pytest.mark.slow
def test_scripts_end_as_the_stage_when_all_is_outside(tmp_path: Path) -> None:
    """A large area of which each product covers too little: the scripts end with 72, and parts can be finalised."""
    work = Work(Gpt(tmp_path), tmp_path / "work").write()
    work.run("make_scene")
    x, y = 149.2, -35.23
    ring = [[x + dx, y + dy] for dx, dy in ((-0.2, -0.2), (0.2, -0.2), (0.2, 0.2), (-0.2, 0.2), (-0.2, -0.2))]
    area = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [area]}))
    text = work.conf.read_text().replace("{scene}/area.geojson", str(tmp_path / "area.geojson"))
    text = text.replace("search: {", "search: {coverage: 0.001, ")
    work.conf.write_text(text.replace("preprocess: {", "preprocess: {min_overlap: 0.9, "))
    work.run("find_images")
    work.run("download")
    for _ in range(2):
        result = work.gpt.run("preprocess_s1.sh", work.conf)
        assert result.returncode == 72 and "none of the 2 Sentinel-1 products covers the area" in result.stderr
    for part in ("1/2", "2/2"):
        result = work.gpt.run("preprocess_s2.sh", "--part", part, work.conf)
        assert result.returncode == 0 and "0 done, 1 skipped, 0 failed" in result.stderr, result.stderr
    found = work.run("preprocess_s2", "--finalise", code=72)
    assert "none of the 2 Sentinel-2 products covers the area" in found
    assert work.gpt.calls() == []


@pytest.mark.slow
def test_script_with_a_failing_product_is_71(work: Work) -> None:
    first = next(iter(work.products("S2")))
    result = work.gpt.run("preprocess_s2.sh", work.conf, FAKE_GPT_FAIL="exit1", FAKE_GPT_ONLY=first)
    assert result.returncode == 71 and "1 done, 0 skipped, 1 failed" in result.stderr
    result = work.gpt.run("preprocess_s2.sh", work.conf)
    assert result.returncode == 0 and len(work.gpt.calls()) == 3, result.stderr


def stand_ins(folder: Path) -> list[int]:
    """Process ids of stand-ins that work below a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "cmdline").read_text()
        except OSError:
            continue
        if "tests.fakes.gpt" in text and str(folder) in text:
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL], ids=lambda n: n.name
)
def test_killed_and_run_again_gives_equal_bytes(finished: Work, work: Work, number: signal.Signals) -> None:
    first = next(iter(work.products("S2")))
    process = subprocess.Popen(
        [ROOT / "s2cr", "preprocess_s2", work.conf], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=work.gpt.environment(FAKE_GPT_FAIL="hang", FAKE_GPT_ONLY=list(work.products("S2"))[1]), start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 90
    while not list((work.work / "snap/sentinel2").glob(".tmp.*/half.img")):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.05)
    if number == signal.SIGTERM:
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 75, err
        deadline = time.monotonic() + 20
        while (left_behind(work.work / "snap/sentinel2") or stand_ins(work.gpt.folder)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left_behind(work.work / "snap/sentinel2") == [] and work.gpt.user_folders() == []
    else:  # the stage and gpt.sh die at once; gpt has a session of its own and is ended here
        os.killpg(process.pid, number)
        process.communicate(timeout=30)
        for pid in stand_ins(work.gpt.folder):
            os.kill(pid, signal.SIGKILL)
        while stand_ins(work.gpt.folder):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert len(work.gpt.user_folders()) == 1
        (left,) = left_behind(work.work / "snap/sentinel2")
        assert left.startswith(".tmp."), "only a temporary folder is left"
    assert stand_ins(work.gpt.folder) == []
    kept = pixels(work, "sentinel2")
    assert kept and all(name.startswith(first) for name in kept)
    calls = len(work.gpt.calls())
    work.run("preprocess_s2")
    assert len(work.gpt.calls()) == calls + 1, "the finished product is not repeated"
    assert pixels(work, "sentinel2") == pixels(finished, "sentinel2")
    assert left_behind(work.work / "snap/sentinel2") == [] and work.gpt.user_folders() == []


# -- the historic scripts: areas of a text file x products x polarisations or bands --------------------------------------

AREAS = (
    f"# two areas\n{AREA}\n\nPOLYGON ((149.20 -35.23, 149.21 -35.23, 149.21 -35.235, 149.20 -35.235, 149.20 -35.23))\n"
)


def dims(out: Path) -> dict[str, Any]:
    return {
        path.parent.name.removesuffix(".dimap"): dimap.open_dimap(path) for path in sorted(out.glob("*.dimap/*.dim"))
    }


@pytest.mark.slow
def test_historic_sentinel2_for_each_area_and_band(work: Work) -> None:
    areas, raw, out = work.gpt.folder / "areas.txt", work.gpt.folder / "raw", work.gpt.folder / "out"
    areas.write_text(AREAS)
    raw.mkdir()
    (name, path), _ = work.products("S2").items()
    shutil.copy(path, raw)
    result = work.gpt.run("convert_sent2.sh", "--aoi", areas, "--bands", "B2 B3", raw, out)
    assert result.returncode == 0, result.stderr
    found = dims(out)
    assert sorted(found) == [f"{name}_g01_B2", f"{name}_g01_B3", f"{name}_g02_B2", f"{name}_g02_B3"]
    assert [sorted(found[key].bands) for key in sorted(found)] == [["B2"], ["B3"], ["B2"], ["B3"]]
    first, second = found[f"{name}_g01_B2"].grid, found[f"{name}_g02_B2"].grid
    assert second.rows < first.rows / 5, "each area is cut on its own, not the whole scene once per area"
    again = work.gpt.run("convert_sent2.sh", "--aoi", areas, "--bands", "B2 B3", raw, out)
    assert again.returncode == 0 and len(work.gpt.calls()) == 4
    assert work.gpt.run("convert_sent2.sh", "--aoi", areas, "--bands", "B2 B12", raw, out).returncode == 65
    empty = work.gpt.folder / "empty"
    empty.mkdir()
    assert work.gpt.run("convert_sent2.sh", "--aoi", areas, empty, out).returncode == 72
    areas.write_text("not a polygon\n")
    assert work.gpt.run("convert_sent2.sh", "--aoi", areas, raw, out).returncode == 66


@pytest.mark.slow
def test_historic_sentinel1_for_each_polarisation(work: Work) -> None:
    areas, raw, out = work.gpt.folder / "areas.txt", work.gpt.folder / "raw", work.gpt.folder / "out"
    areas.write_text(AREAS.splitlines()[-1] + "\n")
    raw.mkdir()
    for path in work.products("S1").values():
        shutil.copy(path, raw)
    arguments = ["--annotation", "--ellipsoid", "--speckle", "None", "--aoi", areas, "--dem", work.work / "scene/dem.tif",
                 "--crs", "EPSG:32755", raw, out]  # fmt: skip
    result = work.gpt.run("convert_sent1.sh", *arguments, PART="2/2")
    assert result.returncode == 0, result.stderr
    name = sorted(work.products("S1"))[1]
    found = dims(out)
    assert sorted(found) == [f"{name}_VH", f"{name}_VV"], "PART=2/2 takes the second product only"
    assert sorted(found[f"{name}_VV"].bands) == ["Gamma0_VV", "layoverShadowMask"]
    grid = found[f"{name}_VV"].grid
    assert (grid.x0 % 10, grid.y0 % 10, grid.dx, grid.epsg) == (0, 0, 10.0, 32755)
    assert min(grid.rows, grid.cols) > 500, "grown by 5 km"
    broken = raw / "S1A_IW_GRDH_1SDV_20200301T191626_20200301T191628_031500_038FD2_0000.zip"
    broken.write_bytes(b"PK")
    result = work.gpt.run("convert_sent1.sh", *arguments)
    assert result.returncode == 71 and "2 failed" in result.stderr and "not a readable zip" in result.stderr


@pytest.mark.slow
def test_coarse_pixels_lie_on_their_own_grid(work: Work) -> None:
    areas, raw, out = work.gpt.folder / "areas.txt", work.gpt.folder / "raw", work.gpt.folder / "out"
    areas.write_text(AREAS.splitlines()[-1] + "\n")
    raw.mkdir()
    shutil.copy(next(iter(work.products("S1").values())), raw)
    graph = work.gpt.folder / "coarse.xml"
    made = subprocess.run(
        [ROOT / "s2cr", "snap_graph", "--orbit", "annotation", "--heights", "ellipsoid", "--spacing", "20"],
        capture_output=True,
        check=True,
    )
    graph.write_bytes(made.stdout)
    result = work.gpt.run("preprocess_s1.sh", "--graph", graph, "--aoi", areas, "--dem", work.work / "scene/dem.tif", "--crs", "EPSG:32755",
                          "--speckle", "None", raw, out)  # fmt: skip
    assert result.returncode == 0, result.stderr
    (grid,) = [opened.grid for opened in dims(out).values()]
    assert (grid.x0 % 20, grid.y0 % 20, grid.dx, grid.dy) == (0, 0, 20.0, -20.0)


def test_make_targets_with_the_historic_names(finished: Work) -> None:
    for target, stage in (("convert_sent1", "preprocess_s1"), ("convert_sent2", "preprocess_s2")):
        env = finished.gpt.environment()
        env = {key: value for key, value in env.items() if not key.startswith(("MAKE", "MFLAGS", "S2CR_GOALS"))}
        result = subprocess.run(
            ["make", "-s", "-o", "env", target, f"CONF={finished.conf}"],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=env,
        )
        assert result.returncode == 0, result.stderr
        assert f"{target} is now {stage}" in result.stderr and f"{stage}: up to date" in result.stderr
