"""What is known of the batch system, profiles of sites, jobs without network, the environment that a job gets."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import _batch
from utils.workflow import config
from utils.workflow.errors import BrokenEnvironmentError, ConfigError, LockedError, RefusedError
from utils.workflow.lock import Lock
from utils.workflow.schema import Conf, Hpc

ROOT = Path(__file__).parents[2]
DATES = "dates:\n  t0: {start: 2020-01-01, end: 2020-01-05}\n  t1: {start: 2020-02-01, end: 2020-02-05}\n"
Program = Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Put programs into a folder that is the whole path; outside any job."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in ("SLURM_JOB_ID", "PBS_JOBID", "S2CR_HPC", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def add(name: str, body: str = "exit 0") -> None:
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)

    return add


def test_login_nodes(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _batch.present() is None and not _batch.on_login_node(Hpc())
    assert _batch.on_login_node(Hpc(login_hosts=(f"{socket.gethostname()[:2]}*",)))
    program("qsub", "echo pbs_version = 20.0.1")
    assert _batch.present() == "pbs" and _batch.on_login_node(Hpc())
    program("sbatch", "exit 0")
    assert _batch.present() == "slurm"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert not _batch.on_login_node(Hpc())


def test_slurm_that_is_installed_but_belongs_to_no_cluster_is_none(program: Program) -> None:
    program("sbatch", "exit 0")
    program("scontrol", "echo 'scontrol: fatal: Could not establish a configuration source' >&2; exit 1")
    assert _batch.present() is None and not _batch.on_login_node(Hpc())


def test_slurm_whose_controller_is_down_still_is_a_cluster(program: Program) -> None:
    program("sbatch", "exit 0")
    program("scontrol", "echo 'slurm_load_ctl_conf error: Unable to contact slurm controller' >&2; exit 1")
    assert _batch.present() == "slurm"


def test_choice(program: Program) -> None:
    with pytest.raises(BrokenEnvironmentError, match="no batch system here"):
        _batch.choose(Hpc(), None, dry_run=False)
    assert _batch.choose(Hpc(), "pbs", dry_run=True) == "pbs"
    with pytest.raises(BrokenEnvironmentError, match="sbatch is not here"):
        _batch.choose(Hpc(scheduler="slurm"), None, dry_run=False)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_profile_lies_between_the_defaults_and_the_configuration(
    tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = write(
        tmp_path,
        "site.yaml",
        "hpc: {transfer_queue: data, job: {queue: main, cpus: 2}, train: {options: [--gres=gpu:1]}}\n",
    )
    write(tmp_path, "default.yaml", (ROOT / "confs/default.yaml").read_text())
    own = write(
        tmp_path,
        "c.yaml",
        f"extends: default.yaml\n{DATES}search: {{archive: x}}\nhpc: {{profile: {site}, job: {{cpus: 8}}}}\n",
    )
    hpc = config.load(own).hpc
    assert (hpc.transfer_queue, hpc.job.queue, hpc.job.cpus, hpc.train.options) == (
        "data",
        "main",
        8,
        ("--gres=gpu:1",),
    )
    other = write(tmp_path, "other.yaml", "hpc: {job: {queue: other}}\n")
    monkeypatch.setenv("S2CR_HPC", str(other))
    assert config.load(own).hpc.job.queue == "other" and config.load(own).hpc.transfer_queue is None
    assert config.load_hpc().job.queue == "other"
    monkeypatch.delenv("S2CR_HPC")
    assert config.load_hpc() == Hpc()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hpc: {jobs: {}}\n", r"site\.yaml:1: unknown key 'jobs'; did you mean 'job'"),
        ("hpc:\n  job: {walltime: 90}\n", r"site\.yaml:2: hpc\.job\.walltime"),
        ("hpc:\n  train: {options: [gpu]}\n", r"site\.yaml:2: hpc\.train\.options"),
        ("hpc: {}\ntrain: {}\n", r"site\.yaml:1: holds more or less than a section hpc"),
        ("hpc: {profile: x.yaml}\n", r"site\.yaml:1: names another profile"),
    ],
)
def test_errors_of_a_profile_name_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    site = write(tmp_path, "site.yaml", text)
    own = write(tmp_path, "c.yaml", f"{DATES}search: {{archive: x}}\nhpc: {{profile: {site}}}\n")
    monkeypatch.delenv("S2CR_HPC", raising=False)
    with pytest.raises(ConfigError, match=message):
        config.load(own)


def test_a_missing_profile_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("S2CR_HPC", raising=False)
    own = write(tmp_path, "c.yaml", f"{DATES}search: {{archive: x}}\nhpc: {{profile: confs/hpc/none.yaml}}\n")
    with pytest.raises(ConfigError, match=r"c\.yaml:5: .*confs/hpc/none\.yaml: no such file"):
        config.load(own)


@pytest.mark.parametrize("name", ["slurm.yaml", "gadi.yaml"])
def test_the_example_profiles_are_correct(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2CR_HPC", f"confs/hpc/{name}")
    monkeypatch.setenv("PROJECT", "ab12")
    hpc = config.load_hpc()
    assert hpc.job.walltime and any("gpu" in option for option in hpc.train.options) and hpc.train.segments > 1
    assert not any("gpu" in option for option in hpc.job.options)


def online(address: str, **hpc: object) -> Conf:
    return Conf.model_validate({"search": {"provider": "cdse", "endpoints": {"cdse_catalogue": address}}, "hpc": hpc})


def test_jobs_without_network_are_refused_at_once(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = online("http://127.0.0.1:9", transfer_queue="copyq")
    _batch.refuse_without_network("find_images", conf, Path("c.yaml"))  # no job
    monkeypatch.setenv("PBS_JOBID", "5.pbs")
    monkeypatch.setenv("PBS_QUEUE", "normal-exec")
    monkeypatch.setenv("PBS_O_QUEUE", "normal")
    with pytest.raises(RefusedError, match="only copyq reaches it") as caught:
        _batch.refuse_without_network("find_images", conf, Path("c.yaml"))
    assert caught.value.exit_code == 73 and "make submit STAGES=find_images CONF=c.yaml" in caught.value.remedy
    _batch.refuse_without_network("find_images", Conf(hpc=conf.hpc), Path("c.yaml"))  # provider local needs none
    monkeypatch.setenv("PBS_QUEUE", "copyq-exec")
    _batch.refuse_without_network("find_images", conf, Path("c.yaml"))  # nobody listens, but there is a network
    with pytest.raises(RefusedError, match=r"nowhere\.invalid cannot be reached"):
        _batch.refuse_without_network("find_images", online("https://nowhere.invalid/x"), Path("c.yaml"))


def test_the_address_of_each_provider() -> None:
    ends = Conf().search.endpoints
    for provider, stage, expected in (
        ("local", "find_images", None), ("sara", "find_images", ends.sara), ("stac", "find_images", ends.stac), ("cdse", "find_images", ends.cdse_catalogue),
        ("cdse", "download", ends.cdse_download), ("gee", "find_images", "https://earthengine.googleapis.com"),
    ):  # fmt: skip
        assert _batch.service_of(Conf.model_validate({"search": {"provider": provider}}), stage) == expected
    mixed = Conf.model_validate({"search": {"provider": "stac", "download_from": "sara"}})
    assert _batch.service_of(mixed, "download") == ends.sara


def test_a_job_gets_the_variables_of_its_configuration_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("S2CR_ENV", "S2CR_HPC", "S2CR_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("S2CR_DATA", "data")
    monkeypatch.setenv("MY_ARCHIVE", "x y")
    monkeypatch.setenv("S2CR_CDSE_PASSWORD", "hidden")
    file = write(tmp_path, "c.yaml", "a: ${MY_ARCHIVE}\nb: ${NOT_SET}\nc: ${S2CR_CDSE_PASSWORD}\n")
    assert _batch.environment(file) == {"S2CR_DATA": os.path.abspath("data"), "MY_ARCHIVE": "x y"}  # noqa: PTH100


def test_every_submission_has_a_folder_of_its_own(tmp_path: Path) -> None:
    assert [_batch.new_folder(tmp_path / "jobs").name for _ in range(3)] == ["0001", "0002", "0003"]
    (tmp_path / "jobs/0100").mkdir()
    assert _batch.new_folder(tmp_path / "jobs").name == "0101"


@pytest.mark.parametrize(
    ("job", "name", "body", "ended"),
    [
        ("12", "squeue", "echo RUNNING", False),
        ("12", "squeue", "exit 0", True),
        ("12", "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", True),
        ("12", "squeue", "echo 'Unable to contact slurm controller' >&2; exit 1", False),
        ("12.pbs", "qstat", "echo R", False),
        ("12.pbs", "qstat", "echo 'qstat: 12.pbs Job has finished' >&2; exit 35", True),
        ("12.pbs", "qstat", "echo 'qstat: cannot connect to server' >&2; exit 111", False),
        ("12", "nothing", "exit 0", False),
        ("", "squeue", "exit 0", False),
    ],
)
def test_locks_of_other_hosts_yield_only_when_their_job_has_ended_for_sure(
    program: Program, tmp_path: Path, job: str, name: str, body: str, ended: bool
) -> None:
    program(name, body)
    path = write(tmp_path, "x.lock", json.dumps({"host": "elsewhere", "pid": 1, "start": "1", "job": job}))
    if ended:
        with Lock(path):
            assert json.loads(path.read_text())["host"] == socket.gethostname()
    else:
        with pytest.raises(LockedError, match="elsewhere"), Lock(path):
            pass


def test_a_job_that_was_started_again_takes_its_own_lock(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("squeue", "echo RUNNING")
    path = write(tmp_path, "x.lock", json.dumps({"host": "elsewhere", "pid": 1, "start": "1", "job": "12"}))
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    with pytest.raises(LockedError), Lock(path):
        pass
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with Lock(path):
        pass
