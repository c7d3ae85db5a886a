"""Which processes train together: TF_CONFIG and the variables of Slurm. Lists of hosts as `scontrol show hostnames` expands them."""

from __future__ import annotations

import json

import pytest

from models.cluster import PORT, PORTS, Cluster, expand_counts, expand_hosts, find
from utils.workflow.errors import ConfigError

SLURM = {
    "SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_STEP_TASKS_PER_NODE": "2,1", "SLURM_PROCID": "2",
    "SLURM_JOB_ID": "1234", "SLURM_STEP_ID": "0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("node1", ["node1"]),
        ("node[1-3]", ["node1", "node2", "node3"]),
        ("node[08-11,20]", ["node08", "node09", "node10", "node11", "node20"]),
        ("a[1,3],b7,c-d[2-3]x", ["a1", "a3", "b7", "c-d2x", "c-d3x"]),
        ("rack[1-2]n[01-02]", ["rack1n01", "rack1n02", "rack2n01", "rack2n02"]),
        ("127.0.0.1", ["127.0.0.1"]),
    ],
)
def test_lists_of_hosts(text: str, names: list[str]) -> None:
    assert expand_hosts(text) == names


@pytest.mark.parametrize("text", ["", "node[1-3", "node[a-b]", "node[1-]"])
def test_lists_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="list of hosts"):
        expand_hosts(text)


def test_tasks_of_nodes() -> None:
    assert expand_counts("2(x3),1") == [2, 2, 2, 1]
    assert expand_counts("4") == [4]
    with pytest.raises(ConfigError, match="tasks per node"):
        expand_counts("2(x),1")


def test_a_step_of_slurm_becomes_a_cluster() -> None:
    first = PORT + 1234 * 16 % PORTS
    found = find(SLURM)
    assert found == Cluster((f"gpu07:{first}", f"gpu07:{first + 1}", f"gpu08:{first}"), 2)
    assert found is not None
    assert not found.chief
    assert json.loads(found.tf_config()) == {
        "cluster": {"worker": list(found.workers)},
        "task": {"type": "worker", "index": 2},
    }
    assert find({**SLURM, "SLURM_STEP_ID": "1"}) != found  # a second step of the job must not meet the first


def test_the_script_of_a_batch_job_is_one_process() -> None:
    """sbatch --ntasks=4 sets these for the script, which runs once."""
    job = {"SLURM_NTASKS": "4", "SLURM_JOB_NODELIST": "n[1-4]", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}
    assert find(job) is None
    assert find({}) is None
    assert find({**SLURM, "SLURM_STEP_NUM_TASKS": "1"}) is None


def test_contradictions_are_told() -> None:
    with pytest.raises(ConfigError, match="without 'SLURM_PROCID'"):
        find({k: v for k, v in SLURM.items() if k != "SLURM_PROCID"})
    with pytest.raises(ConfigError, match="3 tasks, 2 nodes with"):
        find({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "2(x2)"})
    with pytest.raises(ConfigError, match="number 5"):
        find({**SLURM, "SLURM_PROCID": "5"})


def test_tf_config_comes_first() -> None:
    def config(kind: str, index: int, **roles: list[str]) -> dict[str, str]:
        return {**SLURM, "TF_CONFIG": json.dumps({"cluster": roles, "task": {"type": kind, "index": index}})}

    assert find(config("worker", 1, worker=["a:1", "b:2"])) == Cluster(("a:1", "b:2"), 1)
    assert find(config("worker", 0, chief=["a:1"], worker=["b:2"])) == Cluster(("a:1", "b:2"), 1)
    assert find(config("chief", 0, chief=["a:1"], worker=["b:2"])) == Cluster(("a:1", "b:2"), 0)
    assert find(config("worker", 0, worker=["a:1"])) is None  # alone
    with pytest.raises(ConfigError, match="parameter servers do not"):
        find(config("ps", 0, worker=["a:1"], ps=["c:3"]))
    with pytest.raises(ConfigError, match="not understood"):
        find({"TF_CONFIG": "{"})
