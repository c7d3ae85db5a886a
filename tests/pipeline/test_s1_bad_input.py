"""Section 6 of the specification through the command line: exit codes of stage preprocess_s1, full disk, kill."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.chain_tools import MINI, Chain, final_bytes, make_chain
from tests.s1_products import Edit, edited
from utils.io.synth_products import SceneProducts
from utils.workflow.schema import Scene

SIZE_PX = 128


def _chain(folder: Path, **preprocess: str) -> Chain:
    """The small chain of the pipeline tests with an even smaller scene, and keys of section preprocess."""
    built = make_chain(folder)
    text = built.conf.read_text().replace("size_px: 320", f"size_px: {SIZE_PX}")
    more = "".join(f"{name}: {value}, " for name, value in preprocess.items())
    built.conf.write_text(text.replace("preprocess: {", f"preprocess: {{{more}"))
    assert "size_px: 320" in MINI
    return built


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Everything before preprocess_s1, and the stage itself, undisturbed. Tests must not change it."""
    built = _chain(tmp_path_factory.mktemp("ready"))
    for stage in ("make_scene", "find_images", "download", "preprocess_s1"):
        built.run(stage)
    return built


def _copy(ready: Chain, folder: Path, **preprocess: str) -> Chain:
    """A chain of its own with what was downloaded, before preprocess_s1."""
    built = _chain(folder, **preprocess)
    shutil.copytree(ready.work, built.work, copy_function=shutil.copy2)
    shutil.rmtree(built.work / "preprocessed")
    (built.work / "manifests/preprocess_s1.json").unlink()
    (built.work / "items/preprocess_s1.jsonl").unlink()
    return built


def _results(work: Path) -> dict[str, str]:
    return {name: digest for name, digest in final_bytes(work).items() if name.startswith("preprocessed/")}


def _raw(built: Chain) -> list[Path]:
    """The two products, the one of t0 first."""
    found = sorted((built.work / "raw").rglob("S1*.zip"), key=lambda path: path.name[17:])
    assert len(found) == 2
    for path in found:
        path.chmod(0o644)
    return found


def _accept(built: Chain) -> None:
    """Let the manifest of download name the sizes that are there: what reaches the stage is its own business then."""
    path = built.work / "manifests/download.json"
    manifest = json.loads(path.read_text())
    for name, value in manifest["outputs"].items():
        value[0] = (built.work / name).stat().st_size
    path.write_text(json.dumps(manifest))


def _items(built: Chain) -> dict[str, dict[str, Any]]:
    lines = (built.work / "items/preprocess_s1.jsonl").read_text().splitlines()
    return {entry["item"]: entry for entry in map(json.loads, lines)}


def _nothing_of(built: Chain, product: str) -> bool:
    """No folder of this product, and no temporary file at all."""
    names = [path.name for path in (built.work / "preprocessed").rglob("*")]
    return product not in names and not [name for name in names if "s2cr-tmp" in name]


