"""bash_scripts/gpt.sh: memory, threads, checks before, proofs after, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.snap_tools import AREA, ROOT, SCRIPTS, Gpt, left_behind, write_orbit
from utils.io import dimap, snap_graph
from utils.io.synth_products import SceneProducts
from utils.workflow.schema import Scene

GRAPH = ROOT / "snap-confs/s2_l2a.xml"
VALUES = ("bands=B2,B8", f"aoi_wkt={AREA}")
SMALL = "POLYGON ((149.20 -35.23, 149.203 -35.23, 149.203 -35.233, 149.20 -35.233, 149.20 -35.23))"
BANDS = ("--band", "B2", "--band", "B8")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    products = SceneProducts(Scene(size_px=128, speckle=False))
    products.write_s2("s2_t0", folder)
    products.write_s1("s1_t0", folder)
    return folder


@pytest.fixture
def product(archive: Path) -> Path:
    return next(archive.glob("S2*.zip"))


@pytest.fixture
def gpt(tmp_path: Path) -> Gpt:
    return Gpt(tmp_path)


def convert(gpt: Gpt, product: Path, *values: str, **env: str) -> subprocess.CompletedProcess[str]:
    return gpt.run("gpt.sh", *BANDS, GRAPH, product, gpt.folder / "out", *(values or VALUES), **env)


def expect_refused(gpt: Gpt, result: subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    assert result.returncode == code, result.stderr
    for text in texts:
        assert text in result.stderr, result.stderr
    assert left_behind(gpt.folder / "out") == []
    assert gpt.user_folders() == []
    assert result.stdout == ""


def test_a_run_and_its_second_call(gpt: Gpt, product: Path) -> None:
    result = convert(gpt, product, SLURM_CPUS_PER_TASK="3")
    assert result.returncode == 0, result.stderr
    out, name = gpt.folder / "out", product.stem
    dim = out / f"{name}.dimap/{name}.dim"
    assert result.stdout == f"{dim}\n"
    assert sorted(dimap.open_dimap(dim).bands) == ["B2", "B8"]
    assert left_behind(out) == [f"{name}.dimap"]
    assert sorted(p.name for p in dim.parent.iterdir()) == [f"{name}.data", f"{name}.dim", "graph.xml", "settings.txt"]
    assert gpt.user_folders() == [], "the user directory of the run is removed"
    (call,) = gpt.calls()
    arguments: Any = call["arguments"]
    assert arguments[0] == str(GRAPH) and "/" in arguments[0]
    assert arguments[1:6] == ["-e", "-c", "512M", "-q", "3"]
    assert f"-Pinput={product}" in arguments and "-Pbands=B2,B8" in arguments and f"-Paoi_wkt={AREA}" in arguments
    assert "-J-Xmx2048M" in arguments and f"-J-Dsnap.userdir={call['userdir']}" in arguments
    assert not {"-t", "-f", "-x"} & set(arguments), "dead options when the graph has a Write node"
    assert call["stdin"] is True, "gpt must not eat the loop's standard input"
    assert str(call["userdir"]).startswith(str(gpt.folder / "tmp/s2cr-snap."))
    before = {path: path.stat().st_mtime_ns for path in dim.parent.rglob("*")}
    again = convert(gpt, product)
    assert (again.returncode, again.stdout) == (0, result.stdout)
    assert len(gpt.calls()) == 1 and {path: path.stat().st_mtime_ns for path in dim.parent.rglob("*")} == before
    other = gpt.run("gpt.sh", "--band", "B2", GRAPH, product, out, "bands=B2", VALUES[1])
    assert other.returncode == 0 and sorted(dimap.open_dimap(dim).bands) == ["B2"], "other settings replace it"
    assert left_behind(out) == [f"{name}.dimap"]


def test_paths_with_blanks_and_a_folder_product(gpt: Gpt, product: Path) -> None:
    folder = gpt.folder / "my products"
    with zipfile.ZipFile(product) as packed:
        packed.extractall(folder)
    safe = next(folder.glob("*.SAFE"))
    out = gpt.folder / "my results"
    result = gpt.run("gpt.sh", *BANDS, GRAPH, safe, out, *VALUES)
    assert result.returncode == 0, result.stderr
    arguments: Any = gpt.calls()[0]["arguments"]
    assert f"-Pinput={safe}/MTD_MSIL2A.xml" in arguments
    assert left_behind(out) == [f"{safe.name.removesuffix('.SAFE')}.dimap"]


@pytest.mark.parametrize(
    ("env", "heap", "cache"),
    [
        ({"SLURM_MEM_PER_NODE": "4000"}, 3000, 1500),
        ({"SLURM_MEM_PER_CPU": "1000", "SLURM_CPUS_PER_TASK": "2"}, 1500, 750),
        ({"SLURM_MEM_PER_NODE": "4000", "SNAP_HEAP": "2G"}, 2048, 1024),
        ({"SLURM_MEM_PER_NODE": "4000", "SNAP_HEAP": "2G", "SNAP_CACHE": "1.25G"}, 2048, 1280),
        ({"CGROUP": "{folder}/cgroup"}, 1536, 768),
    ],
)
def test_memory_comes_from_the_job(gpt: Gpt, product: Path, env: dict[str, str], heap: int, cache: int) -> None:
    (gpt.folder / "cgroup").mkdir()
    (gpt.folder / "cgroup/memory.max").write_text(f"{2048 * 1048576}\n")
    settings = {"SNAP_HEAP": "", "SNAP_CACHE": "", **env}
    result = convert(gpt, product, **{key: value.format(folder=gpt.folder) for key, value in settings.items()})
    assert result.returncode == 0, result.stderr
    arguments: Any = gpt.calls()[0]["arguments"]
    assert f"-J-Xmx{heap}M" in arguments and f"{cache}M" == arguments[arguments.index("-c") + 1]


def test_threads_follow_the_affinity(gpt: Gpt, product: Path) -> None:
    result = subprocess.run(
        ["taskset", "-c", str(min(os.sched_getaffinity(0))), SCRIPTS / "gpt.sh", *BANDS, GRAPH, product, gpt.folder / "out", *VALUES],
        capture_output=True, text=True, check=False, env=gpt.environment(OMP_NUM_THREADS="7"),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    arguments: Any = gpt.calls()[0]["arguments"]
    assert arguments[arguments.index("-q") + 1] == "1", "not OMP_NUM_THREADS, which is another matter"


@pytest.mark.parametrize(
    ("env", "text"),
    [
        ({"SNAP_CACHE": "1536M"}, "A cache of 1536 MiB does not fit: it must be below 0.75 of the heap (2048 MiB"),
        ({"SNAP_CACHE": "130G"}, "does not fit"),
        ({"SNAP_HEAP": "9G", "SLURM_MEM_PER_NODE": "8000"}, "The heap of 9216 MiB is more than the 8000 MiB"),
        ({"SNAP_HEAP": "lots"}, "SNAP_HEAP is lots"),
        ({"SNAP_CACHE": "-1G"}, "SNAP_CACHE is -1G"),
    ],
)
def test_memory_that_does_not_fit_is_65(gpt: Gpt, product: Path, env: dict[str, str], text: str) -> None:
    expect_refused(gpt, convert(gpt, product, **env), 65, text)
    assert gpt.calls() == []


def test_a_gpt_that_ignores_the_heap_is_told_and_measured(gpt: Gpt, product: Path) -> None:
    env = {"FAKE_GPT_IGNORE_J": "1", "FAKE_GPT_HEAP_MIB": "1024", "HOME": str(gpt.folder)}
    expect_refused(
        gpt, convert(gpt, product, SNAP_CACHE="1G", **env), 65, "the heap is 1024 MiB, not the 2048 MiB asked for"
    )
    large = {**env, "FAKE_GPT_HEAP_MIB": "64000", "SLURM_MEM_PER_NODE": "4000"}
    expect_refused(
        gpt,
        convert(gpt, product, **large),
        65,
        "gpt takes a heap of 64000 MiB from its vmoptions file; the job may use 4000 MiB",
    )
    result = convert(gpt, product, SNAP_CACHE="", **env)
    assert result.returncode == 0, result.stderr
    arguments: Any = gpt.calls()[0]["arguments"]
    assert arguments[arguments.index("-c") + 1] == "512M", "half of the heap that is there"
    assert "may have used another user directory" in result.stderr


@pytest.mark.parametrize(
    ("values", "code", "text"),
    [
        (("bands=B2,B8",), 65, "variable ${aoi_wkt} is used but not given"),
        ((*VALUES, f"geometry={AREA}"), 65, "variable geometry is given but no node uses it"),
        ((*VALUES, "input=/x.zip"), 2, "input is set by gpt.sh"),
        (("bands", VALUES[1]), 2, "bands is not VAR=VALUE"),
    ],
)
def test_variables(gpt: Gpt, product: Path, values: tuple[str, ...], code: int, text: str) -> None:
    expect_refused(gpt, convert(gpt, product, *values), code, text)
    assert gpt.calls() == []


def test_version_and_absence(gpt: Gpt, product: Path) -> None:
    expect_refused(gpt, convert(gpt, product, SNAP_VERSION="13"), 70, "is SNAP 12, snap.version asks for 13")
    expect_refused(
        gpt, convert(gpt, product, FAKE_GPT_VERSION="9"), 70, "is SNAP 9; the graphs are checked for 10 to 15"
    )
    expect_refused(gpt, convert(gpt, product, SNAP_GPT="/no/such/gpt"), 70, "SNAP's gpt was not found (/no/such/gpt)")
    assert gpt.calls() == []
    newer = gpt.folder / "newer.xml"
    newer.write_text(
        GRAPH.read_text().replace("<sourceBands>", "<includeReferences>true</includeReferences><sourceBands>")
    )
    result = gpt.run("gpt.sh", *BANDS, newer, product, gpt.folder / "out", *VALUES)
    expect_refused(gpt, result, 65, "SNAP 12 does not know element includeReferences")
    result = gpt.run("gpt.sh", *BANDS, newer, product, gpt.folder / "out", *VALUES, FAKE_GPT_VERSION="13")
    assert result.returncode == 0, result.stderr


def test_broken_products_are_66_before_gpt(gpt: Gpt, product: Path, archive: Path) -> None:
    short = gpt.folder / product.name
    short.write_bytes(product.read_bytes()[:-3000])
    expect_refused(gpt, convert(gpt, short), 66, "not a readable zip", "Download it again")
    expect_refused(gpt, convert(gpt, gpt.folder / "none.zip"), 66, "no such product")
    radar = next(archive.glob("S1*.zip"))
    stripped = gpt.folder / radar.name
    with zipfile.ZipFile(radar) as old, zipfile.ZipFile(stripped, "w") as new:
        for entry in old.infolist():
            if "measurement/" not in entry.filename or "-vv-" in entry.filename:
                new.writestr(entry.filename, old.read(entry))
    graph = ROOT / "snap-confs/s1_grd_annotation.xml"
    values = ("dem=/d.tif", "dem_nodata=-32768", "crs=EPSG:32755", "speckle=None", VALUES[1])
    result = gpt.run("gpt.sh", "--pol", "VV", "--pol", "VH", graph, stripped, gpt.folder / "out", *values)
    expect_refused(gpt, result, 66, "polarisation VH is missing; the product holds VV")
    assert gpt.calls() == []


def test_disk_must_hold_six_times_the_product(gpt: Gpt, product: Path) -> None:
    need = 6 * product.stat().st_size
    for free, code in ((need - 1, 69), (need, 0)):
        fake = gpt.folder / "bin/df"
        fake.write_text(f'#!/bin/sh\nprintf "Filesystem 1-blocks Used Available\\nx 1 1 {free}\\n"\n')
        fake.chmod(0o755)
        result = convert(gpt, product)
        assert result.returncode == code, result.stderr
        if code:
            expect_refused(gpt, result, 69, "6 times the product")
            assert gpt.calls() == []


FAILURES = {
    "exit1": (70, ("Error: [NodeId: Terrain-Correction] Java heap space", "gpt ended with 1 on")),
    "disk_full": (69, ("No space left on device", "gpt ran out of disk space")),
    "short_img": (70, ("gpt ended with 0, but", "B2.img has")),
    "missing_band": (70, ("gpt ended with 0, but", "no band B2; it has B8")),
    "no_output": (70, ("gpt ended with 0, but", "no such file")),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_failures_leave_nothing_and_name_the_log(gpt: Gpt, product: Path, kind: str) -> None:
    code, texts = FAILURES[kind]
    result = convert(gpt, product, FAKE_GPT_FAIL=kind)
    log = gpt.folder / "out/logs" / f"{product.stem}.gpt.log"
    expect_refused(gpt, result, code, *texts, str(log))
    assert log.is_file() and len(gpt.calls()) == 1
    assert convert(gpt, product).returncode == 0, "the same command works when the cause is gone"


def test_dead_options_and_precedence_of_the_stand_in(gpt: Gpt, product: Path) -> None:
    """What the scripts rely on: -t, -f and -x do nothing beside a Write node, and -P wins over -p."""
    out, ignored, values = gpt.folder / "o", gpt.folder / "ignored.dim", gpt.folder / "values.txt"
    out.mkdir()
    values.write_text("bands=B4\n# comment\naoi_wkt=POLYGON EMPTY\n")
    given = [f"-P{pair}" for pair in (f"input={product}", f"output={out}/X.dim", f"aoi_wkt={AREA}")]
    result = subprocess.run(
        [gpt.program, ROOT / "snap-confs/s2_l2a_band.xml", "-e", "-x", "-t", ignored, "-f", "GeoTIFF", "-p", values, *given, "-c", "64M", "-q", "2"],
        capture_output=True, text=True, check=False, env=gpt.environment(HOME=str(gpt.folder)),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert sorted(dimap.open_dimap(out / "X.dim").bands) == ["B4"] and not ignored.exists()


def test_a_region_outside_is_70_with_the_reason(gpt: Gpt, product: Path) -> None:
    far = "POLYGON ((10 50, 10.1 50, 10.1 50.1, 10 50.1, 10 50))"
    result = convert(gpt, product, "bands=B2,B8", f"aoi_wkt={far}")
    expect_refused(gpt, result, 70, "Error: [NodeId: Subset] No intersection with source product boundary")
    result = gpt.run("gpt.sh", "--band", "B3", GRAPH, product, gpt.folder / "out", "bands=B3", VALUES[1])
    expect_refused(gpt, result, 70, "Error: [NodeId: Subset] reference band B2 does not exist")


def test_last_twenty_lines_of_the_log(gpt: Gpt, product: Path) -> None:
    talker = gpt.folder / "bin/talker"
    lines = "".join(f"echo line {n} >&2\n" for n in range(1, 41))
    talker.write_text(f'#!/bin/sh\ncase "$1" in --diag) exec "{gpt.program}" "$@";; esac\n{lines}exit 1\n')
    talker.chmod(0o755)
    result = convert(gpt, product, SNAP_GPT=str(talker), SNAP_LOGS=str(gpt.folder / "elsewhere"))
    expect_refused(gpt, result, 70, str(gpt.folder / "elsewhere"))
    assert "line 21\n" in result.stderr and "line 20\n" not in result.stderr
    assert (gpt.folder / "elsewhere" / f"{product.stem}.gpt.log").read_text().count("\n") == 40


def test_keep_tmp(gpt: Gpt, product: Path) -> None:
    result = convert(gpt, product, FAKE_GPT_FAIL="short_img", KEEP_TMP="1")
    assert result.returncode == 70 and "KEEP_TMP: kept" in result.stderr
    (kept,) = left_behind(gpt.folder / "out")
    assert kept.startswith(".tmp.") and (gpt.folder / "out" / kept / f"{product.stem}.dim").is_file()
    assert len(gpt.user_folders()) == 1


def wait_for(test: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def running(gpt: Gpt) -> list[str]:
    """Command lines of stand-ins that still run below this test's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_text().replace("\0", " ")
        except OSError:
            continue
        if "tests.fakes.gpt" in text and str(gpt.folder) in text:
            found.append(text)
    return found


