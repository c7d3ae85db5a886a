"""Batch jobs on a real Slurm of one node, started here on loopback: arrays, chains, walltimes, exit codes."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import slurm_cluster
from tests.pipeline.test_import_chain import STAGES, Toy, make_inputs
from tests.slurm_cluster import Cluster
from tests.unit.tiny_sets import write_work

ROOT = Path(__file__).parents[2]
WHY_NOT = slurm_cluster.missing()
pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(WHY_NOT), reason=f"no Slurm: {WHY_NOT}")]
HPC = """\
hpc:
  job: {walltime: 0:30:00, memory_gib: 0.5, cpus: 1}
  tile: {parts: 3}
  build_dataset: {parts: 2}
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("slurm")
    with slurm_cluster.cluster(folder / "cluster") as running:
        yield running
    assert slurm_cluster.processes_of(folder / "cluster") == [], "Slurm left processes behind"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    make_inputs(folder)
    return folder


def new_toy(folder: Path, inputs: Path, more: str = "") -> Toy:
    """A work directory of its own; a space in its name must not matter."""
    folder = folder / "a b"
    folder.mkdir()
    toy = Toy(folder, more=more)
    shutil.copytree(inputs, toy.inputs, dirs_exist_ok=True)
    return toy


def submit(
    slurm: Cluster, *words: object, check: bool = True, **more: str
) -> tuple[dict[str, str], subprocess.CompletedProcess[str]]:
    """Call ./s2cr submit or a script that does; returns name -> id of what it says, and the call."""
    done = slurm.call(*words, check=check, **more)
    return {name: number for number, name in re.findall(r"^(\d+)\s+(\d\d-\S+)", done.stdout, re.MULTILINE)}, done


def logs(work: Path) -> str:
    return "\n".join(path.read_text() for path in sorted((work / "jobs").rglob("*.log")))


def test_a_chain_with_arrays_gives_the_bytes_of_a_run_by_hand(slurm: Cluster, inputs: Path, tmp_path: Path) -> None:
    toy = new_toy(tmp_path, inputs, HPC)
    ids, done = submit(slurm, ROOT / "s2cr", "submit", toy.conf, "normalise", *STAGES)
    assert list(ids) == [
        "01-import_data", "02-tile", "02-tile.finalise", "03-build_dataset", "03-build_dataset.finalise", "04-split", "05-normalise",
    ], done.stdout  # fmt: skip
    states = slurm.wait(*ids.values())
    assert set(states.values()) == {("COMPLETED", 0)}, f"{states}\n{logs(toy.work)}"
    assert {name for name in states if "_" in name} == {
        *(f"{ids['02-tile']}_{i}" for i in (1, 2, 3)), *(f"{ids['03-build_dataset']}_{i}" for i in (1, 2)),
    }  # fmt: skip
    shares = [len((toy.work / f"items/tile.part-{i}.jsonl").read_text().splitlines()) for i in (1, 2, 3)]
    assert shares == [20, 20, 20], "three elements share 2 dates of 30 tiles"
    assert {p.name.split(".")[0] for p in (toy.work / "jobs/0001").glob("*.log")} == {
        name.split(".")[0] for name in ids
    }
    record = json.loads((toy.work / "jobs/0001/submission.json").read_text())
    assert [job["id"] for job in record["jobs"]] == list(ids.values()) and record["scheduler"] == "slurm"
    manifest = json.loads((toy.work / "manifests/split.json").read_text())
    assert manifest["job"] == ids["04-split"]
    again, said = submit(slurm, ROOT / "s2cr", "submit", toy.conf, *STAGES)
    assert again == {} and "nothing to submit" in said.stderr
    by_jobs = toy.bytes()
    shutil.rmtree(toy.work)
    assert toy.all().bytes() == by_jobs and len(by_jobs) > 300


def test_a_job_waits_for_those_before_it(slurm: Cluster, inputs: Path, tmp_path: Path) -> None:
    toy = new_toy(tmp_path, inputs, HPC)
    ids, _ = submit(slurm, ROOT / "s2cr", "submit", toy.conf, *STAGES)
    slurm.wait(*ids.values())
    order = [slurm.jobs(ids[name]) for name in ids]
    for before, after in itertools.pairwise(order):
        assert max(job["EndTime"] for job in before) <= min(job["StartTime"] for job in after)