def test_one_bad_product_is_71_and_mended_by_the_same_command(ready: Chain, tmp_path: Path) -> None:
    built = _copy(ready, tmp_path / "bad")
    first, second = _raw(built)
    good = second.read_bytes()
    second.write_bytes(good[: len(good) // 2])
    result = built.run("preprocess_s1", check=False)
    assert result.returncode == 66  # the frame sees that a download changed, before the stage starts
    assert "which is not up to date" in result.stderr
    _accept(built)
    result = built.run("preprocess_s1", check=False)
    assert result.returncode == 71, result.stderr
    assert "1 of 2 items failed" in result.stderr
    assert (
        f"{second.name}: not a readable zip (central directory missing). Download it again: make download CONF="
        in result.stderr
    )
    assert "Traceback" not in result.stderr
    assert _nothing_of(built, second.stem)
    items = _items(built)
    assert (items[first.stem]["status"], items[second.stem]["status"]) == ("done", "failed")
    result = built.run("preprocess_s1", "--fail-fast", check=False)
    assert result.returncode == 66, result.stderr
    stamps = {p: p.stat().st_mtime_ns for p in (built.work / "preprocessed/sentinel1" / first.stem).iterdir()}
    second.write_bytes(good)
    _accept(built)
    built.run("preprocess_s1")
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps  # what was done is not done again
    assert _results(built.work) == _results(ready.work)


def _in(member: str, change: Callable[[bytes], bytes | None]) -> Edit:
    """Change the members with this text in their names."""
    return lambda name, data: change(data) if member in name else data


CAUSES: dict[str, tuple[dict[str, str], Edit, str]] = {
    "empty": ({}, _in("/measurement/", lambda data: b""), r"has 0 bytes, manifest\.safe says \d+"),
    "slc": (
        {"verify": "off"}, _in("manifest.safe", lambda data: data.replace(b">GRD<", b">SLC<")),
        "product is IW SLC; this stage needs IW GRD",
    ),
    "manifest": ({}, _in("manifest.safe", lambda data: None), r"no manifest\.safe"),
    "beta": (
        {"verify": "off"}, _in("/calibration-", lambda data: data.replace(b"betaNought", b"other")),
        "betaNought is missing",
    ),
    "orbit": ({"orbit": "poeorb"}, lambda name, data: data, "no POEORB orbit file of S1A"),
    "vh": ({}, _in("-vh-", lambda data: None), "polarisation VH is missing; the product holds VV"),
}  # fmt: skip


@pytest.mark.parametrize("cause", CAUSES)
def test_every_product_bad_ends_with_the_code_of_the_cause(ready: Chain, tmp_path: Path, cause: str) -> None:
    settings, edit, text = CAUSES[cause]
    built = _copy(ready, tmp_path / cause, **settings)
    for path in _raw(built):
        shutil.move(edited(path, tmp_path, edit), path)
    _accept(built)
    result = built.run("preprocess_s1", check=False)
    assert result.returncode == 66, result.stderr
    assert re.search(text, result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    assert not list((built.work / "preprocessed").rglob("*.*"))


def test_products_outside_the_area_are_skipped_and_end_with_72(ready: Chain, tmp_path: Path) -> None:
    built = _copy(ready, tmp_path / "outside")
    far = SceneProducts(Scene(size_px=SIZE_PX, origin=(760_000.0, 6_040_000.0), speckle=False))
    for path, plan in zip(_raw(built), ("s1_t0", "s1_t1"), strict=True):
        shutil.move(far.write_s1(plan, tmp_path / "far"), path)
    _accept(built)
    result = built.run("preprocess_s1", check=False)
    assert result.returncode == 72, result.stderr
    assert "none of the 2 Sentinel-1 products covers the area" in result.stderr
    assert {(e["status"], e["reason"].split(":")[0]) for e in _items(built).values()} == {("skipped", "outside")}
    assert not list((built.work / "preprocessed").rglob("*.*"))


def test_available_polarisations_then_tiles_say_what_is_missing(ready: Chain, tmp_path: Path) -> None:
    built = _copy(ready, tmp_path / "some", polarisations="available")
    _, second = _raw(built)
    edit = _in("-vh-", lambda data: None)
    shutil.move(edited(second, tmp_path, edit), second)
    _accept(built)
    built.run("preprocess_s1")
    folder = built.work / "preprocessed/sentinel1" / second.stem
    assert sorted(path.name for path in folder.glob("*.tif")) == ["gamma0_vv.tif", "mask.tif"]
    built.run("preprocess_s2")
    result = built.run("tile", check=False)
    assert result.returncode == 66, result.stderr
    assert f"{second.stem}: only VV was preprocessed; tiles need VV and VH" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (built.work / "tiles").exists() or not list((built.work / "tiles").rglob(f"*{second.stem[17:25]}*.tif"))


def test_kill_9_then_the_same_command_gives_the_same_bytes(ready: Chain, tmp_path: Path) -> None:
    built, dice, kills, state = _copy(ready, tmp_path / "kill"), random.Random(5), 0, set()
    folder = built.work / "preprocessed"
    for _ in range(12):
        for name in ("manifests/preprocess_s1.json", "items/preprocess_s1.jsonl"):
            (built.work / name).unlink(missing_ok=True)  # where a kill came too late: again from nothing
        shutil.rmtree(folder, ignore_errors=True)
        process = built.start("preprocess_s1")
        while process.poll() is None and not list(folder.rglob("*.*")):
            time.sleep(0.002)  # until the first file is being written
        time.sleep((0.0, 0.01, 0.04, 0.6)[kills] * dice.uniform(0.5, 1.0))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        state.add(frozenset(path.name for path in folder.rglob("*.*") if "s2cr-tmp" not in path.name))
        if kills == 4:
            break
    built.run("preprocess_s1")
    print(f"{kills} kills at {len(state)} different states of the folder")
    assert kills == 4
    assert _results(built.work) == _results(ready.work)
    assert not [path for path in built.work.rglob("*") if "s2cr-tmp" in path.name]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_69_and_the_same_command_goes_on(ready: Chain, tmp_path: Path) -> None:
    """Room grows a little after each failure: only 69, no half-written file under a final name, equal bytes at the end."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mount is not permitted here")
    try:
        built, expected = _copy(ready, tmp_path / "full"), _results(ready.work)
        (built.work / "preprocessed").symlink_to(disk)
        size, failures = 60, 0
        for _ in range(30):
            result = built.run("preprocess_s1", check=False)
            if result.returncode == 0:
                break
            failures += 1
            assert result.returncode == 69, (result.returncode, result.stderr)
            assert "ree disk space" in result.stderr  # Free disk space, then run again
            assert "Traceback" not in result.stderr
            assert not [path for path in disk.rglob("*") if "s2cr-tmp" in path.name]
            there = {f"preprocessed/{name}": digest for name, digest in final_bytes(disk).items()}
            assert there.items() <= expected.items()
            size = int(size * 1.15)
            subprocess.run(["mount", "-o", f"remount,size={size}k", disk], check=True)
        print(f"disk full {failures} times, up to {size} KiB")
        assert failures >= 2
        assert {f"preprocessed/{name}": digest for name, digest in final_bytes(disk).items()} == expected
    finally:
        subprocess.run(["umount", "-l", disk], check=False)