def test_a_signal_is_75_and_stops_gpt(gpt: Gpt, product: Path) -> None:
    process = gpt.start("gpt.sh", *BANDS, GRAPH, product, gpt.folder / "out", *VALUES, FAKE_GPT_FAIL="hang")
    wait_for(lambda: list((gpt.folder / "out").glob(".tmp.*/half.img")))
    assert running(gpt)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 75 and "Run the same command again." in err
    assert left_behind(gpt.folder / "out") == [] and gpt.user_folders() == []
    wait_for(lambda: not running(gpt), 10)


def test_killed_and_run_again(gpt: Gpt, product: Path) -> None:
    process = gpt.start("gpt.sh", *BANDS, GRAPH, product, gpt.folder / "out", *VALUES, FAKE_GPT_FAIL="hang")
    wait_for(lambda: list((gpt.folder / "out").glob(".tmp.*/half.img")))
    (left,) = left_behind(gpt.folder / "out")
    process.kill()
    process.communicate(timeout=30)
    assert left_behind(gpt.folder / "out") == [left], "a killed run leaves its temporary folder only"
    for folder in Path("/proc").glob("[0-9]*"):  # the stand-in survives its killed parent, as Java would
        try:
            text = (folder / "cmdline").read_text()
        except OSError:
            continue
        if "tests.fakes.gpt" in text and str(gpt.folder) in text:
            os.kill(int(folder.name), signal.SIGKILL)
    result = convert(gpt, product)
    assert result.returncode == 0, result.stderr
    assert left_behind(gpt.folder / "out") == [f"{product.stem}.dimap"]


