"""The whole chain, small: it ends, it is judged, a second run does nothing, three parts equal one, kills do not matter."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.pipeline.chain_tools import Chain, final_bytes, make_chain
from tests.pipeline.conftest import stages_of
from utils.workflow import config
from utils.workflow.stages import STAGES, chain, folders_of


def test_the_chain_ends_in_a_judged_image(finished: Chain) -> None:
    scores = json.loads((finished.work / "reports/evaluate.json").read_text())
    assert "copy_t0" in json.dumps(scores) and "resunet_tiny" in json.dumps(scores)
    page = (finished.work / "reports/report.html").read_text(encoding="utf-8")
    assert "synthetic" in page.lower() and "data:image/webp;base64," in page
    assert "http://" not in page.replace("http://www.w3.org", "") and 'src="https' not in page


def test_a_second_run_does_nothing(finished: Chain) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.work.rglob("*") if path.is_file()}
    result = finished.run("plan", "--check")
    assert result.stdout == ""
    for name in stages_of(finished):
        assert "up to date" in finished.run(name).stderr
    assert before == {path: path.stat().st_mtime_ns for path in finished.work.rglob("*") if path.is_file()}


def test_the_manifest_says_where_time_and_memory_went(finished: Chain) -> None:
    steps = {
        "preprocess_s1": {"verify", "geometry", "heights", "tables", "facets", "lines", "map", "write"},
        "preprocess_s2": {"verify", "detector", "rasters"},
    }
    for stage, names in steps.items():
        for item in json.loads((finished.work / f"manifests/{stage}.json").read_text())["items"].values():
            assert set(item["steps"]) == names and item["peak_mib"] > 50
            total = sum(item["steps"].values())
            print(f"{stage}: {item['steps']}, {item['seconds']} s in all, {item['peak_mib']} MiB")
            assert 0 < total <= item["seconds"] + 0.01
            assert all(value >= 0 for value in item["steps"].values())
    for record in (finished.work / "preprocessed").rglob("product.json"):
        assert not {"steps", "seconds", "peak_mib"} & set(json.loads(record.read_text()))


def test_three_parts_equal_one(finished: Chain, tmp_path: Path) -> None:
    built = make_chain(tmp_path / "parts")
    shutil.copytree(finished.work, built.work, copy_function=shutil.copy2)
    for name in ("tile", "build_dataset"):
        digest = json.loads((built.work / f"manifests/{name}.json").read_text())["outputs_digest"]
        folder = {"tile": "tiles", "build_dataset": "dataset/all"}[name]
        shutil.rmtree(built.work / folder)
        for left in (built.work / "items").glob(f"{name}*"):
            left.unlink()
        (built.work / f"manifests/{name}.json").unlink()
        for part in ("1/3", "2/3", "3/3"):
            built.run(name, "--part", part)
        assert not (built.work / f"manifests/{name}.json").exists()
        built.run(name, "--finalise")
        assert json.loads((built.work / f"manifests/{name}.json").read_text())["outputs_digest"] == digest


def test_what_a_killed_stage_leaves_is_swept_by_it_alone(finished: Chain) -> None:
    """Each output lies where its own stage sweeps, and where no stage sweeps that may run at the same moment."""
    conf = config.load(finished.conf)
    names = [name for name in stages_of(finished) if STAGES[name].enabled(conf)]
    before = {name: set(chain(name, conf)) for name in names}

    def swept(name: str, path: str) -> bool:
        stage = STAGES[name]
        inside = any(path.startswith(f"{tree}/") for tree in folders_of(stage, conf))
        return inside or any(fnmatch(path, file) and path.count("/") == file.count("/") for file in stage.files)

    for name in names:
        outputs = json.loads((finished.work / f"manifests/{name}.json").read_text())["outputs"]
        assert outputs and [path for path in outputs if not swept(name, path)] == [], name
        beside = [other for other in names if other not in before[name] and name not in before[other]]
        assert [(other, path) for other in beside for path in outputs if swept(other, path)] == [], name


def _kill_once(built: Chain, stage: str, delay_s: float) -> bool:
    """Start the stage, SIGKILL it and its children after `delay_s`; False when it had ended before."""
    process = built.start(stage)
    try:
        process.wait(timeout=delay_s)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def test_kill_9_at_random_moments_changes_no_byte(finished: Chain, tmp_path: Path) -> None:
    """At least 20 SIGKILLs over all stages; every final byte equals the undisturbed run's."""
    built = make_chain(tmp_path / "kill", confs=finished.conf.parent)
    dice, kills, begin = random.Random(20260101), 0, time.monotonic()
    for stage in stages_of(built):
        for _ in range(2):
            kills += _kill_once(built, stage, dice.uniform(0.15, max(0.3, 0.9 * finished.seconds[stage])))
        built.run(stage)
    while kills < 20:  # stages too short to be hit: again from nothing
        stage = dice.choice(["preprocess_s2", "tile", "build_dataset", "mosaic"])
        (built.work / f"manifests/{stage}.json").unlink()
        for left in (built.work / "items").glob(f"{stage}*"):
            left.unlink()
        kills += _kill_once(built, stage, dice.uniform(0.3, 0.9 * finished.seconds[stage]))
        built.run(stage)
    print(f"{kills} kills in {time.monotonic() - begin:.0f} s")
    ours, theirs = final_bytes(built.work), final_bytes(finished.work)
    assert set(ours) == set(theirs), set(ours) ^ set(theirs)
    different = [name for name in ours if ours[name] != theirs[name]]
    assert not different, different[:10]