def test_a_failed_element_neither_breaks_the_chain_nor_hides(slurm: Cluster, inputs: Path, tmp_path: Path) -> None:
    """Element 2 ends with 74: --finalise runs nevertheless and names what is missing; what follows never starts."""
    toy = new_toy(tmp_path, inputs, HPC)
    assert toy.run("import_data").returncode == 0
    lock = toy.work / "locks/tile.part-2.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "start": "1", "job": ""}))
    ids, _ = submit(slurm, ROOT / "s2cr", "submit", toy.conf, "tile", "build_dataset")
    states = slurm.wait(*ids.values())
    assert [states[f"{ids['01-tile']}_{i}"] for i in (1, 2, 3)] == [("COMPLETED", 0), ("FAILED", 74), ("COMPLETED", 0)]
    assert states[ids["01-tile.finalise"]] == ("FAILED", 66)
    lock.unlink()
    assert re.search(r"10 of 30 tiles are not done, first d0/r\d+_c\d+", logs(toy.work))
    assert states[ids["02-build_dataset.finalise"]][0] == "CANCELLED"
    assert not (toy.work / "items/build_dataset.part-1.jsonl").exists()
    ids, _ = submit(
        slurm, ROOT / "s2cr", "submit", toy.conf, "tile", "build_dataset"
    )  # the same command again mends it
    assert set(slurm.wait(*ids.values()).values()) == {("COMPLETED", 0)}, logs(toy.work)


def test_failed_items_show_in_the_job_record_and_are_tolerated_where_that_is_set(
    slurm: Cluster, inputs: Path, tmp_path: Path
) -> None:
    toy = new_toy(tmp_path, inputs, HPC)
    assert toy.run("import_data").returncode == 0
    raster = toy.work / "preprocessed/sentinel2/S2b/B04.tif"
    good = raster.read_bytes()
    raster.write_bytes(
        good[: len(good) // 2] + bytes(len(good) - len(good) // 2)
    )  # the same size: only its readers notice
    ids, _ = submit(slurm, ROOT / "s2cr", "submit", toy.conf, "tile", "build_dataset")
    states = slurm.wait(*ids.values())
    assert [states[f"{ids['01-tile']}_{i}"] for i in (1, 2, 3)] == [("FAILED", 71)] * 3, logs(toy.work)
    assert states[ids["01-tile.finalise"]] == ("FAILED", 71)
    assert states[f"{ids['02-build_dataset']}"][0] == "CANCELLED" if ids["02-build_dataset"] in states else True
    assert json.loads((toy.work / "manifests/tile.json").read_text())["counts"]["failed"] == 30
    toy.conf.write_text(toy.conf.read_text() + "max_failed: 30\n")
    ids, _ = submit(slurm, ROOT / "s2cr", "submit", toy.conf, "tile")
    assert set(slurm.wait(*ids.values()).values()) == {("COMPLETED", 0)}, logs(toy.work)
    manifest = json.loads((toy.work / "manifests/tile.json").read_text())
    assert manifest["status"] == "complete" and manifest["counts"] == {"done": 30, "failed": 30}


def test_what_slurm_refuses_leaves_nothing_in_the_queue(slurm: Cluster, inputs: Path, tmp_path: Path) -> None:
    toy = new_toy(tmp_path, inputs, HPC + "  split: {}\n".replace("split", "predict"))
    toy.conf.write_text(
        toy.conf.read_text().replace("build_dataset: {parts: 2}", "build_dataset: {parts: 2, options: [--gres=gpu:1]}")
    )
    _, done = submit(slurm, ROOT / "s2cr", "submit", toy.conf, "import_data", "tile", "build_dataset", check=False)
    assert done.returncode == 70
    assert "Invalid generic resource" in done.stderr and "Nothing is left in the queue" in done.stderr
    end = time.monotonic() + 60
    while slurm.call("squeue", "-h").stdout.strip():
        assert time.monotonic() < end, slurm.call("squeue").stdout
        time.sleep(0.5)
    assert not (toy.work / "jobs/0001/submission.json").exists()


def test_dry_run_submits_and_writes_nothing(slurm: Cluster, inputs: Path, tmp_path: Path) -> None:
    toy = new_toy(tmp_path, inputs, HPC)
    newest = slurm.call("scontrol", "show", "job", "-o").stdout.count("JobId=")
    done = slurm.call(
        "make",
        "-s",
        "-o",
        "env",
        "-C",
        ROOT,
        "submit",
        "STAGES=import_data tile",
        f"CONF={toy.conf}".replace(" ", "\\ "),
        "DRY_RUN=1",
    )
    assert (
        "exec ./s2cr tile" in done.stdout
        and "$ sbatch --parsable --dependency=afterany:<02-tile>"
        in done.stdout.replace("afterok:<01-import_data>,", "")
    )
    assert slurm.call("scontrol", "show", "job", "-o").stdout.count("JobId=") == newest
    assert not toy.work.exists()


def test_login_node_and_jobs_without_network(slurm: Cluster, inputs: Path, tmp_path: Path) -> None:
    toy = new_toy(tmp_path, inputs).all()
    refused = slurm.call(ROOT / "s2cr", "train", toy.conf, check=False)
    assert refused.returncode == 73 and f"make submit STAGES=train CONF={toy.conf}" in refused.stderr
    refused = slurm.call(ROOT / "s2cr", "predict", "--run-dir", tmp_path, "--dataset", tmp_path, check=False)
    assert refused.returncode == 73 and "gan_predict.sh submits it" in refused.stderr
    conf = tmp_path / "online.yaml"
    conf.write_text(
        f"work: {tmp_path}/online\nsearch: {{provider: cdse, endpoints: {{cdse_catalogue: 'http://127.0.0.1:9'}}}}\n"
        f"area: {{geojson: {ROOT}/confs/aoi/nsw_south_coast.geojson}}\nhpc: {{transfer_queue: data, job: {{memory_gib: 0.5}}}}\n"
        "dates:\n  t0: {start: 2020-01-01, end: 2020-01-05}\n  t1: {start: 2020-02-01, end: 2020-02-05}\n"
    )
    ids, _ = submit(slurm, ROOT / "s2cr", "submit", conf, "find_images")
    slurm.wait_for_state(ids["01-find_images"], "RUNNING")
    assert slurm.jobs(ids["01-find_images"])[0]["Partition"] == "data"
    slurm.call("scancel", ids["01-find_images"])  # it would retry for minutes: nothing answers there
    file = tmp_path / "online/jobs/0001/01-find_images.sh"
    begin = time.monotonic()
    number = slurm.call("sbatch", "--parsable", "--partition=main", file).stdout.strip()
    assert slurm.wait(number)[number] == ("FAILED", 73)
    print(f"refused after {time.monotonic() - begin:.1f} s")
    assert "it runs in main, and only data reaches it" in logs(tmp_path / "online")


def test_a_lock_of_a_job_that_has_ended_is_taken_over(slurm: Cluster, inputs: Path, tmp_path: Path) -> None:
    """A job killed on another node leaves its lock; Slurm knows whether that job still runs."""
    toy = new_toy(tmp_path, inputs)
    assert toy.run("import_data").returncode == 0
    script = tmp_path / "sleep.sh"
    script.write_text("#!/bin/bash\nexec sleep 300\n")
    number = slurm.call("sbatch", "--parsable", "--mem=100", f"--output={tmp_path}/out", script).stdout.strip()
    slurm.wait_for_state(number, "RUNNING")
    lock = toy.work / "locks/tile.lock"
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "start": "1", "job": number}))
    refused = slurm.call(ROOT / "s2cr", "tile", toy.conf, check=False)
    assert refused.returncode == 74 and f"on elsewhere, job {number}" in refused.stderr
    slurm.call("scancel", number)
    slurm.wait(number)
    assert slurm.call(ROOT / "s2cr", "tile", toy.conf).returncode == 0 and not lock.exists()