def test_auxdata_and_orbits_are_linked(gpt: Gpt, product: Path, archive: Path) -> None:
    shared = gpt.folder / "auxdata"
    (shared / "dem/egm96").mkdir(parents=True)
    (shared / "dem/egm96/ww15mgh_b.zip").write_bytes(b"x")
    orbit = write_orbit(next(archive.glob("S1*.zip")), gpt.folder / "orbits", valid="20191031T225942_20191102T005942")
    (gpt.folder / "orbits/notes.txt").write_text("x")
    result = convert(gpt, product, SNAP_AUXDATA=str(shared), SNAP_ORBITS=str(gpt.folder / "orbits"), KEEP_TMP="1",
                     FAKE_GPT_FAIL="exit1")  # fmt: skip
    assert result.returncode == 70
    (userdir,) = (gpt.folder / "tmp").iterdir()
    links = {
        str(p.relative_to(userdir / "auxdata")): p.resolve() for p in (userdir / "auxdata").rglob("*") if p.is_symlink()
    }
    folder = "Orbits/Sentinel-1/POEORB/S1A"
    assert links == {
        "dem/egm96/ww15mgh_b.zip": shared / "dem/egm96/ww15mgh_b.zip",
        f"{folder}/2019/10/{orbit.name}": orbit,  # a precise orbit begins on the day before its scene
        f"{folder}/2019/11/{orbit.name}": orbit,
    }
    refused_call = convert(gpt, product, SNAP_AUXDATA="/no/such/folder")
    assert refused_call.returncode == 65 and "snap.auxdata" in refused_call.stderr
    refused_call = convert(gpt, product, SNAP_ORBITS="/no/such/folder")
    assert refused_call.returncode == 66 and "fetch_orbits" in refused_call.stderr