def test_a_scene_made_again_has_equal_bytes(finished: Chain, tmp_path: Path) -> None:
    built = make_chain(tmp_path / "again")
    built.run("make_scene")
    ours = final_bytes(built.work)
    assert len([name for name in ours if name.startswith("scene/archive/")]) >= 8
    assert ours == {name: digest for name, digest in final_bytes(finished.work).items() if name.startswith("scene/")}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_ends_with_69_and_resumes(finished: Chain, tmp_path: Path) -> None:
    """The tile stage on a disk of 2 MB: exit 69, nothing half-written; with more room the same command completes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", disk], check=False, capture_output=True
        ).returncode
        != 0
    ):
        pytest.skip("mount is not permitted here")
    try:
        built = make_chain(tmp_path / "full")
        shutil.copytree(finished.work, built.work, copy_function=shutil.copy2)
        shutil.rmtree(built.work / "tiles")
        (built.work / "tiles").symlink_to(disk)
        (built.work / "manifests/tile.json").unlink()
        (built.work / "items/tile.jsonl").unlink()
        result = built.run("tile", check=False)
        assert result.returncode == 69, result.stderr
        assert (
            "No space left" in result.stderr and "Free disk space" in result.stderr and "Traceback" not in result.stderr
        )
        assert not [path for path in disk.rglob("*") if "s2cr-tmp" in path.name]
        subprocess.run(["mount", "-o", "remount,size=400m", disk], check=True)
        built.run("tile")
        # virtual rasters hold the way to the rasters, which is another one from the small disk
        want = {
            n: d for n, d in final_bytes(finished.work).items() if n.startswith("tiles/") and not n.endswith(".vrt")
        }
        found = {f"tiles/{n}": d for n, d in final_bytes(disk).items() if not n.endswith(".vrt")}
        assert found == want and list(disk.rglob("*.vrt"))
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_fills_up_in_every_stage(finished: Chain, tmp_path: Path) -> None:
    """The work directory on a disk that is always almost full and grows a little after each failure: only exit 69, nothing
    half-written, and in the end the bytes of an undisturbed run."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], check=False, capture_output=True)
    if mount.returncode != 0:
        pytest.skip("mount is not permitted here")

    def resize(kib: int) -> int:
        subprocess.run(["mount", "-o", f"remount,size={kib}k", disk], check=True)
        return kib

    try:
        built, size, hits = make_chain(tmp_path / "full", confs=finished.conf.parent), 200, {}
        built.work.symlink_to(disk)
        for stage in stages_of(built):
            for attempt in range(25):
                result = built.run(stage, check=False)
                if result.returncode == 0:
                    break
                hits[stage] = attempt + 1
                assert result.returncode == 69, (stage, result.returncode, result.stderr)
                assert "Traceback" not in result.stderr and "Free" in result.stderr, result.stderr
                assert not [path for path in disk.rglob("*") if "s2cr-tmp" in path.name]
                size = resize(int(size * (1.15 if attempt < 2 else 1.5)))
            size = resize(shutil.disk_usage(disk).used // 1024 + 60)
        print(f"disk full: {hits}")
        assert len(hits) >= 12
        assert final_bytes(disk) == final_bytes(finished.work)
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def test_a_product_cut_after_its_download_is_noticed_before_it_is_read(finished: Chain, tmp_path: Path) -> None:
    built = make_chain(tmp_path / "cut")
    shutil.copytree(finished.work, built.work, copy_function=shutil.copy2)
    victim = next(path for path in (built.work / "raw").rglob("S1*.zip"))
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    result = built.run("preprocess_s1", "--force", check=False)
    assert result.returncode == 66, (result.returncode, result.stderr)
    assert "Traceback" not in result.stderr
    assert "needs download, which is not up to date" in result.stderr


def test_changed_epochs_rerun_training_and_what_follows_only(finished: Chain) -> None:
    path = finished.conf.parent / "train_gan.yaml"
    before = path.read_text()
    try:
        path.write_text(before.replace("epoch: 2", "epoch: 3"))
        shown = finished.run("plan").stdout
    finally:
        path.write_text(before)
    state = {line.split()[1]: line.split()[0] for line in shown.splitlines()}
    assert [name for name, what in state.items() if what == "run"] == [
        "train", "predict", "mosaic", "indices", "burned", "evaluate", "compare", "report",
    ]  # fmt: skip
