"""Which jobs stages become, what is in their files, and what is said to the batch system."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from utils.workflow import scheduler
from utils.workflow.errors import ConfigError, ExternalError, UsageError
from utils.workflow.scheduler import Job
from utils.workflow.schema import Conf, Hpc
from utils.workflow.schema_hpc import PartedJob, Resources, TrainJob

HPC = Hpc(
    transfer_queue="copyq", max_array=4, modules=("python3", "gdal"), setup=("echo ready",),
    job=Resources(queue="normal", walltime="1:00:00", memory_gib=4, cpus=2, options=("-P ab12",)),
    network=Resources(cpus=1), preprocess_s1=PartedJob(parts=3, memory_gib=16), tile=PartedJob(parts=6),
    predict=PartedJob(parts=2, queue="gpu", options=("-l ngpus=1",)), train=TrainJob(queue="gpu", segments=3, options=("-l ngpus=1",)),
)  # fmt: skip
CONF = Conf(source="search", hpc=HPC)
PATH = Path("/data/c.yaml")


def jobs(*stages: str, conf: Conf = CONF) -> dict[str, Job]:
    return {job.name: job for job in scheduler.chain_jobs(conf, PATH, scheduler.stage_names(stages, conf))}


def text(
    job: Job, kind: Any = "slurm", folder: str = "/data/work/jobs/0001", hpc: Hpc = HPC, **environment: str
) -> str:
    return scheduler.job_text(job, kind, hpc, Path(folder), Path("/opt/s2cr"), environment)


def test_stages_by_any_name_in_the_order_of_the_table() -> None:
    assert scheduler.stage_names(["tile", "convert_sent2", "preprocess_s1", "tile"], CONF) == [
        "preprocess_s1",
        "preprocess_s2",
        "tile",
    ]
    assert scheduler.stage_names(["preprocess", "search"], CONF) == ["find_images", "preprocess_s1", "preprocess_s2"]
    assert (
        scheduler.stage_names(["dataset"], CONF)[-1] == "split" and scheduler.stage_names(["all"], CONF)[-1] == "report"
    )
    assert scheduler.stage_names(["import"], CONF) == [], "not part of a configuration with source: search"
    with pytest.raises(UsageError, match=r"No stage 'tille'\. Did you mean 'tile'"):
        scheduler.stage_names(["tille"], CONF)


def test_a_stage_waits_for_what_it_needs_and_for_nothing_else() -> None:
    """preprocess_s1 and preprocess_s2 run side by side; tile waits for both ends, not for download once more."""
    made = jobs("download", "preprocess", "tile", "evaluate")
    assert made["02-preprocess_s1"].after_ok == made["03-preprocess_s2"].after_ok == ("01-download",)
    assert made["04-tile.1"].after_ok == ("02-preprocess_s1.finalise", "03-preprocess_s2")
    assert made["05-evaluate"].after_ok == ("04-tile.finalise",), "through stages that are not submitted"


def test_parts_array_and_finalise() -> None:
    made = jobs("preprocess_s1", "tile")
    array, end = made["01-preprocess_s1"], made["01-preprocess_s1.finalise"]
    assert array.elements == 3 and array.words == ("preprocess_s1", "/data/c.yaml")
    assert end.after_any == ("01-preprocess_s1",) and end.words[-1] == "--finalise" and end.elements is None
    assert (array.needs.memory_gib, end.needs.memory_gib, array.needs.cpus) == (16, 4, 2)
    singles = [made[f"02-tile.{i}"] for i in range(1, 7)]
    assert [job.words[-2:] for job in singles] == [("--part", f"{i}/6") for i in range(1, 7)], "6 parts, arrays up to 4"
    assert {job.after_ok for job in singles} == {("01-preprocess_s1.finalise",)} and {
        job.elements for job in singles
    } == {None}
    assert made["02-tile.finalise"].after_any == tuple(f"02-tile.{i}" for i in range(1, 7))
    one = CONF.model_copy(update={"hpc": HPC.model_copy(update={"tile": PartedJob(parts=1)})})
    assert list(jobs("tile", conf=one)) == ["01-tile"] and "--part" not in jobs("tile", conf=one)["01-tile"].words
    capped = CONF.model_copy(update={"hpc": HPC.model_copy(update={"max_array": 1})})
    assert [job.elements for job in jobs("preprocess_s1", conf=capped).values()] == [None] * 4


def test_the_finalise_job_of_a_gpu_stage_asks_for_no_gpu() -> None:
    made = jobs("predict")
    assert made["01-predict"].needs.options == ("-P ab12", "-l ngpus=1") and made["01-predict"].needs.queue == "gpu"
    assert made["01-predict.finalise"].needs == HPC.job


def test_segments_of_a_training() -> None:
    made = jobs("normalise", "train", "predict")
    assert [made[f"02-train.{i}"].after_any for i in (1, 2, 3)] == [(), ("02-train.1",), ("02-train.2",)]
    assert {made[f"02-train.{i}"].after_ok for i in (1, 2, 3)} == {("01-normalise",)}
    assert made["03-predict"].after_ok == ("02-train.3",)


def test_network_stages_go_to_the_transfer_queue() -> None:
    made = jobs("find_images", "tile")
    assert made["01-find_images"].needs.queue == "copyq" and made["01-find_images"].needs.cpus == 1
    assert made["01-find_images"].needs.options == ("-P ab12",) and made["02-tile.1"].needs.queue == "normal"
    plain = Hpc(network=Resources(queue="data"), job=Resources(queue="main"))
    assert scheduler.resources_of(plain, "download").queue == "data"


def test_a_job_file_is_strict_and_its_last_line_becomes_the_stage(tmp_path: Path) -> None:
    made = text(jobs("preprocess_s1")["01-preprocess_s1"], S2CR_DATA="/data/it's here")
    lines = made.splitlines()
    assert lines[0] == "#!/bin/bash" and "set -euo pipefail" in lines and "cd /opt/s2cr" in lines
    assert lines[-1] == 'exec ./s2cr preprocess_s1 /data/c.yaml --part "${SLURM_ARRAY_TASK_ID}/3"'
    assert "#SBATCH --array=1-3" in lines and "#SBATCH --mem=16384M" in lines and "#SBATCH --signal=B:USR1@120" in lines
    assert lines.index("module load python3 gdal") < lines.index("set -u") < lines.index("echo ready") < len(lines) - 1
    assert max(i for i, line in enumerate(lines) if line.startswith("#SBATCH")) < lines.index("set -euo pipefail")
    assert "export S2CR_DATA='/data/it'\"'\"'s here'" in lines and "S2CR_GOALS" in made
    for kind in ("slurm", "pbs"):
        path = tmp_path / f"{kind}.sh"
        path.write_text(text(jobs("preprocess_s1")["01-preprocess_s1"], kind))
        assert subprocess.run(["bash", "-n", path], check=False).returncode == 0


def test_gpu_lines_come_from_the_configuration_only() -> None:
    root = Path(__file__).parents[2]
    train = jobs("train")["01-train.1"]
    assert "#SBATCH -l ngpus=1" in text(train).splitlines()
    for name in ("gan_train.sh", "gan_predict.sh", "utils/workflow/scheduler.py"):
        directives = [line for line in (root / name).read_text().splitlines() if line.startswith(("#SBATCH", "#PBS"))]
        assert not any("gpu" in line or "gres" in line for line in directives), name


def test_modules_are_loaded_where_the_command_is_a_function(tmp_path: Path) -> None:
    job = Job("j", "j", ("x",), Resources())
    body = text(job, hpc=Hpc(modules=("a/1.0",))).replace("cd /opt/s2cr", f"cd {tmp_path}")
    (tmp_path / "s2cr").write_text("#!/bin/sh\necho ran $*\n")
    (tmp_path / "s2cr").chmod(0o755)
    script = 'module() { echo "module $* ${NOT_SET}"; }\nexport -f module\nbash "$0"\n'
    (tmp_path / "job.sh").write_text(body)
    done = subprocess.run(["bash", "-c", script, tmp_path / "job.sh"], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["module load a/1.0 ", "ran x"], done.stderr
    bare = subprocess.run(["bash", tmp_path / "job.sh"], capture_output=True, text=True, check=False)
    assert bare.returncode == 127 and "ran" not in bare.stdout, "a missing module ends the job"


def test_command_lines() -> None:
    made, file = jobs("preprocess_s1", "tile"), Path("/j/x.sh")
    ids = {name: f"{100 + i}" for i, name in enumerate(made)}
    end = made["01-preprocess_s1.finalise"]
    assert scheduler.command_line(made["01-preprocess_s1"], "slurm", file, {}) == ["sbatch", "--parsable", "/j/x.sh"]
    assert scheduler.command_line(end, "slurm", file, ids) == [
        "sbatch", "--parsable", "--dependency=afterany:100", "--kill-on-invalid-dep=yes", "/j/x.sh",
    ]  # fmt: skip
    pbs = {name: f"{number}.pbs" for name, number in ids.items()}
    assert scheduler.command_line(made["01-preprocess_s1"], "pbs", file, {}, hold=True) == ["qsub", "-h", "/j/x.sh"]
    last = made["02-tile.finalise"]
    assert scheduler.command_line(last, "pbs", file, pbs) == [
        "qsub", "-W", "depend=afterok:101.pbs,afterany:102.pbs:103.pbs:104.pbs:105.pbs:106.pbs:107.pbs", "/j/x.sh",
    ]  # fmt: skip
    assert scheduler.release_line(["1.pbs"]) == ["qrls", "1.pbs"]
    assert scheduler.cancel_line("slurm", ["1", "2"]) == ["scancel", "1", "2"]


@pytest.mark.parametrize(
    ("kind", "answer", "found"),
    [
        ("slurm", "123\n", "123"), ("slurm", "123;cluster\n", "123"), ("pbs", "123.gadi-pbs\n", "123.gadi-pbs"), ("pbs", "123[].server\n", "123[].server"),
        ("slurm", "sbatch: note\n77\n", "77"), ("slurm", "Submitted batch job 5", None), ("pbs", "", None), ("pbs", "123[1].server", None),
    ],
)  # fmt: skip
def test_ids(kind: Any, answer: str, found: str | None) -> None:
    if found is None:
        with pytest.raises(ExternalError, match="no job id"):
            scheduler.job_id_of(kind, answer)
    else:
        assert scheduler.job_id_of(kind, answer) == found


def test_pbs_names_and_folders() -> None:
    long = Job("01-preprocess_s1.finalise", "preprocess_s1_and_more", ("x",), Resources())
    assert "#PBS -N preprocess_s1_a" in text(long, "pbs").splitlines()
    with pytest.raises(ConfigError, match="space, comma or colon"):
        text(long, "pbs", "/data/my work/jobs/0001")
    assert '#SBATCH --output="/my work/100%%/01-preprocess_s1.finalise.%j.log"' in text(long, folder="/my work/100%")


STUB = """#!/bin/bash
trap 'echo warned; exit 75' USR1
for i in $(seq 100); do sleep 0.1; done
"""


@pytest.mark.parametrize(("walltime", "code"), [("0:00:12", 75), ("0:30:00", 0), (None, 0), ("0:00:10", 0)])
def test_pbs_jobs_are_warned_before_their_walltime(tmp_path: Path, walltime: str | None, code: int) -> None:
    """The shell becomes the stage and gets the signal 10 s before the end; the watcher does not outlive it."""
    (tmp_path / "s2cr").write_text(STUB if code else "#!/bin/sh\nexec sleep 0.5\n")
    (tmp_path / "s2cr").chmod(0o755)
    job = Job("j", "j", ("x",), Resources(walltime=walltime))
    body = scheduler.job_text(job, "pbs", Hpc(signal_s=10), tmp_path, tmp_path)
    assert "USR1" not in text(job, "slurm").split("set -euo")[1], "Slurm has --signal"
    script = tmp_path / "job.sh"
    script.write_text(body)
    done = subprocess.run(["bash", script], capture_output=True, text=True, check=False, timeout=9)
    assert (done.returncode, done.stdout) == (code, "warned\n" if code else "")
    assert ("kill -USR1" in body) == (walltime in ("0:00:12", "0:30:00"))
    mark, end = f"bash {script}".encode().replace(b" ", b"\0"), time.monotonic() + 8
    while any(mark in read(path) for path in Path("/proc").glob("[0-9]*/cmdline")):
        assert time.monotonic() < end, "the watcher outlives its job"
        time.sleep(0.2)


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