def test_a_result_of_other_heights_or_another_orbit_is_made_again(gpt: Gpt, archive: Path) -> None:
    """settings.txt names the files; it must also notice that one was replaced under its name."""
    product = next(archive.glob("S1*.zip"))
    dem, orbit = gpt.folder / "dem.tif", write_orbit(product, gpt.folder / "orbits")
    SceneProducts(Scene(size_px=128, speckle=False)).write_ground(gpt.folder / "scene", {})
    shutil.copy(gpt.folder / "scene/dem.tif", dem)
    graph = gpt.folder / "graph.xml"
    choice = snap_graph.S1Choice(ellipsoid=True)
    graph.write_text(snap_graph.s1_graph((ROOT / "snap-confs/s1_grd.xml").read_text(), choice))
    values = (f"aoi_wkt={SMALL}", f"dem={dem}", "dem_nodata=-32768", "crs=EPSG:32755", "speckle=None")

    def calls() -> int:
        result = gpt.run("gpt.sh", "--band", "Gamma0_VV", graph, product, gpt.folder / "out", *values,
                         SNAP_ORBITS=str(orbit.parent))  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert ("is there already" in result.stderr) == (len(gpt.calls()) == before)
        return len(gpt.calls())

    before = 0
    before = calls()
    assert calls() == before == 1
    os.utime(dem, ns=(1, dem.stat().st_mtime_ns + 1000))  # same size, another time
    assert calls() == 2
    before = 2
    orbit.write_text(orbit.read_text() + "\n")
    assert calls() == 3


