"""The published ways to start a search, as processes on a generated scene: make targets, fixed names, the worked example."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.test_search_scene import ROOT, Scene
from utils.workflow import config

OLD = (
    "S2A_MSIL2A_20191101T000241_N0213_R030_T55HGA_20191101T013012"  # cloudy: a search refuses it, a fixed name does not
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    made = Scene(tmp_path_factory.mktemp("forms") / "work")
    made.run("make_scene")
    return made


def make(target: str, conf: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    """A make target without its environment set-up, also in the make that an old name starts."""
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "S2CR_GOALS", "S2CR_ALLOW"))
    }
    command = ["make", "-o", "env", "MAKE=make -o env", target, f"CONF={conf}", *variables]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT, env=environment)


def names(scene: Scene) -> tuple[str, str]:
    return scene.expected()["s2_t0"], scene.expected()["s2_t1"]


def raw(work: Path) -> dict[str, str]:
    """Name -> folder of every product that download left."""
    return {p.stem: p.parent.name for p in (work / "raw").glob("date*/*.zip")}


def test_two_names(scene: Scene) -> None:
    t0, t1 = names(scene)
    result = make("download_images_from_s2name", scene.conf(), f"NAMES={t0} {t1}.SAFE")
    assert result.returncode == 0, result.stderr
    work = scene.work / "from_names" / "20191106_20200204"
    assert result.stdout.splitlines()[-1] == str(work / "conf.yaml")
    expected = scene.expected()
    assert raw(work) == {t0: "date1", expected["s1_t0"]: "date1", t1: "date2", expected["s1_t1"]: "date2"}
    derived = config.load(work / "conf.yaml")
    assert (derived.search.s2_t0, derived.search.s2_t1) == ((t0,), (t1,))
    assert (
        f"{derived.dates.t0.start} {derived.dates.t0.end} {derived.dates.t1.start}"
        == "2019-11-06 2019-11-07 2020-02-04"
    )
    again = make("download_images_from_s2name", scene.conf(), f"NAMES={t0} {t1}")
    assert "find_images: up to date" in again.stderr and "download: up to date" in again.stderr


def test_three_names_make_two_pairs(scene: Scene) -> None:
    t1, t2 = names(scene)
    conf = scene.conf("three")
    conf.write_text(conf.read_text().replace("max_cloud_aoi", "pols: [VV], max_cloud_aoi"))  # an old pass has VV only
    result = make("download_images_from_s2name", conf, f"NAMES={OLD} {t1} {t2}")
    assert result.returncode == 0, result.stderr
    first, second = (scene.work / "from_names" / name for name in ("20191101_20191106", "20191106_20200204"))
    assert result.stdout.splitlines()[-2:] == [str(first / "conf.yaml"), str(second / "conf.yaml")]
    assert (
        raw(first)[OLD] == "date1"
        and raw(first)[t1] == "date2"
        and raw(second)[t1] == "date1"
        and raw(second)[t2] == "date2"
    )
    (pair,) = json.loads((first / "search" / "pairs.json").read_text())["pairs"]
    assert pair["date1"]["s2"]["cloud_aoi"] > 50  # fixed: no limit
    assert [pair[d]["s1"]["products"][0][17:25] for d in ("date1", "date2")] == ["20191031", "20191106"]


def test_one_of_two_pairs_fails(scene: Scene) -> None:
    t1, t2 = names(scene)
    result = scene.run("from_names", OLD, t1, t2, code=71)  # VV and VH: no pass before the first date
    assert "pair 1 of 2: 20191101_20191106, failed with 72" in result.stderr and "1 of 2 pairs failed" in result.stderr
    assert "pair 2 of 2: 20191106_20200204, done" in result.stderr
    alone = scene.run("from_names", OLD, t1, code=72)
    assert "No pair among" in alone.stderr


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda a, b: (a, b.replace("_R030_", "_R30_")), "_R30_T55HGA_20230428T130547' is no Sentinel-2 product name"),
        (lambda a, b: (b, a), "give the names in order of time"),
        (lambda a, b: (a,), "1 date(s) given; two (t0 t1) or three (t0 t1 t2) are needed"),
        (lambda a, b: (a, "*"), "'*' is no Sentinel-2 product name"),
    ],
)
def test_wrong_names(scene: Scene, change: object, cause: str) -> None:
    given = change(*names(scene))  # type: ignore[operator]
    result = make("download_images_from_s2name", scene.conf(), f"NAMES={' '.join(given)}")
    assert result.returncode == 2
    said = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert cause in said[-2] and said[-1].startswith("Correct it: NAMES=")


def test_a_name_that_is_not_in_the_archive(scene: Scene) -> None:
    t0, t1 = names(scene)
    missing = t0.replace("T55HGA", "T55HGB")
    result = scene.run("from_names", missing, t1, code=65)
    assert f"{missing}: not in the catalogue of local" in result.stderr


def test_dry_run_only_writes_the_configuration(scene: Scene, tmp_path: Path) -> None:
    t0, t1 = names(scene)
    conf = scene.conf("dry")
    conf.write_text(
        conf.read_text()
        .replace(f"work: {scene.work}", f"work: {tmp_path}/w")
        .replace("{scene}", str(scene.work / "scene"))
    )
    scene.run("from_names", t0, t1, "--dry-run", conf=conf)
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()] == [
        "w/from_names/20191106_20200204/conf.yaml"
    ]


def test_old_target_names(scene: Scene) -> None:
    found = make("find_image", scene.conf("old"))
    assert found.returncode == 0 and "find_image is now find_images" in found.stderr, found.stderr
    assert (scene.work / "search" / "pairs.json").is_file()
    assert make("geojson_2_wkt", scene.conf("old")).stdout.splitlines()[-1].startswith("POLYGON ((149.")
    for target in ("download_image", "download_images_from_s2name"):
        result = make(target, scene.conf("old"))
        assert result.returncode == 0 and f"{target} is now download" in result.stderr, result.stderr
    assert set(raw(scene.work)) == {v for k, v in scene.expected().items() if k.startswith(("s1_", "s2_"))}


def example(*arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **{k: str(v) for k, v in variables.items()}}
    command = [ROOT / "bash_scripts" / "search_image.sh", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment, cwd="/")


def test_worked_example(scene: Scene, tmp_path: Path) -> None:
    asked = {"ARCHIVE": scene.work / "scene/archive", "AREA": scene.work / "scene/area.geojson"}
    done = example(WORK=tmp_path / "a", **asked)
    assert done.returncode == 0, done.stderr
    assert set(raw(tmp_path / "a")) == {v for k, v in scene.expected().items() if k.startswith(("s1_", "s2_"))}
    assert "R_CLOUD" in done.stderr and f"look at: {tmp_path}/a/search/area/area.html" in done.stderr
    assert "Best pair" in (tmp_path / "a/search/area/area.html").read_text()
    nothing = example(WORK=tmp_path / "b", T0="2019-11-01 2019-11-05", **asked)
    assert nothing.returncode == 72 and "Raise search.max_cloud_aoi to" in nothing.stderr
    page = (tmp_path / "b/search/area/area.html").read_text()
    assert "Nearest miss: S2A R030 T55HGA: R_CLOUD" in page and not (tmp_path / "b/raw").exists()
    cloudy = example("--no-download", WORK=tmp_path / "c", T0="2019-11-01 2019-11-05", CLOUD=100, **asked)
    assert cloudy.returncode == 0 and (tmp_path / "c/search/pairs.json").is_file() and not (tmp_path / "c/raw").exists()
    assert "--help" in example("--help").stdout and "ARCHIVE" in example("--help").stdout
    assert example("--nonsense").returncode == 2