def write_training(folder: Path, steps: int, name: str) -> tuple[Path, Path]:
    """model.yaml and train.yaml of a training on the tiny data set of `folder`."""
    model, train = folder / f"{name}_model.yaml", folder / f"{name}_train.yaml"
    model.write_text((folder / "model.yaml").read_text().replace("model_name: small", f"model_name: {name}"))
    keys = {
        "steps_per_epoch": steps,
        "metric_step": max(1, steps // 3),
        "checkpoint_steps": 10 * steps,
        "tensorboard": "false",
    }
    lines = [line for line in (folder / "train.yaml").read_text().splitlines() if line.split(":")[0] not in keys]
    train.write_text("\n".join([*lines, *(f"{key}: {value}" for key, value in keys.items())]) + "\n")
    return model, train


def test_a_training_killed_by_its_walltime_ends_with_the_same_weights(slurm: Cluster, tmp_path: Path) -> None:
    """Segment 1 gets USR1 before its minute is over, saves and exits with 75; segment 2 goes on; 3 finds it finished."""
    write_work(tmp_path)
    begin = time.monotonic()
    short = submit_directly(slurm, *write_training(tmp_path, 300, "short"))
    assert slurm.wait(short)[short] == ("COMPLETED", 0)
    rate = 300 / training_seconds(tmp_path / "runs/short", slurm.jobs(short)[0])
    steps = int(rate * 90)  # a minute and a half alone, here and now; Slurm sends the signal after 20 to 50 s
    profile = tmp_path / "hpc.yaml"
    profile.write_text("hpc: {signal_s: 10, train: {walltime: 0:01:00, memory_gib: 1, cpus: 1, segments: 3}}\n")
    through = submit_directly(slurm, *write_training(tmp_path, steps, "through"))
    ids, said = submit(slurm, ROOT / "gan_train.sh", *write_training(tmp_path, steps, "cut"), S2CR_HPC=str(profile))
    assert list(ids) == ["01-train.1", "01-train.2", "01-train.3"], said.stdout
    for name in ("01-train.2", "01-train.3"):
        slurm.call("scontrol", "update", f"JobId={ids[name]}", "TimeLimit=60")
    states = slurm.wait(*ids.values(), through, timeout_s=900)
    folder = Path(re.search(r"files and logs: (.+)", said.stderr).group(1))  # type: ignore[union-attr]
    said_by_jobs = "\n".join(path.read_text() for path in sorted(folder.glob("*.log")))
    assert [states[number] for number in ids.values()] == [("FAILED", 75), ("COMPLETED", 0), ("COMPLETED", 0)], (
        said_by_jobs
    )
    saved = re.search(r"SIGUSR1 at step (\d+) of", said_by_jobs)
    assert saved and 0 < int(saved.group(1)) < steps and f"resumes at step {saved.group(1)} of {steps}" in said_by_jobs
    assert states[through] == ("COMPLETED", 0)
    checkpoints = [
        next(iter((tmp_path / "runs" / name / "checkpoints").glob(f"*/step-{steps:08d}")))
        for name in ("through", "cut")
    ]
    one, other = (np.load(path / "arrays.npz", allow_pickle=False) for path in checkpoints)
    assert one.files == other.files and len(one.files) > 10
    assert all(one[name].tobytes() == other[name].tobytes() for name in one.files)
    histories = [(tmp_path / "runs" / name / "history.jsonl").read_text() for name in ("through", "cut")]
    assert histories[0] == histories[1]
    print(f"{steps} steps, stopped at {saved.group(1)}, {time.monotonic() - begin:.0f} s")
    shutil.rmtree(folder)
    check_prediction(slurm, tmp_path)


def submit_directly(slurm: Cluster, model: Path, train: Path) -> str:
    """sbatch gan_train.sh, as the published project is used."""
    line = ("sbatch", "--parsable", "--mem=1000", f"--output={train.parent}/%j.log", "gan_train.sh", model, train)
    return slurm.call("env", "-C", ROOT, *line).stdout.strip()


def training_seconds(run: Path, job: dict[str, str]) -> float:
    """Seconds from the first history record to the last, which are two thirds of the steps apart."""
    stamp = {path.name: path.stat().st_mtime for path in run.rglob("*") if path.is_file()}
    hours, minutes, seconds = job["RunTime"].split(":")
    assert stamp
    return max(1.0, int(hours) * 3600 + int(minutes) * 60 + int(seconds) - 8.0)


def check_prediction(slurm: Cluster, folder: Path) -> None:
    """gan_predict.sh: given to sbatch, and submitting itself as two jobs; the same images as without Slurm."""
    run, dataset = folder / "runs/short", folder / "dataset/val"
    number = slurm.call(
        "env",
        "-C",
        ROOT,
        "sbatch",
        "--parsable",
        "--mem=1000",
        f"--output={folder}/%j.log",
        "gan_predict.sh",
        run,
        dataset,
        folder / "by_sbatch",
    ).stdout.strip()
    ids, said = submit(slurm, ROOT / "gan_predict.sh", run, dataset, folder / "by_itself")
    assert list(ids) == ["01-predict", "02-mosaic"]
    states = slurm.wait(number, *ids.values())
    assert set(states.values()) == {("COMPLETED", 0)}, said.stderr
    slurm.call(ROOT / "gan_predict.sh", run, dataset, folder / "here", S2CR_SUBMIT="no")
    found = [
        {p.relative_to(folder / name).as_posix(): p.read_bytes() for p in (folder / name).rglob("*.tif")}
        for name in ("by_sbatch", "by_itself", "here")
    ]
    assert len(found[0]) == 3 and "mosaic/p001/prediction.tif" in found[0]
    assert found[0] == found[1] == found[2]
    shutil.rmtree(Path(re.search(r"files and logs: (.+)", said.stderr).group(1)))  # type: ignore[union-attr]


def test_a_spool_copy_without_a_checkout_says_so(slurm: Cluster, tmp_path: Path) -> None:
    write_work(tmp_path)
    line = (
        "sbatch",
        "--parsable",
        "--mem=500",
        f"--output={tmp_path}/%j.log",
        ROOT / "gan_train.sh",
        tmp_path / "model.yaml",
        tmp_path / "train.yaml",
    )
    number = slurm.call("env", "-C", tmp_path, *line).stdout.strip()
    assert slurm.wait(number)[number] == ("FAILED", 77)
    assert "Set S2CR_ROOT" in (tmp_path / f"{number}.log").read_text()