@pytest.mark.parametrize(
    "script", ["gpt.sh", "preprocess_s1.sh", "preprocess_s2.sh", "convert_sent1.sh", "convert_sent2.sh"]
)
def test_help_and_wrong_calls(gpt: Gpt, script: str) -> None:
    result = gpt.run(script, "--help")
    assert result.returncode == 0 and "Usage: bash_scripts/" in result.stdout and "Example" in result.stdout
    assert f"bash_scripts/{script}" in result.stdout
    wrong = gpt.run(script, "--no-such-option")
    assert wrong.returncode == 2 and "--help" in wrong.stderr
    assert gpt.run(script).returncode == 2


SHELL = [
    "gpt.sh",
    "preprocess_s1.sh",
    "preprocess_s2.sh",
    "convert_sent1.sh",
    "convert_sent2.sh",
    "snap_lib.sh",
    "snap_loop.sh",
]


@pytest.mark.parametrize("script", SHELL)
def test_shellcheck(script: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    found = subprocess.run(
        ["shellcheck", "-x", "-P", str(ROOT), SCRIPTS / script], check=False, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("script", SHELL)
def test_shell_habits(script: str) -> None:
    """Faults of the published wrappers that can be read from the text."""
    text = (SCRIPTS / script).read_text()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    subprocess.run(["bash", "-n", SCRIPTS / script], check=True)
    assert "$(ls" not in code and "`" not in code.replace("`make", "").replace("CONF=...`", "")
    strict = ("set -euo pipefail", '. "$root/bash_scripts/lib.sh"')
    assert script.startswith("snap_") or any(line in code for line in strict)
    assert "set -euo pipefail" in (SCRIPTS / "lib.sh").read_text()
